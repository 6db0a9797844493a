"""PPO in the auctionnet: where it begins, what it learns from, and what is kept of it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from gaelp.agents.auctionnet_policies import CORRECTION_FEATURES, Corrected, CostCurve, Dual
from gaelp.agents.networks import ActorCritic
from gaelp.core.errors import BadInput
from gaelp.learning.auctionnet_ppo import (
    Practice,
    PracticeSettings,
    examine,
    fewer_and_larger,
    train,
    untrained,
)
from gaelp.learning.ppo import PPO
from gaelp.learning.rollouts import collect
from gaelp.worlds.auctionnet_flight import earlier_periods, fly, stated_rivals
from gaelp.worlds.auctionnet_task import N_SEATS, N_TICKS, AuctionNetSettings, score

SMALL = AuctionNetSettings(n_opportunities=2_000, budget_ratio=2_000 / 500_000)
QUICK = PracticeSettings(
    epochs=4, periods=1, seats=12, fewer=1, validate_every=2, validation_periods=2, minibatch_rows=192
)


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def curve() -> CostCurve:
    return earlier_periods(seed=1, n_periods=1, settings=SMALL)


def flown(policy, curve: CostCurve):
    return fly(policy, stated_rivals(curve), seed=5, periods=range(6), settings=SMALL)


def noisy(network: ActorCritic) -> ActorCritic:
    """The same network with a policy that does something."""
    torch.nn.init.normal_(network.policy.weight, generator=torch.Generator().manual_seed(1))
    return network


def test_an_untrained_network_acts_exactly_as_dual(curve: CostCurve) -> None:
    ours = flown(Corrected(Dual(curve), untrained(QUICK)), curve)
    dual = flown(Dual(curve), curve)
    for part in dataclasses.fields(dual):
        assert (getattr(ours, part.name) == getattr(dual, part.name)).all()
    other = flown(Corrected(Dual(curve), noisy(untrained(QUICK))), curve)
    assert (other.spend != dual.spend).any()


def test_rewards_of_a_sequence_add_up_to_its_score_in_budgets(curve: CostCurve) -> None:
    world = Practice(curve, 2, 12, seed=4, settings=SMALL)
    network, draws = noisy(untrained(QUICK)), np.random.default_rng(0)
    lived = collect(world, network, steps=N_TICKS, epoch=3, generator=draws)
    assert len(lived) == 24 and (lived.length == N_TICKS).all()
    reached = score(world.worth, world.spend, world.limit) * world.limit / world.budget
    np.testing.assert_allclose(lived.total(lived.payoff[:, 0]), reached, atol=1e-12)
    assert reached.max() > 0.1 and (lived.payoff[:, 1] == 0.0).all()


def test_practice_and_a_flight_see_and_do_the_same(curve: CostCurve) -> None:
    network = noisy(untrained(QUICK))
    world = Practice(curve, 1, N_SEATS, seed=4, settings=SMALL)
    lived = collect(world, network, steps=N_TICKS, epoch=0, generator=None)
    one, all_others = Corrected(Dual(curve), network), Corrected(Dual(curve), network)
    alone = fly(one, all_others, seed=4, periods=[0], settings=SMALL)  # seat 0 is reported
    assert alone.spend[0] == world.spend[0] and alone.worth[0] == world.worth[0]
    clock = lived.observation[:, CORRECTION_FEATURES.index("time_left")].reshape(N_SEATS, N_TICKS)
    assert (np.diff(clock, axis=1) < 0.0).all()


def test_seats_are_drawn_for_each_period_and_an_epoch_comes_back(curve: CostCurve) -> None:
    world = Practice(curve, 2, 12, seed=4, settings=SMALL)
    first = world.reset(1)
    seats = world.seat.reshape(2, 12)
    assert (np.diff(seats, axis=1) > 0).all() and (seats[0] != seats[1]).any()
    again = Practice(curve, 2, 12, seed=4, settings=SMALL)
    again.reset(0)
    assert (again.reset(1) == first).all() and (again.seat == world.seat).all()
    again.reset(2)
    assert (again.seat != world.seat).any()


def test_fewer_and_larger_opportunities_are_the_same_market() -> None:
    """Spend and predicted conversions of all seats agree within the luck of values."""
    full = AuctionNetSettings(n_opportunities=64_000, budget_ratio=64_000 / 500_000)
    curve = earlier_periods(seed=1, n_periods=1, settings=full)
    found = []
    for times in (1, 8):
        world = Practice(curve, 1, N_SEATS, seed=4, settings=fewer_and_larger(full, times))
        collect(world, untrained(QUICK), steps=N_TICKS, epoch=0, generator=None)
        found.append((world.spend / world.budget, world.worth * world.limit / world.budget))
    for ours, theirs in zip(*found, strict=True):
        assert abs(ours.mean() - theirs.mean()) < 0.02 * ours.mean()
        assert np.abs(ours - theirs).mean() < 0.08 * ours.mean()


def test_training_is_the_same_by_seed_and_goes_on_where_it_was_stopped(
    tmp_path: Path, curve: CostCurve
) -> None:
    said: list[str] = []
    best = train(tmp_path / "whole.npz", curve, QUICK, SMALL, said.append)
    assert len(said) == 2 and "epoch 4 of 4" in said[1]

    def stops(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts.npz", curve, QUICK, SMALL, stops)
    train(tmp_path / "parts.npz", curve, QUICK, SMALL)
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "parts.npz").read_bytes()
    other = dataclasses.replace(QUICK, seed=1)
    train(tmp_path / "other.npz", curve, other, SMALL)
    assert (tmp_path / "whole.npz").read_bytes() != (tmp_path / "other.npz").read_bytes()

    made = len(said)
    back = train(tmp_path / "whole.npz", curve, QUICK, SMALL, said.append)
    assert len(said) == made  # all was there
    shown = ActorCritic.load(tmp_path / "whole.npz", CORRECTION_FEATURES)
    for network in (back, shown):
        pairs = zip(network.arrays().values(), best.arrays().values(), strict=True)
        assert all((ours == theirs).all() for ours, theirs in pairs)
        ours, theirs = (flown(Corrected(Dual(curve), some), curve) for some in (network, best))
        assert (ours.spend == theirs.spend).all()
    with pytest.raises(BadInput, match="settings"):
        train(tmp_path / "whole.npz", curve, other, SMALL)


def test_what_flies_never_gained_less_than_dual_in_validation(tmp_path: Path, curve: CostCurve) -> None:
    wild = dataclasses.replace(QUICK, epochs=2, learning_rate=1.0, kl_stop=1e9)  # learns nothing of use
    best = train(tmp_path / "wild.npz", curve, wild, SMALL)
    last = PPO.load(tmp_path / "wild.npz", CORRECTION_FEATURES).network
    dual = examine(untrained(wild), curve, wild, SMALL)
    gains = [examine(each, curve, wild, SMALL).gain(dual)[0] for each in (last, best)]
    assert gains[0] < 0.0 <= gains[1]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadInput, match="seats"):
        PracticeSettings(seats=N_SEATS + 1)
    with pytest.raises(BadInput, match="epochs"):
        PracticeSettings(epochs=0)
    with pytest.raises(BadInput, match="n_opportunities"):
        fewer_and_larger(SMALL, 16)
