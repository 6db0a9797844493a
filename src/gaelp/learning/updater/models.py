"""Four models made of counts: response, lag, segments and bid landscape; plain JSON with intervals of 95 %.

Response: a visit's chance of a purchase within the horizon by segment, channel, device and audience, drawn
towards its segment's rate as far as the cells of that segment are alike; clicks per impression by line, drawn
towards that of all lines. Lag: Kaplan-Meier of visitors, whose counts by hour add up over episodes. Segments:
rates of visitors. Bid landscape: share of auctions won by own bid and channel, the monotone curve nearest to
what was reported.

Sources: pooling `data.patterns.creatives.shrunken`; Kaplan-Meier `measurement.lag.curve`; monotone fit
Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions (1972), section 1.2.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from gaelp.core.words import EMAIL_LINE, LINES, PAID_CHANNELS, Channel
from gaelp.data.discovery.intervals import rate
from gaelp.data.patterns.creatives import shrunken
from gaelp.learning.updater.config import UpdaterConfig
from gaelp.learning.updater.counts import Counts, table
from gaelp.learning.updater.reading import bid_of
from gaelp.learning.updater.segments import Segments
from gaelp.measurement.lag.curve import kaplan_meier
from gaelp.worlds.ga4_rows import TAGS

Floats = NDArray[np.float64]
Cell = tuple[str, ...]

_LAG_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 90.0)
_QUANTILES = (0.25, 0.5, 0.75)
_NO_BIDS = "no day with bids by hand and a told impression share"


@dataclass(frozen=True)
class Models:
    """The models of one version.

    Attributes:
        counts: that they are made of. segments: of these counts.
        config: with the horizon and the bound of factors.
    """

    counts: Counts
    segments: Segments
    config: UpdaterConfig

    @cached_property
    def sale_rates(self) -> dict[Cell, tuple[int, int, float, float, float]]:
        """Visits, sold, rate and its ends by (segment, channel, device, audience); the rate is pooled."""
        visits, sold = table(self.counts, "visits"), table(self.counts, "sold")
        found: dict[Cell, tuple[int, int, float, float, float]] = {}
        for segment in self.segments.ids:
            cells = [cell for cell in visits if cell[0] == segment]
            found |= _pooled(cells, visits, sold)
        return found

    @cached_property
    def rate_of_all(self) -> float:
        """Of all visits; one half, if there are none."""
        visits, sold = (sum(table(self.counts, what).values()) for what in ("visits", "sold"))
        return (sold + 0.5) / (visits + 1)

    def rate(self, cell: Cell) -> float:
        """Chance that a visit of a cell leads to a purchase; a cell never met has its segment's rate.

        Args:
            cell: segment, channel, device and audience.
        """
        if cell in self.sale_rates:
            return self.sale_rates[cell][2]
        return self._segment_rates.get(cell[0], self.rate_of_all)

    @cached_property
    def _segment_rates(self) -> dict[str, float]:
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for cell, (visits, sold, *_) in self.sale_rates.items():
            sums[cell[0]][0] += visits
            sums[cell[0]][1] += sold
        return {name: (sold + 0.5) / (visits + 1) for name, (visits, sold) in sums.items()}

    @cached_property
    def visits_by_line(self) -> Floats:
        """(n_lines, n_segments) ripe visits of each line's channel, device and audience by segment.

        The journey database keeps no campaign: lines of one channel, device and audience share their visits.
        """
        found = np.zeros((len(LINES), len(self.segments.ids)))
        for cell, (visits, *_) in self.sale_rates.items():
            found[_lines_of(cell), self.segments.ids.index(cell[0])] += visits
        return found

    @cached_property
    def line_factors(self) -> Floats:
        """(n_lines,) factor on bids and targets: rate of a line's visits over that of all, as bounded.

        Rates are those of the line's mix of segments; 1 for lines without visits, and for e-mail, whose price
        is fixed.
        """
        expected, visits = np.zeros(len(LINES)), np.zeros(len(LINES))
        for cell, (n, _, each, *_) in self.sale_rates.items():
            rows = _lines_of(cell)
            expected[rows] += n * each
            visits[rows] += n
        ratio = np.where(visits > 0, expected / np.maximum(visits, 1) / self.rate_of_all, 1.0)
        ratio[EMAIL_LINE] = 1.0
        return np.asarray(np.clip(ratio, 1 / self.config.most, self.config.most))

    def audiences(self) -> dict[str, Any]:
        """What a line can hold of the segments: `segments` with rates, and `lines`, shares of its visits.

        No line aims at a segment: a platform holds channel, audience and device, and so does a line. A line
        without visits is left out.
        """
        shares = self.visits_by_line / np.maximum(self.visits_by_line.sum(axis=1, keepdims=True), 1)
        lines = {
            line.name: dict(zip(self.segments.ids, row.tolist(), strict=True))
            for line, row in zip(LINES, shares, strict=True)
            if row.any()
        }
        return {"segments": self.segment_rates(), "lines": lines}

    def as_dict(self) -> dict[str, Any]:
        """The models as JSON."""
        return {
            "response": {
                "horizon_days": self.config.horizon_days,
                "rate_of_all": self.rate_of_all,
                "sales": [
                    {**dict(zip(_CELL, cell, strict=True)), **dict(zip(_SALE, row, strict=True))}
                    for cell, row in self.sale_rates.items()
                ],
                "clicks": self.click_rates(),
            },
            "lag": self.lag(),
            "segments": self.segment_rates(),
            "audiences": self.audiences()["lines"],
            "landscape": self.landscape(),
            "line_factors": {
                line.name: float(factor) for line, factor in zip(LINES, self.line_factors, strict=True)
            },
        }

    def click_rates(self) -> list[dict[str, Any]]:
        """Clicks per impression by line, of rows that tell both; lines without both are left out."""
        impressions, clicks = self._paired("impressions"), self._paired("clicks")
        told = [cell for cell, n in impressions.items() if n > 0 and clicks.get(cell, 0) <= n]
        found = []
        for cell, row in _pooled(told, impressions, clicks).items():
            line = next((each for each in LINES if each.name == cell[0]), None)
            device = line.device.name.lower() if line is not None and line.device is not None else None
            named = {
                "line": cell[0],
                "channel": line.channel.name.lower() if line else None,
                "device": device,
            }
            found.append({**named, **dict(zip(_CLICK, row, strict=True))})
        return found

    def _paired(self, what: str) -> dict[Cell, int]:
        """Impressions or clicks by line, of rows that tell both."""
        alone = table(self.counts, f"{what}_alone")
        return {cell: n - alone.get(cell, 0) for cell, n in table(self.counts, what).items()}

    def lag(self) -> dict[str, Any]:
        """How long from the first visit to the first purchase."""
        hours, events = [], []
        for what, event in (("lag", True), ("open", False)):
            for (hour,), n in table(self.counts, what).items():
                hours += [int(hour)] * n
                events += [event] * n
        if not any(events):
            return {"unknown": "no visitor bought"}
        curve = kaplan_meier(np.array(hours) / 24, np.array(events))
        days = [day for day in _LAG_DAYS if day <= curve.last]
        (low, high), still = curve.interval_at(days), curve.at(days)
        rows = zip(days, still.tolist(), low.tolist(), high.tolist(), strict=True)
        ever = 1 - float(curve.survival[-1])
        return {
            "visitors": curve.n,
            "buyers": curve.n_events,
            "bought_by_day": [
                {"days": day, "share": _told(1 - s), "low": _told(1 - b), "high": _told(1 - a)}
                for day, s, a, b in rows
            ],
            "days_of_buyers": {str(share): curve.quantile(share * ever) for share in _QUANTILES},
        }

    def segment_rates(self) -> list[dict[str, Any]]:
        """Visitors of each segment, their rate with its interval and what a visitor brings."""
        visitors, buyers = table(self.counts, "visitors"), table(self.counts, "buyers")
        value = table(self.counts, "value_micros")
        found = []
        for name, words in zip(self.segments.ids, self.segments.names, strict=True):
            n, bought = visitors.get((name,), 0), buyers.get((name,), 0)
            brought = value.get((name,), 0) / 1e6 / n if n else None
            found.append({"id": name, "name": words, **rate(bought, n), "value_per_visitor": brought})
        return found

    def landscape(self) -> dict[str, Any]:
        """Share of auctions won by own bid, by channel, rising with the bid."""
        won, eligible = table(self.counts, "won"), table(self.counts, "eligible")
        found: dict[str, Any] = {}
        for channel in PAID_CHANNELS:
            name = channel.name.lower()
            bins = sorted(int(key[1]) for key, n in eligible.items() if key[0] == name and n > 0)
            if not bins:
                found[name] = {"unknown": _NO_BIDS}
                continue
            n = np.array([eligible[name, str(each)] for each in bins], float)
            share = np.array([won.get((name, str(each)), 0) for each in bins]) / n
            fitted = isotonic_regression(np.minimum(share, 1.0), weights=n).x
            found[name] = {
                "unit": "click" if channel is Channel.SEARCH else "1000 impressions",
                "curve": [
                    {"bid_usd": bid_of(each), "auctions": int(m), "win_share": float(s)}
                    for each, m, s in zip(bins, n, fitted, strict=True)
                ],
            }
        return found

    @property
    def profit_usd(self) -> float:
        """All purchases less what ads cost."""
        cost = sum(table(self.counts, "cost_micros").values())
        return (self.counts["revenue_micros",] - cost) / 1e6


_CELL = ("segment", "channel", "device", "audience")
_SALE = ("visits", "sold", "rate", "low", "high")
_CLICK = ("impressions", "clicks", "rate", "low", "high")


def logloss(models: Models, counts: Counts) -> tuple[float, int]:
    """Sum of the logloss of visits, nats, and how many they are.

    Args:
        models: that predict. counts: of other episodes, in the models' segments.
    """
    sold = table(counts, "sold")
    loss, n = 0.0, 0
    for cell, visits in table(counts, "visits").items():
        p = models.rate(cell)
        events = min(sold.get(cell, 0), visits)
        loss -= events * np.log(p) + (visits - events) * np.log1p(-p)
        n += visits
    return float(loss), n


def _pooled(
    cells: list[Cell], trials: Mapping[Cell, int], events: Mapping[Cell, int]
) -> dict[Cell, tuple[int, int, float, float, float]]:
    if not cells:
        return {}
    n = np.array([trials[cell] for cell in cells], np.int64)
    k = np.array([events.get(cell, 0) for cell in cells], np.int64)
    columns = [column.tolist() for column in (n, k, *shrunken(n, k))]
    return dict(zip(cells, zip(*columns, strict=True), strict=True))


def _lines_of(cell: Cell) -> NDArray[np.bool_]:
    """(n_lines,) which lines a visit of a cell may have come by."""
    _, group, device, audience = cell
    return np.array(
        [
            TAGS[line.channel].group == group
            and line.device is not None
            and line.device.name.lower() == device
            and (line.audience is None or line.audience.name.lower() == audience)
            for line in LINES
        ]
    )


def _told(share: float) -> float | None:
    return float(share) if np.isfinite(share) else None
