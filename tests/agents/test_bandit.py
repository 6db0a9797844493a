"""The choice rule on synthetic experts: it finds the best, keeps its limits, and follows a drift."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from gaelp.agents.bandit import ChoiceRule, Chooser, page_hinkley
from gaelp.core.errors import BadInput

RULE = ChoiceRule(noise=0.3)
N = 400


def lived(mean, *, n_periods=30, rule=RULE, noise=0.3, seed=0, n=N):
    """A chooser after `n_periods` of experts with (n_periods, n_experts) means, and its scores."""
    means = np.broadcast_to(np.asarray(mean, float), (n_periods, np.shape(mean)[-1]))
    rng = np.random.default_rng(seed)
    chooser, score = Chooser(rule, n, means.shape[1]), np.zeros((n_periods, n))
    incumbents = []
    for t in range(n_periods):
        if t:
            chooser.learn(score[:t])
        incumbents.append(chooser.incumbent)
        np.testing.assert_allclose(chooser.chances().sum(axis=1), 1.0)
        score[t] = means[t, chooser.choose(rng.random(n))] + noise * rng.standard_normal(n)
    return chooser, np.array(incumbents), score


def explored(chooser, incumbents):
    return np.cumsum(np.array(chooser.choices) != incumbents, axis=0)


@pytest.mark.parametrize("mean", [[0.8, 0.5, 0.0], [0.0, 0.6, 0.3], [0.5, 0.5, 0.5]])
def test_others_than_the_incumbent_never_take_more_than_their_share(mean):
    chooser, incumbents, _ = lived(mean, n_periods=60)
    taken = explored(chooser, incumbents)
    np.testing.assert_array_equal(taken[-1], chooser.explored)
    most = RULE.explore * (np.arange(1, 61)[:, None] + RULE.lead * (1 + chooser.alarms))
    assert (taken <= most + 1e-9).all()


def test_a_good_default_stays_and_costs_little():
    """Regret is at most the explored periods times the largest gap, where nobody wrongly takes over."""
    mean = np.array([0.8, 0.5, 0.0])
    chooser, _, _ = lived(mean)
    assert (chooser.incumbent == 0).mean() > 0.98
    regret = (0.8 - mean[np.array(chooser.choices)]).sum(axis=0)
    assert regret.mean() < RULE.explore * (30 + RULE.lead) * 0.8
    assert chooser.out[:, 2].mean() > 0.9


def test_a_bad_default_is_replaced_and_not_flown_again():
    chooser, incumbents, _ = lived([-0.6, 0.6, 0.3])
    assert (incumbents[14] != 0).mean() > 0.95, "within two weeks"
    after = np.array(chooser.choices)[20:][:, incumbents[20] != 0]
    assert (after == 0).mean() < 0.01
    assert (chooser.incumbent == 1).mean() > 0.7


def test_equal_experts_leave_the_default_in_most_accounts():
    chooser, _, _ = lived([0.5, 0.5, 0.5])
    assert (chooser.incumbent == 0).mean() > 0.75


def test_who_is_out_is_not_tried_until_a_drift_opens_the_choice():
    chooser, _, _ = lived([0.8, 0.5, -0.5])
    calm = (chooser.alarms == 0) & chooser.out[:, 2]
    assert calm.mean() > 0.8
    assert (chooser.chances()[calm, 2] == 0.0).all()


def test_it_follows_a_drift_of_the_best_within_two_weeks():
    mean = np.r_[np.tile([0.8, 0.5, 0.2], (30, 1)), np.tile([-0.6, 0.6, 0.2], (30, 1))]
    chooser, incumbents, _ = lived(mean, n_periods=60)
    assert (incumbents[29] == 0).mean() > 0.98
    assert (incumbents[37] != 0).mean() > 0.75, "most within a week"
    assert (incumbents[44] != 0).mean() > 0.95
    assert chooser.alarms.mean() >= 0.9
    # without the test for drift the good days of before keep it where it is
    blind, stuck, _ = lived(mean, n_periods=60, rule=replace(RULE, alarm=1e9))
    assert (stuck[44] != 0).mean() < (incumbents[44] != 0).mean() - 0.2
    assert blind.alarms.sum() == 0


def test_propensities_are_the_frequencies_of_choice():
    """The same past, a hundred thousand draws: each expert's share is its chance."""
    n = 100_000
    chooser = Chooser(RULE, n, 3)
    chance = chooser.chances()[0]
    np.testing.assert_allclose(chance, [0.5, 0.25, 0.25])
    choice = chooser.choose(np.random.default_rng(1).random(n))
    share = np.bincount(choice, minlength=3) / n
    assert (np.abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / n)).all()
    np.testing.assert_array_equal(chooser.propensity[0], chance[choice])


def test_logged_choices_give_back_the_mean_of_a_fixed_expert():
    """Inverse propensities on the first period, where everyone has a chance: 4 standard errors."""
    mean = np.array([0.8, 0.5, 0.1])
    chooser, _, score = lived(mean, n_periods=2, n=20_000)
    choice, propensity = np.array(chooser.choices)[0], np.array(chooser.propensity)[0]
    for expert in range(3):
        each = (choice == expert) * score[0] / propensity
        assert abs(each.mean() - mean[expert]) < 4 * each.std() / np.sqrt(each.size)


def cusum_run_length(shift, slack=0.5, alarm=5.0, n=60):
    """Mean scores until a one-sided CUSUM alarms: Page's integral equation, by Gauss-Legendre quadrature.

    L(z) = 1 + L(0) F(slack - shift - z) + integral of L(x) f(x + slack - shift - z) from 0 to `alarm`.
    Source: Page 1954, equation 8; numerically as in Goel, Wu, Technometrics 1971.
    """
    node, weight = np.polynomial.legendre.leggauss(n)
    x = np.r_[0.0, 0.5 * alarm * (node + 1.0)]
    density = norm.pdf(x[None, 1:] + slack - shift - x[:, None]) * 0.5 * alarm * weight
    below = norm.cdf(slack - shift - x)[:, None]
    return float(np.linalg.solve(np.eye(n + 1) - np.c_[below, density], np.ones(n + 1))[0])


@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_a_drop_is_found_as_soon_as_theory_says(shift):
    """With a mean known from a long calm past, Page's test is a one-sided CUSUM."""
    n, calm, after = 800, 1_000, 45
    drop = np.random.default_rng(2).standard_normal((after, n)) - shift
    score = np.concatenate([np.zeros((calm, n)), drop])
    found = np.full(n, after + 1)
    for t in range(after, 0, -1):
        size = page_hinkley(score[: calm + t], np.ones((calm + t, n), bool), np.ones(n), 0.5).size
        found = np.where(size > 5.0, t, found)
    theory = cusum_run_length(shift)
    assert abs(found.mean() - theory) < 4 * found.std() / np.sqrt(n)


@pytest.mark.parametrize(
    ("name", "value"), [("explore", 1.0), ("chance", -0.1), ("sure", 0.0), ("noise", np.nan), ("lead", -1)]
)
def test_an_impossible_rule_is_refused(name, value):
    with pytest.raises(BadInput, match=name):
        ChoiceRule(**{name: value})
