"""Actions of the environment as a policy, and models of other libraries flown by name."""

import importlib

import gymnasium
import numpy as np
import pytest

import gaelp  # noqa: F401 (registers the environment)
from gaelp.agents.actions import ActionPolicy
from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES
from gaelp.market.file import load
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import tuned_for

MARKET = "markets/family_safety.toml"
FILE = load(MARKET)


class Says:
    """An actor that remembers what it saw and always acts the same."""

    def __init__(self, action):
        self.action, self.seen = np.full(N_LINES, action), []

    def act(self, observation):
        self.seen.append(observation.copy())
        return self.action


def flown(policy, n_worlds=2):
    market = make_market(split_worlds(FILE, "train", n_worlds), 300)
    traffic = warm_up(market)
    return fly(market, policy, days=2, traffic=traffic)


def acting(action):
    actors = []

    def new():
        actors.append(Says(action))
        return actors[-1]

    return ActionPolicy(tuned_for(FILE).pacing(), new), actors


def test_to_do_nothing_is_dual_pacing():
    policy, _ = acting(0.0)
    assert (flown(policy).spend_micros == flown(tuned_for(FILE).pacing()).spend_micros).all()


def test_an_actor_sees_what_the_environment_shows_and_acts_as_there():
    env = gymnasium.make("gaelp/Campaign-v0", market=MARKET, users=300, days=2)
    observation, _ = env.reset(seed=5)
    worlds = env.unwrapped.campaign.market.worlds
    seen = [observation]
    for _ in range(47):
        seen.append(env.step(np.full(N_LINES, 0.5, np.float32))[0])
    policy, actors = acting(0.5)
    market = make_market(list(worlds), 300)
    fly(market, policy, days=2, traffic=warm_up(market))
    assert np.array_equal(np.array(actors[0].seen), np.array(seen))


@pytest.mark.parametrize("algorithm", ["PPO", "RecurrentPPO"])
def test_a_saved_model_flies_by_its_path_world_by_world(algorithm, tmp_path):
    library = importlib.import_module("stable_baselines3" if algorithm == "PPO" else "sb3_contrib")
    env = gymnasium.make("gaelp/Campaign-v0", market=MARKET, users=100, days=1)
    policy = "MlpPolicy" if algorithm == "PPO" else "MlpLstmPolicy"
    model = getattr(library, algorithm)(policy, env, n_steps=8, batch_size=8, seed=1, device="cpu")
    path = tmp_path / "model.zip"
    model.save(path)
    make = make_policy(str(path), FILE)
    assert make().name == "model"
    together, alone = flown(make()), flown(make(), n_worlds=1)
    assert (together.spend_micros[:1] == alone.spend_micros).all()
    assert (together.spend_micros != flown(tuned_for(FILE).pacing()).spend_micros).any()


def test_files_that_are_no_model_are_refused(tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(BadInput, match=r"model\.save"):
        make_policy(str(path), FILE)
    with pytest.raises(BadInput, match="exists"):
        make_policy(str(tmp_path / "absent.zip"), FILE)
