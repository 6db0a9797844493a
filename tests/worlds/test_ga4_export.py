"""A world's GA4 export: Google's layout, the world's counts, nothing its advertiser could not know."""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from gaelp.core.errors import BadInput, UnknownName
from gaelp.core.words import LINES, Channel, TouchKind
from gaelp.market.file import load
from gaelp.market.market import World
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.worlds.flight import Flight, fly, make_market, warm_up
from gaelp.worlds.ga4_export import Ga4Options, export_ga4, status_quo
from gaelp.worlds.ga4_rows import TAGS, Came, Cookie, Property, Session
from gaelp.worlds.ga4_tables import as_bigquery_json
from gaelp.worlds.splits import plain_worlds

PEOPLE, WARM_UP, DAYS = 3000, 3, 5
DAY_US = 86_400_000_000
CHANNEL_OF_MEDIUM = {
    "cpc": "search",
    "(not set)": "search",
    "paid_social": "social",
    "cpv": "video",
    "display": "display",
    "retargeting": "retargeting",
    "email": "email",
    "organic": "organic",
    None: "direct",
}
LOADER = "the GA4 loader is not there"


@dataclass(frozen=True)
class Dump:
    """An export, read without any code of ours."""

    folder: Path
    counts: dict[str, int]
    flight: Flight

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for path in sorted((self.folder / "events").iterdir()):
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
            found[path.name.partition(".")[0]] = [json.loads(line) for line in text.splitlines()]
        return found

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for table in self.tables.values() for row in table]

    @property
    def ads(self) -> list[dict[str, str]]:
        with (self.folder / "ads.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def params(row: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for each in row["event_params"]:
        (cell,) = each["value"].values()
        found[each["key"]] = cell
    return found


def named(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["event_name"] == name]


def world(seed: int = 4) -> World:
    return plain_worlds(load("markets/family_safety.toml"), 1, seed)[0]


def export(folder: Path, lived: World | None = None, days: int = DAYS, **options: Any) -> Dump:
    lived = lived or world()
    folder.mkdir(exist_ok=True)
    counts, flight = export_ga4(
        folder,
        lived,
        status_quo(lived.file),
        n_people=PEOPLE,
        days=days,
        options=Ga4Options(**options),
        warm_up_days=WARM_UP,
    )
    return Dump(folder, counts, flight)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    return export(tmp_path_factory.mktemp("ga4"), gzip=False)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    return export(tmp_path_factory.mktemp("flawed"), flaws=True)


@pytest.fixture(scope="module")
def seen() -> NDArray[np.void]:
    """What the account sees of the same life, from one log that is never emptied."""
    lived = world()
    market = make_market([lived], PEOPLE, event_rows=200_000)
    traffic = warm_up(market, WARM_UP)
    fly(market, status_quo(lived.file), days=DAYS, traffic=traffic, keep_bids=False)
    found = seen_events(market, 0, 0, Sight(lived.file.visibility), 10**6)
    return found[(found["hour"] >= 24 * WARM_UP) & (found["hour"] < market.hour)]


def complaints(told: dict[str, Any], fields: list[dict[str, Any]], where: str = "") -> Iterator[str]:
    """What a row says that a BigQuery schema does not allow in a JSON export."""
    known = {each["name"]: each for each in fields}
    for name, cell in told.items():
        at = f"{where}{name}"
        if name not in known:
            yield f"{at} is no column"
            continue
        each = known[name]
        repeated = each["mode"] == "REPEATED"
        if isinstance(cell, list) != repeated:
            yield f"{at} is repeated or not"
            continue
        for one in cell if repeated else [cell]:
            if each["type"] == "RECORD":
                yield from complaints(one, each["fields"], f"{at}.") if isinstance(one, dict) else [at]
            elif each["type"] == "INTEGER":
                if not (isinstance(one, str) and -(2**63) <= int(one) < 2**63):
                    yield f"{at} is no INT64 as text"
            elif type(one) is not {"STRING": str, "FLOAT": float, "BOOLEAN": bool}[each["type"]]:
                yield f"{at} is {one!r}"


def test_every_row_fits_googles_schema(dump: Dump, flawed: Dump, shared_data: Path) -> None:
    fields = json.loads((shared_data / "ga4" / "ga4_bq_export_schema.json").read_text())
    assert list(complaints({"event_timestamp": 1, "nothing": ""}, fields)) == [
        "event_timestamp is no INT64 as text",
        "nothing is no column",
    ]
    for row in dump.rows + flawed.rows:
        assert not list(complaints(row, fields))
        for each in row["event_params"]:
            assert set(each) == {"key", "value"} and len(each["value"]) == 1


def test_text_is_escaped_as_bigquery_does(dump: Dump) -> None:
    text = (dump.folder / "events").glob("*.json").__next__().read_text()
    assert r"\u0026utm_medium" in text and not set("<>&") & set(text) and "null" not in text
    assert (
        as_bigquery_json({"a": "<b>", "n": [2**53], "x": None})
        == r'{"a":"\u003cb\u003e","n":["9007199254740992"]}'
    )


def test_arrivals_by_channel_and_line_are_those_the_account_sees(dump: Dump, seen: NDArray[np.void]) -> None:
    came = seen[np.isin(seen["kind"], (TouchKind.CLICK, TouchKind.VISIT))]
    views = [params(row) for row in named(dump.rows, "page_view")]
    told = Counter(CHANNEL_OF_MEDIUM[view.get("medium")] for view in views)
    assert told == Counter(Channel(code).name.lower() for code in came["channel"].tolist())
    lines = Counter(view["campaign"] for view in views if view.get("campaign", "(")[0] != "(")
    expected = Counter(LINES[code].name for code in came["line"].tolist() if code < len(LINES))
    assert {name: lines[name] for name in expected if not name.startswith("search")} == {
        name: n for name, n in expected.items() if not name.startswith("search")
    }
    lost = sum(view.get("medium") == "(not set)" for view in views)
    searched = sum(n for name, n in expected.items() if name.startswith("search"))
    assert sum(n for name, n in lines.items() if name.startswith("search")) == searched - lost
    assert abs(lost - 0.04 * searched) < 4 * np.sqrt(0.04 * searched)
    clicks = dump.flight.clicks[0].sum(axis=0)  # every click reaches the site, and GA4
    assert expected == Counter({LINES[i].name: int(n) for i, n in enumerate(clicks) if n})
    assert dump.flight.market.books.n_events[0] == 0  # the log was emptied on the way


def test_sessions_are_the_consenting_arrivals_and_cookies_their_devices(
    dump: Dump, seen: NDArray[np.void]
) -> None:
    came = seen[np.isin(seen["kind"], (TouchKind.CLICK, TouchKind.VISIT))]
    keys = Counter(
        (row["user_pseudo_id"], params(row)["ga_session_id"])
        for row in dump.rows
        if "ga_session_id" in params(row)
    )
    assert len(keys) == dump.counts["sessions"] == int((came["visitor"] > 0).sum())
    known = seen[(seen["kind"] != TouchKind.IMPRESSION) & (seen["kind"] != TouchKind.EMAIL_OPEN)]
    cookies = {row["user_pseudo_id"] for row in dump.rows if "user_pseudo_id" in row}
    assert len(cookies) == np.unique(known["visitor"][known["visitor"] > 0]).size
    devices = Counter(row["device"]["category"] for row in named(dump.rows, "page_view"))
    names = ("mobile", "desktop", "tablet")
    assert devices == Counter(names[code] for code in came["device"].tolist())
    regions = Counter(row["geo"]["region"] for row in named(dump.rows, "page_view"))
    assert regions == Counter(f"region {code}" for code in came["region"].tolist())
    logins = {row["user_id"] for row in dump.rows if "user_id" in row}
    both = known[(known["visitor"] > 0) & (known["login"] > 0)]
    assert 0 < len(logins) <= np.unique(both["login"]).size


def test_sales_and_their_value_are_those_booked(dump: Dump, seen: NDArray[np.void]) -> None:
    booked = seen[seen["kind"] == TouchKind.CONVERSION]
    sales = named(dump.rows, "purchase")
    assert len(sales) == len({row["ecommerce"]["transaction_id"] for row in sales}) == len(booked) > 10
    micros = sorted(round(row["ecommerce"]["purchase_revenue"] * 1e6) for row in sales)
    assert micros == sorted(booked["value_micros"].tolist())
    hours = Counter(int(row["event_timestamp"]) // 3_600_000_000 for row in sales)
    began = int(np.datetime64(world().file.start, "h").astype(int))
    assert hours == Counter(began + hour for hour in booked["hour"].tolist())
    for row in sales:
        told = params(row)
        assert float(told["value"]) == row["ecommerce"]["purchase_revenue"] == row["items"][0]["price"]
        assert told["currency"] == "USD" and told["transaction_id"] == row["ecommerce"]["transaction_id"]
    assert {"page_location" in params(row) for row in sales} == {True, False}  # browser and server


def test_whoever_refused_leaves_no_id(dump: Dump, seen: NDArray[np.void]) -> None:
    refused = [row for row in dump.rows if row["privacy_info"]["analytics_storage"] == "No"]
    came = seen[np.isin(seen["kind"], (TouchKind.CLICK, TouchKind.VISIT))]
    assert len(named(refused, "page_view")) == dump.counts["refused"] == int((came["visitor"] == 0).sum()) > 0
    for row in refused:
        assert not set(row) & {"user_pseudo_id", "user_id", "user_first_touch_timestamp", "user_ltv"}
        assert not set(params(row)) & {"ga_session_id", "ga_session_number"}
        assert "clid" not in json.dumps(row)
    assert all("user_pseudo_id" in row for row in dump.rows if row not in refused)


def test_dates_are_the_propertys_and_tables_hold_their_day(dump: Dump) -> None:
    summer = 1_741_503_600_000_000  # 2025-03-09, 07:00 UTC: New York goes from 5 to 4 hours behind
    days = set()
    for name, table in dump.tables.items():
        for row in table:
            us = int(row["event_timestamp"])
            local = np.datetime64(us - (5 if us < summer else 4) * 3_600_000_000, "us")
            assert row["event_date"] == str(local)[:10].replace("-", "") == name[-8:]
            days.add(us // DAY_US * 10 + (us < summer))
    assert len(days) > DAYS  # both offsets, every day
    assert [name for name in dump.tables if "intraday" in name] == ["events_intraday_20250310"]
    assert len(dump.tables) == DAYS + 1  # the first evening in New York is a day of its own


def test_a_session_goes_on_after_midnight_in_the_next_table() -> None:
    shop = Property(ZoneInfo("Europe/Berlin"), "EUR", "a plan")
    at_us = 1_741_388_395_000_000  # 2025-03-07, 23:59:55 there
    came = Came(Channel.DIRECT)
    session = Session(Cookie("1.2", at_us, came), "", at_us, 1, came, came, 0, 7)
    rows = shop.arrival(session, engaged_us=20_000_000, signed_up=True, engaged_as_text=False)
    assert [row["event_name"] for row in rows] == [
        *("first_visit", "session_start", "page_view", "sign_up", "user_engagement")
    ]
    assert [row["event_date"] for row in rows] == ["20250307"] * 3 + ["20250308"] * 2
    sale = shop.sale(session, at_us, "T1", 180_000_000, on_site=True)
    assert {"key": "value", "value": {"int_value": 180}} in sale["event_params"]
    assert "event_value_in_usd" not in sale  # what a euro is worth the market does not know


def test_the_intraday_table_lacks_what_google_fills_in_later(dump: Dump) -> None:
    later = {"traffic_source", "user_ltv", "is_active_user", "session_traffic_source_last_click"}
    tables = dump.tables
    last = tables.pop("events_intraday_20250310")
    assert last and not any(later & set(row) for row in last)
    whole = [row for table in tables.values() for row in table]
    assert all(any(name in row for row in whole) for name in later)


def test_ads_say_what_the_account_was_shown(dump: Dump) -> None:
    flight = dump.flight
    told = {name: Counter[str]() for name in ("impressions", "clicks", "cost_micros", "conversions")}
    for row in dump.ads:
        assert row["channel"] == next(line for line in LINES if line.name == row["line"]).channel.name.lower()
        for name, sums in told.items():
            sums[row["line"]] += int(row[name] or 0)
    late = Sight(world().file.visibility).delay["impression"]
    for i, line in enumerate(LINES):
        until = flight.hours - 1 - int(late[line.channel])
        assert told["impressions"][line.name] == flight.impressions[0, :until, i].sum()
        assert told["clicks"][line.name] == flight.clicks[0, : flight.hours - 1, i].sum()
        assert told["cost_micros"][line.name] == flight.spend_micros[0, : flight.hours - 1, i].sum()
        assert told["conversions"][line.name] == int((flight.arrivals[:, 1] == i).sum())
    assert dump.ads[0]["date"] == "2025-03-05" and int(dump.ads[0]["hour"]) >= 19
    assert "" in {row["impressions"] for row in dump.ads}  # of the last hours nothing is told yet


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    def written(name: str, seed: int) -> dict[str, bytes]:
        folder = export(tmp_path / name, world(seed), days=1, flaws=True).folder
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    one = written("one", 4)
    assert one == written("again", 4)
    assert one != written("other", 5)


def test_parquet_says_the_same(dump: Dump, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    other = export(tmp_path / "parquet", format="parquet")

    def without_nulls(cell: Any) -> Any:
        if isinstance(cell, dict):
            found = {name: without_nulls(each) for name, each in cell.items() if each is not None}
            return {name: each for name, each in found.items() if each != {}}
        if isinstance(cell, list):
            return [without_nulls(each) for each in cell]
        return str(cell) if type(cell) is int else cell

    for name, rows in dump.tables.items():
        table = parquet.read_table(other.folder / "events" / f"{name}.parquet")
        assert [without_nulls(row) for row in table.to_pylist()] == [without_nulls(row) for row in rows]


def test_flaws_add_repeats_and_take_nothing_but_what_is_late(dump: Dump, flawed: Dump) -> None:
    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return (row.get("user_pseudo_id"), row["event_timestamp"], row["event_name"])

    clean, messy = Counter(map(key, dump.rows)), Counter(map(key, flawed.rows))
    sales = Counter(row["ecommerce"]["transaction_id"] for row in named(flawed.rows, "purchase"))
    orders = {row["ecommerce"]["transaction_id"] for row in named(dump.rows, "purchase")}
    assert set(sales) == orders
    again = [each for each in messy if each not in clean]
    assert all(name == "purchase" for *_, name in again)
    assert 0 < sum(messy.values()) - len(messy) < 0.02 * len(messy)
    missing = set(clean) - set(messy)
    assert len(missing) < 0.05 * len(clean)
    late = [row for row in flawed.rows if "event_server_timestamp_offset" in row]
    assert late and all(0 <= int(row["event_server_timestamp_offset"]) < 3 * DAY_US for row in late)
    end = int(np.datetime64(world().file.start, "us").astype(int)) + (WARM_UP + DAYS) * DAY_US
    for row in flawed.rows:
        assert int(row["event_timestamp"]) + int(row.get("event_server_timestamp_offset", 0)) < end
    assert "email=" in json.dumps(flawed.rows) and "email=" not in json.dumps(dump.rows)


def test_flaws_credit_direct_visits_as_google_does(dump: Dump, flawed: Dump) -> None:
    def credited(found: Dump) -> int:
        """Direct visits that are credited to something else."""
        n = 0
        for row in named(found.rows, "page_view"):
            medium = row.get("session_traffic_source_last_click", {}).get("manual_campaign", {}).get("medium")
            n += "medium" not in params(row) and medium not in (None, "(none)")
        return n

    assert credited(dump) == 0 < credited(flawed)


def test_nothing_is_told_while_the_tag_is_down(tmp_path: Path) -> None:
    lived = world()
    dark = World(replace(lived.file, tracking=False), lived.seed)
    found = export(tmp_path / "dark", dark, days=1)
    assert not found.rows and found.ads
    assert [found.counts[name] for name in ("sessions", "refused", "purchases", "rows")] == [0, 0, 0, 0]


def test_truth_stands_apart_and_is_the_files(dump: Dump) -> None:
    truth = json.loads((dump.folder / "truth.json").read_text())
    file = world().file
    assert set(truth["parameters"]) == set(file.parameters)
    for name, stated in file.parameters.items():
        assert np.array_equal(np.array(truth["parameters"][name]), stated.value)
    assert [rival["name"] for rival in truth["rivals"]] == [rival.name for rival in file.rivals]
    assert {path.name for path in dump.folder.iterdir()} == {"events", "ads.csv", "truth.json"}


def test_impossible_options_are_refused() -> None:
    with pytest.raises(BadInput, match="IANA"):
        Ga4Options(time_zone="Mars/Olympus")
    with pytest.raises(UnknownName, match="parquet"):
        Ga4Options(format="parkett")


def test_the_loader_reads_the_same_sessions_channels_and_sales(dump: Dump, tmp_path: Path) -> None:
    importing = pytest.importorskip("gaelp.data.ga4.importing", reason=LOADER)
    channels = pytest.importorskip("gaelp.data.ga4.channels", reason=LOADER)
    from gaelp.journeys.store import JourneyStore

    for tags in TAGS.values():
        assert channels.channel_group(tags.source, tags.medium) == tags.group
    now = 1_742_000_000_000_000
    with JourneyStore(f"sqlite:///{tmp_path}/journeys.db") as store:
        found = importing.import_export(store, dump.folder / "events", now)
        assert found.touches == dump.counts["sessions"]
        assert found.conversions == dump.counts["purchases"]
        assert found.duplicates == found.duplicate_purchases == found.without_value == 0
        assert found.implausible_times == found.shared_cookies == 0
        assert found.events == len(dump.rows)
        groups, value = _held(store)
    group = {channel.name.lower(): tags.group for channel, tags in TAGS.items()}
    views = [row for row in named(dump.rows, "page_view") if "user_pseudo_id" in row]
    assert groups == Counter(group[CHANNEL_OF_MEDIUM[params(row).get("medium")]] for row in views)
    assert value == dump.counts["purchases_micros"]


def test_the_loader_is_not_fooled_by_flaws(dump: Dump, flawed: Dump, tmp_path: Path) -> None:
    importing = pytest.importorskip("gaelp.data.ga4.importing", reason=LOADER)
    from gaelp.journeys.store import JourneyStore

    with JourneyStore(f"sqlite:///{tmp_path}/journeys.db") as store:
        found = importing.import_export(store, flawed.folder / "events", 1_742_000_000_000_000)
        _, value = _held(store)
    assert found.conversions == dump.counts["purchases"] and value == dump.counts["purchases_micros"]
    assert found.duplicates > 0 and found.duplicate_purchases > 0
    keys = {
        (row["user_pseudo_id"], params(row)["ga_session_id"])
        for row in flawed.rows
        if "ga_session_id" in params(row)
    }
    assert found.touches == len(keys) <= dump.counts["sessions"]


def _held(store: Any) -> tuple[Counter[str], int]:
    """Stored touches by channel, and the value of all stored conversions."""
    import sqlalchemy as sa

    from gaelp.journeys.schema import conversions, names, touchpoints

    with store.database.reading() as connection:
        rows = connection.execute(
            sa.select(names.c.name, sa.func.count())
            .select_from(touchpoints)
            .join(names, sa.and_(names.c.code == touchpoints.c.channel, names.c.space == "channel"))
            .group_by(names.c.name)
        )
        groups = Counter({name: n for name, n in rows})
        value = connection.execute(sa.select(sa.func.sum(conversions.c.value_micros))).scalar_one()
    return groups, int(value)


def test_the_command_writes_and_replaces_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from gaelp.cli.main import run

    out = tmp_path / "dump"
    words = ("export", "ga4", "--users", "100", "--time-zone", "UTC", "--flaws", "--plain", "--out", str(out))
    assert run([*words, "--days", "2", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    names = sorted(path.name for path in (out / "events").iterdir())
    assert names == ["events_20250502.json", "events_intraday_20250503.json"]
    assert told["tables"] == 2 and all(Path(path).exists() for path in told["files"])
    assert json.loads((out / "config.json").read_text())["settings"]["flaws"] is True
    assert run([*words, "--days", "1", "--policy", "pacing", "--market", "b2b_lead"]) == 0
    assert "visits without consent" in capfd.readouterr().out
    assert [path.name for path in (out / "events").iterdir()] == ["events_intraday_20250502.json"]
    assert run([*words, "--format", "csv"]) == 2
    assert "ndjson" in capfd.readouterr().err
