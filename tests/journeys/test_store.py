"""What is told once is known for good, on either database."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import Stage, TouchKind
from gaelp.journeys.bulk import JourneyRules, batch_of_table
from gaelp.journeys.database import Database
from gaelp.journeys.schema import metadata
from gaelp.journeys.store import JourneyStore
from gaelp.journeys.table import JourneyTable

from .telling import click, day, dump, sale


def test_an_event_told_twice_is_stored_once(store: JourneyStore) -> None:
    first = store.append([click("a", "e1", 0), click("a", "e2", 1)], day(1))
    again = store.append([click("a", "e2", 1), click("a", "e3", 2), click("a", "e3", 2)], day(2))
    assert (first.touches, first.repeats, again.touches, again.repeats) == (2, 0, 1, 2)
    assert again.conflicts == ()
    journey = store.journey("a", day(2))
    assert journey is not None
    assert [touch.event_id for touch in journey.touches] == ["e1", "e2", "e3"]


def test_the_first_told_stays_where_an_id_comes_back_with_something_else(store: JourneyStore) -> None:
    store.append([click("a", "e1", 0), sale("a", "s1", 1)], day(1))
    before = dump(store)
    told = store.append([click("a", "e1", 0.5), sale("a", "s1", 1, value_micros=1)], day(1))
    assert (told.touches, told.conversions, told.repeats, told.conflicts) == (0, 0, 2, ("e1", "s1"))
    assert dump(store) == before


def test_a_person_is_made_once(store: JourneyStore) -> None:
    first, again = store.get_or_create("a", day(0)), store.get_or_create("a", day(3))
    assert first == again and first.match_confidence == 1.0
    assert store.get_or_create("b", day(0)).root != first.root
    assert store.journey("a", day(0)) is None and store.journeys("nobody", day(0)) == []


def test_a_journey_tells_its_stage_days_channels_devices_and_rivals(store: JourneyStore) -> None:
    events = [
        click("a", "e1", 0, kind="impression", channel="social", device="mobile", cost_micros=1_500),
        click("a", "e2", 2, device="desktop", rival="Guardly"),
        click("a", "e3", 3, kind="visit", channel="direct", device="mobile", stage="intent"),
    ]
    store.append(events[:1], day(0))
    seen = store.journey("a", day(1))
    assert seen is not None and (seen.stage, seen.days, seen.ended_at) == (Stage.AWARE, 1.0, None)
    store.append(events[1:], day(3))
    seen = store.journey("a", day(4))
    assert seen is not None and seen.stage is seen.reached is Stage.INTENT
    assert (seen.channels, seen.devices, seen.rivals) == (
        ("social", "search", "direct"),
        ("mobile", "desktop"),
        ("Guardly",),
    )
    assert (seen.touches[0].kind, seen.touches[0].cost_micros) == (TouchKind.IMPRESSION, 1_500)
    store.append([sale("a", "s1", 5, booked_at=day(7))], day(7))
    seen = store.journey("a", day(30))
    assert seen is not None and (seen.stage, seen.reached, seen.days) == (Stage.CONVERTED, Stage.INTENT, 5.0)
    assert seen.conversion is not None and seen.conversion.booked_at == day(7)
    assert (seen.conversion.value_micros, seen.conversion.currency) == (90_000_000, "USD")


def test_a_journey_is_lost_after_fourteen_idle_days_and_not_before(store: JourneyStore) -> None:
    store.append([click("a", "e1", 0)], day(0))
    almost = day(14) - dt.timedelta(microseconds=1)
    assert store.time_out(almost) == 0
    journey = store.journey("a", almost)
    assert journey is not None and journey.stage is Stage.CONSIDERING
    assert store.stages(day(14))["LOST"] == 1  # before the mark is set, too
    assert store.time_out(day(14)) == 1
    assert store.time_out(day(14)) == 0
    journey = store.journey("a", day(50))
    assert journey is not None and journey.stage is Stage.LOST
    assert (journey.ended_at, journey.days, journey.reached) == (day(14), 14.0, Stage.CONSIDERING)


def test_a_lost_person_who_comes_back_begins_a_journey_that_says_so(store: JourneyStore) -> None:
    store.append([click("a", "e1", 0)], day(0))
    store.time_out(day(20))
    store.append([click("a", "e2", 20)], day(20))
    first, second = store.journeys("a", day(21))
    assert (first.stage, first.number, second.stage, second.number) == (
        Stage.LOST,
        1,
        Stage.CONSIDERING,
        2,
    )
    assert second.reopened and not first.reopened
    assert store.journey("a", day(21)) == second


def test_a_touch_told_late_reopens_the_lost_journey_it_belongs_to(store: JourneyStore) -> None:
    store.append([click("a", "e1", 0)], day(0))
    store.time_out(day(14))
    store.append([click("a", "e3", 20)], day(20))
    assert len(store.journeys("a", day(20))) == 2
    store.append([click("a", "e2", 10)], day(21))
    (journey,) = store.journeys("a", day(21))
    assert [touch.event_id for touch in journey.touches] == ["e1", "e2", "e3"]
    assert journey.stage is Stage.CONSIDERING and journey.opened_at == day(0)


@pytest.mark.parametrize(("days", "same"), [(40, True), (90, True), (91, False)])
def test_a_late_conversion_ends_the_lost_journey_up_to_ninety_days(
    store: JourneyStore, days: int, same: bool
) -> None:
    store.append([click("a", "e1", 0)], day(0))
    store.time_out(day(30))
    store.append([sale("a", "s1", days)], day(days))
    found = store.journeys("a", day(days))
    stages = [journey.stage for journey in found]
    assert stages == ([Stage.CONVERTED] if same else [Stage.LOST, Stage.CONVERTED])
    assert len(found[-1].touches) == (1 if same else 0)


def test_everything_is_there_after_opening_again(store: JourneyStore) -> None:
    store.append([click("a", "e1", 0), sale("b", "s1", 1)], day(1))
    before = dump(store)
    store.close()
    with JourneyStore(store.database.url.render_as_string(hide_password=False)) as again:
        assert dump(again) == before
        assert again.append([click("c", "e9", 1)], day(1)).touches == 1


def test_a_store_keeps_the_rules_it_was_made_with(url: str) -> None:
    JourneyStore(url, rules=JourneyRules(idle_days=30, late_days=60)).close()
    with JourneyStore(url) as store:
        assert store.rules == JourneyRules(idle_days=30, late_days=60)
    with pytest.raises(MismatchError, match="idle_days=30"):
        JourneyStore(url, rules=JourneyRules())


def test_the_migrations_make_what_the_schema_says(store: JourneyStore) -> None:
    with store.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_database_of_a_newer_version_is_left_alone(store: JourneyStore) -> None:
    with store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MismatchError, match="9999"):
        Database(store.database.url.render_as_string(hide_password=False))


def test_a_look_up_reads_by_index_alone(store: JourneyStore) -> None:
    if not store.database.is_sqlite:
        pytest.skip("PostgreSQL chooses its plan by the size of the tables")
    store.append([click(f"p{i}", f"e{i}", 0) for i in range(50)], day(0))
    plans = []

    def explain(connection: Any, _cursor: Any, statement: str, given: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            cursor = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", given)
            plans.extend(row[3] for row in cursor if "names" not in statement)

    sa.event.listen(store.database.engine, "after_cursor_execute", explain)
    store.journey("p7", day(1))
    assert plans and not [plan for plan in plans if plan.startswith("SCAN")]


# --- tables in and out


def table_of(seed: int, n_people: int) -> JourneyTable:
    """Journeys that the store's rules would cut in the same way."""
    rng = np.random.default_rng(seed)
    rows, hour, person = [], [], []
    kinds: list[int] = []
    begin = day(0).timestamp() / 3600
    for who in range(n_people):
        clock, sold = begin + float(rng.integers(0, 500)), True
        for _ in range(rng.integers(1, 4)):
            n = int(rng.integers(0 if sold else 1, 5))  # a sale alone would end a lost journey
            sold = n == 0 or rng.random() < 0.4
            touches = clock + np.cumsum(rng.integers(1, 200, n))
            end = (touches[-1] if n else clock) + float(rng.integers(1, 300)) if sold else touches[-1] + 336
            rows.append((n, sold, end))
            hour.extend(touches.tolist())
            kinds.extend(rng.integers(0, 5, n).tolist())
            person.append(who)
            clock = end + 337
    lengths, sold, end = (np.array(column) for column in zip(*rows, strict=True))
    return JourneyTable(
        channels=("display", "email", "search"),
        offsets=np.append(0, np.cumsum(lengths)),
        channel=rng.integers(0, 3, len(hour)),
        conversions=sold,
        nulls=~sold,
        value_usd_micros=np.where(sold, rng.integers(0, 10**9, sold.size), 0),
        touch_hour=hour,
        end_hour=end,
        kind=kinds,
        person=person,
    )


