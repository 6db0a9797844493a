"""Worlds on disk: whole or not there, and the same worlds when they come back."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import Stage
from gaelp.market.file import load
from gaelp.market.market import Market
from gaelp.market.state import Controls, empty_controls
from gaelp.worlds.flight import make_market, reference_prices
from gaelp.worlds.runs import replacing_folder
from gaelp.worlds.snapshot import MANIFEST, layout, load_worlds, read_manifest, save_worlds
from gaelp.worlds.splits import drawn_world

REPOSITORY = Path(__file__).parents[2]
WARMED_UP_DAYS = 20
PAST_NOON_OF_DAY_10 = (WARMED_UP_DAYS + 10) * 24 + 13

CONTINUE = """
import json, sys
sys.path.insert(0, sys.argv[2])
from test_snapshot import digest, live, stages
from gaelp.worlds.snapshot import load_worlds
market = load_worlds(sys.argv[1])
found = {"loaded": digest(market), "stages": stages(market)}
live(market, 40)
print(json.dumps({**found, "continued": digest(market)}))
"""


def controls(market: Market) -> Controls:
    bids = empty_controls(market.n_worlds, market.n_seats)
    bids.bid[:, 0] = reference_prices(market)
    bids.daily_cap[:] = 20_000_000
    return bids


def live(market: Market, hours: int) -> None:
    for _ in range(hours):
        market.advance(controls(market))


def digest(market: Market) -> dict[str, str]:
    """A hash of each array, field by field: what lies between aligned fields is nobody's."""
    found = {"hour": str(market.hour)}
    for name, array in market.arrays():
        fields = [array[field] for field in array.dtype.names] if array.dtype.names else [array]
        whole = hashlib.sha256(repr(array.shape).encode())
        for field in fields:
            whole.update(np.ascontiguousarray(field).tobytes())
        found[name] = whole.hexdigest()
    return found


def stages(market: Market) -> list[list[int]]:
    people = market.pop.people
    return [people["stage"].ravel().tolist(), people["journey_start"].ravel().tolist()]


@pytest.fixture(scope="module")
def market_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that nobody edits meanwhile."""
    folder = tmp_path_factory.mktemp("markets")
    shutil.copy(REPOSITORY / "markets" / "family_safety.toml", folder)
    return folder / "family_safety.toml"


@pytest.fixture(scope="module")
def lived(market_file: Path) -> Market:
    """Two worlds with parameters of their own, stopped in the afternoon of day 10 after a warm-up."""
    file = load(market_file)
    market = make_market([drawn_world(file, "train", 5, i) for i in range(2)], 1_000)
    live(market, PAST_NOON_OF_DAY_10)
    return market


@pytest.fixture
def saved(lived: Market, tmp_path: Path) -> Path:
    return save_worlds(lived, tmp_path / "worlds")


@pytest.fixture(scope="module")
def restarted(lived: Market, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What another process found in the saved worlds, and after 40 hours more."""
    folder = save_worlds(lived, tmp_path_factory.mktemp("runs") / "worlds")
    result = subprocess.run(
        [sys.executable, "-c", CONTINUE, str(folder), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(result.stdout))


def test_a_world_saved_in_the_middle_goes_on_as_if_nothing_had_happened(
    lived: Market, restarted: dict[str, Any]
) -> None:
    uninterrupted = lived.copy()
    live(uninterrupted, 40)
    assert uninterrupted.hour == PAST_NOON_OF_DAY_10 + 40
    assert restarted["continued"] == digest(uninterrupted)


def test_every_array_comes_back(lived: Market, restarted: dict[str, Any]) -> None:
    expected = digest(lived)
    assert {name for name, _ in layout()} == expected.keys() - {"hour"}
    assert restarted["loaded"] == expected


def test_lost_converted_and_mid_journey_people_are_so_after_a_restart(
    lived: Market, restarted: dict[str, Any]
) -> None:
    stage, journey = (np.array(each) for each in restarted["stages"])
    before = lived.pop.people
    for kind in (Stage.LOST, Stage.CONVERTED):
        assert (before["stage"] == kind).any()
        np.testing.assert_array_equal(stage == kind, (before["stage"] == kind).ravel())
    assert (before["journey_start"] >= 0).sum() > 10
    np.testing.assert_array_equal(journey, before["journey_start"].ravel())


def test_the_parameters_a_world_drew_come_back(lived: Market, saved: Path) -> None:
    again = load_worlds(saved)
    for ours, theirs in zip(lived.worlds, again.worlds, strict=True):
        assert (ours.seed, ours.file.sha256, ours.file.rivals) == (
            theirs.seed,
            theirs.file.sha256,
            theirs.file.rivals,
        )
        for name, stated in ours.file.parameters.items():
            np.testing.assert_array_equal(stated.value, theirs.file.parameters[name].value)


def test_a_loaded_world_can_be_saved_over_itself(lived: Market, saved: Path) -> None:
    again = load_worlds(saved)
    live(again, 1)
    save_worlds(again, saved)
    assert load_worlds(saved).hour == lived.hour + 1
    assert [entry.name for entry in saved.parent.iterdir()] == ["worlds"]


@pytest.mark.parametrize("key", ["format", "layout"])
def test_another_versions_snapshot_is_refused(saved: Path, key: str) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    (saved / MANIFEST).write_text(json.dumps(manifest | {key: "another"}))
    with pytest.raises(MismatchError, match=f"{key}` was 'another'"):
        load_worlds(saved)


def test_records_of_another_shape_are_refused(saved: Path) -> None:
    np.save(saved / "pop.people.npy", np.zeros((2, 1_000), [("stage", "u1")]))
    with pytest.raises(MismatchError, match="this version's fields"):
        load_worlds(saved)


def test_a_missing_or_broken_array_is_bad_input(saved: Path) -> None:
    whole = (saved / "pop.goodwill.npy").read_bytes()
    (saved / "pop.goodwill.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"pop\.goodwill\.npy"):
        load_worlds(saved)
    (saved / "pop.goodwill.npy").unlink()
    with pytest.raises(BadInput, match=r"pop\.goodwill\.npy"):
        load_worlds(saved)


def test_an_edited_market_file_is_refused(lived: Market, tmp_path: Path, market_file: Path) -> None:
    folder = save_worlds(lived, tmp_path / "worlds")
    edited = tmp_path / "edited.toml"
    edited.write_text(market_file.read_text() + "\n# edited\n")
    with pytest.raises(MismatchError, match="Restore it"):
        load_worlds(folder, edited)


def test_a_folder_without_worlds_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="saved worlds"):
        read_manifest(tmp_path)


def test_a_folder_with_anything_else_in_it_is_left_alone(lived: Market, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="nothing was overwritten"):
        save_worlds(lived, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failure_half_way_leaves_the_earlier_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with replacing_folder(folder, "a") as new:
        (new / "a").write_text("first")
    with pytest.raises(RuntimeError), replacing_folder(folder, "a") as new:
        (new / "a").write_text("second")
        raise RuntimeError
    assert (folder / "a").read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


REWRITE_FOR_EVER = """
import sys
from itertools import count
from gaelp.worlds.runs import replacing_folder
for n in count():
    with replacing_folder(sys.argv[1], "a") as new:
        for name in "ab":
            (new / name).write_text(str(n))
    print(n, flush=True)
"""


def test_a_process_killed_at_any_moment_leaves_a_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for attempt in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", REWRITE_FOR_EVER, str(folder)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.013 * (attempt + 1))
            child.send_signal(signal.SIGKILL)
        assert (folder / "a").read_text() == (folder / "b").read_text()
