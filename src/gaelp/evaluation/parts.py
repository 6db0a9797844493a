"""Parts of a long evaluation kept on disk, so that one that was stopped goes on where it was.

    <out>.parts/evaluation.json     what is evaluated: settings, contenders, and a digest of this code
    <out>.parts/0016-default.json   what came of the task that begins with world 16, in one family; of a
                                    search, with the place 16 of one of its parts

A part is written whole or not at all, and its numbers come back bit for bit. Parts belong to one evaluation
by one state of the code: any other is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.plain import as_json, plain
from gaelp.worlds.runs import read_json, write_json

Sums = dict[str, dict[str, NDArray[np.float64]]]
"""{policy: {measure: (n_worlds,)}}"""

_WHAT = "evaluation.json"
_PART = "[0-9]*-*.json"
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Parts:
    """A folder of parts; it can be sent to another process of this machine.

    Attributes:
        folder: made by `begin`.
    """

    folder: Path

    @classmethod
    def of(cls, out: str | Path) -> "Parts":
        """The parts of an evaluation that will be kept in the folder `out`."""
        path = Path(out).resolve()
        return cls(path.with_name(path.name + ".parts"))

    def begin(self, said: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
        """Begin an evaluation, or go on with one.

        Args:
            said: what is evaluated. resume: go on with parts that are there.

        Returns:
            What was noted at the beginning: `said`, and all that `note` added.

        Raises:
            BadInput: parts are there and it is not said to go on, or none are and it is.
            MismatchError: they belong to another evaluation, or to another state of this code.
        """
        said = {**plain(said), "code": code_digest()}
        path = self.folder / _WHAT
        if not resume:
            if self.begun:
                allowed = "must not hold parts of an evaluation that was stopped"
                remedy = "Go on with it: --resume. Or remove the folder."
                raise BadInput("out", str(self.folder), allowed, remedy)
            write_json(path, said)
            return said
        if not path.is_file():
            remedy = "Leave --resume out, or name the --out it was begun with."
            raise BadInput("resume", str(self.folder), "must hold an evaluation that was stopped", remedy)
        noted = read_json(path)
        for name, value in said.items():
            if noted.get(name) != value:
                raise MismatchError(
                    "resume",
                    f"{name} {_short(value)}",
                    f"must be {_short(noted.get(name))}, as it was begun",
                    "Go on with what it was begun with, or remove the folder and begin anew.",
                )
        return noted

    @property
    def begun(self) -> bool:
        """Whether a task has ended."""
        return any(self.folder.glob(_PART))

    def note(self, **facts: Any) -> None:
        """Keep facts beside what is evaluated."""
        write_json(self.folder / _WHAT, {**read_json(self.folder / _WHAT), **facts})

    def read(self, first: int, family: str) -> Sums | None:
        """What came of a task, None where it has not ended.

        Args:
            first: place of its first world. family: of worlds.

        Raises:
            BadInput: the file was damaged.
        """
        path = self._path(first, family)
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            whole = found["sha256"] == _digest_of(found["results"])
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            remedy = f"Remove that file from {path.parent}: its worlds are flown again."
            raise BadInput("part", path.name, "must be as it was written", remedy)
        return {
            policy: {measure: np.asarray(values, np.float64) for measure, values in sums.items()}
            for policy, sums in found["results"].items()
        }

    def write(self, first: int, family: str, results: Mapping[str, Any]) -> None:
        """Keep what came of a task.

        Raises:
            BadInput: a sum is not finite.
        """
        for policy, sums in results.items():
            for measure, values in sums.items():
                if not np.isfinite(values).all():
                    remedy = "Check the run of the world that lacks it."
                    raise BadInput(f"results[{policy!r}][{measure!r}]", values, "must be finite", remedy)
        sums_of = plain(results)
        write_json(self._path(first, family), {"sha256": _digest_of(sums_of), "results": sums_of})

    def remove(self) -> None:
        """Forget the parts: what they came to is kept elsewhere."""
        rmtree(self.folder, ignore_errors=True)

    def _path(self, first: int, family: str) -> Path:
        return self.folder / f"{first:04d}-{family}.json"


def _digest_of(results: Mapping[str, Any]) -> str:
    return sha256(as_json(results).encode()).hexdigest()


def code_digest() -> str:
    """64 hexadecimal digits over all code and tables of this package."""
    digest = sha256()
    for path in sorted([*_PACKAGE.rglob("*.py"), *_PACKAGE.rglob("*.csv")]):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _short(value: Any) -> str:
    text = as_json({"": value})[5:-1]
    return text if len(text) <= 80 else f"{text[:77]}..."
