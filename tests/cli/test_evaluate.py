"""`gaelp evaluate`: policies on the same worlds."""

import json
from pathlib import Path

from gaelp.core.files import sha256_of
from gaelp.market.file import load
from gaelp.worlds.registry import write_checkpoint
from gaelp.worlds.splits import HELDOUT, write_test_worlds

from .conftest import SMALL, Gaelp


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
    both = gaelp(*command, "--json")
    assert (both.code, both.out, both.err.count("\n")) == (2, "", 1)
    assert "must not come with --json" in both.err


def test_opening_the_test_split_is_noticed(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    market = tmp_path / market_file.name
    market.write_bytes(market_file.read_bytes())
    (tmp_path / HELDOUT).mkdir()
    path = write_test_worlds(load(market), tmp_path / HELDOUT, 2)
    (path.parent / "SHA256SUMS").write_text(f"{sha256_of(path)}  {path.name}\n")
    command = ("evaluate", "fixed", "--market", market, *SMALL, "--split", "test", "--out", tmp_path / "run")
    ran = gaelp(*command, "--json")
    assert "docs/log.md" in ran.err
    assert "docs/log.md" in json.loads((tmp_path / "run" / "result.json").read_text())["notice"]
    assert ran.json["split"] == "test"
    too_many = gaelp("evaluate", "fixed", "--market", market, "--split", "test", "--worlds", "3")
    assert too_many.code == 2 and "must be at most 2" in too_many.err
