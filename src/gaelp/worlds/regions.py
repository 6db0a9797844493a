"""What an account can know of its regions by day: delivery by paid channel, and its own sales.

Platforms report impressions, clicks and spend by region; sales the advertiser books itself, with the postal
code. A sale counts on the day it is booked, in the region in which its buyer lives.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.files import replacing
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES, N_REGIONS, PAID_CHANNELS
from gaelp.journeys.columns import days, names, numbers, read_columns
from gaelp.market.market import Market
from gaelp.market.state import GEO_CLICKS, GEO_IMPRESSIONS, GEO_SPEND
from gaelp.worlds.flight import Tick

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REGIONS = "regions.csv"
"""The table's name in a run folder."""
REGION_NAMES = tuple(f"region {region}" for region in range(N_REGIONS))
"""As `city` in the events of a run."""
_FIRST_LINE = [next(i for i, line in enumerate(LINES) if line.channel is kind) for kind in PAID_CHANNELS]
_DELIVERY = (("spend_usd", GEO_SPEND), ("impressions", GEO_IMPRESSIONS), ("clicks", GEO_CLICKS))


@dataclass(frozen=True)
class RegionDays:
    """Accounts' regions by day.

    Attributes:
        first_day: calendar day of the first row of days.
        population: (n_worlds, n_regions) people as a census has them, in units of the panel.
        delivery: (n_worlds, n_days, n_regions, n_paid_channels, 3) by `market.state.GEO_FIELDS`.
        sales: (n_worlds, n_days, n_regions) booked that day.
        revenue_usd: (n_worlds, n_days, n_regions) what they are worth.
    """

    first_day: np.datetime64
    population: Floats
    delivery: Ints
    sales: Ints
    revenue_usd: Floats

    @property
    def days(self) -> NDArray[np.datetime64]:
        """(n_days,) calendar days."""
        return self.first_day + np.arange(self.sales.shape[1])

    @property
    def spend_usd(self) -> Floats:
        """(n_worlds, n_days, n_regions, n_paid_channels)."""
        return self.delivery[..., GEO_SPEND] / MICROS_PER_USD


