"""The updater at work in a process of its own.

    with BackgroundUpdater(folder) as updater:
        updater.submit(path, now)      # returns when the episode is kept; refused while too many wait
        for update in updater.drain():
            ...

What waits, waits on the disk and in order, so the versions are the same as those of `Updater.episode` one by
one, and nothing that was kept is lost with the process. The two talk through a pipe: whichever dies, the
other reads its end.
"""

import datetime as dt
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gaelp.core.errors import BadInput, GaelpError
from gaelp.learning.updater.config import UpdaterConfig
from gaelp.learning.updater.episodes import Episode
from gaelp.learning.updater.models import Models
from gaelp.learning.updater.updating import Update, Updater, update_of

_LOOK_S = 0.05
_LEARN, _END, _DONE = "learn", "end", "done"


class BackgroundUpdater:
    """An updater whose learning happens elsewhere.

    Args:
        folder, config, on_segments: as of `Updater`; `on_segments` is called here, by `updates` and `drain`.
    """

    def __init__(
        self,
        folder: Path | str,
        config: UpdaterConfig | None = None,
        *,
        on_segments: Sequence[Callable[[Models], None]] = (),
    ) -> None:
        self.updater = Updater(folder, config)
        self._on_segments = on_segments
        self._seen = len(self.updater.registry.moves())
        self._asked, self._is_dead = 0, False
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(str(folder), self.updater.config, theirs), daemon=True
        )
        self._process.start()
        theirs.close()
        self._ask(_LEARN)  # what an earlier process left

    def submit(
        self, path: Path, now: dt.datetime, *, stream: str | None = None, flown: str | None = None
    ) -> Episode | None:
        """Keep an episode for the worker; arguments and errors are those of `Updater.submit`."""
        kept = self.updater.submit(path, now, stream=stream, flown=flown)
        self._ask(_LEARN)
        return kept

    def updates(self) -> list[Update]:
        """What was learned since the last call.

        Raises:
            GaelpError: the worker met an error; an episode that could not be read is gone.
        """
        self._listen()
        moves = self.updater.registry.moves()
        found = [update_of(move) for move in moves[self._seen :] if "update" in move.evidence]
        self._seen = len(moves)
        if any(update.is_news for update in found):
            models = self.updater.models()
            assert models is not None
            for tell in self._on_segments:
                tell(models)
        return found

    def drain(self, timeout_s: float = 600.0) -> list[Update]:
        """Wait until nothing waits; returns what was learned since the last call.

        Raises:
            GaelpError: as `updates`, or the worker died, or something still waits after `timeout_s`.
        """
        end = time.monotonic() + timeout_s
        found = self.updates()
        while self._asked:
            if self._is_dead:
                raise GaelpError("The updater's process died; what waits is learned by the next one.")
            if time.monotonic() > end:
                raise GaelpError(f"{len(self.updater.waiting())} episodes still wait after {timeout_s:g} s.")
            self._line.poll(_LOOK_S)
            found += self.updates()
        return found

    def close(self, timeout_s: float = 600.0) -> None:
        """Let the worker end after the episode it is at; what waits stays on the disk."""
        self._ask(_END)
        self._process.join(timeout_s)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, word: str) -> None:
        try:
            self._line.send(word)
        except OSError:  # it died; `drain` says so
            pass
        self._asked += 1

    def _listen(self) -> None:
        while self._line.poll():
            try:
                told = self._line.recv()
            except (EOFError, OSError):
                self._is_dead = True
                return
            if told != _DONE:
                raise told
            self._asked -= 1


def _serve(folder: str, config: UpdaterConfig, line: Any) -> None:
    """Learn whenever somebody asks, until told to end or the asker is gone."""
    updater = Updater(folder, config)
    try:
        while line.recv() != _END:
            while waiting := updater.waiting():
                try:
                    updater.work(most=1)
                except BadInput as error:  # that episode is gone
                    line.send(error)
                    if waiting[0] in updater.waiting():  # or it is not the one that is wrong
                        break
                except (GaelpError, OSError) as error:  # until somebody asks again
                    line.send(error)
                    break
                if line.poll():
                    break  # more is asked, or it is over; what waits is learned at the next asking
            line.send(_DONE)
    except (EOFError, OSError):
        return
