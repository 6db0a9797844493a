"""Shapley values: the axioms, on games and on journeys, and the definition by orders of arrival."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.journeys.table import table_of_paths
from gaelp.measurement.attribution import Counts, Settings, Unanswerable, attribute
from gaelp.measurement.attribution import shapley as shapley_module
from gaelp.measurement.attribution.shapley import shapley_values

from .attribution_tables import path_tables, random_table

games = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.floats(-100, 100), min_size=2**n, max_size=2**n).map(np.array)
)


def by_orders_of_arrival(worth, n):
    """The definition: what a player adds, on average over all orders."""
    total = np.zeros(n)
    for order in itertools.permutations(range(n)):
        before = 0
        for player in order:
            total[player] += worth[before | 1 << player] - worth[before]
            before |= 1 << player
    return total / math.factorial(n)


@given(games)
def test_values_are_the_mean_of_what_a_player_adds(worth):
    n = worth.size.bit_length() - 1
    np.testing.assert_allclose(shapley_values(worth), by_orders_of_arrival(worth, n), atol=1e-9)


@given(games)
def test_efficiency_values_add_up_to_the_worth_of_all(worth):
    assert shapley_values(worth).sum() == pytest.approx(worth[-1] - worth[0], abs=1e-9)


@given(games, st.floats(-3, 3), st.randoms(use_true_random=False))
def test_linearity_of_a_sum_of_games(worth, factor, random):
    other = np.array([random.uniform(-9, 9) for _ in worth])
    both = shapley_values(worth + factor * other)
    np.testing.assert_allclose(both, shapley_values(worth) + factor * shapley_values(other), atol=1e-9)


@given(games)
def test_a_player_who_adds_nothing_gets_nothing(worth):
    with_null = np.concatenate((worth, worth))  # the last player changes no set's worth
    found = shapley_values(with_null)
    assert found[-1] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(found[:-1], shapley_values(worth), atol=1e-9)


@given(games)
def test_players_who_add_the_same_get_the_same(worth):
    n = worth.size.bit_length() - 1
    if n < 2:
        return
    swapped = [s & ~3 | (s & 1) << 1 | (s & 2) >> 1 for s in range(worth.size)]
    assert shapley_values((worth + worth[swapped]) / 2)[0] == pytest.approx(
        shapley_values((worth + worth[swapped]) / 2)[1], abs=1e-9
    )
    np.testing.assert_allclose(shapley_values(worth[swapped])[:2], shapley_values(worth)[[1, 0]], atol=1e-9)


def slow_rate(journeys, gained, within, prior, average):
    """Rate of a set (frozenset) as the module's first lines have it."""
    if not within:
        return gained.get(within, 0.0) / journeys[within] if journeys.get(within) else 0.0
    parts = [each for each in journeys if each <= within]
    number = sum(journeys[each] for each in parts)
    if number + prior == 0:
        return 0.0
    around = (sum(gained[each] for each in parts) + prior * average) / (number + prior)
    own = journeys.get(within, 0.0)
    return (gained.get(within, 0.0) + prior * around) / (own + prior) if own + prior else around


def slow_credits(table, gained_of_row, prior=0.0):
    """The game written out set by set, then every order of arrival."""
    journeys, gained = {}, {}
    for row in range(table.n_rows):
        touched = frozenset(table.path(row))
        journeys[touched] = journeys.get(touched, 0.0) + table.conversions[row] + table.nulls[row]
        gained[touched] = gained.get(touched, 0.0) + gained_of_row[row]
    journeys = {touched: count for touched, count in journeys.items() if count}
    gained = {touched: gained[touched] for touched in journeys}
    average = sum(gained.values()) / sum(journeys.values())
    n = len(table.channels)
    worth = np.zeros(1 << n)
    for i in range(1 << n):
        on = frozenset(name for bit, name in enumerate(table.channels) if i >> bit & 1)
        for touched, count in journeys.items():
            worth[i] += count * slow_rate(journeys, gained, touched & on, prior, average)
            if touched <= on:
                rate = slow_rate(journeys, gained, touched, prior, average)
                worth[i] += gained[touched] - count * rate
    return [*by_orders_of_arrival(worth, n), worth[0]]


