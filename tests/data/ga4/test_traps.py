"""The eight traps of a GA4 export, one by one."""

import json
from pathlib import Path
from typing import Any

import pytest

from gaelp.core.errors import BadInput
from gaelp.data.ga4.columns import LEVELS
from gaelp.data.ga4.reading import find_files, read_events
from gaelp.journeys.store import JourneyStore

from .conftest import Tell, held
from .exports import BEGIN_US, HOUR_US, Row, came, event, purchase, write


def test_1_a_session_is_known_by_its_cookie_and_its_number_together(store: JourneyStore, tell: Tell) -> None:
    told = tell([event(cookie="c1"), event(cookie="c2"), event(cookie="c2", session=8, hour=13)])
    assert told.touches == 3
    assert [(row[0], row[1]) for row in held(store)[0]] == [
        ("ga4:c1:7", "c1"),
        ("ga4:c2:7", "c2"),
        ("ga4:c2:8", "c2"),
    ]


def test_1_rows_without_session_or_cookie_are_counted_and_only_their_sales_kept(
    store: JourneyStore, tell: Tell
) -> None:
    told = tell(
        [
            event(session=None),
            event(cookie=None, session=None),
            event(cookie=None, hour=13),
            purchase("T1", session=None),
            purchase("T2", cookie=None, session=None),
        ]
    )
    assert (told.events, told.outside_sessions, told.anonymous, told.touches) == (5, 2, 3, 0)
    assert [(row[0], row[1]) for row in held(store)[1]] == [
        ("ga4:sale:T1", "c1"),
        ("ga4:sale:T2", "ga4:sale:T2"),
    ]


def test_2_whole_numbers_are_read_as_text_as_numbers_and_mixed(store: JourneyStore, tell: Tell) -> None:
    as_text = purchase()
    as_number = json.loads(json.dumps(as_text))
    for row in (as_number,):
        row["event_timestamp"] = int(row["event_timestamp"])
        row["batch_event_index"] = int(row["batch_event_index"])
        for each in row["event_params"]:
            if "int_value" in each["value"]:
                each["value"]["int_value"] = int(each["value"]["int_value"])
    assert tell([as_text]).touches == 1
    assert tell([as_number]).repeats == 2
    told = tell([as_text, as_number])
    assert (told.duplicates, told.repeats) == (1, 2), "text and number side by side, in one file"


def test_2_escaped_signs_are_unescaped(tmp_path: Path) -> None:
    text = json.dumps(event(params={"campaign": "AB", "source": "s"})).replace(
        "AB", "a\\u003cb\\u003e \\u0026 c"
    )
    assert "\\u003c" in text
    (tmp_path / "e.json").write_text(text)
    (table,) = read_events(find_files(tmp_path))
    assert table["campaign"].to_pylist() == ["a<b> & c"]


def test_2_a_nested_table_as_csv_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("event_date,event_timestamp,event_params\n20260301,1,[]\n")
    with pytest.raises(BadInput, match="Nested tables cannot be exported as CSV"):
        list(read_events(find_files(tmp_path)))


@pytest.mark.parametrize("value", [25, 25.0, "25", "25.00"])
def test_3_a_number_may_sit_in_any_field_of_a_parameter(store: JourneyStore, tell: Tell, value: Any) -> None:
    tell([event("purchase", params={"value": value, "currency": "EUR", "transaction_id": "T9"})])
    assert held(store)[1] == [("ga4:sale:T9", "c1", BEGIN_US + 12 * HOUR_US, 25_000_000, "EUR")]


def test_3_a_session_number_may_be_text(store: JourneyStore, tell: Tell) -> None:
    tell([event(session=7)])
    other = event(session=None, params={"ga_session_id": "7"}, hour=13)
    assert tell([other]).repeats == 1, "the same session, a later part of it"


LAST_CLICK = came("google", "cpc", "Paid Search")
MANUAL = {
    "session_traffic_source_last_click": {"manual_campaign": {"source": "crm", "medium": "email"}},
}
ADS = {"session_traffic_source_last_click": {"google_ads_campaign": {"campaign_name": "brand"}}}
COLLECTED = {"collected_traffic_source": {"manual_source": "facebook.com", "manual_medium": "paid_social"}}
PARAMS = {"params": {"source": "bing", "medium": "organic"}}
FIRST = {"traffic_source": {"source": "news.example", "medium": "referral"}}
UNSET = came("(not set)", "(not set)")


@pytest.mark.parametrize(
    ("told", "level", "group"),
    [
        ({**LAST_CLICK, **COLLECTED, **PARAMS, **FIRST}, "cross_channel", "Paid Search"),
        ({**ADS, **COLLECTED, **PARAMS, **FIRST}, "google_ads", "Paid Search"),
        ({**MANUAL, **COLLECTED, **PARAMS, **FIRST}, "manual", "Email"),
        ({**COLLECTED, **PARAMS, **FIRST}, "collected", "Paid Social"),
        ({**UNSET, **PARAMS, **FIRST}, "event_params", "Organic Search"),
        (FIRST, "first_touch", "Referral"),
        ({}, "none", "Direct"),
    ],
)
def test_4_the_most_trustworthy_source_counts_and_is_recorded(
    store: JourneyStore, tell: Tell, told: Row, level: str, group: str
) -> None:
    found = tell([event(**told)])
    assert found.sources == {level: 1} and level in LEVELS
    assert held(store)[0][0][4] == group


