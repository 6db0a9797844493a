"""Discovery from an export or a database: counts, rates, rhythm and zone are those that are there."""

import datetime as dt
import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import numpy as np
import pyarrow as pa
import pytest

from gaelp.core.errors import BadInput
from gaelp.data.discovery.discovering import discover
from gaelp.data.discovery.found import Discovered, schema
from gaelp.data.discovery.intervals import wilson
from gaelp.data.discovery.page import render
from gaelp.data.discovery.zone import Dates, find_zone
from gaelp.data.ga4.importing import import_export
from gaelp.journeys.batch import Event
from gaelp.journeys.store import JourneyStore
from gaelp.market.file import load
from gaelp.worlds.ga4_export import Ga4Options, export_ga4, status_quo
from gaelp.worlds.splits import plain_worlds

from ...journeys.conftest import Postgres
from .planted import CHANNELS, MONDAY_US, NOISE, Kind, plant

NOW = dt.datetime(2025, 7, 1, tzinfo=dt.UTC)
DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def ga4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three weeks of a simulated world."""
    folder = tmp_path_factory.mktemp("world")
    lived = plain_worlds(load("markets/family_safety.toml"), 1, 7)[0]
    options = Ga4Options(gzip=False, flaws=True)
    export_ga4(folder, lived, status_quo(lived.file), n_people=3000, days=21, options=options, warm_up_days=3)
    return folder


@pytest.fixture(scope="module")
def found(ga4: Path) -> Discovered:
    return discover(ga4 / "events", now=NOW, ads=ga4 / "ads.csv", seed=5)


def rows(ga4: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted((ga4 / "events").iterdir())
        for line in path.read_text().splitlines()
    ]


def session_of(row: dict[str, Any]) -> Any:
    told = {each["key"]: each["value"] for each in row["event_params"]}
    return told.get("ga_session_id", {}).get("int_value")


class Lived:
    """Who came and who bought, counted from the rows without any code of ours."""

    def __init__(self, ga4: Path) -> None:
        sessions: dict[Any, int] = {}
        login_of_session: dict[Any, str] = {}
        logins: dict[str, set[str]] = defaultdict(set)
        sales: dict[str, tuple[int, dict[str, Any]]] = {}
        for row in rows(ga4):
            cookie, login, us = row.get("user_pseudo_id"), row.get("user_id"), int(row["event_timestamp"])
            key = (cookie, session_of(row))
            if cookie and key[1]:
                sessions[key] = min(us, sessions.get(key, us))
                if login:
                    login_of_session[key] = login
            if cookie and login:
                logins[cookie].add(login)
            if row["event_name"] == "purchase":
                order = row["ecommerce"]["transaction_id"]
                if order not in sales or us < sales[order][0]:
                    sales[order] = (us, row)
        alone = {cookie: min(each) for cookie, each in logins.items() if len(each) == 1}
        self.first: dict[str, int] = {}
        self.n_sessions, self.n_sales = len(sessions), len(sales)
        for key, us in sessions.items():
            who = login_of_session.get(key) or alone.get(key[0], key[0])
            self.first[who] = min(us, self.first.get(who, us))
        self.bought: dict[str, int] = {}
        for us, row in sales.values():
            cookie = row.get("user_pseudo_id")
            key = (cookie, session_of(row))
            who = row.get("user_id") or login_of_session.get(key) or alone.get(cookie, cookie)
            if who in self.first and us >= self.first[who]:
                self.bought[who] = min(us, self.bought.get(who, us))


def test_people_and_purchases_are_those_of_the_export(ga4: Path, found: Discovered) -> None:
    lived, told = Lived(ga4), found.data
    assert told["source"]["visitors"] == len(lived.first)
    assert told["source"]["purchases"] == lived.n_sales
    assert sum(each["touches"] for each in told["channels"]) == lived.n_sessions
    lag = told["lags"]["first_touch_to_purchase"]
    assert (lag["n"], lag["bought"]) == (len(lived.first), len(lived.bought))
    end_us = int(dt.datetime.fromisoformat(told["source"]["last_at"]).timestamp() * 1e6)
    horizon = told["horizon_days"] * DAY_US
    ripe = [who for who, us in lived.first.items() if end_us - us >= horizon]
    won = sum(lived.bought.get(who, 1 << 62) - lived.first[who] <= horizon for who in ripe)
    assert told["visitors"]["conversion"]["n"] == pytest.approx(len(ripe), abs=1)
    assert told["visitors"]["conversion"]["converted"] == pytest.approx(won, abs=1)
    assert lag["bought"] > 10


def test_what_is_written_fits_its_schema_and_is_read_again(found: Discovered, tmp_path: Path) -> None:
    jsonschema.validate(found.data, schema())
    found.write(tmp_path / "patterns.json")
    assert Discovered.read(tmp_path / "patterns.json").data == json.loads(found.text())
    broken = {**found.data, "version": 2}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema())
    (tmp_path / "patterns.json").write_text(json.dumps(broken))
    with pytest.raises(BadInput, match="version 1"):
        Discovered.read(tmp_path / "patterns.json")


def test_the_same_seed_writes_the_same_bytes(ga4: Path, found: Discovered) -> None:
    again = discover(ga4 / "events", now=NOW, ads=ga4 / "ads.csv", seed=5)
    assert again.text() == found.text()


def test_a_database_tells_what_its_export_told(ga4: Path, found: Discovered, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/journeys.db"
    with JourneyStore(url) as store:
        import_export(store, ga4 / "events", NOW)
    again = discover(database=url, now=NOW, ads=ga4 / "ads.csv", seed=5, time_zone="America/New_York")
    changed = {key for key in found.data if again.data[key] != found.data[key]}
    assert changed <= {"source", "time_zone", "not_told"}
    assert discover(database=url, now=NOW).data["time_zone"]["how"] == "assumed"


def test_postgresql_tells_what_sqlite_tells(tmp_path: Path) -> None:
    server = Postgres()
    try:
        found = []
        for url in (f"sqlite:///{tmp_path}/a.db", server.new_database()):
            truth = plant(url, NOISE, people=200, days=28, seed=4)
            found.append(discover(database=url, now=truth["end_us"], time_zone="UTC").text())
    finally:
        server.stop()
    assert found[0] == found[1]


def test_the_propertys_zone_is_read_off_its_days(found: Discovered) -> None:
    told = found.data["time_zone"]
    assert (told["name"], told["how"]) == ("America/New_York", "read")
    assert told["misplaced"] < 0.001


@pytest.mark.parametrize("name", ["Asia/Kolkata", "Pacific/Auckland", "America/Los_Angeles"])
def test_a_zone_is_known_by_its_clock_over_a_change_of_clocks(name: str) -> None:
    draws = np.random.default_rng(0)
    us = MONDAY_US + np.sort(draws.integers(0, 200 * DAY_US, 40_000))
    zone = ZoneInfo(name)
    day = [int(f"{dt.datetime.fromtimestamp(int(each) / 1e6, zone):%Y%m%d}") for each in us]
    dates = Dates()
    dates.add(pa.table({"event_date": pa.array(day, pa.int32()), "event_us": us}))
    told = find_zone(None, dates)
    assert told.how == "read"
    for at in us[::4000].tolist():
        moment = dt.datetime.fromtimestamp(at / 1e6, dt.UTC)
        assert moment.astimezone(ZoneInfo(told.name)).utcoffset() == moment.astimezone(zone).utcoffset()
    hour, weekday, _ = told.local_hours(us, int(us[0]), int(us[-1]))
    local = [dt.datetime.fromtimestamp(int(each) / 1e6, zone) for each in us[::500]]
    assert hour[::500].tolist() == [each.hour for each in local]
    assert weekday[::500].tolist() == [each.weekday() for each in local]


def test_too_thin_days_leave_the_zone_unknown() -> None:
    dates = Dates()
    noon = MONDAY_US + 43_200_000_000
    dates.add(pa.table({"event_date": pa.array([20260105], pa.int32()), "event_us": np.array([noon])}))
    told = find_zone(None, dates)
    assert (told.name, told.how) == ("UTC", "assumed") and "midnight" in (told.unknown or "")


PARTS = (0.1, 0.2, 0.3, 0.4)
ONCE = Kind(share=1.0, touches=(1.0,), parts=PARTS, rate=0.1)
STICKY = Kind(
    share=1.0, touches=(0.0,) * 9 + (1.0,), sticky=0.7, gap_days=1e-4, parts=PARTS, weekend=2 / 7, rate=0.1
)
"""Ten touches in two minutes, so in one hour; most of them by one channel."""


def sticky_steps() -> dict[tuple[str, str], float]:
    """Share of touches of `STICKY` that a touch of some channel follows, by both."""
    again = STICKY.sticky**2
    return {
        (CHANNELS[i], CHANNELS[j]): 0.9 * ((i == j) * again + (1 - again) * STICKY.channels[j])
        for i in range(4)
        for j in range(4)
        if i == j or STICKY.channels[i] * STICKY.channels[j] > 0.05  # others may be too few to be listed
    }


@pytest.mark.statistical
@pytest.mark.parametrize("kind", [ONCE, STICKY], ids=["one touch", "ten sticky touches"])
def test_intervals_cover_what_was_planted(kind: Kind, tmp_path: Path) -> None:
    parts, steps = PARTS, sticky_steps() if kind is STICKY else {}
    runs, held = (14 if steps else 20), defaultdict(list)
    for seed in range(runs):
        path = tmp_path / f"{seed}.db"
        truth = plant(path, (kind,), people=600, days=63, seed=seed)
        told = discover(database=str(path), now=truth["end_us"], time_zone="UTC", horizon_days=20).data
        within = 0.1 * (1 - np.exp(-20 / 3))
        followed = {(each["from"], each["to"]): each for each in told["channel_patterns"]}
        pairs = {"back": [(i, j) for i, j in steps if i == j], "onward": [(i, j) for i, j in steps if i != j]}
        for name, rows_, share in (
            ("rate", [told["visitors"]["conversion"]], [within]),
            ("channel", [each["journeys_with_it"] for each in told["channels"]], [within] * 4),
            ("device", [each["conversion"] for each in told["devices"]], [within] * 2),
            ("hour", [e["touches"] for e in told["rhythm"]["hour"]], [parts[i // 6] / 6 for i in range(24)]),
            ("weekday", [each["touches"] for each in told["rhythm"]["weekday"]], [1 / 7] * 7),
            *((name, [followed[e] for e in each], [steps[e] for e in each]) for name, each in pairs.items()),
        ):
            assert len(rows_) == len(share) > 0 or not steps
            held[name] += [each["low"] <= p <= each["high"] for each, p in zip(rows_, share, strict=True)]
    for name, each in ((name, each) for name, each in held.items() if each):
        assert np.mean(each) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / len(each)), (name, np.mean(each))


def test_intervals_of_steps_are_as_wide_as_leaving_out_a_person_says(tmp_path: Path) -> None:
    people = 300
    truth = plant(tmp_path / "a.db", (replace(STICKY, rate=0.0),), people=people, days=63, seed=1)
    found = discover(database=str(tmp_path / "a.db"), now=truth["end_us"], time_zone="UTC").data
    told = {(each["from"], each["to"]): each for each in found["channel_patterns"]}
    lives: list[list[str]] = [[] for _ in range(people)]
    for person, _, _, channel, *_ in truth["rows"]:
        lives[person].append(CHANNELS[channel])
    for name in CHANNELS:
        begun = np.array([life.count(name) for life in lives])
        again = np.array([sum(a == b == name for a, b in pairwise(life)) for life in lives])
        each = told[name, name]
        assert (each["n"], each["of"]) == (again.sum(), begun.sum())
        without = (again.sum() - again) / (begun.sum() - begun)
        error = np.sqrt((people - 1) * without.var())
        p = each["share"]
        low, high = (np.log(each[end] / (1 - each[end])) for end in ("low", "high"))
        assert (high - low) / 2 == pytest.approx(1.96 * error / (p * (1 - p)), rel=0.03)
        assert each["high"] - each["low"] > 1.1 * np.diff(wilson(each["n"], each["of"]))[0]


def test_patterns_are_judged_by_people_who_did_not_choose_them(tmp_path: Path) -> None:
    truth = plant(tmp_path / "noise.db", NOISE, people=4000, days=63, seed=1)
    told = discover(database=str(tmp_path / "noise.db"), now=truth["end_us"], time_zone="UTC").data
    jsonschema.validate(told, schema())
    usual, items = told["patterns"]["usual"]["rate"], told["patterns"]["items"]
    chosen = np.mean([each["chosen_by"]["rate"] for each in items])
    judged = np.mean([each["conversion"]["rate"] for each in items])
    assert chosen > 1.5 * usual  # the luckiest places look better than they are
    assert abs(judged - usual) < 0.35 * usual


def test_an_ad_report_is_summed_and_what_it_leaves_out_is_not_told(ga4: Path, found: Discovered) -> None:
    told = {each["channel"]: each for each in found.data["ads"]["channels"]}
    lines = [line.split(",") for line in (ga4 / "ads.csv").read_text().splitlines()]
    place = {name: i for i, name in enumerate(lines[0])}
    mine = [line for line in lines[1:] if line[place["channel"]] == "social"]
    assert told["social"]["cost_micros"] == sum(int(line[place["cost_micros"]]) for line in mine)
    shown = [line[place["impressions"]] for line in mine]
    assert told["social"]["impressions"] == sum(int(each) for each in shown if each) > 0
    assert told["social"]["rows_lacking"] == {"impressions": shown.count("")} and told["social"][
        "rows"
    ] == len(mine)
    both = [line for line in mine if line[place["impressions"]] and line[place["clicks"]]]
    clicks, impressions = (sum(int(line[place[name]]) for line in both) for name in ("clicks", "impressions"))
    assert told["social"]["click_rate"]["share"] == pytest.approx(clicks / impressions, abs=1e-8)
    paid = next(each for each in found.data["channels"] if each["channel"] == "Paid Social")
    assert told["social"]["touches"] == paid["touches"]


def test_ad_rows_count_from_the_first_to_the_last_day_of_the_tables(ga4: Path, tmp_path: Path) -> None:
    told = rows(ga4)
    days = sorted({each["event_date"] for each in told})
    for ends in (days[0], days[-1]):  # on which nobody lets himself be recognised
        for each in told:
            if each["event_date"] == ends:
                each.pop("user_pseudo_id", None)
                each.pop("user_id", None)
    (tmp_path / "events").mkdir()
    text = "".join(json.dumps(each) + "\n" for each in told)
    (tmp_path / "events" / "events.json").write_text(text)
    dates = [dt.datetime.strptime(day, "%Y%m%d").date() for day in days]
    around = [dates[0] - dt.timedelta(1), *dates, dates[-1] + dt.timedelta(1)]
    ads = tmp_path / "ads.csv"
    head = "date,channel,impressions,clicks,cost_micros,conversions\n"
    ads.write_text(head + "".join(f"{day},social,10,1,5,\n" for day in around))
    for zone in (None, "Asia/Tokyo"):
        section = discover(tmp_path / "events", now=NOW, ads=ads, time_zone=zone).data["ads"]
        assert (section["first_date"], section["last_date"]) == (str(dates[0]), str(dates[-1]))
        assert (section["rows_outside"], section["channels"][0]["rows"]) == (2, len(dates))


def test_a_bad_ad_report_is_refused(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.db", NOISE, people=50, days=14, seed=1)
    ads = tmp_path / "ads.csv"
    for text, message in (
        ("date,channel\n", "must have the columns"),
        ("date,channel,impressions,clicks,cost_micros,conversions\nmonday,x,1,1,1,1\n", "line 2 of ads"),
    ):
        ads.write_text(text)
        with pytest.raises(BadInput, match=message):
            discover(database=str(tmp_path / "a.db"), now=truth["end_us"], ads=ads)


def test_the_page_says_what_is_known_and_what_is_not(found: Discovered) -> None:
    page = render(found)
    assert "Paid Social" in page and "What these data cannot tell" in page and "http" not in page
    bare = {**found.data, "ads": {"unknown": "<no> report"}}
    assert "Unknown: &lt;no&gt; report." in render(Discovered(bare))


def test_visits_without_purchases_and_purchases_without_visits_are_told(tmp_path: Path) -> None:
    truth = plant(tmp_path / "a.db", (Kind(share=1.0, rate=0.0),), people=40, days=28, seed=1)
    told = discover(database=str(tmp_path / "a.db"), now=truth["end_us"]).data
    jsonschema.validate(told, schema())
    assert told["lags"]["first_touch_to_purchase"]["unknown"] and told["patterns"]["unknown"]
    assert told["visitors"]["value"]["currency"] is None and told["visitors"]["conversion"]["rate"] == 0
    at = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    sold = [
        Event(person=f"p{i}", event_id=f"e{i}", at=at + dt.timedelta(days=i), kind="conversion")
        for i in range(9)
    ]
    with JourneyStore(tmp_path / "b.db") as store:
        store.append(sold, at + dt.timedelta(days=9))
    told = discover(database=str(tmp_path / "b.db"), now=NOW).data
    jsonschema.validate(told, schema())
    assert told["segments"]["unknown"] == "no visitor has a touch"
    assert told["journeys"]["purchases_without_touch"] == 9
    assert any("9 of 9 purchases have no visit" in each for each in told["not_told"])
    assert "no visitor has a touch" in render(Discovered(told))


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="one of the two"):
        discover(now=NOW)
    truth = plant(tmp_path / "a.db", NOISE, people=50, days=14, seed=1)
    with pytest.raises(BadInput, match="horizon_days"):
        discover(database=str(tmp_path / "a.db"), now=truth["end_us"], horizon_days=40)
    with pytest.raises(BadInput, match="IANA"):
        discover(database=str(tmp_path / "a.db"), now=truth["end_us"], time_zone="Mars/Base")
    with JourneyStore(tmp_path / "empty.db"):
        pass
    with pytest.raises(BadInput, match="must hold a session"):
        discover(database=str(tmp_path / "empty.db"), now=NOW)
