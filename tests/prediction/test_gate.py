"""A challenger is promoted for what it is, never for luck; a champion goes back when it is broken."""

import json

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit

from gaelp.core.errors import BadInput
from gaelp.prediction.figures import accuracy_figures
from gaelp.prediction.gate import PromotionGate, RollbackGuard, losses
from gaelp.prediction.registry import Lineage, Registry

from .creatives import FIRST_DAY, days_of, true_rates
from .registrars import NOW, make_model

N_TRIALS = 200


def worsened(rates, steps, share):
    """Rates made wrong by a multiple of normal steps, such that the mean logloss is worse by a share."""

    def loss(p):
        return -np.mean(rates * np.log(p) + (1 - rates) * np.log1p(-p))

    def wrong(size):
        return expit(logit(rates) + size * steps)

    return wrong(brentq(lambda size: loss(wrong(size)) / loss(rates) - 1 - share, 0.0, 5.0))


def trial(seed, share, challenger_is_better, n=250):
    """50,000 impressions at a CTR of 2 %; one model is right, the other's logloss worse by a share."""
    rng = np.random.default_rng([seed, round(1e4 * share)])
    rates = true_rates(rng, 0.02, n=n)
    wrong = worsened(rates, rng.normal(size=n), share)
    champion, challenger = (wrong, rates) if challenger_is_better else (rates, wrong)
    outcomes = days_of(rng, rates, days=1, impressions=50_000 // n, predicted=champion)
    return PromotionGate(seed=seed, draws=500).judge(outcomes, challenger)


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_a_worse_challenger_is_never_promoted(share):
    statuses = [trial(seed, share, False).status for seed in range(N_TRIALS)]
    print(f"challenger {share:.0%} worse: {statuses.count('promoted')} of {N_TRIALS} promoted")
    assert statuses.count("promoted") == 0


def test_a_challenger_5_percent_better_is_mostly_promoted():
    share = np.mean([trial(seed, 0.05, True).status == "promoted" for seed in range(N_TRIALS)])
    print(f"challenger 5 % better: {share:.1%} of {N_TRIALS} promoted")
    assert share >= 0.8


@pytest.mark.study
@pytest.mark.parametrize("n", [25, 250])
def test_how_often_better_and_worse_challengers_are_promoted(n):
    for share in (0.005, 0.01, 0.02, 0.05):
        better, worse = (
            np.mean([trial(seed, share, is_better, n).status == "promoted" for seed in range(N_TRIALS)])
            for is_better in (True, False)
        )
        print(f"{n} creatives, {share:.1%} in logloss: better {better:.1%}, worse {worse:.1%} promoted")
        assert worse == 0.0


@pytest.mark.statistical
@pytest.mark.parametrize("beyond", [0.0, 0.7])
def test_an_equal_challenger_is_promoted_as_seldom_as_the_confidence_says(beyond):
    found, limit = 0, 0.05  # creatives that differ beyond what both know make rows of five days err together
    for seed in range(N_TRIALS):
        rng = np.random.default_rng([seed, 9])
        rates = true_rates(rng, 0.02)
        one, other = (worsened(rates, rng.normal(size=rates.size), 0.02) for _ in range(2))
        outcomes = days_of(rng, rates, days=5, impressions=100, predicted=one, beyond=beyond)
        gate = PromotionGate(confidence=1 - limit, draws=500, seed=seed, calibration_gap=9.0)
        found += gate.judge(outcomes, np.tile(other, 5)).status == "promoted"
    print(f"equal challengers promoted at 95 % confidence: {found} of {N_TRIALS}")
    assert found / N_TRIALS < limit + 4 * np.sqrt(limit * (1 - limit) / N_TRIALS)


def test_days_may_be_the_clusters():
    rng = np.random.default_rng(1)
    rates = true_rates(rng, 0.02)
    wrong = worsened(rates, rng.normal(size=rates.size), 0.05)
    outcomes = days_of(rng, rates, days=14, predicted=wrong)
    found = PromotionGate(by="day").judge(outcomes, np.tile(rates, 14))
    assert found.status == "promoted" and found.figures["clusters"] == 14
    shown = found.figures
    assert shown["gain"] == pytest.approx(
        1 - losses_of(outcomes, np.tile(rates, 14)) / losses(outcomes).sum()
    )
    assert shown["gain_low"] < shown["gain"]


def losses_of(outcomes, predicted):
    return -(
        outcomes.events * np.log(predicted) + (outcomes.trials - outcomes.events) * np.log(1 - predicted)
    ).sum()


def test_a_challenger_better_on_average_but_miscalibrated_is_rejected():
    rng = np.random.default_rng(2)
    rates = true_rates(rng, 0.02, n=250)
    useless = np.full(250, 0.005)
    outcomes = days_of(rng, rates, days=5, predicted=useless)
    found = PromotionGate().judge(outcomes, np.tile(0.6 * rates, 5))
    assert found.status == "challenger_rejected" and found.reasons[0].code == "miscalibrated"
    assert found.reasons[0].value == pytest.approx(1 / 0.6, rel=0.1)


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        ({"trained_until": FIRST_DAY}, "not_later", "challenger_rejected"),
        ({"clusters": 30}, "too_few_clusters", "insufficient_data"),
        ({"events": 10**6}, "too_few_events", "insufficient_data"),
        ({}, "not_better", "challenger_rejected"),
    ],
)
def test_a_refusal_says_why(change, code, status):
    rng = np.random.default_rng(3)
    rates = true_rates(rng, 0.05, n=20)
    outcomes = days_of(rng, rates, days=3, impressions=1000)
    until = change.pop("trained_until", None)
    found = PromotionGate(**change).judge(outcomes, outcomes.predicted, trained_until=until)
    assert (found.status, found.reasons[0].code) == (status, code)
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_decision_is_evidence_for_the_registry(tmp_path):
    model = make_model(tmp_path / "model")
    registry, said = Registry(tmp_path / "registry"), {"who": "gate", "why": "test", "now": NOW}
    first, second = (registry.register(model, Lineage(seed=seed), **said) for seed in (1, 2))
    registry.promote(first.name, **said)
    registry.challenge(second.name, **said)
    found = trial(0, 0.05, True)
    assert found.status == "promoted"
    registry.promote(second.name, over=first.name, evidence=found.as_dict(), **said)
    kept = registry.moves()[-1]
    assert kept.aliases == {"champion": second.name, "challenger": None, "previous": first.name}
    assert kept.evidence["reasons"][0]["code"] == "better"
    assert kept.evidence["figures"]["gain"] == found.figures["gain"]


