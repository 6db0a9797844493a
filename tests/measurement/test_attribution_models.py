"""What every model keeps to, bootstrap intervals, and calibration by experiments."""

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.journeys.table import JourneyTable, table_of_paths
from gaelp.measurement.attribution import (
    MODELS,
    Counts,
    Credits,
    Experiment,
    Prior,
    Settings,
    Unanswerable,
    attribute,
    calibrate,
)
from gaelp.measurement.attribution.models import _Resample

from .attribution_tables import random_table


def with_untouched(table):
    """The table with one more converted row that nobody touched."""
    fields = {name: getattr(table, name) for name in table.__dataclass_fields__}
    fields["offsets"] = np.append(table.offsets, table.offsets[-1])
    for name, more in (
        ("conversions", 7),
        ("nulls", 90),
        ("value_usd_micros", 21_000_000),
        ("end_hour", 0.0),
    ):
        fields[name] = np.append(fields[name], more)
    return JourneyTable(**fields)


@pytest.mark.contract
@pytest.mark.parametrize("model", MODELS)
def test_credits_add_up_to_conversions_and_value(model):
    table = with_untouched(random_table(300, 4, seed=1, timed=True))
    answer = attribute(table, [model])[0][model]
    rows = answer.as_dict()
    assert list(rows) == [*table.channels, "(baseline)"]
    assert sum(row["conversions"] for row in rows.values()) == pytest.approx(table.conversions.sum())
    assert sum(row["value"] for row in rows.values()) == pytest.approx(table.value_usd.sum())
    assert rows["(baseline)"]["conversions"] >= 7 - 1e-9
    assert ("removal_effect" in rows["c00"]) == (model == "markov")


@pytest.mark.contract
@pytest.mark.parametrize("model", MODELS)
def test_the_order_of_rows_and_names_of_channels_change_nothing(model):
    table = random_table(200, 3, seed=2, timed=True)
    order = np.random.default_rng(0).permutation(table.n_rows)
    touches = np.concatenate([np.arange(table.offsets[i], table.offsets[i + 1]) for i in order])
    renamed = np.array([2, 0, 1])
    moved = JourneyTable(
        channels=("y", "z", "x"),  # code 0 was called c00 and is now code 2, and so on
        offsets=np.concatenate(([0], np.cumsum(table.lengths[order]))),
        channel=renamed[table.channel[touches]],
        conversions=table.conversions[order],
        nulls=table.nulls[order],
        value_usd_micros=table.value_usd_micros[order],
        touch_hour=table.touch_hour[touches],
        end_hour=table.end_hour[order],
    )
    before, after = (attribute(each, [model])[0][model].credits for each in (table, moved))
    np.testing.assert_allclose(after.conversions[renamed], before.conversions[:3], atol=1e-3)


@pytest.mark.contract
@pytest.mark.parametrize("model", MODELS)
def test_a_row_of_many_equals_many_rows(model):
    table = random_table(150, 3, seed=3, timed=True)
    times = np.random.default_rng(1).integers(1, 4, table.n_rows)
    rows = np.repeat(np.arange(table.n_rows), times)
    touches = np.concatenate([np.arange(table.offsets[i], table.offsets[i + 1]) for i in rows])
    many = JourneyTable(
        channels=table.channels,
        offsets=np.concatenate(([0], np.cumsum(table.lengths[rows]))),
        channel=table.channel[touches],
        conversions=table.conversions[rows],
        nulls=table.nulls[rows],
        value_usd_micros=table.value_usd_micros[rows],
        touch_hour=table.touch_hour[touches],
        end_hour=table.end_hour[rows],
    )
    weighted = JourneyTable(
        channels=table.channels,
        offsets=table.offsets,
        channel=table.channel,
        conversions=table.conversions * times,
        nulls=table.nulls * times,
        value_usd_micros=table.value_usd_micros * times,
        touch_hour=table.touch_hour,
        end_hour=table.end_hour,
    )
    found = [attribute(each, [model])[0][model].credits.conversions for each in (many, weighted)]
    np.testing.assert_allclose(*found, atol=1e-3)


