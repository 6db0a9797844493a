"""Two groups at one look: rates, means, and whether the groups came out as they were dealt.

One look, decided on before: looking again and again and stopping at the first p under 5 % is wrong a third
of the time (see `sequential` for tests that may be watched).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import chisquare, ttest_ind

from gaelp.core.errors import BadInput
from gaelp.measurement.checks import check_shares

Floats = NDArray[np.float64]

SRM_ALPHA = 0.001
"""Under this p-value the groups are not as they were dealt, and no other figure can be trusted."""
MOST_TRIALS = 1e13
"""No experiment is planned, or was run, beyond this."""


class Counts(NamedTuple):
    """An arm of an experiment."""

    trials: int
    successes: int

    @property
    def rate(self) -> float:
        """Successes per trial."""
        return self.successes / self.trials


class Difference(NamedTuple):
    """Treatment less control, its interval, and the test that it is 0; None where there is no such figure."""

    value: float
    low: float
    high: float
    statistic: float | None
    p_value: float | None


def checked_counts(name: str, counts: Sequence[float]) -> Counts:
    """An arm, checked.

    Args:
        name: of the arm, for errors.
        counts: trials and successes.

    Raises:
        BadInput: if they are not whole numbers with 0 <= successes <= trials, 1 <= trials <= `MOST_TRIALS`.
    """
    allowed = "must be TRIALS,SUCCESSES, whole numbers, at least one trial, no more successes than trials"
    whole = len(counts) == 2 and all(abs(c) <= MOST_TRIALS and float(c).is_integer() for c in counts)
    if not whole or not 0 <= counts[1] <= counts[0] or counts[0] < 1:
        raise BadInput(name, list(counts), allowed, f"Write it like --{name} 10000,310.")
    return Counts(int(counts[0]), int(counts[1]))


def two_proportions(control: Counts, treatment: Counts, level: float = 0.95) -> Difference:
    """Do the rates of two arms differ?

    The test is the pooled z; the interval is Newcombe's, of the two arms' Wilson scores, which stays within
    -1 and 1 and holds its level for small counts.

    Args:
        control, treatment: trials and successes.
        level: of the interval.

    Source: Newcombe, Statistics in Medicine 17 (1998), 873-890, method 10.

    >>> found = two_proportions(Counts(80, 48), Counts(70, 56))
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    check_shares(level=level)
    control, treatment = checked_counts("control", control), checked_counts("treatment", treatment)
    gap = treatment.rate - control.rate
    pooled = (control.successes + treatment.successes) / (control.trials + treatment.trials)
    error = np.sqrt(pooled * (1 - pooled) * (1 / control.trials + 1 / treatment.trials))
    z = float(gap / error) if error > 0 else None
    (low_c, high_c), (low_t, high_t) = _wilson(control, level), _wilson(treatment, level)
    return Difference(
        value=gap,
        low=gap - float(np.hypot(treatment.rate - low_t, high_c - control.rate)),
        high=gap + float(np.hypot(high_t - treatment.rate, control.rate - low_c)),
        statistic=z,
        p_value=None if z is None else float(2 * ndtr(-abs(z))),
    )


def lift(control: Counts, treatment: Counts, level: float = 0.95) -> tuple[float, float, float] | None:
    """The rates' ratio less 1, with the interval of its logarithm; None where an arm has no success.

    Source: Katz, Baptista, Azen & Pike, Biometrics 34 (1978), 469-474.

    >>> [round(figure, 3) for figure in lift(Counts(1000, 100), Counts(1000, 120))]
    [0.2, -0.066, 0.542]
    """
    check_shares(level=level)
    if not control.successes or not treatment.successes:
        return None
    ratio = treatment.rate / control.rate
    error = np.sqrt(sum(1 / arm.successes - 1 / arm.trials for arm in (control, treatment)))
    reach = float(np.exp(-ndtri((1 - level) / 2) * error))
    return ratio - 1, ratio / reach - 1, ratio * reach - 1


def welch(control: ArrayLike, treatment: ArrayLike, level: float = 0.95) -> Difference:
    """Do the means of two arms differ, whatever their variances?

    Args:
        control, treatment: (n,) one number a unit, at least two each.
        level: of the interval.

    Raises:
        BadInput: if an arm is too small, or a number is not finite.

    >>> found = welch([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 8.0])
    >>> found.value, round(found.statistic, 3), round(found.p_value, 3)
    (2.5, 1.987, 0.105)
    """
    check_shares(level=level)
    arms = {"control": np.asarray(control, float), "treatment": np.asarray(treatment, float)}
    for name, values in arms.items():
        wrong = values[~np.isfinite(values)]
        if values.ndim != 1 or values.size < 2 or wrong.size:
            shown = wrong[0] if wrong.size else values.shape
            raise BadInput(name, shown, "must be at least two finite numbers", "Pass one number a unit.")
    gap = float(arms["treatment"].mean() - arms["control"].mean())
    if not any(np.ptp(values) > 0 for values in arms.values()):
        return Difference(gap, gap, gap, None, None)
    found = ttest_ind(arms["treatment"], arms["control"], equal_var=False)
    ends = found.confidence_interval(level)
    return Difference(gap, float(ends.low), float(ends.high), float(found.statistic), float(found.pvalue))


def sample_ratio_mismatch(counts: Sequence[int], shares: Sequence[float] | None = None) -> float:
    """The p-value of the test that units were dealt to arms in these shares; see `SRM_ALPHA`.

    Args:
        counts: units in each arm.
        shares: meant for each arm, any scale; None: equal ones.

    Source: Fabijan et al., Diagnosing sample ratio mismatch in online controlled experiments, KDD 2019.

    >>> round(sample_ratio_mismatch([10_000, 10_400]), 4)
    0.0051
    """
    seen = np.asarray(counts, float)
    meant = np.ones(seen.size) if shares is None else np.asarray(shares, float)
    if seen.size < 2 or meant.shape != seen.shape or not (meant > 0).all() or not (seen >= 0).all():
        allowed = "must be a positive share for each of at least two arms"
        raise BadInput("shares", meant.tolist(), allowed, "Write them like 0.5,0.5.")
    if not seen.sum():
        raise BadInput("counts", list(counts), "must count at least one unit", "Wait for data.")
    return float(chisquare(seen, seen.sum() * meant / meant.sum()).pvalue)


def _wilson(arm: Counts, level: float) -> tuple[float, float]:
    z = float(-ndtri((1 - level) / 2))
    n, p = arm.trials, arm.rate
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return float(middle - reach), float(middle + reach)
