"""`gaelp retrain` tells what a run came to, and its exit code says whether it worked."""

import json

import pytest
import typer
from typer.testing import CliRunner

from gaelp.cli.retrain import retrain_app
from gaelp.core.errors import BadInput, UnknownName
from gaelp.prediction.lock import alone_in
from gaelp.prediction.retraining import Retrainer

from .streams import fill, morning

APP = typer.Typer()
APP.add_typer(retrain_app, name="retrain")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/loop.db")
    with Retrainer(f"{tmp_path}/loop.db", tmp_path / "models") as retrainer:
        fill(retrainer.tracker, range(20))
        yield retrainer


def gaelp(retrainer, *words, fails=None, moment=20):
    now = () if words[0] == "history" else ("--now", morning(moment).isoformat())
    told = CliRunner().invoke(
        APP, ["retrain", *words, "--models", str(retrainer.registry.folder), *now], color=False
    )
    if fails is None:
        assert told.exit_code == 0, (told.output, told.exception)
    elif isinstance(fails, int):
        assert told.exit_code == fails
    else:
        assert isinstance(told.exception, fails)
        return str(told.exception)
    return json.loads(told.output) if "--json" in words else told.output


def test_the_loop_from_the_command_line(place, tmp_path):
    first = gaelp(place, "check", "--who", "ann", "--request-id", "a", "--json")
    assert (first["status"], first["champion"], first["trigger"]) == ("retrained", "v000001", "manual")
    assert gaelp(place, "check", "--request-id", "a", "--json")["run_id"] == first["run_id"]
    said = gaelp(place, "check", "--force", "--who", "ann")
    assert said.startswith("challenger_rejected: v000002") and "logloss of the champion" in said
    assert gaelp(place, "run-due") == "nothing is due\n"
    moved = gaelp(place, "promote", "v000002", "--why", "a trial", "--json")
    assert moved["aliases"] == {"champion": "v000002", "challenger": None, "previous": "v000001"}
    assert "champion v000001" in gaelp(place, "rollback", "--why", "enough", "--who", "ann")
    history = gaelp(place, "history", "--json")
    assert sorted(run["status"] for run in history["runs"]) == ["challenger_rejected", "retrained"]
    assert [move["action"] for move in history["moves"]][-2:] == ["promote", "rollback"]
    assert "champion v000001" in gaelp(place, "history")


def test_what_did_not_work_has_an_exit_code(place, tmp_path):
    with alone_in(place.database):
        assert "locked" in gaelp(place, "check", fails=1)
    gaelp(place, "check")
    (place.registry.get("champion").folder / "model.ubj").write_bytes(b"x")
    assert gaelp(place, "check", "--force", "--json", fails=1)["status"] == "error"
    assert "Did you mean 'daily'" in gaelp(place, "check", "--trigger", "dayly", fails=UnknownName)
    assert "must be there" in gaelp(place, "check", "--database", f"{tmp_path}/no.db", fails=BadInput)
    config = tmp_path / "bad.toml"
    config.write_text("[retraining]\nrules = 1\n")
    assert "Did you mean 'rule'" in gaelp(place, "check", "--config", str(config), fails=UnknownName)
