"""Bad input: nothing is stored, and the error says what to mend."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.words import Stage
from gaelp.journeys.batch import Event, EventBatch
from gaelp.journeys.database import Database
from gaelp.journeys.store import JourneyStore

from .telling import day, dump

GOOD = {"person": ["a"], "event_id": ["e"], "at": [day(0)], "kind": ["click"], "channel": ["search"]}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"chanel": ["search"]}, "Did you mean 'channel'"),
        ({"kind": ["clik"]}, "Did you mean 'click'"),
        ({"stage": ["converted"]}, "known: aware"),
        ({"at": [day(0).replace(tzinfo=None)]}, "time zone"),
        ({"at": [int(day(0).timestamp())]}, "microseconds"),
        ({"at": [day(0) + dt.timedelta(minutes=6)]}, "after now"),
        ({"at": ["yesterday"]}, "aware date-time"),
        ({"cost_micros": [-1]}, "from 0"),
        ({"cost_micros": [0.5]}, "whole micros"),
        ({"cost_micros": [float("nan")]}, "whole micros"),
        ({"value_micros": [1]}, "a conversion a value"),
        ({"channel": [None]}, "needs a channel"),
        ({"channel": ["search", "social"]}, "rows"),
        ({"person": [""]}, "must name one"),
        ({"person": ["x" * 256]}, "255"),
        ({"event_id": ["a\x00b"]}, "NUL"),
        ({"event_id": ["\ud800"]}, "surrogates"),
        ({"event_id": [17]}, "text"),
        ({"currency": ["usd"]}, "ISO 4217"),
        ({"booked_at": [day(-1)]}, "must not lie before the event"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_bad_events_are_refused_whole(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with JourneyStore(tmp_path / "j.db") as store:
        with pytest.raises(BadInput, match=complaint):
            store.append(EventBatch.of({**GOOD, **change}), day(0))
        assert not dump(store)["touchpoints"] and not dump(store)["aliases"]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(BadInput, match="must have 'at'"):
        EventBatch.of({name: cells for name, cells in GOOD.items() if name != "at"})


def test_events_a_clock_put_a_little_ahead_are_taken(store: JourneyStore) -> None:
    ahead = Event(
        **{name: cells[0] for name, cells in GOOD.items()} | {"at": day(0) + dt.timedelta(minutes=5)}
    )  # type: ignore[arg-type]
    assert store.append([ahead], day(0)).touches == 1
    journey = store.journey("a", day(0))
    assert journey is not None and journey.stage is Stage.CONSIDERING


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://u:secret@h/d", "sqlite:///FILE"),
        ("postgresql://u:secret@127.0.0.1:1/d", "could not be opened"),
        ("sqlite://", "must name a file"),
        ("sqlite:////no/such/folder/j.db", "could not be opened"),
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint) as caught:
        Database(url)
    assert "secret" not in str(caught.value)


def test_database_url_is_heard(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with JourneyStore() as store:
        assert store.database.is_sqlite == url.startswith("sqlite")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_text("these are no tables " * 100)
    with pytest.raises(BadInput, match="could not be opened"):
        Database(tmp_path / "j.db")


def test_a_database_that_fails_is_told_plainly_and_keeps_nothing_of_the_call(store: JourneyStore) -> None:
    """The table is taken away under the store, as a full disk or a lost server would take it."""
    event = Event(**{name: cells[0] for name, cells in GOOD.items()})  # type: ignore[arg-type]
    with store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE journeys RENAME TO elsewhere")
    with pytest.raises(Exception, match=r"elsewhere|journeys"):
        store.append([event], day(0))
    with store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO journeys")
    assert not dump(store)["touchpoints"] and not dump(store)["aliases"]
    assert store.append([event], day(0)).touches == 1


def test_a_full_disk_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    with JourneyStore(tmp_path / "j.db") as store:
        with store.database.writing() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            many = [
                Event(person="a", event_id=f"e{i}", at=day(0), kind="click", channel="x") for i in range(5000)
            ]
        with pytest.raises(GaelpError, match="The database failed: database or disk is full") as caught:
            store.append(many, day(0))
        assert caught.value.exit_code == 1
        assert not dump(store)["touchpoints"]
