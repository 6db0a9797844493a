"""One contract for every policy: it proposes for all worlds, within sense, and repeats itself."""

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy, PacingPolicy, RandomPolicy
from gaelp.agents.feedback import PidPolicy, PidSettings, TargetCpaPolicy
from gaelp.agents.policy import Brief
from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES, Channel
from gaelp.observation.view import View

POLICIES = {
    "random": RandomPolicy,
    "fixed": FixedPolicy,
    "pacing": PacingPolicy,
    "pid": PidPolicy,
    "target_cpa": TargetCpaPolicy,
}


def brief(n_worlds=3, seeds=(11, 12, 13)):
    return Brief(
        n_worlds=n_worlds,
        daily_budget_usd=np.full(n_worlds, 50.0),
        reference_price_usd=np.linspace(0.5, 5.0, N_LINES),
        attributed_value_usd=np.ones(N_LINES),
        traffic=np.ones((n_worlds, 168)),
        ltv_usd=180.0,
        cac_target_usd=100.0,
        seed=7,
        world_seeds=np.array(seeds[:n_worlds]),
    )


def view(hour=0, n_worlds=3, spend=0.0):
    zero = np.zeros((n_worlds, N_LINES))
    return View(
        hour=hour,
        hours_left=720 - hour,
        hour_of_week=hour % 168,
        day_of_year=hour // 24,
        spend_usd=zero + spend / N_LINES,
        cost_usd=zero + spend / N_LINES,
        spend_today_usd=np.full(n_worlds, spend),
        spend_month_usd=np.full(n_worlds, spend),
        clicks=zero,
        impressions=zero,
        conversions=zero,
        impression_share=zero + np.nan,
        list_size=zero + np.nan,
        visits=np.zeros((n_worlds, len(Channel))),
        bid_usd=zero,
        target_cpa_usd=zero,
        daily_budget_usd=np.full(n_worlds, 50.0),
    )


@pytest.mark.contract
@pytest.mark.parametrize("name", POLICIES)
def test_check_policy(name):
    policy = POLICIES[name]()
    with pytest.raises(BadInput, match="must see a brief"):
        policy.act(view())
    runs = []
    for _ in range(2):
        policy.start(brief())
        runs.append([policy.act(view(hour)) for hour in range(30)])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first.bid_usd, second.bid_usd)
        assert first.bid_usd.shape == (3, N_LINES)
        assert (first.bid_usd >= 0).all()
        assert np.isfinite(first.bid_usd).all()
        np.testing.assert_array_equal(first.daily_budget_usd, 50.0)
    alone = POLICIES[name]()
    alone.start(brief(1))
    for hour in range(30):
        np.testing.assert_array_equal(alone.act(view(hour, 1)).bid_usd[0], runs[0][hour].bid_usd[0])


def test_random_spreads_log_uniformly_between_a_quarter_and_four_times_the_price():
    policy = RandomPolicy()
    policy.start(brief())
    ratio = np.concatenate([policy.act(view(h)).bid_usd / brief().reference_price_usd for h in range(200)])
    logs = np.log(ratio) / np.log(4.0)
    assert abs(logs).max() <= 1.0
    assert abs(logs.mean()) < 4 * np.sqrt(1 / 3 / logs.size)
    assert abs(logs.var() - 1 / 3) < 0.02


def test_pacing_raises_its_bids_while_it_underspends_and_lowers_them_after():
    policy = PacingPolicy()
    policy.start(brief())
    first = policy.act(view(0)).bid_usd[0, 0]
    for hour in range(1, 10):
        low = policy.act(view(hour, spend=0.0)).bid_usd[0, 0]
    for hour in range(10, 20):
        high = policy.act(view(hour, spend=20.0)).bid_usd[0, 0]
    assert low > first > 0
    assert high < low


def test_pid_raises_the_multiplier_while_spend_is_behind_its_plan_and_keeps_its_integral_in_bounds():
    policy = PidPolicy(settings=PidSettings(kp=1.0, ki=0.5, highest=3.0))
    policy.start(brief())
    first = policy.act(view(0)).bid_usd[0, 0]
    behind = [policy.act(view(hour)).bid_usd[0, 0] for hour in range(1, 24)]
    assert behind[0] > first
    assert np.diff(behind).min() >= 0
    np.testing.assert_allclose(behind[-1], 3.0 * policy._base[0, 0])
    # wound up no further than its bound: a day that is ahead brings it down at once
    ahead = policy.act(view(25, spend=50.0)).bid_usd[0, 0]
    assert ahead < behind[-1]


def test_target_cpa_moves_its_target_once_a_day_by_at_most_a_fifth():
    policy = TargetCpaPolicy(target_usd=20.0, gain=1.0)
    policy.start(brief())
    targets = [policy.act(view(hour)).target_cpa_usd[0, 0] for hour in range(49)]
    assert set(np.round(targets[:24], 9)) == {20.0}
    assert set(np.round(targets[24:48], 9)) == {24.0}
    assert targets[48] == pytest.approx(28.8)
    proposed = policy.act(view(50))
    assert (proposed.bid_usd[:, :-1] == 0).all()
    assert (proposed.target_cpa_usd[:, -1] == 0).all()
    policy.start(brief())
    spent = [policy.act(view(hour, spend=50.0 / 24)).target_cpa_usd[0, 0] for hour in range(25)]
    assert spent[-1] < 20.0, "a budget spent to the last cent may have been spent too early"


def test_a_budget_out_of_reach_does_not_drive_the_target_away():
    policy = TargetCpaPolicy(target_usd=40.0, gain=1.0)
    policy.start(brief())
    for hour in range(24 * 60):
        proposed = policy.act(view(hour))
    assert proposed.target_cpa_usd.max() == pytest.approx(10.0 * 100.0)
