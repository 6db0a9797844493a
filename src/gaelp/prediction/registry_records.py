"""Records of the model registry, and how its files are read: versions, their lineage, moves of aliases."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gaelp.core.errors import BadInput, MismatchError

ALIASES = ("champion", "challenger", "previous")
FORMAT = 1
_TOLD = ("name", "who", "why", "at", "files")
_UPDATE = "Update gaelp, or restore the file."


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a model is from.

    Attributes:
        data_sha256: of what it was trained on; None: not known. code: version of what trained it.
        seed: of the training. metrics: on rows it was not trained on. config: how it was trained.
        parent: version that it continues or replaces; None: it is the first of its line.
    """

    data_sha256: str | None = None
    code: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None

    @classmethod
    def of_model(cls, folder: Path | str, parent: str | None = None) -> "Lineage":
        """As the manifest of a response model's folder tells it.

        Raises:
            BadInput: the folder has no manifest.
        """
        told = _read(Path(folder) / "manifest.json", "model")
        recipe = told.get("recipe") or {}
        return cls(
            data_sha256=(told.get("data") or {}).get("sha256"),
            code=told.get("code") or {},
            seed=recipe.get("seed"),
            metrics=told.get("metrics") or told.get("validation_metrics") or {},
            config=recipe,
            parent=parent,
        )


@dataclass(frozen=True, kw_only=True)
class Version:
    """A model that is kept.

    Attributes:
        name: such as v000001. folder: of the model.
        lineage: where it is from. who: registered it. why: in words. at: when, UTC.
        files: SHA-256 by path within the folder.
    """

    name: str
    folder: Path
    lineage: Lineage
    who: str
    why: str
    at: str
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Move:
    """A change of aliases.

    Attributes:
        action: challenge, promote, reject or rollback. aliases: after it.
        who: did it. why: in words. at: when, UTC. evidence: such as the gate's decision.
    """

    action: str
    aliases: Mapping[str, str | None]
    who: str
    why: str
    at: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def read_moves(path: Path) -> list[Move]:
    """Moves of the file of aliases, oldest first; none where there is no file.

    Raises:
        BadInput: it is no JSON object. MismatchError: it was written by another version of the program.
    """
    if not path.exists():
        return []
    told = _read(path, "registry")
    if told.get("format") != FORMAT:
        raise MismatchError("registry", told.get("format"), f"must be format {FORMAT}", "Update gaelp.")
    try:
        moves = [Move(**each) for each in told["moves"]]
        whole = all(set(ALIASES) <= set(each.aliases) for each in moves)
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise MismatchError("registry", str(path), "must hold moves as this program makes", _UPDATE)
    return moves


def read_version(folder: Path) -> Version:
    """The version in a folder; errors as `read_moves`."""
    told = _read(folder / "version.json", "version")
    needed = {*(each.name for each in fields(Lineage)), *_TOLD}
    if told.get("format") != FORMAT or not needed <= set(told):
        raise MismatchError("version", folder.name, f"must be whole and of format {FORMAT}", _UPDATE)
    lineage = Lineage(**{each.name: told[each.name] for each in fields(Lineage)})
    return Version(folder=folder / "model", lineage=lineage, **{key: told[key] for key in _TOLD})


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(name, str(path), "must be a readable JSON file", "Check the folder.")
    return found
