"""A world flown alone is flown as it is among others, to the last bit: a live account is one world."""

import numpy as np
import pytest

from gaelp.market.file import load
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import tuned_for

FILE = load("markets/family_safety.toml")


def proposals(name, n_worlds):
    """What a policy proposes for the first world, hour by hour."""
    market = make_market(training_worlds(FILE, "train", 2, 9)[:n_worlds], 400)
    traffic, policy, seen = warm_up(market), make_policy(name, FILE)(), []
    act = policy.act

    def watched(view):
        proposed = act(view)
        seen.append([np.array(array[:1]) for array in vars(proposed).values()])
        return proposed

    policy.act = watched
    flight = fly(market, policy, days=3, traffic=traffic, tuned=tuned_for(FILE))
    return seen, flight.spend_micros[0]


@pytest.mark.parametrize("name", ["pacing", "value", "pid", "target_cpa"])
def test_one_world_alone_is_flown_as_among_others(name):
    alone, spent_alone = proposals(name, 1)
    among, spent_among = proposals(name, 2)
    assert len(alone) == len(among) == 72
    for ours, theirs in zip(alone, among, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(spent_alone, spent_among)
