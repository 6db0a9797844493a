"""Geo holdouts in the simulated market against their twins: intervals hold the truth as often as they say.

Run with `pytest -s -m study tests/study/test_geo_holdout.py`; about nine minutes of one core.
"""

import numpy as np
import pytest

from gaelp.evaluation.geo_truth import Holdout, run_holdouts
from gaelp.market.file import load
from gaelp.worlds.executors import make_executor
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.tuned import tuned_for

pytestmark = pytest.mark.study
MARKET = "markets/family_safety.toml"
RUNS = 208


@pytest.mark.timeout(3600)
def test_the_interval_of_a_geo_holdout_holds_the_twins_effect():
    """208 holdouts of 50 regions: 42 days before, 28 dark, 14 after; 10,000 people, tuned pacing."""
    file = load(MARKET)
    worlds, make = plain_worlds(file, RUNS, 0), tuned_for(file).pacing
    with make_executor("processes") as executor:
        found = run_holdouts(worlds, make, Holdout(n_people=10_000), executor=executor)
    truth = found["truth"]
    told = {}
    for name, kind in (("regions", ""), ("days", "days_")):
        miss = found[kind + "lost"] - truth
        covered = (found[kind + "low"] <= truth) & (truth <= found[kind + "high"])
        told[name] = (covered.mean(), miss.mean(), miss.std() / np.sqrt(RUNS))
        claimed = np.sqrt((found[kind + "error"] ** 2).mean())
        print(
            f"\nby {name}: coverage {covered.mean():.3f}, miss {miss.mean():.2f} (+- {told[name][2]:.2f}), "
            f"standard deviation {miss.std():.1f}, claimed {claimed:.1f}"
        )
    for name, values in found.items():
        print(f"{name}: mean {np.nanmean(values):.3f}, standard deviation {np.nanstd(values):.3f}")
    coverage, miss, error = told["regions"]
    assert 0.90 <= coverage <= 0.99
    assert abs(miss) < 4 * error
    assert abs(found["control_spend"].mean() - 1.0) < 0.02
    assert truth.mean() > 4 * truth.std() / np.sqrt(RUNS)  # ads do sell
