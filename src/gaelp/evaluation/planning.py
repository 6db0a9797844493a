"""How long an experiment must run to prove that a customer caused by ads costs less than a target.

A share `h` of N people sees no ads for T days. With `A = (1 - h) N` and `B = h N` people, sales `Y1` of the
treated, `Y0` of the held-out and money `S`, incremental sales are `D = Y1 - (A / B) Y0`, and

    CAC = S / D < target   <=>   D - S / target > 0,

a one-sided test that needs no ratio. Sales are counts with a variance of `dispersion` times their mean; in
whole regions there is also what regions differ by (`region_spread`), less what sales before the test tell:

    mean  = A (effect e(T) - spend T / target)
    var   = dispersion (A (base b(T) + effect e(T)) + (A / B)^2 B base b(T))
            + (A base b(T))^2 left^2 (1 / R1 + 1 / R0)                                      regions only
    power = Phi(mean / sqrt(var) - z_(1 - alpha))

`b(T)` and `e(T)` are the days of sales that are booked when the test is read: a decision counts once it is
booked, and ads work on for days. With everything booked at once and people held out it solves to

    T = z^2 dispersion ((base + effect) / (1 - h) + base / h) / (N (effect - spend / target)^2)

with `z = z_(1-alpha) + z_power`. The last factor is why it is hard: what is to be seen is not the effect but
the little by which it exceeds its price, beside the sales that come anyway.

Source: Lewis & Rao, The Unfavorable Economics of Measuring the Returns to Advertising, QJE 130(4), 2015,
1941-1973: informative tests easily need more than ten million person-weeks; the test is the
two-sample normal one for over-dispersed counts (Gu, Ng, Tang & Schucany, Biometrical Journal 50(2), 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_REGIONS
from gaelp.evaluation.intervals import Interval, mean_interval, ratio_of_sums_interval
from gaelp.evaluation.judge import Maker, Reference, Terms, batches
from gaelp.market.market import Market, World
from gaelp.market.state import SPEND
from gaelp.worlds.flight import WARM_UP_DAYS, Tick, fly, run_off
from gaelp.worlds.tuned import tuned_for
from gaelp.worlds.warmed import warmed

Floats = NDArray[np.float64]

LONGEST_DAYS = 730
"""A test that takes longer is called impossible: no market stands still for two years."""
ROUNDS = (30, 60, 90)
"""Days for which the detectable CAC is given."""
_GROUPS = 50
"""Random groups of people by which the dispersion of sales is measured."""
_AT_ONCE: Floats = np.ones(1)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What happens per person and day in an account.

    Attributes:
        people: in the account.
        base: decisions per person-day without ads.
        effect: decisions caused per person-day of advertising, late ones included.
        spend_usd: per person-day of advertising.
        dispersion: variance of sales over their mean, among people; at least 1 is wise.
        region_spread: relative standard deviation of `base` between regions, sampling taken out.
        n_regions: regions, as many as equally large ones would be.
        booked: (n_days,) share of decisions booked within 1/2, 3/2, ... days; the last holds for ever.
        carry_over_days: mean days from an ad to the decision it causes, spread exponentially.
    """

    people: float
    base: float
    effect: float
    spend_usd: float
    dispersion: float = 1.0
    region_spread: float = 0.0
    n_regions: float = float(N_REGIONS)
    booked: Floats = field(default_factory=lambda: _AT_ONCE)
    carry_over_days: float = 0.0

    @property
    def cac_usd(self) -> float | None:
        """True incremental CAC once everything is booked; None where ads cause nothing."""
        return self.spend_usd / self.effect if self.effect > 0 else None


