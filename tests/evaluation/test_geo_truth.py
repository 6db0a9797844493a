"""Geo holdouts and their twins: the truth is a difference of two lives that share their luck."""

from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.evaluation.geo_truth import (
    FlownHoldout,
    Holdout,
    deal_regions,
    fly_holdout,
    panel_of,
    readings,
    run_holdouts,
)
from gaelp.evaluation.task_flights import Task
from gaelp.market.file import MarketFile, load
from gaelp.market.state import GEO_SPEND
from gaelp.worlds.executors import InlineExecutor
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.tuned import tuned_for

MARKET = "markets/family_safety.toml"
TERMS = Holdout(n_people=1_200, pre_days=8, test_days=4, cool_days=2)


@pytest.fixture(scope="module")
def file() -> MarketFile:
    return load(MARKET)


@pytest.fixture(scope="module")
def flown(file: MarketFile) -> FlownHoldout:
    return fly_holdout(Task(plain_worlds(file, 2, 0), tuned_for(file).pacing, TERMS))


def spend(table: Any, days: slice) -> Any:
    """(n_worlds, n_regions) micros."""
    return table.delivery[:, days, :, :, GEO_SPEND].sum(axis=(1, 3))


def test_half_of_the_regions_are_dealt_one_of_each_two_of_a_size() -> None:
    size = np.array([np.arange(100.0), np.arange(100.0)[::-1]])
    dealt = deal_regions(size, [1, 2])
    for row, people in zip(dealt, size, strict=True):
        assert (row[np.argsort(people)].reshape(50, 2).sum(axis=1) == 1).all()
    assert np.array_equal(dealt, deal_regions(size, [1, 2]))
    assert not np.array_equal(dealt[0], deal_regions(size, [3, 2])[0])
    often = np.mean([deal_regions(size[:1], [seed])[0] for seed in range(400)], axis=0)
    assert abs(often - 0.5).max() < 4.5 * 0.5 / 20


def test_dark_regions_cost_nothing_in_the_test_and_only_then(flown: FlownHoldout) -> None:
    before, test, after = slice(0, 8), slice(8, 12), slice(12, 14)
    dark = flown.dark
    assert dark.sum(axis=1).tolist() == [50, 50]
    assert (spend(flown.held, test)[dark] == 0).all()
    assert spend(flown.held, test)[~dark].sum() > 0 and spend(flown.held, after)[dark].sum() > 0
    assert np.array_equal(flown.held.delivery[:, before], flown.twin.delivery[:, before])
    assert np.array_equal(flown.held.sales[:, before], flown.twin.sales[:, before])


def test_control_regions_spend_about_what_they_would_have(flown: FlownHoldout) -> None:
    test = slice(8, 12)
    held = np.where(flown.dark, 0, spend(flown.held, test)).sum()
    would = np.where(flown.dark, 0, spend(flown.twin, test)).sum()
    assert 0.85 < held / would < 1.15


def test_truth_and_estimate_are_of_the_same_regions_and_days(flown: FlownHoldout) -> None:
    found = readings(flown)
    for w in range(2):
        twin, held = (table.sales[w, 8:][:, flown.dark[w]].sum() for table in (flown.twin, flown.held))
        assert found["truth"][w] == twin - held and found["sold"][w] == twin
        for kind in ("", "days_"):
            assert found[kind + "low"][w] < found[kind + "lost"][w] < found[kind + "high"][w]
        table = panel_of(flown.held, w)
        y, x = (table.response[rows].sum(axis=0) for rows in (flown.dark[w], ~flown.dark[w]))
        slope, start = np.polyfit(x[:8], y[:8], 1)
        assert found["days_lost"][w] == pytest.approx((start + slope * x[8:] - y[8:]).sum())


def test_an_executor_changes_nothing(file: MarketFile, flown: FlownHoldout) -> None:
    worlds, make = plain_worlds(file, 2, 0), tuned_for(file).pacing
    whole = readings(flown)
    again = run_holdouts(worlds, make, TERMS, executor=InlineExecutor())
    for name, values in whole.items():
        assert np.array_equal(values, again[name], equal_nan=True), name
    assert np.array_equal(run_holdouts(worlds[1:], make, TERMS)["truth"], whole["truth"][1:])


@pytest.mark.parametrize("wrong", [{"pre_days": 6}, {"test_days": 0}, {"cool_days": -1}])
def test_designs_without_enough_days_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        Holdout(n_people=100, **wrong)
