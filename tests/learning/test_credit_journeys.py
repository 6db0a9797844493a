"""A journey small enough to be solved: which policies credits call best, and what shaping leaves alone."""

import numpy as np
import pytest

from gaelp.journeys.table import JourneyTable
from gaelp.learning.credit import (
    CREDITS,
    Flown,
    shaping,
)

# aware, considering, intent; wait, social or search at each step

VALUE, GAMMA = 180.0, 0.9995
START, HOURS, COST = np.array([0.5, 0.2, 0.3]), np.array([48.0, 48.0, 24.0]), np.array([0.0, 6.0, 5.0])
UP = np.array([[0.05, 0.25, 0.06], [0.20, 0.22, 0.21], [0.30, 0.31, 0.32]])  # by stage and action; last: sold
GONE = np.array([0.12, 0.10, 0.05])
SOLD, LOST = 6, 8  # 6 sold untouched, 7 sold touched


def chances_of_journeys():
    """(3 actions, 6 states, 9 successors); state 2 x stage + whether one of our touches came before."""
    chance = np.zeros((3, 6, 9))
    for action, stage, touched in np.ndindex(3, 3, 2):
        now = touched or action > 0
        row = chance[action, 2 * stage + touched]
        row[2 * stage + 2 + now] += UP[stage, action]  # from intent that is SOLD
        row[LOST] += GONE[stage]
        row[2 * stage + now] += 1.0 - UP[stage, action] - GONE[stage]
    return chance


def solved(paid, policy=None, *, gamma=GAMMA, potential=None):
    """Values of actions (3, 6) where a sale pays `paid[action, touched]`; of a policy, or of the best."""
    chance, discount = chances_of_journeys(), gamma ** np.repeat(HOURS, 2)
    reward = discount * (chance[..., SOLD:LOST] * paid[:, None, :]).sum(-1) - COST[:, None]
    if potential is not None:  # written out again: gamma ** hours x expected next potential - potential
        reward = reward + discount * (chance[..., :SOLD] @ potential) - potential
    q = np.zeros((3, 6))
    for _ in range(1500):
        best = q.max(axis=0) if policy is None else q[policy, np.arange(6)]
        q = reward + discount * (chance[..., :SOLD] @ best)
    return q


TRULY = np.full((3, 2), VALUE)
LAST_CLICK = np.array([[0.0, VALUE], [VALUE, VALUE], [VALUE, VALUE]])  # whoever was touched before buying
ONE_DAY_CLICK = np.array([[0.0, 0.0], [VALUE, VALUE], [VALUE, VALUE]])  # by a click of the same day
WAIT = np.zeros(6, int)


def worth(policy, gamma=GAMMA):
    """What a policy brings beyond its twin, which always waits, USD a person."""
    value, twin = (solved(TRULY, each, gamma=gamma)[each, np.arange(6)] for each in (policy, WAIT))
    return float(START @ (value - twin)[::2])


def live(policy, uniforms, stage):
    """Journeys of a policy, one column of uniforms each: their touches' times, kinds, and how they ended."""
    n = stage.size
    stage, hour, sold_at = stage.copy(), np.zeros(n), np.full(n, np.nan)
    touched, alive, touches = np.zeros(n, int), np.ones(n, bool), []
    for u in uniforms:
        action = np.where(alive, policy[2 * stage + touched], 0)
        touches += [np.stack([np.arange(n), hour, action])[:, action > 0]]
        touched |= action > 0
        up, gone = alive & (u < UP[stage, action]), alive & (u > 1.0 - GONE[stage])
        hour += np.where(alive, HOURS[stage], 0.0)
        sold_at[up & (stage == 2)] = hour[up & (stage == 2)]
        alive &= ~gone & ~(up & (stage == 2))
        stage = np.where(up & (stage < 2), stage + 1, stage)
    assert not alive.any()
    return np.concatenate(touches, axis=1), sold_at, hour


def flown_of(policy, n, seed):
    generator = np.random.default_rng(seed)
    stage, uniforms = generator.choice(3, n, p=START), generator.random((200, n))
    (person, when, action), sold_at, hour = live(policy, uniforms, stage)
    _, twin_sold_at, _ = live(WAIT, uniforms, stage)  # the same luck
    order, sold = np.lexsort((when, person)), ~np.isnan(sold_at)
    table = JourneyTable(
        channels=("social", "search"),
        offsets=np.r_[0, np.cumsum(np.bincount(person.astype(int), minlength=n))],
        channel=action[order].astype(int) - 1,
        conversions=sold.astype(int),
        nulls=(~sold).astype(int),
        value_usd_micros=sold * int(VALUE * 1e6),
        touch_hour=when[order],
        end_hour=hour,
    )
    cost = COST[action[order].astype(int)]
    return Flown(journeys=table, cost_usd=cost, twin_value_usd=VALUE * ~np.isnan(twin_sold_at))


