"""Where rewards come from: what each credit pays, what the brief's rewards, and what shaping leaves alone."""

import datetime as dt
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gaelp.agents.baselines import FixedPolicy
from gaelp.core.errors import BadInput, UnknownName
from gaelp.core.words import LINES, N_LINES, NO_LINE
from gaelp.journeys.batch import Event
from gaelp.journeys.rewards import RewardLedger
from gaelp.journeys.store import JourneyStore
from gaelp.journeys.table import JourneyTable
from gaelp.learning.credit import (
    CREDITS,
    DEFAULT_CREDIT,
    BriefSettings,
    Flown,
    attributed,
    attributed_value,
    brief,
    by_step,
    incremental,
    settled,
    shaped,
    shaping,
    shares,
)
from gaelp.learning.replay import oversample
from gaelp.learning.sequences import DecisionLog, End, gae
from gaelp.market.file import load
from gaelp.measurement.attribution import MODELS, Unanswerable, attribute
from gaelp.worlds.flight import fly_together, make_market, run_off
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.twins import ALL_LINES, replay
from gaelp.worlds.visible import event_rows

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
ALIKE = BriefSettings(crisis_weight=1.0, other_weight=1.0)


def people(value_usd, cost_usd, days, *, twin_usd=0.0, **more):
    """One touch each; who brings nothing is lost fourteen days later."""
    value, cost, days, twin = np.broadcast_arrays(
        *(np.asarray(x, float) for x in (value_usd, cost_usd, days, twin_usd))
    )
    n = value.size
    table = JourneyTable(
        channels=("search",),
        offsets=np.arange(n + 1),
        channel=np.zeros(n, int),
        conversions=(value > 0).astype(int),
        nulls=(value == 0).astype(int),
        value_usd_micros=(value * 1e6).round().astype(int),
        touch_hour=np.zeros(n),
        end_hour=24.0 * np.where(value > 0, days, 14.0),
    )
    return Flown(journeys=table, cost_usd=cost.copy(), twin_value_usd=twin.copy(), **more)


# what the brief's reward rewards


def test_the_penalty_for_a_dear_sale_pays_for_losing_more():
    dear, lesser_loss = people([108.0], 150.0, 10), people([50.0], 90.0, 10)
    assert brief(dear, ALIKE).sum() == pytest.approx(-33.6)  # 0.8 x -42: over the target of $100
    assert brief(lesser_loss, ALIKE).sum() == pytest.approx(-40.0)
    assert incremental(dear).sum() == -42.0 < incremental(lesser_loss).sum() == -40.0
    # past the target each further dollar costs 80 cents
    dearer = people([108.0], 200.0, 10)
    assert brief(dear, ALIKE).sum() - brief(dearer, ALIKE).sum() == pytest.approx(40.0)
    assert incremental(dear).sum() - incremental(dearer).sum() == 50.0


def test_the_bonus_for_a_quick_sale_prefers_those_who_would_have_bought_anyway():
    poached = people([180.0], 20.0, 1, twin_usd=180.0)
    won = people([180.0], 20.0, 9, twin_usd=0.0)
    assert brief(poached, ALIKE).sum() == pytest.approx(1.2 * 160.0)
    assert brief(won, ALIKE).sum() == pytest.approx(160.0)
    assert (incremental(poached).sum(), incremental(won).sum()) == (-20.0, 160.0)


def test_the_charge_at_timeout_pays_for_touches_twice_and_stops_what_earns():
    flown = people(np.where(np.arange(20) < 3, 180.0, 0.0), 20.0, 9)
    assert incremental(flown).sum() == 3 * 180.0 - 20 * 20.0 == 140.0
    assert brief(flown, ALIKE).sum() == pytest.approx(140.0 - 17 * 20.0)  # -200: touching looks like a loss
    # the chance to buy from which a touch of $20 pays: 11 % is enough, the brief wants 20 %
    for chance, pays in ((20 / 180, incremental), (2 * 20 / (180 + 20), lambda one: brief(one, ALIKE))):
        outcomes = [pays(people([value], 20.0, 9)).sum() for value in (180.0, 0.0)]
        assert np.dot([chance, 1.0 - chance], outcomes) == pytest.approx(0.0)


