"""The features of a campaign hour: what an account manager would look at, one row per account.

Built from views alone, so from what the account shows: delayed reports, own spend, own decisions, the clock.
Figures are kept as faded sums with half-lives of a day and a week; a price or a rate is a ratio of two of
them, on a log scale against what the brief expects. What a platform does not show is 0 there, and a feature
of its own says that it is not known.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import LINES, N_LINES, Channel
from gaelp.observation.features import Feature, FeatureTable
from gaelp.observation.view import View

Floats = NDArray[np.float64]

_DAY, _WEEK = (0.5 ** (1.0 / hours) for hours in (24.0, 168.0))
_SEARCH = np.array([line.channel is Channel.SEARCH for line in LINES])
FEATURE_LIMIT = 5.0
"""Features are clipped to plus and minus this."""
_FEW = 3.0
"""Conversions' worth of the account's own rate that shrink a line's."""

_CLOCK = "the clock, in the account's time"
_SPEND = "own spend, an hour old"
_REPORT = "platform report, delayed"
_PLAN = "brief: forecast traffic and budget"

_ACCOUNT = (
    Feature("hour_sin", "-1 to 1", "sine of the hour of day", _CLOCK),
    Feature("hour_cos", "-1 to 1", "cosine of the hour of day", _CLOCK),
    Feature("weekday_sin", "-1 to 1", "sine of the hour of week", _CLOCK),
    Feature("weekday_cos", "-1 to 1", "cosine of the hour of week", _CLOCK),
    Feature("season_sin", "-1 to 1", "sine of the day of year", _CLOCK),
    Feature("season_cos", "-1 to 1", "cosine of the day of year", _CLOCK),
    Feature("flight_left", "share", "hours left over hours of the flight", _CLOCK),
    Feature("traffic_now", "log ratio", "the coming hour's expected cost over an even hour's", _PLAN),
    Feature("day_gone", "share", "share of the day's expected cost that lies behind", _PLAN),
    Feature("spent_today", "share", "spend since midnight over the daily budget", _SPEND),
    Feature("ahead_today", "share", "spent_today less day_gone", _SPEND),
    Feature("ahead_flight", "days of budget", "spend less budget since the flight began, tenths", _SPEND),
    Feature("conversions_week", "log", "log(1 + shown conversions, faded over a week)", _REPORT),
    Feature("cost_per_conversion_week", "log ratio", "over the CAC target; 0 if unknown", _REPORT),
    Feature("visits_trend", "log ratio", "own-site visits, day over week", "own site"),
)
_LINE = (
    Feature("spend_share", "share", "of the account's spend, faded over a day", _SPEND),
    Feature("bid", "log ratio", "approved bid over the reference price; -5 where off", "own decisions"),
    Feature("price", "log ratio", "cost per click or 1000 over the reference, faded over a day", _REPORT),
    Feature("click_trend", "log ratio", "click rate, day over week", _REPORT),
    Feature("value", "log ratio", "shown conversions a dollar over the account's, a week, shrunk", _REPORT),
    Feature("impression_share", "share", "as told; 0 where not", _REPORT),
    Feature("share_known", "0 or 1", "1 where an impression share was told", _REPORT),
    Feature("list_size", "log", "log10(1 + people on the audience list) less 2; 0 without a list", _REPORT),
)
CAMPAIGN_FEATURES = FeatureTable(
    "campaign",
    _ACCOUNT
    + tuple(
        Feature(f"{line.name}.{feature.name}", feature.unit, feature.normalisation, feature.source)
        for line in LINES
        for feature in _LINE
    ),
)
"""15 of the account and 8 of each line."""


