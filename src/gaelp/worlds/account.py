"""An account: one advertiser's seat on a batch of worlds, its policy, its gate, and the log of a flight."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ApprovedControls, Denial, ProposedControls
from gaelp.control.gate import Gate, Limits
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_LINES
from gaelp.observation.view import View
from gaelp.platforms.protocol import Platform

BID_CAP_FACTOR = 50.0
"""The gate's cap on a bid, as a multiple of the line's reference price."""
TARGET_CAP_FACTOR = 100.0
"""The gate's cap on a target CPA, as a multiple of the product's."""
DENIALS_KEPT = 1000
DAYS_PER_MONTH = 30.4


class Account:
    """One seat through one flight: sees, decides, passes the gate, and logs.

    Args:
        platform: the door. brief: what a policy is told.
        seat: which seat. start: hour of the market at which the flight begins. days: its length.
        calendar: hour of the week and day of the year at which the market began.
        keep: log the approved controls.
    """

    def __init__(
        self,
        platform: Platform,
        brief: Brief,
        *,
        seat: int,
        start: int,
        days: int,
        calendar: tuple[int, int],
        keep: bool,
    ) -> None:
        self.platform = platform
        self.brief = brief
        self.seat = seat
        self.start = start
        self.hours = days * 24
        self.calendar = calendar
        self.keep = keep
        self.gate = Gate(
            Limits(
                bid_cap_usd=np.maximum(BID_CAP_FACTOR * brief.reference_price_usd, 1.0),
                target_cap_usd=TARGET_CAP_FACTOR * brief.cac_target_usd,
                daily_cap_micros=np.floor(brief.daily_budget_usd * MICROS_PER_USD).astype(np.int64),
            )
        )
        self.hour = 0
        self._today = np.zeros(brief.n_worlds)
        self._month = np.zeros(brief.n_worlds)
        self._bid = np.zeros((brief.n_worlds, N_LINES))
        self._target = np.zeros((brief.n_worlds, N_LINES))
        self.approved: list[ApprovedControls] = []
        self.denials: list[Denial] = []
        self.n_denials = 0

    def view(self) -> View:
        """What the account shows at the start of the coming hour; to be asked for once an hour."""
        shown = self.platform.shown(seat=self.seat)
        spent = shown.spend_usd.sum(axis=1)
        at = self.start + self.hour
        if at % 24 == 0:
            self._today[:] = 0.0
        else:
            self._today += spent
        turned = int(self.hour / 24 / DAYS_PER_MONTH) > int(max(self.hour - 1, 0) / 24 / DAYS_PER_MONTH)
        self._month = np.zeros_like(spent) if turned else self._month + spent
        return View(
            hour=self.hour,
            hours_left=self.hours - self.hour,
            hour_of_week=(self.calendar[0] + at) % 168,
            day_of_year=(self.calendar[1] + at // 24) % 365,
            spend_today_usd=self._today.copy(),
            spend_month_usd=self._month,
            bid_usd=self._bid,
            target_cpa_usd=self._target,
            daily_budget_usd=self.brief.daily_budget_usd,
            **shown._asdict(),
        )

    def submit(self, proposed: ProposedControls) -> list[Denial]:
        """Hand what the gate approves to the platform, for the coming hour; returns what it refused."""
        approved, denials = self.gate.check(proposed)
        self.n_denials += len(denials)
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
