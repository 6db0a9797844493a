"""Judgement in several families from one warm-up, with references, cache and executors."""

import sys
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.evaluation import judge as module
from gaelp.evaluation import suites
from gaelp.evaluation.judge import Reference, Terms, judge, judge_families, world_hours
from gaelp.evaluation.leaderboard import NEEDED_SUMS, worst_mean_interval
from gaelp.evaluation.suites import (
    SUITES,
    NamedPolicy,
    board_of,
    families_markdown,
    families_table,
    log_opening,
)
from gaelp.market.file import load
from gaelp.worlds.executors import make_executor
from gaelp.worlds.families import DEFAULT, FAMILIES
from gaelp.worlds.flight import fly
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.warmed import WarmCache

MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"
FILE = load(MARKET)
WORLDS = split_worlds(FILE, "validation", 3)
TERMS = Terms(n_people=300, days=2, runoff_days=2)
CHOSEN = [FAMILIES[name] for name in ("crisis_wave", "half_budget", "tracking_outage")]


@dataclass
class Oracle:
    """A stand-in for a reference: it flies by itself."""

    name: str = "line_oracle"

    def fly(self, market, *, traffic, days, daily_budget_usd, seed, tuned, tick, keep_bids):
        assert traffic.shape == (market.n_worlds, 168)
        return fly(
            market,
            tuned.fixed(),
            traffic=traffic,
            days=days,
            daily_budget_usd=daily_budget_usd,
            seed=seed,
            tuned=tuned,
            tick=tick,
            keep_bids=keep_bids,
        )


