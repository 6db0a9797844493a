"""Writers that are killed in the middle: what was told and answered is there, and nobody is half there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from gaelp.core.words import Stage
from gaelp.journeys.schema import aliases, conversions, journeys, touchpoints
from gaelp.journeys.store import JourneyStore

from .conftest import Postgres
from .writers import PEOPLE_IN_A_CALL, TOUCHES

WRITERS = Path(__file__).parent / "writers.py"
WHOLE = (PEOPLE_IN_A_CALL * TOUCHES, PEOPLE_IN_A_CALL, PEOPLE_IN_A_CALL, PEOPLE_IN_A_CALL * TOUCHES)


def held(store: JourneyStore, call: int) -> tuple[int, int, int, int]:
    """What the store holds of a call: touches, conversions, converted journeys and the touches they count."""
    names = [f"{call}:{i}" for i in range(PEOPLE_IN_A_CALL)]
    with store.database.reading() as connection:
        query = sa.select(aliases.c.id).where(store.database.among(aliases.c.name, names))
        ids = connection.execute(query).scalars().all()

        def count(table: sa.Table, *what: "sa.ColumnElement[bool]") -> int:
            among = store.database.among(table.c[next(iter(table.c)).name], ids)
            return connection.execute(
                sa.select(sa.func.count()).select_from(table).where(among, *what)
            ).scalar_one()

        counted = connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(journeys.c.n_touches), 0)).where(
                store.database.among(journeys.c.identity_id, ids)
            )
        ).scalar_one()
        converted = journeys.c.stage == int(Stage.CONVERTED)
        return count(touchpoints), count(conversions), count(journeys, converted), int(counted)


@contextmanager
def writers(url: str) -> Iterator[subprocess.Popen[str]]:
    """A program that starts a writer when told so; see `writers.streams`."""
    command = [sys.executable, str(WRITERS), "streams", url, "0"]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True) as program:
        yield program


def stream_and_kill(
    program: subprocess.Popen[str], first: int, moment: tuple[int, float], kill: Callable[[int], None]
) -> int:
    """Let a writer append for a while, end it, and say which call was the last it had an answer to.

    Args:
        program: starts the writer.
        first: call to begin with.
        moment: of the end, so many answers and seconds after the writer is ready.
        kill: ends the writer, whose process id it gets.
    """
    assert program.stdin is not None and program.stdout is not None
    print(first, file=program.stdin, flush=True)
    ready, process = program.stdout.readline().split()
    assert ready == "ready"
    answers, wait_s = moment
    told = [program.stdout.readline() for _ in range(answers)]
    time.sleep(wait_s)
    kill(int(process))
    while not (line := program.stdout.readline()).startswith("ended"):
        told.append(line)
    assert line != "ended 0\n"
    return int(told[-1]) if told else first - 1


def check(url: str, first: int, last: int) -> None:
    with JourneyStore(url) as store:
        for call in range(first, last + 1):
            assert held(store, call) == WHOLE, call
        assert held(store, last + 1) in (WHOLE, (0, 0, 0, 0))
        assert held(store, last + 2) == (0, 0, 0, 0)


def check_all(url: str, last: int) -> None:
    check(url, 0, last)
    with JourneyStore(url) as store, store.database.reading() as connection:
        if store.database.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        lost = sa.select(sa.func.count()).select_from(journeys).where(journeys.c.conversion_id.is_(None))
        assert connection.execute(lost).scalar_one() == 0, "each journey told of converts"


def moments(times: int) -> list[tuple[int, float]]:
    """Random moments, within calls and between them."""
    rng = np.random.default_rng(times)
    return list(zip(rng.integers(0, 5, times).tolist(), rng.uniform(0.0, 0.1, times).tolist(), strict=True))


def kill_often(url: str, times: int) -> None:
    first = 0
    with writers(url) as program:
        for moment in moments(times):
            last = stream_and_kill(program, first, moment, lambda process: os.kill(process, signal.SIGKILL))
            check(url, first, last)
            first = last + 1  # the next writer tells the call again that was cut off
    check_all(url, first - 1)


def test_a_killed_writer_loses_nothing_it_had_an_answer_to(url: str) -> None:
    kill_often(url, 5)


@pytest.mark.study
@pytest.mark.timeout(3600)
def test_a_hundred_killed_writers_lose_nothing(url: str) -> None:
    kill_often(url, 100)


def crash_often(postgres: Postgres, times: int) -> None:
    """The server itself is killed, and started again."""
    url = postgres.new_database()
    first = 0
    with writers(url) as program:
        for moment in moments(times):
            last = stream_and_kill(program, first, moment, lambda _process: postgres.crash())
            postgres.start()
            check(url, first, last)
            first = last + 1
    check_all(url, first - 1)


def test_a_killed_server_loses_nothing_it_had_answered(postgres: Postgres) -> None:
    crash_often(postgres, 1)


@pytest.mark.study
@pytest.mark.timeout(3600)
def test_twenty_killed_servers_lose_nothing(postgres: Postgres) -> None:
    crash_often(postgres, 20)
