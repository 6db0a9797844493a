"""Packed touchpoints come back as what happened."""

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.core.words import NO_LINE, Channel, Query, Stage, TouchKind
from gaelp.journeys.timeline import (
    Touchpoint,
    clock_from,
    in_words,
    parse_person,
    statistics,
    timeline,
    told,
    touchpoints,
    unpack,
)

START = dt.date(2025, 3, 3)
BRANDS = ["Kinshield", "Qustodio", "Bark"]
SEGMENTS = ["crisis_parent", "researcher"]
RING = 4

PERSON = np.dtype(
    [
        ("touches", "u4", RING),
        ("ring_at", "u1"),
        ("stage", "u1"),
        ("segment", "u1"),
        ("home_segment", "u1"),
        ("n_touches", "u2"),
        ("owner", "i1"),
        ("region", "u1"),
        ("need", "f4"),
        ("urgency", "f4"),
        ("journey_start", "i4"),
        ("decision_hour", "i4"),
        ("book_hour", "i4"),
    ]
)
DECISION = np.dtype(
    [
        ("touches", "u4", RING),
        ("ring_at", "u1"),
        ("hour", "i4"),
        ("book_hour", "i4"),
        ("line", "u1"),
        ("n_touches", "u2"),
        ("journey_hours", "i4"),
        ("first_channel", "u1"),
        ("last_channel", "u1"),
    ]
)


def packed(hour: int, brand: int, kind: int, channel: int) -> int:
    """By multiplication, as an independent second opinion on the shifts."""
    return ((hour * 64 + brand) * 8 + kind) * 16 + channel


def a_person(**fields: object) -> np.void:
    person = np.zeros((), PERSON)
    person["owner"] = -1
    person["journey_start"] = -1
    for name, value in fields.items():
        person[name] = value
    return person[()]


@given(
    st.integers(0, 2**19 - 1),
    st.integers(0, 63),
    st.sampled_from(list(TouchKind)),
    st.sampled_from(list(Channel)),
)
def test_unpacking_finds_what_was_packed(hour: int, brand: int, kind: TouchKind, channel: Channel) -> None:
    parts = unpack(np.array([packed(hour, brand, kind, channel)], np.uint32))
    assert {name: int(part[0]) for name, part in parts.items()} == {
        "hour": hour,
        "brand": brand,
        "kind": kind,
        "channel": channel,
    }


@pytest.mark.parametrize("n", [0, 2, 4, 7])
def test_a_ring_is_read_oldest_first(n: int) -> None:
    ring = np.zeros(RING, np.uint32)
    for i in range(n):
        ring[i % RING] = packed(10 + i, 0, TouchKind.CLICK, Channel.SOCIAL)
    hours = [each.hour for each in touchpoints(ring, n)]
    assert hours == list(range(10, 10 + n))[-RING:]


def test_every_kind_on_every_channel_has_words() -> None:
    for kind in TouchKind:
        for channel in Channel:
            text = in_words(Touchpoint(0, 1, kind, channel), BRANDS)
            assert "{" not in text and text.strip()


def test_a_search_quotes_what_was_typed_where_that_is_known() -> None:
    search = Touchpoint(5, int(Query.CATEGORY), TouchKind.SEARCH, Channel.SEARCH)
    assert (
        in_words(search, BRANDS, lambda query, hour: f"{query.name} at {hour}") == 'searched "CATEGORY at 5"'
    )
    assert in_words(search, BRANDS, lambda query, hour: None) == in_words(search, BRANDS)


def test_a_ring_is_told_in_dated_sentences() -> None:
    ring = np.array(
        [
            packed(20, 1, TouchKind.CLICK, Channel.SEARCH),
            packed(37, 0, TouchKind.EMAIL_OPEN, Channel.EMAIL),
            0,
            0,
        ],
        np.uint32,
    )
    assert told(touches=ring, ring_at=2, start=START, brands=BRANDS) == [
        "day 1, 20:00 (Mon 3 Mar 2025): clicked an ad of Qustodio on a search page",
        "day 2, 13:00 (Tue 4 Mar 2025): opened an e-mail of Kinshield",
    ]


