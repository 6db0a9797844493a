"""The pattern store: journeys that ended, as vectors, kept up by each purchase; and look-ups among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.data.patterns.kept import LOST, Kept, Likeness, Neighbour, named, read_kept
from gaelp.data.patterns.parts import PEOPLE_AT_ONCE, Part, everybody, read_part
from gaelp.data.patterns.schema import (
    migrate,
    pattern_creatives,
    pattern_journeys,
    pattern_refunds,
    pattern_shown,
    pattern_state,
)
from gaelp.data.patterns.vectors import VERSION, Vectors, vector_of, vectors
from gaelp.journeys import people
from gaelp.journeys.batch import Coded, Ints, micros_since_1970
from gaelp.journeys.bulk import OPEN
from gaelp.journeys.schema import aliases, conversions, identities, touchpoints
from gaelp.journeys.store import JourneyStore, Moment
from gaelp.journeys.views import Journey
from gaelp.journeys.writing import names_by_code


@dataclass(frozen=True, kw_only=True)
class Updated:
    """What became of patterns: journeys kept of the people looked at, and rows that went before."""

    kept: int
    removed: int


class PatternStore:
    """Patterns of a journey database; their tables are made beside it on opening.

    Args:
        store: of the journeys; stays open.

    Raises:
        MismatchError: the tables were made by a newer version.
    """

    def __init__(self, store: JourneyStore) -> None:
        self.store = store
        self.database = store.database
        migrate(self.database)
        self._kept: Kept | None = None

    def update(self, now: Moment, persons: Sequence[str] | None = None) -> Updated:
        """Make patterns anew from the journeys; done again, nothing changes.

        A purchase comes in, a restated one is replaced, and one that was refunded, taken back or forgotten
        leaves, because every journey of a person is written anew.

        Args:
            now: the moment; a journey that is open then is no pattern yet.
            persons: ids of those with news, as of a purchase; None: everybody, in one transaction a part.

        Raises:
            BadInput: an id is unknown to the journeys.
        """
        now_us = micros_since_1970("now", now)
        if persons is not None:
            if not persons:
                return Updated(kept=0, removed=0)
            Coded.check("person", list(persons))
            with self.database.writing() as connection:
                found = people.require(self.database, connection, list(dict.fromkeys(persons)))
                roots = np.unique([row[2] for row in found]).astype(np.int64)
                return self._renew(connection, roots, now_us)
        with self.database.writing() as connection:
            removed = self._clear_strangers(connection)
        with self.database.reading() as connection:
            roots = everybody(connection)
        kept = 0
        for begin in range(0, roots.size, PEOPLE_AT_ONCE):
            with self.database.writing() as connection:
                done = self._renew(connection, roots[begin : begin + PEOPLE_AT_ONCE], now_us)
            kept, removed = kept + done.kept, removed + done.removed
        with self.database.writing() as connection:  # broken off before, vectors of both versions are kept
            self._set(connection, "features", VERSION)
        return Updated(kept=kept, removed=removed)

    def forget(self) -> int:
        """Take away what is kept of people whom the journeys have forgotten; returns rows of theirs."""
        with self.database.writing() as connection:
            return self._clear_strangers(connection)

    def tell_creatives(self, shown: Sequence[tuple[str, str]], now: Moment) -> None:
        """Say which creatives touches showed; told again, the last word stands.

        Args:
            shown: pairs of a touch's event id and the creative's name. now: the moment.

        Raises:
            BadInput: a touch is unknown to the journeys, or a name is no text.
        """
        last = dict(shown)
        Coded.check("event_id", list(last))
        Coded.check("creative", list(last.values()))
        t = touchpoints.c
        with self.database.writing() as connection:
            rows = connection.execute(
                sa.select(t.event_id, t.alias_id).where(self.database.among(t.event_id, list(last)))
            ).all()
            _require("event_id", last, {row[0] for row in rows}, "a touch of the journeys")
            self._replace(connection, pattern_creatives, "event_id", {"creative": last})
            self._renew_aliases(connection, [row[1] for row in rows], now)

    def tell_refunds(self, conversion_ids: Sequence[str], now: Moment) -> None:
        """Say that purchases were refunded: their journeys leave the patterns.

        Args:
            conversion_ids: event ids of the purchases. now: the moment.

        Raises:
            BadInput: a purchase is unknown to the journeys.
        """
        now_us = micros_since_1970("now", now)
        refunded = dict.fromkeys(conversion_ids, now_us)
        c = conversions.c
        with self.database.writing() as connection:
            rows = connection.execute(
                sa.select(c.event_id, c.alias_id).where(self.database.among(c.event_id, list(refunded)))
            ).all()
            _require("conversion_id", refunded, {row[0] for row in rows}, "a purchase of the journeys")
            self._replace(connection, pattern_refunds, "conversion_id", {"told_us": refunded})
            self._renew_aliases(connection, [row[1] for row in rows], now)

    def kept(self) -> Kept:
        """All patterns, read again where somebody has changed them.

        Raises:
            BadInput: there are none, or they are of another version of the features.
        """
        with self.database.reading() as connection:
            rows = sa.select(pattern_state.c.name, pattern_state.c.value)
            state = {row[0]: row[1] for row in connection.execute(rows)}
            if self._kept is None or self._kept.revision != state.get("revision"):
                if state.get("features") not in (None, VERSION):
                    allowed = f"must be of version {VERSION}"
                    raise BadInput("patterns", state["features"], allowed, "Make them anew by `update`.")
                self._kept = read_kept(connection, state.get("revision", ""))
        return self._kept

    def like(self, journey: Journey, k: int = 50) -> Likeness:
        """Journeys of other people that look most like one.

        Args:
            journey: with at least one touch, open or not. k: how many to list.

        Raises:
            BadInput: the journey has no touch, or fewer than k patterns are kept.
        """
        kept, distance, row = self.near(journey, k)
        found = [
            Neighbour(
                distance=float(distance[i]),
                conversion_id=kept.conversion_id[each] or None,
                value_micros=int(kept.value_micros[each]),
                currency=kept.currencies[kept.currency[each]] if kept.conversion_id[each] else None,
                features=named(kept.index.rows[each]),
            )
            for i, each in enumerate(row[:k].tolist())
        ]
        n_sold = sum(kept.conversion_id[each] != LOST for each in row.tolist())
        return Likeness(neighbours=tuple(found), journeys=row.size, conversions=n_sold)

    def near(self, journey: Journey, k: int, among: Ints | None = None) -> tuple[Kept, Vectors, Ints]:
        """All patterns, with distances and rows of the k nearest to a journey and of those as near.

        Args:
            journey, k: see `like`. among: rows to look among; None: all.

        Raises:
            BadInput: as `like`.
        """
        if not journey.touches:
            raise BadInput("journey", "no touches", "must have a touch", "Ask again after the first visit.")
        kept = self.kept()
        allowed = ~np.isin(kept.alias_id, journey.person.alias_ids)
        if among is not None:
            allowed &= np.isin(np.arange(allowed.size), among)
        distance, row = kept.index.as_near(vector_of(journey), k, allowed)
        return kept, distance, row

    def _renew(self, connection: sa.Connection, roots: Ints, now_us: int) -> Updated:
        """Write the patterns of some people anew."""
        part = read_part(self.store, connection, roots, now_us)
        refunds = self._told(connection, pattern_refunds.c.conversion_id, pattern_refunds.c.told_us, part)
        creatives = self._told(connection, pattern_creatives.c.event_id, pattern_creatives.c.creative, part)
        cuts, lives = part.cuts, part.lives
        sale = [lives.event_id[i] if i >= 0 else LOST for i in cuts.conversion.tolist()]
        sound = np.array([each not in refunds for each in sale], bool)
        which = np.flatnonzero((cuts.ended_us != OPEN) & (cuts.n_touches > 0) & sound)
        channels, devices = (names_by_code(connection, space) for space in ("channel", "device"))
        made = vectors(part.touches(which, channels, devices))
        alias_id, sold = lives.alias_id[cuts.first[which]], cuts.conversion[which]
        row, journey = part.rows_of(which)
        shown = (
            {
                (int(alias_id[j]), int(cuts.opened_us[which[j]]), creatives[lives.event_id[i]])
                for i, j in zip(row.tolist(), journey.tolist(), strict=True)
                if lives.event_id[i] in creatives
            }
            if creatives
            else set()
        )
        removed = self._remove(connection, roots)
        value = np.where(sold >= 0, lives.value_micros[sold], 0) if which.size else sold
        paid = np.where(sold >= 0, lives.currency[sold], 0) if which.size else sold
        self.database.insert(
            connection,
            pattern_journeys,
            {
                "alias_id": alias_id,
                "opened_us": cuts.opened_us[which],
                "conversion_id": [sale[i] for i in which.tolist()],
                "value_micros": value,
                "currency": paid,
                "vector": [each.astype("<f4").tobytes() for each in made],
            },
        )
        columns = list(zip(*sorted(shown), strict=True)) or [(), (), ()]
        self.database.insert(
            connection, pattern_shown, dict(zip(("alias_id", "opened_us", "creative"), columns, strict=True))
        )
        self._count(connection)
        return Updated(kept=which.size, removed=removed)

    def _renew_aliases(self, connection: sa.Connection, alias_ids: Sequence[int], now: Moment) -> None:
        among = self.database.among(aliases.c.id, sorted(set(alias_ids)))
        owners = sa.select(identities.c.root_id).join(aliases, aliases.c.identity_id == identities.c.id)
        roots = np.unique(connection.execute(owners.where(among)).scalars().all()).astype(np.int64)
        self._renew(connection, roots, micros_since_1970("now", now))

    def _told(self, connection: sa.Connection, key: Any, said: Any, part: Part) -> dict[str, Any]:
        """What was told of some people's events."""
        if connection.execute(sa.select(key).limit(1)).first() is None:
            return {}
        rows = connection.execute(
            sa.select(key, said).where(self.database.among(key, list(part.lives.event_id)))
        )
        return {row[0]: row[1] for row in rows}

    def _remove(self, connection: sa.Connection, roots: Ints) -> int:
        """Take away what is kept under any id of some people."""
        ids = (
            sa.select(aliases.c.id)
            .join(identities, identities.c.id == aliases.c.identity_id)
            .where(self.database.among(identities.c.root_id, roots))
        )
        connection.execute(pattern_shown.delete().where(pattern_shown.c.alias_id.in_(ids)))
        gone = connection.execute(pattern_journeys.delete().where(pattern_journeys.c.alias_id.in_(ids)))
        return int(gone.rowcount)

    def _clear_strangers(self, connection: sa.Connection) -> int:
        """Take away what is kept of people who were forgotten."""
        known = sa.select(aliases.c.id)
        events = sa.union_all(sa.select(touchpoints.c.event_id), sa.select(conversions.c.event_id))
        for column in (pattern_creatives.c.event_id, pattern_refunds.c.conversion_id):
            connection.execute(column.table.delete().where(column.not_in(events)))
        connection.execute(pattern_shown.delete().where(pattern_shown.c.alias_id.not_in(known)))
        gone = connection.execute(pattern_journeys.delete().where(pattern_journeys.c.alias_id.not_in(known)))
        self._count(connection)
        return int(gone.rowcount)

    def _replace(
        self, connection: sa.Connection, table: sa.Table, key: str, said: dict[str, dict[str, Any]]
    ) -> None:
        ids = list(next(iter(said.values())))
        connection.execute(table.delete().where(self.database.among(table.c[key], ids)))
        columns = {name: list(cells.values()) for name, cells in said.items()}
        self.database.insert(connection, table, {key: ids, **columns})

    def _set(self, connection: sa.Connection, name: str, value: str) -> None:
        connection.execute(pattern_state.delete().where(pattern_state.c.name == name))
        connection.execute(pattern_state.insert().values(name=name, value=value))

    def _count(self, connection: sa.Connection) -> None:
        """Tell readers that something changed, and who made the vectors first."""
        rows = sa.select(pattern_state.c.name, pattern_state.c.value)
        state = {row[0]: row[1] for row in connection.execute(rows)}
        self._set(connection, "revision", str(int(state.get("revision", 0)) + 1))
        if "features" not in state:
            self._set(connection, "features", VERSION)


def _require(name: str, asked: dict[str, Any], known: set[str], what: str) -> None:
    unknown = next((each for each in asked if each not in known), None)
    if unknown is not None:
        raise BadInput(name, unknown, f"must be {what}", "Import the journeys first, then tell this.")