POLICIES = {
    "pacing": NamedPolicy("pacing", str(MARKET)),
    "fixed": NamedPolicy("fixed", str(MARKET)),
    "line_oracle": Oracle,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return WarmCache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def judged(cache):
    return judge_families(WORLDS, POLICIES, [DEFAULT, *CHOSEN], terms=replace(TERMS, cache=cache))


def same(a, b):
    assert a.keys() == b.keys()
    for policy, sums in a.items():
        for key, values in sums.items():
            assert values.tobytes() == b[policy][key].tobytes(), (policy, key)


def test_a_family_judged_alone_finds_what_it_finds_among_others(judged):
    for family in (DEFAULT, *CHOSEN):
        alone = judge(WORLDS, POLICIES, family=family, n_people=300, days=2, runoff_days=2)
        same(alone.results, judged[family.name].results)


def test_the_split_into_batches_changes_nothing(judged, monkeypatch):
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", 1.0)
    cut = judge(WORLDS, POLICIES, family=CHOSEN[0], n_people=300, days=2, runoff_days=2)
    same(cut.results, judged["crisis_wave"].results)


@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_processes_judge_as_one_does(judged, monkeypatch, cache, name):
    if name == "ray":
        pytest.importorskip("ray")
    monkeypatch.setattr(module, "WORLDS_A_TASK", 2)
    named = {name: maker for name, maker in POLICIES.items() if isinstance(maker, NamedPolicy)}
    ticks = []
    families = [DEFAULT, *CHOSEN]
    with make_executor(name, 2) as executor:
        terms = replace(TERMS, cache=cache)
        options = {"terms": terms, "executor": executor}
        found = judge_families(WORLDS, named, families, tick=ticks.append, **options)
        with pytest.raises(BadInput, match="keep"):
            judge_families(WORLDS, named, families, keep=True, **options)
    for family in families:
        same(found[family.name].results, {name: judged[family.name].results[name] for name in named})
    assert sum(ticks) == world_hours(3, 2, 2, 2, families)


def test_the_progress_bar_is_told_every_hour_lived(cache):
    for families in ([DEFAULT], CHOSEN):
        ticks = []
        judge_families(WORLDS, POLICIES, families, terms=replace(TERMS, cache=cache), tick=ticks.append)
        assert sum(ticks) == world_hours(3, len(POLICIES), 2, 2, families)


def test_families_do_what_they_say(judged):
    plain, half, outage, crisis = (
        judged[name].results for name in ("default", "half_budget", "tracking_outage", "crisis_wave")
    )
    assert np.allclose(half["fixed"]["budget_usd"], 0.5 * plain["fixed"]["budget_usd"])
    assert np.allclose(half["line_oracle"]["budget_usd"], 0.5 * plain["line_oracle"]["budget_usd"])
    same(outage, plain)  # two days are over before it begins
    assert (half["pacing"]["twin_conversions"] == plain["pacing"]["twin_conversions"]).all()
    assert crisis["pacing"]["expected_decisions"].sum() > 1.2 * plain["pacing"]["expected_decisions"].sum()


def test_expected_decisions_are_those_of_this_run_and_of_the_difference_to_its_twin(judged):
    sums = judged["default"].results["pacing"]
    made = sums["decisions"].sum()
    assert abs(sums["expected_decisions"].sum() - made) < 5 * np.sqrt(made)
    gained = sums["expected_decisions"] - sums["incremental_expected_decisions"]
    fixed = judged["default"].results["fixed"]
    without = fixed["expected_decisions"] - fixed["incremental_expected_decisions"]
    assert np.allclose(gained, without)  # the twin's, whoever flew
    worth = sums["expected_value_usd"].sum() / sums["expected_decisions"].sum()
    assert 100 < worth < 260


def test_an_outage_ends_with_the_flight():
    dark = replace(FAMILIES["tracking_outage"], outage_days=(0, 20))
    options = {"n_people": 50, "days": 2, "runoff_days": 1, "keep": True}
    judged = judge(WORLDS[:1], {"fixed": POLICIES["fixed"]}, family=dark, **options)
    end = judged.flights["fixed"][0].market
    assert end.rules["tracking"].all() and not end.pending_changes


def test_the_gap_closed_is_the_share_of_what_the_oracle_gains():
    assert isinstance(Oracle(), Reference) and not isinstance(POLICIES["pacing"](), Reference)
    rng = np.random.default_rng(3)
    base = rng.normal(1000, 100, 40)

    def sums(profit):
        zeros = np.zeros(40)
        return {name: zeros for name in NEEDED_SUMS} | {"incremental_revenue_usd": profit}

    results = {
        "pacing": sums(base),
        "agent": sums(base + 60 + rng.normal(0, 20, 40)),
        "line_oracle": sums(base + 100 + rng.normal(0, 20, 40)),
    }
    policies = module.Judgement(results).board()["policies"]
    gap = policies["agent"]["gap_closed"]
    assert gap["mean"] == pytest.approx(0.6, abs=0.1) and gap["low"] < gap["mean"] < gap["high"]
    assert policies["line_oracle"]["gap_closed"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert policies["pacing"]["gap_closed"]["mean"] == 0.0
    assert policies["agent"]["probability_of_improvement"]["mean"] > 0.95
    assert policies["pacing"]["probability_of_improvement"]["mean"] == 0.5
    worst = np.sort(results["agent"]["incremental_revenue_usd"])[:4].mean()
    assert policies["agent"]["worst_decile_profit_usd"]["mean"] == pytest.approx(worst)
    assert policies["agent"]["expected_profit_usd"]["mean"] is None
    del results["line_oracle"]
    assert module.Judgement(results).board()["policies"]["agent"]["gap_closed"]["mean"] is None


def test_the_worst_worlds_are_a_tenth_and_at_least_one():
    values = np.arange(25.0)
    assert worst_mean_interval(values).mean == 1.0  # the lowest three of 25
    assert worst_mean_interval(values[:5]).mean == 0.0
    whole = worst_mean_interval(values, share=1.0)
    assert whole.mean == 12.0 and whole.low < 12.0 < whole.high
    assert worst_mean_interval([7.0]).as_dict() == {"mean": 7.0, "low": None, "high": None}
    assert worst_mean_interval([]).mean is None


def test_a_suite_of_families_has_a_board_each_and_their_mean_on_top(judged):
    families = {name: found for name, found in judged.items() if name != "default"}
    board = board_of(families)
    assert list(board["families"]) == [family.name for family in CHOSEN]
    assert all(set(found) == {"policies", "pairs"} for found in board["families"].values())
    profits = [
        found["policies"]["fixed"]["incremental_profit_usd"]["mean"] for found in board["families"].values()
    ]
    assert board["policies"]["fixed"]["incremental_profit_usd"]["mean"] == pytest.approx(np.mean(profits))
    assert board_of({"default": judged["default"]})["families"] == {}
    text = families_markdown(board)
    assert text.count("\n") == 2 + len(CHOSEN) and "line_oracle *" in text
    assert families_table(board).row_count == len(CHOSEN)
    assert [len(families) for families in SUITES.values()] == [1, 10, 11]


def test_references_are_imported_only_when_they_are_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "gaelp.evaluation.references", None)
    suites.contender("pacing", FILE)
    with pytest.raises(ModuleNotFoundError, match=r"gaelp\.evaluation\.references"):
        suites.contender("line_oracle", FILE)
    monkeypatch.setitem(sys.modules, "gaelp.evaluation.references", Module)
    assert suites.contender("line_oracle", FILE)().name == "line_oracle"


class Module:
    REFERENCE_POLICIES: ClassVar = {"line_oracle": Oracle}


def test_each_opening_of_the_sealed_worlds_is_a_line_of_the_log(tmp_path):
    (tmp_path / "markets").mkdir()
    file = replace(FILE, path=tmp_path / "markets" / "family_safety.toml")
    with pytest.raises(BadInput, match="an opening that is not logged"):
        log_opening(file, ["pacing"], "why", today=date(2026, 1, 2))
    (tmp_path / "docs").mkdir()
    log = tmp_path / "docs" / "log.md"
    log.write_text("# Log\n\n## An entry\n\nIts text.\n")
    first = log_opening(file, ["pacing", "runs/mine"], "default suite", today=date(2026, 1, 2))
    second = log_opening(file, ["pacing"], "again", today=date(2026, 1, 3))
    text = log.read_text()
    assert text.startswith("# Log\n\n## An entry\n\nIts text.\n") and text.count("## Openings") == 1
    assert first in text and second in text
    assert "2026-01-02" in first and "opening 1" in first and "runs/mine" in first and "opening 2" in second
