"""The cross-entropy method: search a few numbers by keeping the best of many tries.

Source: Rubinstein, Kroese, "The cross-entropy method", 2004; de Boer et al., Annals of OR 2005 (smoothed
updates).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Round:
    """One round of the search.

    Attributes:
        mean, sigma: (n,) the distribution after the round.
        scores: (n_tries,) of this round's tries, in the order they were drawn.
        tries: (n_tries, n) what was tried.
    """

    mean: Floats
    sigma: Floats
    scores: Floats
    tries: Floats


def cross_entropy(
    score: Callable[[Floats, int], Floats],
    mean: Floats,
    sigma: Floats,
    *,
    n_tries: int,
    n_elite: int,
    generator: np.random.Generator,
    smoothing: float = 0.7,
    floor: float = 0.05,
    stop: Callable[[int, list[Round]], bool],
) -> list[Round]:
    """Maximise `score` over vectors by a Gaussian that follows its best tries.

    Args:
        score: (n_tries, n) tries and the round's number -> (n_tries,) scores, larger is better.
        mean, sigma: (n,) where to begin. n_tries, n_elite: drawn and kept per round.
        generator: draws the tries. smoothing: share of the elite in the new mean and sigma.
        floor: sigma never falls below it. stop: asked after each round.

    Returns:
        The rounds; the last one's mean is the answer.

    >>> target = np.array([0.3, -0.7])
    >>> found = cross_entropy(
    ...     lambda tries, _: -((tries - target) ** 2).sum(axis=1), np.zeros(2), np.ones(2),
    ...     n_tries=40, n_elite=8, generator=np.random.default_rng(1), stop=lambda n, _: n >= 15)
    >>> bool(np.abs(found[-1].mean - target).max() < 0.05)
    True
    """
    rounds: list[Round] = []
    mean, sigma = mean.astype(float), sigma.astype(float)
    while not rounds or not stop(len(rounds), rounds):
        half = generator.standard_normal(((n_tries + 1) // 2, mean.size))
        noise = np.concatenate([half, -half])[:n_tries]  # antithetic: the tries' mean is the mean
        tries = mean + sigma * noise
        tries[0] = mean
        scores = score(tries, len(rounds))
        elite = tries[np.argsort(-scores, kind="stable")[:n_elite]]
        mean = smoothing * elite.mean(axis=0) + (1.0 - smoothing) * mean
        sigma = np.maximum(smoothing * elite.std(axis=0) + (1.0 - smoothing) * sigma, floor)
        rounds.append(Round(mean.copy(), sigma.copy(), scores, tries))
    return rounds
