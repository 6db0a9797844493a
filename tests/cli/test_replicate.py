"""`gaelp replicate`: a table, a page and what differs, for each famous finding."""

import json
from pathlib import Path

import pytest

from gaelp.worlds.registry import POLICIES

from .conftest import Gaelp

SMALL = ("--worlds", "2", "--users", "1000", "--days", "3", "--runoff-days", "2")
FINDINGS = ("brand-search", "observational", "upstream", "power")
INTERVAL = {"mean", "low", "high"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("GAELP_CACHE", str(tmp_path_factory.getbasetemp() / "replicate-cache"))


def test_all_findings_are_flown_and_kept_on_one_page(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    where = tmp_path / "all"
    found = gaelp("replicate", "all", "--market", market_file, *SMALL, "--out", where, "--json").json
    assert tuple(found["findings"]) == FINDINGS
    assert json.loads((where / "result.json").read_text()) == found
    assert found["split"] == "validation" and found["policy"] == "pacing"
    page = (where / "report.html").read_text()
    for name, answer in found["findings"].items():
        assert (answer["worlds"], answer["users"], answer["days"], answer["runoff_days"]) == (2, 1000, 3, 2)
        assert answer["found"] and answer["differs"] and f'<section id="{name}">' in page
        cells = [cell for row in answer["figures"].values() for cell in row.values()]
        assert any(isinstance(cell, dict) and set(cell) == INTERVAL for cell in cells)
    assert page.count("class=chart") == 4
    config = json.loads((where / "config.json").read_text())
    assert config["command"] == "replicate" and config["settings"]["finding"] == "all"


def test_one_finding_prints_its_table_and_says_what_differs(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    command = ("replicate", "brand-search", "--market", market_file, *SMALL)
    shown = gaelp(*command, "--out", tmp_path / "brand")
    assert shown.code == 0
    for said in (
        *("Blake, Nosko, Tadelis", "99.5 %", "2 validation worlds of 1,000 people", "whole account"),
        *("clicks that come back", "In these worlds", "What differs", "rivals bid on"),
    ):
        assert said in " ".join(shown.out.split())
    assert "report.html" in shown.err
    page = (tmp_path / "brand" / "report.html").read_text()
    assert "gaelp replicate brand-search" in page and "--worlds 2" in page
    again = gaelp(*command, "--out", tmp_path / "brand", "--json").json  # an earlier run may be replaced
    assert list(again["findings"]) == ["brand-search"]


def test_the_page_stands_in_runs_where_no_folder_is_named(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert gaelp("replicate", "brand-search", "--market", market_file, *SMALL, "--json").code == 0
    assert (tmp_path / "runs" / "replicate-brand-search" / "report.html").is_file()


CASES = {
    "an unknown finding": (["brand"], "known: all, brand-search, observational, power, upstream"),
    "no finding": ([], "Missing argument"),
    "no worlds": (["power", "--worlds", "0"], "`worlds` was 0"),
    "nobody": (["power", "--users", "0"], "`users` was 0"),
    "no days": (["power", "--days", "0"], "`days` was 0"),
    "a run-off before the end": (["power", "--runoff-days", "-1"], "`runoff_days` was -1"),
    "an unknown policy": (["power", "--policy", "pacng"], "Did you mean 'pacing'?"),
    "a yardstick misspelt": (
        ["power", "--policy", "oracle"],
        f"known: {', '.join(sorted(POLICIES))}. Choose one",
    ),
    "a checkpoint that is not there": (
        ["power", "--policy", "runs/none/x.json"],
        f"or name one of {', '.join(sorted(POLICIES))}.",
    ),
    "a yardstick": (["power", "--policy", "line_oracle"], "must be one that could be flown"),
    "no market": (["power", "--market", "none.toml"], "must be a readable market file"),
    "an unknown executor": (["power", "--executor", "threads"], "known: inline, processes, ray"),
    "no workers": (["power", "--workers", "0"], "`workers` was 0"),
    "a sealed split": (["power", "--split", "test"], "--split"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(
    gaelp: Gaelp, case: str, market_file: Path, tmp_path: Path
) -> None:
    arguments, says = CASES[case]
    market = [] if "--market" in arguments else ["--market", str(market_file)]
    ran = gaelp("replicate", *arguments, *market, "--out", tmp_path / "out", "--json")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert ran.err.startswith("error: ") and says in ran.err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    ran = gaelp("replicate", "power", "--market", market_file, *SMALL, "--out", tmp_path)
    assert ran.code == 2 and "nothing was overwritten" in ran.err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_help_names_every_option(gaelp: Gaelp) -> None:
    shown = gaelp("replicate", "--help")
    assert shown.code == 0
    for said in (
        *("--market", "--policy", "--worlds", "--users", "--days", "--runoff-days", "--seed"),
        *("--executor", "--workers", "--out", "--json", "brand-search", "observational", "upstream", "power"),
    ):
        assert said in shown.out
