"""What the journey database costs, on SQLite or, with DATABASE_URL, on PostgreSQL.

Beside each figure stands a baseline measured in the same run: the plain `sqlite3` module on a bare table with
the same two keys (`append`, `look-up`, `reads during writes`), which knows no people, journeys or repeats. A
slower append slows every simulation and import that is kept; a slower look-up or settling slows each answer
of the service; a read that fails is an error on somebody's dashboard.

    python benchmarks/journeys.py
    python benchmarks/journeys.py --touchpoints 10000000
"""

import argparse
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from gaelp.core.words import TouchKind
from gaelp.journeys.batch import Coded, EventBatch
from gaelp.journeys.rewards import RewardLedger
from gaelp.journeys.store import JourneyStore

PER_PERSON, CALL, N_LOOK_UPS = 10, 1_000_000, 2_000
BEGIN_US, DAY_US = 1_767_225_600_000_000, 86_400_000_000
NOW_US = BEGIN_US + 14 * DAY_US
BARE = """CREATE TABLE touch (
    person INTEGER, at INTEGER, event TEXT, kind INTEGER, channel INTEGER, device INTEGER, rival INTEGER,
    stage INTEGER, cost INTEGER, currency INTEGER, PRIMARY KEY (person, at, event)
) WITHOUT ROWID"""
SELECT = "SELECT * FROM touch WHERE person = ? ORDER BY at"


def people(first, n_people, seed):
    """Touches of some people over thirteen days, person by person."""
    rng = np.random.default_rng(seed)
    n = n_people * PER_PERSON
    at_us = BEGIN_US + np.sort(rng.integers(0, 13 * DAY_US, (n_people, PER_PERSON)), axis=1).ravel()
    nothing = np.full(n, -1)
    return EventBatch(
        person=Coded(
            [f"person-{first + i:08d}" for i in range(n_people)], np.repeat(np.arange(n_people), PER_PERSON)
        ),
        event_id=[f"sim:{first * PER_PERSON + i:010d}" for i in range(n)],
        at_us=at_us,
        kind=np.full(n, TouchKind.CLICK, np.uint8),
        channel=Coded(("search", "social", "video", "display"), rng.integers(0, 4, n)),
        device=Coded(("mobile", "desktop"), rng.integers(0, 2, n)),
        rival=Coded((), nothing),
        stage=np.zeros(n, np.uint8),
        cost_micros=rng.integers(0, 2_000_000, n),
        value_micros=np.zeros(n, np.int64),
        currency=Coded(("USD",), np.zeros(n, np.int64)),
        booked_us=at_us,
    )


def bare_database(path):
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "cache_size = -65536",
        "busy_timeout = 60000",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(BARE)
    connection.execute("CREATE UNIQUE INDEX event ON touch (event)")
    return connection


def bare_append(connection, batch, first):
    """The same rows, their codes known beforehand."""
    zeros = [0] * len(batch)
    rows = zip(
        (batch.person.code + first).tolist(),
        batch.at_us.tolist(),
        batch.event_id,
        batch.kind.tolist(),
        batch.channel.code.tolist(),
        batch.device.code.tolist(),
        zeros,
        zeros,
        batch.cost_micros.tolist(),
        zeros,
        strict=True,
    )
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO touch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
    )
    connection.execute("COMMIT")


def seconds(call, *arguments, clock=time.perf_counter):
    start = clock()
    call(*arguments)
    return clock() - start


def wall_and_cpu(call, *arguments):
    """Seconds on the wall, and of the processor; they part where others use the machine."""
    cpu = time.process_time()
    wall = seconds(call, *arguments)
    return np.array([wall, time.process_time() - cpu])


def each_us(call, arguments):
    """Single calls, microseconds: median and 99th percentile on the wall, mean of the processor's time."""
    call(arguments[0])
    cpu = time.process_time()
    times = [seconds(call, argument) * 1e6 for argument in arguments]
    cpu = (time.process_time() - cpu) / len(arguments) * 1e6
    return statistics.median(times), float(np.percentile(times, 99)), cpu


def during(write, read, n_writes):
    """Read in a second thread while writing: times of the reads, microseconds, and how many failed."""
    done, times, failed = threading.Event(), [], []

    def look():
        while not done.is_set():
            try:
                times.append(seconds(read) * 1e6)
            except Exception as error:
                failed.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for i in range(n_writes):
        write(i)
    done.set()
    reader.join()
    return times, len(failed)


def row(what, unit, ours, bare=None, note="", cpu=None):
    cells = [ours, cpu, bare, None if bare is None else ours / bare]
    text = " ".join(" " * 10 if cell is None else f"{cell:10.2f}" for cell in cells)
    print(f"{what:32} {unit:>14} {text}  {note}", flush=True)


