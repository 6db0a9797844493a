"""Commands run in this process: `gaelp(...)` gives exit code, output and errors."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gaelp.cli.main import run

REPOSITORY = Path(__file__).parents[2]
SMALL = ("--worlds", "2", "--users", "1000", "--days", "3", "--runoff-days", "4")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output; anything else there fails."""
        assert self.code == 0, self.err
        found = json.loads(self.out)
        assert isinstance(found, dict) and self.out.count("\n") == 1
        return found


Gaelp = Callable[..., Ran]


@pytest.fixture
def gaelp(capfd: pytest.CaptureFixture[str]) -> Gaelp:
    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def market_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference market without tuned values: a copy that nobody edits meanwhile."""
    folder = tmp_path_factory.mktemp("markets")
    shutil.copy(REPOSITORY / "markets" / "family_safety.toml", folder)
    return folder / "family_safety.toml"
