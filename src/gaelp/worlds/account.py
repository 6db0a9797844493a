"""An account: one advertiser's seat on a batch of worlds, its policy, its gate, and the log of a flight."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief, Policy, View
from gaelp.control.controls import ApprovedControls, Denial
from gaelp.control.gate import Gate, Limits
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_LINES
from gaelp.market.state import CLICKS, IMPRESSIONS, OPPORTUNITIES, SPEND, WINS
from gaelp.platforms.protocol import Platform

BID_CAP_FACTOR = 50.0
"""The gate's cap on a bid, as a multiple of the line's reference price."""
TARGET_CAP_FACTOR = 100.0
"""The gate's cap on a target CPA, as a multiple of the product's."""
DENIALS_KEPT = 1000


class Account:
    """One seat through one flight: sees, decides, passes the gate, and logs.

    Args:
        platform: the door. policy: decides. brief: what the policy is told.
        seat: which seat. start: hour of the market at which the flight begins. days: its length.
        start_hour_of_week: of the market's hour 0.
        keep: log the approved controls.
    """

    def __init__(
        self,
        platform: Platform,
        policy: Policy,
        brief: Brief,
        *,
        seat: int,
        start: int,
        days: int,
        start_hour_of_week: int,
        keep: bool,
    ) -> None:
        self.platform = platform
        self.policy = policy
        self.seat = seat
        self.start = start
        self.start_hour_of_week = start_hour_of_week
        self.keep = keep
        self.gate = Gate(
            Limits(
                bid_cap_usd=np.maximum(BID_CAP_FACTOR * brief.reference_price_usd, 1.0),
                target_cap_usd=TARGET_CAP_FACTOR * brief.cac_target_usd,
                daily_cap_micros=np.floor(brief.daily_budget_usd * MICROS_PER_USD).astype(np.int64),
            )
        )
        policy.start(brief)
        self.first = platform.report(seat=seat).copy()
        self._before = self.first.copy()
        self._last = np.zeros_like(self.first)
        self._booked = np.zeros(self.first.shape[:2])
        hours = (brief.n_worlds, days * 24)
        self.spend_micros = np.zeros((*hours, N_LINES), np.int64)
        self.opportunities = np.zeros(hours, np.int64)
        self.approved: list[ApprovedControls] = []
        self.denials: list[Denial] = []
        self.n_denials = 0

    def decide(self, hour: int) -> None:
        """Let the policy act on what the account shows and hand what the gate approves to the platform."""
        last = self._last
        view = View(
            hour=hour,
            hour_of_week=(self.start_hour_of_week + self.start + hour) % 168,
            spend_usd=last[..., SPEND] / MICROS_PER_USD,
            clicks=last[..., CLICKS].astype(float),
            impressions=last[..., IMPRESSIONS].astype(float),
            wins=last[..., WINS].astype(float),
            opportunities=last[..., OPPORTUNITIES].astype(float),
            conversions=self._booked,
        )
        approved, denials = self.gate.check(self.policy.act(view))
        self.n_denials += len(denials)
        self.denials.extend(denials[: max(0, DENIALS_KEPT - len(self.denials))])
        self.platform.apply(approved, seat=self.seat)
        if self.keep:
            self.approved.append(sharing(approved, self.approved[-1] if self.approved else None))

    def record(self, hour: int) -> None:
        """Read what the hour brought."""
        now = self.platform.report(seat=self.seat)
        self._last = now - self._before
        self._before = now.copy()
        at = self.start + hour
        self._booked = self.platform.booked(at, at + 1, seat=self.seat)
        self.spend_micros[:, hour] = self._last[..., SPEND]
        self.opportunities[:, hour] = self._last[..., OPPORTUNITIES].sum(axis=1)


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
