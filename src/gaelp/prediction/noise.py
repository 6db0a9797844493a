"""What luck alone does to figures about predicted rates: exact floors, spreads and tail probabilities.

A row says: of `trials` impressions, each with the predicted chance, `events` were clicked. If the prediction
is right, events are binomial; whatever error is left then is the noise floor, and no model gets below it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom, norm

from gaelp.core.errors import BadInput
from gaelp.prediction.metrics import LEAST, Floats, calibration_line

Ints = NDArray[np.int64]

_NEAR_MEAN = 1e-4  # in standard deviations; nearer, the saddlepoint formula divides nothing by nothing
_FURTHEST = 40.0  # on the scale of logits
_FEWEST_GROUPS = 10


@dataclass(frozen=True)
class Outcomes:
    """What was predicted and what came of it; one row for each prediction and day.

    Args:
        predicted: (n,) chance of an event at each trial.
        trials: (n,) impressions (or clicks, for conversions), at least 1.
        events: (n,) how many of them were clicked (or converted).
        group: (n,) code of the creative; rows of a group share whatever the model does not know of it.
        day: (n,) whole days since 1970 began, UTC.

    Raises:
        BadInput: shapes differ, a prediction is no probability, or there are more events than trials.
    """

    predicted: Floats
    trials: Ints
    events: Ints
    group: Ints
    day: Ints

    def __post_init__(self) -> None:
        n = np.shape(self.predicted)
        for name in ("trials", "events", "group", "day"):
            if np.shape(getattr(self, name)) != n or len(n) != 1:
                allowed = f"must have the shape of predicted, {n}"
                raise BadInput(name, np.shape(getattr(self, name)), allowed, "Give one for each row.")
        bad = ~((self.predicted >= 0) & (self.predicted <= 1))
        if bad.any():
            value = self.predicted[bad][0]
            raise BadInput("predicted", value, "must be probabilities from 0 to 1", "Check the model.")
        bad = (self.trials < 1) | (self.events < 0) | (self.events > self.trials)
        if bad.any():
            value = f"{self.events[bad][0]} events of {self.trials[bad][0]} trials"
            raise BadInput("events", value, "must be from 0 to the trials, at least 1", "Check the report.")

    def __len__(self) -> int:
        return self.predicted.size

    @property
    def chance(self) -> Floats:
        """(n,) predictions, kept off 0 and 1 as metrics do."""
        return np.clip(self.predicted, LEAST, 1 - LEAST)

    @property
    def variance(self) -> Floats:
        """(n,) of events, if predictions are right."""
        return self.trials * self.chance * (1 - self.chance)

    @property
    def surplus(self) -> Floats:
        """(n,) events less those predicted."""
        return self.events - self.trials * self.chance

    def take(self, rows: NDArray[np.bool_]) -> "Outcomes":
        """The rows where `rows` (n,) is true."""
        return Outcomes(*(each[rows] for each in vars(self).values()))

    def last_days(self, days: int, today: int) -> "Outcomes":
        """Rows of the last whole days before `today`, which itself is not over."""
        return self.take((self.day >= today - days) & (self.day < today))


def expected_absolute_error(true: ArrayLike, trials: ArrayLike, predicted: ArrayLike | None = None) -> Floats:
    """Mean of |K/n - q| for binomial K of n trials at the true rate.

    Exact: with c = nq and m = floor(c), E|K - c| = 2 (c F(m; n, p) - np F(m - 1; n - 1, p)) + np - c, for k
    times the binomial weight of k of n is np times that of k - 1 of n - 1. At q = p this is de Moivre's mean
    deviation (Diaconis and Zabell, Statistical Science 6, 1991), the noise floor of the mean absolute error.

    Args:
        true: rate p. trials: n, at least 1. predicted: rate q; None: the true one.

    Returns:
        Of the arguments' common shape.

    >>> [round(float(each), 4) for each in expected_absolute_error([0.005, 0.02, 0.08], 100)]
    [0.0061, 0.0107, 0.0214]
    """
    p, n = np.asarray(true, np.float64), np.asarray(trials, np.int64)
    q = p if predicted is None else np.asarray(predicted, np.float64)
    c, mean = n * q, n * p
    m = np.floor(c)
    below = c * binom.cdf(m, n, p) - mean * binom.cdf(m - 1, n - 1, p)
    return np.maximum((2 * below + mean - c) / n, 0.0)


def tail(
    outcomes: Outcomes, weight: ArrayLike = 1.0, *, above: bool = True, dispersion: float = 1.0
) -> float:
    """How likely a weighted surplus as far off as the one seen is, if predictions are right.

    The statistic is the sum of weight x (events - trials x predicted). Tails are those of Lugannani and Rice
    (Advances in Applied Probability 12, 1980), with the second correction for whole numbers by Daniels
    (International Statistical Review 55, 1987) where all weights are 1.

    Args:
        outcomes: n rows.
        weight: (n,) or one for all. 1: the surplus itself, so calibration in the large. -logit(predicted):
            the surplus of logloss over its noise floor.
        above: whether as high, or as low.
        dispersion: variance as a multiple of the binomial one; see `dispersion`.

    Returns:
        A probability; 1 where nothing can vary.
    """
    weights = np.broadcast_to(np.asarray(weight, np.float64), outcomes.predicted.shape)
    if not float(weights**2 @ outcomes.variance) > 0:
        return 1.0
    steps = bool(np.all(weights == 1.0)) and dispersion == 1.0
    weights = weights if above else -weights
    seen = float(weights @ outcomes.surplus) / np.sqrt(dispersion)
    return _upper_tail(outcomes, weights, seen - (0.5 if steps else 0.0), steps)


def two_sided(outcomes: Outcomes, weight: ArrayLike = 1.0, *, dispersion: float = 1.0) -> float:
    """Twice the `tail` on the side of what was seen, at most 1; arguments as there."""
    above = float(np.sum(np.asarray(weight, np.float64) * outcomes.surplus)) >= 0
    return min(1.0, 2 * tail(outcomes, weight, above=above, dispersion=dispersion))


def dispersion(outcomes: Outcomes) -> float:
    """Variance of the groups' events as a multiple of the binomial one, at least 1.

    Pearson's statistic over its degrees of freedom (McCullagh and Nelder, Generalized Linear Models, 2nd ed.,
    1989, section 4.5), after the calibration line is fitted, so that a shift of all rates does not count. It
    is above 1 where creatives differ in ways that the model does not know. With fewer than ten groups it
    cannot be told, and is 1.
    """
    _, code = np.unique(outcomes.group, return_inverse=True)
    n_groups = int(code.max(initial=-1)) + 1
    if n_groups < _FEWEST_GROUPS:
        return 1.0
    slope, intercept, _ = calibration_line(outcomes.events, outcomes.chance, outcomes.trials)
    if slope is None or intercept is None:
        intercept, slope = _shift(outcomes), 1.0
    fitted = expit(intercept + slope * logit(outcomes.chance))
    gap = np.bincount(code, outcomes.events - outcomes.trials * fitted)
    spread = np.bincount(code, outcomes.trials * fitted * (1 - fitted))
    return max(1.0, float((gap**2 / spread).sum()) / (n_groups - 2))


def slope_weight(outcomes: Outcomes) -> Floats:
    """(n,) weights of `tail` that see the calibration slope alone: logits less their mean by variance."""
    x = logit(outcomes.chance)
    return x - float(x @ outcomes.variance) / float(outcomes.variance.sum())


def _shift(outcomes: Outcomes) -> float:
    """What all logits must gain for events to be as many as predicted."""
    x, events = logit(outcomes.chance), float(outcomes.events.sum())
    seen = np.clip(events, 0.5, float(outcomes.trials.sum()) - 0.5)
    return float(brentq(lambda a: float(outcomes.trials @ expit(x + a)) - seen, -_FURTHEST, _FURTHEST))


def _upper_tail(outcomes: Outcomes, weight: Floats, value: float, steps: bool) -> float:
    """Probability that the weighted surplus is at least `value`."""
    n, p, x = outcomes.trials, outcomes.chance, logit(outcomes.chance)

    def slope(s: float) -> float:  # of the cumulant function, less the value
        return float((weight * n) @ (expit(x + s * weight) - p)) - value

    sd = float(np.sqrt(weight**2 @ outcomes.variance))
    if abs(value) < _NEAR_MEAN * sd:
        return 0.5
    end = np.sign(value) * _FURTHEST / float(np.abs(weight).max())
    if slope(0.0) * slope(end) > 0:  # at or beyond the last possible value
        return 0.0 if value > 0 else 1.0
    s = float(brentq(slope, min(0.0, end), max(0.0, end)))
    cumulant = float(n @ (np.log1p(p * np.expm1(s * weight)) - s * weight * p))
    tilted = expit(x + s * weight)
    curve = float((weight**2 * n) @ (tilted * (1 - tilted)))
    w = np.sign(s) * np.sqrt(max(2 * (s * value - cumulant), 0.0))
    u = (2 * np.sinh(s / 2) if steps else s) * np.sqrt(curve)
    if abs(w) < _NEAR_MEAN:
        return 0.5
    return float(np.clip(norm.sf(w) + norm.pdf(w) * (1 / u - 1 / w), 0.0, 1.0))
