"""How far attribution models are from the truth: credits by channel against twins without the channel.

Models see what the account sees, the user-level events of many pooled worlds. The truth of a channel is the
*direct* effect: sales of the flight less those of a twin in which the channel's lines are silent and all else
is as logged. Two distances, because a model can divide well and claim too much, or the other way round:

    shares  half the sum over paid channels of |credited share - true share|: 0 to 1 where shares are positive
    counts  sum over paid channels of |credited - true|, over the sum of the true: all-zero credit scores 1

Intervals are over worlds, drawn with replacement; models, experiments and truth see the same draws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES, PAID_CHANNELS, Channel, TouchKind
from gaelp.journeys.events import journeys_of_events
from gaelp.journeys.table import JourneyTable
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.market.state import SPEND
from gaelp.measurement.attribution.calibrated import Experiment, calibrate
from gaelp.measurement.attribution.credits import Counts, Credits, Settings, Unanswerable
from gaelp.measurement.attribution.models import MODELS
from gaelp.platforms.lift import LiftReport, lift_of, lift_report
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, make_market, run_off, warm_up
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.twins import attributed_by_line, replay
from gaelp.worlds.visible import event_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMES = tuple(channel.name.lower() for channel in PAID_CHANNELS)
ZERO, LAST_CLICK, SCALED, CALIBRATED = "all_zero", "last_click", "last_click_scaled", "calibrated"
"""Rows beside the models: no credit at all; what platforms claim, by the last click within 30 days; that
times the constant that makes its total true; that corrected by lift tests.

