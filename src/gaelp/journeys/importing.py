"""A file of events, told to the store: which column holds what, and ids for events that have none."""

import datetime as dt
import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.core.words import TouchKind
from gaelp.journeys.batch import US_PER_HOUR, Coded, EventBatch, Ints, moment_of
from gaelp.journeys.columns import Cells, Column, find_column, header, hours, numbers, read_columns, texts
from gaelp.journeys.store import Appended, JourneyStore, Moment
from gaelp.journeys.table import MOST_USD, micros

USUAL: Final = {
    "person": ("person", "user_id", "user_pseudo_id", "customer_id", "uid", "user"),
    "time": ("time", "timestamp", "event_timestamp", "datetime", "at"),
    "kind": ("kind", "event", "event_type", "event_name", "type"),
    "channel": ("channel", "channel_group", "campaign", "source"),
    "value": ("value", "value_usd", "revenue", "conversion_value"),
    "cost": ("cost", "cost_usd", "spend"),
    "currency": ("currency",),
    "device": ("device", "device_type"),
    "rival": ("rival", "competitor"),
    "stage": ("stage",),
    "booked": ("booked", "booked_at"),
    "event_id": ("event_id",),
    "world": ("world",),
}
"""What a file may tell, and names of columns that are taken for it; the first four must be there."""
_REQUIRED: Final = ("person", "time", "kind", "channel")
_SYNONYMS: Final = {"view": "impression", "purchase": "conversion"}
_ROLES: Final = {"at_us": "time", "booked_us": "booked", "cost_micros": "cost", "value_micros": "value"}


@dataclass(frozen=True, kw_only=True, eq=False)
class EventFile:
    """Events of a file, ready to be stored.

    Attributes:
        batch: the events, in the order of the lines.
        unused: columns that were not read.
        told: the cells, for errors to say where they stand.
    """

    batch: EventBatch
    unused: tuple[str, ...]
    told: "_Told"

    @property
    def last_at(self) -> dt.datetime:
        """When the last event happened or was booked; 1970 where there is none."""
        return moment_of(int(max(self.batch.booked_us.max(initial=0), 0)))

    def append_to(self, store: JourneyStore, now: Moment) -> Appended:
        """Store the events; see `JourneyStore.append`, whose errors here name column and line."""
        try:
            return store.append(self.batch, now)
        except BadInput as error:
            raise self.told.with_place(error) from None


def read_event_file(path: Path, columns: dict[str, str] | None = None, *, prefix: str = "") -> EventFile:
    """Read a table of events.

    Lines may come in any order. An event without an id is named after what its line says, so that equal
    lines, in this file or in one read before, are one event. Amounts are in units of the currency (USD where
    no column tells), times as `columns.hours` reads them. Value and booking of a touch are ignored, and so is
    where a conversion happened.

    Args:
        path: .csv, .csv.gz, .tsv, .tsv.gz or .parquet with a header.
        columns: names of columns by what they tell, where they are not the usual ones.
        prefix: put before each person and event id, so that two sources do not mix.

    Raises:
        BadInput: a column is unknown or missing, a cell is not what it should be, or an id stands for people
            of several worlds.
    """
    there = header(path)
    asked = columns or {}
    for role in asked:
        require_known("column", role, USUAL)
    found = {
        role: find_column(there, f"the {role}", asked.get(role), usual, required=role in _REQUIRED)
        for role, usual in USUAL.items()
    }
    names = {role: name for role, name in found.items() if name is not None}
    cells = read_columns(path, list(dict.fromkeys(names.values())))
    told = _Told({role: cells[name] for role, name in names.items()}, names)
    try:
        batch = _batch(told, prefix)
    except BadInput as error:
        raise told.with_place(error) from None
    unused = tuple(name for name in there if name not in names.values())
    return EventFile(batch=batch, unused=unused, told=told)


