"""Named features: each with a unit, a normalisation and a source, in tables that a checkpoint can name."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from gaelp.core.errors import MismatchError

_NAMED = 5


@dataclass(frozen=True)
class Feature:
    """One number that a policy may see.

    Attributes:
        name: unique in its table. unit: after normalisation.
        normalisation: what is done to the raw figure, in words. source: where an account shows it.
    """

    name: str
    unit: str
    normalisation: str
    source: str


@dataclass(frozen=True)
class FeatureTable:
    """An ordered table of features; column `i` of an observation is `features[i]`.

    Attributes:
        name: of the table, as errors say it. features: in column order.
    """

    name: str
    features: tuple[Feature, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in column order."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def version(self) -> str:
        """12 hexadecimal digits over names, units and normalisations, in order."""
        told = [(feature.name, feature.unit, feature.normalisation) for feature in self.features]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]

    def __len__(self) -> int:
        return len(self.features)

    def index(self, name: str) -> int:
        """Column of a feature."""
        return self.names.index(name)

    def require(self, version: str, names: Sequence[str]) -> None:
        """Refuse what was made for another table.

        Args:
            version, names: of the table that a checkpoint was trained on.

        Raises:
            MismatchError: naming the features that differ.
        """
        if version == self.version and tuple(names) == self.names:
            return
        new = [name for name in self.names if name not in names]
        gone = [name for name in names if name not in self.names]
        parts = [f"{what} {_some(found)}" for what, found in (("without", new), ("with", gone)) if found]
        if not parts:
            moved = [name for name, old in zip(self.names, names, strict=True) if name != old]
            parts = [
                f"in another order from {moved[0]} on" if moved else "with other units or normalisations"
            ]
        raise MismatchError(
            f"{self.name} features",
            f"version {version}, {' and '.join(parts)}",
            f"must be version {self.version}",
            "Train again with this version, or use the version it was trained with.",
        )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {more} more" if more > 0 else "")
