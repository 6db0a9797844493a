"""Offline learners on logged tasks whose optimum is known, and what they refuse."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gaelp.agents.auctionnet_policies import AUCTIONNET_FEATURES, Network
from gaelp.core.errors import BadInput, MismatchError
from gaelp.learning.auctionnet_log import collect_log
from gaelp.learning.auctionnet_ppo import PracticeSettings
from gaelp.learning.auctionnet_table import POLICIES, AuctionNetTable, TableSettings, markdown
from gaelp.learning.offline import Learner, Log, OfflineSettings
from gaelp.worlds.auctionnet_flight import earlier_periods, stated_rivals
from gaelp.worlds.auctionnet_task import N_SEATS, N_TICKS, AuctionNetSettings, score

SMALL = AuctionNetSettings(n_opportunities=2_000, budget_ratio=2_000 / 500_000)
QUICK = OfflineSettings(hidden=32, learning_rate=1e-3, temperature=10.0, expectile=0.9)


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def aimless() -> Log:
    """One-step episodes: the best action is half the first feature; what was done is uniform round 0."""
    draw = np.random.default_rng(0)
    n = 6_000
    state, action = draw.uniform(-1.0, 1.0, (n, 2)), draw.uniform(-1.0, 1.0, n)
    reward = -((action - 0.5 * state[:, 0]) ** 2) + 0.1 * draw.standard_normal(n)
    return Log(
        observations=state, actions=action, log_prob=np.full(n, -np.log(2.0)), rewards=reward,
        ends=np.ones(n, bool),
    )  # fmt: skip


def stitched() -> Log:
    """Two steps; the second pays 1 only if both went up, and going up first costs 0.3: seldom done."""
    draw = np.random.default_rng(1)
    n = 4_000
    first, second = draw.uniform(-1.0, 1.0, n), draw.uniform(-1.0, 1.0, n)
    state = np.zeros((n, 2, 2))
    state[:, 1, 0], state[:, 1, 1] = 1.0, first > 0.0
    reward = np.stack((-0.3 * (first > 0.0), 1.0 * (first > 0.0) * (second > 0.0)), axis=1)
    return Log(
        observations=state.reshape(-1, 2), actions=np.stack((first, second), axis=1).ravel(),
        log_prob=np.full(2 * n, -np.log(2.0)), rewards=reward.ravel(), ends=np.tile([False, True], n),
    )  # fmt: skip


def test_iql_finds_the_best_action_where_bc_copies_what_was_done(aimless: Log) -> None:
    state = np.random.default_rng(5).uniform(-1.0, 1.0, (500, 2))
    best = 0.5 * state[:, 0]
    copied = Learner("bc", aimless, QUICK).fit(800).network().action(state)
    found = Learner("iql", aimless, QUICK).fit(800).network().action(state)
    assert np.abs(copied).mean() < 0.1  # the mean of what was done
    assert np.mean((found - best) ** 2) < 0.2 * np.mean((copied - best) ** 2)
    assert np.corrcoef(found, best)[0, 1] > 0.95


def test_iql_pays_first_for_what_comes_later() -> None:
    log, start = stitched(), np.array([[0.0, 0.0]])
    far = Learner("iql", log, QUICK).fit(1_000).network().action(start)[0]
    near = Learner("iql", log, dataclasses.replace(QUICK, discount=0.0)).fit(1_000).network().action(start)[0]
    assert far > 0.2 and near < -0.2  # a mean over the half of the actions that is right


def test_equal_seeds_learn_equal_weights_and_other_seeds_others(aimless: Log) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (
        Learner("iql", aimless, dataclasses.replace(QUICK, seed=seed)).fit(20).network() for seed in (0, 0, 1)
    )
    assert all((a == b).all() for a, b in zip(one.weights, same.weights, strict=True))
    assert (one.weights[0] != other.weights[0]).any()
    assert (torch.random.get_rng_state() == before).all()  # nobody else's draws are touched


@pytest.mark.parametrize("algorithm", ["bc", "iql"])
def test_a_resumed_learner_goes_on_bit_for_bit(algorithm, aimless: Log, tmp_path: Path) -> None:
    straight = Learner(algorithm, aimless, QUICK).fit(60)
    half = Learner(algorithm, aimless, QUICK).fit(30)
    half.save(tmp_path / "half.pt")
    resumed = Learner.resume(tmp_path / "half.pt", aimless).fit(30)
    assert resumed.updates == straight.updates == 60
    ours, theirs = resumed.network(), straight.network()
    assert all((a == b).all() for a, b in zip(ours.weights, theirs.weights, strict=True))
    assert all((a == b).all() for a, b in zip(ours.biases, theirs.biases, strict=True))


def test_a_network_acts_as_torch_says(aimless: Log) -> None:
    learner = Learner("bc", aimless, QUICK).fit(10)
    state = aimless.observations[:50]
    given = torch.tensor((state - learner.network().mean) / learner.network().scale, dtype=torch.float32)
    with torch.no_grad():
        said = learner._nets["policy"](given)[:, 0].numpy()
    np.testing.assert_allclose(learner.network().action(state), said, atol=1e-5)


def test_a_log_file_comes_back(aimless: Log, tmp_path: Path) -> None:
    aimless.save(tmp_path / "log.npz")
    again = Log.load(tmp_path / "log.npz")
    assert all(
        (getattr(again, part.name) == getattr(aimless, part.name)).all() for part in dataclasses.fields(Log)
    )


def test_bad_input_is_refused(aimless: Log, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"rewards\[2\]"):
        dataclasses.replace(aimless, rewards=np.where(np.arange(6_000) == 2, np.nan, aimless.rewards))
    with pytest.raises(BadInput, match=r"actions\.shape|rewards\.shape|observations\.shape"):
        dataclasses.replace(aimless, actions=aimless.actions[:-1])
    with pytest.raises(BadInput, match="ends"):
        dataclasses.replace(aimless, ends=np.zeros(6_000, bool))
    with pytest.raises(BadInput, match="expectile"):
        OfflineSettings(expectile=0.2)
    with pytest.raises(BadInput, match="algorithm"):
        Learner("dqn", aimless)  # type: ignore[arg-type]
    broken = tmp_path / "broken"
    broken.write_bytes(b"neither log nor checkpoint")
    with pytest.raises(BadInput, match="log"):
        Log.load(broken)
    with pytest.raises(BadInput, match="checkpoint"):
        Learner.resume(broken, aimless)
    Learner("bc", aimless, QUICK).save(tmp_path / "two.pt")
    three = dataclasses.replace(aimless, observations=np.ones((6_000, 3)))
    with pytest.raises(MismatchError, match="features"):
        Learner.resume(tmp_path / "two.pt", three)


def test_actions_of_several_numbers_are_learnt_together_and_never_mixed_up(
    aimless: Log, tmp_path: Path
) -> None:
    both = np.stack([aimless.actions, -2.0 * aimless.actions + 0.5], axis=1)
    two = dataclasses.replace(
        aimless, actions=both, rewards=-((both[:, 1] - aimless.observations[:, 1]) ** 2)
    )
    assert two.n_actions == 2 and aimless.n_actions == 1
    learner = Learner("iql", two, QUICK).fit(400)
    given = torch.tensor((two.observations - learner.scaling[0]) / learner.scaling[1], dtype=torch.float32)
    with torch.no_grad():
        said = learner._nets["policy"](given).numpy()
    assert np.corrcoef(said[:, 1], two.observations[:, 1])[0, 1] > 0.9
    assert np.corrcoef(said[:, 0], two.observations[:, 1])[0, 1] < -0.9
    with pytest.raises(BadInput, match="actions"):
        learner.network()
    learner.save(tmp_path / "two.pt")
    with pytest.raises(MismatchError, match="actions"):
        Learner.resume(tmp_path / "two.pt", aimless)


def test_what_is_no_flag_or_number_of_updates_is_refused(aimless: Log) -> None:
    with pytest.raises(BadInput, match="ends"):
        dataclasses.replace(aimless, ends=np.ones(6_000))
    with pytest.raises(BadInput, match="updates"):
        Learner("bc", aimless, QUICK).fit(-1)
    with pytest.raises(BadInput, match="batch"):
        OfflineSettings(batch=True)


def test_a_log_of_the_auctionnet_adds_up_to_scores_and_knows_its_densities() -> None:
    policy = stated_rivals(earlier_periods(seed=1, n_periods=1, settings=SMALL))
    log = collect_log(policy, seed=1, periods=[5, 6], noise=0.2, settings=SMALL)
    n = 2 * N_SEATS
    assert log.n_features == len(AUCTIONNET_FEATURES) and len(log.actions) == n * N_TICKS
    assert log.ends.reshape(n, N_TICKS)[:, -1].all() and log.ends.sum() == n
    clock = log.observations[:, AUCTIONNET_FEATURES.index("time_left")].reshape(n, N_TICKS)
    assert (np.diff(clock, axis=1) < 0.0).all()
    # fixed seats sit at ln 1 = 0, so their density is the normal's at the action itself
    fixed = log.actions.reshape(n, N_TICKS)[::4]
    density = -0.5 * (fixed / 0.2) ** 2 - np.log(0.2 * np.sqrt(2.0 * np.pi))
    np.testing.assert_allclose(log.log_prob.reshape(n, N_TICKS)[::4], density, atol=1e-9)
    returns = log.rewards.reshape(n, N_TICKS).sum(axis=1)
    assert (returns >= 0.0).all() and returns.max() < 5.0 and score(0.0, 0.0, 1.0) == 0.0
    again = collect_log(policy, seed=1, periods=[6], noise=0.2, settings=SMALL)
    assert (again.actions == log.actions[N_SEATS * N_TICKS :]).all()


def test_a_table_is_made_once_and_says_who_flew(tmp_path: Path) -> None:
    small = TableSettings(periods=4, log_periods=1, updates=20, task=SMALL)
    brief = PracticeSettings(epochs=2, periods=1, fewer=1, validate_every=1, validation_periods=2)
    said: list[str] = []
    table = AuctionNetTable(tmp_path, small, said.append, brief)
    rows = table.rows(POLICIES)
    assert [row.policy for row in rows] == list(POLICIES)
    assert rows[3].policy == "dual" and rows[3].gain.mean == 0.0
    assert rows[6].policy == "ppo" and (tmp_path / "ppo.npz").exists()
    for row in rows:
        assert row.score.mean is not None and row.score.mean >= 0.0
        assert 0.0 <= row.within <= 1.0 and row.spend_share <= 1.0
    made = len(said)
    assert made > 0 and AuctionNetTable(tmp_path, small, said.append, brief).rows(POLICIES) == rows
    assert len(said) == made  # all was there
    assert markdown(rows).count("\n") == 2 + len(POLICIES)
    Network.load(tmp_path / "iql.npz").save(tmp_path / "other.npz")
    (other,) = table.rows(["theirs"], {"theirs": tmp_path / "other.npz"})
    assert other.score == rows[5].score  # the same network under another name
    assert json.loads((tmp_path / "config.json").read_text())["periods"] == 4
    with pytest.raises(BadInput, match="settings"):
        AuctionNetTable(tmp_path, dataclasses.replace(small, periods=5))
    with pytest.raises(BadInput, match="policy"):
        table.rows(["nobody"])
    with pytest.raises(BadInput, match="a flight of this theirs"):
        table.rows(["theirs"], {"theirs": tmp_path / "bc.npz"})
    dual, fixed = (tmp_path / f"flown_{name}.npz" for name in ("dual", "fixed"))
    whole = dual.read_bytes()
    for wrong, said_of_it in (
        (fixed.read_bytes(), "a flight of this dual"),
        (whole[:100], "flown_dual.npz.*whole"),
    ):
        dual.write_bytes(wrong)
        with pytest.raises(BadInput, match=said_of_it):
            table.rows(["dual"])
    dual.write_bytes(whole)
    assert table.rows(POLICIES) == rows
    (tmp_path / "config.json").unlink()
    with pytest.raises(BadInput, match="same settings"):
        AuctionNetTable(tmp_path, dataclasses.replace(small, periods=5))
