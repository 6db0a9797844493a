"""A flight: one policy on a batch of worlds for some days, through the gate, and the run-off after it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import FixedPolicy
from gaelp.agents.policy import Brief, Policy, View
from gaelp.control.controls import Denial
from gaelp.control.gate import Gate, Limits
from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES, Stage
from gaelp.market.market import Market, World
from gaelp.market.parameters import PRICE_GROUPS
from gaelp.market.state import CLICKS, IMPRESSIONS, OPPORTUNITIES, SPEND, WINS, Rivals
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.tuned import Tuned, tuned_for

Floats = NDArray[np.float64]
Tick = Callable[[int], None]
"""Called with a number of world-hours done, for a progress bar."""

WARM_UP_DAYS = 60
BID_CAP_FACTOR = 50.0
"""The gate's cap on a bid, as a multiple of the line's reference price."""


def _no_tick(_: int) -> None:
    return None


@dataclass
class Flight:
    """What happened on a flight; arrays over (n_worlds, ...).

    Attributes:
        market: the worlds as they are after the run-off.
        start: hour of the market at which the flight began. hours: its length.
        daily_budget_usd: (n_worlds,).
        spend_micros: (n_worlds, hours, n_lines) as billed.
        bid: (n_worlds, hours, n_lines) as approved.
        report: (n_worlds, n_lines, fields) counters of the flight.
        prices: (n_worlds, n_lines, bins) paid prices of all bidders during the flight.
        ads: (n_worlds, 4, 2) impressions and clicks of all bidders by auction kind, during the flight.
        prices_before: paid prices since the worlds began, at the start of the flight.
        rival_bid: (n_worlds, days, n_rivals) mean multiplier x pace over lines.
        replay_bid, replay_active: rivals' bids by day and activity by hour, for a replay.
        opportunities: (n_worlds, hours) auctions on the seat's lines.
        stages: (n_worlds, 6) people by stage at the end of the flight.
        rivals_after: what rivals had learnt at the end of the flight.
        denials: refused controls.
    """

    market: Market
    start: int
    hours: int
    daily_budget_usd: Floats
    spend_micros: NDArray[np.int64]
    bid: NDArray[np.float64]
    report: NDArray[np.int64]
    prices: NDArray[np.int64]
    prices_before: NDArray[np.int64]
    ads: NDArray[np.int64]
    rival_bid: Floats
    replay_bid: NDArray[np.float64]
    replay_active: NDArray[np.uint8]
    opportunities: NDArray[np.int64]
    stages: NDArray[np.int64]
    rivals_after: Rivals | None = None
    denials: list[Denial] = field(default_factory=list)


def make_market(worlds: list[World], n_people: int, **options: int) -> Market:
    """A batch of new worlds; see `Market` for the options."""
    return Market(worlds, n_people=n_people, **options)


def panel_budget(market: Market, daily_budget_usd: float | None) -> Floats:
    """(n_worlds,) daily budget of the simulated panel: given, or the file's budget a person times people."""
    if daily_budget_usd is None:
        per_person = np.array([world.file.budget_per_person_usd for world in market.worlds])
        return per_person * market.n_people
    if not (np.isfinite(daily_budget_usd) and daily_budget_usd >= 0):
        raise BadInput(
            "daily_budget_usd", daily_budget_usd, "must be at least 0", "Give USD per panel and day."
        )
    return np.full(market.n_worlds, float(daily_budget_usd))


def reference_prices(market: Market) -> Floats:
    """(n_lines,) the market's median price per line; e-mail counts ten times its cost."""
    file = market.worlds[0].file
    known = file.reference_price_usd
    groups = dict(zip(PRICE_GROUPS, file.parameters["price_level"].value, strict=True))
    prices = [known.get(line.name, 0.6 * groups.get(_group(line.name), 0.0)) for line in LINES]
    prices[EMAIL_LINE] = 10.0 * float(file.parameters["mail_cost_usd"].value)
    return np.array(prices)


