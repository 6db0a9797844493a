"""Help answers at once, and says what there is."""

import subprocess
import sys

import pytest

from .conftest import Gaelp

HEAVY = ("numba", "numpy", "scipy", "torch", "plotly", "sklearn", "pandas")
LOOK = f"""
import sys
from gaelp.cli.main import run
code = run(sys.argv[1:])
print("heavy:", *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""
COMMANDS = (
    *("simulate", "evaluate", "bench", "journeys", "doctor", "train", "demo", "plan", "attribute", "lag"),
    *("experiment", "identity", "competition", "export", "replicate", "regret", "understand", "discover"),
    *("retrain", "serve", "calibrate", "update"),
)


@pytest.mark.parametrize("arguments", [["--help"], ["simulate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments], capture_output=True, text=True, check=True
    )
    assert result.stderr.split() == ["heavy:"]


def test_help_names_every_command(gaelp: Gaelp) -> None:
    shown = gaelp("--help")
    assert shown.code == 0
    assert all(f" {command} " in shown.out for command in COMMANDS)


def test_no_arguments_show_the_help(gaelp: Gaelp) -> None:
    assert gaelp().out == gaelp("--help").out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_json_flag(gaelp: Gaelp, command: str) -> None:
    sub = {
        "journeys": ["stats"],
        "plan": ["proof"],
        "experiment": ["ab"],
        "export": ["mmm"],
        "retrain": ["check"],
        "serve": ["keys", "list"],
    }.get(command, [])
    shown = gaelp(command, *sub, "--help")
    assert shown.code == 0 and "--json" in shown.out


def test_a_missing_sub_command_shows_what_there_is(gaelp: Gaelp) -> None:
    shown = gaelp("journeys")
    assert shown.code == 2 and "stats" in shown.out
    assert shown.err == "error: A sub-command is missing. See `gaelp --help`.\n"
