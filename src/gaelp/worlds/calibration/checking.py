"""How well a calibrated market fits, and whether intervals keep their word."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from gaelp.core.errors import BadInput
from gaelp.core.words import Channel
from gaelp.data.calibration_targets import OTHER, Observed
from gaelp.prediction.metrics import response_metrics
from gaelp.worlds.calibration.inference import Learner
from gaelp.worlds.calibration.simulating import Draws

Floats = NDArray[np.float64]

_FOLDS: Final = 5
_BINS: Final = 10
_Z: Final = 1.959963984540054

JOURNEY_COLUMNS: Final = (
    *(f"visits_{channel.name.lower()}" for channel in Channel),
    "visits_other",
    *("first_hour", "hour_of_day", "weekday", "hours_between", "longest_pause", "device", "logged_in"),
    *("sales", "sale_after_hours"),
)
"""What the classifier sees of a known person."""


class Area(NamedTuple):
    """Area under a curve, with its 95 % interval and the rows of each kind."""

    auc: float
    low: float
    high: float
    n_real: int
    n_simulated: int


@dataclass(frozen=True, eq=False)
class Coverage:
    """Whether true levels lie in intervals as often as these claim.

    Attributes:
        share: of all (world, parameter) pairs inside. se: its standard error; worlds are what is drawn.
        by_parameter: (n_parameters,). ranks: (n_worlds, n_parameters) of the truth among the posterior's
            draws, from 0 to 1. uniform_p: (n_parameters,) of a chi-squared test that ranks are uniform.
        shrinkage: (n_parameters,) mean posterior standard deviation over the prior's.
        correlation: (n_parameters,) of posterior mean and truth.
    """

    share: float
    se: float
    by_parameter: Floats
    ranks: Floats
    uniform_p: Floats
    shrinkage: Floats
    correlation: Floats


def coverage(learner: Learner, held: Draws) -> Coverage:
    """Judge intervals on worlds that nothing was learnt on.

    Args:
        learner: judged. held: worlds of known levels.

    Source: ranks, Talts et al., "Validating Bayesian inference algorithms with simulation-based
    calibration" (2018), section 4.
    """
    inside, ranks, sds, means = [], [], [], []
    for levels, statistics in zip(held.levels, held.statistics, strict=True):
        found = learner.posterior(statistics)
        low, high = found.interval().T
        inside.append((levels >= low) & (levels <= high))
        ranks.append((found.draws < levels).mean(axis=0))
        sds.append(found.sd)
        means.append(found.mean)
    is_in, rank = np.array(inside), np.array(ranks)
    by_world = is_in.mean(axis=1)
    return Coverage(
        share=float(is_in.mean()),
        se=float(by_world.std(ddof=1) / np.sqrt(len(by_world))),
        by_parameter=is_in.mean(axis=0),
        ranks=rank,
        uniform_p=uniform_p(rank),
        shrinkage=np.mean(sds, axis=0) / learner.prior_sd,
        correlation=np.array(
            [
                np.corrcoef(mean, true)[0, 1]
                for mean, true in zip(np.array(means).T, held.levels.T, strict=True)
            ]
        ),
    )


def uniform_p(ranks: Floats) -> Floats:
    """(m,) chi-squared p-values that each column of (n, m) ranks from 0 to 1 is uniform.

    >>> uniform_p(np.linspace(0, 1, 101)[:, None]).round(2).tolist()
    [1.0]
    """
    n = len(ranks)
    bins = max(2, min(_BINS, n // 5))
    counts = np.stack([np.histogram(column, bins, (0.0, 1.0))[0] for column in ranks.T])
    return np.asarray(chi2.sf(((counts - n / bins) ** 2 / (n / bins)).sum(axis=1), bins - 1))


def predictive_p(real: Floats, simulated: Floats) -> Floats:
    """(n_statistics,) two-sided posterior-predictive p-values.

    Args:
        real: (n_statistics,). simulated: (n_worlds, n_statistics) of worlds of the posterior.

    Source: Gelman, Meng and Stern (Statistica Sinica 6, 1996); one is added so that none is 0.

    >>> predictive_p(np.array([0.5, 9.0]), np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])).tolist()
    [1.0, 0.5]
    """
    n = len(simulated)
    above = (simulated >= real).sum(axis=0)
    below = (simulated <= real).sum(axis=0)
    return np.minimum(1.0, 2.0 * (1 + np.minimum(above, below)) / (n + 1))


def journey_table(observed: Observed) -> Floats:
    """(n_people, len(JOURNEY_COLUMNS)) journeys of known people who came, in no order."""
    rows = np.flatnonzero(observed.person >= 0)
    rows = rows[np.lexsort((observed.hour[rows], observed.person[rows]))]
    people, first, code = np.unique(observed.person[rows], return_index=True, return_inverse=True)
    hour = observed.hour[rows]
    n = people.size
    by_channel = np.zeros((n, OTHER + 1))
    np.add.at(by_channel, (code, observed.channel[rows]), 1)
    last = np.append(first[1:], rows.size) - 1
    pause = np.diff(hour, prepend=hour[:1])
    pause[first] = 0
    longest = np.maximum.reduceat(pause, first) if n else pause
    logged_in = np.zeros(n)
    np.maximum.at(logged_in, code, observed.is_logged_in[rows])
    sold = np.isin(observed.sale_person, people)
    buyer = np.searchsorted(people, observed.sale_person[sold])
    sales = np.bincount(buyer, minlength=n)
    after = np.full(n, np.nan)
    after[buyer] = observed.sale_hour[sold] - hour[first[buyer]]
    columns = (
        *by_channel.T,
        hour[first],
        hour[first] % 24,
        hour[first] // 24 % 7,
        hour[last] - hour[first],
        longest,
        observed.device[rows][first],
        logged_in,
        sales,
        after,
    )
    return np.stack([np.asarray(column, float) for column in columns], axis=1)


def journey_area(real: Observed, simulated: Sequence[Observed], seed: int) -> Area:
    """How well gradient boosting tells real journeys from simulated ones: .5 not at all, 1 always.

    Cross-validated: each journey is judged by trees that have not seen it, and compared with those that
    the same trees judged; pooled over folds, trees of another level make noise look worse than .5.

    Args:
        real: what was observed. simulated: worlds of the calibrated market. seed: of the folds.

    Raises:
        BadInput: too few known people for the folds.

    Source: LeDell, Petersen and van der Laan, "Computationally efficient confidence intervals for
    cross-validated area under the ROC curve estimates" (Electronic Journal of Statistics 9, 2015).
    """
    ensemble: Any = import_module("sklearn.ensemble")
    selection: Any = import_module("sklearn.model_selection")
    tables = [journey_table(real), np.concatenate([journey_table(each) for each in simulated])]
    n_real, n_simulated = map(len, tables)
    if min(n_real, n_simulated) < 10 * _FOLDS:
        allowed = f"must be at least {10 * _FOLDS} people with consent"
        raise BadInput("journeys", min(n_real, n_simulated), allowed, "Export more days.")
    table = np.concatenate(tables)
    label = np.arange(len(table)) < n_real
    folds = selection.StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    trees = ensemble.HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_leaf_nodes=15, random_state=seed
    )
    chance = selection.cross_val_predict(trees, table, label, cv=folds, method="predict_proba")[:, 1]
    told = [response_metrics(label[fold], chance[fold]) for _, fold in folds.split(table, label)]
    auc = float(np.mean([each["auc"] for each in told]))
    se = float(np.linalg.norm([each["auc_se"] for each in told])) / _FOLDS
    return Area(auc, max(0.0, auc - _Z * se), min(1.0, auc + _Z * se), n_real, n_simulated)
