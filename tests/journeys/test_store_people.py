"""Merges that can be undone, and people who are forgotten."""

from pathlib import Path

import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import Stage
from gaelp.journeys.rewards import RewardLedger
from gaelp.journeys.store import JourneyStore

from .telling import click, day, dump, sale

LIVES = [
    click("phone", "e1", 0),
    click("phone", "e4", 3, channel="social"),
    click("laptop", "e2", 1),
    sale("laptop", "s1", 2),
    click("laptop", "e5", 30),
    click("login", "e3", 1.5, channel="email"),
    click("stranger", "e6", 2),
]


def test_merged_ids_lead_one_life(store: JourneyStore) -> None:
    store.append(LIVES, day(30))
    assert store.merge("laptop", "phone", 0.8, day(30))
    assert not store.merge("phone", "laptop", 0.9, day(30))  # they are one already
    first, second, third = store.journeys("phone", day(30))
    assert [touch.event_id for touch in first.touches] == ["e1", "e2"]
    assert (first.stage, second.stage, third.stage) == (Stage.CONVERTED, Stage.LOST, Stage.CONSIDERING)
    assert [touch.person for touch in first.touches] == ["phone", "laptop"]
    assert store.journeys("laptop", day(30)) == [first, second, third]
    assert first.person.aliases == {"phone": 0.8, "laptop": 1.0}
    assert first.person.match_confidence == 0.8


def test_an_unmerge_restores_exactly_what_was(store: JourneyStore) -> None:
    store.append(LIVES, day(30))
    before = dump(store)
    assert store.merge("laptop", "phone", 0.8, day(30))
    merged = dump(store)
    assert merged["journeys"] != before["journeys"]
    assert store.unmerge("phone", "laptop", day(30))
    assert dump(store) == before
    assert not store.unmerge("phone", "laptop", day(30))
    assert store.merge("laptop", "phone", 0.8, day(30))
    assert [row[:1] + row[1:4] for row in dump(store)["identities"]] == [
        row[:4] for row in merged["identities"]
    ]
    assert dump(store)["journeys"] == merged["journeys"]


def test_merges_are_undone_in_any_order(store: JourneyStore) -> None:
    store.append(LIVES, day(30))
    alone = dump(store)
    store.merge("laptop", "phone", 0.8, day(30))
    pair = dump(store)
    store.merge("login", "laptop", 0.5, day(30))
    assert store.get_or_create("phone", day(30)).aliases == {"phone": 0.4, "laptop": 0.5, "login": 1.0}
    three = dump(store)
    store.merge("stranger", "phone", 0.9, day(30))  # all four
    assert len(store.get_or_create("login", day(30)).aliases) == 4
    assert store.unmerge("login", "stranger", day(30))
    assert dump(store) == three
    assert store.unmerge("phone", "login", day(30))  # the merge that joined these two
    assert dump(store) == pair
    store.merge("login", "laptop", 0.5, day(30))
    assert store.unmerge("laptop", "phone", day(30))  # an older one, from under a newer
    assert len(store.get_or_create("laptop", day(30)).aliases) == 2
    assert store.unmerge("laptop", "login", day(30))
    assert dump(store) == alone


def test_what_was_told_while_merged_goes_back_to_whom_it_was_told_of(store: JourneyStore) -> None:
    store.append(LIVES, day(30))
    store.merge("laptop", "phone", 0.8, day(30))
    store.append([click("phone", "e9", 31), sale("laptop", "s2", 32)], day(32))
    store.unmerge("laptop", "phone", day(32))
    apart = dump(store)
    phone, laptop = store.journey("phone", day(32)), store.journey("laptop", day(32))
    assert phone is not None and [touch.event_id for touch in phone.touches] == ["e9"]
    assert laptop is not None and laptop.stage is Stage.CONVERTED
    assert [touch.event_id for touch in laptop.touches] == ["e5"]
    assert apart["journeys"]


