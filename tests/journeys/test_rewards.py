"""What touches have earned, when it comes late, and whether the ledger balances."""

import secrets
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from gaelp.core.errors import BadInput
from gaelp.core.words import TouchKind
from gaelp.journeys.rewards import Balance, Entries, RewardLedger, split
from gaelp.journeys.store import JourneyStore
from gaelp.journeys.table import Floats, JourneyTable

from .telling import click, day, dump, sale


def told(entries: Entries) -> dict[tuple[str, str], tuple[int, bool]]:
    keys = zip(entries.event_id, entries.conversion_id, strict=True)
    values = zip(entries.amount_micros.tolist(), entries.restated.tolist(), strict=True)
    return dict(zip(keys, values, strict=True))


def last_touch(table: JourneyTable) -> Floats:
    weights = np.zeros(table.n_touches)
    weights[table.offsets[1:][table.lengths > 0] - 1] = 1.0
    return weights


def clicks_only(table: JourneyTable) -> Floats:
    assert table.kind is not None
    return (table.kind == TouchKind.CLICK).astype(float)


def test_a_touch_is_pending_until_its_journey_ends(store: JourneyStore) -> None:
    ledger = RewardLedger(store)
    store.append([click("a", "e1", 0), click("b", "e2", 0)], day(0))
    assert told(ledger.settle(day(1))) == {}
    assert ledger.episode(day(0), day(1), day(1)).pending.tolist() == [True, True]
    store.append([click("a", "e3", 2), sale("a", "s1", 3, value_micros=100_000_001)], day(3))
    assert told(ledger.settle(day(3))) == {
        ("e1", "s1"): (50_000_001, False),
        ("e3", "s1"): (50_000_000, False),
    }
    assert told(ledger.settle(day(13))) == {}
    assert told(ledger.settle(day(14))) == {("e2", ""): (0, False)}
    assert told(ledger.settle(day(15))) == {}
    episode = ledger.episode(day(0), day(1), day(15))
    assert episode.pending.tolist() == [False, False]
    assert episode.reward_micros.tolist() == [50_000_001, 0]


@pytest.mark.parametrize("late", [20, 45, 89])
def test_a_conversion_that_comes_late_restates_what_was_settled_at_nothing(
    store: JourneyStore, late: int
) -> None:
    ledger = RewardLedger(store)
    store.append([click("a", "e1", 0), click("a", "e2", 0.5)], day(1))
    assert told(ledger.settle(day(18))) == {("e1", ""): (0, False), ("e2", ""): (0, False)}
    store.append([sale("a", "s1", late)], day(late))
    assert told(ledger.settle(day(late))) == {
        ("e1", "s1"): (45_000_000, True),
        ("e2", "s1"): (45_000_000, True),
    }
    assert ledger.balance()["USD"] == Balance(
        booked_micros=90_000_000, credited_micros=90_000_000, baseline_micros=0, waiting_micros=0
    )


def test_a_conversion_long_after_the_last_touch_goes_to_the_baseline(store: JourneyStore) -> None:
    ledger = RewardLedger(store)
    store.append([click("a", "e1", 0)], day(0))
    store.append([sale("a", "s1", 100), sale("b", "s2", 100, value_micros=1)], day(100))
    assert told(ledger.settle(day(100))) == {
        ("e1", ""): (0, False),
        ("", "s1"): (90_000_000, False),
        ("", "s2"): (1, False),
    }
    assert ledger.balance()["USD"].baseline_micros == 90_000_001


def test_a_touch_told_late_takes_its_share_from_the_others(store: JourneyStore) -> None:
    ledger = RewardLedger(store)
    store.append([click("a", "e1", 0), sale("a", "s1", 2)], day(2))
    ledger.settle(day(2))
    store.append([click("a", "e2", 1)], day(3))
    assert told(ledger.settle(day(3))) == {
        ("e1", "s1"): (-45_000_000, True),
        ("e2", "s1"): (45_000_000, False),
    }


