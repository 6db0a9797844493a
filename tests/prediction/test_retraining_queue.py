"""Runs take turns, purchases share one, and whoever is killed leaves whole models and a row that says so."""

import datetime as dt
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.prediction.lock import Locked, alone_in
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.retraining import PurchaseSignal, Retrainer
from gaelp.prediction.runs import DIED
from gaelp.prediction.signals import CLOCK_SKEW_S

from ..journeys.conftest import Postgres
from .retrainers import LAX, NOW, buy
from .streams import fill, morning

PROGRAM = Path(__file__).parent / "retrainers.py"
HOUR = dt.timedelta(hours=1)


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


def filled(request, tmp_path):
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    else:
        url = f"sqlite:///{tmp_path}/queue.db"
    with Retrainer(url, tmp_path / "models", LAX) as opened:
        fill(opened.tracker, range(20))
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def retrainer(request, tmp_path):
    yield from filled(request, tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.study)])
def shared(request, tmp_path):
    """For tests that start processes, which takes seconds."""
    yield from filled(request, tmp_path)


def start(retrainer, work):
    url = retrainer.database.url.render_as_string(hide_password=False)
    command = [sys.executable, str(PROGRAM), work, url, str(retrainer.registry.folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def signal(number, **changes):
    return PurchaseSignal(**{"event_id": f"e{number}", "at": NOW, **changes})


def begin(process, mark=""):
    assert process.stdout.readline() == "ready\n"
    process.stdin.write(f"\n{mark}\n")
    process.stdin.flush()


def test_two_schedulers_at_once_and_one_runs(shared):
    with start(shared, "check") as other:
        begin(other)
        mine = shared.check(trigger="scheduled", who="scheduler", now=NOW, force=True)
        theirs = other.stdout.read().strip()
    assert sorted([mine.status, theirs]) == ["locked", "retrained"]
    assert [run["status"] for run in shared.runs.recent()] == ["retrained"]


def test_a_thousand_purchases_at_once_lead_to_one_run(shared):
    with start(shared, "buy") as other:
        begin(other, "a")
        found = buy(shared, "b")
        found += other.stdout.read().split()
    assert found.count("new") == 1000
    assert found.count("retrained") == 1 and set(found) <= {"new", "retrained", "locked"}
    runs = shared.runs.recent()
    assert [(run["trigger"], run["status"]) for run in runs] == [("purchase", "retrained")]
    waiting = shared.stats(NOW)["queue"]["waiting"]
    assert 0 <= waiting <= 1000 - LAX.least_signals
    assert shared.run_due(NOW + dt.timedelta(minutes=59)) is None  # too soon after the last
    if waiting >= LAX.least_signals:
        assert shared.run_due(NOW + HOUR).trigger == "purchase"
        assert shared.run_due(NOW + 3 * HOUR) is None  # nobody waits any more


def test_a_purchase_told_again_is_known_and_few_of_them_wait(retrainer):
    first, again, other = (
        retrainer.process_purchase_signal(signal(0, value_micros=value), now=now)
        for value, now in ((180_000_000, NOW), (180_000_000, NOW + HOUR), (1, NOW + HOUR))
    )
    assert (first.queued, first.reason, first.waiting) == (True, "new", 1)
    assert (again.queued, again.reason, again.waiting) == (False, "known", 1)
    assert (other.queued, other.reason, other.differs) == (False, "differs", ("value_micros",))
    assert retrainer.run_due(NOW + HOUR) is None
    for number in range(1, LAX.least_signals):
        retrainer.process_purchase_signal(signal(number, clicked_at=NOW - HOUR, prediction_id="p"), now=NOW)
    assert retrainer.stats(NOW)["queue"] == {"waiting": 50, "due": "purchase", "last_run": None}
    assert retrainer.run_due(NOW).trigger == "purchase"
    assert retrainer.stats(NOW)["queue"]["waiting"] == 0


def test_purchases_of_a_run_that_died_wait_again(retrainer):
    for number in range(60):
        retrainer.process_purchase_signal(signal(number), now=NOW)
    said = {"trigger": "purchase", "who": "queue", "target": "ctr", "request_id": None}
    retrainer.runs.begin(**said, now_us=0)
    assert retrainer.stats(NOW)["queue"]["waiting"] == 0
    assert len(retrainer.runs.bury(1)) == 1
    assert retrainer.runs.begin(**said, now_us=1, is_due=lambda _: None)[0] is None
    assert retrainer.stats(NOW)["queue"]["waiting"] == 60


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_id": ""},
        {"at": dt.datetime(2026, 3, 1)},
        {"at": NOW + HOUR},
        {"clicked_at": NOW + HOUR},
        {"value_micros": -1},
        {"value_micros": 1.5},
        {"prediction_id": "a\0"},
    ],
)
def test_a_purchase_that_cannot_be_is_refused(tmp_path, wrong):
    with Retrainer(tmp_path / "x.db", tmp_path / "models") as retrainer, pytest.raises(BadInput):
        retrainer.process_purchase_signal(signal(0, **wrong), now=NOW)


