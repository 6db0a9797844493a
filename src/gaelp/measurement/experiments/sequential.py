"""Tests that may be watched: error rates that hold at every look, and whenever one stops.

The mixture sequential probability ratio test weighs the data under a normal prior of effects, N(0, tau^2),
against no effect. With a difference d whose variance is V,

    L = sqrt(V / (V + tau^2)) exp(tau^2 d^2 / (2 V (V + tau^2)))

is a martingale under no effect, so that L ever reaches 1 / alpha with a chance of at most alpha (Ville). The
effects it does not reject make a confidence sequence, `d` plus or minus

    sqrt(2 V (V + tau^2) / tau^2 * log(sqrt((V + tau^2) / V) / alpha))

which for the mean of n values with deviation s is the asymptotic confidence sequence with rho = tau / s.

Source: Johari, Koomen, Pekelis & Walsh, Peeking at A/B tests, KDD 2017, and Operations Research 70 (2022),
section 5; Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, arXiv 2103.06476, theorem 2.2.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import lambertw

from gaelp.core.errors import BadInput
from gaelp.measurement.checks import check_shares
from gaelp.measurement.experiments.ab import Counts, Floats, checked_counts

LEAST_EVENTS = 5
"""Successes, and failures, that each arm must have before a look counts: a normal law needs some."""

LEAST_VALUES = 100
"""Values that a confidence sequence of a mean waits for at least."""


class Watched(NamedTuple):
    """A test at each look.

    Attributes:
        difference: (n_looks,) treatment less control.
        low, high: (n_looks,) the confidence sequence so far: it only ever narrows. NaN before looks count.
        p_value: (n_looks,) always valid: it only ever falls.
        stopped: index of the first look at which no effect is rejected; None: go on.
    """

    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats
    stopped: int | None


def log_mixture_ratio(difference: ArrayLike, variance: ArrayLike, tau: float) -> Floats:
    """Log L of the module's docstring, any shape."""
    d, v = np.asarray(difference, float), np.asarray(variance, float)
    ratio: Floats = 0.5 * np.log(v / (v + tau**2)) + tau**2 * d**2 / (2 * v * (v + tau**2))
    return ratio


def half_width(variance: ArrayLike, tau: float, alpha: float = 0.05) -> Floats:
    """Half of the confidence sequence's width where the difference has this variance, any shape."""
    v = np.asarray(variance, float)
    width: Floats = np.sqrt(2 * v * (v + tau**2) / tau**2 * np.log(np.sqrt((v + tau**2) / v) / alpha))
    return width


def best_tau(variance: float, alpha: float = 0.05) -> float:
    """The tau that makes the confidence sequence narrowest where the difference has this variance.

    The slope of `half_width` by u = tau^2 / V is 0 where `u - log(1 + u) = -2 log alpha`, which
    Lambert's W solves: u = -1 - W_-1(-alpha^2 / e).

    >>> narrowest = best_tau(1e-4)
    >>> bool(half_width(1e-4, narrowest) < min(half_width(1e-4, narrowest * f) for f in (0.9, 1.1)))
    True
    """
    check_shares(alpha=alpha)
    return float(np.sqrt(variance * (-1.0 - lambertw(-(alpha**2) / np.e, k=-1).real)))


