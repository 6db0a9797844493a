"""A flight with a programmatic seat: bids auction by auction where a platform sells so, by line elsewhere.

Each hour the line policy proposes, the seat bids on the auctions of its lines, and the gate is told the
highest bid of each such line: a line whose bid it refuses is off for the hour, and no bid passes what it
approved. The platform then keeps the day's cap, in the order of the auctions. Docs: journey_value.md,
"Programmatic seat".
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Policy
from gaelp.agents.seat import PROGRAMMATIC, Asked, LevelledValue, SeatPolicy
from gaelp.agents.value import ValuePolicy
from gaelp.control.controls import ProposedControls
from gaelp.core.errors import BadInput
from gaelp.evaluation.draws import keep_within
from gaelp.learning.seat_journeys import SeatJourneys
from gaelp.market.market import Market
from gaelp.platforms.line_bids import Requests, read_requests
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import Flight, FlightRecorder, Tick, make_brief, open_account, panel_budget
from gaelp.worlds.tuned import Tuned, tuned_for

Floats = NDArray[np.float64]
Hear = Callable[[Asked, Floats, NDArray[np.int64]], None]
"""Told each hour: what was asked, (n,) bids placed (USD per 1000, 0 none), (n,) micros paid (-1 not won)."""


@dataclass
class SeatFlight:
    """Flies worlds with a line policy and a seat policy under one level; a `Reference` to `judge`.

    Attributes:
        make_lines: of a fresh line policy. It is `value`, whose level the seat shares.
        make_seat: of a fresh seat policy; None: every line is bid for by its controls, as in any flight.
        name: for tables. lines: (n_lines,) which the seat buys. hear: told what was asked and bought.
    """

    make_lines: Callable[[], Policy]
    make_seat: Callable[[], SeatPolicy] | None
    name: str = "journeys"
    lines: NDArray[np.bool_] = field(default_factory=lambda: PROGRAMMATIC)
    hear: Hear | None = None

    def fly(
        self,
        market: Market,
        *,
        traffic: Floats | None,
        days: int,
        daily_budget_usd: float | None = None,
        seed: int = 0,
        tuned: Tuned | None = None,
        tick: Tick = lambda _: None,
        keep_bids: bool = False,
    ) -> Flight:
        """Fly `market` for `days`; see `worlds.flight.fly` for the arguments.

        Journeys begin in the market's event log, where it has one, else at the flight's first hour. Bids per
        opportunity cannot be replayed, so the flight holds no log of controls.

        Raises:
            BadInput: `keep_bids`, `days` under 1, the line policy is not `value`, or a line has a budget.
        """
        if keep_bids:
            remedy = "Bids per opportunity leave no controls to replay."
            raise BadInput("keep_bids", True, "must be False", remedy)
        if days < 1:
            raise BadInput("days", days, "must be at least 1", "Fly at least one day.")
        desk = _Desk(self, market, traffic, days, daily_budget_usd, seed, tuned)
        recorder = FlightRecorder(market, days)
        for _ in recorder.hours(tick):
            desk.hour()
        desk.close()
        return recorder.flight(desk.account, desk.platform.reports[0])


class _Desk:
    """One flight hour by hour: the account, the lines' policy, the seat's, and the platform."""

    def __init__(
        self,
        plan: SeatFlight,
        market: Market,
        traffic: Floats | None,
        days: int,
        daily_budget_usd: float | None,
        seed: int,
        tuned: Tuned | None,
    ) -> None:
        self.market, self.plan = market, plan
        budget = panel_budget(market, daily_budget_usd)
        forecast = np.ones((market.n_worlds, 168)) if traffic is None else traffic
        self.brief = make_brief(market, budget, forecast, tuned or tuned_for(market.worlds[0].file), seed)
        self.policy = _levelled(plan.make_lines())
        self.seat = plan.make_seat() if plan.make_seat else None
        self.platform = SimulatedPlatform(market)
        self.platform.open(hours=24 * days)
        self.account = open_account(self.platform, self.brief, seat=0, days=days)
        self.policy.start(self.brief)
        self._had_log = market.books.events.shape[1] > 0
        if self.seat is not None:
            self.seat.start(self.brief)
            self.journeys = SeatJourneys(market, self.brief)

    def hour(self) -> None:
        """Decide, pass the gate, and let the hour pass."""
        market = self.market
        view = self.account.view()
        proposed = self.policy.act(view)
        if not np.isposinf(proposed.line_budget_usd).all():
            remedy = "Leave line budgets out: the platform's cap for single bids is the day's alone."
            raise BadInput("line_budget_usd", "given", "must be infinite", remedy)
        found = market.opportunities()
        starts = np.searchsorted(found["world"], np.arange(market.n_worlds + 1))
        mine = np.flatnonzero(self.plan.lines[found["line"][:, 0]])
        wanted, asked = np.zeros(mine.size), None
        if self.seat is not None:
            asked = self.journeys.look(view, found[mine], _part(self._requests(found, starts), mine))
            wanted = np.asarray(self.seat.bid(asked, self.policy.level), np.float64)
            if wanted.shape != (mine.size,):
                raise BadInput("bid.shape", wanted.shape, f"must be {(mine.size,)}", "Bid on each auction.")
            self._propose(proposed, asked, wanted)
        self.account.submit(proposed)
        bid = self._requests(found, starts).line_bid
        if asked is not None:
            bid[mine] = self._approved(found[mine], wanted)
        cost = self._keep_within(found, starts, bid)
        bids = np.full((found.size, market.n_seats), -np.inf)
        bids[:, 0] = bid
        self.platform.advance(bids)
        if self.plan.hear and asked is not None:
            self.plan.hear(asked, np.maximum(bid[mine], 0.0), cost[mine])

    def close(self) -> None:
        """Leave worlds without an event log as they came."""
        if self.seat is not None and not self._had_log:
            books = self.market.books
            books.n_events[:] = 0
            self.market.books = books._replace(events=books.events[:, :0].copy())

    def _requests(self, found: NDArray[np.void], starts: NDArray[np.int64]) -> Requests:
        market, n = self.market, found.size
        asked = Requests(np.zeros(n), np.zeros(n, np.uint64), np.zeros(n, np.uint64))
        state = (market.rules, market.pop, market.books, self.platform.controls)
        read_requests(*state, found, starts, market.hour, *asked)
        return asked

    def _propose(self, proposed: ProposedControls, asked: Asked, wanted: Floats) -> None:
        """Ask the gate for the highest bid of each line that the seat buys; what is no number goes along."""
        highest = np.zeros(proposed.bid_usd.shape)
        at = (asked.world, asked.line)
        np.maximum.at(highest, at, np.where(np.isnan(wanted), 0.0, wanted))
        np.add.at(highest, at, np.where(np.isnan(wanted), np.nan, 0.0))
        mine = self.plan.lines
        proposed.bid_usd[:, mine] = highest[:, mine]
        proposed.target_cpa_usd[:, mine] = 0.0

    def _approved(self, found: NDArray[np.void], wanted: Floats) -> Floats:
        """(n,) bids within what the gate approved and the platform serves; -inf where none."""
        controls, at = self.platform.controls, (found["world"], found["line"][:, 0].astype(np.int64))
        most = controls.bid[at[0], 0, at[1]]
        bid = np.minimum(np.nan_to_num(wanted, nan=0.0), most) * controls.region[at[0], 0, found["region"]]
        return np.where(bid > 0.0, bid, -np.inf)

    def _keep_within(
        self, found: NDArray[np.void], starts: NDArray[np.int64], bid: Floats
    ) -> NDArray[np.int64]:
        """Withdraw bids that the day's cap has no room for; (n,) micros that each will cost, -1 none."""
        market, cost = self.market, np.zeros(found.size, np.int64)
        mail = (market.rules["mail_cost_usd"] * 1e6 + 0.5).astype(np.int64)
        due = (market.pop.today >> np.uint32(market.hour % 24)) & np.uint32(1)
        letters = ((market.pop.memory["mail"][:, :, 0] == 1) & (due != 0)).sum(axis=1)
        left = self.platform.controls.daily_cap[:, 0] - market.books.spent_today[:, 0] - letters * mail
        room = np.maximum(left, 0)
        keep_within(market.rules, market.pop, market.rivals, found, starts, market.hour, room, bid, cost)
        return cost


def _levelled(policy: Policy) -> LevelledValue:
    if not isinstance(policy, ValuePolicy):
        remedy = "Give a maker of `value`: the seat shares its level."
        raise BadInput("make_lines", getattr(policy, "name", policy), "must make `value`", remedy)
    return LevelledValue.of(policy)


def _part(requests: Requests, rows: NDArray[np.int64]) -> Requests:
    return Requests(requests.line_bid[rows], requests.cookie[rows], requests.login[rows])
