"""A holdout of regions: dark where and when it should be, and nothing else answers to it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.agents.holdout import RegionHoldout
from gaelp.agents.policy import Brief
from gaelp.control.controls import ProposedControls, propose
from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES
from gaelp.observation.view import View

N_WORLDS = 2
DARK = np.zeros((N_WORLDS, 100), bool)
DARK[:, :50] = True
COST = np.ones((N_WORLDS, 100))
COST[1, :50] = 3.0  # the dark regions of world 1 have three quarters of its cost


@dataclass
class Notebook:
    """Bids one dollar everywhere, and keeps what it saw."""

    name: str = "notebook"
    seen: list[View] = field(default_factory=list)

    def start(self, brief: Brief) -> None:
        """Nothing to remember."""

    def act(self, view: View) -> ProposedControls:
        """The same for ever."""
        self.seen.append(view)
        return propose(np.ones((N_WORLDS, N_LINES)), np.full(N_WORLDS, 100.0))


def view_of(hour: int, **more: Any) -> View:
    lines = np.ones((N_WORLDS, N_LINES))
    columns = ("spend_usd", "cost_usd", "impressions", "clicks", "conversions", "impression_share")
    given = {name: lines for name in (*columns, "list_size", "bid_usd", "target_cpa_usd")}
    given |= {name: np.ones(N_WORLDS) for name in ("spend_today_usd", "spend_month_usd", "daily_budget_usd")}
    return View(
        hour=hour,
        hours_left=100 - hour,
        hour_of_week=hour % 168,
        day_of_year=0,
        visits=np.ones((N_WORLDS, 8)),
        **given | more,
    )


def test_regions_are_dark_and_the_budget_is_the_others_share_in_the_window_only() -> None:
    holdout = RegionHoldout(Notebook(), DARK, from_hour=24, until_hour=48, cost_share=COST)
    for hour in (0, 23, 48, 60):
        assert (holdout.act(view_of(hour)).region == 1.0).all()
        assert holdout.act(view_of(hour)).daily_budget_usd.tolist() == [100.0, 100.0]
    for hour in (24, 47):
        wanted = holdout.act(view_of(hour))
        assert np.array_equal(wanted.region == 0.0, DARK)
        assert wanted.daily_budget_usd.tolist() == [50.0, 25.0]
        assert (wanted.bid_usd == 1.0).all()


def test_the_policy_inside_sees_the_account_as_if_nothing_were_dark() -> None:
    inside = Notebook()
    holdout = RegionHoldout(inside, DARK, from_hour=24, until_hour=48, cost_share=COST)
    for hour in (24, 25, 48, 49):
        holdout.act(view_of(hour))
    before, first, last, after = inside.seen
    for view in (before, after):  # at hour 24 the last hour was still whole, at 48 it was not
        assert (view.spend_usd == 1.0).all() and (view.spend_today_usd == 1.0).all()
    for view in (first, last):
        for name in ("spend_usd", "cost_usd", "impressions", "clicks", "conversions"):
            assert (getattr(view, name)[0] == 2.0).all() and (getattr(view, name)[1] == 4.0).all()
        assert view.spend_today_usd.tolist() == [2.0, 4.0]
        assert (view.visits == 1.0).all() and (view.daily_budget_usd == 1.0).all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"regions": np.zeros((2, 99), bool)}, "regions.shape"),
        ({"regions": np.ones((2, 100), bool)}, "must leave some"),
        ({"until_hour": 24}, "after from_hour, 24"),
        ({"from_hour": -1}, "at least 0"),
        ({"cost_share": np.ones((1, 100))}, "cost_share"),
        ({"cost_share": np.zeros((2, 100))}, "cost_share"),
        ({"cost_share": np.full((2, 100), np.nan)}, "cost_share"),
    ],
)
def test_what_makes_no_holdout_is_refused(changed: dict[str, Any], said: str) -> None:
    good: dict[str, Any] = {"regions": DARK, "from_hour": 24, "until_hour": 48}
    with pytest.raises(BadInput, match=said):
        RegionHoldout(FixedPolicy(), **good | changed)
