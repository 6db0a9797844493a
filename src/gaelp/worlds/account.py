"""An account: one advertiser's seat on a batch of worlds, its policy, its gate, and the log of a flight."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ApprovedControls, Denial, ProposedControls
from gaelp.control.delivery import STRICT, DeliveryRule, most_a_day
from gaelp.control.gate import Gate, Limits
from gaelp.control.profile import ControlProfile
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_LINES
from gaelp.observation.view import View
from gaelp.platforms.protocol import Platform

BID_CAP_FACTOR = 50.0
"""The gate's cap on a bid, as a multiple of the line's reference price."""
TARGET_CAP_FACTOR = 100.0
"""The gate's cap on a target CPA, as a multiple of the product's."""
DENIALS_KEPT = 1000
MONTH_IN_TENTHS_OF_A_DAY = 304
"""What an account may cost in a calendar month, in daily budgets: 30.4, as Google bills it."""


class Account:
    """One seat through one flight: sees, decides, passes the gate, and logs.

    Args:
        platform: the door. brief: what a policy is told.
        seat: which seat. start: hour of the market at which the flight begins. days: its length.
        began: calendar day of the market's hour 0.
        keep: log the approved controls.
        profile: how often and how far a real account may change its controls; None for freely.
        delivery: how far the platform may pass a daily budget. The account's daily cap is what it may
            deliver for the brief's budget, and a calendar month may cost 30.4 of them, counted from the
            flight's first day: the account is opened for the flight.
    """

    def __init__(
        self,
        platform: Platform,
        brief: Brief,
        *,
        seat: int,
        start: int,
        days: int,
        began: date,
        keep: bool,
        profile: ControlProfile | None = None,
        delivery: DeliveryRule = STRICT,
    ) -> None:
        self.platform = platform
        self.brief = brief
        self.seat = seat
        self.start = start
        self.hours = days * 24
        self.began = began
        self.keep = keep
        budget = np.floor(brief.daily_budget_usd * MICROS_PER_USD).astype(np.int64)
        by_month = delivery != STRICT
        self.gate = Gate(
            Limits(
                bid_cap_usd=np.maximum(BID_CAP_FACTOR * brief.reference_price_usd, 1.0),
                target_cap_usd=TARGET_CAP_FACTOR * brief.cac_target_usd,
                daily_cap_micros=most_a_day(budget, delivery),
                monthly_cap_micros=budget * MONTH_IN_TENTHS_OF_A_DAY // 10 if by_month else None,
                delivery=delivery,
            ),
            profile,
        )
        self.hour = 0
        self._today = np.zeros(brief.n_worlds, np.int64)
        self._month = np.zeros(brief.n_worlds, np.int64)
        self._bid = np.zeros((brief.n_worlds, N_LINES))
        self._target = np.zeros((brief.n_worlds, N_LINES))
        self.approved: list[ApprovedControls] = []
        self.denials: list[Denial] = []
        self.denied = np.zeros(brief.n_worlds, np.int64)

    def view(self) -> View:
        """What the account shows at the start of the coming hour; to be asked for once an hour."""
        shown = self.platform.shown(seat=self.seat)
        spent = np.rint(shown.spend_usd * MICROS_PER_USD).astype(np.int64).sum(axis=1)
        at = self.start + self.hour
        today = self.began + timedelta(days=at // 24)
        new_day = at % 24 == 0
        self._today = np.zeros_like(spent) if new_day else self._today + spent
        self._month = np.zeros_like(spent) if new_day and today.day == 1 else self._month + spent
        view = View(
            hour=self.hour,
            hours_left=self.hours - self.hour,
            hour_of_week=(self.began.weekday() * 24 + at) % 168,
            day_of_year=(today.timetuple().tm_yday - 1) % 365,
            spend_today_usd=self._today / MICROS_PER_USD,
            spend_month_usd=self._month / MICROS_PER_USD,
            bid_usd=self._bid,
            target_cpa_usd=self._target,
            daily_budget_usd=self.brief.daily_budget_usd,
            **shown._asdict(),
        )
        for column in vars(view).values():
            if isinstance(column, np.ndarray):
                column.flags.writeable = False  # a policy reads the account, it does not edit it
        return view

    def submit(self, proposed: ProposedControls) -> list[Denial]:
        """Hand what the gate approves to the platform, for the coming hour; returns what it refused."""
        approved, denials = self.gate.check(
            proposed,
            spent_today_micros=self._today,
            spent_month_micros=self._month,
            hour=self.hour,
        )
        np.add.at(self.denied, [denial.world for denial in denials], 1)
        self.denials.extend(denials[: max(0, DENIALS_KEPT - len(self.denials))])
        self.platform.apply(approved, seat=self.seat)
        self._bid, self._target = approved.bid_usd, approved.target_cpa_usd
        self.hour += 1
        if self.keep:
            self.approved.append(sharing(approved, self.approved[-1] if self.approved else None))
        return denials

    def decide(self, policy: Policy) -> None:
        """Let a policy act on what the account shows."""
        self.submit(policy.act(self.view()))


def sharing(approved: ApprovedControls, last: ApprovedControls | None) -> ApprovedControls:
    """`approved`, holding the arrays of `last` where they are equal: most of a log never changes."""
    if last is not None:
        for field in fields(approved):
            same = getattr(last, field.name)
            if np.array_equal(getattr(approved, field.name), same):
                object.__setattr__(approved, field.name, same)
    return approved


def approved_bids(log: Sequence[ApprovedControls], n_worlds: int) -> NDArray[np.float64]:
    """(n_worlds, hours, n_lines) manual bids of a log of approved controls."""
    if not log:
        return np.zeros((n_worlds, 0, N_LINES))
    return np.stack([approved.bid_usd for approved in log], axis=1)
