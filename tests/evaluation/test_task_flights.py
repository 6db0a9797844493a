"""Flights in tasks: cut alike everywhere, told alike, and the same in another process."""

import pickle
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import PAID_CHANNELS
from gaelp.evaluation.attribution_flights import gather, lift_tests, score_hours
from gaelp.evaluation.suites import NamedPolicy
from gaelp.evaluation.task_flights import WORLDS_A_TASK, Task, Terms, fly_task, spread
from gaelp.market.file import MarketFile, load
from gaelp.worlds.executors import InlineExecutor
from gaelp.worlds.flight import WARM_UP_DAYS, Tick
from gaelp.worlds.splits import plain_worlds

MARKET = "markets/family_safety.toml"
PACING = NamedPolicy("pacing", MARKET)
TERMS = Terms(n_people=300, days=2, runoff_days=1, holdout=0.3)


@pytest.fixture(scope="module")
def file() -> MarketFile:
    return load(MARKET)


class Elsewhere:
    """What goes to a worker and comes back is pickled, as between processes; the last task ends first."""

    n_workers = 1

    def map(self, function: Callable[..., Any], tasks: Iterable[Any], *, done: Any = lambda _: None) -> Any:
        sent = [pickle.dumps((function, task)) for task in tasks]
        results = {}
        for place in reversed(range(len(sent))):
            run, task = pickle.loads(sent[place])
            results[place] = pickle.loads(pickle.dumps(run(task)))
            done(place)
        return [results[place] for place in range(len(sent))]

    def __enter__(self) -> "Elsewhere":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def seeds(task: Task[str], tick: Tick) -> tuple[list[int], str]:
    tick(3 * len(task.worlds))
    return [world.seed for world in task.worlds], task.terms


@pytest.mark.parametrize("executor", [None, InlineExecutor(), Elsewhere()])
def test_worlds_stay_in_order_and_every_hour_is_told(file: MarketFile, executor: Any) -> None:
    worlds = plain_worlds(file, 2 * WORLDS_A_TASK + 3, 0)
    told: list[int] = []
    parts = spread(seeds, worlds, PACING, "terms", hours=3, tick=told.append, executor=executor)
    assert [len(part) for part, _ in parts] == [WORLDS_A_TASK, WORLDS_A_TASK, 3]
    assert [seed for part, _ in parts for seed in part] == [world.seed for world in worlds]
    assert {terms for _, terms in parts} == {"terms"} and sum(told) == 3 * len(worlds)


def test_lift_tests_are_the_same_elsewhere_and_however_worlds_are_cut(file: MarketFile) -> None:
    worlds = plain_worlds(file, WORLDS_A_TASK + 1, 0)
    told: dict[str, list[int]] = {"here": [], "there": []}
    here = lift_tests(worlds, PACING, TERMS, tick=told["here"].append)
    there = lift_tests(worlds, PACING, TERMS, tick=told["there"].append, executor=Elsewhere())
    alone = lift_tests(worlds[3:4], PACING, TERMS)
    for found, rows in ((there, slice(None)), (alone, slice(3, 4))):
        np.testing.assert_array_equal(found.claimed, here.claimed[rows])
        np.testing.assert_array_equal(found.lift.people, here.lift.people[rows])
        np.testing.assert_array_equal(found.lift.conversions, here.lift.conversions[rows])
    hours = 24 * len(worlds) * (WARM_UP_DAYS + 3)
    assert sum(told["here"]) == sum(told["there"]) == hours


def test_evidence_is_the_same_elsewhere_and_lives_as_long_as_said(file: MarketFile) -> None:
    worlds = plain_worlds(file, 2, 0)
    told: dict[str, list[int]] = {"here": [], "there": []}
    here = gather(worlds, PACING, TERMS, tick=told["here"].append)
    there = gather(worlds, PACING, TERMS, tick=told["there"].append, executor=Elsewhere())
    assert here.truth.shape == (2, len(PAID_CHANNELS)) and here.table.n_rows > 0
    for name in ("truth", "claimed", "spend_usd", "world"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    np.testing.assert_array_equal(there.table.touch_hour, here.table.touch_hour)
    hours = score_hours({"worlds": 2, "days": TERMS.days, "runoff_days": TERMS.runoff_days})
    assert sum(told["here"]) == sum(told["there"]) == hours


def test_a_flight_says_the_same_with_its_events_kept(file: MarketFile) -> None:
    """The log is of the flight alone, and nothing in the worlds depends on it."""
    task = Task(plain_worlds(file, 1, 0), PACING, TERMS)
    quiet, logged = (fly_task(task, lambda _: None, events=events) for events in (False, True))
    assert quiet.after.books.events.shape[1] == logged.snapshot.books.events.shape[1] == 0
    assert (logged.after.events(0)["hour"] >= logged.flight.start).all() and len(logged.after.events(0)) > 0
    np.testing.assert_array_equal(quiet.flight.report, logged.flight.report)
    np.testing.assert_array_equal(quiet.after.books.expected, logged.after.books.expected)


def test_a_yardstick_flies_no_task(file: MarketFile) -> None:
    with pytest.raises(BadInput, match="must be one that could be flown"):
        Task(plain_worlds(file, 1, 0), NamedPolicy("clairvoyant", MARKET), TERMS).policy()