def test_a_shaped_journey_has_the_best_policy_of_the_plain_one():
    plain = solved(TRULY)
    for potential in (plain.max(axis=0), np.random.default_rng(0).normal(0.0, 100.0, 6)):
        moved = solved(TRULY, potential=potential)
        np.testing.assert_allclose(moved + potential, plain, atol=1e-8)
        assert moved.argmax(axis=0).tolist() == plain.argmax(axis=0).tolist() == [1, 1, 0, 0, 0, 0]


def test_a_last_click_reward_has_another_best_policy_and_brings_less():
    best, clicks, quick = (solved(paid).argmax(axis=0) for paid in (TRULY, LAST_CLICK, ONE_DAY_CLICK))
    assert best.tolist() == [1, 1, 0, 0, 0, 0]  # social for those only aware, and nothing else
    assert clicks.tolist() == [1, 1, 0, 0, 2, 0]  # and search, once, for who is about to buy anyway
    assert quick.tolist() == [1, 1, 0, 0, 2, 2]  # where a click counts for a day: again every day
    found = [worth(policy) for policy in (best, clicks, quick)]
    print("USD a person beyond the twin:", np.round(found, 2))
    np.testing.assert_allclose(found, [9.53, 7.67, 2.33], atol=0.005)
    claimed = [START @ solved(LAST_CLICK, each)[each, np.arange(6)][::2] for each in (best, clicks)]
    print("USD a person by last click:", np.round(claimed, 2))
    assert claimed[1] > 3 * claimed[0] and found[1] < 0.81 * found[0]


@pytest.mark.statistical
@pytest.mark.parametrize(("paid", "credit"), [(TRULY, "incremental"), (LAST_CLICK, "last")])
def test_credits_of_journeys_lived_are_those_of_the_solved_ones(paid, credit):
    policy = solved(paid).argmax(axis=0)
    n = 20_000
    flown = flown_of(policy, n, seed=3)
    by_person = np.bincount(flown.row, CREDITS[credit](flown), n)
    expected = worth(policy, gamma=1.0)
    if credit == "last":
        expected = START @ solved(paid, policy, gamma=1.0)[policy, np.arange(6)][::2]
    assert abs(by_person.mean() - expected) < 4 * by_person.std() / n**0.5


def test_q_learning_with_and_without_shaping_ends_at_the_same_table_and_the_best_policy():
    generator = np.random.default_rng(5)
    potential = 100.0 * np.arange(6)[::2] / 4  # a guess by stage
    q, moved, n_seen = np.zeros((3, 3)), np.zeros((3, 3)) - potential, np.zeros((3, 3))
    for _ in range(25_000):
        stages, actions, hours = [int(generator.choice(3))], [], [0.0]
        while 0 <= stages[-1] < 3:
            stage = stages[-1]
            actions.append(int(generator.integers(3)))
            u = generator.random()
            up, gone = u < UP[stage, actions[-1]], u > 1.0 - GONE[stage]
            stages.append(stage + 1 if up else -1 if gone else stage)
            hours.append(hours[-1] + HOURS[stage])
        added = shaping(
            potential[stages[:-1]], np.array(hours[:-1]), np.array([0, len(actions)]), gamma=GAMMA
        )
        for t, (stage, action, after) in enumerate(zip(stages[:-1], actions, stages[1:], strict=True)):
            discount, ends = GAMMA ** HOURS[stage], after in (-1, 3)
            reward = discount * VALUE * (after == 3) - COST[action]
            n_seen[action, stage] += 1
            rate = n_seen[action, stage] ** -0.8
            for table, more in ((q, 0.0), (moved, added[t])):
                ahead = 0.0 if ends else discount * table[:, after].max()
                table[action, stage] += rate * (reward + more + ahead - table[action, stage])
    np.testing.assert_allclose(moved + potential, q, atol=1e-8)
    assert q.argmax(axis=0).tolist() == solved(TRULY).argmax(axis=0)[::2].tolist()
