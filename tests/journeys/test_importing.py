"""Files of events, told to the store."""

import datetime as dt
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import Stage, TouchKind
from gaelp.journeys.importing import read_event_file
from gaelp.journeys.store import JourneyStore

HEADER = "user_id,timestamp,event,campaign,revenue,device,page\n"
LINES = (
    "b,2026-03-03T09:00:00+01:00,click,search,,mobile,/a\n"
    "a,2026-03-02T10:00,purchase,,180.50,,/thanks\n"
    "a,2026-03-01T10:00,view,social,,desktop,/b\n"
)
NOW = dt.datetime(2026, 3, 4, tzinfo=dt.UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + LINES)
    return path


def test_a_file_becomes_journeys_whatever_the_order_of_its_lines(store: JourneyStore, file: Path) -> None:
    found = read_event_file(file)
    assert found.unused == ("page",)
    told = found.append_to(store, NOW)
    assert (told.touches, told.conversions, told.repeats) == (2, 1, 0)
    bought, clicked = store.journey("a", NOW), store.journey("b", NOW)
    assert bought is not None and bought.stage is Stage.CONVERTED and bought.devices == ("desktop",)
    assert bought.conversion is not None and bought.conversion.value_micros == 180_500_000
    assert bought.touches[0].kind is TouchKind.IMPRESSION and bought.days == 1.0
    assert clicked is not None and clicked.touches[0].at == dt.datetime(2026, 3, 3, 8, tzinfo=dt.UTC)
    summary = store.summary(NOW)
    assert (summary.people, summary.touchpoints, summary.conversions) == (2, 2, 1)
    assert summary.value_micros == {"USD": 180_500_000} and summary.channels == {"search": 1, "social": 1}
    assert (summary.mean_touchpoints, summary.mean_journey_days) == (1.0, 1.0)


def test_a_file_that_grew_adds_what_is_new(store: JourneyStore, file: Path) -> None:
    read_event_file(file).append_to(store, NOW)
    file.write_text(HEADER + "c,2026-03-03,click,search,,mobile,/z\n" * 2 + LINES)
    told = read_event_file(file).append_to(store, NOW)
    assert (told.touches, told.conversions, told.repeats, told.conflicts) == (1, 0, 4, ())


def test_a_prefix_keeps_two_sources_apart(store: JourneyStore, file: Path) -> None:
    for prefix in ("first:", "second:"):
        assert read_event_file(file, prefix=prefix).append_to(store, NOW).repeats == 0
    assert store.journey("first:a", NOW) is not None and store.journey("a", NOW) is None


def test_ids_costs_currencies_and_bookings_are_taken_where_a_file_has_them(
    store: JourneyStore, tmp_path: Path
) -> None:
    names = ("event_id", "person", "time", "kind", "channel", "cost", "value", "currency", "rival", "stage")
    rows = [
        ("e1", "a", 1_772_359_200, "click", "search", 0.25, None, "eur", "Guardly", "intent"),
        ("e2", "a", 1_772_362_800, "conversion", None, None, 90.0, "eur", None, None),
    ]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["booked"] = [None, 1_772_449_200]
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "e.parquet")
    read_event_file(tmp_path / "e.parquet").append_to(store, NOW)
    journey = store.journey("a", NOW)
    assert journey is not None and journey.conversion is not None
    (touch,) = journey.touches
    assert (touch.event_id, touch.cost_micros, touch.currency) == ("e1", 250_000, "EUR")
    assert journey.rivals == ("Guardly",) and journey.reached is Stage.INTENT
    assert journey.conversion.booked_at - journey.conversion.at == dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("click", "clik", "`event in line 2` was 'clik'.*Did you mean 'click'"),
        ("search", "", "`campaign in line 2`.*a touch needs a channel"),
        ("180.50", "-1", "`revenue in line 3`.*at least 0"),
        ("180.50", "much", "`revenue in line 3`.*must be a number"),
        ("2026-03-02T10:00", "soon", "`timestamp in line 3`.*must be a time"),
        ("2026-03-02T10:00", "2026-04-02", "`timestamp in line 3`.*not lie after now"),
        ("2026-03-02T10:00", "1926-03-02", "`timestamp in line 3`.*from 1990"),
        ("a,2026-03-01", ",2026-03-01", "`user_id in line 4`.*must not be empty"),
        ("user_id", "who", "column of the person"),
        ("page", "stage", "`stage in line 2` was '/a'; known: aware"),
    ],
)
def test_a_bad_cell_is_named_by_column_and_line(
    store: JourneyStore, file: Path, before: str, after: str, complaint: str
) -> None:
    file.write_text((HEADER + LINES).replace(before, after, 1))
    with pytest.raises(BadInput, match=complaint):
        read_event_file(file).append_to(store, NOW)
    assert store.summary(NOW).people == 0


def test_columns_are_named_as_they_are_in_the_file(file: Path) -> None:
    file.write_text((HEADER + LINES).replace("user_id", "who"))
    assert len(read_event_file(file, {"person": "who"}).batch) == 3
    with pytest.raises(BadInput, match="Did you mean 'who'"):
        read_event_file(file, {"person": "whoo"})
    with pytest.raises(BadInput, match="Did you mean 'person'"):
        read_event_file(file, {"persn": "who"})


def test_an_id_that_stands_for_people_of_two_worlds_is_refused(file: Path) -> None:
    file.write_text(
        "world,person,time,kind,channel\n0,a,2026-03-01,click,search\n1,a,2026-03-01,click,search\n"
    )
    with pytest.raises(BadInput, match="of one world each"):
        read_event_file(file)


def test_lines_that_differ_in_stage_or_booking_only_are_two_events(store: JourneyStore, file: Path) -> None:
    file.write_text(
        "person,time,kind,channel,value,stage,booked\n"
        "a,2026-03-01,click,search,,considering,\n"
        "a,2026-03-01,click,search,,intent,\n"
        "a,2026-03-02,conversion,,9,,2026-03-02\n"
        "a,2026-03-02,conversion,,9,,2026-03-03\n"
        "a,2026-03-02,conversion,social,9,intent,2026-03-03\n"  # where and how near are not kept of these
    )
    for expected in ((2, 2, 1), (0, 0, 5)):
        told = read_event_file(file).append_to(store, NOW)
        assert (told.touches, told.conversions, told.repeats) == expected and not told.conflicts