@dataclass(frozen=True, kw_only=True)
class Design:
    """A design, and what is to be proven.

    Attributes:
        holdout: share of people, or of whole regions, that sees no ads.
        target_usd: the CAC to be proven to be under.
        alpha: chance of a proof where the CAC is at the target. power: wanted chance of a proof.
        wait_days: days between the last ad and the reading, in which sales are booked; none of their
            decisions count.
        by_region: hold whole regions out.
        pre_days: days of sales by region known from before; regions only.
    """

    holdout: float
    target_usd: float
    alpha: float = 0.05
    power: float = 0.8
    wait_days: int = 0
    by_region: bool = False
    pre_days: int = 90

    @property
    def z_alpha(self) -> float:
        """Standard errors by which D must exceed S / target."""
        return float(ndtri(1.0 - self.alpha))

    @property
    def z(self) -> float:
        """Standard errors by which it must be expected to."""
        return self.z_alpha + float(ndtri(self.power))


class Verdict(NamedTuple):
    """What a finished experiment says; `cac_high_usd` is None where the CAC has no upper bound."""

    incremental: float
    cac_usd: float | None
    cac_high_usd: float | None
    p_value: float


def booked_days(rates: Rates, longest: int = LONGEST_DAYS, wait_days: int = 0) -> tuple[Floats, Floats]:
    """Days of sales that are booked when tests of 1, 2, ... days are read.

    Args:
        rates: with lag and carry-over. longest: days. wait_days: between the last ad and the reading.

    Returns:
        b: (longest,) of decisions that come anyway, `sum_s F(T - s + wait)`.
        e: (longest,) of decisions that ads cause, `sum_s K(s) F(T - s + wait)`.
    """
    n = longest + wait_days
    share = np.concatenate([rates.booked, np.full(max(0, n - rates.booked.size), rates.booked[-1])])[:n]
    share = share[wait_days:]
    middle = np.arange(longest) + 0.5
    late = rates.carry_over_days
    begun = 1.0 - np.exp(-middle / late) if late > 0 else np.ones(longest)
    return np.cumsum(share), np.convolve(begun, share)[:longest]


def moments(rates: Rates, design: Design, longest: int = LONGEST_DAYS) -> tuple[Floats, Floats]:
    """Mean and variance of D - S / target after 1, 2, ... days, each (longest,), in sales."""
    base, caused = booked_days(rates, longest, design.wait_days)
    treated = (1.0 - design.holdout) * rates.people
    days = np.arange(1, longest + 1)
    mean = treated * (rates.effect * caused - rates.spend_usd * days / design.target_usd)
    return mean, _base_variance(rates, design, base) + rates.dispersion * treated * rates.effect * caused


def power_of(rates: Rates, design: Design, longest: int = LONGEST_DAYS) -> Floats:
    """(longest,) chance of a proof after 1, 2, ... days."""
    mean, variance = moments(rates, design, longest)
    power: Floats = ndtr(mean / np.sqrt(np.maximum(variance, 1e-12)) - design.z_alpha)
    return power


def days_needed(rates: Rates, design: Design, longest: int = LONGEST_DAYS) -> int | None:
    """Days of ads until the wanted power is reached; None where it is not within `longest`.

    >>> rates = Rates(people=80_000, base=1.1e-3, effect=2.0e-4, spend_usd=0.00625)
    >>> days_needed(rates, Design(holdout=0.5, target_usd=100.0))
    20
    """
    if rates.effect * design.target_usd <= rates.spend_usd:
        return None
    enough = np.flatnonzero(power_of(rates, design, longest) >= design.power)
    return int(enough[0]) + 1 if enough.size else None


def days_if_booked_at_once(rates: Rates, design: Design) -> float:
    """The closed form of the module's docstring: people held out, no lag, no carry-over; inf for never."""
    gain = rates.effect - rates.spend_usd / design.target_usd
    if gain <= 0:
        return float("inf")
    h = design.holdout
    noise = rates.dispersion * ((rates.base + rates.effect) / (1.0 - h) + rates.base / h)
    return float(design.z**2 * noise / (rates.people * gain**2))


