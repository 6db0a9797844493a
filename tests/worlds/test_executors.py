"""Where work runs cannot be seen in what comes of it."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.worlds.executors import EXECUTORS, Task, checked_workers, fly_task, make_executor, shares
from gaelp.worlds.splits import split_worlds, worlds_at

MARKET = str(Path(__file__).parents[2] / "markets" / "family_safety.toml")
TASK = Task(
    market=MARKET,
    split="validation",
    indices=(0, 1, 2, 3),
    n_people=500,
    days=2,
    policy="random",
    family="crisis_wave",
    seed=4,
)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GAELP_CACHE", str(tmp_path / "cache"))


def joined(results):
    return {key: np.concatenate([result[key] for result in results]) for key in results[0]}


def flown(name):
    done = []
    with make_executor(name, 2) as executor:
        found = joined(executor.map(fly_task, TASK.parts(2), done=done.append))
    assert sorted(done) == [0, 1]
    return found


@pytest.fixture(scope="module")
def inline(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAELP_CACHE", str(tmp_path_factory.mktemp("cache")))
        return fly_task(TASK)


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].tobytes() == b[key].tobytes() and a[key].dtype == b[key].dtype, key


def test_the_split_into_tasks_changes_nothing(inline):
    same(inline, flown("inline"))
    assert inline["spend_usd"].shape == (4,) and (inline["spend_usd"] > 0).all()
    assert inline["spend_micros"].nbytes > 2 * 8_192  # so that processes use shared memory


def test_processes_find_what_one_process_finds(inline):
    found = flown("processes")
    same(inline, found)
    found["spend_micros"][:] = 0  # the caller's own, to write to


@pytest.mark.slow
def test_ray_finds_what_one_process_finds(inline):
    pytest.importorskip("ray")
    same(inline, flown("ray"))


@pytest.mark.parametrize("name", ["inline", "processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_an_error_of_a_task_reaches_the_caller_as_it_was(name):
    if name == "ray":
        pytest.importorskip("ray")
    bad = Task(market=MARKET, split="train", indices=(-1,), n_people=10, days=1, policy="fixed")
    with (
        make_executor(name, 1) as executor,
        pytest.raises(BadInput, match="Name worlds of the split") as caught,
    ):
        executor.map(fly_task, [bad, bad])
    assert caught.value.name == "indices"


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


def test_items_are_shared_out_in_order():
    for n_items, n_parts in ((7, 3), (2, 5), (1, 1), (8, 4)):
        parts = shares(list(range(n_items)), n_parts)
        assert [item for part in parts for item in part] == list(range(n_items))
        assert all(parts) and len(parts) == min(n_items, n_parts)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_worlds_by_index_are_those_of_the_split():
    file = TASK.worlds()[0].file
    assert file.name == "family_safety"
    from gaelp.market.file import load

    plain = load(MARKET)
    some, all_of_them = worlds_at(plain, "train", [2, 0], 6), split_worlds(plain, "train", 3, 6)
    assert [world.seed for world in some] == [all_of_them[i].seed for i in (2, 0)]
    with pytest.raises(BadInput, match="indices"):
        worlds_at(plain, "train", [])
