"""Flights for scoring attribution: what an account sees and what is true of them, and lift tests alone.

Evidence of a world costs its flight and a twin for each channel, with every event kept; a lift test costs a
flight. Tests need many times the people, so they are flown by themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Policy
from gaelp.core.errors import MismatchError
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, PAID_CHANNELS, Channel, TouchKind
from gaelp.evaluation.attribution_scores import Evidence, LiftTests, Score, pooled, score, tested_together
from gaelp.journeys.events import journeys_of_events
from gaelp.journeys.table import JourneyTable
from gaelp.market.file import MarketFile
from gaelp.market.market import Market, World
from gaelp.market.state import SPEND
from gaelp.measurement.attribution.credits import Settings
from gaelp.platforms.lift import lift_report
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.worlds.executors import Executor, InlineExecutor
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, make_market, run_off, warm_up
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.twins import attributed_by_line, replay
from gaelp.worlds.visible import event_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Maker = Callable[[], Policy]
"""Makes a fresh policy; picklable where an executor is to call it elsewhere."""

_WORLDS_AT_ONCE = 8
"""Their events, twins and snapshot are in memory together."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How an account is flown.

    Attributes:
        n_people: people per world. days, runoff_days: of the flight, and after it.
        daily_budget_usd: per panel; None takes the market's budget a person.
        holdout: share of people that each channel's lift test keeps from its ads; 0 for no tests.
        seed: of policies that draw.
    """

    n_people: int
    days: int = 30
    runoff_days: int = 60
    daily_budget_usd: float | None = None
    holdout: float = 0.0
    seed: int = 0


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
    return tested_together(_spread(_test, worlds, make, terms, executor, tick, lives=1))


def gather(
    worlds: Sequence[World],
    make: Maker,
    terms: Terms,
    *,
    executor: Executor | None = None,
    tick: Tick = lambda _: None,
) -> Evidence:
    """Fly accounts with all their events kept, and a twin without each channel; see `lift_tests`."""
    return pooled(_spread(_look, worlds, make, terms, executor, tick, lives=1 + len(PAID_CHANNELS)))


def _spread(
    task: Callable[..., Any],
    worlds: Sequence[World],
    make: Maker,
    terms: Terms,
    executor: Executor | None,
    tick: Tick,
    lives: int,
) -> list[Any]:
    cut = [list(worlds[i : i + _WORLDS_AT_ONCE]) for i in range(0, len(worlds), _WORLDS_AT_ONCE)]
    tasks = [(part, make, terms) for part in cut]
    if executor is None or isinstance(executor, InlineExecutor):
        return [task(each, tick) for each in tasks]
    hours = 24 * (WARM_UP_DAYS + lives * (terms.days + terms.runoff_days))
    return executor.map(task, tasks, done=lambda place: tick(hours * len(cut[place])))


def _test(task: tuple[list[World], Maker, Terms], tick: Tick = lambda _: None) -> LiftTests:
    worlds, make, terms = task
    _, flight = _flown(make_market(worlds, terms.n_people), make, terms, tick, keep=False)
    return tested_of(flight)


def _look(task: tuple[list[World], Maker, Terms], tick: Tick = lambda _: None) -> Evidence:
    worlds, make, terms = task
    days = WARM_UP_DAYS + terms.days + terms.runoff_days
    market = make_market(worlds, terms.n_people, event_rows=event_rows(terms.n_people, days))
    snapshot, flight = _flown(market, make, terms, tick, keep=True)
    assert snapshot is not None
    return evidence_of(snapshot, flight, runoff_days=terms.runoff_days, tick=tick)


def _flown(
    market: Market, make: Maker, terms: Terms, tick: Tick, *, keep: bool
) -> tuple[Market | None, Flight]:
    """Warmed up, flown and run off; with the worlds as they were before, where a replay needs them."""
    traffic = warm_up(market, tick=tick)
    snapshot = market.copy() if keep else None
    flight = fly(
        market,
        make(),
        days=terms.days,
        traffic=traffic,
        daily_budget_usd=terms.daily_budget_usd,
        seed=terms.seed,
        holdout=terms.holdout,
        tick=tick,
        keep_bids=keep,
    )
    run_off(market, terms.runoff_days, tick)
    return snapshot, flight


def evidence_of(
    snapshot: Market,
    flight: Flight,
    *,
    runoff_days: int,
    timeout_days: float = 30.0,
    tick: Tick = lambda _: None,
) -> Evidence:
    """What the account saw of a flight, and, by a direct twin for each channel, what was true.

    Sales are expected decisions, the chance of each before its draw: the same mean with less noise.

    Args:
        snapshot: worlds made with `event_rows`, before the flight.
        flight: flown with `keep_bids`, and run off.
        runoff_days: of the flight, and for its twins. timeout_days: ends a journey. tick: world-hours done.
    """
    market = flight.market
    sales = market.books.expected[:, flight.seat, 0]
    truth = np.zeros((market.n_worlds, len(PAID_CHANNELS)))
    for channel in PAID_CHANNELS:
        silent = CHANNEL_OF_LINE == int(channel)
        twin = replay(
            snapshot, flight, lines_off=silent, seat_off=flight.seat, runoff_days=runoff_days, tick=tick
        )
        truth[:, channel] = sales - twin.books.expected[:, flight.seat, 0]
    table, world = seen_journeys(market, flight, timeout_days)
    spend = flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD
    tested = tested_of(flight) if flight.holdout > 0 else None
    return Evidence(table, world, truth, _claimed(flight), spend, tested)


def tested_of(flight: Flight) -> LiftTests:
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


def world_hours(settings: Mapping[str, Any]) -> int:
    """World-hours that `score_run` lives."""
    lives = 1 + len(PAID_CHANNELS)
    days = WARM_UP_DAYS + lives * (settings["days"] + settings["runoff_days"])
    return int(24 * settings["worlds"] * days)
