"""Tables of events: one line per touch or conversion, with who, when and where."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaelp.core.clock import HOURS_PER_DAY
from gaelp.core.errors import BadInput
from gaelp.core.names import nearest
from gaelp.core.words import TouchKind
from gaelp.journeys.columns import Cells, find_column, header, hours, numbers, read_columns, require, texts
from gaelp.journeys.table import MOST_USD, Floats, Ints, JourneyTable, micros

_PERSON = ("person", "user_id", "user_pseudo_id", "customer_id", "uid", "user")
_TIME = ("time", "timestamp", "event_timestamp", "datetime", "at")
_CHANNEL = ("channel", "channel_group", "campaign", "source")
_KIND = ("kind", "event", "event_type", "event_name", "type")
_VALUE = ("value", "value_usd", "revenue", "conversion_value")
_WORLD = ("world",)
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
        time: ISO 8601 (UTC where no zone is named), compact dates (20150216) or seconds since 1970.
        channel: where; may be empty on a conversion.
        kind: impression (view), click, visit, search, email_open, conversion (purchase).
        value: USD of a conversion; a file may lack it, and the cell may be empty.
        world: which simulated world; a file may lack it. Worlds are pooled, but no journey runs through two.
        timeout_days: a journey this long without an event has ended without converting.
    """

    person: str | None = None
    time: str | None = None
    channel: str | None = None
    kind: str | None = None
    value: str | None = None
    world: str | None = None
    timeout_days: float = 30.0


def read_event_table(path: Path, columns: EventColumns | None = None) -> tuple[JourneyTable, int]:
    """Read events and cut them into journeys.

    Lines may come in any order. A journey runs from its first touch to the person's next conversion; it ends
    without one after `timeout_days` without an event, or where the file ends (at its last event, of whomever)
    if that is earlier. A conversion with no touch before it is a journey without touches. At equal times a
    touch comes before a conversion. Lines that repeat another (same person, time, kind, channel and value)
    are left out and counted. Where the file names worlds, each is a file of its own in all this.

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
        "world": find_column(there, "the world", asked.world, _WORLD, required=False),
    }
    cells = read_columns(path, [name for name in names.values() if name is not None])
    column = {what: (name, cells[name]) for what, name in names.items() if name is not None}
    kind = _kinds(*column["kind"])
    is_touch = kind != TouchKind.CONVERSION
    where = texts(*column["channel"], empty=True)
    named = np.array([bool(name) for name in where])
    require(*column["channel"], named | ~is_touch, "must not be empty on a touch", "Name the channel.")
    codes = {name: i for i, name in enumerate(sorted({where[i] for i in np.flatnonzero(is_touch)}))}
    person = _coded(texts(*column["person"]))
    world = _coded(texts(*column["world"])) if "world" in column else np.zeros_like(person)
    usd = numbers(*column["value"], 0.0, MOST_USD, empty=0.0) if "value" in column else np.zeros(kind.size)
    return journeys_of_events(
        channels=tuple(codes),
        world=world,
        person=person + world * (person.max() + 1),
        hour=hours(*column["time"]),
        kind=kind,
        channel=np.fromiter((codes.get(name, -1) for name in where), np.int64, kind.size),
        value=np.where(is_touch, 0, micros("value", usd)),
        timeout_hours=asked.timeout_days * HOURS_PER_DAY,
    )


def journeys_of_events(
    *,
    channels: tuple[str, ...],
    world: Ints,
    person: Ints,
    hour: Floats,
    kind: NDArray[np.uint8],
    channel: Ints,
    value: Ints,
    timeout_hours: float,
) -> tuple[JourneyTable, int]:
    """Cut events into journeys, as `read_event_table` says.

    Args:
        channels: names by code.
        world: (n,) each event's, from 0. person: (n,) who; nobody lives in two worlds.
        hour: (n,) since any one moment. kind: (n,) `TouchKind` codes.
        channel: (n,) codes; of a conversion, not read. value: (n,) micros of a conversion, 0 of a touch.
        timeout_hours: ends a journey.

    Returns:
        The journeys, whose `person` is the one given; and how many events repeat another.
    """
    converts = kind == TouchKind.CONVERSION
    channel = np.where(converts, -1, channel)
    order = np.lexsort((value, channel, kind, converts, hour, person))
    repeats = np.zeros(order.size, bool)
    repeats[1:] = np.logical_and.reduce(
        [np.diff(each[order]) == 0 for each in (person, hour, kind.astype(np.int64), channel, value)]
    )
    kept = order[~repeats]
    world, person, hour, channel, value = world[kept], person[kept], hour[kept], channel[kept], value[kept]
    kind, converts = kind[kept], converts[kept]
    # a journey begins at a person's first event, after a conversion, and after too long a silence
    begins = np.ones(person.size, bool)
    begins[1:] = (person[1:] != person[:-1]) | converts[:-1] | (hour[1:] - hour[:-1] > timeout_hours)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], person.size)[: first.size] - 1
    converted = converts[last]
    ends = np.full(world.max(initial=-1) + 1, -np.inf)
    np.maximum.at(ends, world, hour)
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
        end_hour=np.where(converted, hour[last], np.minimum(hour[last] + timeout_hours, ends[world[last]])),
        kind=kind[~converts],
        person=person[first],
    )
    return table, int(repeats.sum())


def _coded(labels: list[str]) -> Ints:
    """Whole numbers from 0, in the labels' order."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _kinds(name: str, cells: Cells) -> NDArray[np.uint8]:
    words = [word.lower() for word in texts(name, cells)]
    known = np.array([word in _WORDS for word in words])
    if not known.all():
        guess = nearest(words[int(np.argmin(known))], _WORDS)
        remedy = f"Did you mean {guess!r}?" if guess else "Rename it, or leave out those lines."
        require(name, cells, known, f"known: {', '.join(_WORDS)}", remedy)
    return np.fromiter((_WORDS[word] for word in words), np.uint8, len(words))
