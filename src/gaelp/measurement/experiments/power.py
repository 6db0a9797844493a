"""How many units and days an experiment on two arms needs to show an effect.

Rates: with the pooled rate p,

    power = Phi((|p1 - p0| - z sqrt(p (1 - p) (1/n0 + 1/n1))) / sqrt(p0 (1 - p0) / n0 + p1 (1 - p1) / n1))

is the chance that the two-sided pooled z test rejects in the right direction. Means: the same chance of the
two-sample t test, by the noncentral t law.

Source: Fleiss, Levin & Paik, Statistical Methods for Rates and Proportions (3rd ed., 2003), chapter 4; Cohen,
Statistical Power Analysis (2nd ed., 1988), section 2.
"""

from collections.abc import Callable
from math import ceil

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import chi2, nct
from scipy.stats import t as student

from gaelp.core.errors import BadInput
from gaelp.measurement.checks import check_shares
from gaelp.measurement.experiments.ab import MOST_TRIALS

_NO_CHANCE = 38.0  # deviations that a normal law never strays by
Power = Callable[[float], float]
"""From trials in both arms together to power."""


def power_of_rates(
    base: float, changed: float, trials: float, treated_share: float = 0.5, alpha: float = 0.05
) -> float:
    """Chance to show that a rate moved from `base` to `changed`.

    Args:
        base, changed: rates of control and treatment, between 0 and 1.
        trials: in both arms together.
        treated_share: of them in treatment.
        alpha: two-sided.

    >>> round(power_of_rates(0.50, 0.75, 100), 3)
    0.74
    """
    check_shares(base=base, changed=changed, treated_share=treated_share, alpha=alpha)
    n1 = trials * treated_share
    n0 = trials - n1
    pooled = (n0 * base + n1 * changed) / trials
    under_none = np.sqrt(pooled * (1 - pooled) * (1 / n0 + 1 / n1))
    under_effect = np.sqrt(base * (1 - base) / n0 + changed * (1 - changed) / n1)
    return float(ndtr((abs(changed - base) - ndtri(1 - alpha / 2) * under_none) / under_effect))


def power_of_means(
    effect: float, deviation: float, trials: float, treated_share: float = 0.5, alpha: float = 0.05
) -> float:
    """Chance to show that a mean moved by `effect`.

    Args:
        effect: treatment less control. deviation: of single units, in the same unit.
        trials: in both arms together, more than 2. treated_share: of them in treatment. alpha: two-sided.

    >>> round(power_of_means(1.0, 1.0, 40), 7)
    0.8689528
    """
    check_shares(treated_share=treated_share, alpha=alpha)
    if not (np.isfinite(deviation) and deviation > 0):
        raise BadInput("deviation", deviation, "must be finite and above 0", "Measure it on past data.")
    freedom = max(trials - 2.0, 1e-9)
    shift = (
        abs(effect) / deviation / np.sqrt(1 / (trials * treated_share) + 1 / (trials * (1 - treated_share)))
    )
    needed = student.isf(alpha / 2, freedom)
    if shift > _NO_CHANCE:  # the law of the deviation alone decides; `nct` knows no such shifts
        return float(chi2.cdf(freedom * min(shift / needed, 1e100) ** 2, freedom))
    return float(nct.sf(needed, freedom, shift))


def trials_for(power_at: Power, power: float = 0.8) -> float | None:
    """Trials in both arms together that reach a power; None where not even `MOST_TRIALS` do.

    >>> round(trials_for(lambda n: power_of_rates(0.50, 0.75, n), 0.9) / 2, 1)
    76.7
    """
    check_shares(power=power)
    few, many = 4.0, MOST_TRIALS
    if power_at(few) >= power:
        return few
    if power_at(many) < power:
        return None
    root = brentq(lambda x: power_at(float(np.exp(x))) - power, np.log(few), np.log(many), xtol=1e-10)
    return float(np.exp(root))


def days_for(trials: float, daily: float) -> int:
    """Whole days until that many trials have come.

    Args:
        trials: in both arms together. daily: of both arms.

    >>> days_for(106_000, 5_000)
    22
    """
    if not 1e-6 <= daily < np.inf:
        allowed = "must be at least 0.000001 and finite"
        raise BadInput("daily", daily, allowed, "Give the trials of both arms in a day.")
    return ceil(trials / daily)


def detectable(
    power_of: Callable[[float], float], low: float, high: float, power: float = 0.8
) -> float | None:
    """The smallest effect from `low` to `high` that is shown with a power; None where none is.

    Args:
        power_of: power by effect, rising.
        low, high: where to look.
        power: wanted.

    >>> round(0.5 + detectable(lambda d: power_of_rates(0.5, 0.5 + d, 100), 1e-9, 0.4999, 0.9), 4)
    0.8026
    """
    check_shares(power=power)
    if power_of(high) < power:
        return None
    if power_of(low) >= power:
        return low
    return float(brentq(lambda effect: power_of(effect) - power, low, high, xtol=1e-12))
