"""Where work runs: here, in processes of this machine, or on Ray. The results are the same, bit for bit.

    with make_executor("processes") as executor:
        files = executor.map(load, ["markets/family_safety.toml"])

A task is a small specification that can be pickled; what it needs is built where it runs. Seeds belong to
worlds, never to workers, and a worker runs its kernels on one thread, so neither the number of workers nor
the order in which they finish can be seen in a result.
"""

import importlib
import os
import pickle
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.names import require_known

T = TypeVar("T")
R = TypeVar("R")
Done = Callable[[int], None]
"""Told the place of a task that has finished."""

EXECUTORS = ("inline", "processes", "ray")
_SHARED_FROM_BYTES = 8_192
_SHARED_FOLDER = Path("/dev/shm")
_RAY_STORE_BYTES = 512_000_000
_ASK_FOR_LESS = "Ask for fewer workers or smaller worlds, or run inline."


class Executor(Protocol):
    """Runs one function on many tasks."""

    @property
    def n_workers(self) -> int:
        """How many tasks run at a time."""

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, done: Done = lambda _: None) -> list[R]:
        """Results in the order of the tasks; the first error that a task raises is raised here.

        Args:
            function: importable by name. tasks: picklable. done: told of each task that has finished.

        Raises:
            GaelpError: a worker was lost, not by an error of its task.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class InlineExecutor:
    """One task after the other in this process, on all of its threads."""

    n_workers = 1

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, done: Done = lambda _: None) -> list[R]:
        """Run the tasks; see `Executor`."""
        results = []
        for place, task in enumerate(tasks):
            results.append(function(task))
            done(place)
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class ProcessExecutor:
    """Spawned processes of this machine; large arrays come back through shared memory.

    After a lost worker it runs nothing more.

    Args:
        n_workers: processes; None takes one per core.
    """

    def __init__(self, n_workers: int | None = None) -> None:
        self.n_workers = checked_workers(n_workers)
        self._pool = ProcessPoolExecutor(self.n_workers, get_context("spawn"), initializer=_begin_worker)

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, done: Done = lambda _: None) -> list[R]:
        """Run the tasks; see `Executor`."""
        futures: dict[Future[_Shared], int] = {}
        failure: BaseException | None = None
        try:
            for place, task in enumerate(tasks):
                futures[self._pool.submit(_run_shared, function, task)] = place
        except BrokenProcessPool as error:
            failure = error
        results: list[Any] = [None] * len(futures)
        for future in as_completed(futures):
            # after a failure the others are still waited for: their shared memory must be given back
            if future.cancelled():
                continue
            try:
                results[futures[future]] = _from_shared(future.result())
                if failure is None:
                    done(futures[future])
            except BaseException as error:
                failure = failure or error
                for other in futures:
                    other.cancel()
        if isinstance(failure, BrokenProcessPool):
            raise GaelpError(
                "a worker process ended before its task was done: killed, most often for want of memory, or "
                f"unable to start (a script needs `if __name__ == '__main__':`). {_ASK_FOR_LESS}"
            ) from failure
        if failure is not None:
            raise failure
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


class RayExecutor:
    """Workers of Ray Core on this machine, or of the cluster that is already joined.

    Args:
        n_workers: tasks at a time; None takes one per core.

    Raises:
        BadInput: Ray is not installed. GaelpError: it does not start.
    """

    def __init__(self, n_workers: int | None = None) -> None:
        self.n_workers = checked_workers(n_workers)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError:
            remedy = "Install it: pip install 'gaelp[ray]'."
            raise BadInput("executor", "ray", "needs the package ray", remedy) from None
        self._started = not self._ray.is_initialized()
        if not self._started:
            return
        try:
            self._ray.init(
                num_cpus=self.n_workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=_RAY_STORE_BYTES,
            )
        except (self._ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
            raise GaelpError(
                f"Ray did not start: {_first_line(error)}. Unset RAY_ADDRESS (to use a cluster, call ray.init"
                " beforehand), or run with processes."
            ) from error

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, done: Done = lambda _: None) -> list[R]:
        """Run the tasks; see `Executor`."""
        try:
            return self._map(function, tasks, done)
        except self._ray.exceptions.RayError as error:
            said = f"{type(error).__name__}: {_first_line(error)}"
            raise GaelpError(f"Ray could not finish a task ({said}). {_ASK_FOR_LESS}") from error

    def _map(self, function: Callable[[T], R], tasks: Iterable[T], done: Done) -> list[R]:
        remote = self._ray.remote(max_retries=0)(_run_on_one_thread)
        places = {remote.remote(function, task): i for i, task in enumerate(tasks)}
        results: list[Any] = [None] * len(places)
        waiting = list(places)
        try:
            while waiting:
                (ready,), waiting = self._ray.wait(waiting, num_returns=1)
                results[places[ready]] = pickle.loads(self._ray.get(ready))
                done(places[ready])
        except BaseException as error:
            with suppress(self._ray.exceptions.RayError):  # Ray itself may be gone
                for other in waiting:
                    self._ray.cancel(other)
            if isinstance(error, self._ray.exceptions.RayTaskError):
                raise getattr(error, "cause", None) or error from None
            raise
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._ray.shutdown()


def make_executor(name: str = "inline", n_workers: int | None = None) -> Executor:
    """An executor by name, to be used in a `with` block.

    Args:
        name: one of `EXECUTORS`. n_workers: tasks at a time; None takes one per core, `inline` ignores it.

    Raises:
        UnknownName: there is no such executor. BadInput: Ray is not installed, or there would be no worker.
        GaelpError: Ray does not start.
    """
    require_known("executor", name, EXECUTORS)
    if name == "inline":
        return InlineExecutor()
    return ProcessExecutor(n_workers) if name == "processes" else RayExecutor(n_workers)


def checked_workers(n_workers: int | None) -> int:
    """The number of workers, one per usable core where none is given.

    Raises:
        BadInput: less than one.
    """
    if n_workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_workers < 1:
        raise BadInput("workers", n_workers, "must be at least 1", "Give one worker or more.")
    return n_workers


@dataclass(frozen=True)
class _Shared:
    """A pickled result, its arrays in one block of shared memory where they are large."""

    pickled: bytes
    sizes: tuple[int, ...] = ()
    block: str | None = None


def _begin_worker() -> None:
    """One thread, and an end with the process that asked: killed, it cannot tell its workers to stop."""
    _one_thread()
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _one_thread() -> None:
    """Tell a worker to use one thread, whatever library asks."""
    import numba

    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is imported
    numba.set_num_threads(1)


def _run_shared(function: Callable[[T], R], task: T) -> _Shared:
    """Run a task in a worker and put its arrays where the caller finds them without another copy."""
    try:
        result = function(task)
    except Exception as error:
        raise _as_it_can_travel(error) from None
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = tuple(view.nbytes for view in views)
    if sum(sizes) < _SHARED_FROM_BYTES or not _fits(sum(sizes)):
        return _Shared(pickle.dumps(result, protocol=5))
    block = SharedMemory(create=True, size=sum(sizes))
    assert block.buf is not None
    at = 0
    for view, size in zip(views, sizes, strict=True):
        block.buf[at : at + size] = view
        at += size
    block.close()
    return _Shared(pickled, sizes, block.name)


def _from_shared(shared: _Shared) -> Any:
    """The result, with arrays of its own; the block is given back."""
    if shared.block is None:
        return pickle.loads(shared.pickled)
    block = SharedMemory(shared.block)
    try:
        assert block.buf is not None
        ends = np.cumsum(shared.sizes)
        buffers = [
            bytearray(block.buf[end - size : end]) for end, size in zip(ends, shared.sizes, strict=True)
        ]
        return pickle.loads(shared.pickled, buffers=buffers)
    finally:
        block.close()
        block.unlink()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def _fits(n_bytes: int) -> bool:
    """Whether shared memory has room; writing beyond it kills the process, so ask first."""
    return not _SHARED_FOLDER.is_dir() or shutil.disk_usage(_SHARED_FOLDER).free > 2 * n_bytes


def _run_on_one_thread(function: Callable[[T], R], task: T) -> bytes:
    """Run a task on a Ray worker; the result is pickled here, as Ray would hand out read-only arrays."""
    _one_thread()
    try:
        return pickle.dumps(function(task), protocol=5)
    except Exception as error:
        raise _as_it_can_travel(error) from None


def _as_it_can_travel(error: Exception) -> Exception:
    """The error, or one that says the same where it would not survive the way back; without its traceback."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:  # whatever its own pickling raises
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
