"""Sources that tell the same thing again, better: events restated, and logins linked to cookies, in bulk.

`JourneyStore.append` keeps what was told first. A source that restates its past, as web analytics do for some
days, is told through `restate` instead: of two tellings of an event the one that puts it earlier stands, of
two at the same time the later one. So any order of imports leads to the same journeys, and a telling that
knows only the end of a session cannot spoil it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.core.words import Stage
from gaelp.journeys import people
from gaelp.journeys.batch import Coded, EventBatch, micros_since_1970
from gaelp.journeys.schema import aliases, conversions, identities, journeys, touchpoints
from gaelp.journeys.store import JourneyStore, Moment, refuse_ahead
from gaelp.journeys.writing import Writer, names_by_code

_PART: Final = 250_000
_SPACES: Final = ("channel", "device", "rival", "currency")


@dataclass(frozen=True, kw_only=True)
class Restated:
    """What became of events.

    Attributes:
        touches: stored for the first time.
        conversions: stored for the first time.
        replaced: events stored before, of which something else is known now.
        repeats: told before, nothing new.
    """

    touches: int
    conversions: int
    replaced: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Linked:
    """What became of pairs of ids.

    Attributes:
        linked: pairs that are one person now.
        known: pairs that were.
        contested: pairs left alone, because the second id already belongs to somebody else.
    """

    linked: int
    known: int
    contested: int


def restate(store: JourneyStore, events: EventBatch, now: Moment) -> Restated:
    """Store events; what is stored under the same ids gives way as the module says.

    Of a touch that was told twice, the stage is the further one. Transactions hold whole people, as those of
    `JourneyStore.append` do. What touches have earned is restated by the next `RewardLedger.settle`; only the
    currency of a conversion that was settled must not change.

    Args:
        store: gets them.
        events: in any order; of several with one id the earliest counts, of equally early ones the last.
        now: the moment.

    Returns:
        What was new.

    Raises:
        BadInput: an event is not what it should be, or lies more than five minutes after now; nothing is
            stored then.
    """
    now_us = micros_since_1970("now", now)
    refuse_ahead(events, now_us)
    batch = _distinct(events)
    writer = Writer(store.database, store.rules)
    touches = sales = replaced = 0
    for part in batch.parts(_PART):
        with store.database.writing() as connection:
            stored = _stored(store, connection, part.event_id)
            fresh, changed = _compared(part, stored)
            gone = [stored[part.event_id[i]] for i in np.flatnonzero(changed).tolist()]
            if gone:
                kept = np.flatnonzero(changed)
                stage = part.stage.copy()
                stage[kept] = np.maximum(stage[kept], [row.stage for row in gone])
                part = replace(part, stage=stage)
                _remove(store, connection, writer, gone, now_us)
            told = part.take(fresh | changed)
            n_touches, n_sales, _ = writer.append(connection, told, now_us) if len(told) else (0, 0, [])
            later = _later_stages(part, stored, ~(fresh | changed))
            if later:
                _raise_stages(store, connection, writer, later, now_us)
        n_replaced_sales = int(part.is_conversion[changed].sum())
        touches += n_touches - (len(gone) - n_replaced_sales)
        sales += n_sales - n_replaced_sales
        replaced += len(gone) + len(later)
    return Restated(
        touches=touches,
        conversions=sales,
        replaced=replaced,
        repeats=len(events) - touches - sales - replaced,
    )


def link_all(store: JourneyStore, pairs: Sequence[tuple[str, str]], confidence: float, now: Moment) -> Linked:
    """Merge pairs of ids in one transaction, as `JourneyStore.merge` does one; ids may be new.

    A pair is left alone where its second id already belongs to somebody else: what joins two people by
    mistake takes a person to undo.

    Args:
        store: knows them afterwards.
        pairs: id of the person who stays, as a login; id that is added, as a cookie.
        confidence: how sure that is, above 0 to 1.
        now: the moment.

    Raises:
        BadInput: an id is no text a database can hold, or the confidence is out of range.
    """
    if not 0.0 < confidence <= 1.0:
        raise BadInput("confidence", confidence, "must be above 0 and at most 1", "Give a probability.")
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    if not names:
        return Linked(linked=0, known=0, contested=0)
    Coded.check("person", names)
    now_us = micros_since_1970("now", now)
    with store.database.writing() as connection:
        people.get_or_create(store.database, connection, names, now_us)
        found = people.known(store.database, connection, names)
        onward: dict[int, int] = {}

        def root_of(name: str) -> int:
            root = found[name][2]
            while root in onward:
                root = onward[root]
            return root

        known = contested = 0
        arrows = []
        for kept, absorbed in pairs:
            root, other = root_of(kept), root_of(absorbed)
            if root == other:
                known += 1
            elif other != found[absorbed][1]:
                contested += 1
            else:
                onward[other] = root
                arrows.append((root, other))
        if arrows:
            _draw(store, connection, arrows, onward, confidence)
            ends = np.unique([_end(root, onward) for root, _ in arrows]).astype(np.int64)
            Writer(store.database, store.rules).recut(connection, ends, None, now_us)
    return Linked(linked=len(arrows), known=known, contested=contested)


@dataclass(frozen=True, slots=True)
class _Row:
    """What is stored under an event id."""

    event_id: str
    is_sale: bool
    alias_id: int
    at_us: int
    stage: int
    said: tuple[Any, ...]  # all but the stage, in words


def _distinct(events: EventBatch) -> EventBatch:
    """Each event once, as its earliest telling says, at the furthest stage of all of them."""
    if len(set(events.event_id)) == len(events):
        return events
    found: dict[str, int] = {}
    furthest: dict[str, int] = {}
    at_us, stage = events.at_us.tolist(), events.stage.tolist()
    for i, event_id in enumerate(events.event_id):
        furthest[event_id] = max(stage[i], furthest.get(event_id, 0))
        if event_id not in found or at_us[i] <= at_us[found[event_id]]:
            found[event_id] = i
    kept = events.take(np.array(sorted(found.values()), np.int64))
    return replace(kept, stage=np.array([furthest[each] for each in kept.event_id], np.uint8))


def _stored(store: JourneyStore, connection: sa.Connection, ids: Sequence[str]) -> dict[str, _Row]:
    """What the store holds of some events."""
    t, c, found = touchpoints.c, conversions.c, {}
    words = {space: names_by_code(connection, space) for space in _SPACES}
    for table, columns in (
        (touchpoints, (t.at_us, t.kind, t.channel, t.device, t.rival, t.cost_micros, t.currency, t.stage)),
        (conversions, (c.at_us, c.booked_us, c.value_micros, c.currency)),
    ):
        rows = connection.execute(
            sa.select(table.c.event_id, table.c.alias_id, aliases.c.name, *columns)
            .join(aliases, aliases.c.id == table.c.alias_id)
            .where(store.database.among(table.c.event_id, ids))
        )
        for event_id, alias_id, person, at_us, *rest in rows:
            if table is conversions:
                booked_us, value, currency = rest
                said: tuple[Any, ...] = (person, at_us, booked_us, value, words["currency"][currency])
                found[event_id] = _Row(event_id, True, alias_id, at_us, 0, said)
            else:
                kind, channel, device, rival, cost, currency, stage = rest
                named = (words["channel"][channel], words["device"][device], words["rival"][rival])
                said = (person, at_us, kind, *named, cost, words["currency"][currency])
                found[event_id] = _Row(event_id, False, alias_id, at_us, stage, said)
    return found


def _compared(part: EventBatch, stored: dict[str, _Row]) -> tuple[Any, Any]:
    """(n,) which events are new, and which say something else and stand."""
    if not stored:
        return np.ones(len(part), bool), np.zeros(len(part), bool)
    fresh, changed = np.zeros(len(part), bool), np.zeros(len(part), bool)
    names = {space: [*getattr(part, space).names, ""] for space in _SPACES}
    codes = {space: getattr(part, space).code.tolist() for space in _SPACES}
    person, at_us = part.person.code.tolist(), part.at_us.tolist()
    booked_us, value, cost = part.booked_us.tolist(), part.value_micros.tolist(), part.cost_micros.tolist()
    kind, stage = part.kind.tolist(), part.stage.tolist()
    sold = part.is_conversion.tolist()
    for i, event_id in enumerate(part.event_id):
        row = stored.get(event_id)
        if row is None:
            fresh[i] = True
            continue
        if row.is_sale != sold[i] or at_us[i] > row.at_us:
            continue
        who, currency = part.person.names[person[i]], names["currency"][codes["currency"][i]]
        said: tuple[Any, ...] = (who, at_us[i], booked_us[i], value[i], currency)
        if not sold[i]:
            named = (names[space][codes[space][i]] for space in ("channel", "device", "rival"))
            said = (who, at_us[i], kind[i], *named, cost[i], currency)
        changed[i] = said != row.said or (not sold[i] and stage[i] > row.stage)
    return fresh, changed


def _later_stages(part: EventBatch, stored: dict[str, _Row], rows: Any) -> list[tuple[_Row, int]]:
    """Touches whose earlier telling stands, but that went further than it knew."""
    found = []
    for i in np.flatnonzero(rows & ~part.is_conversion).tolist():
        row = stored.get(part.event_id[i])
        if row is not None and not row.is_sale and part.stage[i] > row.stage:
            found.append((row, int(part.stage[i])))
    return found


def _remove(
    store: JourneyStore, connection: sa.Connection, writer: Writer, gone: list[_Row], now_us: int
) -> None:
    """Take events out of the lives they are in."""
    for table, is_sale in ((touchpoints, False), (conversions, True)):
        ids = [row.event_id for row in gone if row.is_sale == is_sale]
        if ids:
            connection.execute(table.delete().where(store.database.among(table.c.event_id, ids)))
    _recut(store, connection, writer, gone, now_us)


def _raise_stages(
    store: JourneyStore,
    connection: sa.Connection,
    writer: Writer,
    later: list[tuple[_Row, int]],
    now_us: int,
) -> None:
    for stage in Stage:
        ids = [row.event_id for row, reached in later if reached == stage]
        if ids:
            among = store.database.among(touchpoints.c.event_id, ids)
            connection.execute(touchpoints.update().where(among).values(stage=int(stage)))
    _recut(store, connection, writer, [row for row, _ in later], now_us)


def _recut(
    store: JourneyStore, connection: sa.Connection, writer: Writer, changed: list[_Row], now_us: int
) -> None:
    """Cut the lives anew that events were taken from or changed in."""
    codes = np.unique([row.alias_id for row in changed]).astype(np.int64)
    owners = connection.execute(
        sa.select(aliases.c.id, identities.c.root_id)
        .join(identities, identities.c.id == aliases.c.identity_id)
        .where(store.database.among(aliases.c.id, codes))
    )
    root_of = {row[0]: row[1] for row in owners}
    earliest: dict[int, int] = {}
    for row in changed:
        root = root_of[row.alias_id]
        earliest[root] = min(row.at_us, earliest.get(root, row.at_us))
    roots = np.array(sorted(earliest), np.int64)
    writer.recut(connection, roots, np.array([earliest[i] for i in roots.tolist()], np.int64), now_us)


def _draw(
    store: JourneyStore,
    connection: sa.Connection,
    arrows: list[tuple[int, int]],
    onward: dict[int, int],
    confidence: float,
) -> None:
    """Draw arrows from roots to roots; `people.link` for many."""
    first = people.next_codes(connection, "next_merge", len(arrows))
    i = identities.c
    connection.execute(
        identities.update()
        .where(i.id == sa.bindparam("absorbed"))
        .values(
            merged_into=sa.bindparam("kept"),
            merge_confidence=sa.bindparam("sure"),
            merge_number=sa.bindparam("number"),
        ),
        [
            {"absorbed": absorbed, "kept": kept, "sure": confidence, "number": first + place}
            for place, (kept, absorbed) in enumerate(arrows)
        ],
    )
    connection.execute(
        identities.update().where(i.root_id == sa.bindparam("absorbed")).values(root_id=sa.bindparam("end")),
        [{"absorbed": absorbed, "end": _end(absorbed, onward)} for _, absorbed in arrows],
    )
    gone = store.database.among(journeys.c.identity_id, [absorbed for _, absorbed in arrows])
    connection.execute(journeys.delete().where(gone))


def _end(root: int, onward: dict[int, int]) -> int:
    while root in onward:
        root = onward[root]
    return root
