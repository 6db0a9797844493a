"""Rivals told from wins, prices and shares: parameters come back, intervals hold, the untold is named."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from gaelp.core.errors import BadInput
from gaelp.measurement.competition.auctions import win_curve
from gaelp.measurement.competition.fit import fit_line
from gaelp.measurement.competition.hours import hourly_change
from gaelp.measurement.competition.log import LineLog
from gaelp.measurement.competition.needed import LAWS, LOGNORMAL
from gaelp.measurement.competition.summary import _span, competition
from gaelp.measurement.competition.told import (
    market_share,
    needed_quantile,
    pooled_change,
    weekly_change,
    win_chance,
)

LEVEL, SPREAD = 10.0, 0.6


def account(rng: Any, days: int = 28, hours: int = 6, **ways: Any) -> LineLog:
    """A line whose auctions need lognormal bids around 10 with log deviation .6.

    Args:
        rng: of the auctions. days, hours: of the log.
        ways: `crowd` auctions an hour; `vary` of own log bids; `bid` their median; `rise` of them a week;
            `change` of rivals' log level a week; `shift` of it by hour; `prices`, `shares`: what is told.
    """
    asked = {
        "crowd": 60,
        "vary": 0.3,
        "bid": 10.0,
        "rise": 0.0,
        "change": 0.0,
        "shift": 0.0,
        "prices": True,
        "shares": True,
    }
    asked |= ways
    week = (np.arange(days) - (days - 1) / 2) / 7
    vary = asked["rise"] * week[:, None] + asked["vary"] * rng.normal(size=(days, hours))
    bid = asked["bid"] * np.exp(vary)
    level = np.log(LEVEL) + asked["change"] * week[:, None] + asked["shift"] * np.ones((1, hours))
    n = rng.poisson(asked["crowd"] * np.linspace(0.5, 1.5, hours), (days, hours))
    there = np.arange(n.max()) < n[..., None]  # (days, hours, auctions)
    needed = np.exp(level[..., None] + SPREAD * rng.normal(size=there.shape))
    won = there & (needed <= bid[..., None])
    impressions = won.sum(axis=2).astype(float)
    share = impressions.sum(axis=1) / n.sum(axis=1)
    told = np.where(share < 0.1, 0.0999, share)
    return LineLog(
        name="line",
        by_click=not asked["prices"],
        bid=bid,
        open=np.ones((days, hours)),
        impressions=impressions,
        sold=impressions,
        price=(needed * won).sum(axis=2) / np.maximum(impressions, 1.0),
        share=told if asked["shares"] else np.full(days, np.nan),
        price_is_needed=asked["prices"],
    )


def chance(bid: float) -> float:
    return float(LOGNORMAL.won(np.log(bid / LEVEL) / SPREAD))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("z", [-3.0, -0.5, 1.5])
def test_mean_and_variance_of_prices_are_those_of_the_law_cut_at_the_bid(law, z):
    scale = 0.6

    def density(e):
        return (law.won(e + 1e-5) - law.won(e - 1e-5)) / 2e-5

    won, first, second = (
        quad(lambda e, r=r: np.exp(r * scale * (e - z)) * density(e), -30, z, points=[z - 3])[0]
        for r in range(3)
    )
    mean, variance = law.price(np.array([z]), scale)
    assert won == pytest.approx(float(law.won(z)), rel=1e-5)
    assert mean[0] == pytest.approx(first / won, rel=1e-5)
    assert variance[0] == pytest.approx(second / won - (first / won) ** 2, rel=1e-4)
    assert float(law.won(law.quantile(0.3))) == pytest.approx(0.3)


def held(n_accounts: int, told: dict[str, bool]) -> Any:
    """(5,) how often intervals hold the truth: .5, 1, 2 x the own bid, median bid needed, trend."""
    truths = [chance(5.0), chance(10.0), chance(20.0), LEVEL, 0.0]
    inside = np.zeros((n_accounts, len(truths)), bool)
    for i in range(n_accounts):
        log = account(np.random.default_rng([7, i]), days=21, hours=4, **told)
        fits = fit_line(log, [LOGNORMAL])
        found = [win_chance(fits, log, bid, shape_error=0.0) for bid in (5.0, 10.0, 20.0)]
        found += [needed_quantile(fits, log, 0.5, shape_error=0.0), weekly_change(fits)]
        inside[i] = [each.low <= truth <= each.high for each, truth in zip(found, truths, strict=True)]
    return inside.mean(axis=0)


TOLD = pytest.mark.parametrize(
    "told", [{}, {"prices": False}, {"shares": False}], ids=["both", "shares", "prices"]
)


@pytest.mark.slow
@pytest.mark.statistical
@TOLD
def test_intervals_of_95_per_cent_hold_the_truth_in_300_accounts(told):
    covered = held(300, told)
    assert (covered >= 0.90).all() and (covered <= 0.99).all(), covered


@pytest.mark.study
@TOLD
def test_intervals_of_95_per_cent_hold_the_truth_in_2000_accounts(told):
    covered = held(2000, told)
    print(f"\n{told}: {covered.round(3)}")
    assert (covered >= 0.92).all() and (covered <= 0.98).all(), covered


def test_the_law_comes_back_from_one_large_account():
    log = account(np.random.default_rng(1), crowd=2000, change=0.05)
    fits = fit_line(log)
    assert [fit.law.name for fit in fits] == ["lognormal"]  # the other is refused
    assert fits[0].scale == pytest.approx(SPREAD, rel=0.02)
    assert needed_quantile(fits, log, 0.5).value == pytest.approx(LEVEL, rel=0.02)
    assert weekly_change(fits).value == pytest.approx(np.expm1(0.05), abs=0.01)


def test_a_rising_rival_is_seen_and_a_steady_one_is_not():
    rising, steady = (
        [account(np.random.default_rng([11, i]), change=by) for i in range(3)] for by in (0.08, 0.0)
    )
    seen = pooled_change([fit_line(log) for log in rising])
    assert 0.04 < seen.low and seen.value == pytest.approx(np.expm1(0.08), abs=0.01)
    still = pooled_change([fit_line(log) for log in steady])
    assert still.low < 0.0 < still.high


def test_a_trend_of_rivals_is_theirs_though_own_bids_rise_with_it():
    """A pacer that answers dearer auctions: what rivals and own bids share over time is not put aside."""
    logs = [account(np.random.default_rng([13, i]), change=0.08, rise=0.08) for i in range(3)]
    seen = pooled_change([fit_line(log) for log in logs])
    assert 0.05 < seen.low and seen.value == pytest.approx(np.expm1(0.08), abs=0.015)
    weight = logs[0].impressions + 1.0
    time = np.arange(28.0)[:, None]
    for moved in (1.0, time):
        assert (weight * moved * logs[0].usual_pattern).sum() == pytest.approx(0.0, abs=1e-6)


def test_an_end_that_nothing_bounds_is_infinite_and_null_in_the_summary():
    log = account(np.random.default_rng(2))
    fits = [replace(fit, covariance=1e8 * np.eye(5)) for fit in fit_line(log)]
    needed, change = needed_quantile(fits, log, 0.5), weekly_change(fits)
    assert (needed.low, needed.high) == (0.0, np.inf) and needed.value == pytest.approx(LEVEL, rel=0.1)
    assert (change.low, change.high) == (-1.0, np.inf)
    assert _span(needed) == {"value": needed.value, "low": 0.0, "high": None}


def test_bids_that_never_vary_leave_the_spread_untold_and_the_curve_wide():
    steady, varied = (account(np.random.default_rng(5), vary=by, prices=False) for by in (0.0, 0.5))
    at_bid, far, far_told = (
        win_chance(fit_line(log), log, k * 10.0) for log, k in ((steady, 1), (steady, 2), (varied, 2))
    )
    assert fit_line(steady)[0].told_of_scale < 0.05 < 0.9 < fit_line(varied)[0].told_of_scale
    assert at_bid.high - at_bid.low < 0.06  # the share itself is told
    assert far.high - far.low > 2 * (far_told.high - far_told.low)
    assert far.low <= chance(20.0) <= far.high


def test_shares_under_a_tenth_still_tell_a_little():
    log = account(np.random.default_rng(9), bid=4.6, vary=0.4, crowd=200)
    assert log.told.any() and log.censored.any()
    found = win_chance(fit_line(log), log, 10.0)
    assert found.low <= chance(10.0) <= found.high
    share = market_share(log, fit_line(log))
    assert share.days_censored == log.censored.sum() and share.own.value < log.share[log.told].mean()


def test_market_share_and_what_is_left_add_up():
    log = account(np.random.default_rng(2))
    share = market_share(log, fit_line(log))
    assert share.own.value + share.others.value == pytest.approx(1.0)
    assert share.own.low < share.own.value < share.own.high and share.told == "told"
    assert share.while_off == 0.0
    untold = account(np.random.default_rng(2), shares=False)
    by_prices = market_share(untold, fit_line(untold))
    assert by_prices.told == "by prices" and by_prices.own.low < share.own.value < by_prices.own.high


def test_an_hour_in_which_rivals_rest_is_seen_in_prices_alone():
    shift = np.array([0.0, 0.0, 0.0, 0.0, 0.0, -0.4])
    log = account(np.random.default_rng(4), shift=shift, crowd=300)
    found = hourly_change(fit_line(log)[0], log)
    others = np.expm1(shift - shift.mean())
    assert found[5].high < min(each.low for each in found[:5])
    assert all(each.low < truth < each.high for each, truth in zip(found, others, strict=True))
    blind = account(np.random.default_rng(4), prices=False)
    assert all(each.value is None for each in hourly_change(fit_line(blind)[0], blind))


def test_hours_that_do_not_differ_are_not_believed_to():
    log = account(np.random.default_rng(6), crowd=300)
    assert all(
        each.low < 0.0 < each.high and abs(each.value) < 0.03 for each in hourly_change(fit_line(log)[0], log)
    )


def test_kaplan_meier_finds_the_curve_below_the_largest_bid():
    rng = np.random.default_rng(8)
    bid, needed = rng.uniform(2.0, 20.0, 4000), LEVEL * np.exp(SPREAD * rng.normal(size=4000))
    value, low, high = win_curve(bid, (needed <= bid).astype(int), needed, at=[5.0, 10.0, 18.0, 30.0])
    truth = np.array([chance(5.0), chance(10.0), chance(18.0)])
    assert (np.abs(value[:3] - truth) < 0.04).all() and np.isnan(value[3])
    assert ((low[:3] <= truth) & (truth <= high[:3])).all()
    with pytest.raises(BadInput, match=r"price\[0\]"):
        win_curve([1.0], [1], [2.0], at=[1.0])


def test_the_summary_says_what_cannot_be_known():
    told = account(np.random.default_rng(2))
    few = account(np.random.default_rng(2), days=5)
    result = competition([told, _named(few, "few")], {"line": "social", "few": "search"}, {"target": "why"})
    assert result["channels"]["social"]["lines"] == 1 and "search" not in result["channels"]
    assert result["lines"]["line"]["unit"] == "USD per 1000 impressions"
    assert result["lines"]["few"]["win_curve"] is None and "5 whole days" in result["untold"]["few"]
    assert result["untold"]["target"] == "why" and "number of rivals" in result["notes"][0]
    rows = result["lines"]["line"]["win_curve"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert [row["value"] for row in rows] == sorted(row["value"] for row in rows)


def _named(log: LineLog, name: str) -> LineLog:
    return replace(log, name=name)


@pytest.mark.parametrize(
    ("field", "cells", "message"),
    [
        ("bid", np.full((2, 3), np.nan), r"bid\[0, 0\]"),
        ("impressions", np.full((2, 3), -1.0), r"impressions\[0, 0\]"),
        ("price", np.ones((2, 2)), r"price\.shape"),
        ("share", np.array([0.5, 1.5]), "share of x"),
    ],
)
def test_a_log_that_cannot_be_is_refused(field, cells, message):
    whole: dict[str, Any] = dict.fromkeys(("bid", "open", "impressions", "sold", "price"), np.ones((2, 3)))
    whole |= {"name": "x", "by_click": False, "share": np.full(2, 0.5), "price_is_needed": True}
    with pytest.raises(BadInput, match=message):
        LineLog(**whole | {field: cells})


def test_too_short_a_log_is_refused_with_the_reason():
    with pytest.raises(BadInput, match="fewer than 7"):
        fit_line(account(np.random.default_rng(0), days=6))
