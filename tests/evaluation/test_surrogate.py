"""The surrogate learns what it is shown, and effects come with honest intervals."""

import numpy as np
import pytest
from scipy import stats

from gaelp.evaluation.surrogate import effects, fit


def planted(points: np.ndarray) -> np.ndarray:
    return 2.0 - 3.0 * points[:, 0] + 1.5 * points[:, 1] + 2.0 * points[:, 2] ** 2 - points[:, 2]


def test_a_function_without_noise_is_learnt_exactly():
    points = np.random.default_rng(1).uniform(-1, 1, (80, 6))
    known = fit(points, planted(points))
    fresh = np.random.default_rng(2).uniform(-1, 1, (20, 6))
    assert np.abs(known.at(fresh) - planted(fresh)).max() < 1e-3
    assert np.allclose(known.least()[:3], [1.0, -1.0, 0.25], atol=0.01)


def test_gains_say_what_each_lever_adds_to_the_middle():
    points = np.random.default_rng(1).uniform(-1, 1, (80, 3))
    known = fit(points, planted(points))
    at = np.array([[1.0, -1.0, 0.25]])
    assert np.allclose(known.gains(at), [[-3.0, -1.5, -0.125]], atol=0.01)
    assert known.gains(at).sum() == pytest.approx(float(known.at(at)[0] - known.at(0 * at)[0]))


@pytest.mark.golden
def test_the_posterior_is_that_of_a_gaussian_process_with_the_same_kernel():
    """Second implementation: condition a joint normal on the answers, ratio found on a grid of densities."""
    rng = np.random.default_rng(5)
    points = rng.uniform(-1, 1, (40, 2))
    answers = 1.0 + points @ [0.8, 0.0] + 0.5 * rng.standard_normal(40)

    def kernel(a, b):
        linear = 3.0 * a @ b.T
        return linear + (45 / 4) * (a**2 - 1 / 3) @ (b**2 - 1 / 3).T

    centre = np.eye(40) - 1 / 40
    basis = np.linalg.qr(centre)[0][:, :39]  # answers less their mean live in 39 dimensions
    seen = centre @ kernel(points, points) @ centre
    along = basis.T @ answers
    best = None
    for log_ratio in np.arange(-4.0, 8.0, 0.005):
        shape = basis.T @ seen @ basis / np.exp(log_ratio) + np.eye(39)
        noise = along @ np.linalg.solve(shape, along) / 39
        density = stats.multivariate_normal(np.zeros(39), noise * shape).logpdf(along)
        if best is None or density > best[0]:
            best = (density, np.exp(log_ratio))
    fresh = rng.uniform(-1, 1, (10, 2))
    terms = kernel(fresh, points) @ centre
    weight = np.linalg.solve(seen / best[1] + np.eye(40), centre @ answers) / best[1]
    known = fit(points, answers)
    middle = known.at(points).mean()
    assert middle == pytest.approx(answers.mean())
    shift = kernel(points, points).mean(axis=0)  # terms are centred over the points that were seen
    expected = answers.mean() + (terms - shift @ centre) @ weight
    assert np.allclose(known.at(fresh), expected, atol=2e-3)


def test_draws_spread_as_little_as_is_known():
    rng = np.random.default_rng(3)
    few, many = rng.uniform(-1, 1, (12, 2)), rng.uniform(-1, 1, (600, 2))

    def spread(points):
        known = fit(points, points @ [1.0, 0.05] + 0.5 * rng.standard_normal(len(points)))
        return np.mean([known.draw_least(rng) for _ in range(200)], axis=0)

    assert spread(few)[0] < -0.3 and spread(many)[0] == pytest.approx(-1.0)


@pytest.mark.golden
def test_effects_of_one_lever_are_those_of_a_textbook_regression():
    rng = np.random.default_rng(4)
    points = rng.uniform(-1, 1, (30, 1))
    answers = 1.0 + 0.3 * points[:, 0] + rng.standard_normal(30)
    (found,) = effects(points, answers, reach=3.0)
    book = stats.linregress(3.0 * points[:, 0], answers)
    half = stats.t.ppf(0.975, 28) * book.stderr
    expected = (book.slope, book.slope - half, book.slope + half)
    assert (found.mean, found.low, found.high) == pytest.approx(expected)


@pytest.mark.statistical
def test_intervals_of_effects_cover_the_truth():
    """900 intervals of 95 %: a standard error of 0.7 %, four of them below the bound."""
    rng = np.random.default_rng(6)
    truth = np.array([0.5, 0.0, -0.2])
    inside, clear = 0, 0
    for _ in range(300):
        points = rng.uniform(-1, 1, (40, 3))
        found = effects(points, points @ truth + rng.standard_normal(40), reach=1.0)
        inside += sum(each.low <= b <= each.high for each, b in zip(found, truth, strict=True))
        clear += found[1].clear
    assert abs(inside / 900 - 0.95) < 0.03
    assert clear / 300 < 0.06
