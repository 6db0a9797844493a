"""Logs of campaigns: what is written and refused, what is learnt, and when an estimate may be believed."""

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput, MismatchError, UnknownName
from gaelp.learning.offline_campaign import Noise, Worlds, base_name
from gaelp.learning.offline_estimate import estimate, normal_log_density
from gaelp.learning.offline_log import ACTIONS, COLUMNS, LOG, CampaignLog, read_log
from gaelp.market.file import load
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.worlds.registry import TrainedLines, make_policy
from gaelp.worlds.tuned import tuned_for

FILE = load("markets/family_safety.toml")
TUNED = tuned_for(FILE)
BASE = TrainedLines("value", (("social_new_mobile", 1.5),), (("search_generic_mobile", 1),))
N_ACTIONS, NOISE = len(ACTIONS), 0.5


def base_policy():
    return BASE.base(TUNED)


def made_up(rng, n_worlds=40, days=25, *, carried=0.0, base="made up", where=0.5) -> CampaignLog:
    """Days whose reward is known: 2 + x + a0 (1 + x) + carried x yesterday's a0 + a world's luck + noise.

    `x` is the first feature, drawn anew each day; actions are normal noise round 0.
    """
    shape = (n_worlds, days)
    x = rng.uniform(-1.0, 1.0, shape)
    z = rng.standard_normal((*shape, N_ACTIONS))
    a0 = where * z[..., 0]
    before = np.concatenate([np.zeros((n_worlds, 1)), a0[:, :-1]], axis=1)
    luck = 0.3 * rng.standard_normal((n_worlds, 1)) + 0.3 * rng.standard_normal(shape)
    reward = 2.0 + x + a0 * (1.0 + x) + carried * before + luck
    seen = np.zeros((n_worlds * days, len(CAMPAIGN_FEATURES)))
    seen[:, 0] = x.ravel()
    flat = z.reshape(-1, N_ACTIONS)
    n = n_worlds * days
    return CampaignLog(
        world=np.repeat(np.array([f"w{i:03d}" for i in range(n_worlds)]), days),
        day=np.tile(np.arange(days), n_worlds),
        base=base,
        observations=seen,
        actions=where * flat,
        log_density=normal_log_density(flat, np.full(N_ACTIONS, where)),
        budget_usd=np.full(n, 10.0),
        spend_usd=np.full(n, 9.0),
        attributed_usd=9.0 + 10.0 * reward.ravel(),
        incremental_usd=None,
        ended=np.tile(np.arange(days) == days - 1, n_worlds),
    )


def shifted(log: CampaignLog, first: float, others: float = 0.0):
    """A target whose mean is `first` in the first action and `others` elsewhere, with the log's spread."""
    mean = np.full(log.actions.shape, others)
    mean[:, 0] = first
    return mean, np.full(N_ACTIONS, NOISE)


@pytest.fixture(scope="module")
def lived() -> Worlds:
    return Worlds(FILE, n_worlds=12, n_people=400, days=16, runoff_days=3, seed=5)


@pytest.fixture(scope="module")
def log(lived: Worlds) -> CampaignLog:
    return lived.fly(base_policy, Noise(NOISE), base=base_name(BASE, FILE), seed=5)


def test_a_log_comes_back_from_its_file(log: CampaignLog, tmp_path: Path) -> None:
    log.save(tmp_path / LOG)
    again = read_log(tmp_path)
    order = np.lexsort((log.day, log.world))
    for part in dataclasses.fields(log):
        ours, theirs = getattr(log, part.name), getattr(again, part.name)
        assert (ours == theirs) if part.name == "base" else (ours[order] == theirs).all()


def test_the_log_knows_the_density_of_its_draws(log: CampaignLog) -> None:
    from scipy.stats import norm

    assert log.actions.shape == (12 * 16, N_ACTIONS) and log.base == base_name(BASE, FILE)
    theirs = norm.logpdf(log.actions, scale=NOISE).sum(axis=1)
    np.testing.assert_allclose(log.log_density, theirs, atol=1e-9)
    assert abs(log.actions.mean()) < 4.0 * NOISE / np.sqrt(log.actions.size)


def test_a_days_money_adds_up_to_the_campaigns(lived: Worlds, log: CampaignLog) -> None:
    """Spend is within the budget; values sum to what another flight of the same draws earned in all."""
    assert (log.spend_usd <= log.budget_usd * 1.0001).all() and log.spend_usd.sum() > 0.0
    assert (log.attributed_usd % FILE.ltv_usd < 1e-6).all()  # whole conversions
    again = lived.fly(base_policy, Noise(NOISE), base=log.base, seed=5)
    assert (again.attributed_usd == log.attributed_usd).all()  # the same draws are the same life
    other = lived.fly(base_policy, Noise(NOISE), seed=6)
    assert (other.actions != log.actions).any()
    assert log.incremental_usd is not None and np.isfinite(log.incremental_usd).all()


