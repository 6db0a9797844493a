"""Lags to a purchase, against a second implementation and against what was planted."""

import numpy as np
import pytest
from scipy.stats import CensoredData, ecdf

from gaelp.data.discovery.lags import Lags
from gaelp.journeys.batch import US_PER_DAY

MINUTE = 60_000_000


def drawn(seed: int, n: int, horizon: float) -> tuple[np.ndarray, np.ndarray]:
    """Lags of whole minutes, in microseconds: 30 % buy after an exponential of 4 days."""
    draws = np.random.default_rng(seed)
    lag = np.where(draws.random(n) < 0.3, draws.exponential(4.0, n), np.inf)
    watched = draws.uniform(0, horizon, n)
    bought = lag <= watched
    minute = np.floor(np.where(bought, lag, watched) * 1440).astype(np.int64)
    return minute * MINUTE, bought


@pytest.mark.golden
def test_the_curve_and_its_interval_are_scipys() -> None:
    us, bought = drawn(0, 900, 40.0)
    lags = Lags()
    lags.add(us[:300], bought[:300])
    lags.add(us[300:], bought[300:])
    told = ecdf(CensoredData(uncensored=us[bought] / MINUTE, right=us[~bought] / MINUTE)).sf
    minute, share, _, _ = lags.curve()
    assert share == pytest.approx(1 - told.evaluate(minute.astype(float)))
    ends = told.confidence_interval(method="log-log")
    for row in lags.as_dict(20.0, 0)["bought_within"]:
        if "unknown" not in row:
            at = int(row["days"] * 1440 + 0.5)
            assert row["share"] == pytest.approx(1 - float(told.evaluate(at)))
            assert row["low"] == pytest.approx(1 - float(ends.high.evaluate(at)))
            assert row["high"] == pytest.approx(1 - float(ends.low.evaluate(at)))


@pytest.mark.statistical
def test_intervals_cover_the_planted_lags_in_spite_of_censoring() -> None:
    horizon, runs = 14.0, 100
    within = 1 - np.exp(-horizon / 4)
    median = -4 * np.log(1 - 0.5 * within)
    by_week = 0.3 * (1 - np.exp(-7 / 4))
    held = np.zeros(2)
    for seed in range(runs):
        lags = Lags()
        lags.add(*drawn(seed, 800, 40.0))
        told = lags.as_dict(horizon, seed)
        row = next(each for each in told["bought_within"] if each["days"] == 7)
        quantile = next(each for each in told["of_those_who_buy"]["quantiles"] if each["p"] == 0.5)
        held += (row["low"] <= by_week <= row["high"], quantile["low"] <= median <= quantile["high"])
    assert (np.abs(held / runs - 0.95) < 4 * np.sqrt(0.95 * 0.05 / runs)).all(), held / runs


def test_too_few_are_not_told() -> None:
    lags = Lags()
    assert "unknown" in lags.as_dict(5.0, 0)
    lags.add(np.array([US_PER_DAY] * 5), np.array([True, False, False, False, False]))
    told = lags.as_dict(5.0, 0)
    assert all("unknown" in each for each in told["bought_within"])
    assert "unknown" in told["of_those_who_buy"]