def test_equal_seeds_give_equal_intervals_around_the_credits():
    table = random_table(500, 4, seed=4)
    first, again, other = (
        attribute(table, ["linear", "markov"], Settings(seed=seed), n_bootstrap=50)[0] for seed in (1, 1, 2)
    )
    for name in first:
        low, high = first[name].conversions_interval
        middle = first[name].credits.conversions
        assert (low[:-1] < middle[:-1]).all() and (middle[:-1] < high[:-1]).all()
        np.testing.assert_array_equal(first[name].conversions_interval, again[name].conversions_interval)
        assert (first[name].conversions_interval != other[name].conversions_interval).any()


@pytest.mark.statistical
def test_a_last_touch_interval_is_that_of_a_binomial():
    """Last touch counts journeys, so its bootstrap spread is sqrt(J p (1 - p))."""
    table = table_of_paths(["a", "b"], [400, 600], [4600, 4400])
    rows = attribute(table, ["last"], n_bootstrap=2000)[0]["last"].as_dict()
    spread = np.sqrt(10_000 * 0.04 * 0.96)
    half = (rows["a"]["high"] - rows["a"]["low"]) / 2
    assert abs(half / (1.96 * spread) - 1) < 0.08  # a percentile of 2,000 draws is good to about 2 %
    assert rows["(baseline)"]["low"] == rows["(baseline)"]["high"] == 0.0


@pytest.mark.parametrize("single", [True, False])
def test_a_replicate_has_as_many_journeys(single):
    table = random_table(300, 3, seed=5, timed=single)
    counts = Counts.of(table)
    drawn = _Resample(table, counts, seed=0)()
    assert drawn.journeys.sum() == counts.journeys.sum()
    assert not drawn.conversions[counts.conversions == 0].any()
    converted = counts.conversions > 0
    np.testing.assert_allclose(
        drawn.value_usd[converted],
        (drawn.conversions * counts.value_usd)[converted] / counts.conversions[converted],
    )


