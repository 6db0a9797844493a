"""One policy on plain worlds, its twin without ads, and every figure that `gaelp simulate` prints."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, LINES, N_LINES, NO_LINE, Channel
from gaelp.market.file import MarketFile
from gaelp.market.market import Market, World
from gaelp.market.state import BIDS, CLICKS, IMPRESSIONS, OPPORTUNITIES, SPEND, WINS, empty_controls
from gaelp.platforms.lift import lift_report, told
from gaelp.worlds.compiling import compile_apart
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, make_market, panel_budget, run_off, warm_up
from gaelp.worlds.maturing import came_later, nowcast_at_end
from gaelp.worlds.regions import RegionDays, RegionRecorder
from gaelp.worlds.registry import make_policy
from gaelp.worlds.reports import Watched
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.twins import outcome
from gaelp.worlds.visible import event_rows

Floats = NDArray[np.float64]
Log = Callable[[str], None]

LONGEST_DAYS = 3650
ATTRIBUTION = "last_click_30d"
COMPILING = "compiling kernels once, about a minute"
_N_AUCTIONS = 4
"""The first four kinds of `books.activity` hold an auction: social, video, display, search."""


@dataclass(frozen=True)
class Simulation:
    """What came of a simulation.

    Attributes:
        figures: the JSON of `gaelp simulate`.
        flight: the worlds after the run-off, and what happened.
        twin: the same worlds without our ads; None where none was asked for.
        runoff_days: days after the flight.
        regions: regions by day of flight and run-off; None where they were not asked for.
        reports: what the account was shown by hour and line; None where they were not asked for.
    """

    figures: dict[str, Any]
    flight: Flight
    twin: Market | None
    runoff_days: int
    regions: RegionDays | None = None
    reports: dict[str, Floats] | None = None


def check_sizes(
    *,
    worlds: int,
    users: int,
    days: int,
    runoff_days: int = 0,
    budget: float | None = None,
    lift_test: float = 0.0,
) -> None:
    """Refuse sizes that cannot be flown, before anything is built.

    Raises:
        BadInput: one of them is out of its range.
    """
    for name, value, low, high in (
        ("worlds", worlds, 1, 100_000),
        ("users", users, 1, 50_000_000),
        ("days", days, 1, LONGEST_DAYS),
        ("runoff_days", runoff_days, 0, LONGEST_DAYS),
    ):
        if not low <= value <= high:
            remedy = f"Give --{name.replace('_', '-')} a value in that range."
            raise BadInput(name, value, f"must be from {low:,} to {high:,}", remedy)
    if budget is not None and not 0 <= budget <= 1e9:  # NaN is refused too
        remedy = "Give --daily-budget-usd in USD a day for the simulated panel."
        raise BadInput("daily_budget_usd", budget, "must be from 0 to 1e+09", remedy)
    if not 0.0 <= lift_test < 1.0:
        raise BadInput("lift_test", lift_test, "must be from 0 to below 1", "Use 0.1, or 0 for no test.")


def compile_market(file: MarketFile, log: Log = lambda _: None) -> float:
    """Compile the market's kernels, or load them from disk, by living an hour of one person.

    Returns:
        Wall time spent compiling, s.
    """

    def live_an_hour() -> None:
        Market([World(file, 0)], n_people=1).advance(empty_controls(1, 1))

    return compile_apart(live_an_hour, lambda: log(COMPILING))


def world_hours(n_worlds: int, days: int, runoff_days: int, twin: bool) -> int:
    """World-hours that a simulation will live, for a progress bar's total."""
    return n_worlds * 24 * (WARM_UP_DAYS + (2 if twin else 1) * (days + runoff_days))


