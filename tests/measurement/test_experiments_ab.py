"""Two arms at one look: rates, means, CUPED, the deal, and the size of it all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, ttest_ind

from gaelp.core.errors import BadInput
from gaelp.measurement.experiments.ab import (
    Counts,
    checked_counts,
    lift,
    sample_ratio_mismatch,
    two_proportions,
    welch,
)
from gaelp.measurement.experiments.cuped import cuped
from gaelp.measurement.experiments.power import (
    days_for,
    detectable,
    power_of_means,
    power_of_rates,
    trials_for,
)
from gaelp.measurement.experiments.report import means_report, power_report, rates_report

ARM = st.integers(1, 2_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@pytest.mark.golden
@given(ARM, ARM)
def test_z_squared_is_the_chi_squared_of_the_table(a, b):
    control, treatment = Counts(*a), Counts(*b)
    found = two_proportions(control, treatment)
    if found.statistic is None:
        assert control.rate == treatment.rate in (0, 1)
        return
    table = [[arm.successes, arm.trials - arm.successes] for arm in (control, treatment)]
    again = chi2_contingency(table, correction=False)
    assert found.statistic**2 == pytest.approx(again.statistic, abs=1e-9)
    assert found.p_value == pytest.approx(again.pvalue, abs=1e-9)


@given(ARM, ARM)
def test_the_interval_stays_between_minus_1_and_1_and_turns_with_the_arms(a, b):
    there, back = two_proportions(Counts(*a), Counts(*b)), two_proportions(Counts(*b), Counts(*a))
    assert -1 - 1e-9 <= there.low <= there.value <= there.high <= 1 + 1e-9
    assert [back.low, back.high] == pytest.approx([-there.high, -there.low])


@pytest.mark.statistical
def test_intervals_of_a_difference_and_of_a_lift_hold_their_level():
    rng = np.random.default_rng(0)
    held, lifted = [], []
    for _ in range(1_000):
        control, treatment = Counts(800, rng.binomial(800, 0.05)), Counts(1_200, rng.binomial(1_200, 0.07))
        found = two_proportions(control, treatment)
        held.append(found.low <= 0.02 <= found.high)
        _, low, high = lift(control, treatment)
        lifted.append(low <= 0.4 <= high)
    for share in (np.mean(held), np.mean(lifted)):
        assert abs(share - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1_000)


def test_no_success_is_no_lift():
    assert lift(Counts(10, 0), Counts(10, 1)) is None
    found = rates_report(Counts(10, 0), Counts(10, 0))
    assert (found["lift"], found["z"], found["p_value"]) == (None, None, None)


@pytest.mark.golden
def test_welch_is_scipys():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1, 1, 40), rng.normal(1.3, 3, 25)
    again = ttest_ind(b, a, equal_var=False)
    found = welch(a, b, 0.9)
    assert (found.statistic, found.p_value) == pytest.approx((again.statistic, again.pvalue))
    assert [found.low, found.high] == pytest.approx(list(again.confidence_interval(0.9)))
    assert welch([2.0, 2.0], [3.0, 3.0]) == (1.0, 1.0, 1.0, None, None)


@pytest.mark.golden
@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.7, 0.95])
def test_cuped_leaves_1_less_the_squared_correlation(correlation):
    rng = np.random.default_rng(2)
    x = rng.normal(size=5_000)
    y = 3.0 + correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=5_000)
    found = cuped(y, x)
    assert found.variance_ratio == pytest.approx(1 - np.corrcoef(x, y)[0, 1] ** 2, rel=1e-12)
    assert found.response.var() / y.var() == pytest.approx(found.variance_ratio)
    assert found.response.mean() == pytest.approx(y.mean())
    assert np.corrcoef(found.response, x)[0, 1] == pytest.approx(0, abs=1e-9)


@pytest.mark.golden
def test_cuped_with_several_covariates_leaves_1_less_r_squared():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2_000, 3)) * [1, 10, 0.1] + [5, 0, -2]
    y = x @ [0.5, 0.02, 1.0] + rng.normal(size=2_000)
    design = np.column_stack([np.ones(2_000), x])
    left = y - design @ np.linalg.solve(design.T @ design, design.T @ y)
    assert cuped(y, x).variance_ratio == pytest.approx(left.var() / y.var())


@pytest.mark.statistical
def test_cuped_keeps_the_effect_and_its_interval_shrinks():
    rng = np.random.default_rng(4)
    held, widths = [], []
    for _ in range(300):
        x = rng.gamma(2.0, 1.0, 400)
        group = np.where(rng.random(400) < 0.5, "b", "a")
        y = x + rng.normal(0, 0.7, 400) + 0.2 * (group == "b")
        told = means_report(y, group, "b", x)
        plain = means_report(y, group, "b")
        held.append(told["low"] <= 0.2 <= told["high"])
        widths.append((told["high"] - told["low"]) / (plain["high"] - plain["low"]))
    assert abs(np.mean(held) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 300)
    assert np.mean(widths) == pytest.approx(np.sqrt(0.49 / 2.49), rel=0.05)


@pytest.mark.statistical
def test_the_deal_is_doubted_as_often_as_it_should_be():
    rng = np.random.default_rng(5)
    units = rng.binomial(10_000, 0.1, 2_000)
    doubted = np.mean([sample_ratio_mismatch([10_000 - k, k], [0.9, 0.1]) < 0.05 for k in units])
    assert abs(doubted - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 2_000)
    assert not rates_report(Counts(10_000, 300), Counts(10_600, 300))["trusted"]
    assert rates_report(Counts(9_000, 300), Counts(1_000, 30), treated_share=0.1)["trusted"]


@pytest.mark.statistical
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_power_is_how_often_the_test_finds_the_effect(share):
    rng, trials, n = np.random.default_rng(6), 4_000, 6_000
    n1 = int(n * share)
    k0, k1 = rng.binomial(n - n1, 0.05, trials), rng.binomial(n1, 0.067, trials)
    found = [
        two_proportions(Counts(n - n1, a), Counts(n1, b)).statistic > 1.959964
        for a, b in zip(k0, k1, strict=True)
    ]
    expected = power_of_rates(0.05, 0.067, n, share)
    assert abs(np.mean(found) - expected) < 4 * np.sqrt(expected * (1 - expected) / trials) + 0.01


@pytest.mark.statistical
def test_power_of_means_is_how_often_welch_finds_the_effect():
    rng = np.random.default_rng(7)
    a, b = rng.normal(0, 2, (4_000, 30)), rng.normal(1, 2, (4_000, 30))
    found = np.mean(ttest_ind(b, a, axis=1).pvalue < 0.05)
    expected = power_of_means(1.0, 2.0, 60)
    assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / 4_000) + 0.005


def test_the_trials_found_reach_the_power_and_one_fewer_does_not():
    told = power_report(base=0.03, lift=0.1, power=0.9, daily=1_000, treated_share=0.3)
    assert told["trials"] == told["trials_control"] + told["trials_treatment"]
    assert power_of_rates(0.03, 0.033, told["trials"], 0.3) == pytest.approx(0.9, abs=1e-4)
    assert told["days"] == days_for(told["trials"], 1_000) == -(-told["trials"] // 1_000)
    seen = power_report(base=0.03, trials=told["trials"], power=0.9, treated_share=0.3)
    assert seen["detectable"] == pytest.approx(0.1, rel=1e-3) and seen["effect"] is None
    halved = power_report(deviation=1.0, effect=0.02, variance_ratio=0.5)
    full = power_report(deviation=1.0, effect=0.02)
    assert halved["trials"] == pytest.approx(full["trials"] / 2, rel=1e-3)


def test_what_no_experiment_shows_is_none():
    assert trials_for(lambda n: power_of_means(1e-9, 1.0, min(n, 1e6)), 0.8) is None
    assert power_report(deviation=1.0, effect=1e-9)["trials"] is None
    assert detectable(lambda d: 0.1, 1e-9, 1.0, 0.8) is None


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ((10, 11), "no more successes than trials"),
        ((0, 0), "at least one trial"),
        ((10, -1), "whole numbers"),
        ((10.5, 1), "whole numbers"),
        ((10, 1, 1), "TRIALS,SUCCESSES"),
        ((float("nan"), 1), "whole numbers"),
    ],
)
def test_counts_that_cannot_be_are_named(counts, says):
    with pytest.raises(BadInput, match=says) as caught:
        checked_counts("treatment", counts)
    assert caught.value.name == "treatment" and "--treatment 10000,310" in caught.value.remedy


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: two_proportions(Counts(9, 1), Counts(9, 1), 1.0), "`level` was 1.0"),
        (lambda: welch([1.0], [1.0, 2.0]), "`control` was"),
        (lambda: welch([1.0, 2.0], [1.0, float("inf")]), "`treatment` was inf"),
        (lambda: cuped([1.0, 2.0], [1.0]), "one row a unit"),
        (lambda: cuped([1.0, 2.0], [1.0, float("nan")]), "must be finite"),
        (lambda: cuped([1.0, 2.0], [1.0, 1.0]), "must vary"),
        (lambda: sample_ratio_mismatch([1], [1.0]), "at least two arms"),
        (lambda: sample_ratio_mismatch([0, 0]), "at least one unit"),
        (lambda: power_of_rates(0.0, 0.5, 100), "`base` was 0.0"),
        (lambda: power_of_means(1.0, 0.0, 100), "`deviation` was 0.0"),
        (lambda: days_for(10, 0), "`daily` was 0"),
        (lambda: power_report(lift=0.1), "`base` was None"),
        (lambda: power_report(base=0.1), "`lift` was None"),
        (lambda: power_report(base=0.1, lift=0.0), "`lift` was 0.0"),
        (lambda: power_report(base=0.1, lift=20.0), "`lift` was 20.0; .* above -1 and below 9"),
        (lambda: power_report(base=0.0, lift=0.1), "`base` was 0.0"),
        (lambda: power_report(base=0.0, trials=1_000), "`base` was 0.0"),
        (lambda: power_report(base=0.1, effect=0.1), "`effect` was 0.1; must be left out with a base"),
        (
            lambda: power_report(base=0.1, lift=0.1, variance_ratio=0.5),
            "`variance_ratio` was 0.5; must be left",
        ),
        (lambda: power_report(deviation=1.0, lift=0.1), "`lift` was 0.1; must be left out with a deviation"),
        (lambda: power_report(base=0.1, deviation=1.0, lift=0.1), "`base` was 0.1; .* not both"),
        (lambda: power_report(base=0.1, trials=1e300), "`trials` was 1e.300; must be from 4 to"),
        (lambda: days_for(10, 1e-320), "`daily` was 1e-320"),
        (lambda: checked_counts("control", [10**400, 1]), "`control` was"),
        (lambda: power_report(deviation=1.0, effect=1.0, variance_ratio=0.0), "`variance_ratio` was 0.0"),
        (lambda: power_report(base=0.1, trials=1), "`trials` was 1"),
        (lambda: means_report([1.0, 2.0, 3.0], np.array(["a", "b", "c"]), "b"), "two different values"),
        (lambda: means_report([1.0, 2.0], np.array(["a", "b"]), "d"), "`treated` was 'd'"),
        (lambda: rates_report(Counts(9, 1), Counts(9, 1), treated_share=1.0), "`treated_share` was 1.0"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(BadInput, match=says):
        call()


def test_effects_that_nothing_can_hide_are_planned_too():
    """`nct` knows no shift of hundreds of deviations."""
    assert power_report(deviation=20.0, effect=1e300)["trials"] == 4
    seen = power_report(deviation=20.0, trials=1_000, variance_ratio=1e-12)["detectable"]
    plain = power_report(deviation=20.0, trials=1_000)["detectable"]
    assert seen == pytest.approx(1e-6 * plain, rel=1e-6)
    # where the limit takes over it meets the law that it replaces
    for trials in (4, 6, 40):
        spread = 2.0 / np.sqrt(trials)
        below, above = (power_of_means(shift * spread, 1.0, trials, alpha=1e-3) for shift in (37.99, 38.01))
        assert above == pytest.approx(below, abs=2e-3)


def test_an_effect_below_the_smallest_asked_for_is_the_smallest():
    assert power_report(base=0.03, trials=1_000, power=0.01)["detectable"] == pytest.approx(0.0, abs=1e-6)
