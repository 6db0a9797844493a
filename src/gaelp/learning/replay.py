"""Learning more from what is rare or surprising, and correcting for it.

`Replay` keeps whole sequences of the last policies and draws the surprising ones more often; `oversample`
draws rare people more often. Both hand out weights that undo the drawing in every mean, and the two are
kept apart: p / q belongs to a sequence for good, a replay weight to one drawing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.learning.sequences import Sequences, join

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """How sequences are kept and drawn.

    Attributes:
        versions: of the policy whose sequences are kept. share: of a batch that is replayed, at most half.
        exponent: of a sequence's surprise, the sum of its absolute advantages. epsilon: added to it.
        uniform: share of draws that ignore it. first_beta: exponent of the weights at the first epoch; 1
            at the last. least_effective: a version whose effective sample size falls below this share is
            dropped.
    """

    versions: int = 4
    share: float = 0.5
    exponent: float = 0.6
    epsilon: float = 1e-3
    uniform: float = 0.2
    first_beta: float = 0.4
    least_effective: float = 0.3

    def __post_init__(self) -> None:
        if self.versions < 1:
            raise BadInput("versions", self.versions, "must be at least 1", "Switch replay off by None.")
        if not 0.0 < self.share <= 0.5:
            raise BadInput("share", self.share, "must be above 0 and at most .5", "Keep half of it fresh.")
        for name in ("exponent", "uniform", "first_beta", "least_effective"):
            if not 0.0 <= (value := getattr(self, name)) <= 1.0:
                raise BadInput(name, value, "must lie in 0..1", "Give a share or an exponent.")
        if not 0.0 < self.epsilon < np.inf:
            raise BadInput("epsilon", self.epsilon, "must be above 0", "Without it some are never drawn.")


def chances(surprise: Floats, settings: ReplaySettings) -> Floats:
    """Probability of drawing each sequence; sums to 1.

    Source: Schaul et al., "Prioritized Experience Replay", ICLR 2016, section 3.3, mixed with a uniform.

    >>> chances(np.array([0.0, 1.0, 32.0]), ReplaySettings(exponent=0.6, epsilon=1e-12)).round(3).tolist()
    [0.067, 0.156, 0.778]
    """
    power = (surprise + settings.epsilon) ** settings.exponent
    return (1.0 - settings.uniform) * power / power.sum() + settings.uniform / len(power)


def effective_share(weight: Floats) -> float:
    """Effective sample size over the size: (sum w)^2 / (n sum w^2), 1 where all weigh the same.

    >>> effective_share(np.array([1.0, 1.0, 0.0, 0.0]))
    0.5
    """
    return float(weight.sum() ** 2 / (len(weight) * (weight**2).sum()))


class Replay:
    """Sequences of the last policy versions, with how surprising each was when last looked at."""

    def __init__(self, settings: ReplaySettings) -> None:
        self.settings = settings
        self._kept: dict[int, tuple[Sequences, Floats]] = {}

    @property
    def versions(self) -> list[int]:
        """Policy versions kept, oldest first."""
        return list(self._kept)

    def __len__(self) -> int:
        return sum(len(sequences) for sequences, _ in self._kept.values())

    def add(self, version: int, sequences: Sequences, surprise: Floats) -> None:
        """Keep what a version of the policy lived through; the oldest beyond `versions` goes.

        Args:
            sequences: of this version alone. surprise: (n_sequences,) sums of absolute advantages.
        """
        self._kept[version] = (sequences, np.asarray(surprise, np.float64))
        for old in self.versions[: -self.settings.versions]:
            del self._kept[old]

    def draw(self, n: int, beta: float, generator: np.random.Generator) -> tuple[Sequences, Ints]:
        """Draw sequences with replacement.

        Args:
            n: how many. beta: 0 leaves the drawing uncorrected, 1 undoes it.

        Returns:
            sequences: `weight` times (N p) ** -beta, over the largest. index: (n,) for `look_again`.
        """
        p = chances(np.concatenate([surprise for _, surprise in self._kept.values()]), self.settings)
        index = generator.choice(len(p), n, p=p)
        weight = (len(p) * p[index]) ** -beta
        drawn = join([sequences for sequences, _ in self._kept.values()]).take(index)
        return replace(drawn, weight=drawn.weight * weight / weight.max()), index

    def look_again(self, index: Ints, surprise: Floats) -> None:
        """Note how surprising drawn sequences are now; `index` as `draw` gave it, before any `add`."""
        begin = 0
        for sequences, kept in self._kept.values():
            here = (begin <= index) & (index < begin + len(sequences))
            kept[index[here] - begin] = surprise[here]
            begin += len(sequences)

    def drop(self, versions: list[int]) -> None:
        """Forget what some versions did."""
        for version in versions:
            self._kept.pop(version, None)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that is kept, by name."""
        return {
            f"replay.{version}.{name}": array
            for version, (sequences, surprise) in self._kept.items()
            for name, array in ({n: getattr(sequences, n) for n in _FIELDS} | {"surprise": surprise}).items()
        }

    def restore(self, versions: list[int], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `arrays` told of `versions`."""
        for version in versions:
            columns = {name: arrays[f"replay.{version}.{name}"] for name in _FIELDS}
            self._kept[version] = (Sequences(**columns), arrays[f"replay.{version}.surprise"])


_FIELDS = tuple(field.name for field in fields(Sequences))


def oversample(
    rare: NDArray[np.bool_], share: float, n: int, generator: np.random.Generator
) -> tuple[Ints, Floats]:
    """Draw people with a fixed share of rare ones, and the weights that make means those of all people.

    Rare ones are `round(share n)` of the draw, at least one, and everybody is drawn uniformly within his
    kind. The weights p / q then sum to `n` in every draw: normalising them changes nothing, so a weighted
    mean is unbiased, and their spread is known beforehand.

    Args:
        rare: (n_people,). share: of rare ones in the draw, in 0..1. n: people to draw.
        generator: draws, with replacement, in random order.

    Returns:
        chosen: (n,) people. weight: (n,) p / q; ones where there are only rare people, or none.

    Raises:
        BadInput: `share` leaves no room for either kind.

    >>> rare = np.arange(1000) < 20
    >>> chosen, weight = oversample(rare, 0.25, 400, np.random.default_rng(0))
    >>> int(rare[chosen].sum()), sorted(set(weight.round(4).tolist()))
    (100, [0.08, 1.3067])
    """
    if not rare.any() or rare.all():
        return generator.integers(0, len(rare), n), np.ones(n)
    n_rare = max(1, round(share * n))
    if not 0.0 <= share < 1.0 or n_rare >= n:
        allowed = "must lie in 0..1 and leave room for the others"
        raise BadInput("share", share, allowed, f"Draw more than {n} people, or fewer rare ones.")
    order = generator.permutation(np.arange(n) < n_rare)
    weight = np.where(order, rare.mean() * n / n_rare, (1.0 - rare.mean()) * n / (n - n_rare))
    chosen = np.empty(n, np.int64)
    for kind in (True, False):
        people = np.flatnonzero(rare == kind)
        chosen[order == kind] = people[generator.integers(0, len(people), int((order == kind).sum()))]
    return chosen, weight
