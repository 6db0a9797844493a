"""Worlds on disk: saved whole, loaded by a version that lays them out alike, continued bit for bit.

    <folder>/manifest.json      versions, hour, sizes, what each world is
    <folder>/rules.npy          the compiled rules, to notice where they would come out differently
    <folder>/pop.people.npy ... every array of `Market.arrays()`

The worlds' market files are named by path and hash, their own parameter values and rivals are written out,
so a loaded world is the saved one even where it was drawn from a `[spread]`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from gaelp import __version__
from gaelp.core.errors import BadInput, MismatchError
from gaelp.market.file import MarketFile, Rival, load
from gaelp.market.market import Market, World
from gaelp.market.parameters import RULES
from gaelp.market.state import DECISION, EVENT, GHOST_BID, MEMORY, PERSON, TRUTH, Books, Population, Rivals
from gaelp.worlds.runs import WORLDS, read_json, replacing_folder, write_json

FORMAT = 3
MANIFEST = "manifest.json"
_PARTS: dict[str, Any] = {"pop": Population, "rivals": Rivals, "books": Books}
_RECORDS = {
    "pop.people": PERSON,
    "pop.memory": MEMORY,
    "books.decisions": DECISION,
    "books.truth": TRUTH,
    "books.events": EVENT,
    "books.ghosts": GHOST_BID,
}
_REMEDY = "Simulate them again with this version."


def save_worlds(market: Market, folder: str | Path) -> Path:
    """Save a batch of worlds as they are now; an earlier snapshot there is replaced in one step.

    Args:
        market: the worlds, between two hours.
        folder: where; new, empty, or an earlier snapshot.

    Returns:
        The folder.

    Raises:
        BadInput: something else is in the folder, or the worlds' rules are still to change (`Market.change`).
    """
    if market.pending_changes:
        raise BadInput(
            "worlds",
            f"a change of rules at hour {min(market.pending_changes)}",
            "must have no change ahead",
            "Save them after it, or before it is planned.",
        )
    expected = dict(layout())
    files = list({id(world.file): world.file for world in market.worlds}.values())
    place = {id(file): i for i, file in enumerate(files)}
    first = files[0]
    with replacing_folder(folder, MANIFEST) as new:
        for name, array in market.arrays():
            assert array.dtype == expected[name], name
            np.save(new / f"{name}.npy", array, allow_pickle=False)
        np.save(new / "rules.npy", market.rules, allow_pickle=False)
        write_json(
            new / MANIFEST,
            {
                "format": FORMAT,
                "gaelp": __version__,
                "layout": layout_hash(),
                "hour": market.hour,
                "n_people": market.n_people,
                "n_seats": market.n_seats,
                "files": [_written(file) for file in files],
                "worlds": [{"file": place[id(world.file)], "seed": world.seed} for world in market.worlds],
                "start": first.start.isoformat(),
                "segments": first.segments,
                "queries": first.queries,
                "brands": [first.advertiser]
                + [f"seat {k}" for k in range(1, market.n_seats)]
                + [rival.name for rival in first.rivals],
            },
        )
    return Path(folder)


def load_worlds(folder: str | Path, market: str | Path | None = None) -> Market:
    """Load worlds that go on exactly where they were saved.

    Args:
        folder: a snapshot, or a run folder that holds one.
        market: the market file, where it has moved; its content must be the same.

    Raises:
        BadInput: there is no snapshot, or its market file is gone.
        MismatchError: another version saved it, or the market file has changed since.
    """
    folder, manifest = read_manifest(folder)
    worlds = _worlds(manifest, market)
    n_people, n_seats = int(manifest["n_people"]), int(manifest["n_seats"])
    # Built with one person a world, which is quick, and then given the saved state.
    loaded = Market(worlds, n_people=1, n_seats=n_seats)
    rules = _read(folder, "rules", RULES)
    if rules.tobytes() != loaded.rules.tobytes():
        raise MismatchError("worlds", str(folder), "must have been compiled to the same rules", _REMEDY)
    arrays = {name: _read(folder, name, dtype) for name, dtype in layout()}
    loaded.n_people = n_people
    loaded.hour = int(manifest["hour"])
    for part, kind in _PARTS.items():
        state = kind(**{field: arrays[f"{part}.{field}"] for field in kind._fields})
        setattr(loaded, part, state)
    return loaded


def read_manifest(folder: str | Path) -> tuple[Path, dict[str, Any]]:
    """The snapshot's own folder and its manifest, checked against this version's layout.

    Args:
        folder: a snapshot, or a run folder that holds one.

    Raises:
        BadInput: there is no snapshot. MismatchError: another version saved it.
    """
    path = Path(folder)
    if not (path / MANIFEST).is_file() and (path / WORLDS / MANIFEST).is_file():
        path = path / WORLDS
    if not (path / MANIFEST).is_file():
        raise BadInput(
            "run",
            str(folder),
            "must be a folder with saved worlds",
            "Make one by `gaelp simulate --out DIR`.",
        )
    manifest = read_json(path / MANIFEST)
    for name, ours in (("format", FORMAT), ("layout", layout_hash())):
        theirs = manifest.get(name)
        if theirs != ours:
            raise MismatchError(f"{path / MANIFEST}: {name}", theirs, f"must be {ours!r}", _REMEDY)
    return path, manifest


def read_array(folder: Path, name: str) -> NDArray[Any]:
    """One array of a snapshot, mapped from disk and read only: for looking, not for continuing.

    Args:
        folder: the snapshot's own folder, from `read_manifest`.
        name: as in `Market.arrays()`.
    """
    return _read(folder, name, dict(layout())[name], mapped=True)


def layout() -> Iterator[tuple[str, np.dtype[Any]]]:
    """Name and type of every array that a snapshot holds, from the declarations in `state.py`."""
    for part, kind in _PARTS.items():
        hints = get_type_hints(kind)
        for field in kind._fields:
            name = f"{part}.{field}"
            yield name, _RECORDS[name] if name in _RECORDS else _declared(hints[field])


def layout_hash() -> str:
    """16 hexadecimal digits over names, types and offsets of everything saved, rules included."""
    shown = [(name, _shape_of(dtype)) for name, dtype in [*layout(), ("rules", RULES)]]
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def _declared(hint: Any) -> np.dtype[Any]:
    """The element type inside `NDArray[...]`."""
    return np.dtype(get_args(get_args(hint)[1])[0])


def _shape_of(dtype: np.dtype[Any]) -> Any:
    if dtype.fields is None:
        return dtype.str
    fields = [
        (name, dtype[name].base.str, dtype[name].shape, dtype.fields[name][1]) for name in dtype.names or ()
    ]
    return dtype.itemsize, fields


def _read(folder: Path, name: str, dtype: np.dtype[Any], mapped: bool = False) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(path.name, str(folder), f"must be a whole array ({error})", _REMEDY) from None
    if _shape_of(array.dtype) != _shape_of(dtype):
        raise MismatchError(path.name, str(folder), "must have this version's fields", _REMEDY)
    # The file does not say that records are aligned, and kernels compiled for aligned ones ask.
    return array.view(dtype)


def _written(file: MarketFile) -> dict[str, Any]:
    return {
        "market": str(file.path.resolve()),
        "market_sha256": file.sha256,
        "values": {name: stated.value for name, stated in file.parameters.items()},
        "rivals": [asdict(rival) for rival in file.rivals],
        "start": file.start.isoformat(),
        "first_price": file.first_price,
        "tracking": file.tracking,
    }


def _worlds(manifest: dict[str, Any], market: str | Path | None) -> list[World]:
    files = []
    for entry in manifest["files"]:
        base = load(market or entry["market"])
        if base.sha256 != entry["market_sha256"]:
            raise MismatchError(
                "market",
                f"{base.path.name} {base.sha256[:12]}",
                f"must be the file the worlds were saved with, {entry['market_sha256'][:12]}",
                "Restore it, or simulate again.",
            )
        same = base.with_values({name: np.array(value) for name, value in entry["values"].items()})
        files.append(
            replace(
                same,
                rivals=tuple(Rival(**rival) for rival in entry["rivals"]),
                start=date.fromisoformat(entry["start"]),
                first_price=tuple(entry["first_price"]),
                tracking=bool(entry["tracking"]),
            )
        )
    return [World(files[world["file"]], world["seed"]) for world in manifest["worlds"]]
