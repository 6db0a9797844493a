"""Regions by week in the shapes that media mix models read: Google's Meridian and PyMC-Marketing.

Meridian's `CsvDataLoader` wants one row per geo and week: `geo`, `time` (the week's first day, yyyy-mm-dd),
`kpi`, `revenue_per_kpi`, `population`, and two columns a channel, by our names `NAME_impression` and
`NAME_spend`. It refuses gaps, so a week without sales has the account's mean revenue per sale.

PyMC-Marketing's `MMM(date_column="date", target_column="y", channel_columns=[...], dims=("geo",))` wants
`date`, `geo`, `y` and a column of spend a channel. Its `add_lift_test_measurements` wants one row a test:
`channel`, `geo`, `x` (spend a week), `delta_x`, `delta_y` (sales a week), `sigma`; deltas must have one sign.

Source: developers.google.com/meridian, user guide, "Load geo-level data without reach and frequency";
pymc-marketing.io, `MMM.add_lift_test_measurements`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.journeys.columns import Floats, Texts

FORMATS = ("meridian", "pymc")
DAYS_A_WEEK = 7
LEAST_WEEKS = 2
Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class GeoWeeks:
    """Regions by whole weeks; only channels that cost anything.

    Attributes:
        geos: (n_geos,) names.
        weeks: (n_weeks,) first days.
        channels: names.
        population: (n_geos,).
        sales, revenue_usd: (n_geos, n_weeks).
        spend_usd, impressions: (n_geos, n_weeks, n_channels).
        spent_usd: (n_geos, n_channels) of all days, those after the last whole week too.
    """

    geos: Texts
    weeks: NDArray[np.datetime64]
    channels: tuple[str, ...]
    population: Floats
    sales: Floats
    revenue_usd: Floats
    spend_usd: Floats
    impressions: Floats
    spent_usd: Floats


def geo_weeks(
    geos: Sequence[str],
    first_day: np.datetime64,
    channels: Sequence[str],
    *,
    population: Floats,
    sales: NDArray[Any],
    revenue_usd: Floats,
    spend_usd: Floats,
    impressions: NDArray[Any],
) -> GeoWeeks:
    """Add days up to weeks from the first day on; days beyond the last whole week count in `spent_usd` only.

    Args:
        geos: (n_geos,) names. first_day: of the table. channels: (n_channels,) names.
        population: (n_geos,).
        sales, revenue_usd: (n_days, n_geos).
        spend_usd, impressions: (n_days, n_geos, n_channels).

    Raises:
        BadInput: there are less than two weeks, nobody lives in a region, or nothing was spent or sold.
    """
    n_weeks = len(sales) // DAYS_A_WEEK
    if n_weeks < LEAST_WEEKS:
        remedy = "Simulate more days with --regions."
        raise BadInput("days", len(sales), f"must be at least {LEAST_WEEKS * DAYS_A_WEEK}", remedy)
    empty = np.flatnonzero(~(population > 0))
    if empty.size:
        raise BadInput("population", geos[int(empty[0])], "must have people", "Correct the table of regions.")

    def weekly(values: NDArray[Any]) -> Floats:
        """(n_geos, n_weeks, ...)."""
        days = np.asarray(values, float)[: n_weeks * DAYS_A_WEEK]
        return np.swapaxes(days.reshape(n_weeks, DAYS_A_WEEK, *days.shape[1:]).sum(axis=1), 0, 1)

    spend = weekly(spend_usd)
    bought = np.flatnonzero(spend.sum(axis=(0, 1)) > 0)
    for name, total in (("spend_usd", bought.size), ("sales", weekly(sales).sum())):
        if not total:
            raise BadInput(name, 0, "must not be 0 in all weeks", "Export a run that spent and sold.")
    return GeoWeeks(
        geos=np.array(geos),
        weeks=first_day + DAYS_A_WEEK * np.arange(n_weeks),
        channels=tuple(channels[c] for c in bought.tolist()),
        population=np.asarray(population, float),
        sales=weekly(sales),
        revenue_usd=weekly(revenue_usd),
        spend_usd=spend[..., bought],
        impressions=weekly(impressions)[..., bought],
        spent_usd=np.asarray(spend_usd, float).sum(axis=0)[:, bought],
    )


def table_of(weeks: GeoWeeks, kind: str) -> Columns:
    """One row per region and week, regions one after the other, in the shape of one of `FORMATS`.

    Raises:
        UnknownName: there is no such shape.
    """
    require_known("format", kind, FORMATS)
    n_geos, n_weeks = weeks.sales.shape
    geo, week = np.repeat(weeks.geos, n_weeks), np.tile(np.datetime_as_string(weeks.weeks, "D"), n_geos)
    by_channel = list(enumerate(weeks.channels))
    usd = np.round(weeks.spend_usd, 6)  # sums of whole micros
    if kind == "pymc":
        spend = {name: usd[..., c].ravel() for c, name in by_channel}
        return {"date": week, "geo": geo, "y": weeks.sales.ravel(), **spend}
    mean = weeks.revenue_usd.sum() / weeks.sales.sum()
    per_sale = np.where(weeks.sales > 0, weeks.revenue_usd / np.maximum(weeks.sales, 1), mean)
    table = {
        "geo": geo,
        "time": week,
        "kpi": weeks.sales.ravel(),
        "revenue_per_kpi": per_sale.ravel(),
        "population": np.repeat(weeks.population, n_weeks),
    }
    for c, name in by_channel:
        table[f"{name}_impression"] = weeks.impressions[..., c].ravel()
        table[f"{name}_spend"] = usd[..., c].ravel()
    return table


def lift_tests(
    weeks: GeoWeeks, n_weeks_on: float, effect: Mapping[str, float], error: Mapping[str, float]
) -> Columns:
    """Each channel switched off as a lift test, in the shape that PyMC-Marketing reads.

    An effect known for the whole account is laid on its regions by their spend, and its error times the root
    of their number on each, so that all rows together hold what the one test holds, once. A channel that
    did not sell more in truth, or not by these draws, has no rows: the library takes none. Spend and effect
    are of the same days, all of the flight, whole weeks or not: `x` is a week's spend as the flight went, and
    `delta_y` a week's sales that it caused.

    Args:
        weeks: of the account, from the flight's first day on.
        n_weeks_on: the flight's length, parts of weeks included.
        effect: by channel, sales that the flight caused in all, whenever they were booked.
        error: by channel, standard error of that.

    Returns:
        Columns `channel`, `geo`, `x`, `delta_x`, `delta_y`, `sigma`, one row per channel and region that
        spent.
    """
    rows: list[tuple[Any, ...]] = []
    for c, name in enumerate(weeks.channels):
        if not effect.get(name, 0.0) > 0 or not error[name] > 0:
            continue
        spent = weeks.spent_usd[:, c]
        regions = np.flatnonzero(spent > 0)
        for g in regions:
            share = spent[g] / spent.sum()
            x = spent[g] / n_weeks_on
            sigma = share * error[name] / n_weeks_on * np.sqrt(regions.size)
            rows.append((name, weeks.geos[g], x, -x, -share * effect[name] / n_weeks_on, sigma))
    names = ("channel", "geo", "x", "delta_x", "delta_y", "sigma")
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return {
        name: np.array(column, np.str_ if name in ("channel", "geo") else float)
        for name, column in zip(names, columns, strict=True)
    }
