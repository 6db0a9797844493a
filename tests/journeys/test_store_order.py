"""Journeys follow from what happened, not from the order in which it was told."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from gaelp.core.words import Stage
from gaelp.journeys.batch import Event, EventBatch
from gaelp.journeys.store import JourneyStore

from .telling import click, day, dump, sale

STEP = 7  # days; so that gaps of exactly 14 and 91, and equal times, are frequent

told = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 30),
        st.sampled_from(["impression", "click", "conversion"]),
        st.integers(0, 3),  # the call it is told in
    ),
    min_size=1,
    max_size=14,
)


def by_hand(events: list[Event], now: float) -> list[tuple[Any, ...]]:
    """The rules once more, event by event: (opened, last, ended, stage, ids of the touches, conversion)."""
    journeys: list[dict[str, Any]] = []
    is_sale = {event.event_id: event.kind == "conversion" for event in events}
    for event in sorted(events, key=lambda each: (each.at, is_sale[each.event_id], each.event_id)):
        current = journeys[-1] if journeys and journeys[-1]["sale"] is None else None
        if current is not None:
            idle = (event.at - current["last"]).days
            if idle > 90 if is_sale[event.event_id] else idle >= 14:
                current = None
        if current is None:
            current = {"opened": event.at, "last": event.at, "touches": [], "sale": None, "stage": 0}
            journeys.append(current)
        if is_sale[event.event_id]:
            current["sale"] = event
        else:
            current["touches"].append(event.event_id)
            current["last"] = event.at
            current["stage"] = max(current["stage"], 1 if event.kind == "impression" else 2)
    found = []
    for i, each in enumerate(journeys):
        lost = day(now) - each["last"] >= day(14) - day(0) or i + 1 < len(journeys)
        if each["sale"] is not None:
            stage, ended, sold = Stage.CONVERTED, each["sale"].at, each["sale"].event_id
        elif lost:
            stage, ended, sold = Stage.LOST, each["last"] + (day(14) - day(0)), None
        else:
            stage, ended, sold = Stage(each["stage"]), None, None
        found.append((each["opened"], each["last"], ended, stage, tuple(each["touches"]), sold))
    return found


def seen(store: JourneyStore, person: str, now: float) -> list[tuple[Any, ...]]:
    return [
        (
            each.opened_at,
            each.last_at,
            each.ended_at,
            each.stage,
            tuple(touch.event_id for touch in each.touches),
            each.conversion and each.conversion.event_id,
        )
        for each in store.journeys(person, day(now))
    ]


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=told)
def test_any_order_and_any_calls_lead_to_the_journeys_of_the_rules(
    store: JourneyStore, events: list[tuple[str, int, str, int]]
) -> None:
    check(store, events)


@pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(events=told)
def test_the_same_holds_on_postgresql(store: JourneyStore, events: list[tuple[str, int, str, int]]) -> None:
    check(store, events)


def check(store: JourneyStore, rows: list[tuple[str, int, str, int]]) -> None:
    """Tell in four calls, forwards for one pair of people, at once and backwards for another."""
    now = 31 * STEP
    tag = len(dump(store)["identities"])
    calls: list[list[Event]] = [[], [], [], []]
    other: list[Event] = []
    for i, (person, at, kind, call) in enumerate(rows):
        make = sale if kind == "conversion" else click
        more = {} if kind == "conversion" else {"kind": kind}
        calls[call].append(make(f"{tag}{person}", f"{tag}:1:{i:02d}", at * STEP, **more))
        other.append(make(f"{tag}{person}'", f"{tag}:2:{i:02d}", at * STEP, **more))
    for call in calls:
        store.append(call, day(now))
    store.append(other[::-1], day(now))
    every = [event for call in calls for event in call]
    for person in ("a", "b"):
        mine = [event for event in every if event.person == f"{tag}{person}"]
        assert seen(store, f"{tag}{person}", now) == by_hand(mine, now)
        twin = [event for event in other if event.person == f"{tag}{person}'"]
        assert seen(store, f"{tag}{person}'", now) == by_hand(twin, now)
    table = store.table(day(now))
    assert table.n_rows == len(dump(store)["journeys"])
    assert table.n_touches == len(dump(store)["touchpoints"])


def test_nothing_told_changes_nothing(store: JourneyStore) -> None:
    before = dump(store)
    assert store.append([], day(0)).touches == 0
    empty: list[Any] = []
    batch = EventBatch.of({"person": empty, "event_id": empty, "at": empty, "kind": empty})
    assert store.append(batch, day(0)).repeats == 0
    assert dump(store) == before
    assert store.table(day(0)).n_rows == 0
