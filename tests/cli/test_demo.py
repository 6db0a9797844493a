"""`gaelp demo`: train, judge and report, on worlds too small to tell anything."""

import json
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from gaelp.core.errors import GaelpError
from gaelp.learning import value
from gaelp.market.file import load
from gaelp.market.market import World
from gaelp.worlds.splits import split_worlds

from .conftest import Gaelp

TINY = ("--minutes", "0.01", "--worlds", "2", "--users", "300", "--days", "1")


@pytest.fixture(autouse=True)
def small_training(monkeypatch: pytest.MonkeyPatch) -> None:
    small = partial(value.train, n_worlds=1)
    monkeypatch.setattr(value, "train", small)


def test_the_demo_keeps_a_run_and_prints_its_leaderboard(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    ran = gaelp("demo", "--market", market_file, *TINY, "--out", folder, "--seed", "3")
    assert ran.code == 0, ran.err
    assert all(policy in ran.out for policy in ("Leaderboard", "random", "fixed", "pacing", "value"))
    assert f"Report: {folder / 'report.html'}" in ran.out
    assert "Leaderboard" not in ran.err
    assert "8 training worlds" in ran.err and "8 ways" in ran.err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"]
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "config.json",
        "report.html",
        "result.json",
        "training",
    ]
    result = json.loads((folder / "result.json").read_text())
    assert result["command"] == (
        f"gaelp demo --market {market_file} --minutes 0.01 --worlds 2 --users 300 --days 1 --seed 3"
        f" --out {folder}"
    )
    assert result["command"] in (folder / "report.html").read_text()
    config = json.loads((folder / "config.json").read_text())
    assert (config["command"], config["seed"]) == ("demo", 3)
    assert config["market_sha256"] == result["market_sha256"] == load(market_file).sha256

    monkeypatch.chdir(tmp_path)  # a market is found by its name from anywhere, and an earlier run is replaced
    again = gaelp("demo", "--market", "family_safety", *TINY, "--out", folder, "--json")
    assert json.loads((folder / "result.json").read_text()) == again.json
    assert set(again.json["policies"]) == {
        *("random", "fixed", "pid", "target_cpa", "pacing", "value"),
        *("line_oracle", "informed"),
    }
    assert again.json["seconds"] > 0


def test_the_seed_names_the_validation_worlds_too(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []

    def stop(worlds: list[World], *_: object, **__: object) -> None:
        judged.append(worlds)
        raise GaelpError("seen enough")

    monkeypatch.setattr("gaelp.evaluation.judge.judge", stop)
    compiled = SimpleNamespace(wait=lambda: 0)  # nothing flies, so no yardstick is compiled
    monkeypatch.setattr("gaelp.cli.demo._compile_yardsticks", lambda market: compiled)
    for seed in (3, 4):
        ran = gaelp("demo", "--market", market_file, *TINY, "--out", tmp_path / "run", "--seed", seed)
        assert ran.code == 1 and "seen enough" in ran.err
        assert [world.seed for world in judged[-1]] == [
            world.seed for world in split_worlds(load(market_file), "validation", 2, seed)
        ]
    assert judged[0][0].seed != judged[1][0].seed


def test_the_demo_says_whether_its_pacing_is_tuned(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    market = tmp_path / market_file.name
    market.write_bytes(market_file.read_bytes())
    tuned = market.with_suffix(".tuned.json")
    tuned.write_text(json.dumps({"market_sha256": "0" * 64}))
    ran = gaelp("demo", "--market", market, *TINY, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert f"note: {tuned} was tuned for market {'0' * 12}" in ran.err
    report = (tmp_path / "run" / "report.html").read_text()
    for text in (ran.err, ran.out, report):
        assert "untuned pacing" in text
        assert not re.search(r"(?<!un)tuned `?(dual )?pacing", text)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--users", "0"], "`users` was 0; must be from 1 to"),
        (["--days", "0"], "`days` was 0; must be from 1 to"),
        (["--worlds", "1"], "--worlds"),
        (["--minutes", "inf"], "--minutes"),
        (["--market", "markets/none.toml"], "must be a readable market file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    gaelp: Gaelp, tmp_path: Path, arguments: list[str], says: str
) -> None:
    ran = gaelp("demo", *arguments, "--out", tmp_path / "run")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err
    assert list(tmp_path.iterdir()) == []