def test_4_a_better_source_later_in_the_session_counts(store: JourneyStore, tell: Tell) -> None:
    tell([event(**FIRST), event(hour=12.1, **COLLECTED), event(hour=12.2, **COLLECTED, **PARAMS)])
    ((_, _, at_us, _, channel, *_),) = held(store)[0]
    assert (at_us, channel) == (BEGIN_US + 12 * HOUR_US, "Paid Social")


@pytest.mark.parametrize(
    "click",
    [
        {"collected_traffic_source": {"manual_medium": "organic", "manual_source": "google", "gclid": "G"}},
        {"params": {"medium": "(not set)", "gclid": "G"}},
        {
            "params": {
                "page_location": "https://shop.example/?x=1&gclid=G",
                "source": "google",
                "medium": "organic",
            }
        },
        {
            "params": {"page_location": "https://shop.example/?wbraid=G"},
            **came("(direct)", "(none)", "Direct"),
        },
        {"collected_traffic_source": {"gclid": "G"}, **came("google", "organic", "Organic Search")},
    ],
)
def test_5_a_click_id_makes_a_visit_paid_whatever_the_medium(
    store: JourneyStore, tell: Tell, click: Row
) -> None:
    tell([event(**click), event("scroll", hour=12.1)])
    assert held(store)[0][0][3:5] == (1, "Paid Search")


def test_5_a_click_id_beside_a_medium_that_speaks_changes_nothing(store: JourneyStore, tell: Tell) -> None:
    clicked = {"manual_source": "crm", "manual_medium": "email", "gclid": "G"}
    tell([event(collected_traffic_source=clicked)])
    assert held(store)[0][0][4] == "Email"


def test_6_rows_that_come_again_are_one(store: JourneyStore, tell: Tell) -> None:
    rows = [event(), event(index=2), event("scroll"), event(hour=13)]
    told = tell([*rows, *rows[:3]])
    assert (told.events, told.duplicates, told.touches) == (7, 3, 1)


def test_6_late_rows_restate_what_was_told(store: JourneyStore, tell: Tell, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    early = [event(hour=24 * day + 12, session=day, **FIRST) for day in range(6)]
    for day, row in enumerate(early):
        write(folder / f"events_2026030{day + 1}.json", [row])
    assert tell(folder).touches == 6
    # two days later Google knows where day 5's session came from, of an earlier event in it, and of a sale
    late = [
        event(hour=24 * 4 + 12, session=4, **LAST_CLICK),
        event(hour=24 * 4 + 11, session=4, **LAST_CLICK),
        purchase(hour=24 * 4 + 12.5, session=4),
    ]
    write(folder / "events_20260305.json", late)
    told = tell(folder, last_days=4)
    assert (told.files, told.touches, told.replaced, told.conversions, told.repeats) == (4, 0, 1, 1, 3)
    touches, sales = held(store)
    assert touches[4][2:5] == (BEGIN_US + (24 * 4 + 11) * HOUR_US, 1, "Paid Search")
    assert [row[4] for row in touches[:4]] == ["Referral"] * 4 and len(sales) == 1
    journey = store.journeys("c1", BEGIN_US + 24 * 10 * HOUR_US)[0]
    assert journey.conversion is not None and len(journey.touches) == 5


def test_7_a_transaction_counts_once_and_when_it_first_happened(store: JourneyStore, tell: Tell) -> None:
    again = [purchase(hour=14), purchase(hour=13), purchase(hour=30, cookie="c2", session=9)]
    told = tell(again)
    assert (told.conversions, told.duplicate_purchases) == (1, 2)
    told = tell([purchase(hour=40, session=10)])
    assert (told.conversions, told.replaced) == (0, 0), "a thank-you page opened again tomorrow"
    assert held(store)[1] == [("ga4:sale:T1", "c1", BEGIN_US + 13 * HOUR_US, 180_000_000, "USD")]


def test_7_purchases_without_a_transaction_are_known_by_what_tells_events_apart(
    store: JourneyStore, tell: Tell
) -> None:
    rows = [purchase(None), purchase("(not set)", hour=13), purchase("", hour=13, index=2), purchase(None)]
    told = tell(rows)
    assert (told.conversions, told.duplicates) == (3, 1)
    assert tell(rows).repeats == 4, "three sales and their session"


SECRETS = ("ann@x.org", "ann%40x.org", "555-010-9999", "5550109999", "secret")


def test_8_what_names_a_person_is_out_of_addresses_before_anything_is_kept(
    store: JourneyStore, tell: Tell, tmp_path: Path
) -> None:
    page = "https://u:secret@shop.example/a/ann@x.org/b?email=ann%40x.org&phone=5550109999&utm_source=news"
    rows = [
        event(params={"page_location": page, "page_referrer": "https://x.example/?tel=555-010-9999#secret"})
    ]
    path = write(tmp_path / "e.json", rows)
    (table,) = read_events(find_files(path))
    assert table["page"].to_pylist() == ["https://shop.example/a/(removed)/b?utm_source=news"]
    assert table["referrer"].to_pylist() == ["https://x.example/"]
    tell(path)
    store.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("journeys.db*"))
    assert not any(secret.encode() in kept for secret in SECRETS)
