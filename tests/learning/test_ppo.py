"""The learner: exact where it must be, and it learns what small worlds have to teach."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gaelp.agents.networks import CORES, ActorCritic, NetworkShape
from gaelp.core.errors import BadInput, MismatchError
from gaelp.learning.ppo import PPO, PPOSettings, collect, update
from gaelp.learning.replay import ReplaySettings
from gaelp.learning.sequences import End
from gaelp.observation.features import Feature, FeatureTable

TABLE = FeatureTable("toy", tuple(Feature(name, "1", "none", "toy") for name in ("a", "b")))


class World:
    """Rows that live side by side; what a step brings is each world's own."""

    n = 128

    def reset(self, epoch):
        self.draws = np.random.default_rng(epoch)
        self.weight = np.ones(self.n)
        self.time, self.touch = np.zeros(self.n), np.zeros(self.n, int)
        self.over = np.zeros(self.n, bool)
        self.begin(np.ones(self.n, bool))
        return self.see()

    def step(self, actions):
        reward, cost, hours, ended, truncated = self.play(actions)
        again, self.over = self.over, (ended | truncated) & ~self.over
        self.touch, self.time = self.touch + 1, self.time + hours
        self.touch[again], self.time[again] = 0, 0.0
        self.begin(again)
        return self.see(), reward, cost, ended, truncated

    def begin(self, rows):
        pass

    def see(self):
        return np.stack([self.touch == 0, self.touch], axis=1).astype(np.float32)


class Cue(World):
    """A sign at the first touch, nothing for four, then a choice that pays where it agrees with the sign."""

    sign = np.zeros(World.n)

    def begin(self, rows):
        self.sign = np.where(rows, self.draws.choice([-1.0, 1.0], self.n), self.sign)

    def see(self):
        return np.stack([np.where(self.touch == 0, self.sign, 0.0), self.touch == 5], 1).astype(np.float32)

    def play(self, actions):
        last = self.touch == 5
        paid = last & ((actions[:, 0] > 0) == (self.sign > 0))
        nothing = np.zeros(self.n)
        return paid * 1.0, nothing, nothing + 1.0, last, np.zeros(self.n, bool)


class NowOrLater(World):
    """Three dollars now and the end, or ten after three touches and twenty uneven hours."""

    late = np.zeros(World.n, bool)
    shares = np.zeros((World.n, 3))

    def begin(self, rows):
        if rows.any():
            self.shares[rows] = self.draws.dirichlet(np.ones(3), rows.sum())

    def play(self, actions):
        first = self.touch == 0
        self.late = np.where(first, actions[:, 0] > 0, self.late)
        ended = (first & ~self.late) | (self.touch == 3)
        reward = np.where(first, np.where(self.late, 0.0, 3.0), np.where(ended, 10.0, 0.0))
        hours = 20.0 * self.shares[np.arange(self.n), np.minimum(self.touch, 2)]
        return reward, np.zeros(self.n), hours, ended, np.zeros(self.n, bool)


class Forever(World):
    """A dollar each hour for ever, looked at for five hours at a time; a cost that rises with the action."""

    def see(self):
        return self.draws.standard_normal((self.n, 2)).astype(np.float32)

    def play(self, actions):
        price = 1.0 / (1.0 + np.exp(-4.0 * actions[:, 0]))
        return np.ones(self.n), price, np.ones(self.n), np.zeros(self.n, bool), self.touch == 4


class Price(Forever):
    """One decision: each further dollar brings less back, the last still one."""

    def play(self, actions):
        _, price, hours, never, _ = super().play(actions)
        return 2.0 * np.sqrt(price), price, hours, ~never, never


class Restless(Forever):
    """Sequences of one to thirty touches that end, are cut, or go on past the last step."""

    def play(self, actions):
        over = self.draws.random((2, self.n)) < 0.06
        reward = actions[:, 0] + self.draws.standard_normal(self.n)
        return reward, np.abs(actions[:, 0]), self.draws.exponential(5.0, self.n), *over


SETTINGS = PPOSettings(epochs=12, steps=14, minibatch_rows=512, learning_rate=4e-3, gamma=0.99, entropy=0.003)


def network_of(core, seed=1, **shape):
    return ActorCritic(TABLE, NetworkShape(core=core, **shape or {"n_actions": 1}), seed=seed)


def lived(core, steps=30):
    network = network_of(core)
    generator = np.random.default_rng(0)
    network.measure(generator.standard_normal((100, 2)), np.array([3.0, 2.0]))
    return network, collect(Restless(), network, steps=steps, epoch=4, generator=generator)


@pytest.mark.parametrize("core", CORES)
def test_what_the_learner_recomputes_is_what_the_actor_stored(core):
    network, sequences = lived(core)
    for i in range(len(sequences)):
        rows = slice(*sequences.offset[i : i + 2])
        decides = sequences.decides[rows]
        with torch.no_grad():
            heads, _ = network(torch.from_numpy(sequences.observation[rows][None]), network.first_state(1))
            logp = heads.log_prob(torch.from_numpy(sequences.action[rows][None]))
        assert np.abs(logp[0].numpy() - sequences.logp[rows])[decides].max() < 1e-5
        assert np.abs(heads.value[0].numpy() - sequences.value[rows])[decides].max() < 1e-5