@settings(max_examples=60, deadline=None)
@given(path_tables(some_null=True), st.sampled_from([0.0, 3.0]))
def test_credits_are_the_values_of_the_game_of_rates(table, prior):
    found = attribute(table, ["shapley"], Settings(prior_journeys=prior))[0]["shapley"].credits
    np.testing.assert_allclose(found.conversions, slow_credits(table, table.conversions, prior), atol=1e-8)
    np.testing.assert_allclose(found.value_usd, slow_credits(table, table.value_usd, prior), atol=1e-7)
    assert found.conversions.sum() == pytest.approx(table.conversions.sum(), abs=1e-8)


def set_by_set(table, settings_):
    sets = np.zeros(table.n_rows, np.int64)
    shapley_module._touched_sets(table.offsets, table.channel.astype(np.int64), sets)
    seen, which = np.unique(sets, return_inverse=True)
    n = len(table.channels)
    return shapley_module._set_by_set(seen, which, n, Counts.of(table), settings_)


@settings(max_examples=100, deadline=None)
@given(path_tables(some_null=True), st.sampled_from([0.0, 3.0]))
def test_set_by_set_gives_the_same_values(table, prior):
    settings_ = Settings(prior_journeys=prior)
    exact = attribute(table, ["shapley"], settings_)[0]["shapley"].credits
    found = set_by_set(table, settings_)
    used = np.unique(table.channel)
    np.testing.assert_array_equal(used, np.arange(len(table.channels)))
    np.testing.assert_allclose(found, np.column_stack((exact.conversions, exact.value_usd)), atol=1e-8)


def test_more_sampled_orders_come_nearer_to_the_exact_values():
    table = random_table(2000, 10, seed=5, longest=10)
    exact = attribute(table, ["shapley"])[0]["shapley"].credits.conversions
    off = []
    for permutations in (2, 32):  # too few to look at all subsets of large sets
        found = set_by_set(table, Settings(permutations=permutations))
        assert found[:, 0].sum() == pytest.approx(table.conversions.sum())
        off.append(np.abs(found[:, 0] - exact).max())
    assert off[1] < off[0] / 2 and off[1] < 0.02 * exact[:-1].mean()


def test_many_channels_change_nothing_but_the_way(monkeypatch):
    table = random_table(1000, 10, seed=5, longest=5)
    together = attribute(table, ["shapley"])[0]["shapley"].credits
    monkeypatch.setattr(shapley_module, "EXACT_CHANNELS", 9)
    apart = attribute(table, ["shapley"])[0]["shapley"].credits
    np.testing.assert_allclose(apart.conversions, together.conversions, atol=1e-7)


def test_rates_that_add_up_are_credited_channel_by_channel():
    """2 % buy anyway, search adds 10 points, social 5, display nothing."""
    paths, conversions, nulls = [], [], []
    for touched in itertools.chain.from_iterable(
        itertools.combinations(("s", "o", "d"), k) for k in range(4)
    ):
        paths.append(touched)
        conversions.append(20 + 100 * ("s" in touched) + 50 * ("o" in touched))
        nulls.append(1000 - conversions[-1])
    answer = attribute(table_of_paths(paths, conversions, nulls), ["shapley"])[0]["shapley"].as_dict()
    expected = {"d": 0.0, "o": 200.0, "s": 400.0, "(baseline)": 160.0}
    assert {name: row["conversions"] for name, row in answer.items()} == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(path_tables(untouched=False))
def test_a_game_of_conversions_instead_of_rates_would_be_linear_over_distinct_channels(table):
    n = len(table.channels)
    worth, linear = np.zeros(1 << n), np.zeros(n)
    for row in range(table.n_rows):
        touched = {table.channels.index(name) for name in table.path(row)}
        for player in touched:
            linear[player] += table.conversions[row] / len(touched)
        for on in range(1 << n):
            worth[on] += table.conversions[row] * all(on >> player & 1 for player in touched)
    np.testing.assert_allclose(shapley_values(worth), linear, atol=1e-9)


def test_rates_need_journeys_that_did_not_convert():
    with pytest.raises(Unanswerable, match="needs journeys that never converted"):
        attribute(table_of_paths(["ab", "b"], [1, 1]), ["shapley"])
    many = [f"c{i}" for i in range(63)]
    with pytest.raises(Unanswerable, match="at most 62 channels apart, not 63"):
        attribute(table_of_paths([many], [1], [1]), ["shapley"])
    with pytest.raises(BadInput, match="for n players"):
        shapley_values([1.0, 2.0, 3.0])
