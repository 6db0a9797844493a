"""What every trainer of an agent does around its epochs: stop in time, keep what there is, go on from it."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import LINES
from gaelp.market.file import MarketFile
from gaelp.worlds.registry import CHECKPOINT, checkpoint, read_checkpoint, write_checkpoint

Floats = NDArray[np.float64]


class Limit:
    """When a training stops: after so many epochs, or before one that would not end in time.

    Args:
        epochs: counted from the beginning of the run, also of a resumed one.
        minutes: from now on; one of both. most: epochs there can be, if anything bounds them.
        first_try: minutes to suggest.

    Raises:
        BadInput: neither or both are given, or one is out of range.

    >>> limit = Limit(2, None)
    >>> [limit.is_reached(done) for done in (0, 1, 2)]
    [False, False, True]
    """

    def __init__(
        self, epochs: int | None, minutes: float | None, *, most: int | None = None, first_try: float = 1
    ) -> None:
        remedy = f"For a first try: --minutes {first_try:g}."
        if (epochs is None) == (minutes is None):
            raise BadInput("epochs", epochs, "give either epochs or minutes", remedy)
        if epochs is not None and most is not None and epochs > most:
            raise BadInput("epochs", epochs, f"must be at most {most}", "Ask for fewer.")
        if minutes is not None and not 0.0 < minutes < np.inf:  # NaN would never end
            raise BadInput("minutes", minutes, "must be finite and above 0", remedy)
        self._epochs, self._minutes, self._most = epochs, minutes, most
        self._first = 0
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._began

    def resume(self, done: int, *, finished: bool = True) -> None:
        """Go on after epochs that an earlier run has done.

        Args:
            done: how many. finished: nothing of the last one is left to do.

        Raises:
            BadInput: they are all that were asked for.
        """
        if self._epochs is not None and self._epochs < done + finished:
            raise BadInput("epochs", self._epochs, f"must be above the {done} already done", "Ask for more.")
        self._first = done

    def is_reached(self, done: int, *, ahead: float = 0.7) -> bool:
        """Whether to stop here.

        Args:
            done: epochs since the beginning of the run. ahead: what must still fit into the minutes, in
                mean epochs; below 1, as the last one may end a little late.
        """
        if self._most is not None and done >= self._most:
            return True
        if self._epochs is not None:
            return done >= self._epochs
        here = done - self._first
        assert self._minutes is not None
        return here > 0 and self.seconds * (1.0 + ahead / here) >= 60.0 * self._minutes


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, so that what an epoch tells and what it keeps stay one."""
    if threading.current_thread() is not threading.main_thread():  # no other thread is told of Ctrl-C
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if waiting:
        signal.raise_signal(signal.SIGINT)


def by_line(values: Floats) -> dict[str, float]:
    """(n_lines,) numbers by the lines' names, to five places."""
    return {line.name: round(float(value), 5) for line, value in zip(LINES, values, strict=True)}


def keep(
    out: Path | None, file: MarketFile, agent: str, factors: Mapping[str, float], learnt: Mapping[str, Any]
) -> dict[str, Any]:
    """The checkpoint of what was learnt, also written to `out`; see `registry.write_checkpoint`.

    Args:
        out: a folder or a `.json` file; None writes nothing.
    """
    if out is not None:
        write_checkpoint(out, file, factors, learnt, agent=agent)
    return checkpoint(file, factors, learnt, agent=agent)


def require_begun(state: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """Refuse to go on with a run of other sizes or another seed, by the first that differs.

    Args:
        state: of the checkpoint. sizes: asked for now.

    Raises:
        BadInput: one differs.
    """
    for name, size in sizes.items():
        if state.get(name) != size:
            allowed = f"must be {state.get(name)}, as it was begun"
            raise BadInput(name, size, allowed, "Resume with the same sizes and seed.")


def kept(out: Path | None, file: MarketFile, agent: str) -> tuple[Path, dict[str, Any]]:
    """Where the checkpoint stands that a run goes on from, and its content.

    Raises:
        BadInput: there is none, or it cannot be read.
        MismatchError: it was trained on another market, or is another agent's.
    """
    path = None if out is None else out if out.suffix == ".json" else out / CHECKPOINT
    if path is None or not path.is_file():
        raise BadInput("resume", str(path), "needs a checkpoint", "Name the run's folder with --out.")
    state = read_checkpoint(path, file)
    if state["agent"] != agent:
        remedy = "Train it from the beginning, or name another folder."
        raise MismatchError("checkpoint", f"{path} of {state['agent']}", f"must be of {agent}", remedy)
    return path, state
