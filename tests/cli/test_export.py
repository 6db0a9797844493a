"""`gaelp simulate --regions` and `gaelp export mmm`: one run's regions, and what its channels caused."""

import csv
import json
from pathlib import Path

import pytest

from .conftest import Gaelp

SIZES = ("--worlds", "2", "--users", "4000", "--days", "15", "--runoff-days", "1", "--no-twin")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_is_exported_with_the_truth_beside_it(gaelp: Gaelp, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("simulate", "--market", "impulse", *SIZES, "--regions")
    assert "--out" in gaelp(*command).err
    found = gaelp(*command, "--out", run, "--json").json
    days = rows(run / "regions.csv")
    assert len(days) == 2 * 100 * 16
    assert sum(float(row["spend_usd"]) for row in days) == pytest.approx(found["spend_usd"])
    assert sum(int(row["social_clicks"]) for row in days) == found["by_channel"]["social"]["clicks"]

    told = gaelp("export", "mmm", run, "--format", "meridian", "--world", "1", "--truth", "--json").json
    assert told["geos"] == 100 and told["weeks"] == 2
    assert [Path(path).name for path in told["files"]] == ["meridian.csv", "lift_tests.csv", "truth.json"]
    assert all(Path(path).is_file() for path in told["files"])
    weeks = rows(run / "mmm" / "meridian.csv")
    assert len(weeks) == 200
    mine = [row for row in days if row["world"] == "1" and row["region"] == "region 4"][:7]
    first = next(row for row in weeks if row["geo"] == "region 4")
    assert first["time"] == mine[0]["day"]
    assert float(first["kpi"]) == sum(int(row["sales"]) for row in mine)
    assert float(first["social_spend"]) == pytest.approx(sum(float(row["social_spend_usd"]) for row in mine))
    truth = json.loads((run / "mmm" / "truth.json").read_text())
    assert truth["world"] == 1 and "direct" in truth["effect"]
    spent = sum(float(row["spend_usd"]) for row in days if row["world"] == "1")
    assert sum(row["spend_usd"] for row in truth["channels"].values()) == pytest.approx(spent)
    assert truth["all"]["spend_usd"] == pytest.approx(spent)
    lifts = rows(run / "mmm" / "lift_tests.csv")
    assert lifts  # in this market, where people buy fast, some channel sold more
    for name in {row["channel"] for row in lifts}:
        one, caused = [row for row in lifts if row["channel"] == name], truth["channels"][name]
        # a week of the whole flight, whose fifteenth day is in no whole week
        assert sum(float(row["x"]) for row in one) == pytest.approx(caused["spend_usd"] * 7 / 15)
        assert sum(float(row["delta_y"]) for row in one) == pytest.approx(
            -caused["incremental_sales"] * 7 / 15
        )

    shown = gaelp("export", "mmm", run, "--format", "pymc", "--out", tmp_path / "elsewhere")
    assert shown.code == 0 and "100 regions by 2 weeks" in shown.out
    assert list(rows(tmp_path / "elsewhere" / "pymc.csv")[0])[:3] == ["date", "geo", "y"]

    for arguments, said in (
        ((run, "--format", "robyn"), "meridian, pymc"),
        ((run, "--format", "pymc", "--world", "2"), "0 to 1"),
        ((tmp_path, "--format", "pymc"), "--regions"),
    ):
        refused = gaelp("export", "mmm", *arguments)
        assert refused.code == 2 and said in refused.err
