"""Who is who: aliases, the identities they belong to, and merges of identities that can be undone.

Every alias is born with an identity of its own. A merge draws an arrow from one identity to another; the
identity at the end of the arrows, the root, stands for the person. Nothing else changes, so taking the arrow
away brings back exactly what was there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.journeys.batch import Ints
from gaelp.journeys.database import Database
from gaelp.journeys.schema import aliases, identities, settings


def next_codes(connection: sa.Connection, counter: str, how_many: int) -> int:
    """Take some codes from a counter; the first of them is given back. Only within `writing`."""
    row = settings.c.name == counter
    first = connection.execute(sa.select(settings.c.value).where(row)).scalar_one()
    connection.execute(settings.update().where(row).values(value=first + how_many))
    return int(first)


def known(
    database: Database, connection: sa.Connection, people: Sequence[str]
) -> dict[str, tuple[int, int, int]]:
    """The alias, identity and root of those people that are known."""
    rows = connection.execute(
        sa.select(aliases.c.name, aliases.c.id, aliases.c.identity_id, identities.c.root_id)
        .join(identities, identities.c.id == aliases.c.identity_id)
        .where(database.among(aliases.c.name, list(people)))
    )
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def get_or_create(
    database: Database, connection: sa.Connection, people: Sequence[str], now_us: int
) -> tuple[Ints, Ints, Ints]:
    """Codes of people, made where they are new.

    Args:
        database: to look in.
        connection: of its `writing`.
        people: ids, all different.
        now_us: birth of the new ones.

    Returns:
        alias and root of each, (n,); and which are new, indices.
    """
    found = known(database, connection, people)
    new = [i for i, name in enumerate(people) if name not in found]
    alias, root = np.zeros(len(people), np.int64), np.zeros(len(people), np.int64)
    for i, name in enumerate(people):
        if name in found:
            alias[i], _, root[i] = found[name]
    if new:
        first = next_codes(connection, "next_identity", len(new))
        made = np.arange(first, first + len(new))
        alias[new] = root[new] = made
        size = len(new)
        database.insert(
            connection,
            identities,
            {
                "id": made,
                "root_id": made,
                "created_us": [now_us] * size,
                "unsettled": [1] * size,
            },
        )
        database.insert(
            connection,
            aliases,
            {
                "id": made,
                "name": [people[i] for i in new],
                "identity_id": made,
                "confidence": [1.0] * size,
                "created_us": [now_us] * size,
            },
        )
    return alias, root, np.array(new, np.int64)


def require(
    database: Database, connection: sa.Connection, people: Sequence[str]
) -> list[tuple[int, int, int]]:
    """The alias, identity and root of people.

    Raises:
        BadInput: one of them is unknown.
    """
    found = known(database, connection, people)
    for name in people:
        if name not in found:
            raise BadInput("person", name, "must be known to the store", "Check the id.")
    return [found[name] for name in people]


def link(connection: sa.Connection, kept: int, absorbed: int, confidence: float) -> None:
    """Draw the arrow from the root `absorbed` to the root `kept`."""
    number = next_codes(connection, "next_merge", 1)
    i = identities.c
    connection.execute(
        identities.update()
        .where(i.id == absorbed)
        .values(merged_into=kept, merge_confidence=confidence, merge_number=number)
    )
    connection.execute(identities.update().where(i.root_id == absorbed).values(root_id=kept))


def unlink(connection: sa.Connection, one: int, other: int) -> int | None:
    """Take away the arrow that joined two identities: the newest on the way between them.

    Returns:
        The identity it started from, now a root again; None where the two are not one person.
    """
    i = identities.c
    root = connection.execute(sa.select(i.root_id).where(i.id == one)).scalar_one()
    rows = connection.execute(sa.select(i.id, i.merged_into, i.merge_number).where(i.root_id == root)).all()
    arrows = {row.id: (row.merged_into, row.merge_number) for row in rows}
    if other not in arrows:
        return None
    ways = []
    for begin in (one, other):
        way = [begin]
        while (onward := arrows[way[-1]][0]) is not None:
            way.append(onward)
        ways.append(way[:-1])  # each stands for the arrow that leaves it; the root has none
    between = set(ways[0]) ^ set(ways[1])
    if not between:
        return None
    cut_off = max(between, key=lambda each: arrows[each][1])
    connection.execute(
        identities.update()
        .where(i.id == cut_off)
        .values(merged_into=None, merge_confidence=None, merge_number=None)
    )
    children: dict[int, list[int]] = {}
    for each, (onward, _) in arrows.items():
        children.setdefault(onward, []).append(each)
    below = [cut_off]
    for each in below:
        below += children.get(each, [])
    connection.execute(identities.update().where(i.id.in_(below)).values(root_id=cut_off))
    return cut_off


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who somebody is thought to be.

    Attributes:
        root: code of the person.
        aliases: ids seen, and how sure it is that each belongs to the person: its own confidence times
            that of each merge on the way.
        alias_ids: their codes.
    """

    root: int
    aliases: dict[str, float]
    alias_ids: tuple[int, ...]

    @property
    def match_confidence(self) -> float:
        """That of the least sure alias."""
        return min(self.aliases.values())


_OWN, _OWN_IDENTITY, _ALL = aliases.alias("own"), identities.alias("own_identity"), identities.alias("every")
_PERSON = (
    sa.select(
        _ALL.c.id,
        _ALL.c.merged_into,
        _ALL.c.merge_confidence,
        aliases.c.id.label("alias_id"),
        aliases.c.name,
        aliases.c.confidence,
        _ALL.c.root_id,
    )
    .select_from(_OWN)
    .join(_OWN_IDENTITY, _OWN_IDENTITY.c.id == _OWN.c.identity_id)
    .join(_ALL, _ALL.c.root_id == _OWN_IDENTITY.c.root_id)
    .join(aliases, aliases.c.identity_id == _ALL.c.id)
    .where(_OWN.c.name == sa.bindparam("person"))
    .order_by(aliases.c.id)
)


def person(connection: sa.Connection, name: str) -> Person | None:
    """Who is behind an id; None where it is unknown."""
    rows = connection.execute(_PERSON, {"person": name}).all()
    if not rows:
        return None
    arrows = {row[0]: (row[1], row[2]) for row in rows}
    sure: dict[str, float] = {}
    for row in rows:
        onward, product = arrows[row[0]], row[5]
        while onward[0] is not None:
            product *= onward[1]
            onward = arrows[onward[0]]
        sure[row[4]] = product
    return Person(root=rows[0][6], aliases=sure, alias_ids=tuple(row[3] for row in rows))
