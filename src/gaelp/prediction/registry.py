"""Models kept for use: versions that never change, and names that move between them in one step.

    REGISTRY/versions/v000001/version.json   lineage, who, why, and the SHA-256 of every file in model/
    REGISTRY/versions/v000001/model/         the model's folder, as it was registered
    REGISTRY/aliases.json                    champion, challenger, previous; every move so far
    REGISTRY/.lock                           held by whoever writes; the system frees it when its holder dies

A version appears when its folder is renamed into place, complete and on the disk; `aliases.json` is replaced
as a whole and only ever names versions that are in place. So at whatever moment a process is killed, every
alias points to a complete model. Readers take no lock.
"""

import datetime as dt
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gaelp.core.errors import BadInput, UnknownName
from gaelp.core.files import sha256_of, sync, write_text_atomic
from gaelp.prediction.lock import alone
from gaelp.prediction.registry_records import (
    ALIASES,
    FORMAT,
    Lineage,
    Move,
    Version,
    read_moves,
    read_version,
)

__all__ = ["ALIASES", "Lineage", "Move", "Registry", "Version"]

_NAME = re.compile("v[0-9]{6,}")


class Registry:
    """A folder of model versions with aliases.

    Args:
        folder: made by the first registration.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def register(
        self, model: Path | str, lineage: Lineage, *, who: str, why: str, now: dt.datetime
    ) -> Version:
        """Copy a model's folder into a new version.

        Args:
            model: a folder with at least one file.
            lineage: where it is from. who, why: for those who look later. now: the moment.

        Raises:
            BadInput: no such folder, or it is empty; the parent is no version; nobody or no reason is named.
            Locked: another process has been writing for a minute.
        """
        source, at = Path(model), _moment(now)
        _require_words(who, why)
        if not source.is_dir() or not any(each.is_file() for each in source.rglob("*")):
            raise BadInput("model", str(model), "must be a folder with files in it", "Train one first.")
        with self._writing():
            if lineage.parent is not None:
                lineage = replace(lineage, parent=self.get(lineage.parent).name)
            kept = self.folder / "versions"
            kept.mkdir(parents=True, exist_ok=True)
            for leftover in kept.glob(".*"):  # of writers that died: nobody else is writing now
                shutil.rmtree(leftover, ignore_errors=True)
            number = max((int(name[1:]) for name in self._names()), default=0) + 1
            name = f"v{number:06d}"
            neighbour = kept / f".{name}.{secrets.token_hex(4)}"
            shutil.copytree(source, neighbour / "model")
            files = _hashes(neighbour / "model")
            told = {"format": FORMAT, "name": name, **vars(lineage), "who": who, "why": why, "at": at}
            write_text_atomic(neighbour / "version.json", _json({**told, "files": files}))
            for entry in [*(neighbour / "model").rglob("*"), neighbour / "model", neighbour]:
                sync(entry)
            os.rename(neighbour, kept / name)
            sync(kept)
            return self.get(name)

    def challenge(self, version: str, *, who: str, why: str, now: dt.datetime) -> Move:
        """Make a version the challenger; errors as `promote`."""
        return self._move("challenge", who, why, now, challenger=self.get(version).name)

    def promote(
        self,
        version: str,
        *,
        who: str,
        why: str,
        now: dt.datetime,
        over: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Move:
        """Make a version the champion; the champion so far becomes the previous one.

        Args:
            version: name or alias; a challenger stops being one. Give the name that was compared: another
                process may have given the alias to another version since.
            over: version that must be champion still, the one that was compared; None: whichever is.
            evidence: why it may be: the gate's decision.

        Raises:
            UnknownName: no such version or alias.
            BadInput: it is champion already, another one is champion by now, or nobody or no reason is named.
            Locked: another process has been writing for a minute.
        """
        return self._move("promote", who, why, now, evidence, champion=version, over=over)

    def reject(
        self, *, who: str, why: str, now: dt.datetime, evidence: Mapping[str, Any] | None = None
    ) -> Move:
        """Take the challenger's name away; the version stays. Errors as `promote`."""
        return self._move("reject", who, why, now, evidence)

    def rollback(
        self, *, who: str, why: str, now: dt.datetime, evidence: Mapping[str, Any] | None = None
    ) -> Move:
        """Make the previous champion champion again; then there is no previous one.

        Raises:
            BadInput: there is no previous champion. The rest as `promote`.
        """
        return self._move("rollback", who, why, now, evidence)

    def aliases(self) -> dict[str, str | None]:
        """Version by alias, None where an alias is free; of one moment."""
        moves = self.moves()
        return dict(moves[-1].aliases) if moves else dict.fromkeys(ALIASES)

    def moves(self) -> list[Move]:
        """All changes of aliases, oldest first.

        Raises:
            MismatchError: they were written by another version of the program.
        """
        return read_moves(self.folder / "aliases.json")

    def get(self, name: str) -> Version:
        """A version by its name or alias.

        Raises:
            UnknownName: there is none.
            MismatchError: it was written by another version of the program.
        """
        known = self.aliases()
        version = known.get(name) or name
        names = self._names()
        if version not in names:
            held = ", ".join([*names[-3:], *(alias for alias, held in known.items() if held)]) or "none yet"
            allowed = f"must be a version or a held alias (newest: {held})"
            raise UnknownName("version", name, allowed, "List them, or register a model.")
        return read_version(self.folder / "versions" / version)

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        found = []
        for name in self._names():
            try:
                found.append(self.get(name))
            except BadInput:
                if name in self._names():
                    raise
                continue  # pruned meanwhile
        return found

    def check(self, name: str) -> Version:
        """A version, every byte of it compared with what was registered.

        Raises:
            UnknownName: there is none.
            BadInput: a file is missing, altered or new.
        """
        found = self.get(name)
        now = _hashes(found.folder)
        if now != dict(found.files):
            wrong = sorted({path for path, _ in now.items() ^ found.files.items()})
            allowed = "must hold what was registered, by its SHA-256"
            raise BadInput(
                "version", f"{found.name}: {wrong[0]}", allowed, "Roll back, or register it again."
            )
        return found

    def prune(self, keep: int) -> list[str]:
        """Remove the oldest versions but so many; those with an alias always stay. Returns their names.

        Raises:
            BadInput: fewer than one is to be kept.
            Locked: another process has been writing for a minute.
        """
        if keep < 1:
            raise BadInput("keep", keep, "must be at least 1", "Keep some to roll back to.")
        with self._writing():
            held = set(self.aliases().values())
            gone = [name for name in self._names()[:-keep] if name not in held]
            for name in gone:
                folder = self.folder / "versions" / name
                hidden = folder.with_name(f".{name}.{secrets.token_hex(4)}")
                os.rename(folder, hidden)
                shutil.rmtree(hidden)
            return gone

    def _names(self) -> list[str]:
        found = (path.name for path in (self.folder / "versions").glob("v*") if path.is_dir())
        return sorted(filter(_NAME.fullmatch, found), key=lambda name: int(name[1:]))

    def _writing(self) -> Any:
        self.folder.mkdir(parents=True, exist_ok=True)
        return alone(self.folder / ".lock")

    def _move(
        self,
        action: str,
        who: str,
        why: str,
        now: dt.datetime,
        evidence: Mapping[str, Any] | None = None,
        *,
        champion: str | None = None,
        challenger: str | None = None,
        over: str | None = None,
    ) -> Move:
        at = _moment(now)
        _require_words(who, why)
        with self._writing():
            held = self.aliases()
            if action == "promote":
                assert champion is not None
                named = self.get(champion).name
                if over is not None and held["champion"] != over:
                    remedy = "Compare with the new champion first."
                    raise BadInput("over", over, f"must be champion still ({held['champion']} is)", remedy)
                if named == held["champion"]:
                    raise BadInput("version", champion, "must not be champion already", "Nothing to do.")
                held |= {"champion": named, "previous": held["champion"]}
                held["challenger"] = None if held["challenger"] == named else held["challenger"]
            elif action == "rollback":
                if held["previous"] is None:
                    raise BadInput("previous", None, "must be held by a version", "Promote one by its name.")
                held |= {"champion": held["previous"], "previous": None}
            else:
                held["challenger"] = None if challenger is None else self.get(challenger).name
            move = Move(action=action, aliases=held, who=who, why=why, at=at, evidence=evidence or {})
            moves = [vars(each) for each in [*self.moves(), move]]
            write_text_atomic(self.folder / "aliases.json", _json({"format": FORMAT, **held, "moves": moves}))
            return move


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(each for each in folder.rglob("*") if each.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}


def _moment(now: dt.datetime) -> str:
    if now.tzinfo is None:
        raise BadInput("now", now, "must name its time zone", "Use datetime(..., tzinfo=datetime.UTC).")
    return now.astimezone(dt.UTC).isoformat()


def _require_words(who: str, why: str) -> None:
    for name, words in (("who", who), ("why", why)):
        if not words.strip():
            raise BadInput(name, words, "must not be empty", "Say it for those who look later.")


def _json(told: Mapping[str, Any]) -> str:
    try:
        return json.dumps(told, indent=1, allow_nan=False, default=dict) + "\n"
    except (TypeError, ValueError) as error:
        remedy = "Write undefined numbers as None."
        raise BadInput("lineage", str(error), "must be plain JSON", remedy) from None