def test_the_crisis_weight_counts_value_twice():
    crisis = np.arange(10) < 1  # one in ten, as drawn from the population
    for_crisis = people(np.where(crisis, 190.0, 100.0), 100.0, 9, crisis=crisis)  # $90 on the one
    for_others = people(np.where(crisis, 100.0, 110.5), 100.0, 9, crisis=crisis)  # $10.50 on each of nine
    assert (incremental(for_crisis).sum(), incremental(for_others).sum()) == (90.0, 94.5)
    assert brief(for_crisis).sum() == pytest.approx(90.0)
    assert brief(for_others).sum() == pytest.approx(0.9 * 94.5)  # $85.05: the poorer choice wins


def test_the_crisis_weight_does_not_undo_oversampling():
    crisis = np.arange(1000) < 100
    chosen, weight = oversample(crisis, 0.5, 400, np.random.default_rng(0))
    right = weight[crisis[chosen]][0] / weight[~crisis[chosen]][0]
    settings = BriefSettings()
    assert right == pytest.approx(1 / 9)
    # ten times the right one: the value of a crisis person, which their reward already holds
    assert settings.crisis_weight / settings.other_weight == pytest.approx(10 * right)


def test_the_briefs_reward_is_its_parts():
    table = JourneyTable(
        channels=("search", "social"),
        offsets=[0, 2, 4],
        channel=[1, 0, 1, 1],
        conversions=[1, 0],
        nulls=[0, 1],
        value_usd_micros=[180_000_000, 0],
        touch_hour=[0.0, 48.0, 0.0, 24.0],
        end_hour=[60.0, 360.0],
    )
    flown = Flown(journeys=table, cost_usd=[100.0, 20.0, 3.0, 4.0], crisis=np.array([True, False]))
    first, last = 1.3 * 0.5 ** (2 / 7), 1.5  # two days apart, a half-life of seven
    credit = 180.0 * np.array([first, last]) / (first + last)
    sold = 1.0 * 1.2 * 0.8 * (credit - np.array([100.0, 20.0]))  # crisis, quick, over $100
    np.testing.assert_allclose(brief(flown), [*sold, 0.9 * -3.0, 0.9 * (-4.0 - 7.0)])


# every credit


def journeys_of(seed=0, n=400):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 5, n)
    offsets = np.r_[0, np.cumsum(lengths)]
    sold = generator.random(n) < 0.3
    hour = np.concatenate([np.sort(generator.uniform(0, 300, k)) for k in lengths])
    value = np.where(sold, generator.integers(1, 300, n) * 1_000_000, 0)
    return JourneyTable(
        channels=("display", "search", "social"),
        offsets=offsets,
        channel=generator.integers(0, 3, offsets[-1]),
        conversions=sold.astype(int),
        nulls=(~sold).astype(int),
        value_usd_micros=value,
        touch_hour=hour,
        end_hour=np.full(n, 400.0),
    )


@pytest.mark.contract
@pytest.mark.parametrize("name", CREDITS)
def test_every_credit_pays_a_number_to_each_touch_and_a_dollar_of_cost_costs_a_dollar(name):
    journeys = journeys_of()
    generator = np.random.default_rng(1)
    cost = generator.exponential(3.0, journeys.n_touches)
    twin = np.where(generator.random(journeys.n_rows) < 0.5, journeys.value_usd, 0.0)
    flown = Flown(journeys=journeys, cost_usd=cost, twin_value_usd=twin)
    reward = CREDITS[name](flown)
    assert reward.shape == cost.shape and np.isfinite(reward).all()
    dearer = CREDITS[name](replace(flown, cost_usd=cost + 1.0))
    if name != "brief":
        np.testing.assert_allclose(reward - dearer, 1.0)
    assert np.array_equal(flown.cost_usd, cost)


@pytest.mark.parametrize("model", MODELS)
def test_touches_of_a_channel_earn_what_the_model_gives_the_channel(model):
    journeys = journeys_of()
    earned = np.bincount(journeys.channel, attributed_value(journeys, model), 3)
    given_to = attribute(journeys, [model])[0][model].credits.value_usd
    np.testing.assert_allclose(earned, given_to[:-1])
    assert earned.sum() + given_to[-1] == pytest.approx(journeys.value_usd.sum())


