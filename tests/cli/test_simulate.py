"""`gaelp simulate`: the figures agree with each other, and with the worlds they came from."""

import json
import re
from pathlib import Path

import pytest

from gaelp.core.words import LINES
from gaelp.market.file import load
from gaelp.worlds.registry import write_checkpoint

from .conftest import SMALL, Gaelp

KEYS = set(
    """opportunities bids wins impressions clicks conversions conversions_at_end organic_conversions
    spend_usd revenue_usd cac_usd roas incremental_conversions incremental_cac_usd incremental_roas
    incremental_profit_usd incremental_decisions win_rate impression_share mean_journey_days
    mean_touchpoints opportunities_per_user_day wall_s cpu_s compile_s opportunities_per_cpu_s
    user_days_per_s peak_rss_mb""".split()
)
TIMES = {"wall_s", "cpu_s", "compile_s", "opportunities_per_cpu_s", "user_days_per_s", "peak_rss_mb"}


def without_times(figures: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in figures.items() if key not in TIMES}


def test_figures_agree_with_each_other(gaelp: Gaelp, market_file: Path) -> None:
    found = gaelp("simulate", "--market", market_file, *SMALL, "--json").json
    assert KEYS <= found.keys()
    assert found["policy"] == "pacing" and found["attribution"] == "last_click_30d"
    assert found["market_sha256"] == load(market_file).sha256
    assert found["opportunities"] >= found["bids"] >= found["wins"] >= found["clicks"] > 0
    assert found["win_rate"] == pytest.approx(found["wins"] / found["bids"])
    assert found["impression_share"] == pytest.approx(found["impressions"] / found["opportunities"])
    assert found["conversions"] >= found["conversions_at_end"] >= 0
    if found["conversions"]:
        assert found["cac_usd"] == pytest.approx(found["spend_usd"] / found["conversions"])
    assert found["roas"] == pytest.approx(found["revenue_usd"] / found["spend_usd"])
    gained = found["incremental_roas"] * found["spend_usd"] - found["spend_usd"]
    assert found["incremental_profit_usd"] == pytest.approx(gained)
    assert found["auctions"] == pytest.approx(found["opportunities_per_user_day"] * 2 * 1000 * 3)
    for part in ("by_line", "by_channel"):
        for key in ("spend_usd", "conversions", "revenue_usd", "clicks", "opportunities"):
            assert sum(row[key] for row in found[part].values()) == pytest.approx(found[key])
    assert list(found["by_line"]) == [line.name for line in LINES]


def test_the_twin_changes_nothing_and_the_same_seed_gives_the_same(gaelp: Gaelp, market_file: Path) -> None:
    command = ("simulate", "--market", market_file, *SMALL, "--policy", "random", "--seed", "3", "--json")
    first, second = (without_times(gaelp(*command).json) for _ in range(2))
    assert first == second
    alone = without_times(gaelp(*command, "--no-twin").json)
    assert [alone[key] for key in KEYS if key.startswith("incremental")] == [None] * 5
    for key, value in alone.items():
        assert key.startswith("incremental") or value == first[key], key
    other = gaelp(
        "simulate", "--market", market_file, *SMALL, "--policy", "random", "--seed", "4", "--json"
    ).json
    assert other["clicks"] != first["clicks"]


def test_a_budget_of_zero_is_its_own_twin(gaelp: Gaelp, market_file: Path) -> None:
    command = ("simulate", "--market", market_file, *SMALL, "--policy", "fixed", "--daily-budget-usd", "0")
    found = gaelp(*command, "--json").json
    assert (found["spend_usd"], found["wins"]) == (0, 0)
    assert (found["incremental_conversions"], found["incremental_decisions"]) == (0, 0)
    assert found["incremental_profit_usd"] == 0
    assert found["incremental_cac_usd"] is found["roas"] is None


