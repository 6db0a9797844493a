"""Columns of table files: which lines errors name, what times may look like, and files that are damaged."""

import datetime as dt
import gzip
import zlib

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from gaelp.core.errors import BadInput
from gaelp.journeys.columns import days, flags, header, hours, numbers, read_columns, values
from gaelp.journeys.events import EventColumns, read_event_table
from gaelp.journeys.paths import read_path_table

DAY = 24.0
JANUARY_5 = dt.datetime(2015, 1, 5, tzinfo=dt.UTC).timestamp() / 3600
LINES = 'name,"the\nnumber"\n\n"a\nb",1\n\n\nc,two\n'
"""The header takes lines 1 and 2, the first row 4 and 5, the second one line 8."""


def write(folder, name, text):
    path = folder / name
    raw = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.tsv"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_errors_name_the_line_of_the_file(tmp_path, name, end):
    text = LINES.replace("\n", end)
    path = write(tmp_path, name, text.replace(",", "\t") if "tsv" in name else text)
    column = f"the{end}number"
    cells = read_columns(path, [column])[column]
    with pytest.raises(BadInput, match="number in line 8` was 'two'; must be a number"):
        numbers(column, cells)
    with pytest.raises(BadInput, match="number in line 8` was 'two'; must be 0 or 1"):
        flags(column, cells)


def test_a_line_with_a_cell_too_many_is_named_by_its_place_in_the_file(tmp_path):
    path = write(tmp_path, "x.csv", 'a,b\n\n"1\n2",3\n\n4,5,6\n')
    with pytest.raises(BadInput, match=r"x.csv line 6` was \['4', '5', '6'\]; must have 2 cells"):
        read_columns(path, ["a"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,conversions\n\na,1\n\nb,-1\n", "conversions in line 5` was '-1'; must be at least 0"),
        ("path,conversions\n\na,1\n\nb,.5\n", "conversions in line 5` was '.5'; must be whole numbers"),
        ("path,conversions,nulls\n\na,1,1e300\n", "nulls in line 3` was '1e300'"),
        (
            "path,conversions,value\n\na,1,1\n\nb,0,2\n",
            "value in line 5` was '2'; must be 0 on a row without",
        ),
        ("path,conversions,value\n\na,1,1e300\n", "value in line 3` was '1e300'; must be at most 9.2e.12"),
        ('path,conversions\n"a\n",1\n\nb > > c,1\n', "path in line 5` was 'b > > c'"),
    ],
)
def test_a_table_of_paths_names_lines_not_entries(tmp_path, text, said):
    with pytest.raises(BadInput, match=said):
        read_path_table(write(tmp_path, "paths.csv", text))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("p,0,a,clik,", "kind in line 5` was 'clik'"),
        ("p,0,,click,", "channel in line 5` was ''"),
        ("p,0,a,purchase,-1", "value in line 5` was '-1'; must be at least 0"),
        ("p,soon,a,click,", "time in line 5` was 'soon'"),
    ],
)
def test_a_table_of_events_names_lines(tmp_path, line, said):
    with pytest.raises(BadInput, match=said):
        read_event_table(
            write(tmp_path, "e.csv", f"person,time,channel,kind,value\n\np,1,a,click,\n\n{line}\n")
        )


def test_rows_of_parquet_files_are_counted_from_one(tmp_path):
    parquet.write_table(pyarrow.table({"x": [1.0, 2.0, None]}), tmp_path / "x.parquet")
    with pytest.raises(BadInput, match="x in row 3` was None; must be a finite number"):
        numbers("x", read_columns(tmp_path / "x.parquet", ["x"])["x"])