@pytest.mark.parametrize("core", CORES)
def test_before_the_first_step_every_ratio_is_exactly_one(core):
    network, sequences = lived(core)
    settings = replace(SETTINGS, passes=1, minibatch_rows=10**6, longest=7)  # states at cuts are recomputed
    optimiser = torch.optim.Adam(network.parameters())
    report, _ = update(network, optimiser, sequences, settings, np.random.default_rng(0))
    assert report["kl"] == 0.0 and report["clip_fraction"] == 0.0  # a mean of terms that are 0 only at 1
    assert report["versions"][4]["effective_share"] > 1.0 - 1e-9


def test_a_collected_log_has_ends_cuts_and_open_sequences_as_the_world_told_them():
    _, sequences = lived("mlp", steps=30)
    last = sequences.end[sequences.offset[1:] - 1]
    assert set(last.tolist()) == {End.TERMINAL, End.TRUNCATED}
    # each step is one decision, except the steps that only bring a first observation
    restarts = len(sequences) - World.n
    assert World.n * 30 - World.n <= sequences.decides.sum() + restarts <= World.n * 30
    assert (sequences.time[sequences.offset[:-1]] == 0.0).all()


def one_step(network, sequences, **changed):
    again = network_of(network.shape.core)
    again.load_state_dict(network.state_dict())
    optimiser = torch.optim.SGD(again.parameters(), lr=0.1)
    settings = replace(SETTINGS, passes=1, minibatch_rows=10**6, grad_norm=1e9, **changed)
    report, surprise = update(again, optimiser, sequences, settings, np.random.default_rng(7))
    return report, surprise, torch.cat([weight.detach().ravel() for weight in again.parameters()])


