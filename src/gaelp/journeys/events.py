"""Tables of events: one line per touch or conversion, with who, when and where."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaelp.core.clock import HOURS_PER_DAY
from gaelp.core.errors import BadInput
from gaelp.core.names import nearest
from gaelp.core.words import TouchKind
from gaelp.journeys.columns import find_column, header, hours, numbers, read_columns, texts
from gaelp.journeys.table import JourneyTable, micros

_PERSON = ("person", "user_id", "user_pseudo_id", "customer_id", "uid", "user")
_TIME = ("time", "timestamp", "event_timestamp", "datetime", "at")
_CHANNEL = ("channel", "channel_group", "campaign", "source")
_KIND = ("kind", "event", "event_type", "event_name", "type")
_VALUE = ("value", "value_usd", "revenue", "conversion_value")
_WORDS = {
    **{kind.name.lower(): kind for kind in TouchKind},
    "view": TouchKind.IMPRESSION,
    "purchase": TouchKind.CONVERSION,
}


@dataclass(frozen=True, kw_only=True)
class EventColumns:
    """Which column holds what; None looks for the usual names.

    Attributes:
        person: who; lines of one person make up journeys.
        time: ISO 8601 (UTC where no zone is named) or seconds since 1970.
        channel: where; may be empty on a conversion.
        kind: impression (view), click, visit, search, email_open, conversion (purchase).
        value: USD of a conversion; a file may lack it, and the cell may be empty.
        timeout_days: a journey this long without an event has ended without converting.
    """

    person: str | None = None
    time: str | None = None
    channel: str | None = None
    kind: str | None = None
    value: str | None = None
    timeout_days: float = 30.0


def read_event_table(path: Path, columns: EventColumns | None = None) -> tuple[JourneyTable, int]:
    """Read events and cut them into journeys.

    Lines may come in any order. A journey runs from its first touch to the person's next conversion; it ends
    without one after `timeout_days` without an event, or where the file ends (at its last event, of whomever)
    if that is earlier. A conversion with no touch before it is a journey without touches. At equal times a
    touch comes before a conversion. Lines that repeat another (same person, time, kind, channel and value)
    are left out and counted.

    Args:
        path: .csv, .csv.gz, .tsv, .tsv.gz or .parquet with a header.
        columns: which column holds what.

    Returns:
        The journeys, with times, kinds and persons; and how many lines were repeats.

    Raises:
        BadInput: a column is unknown or missing, a cell is not what it should be, or a kind is unknown.
    """
    asked = columns or EventColumns()
    if not 0 < asked.timeout_days < np.inf:
        raise BadInput("timeout_days", asked.timeout_days, "must be above 0", "Give days, for example 30.")
    there = header(path)
    names = {
        "person": find_column(there, "the person", asked.person, _PERSON),
        "time": find_column(there, "the time", asked.time, _TIME),
        "channel": find_column(there, "the channel", asked.channel, _CHANNEL),
        "kind": find_column(there, "the kind of event", asked.kind, _KIND),
        "value": find_column(there, "value", asked.value, _VALUE, required=False),
    }
    cells = read_columns(path, [name for name in names.values() if name is not None])
    person_name, time_name, channel_name, kind_name = (
        str(names[what]) for what in ("person", "time", "channel", "kind")
    )
    kind = _kinds(kind_name, texts(kind_name, cells[kind_name]))
    where = texts(channel_name, cells[channel_name], empty=True)
    is_touch = kind != TouchKind.CONVERSION
    nameless = [i for i in np.flatnonzero(is_touch) if not where[i]]
    if nameless:
        at = f"{channel_name} in line {nameless[0] + 2}"
        raise BadInput(at, "", "must not be empty on a touch", "Name the channel.")
    n_events = len(where)
    value = np.zeros(n_events, np.int64)
    if names["value"] is not None:
        given = [0.0 if cell in (None, "") else cell for cell in cells[names["value"]]]
        value = micros(names["value"], numbers(names["value"], given))
        value[is_touch] = 0
    codes: dict[str, int] = {
        name: i for i, name in enumerate(sorted({where[i] for i in np.flatnonzero(is_touch)}))
    }
    person = np.unique(texts(person_name, cells[person_name]), return_inverse=True)[1].astype(np.int64)
    return _journeys(
        channels=tuple(codes),
        person=person,
        hour=hours(time_name, cells[time_name]),
        kind=kind,
        channel=np.fromiter((codes.get(name, -1) for name in where), np.int64, n_events),
        value=value,
        timeout_hours=asked.timeout_days * HOURS_PER_DAY,
    )


def _journeys(
    *,
    channels: tuple[str, ...],
    person: NDArray[np.int64],
    hour: NDArray[np.float64],
    kind: NDArray[np.uint8],
    channel: NDArray[np.int64],
    value: NDArray[np.int64],
    timeout_hours: float,
) -> tuple[JourneyTable, int]:
    converts = kind == TouchKind.CONVERSION
    channel = np.where(converts, -1, channel)
    order = np.lexsort((value, channel, kind, converts, hour, person))
    repeats = np.zeros(order.size, bool)
    if order.size:
        repeats[1:] = np.logical_and.reduce(
            [np.diff(each[order]) == 0 for each in (person, hour, kind.astype(np.int64), channel, value)]
        )
    kept = order[~repeats]
    person, hour, channel, value = person[kept], hour[kept], channel[kept], value[kept]
    kind, converts = kind[kept], converts[kept]
    # a journey begins at a person's first event, after a conversion, and after too long a silence
    begins = np.ones(person.size, bool)
    begins[1:] = (person[1:] != person[:-1]) | converts[:-1] | (hour[1:] - hour[:-1] > timeout_hours)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], person.size)[: first.size] - 1
    converted = converts[last]
    file_end = hour.max() if hour.size else 0.0
    touches = np.zeros(person.size + 1, np.int64)
    np.cumsum(~converts, out=touches[1:])
    table = JourneyTable(
        channels=channels,
        offsets=np.append(touches[first], touches[-1]),
        channel=channel[~converts].astype(np.int32),
        conversions=converted.astype(np.int64),
        nulls=(~converted).astype(np.int64),
        value_usd_micros=np.where(converted, value[last], 0),
        touch_hour=hour[~converts],
        end_hour=np.where(converted, hour[last], np.minimum(hour[last] + timeout_hours, file_end)),
        kind=kind[~converts],
        person=person[first],
    )
    return table, int(repeats.sum())


def _kinds(name: str, words: list[str]) -> NDArray[np.uint8]:
    known: dict[str, int] = {}
    for word in set(words):
        kind = _WORDS.get(word.lower())
        if kind is None:
            guess = nearest(word, _WORDS)
            remedy = f"Did you mean {guess!r}?" if guess else "Rename it, or leave out those lines."
            line = words.index(word) + 2
            raise BadInput(f"{name} in line {line}", word, f"known: {', '.join(_WORDS)}", remedy)
        known[word] = int(kind)
    return np.fromiter((known[word] for word in words), np.uint8, len(words))
