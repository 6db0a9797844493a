"""Geo holdouts: the regression by a second hand, intervals and placebos that hold their level, refusals."""

import numpy as np
import pytest
from scipy.stats import kstest
from scipy.stats import t as student

from gaelp.core.errors import BadInput
from gaelp.measurement.experiments.geo import geo_lift, group_of, panel, people_of, window
from gaelp.measurement.experiments.time_regression import doubts

PRE, TEST = window("pre", "2026-01-01:2026-02-11"), window("test", "2026-02-12:2026-03-11")
N_PRE, N_TEST = 42, 28


def rows(rng, *, n_geos=40, effect=0.0, cost_before=0.0, season=1.0):
    """Columns of a market: regions that differ, a shared season, noise; half of the regions are treated."""
    days = np.arange(np.datetime64("2026-01-01"), np.datetime64("2026-03-12"))
    level = rng.lognormal(5.0, 0.7, n_geos)
    wave = 1 + season * (0.2 * np.sin(np.arange(days.size) / 3.5) + 0.05 * rng.normal(size=days.size))
    sales = level[:, None] * wave * (1 + 0.05 * rng.normal(size=(n_geos, days.size)))
    treated = np.arange(n_geos) % 2 == 0
    spend = np.full(sales.shape, cost_before) * (1 + 0.1 * rng.normal(size=sales.shape))
    spend[np.ix_(treated, days >= TEST.first)] += 10.0
    sales[np.ix_(treated, days >= TEST.first)] += 10.0 * effect
    geo = np.repeat([f"geo{i:02d}" for i in range(n_geos)], days.size)
    return geo, np.tile(days, n_geos), sales.ravel(), spend.ravel(), treated


@pytest.mark.golden
def test_the_regression_is_that_of_the_paper():
    geo, day, sales, cost, treated = rows(np.random.default_rng(0), effect=2.0)
    table = panel(geo, day, sales, cost)
    found = geo_lift(table, PRE, TEST, level=0.9)
    y, x = table.response[treated].sum(axis=0), table.response[~treated].sum(axis=0)
    design = np.column_stack([np.ones(N_PRE), x[:N_PRE]])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y[:N_PRE]
    s2 = ((y[:N_PRE] - design @ beta) ** 2).sum() / (N_PRE - 2)
    later = np.column_stack([np.ones(N_TEST), x[N_PRE:]])
    effect = (y[N_PRE:] - later @ beta).sum()
    total = later.sum(axis=0)
    error = np.sqrt(s2 * (N_TEST + total @ inverse @ total))
    assert found["effect"] == pytest.approx(effect) and found["effect_se"] == pytest.approx(error)
    reach = student.ppf(0.95, N_PRE - 2) * error
    spent = cost.sum()
    assert [found["low"], found["high"]] == pytest.approx(
        [(effect - reach) / spent, (effect + reach) / spent]
    )
    assert (found["iroas"], found["iroas_se"]) == pytest.approx((effect / spent, error / spent))
    assert found["slope"] == pytest.approx(beta[1])


@pytest.mark.statistical
@pytest.mark.parametrize("cost_before", [0.0, 5.0], ids=["fixed", "modelled"])
def test_intervals_hold_the_true_iroas(cost_before):
    rng = np.random.default_rng(1)
    held, found = [], []
    for _ in range(250):
        geo, day, sales, cost, treated = rows(rng, effect=1.5, cost_before=cost_before)
        told = geo_lift(panel(geo, day, sales, cost), PRE, TEST, treated, n_placebos=1)
        held.append(told["low"] <= 1.5 <= told["high"])
        found.append(told["iroas"])
    assert told["cost"] == ("modelled" if cost_before else "fixed")
    assert abs(np.mean(held) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 250)
    assert abs(np.mean(found) - 1.5) < 4 * np.std(found) / np.sqrt(250)


@pytest.mark.statistical
def test_the_placebo_p_is_uniform_where_ads_do_nothing():
    rng = np.random.default_rng(2)
    p = []
    for seed in range(200):
        geo, day, sales, cost, _ = rows(rng, n_geos=16, season=0.3)
        treated = np.zeros(16, bool)
        treated[rng.choice(16, 8, replace=False)] = True
        p.append(
            geo_lift(panel(geo, day, sales, cost), PRE, TEST, treated, n_placebos=99, seed=seed)["placebo_p"]
        )
    assert kstest(p, "uniform").pvalue > 0.001
    geo, day, sales, cost, _ = rows(rng, effect=5.0)
    assert geo_lift(panel(geo, day, sales, cost), PRE, TEST)["placebo_p"] == 0.001


