"""Bad input: one line that names value, allowed range and remedy, exit code 2, nothing half-written."""

import json
import signal
from pathlib import Path

import pytest

from gaelp.market.file import load
from gaelp.worlds.registry import write_checkpoint

from .conftest import Gaelp

CASES = {
    "zero people": (["simulate", "--users", "0"], "`users` was 0; must be from 1 to"),
    "negative people": (["simulate", "--users", "-3"], "`users` was -3; must be from 1 to"),
    "people in words": (["simulate", "--users", "many"], "'--users'"),
    "zero worlds": (["simulate", "--worlds", "0"], "`worlds` was 0; must be from 1 to"),
    "zero days": (["simulate", "--days", "0"], "`days` was 0; must be from 1 to 3,650"),
    "negative run-off": (["simulate", "--runoff-days", "-1"], "`runoff_days` was -1; must be from 0"),
    "negative budget": (
        ["simulate", "--daily-budget-usd", "-5"],
        "`daily_budget_usd` was -5.0; must be from 0",
    ),
    "a budget that is no number": (["simulate", "--daily-budget-usd", "nan"], "`daily_budget_usd` was nan"),
    "an endless budget": (["simulate", "--daily-budget-usd", "inf"], "`daily_budget_usd` was inf"),
    "an unknown policy": (["simulate", "--policy", "pacng"], "Did you mean 'pacing'?"),
    "a checkpoint that is not there": (["simulate", "--policy", "runs/none/x.json"], "must be a checkpoint"),
    "an untrained policy": (["simulate", "--policy", "static_lines"], "gaelp train --agent static_lines"),
    "no market file": (["simulate", "--market", "markets/none.toml"], "Files there: "),
    "an unknown option": (["simulate", "--user", "3"], "--user"),
    "an unknown command": (["simulat"], "Did you mean 'simulate'?"),
    "no policy to judge": (["evaluate"], "POLICY"),
    "an unknown policy to judge": (["evaluate", "pacing", "fxed"], "Did you mean 'fixed'?"),
    "zero worlds to judge": (["evaluate", "pacing", "--worlds", "0"], "`worlds` was 0"),
    "a budget to judge that is no number": (
        ["evaluate", "pacing", "--daily-budget-usd", "nan"],
        "`daily_budget_usd` was nan",
    ),
    "training worlds to judge on": (["evaluate", "pacing", "--split", "train"], "known: test, validation"),
    "an unknown suite": (["evaluate", "pacing", "--suite", "every"], "known: all, default"),
    "a bench of later": (["bench", "learning"], "must be market"),
    "an unknown bench": (["bench", "mraket"], "Did you mean 'market'?"),
    "no saved worlds": (["journeys", "stats", "--run", "nowhere"], "gaelp simulate --out DIR"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(
    gaelp: Gaelp, case: str, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, says = CASES[case]
    monkeypatch.chdir(market_file.parents[1])
    if arguments[0] in ("simulate", "evaluate"):
        market = [] if "--market" in arguments else ["--market", str(market_file)]
        arguments = [*arguments, *market, "--out", str(tmp_path / "run")]
        (market_file.parents[1] / "markets").mkdir(exist_ok=True)
        (market_file.parents[1] / "markets" / "other.toml").touch()
    ran = gaelp(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ") and ran.err.count("\n") == 1
    assert says in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[parameters.buy_rate]", "[parameters.buy_rte]", "Did you mean 'buy_rate'?"),
        (
            "cac_target_usd = 100.0",
            "cac_target_usd = nan",
            "`family_safety.toml: market.cac_target_usd` was nan",
        ),
        ("ltv_usd = 180.0", "ltv_usd = -180.0", "must be a number from 0.01 to"),
        (
            "daily_budget_usd = 500.0\n",
            "",
            "`family_safety.toml: market.daily_budget_usd` was None; must be given",
        ),
        ("people = 80000", "people = 0", "must be a number from 1 to"),
        ("[market]", "[market", "must be TOML"),
    ],
)
def test_a_bad_market_file_is_one_line_and_exit_code_2(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, old: str, new: str, says: str
) -> None:
    text = market_file.read_text()
    assert old in text
    bad = tmp_path / "family_safety.toml"
    bad.write_text(text.replace(old, new))
    ran = gaelp("simulate", "--market", bad, "--out", tmp_path / "run", "--json")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["family_safety.toml"]


def test_a_folder_with_anything_else_in_it_is_refused_before_the_work(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").touch()
    for command in (["simulate"], ["evaluate", "pacing"]):
        ran = gaelp(*command, "--market", market_file, "--out", tmp_path)
        assert ran.code == 2 and "nothing was overwritten" in ran.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (["simulate"], "gaelp.worlds.simulate.run_simulation"),
        (["evaluate", "pacing"], "gaelp.evaluation.judge.judge_families"),
        (["replicate", "power"], "gaelp.evaluation.replications.findings.replicate"),
    ],
)
def test_an_interrupt_is_one_line_and_leaves_no_half_a_run(
    gaelp: Gaelp,
    market_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    called: str,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)  # what Ctrl-C sends

    monkeypatch.setattr(called, interrupted)
    ran = gaelp(*words, "--market", market_file, "--out", tmp_path / "run")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.splitlines()[-1] == "error: interrupted" and "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_failure_at_work_leaves_no_half_a_run(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gaelp.worlds.simulate.run_simulation", disk_full)
    ran = gaelp("simulate", "--market", market_file, "--out", tmp_path / "run")
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == "error: [Errno 28] No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"market_sha256": "0" * 64}, "must be trained on family_safety"),
        ({"agent": "static_line"}, "Did you mean 'static_lines'?"),
        ({"line_multiplier": {"search_generic_mobil": 1.0}}, "Did you mean 'search_generic_mobile'?"),
        ({"line_multiplier": {"email": float("nan")}}, "must be a number from 0 to 1000"),
        ({"line_multiplier": {"email": -1}}, "must be a number from 0 to 1000"),
        ({"line_multiplier": [1, 2]}, "must be a table of line names"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    path = write_checkpoint(tmp_path, load(market_file), {"email": 1.0})
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    ran = gaelp("simulate", "--market", market_file, "--policy", tmp_path)
    assert ran.code == 2 and says in ran.err and ran.err.count("\n") == 1


def test_a_mismatch_names_both_hashes(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    file = load(market_file)
    path = write_checkpoint(tmp_path / "c.json", file, {})
    path.write_text(path.read_text().replace(file.sha256, "f" * 64))
    ran = gaelp("simulate", "--market", market_file, "--policy", path)
    assert "f" * 12 in ran.err and file.sha256[:12] in ran.err
