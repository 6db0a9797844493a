"""An ad report has one reader: what it refuses, discovery, calibration and the updater refuse."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import Channel
from gaelp.data.ad_report import AD_COLUMNS, read_ad_report
from gaelp.data.discovery.ads import summed_ads
from gaelp.learning.updater.reading import _ads

HEAD = "date,hour,channel,line,impressions,clicks,cost_micros,conversions\n"
FIRST, LAST = dt.date(2025, 5, 1), dt.date(2025, 5, 31)
READERS: dict[str, Callable[[Path], object]] = {
    "calibration": lambda path: read_ad_report(path, by=("hour",)),
    "discovery": lambda path: summed_ads(path, FIRST, LAST, []),
    "updater": lambda path: _ads(read_ad_report(path, by=("hour", "line")).within(FIRST, LAST)[0]),
}
BAD = {
    "no columns": ("date,hour,line\n", "must have the columns"),
    "another channel": (HEAD + "2025-05-02,3,radio,a,1,1,1,1\n", "channel on line 2 of ads.csv"),
    "a channel in capitals": (HEAD + "2025-05-02,3,Search,a,1,1,1,1\n", "channel on line 2 of ads.csv"),
    "clicks below 0": (HEAD + "2025-05-02,3,search,a,1,-2,1,1\n", "clicks on line 2 of ads.csv"),
    "nan": (HEAD + "2025-05-02,3,search,a,1,1,1,1\n2025-05-02,4,search,a,nan,1,1,1\n", "line 3 of ads.csv"),
    "infinite": (HEAD + "2025-05-02,3,search,a,1,1,inf,1\n", "cost_micros on line 2 of ads.csv"),
    "a word": (HEAD + "2025-05-02,3,search,a,1,many,1,1\n", "clicks on line 2 of ads.csv"),
    "half a click": (HEAD + "2025-05-02,3,search,a,1,0.5,1,1\n", "clicks on line 2 of ads.csv.*whole"),
    "no day": (HEAD + "monday,3,search,a,1,1,1,1\n", "date on line 2 of ads.csv"),
    "a cell too many": (HEAD + "2025-05-02,3,search,a,1,000,1,1,1\n", "line 2 of ads.csv"),
    "a row twice": (HEAD + "2025-05-02,3,search,a,1,1,1,1\n" * 2, "line 3 of ads.csv.*line 2 told them"),
    "an hour twice": (HEAD + "2025-05-02,3,email,a,1,1,1,1\n2025-05-02,03,email,a,2,,,\n", "line 3 of ads"),
    "too few cells": (HEAD + "2025-05-02\n", "line 2 of ads.csv.*7 cells too few.*a cell for each column"),
    "a cell too few": (HEAD + "2025-05-02,3,search,a,1,1,1,\n2025-05-02,4,search,a,1,1,1\n", "line 3 of ads"),
    "a column twice": (
        HEAD.strip() + ",clicks\n2025-05-02,3,search,a,1,1,1,1,7\n",
        "once, not.*clicks",
    ),
    "another column twice": (HEAD.strip() + ",x,x\n2025-05-02,3,search,a,1,1,1,1,,\n", "once, not.*'x'"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", BAD)
def test_a_bad_report_is_refused_by_every_reader(case: str, reader: str, tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    text, message = BAD[case]
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        READERS[reader](path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2025-05-02,24,search,a,1,1,1,1\n", "hour on line 2"),
        ("2025-05-02,,search,a,1,1,1,1\n", "hour on line 2"),
        ("2025-05-02,3,search,,1,1,1,1\n", "line on line 2"),
    ],
)
def test_hours_and_lines_are_checked_where_they_are_asked_for(row: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    path.write_text(HEAD + row)
    with pytest.raises(BadInput, match=message):
        read_ad_report(path, by=("hour", "line"))
    assert read_ad_report(path).hour.tolist() == [-1]


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ads.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "ads.csv", tmp_path / "gone.csv", tmp_path):
        with pytest.raises(BadInput, match="could not be read"):
            read_ad_report(path)


def test_a_report_is_read_and_empty_cells_are_not_told(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    path.write_text(
        "\ufeff" + HEAD + "2025-05-02,03,search,a,10,2,1500000,\n2025-05-31,23,email,b,,1,2.0,0.5\n",
        encoding="utf-8",
    )
    report = read_ad_report(path, by=("hour", "line"))
    assert report.date.astype(str).tolist() == ["2025-05-02", "2025-05-31"]
    assert (report.hour.tolist(), report.line) == ([3, 23], ("a", "b"))
    assert report.channel.tolist() == [Channel.SEARCH, Channel.EMAIL]
    np.testing.assert_array_equal(report.counts, [[10, 2, 1.5e6, np.nan], [np.nan, 1, 2, 0.5]])


def test_rows_that_differ_in_hour_channel_or_line_are_no_repeats(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    rows = ("02,3,search,a", "02,4,search,a", "02,3,social,a", "02,3,search,b", "03,3,search,a")
    path.write_text(HEAD + "".join(f"2025-05-{row},1,1,1,1\n" for row in rows))
    for by in ((), ("hour",), ("hour", "line")):
        assert len(read_ad_report(path, by).line) == 5
    path.write_text(",".join(AD_COLUMNS) + "\n" + "2025-05-02,search,1,1,1,1\n" * 2)
    with pytest.raises(BadInput, match="Sum such rows"):
        read_ad_report(path)


def test_rows_of_other_days_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    days = ("2019-05-02", "2025-04-30", "2025-05-01", "2025-05-31", "2025-06-01")
    path.write_text(HEAD + "".join(f"{day},3,search,{day[-1]},{i},0,0,0\n" for i, day in enumerate(days)))
    report, n_outside = read_ad_report(path, ("hour", "line")).within(FIRST, LAST)
    assert (n_outside, report.line, report.hour.tolist()) == (3, ("1", "1"), [3, 3])
    assert report.counts[:, 0].tolist() == [2, 3] and report.channel.tolist() == [Channel.SEARCH] * 2


def test_discovery_and_the_updater_sum_what_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ads.csv"
    days = ("2025-04-30", "2025-05-01", "2025-05-31", "2025-06-01")
    rows = [f"{day},3,search,a,{10 + i},{i},{100 * i},\n" for i, day in enumerate(days)]
    path.write_text(HEAD + "".join(rows) + "2025-05-02,4,email,b,,1,2,3\n")
    told = summed_ads(path, FIRST, LAST, [])
    assert told["rows_outside"] == 2
    email, search = told["channels"]
    assert (email["channel"], email["impressions"], email["clicks"]) == ("email", None, 1)
    assert (search["impressions"], search["clicks"], search["cost_micros"]) == (23, 3, 300)
    assert search["conversions"] is None and search["cost_per_click"] == pytest.approx(1e-4)
    report, n_outside = read_ad_report(path, by=("hour", "line")).within(FIRST, LAST)
    cells = _ads(report)
    assert n_outside == 2 and len(cells) == 3
    assert cells["2025-05-01", "3", "search", "a"] == {"impressions": 11, "clicks": 1, "cost_micros": 100}
    assert cells["2025-05-02", "4", "email", "b"] == {"clicks": 1, "cost_micros": 2}