def test_a_run_is_kept_with_what_repeats_it(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    command = ("simulate", "--market", market_file, *SMALL, "--policy", "fixed", "--out", folder, "--json")
    figures = gaelp(*command).json
    assert json.loads((folder / "result.json").read_text()) == figures
    config = json.loads((folder / "config.json").read_text())
    assert (config["command"], config["seed"]) == ("simulate", 0)
    assert config["market_sha256"] == load(market_file).sha256
    assert config["settings"]["users"] == 1000 and config["settings"]["policy"] == "fixed"
    assert re.fullmatch(r"[0-9a-f]{64}", config["config_hash"])
    again = gaelp(*command).json  # an earlier run of the same name is replaced
    assert without_times(again) == without_times(figures)
    assert [entry.name for entry in folder.parent.iterdir()] == ["one"]

    stats = gaelp("journeys", "stats", "--run", folder, "--json").json
    assert stats["people"] == sum(stats["stages"].values()) == 2000
    assert stats["day"] == 63  # as the campaign's last evening left them, before the run-off
    person = gaelp("journeys", "show", "1:17", "--run", folder, "--json").json
    assert person["person"] == "1:17" and person["truth"]["stage"] in stats["stages"]
    shown = gaelp("journeys", "show", "1:17", "--run", folder)
    assert shown.code == 0 and person["truth"]["segment"] in shown.out and "truth" in shown.out
    assert gaelp("journeys", "stats", "--run", folder).code == 0
    refused = gaelp("journeys", "show", "2:0", "--run", folder)
    assert refused.code == 2 and "worlds 0 to 1, people 0 to 999" in refused.err


def test_a_checkpoint_of_ones_is_pacing(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "lines", load(market_file), {line.name: 1.0 for line in LINES})
    command = ("simulate", "--market", market_file, *SMALL, "--no-twin", "--json", "--policy")
    ones = without_times(gaelp(*command, tmp_path / "lines").json)
    pacing = without_times(gaelp(*command, "pacing").json)
    assert {**ones, "policy": "pacing"} == pacing


def test_refused_controls_are_counted(gaelp: Gaelp, market_file: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, load(market_file), {LINES[0].name: 1000.0})
    command = ("simulate", "--market", market_file, *SMALL, "--no-twin", "--policy")
    assert gaelp(*command, "fixed", "--json").json["denials"] == 0
    refused = gaelp(*command, tmp_path, "--json").json["denials"]
    assert refused > 0
    assert re.search(rf"controls the gate refused +{refused:,}\b", gaelp(*command, tmp_path).out)


def test_describe_shows_every_target_beside_its_source(gaelp: Gaelp, market_file: Path) -> None:
    command = ("simulate", "--market", market_file, *SMALL, "--describe")
    found = gaelp(*command, "--json").json
    targets = load(market_file).targets
    assert [row["name"] for row in found["targets"]] == list(targets)
    for row in found["targets"]:
        assert row["source"] and row["ok"] == (
            row["value"] is not None and row["low"] <= row["value"] <= row["high"]
        )
    shown = gaelp(*command)
    assert shown.code == 0 and all(name in shown.out for name in targets)


def test_the_events_of_a_run_are_what_its_account_may_attribute(
    gaelp: Gaelp, market_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    sizes = ("--worlds", "2", "--users", "2000", "--days", "10", "--runoff-days", "20", "--no-twin")
    command = ("simulate", "--policy", "pacing", "--market", market_file, *sizes, "--events")
    assert "--out" in gaelp(*command).err
    found = gaelp(*command, "--out", run, "--json").json
    credits = gaelp("attribute", run, "--bootstrap", "0", "--json").json
    sold = {model: sum(row["conversions"] for row in rows.values()) for model, rows in credits.items()}
    assert len(sold) >= 8 and max(sold.values()) - min(sold.values()) < 1e-6 * max(sold.values())
    # all sales of the account's life so far, warm-up included, are at least those of the campaign
    assert sold["last"] >= found["conversions"] + found["organic_conversions"] > 0
    assert 0 < credits["last"]["(baseline)"]["conversions"] < sold["last"]
    without = gaelp("attribute", tmp_path, "--json")
    assert without.code == 2 and "--events" in without.err
