"""Intervals hold what they promise."""

import numpy as np
import pytest
from scipy.stats import binomtest

from gaelp.data.discovery.intervals import Shares, mean, rate, wilson


@pytest.mark.golden
@pytest.mark.parametrize(("won", "n"), [(0, 7), (1, 12), (29, 300), (12, 12)])
def test_wilson_is_scipys(won: int, n: int) -> None:
    told = binomtest(won, n).proportion_ci(method="wilson")
    assert wilson(won, n) == pytest.approx((told.low, told.high))


def test_nothing_tried_is_nothing_known() -> None:
    assert rate(0, 0) == {"n": 0, "converted": 0, "rate": None, "low": 0.0, "high": 1.0}
    assert mean(0, 0.0, 0.0)["mean"] is None and mean(1, 3.0, 9.0)["low"] is None


def clustered(draws: np.random.Generator, people: int) -> np.ndarray:
    """Touches in three bins: everybody has a favourite bin and comes often."""
    favourite = draws.dirichlet((1.0, 0.6, 0.4), people)
    return np.stack([draws.multinomial(draws.geometric(0.2), each) for each in favourite]).astype(float)


@pytest.mark.statistical
def test_shares_cover_where_the_touches_of_a_person_go_together() -> None:
    truth, held, naive, runs = np.array([0.5, 0.3, 0.2]), np.zeros(3), np.zeros(3), 300
    for seed in range(runs):
        counts = clustered(np.random.default_rng(seed), 400)
        shares = Shares(3)
        shares.add(counts[:150])
        shares.add(counts[150:])
        low, high = shares.intervals()
        held += (low <= truth) & (truth <= high)
        events = counts.sum(axis=0)
        ends = np.array([wilson(each, events.sum()) for each in events])
        naive += (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    se = np.sqrt(0.95 * 0.05 / runs)
    assert (np.abs(held / runs - 0.95) < 4 * se).all()
    assert (naive / runs < 0.8).all()  # what counting touches as independent would give


def test_an_empty_and_a_full_bin_have_open_ends() -> None:
    shares = Shares(2)
    shares.add(np.array([[1.0, 0.0]] * 10))
    low, high = shares.intervals()
    assert high[0] == 1.0 and low[1] == 0.0 and 0.2 < high[1] < 0.35
