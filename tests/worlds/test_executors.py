"""Where work runs cannot be seen in what comes of it. That judging is the same too: test_judge.py."""

import importlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput, UnknownName
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


def test_shared_memory_is_given_back_when_the_caller_fails():
    def fail(_):
        raise RuntimeError("the caller's own")

    def blocks():
        return set(Path("/dev/shm").glob("psm_*"))

    before = blocks()
    with make_executor("processes", 2) as executor, pytest.raises(RuntimeError, match="own"):
        executor.map(np.arange, [30_000] * 6, done=fail)
    assert blocks() <= before


def test_without_ray_the_error_names_the_extra(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(BadInput, match=r"gaelp\[ray\]"):
        make_executor("ray")


def test_executors_go_by_name():
    with pytest.raises(UnknownName, match="inline"):
        make_executor("threads")
    with pytest.raises(BadInput, match="workers"):
        make_executor("processes", 0)
    assert EXECUTORS == ("inline", "processes", "ray") and checked_workers(None) >= 1
