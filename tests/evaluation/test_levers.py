"""Levers turn copies, by the factor they say, and leave market files alone."""

from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.evaluation.levers import ASSUMED_STEP, BUDGET, levers_of, world_at
from gaelp.market.file import load
from gaelp.worlds.splits import drawn_world

MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"


@pytest.fixture(scope="module")
def file():
    return load(MARKET)


@pytest.fixture(scope="module")
def world(file):
    return drawn_world(file, "train", 0, 0)


def test_every_part_of_the_spread_belongs_to_one_lever(file):
    levers = levers_of(file)
    for name, sigma in file.spread.items():
        mine = [lever for lever in levers if lever.parameter == name]
        size = len(file.rivals) if name.startswith("rival_") else file.parameters[name].value.size
        assert sorted(i for lever in mine for i in lever.elements) == list(range(size))
        assert all(lever.in_spread and lever.step == sigma for lever in mine)
    others = {lever.parameter for lever in levers if not lever.in_spread}
    assert others == {BUDGET, "landing_fit", "organic_click", "predict_sigma"}
    assert all(lever.step == ASSUMED_STEP for lever in levers if not lever.in_spread)


def test_no_steps_leave_a_world_as_it_is(file, world):
    levers = levers_of(file)
    same = world_at(world, levers, np.zeros(len(levers)))
    assert same.seed == world.seed and same.file.rivals == world.file.rivals
    assert same.file.daily_budget_usd == world.file.daily_budget_usd
    for name, stated in world.file.parameters.items():
        assert np.array_equal(same.file.parameters[name].value, stated.value)


def test_a_lever_multiplies_its_part_and_nothing_else(file, world):
    levers = levers_of(file)
    for i, lever in enumerate(levers):
        steps = np.zeros(len(levers))
        steps[i] = -1.0
        turned = world_at(world, levers, steps).file
        if lever.parameter == BUDGET:
            assert turned.daily_budget_usd == pytest.approx(world.file.daily_budget_usd * lever.factor(-1.0))
            continue
        changed = {
            name
            for name, stated in turned.parameters.items()
            if not np.array_equal(stated.value, world.file.parameters[name].value)
        }
        if lever.parameter.startswith("rival_"):
            assert not changed and turned.rivals != world.file.rivals
            continue
        assert changed == {lever.parameter}
        ratio = (
            turned.parameters[lever.parameter].value / world.file.parameters[lever.parameter].value
        ).ravel()
        moved = np.flatnonzero(~np.isclose(ratio, 1.0))
        assert set(moved) <= set(lever.elements) and moved.size
        assert np.isclose(ratio[moved], lever.factor(-1.0)).any()


def test_values_stay_inside_the_ranges_of_the_file(file, world):
    levers = levers_of(file)
    for steps in (-20.0, 20.0):
        turned = world_at(world, levers, np.full(len(levers), steps)).file
        for stated in turned.parameters.values():
            assert (stated.value >= stated.low).all() and (stated.value <= stated.high).all()


def test_the_market_file_on_disk_is_not_touched(file, world):
    before = MARKET.read_bytes()
    levers = levers_of(file)
    world_at(world, levers, np.full(len(levers), 3.0))
    assert MARKET.read_bytes() == before
    assert np.array_equal(load(MARKET).parameters["buy_rate"].value, file.parameters["buy_rate"].value)


def test_what_no_factor_can_turn_is_refused(file):
    with pytest.raises(BadInput, match="add up to 1"):
        levers_of(file, ["lag_share"])
    with pytest.raises(UnknownName, match="buy_rate"):
        levers_of(file, ["buy_rat"])
