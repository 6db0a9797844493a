"""Tracking of training: a row of figures for each epoch, in the run's folder and, if asked, in wandb.

    with Tracker(out) as tracker:
        train(..., report=tracker.write)

runs/<name>/metrics.jsonl   one JSON object a line, one line an epoch
runs/<name>/wandb/          the same rows, where `--track wandb` asked for them
"""

import importlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.files import sync, write_text_atomic
from gaelp.core.plain import as_json, plain

HISTORY = "metrics.jsonl"
FIELDS = (
    "epoch",
    "seconds",
    "worlds_per_second",
    "spend_usd",
    "incremental_cac_usd",
    "incremental_roas",
    "objective_usd",
)
"""What each row has, null where the trainer does not know it; the learner's own figures follow."""
FAILED, INTERRUPTED = 1, 130
Row = Mapping[str, Any]


class Mirror(Protocol):
    """Another place that gets every row."""

    def write(self, row: Row) -> None:
        """Take a row; one of the epoch of the last row adds to it."""

    def close(self, exit_code: int) -> None:
        """No more rows will come. 0 means that the training ended by itself."""


class Tracker:
    """The history of a run.

    A row of an epoch replaces what stands there of that epoch and of later ones, so a run that goes on from a
    checkpoint leaves no epoch twice, and one that begins anew leaves nothing of an older one.

    Args:
        out: the run's folder; None keeps the rows in memory only.
        resume: go on from the history in `out`, if there is one; a last line that a kill tore is dropped.
        mirrors: told every row; first of all those that are gone on from. Closed with the tracker.

    Raises:
        BadInput: the history to go on from is damaged, or what has its name is no file.
    """

    def __init__(self, out: Path | None, *, resume: bool = False, mirrors: Sequence[Mirror] = ()) -> None:
        self.path = None if out is None else out / HISTORY
        self.rows: list[dict[str, Any]] = []
        if self.path is not None and self.path.exists():
            if not self.path.is_file():
                remedy = "Move it away, or name another folder."
                raise BadInput(HISTORY, str(self.path), "must be a file, where there is one", remedy)
            if resume:
                self.rows = _read(self.path)
        self._mirrors = mirrors
        self._begun = False
        self._last = time.perf_counter()

    def write(self, row: Row) -> dict[str, Any]:
        """Keep the row of an epoch: when this returns, it is on the disk.

        Args:
            row: has `epoch`, from 1. Where it has no `seconds`, they are counted from the last row; where it
                has `worlds` (flown to the end of a campaign), `worlds_per_second` follows.

        Returns:
            The row as it is kept.
        """
        now = time.perf_counter()
        seconds = float(row.get("seconds", now - self._last))
        self._last = now
        known: dict[str, Any] = {"seconds": round(seconds, 4)}
        if row.get("worlds") is not None:
            known["worlds_per_second"] = round(row["worlds"] / max(seconds, 1e-9), 3)
        whole: dict[str, Any] = plain({**dict.fromkeys(FIELDS), **row, **known})
        before = [each for each in self.rows if each["epoch"] < whole["epoch"]]
        follows = self._begun and len(before) == len(self.rows)
        self.rows = [*before, whole]
        if self.path is not None and follows:
            _append(self.path, as_json(whole) + "\n")
        elif self.path is not None:
            write_text_atomic(self.path, "".join(as_json(each) + "\n" for each in self.rows))
        for mirror in self._mirrors:
            for each in [whole] if self._begun else self.rows:
                mirror.write(each)
        self._begun = True
        return whole

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = 0 if kind is None else INTERRUPTED if issubclass(kind, KeyboardInterrupt) else FAILED
        for mirror in self._mirrors:
            mirror.close(code)


class Wandb:
    """The rows as a run of Weights & Biases, offline unless the environment's WANDB_MODE says otherwise.

    A resumed training is written whole as another run of the same group.

    Args:
        out: the run's folder, whose `wandb/` it goes to; its name is the run's. config: the settings.

    Raises:
        BadInput: wandb is not installed. GaelpError: it does not start.

    Source: https://docs.wandb.ai, "wandb.init" and "Run W&B offline".
    """

    def __init__(self, out: Path, config: Mapping[str, Any]) -> None:
        # offline too, wandb 0.31 reports its own errors and figures to its maker
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            wandb: Any = importlib.import_module("wandb")
            begin, settings = wandb.init, wandb.Settings
        except (ImportError, AttributeError):  # the latter: a folder that is only called so
            remedy = "Install it: pip install 'gaelp[track]'."
            raise BadInput("track", "wandb", "needs the package wandb", remedy) from None
        out.mkdir(parents=True, exist_ok=True)  # wandb would look for another place
        try:
            self._run: Any = begin(
                project="gaelp",
                group=out.resolve().name,
                name=out.resolve().name,
                dir=str(out),
                mode=os.environ.get("WANDB_MODE") or "offline",
                config=plain(config),
                settings=settings(console="off", silent=True),
            )
        except (wandb.errors.Error, ValueError) as error:  # ValueError: a mode or setting it does not know
            said = " ".join(str(error).split())
            raise GaelpError(f"wandb did not start: {said}. Leave --track or WANDB_MODE out.") from error

    def write(self, row: Row) -> None:
        """See `Mirror`."""
        figures = {name: value for name, value in row.items() if value is not None}
        self._run.log(figures, step=row["epoch"])

    def close(self, exit_code: int) -> None:
        """See `Mirror`."""
        self._run.finish(exit_code=exit_code)


def _append(path: Path, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(line)
    sync(path)


def _read(path: Path) -> list[dict[str, Any]]:
    """Rows of a history; what follows its last line end was torn by a kill."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(whole.split(b"\n") if whole else [], 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        last = rows[-1]["epoch"] if rows else 0
        epoch = row.get("epoch") if isinstance(row, dict) else None
        if not (isinstance(epoch, int) and not isinstance(epoch, bool) and epoch > last):
            allowed = f"must be a JSON object with an epoch above {last}"
            remedy = "Remove that line, or move the file away; then resume."
            raise BadInput(f"{path}: line {number}", line.decode(errors="replace"), allowed, remedy)
        rows.append(row)
    return rows
