"""Fits of the lag: Weibull, lognormal, Weibull of those who convert at all, and a mixture of two of these."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, ndtri
from scipy.stats import chi2

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.measurement.checks import check_shares
from gaelp.measurement.lag.climb import CERTAIN, at_limit, climb, covariance, rows_of
from gaelp.measurement.lag.curve import checked
from gaelp.measurement.lag.likelihood import (
    EXTREME_VALUE,
    NORMAL,
    Floats,
    Shape,
    chance,
    log_survival,
)

FAMILIES: Mapping[str, Shape] = {
    "weibull": Shape(EXTREME_VALUE, cure=False),
    "lognormal": Shape(NORMAL, cure=False),
    "cure_weibull": Shape(EXTREME_VALUE, cure=True),
    "mixture": Shape(EXTREME_VALUE, cure=True, n_laws=2),
}
"""What can be fitted; `weibull` and `lognormal` suppose that everybody converts in the end."""


class Column(NamedTuple):
    """One covariate column as the likelihood takes it: its name in errors and output, and (n,) numbers."""

    name: str
    values: Floats


@dataclass(frozen=True)
class LagFit:
    """A family with its most likely parameters.

    Attributes:
        family: its name. shape: what `theta` holds. theta: (size,) as in `likelihood`.
        covariance: (size, size) inverse of the observed information; None where it has none.
        loglik: log-likelihood. n: rows. n_events: conversions among them.
        columns: names of the covariates, without the constant.
        at_zero: conversions with a lag of 0, counted as half the smallest lag above it.
    """

    family: str
    shape: Shape
    theta: Floats
    covariance: Floats | None
    loglik: float
    n: int
    n_events: int
    columns: tuple[str, ...] = ()
    at_zero: int = 0

    @property
    def at_limit(self) -> bool:
        """Whether a law got as narrow or wide as any is let, so that its parameters mean little."""
        return at_limit(self.theta, self.shape)

    @property
    def aic(self) -> float:
        """Akaike's criterion, 2 parameters - 2 log-likelihood: the less, the better."""
        return 2.0 * (self.shape.size - self.loglik)

    @cached_property
    def _constant(self) -> Floats:
        return np.eye(1, self.shape.n_columns)

    def share(self, design: Floats | None = None, theta: Floats | None = None) -> Floats:
        """(n,) chance that a click converts at all; without a design (1,) of the base group."""
        rows = self._constant if design is None else design
        return chance(self.shape, self.theta if theta is None else theta, rows)

    def arrived(self, age: ArrayLike, theta: Floats | None = None) -> Floats:
        """Share of the conversions that ever come which has come by `age`, any shape, for the base group."""
        flat = np.atleast_1d(np.asarray(age, float))
        with np.errstate(divide="ignore"):
            log_age = np.log(flat.ravel())
        rows = np.broadcast_to(self._constant, (flat.size, self.shape.n_columns))
        some = np.zeros(flat.size)
        old = np.isfinite(log_age)
        found = log_survival(self.shape, self.theta if theta is None else theta, log_age[old], rows[old])
        some[old] = -np.expm1(found)
        some[np.isposinf(log_age)] = 1.0
        return some.reshape(np.shape(age))

    def draws(self, n_draws: int, seed: int = 0) -> Floats:
        """(n_draws, size) parameters as uncertain as the fit leaves them (normal approximation)."""
        if self.covariance is None:
            return np.tile(self.theta, (n_draws, 1))
        rng = np.random.default_rng(seed)
        return rng.multivariate_normal(self.theta, self.covariance, size=n_draws, method="eigh")

    def timeout(self, left: float = 0.05, horizon: float | None = None) -> float:
        """Age after which at most the share `left` of conversions is still to come; inf where that is never.

        Args:
            left: of those that ever come, or come within the horizon; between 0 and 1.
            horizon: conversions later than that do not count; None counts them all.

        Raises:
            BadInput: if `left` is no share.
        """
        check_shares(left=left)
        wanted = (1 - left) * (1.0 if horizon is None else float(self.arrived(horizon)))
        with np.errstate(divide="ignore", over="ignore"):  # no time, or never
            z = np.log(-np.log1p(-wanted)) if self.shape.law is EXTREME_VALUE else ndtri(wanted)
            laws = [self.shape.location(k) for k in range(self.shape.n_laws)]
            ends = [float(self.theta[law.start] + np.exp(self.theta[law.stop]) * z) for law in laws]
            low, high = min(ends), max(ends)  # a mixture's quantile lies between those of its laws

            def beyond(log_age: float) -> float:
                return float(self.arrived(np.exp(log_age))) - wanted

            if beyond(low) < 0 < beyond(high):
                low = brentq(beyond, low, high)
            return float(np.exp(low))

    def figures(self, level: float = 0.95) -> dict[str, Any]:
        """Parameters by name, their intervals, `loglik` and `aic`; with covariates also `coefficients`."""
        shape, theta, normal = self.shape, self.theta, self.shape.law is NORMAL
        found: dict[str, Any] = {}
        ends: dict[str, Any] = {}
        low, high = self._ends(level)
        if shape.cure:
            found["share"], ends["share"] = _share(theta[0], low[0], high[0])
        if shape.n_laws > 1:
            found["weight"] = [float(expit(theta[shape.weights])[0]), float(expit(-theta[shape.weights])[0])]
            first = [_or_none(expit(end[shape.weights.start])) for end in (low, high)]
            ends["weight"] = [first, [None if end is None else 1 - end for end in reversed(first)]]
        values: dict[str, list[float]] = {}
        spans: dict[str, list[list[float | None]]] = {}
        for k in range(shape.n_laws):
            m, s = shape.location(k).start, shape.location(k).stop
            a, b = ("mu", "sigma") if normal else ("scale", "shape")
            values.setdefault(a, []).append(float(theta[m] if normal else np.exp(theta[m])))
            span = [low[m], high[m]] if normal else [np.exp(low[m]), np.exp(high[m])]
            spans.setdefault(a, []).append([_or_none(end) for end in span])
            sign = 1.0 if normal else -1.0
            values.setdefault(b, []).append(float(np.exp(sign * theta[s])))
            span = sorted([np.exp(sign * low[s]), np.exp(sign * high[s])])
            spans.setdefault(b, []).append([_or_none(end) for end in span])
        for name, each in values.items():
            found[name] = each if shape.n_laws > 1 else each[0]
            ends[name] = spans[name] if shape.n_laws > 1 else spans[name][0]
        found |= {"loglik": self.loglik, "aic": self.aic, "interval": ends}
        return found | ({"coefficients": self._coefficients(low, high)} if self.columns else {})

    def _ends(self, level: float) -> tuple[Floats, Floats]:
        if self.covariance is None:
            unknown = np.full(self.shape.size, np.nan)
            return unknown, unknown
        reach = ndtri(0.5 + level / 2) * np.sqrt(np.diag(self.covariance))
        return self.theta - reach, self.theta + reach

    def _coefficients(self, low: Floats, high: Floats) -> list[dict[str, Any]]:
        where = [("share", slice(0, self.shape.n_columns))] if self.shape.cure else []
        where += [("log_time", self.shape.location(k)) for k in range(self.shape.n_laws)]
        return [
            {
                "column": name,
                "on": on,
                "value": float(self.theta[part.start + i]),
                "low": _or_none(low[part.start + i]),
                "high": _or_none(high[part.start + i]),
            }
            for on, part in where
            for i, name in enumerate(self.columns, 1)
        ]


