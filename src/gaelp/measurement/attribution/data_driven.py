"""Data-driven attribution: an additive hazard fitted to touched journeys, converted or not.

A journey converts at the rate

    baseline + sum over its touches i of strength[k] * decay[k] * exp(-decay[k] * age_i),   k = channel of i,

so a touch by itself brings `strength` conversions, most of them soon. A conversion is credited to the
baseline and the touches in proportion to their terms at that moment. Journeys are watched from their first
touch to their end; those without touches take no part, and their conversions are the baseline's.

Source: Zhang, Wei, Ren, "Multi-touch attribution in online advertising with survival theory", ICDM 2014
(additive hazards with exponential kernels, fitted to users who converted and who did not). The baseline, for
what would have happened anyway, is ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from gaelp.core.clock import HOURS_PER_DAY
from gaelp.core.jit import jit
from gaelp.journeys.table import JourneyTable
from gaelp.measurement.attribution.credits import (
    Counts,
    Credits,
    Estimate,
    Floats,
    Ints,
    Settings,
    Unanswerable,
    require_nulls,
    require_times,
)
from gaelp.measurement.attribution.heuristics import credits_from

_TIMES_START = (1e-9, 1e6)  # the baseline and the strengths, against their start
_LOGS_OF_DECAYS = (np.log(1 / (365.0 * HOURS_PER_DAY)), 0.0)  # per hour: a mean age of a year to an hour
_FIRST_DECAY = 1 / (7.0 * HOURS_PER_DAY)


@dataclass(frozen=True, eq=False)
class Hazard:
    """A fitted hazard.

    Attributes:
        baseline_per_day: conversions a day of a journey without touches.
        strength: (n_channels,) conversions one touch brings, were it watched for ever.
        mean_age_days: (n_channels,) mean age of a touch at the conversions it brings.
        log_likelihood: at these values.
    """

    baseline_per_day: float
    strength: Floats
    mean_age_days: Floats
    log_likelihood: float


def fit_hazard(table: JourneyTable) -> Hazard:
    """Fit the hazard by maximum likelihood.

    Args:
        table: of journeys, with times.

    Raises:
        Unanswerable: the table has no times, no conversion after a touch, or no journey without conversion.
    """
    fit = _Fit(table)
    point, worth = fit.best(Counts.of(table), fit.start)
    rate, strength, decay = fit.parameters(point)
    return Hazard(rate * HOURS_PER_DAY, strength, 1 / (decay * HOURS_PER_DAY), worth)


def prepare(table: JourneyTable, settings: Settings) -> Estimate:
    """Make the model ready for a table; a replicate starts from the first fit.

    Raises:
        Unanswerable: as `fit_hazard`.
    """
    fit = _Fit(table)
    start = fit.best(Counts.of(table), fit.start)[0]

    def estimate(counts: Counts) -> Credits:
        point, _ = fit.best(counts, start)
        shares = np.empty(table.n_touches)
        left = np.ones(table.n_rows)  # what the touches leave is the baseline's
        _responsibilities(
            table.offsets, table.channel, fit.age, *fit.parameters(point), shares, left, counts.conversions
        )
        credit = credits_from(table, shares, counts)
        touched = table.lengths > 0
        credit.conversions[-1] += left[touched] @ counts.conversions[touched]
        credit.value_usd[-1] += left[touched] @ counts.value_usd[touched]
        return credit

    return estimate


class _Fit:
    """The likelihood of a table by (baseline, strengths, as multiples of their start; logs of decays)."""

    def __init__(self, table: JourneyTable) -> None:
        hour = require_times(table, "data_driven")
        require_nulls(table, "data_driven")
        assert table.end_hour is not None
        self.table = table
        self.age = np.repeat(table.end_hour, table.lengths) - hour
        touched = table.lengths > 0
        self.watched = np.zeros(table.n_rows)
        self.watched[touched] = self.age[table.offsets[:-1][touched]]
        self.touched = touched
        counts = Counts.of(table)
        n_conversions = counts.conversions[touched].sum()
        if n_conversions == 0 or not self.watched @ counts.journeys > 0:
            allowed = "needs conversions of touched journeys that lasted some time"
            raise Unanswerable("model", "data_driven", allowed, "Give a longer record.")
        n = len(table.channels)
        rate = n_conversions / (self.watched @ counts.journeys)
        strength = n_conversions / (np.repeat(counts.journeys, table.lengths).sum())
        self.unit = np.concatenate(([rate / 2], np.full(n, strength / 2)))
        self.start = np.concatenate((np.ones(1 + n), np.full(n, np.log(_FIRST_DECAY))))
        self.bounds = [_TIMES_START] * (1 + n) + [_LOGS_OF_DECAYS] * n

    def parameters(self, point: Floats) -> tuple[float, Floats, Floats]:
        """Baseline per hour, strengths, decays per hour."""
        n = self.unit.size
        linear = point[:n] * self.unit
        return float(linear[0]), linear[1:], np.exp(point[n:])

    def best(self, counts: Counts, start: Floats) -> tuple[Floats, float]:
        """The most likely point, and its log-likelihood."""
        table, n = self.table, self.unit.size
        scale = max(counts.conversions[self.touched].sum(), 1.0)

        def less_likely(point: Floats) -> tuple[float, Floats]:
            slope = np.zeros(point.size)
            worth = _log_likelihood(
                table.offsets,
                table.channel,
                self.age,
                self.watched,
                counts.conversions,
                counts.journeys,
                *self.parameters(point),
                slope,
            )
            slope[:n] /= point[:n]  # by the multiples, from by their logs
            return -worth / scale, -slope / scale

        options = {"maxiter": 1000, "maxfun": 5000, "ftol": 1e-14, "gtol": 1e-8}
        found = minimize(less_likely, start, jac=True, method="L-BFGS-B", bounds=self.bounds, options=options)
        return found.x, -float(found.fun) * scale


@jit
def _log_likelihood(
    offsets: Ints,
    channel: NDArray[np.int32],
    age: Floats,
    watched: Floats,
    conversions: Floats,
    journeys: Floats,
    rate: float,
    strength: Floats,
    decay: Floats,
    slope: Floats,
) -> float:
    """The log-likelihood; `slope` receives its derivatives by the logs."""
    n = strength.size
    total = 0.0
    for row in range(offsets.size - 1):
        start, end = offsets[row], offsets[row + 1]
        if end == start or journeys[row] == 0.0:
            continue
        total -= journeys[row] * rate * watched[row]
        slope[0] -= journeys[row] * rate * watched[row]
        hazard = rate
        for touch in range(start, end):
            k = channel[touch]
            left = np.exp(-decay[k] * age[touch])
            total -= journeys[row] * strength[k] * (1.0 - left)
            slope[1 + k] -= journeys[row] * strength[k] * (1.0 - left)
            slope[1 + n + k] -= journeys[row] * strength[k] * decay[k] * age[touch] * left
            hazard += strength[k] * decay[k] * left
        if conversions[row] > 0.0:
            total += conversions[row] * np.log(hazard)
            slope[0] += conversions[row] * rate / hazard
            for touch in range(start, end):
                k = channel[touch]
                part = conversions[row] * strength[k] * decay[k] * np.exp(-decay[k] * age[touch]) / hazard
                slope[1 + k] += part
                slope[1 + n + k] += part * (1.0 - decay[k] * age[touch])
    return total


@jit
def _responsibilities(
    offsets: Ints,
    channel: NDArray[np.int32],
    age: Floats,
    rate: float,
    strength: Floats,
    decay: Floats,
    shares: Floats,
    left: Floats,
    conversions: Floats,
) -> None:
    for row in range(offsets.size - 1):
        if conversions[row] == 0.0:
            shares[offsets[row] : offsets[row + 1]] = 0.0
            continue
        hazard = rate
        for touch in range(offsets[row], offsets[row + 1]):
            k = channel[touch]
            shares[touch] = strength[k] * decay[k] * np.exp(-decay[k] * age[touch])
            hazard += shares[touch]
        for touch in range(offsets[row], offsets[row + 1]):
            shares[touch] /= hazard
        left[row] = rate / hazard
