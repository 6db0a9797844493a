"""`gaelp train`: a few rounds on tiny worlds, Ctrl-C, and what it refuses."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
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


def history(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_figures_of_each_epoch_are_kept_and_nothing_but_json_is_printed(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    command = ("train", "--market", market_file, *TINY, "--json")
    ran = gaelp(*command, "--out", tmp_path / "a")
    assert ran.json["epochs"] == 1 and ran.err == ""
    (row,) = history(tmp_path / "a")
    assert row["epoch"] == 1 and row["spend_usd"] == ran.json["history"][0]["spend_usd"]
    assert row["worlds_per_second"] == pytest.approx(26 / row["seconds"], rel=0.01)
    assert gaelp(*command, "--out", tmp_path / "a", "--resume", "--epochs", "2").json["epochs"] == 2
    assert [row["epoch"] for row in history(tmp_path / "a")] == [1, 2]
    assert gaelp(*command, "--out", tmp_path / "a").json["epochs"] == 1  # from the beginning
    assert [row["epoch"] for row in history(tmp_path / "a")] == [1]
    without = gaelp(*command)
    assert without.json["line_multiplier"] == gaelp(*command, "--out", tmp_path / "b").json["line_multiplier"]


class Training:
    """`gaelp train` in a process of its own, which answers Ctrl-C even if the tests run in the background."""

    BEGIN = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from gaelp.cli.main import app_entry; app_entry()"
    )

    def __init__(self, *arguments: object) -> None:
        words = [sys.executable, "-c", self.BEGIN, *map(str, arguments)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.err = self.process.stderr

    def interrupt_after(self, text: str) -> tuple[int, list[str], str]:
        """Wait for a line with a text, send SIGINT; exit code, later lines, standard output."""
        while text not in (line := self.err.readline()):
            assert line, f"it ended without {text!r}"
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, err.splitlines(), out


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_tells_how_to_go_on(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    small = ("--market", market_file, "--worlds", "1", "--users", "200", "--days", "1", "--seed", "3")
    out = tmp_path / "a run"
    command = ("train", *small, "--epochs", "500", "--out", out)
    code, said, printed = Training(*command).interrupt_after("epoch   2")
    assert (code, printed) == (130, "")
    *_, last = said
    done = json.loads((out / "checkpoint.json").read_text())["epochs"]
    assert [row["epoch"] for row in history(out)] == list(range(1, done + 1)) and done >= 2
    assert last.startswith(f"error: interrupted; {out} holds all up to epoch {done}. ")
    program, *again = shlex.split(last.partition("To go on: ")[2])
    assert program == "gaelp" and "--resume" in again
    again[again.index("--epochs") + 1] = str(done + 2)
    resumed = gaelp(*again, "--json").json
    straight = gaelp("train", *small, "--epochs", done + 2, "--json").json
    assert resumed["line_multiplier"] == straight["line_multiplier"]
    assert [row["epoch"] for row in history(out)] == list(range(1, done + 3))


@pytest.mark.slow
def test_ctrl_c_while_the_level_of_value_is_tuned_loses_no_look(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    small = ("--market", market_file, "--worlds", "1", "--users", "300", "--days", "2", "--epochs", "1")
    command = ("train", "--agent", "value", *small, "--out", tmp_path / "value")
    code, said, _ = Training(*command).interrupt_after("aim at 92%")
    assert code == 130 and "holds all up to epoch 1. To go on: gaelp train --resume --agent value" in said[-1]
    (row,) = history(tmp_path / "value")
    assert row["objective_usd"] is None
    _, *again = shlex.split(said[-1].partition("To go on: ")[2])
    found = gaelp(*again, "--json").json
    assert found == gaelp("train", "--agent", "value", *small, "--json").json
    (row,) = history(tmp_path / "value")
    assert row["objective_usd"] == max(each["objective_usd"] for each in found["tried"])


def test_ctrl_c_before_the_first_epoch_says_that_nothing_is_kept(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gaelp.learning.lines.Practice", interrupted)
    command = ("train", "--market", market_file, *TINY)
    ran = gaelp(*command, "--out", tmp_path / "a")
    assert ran.code == 130 and ran.err.count("\n") == 1
    assert "before the end of the first epoch; nothing of it is kept" in ran.err
    without = gaelp(*command)
    assert (without.code, without.err) == (130, "error: interrupted\n")


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_wandb_that_is_not_installed_is_told_before_the_work(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    ran = gaelp("train", "--market", market_file, *TINY, "--track", "wandb", "--out", tmp_path / "a")
    assert ran.code == 2 and "pip install 'gaelp[track]'" in ran.err and not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("wandb"), reason="needs wandb: pip install 'gaelp[track]'")
def test_a_training_tracked_in_wandb_keeps_a_run_a_turn(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    command = ("train", "--market", market_file, *TINY, "--track", "wandb", "--out", tmp_path, "--json")
    assert gaelp(*command).json["epochs"] == 1
    assert gaelp(*command, "--resume", "--epochs", "2").json["epochs"] == 2
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 2


@pytest.mark.slow
def test_value_is_trained_and_corrected_by_a_controller(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    small = ("--market", market_file, "--worlds", "1", "--users", "300", "--days", "2", "--epochs", "1")
    value = gaelp("train", "--agent", "value", *small, "--out", tmp_path / "value")
    assert value.code == 0 and "looked at what" in value.err and "landing page" in value.out
    given = ("--base", tmp_path / "value", "--out", tmp_path / "c")
    corrected = ("train", "--agent", "controller", *small, *given)
    ran = gaelp(*corrected, "--json")
    assert ran.json["epochs"] == 1 and ran.err == ""
    (row,) = history(tmp_path / "c")
    assert row["epoch"] == 1 and row["reward"] == ran.json["history"][0]["reward"]
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
        (["--agent", "value", "--self-play"], "is for the controller only"),
        (["--agent", "controller", "--base", "static_lines", "--out", "runs/none"], "must be value"),
        (["--agent", "value", "--resume"], "Name the run's folder with --out."),
        (["--agent", "value", "--minutes", "nan"], "--minutes"),
        (["--track", "wandb"], "`out` was None; must be a folder with --track"),
        (["--agent", "value", "--track", "wandb", "--out", "runs/v.json"], "must be a folder with --track"),
        (["--agent", "baselines", "--track", "wandb"], "`track` was 'wandb'; is not for baselines"),
        (["--executor", "ra"], "Did you mean 'ray'?"),
        (["--executor", "processes"], "must be inline for static_lines"),
        (["--agent", "value", "--executor", "ray"], "must be inline for value"),
        (["--agent", "controller", "--workers", "0"], "`workers` was 0"),
        (["--agent", "baselines", "--resume"], "`resume` was True; is not for baselines"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(gaelp: Gaelp, arguments: list[str], says: str) -> None:
    ran = gaelp("train", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err


@pytest.mark.parametrize("agent", ["static_lines", "value", "controller"])
def test_a_folder_in_the_place_of_the_history_is_refused_before_anything_is_learnt(
    gaelp: Gaelp, tmp_path: Path, agent: str
) -> None:
    (tmp_path / "run" / "metrics.jsonl").mkdir(parents=True)
    ran = gaelp("train", "--agent", agent, "--epochs", "1", "--out", tmp_path / "run")
    assert ran.code == 2 and "metrics.jsonl" in ran.err and "must be a file" in ran.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.jsonl"]


def test_ctrl_c_in_self_play_says_so_in_the_command_that_goes_on(
    gaelp: Gaelp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, report: Callable[[dict[str, object]], None], **given: object) -> None:
        assert given["self_play"] is True
        report({"epoch": 1, "reward": 0.0})
        raise KeyboardInterrupt

    monkeypatch.setattr("gaelp.learning.controller.train", interrupted)
    ran = gaelp("train", "--agent", "controller", "--self-play", "--epochs", "2", "--out", tmp_path / "run")
    assert ran.code == 130
    assert "To go on: gaelp train --resume --self-play --agent controller --epochs 2" in ran.err
