"""Conversions that are still to come: a cohort's, given what has come and how old its clicks are.

A cohort's share of clicks that convert at all, `p`, is like that of history but not the same:

    p ~ Beta(s p0, s (1 - p0))                                   p0 the fit's share, s how alike cohorts are
    P(c conversions, open clicks of ages a_j | p)  proportional to  p^c  prod_j (1 - p F(a_j))

so a young cohort leans on history and an old one on itself. An open click of age a converts by the horizon h
with the chance `p (F(h) - F(a)) / (1 - p F(a))`. The interval holds what is unsure of all three: the lag
(drawn from the fit's normal approximation), the cohort's p (its posterior, on a grid), and the clicks' luck.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_softmax, logit

from gaelp.core.errors import BadInput
from gaelp.measurement.lag.fit import LagFit
from gaelp.measurement.lag.likelihood import Floats

_REACH = np.linspace(-8.0, 8.0, 641)  # of logit p around history's
_STRENGTHS = np.logspace(0.0, 4.0, 41)  # of the prior, in conversions
_LEAST_COHORTS = 5
_LUCK = 20  # draws of p and of the clicks for each draw of the lag


class Nowcast(NamedTuple):
    """What is still to come, one number a cohort.

    Attributes:
        to_come: (n_cohorts,) expected conversions of open clicks until the horizon.
        low, high: (n_cohorts,) ends of the predictive interval.
        share: (n_cohorts,) expected share of clicks that converts at all.
        strength: clicks of the cohort's own that weigh as much as history.
    """

    to_come: Floats
    low: Floats
    high: Floats
    share: Floats
    strength: float


def nowcast(
    fit: LagFit,
    converted: ArrayLike,
    open_age: ArrayLike,
    open_clicks: ArrayLike,
    cohort: ArrayLike | None = None,
    *,
    horizon: float | None = None,
    strength: float | None = None,
    level: float = 0.95,
    n_draws: int = 100,
    seed: int = 0,
) -> Nowcast:
    """How many conversions of each cohort are still to come, with an interval.

    Args:
        fit: of a family in which some never convert, to clicks of these or earlier cohorts.
        converted: (n_cohorts,) conversions seen.
        open_age: (n_groups,) age of clicks that have not converted, in the fit's unit of time.
        open_clicks: (n_groups,) how many clicks are that old.
        cohort: (n_groups,) index of the cohort they belong to; None where each cohort has one age.
        horizon: age until which conversions count, such as the platform's window; None counts all.
        strength: see `Nowcast`; None takes the likeliest for at least five cohorts, and else lets
            history weigh one conversion.
        level: of the intervals.
        n_draws: of the lag's parameters.
        seed: names the draws.

    Raises:
        BadInput: a family in which everybody converts, counts that cannot be, or cohorts that do not match.

    >>> rng = np.random.default_rng(1)
    >>> lag, watched = 5.0 * rng.weibull(0.8, 20_000), rng.uniform(1, 30, 20_000)
    >>> seen = (rng.random(20_000) < 0.08) & (lag < watched)
    >>> from gaelp.measurement.lag.fit import fit_lag
    >>> fit = fit_lag("cure_weibull", np.where(seen, lag, watched), seen)
    >>> soon = nowcast(fit, converted=[20], open_age=[1.0], open_clicks=[980])
    >>> int(soon.to_come[0]), bool(soon.low[0] < soon.to_come[0] < soon.high[0])
    (67, True)
    """
    if not fit.shape.cure:
        raise BadInput("fit", fit.family, "must let some never convert", "Fit cure_weibull or mixture.")
    converted, age, clicks, cohort = _checked(converted, open_age, open_clicks, cohort)
    n_cohorts = converted.size
    p0 = float(np.clip(fit.share()[0], 1e-6, 1 - 1e-6))
    grid = expit(logit(p0) + _REACH)
    if strength is None:
        strength = 1 / p0
        if n_cohorts >= _LEAST_COHORTS:
            seen = _log_likelihood(grid, converted, clicks, cohort, fit.arrived(age))
            strength = _likeliest_strength(grid, seen, p0)
    rng = np.random.default_rng(seed)
    means, shares, totals = [], [], []
    for theta in fit.draws(n_draws, seed):
        arrived = fit.arrived(age, theta)
        ever = 1.0 if horizon is None else float(fit.arrived(horizon, theta))
        prior = _log_prior(grid, float(fit.share(theta=theta)[0]), strength)
        posterior = _normalised(prior + _log_likelihood(grid, converted, clicks, cohort, arrived))
        left = np.maximum(ever - arrived, 0.0)
        each = clicks[:, None] * _chance(grid, arrived[:, None], left[:, None])  # (n_groups, n_grid)
        expected = np.zeros((n_cohorts, grid.size))
        np.add.at(expected, cohort, each)
        means.append((posterior * expected).sum(axis=1))
        shares.append(posterior @ grid)
        p = grid[_drawn(posterior, rng.random((n_cohorts, _LUCK)))]  # (n_cohorts, luck)
        coming = rng.binomial(
            clicks[:, None].astype(np.int64), _chance(p[cohort], arrived[:, None], left[:, None])
        )
        total = np.zeros((n_cohorts, _LUCK))
        np.add.at(total, cohort, coming)
        totals.append(total)
    low, high = np.quantile(np.concatenate(totals, axis=1), [(1 - level) / 2, (1 + level) / 2], axis=1)
    return Nowcast(np.mean(means, axis=0), low, high, np.mean(shares, axis=0), float(strength))


def _chance(p: Floats, arrived: Floats, left: Floats) -> Floats:
    return np.minimum(p * left / np.maximum(1 - p * arrived, 1e-12), 1.0)


def _log_prior(grid: Floats, p0: float, strength: float) -> Floats:
    """(n_grid,) of the Beta law, summing to 1 over a grid that is even in logit p."""
    density = strength * (p0 * np.log(grid) + (1 - p0) * np.log1p(-grid))
    found: Floats = log_softmax(density)
    return found


def _log_likelihood(
    grid: Floats, converted: Floats, clicks: Floats, cohort: NDArray[np.intp], arrived: Floats
) -> Floats:
    """(n_cohorts, n_grid)."""
    found = converted[:, None] * np.log(grid)
    np.add.at(found, cohort, clicks[:, None] * np.log1p(-arrived[:, None] * grid))
    return found


def _likeliest_strength(grid: Floats, log_likelihood: Floats, p0: float) -> float:
    rows = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))
    strengths = _STRENGTHS / p0
    marginal = [np.log(rows @ np.exp(_log_prior(grid, p0, s)) + 1e-300).sum() for s in strengths]
    return float(strengths[int(np.argmax(marginal))])


def _normalised(log_weight: Floats) -> Floats:
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    total: Floats = weight / weight.sum(axis=1, keepdims=True)
    return total


def _drawn(posterior: Floats, uniform: Floats) -> NDArray[np.intp]:
    below = np.cumsum(posterior, axis=1)
    found = [np.searchsorted(row, u) for row, u in zip(below, uniform, strict=True)]
    return np.minimum(np.stack(found), posterior.shape[1] - 1)


def _checked(
    converted: ArrayLike, open_age: ArrayLike, open_clicks: ArrayLike, cohort: ArrayLike | None
) -> tuple[Floats, Floats, Floats, NDArray[np.intp]]:
    columns = {"converted": converted, "open_age": open_age, "open_clicks": open_clicks}
    arrays = {name: np.asarray(values, float) for name, values in columns.items()}
    for name, values in arrays.items():
        wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if values.ndim != 1 or wrong.size:
            shown = values[wrong[0]] if values.ndim == 1 else values.shape
            raise BadInput(name, shown, "must be one finite number of at least 0 each", "Check the counts.")
    n = arrays["converted"].size
    index = np.arange(arrays["open_age"].size) if cohort is None else np.asarray(cohort, np.intp)
    same = index.shape == arrays["open_age"].shape == arrays["open_clicks"].shape
    if not same or (index.size and not (index.min() >= 0 and index.max() < n)):
        allowed = f"must give one index from 0 to {n - 1} for each age"
        raise BadInput("cohort", index.tolist(), allowed, "Leave it out where each cohort has one age.")
    return arrays["converted"], arrays["open_age"], arrays["open_clicks"], index