def test_a_table_without_what_is_needed_is_refused_by_name(log: CampaignLog, tmp_path: Path) -> None:
    parquet = import_module("pyarrow.parquet")

    path = tmp_path / LOG
    log.save(path)
    table = parquet.read_table(path)
    for name in ("log_density", ACTIONS[3], CAMPAIGN_FEATURES.names[7], *COLUMNS):
        parquet.write_table(table.drop([name]), path)
        with pytest.raises(UnknownName, match=name.replace(".", r"\.")):
            read_log(path)
    parquet.write_table(table.drop(["incremental_usd"]), path)  # an account has no such column
    known = read_log(path)
    assert known.reward("attributed").shape == log.day.shape
    with pytest.raises(BadInput, match="incremental_usd"):
        known.reward("incremental")
    parquet.write_table(table.slice(0, 7), path)
    with pytest.raises(BadInput, match="ended of world"):
        read_log(path)
    parquet.write_table(table.filter(np.asarray(table["day"]) != 3), path)
    with pytest.raises(BadInput, match="day of world"):
        read_log(path)
    version = table.column_names.index("features_version")
    parquet.write_table(table.set_column(version, "features_version", [["old"] * len(table)]), path)
    with pytest.raises(MismatchError, match="campaign features"):
        read_log(path)
    with pytest.raises(BadInput, match="log"):
        read_log(tmp_path / "nothing")


def test_estimates_are_those_of_a_plain_second_implementation() -> None:
    log = made_up(np.random.default_rng(0))
    mean, spread = shifted(log, 0.15, 0.05)
    found = estimate(log, mean, spread, horizon=2)
    from scipy.stats import norm

    earned, weights = log.reward("attributed"), []
    for row in range(len(log.day)):
        weight = 1.0
        for day in range(max(0, log.day[row] - 1), log.day[row] + 1):
            at = row - (log.day[row] - day)
            weight *= np.exp(norm.logpdf(log.actions[at], mean[at], spread).sum() - log.log_density[at])
        weights.append(weight)
    w = np.array(weights)
    assert found["reason"] is None
    assert found["ips"] == pytest.approx((w * earned).mean())
    assert found["snips"] == pytest.approx((w * earned).sum() / w.sum())
    assert found["effective_sample_size"] == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert found["intervals"]["dr"][0] < found["dr"] < found["intervals"]["dr"][1]


def test_intervals_cover_the_truth_as_often_as_they_say_for_a_policy_near_the_log() -> None:
    """E reward = 2 + E a0; 300 logs, so the share covered has a standard error of 1.3 points."""
    covered = dict.fromkeys(("ips", "snips", "dr", "gain"), 0)
    rng = np.random.default_rng(1)
    for _ in range(300):
        log = made_up(rng, 30, 20)
        found = estimate(log, *shifted(log, 0.2))
        assert found["reason"] is None or "moves rewards" in found["reason"]  # a false alarm in a hundred
        if found["refused"]:
            continue
        truth = {"ips": 2.2, "snips": 2.2, "dr": 2.2, "gain": 0.2}
        for name, (low, high) in found["intervals"].items():
            covered[name] += low <= truth[name] <= high
    assert all(270 <= count <= 300 for count in covered.values()), covered


def test_the_gate_refuses_what_the_log_cannot_support() -> None:
    log = made_up(np.random.default_rng(2))
    near = estimate(log, *shifted(log, 0.2))
    assert not near["refused"] and near["effective_sample_size"] > 500.0
    far = estimate(log, *shifted(log, 0.8, 0.8))
    assert far["refused"] and "effective sample size" in far["reason"]
    assert far["ips"] is None and far["intervals"] is None
    beyond = estimate(log, *shifted(log, 3.0))
    assert beyond["refused"] and "outside all that was logged" in beyond["reason"]
    long = estimate(log, *shifted(log, 0.2, 0.2), horizon=20)
    assert long["refused"] and "horizon" in long["reason"]
    known = estimate(log, *shifted(log, 0.2), trained_on=["w007"])
    assert known["refused"] and "w007" in known["reason"]
    wrong = dataclasses.replace(log, log_density=log.log_density - 1.0)
    assert "densities" in estimate(wrong, *shifted(wrong, 0.2))["reason"]


def test_a_horizon_that_leaves_out_what_still_counts_is_refused_and_the_next_one_covers() -> None:
    log = made_up(np.random.default_rng(3), 60, 25, carried=0.8)
    short = estimate(log, *shifted(log, 0.2))
    assert short["refused"] and "1 days before still moves rewards" in short["reason"]
    whole = estimate(log, *shifted(log, 0.2), horizon=2)
    truth = 2.2 + 0.8 * 0.2 * 24 / 25  # no day comes before the first
    assert not whole["refused"], whole["reason"]
    assert whole["intervals"]["dr"][0] <= truth <= whole["intervals"]["dr"][1]


