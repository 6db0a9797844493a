"""How long one prediction takes over HTTP while requests keep coming, answered or not.

The server runs on one core, this client on another. Arrivals are Poisson at a fixed rate. A request's time
counts from the moment it was due, so a server that stalls is charged for everybody who had to wait (no
co-ordinated omission). Model, keys, database and recording are the real ones. Exit code 1 where p99 is over
the limit, or an answer is missing.

    python benchmarks/service.py --rate 500 --seconds 20 --limit-ms 10
    python benchmarks/service.py --retraining     # the same while a retraining runs on the server's core

A regression means that bids and page views wait for predictions, or are made without them.
"""

import argparse
import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from gaelp.data.tables import CodedColumn
from gaelp.prediction.accuracy import AccuracyTracker, Outcome, Served
from gaelp.prediction.examples import Columns, Examples
from gaelp.prediction.model import save
from gaelp.prediction.registry import Lineage, Registry
from gaelp.prediction.training import Recipe, train
from gaelp.service.keys import KeyFile

COLUMNS = Columns(label="click", numeric=tuple(f"x{i}" for i in range(8)), categorical=("site", "device"))
SITES, DEVICES = tuple(f"site-{i}" for i in range(50)), ("desktop", "mobile", "tablet")
SERVE = "from gaelp.cli.serve import serve_app; serve_app()"
WARM_UP_S = 2.0
CONNECTIONS = 64


def creatives(n: int, seed: int) -> tuple[Examples, np.ndarray]:
    """Rows of eight numbers and two words, and the chance of a click."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8))
    site, device = rng.integers(0, 50, n), rng.integers(0, 3, n)
    logit = -2.5 + x @ np.linspace(0.3, 0.0, 8) + np.linspace(-0.8, 0.8, 50)[site] + 0.2 * device
    chance = 1 / (1 + np.exp(-logit))
    coded = (
        CodedColumn("site", site.astype(np.int32), SITES),
        CodedColumn("device", device.astype(np.int32), DEVICES),
    )
    return Examples(COLUMNS, rng.random(n) < chance, x, coded), chance


def cells(examples: Examples) -> list[dict[str, Any]]:
    """Rows as a request holds them."""
    site, device = examples.categorical
    return [
        {
            **{f"x{i}": round(float(value), 4) for i, value in enumerate(examples.numeric[row])},
            "site": SITES[site.codes[row]],
            "device": DEVICES[device.codes[row]],
        }
        for row in range(len(examples))
    ]


def set_up(folder: Path, now: dt.datetime) -> str:
    """A champion, two weeks of predictions to learn from, and a key."""
    model = train(creatives(60_000, 0)[0], Recipe(holdout=0.0))
    save(model, folder / "model")
    registry = Registry(folder / "models")
    version = registry.register(
        folder / "model", Lineage.of_model(folder / "model"), who="bench", why="speed", now=now
    )
    registry.promote(version.name, who="bench", why="speed", now=now)
    examples, chance = creatives(3_000, 1)
    rng, ids = np.random.default_rng(2), [f"p{i}" for i in range(len(examples))]
    days = [now.date() - dt.timedelta(days=int(i)) for i in rng.integers(1, 15, len(examples))]
    with AccuracyTracker(f"sqlite:///{folder}/service.db") as tracker:
        tracker.record(
            Served(
                prediction_id=id_,
                model_version=version.name,
                video_id=id_,
                predicted=float(p),
                at=dt.datetime.combine(day, dt.time(), dt.UTC),
                features=row,
            )
            for id_, p, row, day in zip(ids, chance, cells(examples), days, strict=True)
        )
        clicks = rng.binomial(400, chance)
        tracker.match(
            (
                Outcome(prediction_id=id_, day=day, trials=400, events=int(k))
                for id_, day, k in zip(ids, days, clicks, strict=True)
            ),
            now,
        )
    return KeyFile(folder / "keys.json").add("bench", ["predict", "retrain", "read"], now=now)[0]


def start(folder: Path, core: int) -> tuple[subprocess.Popen[str], str]:
    """The server on its core, and its address."""
    options = ("--port", "0", "--database", f"sqlite:///{folder}/service.db")
    places = ("--models", folder / "models", "--keys", folder / "keys.json")
    command = ("taskset", "-c", str(core), sys.executable, "-c", SERVE, *options, *map(str, places))
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith("listening on "):
            return server, line.split()[-1]
    raise SystemExit("the server did not start")


def cpu_seconds(pid: int) -> float:
    """Of the processor that a process has had."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


