"""A real service in a process of its own, on a free port of this machine, with a world behind it."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gaelp.service.keys import SCOPES, KeyFile
from gaelp.service.webhook import read_secret, sign

from ..journeys.conftest import Postgres
from .world import save_model

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SERVE = "import sys; from gaelp.cli.serve import serve_app; serve_app(sys.argv[1:])"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """A new database of each kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").new_database()
    return f"sqlite:///{tmp_path}/service.db"


@dataclass
class Running:
    """A service that runs."""

    process: subprocess.Popen
    url: str
    key: str
    keys: KeyFile
    log: Path
    client: httpx.Client

    def call(self, method, path, key=None, **more):
        headers = {"Authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    def purchase(self, event_id, at_s=None, **changes):
        at_s = int(time.time()) if at_s is None else at_s
        body = json.dumps(
            {"at": dt.datetime.now(dt.UTC).isoformat(), "value_micros": 5_000_000, **changes}
        ).encode()
        return self.call("POST", "/api/events/purchase", content=body, headers=signed(event_id, at_s, body))

    def metric(self, start):
        """The sum of the counts whose lines start so."""
        lines = self.call("GET", "/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))

    def stop(self, number=signal.SIGTERM):
        """End it; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def signed(event_id, at_s, body, secret=SECRET):
    """Headers of a webhook."""
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": sign(read_secret(secret), event_id, at_s, body),
        "content-type": "application/json",
    }


@pytest.fixture(scope="session")
def now():
    """The services' clock is the real one, so their worlds end now."""
    return dt.datetime.now(dt.UTC)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A model's folder."""
    return save_model(tmp_path_factory.mktemp("model") / "champion")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start services; whatever still runs at the end is ended."""
    started = []

    def begin(folder, settings="", retraining="", database=None):
        config = folder / "gaelp.toml"
        config.write_text(f"[service]\nport = 0\n{settings}\n[retraining]\n{retraining}\n")
        keys = KeyFile(folder / "keys.json")
        key, _ = keys.add("test", SCOPES, now=dt.datetime.now(dt.UTC))
        options = ("--config", config, "--models", folder / "models", "--keys", folder / "keys.json")
        database = database or f"sqlite:///{folder}/service.db"
        command = [sys.executable, "-c", SERVE, "--database", database, *map(str, options)]
        log = folder / f"log-{len(started)}"  # of this start, also where another runs in the same folder
        with open(log, "w") as file:
            environment = {**os.environ, "GAELP_WEBHOOK_SECRETS": SECRET}
            process = subprocess.Popen(command, stderr=file, stdout=file, env=environment)
        end = time.monotonic() + PATIENCE_S
        while "listening on " not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                pytest.fail(log.read_text())
            time.sleep(0.05)
        url = log.read_text().partition("listening on ")[2].split()[0]
        client = httpx.Client(base_url=url, timeout=PATIENCE_S)
        started.append((process, client))
        return Running(process, url, key, keys, log, client)

    yield begin
    for process, client in started:
        client.close()
        process.kill()
        process.wait()
