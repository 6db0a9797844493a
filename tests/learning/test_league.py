"""Self-play: who the opponents are, that their bids reach the auctions, and that training repeats itself."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from gaelp.agents.controller import LARGEST, controller
from gaelp.core.errors import BadInput
from gaelp.learning import controller as training
from gaelp.learning.campaigns import live, live_everywhere
from gaelp.learning.controller import train
from gaelp.learning.league import SIZE, League
from gaelp.market.state import BIDS, SPEND, WINS
from gaelp.worlds.executors import InlineExecutor, make_executor
from tests.learning.test_campaigns import (
    BASE,
    FILE,
    SMALLEST,
    TUNED,
    VALIDATED,
    arrays_of,
    assert_equal_runs,
    campaigns,
    chunk_of,
)

OPTIONS = {"base": BASE, "tuned": TUNED, "minutes": None, "self_play": True, **SMALLEST, **VALIDATED}


def named(epoch):
    return {"network.a": np.array([float(epoch)])}


def league_of(epochs, seed=0):
    league = League(seed)
    for epoch in range(epochs):
        league.freeze(epoch, named(epoch))
    return league


def test_the_opponents_are_the_latest_and_an_earlier_one():
    latest = named(9)
    assert League(0).opponents(1, latest) == (latest, latest)
    first, second = league_of(3).opponents(4, latest)
    assert first is latest and second["network.a"][0] in (0.0, 1.0, 2.0)


def test_every_earlier_epoch_is_drawn_with_equal_chance():
    """Twenty epochs through a league of eight: 4 standard errors of a binomial around one in twenty."""
    n = 4000
    drawn = Counter()
    for seed in range(n):
        drawn[league_of(20, seed).opponents(21, named(20))[1]["network.a"][0]] += 1
    error = (n * 0.05 * 0.95) ** 0.5
    assert len(drawn) == 20
    assert all(abs(times - n / 20) < 4 * error for times in drawn.values())


def test_a_league_goes_on_from_what_it_kept():
    part, whole = league_of(11), league_of(30)
    again = League(0, {epoch: part.networks[epoch] for epoch in sorted(part.networks)})
    for epoch in range(11, 30):
        again.freeze(epoch, named(epoch))
    assert again.networks.keys() == whole.networks.keys() and len(whole.networks) == SIZE
    assert again.opponents(30, named(30)) == whole.opponents(30, named(30))


def test_what_is_frozen_learns_no_more():
    league, weights = League(0), named(1)
    league.freeze(0, weights)
    weights["network.a"] += 1.0
    assert league.networks[0]["network.a"].tolist() == [1.0]


class Always:
    """Takes the same action in all groups."""

    def __init__(self, action):
        self.action = action

    def act(self, observation):
        return np.full((len(observation), training.N_GROUPS), self.action)


def flown_with(action):
    """Training worlds in which an opponent always takes the same action, at the campaign's first hour."""
    environment = campaigns(opponents=[lambda: controller(BASE.base(TUNED), lambda: Always(action))])
    environment.reset(2)
    return environment


def test_a_members_bids_reach_the_auctions():
    """Before budgets bind: bids 2.25 times as high win half as much again, and others' prices move."""
    assert LARGEST**2 == 2.25
    found = []
    for action in (-1.0, 1.0):
        side = flown_with(action)._flown
        before = side.market.books.report.copy()
        for _ in range(6):
            side.hour(np.zeros((2, training.N_GROUPS), np.float32))
        found.append((side.market.books.report - before).sum(axis=(0, 2)))
    low, high = found
    assert low.shape[0] == 2 and (low[:, [BIDS, WINS, SPEND]] > 0).all()
    assert high[1][WINS] >= 1.4 * low[1][WINS] and high[1][SPEND] > 1.4 * low[1][SPEND]
    assert high[0][SPEND] > low[0][SPEND]


def test_only_the_learner_is_judged_and_both_lives_have_the_same_opponents():
    environment = flown_with(1.0)
    before = environment._flown.market.books.report.copy()
    rewards = [environment.step(np.zeros((2, training.N_GROUPS), np.float32))[1] for _ in range(3)]
    assert (np.array(rewards) == 0.0).all()
    mine = (environment._flown.market.books.report - before).sum(axis=(0, 2))[0]
    np.testing.assert_array_equal(environment.auctions(), mine[[BIDS, WINS]])
    assert environment.spend_usd() == pytest.approx(mine[SPEND] / 1e6)


def test_opponents_of_a_chunk_fly_by_their_own_weights():
    """An opponent whose network asks for more bids leaves less to the learner; its rewards change."""
    chunk = chunk_of()
    bold = {name: value.copy() for name, value in chunk.weights.items()}
    bold["network.policy.bias"] += 1.0
    meek = {name: value.copy() for name, value in chunk.weights.items()}
    meek["network.policy.bias"] -= 1.0
    alone, with_meek, with_bold = (
        live(replace(chunk, opponents=opponents)) for opponents in ((), (meek, meek), (bold, bold))
    )
    wins = [lived.auctions[1] for lived in (alone, with_meek, with_bold)]
    assert wins[0] > wins[1] > wins[2]
    assert len({tuple(lived.gain) for lived in (alone, with_meek, with_bold)}) == 3


def test_self_play_that_stopped_and_went_on_ends_as_one_that_did_not(tmp_path):
    options = OPTIONS | {"validate_every": 1}
    whole = train(FILE, out=tmp_path / "whole", epochs=2, **options)
    train(FILE, out=tmp_path / "parts", epochs=1, **options)
    again = train(FILE, out=tmp_path / "parts", epochs=2, resume=True, **options)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    assert whole["history"][1:] == again["history"] and whole["best"] == again["best"]
    kept = {name.split(".")[1] for name in arrays_of(tmp_path / "whole")[1] if name.startswith("earlier.")}
    assert kept == {"0", "1"}


@pytest.mark.slow
def test_self_play_is_equal_bit_for_bit_wherever_it_is_lived():
    chunk = chunk_of(epoch=1)
    chunk = replace(chunk, opponents=(chunk.weights, chunk_of(seed=1).weights))
    here = live_everywhere(chunk, InlineExecutor(), 1)
    with make_executor("processes", 2) as executor:
        there = live_everywhere(chunk, executor, 1)
    np.testing.assert_array_equal(here.auctions, there.auctions)
    for name in ("observation", "action", "logp", "value", "payoff"):
        np.testing.assert_array_equal(getattr(here.sequences, name), getattr(there.sequences, name))


def test_self_play_is_another_training_and_is_not_resumed_as_one_without(tmp_path):
    train(FILE, out=tmp_path / "league", epochs=1, **OPTIONS)
    train(FILE, out=tmp_path / "plain", epochs=1, **(OPTIONS | {"self_play": False}))
    with pytest.raises(AssertionError):
        assert_equal_runs(tmp_path / "league", tmp_path / "plain")
    assert not any(name.startswith("earlier.") for name in arrays_of(tmp_path / "plain")[1])
    with pytest.raises(BadInput, match="`self_play` was False; must be True"):
        train(FILE, out=tmp_path / "league", epochs=2, resume=True, **(OPTIONS | {"self_play": False}))
