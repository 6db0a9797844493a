"""`gaelp experiment` as people type it."""

import csv
import json

import numpy as np
import pytest

from gaelp.cli.experiment import experiment_app
from gaelp.core.errors import BadInput

GEO_KEYS = {"iroas", "iroas_se", "low", "high", "effect", "placebo_p"}
OPE_KEYS = {"ips", "snips", "dr", "effective_sample_size", "max_weight", "refused", "reason"}
GEO = ("--geo", "geo", "--date", "date", "--response", "sales", "--cost", "cost")
WINDOWS = ("--pre", "2026-01-01:2026-01-28", "--test", "2026-01-29:2026-02-11")
UNITS = ("--group", "arm", "--treated", "new", "--response", "sales")
OPE = ("--reward", "click", "--propensity", "chance", "--action", "item")


@pytest.fixture
def experiment(capfd):
    def call(*arguments):
        experiment_app([str(argument) for argument in arguments], standalone_mode=False)
        said = capfd.readouterr()
        if "--json" not in arguments:
            return said.out + said.err
        return json.loads(said.out)

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A geo table with groups, a log of choices, a target, and units with a covariate."""
    made, rng = tmp_path_factory.mktemp("experiments"), np.random.default_rng(0)
    counts = np.random.default_rng(1)
    days = np.arange(np.datetime64("2026-01-01"), np.datetime64("2026-02-12"))
    lines = ["geo,date,sales,cost,group,people,few"]
    for geo in range(12):
        for i, day in enumerate(days):
            on = geo % 2 == 1 and i >= 28
            sales = (100 + 10 * geo) * (1 + 0.2 * np.sin(i)) + rng.normal() + 20 * on
            group, few = "ads" if geo % 2 else "dark", counts.poisson(1.0)
            lines.append(f"g{geo},{day},{sales:.3f},{10 * on},{group},{100 + 10 * geo},{few}")
    (made / "geo.csv").write_text("\n".join(lines) + "\n")
    item = rng.choice(["a", "b", "c"], 2_000, p=[0.5, 0.3, 0.2])
    chance = np.select([item == "a", item == "b"], [0.5, 0.3], 0.2)
    click = rng.random(2_000) < np.select([item == "a", item == "b"], [0.1, 0.2], 0.4)
    log = "".join(
        f"{int(k)},{p},{i},{n % 2}\n" for n, (k, p, i) in enumerate(zip(click, chance, item, strict=True))
    )
    (made / "log.csv").write_text("click,chance,item,place\n" + log)
    (made / "target.csv").write_text("item,probability\nc,1.0\n")
    (made / "placed.csv").write_text("item,place,probability\nc,0,1\na,1,1\n")
    units = ["arm,sales,before"]
    for n in range(400):
        before = rng.gamma(2.0, 10.0)
        units.append(
            f"{'new' if n % 2 else 'old'},{before + rng.normal(0, 3) + 2 * (n % 2):.3f},{before:.3f}"
        )
    (made / "units.csv").write_text("\n".join(units) + "\n")
    return made


def test_two_rates(experiment):
    found = experiment("ab", "--control", "10000,46", "--treatment", "10000,69", "--json")
    assert found["z"] == pytest.approx(2.15, abs=0.005) and found["p_value"] < 0.05
    assert found["difference"] == pytest.approx(0.0023)
    assert found["low"] < 0.0023 < found["high"]
    assert found["control"] == {"trials": 10_000, "successes": 46, "rate": 0.0046}
    assert found["srm_p_value"] == pytest.approx(1.0) and found["trusted"]
    said = experiment("ab", "--control", "10000,46", "--treatment", "10600,69")
    assert "not dealt as meant" in said and "p-value" in said


def test_two_means_of_a_table_with_and_without_cuped(experiment, folder):
    table = ("ab", folder / "units.csv", *UNITS, "--json")
    plain, adjusted = experiment(*table), experiment(*table, "--covariate", "before")
    assert plain["test"] == "Welch t" and "variance_ratio" not in plain
    assert adjusted["variance_ratio"] < 0.1
    assert adjusted["low"] < 2.0 < adjusted["high"]
    assert adjusted["high"] - adjusted["low"] < 0.4 * (plain["high"] - plain["low"])


def test_looks_in_order(experiment):
    looks = (
        "--control",
        "5000,150",
        "--treatment",
        "5000,170",
        "--control",
        "20000,600",
        "--treatment",
        "20000,780",
    )
    found = experiment("sequential", *looks, "--json")
    assert found["decision"] == "treatment is better" and found["stopped_at_look"] == 2
    assert [row["p_value"] for row in found["each_look"]][-1] == found["p_value"] < 0.05
    assert "always-valid" in experiment("sequential", *looks, "--tau", "0.003")


def test_how_large_and_how_long(experiment):
    found = experiment("power", "--base", "0.03", "--lift", "0.1", "--daily", "5000", "--json")
    assert (found["trials"], found["days"]) == (106_422, 22)
    seen = experiment("power", "--base", "0.03", "--trials", "106422", "--json")
    assert seen["detectable"] == pytest.approx(0.1, rel=1e-4)
    assert "days" in experiment("power", "--deviation", "20", "--effect", "1", "--daily", "100")


@pytest.mark.parametrize("named", [(), ("--group", "group", "--treated", "ads")])
def test_a_geo_holdout(experiment, folder, named):
    found = experiment("geo", folder / "geo.csv", *GEO, *WINDOWS, *named, "--json")
    assert set(found) >= GEO_KEYS
    assert found["low"] < 2.0 < found["high"] and found["placebo_p"] < 0.01
    assert found["effect"] == pytest.approx(2.0 * 6 * 14 * 10, rel=0.05)
    assert (found["by"], found["warnings"]) == ("days", [])
    said = experiment("geo", folder / "geo.csv", *GEO, *WINDOWS, *named)
    assert "placebo p-value" in said and "warning" not in said


def test_a_geo_holdout_by_regions(experiment, folder):
    by = ("--by", "regions", "--population", "people")
    found = experiment("geo", folder / "geo.csv", *GEO, *WINDOWS, *by, "--json")
    assert set(found) >= GEO_KEYS and (found["by"], found["warnings"]) == ("regions", [])
    assert found["low"] < 2.0 < found["high"] and found["placebo_p"] < 0.01
    assert found["effect_low"] < 2.0 * 6 * 14 * 10 < found["effect_high"]
    assert "weight on sales before" in experiment("geo", folder / "geo.csv", *GEO, *WINDOWS, *by)


def with_people(folder, change):
    """The geo table with other figures of people."""
    with (folder / "geo.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "people.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"people": change(row)} for row in rows)
    return folder / "people.csv"


def test_a_geo_holdout_knows_no_unit_of_people(experiment, folder):
    by = (*GEO, *WINDOWS, "--by", "regions", "--population", "people", "--json")
    usual = experiment("geo", folder / "geo.csv", *by)
    found = experiment("geo", with_people(folder, lambda row: 4.0**-498 * float(row["people"])), *by)
    assert found == usual  # a power of 4, so not even the last digit of a root differs


@pytest.mark.parametrize(
    ("few", "says"),
    [(0, "`population` was 'g3'; must have people"), (1e-300, "must be at least 1e-09 of the")],
)
def test_a_region_of_nobody_is_refused(experiment, folder, few, says):
    table = with_people(folder, lambda row: few if row["geo"] == "g3" else row["people"])
    with pytest.raises(BadInput, match=says):
        experiment("geo", table, *GEO, *WINDOWS, "--by", "regions", "--population", "people")


def test_days_that_do_not_tell_are_warned_of(experiment, folder):
    few = ("--geo", "geo", "--date", "date", "--response", "few", "--cost", "cost", *WINDOWS)
    found = experiment("geo", folder / "geo.csv", *few, "--json")
    assert len(found["warnings"]) == 2 and all("--by regions" in each for each in found["warnings"])
    said = experiment("geo", folder / "geo.csv", *few)
    assert said.count("warning: ") == 2 and "noise of counting" in said
    by = ("--by", "regions", "--population", "people")
    assert experiment("geo", folder / "geo.csv", *few, *by, "--json")["warnings"] == []


@pytest.mark.parametrize(
    ("target", "context", "truth"),
    [("uniform", (), 0.7 / 3), ("target.csv", (), 0.4), ("placed.csv", ("--context", "place"), 0.25)],
)
def test_a_log_of_choices(experiment, folder, target, context, truth):
    asked = target if target == "uniform" else folder / target
    found = experiment("ope", folder / "log.csv", *OPE, "--target", asked, *context, "--json")
    assert set(found) >= OPE_KEYS and not found["refused"] and found["reason"] is None
    for name in ("ips", "snips", "dr"):
        low, high = found["intervals"][name]
        assert low - 0.02 < truth < high + 0.02


def test_a_log_too_thin_is_refused(experiment, folder, tmp_path):
    short = tmp_path / "short.csv"
    short.write_text("".join((folder / "log.csv").read_text().splitlines(keepends=True)[:200]))
    found = experiment("ope", short, *OPE, "--target", folder / "target.csv", "--json")
    assert found["refused"] and found["ips"] is None and "under 100" in found["reason"]
    assert "refused" in experiment("ope", short, *OPE, "--target", folder / "target.csv")


@pytest.mark.golden
def test_the_shared_geo_experiment(experiment, shared_data):
    file = shared_data / "geo_experiment" / "salesandcost.csv.gz"
    windows = ("--pre", "2015-01-05:2015-02-15", "--test", "2015-02-16:2015-03-15")
    found = experiment("geo", file, *GEO, *windows, "--json")
    assert found["iroas"] == pytest.approx(2.946742, abs=5e-7) and found["low"] < 2.95 < found["high"]
    assert found["warnings"] == []


CASES = {
    "successes without trials": (["ab", "--control", "10,11", "--treatment", "10,1"], "no more successes"),
    "counts in words": (["ab", "--control", "ten,one", "--treatment", "10,1"], "must be TRIALS,SUCCESSES"),
    "one arm": (["ab", "--control", "10,1"], "`treatment` was None; must be TRIALS,SUCCESSES"),
    "a table without an arm": (["ab", "units.csv", "--group", "arm"], "`treated` was None; must be named"),
    "an arm that is not there": (
        ["ab", "units.csv", "--group", "arm", "--treated", "newer", "--response", "sales"],
        "`treated` was 'newer'; known: new, old. Did you mean 'new'?",
    ),
    "looks out of order": (
        [
            *("sequential", "--control", "20,9", "--control", "10,9"),
            *("--treatment", "20,9", "--treatment", "30,9"),
        ],
        "`control` was (10, 9); must not fall from look to look",
    ),
    "a certain test": (["power", "--base", "0.1", "--lift", "0.1", "--power", "1"], "`power` was 1.0"),
    "a rate above 1": (["power", "--base", "1.1", "--lift", "0.1"], "`base` was 1.1"),
    "nothing to plan": (["power"], "`base` was None; must be given, or else a deviation"),
    "a window backwards": (
        ["geo", "geo.csv", *GEO, "--pre", "2026-01-28:2026-01-01", "--test", "2026-01-29:2026-02-11"],
        "`pre` was '2026-01-28:2026-01-01'; must be two days FROM:TO, the earlier first",
    ),
    "a test that was not recorded": (
        ["geo", "geo.csv", *GEO, "--pre", "2026-01-01:2026-01-28", "--test", "2026-01-29:2026-03-11"],
        "must lie within the table's dates, 2026-01-01:2026-02-11",
    ),
    "half a group": (["geo", "geo.csv", *GEO, *WINDOWS, "--treated", "ads"], "`group` was None"),
    "an unknown column": (
        ["geo", "geo.csv", "--geo", "region", *GEO[2:], *WINDOWS],
        "`column` was 'region'; known: cost, date, few, geo, group, people, sales",
    ),
    "a day in words": (
        [
            "geo",
            "units.csv",
            "--geo",
            "arm",
            "--date",
            "arm",
            "--response",
            "sales",
            "--cost",
            "sales",
            *WINDOWS,
        ],
        "`arm in line 2` was 'old'; must be a day like 2015-02-16",
    ),
    "a target that is not there": (
        ["ope", "log.csv", *OPE, "--target", "unifrom"],
        "must be a file that exists",
    ),
    "a rate of nothing": (["power", "--base", "0", "--trials", "1000"], "`base` was 0.0; must lie between"),
    "a rate and a mean": (
        ["power", "--base", "0.1", "--effect", "2"],
        "`effect` was 2.0; must be left out with a base. Give --lift",
    ),
    "counts beside a table": (
        ["ab", "units.csv", *UNITS, "--control", "10,1"],
        "`control` was '10,1'; must be left out with a table",
    ),
    "columns beside counts": (
        ["ab", "--control", "10,1", "--treatment", "10,1", "--covariate", "before"],
        "`covariate` was ['before']; must be left out with counts",
    ),
    "a level in per cent": (
        ["ope", "log.csv", *OPE, "--target", "uniform", "--level", "95"],
        "`level` was 95.0; must lie between 0 and 1, both excluded. Write 5 % as 0.05, and 95 % as 0.95.",
    ),
    "a level in per cent, geo": (["geo", "geo.csv", *GEO, *WINDOWS, "--level", "95"], "`level` was 95.0"),
    "one region": (
        ["geo", "geo.csv", *GEO, *WINDOWS, "--group", "geo", "--treated", "g99"],
        "`treated` was 'g99'; known: g0",
    ),
    "regions without people": (
        ["geo", "geo.csv", *GEO, *WINDOWS, "--by", "regions"],
        "must be named with --by regions, and only then. Give --population COL.",
    ),
    "people of no use": (
        ["geo", "geo.csv", *GEO, *WINDOWS, "--population", "people"],
        "`population` was 'people'; must be named with --by regions",
    ),
    "people that come and go": (
        ["geo", "geo.csv", *GEO, *WINDOWS, "--by", "regions", "--population", "sales"],
        "`population` was 'g0'; must have as many people on all days",
    ),
    "by weeks": (
        ["geo", "geo.csv", *GEO, *WINDOWS, "--by", "weeks"],
        "`by` was 'weeks'; known: days, regions",
    ),
    "a chance of nothing": (
        ["ope", "log.csv", *OPE[:2], "--propensity", "place", *OPE[4:], "--target", "uniform"],
        "`place in line 2` was '0'; must be above 0 and at most 1",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_names_what_was_wrong(experiment, folder, monkeypatch, case):
    arguments, says = CASES[case]
    monkeypatch.chdir(folder)
    with pytest.raises(BadInput) as caught:
        experiment(*arguments)
    assert says in str(caught.value) and caught.value.exit_code == 2


def test_days_may_be_compact(experiment, folder, tmp_path):
    compact = tmp_path / "geo.csv"
    compact.write_text((folder / "geo.csv").read_text().replace("-", ""))
    windows = [text.replace("-", "") if ":" in text else text for text in WINDOWS]
    found = experiment("geo", compact, *GEO, *windows, "--json")
    assert found == experiment("geo", folder / "geo.csv", *GEO, *WINDOWS, "--json")


@pytest.mark.parametrize("n_geos", [2, 6])
def test_regions_that_never_vary_get_a_placebo_p_of_one(experiment, tmp_path, n_geos):
    """No residual, no error: nothing stands out from nothing. One region is treated."""
    days = np.arange(np.datetime64("2026-01-01"), np.datetime64("2026-02-12"))
    lines = ["geo,date,sales,cost"]
    lines += [f"g{g},{day},7,{int(g == 0 and i >= 28)}" for g in range(n_geos) for i, day in enumerate(days)]
    (tmp_path / "flat.csv").write_text("\n".join(lines) + "\n")
    found = experiment("geo", tmp_path / "flat.csv", *GEO, *WINDOWS, "--placebos", "19", "--json")
    assert (found["effect"], found["placebo_p"]) == (0.0, 1.0) and found["geos_treated"] == 1


@pytest.mark.parametrize("chance", ["1e-300", "1e-320"])
def test_a_propensity_of_nearly_nothing_is_no_number_out_of_range(experiment, tmp_path, chance):
    rows = "".join(f"1,{chance if n == 0 else 0.5},{'ab'[n % 2]}\n" for n in range(300))
    (tmp_path / "log.csv").write_text("click,chance,item\n" + rows)
    with pytest.raises(BadInput, match=r"chance in line 2` was '1e-3.0'; must be above 0"):
        experiment("ope", tmp_path / "log.csv", *OPE, "--target", "uniform")


def test_one_choice_that_outweighs_all_others_is_refused(experiment, tmp_path):
    rows = "".join(f"1,{1e-90 if n == 0 else 0.5},{'ab'[n % 2]}\n" for n in range(300))
    (tmp_path / "log.csv").write_text("click,chance,item\n" + rows)
    found = experiment("ope", tmp_path / "log.csv", *OPE, "--target", "uniform", "--json")
    assert found["refused"] and found["effective_sample_size"] == pytest.approx(1.0)
