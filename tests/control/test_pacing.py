"""The dual pacer spends the plan, follows traffic and keeps its cost limit on markets with known answers.

The synthetic market spends `strength x multiplier x traffic` USD in an hour, so the multiplier that spends
the budget is known: budget / (strength x traffic of the day).
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp.control.pacing import DualPacer, PacingSettings
from gaelp.market import tables

BUDGET = 100.0
WEEK = tables.hour_of_week()


def spend(strength, *, days=9, limit=np.inf, cost=np.inf, noise=0.0, traffic=WEEK, seed=0):
    """Hourly spend (days x 24, n) of a pacer per strength; `cost` is USD per conversion of the market."""
    strength = np.atleast_1d(np.asarray(strength, float))
    n = strength.size
    generator = np.random.default_rng(seed)
    pacer = DualPacer(PacingSettings(), np.tile(traffic, (n, 1)), np.full(n, BUDGET), limit)
    spent = np.zeros((24 * days, n))
    last = np.zeros(n)
    for hour in range(24 * days):
        multiplier = pacer.step(hour % 168, last, last / cost)
        wobble = np.exp(noise * generator.standard_normal(n) - noise**2 / 2.0)
        last = spent[hour] = strength * multiplier * traffic[hour % 168] * wobble
    return spent


@settings(deadline=None, max_examples=40)
@given(strength=st.floats(-1.5, 4.5).map(np.exp))
def test_the_plan_is_spent_to_98_percent_from_the_third_day_on(strength):
    spent = spend(strength)[48:].sum()
    assert 0.98 * 7 * BUDGET <= spent <= 1.02 * 7 * BUDGET


def test_the_plan_is_spent_in_a_noisy_market_too():
    spent = spend(np.geomspace(0.25, 50.0, 12), noise=0.3, days=23)[48:].sum(axis=0) / (21 * BUDGET)
    assert (spent > 0.95).all() and (spent < 1.05).all()
    assert spent.mean() > 0.98


def test_spend_follows_the_traffic_of_the_day():
    spent = spend(4.0, days=14)[168:, 0].reshape(7, 24)
    plan = BUDGET * (WEEK / WEEK.reshape(7, 24).sum(axis=1).repeat(24)).reshape(7, 24)
    assert abs(np.cumsum(spent - plan, axis=1)).max() < 0.06 * BUDGET


def test_the_multiplier_finds_the_known_answer():
    strength = 3.0
    pacer = DualPacer(PacingSettings(), np.ones((1, 168)), np.array([BUDGET]), np.inf)
    last = np.zeros(1)
    for hour in range(24 * 10):
        last = strength * pacer.step(hour % 168, last, np.zeros(1))
    assert pacer.multiplier[0] == pytest.approx(BUDGET / (24 * strength), rel=0.03)


def test_worlds_are_paced_apart():
    together = spend([0.5, 5.0, 50.0])
    for i, strength in enumerate((0.5, 5.0, 50.0)):
        assert np.array_equal(spend(strength)[:, 0], together[:, i])


def test_a_market_that_cannot_absorb_the_budget_meets_the_highest_multiplier():
    pacer = DualPacer(PacingSettings(highest=3.0), np.ones((1, 168)), np.array([BUDGET]), np.inf)
    last = np.zeros(1)
    for hour in range(24 * 4):
        multiplier = pacer.step(hour % 168, last, np.zeros(1))
        assert multiplier[0] <= 3.0
        last = 0.01 * multiplier
    assert multiplier[0] == 3.0


def test_a_cheap_enough_market_is_not_held_back_by_the_cost_limit():
    spent = spend([1.0, 4.0, 20.0], days=21, limit=1.0, cost=0.6)[48:].sum(axis=0)
    assert (spent >= 0.97 * 19 * BUDGET).all()


def test_a_market_at_twice_the_cost_limit_is_left_within_weeks():
    """Each conversion costs twice the limit at any bid, so the right spend is next to nothing."""
    spent = spend([1.0, 4.0, 20.0], days=30, limit=1.0, cost=2.0).reshape(30, 24, 3).sum(axis=1)
    assert (spent[-5:].mean(axis=0) < 0.25 * BUDGET).all()
