"""Run folders: what was run, with which settings, and what came of it; whole or not there.

runs/<name>/config.json   command, settings and their hash, seed, commit, version, market hash
runs/<name>/result.json   what the command found
runs/<name>/worlds/       the worlds, where they were kept (`snapshot.py`)
"""

import ctypes
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaelp import __version__
from gaelp.core.errors import BadInput
from gaelp.core.files import sync, write_text_atomic
from gaelp.core.plain import as_json, plain

CONFIG = "config.json"
RESULT = "result.json"
WORLDS = "worlds"
_EXCHANGE = 2
_HERE = -100  # "relative to the working directory", as the kernel spells it


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What is needed to repeat a run.

    Attributes:
        command: the sub-command of `gaelp`.
        settings: every setting, defaults included.
        seed: of the run.
        market: the market file's path as given. market_sha256: its hash.
    """

    command: str
    settings: Mapping[str, Any]
    seed: int
    market: str
    market_sha256: str

    @property
    def hash(self) -> str:
        """64 hexadecimal digits over command, settings, seed and market."""
        asked = [self.command, plain(self.settings), self.seed, self.market_sha256]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """The content of `config.json`."""
        return {
            "command": self.command,
            "settings": dict(self.settings),
            "config_hash": self.hash,
            "seed": self.seed,
            "market": self.market,
            "market_sha256": self.market_sha256,
            "commit": git_commit(),
            "gaelp": __version__,
        }


def refuse_unless_replaceable(path: str | Path, marker: str = CONFIG) -> Path:
    """Check before the work that a folder may be made or replaced.

    Args:
        path: the folder to come.
        marker: the file by which an earlier one is known.

    Returns:
        The folder's full path.

    Raises:
        BadInput: something else is there, or the place cannot be written.
    """
    target = Path(path).resolve()
    allowed = "must be a new or empty folder, or an earlier one of the same kind"
    if target.exists():
        if not target.is_dir() or (any(target.iterdir()) and not (target / marker).is_file()):
            raise BadInput("out", str(path), allowed, "Name another folder; nothing was overwritten.")
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise BadInput("out", str(path), "must lie where you can write", "Name another folder.")
    return target


@contextmanager
def replacing_folder(path: str | Path, marker: str = CONFIG) -> Iterator[Path]:
    """Let the caller fill a temporary neighbour of a folder, then put it in place in one step.

    If the block raises, nothing changes and the neighbour is removed. A process killed at any moment
    leaves the old folder or the new one (on Linux; elsewhere a kill between two renames can leave the old
    one beside its place, named `.NAME.HEX.old`).

    Args:
        path: the folder to make or replace.
        marker: the file by which an earlier one is known.

    Yields:
        The empty folder to fill.

    Raises:
        BadInput: something else is there.
    """
    target = refuse_unless_replaceable(path, marker)
    target.parent.mkdir(parents=True, exist_ok=True)
    neighbour = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    neighbour.mkdir()
    try:
        yield neighbour
        for entry in neighbour.rglob("*"):
            sync(entry)
        sync(neighbour)
        if not target.exists():
            os.rename(neighbour, target)
        elif not _exchange(neighbour, target):
            old = neighbour.with_name(f"{neighbour.name}.old")
            os.rename(target, old)
            os.rename(neighbour, target)
            shutil.rmtree(old)
        sync(target.parent)
    finally:
        shutil.rmtree(neighbour, ignore_errors=True)


@contextmanager
def run_folder(path: str | Path, config: RunConfig) -> Iterator[Path]:
    """A run folder that appears, with `config.json` in it, only when the block has ended well.

    Args:
        path: the folder.
        config: what is being run.

    Yields:
        A temporary folder to write into; `write_json(folder / RESULT, ...)` belongs there.
    """
    with replacing_folder(path) as folder:
        write_json(folder / CONFIG, config.as_dict())
        yield folder


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadInput: the file cannot be read or holds no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise BadInput("file", str(path), "must be a readable JSON file", "Check the path.") from None
    except ValueError as error:
        raise BadInput("file", str(path), f"must be JSON ({error})", "Write it anew.") from None
    if not isinstance(data, dict):
        raise BadInput("file", str(path), "must hold one JSON object", "Write it anew.")
    return data


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write an object as JSON, the whole file or nothing."""
    write_text_atomic(path, as_json(data, indent=1) + "\n")


def git_commit() -> str | None:
    """The git commit of this source tree, with `+` where it was edited; None outside a repository."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        shown = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip() or None


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step where the system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) == 0)
