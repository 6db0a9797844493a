"""Figures that a board is shown: each with its target, what luck leaves to a perfect model, and a verdict.

A perfect model is one whose every prediction is right; events are binomial then, and what error is left is
luck's. Figures of rates are weighted by trials.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binom, gamma

from gaelp.prediction.metrics import Floats
from gaelp.prediction.noise import Outcomes, expected_absolute_error, two_sided

ROAS_TARGET, MAE_TARGET, R2_TARGET = 0.85, 0.02, 0.88
"""What the brief asks of the accuracy of ROAS, of the mean absolute error and of R²."""
BY_LUCK = 0.01
"""A figure is off by more than luck if a perfect model's is as bad less often than this."""
MET, MISSED, WITHIN_LUCK, CANNOT, NO_DATA = (
    "met",
    "missed by more than luck",
    "within luck",
    "cannot be met at these impressions",
    "no data",
)
VERDICTS = (MET, MISSED, WITHIN_LUCK, CANNOT, NO_DATA)
"""What a figure can come to beside its target."""
_ONE_IN_TWENTY = 0.05
_FURTHEST = 9.0  # standard deviations that are summed over
_LEAST_RATE = 1e-9
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A figure beside its target and beside luck.

    Attributes:
        name: `mae`, `r2` or `roas_accuracy`. value: seen; None: nothing to judge.
        target: of the brief. at_least: whether more is better.
        best: mean of what a perfect model shows at these trials. luck: one perfect model in twenty is worse.
        chance: that a perfect model is as far off as this one.
        useless: value of always saying the overall rate seen.
        needed: trials a row (of ROAS: events in all) at which a perfect model meets the target on average.
        rows, trials, events: that it is of.
    """

    name: str
    value: float | None
    target: float
    at_least: bool
    best: float | None = None
    luck: float | None = None
    chance: float | None = None
    useless: float | None = None
    needed: float | None = None
    rows: int = 0
    trials: int = 0
    events: int = 0

    def _meets(self, value: float) -> bool:
        return value >= self.target if self.at_least else value <= self.target

    @property
    def is_luck(self) -> bool | None:
        """Whether a perfect model may be as far off; None: not told."""
        return None if self.chance is None else self.chance >= BY_LUCK

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`: what is worse than luck is missed, whether it could be met or not."""
        if self.value is None:
            return NO_DATA
        if self._meets(self.value):
            return MET
        if not self.is_luck:
            return MISSED
        return WITHIN_LUCK if self.best is not None and self._meets(self.best) else CANNOT

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "is_luck": self.is_luck, "verdict": self.verdict}


def judged_mae(outcomes: Outcomes) -> Judged:
    """Mean absolute error of rates.

    Best is `noise.expected_absolute_error`, exact; chance and luck by a gamma law with its exact mean and
    variance.

    >>> creatives, clicks = np.arange(4), np.array([2, 1, 4, 2])
    >>> rows = Outcomes(np.full(4, 0.02), np.full(4, 100), clicks, creatives, 0 * creatives)
    >>> found = judged_mae(rows)
    >>> round(found.value, 4), round(found.best, 4), found.verdict
    (0.0075, 0.0107, 'met')
    """
    n, p = outcomes.trials, outcomes.chance
    if not _is_judged(outcomes):
        return _nothing("mae", MAE_TARGET, False, outcomes)
    share, rate = n / n.sum(), outcomes.events / n
    floors = expected_absolute_error(p, n)
    best = float(share @ floors)
    spread = float(share**2 @ np.maximum(p * (1 - p) / n - floors**2, 0.0))
    value, overall = float(share @ np.abs(rate - p)), float(share @ rate)
    steep = float(share @ np.sqrt(p * (1 - p)))  # E|K/n - p| is about sqrt(2 p (1 - p) / (pi n))
    return Judged(
        name="mae",
        value=value,
        target=MAE_TARGET,
        at_least=False,
        best=best,
        luck=_passed_by_luck(best, spread),
        chance=_tail(value, best, spread),
        useless=float(share @ np.abs(rate - overall)),
        needed=2 / np.pi * (steep / MAE_TARGET) ** 2,
        **_counts(outcomes),
    )