class Connection(asyncio.Protocol):
    """One that is kept open; answers come in the order of requests, one at a time."""

    def __init__(self, client: "Client") -> None:
        self.client, self.buffer, self.due = client, b"", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self.client.idle:  # the server closes what has been idle for some seconds
            self.client.idle.remove(self)
        else:
            self.client.lost += 1

    def ask(self, due: float, request: bytes) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self.buffer = b""
        self.client.answered(self, head.startswith(b"HTTP/1.1 200"))


class Client:
    """Sends when it is time, and notes how long after that the answer came."""

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.late: deque[tuple[float, bytes]] = deque()
        self.seconds: list[float] = []
        self.refused = self.lost = 0

    def send(self, due: float, request: bytes) -> None:
        if self.idle:
            self.idle.pop().ask(due, request)
        else:
            self.late.append((due, request))

    def answered(self, connection: Connection, well: bool) -> None:
        self.seconds.append(time.perf_counter() - connection.due)
        self.refused += not well
        if self.late:
            connection.ask(*self.late.popleft())
        else:
            self.idle.append(connection)


async def load(url: str, key: str, rate: float, seconds: float, seed: int) -> Client:
    """Requests for so long."""
    address = httpx.URL(url)
    client, loop = Client(), asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        _, connection = await loop.create_connection(lambda: Connection(client), address.host, address.port)
        client.idle.append(connection)
    head = f"POST /api/ml/predict HTTP/1.1\r\nHost: {address.host}\r\nAuthorization: Bearer {key}\r\n"
    bodies = [json.dumps({"video_id": "clip", "features": row}) for row in cells(creatives(500, 3)[0])]
    requests = [
        f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        for body in bodies
    ]
    gaps = np.random.default_rng(seed).exponential(1 / rate, round(rate * seconds))
    due = time.perf_counter() + 0.1
    for number, gap in enumerate(gaps):
        due += gap
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        client.send(due, requests[number % len(requests)])
    end = time.perf_counter() + 10
    while len(client.seconds) < gaps.size and time.perf_counter() < end and not client.lost:
        await asyncio.sleep(0.01)
    return client


def main() -> int:
    """Print the figures; 1 where they are over the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--limit-ms", type=float, default=10.0, help="of p99")
    parser.add_argument("--retraining", action="store_true", help="have the service retrain meanwhile")
    parser.add_argument("--runs", type=int, default=3, help="the median of their p99 counts")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    now = dt.datetime.now(dt.UTC)
    with tempfile.TemporaryDirectory() as folder:
        key = set_up(Path(folder), now)
        server, url = start(Path(folder), cores[0])
        os.sched_setaffinity(0, {cores[-1]})
        try:
            asyncio.run(load(url, key, asked.rate, WARM_UP_S, 0))
            p99s, missing = [], 0
            where = f"server on core {cores[0]}, client on core {cores[-1]}"
            print(f"{asked.rate:g} requests/s for {asked.seconds:g} s, {where}")
            names = ("ms", "p50", "p99", "p99.9", "max", "cpu each", "answers", "refused")
            print(" ".join(f"{name:>8}" for name in names))
            for run in range(asked.runs):
                retraining = retrain(url, key) if asked.retraining else None
                before = cpu_seconds(server.pid)
                client = asyncio.run(load(url, key, asked.rate, asked.seconds, run + 1))
                cpu_ms = 1000 * (cpu_seconds(server.pid) - before) / max(len(client.seconds), 1)
                ms = 1000 * np.array(client.seconds)
                p50, p99, p999 = np.percentile(ms, (50, 99, 99.9))
                p99s.append(p99)
                missing += round(asked.rate * asked.seconds) - ms.size + client.refused
                told = f"{p50:8.2f} {p99:8.2f} {p999:8.2f} {ms.max():8.2f} {cpu_ms:8.3f}"
                print(f"{'':8} {told} {ms.size:8} {client.refused:8}")
                if retraining is not None:
                    print(f"retraining meanwhile: {retraining.communicate()[0]}")
            counts = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"}).text
            lost = [line for line in counts.splitlines() if line.startswith("gaelp_predictions_lost_total{")]
            print("predictions lost:", lost or 0)
        finally:
            server.terminate()
            server.wait(60)
    median = float(np.median(p99s))
    print(
        f"p99, median of {asked.runs} runs: {median:.2f} ms, limit {asked.limit_ms:g} ms; missing: {missing}"
    )
    return int(median > asked.limit_ms or missing > 0 or bool(lost))


def retrain(url: str, key: str) -> "subprocess.Popen[str]":
    """Ask for a retraining, and leave it running."""
    command = ("curl", "-s", "-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json")
    force = ("-d", '{"force": true}', "-o", "/dev/null", "-w", "%{http_code} after %{time_total} s")
    return subprocess.Popen(
        [*command, *force, f"{url}/api/ml/check-retrain"], stdout=subprocess.PIPE, text=True
    )


if __name__ == "__main__":
    sys.exit(main())