@pytest.mark.parametrize("core", CORES)
def test_the_order_of_sequences_and_how_they_are_padded_change_nothing(core):
    network, sequences = lived(core, steps=12)
    sequences = sequences.take(np.arange(80))
    report, surprise, weights = one_step(network, sequences)
    order = np.random.default_rng(3).permutation(len(sequences))
    permuted, permuted_surprise, permuted_weights = one_step(network, sequences.take(order))
    alone, _, alone_weights = one_step(network, sequences, bucket=1)
    np.testing.assert_allclose(permuted_surprise, surprise[order], atol=1e-5)
    for name in ("policy_loss", "value_loss", "entropy"):
        assert permuted[name] == pytest.approx(report[name], abs=1e-6)
        assert alone[name] == pytest.approx(report[name], abs=1e-6)
    torch.testing.assert_close(permuted_weights, weights, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(alone_weights, weights, atol=1e-6, rtol=0.0)


def test_a_weight_of_two_counts_like_the_sequence_twice():
    network, sequences = lived("gru")
    some = np.arange(50)
    _, _, twice = one_step(network, sequences.take(np.r_[some, some[:20]]))
    doubled = replace(sequences.take(some), weight=np.where(some < 20, 2.0, 1.0))
    _, _, weighed = one_step(network, doubled)
    # one minibatch divides by decisions, the other by their weights: the same after normalisation
    torch.testing.assert_close(weighed, twice, atol=1e-5, rtol=0.0)


def rewards(environment, core, settings=SETTINGS, **shape):
    ppo = PPO(network_of(core, **shape), settings)
    return ppo, [report["reward"] for report in ppo.train(environment)]


@pytest.mark.parametrize("core", ["gru", "lstm"])
def test_memory_solves_what_needs_it(core):
    _, earned = rewards(Cue(), core, replace(SETTINGS, epochs=16, steps=13), n_choices=2)
    assert np.mean(earned[-3:]) > 0.95


def test_without_memory_it_stays_a_coin_flip():
    _, earned = rewards(Cue(), "mlp", replace(SETTINGS, epochs=16, steps=13), n_choices=2)
    assert abs(np.mean(earned[-3:]) - 0.5) < 4 * 0.5 / (3 * 2 * World.n) ** 0.5


@pytest.mark.parametrize(("gamma", "waits"), [(0.99, True), (0.9, False)])
def test_a_later_reward_is_chosen_where_it_is_worth_more_at_an_hours_discount(gamma, waits):
    assert (10.0 * gamma**20 > 3.0) == waits
    _, earned = rewards(NowOrLater(), "gru", replace(SETTINGS, gamma=gamma, lam=1.0), n_choices=2)
    assert abs(np.mean(earned[-2:]) - (10.0 if waits else 3.0)) < 0.3


def test_what_is_only_cut_is_worth_what_is_still_to_come():
    ppo, earned = rewards(Forever(), "mlp", replace(SETTINGS, gamma=0.9, epochs=25, kl_stop=1e9))
    value = ppo.network.act(np.zeros((1, 2), np.float32), ppo.network.first_state(1))[2][0, 0]
    assert abs(float(value) * float(ppo.network.payoff_scale[0]) - 1.0 / (1.0 - 0.9)) < 0.5
    assert max(earned) <= 5.0  # of five hours


def test_a_cost_limit_is_met_where_spending_more_would_pay():
    settings = replace(
        SETTINGS, epochs=80, steps=8, lam=1.0, cost_limit=0.3, multiplier_rate=0.1, learning_rate=3e-3
    )
    ppo = PPO(network_of("mlp", n_actions=1, first_log_std=-1.5), settings)
    reports = ppo.train(Price())
    assert abs(np.mean([report["cost"] for report in reports[-15:]]) - 0.3) < 0.05
    assert ppo.multiplier > 0.0
    _, free = rewards(Price(), "mlp", replace(settings, cost_limit=None))
    assert free[-1] > 2.0 * 0.9**0.5


def test_the_policy_stops_where_it_has_moved_far_enough():
    network, sequences = lived("mlp")
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    settings = replace(SETTINGS, passes=20, kl_stop=0.02)
    report, _ = update(network, optimiser, sequences, settings, np.random.default_rng(0))
    assert report["kl"] <= 0.02 and report["steps"] < 20 * 7


@pytest.mark.parametrize("core", ["lstm"])
def test_three_epochs_and_three_more_are_six(core, tmp_path):
    settings = replace(
        SETTINGS,
        epochs=6,
        passes=2,
        longest=5,
        cost_limit=1.0,
        replay=ReplaySettings(versions=2),
        learning_rate=1e-3,
    )
    whole = PPO(network_of(core), settings)
    told = whole.train(Restless())
    part = PPO(network_of(core), settings)
    first = part.train(Restless(), until=3)
    part.save(tmp_path / "checkpoint.npz")
    again = PPO.load(tmp_path / "checkpoint.npz", TABLE)
    assert told == first + again.train(Restless())
    assert (again.epoch, again.multiplier, again.settings) == (6, whole.multiplier, settings)
    assert again.generator.bit_generator.state == whole.generator.bit_generator.state
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
    adam = whole.optimiser.state_dict()["state"]
    for i, state in again.optimiser.state_dict()["state"].items():
        for key, tensor in state.items():
            assert torch.equal(tensor, adam[i][key]), (i, key)
    kept = whole.memory.arrays()
    assert kept.keys() == again.memory.arrays().keys() and len(kept) == 2 * 11
    for name, array in again.memory.arrays().items():
        np.testing.assert_array_equal(array, kept[name])


def test_a_checkpoint_is_a_network_too_and_a_network_is_no_checkpoint(tmp_path):
    ppo = PPO(network_of("gru"), replace(SETTINGS, epochs=1))
    ppo.train(Restless())
    ppo.save(tmp_path / "checkpoint.npz")
    network = ActorCritic.load(tmp_path / "checkpoint.npz", TABLE)
    assert torch.equal(network.policy.weight, ppo.network.policy.weight)
    network.save(tmp_path / "network.npz")
    with pytest.raises(BadInput, match="checkpoint of PPO"):
        PPO.load(tmp_path / "network.npz", TABLE)
    with pytest.raises(MismatchError):
        PPO.load(tmp_path / "checkpoint.npz", FeatureTable("toy", TABLE.features[:1]))


def test_a_checkpoint_shows_the_best_network_and_trains_on_with_its_own(tmp_path):
    settings = replace(SETTINGS, epochs=4)
    ppo = PPO(network_of("gru"), settings)
    ppo.train(Restless(), until=1)
    ppo.best = ActorCritic.restored(ppo.network.header(), ppo.network.arrays(), TABLE, "a copy")
    ppo.notes = {"best": 1}
    ppo.train(Restless(), until=2)
    path = tmp_path / "checkpoint.npz"
    ppo.save(path)
    again, shown = PPO.load(path, TABLE), ActorCritic.load(path, TABLE)
    assert again.notes == {"best": 1}
    for name, weight in ppo.best.state_dict().items():
        assert torch.equal(weight, shown.state_dict()[name])
        assert torch.equal(weight, again.best.state_dict()[name])
    assert not torch.equal(shown.policy.weight, ppo.network.policy.weight)
    assert ppo.train(Restless()) == again.train(Restless())
    assert torch.equal(ppo.network.policy.weight, again.network.policy.weight)


def test_a_world_that_tells_no_number_is_refused():
    class Broken(Restless):
        def play(self, actions):
            reward, *rest = super().play(actions)
            return reward * np.nan, *rest

    with pytest.raises(BadInput, match="payoff"):
        PPO(network_of("mlp"), SETTINGS).train(Broken())


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"gamma": 1.5}, {"clip": 0.0}, {"learning_rate": np.nan}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        replace(SETTINGS, **wrong)
