"""Conversions that are still to come when a flight ends, told from what the account was shown by then.

Only clicks and conversions as reported go in: how old every click is, and after how long those that sold were
shown to have sold. The lag fitted to them (`measurement.lag`) says how many open clicks will still sell.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import CHANNEL_OF_LINE, NO_LINE
from gaelp.measurement.lag.fit import LagFit, fit_lag
from gaelp.measurement.lag.nowcast import nowcast
from gaelp.platforms.reporting import Sight
from gaelp.worlds.flight import Flight

Floats = NDArray[np.float64]

LEAST_CONVERSIONS = 20
"""Fewer say too little of the lag."""
FAMILY = "cure_weibull"


class ClickHistory(NamedTuple):
    """Clicks of a flight, all its worlds together, as its last hour began.

    Attributes:
        lag_days: (n_conversions,) from the last click to being shown.
        open_clicks: (n_hours,) that have not sold yet, by hour of the click.
    """

    lag_days: Floats
    open_clicks: Floats

    @property
    def age_days(self) -> Floats:
        """(n_hours,) how old clicks are, taken at the middle of their hour."""
        hours = self.open_clicks.size
        return np.arange(hours - 0.5, 0.0, -1.0) / 24.0


def clicks_of(flight: Flight) -> ClickHistory:
    """What the account was shown of clicks, on lines whose clicks and conversions are shown at all."""
    sight = Sight(flight.market.worlds[0].file.visibility)
    told = ~(sight.never["click"] | sight.never["conversion"])[CHANNEL_OF_LINE]
    late = sight.delay["click"][CHANNEL_OF_LINE]
    # hour h of a line is told by the view of hour h + 1 + its delay; the last view opens the last hour
    shown = np.arange(flight.hours)[:, None] + 1 + late < flight.hours
    clicks = np.where(shown & told, flight.clicks.sum(axis=0), 0).sum(axis=1)
    _, _, clicked, told_at = flight.arrivals[told[flight.arrivals[:, 1]]].T
    sold = np.bincount(clicked, minlength=flight.hours)
    open_clicks = np.maximum(clicks - sold, 0).astype(float)
    return ClickHistory(np.maximum(told_at - clicked - 0.5, 0.5) / 24.0, open_clicks)


def fit_of(clicks: ClickHistory) -> LagFit | None:
    """The lag in days; None where too few conversions were shown, or they fit no law."""
    if clicks.lag_days.size < LEAST_CONVERSIONS:
        return None
    age = np.repeat(clicks.age_days, clicks.open_clicks.astype(int))
    duration = np.concatenate([clicks.lag_days, age])
    try:
        return fit_lag(FAMILY, duration, np.arange(duration.size) < clicks.lag_days.size)
    except BadInput:
        return None


def nowcast_at_end(flight: Flight, *, seed: int = 0) -> dict[str, Any]:
    """How many conversions of a flight's clicks are shown by its end, and how many are still to come.

    Args:
        flight: flown. seed: names the draws of the interval.

    Returns:
        `shown`; `to_come` with `low` and `high` (95 %), None where too few conversions were shown to tell.
    """
    clicks = clicks_of(flight)
    shown = clicks.lag_days.size
    found: dict[str, Any] = {"shown": shown, "to_come": None, "low": None, "high": None}
    fit = fit_of(clicks)
    if fit is None:
        return found
    one = np.zeros(clicks.age_days.size, np.intp)  # the interval is of the sum: one cohort of many ages
    told = nowcast(fit, [shown], clicks.age_days, clicks.open_clicks, one, seed=seed)
    return {
        **found,
        "to_come": float(told.to_come[0]),
        "low": float(told.low[0]),
        "high": float(told.high[0]),
    }


def came_later(flight: Flight, until: int) -> int:
    """Conversions of the clicks of `clicks_of` that were booked by hour `until` and not shown by the end."""
    sight = Sight(flight.market.worlds[0].file.visibility)
    told = ~(sight.never["click"] | sight.never["conversion"])[CHANNEL_OF_LINE]
    booked = 0
    for world in range(flight.market.n_worlds):
        made = flight.market.decisions(world)
        made = made[(made["brand"] == flight.seat) & (made["line"] != NO_LINE) & (made["book_hour"] < until)]
        made = made[(made["click_hour"] >= flight.start) & told[made["line"]]]
        booked += int((made["click_hour"] < flight.start + flight.hours).sum())
    return booked - int(told[flight.arrivals[:, 1]].sum())
