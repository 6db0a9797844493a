"""What ad platforms report, beside what the property saw: the section `ads`."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import Channel
from gaelp.data.ad_report import COUNTS, read_ad_report
from gaelp.data.discovery.intervals import wilson
from gaelp.data.patterns.vectors import FAMILIES, family_codes


def summed_ads(
    path: Path, first: dt.date, last: dt.date, channels: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The section `ads`: sums by channel over the days of the export.

    An empty cell is a figure that is not told, or not yet, as those of an account's newest hours are. Sums
    are of the rows that tell it, rates of those that tell both their parts; how many rows lack one is said.
    What no row tells is None.

    Args:
        path: see `read_ad_report`. first, last: days that count, both included.
        channels: the section `channels`, for touches of the same family of channels.

    Raises:
        BadInput: as `read_ad_report`.
    """
    report, n_outside = read_ad_report(path).within(first, last)
    seen = dict.fromkeys(FAMILIES, 0)
    for each in channels:
        seen[FAMILIES[int(family_codes([each["channel"]])[0])]] += each["touches"]
    return {
        "first_date": first.isoformat(),
        "last_date": last.isoformat(),
        "rows_outside": n_outside,
        "channels": sorted(
            (
                _channel(channel, report.counts[report.channel == channel], seen)
                for channel in np.unique(report.channel).tolist()
            ),
            key=lambda each: str(each["channel"]),
        ),
    }


def _channel(channel: int, rows: NDArray[np.float64], seen: dict[str, int]) -> dict[str, Any]:
    name, told = Channel(channel).name.lower(), ~np.isnan(rows)
    found: dict[str, Any] = {"channel": name, "rows": len(rows), "cost_per_click": None, "click_rate": None}
    for i, count in enumerate(COUNTS):
        found[count] = float(rows[told[:, i], i].sum()) if told[:, i].any() else None
    found["touches"] = seen[FAMILIES[int(family_codes([name])[0])]]
    cost, clicks = _both(rows, "cost_micros", "clicks")
    if clicks:
        found["cost_per_click"] = cost / 1e6 / clicks
    impressions, clicks = _both(rows, "impressions", "clicks")
    if 0 < impressions and clicks <= impressions:
        low, high = wilson(clicks, impressions)
        found["click_rate"] = {"share": clicks / impressions, "low": low, "high": high}
    lacking = {count: int(n) for count, n in zip(COUNTS, (~told).sum(axis=0), strict=True) if n}
    if lacking:
        found["rows_lacking"] = lacking
    return found


def _both(rows: NDArray[np.float64], one: str, other: str) -> tuple[float, float]:
    """Sums of two counts over the rows that tell both."""
    pair = rows[:, [COUNTS.index(one), COUNTS.index(other)]]
    first, second = pair[~np.isnan(pair).any(axis=1)].sum(axis=0).tolist()
    return first, second
