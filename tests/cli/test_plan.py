"""`gaelp plan`: what a proof takes, and what the next dollar brings."""

from pathlib import Path

import pytest

from .conftest import Gaelp

SMALL = ("--worlds", "2", "--users", "1000", "--days", "3", "--runoff-days", "4")
INTERVAL = {"mean", "low", "high"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("GAELP_CACHE", str(tmp_path_factory.getbasetemp() / "plan-cache"))


def test_a_proof_is_planned_for_every_holdout(gaelp: Gaelp, market_file: Path) -> None:
    command = ("plan", "proof", "--market", market_file, "--policy", "fixed", *SMALL, "--true-cac", "30")
    found = gaelp(*command, "--holdout", "0.5,0.1", "--json").json
    assert [(row["unit"], row["holdout"]) for row in found["plans"]] == [
        (unit, holdout) for unit in ("people", "regions") for holdout in (0.1, 0.5)
    ]
    assert found["provable"] and found["reason"] is None and found["assumed_cac"]
    assert found["account"] == {"people": 80_000, "daily_budget_usd": 500.0}
    assert set(found["rates"]["incremental_cac_usd"]) == INTERVAL
    assert set(found["detectable_cac_usd"][0]["by_days"]) == {"30", "60", "90"}
    half = found["plans"][1]
    spent = found["rates"]["spend_usd_per_person_day"]["mean"] * 40_000 * half["days"]
    assert half["spend_usd"] == pytest.approx(spent)
    shown = gaelp(*command)
    assert shown.code == 0 and shown.err.strip() == ""
    for said in ("Hold out", "held out", "The dearest true CAC", "only booked sales count", "5%", "regions"):
        assert said in shown.out


def test_what_cannot_be_proven_is_said_plainly(gaelp: Gaelp, market_file: Path) -> None:
    command = ("plan", "proof", "--market", market_file, "--policy", "fixed", *SMALL)
    dear = gaelp(*command, "--true-cac", "100", "--json").json
    assert (dear["provable"], dear["reason"]) == (False, "cac_not_below_target")
    near = gaelp(*command, "--true-cac", "99", "--json").json
    assert near["reason"] == "more_than_730_days" and near["statement"].startswith("Cannot be proven")
    assert {row["days"] for row in near["plans"]} == {None}
    assert "never" in gaelp(*command, "--true-cac", "99").out


def test_the_budget_is_the_accounts(gaelp: Gaelp, market_file: Path) -> None:
    command = ("plan", "proof", "--market", market_file, "--policy", "fixed", *SMALL, "--json")
    usual, half = gaelp(*command).json, gaelp(*command, "--account-budget-usd", "250").json
    spend = [found["rates"]["spend_usd_per_person_day"]["mean"] for found in (usual, half)]
    assert spend[0] * 80_000 == pytest.approx(500.0, rel=0.05) and spend[1] < 0.7 * spend[0]
    assert half["account"]["daily_budget_usd"] == 250.0 and half["model_sha256"] is None


def test_scenarios_are_answered_in_words_and_json(gaelp: Gaelp, market_file: Path) -> None:
    asked = ("--budgets", "0.8,1,1.2", "--rival-enters", "--season-months", "5")
    command = ("plan", "scenario", "--market", market_file, "--policy", "fixed", *SMALL, *asked)
    found = gaelp(*command, "--json").json
    assert [row["factor"] for row in found["budgets"]] == [0.8, 1.0, 1.2]
    assert [row["channel"] for row in found["channels"]] == [
        *("search", "social", "video", "display", "retargeting", "email")
    ]
    for row in (*found["channels"], *found["budgets"]):
        assert set(row["incremental_cac_usd"]) == INTERVAL
    assert found["channels"][-1]["marginal_cac_usd"] is None
    assert set(found["scenarios"]) == {"rival_enters", "season_moved"}
    assert "p_improvement" in found["scenarios"]["season_moved"]["difference"]["incremental_cac_usd"]
    shown = gaelp(*command)
    assert shown.code == 0
    for said in ("By channel", "By budget", "-20%", "What if", "a rival enters", "+5 months"):
        assert said in shown.out


def test_scenarios_can_leave_the_channels_out(gaelp: Gaelp, market_file: Path) -> None:
    command = ("plan", "scenario", "--market", market_file, "--policy", "fixed", *SMALL, "--no-channels")
    found = gaelp(*command, "--budgets", "1", "--json").json
    assert found["channels"] == [] and found["scenarios"] == {} and len(found["budgets"]) == 1


CASES = {
    "a target of nothing": (["proof", "--target-cac", "0"], "`target_cac` was 0.0; must be from 0.01 to"),
    "a target that is no number": (["proof", "--target-cac", "nan"], "`target_cac` was nan"),
    "a holdout of everybody": (["proof", "--holdout", "1"], "`holdout` was '1'; must list numbers from 0.01"),
    "a holdout of nobody": (["proof", "--holdout", "0,0.1"], "must list numbers from 0.01 to 0.95"),
    "a holdout in words": (["proof", "--holdout", "some"], "Write it like --holdout 0.1,0.5."),
    "a holdout that is no number": (["proof", "--holdout", "nan"], "`holdout` was 'nan'"),
    "a certain proof": (["proof", "--power", "1"], "`power` was 1.0; must be from 0.5 to 0.999"),
    "no false proof at all": (["proof", "--alpha", "0"], "`alpha` was 0.0; must be from 0.0001 to 0.5"),
    "a true CAC below nothing": (["proof", "--true-cac", "-1"], "`true_cac` was -1.0"),
    "an endless wait": (["proof", "--wait-days", "731"], "`wait_days` was 731; must be from 0 to 730"),
    "days before in the future": (["proof", "--pre-days", "-1"], "`pre_days` was -1"),
    "an account without end": (["proof", "--account-budget-usd", "inf"], "`account_budget_usd` was inf"),
    "an account below nothing": (["scenario", "--account-budget-usd", "-1"], "`account_budget_usd` was -1.0"),
    "a panel's budget": (["proof", "--daily-budget-usd", "50"], "--daily-budget-usd"),
    "nobody": (["proof", "--users", "0"], "`users` was 0"),
    "an unknown policy": (["proof", "--policy", "pacng"], "Did you mean 'pacing'?"),
    "a yardstick": (["proof", "--policy", "line_oracle"], "must be one that could be flown"),
    "no worlds": (["scenario", "--worlds", "0"], "`worlds` was 0"),
    "a yardstick's scenario": (["scenario", "--policy", "line_oracle"], "must be one that could be flown"),
    "no market": (["scenario", "--market", "none.toml"], "must be a readable market file"),
    "a budget of nothing": (["scenario", "--budgets", "0"], "`budgets` was '0'; must list numbers from 0.1"),
    "budgets in words": (["scenario", "--budgets", "0.8;1"], "Write it like --budgets 0.8,1.2."),
    "two years of months": (["scenario", "--season-months", "24"], "must be from -12 to 12"),
    "an unknown option": (["scenario", "--rivals", "3"], "--rivals"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(gaelp: Gaelp, case: str, market_file: Path) -> None:
    arguments, says = CASES[case]
    market = [] if "--market" in arguments else ["--market", str(market_file)]
    ran = gaelp("plan", *arguments, *market, "--json")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert ran.err.startswith("error: ") and says in ran.err


@pytest.mark.parametrize("command", ["proof", "scenario"])
def test_help_names_every_option(gaelp: Gaelp, command: str) -> None:
    shown = gaelp("plan", command, "--help")
    assert shown.code == 0
    for option in (
        "--account-budget-usd",
        "--market",
        "--policy",
        "--worlds",
        "--users",
        "--days",
        "--seed",
        "--json",
    ):
        assert option in shown.out
