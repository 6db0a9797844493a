"""Adjustment for what is known: right where it holds what moves both, and only there."""

import numpy as np
import pytest
from scipy.optimize import minimize

from gaelp.evaluation.replications.adjustment import (
    RIDGE,
    adjusted_baseline,
    least_squares,
    logistic,
    raw_baseline,
    standardised,
)

N = 40_000


def people(seed: int, *, hidden: float, curved: bool = False):
    """Known column x, perhaps a hidden one, exposure by both, and what everybody would buy anyway."""
    rng = np.random.default_rng(seed)
    x, unseen = rng.standard_normal((2, N))
    exposed = rng.random(N) < 1 / (1 + np.exp(-(-0.5 + x + hidden * unseen)))
    rate = 0.05 * np.exp(0.5 * x + hidden * unseen - 0.5 * hidden**2)
    if curved:
        rate = 0.05 + 0.03 * (x > 0.7)
    anyway = rng.random(N) < rate
    sales = (anyway | (exposed & (rng.random(N) < 0.01))).astype(float)
    return x[:, None], exposed, sales, rate


def error_of(rate, exposed) -> float:
    """Of a baseline: counting noise of the exposed's own anyway-sales is not in it, that of the others is."""
    odds = exposed.mean() / (1 - exposed.mean())
    return float(np.sqrt(3 * odds**2 * rate[~exposed].sum()))  # three times, as weights are uneven


@pytest.mark.statistical
@pytest.mark.parametrize("curved", [False, True], ids=["smooth", "outcome not linear"])
def test_adjustment_finds_the_baseline_where_it_knows_what_moves_both(curved: bool) -> None:
    known, exposed, sales, rate = people(1, hidden=0.0, curved=curved)
    truth, error = rate[exposed].sum(), error_of(rate, exposed)
    weight = np.ones(N)
    assert abs(adjusted_baseline(known, exposed, sales, weight) - truth) < 4 * error
    assert raw_baseline(exposed, sales, weight) < truth - 4 * error


@pytest.mark.statistical
def test_adjustment_does_not_find_it_where_something_is_hidden() -> None:
    known, exposed, sales, rate = people(2, hidden=1.0)
    truth, error = rate[exposed].sum(), error_of(rate, exposed)
    assert adjusted_baseline(known, exposed, sales, np.ones(N)) < truth - 4 * error


def test_a_weight_of_two_is_a_person_twice() -> None:
    known, exposed, sales, _ = (part[:2_000] for part in people(3, hidden=0.0))
    weight = np.where(np.arange(2_000) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(2_000), weight.astype(int))
    for estimate in (
        raw_baseline(exposed, sales, weight)
        - raw_baseline(exposed[twice], sales[twice], np.ones(len(twice))),
        adjusted_baseline(known, exposed, sales, weight)
        - adjusted_baseline(known[twice], exposed[twice], sales[twice], np.ones(len(twice))),
    ):
        assert estimate == pytest.approx(0.0, abs=1e-6)


def test_people_without_weight_do_not_count() -> None:
    known, exposed, sales, _ = (part[:2_000] for part in people(4, hidden=0.0))
    weight = (np.arange(2_000) % 2).astype(float)
    other = np.where(weight > 0, sales, 99.0)
    assert adjusted_baseline(known, exposed, other, weight) == pytest.approx(
        adjusted_baseline(known[1::2], exposed[1::2], sales[1::2], np.ones(1_000)), abs=1e-6
    )


@pytest.mark.golden
def test_the_logistic_regression_is_the_minimum_of_its_penalised_likelihood() -> None:
    rng = np.random.default_rng(5)
    columns = standardised(rng.standard_normal((500, 4)), np.ones(500))
    weight = rng.uniform(0.5, 2.0, 500)
    y = (rng.random(500) < 1 / (1 + np.exp(-columns @ [-1.0, 2.0, 0.0, -1.0, 0.3]))).astype(float)

    def loss(theta):
        z = columns @ theta
        return weight @ (np.log1p(np.exp(z)) - y * z) + 0.5 * RIDGE * theta[1:] @ theta[1:]

    best = minimize(loss, np.zeros(5), tol=1e-12).x
    np.testing.assert_allclose(logistic(columns, y, weight), best, atol=2e-4)


def test_the_ridge_regression_is_the_minimum_of_its_penalised_squares() -> None:
    rng = np.random.default_rng(6)
    columns = standardised(rng.standard_normal((200, 3)), np.ones(200))
    weight, y = rng.uniform(0.5, 2.0, 200), rng.standard_normal(200)

    def loss(theta):
        return weight @ (y - columns @ theta) ** 2 + RIDGE * theta[1:] @ theta[1:]

    best = minimize(loss, np.zeros(4), tol=1e-12).x
    np.testing.assert_allclose(least_squares(columns, y, weight), best, atol=1e-5)


@pytest.mark.parametrize(("everybody", "expected"), [(True, np.nan), (False, 0.0)])
def test_with_nobody_to_compare_there_is_nothing_to_adjust(everybody: bool, expected: float) -> None:
    exposed, sales, weight = np.full(10, everybody), np.arange(10.0), np.ones(10)
    found = adjusted_baseline(np.ones((10, 2)), exposed, sales, weight)
    assert np.array_equal([found, raw_baseline(exposed, sales, weight)], [expected] * 2, equal_nan=True)


def test_a_sample_all_exposed_alike_is_no_error() -> None:
    """A column that separates exposed from unexposed is held by the penalty, and chances by their cap."""
    known = np.repeat([[0.0], [1.0]], 50, axis=0)
    exposed = known[:, 0] > 0
    found = adjusted_baseline(known, exposed, np.ones(100), np.ones(100))
    assert np.isfinite(found) and found > 0
