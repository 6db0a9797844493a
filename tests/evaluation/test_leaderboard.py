import json

import numpy as np
import pytest
from rich.console import Console

from gaelp.core.errors import BadInput
from gaelp.evaluation.leaderboard import (
    METRICS,
    PAIR_METRICS,
    as_markdown,
    as_table,
    format_interval,
    leaderboard,
    ranked,
    underspenders,
)


def printed(table):
    console = Console(width=140, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_it_has_the_shape_that_evaluate_prints(worlds):
    board = json.loads(json.dumps(leaderboard(worlds), allow_nan=False))
    assert set(board) == {"policies", "pairs", "families"}
    assert set(board["policies"]) == {"static_lines", "pacing", "fixed", "random"}
    assert set(board["pairs"]) == {"static_lines - pacing", "fixed - pacing", "random - pacing"}
    for metrics in board["policies"].values():
        assert set(metrics) == set(METRICS)
        assert all(set(value) == {"mean", "low", "high"} for value in metrics.values())
    for metrics in board["pairs"].values():
        assert set(metrics) == set(PAIR_METRICS)
        assert all(set(value) == {"mean", "low", "high", "p_improvement"} for value in metrics.values())


def test_figures_follow_their_definitions(worlds):
    sums = worlds["pacing"]
    got = {metric: value["mean"] for metric, value in leaderboard(worlds)["policies"]["pacing"].items()}
    spend, incremental = sums["spend_usd"].sum(), sums["incremental_conversions"].sum()
    assert got["spend_usd"] == pytest.approx(spend / 64)
    assert got["spend_share"] == pytest.approx(spend / sums["budget_usd"].sum())
    assert got["cac_usd"] == pytest.approx(spend / sums["attributed_conversions"].sum())
    assert got["roas"] == pytest.approx(sums["revenue_usd"].sum() / spend)
    assert got["incremental_cac_usd"] == pytest.approx(spend / incremental)
    assert got["incremental_roas"] == pytest.approx(180 * incremental / spend)
    assert got["incremental_profit_usd"] == pytest.approx((180 * incremental - spend) / 64)
    assert got["win_rate"] == pytest.approx(sums["wins"].sum() / sums["bids"].sum())
    assert got["impression_share"] == pytest.approx(sums["impressions"].sum() / sums["opportunities"].sum())


def test_a_cheaper_customer_counts_as_improvement(worlds):
    pair = leaderboard(worlds)["pairs"]["static_lines - pacing"]
    assert pair["incremental_cac_usd"]["high"] < 0
    assert pair["incremental_cac_usd"]["p_improvement"] == 1.0
    assert pair["incremental_profit_usd"]["low"] > 0


def test_pairs_difference_is_the_difference_of_the_policies(worlds):
    board = leaderboard(worlds)
    for metric in PAIR_METRICS:
        a, b = (board["policies"][policy][metric]["mean"] for policy in ("fixed", "pacing"))
        assert board["pairs"]["fixed - pacing"][metric]["mean"] == pytest.approx(a - b)


def test_without_the_baseline_there_are_no_pairs(worlds):
    del worlds["pacing"]
    assert leaderboard(worlds)["pairs"] == {}


def test_a_policy_that_never_bids_has_undefined_ratios_and_still_a_row(worlds):
    worlds["silent"] = {name: np.zeros(64) for name in worlds["pacing"]}
    worlds["silent"]["budget_usd"] = worlds["pacing"]["budget_usd"]
    board = leaderboard(worlds)
    silent = board["policies"]["silent"]
    assert silent["cac_usd"] == silent["roas"] == silent["win_rate"]
    assert silent["cac_usd"] == {"mean": None, "low": None, "high": None}
    assert silent["incremental_profit_usd"]["mean"] == 0.0
    assert "silent" in as_markdown(board)


def test_rows_are_sorted_by_incremental_profit(worlds):
    board = leaderboard(dict(reversed(worlds.items())))
    assert ranked(board) == ["static_lines", "pacing", "fixed", "random"]
    for text in (as_markdown(board), printed(as_table(board))):
        places = [text.index(policy) for policy in ranked(board)]
        assert places == sorted(places)


def test_a_policy_that_keeps_the_budget_is_marked(worlds):
    board = leaderboard(worlds)
    assert underspenders(board) == {"random"}
    assert "random †" in as_markdown(board)
    board["policies"]["random"]["incremental_conversions"]["mean"] = 1_000.0
    assert underspenders(board) == set()


def test_pairs_are_headed_in_words(worlds):
    pairs = as_markdown(leaderboard(worlds)).rstrip().split("\n\n")[-1].splitlines()
    assert pairs[0].startswith("| pair | incremental profit | incremental conversions | incremental CAC |")
    assert len({line.count("|") for line in pairs}) == 1


def test_names_cannot_break_the_tables(worlds):
    worlds["a|b [red]"] = worlds["fixed"]
    board = leaderboard(worlds)
    assert "a\\|b [red]" in as_markdown(board)
    assert "a|b [red]" in printed(as_table(board))
    cells = {line.replace("\\|", "").count("|") for line in as_markdown(board).split("\n\n")[0].splitlines()}
    assert len(cells) == 1


def test_an_open_end_is_written_as_infinity():
    assert format_interval({"mean": 0.5, "low": None, "high": 0.6}, "spend_share") == "50.0 % (-∞, 60.0]"
    assert format_interval({"mean": None, "low": None, "high": None}, "cac_usd") == "n/a"


def test_missing_and_uneven_sums_are_named(worlds):
    with pytest.raises(BadInput, match="must also have wins"):
        leaderboard({"pacing": {k: v for k, v in worlds["pacing"].items() if k != "wins"}})
    with pytest.raises(BadInput, match=r"\['bids'\]"):
        leaderboard({"pacing": worlds["pacing"] | {"bids": np.ones(3)}})
    with pytest.raises(BadInput, match="same number of worlds"):
        leaderboard({"a": worlds["pacing"], "b": {k: v[:5] for k, v in worlds["fixed"].items()}})
    with pytest.raises(BadInput, match="finite"):
        leaderboard({"a": worlds["pacing"] | {"wins": np.full(64, np.nan)}})
