from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from gaelp.core.errors import BadInput
from gaelp.evaluation import intervals
from gaelp.evaluation.intervals import (
    Interval,
    mean_interval,
    paired_interval,
    paired_ratio_interval,
    ratio_of_sums_interval,
)

SKEWED = np.random.default_rng(3).lognormal(4.0, 0.8, 40)
CONVERSIONS = np.random.default_rng(4).poisson(6, 40) + 1.0


def ratio(a, b, axis=-1):
    return np.sum(a, axis=axis) / np.sum(b, axis=axis)


@pytest.mark.golden
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_ends_equal_scipys_bca_on_the_same_resamples(level):
    counts = intervals._cached_counts(40, 2000, 0)
    replicates = (counts @ SKEWED) / (counts @ CONVERSIONS)
    theirs = stats.bootstrap(
        (SKEWED, CONVERSIONS),
        ratio,
        paired=True,
        n_resamples=0,
        confidence_level=level,
        method="BCa",
        bootstrap_result=SimpleNamespace(bootstrap_distribution=replicates),
    ).confidence_interval
    ours = ratio_of_sums_interval(SKEWED, CONVERSIONS, level=level)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


@pytest.mark.golden
def test_ends_agree_with_scipys_own_resamples():
    theirs = stats.bootstrap(
        (SKEWED, CONVERSIONS), ratio, paired=True, n_resamples=20_000, rng=np.random.default_rng(5)
    ).confidence_interval
    ours = ratio_of_sums_interval(SKEWED, CONVERSIONS, n_resamples=20_000)
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


@pytest.mark.golden
def test_difference_of_means_equals_scipys_bca_on_the_same_resamples():
    difference = SKEWED - 12 * CONVERSIONS
    counts = intervals._cached_counts(40, 2000, 0)
    theirs = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=0,
        method="BCa",
        bootstrap_result=SimpleNamespace(bootstrap_distribution=counts @ difference / 40),
    ).confidence_interval
    ours = paired_interval(SKEWED, 12 * CONVERSIONS)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def worlds(rng, n_worlds=64):
    """Spend (lognormal) and conversions (Poisson given the world's luck) of one policy."""
    luck = rng.lognormal(0.0, 0.25, n_worlds)
    return 1000 * rng.lognormal(0.0, 0.4, n_worlds), rng.poisson(9 * luck).astype(float), luck


@pytest.mark.statistical
@pytest.mark.parametrize("what", ["cac", "mean", "difference", "difference of cacs"])
def test_95_percent_intervals_cover_the_truth_about_95_percent_of_the_time(what):
    mean_luck = np.exp(0.25**2 / 2)
    cac = 1000 * np.exp(0.4**2 / 2) / (9 * mean_luck)
    rng, covered, n_repetitions = np.random.default_rng(17), 0, 1000
    for repetition in range(n_repetitions):
        spend, conversions, luck = worlds(rng)
        others = rng.poisson(6 * luck).astype(float)
        seed = repetition % 20  # a few sets of resamples, each kept in the cache
        if what == "cac":
            got, truth = ratio_of_sums_interval(spend, conversions, seed=seed), cac
        elif what == "mean":
            got, truth = mean_interval(conversions, seed=seed), 9 * mean_luck
        elif what == "difference":
            got, truth = paired_interval(conversions, others, seed=seed), 3 * mean_luck
        else:
            got = paired_ratio_interval((spend, conversions), (spend, others), seed=seed)
            truth = cac - cac * 9 / 6
        covered += got.low <= truth <= got.high
    assert 0.92 <= covered / n_repetitions <= 0.97


@pytest.mark.statistical
def test_an_unbounded_cac_interval_still_covers():
    rng, covered, unbounded, n_repetitions = np.random.default_rng(23), 0, 0, 1000
    for repetition in range(n_repetitions):
        spend = rng.normal(500, 20, 64)
        got = ratio_of_sums_interval(spend, rng.normal(2.0, 8.0, 64), seed=repetition % 20)
        unbounded += got.low is not None and got.high is None
        # 250 = 500 / 2; an undefined CAC says nothing, so it cannot be wrong
        covered += got.mean is None or (got.low <= 250 and (got.high is None or 250 <= got.high))
    assert unbounded > 300
    assert 0.92 <= covered / n_repetitions <= 0.98


