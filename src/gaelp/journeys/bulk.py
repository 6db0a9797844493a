"""Lives of many people as arrays: read from the database, cut into journeys, and exchanged with tables."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import Stage, TouchKind
from gaelp.journeys.batch import US_PER_DAY, US_PER_HOUR, Coded, EventBatch, Ints
from gaelp.journeys.database import Database
from gaelp.journeys.schema import aliases, conversions, identities, touchpoints
from gaelp.journeys.table import JourneyTable

OPEN: Final = -1
_FLOOR = np.full(len(TouchKind), Stage.CONSIDERING, np.uint8)
_FLOOR[TouchKind.IMPRESSION] = Stage.AWARE
_FLOOR[TouchKind.CONVERSION] = Stage.UNAWARE


@dataclass(frozen=True, kw_only=True)
class JourneyRules:
    """When a journey ends; kept in the database it was made with.

    Attributes:
        idle_days: a journey this long without a touch is lost; a later touch opens a new one.
        late_days: a conversion up to this long after the last touch still ends that journey, lost or not;
            a later one came by itself.
    """

    idle_days: int = 14
    late_days: int = 90

    def __post_init__(self) -> None:
        for name, days, least in (("idle_days", self.idle_days, 1), ("late_days", self.late_days, 14)):
            if not isinstance(days, int) or not least <= days <= 3650:
                raise BadInput(name, days, f"must be whole days, {least} to 3650", "Choose a length.")
        if self.late_days < self.idle_days:
            allowed = f"must be at least idle_days, {self.idle_days}"
            raise BadInput("late_days", self.late_days, allowed, "Raise it, or time out sooner.")

    @property
    def idle_us(self) -> int:
        """`idle_days` in microseconds."""
        return self.idle_days * US_PER_DAY

    @property
    def late_us(self) -> int:
        """`late_days` in microseconds."""
        return self.late_days * US_PER_DAY


@dataclass(frozen=True, kw_only=True, eq=False)
class Lives:
    """Events of people, ordered by person and time; at equal times touches come before conversions.

    Attributes:
        person: (n,) index into the people that were asked for.
        alias_id: (n,) the id each was seen under.
        event_id: (n,) of each.
        at_us: (n,) when.
        kind: (n,) `TouchKind` codes.
        channel: (n,) codes of the store, 0 where none is known.
        stage: (n,) `Stage` codes inferred by whoever told, 0 where nothing was.
        value_micros: (n,) of a conversion.
        currency: (n,) codes of the store.
    """

    person: Ints
    alias_id: Ints
    event_id: Sequence[str]
    at_us: Ints
    kind: NDArray[np.uint8]
    channel: Ints
    stage: NDArray[np.uint8]
    value_micros: Ints
    currency: Ints

    @classmethod
    def ordered(cls, **columns: Any) -> "Lives":
        """Lives from columns in any order."""
        order = _order(
            columns["person"], columns["at_us"], columns["kind"] == TouchKind.CONVERSION, columns["event_id"]
        )
        if order is not None:
            ids = columns.pop("event_id")
            columns = {name: column[order] for name, column in columns.items()}
            columns["event_id"] = [ids[i] for i in order.tolist()]
        return cls(**columns)

    @classmethod
    def joined(cls, lives: Sequence["Lives"], n_people: int) -> "Lives":
        """Lives of `n_people` each, one after the other; their people are counted on."""
        person = [each.person + i * n_people for i, each in enumerate(lives)]
        made = {
            name: np.concatenate([getattr(each, name) for each in lives])
            for name in ("alias_id", "at_us", "kind", "channel", "stage", "value_micros", "currency")
        }
        ids = [event_id for each in lives for event_id in each.event_id]
        return cls(person=np.concatenate(person), event_id=ids, **made)

    def take(self, rows: Ints) -> "Lives":
        """Some events, in order."""
        made = {each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name != "event_id"}
        return Lives(event_id=[self.event_id[i] for i in rows.tolist()], **made)

    @property
    def converts(self) -> NDArray[np.bool_]:
        """(n,) whether each event is a conversion."""
        return np.equal(self.kind, TouchKind.CONVERSION)


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """Journeys of some lives, in their order.

    Attributes:
        first: (n_journeys,) row of the first event in the lives.
        person: (n_journeys,) index of the person.
        ordinal: (n_journeys,) 0 for a person's first journey of these lives.
        opened_us: (n_journeys,) time of the first event.
        last_us: (n_journeys,) time of the last touch; of the conversion where there was no touch.
        ended_us: (n_journeys,) when it converted or timed out, `OPEN` where neither.
        n_touches: (n_journeys,) touches.
        conversion: (n_journeys,) row of the conversion that ended it, -1 where none did.
        reached: (n_journeys,) furthest `Stage` before the end.
    """

    first: Ints
    person: Ints
    ordinal: Ints
    opened_us: Ints
    last_us: Ints
    ended_us: Ints
    n_touches: Ints
    conversion: Ints
    reached: NDArray[np.uint8]

    @property
    def stage(self) -> NDArray[np.uint8]:
        """(n_journeys,) `Stage` codes as of the moment the lives were cut."""
        lost = (self.ended_us != OPEN) & (self.conversion < 0)
        stage = np.where(lost, np.uint8(Stage.LOST), self.reached)
        return np.where(self.conversion >= 0, np.uint8(Stage.CONVERTED), stage)


def cut(lives: Lives, rules: JourneyRules, now_us: int) -> Cut:
    """Cut lives into journeys.

    The outcome depends on what happened and when, not on the order in which it was told. A journey begins
    at a person's first event, after a conversion, at a touch `idle_days` or more after the touch before, and
    at a conversion more than `late_days` after it.

    Args:
        lives: whole, or from the first touch of a journey on.
        rules: when a journey ends.
        now_us: a journey without conversion is open if its last touch is less than `idle_days` old.
    """
    converts, at_us, person = lives.converts, lives.at_us, lives.person
    begins = np.ones(at_us.size, bool)
    gap = np.diff(at_us)
    silent = np.where(converts[1:], gap > rules.late_us, gap >= rules.idle_us)
    begins[1:] = (person[1:] != person[:-1]) | converts[:-1] | silent
    first = np.flatnonzero(begins)
    last = np.append(first[1:], at_us.size)[: first.size] - 1
    converted = converts[last]
    n_touches = last - first + 1 - converted
    last_us = at_us[np.where(converted & (n_touches > 0), last - 1, last)]
    owner = person[first]
    newest = np.ones(first.size, bool)
    newest[:-1] = owner[1:] != owner[:-1]
    is_open = ~converted & newest & (now_us - last_us < rules.idle_us)
    ended = np.where(converted, at_us[last], np.where(is_open, OPEN, last_us + rules.idle_us))
    floor = np.maximum(_FLOOR[lives.kind], lives.stage)
    starts = np.flatnonzero(np.append(True, owner[1:] != owner[:-1])[: first.size])
    ordinal = np.arange(first.size) - np.repeat(starts, np.diff(np.append(starts, first.size)))
    return Cut(
        first=first,
        person=owner,
        ordinal=ordinal,
        opened_us=at_us[first],
        last_us=last_us,
        ended_us=ended,
        n_touches=n_touches,
        conversion=np.where(converted, last, -1),
        reached=np.maximum.reduceat(floor, first) if first.size else floor,
    )


def read_lives(
    database: Database, connection: sa.Connection, roots: Ints, since_us: Ints | None = None
) -> Lives:
    """Read all that happened to some people.

    Args:
        database: to read from.
        connection: of one of its transactions.
        roots: (n_people,) root identities, all different.
        since_us: (n_people,) from when on; None: ever.
    """
    rows = connection.execute(
        sa.select(aliases.c.id, identities.c.root_id)
        .join(identities, identities.c.id == aliases.c.identity_id)
        .where(database.among(identities.c.root_id, roots))
    ).all()
    alias_id, root = _columns(rows, 2)
    order = np.argsort(roots)
    person = order[np.searchsorted(roots, root, sorter=order)] if roots.size else root
    since = np.zeros(alias_id.size, np.int64) if since_us is None else since_us[person]
    pairs = database.pairs(alias_id, since)
    t, c = touchpoints.c, conversions.c
    found = []
    for table, columns in (
        (touchpoints, (t.alias_id, t.at_us, t.kind, t.channel, t.stage, t.currency, t.event_id)),
        (conversions, (c.alias_id, c.at_us, c.value_micros, c.currency, c.event_id)),
    ):
        match = (table.c.alias_id == pairs.c.first) & (table.c.at_us >= pairs.c.second)
        found.append(connection.execute(sa.select(*columns).select_from(pairs).join(table, match)).all())
    touch = _columns(found[0], 6)
    sale = _columns(found[1], 4)
    n_touches, n_sales = len(found[0]), len(found[1])
    seen_under = np.concatenate((touch[0], sale[0]))
    by_alias = np.argsort(alias_id)
    return Lives.ordered(
        person=person[by_alias[np.searchsorted(alias_id, seen_under, sorter=by_alias)]]
        if alias_id.size
        else seen_under,
        alias_id=seen_under,
        at_us=np.concatenate((touch[1], sale[1])),
        kind=np.append(touch[2].astype(np.uint8), np.full(n_sales, TouchKind.CONVERSION, np.uint8)),
        channel=np.append(touch[3], np.zeros(n_sales, np.int64)),
        stage=np.append(touch[4].astype(np.uint8), np.zeros(n_sales, np.uint8)),
        value_micros=np.append(np.zeros(n_touches, np.int64), sale[2]),
        currency=np.append(touch[5], sale[3]),
        event_id=[row[6] for row in found[0]] + [row[4] for row in found[1]],
    )


def selected(lives: Lives, cuts: Cut, wanted: NDArray[np.bool_]) -> tuple[Lives, Cut]:
    """Some journeys of some lives.

    Args:
        lives: of some people.
        cuts: their journeys.
        wanted: (n_journeys,) which of them.
    """
    if wanted.all():
        return lives, cuts
    size = np.diff(np.append(cuts.first, lives.at_us.size))
    rows = np.repeat(wanted, size)
    place = np.cumsum(rows) - 1
    made = {each.name: getattr(cuts, each.name)[wanted] for each in fields(cuts)}
    made["first"] = place[made["first"]]
    sold = made["conversion"] >= 0
    made["conversion"][sold] = place[made["conversion"][sold]]
    return lives.take(np.flatnonzero(rows)), Cut(**made)


def table_of_lives(
    lives: Lives, cuts: Cut, channels: Sequence[str], now_us: int, person: Ints
) -> JourneyTable:
    """Journeys as the arrays that attribution and training read.

    Args:
        lives: of some people.
        cuts: their journeys; one that is still open counts as not converted, observed until now.
        channels: names of channels by code of the store, "" for code 0.
        now_us: when it is looked at.
        person: codes of the people of the lives.

    Returns:
        One row per journey; hours count from 1970.
    """
    touch = ~lives.converts
    upto = np.zeros(touch.size + 1, np.int64)
    np.cumsum(touch, out=upto[1:])
    used, code = np.unique(lives.channel[touch], return_inverse=True)
    converted = cuts.conversion >= 0
    value = lives.value_micros[cuts.conversion] if touch.size else np.zeros(0, np.int64)
    end = np.where(cuts.ended_us == OPEN, np.maximum(now_us, cuts.last_us), cuts.ended_us)
    return JourneyTable(
        channels=tuple(channels[i] for i in used.tolist()),
        offsets=np.append(upto[cuts.first], upto[-1]),
        channel=code.astype(np.int32),
        conversions=converted.astype(np.int64),
        nulls=(~converted).astype(np.int64),
        value_usd_micros=np.where(converted, value, 0),
        touch_hour=lives.at_us[touch] / US_PER_HOUR,
        end_hour=end / US_PER_HOUR,
        kind=lives.kind[touch],
        person=person[cuts.person],
    )


def batch_of_table(table: JourneyTable, source: str, begin_us: int = 0) -> EventBatch:
    """Events of a table of single journeys, ready to be stored.

    Args:
        table: with times; rows stand for one journey each.
        source: begins each person's and event's id, so that what is loaded twice is stored once.
        begin_us: the moment hour 0 of the table stands for, microseconds since 1970.

    Returns:
        One event per touch and per conversion; persons are `source:person`, or the row's number.

    Raises:
        BadInput: the table has no times, or a row stands for several journeys.
    """
    if table.touch_hour is None or table.end_hour is None:
        raise BadInput(
            "table", "a table without times", "needs the time of each touch", "Use an event table."
        )
    several = np.flatnonzero(table.conversions + table.nulls != 1)
    if several.size:
        count = table.conversions[several[0]] + table.nulls[several[0]]
        remedy = "Give one row per journey; `read_event_table` does."
        raise BadInput(f"table row {several[0]}", int(count), "must stand for one journey", remedy)
    empty = np.flatnonzero((table.lengths == 0) & (table.conversions == 0))
    if empty.size:
        remedy = "Leave such rows out, or keep them apart."
        raise BadInput(f"table row {empty[0]}", "nothing", "must have a touch or a conversion", remedy)
    sold = np.flatnonzero(table.conversions)
    row = np.append(np.repeat(np.arange(table.n_rows), table.lengths), sold)
    who = np.arange(table.n_rows) if table.person is None else table.person
    used, code = np.unique(who[row], return_inverse=True)
    n_touches, n_events = table.n_touches, row.size
    kind = np.full(n_events, TouchKind.CONVERSION, np.uint8)
    kind[:n_touches] = TouchKind.CLICK if table.kind is None else table.kind
    hour = np.append(table.touch_hour, table.end_hour[sold])
    at_us = np.rint(hour * US_PER_HOUR).astype(np.int64) + begin_us
    channel = np.append(table.channel.astype(np.int64), np.full(sold.size, -1))
    value = np.append(np.zeros(n_touches, np.int64), table.value_usd_micros[sold])
    event_id = [f"{source}:touch:{i:09d}" for i in range(n_touches)]
    event_id += [f"{source}:sale:{i:09d}" for i in sold.tolist()]
    nothing = np.full(n_events, -1, np.int64)
    return EventBatch(
        person=Coded([f"{source}:{i}" for i in used.tolist()], code),
        event_id=event_id,
        at_us=at_us,
        kind=kind,
        channel=Coded(table.channels, channel),
        device=Coded((), nothing),
        rival=Coded((), nothing),
        stage=np.zeros(n_events, np.uint8),
        cost_micros=np.zeros(n_events, np.int64),
        value_micros=value,
        currency=Coded(("USD",), np.zeros(n_events, np.int64)),
        booked_us=at_us,
    )


def _columns(rows: Sequence[Any], n_columns: int) -> list[Ints]:
    """The first whole-number columns of rows."""
    if not rows:
        return [np.zeros(0, np.int64)] * n_columns
    return [np.array(column, np.int64) for column in list(zip(*rows, strict=True))[:n_columns]]


def _order(person: Ints, at_us: Ints, converts: NDArray[np.bool_], ids: Sequence[str]) -> Ints | None:
    """The order of lives, None where they are in it; event ids decide what nothing else does."""
    order = np.lexsort((converts, at_us, person))
    keys = [each[order] for each in (person, at_us, converts)]
    ties = np.logical_and.reduce([each[1:] == each[:-1] for each in keys]) if order.size > 1 else np.zeros(0)
    if ties.any():
        tied = np.flatnonzero(np.append(ties, False) | np.append(False, ties))
        rank = np.zeros(order.size, np.int64)
        rows = order[tied]
        rank[rows[np.argsort(np.array([ids[i] for i in rows.tolist()], object), kind="stable")]] = np.arange(
            rows.size
        )
        order = np.lexsort((rank, converts, at_us, person))
    return None if (order[1:] > order[:-1]).all() else order
