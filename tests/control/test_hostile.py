"""Ten thousand days of hostile policies on the greediest platforms: no cap is passed, in whole micros."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaelp.control.controls import DENIAL_CODES, NO_LINE_CAP, ProposedControls, propose
from gaelp.control.delivery import (
    DELIVERY_RULES,
    GOOGLE,
    LINE_RULES,
    META,
    STRICT,
    Delivery,
    at_most,
    calendar_day,
)
from gaelp.control.gate import Gate, Limits
from gaelp.control.profile import MANUAL_BID, TARGET_CPA
from gaelp.core.errors import BadInput
from gaelp.core.words import N_CREATIVES, N_LINES, N_REGIONS

N_WORLDS, DAYS = 20, 20  # x 25 examples = 10,000 days
LINES = (N_WORLDS, N_LINES)
BAD = np.array([np.nan, np.inf, -np.inf, -1.0, -1e-320, -1e300, 1e300, 1e18])
ODD = np.array([0.0, 1e-320, 1e-7, 0.1, 1.0, 33.333, 1e3, 1e6, 1e9])
KINDS = ("nan", "infinite", "negative", "oscillating", "huge", "sane", "everything")


def amounts(generator, kind, hour, *shape):
    """What a policy of a kind asks for in an hour."""
    plain = generator.uniform(0.0, 200.0, shape)
    if kind == "nan":
        return np.full(shape, np.nan)
    if kind == "infinite":
        return np.full(shape, np.inf if hour % 2 else -np.inf)
    if kind == "negative":
        return -plain
    if kind == "oscillating":
        return np.full(shape, 1e6 if hour % 2 else 1e-6)
    if kind == "huge":
        return np.full(shape, 1e300)
    if kind == "everything":
        return generator.choice(np.concatenate([BAD, ODD]), shape)
    return plain


def hostile(generator, kinds, hour):
    def each(*shape):
        return np.stack([amounts(generator, kind, hour, *shape) for kind in kinds])

    if hour % 6:  # budgets are hostile at every hour, the rest at every sixth: denials cost time
        return plain(daily_budget_usd=each(), line_budget_usd=each(N_LINES))
    region = np.ones((N_WORLDS, N_REGIONS))
    region[:, :3] = each(3)
    return ProposedControls(
        bid_usd=each(N_LINES),
        target_cpa_usd=each(N_LINES),
        daily_budget_usd=each(),
        creative_weight=each(N_LINES, N_CREATIVES),
        landing=generator.integers(-(2**63), 2**63 - 1, LINES),
        region=region,
        value_upload=each(N_LINES),
        line_budget_usd=each(N_LINES),
    )


@pytest.mark.slow
@pytest.mark.parametrize("rule", DELIVERY_RULES.values(), ids=DELIVERY_RULES)
def test_no_day_week_or_month_costs_more_than_its_cap_on_the_greediest_platform(rule):
    @settings(deadline=None, max_examples=5, database=None, suppress_health_check=list(HealthCheck))
    @given(
        kinds=st.lists(st.sampled_from(KINDS), min_size=N_WORLDS, max_size=N_WORLDS),
        profile=st.sampled_from([None, MANUAL_BID, TARGET_CPA]),
        start=st.dates(date(2025, 1, 1), date(2027, 12, 31)),
        seed=st.integers(0, 2**32 - 1),
    )
    def fly(kinds, profile, start, seed):
        worst_days(rule, kinds, profile, start.replace(day=12 + start.day % 17), seed)

    fly()


def worst_days(rule, kinds, profile, start, seed):
    generator = np.random.default_rng(seed)
    daily = generator.integers(0, 10**9, N_WORLDS)
    daily[:4] = 0, 1, 10**15, 62_500_001
    monthly = daily * generator.integers(1, 20, N_WORLDS) + generator.integers(0, 9, N_WORLDS)
    line_cap = generator.integers(0, 10**8, LINES)
    limits = Limits(
        bid_cap_usd=np.full(N_LINES, 40.0),
        target_cap_usd=1000.0,
        daily_cap_micros=daily,
        monthly_cap_micros=monthly,
        line_cap_micros=line_cap,
        delivery=rule,
        line_delivery=LINE_RULES,
    )
    gate, platform = Gate(limits, profile), Delivery(rule, N_WORLDS)
    moment = generator.integers(0, 24, N_WORLDS)  # at which hour a world's platform spends all it may
    for day in range(DAYS):
        platform.open_day(calendar_day(start + timedelta(day)))
        before = platform.spent_month_micros.copy()
        for hour in range(24):
            approved, denials = gate.check(
                hostile(generator, kinds, hour),
                spent_today_micros=platform.spent_today_micros,
                spent_month_micros=platform.spent_month_micros,
            )
            most = at_most(approved.daily_cap_micros, rule.day)
            assert (most <= daily).all() and (most <= np.maximum(monthly - before, 0)).all()
            for line, line_rule in enumerate(LINE_RULES):
                assert (at_most(approved.line_cap_micros[:, line], line_rule.day) <= line_cap[:, line]).all()
            assert {denial.code for denial in denials} <= set(DENIAL_CODES)
            assert np.isfinite([denial.limit for denial in denials]).all()
            left = platform.cap(approved.daily_cap_micros) - platform.spent_today_micros
            platform.book(np.where((moment == hour) | (hour == 23), left, left // 7))
            assert (platform.spent_today_micros <= daily).all()
            assert (platform.spent_month_micros <= monthly).all()
            assert (platform.spent_week_micros <= 7 * daily).all()


def plain(**changes):
    asked = propose(np.zeros(LINES), np.full(N_WORLDS, 10.0))
    return replace(asked, **changes)


def limits(**changes):
    kinds = {
        "bid_cap_usd": np.full(N_LINES, 40.0),
        "target_cap_usd": 1000.0,
        "daily_cap_micros": np.full(N_WORLDS, 100_000_000),
    }
    return Limits(**(kinds | changes))


def test_every_code_of_the_table_can_happen_and_no_other():
    every = np.resize([np.nan, -1.0, 1e9], LINES)
    region = np.resize([np.nan, -1.0, 1e9], (N_WORLDS, N_REGIONS))
    seen = []
    for gate in (
        Gate(limits(line_cap_micros=np.full(LINES, 1_000_000), delivery=GOOGLE)),
        Gate(limits(), MANUAL_BID),
        Gate(limits(), TARGET_CPA),
    ):
        budgets = np.resize([np.nan, -1.0, 1e9], N_WORLDS)
        bad = plain(bid_usd=every, target_cpa_usd=every, value_upload=every, region=region)
        seen += gate.check(replace(bad, daily_budget_usd=budgets, line_budget_usd=every))[1]
    capped = Gate(limits(monthly_cap_micros=np.full(N_WORLDS, 5_000_000)))
    seen += capped.check(plain(), spent_month_micros=np.zeros(N_WORLDS, np.int64))[1]
    for profile in (MANUAL_BID, TARGET_CPA):
        held = Gate(limits(), profile)
        for turn in (1.0, 2.0, 1.0, 3.0, 1.0, 4.0):
            weights = np.ones((*LINES, N_CREATIVES))
            weights[..., 1] = turn / 4.0
            asked = plain(
                bid_usd=np.full(LINES, turn),
                target_cpa_usd=np.full(LINES, turn),
                daily_budget_usd=np.full(N_WORLDS, turn),
                line_budget_usd=np.full(LINES, turn),
                value_upload=np.full(LINES, turn),
                region=np.full((N_WORLDS, N_REGIONS), turn),
                landing=np.full(LINES, int(turn) % 3),
                creative_weight=weights,
            )
            for _ in range(2):
                seen += held.check(asked, hour=0)[1]
    assert {denial.code for denial in seen} == set(DENIAL_CODES)
    assert all(sentence.endswith(".") and len(sentence) > 20 for sentence in DENIAL_CODES.values())
    for denial in seen:
        assert isinstance(denial.limit, float) and isinstance(denial.value, float)
        assert 0 <= denial.world < N_WORLDS and denial.line >= -1


def test_a_budget_counts_with_what_the_platform_may_make_of_it():
    for rule, most in ((STRICT, 100_000_000), (GOOGLE, 50_000_000), (META, 57_142_857)):
        approved, denials = Gate(limits(delivery=rule)).check(
            plain(daily_budget_usd=np.full(N_WORLDS, 100.0))
        )
        assert (approved.daily_cap_micros == most).all()
        assert len(denials) == (0 if rule is STRICT else N_WORLDS)
        assert all(d.code == "budget_above_cap" and d.limit == most / 1e6 for d in denials)


def test_what_is_left_of_a_month_counts_from_the_morning():
    gate = Gate(limits(monthly_cap_micros=np.full(N_WORLDS, 15_000_000)))
    month, today = np.full(N_WORLDS, 9_000_000), np.full(N_WORLDS, 4_000_000)
    approved, _ = gate.check(plain(), spent_month_micros=month, spent_today_micros=today)
    assert (approved.daily_cap_micros == 10_000_000).all()  # 5 before today, so today may cost 10 in all
    approved, denials = gate.check(plain(), spent_month_micros=month)
    assert (approved.daily_cap_micros == 6_000_000).all()
    assert {(d.code, d.limit, d.value) for d in denials} == {("budget_above_month", 6.0, 10.0)}


def test_a_monthly_cap_without_the_months_spend_is_no_cap_and_refused():
    gate = Gate(limits(monthly_cap_micros=np.full(N_WORLDS, 15_000_000)))
    with pytest.raises(BadInput, match="spent_month_micros"):
        gate.check(plain())
    for name in ("spent_month_micros", "spent_today_micros"):
        spent = {"spent_month_micros": np.zeros(N_WORLDS, np.int64), name: np.full(N_WORLDS, -1)}
        with pytest.raises(BadInput, match=name):
            gate.check(plain(), **spent)


def test_lines_without_a_budget_have_no_cap_but_that_of_the_account():
    approved, denials = Gate(limits()).check(plain())
    assert (approved.line_cap_micros == NO_LINE_CAP).all() and denials == []
    gate = Gate(limits(line_cap_micros=np.full(N_LINES, 7_000_001), delivery=GOOGLE))
    approved, denials = gate.check(plain())
    assert (approved.line_cap_micros == 3_500_000).all() and denials == []
    approved, _ = gate.check(plain(line_budget_usd=np.full(LINES, 2.5)))
    assert (approved.line_cap_micros == 2_500_000).all()


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("monthly_cap_micros", np.full(N_WORLDS, -1)),
        ("monthly_cap_micros", np.array([1])),
        ("line_cap_micros", np.full(LINES, -1)),
        ("line_delivery", (GOOGLE,)),
    ],
)
def test_caps_and_rules_that_do_not_fit_are_refused(name, bad):
    with pytest.raises(BadInput, match=name):
        limits(**{name: bad})
