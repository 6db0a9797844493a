"""`make accept` can fail, and says so."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "acceptance" / "run.py"
spec = importlib.util.spec_from_file_location("acceptance_run", SCRIPT)
assert spec is not None and spec.loader is not None
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)

HEADER = "| line | command | figure | commit |\n|---|---|---|---|\n"


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runner, "HERE", tmp_path)
    monkeypatch.setattr(runner, "REPOSITORY", tmp_path)
    return tmp_path


def test_a_pipe_in_a_command_is_escaped(steps: Path) -> None:
    (steps / "step-1.md").write_text(HEADER + r"| piped | `echo x \| grep -q x` | 1 | abc |" + "\n")
    assert runner.read_table((steps / "step-1.md").read_text())[0].command == "echo x | grep -q x"
    assert runner.main(["1"]) == 0


@pytest.mark.parametrize("command", ["`false`", "`false \\| true`", "pending", ""])
def test_one_line_that_fails_or_is_pending_fails_the_step(
    steps: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (steps / "step-2.md").write_text(HEADER + f"| good | `true` | | |\n| bad | {command} | | |\n")
    assert runner.main(["2"]) == 1
    assert "step 2: 1 pass" in capsys.readouterr().out


def test_what_the_commands_said_is_kept(steps: Path) -> None:
    (steps / "step-1.md").write_text(HEADER + "| good | `echo 42 dollars` | | |\n")
    assert runner.main(["1"]) == 0
    kept = (steps / "runs" / "acceptance" / "step-1.txt").read_text()
    assert "## pass: good" in kept and "42 dollars" in kept


@pytest.mark.parametrize("arguments", [[], ["two"], ["7"], ["1", "2"]])
def test_an_unknown_step_is_bad_input(steps: Path, arguments: list[str]) -> None:
    (steps / "step-1.md").write_text(HEADER)
    assert runner.main(arguments) == 2


def test_every_committed_table_can_be_read() -> None:
    tables = sorted(SCRIPT.parent.glob("step-*.md"))
    assert tables
    assert all(runner.read_table(path.read_text(encoding="utf-8")) for path in tables)
