"""Ends and deaths: what was served is recorded, what was asked is answered, and the service goes on."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.journeys.database import Database
from gaelp.prediction.accuracy import AccuracyTracker
from gaelp.prediction.schema import prediction_records
from gaelp.service.running import run
from gaelp.service.settings import Settings

from .conftest import PATIENCE_S
from .world import A_DAY, FEATURES, promote, tell

SLOW = "search = 1000"  # a thousand trainings: minutes


def count(folder):
    database = Database(f"sqlite:///{folder}/service.db")
    with database.reading() as connection:
        found = connection.execute(sa.select(sa.func.count()).select_from(prediction_records)).scalar()
    database.close()
    return found


def retrainer_of(service):
    """The process that retrains, by its parent."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


@pytest.fixture
def ask(model, tmp_path, now):
    promote(tmp_path / "models", model, now - 20 * A_DAY)

    def predict(service, n):
        rows = [{"video_id": "clip", "features": FEATURES}] * n
        answer = service.call("POST", "/api/ml/predict/batch", json={"rows": rows})
        assert answer.status_code == 200

    return predict


def test_what_was_served_is_recorded_before_the_service_ends_but_what_the_queue_could_not_hold(
    start, ask, tmp_path
):
    service = start(tmp_path, settings="record_every_s = 3600\nrecord_queue = 250")
    ask(service, 280)
    assert count(tmp_path) == 0
    assert service.metric('gaelp_predictions_lost_total{why="queue_full"}') == 30
    assert service.stop(signal.SIGTERM) == 0, service.log.read_text()
    assert count(tmp_path) == 250


def test_a_dead_retrainer_is_started_again_and_nothing_served_is_lost(start, ask, tmp_path):
    service = start(tmp_path, settings="record_every_s = 0.5")
    before = retrainer_of(service)
    os.kill(before, signal.SIGKILL)
    ask(service, 150)
    time.sleep(0.6)
    assert service.call("GET", "/api/ml/stats").status_code == 200
    assert retrainer_of(service) != before
    assert service.purchase("order-1").status_code == 202
    assert service.stop(signal.SIGINT) == 0
    assert count(tmp_path) == 150


def test_predictions_go_on_during_a_retraining_which_a_stop_ends(start, ask, tmp_path, now):
    tell(f"{tmp_path}/service.db", now, n=50)
    service = start(tmp_path, settings="grace_s = 1", retraining=SLOW)
    answers = []
    caller = threading.Thread(
        target=lambda: answers.append(service.call("POST", "/api/ml/check-retrain", json={"force": True}))
    )
    caller.start()
    while [each["status"] for each in service.call("GET", "/api/ml/stats").json()["runs"]] != ["running"]:
        time.sleep(0.1)
    locked = service.call("POST", "/api/ml/check-retrain")
    assert (locked.status_code, locked.json()["status"]) == (409, "locked")
    ask(service, 5)
    assert service.purchase("order-1").status_code == 202
    assert not answers
    assert service.stop() == 0
    caller.join(30)
    assert answers[0].status_code == 503 and answers[0].json()["error"] == "unavailable"
    assert count(tmp_path) == 50 * 14 + 5


def test_a_service_that_cannot_open_its_database_says_why(tmp_path):
    ran = fail_to_serve(tmp_path, "mysql://x", told_by="environment")
    assert ran.returncode == 2 and "DATABASE_URL" in ran.stderr and "must be sqlite:///FILE" in ran.stderr


@pytest.mark.parametrize("told_by", ["option", "environment", "file"])
@pytest.mark.parametrize(
    ("name", "said"),
    [("no/such.db", "unable to open"), ("bad.db", "not a database"), ("page.db", "malformed")],
)
def test_a_database_that_cannot_be_used_is_told_once_by_the_name_it_was_given_by(
    tmp_path, told_by, name, said
):
    (tmp_path / "bad.db").write_bytes(b"no database " * 1000)
    with (
        AccuracyTracker(f"sqlite:///{tmp_path}/page.db") as tracker,
        tracker.database.reading() as connection,
    ):
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'alembic_version_prediction'"
        page = connection.exec_driver_sql(query).scalar_one()
    with open(tmp_path / "page.db", "r+b") as file:  # one page is damaged; the tables of journeys are whole
        file.seek((page - 1) * 4096)
        file.write(b"\xaa" * 4096)
    ran = fail_to_serve(tmp_path, f"sqlite:///{name}", told_by=told_by)
    assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 1, ran.stderr
    shown = {"option": "--database", "environment": "DATABASE_URL", "file": "database"}[told_by]
    assert ran.stderr.startswith(f"error: `{shown}` was ") and said in ran.stderr


def fail_to_serve(folder, database, *, told_by):
    """Start a service as it is typed, which must end by itself."""
    command = [sys.executable, "-m", "gaelp.cli.main", "serve", "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    if told_by == "option":
        command += ["--database", database]
    elif told_by == "environment":
        environment["DATABASE_URL"] = database
    else:
        (folder / "gaelp.toml").write_text(f'[service]\ndatabase = "{database}"\n')
        command += ["--config", "gaelp.toml"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )


def test_a_service_without_keys_listens_on_its_own_machine_only(tmp_path):
    with pytest.raises(BadInput, match="gaelp serve keys add"):
        run(Settings(host="0.0.0.0", models=tmp_path / "models", keys=tmp_path / "keys.json"))


def test_an_address_that_is_taken_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match="must be an address to listen on"):
            run(Settings(port=port, models=tmp_path / "models", keys=tmp_path / "keys.json"))
