"""`gaelp journeys import --format ga4`."""

import json
from pathlib import Path
from typing import Any

import pytest

from gaelp.cli.main import run

from .exports import came, event, purchase, write

NOW = ("--now", "2026-03-20")


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two daily tables, in the folder in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    write(Path("export/events_20260301.json"), [event(**came("google", "cpc")), event(cookie=None)])
    write(Path("export/events_20260302.json"), [purchase(hour=30, session=8, user_id="ann"), event("refund")])
    return Path("export")


def gaelp(*arguments: object) -> int:
    return run([str(argument) for argument in arguments])


def test_a_folder_is_imported_once(export: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert gaelp("journeys", "import", export, "--format", "ga4", *NOW, "--json") == 0
    told: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert (told["files"], told["touches"], told["conversions"], told["linked"]) == (2, 2, 1, 1)
    assert told["database"] == "sqlite:///journeys.db" and told["first_date"] == 20260301
    assert gaelp("journeys", "import", export, "--format", "ga4", "--last-days", 1, *NOW) == 0
    shown = capfd.readouterr().out
    assert "0 sessions and 0 purchases stored" in shown and "in 1 files, 20260301 to 20260302" in shown
    assert "1 refunds were not subtracted" in shown
    assert gaelp("journeys", "show", "ann", *NOW) == 0
    assert "conversion, USD 180.00" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nowhere", "--format", "ga4"), "`export` was 'nowhere'; must be there"),
        (("export", "--format", "ga"), "Did you mean 'ga4'?"),
        (("export", "--format", "ga4", "--column", "person=x"), "cannot go with --format ga4"),
        (("export", "--in-usd"), "needs --format ga4"),
        (("export", "--format", "ga4", "--currency", "euro"), "must be three capital letters"),
        (("export", "--format", "ga4", "--last-days", 0), "must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_makes_no_database(
    export: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[object, ...], complaint: str
) -> None:
    assert gaelp("journeys", "import", *arguments, *NOW) == 2
    shown = capfd.readouterr()
    assert complaint in shown.err and shown.err.count("\n") == 1 and not shown.out
    assert export.is_dir() and not Path("journeys.db").exists()
