"""Latent classes: a mixture in which a visitor's traits are independent of each other within a class.

With one class the traits are independent of each other, so "no segments" is a model like any other, and the
criterion may choose it. Traits that are not told are left out of the likelihood.

Source: Lazarsfeld and Henry, Latent Structure Analysis (1968); fitted by EM; number of classes by the
Bayesian information criterion, Schwarz, Annals of Statistics 6 (1978), as Nylund, Asparouhov and Muthén,
Structural Equation Modeling 14 (2007), find it best for such models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gaelp.data.discovery.intervals import Floats
from gaelp.journeys.batch import Ints

_STEPS: Final = 500
_CLOSE: Final = 1e-7  # of the log-likelihood, relative
_PRIOR: Final = 0.5  # visitors added to each category, in the margins' proportions: keeps shares above 0


@dataclass(frozen=True, eq=False)
class ResponsePatterns:
    """Visitors with equal traits, counted together.

    Attributes:
        codes: (n_patterns, n_traits) categories, -1 where not told. n: (n_patterns,) visitors.
        of: (n_visitors,) pattern of each. sizes: categories of each trait.
    """

    codes: NDArray[np.int8]
    n: Ints
    of: Ints
    sizes: tuple[int, ...]

    @classmethod
    def of_traits(cls, traits: NDArray[np.int8], sizes: Sequence[int]) -> "ResponsePatterns":
        """Those of visitors, (n_visitors, n_traits)."""
        base = np.zeros(traits.shape[0], np.int64)
        for column, size in zip(traits.T, sizes, strict=True):
            base = base * (size + 1) + column + 1
        _, first, of, n = np.unique(base, return_index=True, return_inverse=True, return_counts=True)
        return cls(traits[first], n, of, tuple(sizes))

    def told(self) -> Floats:
        """(n_patterns, n_categories) 1 where a trait has the category, over all traits."""
        columns = [
            (column[:, None] == np.arange(size)).astype(float)
            for column, size in zip(self.codes.T, self.sizes, strict=True)
        ]
        return np.concatenate(columns, axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """A fitted mixture.

    Attributes:
        share: (k,) of visitors. chance: (k, n_categories) of each category, summing to 1 within a trait.
        log_likelihood: of the visitors fitted. n_parameters: free ones.
    """

    share: Floats
    chance: Floats
    log_likelihood: float
    n_parameters: int

    def bic(self, n: int) -> float:
        """The criterion, lower is better, for `n` visitors."""
        return float(-2 * self.log_likelihood + self.n_parameters * np.log(n))

    def joint(self, told: Floats) -> Floats:
        """(n_patterns, k) log of class share times likelihood."""
        return np.asarray(told @ np.log(self.chance).T + np.log(self.share))

    def posterior(self, told: Floats) -> Floats:
        """(n_patterns, k) probabilities of the classes."""
        joint = self.joint(told)
        joint -= joint.max(axis=1, keepdims=True)
        weight = np.exp(joint)
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def fit(
    patterns: ResponsePatterns, n: NDArray[np.int64], k: int, starts: int, draws: np.random.Generator
) -> Classes:
    """The best of several fits from random starts.

    Args:
        patterns: which there are. n: (n_patterns,) visitors of each, 0 allowed. k: classes.
        starts: fits. draws: of their starts.
    """
    told, sizes = patterns.told(), patterns.sizes
    weight = n.astype(float)
    margins = _within_traits(weight @ told + 1e-3, sizes)
    parameters = k - 1 + k * sum(size - 1 for size in sizes)
    best: Classes | None = None
    for _ in range(starts if k > 1 else 1):
        members = draws.dirichlet(np.full(k, 0.5), size=n.size) if k > 1 else np.ones((n.size, 1))
        found = _climb(told, weight, margins, sizes, members, parameters)
        if best is None or found.log_likelihood > best.log_likelihood:
            best = found
    assert best is not None
    return best


def _climb(
    told: Floats, weight: Floats, margins: Floats, sizes: tuple[int, ...], members: Floats, parameters: int
) -> Classes:
    before = -np.inf
    for _ in range(_STEPS):
        held = members * weight[:, None]
        size = held.sum(axis=0) + 1e-9
        chance = _within_traits(held.T @ told + _PRIOR * margins, sizes)
        made = Classes(share=size / size.sum(), chance=chance, log_likelihood=before, n_parameters=parameters)
        joint = made.joint(told)
        top = joint.max(axis=1)
        scaled = np.exp(joint - top[:, None])
        total = scaled.sum(axis=1)
        reached = float(weight @ (top + np.log(total)))
        members = scaled / total[:, None]
        if reached - before < _CLOSE * abs(reached):
            break
        before = reached
    return Classes(share=made.share, chance=chance, log_likelihood=reached, n_parameters=parameters)


def _within_traits(counts: Floats, sizes: tuple[int, ...]) -> Floats:
    """Counts over categories, (..., n_categories), as shares that sum to 1 within each trait."""
    made, begin = np.array(counts, float), 0
    for size in sizes:
        part = made[..., begin : begin + size]
        part /= part.sum(axis=-1, keepdims=True)
        begin += size
    return made