def test_the_clock_of_who_tells_a_purchase_may_be_a_little_ahead(tmp_path):
    with Retrainer(tmp_path / "x.db", tmp_path / "models") as retrainer:
        near = NOW + dt.timedelta(seconds=CLOCK_SKEW_S)
        told = retrainer.process_purchase_signal(signal(0, at=near, clicked_at=near), now=NOW)
        assert (told.queued, told.waiting) == (True, 1)
        with pytest.raises(BadInput, match=f"at most {CLOCK_SKEW_S} s ahead"):
            retrainer.process_purchase_signal(signal(1, at=near + dt.timedelta(microseconds=1)), now=NOW)


def test_runs_are_due_by_the_day_and_by_the_hour(tmp_path):
    config = RetrainConfig(daily_hour=2, every_hours=6)
    with Retrainer(tmp_path / "x.db", tmp_path / "models", config) as retrainer:
        found = []
        for hour in range(48):
            reply = retrainer.run_due(morning(5) + hour * HOUR)
            found += [] if reply is None else [(hour, reply.trigger)]
        hours = [(hour, "scheduled") for hour in (1, 7, 13, 19, 25, 31, 37, 43)]
        assert found == sorted([(0, "daily"), (24, "daily"), *hours])


def test_runs_of_a_clock_ahead_stop_nobody(tmp_path):
    config = RetrainConfig(daily_hour=2, every_hours=6, least_signals=1)
    with Retrainer(tmp_path / "x.db", tmp_path / "models", config) as retrainer:
        for trigger in ("manual", "daily", "scheduled"):
            retrainer.check(trigger=trigger, who="test", now=NOW.replace(year=2030))
        retrainer.process_purchase_signal(signal(0), now=NOW)
        found = [retrainer.run_due(NOW + minutes * HOUR / 60).trigger for minutes in (0, 1)]
        assert found == ["daily", "scheduled"]
        assert retrainer.stats(NOW)["queue"]["last_run"] == NOW.isoformat()
        retrainer.process_purchase_signal(signal(1), now=NOW)
        assert retrainer.run_due(NOW + HOUR) is None  # an hour after the first, not after the last
        assert retrainer.run_due(NOW + 2 * HOUR).trigger == "purchase"


def test_a_lock_is_held_by_one_thread_and_freed(retrainer):
    found = []

    def take():
        try:
            with alone_in(retrainer.database):
                found.append("held")
                time.sleep(0.5)
        except Locked:
            found.append("locked")

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["held", "locked", "locked", "locked"]
    take()
    assert found[-1] == "held"


def kill_often(retrainer, times):
    """Kill a program that trains, then promotes and rolls back, at random moments.

    Every second one is killed after its first run, among promotions and roll-backs, or in the next run.

    Returns:
        How many died in a run.
    """
    rng, died = np.random.default_rng(times), 0
    for number in range(times):
        with start(retrainer, "move") as mover:
            assert mover.stdout.readline() == "ready\n"
            told = mover.stdout.readline() if number % 2 else ""
            time.sleep(float(rng.uniform(0.0, 0.8 if number % 2 else 2.0)))
            mover.kill()
            told += mover.stdout.read()
        aliases = retrainer.registry.aliases()
        for name in filter(None, aliases.values()):
            retrainer.registry.check(name)
        on = retrainer.runs.running()
        died += on is not None
        reply = retrainer.check(trigger="manual", who="test", now=NOW, force=True)
        assert reply.status == "retrained", reply.message
        assert retrainer.runs.running() is None and reply.champion == reply.challenger
        assert retrainer.registry.aliases()["challenger"] is None
        assert not list(retrainer.registry.folder.glob(".training-*"))
        if on is not None:
            row = next(each for each in retrainer.runs.recent(500) if each["run_id"] == on)
            assert (row["status"], row["message"]) == ("error", DIED)
        if told:
            assert aliases["champion"] is not None
    return died


@pytest.mark.slow
def test_whoever_is_killed_leaves_whole_models_and_the_next_check_works(shared):
    kill_often(shared, 2)


@pytest.mark.study
@pytest.mark.timeout(3600)
def test_25_killed_programs_leave_whole_models(retrainer):
    died = kill_often(retrainer, 25)
    print(f"{retrainer.database.url.get_backend_name()}: 25 killed, {died} of them in a run")
    assert died >= 5
