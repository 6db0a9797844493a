"""Whatever a policy proposes, what passes the gate is finite and within the account's limits."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gaelp.control.controls import ProposedControls, propose
from gaelp.control.gate import Gate, Limits
from gaelp.core.errors import BadInput
from gaelp.core.words import LANDING_PAGES, N_CREATIVES, N_LINES, N_REGIONS
from gaelp.market.file import load
from gaelp.market.market import Market, World
from gaelp.platforms.simulated import SimulatedPlatform

N_WORLDS = 2
LINES = (N_WORLDS, N_LINES)
BID_CAP = np.linspace(0.5, 40.0, N_LINES)
TARGET_CAP = 1000.0
DAILY_CAP = np.array([62_500_001, 0])

hostile = st.one_of(
    st.sampled_from([0.0, 1.0, -0.0, np.nan, np.inf, -np.inf, -1.0, -1e-320, 1e-320, 1e18, 1e300, -1e300]),
    st.floats(-1e300, 1e300),
    st.floats(0.0, 50.0),
)


def hostile_array(*shape):
    return arrays(
        np.float64, shape, elements=hostile, fill=st.sampled_from([0.0, 1.0, np.nan, np.inf, 1e300])
    )


@st.composite
def proposals(draw):
    return ProposedControls(
        bid_usd=draw(hostile_array(*LINES)),
        target_cpa_usd=draw(hostile_array(*LINES)),
        daily_budget_usd=draw(hostile_array(N_WORLDS)),
        creative_weight=draw(hostile_array(*LINES, N_CREATIVES)),
        landing=draw(arrays(np.int64, LINES, elements=st.integers(-(2**63), 2**63 - 1))),
        region=draw(hostile_array(N_WORLDS, N_REGIONS)),
        value_upload=draw(hostile_array(*LINES)),
    )


@pytest.fixture(scope="module")
def gate():
    return Gate(Limits(bid_cap_usd=BID_CAP, target_cap_usd=TARGET_CAP, daily_cap_micros=DAILY_CAP))


@pytest.fixture(scope="module")
def platform():
    file = load(Path(__file__).parents[2] / "markets" / "family_safety.toml")
    worlds = [World(file, 1), World(file, 2)]
    return SimulatedPlatform(Market(worlds, n_people=300))


@settings(deadline=None)
@given(proposed=proposals())
def test_what_passes_is_finite_and_within_the_caps(gate, proposed):
    approved, _ = gate.check(proposed)
    for field in fields(approved):
        assert np.isfinite(getattr(approved, field.name)).all(), field.name
    assert ((approved.bid_usd >= 0.0) & (approved.bid_usd <= BID_CAP)).all()
    assert ((approved.target_cpa_usd >= 0.0) & (approved.target_cpa_usd <= TARGET_CAP)).all()
    assert (approved.region >= 0.0).all() and (approved.value_upload >= 0.0).all()
    assert (approved.creative_weight >= 0.0).all() and approved.creative_weight.any(axis=-1).all()
    assert approved.daily_cap_micros.dtype == np.int64
    assert ((approved.daily_cap_micros >= 0) & (approved.daily_cap_micros <= DAILY_CAP)).all()
    assert ((approved.landing >= 0) & (approved.landing < len(LANDING_PAGES))).all()


@settings(deadline=None)
@given(proposed=proposals())
def test_a_value_is_refused_if_and_only_if_it_is_bad_and_the_denial_says_so(gate, proposed):
    approved, denials = gate.check(proposed)
    refused = {(d.world, d.line): d for d in denials if d.code.startswith("bid_")}
    for (world, line), value in np.ndenumerate(proposed.bid_usd):
        denial = refused.pop((world, line), None)
        if np.isfinite(value) and 0.0 <= value <= BID_CAP[line]:
            assert denial is None and approved.bid_usd[world, line] == value
        else:
            assert denial is not None and approved.bid_usd[world, line] == 0.0
            expected = "negative" if value < 0 else "above_cap"
            assert denial.code == f"bid_{expected if np.isfinite(value) else 'not_a_number'}"
            assert denial.limit == BID_CAP[line]
            assert denial.value == value or (np.isnan(denial.value) and np.isnan(value))
    assert not refused
    kinds = "bid target_cpa value_upload region budget".split()
    assert {d.code for d in denials} <= {
        f"{kind}_{what}" for kind in kinds for what in ("not_a_number", "negative", "above_cap")
    }


@given(budget=arrays(np.float64, N_WORLDS, elements=hostile))
def test_a_budget_is_held_at_the_cap_and_never_rounded_above_what_was_asked(budget):
    gate = Gate(Limits(bid_cap_usd=BID_CAP, target_cap_usd=TARGET_CAP, daily_cap_micros=DAILY_CAP))
    approved, denials = gate.check(propose(np.zeros(LINES), budget))
    refused = {d.world: d for d in denials}
    for world, asked in enumerate(budget):
        got, cap = int(approved.daily_cap_micros[world]), int(DAILY_CAP[world])
        if not np.isfinite(asked):
            assert got == 0 and refused[world].code == "budget_not_a_number"
        elif asked < 0:
            assert got == 0 and refused[world].code == "budget_negative"
        elif asked > (cap + 1) / 1e6:
            assert got == cap and refused[world].code == "budget_above_cap"
            assert refused[world].limit == cap / 1e6 and refused[world].value == asked
        else:
            assert got <= min(asked * 1e6, cap) and got >= asked * 1e6 - 1


@pytest.mark.parametrize("name", ["creative_weight", "daily_budget_usd"])
def test_the_largest_numbers_pass_without_a_warning(gate, platform, name):
    plain = propose(np.zeros(LINES), np.zeros(N_WORLDS))
    approved, _ = gate.check(replace(plain, **{name: np.full(getattr(plain, name).shape, 1.7e308)}))
    platform.apply(approved)
    assert np.isfinite(platform.controls.creative).all()


@pytest.mark.parametrize("usd", [62.5, 33.333_333_33, 500.0 / 7.0, 0.1 + 0.2, 1e-7])
def test_asking_for_exactly_the_accounts_budget_is_not_refused(usd):
    cap = np.array([int(np.floor(usd * 1e6))])
    gate = Gate(Limits(bid_cap_usd=BID_CAP, target_cap_usd=TARGET_CAP, daily_cap_micros=cap))
    approved, denials = gate.check(propose(np.zeros((1, N_LINES)), np.array([usd])))
    assert denials == []
    assert approved.daily_cap_micros[0] == cap[0]


def test_what_was_approved_cannot_be_changed_afterwards(gate):
    proposed = propose(np.ones(LINES) * 0.25, np.ones(N_WORLDS))
    approved, _ = gate.check(proposed)
    for field in fields(proposed):
        getattr(proposed, field.name)[:] = 77
    assert (approved.bid_usd == 0.25).all()
    assert (approved.target_cpa_usd == 0.0).all()
    assert (approved.region == 1.0).all() and (approved.value_upload == 1.0).all()
    assert (approved.creative_weight == 1.0).all() and (approved.landing == 0).all()


def test_a_proposal_is_not_changed_by_the_gate(gate):
    proposed = propose(np.full(LINES, np.nan), np.full(N_WORLDS, -1.0))
    before = {field.name: getattr(proposed, field.name).copy() for field in fields(proposed)}
    gate.check(proposed)
    for name, values in before.items():
        assert np.array_equal(getattr(proposed, name), values, equal_nan=True), name


@settings(max_examples=40, deadline=None)
@given(proposed=proposals())
def test_a_market_survives_any_proposal_and_keeps_the_cap(gate, platform, proposed):
    approved, _ = gate.check(proposed)
    platform.apply(approved)
    for name in ("bid", "target_cpa", "creative", "region", "upload"):
        assert np.isfinite(getattr(platform.controls, name)).all(), name
    assert (np.diff(platform.controls.creative, axis=-1) >= 0.0).all()
    platform.market.hour = 12  # noon of the same day again and again: the cap holds across proposals
    for _ in range(3):
        platform.advance()
    assert (platform.market.books.spent_today[:, 0] <= DAILY_CAP).all()


@pytest.mark.parametrize("landing", [np.nan, np.inf, -np.inf, 1e300, -7.0])
def test_landing_pages_are_codes_whatever_is_proposed(gate, landing):
    proposed = replace(propose(np.zeros(LINES), np.zeros(N_WORLDS)), landing=np.full(LINES, landing))
    approved, _ = gate.check(proposed)
    assert approved.landing.dtype == np.int64
    assert ((approved.landing >= 0) & (approved.landing < len(LANDING_PAGES))).all()


def test_limits_that_are_no_limits_are_refused():
    with pytest.raises(BadInput, match="must be at least 0"):
        Limits(bid_cap_usd=BID_CAP, target_cap_usd=1.0, daily_cap_micros=np.array([-1]))
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(BadInput, match="bid_cap_usd"):
            Limits(bid_cap_usd=np.array([bad]), target_cap_usd=1.0, daily_cap_micros=np.array([1]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_target_cap_that_is_no_limit_is_refused(bad):
    with pytest.raises(BadInput, match="target_cap_usd"):
        Limits(bid_cap_usd=BID_CAP, target_cap_usd=bad, daily_cap_micros=np.array([1]))
