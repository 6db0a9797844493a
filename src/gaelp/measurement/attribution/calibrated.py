"""Credits calibrated by experiments: what a model claims, corrected by what randomised tests measured.

A model's claim for channel k is taken to be off by a factor: incremental_k = factor_k * claim_k, the factors
being scattered around a common one. Experiments measure some of the factors with error. The common factor
and the scatter are estimated from them; a tested channel's factor is drawn towards the common one according
to its own precision, and an untested channel gets the common one with all its uncertainty. What the channels
then do not explain is the baseline's, so credits still add up to the conversions recorded.

A common factor within two standard errors of zero says little of how channels compare: shares divide by it.
With a `Prior`, ads are taken not to drive buyers away: factors are positive and scatter by ratios,
ln factor_k ~ N(common, scatter²), and the posterior mean is found by quadrature.

Sources: random-effects meta-analysis: DerSimonian & Laird, "Meta-analysis in clinical trials", Controlled
Clinical Trials 7(3), 1986; how far observational claims are off: Gordon, Moakler, Zettelmeyer, "Close enough?
A large-scale exploration of non-experimental approaches to advertising measurement", arXiv 2201.07055;
half-normal priors of scatters: Gelman, "Prior distributions for variance parameters in hierarchical models",
Bayesian Analysis 1(3), 2006.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.measurement.attribution.credits import Credits, Floats

Ints = NDArray[np.int64]
Found = tuple[Floats, Floats, float, float, float]
"""Factors, their covariance, the common factor, its standard error, the scatter."""
_COMMON = np.linspace(-4.0, 4.0, 121)
_SCATTER = np.linspace(0.05, 4.0, 40)
_DEVIATION = np.linspace(-5.0, 5.0, 101)
"""Where the posterior is evaluated, in standard deviations of the prior."""
LONE_SCATTER = 0.5
"""Standard deviation of the factors where a single experiment cannot tell it, relative to the factor."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is believed of the factors before any test: weak, and positive.

    The defaults put the common factor between .016 and 5.7 (95 %), and two channels' factors mostly within
    four times of each other. They were set before any calibrated credit was scored with them.

    Attributes:
        median: of the common factor, from 1e-6 to 1e6.
        spread: standard deviation of its logarithm, at most 5; cut at four of them.
        scatter: scale of the half-normal standard deviation of ln factors around the common one, at most .5;
            cut at four scales, for log-normal factors have no variance without a cut. The standard error of
            a channel that was not tested rests on that cut: read it as "not known".
    """

    median: float = 0.3
    spread: float = 1.5
    scatter: float = 0.5

    def __post_init__(self) -> None:
        for name, least, most in (("median", 1e-6, 1e6), ("spread", 1e-3, 5.0), ("scatter", 1e-3, 0.5)):
            value = getattr(self, name)
            if not least <= value <= most:
                allowed = f"must be from {least:g} to {most:g}"
                raise BadInput(name, value, allowed, "Leave it out for the default.")


class Experiment(NamedTuple):
    """A randomised test of one channel (a holdout, or noise on its bids).

    Over the same period and people as the table: conversions it caused, and their standard error, > 0.
    """

    incremental_conversions: float
    standard_error: float


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Calibrated credits.

    Attributes:
        credits: conversions and USD, the baseline last; a channel's negative only without a prior, the
            baseline's wherever channels caused more than was recorded.
        conversions_se: (n_channels + 1,) standard errors of the conversions. Without a prior as if the
            scatter were known: too small where experiments are few.
        factor: what experiments say the model's claims are to be multiplied by, on the whole; with a prior
            that of an untested channel.
        factor_se: its standard error.
        scatter: standard deviation of the channels' factors around it; with a prior of their logarithms.
    """

    credits: Credits
    conversions_se: Floats
    factor: float
    factor_se: float
    scatter: float


def calibrate(
    claimed: Credits,
    channels: tuple[str, ...],
    experiments: Mapping[str, Experiment],
    prior: Prior | None = None,
) -> Calibrated:
    """Correct a model's credits by experiments.

    Value is corrected by the same factors as conversions; the remainder is the baseline's too.

    Args:
        claimed: by any model.
        channels: names of the credits' channels.
        experiments: by channel; a tested channel must have a positive claim.
        prior: of positive factors; None for random effects without one, which may come out negative.

    Raises:
        BadInput: no experiment, one of an unknown channel or without a claim, or a result that is none.

    >>> claim = Credits(np.array([60.0, 40.0, 0.0]), np.array([600.0, 400.0, 0.0]))
    >>> found = calibrate(claim, ("search", "social"), {"social": Experiment(20.0, 1e-9)})
    >>> found.credits.conversions.round(6).tolist()
    [30.0, 20.0, 50.0]
    """
    if not experiments:
        raise BadInput("experiments", {}, "must hold at least one", "Give the result of one channel's test.")
    broken = np.flatnonzero(~(np.isfinite(claimed.conversions) & (claimed.conversions >= 0)))
    if broken.size:
        where, value = f"claimed.conversions[{broken[0]}]", claimed.conversions[broken[0]]
        raise BadInput(where, value, "must be finite and at least 0", "Check the model's credits.")
    for name, (measured, error) in experiments.items():
        require_known("channel", name, channels)
        if not (np.isfinite(measured) and 0 < error < np.inf):
            allowed = "must be finite, its standard error above 0"
            raise BadInput(f"experiments[{name}]", (measured, error), allowed, "Check that test's result.")
        if claimed.conversions[channels.index(name)] <= 0:
            claim = claimed.conversions[channels.index(name)]
            allowed = "must be claimed more than 0 conversions by the model"
            raise BadInput(f"experiments[{name}]", claim, allowed, "Calibrate another model.")
    tested = np.array([channels.index(name) for name in experiments])
    claim = claimed.conversions[:-1]
    measured, error = np.array(list(experiments.values())).T / claim[tested]
    found = _random_effects if prior is None else partial(_posterior, prior=prior)
    factors, covariance, factor, factor_se, scatter = found(claim.size, tested, measured, error)
    conversions, value = claim * factors, claimed.value_usd[:-1] * factors
    # a precise test leaves less than what rounding makes of nothing
    errors = claim * np.sqrt(np.maximum(np.diag(covariance), 0.0))
    baseline_error = np.sqrt(np.maximum(claim @ covariance @ claim, 0.0))
    return Calibrated(
        Credits(
            np.append(conversions, claimed.conversions.sum() - conversions.sum()),
            np.append(value, claimed.value_usd.sum() - value.sum()),
        ),
        np.append(errors, baseline_error),
        factor,
        factor_se,
        scatter,
    )


