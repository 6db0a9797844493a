"""Experiments against published numbers and shared data."""

import csv
import gzip

import numpy as np
import pytest

from gaelp.journeys.columns import days, names, numbers, read_columns
from gaelp.measurement.experiments.ab import (
    SRM_ALPHA,
    Counts,
    sample_ratio_mismatch,
    two_proportions,
    welch,
)
from gaelp.measurement.experiments.geo import geo_lift, group_of, panel, window
from gaelp.measurement.experiments.off_policy import off_policy, uniform_target
from gaelp.measurement.experiments.power import (
    detectable,
    power_of_means,
    power_of_rates,
    trials_for,
)

pytestmark = pytest.mark.golden

PRE, TEST = window("pre", "2015-01-05:2015-02-15"), window("test", "2015-02-16:2015-03-15")


@pytest.fixture(scope="module")
def salesandcost(shared_data):
    file = shared_data / "geo_experiment" / "salesandcost.csv.gz"
    cells = read_columns(file, ["geo", "date", "sales", "cost"])
    sales, cost = (numbers(name, cells[name]) for name in ("sales", "cost"))
    return panel(names("geo", cells["geo"]), days("date", cells["date"]), sales, cost)


def logged(shared_data, name):
    """Clicks, propensities, items and positions."""
    columns = ["click", "propensity_score", "item_id", "position"]
    cells = read_columns(shared_data / "open_bandit" / f"{name}.csv.gz", columns)
    figures = [numbers(column, cells[column]) for column in columns[:2]]
    return *figures, *(names(column, cells[column]) for column in columns[2:])


def test_the_geo_experiment_is_as_googles_package_has_it(salesandcost):
    # google/matched_markets, test_tbr_iroas.py and test_tbr.py: figures of the R package on the same file
    found = geo_lift(salesandcost, PRE, TEST, level=0.80)  # two-sided 80 %: the lower end of one-sided 90 %
    assert found["slope"] == pytest.approx(0.9997001, abs=5e-8)
    assert found["iroas"] == pytest.approx(2.946742, abs=5e-7)
    assert found["low"] == pytest.approx(2.826194, abs=5e-7)
    assert found["iroas"] - found["low"] == pytest.approx(0.120548, abs=5e-7)
    assert found["effect"] == pytest.approx(147337.122, abs=5e-4)
    assert found["incremental_cost"] == pytest.approx(50_000)
    assert found["lift"] == pytest.approx(0.173998, abs=5e-5)  # theirs is the median of draws
    wider = geo_lift(salesandcost, PRE, TEST, level=0.90)
    assert [wider["low"], wider["high"]] == pytest.approx([2.79135, 3.102936], abs=1e-3)  # theirs are draws
    assert (found["geos_treated"], found["geos_control"], found["cost"]) == (50, 50, "fixed")
    assert found["placebo_p"] == 0.001 and found["absent_rows"] == 75


def test_a_modelled_cost_says_the_same_where_it_hardly_varies(salesandcost):
    # the same test file: cost with noise of 1e-5 gives the same estimate from draws
    noise = 1e-5 * np.random.default_rng(0).normal(size=salesandcost.cost.shape)
    noisy = type(salesandcost)(
        salesandcost.geos, salesandcost.days, salesandcost.response, salesandcost.cost + noise, 75
    )
    treated = salesandcost.cost.sum(axis=1) > 0
    found = geo_lift(noisy, PRE, TEST, treated, level=0.90)
    assert found["cost"] == "modelled"
    assert found["iroas"] == pytest.approx(2.946742, abs=1e-4)
    assert [found["low"], found["high"]] == pytest.approx([2.79135, 3.102936], abs=5e-3)


def test_groups_named_are_those_that_spent(salesandcost):
    spent = salesandcost.cost.sum(axis=1) > 0
    rows = np.repeat(salesandcost.geos, 2)
    groups = np.where(np.repeat(spent, 2), "2", "1")
    assert (group_of(salesandcost, rows, groups, "2") == spent).all()


