"""AuctionNet's task on our own auction, many periods at once.

Forty-eight seats bid for the same opportunities through forty-eight ticks. Each has a budget and a CPA
limit, each opportunity three slots. A seat's score is its conversions, marked down where they cost more than
the limit. The configuration is AuctionNet's; two of its defects are not (docs/reference/auctionnet.md): here
each tick and period has draws of its own, and a lone bidder wins and pays the floor.

A draw belongs to a period, a tick and an opportunity, never to what was bid, so two policies flown in the
same periods meet the same opportunities with the same luck.

The numbers, their source and the score are in `auctionnet_task`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.agents.auctionnet_policies import AUCTIONNET_FEATURES, SeatView
from gaelp.core.errors import BadInput
from gaelp.core.random import named_seed
from gaelp.market.auction import clear
from gaelp.worlds.auctionnet_task import (
    BUDGET,
    CPA_LIMIT,
    N_SEATS,
    N_TICKS,
    AuctionNetSettings,
    draw_period,
    draw_values,
)

Floats = NDArray[np.float64]

_BID, _LEAST, _VALUE, _CONVERTED, _WINS, _WORTH = range(6)  # sums kept by tick
_PERIOD, _VALUES, _SHOWN, _DROPPED, _CONVERSIONS = range(5)  # purposes of draws


@dataclass(frozen=True, kw_only=True)
class TickOutcome:
    """What one tick brought; arrays are (n_periods, n_seats).

    Attributes:
        spend: money paid, for shown impressions only. wins: slots won. impressions: of them shown.
        worth: predicted conversions of the impressions. conversions: what came.
    """

    spend: Floats
    wins: Floats
    impressions: Floats
    worth: Floats
    conversions: Floats


class AuctionNet:
    """Periods flown side by side, tick by tick.

    Args:
        n_periods: how many. settings: of all of them.

    Attributes:
        tick: the coming one; 48 when the periods are over.
        opportunities: per period, of the last tick: (n, n_seats) values and (n,) least winning costs.
    """

    def __init__(self, n_periods: int, settings: AuctionNetSettings | None = None) -> None:
        if n_periods < 1:
            raise BadInput("n_periods", n_periods, "must be at least 1", "Fly one period or more.")
        self.settings = settings or AuctionNetSettings()
        self.n_periods = n_periods
        shape = (n_periods, N_SEATS)
        self.budget = np.broadcast_to(BUDGET * self.settings.budget_ratio, shape)
        self.limit = np.broadcast_to(CPA_LIMIT, shape)
        self.tick = N_TICKS

    def reset(self, seed: int, periods: Sequence[int] | None = None) -> SeatView:
        """Begin new periods.

        Args:
            seed: names a family of periods. periods: (n_periods,) their numbers in it; without them 0, 1, ...
                Equal seed and number: the same opportunities and luck, whatever else is flown beside.

        Returns:
            What the seats know before the first tick.
        """
        numbers = range(self.n_periods) if periods is None else periods
        if len(numbers) != self.n_periods:
            remedy = "Name each period of the environment once."
            raise BadInput("periods", len(numbers), f"must be {self.n_periods} numbers", remedy)
        root = named_seed("yardstick", seed)  # the draws behind the published table
        self._names = [(root, int(number)) for number in numbers]
        self.tick = 0
        draws = [draw_period(self._rng(p, _PERIOD), self.settings) for p in range(self.n_periods)]
        self.n_opportunities, self._mean, self._sd, self._truth = (
            np.stack(part) for part in zip(*draws, strict=True)
        )
        self.left = np.array(self.budget)
        self._sums = np.zeros((6, N_TICKS, self.n_periods, N_SEATS))
        self._last: TickOutcome | None = None
        self.opportunities = [(np.zeros((0, N_SEATS), np.float32), np.zeros(0))] * self.n_periods
        self._draw_values()
        return self.view()

    def step(self, multiplier: ArrayLike) -> TickOutcome:
        """Clear one tick in which each seat bids multiplier x value for every opportunity.

        A seat whose wins cost more than it has left loses some at random, as many as needed, and each freed
        slot goes to the next bidder, until every seat can pay.

        Args:
            multiplier: (n_periods, n_seats), >= 0: what each seat would pay for a predicted conversion.

        Raises:
            BadInput: the periods are over, or a multiplier is negative or not finite.
        """
        if self.tick >= N_TICKS:
            raise BadInput("tick", self.tick, f"must be under {N_TICKS}", "Call reset(seed) first.")
        chosen = np.asarray(multiplier, float)
        if chosen.shape != self.left.shape or not np.all((chosen >= 0.0) & (chosen < np.inf)):
            allowed = f"must be {self.left.shape}, finite and at least 0"
            raise BadInput("multiplier", multiplier, allowed, "Check the policy that gave it.")
        chosen = np.where(self.left >= self.settings.least_budget, chosen, 0.0)
        results = [self._clear(p, chosen[p]) for p in range(self.n_periods)]
        outcome = TickOutcome(
            **{part.name: np.stack([getattr(r, part.name) for r in results]) for part in fields(TickOutcome)}
        )
        now = self._sums[:, self.tick]
        now[_BID], now[_VALUE] = chosen * self._value_sum, self._value_sum
        now[_LEAST] = np.array([least.sum() for _, least in self.opportunities])[:, None]
        now[_CONVERTED], now[_WINS], now[_WORTH] = outcome.conversions, outcome.wins, outcome.worth
        self.left = self.left - outcome.spend
        self._last = outcome
        self.tick += 1
        if self.tick < N_TICKS:
            self._draw_values()
        return outcome

    def view(self) -> SeatView:
        """What the seats know before the coming tick."""
        if self.tick >= N_TICKS:
            raise BadInput("tick", self.tick, f"must be under {N_TICKS}", "Call reset(seed) first.")
        none = np.zeros_like(self.left)
        return SeatView(
            tick=self.tick,
            n_ticks=N_TICKS,
            budget=self.budget,
            limit=self.limit,
            left=self.left,
            spend=none if self._last is None else self._last.spend,
            worth=none if self._last is None else self._last.worth,
            features=self._features(),
        )

    def _features(self) -> Floats:
        base = self.settings.base_value
        total = self.settings.n_opportunities
        shape = self.left.shape

        def of(first: int) -> dict[str, Floats]:
            """Means per opportunity of the ticks from `first` on, and their share of the opportunities."""
            seen = self.n_opportunities[:, first : self.tick].sum(axis=1)[:, None].astype(float)
            sums = self._sums[:, first : self.tick].sum(axis=1)
            bid, least, value, conversions, wins, _ = sums / np.maximum(seen, 1.0)
            return {
                "bid": bid / (self.limit * base),
                "least_winning_cost": least / (self.limit * base),
                "value": value / base,
                "conversions": conversions * total * self.limit / self.budget,
                "win_rate": wins,
                "opportunities": np.broadcast_to(seen / total, shape),
            }

        coming = self.n_opportunities[:, self.tick][:, None].astype(float)
        fair = self.limit * self._sums[_WORTH].sum(axis=0)  # what so much worth may cost
        cost = (self.budget - self.left) / np.maximum(fair, 1e-9)
        column = {
            "cost": np.where(fair > 0.0, np.minimum(cost, 3.0), 1.0),
            "budget": self.budget / (self.limit * base * total),
            "time_left": np.full(shape, 1.0 - self.tick / N_TICKS),
            "budget_left": self.left / self.budget,
            "value_now": self._value_sum / coming / base,
            "opportunities_now": np.broadcast_to(coming * N_TICKS / total, shape),
            **of(0),
            **{f"{name}_last_3": mean for name, mean in of(max(self.tick - 3, 0)).items()},
        }
        return np.stack([column[name] for name in AUCTIONNET_FEATURES.names], axis=-1)

    def _rng(self, period: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((*self._names[period], self.tick, purpose))

    def _draw_values(self) -> None:
        t, count = self.tick, self.n_opportunities
        self._values = [
            draw_values(self._rng(p, _VALUES), count[p, t], self._mean[p, t], self._sd[p, t])
            for p in range(self.n_periods)
        ]
        self._value_sum = np.stack([value.sum(axis=0, dtype=float) for value in self._values])

    def _clear(self, p: int, multiplier: Floats) -> TickOutcome:
        """One tick of one period; its arrays are (n_seats,)."""
        value, rules = self._values[p], self.settings
        n = value.shape[0]
        bids = value * multiplier
        floor = np.full(n, rules.floor)
        quality = np.ones_like(bids)
        n_slots = len(rules.shown)
        seen = self._rng(p, _SHOWN).random((n, n_slots)) < rules.shown
        seen[:, 2] &= seen[:, 1]
        winner, price = clear(bids, quality, floor, n_slots)
        order: NDArray[np.float32] | None = None
        while True:
            shown = seen & (winner >= 0)
            spend = np.bincount(winner[shown], price[shown], N_SEATS)
            over = np.flatnonzero(spend > self.left[p])
            if over.size == 0:
                break
            if order is None:  # who loses which opportunity first is fixed before anybody bids
                order = self._rng(p, _DROPPED).random((n, N_SEATS), np.float32)
            again = np.zeros(n, bool)
            for seat in over:
                won = np.flatnonzero((winner == seat).any(axis=1))
                share = 1.0 - self.left[p, seat] / spend[seat]
                n_lost = max(int(np.ceil(won.size * share)), 1)
                lost = won[np.argsort(order[won, seat])[:n_lost]]
                bids[lost, seat] = -np.inf
                again[lost] = True
            winner[again], price[again] = clear(bids[again], quality[again], floor[again], n_slots)
        self.opportunities[p] = value, np.where(winner[:, -1] >= 0, price[:, -1], rules.floor)
        row, seat_shown = np.nonzero(shown)[0], winner[shown]
        chance = value[row, seat_shown].astype(float)
        luck = self._rng(p, _CONVERSIONS).random((n, N_SEATS), np.float32)[row, seat_shown]
        came = luck < np.minimum(chance * self._truth[p, seat_shown], 1.0)
        return TickOutcome(
            spend=spend.astype(float),
            wins=np.bincount(winner[winner >= 0], minlength=N_SEATS).astype(float),
            impressions=np.bincount(seat_shown, minlength=N_SEATS).astype(float),
            worth=np.bincount(seat_shown, chance, N_SEATS).astype(float),
            conversions=np.bincount(seat_shown[came], minlength=N_SEATS).astype(float),
        )
