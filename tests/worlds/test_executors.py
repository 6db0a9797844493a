"""Where work runs cannot be seen in what comes of it. That judging is the same too: test_judge.py."""

import importlib
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gaelp.core.errors import BadInput, GaelpError, UnknownName
from gaelp.market.file import load
from gaelp.worlds.executors import EXECUTORS, checked_workers, make_executor

EVERYWHERE = ["inline", "processes", pytest.param("ray", marks=pytest.mark.slow)]


@pytest.fixture
def where(request):
    if request.param == "ray":
        pytest.importorskip("ray")
    with make_executor(request.param, 2) as executor:
        yield executor


everywhere = pytest.mark.parametrize("where", EVERYWHERE, indirect=True)


@everywhere
def test_results_come_in_the_order_of_the_tasks_and_are_the_callers_own(where):
    done = []
    sizes = [30_000, 10, 20_000]  # large ones come through shared memory
    found = where.map(partial(np.arange, dtype=np.float64), sizes, done=done.append)
    assert sorted(done) == [0, 1, 2]
    for size, array in zip(sizes, found, strict=True):
        assert array.tobytes() == np.arange(size, dtype=np.float64).tobytes()
        array[:] = 0.0


@everywhere
def test_an_error_of_a_task_reaches_the_caller_as_it_was(where):
    with pytest.raises(BadInput, match="no_such_market") as caught:
        where.map(load, ["no_such_market.toml"] * 3)
    assert caught.value.value == "no_such_market.toml"


@everywhere
def test_an_error_that_cannot_travel_says_what_it_was(where):
    with pytest.raises((RuntimeError, json.JSONDecodeError), match="Expecting value: line 1"):
        where.map(json.loads, ["no json"])


@pytest.mark.parametrize("where", EVERYWHERE[1:], indirect=True)
def test_a_worker_that_is_killed_is_an_error_that_says_what_to_do(where):
    with pytest.raises(GaelpError, match="fewer workers or smaller worlds, or run inline") as caught:
        where.map(os._exit, [1])
    assert caught.value.exit_code == 1 and not isinstance(caught.value, BadInput)


def test_a_pool_that_has_lost_a_worker_says_so_again():
    with make_executor("processes", 1) as executor:
        for _ in range(2):
            with pytest.raises(GaelpError, match="ended before its task was done"):
                executor.map(os._exit, [1, 1])


def test_shared_memory_is_given_back_when_the_caller_fails():
    def fail(_):
        raise RuntimeError("the caller's own")

    def blocks():
        return set(Path("/dev/shm").glob("psm_*"))

    before = blocks()
    with make_executor("processes", 2) as executor, pytest.raises(RuntimeError, match="own"):
        executor.map(np.arange, [30_000] * 6, done=fail)
    assert blocks() <= before


def test_workers_end_with_a_caller_that_is_killed(tmp_path):
    pids = tmp_path / "pids"
    script = tmp_path / "caller.py"
    script.write_text(
        f"""
import os, pathlib, time
from gaelp.worlds.executors import make_executor
if __name__ == "__main__":
    with make_executor("processes", 2) as executor:
        executor.map(os.getpgid, [0])
        pathlib.Path({str(pids)!r}).write_text(" ".join(map(str, executor._pool._processes)))
        executor.map(time.sleep, [600, 600])
"""
    )
    caller = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    try:
        assert _within(60, lambda: pids.exists() and pids.read_text())
        workers = [int(pid) for pid in pids.read_text().split()]
        assert all(_lives(pid) for pid in workers)
    finally:
        caller.kill()
        caller.wait()
    assert _within(20, lambda: not any(_lives(pid) for pid in workers))


def _within(seconds, true):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_without_ray_the_error_names_the_extra(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(BadInput, match=r"gaelp\[ray\]"):
        make_executor("ray")


class Lost(Exception):
    """As `ray.exceptions.RayError`."""


class TaskError(Lost):
    """As `ray.exceptions.RayTaskError`: carries what the task raised."""

    cause = None


class Ray:
    """Ray, as far as it is used, on which starting and getting can fail."""

    exceptions = SimpleNamespace(RayError=Lost, RayTaskError=TaskError)

    def __init__(self, *, starting=None, getting=None):
        self.starting, self.getting, self.cancelled = starting, getting, []

    def is_initialized(self):
        return False

    def init(self, **_):
        if self.starting:
            raise self.starting

    def remote(self, **_):
        return lambda function: SimpleNamespace(remote=lambda function, task: task)

    def wait(self, waiting, num_returns):
        return waiting[:num_returns], waiting[num_returns:]

    def get(self, reference):
        raise self.getting

    def cancel(self, reference):
        self.cancelled.append(reference)
        raise Lost("gone")

    def shutdown(self):
        pass


def test_ray_that_loses_a_task_is_an_error_in_one_sentence(monkeypatch):
    ray = Ray(getting=Lost("Task was killed due to the node running low on memory.\nMemory on the node"))
    monkeypatch.setattr(importlib, "import_module", lambda name: ray)
    with make_executor("ray", 1) as executor, pytest.raises(GaelpError) as caught:
        executor.map(abs, [1, 2])
    assert "Lost: Task was killed due to the node running low on memory)" in str(caught.value)
    assert "run inline" in str(caught.value) and "Memory on the node" not in str(caught.value)
    assert ray.cancelled == [2]


def test_what_a_task_on_ray_raised_reaches_the_caller(monkeypatch):
    error = TaskError("told by Ray")
    error.cause = BadInput("worlds", 0, "must be at least 1", "Ask for more.")
    monkeypatch.setattr(importlib, "import_module", lambda name: Ray(getting=error))
    with make_executor("ray", 1) as executor, pytest.raises(BadInput, match="worlds"):
        executor.map(abs, [1, 2])


@pytest.mark.parametrize("error", [ValueError, ConnectionError, RuntimeError, Lost])
def test_ray_that_does_not_start_is_an_error_in_one_sentence(monkeypatch, error):
    ray = Ray(starting=error("When connecting to an existing cluster, num_cpus must not be given."))
    monkeypatch.setattr(importlib, "import_module", lambda name: ray)
    with pytest.raises(GaelpError, match=r"Ray did not start: When connecting .* run with processes"):
        make_executor("ray", 1)


def test_executors_go_by_name():
    with pytest.raises(UnknownName, match="inline"):
        make_executor("threads")
    with pytest.raises(BadInput, match="workers"):
        make_executor("processes", 0)
    assert EXECUTORS == ("inline", "processes", "ray") and checked_workers(None) >= 1