def detectable_cac(rates: Rates, design: Design, days: int) -> float | None:
    """The dearest true CAC that a test of `days` proves to be under the target with the wanted power, USD.

    Spend stays; the effect that it would have to have solves `A effect e - S / target = z sqrt(var)`, a
    quadratic equation. None where no CAC would do.
    """
    base, caused = (values[-1] for values in booked_days(rates, days, design.wait_days))
    treated = (1.0 - design.holdout) * rates.people
    if caused <= 0 or treated * base <= 0:
        return None
    price = treated * rates.spend_usd * days / design.target_usd
    noise = _base_variance(rates, design, np.array([base]))[0]
    half = price + 0.5 * design.z**2 * rates.dispersion
    sales = half + np.sqrt(half**2 - price**2 + design.z**2 * noise)  # A effect e
    return float(treated * caused * rates.spend_usd / sales) if sales > 0 else None


def prove(
    treated: float,
    held: float,
    exposure: float,
    spend_usd: float,
    design: Design,
    *,
    dispersion: float = 1.0,
    spread_left: float = 0.0,
    regions: tuple[float, float] = (1.0, 1.0),
) -> Verdict:
    """Read an experiment: is incremental CAC under the target?

    Args:
        treated, held: sales of those with and without ads.
        exposure: people with ads over people without, or what `region_exposure` says.
        spend_usd: on the treated. design: target and level.
        dispersion: variance of sales over their mean.
        spread_left: relative standard deviation between regions after adjustment; 0 for people.
        regions: with and without ads, as many as equally large ones would be.

    >>> prove(5_400, 5_000, 1.0, 20_000.0, Design(holdout=0.5, target_usd=100.0)).p_value < 0.05
    True
    """
    anyway = exposure * held
    variance = dispersion * (treated + exposure * anyway)
    variance += (spread_left * anyway) ** 2 * (1.0 / regions[0] + 1.0 / regions[1])
    error = float(np.sqrt(max(variance, 1e-12)))
    gained = treated - anyway
    surely = gained - design.z_alpha * error
    return Verdict(
        incremental=gained,
        cac_usd=spend_usd / gained if gained > 0 else None,
        cac_high_usd=spend_usd / surely if surely > 0 else None,
        p_value=float(ndtr(-(gained - spend_usd / design.target_usd) / error)),
    )


def spread_left(rates: Rates, pre_days: float) -> float:
    """Relative difference between regions that sales of `pre_days` before the test do not explain.

    A region's own level has variance `spread^2`, its sales before the test show it with the variance
    `dispersion / sales`, and the best linear guess from them leaves `spread^2 v / (spread^2 + v)`.
    Source: Deng, Xu, Kohavi & Walker, CUPED (WSDM 2013); the shrinkage is James & Stein's.
    """
    spread = rates.region_spread**2
    sales = rates.people * rates.base * pre_days
    if sales <= 0 or spread <= 0:
        return float(np.sqrt(spread))
    seen = rates.dispersion * rates.n_regions / sales
    return float(np.sqrt(spread * seen / (spread + seen)))


def region_exposure(
    people: ArrayLike, sales_before: ArrayLike, *, spread: float, dispersion: float = 1.0
) -> Floats:
    """People of each region, weighted by how much a person there buys as sales before the test show it.

    Args:
        people, sales_before: (n_regions,). spread: between regions, relative. dispersion: of sales.

    Returns:
        (n_regions,) to be summed over treated and held-out regions; their ratio is `prove`'s exposure.

    >>> region_exposure([100, 100], [30, 10], spread=0.0).tolist()
    [100.0, 100.0]
    """
    size, sold = np.asarray(people, float), np.asarray(sales_before, float)
    expected = size * sold.sum() / max(size.sum(), 1e-12)
    trust = spread**2 * expected / np.maximum(spread**2 * expected + dispersion, 1e-12)
    return size * (1.0 + trust * (sold / np.maximum(expected, 1e-12) - 1.0))


