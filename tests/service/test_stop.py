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
from gaelp.prediction.schema import prediction_records
from gaelp.service.running import run
from gaelp.service.settings import Settings

from .conftest import PATIENCE_S, SERVE
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
    command = [sys.executable, "-c", SERVE, "--port", "0", "--database", "mysql://x"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode != 0 and "DATABASE_URL" in ran.stderr and "must be sqlite:///FILE" in ran.stderr


def test_a_service_without_keys_listens_on_its_own_machine_only(tmp_path):
    with pytest.raises(BadInput, match="gaelp serve keys add"):
        run(Settings(host="0.0.0.0", models=tmp_path / "models", keys=tmp_path / "keys.json"))


def test_an_address_that_is_taken_is_refused(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match="must be an address to listen on"):
            run(Settings(port=port, models=tmp_path / "models", keys=tmp_path / "keys.json"))
