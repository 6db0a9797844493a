"""`gaelp journeys` on the journey database: import, show, stats, merge, unmerge, forget."""

from pathlib import Path

import pytest

from .conftest import Gaelp

LINES = """person,time,kind,channel,device,value
cookie-1,2026-03-01T10:00,impression,social,mobile,
cookie-1,2026-03-03T10:00,click,search,mobile,
ann@example.org,2026-03-04T09:30,visit,direct,desktop,
ann@example.org,2026-03-04T10:00,conversion,,,180
cookie-2,2026-03-02T12:00,click,search,desktop,
"""
NOW = ("--now", "2026-03-10")


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of events, in the folder in which commands run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "events.csv").write_text(LINES)
    return Path("events.csv")


def test_a_file_is_imported_once_and_its_people_can_be_looked_up(gaelp: Gaelp, events: Path) -> None:
    told = gaelp("journeys", "import", events, *NOW, "--json").json
    assert (told["touchpoints"], told["conversions"], told["repeats"]) == (4, 1, 0)
    assert told["database"] == "sqlite:///journeys.db" and told["unused_columns"] == []
    again = gaelp("journeys", "import", events, *NOW)
    assert again.code == 0 and "5 events were there already" in again.out
    found = gaelp("journeys", "show", "cookie-1", *NOW, "--json").json
    (journey,) = found["journeys"]
    assert (journey["stage"], journey["days"]) == ("CONSIDERING", 8.583333333333334)
    assert [touch["channel"] for touch in journey["touchpoints"]] == ["social", "search"]
    shown = gaelp("journeys", "show", "ann@example.org", *NOW)
    assert "2026-03-04 10:00  conversion, USD 180.00" in shown.out and "converted" in shown.out
    stats = gaelp("journeys", "stats", *NOW, "--json").json
    assert (stats["people"], stats["journeys"], stats["stages"]["CONVERTED"]) == (3, 3, 1)
    assert stats["value_micros"] == {"USD": 180_000_000}
    assert gaelp("journeys", "stats", "--json").json["stages"]["LOST"] == 2, "by the clock they are long lost"
    assert "people: 3 under 3 ids" in gaelp("journeys", "stats", *NOW).out


def test_a_merge_makes_one_life_and_can_be_undone(gaelp: Gaelp, events: Path) -> None:
    gaelp("journeys", "import", events, *NOW)
    before = gaelp("journeys", "show", "cookie-1", *NOW, "--json").json
    pair = ("ann@example.org", "cookie-1")
    assert gaelp("journeys", "merge", *pair, "--confidence", "0.9", *NOW, "--json").json == {"merged": True}
    merged = gaelp("journeys", "show", "cookie-1", *NOW, "--json").json
    assert merged["aliases"] == {"cookie-1": 0.9, "ann@example.org": 1.0}
    assert len(merged["journeys"]) == 1 and len(merged["journeys"][0]["touchpoints"]) == 3
    assert "as ann@example.org" in gaelp("journeys", "show", "cookie-1", *NOW).out
    assert "one person already" in gaelp("journeys", "merge", *pair, *NOW).out
    assert gaelp("journeys", "unmerge", *pair, *NOW, "--json").json == {"unmerged": True}
    assert gaelp("journeys", "show", "cookie-1", *NOW, "--json").json == before


def test_a_forgotten_person_is_gone(gaelp: Gaelp, events: Path, tmp_path: Path) -> None:
    gaelp("journeys", "import", events)
    assert gaelp("journeys", "forget", "cookie-1", "--scrub", "--json").json["rows_removed"] == 5
    assert gaelp("journeys", "show", "cookie-1").code == 2
    assert b"cookie-1" not in b"".join(path.read_bytes() for path in tmp_path.glob("journeys.db*"))
    assert "nothing was stored" in gaelp("journeys", "forget", "cookie-1").out
    assert gaelp("journeys", "stats", "--json").json["people"] == 2


def test_the_database_is_where_the_flag_or_the_environment_says(
    gaelp: Gaelp, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaelp("journeys", "import", events, "--database", "sqlite:///named.db")
    assert gaelp("journeys", "stats", "--database", "named.db", "--json").json["people"] == 3
    monkeypatch.setenv("DATABASE_URL", "sqlite:///named.db")
    assert gaelp("journeys", "stats", "--json").json["people"] == 3
    assert not Path("journeys.db").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "cookie-1"], "journeys import FILE"),
        (["stats", "--database", "mysql://u:secret@h/d"], "sqlite:///FILE or postgresql://"),
        (["stats", "--run", "somewhere", "--database", "j.db"], "cannot go with --run"),
        (["import", "nothing.csv"], "must be a file that exists"),
        (["import", "."], "gaelp simulate --events"),
        (["import", "events.csv", "--column", "person"], "WHAT=COLUMN"),
        (["import", "events.csv", "--column", "persn=person"], "Did you mean 'person'"),
        (["import", "events.csv", "--now", "2026-03-02"], "`time in line 3`"),
        (["import", "events.csv", "--now", "noon"], "ISO 8601"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_bad_input_is_one_line_that_says_what_to_do(
    gaelp: Gaelp, events: Path, arguments: list[str], complaint: str
) -> None:
    shown = gaelp("journeys", *arguments)
    assert shown.code == 2 and shown.out == "" and shown.err.count("\n") == 1
    assert complaint in shown.err and "secret" not in shown.err
    assert not Path("journeys.db").exists() or gaelp("journeys", "stats", "--json").json["people"] == 0


def test_an_unknown_person_and_a_confidence_out_of_range_are_refused(gaelp: Gaelp, events: Path) -> None:
    gaelp("journeys", "import", events)
    assert "must be known" in gaelp("journeys", "show", "nobody").err
    assert "must be known" in gaelp("journeys", "merge", "cookie-1", "nobody").err
    assert "confidence" in gaelp("journeys", "merge", "cookie-1", "cookie-2", "--confidence", "2").err


def test_the_events_of_a_simulated_run_can_be_imported(
    gaelp: Gaelp, market_file: Path, events: Path, tmp_path: Path
) -> None:
    sizes = ("--worlds", "2", "--users", "500", "--days", "3", "--runoff-days", "10", "--no-twin")
    flown = ("simulate", "--policy", "pacing", "--market", market_file, *sizes, "--events", "--out", "run")
    assert gaelp(*flown).code == 0
    told = gaelp("journeys", "import", "run", "--prefix", "run:", "--json").json
    credits = gaelp("attribute", "run", "--model", "last", "--bootstrap", "0", "--json").json["last"]
    assert told["touchpoints"] > 1_000 and told["conflicts"] == []
    assert told["conversions"] == pytest.approx(sum(row["conversions"] for row in credits.values()))
    stats = gaelp("journeys", "stats", "--now", told["now"], "--json").json
    assert stats["touchpoints"] == told["touchpoints"] and stats["last_at"] == told["now"]
    assert stats["stages"]["CONVERTED"] == told["conversions"] and stats["stages"]["AWARE"] > 0
    assert stats["people"] <= 1.1 * stats["touchpoints"]
    assert gaelp("journeys", "import", "run", "--prefix", "run:", "--json").json["touchpoints"] == 0
