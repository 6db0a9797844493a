"""PPO on journeys: rewards against a second reckoning, a known optimum found, memory used, and it flies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gaelp.agents.seat import PROGRAMMATIC, Asked
from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, Channel
from gaelp.learning.journey_ppo import (
    LARGEST,
    SEAT_FEATURES,
    JourneyAuctions,
    NetworkCorrection,
    factor_of,
    new_network,
    observe,
    settings,
    train,
)
from gaelp.learning.journey_value import LineWorths
from gaelp.learning.journey_value_data import BID_LEVELS, JourneyRows
from gaelp.learning.ppo import PPO, collect, update
from gaelp.learning.sequences import End
from gaelp.observation.journey import JOURNEY_FEATURES, Normaliser

VIDEO = next(i for i, line in enumerate(LINES) if line.channel is Channel.VIDEO)
LAST = JOURNEY_FEATURES.index("journey.last_channel")


def made(n_people=1500, length=4, seed=0, first_price=False):
    """People whose last channel is 1 or 2; impressions are worth twice as much after 2 as after 1.

    The highest other bid is log-uniform from .5 to 50 a thousand; at the first price a bid pays itself.
    """
    rng = np.random.default_rng(seed)
    n = n_people * length
    features = np.zeros((n, len(JOURNEY_FEATURES)), np.float32)
    code = rng.integers(1, 3, n)
    features[:, LAST] = code
    other = np.exp(rng.uniform(np.log(0.5), np.log(50.0), n))
    price = BID_LEVELS if first_price else np.broadcast_to(other[:, None], (n, BID_LEVELS.size))
    paid = np.where(other[:, None] <= BID_LEVELS, np.rint(1000.0 * price), -1).astype(np.int32)
    return JourneyRows(
        features=features,
        line=np.full(n, VIDEO, np.uint8),
        world=np.zeros(n, np.int64),
        hour=np.tile(5 * np.arange(length), n_people),
        sequence=np.repeat(np.arange(n_people), length),
        worth_usd=np.where(code == 2, 0.008, 0.004),
        guess=np.ones(n),
        paid=paid,
        spend_usd=np.ones(1),
    )


def parts(rows, bid_cpm=6.0):
    normaliser, worths = Normaliser.measure(rows.features), LineWorths.measure(rows)
    worth = np.full(len(rows), 0.006)
    return np.full(len(rows), bid_cpm), worth, np.ones(len(rows)), normaliser, worths


def environment_of(rows, n=64):
    base, worth, multiplier, normaliser, worths = parts(rows)
    seen = observe(normaliser, worths, rows.features, rows.line, base, worth)
    return JourneyAuctions(rows, seen, base, multiplier, n=n)


def test_a_reward_is_worth_won_less_price_in_dollars_of_value():
    rows = made(50)
    base, worth, _, normaliser, worths = parts(rows)
    seen = observe(normaliser, worths, rows.features, rows.line, base, worth)
    environment = JourneyAuctions(rows, seen, base, np.full(len(rows), 0.5), n=8)
    row, factor = np.arange(len(rows)), np.random.default_rng(1).uniform(0.25, 4.0, len(rows))
    reward, cost = environment.outcome(row, factor)
    for i in row:
        bid, best = 6.0 * factor[i], 0
        while best + 1 < BID_LEVELS.size and BID_LEVELS[best + 1] <= bid:
            best += 1
        won = rows.paid[i, best] >= 0
        usd = rows.paid[i, best] / 1e6 if won else 0.0
        assert cost[i] == pytest.approx(usd)
        assert reward[i] == pytest.approx((rows.worth_usd[i] if won else 0.0) - usd / 0.5)
        assert usd <= bid / 1000.0 + 1e-6


def test_a_sequence_is_one_persons_auctions_of_the_seats_lines_in_order():
    rows = made(40, length=5)
    line = rows.line.copy()
    line[::5] = 0  # a search, which no seat buys
    rows = replace(rows, line=line, sequence=np.where(rows.sequence < 30, rows.sequence, -1))
    environment, network = environment_of(rows, n=16), new_network("gru")
    network.measure(environment.observation, np.ones(2))
    lived = collect(environment, network, steps=23, epoch=1, generator=np.random.default_rng(0))
    assert set(np.unique(lived.length)) <= {1, 2, 3, 4, 5}
    whole = lived.end[lived.offset[1:] - 1] == End.TERMINAL
    assert set(lived.length[whole].tolist()) == {1, 4}
    for i in np.flatnonzero(whole & (lived.length == 4)):
        assert lived.time[lived.offset[i] : lived.offset[i + 1]].tolist() == [5.0, 10.0, 15.0, 20.0]


@pytest.mark.parametrize("core", ["mlp", "gru"])
def test_before_the_first_step_every_ratio_is_exactly_one(core):
    environment, network = environment_of(made(60)), new_network(core)
    network.measure(environment.observation, np.full(2, 0.005))
    lived = collect(environment, network, steps=9, epoch=1, generator=np.random.default_rng(0))
    once = replace(settings(1), passes=1, minibatch_rows=10**6)
    optimiser = torch.optim.Adam(network.parameters())
    report, _ = update(network, optimiser, lived, once, np.random.default_rng(0))
    assert report["kl"] == 0.0 and report["clip_fraction"] == 0.0


def test_at_the_second_price_it_finds_the_bid_that_is_the_worth():
    """Worth a thousand is 4 or 8 dollars and every bid begins at 12, so factors of 1/3 and 2/3 are best."""
    rows = made()
    base, worth, multiplier, normaliser, worths = parts(rows, bid_cpm=12.0)
    ppo, _ = train(rows, base, worth, multiplier, normaliser, worths, epochs=16, core="mlp", seed=3)
    seen = observe(normaliser, worths, rows.features, rows.line, base, worth)
    environment = JourneyAuctions(rows, seen, base, multiplier)
    action, _, _, _ = ppo.network.act(seen, ppo.network.first_state(len(rows)))
    learnt = factor_of(action)
    begun, earned, best = (
        environment.outcome(np.arange(len(rows)), factor)[0].mean()
        for factor in (np.ones(len(rows)), learnt, rows.worth_usd * 1000.0 / 12.0)
    )
    assert begun < earned
    assert earned - begun > 0.9 * (best - begun)
    code = rows.features[:, LAST]
    assert learnt[code == 2].mean() > 1.3 * learnt[code == 1].mean()


def test_at_the_first_price_it_learns_to_shade():
    """Against a log-uniform other bid from .5 on, the best is where (12 - b) ln(b / .5) is largest."""
    rows = made(first_price=True, seed=1)
    rows = replace(rows, worth_usd=np.full(len(rows), 0.012))
    base, worth, multiplier, normaliser, worths = parts(rows, bid_cpm=12.0)
    ppo, earned = train(rows, base, worth, multiplier, normaliser, worths, epochs=16, core="mlp", seed=5)
    grid = np.linspace(0.5, 12.0, 4000)
    best_bid = grid[np.argmax((12.0 - grid) * np.log(grid / 0.5))]
    seen = observe(normaliser, worths, rows.features, rows.line, base, worth)
    action, _, _, _ = ppo.network.act(seen, ppo.network.first_state(len(rows)))
    found = 12.0 * factor_of(action).mean()
    assert best_bid / 1.35 < found < best_bid * 1.35  # bids stand on a grid 25 % wide
    assert np.mean(earned[-5:]) > np.mean(earned[:2])


def test_three_epochs_and_three_more_are_six(tmp_path):
    rows, path = made(80), tmp_path / "checkpoint.npz"
    whole = PPO(new_network("gru"), settings(6))
    told = whole.train(environment_of(rows))
    part = PPO(new_network("gru"), settings(6))
    first = part.train(environment_of(rows), until=3)
    part.save(path)
    assert told == first + PPO.load(path, SEAT_FEATURES).train(environment_of(rows))


def asked_of(rows, some, world):
    return Asked(
        features=rows.features[some],
        line=rows.line[some].astype(np.int64),
        world=world,
        person=rows.sequence[some],
        hour=int(rows.hour[some][0]),
    )


@pytest.mark.parametrize("core", ["mlp", "gru"])
def test_in_flight_it_says_of_each_person_what_it_says_of_the_whole_sequence(core):
    rows = made(6, length=5)
    base, worth, _, normaliser, worths = parts(rows)
    network = new_network(core, seed=4)
    with torch.no_grad():
        network.policy.weight.mul_(100.0)
    network.measure(observe(normaliser, worths, rows.features, rows.line, base, worth), np.ones(2))
    correction = NetworkCorrection(network, normaliser, worths)
    correction.start(2)
    found = np.zeros(len(rows))
    for h in range(5):
        some = np.flatnonzero(rows.hour == 5 * h)
        both = np.concatenate([some, some])  # the same people in two worlds
        world = np.repeat([0, 1], some.size)
        factor = correction.factor(asked_of(rows, both, world), base[both], worth[both])
        np.testing.assert_array_equal(factor[: some.size], factor[some.size :])
        found[some] = factor[: some.size]
    for person in range(6):
        mine = np.flatnonzero(rows.sequence == person)
        seen = observe(normaliser, worths, rows.features[mine], rows.line[mine], base[mine], worth[mine])
        with torch.no_grad():
            heads, _ = network(torch.from_numpy(seen[None]), network.first_state(1))
        np.testing.assert_allclose(found[mine], factor_of(heads.mean[0].numpy()), rtol=1e-4)
    assert found.std() > 0.0 and (found <= LARGEST).all()


def test_rows_without_prices_or_without_a_seats_lines_are_refused():
    rows = made(10)
    base, worth, multiplier, normaliser, worths = parts(rows)
    seen = observe(normaliser, worths, rows.features, rows.line, base, worth)
    with pytest.raises(BadInput, match="paid"):
        JourneyAuctions(replace(rows, paid=rows.paid[:, :0]), seen, base, multiplier)
    search = replace(rows, line=np.zeros(len(rows), np.uint8))
    assert not PROGRAMMATIC[0]
    with pytest.raises(BadInput, match="lines"):
        JourneyAuctions(search, seen, base, multiplier)
