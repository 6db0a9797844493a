"""What an account knows of the auctions on one of its lines, by day and hour."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_TOLD_SHARE = 0.1
"""Impression shares under it are told as "less than a tenth"."""
DAYS_A_WEEK = 7
LEAST_OPEN = 0.9
"""Of a day, for its impression share to tell what had to be bid."""
LEAST_DAYS = 7
"""Days on which a line was on; errors are told by how days differ, which fewer do not show."""
LEAST_IMPRESSIONS = 200


@dataclass(frozen=True, kw_only=True)
class LineLog:
    """Reports of one line; whole days only.

    Attributes:
        name: of the line.
        by_click: whether bids and prices are in USD per click; else per 1000 impressions.
        bid: (n_days, n_hours) own bid; 0 where the line was off.
        open: (n_days, n_hours) share of the hour in which there was budget for a bid, 0 to 1.
        impressions: (n_days, n_hours) own.
        sold: (n_days, n_hours) what was paid for: clicks or impressions.
        price: (n_days, n_hours) mean price of what was sold, in the bid's unit; anything where nothing was.
        share: (n_days,) impressions among eligible auctions; under a tenth where told as "less than a tenth",
            NaN where not told.
        price_is_needed: whether the price paid is the least bid that would have won: one slot, second price.

    Raises:
        BadInput: shapes disagree, or a cell is not what it should be.
    """

    name: str
    by_click: bool
    bid: Floats
    open: Floats
    impressions: Floats
    sold: Floats
    price: Floats
    share: Floats
    price_is_needed: bool

    def __post_init__(self) -> None:
        for what in ("open", "impressions", "sold", "price"):
            _require(
                f"{what}.shape",
                getattr(self, what).shape,
                getattr(self, what).shape == self.bid.shape,
                f"must be {self.bid.shape}, as `bid`",
            )
        _require("share.shape", self.share.shape, self.share.shape == self.bid.shape[:1], "must be (n_days,)")
        for what in ("bid", "open", "impressions", "sold"):
            cells = getattr(self, what)
            bad = np.argwhere(~(np.isfinite(cells) & (cells >= 0)))
            if bad.size:
                day, hour = (int(i) for i in bad[0])
                allowed = "must be finite and at least 0 (0 for 'off')"
                _require(f"{what}[{day}, {hour}] of {self.name}", cells[day, hour], False, allowed)
        told = self.share[np.isfinite(self.share)]
        _require(
            f"share of {self.name}",
            told[(told < 0) | (told > 1)][:1].tolist(),
            bool(((told >= 0) & (told <= 1)).all()),
            "must lie from 0 to 1",
        )

    @cached_property
    def on(self) -> Flags:
        """(n_days, n_hours) whether the line bid."""
        return (self.bid > 0) & (self.open > 0)

    @cached_property
    def week(self) -> NDArray[np.int64]:
        """(n_days,) day of the week, the log's first day is 0."""
        return np.arange(self.share.size) % DAYS_A_WEEK

    @cached_property
    def all_day(self) -> Flags:
        """(n_days,) whether the line was on nearly all day: else its share tells of budgets, not of bids."""
        return np.asarray(np.where(self.on, self.open, 0.0).mean(axis=1) >= LEAST_OPEN, bool)

    @cached_property
    def won(self) -> Floats:
        """(n_days,) own impressions."""
        return np.asarray(self.impressions.sum(axis=1), np.float64)

    @cached_property
    def told(self) -> Flags:
        """(n_days,) whether the day's share was told as a number."""
        return np.isfinite(self.share) & (self.share >= LEAST_TOLD_SHARE) & (self.won > 0)

    @cached_property
    def censored(self) -> Flags:
        """(n_days,) whether the day's share was told as "less than a tenth"."""
        return np.isfinite(self.share) & (self.share < LEAST_TOLD_SHARE) & self.on.any(axis=1)

    @cached_property
    def eligible(self) -> Floats:
        """(n_days,) auctions on the line, from impressions and their share; NaN where that is not told."""
        told = self.told
        return np.where(told, self.won / np.where(told, self.share, 1.0), np.nan)

    @cached_property
    def usual_pattern(self) -> Floats:
        """(n_days, n_hours) the part of own log bids that follows something, around its line; 0 where off.

        A two-way fit by day and hour of the week, weighted by impressions, and what is left of the hour
        before. The rest is news: nothing that moves rivals or traffic as well. The line over time is taken
        out: a trend of rivals is theirs, also where own bids go along with it.
        """
        weight = np.where(self.on, self.impressions + 1.0, 0.0)
        log_bid = np.log(np.where(self.on, self.bid, 1.0))
        by_day, by_hour = np.zeros((self.share.size, 1)), np.zeros(weight.shape)
        for _ in range(20):
            by_day = _mean(weight, log_bid - by_hour)
            for day in range(DAYS_A_WEEK):
                same = self.week == day
                by_hour[same] = _mean(weight[same].T, (log_bid - by_day)[same].T).T
        apart = np.where(self.on, log_bid - by_day - by_hour, 0.0).ravel()
        both = (self.on.ravel()[1:] & self.on.ravel()[:-1]) * 1.0
        before = both * apart[:-1]
        kept = float((before * apart[1:]).sum() / max((before * before).sum(), 1e-300))
        pattern = by_day + by_hour
        pattern.ravel()[1:] += kept * before
        time = np.arange(self.share.size, dtype=float)[:, None]
        total = max(weight.sum(), 1e-300)
        time = time - (weight * time).sum() / total
        slope = (weight * time * pattern).sum() / max((weight * time**2).sum(), 1e-300)
        return np.where(self.on, pattern - (weight * pattern).sum() / total - slope * time, 0.0)

    @property
    def usual_bid(self) -> float:
        """Median own bid while on; 0 if never."""
        return float(np.median(self.bid[self.on])) if self.on.any() else 0.0

    def reason_against(self) -> str | None:
        """Why nothing can be told of rivals on this line; None if something can."""
        days = int(self.on.any(axis=1).sum())
        if days < LEAST_DAYS:
            return f"on for {days} whole days, fewer than {LEAST_DAYS}"
        if self.won.sum() < LEAST_IMPRESSIONS:
            return f"{self.won.sum():.0f} impressions, fewer than {LEAST_IMPRESSIONS}"
        if not self.price_is_needed and (self.told & self.all_day).sum() < LEAST_DAYS:
            return "neither its prices nor its impression share tell what had to be bid"
        return None


def _mean(weight: Floats, of: Floats) -> Floats:
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray((weight * of).sum(axis=1, keepdims=True) / total, np.float64)


def _require(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise BadInput(name, value, allowed, "Check the report it was read from.")
