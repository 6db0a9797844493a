"""Worlds lived as the account lived, and the figures that their advertiser would have exported."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gaelp import __version__
from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput
from gaelp.core.files import replacing
from gaelp.core.jit import sources_hash
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, N_LINES, TouchKind
from gaelp.data import calibration_targets as targets
from gaelp.data.calibration_targets import NOBODY, STATISTICS, Observed, statistics_of
from gaelp.journeys.batch import US_PER_HOUR
from gaelp.market.file import MarketFile
from gaelp.market.market import Market, World
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.worlds.calibration import parameters
from gaelp.worlds.calibration.parameters import levels_of, prior_world
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, make_market, warm_up
from gaelp.worlds.ga4_export import status_quo
from gaelp.worlds.reports import Watched
from gaelp.worlds.visible import event_rows

Floats = NDArray[np.float64]

BATCH: Final = 32
"""Worlds lived together."""
_EVER = np.iinfo(np.int32).max


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the account was flown while the data came.

    Attributes:
        n_people: people of a simulated panel. n_days: of the data.
        make_policy: the policy that flew, made anew for each batch; None for the status quo.
        warm_up_days: lived before the data begin.
    """

    n_people: int
    n_days: int
    make_policy: Callable[[], Policy] | None = None
    warm_up_days: int = WARM_UP_DAYS

    def policy(self, file: MarketFile) -> Policy:
        """A fresh policy."""
        return self.make_policy() if self.make_policy else status_quo(file)


def observe(worlds: Sequence[World], setting: Setting, tick: Tick = lambda _: None) -> list[Observed]:
    """What the advertiser of each world could export; the same as `read_observed` on its files.

    Args:
        worlds: of one market. setting: how they are lived. tick: told the world-hours done.

    Raises:
        BadInput: more happened in a world than there is room for.
    """
    room = 1000 + event_rows(setting.n_people, setting.n_days)
    market = make_market(list(worlds), setting.n_people, event_rows=room)
    traffic = warm_up(market, setting.warm_up_days, tick)
    market.books.n_events[:] = 0  # what came before the data is not in them
    watched = Watched(setting.policy(worlds[0].file), worlds[0].file, setting.n_people)
    flight = fly(
        market,
        watched,
        days=setting.n_days,
        traffic=traffic,
        tick=tick,
        keep_bids=False,
    )
    reports = watched.reports()
    return [_observed(market, flight, reports, w, setting.n_people) for w in range(len(worlds))]


def simulate_statistics(worlds: Sequence[World], setting: Setting, tick: Tick = lambda _: None) -> Floats:
    """(n_worlds, len(STATISTICS)) summary statistics of worlds.

    Args:
        worlds: of one market. setting: how they are lived. tick: told the world-hours done.
    """
    found = np.empty((len(worlds), len(STATISTICS)))
    for first in range(0, len(worlds), BATCH):
        seen = observe(worlds[first : first + BATCH], setting, tick)
        found[first : first + len(seen)] = [statistics_of(each) for each in seen]
    return found


def _observed(
    market: Market, flight: Flight, reports: dict[str, Floats], world: int, n_people: int
) -> Observed:
    file = market.worlds[world].file
    sight = Sight(file.visibility)
    seen = seen_events(market, world, flight.seat, sight, _EVER)
    hour = seen["hour"].astype(np.int64) - flight.start
    within = (hour >= 0) & (hour < flight.hours)
    seen, hour = seen[within], hour[within]
    came = np.isin(seen["kind"], (TouchKind.CLICK, TouchKind.VISIT))
    sold = seen["kind"] == TouchKind.CONVERSION
    is_known = seen["visitor"] > 0
    is_logged_in = is_known & (seen["login"] > 0)
    number = np.where(is_logged_in, seen["login"], seen["visitor"])
    _, code = np.unique(number, return_inverse=True)
    person = np.where(is_known, code.astype(np.int64), NOBODY)
    channel, cells = _ads(flight, reports, world, sight)
    began = np.datetime64(file.start, "us").astype(np.int64) + flight.start * US_PER_HOUR
    return Observed(
        n_people=n_people,
        n_days=flight.hours // 24,
        hour=hour[came],
        channel=seen["channel"][came].astype(np.int64),
        device=seen["device"][came].astype(np.int64),
        person=person[came],
        is_logged_in=is_logged_in[came],
        sale_hour=hour[sold],
        sale_person=person[sold],
        sale_value=seen["value_micros"][sold] / MICROS_PER_USD,
        ad_channel=channel,
        ads=cells,
        first_us=int(began),
    )


