"""The process with the database: what a purchase that is told again, otherwise, leaves as it is."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys

import pytest
import sqlalchemy as sa

from gaelp.core.errors import GaelpError
from gaelp.journeys.batch import Event
from gaelp.service.retrainer_process import Jobs

NOW = dt.datetime(2026, 3, 21, 2, tzinfo=dt.UTC)
SMALL, LARGE = {"value_micros": 10, "currency": "USD"}, {"value_micros": 99_999, "currency": "EUR"}
SMALL_ROW, LARGE_ROW = (10, NOW), (99_999, NOW - dt.timedelta(days=1))


@pytest.fixture
def jobs(url, tmp_path):
    made = Jobs(url, str(tmp_path / "models"), None)
    yield made
    made._journeys.close()


def given(told, *, person=None, days_ago=0):
    at = (NOW - dt.timedelta(days=days_ago)).isoformat()
    about = {"event_id": "order-1", "at": at, "clicked_at": None, "prediction_id": None}
    return {**about, "now": NOW.isoformat(), "person": person, **told}


def answer(jobs, told, **more):
    """Why, and what is kept otherwise."""
    reply = jobs.signal(**given(told, **more))
    return reply["reason"], reply["differs"]


def tell(jobs, told, **more):
    return answer(jobs, told, **more)[0]


def kept(jobs):
    """Of the queue and of the journeys (value, moment), and whose the journeys are."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    with jobs._journeys.database.reading() as connection:
        found = [
            [
                (value, moment + dt.timedelta(microseconds=at_us))
                for value, at_us in connection.execute(sa.text(f"SELECT value_micros, at_us FROM {table}"))
            ]
            for table in ("purchase_signals", "conversions")
        ]
    return (*found, [name for name in ("ann", "bob") if jobs._journeys.person(name) is not None])


def test_a_purchase_of_nobody_stays_so_when_it_is_told_again_of_somebody(jobs):
    assert tell(jobs, SMALL) == "new"
    assert answer(jobs, SMALL, person="ann") == ("differs", ["person"])
    other = ["at", "value_micros", "currency", "person"]
    assert answer(jobs, LARGE, person="ann", days_ago=1) == ("differs", other)
    assert answer(jobs, SMALL) == ("known", [])
    assert kept(jobs) == ([SMALL_ROW], [], [])


@pytest.mark.parametrize(("person", "also"), [(None, []), ("ann", []), ("bob", ["person"])])
def test_a_purchase_of_somebody_stays_as_it_was_told_first_and_says_what_differs(jobs, person, also):
    assert answer(jobs, LARGE, person="ann", days_ago=1) == ("new", [])
    assert answer(jobs, SMALL, person=person) == ("differs", ["at", "value_micros", "currency", *also])
    same = tell(jobs, LARGE, person=person, days_ago=1)
    assert same == ("differs" if also else "known")
    assert kept(jobs) == ([LARGE_ROW], [LARGE_ROW], ["ann"])


@pytest.mark.parametrize(
    "part", ["_journeys.append", "_patterns.update", "_retrainer.process_purchase_signal"]
)
def test_what_a_crash_left_out_is_made_up_for_by_the_next_telling(jobs, monkeypatch, part):
    owner, _, method = part.partition(".")
    at = NOW - dt.timedelta(days=2)
    click = Event(person="ann", event_id="c1", at=at, kind="click", channel="Email")
    jobs._journeys.append([click], NOW)

    def fail(*_, **__):
        raise GaelpError("The database failed.")

    with monkeypatch.context() as patch:
        patch.setattr(getattr(jobs, owner), method, fail)
        with pytest.raises(GaelpError):
            tell(jobs, LARGE, person="ann", days_ago=1)
    assert tell(jobs, LARGE, person="ann", days_ago=1) == "new"
    assert kept(jobs) == ([LARGE_ROW], [LARGE_ROW], ["ann"])
    with jobs._journeys.database.reading() as connection:
        found = connection.execute(sa.text("SELECT conversion_id FROM pattern_journeys")).scalars().all()
    assert found == ["ga4:sale:order-1"]


KILLED = """
import json, os, sys
from gaelp.service.retrainer_process import Jobs
url, models, part, told = sys.argv[1:]
jobs = Jobs(url, models, None)
owner, _, method = part.partition(".")
setattr(getattr(jobs, owner), method, lambda *_, **__: os.kill(os.getpid(), 9))
jobs.signal(**json.loads(told))
"""


def kill_between(url, tmp_path, part):
    """A process that tells of a purchase is killed before a part of its work."""
    told = json.dumps(given(LARGE, person="ann", days_ago=1))
    command = [sys.executable, "-c", KILLED, url, str(tmp_path / "models"), part, told]
    assert subprocess.run(command, env=os.environ, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("part", ["_patterns.update", "_retrainer.process_purchase_signal"])
def test_a_purchase_whose_process_was_killed_between_its_writes_is_kept_and_queued_once(url, tmp_path, part):
    kill_between(url, tmp_path, part)
    jobs = Jobs(url, str(tmp_path / "models"), None)
    assert kept(jobs) == ([], [LARGE_ROW], ["ann"])
    again = [answer(jobs, LARGE, person="ann", days_ago=1) for _ in range(2)]
    assert again == [("new", []), ("known", [])]
    assert answer(jobs, SMALL, person="ann")[0] == "differs"
    assert kept(jobs) == ([LARGE_ROW], [LARGE_ROW], ["ann"])
    jobs._journeys.close()


def test_what_a_telling_that_was_cut_short_has_said_otherwise_is_told(url, tmp_path):
    kill_between(url, tmp_path, "_retrainer.process_purchase_signal")
    jobs = Jobs(url, str(tmp_path / "models"), None)
    assert answer(jobs, SMALL, person="ann") == ("new", ["journey"])
    assert kept(jobs) == ([SMALL_ROW], [LARGE_ROW], ["ann"])
    jobs._journeys.close()