def test_rows_of_one_person_are_drawn_together():
    table = random_table(300, 3, seed=5, timed=True)
    fields = {name: getattr(table, name) for name in table.__dataclass_fields__}
    people = JourneyTable(**{**fields, "person": np.arange(300) // 3})
    counts = Counts.of(people)
    times = (_Resample(people, counts, seed=0)().journeys / counts.journeys).reshape(100, 3)
    assert (times == times[:, :1]).all() and times[:, 0].sum() == 100


def test_what_makes_no_sense_is_refused():
    table = random_table(20, 2, seed=0)
    with pytest.raises(BadInput, match="n_bootstrap"):
        attribute(table, n_bootstrap=1)
    with pytest.raises(BadInput, match="level"):
        attribute(table, level=1.0)
    with pytest.raises(BadInput, match="journeys"):
        attribute(table_of_paths(["a"], [0], [0]))
    with pytest.raises(BadInput, match="must leave this name to the baseline"):
        attribute(table_of_paths([["(baseline)"]], [1], [1]))
    with pytest.raises(Unanswerable, match="needs the time of each touch"):
        attribute(table, ["first", "time_decay"])


CLAIMED = Credits(np.array([100.0, 50.0, 30.0, 0.0]), np.array([1000.0, 500.0, 300.0, 0.0]))
NAMES = ("search", "social", "display")


def test_precise_experiments_are_believed():
    tests = {"search": Experiment(20.0, 1e-6), "social": Experiment(40.0, 1e-6)}
    found = calibrate(CLAIMED, NAMES, tests)
    np.testing.assert_allclose(found.credits.conversions[:2], [20.0, 40.0], atol=1e-6)
    assert found.factor == pytest.approx(0.5) and found.scatter == pytest.approx(np.sqrt(0.18))
    assert found.credits.conversions[2] == pytest.approx(15.0)
    assert found.conversions_se[2] > 100 * found.conversions_se[0]


def test_experiments_that_agree_give_one_factor():
    tests = {"search": Experiment(31.0, 10.0), "social": Experiment(14.0, 10.0)}
    found = calibrate(CLAIMED, NAMES, tests)
    weight = np.array([1 / 0.1**2, 1 / 0.2**2])
    factor = weight @ [0.31, 0.28] / weight.sum()
    assert found.scatter == 0.0
    np.testing.assert_allclose(found.credits.conversions[:3], factor * CLAIMED.conversions[:3])
    assert found.factor_se == pytest.approx(1 / np.sqrt(weight.sum()))
    assert found.credits.conversions.sum() == pytest.approx(180.0)
    assert found.credits.value_usd.sum() == pytest.approx(1800.0)


def test_the_between_variance_is_that_of_dersimonian_and_laird():
    """Written out term by term: tau^2 = (Q - (k - 1)) / (sum w - sum w^2 / sum w)."""
    effects, errors = [0.1, 0.9, 0.4], [0.1, 0.2, 0.15]
    w = [1 / e**2 for e in errors]
    mean = sum(a * b for a, b in zip(w, effects, strict=True)) / sum(w)
    q = sum(a * (b - mean) ** 2 for a, b in zip(w, effects, strict=True))
    tau2 = (q - 2) / (sum(w) - sum(a * a for a in w) / sum(w))
    again = [1 / (e**2 + tau2) for e in errors]
    pooled = sum(a * b for a, b in zip(again, effects, strict=True)) / sum(again)
    tests = {
        name: Experiment(f * claim, e * claim)
        for name, f, e, claim in zip(NAMES, effects, errors, CLAIMED.conversions, strict=False)
    }
    found = calibrate(CLAIMED, NAMES, tests)
    assert found.scatter**2 == pytest.approx(tau2) and found.factor == pytest.approx(pooled)


@pytest.mark.statistical
def test_standard_errors_cover_the_truth():
    """Forty tested channels, two that are not: errors over their standard error have a spread of one."""
    rng = np.random.default_rng(7)
    claim = np.full(43, 100.0)
    names = tuple(f"c{i}" for i in range(42))
    z = []
    for _ in range(400):
        factor = rng.normal(0.5, 0.2, 42)
        error = rng.uniform(2.0, 8.0, 42)
        tests = {names[i]: Experiment(100 * factor[i] + error[i] * rng.normal(), error[i]) for i in range(40)}
        found = calibrate(Credits(claim * 1.0, claim * 1.0), names, tests)
        z.append((found.credits.conversions[:42] - 100 * factor) / found.conversions_se[:42])
    spread = np.std(z, axis=0)
    assert abs(spread[:40].mean() - 1) < 0.05 and abs(spread[40:].mean() - 1) < 0.15


# calibration with a prior of positive factors


@pytest.mark.parametrize(
    ("measured", "error"),
    [
        ((0.1, 0.3, -0.05), (0.05, 0.1, 0.2)),
        ((0.017, 0.3), (0.02, 0.05)),
        ((-0.1,), (0.05,)),
        ((2.0,), (0.5,)),
    ],
)
def test_factors_with_a_prior_are_those_of_weighted_draws_from_it(measured, error):
    """An independent second implementation: draws of factors from the prior, weighted by the tests."""
    prior, n_channels = Prior(), 3
    rng = np.random.default_rng(3)
    common = np.log(prior.median) + prior.spread * rng.normal(size=1_000_000)
    scatter = prior.scatter * np.abs(rng.normal(size=common.size))
    factor = np.exp(common + scatter * rng.normal(size=(n_channels, common.size)))
    log_weight = sum(-0.5 * ((m - f) / e) ** 2 for m, e, f in zip(measured, error, factor, strict=False))
    weight = np.exp(log_weight - np.max(log_weight))
    weight /= weight.sum()
    expected = factor @ weight
    # of a ratio estimated by importance sampling; an untested factor's tail is wider than draws reach
    noise = np.sqrt(((weight * (factor - expected[:, None])) ** 2).sum(axis=1))
    claim = Credits(np.full(4, 100.0), np.full(4, 100.0))
    names = NAMES[: len(measured)]
    tests = {n: Experiment(100 * m, 100 * e) for n, m, e in zip(names, measured, error, strict=True)}
    found = calibrate(claim, NAMES, tests, prior)
    miss = found.credits.conversions[:3] / 100 - expected
    assert (np.abs(miss) < 4 * noise + 0.005 * expected).all()
    assert found.credits.conversions.sum() == pytest.approx(400.0)
    assert (found.credits.conversions[:3] > 0).all()


def test_precise_experiments_are_believed_whatever_the_prior():
    tests = {"search": Experiment(20.0, 1e-6), "social": Experiment(40.0, 1e-6)}
    found = calibrate(CLAIMED, NAMES, tests, Prior())
    np.testing.assert_allclose(found.credits.conversions[:2], [20.0, 40.0], atol=1e-6)
    assert found.conversions_se[0] == pytest.approx(0.0, abs=1e-4)
    assert 30.0 * 0.2 < found.credits.conversions[2] < 30.0 * 0.8
    assert found.conversions_se[2] > 5


def test_experiments_that_find_nothing_leave_positive_shares_near_the_claims():
    """Without the prior the same tests give credits of either sign, and shares that mean nothing."""
    tests = {
        name: Experiment(share * claim, 0.05 * claim)
        for name, share, claim in zip(NAMES, (0.02, -0.03, 0.01), CLAIMED.conversions, strict=False)
    }
    found = calibrate(CLAIMED, NAMES, tests, Prior()).credits.conversions[:3]
    assert (found > 0).all() and found.sum() < 0.1 * CLAIMED.conversions.sum()
    np.testing.assert_allclose(found / found.sum(), CLAIMED.conversions[:3] / 180.0, atol=0.05)
    assert (calibrate(CLAIMED, NAMES, tests).credits.conversions[:3] < 0.01).any()


@pytest.mark.statistical
def test_factors_drawn_from_the_prior_lie_where_the_posterior_says():
    """Means are unbiased, and squared errors are what the standard errors say, over draws of the prior."""
    rng = np.random.default_rng(11)
    prior, miss, variance = Prior(spread=0.8), [], []
    for _ in range(400):
        common = np.log(prior.median) + prior.spread * rng.normal()
        factor = np.exp(common + prior.scatter * abs(rng.normal()) * rng.normal(size=3))
        error = rng.uniform(0.02, 0.3, 3)
        tests = {
            name: Experiment(claim * (f + e * rng.normal()), claim * e)
            for name, claim, f, e in zip(NAMES, CLAIMED.conversions, factor, error, strict=False)
        }
        found = calibrate(CLAIMED, NAMES, tests, prior)
        miss.append(found.credits.conversions[:3] / CLAIMED.conversions[:3] - factor)
        variance.append((found.conversions_se[:3] / CLAIMED.conversions[:3]) ** 2)
    z = np.mean(miss) / (np.std(miss) / np.sqrt(np.size(miss)))
    assert abs(z) < 4
    assert np.mean(np.square(miss)) / np.mean(variance) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("name", ["median", "spread", "scatter"])
def test_a_prior_of_nothing_is_refused(name):
    for value in (0.0, 1e9, float("nan")):
        with pytest.raises(BadInput, match=name):
            Prior(**{name: value})


@pytest.mark.parametrize("claim", [float("nan"), float("inf"), -1.0])
def test_claims_that_are_no_counts_are_refused(claim):
    claimed = Credits(np.array([10.0, claim, 0.0]), np.zeros(3))
    with pytest.raises(BadInput, match=r"claimed.conversions\[1\]"):
        calibrate(claimed, ("search", "social"), {"search": Experiment(1.0, 1.0)}, Prior())


def test_experiments_that_make_no_sense_are_refused():
    for tests, reason in (
        ({}, "at least one"),
        ({"serch": Experiment(1.0, 1.0)}, "Did you mean 'search'"),
        ({"search": Experiment(1.0, 0.0)}, "standard error above 0"),
    ):
        with pytest.raises(BadInput, match=reason):
            calibrate(CLAIMED, NAMES, tests)
    nothing = Credits(np.zeros(4), np.zeros(4))
    with pytest.raises(BadInput, match="claimed more than 0"):
        calibrate(nothing, NAMES, {"search": Experiment(1.0, 1.0)})
