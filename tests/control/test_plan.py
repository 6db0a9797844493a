"""Plans spend what they may and no more, deviation reads as it says, and shares move where value is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gaelp.control.pacing import (
    Plan,
    band_guard,
    marginal_value_per_usd,
    plan_deviation,
    plan_rmse,
    reallocate,
    share_out,
    spend_plan,
)
from gaelp.core.errors import BadInput
from gaelp.market import tables

WEEK = tables.hour_of_week()
some = st.one_of(st.just(0.0), st.floats(1e-3, 1e6))


def flat(days=2, day_usd=24.0, n_worlds=1):
    return Plan(np.full((n_worlds, days, 24), day_usd / 24.0))


def test_a_plan_follows_traffic_and_spends_every_days_budget():
    budget = np.array([100.0, 7.0])
    plan = spend_plan(np.tile(WEEK, (2, 1)), budget, days=9, start_hour_of_week=48)
    assert np.allclose(plan.daily_usd, budget[:, None])
    wednesday = WEEK[48:72]
    assert np.allclose(plan.hourly_usd[1, 0], 7.0 * wednesday / wednesday.sum())
    assert np.allclose(plan.hourly_usd[:, 0], plan.hourly_usd[:, 7])
    assert np.allclose(plan.until(8, 24), budget) and (plan.until(8, 0) == 0.0).all()


@settings(deadline=None)
@given(
    traffic=arrays(np.float64, (3, 168), elements=some),
    daily=arrays(np.float64, (3, 40), elements=some),
    monthly=arrays(np.float64, 3, elements=some),
    turn=st.integers(1, 39),
)
def test_a_plan_keeps_daily_and_monthly_budgets_whatever_the_traffic(traffic, daily, monthly, turn):
    months = (np.arange(40) >= turn).astype(np.int64)
    plan = spend_plan(traffic, daily, days=40, monthly_budget_usd=monthly, month_of_day=months)
    assert (plan.hourly_usd >= 0.0).all() and np.isfinite(plan.hourly_usd).all()
    assert (plan.daily_usd <= daily * (1 + 1e-9)).all()
    for month in (0, 1):
        assert (plan.daily_usd[:, months == month].sum(axis=1) <= monthly * (1 + 1e-9)).all()


def test_a_months_budget_goes_to_days_with_traffic_and_is_spent():
    monthly = np.array([1500.0])
    plan = spend_plan(WEEK[None], np.array([60.0]), days=28, monthly_budget_usd=monthly)
    assert plan.daily_usd.sum() == pytest.approx(1500.0)
    assert plan.daily_usd.max() <= 60.0 + 1e-9
    of_day = np.tile(WEEK.reshape(7, 24).sum(axis=1), 4)
    assert np.corrcoef(plan.daily_usd[0], of_day)[0, 1] > 0.8


def level_by_bisection(total, weight, most):
    """A second way to share out: search the level that spends the total."""
    low, high = 0.0, 1e12
    for _ in range(200):
        middle = (low + high) / 2.0
        low, high = (middle, high) if np.minimum(most, middle * weight).sum() < total else (low, middle)
    return np.minimum(most, high * weight)


@settings(deadline=None)
@given(
    total=st.floats(0.0, 1e4),
    weight=arrays(np.float64, 6, elements=st.floats(0.01, 100.0)),
    most=arrays(np.float64, 6, elements=st.one_of(st.just(0.0), st.floats(0.01, 1e4))),
)
def test_sharing_out_is_water_filling(total, weight, most):
    share = share_out(np.array([total]), weight[None], most[None])[0]
    assert share.sum() == pytest.approx(min(total, most.sum()), rel=1e-9, abs=1e-9)
    if total < 0.999 * most.sum():
        assert np.allclose(share, level_by_bisection(total, weight, most), rtol=1e-6, atol=1e-6)


def test_deviation_reads_as_it_says():
    plan = flat(days=2)
    on_plan = plan.hourly_usd.copy()
    assert plan_deviation(on_plan, plan).tolist() == [0.0] == plan_rmse(on_plan, plan).tolist()
    assert plan_deviation(np.zeros_like(on_plan), plan).tolist() == [0.5]
    assert plan_rmse(np.zeros_like(on_plan), plan).tolist() == [1.0]
    late = np.zeros_like(on_plan)
    late[:, :, 12:] = 2.0  # the whole budget in half of the hours: half of it at the wrong time
    assert plan_deviation(late, plan).tolist() == [0.5]
    morning = Plan(np.where(np.arange(24) < 12, 2.0, 0.0) * np.ones((1, 2, 1)))
    assert plan_deviation(late, morning).tolist() == [1.0]
    nothing = flat(day_usd=0.0)
    assert plan_deviation(late, nothing).tolist() == [1.0]
    assert plan_deviation(nothing.hourly_usd, nothing).tolist() == [0.0]
    assert np.isnan(plan_rmse(late, nothing)).all()


@given(
    spend=arrays(np.float64, (2, 3, 24), elements=some),
    planned=arrays(np.float64, (2, 3, 24), elements=some),
    scale=st.floats(0.01, 100.0),
)
def test_deviation_does_not_depend_on_the_size_of_the_account(spend, planned, scale):
    once = plan_deviation(spend, Plan(planned))
    assert (once >= 0.0).all()
    assert np.allclose(plan_deviation(spend * scale, Plan(planned * scale)), once)


def test_the_guard_is_open_on_plan_and_closed_beyond_its_band():
    plan = flat(n_worlds=5)
    spent = np.array([0.0, 12.0, 13.2, 14.4, np.nan])  # noon: 12 planned until 12:00, band 2.4
    guard = band_guard(spent, plan, day=1, hour=11, band=0.1)
    assert np.allclose(guard, [1.0, 1.0, 0.5, 0.0, 0.0])
    assert band_guard(spent, plan, day=1, hour=11, band=0.0).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


@given(spent=arrays(np.float64, 4, elements=st.floats(allow_nan=True)), band=st.floats(0.0, 1.0))
def test_the_guard_is_a_multiplier_whatever_was_spent(spent, band):
    for plan in (flat(n_worlds=4), flat(n_worlds=4, day_usd=0.0)):
        guard = band_guard(spent, plan, day=0, hour=5, band=band)
        assert ((guard >= 0.0) & (guard <= 1.0)).all()


def test_the_guard_keeps_a_greedy_day_near_its_band():
    plan, spent = flat(days=1), np.zeros(1)
    for hour in range(24):  # an hour that would spend five times its plan at full bids
        spent += 5.0 * band_guard(spent, plan, 0, hour, band=0.1)
        # one hour let in within the band may spend past it, in part: its multiplier has fallen by then
        assert spent[0] <= plan.until(0, hour + 1)[0] + 2.4 + 2.6


@pytest.mark.statistical
def test_the_marginal_value_of_a_known_response_is_recovered():
    generator = np.random.default_rng(0)
    power, scale = np.array([0.3, 0.6, 0.9]), np.array([5.0, 2.0, 1.0])
    spend = np.exp(generator.normal(3.0, 0.8, (200, 60, 3)))
    value = scale * spend**power * np.exp(generator.normal(0.0, 0.1, spend.shape))
    slope = marginal_value_per_usd(spend, value, weight=1e-9) * spend.sum(axis=1) / value.sum(axis=1)
    error = slope.std(axis=0) / np.sqrt(200)
    assert (np.abs(slope.mean(axis=0) - power) < 4 * error).all() and (error < 0.002).all()


def test_marginal_values_without_data_are_the_prior_or_nothing():
    spend = np.full((1, 5, 2), 10.0) * [1.0, 0.0]
    value = np.full((1, 5, 2), 30.0) * [1.0, 0.0]
    assert np.allclose(marginal_value_per_usd(spend, value, elasticity=0.5), [[1.5, 0.0]])


hostile = st.one_of(st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300]), st.floats(0.0, 10.0))


@given(
    raw=arrays(np.float64, (3, 6), elements=st.floats(0.01, 1.0)),
    value=arrays(np.float64, (3, 6), elements=hostile),
    most_move=st.floats(0.0, 1.0),
    least=st.sampled_from([0.0, 0.01, 0.1]),
)
def test_shares_stay_shares_and_move_no_further_than_they_may(raw, value, most_move, least):
    share = least + (1.0 - 6 * least) * raw / raw.sum(axis=1, keepdims=True)
    moved = reallocate(share, value, most_move=most_move, least_share=least)
    assert np.allclose(moved.sum(axis=1), 1.0)
    assert (moved >= least - 1e-9).all()
    assert (np.abs(moved - share) <= most_move + 1e-9).all()


def test_shares_find_the_split_with_equal_marginal_returns():
    """Two channels worth a x sqrt(spend): the best split is in proportion to a squared."""
    scale, share = np.array([[3.0, 2.0], [1.0, 1.0]]), np.array([[0.1, 0.9], [0.8, 0.2]])
    for _ in range(400):
        share = reallocate(share, scale * 0.5 / np.sqrt(share), rate=0.2, most_move=0.05)
    assert np.allclose(share, scale**2 / (scale**2).sum(axis=1, keepdims=True), atol=0.01)


def test_without_any_value_nothing_moves_and_a_closed_channel_can_come_back():
    share = np.array([[1.0, 0.0]])
    assert np.array_equal(reallocate(share, np.zeros((1, 2))), share)
    for _ in range(100):
        share = reallocate(share, np.array([[1.0, 2.0]]))
    assert share[0, 1] > 0.9


@pytest.mark.parametrize("share", [[[0.5, 0.6]], [[1.5, -0.5]]])
def test_shares_that_are_none_are_refused(share):
    with pytest.raises(BadInput, match="share"):
        reallocate(np.array(share), np.ones((1, 2)))
