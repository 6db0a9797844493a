"""References that see truth: yardsticks for the leaderboard, never policies to fly.

`line_oracle` holds the same lines as an agent and knows what a dollar on each brings; `informed` bids on
every opportunity by what winning it is worth to this very person; `clairvoyant` also sees the hour's draws.
What each knows, and why it is or is not a bound: docs/reference/references.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import PacingPolicy
from gaelp.agents.policy import Brief
from gaelp.control.controls import ProposedControls, propose
from gaelp.control.pacing import DualPacer, PacingSettings
from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES, SOCIAL_LINE, Audience, Channel, Stage
from gaelp.evaluation.draws import keep_within
from gaelp.evaluation.judge import WORLDS_A_GROUP
from gaelp.evaluation.lift import noise_draws, price
from gaelp.evaluation.moments import moments_of
from gaelp.evaluation.worth import Valuer
from gaelp.market.file import MarketFile, load
from gaelp.market.market import Market
from gaelp.market.parameters import FEEDS
from gaelp.market.state import SPEND
from gaelp.observation.view import View
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import (
    Flight,
    FlightRecorder,
    Tick,
    fly,
    make_brief,
    make_market,
    open_account,
    panel_budget,
    reference_prices,
    run_off,
)
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.tuned import Tuned, tuned_for

Floats = NDArray[np.float64]
FULL_SPEND = 0.9


def _no_tick(_: int) -> None:
    return None


# ---- line_oracle ----

_STEPS = (0.5, 1.0)
"""How far along the recommended log multipliers is tried."""
_LARGEST = float(np.log(30.0))
_EVERY_HOURS = 5
"""Hours between two looks at what the coming auctions are worth: every hour of the day in five days."""
_ROUNDS = 2
_TRIAL_MULTIPLIER = 0.8
"""Dollars bid per dollar of value at which bids are shaded while measuring."""


def other_luck(market: Market, weeks: int) -> Market:
    """A copy whose living people and rivals are the same and whose coming draws are others.

    Draws are named by person and hour, so the copy's clock is put forward by whole weeks and everything that
    holds an hour or a day with it; the season stays. Who a person is (taste, mean need, devices) stays too,
    and so do the calendar of the day that has begun and the people who will move in.
    """
    copy = market.copy()
    days, hours = 7 * weeks, 7 * 24 * weeks
    copy.hour += hours
    copy._changes = {hour + hours: files for hour, files in copy._changes.items()}
    copy.worlds = tuple(world._replace(file=_begun_earlier(world.file, days)) for world in copy.worlds)
    copy._changes = {
        hour: tuple(_begun_earlier(file, days) for file in files) for hour, files in copy._changes.items()
    }
    copy.rules["start_day_of_year"] = [world.file.start.timetuple().tm_yday - 1 for world in copy.worlds]
    people, memory = copy.pop.people, copy.pop.memory
    people["exit_day"] += days
    for record, name in (
        *((people, name) for name in ("last_contact", "journey_start", "decision_hour", "book_hour")),
        *((memory, name) for name in ("last_visit", "last_mail", "last_click")),
        *((copy.books.decisions, name) for name in ("hour", "book_hour", "click_hour")),
    ):
        record[name] += np.where(record[name] >= 0, hours, 0).astype(record[name].dtype)
    return copy


def _begun_earlier(file: MarketFile, days: int) -> MarketFile:
    return replace(file, start=file.start - timedelta(days=days))


def shrunk(measured: Floats, noise_variance: Floats) -> tuple[Floats, Floats]:
    """Noisy figures per world, shrunk towards what all worlds share.

    With y = truth + noise of variance s2, a world's deviation from the mean over worlds is kept by
    t2 / (t2 + s2), where t2 = max(0, variance over worlds - mean s2), factor by factor.

    Args:
        measured: (n_worlds, n_factors). noise_variance: (n_factors,) mean s2 of each.

    Returns:
        (n_worlds, n_factors) shrunk figures, (n_factors,) share of a world's own deviation that was kept.

    Source: Efron, Morris, "Data analysis using Stein's estimator", JASA 1975.

    >>> figures, kept = shrunk(np.array([[3.0, 3.0], [1.0, 1.0]]), np.array([0.0, 1000.0]))
    >>> figures.tolist(), kept.tolist()
    ([[3.0, 2.0], [1.0, 2.0]], [1.0, 0.0])
    """
    mean = measured.mean(axis=0)
    between = measured.var(axis=0, ddof=1) if measured.shape[0] > 1 else np.zeros(mean.shape)
    own = np.maximum(between - noise_variance, 0.0)
    kept = own / np.maximum(own + noise_variance, 1e-12)
    return mean + kept * (measured - mean), kept


@dataclass
class LineOracle:
    """Tuned dual pacing with the line multipliers that truth recommends, world by world.

    Its ads show what truth recommends (`best_dress`). Under one budget the best bid of a line is proportional
    to what one more of its impressions (or clicks) is worth, less the shade that its auction asks for. The
    value model of `lift` tells that worth for every auction of a flight; log multipliers are its means by
    world and line, shrunk towards those of the world's group. It is measured at pacing's operating point and
    once more at the new one, and paired flights say whether half the way would be better. All of it happens
    on copies of the flight's own start with other luck.

    Worlds learn from each other only within their group: `pool` consecutive worlds in the order given, the
    last group maybe fewer. So a figure belongs to its group, and not to how many groups fly at a time: worlds
    0 to 7 alone come out as they do among more. `judge` cuts worlds at multiples of the default `pool` only.

    Attributes:
        days, runoff_days: of a measuring flight.
        pool: worlds of a group.
        found: what was measured, for reports; filled by `fly`. `log_factor` (n_worlds, n_lines); by group
            `kept` (n_groups, n_paid), `gains_usd` (n_groups, 1 + n_steps) and `step` (n_groups,).
    """

    name: str = "line_oracle"
    days: int = 30
    runoff_days: int = 30
    pool: int = WORLDS_A_GROUP
    found: dict[str, Any] = field(default_factory=dict)

    def fly(
        self,
        market: Market,
        *,
        traffic: Floats | None,
        days: int,
        daily_budget_usd: float | None = None,
        seed: int = 0,
        tuned: Tuned | None = None,
        tick: Tick = _no_tick,
        keep_bids: bool = False,
    ) -> Flight:
        """Measure on copies, then fly `market` for `days`; see `worlds.flight.fly` for the arguments."""
        tuned = tuned or tuned_for(market.worlds[0].file)
        options: dict[str, Any] = {
            "traffic": traffic,
            "daily_budget_usd": daily_budget_usd,
            "seed": seed,
            "tuned": tuned,
        }
        factor = self.measure(market, tuned, options)
        policy = _paced(tuned, np.exp(factor), self.name, best_dress(market))
        return fly(market, policy, days=days, tick=tick, keep_bids=keep_bids, **options)

    def measure(self, market: Market, tuned: Tuned, options: dict[str, Any]) -> Floats:
        """(n_worlds, n_lines) log multipliers; the market is not changed."""
        groups = self._groups(market.n_worlds)
        log_factor = np.zeros((market.n_worlds, N_LINES))
        kept: list[Floats] = []
        bids = _plain_bids(market, tuned)
        for turn in range(_ROUNDS):
            looked = self._looks(
                other_luck(market, 60 + 60 * turn),
                _paced(tuned, np.exp(log_factor), self.name, best_dress(market)),
                options,
            )
            kept = []
            for group in groups:
                measured, noise, spend = looked.of(group)
                wanted, own = shrunk(measured - np.log(bids[:EMAIL_LINE]), noise)
                weight = spend / np.maximum(spend.sum(axis=1, keepdims=True), 1e-9)
                wanted -= (weight * wanted).sum(axis=1, keepdims=True)  # the pacer finds the scale
                log_factor[group, :EMAIL_LINE] = np.clip(wanted, -_LARGEST, _LARGEST)
                kept.append(own)
        start = other_luck(market, weeks=60 + 60 * _ROUNDS)
        scores = np.array([self._profit(start, tuned, step * log_factor, options) for step in (0.0, *_STEPS)])
        steps, gains = [], []
        for group in groups:
            score = scores[:, group].copy()
            steps.append(_step(score[1:]))
            gains.append((score - score[0]).mean(axis=1))
        self.found = {
            "log_factor": log_factor,
            "kept": np.array(kept),
            "gains_usd": np.array(gains),
            "step": np.array(steps),
        }
        return np.repeat(steps, self.pool)[: market.n_worlds, None] * log_factor

    def _groups(self, n_worlds: int) -> list[slice]:
        return [slice(i, min(i + self.pool, n_worlds)) for i in range(0, n_worlds, self.pool)]

    def _looks(self, start: Market, policy: PacingPolicy, options: dict[str, Any]) -> "_Looks":
        """Fly and look at what auctions are worth."""
        shape = (2, start.n_worlds, N_LINES)
        total, count, shaded, meant = (
            np.zeros(shape),
            np.zeros(shape),
            np.zeros(shape[1:]),
            np.zeros(shape[1:]),
        )
        valuer = Valuer(start, _TRIAL_MULTIPLIER, *best_dress(start))
        begun = start.hour

        def look(_: int) -> None:
            hour = start.hour - begun
            if hour % _EVERY_HOURS or hour >= 24 * self.days:
                return
            found, worth, bid = valuer.value()
            at = (found["world"], found["line"][:, 0])
            usd = worth * np.where(at[1] < SOCIAL_LINE, 1.0, 1000.0)
            half = hour // _EVERY_HOURS % 2
            np.add.at(total[half], at, usd)
            np.add.at(count[half], at, 1.0)
            placed = bid > 0.0
            there = (at[0][placed], at[1][placed])
            np.add.at(shaded, there, bid[placed])
            np.add.at(meant, there, _TRIAL_MULTIPLIER * usd[placed])

        flight = fly(start, policy, days=self.days, tick=look, keep_bids=False, **options)
        spend = flight.report[:, :EMAIL_LINE, SPEND] / MICROS_PER_USD
        return _Looks(total, count, shaded, meant, spend)

    def _profit(self, start: Market, tuned: Tuned, log_factor: Floats, options: dict[str, Any]) -> Floats:
        """(n_worlds,) USD of expected sales less spend, and less two for each dollar short of full spend."""
        flown = start.copy()
        policy = _paced(tuned, np.exp(log_factor), self.name, best_dress(start))
        flight = fly(flown, policy, days=self.days, keep_bids=False, **options)
        run_off(flown, self.runoff_days)
        value = (flown.books.expected - start.books.expected)[:, 0, 1]
        spend = flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD
        short = np.maximum(FULL_SPEND * flight.daily_budget_usd * self.days - spend, 0.0)
        profit: Floats = value - spend - 2.0 * short
        return profit


class _Looks(NamedTuple):
    """Sums over the looks of a measuring flight; `total` and `n_auctions` by odd and even look.

    Attributes:
        total: (2, n_worlds, n_lines) USD that the auctions looked at are worth, per the line's unit.
        n_auctions: (2, n_worlds, n_lines) auctions. spend: (n_worlds, n_paid) USD of the flight.
        shaded, meant: (n_worlds, n_lines) USD bid, with and without the shade.
    """

    total: Floats
    n_auctions: Floats
    shaded: Floats
    meant: Floats
    spend: Floats

    def of(self, group: slice) -> tuple[Floats, Floats, Floats]:
        """What the worlds of a group say, from copies: sums over views of larger arrays may round otherwise.

        Returns:
            (n_worlds, n_paid) log of the best bid per line in its unit, up to a common factor; (n_paid,)
            variance of its noise, from odd against even looks; (n_worlds, n_paid) spend in USD.
        """
        total, count = self.total[:, group].copy(), self.n_auctions[:, group].copy()
        paid = slice(0, EMAIL_LINE)
        # a line that few auctions reach leans on the group's worlds together
        pooled = total.sum(axis=(0, 1)) / np.maximum(count.sum(axis=(0, 1)), 1.0)
        few = 20.0
        mean = (total + few * pooled) / (count + few)
        least = 1e-3 * np.abs(pooled).max()
        each = np.log(np.maximum(mean, least))[:, :, paid]
        shade = (self.shaded[group].sum(axis=0) + 1e-9) / (self.meant[group].sum(axis=0) + 1e-9)
        both = (total.sum(axis=0) + few * pooled) / (count.sum(axis=0) + few)
        measured = np.log(np.maximum(both, least))[:, paid] + np.log(shade)[paid]
        variance = ((each[0] - each[1]) ** 2).mean(axis=0) / 4.0
        return measured, variance, self.spend[group].copy()


def _step(scores: Floats) -> float:
    """How far along to go: what truth recommends, unless luck of its own says clearly that less is better.

    Args:
        scores: (n_steps, n_worlds) profits of the worlds of a group, by step of `_STEPS`.
    """
    chosen = 1.0
    for tried, score in zip(_STEPS, scores, strict=True):
        ahead = score - scores[_STEPS.index(1.0)]
        error = float(ahead.std(ddof=1)) / ahead.size**0.5 if ahead.size > 1 else np.inf
        chosen = tried if ahead.mean() > 2.0 * error and ahead.mean() > 0.0 else chosen
    return chosen


def _plain_bids(market: Market, tuned: Tuned) -> Floats:
    """(n_lines,) what pacing bids before its multiplier, up to a common factor."""
    lean = np.clip(np.exp(tuned.value_weight * np.log(np.maximum(tuned.attributed_value, 1e-3))), 0.05, 20.0)
    return reference_prices(market) * lean


_FEED_OF = {Channel[name.upper()]: place for place, name in enumerate(FEEDS)}
_FEED_OF[Channel.RETARGETING] = _FEED_OF[Channel.DISPLAY]


class Dress(NamedTuple):
    """What ads show: landing page, (n_worlds, n_lines), and creatives, (n_worlds, n_lines, n_creatives)."""

    landing: NDArray[np.int64]
    creative_weight: Floats


def best_dress(market: Market) -> Dress:
    """The landing page with the most goodwill per visit, and creatives by their fit to the segments.

    Where the market has response tables, a line's fit is that of its cells, all open stages alike.

    Weights are fit ** (-1 / fatigue exponent): once people have seen each creative often, that makes one more
    view of any of them equally likely to be clicked.
    """
    context = [
        int(line.query) if line.query is not None else 4 + int(line.audience or Audience.NEW)
        for line in LINES
    ]
    context[EMAIL_LINE] = 4 + int(Audience.HIGH_INTENT)
    landing = market.rules["landing_fit"].argmax(axis=1)[:, context].astype(np.int64)
    share = np.diff(np.minimum(market.rules["segment_edge"], 1.0), axis=1, prepend=0.0)
    share = np.where(
        np.arange(share.shape[1]) < market.rules["n_segments"][:, None], np.maximum(share, 0.0), 0.0
    )
    fit = np.einsum("ws,wsc->wc", share, market.rules["creative_fit"])
    fit = np.repeat(fit[:, None], N_LINES, axis=1)
    if market.rules["responds"].any():
        for i, line in enumerate(LINES):
            if line.channel in _FEED_OF and line.device is not None:
                cells = market.rules["feed_response"][:, _FEED_OF[line.channel], :, : Stage.CONVERTED]
                own = cells[..., line.device, line.audience or Audience.NEW, :].mean(axis=2)
                fit[:, i] = np.einsum("ws,wsc,wsc->wc", share, market.rules["creative_fit"], own)
    weight = fit ** (-1.0 / np.minimum(market.rules["fatigue_exponent"], -0.1))[:, None, None]
    weight /= weight.sum(axis=2, keepdims=True)
    return Dress(landing, weight)


class _DressedPacing(PacingPolicy):
    """Pacing whose ads show what truth recommends."""

    dress: Dress

    def act(self, view: View) -> ProposedControls:
        return replace(super().act(view), **self.dress._asdict())


def _paced(tuned: Tuned, factor: Floats, name: str, dress: Dress) -> PacingPolicy:
    policy = _DressedPacing(
        value_weight=tuned.value_weight, settings=tuned.settings, name=name, factor=factor
    )
    policy.dress = dress
    return policy


# ---- informed and clairvoyant ----

_SETTINGS = PacingSettings(step=0.1, start=0.5, lowest=0.01, highest=20.0)
"""Dollars bid per dollar of value: moved faster than an account's, for one value scale serves all worlds."""


