"""Discovered segments, and which of them an observed visitor belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gaelp.data.discovery.found import Discovered
from gaelp.journeys.batch import Ints

EVERYBODY = "everybody"
_ALL = "all visitors"  # as discovery calls its only segment
_OTHER = "other"


@dataclass(frozen=True)
class Segments:
    """Segments as the updater knows them.

    Attributes:
        discovered: what discovery found; None before the first one, when everybody is one segment.
    """

    discovered: Discovered | None = None

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Their ids, the largest first; they name segments within one discovery only."""
        return tuple(each["id"] for each in self._items) or (EVERYBODY,)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their readable names, as `ids`."""
        return tuple(each["name"] for each in self._items) or (_ALL,)

    def assign(self, traits: Sequence[dict[str, str]]) -> Ints:
        """(n,) index of the likeliest segment of visitors with these traits, as `data.discovery` names them.

        A category that discovery had not met counts as its category "other", or else as not told.
        """
        if self.discovered is None or len(self._items) < 2:
            return np.zeros(len(traits), np.int64)
        known = self._items[0]["traits"]
        found = []
        for each in traits:
            met = {}
            for trait, category in each.items():
                there = known.get(trait, ())
                if category in there or _OTHER in there:
                    met[trait] = category if category in there else _OTHER
            chance = self.discovered.segment_of(met)
            found.append(int(np.argmax([chance[name] for name in self.ids])))
        return np.array(found, np.int64)

    @cached_property
    def _items(self) -> list[dict[str, Any]]:
        if self.discovered is None:
            return []
        items: list[dict[str, Any]] = self.discovered.data["segments"].get("items") or []
        return items
