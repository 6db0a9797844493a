"""`gaelp offline`: a log is written, trained on and asked, by the commands alone."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from .conftest import Gaelp

TINY = ("--worlds", 12, "--users", 300, "--days", 14, "--runoff-days", 2)
MARKET = "markets/family_safety.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = tmp_path_factory.mktemp("offline")
    return found


def test_a_log_is_written_trained_on_asked_and_flown(gaelp: Gaelp, folder: Path) -> None:
    told = gaelp("offline", "export", "--out", folder / "log", *TINY, "--json").json
    assert told["rows"] == 12 * 14 and (folder / "log" / "log.parquet").is_file()
    gaelp("offline", "export", "--out", folder / "held", *TINY, "--seed", 1, "--json")
    train = ("offline", "train", folder / "log", "--updates", 20, "--json")
    assert gaelp(*train, "--out", folder / "iql", "--reward", "incremental").json["method"] == "iql"
    assert gaelp(*train, "--out", folder / "bc", "--method", "bc").json["days"] == 12 * 14
    asked = ("offline", "evaluate", folder / "held", folder / "iql", folder / "bc")
    small = ("--worlds", 2, "--users", 300, "--days", 2, "--runoff-days", 1)
    found = gaelp(*asked, *small, "--json").json
    assert set(found["estimates"]) == {"iql", "bc"}
    assert list(found["flown"]) == ["logging", "base", "pacing", "iql", "iql, drawn", "bc", "bc, drawn"]
    assert found["flown"]["logging"]["incremental_gain"]["mean"] == 0.0
    for name in ("iql", "bc"):
        assert found["estimates"][name]["refused"] == (found["estimates"][name]["dr"] is None)
    same = gaelp("offline", "evaluate", folder / "log", folder / "iql", "--json").json
    assert "learnt from 12 of these worlds" in same["estimates"]["iql"]["reason"]
    said = gaelp("offline", "evaluate", folder / "log", folder / "iql")
    assert said.code == 0 and "refused" in said.out
    flown = gaelp(
        *("evaluate", folder / "iql", "value", "--worlds", 2, "--users", 300, "--days", 1),
        *("--runoff-days", 1, "--no-cache", "--json"),
    ).json
    assert "iql" in flown["policies"]


@pytest.mark.skipif(find_spec("d3rlpy") is not None, reason="d3rlpy is here")
def test_cql_says_where_it_runs(gaelp: Gaelp, folder: Path) -> None:
    gaelp("offline", "export", "--out", folder / "small", *TINY[:-3], 2, "--runoff-days", 1, "--json")
    ran = gaelp("offline", "train", folder / "small", "--method", "cql", "--out", folder / "cql")
    assert ran.code == 2 and "make test-offline" in ran.err and not (folder / "cql").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("export", "--noise", "0"), "noise"),
        (("export", "--base", "pacing"), "base"),
        (("export", "--worlds", "0"), "worlds"),
        (("train", "nowhere"), "log"),
        (("train", "nowhere", "--reward", "clicks"), "reward"),
        (("train", "nowhere", "--method", "dqn"), "log"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(gaelp: Gaelp, tmp_path: Path, words, named: str) -> None:
    ran = gaelp("offline", *words, "--out", tmp_path / "out")
    assert ran.code == 2 and f"`{named}`" in ran.err and ran.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