def _group(line: str) -> str:
    return line.rsplit("_", 1)[0]


def make_brief(market: Market, budget: Floats, traffic: Floats, tuned: Tuned, seed: int) -> Brief:
    """What a policy is told at the start of a flight."""
    file = market.worlds[0].file
    return Brief(
        n_worlds=market.n_worlds,
        daily_budget_usd=budget,
        reference_price_usd=reference_prices(market),
        attributed_value_usd=tuned.attributed_value,
        traffic=traffic,
        ltv_usd=file.ltv_usd,
        cac_target_usd=file.cac_target_usd,
        seed=seed,
        world_seeds=np.array([world.seed for world in market.worlds], np.int64),
    )


def warm_up(market: Market, days: int = WARM_UP_DAYS, tick: Tick = _no_tick) -> Floats:
    """Live `days` under the status quo: a fixed bid within the usual budget.

    Returns:
        (n_worlds, 168) opportunities by hour of week that the account saw: its traffic forecast.
    """
    policy = FixedPolicy(multiplier=market.worlds[0].file.status_quo_multiplier)
    flight = fly(market, policy, days=days, traffic=None, tick=tick, keep_bids=False)
    return traffic_of(market, flight)


def traffic_of(market: Market, flight: Flight) -> Floats:
    """(n_worlds, 168) opportunities by hour of week during a flight, mean 1."""
    start = int(market.rules["start_hour_of_week"][0]) + flight.start
    hour_of_week = (start + np.arange(flight.hours)) % 168
    seen = np.zeros((market.n_worlds, 168))
    np.add.at(seen.T, hour_of_week, flight.opportunities.T.astype(float))
    visits = np.bincount(hour_of_week, minlength=168)
    rate = (seen + 1.0) / np.maximum(visits, 1)
    return rate / rate.mean(axis=1, keepdims=True)