def index_of_dispersion(counts: ArrayLike, exposure: ArrayLike) -> float:
    """Pearson's statistic per degree of freedom, pooled over worlds: 1 for Poisson counts.

    Args:
        counts: (n_worlds, n_groups) sales. exposure: same shape, expected share of each group, any scale.

    >>> index_of_dispersion([[8, 12, 10]], [[1, 1, 1]])
    0.4
    """
    counts, exposure = np.asarray(counts, float), np.asarray(exposure, float)
    expected = counts.sum(axis=1, keepdims=True) * exposure / exposure.sum(axis=1, keepdims=True)
    used = expected > 0
    freedom = (used.sum(axis=1) - 1).clip(0).sum()
    statistic = ((counts - expected)[used] ** 2 / expected[used]).sum()
    return float(statistic / freedom) if freedom else 1.0


def spread_between(counts: ArrayLike, exposure: ArrayLike, dispersion: float = 1.0) -> float:
    """Relative standard deviation of rates between groups, sampling taken out (moments; 0 at least).

    Args:
        counts: (n_worlds, n_groups) sales. exposure: same shape, people of each group.
        dispersion: of sales among people.
    """
    counts, exposure = np.asarray(counts, float), np.asarray(exposure, float)
    share = exposure / exposure.sum(axis=1, keepdims=True)
    freedom = counts.shape[0] * (counts.shape[1] - 1)
    above = freedom * (index_of_dispersion(counts, exposure) - dispersion)
    scale = (counts.sum(axis=1) * (1.0 - (share**2).sum(axis=1))).sum()
    return float(np.sqrt(max(above / scale, 0.0))) if scale > 0 else 0.0


def carry_over(late_share: float, days: int) -> float:
    """Mean days from ad to decision, where that share of a flight's effect came after the flight.

    Solves `late_share = (d / D) (1 - exp(-D / d))`; 0 where ads brought sales forward on balance.

    >>> round(carry_over(0.25, 30), 2)
    7.65
    """
    if late_share <= 0:
        return 0.0
    longest = 10.0 * days

    def above(d: float) -> float:
        return float(d / days * (1.0 - np.exp(-days / d)) - late_share)

    return longest if above(longest) <= 0 else float(brentq(above, 1e-9, longest))


@dataclass(frozen=True)
class Measured:
    """Rates as flights and their twins show them.

    Attributes:
        rates: of the account.
        sums: {name: (n_worlds,)} per panel: spend_usd, effect, base (decisions), person_days.
        evidence: figures with intervals, for people and JSON.
    """

    rates: Rates
    sums: dict[str, Floats]
    evidence: dict[str, Any]

    def of_world(self, world: int) -> Rates:
        """The rates of one world alone, its noise included."""
        days = self.sums["person_days"][world]
        base, effect, spend = (float(self.sums[n][world] / days) for n in ("base", "effect", "spend_usd"))
        return replace(self.rates, base=base, effect=effect, spend_usd=spend)


def world_hours(n_worlds: int, days: int, runoff_days: int) -> int:
    """World-hours that `measure` will live, for a progress bar's total."""
    return n_worlds * 24 * (WARM_UP_DAYS + 2 * (days + runoff_days))


