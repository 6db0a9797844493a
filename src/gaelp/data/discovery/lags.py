"""Lags to a purchase: Kaplan-Meier with right censoring, counted by whole minutes so that memory is bounded.

Source: Kaplan and Meier, JASA 53 (1958) 457; interval on the log(-log) scale, Kalbfleisch and Prentice,
Statistical Analysis of Failure Time Data (2nd ed., 2002), section 1.4.
"""

import math
from typing import Any, Final

import numpy as np

from gaelp.core.survival import log_log_interval, product_limit
from gaelp.data.discovery.intervals import Floats, Z
from gaelp.journeys.batch import Ints

_MINUTE_US: Final = 60_000_000
_MINUTES_A_DAY: Final = 1440
_DAYS: Final = (1 / 24, 1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 90.0)
_QUANTILES: Final = (0.25, 0.5, 0.75, 0.9)
_FEWEST: Final = 20
"""Fewer still watched, or fewer purchases, and a figure is not told."""
_RESAMPLES: Final = 400


class Lags:
    """Times to a purchase, or watched without one.

    >>> lags = Lags()
    >>> lags.add(np.array([1, 2, 3, 4]) * 60_000_000, np.array([True, False, True, True]))
    >>> [round(float(share), 4) for share in lags.curve()[1]]
    [0.25, 0.625, 1.0]
    """

    def __init__(self) -> None:
        self._sold, self._left = np.zeros(1, np.int64), np.zeros(1, np.int64)

    def add(self, watched_us: Ints, bought: Any) -> None:
        """Take some lags, in microseconds, at least 0, and whether each ended with a purchase."""
        minute = watched_us // _MINUTE_US
        size = max(self._sold.size, int(minute.max(initial=0)) + 1)
        for name, rows in (("_sold", bought), ("_left", ~bought)):
            counts = np.bincount(minute[rows], minlength=size)
            counts[: getattr(self, name).size] += getattr(self, name)
            setattr(self, name, counts)

    def curve(self) -> tuple[Ints, Floats, Ints, Floats]:
        """What each minute with a purchase says, (n_minutes,) each.

        Returns:
            The minutes, the share that has bought by then, how many were watched until then, Greenwood's sum.
        """
        minute, sold, watched = self._steps()
        kept, spread = product_limit(sold, watched)
        return minute, 1 - kept, watched, spread

    def as_dict(self, horizon_days: float, seed: int) -> dict[str, Any]:
        """As the JSON tells it.

        Args:
            horizon_days: quantiles are those of whoever buys within it. seed: names the resamples.
        """
        n, n_sold = int(self._sold.sum() + self._left.sum()), int(self._sold.sum())
        told: dict[str, Any] = {"n": n, "bought": n_sold, "censored": n - n_sold}
        if not n_sold:
            return {**told, "unknown": "nobody bought after a touch"}
        told["bought_within"] = [self._by(days) for days in _DAYS]
        told["of_those_who_buy"] = self._quantiles(horizon_days, seed)
        return told

    def _steps(self) -> tuple[Ints, Ints, Ints]:
        minute = np.flatnonzero(self._sold)
        ended = np.cumsum(self._sold + self._left)
        before = np.append(0, ended)[minute]
        return minute, self._sold[minute], ended[-1] - before

    def _by(self, days: float) -> dict[str, Any]:
        """Share that has bought within some days; equal times: purchases before censoring."""
        at = int(days * _MINUTES_A_DAY)
        still = int((self._sold[at:].sum() + self._left[at:].sum()) if at < self._sold.size else 0)
        told: dict[str, Any] = {"days": round(days, 4), "watched": still}
        if still < _FEWEST:
            return {**told, "unknown": f"fewer than {_FEWEST} were watched that long"}
        minute, share, _, spread = self.curve()
        upto = int(np.searchsorted(minute, at, side="right")) - 1
        if upto < 0:
            return {**told, "share": 0.0, "low": 0.0, "high": 3.0 / still}  # rule of three
        kept = 1 - float(share[upto])
        if not 0 < kept < 1:
            return {**told, "share": 1 - kept, "low": None, "high": None}
        least, most = log_log_interval(kept, spread[upto], Z)
        return {**told, "share": 1 - kept, "low": 1 - float(most), "high": 1 - float(least)}

    def _quantiles(self, horizon_days: float, seed: int) -> dict[str, Any]:
        """When those buy who buy within the horizon; intervals from resampled people."""
        told: dict[str, Any] = {"within_days": horizon_days}
        minute, sold, watched = self._steps()
        inside = minute <= horizon_days * _MINUTES_A_DAY
        if int(sold[inside].sum()) < _FEWEST:
            return {**told, "unknown": f"fewer than {_FEWEST} purchases within {horizon_days:g} days"}
        minute, sold, watched = minute[inside], sold[inside], watched[inside]
        middle = _at_quantiles(minute, sold, watched)
        left = watched - sold - np.append(watched[1:], 0)  # censored, or later than the horizon
        draws = np.random.default_rng(seed)
        drawn = []
        for _ in range(_RESAMPLES):
            n_sold, n_left = draws.poisson(sold), draws.poisson(left)
            ended = n_sold + n_left
            drawn.append(_at_quantiles(minute, n_sold, np.cumsum(ended[::-1])[::-1]))
        low, high = np.nanquantile(np.array(drawn), [0.025, 0.975], axis=0)
        told["quantiles"] = [
            {"p": p, "days": middle[i], "low": float(low[i]), "high": float(high[i])}
            for i, p in enumerate(_QUANTILES)
        ]
        return told


def _at_quantiles(minute: Ints, sold: Ints, watched: Ints) -> list[float]:
    """Days by which the shares of the purchases told are made; NaN where there is none."""
    if not sold.sum():
        return [math.nan] * len(_QUANTILES)
    bought = 1 - product_limit(sold, np.maximum(watched, 1))[0]
    upto = np.searchsorted(bought, np.array(_QUANTILES) * bought[-1] * (1 - 1e-12))
    return [float(minute[i]) / _MINUTES_A_DAY for i in upto]
