"""Fits of lags: the likelihood by a second hand, parameters recovered, intervals that hold their level."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import lognorm, weibull_min

from gaelp.core.errors import BadInput
from gaelp.measurement.lag.climb import rows_of
from gaelp.measurement.lag.fit import FAMILIES, Column, fit_lag, likelihood_ratio
from gaelp.measurement.lag.likelihood import NORMAL, loss_and_slope


def clicks(rng, n, share=0.08, scale=5.0, shape=0.8, last=30.0):
    lag, watched = scale * rng.weibull(shape, n), rng.uniform(1, last, n)
    seen = (rng.random(n) < share) & (lag < watched)
    return np.where(seen, lag, watched), seen


def by_hand(family, figures, duration, seen):
    """The log-likelihood row by row, with SciPy's laws."""
    if family == "lognormal":
        laws = [(1.0, lognorm(figures["sigma"], scale=np.exp(figures["mu"])))]
    else:
        each = [figures[name] for name in ("scale", "shape")]
        scales, shapes = each if family == "mixture" else ([each[0]], [each[1]])
        weights = figures.get("weight", [1.0])
        laws = [(w, weibull_min(b, scale=a)) for w, a, b in zip(weights, scales, shapes, strict=True)]
    share, total = figures.get("share", 1.0), 0.0
    for time, converted in zip(duration, seen, strict=True):
        density = sum(w * law.pdf(time) for w, law in laws)
        survival = sum(w * law.sf(time) for w, law in laws)
        total += np.log(share * density if converted else 1 - share + share * survival)
    return total


@pytest.mark.golden
@pytest.mark.parametrize("family", FAMILIES)
def test_the_likelihood_is_what_scipys_laws_give(family):
    duration, seen = clicks(np.random.default_rng(3), 400, share=0.5)
    fit = fit_lag(family, duration, seen)
    assert fit.loglik == pytest.approx(by_hand(family, fit.figures(), duration, seen), abs=1e-6)
    assert fit.aic == pytest.approx(2 * fit.shape.size - 2 * fit.loglik)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_step_from_the_fit_is_likelier(family):
    rng = np.random.default_rng(4)
    duration, seen = clicks(rng, 3_000, share=0.3)
    fit = fit_lag(family, duration, seen)
    rows = rows_of(duration, seen, np.ones((seen.size, 1)), 0.0)
    assert -loss_and_slope(fit.theta, fit.shape, rows)[0] == pytest.approx(fit.loglik, abs=1e-6)
    for _ in range(50):
        step = 0.02 * rng.normal(size=fit.shape.size)
        assert -loss_and_slope(fit.theta + step, fit.shape, rows)[0] < fit.loglik


@pytest.mark.golden
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_columns", [1, 3])
def test_the_slope_is_that_of_finite_differences(family, n_columns):
    rng = np.random.default_rng(5)
    design = np.column_stack([np.ones(80), *rng.normal(size=(n_columns - 1, 80))])
    rows = rows_of(rng.exponential(2.0, 80), rng.random(80) < 0.5, design, 0.3)
    base = FAMILIES[family]
    shape = type(base)(base.law, base.cure, base.n_laws, n_columns)
    theta = 0.3 * rng.normal(size=shape.size)
    slope = loss_and_slope(theta, shape, rows)[1]
    again = approx_fprime(theta, lambda t: loss_and_slope(t, shape, rows)[0], 1e-7)
    assert slope == pytest.approx(again, rel=1e-4, abs=1e-4)


def test_days_or_hours_make_no_difference():
    duration, seen = clicks(np.random.default_rng(6), 2_000)
    days, hours = (fit_lag("cure_weibull", unit * duration, seen).figures() for unit in (1, 24))
    assert hours["scale"] == pytest.approx(24 * days["scale"], rel=1e-6)
    for name in ("share", "shape"):
        assert hours[name] == pytest.approx(days[name], rel=1e-6)


def test_equal_rows_count_as_often_as_they_stand_there():
    duration, seen = clicks(np.random.default_rng(7), 500, share=0.4)
    once, twice = (
        fit_lag("weibull", duration, seen),
        fit_lag("weibull", np.tile(duration, 2), np.tile(seen, 2)),
    )
    assert twice.loglik == pytest.approx(2 * once.loglik)
    assert twice.theta == pytest.approx(once.theta, abs=1e-5)
    assert twice.covariance == pytest.approx(once.covariance / 2, rel=1e-3)


@pytest.mark.statistical
def test_a_mixture_of_a_fast_and_a_slow_arm_is_recovered():
    rng = np.random.default_rng(8)
    n = 40_000
    fast = rng.random(n) < 0.6
    lag = np.where(fast, 0.3 * rng.weibull(1.2, n), 9.0 * rng.weibull(1.6, n))
    watched = rng.uniform(1, 45, n)
    seen = (rng.random(n) < 0.2) & (lag < watched)
    fit = fit_lag("mixture", np.where(seen, lag, watched), seen)
    truth = {"share": 0.2, "weight": [0.6, 0.4], "scale": [0.3, 9.0], "shape": [1.2, 1.6]}
    found, ends = fit.figures(0.9999), fit.figures(0.9999)["interval"]
    for name, value in truth.items():
        for v, (low, high) in zip(np.atleast_1d(value), np.atleast_2d(np.array(ends[name])), strict=True):
            assert low < v < high, (name, found[name])
    assert fit.aic < fit_lag("cure_weibull", np.where(seen, lag, watched), seen).aic - 100


