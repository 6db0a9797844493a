"""What discovery reads: all that happened to some people at a time, from a journey database.

An export of GA4 is imported into a journey database of its own first, which goes afterwards; so both ways
give the same people, journeys and purchases, and memory is that of some people.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.data.discovery.zone import Dates
from gaelp.data.ga4.arrow import Table
from gaelp.data.ga4.importing import Imported, import_events
from gaelp.data.ga4.purchases import Rules
from gaelp.data.ga4.reading import find_files, read_events
from gaelp.data.patterns.parts import PEOPLE_AT_ONCE, Part, everybody, read_part
from gaelp.journeys.schema import conversions, touchpoints
from gaelp.journeys.store import JourneyStore, Moment
from gaelp.journeys.writing import names_by_code

Tick = Callable[[str, float], None]
"""Told what is going on and which share of it is done; below 0: not known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A journey database to discover in.

    Attributes:
        store: the database. begin_us, end_us: first and last event, microseconds since 1970.
        channels, devices, currencies: names by code. n_people: with any event.
        imported: what became of the export; None: the database was there.
        dates: how the export's days lie in UTC; empty for a database.
    """

    store: JourneyStore
    begin_us: int
    end_us: int
    channels: list[str]
    devices: list[str]
    currencies: list[str]
    n_people: int
    imported: Imported | None = None
    dates: Dates = field(default_factory=Dates)

    def parts(self, tick: Tick = lambda _what, _share: None) -> Iterator[Part]:
        """Everybody, some people at a time, of one moment."""
        with self.store.database.reading() as connection:
            roots = everybody(connection)
            for begin in range(0, roots.size, PEOPLE_AT_ONCE):
                some = roots[begin : begin + PEOPLE_AT_ONCE]
                yield read_part(self.store, connection, some, self.end_us)
                tick("reading journeys", (begin + some.size) / roots.size)


@contextmanager
def opened(ga4: Path | None, database: str | None, now: Moment, rules: Rules, tick: Tick) -> Iterator[Source]:
    """A source, from an export or from a database that is there.

    Args:
        ga4: file or folder of an export; imported into a temporary database, which goes afterwards.
        database: its address; give one of the two.
        now: nothing of an export may lie after it. rules: how an export is told. tick: told of progress.

    Raises:
        BadInput: both or neither is given, or it cannot be read, or nothing is in it.
    """
    if (ga4 is None) == (database is None):
        given = "neither" if ga4 is None else "both"
        raise BadInput("ga4 and database", given, "must be one of the two", "Give --ga4 or --database.")
    if database is not None:
        with JourneyStore(database, make=False) as store:
            yield _source(store)
        return
    assert ga4 is not None
    with tempfile.TemporaryDirectory(prefix="gaelp-discovery-") as folder:
        with JourneyStore(Path(folder) / "journeys.db") as store:
            dates = Dates()
            tables = _watched(ga4, dates, tick)
            imported = import_events(store, tables, now, rules=rules)
            yield _source(store, imported=imported, dates=dates)


def _watched(path: Path, dates: Dates, tick: Tick) -> Iterable[Table]:
    files = find_files(path)
    for i, file in enumerate(files):
        tick("reading the export", i / len(files))
        for table in read_events([file]):
            dates.add(table)
            yield table
    tick("storing journeys", -1.0)


def _source(store: JourneyStore, **more: Any) -> Source:
    ends = []
    with store.database.reading() as connection:
        for column in (touchpoints.c.at_us, conversions.c.at_us):
            ends.append(connection.execute(sa.select(sa.func.min(column), sa.func.max(column))).one())
        names = {space: names_by_code(connection, space) for space in ("channel", "device", "currency")}
        n_people = everybody(connection).size
    known = [us for pair in ends for us in pair if us is not None]
    if not known:
        allowed = "must hold a session or a purchase"
        raise BadInput("journeys", "empty", allowed, "Is this the right export, of the right days?")
    return Source(
        store=store,
        begin_us=min(known),
        end_us=max(known),
        channels=names["channel"],
        devices=names["device"],
        currencies=names["currency"],
        n_people=n_people,
        **more,
    )