def fit_lag(family: str, duration: ArrayLike, event: ArrayLike, columns: tuple[Column, ...] = ()) -> LagFit:
    """The most likely parameters of a family.

    Args:
        family: a name in `FAMILIES`.
        duration: (n,) time to the conversion, or watched without one; >= 0.
        event: (n,) 1 where the conversion was seen, 0 where it was not (yet).
        columns: covariates; they move `logit share` where there is one, and log time.

    Raises:
        UnknownName: if there is no such family.
        BadInput: for rows that cannot be, or fewer conversions than parameters, or all with one lag, or a
            covariate that does not vary or repeats others.

    >>> rng = np.random.default_rng(1)
    >>> lag = 5.0 * rng.weibull(0.8, 50_000)
    >>> watched = rng.uniform(1, 30, 50_000)
    >>> seen = (rng.random(50_000) < 0.08) & (lag < watched)
    >>> found = fit_lag("cure_weibull", np.where(seen, lag, watched), seen).figures()
    >>> [round(found[name], 2) for name in ("share", "scale", "shape")], round(float(seen.mean()), 3)
    ([0.08, 5.25, 0.8], 0.066)
    """
    require_known("family", family, FAMILIES)
    duration, seen = checked(duration, event)
    shape = replace(FAMILIES[family], n_columns=1 + len(columns))
    lags = duration[seen & (duration > 0)]
    if np.unique(lags).size < 2 or seen.sum() <= shape.size:
        raise BadInput(
            "event",
            int(seen.sum()),
            f"must count more conversions than {family} has parameters, {shape.size}, with different lags",
            "Collect more data, or look at the curve alone.",
        )
    at_zero = int((seen & (duration == 0)).sum())
    smallest = lags.min() / 2
    times = np.where(seen & (duration == 0), smallest, duration)
    centre = float(np.log(lags).mean())
    design, undo = _design(columns, seen.size)
    rows = rows_of(times, seen, design, centre)
    theta, loss = climb(shape, rows)
    theta = _ordered(theta, shape)
    unsure = covariance(theta, shape, rows)
    back, offset = _back(shape, undo, centre)
    return LagFit(
        family=family,
        shape=shape,
        theta=back @ theta + offset,
        covariance=None if unsure is None else back @ unsure @ back.T,
        loglik=-loss - centre * float(seen.sum()),
        n=seen.size,
        n_events=int(seen.sum()),
        columns=tuple(column.name for column in columns),
        at_zero=at_zero,
    )


