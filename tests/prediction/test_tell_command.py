"""`gaelp retrain tell`: what came of predictions and creatives, from tables, on both databases."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from gaelp.cli.retrain import retrain_app
from gaelp.core.errors import BadInput, UnknownName
from gaelp.journeys.database import Database
from gaelp.prediction.accuracy import AccuracyTracker, Served, Video

from ..journeys.conftest import Postgres
from .streams import morning

APP = typer.Typer()
APP.add_typer(retrain_app, name="retrain")
HEAD = "prediction_id,day,trials,events\n"


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return filled(request.getfixturevalue("postgres").new_database())
    return filled(f"sqlite:///{tmp_path}/loop.db")


@pytest.fixture
def sqlite(tmp_path):
    return filled(f"sqlite:///{tmp_path}/loop.db")


def filled(url):
    """Two predictions, of the first day."""
    with AccuracyTracker(url) as tracker:
        tracker.record(
            Served(prediction_id=name, model_version="v", video_id="clip", predicted=0.02, at=morning(0))
            for name in ("p1", "p2")
        )
    return url


def tell(url, *words, day=3):
    given = ["retrain", "tell", *map(str, words), "--database", url, "--now", morning(day).isoformat()]
    told = CliRunner().invoke(APP, given, color=False)
    if told.exception is not None:
        raise told.exception
    return json.loads(told.output) if "--json" in words else told.output


def kept(url):
    database = Database(url)
    query = "SELECT prediction_id, trials, events FROM prediction_comparisons ORDER BY prediction_id, day"
    with database.reading() as connection:
        found = [tuple(row) for row in connection.execute(sa.text(query))]
    database.close()
    return found


def test_a_table_of_outcomes_is_kept_restated_and_counted(url, tmp_path):
    table = tmp_path / "outcomes.csv"
    table.write_text(HEAD + "p1,2026-03-01,100,2\np1,2026-03-02,50,1\n")
    assert {**tell(url, table, "--json"), "now": 0} == {"told": 2, "new": 2, "restated": 0, "now": 0}
    table.write_text(HEAD + "p1,2026-03-02,60,3\np2,2026-03-02,10,0\n")
    assert tell(url, table, day=4) == "told 2, new 1, restated 1\n"
    assert kept(url) == [("p1", 100, 2), ("p1", 60, 3), ("p2", 10, 0)]
    table.write_text(HEAD + "p1,2026-03-02,1,0\n")
    assert tell(url, table, day=2) == "told 1, new 0, restated 0\n"  # older than what is kept
    assert len(kept(url)) == 3


def test_parquet_tells_the_same(sqlite, tmp_path):
    days = pa.array([morning(0).date()])
    table = pa.table({"prediction_id": ["p2"], "day": days, "trials": [9], "events": [9], "more": [1]})
    pyarrow.parquet.write_table(table, tmp_path / "outcomes.parquet")
    tell(sqlite, tmp_path / "outcomes.parquet")
    assert kept(sqlite) == [("p2", 9, 9)]


def test_creatives_are_kept_as_they_stand(url, tmp_path):
    table = tmp_path / "creatives.tsv"
    table.write_text("video_id\tname\timpressions\tspend_micros\nclip\t\t2000\t7000000\n")
    assert tell(url, "--creatives", table) == "creatives 1\n"
    with AccuracyTracker(url) as tracker:
        assert tracker.videos() == [Video(video_id="clip", impressions=2000, spend_micros=7_000_000)]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (HEAD + "p1,2026-03-01,5,1\np9,2026-03-01,5,1\n", BadInput, "'p9'"),
        (HEAD + "p1,2026-03-01,5,6\n", BadInput, "events in line 2"),
        (HEAD + "p1,2026-03-01,5,1\np1,2026-03-02,0,0\n", BadInput, "trials in line 3"),
        (HEAD + "p1,2026-03-01,5.5,1\n", BadInput, "whole number"),
        (HEAD + "p1,soon,5,1\n", BadInput, "day in line 2"),
        (HEAD + "p1,2026-04-01,5,1\n", BadInput, "must have begun"),
        (HEAD + "p1,2026-03-01,5,1\n\np2,2026-04-01,5,1\n", BadInput, "line 4, prediction p2"),
        (HEAD + "p1,2026-03-01,5,1\np9,2026-03-01,5,1\n", BadInput, "recorded .line 3"),
        (
            HEAD + "p1,2026-03-01,5,1\np2,2026-03-01,5,1\np1,2026-03-01,7,2\n",
            BadInput,
            "2026-03-01 .line 4, prediction p1.*line 2 tells of the same.*Sum rows",
        ),
        (HEAD + "p1,2025-03-01,5,1\n", BadInput, "2025-03-01 .line 2, prediction p1.*before 2026-03-01"),
        ("prediction_id,day,trial,events\np1,2026-03-01,5,1\n", UnknownName, "trial"),
        (HEAD, BadInput, "at least one"),
    ],
)
def test_a_wrong_table_is_refused_whole_and_by_name(sqlite, tmp_path, text, error, said):
    table = tmp_path / "outcomes.csv"
    table.write_text(text)
    with pytest.raises(error, match=said):
        tell(sqlite, table)
    assert kept(sqlite) == []


def test_what_is_not_given_or_not_known_is_refused(sqlite, tmp_path):
    with pytest.raises(BadInput, match="must be given"):
        tell(sqlite)
    table = tmp_path / "creatives.csv"
    table.write_text("video_id,spend\nclip,7\n")
    with pytest.raises(UnknownName, match="spend_micros"):
        tell(sqlite, "--creatives", table)
