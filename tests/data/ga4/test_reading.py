"""Files of an export: every form gives the same rows, and what cannot be read is named."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gaelp.core.errors import BadInput
from gaelp.data.ga4 import reading
from gaelp.data.ga4.columns import FLAT
from gaelp.data.ga4.reading import find_files, read_events

from .exports import Row, came, event, purchase, write

ROWS = [
    event("session_start", hour=1, **came("google", "cpc", "Paid Search")),
    event("page_view", hour=1.1, params={"page_location": "https://x.example/?utm_source=google"}),
    purchase(hour=1.5, user_id="ann"),
    event(cookie=None, session=None, privacy_info={"analytics_storage": "No"}, hour=2),
]


def flat(path: Path) -> list[Row]:
    found = pa.concat_tables(read_events(find_files(path)))
    assert found.schema == FLAT
    rows: list[Row] = found.to_pylist()
    return rows


def typed(row: Row) -> Row:
    """A row as BigQuery writes it into Parquet: whole numbers as such."""
    made = json.loads(json.dumps(row))
    for name in ("event_timestamp", "batch_event_index"):
        made[name] = int(made[name])
    for each in made["event_params"]:
        if "int_value" in each["value"]:
            each["value"]["int_value"] = int(each["value"]["int_value"])
    return made


def parquet_schema(wrapped: bool) -> Any:
    def of(kind: Any) -> Any:
        if pa.types.is_struct(kind):
            return pa.struct([(field.name, of(field.type)) for field in kind])
        if pa.types.is_list(kind):
            entry = of(kind.value_type)
            if wrapped:
                return pa.struct({"list": pa.list_(pa.struct({"element": entry}))})
            return pa.list_(entry)
        return kind

    return pa.schema([(field.name, of(field.type)) for field in reading._SCHEMAS[1]])


@pytest.mark.parametrize("wrapped", [False, True])
def test_json_gzip_and_parquet_give_the_same_rows(tmp_path: Path, wrapped: bool) -> None:
    expected = flat(write(tmp_path / "a" / "events_20260301.json", ROWS))
    packed = tmp_path / "events_20260301.ndjson.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a" / "events_20260301.json").read_bytes()))
    assert flat(packed) == expected
    told = [typed(row) for row in ROWS]
    if wrapped:
        for row in told:
            row["event_params"] = {"list": [{"element": each} for each in row["event_params"]]}
    table = pa.Table.from_pylist(told, schema=parquet_schema(wrapped))
    pq.write_table(table, tmp_path / "e.parquet")
    assert flat(tmp_path / "e.parquet") == expected
    assert expected[2]["login"] == "ann" and expected[2]["value"] == 180.0
    assert [row["event_us"] for row in expected] == [int(row["event_timestamp"]) for row in ROWS]


def test_blocks_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = flat(write(tmp_path / "e.json", ROWS))
    for size in (1, 7, 100, 701, 3000):
        monkeypatch.setattr(reading, "_BLOCK", size)
        assert flat(tmp_path / "e.json") == expected, size
    (tmp_path / "e.json").write_text("\n" + (tmp_path / "e.json").read_text().rstrip("\n") + "\n\n  ")
    assert flat(tmp_path / "e.json") == expected, "blank lines, and none at the end"


def test_an_export_that_lacks_newer_columns_is_read(tmp_path: Path) -> None:
    old = {
        "event_date": "20201101",
        "event_timestamp": "1604188800000000",
        "event_name": "page_view",
        "event_params": [{"key": "ga_session_id", "value": {"int_value": "5"}}],
        "user_pseudo_id": "c",
        "traffic_source": {"medium": "organic", "source": "google", "name": "(organic)"},
        "privacy_info": {"analytics_storage": None, "uses_transient_token": "No"},
        "device": {"category": "desktop", "is_limited_ad_tracking": "No"},
        "something_new_of_2030": {"deep": [1, {"er": None}]},
    }
    (row,) = flat(write(tmp_path / "events_20201101.json", [old]))
    assert (row["session"], row["source"], row["level"], row["page_id"]) == ("5", "google", 5, None)
    bare = {key: old[key] for key in ("event_timestamp", "event_name")}
    (row,) = flat(write(tmp_path / "bare.json", [bare]))
    assert (row["event_date"], row["cookie"], row["level"]) == (20201101, None, 6)


def test_a_flattened_export_with_a_column_twice_is_read(shared_data: Path) -> None:
    rows = flat(shared_data / "ga4" / "fivetran_event_data_seed.csv")
    assert [row["event_name"] for row in rows][:3] == ["purchase", "add_to_cart", "scroll"]
    assert [row["engaged"] for row in rows] == [True, False, True, True, True, True]
    assert rows[0]["event_us"] == 1_725_971_700_000_000 and rows[0]["event_date"] == 20240910
    assert (rows[0]["session"], rows[0]["transaction"], rows[0]["value_usd"]) == (
        "session_123",
        "txn_123",
        29.99,
    )
    assert (rows[2]["source"], rows[2]["medium"], rows[2]["level"]) == ("source2", "social", 3)


def test_the_synthetic_example_is_read(shared_data: Path) -> None:
    rows = flat(shared_data / "ga4" / "synthetic_example_events.ndjson")
    assert [row["event_name"] for row in rows] == ["first_visit", "session_start", "page_view", "purchase"]
    assert {row["group"] for row in rows} == {"Paid Search"} and rows[3]["value"] == 180.0
    assert [row["ad_click"] for row in rows] == [True, True, True, False]


def test_every_column_read_is_in_googles_schema_with_its_type(shared_data: Path) -> None:
    told = json.loads((shared_data / "ga4" / "ga4_bq_export_schema.json").read_text())
    words = {"STRING": pa.string(), "INTEGER": pa.int64(), "FLOAT": pa.float64()}

    def check(kind: Any, fields: list[Row]) -> None:
        known = {field["name"]: field for field in fields}
        for each in kind:
            field = known[each.name]
            inner = each.type.value_type if pa.types.is_list(each.type) else each.type
            assert (field["mode"] == "REPEATED") == pa.types.is_list(each.type), each.name
            if pa.types.is_struct(inner):
                check(inner, field["fields"])
            else:
                assert words[field["type"]] == inner, each.name

    check(reading._SCHEMAS[1], told)


def test_the_daily_table_replaces_the_intraday_one_and_users_are_no_events(tmp_path: Path) -> None:
    for name in (
        "events_20260301.json",
        "events_intraday_20260301.json",
        "events_intraday_20260302-000000000000.json.gz",
        "events_fresh_20260303.parquet",
        "users_20260301.json",
        "pseudonymous_users_20260301.json",
        "notes.txt",
    ):
        (tmp_path / name).write_text("")
    found = find_files(tmp_path)
    assert [file.path.name for file in found] == [
        "events_20260301.json",
        "events_intraday_20260302-000000000000.json.gz",
        "events_fresh_20260303.parquet",
    ]
    assert [file.day for file in find_files(tmp_path, last_days=2)] == ["20260302", "20260303"]


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="must be there"):
        find_files(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="must be a file, or a folder of files, ending in"):
        find_files(tmp_path)
    write(tmp_path / "e.json", [event()])
    with pytest.raises(BadInput, match="must be named after its table"):
        find_files(tmp_path, last_days=3)
    with pytest.raises(BadInput, match="last_days"):
        find_files(tmp_path, last_days=0)


@pytest.mark.parametrize("line", ['{"event_name": "x", ', "[1, 2]", "no json", '{"event_params": 5}', "\x00"])
def test_a_broken_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(reading, "_BLOCK", 600)
    path = write(tmp_path / "e.json", [event(hour=hour) for hour in range(5)])
    path.write_text(path.read_text() + line + "\n" + json.dumps(event()))
    with pytest.raises(BadInput, match=r"line 6 of .*e\.json"):
        flat(path)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"event_name": "x"}, "event_timestamp"),
        ({"event_name": "x", "event_timestamp": "yesterday"}, "event_timestamp .* was 'yesterday'"),
        ({"event_timestamp": "1772323200000000"}, "event_name"),
    ],
)
def test_a_row_that_is_no_event_is_refused(tmp_path: Path, row: Row, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        flat(write(tmp_path / "e.json", [event(), row]))


def test_a_file_cut_off_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS * 50).encode())
    (tmp_path / "e.json.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="could not be read"):
        flat(tmp_path / "e.json.gz")
    (tmp_path / "e.json.gz").unlink()
    (tmp_path / "e.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match="could not be read"):
        flat(tmp_path / "e.parquet")