def appending(store, bare, n_people):
    """Everybody, in calls of a million touchpoints; then five thousand people again."""
    ours, bare_s = np.zeros(2), 0.0
    step = min(CALL // PER_PERSON, n_people)
    for first in range(0, n_people, step):
        batch = people(first, min(step, n_people - first), seed=first)
        bare_s += seconds(bare_append, bare, batch, first)
        ours += wall_and_cpu(store.append, batch, NOW_US)
    total = n_people * PER_PERSON / 1e6
    row("append, new people", "us/touchpoint", ours[0] / total, bare_s / total, cpu=ours[1] / total)
    again = people(0, step, seed=0).take(np.arange(min(step, 5_000) * PER_PERSON))
    total = len(again) / 1e6
    ours, bare_s = wall_and_cpu(store.append, again, NOW_US), seconds(bare_append, bare, again, 0)
    row("append, all told before", "us/touchpoint", ours[0] / total, bare_s / total, cpu=ours[1] / total)


def live(store, bare, n_people):
    """Single look-ups, and single touches of people who are known."""
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, n_people, N_LOOK_UPS).tolist()
    ours = each_us(lambda i: store.journey(f"person-{i:08d}", NOW_US), chosen)
    theirs = each_us(lambda i: bare.execute(SELECT, (i,)).fetchall(), chosen)
    row("look-up of one journey, median", "us", ours[0], theirs[0], cpu=ours[2])
    row("look-up of one journey, 99 %", "us", ours[1], theirs[1])

    def one_touch(i):
        batch = people(chosen[i], 1, seed=0).take(np.array([0]))
        batch.event_id[0] = f"live:{i}"
        store.append(batch, NOW_US)

    times = np.array([wall_and_cpu(one_touch, i) for i in range(300)]) * 1e6
    row("append of one touch, median", "us", np.median(times[:, 0]), cpu=np.median(times[:, 1]))


def together(store, bare, url, bare_path, n_people):
    """Reads in one thread while another appends two hundred people at a time."""
    n_writes = 40

    def write(i):
        store.append(people(n_people + i * 200, 200, seed=i), NOW_US)

    def write_bare(i):
        bare_append(bare, people(n_people + i * 200, 200, seed=i), n_people + i * 200)

    with JourneyStore(url) as other:
        times, failed = during(write, lambda: other.journey("person-00000000", NOW_US), n_writes)
        counts, failed_counts = during(lambda i: write(i + n_writes), lambda: other.stages(NOW_US), n_writes)
    reader = sqlite3.connect(bare_path, isolation_level=None, check_same_thread=False)
    theirs, _ = during(write_bare, lambda: reader.execute(SELECT, (0,)).fetchall(), n_writes)
    reader.close()
    note = f"{len(times):,} reads, {failed} failed"
    row("look-up during writes, median", "us", np.median(times), np.median(theirs), note)
    row("look-up during writes, 99 %", "us", np.percentile(times, 99), np.percentile(theirs, 99))
    note = f"{len(counts):,} reads, {failed_counts} failed"
    row("stages during writes, median", "us", np.median(counts), note=note)


def in_bulk(store, n_people):
    """Out as arrays; and, at sizes at which that does not take minutes, everybody's rewards."""
    if n_people * PER_PERSON > CALL:
        return
    start = time.perf_counter()
    table = store.table(NOW_US)
    row("table of all journeys", "us/touchpoint", (time.perf_counter() - start) / table.n_touches * 1e6)
    start = time.perf_counter()
    entries = RewardLedger(store).settle(NOW_US + 14 * DAY_US)
    row("settle, everybody lost", "us/entry", (time.perf_counter() - start) / len(entries.event_id) * 1e6)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--touchpoints", type=int, default=200_000, metavar="N")
    parser.add_argument("--folder", default=None, help="where the files go; default: a temporary folder")
    asked = parser.parse_args()
    n_people = asked.touchpoints // PER_PERSON
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        url = os.environ.get("DATABASE_URL") or f"sqlite:///{folder}/journeys.db"
        bare_path = Path(folder) / "bare.db"
        bare = bare_database(bare_path)
        with JourneyStore(url) as store:
            backend = "SQLite" if store.database.is_sqlite else "PostgreSQL"
            print(f"{asked.touchpoints:,} touchpoints of {n_people:,} people on {backend}")
            print(f"{'':32} {'unit':>14} {'ours':>10} {'ours, cpu':>10} {'sqlite3':>10} {'ratio':>10}")
            appending(store, bare, n_people)
            live(store, bare, n_people)
            together(store, bare, url, bare_path, n_people)
            in_bulk(store, n_people)
        bare.close()
        if files := list(Path(folder).glob("journeys.db*")):
            size = sum(file.stat().st_size for file in files) / asked.touchpoints
            row("on the disk", "byte/touch", size, bare_path.stat().st_size / asked.touchpoints)


if __name__ == "__main__":
    main()