def measure(
    worlds: Sequence[World],
    make: Maker,
    terms: Terms,
    tick: Tick = lambda _: None,
) -> Measured:
    """Fly a policy and its twin, and read off what an experiment in this market would meet.

    Base and effect are expected decisions (before their last draw: the same mean, less noise); lag and
    dispersion come from decisions that were made. Base is counted during the flight, the effect to the end
    of the run-off.

    Args:
        worlds: of one market. make: a fresh policy. terms: sizes and budget of the simulated panels.
        tick: told the world-hours done.
    """
    file, found = worlds[0].file, [_measure(b, make, terms, tick) for b in batches(worlds, terms.n_people)]
    joined = {key: np.concatenate([part[key] for part in found]) for key in found[0]}
    sums = {key: joined[key] for key in ("spend_usd", "effect", "late", "base", "person_days", "sold")}
    spend, effect, base, days = (sums[key] for key in ("spend_usd", "effect", "base", "person_days"))
    lag = np.sort(joined["lag_days"])
    until = np.arange(int(lag[-1]) + 2 if lag.size else 1) + 0.5
    booked = np.searchsorted(lag, until, side="right") / max(lag.size, 1) if lag.size else _AT_ONCE
    groups, regions, size = joined["groups"], joined["regions"], joined["region_people"]
    dispersion = index_of_dispersion(groups, np.ones_like(groups))
    careful = max(dispersion, 1.0)
    share = size.sum(axis=0) / size.sum()  # regions of a market are equally large in all its worlds
    late = float(sums["late"].sum() / effect.sum()) if effect.sum() > 0 else 0.0
    rates = Rates(
        people=float(file.people),
        base=float(base.sum() / days.sum()),
        effect=float(effect.sum() / days.sum()),
        spend_usd=float(spend.sum() / days.sum()),
        dispersion=careful,
        region_spread=spread_between(regions, size, careful),
        n_regions=float(1.0 / (share**2).sum()),
        booked=np.asarray(booked, float),
        carry_over_days=carry_over(late, terms.days),
    )
    sold = sums["sold"]
    among_worlds = float(sold.var(ddof=1) / sold.mean()) if sold.size > 1 and sold.mean() > 0 else None
    evidence = {
        "base_per_1000_person_days": _scaled(mean_interval(base / days, seed=terms.seed), 1000.0),
        "effect_per_1000_person_days": _scaled(mean_interval(effect / days, seed=terms.seed), 1000.0),
        "lift": ratio_of_sums_interval(effect, base, seed=terms.seed).as_dict(),
        "spend_usd_per_person_day": mean_interval(spend / days, seed=terms.seed).as_dict(),
        "incremental_cac_usd": ratio_of_sums_interval(spend, effect, seed=terms.seed).as_dict(),
        "dispersion_between_people": dispersion,
        "dispersion_between_regions": index_of_dispersion(regions, size),
        "dispersion_between_worlds": among_worlds,
        "region_spread": rates.region_spread,
        "regions_of_equal_size": rates.n_regions,
        "carry_over_days": rates.carry_over_days,
        "effect_after_the_flight_share": late,
        "booked_within_days": {str(n): _booked_within(lag, n) for n in (1, 7, 30, 60)},
    }
    return Measured(rates, sums, evidence)


def plan_proof(
    measured: Measured,
    holdouts: Sequence[float],
    *,
    target_usd: float,
    alpha: float = 0.05,
    power: float = 0.8,
    wait_days: int = 0,
    pre_days: int = 90,
    true_cac_usd: float | None = None,
) -> dict[str, Any]:
    """Days, dollars and detectable CAC for each holdout share, by people and by whole regions.

    Args:
        measured: from `measure`. holdouts: shares.
        target_usd, alpha, power, wait_days, pre_days: as in `Design`.
        true_cac_usd: plan as if spend had this CAC; None takes the measured one.

    Returns:
        JSON: `provable`, `reason`, `statement`, `plans`, `detectable_cac_usd`, `if_true_cac`.
    """
    rates = measured.rates
    if true_cac_usd is not None:
        rates = replace(rates, effect=rates.spend_usd / true_cac_usd)
    common: dict[str, Any] = {"target_usd": target_usd, "alpha": alpha, "power": power}
    common |= {"wait_days": wait_days, "pre_days": pre_days}
    plans, detectable = [], []
    for by_region in (False, True):
        unit = "regions" if by_region else "people"
        for holdout in holdouts:
            design = Design(holdout=holdout, by_region=by_region, **common)
            plans.append(
                {"unit": unit, "holdout": holdout, **_planned(measured, rates, design, true_cac_usd)}
            )
            found = {str(days): detectable_cac(rates, design, days) for days in ROUNDS}
            detectable.append({"unit": unit, "holdout": holdout, "by_days": found})
    quickest = min(plans, key=lambda row: (row["days"] is None, row["days"] or 0, row["unit"]))
    cac, reason = rates.cac_usd, None
    low = measured.evidence["incremental_cac_usd"]["low"]
    unsure = true_cac_usd is None and low is not None and low < target_usd
    if cac is None or cac >= target_usd:
        reason = "cac_not_below_target"
    elif quickest["days"] is None:
        reason = f"more_than_{LONGEST_DAYS}_days"
    return {
        "provable": reason is None,
        "reason": reason,
        "statement": _statement(cac, target_usd, reason, quickest, power, unsure),
        "true_cac_usd": cac,
        "assumed_cac": true_cac_usd is not None,
        "plans": plans,
        "detectable_cac_usd": detectable,
        "if_true_cac": _if_true(rates, holdouts, common),
    }


