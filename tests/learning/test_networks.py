"""Networks: distributions against torch's own, masks, memory, statistics, and files that run nothing."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal

from gaelp.agents.networks import CORES, ActorCritic, NetworkShape
from gaelp.core.errors import BadInput, MismatchError
from gaelp.observation.features import Feature, FeatureTable

TABLE = FeatureTable("toy", tuple(Feature(name, "1", "none", "toy") for name in ("a", "b", "may_0", "may_1")))
MIXED = {"n_actions": 3, "n_choices": 2, "allowed": ("may_0", "may_1")}


@pytest.fixture
def observation():
    found = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    found[:, 2:] = 1.0
    return found


@pytest.mark.golden
@pytest.mark.parametrize("core", CORES)
def test_log_probability_and_entropy_are_those_of_torchs_distributions(core, observation):
    network = ActorCritic(TABLE, NetworkShape(core=core, **MIXED), seed=3)
    heads, _ = network(torch.from_numpy(observation)[:, None], network.first_state(50))
    action, logp, value, _ = network.act(observation, network.first_state(50), np.random.default_rng(1))
    normal, choice = Normal(heads.mean, heads.log_std.exp()), Categorical(logits=heads.logits)
    numbers = torch.from_numpy(action)[:, None]
    theirs = normal.log_prob(numbers[..., :3]).sum(-1) + choice.log_prob(numbers[..., 3])
    assert np.abs(theirs.detach().numpy()[:, 0] - logp).max() < 1e-5
    torch.testing.assert_close(heads.entropy(), normal.entropy().sum(-1) + choice.entropy())
    assert value.shape == (50, 2)


@pytest.mark.statistical
def test_actions_are_drawn_from_the_distribution_they_are_scored_by():
    network = ActorCritic(TABLE, NetworkShape(core="mlp", **MIXED))
    with torch.no_grad():
        network.policy.bias.copy_(torch.tensor([1.0, 0.0, -1.0, 0.0, np.log(3.0)]))
    n = 40_000
    action, *_ = network.act(np.tile([0, 0, 1, 1], (n, 1)), network.first_state(n), np.random.default_rng(0))
    std = np.exp(-0.5)
    assert np.abs(action[:, :3].mean(axis=0) - [1.0, 0.0, -1.0]).max() < 4 * std / n**0.5
    assert np.abs(action[:, :3].std(axis=0) - std).max() < 4 * std / (2 * n) ** 0.5
    assert abs(action[:, 3].mean() - 0.75) < 4 * (0.75 * 0.25 / n) ** 0.5


def test_a_choice_that_is_not_allowed_is_never_taken_and_costs_no_entropy(observation):
    network = ActorCritic(TABLE, NetworkShape(core="mlp", **MIXED))
    observation[:, 3] = 0.0
    generator = np.random.default_rng(0)
    for _ in range(20):
        action, *_ = network.act(observation, network.first_state(50), generator)
        assert (action[:, 3] == 0.0).all()
    heads, _ = network(torch.from_numpy(observation)[:, None], network.first_state(50))
    entropy = heads.entropy() - Normal(heads.mean, heads.log_std.exp()).entropy().sum(-1)
    assert entropy.abs().max() < 1e-6
    observation[7, 2:] = 0.0
    with pytest.raises(BadInput, match=r"observation\[7\]"):
        network.act(observation, network.first_state(50), generator)


def test_a_missing_feature_is_named():
    network = ActorCritic(TABLE, NetworkShape(n_actions=1))
    observation = np.zeros((3, 4), np.float32)
    observation[2, 1] = np.nan
    with pytest.raises(BadInput, match=r"observation\[2, b\]` was nan"):
        network.act(observation, network.first_state(3))
    with pytest.raises(BadInput, match="shape"):
        network.act(observation[:, :3], network.first_state(3))


@pytest.mark.parametrize("core", CORES)
def test_step_by_step_a_sequence_reads_as_it_does_at_once(core, observation):
    network = ActorCritic(TABLE, NetworkShape(core=core, n_actions=2), seed=1)
    rows = observation.reshape(5, 10, 4)
    heads, last = network(torch.from_numpy(rows), network.first_state(5))
    state = network.first_state(5)
    for t in range(10):
        _, _, value, state = network.act(rows[:, t], state)
        assert np.abs(value - heads.value[:, t].detach().numpy()).max() < 1e-5
    torch.testing.assert_close(state, last)


def test_first_weights_are_orthogonal_the_policys_a_hundredth_and_the_seed_is_theirs_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    network = ActorCritic(TABLE, NetworkShape(core="mlp", n_actions=3), seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    core = network.core.weight.detach()
    torch.testing.assert_close(core @ core.T, 2.0 * torch.eye(64), atol=1e-5, rtol=0.0)
    policy = network.policy.weight.detach()
    torch.testing.assert_close(policy @ policy.T, 1e-4 * torch.eye(3), atol=1e-9, rtol=0.0)
    again = ActorCritic(TABLE, NetworkShape(core="mlp", n_actions=3), seed=2)
    assert torch.equal(network.encoder.weight, again.encoder.weight)


def test_statistics_are_taken_once_and_travel_with_the_weights(tmp_path, observation):
    network = ActorCritic(TABLE, NetworkShape(n_actions=1))
    network.measure(observation * 5.0 + 3.0, np.array([7.0, 1.0]))
    torch.testing.assert_close(network.input_std[2:], torch.ones(2))  # columns that never moved
    with pytest.raises(BadInput, match="measured"):
        network.measure(observation, np.ones(2))
    network.save(tmp_path / "network.npz")
    again = ActorCritic.load(tmp_path / "network.npz", TABLE)
    assert again.measured
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_network_of_other_features_is_refused_by_name(tmp_path):
    path = tmp_path / "network.npz"
    ActorCritic(TABLE, NetworkShape(n_actions=1)).save(path)
    with pytest.raises(MismatchError, match="may_1"):
        ActorCritic.load(path, FeatureTable("toy", TABLE.features[:3]))


def test_a_file_that_is_none_is_refused_and_no_pickle_is_opened(tmp_path):
    path = tmp_path / "network.npz"
    for content in (b"", b"not a network", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(BadInput, match="must be a network's file"):
            ActorCritic.load(path, TABLE)
    with pytest.raises(BadInput):
        ActorCritic.load(tmp_path / "nowhere.npz", TABLE)
    np.savez(path, header=np.array(json.dumps({"format": 1})))
    with pytest.raises(BadInput, match="must be whole"):
        ActorCritic.load(path, TABLE)
    np.savez(path, header=np.array({"format": 1}, dtype=object))
    with pytest.raises(BadInput, match="must be a network's file"):
        ActorCritic.load(path, TABLE)
    network = ActorCritic(TABLE, NetworkShape(n_actions=1))
    network.save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadInput):
        ActorCritic.load(path, TABLE)
    with torch.no_grad():
        network.critic.bias[0] = torch.nan
    network.save(path)
    with pytest.raises(BadInput, match=r"critic\.bias"):
        ActorCritic.load(path, TABLE)


@pytest.mark.parametrize(
    "wrong", [{}, {"core": "gur", "n_actions": 1}, {"n_choices": 3, "allowed": ("may_0",)}, {"units": 0}]
)
def test_a_shape_that_cannot_be_is_refused(wrong):
    with pytest.raises(BadInput):
        NetworkShape(**wrong)
