"""Journeys as arrays: what a table refuses, windows, and tables read from files of paths and events."""

import datetime as dt
import gzip

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import TouchKind
from gaelp.journeys.columns import find_column, hours
from gaelp.journeys.events import EventColumns, read_event_table
from gaelp.journeys.paths import PathColumns, read_path_table
from gaelp.journeys.table import JourneyTable, table_of_paths

DAY = 24.0
GOOD = {
    "channels": ("a", "b"),
    "offsets": [0, 2, 2, 3],
    "channel": [0, 1, 0],
    "conversions": [1, 2, 0],
    "nulls": [0, 0, 3],
    "value_usd_micros": [5, 0, 0],
    "touch_hour": [0.0, 1.0, -4.0],
    "end_hour": [1.0, 0.0, 8.0],
    "kind": [0, 1, 1],
    "person": [7, 7, 8],
}


def test_a_table_reads_as_it_was_written():
    table = JourneyTable(**GOOD)
    assert [table.path(row) for row in range(3)] == [("a", "b"), (), ("a",)]
    assert table.lengths.tolist() == [2, 0, 1] and (table.n_rows, table.n_touches) == (3, 3)
    assert table.value_usd.tolist() == [5e-6, 0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offsets": [0, 2, 1, 3]}, r"offsets\[1\]` was 1; offsets must not fall"),
        ({"offsets": [0, 2, 2]}, "must run from 0 to the number of touches, 3"),
        ({"offsets": []}, "must run from 0"),
        ({"channel": [0, 2, 0]}, r"channel\[1\]` was 2; codes must be from 0 to 1"),
        ({"channel": [0, -1, 0]}, r"channel\[1\]` was -1"),
        ({"channel": [0.5, 1, 0]}, r"channel\[0\]` was 0.5; must be whole numbers"),
        ({"channels": ("a", "a")}, "must all be different"),
        ({"conversions": [1, 2]}, r"conversions.shape` was \(2,\); must be \(3,\)"),
        ({"conversions": [1, 2.5, 0]}, "must be whole numbers"),
        ({"conversions": [1, float("nan"), 0]}, "must be whole numbers"),
        ({"conversions": [1, 2, -1]}, r"conversions\[2\]` was -1; counts must be at least 0"),
        ({"nulls": [0, 2**53, 3]}, "counts must be at least 0"),
        ({"value_usd_micros": [5, 0, 1]}, "must be 0 on a row without conversions"),
        ({"value_usd_micros": [-5, 0, 0]}, "must be at least 0"),
        ({"touch_hour": [1.0, 0.0, -4.0]}, "must not fall within a row; sort by time"),
        ({"touch_hour": [0.0, float("inf"), 0.0]}, "must be finite"),
        ({"end_hour": [0.5, 0.0, 8.0]}, "must not lie before the row's last touch"),
        ({"end_hour": None}, "must come with its partner"),
        ({"kind": [0, int(TouchKind.CONVERSION), 1]}, "a conversion ends a row"),
        ({"kind": [0, 300, 1]}, "must be whole numbers in range"),
        ({"person": ["x", "y", "z"]}, "must be a list of numbers"),
    ],
)
def test_what_a_table_refuses(change, said):
    with pytest.raises(BadInput, match=said):
        JourneyTable(**{**GOOD, **change})


def windowed(**windows):
    table = JourneyTable(
        channels=("a", "b"),
        offsets=[0, 4, 5],
        channel=[0, 1, 0, 1, 0],
        conversions=[1, 0],
        nulls=[0, 1],
        value_usd_micros=[9, 0],
        touch_hour=[0.0, 9 * DAY, 29 * DAY, 39.5 * DAY, 0.0],
        end_hour=[40 * DAY, 31 * DAY],
        kind=[TouchKind.CLICK, TouchKind.IMPRESSION, TouchKind.VISIT, TouchKind.IMPRESSION, TouchKind.CLICK],
    )
    return table.within_windows(**windows)


