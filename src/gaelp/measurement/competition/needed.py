"""The bid needed to win: two laws of the highest rival rank score, in units of the own bid.

What an account can learn of its rivals is the bid that each auction needed: the highest rank score (bid x
quality) standing against it over its own quality, and at least the reserve. Its logarithm is `location +
scale x e` with a standard normal `e` (lognormal) or a standard least-extreme-value `e` (Weibull, shape 1 /
scale). With `z = (log bid - location) / scale` the chance to win is the law's distribution function at `z`.

Source: Cui, Zhang, Li, Mao, "Bid landscape forecasting in online ad exchange marketplace", KDD 2011
(lognormal); Wu, Yeh, Chen, "Predicting winning price in real time bidding with censored data", KDD 2015
(second price: won prices seen, lost ones censored at the own bid).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammainc, gammaln, log_ndtr, ndtri

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """A law of the bid needed.

    Attributes:
        name: lognormal or weibull.
        log_won, log_lost: log of the chance to win and to lose at `z`.
        log_moment: (order r, z, scale) -> log E[(needed / bid)^r | won].
        quantile: `z` below which a share of auctions lies.
    """

    name: str
    log_won: Callable[[Floats], Floats]
    log_lost: Callable[[Floats], Floats]
    log_moment: Callable[[float, Floats, Floats | float], Floats]
    quantile: Callable[[ArrayLike], Floats]

    def won(self, z: ArrayLike) -> Floats:
        """Chance to win at `z`, any shape."""
        return np.exp(self.log_won(np.asarray(z, float)))

    def price(self, z: Floats, scale: Floats | float) -> tuple[Floats, Floats]:
        """Mean and variance of the price of a win under the second price, in units of the bid and its square.

        >>> mean, variance = LOGNORMAL.price(np.array([50.0]), 0.5)  # never outbid: the lognormal's own mean
        >>> bool(np.isclose(mean[0] * np.exp(0.5 * 50.0), np.exp(0.125)))
        True
        """
        mean = np.exp(self.log_moment(1.0, z, scale))
        return mean, np.maximum(np.exp(self.log_moment(2.0, z, scale)) - mean**2, 1e-12)


def _lognormal_moment(r: float, z: Floats, scale: Floats | float) -> Floats:
    found: Floats = 0.5 * (r * scale) ** 2 - r * scale * z + log_ndtr(z - r * scale) - log_ndtr(z)
    return found


def _weibull_log_won(z: Floats) -> Floats:
    return np.log(np.maximum(-np.expm1(-np.exp(np.minimum(z, 700.0))), 1e-300))


def _weibull_moment(r: float, z: Floats, scale: Floats | float) -> Floats:
    hazard, order = np.exp(np.clip(z, -300.0, 300.0)), 1.0 + r * scale
    part = np.log(np.maximum(gammainc(order, hazard), 1e-300)) + gammaln(order)
    found: Floats = part - r * scale * z - _weibull_log_won(z)
    return np.where(z < -30.0, -np.log(order), found)  # far below, the law is a power of the bid


LOGNORMAL = Law("lognormal", log_ndtr, lambda z: log_ndtr(-z), _lognormal_moment, ndtri)
WEIBULL = Law(
    "weibull",
    _weibull_log_won,
    lambda z: -np.exp(np.minimum(z, 700.0)),
    _weibull_moment,
    lambda share: np.log(-np.log1p(-np.asarray(share, float))),
)
LAWS = (LOGNORMAL, WEIBULL)
