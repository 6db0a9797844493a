"""The cron script against a real service, in every outcome of a run and of the script itself."""

import fcntl
import http.server
import json
import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from gaelp.prediction.lock import alone

from .world import A_DAY, forget, promote, tell

SCRIPT = Path(__file__).parents[2] / "scripts" / "cron_retrain.sh"
LOOP = """
rule = "compatible"
mae_limit = 0.012   # a right model is below it at 600 impressions a row, above it at 100
least_gain = 0.02   # so that a challenger as good as the champion is rejected, whatever luck says
"""


class Receiver:
    """Takes posts, and answers them as told."""

    def __init__(self):
        self.got, self.answers = [], []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                receiver.got.append(self.rfile.read(int(self.headers["content-length"])))
                status, body = receiver.answers.pop(0) if receiver.answers else (200, b"ok")
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def texts(self):
        return [json.loads(each)["text"] for each in self.got]


@contextmanager
def receiving():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def slack():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def other():
    """What is no service of ours, or is broken."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cron")


@pytest.fixture(scope="module")
def service(start, folder):
    return start(folder, settings="poll_s = 3600", retraining=LOOP)


@pytest.fixture
def cron(service, slack, tmp_path):
    def run(**changes):
        environment = {
            "PATH": os.environ["PATH"],
            "ML_SERVICE_URL": service.url,
            "ML_SERVICE_KEY": service.key,
            "SLACK_WEBHOOK_URL": f"{slack.url}/hook",
            "LOG_FILE": str(tmp_path / "cron.log"),
            "LOCK_FILE": str(tmp_path / "lock"),
            "TMPDIR": str(tmp_path),
            **changes,
        }
        return subprocess.run(["sh", SCRIPT], env=environment, capture_output=True, text=True, timeout=120)

    return run


@contextmanager
def nothing_yet(folder, model, now):
    yield


@contextmanager
def nothing_but_outcomes(folder, model, now):
    tell(f"{folder}/service.db", now)
    yield


@contextmanager
def a_model_that_is_right(folder, model, now, trials=600):
    version = promote(folder / "models", model, now - 20 * A_DAY)
    tell(f"{folder}/service.db", now, version=version, trials=trials)
    yield


@contextmanager
def a_model_that_is_right_of_few_impressions(folder, model, now):
    with a_model_that_is_right(folder, model, now, trials=100):
        yield


@contextmanager
def a_model_that_grew_wrong_after_another(folder, model, now):
    promote(folder / "models", model, now - 30 * A_DAY)
    version = promote(folder / "models", model, now - 20 * A_DAY)
    tell(f"{folder}/service.db", now, version=version, shift=0.8)
    yield


@contextmanager
def somebody_else_at_work(folder, model, now):
    with alone(f"{folder}/service.db.retraining", patience_s=0):
        yield


@contextmanager
def a_champion_whose_files_are_gone(folder, model, now):
    with a_model_that_is_right(folder, model, now, trials=100):
        (folder / "models" / "versions" / "v000001" / "model" / "manifest.json").unlink()
        yield


@pytest.mark.parametrize(
    ("world", "status", "code", "is_told"),
    [
        (nothing_yet, "insufficient_data", 13, False),
        (nothing_but_outcomes, "retrained", 10, True),
        (a_model_that_is_right, "no_retrain_needed", 0, False),
        (a_model_that_is_right_of_few_impressions, "challenger_rejected", 11, True),
        (a_model_that_grew_wrong_after_another, "rolled_back", 12, True),
        (somebody_else_at_work, "locked", 14, False),
        (a_champion_whose_files_are_gone, "error", 1, True),
    ],
)
def test_each_outcome_of_a_run_has_its_exit_code(
    cron, service, slack, folder, model, now, tmp_path, world, status, code, is_told
):
    forget(folder)
    with world(folder, model, now):
        ran = cron()
    assert ran.returncode == code, ran.stderr + service.log.read_text()
    assert f" {status}: " in ran.stderr and f"(exit {code})" in ran.stderr
    assert (tmp_path / "cron.log").read_text() == ran.stderr
    assert [f": {status}. " in each for each in slack.texts()] == [True] * is_told
    if status != "locked":
        run = service.call("GET", "/api/ml/stats").json()["runs"][0]
        assert (run["status"], run["trigger"], run["who"]) == (status, "daily", "api:test")
        assert run["request_id"].startswith("cron-")
    assert not list(tmp_path.glob("tmp.*"))


def test_keys_and_addresses_with_secrets_are_in_no_log(cron, service, slack, tmp_path):
    slack.answers = [(500, b"")] * 3
    address = service.url.replace("://", "://me:hunter2@")
    ran = cron(ML_SERVICE_KEY="gaelp_00000000_" + "a" * 43, ML_SERVICE_URL=address)
    told = ran.stdout + ran.stderr + (tmp_path / "cron.log").read_text()
    assert ran.returncode == 5 and "HTTP 401" in told and service.url in told
    told += str(slack.texts())
    assert "aaaa" not in told and "/hook" not in told and "hunter2" not in told


def test_slack_is_told_again_when_it_fails_and_may_fail_for_good(cron, slack):
    slack.answers = [(500, b"")]
    ran = cron(ML_SERVICE_KEY="wrong")
    assert (ran.returncode, len(slack.got)) == (5, 2)
    slack.answers = [(500, b"")] * 3
    ran = cron(ML_SERVICE_KEY="wrong")
    assert (ran.returncode, len(slack.got)) == (5, 5) and "Slack could not be told" in ran.stderr
    assert cron(ML_SERVICE_KEY="wrong", SLACK_WEBHOOK_URL="").returncode == 5
    assert len(slack.got) == 5


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            b'{"status":"retrained","message":"a \\"better\\" one: <v2> & more \\u20ac \\\\ end"}',
            'a "better" one: &lt;v2&gt; &amp; more € \\ end',
        ),
        (b'{"status": "retrained", "figures": {"status": "x"}, "message": "v2."}', "v2."),
    ],
)
def test_any_message_reaches_slack_as_it_is(cron, slack, other, reply, text):
    other.answers = [(200, reply)]
    ran = cron(ML_SERVICE_URL=other.url)
    assert ran.returncode == 10 and len(slack.got) == 1
    assert slack.texts()[0].endswith(f": retrained. {text}")


def test_each_failure_of_the_script_has_its_exit_code(cron, slack, other, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert cron(ML_SERVICE_URL=f"http://127.0.0.1:{port}", TIMEOUT_S="1").returncode == 4
    assert cron(ML_SERVICE_URL=f"http://127.0.0.1:{port}").returncode == 3
    assert len(slack.texts()) == 2
    for answer in ((200, b"hello"), (500, b"hello"), (302, b"")):
        other.answers = [answer] * 3
        assert cron(ML_SERVICE_URL=other.url).returncode == 6
    for wrong in (
        {"ML_SERVICE_KEY": ""},
        {"ML_SERVICE_KEY": 'a"b'},
        {"ML_SERVICE_KEY": "", "ML_SERVICE_KEY_FILE": "/nowhere"},
        {"ML_SERVICE_URL": ""},
        {"TIMEOUT_S": "long"},
        {"TRIGGER": "purchase"},
        {"LOCK_FILE": "/nowhere/lock"},
    ):
        assert cron(**wrong).returncode == 2, wrong
    with open(tmp_path / "lock", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cron().returncode == 15


def test_the_key_may_be_in_a_file_and_what_is_no_failure_may_be_zero(cron, service, folder, tmp_path):
    forget(folder)
    (tmp_path / "key").write_text(service.key + "\n")
    ran = cron(ML_SERVICE_KEY="", ML_SERVICE_KEY_FILE=str(tmp_path / "key"), ZERO_FOR_OK="1")
    assert ran.returncode == 0 and "(exit 13)" in ran.stderr
    assert cron(ML_SERVICE_KEY="wrong", ZERO_FOR_OK="1").returncode == 5
