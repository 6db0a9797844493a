"""Warmed-up worlds kept on disk: sixty days that every judgement would otherwise live again.

    <cache>/<key>/entry.json     what was asked for, and a digest of every file
    <cache>/<key>/worlds/        the worlds after the warm-up (`snapshot.py`)
    <cache>/<key>/traffic.npy    the account's traffic forecast

The key is a hash of everything the warm-up depends on: the worlds with all their values and seeds, their
size, and the code that lives them. What comes from the cache is equal bit for bit to what was put there;
an entry that is damaged, or is not what its name says, is thrown away and made anew. A process killed at
any moment leaves a whole entry or none; its unfinished files are swept away by a later one.
"""

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
from numpy.typing import NDArray

from gaelp import __version__
from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.jit import sources_hash
from gaelp.core.plain import as_json, plain
from gaelp.market.market import Market, World
from gaelp.worlds.flight import WARM_UP_DAYS, Tick, make_market, warm_up
from gaelp.worlds.runs import read_json, replacing_folder, write_json
from gaelp.worlds.snapshot import layout_hash, load_worlds, save_worlds

Floats = NDArray[np.float64]

ENTRY = "entry.json"
FOLDER_VARIABLE = "GAELP_CACHE"
"""Names the cache folder; `off` does without one."""
DEFAULT_LIMIT_BYTES = 4_000_000_000
_TRAFFIC = "traffic.npy"
_WORLDS = "worlds"
_NAME = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\..*")
_SWEPT_AFTER_S = 3600.0
_PACKAGE = Path(__file__).parents[1]
_NOT_LIVED_BY = ("cli", "learning", "evaluation", "measurement")
"""Packages whose code no warm-up passes through."""


@dataclass(frozen=True)
class WarmCache:
    """A folder of warmed-up worlds.

    Attributes:
        folder: where; made when something is stored.
        limit_bytes: room for all entries; those not used for longest go first.
    """

    folder: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    def load(self, worlds: Sequence[World], key: str) -> tuple[Market, Floats] | None:
        """The worlds of an entry and their (n_worlds, 168) traffic; None where it is absent or damaged."""
        entry = self.folder / key
        if not entry.is_dir():
            return None
        try:
            found = _read_entry(entry, key, worlds)
            os.utime(entry / ENTRY)
        except (GaelpError, OSError, ValueError, KeyError, TypeError, AttributeError):
            _remove(entry)
            return None
        return found

    def store(self, market: Market, traffic: Floats, key: str) -> bool:
        """Keep warmed-up worlds, and let go of old entries.

        Args:
            market: the worlds after the warm-up. traffic: (n_worlds, 168). key: from `warm_key`.

        Returns:
            Whether they were kept: not where they are larger than the cache, or it cannot be written.
        """
        if sum(array.nbytes for _, array in market.arrays()) > self.limit_bytes:
            return False
        try:
            with replacing_folder(self.folder / key, ENTRY) as new:
                save_worlds(market, new / _WORLDS)
                np.save(new / _TRAFFIC, traffic, allow_pickle=False)
                write_json(new / ENTRY, {"key": key, "gaelp": __version__, "files": _digests(new)})
        except (OSError, BadInput):
            return False
        self.tidy(keep=key)
        return True

    def entries(self) -> list[Path]:
        """Whole entries, those not used for longest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted((path for path in found if (path / ENTRY).is_file()), key=_last_used)

    def tidy(self, keep: str = "") -> None:
        """Remove the entries not used for longest until all fit, and what killed processes left.

        Args:
            keep: name of an entry to spare.
        """
        entries = self.entries()
        sizes = {entry: _size(entry) for entry in entries}
        excess = sum(sizes.values()) - self.limit_bytes
        for entry in entries:
            if excess <= 0:
                break
            if entry.name != keep:
                _remove(entry)
                excess -= sizes[entry]
        for path in self.folder.glob(".*"):
            if _UNFINISHED.fullmatch(path.name) and time.time() - _modified(path) > _SWEPT_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)


def default_cache() -> WarmCache | None:
    """The cache of this user: `$GAELP_CACHE/warmed`, else below `$XDG_CACHE_HOME` or `~/.cache`.

    Returns:
        None where `GAELP_CACHE` is `off`.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named == "off":
        return None
    if named:
        return WarmCache(Path(named) / "warmed")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return WarmCache(Path(home) / "gaelp" / "warmed")


