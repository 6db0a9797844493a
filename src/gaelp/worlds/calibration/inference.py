"""What figures say of parameters: regression on worlds of the prior, with intervals that are checked.

The posterior's mean is a kernel regression of levels on statistics, its spread a second regression; draws
are the mean plus what left-out worlds missed it by, scaled to the spread here. So an interval is as wide as
the errors on worlds that the regression has not seen, whatever shape these have, and whole vectors of errors
keep how parameters go together.

Sources: regression adjustment, Beaumont, Zhang and Balding (Genetics 162, 2002), with unequal spread, Blum
and Francois (Statistics and Computing 20, 2010); the regression itself as summary, Fearnhead and Prangle
(JRSS B 74, 2012); errors on left-out points as intervals, Barber et al. (Annals of Statistics 49, 2021);
leaving one out in closed form, Wahba (1990), section 4.2.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from gaelp.core.errors import BadInput
from gaelp.data.calibration_targets import STATISTICS
from gaelp.worlds.calibration.simulating import Draws

Floats = NDArray[np.float64]

LEAST_WORLDS: Final = 64
LEVEL: Final = 0.90
"""Of the intervals."""
_BENDS: Final = (0.0, 0.3, 1.0)
"""Weights of a Gaussian kernel beside the linear one; the best is chosen for each parameter."""
_PENALTIES: Final = 10.0 ** np.arange(-3.0, 3.1, 0.5)
_REACH: Final = 4.0
"""A figure further out than so many standard deviations of the prior's worlds counts as so far."""
_LEAST_ERROR: Final = 1e-6
_UNREAD: Final = ("value_mean",)
"""Figures in the shop's own money: they set the value of a sale and say nothing else."""
READ: Final = np.array([each.name not in _UNREAD for each in STATISTICS])


@dataclass(frozen=True, eq=False)
class Smoother:
    """A kernel ridge regression of several targets, each with its own bend and penalty.

    Attributes:
        x: (n, p) standardised inputs. weights: (n_bends, n, m) of kernels, 0 for those not taken.
        mean: (m,) of the targets. left_out: (n, m) prediction of each row by all others.
    """

    x: Floats
    weights: Floats
    mean: Floats
    left_out: Floats

    @classmethod
    def of(cls, x: Floats, y: Floats) -> "Smoother":
        """The regression of (n, m) targets on (n, p) standardised inputs."""
        n, m = y.shape
        mean = y.mean(axis=0)
        centred = y - mean
        best = np.full(m, np.inf)
        weights = np.zeros((len(_BENDS), n, m))
        left_out = np.zeros((n, m))
        for b, bend in enumerate(_BENDS):
            root, basis = np.linalg.eigh(_kernel(x, x, bend))
            rotated = basis.T @ centred
            for penalty in _PENALTIES:
                shrunk = 1.0 / (np.maximum(root, 0.0) + penalty)
                alpha = basis @ (shrunk[:, None] * rotated)
                diagonal = (basis**2) @ shrunk
                missed = alpha / diagonal[:, None]  # y - prediction without that row
                error = (missed**2).mean(axis=0)
                better = error < best
                best[better] = error[better]
                weights[:, :, better] = 0.0
                weights[b][:, better] = alpha[:, better]
                left_out[:, better] = (centred - missed)[:, better]
        return cls(x, weights, mean, left_out + mean)

    def predict(self, x: Floats) -> Floats:
        """(k, m) predictions at (k, p) inputs."""
        return self.mean + sum(_kernel(x, self.x, bend) @ self.weights[b] for b, bend in enumerate(_BENDS))


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is believed of one account's parameters.

    Attributes:
        mean: (n_parameters,) levels. draws: (n_draws, n_parameters) equally likely ones.
    """

    mean: Floats
    draws: Floats

    @property
    def sd(self) -> Floats:
        """(n_parameters,) standard deviation."""
        return self.draws.std(axis=0)

    def interval(self, level: float = LEVEL) -> Floats:
        """(n_parameters, 2) ends of the central interval."""
        n = len(self.draws)
        rank = np.clip(np.ceil((1 - level) / 2 * (n + 1)).astype(int), 1, n)  # conformal: one more than n
        ordered = np.sort(self.draws, axis=0)
        return np.stack([ordered[rank - 1], ordered[n - rank]], axis=1)

    def bounds(self) -> Floats:
        """(n_parameters, 2) a box that holds all draws, with a standard deviation to spare on each side."""
        return np.stack([self.draws.min(axis=0) - self.sd, self.draws.max(axis=0) + self.sd], axis=1)


@dataclass(frozen=True, eq=False)
class Learner:
    """What figures say of parameters, learnt on worlds of the prior.

    Attributes:
        centre, scale: of the statistics that are read. levels, spread: the two regressions.
        errors: (n, n_parameters) by which left-out worlds missed, over their spread.
        prior_sd: (n_parameters,) of the levels learnt on.
    """

    centre: Floats
    scale: Floats
    levels: Smoother
    spread: Smoother
    errors: Floats
    prior_sd: Floats

    @classmethod
    def of(cls, draws: Draws) -> "Learner":
        """Learn on some worlds.

        Raises:
            BadInput: there are too few of them.
        """
        if len(draws) < LEAST_WORLDS:
            raise BadInput("worlds", len(draws), f"must be at least {LEAST_WORLDS}", "Simulate more worlds.")
        read = draws.statistics[:, READ]
        centre, scale = read.mean(axis=0), np.maximum(read.std(axis=0), 1e-9)
        x = _standardised(read, centre, scale)
        levels = Smoother.of(x, draws.levels)
        missed = draws.levels - levels.left_out
        spread = Smoother.of(x, np.log(np.abs(missed) + _LEAST_ERROR))
        return cls(centre, scale, levels, spread, missed / np.exp(spread.left_out), draws.levels.std(axis=0))

    def posterior(self, statistics: Floats) -> Posterior:
        """What (len(STATISTICS),) figures say."""
        x = _standardised(statistics[None, READ], self.centre, self.scale)
        mean = self.levels.predict(x)[0]
        spread = np.exp(self.spread.predict(x)[0])
        return Posterior(mean, mean + spread * self.errors)

    def explained(self) -> Floats:
        """(n_parameters,) share of the prior's variance that figures of left-out worlds explain."""
        missed = self.errors * np.exp(self.spread.left_out)
        return 1 - (missed**2).mean(axis=0) / self.prior_sd**2


def _standardised(statistics: Floats, centre: Floats, scale: Floats) -> Floats:
    return np.clip((statistics - centre) / scale, -_REACH, _REACH)


def _kernel(x: Floats, other: Floats, bend: float) -> Floats:
    n_inputs = x.shape[1]
    linear = x @ other.T / n_inputs
    if bend == 0:
        return linear
    return linear + bend * np.exp(-0.5 * cdist(x, other, "sqeuclidean") / n_inputs)
