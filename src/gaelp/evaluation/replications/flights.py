"""What replications fly and count alike: lift tests of a spared budget, decisions, and whose they are."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import CHANNEL_OF_LINE, LINES, Channel, Query
from gaelp.evaluation.task_flights import Floats, Flown, Lines, Task, Terms, fly_task, warm
from gaelp.market.market import Market
from gaelp.worlds.flight import Tick, panel_budget

Ints = NDArray[np.int64]

OWN_BRAND: Lines = np.array([line.query is Query.OWN_BRAND for line in LINES])


def lines_of(channel: Channel) -> Lines:
    """(n_lines,) which lines are of a channel."""
    return np.equal(CHANNEL_OF_LINE, int(channel))


def fly_tested(
    task: Task[Terms],
    tick: Tick,
    *,
    holdout: float,
    start: tuple[Market, Floats] | None = None,
    events: bool = False,
) -> Flown:
    """Fly a task with lift tests; the budget shrinks with them, so those who are left are pressed no harder.

    Args:
        task: what to fly. tick: told the world-hours done.
        holdout: share of people that lift tests keep from each channel.
        start, events: as in `fly_task`.
    """
    start = warm(task, tick) if start is None else start
    whole = float(panel_budget(start[0], task.terms.daily_budget_usd)[0])
    terms = replace(task.terms, holdout=holdout, daily_budget_usd=(1.0 - holdout) * whole)
    return fly_task(replace(task, terms=terms), tick, start=start, events=events)


def bought(market: Market, world: int, start: int) -> NDArray[np.void]:
    """Decisions for seat 0 made from an hour on and booked by now."""
    made = market.decisions(world)
    return made[(made["brand"] == 0) & (made["hour"] >= start) & (made["book_hour"] < market.hour)]


def lives(records: NDArray[np.void]) -> Ints:
    """Who each record is of: a slot of the world and the generation that lives in it, in one number."""
    return records["person"].astype(np.int64) << 16 | records["generation"]
