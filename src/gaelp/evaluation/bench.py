"""The market's speed: CPU time per opportunity, memory per person, and what threads bring.

A cell is one world after a warm-up, with our ads on at fixed bids inside the usual budget, advanced three
days in hourly steps on one thread; its figure is the median of five runs from the same state. A cell of up
to 100,000 people is warmed up for 60 days, a larger one for 7. What is timed is `Market.advance`, with all
it costs in Python.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numba
import numpy as np

from gaelp.core.units import MICROS_PER_USD
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.market.state import Controls, empty_controls
from gaelp.worlds.flight import WARM_UP_DAYS, Tick, panel_budget, reference_prices
from gaelp.worlds.simulate import auctions
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.tuned import tuned_for

SHORT_WARM_UP_DAYS = 7
_LONG_WARM_UP_UP_TO = 100_000


@dataclass(frozen=True, kw_only=True)
class BenchSizes:
    """What is timed.

    Attributes:
        cells: (people, rivals) of each cell of one world.
        cell_days, repeats: length of a timed run, and how many there are.
        batch: worlds, people, days of the many-worlds run on all threads.
        scaling: worlds, people, days of the runs that are compared over threads.
    """

    cells: tuple[tuple[int, int], ...]
    cell_days: int
    repeats: int
    batch: tuple[int, int, int]
    scaling: tuple[int, int, int]


FULL = BenchSizes(
    cells=((10_000, 5), (10_000, 48), (1_000_000, 5)),
    cell_days=3,
    repeats=5,
    batch=(100, 10_000, 30),
    scaling=(8, 10_000, 10),
)
QUICK = BenchSizes(
    cells=((500, 5), (500, 48), (1_000, 5)), cell_days=3, repeats=2, batch=(4, 500, 3), scaling=(2, 500, 3)
)


def steps(sizes: BenchSizes) -> int:
    """Ticks that `bench_market` will give, for a progress bar's total."""
    return len(sizes.cells) * (sizes.repeats + 1) + 1 + len(_thread_counts())


def bench_market(file: MarketFile, sizes: BenchSizes = FULL, tick: Tick = lambda _: None) -> dict[str, Any]:
    """Time the market; kernels must have been compiled before.

    Args:
        file: the market.
        sizes: what is timed.
        tick: told of each run done.

    Returns:
        The JSON of `gaelp bench market`: ns of one thread per opportunity by people and rivals, bytes a
        person, wall time of the many-worlds run, opportunities per person and day, speed-up by threads.
    """
    threads = numba.get_num_threads()
    found: dict[str, dict[str, float]] = {}
    per_person = bytes_per_person = 0.0
    try:
        numba.set_num_threads(1)
        for i, (people, rivals) in enumerate(sizes.cells):
            market = _warm(with_rivals(file, rivals), 1, people)
            tick(1)
            runs = []
            for _ in range(sizes.repeats):
                runs.append(_timed(market.copy(), sizes.cell_days, time.process_time))
                tick(1)
            found.setdefault(str(people), {})[str(rivals)] = median(1e9 * s / held for s, held in runs)
            if i == 0:
                per_person = runs[0][1] / (people * sizes.cell_days)
                bytes_per_person = market.bytes_per_person
        numba.set_num_threads(threads)
        worlds, people, days = sizes.batch
        wall_s, _ = _timed(_warm(file, worlds, people, SHORT_WARM_UP_DAYS), days, time.perf_counter)
        tick(1)
        scaling = _thread_scaling(file, sizes, tick)
    finally:
        numba.set_num_threads(threads)
    return {
        "ns_per_opportunity": found,
        "bytes_per_user": bytes_per_person,
        "hundred_worlds_wall_s": wall_s,
        "hundred_worlds": list(sizes.batch),
        "opportunities_per_user_day": per_person,
        "thread_scaling": scaling,
        "threads": threads,
        "market": file.name,
        "market_sha256": file.sha256,
        "numba": numba.__version__,
    }


def with_rivals(file: MarketFile, n_rivals: int) -> MarketFile:
    """The market with `n_rivals` rivals: its own over and over."""
    own = file.rivals
    return replace(file, rivals=tuple(replace(own[i % len(own)], name=f"rival {i}") for i in range(n_rivals)))


def _thread_scaling(file: MarketFile, sizes: BenchSizes, tick: Tick) -> dict[str, float]:
    """Wall time on one thread over that on n, from the same state."""
    worlds, people, days = sizes.scaling
    market = _warm(file, worlds, people, SHORT_WARM_UP_DAYS)
    wall: dict[int, float] = {}
    for n in _thread_counts():
        numba.set_num_threads(n)
        wall[n] = min(_timed(market.copy(), days, time.perf_counter)[0] for _ in range(3))
        tick(1)
    return {str(n): wall[1] / seconds for n, seconds in wall.items()}


def _thread_counts() -> list[int]:
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    return sorted({*(2**i for i in range(most.bit_length())), most})


def _warm(file: MarketFile, n_worlds: int, n_people: int, days: int | None = None) -> Market:
    if days is None:
        days = WARM_UP_DAYS if n_people <= _LONG_WARM_UP_UP_TO else SHORT_WARM_UP_DAYS
    market = Market(plain_worlds(file, n_worlds, 0), n_people=n_people)
    _live(market, days)
    return market


def _timed(market: Market, days: int, clock: Callable[[], float]) -> tuple[float, int]:
    """Seconds by `clock` that `days` take, and the auctions held in them."""
    before = auctions(market)
    started = clock()
    _live(market, days)
    return clock() - started, auctions(market) - before


def _live(market: Market, days: int) -> None:
    controls = _fixed_controls(market)
    for _ in range(24 * days):
        market.advance(controls)


def _fixed_controls(market: Market) -> Controls:
    """The fixed policy's bids, inside the market's budget a person."""
    controls = empty_controls(market.n_worlds, market.n_seats)
    multiplier = tuned_for(market.worlds[0].file).fixed_multiplier
    controls.bid[:, 0] = multiplier * reference_prices(market)
    controls.daily_cap[:, 0] = np.floor(panel_budget(market, None) * MICROS_PER_USD).astype(np.int64)
    return controls
