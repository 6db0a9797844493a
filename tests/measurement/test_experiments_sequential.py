"""Tests that may be watched: 2,000 experiments without an effect, looked at a hundred times."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from gaelp.core.errors import BadInput
from gaelp.measurement.experiments.ab import Counts
from gaelp.measurement.experiments.report import watched_report
from gaelp.measurement.experiments.sequential import (
    LEAST_VALUES,
    best_tau,
    confidence_sequence,
    half_width,
    log_mixture_ratio,
    watch,
    watch_counts,
)

RUNS, LOOKS, USERS = 2_000, 100, 1_000


def looks(rng, control, treatment, users=USERS):
    """Counts so far at each look, (2, runs, looks)."""
    rate = np.array([control, treatment])[:, None, None]
    trials = np.broadcast_to(users * np.arange(1, LOOKS + 1), (2, RUNS, LOOKS)).astype(float)
    return trials, np.cumsum(rng.binomial(users, rate, (2, RUNS, LOOKS)), axis=-1).astype(float)


def z_of(trials, successes):
    rate, pooled = successes / trials, successes.sum(axis=0) / trials.sum(axis=0)
    return (rate[1] - rate[0]) / np.sqrt(pooled * (1 - pooled) * (1 / trials).sum(axis=0))


@pytest.mark.statistical
@pytest.mark.parametrize("tau", [0.001, 0.003, 0.01])
def test_a_watched_test_finds_nothing_where_there_is_nothing(tau):
    trials, successes = looks(np.random.default_rng(0), 0.03, 0.03)
    found = watch_counts(trials, successes, tau)
    wrong = (found.p_value[:, -1] <= 0.05).mean()
    missed = ((found.low > 0) | (found.high < 0)).any(axis=-1).mean()
    assert wrong <= 0.05 and missed <= 0.05, (wrong, missed)
    # what it is for: the fixed test at every look is wrong a third of the time
    assert (np.abs(z_of(trials, successes)) > 1.959964).any(axis=-1).mean() > 0.3


@pytest.mark.statistical
def test_a_few_users_at_a_time_are_no_way_around_it():
    trials, successes = looks(np.random.default_rng(1), 0.03, 0.03, users=20)
    for tau in (0.003, 0.03):
        assert (watch_counts(trials, successes, tau).p_value[:, -1] <= 0.05).mean() <= 0.05


@pytest.mark.statistical
def test_an_effect_is_found_and_sooner_than_planned():
    found = watch_counts(*looks(np.random.default_rng(2), 0.03, 0.033), tau=0.003)
    rejected = found.p_value <= 0.05
    power = rejected[:, -1].mean()
    assert abs(power - 0.85) < 0.04
    assert np.median(rejected[rejected[:, -1]].argmax(axis=1)) < 60  # of a hundred looks


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda rng, shape: rng.normal(size=shape), 0.0),
        (lambda rng, shape: rng.exponential(size=shape), 1.0),
        (lambda rng, shape: (rng.random(shape) < 0.03).astype(float), 0.03),
    ],
    ids=["normal", "exponential", "rare"],
)
def test_a_confidence_sequence_hardly_ever_misses_the_mean(draw, mean):
    values = draw(np.random.default_rng(3), (RUNS, 2_000))
    low, high = confidence_sequence(values, best_tau(1 / 1_000))
    assert ((low > mean) | (high < mean)).any(axis=-1).mean() <= 0.05
    assert np.isinf(high[:, : LEAST_VALUES - 1]).all() and np.isfinite(high[:, -1]).all()


@pytest.mark.golden
def test_the_ratio_is_the_likelihood_under_the_prior_of_effects():
    d, v, tau = 0.004, 2e-6, 0.003
    mixed = quad(lambda e: norm.pdf(d, e, np.sqrt(v)) * norm.pdf(e, 0, tau), -0.03, 0.03, points=[0, d])[0]
    assert log_mixture_ratio(d, v, tau) == pytest.approx(np.log(mixed / norm.pdf(d, 0, np.sqrt(v))))


@pytest.mark.golden
def test_the_interval_holds_the_effects_that_the_test_does_not_reject():
    v, tau, alpha = 2e-6, 0.003, 0.05
    reach = brentq(lambda e: log_mixture_ratio(e, v, tau) - np.log(1 / alpha), 1e-9, 1.0)
    assert half_width(v, tau, alpha) == pytest.approx(reach)


@pytest.mark.golden
def test_the_interval_of_a_mean_is_the_asymptotic_confidence_sequence():
    # Waudby-Smith et al., arXiv 2103.06476, theorem 2.2
    n, sigma, rho, alpha = 5_000, 1.7, 0.05, 0.05
    u = n * rho**2 + 1
    theirs = sigma * np.sqrt(2 * u / (n**2 * rho**2) * np.log(np.sqrt(u) / alpha))
    assert half_width(sigma**2 / n, sigma * rho, alpha) == pytest.approx(theirs)
    values = np.random.default_rng(4).normal(3.0, sigma, n)
    low, high = confidence_sequence(values, rho)
    assert (high[-1] - low[-1]) / 2 == pytest.approx(theirs * values.std() / sigma)
    assert (high[-1] + low[-1]) / 2 == pytest.approx(values.mean())


@pytest.mark.golden
def test_the_best_tau_is_where_the_interval_is_narrowest():
    for alpha in (0.01, 0.05, 0.2):
        found = minimize_scalar(lambda log_tau, a=alpha: half_width(1e-6, np.exp(log_tau), a))
        assert best_tau(1e-6, alpha) == pytest.approx(np.exp(found.x), rel=1e-4)


def test_intervals_only_narrow_and_p_values_only_fall():
    found = watch_counts(*looks(np.random.default_rng(5), 0.03, 0.031), tau=0.003)
    assert (np.diff(found.p_value, axis=-1) <= 0).all()
    assert (np.diff(found.low, axis=-1) >= 0).all() and (np.diff(found.high, axis=-1) <= 0).all()


def test_too_few_successes_do_not_count():
    found = watch([Counts(100, 0), Counts(200, 4)], [Counts(100, 9), Counts(200, 40)], tau=0.1)
    assert found.p_value.tolist() == [1, 1] and np.isnan(found.low).all() and found.stopped is None


def test_looks_become_a_decision():
    control, treatment = [Counts(5_000, 150), Counts(20_000, 600)], [Counts(5_000, 170), Counts(20_000, 780)]
    told = watched_report(control, treatment)
    assert told["tau"] == pytest.approx(0.003)
    assert (told["decision"], told["stopped_at_look"], told["looks"]) == ("treatment is better", 2, 2)
    assert watched_report(treatment, control)["decision"] == "control is better"
    assert watched_report(control[:1], treatment[:1])["decision"] == "go on"
    assert told["each_look"][1]["p_value"] == told["p_value"]


@pytest.mark.parametrize(
    ("control", "treatment", "tau", "says"),
    [
        ([(10, 1)], [], 0.1, "as many for control as for treatment"),
        ([], [], 0.1, "at least one"),
        ([(20, 3), (10, 3)], [(20, 3), (30, 3)], 0.1, "`control` was .*must not fall from look to look"),
        ([(20, 3)], [(20, 30)], 0.1, "no more successes than trials"),
        ([(20, 3)], [(20, 3)], 0.0, "`tau` was 0.0"),
    ],
)
def test_looks_that_cannot_be_are_named(control, treatment, tau, says):
    with pytest.raises(BadInput, match=says):
        watch([Counts(*c) for c in control], [Counts(*c) for c in treatment], tau)


def test_an_alpha_that_is_none_is_named():
    with pytest.raises(BadInput, match="`alpha` was 1"):
        best_tau(1e-6, 1)
