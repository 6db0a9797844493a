"""Drawing what is rare or surprising more often, and undoing it in every mean."""

import numpy as np
import pytest
import torch

from gaelp.agents.networks import ActorCritic, NetworkShape
from gaelp.core.errors import BadInput
from gaelp.learning.ppo import PPO, PPOSettings, update
from gaelp.learning.replay import Replay, ReplaySettings, chances, effective_share, oversample
from gaelp.learning.sequences import End, Sequences, join
from gaelp.observation.features import Feature, FeatureTable

ARMS = FeatureTable("arms", tuple(Feature(name, "1", "none", "toy") for name in ("steady", "lottery")))
STEADY, LOTTERY = 0.5, 0.4  # expected rewards: the steady arm is the better one


def pulls(n, seed, version=1, logp=0.0):
    """One forced pull a sequence: half of them pay .5, the others 4 one time in ten."""
    generator = np.random.default_rng(seed)
    arm = np.arange(n) % 2
    wins = generator.permutation(n // 2) < LOTTERY / 4.0 * (n // 2)  # the log's means are the true ones
    reward = np.full(n, STEADY)
    reward[1::2] = np.where(wins, 4.0, 0.0)
    return Sequences(
        offset=np.arange(n + 1),
        weight=np.ones(n),
        time=np.zeros(n),
        observation=np.eye(2, dtype=np.float32)[arm],
        action=arm[:, None].astype(np.float32),
        logp=np.full(n, logp, np.float32),
        value=np.zeros((n, 2), np.float32),
        payoff=np.stack([reward, np.zeros(n)], axis=1),
        version=np.full(n, version, np.int32),
        end=np.full(n, End.TERMINAL, np.int8),
    )


def learned_values(beta):
    """What the critic comes to think of both arms from replayed pulls alone."""
    # an arm is forced by allowing no other, so the policy has nothing to learn
    shape = NetworkShape(core="mlp", n_choices=2, allowed=("steady", "lottery"))
    network = ActorCritic(ARMS, shape, seed=0)
    settings = PPOSettings(epochs=1, steps=1, passes=1, minibatch_rows=500)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = np.random.default_rng(0)
    memory = Replay(ReplaySettings())
    memory.add(1, pulls(2000, seed=0), np.ones(2000))
    values = []
    for turn in range(100):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * (1.0 - turn / 100)
        drawn, index = memory.draw(500, beta, generator)
        _, surprise = update(network, optimiser, drawn, settings, generator)
        memory.look_again(index, surprise)
        values.append(network.act(np.eye(2, dtype=np.float32), network.first_state(2))[2][:, 0])
    return np.mean(values[-30:], axis=0)


def test_surprise_alone_prefers_the_lottery_and_weights_put_the_steady_arm_back():
    steady, lottery = learned_values(beta=0.0)
    assert lottery > steady + 0.2  # wrong arm: wins are replayed more often than they happen
    steady, lottery = learned_values(beta=1.0)
    assert abs(steady - STEADY) < 0.03 and abs(lottery - LOTTERY) < 0.06
    assert steady > lottery


class TwoArms:
    """A pull is a sequence: .5 for sure, or one time in ten a Pareto win whose third moment is infinite."""

    n, tail = 500, 2.5

    def __init__(self, seed):
        self.seed = seed

    def reset(self, epoch):
        self.draws = np.random.default_rng([self.seed, epoch])
        self.time, self.weight, self.over = np.zeros(self.n), np.ones(self.n), np.zeros(self.n, bool)
        return np.ones((self.n, 2), np.float32)

    def step(self, actions):
        least = LOTTERY / 0.1 * (self.tail - 1.0) / self.tail  # a Pareto's mean is least * tail / (tail - 1)
        wins, size = self.draws.random((2, self.n))
        lottery = np.where(wins < 0.1, least * size ** (-1.0 / self.tail), 0.0)
        ended, self.over = ~self.over, ~self.over
        reward = np.where(ended, np.where(actions[:, 0] == 1.0, lottery, STEADY), 0.0)
        nothing = np.zeros(self.n)
        return np.ones((self.n, 2), np.float32), reward, nothing, ended, np.zeros(self.n, bool)


class Unweighted(Replay):
    """Draws the surprising more often and leaves it at that."""

    def draw(self, n, beta, generator):
        return super().draw(n, 0.0, generator)


def learned_lottery(seed, memory):
    """How often a policy pulls the lottery after forty epochs of PPO, half of each batch replayed."""
    settings = PPOSettings(
        epochs=40,
        steps=1,
        minibatch_rows=500,
        learning_rate=0.02,
        kl_stop=0.1,
        replay=memory.settings,
        seed=seed,
    )
    ppo = PPO(ActorCritic(ARMS, NetworkShape(core="mlp", n_choices=2), seed=seed), settings)
    ppo.memory = memory
    ppo.train(TwoArms(seed))
    with torch.no_grad():
        heads, _ = ppo.network(torch.ones((1, 1, 2)), ppo.network.first_state(1))
        return float(heads.log_prob(torch.ones((1, 1, 1))).exp())


@pytest.mark.parametrize("seed", range(3))
def test_ppo_chooses_the_wrong_arm_by_surprise_alone_and_the_right_one_with_weights(seed):
    assert LOTTERY < STEADY  # every pull of the lottery loses .1 on average
    plain = learned_lottery(seed, Unweighted(ReplaySettings()))
    full = learned_lottery(seed, Replay(ReplaySettings(first_beta=1.0)))
    rising = learned_lottery(seed, Replay(ReplaySettings()))
    print(f"pulls of the lottery: without weights {plain:.2f}, full {full:.2f}, rising {rising:.2f}")
    assert plain > 0.8
    assert full < 0.1
    assert rising < 0.5


@pytest.mark.statistical
def test_weights_of_exponent_one_undo_the_drawing_in_every_mean():
    sequences, generator = pulls(200, seed=1), np.random.default_rng(2)
    memory = Replay(ReplaySettings())
    memory.add(1, sequences, generator.exponential(1.0, 200) * (1 + 5 * (sequences.payoff[:, 0] > 1)))
    means, plain = [], []
    for _ in range(400):
        drawn, _ = memory.draw(400, 1.0, generator)
        means.append(np.average(drawn.payoff[:, 0], weights=drawn.weight))
        plain.append(drawn.payoff[:, 0].mean())
    truth = sequences.payoff[:, 0].mean()
    assert abs(np.mean(means) - truth) < 4 * np.std(means) / 400**0.5
    assert abs(np.mean(plain) - truth) > 20 * np.std(plain) / 400**0.5


@pytest.mark.statistical
def test_sequences_are_drawn_as_often_as_their_chances_say():
    settings, surprise = ReplaySettings(uniform=0.2), np.array([0.0, 1.0, 2.0, 30.0])
    p = chances(surprise, settings)
    expected = 0.8 * (surprise + 1e-3) ** 0.6 / ((surprise + 1e-3) ** 0.6).sum() + 0.05
    np.testing.assert_allclose(p, expected)
    memory = Replay(settings)
    memory.add(1, pulls(4, seed=0), surprise)
    _, index = memory.draw(50_000, 0.4, np.random.default_rng(0))
    share = np.bincount(index, minlength=4) / 50_000
    assert (np.abs(share - p) < 4 * np.sqrt(p * (1 - p) / 50_000)).all()


def test_only_the_last_versions_are_kept_and_each_keeps_its_surprise():
    memory = Replay(ReplaySettings(versions=2))
    for version in (1, 2, 3):
        memory.add(version, pulls(10, seed=version, version=version), np.full(10, float(version)))
    assert memory.versions == [2, 3] and len(memory) == 20
    memory.look_again(np.array([3, 12]), np.array([7.0, 8.0]))
    kept = memory.arrays()
    assert kept["replay.2.surprise"][3] == 7.0 and kept["replay.3.surprise"][2] == 8.0
    memory.drop([2, 9])
    assert memory.versions == [3]


def test_replayed_weights_multiply_those_that_a_sequence_has_for_good():
    memory = Replay(ReplaySettings())
    sequences = pulls(10, seed=0)
    sequences.weight[:] = 3.0
    memory.add(1, sequences, np.ones(10))
    drawn, _ = memory.draw(20, 1.0, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.weight, 3.0)  # all alike: the replay's own weights are 1


def test_a_version_that_the_policy_has_left_far_behind_teaches_nothing():
    shape = NetworkShape(core="mlp", n_choices=2)
    network = ActorCritic(ARMS, shape, seed=0)
    fresh = pulls(300, seed=1, version=9, logp=np.log(0.5))
    stale = pulls(300, seed=2, version=8)
    stale.logp[:] = np.where(np.arange(300) < 5, -9.0, 0.0)  # a handful of ratios outweighs the others
    both = join([fresh, stale])
    settings = PPOSettings(epochs=1, steps=1, passes=1, minibatch_rows=10**6, replay=ReplaySettings())
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    report, _ = update(network, optimiser, both, settings, np.random.default_rng(0))
    assert report["versions"][8]["effective_share"] < 0.3 < report["versions"][9]["effective_share"]
    alone = ActorCritic(ARMS, shape, seed=0)
    one = torch.optim.SGD(alone.parameters(), lr=0.1)
    _, _ = update(alone, one, fresh, settings, np.random.default_rng(0))
    # same direction: the stale half only counts among the decisions that the loss is divided by
    first = torch.nn.utils.parameters_to_vector(ActorCritic(ARMS, shape, seed=0).parameters())
    ours, theirs = (torch.nn.utils.parameters_to_vector(n.parameters()) - first for n in (network, alone))
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.999


def test_the_effective_share_counts_equal_weights_fully_and_one_giant_as_one():
    assert effective_share(np.ones(50)) == pytest.approx(1.0)
    assert effective_share(np.r_[1e9, np.ones(49)]) == pytest.approx(1 / 50)


@pytest.mark.statistical
def test_oversampling_the_rare_leaves_a_policys_value_unbiased_and_cuts_its_variance():
    generator = np.random.default_rng(0)
    n_people = 5_000
    rare = np.arange(n_people) < 100  # two in a hundred, worth thirty times as much
    chance = np.where(rare, 0.3, 0.05)  # to buy under the policy that is judged
    worth = np.where(rare, 600.0, 20.0)
    truth = float((chance * worth).mean())

    def judged(chosen, weight):
        bought = generator.random(len(chosen)) < chance[chosen]
        return np.average(bought * worth[chosen], weights=weight)

    n, repeats = 400, 1_500
    plain = [judged(generator.integers(0, n_people, n), np.ones(n)) for _ in range(repeats)]
    ours = [judged(*oversample(rare, 0.3, n, generator)) for _ in range(repeats)]
    for estimates in (plain, ours):
        assert abs(np.mean(estimates) - truth) < 4 * np.std(estimates) / repeats**0.5
    assert np.var(ours) < 0.2 * np.var(plain)
    unweighted = [judged(oversample(rare, 0.3, n, generator)[0], np.ones(n)) for _ in range(50)]
    assert np.mean(unweighted) > 5 * truth


def test_the_weights_of_a_draw_sum_to_its_size_and_mean_what_they_say():
    rare = np.arange(1000) % 40 == 0
    chosen, weight = oversample(rare, 0.5, 200, np.random.default_rng(1))
    assert weight.sum() == pytest.approx(200.0)
    assert weight[rare[chosen]].sum() == pytest.approx(rare.mean() * 200)
    for everybody in (np.zeros(9, bool), np.ones(9, bool)):
        assert (oversample(everybody, 0.5, 20, np.random.default_rng(1))[1] == 1.0).all()
    for share in (1.0, 0.999, -0.1):
        with pytest.raises(BadInput, match="share"):
            oversample(rare, share, 20, np.random.default_rng(1))


@pytest.mark.parametrize("wrong", [{"share": 0.7}, {"versions": 0}, {"uniform": 1.2}, {"epsilon": 0.0}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        ReplaySettings(**wrong)