@dataclass
class Informed:
    """Bids on every opportunity by what winning it is worth; e-mail is on; budget by a dual multiplier.

    Attributes:
        highest: most dollars bid per dollar of value.
        dressed: ads show what `best_dress` says, else the home page and even rotation.
        predicted_usd: (n_worlds,) what the impressions and clicks bought were valued at; filled by `fly`.
        multiplier: (n_worlds, hours) dollars bid per dollar of value; filled by `fly`.
        cost_micros: (n_worlds,) what the coming hour's bids will cost, e-mail apart.
    """

    name: str = "informed"
    highest: float = _SETTINGS.highest
    dressed: bool = True
    predicted_usd: Floats = field(default_factory=lambda: np.zeros(0))
    multiplier: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    cost_micros: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _sees_draws: bool = False

    def fly(
        self,
        market: Market,
        *,
        traffic: Floats | None,
        days: int,
        daily_budget_usd: float | None = None,
        seed: int = 0,
        tuned: Tuned | None = None,
        tick: Tick = _no_tick,
        keep_bids: bool = False,
    ) -> Flight:
        """Fly `market` for `days`; see `worlds.flight.fly` for the arguments.

        Bids per opportunity cannot be replayed, so the flight holds no log of controls.

        Raises:
            BadInput: `keep_bids`, or `days` under 1.
        """
        if keep_bids:
            raise BadInput(
                "keep_bids", True, "must be False", "Bids per opportunity leave no controls to replay."
            )
        if days < 1:
            raise BadInput("days", days, "must be at least 1", "Fly at least one day.")
        n_worlds, hours = market.n_worlds, days * 24
        budget = panel_budget(market, daily_budget_usd)
        start_of_week = int(market.rules["start_hour_of_week"][0])
        forecast = np.ones((n_worlds, 168)) if traffic is None else traffic
        brief = make_brief(market, budget, forecast, tuned or tuned_for(market.worlds[0].file), seed)
        desk = _Desk(brief, self.highest, best_dress(market) if self.dressed else None)
        platform = SimulatedPlatform(market)
        reports = platform.open(hours=hours)
        account = open_account(platform, brief, seat=0, days=days)
        moments, noise = moments_of(market.rules), noise_draws()
        self.predicted_usd, self.multiplier = np.zeros(n_worlds), np.zeros((n_worlds, hours))
        recorder = FlightRecorder(market, days)
        for h in recorder.hours(tick):
            account.submit(
                desk.decide(
                    (start_of_week + market.hour) % 168, market.books.report[:, 0, :, SPEND].sum(axis=1)
                )
            )
            self.multiplier[:, h] = desk.multiplier
            platform.advance(self._bids(market, platform, desk.multiplier, moments, noise))
        return recorder.flight(account, reports)

    def _bids(
        self,
        market: Market,
        platform: SimulatedPlatform,
        multiplier: Floats,
        moments: NDArray[np.float32],
        noise: NDArray[np.int64],
    ) -> Floats:
        """(n_opportunities, n_seats) bids of the coming hour, within what the day may still cost."""
        found = market.opportunities()
        starts = np.searchsorted(found["world"], np.arange(market.n_worlds + 1))
        worth, bid = np.zeros(found.size), np.zeros(found.size)
        cost = np.zeros(found.size, np.int64)
        controls = platform.controls
        state = (market.rules, market.pop, market.rivals)
        price(
            *state, found, starts, market.hour, multiplier, controls.landing[:, 0], controls.creative[:, 0],
            moments, noise, self._sees_draws, worth, bid,
        )  # fmt: skip
        left = controls.daily_cap[:, 0] - market.books.spent_today[:, 0] - _mail_at_most(market)
        keep_within(*state, found, starts, market.hour, np.maximum(left, 0), bid, cost)
        paid = cost >= 0
        bought = found["world"][paid]
        self.cost_micros = np.bincount(bought, weights=cost[paid], minlength=market.n_worlds).astype(np.int64)
        self.predicted_usd += np.bincount(bought, weights=worth[paid], minlength=market.n_worlds)
        bids = np.full((found.size, market.n_seats), -np.inf)
        bids[:, 0] = bid
        return bids


