"""What a journey tells of worth: found where it is there, scaled, saved, and blind to what is hidden."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.agents.networks import read_arrays, write_arrays
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import N_LINES, SOCIAL_LINE
from gaelp.learning import journey_value_data
from gaelp.learning.journey_value import (
    JourneyValue,
    LineWorths,
    ValueSettings,
    calibration_table,
    straight_line,
)
from gaelp.learning.journey_value_data import BID_LEVELS, JourneyRows, identities, join, journey_rows_of
from gaelp.market.file import load
from gaelp.observation.features import FeatureTable
from gaelp.observation.journey import JOURNEY_FEATURES, N_CATEGORIES
from gaelp.platforms.reporting import SEEN
from gaelp.worlds.splits import training_worlds

MARKET = "markets/family_safety.toml"
LAST = JOURNEY_FEATURES.index("journey.last_channel")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "journey_value.py"
QUICK = ValueSettings(core="mlp", units=16, epochs=2)


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("journey_value_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(n_people, seed, length=6, n_levels=0):
    """People whose last channel is 1 or 2 at random; worth is 4 after the order 1, 2 and else a half.

    The order stands in two decisions in a row; what is known at one of them does not hold it.
    """
    rng = np.random.default_rng(seed)
    n = n_people * length
    features = np.zeros((n, len(JOURNEY_FEATURES)), np.float32)
    channel = rng.integers(1, 3, (n_people, length))
    features[:, LAST] = channel.ravel()
    features[:, JOURNEY_FEATURES.index("user.fatigue")] = np.where(rng.random(n) < 0.3, np.nan, rng.random(n))
    order = np.zeros((n_people, length), bool)
    order[:, 1:] = (channel[:, :-1] == 1) & (channel[:, 1:] == 2)
    mean = np.where(order, 4.0, 0.5).ravel()
    return JourneyRows(
        features=features,
        line=rng.integers(SOCIAL_LINE, SOCIAL_LINE + 2, n).astype(np.uint8),
        world=np.arange(n) * 2 // n,
        hour=np.tile(np.arange(length), n_people),
        sequence=np.repeat(np.arange(n_people), length),
        worth_usd=0.01 * mean * rng.gamma(2.0, 0.5, n),
        guess=np.ones(n),
        paid=np.full((n, n_levels), -1, np.int32),
        spend_usd=np.ones(2),
    ), 0.01 * mean


def explained(model, rows, truth):
    left = ((model.predict(rows) - truth) ** 2).sum()
    return 1.0 - left / ((truth - truth.mean()) ** 2).sum()


def test_a_memory_finds_an_order_that_features_of_the_moment_do_not_hold():
    (learn, _), (stop, _), (judge, truth) = made(3000, 0), made(600, 1), made(600, 2)
    found = {
        core: explained(
            JourneyValue.train(learn, stop, ValueSettings(core=core, units=24, epochs=10)), judge, truth
        )
        for core in ("mlp", "gru", "lstm")
    }
    assert found["gru"] > 0.9
    assert found["lstm"] > 0.9
    # the best that one moment tells: whether the last channel is 2, and no more
    channel = judge.features[:, LAST] == 2
    best = np.where(channel, truth[channel].mean(), truth[~channel].mean())
    ceiling = 1.0 - ((best - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    assert found["mlp"] < ceiling + 0.01
    assert found["mlp"] > ceiling - 0.1


def test_the_straight_line_mends_a_scale_that_is_wrong_and_shifted():
    rows, truth = made(3000, 3)
    model = JourneyValue.train(rows, made(300, 4)[0], ValueSettings(core="gru", units=24, epochs=6))
    wrong = replace(rows, worth_usd=2.0 * rows.worth_usd + 0.03)
    model.calibrate(wrong)
    predicted, line = model.predict(wrong), wrong.line
    unit = model.worths.known[line]
    intercept, slope = straight_line(predicted / unit, wrong.worth_usd / unit)
    assert abs(slope - 1.0) < 0.02
    assert abs(intercept) < 0.05
    assert abs(predicted.mean() / (2.0 * truth + 0.03).mean() - 1.0) < 0.05


def test_what_is_uploaded_times_the_guess_is_the_worth():
    rows, truth = made(3000, 15)
    guess = np.random.default_rng(5).choice([0.2, 1.0, 3.0], len(rows))
    rows = replace(rows, guess=guess, worth_usd=rows.worth_usd * guess)
    settings = ValueSettings(core="gru", units=24, epochs=10, upload=True)
    model = JourneyValue.train(rows, rows, settings)
    model.calibrate(rows)
    told = model.predict(rows) * guess / guess.mean()
    assert 1.0 - ((told - truth * guess) ** 2).sum() / ((truth * guess).var() * len(rows)) > 0.9
    assert abs(told.mean() / rows.worth_usd.mean() - 1.0) < 0.02


def test_the_straight_line_is_that_of_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.gamma(1.0, 1.0, 500), rng.gamma(1.0, 1.0, 500)
    slope, intercept = np.polyfit(x, y, 1)
    np.testing.assert_allclose(straight_line(x, y), (intercept, slope))


def test_tenths_hold_all_rows_in_order_and_a_true_prediction_lies_on_the_diagonal():
    rng = np.random.default_rng(1)
    mean = rng.gamma(2.0, 0.5, 200_000)
    came = rng.poisson(mean).astype(float)
    table = calibration_table(mean, came)
    assert (np.diff(table[:, 0]) > 0).all()
    np.testing.assert_allclose(table.mean(axis=0), [mean.mean(), came.mean()])
    assert (abs(table[:, 1] - table[:, 0]) < 4 * np.sqrt(table[:, 0] / 20_000)).all()


def test_poisson_deviance_is_least_at_the_mean_and_equals_twice_the_loss_of_likelihood(benchmark):
    from scipy.stats import poisson

    came = np.array([0.0, 1.0, 3.0, 7.0])
    told = np.array([0.5, 2.0, 3.0, 4.0])
    twice = 2.0 * (poisson.logpmf(came, came) - poisson.logpmf(came, told))
    np.testing.assert_allclose(benchmark.deviance(told, came), twice, atol=1e-12)
    mixed = np.array([-0.4, 0.0, 0.1, 3.0])
    at = [benchmark.deviance(np.full(4, m), mixed).sum() for m in (0.6, mixed.mean(), 0.75)]
    assert at[1] == min(at)


def test_the_best_fifth_of_each_group_is_a_fifth_whatever_ties(benchmark):
    rng = np.random.default_rng(2)
    group, told = rng.integers(0, 5, 1001), rng.integers(0, 6, 1001).astype(float)
    part = benchmark.in_best(told, group, 0.2)
    for g in range(5):
        mine = group == g
        np.testing.assert_allclose(part[mine].sum(), 0.2 * mine.sum())
        full, some = told[mine][part[mine] == 1.0], told[mine][part[mine] > 0.0]
        assert full.size == 0 or full.min() >= some.min()


@pytest.mark.parametrize("core", ["mlp", "gru", "lstm"])
def test_a_model_is_read_back_bit_for_bit(core, tmp_path):
    rows = made(200, 5)[0]
    model = JourneyValue.train(rows, rows, replace(QUICK, core=core))
    model.calibrate(rows)
    model.save(tmp_path / "value.npz")
    again = JourneyValue.load(tmp_path / "value.npz")
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows))
    assert (again.settings, again.history) == (model.settings, model.history)


def test_learning_twice_gives_the_same_bits():
    rows = made(100, 6)[0]
    first, second = (JourneyValue.train(rows, rows, replace(QUICK, core="gru")) for _ in range(2))
    np.testing.assert_array_equal(first.predict(rows), second.predict(rows))


def test_a_file_for_other_features_other_lines_or_of_another_kind_is_refused(tmp_path):
    rows, path = made(100, 7)[0], tmp_path / "value.npz"
    JourneyValue.train(rows, rows, QUICK).save(path)
    other = FeatureTable("journey", JOURNEY_FEATURES.features[:-1])
    with pytest.raises(MismatchError, match=r"budget\.roi"):
        JourneyValue.load(path, other)
    header, arrays = read_arrays(path)
    write_arrays(tmp_path / "lines.npz", {**header, "lines": header["lines"][:-1]}, arrays)
    with pytest.raises(MismatchError, match="lines"):
        JourneyValue.load(tmp_path / "lines.npz")
    write_arrays(tmp_path / "kind.npz", {**header, "kind": "actor"}, arrays)
    with pytest.raises(BadInput, match="journey value"):
        JourneyValue.load(tmp_path / "kind.npz")
    write_arrays(
        tmp_path / "nan.npz", header, {**arrays, "network.head.bias": np.array([np.nan], np.float32)}
    )
    with pytest.raises(BadInput, match="finite"):
        JourneyValue.load(tmp_path / "nan.npz")
    del arrays["line"]
    write_arrays(tmp_path / "part.npz", header, arrays)
    with pytest.raises(BadInput, match="whole"):
        JourneyValue.load(tmp_path / "part.npz")


def test_people_do_not_touch_each_other_and_strangers_get_the_strangers_mean():
    rows = made(300, 8)[0]
    half = replace(rows, sequence=np.where(rows.sequence < 150, rows.sequence, -1))
    model = JourneyValue.train(half, half, replace(QUICK, core="gru"))
    told = model.predict(half)
    np.testing.assert_array_equal(told[~half.known], model.worths.stranger[half.line[~half.known]])
    alone = half.take(half.sequence == 7)
    np.testing.assert_allclose(model.predict(alone), told[half.sequence == 7], rtol=1e-5)
    shuffled = np.random.default_rng(0).permutation(len(half))
    np.testing.assert_allclose(model.predict(half.take(shuffled)), told[shuffled], rtol=1e-5)


def test_nothing_to_learn_from_is_refused():
    rows = made(10, 9)[0]
    nobody = replace(rows, sequence=np.full(len(rows), -1))
    with pytest.raises(BadInput, match="known"):
        JourneyValue.train(nobody, rows, QUICK)
    with pytest.raises(BadInput, match="finite"):
        JourneyValue.train(rows, replace(rows, worth_usd=np.full(len(rows), np.nan)), QUICK)


def test_joined_rows_keep_worlds_and_people_apart():
    a, b = made(10, 10)[0], made(20, 11)[0]
    b = replace(b, sequence=np.where(b.sequence == 3, -1, b.sequence))
    both = join([a, b])
    assert both.sequence.max() == 29
    assert (both.sequence[len(a) :] == -1).sum() == 6
    assert both.world.max() == 3
    assert both.spend_usd.size == 4


def seen_of(*events):
    """(cookie, login, hour, shown) -> SEEN, in the order in which they became known."""
    seen = np.zeros(len(events), SEEN)
    for i, event in enumerate(events):
        seen[i]["visitor"], seen[i]["login"], seen[i]["hour"], seen[i]["shown"] = event
    return seen[np.argsort(seen["shown"], kind="stable")]


def test_a_cookie_becomes_an_address_when_one_event_shows_both_and_not_before():
    known = identities(seen_of((5, 0, 1, 2), (5, 9, 10, 11), (5, 0, 20, 21), (7, 0, 3, 4), (0, 9, 4, 5)))
    asked = np.array([5, 5, 5, 5, 7, 8, 0], np.uint64)
    login = np.array([0, 0, 0, 9, 0, 0, 9], np.uint64)
    hour = np.array([1, 2, 11, 6, 30, 30, 4])
    # cookie 5 is person 0, cookie 7 person 1, address 9 person 2
    assert known.person_at(asked, login, hour).tolist() == [-1, 0, 2, 2, 1, -1, -1]
    of_address = known.shown[known.person == 2]
    assert sorted(of_address.tolist()) == [5, 11, 11, 21]  # the first visit only from the joining on
    assert sorted(known.shown[known.person == 0].tolist()) == [2, 11, 21]


def test_money_is_spent_where_it_buys_most_and_no_more_than_there_is(benchmark):
    """Against a search over all thresholds, where the least winning bid is the price and worth is known."""
    rng, (rows, _) = np.random.default_rng(4), made(200, 12)
    n = len(rows)
    least = rng.integers(3, 25, n)
    price = np.round(1000.0 * BID_LEVELS[least]).astype(np.int32)
    paid = np.where(np.arange(BID_LEVELS.size) >= least[:, None], price[:, None], -1).astype(np.int32)
    rows = replace(rows, paid=paid, spend_usd=np.array([0.2, 1e9]))
    got, cost = benchmark.bought(rows, rows.worth_usd)
    for w, budget in enumerate((0.2, 1e9)):
        mine = rows.world == w
        usd = price[mine] / 1e6
        ratio = rows.worth_usd[mine] / usd
        order = np.argsort(-ratio)
        within = order[np.cumsum(usd[order]) <= budget]
        best = rows.worth_usd[mine][within].sum()
        assert cost[w] <= budget + 1e-9
        assert got[w] <= best * 1.001 + rows.worth_usd.max()
        assert got[w] >= 0.93 * best  # the grid of bids is 25 % wide
    plain, _ = benchmark.bought(rows, np.full(n, rows.worth_usd.mean()))
    assert plain[0] < got[0]
    with pytest.raises(BadInput, match="paid"):
        benchmark.bought(made(5, 13)[0], np.ones(30))


def test_line_worths_are_means_that_lean_on_their_kind_where_rows_are_few():
    rows = made(5000, 14)[0]
    few = np.arange(len(rows)) % 6000 == 0
    rows = replace(
        rows,
        sequence=np.where(rows.sequence < 2000, rows.sequence, -1),
        line=np.where(few, SOCIAL_LINE + 5, rows.line).astype(np.uint8),
        worth_usd=np.where(few, 50.0, rows.worth_usd),
    )
    worths, line = LineWorths.measure(rows), rows.line == SOCIAL_LINE
    for found, chosen in (
        (worths.known, rows.known),
        (worths.stranger, ~rows.known),
        (worths.everybody, True),
    ):
        assert found.shape == (N_LINES,)
        np.testing.assert_allclose(found[SOCIAL_LINE], rows.worth_usd[line & chosen].mean(), rtol=0.005)
    mean = rows.worth_usd.mean()
    np.testing.assert_allclose(worths.everybody[SOCIAL_LINE + 5], (5 * 50.0 + 20 * mean) / 25)
    np.testing.assert_allclose(worths.everybody[SOCIAL_LINE + 3], mean)  # a line without rows


@pytest.fixture(scope="module")
def flown():
    """A small flight, and the same one whose hidden states are shuffled before features are built."""
    worlds = training_worlds(load(MARKET), "train", 2, 99)
    options = {"n_people": 700, "days": 4, "warm_up_days": 20, "every_hours": 7, "priced": True}
    plain = journey_rows_of(worlds, FixedPolicy, **options)
    untouched = journey_value_data._observed

    def hidden_changed(market, *rest):
        draw, people = np.random.default_rng(1), market.pop.people
        for name in ("need", "urgency", "activity", "attention", "price_sensitivity", "ln_need"):
            people[name] = draw.permuted(people[name], axis=1)
        people["stage"] = draw.integers(0, 6, people["stage"].shape)
        people["segment"] = draw.integers(0, 4, people["segment"].shape)
        people["touches"] = 0
        market.pop.goodwill[:] = draw.random(market.pop.goodwill.shape)
        market.pop.memory["views"] = draw.random(market.pop.memory["views"].shape)
        market.rivals.bid[:] = draw.random(market.rivals.bid.shape)
        return untouched(market, *rest)

    journey_value_data._observed = hidden_changed
    try:
        changed = journey_rows_of(worlds, FixedPolicy, **options)
    finally:
        journey_value_data._observed = untouched
    return plain, changed


def test_truth_that_changes_under_the_same_events_changes_no_input(flown):
    plain, changed = flown
    for name in ("features", "line", "world", "hour", "sequence"):
        np.testing.assert_array_equal(getattr(changed, name), getattr(plain, name))


def test_labels_guesses_and_prices_are_no_inputs(flown):
    plain, _ = flown
    model = JourneyValue.train(plain, plain, QUICK)
    other = replace(plain, worth_usd=-plain.worth_usd, guess=0 * plain.guess, paid=0 * plain.paid)
    np.testing.assert_array_equal(model.predict(other), model.predict(plain))


def test_strangers_have_missing_features_and_the_known_have_their_own(flown):
    plain, _ = flown
    stranger = plain.features[~plain.known]
    for name in ("journey.since_first", "user.urgency", "user.fatigue", "user.search_share"):
        assert np.isnan(stranger[:, JOURNEY_FEATURES.index(name)]).all()
    codes = [JOURNEY_FEATURES.index(name) for name in N_CATEGORIES if not name.startswith("market.")]
    assert (stranger[:, codes] == 0).all()
    known = plain.features[plain.known]
    assert 0.05 < plain.known.mean() < 0.95
    assert (known[:, JOURNEY_FEATURES.index("user.identity")] > 0).all()
    assert np.isfinite(known[:, JOURNEY_FEATURES.index("user.urgency")]).all()


def test_a_world_alone_is_what_it_is_beside_others(flown):
    plain, _ = flown
    alone = journey_rows_of(
        training_worlds(load(MARKET), "train", 2, 99)[:1],
        FixedPolicy,
        n_people=700,
        days=4,
        warm_up_days=20,
        every_hours=7,
    )
    mine = plain.take(plain.world == 0)
    for name in ("features", "line", "hour", "sequence", "worth_usd", "guess"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(mine, name))
    np.testing.assert_allclose(alone.spend_usd, plain.spend_usd[:1])


def test_prices_rise_with_the_bid_and_never_pass_it(flown):
    plain, _ = flown
    won = plain.paid >= 0
    assert not won[:, 0].any()
    feed = plain.line >= SOCIAL_LINE
    assert (np.diff(won[feed].astype(int), axis=1) >= 0).all()  # who wins at a bid wins at a higher one
    most = BID_LEVELS * np.where(feed, 1e3, 1e6)[:, None]
    assert (plain.paid[won] <= most[won] + 1.0).all()
    assert won[feed].any()
    assert won[~feed].any()


def test_a_flight_without_a_look_is_refused():
    with pytest.raises(BadInput, match="every_hours"):
        journey_rows_of([], FixedPolicy, n_people=10, days=0)