def test_a_gate_refuses_what_makes_no_sense():
    for wrong in ({"confidence": 0.5}, {"by": "hour"}):
        with pytest.raises(BadInput):
            PromotionGate(**wrong)
    rng = np.random.default_rng(3)
    with pytest.raises(BadInput):
        PromotionGate().judge(days_of(rng, np.full(20, 0.1), days=1), np.full(19, 0.1))


def test_a_right_champion_is_not_rolled_back():
    rng = np.random.default_rng(4)
    rates = true_rates(rng, 0.02)
    before = accuracy_figures(days_of(rng, rates, days=7))
    found = [RollbackGuard().judge(days_of(rng, rates, days=1), before).status for _ in range(N_TRIALS)]
    assert set(found) == {"kept"}


@pytest.mark.parametrize(
    ("make", "codes"),
    [
        (lambda rates, _: 0.5 * rates, {"miscalibrated"}),
        (lambda rates, _: 1.8 * rates, {"miscalibrated"}),
        (lambda rates, rng: np.clip(rates * rng.choice([0.02, 6.0], rates.size), 0, 0.9), {"mae_degraded"}),
        (
            lambda rates, _: np.where(np.arange(rates.size) % 2, 0.9, 1e-6),
            {"normalised_entropy_degraded", "mae_degraded"},
        ),
    ],
)
def test_a_broken_champion_is_rolled_back(make, codes):
    rng = np.random.default_rng(5)
    rates = true_rates(rng, 0.05)
    before = accuracy_figures(days_of(rng, rates, days=7))
    found = RollbackGuard().judge(days_of(rng, rates, days=3, predicted=make(rates, rng)), before)
    assert found.status == "rolled_back" and {each.code for each in found.reasons} >= codes
    json.dumps(found.as_dict(), allow_nan=False)


def test_too_few_clicks_decide_nothing():
    rng = np.random.default_rng(6)
    rates = np.full(10, 0.01)
    before = accuracy_figures(days_of(rng, rates, days=70))
    assert RollbackGuard().judge(days_of(rng, rates, days=1), before).status == "insufficient_data"