class RegionRecorder:
    """Reads a seat's regional books at each midnight; hand it to `fly` and `run_off` as their `tick`.

    Args:
        market: worlds at the first hour of a day.
        seat: whose books.
        tick: told what the recorder is told.

    Raises:
        BadInput: the day has begun already.
    """

    def __init__(self, market: Market, *, seat: int = 0, tick: Tick = lambda _: None) -> None:
        if market.hour % 24:
            raise BadInput(
                "market.hour", market.hour, "must be the first of a day", "Let the day pass first."
            )
        self.market = market
        self.seat = seat
        self.start = market.hour
        self._tick = tick
        self._before = self._books()
        self._days: list[Ints] = []

    def __call__(self, done: int) -> None:
        """Some hours have passed, at most to the next midnight."""
        if self.market.hour % 24 == 0:
            assert self.market.hour == self.start + 24 * (len(self._days) + 1), "a midnight was not told"
            now = self._books()
            self._days.append(now - self._before)
            self._before = now
        self._tick(done)

    def table(self) -> RegionDays:
        """The days recorded so far, with the sales that were booked on them.

        Raises:
            BadInput: no day has passed.
        """
        if not self._days:
            raise BadInput("days", 0, "must be at least 1", "Fly with this recorder as the tick first.")
        sales, revenue = booked_by_region(self.market, self.start // 24, len(self._days), self.seat)
        edge = self.market.rules["region_edge"]
        return RegionDays(
            first_day=np.datetime64(self.market.worlds[0].file.start + dt.timedelta(days=self.start // 24)),
            population=np.diff(edge, axis=1, prepend=0.0) * self.market.n_people,
            delivery=np.stack(self._days, axis=1),
            sales=sales,
            revenue_usd=revenue,
        )

    def _books(self) -> Ints:
        """(n_worlds, n_regions, n_paid_channels, 3) since the worlds began; lines stand by channel."""
        sums: Ints = np.add.reduceat(self.market.books.geo[:, self.seat], _FIRST_LINE, axis=2)
        return sums


def booked_by_region(market: Market, first_day: int, n_days: int, seat: int = 0) -> tuple[Ints, Floats]:
    """A seat's own sales by the day they were booked and the region of the buyer.

    Args:
        market: after those days. first_day: days since the worlds began. n_days: how many.
        seat: whose.

    Returns:
        sales: (n_worlds, n_days, n_regions).
        revenue_usd: the same shape.
    """
    shape = (market.n_worlds, n_days, N_REGIONS)
    sales, revenue = np.zeros(shape, np.int64), np.zeros(shape)
    for w in range(market.n_worlds):
        made = market.decisions(w)
        made = made[made["brand"] == seat]
        day = made["book_hour"].astype(np.int64) // 24 - first_day
        made, day = made[(day >= 0) & (day < n_days)], day[(day >= 0) & (day < n_days)]
        at = (day, made["region"].astype(int))
        np.add.at(sales[w], at, 1)
        np.add.at(revenue[w], at, made["value_micros"] / MICROS_PER_USD)
    return sales, revenue


def write_regions(path: Path, table: RegionDays) -> None:
    """Write a table, one row per world, region and day; the ending says how, `.csv` or `.parquet`.

    Columns: `world`, `region`, `day`, `population`, `sales`, `revenue_usd`, `spend_usd`, and for each paid
    channel `NAME_spend_usd`, `NAME_impressions`, `NAME_clicks`. For e-mail an impression is a message.

    Raises:
        BadInput: as `write_columns`.
    """
    # rows in the order world, region, day
    shape = (*table.population.shape, table.days.size)
    world, region, day = (index.ravel() for index in np.indices(shape))
    columns: dict[str, Any] = {
        "world": world,
        "region": np.array(REGION_NAMES)[region],
        "day": table.days[day],
        "population": np.round(table.population, 3)[world, region],
        "sales": table.sales[world, day, region],
        "revenue_usd": table.revenue_usd[world, day, region],
        "spend_usd": table.delivery[..., GEO_SPEND].sum(axis=3)[world, day, region] / MICROS_PER_USD,
    }
    for c, channel in enumerate(PAID_CHANNELS):
        for name, field in _DELIVERY:
            values = table.delivery[..., c, field][world, day, region]
            in_usd = values / MICROS_PER_USD
            columns[f"{channel.name.lower()}_{name}"] = in_usd if field == GEO_SPEND else values
    write_columns(path, columns)


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write columns as a table, whole or not at all; the ending says how, `.csv` or `.parquet`.

    Raises:
        BadInput: another ending.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise BadInput("path", str(path), "must end in .csv or .parquet", "Choose one of them.")
    arrow: Any = import_module("pyarrow")
    table = arrow.table({name: arrow.array(column) for name, column in columns.items()})
    with replacing(path) as neighbour:
        if path.suffix == ".csv":
            options = import_module("pyarrow.csv").WriteOptions(quoting_style="needed")
            import_module("pyarrow.csv").write_csv(table, neighbour, options)
        else:
            import_module("pyarrow.parquet").write_table(table, neighbour)


def read_regions(path: Path, world: int = 0) -> RegionDays:
    """Read one world of a table that `write_regions` wrote, as a batch of one.

    Raises:
        BadInput: the file is not such a table, or the world is not in it.
    """
    wanted = ["world", "region", "day", "population", "sales", "revenue_usd"]
    wanted += [f"{channel.name.lower()}_{name}" for channel in PAID_CHANNELS for name, _ in _DELIVERY]
    cells = read_columns(str(path), wanted)
    worlds = numbers("world", cells["world"])
    mine = worlds == world
    if not mine.any():
        allowed = f"must be one of the run's worlds, 0 to {int(worlds.max()) if worlds.size else 0}"
        raise BadInput("world", world, allowed, "Name one that was simulated.")
    day = days("day", cells["day"])[mine]
    found = names("region", cells["region"])[mine]
    first, n_days = day.min(), int((day.max() - day.min()).astype(int)) + 1
    place = {name: region for region, name in enumerate(REGION_NAMES)}
    strange = sorted(set(found.tolist()) - place.keys())
    if strange or day.size != n_days * N_REGIONS:
        value = strange[0] if strange else f"{day.size} rows"
        allowed = f"must be {N_REGIONS} regions on each of {n_days} days"
        raise BadInput("region", value, allowed, "Simulate the run again with --regions.")
    at = ((day - first).astype(int), np.array([place[name] for name in found.tolist()]))

    def laid(name: str) -> Floats:
        whole = np.zeros((n_days, N_REGIONS))
        whole[at] = numbers(name, cells[name])[mine]
        return whole

    delivery = np.zeros((1, n_days, N_REGIONS, len(PAID_CHANNELS), len(_DELIVERY)), np.int64)
    for c, channel in enumerate(PAID_CHANNELS):
        for name, field in _DELIVERY:
            scale = MICROS_PER_USD if field == GEO_SPEND else 1
            delivery[0, ..., c, field] = np.rint(laid(f"{channel.name.lower()}_{name}") * scale)
    return RegionDays(
        first_day=first,
        population=laid("population")[:1],
        delivery=delivery,
        sales=np.rint(laid("sales")[None]).astype(np.int64),
        revenue_usd=laid("revenue_usd")[None],
    )
