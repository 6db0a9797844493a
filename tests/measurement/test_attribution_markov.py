"""Markov chains of any order against enumeration, counting by hand, and a second way to solve them."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.journeys.table import table_of_paths
from gaelp.measurement.attribution import Settings, attribute
from gaelp.measurement.attribution.credits import Counts
from gaelp.measurement.attribution.markov import _effects, chain, transition_matrix

from .attribution_tables import path_tables, random_table

START, CONVERTED, NULL = "start", "converted", "null"


def slow_chances(table, order):
    """Chances from state to state, by words: a state is the tuple of the last `order` channels."""
    passed = defaultdict(Counter)
    for row in range(table.n_rows):
        path = table.path(row)
        c, n = int(table.conversions[row]), int(table.nulls[row])
        if not path or not c + n:
            continue
        states = [START, *(path[max(i + 1 - order, 0) : i + 1] for i in range(len(path)))]
        for before, after in itertools.pairwise(states):
            passed[before][after] += c + n
        passed[states[-1]][CONVERTED] += c
        passed[states[-1]][NULL] += n
    return {
        state: {after: count / sum(following.values()) for after, count in following.items()}
        for state, following in passed.items()
    }


def conversion_chance(chances, removed=None, least=1e-13):
    """Follow every path from the start, deepest mass first, until what is left cannot matter."""
    mass, converted = {START: 1.0}, 0.0
    while sum(mass.values()) > least:
        following = defaultdict(float)
        for state, weight in mass.items():
            for after, chance in chances.get(state, {}).items():
                if after == CONVERTED:
                    converted += weight * chance
                elif after != NULL and (removed is None or removed not in after):
                    following[after] += weight * chance
        mass = following
    return converted


def slow_effects(table, order):
    chances = slow_chances(table, order)
    base = conversion_chance(chances)
    return [1 - conversion_chance(chances, name) / base if base else 0.0 for name in table.channels]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@settings(max_examples=40, deadline=None)
@given(table=path_tables())
def test_removal_effects_equal_the_enumeration_of_all_paths(order, table):
    found = attribute(table, ["markov"], Settings(order=order))[0]["markov"].credits
    np.testing.assert_allclose(found.removal_effect, slow_effects(table, order), atol=1e-9)
    assert found.conversions.sum() == pytest.approx(table.conversions.sum(), abs=1e-9)
    assert found.value_usd.sum() == pytest.approx(table.value_usd.sum(), abs=1e-9)
    assert found.conversions[-1] == table.conversions[table.lengths == 0].sum()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_large_random_table_agrees_with_enumeration(order):
    table = random_table(300, 5, seed=order, longest=6)
    found = attribute(table, ["markov"], Settings(order=order))[0]["markov"].credits
    np.testing.assert_allclose(found.removal_effect, slow_effects(table, order), atol=1e-9)


@settings(deadline=None)
@given(path_tables(untouched=False))
def test_transition_matrix_equals_counting_by_hand(table):
    chances = slow_chances(table, 1)
    rows = [START, *((name,) for name in table.channels)]
    columns = [*((name,) for name in table.channels), CONVERTED, NULL]
    expected = [[chances.get(row, {}).get(column, 0.0) for column in columns] for row in rows]
    np.testing.assert_allclose(transition_matrix(table), expected, atol=1e-15)


@settings(deadline=None)
@given(path_tables())
def test_one_inverse_gives_what_a_solve_for_each_channel_gives(table):
    found = attribute(table, ["markov"])[0]["markov"].credits
    effects, value_effects = _effects(chain(table, 1), len(table.channels))
    np.testing.assert_allclose(found.removal_effect, effects, atol=1e-10)
    if value_effects.sum() > 0:
        value = table.value_usd[table.lengths > 0].sum()
        np.testing.assert_allclose(
            found.value_usd[:-1], value * value_effects / value_effects.sum(), atol=1e-8
        )


@given(path_tables(), st.integers(2, 9))
def test_only_the_proportions_of_counts_matter(table, times):
    once = attribute(table, ["markov"])[0]["markov"].credits
    more = table_of_paths(
        [table.path(i) for i in range(table.n_rows)],
        table.conversions * times,
        table.nulls * times,
        table.value_usd * times,
    )
    found = attribute(more, ["markov"])[0]["markov"].credits
    np.testing.assert_allclose(found.conversions, once.conversions * times, atol=1e-8)


def test_repeats_of_a_channel_in_a_row_do_not_change_order_one():
    paths = ["aab", "abb", "ba", "a"]
    merged = ["ab", "ab", "ba", "a"]
    counts = ([3, 2, 1, 1], [4, 1, 5, 2])
    effects = [
        attribute(table_of_paths(each, *counts), ["markov"])[0]["markov"].credits.removal_effect
        for each in (paths, merged)
    ]
    np.testing.assert_allclose(*effects, atol=1e-12)


def test_a_channel_nobody_touched_has_no_effect():
    table = table_of_paths(["ab", "b", "c"], [1, 0, 0], [1, 1, 0])
    found = attribute(table, ["markov"])[0]["markov"].credits
    assert found.removal_effect[2] == found.conversions[2] == 0.0
    assert Counts.of(table).journeys[2] == 0.0


def test_no_conversions_means_no_credit_and_no_nan():
    for order in (1, 2):
        table = table_of_paths(["ab", "b"], [0, 0], [1, 1])
        found = attribute(table, ["markov"], Settings(order=order))[0]["markov"].credits
        assert not found.conversions.any() and not found.removal_effect.any()


def test_an_order_that_no_code_can_hold_is_refused():
    table = random_table(50, 12, seed=1)
    with pytest.raises(BadInput, match="from 1 to 16 for 12 channels"):
        attribute(table, ["markov"], Settings(order=17))
    attribute(table, ["markov"], Settings(order=16))
    with pytest.raises(BadInput, match="order"):
        Settings(order=0)
