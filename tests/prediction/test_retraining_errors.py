"""A run that failed says what was wrong and what to do, in words for people; classes are for the log."""

import errno
import json
import os
import re
import shutil
import sqlite3

import pytest
import sqlalchemy as sa

from gaelp.core.errors import GaelpError
from gaelp.journeys.database import Database
from gaelp.prediction.look import Look
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.retraining import Retrainer
from gaelp.prediction.runs import DIED

from ..journeys.conftest import Postgres
from .streams import fill, morning

OF_PROGRAMS = re.compile(
    r"[A-Za-z]*(Error|Exception)\b|Traceback|\[Errno|\[SQL|datetime\.|line \d|sqlalche|\n"
)
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.json")


@pytest.fixture
def retrainer(tmp_path):
    with Retrainer(
        f"sqlite:///{tmp_path}/loop.db", tmp_path / "models", RetrainConfig(model="logistic")
    ) as opened:
        fill(opened.tracker, range(20))
        yield opened


def look(retrainer, day=20, **asked):
    return retrainer.check(trigger="daily", who="cron", now=morning(day), **asked)


def assert_plain(reply, *words):
    """An error in sentences, the last of them what to do."""
    assert reply.status == "error" and not OF_PROGRAMS.search(reply.message), reply.message
    assert reply.message[-1] == "." and reply.message.count(". ") >= 1, reply.message
    for each in words:
        assert each in reply.message, reply.message


@pytest.mark.parametrize(
    ("part", "error", "words"),
    [
        ("gaelp.prediction.look.save", FULL, "The disk is full. Make room"),
        ("shutil.copytree", shutil.Error([("a", "b", str(FULL))]), "The disk is full. Make room"),
        ("gaelp.prediction.registry.write_text_atomic", FULL, "The disk is full. Make room"),
        (
            "gaelp.prediction.look.save",
            PermissionError(13, "Permission denied", "m"),
            "permission denied (m)",
        ),
        (
            "gaelp.prediction.lock.os.open",
            PermissionError(13, "Permission denied", "l"),
            "permission denied (l)",
        ),
        ("gaelp.prediction.look.train_challenger", MemoryError(), "fewer days to learn from"),
    ],
)
def test_a_disk_or_a_memory_that_is_full_is_told_in_words(retrainer, monkeypatch, part, error, words):
    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(part, fail)
        assert_plain(look(retrainer), words)
    assert look(retrainer, 21).status != "error"


def test_what_was_not_foreseen_is_in_the_log_and_not_in_the_message(retrainer, monkeypatch, caplog):
    def fail(*_, **__):
        raise ValueError("[10:12:13] learner.cc:761: Check failed\nStack trace:\n  [bt] (0) libxgboost.so")

    monkeypatch.setattr("gaelp.prediction.look.train_challenger", fail)
    failed = look(retrainer)
    assert_plain(failed, "not foreseen", "what the log says")
    assert "ValueError: [10:12:13] learner.cc" in caplog.text and failed.run_id in caplog.text
    assert retrainer.runs.recent(1)[0]["message"] == failed.message


def test_a_database_whose_table_is_gone_or_whose_disk_is_full_says_what_to_do(retrainer, monkeypatch):
    def fail(*_, **__):
        try:
            raise sqlite3.OperationalError("database or disk is full")
        except sqlite3.Error as error:
            raise GaelpError(f"The database failed: {error}. What was begun was not stored.") from error

    with monkeypatch.context() as patched:
        patched.setattr(retrainer.runs, "end", fail)
        assert_plain(look(retrainer), "The disk is full. Make room")
    with retrainer.database.writing() as connection:
        connection.execute(sa.text("DROP TABLE retraining_runs"))
    for reply in (look(retrainer), look(retrainer, request_id="r"), retrainer.run_due(morning(20))):
        assert_plain(reply, "no such table: retraining_runs", "See that the database can be reached")


@pytest.mark.parametrize("at", ["yesterday", 5, None, "2026-03-01T00:00:00"])
def test_a_registry_with_a_moment_that_is_none_is_named(retrainer, at):
    assert look(retrainer).status == "retrained"
    path = retrainer.registry.folder / "aliases.json"
    told = json.loads(path.read_text())
    told["moves"][-1]["at"] = at
    path.write_text(json.dumps(told))
    assert_plain(look(retrainer, 21), f"`at` was {at!r}", "Restore the registry's file")


@pytest.fixture
def server():
    """A server of its own, to be halted; it runs again at the end."""
    made = Postgres()
    yield made
    made.stop()


def halt(server):
    """End it, with whatever it does, and wait until it has ended."""
    server._run("pg_ctl", "-D", server.data, "-m", "immediate", "-w", "stop")


@pytest.fixture
def remote(server, tmp_path):
    database = Database(server.new_database())
    with Retrainer(database, tmp_path / "models", RetrainConfig(model="logistic")) as opened:
        yield opened
    database.close()


def test_a_server_that_goes_during_a_run_or_before_it_is_told_as_an_error(server, remote, monkeypatch):
    take = Look.take

    def take_without(self, *, force):
        halt(server)
        return take(self, force=force)

    with monkeypatch.context() as patched:
        patched.setattr(Look, "take", take_without)
        found = [look(remote)]
    found += [look(remote), look(remote, request_id="r")]
    server.start()
    for reply in found:
        assert_plain(reply, "The database failed: ", "See that the database can be reached")
    assert look(remote, 21).status == "insufficient_data"
    assert [run["message"] for run in remote.runs.recent()][1:] == [DIED]


def test_a_lock_that_cannot_be_given_back_spoils_no_run(server, remote, monkeypatch):
    end = remote.runs.end

    def end_and_halt(*told):
        end(*told)
        halt(server)

    with monkeypatch.context() as patched:
        patched.setattr(remote.runs, "end", end_and_halt)
        found = look(remote)
    server.start()
    assert found.status == "insufficient_data"
    assert remote.runs.recent()[0]["run_id"] == found.run_id
