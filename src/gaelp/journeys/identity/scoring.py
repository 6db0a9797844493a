"""What the comparisons of a pair are worth: the weights of Fellegi and Sunter, found without truth.

With m and u the chances of a level among pairs of one person and among pairs of two, the odds that a pair is
one person are `prior odds x product of m/u`.

Source: Fellegi, Sunter, "A theory for record linkage", JASA 64(328), 1969; Dempster, Laird, Rubin, JRSS B
39(1), 1977, for EM; Winkler, "Using the EM algorithm for weight computation in the Fellegi-Sunter model of
record linkage", 1988.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.journeys.identity.comparing import (
    DIFFERENT,
    N_COMPARISONS,
    N_LEVELS,
    SAME,
    SIZES,
    UNKNOWN,
    Floats,
)
from gaelp.journeys.identity.weighing import BINS_PER_LOG, LEAST_LOG_ODDS

PRECISION = 0.98
"""Share of links claimed from evidence that must be right, as far as logins can tell.

Where evidence finds half of all pairs, one wrong link in twenty mixes nearly one person in a hundred, twice
what is allowed; one in fifty does not.
"""
_ROUNDS, _TOLERANCE = 500, 1e-9
_SMOOTHING = 0.5


@dataclass(frozen=True, kw_only=True)
class LinkModel:
    """What the comparisons of a pair are worth.

    Attributes:
        prior: share of one-person pairs among those compared.
        m, u: (n_comparisons, n_levels) chance of each level, given that it can be told, among pairs of one
            person and of two; the column of level 0 is 1.
        n_pairs: pairs it was found from. n_same, n_different: those of them that logins decide.
        earned: least chance from which evidence may claim a link, as found by `earned_chance`; 1: it may not.

    Raises:
        BadInput: a chance is not above 0 and at most 1, the prior not between 0 and 1, or a shape is wrong.
    """

    prior: float
    m: Floats
    u: Floats
    n_pairs: int = 0
    n_same: int = 0
    n_different: int = 0
    earned: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.prior < 1.0:
            raise BadInput("prior", self.prior, "must be between 0 and 1", "Give a share of the pairs.")
        for name, chance in (("m", self.m), ("u", self.u)):
            if chance.shape != (N_COMPARISONS, N_LEVELS):
                allowed = f"must be {(N_COMPARISONS, N_LEVELS)}, comparisons by levels"
                raise BadInput(f"{name}.shape", chance.shape, allowed, "Use the result of `fit`.")
            if not ((chance > 0.0) & (chance <= 1.0)).all():
                raise BadInput(name, chance, "must be above 0 and at most 1", "Smooth counts of zero.")

    @property
    def weights(self) -> Floats:
        """(n_comparisons, n_levels) natural logarithm of m/u; 0 for level 0."""
        found: Floats = np.log(self.m / self.u)
        found[:, 0] = 0.0
        return found

    @property
    def log_prior_odds(self) -> float:
        """Natural logarithm of the prior odds."""
        return math.log(self.prior / (1.0 - self.prior))


def earned_chance(counts: NDArray[np.int64], prior: float) -> float:
    """Least chance above which evidence is shown to be right as often as `PRECISION`.

    The pairs that logins decide, looked at without their logins, show how often evidence is right. Of all
    thresholds the lowest is taken at which the lower end of a one-sided 95 % interval (Clopper and Pearson,
    Biometrika 26, 1934) for the pairs above it reaches the wanted precision. The best of many thresholds lies
    just above a pair of two people: that pair counts too, or luck would choose. Who logs in tends to do so on
    all devices, so pairs that logins decide are of one person more often than others: the pairs of two people
    count for as many as the prior says there are.

    Args:
        counts: (2, N_BINS) pairs by (different or same, bin of log-odds), see `judge_known`.
        prior: share of one-person pairs among those that logins do not decide.

    Returns:
        A chance; 1 where no threshold is good enough, 0 where logins decide no pair, so nothing is shown.
    """
    from scipy.stats import beta

    if not counts.sum():
        return 0.0
    different, same = (np.cumsum(row[::-1])[::-1].astype(float) for row in counts)
    if different[0] and same[0]:
        different += different < different[0]
        different *= max(1.0, (1.0 - prior) / prior * same[0] / different[0])
    low = np.where(same > 0, beta.ppf(0.05, np.maximum(same, 1), different + 1), 0.0)
    good = np.flatnonzero(low >= PRECISION)
    if not good.size:
        return 1.0
    return float(1.0 / (1.0 + math.exp(-(LEAST_LOG_ODDS + good[0] / BINS_PER_LOG))))


def fit(counts: NDArray[np.int64]) -> LinkModel:
    """Find prior, m and u by expectation maximisation.

    Pairs that logins decide are held at what the logins say; of all others nothing is known, and together
    they weigh no more than those: many unlabelled cases lead astray where the comparisons of a pair depend on
    each other (Nigam, McCallum, Thrun, Mitchell, Machine Learning 39, 2000). Without logins the classes are
    told apart by agreement alone: m begins at what agrees, u at what is seen on average.

    Args:
        counts: (3, N_PATTERNS) pairs by what logins say (UNKNOWN, SAME, DIFFERENT) and by pattern of levels.

    Raises:
        BadInput: there are no pairs.
    """
    used = np.flatnonzero(counts.sum(axis=0))
    if not used.size:
        raise BadInput("events", 0, "must have cookies that were seen at one address", "Add addresses.")
    n = counts[:, used].astype(float)
    levels = np.array(np.unravel_index(used, SIZES))  # (n_comparisons, n_used)
    m, u = _start(n.sum(axis=0), levels)
    if n[SAME].sum() and n[DIFFERENT].sum():
        m, u = _chances(n[SAME], levels), _chances(n[DIFFERENT], levels)
    n_known = n[SAME].sum() + n[DIFFERENT].sum()
    prior, weight = 0.3, 1.0
    if n[SAME].sum() and n[DIFFERENT].sum():
        prior = float(n[SAME].sum() / n_known)
        weight = min(1.0, n_known / max(n[UNKNOWN].sum(), 1.0))
    row = np.arange(N_COMPARISONS)[:, None]
    for _ in range(_ROUNDS):
        log_odds = math.log(prior / (1.0 - prior)) + (np.log(m) - np.log(u))[row, levels].sum(axis=0)
        is_same = 1.0 / (1.0 + np.exp(-log_odds))
        before = prior
        same = n[UNKNOWN] * is_same
        total = n[UNKNOWN].sum()
        if total:
            prior = float(np.clip(same.sum() / total, 1e-6, 1.0 - 1e-6))
        m = _chances(weight * same + n[SAME], levels)
        u = _chances(weight * (n[UNKNOWN] - same) + n[DIFFERENT], levels)
        if abs(prior - before) < _TOLERANCE:
            break
    of = n.sum(axis=1).astype(int)
    return LinkModel(
        prior=prior, m=m, u=u, n_pairs=int(of.sum()), n_same=int(of[SAME]), n_different=int(of[DIFFERENT])
    )


def _start(n: Floats, levels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Begin with m halving at each level away from agreement, and u as all pairs show."""
    u = _chances(n, levels)
    m = np.ones_like(u)
    for k, size in enumerate(SIZES.tolist()):
        m[k, 1:size] = 0.5 ** np.arange(size - 1)
        m[k, 1:size] *= u[k, 1:size]
        m[k, 1:size] /= m[k, 1:size].sum()
    return m, u


def _chances(n: Floats, levels: NDArray[np.int64]) -> Floats:
    """(n_comparisons, n_levels) shares of the levels that can be told, a little smoothed; 1 elsewhere."""
    found = np.ones((N_COMPARISONS, N_LEVELS))
    for k, size in enumerate(SIZES.tolist()):
        counted = np.bincount(levels[k], n, minlength=size)[1:] + _SMOOTHING
        found[k, 1:size] = counted / counted.sum()
    return found
