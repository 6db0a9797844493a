"""Geo experiments by time-based regression: days, not regions, say how sure the effect is.

Before the test the treated regions' daily sum is regressed on the control's, `y_t = a + b x_t + e_t`. During
the test the regression says what would have been; what was seen beyond it, summed, is the effect:

    effect   = sum of (y_t - a - b x_t) over T test days, under a t law with n - 2 degrees of freedom
    variance = s^2 T + T^2 m' C m      m = (1, mean x over the test), C the covariance of (a, b)

It needs days that tell. Where the control's days differ by the noise of counting more than by what all
regions share, that noise flattens `b` (errors in variables), and a drift of all regions between the windows
is taken for an effect; `doubts` says so.

Source: Kerman, Wang & Vaver, Estimating ad effectiveness using geo experiments in a time-based regression
framework, Google 2017, equations 1 to 8; Fuller, Measurement Error Models (1987), section 1.1 (flat slopes).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.journeys.columns import Floats

Flags = NDArray[np.bool_]
LEAST_TOLD = 0.5
"""A slope, and an R², under this part of what to expect of them together cast doubt on a regression."""
MOST_COUNTING = 0.2
"""A share of counting noise above this in control's variance casts doubt on it."""


class Effect(NamedTuple):
    """A sum over the test and its standard error, (n_deals,) each, and degrees of freedom."""

    value: Floats
    error: Floats
    freedom: int


def over_days(labels: Flags, values: Floats, before: Flags, during: Flags) -> Effect:
    """The module's regression for each deal of regions.

    Args:
        labels: (n_deals, n_geos) the treated ones. values: (n_geos, n_days).
        before, during: (n_days,) the windows.
    """
    y = np.einsum("rg,gt->rt", labels.astype(float), values)
    x = values.sum(axis=0) - y
    x0, y0, x1, y1 = x[:, before], y[:, before], x[:, during], y[:, during]
    n, n_test = x0.shape[1], x1.shape[1]
    mean = x0.mean(axis=1, keepdims=True)
    spread = ((x0 - mean) ** 2).sum(axis=1)
    flat = spread <= 1e-12 * np.maximum(1.0, (x0**2).sum(axis=1))  # a constant control explains nothing
    slope = ((x0 - mean) * y0).sum(axis=1) / np.where(flat, 1.0, spread)
    slope = np.where(flat, 0.0, slope)
    start = y0.mean(axis=1) - slope * mean[:, 0]
    left = y0 - start[:, None] - slope[:, None] * x0
    variance = (left**2).sum(axis=1) / (n - 2)
    away = np.where(flat, 0.0, (x1.mean(axis=1) - mean[:, 0]) ** 2 / np.where(flat, 1.0, spread))
    value = (y1 - start[:, None] - slope[:, None] * x1).sum(axis=1)
    return Effect(value, np.sqrt(variance * (n_test + n_test**2 * (1 / n + away))), n - 2)


def fit_before(treated: Floats, control: Floats) -> dict[str, float | None]:
    """How well the regression holds before the test.

    Args:
        treated, control: (n_days,) sums before the test.

    Returns:
        {"slope", "r_squared", "residual_autocorrelation"}; None where one of them never varies.
    """
    y, x = treated, control
    if not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return {"slope": None, "r_squared": None, "residual_autocorrelation": None}
    slope, start = np.polyfit(x, y, 1)
    left = y - start - slope * x
    power = float((left**2).sum())
    return {
        "slope": float(slope),
        "r_squared": float(1 - left.var() / y.var()),
        "residual_autocorrelation": float((left[1:] * left[:-1]).sum() / power) if power > 0 else None,
    }


def doubts(treated: Floats, control: Floats) -> list[str]:
    """Why days do not tell what would have been; empty where they seem to.

    Two signs: control explains less than half of the treated days' differences, with less than half of the
    slope that regions which move in proportion have; or, of whole numbers, more than a fifth of the variance
    between control's days is what independent sales have by themselves, their mean.

    Args:
        treated, control: (n_days,) sums before the test.

    >>> doubts(np.array([3.0, 1.0, 4.0, 4.0, 2.0]), np.array([2.0, 3.0, 2.0, 3.0, 2.0]))[0].split(",")[0]
    'The slope on control is -0.5'
    """
    advice = "a drift of all regions would be taken for an effect. Use --by regions."
    found = []
    fit, level = fit_before(treated, control), float(control.mean())
    together = float(treated.mean()) / level if level > 0 else 0.0
    slope, explained = fit["slope"] or 0.0, fit["r_squared"] or 0.0
    if slope < LEAST_TOLD * together and explained < LEAST_TOLD:
        found.append(
            f"The slope on control is {slope:.3g}, where regions that move together have about"
            f" {together:.3g}, and control explains {explained:.0%} of how treated days differ: {advice}"
        )
    counted = bool((control >= 0).all() and (control % 1 == 0).all())
    spread = float(control.var(ddof=1))
    if counted and level > MOST_COUNTING * spread:
        share = level / spread if spread > level else 1.0
        found.append(
            f"Control has {level:.3g} a day before the test, and {share:.0%} of how its days differ is the"
            f" noise of counting, which flattens the slope by as much: {advice}"
        )
    return found