def test_a_table_comes_back_as_it_went_in(store: JourneyStore) -> None:
    table = table_of(seed=3, n_people=60)
    batch = batch_of_table(table, "study")
    assert store.append(batch, day(400)).repeats == 0
    assert store.append(batch, day(400)).repeats == len(batch)
    back = store.table(day(400))
    for name in ("offsets", "conversions", "nulls", "value_usd_micros", "touch_hour", "end_hour", "kind"):
        np.testing.assert_array_equal(getattr(back, name), getattr(table, name), err_msg=name)
    assert [back.path(i) for i in range(back.n_rows)] == [table.path(i) for i in range(table.n_rows)]
    assert len(set(zip(back.person.tolist(), table.person.tolist(), strict=True))) == 60  # type: ignore[union-attr]


def test_a_table_of_a_span_holds_the_journeys_that_began_in_it(store: JourneyStore) -> None:
    store.append(
        [click("a", "e1", 0), click("a", "e2", 20), click("b", "e3", 5), sale("b", "s1", 6)], day(25)
    )
    table = store.table(day(25), since=day(1), until=day(20))
    assert (table.n_rows, table.conversions.tolist(), table.value_usd.tolist()) == (1, [1], [90.0])
    assert store.table(day(25), since=day(30)).n_rows == 0
    still_open = store.table(day(25), since=day(20))
    assert still_open.end_hour is not None and still_open.end_hour[0] == day(25).timestamp() / 3600


def test_a_table_refuses_to_add_currencies(store: JourneyStore) -> None:
    store.append([sale("a", "s1", 0), sale("b", "s2", 0, currency="EUR")], day(0))
    with pytest.raises(BadInput, match="EUR"):
        store.table(day(1))
