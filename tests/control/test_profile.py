"""A gate with a profile changes each control as often and as far as a real account would let it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp.control.controls import DENIAL_CODES, propose
from gaelp.control.delivery import Ratio
from gaelp.control.gate import Gate, Limits
from gaelp.control.profile import (
    CONTROL_PROFILES,
    MANUAL_BID,
    TARGET_CPA,
    ChangeRule,
    ControlProfile,
    HeldAmounts,
)
from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, N_LINES, N_REGIONS

LINES = (1, N_LINES)
CAP = np.array([1_000_000_000])


def gate(profile, **limits):
    kinds = {"bid_cap_usd": np.full(N_LINES, 50.0), "target_cap_usd": 1000.0, "daily_cap_micros": CAP}
    return Gate(Limits(**(kinds | limits)), profile)


def plain(bid=0.0, budget=100.0, target=0.0):
    asked = propose(np.zeros(LINES), np.array([budget]))
    bids = np.full(LINES, bid)
    targets = np.full(LINES, target)
    targets[:, EMAIL_LINE] = 0.0
    return replace(asked, bid_usd=bids, target_cpa_usd=targets)


def test_without_a_profile_a_gate_has_no_memory():
    free = gate(None)
    generator = np.random.default_rng(0)
    for _ in range(50):
        asked = replace(
            plain(budget=generator.uniform(0, 1000)),
            bid_usd=generator.uniform(0, 50, LINES),
            target_cpa_usd=generator.uniform(0, 1000, LINES),
            region=generator.uniform(0, 10, (1, N_REGIONS)),
        )
        approved, denials = free.check(asked)
        assert denials == [] and np.array_equal(approved.bid_usd, asked.bid_usd)
        assert np.array_equal(approved.target_cpa_usd, asked.target_cpa_usd)


def test_manual_bids_change_hourly_and_targets_do_not_exist():
    manual = gate(MANUAL_BID)
    assert manual.check(plain(bid=1.0), hour=0)[1] == []
    assert manual.check(plain(bid=30.0), hour=1)[1] == []
    approved, denials = manual.check(plain(bid=2.0), hour=1)
    assert (approved.bid_usd == 30.0).all() and {d.code for d in denials} == {"bid_too_early"}
    assert all(d.limit == 30.0 and d.value == 2.0 for d in denials)
    approved, denials = manual.check(plain(bid=30.0, target=80.0), hour=2)
    assert (approved.target_cpa_usd == 0.0).all()
    assert {d.code for d in denials} == {"target_cpa_not_in_profile"} and len(denials) == N_LINES - 1


def test_a_budget_changes_four_times_an_hour_at_most():
    manual = gate(MANUAL_BID)
    seen = [manual.check(plain(budget=100.0 + i), hour=0) for i in range(7)]
    budgets = [int(approved.daily_cap_micros[0]) // 10**6 for approved, _ in seen]
    assert budgets == [100, 101, 102, 103, 104, 104, 104]  # the first value is no change
    assert [[d.code for d in denials] for _, denials in seen[5:]] == [["budget_too_early"]] * 2
    assert seen[5][1][0].limit == 104.0 and seen[5][1][0].value == 105.0
    assert manual.check(plain(budget=300.0), hour=1)[1] == []


def test_a_target_moves_once_a_day_by_a_fifth():
    targets = gate(TARGET_CPA)
    assert targets.check(plain(target=100.0), hour=0)[1] == []
    approved, denials = targets.check(plain(target=300.0), hour=1)
    assert approved.target_cpa_usd[0, 0] == 120.0
    assert {d.code for d in denials} == {"target_cpa_step_too_large"}
    assert all(d.limit == 120.0 and d.value == 300.0 for d in denials)
    for hour in range(2, 25):
        approved, denials = targets.check(plain(target=50.0), hour=hour)
        assert approved.target_cpa_usd[0, 0] == 120.0
        assert {d.code for d in denials} == {"target_cpa_too_early"}
    approved, denials = targets.check(plain(target=110.0), hour=25)
    assert denials == [] and approved.target_cpa_usd[0, 0] == 110.0


def test_a_platform_that_bids_itself_takes_bids_for_mail_only():
    approved, denials = gate(TARGET_CPA).check(plain(bid=2.0, target=100.0))
    assert np.flatnonzero(approved.bid_usd[0]).tolist() == [EMAIL_LINE]
    assert {d.code for d in denials} == {"bid_not_in_profile"} and len(denials) == N_LINES - 1


def test_switching_off_is_always_allowed_and_no_way_round_a_step():
    targets = gate(TARGET_CPA)
    targets.check(plain(target=100.0), hour=0)
    for hour in (1, 2, 3):
        approved, denials = targets.check(plain(budget=0.0), hour=hour)
        assert denials == []
        assert (approved.target_cpa_usd == 0.0).all() and (approved.daily_cap_micros == 0).all()
    approved, denials = targets.check(plain(target=200.0), hour=4)
    assert approved.target_cpa_usd[0, 0] == 120.0 and denials
    assert approved.daily_cap_micros[0] == 100_000_000  # the budget it had


def test_a_cap_that_tightens_comes_on_top_of_what_is_held():
    careful = gate(MANUAL_BID, monthly_cap_micros=np.array([150_000_000]))
    spent = np.array([0])
    approved, denials = careful.check(plain(budget=100.0), spent_month_micros=spent)
    assert approved.daily_cap_micros[0] == 100_000_000 and denials == []
    approved, denials = careful.check(plain(budget=100.0), spent_month_micros=np.array([90_000_000]))
    assert approved.daily_cap_micros[0] == 60_000_000
    assert [(d.code, d.limit, d.value) for d in denials] == [("budget_above_month", 60.0, 100.0)]
    approved, _ = careful.check(plain(budget=100.0), spent_month_micros=spent)  # the next month
    assert approved.daily_cap_micros[0] == 100_000_000


def test_landing_rotation_and_regions_change_once_a_day():
    manual = gate(MANUAL_BID)
    first = plain(bid=1.0)
    manual.check(first, hour=0)
    other = replace(
        first,
        landing=np.ones(LINES, np.int64),
        creative_weight=np.broadcast_to([1.0, 0.5, 0.0], (*LINES, 3)),
        region=np.full((1, N_REGIONS), 2.0),
        value_upload=np.full(LINES, 3.0),
    )
    approved, denials = manual.check(other, hour=1)  # a first change may come at any time
    assert denials == [] and (approved.landing == 1).all() and (approved.region == 2.0).all()
    approved, denials = manual.check(first, hour=2)
    assert (approved.landing == 1).all() and (approved.creative_weight[..., 2] == 0.0).all()
    assert (approved.region == 2.0).all() and (approved.value_upload == 3.0).all()
    codes = {"landing_too_early", "creative_too_early", "region_too_early", "value_upload_too_early"}
    assert {d.code for d in denials} == codes <= set(DENIAL_CODES)
    assert len(denials) == 3 * N_LINES + N_REGIONS
    approved, denials = manual.check(first, hour=25)
    assert denials == [] and (approved.landing == 0).all()


def test_line_budgets_are_held_and_a_line_without_one_is_no_change():
    targets = gate(TARGET_CPA)
    budgets = [100.0, np.inf, 400.0, 400.0]
    held = []
    for hour, usd in enumerate(budgets):
        approved, denials = targets.check(replace(plain(), line_budget_usd=np.full(LINES, usd)), hour=hour)
        held.append(int(approved.line_cap_micros[0, 0]))
    assert held[0] == 100_000_000 and held[1] > 10**18 and held[2:] == [150_000_000] * 2
    assert {d.code for d in denials} == {"line_budget_too_early"}


amounts = st.one_of(st.sampled_from([0.0, 1e-6, 1.0, 1.2, 50.0, 1e9]), st.floats(0.0, 1e12))


@settings(deadline=None)
@given(
    asked=st.lists(st.tuples(amounts, st.integers(0, 9)), min_size=1, max_size=60),
    changes=st.integers(1, 4),
    hours=st.integers(1, 24),
    step=st.sampled_from([None, Ratio(20, 100), Ratio(1, 3)]),
    whole=st.booleans(),
)
def test_whatever_is_asked_changes_stay_few_and_small(asked, changes, hours, step, whole):
    rule = ChangeRule(changes=changes, hours=hours, step=step, source="x")
    store, hour, last, when = HeldAmounts("bid", rule), 0, None, []
    for value, later in asked:
        hour += later
        denials = []
        if whole:
            value = float(int(value))
            got = float(store.hold_micros(np.array([[int(value)]]), hour, denials)[0, 0])
        else:
            got = float(store.hold(np.array([[value]]), hour, denials)[0, 0])
        assert (got == value) == (denials == [])
        if value == 0.0:
            assert got == 0.0
            continue
        if last is not None and got != last:
            when.append(hour)
            assert sum(at > hour - hours for at in when) <= changes
            if step is not None:
                part = step.numerator / step.denominator
                assert abs(got - last) <= last * part * (1 + 1e-12) + whole
                assert min(last, value) <= got <= max(last, value)  # towards what was asked
        last = got


def test_a_clock_that_runs_backwards_is_refused():
    manual = gate(MANUAL_BID)
    manual.check(plain(), hour=5)
    with pytest.raises(BadInput, match="must be at least 5"):
        manual.check(plain(), hour=4)
    manual.check(plain())
    with pytest.raises(BadInput, match="must be at least 6"):
        manual.check(plain(), hour=5)


def test_every_rule_of_every_profile_says_where_it_comes_from():
    assert set(CONTROL_PROFILES) == {"manual_bid", "target_cpa"}
    for profile in CONTROL_PROFILES.values():
        assert isinstance(profile, ControlProfile)
        rules = [value for value in vars(profile).values() if isinstance(value, ChangeRule)]
        assert rules and all(rule.source for rule in rules)
    for bad in ({"changes": 0}, {"hours": 0}):
        with pytest.raises(BadInput, match="must be at least 1"):
            ChangeRule(**bad, source="x")