@pytest.mark.statistical
def test_what_a_segment_and_a_channel_change_is_recovered():
    rng = np.random.default_rng(9)
    n = 40_000
    social, returning = rng.random(n) < 0.4, rng.random(n) < 0.3
    eta = -2.0 - 0.7 * social + 1.0 * returning
    lag = np.exp(1.2 + 0.5 * social - 0.4 * returning) * rng.weibull(0.9, n)
    watched = rng.uniform(1, 30, n)
    seen = (rng.random(n) < 1 / (1 + np.exp(-eta))) & (lag < watched)
    columns = (Column("social", social.astype(float)), Column("returning", returning.astype(float)))
    duration = np.where(seen, lag, watched)
    fit = fit_lag("cure_weibull", duration, seen, columns)
    errors = np.sqrt(np.diag(fit.covariance))
    truth = np.array([-2.0, -0.7, 1.0, 1.2, 0.5, -0.4, -np.log(0.9)])
    assert (np.abs(fit.theta - truth) < 4 * errors).all()
    told = {(row["column"], row["on"]): row for row in fit.figures()["coefficients"]}
    assert told["social", "share"]["low"] < -0.7 < told["social", "share"]["high"]
    assert likelihood_ratio(fit_lag("cure_weibull", duration, seen), fit)[1] < 1e-20


def covered(n_simulations, n, seed):
    rng = np.random.default_rng(seed)
    truth = {"share": 0.08, "scale": 5.0, "shape": 0.8}
    hits, found = dict.fromkeys(truth, 0), []
    for _ in range(n_simulations):
        figures = fit_lag("cure_weibull", *clicks(rng, n)).figures()
        found.append([figures[name] for name in truth])
        for name, value in truth.items():
            low, high = figures["interval"][name]
            hits[name] += low <= value <= high
    return (
        {name: count / n_simulations for name, count in hits.items()},
        np.array(found),
        list(truth.values()),
    )


@pytest.mark.statistical
def test_the_cure_weibull_is_recovered_and_its_intervals_hold():
    shares, found, truth = covered(150, 3_000, seed=10)
    assert all(abs(share - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 150) for share in shares.values()), shares
    error = found.std(axis=0, ddof=1) / np.sqrt(150)
    assert (np.abs(np.median(found, axis=0) - truth) < 5 * error).all()  # 1.25 errors of a mean are one's


@pytest.mark.study
def test_the_cure_weibulls_intervals_cover_in_93_to_97_of_100():
    shares, found, truth = covered(2_000, 4_000, seed=7)
    print(shares, found.mean(axis=0))
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares
    assert found.mean(axis=0) == pytest.approx(truth, rel=0.03)


def test_a_conversion_at_once_counts_as_half_the_smallest_lag():
    duration, seen = clicks(np.random.default_rng(11), 2_000)
    duration[np.flatnonzero(seen)[:5]] = 0.0
    moved = duration.copy()
    moved[np.flatnonzero(seen)[:5]] = duration[seen & (duration > 0)].min() / 2
    fit, again = (fit_lag("cure_weibull", some, seen) for some in (duration, moved))
    assert (fit.at_zero, again.at_zero) == (5, 0)
    assert fit.loglik == pytest.approx(again.loglik)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_timeout_leaves_the_share_it_was_asked_for(family):
    fit = fit_lag(family, *clicks(np.random.default_rng(12), 3_000))
    for left in (0.2, 0.01):
        assert 1 - fit.arrived(fit.timeout(left)) == pytest.approx(left, abs=1e-9)
        within = fit.arrived(30.0)
        assert 1 - fit.arrived(fit.timeout(left, 30.0)) / within == pytest.approx(left, abs=1e-9)
    assert fit.arrived([0.0, np.inf]).tolist() == [0.0, 1.0]
    law = fit.shape.law
    if family == "lognormal":
        assert law is NORMAL
        expected = lognorm(fit.figures()["sigma"], scale=np.exp(fit.figures()["mu"])).cdf(3.0)
        assert fit.arrived(3.0) == pytest.approx(expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("unit", [1e-60, 1e60])
def test_the_timeout_is_found_in_any_unit_of_time(family, unit):
    duration, seen = clicks(np.random.default_rng(12), 3_000)
    plain, other = (fit_lag(family, times, seen) for times in (duration, unit * duration))
    for horizon in (None, 30.0):
        expected = unit * plain.timeout(0.05, horizon)
        assert other.timeout(0.05, horizon and unit * horizon) == pytest.approx(expected, rel=1e-4)


def test_a_timeout_beyond_all_numbers_is_infinite_and_before_the_first_one_is_zero():
    fit = fit_lag("weibull", [1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])
    endless = replace(fit, theta=np.array([700.0, 3.0]))
    assert endless.timeout(0.01) == np.inf
    assert fit.timeout(0.05, 1e-320) <= 1e-300


@pytest.mark.parametrize(
    ("duration", "event", "columns", "says"),
    [
        ([1, 2, 3, 4], [1, 0, 0, 0], (), "must count more conversions than weibull has parameters, 2"),
        ([1, 1, 1, 4], [1, 1, 1, 0], (), "with different lags"),
        ([1, 2, 3, 4, 5], [1, 1, 1, 1, 0], (Column("age", np.ones(5)),), "`age` was 1.0; must vary"),
        (
            [1, 2, 3, 4, 5, 6],
            [1] * 6,
            (Column("a", np.arange(6.0)), Column("b", 2 * np.arange(6.0))),
            "must not repeat one another",
        ),
    ],
)
def test_what_cannot_be_fitted_is_told(duration, event, columns, says):
    with pytest.raises(BadInput, match=says):
        fit_lag("weibull", duration, event, columns)


def test_an_unknown_family_is_told_the_nearest():
    with pytest.raises(BadInput, match="Did you mean 'weibull'"):
        fit_lag("weibul", [1, 2, 3], [1, 1, 1])
    fit = fit_lag("weibull", [1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])
    with pytest.raises(BadInput, match="`left` was 1"):
        fit.timeout(1)
