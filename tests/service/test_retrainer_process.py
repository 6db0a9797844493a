"""The process with the database: what a purchase that is told again, otherwise, leaves as it is."""

import datetime as dt

import pytest
import sqlalchemy as sa

from gaelp.core.errors import GaelpError
from gaelp.journeys.batch import Event
from gaelp.service.retrainer_process import Jobs

from ..journeys.conftest import Postgres

NOW = dt.datetime(2026, 3, 21, 2, tzinfo=dt.UTC)
SMALL, LARGE = {"value_micros": 10, "currency": "USD"}, {"value_micros": 99_999, "currency": "EUR"}
SMALL_ROW, LARGE_ROW = (10, NOW), (99_999, NOW - dt.timedelta(days=1))


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def jobs(request, tmp_path):
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    else:
        url = f"sqlite:///{tmp_path}/jobs.db"
    made = Jobs(url, str(tmp_path / "models"), None)
    yield made
    made._journeys.close()


def tell(jobs, told, *, person=None, days_ago=0):
    at = (NOW - dt.timedelta(days=days_ago)).isoformat()
    given = {"event_id": "order-1", "at": at, "clicked_at": None, "prediction_id": None, **told}
    return jobs.signal(now=NOW.isoformat(), person=person, **given)["reason"]


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
    assert tell(jobs, LARGE, person="ann", days_ago=1) == "known"
    assert kept(jobs) == ([SMALL_ROW], [], [])


@pytest.mark.parametrize("person", [None, "ann", "bob"])
def test_a_purchase_of_somebody_stays_as_it_was_told_first(jobs, person):
    assert tell(jobs, LARGE, person="ann", days_ago=1) == "new"
    assert tell(jobs, SMALL, person=person) == "known"
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
