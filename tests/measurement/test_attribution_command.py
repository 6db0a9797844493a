"""`gaelp attribute` as people and scripts call it."""

import gzip
import json
import re
from pathlib import Path

import pyarrow
import pytest
import typer
from pyarrow import parquet
from typer.testing import CliRunner

from gaelp.cli.attribute import attribute_command
from gaelp.core.errors import BadInput
from gaelp.measurement.attribution import MODELS

app = typer.Typer()
app.command()(attribute_command)
PATHS = "path,conversions,value,nulls\nC1 > C2 > C3,1,10,0\nC1,0,0,1\nC2 > C3,0,0,1\n"
EVENTS = "person,time,channel,kind,value\n" + "".join(
    f"p{i},{i * 3600},{'search' if i % 3 else 'social'},{'click' if i % 2 else 'view'},\n"
    + (f"p{i},{(i + 20) * 3600},,purchase,30\n" if i % 4 else "")
    for i in range(60)
)


@pytest.fixture
def paths(tmp_path):
    file = tmp_path / "paths.csv.gz"
    file.write_bytes(gzip.compress(PATHS.encode()))
    return file


@pytest.fixture
def events(tmp_path):
    file = tmp_path / "events.csv"
    file.write_text(EVENTS)
    return file


def call(*arguments):
    ran = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran


def found(*arguments):
    return json.loads(call(*arguments, "--json").stdout)


def test_all_models_that_a_table_of_paths_can_answer(paths):
    ran = call(paths, "--model", "all", "--bootstrap", "20", "--json")
    answer = json.loads(ran.stdout)
    assert set(answer) == set(MODELS) - {"time_decay", "data_driven", "composite"}
    for channels in answer.values():
        assert list(channels) == ["C1", "C2", "C3", "(baseline)"]
        assert sum(row["conversions"] for row in channels.values()) == pytest.approx(1.0)
        assert sum(row["value"] for row in channels.values()) == pytest.approx(10.0)
        assert all(row["low"] <= row["high"] for row in channels.values())
    effects = {name: row.get("removal_effect") for name, row in answer["markov"].items()}
    assert effects == pytest.approx({"C1": 0.5, "C2": 1.0, "C3": 1.0, "(baseline)": None})
    assert ran.stderr.count("needs the time of each touch") == 3


@pytest.mark.parametrize("words", [("--model", "first", "last"), ("--model", "first,last"), ()])
def test_models_are_named_in_any_way(paths, words):
    answer = found(paths, *words, "--bootstrap", "0")
    assert {"first", "last"} <= set(answer) and (len(answer) == 2) == bool(words)
    assert answer["first"]["C1"] == {
        **{"conversions": 1.0, "value": 10.0, "low": None, "high": None},
        **{"value_low": None, "value_high": None},
    }


def test_events_answer_all_models(events):
    answer = found(events, "--bootstrap", "4", "--weight", "search=1.2", "--click-days", "10")
    assert set(answer) == set(MODELS)
    for channels in answer.values():
        assert sum(row["conversions"] for row in channels.values()) == pytest.approx(45.0)
    assert answer["data_driven"]["(baseline)"]["conversions"] >= 0
    narrow = found(events, "--model", "last", "--bootstrap", "0", "--click-days", "0.5", "--view-days", "1")
    assert narrow["last"]["(baseline)"]["conversions"] == 30.0  # clicks are 20 hours old


def test_order_reaches_markov(tmp_path):
    file = tmp_path / "paths.csv"
    file.write_text("path,conversions,nulls\na > b > c,3,1\nb > b > a,1,4\nc > b > a > c,0,2\n")
    plain, higher = (found(file, "--model", "markov", "--order", k, "--bootstrap", "0") for k in (1, 2))
    assert plain["markov"]["a"] != higher["markov"]["a"]


def test_people_get_tables(paths):
    shown = call(paths, "--model", "first", "markov", "--bootstrap", "5").stdout
    assert "3 journeys with 3 channels: 1 converted, worth $10.00" in shown
    for said in ("Conversions credited", "Value credited, USD", "markov", "(baseline)", " to "):
        assert said in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "lineer"), "Did you mean 'linear'"),
        (("--model", "time_decay"), "needs the time of each touch"),
        (("--order", "0"), "order"),
        (("--bootstrap", "1"), "n_bootstrap"),
        (("--column", "conversions"), "must be NAME=VALUE"),
        (("--column", "sales=conversions"), "Choose one of these|Did you mean"),
        (("--column", "time=path"), "table of paths"),
        (("--column", "conversions=convs"), "Did you mean 'conversions'"),
        (("--weight", "C1=much"), "must end in a number"),
        (("--click-days", "30"), "needs the time of each touch"),
        (("--timeout-days", "30"), "timeout_days` was 30.0; needs a table of events"),
        (("--column", "world=path"), "table of paths"),
        (("other.csv",), "must be one file"),
    ],
)
def test_bad_input_is_told_in_one_line(paths, arguments, said):
    with pytest.raises(BadInput, match=said):
        call(paths, *arguments)


def test_a_separator_is_for_paths_alone(events):
    with pytest.raises(BadInput, match="separator` was '>'; needs a table of paths"):
        call(events, "--separator", ">")


def test_a_runs_worlds_are_pooled_and_never_mixed(tmp_path):
    """The same cookie in three worlds: its touches lead to conversions of their own world only."""
    rows = [
        {"world": world, "person": "c", "time": 3600 * hour, "channel": channel, "kind": kind, "value": value}
        for world, shift in enumerate((0, 1, 2))
        for hour, channel, kind, value in (
            (shift, f"s{world}", "click", 0.0),
            (10 + shift, "", "conversion", 10.0),
        )
    ]
    for name, kept in (("pooled", rows), ("alone", rows[:2])):
        (tmp_path / name).mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(kept), tmp_path / name / "events.parquet")
    pooled = found(tmp_path / "pooled", "--model", "linear", "--bootstrap", "0")["linear"]
    assert {name: row["conversions"] for name, row in pooled.items()} == {
        **{"s0": 1.0, "s1": 1.0, "s2": 1.0},
        **{"(baseline)": 0.0},
    }
    assert found(tmp_path / "alone", "--model", "linear", "--bootstrap", "0")["linear"]["s0"] == pooled["s0"]


def test_five_thousand_real_paths(shared_data):
    answer = found(shared_data / "pathdata" / "paths_odd.csv.gz", "--model", "all", "--bootstrap", "0")
    for channels in answer.values():
        assert sum(row["conversions"] for row in channels.values()) == pytest.approx(7643.0)
        assert sum(row["value"] for row in channels.values()) == pytest.approx(31587.042318)


def test_the_reference_page_shows_what_the_command_finds(shared_data):
    """Every figure of four columns of its table, read from the page."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "attribution.md"
    lines = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if "<br>" in line]
    columns = {"linear": 3, "w_shaped": 5, "markov": 6, "shapley": 9}
    answer = found(shared_data / "pathdata" / "paths_odd.csv.gz", "--model", ",".join(columns))
    assert [cells[0] for cells in lines] == list(answer["linear"])[:-1]
    for model, at in columns.items():
        for cells in lines:
            row = answer[model][cells[0]]
            shown = [float(each.replace(",", "")) for each in re.split("<br>| to ", cells[at])]
            figures = [row[key] for key in ("conversions", "low", "high")]
            for figure, said in zip(figures, shown, strict=True):
                assert abs(figure - said) <= (0.5 if abs(said) >= 100 else 0.05) + 1e-9