def run_simulation(
    file: MarketFile,
    policy_name: str,
    *,
    n_worlds: int,
    n_people: int,
    days: int,
    budget: float | None = None,
    seed: int = 0,
    runoff_days: int = 60,
    twin: bool = True,
    tick: Tick = lambda _: None,
    logger: Log = lambda _: None,
    at_end: Callable[[Market], object] = lambda _: None,
    events: bool = False,
    regions: bool = False,
    lift_test: float = 0.0,
    reports: bool = False,
) -> Simulation:
    """Warm worlds up, fly a policy, let the run-off pass, and difference with the twin.

    Args:
        file: the market; worlds have exactly its parameters.
        policy_name: a name or a checkpoint's path.
        n_worlds: worlds, differing in luck only.
        n_people: people per world.
        days: length of the flight.
        budget: USD a day and panel; None takes the file's a person.
        seed: of the worlds and of policies that draw.
        runoff_days: with our ads off afterwards.
        twin: whether to live the worlds without our ads too; without it incremental figures are None.
        tick: told the world-hours done.
        logger: told what a person should know.
        at_end: called with the worlds on the last evening of the flight, before the run-off.
        events: keep the log that `visible.write_visible_events` reads.
        regions: keep what the account knows of its regions by day.
        lift_test: share of people from whom a test of each channel keeps its ads; 0 for no tests.
        reports: keep what the account is shown by hour and line.

    Raises:
        BadInput: something asked for is impossible; nothing was simulated.
    """
    check_sizes(
        worlds=n_worlds,
        users=n_people,
        days=days,
        runoff_days=runoff_days,
        budget=budget,
        lift_test=lift_test,
    )
    policy = make_policy(policy_name, file)()
    watched = Watched(policy, file, n_people) if reports else None
    compile_s = compile_market(file, logger)
    room = event_rows(n_people, WARM_UP_DAYS + days + runoff_days) if events else 0
    market = make_market(plain_worlds(file, n_worlds, seed), n_people, event_rows=room)
    traffic = warm_up(market, tick=tick)
    without: Market | None = None
    if twin:
        without = market.copy()
        run_off(without, days + runoff_days, tick)
    recorder = RegionRecorder(market, tick=tick) if regions else None
    live = recorder or tick
    before = auctions(market)
    wall, cpu = time.perf_counter(), time.process_time()
    flight = fly(
        market,
        watched or policy,
        days=days,
        traffic=traffic,
        daily_budget_usd=budget,
        seed=seed,
        holdout=lift_test,
        tick=live,
        keep_bids=False,
    )
    wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    held = auctions(market) - before
    at_end(market)
    run_off(market, runoff_days, live)
    user_days = float(n_worlds * n_people * days)
    figures = {
        **figures_of(flight, without, runoff_days),
        "nowcast": {**nowcast_at_end(flight), "came": came_later(flight, market.hour)},
        **({"lift_tests": told(lift_report(market, until=market.hour))} if lift_test > 0 else {}),
        "opportunities_per_user_day": held / user_days,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "compile_s": compile_s,
        "opportunities_per_cpu_s": _ratio(held, cpu_s),
        "user_days_per_s": _ratio(user_days, wall_s),
        "peak_rss_mb": peak_rss_mb(),
        "auctions": held,
        "policy": policy_name,
        "market": file.name,
        "market_sha256": file.sha256,
        "worlds": n_worlds,
        "users": n_people,
        "days": days,
        "runoff_days": runoff_days,
        "daily_budget_usd": float(panel_budget(market, budget)[0]),
        "seed": seed,
        "ltv_usd": file.ltv_usd,
        "cac_target_usd": file.cac_target_usd,
    }
    by_region = recorder.table() if recorder else None
    shown = watched.reports() if watched else None
    return Simulation(figures, flight, without, runoff_days, by_region, shown)