def test_windows_leave_out_old_clicks_and_views():
    assert windowed().n_touches == 5
    assert windowed(click_days=30).offsets.tolist() == [0, 3, 3]
    assert windowed(view_days=1).channel.tolist() == [0, 0, 1, 0]
    both = windowed(click_days=11, view_days=0.5)  # ages equal to the window stay
    assert both.touch_hour.tolist() == [29 * DAY, 39.5 * DAY] and both.kind.tolist() == [2, 0]
    assert both.conversions.tolist() == [1, 0] and both.end_hour.tolist() == [40 * DAY, 31 * DAY]


def test_windows_that_cannot_be_applied_are_refused():
    untimed = table_of_paths(["ab"], [1])
    with pytest.raises(BadInput, match="needs the time of each touch"):
        untimed.within_windows(click_days=30)
    with pytest.raises(BadInput, match="click_days` was 0; must be above 0"):
        windowed(click_days=0)
    kindless = JourneyTable(**{**GOOD, "kind": None})
    with pytest.raises(BadInput, match="needs kinds of touches"):
        kindless.within_windows(view_days=1)
    assert kindless.within_windows(click_days=0.02).channel.tolist() == [1]


def write(folder, name, text):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["paths.csv", "paths.csv.gz", "paths.tsv"])
def test_paths_from_text(tmp_path, name):
    text = "path,total_conversions,total_conversion_value,total_null\nb > a>b,2,0.244,1\n\n,3,0,9\na,0,0,4\n"
    table = read_path_table(write(tmp_path, name, text.replace(",", "\t") if "tsv" in name else text))
    assert [table.path(row) for row in range(3)] == [("b", "a", "b"), (), ("a",)]
    assert (table.conversions.tolist(), table.nulls.tolist()) == ([2, 3, 0], [1, 9, 4])
    assert table.value_usd_micros.tolist() == [244_000, 0, 0] and table.touch_hour is None


def test_paths_from_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow")
    from pyarrow import parquet

    columns = {"path": ["a > b", None], "conversions": [1, 0], "nulls": [0, 2]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "paths.parquet")
    table = read_path_table(tmp_path / "paths.parquet")
    assert [table.path(row) for row in range(2)] == [("a", "b"), ()] and table.nulls.tolist() == [0, 2]


def test_columns_and_separator_may_be_named(tmp_path):
    path = write(tmp_path, "x.csv", "way,sold\na|b c|a,4\n")
    table = read_path_table(path, PathColumns(path="way", conversions="sold", separator="|"))
    assert table.path(0) == ("a", "b c", "a") and table.conversions.tolist() == [4]
    with pytest.raises(BadInput, match=r"column of conversions` was 'sodl'.*Did you mean 'sold'"):
        read_path_table(path, PathColumns(path="way", conversions="sodl"))
    with pytest.raises(BadInput, match="column of the path` was None; columns are way, sold"):
        read_path_table(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "path,conversions\na > > b,1\n",
            r"path in line 2` was 'a > > b'; must have a name between each two",
        ),
        ("path,conversions\na,one\n", "conversions in line 2` was 'one'; must be a number"),
        ("path,conversions\na,1\nb,\n", "conversions in line 3` was ''"),
        ("path,conversions\na,nan\n", "must be a finite number"),
        ("path,conversions\na,-1\n", r"conversions in line 2` was '-1'; must be at least 0"),
        ("path,conversions\na,1.5\n", "must be whole numbers"),
        ("path,conversions,value\na,0,3\n", "must be 0 on a row without conversions"),
        ("path,conversions\na,1,2\n", "line 2` was .*must have 2 cells"),
        ("path,path\na,1\n", "must name each column once"),
        ("", "must begin with a line of column names"),
    ],
)
def test_files_of_paths_that_are_refused(tmp_path, text, said):
    with pytest.raises(BadInput, match=said):
        read_path_table(write(tmp_path, "bad.csv", text))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(BadInput, match="must be a file that exists"):
        read_path_table(tmp_path / "none.csv")
    with pytest.raises(BadInput, match=r"must end in \.csv"):
        read_path_table(write(tmp_path, "x.xlsx", "path"))
    (tmp_path / "not.csv.gz").write_bytes(b"path,conversions\n")
    with pytest.raises(BadInput, match="could not be read"):
        read_path_table(tmp_path / "not.csv.gz")