def _random_effects(n: int, tested: Ints, measured: Floats, error: Floats) -> Found:
    factor, factor_variance, scatter = _common(measured, error**2)
    variance = scatter**2
    # by how much a test's own result counts against the common factor
    trust = np.zeros(n)
    trust[tested] = variance / (variance + error**2)
    factors = np.full(n, factor)
    factors[tested] += trust[tested] * (measured - factor)
    # independent parts of a factor's error: its own, left after the test, and the common factor's
    own = np.full(n, variance)
    own[tested] = variance * (1 - trust[tested])
    covariance = np.diag(own) + np.outer(1 - trust, 1 - trust) * factor_variance
    return factors, covariance, factor, float(np.sqrt(factor_variance)), scatter


def _posterior(n: int, tested: Ints, measured: Floats, error: Floats, *, prior: Prior) -> Found:
    """Means and covariance of log-normal factors given the tests, on a grid of common factor and scatter."""
    common = np.log(prior.median) + prior.spread * _COMMON[:, None]
    scatter = prior.scatter * _SCATTER
    untested = np.exp(common + 0.5 * scatter**2)
    mean = np.repeat(untested[None], n + 1, axis=0)  # the last is of any channel that has no test
    square = np.repeat((untested * np.exp(0.5 * scatter**2))[None] ** 2, n + 1, axis=0)
    log_posterior = -0.5 * (_COMMON[:, None] ** 2 + _SCATTER**2)
    for channel, result, se in zip(tested, measured, error, strict=True):
        log_likely, mean[channel], square[channel] = _given_test(common, scatter, result, se)
        log_posterior = log_posterior + log_likely
    posterior = np.exp(log_posterior - log_posterior.max())
    posterior /= posterior.sum()
    factors = (posterior * mean).sum(axis=(1, 2))
    centred = mean - factors[:, None, None]
    covariance = np.einsum("icd,jcd,cd->ij", centred, centred, posterior)
    covariance += np.diag((posterior * (square - mean**2)).sum(axis=(1, 2)))
    spread = float((posterior * scatter).sum())
    return factors[:-1], covariance[:-1, :-1], float(factors[-1]), float(np.sqrt(covariance[-1, -1])), spread


def _given_test(common: Floats, scatter: Floats, result: float, se: float) -> tuple[Floats, Floats, Floats]:
    """Log likelihood of a test, and first two moments of its channel's factor, each (n_common, n_scatter).

    The integral over the factor takes nodes from whichever is narrower: the scatter, or the test.
    """
    found = np.empty((3, common.size, scatter.size))
    precise = se < 0.3 * scatter * result
    for nodes_of_test in (False, True):
        columns = precise == nodes_of_test
        tau = scatter[columns, None]
        if nodes_of_test:
            factor = np.maximum(result + se * _DEVIATION, 1e-300)
            log_weight = -0.5 * ((np.log(factor) - common[..., None]) / tau) ** 2 - np.log(tau * factor / se)
        else:
            factor = np.exp(common[..., None] + tau * _DEVIATION)
            log_weight = -0.5 * ((result - factor) / se) ** 2
        log_weight = log_weight - 0.5 * _DEVIATION**2
        top = log_weight.max(axis=-1, initial=-np.inf)
        weight = np.exp(log_weight - top[..., None])
        total = weight.sum(axis=-1)
        found[0][:, columns] = top + np.log(total)
        found[1][:, columns] = (weight * factor).sum(axis=-1) / total
        found[2][:, columns] = (weight * factor**2).sum(axis=-1) / total
    return found[0], found[1], found[2]


def _common(measured: Floats, variance: Floats) -> tuple[float, float, float]:
    """DerSimonian and Laird's mean of scattered factors, its variance, and their standard deviation."""
    weight = 1 / variance
    mean = (weight @ measured) / weight.sum()
    if measured.size == 1:
        scatter = LONE_SCATTER * abs(float(mean))
    else:
        excess = weight @ (measured - mean) ** 2 - (measured.size - 1)
        scatter = float(np.sqrt(max(excess / (weight.sum() - (weight @ weight) / weight.sum()), 0.0)))
    weight = 1 / (variance + scatter**2)
    return float((weight @ measured) / weight.sum()), float(1 / weight.sum()), scatter