@dataclass(frozen=True)
class _Told:
    """Cells by what they tell; absent columns read as empty."""

    cells: dict[str, Cells]
    names: dict[str, str]

    def __len__(self) -> int:
        return len(self.cells["person"])

    def texts(self, role: str, *, empty: bool = True) -> list[str]:
        if role not in self.cells:
            return [""] * len(self)
        return texts(self.names[role], self.cells[role], empty=empty)

    def micros(self, role: str) -> Ints:
        if role not in self.cells:
            return np.zeros(len(self), np.int64)
        name = self.names[role]
        return micros(name, numbers(name, self.cells[role], 0.0, MOST_USD, empty=0.0))

    def us(self, role: str) -> Ints:
        return np.rint(hours(self.names[role], self.cells[role]) * US_PER_HOUR).astype(np.int64)

    def booked_us(self, at_us: Ints) -> Ints:
        """When each was booked; an empty cell: when it happened."""
        cells = self.cells.get("booked", [])
        given = [i for i, cell in enumerate(cells) if cell is not None and str(cell).strip()]
        booked = at_us.copy()
        if given:
            assert isinstance(cells, Column)
            part = Column([cells[i] for i in given], cells.unit, [cells.place[i] for i in given])
            booked[given] = _Told({"booked": part}, self.names).us("booked")
        return booked

    def with_place(self, error: BadInput) -> BadInput:
        """The error as a reader of the file knows it: column and line instead of a cell of an array."""
        cell = re.fullmatch(r"(\w+)\[(\d+)\]", error.name)
        people = self.cells["person"]
        if cell is None or not isinstance(people, Column):
            return error
        role = _ROLES.get(cell[1], cell[1])
        name = f"{self.names.get(role, role)} in {people.unit} {people.place[int(cell[2])]}"
        remedy = "Correct that cell." if error.remedy.startswith("Correct event") else error.remedy
        return BadInput(name, error.value, error.allowed, remedy)


def _batch(told: _Told, prefix: str) -> EventBatch:
    people = told.texts("person", empty=False)
    if len(set(zip(people, told.texts("world"), strict=True))) > len(set(people)):
        remedy = "Put the world into the person's id, or import one world at a time with a prefix."
        raise BadInput(told.names["person"], "ids of several worlds", "must be of one world each", remedy)
    at_us = told.us("time")
    cells: dict[str, Any] = {
        "person": [prefix + person for person in people],
        "event_id": ["-"] * len(told),  # until what the lines say is known to be sound
        "at": at_us,
        "kind": [_SYNONYMS.get(word.lower(), word) for word in told.texts("kind", empty=False)],
        "channel": told.texts("channel"),
        "device": told.texts("device"),
        "rival": told.texts("rival"),
        "stage": told.texts("stage"),
        "cost_micros": told.micros("cost"),
        "currency": [each.upper() or "USD" for each in told.texts("currency")],
    }
    batch = EventBatch.of(cells)
    sold = batch.is_conversion
    batch = replace(
        batch,
        channel=Coded(batch.channel.names, np.where(sold, -1, batch.channel.code)),
        device=Coded(batch.device.names, np.where(sold, -1, batch.device.code)),
        rival=Coded(batch.rival.names, np.where(sold, -1, batch.rival.code)),
        stage=np.where(sold, np.uint8(0), batch.stage),
        value_micros=np.where(sold, told.micros("value"), 0),
        booked_us=np.where(sold, told.booked_us(at_us), at_us),
    )
    return replace(batch, event_id=_ids(batch, told, prefix))


def _ids(batch: EventBatch, told: _Told, prefix: str) -> list[str]:
    """Ids as told, else of what is told."""
    if "event_id" in told.cells:
        return [prefix + each for each in told.texts("event_id", empty=False)]
    columns: list[list[Any]] = [[kind.name for kind in map(TouchKind, batch.kind.tolist())]]
    for coded in (batch.person, batch.channel, batch.device, batch.rival, batch.currency):
        every = [*coded.names, ""]
        columns.append([every[i] for i in coded.code.tolist()])
    whole = (batch.at_us, batch.booked_us, batch.value_micros, batch.cost_micros, batch.stage)
    columns += [each.tolist() for each in whole]
    rows = zip(*columns, strict=True)
    return [blake2b("\x1f".join(map(str, row)).encode(), digest_size=12).hexdigest() for row in rows]
