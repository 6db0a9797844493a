"""Survival estimates against published numbers and another library's."""

import csv

import numpy as np
import pytest

from gaelp.measurement.lag.curve import kaplan_meier, log_rank
from gaelp.measurement.lag.fit import FAMILIES, Column, fit_lag, likelihood_ratio

pytestmark = pytest.mark.golden

# Freireich et al., Blood 21 (1963), 699-716: weeks of remission under 6-MP, and under placebo (all ended)
SIX_MP_ENDED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
SIX_MP_WATCHED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
SIX_MP = (SIX_MP_ENDED + SIX_MP_WATCHED, [1] * 9 + [0] * 12)


@pytest.fixture
def waltons(shared_data):
    return rows(shared_data, "waltons_dataset.csv", "T", "E", "group")


def rows(shared_data, name, *columns):
    with open(shared_data / "survival" / name) as file:
        read = list(csv.DictReader(file))
    return [np.array([row[c] if c == "group" else float(row[c]) for row in read]) for c in columns]


def test_remission_under_6_mp_is_as_published():
    curve = kaplan_meier(*SIX_MP)
    published = {6: 0.8571, 7: 0.8067, 10: 0.7529, 13: 0.6902, 16: 0.6275, 22: 0.5378, 23: 0.4482}
    assert curve.times.tolist() == list(published)
    assert curve.survival == pytest.approx(list(published.values()), abs=5e-5)
    # Greenwood's standard errors: Klein & Moeschberger, Survival Analysis (2nd ed.), table 4.1
    errors = curve.survival * np.sqrt(curve.log_variance)
    assert errors == pytest.approx([0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346], abs=5e-5)
    assert curve.median == 23


def test_placebo_ends_remission_sooner_as_published():
    # chi-squared 16.79, one degree of freedom: Kleinbaum & Klein, Survival Analysis (3rd ed.), chapter 2
    duration, event = SIX_MP[0] + PLACEBO, SIX_MP[1] + [1] * 21
    statistic, p_value = log_rank(duration, event, ["6-MP"] * 21 + ["placebo"] * 21)
    assert statistic == pytest.approx(16.79, abs=5e-3)
    assert p_value < 0.0001


def test_the_flies_of_walton_are_as_lifelines_has_them(waltons):
    duration, event, group = waltons
    curve = kaplan_meier(duration, event)
    assert curve.median == 56
    assert curve.at(30) == pytest.approx(0.82722, abs=5e-6)
    low, high = curve.interval_at([30, 56])
    assert low == pytest.approx([0.7596693987, 0.3526890048])
    assert high == pytest.approx([0.8773128137, 0.5046796093])
    mean = curve.rmst(60)
    assert mean.value == pytest.approx(48.2774948165)
    # lifelines gives the variance of min(T, 60), 231.399: that over 163, and a little more for censoring
    assert (mean.high - mean.low) / 2 / 1.959964 == pytest.approx(np.sqrt(231.399 / 163), rel=5e-3)
    assert log_rank(duration, event, group)[0] == pytest.approx(122.2491255730)


@pytest.mark.parametrize(
    ("family", "published"),
    [
        ("weibull", {"scale": 55.733097, "shape": 3.450504, "loglik": -672.062187, "aic": 1348.124375}),
        ("lognormal", {"mu": 3.82883880, "sigma": 0.51237589, "loglik": -716.1464057, "aic": 1436.2928115}),
    ],
)
def test_fits_of_the_flies_are_as_lifelines_has_them(waltons, family, published):
    duration, event, _ = waltons
    figures = fit_lag(family, duration, event).figures()
    assert {name: figures[name] for name in published} == pytest.approx(published, rel=1e-5)


def test_everybody_dies_so_a_cure_adds_nothing(waltons):
    duration, event, _ = waltons
    plain, cure = (fit_lag(family, duration, event) for family in ("weibull", "cure_weibull"))
    assert cure.share()[0] > 0.9999
    assert cure.loglik == pytest.approx(plain.loglik, abs=1e-3)
    assert cure.figures()["interval"]["share"] == [None, 1.0]


def test_two_kinds_of_flies_are_found_without_being_told(waltons):
    # the data are two groups, the short-lived one 34 of 163; the mixture finds a fast law of that order
    duration, event, group = waltons
    mixture = fit_lag("mixture", duration, event)
    assert mixture.aic < fit_lag("weibull", duration, event).aic - 50
    fast = float(mixture.figures()["weight"][0])
    assert 0.15 < fast < 0.45 and (group == "miR-137").mean() == pytest.approx(0.209, abs=1e-3)


@pytest.mark.parametrize(
    ("family", "loglik", "coefficients", "constant", "log_shape"),
    [
        ("weibull", -687.4881554, [0.051658, 0.238803], 3.473114, 0.322171),
        ("lognormal", -691.5034444, [0.043424, 0.333712], 3.617806, -0.297556),
    ],
)
def test_recidivism_by_age_and_aid_is_as_lifelines_has_it(
    shared_data, family, loglik, coefficients, constant, log_shape
):
    week, arrest, age, aid = rows(shared_data, "rossi.csv", "week", "arrest", "age", "fin")
    fit = fit_lag(family, week, arrest, (Column("age", age), Column("fin", aid)))
    assert fit.loglik == pytest.approx(loglik, abs=1e-6)
    assert fit.theta[:3] == pytest.approx([constant, *coefficients], rel=1e-4)
    assert fit.theta[3] == pytest.approx(-log_shape, rel=1e-4)
    errors = np.sqrt(np.diag(fit.covariance))
    if family == "weibull":  # standard errors as lifelines 0.30.3 prints them
        assert errors == pytest.approx([0.354173, 0.015696, 0.139011, 0.089928], rel=1e-3)
    plain = fit_lag(family, week, arrest)
    assert likelihood_ratio(plain, fit)[0] == pytest.approx(2 * (fit.loglik - plain.loglik))


def test_delayed_clicks_are_as_lifelines_mixture_cure_has_them():
    # a share of .08, Weibull lags of scale 5 and shape .8, ages U(1, 30): the naive rate is 15 % low
    rng = np.random.default_rng(0)
    n = 50_000
    lag, watched = 5.0 * rng.weibull(0.8, n), rng.uniform(1, 30, n)
    seen = (rng.random(n) < 0.08) & (lag < watched)
    figures = fit_lag("cure_weibull", np.where(seen, lag, watched), seen).figures()
    assert seen.mean() == pytest.approx(0.068, abs=0.002)
    low, high = figures["interval"]["share"]
    assert low < 0.08 < high and high - low < 0.008
    assert set(FAMILIES) == {"weibull", "lognormal", "cure_weibull", "mixture"}
