"""One bad row of an export is named: file, line (of Parquet, the row), field, value, what is allowed."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gaelp.cli.main import run
from gaelp.core.errors import BadInput
from gaelp.data.ga4 import reading
from gaelp.data.ga4.reading import find_files, read_events
from gaelp.journeys.store import JourneyStore

from .conftest import Tell, held
from .exports import BEGIN_US, HOUR_US, Row, event, purchase
from .test_reading import parquet_schema, typed

TIME = "must be microseconds since 1970, or a time in UTC as 2026-03-01T12:00:00."
NUMBER = "must be a number with a decimal point, as 12.50, or empty"
DATE = "must be a date as 20260301"
REMEDY = "Correct that event or leave it out, then do this again."
REVENUE = "ecommerce.purchase_revenue"


def sale(revenue: Any) -> Row:
    row = purchase()
    row["ecommerce"]["purchase_revenue"] = revenue
    return row


def wide(row: Row) -> Row:
    """A row as somebody's query flattens it, all of it text."""
    made = {name: row.get(name) for name in ("event_date", "event_timestamp", "event_name", "user_pseudo_id")}
    params = {each["key"]: next(iter(each["value"].values())) for each in row["event_params"]}
    told = row.get("ecommerce", {})
    made |= {f"param_{key}": params.get(key) for key in ("ga_session_id", "currency", "value", "page_title")}
    made |= {f"ecommerce_{key}": told.get(key) for key in ("purchase_revenue", "transaction_id")}
    return {name: None if cell is None else str(cell) for name, cell in made.items()}


def write(path: Path, rows: list[Row]) -> Path:
    """An export in the form that the file's name says."""
    if path.suffix == ".json":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))  # empty lines count as lines
    elif path.suffix == ".csv":
        rows = [wide(row) for row in rows]
        with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    elif path.name.startswith("wide"):
        pq.write_table(pa.Table.from_pylist([wide(row) for row in rows]), path)
    else:
        told = [typed(row) for row in rows]
        pq.write_table(pa.Table.from_pylist(told, schema=parquet_schema(wrapped=False)), path)
    return path


GOOD = [
    event(params={"page_title": "two\nlines, and a comma"}),
    event(hour=13, params={"page_title": 'a "quoted"\n\none'}),
    purchase("T0", hour=14),
]
PLACES = {
    "e.json": "line 7 of ",
    "e.csv": "line 8 of ",  # the first event has two lines, the second three
    "e.parquet": "row 4 of ",
    "wide.parquet": "row 4 of ",
}
WIDE = ("e.csv", "wide.parquet")
TEXTS = ("e.json", *WIDE)
CASES: list[tuple[Row, str, str, str, tuple[str, ...]]] = [
    (event(event_timestamp=str(10**30)), "event_timestamp", repr(str(10**30)), TIME, TEXTS),
    (event(event_timestamp=10**30), "event_timestamp", repr(str(10**30)), TIME, TEXTS),
    (event(event_timestamp="2026-02-30 12:00:00"), "event_timestamp", "'2026-02-30 12:0", TIME, TEXTS),
    (sale("12,50"), REVENUE, "'12,50'", NUMBER, TEXTS),
    (sale("1_0"), REVENUE, "'1_0'", NUMBER, TEXTS),
    (sale("twelve"), REVENUE, "'twelve'", NUMBER, TEXTS),
    (event(event_value_in_usd="12,50"), "event_value_in_usd", "'12,50'", NUMBER, ("e.json",)),
    (event(event_date="20260231"), "event_date", "'20260231'", DATE, tuple(PLACES)),
    (event(event_date="-20260301"), "event_date", "'-20260301'", DATE, tuple(PLACES)),
    (event(event_date="01.03.2026"), "event_date", "'01.03.2026'", DATE, tuple(PLACES)),
    (event(event_date=str(10**12)), "event_date", repr(str(10**12)), DATE, tuple(PLACES)),
    (event(event_name=None), "event_name", "None", "must be there", tuple(PLACES)),
    (event(event_name=""), "event_name", "", "must be there", tuple(PLACES)),
    (event(cookie="a\ud800"), "user_pseudo_id", r"'a\ud800'", "must be text without lone surr", ("e.json",)),
    (event(cookie="a\ud800"), "user_pseudo_id", r"b'a\xed\xa0\x80'", "must be text in UTF-8", ("e.csv",)),
    (event(device="mobile"), "device", "'mobile'", "must be a record, as {...}", ("e.json",)),
    (event(event_params=[1]), "event_params[0]", "1", "must be a record, as {...}", ("e.json",)),
    (event(event_params=1), "event_params", "1", "must be a list, as [...]", ("e.json",)),
]