def _if_true(rates: Rates, holdouts: Sequence[float], common: dict[str, Any]) -> list[dict[str, Any]]:
    """The quickest test, people held out, were the CAC some other share of the target."""
    rows: list[dict[str, Any]] = []
    for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        other = replace(rates, effect=rates.spend_usd / (share * common["target_usd"]))
        tried = [(h, days_needed(other, Design(holdout=h, **common))) for h in holdouts]
        reached = [(days, h) for h, days in tried if days is not None]
        days, h = min(reached) if reached else (None, None)
        cost = None if days is None or h is None else _spend(other, h, days)
        row = {"true_cac_usd": share * common["target_usd"], "holdout": h, "days": days, "spend_usd": cost}
        rows.append(row)
    return rows


def _planned(measured: Measured, rates: Rates, design: Design, assumed: float | None) -> dict[str, Any]:
    """One row of a plan; `assurance` is the power averaged over worlds that this market may be."""
    days = days_needed(rates, design)
    simple = days_if_booked_at_once(rates, design)
    row: dict[str, Any] = {
        "days": days,
        "calendar_days": None if days is None else days + design.wait_days,
        "spend_usd": None,
        "conversions_given_up": None,
        "assurance": None,
        "days_if_booked_at_once": None if design.by_region or not np.isfinite(simple) else simple,
        "power_in_730_days": float(power_of(rates, design)[-1]),
    }
    if days is None:
        return row
    row["spend_usd"] = _spend(rates, design.holdout, days)
    row["conversions_given_up"] = rates.effect * design.holdout * rates.people * days
    if assumed is None:
        worlds = range(measured.sums["effect"].size)
        row["assurance"] = float(np.mean([power_of(measured.of_world(w), design, days)[-1] for w in worlds]))
    return row


def _spend(rates: Rates, holdout: float, days: int) -> float:
    return (1.0 - holdout) * rates.people * rates.spend_usd * days


def _statement(
    cac: float | None,
    target: float,
    reason: str | None,
    quickest: dict[str, Any],
    power: float,
    unsure: bool,
) -> str:
    if reason == "cac_not_below_target":
        is_at = "the ads cause nothing" if cac is None else f"the true incremental CAC is ${cac:,.0f}"
        said = f"Cannot be proven: {is_at}, not under ${target:,.0f}. No test can show what is not so."
        more = " Its interval reaches below the target, so measure it on more --worlds." if unsure else ""
        return said + more
    if reason is not None:
        return (
            f"Cannot be proven within {LONGEST_DAYS} days: the true incremental CAC of ${cac:,.0f} is under"
            f" ${target:,.0f}, but by too little to be told from luck in an account of this size."
        )
    return (
        f"Hold out {quickest['holdout']:.0%} of {quickest['unit']} for {quickest['days']} days and spend"
        f" ${quickest['spend_usd']:,.0f}: with a chance of {power:.0%} it is then proven that the incremental"
        f" CAC (truly ${cac:,.0f}) is under ${target:,.0f}."
    )


