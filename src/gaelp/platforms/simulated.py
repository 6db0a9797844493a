"""The door to the simulated market: the external seats of a batch of worlds."""

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from gaelp.control.controls import ApprovedControls
from gaelp.control.delivery import STRICT, Delivery, DeliveryRule, calendar_day
from gaelp.core.errors import BadInput
from gaelp.market.market import Market
from gaelp.market.state import empty_controls
from gaelp.platforms.reporting import Reporting, Shown, Sight

MINIMUM_LIST = 100.0
"""People an audience list needs before a platform serves it (Google Ads display: 100 active in 30 days;
Meta custom audiences: 100), for the whole market; a panel needs its share of it."""


class SimulatedPlatform:
    """Holds the external seats' controls and passes hours of the market.

    Args:
        market: the worlds; they are changed as hours pass.
        adapt: False replays rivals (`Market.advance`).
    """

    def __init__(self, market: Market, *, adapt: bool = True) -> None:
        self.market = market
        self.adapt = adapt
        self.controls = empty_controls(market.n_worlds, market.n_seats)
        self.reports: dict[int, Reporting] = {}
        self._delivery: dict[int, Delivery] = {}

    def open(
        self, *, seat: int = 0, hours: int, delivery: DeliveryRule = STRICT, holdout: float = 0.0
    ) -> Reporting:
        """Begin a seat's reports; they are written as hours pass.

        Args:
            seat: whose. hours: for how long.
            delivery: how far this platform may pass a daily budget.
            holdout: share of people, drawn for each paid channel by itself, from whom a lift test keeps that
                channel's ads; see `lift.py`.
        """
        if not 0.0 <= holdout < 1.0:
            raise BadInput("holdout", holdout, "must be from 0 to below 1", "Use 0.1, or 0 for no test.")
        self.controls.holdout[:, seat] = holdout
        sight = Sight(self.market.worlds[0].file.visibility)
        self.reports[seat] = Reporting(self.market, seat=seat, hours=hours, sight=sight)
        if delivery != STRICT:
            self._delivery[seat] = Delivery(delivery, self.market.n_worlds)
            self._delivery[seat].open_day(calendar_day(self.today))
        return self.reports[seat]

    @property
    def today(self) -> date:
        """The market's calendar day."""
        return self.market.worlds[0].file.start + timedelta(days=self.market.hour // 24)

    def book_elsewhere(self, micros: NDArray[np.int64], *, seat: int = 0) -> None:
        """Count (n_worlds,) micros against the budgets of a seat's day, week and month, as if spent here."""
        if seat in self._delivery:
            self._delivery[seat].book(micros)

    def shown(self, *, seat: int = 0) -> Shown:
        """What has become known to a seat since an hour ago."""
        return self.reports[seat].shown()

    def apply(self, approved: ApprovedControls, *, seat: int = 0) -> None:
        """Set a seat's controls for the coming hour.

        Raises:
            BadInput: anything but `ApprovedControls` was handed in.
        """
        if not isinstance(approved, ApprovedControls):
            raise BadInput(
                "controls",
                type(approved).__name__,
                "must be ApprovedControls",
                "Pass the proposal through the gate.",
            )
        k = seat
        self.controls.bid[:, k] = approved.bid_usd
        self.controls.target_cpa[:, k] = approved.target_cpa_usd
        cap = approved.daily_cap_micros
        self.controls.daily_cap[:, k] = self._delivery[k].cap(cap) if k in self._delivery else cap
        self.controls.line_cap[:, k] = approved.line_cap_micros
        weight = np.cumsum(approved.creative_weight, axis=-1)
        self.controls.creative[:, k] = weight / weight[..., -1:]
        self.controls.landing[:, k] = approved.landing
        self.controls.region[:, k] = approved.region
        self.controls.upload[:, k] = approved.value_upload
        self.switch_off_small_lists(k)

    def switch_off_small_lists(self, seat: int) -> None:
        """Lines whose audience list is too small are not served."""
        if seat in self.reports:
            people = self.market.worlds[0].file.people
            least = MINIMUM_LIST * self.market.n_people / people
            small = self.reports[seat].list_size < least  # false for NaN, a line without a list
            self.controls.bid[:, seat][small] = 0.0
            self.controls.target_cpa[:, seat][small] = 0.0

    def switch_off(self, *, seat: int | None = None, lines: NDArray[np.bool_] | None = None) -> None:
        """Turn lines off until controls are applied again.

        Args:
            seat: whose; None for every external seat.
            lines: (n_lines,) which; None for all.
        """
        seats = slice(None) if seat is None else slice(seat, seat + 1)
        off = slice(None) if lines is None else lines
        self.controls.bid[:, seats, off] = 0.0
        self.controls.target_cpa[:, seats, off] = 0.0

    def advance(self, opportunity_bids: NDArray[np.float64] | None = None) -> None:
        """Let an hour pass in every world.

        Args:
            opportunity_bids: (n_opportunities, n_seats) bids that replace the lines', for references that see
                truth; see `Market.advance`.
        """
        self.market.advance(self.controls, opportunity_bids=opportunity_bids, adapt=self.adapt)
        for seat, reporting in self.reports.items():
            reporting.record()
            if seat in self._delivery:
                self._delivery[seat].book(reporting.spend_micros[:, reporting.hour - 1].sum(axis=1))
                if self.market.hour % 24 == 0:
                    self._delivery[seat].open_day(calendar_day(self.today))
