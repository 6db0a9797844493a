"""Looks at a flight: what each auction of an hour is worth, and what the seat then won of it."""

import numpy as np
from numpy.typing import NDArray

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import EMAIL_LINE, N_CREATIVES, N_LINES, SOCIAL_LINE, TouchKind
from gaelp.evaluation.worth import Valuer
from gaelp.market.market import Market
from gaelp.market.state import EVENT, SPEND

Floats = NDArray[np.float64]

EVERY_HOURS = 5
"""Hours between two looks: every hour of the day within five days."""


class Looks:
    """Sums of what auctions are worth, all of them and those that the seat then won.

    Args:
        market: in flight. own: (n_lines,) landing pages of the policy. agents: those of the agent, for all
            auctions. Creatives rotate evenly, as all these policies leave them.
    """

    def __init__(self, market: Market, own: NDArray[np.int64], agents: NDArray[np.int64]) -> None:
        self.market = market
        shape = (market.n_worlds, N_LINES)
        even = np.ones((*shape, N_CREATIVES))
        self._own = Valuer(market, 1.0, np.broadcast_to(own, shape).copy(), even)
        same = bool((own == agents).all())
        self._agents = self._own if same else Valuer(market, 1.0, np.broadcast_to(agents, shape).copy(), even)
        self.worth_usd, self.paid_usd = np.zeros(shape), np.zeros(shape)
        self.auctions_usd, self.n_auctions = np.zeros(shape), np.zeros(shape)
        self.n_looks = 0
        self._coming: tuple[NDArray[np.void], Floats, NDArray[np.int64]] | None = None

    def hour(self, goes_on: bool) -> None:
        """An hour has passed: count what was won in it, and look at the next where it is due."""
        market = self.market
        if self._coming is not None:
            self._count(*self._coming)
            self._coming = None
        if goes_on and market.hour % EVERY_HOURS == 0:
            self._look()

    def _look(self) -> None:
        market = self.market
        found, worth, _ = self._own.value()
        everywhere = worth if self._agents is self._own else self._agents.value().worth_usd
        at = (found["world"], found["line"][:, 0])
        np.add.at(self.auctions_usd, at, everywhere)
        np.add.at(self.n_auctions, at, 1.0)
        most = int(np.bincount(found["world"], minlength=market.n_worlds).max(initial=1))
        room = 8 * most + 64  # an activity brings a few events at most
        market.books = market.books._replace(events=np.zeros((market.n_worlds, room), EVENT))
        market.books.n_events[:] = 0  # the log holds the coming hour only
        self._coming = (found, worth, market.books.report[:, 0, :, SPEND].copy())
        self.n_looks += 1

    def _count(self, found: NDArray[np.void], worth: Floats, spent: NDArray[np.int64]) -> None:
        market = self.market
        self.paid_usd += (market.books.report[:, 0, :, SPEND] - spent) / MICROS_PER_USD
        starts = np.searchsorted(found["world"], np.arange(market.n_worlds + 1))
        place = np.full(market.n_people, -1)
        for w in range(market.n_worlds):
            assert market.books.n_events[w] <= market.books.events.shape[1], "the hour's events have room"
            mine = slice(starts[w], starts[w + 1])
            place[:] = -1
            place[found["person"][mine]] = np.arange(starts[w], starts[w + 1])
            events = market.events(w)
            line = events["line"].astype(int)
            kind = np.where(line < SOCIAL_LINE, TouchKind.CLICK, TouchKind.IMPRESSION)
            won = events[(events["seat"] == 0) & (line < EMAIL_LINE) & (events["kind"] == kind)]
            at = place[won["person"]]
            np.add.at(self.worth_usd[w], won["line"][at >= 0].astype(int), worth[at[at >= 0]])
