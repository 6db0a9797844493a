"""All patterns of one moment as arrays, and what is told of those near to a journey."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.data.patterns.neighbours import Neighbours
from gaelp.data.patterns.schema import pattern_journeys, pattern_shown
from gaelp.data.patterns.vectors import FEATURES, Vectors
from gaelp.journeys.batch import Ints
from gaelp.journeys.schema import aliases
from gaelp.journeys.writing import names_by_code

LOST: Final = ""
"""Stands for a purchase where a journey was lost."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A journey that ended.

    Attributes:
        distance: from the one asked for, see `vectors`. conversion_id: its purchase; None: it was lost.
        value_micros: of the purchase. currency: ISO 4217, None without a purchase.
        features: those above 0, by name.
    """

    distance: float
    conversion_id: str | None
    value_micros: int
    currency: str | None
    features: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What became of journeys like a given one.

    Attributes:
        neighbours: the k nearest, the nearest first.
        journeys: all that are at most as far as the last of these. conversions: purchases among them.
    """

    neighbours: tuple[Neighbour, ...]
    journeys: int
    conversions: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """All patterns of one moment.

    Attributes:
        alias_id, opened_us, value_micros, currency: (n,) as the table has them.
        conversion_id: (n,) "" for a lost journey. index: of their vectors.
        shown: rows by creative. currencies: names by code. revision: of the store.
    """

    alias_id: Ints
    opened_us: Ints
    value_micros: Ints
    currency: Ints
    conversion_id: list[str]
    index: Neighbours
    shown: dict[str, Ints]
    currencies: list[str]
    revision: str

    @property
    def converted(self) -> Any:
        """(n,) whether each ended with a purchase."""
        return np.array([each != LOST for each in self.conversion_id], bool)


def read_kept(connection: sa.Connection, revision: str) -> Kept:
    """All patterns.

    Args:
        connection: of a reading transaction. revision: of the store.

    Raises:
        BadInput: there are none.
    """
    j, s = pattern_journeys.c, pattern_shown.c
    known = j.alias_id.in_(sa.select(aliases.c.id))  # forgotten people are no neighbours
    rows = connection.execute(
        sa.select(j.alias_id, j.opened_us, j.value_micros, j.currency, j.conversion_id, j.vector)
        .where(known)
        .order_by(j.alias_id, j.opened_us)
    ).all()
    if not rows:
        raise BadInput("patterns", "none kept", "must hold a journey that ended", "Call `update` first.")
    columns = list(zip(*rows, strict=True))
    of = {(row[0], row[1]): i for i, row in enumerate(rows)}
    shown: dict[str, list[int]] = {}
    for alias_id, opened_us, creative in connection.execute(
        sa.select(s.alias_id, s.opened_us, s.creative).order_by(s.creative, s.alias_id, s.opened_us)
    ):
        if (alias_id, opened_us) in of:
            shown.setdefault(creative, []).append(of[alias_id, opened_us])
    made = np.frombuffer(b"".join(columns[5]), "<f4").reshape(len(rows), len(FEATURES))
    return Kept(
        alias_id=np.array(columns[0], np.int64),
        opened_us=np.array(columns[1], np.int64),
        value_micros=np.array(columns[2], np.int64),
        currency=np.array(columns[3], np.int64),
        conversion_id=list(columns[4]),
        index=Neighbours(made),
        shown={name: np.array(each, np.int64) for name, each in shown.items()},
        currencies=names_by_code(connection, "currency"),
        revision=revision,
    )


def named(vector: Vectors) -> dict[str, float]:
    """Features above 0 by name, of one vector, (n_features,)."""
    return {FEATURES[i]: round(float(vector[i]), 4) for i in np.flatnonzero(vector).tolist()}
