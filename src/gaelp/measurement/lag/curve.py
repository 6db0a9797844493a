"""Kaplan-Meier: the share that has not converted yet, whatever the shape of the lag.

With `d` events among `n` still open at a time `t`, survival falls by the factor `1 - d / n`; a click that was
watched for a while only counts among the open as long as it was watched. Greenwood's sum of `d / (n (n - d))`
is the variance of log S.

Source: Kaplan & Meier, JASA 53 (1958), 457-481; Klein & Moeschberger, Survival Analysis (2nd ed., 2003),
sections 4.2 (Greenwood), 4.3 (log-log interval), 4.5 (restricted mean) and 7.3 (log-rank).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import chi2

from gaelp.core.errors import BadInput
from gaelp.core.survival import log_log_interval, product_limit

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Estimate(NamedTuple):
    """A figure and its interval; an end is None where it has none."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SurvivalCurve:
    """A step function: `survival[i]` holds from `times[i]` up to the next time; before the first it is 1.

    Attributes:
        times: (n_times,) distinct event times, rising.
        survival: (n_times,) share still open right after each time.
        log_variance: (n_times,) Greenwood's variance of log S; inf where S is 0.
        last: longest duration watched; beyond it nothing is known unless S is 0.
        n: rows. n_events: conversions.
    """

    times: Floats
    survival: Floats
    log_variance: Floats
    last: float
    n: int
    n_events: int

    def at(self, times: ArrayLike) -> Floats:
        """Survival at `times`, any shape; NaN past the last duration watched, unless S has reached 0."""
        times = np.asarray(times, float)
        steps = np.append(1.0, self.survival)[np.searchsorted(self.times, times, side="right")]
        return np.where((times > self.last) & (steps > 0), np.nan, steps)

    def interval_at(self, times: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
        """Ends of the log-log interval of survival at `times`; NaN where S is unknown, 0 or 1."""
        times = np.asarray(times, float)
        survival = self.at(times)
        variance = np.append(0.0, self.log_variance)[np.searchsorted(self.times, times, side="right")]
        return log_log_interval(survival, variance, float(ndtri(0.5 + level / 2)))

    def quantile(self, share: float) -> float | None:
        """First time by which at least `share` have converted; None where that was never seen."""
        reached = np.flatnonzero(self.survival <= 1 - share + 1e-12)
        return float(self.times[reached[0]]) if reached.size else None

    @property
    def median(self) -> float | None:
        """First time at which at most half are still open."""
        return self.quantile(0.5)

    def rmst(self, horizon: float | None = None, level: float = 0.95) -> Estimate:
        """Restricted mean survival time: mean time open within the horizon, the area under the curve.

        Args:
            horizon: where the area ends; None takes the longest duration.
            level: of the normal interval.

        Raises:
            BadInput: if the horizon is not positive, or lies where nothing was watched.
        """
        horizon = self.last if horizon is None else horizon
        if not (horizon > 0 and (horizon <= self.last or self.survival[-1:].sum() == 0 < self.n_events)):
            raise BadInput(
                "horizon",
                horizon,
                f"must be above 0 and at most the longest duration watched, {self.last:g}",
                "Choose an earlier horizon, or wait for more data.",
            )
        inside = self.times < horizon
        edges = np.concatenate([[0.0], self.times[inside], [horizon]])
        areas = np.append(1.0, self.survival[inside]) * np.diff(edges)  # (n_inside + 1,)
        after = areas[::-1].cumsum()[::-1][1:]  # from each event time to the horizon
        terms = np.diff(np.append(0.0, self.log_variance[inside]))
        finite = np.isfinite(terms)  # where S has reached 0 no area is left
        error = float(np.sqrt((after[finite] ** 2 * terms[finite]).sum()))
        mean, z = float(areas.sum()), float(ndtri(0.5 + level / 2))
        return Estimate(mean, max(0.0, mean - z * error), min(horizon, mean + z * error))


def checked(duration: ArrayLike, event: ArrayLike) -> tuple[Floats, Flags]:
    """Durations and events, checked.

    Args:
        duration: (n,) days, or any unit, from the click to the conversion, or watched without one; >= 0.
        event: (n,) 1 where the conversion was seen, 0 where it was not (yet).

    Raises:
        BadInput: naming the first row that is negative, not finite or neither 0 nor 1; or if there is none.
    """
    duration, seen = np.asarray(duration, float), np.asarray(event)
    if duration.ndim != 1 or duration.shape != seen.shape or not duration.size:
        allowed = "must be one number a row, as many as events, and at least one"
        raise BadInput("duration", duration.shape, allowed, "Pass two columns of one table.")
    wrong = np.flatnonzero(~(np.isfinite(duration) & (duration >= 0)))
    if wrong.size:
        raise BadInput(
            f"duration[{wrong[0]}]",
            duration[wrong[0]],
            "must be finite and at least 0",
            "A conversion cannot come before its click: check the clocks and the order of the two times.",
        )
    wrong = np.flatnonzero(~np.isin(seen, (0, 1)))
    if wrong.size:
        raise BadInput(
            f"event[{wrong[0]}]",
            seen[wrong[0]],
            "must be 0 or 1",
            "Give 1 where a conversion was seen, else 0.",
        )
    return duration, seen.astype(bool)


def kaplan_meier(duration: ArrayLike, event: ArrayLike) -> SurvivalCurve:
    """The share still open by time since the click.

    Args:
        duration: (n,) time to the conversion, or watched without one; >= 0.
        event: (n,) 1 where the conversion was seen, 0 where it was not (yet).

    Raises:
        BadInput: for rows that cannot be.

    >>> curve = kaplan_meier([1, 2, 2, 3, 4], [1, 1, 0, 1, 0])
    >>> curve.times.tolist(), curve.survival.round(3).tolist(), curve.median
    ([1.0, 2.0, 3.0], [0.8, 0.6, 0.3], 3.0)
    """
    duration, seen = checked(duration, event)
    times, events = np.unique(duration[seen], return_counts=True)
    at_risk = duration.size - np.searchsorted(np.sort(duration), times)
    survival, log_variance = product_limit(events, at_risk)
    return SurvivalCurve(times, survival, log_variance, float(duration.max()), duration.size, int(seen.sum()))


def log_rank(duration: ArrayLike, event: ArrayLike, group: ArrayLike) -> tuple[float, float]:
    """Log-rank test that all groups share one curve.

    Args:
        duration, event: (n,) as for `kaplan_meier`.
        group: (n,) labels, at least two different ones.

    Returns:
        The chi-squared statistic, with one degree of freedom less than there are groups, and its p-value.

    >>> statistic, p = log_rank([1, 2, 3, 11, 12, 13], [1] * 6, ["a", "a", "a", "b", "b", "b"])
    >>> round(statistic, 2), round(p, 3)
    (5.05, 0.025)
    """
    duration, seen = checked(duration, event)
    labels, code = np.unique(np.asarray(group), return_inverse=True)
    if labels.size < 2:
        raise BadInput("group", labels.tolist(), "must have at least two values", "Compare two groups.")
    times, when = np.unique(duration[seen], return_inverse=True)
    died = np.zeros((times.size, labels.size))
    np.add.at(died, (when, code[seen]), 1)
    at_risk = np.stack(
        [
            (code == k).sum() - np.searchsorted(np.sort(duration[code == k]), times)
            for k in range(labels.size)
        ],
        axis=1,
    ).astype(float)  # (n_times, n_groups)
    d, n = died.sum(axis=1), at_risk.sum(axis=1)
    share = at_risk / n[:, None]
    weight = np.where(n > 1, d * (n - d) / np.maximum(n - 1, 1), 0.0)
    gap = (died - d[:, None] * share).sum(axis=0)[:-1]
    covariance = np.diag((weight[:, None] * share).sum(axis=0)) - (weight[:, None] * share).T @ share
    statistic = float(gap @ np.linalg.pinv(covariance[:-1, :-1]) @ gap)
    return statistic, float(chi2.sf(statistic, labels.size - 1))
