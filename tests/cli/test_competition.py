"""`gaelp competition`: rivals from a run's own reports."""

import pytest

SIZES = ("--worlds", "2", "--users", "4000", "--days", "10", "--runoff-days", "1", "--no-twin")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "watched"


def test_rivals_are_told_from_a_run_that_kept_its_reports(gaelp, market_file, run_folder):
    ran = gaelp("simulate", "--market", market_file, "--policy", "fixed", *SIZES, "--reports", "--out",
                run_folder, "--json")  # fmt: skip
    assert ran.code == 0, ran.err
    told = gaelp("competition", run_folder, "--world", 1, "--json").json
    assert told["world"] == 1 and told["days"] == 9
    social = told["lines"]["social_new_mobile"]
    assert social["basis"] == "prices" and social["share"]["source"] == "by prices"
    assert [row["factor"] for row in social["win_curve"]] == [0.5, 0.7, 1.0, 1.4, 2.0]
    units = {line["unit"] for name, line in told["lines"].items() if name.startswith("search")}
    assert (social["unit"], units) == ("USD per 1000 impressions", {"USD per click"})
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in social["win_curve"])
    assert "social" in told["channels"] and "number of rivals" in told["notes"][0]
    text = gaelp("competition", run_folder)
    assert text.code == 0 and "social_new_mobile" in text.out and "not told" in text.out
    assert "a click" in text.out and "per 1,000 impressions as marked" in text.out


def test_a_run_without_reports_is_refused(gaelp, tmp_path):
    ran = gaelp("competition", tmp_path)
    assert ran.code == 2 and "--reports" in ran.err


def test_reports_need_a_folder(gaelp):
    ran = gaelp("simulate", "--reports")
    assert ran.code == 2 and "--out" in ran.err