def test_incremental_credit_adds_up_to_flight_less_twin_less_cost():
    assert DEFAULT_CREDIT == "incremental" and next(iter(CREDITS)) == DEFAULT_CREDIT
    journeys = journeys_of()
    touched = journeys.lengths > 0
    twin = np.random.default_rng(2).exponential(50.0, journeys.n_rows)
    cost = np.random.default_rng(3).exponential(3.0, journeys.n_touches)
    reward = incremental(Flown(journeys=journeys, cost_usd=cost, twin_value_usd=twin))
    assert reward.sum() == pytest.approx((journeys.value_usd - twin)[touched].sum() - cost.sum())


def test_a_campaigns_rewards_are_those_of_its_touches_by_world_and_step():
    reward, step, world = np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 2, 2, 0]), np.array([0, 1, 1, 0])
    assert by_step(reward, step, world, n_steps=3, n_worlds=2).tolist() == [[9.0, 0.0, 0.0], [0.0, 0.0, 6.0]]
    with pytest.raises(BadInput, match=r"step\[1\]"):
        by_step(reward, step, world, n_steps=2, n_worlds=2)


def test_in_a_flight_incremental_credit_is_flight_less_twin_less_spend_to_the_micro():
    n = 1500
    worlds = plain_worlds(load("markets/family_safety.toml"), 1, 7)
    snapshot = make_market(worlds, n, event_rows=event_rows(n, 40))
    (flight,) = fly_together(snapshot.copy(), [FixedPolicy(multiplier=2.0)], days=7, traffic=None)
    run_off(flight.market, 30)
    twin = replay(snapshot, flight, lines_off=ALL_LINES, runoff_days=30)
    touches = flight.market.events(0)
    touches = touches[(touches["line"] != NO_LINE) & (touches["hour"] < flight.start + flight.hours)]
    touches = touches[np.lexsort((touches["hour"], touches["person"]))]
    # a line's spend on all that it brought; which touch cost what is not the question here
    spend = flight.spend_micros[0].sum(axis=0) / 1e6
    cost = spend[touches["line"]] / np.bincount(touches["line"], minlength=N_LINES)[touches["line"]]

    def value_micros(market):
        made = market.decisions(0)
        made = made[(made["brand"] == 0) & (made["hour"] >= flight.start)]
        return np.bincount(made["person"], made["value_micros"], n).astype(int)

    value, without = value_micros(flight.market), value_micros(twin)
    n_touches = np.bincount(touches["person"], minlength=n)
    assert (n_touches == 0).any() and (value == without)[n_touches == 0].all()
    assert (value != without).any()
    journeys = JourneyTable(
        channels=[line.name for line in LINES],
        offsets=np.r_[0, np.cumsum(n_touches)],
        channel=touches["line"].astype(int),
        conversions=value > 0,
        nulls=value == 0,
        value_usd_micros=value,
    )
    flown = Flown(journeys=journeys, cost_usd=cost, twin_value_usd=without / 1e6)
    profit = (value - without).sum() / 1e6 - spend.sum()
    assert CREDITS[DEFAULT_CREDIT](flown).sum() == pytest.approx(profit, abs=1e-6)
    assert (
        CREDITS["linear"](flown).sum() > profit + without[n_touches > 0].sum() / 2e6
    )  # claims what came anyway


# rewards that come late


@pytest.mark.parametrize("model", ["last", "linear", "time_decay", "position"])
def test_a_ledger_settles_and_restates_to_what_the_credit_says_in_the_end(model, tmp_path):
    store = JourneyStore(f"sqlite:///{tmp_path / 'journeys.db'}")
    ledger = RewardLedger(store, shares(model))

    def at(day):
        return NOON + dt.timedelta(days=day)

    def touch(who, name, day, channel):
        return Event(person=who, event_id=name, at=at(day), kind="click", channel=channel)

    def read(day):
        ledger.settle(at(day))
        return settled(ledger.episode(at(0), at(10), at(day)), np.array([5.0, 7.0, 2.0, 3.0]))

    store.append(
        [
            touch("a", "a1", 0, "social"),
            touch("a", "a2", 4, "search"),
            touch("b", "b1", 5, "search"),
            touch("c", "c1", 9, "social"),
        ],
        at(10),
    )
    reward, end = read(10)
    assert reward.tolist() == [-5.0, -7.0, -2.0, -3.0]  # pending: only what was paid is known
    assert end.tolist() == [End.TRUNCATED] * 3
    store.append([touch("c", "c2", 12, "search")], at(12))  # after the span
    reward, end = read(30)
    assert reward.tolist() == [-5.0, -7.0, -2.0, -3.0] and set(end.tolist()) == {End.TRUNCATED}
    sale = Event(person="a", event_id="s", at=at(40), kind="conversion", value_micros=180_000_000)
    store.append([sale], at(40))  # three weeks after the journey was given up
    reward, _ = read(40)
    late = attributed_value(store.table(at(40)), model)[:2]
    np.testing.assert_allclose(reward[:2], late - np.array([5.0, 7.0]), atol=1e-6)
    assert reward.sum() == pytest.approx(180.0 - 17.0)


