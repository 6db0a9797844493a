"""The win curve of a bidder that sees each of its auctions: Kaplan and Meier's, with no law assumed.

A programmatic seat knows every bid it placed and the price of every win. Under the second price with one slot
a win's price is the bid that was needed; a lost auction needed more than the own bid, and is censored there.

Source: Amin, Kearns, Key, Schwaighofer, "Budget optimization for sponsored search: censored learning in
MDPs", UAI 2012; Kaplan & Meier, JASA 53 (1958), 457-481.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput
from gaelp.measurement.lag.curve import kaplan_meier


def win_curve(
    bid: ArrayLike, won: ArrayLike, price: ArrayLike, at: ArrayLike, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Chance to win at bids, with its interval.

    Args:
        bid: (n,) own bids, > 0. won: (n,) 1 where won.
        price: (n,) price paid where won, at most the bid; anything elsewhere.
        at: (k,) bids to tell it at; NaN comes back above the largest bid ever placed.
        level: of the interval (log-log, Greenwood's variance).

    Returns:
        value, low, high: (k,) each.

    Raises:
        BadInput: a price is above its bid, or shapes disagree.

    >>> value, low, high = win_curve([2, 2, 2, 1], [1, 1, 0, 0], [0.5, 1.5, 0, 0], at=[1.0, 1.9])
    >>> value.tolist()
    [0.25, 0.625]
    """
    bids, wins, prices = np.asarray(bid, float), np.asarray(won), np.asarray(price, float)
    if not bids.shape == wins.shape == prices.shape:
        shapes = (bids.shape, wins.shape, prices.shape)
        raise BadInput("bid, won, price", shapes, "must have one shape", "Pass columns of one table.")
    above = np.flatnonzero((wins == 1) & ~(prices <= bids))
    if above.size:
        first = int(above[0])
        allowed = f"must be at most the bid, {bids[first]:g}"
        raise BadInput(f"price[{first}]", prices[first], allowed, "Give prices in the unit of bids.")
    curve = kaplan_meier(np.where(wins == 1, prices, bids), wins)
    survival, (low, high) = curve.at(at), curve.interval_at(at, level)
    return 1.0 - survival, 1.0 - high, 1.0 - low