def _ads(
    flight: Flight, reports: dict[str, Floats], world: int, sight: Sight
) -> tuple[NDArray[np.int64], Floats]:
    """The ad report of a world, a cell for each hour and line with anything in it; as `write_ads` has it."""
    told = [reports[name][world] for name in ("impressions", "clicks")]
    spend = np.where(np.isnan(reports["spend_usd"][world]), np.nan, flight.spend_micros[world])
    conversions = np.zeros(spend.shape)
    which, line, clicked, _ = flight.arrivals.T
    own = which == world
    np.add.at(conversions, (clicked[own], line[own]), 1)
    conversions[:, sight.never["conversion"][CHANNEL_OF_LINE]] = np.nan
    table = np.stack([*told, spend, conversions], axis=-1).reshape(-1, 4)
    line_of_cell = np.tile(np.arange(N_LINES), flight.hours)
    some = (np.nan_to_num(table) > 0).any(axis=1)
    return CHANNEL_OF_LINE[line_of_cell[some]].astype(np.int64), table[some]


@dataclass(frozen=True, eq=False)
class Draws:
    """Worlds of the prior and what their advertisers would have seen.

    Attributes:
        levels: (n_worlds, len(FREE)). statistics: (n_worlds, len(STATISTICS)).
    """

    levels: Floats
    statistics: Floats

    def __len__(self) -> int:
        return len(self.levels)

    def __add__(self, other: "Draws") -> "Draws":
        """These and others."""
        return Draws(
            np.concatenate([self.levels, other.levels]), np.concatenate([self.statistics, other.statistics])
        )

    def within(self, bounds: Floats) -> "Draws":
        """Those with all levels between (len(FREE), 2) bounds."""
        rows = ((self.levels >= bounds[:, 0]) & (self.levels <= bounds[:, 1])).all(axis=1)
        return Draws(self.levels[rows], self.statistics[rows])


def batches_of(folder: Path, base: MarketFile, setting: Setting, first_us: int, policy: str) -> Path:
    """Where in a folder the prior's worlds of such an account are kept: a place for each market and setting.

    Args:
        folder: for worlds of any account. base: the market file. setting: how worlds are lived.
        first_us: of the data, microseconds since 1970. policy: what flew.
    """
    code = [Path(module).read_bytes() for module in (__file__, parameters.__file__, targets.__file__)]
    asked = (
        *(base.sha256, first_us, policy, code, sources_hash(), __version__),
        *(setting.n_people, setting.n_days, setting.warm_up_days),
    )
    place = folder / hashlib.sha256(repr(asked).encode()).hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    return place


def draw(
    base: MarketFile,
    setting: Setting,
    n_worlds: int,
    seed: int,
    *,
    bounds: Floats | None = None,
    kept: Path | None = None,
    tick: Tick = lambda _: None,
) -> Draws:
    """Live worlds of the prior.

    Args:
        base: the market file. setting: how worlds are lived. n_worlds: how many. seed: names the draw.
        bounds: (len(FREE), 2) of the levels; None for the whole prior.
        kept: folder in which each batch is kept, so that a broken run goes on; of one seed and setting.
        tick: told the world-hours done.

    Raises:
        BadInput: a kept batch cannot be read.
    """
    parts = []
    for first in range(0, n_worlds, BATCH):
        path = kept / f"worlds-{seed}-{first:05d}.npz" if kept else None
        size = min(BATCH, n_worlds - first)
        if path and path.is_file():
            try:
                with path.open("rb") as file, np.load(file) as found:
                    part = Draws(found["levels"][:size], found["statistics"][:size])
            except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
                remedy = f"Delete it in {path.parent}: its worlds are lived again."
                raise BadInput("kept worlds", path.name, f"must be whole ({error})", remedy) from error
            tick(size * 24 * (setting.warm_up_days + setting.n_days))
        else:
            worlds = [prior_world(base, seed, i, bounds) for i in range(first, first + size)]
            levels = np.array([levels_of(world.file, base) for world in worlds])
            part = Draws(levels, simulate_statistics(worlds, setting, tick))
            if path and size == BATCH:
                with replacing(path) as neighbour:
                    np.savez(neighbour, levels=part.levels, statistics=part.statistics)
        parts.append(part)
    return sum(parts[1:], parts[0])
