"""Credits calibrated by experiments: what a model claims, corrected by what randomised tests measured.

A model's claim for channel k is taken to be off by a factor: incremental_k = factor_k * claim_k, the factors
being scattered around a common one. Experiments measure some of the factors with error. The common factor
and the scatter are estimated from them; a tested channel's factor is drawn towards the common one according
to its own precision, and an untested channel gets the common one with all its uncertainty. What the channels
then do not explain is the baseline's, so credits still add up to the conversions recorded.

Sources: random-effects meta-analysis: DerSimonian & Laird, "Meta-analysis in clinical trials", Controlled
Clinical Trials 7(3), 1986; how far observational claims are off: Gordon, Moakler, Zettelmeyer, "Close enough?
A large-scale exploration of non-experimental approaches to advertising measurement", arXiv 2201.07055.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.measurement.attribution.credits import Credits, Floats

LONE_SCATTER = 0.5
"""Standard deviation of the factors where a single experiment cannot tell it, relative to the factor."""


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
        credits: conversions and USD, the baseline last; may be negative where a test was.
        conversions_se: (n_channels + 1,) standard errors of the conversions, as if the scatter were known:
            too small where experiments are few.
        factor: what experiments say the model's claims are to be multiplied by, on the whole.
        factor_se: its standard error.
        scatter: standard deviation of the channels' factors around it.
    """

    credits: Credits
    conversions_se: Floats
    factor: float
    factor_se: float
    scatter: float


def calibrate(
    claimed: Credits, channels: tuple[str, ...], experiments: Mapping[str, Experiment]
) -> Calibrated:
    """Correct a model's credits by experiments.

    Value is corrected by the same factors as conversions; the remainder is the baseline's too.

    Args:
        claimed: by any model.
        channels: names of the credits' channels.
        experiments: by channel; a tested channel must have a positive claim.

    Raises:
        BadInput: no experiment, one of an unknown channel or without a claim, or a result that is none.

    >>> claim = Credits(np.array([60.0, 40.0, 0.0]), np.array([600.0, 400.0, 0.0]))
    >>> found = calibrate(claim, ("search", "social"), {"social": Experiment(20.0, 1e-9)})
    >>> found.credits.conversions.round(6).tolist()
    [30.0, 20.0, 50.0]
    """
    if not experiments:
        raise BadInput("experiments", {}, "must hold at least one", "Give the result of one channel's test.")
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
    factor, factor_variance, scatter = _common(measured, error**2)
    variance = scatter**2
    # by how much a test's own result counts against the common factor
    trust = np.zeros(claim.size)
    trust[tested] = variance / (variance + error**2)
    factors = np.full(claim.size, factor)
    factors[tested] += trust[tested] * (measured - factor)
    conversions, value = claim * factors, claimed.value_usd[:-1] * factors
    # independent parts of a factor's error: its own, left after the test, and the common factor's
    own = np.full(claim.size, variance)
    own[tested] = variance * (1 - trust[tested])
    common = (1 - trust) * np.sqrt(factor_variance)
    errors = np.hypot(claim * np.sqrt(own), claim * common)
    baseline_error = np.hypot(np.sqrt(np.sum(claim**2 * own)), np.sum(claim * common))
    return Calibrated(
        Credits(
            np.append(conversions, claimed.conversions.sum() - conversions.sum()),
            np.append(value, claimed.value_usd.sum() - value.sum()),
        ),
        np.append(errors, baseline_error),
        factor,
        float(np.sqrt(factor_variance)),
        scatter,
    )


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
