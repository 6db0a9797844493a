"""The campaign as an environment: Gymnasium's and PettingZoo's own checks, seeds, continuing, ending."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test, parallel_seed_test

import gaelp  # noqa: F401 (registers the environment)
from gaelp.core.errors import BadInput, HeldOutError
from gaelp.core.words import N_LINES
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.worlds.env import CampaignParallelEnv

MARKET = "markets/family_safety.toml"
SMALL = {"market": MARKET, "users": 200, "days": 2}
STILL = np.zeros(N_LINES, np.float32)


def make(**options):
    return gymnasium.make("gaelp/Campaign-v0", **{**SMALL, **options})


def vector(num_envs, **options):
    return gymnasium.make_vec(
        "gaelp/Campaign-v0",
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        **{**SMALL, **options},
    )


def played(env, seed, steps, action=STILL):
    """Observations and rewards of the first hours."""
    seen = [env.reset(seed=seed)[0]]
    rewards = []
    for _ in range(steps):
        observation, reward, *_ = env.step(action)
        seen.append(observation)
        rewards.append(reward)
    return np.array(seen), np.array(rewards)


def test_gymnasiums_own_check_passes_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make().unwrapped)


def test_pettingzoos_own_checks_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(CampaignParallelEnv(**SMALL), num_cycles=60)
        parallel_seed_test(lambda: CampaignParallelEnv(**SMALL), num_cycles=20)


def test_a_seed_names_the_people_and_everything_after():
    env = make()
    first, rewards = played(env, 5, 30)
    again, same = played(env, 5, 30)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(rewards, same)
    other, _ = played(env, 6, 30)
    assert not np.array_equal(first, other)


def test_without_a_seed_the_people_live_on():
    env = make(days=1)
    played(env, 5, 24)
    market = env.unwrapped.campaign.market
    hour = market.hour
    people = market.pop.people.copy()
    observation, _ = env.reset()
    assert env.unwrapped.campaign.market is market
    assert market.hour == hour
    assert (market.pop.people == people).all()
    assert observation[CAMPAIGN_FEATURES.index("flight_left")] == 1.0


def test_a_campaign_left_in_the_middle_of_a_day_is_silent_until_midnight():
    env = make()
    played(env, 5, 7)
    env.reset()
    assert env.unwrapped.campaign.market.hour % 24 == 0


def test_a_campaign_ends_by_truncation_and_must_be_reset():
    env = make(days=1)
    env.reset(seed=1)
    ends = [env.step(STILL)[2:4] for _ in range(24)]
    assert ends == [(False, False)] * 23 + [(False, True)]
    with pytest.raises(BadInput, match="over"):
        env.unwrapped.step(STILL)


def test_worlds_side_by_side_live_as_they_would_alone():
    side_by_side, rewards = played(vector(3), 9, 30, np.zeros((3, N_LINES), np.float32))
    fewer, same = played(vector(2), 9, 30, np.zeros((2, N_LINES), np.float32))
    np.testing.assert_array_equal(side_by_side[:, :2], fewer)
    np.testing.assert_array_equal(rewards[:, :2], same)
    alone, only = played(make(), 9, 30)
    np.testing.assert_array_equal(side_by_side[:, 0], alone)
    np.testing.assert_array_equal(rewards[:, 0], only)


def test_the_vector_resets_in_the_step_after_the_end():
    env = vector(2, days=1)
    env.reset(seed=3)
    action = np.zeros((2, N_LINES), np.float32)
    for _ in range(24):
        _, _, terminated, truncated, _ = env.step(action)
    assert truncated.all()
    assert not terminated.any()
    observation, reward, _, truncated, _ = env.step(action)
    assert not truncated.any()
    assert (reward == 0).all()
    assert (observation[:, CAMPAIGN_FEATURES.index("flight_left")] == 1.0).all()


def test_bidding_nothing_earns_nothing_and_bidding_costs():
    env = vector(8, users=1_000, days=2)
    env.reset(seed=2)
    env.unwrapped.campaign.daily_budget_usd = None
    low = np.full((8, N_LINES), -1.0, np.float32)
    high = np.ones((8, N_LINES), np.float32)
    spent = {}
    for name, action in (("low", low), ("high", high)):
        env.reset(seed=2)
        spent[name] = sum(env.step(action)[4]["spend_usd"].sum() for _ in range(24))
    assert spent["high"] > spent["low"] > 0
    _, rewards = played(make(daily_budget_usd=0.0), 2, 24)
    np.testing.assert_allclose(rewards, 0.0, atol=1e-9)


def test_the_reward_is_value_less_spend_in_daily_budgets():
    env = make(reward="attributed", users=500)
    env.reset(seed=4)
    budget = env.unwrapped.campaign._budget[0]
    for _ in range(30):
        _, reward, _, _, info = env.step(STILL)
        assert reward == pytest.approx((info["value_usd"] - info["spend_usd"]) / budget)


def test_hostile_actions_are_the_gates_to_refuse():
    env = make()
    env.reset(seed=4)
    bad = STILL.copy()
    bad[0], bad[1] = np.nan, np.inf
    _, reward, _, _, info = env.unwrapped.step(bad)
    assert np.isfinite(reward)
    assert info["denials"] >= 2


def test_seats_play_in_one_world_against_each_other():
    # with money enough that nobody has to stop
    env = CampaignParallelEnv(**{**SMALL, "users": 1_000, "daily_budget_usd": 1e4})
    env.reset(seed=3)
    calm = {agent: STILL for agent in env.agents}
    eager = {**calm, "seat_1": STILL + 1.0}
    wins = []
    for actions in (calm, eager):
        env.reset(seed=3)
        before = env.campaign.market.books.report.copy()
        for _ in range(6):
            env.step(actions)
        wins.append((env.campaign.market.books.report - before)[0, :, :, 2].sum(axis=1))
    assert wins[1][1] > wins[0][1]
    assert wins[1][0] < wins[0][0], "what one seat wins the other loses"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"split": "test"}, HeldOutError),
        ({"days": 0}, BadInput),
        ({"users": 0}, BadInput),
        ({"reward": "profit"}, BadInput),
    ],
)
def test_what_cannot_be_played_is_refused(options, error):
    with pytest.raises(error):
        make(**options)


@pytest.mark.parametrize("order", ["import gaelp, gymnasium", "import gymnasium, gaelp"])
def test_the_environment_is_known_whichever_is_imported_first(order):
    code = f"{order}\nassert 'gaelp/Campaign-v0' in gymnasium.registry"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_gaelp_imports_nothing_heavy():
    code = "import sys, gaelp\nassert not {'gymnasium', 'numba', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_misuse_is_named():
    env = make().unwrapped
    with pytest.raises(BadInput, match="reset first"):
        env.step(STILL)
    env.reset(seed=1)
    with pytest.raises(BadInput, match="worlds by lines"):
        env.step(np.zeros(3))
    with pytest.raises(BadInput, match="CampaignParallelEnv"):
        make(n_seats=2)
    with pytest.raises(BadInput, match="2 entries"):
        vector(2).reset(seed=[])


def test_actions_are_clipped_and_mail_is_on_or_off():
    env = make(users=500)
    found = {}
    for name, mail, size in (("still", 0.0, 0.0), ("off", -1.0, 0.0), ("large", 1.0, 9.0), ("one", 1.0, 1.0)):
        env.reset(seed=4)
        action = np.full(N_LINES, size, np.float32)
        action[-1] = mail
        before = env.unwrapped.campaign.market.books.report.copy()
        for _ in range(24):
            env.unwrapped.step(action)
        found[name] = (env.unwrapped.campaign.market.books.report - before)[0, 0, :, 3]
    assert found["still"][-1] > 0
    assert found["off"][-1] == 0
    np.testing.assert_array_equal(found["large"], found["one"])
