"""Events on their way into the store: columns of equal length, checked once, here."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import nearest
from gaelp.core.words import Stage, TouchKind

Ints = NDArray[np.int64]

US_PER_HOUR: Final = 3_600_000_000
US_PER_DAY: Final = 24 * US_PER_HOUR
_EARLIEST_US: Final = 631_152_000_000_000  # 1990; seconds or milliseconds taken for microseconds lie before
_LATEST_US: Final = 4_102_444_800_000_000  # 2100
_MOST_MICROS: Final = 2**53  # shares of an amount are computed in floats
_LONGEST_ID: Final = 255
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_FIRST_US: Final = (dt.datetime.min.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND
_LAST_US: Final = (dt.datetime.max.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened, in words; `EventBatch` is the same for many.

    Of a conversion the store keeps who, when, what it is worth and when it was booked, and nothing else.

    Attributes:
        person: the id it was seen under: a cookie, a login, a device.
        event_id: unique in the whole store; told again, it is stored once.
        at: when it happened, aware.
        kind: a `TouchKind` in lower case.
        channel: where; a conversion needs none.
        device: on what, where known.
        rival: a rival met beside ours, inferred by whoever tells.
        stage: how far the person seemed, `aware` to `intent`, inferred by whoever tells.
        cost_micros: what the touch cost.
        value_micros: what a conversion is worth.
        currency: ISO 4217, of cost and value.
        booked_at: when a conversion was booked; None: when it happened.
    """

    person: str
    event_id: str
    at: dt.datetime
    kind: str
    channel: str | None = None
    device: str | None = None
    rival: str | None = None
    stage: str | None = None
    cost_micros: int = 0
    value_micros: int = 0
    currency: str = "USD"
    booked_at: dt.datetime | None = None


