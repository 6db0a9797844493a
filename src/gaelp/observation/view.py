"""The view: what an account shows at the start of an hour, for a batch of accounts side by side."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class View:
    """What has become known since the last hour, and where the account stands.

    Spend is an hour old at most. Everything else comes when the platform shows it, so "newly shown" belongs
    to an earlier hour; NaN marks what a platform does not show at all, or not yet. Arrays are
    (n_worlds, n_lines) unless another shape is given.

    Attributes:
        hour: hours since the campaign began.
        hours_left: of the campaign, the coming hour included.
        hour_of_week: of the coming hour, Monday 0:00 is 0.
        day_of_year: 0 to 364.
        spend_usd: of the last hour.
        cost_usd: spend of the hour whose clicks (search) or impressions (elsewhere) are newly shown.
        spend_today_usd, spend_month_usd: (n_worlds,) since midnight, and since the campaign began or the
            calendar month turned.
        impressions, clicks: newly shown.
        conversions: newly shown, by the line of the last click; restated ones come as they are booked.
        impression_share: of the newest 24 hours shown; at least .10, else .0999; NaN where not told.
        list_size: people on the line's audience list; NaN for lines without one.
        visits: (n_worlds, n_channels) own-site visits newly shown, by `core.words.Channel`.
        bid_usd, target_cpa_usd: as approved for the last hour.
        daily_budget_usd: (n_worlds,).
    """

    hour: int
    hours_left: int
    hour_of_week: int
    day_of_year: int
    spend_usd: Floats
    cost_usd: Floats
    spend_today_usd: Floats
    spend_month_usd: Floats
    impressions: Floats
    clicks: Floats
    conversions: Floats
    impression_share: Floats
    list_size: Floats
    visits: Floats
    bid_usd: Floats
    target_cpa_usd: Floats
    daily_budget_usd: Floats

    @property
    def n_worlds(self) -> int:
        """Accounts side by side."""
        return int(self.spend_usd.shape[0])
