"""The most likely law of the bid needed on a line, and how sure it is.

Standard errors are the sandwich over days: every day is one observation, whatever happens between its hours;
they are widened for the parameters that few days have to carry (HC1). Where reports hardly tell the spread of
rivals' bids, a weak prior on it does: log scale normal around .6 with standard deviation .5, so between .23
and 1.6. It holds what is published: market prices of display auctions are lognormal with a log deviation of
.84 to 1.15 over a whole campaign, less within one placement.

Source: Liang, Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73 (1986)
(sandwich by cluster); MacKinnon, White, J. Econometrics 29 (1985) (HC1); Zhang, Yuan, Wang, Shen, "Real-time
bidding benchmarking with iPinYou dataset", arXiv 1407.7073 (the spread).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import t as student

from gaelp.core.errors import BadInput
from gaelp.measurement.competition.likelihood import (
    DRIFT,
    LOCATION,
    LOG_SCALE,
    N_PARAMETERS,
    SWAY,
    TREND,
    Noise,
    noise_of,
    terms,
)
from gaelp.measurement.competition.log import LineLog
from gaelp.measurement.competition.needed import LAWS, Law
from gaelp.measurement.lag.curve import Estimate

Floats = NDArray[np.float64]

PRIOR_SCALE, PRIOR_LOG_DEVIATION, PRIOR_SWAY = 0.6, 0.5, 0.5
NOT_REFUSED = 1.92
"""A law whose log-likelihood is within this of the best one's is not refused by the data at 95 %."""
FREEDOM_LOST = 3
"""By location, scale and trend; the two of own habits are held by their prior. Measured: with n - 5 degrees
intervals of nine days are too wide."""
_EXPECTED = np.array([0.0, math.log(PRIOR_SCALE), 0.0, 0.0, 0.0])
_PRIOR = np.diag([0.0, PRIOR_LOG_DEVIATION**-2, 0.0, PRIOR_SWAY**-2, PRIOR_SWAY**-2])
"""Expected theta and its precision; location and trend have no prior."""
_LARGEST = np.array([6.0, 0.0, 1.5, 3.0, 3.0])
"""Bounds of theta, location counted from the log of the usual bid; those of the scale stand apart."""
_LOG_SCALES = (math.log(0.05), math.log(4.0))
_SLOPE_STEP, _CURVE_STEP, _PASSES, _ENOUGH = 1e-4, 2e-3, 2, 1e-2
_CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
_ENDS = _SLOPE_STEP * np.concatenate([np.eye(N_PARAMETERS), -np.eye(N_PARAMETERS)])
"""(10, 5) a step forth and back in each parameter."""


@dataclass(frozen=True)
class Fit:
    """A law fitted to a line's reports.

    Attributes:
        law: of the bid needed.
        theta: (5,) as in `likelihood.terms`.
        covariance: (5, 5) of theta.
        influence: (n_days, 5) what each day did to theta.
        free: degrees of freedom of the errors.
        log_likelihood: at theta, prior left out.
        noise: of what was told.
        told_of_scale: share of the information about the scale that came from the reports, not the prior.
    """

    law: Law
    theta: Floats
    covariance: Floats
    influence: Floats
    free: int
    log_likelihood: float
    noise: Noise
    told_of_scale: float

    @property
    def scale(self) -> float:
        """Of log bids needed."""
        return math.exp(self.theta[LOG_SCALE])

    def estimate(
        self, figure: Callable[[Floats], float], level: float = 0.95, more_error: float = 0.0
    ) -> Estimate:
        """A smooth figure of theta with its interval, by the delta method.

        Args:
            figure: of theta. level: of the interval.
            more_error: a standard error from elsewhere, independent of theta's.
        """
        slopes = self.gradient(figure)
        error = math.sqrt(max(float(slopes @ self.covariance @ slopes), 0.0) + more_error**2)
        value, reach = figure(self.theta), self.times(level) * error
        return Estimate(value, value - reach, value + reach)

    def gradient(self, figure: Callable[[Floats], float]) -> Floats:
        """(5,) slopes of a figure at theta."""
        return _by_step(np.array([figure(self.theta + step) for step in _ENDS]))

    def times(self, level: float) -> float:
        """Standard errors that an interval reaches to either side."""
        return float(student.ppf(0.5 + level / 2.0, self.free))


def fit_line(log: LineLog, laws: Sequence[Law] = LAWS) -> list[Fit]:
    """Laws that the reports do not refuse, the likeliest first.

    Args:
        log: of the line. laws: to choose from.

    Returns:
        At least one fit.

    Raises:
        BadInput: the log tells too little; `LineLog.reason_against` says why.
    """
    reason = log.reason_against()
    if reason is not None:
        raise BadInput(
            f"log of {log.name}", reason, "must tell of what was won and lost", "Wait for more days."
        )
    found = [_fit(laws[0], log, None)]
    found += [_fit(law, log, found[0].noise) for law in laws[1:]]
    best = max(fit.log_likelihood for fit in found)
    kept = [fit for fit in found if fit.log_likelihood >= best - NOT_REFUSED]
    return sorted(kept, key=lambda fit: -fit.log_likelihood)