def _base_variance(rates: Rates, design: Design, base_days: Floats) -> Floats:
    """Variance of D - S / target that sales which come anyway bring, (n_days,)."""
    treated, held = (1.0 - design.holdout) * rates.people, design.holdout * rates.people
    anyway = treated * rates.base * base_days
    variance = rates.dispersion * anyway * (1.0 + treated / held)
    if design.by_region:
        treated_regions, held_regions = (
            (1.0 - design.holdout) * rates.n_regions,
            design.holdout * rates.n_regions,
        )
        left = spread_left(rates, design.pre_days)
        variance = variance + (anyway * left) ** 2 * (1.0 / treated_regions + 1.0 / held_regions)
    return variance


def _measure(worlds: Sequence[World], make: Maker, terms: Terms, tick: Tick) -> dict[str, Any]:
    snapshot, traffic = warmed(worlds, terms.n_people, cache=terms.cache, tick=tick)
    start, end = snapshot.hour, snapshot.hour + 24 * terms.days
    at_start = snapshot.books.expected[:, 0, 0].copy()
    people_before = _by_region(snapshot)
    twin = snapshot.copy()
    run_off(twin, terms.days, tick)
    twin_at_end = twin.books.expected[:, 0, 0].copy()
    run_off(twin, terms.runoff_days, tick)
    policy = make()
    if isinstance(policy, Reference):
        raise BadInput("policy", policy.name, "must be one that could be flown", "Plan for a policy.")
    flight = fly(
        snapshot,
        policy,
        days=terms.days,
        traffic=traffic,
        daily_budget_usd=terms.daily_budget_usd,
        seed=terms.seed,
        tuned=terms.tuned or tuned_for(worlds[0].file),
        tick=tick,
        keep_bids=False,
    )
    flown_at_end = flight.market.books.expected[:, 0, 0].copy()
    run_off(flight.market, terms.runoff_days, tick)
    effect = flight.market.books.expected[:, 0, 0] - twin.books.expected[:, 0, 0]
    counts = [_sales(twin, w, start) for w in range(twin.n_worlds)]
    made = [_made(m, w, start) for m in (flight.market, twin) for w in range(m.n_worlds)]
    made = [decisions[decisions["hour"] < end] for decisions in made]
    return {
        "spend_usd": flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD,
        "effect": effect,
        "late": effect - (flown_at_end - twin_at_end),
        "base": twin_at_end - at_start,
        "person_days": np.full(len(worlds), float(terms.n_people * terms.days)),
        "sold": np.array([groups.sum() for groups, _ in counts], float),
        "groups": np.array([groups for groups, _ in counts]),
        "regions": np.array([regions for _, regions in counts]),
        "region_people": 0.5 * (people_before + _by_region(twin)),
        "lag_days": np.concatenate([(d["book_hour"] - d["hour"]) / 24.0 for d in made]),
    }


def _made(market: Market, world: int, start: int) -> NDArray[np.void]:
    made = market.decisions(world)
    return made[(made["brand"] == 0) & (made["hour"] >= start)]


def _sales(market: Market, world: int, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Decisions by random group of people, and by region."""
    made = _made(market, world, start)
    groups = np.bincount(made["person"] % _GROUPS, minlength=_GROUPS)
    return groups, np.bincount(made["region"], minlength=N_REGIONS)


def _by_region(market: Market) -> Floats:
    """(n_worlds, n_regions) people."""
    region = market.pop.people["region"]
    return np.array([np.bincount(row, minlength=N_REGIONS) for row in region], float)


def _booked_within(lag: Floats, days: int) -> float | None:
    return float(np.searchsorted(lag, days, side="right") / lag.size) if lag.size else None


def _scaled(interval: Interval, factor: float) -> dict[str, float | None]:
    return {key: None if value is None else factor * value for key, value in interval.as_dict().items()}
