"""AuctionNet's task: its rules by examples, by an independent slow loop, and by what must never happen."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from gaelp.agents.auctionnet_policies import (
    AUCTIONNET_FEATURES,
    CostCurve,
    Dual,
    Fixed,
    Learned,
    Mixed,
    Network,
    OnlineLp,
    SeatView,
    StepPid,
)
from gaelp.core.errors import BadInput, MismatchError
from gaelp.worlds.auctionnet import AuctionNet
from gaelp.worlds.auctionnet_flight import cost_curve, earlier_periods, fly, round_robin, stated_rivals
from gaelp.worlds.auctionnet_task import (
    BUDGET,
    CPA_LIMIT,
    N_SEATS,
    N_TICKS,
    TRAFFIC,
    AuctionNetSettings,
    score,
    true_chance,
)

SMALL = AuctionNetSettings(n_opportunities=4_000, budget_ratio=4_000 / 500_000)
RICH = dataclasses.replace(SMALL, budget_ratio=1e6)
CURVE = CostCurve(
    edge=np.array([10.0, 100.0]),
    cost=np.full((N_TICKS, 2), 1.0),
    traffic=np.full(N_TICKS, 1.0 / N_TICKS),
)


def flown_by(policy, n_periods=1, rules=SMALL, seed=3, periods=None):
    """(what each tick brought, the environment after the last)."""
    env = AuctionNet(n_periods, rules)
    view, outcomes = env.reset(seed, periods), []
    for tick in range(N_TICKS):
        outcomes.append(env.step(policy.act(view)))
        if tick < N_TICKS - 1:
            view = env.view()
    return outcomes, env


def test_score_marks_down_only_what_cost_more_than_the_limit() -> None:
    assert score(30.0, 2_400.0, 100.0) == 30.0  # CPA 80
    assert score(30.0, 3_000.0, 100.0) == 30.0  # CPA 100
    assert score(30.0, 6_000.0, 100.0) == pytest.approx(30.0 / 4.0)  # CPA 200
    assert score([0.0, 0.0], [10.0, 0.0], 100.0).tolist() == [0.0, 0.0]


@given(st.integers(1, 500), st.floats(0.01, 1e6), st.floats(1.0, 1e3))
def test_score_is_the_published_formula(conversions: int, spend: float, limit: float) -> None:
    cpa = spend / conversions
    published = conversions * (1.0 if cpa <= limit else (limit / cpa) ** 2)
    assert score(conversions, spend, limit) == pytest.approx(published, rel=1e-9)


def test_budgets_limits_and_traffic_are_those_published() -> None:
    assert N_SEATS == 48 and N_TICKS == 48 and len(BUDGET) == len(CPA_LIMIT) == N_SEATS
    assert BUDGET.sum() == 150_000 and BUDGET.min() == 2_000 and BUDGET.max() == 4_850
    assert sorted(set(CPA_LIMIT.tolist())) == [60, 70, 80, 90, 100, 110, 120, 130]
    for category in CPA_LIMIT.reshape(6, 8):
        assert sorted(category.tolist()) == [60, 70, 80, 90, 100, 110, 120, 130]
    assert TRAFFIC.sum() == pytest.approx(1.0) and TRAFFIC.argmax() == 18  # 9:00 to 9:30
    env = AuctionNet(40)
    env.reset(0)
    assert (np.abs(env.n_opportunities.sum(axis=1) - 500_000) <= N_TICKS).all()  # a tick's are rounded down


def test_values_have_the_published_mean_and_spread() -> None:
    env = AuctionNet(200, dataclasses.replace(SMALL, n_opportunities=1_000))
    env.reset(0)
    means = env._mean / 5e-4  # (n_periods, n_ticks, n_seats)
    assert abs(means.mean() - 1.0) < 4.0 * 0.4 / np.sqrt(200 * 6 * 6)
    assert means.min() >= 0.3 * 0.5 and means.max() <= 1.7 * 1.5
    first = means[:, :, ::8]
    assert first.min() >= 0.3 and first.max() <= 1.7
    spreads = (env._sd / env._mean).mean(axis=1)  # (n_periods, n_seats): N(0.5, 0.1) over seats
    assert abs(spreads.mean() - 0.5) < 0.01 and abs(spreads.std() - 0.1) < 0.01


def test_no_two_ticks_or_periods_share_draws() -> None:
    env = AuctionNet(2, RICH)
    env.reset(0)
    seen = []
    for _ in range(3):
        outcome = env.step(np.full((2, N_SEATS), 100.0))
        for p, (value, _) in enumerate(env.opportunities):
            tick = env.tick - 1
            seen.append(((value - env._mean[p, tick]) / env._sd[p, tick])[:20])
            seen.append(np.resize(outcome.impressions[p], (20, N_SEATS)))
    for i, one in enumerate(seen):
        assert not any(np.allclose(one, other, atol=1e-3) for other in seen[:i])


def test_a_period_is_the_same_whatever_is_flown_beside_it() -> None:
    beside, _ = flown_by(StepPid(), 3, periods=[7, 2, 9])
    alone, _ = flown_by(StepPid(), 1, periods=[2])
    for a, b in zip(beside, alone, strict=True):
        assert (a.spend[1] == b.spend[0]).all() and (a.conversions[1] == b.conversions[0]).all()
    other, _ = flown_by(StepPid(), 1, periods=[2], seed=4)
    assert any((a.spend != b.spend).any() for a, b in zip(alone, other, strict=True))


def test_a_lone_bidder_wins_and_pays_the_floor() -> None:
    env = AuctionNet(1, RICH)
    env.reset(0)
    value_sum = env.view().features[0, 5, AUCTIONNET_FEATURES.index("value_now")]
    multiplier = np.zeros((1, N_SEATS))
    multiplier[0, 5] = 100.0
    outcome = env.step(multiplier)
    value, least = env.opportunities[0]
    could = (value[:, 5] * 100.0 >= RICH.floor).sum()
    assert value_sum > 0 and could > 0
    assert outcome.wins[0, 5] == could == outcome.impressions[0, 5]  # the first slot is always shown
    assert outcome.spend[0, 5] == pytest.approx(RICH.floor * could)
    assert outcome.wins[0].sum() == could and (least == RICH.floor).all()


def test_clearing_is_that_of_a_slow_loop() -> None:
    rules = dataclasses.replace(RICH, shown=(1.0, 1.0, 1.0))
    env = AuctionNet(2, rules)
    env.reset(11)
    multiplier = np.random.default_rng(0).uniform(0.0, 150.0, (2, N_SEATS)) * (np.arange(N_SEATS) % 5 > 0)
    outcome = env.step(multiplier)
    for p, (value, least) in enumerate(env.opportunities):
        spend, wins, worth = np.zeros(N_SEATS), np.zeros(N_SEATS), np.zeros(N_SEATS)
        for i, row in enumerate(value):
            bids = sorted(
                ((float(v) * m, s) for s, (v, m) in enumerate(zip(row, multiplier[p], strict=True)))
            )
            bids = [(bid, seat) for bid, seat in reversed(bids) if bid >= rules.floor]
            for slot, (_, seat) in enumerate(bids[:3]):
                following = bids[slot + 1][0] if slot + 1 < len(bids) else 0.0
                spend[seat] += max(following, rules.floor)
                wins[seat] += 1
                worth[seat] += row[seat]
            assert least[i] == pytest.approx(max(bids[3][0] if len(bids) > 3 else 0.0, rules.floor))
        np.testing.assert_allclose(outcome.spend[p], spend, rtol=1e-9)
        np.testing.assert_array_equal(outcome.wins[p], wins)
        np.testing.assert_allclose(outcome.worth[p], worth, rtol=1e-6)


@pytest.mark.statistical
def test_slots_are_shown_as_often_as_published() -> None:
    outcomes, _ = flown_by(Fixed(), 4, RICH)
    wins = sum(o.wins.sum() for o in outcomes)
    shown = sum(o.impressions.sum() for o in outcomes)
    expected = (1.0 + 0.8 + 0.8 * 0.6) / 3.0  # the third needs the second
    se = np.sqrt((0.8 * 0.2 + 0.48 * 0.52 + 2 * 0.48 * 0.2) / 9.0 / (wins / 3.0))
    assert abs(shown / wins - expected) < 4.0 * se


@pytest.mark.statistical
def test_conversions_come_as_often_as_the_true_chance_says() -> None:
    likely = dataclasses.replace(RICH, base_value=0.05)
    outcomes, env = flown_by(Fixed(), 4, likely)
    expected = sum((o.worth * env._truth).sum() for o in outcomes)
    came = sum(o.conversions.sum() for o in outcomes)
    assert abs(came - expected) < 4.0 * np.sqrt(expected)


@pytest.mark.statistical
def test_true_chance_is_the_mean_of_the_truncated_normal_it_stands_for() -> None:
    draw = np.random.default_rng(0)
    for sigma, low, high in ((0.15, 0.4, 1.8), (0.25, 2.0, 0.1), (0.05, 1.0, 1.0)):
        share = np.minimum(np.abs(draw.normal(sigma, sigma / 2.0, 200_000)), 0.3)
        chance = 1.0 + share * truncnorm.rvs(-low, high, size=share.size, random_state=draw)
        ours = true_chance(np.array([sigma]), np.array([low]), np.array([high]))[0]
        assert abs(ours - chance.mean()) < 4.0 * chance.std() / np.sqrt(share.size)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(20.0, 2_000.0))
def test_no_seat_spends_more_than_its_budget(seed: int, multiplier: float) -> None:
    rules = dataclasses.replace(SMALL, n_opportunities=1_000, budget_ratio=0.0005, least_budget=0.0001)
    env = AuctionNet(1, rules)
    env.reset(seed)
    spend = np.zeros((1, N_SEATS))
    for _ in range(N_TICKS):
        outcome = env.step(np.full((1, N_SEATS), multiplier))
        spend += outcome.spend
        assert (outcome.spend <= np.maximum(env.budget - (spend - outcome.spend), 0.0) + 1e-9).all()
    assert (spend <= env.budget + 1e-9).all() and (env.left >= -1e-12).all()
    assert (spend > 0.5 * env.budget).any()


def test_what_a_poor_seat_cannot_pay_goes_to_the_next_bidder() -> None:
    env = AuctionNet(1, RICH)
    env.reset(0)
    env.left[0, 0] = 1.0
    multiplier = np.full((1, N_SEATS), 90.0)
    multiplier[0, 0] = 100_000.0
    outcome = env.step(multiplier)
    assert 0.5 < outcome.spend[0, 0] <= 1.0
    assert outcome.wins.sum() == 3 * len(env.opportunities[0][0])  # no slot stays empty


def test_a_seat_with_less_than_the_least_budget_stops() -> None:
    env = AuctionNet(1, SMALL)
    env.reset(0)
    env.left[0, 3] = 0.09
    assert env.step(np.full((1, N_SEATS), 100.0)).wins[0, 3] == 0.0


def test_features_are_what_the_log_of_a_seat_says() -> None:
    env = AuctionNet(1, RICH)
    env.reset(5)
    bids, values, least, wins, conversions, counts, worth = [], [], [], [], [], [], 0.0
    for tick in range(6):
        chosen = np.full((1, N_SEATS), 40.0 + 10.0 * tick)
        outcome = env.step(chosen)
        value, cost = env.opportunities[0]
        bids.append(value[:, 2] * chosen[0, 2])
        values.append(value[:, 2])
        least.append(cost)
        wins.append(outcome.wins[0, 2])
        conversions.append(outcome.conversions[0, 2])
        counts.append(len(cost))
        worth += outcome.worth[0, 2]
    view = env.view()
    told = dict(zip(AUCTIONNET_FEATURES.names, view.features[0, 2], strict=True))
    unit = CPA_LIMIT[2] * 5e-4
    assert told["cost"] == pytest.approx((env.budget - env.left)[0, 2] / worth / CPA_LIMIT[2])
    assert told["budget"] == pytest.approx(env.budget[0, 2] / unit / 4_000)
    assert told["time_left"] == 42 / 48 and told["budget_left"] == env.left[0, 2] / env.budget[0, 2]
    for suffix, part in (("", slice(None)), ("_last_3", slice(3, None))):
        n = sum(counts[part])
        assert told[f"bid{suffix}"] == pytest.approx(np.concatenate(bids[part]).mean() / unit, rel=1e-5)
        expected = np.concatenate(least[part]).mean() / unit
        assert told[f"least_winning_cost{suffix}"] == pytest.approx(expected)
        assert told[f"value{suffix}"] == pytest.approx(np.concatenate(values[part]).mean() / 5e-4, rel=1e-5)
        assert told[f"win_rate{suffix}"] == pytest.approx(sum(wins[part]) / n)
        came = sum(conversions[part]) / n * 4_000 * CPA_LIMIT[2] / env.budget[0, 2]
        assert told[f"conversions{suffix}"] == pytest.approx(came)
        assert told[f"opportunities{suffix}"] == pytest.approx(n / 4_000)


def test_bad_input_is_refused() -> None:
    env = AuctionNet(1, SMALL)
    with pytest.raises(BadInput, match="reset"):
        env.step(np.ones((1, N_SEATS)))
    env.reset(0)
    for wrong in (np.ones(N_SEATS), -np.ones((1, N_SEATS)), np.full((1, N_SEATS), np.nan)):
        with pytest.raises(BadInput, match="multiplier"):
            env.step(wrong)
    with pytest.raises(BadInput, match="n_opportunities"):
        AuctionNetSettings(n_opportunities=10)
    with pytest.raises(BadInput, match="floor"):
        AuctionNetSettings(floor=-1.0)
    with pytest.raises(BadInput, match="periods"):
        env.reset(0, [1, 2])


def view_of(tick=1, left=10.0, spend=1.0, worth=0.0, limit=100.0, budget=20.0) -> SeatView:
    def one(number: float) -> np.ndarray:
        return np.array([[number]])

    return SeatView(
        tick=tick, n_ticks=48, budget=one(budget), limit=one(limit), left=one(left), spend=one(spend),
        worth=one(worth), features=np.zeros((1, 1, 18)),
    )  # fmt: skip


@pytest.mark.parametrize(("spend", "factor"), [(0.1, 1.2), (0.2, 1.0), (0.3, 0.7)])
def test_step_pid_steps_as_published(spend: float, factor: float) -> None:
    policy = StepPid()
    assert policy.act(view_of(tick=0))[0, 0] == 100.0
    # 46 ticks to come: 0.1, 0.2 and 0.3 a tick project to 0.46, 0.92 and 1.38 of the 10 left
    assert policy.act(view_of(tick=2, spend=spend))[0, 0] == pytest.approx(100.0 * factor)


def test_online_lp_buys_what_would_have_used_the_money_left() -> None:
    policy = OnlineLp(CURVE)
    assert policy.act(view_of(tick=0, left=20.0))[0, 0] == 10.0  # the first bin alone cost 48
    assert policy.act(view_of(tick=0, left=50.0, limit=90.0))[0, 0] == 100.0
    assert policy.act(view_of(tick=0, left=50.0, limit=60.0))[0, 0] == 90.0  # 1.5 limits
    assert policy.act(view_of(tick=40, left=50.0, limit=60.0))[0, 0] == 60.0  # all there is costs 16


def test_dual_leans_against_overspending_and_against_dear_conversions() -> None:
    def second(**given) -> float:
        policy = Dual(CURVE, margin=0.9)
        policy.act(view_of(tick=0, left=20.0))
        return float(policy.act(view_of(tick=1, left=20.0, **given))[0, 0])

    plan = 20.0 / 48
    on_plan = second(spend=plan, worth=plan / 90.0)  # as planned, at the limit that is aimed at
    policy = Dual(CURVE, margin=0.9)
    assert on_plan == pytest.approx(policy.act(view_of(tick=0, left=20.0))[0, 0])
    assert second(spend=1.5 * plan, worth=1.5 * plan / 90.0) < on_plan
    assert second(spend=0.5 * plan, worth=0.5 * plan / 90.0) > on_plan
    cheap_start = CostCurve(edge=np.array([500.0]), cost=np.full((48, 1), 1.0), traffic=CURVE.traffic)
    rich = Dual(cheap_start, margin=0.9)
    first = float(rich.act(view_of(tick=0, left=20.0))[0, 0])
    assert first > 100.0  # money to spare: above the limit
    assert rich.act(view_of(tick=1, left=20.0, spend=plan, worth=0.5 * plan / 90.0))[0, 0] < first


def test_flights_pair_and_rotate_seats() -> None:
    curve = earlier_periods(seed=1, n_periods=1, settings=SMALL)
    rivals = stated_rivals(curve)
    many = fly(Fixed(), rivals, seed=2, periods=range(8), settings=SMALL)
    assert round_robin([0, 1, 47, 48]).tolist() == [0, 1, 47, 0]
    assert many.limit.tolist() == CPA_LIMIT[:8].tolist()
    alone = fly(Fixed(), rivals, seed=2, periods=[7], settings=SMALL)
    assert alone.spend[0] == many.spend[7] and alone.conversions[0] == many.conversions[7]
    assert (fly(Fixed(0.0), rivals, seed=2, periods=range(2), settings=SMALL).spend == 0.0).all()


def test_the_cost_curve_counts_what_the_market_cost() -> None:
    rules = dataclasses.replace(RICH, n_opportunities=20_000)
    curve = cost_curve(Fixed(), seed=1, periods=[0], settings=rules)
    env = AuctionNet(1, rules)
    env.reset(1, [0])
    env.step(env.limit)
    value, least = env.opportunities[0]
    cheap = np.where(least[:, None] / np.maximum(value, 1e-12) <= 100.0, least[:, None], 0.0)
    at = np.searchsorted(curve.edge, 100.0)
    assert curve.cost[0, :at].sum() == pytest.approx(cheap.sum() / N_SEATS, rel=0.2)  # every eighth


def test_a_network_file_comes_back_and_wants_its_features(tmp_path: Path, monkeypatch) -> None:
    draw = np.random.default_rng(0)
    network = Network(
        mean=np.zeros(18), scale=np.ones(18), weights=(draw.normal(size=(4, 18)), draw.normal(size=(1, 4))),
        biases=(np.zeros(4), np.zeros(1)), low=-1.0, high=0.5, squash=True,
    )  # fmt: skip
    network.save(tmp_path / "a.npz")
    features = draw.normal(size=(3, 48, 18))
    again = Network.load(tmp_path / "a.npz")
    assert (again.action(features) == network.action(features)).all()
    assert again.action(features).min() >= -1.0 and again.action(features).max() <= 0.5
    view = dataclasses.replace(view_of(), features=features, limit=np.full((3, 48), 80.0))
    assert np.allclose(Learned(again).act(view), 80.0 * np.exp(network.action(features)))
    (tmp_path / "b.npz").write_text("no network")
    with pytest.raises(BadInput, match="network"):
        Network.load(tmp_path / "b.npz")
    fewer = dataclasses.replace(AUCTIONNET_FEATURES, features=AUCTIONNET_FEATURES.features[:-1])
    monkeypatch.setattr("gaelp.agents.auctionnet_policies.AUCTIONNET_FEATURES", fewer)
    with pytest.raises(MismatchError, match="budget"):
        Network.load(tmp_path / "a.npz")


def test_mixed_seats_follow_their_own_policy() -> None:
    env = AuctionNet(1, SMALL)
    chosen = Mixed((Fixed(), Fixed(0.5))).act(env.reset(0))
    assert (chosen[:, ::2] == CPA_LIMIT[::2]).all() and (chosen[:, 1::2] == 0.5 * CPA_LIMIT[1::2]).all()