def warmed(
    worlds: Sequence[World],
    n_people: int,
    *,
    cache: WarmCache | None = None,
    tick: Tick = lambda _: None,
    **options: int,
) -> tuple[Market, Floats]:
    """Worlds after their warm-up, from the cache where they are there.

    Args:
        worlds: of one market. n_people: people per world.
        cache: where to look and keep; None lives the warm-up.
        tick: told the world-hours done, all at once where they come from the cache.
        options: of `Market`: seats and logs.

    Returns:
        The market, and its (n_worlds, 168) traffic forecast as `warm_up` gives it.
    """
    key = warm_key(worlds, n_people, **options) if cache else ""
    if cache and (found := cache.load(worlds, key)):
        tick(len(worlds) * WARM_UP_DAYS * 24)
        return found
    market = make_market(list(worlds), n_people, **options)
    traffic = warm_up(market, tick=tick)
    if cache:
        cache.store(market, traffic, key)
    return market, traffic


def warm_key(worlds: Sequence[World], n_people: int, **options: int) -> str:
    """32 hexadecimal digits over everything that the warmed-up worlds depend on."""
    asked = {
        "worlds": [(_values(world), world.seed) for world in worlds],
        "n_people": n_people,
        "days": WARM_UP_DAYS,
        "options": dict(sorted(options.items())),
        "layout": layout_hash(),
        "code": _code_hash(),
        "gaelp": __version__,
    }
    return hashlib.sha256(as_json(asked).encode()).hexdigest()[:32]


def _values(world: World) -> str:
    """Hash of everything a world's market file says, with the world's own values; its path does not count."""
    said = asdict(world.file)
    del said["path"]
    text = json.dumps(plain(said), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def _code_hash() -> str:
    """Hash of kernels, Numba, NumPy, the kind of processor, and all code that worlds pass through."""
    digest = hashlib.sha256(f"{sources_hash()} {np.__version__} {platform.machine()}".encode())
    digest.update(str(llvmlite.binding.get_host_cpu_name()).encode())
    for path in sorted([*_PACKAGE.rglob("*.py"), *_PACKAGE.rglob("*.csv")]):
        inside = path.relative_to(_PACKAGE)
        if inside.parts[0] not in _NOT_LIVED_BY:
            digest.update(str(inside).encode() + path.read_bytes())
    return digest.hexdigest()


def _read_entry(entry: Path, key: str, worlds: Sequence[World]) -> tuple[Market, Floats]:
    said: dict[str, Any] = read_json(entry / ENTRY)
    if said["key"] != key or said["files"] != _digests(entry):
        raise ValueError(f"{entry} is not what was stored")
    paths = {world.file.path for world in worlds}
    market = load_worlds(entry / _WORLDS, paths.pop() if len(paths) == 1 else None)
    market.worlds = tuple(worlds)
    traffic = np.load(entry / _TRAFFIC, allow_pickle=False)
    return market, traffic


def _digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): _digest(path) for path in _files(folder) if path.name != ENTRY}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def _last_used(entry: Path) -> float:
    return _modified(entry / ENTRY)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process was quicker
        return 0.0


def _remove(entry: Path) -> None:
    """Take an entry out of sight in one step, then delete it."""
    aside = entry.with_name(f".{entry.name}.{secrets.token_hex(4)}.old")
    try:
        os.rename(entry, aside)
    except OSError:
        return
    shutil.rmtree(aside, ignore_errors=True)