def likelihood_ratio(plain: LagFit, wide: LagFit) -> tuple[float, float]:
    """Statistic and p-value of the test that what `wide` adds to `plain` is nothing."""
    statistic = max(0.0, 2.0 * (wide.loglik - plain.loglik))
    return statistic, float(chi2.sf(statistic, wide.shape.size - plain.shape.size))


def _design(columns: tuple[Column, ...], n: int) -> tuple[Floats, Floats]:
    """Design with columns of mean 0 and deviation 1, and the matrix that takes its coefficients back."""
    values = np.column_stack([np.ones(n), *(column.values for column in columns)])
    mean, spread = values.mean(axis=0), values.std(axis=0)
    for i, column in enumerate(columns, 1):
        if not spread[i] > 0:
            raise BadInput(column.name, column.values[0], "must vary between rows", "Leave the column out.")
    mean[0], spread[0] = 0.0, 1.0
    scaled = (values - mean) / spread
    if np.linalg.matrix_rank(scaled) < scaled.shape[1]:
        names = [column.name for column in columns]
        raise BadInput("covariate", names, "must not repeat one another", "Leave one of them out.")
    undo = np.diag(1 / spread)
    undo[0, 1:] = -mean[1:] / spread[1:]
    return scaled, undo


def _ordered(theta: Floats, shape: Shape) -> Floats:
    """Two laws by location, the faster first."""
    if shape.n_laws < 2:
        return theta
    first, second = (slice(shape.location(k).start, shape.location(k).stop + 1) for k in (0, 1))
    if theta[first.start] <= theta[second.start]:
        return theta
    theta = theta.copy()
    theta[first], theta[second] = theta[second].copy(), theta[first].copy()
    theta[shape.weights] *= -1
    return theta


def _back(shape: Shape, undo: Floats, centre: float) -> tuple[Floats, Floats]:
    """The linear map from parameters of the scaled design and centred time to the ones people read."""
    back, offset = np.eye(shape.size), np.zeros(shape.size)
    parts = [slice(0, shape.n_columns)] if shape.cure else []
    locations = [shape.location(k) for k in range(shape.n_laws)]
    for part in (*parts, *locations):
        back[part, part] = undo
    for part in locations:
        offset[part.start] = centre
    return back, offset


def _share(logit: float, low: float, high: float) -> tuple[float, list[float | None]]:
    if logit > CERTAIN:
        return float(expit(logit)), [None, 1.0]  # the likelihood still rises: no lower end from its bend
    return float(expit(logit)), [_or_none(expit(low)), _or_none(expit(high))]


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
