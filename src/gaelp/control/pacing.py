"""Budget pacing in array form: one multiplier per world, moved so that spend follows a plan.

The best bid under a budget is value times a multiplier, one dual variable for the budget and one for a
cost limit. The budget's multiplier moves by how far the last hour's spend was from what the plan wanted
for it; the plan spreads what is left of the day over its remaining hours by expected traffic. The cost
limit has a multiplier of its own, moved once a day, and the smaller of both applies.

Source: Balseiro, Gur, "Learning in repeated auctions with budgets", Management Science 2019 (adaptive
pacing); Balseiro et al., "A field guide for pacing budget and ROS constraints", arXiv 2302.08530 (the
smaller of two multipliers). The log-domain step is ours; its size is tuned on training worlds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
