"""Events told again, better, and ids linked by the thousand, on both databases."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import Stage
from gaelp.journeys.batch import Event, EventBatch
from gaelp.journeys.restating import Linked, link_all, restate
from gaelp.journeys.rewards import RewardLedger
from gaelp.journeys.store import JourneyStore

from .telling import click, day, dump, sale

NOW = day(40)


def told(store: JourneyStore, *events: Event, now: dt.datetime = NOW) -> tuple[int, int, int, int]:
    done = restate(store, EventBatch.of_events(events), now)
    return done.touches, done.conversions, done.replaced, done.repeats


def lives(store: JourneyStore) -> dict[str, list[Any]]:
    """What the store knows, without codes: they depend on the order of telling."""
    with store.database.reading() as connection:
        names = sorted(connection.exec_driver_sql("SELECT name FROM aliases").scalars().all())
    found = {}
    for name in names:
        found[name] = [
            (
                journey.number,
                journey.stage.name,
                journey.reached.name,
                [(t.event_id, t.at, t.kind, t.channel, t.device, t.person) for t in journey.touches],
                journey.conversion,
            )
            for journey in store.journeys(name, NOW)
        ]
    return found


def test_events_are_stored_once_like_appended_ones(store: JourneyStore, new_url: Callable[[], str]) -> None:
    events = [click("a", "e1", 0), click("a", "e2", 1), sale("a", "s1", 2), click("b", "e3", 3)]
    assert told(store, *events) == (3, 1, 0, 0)
    assert told(store, *events) == (0, 0, 0, 4)
    with JourneyStore(new_url()) as other:
        other.append(events, NOW)
        assert dump(other)["journeys"] == dump(store)["journeys"] and lives(other) == lives(store)


def test_what_is_told_again_at_the_same_time_replaces_what_was_told(store: JourneyStore) -> None:
    told(store, click("a", "e1", 0), click("a", "e2", 1), sale("a", "s1", 2))
    assert told(store, click("a", "e2", 1, channel="social", device="mobile")) == (0, 0, 1, 0)
    assert told(store, sale("a", "s1", 2, value_micros=5, currency="EUR")) == (0, 0, 1, 0)
    (journey,) = store.journeys("a", NOW)
    assert journey.channels == ("search", "social") and journey.devices == ("mobile",)
    assert journey.conversion is not None
    assert (journey.conversion.value_micros, journey.conversion.currency) == (5, "EUR")


def test_the_earlier_of_two_tellings_stands(store: JourneyStore) -> None:
    told(store, click("a", "e1", 5))
    assert told(store, click("a", "e1", 6, channel="social")) == (0, 0, 0, 1)
    assert told(store, click("a", "e1", 4, channel="video")) == (0, 0, 1, 0)
    assert told(store, click("a", "e1", 3, channel="email"), click("a", "e1", 2)) == (0, 0, 1, 1)
    (journey,) = store.journeys("a", NOW)
    assert journey.opened_at == day(2) and journey.channels == ("search",)


def test_the_further_of_two_stages_stands(store: JourneyStore) -> None:
    told(store, click("a", "e1", 5, stage="intent"))
    assert told(store, click("a", "e1", 4)) == (0, 0, 1, 0)
    assert store.journeys("a", day(6))[0].reached is Stage.INTENT, "an earlier telling that saw less"
    told(store, click("a", "e2", 5))
    assert told(store, click("a", "e2", 6, stage="intent", channel="social")) == (0, 0, 1, 0)
    assert told(store, click("a", "e2", 6, stage="intent")) == (0, 0, 0, 1)
    (journey,) = store.journeys("a", day(6))
    assert len(journey.touches) == 2
    assert journey.channels == ("search",), "only its stage is taken from a later telling"


def test_an_event_may_turn_out_to_be_somebody_elses(store: JourneyStore) -> None:
    told(store, click("a", "e1", 0), click("a", "e2", 1), sale("a", "s1", 2))
    assert told(store, click("b", "e2", 1), sale("b", "s1", 2)) == (0, 0, 2, 0)
    (left,), (right,) = store.journeys("a", NOW), store.journeys("b", NOW)
    assert left.conversion is None and [touch.event_id for touch in left.touches] == ["e1"]
    assert right.conversion is not None and [touch.event_id for touch in right.touches] == ["e2"]
    told(store, click("b", "e1", 0))
    assert store.journeys("a", NOW) == []


def test_what_touches_earned_is_restated_and_balances(store: JourneyStore) -> None:
    ledger = RewardLedger(store)
    told(store, click("a", "e1", 0), click("a", "e2", 1), sale("a", "s1", 2, value_micros=100))
    ledger.settle(NOW)
    told(store, sale("a", "s1", 2, value_micros=60))
    assert ledger.settle(NOW).amount_micros.tolist() == [-20, -20]
    told(store, sale("b", "s1", 2, value_micros=60))
    ledger.settle(NOW)
    balance = ledger.balance()["USD"]
    assert balance.is_even and (balance.booked_micros, balance.baseline_micros) == (60, 60)
    told(store, click("b", "e1", 0))
    ledger.settle(NOW)
    balance = ledger.balance()["USD"]
    assert balance.is_even and (balance.credited_micros, balance.baseline_micros) == (60, 0)


def test_any_order_of_tellings_leads_to_the_same_journeys(new_url: Callable[[], str]) -> None:
    rng = np.random.default_rng(3)
    events = []
    for i in range(60):
        stage = [None, "considering", "intent"][int(rng.integers(0, 3))]
        on = float(rng.integers(0, 300)) / 10 + i / 1000
        person = f"p{rng.integers(0, 4)}"
        if rng.random() < 0.2:
            events.append(sale(person, f"s{rng.integers(0, 4)}", on))
        else:
            channel = f"c{i}"
            events.append(click(person, f"e{rng.integers(0, 12)}", on, stage=stage, channel=channel))
    found = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(events))
        with JourneyStore(new_url()) as store:
            for part in np.array_split(order, seed * 3 + 2):
                told(store, *(events[i] for i in part.tolist()))
                RewardLedger(store).settle(NOW)
            assert all(balance.is_even for balance in RewardLedger(store).balance().values())
            found.append({name: life for name, life in lives(store).items() if life})
    assert found[0] == found[1] == found[2]


def test_what_lies_ahead_of_now_is_refused_whole(store: JourneyStore) -> None:
    with pytest.raises(BadInput, match="must not lie after now"):
        told(store, click("a", "e1", 0), click("a", "e2", 41))
    assert store.person("a") is None


def test_links_do_what_single_merges_do(store: JourneyStore, new_url: Callable[[], str]) -> None:
    events = [click("phone", "e1", 0), click("laptop", "e2", 1), click("ann", "e3", 2), click("x", "e4", 3)]
    pairs = [("ann", "phone"), ("ann", "laptop"), ("ben", "x")]
    store.append(events, NOW)
    assert link_all(store, pairs, 0.9, NOW) == Linked(linked=3, known=0, contested=0)
    assert link_all(store, pairs, 0.9, NOW) == Linked(linked=0, known=3, contested=0)
    with JourneyStore(new_url()) as other:
        other.append(events, NOW)
        other.get_or_create("ben", NOW)
        for kept, absorbed in pairs:
            other.merge(kept, absorbed, 0.9, NOW)
        assert dump(other) == dump(store)
    assert [touch.event_id for touch in store.journeys("laptop", NOW)[0].touches] == ["e1", "e2", "e3"]
    assert store.unmerge("ann", "phone", NOW)
    person = store.person("ann")
    assert person is not None and person.aliases == {"ann": 1.0, "laptop": 0.9}


def test_an_id_that_belongs_to_somebody_is_left_alone(store: JourneyStore) -> None:
    store.append([click("phone", "e1", 0)], NOW)
    assert link_all(store, [("ann", "phone"), ("ben", "phone")], 1.0, NOW) == Linked(
        linked=1, known=0, contested=1
    )
    ben = store.person("ben")
    assert ben is not None and set(ben.aliases) == {"ben"}


def test_chains_of_links_end_at_one_root(store: JourneyStore) -> None:
    assert link_all(store, [("b", "a"), ("c", "b"), ("d", "c")], 1.0, NOW).linked == 3
    for name in "abcd":
        person = store.person(name)
        assert person is not None and set(person.aliases) == {"a", "b", "c", "d"}
    store.append([click("a", "e1", 0), click("d", "e2", 1)], NOW)
    assert len(store.journeys("b", NOW)[0].touches) == 2


def test_bad_links_are_refused(store: JourneyStore) -> None:
    with pytest.raises(BadInput, match="confidence"):
        link_all(store, [("a", "b")], 0.0, NOW)
    with pytest.raises(BadInput, match="person"):
        link_all(store, [("a", "")], 1.0, NOW)
    assert link_all(store, [], 1.0, NOW) == Linked(linked=0, known=0, contested=0)
