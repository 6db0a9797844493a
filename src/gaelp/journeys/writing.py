"""How events become rows: codes, facts, journeys. Everything here runs within one `Database.writing`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.journeys import people
from gaelp.journeys.batch import Coded, EventBatch, Ints
from gaelp.journeys.bulk import OPEN, Cut, JourneyRules, Lives, cut, read_lives
from gaelp.journeys.database import Database
from gaelp.journeys.schema import conversions, identities, journeys, names, touchpoints

Bools = NDArray[np.bool_]

_MOST_NAMES: Final = 32_767


def names_by_code(connection: sa.Connection, space: str) -> list[str]:
    """Names of channels, devices, rivals or currencies by code; "" for code 0."""
    rows = connection.execute(sa.select(names.c.name).where(names.c.space == space).order_by(names.c.code))
    return ["", *rows.scalars()]


def _known_names(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """Codes by space and name."""
    found: dict[str, dict[str, int]] = {}
    for space, name, code in connection.execute(sa.select(names.c.space, names.c.name, names.c.code)).all():
        found.setdefault(space, {})[name] = code
    return found


@dataclass(frozen=True)
class Writer:
    """Writes to a database by its rules."""

    database: Database
    rules: JourneyRules

    def append(self, connection: sa.Connection, batch: EventBatch, now_us: int) -> tuple[int, int, list[str]]:
        """Store whole people's events: touches stored, conversions stored, ids of conflicts."""
        alias, root, new = people.get_or_create(self.database, connection, batch.person.names, now_us)
        seen_under = alias[batch.person.code]
        converts = batch.is_conversion
        known = _known_names(connection)
        channel, device, rival, currency = (
            self._codes(connection, known.get(space, {}), space, getattr(batch, space))
            for space in ("channel", "device", "rival", "currency")
        )
        ids = batch.event_id
        stage = np.where(converts, np.uint8(0), batch.stage)
        every: dict[str, Any] = {
            "alias_id": seen_under,
            "at_us": batch.at_us,
            "kind": batch.kind,
            "channel": channel,
            "device": device,
            "rival": rival,
            "stage": stage,
            "cost_micros": batch.cost_micros,
            "booked_us": batch.booked_us,
            "value_micros": batch.value_micros,
            "currency": currency,
        }
        touch, sale = _touches_and_sales(ids, converts)
        n_touches, n_sales = (
            self.database.insert(
                connection,
                table,
                {
                    "event_id": ids if rows.size == len(ids) else [ids[i] for i in rows.tolist()],
                    **{name: column[rows] for name, column in every.items() if name in table.c},
                },
                skip_known=True,
                absent_from=other,
            )
            for table, other, rows in ((touchpoints, conversions, touch), (conversions, touchpoints, sale))
        )
        repeats = len(batch) - n_touches - n_sales
        if repeats == 0 and new.size == alias.size:  # all of their lives is in these arrays
            lives = Lives.ordered(
                person=batch.person.code,
                alias_id=seen_under,
                event_id=ids,
                at_us=batch.at_us,
                kind=batch.kind,
                channel=channel,
                stage=stage,
                value_micros=batch.value_micros,
                currency=currency,
            )
            self._write(connection, root, cut(lives, self.rules, now_us), lives, np.ones_like(root))
            return n_touches, n_sales, []
        if n_touches + n_sales:
            roots, person = np.unique(root[batch.person.code], return_inverse=True)
            earliest = np.full(roots.size, np.iinfo(np.int64).max)
            np.minimum.at(earliest, person, batch.at_us)
            self.recut(connection, roots, earliest, now_us)
        return n_touches, n_sales, self._conflicts(connection, ids, converts, every) if repeats else []

    def recut(self, connection: sa.Connection, roots: Ints, earliest_us: Ints | None, now_us: int) -> None:
        """Cut lives anew, from the journey on that the earliest news fall into; None: all of them."""
        since, number = np.zeros(roots.size, np.int64), np.ones(roots.size, np.int64)
        j = journeys.c
        if earliest_us is not None:
            rows = connection.execute(
                sa.select(j.identity_id, j.number, j.opened_us).where(
                    self.database.among(j.identity_id, roots) & (j.n_touches > 0)
                )
            ).all()
            if rows:
                owner, ordinal, opened = np.array(rows, np.int64).T
                at = np.searchsorted(roots, owner)  # roots come sorted
                before = opened < earliest_us[at]
                np.maximum.at(since, at[before], opened[before])
                np.maximum.at(number, at[before], ordinal[before])
        lives = read_lives(self.database, connection, roots, since)
        cuts = cut(lives, self.rules, now_us)
        gone = journeys.delete().where(
            (j.identity_id == sa.bindparam("root")) & (j.number >= sa.bindparam("begin"))
        )
        connection.execute(
            gone,
            [{"root": a, "begin": b} for a, b in zip(roots.tolist(), number.tolist(), strict=True)],
        )
        self._write(connection, roots, cuts, lives, number)
        connection.execute(
            identities.update().where(self.database.among(identities.c.id, roots)).values(unsettled=1)
        )

    def _write(self, connection: sa.Connection, roots: Ints, cuts: Cut, lives: Lives, number: Ints) -> None:
        ids = lives.event_id
        self.database.insert(
            connection,
            journeys,
            {
                "identity_id": roots[cuts.person],
                "number": number[cuts.person] + cuts.ordinal,
                "opened_us": cuts.opened_us,
                "last_us": cuts.last_us,
                "ended_us": [None if each == OPEN else each for each in cuts.ended_us.tolist()],
                "stage": cuts.stage,
                "reached": cuts.reached,
                "n_touches": cuts.n_touches,
                "conversion_id": [None if i < 0 else ids[i] for i in cuts.conversion.tolist()],
            },
        )

    def _codes(self, connection: sa.Connection, known: dict[str, int], space: str, column: Coded) -> Ints:
        """The store's codes of a column of names, new names given the next ones; 0 for nothing."""
        if not len(column.names):
            return np.zeros(column.code.size, np.int64)
        new = [name for name in column.names if name not in known]
        if len(known) + len(new) > _MOST_NAMES:
            allowed = f"may have at most {_MOST_NAMES} names"
            raise BadInput(space, len(known) + len(new), allowed, "Name groups, not single pages or ads.")
        fresh = range(len(known) + 1, len(known) + len(new) + 1)
        self.database.insert(
            connection, names, {"space": [space] * len(new), "code": list(fresh), "name": new}
        )
        known |= dict(zip(new, fresh, strict=True))
        return np.array([known[name] for name in column.names] + [0], np.int64)[column.code]

    def _conflicts(
        self, connection: sa.Connection, ids: Sequence[str], converts: Bools, every: dict[str, Any]
    ) -> list[str]:
        """Ids of events that say something else than what is stored under them."""
        found: list[str] = []
        for table, rows in (
            (touchpoints, np.flatnonzero(~converts)),
            (conversions, np.flatnonzero(converts)),
        ):
            asked = [ids[i] for i in rows.tolist()]
            names = [name for name in every if name in table.c]
            columns = sa.select(table.c.event_id, *(table.c[name] for name in names))
            kept = connection.execute(columns.where(self.database.among(table.c.event_id, asked))).all()
            stored = {row[0]: tuple(row[1:]) for row in kept}
            told = zip(*(every[name][rows].tolist() for name in names), strict=True)
            found += [each for each, cells in zip(asked, told, strict=True) if stored.get(each) != cells]
        return list(dict.fromkeys(found))


def _touches_and_sales(ids: Sequence[str], converts: Bools) -> tuple[Ints, Ints]:
    """Rows of touches and of conversions; where one id is both, only rows of the kind that comes first."""
    touch, sale = np.flatnonzero(~converts), np.flatnonzero(converts)
    both = {ids[i] for i in sale.tolist()}
    both = both.intersection(ids[i] for i in touch.tolist()) if both else both
    if not both:
        return touch, sale
    first: dict[str, bool] = {}
    for each, is_sale in zip(ids, converts.tolist(), strict=True):
        first.setdefault(each, is_sale)
    keeps = np.array([first[each] for each in ids]) == converts
    return np.flatnonzero(~converts & keeps), np.flatnonzero(converts & keeps)
