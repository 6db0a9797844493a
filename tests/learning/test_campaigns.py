"""PPO on campaigns: what a day's reward is, that training and flying are one thing, and that it resumes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from gaelp.agents.actions import ActionPolicy
from gaelp.agents.controller import EVERY_HOURS, LARGEST, N_GROUPS, controller, day_factors
from gaelp.agents.networks import read_arrays
from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, N_LINES
from gaelp.learning import controller as training
from gaelp.learning.campaigns import Campaigns, Chunk, live, live_everywhere
from gaelp.learning.controller import train
from gaelp.market.file import load
from gaelp.worlds.executors import InlineExecutor, make_executor
from gaelp.worlds.flight import fly, make_market, run_off, warm_up
from gaelp.worlds.registry import CHECKPOINT, NETWORK, TrainedLines, make_policy
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import tuned_for

FILE = load("markets/family_safety.toml")
TUNED = tuned_for(FILE)
BASE = TrainedLines("value", (("social_new_mobile", 1.5),), (("search_generic_mobile", 1),))
TINY = {"n_worlds": 2, "n_people": 400, "days": 3}
SMALLEST = {"n_worlds": 2, "n_people": 150, "days": 2}
VALIDATED = {"validation_worlds": 2, "validation_people": 150}


def campaigns(base=BASE, **options):
    return Campaigns(FILE, lambda: base.base(TUNED), tuned=TUNED, runoff_days=2, **TINY, **options)


def test_actions_are_factors_of_price_groups_and_leave_email_alone():
    action = np.zeros((1, N_GROUPS), np.float32)
    action[0, 4], action[0, 5] = 1.0, -7.0
    factors = day_factors(action)[0]
    assert factors[8:10].tolist() == pytest.approx([LARGEST] * 2)
    assert factors[10:12].tolist() == pytest.approx([1 / LARGEST] * 2)
    assert factors[EMAIL_LINE] == 1.0 and factors.shape == (N_LINES,)


def test_no_corrections_earn_exactly_nothing():
    environment = campaigns()
    environment.reset(0)
    for day in range(3):
        _, reward, _, ended, truncated = environment.step(np.zeros((2, N_GROUPS), np.float32))
        assert (reward == 0.0).all() and (ended == (day == 2)).all() and not truncated.any()
    with pytest.raises(BadInput, match="campaigns are over"):
        environment.step(np.zeros((2, N_GROUPS), np.float32))


def test_training_and_flying_do_the_same_with_the_same_actions():
    """The environment's worlds flown by `controller` spend the same micros; it sees the same rows."""
    rng = np.random.default_rng(5)
    actions = rng.normal(size=(3, 2, N_GROUPS)).astype(np.float32)
    environment = campaigns()
    rows = [environment.reset(3)]
    for action in actions:
        rows.append(environment.step(action)[0])

    class Script:
        def __init__(self):
            self.day, self.seen = 0, []

        def act(self, observation):
            self.seen.append(observation.copy())
            self.day += 1
            return actions[self.day - 1]

    script = Script()
    market = make_market(training_worlds(FILE, "train", 2, 100_003), 400)
    policy = controller(BASE.base(TUNED), lambda: script)
    flight = fly(market, policy, days=3, traffic=warm_up(market), tuned=TUNED)
    np.testing.assert_array_equal(flight.spend_micros, environment._flown._reports.spend_micros)
    np.testing.assert_array_equal(np.array(script.seen), np.array(rows[:3]))


def test_rewards_add_up_to_what_the_corrections_changed():
    """By hand, from two flights: expected sales less spend, run-off and what falling short costs included."""
    actions = np.full((3, 2, N_GROUPS), -1.0, np.float32)
    base = BASE._replace(settings=(("spend_share", 0.6),))  # so low that spend falls short
    environment = campaigns(base=base)
    environment.reset(4)
    rewards = sum(environment.step(action)[1] for action in actions)

    class Low:
        def act(self, observation):
            return np.full((len(observation), N_GROUPS), -1.0)

    profit, short = [], []
    for policy in (controller(base.base(TUNED), Low), base.base(TUNED)):
        market = make_market(training_worlds(FILE, "train", 2, 100_004), 400)
        traffic = warm_up(market)
        before = market.books.expected[:, 0, 1].copy()
        flight = fly(market, policy, days=3, traffic=traffic, tuned=TUNED)
        run_off(market, 2)
        spend = flight.spend_micros.sum(axis=(1, 2)) / 1e6
        budget = flight.daily_budget_usd
        profit.append(market.books.expected[:, 0, 1] - before - spend)
        short.append(np.maximum(0.9 * 3 * budget - spend, 0.0))
    changed = profit[0] - profit[1] - 2.0 * (short[0] - short[1])
    assert (short[0] != short[1]).all() and (changed != 0.0).all()
    np.testing.assert_allclose(rewards * budget, changed, rtol=1e-9)