def fly(
    market: Market,
    policy: Policy,
    *,
    days: int,
    traffic: Floats | None,
    daily_budget_usd: float | None = None,
    seed: int = 0,
    tuned: Tuned | None = None,
    tick: Tick = _no_tick,
    keep_bids: bool = True,
) -> Flight:
    """Fly a policy for `days` in every world of the batch; the market is changed.

    Args:
        market: worlds at the first hour of a day. policy: decides. days: length.
        traffic: (n_worlds, 168) forecast from `warm_up`; None for a flat one.
        daily_budget_usd: per panel and day; None takes the file's budget a person.
        seed: for policies that draw. tick: told the world-hours done. keep_bids: record approved bids.
    """
    if days < 1:
        raise BadInput("days", days, "must be at least 1", "Fly at least one day.")
    n_worlds, hours, start = market.n_worlds, days * 24, market.hour
    budget = panel_budget(market, daily_budget_usd)
    reference = reference_prices(market)
    gate = Gate(
        Limits(
            bid_cap_usd=np.maximum(BID_CAP_FACTOR * reference, 1.0),
            target_cap_usd=100.0 * market.worlds[0].file.cac_target_usd,
            daily_cap_micros=np.floor(budget * MICROS_PER_USD).astype(np.int64),
        )
    )
    platform = SimulatedPlatform(market)
    policy.start(
        make_brief(
            market,
            budget,
            np.ones((n_worlds, 168)) if traffic is None else traffic,
            tuned or tuned_for(market.worlds[0].file),
            seed,
        )
    )
    before = platform.report().copy()
    first = before.copy()
    prices = market.books.prices.copy()
    lines = (n_worlds, hours, N_LINES)
    flight = Flight(
        market=market,
        start=start,
        hours=hours,
        daily_budget_usd=budget,
        spend_micros=np.zeros(lines, np.int64),
        bid=np.zeros(lines if keep_bids else (n_worlds, 0, N_LINES)),
        report=first,
        prices=prices,
        prices_before=prices,
        ads=market.books.ads.copy(),
        rival_bid=np.zeros((n_worlds, days, market.n_rivals)),
        replay_bid=np.zeros((days, *market.rivals.bid.shape) if keep_bids else (0,)),
        replay_active=np.zeros((hours if keep_bids else 0, n_worlds, market.n_rivals), np.uint8),
        opportunities=np.zeros((n_worlds, hours), np.int64),
        stages=np.zeros((n_worlds, len(Stage)), np.int64),
    )
    last = np.zeros_like(before)
    booked = np.zeros((n_worlds, N_LINES))
    start_of_week = int(market.rules["start_hour_of_week"][0])
    for h in range(hours):
        view = View(
            hour=h,
            hour_of_week=(start_of_week + start + h) % 168,
            spend_usd=last[..., SPEND] / MICROS_PER_USD,
            clicks=last[..., CLICKS].astype(float),
            impressions=last[..., IMPRESSIONS].astype(float),
            wins=last[..., WINS].astype(float),
            opportunities=last[..., OPPORTUNITIES].astype(float),
            conversions=booked,
        )
        approved, denials = gate.check(policy.act(view))
        flight.denials.extend(denials[: max(0, 1000 - len(flight.denials))])
        platform.apply(approved)
        if h % 24 == 0:
            flight.rival_bid[:, h // 24] = (
                market.rivals.multiplier[:, :, :EMAIL_LINE].mean(axis=2) * market.rivals.pace
            )
            if keep_bids:
                flight.replay_bid[h // 24] = market.rivals.bid
        platform.advance()
        now = platform.report()
        last = now - before
        before = now.copy()
        booked = platform.booked(market.hour - 1, market.hour)
        flight.spend_micros[:, h] = last[..., SPEND]
        flight.opportunities[:, h] = last[..., OPPORTUNITIES].sum(axis=1)
        if keep_bids:
            flight.bid[:, h] = approved.bid_usd
            flight.replay_active[h] = market.rivals.active
        tick(n_worlds)
    flight.report = platform.report() - first
    flight.prices = market.books.prices - prices
    flight.ads = market.books.ads - flight.ads
    flight.rivals_after = Rivals._make(array.copy() for array in market.rivals)
    for w in range(n_worlds):
        flight.stages[w] = np.bincount(market.pop.people["stage"][w], minlength=len(Stage))
    return flight


def run_off(market: Market, days: int, tick: Tick = _no_tick) -> None:
    """Let `days` pass with our ads off."""
    platform = SimulatedPlatform(market)
    platform.switch_off()
    for _ in range(days * 24):
        platform.advance()
        tick(market.n_worlds)


def replay_without(
    snapshot: Market, flight: Flight, lines_off: NDArray[np.bool_], runoff_days: int, tick: Tick = _no_tick
) -> Market:
    """The `direct` twin: our controls and rivals' bids as logged, some lines off, freed budget unspent.

    With no line off it is the flight itself, bit for bit.

    Args:
        snapshot: the worlds as they were before the flight (copied). flight: flown with `keep_bids`.
        lines_off: (n_lines,) which of our lines are silent.
        runoff_days: days with our ads off afterwards, rivals adapting again.

    Returns:
        The twin worlds after the run-off.
    """
    twin = snapshot.copy()
    platform = SimulatedPlatform(twin, adapt=False)
    seat = platform.seat
    platform.controls.daily_cap[:, seat] = np.floor(flight.daily_budget_usd * MICROS_PER_USD)
    for h in range(flight.hours):
        if h % 24 == 0:
            twin.rivals.bid[:] = flight.replay_bid[h // 24]
        twin.rivals.active[:] = flight.replay_active[h]
        platform.controls.bid[:, seat] = np.where(lines_off, 0.0, flight.bid[:, h])
        platform.advance()
        tick(twin.n_worlds)
    assert flight.rivals_after is not None
    twin.rivals = Rivals._make(array.copy() for array in flight.rivals_after)
    run_off(twin, runoff_days, tick)
    return twin
