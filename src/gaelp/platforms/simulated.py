"""The door to the simulated market: the external seats of a batch of worlds."""

import numpy as np
from numpy.typing import NDArray

from gaelp.control.controls import ApprovedControls
from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES
from gaelp.market.market import Market
from gaelp.market.state import empty_controls


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
        self.controls.daily_cap[:, k] = approved.daily_cap_micros
        weight = np.cumsum(approved.creative_weight, axis=-1)
        self.controls.creative[:, k] = weight / weight[..., -1:]
        self.controls.landing[:, k] = approved.landing
        self.controls.region[:, k] = approved.region
        self.controls.upload[:, k] = approved.value_upload

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

    def report(self, *, seat: int = 0) -> NDArray[np.int64]:
        """Counters of a seat since the worlds began."""
        return self.market.books.report[:, seat]

    def booked(self, since: int, until: int, *, seat: int = 0) -> NDArray[np.float64]:
        """(n_worlds, n_lines) attributed conversions booked in hours [since, until)."""
        counts = np.zeros((self.market.n_worlds, N_LINES))
        for w in range(self.market.n_worlds):
            made = self.market.decisions(w)
            due = made[(made["brand"] == seat) & (made["line"] < N_LINES)]
            due = due[(due["book_hour"] >= since) & (due["book_hour"] < until)]
            np.add.at(counts[w], due["line"].astype(int), 1.0)
        return counts
