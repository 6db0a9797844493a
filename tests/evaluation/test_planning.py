"""How long a proof takes: the closed form against the experiment itself, drawn many times."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from gaelp.core.words import EMAIL_LINE
from gaelp.evaluation.judge import Terms
from gaelp.evaluation.planning import (
    Design,
    Measured,
    Rates,
    booked_days,
    carry_over,
    days_if_booked_at_once,
    days_needed,
    detectable_cac,
    index_of_dispersion,
    measure,
    moments,
    plan_proof,
    power_of,
    prove,
    region_exposure,
    spread_between,
    spread_left,
    world_hours,
)
from gaelp.market.file import load
from gaelp.market.state import GEO_IMPRESSIONS, SPEND
from gaelp.worlds.flight import fly, make_market, run_off, warm_up
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import Tuned, tuned_for

MARKET = "markets/family_safety.toml"
LAG = np.array([0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99, 1.0])
SLOW = Rates(
    people=80_000,
    base=1.1e-3,
    effect=1.3e-4,
    spend_usd=0.00625,
    dispersion=1.3,
    region_spread=0.12,
    n_regions=50.0,
    booked=LAG,
    carry_over_days=3.0,
)
HALF = Design(holdout=0.5, target_usd=100.0)
TENTH = Design(holdout=0.1, target_usd=100.0)
N_DRAWS = 20_000


def counts(rng: np.random.Generator, mean: np.ndarray | float, dispersion: float, n: int) -> np.ndarray:
    """Counts of variance `dispersion` times the mean: negative binomial, the gamma mixture of Poisson."""
    shape = np.broadcast_to(np.asarray(mean, float) / (dispersion - 1.0), (n, *np.shape(mean)))
    return rng.poisson(rng.gamma(shape, dispersion - 1.0))


def proven(rates: Rates, design: Design, days: int, seed: int, n: int = N_DRAWS) -> float:
    """Share of experiments that end with a proof; levels of regions are drawn anew each time."""
    rng = np.random.default_rng(seed)
    base, caused = (values[-1] for values in booked_days(rates, days, design.wait_days))
    treated, held = (1 - design.holdout) * rates.people, design.holdout * rates.people
    sold_anyway = np.full((n, 2), (treated, held)) * rates.base * base
    left, regions = 0.0, (1.0, 1.0)
    if design.by_region:
        left = spread_left(rates, design.pre_days)
        regions = ((1 - design.holdout) * rates.n_regions, design.holdout * rates.n_regions)
        sold_anyway *= 1 + left / np.sqrt(regions) * rng.standard_normal((n, 2))
    sold_anyway[:, 0] += treated * rates.effect * caused
    shape = sold_anyway / (rates.dispersion - 1.0)
    sold = rng.poisson(rng.gamma(shape, rates.dispersion - 1.0))
    spend = treated * rates.spend_usd * days
    verdicts = [
        prove(
            a,
            b,
            treated / held,
            spend,
            design,
            dispersion=rates.dispersion,
            spread_left=left,
            regions=regions,
        )
        for a, b in sold
    ]
    return float(np.mean([verdict.p_value < design.alpha for verdict in verdicts]))


def monte_carlo_error(p: float, n: int = N_DRAWS) -> float:
    return float(np.sqrt(p * (1 - p) / n))


@pytest.mark.statistical
@pytest.mark.parametrize("by_region", [False, True], ids=["people", "regions"])
@pytest.mark.parametrize("holdout", [0.1, 0.2, 0.5])
def test_an_experiment_of_the_planned_length_succeeds_as_often_as_planned(
    holdout: float, by_region: bool
) -> None:
    design = Design(holdout=holdout, target_usd=100.0, by_region=by_region, pre_days=180)
    rates = replace(SLOW, people=800_000, region_spread=0.08)
    days = days_needed(rates, design)
    assert days is not None
    said = power_of(rates, design, days)[-1]
    assert said >= 0.8 > power_of(rates, design, days)[-2]
    # 4 errors of the draws, and 0.01 for counts being skew and the variance estimated
    assert abs(proven(rates, design, days, seed=1) - said) < 4 * monte_carlo_error(said) + 0.01


@pytest.mark.statistical
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_cac_at_the_target_is_proven_to_be_under_it_no_more_often_than_alpha(alpha: float) -> None:
    at_target = replace(SLOW, effect=SLOW.spend_usd / 100.0, booked=np.ones(1), carry_over_days=0.0)
    design = replace(HALF, alpha=alpha)
    found = proven(at_target, design, 60, seed=2)
    assert abs(found - alpha) < 4 * monte_carlo_error(alpha) + 0.005
    # sales that are not booked yet count against the ads, never for them
    late = replace(at_target, booked=LAG, carry_over_days=3.0)
    assert proven(late, design, 60, seed=2) < alpha


def test_the_closed_form_is_the_scan_where_everything_is_booked_at_once() -> None:
    at_once = replace(SLOW, booked=np.ones(1), carry_over_days=0.0)
    for holdout in (0.05, 0.2, 0.5):
        design = Design(holdout=holdout, target_usd=100.0)
        assert days_needed(at_once, design, 5000) == np.ceil(days_if_booked_at_once(at_once, design))


def test_the_closed_form_by_hand() -> None:
    """A half held out: T = z² (2 (base + effect) + 2 base) / (N gain²), with z = 1.645 + 0.842."""
    rates = Rates(people=10_000, base=0.01, effect=0.002, spend_usd=0.1)
    by_hand = (1.6448536 + 0.8416212) ** 2 * (0.024 + 0.02) / (10_000 * 0.001**2)
    assert days_if_booked_at_once(rates, HALF) == pytest.approx(by_hand, rel=1e-6)


def test_no_length_proves_a_cac_that_is_not_under_the_target() -> None:
    for effect in (SLOW.spend_usd / 100.0, SLOW.spend_usd / 120.0, 0.0, -1e-5):
        rates = replace(SLOW, effect=effect)
        assert days_needed(rates, HALF) is None
        assert days_if_booked_at_once(rates, HALF) == np.inf
    assert replace(SLOW, effect=0.0).cac_usd is None


def test_a_test_needs_longer_for_less_holdout_for_lag_and_for_noise() -> None:
    days = [days_needed(SLOW, Design(holdout=h, target_usd=100.0)) for h in (0.5, 0.2, 0.1)]
    assert all(day is not None for day in days) and days == sorted(days)
    slow, at_once = days_needed(SLOW, HALF), days_needed(replace(SLOW, booked=np.ones(1)), HALF)
    noisy = days_needed(replace(SLOW, dispersion=2.0), HALF)
    regions = days_needed(SLOW, replace(HALF, by_region=True))
    assert at_once is not None and slow is not None and noisy is not None
    assert at_once < slow < noisy
    assert regions is None or regions > slow


def test_without_sales_before_the_test_regions_differ_too_much_for_any_length() -> None:
    """What regions differ by does not average out over days: the power has a ceiling."""
    design = replace(TENTH, by_region=True, pre_days=0)
    assert days_needed(SLOW, design) is None
    assert spread_left(SLOW, 0) == SLOW.region_spread
    left = [spread_left(SLOW, days) for days in (0, 30, 90, 365)]
    assert left == sorted(left, reverse=True) and left[-1] > 0


def test_a_cac_that_is_detectable_in_thirty_days_needs_thirty_days() -> None:
    for design in (HALF, TENTH, replace(HALF, by_region=True), replace(HALF, wait_days=14)):
        dearest = detectable_cac(SLOW, design, 30)
        assert dearest is not None and 0 < dearest < 100.0
        as_dear = replace(SLOW, effect=SLOW.spend_usd / dearest)
        assert power_of(as_dear, design, 30)[-1] == pytest.approx(0.8, abs=1e-9)


def test_booked_days_are_the_double_sum_they_stand_for() -> None:
    base, caused = booked_days(SLOW, 40, wait_days=5)
    within = lambda days: LAG[min(int(days), LAG.size - 1)]  # noqa: E731
    for last in (1, 7, 40):
        middle = np.arange(last) + 0.5
        booked = np.array([within(last - s + 5) for s in middle])
        assert base[last - 1] == pytest.approx(booked.sum())
        assert caused[last - 1] == pytest.approx(((1 - np.exp(-middle / 3.0)) * booked).sum())


@pytest.mark.statistical
def test_mean_and_variance_are_those_of_drawn_experiments() -> None:
    rng = np.random.default_rng(5)
    mean, variance = (values[-1] for values in moments(SLOW, TENTH, 60))
    base, caused = (values[-1] for values in booked_days(SLOW, 60))
    treated = counts(rng, 72_000 * (SLOW.base * base + SLOW.effect * caused), 1.3, N_DRAWS)
    held = counts(rng, 8_000 * SLOW.base * base, 1.3, N_DRAWS)
    drawn = treated - 9 * held - 72_000 * SLOW.spend_usd * 60 / 100.0
    assert abs(drawn.mean() - mean) < 4 * np.sqrt(variance / N_DRAWS)
    assert abs(drawn.var() / variance - 1) < 4 * np.sqrt(2 / N_DRAWS)


@pytest.mark.statistical
def test_dispersion_and_spread_are_found_again() -> None:
    rng = np.random.default_rng(3)
    people = np.tile(1 / np.arange(1, 101) ** 0.7, (400, 1))
    people *= 20_000 / people[0].sum()
    plain = counts(rng, 0.05 * people[0], 1.4, 400)
    assert index_of_dispersion(plain, people) == pytest.approx(1.4, abs=4 * 1.4 * np.sqrt(2 / 400 / 99))
    assert spread_between(plain, people, 1.4) < 0.05
    level = np.exp(0.12 * rng.standard_normal((400, 100)))
    found = spread_between(rng.poisson(0.05 * people * level), people)
    assert found == pytest.approx(0.12, abs=0.015)


def test_regions_are_trusted_as_far_as_their_sales_speak() -> None:
    people, sold = np.array([1e6, 1e6, 10.0, 10.0]), np.array([1200, 800, 0, 0])
    exposure = region_exposure(people, sold, spread=0.12)
    assert exposure[0] / exposure[1] == pytest.approx(1.46, abs=0.001)  # 1.5 as sold, shrunk by 1 / 15.4
    assert exposure[2] == pytest.approx(10.0, rel=0.01)


@pytest.mark.parametrize("d", [0.5, 5.0, 40.0])
def test_the_carry_over_is_found_from_what_comes_after_the_flight(d: float) -> None:
    assert carry_over(d / 30 * (1 - np.exp(-30 / d)), 30) == pytest.approx(d, rel=1e-6)


def test_sales_brought_forward_are_no_carry_over() -> None:
    assert carry_over(-0.2, 30) == 0.0 and carry_over(1.0, 30) == 300.0


def measured(cac: float) -> Measured:
    rates = replace(SLOW, effect=SLOW.spend_usd / cac)
    days = np.full(4, 3e5)
    sums = {"person_days": days, "base": rates.base * days, "spend_usd": rates.spend_usd * days}
    sums["effect"] = rates.effect * days * np.array([0.6, 0.9, 1.1, 1.4])
    return Measured(rates, sums, {"incremental_cac_usd": {"mean": cac, "low": 0.9 * cac, "high": 1.1 * cac}})


@pytest.mark.parametrize(
    ("cac", "reason", "says"),
    [
        (40.0, None, "Hold out 50% of people for"),
        (
            120.0,
            "cac_not_below_target",
            "Cannot be proven: the true incremental CAC is $120, not under $100.",
        ),
        (97.0, "more_than_730_days", "Cannot be proven within 730 days"),
        (105.0, "cac_not_below_target", "more --worlds"),
    ],
)
def test_a_plan_says_plainly_whether_it_can_be_proven(cac: float, reason: str | None, says: str) -> None:
    plan = plan_proof(measured(cac), [0.1, 0.5], target_usd=100.0)
    assert (plan["reason"], plan["provable"]) == (reason, reason is None)
    assert says in plan["statement"]
    for row in plan["plans"]:
        assert (row["days"] is None) == (row["spend_usd"] is None) == (row["assurance"] is None)
        if row["days"] is not None:
            treated = (1 - row["holdout"]) * 80_000
            assert row["spend_usd"] == pytest.approx(treated * SLOW.spend_usd * row["days"])
            assert 0 < row["assurance"] < 0.95  # worlds with a dearer CAC pull it under the power


def test_a_plan_can_be_made_for_another_cac_than_the_measured_one() -> None:
    plan = plan_proof(measured(120.0), [0.5], target_usd=100.0, true_cac_usd=40.0)
    assert plan["provable"] and plan["assumed_cac"]
    assert plan["plans"][0]["days"] == plan_proof(measured(40.0), [0.5], target_usd=100.0)["plans"][0]["days"]
    assert plan["plans"][0]["assurance"] is None


def test_rates_come_from_flights_and_their_twins() -> None:
    file = load(MARKET)
    worlds = split_worlds(file, "validation", 2)
    ticked: list[int] = []
    terms = Terms(n_people=1500, days=4, runoff_days=5, tuned=Tuned())
    found = measure(worlds, Tuned().fixed, terms, ticked.append)
    assert sum(ticked) == world_hours(2, 4, 5)
    market = make_market(worlds, 1500)
    traffic = warm_up(market)
    twin = market.copy()
    run_off(twin, 9)
    flight = fly(market, Tuned().fixed(), days=4, traffic=traffic, tuned=Tuned())
    spend = flight.report[..., SPEND].sum() / 1e6
    run_off(market, 5)
    effect = (market.books.expected[:, 0, 0] - twin.books.expected[:, 0, 0]).sum()
    assert found.sums["spend_usd"].sum() == spend > 0
    assert found.sums["effect"].sum() == effect
    assert found.rates.spend_usd == spend / (2 * 1500 * 4)
    assert found.rates.people == file.people
    assert found.rates.booked[-1] == 1.0 and (np.diff(found.rates.booked) >= 0).all()
    size = np.arange(1, 101) ** -0.7  # as `market.file` draws regions
    assert found.rates.n_regions == pytest.approx(size.sum() ** 2 / (size**2).sum(), rel=0.1)
    assert found.of_world(0).spend_usd == found.sums["spend_usd"][0] / 6000


@dataclass
class HeldOut:
    """A policy that shows no ads in some regions and spends the treated people's share of the budget."""

    inner: object
    regions: np.ndarray
    share: float
    name: str = "held_out"

    def start(self, brief):
        self.inner.start(replace(brief, daily_budget_usd=brief.daily_budget_usd * self.share))

    def act(self, view):
        asked = self.inner.act(view)
        region = asked.region.copy()
        region[:, self.regions] = 0.0
        return replace(asked, region=region)


