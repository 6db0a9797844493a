"""Worlds of different splits differ in their parameters, come back the same, and test worlds stay apart."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput, HeldOutError, UnknownName
from gaelp.market.file import load
from gaelp.worlds.splits import (
    HELDOUT,
    plain_worlds,
    split_worlds,
    training_worlds,
    write_test_worlds,
)

FILE = Path(__file__).parents[2] / "markets" / "family_safety.toml"


@pytest.fixture(scope="module")
def file():
    return load(FILE)


@pytest.fixture
def committed(tmp_path):
    """A copy of the market with eight test worlds, hashed as they would be in the repository."""
    shutil.copy(FILE, tmp_path / FILE.name)
    file = load(tmp_path / FILE.name)
    folder = tmp_path / HELDOUT
    folder.mkdir()
    path = write_test_worlds(file, folder, 8)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {path.name}\n")
    return file


def values(worlds, name):
    return np.array([world.file.parameters[name].value.ravel() for world in worlds])


def same(one, other):
    return (
        one.seed == other.seed
        and one.file.rivals == other.file.rivals
        and all(
            np.array_equal(stated.value, other.file.parameters[name].value)
            for name, stated in one.file.parameters.items()
        )
    )


def test_worlds_come_back_the_same(file):
    for split in ("train", "validation"):
        again = zip(split_worlds(file, split, 5, seed=2), split_worlds(file, split, 5, seed=2), strict=True)
        assert all(same(one, other) for one, other in again)


def test_a_world_does_not_depend_on_how_many_are_asked_for(file):
    few, many = split_worlds(file, "train", 2), split_worlds(file, "train", 9)
    assert all(same(one, other) for one, other in zip(few, many, strict=False))


def test_splits_seeds_and_indices_are_different_worlds(file):
    worlds = [
        *split_worlds(file, "train", 20),
        *split_worlds(file, "train", 20, seed=1),
        *split_worlds(file, "validation", 20),
        *split_worlds(file, "validation", 20, seed=1),
    ]
    assert len({world.seed for world in worlds}) == 80
    for name in file.spread:
        if name in file.parameters:
            assert len({row.tobytes() for row in values(worlds, name)}) == 80, name


def test_only_what_is_spread_differs_and_stays_in_its_range(file):
    for world in split_worlds(file, "validation", 20):
        for name, stated in world.file.parameters.items():
            if name in file.spread:
                assert (stated.value >= stated.low).all() and (stated.value <= stated.high).all()
            else:
                assert np.array_equal(stated.value, file.parameters[name].value), name
        for mine, base in zip(world.file.rivals, file.rivals, strict=True):
            assert (mine.name, mine.strategy, mine.quality) == (base.name, base.strategy, base.quality)


@pytest.mark.statistical
def test_parameters_spread_as_the_file_states(file):
    worlds = split_worlds(file, "train", 400)
    for name, sigma in file.spread.items():
        if name not in file.parameters:
            continue
        stated = file.parameters[name]
        factor = np.log(values(worlds, name) / stated.value.ravel())
        free = (stated.value > 1.3 * stated.low) & (stated.value < stated.high / 1.3)
        factor = factor[:, free.ravel()]  # elements next to a bound are held there
        n = factor.size
        if n == 0:
            continue
        assert abs(factor.mean()) < 4.0 * sigma / np.sqrt(n), name
        assert abs(factor.std() / sigma - 1.0) < 4.0 / np.sqrt(2.0 * n) + 0.03, name


def test_rivals_spread_as_the_file_states(file):
    worlds = split_worlds(file, "train", 200)
    known = {
        "rival_strength": lambda r, base: np.log(r.strength / base.strength),
        "rival_budget": lambda r, base: np.log(r.budget_usd_per_1000 / base.budget_usd_per_1000),
        "rival_prior": lambda r, base: r.prior - base.prior,
    }
    for name, shift in known.items():
        if name in file.spread:
            moved = np.array(
                [[shift(r, b) for r, b in zip(w.file.rivals, file.rivals, strict=True)] for w in worlds]
            )
            assert moved.std() == pytest.approx(file.spread[name], rel=0.12), name


def test_plain_worlds_differ_in_luck_only(file):
    worlds = plain_worlds(file, 6, seed=3)
    assert len({world.seed for world in worlds}) == 6
    assert all(world.file is file for world in worlds)
    assert [w.seed for w in worlds] == [w.seed for w in plain_worlds(file, 6, seed=3)]
    assert not {w.seed for w in worlds} & {w.seed for w in plain_worlds(file, 6, seed=4)}


# the test split


def test_training_refuses_test_worlds(committed):
    with pytest.raises(HeldOutError) as caught:
        training_worlds(committed, "test", 1)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)
    assert len(training_worlds(committed, "train", 2)) == 2
    assert len(training_worlds(committed, "validation", 2)) == 2


def test_test_worlds_come_from_the_committed_file(committed):
    worlds = split_worlds(committed, "test", 8)
    assert all(
        same(one, other) for one, other in zip(worlds, split_worlds(committed, "test", 8), strict=True)
    )
    others = [*split_worlds(committed, "train", 30), *split_worlds(committed, "validation", 30)]
    assert not {world.seed for world in worlds} & {world.seed for world in others}
    for name in committed.spread:
        if name in committed.parameters:
            assert len({row.tobytes() for row in values(worlds, name)}) == 8, name
    assert same(split_worlds(committed, "test", 3)[2], worlds[2])
    assert same(split_worlds(committed, "test", 3, seed=9)[2], worlds[2])  # one draw only


def test_a_changed_test_file_is_refused(committed):
    path = committed.path.parent / HELDOUT / f"{committed.name}.json"
    path.write_text(path.read_text().replace("0.9", "0.8", 1))
    with pytest.raises(BadInput, match="must have the committed hash"):
        split_worlds(committed, "test", 1)


def test_test_worlds_of_another_market_file_are_refused(committed):
    committed.path.write_text(committed.path.read_text() + "\n# edited\n")
    with pytest.raises(BadInput, match="must be the frozen market file"):
        split_worlds(load(committed.path), "test", 1)


def test_more_test_worlds_than_there_are_is_refused(committed):
    with pytest.raises(BadInput, match="must be at most 8"):
        split_worlds(committed, "test", 9)


@pytest.mark.parametrize("missing", ["SHA256SUMS", "worlds"])
def test_a_market_without_committed_test_worlds_is_refused(committed, missing):
    folder = committed.path.parent / HELDOUT
    (folder / ("SHA256SUMS" if missing == "SHA256SUMS" else f"{committed.name}.json")).unlink()
    with pytest.raises(BadInput) as caught:
        split_worlds(committed, "test", 1)
    assert "\n" not in str(caught.value)


def test_bad_requests_are_refused(file):
    with pytest.raises(UnknownName, match="Did you mean 'validation'"):
        split_worlds(file, "validaton", 1)
    for n in (0, -3):
        with pytest.raises(BadInput, match="must be at least 1"):
            split_worlds(file, "train", n)