def test_without_ads_nothing_stands_out(salesandcost):
    # the same regions three weeks before: no effect, so that only the error is left
    spent = salesandcost.cost.sum(axis=1) > 0
    cost = np.where(spent[:, None], 1.0, 0.0) * (salesandcost.days >= np.datetime64("2015-01-31"))
    before = type(salesandcost)(salesandcost.geos, salesandcost.days, salesandcost.response, cost, 75)
    windows = window("pre", "2015-01-05:2015-01-30"), window("test", "2015-01-31:2015-02-15")
    found = geo_lift(before, *windows)
    assert found["effect_low"] < 0 < found["effect_high"]
    assert found["placebo_p"] > 0.05


def test_a_random_policy_loses_to_the_learnt_one(shared_data):
    arms = {}
    for name in ("random_men", "bts_men"):
        click = logged(shared_data, name)[0]
        arms[name] = Counts(click.size, int(click.sum()))
    found = two_proportions(arms["random_men"], arms["bts_men"])
    assert arms == {"random_men": Counts(10_000, 46), "bts_men": Counts(10_000, 69)}
    assert found.statistic == pytest.approx(2.15, abs=5e-3)
    assert found.p_value == pytest.approx(0.0315, abs=5e-5)
    assert found.low > 0


@pytest.mark.parametrize("campaign", ["men", "all"])
def test_the_learnt_policys_log_tells_what_the_random_one_earned(shared_data, campaign):
    click, propensity, action, position = logged(shared_data, f"bts_{campaign}")
    found = off_policy(click, propensity, action, uniform_target(position, action), position)
    assert not found["refused"] and found["effective_sample_size"] > 300
    click, propensity, action, position = logged(shared_data, f"random_{campaign}")
    error = click.std() / np.sqrt(click.size)
    for name in ("ips", "snips", "dr"):
        low, high = found["intervals"][name]
        assert low - 2 * error < click.mean() < high + 2 * error, name
    # the log of the random policy itself has every weight 1: all that was logged is what it earned
    own = off_policy(click, propensity, action, uniform_target(position, action), position)
    assert own["ips"] == pytest.approx(click.mean()) and own["snips"] == pytest.approx(click.mean())
    assert own["effective_sample_size"] == pytest.approx(10_000)


def test_newcombes_interval_is_as_published():
    # Newcombe, Statistics in Medicine 17 (1998), table II, case (a), method 10: 56/70 less 48/80
    found = two_proportions(Counts(80, 48), Counts(70, 56))
    assert [found.value, found.low, found.high] == pytest.approx([0.2, 0.0524, 0.3339], abs=5e-5)
    # and case (c): 9/10 less 3/10
    found = two_proportions(Counts(10, 3), Counts(10, 9))
    assert [found.value, found.low, found.high] == pytest.approx([0.6, 0.1705, 0.8090], abs=5e-5)


def test_students_sleep_is_as_r_prints_it():
    # R's example(t.test): extra sleep of ten patients under two drugs, Welch's test
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = welch(second, first)
    assert found.statistic == pytest.approx(-1.8608, abs=5e-5)
    assert found.p_value == pytest.approx(0.07939, abs=5e-6)
    assert [found.low, found.high] == pytest.approx([-3.3654832, 0.2054832], abs=5e-8)


def test_power_is_as_rs_own_examples_print_it():
    # R's example(power.prop.test) and example(power.t.test)
    assert power_of_rates(0.50, 0.75, 100) == pytest.approx(0.7401659, abs=5e-8)
    assert trials_for(lambda n: power_of_rates(0.50, 0.75, n), 0.90) / 2 == pytest.approx(76.7, abs=0.05)
    seen = detectable(lambda d: power_of_rates(0.5, 0.5 + d, 100), 1e-9, 0.4999, 0.90)
    assert 0.5 + seen == pytest.approx(0.8026, abs=5e-5)
    assert power_of_means(1.0, 1.0, 40) == pytest.approx(0.8689528, abs=5e-8)
    assert trials_for(lambda n: power_of_means(1.0, 1.0, n), 0.90) / 2 == pytest.approx(22.02110, abs=5e-6)


def test_four_hundred_units_too_many_are_a_mismatch_to_look_into():
    assert sample_ratio_mismatch([10_000, 10_400]) == pytest.approx(0.0051, abs=5e-5)
    assert sample_ratio_mismatch([10_000, 10_600]) < SRM_ALPHA


def test_the_shared_files_hold_what_their_readme_says(shared_data):
    with gzip.open(shared_data / "geo_experiment" / "salesandcost.csv.gz", "rt") as file:
        assert sum(1 for _ in csv.reader(file)) == 9_226