def test_a_ledger_refuses_models_that_need_all_journeys_at_once():
    with pytest.raises(UnknownName, match="markov"):
        shares("markov")


# shaping


def sequences_of(seed, n=30):
    """Ragged, with uneven hours; some end, some are cut."""
    generator = np.random.default_rng(seed)
    log = DecisionLog()
    for name in range(n):
        length, cut = int(generator.integers(1, 7)), generator.random() < 0.4
        ends = np.full(length + cut, End.GOES_ON)
        ends[-1] = End.TRUNCATED if cut else End.TERMINAL
        hours = np.cumsum(generator.exponential(30.0, ends.size))
        for hour, end in zip(hours, ends, strict=True):
            log.append(
                np.ones(1, bool),
                sequence=np.array([name]),
                time=np.array([hour]),
                observation=np.zeros((1, 1)),
                action=np.zeros((1, 1)),
                logp=np.zeros(1),
                value=np.zeros((1, 2)),
                payoff=np.where(end == End.TRUNCATED, 0.0, generator.standard_normal((1, 2))),
                version=np.zeros(1),
                weight=np.ones(1),
                end=np.array([end]),
            )
    return log.sequences()


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 1.0), st.floats(0.1, 1.0))
def test_a_critic_that_subtracts_the_potential_sees_the_same_advantages(seed, gamma, lam):
    sequences = sequences_of(seed, n=8)
    generator = np.random.default_rng(seed)
    rows = len(sequences.end)
    value, potential = generator.standard_normal((rows, 2)), generator.standard_normal(rows)
    plain, _ = gae(sequences, value, gamma=gamma, lam=lam)
    below = value - np.stack([potential, np.zeros(rows)], axis=1)
    moved, _ = gae(shaped(sequences, potential, gamma=gamma), below, gamma=gamma, lam=lam)
    np.testing.assert_allclose(moved, plain, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(0.9, 1.0))
def test_shaping_adds_up_to_minus_the_first_potential_and_what_a_cut_leaves(seed, gamma):
    sequences = sequences_of(seed, n=8)
    potential = np.random.default_rng(seed).standard_normal(len(sequences.end))
    cut = ~sequences.decides[sequences.offset[1:] - 1]
    added = shaping(potential, sequences.time, sequences.offset, gamma=gamma, cut=cut)
    for i, (begin, end) in enumerate(zip(sequences.offset[:-1], sequences.offset[1:], strict=True)):
        discount = gamma ** (sequences.time[begin:end] - sequences.time[begin])
        left = discount[-1] * potential[end - 1] if cut[i] else 0.0
        assert (discount * added[begin:end]).sum() == pytest.approx(left - potential[begin], abs=1e-9)


def test_what_cannot_be_credited_is_refused():
    flown = people([180.0], 20.0, 1)
    with pytest.raises(BadInput, match="twin_value_usd"):
        incremental(replace(flown, twin_value_usd=None))
    for wrong in ({"cost_usd": [1.0, 2.0]}, {"cost_usd": [np.nan]}, {"crisis": np.ones(2, bool)}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            replace(flown, **wrong)
    table = flown.journeys
    with pytest.raises(BadInput, match="one journey"):
        brief(replace(flown, journeys=replace(table, nulls=[3])))
    with pytest.raises(Unanswerable, match="brief"):
        brief(replace(flown, journeys=replace(table, touch_hour=None, end_hour=None)))
    with pytest.raises(UnknownName, match="last"):
        attributed(flown, "lst")
    for name, value in (("quick_days", 0.0), ("over_cac_factor", np.nan), ("crisis_weight", -1.0)):
        with pytest.raises(BadInput, match=name):
            BriefSettings(**{name: value})
    with pytest.raises(BadInput, match="potential"):
        shaping(np.array([np.inf]), np.zeros(1), np.array([0, 1]), gamma=0.9)
