"""Served predictions on their way to the database: beside the requests, in batches, bounded, counted."""

import asyncio
import logging
from collections import deque
from typing import Any

from gaelp.core.errors import BadInput
from gaelp.service.errors import Unavailable
from gaelp.service.metrics import Metrics
from gaelp.service.retrainer import RetrainerProcess

_AT_ONCE = 100  # rows; making a line of them holds up the requests for less than a millisecond
_LIMIT_S = 150.0  # longer than the database waits for another writer
log = logging.getLogger("gaelp.service")


class Recorder:
    """Keeps what was served; a prediction sent twice, because an answer was lost, is kept once.

    Args:
        retrainer: the process with the database. metrics: counts what is kept and lost.
        every_s: between two looks. most: that may wait.
    """

    def __init__(self, retrainer: RetrainerProcess, metrics: Metrics, every_s: float, most: int) -> None:
        self._retrainer, self._metrics = retrainer, metrics
        self._every_s, self._most = every_s, most
        self._waiting: deque[dict[str, Any]] = deque()
        self._flushing = asyncio.Lock()

    def add(self, served: dict[str, Any]) -> None:
        """Take a prediction: the fields of `prediction.accuracy.Served`, `at` as text."""
        if len(self._waiting) >= self._most:
            self._metrics.lost.labels("queue_full").inc()
            return
        self._waiting.append(served)

    async def run(self) -> None:
        """Send what waits, again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.flush()
            except Unavailable as error:
                log.warning("predictions wait to be recorded: %s", error)
                await asyncio.sleep(1.0)

    async def flush(self) -> None:
        """Send all that waits now.

        Raises:
            Unavailable: the database cannot be reached; what was not sent waits on.
        """
        async with self._flushing:
            while self._waiting:
                self._metrics.waiting.set(len(self._waiting))
                batch = [self._waiting[i] for i in range(min(_AT_ONCE, len(self._waiting)))]
                try:
                    await self._send(batch)
                except BadInput:  # all of a call are kept or none: find the bad one
                    for each in batch:
                        await self._send_or_lose(each)
                for _ in batch:
                    self._waiting.popleft()
            self._metrics.waiting.set(0)

    async def _send(self, batch: list[dict[str, Any]]) -> None:
        await self._retrainer.ask("record", limit_s=_LIMIT_S, served=batch)
        self._metrics.recorded.inc(len(batch))

    async def _send_or_lose(self, served: dict[str, Any]) -> None:
        try:
            await self._send([served])
        except BadInput as error:
            log.error("a prediction was refused by the database: %s", error)
            self._metrics.lost.labels("refused").inc()

    async def close(self, grace_s: float) -> None:
        """Send the rest; what cannot be sent in so many seconds is lost, and counted."""
        try:
            await asyncio.wait_for(self.flush(), grace_s)
        except (Unavailable, TimeoutError) as error:
            log.error("%d predictions were not recorded: %s", len(self._waiting), error or "no time left")
            self._metrics.lost.labels("stopped").inc(len(self._waiting))