class Clairvoyant(Informed):
    """As `Informed`, and sees the views, clicks and rivals' noise of the coming hour; printed only."""

    def __init__(self, highest: float = _SETTINGS.highest, dressed: bool = True) -> None:
        super().__init__(name="clairvoyant", highest=highest, dressed=dressed, _sees_draws=True)


class _Desk:
    """The part of a reference that speaks to the account: e-mail, landing pages, the budget's multiplier."""

    def __init__(self, brief: Brief, highest: float, dress: Dress | None) -> None:
        settings = PacingSettings(
            step=_SETTINGS.step, start=_SETTINGS.start, lowest=_SETTINGS.lowest, highest=highest
        )
        self.pacer = DualPacer(settings, brief.traffic, brief.daily_budget_usd, np.inf)
        self.dress = dress
        self.multiplier = self.pacer.multiplier
        self.brief = brief
        self._spent: Floats | None = None

    def decide(self, hour_of_week: int, spent_micros: NDArray[np.int64]) -> ProposedControls:
        """E-mail on, all other lines silent: their bids come per opportunity.

        Args:
            hour_of_week: of the coming hour. spent_micros: (n_worlds,) of the seat since the worlds began.
        """
        spent = spent_micros / MICROS_PER_USD
        last_hour = spent - (spent if self._spent is None else self._spent)
        self._spent = spent
        self.multiplier = self.pacer.step(hour_of_week, last_hour, np.zeros(spent.shape))
        bid = np.zeros((self.brief.n_worlds, N_LINES))
        bid[:, EMAIL_LINE] = self.brief.reference_price_usd[EMAIL_LINE]
        proposed = propose(bid, self.brief.daily_budget_usd)
        return proposed if self.dress is None else replace(proposed, **self.dress._asdict())


def _mail_at_most(market: Market) -> NDArray[np.int64]:
    """(n_worlds,) micros that the coming hour's messages can cost: they share the day's cap."""
    cost = (market.rules["mail_cost_usd"] * 1e6 + 0.5).astype(np.int64)
    due = (market.pop.today >> np.uint32(market.hour % 24)) & np.uint32(1)
    subscribed = market.pop.memory["mail"][:, :, 0] == 1
    counts: NDArray[np.int64] = (subscribed & (due != 0)).sum(axis=1)
    return counts * cost


REFERENCE_POLICIES: dict[str, Callable[[], LineOracle | Informed]] = {
    "line_oracle": LineOracle,
    "informed": Informed,
    "clairvoyant": Clairvoyant,
}
"""Name on the leaderboard -> maker of a fresh reference."""


def compile_all(market: str) -> None:
    """Compile every kernel that references need, by flying each for a day over a few people.

    Args:
        market: path of the market file.
    """
    file = load(market)
    for make in REFERENCE_POLICIES.values():
        worlds = make_market(plain_worlds(file, 1, 0), 50)
        make().fly(worlds, traffic=None, days=1, keep_bids=False)