def figures_of(flight: Flight, twin: Market | None, runoff_days: int) -> dict[str, Any]:
    """Counts summed over worlds and ratios of sums; attributed by the last click within 30 days.

    `conversions` and `organic_conversions` split the bookings of the campaign's own decisions into those
    with and those without a click within 30 days; incremental figures count every decision that differs
    from the twin's, also those made in the run-off.
    """
    sums = {name: float(values.sum()) for name, values in outcome(flight, twin, runoff_days).items()}
    made = campaign_decisions(flight)
    horizon = flight.start + flight.hours + runoff_days * 24
    attributed = made[(made["line"] != NO_LINE) & (made["book_hour"] < horizon)]
    conversions, revenue, spend = (
        sums[name] for name in ("attributed_conversions", "revenue_usd", "spend_usd")
    )
    counts = {name: int(sums[name]) for name in ("opportunities", "bids", "wins", "impressions", "clicks")}
    more = sums.get("incremental_conversions")
    more_revenue = sums.get("incremental_revenue_usd")
    return {
        **counts,
        "denials": int(flight.denied.sum()),
        "conversions": int(conversions),
        "conversions_at_end": int(sums["conversions_at_end"]),
        "organic_conversions": int(sums["organic_conversions"]),
        "spend_usd": spend,
        "revenue_usd": revenue,
        "cac_usd": _ratio(spend, conversions),
        "roas": _ratio(revenue, spend),
        "incremental_conversions": more,
        "incremental_cac_usd": None if more is None or more <= 0 else _ratio(spend, more),
        "incremental_roas": None if more_revenue is None else _ratio(more_revenue, spend),
        "incremental_profit_usd": None if more_revenue is None else more_revenue - spend,
        "incremental_decisions": sums.get("incremental_decisions"),
        "win_rate": _ratio(counts["wins"], counts["bids"]),
        "impression_share": _ratio(counts["impressions"], counts["opportunities"]),
        "mean_journey_days": float(made["journey_hours"].mean()) / 24.0 if made.size else None,
        "mean_touchpoints": float(made["n_touches"].mean()) if made.size else None,
        "spend_share": _ratio(spend, sums["budget_usd"]),
        "attribution": ATTRIBUTION,
        **by_line_and_channel(flight, attributed),
    }


def campaign_decisions(flight: Flight) -> NDArray[np.void]:
    """Decisions for the flight's seat made during it, of all worlds."""
    made = np.concatenate([flight.market.decisions(w) for w in range(flight.market.n_worlds)])
    end = flight.start + flight.hours
    return made[(made["brand"] == flight.seat) & (made["hour"] >= flight.start) & (made["hour"] < end)]


def by_line_and_channel(flight: Flight, attributed: NDArray[np.void]) -> dict[str, Any]:
    """What each line, and each channel, cost and brought by its own clicks.

    Args:
        flight: flown.
        attributed: (n,) decisions of the campaign, booked, each with the line credited.
    """
    line = attributed["line"].astype(int)
    value = attributed["value_micros"] / MICROS_PER_USD
    report = flight.report.sum(axis=0)
    columns = {
        "opportunities": report[:, OPPORTUNITIES],
        "bids": report[:, BIDS],
        "wins": report[:, WINS],
        "impressions": report[:, IMPRESSIONS],
        "clicks": report[:, CLICKS],
        "spend_usd": report[:, SPEND] / MICROS_PER_USD,
        "conversions": np.bincount(line, minlength=N_LINES),
        "revenue_usd": np.bincount(line, weights=value, minlength=N_LINES),
    }
    channel = CHANNEL_OF_LINE

    def row(which: NDArray[np.bool_]) -> dict[str, Any]:
        sums = {name: values[which].sum().item() for name, values in columns.items()}
        return {**sums, "cac_usd": _ratio(sums["spend_usd"], sums["conversions"])}

    return {
        "by_line": {each.name: row(np.arange(N_LINES) == i) for i, each in enumerate(LINES)},
        "by_channel": {
            kind.name.lower(): row(channel == kind) for kind in Channel if (channel == kind).any()
        },
    }


def auctions(market: Market) -> int:
    """Auctions held since the worlds began, ours or not; messages and own visits are none."""
    return int(market.books.activity[:, :_N_AUCTIONS].sum())


def peak_rss_mb() -> float:
    """Most memory this process ever held, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _ratio(above: float, below: float) -> float | None:
    return float(above / below) if below else None
