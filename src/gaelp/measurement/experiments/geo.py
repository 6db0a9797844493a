"""Geo experiments: ads change in some regions, the others say what would have been.

By days (`time_regression`) the treated regions' daily sum is regressed on the control's; by regions
(`geo_regression`) each region's sales on its people and its sales before. By days nothing need be known of
the regions; by regions a day may sell little.

iROAS is the effect over what was spent beyond what would have been: exactly the spend where nothing was spent
before nor in control, and else the same regression on cost, its error included. The placebo p-value deals the
same number of regions at random to treatment again and again, and counts how often their effect stands out
from its error as far as the real one: it supposes no law, only that regions were dealt at random.

Source: Kerman, Wang & Vaver, Google 2017, and Vaver & Koehler, Google 2011: see there; Fisher's randomisation
test.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.journeys.columns import Floats, Texts
from gaelp.measurement.checks import check_shares
from gaelp.measurement.experiments.geo_regression import over_regions, region_lift
from gaelp.measurement.experiments.time_regression import Effect, doubts, fit_before, over_days

Days = NDArray[np.datetime64]
LEAST_PRE = 7
"""Days, or other steps of the table, that the regression over days must have before the test."""
_DRAWS = 20_000


class Window(NamedTuple):
    """Days from first to last, both included."""

    first: np.datetime64
    last: np.datetime64


@dataclass(frozen=True)
class Panel:
    """Regions by day.

    Attributes:
        geos: (n_geos,) names.
        days: (n_days,) rising.
        response, cost: (n_geos, n_days); a region without a row on a day had nothing.
        absent: rows that were not there.
    """

    geos: Texts
    days: Days
    response: Floats
    cost: Floats
    absent: int


def window(name: str, text: str) -> Window:
    """A window from text.

    Args:
        name: of the option, for errors.
        text: FROM:TO, two days like 2015-01-05 or 20150105.

    Raises:
        BadInput: if it is not that, or ends before it begins.

    >>> window("pre", "2015-01-05:2015-02-15").last
    np.datetime64('2015-02-15')
    """
    parts = text.split(":")
    try:
        first, last = (date.fromisoformat(part.strip()) for part in parts)
    except ValueError:
        first, last = date.max, date.min
    if first > last:
        allowed = "must be two days FROM:TO, the earlier first"
        raise BadInput(name, text, allowed, f"Write it like --{name} 2015-01-05:2015-02-15.")
    return Window(np.datetime64(first, "D"), np.datetime64(last, "D"))


def panel(geo: Texts, day: Days, response: Floats, cost: Floats) -> Panel:
    """Rows in any order as regions by day.

    Args:
        geo, day, response, cost: (n_rows,).

    Raises:
        BadInput: if a region has two rows on one day.
    """
    geos, g = np.unique(geo, return_inverse=True)
    days, d = np.unique(day, return_inverse=True)
    cell = g * days.size + d
    rows = np.bincount(cell, minlength=geos.size * days.size)
    twice = np.flatnonzero(rows > 1)
    if twice.size:
        where = f"{geos[twice[0] // days.size]} on {days[twice[0] % days.size]}"
        raise BadInput("geo", where, "must have one row a day", "Add up rows of the same region and day.")
    shape = (geos.size, days.size)
    filled = [np.zeros(rows.size), np.zeros(rows.size)]
    for whole, values in zip(filled, (response, cost), strict=True):
        whole[cell] = values
    return Panel(geos, days, filled[0].reshape(shape), filled[1].reshape(shape), int((rows == 0).sum()))


def group_of(table: Panel, geo: Texts, group: Texts | None, treated: str | None) -> NDArray[np.bool_]:
    """Which regions of a panel are in the treated group, (n_geos,).

    Args:
        table: made of the same rows.
        geo, group: (n_rows,) names and groups.
        treated: the group's name.

    Raises:
        UnknownName: if there is no such group.
        BadInput: if a group or its name is missing, or a region is in two groups.
    """
    if group is None or treated is None:
        missing = "group" if group is None else "treated"
        raise BadInput(missing, None, "must come with its partner", "Give --group and --treated both.")
    require_known("treated", treated, np.unique(group).tolist())
    index = np.searchsorted(table.geos, geo)
    inside = np.bincount(index, weights=group == treated, minlength=table.geos.size)
    rows = np.bincount(index, minlength=table.geos.size)
    both = np.flatnonzero((inside > 0) & (inside < rows))
    if both.size:
        region = str(table.geos[both[0]])
        raise BadInput("group", region, "must be in one group on all its days", "Mend the group column.")
    chosen: NDArray[np.bool_] = inside > 0
    return chosen


def people_of(table: Panel, geo: Texts, people: Floats) -> Floats:
    """People of a panel's regions, (n_geos,).

    Args:
        table: made of the same rows.
        geo, people: (n_rows,) names and people.

    Raises:
        BadInput: if a region has different numbers on different days, or no people.
    """
    index = np.searchsorted(table.geos, geo)
    least, most = np.full(table.geos.size, np.inf), np.full(table.geos.size, -np.inf)
    np.minimum.at(least, index, people)
    np.maximum.at(most, index, people)
    for bad, allowed, remedy in (
        (least < most, "must have as many people on all days", "Give each region one census figure."),
        (~(least > 0), "must have people", "Leave regions without people out."),
    ):
        if bad.any():
            raise BadInput("population", str(table.geos[bad][0]), allowed, remedy)
    return least


def geo_lift(
    table: Panel,
    pre: Window,
    test: Window,
    treated: NDArray[np.bool_] | None = None,
    *,
    people: Floats | None = None,
    level: float = 0.95,
    n_placebos: int = 999,
    seed: int = 0,
) -> dict[str, Any]:
    """What the treated regions sold beyond what would have been, and what a dollar of it cost.

    Args:
        table: regions by day.
        pre, test: windows; the test comes after.
        treated: (n_geos,) None: those with cost in the test.
        people: (n_geos,) given: the regression is over regions; None: over days.
        level: of the intervals.
        n_placebos: random deals of regions.
        seed: names them.

    Returns:
        {"iroas", "iroas_se", "low", "high", "effect", "effect_se", "effect_low", "effect_high",
        "incremental_cost", "lift", "placebo_p", "by": "days" or "regions", "cost": "fixed" or "modelled",
        "geos_treated", "geos_control", "pre_days", "test_days", "absent_rows", "warnings"}, by days "slope",
        "r_squared", "residual_autocorrelation" of the fit before the test, and by regions "carried", the
        weight on sales before; the ends of iROAS are None where cost may not have changed. `warnings` say why
        days do not tell.

    Raises:
        BadInput: if windows overlap, days in them are missing, a group is empty, or nothing was spent; by
            regions as `region_lift` does.
    """
    check_shares(level=level)
    before, during = _inside("pre", pre, table.days), _inside("test", test, table.days)
    if pre.last >= test.first:
        raise BadInput(
            "pre",
            f"{pre.first}:{pre.last}",
            f"must end before the test begins, {test.first}",
            "Move one of them.",
        )
    if people is None and before.sum() < LEAST_PRE:
        raise BadInput("pre", int(before.sum()), f"must hold at least {LEAST_PRE} dates", "Begin earlier.")
    chosen = table.cost[:, during].sum(axis=1) > 0 if treated is None else np.asarray(treated, bool)
    _check_groups(table, chosen, before | during)
    y, x = (table.response[group][:, before].sum(axis=0) for group in (chosen, ~chosen))
    if people is None:
        told: dict[str, Any] = {**fit_before(y, x), "by": "days", "warnings": doubts(y, x)}
    else:
        sold, later = (table.response[:, days].sum(axis=1) for days in (before, during))
        told = {"carried": region_lift(sold, later, people, chosen).carried, "by": "regions", "warnings": []}

    def effect(labels: NDArray[np.bool_], values: Floats) -> Effect:
        if people is None:
            return over_days(labels, values, before, during)
        return over_regions(labels, values[:, before].sum(axis=1), values[:, during].sum(axis=1), people)

    labels = chosen[None, :]
    response = effect(labels, table.response)
    cost_before = table.cost[:, before].sum() + table.cost[~chosen][:, during].sum()
    fixed = bool(abs(cost_before) < 1e-9)
    if fixed:
        total = table.cost[chosen][:, during].sum()
        cost = Effect(np.array([total]), np.zeros(1), response.freedom)
    else:
        cost = effect(labels, table.cost)
    iroas, error, ends = _ratio(response, cost, level, seed)
    rng = np.random.default_rng(seed)
    dealt = np.zeros((n_placebos, chosen.size), bool)
    for row in dealt:
        row[rng.choice(chosen.size, int(chosen.sum()), replace=False)] = True
    placebo = effect(dealt, table.response)
    as_far = (
        np.abs(placebo.value) * response.error >= np.abs(response.value) * placebo.error
    )  # either may be 0
    valid = np.isfinite(placebo.value) & np.isfinite(placebo.error)  # a deal that says nothing is no deal
    reach = float(student.ppf(0.5 + level / 2, response.freedom)) * float(response.error[0])
    value, seen = float(response.value[0]), table.response[chosen][:, during].sum()
    return {
        "iroas": iroas,
        "iroas_se": error,
        "low": ends[0],
        "high": ends[1],
        "effect": value,
        "effect_se": float(response.error[0]),
        "effect_low": value - reach,
        "effect_high": value + reach,
        "incremental_cost": float(cost.value[0]),
        "lift": float(value / (seen - value)) if seen - value > 0 else None,
        "placebo_p": float((1 + as_far[valid].sum()) / (1 + valid.sum())),
        "cost": "fixed" if fixed else "modelled",
        "geos_treated": int(chosen.sum()),
        "geos_control": int((~chosen).sum()),
        "pre_days": int(before.sum()),
        "test_days": int(during.sum()),
        "absent_rows": table.absent,
        **told,
    }


def _ratio(
    response: Effect, cost: Effect, level: float, seed: int
) -> tuple[float, float, tuple[float | None, float | None]]:
    spent, spent_error = float(cost.value[0]), float(cost.error[0])
    if np.isnan(spent):
        allowed = "must not be of treated regions alone before the test: it would tell which they are"
        raise BadInput("cost", "cost before the test in treated regions alone", allowed, "Use --by days.")
    if not abs(spent) > 0:
        raise BadInput("cost", spent, "must differ from what would have been spent", "Check the cost column.")
    gained, gained_error = float(response.value[0]), float(response.error[0])
    iroas = gained / spent
    error = float(np.hypot(gained_error, iroas * spent_error) / abs(spent))
    far = float(student.ppf(0.5 + level / 2, response.freedom))
    if spent_error == 0:
        return iroas, error, (iroas - far * error, iroas + far * error)
    if abs(spent) <= far * spent_error:
        return iroas, error, (None, None)
    rng = np.random.default_rng(seed)
    draws = [
        value + spread * rng.standard_t(response.freedom, _DRAWS)
        for value, spread in ((gained, gained_error), (spent, spent_error))
    ]
    low, high = np.quantile(draws[0] / draws[1], [(1 - level) / 2, (1 + level) / 2])
    return iroas, error, (float(low), float(high))


def _inside(name: str, asked: Window, days: Days) -> NDArray[np.bool_]:
    """Which days lie in a window, none of them missing at the table's step."""
    inside = (days >= asked.first) & (days <= asked.last)
    step = np.diff(days).min() if days.size > 1 else np.timedelta64(1, "D")
    expected = np.arange(days[0], days[-1] + 1, step)
    gone = np.setdiff1d(expected[(expected >= asked.first) & (expected <= asked.last)], days)
    if gone.size:
        raise BadInput(
            f"{name}, date",
            str(gone[0]),
            f"must be in the table; {gone.size} dates of the window are not",
            "Fill in the missing dates, or choose a window without them.",
        )
    if not inside.any() or days[0] - asked.first >= step or asked.last - days[-1] >= step:
        raise BadInput(
            name,
            f"{asked.first}:{asked.last}",
            f"must lie within the table's dates, {days[0]}:{days[-1]}",
            "Choose another window.",
        )
    return inside


def _check_groups(table: Panel, chosen: NDArray[np.bool_], used: NDArray[np.bool_]) -> None:
    if chosen.shape != table.geos.shape or not 0 < chosen.sum() < chosen.size:
        raise BadInput(
            "treated",
            f"{int(chosen.sum())} of {chosen.size} regions",
            "must be some regions, and not all",
            "Name the group column and the treated value, or check cost in the test window.",
        )
    for name, group in (("treated", chosen), ("control", ~chosen)):
        if not np.abs(table.response[group][:, used]).sum() > 0:
            raise BadInput(
                "response", 0.0, f"must not be 0 in all {name} regions", "Check the response column."
            )
