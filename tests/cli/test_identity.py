"""`gaelp identity` as people and scripts call it."""

import json

import pytest
import typer
from typer.testing import CliRunner

from gaelp.cli.identity import identity_command
from gaelp.core.errors import BadInput

app = typer.Typer()
app.command()(identity_command)
HEADER = "time,cookie,login,ip,city,device_type,channel,who\n"
LINES = [
    "2025-03-03T09:00:00,phone,ann@x.org,10.0.0.1,Bonn,mobile,search,Ann",
    "2025-03-03T20:10:00,laptop,ann@x.org,10.0.0.1,Bonn,desktop,search,Ann",
    "2025-03-03T20:30:00,laptop,,10.0.0.1,Bonn,desktop,search,Ann",
    "2025-03-03T20:40:00,phone,,10.0.0.1,Bonn,mobile,search,Ann",
    "2025-03-04T21:00:00,tablet,bob@x.org,10.0.0.1,Bonn,tablet,display,Bob",
    "2025-03-04T21:00:00,tablet,bob@x.org,10.0.0.1,Bonn,tablet,display,Bob",
    "2025-03-04T22:00:00,,bob@x.org,,Bonn,,email,Bob",
]


@pytest.fixture
def file(tmp_path):
    def write(header=HEADER, lines=LINES, name="events.csv"):
        path = tmp_path / name
        path.write_text(header + "\n".join(lines) + "\n")
        return path

    return write


def call(*arguments):
    ran = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran


def test_json_tells_clusters_confidence_and_how_right_they_are(file):
    found = json.loads(call(file(), "--truth", "who", "--json").stdout)
    assert found["events"] == 6 and found["repeated_lines"] == 1
    assert found["cookies"] == 3 and found["identities"] == 2
    assert found["clusters"] == [
        {"cookies": {"laptop": 1.0, "phone": 1.0}, "logins": ["ann@x.org"], "confidence": 1.0}
    ]
    assert found["sessions"] == 3, "20:10 to 20:40 is one session on two devices"
    assert found["links"] == {"login": 1, "evidence": 0}
    truth = found["truth"]
    assert (truth["precision"], truth["recall"], truth["mixed_share"]) == (1.0, 1.0, 0.0)


def test_order_of_lines_and_kind_of_file_change_nothing(file):
    tabs = [line.replace(",", "\t") for line in LINES]
    files = (
        file(),
        file(lines=LINES[::-1], name="turned.csv"),
        file(HEADER.replace(",", "\t"), tabs, "x.tsv"),
    )
    found = [call(each, "--truth", "who", "--json").stdout for each in files]
    assert found[0] == found[1] == found[2]


def test_columns_of_other_things_are_left_out(file):
    with_truth, without = (
        json.loads(call(file(), *more, "--json").stdout) for more in (("--truth", "who"), ())
    )
    assert without == {**with_truth, "truth": None}


def test_a_person_reads_a_table(file):
    said = call(file(), "--truth", "who", "--logins-only").output
    assert "6 events of 3 cookies: 2 identities" in said
    assert "ann@x.org" in said and "precision 100.0 % of 1 pairs" in said


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("time,", "when,"), "the time"),
        (("cookie", "kookie"), "the cookie"),
        (("city", "citty"), "Did you mean 'city'"),
        (("2025-03-04T21", "yesterday"), "time in line 6"),
    ],
)
def test_what_cannot_be_read_is_told(file, change, problem):
    text = [line.replace(*change) for line in LINES]
    with pytest.raises(BadInput, match=problem):
        call(file(HEADER.replace(*change), text), "--truth", "who")


@pytest.mark.parametrize(
    "far", ["0001-01-01T00:00:00", "0829-03-15", "3110-10-19", "9999-12-31T23:59:59+00:00"]
)
def test_a_time_out_of_reach_is_told_with_its_line_and_the_range(file, far):
    lines = [*LINES[:4], LINES[4].replace("2025-03-04T21:00:00", far), *LINES[5:]]
    with pytest.raises(BadInput, match=r"`time in line 6` was .*; must be from 0829-03-17 to 3110-10-17"):
        call(file(lines=lines))


@pytest.mark.parametrize("near", ["0829-03-17", "3110-10-17T23:59:59"])
def test_the_range_of_times_is_the_one_told(file, near):
    line = LINES[4].replace("2025-03-04T21:00:00", near)
    assert json.loads(call(file(lines=[line]), "--json").stdout)["events"] == 1


def test_files_without_events_or_cookies_are_refused(file):
    with pytest.raises(BadInput, match="at least one event"):
        call(file("time,cookie\n", []))
    with pytest.raises(BadInput, match="filled in some lines"):
        call(file("time,cookie,login\n", ["2025-03-03,,ann"]))
