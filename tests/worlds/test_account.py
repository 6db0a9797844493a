"""An account in the market: platforms' overdelivery, months, profiles, and what a policy is shown."""

from datetime import date

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.control.delivery import GOOGLE, META, STRICT
from gaelp.control.profile import TARGET_CPA
from gaelp.market.file import load
from gaelp.worlds.flight import fly, make_market, panel_budget, run_off
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.twins import replay

MARKET = "markets/family_safety.toml"


@pytest.fixture(scope="module")
def start():
    market = make_market(plain_worlds(load(MARKET), 2, 3), 1_000)
    run_off(market, 20)
    return market


@pytest.mark.parametrize("rule", [STRICT, GOOGLE, META], ids=lambda rule: rule.name)
def test_a_greedy_policy_never_passes_what_the_platform_promises(start, rule):
    """The bids would spend any budget at once, for forty days over the turn of a month."""
    days = 40
    flight = fly(
        start.copy(), FixedPolicy(multiplier=4.0), days=days, traffic=None, delivery=rule, keep_bids=False
    )
    budget = np.floor(panel_budget(start, None) * 1e6).astype(int)
    daily = flight.spend_micros.sum(axis=2).reshape(2, days, 24).sum(axis=2)
    most = rule.day
    assert (daily * most.denominator <= budget[:, None] * most.numerator).all()
    if rule is STRICT:
        assert (daily.sum(axis=1) >= 0.95 * days * budget).all()
        return
    assert (daily > budget[:, None]).any(), "on some day it delivers more than the budget"
    first = start.worlds[0].file.start.toordinal() + start.hour // 24
    months = np.array([date.fromordinal(first + d).month for d in range(days)])
    assert len(set(months)) > 1
    for month in set(months):
        assert (daily[:, months == month].sum(axis=1) * 10 <= budget * 304).all()


def test_a_replay_under_overdelivery_is_the_flight_itself(start):
    flight = fly(start.copy(), FixedPolicy(multiplier=4.0), days=5, traffic=None, delivery=GOOGLE)
    twin = replay(start, flight, runoff_days=0)
    np.testing.assert_array_equal(twin.books.report, flight.market.books.report)


def test_a_profile_denies_manual_bids_where_the_platform_bids(start):
    flight = fly(start.copy(), FixedPolicy(), days=1, traffic=None, profile=TARGET_CPA)
    assert flight.denied.sum() > 0
    assert (flight.bid[..., :-1] == 0).all()


class Watcher(FixedPolicy):
    """A fixed policy that keeps what it was shown."""

    def start(self, brief):
        super().start(brief)
        self.views = []

    def act(self, view):
        self.views.append(view)
        return super().act(view)


def test_a_view_tells_the_hour_the_day_and_the_money(start):
    policy = Watcher(multiplier=1.0)
    flight = fly(start.copy(), policy, days=3, traffic=None)
    first = start.worlds[0].file.start
    for h, view in enumerate(policy.views):
        assert view.hour == h
        assert view.hours_left == 72 - h
        assert view.hour_of_week == (first.weekday() * 24 + start.hour + h) % 168
        spent = flight.spend_micros[:, h - h % 24 : h].sum(axis=(1, 2)) / 1e6
        np.testing.assert_allclose(view.spend_today_usd, spent, atol=1e-9)
        if h:
            np.testing.assert_array_equal(view.bid_usd, flight.bid[:, h - 1])