def test_an_epoch_has_its_own_worlds_and_always_the_same():
    first, other, again = (campaigns().reset(epoch) for epoch in (1, 2, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def chunk_of(**options):
    ppo = training._new("gru", SMALLEST["days"], 0)
    network = {"header": ppo.network.header(), "weights": ppo.network.arrays()}
    return Chunk(file=FILE, base=BASE, tuned=TUNED, **(SMALLEST | network | options))


def test_a_chunk_lives_alike_whatever_is_lived_beside_it():
    """What comes of a world is its chunk's affair: its worlds, its luck and the weights."""
    whole = live_everywhere(chunk_of(epoch=3), InlineExecutor(), 1)
    second = live(chunk_of(epoch=3, first=1, n_worlds=1))
    n = whole.sequences.offset[1]
    for name in ("observation", "action", "logp", "value", "payoff"):
        np.testing.assert_array_equal(
            getattr(second.sequences, name), getattr(whole.sequences, name)[n:], err_msg=name
        )
    first, other = whole.sequences.action[:n], whole.sequences.action[n:]
    assert (first != other).any() and (second.auctions < whole.auctions).all()


def test_a_network_that_corrects_nothing_gains_exactly_nothing_in_a_validation():
    chunk = chunk_of(split="validation", explores=False)
    weights = dict(chunk.weights)
    weights |= {name: 0.0 * weights[name] for name in weights if name.startswith("network.policy")}
    assert live(replace(chunk, weights=weights)).gain.tolist() == [0.0, 0.0]


def test_a_harder_level_wins_less_in_the_same_worlds_and_rivals_go_on_learning():
    rates, learnt = [], []
    for level in (0, 6):
        environment = campaigns(level=level)
        environment.reset(0)
        before = environment._flown.market.rivals.multiplier.copy()
        for _ in range(3):
            environment.step(np.zeros((2, N_GROUPS), np.float32))
        bids, wins = environment.auctions()
        rates.append(wins / bids)
        learnt.append((environment._flown.market.rivals.multiplier != before).any(axis=(0, 2)))
    assert rates[1] < 0.9 * rates[0] < 0.7
    assert np.array(learnt).all()  # each rival of both


@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_networks_are_equal_bit_for_bit_wherever_their_worlds_were_lived(name, tmp_path, monkeypatch):
    if name == "ray":
        pytest.importorskip("ray")
    monkeypatch.setattr(training, "WORLDS_A_CHUNK", 1)
    options = {"base": BASE, "tuned": TUNED, "epochs": 3, "minutes": None, "validate_every": 2}
    here = train(FILE, out=tmp_path / "inline", **options, **SMALLEST, **VALIDATED)
    with make_executor(name, 2) as executor:
        there = train(FILE, out=tmp_path / name, executor=executor, **options, **SMALLEST, **VALIDATED)
    assert_equal_runs(tmp_path / "inline", tmp_path / name)
    assert here | {"out": 0} == there | {"out": 0}
    assert [done["epoch"] for done in here["history"] if "validation" in done] == [2, 3]


def arrays_of(folder):
    header, arrays = read_arrays((folder / CHECKPOINT).with_suffix(NETWORK))
    return header, arrays


def assert_equal_runs(one, other):
    (header, arrays), (other_header, other_arrays) = arrays_of(one), arrays_of(other)
    assert header == other_header and arrays.keys() == other_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)


@pytest.mark.slow
def test_a_resumed_training_ends_as_one_that_never_stopped_and_flies(tmp_path):
    options = {"base": BASE, "tuned": TUNED, "epochs": 2, "minutes": None, **TINY, **VALIDATED}
    train(FILE, out=tmp_path / "whole", **options)

    class Stopped(Exception):
        pass

    def stop(done):  # an epoch is told before it is kept: this one is not
        if done["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train(FILE, out=tmp_path / "parts", report=stop, **options)
    assert arrays_of(tmp_path / "parts")[0]["epoch"] == 1
    spent = []  # nothing is validated yet: it flies as its base does
    for policy in (make_policy(str(tmp_path / "parts"), FILE)(), BASE.base(TUNED)):
        market = make_market(training_worlds(FILE, "train", 1, 9), 400)
        spent.append(fly(market, policy, days=2, traffic=warm_up(market), tuned=TUNED).spend_micros)
    np.testing.assert_array_equal(*spent)
    train(FILE, out=tmp_path / "parts", resume=True, **options)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    policy = make_policy(str(tmp_path / "whole"), FILE)()
    assert isinstance(policy, ActionPolicy) and policy.every_hours == EVERY_HOURS
    assert policy.base.line_multiplier == dict(BASE.multiplier)
    market = make_market(training_worlds(FILE, "train", 2, 9), 400)
    flight = fly(market, policy, days=2, traffic=warm_up(market))
    assert flight.spend_micros.sum() > 0 and flight.denied.sum() == 0
    other = BASE._replace(multiplier=())
    for change, says in (
        ({"seed": 5}, "`seed` was 5; must be 0"),
        ({"n_people": 500}, "`n_people` was 500; must be 400"),
        ({"patience": 3}, "`patience` was 3; must be None"),
        ({"base": other}, "`line_multiplier` was {}"),
    ):
        with pytest.raises(BadInput, match=says):
            train(FILE, out=tmp_path / "whole", resume=True, **(options | {"epochs": 3} | change))
    with pytest.raises(BadInput, match="must be above the 2 already done"):
        train(FILE, out=tmp_path / "whole", resume=True, **options)
    (tmp_path / "whole" / CHECKPOINT).with_suffix(NETWORK).write_bytes(b"damaged")
    with pytest.raises(BadInput, match="must be a network's file"):
        make_policy(str(tmp_path / "whole"), FILE)()


def test_a_resume_needs_a_network(tmp_path):
    with pytest.raises(BadInput, match="needs a network"):
        train(FILE, base=BASE, tuned=TUNED, epochs=1, minutes=None, out=tmp_path, resume=True, **TINY)
    assert not list(tmp_path.iterdir())


SCRIPT = """
import sys
from pathlib import Path
from tests.learning.test_campaigns import KILLED, train
train(out=Path(sys.argv[1]), resume=sys.argv[2] == "resume", **KILLED)
"""
KILLED = {"file": FILE, "base": BASE, "tuned": TUNED, "epochs": 6, "minutes": None, "validate_every": 4}
KILLED |= SMALLEST | VALIDATED


def epochs_done(folder):
    begun = (folder / CHECKPOINT).with_suffix(NETWORK).is_file()
    return arrays_of(folder)[0]["epoch"] if begun else None


@pytest.mark.study
@pytest.mark.timeout(3600)
def test_training_killed_twenty_times_ends_as_one_that_was_left_alone(tmp_path):
    """Each run is killed and resumed until it is through, some more than once; then the next one begins."""
    train(out=tmp_path / "whole", **KILLED)
    rng = np.random.default_rng(0)
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "timed"), "new"], check=True, env=os.environ)
    usual = time.monotonic() - began
    assert_equal_runs(tmp_path / "whole", tmp_path / "timed")
    kills = within = runs = 0
    while kills < 20:
        out = tmp_path / f"killed{runs}"
        how = "new" if epochs_done(out) is None else "resume"
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out), how], env=os.environ)
        try:
            assert process.wait(timeout=rng.uniform(0.2, 0.95) * usual) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            within += 0 < (epochs_done(out) or 0) < 6
        if epochs_done(out) == 6:
            assert_equal_runs(tmp_path / "whole", out)
            runs += 1
    if epochs_done(tmp_path / f"killed{runs}"):
        train(out=tmp_path / f"killed{runs}", resume=True, **KILLED)
        assert_equal_runs(tmp_path / "whole", tmp_path / f"killed{runs}")
    assert within >= 10 and runs >= 3
