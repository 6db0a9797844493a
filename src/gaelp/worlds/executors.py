"""Where work runs: here, in processes of this machine, or on Ray. The results are the same, bit for bit.

    with make_executor("processes") as executor:
        results = executor.map(fly_task, tasks)

A task is a small specification that can be pickled; what it needs is built where it runs. Seeds belong to
worlds, never to workers, and a worker runs its kernels on one thread, so neither the number of workers nor
the order in which they finish can be seen in a result.
"""

import importlib
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.market.file import load
from gaelp.market.market import World
from gaelp.worlds.families import DEFAULT, family
from gaelp.worlds.flight import fly, panel_budget, run_off
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import worlds_at
from gaelp.worlds.twins import outcome
from gaelp.worlds.warmed import default_cache, warmed

T = TypeVar("T")
R = TypeVar("R")
Done = Callable[[int], None]
"""Told the place of a task that has finished."""

EXECUTORS = ("inline", "processes", "ray")
_SHARED_FROM_BYTES = 8_192
_SHARED_FOLDER = Path("/dev/shm")
_RAY_STORE_BYTES = 512_000_000


class Executor(Protocol):
    """Runs one function on many tasks."""

    @property
    def n_workers(self) -> int:
        """How many tasks run at a time."""

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, done: Done = lambda _: None) -> list[R]:
        """Results in the order of the tasks; the first error that a task raises is raised here.

        Args:
            function: importable by name. tasks: picklable. done: told of each task that has finished.
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

    Args:
        n_workers: processes; None takes one per core.
    """

    def __init__(self, n_workers: int | None = None) -> None:
        self.n_workers = checked_workers(n_workers)
        self._pool = ProcessPoolExecutor(self.n_workers, get_context("spawn"), initializer=_one_thread)

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, done: Done = lambda _: None) -> list[R]:
        """Run the tasks; see `Executor`."""
        futures = {self._pool.submit(_run_shared, function, task): i for i, task in enumerate(tasks)}
        results: list[Any] = [None] * len(futures)
        failure: BaseException | None = None
        for future in as_completed(futures):
            # after a failure the others are still waited for: their shared memory must be given back
            if future.cancelled():
                continue
            error = future.exception()
            if error is None:
                results[futures[future]] = _from_shared(future.result())
                done(futures[future])
            elif failure is None:
                failure = error
                for other in futures:
                    other.cancel()
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
        BadInput: Ray is not installed.
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
        if self._started:
            self._ray.init(
                num_cpus=self.n_workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=_RAY_STORE_BYTES,
            )

    def map(self, function: Callable[[T], R], tasks: Iterable[T], *, done: Done = lambda _: None) -> list[R]:
        """Run the tasks; see `Executor`."""
        remote = self._ray.remote(max_retries=0)(_run_on_one_thread)
        places = {remote.remote(function, task): i for i, task in enumerate(tasks)}
        results: list[Any] = [None] * len(places)
        waiting = list(places)
        while waiting:
            ready, waiting = self._ray.wait(waiting, num_returns=1)
            for reference in ready:
                try:
                    results[places[reference]] = pickle.loads(self._ray.get(reference))
                except self._ray.exceptions.RayTaskError as error:
                    for other in waiting:
                        self._ray.cancel(other)
                    raise getattr(error, "cause", None) or error from None
                done(places[reference])
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
        return max(
            1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )
    if n_workers < 1:
        raise BadInput("workers", n_workers, "must be at least 1", "Give one worker or more.")
    return n_workers


@dataclass(frozen=True, kw_only=True)
class Task:
    """Some worlds, one policy, one family: all that a worker must be told to fly.

    Attributes:
        market: path of the market file.
        split, indices, world_seed: which worlds; see `worlds_at`.
        n_people: per world. days: of the flight. runoff_days: after it.
        policy: a name or a checkpoint's path. family: a name of `FAMILIES`, or `default`.
        daily_budget_usd: per panel; None takes the file's a person.
        seed: for policies that draw.
        twin: difference with the same worlds without our ads.
    """

    market: str
    split: str
    indices: tuple[int, ...]
    n_people: int
    days: int
    policy: str
    family: str = "default"
    seed: int = 0
    world_seed: int = 0
    runoff_days: int = 0
    daily_budget_usd: float | None = None
    twin: bool = False

    def worlds(self) -> list[World]:
        """The worlds that the task names."""
        return worlds_at(load(self.market), self.split, self.indices, self.world_seed)

    def parts(self, n_parts: int) -> "list[Task]":
        """The task cut into at most `n_parts` runs of its worlds; results can be joined in order."""
        return [replace(self, indices=tuple(part)) for part in shares(self.indices, n_parts)]


def fly_task(task: Task) -> dict[str, NDArray[Any]]:
    """Fly a task from a warmed-up snapshot.

    Returns:
        {sum: (n_worlds,)} of `twins.outcome`, and `spend_micros` (n_worlds, hours, n_lines) as billed.
    """
    worlds = task.worlds()
    member = DEFAULT if task.family == DEFAULT.name else family(task.family)
    market, traffic = warmed(worlds, task.n_people, cache=default_cache())
    budget = member.budget_factor * float(panel_budget(market, task.daily_budget_usd)[0])
    member.apply(market, market.hour, task.days)
    without = market.copy() if task.twin else None
    policy = make_policy(task.policy, worlds[0].file)()
    flight = fly(
        market,
        policy,
        days=task.days,
        traffic=traffic,
        daily_budget_usd=budget,
        seed=task.seed,
        keep_bids=False,
    )
    run_off(market, task.runoff_days)
    if without is not None:
        run_off(without, task.days + task.runoff_days)
    found = outcome(flight, without, task.runoff_days)
    return {**found, "spend_micros": flight.spend_micros}


@dataclass(frozen=True)
class _Shared:
    """A pickled result, its arrays in one block of shared memory where they are large."""

    pickled: bytes
    sizes: tuple[int, ...] = ()
    block: str | None = None


def _one_thread() -> None:
    """Tell a worker to use one thread, whatever library asks."""
    import numba

    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is imported
    numba.set_num_threads(1)


def _run_shared(function: Callable[[T], R], task: T) -> _Shared:
    """Run a task in a worker and put its arrays where the caller finds them without another copy."""
    result = function(task)
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


def _fits(n_bytes: int) -> bool:
    """Whether shared memory has room; writing beyond it kills the process, so ask first."""
    return not _SHARED_FOLDER.is_dir() or shutil.disk_usage(_SHARED_FOLDER).free > 2 * n_bytes


def _run_on_one_thread(function: Callable[[T], R], task: T) -> bytes:
    """Run a task on a Ray worker; the result is pickled here, as Ray would hand out read-only arrays."""
    _one_thread()
    return pickle.dumps(function(task), protocol=5)


def shares(items: Sequence[T], n_parts: int) -> list[list[T]]:
    """Items cut into at most `n_parts` runs of about equal length, none of them empty.

    >>> shares([1, 2, 3, 4, 5], 2), shares([1], 4)
    ([[1, 2, 3], [4, 5]], [[1]])
    """
    places = np.array_split(np.arange(len(items)), max(1, min(n_parts, len(items))))
    return [[items[i] for i in part] for part in places]
