"""Geo-based regression: equal to weighted least squares elsewhere, and right where counts are few."""

from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.measurement.experiments.geo_regression import over_regions, region_lift

PEOPLE = 1.0 / np.arange(1, 41) ** 0.7
DARK = np.arange(40) % 2 == 0


def sales(seed: int, drift: float, lost: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Counts before and during, and how many were lost in the dark regions."""
    draw = np.random.default_rng(seed)
    rate = 300.0 * PEOPLE / PEOPLE.sum() * np.exp(0.2 * draw.standard_normal(40))
    before, would = draw.poisson(rate).astype(float), draw.poisson(drift * rate)
    gone = draw.binomial(would, np.where(DARK, lost, 0.0))
    return before, (would - gone).astype(float), float(gone.sum())


@pytest.mark.golden
def test_it_is_weighted_least_squares_with_robust_errors() -> None:
    models: Any = pytest.importorskip("statsmodels.api")
    before, during, _ = sales(1, 0.9, 0.2)
    design = np.stack([PEOPLE, before, PEOPLE * DARK], axis=1)
    fit = models.WLS(during, design, weights=1 / PEOPLE).fit(cov_type="HC2", use_t=True)
    found = region_lift(before, during, PEOPLE, DARK)
    people = PEOPLE[DARK].sum()
    assert found.effect == pytest.approx(people * fit.params[2])
    assert found.error == pytest.approx(people * fit.bse[2])
    assert (found.low, found.high) == pytest.approx(tuple(people * fit.conf_int()[2]))
    assert found.carried == pytest.approx(fit.params[1])


@pytest.mark.golden
def test_many_deals_at_once_are_weighted_least_squares_written_out() -> None:
    before, during, _ = sales(4, 0.8, 0.1)
    draw = np.random.default_rng(4)
    deals = np.array([draw.permutation(DARK) for _ in range(20)])
    found = over_regions(deals, before, during, PEOPLE)
    weight = np.diag(1 / PEOPLE)
    for row, dealt in enumerate(deals):
        x = np.stack([PEOPLE, before, PEOPLE * dealt], axis=1)
        inverse = np.linalg.inv(x.T @ weight @ x)
        beta = inverse @ x.T @ weight @ during
        hat = np.sqrt(weight) @ x @ inverse @ x.T @ np.sqrt(weight)
        squares = (np.sqrt(weight) @ (during - x @ beta)) ** 2 / (1 - np.diag(hat))  # HC2
        meat = x.T @ np.sqrt(weight) @ np.diag(squares) @ np.sqrt(weight) @ x
        people = PEOPLE[dealt].sum()
        assert found.value[row] == pytest.approx(people * beta[2])
        assert found.error[row] == pytest.approx(people * np.sqrt((inverse @ meat @ inverse)[2, 2]))
    assert found.freedom == 37


@pytest.mark.statistical
def test_a_drift_of_all_regions_is_no_effect_and_intervals_hold() -> None:
    n = 600
    misses, covered = np.zeros(n), np.zeros(n, bool)
    for i in range(n):
        before, during, gone = sales(i, 0.7, 0.1)
        found = region_lift(before, during, PEOPLE, DARK)
        misses[i] = -found.effect - gone
        covered[i] = -found.high <= gone <= -found.low
    assert abs(misses.mean()) < 4 * misses.std() / np.sqrt(n)
    assert abs(covered.mean() - 0.95) < 4 * np.sqrt(0.95 * 0.05 / n)


def test_the_unit_of_people_does_not_matter() -> None:
    before, during, _ = sales(2, 1.1, 0.0)
    assert region_lift(before, during, 1e6 * PEOPLE, DARK) == pytest.approx(
        region_lift(before, during, PEOPLE, DARK)
    )


@pytest.mark.parametrize("unit", [5e-324, 1e-310, 1e-300, 3e-150, 1e-9, 7.0, 1e100, 1e300])
def test_no_unit_of_people_is_too_small_or_too_large(unit: float) -> None:
    before, during, _ = sales(2, 1.1, 0.1)
    whole = np.round(1e6 * PEOPLE)  # so that the smallest of units can still tell regions apart
    found, usual = (region_lift(before, during, people, DARK) for people in (unit * whole, whole))
    assert found == pytest.approx(usual, rel=1e-5)
    deals = np.stack([DARK, ~DARK, np.roll(DARK, 1)])
    for here, there in zip(
        over_regions(deals, before, during, unit * whole),
        over_regions(deals, before, during, whole),
        strict=True,
    ):
        assert here == pytest.approx(there, rel=1e-5)


def test_nothing_sold_before_is_no_trouble_and_nothing_sold_in_the_test_is_refused() -> None:
    nothing, some = np.zeros(40), sales(3, 1.0, 0.0)[1]
    found = region_lift(nothing, some, PEOPLE, DARK)
    assert found.low < 0.0 < found.high and found.error > 0.0 and found.carried == 0.0
    with pytest.raises(BadInput, match=r"`during` was 0\.0; must not be 0 in all regions"):
        region_lift(some, nothing, PEOPLE, DARK)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"people": np.zeros(40)}, "people"),
        ({"people": np.append(PEOPLE[:39], 0.0)}, "must be above 0"),
        ({"people": np.append(PEOPLE[:39], 1e-300)}, "must be at least 1e-09 of the largest region's 1"),
        ({"treated": np.arange(40) < 3}, "treated"),
        ({"before": np.ones(39)}, "shapes"),
        ({"level": 1.0}, "level"),
        ({"people": np.append(PEOPLE[:39], np.inf)}, r"people\[39\]"),
        ({"before": np.append(np.ones(39), np.nan)}, r"before\[39\]"),
        ({"during": np.append(np.nan, np.ones(39))}, r"during\[0\]"),
        ({"before": PEOPLE * DARK}, "which regions are treated"),
    ],
)
def test_what_cannot_be_fitted_is_refused(changed: dict[str, Any], said: str) -> None:
    good = {"before": np.ones(40), "during": np.ones(40), "people": PEOPLE, "treated": DARK}
    with pytest.raises(BadInput, match=said):
        region_lift(**good | changed)