@pytest.mark.parametrize(
    ("cells", "hour"),
    [
        (["20150105"], 0),
        ([20150105], 0),
        ([20150105.0], 0),
        (["2015010514"], 14),
        (["201501051430"], 14.5),
        (["20150105143036"], 14.51),
        (["20150105T14"], 14),
        (["2015-01-05T14:00+02:00"], 12),
        ([dt.date(2015, 1, 5)], 0),
        ([dt.datetime(2015, 1, 5, 6)], 6),
        (["1420416000"], 0),
    ],
)
def test_compact_dates_are_dates_and_other_numbers_seconds(cells, hour):
    assert hours("time", cells) == pytest.approx([JANUARY_5 + hour])


def test_seconds_of_a_simulation_that_begins_at_zero_stay_seconds():
    """A few numbers that look like dates do not make a column of dates."""
    seconds = np.arange(0, 365 * 86_400, 3_600, dtype=float)
    assert (hours("time", seconds.tolist()) == np.arange(seconds.size)).all()
    around = np.arange(20_150_000.0, 20_151_300.0)  # minutes in which one number in thirteen could be a date
    assert (hours("time", around.tolist()) == around / 3600).all()


def test_a_compact_date_that_is_none_is_refused():
    with pytest.raises(
        BadInput, match="time in line 4` was '20150231'; must be a date like 20150216, as most"
    ):
        hours("time", ["20150227", "20150228", "20150231"])
    with pytest.raises(BadInput, match="time in line 4` was '1420416000'; must be a date like"):
        hours("time", ["20150227", "20150228", "1420416000"])


def test_days_may_be_compact_and_have_a_time_but_nothing_else():
    cells = ["2015-01-05", "20150106", "2015-01-07T23:59", "2015-01-08 00:00:00+02:00"]
    assert days("day", cells).tolist() == [dt.date(2015, 1, day) for day in (5, 6, 7, 8)]
    for wrong in ("2015-01-05x", "05.01.2015", "1420416000"):
        with pytest.raises(BadInput, match="day in line 3` was"):
            days("day", ["2015-01-05", wrong])


def test_a_number_among_texts_that_is_not_finite_is_no_number():
    assert values("x", ["1", "2.5"]).tolist() == [1.0, 2.5]
    assert values("x", ["1", "b"]).tolist() == ["1", "b"]
    with pytest.raises(BadInput, match="x in line 3` was 'nan'"):
        values("x", ["1", "nan"])


def test_times_of_parquet_files_may_have_nanoseconds_and_zones(tmp_path):
    moment = np.array(["2015-01-05T06:00:00.000000001"], "datetime64[ns]")
    zoned = pyarrow.array([dt.datetime(2015, 1, 5, 6, tzinfo=dt.UTC)], pyarrow.timestamp("ns", "Asia/Tokyo"))
    table = pyarrow.table({"plain": moment, "zoned": zoned, "day": [dt.date(2015, 1, 5)], "a.b": [7]})
    parquet.write_table(table, tmp_path / "t.parquet")
    found = read_columns(tmp_path / "t.parquet", ["plain", "zoned", "day", "a.b"])
    assert hours("plain", found["plain"]) == pytest.approx([JANUARY_5 + 6])
    assert hours("zoned", found["zoned"]) == pytest.approx([JANUARY_5 + 6])
    assert hours("day", found["day"]) == pytest.approx([JANUARY_5])
    assert numbers("a.b", found["a.b"]).tolist() == [7.0]


