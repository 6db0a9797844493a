"""Warmed-up worlds on disk: equal to fresh ones, whole or not there."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaelp.market.file import load
from gaelp.market.state import empty_controls
from gaelp.worlds import warmed as module
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.warmed import ENTRY, WarmCache, default_cache, warm_key, warmed

MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"
WORLDS = split_worlds(load(MARKET), "train", 2, seed=3)
N_PEOPLE = 40


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch):
    monkeypatch.setattr(module, "WARM_UP_DAYS", 2)
    monkeypatch.setattr(module, "warm_up", lambda market, tick: LIVED(market, days=2, tick=tick))


LIVED = module.warm_up


@pytest.fixture
def cache(tmp_path):
    return WarmCache(tmp_path / "warmed")


def same(a, b):
    (market, traffic), (other, forecast) = a, b
    assert np.array_equal(traffic, forecast)
    assert market.hour == other.hour and market.rules.tobytes() == other.rules.tobytes()
    for (name, array), (_, theirs) in zip(market.arrays(), other.arrays(), strict=True):
        assert array.tobytes() == theirs.tobytes() and array.dtype == theirs.dtype, name


def refuse_to_warm_up(monkeypatch):
    monkeypatch.setattr(module, "warm_up", lambda market, tick: pytest.fail("warmed up again"))


def test_worlds_from_the_cache_are_equal_bit_for_bit_and_go_on_alike(cache, monkeypatch):
    fresh = warmed(WORLDS, N_PEOPLE)
    same(fresh, warmed(WORLDS, N_PEOPLE, cache=cache))
    refuse_to_warm_up(monkeypatch)
    ticks = []
    again = warmed(WORLDS, N_PEOPLE, cache=cache, tick=ticks.append)
    same(fresh, again)
    assert sum(ticks) == 2 * 2 * 24
    assert all(a is b for a, b in zip(again[0].worlds, WORLDS, strict=True))
    for market in (fresh[0], again[0]):
        for _ in range(24):
            market.advance(empty_controls(2, 1))
    same(fresh, again)


def test_everything_a_warm_up_depends_on_is_in_the_key():
    file = WORLDS[0].file
    key = warm_key(WORLDS, N_PEOPLE)
    strong = replace(file, rivals=(replace(file.rivals[0], strength=2.0), *file.rivals[1:]))
    others = [
        warm_key(WORLDS[:1], N_PEOPLE),
        warm_key(WORLDS, N_PEOPLE + 1),
        warm_key([WORLDS[0], WORLDS[1]._replace(seed=1)], N_PEOPLE),
        warm_key([WORLDS[0]._replace(file=file.with_values({"buy_rate": 0.02})), WORLDS[1]], N_PEOPLE),
        warm_key([WORLDS[0]._replace(file=strong), WORLDS[1]], N_PEOPLE),
        warm_key([WORLDS[0]._replace(file=replace(file, status_quo_multiplier=0.1)), WORLDS[1]], N_PEOPLE),
        warm_key(WORLDS, N_PEOPLE, n_seats=2),
        warm_key(WORLDS, N_PEOPLE, event_rows=100),
    ]
    assert len({key, *others}) == len(others) + 1
    moved = [world._replace(file=replace(world.file, path=Path("elsewhere.toml"))) for world in WORLDS]
    assert warm_key(moved, N_PEOPLE) == key


@pytest.mark.parametrize("harm", ["cut", "flipped", "missing", "no entry", "foreign", "not a folder"])
def test_a_damaged_or_foreign_entry_is_made_anew(cache, harm, monkeypatch):
    fresh = warmed(WORLDS, N_PEOPLE, cache=cache)
    (entry,) = cache.entries()
    people = entry / "worlds" / "pop.people.npy"
    content = bytearray(people.read_bytes())
    if harm == "cut":
        people.write_bytes(content[:-100])
    elif harm == "flipped":
        content[-10] ^= 1
        people.write_bytes(content)
    elif harm == "missing":
        (entry / "traffic.npy").unlink()
    elif harm == "no entry":
        (entry / ENTRY).unlink()
    elif harm == "foreign":
        warmed(WORLDS[:1], N_PEOPLE, cache=cache)
        (other,) = [path for path in cache.entries() if path != entry]
        shutil.rmtree(entry)
        shutil.copytree(other, entry)
    else:
        shutil.rmtree(entry)
        entry.write_text("no folder")
    same(fresh, warmed(WORLDS, N_PEOPLE, cache=cache))
    if harm == "not a folder":  # nothing of ours: left alone, and done without
        return
    refuse_to_warm_up(monkeypatch)
    same(fresh, warmed(WORLDS, N_PEOPLE, cache=cache))


def test_a_process_killed_while_it_stores_leaves_no_entry(cache):
    program = f"""
import os, signal
import numpy as np
from pathlib import Path
from gaelp.worlds import snapshot, warmed
from gaelp.worlds.flight import make_market
from gaelp.worlds.splits import split_worlds
from gaelp.market.file import load
worlds = split_worlds(load({str(MARKET)!r}), "train", 2, seed=3)
market = make_market(worlds, {N_PEOPLE})
saved, count = np.save, 0
def save(*args, **kwargs):
    global count
    count += 1
    if count == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    saved(*args, **kwargs)
np.save = save
warmed.WarmCache(Path({str(cache.folder)!r})).store(market, np.ones((2, 168)), "0" * 32)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == -9, ran.stderr
    left = list(cache.folder.iterdir())
    assert left and cache.entries() == [] and not (cache.folder / ("0" * 32)).exists()
    warmed(WORLDS, N_PEOPLE, cache=cache)
    assert left[0].exists()  # it might still be written to
    long_ago = time.time() - 7200
    os.utime(left[0], (long_ago, long_ago))
    cache.tidy()
    assert not left[0].exists() and len(cache.entries()) == 1


def test_the_entries_not_used_for_longest_make_room(cache):
    batches = [split_worlds(WORLDS[0].file, "train", 1, seed=s) for s in range(3)]
    for i, batch in enumerate(batches[:2]):
        warmed(batch, N_PEOPLE, cache=cache)
        entry = cache.folder / warm_key(batch, N_PEOPLE)
        os.utime(entry / ENTRY, (1000 + i, 1000 + i))
    warmed(batches[0], N_PEOPLE, cache=cache)  # used: now the newer one
    size = sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file()) // 2
    small = replace(cache, limit_bytes=int(2.5 * size))
    warmed(batches[2], N_PEOPLE, cache=small)
    kept = {warm_key(batch, N_PEOPLE) for batch in (batches[0], batches[2])}
    assert {entry.name for entry in cache.entries()} == kept
    tiny = WarmCache(cache.folder / "tiny", limit_bytes=1000)
    warmed(batches[0], N_PEOPLE, cache=tiny)
    assert tiny.entries() == []


def test_the_place_of_the_cache_is_the_user_s(monkeypatch, tmp_path):
    monkeypatch.setenv("GAELP_CACHE", str(tmp_path / "here"))
    assert default_cache().folder == tmp_path / "here" / "warmed"
    monkeypatch.setenv("GAELP_CACHE", "off")
    assert default_cache() is None
    monkeypatch.delenv("GAELP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache().folder == tmp_path / "gaelp" / "warmed"


def test_without_a_place_to_write_worlds_are_warmed_up_each_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    market, traffic = warmed(WORLDS, N_PEOPLE, cache=WarmCache(blocked / "warmed"))
    assert market.hour == 48 and traffic.shape == (2, 168)