def test_cac_is_a_ratio_of_sums_and_not_a_mean_of_ratios():
    assert ratio_of_sums_interval([100, 300], [1, 9]).mean == 40.0


def test_scaling_the_spend_scales_the_interval():
    one, ten = ratio_of_sums_interval(SKEWED, CONVERSIONS), ratio_of_sums_interval(10 * SKEWED, CONVERSIONS)
    assert [10 * v for v in one.as_dict().values()] == pytest.approx(list(ten.as_dict().values()))


def test_equal_seeds_give_equal_intervals_and_other_seeds_other_ones():
    assert mean_interval(SKEWED, seed=1) == mean_interval(SKEWED, seed=1)
    assert mean_interval(SKEWED, seed=1) != mean_interval(SKEWED, seed=2)


@pytest.mark.parametrize("conversions", [[0, 0, 0], [1, -3, 1]])
def test_a_cac_without_conversions_is_undefined(conversions):
    assert ratio_of_sums_interval([5, 6, 7], conversions) == Interval(None, None, None)


def test_a_cac_whose_conversions_may_be_zero_has_no_upper_end():
    few = np.random.default_rng(1).normal(1.0, 5.0, 64)
    interval = ratio_of_sums_interval(np.full(64, 500.0), few)
    assert interval.high is None
    assert 0 < interval.low < interval.mean


def test_roas_of_harmful_ads_keeps_both_ends():
    interval = ratio_of_sums_interval(np.random.default_rng(1).normal(-30, 90, 64), np.full(64, 500.0))
    assert interval.low < interval.mean < interval.high < 0


def test_one_world_has_a_mean_and_no_ends():
    assert mean_interval([3.0]) == Interval(3.0, None, None)
    assert paired_interval([3.0], [2.0]).as_dict() == {
        "mean": 1.0,
        "low": None,
        "high": None,
        "p_improvement": None,
    }


def test_no_worlds_are_undefined():
    assert mean_interval([]) == Interval(None, None, None)


def test_pairing_removes_the_luck_that_worlds_share():
    rng = np.random.default_rng(2)
    luck = rng.normal(0, 100, 64)
    a, b = luck + rng.normal(5, 2, 64), luck + rng.normal(0, 2, 64)
    paired = paired_interval(a, b)
    alone = mean_interval(a)
    assert paired.low > 0
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)
    assert paired.p_improvement == 1.0


def test_probability_of_improvement_turns_round_with_the_pair_and_with_costs():
    a, b = SKEWED, np.roll(SKEWED, 3) + 2
    there, back = paired_interval(a, b), paired_interval(b, a)
    assert there.p_improvement == pytest.approx(1 - back.p_improvement)
    assert paired_interval(a, b, lower_is_better=True).p_improvement == pytest.approx(back.p_improvement)
    assert paired_interval(a, a).p_improvement == 0.5


def test_a_cac_that_may_be_infinite_loses_and_leaves_the_difference_open():
    spend = np.full(64, 500.0)
    shaky = np.random.default_rng(6).normal(0.0, 6.0, 64)
    shaky += 1 - shaky.mean()  # 1 +- 0.75 conversions a world
    pair = paired_ratio_interval((spend, shaky), (spend, np.full(64, 5.0)), lower_is_better=True)
    assert pair.high is None
    assert pair.low is not None
    assert pair.p_improvement == 0.0
    back = paired_ratio_interval((spend, np.full(64, 5.0)), (spend, shaky), lower_is_better=True)
    assert back.low is None
    assert back.p_improvement == pytest.approx(1 - pair.p_improvement)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: mean_interval([1.0, np.nan]), "values[1]"),
        (lambda: ratio_of_sums_interval([1.0, 2.0], [1.0]), "denominator"),
        (lambda: paired_interval([[1.0]], [[1.0]]), "a"),
        (lambda: mean_interval([1.0, 2.0], level=95), "level"),
        (lambda: mean_interval([1.0, 2.0], n_resamples=0), "n_resamples"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(BadInput) as refused:
        call()
    assert refused.value.name == named
