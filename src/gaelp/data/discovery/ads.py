"""What ad platforms report, beside what the property saw: the section `ads`."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaelp.core.words import Channel
from gaelp.data.ad_report import COUNTS, read_ad_report
from gaelp.data.discovery.intervals import wilson
from gaelp.data.patterns.vectors import FAMILIES, family_codes


def summed_ads(
    path: Path, first: dt.date, last: dt.date, channels: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The section `ads`: sums by channel over the days of the export.

    An empty cell is "not told", and so is then the sum.

    Args:
        path: see `read_ad_report`. first, last: days that count.
        channels: the section `channels`, for touches of the same family of channels.

    Raises:
        BadInput: as `read_ad_report`.
    """
    report, n_outside = read_ad_report(path).within(first, last)
    sums = {}
    for channel in np.unique(report.channel).tolist():
        total = report.counts[report.channel == channel].sum(axis=0).tolist()
        told = {name: None if np.isnan(each) else each for name, each in zip(COUNTS, total, strict=True)}
        sums[Channel(channel).name.lower()] = told
    seen = dict.fromkeys(FAMILIES, 0)
    for each in channels:
        seen[FAMILIES[int(family_codes([each["channel"]])[0])]] += each["touches"]
    return {
        "first_date": first.isoformat(),
        "last_date": last.isoformat(),
        "rows_outside": n_outside,
        "channels": [_channel(name, sums[name], seen) for name in sorted(sums)],
    }


def _channel(name: str, told: dict[str, float | None], seen: dict[str, int]) -> dict[str, Any]:
    impressions, clicks, cost = (told[each] for each in ("impressions", "clicks", "cost_micros"))
    unknown = [each for each, value in told.items() if value is None]
    found: dict[str, Any] = {"channel": name, **told, "touches": seen[FAMILIES[int(family_codes([name])[0])]]}
    found["cost_per_click"] = cost / 1e6 / clicks if cost is not None and clicks else None
    found["click_rate"] = None
    if impressions and clicks is not None and clicks <= impressions:
        low, high = wilson(clicks, impressions)
        found["click_rate"] = {"share": clicks / impressions, "low": low, "high": high}
    if unknown:
        found["unknown"] = f"not told, or not yet, in some rows: {', '.join(unknown)}"
    return found
