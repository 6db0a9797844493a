"""`gaelp discover`, as it is typed."""

import json
from pathlib import Path

import jsonschema
import pytest
import typer

from gaelp.cli.discover import discover_command
from gaelp.core.errors import BadInput
from gaelp.data.discovery.found import schema

from .planted import NOISE, plant

app = typer.Typer()
app.command()(discover_command)


def call(*arguments: object) -> None:
    app([str(each) for each in arguments], standalone_mode=False)


def test_the_command_writes_patterns_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, out, page = tmp_path / "a.db", tmp_path / "found.json", tmp_path / "page.html"
    plant(database, NOISE, people=300, days=28, seed=2)
    usual = ("--database", database, "--out", out, "--time-zone", "UTC", "--seed", "3")
    call(*usual, "--report", page, "--now", "2026-02-03", "--keep-patterns")
    shown = capsys.readouterr()
    assert "300 visitors" in shown.out and "all visitors" in shown.out
    assert "journeys kept in the pattern store" in shown.err
    told = json.loads(out.read_text())
    jsonschema.validate(told, schema())
    assert told["seed"] == 3 and page.read_text().startswith("<!DOCTYPE html>")
    first = out.read_bytes()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{database}")  # the usual database, as of other commands
    call(*usual[2:], "--json", "--now", "2026-02-03")
    assert json.loads(capsys.readouterr().out) == told and out.read_bytes() == first


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "x.json"
    for file, page, named in (
        (tmp_path, tmp_path / "page.html", "out.*is a folder"),
        (out, tmp_path, "report.*is a folder"),
        (out, out, "report.*the place of out"),
        (tmp_path / "file" / "x.json", tmp_path / "page.html", "out.*cannot be written"),
    ):
        with pytest.raises(BadInput, match=named):
            call("--ga4", tmp_path / "gone", "--out", file, "--report", page)


def test_patterns_are_kept_in_a_database_only(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs a database"):
        call("--ga4", tmp_path, "--out", tmp_path / "x.json", "--keep-patterns")
