"""Patterns of journeys that convert: found in one half of the people, counted in the other.

The places in the space of `patterns.vectors` where purchases are densest are the luckiest too; so they are
picked by one half of the people, and their rates are those of the other half, which had no say in the choice.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.data.discovery.intervals import rate, wilson
from gaelp.data.discovery.visitors import Frame
from gaelp.data.patterns.kept import named
from gaelp.data.patterns.neighbours import Neighbours
from gaelp.data.patterns.parts import Part
from gaelp.data.patterns.vectors import FEATURES, VERSION, Vectors, vectors
from gaelp.journeys.batch import US_PER_DAY
from gaelp.journeys.bulk import OPEN

KEPT: Final = 40_000
"""Most journeys that patterns are looked for in, drawn from all."""
_MOST_PATTERNS, _MOST_CENTRES, _FEWEST_SOLD = 10, 1_000, 20


class Winning:
    """Keeps a sample of the journeys that ended, and finds patterns in it.

    Args:
        frame: of the source. seed: names the sample and the halves.
    """

    def __init__(self, frame: Frame, seed: int) -> None:
        self.frame = frame
        self._draws = np.random.default_rng(seed)
        self._vectors = np.zeros((0, len(FEATURES)), np.float32)
        self._key, self._sold, self._half = np.zeros(0), np.zeros(0, bool), np.zeros(0, bool)

    def add(self, part: Part) -> None:
        """Take some people's journeys that ended and opened at least the horizon before the end."""
        cuts, source = part.cuts, self.frame.source
        horizon_us = int(self.frame.horizon_days * US_PER_DAY)
        half = self._draws.integers(0, 2, part.n_people).astype(bool)
        key = self._draws.random(cuts.first.size)
        ripe = source.end_us - cuts.opened_us >= horizon_us
        which = np.flatnonzero((cuts.ended_us != OPEN) & (cuts.n_touches > 0) & ripe)
        if which.size > KEPT:
            which = np.sort(which[np.argsort(key[which])[:KEPT]])
        made = vectors(part.touches(which, source.channels, source.devices))
        columns = (made, key[which], part.converted[which], half[cuts.person[which]])
        before = (self._vectors, self._key, self._sold, self._half)
        joined: list[NDArray[Any]] = [
            np.concatenate([one, other]) for one, other in zip(before, columns, strict=True)
        ]
        kept = np.sort(np.argsort(joined[1], kind="stable")[:KEPT])
        self._vectors, self._key, self._sold, self._half = (each[kept] for each in joined)

    def as_dict(self) -> dict[str, Any]:
        """The section `patterns` of the JSON."""
        told: dict[str, Any] = {"features": VERSION, "journeys": int(self._key.size)}
        first, second = ~self._half, self._half
        fewest = min(int(self._sold[half].sum()) for half in (first, second))
        if fewest < _FEWEST_SOLD:
            reason = f"fewer than {_FEWEST_SOLD} journeys with a purchase in a half of the people"
            return {**told, "unknown": reason}
        centres = _centres(self._vectors[first], self._sold[first])
        judge, sold = Neighbours(self._vectors[second]), self._sold[second]
        usual = rate(int(sold.sum()), sold.size)
        items: list[dict[str, Any]] = []
        for centre, radius, chosen_by in centres:
            row = judge.within(centre, radius)
            found = rate(int(sold[row].sum()), row.size)
            items.append(
                {
                    "features": named(centre),
                    "radius": radius,
                    "chosen_by": chosen_by,
                    "conversion": found,
                    "above_usual": bool(found["low"] > usual["rate"]),
                }
            )
        order = sorted(range(len(items)), key=lambda i: (-items[i]["conversion"]["low"], i))
        return {**told, "usual": usual, "items": [items[i] for i in order]}


def _centres(rows: Vectors, sold: Any) -> list[tuple[Vectors, float, dict[str, Any]]]:
    """Journeys with a purchase around which purchases are densest, each away from those before it."""
    index = Neighbours(rows)
    k = int(np.clip(rows.shape[0] // 100, 20, 200))
    asked = np.unique(rows[sold], axis=0)[:_MOST_CENTRES]
    ranked = []
    for i, centre in enumerate(asked):
        distance, near = index.as_near(centre, min(k, rows.shape[0]))
        won = int(sold[near].sum())
        ranked.append((-wilson(won, near.size)[0], i, float(distance[-1]), rate(won, near.size)))
    found: list[tuple[Vectors, float, dict[str, Any]]] = []
    for _, i, radius, counted in sorted(ranked, key=lambda each: each[:2]):
        apart = all(np.linalg.norm(asked[i] - other) > max(radius, 1e-6) for other, _, _ in found)
        if apart and len(found) < _MOST_PATTERNS:
            found.append((asked[i], radius, counted))
    return found
