"""`gaelp lag` as people type it."""

import json

import numpy as np
import pytest
import typer

from gaelp.cli.lag import lag_command
from gaelp.core.errors import BadInput
from gaelp.measurement.lag.fit import FAMILIES


@pytest.fixture
def lag(capfd):
    app = typer.Typer()
    app.command()(lag_command)

    def call(*arguments):
        app([str(argument) for argument in arguments], standalone_mode=False)
        said = capfd.readouterr().out
        return json.loads(said) if "--json" in arguments else said

    return call


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    """5,000 clicks of ten cohorts: .2 convert, after Weibull lags of scale 4, sooner on search."""
    rng = np.random.default_rng(0)
    cohort = rng.integers(10, size=5_000)
    channel = np.where(rng.random(5_000) < 0.5, "search", "social")
    lag = np.where(channel == "search", 3.0, 5.0) * rng.weibull(0.9, 5_000)
    age = 2.0 * cohort + 1
    seen = (rng.random(5_000) < 0.2) & (lag < age)
    file = tmp_path_factory.mktemp("lag") / "clicks.csv"
    age_of_person = rng.integers(18, 60, 5_000)
    columns = (np.where(seen, lag, age), seen.astype(int), channel, cohort, age_of_person)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    lines = [",".join(str(cell) for cell in row) for row in rows]
    file.write_text("\n".join(["days,converted,channel,cohort,age", *lines]) + "\n")
    return file


COLUMNS = ("--duration", "days", "--event", "converted")


def test_the_keys_are_those_promised(lag, clicks):
    found = lag(clicks, *COLUMNS, "--at", "1,7,14.5", "--horizon", "10", "--json")
    assert list(found["km"]) == ["1", "7", "14.5"] == list(found["km_interval"])
    assert set(found["weibull"]) >= {"scale", "shape", "loglik", "aic"}
    assert set(found["lognormal"]) >= {"mu", "sigma", "loglik", "aic"}
    assert set(found["cure_weibull"]) >= {"share", "scale", "shape", "loglik", "aic"}
    assert set(found["mixture"]) >= {"share", "weight", "scale", "shape", "loglik", "aic"}
    assert found["median"] is None and 0 < found["rmst"] < 10 == found["rmst_horizon"]
    assert found["n"] == 5_000 and found["best"] in ("cure_weibull", "mixture")
    low, high = found["cure_weibull"]["interval"]["share"]
    assert low < 0.2 < high
    soon = found["nowcast"]
    assert soon["low"] <= soon["to_come"] <= soon["high"]
    assert soon["total"] == pytest.approx(soon["observed"] + soon["to_come"])
    assert list(found["timeout"]) == ["0.2", "0.1", "0.05", "0.01"]
    assert sorted(found["timeout"].values()) == list(found["timeout"].values())


def test_without_times_the_curve_falls_at_every_conversion_or_at_two_hundred(lag, clicks):
    found = lag(clicks, *COLUMNS, "--json")
    survival = list(found["km"].values())
    assert len(survival) == 200 and survival == sorted(survival, reverse=True)


def test_segments_and_channels_are_compared(lag, clicks):
    found = lag(clicks, *COLUMNS, "--covariate", "channel", "--covariate", "age", "--json")
    group = found["groups"]["channel"]
    assert set(group["by"]) == {"search", "social"} and group["p_value"] < 0.05
    assert "age" not in found["groups"]  # too many values to be groups
    told = {(row["column"], row["on"]): row for row in found["covariates"]["cure_weibull"]["coefficients"]}
    names = {column for column, _ in told}
    assert names in ({"channel=social", "age"}, {"channel=search", "age"})
    slow = next(row for (column, on), row in told.items() if on == "log_time" and column != "age")
    truth = np.log(5 / 3) * (1 if slow["column"] == "channel=social" else -1)
    assert slow["low"] < truth < slow["high"]
    assert told["age", "share"]["low"] < 0 < told["age", "share"]["high"]


def test_cohorts_are_told_one_by_one(lag, clicks):
    found = lag(clicks, *COLUMNS, "--cohort", "cohort", "--json")
    cohorts = found["cohorts"]
    assert set(cohorts) == {str(k) for k in range(10)}
    assert cohorts["0"]["to_come"] > cohorts["9"]["to_come"]
    total = sum(row["to_come"] for row in cohorts.values())
    assert total == pytest.approx(found["nowcast"]["to_come"], rel=0.1)


def test_people_are_told_in_words(lag, clicks):
    said = lag(clicks, *COLUMNS, "--at", "7", "--covariate", "channel", "--cohort", "cohort")
    for words in ("conversions of 5,000 clicks", "Kaplan-Meier", "cure_weibull", "still to come", "log-rank"):
        assert words in said, said
    assert "channel=" in said and "9: " in said


