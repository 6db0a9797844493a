"""Geo experiments by geo-based regression: regions, not days, say how sure the effect is.

With y1 a region's sales during the test, y0 its sales before, N its people and d = 1 where ads changed,

    y1 = a N + b y0 + c d N + e        variance of e in proportion to N

is fitted by weighted least squares; the effect is c times the people of the treated regions. What changes in
all regions alike, a season or a price, goes into `a`, which time-based regression can only learn from days on
which it has happened before: where a day's sales are few, its slope on the control regions is flattened by
their counting noise, and a drift between the windows is taken for an effect. The error is robust to regions
of unequal variance (HC2), and days may depend on each other as they like.

Source: Vaver & Koehler, Measuring ad effectiveness using geo experiments, Google 2011, equation 1, with
people for size; MacKinnon & White, J. Econometrics 29, 1985 (HC2).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from gaelp.core.errors import BadInput
from gaelp.journeys.columns import Floats
from gaelp.measurement.checks import check_shares

LEAST_REGIONS = 4
"""In each group, so that an error can be known."""


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
        before, during: (n_geos,) response summed over the days before, and over those of the test.
        people: (n_geos,) size, above 0, any scale.
        treated: (n_geos,).
        level: of the interval.

    Raises:
        BadInput: shapes differ, a region has no people, or a group has too few regions.

    >>> people = np.array([4.0, 2.0, 1.0, 1.0, 4.0, 2.0, 1.0, 1.0])
    >>> before = np.array([41.0, 19.0, 11.0, 8.0, 40.0, 22.0, 9.0, 10.0])
    >>> treated = np.arange(8) < 4
    >>> found = region_lift(before, before * 0.9 + people * treated, people, treated)
    >>> round(found.effect, 6), round(found.carried, 6)
    (8.0, 0.9)
    """
    check_shares(level=level)
    if not before.shape == during.shape == people.shape == treated.shape:
        shapes = [array.shape for array in (before, during, people, treated)]
        raise BadInput("shapes", shapes, "must be one value a region", "Hand over regions in one order.")
    if not (people > 0).all():
        remedy = "Leave regions without people out."
        raise BadInput("people", float(people.min()), "must be above 0", remedy)
    least = int(min(treated.sum(), (~treated).sum()))
    if least < LEAST_REGIONS:
        remedy = "Treat more regions, or fewer."
        raise BadInput("treated", least, f"must leave {LEAST_REGIONS} regions in each group", remedy)
    root = np.sqrt(people)[:, None]
    design = np.stack([people, before, people * treated], axis=1) / root
    target = during / root[:, 0]
    solved = np.linalg.pinv(design)  # (3, n_geos); a constant sales rate before leaves b at 0
    fitted = solved @ target
    left = target - design @ fitted
    leverage = np.einsum("gk,kg->g", design, solved)
    reach = float(people[treated].sum())
    noise = (solved[2] * left) ** 2 / np.maximum(1.0 - leverage, 1e-9)
    error = reach * float(np.sqrt(noise.sum()))
    effect = reach * float(fitted[2])
    far = float(student.ppf(0.5 + level / 2, before.size - 3)) * error
    return RegionLift(effect, error, effect - far, effect + far, float(fitted[1]))