The model `last` is another thing than `last_click`: it credits the last touch that the account saw, and an
impression like a click.
"""
LEAST_WORLDS = 8
"""Fewer say nothing of how worlds differ: no intervals."""
_WORLDS_AT_ONCE = 8
"""Their events, twins and snapshot are in memory together."""
_CHANNEL_OF_LINE = np.array([int(line.channel) for line in LINES])


class LiftTests(NamedTuple):
    """Lift tests and, of the same worlds, what platforms claim by the last click within 30 days.

    Attributes:
        lift: what was counted in both arms. claimed: (n_worlds, 6) conversions by paid channel.
    """

    lift: LiftReport
    claimed: Floats


@dataclass(frozen=True)
class Panel:
    """What is seen and what is true of some worlds.

    Attributes:
        table: journeys of all worlds. world: (n_rows,) which world each row is of.
        truth: (n_worlds, 6) sales that each paid channel caused.
        claimed: (n_worlds, 6) conversions that platforms claim, by the last click within 30 days, decided
            from the flight's start to the run-off's end, as all else is.
        tested: its lift tests; None where none ran. May be of more worlds than the rest.
    """

    table: JourneyTable
    world: Ints
    truth: Floats
    claimed: Floats
    tested: LiftTests | None = None


def panel_of(
    snapshot: Market,
    flight: Flight,
    *,
    runoff_days: int,
    timeout_days: float = 30.0,
    tick: Tick = lambda _: None,
) -> Panel:
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
        silent = _CHANNEL_OF_LINE == int(channel)
        twin = replay(
            snapshot, flight, lines_off=silent, seat_off=flight.seat, runoff_days=runoff_days, tick=tick
        )
        truth[:, channel] = sales - twin.books.expected[:, flight.seat, 0]
    table, world = _seen(market, flight, timeout_days)
    return Panel(table, world, truth, _claimed(flight), tested_of(flight) if flight.holdout > 0 else None)


def tested_of(flight: Flight) -> LiftTests:
    """The lift tests of a flight that was flown with a holdout, and run off."""
    return LiftTests(lift_report(flight.market, seat=flight.seat, until=flight.market.hour), _claimed(flight))


def _claimed(flight: Flight) -> Floats:
    market = flight.market
    claimed = attributed_by_line(market, flight.start, market.hour, market.hour, flight.seat)
    by_channel = np.zeros((market.n_worlds, len(PAID_CHANNELS)))
    np.add.at(by_channel.T, _CHANNEL_OF_LINE, claimed.T)
    return by_channel


def _seen(market: Market, flight: Flight, timeout_days: float) -> tuple[JourneyTable, Ints]:
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


def pooled(panels: Sequence[Panel]) -> Panel:
    """Several panels, of different worlds, as one."""
    if not panels:
        raise BadInput("panels", 0, "must be at least 1", "Score at least one world.")
    tables = [panel.table for panel in panels]
    touches = np.cumsum([0, *(table.n_touches for table in tables)])
    worlds = np.cumsum([0, *(len(panel.truth) for panel in panels)])
    people = np.cumsum([0, *(int(t.person.max(initial=-1)) + 1 for t in tables if t.person is not None)])

    def joined(name: str) -> Any:
        return np.concatenate([getattr(table, name) for table in tables])

    table = JourneyTable(
        channels=tables[0].channels,
        offsets=np.concatenate([[0], *(t.offsets[1:] + touches[i] for i, t in enumerate(tables))]),
        **{name: joined(name) for name in ("channel", "conversions", "nulls", "value_usd_micros")},
        **{name: joined(name) for name in ("touch_hour", "end_hour", "kind")},
        person=np.concatenate([t.person + people[i] for i, t in enumerate(tables) if t.person is not None]),
    )
    tests = [panel.tested for panel in panels if panel.tested is not None]
    return Panel(
        table,
        np.concatenate([panel.world + worlds[i] for i, panel in enumerate(panels)]),
        np.concatenate([panel.truth for panel in panels]),
        np.concatenate([panel.claimed for panel in panels]),
        tested_together(tests) if tests else None,
    )


def tested_together(tests: Sequence[LiftTests]) -> LiftTests:
    """Tests of several batches of worlds as one."""
    lift = LiftReport(*(np.concatenate(parts) for parts in zip(*(each.lift for each in tests), strict=True)))
    return LiftTests(lift, np.concatenate([each.claimed for each in tests]))


def experiments_of(tested: LiftTests, weight: Floats | None = None) -> dict[str, Experiment]:
    """What each tested channel caused as a share of what platforms claim for it, with standard errors.

    Args:
        tested: lift tests of some worlds. weight: (n_worlds,) how often each counts; None once.
    """
    times = np.ones(len(tested.claimed)) if weight is None else weight
    people = np.tensordot(times, tested.lift.people, 1)
    sales = np.tensordot(times, tested.lift.conversions, 1)
    claimed = times @ tested.claimed
    found = {}
    for i, name in enumerate(NAMES):
        caused, error = lift_of(people[i], sales[i])
        if caused is not None and error is not None and claimed[i] > 0:
            found[name] = Experiment(caused / float(claimed[i]), error / float(claimed[i]))
    return found


def shares_distance(credit: Floats, truth: Floats) -> float:
    """Half the absolute differences of shares; 1 where nothing is credited, NaN where nothing was caused."""
    if not truth.sum() > 0:
        return np.nan
    if credit.sum() <= 0:
        return 1.0
    return float(0.5 * np.abs(credit / credit.sum() - truth / truth.sum()).sum())


def counts_distance(credit: Floats, truth: Floats) -> float:
    """Absolute differences of counts over all that is true; NaN where nothing was caused."""
    return float(np.abs(credit - truth).sum() / truth.sum()) if truth.sum() > 0 else np.nan


@dataclass(frozen=True, eq=False)
class Score:
    """One row of the ranking.

    Attributes:
        credits: (6,) conversions credited to the paid channels.
        shares, counts: (1 + n_bootstrap,) distances; the first of all worlds, the others of draws of worlds,
            the same for every row.
    """

    credits: Floats
    shares: Floats
    counts: Floats

    def less_half_of(self, other: "Score") -> dict[str, tuple[float, float, float]]:
        """By measure, this distance less half of another row's, with a 95 % interval; below 0 is nearer."""
        return {
            "shares": _with_ends(self.shares - 0.5 * other.shares),
            "counts": _with_ends(self.counts - 0.5 * other.counts),
        }

    def as_dict(self) -> dict[str, Any]:
        """JSON; the ends are null where there are none."""
        found: dict[str, Any] = {"credits": dict(zip(NAMES, self.credits.tolist(), strict=True))}
        for name, draws in (("shares", self.shares), ("counts", self.counts)):
            found[name], *ends = _with_ends(draws)
            found[f"{name}_low"], found[f"{name}_high"] = (None if np.isnan(end) else end for end in ends)
        return found


def _with_ends(draws: Floats) -> tuple[float, float, float]:
    """The first, and the 95 % interval of the others, drawn worlds that caused nothing left out."""
    if np.isnan(draws[1:]).all():
        return float(draws[0]), np.nan, np.nan
    low, high = np.nanquantile(draws[1:], [0.025, 0.975])
    return float(draws[0]), float(low), float(high)


