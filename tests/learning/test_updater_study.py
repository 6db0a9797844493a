"""Whether bids that follow segments earn more: ten episodes on training worlds, judged on validation worlds.

pytest -m study -s tests/learning/test_updater_study.py
"""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES
from gaelp.learning.updater.bids import SegmentBids
from gaelp.learning.updater.episodes import live_episode
from gaelp.learning.updater.updating import Updater
from gaelp.market.file import load
from gaelp.market.state import SPEND
from gaelp.worlds.flight import fly, make_market, run_off, warm_up
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import split_worlds

PEOPLE, DAYS, RUNOFF_DAYS, EPISODES = 4_000, 30, 30, 10
WORLDS = {"value": 48, "pacing": 12}
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"


@pytest.mark.study
@pytest.mark.timeout(1200)
def test_what_segment_bids_earn_on_validation_worlds_is_told(tmp_path: Path) -> None:
    file = load(MARKET)
    make = make_policy("value", file)
    updater = Updater(tmp_path / "updater")
    for i, world in enumerate(split_worlds(file, "train", EPISODES, 77)):
        folder = live_episode(tmp_path / f"e{i}", world, make(), n_people=PEOPLE, days=DAYS)
        update = updater.episode(folder, NOW)
    assert update.discovery is not None
    models = updater.models()
    assert models is not None
    print("\nsegments", update.discovery)
    print("rates", [(each["name"], each["n"], each["rate"]) for each in models.segment_rates()])
    factors = models.line_factors
    print(
        "factors", {line.name: round(float(f), 3) for line, f in zip(LINES, factors, strict=True)}, flush=True
    )

    for name, n in WORLDS.items():
        start = make_market(split_worlds(file, "validation", n, 5), PEOPLE)
        traffic = warm_up(start)
        base = start.books.expected[:, 0, 1].copy()
        make = make_policy(name, file)
        profits, spends = [], []
        for policy in (make(), SegmentBids(make(), factors)):
            market = start.copy()
            flight = fly(market, policy, days=DAYS, traffic=traffic, keep_bids=False)
            run_off(market, RUNOFF_DAYS)
            spends.append(flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD)
            profits.append(market.books.expected[:, 0, 1] - base - spends[-1])
        budget = flight.daily_budget_usd * DAYS
        gain = 100 * (profits[1] - profits[0]) / budget
        error = gain.std(ddof=1) / np.sqrt(n)
        shares = [round(float(each.sum() / budget.sum()), 3) for each in spends]
        print(f"{name}: {gain.mean():+.2f} % of the budget (s.e. {error:.2f}), spend shares {shares}")
        print("by world", gain.round(1).tolist(), flush=True)
        assert np.isfinite(gain).all()