def test_equal_seeds_tell_equal_things(lag, clicks):
    assert lag(clicks, *COLUMNS, "--json") == lag(clicks, *COLUMNS, "--seed", "0", "--json")


def test_a_file_without_conversions_still_has_a_curve(lag, tmp_path):
    file = tmp_path / "none.tsv"
    file.write_text("days\tconverted\n1\t0\n2\t0\n")
    found = lag(file, *COLUMNS, "--at", "1", "--json")
    assert found["km"] == {"1": 1.0} and found["events"] == 0 and found["median"] is None
    assert all(found[family] is None for family in FAMILIES) and found["nowcast"] is None
    assert any("must count more conversions" in note for note in found["notes"])
    assert "no weibull" in lag(file, *COLUMNS)


def test_every_figure_takes_clicks_as_watched_until_the_horizon_at_most(lag, clicks, tmp_path):
    """A conversion after the horizon is none by then, for curve, fits and nowcast alike."""
    cut = tmp_path / "cut.csv"
    first, *rows = clicks.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    late = [float(days) > 6 for days, *_ in cells]
    assert sum(seen == "1" and beyond for (_, seen, *_), beyond in zip(cells, late, strict=True)) > 50
    lines = [
        ",".join(["6", "0", *rest] if beyond else [days, seen, *rest])
        for (days, seen, *rest), beyond in zip(cells, late, strict=True)
    ]
    cut.write_text("\n".join([first, *lines]) + "\n")
    options = ("--horizon", "6", "--at", "2,6,7", "--covariate", "channel", "--cohort", "cohort", "--json")
    found = lag(clicks, *COLUMNS, *options)
    assert found == lag(cut, *COLUMNS, *options)
    assert found["events"] == sum(line.split(",")[1] == "1" for line in lines) == found["nowcast"]["observed"]
    assert found["km"]["6"] > 0 and found["km"]["7"] is None
    # the oldest cohort is past the horizon: nothing of it is still to come
    assert found["cohorts"]["9"]["to_come"] == 0 and max(found["timeout"].values()) <= 6
    without = lag(clicks, *COLUMNS, "--at", "6", "--json")
    assert found["km"]["6"] == without["km"]["6"] and found["events"] < without["events"]


def test_a_horizon_that_nobody_was_watched_for_is_a_note(lag, clicks):
    found = lag(clicks, *COLUMNS, "--horizon", "90", "--json")
    assert found["rmst"] is None and any("no restricted mean" in note for note in found["notes"])
    assert found["nowcast"]["to_come"] > 0


CASES = {
    "a negative lag": ("1,1\n-2,0\n", (), "`days in line 3` was '-2'; must be at least 0"),
    "an event that is no flag": ("1,1\n2,2\n", (), "`converted in line 3` was '2'; must be 0 or 1"),
    "a lag in words": ("1,1\nsoon,0\n", (), "`days in line 3` was 'soon'; must be a number"),
    "a lag left out": ("1,1\n,0\n", (), "`days in line 3` was ''"),
    "a lag that is no number": ("1,1\nnan,0\n", (), "`days in line 3` was 'nan'; must be a finite number"),
    "an empty table": ("", (), "`FILE` was 'clicks.csv'; must have at least one event or other row"),
    "an unknown column": (
        "1,1\n",
        ("--covariate", "chanel"),
        "`column` was 'chanel'; known: converted, days",
    ),
    "a time in words": ("1,1\n", ("--at", "7;14"), "`at` was '7;14'; must list numbers"),
    "a time before the click": (
        "1,1\n",
        ("--at", "-1"),
        "`at` was [-1.0]; must be finite times of at least 0",
    ),
    "a horizon of nothing": ("1,1\n", ("--horizon", "0"), "`horizon` was 0.0; must be finite and above 0"),
    "a covariate that is always the same": (
        "1,1\n2,1\n",
        ("--covariate", "converted"),
        "`covariate` was 'converted'; must have at least two different values",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_names_what_was_wrong(lag, tmp_path, case):
    rows, options, says = CASES[case]
    file = tmp_path / "clicks.csv"
    file.write_text(f"days,converted\n{rows}")
    with pytest.raises(BadInput) as caught:
        lag(file, *COLUMNS, *options)
    assert says in str(caught.value) and caught.value.exit_code == 2


def test_a_file_that_is_not_there_is_named(lag, tmp_path):
    with pytest.raises(BadInput, match="must be a file that exists"):
        lag(tmp_path / "none.csv", *COLUMNS)
