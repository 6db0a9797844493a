"""What every replication flies: a policy on warmed-up worlds, and the same flight with some lines silent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import CHANNEL_OF_LINE, LINES, Channel, Query
from gaelp.evaluation.judge import Maker, Reference, Terms
from gaelp.market.market import Market, World
from gaelp.market.state import EVENT
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, panel_budget, run_off
from gaelp.worlds.tuned import tuned_for
from gaelp.worlds.twins import replay
from gaelp.worlds.visible import event_rows
from gaelp.worlds.warmed import warmed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Lines = NDArray[np.bool_]

WORLDS_A_TASK = 8
"""Worlds flown together; fixed, so that neither the executor nor its size can be seen in a result."""
OWN_BRAND: Lines = np.array([line.query is Query.OWN_BRAND for line in LINES])


def lines_of(channel: Channel) -> Lines:
    """(n_lines,) which lines are of a channel."""
    return np.equal(CHANNEL_OF_LINE, int(channel))


@dataclass(frozen=True)
class Task:
    """Worlds of one market to fly a policy on; it can be sent to another process.

    Attributes:
        worlds: at most `WORLDS_A_TASK`. make: a fresh policy. terms: sizes, budget, seed and cache.
    """

    worlds: Sequence[World]
    make: Maker
    terms: Terms


def world_hours(terms: Terms, lives: int) -> int:
    """Hours that one world is lived: the warm-up, and `lives` flights with their run-off."""
    return 24 * (WARM_UP_DAYS + lives * (terms.days + terms.runoff_days))


@dataclass(frozen=True)
class Flown:
    """A flight that was run off, and the worlds it began from.

    Attributes:
        snapshot: before the flight, without a log of events. flight: flown with `keep_bids`.
        runoff_days: of the flight, and of its twins.
    """

    snapshot: Market
    flight: Flight
    runoff_days: int

    @property
    def after(self) -> Market:
        """The worlds after the run-off."""
        return self.flight.market

    def without(self, lines: Lines, tick: Tick) -> Market:
        """The direct twin in which some lines are silent, as long as the flight; see `twins.replay`."""
        return replay(self.snapshot, self.flight, lines_off=lines, runoff_days=self.runoff_days, tick=tick)

    def caused(self, twin: Market) -> Floats:
        """(n_worlds,) decisions beyond a twin's, as expected before each last draw: less noise, same mean."""
        gained: Floats = self.after.books.expected[:, 0, 0] - twin.books.expected[:, 0, 0]
        return gained


def warm(task: Task, tick: Tick) -> tuple[Market, Floats]:
    """A task's worlds after their warm-up, from the cache where they are there, and their traffic."""
    return warmed(task.worlds, task.terms.n_people, cache=task.terms.cache, tick=tick)


def fly_task(
    task: Task,
    tick: Tick,
    *,
    start: tuple[Market, Floats] | None = None,
    holdout: float = 0.0,
    events: bool = False,
) -> Flown:
    """Fly a task's policy and let the run-off pass.

    Args:
        task: what to fly. tick: told the world-hours done.
        start: from `warm`, which stays as it is; None warms up.
        holdout: share of people that lift tests keep from each channel; the budget shrinks with it, so that
            those who are left are pressed no harder.
        events: keep the log of the flight and its run-off.

    Raises:
        BadInput: the policy is a yardstick that sees the truth.
    """
    policy, terms = task.make(), task.terms
    if isinstance(policy, Reference):
        raise BadInput("policy", policy.name, "must be one that could be flown", "Name a policy.")
    snapshot, traffic = warm(task, tick) if start is None else start
    market = snapshot.copy()
    if events:
        rows = event_rows(terms.n_people, terms.days + terms.runoff_days)
        market.books = market.books._replace(events=np.zeros((market.n_worlds, rows), EVENT))
    budget = terms.daily_budget_usd
    if holdout > 0.0:
        budget = (1.0 - holdout) * float(panel_budget(market, budget)[0])
    flight = fly(
        market,
        policy,
        days=terms.days,
        traffic=traffic,
        daily_budget_usd=budget,
        seed=terms.seed,
        tuned=terms.tuned or tuned_for(task.worlds[0].file),
        holdout=holdout,
        tick=tick,
    )
    run_off(market, terms.runoff_days, tick)
    return Flown(snapshot, flight, terms.runoff_days)


def bought(market: Market, world: int, start: int) -> NDArray[np.void]:
    """Decisions for seat 0 made from an hour on and booked by now."""
    made = market.decisions(world)
    return made[(made["brand"] == 0) & (made["hour"] >= start) & (made["book_hour"] < market.hour)]


def lives(records: NDArray[np.void]) -> Ints:
    """Who each record is of: a slot of the world and the generation that lives in it, in one number."""
    return records["person"].astype(np.int64) << 16 | records["generation"]