class CampaignObserver:
    """Turns the views of a flight into rows of `CAMPAIGN_FEATURES`; one object per flight.

    Args:
        n_worlds: accounts side by side.
        daily_budget_usd: (n_worlds,). reference_price_usd: (n_lines,).
        traffic: (n_worlds, 168) expected cost by hour of week, any scale.
        cac_target_usd: of the product. hours: length of the flight.
    """

    def __init__(
        self,
        *,
        n_worlds: int,
        daily_budget_usd: Floats,
        reference_price_usd: Floats,
        traffic: Floats,
        cac_target_usd: float,
        hours: int,
    ) -> None:
        self.budget = np.maximum(daily_budget_usd, 1e-9)
        self.reference = np.maximum(reference_price_usd, 1e-9)
        self.target = cac_target_usd
        self.hours = hours
        # a week's expected cost day by day, each day adding up to 1
        days = np.maximum(traffic, 1e-12).reshape(n_worlds, 7, 24)
        self._plan = (days / days.sum(axis=2, keepdims=True)).reshape(n_worlds, 168)
        self._spent = np.zeros(n_worlds)
        lines = (n_worlds, N_LINES)
        self._day = {name: np.zeros(lines) for name in ("spend", "cost", "impressions", "clicks")}
        self._week = {name: np.zeros(lines) for name in ("spend", "impressions", "clicks", "conversions")}
        self._hours = 0
        self._visits = np.zeros((2, n_worlds))

    def observe(self, view: View) -> NDArray[np.float32]:
        """(n_worlds, len(CAMPAIGN_FEATURES)) the row of the coming hour; to be called once an hour."""
        self._fade(view)
        rows = np.concatenate([self._account(view), self._lines(view).reshape(view.n_worlds, -1)], axis=1)
        return np.clip(rows, -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.float32)

    def _fade(self, view: View) -> None:
        news = {
            "spend": view.spend_usd,
            "cost": view.cost_usd,
            "impressions": np.nan_to_num(view.impressions),
            "clicks": np.nan_to_num(view.clicks),
            "conversions": np.nan_to_num(view.conversions),
        }
        for sums, keep in ((self._day, _DAY), (self._week, _WEEK)):
            for name, total in sums.items():
                total *= keep
                total += news[name]
        visits = np.nansum(view.visits, axis=1)
        self._visits[0] = _DAY * self._visits[0] + (1.0 - _DAY) * visits
        self._visits[1] = _WEEK * self._visits[1] + (1.0 - _WEEK) * visits
        self._spent += view.spend_usd.sum(axis=1)
        self._hours += 1

    def _account(self, view: View) -> Floats:
        hour = view.hour_of_week % 24
        midnight = view.hour_of_week - hour
        gone = self._plan[:, midnight : midnight + hour].sum(axis=1)
        spent_today = view.spend_today_usd / self.budget
        conversions, cost = (self._week[name].sum(axis=1) for name in ("conversions", "spend"))
        cpa = np.log(np.maximum(cost, 1e-9) / np.maximum(conversions, 1e-9) / self.target)
        # means of as many hours as there were, so that the two agree from the start
        day_visits, week_visits = (
            self._visits[i] / (1.0 - keep**self._hours) for i, keep in enumerate((_DAY, _WEEK))
        )
        turns = (hour / 24.0, view.hour_of_week / 168.0, view.day_of_year / 365.0)
        clock = [wave(2.0 * math.pi * turn) for turn in turns for wave in (math.sin, math.cos)]
        columns = [np.full(view.n_worlds, value) for value in (*clock, view.hours_left / self.hours)]
        columns += [
            np.log(24.0 * self._plan[:, view.hour_of_week] + 1e-3),
            gone,
            spent_today,
            spent_today - gone,
            (self._spent / self.budget - view.hour / 24.0) / 10.0,
            np.log1p(conversions),
            np.where(conversions > 0.5, cpa, 0.0),
            np.log((day_visits + 0.1) / (week_visits + 0.1)),
        ]
        return np.stack(columns, axis=1)

    def _lines(self, view: View) -> Floats:
        day, week = self._day, self._week
        total = np.maximum(day["spend"].sum(axis=1, keepdims=True), 1e-9)
        units = np.where(_SEARCH, day["clicks"], day["impressions"] / 1000.0)
        price = np.where(
            (units > 0) & (day["cost"] > 0),
            np.log(np.maximum(day["cost"], 1e-9) / np.maximum(units, 1e-9) / self.reference),
            0.0,
        )
        rate_day = (day["clicks"] + 0.5) / (day["impressions"] + 50.0)
        rate_week = (week["clicks"] + 0.5) / (week["impressions"] + 50.0)
        usual = (week["conversions"].sum(axis=1, keepdims=True) + _FEW) / (
            week["spend"].sum(axis=1, keepdims=True) + _FEW * self.target
        )
        value = (week["conversions"] + _FEW) / (week["spend"] + _FEW / usual)
        told = np.isfinite(view.impression_share)
        listed = np.isfinite(view.list_size)
        bid = np.where(
            view.bid_usd > 0, np.log(np.maximum(view.bid_usd, 1e-9) / self.reference), -FEATURE_LIMIT
        )
        columns = [
            day["spend"] / total,
            bid,
            price,
            np.log(rate_day / rate_week),
            np.log(value / usual),
            np.where(told, view.impression_share, 0.0),
            told.astype(float),
            np.where(listed, np.log10(1.0 + np.where(listed, view.list_size, 0.0)) - 2.0, 0.0),
        ]
        return np.stack(columns, axis=2)