@pytest.mark.parametrize("confidence", [0.0, -0.1, 1.01, float("nan")])
def test_a_confidence_is_a_probability(store: JourneyStore, confidence: float) -> None:
    store.append(LIVES, day(30))
    with pytest.raises(BadInput, match="confidence"):
        store.merge("laptop", "phone", confidence, day(30))


def test_nobody_unknown_is_merged(store: JourneyStore) -> None:
    store.append(LIVES, day(30))
    for merge in (
        lambda: store.merge("laptop", "nobody", 0.5, day(30)),
        lambda: store.unmerge("nobody", "laptop", day(30)),
    ):
        with pytest.raises(BadInput, match="nobody"):
            merge()


def test_a_forgotten_person_is_nowhere(store: JourneyStore) -> None:
    store.append([event for event in LIVES if event.person in ("stranger", "login")], day(30))
    without = dump(store)
    store.append(LIVES, day(30))
    store.merge("laptop", "phone", 0.8, day(30))
    RewardLedger(store).settle(day(30))
    assert store.forget("phone") > 0
    held = dump(store)
    strangers = {row[3] for row in held["rewards"]}
    assert strangers <= {"", "e6", "e3"}
    del held["rewards"], without["rewards"]
    held["names"], without["names"] = [], []  # of channels, not of people
    assert held == without
    assert store.journeys("laptop", day(30)) == []
    assert store.forget("phone") == store.forget("never seen") == 0
    assert store.append(LIVES, day(30)).touches == 4  # may be told again


def test_no_byte_of_a_forgotten_person_stays_in_the_files(tmp_path: Path) -> None:
    with JourneyStore(tmp_path / "j.db") as store:
        people = [f"secret-cookie-{i:04d}" for i in range(500)]
        store.append([click(name, f"event-of-{name}", i / 100) for i, name in enumerate(people)], day(30))
        store.forget(people[250], scrub=True)
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert people[250].encode() not in held
    assert people[251].encode() in held


def test_forgetting_one_of_two_who_were_parted_keeps_the_ledger_even(store: JourneyStore) -> None:
    store.append(LIVES, day(30))
    ledger = RewardLedger(store)
    store.merge("laptop", "phone", 0.8, day(30))
    ledger.settle(day(30))
    store.unmerge("laptop", "phone", day(30))
    store.forget("phone")  # whose touch had earned half of the laptop's sale
    assert ledger.balance()["USD"].is_even
    ledger.settle(day(30))
    balance = ledger.balance()["USD"]
    assert balance.is_even and balance.credited_micros == balance.booked_micros == 90_000_000


def test_forgetting_a_buyer_leaves_others_touches_settled(store: JourneyStore) -> None:
    store.append([click("a", "e1", 0), sale("b", "s1", 2)], day(2))
    ledger = RewardLedger(store)
    store.merge("b", "a", 0.8, day(2))
    ledger.settle(day(20))
    store.unmerge("a", "b", day(20))
    ledger.settle(day(20))
    assert ledger.episode(day(0), day(3), day(20)).pending.tolist() == [False]
    store.forget("b")
    ledger.settle(day(20))
    episode = ledger.episode(day(0), day(3), day(20))
    assert (episode.pending.tolist(), episode.reward_micros.tolist()) == ([False], [0])
    assert not ledger.settle(day(20)).event_id


@pytest.mark.parametrize("name", ["\udcff", "a\x00b", "x" * 256])
def test_an_id_no_database_can_hold_is_refused_wherever_it_is_given(store: JourneyStore, name: str) -> None:
    store.append(LIVES, day(30))
    for call in (
        lambda: store.get_or_create(name, day(30)),
        lambda: store.person(name),
        lambda: store.journey(name, day(30)),
        lambda: store.journeys(name, day(30)),
        lambda: store.forget(name),
        lambda: store.merge("laptop", name, 0.5, day(30)),
        lambda: store.unmerge(name, "laptop", day(30)),
    ):
        with pytest.raises(BadInput, match="`person`"):
            call()