EVENTS = """user_id,timestamp,channel,event,value
u2,2025-03-01T00:00:00Z,social,impression,
u1,2025-03-03T06:00:00,search,click,
u1,2025-03-01 00:00:00,social,view,
u1,2025-03-03T08:00:00+02:00,,purchase,180.5
u1,2025-03-04T00:00:00,email,email_open,
u3,2025-03-02T00:00:00,,conversion,20
u1,2025-03-04T00:00:00,email,email_open,
u1,2025-05-01T00:00:00,search,click,
"""


def test_events_are_cut_into_journeys(tmp_path):
    """Converted; idle for 30 days; open when the file ends; never touched; a repeated line left out."""
    table, n_repeats = read_event_table(write(tmp_path, "events.csv", EVENTS))
    assert n_repeats == 1 and table.channels == ("email", "search", "social")
    assert [table.path(row) for row in range(table.n_rows)] == [
        ("social", "search"),
        ("email",),
        ("search",),
        ("social",),
        (),
    ]
    assert table.conversions.tolist() == [1, 0, 0, 0, 1] and table.nulls.tolist() == [0, 1, 1, 1, 0]
    assert table.value_usd_micros.tolist() == [180_500_000, 0, 0, 0, 20_000_000]
    assert table.person.tolist() == [0, 0, 0, 1, 2]
    day = (table.end_hour - hours("x", ["2025-03-01"])[0]) / 24
    np.testing.assert_allclose(day, [2.25, 33.0, 61.0, 30.0, 1.0])
    assert table.kind.tolist() == [TouchKind.IMPRESSION, TouchKind.CLICK, 4, TouchKind.CLICK, 0]


def test_the_order_of_lines_changes_nothing(tmp_path):
    first, *lines = EVENTS.strip().split("\n")
    before, _ = read_event_table(write(tmp_path, "a.csv", EVENTS))
    after, _ = read_event_table(write(tmp_path, "b.csv", "\n".join([first, *reversed(lines)])))
    for name in ("offsets", "channel", "touch_hour", "end_hour", "conversions", "kind"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_a_touch_at_the_moment_of_a_conversion_comes_before_it(tmp_path):
    lines = "person,time,channel,kind\np,3600,,conversion\np,3600,search,click\np,7200,,conversion\n"
    table, _ = read_event_table(write(tmp_path, "e.csv", lines))
    assert [table.path(row) for row in range(table.n_rows)] == [("search",), ()]
    assert table.end_hour.tolist() == [1.0, 2.0]


def test_the_timeout_is_in_days(tmp_path):
    path = write(tmp_path, "e.csv", "person,time,channel,kind\np,0,a,click\np,172800,a,click\n")
    assert read_event_table(path)[0].n_rows == 1
    assert read_event_table(path, EventColumns(timeout_days=1.5))[0].n_rows == 2
    with pytest.raises(BadInput, match="timeout_days"):
        read_event_table(path, EventColumns(timeout_days=0))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("p,yesterday,a,click,", "time in line 2` was 'yesterday'; must be a time like"),
        ("p,1740787200000,a,click,", "before the year 2100. Divide milliseconds by a thousand"),
        ("p,2025-01-01,a,clik,", "kind in line 2` was 'clik'.*Did you mean 'click'"),
        ("p,2025-01-01,,click,", "channel in line 2` was ''; must not be empty on a touch"),
        (",2025-01-01,a,click,", "person in line 2` was ''; must not be empty"),
        ("p,2025-01-01,a,purchase,lots", "value in line 2` was 'lots'"),
        ("p,2025-01-01,a,purchase,-3", "must be at least 0"),
    ],
)
def test_events_that_are_refused(tmp_path, line, said):
    with pytest.raises(BadInput, match=said):
        read_event_table(write(tmp_path, "e.csv", f"person,time,channel,kind,value\n{line}\n"))


def test_columns_are_found_by_their_usual_names():
    assert find_column(["A", "Path"], "the path", None, ("paths", "path")) == "Path"
    assert find_column(["A"], "value", None, ("value",), required=False) is None
    assert hours("t", [dt.datetime(1970, 1, 2)]).tolist() == [24.0]
    with pytest.raises(BadInput, match="looked for value"):
        find_column(["A"], "value", None, ("value",))
