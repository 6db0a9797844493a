"""A right model is left alone, a shifted market is noticed, and the brief's rule does neither."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit

from gaelp.core.errors import BadInput
from gaelp.prediction.drift import feature_drift
from gaelp.prediction.triggers import RULES, CompatibleRule, SoundRule, with_drift

from .creatives import FIRST_DAY, days_of, true_rates

CTRS = [0.005, 0.02, 0.08]
N_LOOKS = 200


def share_retrained(rule, outcomes):
    """Of daily looks, over the days after the first seven."""
    looks = range(FIRST_DAY + 7, FIRST_DAY + 7 + N_LOOKS)
    return np.mean([rule.check(outcomes, day).status == "retrain" for day in looks])


def noticed(rule, ctr, shift, seeds):
    """Share of markets, shifted after seven quiet days, that are noticed by the end of the third day."""
    found = 0
    for seed in seeds:
        rng = np.random.default_rng([seed, round(1000 * ctr)])
        outcomes = days_of(rng, true_rates(rng, ctr), days=10, shift=shift, from_day=7)
        looks = (FIRST_DAY + 10, FIRST_DAY + 9, FIRST_DAY + 8)  # the one most sure to notice first
        found += any(rule.check(outcomes, day).status == "retrain" for day in looks)
    return found / len(seeds)


@pytest.mark.parametrize("ctr", CTRS)
def test_a_perfect_model_is_hardly_ever_retrained(ctr):
    rng = np.random.default_rng(7)
    outcomes = days_of(rng, true_rates(rng, ctr), days=7 + N_LOOKS)
    sound, brief = share_retrained(SoundRule(), outcomes), share_retrained(CompatibleRule(), outcomes)
    print(f"CTR {ctr:.1%}, perfect model, {N_LOOKS} looks: sound rule {sound:.1%}, the brief's {brief:.1%}")
    assert sound <= 0.05
    assert brief > 0.5 if ctr == 0.08 else brief == 0  # creatives of 100 impressions at 8 %: noise alone


@pytest.mark.parametrize("ctr", CTRS)
@pytest.mark.parametrize("shift", [1.3, 0.7])
def test_a_shift_of_30_percent_is_noticed_within_three_days(ctr, shift):
    seeds = range(15)
    sound, brief = noticed(SoundRule(), ctr, shift, seeds), noticed(CompatibleRule(), ctr, shift, seeds)
    print(f"CTR {ctr:.1%} times {shift}: sound rule {sound:.0%}, the brief's {brief:.0%}")
    assert sound >= 0.9
    assert brief == 0 or ctr == 0.08  # where it retrains a perfect model, too


@pytest.mark.study
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ctr", CTRS)
def test_many_perfect_models_and_many_shifts(ctr):
    shares = []
    for seed in range(20):
        rng = np.random.default_rng([seed, 1])
        outcomes = days_of(rng, true_rates(rng, ctr), days=7 + N_LOOKS)
        shares.append(share_retrained(SoundRule(), outcomes))
    rates = [noticed(SoundRule(), ctr, shift, range(200)) for shift in (1.3, 0.7)]
    print(f"CTR {ctr:.1%}: {np.mean(shares):.2%} of {20 * N_LOOKS} looks; noticed {rates}")
    assert max(shares) <= 0.05 and np.mean(shares) <= 0.05 / SoundRule().looks
    assert min(rates) >= 0.9


def test_creatives_that_vary_more_than_the_model_knows_are_no_reason_to_retrain():
    rng = np.random.default_rng(3)
    outcomes = days_of(rng, true_rates(rng, 0.02), days=107, impressions=1000, beyond=0.2)
    looks = range(FIRST_DAY + 7, FIRST_DAY + 107)
    assert np.mean([SoundRule().check(outcomes, day).status == "retrain" for day in looks]) <= 0.05


def test_a_model_that_overstates_differences_has_its_slope_told():
    rng = np.random.default_rng(4)
    rates = true_rates(rng, 0.05)
    wild = expit(logit(rates).mean() + 1.6 * (logit(rates) - logit(rates).mean()))
    found = SoundRule().check(days_of(rng, rates, days=7, predicted=wild), FIRST_DAY + 7)
    reason = next(each for each in found.reasons if each.code == "slope")
    assert found.status == "retrain" and abs(reason.value - 1 / 1.6) < 0.1 and reason.p_value < reason.level


@pytest.mark.parametrize(
    ("shift", "codes"), [(1.3, {"miscalibrated", "normalised_entropy"}), (0.7, {"miscalibrated"})]
)
def test_logloss_sees_more_clicks_than_predicted_and_not_fewer(shift, codes):
    rng = np.random.default_rng(6)
    outcomes = days_of(rng, true_rates(rng, 0.05), days=7, shift=shift)
    assert {each.code for each in SoundRule().check(outcomes, FIRST_DAY + 7).reasons} == codes


def test_a_useless_model_of_rare_clicks_is_found_out_but_not_by_the_briefs_rule():
    rng = np.random.default_rng(5)
    rates = true_rates(rng, 0.01)
    outcomes = days_of(rng, rates, days=7, predicted=rng.permutation(rates))
    assert "slope" in {each.code for each in SoundRule().check(outcomes, FIRST_DAY + 7).reasons}
    assert CompatibleRule().check(outcomes, FIRST_DAY + 7).status == "no_retrain_needed"


@pytest.mark.parametrize("rule", [SoundRule(), CompatibleRule()])
def test_too_little_data_is_said(rule):
    rng = np.random.default_rng(0)
    few = days_of(rng, np.full(2, 0.02), days=7)
    none = few.take(np.zeros(len(few), bool))
    for outcomes in (few, none):
        found = rule.check(outcomes, FIRST_DAY + 7)
        assert found.status == "insufficient_data" and found.reasons[0].value < found.reasons[0].limit
        json.dumps(found.as_dict(), allow_nan=False)


def test_the_briefs_rule_counts_samples_and_impressions_as_the_brief_has_it():
    rng = np.random.default_rng(0)
    rule, rates = CompatibleRule(), np.full(50, 0.5)
    enough = days_of(rng, rates, days=1, predicted=np.full(50, 0.3))
    found = rule.check(enough, FIRST_DAY + 1)
    assert found.status == "retrain" and found.reasons[0].code == "mae"
    assert rule.check(enough.take(np.arange(50) > 0), FIRST_DAY + 1).status == "insufficient_data"
    thin = days_of(rng, rates, days=1, impressions=99, predicted=np.full(50, 0.3))
    assert rule.check(thin, FIRST_DAY + 1).status == "insufficient_data"
    assert rule.check(enough, FIRST_DAY + 7).status == "retrain"
    assert rule.check(enough, FIRST_DAY + 8).status == "insufficient_data"  # past the look-back
    assert rule.check(enough, FIRST_DAY).status == "insufficient_data"  # that day is not over


def test_alpha_is_what_looks_and_tests_may_spend_together():
    rule = SoundRule(alpha=0.06, looks=10, spans=(1, 7))
    rng = np.random.default_rng(1)
    outcomes = days_of(rng, true_rates(rng, 0.05), days=7, shift=2.0)
    levels = [
        each.level for each in rule.check(outcomes, FIRST_DAY + 7).reasons if each.code == "miscalibrated"
    ]
    assert levels == [pytest.approx(0.06 / 10 * 3 / 4 / 2)] * 2


def test_drift_may_be_a_reason_too():
    rng = np.random.default_rng(8)
    quiet = SoundRule().check(days_of(rng, true_rates(rng, 0.02), days=7), FIRST_DAY + 7)
    before = rng.normal(size=2000)
    same, moved = feature_drift({"x": before}, {"x": before}), feature_drift({"x": before}, {"x": before + 1})
    assert with_drift(quiet, same) == quiet and quiet.status == "no_retrain_needed"
    found = with_drift(quiet, moved, loss_cut=True)
    assert found.status == "retrain" and [each.code for each in found.reasons] == ["drift", "loss_changed"]
    assert found.reasons[0].value == moved["x"].psi
    few = SoundRule().check(days_of(rng, np.full(2, 0.02), days=1), FIRST_DAY + 7)
    assert with_drift(few, moved) == few


def test_rules_are_named_and_refuse_what_makes_no_sense():
    assert list(RULES) == ["sound", "compatible"]
    for wrong in ({"alpha": 0.0}, {"spans": ()}, {"looks": 0}):
        with pytest.raises(BadInput):
            SoundRule(**wrong)
