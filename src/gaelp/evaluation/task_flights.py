"""What is flown to measure something: a policy on worlds of one market, cut into tasks for an executor.

A task is `WORLDS_A_TASK` worlds that fly together. It is the same wherever it runs, so neither an executor
nor its size can be seen in a result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput
from gaelp.evaluation import judge
from gaelp.evaluation.judge import Maker, Reference
from gaelp.market.market import Market, World
from gaelp.market.state import EVENT
from gaelp.worlds.executors import Executor, InlineExecutor
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, run_off
from gaelp.worlds.twins import replay
from gaelp.worlds.visible import event_rows
from gaelp.worlds.warmed import warmed

Floats = NDArray[np.float64]
Lines = NDArray[np.bool_]
T = TypeVar("T")
R = TypeVar("R")

WORLDS_A_TASK = 8
"""Worlds flown together: their events, twins and snapshot are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Terms(judge.Terms):
    """How a task is flown: as for a judgement, and perhaps with lift tests.

    Attributes:
        days: of the flight.
        holdout: share of people that each channel's lift test keeps from its ads; 0 for no tests.
    """

    days: int = 30
    holdout: float = 0.0


@dataclass(frozen=True)
class Task(Generic[T]):
    """Worlds of one market to fly a policy on; it can be sent to another process.

    Attributes:
        worlds: at most `WORLDS_A_TASK`. make: a fresh policy.
        terms: `Terms`, or those of another design.
    """

    worlds: Sequence[World]
    make: Maker
    terms: T

    def policy(self) -> Policy:
        """A fresh policy.

        Raises:
            BadInput: it is a yardstick that sees the truth.
        """
        made = self.make()
        if isinstance(made, Reference):
            raise BadInput("policy", made.name, "must be one that could be flown", "Name a policy.")
        return made


def spread(
    fly: Callable[[Task[T], Tick], R],
    worlds: Sequence[World],
    make: Maker,
    terms: T,
    *,
    hours: int,
    tick: Tick = lambda _: None,
    executor: Executor | None = None,
) -> list[R]:
    """Cut worlds into tasks and run them.

    Args:
        fly: runs one task and tells the world-hours done; importable by name.
        worlds: of one market. make: a fresh policy; picklable where an executor runs elsewhere.
        terms: of the tasks. hours: for which `fly` lives one world.
        tick: told the world-hours done, from elsewhere a whole task's at once.
        executor: where to run; None is here.

    Returns:
        What came of each task, in the order of the worlds.
    """
    starts = range(0, len(worlds), WORLDS_A_TASK)
    tasks = [Task(list(worlds[i : i + WORLDS_A_TASK]), make, terms) for i in starts]
    if executor is None or isinstance(executor, InlineExecutor):
        return [fly(task, tick) for task in tasks]
    return executor.map(
        _elsewhere,
        [(fly, task) for task in tasks],
        done=lambda place: tick(hours * len(tasks[place].worlds)),
    )


def _elsewhere(work: tuple[Callable[[Task[T], Tick], R], Task[T]]) -> R:
    fly, task = work
    return fly(task, lambda _: None)


def world_hours(days: int, runoff_days: int, lives: int) -> int:
    """Hours that one world is lived: the warm-up, and `lives` flights with their run-off."""
    return 24 * (WARM_UP_DAYS + lives * (days + runoff_days))


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


def warm(task: Task[Terms], tick: Tick) -> tuple[Market, Floats]:
    """A task's worlds after their warm-up, from the cache where they are there, and their traffic."""
    return warmed(task.worlds, task.terms.n_people, cache=task.terms.cache, tick=tick)


def fly_task(
    task: Task[Terms],
    tick: Tick,
    *,
    start: tuple[Market, Floats] | None = None,
    events: bool = False,
) -> Flown:
    """Fly a task's policy on seat 0 and let the run-off pass.

    Args:
        task: what to fly. tick: told the world-hours done.
        start: from `warm`, which stays as it is; None warms up.
        events: keep the log of the flight and its run-off.

    Raises:
        BadInput: the policy is a yardstick that sees the truth.
    """
    policy, terms = task.policy(), task.terms
    snapshot, traffic = warm(task, tick) if start is None else start
    market = snapshot.copy()
    if events:  # as much room as if the log had run since the warm-up began
        rows = event_rows(terms.n_people, WARM_UP_DAYS + terms.days + terms.runoff_days)
        market.books = market.books._replace(events=np.zeros((market.n_worlds, rows), EVENT))
    flight = fly(
        market,
        policy,
        days=terms.days,
        traffic=traffic,
        daily_budget_usd=terms.daily_budget_usd,
        seed=terms.seed,
        tuned=terms.tuned,
        holdout=terms.holdout,
        tick=tick,
    )
    run_off(market, terms.runoff_days, tick)
    return Flown(snapshot, flight, terms.runoff_days)