def judged_r2(outcomes: Outcomes) -> Judged:
    """R² of rates: one less squared error over the variance of the rates seen.

    Best is the ceiling: the share of that variance that is not binomial noise, whatever the predictions. (The
    ceiling of R² in `figures.accuracy_figures`, its key `floor`, is another thing: its mean if these very
    predictions were right, so 0 for a model that says one rate of all.) The noise of a row is
    rate (1 - rate) / (trials - 1), which is unbiased. Chance compares squared error with its exact mean and
    variance under right predictions, by a gamma law.
    """
    n, p = outcomes.trials, outcomes.chance
    if not _is_judged(outcomes):
        return _nothing("r2", R2_TARGET, True, outcomes)
    share, rate = n / n.sum(), outcomes.events / n
    around = _around(outcomes)
    if not around > 0:
        return _nothing("r2", R2_TARGET, True, outcomes)
    noise, noise_a_trial = _noise(outcomes), float(share @ _noise_a_trial(outcomes))
    error = float(share @ (rate - p) ** 2)
    by_luck = p * (1 - p) / n
    least = float(share @ by_luck)
    # fourth central moment of a binomial count: npq (1 + 3 (n - 2) pq)
    spread = float(share**2 @ (by_luck**2 * (2 - 6 / n) + by_luck / n**2))
    signal = around - noise
    return Judged(
        name="r2",
        value=1 - error / around,
        target=R2_TARGET,
        at_least=True,
        best=max(signal / around, 0.0),
        luck=1 - _passed_by_luck(least, spread) / around,
        chance=_tail(error, least, spread),
        useless=0.0,
        needed=R2_TARGET / (1 - R2_TARGET) * noise_a_trial / signal if signal > 0 else None,
        **_counts(outcomes),
    )


def judged_roas(outcomes: Outcomes) -> Judged:
    """Accuracy of ROAS, 1 - |predicted - realised| / realised, of rows of conversions.

    Every conversion is worth the same here, so its value and the spend cancel: what is compared is
    conversions predicted and seen. Chance is the exact law's (`noise.two_sided`); best and luck are of
    `accuracy_of_luck`.
    """
    mean, seen = float(outcomes.trials @ outcomes.chance), int(outcomes.events.sum())
    if not seen:
        return _nothing("roas_accuracy", ROAS_TARGET, True, outcomes)
    variance = float(outcomes.variance.sum())
    best, luck = accuracy_of_luck(mean, variance)
    return Judged(
        name="roas_accuracy",
        value=1 - abs(mean - seen) / seen,
        target=ROAS_TARGET,
        at_least=True,
        best=best,
        luck=luck,
        chance=two_sided(outcomes),
        # E|K - mean| is about sqrt(2 variance / pi)
        needed=2 / np.pi * variance / mean / (1 - ROAS_TARGET) ** 2,
        **_counts(outcomes),
    )


def accuracy_of_luck(mean: float, variance: float) -> tuple[float, float]:
    """Accuracy, 1 - |mean - K| / K, of a perfect forecast of a count that is not 0.

    K is binomial with this mean and variance, which is close to a sum of binomials of different rates (Ehm,
    Statistics and Probability Letters 11, 1991).

    Args:
        mean: of the count, above 0. variance: at most the mean.

    Returns:
        Its mean, and the value that one in twenty falls below.

    >>> [round(each, 3) for each in accuracy_of_luck(100.0, 99.0)]
    [0.919, 0.795]
    """
    rate = max(1 - variance / mean, _LEAST_RATE)
    n = max(math.ceil(mean / rate), 1)
    reach = _FURTHEST * np.sqrt(variance) + _FURTHEST
    first, last = max(1, math.floor(mean - reach)), min(n, math.ceil(mean + reach))
    k = np.arange(first, last + 1, dtype=np.float64)
    weight = binom.pmf(k, n, mean / n)
    weight /= weight.sum()
    accuracy = 1 - np.abs(mean - k) / k
    order = np.argsort(accuracy)
    below = int((np.cumsum(weight[order]) < _ONE_IN_TWENTY).sum())
    return float(weight @ accuracy), float(accuracy[order][min(below, k.size - 1)])


