"""The hazard model: recovery of known parameters, its likelihood and credits against slow ones."""

import numpy as np
import pytest

from gaelp.journeys.table import JourneyTable, table_of_paths
from gaelp.measurement.attribution import Counts, Unanswerable, attribute
from gaelp.measurement.attribution.data_driven import _Fit, fit_hazard

from .attribution_tables import random_table

BASE_PER_DAY, STRENGTH, MEAN_AGE_DAYS = 0.01, np.array([0.20, 0.05, 0.0]), np.array([1.0, 5.0, 3.0])


def simulate(n_rows, seed):
    """Journeys of the additive hazard: each term is a source of its own, the first event converts."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_rows):
        n = rng.integers(1, 5)
        at = np.sort(np.concatenate(([0.0], rng.uniform(0, 20, n - 1))))
        channel = rng.integers(0, 3, n)
        brought = np.where(rng.random(n) < 1 - np.exp(-STRENGTH[channel]), 1.0, np.inf)
        # an arrival time of the source, given that it has one within its total mass
        mass = -np.log1p(-rng.random(n) * -np.expm1(-STRENGTH[channel]))
        with np.errstate(divide="ignore", invalid="ignore"):
            delay = -MEAN_AGE_DAYS[channel] * np.log1p(-mass / STRENGTH[channel])
        when = np.append(np.where(brought < np.inf, at + delay, np.inf), rng.exponential(1 / BASE_PER_DAY))
        end, watched = when.min(), rng.uniform(25, 40)
        converted = end <= watched
        end = min(end, watched)
        keep = at <= end
        rows.append((channel[keep], at[keep], end, converted))
    lengths = [len(row[0]) for row in rows]
    converted = np.array([row[3] for row in rows])
    return JourneyTable(
        channels=("search", "social", "none"),
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        channel=np.concatenate([row[0] for row in rows]),
        conversions=converted,
        nulls=~converted,
        value_usd_micros=converted * 50_000_000,
        touch_hour=24 * np.concatenate([row[1] for row in rows]),
        end_hour=24 * np.array([row[2] for row in rows]),
    )


@pytest.mark.statistical
def test_known_parameters_are_found_again():
    table = simulate(20_000, seed=1)
    found = fit_hazard(table)
    conversions = table.conversions.sum()
    assert abs(found.baseline_per_day / BASE_PER_DAY - 1) < 0.1
    np.testing.assert_allclose(found.strength, STRENGTH, atol=0.012)
    np.testing.assert_allclose(found.mean_age_days[:2], MEAN_AGE_DAYS[:2], rtol=0.25)
    answer = attribute(table, ["data_driven"])[0]["data_driven"].as_dict()
    watched = np.repeat(table.end_hour, table.lengths) - table.touch_hour
    grown = STRENGTH[table.channel] * -np.expm1(-watched / 24 / MEAN_AGE_DAYS[table.channel])
    true = np.bincount(table.channel, grown)  # the expected conversions each channel's touches brought
    assert abs(answer["search"]["conversions"] - true[0]) < 4 * np.sqrt(true[0]) + 0.02 * conversions
    assert abs(answer["social"]["conversions"] - true[1]) < 4 * np.sqrt(true[1]) + 0.02 * conversions
    assert answer["none"]["conversions"] < 0.02 * conversions
    assert answer["(baseline)"]["conversions"] > 0.3 * conversions


def slow_log_likelihood(table, rate, strength, decay):
    total = 0.0
    for row in range(table.n_rows):
        touches = range(table.offsets[row], table.offsets[row + 1])
        age = {i: table.end_hour[row] - table.touch_hour[i] for i in touches}
        k = {i: table.channel[i] for i in touches}
        grown = rate * max(age.values()) + sum(
            strength[k[i]] * (1 - np.exp(-decay[k[i]] * age[i])) for i in touches
        )
        hazard = rate + sum(strength[k[i]] * decay[k[i]] * np.exp(-decay[k[i]] * age[i]) for i in touches)
        total += table.conversions[row] * np.log(hazard) - (table.conversions[row] + table.nulls[row]) * grown
    return total


def test_the_likelihood_is_at_its_top_and_equals_a_slow_one():
    table = random_table(300, 3, seed=2, timed=True)
    fit = _Fit(table)
    point, worth = fit.best(Counts.of(table), fit.start)
    assert worth == pytest.approx(slow_log_likelihood(table, *fit.parameters(point)), rel=1e-10)
    lows, highs = np.array(fit.bounds).T
    for i in range(point.size):
        for step in (-0.05, 0.05):
            moved = point.copy()
            moved[i] = np.clip(moved[i] + step * (1 if i > 3 else moved[i]), lows[i], highs[i])
            assert slow_log_likelihood(table, *fit.parameters(moved)) <= worth + 1e-6


def test_credits_add_up_and_equal_the_terms_of_the_hazard():
    table = random_table(300, 3, seed=4, timed=True)
    found = fit_hazard(table)
    rate, decay = found.baseline_per_day / 24, 1 / (24 * found.mean_age_days)
    expected = np.zeros((2, 4))
    for row in np.flatnonzero(table.conversions):
        touches = np.arange(table.offsets[row], table.offsets[row + 1])
        k = table.channel[touches]
        terms = (
            found.strength[k]
            * decay[k]
            * np.exp(-decay[k] * (table.end_hour[row] - table.touch_hour[touches]))
        )
        for total, what in zip(expected, (1.0, table.value_usd[row]), strict=True):
            np.add.at(total, k, what * terms / (rate + terms.sum()))
            total[-1] += what * rate / (rate + terms.sum())
    credit = attribute(table, ["data_driven"])[0]["data_driven"].credits
    np.testing.assert_allclose(credit.conversions, expected[0], atol=1e-3)
    np.testing.assert_allclose(credit.value_usd, expected[1], atol=0.1)
    assert credit.conversions.sum() == pytest.approx(table.conversions.sum(), abs=1e-9)
    assert credit.value_usd.sum() == pytest.approx(table.value_usd.sum(), abs=1e-9)


def test_what_cannot_be_fitted_is_refused():
    table = random_table(40, 2, seed=0, timed=True)
    one = table.conversions > 0
    for change, reason in (
        ({"nulls": table.nulls * 0}, "never converted"),
        ({"conversions": one * 0, "value_usd_micros": one * 0}, "lasted some time"),
    ):
        fields = {name: getattr(table, name) for name in table.__dataclass_fields__}
        with pytest.raises(Unanswerable, match=reason):
            fit_hazard(JourneyTable(**{**fields, **change}))
    with pytest.raises(Unanswerable, match="time of each touch"):
        fit_hazard(table_of_paths(["a"], [1], [1]))