def test_a_buyers_timeline_keeps_what_the_ring_has_lost() -> None:
    before = [packed(h, 0, TouchKind.CLICK, Channel.SOCIAL) for h in (1, 2, 3)]
    bought = packed(4, 0, TouchKind.CONVERSION, Channel.SOCIAL)
    later = [packed(h, 0, TouchKind.IMPRESSION, Channel.DISPLAY) for h in (30, 31, 32)]
    decision = np.zeros(1, DECISION)
    decision["touches"], decision["ring_at"], decision["hour"], decision["book_hour"] = (
        [*before, bought],
        4,
        4,
        90,
    )
    decision["line"] = 8
    person = a_person(
        touches=[*later, bought][-1:] + later, ring_at=4, owner=0, book_hour=90, decision_hour=4, stage=4
    )
    found = timeline(
        person, decision, name="0:7", hour=48, clock=clock_from(START), brands=BRANDS, segments=SEGMENTS
    )
    words = [what for _, what in found.events]
    assert sum("clicked an ad" in what for what in words) == 3
    assert sum("decided to buy" in what for what in words) == 1
    assert sum("saw an ad" in what for what in words) == 3
    assert words[-1] == "the purchase from Kinshield will be booked"
    assert any("social_new_mobile" in what for what in words)
    assert found.facts["customer_of"] == "Kinshield"


def test_what_only_the_simulation_knows_is_marked_as_truth() -> None:
    person = a_person(stage=int(Stage.LOST), segment=1, home_segment=0, need=0.5)
    found = timeline(
        person,
        np.zeros(0, DECISION),
        name="0:0",
        hour=1,
        clock=clock_from(START),
        brands=BRANDS,
        segments=SEGMENTS,
    ).as_dict()
    truth = {
        "stage": "LOST",
        "segment": "researcher",
        "home_segment": "crisis_parent",
        "need": 0.5,
        "urgency": 0.0,
    }
    assert found["truth"] == truth
    assert not truth.keys() & (found.keys() - {"truth"})
    assert found["events"] == [] and found["customer_of"] is None


def test_statistics_count_people_and_average_over_those_concerned() -> None:
    people = np.zeros((2, 3), PERSON)
    people["journey_start"] = [[-1, 24, 48], [-1, -1, -1]]
    people["n_touches"] = [[9, 1, 3], [9, 9, 9]]
    people["stage"] = [[0, 2, 2], [4, 5, 0]]
    made = np.zeros(2, DECISION)
    made["n_touches"], made["journey_hours"], made["book_hour"] = [1, 4], [24, 72], [12, 36]
    made["first_channel"], made["last_channel"] = [1, NO_LINE], [0, 0]
    found = statistics(people, made, hour=72)
    assert found["stages"] == {
        "UNAWARE": 2,
        "AWARE": 0,
        "CONSIDERING": 2,
        "INTENT": 0,
        "CONVERTED": 1,
        "LOST": 1,
    }
    assert sum(found["stages"].values()) == found["people"] == 6
    assert (found["open_journeys"], found["open_mean_touchpoints"], found["open_mean_days"]) == (2, 2.0, 1.5)
    assert (found["mean_touchpoints"], found["mean_journey_days"], found["mean_lag_days"]) == (2.5, 2.0, 1.0)
    assert found["first_channel"]["social"] == 1 and found["last_channel"]["search"] == 2


def test_means_over_nobody_are_undefined() -> None:
    found = statistics(np.full((1, 1), a_person(), PERSON), np.zeros(0, DECISION), hour=0)
    assert found["open_mean_days"] is None and found["mean_touchpoints"] is None


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "0:1:2", "2:0", "0:100", "100", "٣"])
def test_a_person_who_is_not_there_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="worlds 0 to 1, people 0 to 99"):
        parse_person(text, 2, 100)