def test_a_region_held_out_sees_no_ad_and_gets_no_email():
    market = make_market(split_worlds(load(MARKET), "validation", 2), 1_000)
    traffic = warm_up(market)
    before = market.books.geo[:, 0, ..., GEO_IMPRESSIONS].copy()
    dark = np.arange(0, 100, 2)
    fly(market, HeldOut(tuned_for(load(MARKET)).pacing(), dark, 0.5), days=3, traffic=traffic)
    shown = (market.books.geo[:, 0, ..., GEO_IMPRESSIONS] - before).sum(axis=0)  # (n_regions, n_lines)
    assert shown[dark].sum() == 0
    assert shown[dark + 1, EMAIL_LINE].sum() > 0 < shown[dark + 1, :EMAIL_LINE].sum()


@pytest.mark.study
def test_geo_holdouts_flown_in_the_market_are_as_noisy_as_planned():
    """24 worlds of 20,000 people, half of the regions dark for 30 days: noise, money and effect as said."""
    file, n_worlds, n_people, days = load(MARKET), 24, 20_000, 30
    worlds, tuned = split_worlds(file, "validation", n_worlds, seed=11), tuned_for(load(MARKET))
    terms = Terms(n_people=n_people, days=days, runoff_days=30, tuned=tuned)
    rates = replace(measure(worlds, tuned.pacing, terms).rates, people=float(n_people))
    market = make_market(worlds, n_people)
    traffic = warm_up(market)
    start, pre_days = market.hour, 50
    shown_before = market.books.geo[:, 0, ..., GEO_IMPRESSIONS].sum(axis=2)
    region = market.pop.people["region"]
    people = np.array([np.bincount(row, minlength=100) for row in region], float)
    dark = np.random.default_rng(0).permutation(100)[:50]
    lit = np.setdiff1d(np.arange(100), dark)
    share = people[:, lit].sum() / people.sum()
    flight = fly(
        market, HeldOut(tuned.pacing(), dark, share), days=days, traffic=traffic, tuned=tuned, keep_bids=False
    )
    end = market.hour
    shown = market.books.geo[:, 0, ..., GEO_IMPRESSIONS].sum(axis=2) - shown_before
    spend = flight.report[..., SPEND].sum(axis=1) / 1e6

    def sold(w, since, until):
        made = market.decisions(w)
        made = made[(made["brand"] == 0) & (made["hour"] >= since) & (made["book_hour"] < until)]
        return np.bincount(made["region"], minlength=100)

    design = Design(holdout=1 - share, target_usd=100.0, by_region=True, pre_days=pre_days)
    left = spread_left(rates, pre_days)
    lit_regions, dark_regions = (p.sum() ** 2 / (p**2).sum() for p in (people[0, lit], people[0, dark]))
    z, gained, error = [], [], []
    for w in range(n_worlds):
        before = sold(w, start - 24 * pre_days, start)
        exposure = region_exposure(people[w], before, spread=rates.region_spread, dispersion=rates.dispersion)
        test = sold(w, start, end)
        ratio = exposure[lit].sum() / exposure[dark].sum()
        anyway = ratio * test[dark].sum()
        noise = rates.dispersion * (test[lit].sum() + ratio * anyway)
        noise += (left * anyway) ** 2 * (1 / lit_regions + 1 / dark_regions)
        caused = rates.effect * share * n_people * booked_days(rates, days)[1][-1]
        gained.append(test[lit].sum() - anyway)
        error.append(np.sqrt(noise))
        z.append((gained[-1] - caused) / error[-1])
        verdict = prove(
            test[lit].sum(),
            test[dark].sum(),
            ratio,
            spend[w],
            design,
            dispersion=rates.dispersion,
            spread_left=left,
            regions=(lit_regions, dark_regions),
        )
        assert verdict.incremental == pytest.approx(gained[-1])
    z = np.array(z)
    planned = np.sqrt(moments(rates, design, days)[1][-1])
    print(f"\nz of {n_worlds} geo holdouts: mean {z.mean():.2f}, sd {z.std(ddof=1):.2f}")
    print(f"gained {np.mean(gained):.1f} a world, planned {caused:.1f}")
    print(f"error {np.mean(error):.1f} a world, planned {planned:.1f}; spread left {left:.3f}")
    to_spend = rates.spend_usd * share * n_people * days
    print(f"spend ${spend.mean():,.0f} a world, planned ${to_spend:,.0f}")
    assert shown[:, dark].sum() == 0 < shown[:, lit].sum()  # no auction, and no e-mail
    assert abs(z.mean()) < 4 / np.sqrt(n_worlds)
    assert abs(z.std(ddof=1) - 1) < 4 / np.sqrt(2 * n_worlds)
    assert np.mean(error) == pytest.approx(planned, rel=0.15)
    assert spend.mean() == pytest.approx(to_spend, rel=0.1)