@pytest.mark.parametrize(
    ("row", "field", "value", "allowed", "name"),
    [pytest.param(*case[:4], name, id=f"{i}-{name}") for i, case in enumerate(CASES) for name in case[4]],
)
def test_a_bad_row_is_named_and_nothing_changes(
    row: Row,
    field: str,
    value: str,
    allowed: str,
    name: str,
    tell: Tell,
    store: JourneyStore,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    tell([event(hour=1), purchase("before", hour=2)])
    before = held(store)
    path = write(tmp_path / name, [*GOOD, row, event(hour=20)])
    database = ("--database", f"sqlite:///{tmp_path}/journeys.db")
    for command in (
        ("journeys", "import", path, "--format", "ga4", *database),
        ("discover", "--ga4", path, "--out", tmp_path / "found.json"),
    ):
        assert run([*map(str, command), "--now", "2026-03-20"]) == 2
        (line,) = capfd.readouterr().err.strip().splitlines()
        assert line.startswith(f"error: `{field} in {PLACES[name]}{path}` was {value}")
        assert f"; {allowed}" in line and line.endswith(REMEDY)
    assert held(store) == before


@pytest.mark.parametrize("block", [700, 2**24])
def test_the_line_is_right_in_later_blocks_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(reading, "_ROWS", 2)
    monkeypatch.setattr(reading, "_BLOCK", block)
    for name, place in PLACES.items():
        path = write(tmp_path / name, [*GOOD, event(event_date="gestern"), *GOOD])
        with pytest.raises(BadInput, match=rf"event_date in {place}.*{name}` was 'gestern'"):
            list(read_events(find_files(path)))
    path = tmp_path / "e.csv.gz"
    path.write_bytes(gzip.compress((tmp_path / "e.csv").read_bytes()))
    with pytest.raises(BadInput, match=r"event_date in line 8 of .*e\.csv\.gz`"):
        list(read_events(find_files(path)))


@pytest.mark.parametrize("name", ["e.json", "e.csv", "e.parquet", "wide.parquet"])
def test_bytes_that_are_no_text_are_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [*GOOD, event("strange"), event()])
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        at = table.column_names.index("event_name")
        cells = [cell.encode().replace(b"strange", b"str\xffnge") for cell in table["event_name"].to_pylist()]
        raw = pa.array(cells, pa.binary())
        broken = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
        pq.write_table(table.set_column(at, "event_name", broken), path)
    else:
        path.write_bytes(path.read_bytes().replace(b"strange", b"str\xffnge"))
    expected = rf"`event_name in {PLACES[name]}.*{name}` was b'str\\xffnge'; must be text in UTF-8"
    with pytest.raises(BadInput, match=expected):
        list(read_events(find_files(path)))


def test_a_decimal_comma_that_splits_a_cell_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", [*GOOD, sale("12,50"), event()])
    path.write_text(path.read_text().replace('"12,50"', "12,50"))
    expected = (
        r"`line 8 of .*e\.csv` was '20260301,.*must have 10 cells, as the header, and has 11\. Put cells"
    )
    with pytest.raises(BadInput, match=expected):
        list(read_events(find_files(path)))


@pytest.mark.parametrize("told", ["", "NaN", "Infinity", "-inf", None])
def test_a_revenue_that_is_not_there_is_none(tmp_path: Path, told: Any) -> None:
    for name in TEXTS:
        (table,) = read_events(find_files(write(tmp_path / name, [sale(told)])))
        assert table["value"].to_pylist() == [None], name
    (table,) = read_events(find_files(write(tmp_path / "e.parquet", [sale(float("inf"))])))
    assert table["value"].to_pylist() == [None]


def test_what_a_site_may_send_stops_no_import(tell: Tell, store: JourneyStore) -> None:
    value = {"value": "12,50", "currency": "A\0B"}
    told = tell(
        [
            purchase(revenue=None, params=value),
            event(session=8, device={"category": "m\0" + "x" * 300}, cookie="\0"),
            event(
                session=9,
                session_traffic_source_last_click={
                    "cross_channel_campaign": {"source": "a", "default_channel_group": "x" * 300}
                },
            ),
        ]
    )
    assert (told.touches, told.conversions, told.without_value) == (3, 1, 1)
    assert len(held(store)[0]) == 3


@pytest.mark.parametrize("date", ["20260301", None])
@pytest.mark.parametrize("told", [-(10**17), -1, 0, 1_772_323_200, 1_772_323_200_000, 10**16, 10**17])
def test_a_clock_that_is_wrong_by_decades_leaves_its_event_out(
    tell: Tell, tmp_path: Path, told: int, date: str | None
) -> None:
    rows = [event(event_timestamp=str(told), event_date=date), event(session=8)]
    found = tell(rows)
    assert (found.implausible_times, found.touches) == (1, 1)
    later = [event(session=s, hour=24 * s) for s in range(9, 16)]
    path, out = write(tmp_path / "e.json", [*rows, *later]), tmp_path / "found.json"
    assert run(["discover", "--ga4", str(path), "--out", str(out), "--now", "2026-03-20"]) == 0
    assert json.loads(out.read_text())["source"]["first_at"].startswith("2026-03")


def test_an_export_in_other_units_of_time_is_refused(tell: Tell, store: JourneyStore) -> None:
    tell([event(hour=1)])
    before = held(store)
    with pytest.raises(BadInput, match=r"all 2 events.*seconds or milliseconds"):
        tell(
            [
                event(event_timestamp=str(told), session=s)
                for s, told in ((1, 1_772_323_200), (2, 1_772_323_300))
            ]
        )
    assert held(store) == before


@pytest.mark.parametrize("told", ["20260301", "2026-03-01", "2026-03-01 00:00:00", "2026-03-01T00:00:00.000"])
def test_a_date_may_be_told_in_several_ways(tmp_path: Path, told: str) -> None:
    late = str(BEGIN_US + 30 * HOUR_US)  # in UTC it is the second of March already
    (table,) = read_events(
        find_files(write(tmp_path / "e.csv", [event(event_date=told, event_timestamp=late)]))
    )
    assert table["event_date"].to_pylist() == [20260301]
