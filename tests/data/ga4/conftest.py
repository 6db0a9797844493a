"""A store, and a short way to tell it rows of an export."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gaelp.data.ga4.importing import Imported, import_export
from gaelp.journeys.schema import aliases, conversions, names, touchpoints
from gaelp.journeys.store import JourneyStore

from .exports import NOW, Row, write

Tell = Callable[..., Imported]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JourneyStore]:
    with JourneyStore(f"sqlite:///{tmp_path}/journeys.db") as opened:
        yield opened


@pytest.fixture
def tell(store: JourneyStore, tmp_path: Path) -> Tell:
    """Imports rows, or a path, into the store."""

    def call(given: list[Row] | Path, **options: Any) -> Imported:
        path = given if isinstance(given, Path) else write(tmp_path / "export.json", given)
        return import_export(store, path, options.pop("now", NOW), **options)

    return call


def held(store: JourneyStore) -> tuple[list[Any], list[Any]]:
    """All touches and conversions in words, by event id."""
    t, c = touchpoints.c, conversions.c
    with store.database.reading() as connection:
        words = {
            (space, code): name
            for space, code, name in connection.execute(sa.select(names.c.space, names.c.code, names.c.name))
        }
        touches = connection.execute(
            sa.select(t.event_id, aliases.c.name, t.at_us, t.kind, t.channel, t.device, t.stage)
            .join(aliases, aliases.c.id == t.alias_id)
            .order_by(t.event_id)
        ).all()
        sales = connection.execute(
            sa.select(c.event_id, aliases.c.name, c.at_us, c.value_micros, c.currency)
            .join(aliases, aliases.c.id == c.alias_id)
            .order_by(c.event_id)
        ).all()
    told = [
        (*row[:4], words["channel", row[4]], words.get(("device", row[5]), ""), row[6]) for row in touches
    ]
    return told, [(*row[:4], words["currency", row[4]]) for row in sales]
