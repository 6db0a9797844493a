"""Locks that die with the process that holds them."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from gaelp.core.errors import GaelpError
from gaelp.journeys.database import Database

_PATIENCE_S = 60.0
_RETRY_S = 0.02
_RETRAINING = 0x72657472  # "retr"


class Locked(GaelpError):
    """Another process holds the lock; nothing was done."""


@contextmanager
def alone(path: Path | str, *, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold a lock that nobody else holds, whether thread or process; the system frees it if its holder dies.

    Args:
        path: the lock's file, made if missing. patience_s: to wait for it; 0: do not wait.

    Raises:
        Locked: somebody else holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        end = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise Locked(f"{Path(path).name} is held by another process. Try again later.") from None
                time.sleep(_RETRY_S)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone would leave it to forked children
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(database: Database) -> Iterator[None]:
    """Be the only one that retrains on a database, on whatever machine; does not wait.

    On SQLite a lock on a file beside the database's; on PostgreSQL an advisory lock, held by a connection of
    its own.

    Raises:
        Locked: somebody else is retraining.
    """
    if database.is_sqlite:
        with alone(f"{Path(str(database.url.database)).resolve()}.retraining", patience_s=0):
            yield
        return
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(_RETRAINING))).scalar():
            raise Locked("Somebody else is retraining. Try again later.")
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.pg_advisory_unlock(_RETRAINING)))
