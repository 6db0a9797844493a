"""`gaelp evaluate`: policies on the same worlds."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.core.files import sha256_of
from gaelp.evaluation.parts import Parts
from gaelp.evaluation.suites import contender
from gaelp.market.file import load
from gaelp.worlds.families import FAMILIES
from gaelp.worlds.registry import write_checkpoint
from gaelp.worlds.splits import HELDOUT, write_test_worlds

from .conftest import SMALL, Gaelp


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAELP_CACHE", str(tmp_path / "cache"))


def test_policies_are_judged_and_paired_on_the_same_worlds(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "ones", load(market_file), {})
    policies = ("pacing", "fixed", str(tmp_path / "ones"))
    command = ("evaluate", *policies, "--market", market_file, *SMALL, "--out", tmp_path / "run")
    found = gaelp(*command, "--json").json
    assert set(found["policies"]) == {"pacing", "fixed", "ones"}
    assert set(found["pairs"]) == {"fixed - pacing", "ones - pacing"}
    assert found["families"] == {} and found["split"] == "validation" and found["notice"] is None
    assert set(found["policies"]["fixed"]["incremental_cac_usd"]) == {"mean", "low", "high"}
    assert found["policies"]["ones"] == found["policies"]["pacing"]
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == found
    assert json.loads((tmp_path / "run" / "config.json").read_text())["command"] == "evaluate"


def test_the_leaderboard_comes_as_markdown_with_what_was_flown(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    command = ("evaluate", "pacing", "fixed", "--market", market_file, *SMALL, "--markdown")
    ran = gaelp(*command, "--out", tmp_path / "run")
    assert ran.code == 0
    table, pairs, flown = ran.out.rstrip("\n").split("\n\n")
    assert table.startswith("| policy | incremental profit |") and table.count("\n") == 3
    assert pairs.splitlines()[2].startswith("| fixed - pacing |")
    for said in ("2 validation worlds of 1,000 people", load(market_file).sha256[:12], "3 days", "seed 0"):
        assert said in flown
    assert "commit" in flown and "kept in" in ran.err
    page = (tmp_path / "run" / "report.html").read_text()
    assert "GAELP evaluation" in page and "fixed - pacing" in page and "No data" not in page
    readme = tmp_path / "README.md"
    assert gaelp(*command, "--into", readme).code == 2  # before anything flies
    readme.write_text("# Ours\n<!-- leaderboard:begin -->\n<!-- leaderboard:end -->\nthe rest\n")
    assert gaelp(*command, "--into", readme).out == ran.out
    assert ran.out in readme.read_text() and readme.read_text().endswith("the rest\n")
    both = gaelp(*command, "--json")
    assert (both.code, both.out, both.err.count("\n")) == (2, "", 1)
    assert "must not come with --json" in both.err


def test_a_suite_of_families_has_a_leaderboard_each(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    sizes = ("--worlds", "2", "--users", "200", "--days", "1", "--runoff-days", "1")
    command = ("evaluate", "pacing", "fixed", "--market", market_file, "--suite", "families", *sizes)
    found = gaelp(*command, "--json", "--out", tmp_path / "run").json
    assert list(found["families"]) == list(FAMILIES)
    for board in found["families"].values():
        assert set(board["policies"]) == {"pacing", "fixed"} and set(board["pairs"]) == {"fixed - pacing"}
    metrics = found["families"]["first_price"]["policies"]["fixed"]
    assert metrics["gap_closed"] == {"mean": None, "low": None, "high": None}
    assert {"worst_decile_profit_usd", "probability_of_improvement"} <= set(metrics)
    assert "season_peak" in (tmp_path / "run" / "report.html").read_text()
    per_world = json.loads((tmp_path / "run" / "per_world.json").read_text())
    assert len(per_world["season_peak"]["fixed"]["spend_usd"]) == 2
    again = gaelp(*command, "--json", "--executor", "processes", "--workers", "1", "--no-cache").json
    assert again["families"] == found["families"] and again["policies"] == found["policies"]
    text = gaelp(*command, "--markdown").out
    assert "| tracking_outage |" in text and text.count("| policy |") == 1
    shown = gaelp(*command).out
    assert "Incremental profit by family" in shown and "poor_identity" in shown


def test_the_cache_of_warmed_up_worlds_changes_no_figure(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    command = ("evaluate", "fixed", "--market", market_file, *SMALL, "--json")
    first, second, without = gaelp(*command), gaelp(*command), gaelp(*command, "--no-cache")
    assert first.out == second.out == without.out
    assert len(list((tmp_path / "cache" / "warmed").iterdir())) == 1


def interrupted(*_: object, parts: Parts, **__: object) -> None:
    parts.write(16, "default", {})
    raise KeyboardInterrupt


def test_what_is_gone_on_with_was_begun_with_the_same_contenders_and_code(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    write_checkpoint(mine, load(market_file), {})
    command = ("evaluate", str(mine), "--market", market_file, *SMALL, "--out", tmp_path / "run")
    with monkeypatch.context() as stopped:
        stopped.setattr("gaelp.evaluation.judge.judge_families", interrupted)
        assert gaelp(*command).code == 130
    with monkeypatch.context() as edited:
        edited.setattr("gaelp.evaluation.parts.code_digest", lambda: "other")
        assert "code" in gaelp(*command, "--resume").err
    write_checkpoint(mine, load(market_file), {"social_new_mobile": 2.0})
    ran = gaelp(*command, "--resume")
    assert ran.code != 0 and "as it was begun" in ran.err and "mine" in ran.err


def test_a_choice_among_policies_is_refused_once_a_file_it_reads_has_changed(tmp_path: Path) -> None:
    file = load("markets/family_safety.toml")
    write_checkpoint(tmp_path / "mine", file, {})
    maker = contender(f"experts:{tmp_path / 'mine'},pacing", file)
    maker()
    write_checkpoint(tmp_path / "mine", file, {"social_new_mobile": 2.0})
    with pytest.raises(BadInput, match="must stay as it was found"):
        maker()
    with pytest.raises(UnknownName, match="line_oracle"):
        contender("experts:line_oracle,value", file)


def test_the_test_split_stays_sealed_without_the_word_and_is_logged_with_it(
    gaelp: Gaelp, market_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "markets" / HELDOUT).mkdir(parents=True)
    market = tmp_path / "markets" / market_file.name
    market.write_bytes(market_file.read_bytes())
    path = write_test_worlds(load(market), market.parent / HELDOUT, 2)
    (path.parent / "SHA256SUMS").write_text(f"{sha256_of(path)}  {path.name}\n")
    command = ("evaluate", "fixed", "--market", market, *SMALL, "--split", "test", "--out", tmp_path / "run")
    sealed = gaelp(*command, "--json")
    assert (sealed.code, sealed.out, sealed.err.count("\n")) == (2, "", 1)
    assert "--yes-open-test" in sealed.err and "once per release" in sealed.err
    opening = (*command, "--json", "--yes-open-test")
    unlogged = gaelp(*opening)
    assert unlogged.code == 2 and "log.md" in unlogged.err and not (tmp_path / "run").exists()
    log = tmp_path / "docs" / "log.md"
    log.parent.mkdir()
    log.write_text("# Log\n")
    with monkeypatch.context() as stopped:
        stopped.setattr("gaelp.evaluation.judge.judge_families", interrupted)
        first = gaelp(*opening)
    assert first.code == 130 and "docs/log.md" in first.err
    ran = gaelp(*opening, "--resume")  # the same opening, entered once
    assert ran.json["split"] == "test" and "docs/log.md" not in ran.err
    assert ran.json["notice"] in log.read_text() and "opening 1" in ran.json["notice"]
    assert "gaelp evaluate fixed --market" in ran.json["notice"]
    for told in (ran.json["notice"], (tmp_path / "run" / "report.html").read_text()):
        assert "--split test --worlds 2" in told and "--seed" not in told and "--yes-open-test" in told
    too_many = gaelp(
        "evaluate", "fixed", "--market", market, "--split", "test", "--worlds", "3", "--yes-open-test"
    )
    assert too_many.code == 2 and "must be at most 2" in too_many.err
    refused = gaelp("evaluate", "no_such", "--market", market, "--split", "test", "--yes-open-test")
    assert refused.code == 2 and log.read_text().count("opening") == 1


def test_the_command_that_is_printed_makes_the_same_figures(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    market = tmp_path / "a folder" / market_file.name
    market.parent.mkdir()
    market.write_bytes(market_file.read_bytes())
    command = ("evaluate", "fixed", "--market", market, *SMALL, "--daily-budget-usd", "3", "--seed", "2")
    first = gaelp(*command, "--markdown").out
    printed = shlex.split(first.rsplit("`", 2)[1])
    assert printed[:2] == ["gaelp", "evaluate"] and str(market) in printed
    assert gaelp(*printed[1:], "--markdown").out == first


def test_a_policy_named_twice_is_refused(gaelp: Gaelp, market_file: Path) -> None:
    ran = gaelp("evaluate", "pacing", "fixed", "pacing", "--market", market_file)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "`policies` was 'pacing'; must be named once. Leave the others out" in ran.err


def test_a_saved_model_is_named_by_its_digest_and_a_broken_one_is_bad_input(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    from stable_baselines3 import PPO  # here, as it brings torch

    env = gymnasium.make("gaelp/Campaign-v0", market=market_file, users=100, days=1)
    path = tmp_path / "mine.zip"
    PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu").save(path)
    command = ("evaluate", path, "pacing", "--market", market_file, *SMALL)
    found = gaelp(*command, "--json", "--out", tmp_path / "run").json
    assert found["model_sha256"] == {"mine": sha256_of(path)}
    told = f"mine is the file of SHA-256 {sha256_of(path)}."
    assert told in (tmp_path / "run" / "report.html").read_text()
    assert told in gaelp(*command, "--markdown").out
    path.write_bytes(path.read_bytes()[:9_000])
    for broken in (command, ("plan", "proof", "--policy", path, "--market", market_file)):
        ran = gaelp(*broken)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert ran.err.startswith("error: `policy` was") and "Traceback" not in ran.err


def test_an_evaluation_that_was_killed_goes_on_and_ends_as_one_that_was_not(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    sizes = ("--worlds", "20", "--users", "100", "--days", "1", "--runoff-days", "1", "--suite", "all")
    command = ("evaluate", "pacing", "fixed", "--market", str(market_file), *sizes)
    whole = gaelp(*command, "--json").json
    out, parts = tmp_path / "run", tmp_path / "run.parts"
    assert gaelp(*command, "--out", out, "--resume").code == 2  # nothing was begun
    started = subprocess.Popen(
        [sys.executable, "-m", "gaelp.cli.main", *command, "--out", str(out)], stderr=subprocess.DEVNULL
    )
    while len(list(parts.glob("0*.json"))) < 3:
        assert started.poll() is None
        time.sleep(0.01)
    started.kill()
    started.wait()
    before = {path.name: path.stat().st_mtime_ns for path in parts.glob("0*.json")}
    assert not out.exists() and 3 <= len(before) < 22
    again = gaelp(*command, "--out", out)
    assert again.code == 2 and "--resume" in again.err
    other = gaelp(*command, "--seed", "1", "--out", out, "--resume")
    assert other.code == 2 and "'seed 1'; must be 0, as it was begun" in other.err
    damaged = parts / sorted(before)[0]
    kept = damaged.read_text()
    damaged.write_text(kept.replace("1", "2"))
    refused = gaelp(*command, "--out", out, "--resume")
    assert refused.code == 2 and damaged.name in refused.err and "Remove that file" in refused.err
    damaged.write_text(kept)
    ran = gaelp(*command, "--out", out, "--resume", "--json")
    assert ran.json == whole and not parts.exists()
    assert json.loads((out / "result.json").read_text()) == whole
