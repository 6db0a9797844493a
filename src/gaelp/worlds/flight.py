"""A flight: one policy on a batch of worlds for some days, through the gate, and the run-off after it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import FixedPolicy
from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ApprovedControls, Denial
from gaelp.control.delivery import STRICT, DeliveryRule
from gaelp.control.profile import ControlProfile
from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, LINES, Stage
from gaelp.market.market import Market, World
from gaelp.market.parameters import PRICE_GROUPS
from gaelp.market.state import Rivals
from gaelp.platforms.reporting import Reporting
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.account import Account, approved_bids
from gaelp.worlds.tuned import Tuned, tuned_for

Floats = NDArray[np.float64]
Tick = Callable[[int], None]
"""Called with a number of world-hours done, for a progress bar."""

WARM_UP_DAYS = 60


def _no_tick(_: int) -> None:
    return None


@dataclass
class Flight:
    """What happened on a flight; arrays over (n_worlds, ...).

    Attributes:
        market: the worlds as they are after the run-off.
        seat: whose flight. start: hour of the market at which it began. hours: its length.
        daily_budget_usd: (n_worlds,).
        spend_micros: (n_worlds, hours, n_lines) as billed.
        approved: the controls of every hour, for a replay; empty unless kept.
        bid: (n_worlds, hours, n_lines) manual bids as approved; hours is 0 unless kept.
        report: (n_worlds, n_lines, fields) counters of the flight.
        prices: (n_worlds, n_lines, bins) paid prices of all bidders during the flight.
        ads: (n_worlds, 4, 2) impressions and clicks of all bidders by auction kind, during the flight.
        prices_before: paid prices since the worlds began, at the start of the flight.
        rival_bid: (n_worlds, days, n_rivals) mean multiplier x pace over lines.
        replay_bid, replay_active: rivals' bids by day and activity by hour, for a replay.
        opportunities: (n_worlds, hours) auctions on the seat's lines.
        impressions, clicks: (n_worlds, hours, n_lines) of the seat.
        arrivals: (n, 4) conversions that the account was told of: world, line, hours of the flight at which
            they were clicked for and told.
        stages: (n_worlds, 6) people by stage at the end of the flight.
        rivals_after: what rivals had learnt at the end of the flight.
        denials: the first thousand refused controls. denied: (n_worlds,) how many there were.
        delivery: how far the platform might pass a daily budget.
        holdout: share of people that each channel's lift test kept from its ads.
    """

    market: Market
    seat: int
    start: int
    hours: int
    daily_budget_usd: Floats
    spend_micros: NDArray[np.int64]
    approved: list[ApprovedControls]
    bid: NDArray[np.float64]
    report: NDArray[np.int64]
    prices: NDArray[np.int64]
    prices_before: NDArray[np.int64]
    ads: NDArray[np.int64]
    rival_bid: Floats
    replay_bid: NDArray[np.float64]
    replay_active: NDArray[np.uint8]
    opportunities: NDArray[np.int64]
    impressions: NDArray[np.int64]
    clicks: NDArray[np.int64]
    arrivals: NDArray[np.int64]
    stages: NDArray[np.int64]
    rivals_after: Rivals
    denied: NDArray[np.int64]
    denials: list[Denial] = field(default_factory=list)
    delivery: DeliveryRule = STRICT
    holdout: float = 0.0

    def first(self, n_worlds: int) -> "Flight":
        """The flight of the first `n_worlds` worlds only, copied."""
        n = min(n_worlds, self.market.n_worlds)
        rest = {name: getattr(self, name)[:n].copy() for name in _BY_WORLD}
        return replace(
            self,
            market=self.market.first(n),
            approved=[
                replace(approved, **{f.name: getattr(approved, f.name)[:n] for f in fields(approved)})
                for approved in self.approved
            ],
            replay_bid=self.replay_bid[:, :n].copy(),
            replay_active=self.replay_active[:, :n].copy(),
            rivals_after=Rivals._make(array[:n].copy() for array in self.rivals_after),
            denials=[denial for denial in self.denials if denial.world < n],
            arrivals=self.arrivals[self.arrivals[:, 0] < n],
            **rest,
        )


_BY_WORLD = (
    *("daily_budget_usd", "spend_micros", "bid", "report", "prices", "prices_before", "ads"),
    *("denied", "rival_bid", "opportunities", "impressions", "clicks", "stages"),
)
"""Arrays of a flight whose first axis is the world."""


class FlightRecorder:
    """Keeps what the record of a flight needs beside reports: counters as it began, and rivals day by day.

    Args:
        market: the worlds before the flight's first hour, the first of a day. days: the flight's length.
        keep_bids: keep rivals' bids and activity, as a replay needs them.
    """

    def __init__(self, market: Market, days: int, *, keep_bids: bool = False) -> None:
        self.market, self.days, self.keep_bids = market, days, keep_bids
        books = market.books
        self._report, self._prices, self._ads = books.report.copy(), books.prices.copy(), books.ads.copy()
        n_worlds, n_rivals = market.n_worlds, market.n_rivals
        self._rival_bid = np.zeros((n_worlds, days, n_rivals))
        self._replay_bid = np.zeros((days, *market.rivals.bid.shape) if keep_bids else (0, n_worlds))
        self._replay_active = np.zeros((24 * days if keep_bids else 0, n_worlds, n_rivals), np.uint8)

    def hours(self, tick: Tick) -> Iterator[int]:
        """The flight's hours from 0 on; whoever loops over them lets each pass.

        Args:
            tick: told the world-hours done.
        """
        for h in range(24 * self.days):
            if h % 24 == 0:
                rivals = self.market.rivals
                self._rival_bid[:, h // 24] = rivals.multiplier[:, :, :EMAIL_LINE].mean(axis=2) * rivals.pace
                if self.keep_bids:
                    self._replay_bid[h // 24] = rivals.bid
            yield h
            if self.keep_bids:
                self._replay_active[h] = self.market.rivals.active
            tick(self.market.n_worlds)

    def flight(
        self,
        account: Account,
        reports: Reporting,
        *,
        delivery: DeliveryRule = STRICT,
        holdout: float = 0.0,
    ) -> Flight:
        """The record of one account's flight, when its last hour has passed.

        Args:
            account: opened at the flight's first hour. reports: of its seat, opened for the flight.
            delivery, holdout: as the reports were opened.
        """
        market, books, seat = self.market, self.market.books, account.seat
        stage = market.pop.people["stage"]
        return Flight(
            market=market,
            seat=seat,
            start=account.start,
            hours=account.hours,
            daily_budget_usd=account.brief.daily_budget_usd,
            spend_micros=reports.spend_micros,
            approved=account.approved,
            bid=approved_bids(account.approved, market.n_worlds),
            report=books.report[:, seat] - self._report[:, seat],
            prices=books.prices - self._prices,
            prices_before=self._prices,
            ads=books.ads - self._ads,
            rival_bid=self._rival_bid,
            replay_bid=self._replay_bid,
            replay_active=self._replay_active,
            opportunities=reports.eligible.sum(axis=2),
            impressions=reports.impressions,
            clicks=reports.clicks,
            arrivals=reports.arrivals,
            stages=np.array([np.bincount(each, minlength=len(Stage)) for each in stage]),
            rivals_after=Rivals._make(array.copy() for array in market.rivals),
            denials=account.denials,
            denied=account.denied,
            delivery=delivery,
            holdout=holdout,
        )


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
        (n_worlds, 168) the account's traffic forecast, from its own impressions and what they cost.
    """
    policy = FixedPolicy(multiplier=market.worlds[0].file.status_quo_multiplier)
    flight = fly(market, policy, days=days, traffic=None, tick=tick, keep_bids=False)
    return traffic_of(market, flight)


