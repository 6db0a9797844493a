"""The way to the process that retrains: ask, wait without blocking, start it again if it died."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from gaelp.core.errors import BadInput
from gaelp.service.errors import Unavailable
from gaelp.service.metrics import Metrics
from gaelp.service.settings import Settings

_LONGEST_LINE = 1 << 26
_START_LIMIT_S = 120.0
_REST_S = 1.0  # between two starts of a process that dies
_BROKEN = "The database or the models cannot be used at present; the service's log says why."
log = logging.getLogger("gaelp.service")


class RetrainerProcess:
    """`gaelp.service.retrainer_process`, seen from the service.

    Args:
        settings: of the service. metrics: counts starts.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._starting = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._started_s = -_REST_S
        self._stopped = False

    async def start(self) -> None:
        """Start it, unless it runs.

        Raises:
            BadInput: it refuses its settings, such as the database.
            Unavailable: it cannot be started, does not come up, or the service is being stopped.
        """
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            if self._stopped:
                raise Unavailable("The service is being stopped.")
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._started_s + _REST_S - loop.time()))
            self._started_s = loop.time()
            self._metrics.restarts.inc()
            try:
                process = self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "gaelp.service.retrainer_process"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=_LONGEST_LINE,
                    start_new_session=True,  # Ctrl-C is for the service, which then ends this one in order
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            except OSError as error:  # such as too many open files, or no memory
                log.error("the process that retrains cannot be started: %s", error)
                raise Unavailable("The process that retrains cannot be started at present.") from None
            told = self._settings
            setup = {"database": told.database, "models": told.models, "config": told.config}
            assert process.stdin is not None
            process.stdin.write(to_json(setup) + b"\n")
            ready = self._waiting[0] = loop.create_future()
            self._reader = asyncio.create_task(self._read(process))
            try:
                await asyncio.wait_for(ready, _START_LIMIT_S)
            except TimeoutError:
                process.kill()
                raise Unavailable("The process that retrains does not come up.") from None

    async def ask(self, job: str, *, limit_s: float, **given: Any) -> dict[str, Any]:
        """Have something done.

        Args:
            job: of `retrainer_process.Jobs`. limit_s: then the process is killed. given: for the job.

        Raises:
            BadInput: what was given is refused.
            Unavailable: the work failed, the process died or does not start, or the service is being stopped.
        """
        try:
            await self.start()
        except BadInput as error:  # of the service's settings: nothing that was asked is wrong
            log.error("the process that retrains does not start: %s", error)
            raise Unavailable(_BROKEN) from None
        process = self._process
        assert process is not None and process.stdin is not None
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            process.stdin.write(to_json({"id": number, "job": job, "given": given}) + b"\n")
            await process.stdin.drain()
            return await asyncio.wait_for(answer, limit_s)
        except (BrokenPipeError, ConnectionResetError):
            raise Unavailable("The process that retrains has died.") from None
        except TimeoutError:
            log.error("killed the process that retrains: %s took more than %s s", job, limit_s)
            process.kill()
            raise Unavailable(f"The work took more than {limit_s:g} s and was ended.") from None
        finally:
            self._waiting.pop(number, None)

    def kill(self) -> None:
        """End it now; what was asked fails, and the next to ask starts it anew."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self, grace_s: float) -> None:
        """End it: after what is under way, or by force after so many seconds."""
        self._stopped = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            log.warning("killed the process that retrains: it was still at work")
            process.kill()
            await process.wait()
        if self._reader is not None:
            await self._reader

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            told: Mapping[str, Any] = json.loads(line)
            answer = self._waiting.get(told["id"])
            if answer is None or answer.done():
                continue
            if "answer" in told:
                answer.set_result(told["answer"])
            elif "refused" in told:
                answer.set_exception(BadInput(*told["refused"]))
            else:
                log.error("the process that retrains could not do its work: %s", told["failed"])
                answer.set_exception(Unavailable(_BROKEN))
        code = await process.wait()
        if not self._stopped:
            log.error("the process that retrains ended with code %s", code)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("The process that retrains has died."))
