"""The pattern store follows the journeys: purchases, restatements, refunds, merges, people who leave."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from gaelp.core.errors import BadInput, MismatchError
from gaelp.data.patterns.creatives import rank_creatives, shrunken
from gaelp.data.patterns.kept import named
from gaelp.data.patterns.schema import HEAD, metadata
from gaelp.data.patterns.store import PatternStore
from gaelp.data.patterns.vectors import vector_of
from gaelp.journeys.batch import EventBatch
from gaelp.journeys.restating import restate
from gaelp.journeys.store import JourneyStore

from ...journeys.conftest import Postgres
from ...journeys.telling import click, day, sale

LATE = day(120)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JourneyStore]:
    url = f"sqlite:///{tmp_path}/journeys.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    with JourneyStore(url) as opened:
        yield opened


@pytest.fixture
def patterns(store: JourneyStore) -> PatternStore:
    """Four people: two who buy after search, one lost after social, one with both kinds of journey."""
    store.append(
        [
            click("ann", "a1", 0, device="mobile"),
            click("ann", "a2", 1, channel="email"),
            sale("ann", "a3", 2),
            click("bob", "b1", 0, device="mobile"),
            sale("bob", "b2", 1),
            click("cat", "c1", 0, channel="social", device="desktop"),
            click("dan", "d1", 0, channel="social"),
            click("dan", "d2", 40),
            sale("dan", "d3", 41),
            sale("eve", "e1", 1),  # a purchase that no touch preceded
        ],
        LATE,
    )
    opened = PatternStore(store)
    opened.update(LATE)
    return opened


def rows(store: JourneyStore) -> list[Any]:
    """All that is kept but the count of changes."""
    found = []
    with store.database.reading() as connection:
        for table in metadata.sorted_tables:
            told = connection.execute(sa.select(table)).all()
            found += [(table.name, *row) for row in told if row[0] != "revision"]
    return sorted(found, key=repr)


def sold(patterns: PatternStore) -> list[str]:
    return sorted(patterns.kept().conversion_id)


def test_journeys_that_ended_are_kept_and_updating_again_changes_nothing(
    store: JourneyStore, patterns: PatternStore
) -> None:
    assert sold(patterns) == ["", "", "a3", "b2", "d3"]
    before = rows(store)
    assert patterns.update(LATE).kept == 5
    assert patterns.update(LATE, ["dan", "ann"]).kept == 3
    assert rows(store) == before


def test_updates_by_each_purchase_are_an_update_of_all(store: JourneyStore, patterns: PatternStore) -> None:
    store.append([click("cat", "c2", 60), sale("cat", "c3", 61), click("fay", "f1", 60)], LATE)
    patterns.update(LATE, ["cat", "fay"])
    one_by_one = rows(store)
    assert sold(patterns) == ["", "", "", "a3", "b2", "c3", "d3"]
    patterns.update(LATE)
    assert rows(store) == one_by_one


def test_an_open_journey_is_no_pattern_until_it_ends(store: JourneyStore) -> None:
    store.append([click("ann", "a1", 0)], day(1))
    opened = PatternStore(store)
    assert opened.update(day(1)).kept == 0
    with pytest.raises(BadInput, match="none kept"):
        opened.kept()
    assert opened.update(day(20)).kept == 1  # lost by then


def test_a_restated_purchase_is_replaced(store: JourneyStore, patterns: PatternStore) -> None:
    at = int(day(1.5).timestamp() * 1e6)
    told = EventBatch.of(
        {"person": ["ann"], "event_id": ["a3"], "at": [at], "kind": ["conversion"], "value_micros": [5]}
    )
    restate(store, told, LATE)
    patterns.update(LATE, ["ann"])
    kept = patterns.kept()
    assert kept.value_micros[kept.conversion_id.index("a3")] == 5 and sold(patterns).count("a3") == 1


def test_a_refunded_purchase_leaves_and_stays_away(store: JourneyStore, patterns: PatternStore) -> None:
    patterns.tell_refunds(["d3"], LATE)
    assert sold(patterns) == ["", "", "a3", "b2"]
    patterns.update(LATE)
    assert sold(patterns) == ["", "", "a3", "b2"]
    with pytest.raises(BadInput, match="must be a purchase"):
        patterns.tell_refunds(["nobody"], LATE)


def test_merged_people_are_one_and_can_part_again(store: JourneyStore, patterns: PatternStore) -> None:
    before = rows(store)
    store.merge("ann", "bob", 0.9, LATE)
    patterns.update(LATE, ["bob"])
    assert sold(patterns) == ["", "", "b2", "d3"]  # all touches come before b2, so a3 has none of its own
    store.unmerge("ann", "bob", LATE)
    patterns.update(LATE, ["ann", "bob"])
    assert rows(store) == before


def test_the_forgotten_are_no_neighbours_and_leave(store: JourneyStore, patterns: PatternStore) -> None:
    patterns.tell_creatives([("a1", "reassurance")], LATE)
    store.forget("ann")
    assert "a3" not in PatternStore(store).kept().conversion_id
    assert any("a3" in row for row in rows(store))
    assert patterns.forget() > 0
    assert not any("a3" in row or "reassurance" in row for row in rows(store))
    assert patterns.update(LATE).kept == 4
    assert not any("a3" in row or "reassurance" in row for row in rows(store))


def test_another_store_sees_what_changed(store: JourneyStore, patterns: PatternStore) -> None:
    other = PatternStore(store)
    assert len(other.kept().conversion_id) == 5
    store.append([click("gus", "g1", 60), sale("gus", "g2", 61)], LATE)
    patterns.update(LATE, ["gus"])
    assert "g2" in other.kept().conversion_id


def test_a_journey_as_read_and_as_kept_is_the_same_vector(
    store: JourneyStore, patterns: PatternStore
) -> None:
    kept = patterns.kept()
    for person, purchase in (("ann", "a3"), ("dan", "d3")):
        journey = store.journey(person, LATE)
        assert journey is not None
        row = kept.index.rows[kept.conversion_id.index(purchase)]
        assert vector_of(journey) == pytest.approx(row, abs=1e-6)
    assert named(vector_of(journey))["last.paid_search"] == pytest.approx(0.7071)


def test_neighbours_are_other_people_with_what_became_of_them(
    store: JourneyStore, patterns: PatternStore
) -> None:
    store.append([click("new", "n1", 100, device="mobile")], day(101))
    journey = store.journey("new", day(101))
    assert journey is not None
    found = patterns.like(journey, 2)
    assert found.neighbours[0].conversion_id == "b2" and found.neighbours[0].distance == 0
    assert (found.journeys, found.conversions) == (2, 2)
    assert found.neighbours[0].value_micros == 90_000_000 and found.neighbours[0].currency == "USD"
    bob = store.journey("bob", LATE)
    assert bob is not None
    assert all(each.conversion_id != "b2" for each in patterns.like(bob, 4).neighbours)
    with pytest.raises(BadInput, match="from 1 to"):
        patterns.like(journey, 6)


def test_a_creative_that_sells_to_such_people_comes_first(store: JourneyStore) -> None:
    draws, told, shown = np.random.default_rng(0), [], []
    rates = {("search", "offer"): 0.5, ("search", "story"): 0.1}
    for i in range(400):
        channel, creative = ("search", "social")[i % 2], ("offer", "story")[i // 2 % 2]
        told.append(click(f"p{i}", f"t{i}", 0, channel=channel))
        shown.append((f"t{i}", creative))
        p = rates.get((channel, creative), rates["search", "offer" if creative == "story" else "story"])
        if draws.random() < p:
            told.append(sale(f"p{i}", f"s{i}", 1))
    told += [click("ann", "a1", 100), click("bob", "b1", 100, channel="social")]
    store.append(told, day(101))
    patterns = PatternStore(store)
    with pytest.raises(BadInput, match="none kept"):
        patterns.kept()
    patterns.update(day(101))
    ann, bob = store.journey("ann", day(101)), store.journey("bob", day(101))
    assert ann is not None and bob is not None
    with pytest.raises(BadInput, match="must be told"):
        rank_creatives(patterns, ann)
    patterns.tell_creatives(shown, day(101))
    first, second = rank_creatives(patterns, ann, 150)
    assert (first.creative, second.creative) == ("offer", "story")
    assert first.low < 0.5 < first.high and second.low < 0.1 < second.high
    assert first.journeys + second.journeys == 200 and first.features["share.paid_search"] > 0
    assert rank_creatives(patterns, bob, 150)[0].creative == "story"
    patterns.tell_creatives([("t0", "other")], day(101))
    assert rank_creatives(patterns, ann)[-1].creative != "offer"
    with pytest.raises(BadInput, match="must be a touch"):
        patterns.tell_creatives([("nothing", "offer")], day(101))


@pytest.mark.statistical
def test_shrunken_rates_are_nearer_to_the_truth_than_raw_ones() -> None:
    draws = np.random.default_rng(0)
    raw_error = own_error = held = 0.0
    runs = 60
    for _ in range(runs):
        truth = draws.beta(4, 76, 12)
        n = draws.integers(5, 120, 12)
        sold_ = draws.binomial(n, truth)
        rates, low, high = shrunken(n, sold_)
        raw_error += float(((sold_ / n - truth) ** 2).sum())
        own_error += float(((rates - truth) ** 2).sum())
        held += float(((low <= truth) & (truth <= high)).mean())
    assert own_error < 0.6 * raw_error
    assert abs(held / runs - 0.95) < 4 * np.sqrt(0.95 * 0.05 / (12 * runs))


def test_the_tables_are_those_of_the_migration(store: JourneyStore, patterns: PatternStore) -> None:
    inspector = sa.inspect(store.database.engine)
    for table in metadata.sorted_tables:
        made = inspector.get_columns(table.name)
        assert [each["name"] for each in made] == [column.name for column in table.c]
        assert [each["nullable"] for each in made] == [column.nullable for column in table.c]
        keys = inspector.get_pk_constraint(table.name)["constrained_columns"]
        assert keys == [column.name for column in table.primary_key]
        names = {each["name"] for each in inspector.get_indexes(table.name)}
        assert names == {index.name for index in table.indexes}


def test_an_update_that_breaks_off_leaves_the_old_version_marked(
    store: JourneyStore, patterns: PatternStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sold(patterns)
    monkeypatch.setattr("gaelp.data.patterns.store.PEOPLE_AT_ONCE", 2)
    state = metadata.tables["pattern_state"]
    with store.database.writing() as connection:
        connection.execute(sa.update(state).where(state.c.name == "features").values(value="older"))
    renew, calls = PatternStore._renew, []

    def breaks(self: PatternStore, *rest: Any) -> Any:
        calls.append(rest)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return renew(self, *rest)

    monkeypatch.setattr(PatternStore, "_renew", breaks)
    with pytest.raises(KeyboardInterrupt):
        patterns.update(LATE)
    with pytest.raises(BadInput, match="Make them anew"):
        PatternStore(store).kept()
    patterns.update(LATE)
    assert len(calls) > 3 and sold(PatternStore(store)) == kept


def test_tables_of_a_newer_version_are_refused(store: JourneyStore, patterns: PatternStore) -> None:
    with store.database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version_patterns SET version_num = '9999'"))
    with pytest.raises(MismatchError, match=f"at most {HEAD}"):
        PatternStore(store)


def test_times_without_a_zone_are_refused(patterns: PatternStore) -> None:
    with pytest.raises(BadInput, match="zone"):
        patterns.update(dt.datetime(2026, 3, 1))