def test_order_of_rows_does_not_matter_and_absent_rows_sold_nothing():
    rng = np.random.default_rng(3)
    *columns, _ = rows(rng, effect=1.0)
    columns[2][5] = columns[3][5] = 0.0
    whole = geo_lift(panel(*columns), PRE, TEST)
    order = rng.permutation(np.delete(np.arange(columns[0].size), 5))
    assert geo_lift(panel(*(column[order] for column in columns)), PRE, TEST) == whole | {"absent_rows": 1}


def test_weeks_do_as_well_as_days():
    geo, day, sales, cost, _ = rows(np.random.default_rng(4), effect=1.0)
    weekly = (day - day.min()).astype(int) % 7 == 0
    table = panel(geo[weekly], day[weekly], sales[weekly], cost[weekly])
    long = window("pre", "2026-01-01:2026-02-18"), window("test", "2026-02-19:2026-03-11")
    assert geo_lift(table, *long)["pre_days"] == 7


def test_the_same_seed_deals_the_same_placebos():
    table = panel(*rows(np.random.default_rng(5))[:4])
    assert geo_lift(table, PRE, TEST, seed=3) == geo_lift(table, PRE, TEST, seed=3)


def test_a_cost_that_may_not_have_changed_bounds_nothing():
    rng = np.random.default_rng(6)
    geo, day, sales, cost, treated = rows(rng, effect=1.0)
    table = panel(geo, day, sales, rng.normal(50, 20, cost.size))
    told = geo_lift(table, PRE, TEST, treated)
    assert (told["low"], told["high"], told["cost"]) == (None, None, "modelled")


def refused(change, says, treated=None, pre=PRE, test=TEST):
    columns = dict(zip(("geo", "day", "sales", "cost"), rows(np.random.default_rng(7))[:4], strict=True))
    columns = change(columns)
    with pytest.raises(BadInput, match=says):
        geo_lift(panel(*columns.values()), pre, test, treated)


def keep(columns, kept):
    return {name: values[kept] for name, values in columns.items()}


def test_missing_dates_are_named():
    gone = np.datetime64("2026-01-20")
    refused(lambda c: keep(c, c["day"] != gone), "`pre, date` was '2026-01-20'; .* 1 dates of the window")
    refused(
        lambda c: c,
        "`test` was .* must lie within the table's dates",
        test=window("test", "2026-03-01:2026-04-01"),
    )
    refused(lambda c: c, "`pre` was", pre=window("pre", "2025-12-01:2026-02-11"))


def test_windows_that_cannot_be_are_named():
    refused(lambda c: c, "must end before the test begins", pre=window("pre", "2026-01-01:2026-02-20"))
    refused(lambda c: c, "must hold at least 7 dates", pre=window("pre", "2026-02-08:2026-02-11"))
    for text in ("2026-01-31:2026-01-01", "2026-01-01", "january:may", "2026-01-01:2026-13-01", "a:b:c"):
        with pytest.raises(BadInput, match="two days FROM:TO, the earlier first"):
            window("pre", text)


def test_groups_that_cannot_be_are_named():
    refused(lambda c: c, "`treated` was '0 of 40 regions'", treated=np.zeros(40, bool))
    refused(lambda c: c, "`treated` was '40 of 40 regions'", treated=np.ones(40, bool))
    refused(lambda c: c | {"cost": 0 * c["cost"]}, "check cost in the test window")
    refused(lambda c: c | {"cost": 0 * c["cost"]}, "`cost` was 0.0", treated=np.arange(40) % 2 == 0)
    refused(lambda c: c | {"sales": 0 * c["sales"]}, "must not be 0 in all treated regions")
    refused(lambda c: {n: np.append(v, v[:1]) for n, v in c.items()}, "must have one row a day")
    table = panel(
        np.array(["a", "a", "b"]),
        np.array(["2026-01-01", "2026-01-02", "2026-01-01"], "M8[D]"),
        *np.ones((2, 3)),
    )
    geo = np.array(["a", "a", "b"])
    with pytest.raises(BadInput, match="`group` was 'a'; must be in one group"):
        group_of(table, geo, np.array(["1", "2", "1"]), "1")
    with pytest.raises(BadInput, match="`treated` was '3'"):
        group_of(table, geo, np.array(["1", "1", "2"]), "3")
    with pytest.raises(BadInput, match="must come with its partner"):
        group_of(table, geo, None, "3")


def test_a_level_that_is_none_is_named():
    with pytest.raises(BadInput, match="`level` was 2"):
        geo_lift(panel(*rows(np.random.default_rng(8))[:4]), PRE, TEST, level=2)


