"""Conversions still to come: unbiased where the naive rate is not, and intervals that hold their level."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom

from gaelp.core.errors import BadInput
from gaelp.measurement.lag.fit import FAMILIES, LagFit, fit_lag
from gaelp.measurement.lag.nowcast import nowcast

SHARE, SCALE, SHAPE, ALIKE = 0.08, 6.0, 0.8, 300  # cohorts' shares are Beta with a relative deviation of .2
AGES = (1.0, 3.0, 7.0, 14.0)


def history(rng, age, clicks):
    """Cohorts of one age each: all conversions, those seen by their age, and a fit to the rows."""
    share = rng.beta(SHARE * ALIKE, (1 - SHARE) * ALIKE, age.size)
    converts = rng.random((age.size, clicks)) < share[:, None]
    lag = SCALE * rng.weibull(SHAPE, (age.size, clicks))
    seen = converts & (lag <= age[:, None])
    fit = fit_lag("cure_weibull", np.where(seen, lag, age[:, None]).ravel(), seen.ravel())
    return converts.sum(axis=1), seen.sum(axis=1), fit


def certain(share=SHARE, scale=SCALE, shape=SHAPE):
    """A fit without doubts."""
    theta = np.array([np.log(share / (1 - share)), np.log(scale), -np.log(shape)])
    return LagFit("cure_weibull", FAMILIES["cure_weibull"], theta, None, 0.0, 1, 1)


def study(n_histories, per_age, clicks, seed):
    """Relative bias of the naive count and of the nowcast by age, and how often the interval held."""
    rng = np.random.default_rng(seed)
    age = np.concatenate([np.repeat(AGES, per_age), np.arange(2.0, 42.0)])
    counts, held = [], []
    for i in range(n_histories):
        all_, seen, fit = history(rng, age, clicks)
        told = nowcast(fit, seen, age, clicks - seen, seed=i, n_draws=50)
        inside = (told.low <= all_ - seen) & (all_ - seen <= told.high)
        by_age = [x[: 4 * per_age].reshape(4, per_age) for x in (seen, seen + told.to_come, all_, inside)]
        counts.append([x.sum(axis=1) for x in by_age[:3]])
        held.append(by_age[3].mean(axis=1))
    naive, ours, truth = np.mean(counts, axis=0)
    return naive / truth - 1, ours / truth - 1, np.mean(held, axis=0)


@pytest.mark.statistical
def test_the_nowcast_is_unbiased_where_the_naive_rate_is_not():
    naive, ours, held = study(10, per_age=20, clicks=500, seed=1)
    assert (naive < -0.10).all(), naive
    assert (np.abs(ours) < 0.05).all(), ours
    assert (np.abs(held - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)).all(), held


@pytest.mark.study
def test_the_nowcasts_bias_over_many_histories():
    naive, ours, held = study(100, per_age=5, clicks=500, seed=0)
    print(dict(zip(AGES, zip(naive.round(4), ours.round(4), held.round(3), strict=True), strict=True)))
    assert (naive < -0.10).all() and (np.abs(ours) < 0.05).all()
    assert ((held > 0.93) & (held < 0.97)).all()


@pytest.mark.golden
@pytest.mark.parametrize("strength", [10.0, 300.0])
def test_one_cohort_is_bayes_rule_by_quadrature(strength):
    seen, age, still = 9, 3.0, 191
    arrived = 1 - np.exp(-((age / SCALE) ** SHAPE))
    prior = beta(SHARE * strength, (1 - SHARE) * strength)

    def weight(p):
        return prior.pdf(p) * binom.pmf(seen, seen + still, p * arrived)

    def to_come(p):
        return still * p * (1 - arrived) / (1 - p * arrived)

    total = quad(weight, 0, 1, points=[0.05, 0.1, 0.2], limit=200)[0]
    expected = quad(lambda p: weight(p) * to_come(p), 0, 1, points=[0.05, 0.1, 0.2], limit=200)[0] / total
    told = nowcast(certain(), [seen], [age], [still], strength=strength, n_draws=5)
    assert told.to_come[0] == pytest.approx(expected, rel=1e-3)
    assert told.strength == strength


def test_history_and_a_cohort_pull_as_they_should():
    fit = certain()
    rich = [nowcast(fit, [30], [2.0], [270], strength=s, n_draws=5).share[0] for s in (1.0, 1e2, 1e6)]
    assert rich[0] > rich[1] > rich[2] == pytest.approx(SHARE, rel=0.01)
    old = nowcast(fit, [30], [1e4], [270], strength=1.0, n_draws=5)
    assert old.to_come[0] == pytest.approx(0, abs=1e-6) and old.high[0] == 0
    assert old.share[0] == pytest.approx(0.1, rel=0.02)


def test_conversions_after_the_horizon_do_not_count():
    fit = certain()
    told = [nowcast(fit, [5], [7.0], [95], horizon=h, n_draws=5).to_come[0] for h in (7.0, 14.0, 30.0, None)]
    assert told[0] == pytest.approx(0.0) and told[0] < told[1] < told[2] < told[3]
    assert nowcast(fit, [5], [7.0], [95], horizon=3.0, n_draws=5).to_come[0] == 0


@pytest.mark.statistical
def test_how_alike_cohorts_are_is_learnt_from_them():
    rng = np.random.default_rng(3)
    share = rng.beta(SHARE * 100, (1 - SHARE) * 100, 200)
    seen = rng.binomial(2_000, share * (1 - np.exp(-((10 / SCALE) ** SHAPE))))
    told = nowcast(certain(), seen, np.full(200, 10.0), 2_000 - seen, n_draws=5)
    assert 60 < told.strength < 160


def test_a_cohort_may_have_clicks_of_many_ages():
    fit = certain()
    apart = [nowcast(fit, [2], [a], [50], strength=1e7, n_draws=5).to_come[0] for a in (1.0, 9.0)]
    together = nowcast(fit, [4], [1.0, 9.0], [50, 50], cohort=[0, 0], strength=1e7, n_draws=5)
    assert together.to_come[0] == pytest.approx(sum(apart), rel=1e-3)


def test_equal_seeds_tell_equal_things():
    fit = fit_lag("cure_weibull", [1, 2, 4, 8, 9, 9, 9, 9.0], [1, 1, 1, 1, 0, 0, 0, 0])
    a, b = (nowcast(fit, [4], [9.0], [4], seed=5) for _ in range(2))
    assert (a.to_come, a.low, a.high) == (b.to_come, b.low, b.high)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"converted": [-1]}, "`converted` was -1.0; must be one finite number of at least 0"),
        ({"open_age": [float("nan")]}, "`open_age` was nan"),
        ({"open_clicks": [[3]]}, "`open_clicks` was"),
        ({"cohort": [1]}, "must give one index from 0 to 0"),
        ({"open_age": [1.0, 2.0]}, "`cohort` was"),
    ],
)
def test_counts_that_cannot_be_are_named(change, says):
    given = {"converted": [1], "open_age": [1.0], "open_clicks": [3]} | change
    with pytest.raises(BadInput, match=says):
        nowcast(certain(), **given)


def test_a_family_in_which_everybody_converts_tells_nothing():
    fit = fit_lag("weibull", [1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])
    with pytest.raises(BadInput, match="must let some never convert"):
        nowcast(fit, [1], [1.0], [3])