def traffic_of(market: Market, flight: Flight) -> Floats:
    """(n_worlds, 168) expected cost by hour of week at constant bids, mean 1, from what the account saw.

    Own impressions of each line by hour of week, at the line's mean cost: the shape that a plan needs, with
    less noise than the cost itself.
    """
    start = int(market.rules["start_hour_of_week"][0]) + flight.start
    hour_of_week = (start + np.arange(flight.hours)) % 168
    cost = flight.spend_micros.sum(axis=1) / np.maximum(flight.impressions.sum(axis=1), 1)
    worth = np.einsum("whl,wl->wh", flight.impressions, cost)
    seen = np.zeros((market.n_worlds, 168))
    np.add.at(seen.T, hour_of_week, worth.T)
    rate = seen / np.maximum(np.bincount(hour_of_week, minlength=168), 1)
    rate += 0.01 * rate.mean(axis=1, keepdims=True) + 1e-9  # no hour is sure to be empty
    return rate / rate.mean(axis=1, keepdims=True)


def fly(market: Market, policy: Policy, **options: Any) -> Flight:
    """Fly one policy on seat 0, the other external seats silent; see `fly_together` for the options."""
    return fly_together(market, [policy], **options)[0]


def fly_together(
    market: Market,
    policies: Sequence[Policy],
    *,
    days: int,
    traffic: Floats | None,
    daily_budget_usd: float | None = None,
    seed: int = 0,
    tuned: Tuned | None = None,
    profile: ControlProfile | None = None,
    delivery: DeliveryRule = STRICT,
    holdout: float = 0.0,
    tick: Tick = _no_tick,
    keep_bids: bool = True,
) -> list[Flight]:
    """Fly policies for `days`, one on each external seat, in every world of the batch; the market is changed.

    Args:
        market: worlds at the first hour of a day.
        policies: for seat 0, 1, ...; seats without one are silent.
        days: length.
        traffic: (n_worlds, 168) forecast from `warm_up`; None for a flat one.
        daily_budget_usd: per panel and day; None takes the file's budget a person.
        seed: for policies that draw. tick: told the world-hours done.
        profile: cadence and limits of control changes; None for freely.
        delivery: how far the platform may pass a daily budget.
        holdout: share of people that a lift test of each channel keeps from its ads.
        keep_bids: keep the approved controls and rivals' bids, as a replay needs them.
    """
    if days < 1:
        raise BadInput("days", days, "must be at least 1", "Fly at least one day.")
    if market.hour % 24:
        remedy = "Let the day pass first."
        raise BadInput("market.hour", market.hour, "must be the first of a day", remedy)
    if not 1 <= len(policies) <= market.n_seats:
        remedy = "Give one policy a seat, or make the market with more seats."
        raise BadInput("policies", len(policies), f"must be from 1 to {market.n_seats}", remedy)
    budget = panel_budget(market, daily_budget_usd)
    forecast = np.ones((market.n_worlds, 168)) if traffic is None else traffic
    brief = make_brief(market, budget, forecast, tuned or tuned_for(market.worlds[0].file), seed)
    brief = replace(brief, **_cadence(profile))
    platform = SimulatedPlatform(market)
    accounts = []
    for seat, policy in enumerate(policies):
        platform.open(seat=seat, hours=24 * days, delivery=delivery, holdout=holdout)
        accounts.append(
            open_account(
                platform, brief, seat=seat, days=days, keep=keep_bids, profile=profile, delivery=delivery
            )
        )
        policy.start(brief)
    recorder = FlightRecorder(market, days, keep_bids=keep_bids)
    for _ in recorder.hours(tick):
        for account, policy in zip(accounts, policies, strict=True):
            account.decide(policy)
        platform.advance()
    return [
        recorder.flight(account, platform.reports[account.seat], delivery=delivery, holdout=holdout)
        for account in accounts
    ]


def _cadence(profile: ControlProfile | None) -> dict[str, Any]:
    """What a brief says of how an account's targets may change."""
    if profile is None:
        return {}
    rule = profile.target_cpa
    if rule is None:
        return {"targets": False}
    step = float("inf") if rule.step is None else rule.step.numerator / rule.step.denominator
    return {"target_hours": -(-rule.hours // rule.changes), "target_step": step}


def open_account(
    platform: SimulatedPlatform,
    brief: Brief,
    *,
    seat: int,
    days: int,
    keep: bool = False,
    profile: ControlProfile | None = None,
    delivery: DeliveryRule = STRICT,
) -> Account:
    """An account on a seat whose reports are open, from the market's present hour on; see `Account`."""
    return Account(
        platform,
        brief,
        seat=seat,
        start=platform.market.hour,
        days=days,
        began=platform.market.worlds[0].file.start,
        keep=keep,
        profile=profile,
        delivery=delivery,
    )


def run_off(market: Market, days: int, tick: Tick = _no_tick) -> None:
    """Let `days` pass with all external seats' ads off."""
    for hours in market.rest(days * 24):
        tick(market.n_worlds * hours)