def test_a_merge_restates_and_an_unmerge_takes_it_back(store: JourneyStore) -> None:
    ledger = RewardLedger(store)
    store.append([click("phone", "e1", 0), click("laptop", "e2", 1), sale("laptop", "s1", 2)], day(2))
    ledger.settle(day(20))
    assert told(ledger.settle(day(20))) == {}
    store.merge("laptop", "phone", 0.7, day(20))
    assert told(ledger.settle(day(20))) == {
        ("e1", "s1"): (45_000_000, True),
        ("e2", "s1"): (-45_000_000, True),
    }
    store.unmerge("laptop", "phone", day(20))
    assert told(ledger.settle(day(20))) == {
        ("e1", "s1"): (-45_000_000, True),
        ("e2", "s1"): (45_000_000, True),
    }
    assert ledger.episode(day(0), day(3), day(20)).reward_micros.tolist() == [0, 90_000_000]


def test_a_clock_that_goes_back_leaves_nothing_unsettled(store: JourneyStore) -> None:
    ledger = RewardLedger(store)
    store.append([click("a", "e1", 0)], day(0))
    store.time_out(day(20))
    assert told(ledger.settle(day(5))) == {("e1", ""): (0, False)}
    assert told(ledger.settle(day(30))) == {}


def test_entries_are_added_and_never_changed(store: JourneyStore) -> None:
    ledger = RewardLedger(store)
    store.append([click("a", "e1", 0), sale("a", "s1", 2)], day(2))
    ledger.settle(day(2))
    before = dump(store)["rewards"]
    store.append([click("a", "e2", 1)], day(3))
    ledger.settle(day(3))
    assert dump(store)["rewards"][: len(before)] == before


def test_where_no_touch_deserves_it_the_value_is_baseline(store: JourneyStore) -> None:
    store.append(
        [
            click("a", "e1", 0, kind="impression"),
            sale("a", "s1", 1),
            click("b", "e2", 0),
            click("b", "e3", 0.5, kind="impression"),
            sale("b", "s2", 1),
        ],
        day(1),
    )
    ledger = RewardLedger(store, clicks_only)
    assert told(ledger.settle(day(1))) == {
        ("e1", "s1"): (0, False),
        ("", "s1"): (90_000_000, False),
        ("e2", "s2"): (90_000_000, False),
        ("e3", "s2"): (0, False),
    }


def test_another_rule_restates_when_something_new_is_told(store: JourneyStore) -> None:
    store.append([click("a", "e1", 0), click("a", "e2", 1), sale("a", "s1", 2)], day(2))
    RewardLedger(store).settle(day(2))
    store.append([click("a", "e3", 1.5)], day(3))
    RewardLedger(store, last_touch).settle(day(3))
    episode = RewardLedger(store).episode(day(0), day(3), day(3))
    assert episode.reward_micros.tolist() == [0, 0, 90_000_000]


@pytest.mark.parametrize("shares", [lambda t: np.full(t.n_touches, -1.0), lambda t: np.ones(t.n_touches + 1)])
def test_shares_that_make_no_sense_are_refused_and_nothing_is_entered(
    store: JourneyStore, shares: Any
) -> None:
    store.append([click("a", "e1", 0), sale("a", "s1", 2)], day(2))
    with pytest.raises(BadInput, match="shares"):
        RewardLedger(store, shares).settle(day(2))
    assert not dump(store)["rewards"]
    assert len(RewardLedger(store).settle(day(2)).event_id) == 1


def test_an_episode_may_begin_and_end_amid_journeys(store: JourneyStore) -> None:
    store.append(
        [
            *[click("through", f"t{i}", i * 5) for i in range(7)],  # from before the span to after it
            *[click("within", f"w{i}", 10 + i) for i in range(2)],
            sale("within", "s1", 15),
            click("open", "o1", 18),
            sale("open", "s2", 40),  # 22 days later, after the span
            click("before", "b1", 0),
        ],
        day(40),
    )
    ledger = RewardLedger(store)
    ledger.settle(day(40))
    episode = ledger.episode(day(8), day(20), day(40))
    rows = {
        episode.event_id[int(a)]: (resumed, truncated)
        for a, resumed, truncated in zip(
            episode.offsets[:-1], episode.resumed.tolist(), episode.truncated.tolist(), strict=True
        )
    }
    assert rows == {"t2": (True, True), "w0": (False, False), "o1": (False, True)}
    assert dict(zip(episode.event_id, episode.reward_micros.tolist(), strict=True)) == {
        "t2": 0,
        "t3": 0,
        "w0": 45_000_000,
        "w1": 45_000_000,
        "o1": 90_000_000,
    }
    assert episode.pending.tolist() == [each.startswith("t") for each in episode.event_id]
    with pytest.raises(BadInput, match="until"):
        ledger.episode(day(20), day(8), day(40))


