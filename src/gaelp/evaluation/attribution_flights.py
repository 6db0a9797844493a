"""Flights for scoring attribution: what an account sees and what is true of them, and lift tests alone.

Evidence of a world costs its flight and a twin for each channel, with every event kept; a lift test costs a
flight. Tests need many times the people, so they are flown by themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import MismatchError
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, PAID_CHANNELS, Channel, TouchKind
from gaelp.evaluation.attribution_scores import Evidence, LiftTests, Score, pooled, score, tested_together
from gaelp.evaluation.judge import Maker
from gaelp.evaluation.task_flights import Task, Terms, fly_task, spread, world_hours
from gaelp.journeys.events import journeys_of_events
from gaelp.journeys.table import JourneyTable
from gaelp.market.file import MarketFile
from gaelp.market.market import Market, World
from gaelp.market.state import SPEND
from gaelp.measurement.attribution.credits import Settings
from gaelp.platforms.lift import lift_report
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.worlds.executors import Executor
from gaelp.worlds.flight import Flight, Tick
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.twins import attributed_by_line

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIMEOUT_DAYS = 30.0
"""A journey ends after so long without an event."""
_LIVES = 1 + len(PAID_CHANNELS)


def lift_tests(
    worlds: Sequence[World],
    make: Maker,
    terms: Terms,
    *,
    executor: Executor | None = None,
    tick: Tick = lambda _: None,
) -> LiftTests:
    """Fly lift tests of every channel at once, in each world.

    Args:
        worlds: of one market. make: a fresh policy. terms: with a holdout.
        executor: where to run; None is here. tick: told the world-hours done.
    """
    hours = world_hours(terms.days, terms.runoff_days, 1)
    return tested_together(spread(_test, worlds, make, terms, hours=hours, tick=tick, executor=executor))


def gather(
    worlds: Sequence[World],
    make: Maker,
    terms: Terms,
    *,
    executor: Executor | None = None,
    tick: Tick = lambda _: None,
) -> Evidence:
    """Fly accounts with all their events kept, and a twin without each channel; see `lift_tests`.

    What a channel caused is counted in expected decisions, the chance of each before its draw: the same mean
    with less noise.
    """
    hours = world_hours(terms.days, terms.runoff_days, _LIVES)
    return pooled(spread(_look, worlds, make, terms, hours=hours, tick=tick, executor=executor))


def _test(task: Task[Terms], tick: Tick) -> LiftTests:
    return _tested(fly_task(task, tick).flight)


def _look(task: Task[Terms], tick: Tick) -> Evidence:
    flown = fly_task(task, tick, events=True)
    flight, market = flown.flight, flown.after
    truth = np.zeros((market.n_worlds, len(PAID_CHANNELS)))
    for channel in PAID_CHANNELS:
        truth[:, channel] = flown.caused(flown.without(np.equal(CHANNEL_OF_LINE, int(channel)), tick))
    table, world = seen_journeys(market, flight, TIMEOUT_DAYS)
    spend = flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD
    tested = _tested(flight) if flight.holdout > 0 else None
    return Evidence(table, world, truth, _claimed(flight), spend, tested)


def _tested(flight: Flight) -> LiftTests:
    """The lift tests of a flight that was flown with a holdout, and run off."""
    return LiftTests(lift_report(flight.market, seat=flight.seat, until=flight.market.hour), _claimed(flight))


def _claimed(flight: Flight) -> Floats:
    market = flight.market
    claimed = attributed_by_line(market, flight.start, market.hour, market.hour, flight.seat)
    by_channel = np.zeros((market.n_worlds, len(PAID_CHANNELS)))
    np.add.at(by_channel.T, CHANNEL_OF_LINE, claimed.T)
    return by_channel


def seen_journeys(market: Market, flight: Flight, timeout_days: float) -> tuple[JourneyTable, Ints]:
    """Journeys from the flight's first hour on, and the world of each row."""
    seen, person, of_world, people = [], [], [], 0
    for world in range(market.n_worlds):
        sight = Sight(market.worlds[world].file.visibility)
        events = seen_events(market, world, flight.seat, sight, market.hour)
        events = events[events["hour"] >= flight.start]
        login, visitor = events["login"], events["visitor"]
        # whoever refused both a login and a cookie is a person of one event
        known = np.where(login > 0, login, visitor)
        own = np.unique(known, return_inverse=True)[1]  # random numbers of 64 bits, so no two meet
        alone = known == 0
        own = np.where(alone, own.max(initial=0) + 1 + np.arange(own.size), own)
        own = np.unique(own, return_inverse=True)[1]
        person.append(people + own)
        people += int(own.max(initial=-1)) + 1
        of_world.append(np.full(int(own.max(initial=-1)) + 1, world))
        seen.append(events)
    events, world_of = np.concatenate(seen), np.concatenate(of_world)
    table, _ = journeys_of_events(
        channels=tuple(channel.name.lower() for channel in Channel),
        world=np.repeat(np.arange(market.n_worlds), [len(events) for events in seen]),
        person=np.concatenate(person).astype(np.int64),
        hour=events["hour"].astype(np.float64),
        kind=events["kind"].astype(np.uint8),
        channel=events["channel"].astype(np.int64),
        value=np.where(events["kind"] == TouchKind.CONVERSION, events["value_micros"], 0),
        timeout_hours=24.0 * timeout_days,
    )
    assert table.person is not None
    return table, world_of[table.person]


def score_run(
    file: MarketFile,
    settings: Mapping[str, Any],
    seed: int,
    *,
    spend_usd: float,
    models: Sequence[str] | None = None,
    options: Settings | None = None,
    n_bootstrap: int = 200,
    tick: Tick = lambda _: None,
) -> dict[str, Score]:
    """Live a run of `gaelp simulate` again, once more without each channel, and rank the models.

    Args:
        file: the run's market. settings, seed: as the run's configuration states them.
        spend_usd: what the run spent, which must come out again.
        models, options, n_bootstrap: as in `score`. tick: told the world-hours done.

    Raises:
        MismatchError: it does not come out as it did: another version of GAELP or of the policy made the run.
    """
    terms = Terms(
        n_people=settings["users"],
        days=settings["days"],
        runoff_days=settings["runoff_days"],
        daily_budget_usd=settings["daily_budget_usd"],
        holdout=settings.get("lift_test", 0.0),
        seed=seed,
    )
    worlds = plain_worlds(file, settings["worlds"], seed)
    found = gather(worlds, make_policy(settings["policy"], file), terms, tick=tick)
    spent = found.spend_usd.sum()
    if abs(spent - spend_usd) > 0.01:
        allowed = f"must be {spend_usd:,.2f}, as the run has it"
        remedy = "Simulate the run again with this version of GAELP and of the policy."
        raise MismatchError("spend_usd", round(spent, 2), allowed, remedy)
    return score(found, models, options, n_bootstrap=n_bootstrap)


def score_hours(settings: Mapping[str, Any]) -> int:
    """World-hours that `score_run` lives."""
    return int(settings["worlds"] * world_hours(settings["days"], settings["runoff_days"], _LIVES))
