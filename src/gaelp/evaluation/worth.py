"""What auctions of the coming hour are worth to seat 0: for references that see truth, and for training."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.evaluation.lift import noise_draws, price
from gaelp.evaluation.moments import moments_of
from gaelp.market.market import Market

Floats = NDArray[np.float64]


class Valued(NamedTuple):
    """The opportunities of an hour, (n,) each.

    Attributes:
        found: as `Market.opportunities` lists them.
        worth_usd: per impression won (feeds) or click on the ad (search).
        bid_usd: per 1000 or per click, the best one at the multiplier asked for; -inf where none is.
    """

    found: NDArray[np.void]
    worth_usd: Floats
    bid_usd: Floats


class Valuer:
    """Values the coming hour of a batch of worlds, whose parameters stay what they are.

    Args:
        market: the worlds. multiplier: dollars bid per dollar of value.
        landing: (n_worlds, n_lines) landing pages. creative_weight: (n_worlds, n_lines, n_creatives).
    """

    def __init__(
        self, market: Market, multiplier: float, landing: NDArray[np.int64], creative_weight: Floats
    ) -> None:
        self.market = market
        self._multiplier = np.full(market.n_worlds, multiplier)
        self._landing = landing
        weight = creative_weight / creative_weight.sum(axis=-1, keepdims=True)
        self._creative = np.cumsum(weight, axis=-1)
        self._moments = moments_of(market.rules)
        self._noise = noise_draws()

    def value(self) -> Valued:
        """What each auction of the coming hour is worth, on average over what has not been drawn yet."""
        market = self.market
        found = market.opportunities()
        starts = np.searchsorted(found["world"], np.arange(market.n_worlds + 1))
        worth, bid = np.zeros(found.size), np.zeros(found.size)
        price(market.rules, market.pop, market.rivals, found, starts, market.hour, self._multiplier,
              self._landing, self._creative, self._moments, self._noise, False, worth, bid)  # fmt: skip
        return Valued(found, worth, bid)