def test_questions_that_cannot_be_asked_are_refused() -> None:
    log = made_up(np.random.default_rng(4), 12, 12)
    mean, spread = shifted(log, 0.1)
    with pytest.raises(BadInput, match="horizon"):
        estimate(log, mean, spread, horizon=0)
    with pytest.raises(BadInput, match="target"):
        estimate(log, mean[:-1], spread)
    with pytest.raises(BadInput, match="target"):
        estimate(log, mean, 0.0 * spread)
    with pytest.raises(BadInput, match="level"):
        estimate(log, mean, spread, level=1.0)
    with pytest.raises(BadInput, match="noise"):
        Noise(3.0)


class Drawn:
    """A policy near the log's: a mean of its own, and the log's draws."""

    def __init__(self, mean: float) -> None:
        self.mean = np.full(N_ACTIONS, mean)

    def decide(self, observation, generators):
        z = np.stack([generator.standard_normal(N_ACTIONS) for generator in generators])
        return self.mean + NOISE * z, normal_log_density(z, np.full(N_ACTIONS, NOISE))


def test_in_the_market_the_estimate_covers_the_truth_near_the_log_and_refuses_far_from_it(
    lived: Worlds, log: CampaignLog
) -> None:
    spread = np.full(N_ACTIONS, NOISE)
    near = np.full(log.actions.shape, 0.05)
    found = estimate(log, near, spread, level=0.99)
    assert not found["refused"], found["reason"]
    truth = np.mean([lived.fly(base_policy, Drawn(0.05), seed=s).reward("attributed").mean() for s in (7, 8)])
    low, high = found["intervals"]["dr"]
    assert low <= truth <= high
    far = estimate(log, np.full(log.actions.shape, 1.0), spread)
    assert far["refused"] and far["effective_sample_size"] < 100.0


def test_bc_copies_noise_round_nothing_and_iql_leans_to_what_paid(tmp_path: Path) -> None:
    from gaelp.learning.offline import OfflineSettings
    from gaelp.learning.offline_policy import OfflinePolicy, deviation, means, train

    log = made_up(np.random.default_rng(5), 100, 30, base=base_name(BASE, FILE))
    how = OfflineSettings(hidden=32, learning_rate=3e-3, temperature=4.0, discount=0.0)
    learnt = {}
    for method in ("bc", "iql"):
        out = tmp_path / method
        told = train(log, FILE, BASE, method=method, reward="attributed", out=out, updates=200, settings=how)
        assert told["days"] == 3_000 and told["copied"] is None
        learnt[method] = OfflinePolicy.load(out, FILE)
        make_policy(str(out), FILE)()  # flies as any other
    fresh = made_up(np.random.default_rng(6), 100, 30, base=log.base)
    copied, chosen = (means(policy.network, fresh) for policy in learnt.values())
    assert np.abs(copied.mean(axis=0)).max() < 0.05
    assert chosen[:, 0].mean() > 0.1 and np.abs(chosen[:, 1:].mean(axis=0)).max() < 0.5 * chosen[:, 0].mean()
    found = estimate(fresh, chosen, deviation(learnt["iql"].network), trained_on=["another"])
    truth = 2.0 + (chosen[:, 0] * (1.0 + fresh.observations[:, 0])).mean()
    assert not found["refused"], found["reason"]
    assert found["intervals"]["dr"][0] <= truth <= found["intervals"]["dr"][1]
    assert found["intervals"]["gain"][0] > 0.0


def test_a_checkpoint_is_of_its_base_and_never_replaces_another_training(tmp_path: Path) -> None:
    from gaelp.learning.offline_policy import OfflinePolicy, train

    log = made_up(np.random.default_rng(7), 12, 12, base=base_name(BASE, FILE))
    options: dict[str, Any] = {"method": "bc", "reward": "attributed", "updates": 2}
    with pytest.raises(MismatchError, match="base"):
        train(dataclasses.replace(log, base="other"), FILE, BASE, out=tmp_path / "a", **options)
    with pytest.raises(BadInput, match="updates"):
        train(log, FILE, BASE, out=tmp_path / "a", **{**options, "updates": 0})
    with pytest.raises(BadInput, match="incremental_usd"):
        train(log, FILE, BASE, out=tmp_path / "a", **{**options, "reward": "incremental"})
    train(log, FILE, BASE, out=tmp_path / "a", **options)
    train(log, FILE, BASE, out=tmp_path / "a", **options)  # a training of the same kind is replaced
    with pytest.raises(MismatchError, match="base"):
        OfflinePolicy.load(tmp_path / "a", FILE).require_base("other")
    from gaelp.worlds.registry import write_checkpoint

    write_checkpoint(tmp_path / "ppo", FILE, {}, agent="controller")
    with pytest.raises(BadInput, match="not trained offline"):
        train(log, FILE, BASE, out=tmp_path / "ppo", **options)
    with pytest.raises(BadInput, match="offline train"):
        OfflinePolicy.load(tmp_path / "ppo", FILE)