def few(rng, *, drift=0.7, lost=0.0, n_geos=40):
    """Columns of a market that sells ten things a day, drifts, and goes dark in half of its regions."""
    days = np.arange(np.datetime64("2026-01-01"), np.datetime64("2026-03-12"))
    people = rng.lognormal(9.0, 0.7, n_geos)
    treated = np.zeros(n_geos, bool)
    treated[rng.choice(n_geos, n_geos // 2, replace=False)] = True
    during = days >= TEST.first
    rate = 10.0 * people[:, None] / people.sum() * np.where(during, drift, 1.0)
    rate[np.ix_(treated, during)] *= 1.0 - lost
    spend = np.ones(rate.shape) * people[:, None] / people.sum()
    spend[np.ix_(treated, during)] = 0.0
    geo = np.repeat([f"geo{i:02d}" for i in range(n_geos)], days.size)
    columns = geo, np.tile(days, n_geos), rng.poisson(rate).astype(float).ravel(), spend.ravel()
    return columns, people, treated


@pytest.mark.statistical
def test_by_regions_a_drift_of_few_sales_is_no_effect_and_by_days_it_is_doubted():
    rng = np.random.default_rng(9)
    n, held, misled, warned = 200, 0, 0, 0
    for _ in range(n):
        columns, people, treated = few(rng)
        table = panel(*columns)
        by_regions = geo_lift(table, PRE, TEST, treated, people=people, n_placebos=1)
        by_days = geo_lift(table, PRE, TEST, treated, n_placebos=1)
        held += by_regions["effect_low"] <= 0.0 <= by_regions["effect_high"]
        misled += not by_days["effect_low"] <= 0.0 <= by_days["effect_high"]
        warned += "Use --by regions" in " ".join(by_days["warnings"])
        assert (by_regions["by"], by_regions["warnings"], by_days["by"]) == ("regions", [], "days")
    assert abs(held / n - 0.95) < 4 * np.sqrt(0.95 * 0.05 / n)
    assert misled > n / 2 and warned == n


@pytest.mark.statistical
def test_by_regions_the_return_on_spend_of_a_dark_half_is_found():
    """Half of seven sales a day for a dollar a day, wherever it is dark."""
    rng = np.random.default_rng(10)
    found, held = [], []
    for _ in range(200):
        columns, people, treated = few(rng, lost=0.5)
        told = geo_lift(panel(*columns), PRE, TEST, treated, people=people, n_placebos=1)
        share = people[treated].sum() / people.sum()
        found.append(told["iroas"])
        held.append(told["low"] <= 3.5 <= told["high"])
        assert told["incremental_cost"] == pytest.approx(-N_TEST * share) and told["cost"] == "modelled"
    assert abs(np.mean(found) - 3.5) < 4 * np.std(found) / np.sqrt(200)
    assert abs(np.mean(held) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)


@pytest.mark.statistical
def test_by_regions_the_placebo_p_is_uniform_where_ads_do_nothing():
    rng = np.random.default_rng(11)
    p = []
    for seed in range(200):
        columns, people, treated = few(rng, n_geos=16)
        told = geo_lift(panel(*columns), PRE, TEST, treated, people=people, n_placebos=99, seed=seed)
        p.append(told["placebo_p"])
    assert kstest(p, "uniform").pvalue > 0.001


def test_days_that_sell_much_and_move_together_are_not_doubted():
    table = panel(*rows(np.random.default_rng(12))[:4])
    assert geo_lift(table, PRE, TEST)["warnings"] == []
    control = 5000.0 + 800.0 * np.sin(np.arange(42.0))
    assert doubts(100.0 + 0.01 * control, np.round(control)) == []  # a flat slope that tells all the same
    noise = np.random.default_rng(13).normal(0.0, 30.0, 42)
    assert len(doubts(100.0 + noise, np.round(control) + 0.5)) == 1  # and one that tells nothing
    assert len(doubts(np.ones(42), np.ones(42))) == 2  # nothing varies


def test_one_day_before_is_enough_by_regions():
    columns, people, treated = few(np.random.default_rng(14))
    pre = window("pre", "2026-02-11:2026-02-11")
    assert geo_lift(panel(*columns), pre, TEST, treated, people=people)["pre_days"] == 1


def test_people_are_one_figure_a_region():
    geo = np.array(["b", "a", "b", "a"])
    days = np.array(["2026-01-01", "2026-01-01", "2026-01-02", "2026-01-02"], "M8[D]")
    table = panel(geo, days, *np.ones((2, 4)))
    assert people_of(table, geo, np.array([5.0, 3.0, 5.0, 3.0])).tolist() == [3.0, 5.0]
    for people, says in (([5.0, 3.0, 6.0, 3.0], "'b'; must have as many"), ([5.0, 0.0, 5.0, 0.0], "'a'")):
        with pytest.raises(BadInput, match=says):
            people_of(table, geo, np.array(people))