def _is_judged(outcomes: Outcomes) -> bool:
    return 0 < int(outcomes.events.sum()) < int(outcomes.trials.sum())


def _nothing(name: str, target: float, at_least: bool, outcomes: Outcomes) -> Judged:
    return Judged(name=name, value=None, target=target, at_least=at_least, **_counts(outcomes))


def _noise_a_trial(outcomes: Outcomes) -> Floats:
    n, p, rate = outcomes.trials, outcomes.chance, outcomes.events / outcomes.trials
    return np.where(n > 1, rate * (1 - rate) * n / np.maximum(n - 1, 1), p * (1 - p))


def _noise(outcomes: Outcomes) -> float:
    return float(_noise_a_trial(outcomes).sum()) / float(outcomes.trials.sum())


def _around(outcomes: Outcomes) -> float:
    share, rate = outcomes.trials / outcomes.trials.sum(), outcomes.events / outcomes.trials
    return float(share @ (rate - share @ rate) ** 2)


def _signal(outcomes: Outcomes) -> float:
    """Variance of the rates seen that is not binomial noise."""
    return _around(outcomes) - _noise(outcomes) if len(outcomes) else 0.0


def _counts(outcomes: Outcomes) -> dict[str, int]:
    trials, events = int(outcomes.trials.sum()), int(outcomes.events.sum())
    return {"rows": len(outcomes), "trials": trials, "events": events}


def _tail(value: float, mean: float, variance: float) -> float:
    if not variance > 0:  # such as single trials at a chance of one half: nothing can vary
        return float(value <= mean + _ROUNDING)
    return float(gamma.sf(value, mean**2 / variance, scale=variance / mean))


def _passed_by_luck(mean: float, variance: float) -> float:
    if not variance > 0:
        return mean
    return float(gamma.isf(_ONE_IN_TWENTY, mean**2 / variance, scale=variance / mean))


def by_day(outcomes: Outcomes) -> dict[int, Outcomes]:
    """Outcomes by day, whole days since 1970 began, oldest first."""
    return {int(day): outcomes.take(outcomes.day == day) for day in np.unique(outcomes.day)}


def rates_by_day(outcomes: Outcomes) -> dict[str, list[Any]]:
    """Figures of each day, beside luck.

    Returns:
        Columns as long as there are days: `day` (whole days since 1970 began), `trials`; `mae`, `mae_best`,
        `mae_luck`, `r2`, `r2_best` as of `Judged`, but with the variance of true rates taken over all days,
        because one day tells little of it; `calibration`, events per event predicted, and
        `calibration_noise`, its standard deviation if predictions are right.
    """
    found: dict[str, list[Any]] = {name: [] for name in _DAILY}
    signal = _signal(outcomes)
    for day, rows in by_day(outcomes).items():
        mae, r2 = judged_mae(rows), judged_r2(rows)
        expected: Floats = rows.trials * rows.chance
        row = (
            day,
            mae.trials,
            mae.value,
            mae.best,
            mae.luck,
            r2.value,
            None if r2.best is None else signal / (signal + _noise(rows)) if signal > 0 else 0.0,
            mae.events / float(expected.sum()),
            float(np.sqrt(rows.variance.sum()) / expected.sum()),
        )
        for name, cell in zip(_DAILY, row, strict=True):
            found[name].append(cell)
    return found


_DAILY = (
    "day",
    "trials",
    "mae",
    "mae_best",
    "mae_luck",
    "r2",
    "r2_best",
    "calibration",
    "calibration_noise",
)
