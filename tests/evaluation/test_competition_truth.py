"""The truth about rivals is what the market itself would have done at other bids."""

from pathlib import Path

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.core.words import EMAIL_LINE
from gaelp.evaluation.competition_truth import BID_LEVELS, Cleared, LineTruth, Varied, cleared
from gaelp.market.file import load
from gaelp.market.market import Market
from gaelp.market.state import IMPRESSIONS, empty_controls
from gaelp.worlds.flight import fly, make_market, reference_prices
from gaelp.worlds.splits import split_worlds

FILE = load(Path(__file__).parents[2] / "markets" / "family_safety.toml")


@pytest.fixture(scope="module")
def market() -> Market:
    market = make_market(split_worlds(FILE, "train", 2), 1500)
    fly(market, FixedPolicy(), days=2, traffic=None)
    return market


def test_clearing_at_the_bid_that_is_then_placed_finds_its_wins_and_changes_nothing(market):
    bids = BID_LEVELS[:, None] * reference_prices(market)
    lived, before = market.copy(), market.books.report.copy()
    opportunities, wins = cleared(market, bids)
    assert np.array_equal(market.books.report, before)
    controls = empty_controls(2, 1)
    controls.bid[:, 0] = bids[8]
    lived.advance(controls)
    gained = (lived.books.report - before)[:, 0]
    assert np.array_equal(wins[:, 8], gained[..., IMPRESSIONS])
    assert (
        np.diff(wins[..., :EMAIL_LINE], axis=1) >= 0
    ).all()  # a higher bid never loses what a lower one won
    assert (wins[:, -1, :EMAIL_LINE] <= opportunities[:, :EMAIL_LINE]).all()


def test_a_flight_that_is_asked_about_is_flown_as_without_the_questions(market):
    plain, asked = market.copy(), market.copy()
    truth = Cleared(FixedPolicy(), asked, every=6)
    first = fly(plain, FixedPolicy(), days=2, traffic=None)
    second = fly(asked, truth, days=2, traffic=None)
    assert np.array_equal(first.spend_micros, second.spend_micros)
    assert truth.opportunities.shape[0] == 2 and truth.wins.shape[:3] == (2, 2, BID_LEVELS.size)


def test_quantiles_and_slope_are_read_off_the_curve():
    bids = np.array([1.0, 2.0, 4.0])
    line = LineTruth(bids, np.array([100, 100]), np.array([[10, 50, 90], [10, 50, 90]]))
    assert line.chance(2.0) == 0.5 and line.chance(np.sqrt(2.0)) == pytest.approx(0.3)
    assert line.quantile(0.7) == pytest.approx(np.sqrt(8.0))
    assert np.isnan(line.quantile(0.05)) and np.isnan(line.quantile(0.95))
    assert line.weekly_change == pytest.approx(0.0)


def test_varied_bids_keep_their_mean_and_e_mail_its_price(market):
    policy = Varied(FixedPolicy(), deviation=0.3)
    flight = fly(market.copy(), policy, days=3, traffic=None)
    factor = flight.bid / (reference_prices(market) * 1.0)
    assert np.allclose(factor[..., EMAIL_LINE], 1.0)
    log_factor = np.log(factor[..., :EMAIL_LINE])
    assert log_factor.std() == pytest.approx(0.3, abs=0.02)
    assert factor[..., :EMAIL_LINE].mean() == pytest.approx(1.0, abs=0.02)
