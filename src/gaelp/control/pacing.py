"""Budget pacing in array form: one multiplier per world, moved so that spend follows a plan.

The best bid under a budget is value times a multiplier, one dual variable for the budget and one for a
cost limit. The budget's multiplier moves by how far the last hour's spend was from what the plan wanted
for it; the plan spreads what is left of the day over its remaining hours by expected traffic. The cost
limit has a multiplier of its own, moved once a day, and the smaller of both applies.

Source: Balseiro, Gur, "Learning in repeated auctions with budgets", Management Science 2019 (adaptive
pacing); Balseiro et al., "A field guide for pacing budget and ROS constraints", arXiv 2302.08530 (the
smaller of two multipliers). The log-domain step is ours; its size is tuned on training worlds.

Below the pacer: the plan of a whole flight under daily and monthly budgets, how far spend was from it, a
guard that closes an hour too far ahead of it, and the moving of budget between channels. They are functions
of arrays over worlds and keep no state.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PacingSettings:
    """Step sizes and bounds of a pacer.

    Attributes:
        step: move of the log multiplier when an hour spends nothing of its plan.
        start: multiplier of the first hour.
        lowest, highest: bounds of the multiplier.
        cpa_step: daily move of the log cost multiplier per unit of relative overshoot.
    """

    step: float = 0.15
    start: float = 1.0
    lowest: float = 0.02
    highest: float = 20.0
    cpa_step: float = 0.2


class DualPacer:
    """Keeps the multipliers of a batch of worlds.

    Args:
        settings: step sizes and bounds.
        traffic: (n_worlds, 168) expected traffic by hour of week, any scale.
        daily_budget_usd: (n_worlds,).
        cpa_limit_usd: attributed cost per conversion not to pass; infinite for none.
    """

    def __init__(
        self, settings: PacingSettings, traffic: Floats, daily_budget_usd: Floats, cpa_limit_usd: float
    ) -> None:
        self.settings = settings
        self.traffic = traffic
        self.budget = daily_budget_usd
        self.cpa_limit = cpa_limit_usd
        self.multiplier = np.full(daily_budget_usd.shape, settings.start)
        self.cpa_multiplier = np.full(daily_budget_usd.shape, settings.highest)
        self._planned = np.zeros(daily_budget_usd.shape)
        self._spent_today = np.zeros(daily_budget_usd.shape)
        self._cost = np.zeros(daily_budget_usd.shape)
        self._conversions = np.zeros(daily_budget_usd.shape)

    def step(self, hour_of_week: int, spent_last_hour_usd: Floats, conversions_last_hour: Floats) -> Floats:
        """Learn from the last hour and return the multiplier of the coming one.

        Args:
            hour_of_week: the coming hour, Monday 0:00 is 0.
            spent_last_hour_usd, conversions_last_hour: (n_worlds,) what the account reported.

        Returns:
            (n_worlds,) multiplier on every bid.
        """
        settings = self.settings
        hour = hour_of_week % 24
        planned = self._planned
        error = np.where(planned > 1e-9, 1.0 - spent_last_hour_usd / np.maximum(planned, 1e-9), 0.0).clip(
            -1.0, 1.0
        )
        self.multiplier = np.clip(
            self.multiplier * np.exp(settings.step * error), settings.lowest, settings.highest
        )
        self._spent_today += spent_last_hour_usd
        self._cost = 0.998 * self._cost + spent_last_hour_usd
        self._conversions = 0.998 * self._conversions + conversions_last_hour
        if hour == 0:
            self._spent_today[:] = 0.0
            self._limit_cost()
        day = self.traffic[:, hour_of_week - hour : hour_of_week - hour + 24]
        left = np.maximum(self.budget - self._spent_today, 0.0)
        self._planned = left * day[:, hour] / np.maximum(day[:, hour:].sum(axis=1), 1e-12)
        limited: Floats = np.minimum(self.multiplier, self.cpa_multiplier)
        return limited

    def _limit_cost(self) -> None:
        if not np.isfinite(self.cpa_limit):
            return
        known = self._conversions >= 5.0
        over = np.where(known, self._cost / np.maximum(self._conversions, 1e-9) / self.cpa_limit - 1.0, -1.0)
        move = np.exp(-self.settings.cpa_step * np.clip(over, -1.0, 1.0))
        start = np.where(over > 0.0, np.minimum(self.multiplier, self.cpa_multiplier), self.cpa_multiplier)
        self.cpa_multiplier = np.clip(start * move, self.settings.lowest, self.settings.highest)


@dataclass(frozen=True)
class Plan:
    """What a flight means to spend, hour by hour.

    Attributes:
        hourly_usd: (n_worlds, days, 24).
    """

    hourly_usd: Floats

    @property
    def daily_usd(self) -> Floats:
        """(n_worlds, days) planned for each day."""
        total: Floats = self.hourly_usd.sum(axis=2)
        return total

    def until(self, day: int, hour: int) -> Floats:
        """(n_worlds,) planned for `day` up to the beginning of its `hour`; hour 24 is the whole day."""
        total: Floats = self.hourly_usd[:, day, :hour].sum(axis=1)
        return total


def spend_plan(
    traffic: Floats,
    daily_budget_usd: Floats,
    *,
    days: int,
    start_hour_of_week: int = 0,
    monthly_budget_usd: Floats | None = None,
    month_of_day: NDArray[np.int64] | None = None,
) -> Plan:
    """Spread budgets over the hours of a flight in proportion to forecast traffic.

    No day gets more than its daily budget. Under a monthly budget the days of a month share it in proportion
    to their traffic, and what a full day cannot take goes to the others.

    Args:
        traffic: (n_worlds, 168) expected traffic by hour of week, any scale, at least 0.
        daily_budget_usd: (n_worlds,) or (n_worlds, days).
        days: length of the flight, from the first hour of a day.
        start_hour_of_week: of its first hour, Monday 0:00 is 0.
        monthly_budget_usd: (n_worlds,) for the flight's days in each calendar month; None for no limit.
        month_of_day: (days,) which month each day belongs to; None for one month.

    >>> plan = spend_plan(np.ones((1, 168)), np.array([24.0]), days=2, monthly_budget_usd=np.array([36.0]))
    >>> plan.daily_usd.tolist(), plan.hourly_usd[0, 0, 0].item()
    ([[18.0, 18.0]], 0.75)
    """
    n_worlds = traffic.shape[0]
    hours = (start_hour_of_week + np.arange(24 * days)) % 168
    expected = traffic[:, hours].reshape(n_worlds, days, 24)
    of_day = expected.sum(axis=2)
    even = np.full_like(expected, 1.0 / 24.0)
    shape = np.where(of_day[..., None] > 0.0, expected / np.maximum(of_day, 1e-300)[..., None], even)
    budget = daily_budget_usd if daily_budget_usd.ndim == 2 else daily_budget_usd[:, None]
    daily = np.broadcast_to(budget, (n_worlds, days)).copy()
    if monthly_budget_usd is not None:
        months = np.zeros(days, np.int64) if month_of_day is None else month_of_day
        for month in np.unique(months).tolist():
            its = months == month
            daily[:, its] = share_out(monthly_budget_usd, of_day[:, its], daily[:, its])
    return Plan(daily[..., None] * shape)


def share_out(total: Floats, weight: Floats, most: Floats) -> Floats:
    """Share a total in proportion to weights where no share may pass its own limit.

    Each share is the smaller of its limit and a common level times its weight; the level is the one that
    shares out everything, or as much as the limits take (water-filling).

    Args:
        total: (n_worlds,) at least 0. weight: (n_worlds, n) at least 0; shares without weight come last and
            get nothing unless all weights are 0. most: (n_worlds, n) limits, at least 0.

    Returns:
        (n_worlds, n) shares.

    >>> share_out(np.array([10.0]), np.array([[1.0, 1.0, 2.0]]), np.array([[1.0, 9.0, 9.0]])).tolist()
    [[1.0, 3.0, 6.0]]
    """
    weight = np.where(weight.sum(axis=1, keepdims=True) > 0.0, weight, 1.0)
    level_at = np.where(weight > 0.0, most / np.where(weight > 0.0, weight, 1.0), np.inf)
    order = np.argsort(level_at, axis=1)
    w = np.take_along_axis(weight, order, axis=1)
    m = np.take_along_axis(most, order, axis=1)
    # of the sorted shares, those before k are full; the rest share what is left by weight
    full = np.cumsum(m, axis=1) - m
    rest = np.cumsum(w[:, ::-1], axis=1)[:, ::-1]
    left = np.maximum(total[:, None] - full, 0.0)
    level = np.where(rest > 0.0, left / np.where(rest > 0.0, rest, 1.0), np.inf)
    # true from the first share that is not filled on
    fits = np.less_equal(level, np.take_along_axis(level_at, order, axis=1))
    first = np.argmax(fits, axis=1)
    chosen = np.take_along_axis(level, first[:, None], axis=1)
    enough = np.isfinite(chosen) & np.any(
        fits, axis=1, keepdims=True
    )  # the total runs out before the limits do
    filled = np.where(enough, np.where(enough, chosen, 0.0) * weight, most)
    share: Floats = np.where(weight > 0.0, np.minimum(filled, most), 0.0)
    return share


def plan_deviation(spend_usd: Floats, plan: Plan) -> Floats:
    """How far spend was from its plan: mean over days of sum_h |spend_h - plan_h| / (2 x plan_day).

    0 is on plan, 1/2 is nothing spent, and 1 is a day's budget spent in hours with no plan. With equal totals
    it is the total variation distance of the two shapes of a day, the part of the budget spent at the wrong
    time. A day without a plan counts 0, or 1 if something was spent on it.

    `plan_rmse` is the measure of the literature; it leans towards large hours and has no such reading.

    Args:
        spend_usd: (n_worlds, days, 24).

    Returns:
        (n_worlds,) at least 0.

    Source: ours; total variation in Levin, Peres, Markov Chains and Mixing Times (2nd ed., 2017), 4.1.
    """
    off = np.abs(spend_usd - plan.hourly_usd).sum(axis=2)
    planned = plan.daily_usd
    with_plan = off / (2.0 * np.where(planned > 0.0, planned, 1.0))
    deviation: Floats = np.where(planned > 0.0, with_plan, off > 0.0).mean(axis=1)
    return deviation


def plan_rmse(spend_usd: Floats, plan: Plan) -> Floats:
    """Root mean square of hourly spend minus plan, over the mean planned hour.

    Args:
        spend_usd: (n_worlds, days, 24).

    Returns:
        (n_worlds,) at least 0; NaN where nothing was planned.

    Source: Xu et al., "Smart pacing for effective online ad campaign optimization", KDD 2015 (arXiv
    1506.05851), section 2: the penalty of a spending pattern is the root mean square of its distance to the
    plan over time slots. Dividing by the mean planned hour is ours, to compare accounts of any size.
    """
    rms = np.sqrt(((spend_usd - plan.hourly_usd) ** 2).mean(axis=(1, 2)))
    mean = plan.hourly_usd.mean(axis=(1, 2))
    relative: Floats = np.where(mean > 0.0, rms / np.where(mean > 0.0, mean, 1.0), np.nan)
    return relative


def band_guard(spent_today_usd: Floats, plan: Plan, day: int, hour: int, *, band: float) -> Floats:
    """A multiplier on bids that closes an hour whose spend has passed a band around the plan.

    It is 1 while the day has spent no more than is planned until the end of the coming hour, falls in a
    straight line, and is 0 once the day is `band` of its plan ahead of that. An hour let in can still spend
    past the band; the gate's caps are what cannot be passed.

    Args:
        spent_today_usd: (n_worlds,) so far; NaN closes the hour.
        plan: of the flight. day, hour: the coming hour.
        band: width above the plan, as a part of the day's plan; 0 closes at the plan itself.

    Returns:
        (n_worlds,) from 0 to 1.
    """
    ahead = spent_today_usd - plan.until(day, hour + 1)
    width = band * plan.daily_usd[:, day]
    over = np.clip(ahead, 0.0, width) / np.where(width > 0.0, width, 1.0)
    inside = np.where(width > 0.0, 1.0 - over, 1.0 * (ahead < 0.0))
    multiplier: Floats = np.where(np.isnan(inside), 0.0, inside)
    return multiplier


def marginal_value_per_usd(
    spend_usd: Floats, value_usd: Floats, *, elasticity: float = 0.7, weight: float = 1.0
) -> Floats:
    """What the next dollar of each channel returns, from days of attributed value.

    A channel's value is taken as a power of its spend, so that the next dollar returns the elasticity times
    the average dollar. The elasticity is the slope of log value over log spend across days, from 0 to 1,
    drawn towards `elasticity` where spend hardly varied.

    Args:
        spend_usd, value_usd: (n_worlds, days, n_channels), at least 0; days without both are left out.
        elasticity: expected before any data. weight: how much log-spend variation outweighs it, in squared
            log units summed over days.

    Returns:
        (n_worlds, n_channels) value per USD; 0 where nothing was ever spent.

    Source: the diminishing power response of Little, "Aggregate advertising models: the state of the art",
    Operations Research 1979; the default elasticity and its weight are assumed. Attributed value is not
    incremental value: pass incremental estimates where there are any.
    """
    both = (spend_usd > 0.0) & (value_usd > 0.0)
    x = np.log(np.where(both, spend_usd, 1.0))
    y = np.log(np.where(both, value_usd, 1.0))
    n = np.maximum(both.sum(axis=1, keepdims=True), 1)
    dx = np.where(both, x - x.sum(axis=1, keepdims=True) / n, 0.0)
    dy = np.where(both, y - y.sum(axis=1, keepdims=True) / n, 0.0)
    slope = ((dx * dy).sum(axis=1) + weight * elasticity) / ((dx * dx).sum(axis=1) + weight)
    spent = spend_usd.sum(axis=1)
    average = np.where(spent > 0.0, value_usd.sum(axis=1) / np.where(spent > 0.0, spent, 1.0), 0.0)
    marginal: Floats = slope.clip(0.0, 1.0) * average
    return marginal


def reallocate(
    share: Floats,
    marginal_value: Floats,
    *,
    rate: float = 0.5,
    most_move: float = 0.05,
    least_share: float = 0.0,
) -> Floats:
    """Move budget shares a day's step towards the channels whose next dollar returns more.

    Args:
        share: (n_worlds, n_channels) of today, at least `least_share`, summing to 1.
        marginal_value: (n_worlds, n_channels) value per USD; NaN, infinite or negative counts as 0.
        rate: of the exponentiated gradient, on values relative to the best channel's.
        most_move: most that one share may change in a day.
        least_share: no share goes below it, so that a channel can still be measured.

    Returns:
        (n_worlds, n_channels) shares of tomorrow, summing to 1.

    Raises:
        BadInput: the shares do not sum to 1, or one is below the least share.

    Source: Kivinen, Warmuth, "Exponentiated gradient versus gradient descent for linear predictors",
    Information and Computation 1997; equal marginal returns are optimal by Dorfman, Steiner, AER 1954.

    >>> reallocate(np.array([[0.5, 0.5]]), np.array([[3.0, 1.0]]), most_move=0.02).round(3).tolist()
    [[0.52, 0.48]]
    """
    n = share.shape[1]
    if not (np.abs(share.sum(axis=1) - 1.0) < 1e-6).all():
        raise BadInput("share", share.sum(axis=1), "must sum to 1 in each world", "Divide by the sum.")
    if not ((share > least_share - 1e-9).all() and 0.0 <= least_share * n < 1.0):
        raise BadInput(
            "share", float(share.min()), f"must be at least {least_share}", "Raise it or lower the floor."
        )
    value = np.where(np.isfinite(marginal_value), np.maximum(marginal_value, 0.0), 0.0)
    best = value.max(axis=1, keepdims=True)
    relative = value / np.where(best > 0.0, best, 1.0)
    free = np.maximum(share - least_share, 0.0) + 1e-3 / n  # a channel at the floor can come back
    wanted = free * np.exp(rate * np.where(best > 0.0, relative, 0.0))
    spare = 1.0 - least_share * n
    target = least_share + spare * wanted / wanted.sum(axis=1, keepdims=True)
    target = np.where(best > 0.0, target, share)
    move = target - share
    largest = np.abs(move).max(axis=1, keepdims=True)
    # the whole move is scaled, so that what one channel gains the others lose
    moved = share + move * np.minimum(1.0, most_move / np.maximum(largest, 1e-300))
    tomorrow: Floats = moved / moved.sum(axis=1, keepdims=True)
    return tomorrow
