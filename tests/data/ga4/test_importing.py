"""An export in the journey database: the same however it is cut into files, imports and crashes."""

import datetime as dt
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp.core.words import TouchKind
from gaelp.data.ga4 import shuffle
from gaelp.data.ga4.importing import RESTATED_DAYS, import_export
from gaelp.data.ga4.purchases import Rules
from gaelp.journeys.rewards import RewardLedger
from gaelp.journeys.store import JourneyStore

from .conftest import Tell, held
from .exports import BEGIN_US, HOUR_US, NOW, Row, came, event, purchase, write

CAME = [
    came("google", "cpc", "Paid Search"),
    came("google", "organic"),
    came("(direct)", "(none)", "Direct"),
    came("crm", "email"),
    came("facebook.com", "referral"),
]
GROUPS = ["Paid Search", "Organic Search", "Direct", "Email", "Organic Social"]
NAMES = ("session_start", "page_view", "scroll", "view_item", "add_to_cart", "begin_checkout")


def random_rows(seed: int, n_sessions: int, days: int = 9) -> list[Row]:
    """Sessions of a few people, in no order; what is told of a session agrees with itself."""
    rng = np.random.default_rng(seed)
    rows = []
    for session in range(n_sessions):
        person = int(rng.integers(0, max(n_sessions // 4, 2)))
        start = float(rng.uniform(0, 24 * days))
        login = f"login-{person}" if person % 3 == 0 else None
        more = {**CAME[int(rng.integers(0, len(CAME)))], "user_id": login}
        for step in range(int(rng.integers(1, 6))):
            hour = start + step * 0.21
            made = {"cookie": f"c{person}", "session": session, "hour": hour, "index": step, **more}
            if rng.random() < 0.15:
                rows.append(purchase(f"T{rng.integers(0, n_sessions)}", float(rng.integers(1, 300)), **made))
            else:
                rows.append(event(NAMES[int(rng.integers(0, len(NAMES)))], **made))
    return [rows[i] for i in rng.permutation(len(rows)).tolist()]


def by_hand(rows: list[Row]) -> tuple[list[Any], list[Any]]:
    """The same touches and conversions by plain loops: a second implementation of the rules."""
    sessions: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        number = next(p["value"]["int_value"] for p in row["event_params"] if p["key"] == "ga_session_id")
        sessions[row["user_pseudo_id"], number].append(row)
    touches, sales = [], {}
    for (cookie, number), told in sessions.items():
        who = told[0].get("user_id", cookie)
        click = told[0]["session_traffic_source_last_click"]["cross_channel_campaign"]
        group = GROUPS[
            [each["session_traffic_source_last_click"]["cross_channel_campaign"] for each in CAME].index(
                click
            )
        ]
        kind = TouchKind.CLICK if group in ("Paid Search", "Email") else TouchKind.VISIT
        near = {row["event_name"] for row in told} & {"add_to_cart", "begin_checkout"}
        at_us = min(int(row["event_timestamp"]) for row in told)
        touches.append((f"ga4:{cookie}:{number}", who, at_us, kind, group, "mobile", 3 if near else 0))
        for row in told:
            if row["event_name"] == "purchase":
                order = row["ecommerce"]
                sale = (int(row["event_timestamp"]), who, round(order["purchase_revenue"] * 1e6))
                key = f"ga4:sale:{order['transaction_id']}"
                sales[key] = min(sales.get(key, sale), sale)
    return sorted(touches), sorted((key, who, us, value, "USD") for key, (us, who, value) in sales.items())


def journeys(store: JourneyStore) -> list[Any]:
    table = store.table(NOW)
    assert table.touch_hour is not None and table.end_hour is not None
    names = [table.channels[i] for i in table.channel.tolist()]
    parts = np.split(np.arange(len(names)), table.offsets[1:-1])
    return sorted(
        ([(round(table.touch_hour[i], 6), names[i]) for i in part.tolist()], int(converted), int(value))
        for part, converted, value in zip(parts, table.conversions, table.value_usd_micros, strict=True)
    )


@pytest.mark.golden
@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_a_second_implementation_finds(store: JourneyStore, tell: Tell, seed: int) -> None:
    rows = random_rows(seed, 80)
    told = tell(rows)
    expected = by_hand(rows)
    assert held(store) == expected
    assert (told.touches, told.conversions) == (len(expected[0]), len(expected[1]))
    assert told.events == len(rows) and told.first_date == 20260301


def test_told_again_nothing_changes(store: JourneyStore, tell: Tell) -> None:
    rows = random_rows(9, 60)
    first = tell(rows)
    before, found = held(store), journeys(store)
    again = tell(rows)
    assert (again.touches, again.conversions, again.replaced, again.linked) == (0, 0, 0, 0)
    assert again.repeats == first.touches + first.conversions
    assert (held(store), journeys(store)) == (before, found)
    assert not RewardLedger(store).settle(NOW).restated.any()
    tell(rows)
    assert len(RewardLedger(store).settle(NOW).event_id) == 0, "nothing to settle anew"


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), n_parts=st.integers(2, 5))
def test_any_split_and_any_order_of_imports_lead_to_the_same_store(seed: int, n_parts: int) -> None:
    rows = random_rows(seed, 12)
    part = np.random.default_rng(seed).integers(0, n_parts, len(rows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with JourneyStore(folder / "one.db") as one, JourneyStore(folder / "many.db") as many:
            import_export(one, write(folder / "e.json", rows), NOW)
            for i in range(n_parts):
                mine = [row for row, number in zip(rows, part.tolist(), strict=True) if number == i]
                if mine:
                    import_export(many, write(folder / "e.json", mine), NOW)
                    RewardLedger(many).settle(NOW)
            assert held(many) == held(one) and journeys(many) == journeys(one)
            assert all(balance.is_even for balance in RewardLedger(many).balance().values())


def test_what_waits_on_the_disk_is_told_the_same(
    store: JourneyStore, tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(3, 200)
    tell(rows)
    monkeypatch.setattr(shuffle, "_ROWS", 100)
    with JourneyStore(tmp_path / "other.db") as other:
        import_export(other, tmp_path / "export.json", NOW)
        assert held(other) == held(store) and journeys(other) == journeys(store)


KILLED = """
import sys
from pathlib import Path
from gaelp.data.ga4 import importing, shuffle
from gaelp.journeys.store import JourneyStore
shuffle._ROWS = 60
restate = importing.restate
def told(*arguments):
    done = restate(*arguments)
    print("told", flush=True)
    return done
importing.restate = told
with JourneyStore(sys.argv[1]) as store:
    importing.import_export(store, Path(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.parametrize("answers", [1, 3])
def test_after_a_kill_amid_an_import_another_import_brings_all(
    store: JourneyStore, tell: Tell, tmp_path: Path, answers: int
) -> None:
    path = write(tmp_path / "e.json", random_rows(5, 150))
    now_us = int(NOW.timestamp()) * 1_000_000
    command = [sys.executable, "-c", KILLED, str(store.database.url.database), str(path), str(now_us)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        for _ in range(answers):
            assert program.stdout.readline() == "told\n"
        os.kill(program.pid, signal.SIGKILL)
    before = held(store)
    tell(path)
    with JourneyStore(tmp_path / "whole.db") as whole:
        import_export(whole, path, NOW)
        assert 0 < len(before[0]) < len(held(whole)[0]), "it died in the middle"
        assert set(before[0]) <= set(held(whole)[0])
        assert held(store) == held(whole) and journeys(store) == journeys(whole)


def test_dates_are_the_propertys_and_times_are_utc(store: JourneyStore, tell: Tell, tmp_path: Path) -> None:
    chicago = dt.datetime(2026, 3, 4, 23, 30, tzinfo=ZoneInfo("America/Chicago"))
    row = event(hour=0)
    row |= {"event_timestamp": str(int(chicago.timestamp()) * 1_000_000), "event_date": "20260304"}
    told = tell(write(tmp_path / "x" / "events_20260304.json", [row]))
    assert (told.first_date, told.last_date) == (20260304, 20260304)
    (touch,) = store.journeys("c1", NOW)[0].touches
    assert touch.at == dt.datetime(2026, 3, 5, 5, 30, tzinfo=dt.UTC)
    assert tell(tmp_path / "x", last_days=1).files == 1, "the table's day decides, not UTC's"


def test_a_clock_that_is_off_is_left_out(store: JourneyStore, tell: Tell) -> None:
    wrong = event(hour=0, session=1)
    wrong["event_timestamp"] = str(BEGIN_US - 300 * 24 * HOUR_US)
    ahead = event(hour=24 * 30, session=2)
    told = tell([wrong, ahead, event(session=3)])
    assert (told.implausible_times, told.touches) == (2, 1)


@pytest.mark.parametrize(
    ("columns", "rules", "expected"),
    [
        ({"currency": "EUR"}, {}, (50_000_000, "EUR", 0)),
        ({"currency": "eur"}, {}, (50_000_000, "EUR", 0)),
        ({"currency": "EUR"}, {"in_usd": True}, (54_100_000, "USD", 0)),
        ({"currency": None}, {}, (54_100_000, "USD", 0)),
        ({"currency": None}, {"currency": "EUR"}, (50_000_000, "EUR", 0)),
        ({"currency": "Euro"}, {"currency": "GBP"}, (50_000_000, "GBP", 0)),
        ({"currency": "EUR", "own": None}, {}, (54_100_000, "USD", 0)),
        ({"currency": "EUR", "own": None, "usd": None}, {}, (0, "USD", 1)),
        ({"currency": "EUR", "own": -5.0}, {}, (0, "EUR", 1)),
    ],
)
def test_money_keeps_its_currency_or_is_googles_usd(
    store: JourneyStore, tell: Tell, columns: Row, rules: Row, expected: tuple[int, str, int]
) -> None:
    order = {
        "transaction_id": "T",
        "purchase_revenue": columns.get("own", 50.0),
        "purchase_revenue_in_usd": columns.get("usd", 54.1),
    }
    row = event("purchase", ecommerce=order, params={"currency": columns["currency"]})
    told = tell([row], rules=Rules(**rules))
    ((_, _, _, value, currency),) = held(store)[1]
    assert (value, currency, told.without_value) == expected


def test_without_consent_nobody_is_recognised(store: JourneyStore, tell: Tell) -> None:
    refused = {"privacy_info": {"analytics_storage": "No"}}
    told = tell([event(**refused), purchase(**refused, user_id="ann"), event(cookie="c2", session=8)])
    assert (told.anonymous, told.touches, told.conversions) == (2, 1, 1)
    assert store.person("c1") is None and store.person("ann") is None and store.person("c2") is not None


def test_a_login_joins_its_cookies_and_a_shared_cookie_joins_nobody(store: JourneyStore, tell: Tell) -> None:
    rows = [
        event(cookie="phone", session=1, user_id="ann"),
        event(cookie="phone", session=2, hour=40),  # not logged in: known by the cookie
        event(cookie="laptop", session=3, hour=60, user_id="ann"),
        event(cookie="family", session=4, hour=70, user_id="ann"),
        event(cookie="family", session=5, hour=80, user_id="ben"),
        event(cookie="family", session=6, hour=90),
    ]
    told = tell(rows)
    assert (told.linked, told.shared_cookies) == (2, 1)
    ann = store.person("ann")
    assert ann is not None and set(ann.aliases) == {"ann", "phone", "laptop"}
    (journey,) = store.journeys("phone", NOW)
    assert [touch.person for touch in journey.touches] == ["ann", "phone", "ann", "ann"]
    assert len(store.journeys("family", NOW)[0].touches) == 1
    assert tell([event(cookie="phone", session=9, hour=100, user_id="ben")]).shared_cookies == 1
    assert store.person("ben") is not None and "phone" not in store.person("ben").aliases  # type: ignore[union-attr]
    assert tell(rows).linked == 0


def test_a_session_over_midnight_is_one_touch_in_any_order_of_its_days(
    store: JourneyStore, tell: Tell
) -> None:
    evening = [event(hour=23.9, **CAME[0])]
    night = [event("begin_checkout", hour=24.1), purchase(hour=24.2)]
    tell(night)
    assert tell(evening).replaced == 1
    ((_, _, at_us, _, channel, _, stage),) = held(store)[0]
    assert (at_us, channel, stage) == (BEGIN_US + round(23.9 * HOUR_US), "Paid Search", 3)
    told = tell(night)
    assert (told.replaced, told.repeats) == (0, 2), "the end of a session cannot spoil what is known of it"


def test_other_events_can_be_conversions_and_refunds_are_counted(store: JourneyStore, tell: Tell) -> None:
    rows = [event("subscribe", params={"value": 9.5, "currency": "USD"}), purchase(hour=13), event("refund")]
    told = tell(rows, rules=Rules(conversions=("subscribe",)))
    assert (told.conversions, told.refunds) == (1, 1)
    assert held(store)[1][0][3] == 9_500_000


def test_prefixes_keep_properties_apart(store: JourneyStore, tell: Tell) -> None:
    for prefix in ("a:", "b:"):
        assert tell([event(), purchase()], rules=Rules(prefix=prefix)).repeats == 0
    assert store.person("a:c1") is not None and store.person("c1") is None


def test_ids_too_long_for_a_database_are_named_after_what_they_say(store: JourneyStore, tell: Tell) -> None:
    rows = [event(cookie="c" * 300), purchase("T" * 400, hour=13, cookie="c" * 300)]
    assert tell(rows).touches == 1 and tell(rows).repeats == 2


def test_an_empty_table_is_no_error(store: JourneyStore, tell: Tell, tmp_path: Path) -> None:
    told = tell(write(tmp_path / "events_20260301.json", []))
    assert (told.files, told.events, told.first_date) == (1, 0, 0)


def test_the_shared_examples_become_journeys(store: JourneyStore, tell: Tell, shared_data: Path) -> None:
    told = tell(shared_data / "ga4" / "synthetic_example_events.ndjson")
    assert (told.events, told.touches, told.conversions) == (4, 1, 1)
    (journey,) = store.journeys("1111111111.1704412800", NOW)
    assert journey.channels == ("Paid Search",) and journey.conversion is not None
    assert journey.conversion.value_micros == 180_000_000
    told = tell(shared_data / "ga4" / "fivetran_event_data_seed.csv")
    assert (told.events, told.touches, told.conversions, told.linked) == (6, 5, 1, 4)
    ann = store.person("user_123")
    assert ann is not None and set(ann.aliases) == {"user_123", "pseudo_123", "pseudo_124"}
    assert RESTATED_DAYS == 4
