"""What docs/reference/journeys.md says can be typed, works as it stands there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Gaelp

PAGE = (REPOSITORY / "docs" / "reference" / "journeys.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_on_journeys_can_be_followed(
    gaelp: Gaelp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    Path("events.csv").write_text(blocks("csv")[0])
    commands = blocks("bash")[0].splitlines()
    assert len(commands) == 7
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[0] == "gaelp"
        assert gaelp(*words[1:]).code == 0, command
    assert gaelp("journeys", "stats", "--json").json["people"] == 1
    made: dict[str, Any] = {}
    exec(blocks("python")[0], made)
    journey, table, entries = (made[name] for name in ("journey", "table", "entries"))
    assert journey.stage.name == "CONVERTED" and journey.channels == ("search",)
    assert table.n_touches == 2 and entries.amount_micros.sum() == 360_000_000
    made["store"].close()
