"""AuctionGym's configuration on `clear`, against the figures of AuctionGym's own code."""

import importlib.util
import math
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[2] / "benchmarks" / "auction_gym.py"
_SPEC = importlib.util.spec_from_file_location("auction_gym", _PATH)
auction_gym = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(auction_gym)

pytestmark = [pytest.mark.golden, pytest.mark.statistical]

N_AUCTIONS = 1_000_000


@cache
def played(pricing, n_auctions=N_AUCTIONS, n_participants=2, value="realised"):
    return auction_gym.play(n_auctions, pricing, n_participants, value)


@pytest.mark.parametrize("pricing", ["second", "first"])
@pytest.mark.parametrize("measure", ["revenue", "surplus", "welfare"])
def test_truthful_bidders_earn_what_auction_gym_says(pricing, measure):
    published_se = auction_gym.PUBLISHED_SD_OF_10_000[pricing][measure] / math.sqrt(N_AUCTIONS / 10_000)
    ours = played(pricing)[measure]
    se = min(published_se, ours.se)
    assert se < 0.0006  # so 3 of them are under 0.6 % of the surplus and 0.3 % of the welfare
    assert abs(ours.mean - auction_gym.PUBLISHED[pricing][measure]) < 3 * se


@pytest.mark.parametrize("pricing", ["second", "first"])
@pytest.mark.parametrize("measure", ["revenue", "surplus", "welfare"])
def test_the_spread_is_that_of_auction_gym(pricing, measure):
    published_sd = auction_gym.PUBLISHED_SD_OF_10_000[pricing][measure]
    # A standard deviation estimated from k means has a relative standard error of 1 / sqrt(2 (k - 1)).
    relative_se = 1 / math.sqrt(2 * (auction_gym.PUBLISHED_BLOCKS[pricing] - 1))
    sd = played(pricing)[measure].se * math.sqrt(N_AUCTIONS / 10_000)
    assert abs(published_sd / sd - 1) < 4 * relative_se


def test_surplus_counts_realised_clicks_as_the_published_spread_shows():
    published_se = auction_gym.PUBLISHED_SD_OF_10_000["second"]["surplus"] / math.sqrt(N_AUCTIONS / 10_000)
    assert played("second", value="expected")["surplus"].se < 0.6 * published_se


def test_truthful_bidders_gain_nothing_in_a_first_price_auction():
    surplus = played("first")["surplus"]
    assert abs(surplus.mean) < 3 * surplus.se
    expected = played("first", value="expected")["surplus"]
    assert expected.mean == expected.se == 0.0


def test_pricing_does_not_change_who_wins():
    assert played("first")["welfare"] == played("second")["welfare"]


def test_first_price_overpays_by_what_second_price_leaves_the_winner():
    overbid, surplus = played("first")["overbid_regret"], played("second")["surplus"]
    assert abs(overbid.mean - surplus.mean) < 3 * surplus.se
    assert abs(overbid.mean - auction_gym.PUBLISHED["second"]["surplus"]) < 3 * overbid.se
    expected = played("second", value="expected")["surplus"]
    assert overbid.mean == pytest.approx(expected.mean, rel=1e-12)


def test_truthful_bidders_regret_nothing_in_a_second_price_auction():
    for measure in ("overbid_regret", "underbid_regret"):
        assert played("second")[measure].mean == 0.0
        assert played("second", 200_000, 6)[measure].mean == 0.0


def test_more_rivals_raise_revenue_and_lower_surplus():
    results = [played("second", 200_000, n, "expected") for n in range(2, auction_gym.N_AGENTS + 1)]
    for fewer, more in pairwise(results):
        assert more["revenue"].mean - fewer["revenue"].mean > 4 * (more["revenue"].se + fewer["revenue"].se)
        assert fewer["surplus"].mean - more["surplus"].mean > 4 * (more["surplus"].se + fewer["surplus"].se)