@dataclass(frozen=True, eq=False)
class Coded:
    """A column of names: `names[code[i]]` at row `i`, nothing where the code is -1."""

    names: Sequence[str]
    code: Ints

    @classmethod
    def of(cls, cells: Sequence[str | None]) -> "Coded":
        """The column of these cells; None and the empty text are nothing."""
        codes: dict[str, int] = {}
        known = {cell: codes.setdefault(cell, len(codes)) for cell in dict.fromkeys(cells) if cell}
        return cls(list(codes), np.fromiter((known.get(cell, -1) for cell in cells), np.int64, len(cells)))  # type: ignore[arg-type]

    @staticmethod
    def check(name: str, texts: Sequence[str]) -> None:
        """Refuse texts that a database or a reader could not hold."""
        _check_texts(name, texts)

    def take(self, rows: NDArray[Any]) -> "Coded":
        """The column of some rows."""
        return Coded(self.names, self.code[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class EventBatch:
    """Many events, in any order.

    Attributes:
        person: (n,) the id each was seen under.
        event_id: (n,) unique in the whole store.
        at_us: (n,) when, microseconds since 1970 began, UTC.
        kind: (n,) `TouchKind` codes; a conversion ends a journey, every other kind is a touch.
        channel: (n,) where; nothing is allowed on a conversion only.
        device: (n,) on what.
        rival: (n,) a rival met beside ours, inferred.
        stage: (n,) `Stage` codes AWARE to INTENT, inferred; 0 where nothing was inferred.
        cost_micros: (n,) of a touch, at least 0.
        value_micros: (n,) of a conversion, at least 0; 0 on touches.
        currency: (n,) ISO 4217 of cost and value.
        booked_us: (n,) when a conversion was booked, not before it happened.

    Raises:
        BadInput: a column has another length, a cell is out of range, or a touch has no channel.
    """

    person: Coded
    event_id: Sequence[str]
    at_us: Ints
    kind: NDArray[np.uint8]
    channel: Coded
    device: Coded
    rival: Coded
    stage: NDArray[np.uint8]
    cost_micros: Ints
    value_micros: Ints
    currency: Coded
    booked_us: Ints

    def __post_init__(self) -> None:
        for each in fields(self):
            column = getattr(self, each.name)
            size = column.code.size if isinstance(column, Coded) else len(column)
            if size != len(self):
                raise BadInput(f"{each.name} rows", size, f"must be {len(self)}", "Give one cell per event.")
            if isinstance(column, Coded):
                _check_codes(each.name, column, required=each.name in ("person", "currency"))
                _check_texts(each.name, column.names)
        _check_texts("event_id", self.event_id)
        touch = ~self.is_conversion
        _refuse("kind", self.kind, self.kind <= max(TouchKind), "must be a code of TouchKind")
        _refuse("channel", self.channel.code, (self.channel.code >= 0) | ~touch, "a touch needs a channel")
        _refuse("stage", self.stage, self.stage <= Stage.INTENT, "must be 0 (none) or AWARE to INTENT")
        for name in ("at_us", "booked_us"):
            moment = getattr(self, name)
            sound = (moment >= _EARLIEST_US) & (moment < _LATEST_US)
            _refuse(name, moment, sound, "must be microseconds since 1970, from 1990 to 2100")
        _refuse("booked_us", self.booked_us, self.booked_us >= self.at_us, "must not lie before the event")
        for name, only in (("cost_micros", touch), ("value_micros", ~touch)):
            amount = getattr(self, name)
            _refuse(name, amount, (amount >= 0) & (amount < _MOST_MICROS), "must be from 0 to 2^53 micros")
            what = "a touch has a cost and a conversion a value"
            _refuse(name, amount, only | (amount == 0), f"must be 0 here; {what}")
        for code in self.currency.names:
            if not (len(code) == 3 and code.isascii() and code.isupper()):
                raise BadInput("currency", code, "must be three capital letters", "Use its ISO 4217 code.")

    def __len__(self) -> int:
        return len(self.event_id)

    @property
    def is_conversion(self) -> NDArray[np.bool_]:
        """(n,) whether each is a conversion."""
        return np.equal(self.kind, TouchKind.CONVERSION)

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]]) -> "EventBatch":
        """A batch from columns of plain cells, named as the fields of `Event`.

        Args:
            columns: cells by name; `person`, `event_id`, `at` and `kind` are needed. Times are aware
                date-times or whole microseconds since 1970.

        Raises:
            BadInput: as above, or a column is unknown or missing, or a word or a time cannot be read.

        >>> batch = EventBatch.of(
        ...     {
        ...         "person": ["cookie-1", "cookie-1"],
        ...         "event_id": ["e1", "e2"],
        ...         "at": [1_750_000_000_000_000, 1_750_000_060_000_000],
        ...         "kind": ["click", "conversion"],
        ...         "channel": ["search", None],
        ...         "value_micros": [0, 90_000_000],
        ...     }
        ... )
        >>> len(batch), batch.channel.names, batch.is_conversion.tolist()
        (2, ['search'], [False, True])
        """
        known = [each.name for each in fields(Event)]
        for name in columns:
            if name not in known:
                guess = nearest(name, known)
                remedy = f"Did you mean {guess!r}?" if guess else "Leave it out."
                raise BadInput("column", name, f"known: {', '.join(known)}", remedy)
        for name in known[:4]:
            if name not in columns:
                raise BadInput("columns", list(columns), f"must have {name!r}", "Add that column.")
        n_events = len(columns["event_id"])
        at_us = moments("at", columns["at"])
        booked = columns.get("booked_at", [None] * n_events)
        given = np.array([cell is not None for cell in booked], bool)
        booked_us = at_us.copy()
        if given.size == at_us.size:
            booked_us[given] = moments("booked_at", [cell for cell in booked if cell is not None])
        zeros, nothing = [0] * n_events, [None] * n_events
        return cls(
            person=Coded.of(columns["person"]),
            event_id=list(columns["event_id"]),
            at_us=at_us,
            kind=_words("kind", columns["kind"], {each.name.lower(): each for each in TouchKind}),
            channel=Coded.of(columns.get("channel", nothing)),
            device=Coded.of(columns.get("device", nothing)),
            rival=Coded.of(columns.get("rival", nothing)),
            stage=_words("stage", columns.get("stage", nothing), _STAGES),
            cost_micros=_whole("cost_micros", columns.get("cost_micros", zeros)),
            value_micros=_whole("value_micros", columns.get("value_micros", zeros)),
            currency=Coded.of(columns.get("currency", ["USD"] * n_events)),
            booked_us=booked_us,
        )

    @classmethod
    def of_events(cls, events: Iterable[Event]) -> "EventBatch":
        """A batch from single events."""
        rows = list(events)
        return cls.of({each.name: [getattr(row, each.name) for row in rows] for each in fields(Event)})

    def take(self, rows: NDArray[Any]) -> "EventBatch":
        """The batch of some rows."""
        made: dict[str, Any] = {}
        for each in fields(self):
            column = getattr(self, each.name)
            if isinstance(column, Coded):
                made[each.name] = column.take(rows)
            elif isinstance(column, np.ndarray):
                made[each.name] = column[rows]
            else:
                where = np.flatnonzero(rows) if rows.dtype == bool else rows
                made[each.name] = [column[i] for i in where.tolist()]
        taken = object.__new__(type(self))  # sound rows need no second check
        for name, column in made.items():
            object.__setattr__(taken, name, column)
        return taken

    def parts(self, n_events: int) -> Iterator["EventBatch"]:
        """The batch by person and time, in parts of about `n_events`; nobody's events are torn apart."""
        batch = self
        key = self.person.code
        if len(self) > 1 and not _is_sorted(key, self.at_us):
            batch = self.take(np.lexsort((self.at_us, key)))
        key = batch.person.code
        begin = 0
        while begin < len(batch):
            end = min(begin + n_events, len(batch))
            if end < len(batch):
                end = int(np.searchsorted(key, key[end - 1], side="right"))
            rows = np.arange(begin, end)
            part = batch if rows.size == len(batch) else batch.take(rows)
            used, code = np.unique(part.person.code, return_inverse=True)
            person = Coded([part.person.names[i] for i in used.tolist()], code)
            yield _unchecked(part, person)
            begin = end


