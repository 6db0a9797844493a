"""`gaelp train`: one round on tiny worlds, and what it refuses."""

import json
from pathlib import Path

import pytest

from .conftest import Gaelp

TINY = ("--worlds", "1", "--users", "200", "--days", "1", "--epochs", "1")


def test_a_trained_checkpoint_can_be_flown_and_resumed(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    command = ("train", "--market", market_file, *TINY, "--out", tmp_path)
    found = gaelp(*command, "--json").json
    assert found["epochs"] == 1 and len(found["history"]) == 1
    assert json.loads((tmp_path / "checkpoint.json").read_text()) == found
    flown = ("simulate", "--market", market_file, "--policy", tmp_path, "--worlds", "1", "--users", "200")
    assert gaelp(*flown, "--days", "1", "--no-twin", "--json").json["policy"] == str(tmp_path)
    again = gaelp(*command, "--resume")
    assert again.code == 2 and "must be above the 1 already done" in again.err
    longer = gaelp(*command, "--resume", "--epochs", "2")
    assert longer.code == 0 and "epoch   2" in longer.err and "search_generic_mobile" in longer.out


@pytest.mark.slow
def test_value_is_trained_and_corrected_by_a_controller(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    small = ("--market", market_file, "--worlds", "1", "--users", "300", "--days", "2", "--epochs", "1")
    value = gaelp("train", "--agent", "value", *small, "--out", tmp_path / "value")
    assert value.code == 0 and "looked at what" in value.err and "landing page" in value.out
    given = ("--base", tmp_path / "value", "--out", tmp_path / "c")
    corrected = ("train", "--agent", "controller", *small, *given)
    assert gaelp(*corrected, "--json").json["epochs"] == 1
    assert gaelp(*corrected, "--resume").code == 2
    ran = gaelp("train", "--agent", "value", *small, "--out", tmp_path / "c")
    assert ran.code == 2 and "holds what another agent than value learnt" in ran.err
    flown = ("--market", market_file, "--worlds", "2", "--users", "300", "--days", "1", "--runoff-days", "1")
    board = gaelp("evaluate", tmp_path / "c", tmp_path / "value", *flown, "--json").json
    assert len(board["policies"]) == 2 and len(board["model_sha256"]) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--worlds", "0"], "`worlds` was 0; must be from 1 to"),
        (["--users", "-1"], "`users` was -1; must be from 1 to"),
        (["--days", "0"], "`days` was 0; must be from 1 to"),
        (["--agent", "static_line"], "Did you mean 'static_lines'?"),
        (["--minutes", "nan"], "--minutes"),
        (["--minutes", "inf"], "`minutes` was inf; must be finite"),
        (["--epochs", "1", "--minutes", "1"], "give either epochs or minutes"),
        (["--split", "test"], "--split"),
        (["--market", "markets/none.toml"], "must be a readable market file"),
        (["--resume"], "Name the run's folder with --out."),
        (["--agent", "baselines", "--epochs", "1"], "`epochs` was 1; is not for baselines"),
        (["--agent", "baselines", "--minutes", "1"], "`minutes` was 1.0; is not for baselines"),
        (["--agent", "baselines", "--out", "runs/x"], "`out` was 'runs/x'; is not for baselines"),
        (["--agent", "controller", "--epochs", "1"], "Name one to keep the network in"),
        (["--agent", "controller", "--resume", "--out", "runs/none"], "needs a network"),
        (["--agent", "value", "--base", "value"], "is for the controller only"),
        (["--agent", "controller", "--base", "static_lines", "--out", "runs/none"], "must be value"),
        (["--agent", "value", "--resume"], "Name the run's folder with --out."),
        (["--agent", "value", "--minutes", "nan"], "--minutes"),
        (["--agent", "baselines", "--resume"], "`resume` was True; is not for baselines"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(gaelp: Gaelp, arguments: list[str], says: str) -> None:
    ran = gaelp("train", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err