def test_currencies_balance_apart(store: JourneyStore) -> None:
    store.append([click("a", "e1", 0), sale("a", "s1", 1), sale("b", "s2", 1, currency="EUR")], day(1))
    ledger = RewardLedger(store)
    assert ledger.balance()["EUR"].waiting_micros == 90_000_000
    ledger.settle(day(1))
    assert {
        name: (each.credited_micros, each.baseline_micros) for name, each in ledger.balance().items()
    } == {
        "USD": (90_000_000, 0),
        "EUR": (0, 90_000_000),
    }


steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["click", "conversion"]),
            st.integers(0, 2),
            st.integers(0, 60),
            st.integers(0, 10**9),
        ),
        st.tuples(
            st.sampled_from(["merge", "unmerge", "settle", "forget"]), st.integers(0, 2), st.integers(0, 2)
        ),
    ),
    max_size=14,
)


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
def test_the_ledger_balances_after_anything_and_settles_to_what_the_journeys_say(
    store: JourneyStore, steps: list[tuple[Any, ...]]
) -> None:
    ledger = RewardLedger(store)
    now = day(70)
    run = store.get_or_create(secrets.token_hex(8), now).root  # never given before
    for i in range(3):
        store.append([click(f"{run}:{i}", f"{run}:birth{i}", 30)], now)
    for number, (what, *rest) in enumerate(steps):
        if what == "click":
            store.append([click(f"{run}:{rest[0]}", f"{run}:{number}", rest[1])], now)
        elif what == "conversion":
            event = sale(f"{run}:{rest[0]}", f"{run}:{number}", rest[1], value_micros=rest[2])
            store.append([event], now)
        elif what == "settle":
            ledger.settle(now)
        elif what == "forget":
            store.forget(f"{run}:{rest[0]}")
        else:
            one, other = f"{run}:{rest[0]}", f"{run}:{rest[1]}"
            for name in (one, other):
                store.get_or_create(name, now)
            if what == "merge":
                store.merge(one, other, 0.5, now)
            else:
                store.unmerge(one, other, now)
        assert all(each.is_even for each in ledger.balance().values())
    ledger.settle(now)
    assert told(ledger.settle(now)) == {}
    # from scratch, by hand: equal parts in whole micros, what is left over to the oldest
    expected: dict[str, int] = {}
    for i in range(3):
        for journey in store.journeys(f"{run}:{i}", now):
            value = journey.conversion.value_micros if journey.conversion else 0
            each, more = divmod(value, len(journey.touches) or 1)
            for place, touch in enumerate(journey.touches):
                expected[touch.event_id] = each + (place < more)
    episode = ledger.episode(day(0), day(70), now)
    earned = dict(zip(episode.event_id, episode.reward_micros.tolist(), strict=True))
    assert {name: amount for name, amount in earned.items() if name.startswith(f"{run}:")} == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**53 - 1),
            st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1e300)), max_size=6),
        ),
        max_size=6,
    )
)
def test_a_split_loses_no_micro_and_keeps_to_the_weights(rows: list[tuple[int, list[float]]]) -> None:
    offsets = np.append(0, np.cumsum([len(weights) for _, weights in rows])).astype(np.int64)
    weights = np.array([each for _, row in rows for each in row])
    amount, left = split(np.array([value for value, _ in rows], np.int64), offsets, weights)
    for i, (value, row) in enumerate(rows):
        mine = amount[offsets[i] : offsets[i + 1]].tolist()
        assert sum(mine) + int(left[i]) == value
        assert left[i] == (0 if any(row) else value)
        total = sum(map(Fraction, row))
        for got, weight in zip(mine, row, strict=True):
            exact = value * Fraction(weight) / total if total else Fraction(0)
            assert abs(got - exact) <= 1 + value * Fraction(1, 2**49)
            assert got >= 0