def confidence_sequence(values: ArrayLike, rho: float, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Asymptotic confidence sequence of a mean, after each value.

    Args:
        values: (..., n) in the order they came.
        rho: tau over the values' deviation; `best_tau(1 / n, alpha)` is narrowest after n values.
        alpha: chance that the sequence ever misses the mean, for large n.

    Returns:
        low, high: (..., n); infinite before `LEAST_VALUES`, or 25 skewness^2 if that is more: for fewer a
        mean is not near enough to normal (Cochran, Sampling Techniques, 3rd ed., 1977, section 2.15).
    """
    check_shares(alpha=alpha)
    _check_tau(rho)
    values = np.asarray(values, float)
    shifted = values - values[..., :1]
    n = np.arange(1, values.shape[-1] + 1)
    mean, square, cube = (np.cumsum(shifted**power, axis=-1) / n for power in (1, 2, 3))
    variance = np.maximum(square - mean**2, 0.0)
    third = cube - 3 * mean * square + 2 * mean**3
    near = (n >= LEAST_VALUES) & (n * variance**3 > 25 * third**2)
    reach = np.where(near, np.sqrt(variance) * half_width(1.0 / n, rho, alpha), np.inf)
    middle = mean + values[..., :1]
    return middle - reach, middle + reach


def watch(control: Sequence[Counts], treatment: Sequence[Counts], tau: float, alpha: float = 0.05) -> Watched:
    """An experiment on two rates, at each look.

    Args:
        control, treatment: counts at each look, all that was seen until then, the oldest first.
        tau: deviation of the effects thought likely, about the smallest one of interest; chosen before.
        alpha: chance of ever rejecting where there is no effect.

    Raises:
        BadInput: if counts cannot be, fall from look to look, or arms have different numbers of looks.

    >>> control = [Counts(5_000, 150), Counts(20_000, 600)]
    >>> treatment = [Counts(5_000, 170), Counts(20_000, 780)]
    >>> looks = watch(control, treatment, tau=0.003)
    >>> looks.p_value.round(4).tolist(), looks.stopped
    ([1.0, 0.0003], 1)
    """
    check_shares(alpha=alpha)
    _check_tau(tau)
    arms = {"control": control, "treatment": treatment}
    if len(control) != len(treatment) or not len(control):
        given, allowed = (len(control), len(treatment)), "must be as many for control as for treatment"
        raise BadInput("looks", given, f"{allowed}, at least one", "Give both arms at each look.")
    for name, looks in arms.items():
        for before, after in pairwise(looks):
            if after.trials < before.trials or after.successes < before.successes:
                allowed = "must not fall from look to look"
                remedy = "Give all counts so far at each look, the oldest look first."
                raise BadInput(name, tuple(after), allowed, remedy)
    n, k = (
        np.array([[checked_counts(name, look)[i] for look in looks] for name, looks in arms.items()], float)
        for i in (0, 1)
    )  # (2, n_looks)
    return watch_counts(n, k, tau, alpha)


def watch_counts(trials: Floats, successes: Floats, tau: float, alpha: float = 0.05) -> Watched:
    """`watch` in arrays, unchecked: many experiments at once.

    Args:
        trials, successes: (2, ..., n_looks), control first.
        tau, alpha: as for `watch`.

    Returns:
        Arrays of the shape (..., n_looks); `stopped` is None unless there is one experiment only.
    """
    rate = successes / trials
    counts = (np.minimum(successes, trials - successes) >= LEAST_EVENTS).all(axis=0)
    variance = np.where(counts, (rate * (1 - rate) / trials).sum(axis=0), 1.0)
    difference = rate[1] - rate[0]
    log_ratio = np.where(counts, log_mixture_ratio(difference, variance, tau), 0.0)
    reach = np.where(counts, half_width(variance, tau, alpha), np.inf)
    low = np.maximum.accumulate(difference - reach, axis=-1)
    high = np.minimum.accumulate(difference + reach, axis=-1)
    p_value = np.minimum.accumulate(np.minimum(np.exp(-log_ratio), 1.0), axis=-1)
    rejected = np.flatnonzero(p_value <= alpha) if p_value.ndim == 1 else np.zeros(0, int)
    return Watched(
        difference,
        np.where(np.isfinite(low), low, np.nan),
        np.where(np.isfinite(high), high, np.nan),
        p_value,
        int(rejected[0]) if rejected.size else None,
    )


def _check_tau(tau: float) -> None:
    if not (np.isfinite(tau) and tau**2 > 0):
        raise BadInput("tau", tau, "must be finite and above 0", "Give the smallest effect of interest.")
