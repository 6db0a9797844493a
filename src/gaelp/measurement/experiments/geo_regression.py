"""Geo experiments by geo-based regression: regions, not days, say how sure the effect is.

With y1 a region's sales during the test, y0 its sales before, N its people and d = 1 where ads changed,

    y1 = a N + b y0 + c d N + e        variance of e in proportion to N

is fitted by weighted least squares; the effect is c times the people of the treated regions. What changes in
all regions alike, a season or a price, goes into `a`, which time-based regression can only learn from days on
which it has happened before: where a day's sales are few, its slope on the control regions is flattened by
their counting noise, and a drift between the windows is taken for an effect. The error is robust to regions
of unequal variance (HC2), and days may depend on each other as they like.

Source: Vaver & Koehler, Measuring ad effectiveness using geo experiments, Google 2011, equation 1, with
people for size; MacKinnon & White, J. Econometrics 29, 1985 (HC2); Frisch & Waugh, Econometrica 1, 1933 (the
part of d N that N and y0 do not explain gives c).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from gaelp.core.errors import BadInput
from gaelp.journeys.columns import Floats
from gaelp.measurement.checks import check_shares
from gaelp.measurement.experiments.time_regression import Effect

LEAST_REGIONS = 4
"""In each group, so that an error can be known."""
_APART = 1e-9
"""Share of d N that N and y0 must leave unexplained."""
_SMALLEST = 1e-9
"""Of the largest region's people: a smaller region's sales would outweigh all others."""


class RegionLift(NamedTuple):
    """What the treated regions sold beyond what would have been.

    Attributes:
        effect: summed over treated regions and the test. error: its standard error.
        low, high: ends of its interval.
        carried: the weight `b` on sales before the test.
    """

    effect: float
    error: float
    low: float
    high: float
    carried: float


def region_lift(
    before: Floats, during: Floats, people: Floats, treated: NDArray[np.bool_], *, level: float = 0.95
) -> RegionLift:
    """The module's regression.

    Args:
        before, during: (n_geos,) response summed over the days before, and over those of the test; finite,
            and not 0 in all regions during the test, for that tells nothing, not even how sure it is.
        people: (n_geos,) size in any unit, above 0 and at least a billionth of the largest.
        treated: (n_geos,).
        level: of the interval.

    Raises:
        BadInput: shapes differ, a number is not finite, a region has no people, nothing was sold during the
            test, a group has too few regions, or sales before the test single the treated regions out.

    >>> people = np.array([4.0, 2.0, 1.0, 1.0, 4.0, 2.0, 1.0, 1.0])
    >>> before = np.array([41.0, 19.0, 11.0, 8.0, 40.0, 22.0, 9.0, 10.0])
    >>> treated = np.arange(8) < 4
    >>> found = region_lift(before, before * 0.9 + people * treated, people, treated)
    >>> round(found.effect, 6), round(found.carried, 6)
    (8.0, 0.9)
    """
    check_shares(level=level)
    _check(before, during, people, treated)
    people = _near_one(people)
    found = over_regions(treated[None, :], before, during, people)
    effect, error = float(found.value[0]), float(found.error[0])
    if np.isnan(effect):
        allowed = "must not tell by itself, with people, which regions are treated"
        remedy = "Begin on days on which both groups sold, or deal regions at random."
        raise BadInput("before", "sales of one group alone", allowed, remedy)
    far = float(student.ppf(0.5 + level / 2, found.freedom)) * error
    usual = np.stack([people, before], axis=1)
    rest = during - effect / people[treated].sum() * people * treated
    root = np.sqrt(people)
    carried = (np.linalg.pinv(usual / root[:, None]) @ (rest / root))[1]  # shared with `a` where y0 is like N
    return RegionLift(effect, error, effect - far, effect + far, float(carried))


def over_regions(labels: NDArray[np.bool_], before: Floats, during: Floats, people: Floats) -> Effect:
    """The module's regression for each deal of regions, unchecked: see `region_lift`.

    Args:
        labels: (n_deals, n_geos) the treated ones. before, during, people: (n_geos,).

    Returns:
        Effects; NaN for a deal that sales before the test single out.
    """
    people = _near_one(people)
    root = np.sqrt(people)
    usual = np.stack([root, before / root], axis=1)
    usual = usual / np.maximum(np.sqrt((usual**2).sum(axis=0)), 1e-300)
    onto = usual @ np.linalg.pinv(usual)  # (n_geos, n_geos) what people and sales before explain
    target = during / root
    marked = labels * root  # (n_deals, n_geos)
    apart = marked - marked @ onto
    power = (apart**2).sum(axis=1)
    power[power <= _APART * (marked**2).sum(axis=1)] = np.nan
    a_head = apart @ target / power  # c
    left = target - onto @ target - a_head[:, None] * apart
    leverage = np.diag(onto) + apart**2 / power[:, None]
    noise = ((apart * left) ** 2 / np.maximum(1.0 - leverage, 1e-9)).sum(axis=1) / power**2
    reach = labels @ people
    return Effect(reach * a_head, reach * np.sqrt(noise), people.size - 3)


def _near_one(people: Floats) -> Floats:
    """Another unit, in which the largest region is near 1: by a power of 4, so that no figure is rounded."""
    exponent = int(np.frexp(people.max())[1])
    return np.ldexp(people, -2 * (exponent // 2))


def _check(before: Floats, during: Floats, people: Floats, treated: NDArray[np.bool_]) -> None:
    if not before.shape == during.shape == people.shape == treated.shape:
        shapes = [array.shape for array in (before, during, people, treated)]
        raise BadInput("shapes", shapes, "must be one value a region", "Hand over regions in one order.")
    for name, values in (("before", before), ("during", during), ("people", people)):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            remedy = "Correct the region, or leave it out."
            raise BadInput(f"{name}[{bad[0]}]", float(values[bad[0]]), "must be finite", remedy)
    if not (people > 0).all():
        remedy = "Leave regions without people out."
        raise BadInput("people", float(people.min()), "must be above 0", remedy)
    if people.min() < _SMALLEST * people.max():
        allowed = f"must be at least {_SMALLEST:g} of the largest region's {people.max():g}"
        raise BadInput("people", float(people.min()), allowed, "Give all regions' people in one unit.")
    least = int(min(treated.sum(), (~treated).sum()))
    if least < LEAST_REGIONS:
        remedy = "Treat more regions, or fewer."
        raise BadInput("treated", least, f"must leave {LEAST_REGIONS} regions in each group", remedy)
    if not during.any():
        remedy = "Check the response, or make the test longer."
        raise BadInput("during", 0.0, "must not be 0 in all regions", remedy)