def score(
    panel: Panel,
    models: Sequence[str] | None = None,
    settings: Settings | None = None,
    *,
    n_bootstrap: int = 200,
    tick: Callable[[int], None] = lambda _: None,
) -> dict[str, Score]:
    """Rank models by their distance to the truth, nearest shares first.

    Args:
        panel: pooled worlds. models: names; None for all that the table can answer. settings: of models.
        n_bootstrap: draws of worlds; of fewer than `LEAST_WORLDS` none are made.
        tick: told model runs done, (1 + n_bootstrap) a model.

    Raises:
        BadInput: the channels caused nothing in all, so there is no distance to speak of.
    """
    settings = settings or Settings()
    if not panel.truth.sum() > 0:
        raise BadInput("truth", float(panel.truth.sum()), "must be above 0", "Score more worlds.")
    estimates = {}
    for name in dict.fromkeys(models or MODELS):
        try:
            estimates[name] = MODELS[name](panel.table, settings)
        except Unanswerable:
            if models is not None:
                raise
    counts = Counts.of(panel.table)
    paid = np.array([panel.table.channels.index(name) for name in NAMES])
    n_worlds = len(panel.truth)
    n_bootstrap = n_bootstrap if n_worlds >= LEAST_WORLDS else 0
    rng = np.random.default_rng(settings.seed)
    rows: list[dict[str, tuple[Floats, float, float]]] = []
    for draw in range(n_bootstrap + 1):
        drawn = rng.integers(n_worlds, size=n_worlds) if draw else np.arange(n_worlds)
        weight = np.bincount(drawn, minlength=n_worlds).astype(np.float64)
        truth = weight @ panel.truth
        each = weight[panel.world]
        seen = Counts(counts.conversions * each, counts.nulls * each, counts.value_usd * each)
        credits: dict[str, Credits] = {}
        for name, estimate in estimates.items():
            credits[name] = estimate(seen)
            tick(1)
        factors = {}
        if panel.tested is not None:
            n_tested = len(panel.tested.claimed)
            again = np.ones(n_tested)
            if draw:  # tested worlds are drawn by themselves
                again = np.bincount(rng.integers(n_tested, size=n_tested), minlength=n_tested).astype(float)
            factors = experiments_of(panel.tested, again)
        found = {name: each.conversions[paid] for name, each in credits.items()}
        found[LAST_CLICK] = weight @ panel.claimed
        rows.append(_distances(found, truth, factors))
    scores = {
        name: Score(rows[0][name][0], *(np.array([row[name][i] for row in rows]) for i in (1, 2)))
        for name in rows[0]
    }
    return dict(sorted(scores.items(), key=lambda item: item[1].shares[0]))


def _distances(
    credits: dict[str, Floats], truth: Floats, factors: Mapping[str, Experiment]
) -> dict[str, tuple[Floats, float, float]]:
    claims = credits[LAST_CLICK]
    credits[ZERO] = np.zeros(len(NAMES))
    credits[SCALED] = claims * truth.sum() / max(claims.sum(), 1e-9)
    tests = {
        name: Experiment(*(value * claim for value in factors[name]))
        for name, claim in zip(NAMES, claims, strict=True)
        if name in factors and claim > 0
    }
    if tests:
        claimed = Credits(np.append(claims, 0.0), np.zeros(len(NAMES) + 1))
        credits[CALIBRATED] = calibrate(claimed, NAMES, tests).credits.conversions[:-1]
    return {
        name: (credit, shares_distance(credit, truth), counts_distance(credit, truth))
        for name, credit in credits.items()
    }


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
    spent = 0.0
    worlds = plain_worlds(file, settings["worlds"], seed)
    panels = []
    for first in range(0, len(worlds), _WORLDS_AT_ONCE):
        some = worlds[first : first + _WORLDS_AT_ONCE]
        days = WARM_UP_DAYS + settings["days"] + settings["runoff_days"]
        market = make_market(some, settings["users"], event_rows=event_rows(settings["users"], days))
        traffic = warm_up(market, tick=tick)
        snapshot = market.copy()
        flight = fly(
            market,
            make_policy(settings["policy"], file)(),
            days=settings["days"],
            traffic=traffic,
            daily_budget_usd=settings["daily_budget_usd"],
            seed=seed,
            holdout=settings.get("lift_test", 0.0),
            tick=tick,
        )
        run_off(market, settings["runoff_days"], tick)
        spent += flight.report[..., SPEND].sum() / MICROS_PER_USD
        panels.append(panel_of(snapshot, flight, runoff_days=settings["runoff_days"], tick=tick))
    if abs(spent - spend_usd) > 0.01:
        allowed = f"must be {spend_usd:,.2f}, as the run has it"
        remedy = "Simulate the run again with this version of GAELP and of the policy."
        raise MismatchError("spend_usd", round(spent, 2), allowed, remedy)
    return score(pooled(panels), models, options, n_bootstrap=n_bootstrap)


def world_hours(settings: Mapping[str, Any]) -> int:
    """World-hours that `score_run` lives."""
    lives = 1 + len(PAID_CHANNELS)
    days = WARM_UP_DAYS + lives * (settings["days"] + settings["runoff_days"])
    return int(24 * settings["worlds"] * days)
