"""Shares and means with 95 % intervals, as the JSON tells them."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z: Final = 1.959963984540054
"""Standard normal quantile of .975."""


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval of a share; (0, 1) where nothing was tried.

    Source: Wilson, JASA 22 (1927) 209; recommended by Brown, Cai and DasGupta, Statistical Science 16 (2001).

    >>> low, high = wilson(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.2775)
    """
    if n <= 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z * Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    return low, 1.0 if successes == n else min(1.0, middle + half)


def rate(converted: float, n: float) -> dict[str, Any]:
    """A share of people or journeys: n, converted, rate, low, high; rate is None where n is 0."""
    low, high = wilson(converted, n)
    share = converted / n if n else None
    return {"n": int(n), "converted": int(converted), "rate": share, "low": low, "high": high}


def mean(n: int, total: float, squares: float) -> dict[str, Any]:
    """A mean with the interval of the central limit theorem; open where n is below 2.

    Args:
        n: how many. total: their sum. squares: sum of their squares.
    """
    if n == 0:
        return {"n": 0, "mean": None, "low": None, "high": None}
    middle = total / n
    if n == 1:
        return {"n": 1, "mean": middle, "low": None, "high": None}
    half = Z * math.sqrt(max(squares - n * middle * middle, 0.0) / (n - 1) / n)
    return {"n": int(n), "mean": middle, "low": middle - half, "high": middle + half}


class Shares:
    """Shares of events over bins, where the events of one person are no independent draws.

    A ratio estimator over people with its linearised variance, on the logit scale. Source: Cochran, Sampling
    Techniques (3rd ed., 1977), section 6.4 for ratios and 9A for clusters.

    Args:
        n_bins: how many bins.

    >>> shares = Shares(2)
    >>> shares.add(np.array([[1.0, 0.0], [0.0, 3.0]]))
    >>> shares.share.tolist()
    [0.25, 0.75]
    """

    def __init__(self, n_bins: int) -> None:
        self.people = 0
        self.events, self._squares, self._crossed = np.zeros(n_bins), np.zeros(n_bins), np.zeros(n_bins)
        self._square = 0.0

    def add(self, counts: Floats) -> None:
        """Take some people's events, (n_people, n_bins); a person is handed in once."""
        n = counts.sum(axis=1)
        self.people += int((n > 0).sum())
        self.events += counts.sum(axis=0)
        self._squares += (counts**2).sum(axis=0)
        self._crossed += n @ counts
        self._square += float(n @ n)

    @property
    def share(self) -> Floats:
        """(n_bins,) of all events; NaN without any."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.events / self.events.sum())

    def intervals(self) -> tuple[Floats, Floats]:
        """(n_bins,) lower and upper ends; of an empty bin as if each person were one draw."""
        p, total = self.share, self.events.sum()
        if self.people < 2:
            return np.zeros(p.size), np.ones(p.size)
        spread = np.maximum(self._squares - 2 * p * self._crossed + p * p * self._square, 0.0)
        error = np.sqrt(self.people / (self.people - 1) * spread) / total
        inside = (p > 0) & (p < 1)
        q = np.where(inside, p, 0.5)
        half = Z * error / (q * (1 - q))
        ends = [1 / (1 + np.exp(-(np.log(q / (1 - q)) + sign * half))) for sign in (-1, 1)]
        bare = [wilson(each * self.people, self.people) for each in np.where(inside, 0.0, p)]
        low, high = (np.where(inside, ends[i], [each[i] for each in bare]) for i in (0, 1))
        return low, high
