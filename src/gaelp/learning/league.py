"""A league of self-play: frozen networks of earlier epochs that fly further seats while the next one learns.

Two opponents an epoch: the network as the last epoch left it, and one drawn evenly from all epochs before
that. The latest is the strongest there is; older ones keep the learner from forgetting what beat them.

Source: Bansal et al., "Emergent Complexity via Multi-Agent Competition", ICLR 2018, on opponent sampling:
opponents are drawn evenly from older versions.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.random import named_seed

Weights = Mapping[str, NDArray[Any]]
SIZE = 8
"""Earlier networks that are kept: an even draw from all epochs, however many there were."""


class League:
    """Networks of earlier epochs of one training.

    Args:
        seed: of the training; names all draws. networks: weights by the number of epochs they had learnt
            from, as a checkpoint keeps them.

    >>> league = League(0)
    >>> for epoch in range(100):
    ...     league.freeze(epoch, {})
    >>> len(league.networks)
    8
    """

    def __init__(self, seed: int, networks: Mapping[int, Weights] | None = None) -> None:
        self._seed = seed
        self.networks: dict[int, Weights] = dict(networks or {})

    def opponents(self, epoch: int, latest: Weights) -> tuple[Weights, Weights]:
        """Who flies the further seats of an epoch.

        Args:
            epoch: that is to be lived. latest: the network that will learn from it.

        Returns:
            `latest`, and one of the earlier networks; `latest` again where there is none.
        """
        if not self.networks:
            return latest, latest
        drawn = self._luck("opponent", epoch).integers(len(self.networks))
        return latest, self.networks[sorted(self.networks)[drawn]]

    def freeze(self, epoch: int, weights: Weights) -> None:
        """Take in the network that had learnt from `epoch` epochs, the next after those before.

        Each epoch so far stays with equal chance (Vitter, "Random Sampling with a Reservoir", ACM TOMS 11(1),
        1985, algorithm R).
        """
        if len(self.networks) == SIZE:
            leaves = int(self._luck("league", epoch).integers(epoch + 1))
            if leaves >= SIZE:
                return
            del self.networks[sorted(self.networks)[leaves]]
        self.networks[epoch] = {name: np.array(value) for name, value in weights.items()}

    def _luck(self, purpose: str, epoch: int) -> np.random.Generator:
        return np.random.default_rng(named_seed(purpose, self._seed, epoch))