def _fit(law: Law, log: LineLog, noise: Noise | None) -> Fit:
    """Fit one law; with no noise given, it is found on the way."""
    centre = math.log(log.usual_bid)
    location = centre - PRIOR_SCALE * float(law.quantile(_usual_share(log)))
    theta = np.array([location, math.log(PRIOR_SCALE), *[0.0] * (N_PARAMETERS - 2)])
    bounds = np.stack([-_LARGEST, _LARGEST], axis=1)
    bounds[LOCATION] += centre
    bounds[LOG_SCALE] = _LOG_SCALES
    if noise is None:
        for dispersed in (False, *[True] * _PASSES):
            noise = noise_of(law, log, theta, dispersed=dispersed)
            theta = _climb(law, log, theta, noise, bounds)
    else:
        theta = _climb(law, log, theta, noise, bounds)
    assert noise is not None
    return _judged(law, log, theta, noise)


def _usual_share(log: LineLog) -> float:
    told = log.share[log.told & log.all_day]
    return float(np.clip(told.mean(), 0.05, 0.95)) if told.size else 0.4


def _climb(law: Law, log: LineLog, start: Floats, noise: Noise, bounds: Floats) -> Floats:
    """The top of the likelihood and prior, from a start; in units of about a standard error each."""

    def by_day(theta: Floats) -> Floats:
        return terms(law, log, theta, noise).by_day

    slopes = _slopes(by_day, start)
    values, vectors = np.linalg.eigh(slopes.T @ slopes + _PRIOR)
    unit = vectors / np.sqrt(np.maximum(values, 1e-6))

    def theta_at(moved: Floats) -> Floats:
        return np.clip(start + moved @ unit.T, bounds[:, 0], bounds[:, 1])

    def loss(moved: Floats) -> tuple[float, Floats]:
        theta = theta_at(np.concatenate([moved[None, :], moved + _ENDS]))
        apart = theta - _EXPECTED
        lost = 0.5 * ((apart @ _PRIOR) * apart).sum(axis=1) - by_day(theta).sum(axis=1)
        return float(lost[0]), _by_step(lost[1:])

    found = minimize(loss, np.zeros(N_PARAMETERS), jac=True, method="BFGS", options={"gtol": _ENOUGH})
    return theta_at(np.asarray(found.x, np.float64))


def _slopes(by_day: Callable[[Floats], Floats], theta: Floats) -> Floats:
    """(n_days, n_parameters) slopes of the days' terms."""
    return _by_step(by_day(theta + _ENDS)).T


def _by_step(ends: Floats) -> Floats:
    """(n_parameters, ...) slopes from what was found at `_ENDS`."""
    forth, back = np.split(ends, 2)
    return np.asarray((forth - back) / (2.0 * _SLOPE_STEP), np.float64)


def _judged(law: Law, log: LineLog, theta: Floats, noise: Noise) -> Fit:
    """Standard errors at the top: curvature, and the spread of the days' slopes."""

    def by_day(at: Floats) -> Floats:
        return terms(law, log, at, noise).by_day

    slopes = _slopes(by_day, theta)
    curvature = _curvature(lambda at: by_day(at).sum(axis=-1), theta)
    told = _schur(curvature)
    values, vectors = np.linalg.eigh(curvature + _PRIOR)
    inverse = (vectors / np.maximum(values, 1e-6)) @ vectors.T  # what nothing tells has an error without end
    n_days = int((log.on.any(axis=1)).sum())
    influence = slopes @ inverse * math.sqrt(n_days / max(n_days - N_PARAMETERS, 1))  # HC1
    return Fit(
        law=law,
        theta=theta,
        covariance=influence.T @ influence + inverse @ _PRIOR @ inverse,
        influence=influence,
        free=max(n_days - FREEDOM_LOST, 1),
        log_likelihood=float(by_day(theta).sum()),
        noise=noise,
        told_of_scale=told / (told + PRIOR_LOG_DEVIATION**-2),
    )


def _curvature(of: Callable[[Floats], Floats], theta: Floats) -> Floats:
    """(n_parameters, n_parameters) second derivatives of `-of`."""
    found, steps = np.zeros((N_PARAMETERS, N_PARAMETERS)), _CURVE_STEP * np.eye(N_PARAMETERS)
    pairs = np.array([(i, j) for i in range(N_PARAMETERS) for j in range(i + 1)])
    corners = np.array([theta + a * steps[i] + b * steps[j] for i, j in pairs for a, b in _CORNERS])
    both, one, other, neither = of(corners).reshape(-1, 4).T
    i, j = pairs.T
    found[i, j] = found[j, i] = -(both - one - other + neither) / (4.0 * _CURVE_STEP**2)
    return found


def _schur(curvature: Floats) -> float:
    """Information about the scale when the other parameters are unknown."""
    others = [LOCATION, TREND, SWAY, DRIFT]
    block = curvature[np.ix_(others, others)]
    cross = curvature[LOG_SCALE, others]
    return max(0.0, float(curvature[LOG_SCALE, LOG_SCALE] - cross @ np.linalg.pinv(block) @ cross))
