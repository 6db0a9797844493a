"""Bad input: nothing is stored, and the error says what to mend."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.words import Stage
from gaelp.journeys.batch import Event, EventBatch
from gaelp.journeys.database import Database
from gaelp.journeys.schema import touchpoints
from gaelp.journeys.store import JourneyStore

from .telling import click, day, dump, sale

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
        ({"at": [2**70]}, r"`at\[0\]`.*1 to 9999"),
        ({"at": np.array([2**63], np.uint64)}, "1 to 9999"),
        ({"booked_at": [-(2**70)]}, "1 to 9999"),
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


@pytest.mark.parametrize("split", [False, True], ids=["one call", "two calls"])
@pytest.mark.parametrize("many", [0, 300], ids=["few", "by COPY"])
def test_an_id_is_a_touch_or_a_conversion_and_the_first_told_stays(
    store: JourneyStore, split: bool, many: int
) -> None:
    more = [click(f"p{i}", f"p{i}", 1) for i in range(many)]
    more += [sale(f"p{i}", f"p{i}", 2) for i in range(many)]
    pairs = [click("a", "x", 1), sale("a", "x", 2), sale("b", "y", 1), click("b", "y", 2), *more]
    calls = [pairs]
    if split:
        calls = [[pairs[0], pairs[2], *more[:many]], [pairs[1], pairs[3], *more[many:]]]
    told = [store.append(call, day(3)) for call in calls]
    assert sum(each.touches for each in told) == 1 + many
    assert sum(each.conversions for each in told) == 1
    assert sum(each.repeats for each in told) == 2 + many
    assert {name for each in told for name in each.conflicts} == {"x", "y", *(f"p{i}" for i in range(many))}
    assert {row[2] for row in dump(store)["touchpoints"]} == {"x", *(f"p{i}" for i in range(many))}
    assert [row[2] for row in dump(store)["conversions"]] == ["y"]


@pytest.mark.parametrize(
    "change",
    [
        {"person": "b"},
        {"at": day(0.5)},
        {"kind": "visit"},
        {"channel": "social"},
        {"device": "mobile"},
        {"rival": "Guardly"},
        {"stage": "intent"},
        {"cost_micros": 6},
        {"currency": "EUR"},
    ],
    ids=str,
)
def test_a_touch_told_again_otherwise_is_a_conflict(store: JourneyStore, change: dict[str, Any]) -> None:
    first = click("a", "e", 0, cost_micros=5)
    assert store.append([first, first], day(1)).conflicts == ()
    held = dump(store)["touchpoints"]
    told = store.append([replace(first, **change), first], day(1))
    assert (told.touches, told.repeats, told.conflicts) == (0, 2, ("e",))
    assert dump(store)["touchpoints"] == held


@pytest.mark.parametrize("change", [{"value_micros": 6}, {"currency": "EUR"}, {"booked_at": day(1)}], ids=str)
def test_a_conversion_told_again_otherwise_is_a_conflict(store: JourneyStore, change: dict[str, Any]) -> None:
    first = sale("a", "s", 0, value_micros=5)
    assert store.append([first, replace(first, channel="search")], day(1)).conflicts == ()
    told = store.append([replace(first, **change)], day(1))
    assert (told.conversions, told.repeats, told.conflicts) == (0, 1, ("s",))


def test_of_a_conversion_no_stage_is_kept(new_url: Callable[[], str]) -> None:
    """Not even in the journeys of people who are all new, which are cut before their events are read back."""
    events = [click("a", "e", 0), sale("a", "s", 1, stage="intent")]
    reached = []
    for calls in ([events], [events[:1], events[1:]]):
        with JourneyStore(new_url()) as store:
            for call in calls:
                store.append(call, day(1))
            journey = store.journey("a", day(1))
            assert journey is not None
            reached.append(journey.reached)
    assert reached == [Stage.CONSIDERING, Stage.CONSIDERING]


def test_a_moment_beyond_all_years_is_refused(store: JourneyStore) -> None:
    with pytest.raises(BadInput, match="`now`"):
        store.stages(2**70)


def test_a_damaged_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with JourneyStore(path) as store:
        store.append([click("a", "e", 0)], day(0))
        with store.database.reading() as connection:
            begin = "SELECT rootpage FROM sqlite_master WHERE name = 'touchpoints'"
            page = connection.exec_driver_sql(begin).scalar_one()
            size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with JourneyStore(path) as store, pytest.raises(GaelpError, match=r"The database failed: .*malformed"):
        store.append([click("a", "f", 0)], day(0))


@pytest.mark.parametrize("many", [1, 300], ids=["few", "by COPY"])
def test_whatever_fails_is_told_in_one_sentence(store: JourneyStore, many: int) -> None:
    """COPY is the driver's own and goes past SQLAlchemy, whose errors are others."""
    with store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE touchpoints RENAME COLUMN rival TO other")
    with pytest.raises(GaelpError, match=r"The database failed: .*rival.* was not stored\.") as caught:
        store.append([click("a", f"e{i}", 0) for i in range(many)], day(0))
    assert "\n" not in str(caught.value)


def test_a_scrub_that_somebody_is_in_the_way_of_says_to_run_it_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaelp.journeys.database._PRAGMAS", ("busy_timeout = 50", "journal_mode = WAL"))
    impatient = url if url.startswith("sqlite") else f"{url}&options=-c%20lock_timeout%3D50"
    with JourneyStore(impatient) as store, JourneyStore(url) as other:
        store.append([click("a", "e", 0)], day(0))
        for busy in (other.database.writing, other.database.reading):
            with busy() as connection:
                connection.execute(sa.select(touchpoints)).all()
                with pytest.raises(GaelpError, match=r"The database failed: .*run it again"):
                    if busy == other.database.reading:
                        store.forget("a", scrub=True)
                    else:
                        store.database.scrub()
        assert store.forget("a", scrub=True) == 0