def damaged(folder):
    """Files that cannot be read, by what is wrong with them."""
    rng = np.random.default_rng(0)
    text = ("a,b\n" + "".join(f"{x:.6f},1\n" for x in rng.random(5_000))).encode()
    packed = bytearray(gzip.compress(text))
    sink = folder / "good.parquet"
    parquet.write_table(pyarrow.table({"a": rng.random(5_000), "b": np.ones(5_000)}), sink)
    whole = sink.read_bytes()
    turned = bytearray(packed)
    turned[-6] ^= 0xFF
    broken = bytearray(packed)
    broken[10:14] = b"\xff\xff\xff\xff"  # no block of any kind begins so
    with pytest.raises(zlib.error):
        gzip.decompress(broken)
    scratched = bytearray(whole)
    scratched[4:60] = b"\xff" * 56
    return {
        "truncated.csv.gz": bytes(packed[: len(packed) // 2]),
        "checksum.csv.gz": bytes(turned),
        "broken.csv.gz": bytes(broken),
        "plain.csv.gz": text,
        "utf16.csv": text.decode().encode("utf-16"),
        "latin.csv": "a,b\n1,é\n".encode("latin-1"),
        "endless.csv": b"a,b\n1," + b"x" * 200_000,
        "truncated.parquet": whole[: len(whole) // 2],
        "scratched.parquet": bytes(scratched),
        "none.parquet": b"",
        "text.parquet": text,
    }


@pytest.mark.parametrize("name", sorted([
    "truncated.csv.gz", "checksum.csv.gz", "broken.csv.gz", "plain.csv.gz", "utf16.csv", "latin.csv",
    "endless.csv", "truncated.parquet", "scratched.parquet", "none.parquet", "text.parquet",
]))  # fmt: skip
def test_damaged_files_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(damaged(tmp_path)[name])
    with pytest.raises(BadInput, match=f"`FILE` was '{name}'; could not be read.*Export it again"):
        read_columns(tmp_path / name, ["a", "b"])


def test_empty_and_odd_tables_are_refused(tmp_path):
    for name, text, said in (
        ("empty.csv", "", "must begin with a line of column names"),
        ("empty.csv.gz", "", "must begin with a line of column names"),
        ("header.csv", "a,b\n", "must have at least one"),
        ("twice.csv", "a,a\n1,2\n", r"must name each column once, not \['a'\]"),
    ):
        with pytest.raises(BadInput, match=said):
            read_columns(write(tmp_path, name, text), ["a"])
    pair = [pyarrow.array([1]), pyarrow.array([2])]
    parquet.write_table(pyarrow.table(pair, names=["a", "a"]), tmp_path / "twice.parquet")
    with pytest.raises(BadInput, match="must name each column once"):
        header(tmp_path / "twice.parquet")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadInput, match="must be a file that exists"):
        header(tmp_path / "folder.csv")


WORLDS = """world,person,time,channel,kind,value
0,p,2025-03-01,search,click,
1,p,2025-03-02,social,click,
0,p,2025-03-03,,purchase,10
1,p,2025-03-05,search,click,
"""


def test_no_journey_runs_through_two_worlds(tmp_path):
    """Equal names in two worlds are two persons, and each world has its own end."""
    path = write(tmp_path, "events.csv", WORLDS)
    table, _ = read_event_table(path)
    assert [table.path(row) for row in range(table.n_rows)] == [("search",), ("social", "search")]
    assert table.conversions.tolist() == [1, 0] and len(set(table.person.tolist())) == 2
    assert np.diff(table.end_hour).tolist() == [2 * DAY]
    without = write(tmp_path, "one.csv", "\n".join(line[2:] for line in WORLDS.splitlines()[1:]) + "\n")
    without.write_text("person,time,channel,kind,value\n" + without.read_text())
    mixed, _ = read_event_table(without)
    assert [mixed.path(row) for row in range(mixed.n_rows)] == [("search", "social"), ("search",)]
    renamed = write(tmp_path, "renamed.csv", WORLDS.replace("world", "earth", 1))
    assert read_event_table(renamed, EventColumns(world="earth"))[0].n_rows == 2
    assert read_event_table(renamed)[0].path(0) == ("search", "social")


def test_a_world_ends_at_its_own_last_event(tmp_path):
    text = "world,person,time,channel,kind\n0,p,0,a,click\n0,q,86400,a,click\n1,r,864000,a,click\n"
    table, _ = read_event_table(write(tmp_path, "e.csv", text))
    assert table.end_hour.tolist() == [DAY, DAY, 10 * DAY]
