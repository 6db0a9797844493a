"""Figures about predictions against second implementations and known values."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from gaelp.core.errors import BadInput
from gaelp.prediction.calibration import KINDS, Calibration, fit_calibration
from gaelp.prediction.metrics import calibration_line, paired_difference, response_metrics


def rows(seed, n=4000, distort=1.0):
    """Labels, and the true chance with its logit multiplied."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-1.5, 1.0, n)
    return rng.random(n) < 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(-x * distort))


def delong_by_pairs(label, *scores):
    """The definition: each yes against each no, one by one."""
    tens, ones = [], []
    for score in scores:
        yes, no = score[label], score[~label]
        wins = (yes[:, None] > no) + 0.5 * (yes[:, None] == no)
        tens.append(wins.mean(axis=1))
        ones.append(wins.mean(axis=0))
    covariance = np.cov(tens) / len(tens[0]) + np.cov(ones) / len(ones[0])
    return np.array([ten.mean() for ten in tens]), np.atleast_2d(covariance)


@pytest.mark.golden
def test_area_and_its_error_are_delongs():
    label, chance = rows(1, 700)
    chance = np.round(chance, 2)  # ties
    found = response_metrics(label, chance)
    area, covariance = delong_by_pairs(label, chance)
    assert found["auc"] == pytest.approx(area[0], abs=1e-12)
    assert found["auc"] == pytest.approx(roc_auc_score(label, chance), abs=1e-12)
    assert found["auc_se"] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-9)


@pytest.mark.golden
def test_a_paired_difference_is_delongs_and_far_surer_than_two_figures_apart():
    label, chance = rows(2, 700)
    other = np.clip(chance + np.random.default_rng(0).normal(0, 0.03, 700), 0.001, 0.999)
    area, covariance = delong_by_pairs(label, chance, other)
    found = paired_difference(label, chance, other)
    weights = np.array([1, -1])
    assert found.auc == pytest.approx(area[0] - area[1], abs=1e-12)
    assert found.auc_se == pytest.approx(np.sqrt(weights @ covariance @ weights), rel=1e-9)
    assert found.auc_se < 0.5 * response_metrics(label, chance)["auc_se"]
    assert paired_difference(label, chance, chance) == (0, 0, 0, 0)
    entropies = [response_metrics(label, one)["normalised_entropy"] for one in (chance, other)]
    assert found.normalised_entropy == pytest.approx(entropies[0] - entropies[1], abs=1e-12)


@pytest.mark.statistical
def test_the_error_of_the_area_is_its_spread_over_samples():
    found = [response_metrics(*rows(seed, 400)) for seed in range(300)]
    areas, errors = (np.array([one[key] for one in found]) for key in ("auc", "auc_se"))
    spread = areas.std(ddof=1)
    assert abs(np.sqrt((errors**2).mean()) - spread) < 4 * spread / np.sqrt(2 * len(found))


@pytest.mark.golden
def test_logloss_and_slope_are_those_of_another_library():
    label, chance = rows(3, distort=1.6)
    found = response_metrics(label, chance)
    x = np.log(chance / (1 - chance))
    line = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], label)
    assert found["logloss"] == pytest.approx(log_loss(label, chance), rel=1e-9)
    assert found["calibration_slope"] == pytest.approx(line.coef_[0, 0], rel=1e-5)
    assert found["calibration_intercept"] == pytest.approx(line.intercept_[0], abs=1e-5)


def test_the_base_rate_has_normalised_entropy_one_and_no_slope():
    label, _ = rows(4)
    found = response_metrics(label, np.full(label.size, label.mean()))
    assert found["normalised_entropy"] == pytest.approx(1.0)
    assert found["auc"] == 0.5 and found["calibration_slope"] is None and found["ece"] < 0.05


@pytest.mark.statistical
def test_true_chances_have_slope_one_and_the_calibration_error_of_luck():
    found = response_metrics(*rows(5, 60_000))
    assert abs(found["calibration_slope"] - 1) < 4 * found["calibration_slope_se"]
    assert found["ece"] < 2 * found["ece_noise"]
    bent = response_metrics(*rows(5, 60_000, distort=2.0))
    assert abs(bent["calibration_slope"] - 0.5) < 4 * bent["calibration_slope_se"]
    assert bent["ece"] > 5 * bent["ece_noise"]


def test_calibration_error_by_hand():
    label = np.repeat([False, True], [60, 40])
    chance = np.linspace(0.2, 0.2 + 1e-6, 100)  # five bins of 20, three without a yes, two of nothing else
    assert response_metrics(label, chance)["ece"] == pytest.approx(0.6 * 0.2 + 0.4 * 0.8, abs=1e-5)


def test_labels_that_predictions_part_have_no_likeliest_line():
    assert calibration_line(np.array([False, True]), np.array([0.2, 0.7])) == (None, None, None)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(BadInput, match="must hold both 0 and 1"):
        response_metrics([0, 0], [0.1, 0.2])
    with pytest.raises(BadInput, match="must be probabilities"):
        response_metrics([0, 1], [0.1, np.nan])
    with pytest.raises(BadInput, match="shape"):
        response_metrics([0, 1], [0.1])


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
@pytest.mark.statistical
def test_a_map_undoes_a_distortion(kind):
    fitted = fit_calibration(kind, *rows(6, 60_000, distort=1.8))
    found = response_metrics(rows(7, 60_000)[0], fitted.apply(rows(7, 60_000, distort=1.8)[1]))
    assert abs(found["calibration_slope"] - 1) < 0.05
    assert found["ece"] < 3 * found["ece_noise"]


@settings(max_examples=30, deadline=None)
@example(kind="platt", seed=37, n=21)  # the steepest of lines
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 99), n=st.integers(20, 300))
def test_a_map_rises_stays_a_probability_and_survives_a_file(kind, seed, n):
    label, chance = rows(seed, n)
    fitted = fit_calibration(kind, label, chance)
    grid = fitted.apply(np.linspace(0.001, 0.999, 200))
    assert (np.diff(grid) >= 0).all() and (grid > 0).all() and (grid < 1).all()
    assert Calibration.from_dict(fitted.as_dict()) == fitted