def micros_since_1970(name: str, moment: dt.datetime | int) -> int:
    """An aware date-time as microseconds since 1970; whole numbers are taken as such.

    Raises:
        BadInput: it names no zone, or lies outside the years 1 to 9999.

    >>> micros_since_1970("now", dt.datetime(1970, 1, 2, tzinfo=dt.UTC))
    86400000000
    """
    if isinstance(moment, dt.datetime):
        if moment.tzinfo is None:
            raise BadInput(name, moment, "must name its time zone", "Use datetime(..., tzinfo=datetime.UTC).")
        return (moment - _EPOCH) // _MICROSECOND
    if isinstance(moment, (int, np.integer)) and not isinstance(moment, bool):
        if not _FIRST_US <= moment <= _LAST_US:
            allowed = "must be microseconds since 1970, of a year from 1 to 9999"
            raise BadInput(name, moment, allowed, "Correct its unit.")
        return int(moment)
    raise BadInput(name, moment, "must be an aware date-time or whole microseconds since 1970", "Convert it.")


def moment_of(at_us: int) -> dt.datetime:
    """The date-time, UTC, of microseconds since 1970."""
    return _EPOCH + dt.timedelta(microseconds=int(at_us))


def moments(name: str, cells: Sequence[Any] | NDArray[Any]) -> Ints:
    """Times as microseconds since 1970; see `micros_since_1970`."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind == "i":
        return cells.astype(np.int64)
    return np.array([micros_since_1970(f"{name}[{i}]", cell) for i, cell in enumerate(cells)], np.int64)


_STAGES = {each.name.lower(): each for each in Stage if Stage.AWARE <= each <= Stage.INTENT}


def _words(name: str, cells: Sequence[Any], known: Mapping[str, int]) -> NDArray[np.uint8]:
    codes: dict[Any, int] = {} if name == "kind" else {None: 0, "": 0}
    for cell in dict.fromkeys(cells):
        word = cell.lower() if isinstance(cell, str) else cell
        if cell in codes:
            continue
        if word not in known:
            guess = nearest(word, known) if isinstance(word, str) else None
            remedy = f"Did you mean {guess!r}?" if guess else "Use one of these."
            raise BadInput(f"{name}[{list(cells).index(cell)}]", cell, f"known: {', '.join(known)}", remedy)
        codes[cell] = int(known[word])
    return np.fromiter((codes[cell] for cell in cells), np.uint8, len(cells))


def _whole(name: str, cells: Sequence[Any] | NDArray[Any]) -> Ints:
    raw = np.asarray(cells)
    if raw.size and raw.dtype.kind not in "iu":
        allowed = "must be whole micros, millionths of the currency's unit"
        bad = next((i for i, cell in enumerate(cells) if not isinstance(cell, int)), 0)
        raise BadInput(f"{name}[{bad}]", cells[bad], allowed, "Multiply by 1,000,000 and round.")
    return raw.astype(np.int64)


def _check_texts(name: str, texts: Sequence[str]) -> None:
    odd = {type(text) for text in texts} - {str}
    if odd:
        raise BadInput(name, next(t for t in texts if type(t) is not str), "must be text", "Convert it.")
    try:
        whole = "".join(texts)
        whole.encode()
        sound = "\x00" not in whole and (not texts or max(map(len, texts)) <= _LONGEST_ID) and all(texts)
    except UnicodeEncodeError:
        sound = False
    if not sound:
        allowed = f"must be 1 to {_LONGEST_ID} characters without NUL or lone surrogates"
        raise BadInput(name, next(t for t in texts if not _is_sound(t)), allowed, "Shorten or clean it.")


def _is_sound(text: str) -> bool:
    lone = any("\ud800" <= letter <= "\udfff" for letter in text)
    return 0 < len(text) <= _LONGEST_ID and "\x00" not in text and not lone


def _check_codes(name: str, column: Coded, *, required: bool) -> None:
    if len(set(column.names)) < len(column.names):
        raise BadInput(name, list(column.names), "names must all differ", "Give each name one code.")
    lowest = 0 if required else -1
    sound = (column.code >= lowest) & (column.code < len(column.names))
    allowed = "must name one" if required else f"codes must be from -1 to {len(column.names) - 1}"
    _refuse(name, column.code, sound, allowed)


def _refuse(name: str, values: NDArray[Any], sound: NDArray[np.bool_], allowed: str) -> None:
    bad = np.flatnonzero(~sound)
    if bad.size:
        more = f" and {bad.size - 1:,} more" if bad.size > 1 else ""
        raise BadInput(f"{name}[{bad[0]}]", values[bad[0]], allowed, f"Correct event {bad[0]}{more}.")


def _is_sorted(key: Ints, at_us: Ints) -> bool:
    later = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & (at_us[1:] >= at_us[:-1]))
    return bool(later.all())


def _unchecked(batch: EventBatch, person: Coded) -> EventBatch:
    made = object.__new__(EventBatch)
    for each in fields(batch):
        object.__setattr__(made, each.name, getattr(batch, each.name))
    object.__setattr__(made, "person", person)
    return made
