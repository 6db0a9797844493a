"""Short ways to tell a store what happened, and to see all it holds."""

import datetime as dt
from typing import Any

import sqlalchemy as sa

from gaelp.journeys.batch import Event
from gaelp.journeys.schema import metadata
from gaelp.journeys.store import JourneyStore

BEGIN = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def day(number: float) -> dt.datetime:
    return BEGIN + dt.timedelta(days=number)


def click(person: str, event_id: str, on: float, **more: Any) -> Event:
    told = {"kind": "click", "channel": "search", **more}
    return Event(person=person, event_id=event_id, at=day(on), **told)


def sale(person: str, event_id: str, on: float, **more: Any) -> Event:
    told = {"kind": "conversion", "value_micros": 90_000_000, **more}
    return Event(person=person, event_id=event_id, at=day(on), **told)


def dump(store: JourneyStore) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables; counters and to-do marks, which are no knowledge of anybody, left out."""
    found = {}
    with store.database.reading() as connection:
        for table in metadata.sorted_tables:
            columns = [column for column in table.c if column.name != "unsettled"]
            rows = [] if table.name == "settings" else connection.execute(sa.select(*columns)).all()
            found[table.name] = sorted(map(tuple, rows), key=repr)
    return found
