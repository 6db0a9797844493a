"""`value`: targets by line under a paced level, and what it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest

from gaelp.agents.value import HIGHEST_TARGET, ValuePolicy
from gaelp.control.pacing import PacingSettings
from gaelp.control.profile import CONTROL_PROFILES
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES
from gaelp.market.file import load
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.registry import make_policy, write_checkpoint
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import tuned_for

from .test_policies import brief, view

FILE = load("markets/family_safety.toml")


def started(**options):
    policy = ValuePolicy(40.0, PacingSettings(), **options)
    policy.start(brief())
    return policy


def test_each_line_has_its_factor_of_one_level():
    proposed = started(line_multiplier={"social_new_mobile": 2.0, "video_new_mobile": 0.5}).act(view())
    names = [line.name for line in LINES]
    target = dict(zip(names, proposed.target_cpa_usd[0], strict=True))
    assert target["social_new_mobile"] == 2.0 * target["display_new_mobile"] == 80.0
    assert target["video_new_mobile"] == 20.0
    assert target["email"] == 0.0 and (proposed.bid_usd[:, :EMAIL_LINE] == 0.0).all()
    assert (proposed.bid_usd[:, EMAIL_LINE] == brief().reference_price_usd[EMAIL_LINE]).all()


def test_each_line_shows_its_landing_page():
    proposed = started(landing={"social_engaged_mobile": 2}).act(view())
    names = [line.name for line in LINES]
    assert proposed.landing[0].tolist() == [2 if name == "social_engaged_mobile" else 0 for name in names]


def test_the_level_aims_at_its_share_of_the_budget():
    all_of_it, half = started(), started(spend_share=0.5)
    for hour in range(3):
        more = all_of_it.act(view(hour, spend=1.0)).target_cpa_usd
        less = half.act(view(hour, spend=1.0)).target_cpa_usd
    assert (less[:, 0] < more[:, 0]).all()
    assert (half.act(view(3)).daily_budget_usd == brief().daily_budget_usd).all()


def test_an_account_without_targets_is_bid_for_by_hand_by_what_lines_are_worth():
    policy = ValuePolicy(40.0, PacingSettings(), worth_usd={"social_new_mobile": 10.0})
    policy.start(replace(brief(), targets=False))
    proposed = policy.act(view())
    names = [line.name for line in LINES]
    bid = dict(zip(names, proposed.bid_usd[0], strict=True))
    assert bid["social_new_mobile"] == 5.0 and bid["video_new_mobile"] == 0.0
    assert bid["email"] == brief().reference_price_usd[EMAIL_LINE]
    assert (proposed.target_cpa_usd == 0.0).all()


@pytest.mark.parametrize("profile", CONTROL_PROFILES.values(), ids=CONTROL_PROFILES)
def test_it_flies_behind_both_profiles_and_spends(profile):
    market = make_market(split_worlds(FILE, "train", 2), 2_000)
    policy = tuned_for(FILE).value(worth_usd={"social_new_mobile": 20.0, "video_new_mobile": 10.0})
    flight = fly(market, policy, days=14, traffic=warm_up(market), profile=profile)
    spent = flight.spend_micros.sum(axis=(1, 2)) / 1e6
    assert (spent > 0.6 * 14 * flight.daily_budget_usd).all()
    assert flight.denied.sum() == 0


def test_the_level_rises_while_spend_is_behind_its_plan_and_falls_while_it_is_ahead():
    behind, ahead = started(), started()
    for hour in range(5):
        slow = behind.act(view(hour, spend=0.0)).target_cpa_usd
        fast = ahead.act(view(hour, spend=40.0)).target_cpa_usd
    assert (slow[:, 0] > 40.0).all() and (fast[:, 0] < 40.0).all()


def test_no_target_passes_what_the_gate_would_take():
    proposed = started(factor=np.full((3, N_LINES), 1e6)).act(view())
    assert proposed.target_cpa_usd.max() == HIGHEST_TARGET * brief().cac_target_usd


def test_it_flies_by_its_checkpoint_and_spends_its_budget(tmp_path):
    path = write_checkpoint(tmp_path / "targets.json", FILE, {"social_new_mobile": 1.5}, agent="value")
    policy = make_policy(str(path), FILE)()
    assert isinstance(policy, ValuePolicy) and policy.line_multiplier["social_new_mobile"] == 1.5
    assert policy.target_usd == tuned_for(FILE).target_cpa_usd
    market = make_market(split_worlds(FILE, "train", 2), 2_000)
    flight = fly(market, policy, days=14, traffic=warm_up(market))
    spent = flight.spend_micros.sum(axis=(1, 2)) / 1e6
    assert (spent > 0.9 * 14 * flight.daily_budget_usd).all()
    assert flight.denied.sum() == 0


def test_a_wrong_agent_in_a_checkpoint_is_refused(tmp_path):
    path = write_checkpoint(tmp_path / "targets.json", FILE, {}, agent="value")
    path.write_text(path.read_text().replace('"value"', '"autopilot"'))
    with pytest.raises(Exception, match="autopilot"):
        make_policy(str(path), FILE)
