"""Baselines that steer by feedback: a PID controller, and the platform's own bidder under a target CPA."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import begun, leaning_bids
from gaelp.agents.policy import Brief
from gaelp.control.controls import ProposedControls, propose
from gaelp.core.words import EMAIL_LINE, N_LINES
from gaelp.observation.view import View

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PidSettings:
    """Gains on the log multiplier, per unit of the daily budget that spend is behind its plan.

    Attributes:
        kp, ki, kd: proportional, integral (an hour) and differential gain.
        start: multiplier before any feedback. lowest, highest: its bounds, and the integral's (anti-windup).
    """

    kp: float = 2.0
    ki: float = 0.2
    kd: float = 0.0
    start: float = 1.0
    lowest: float = 0.02
    highest: float = 20.0


@dataclass
class PidPolicy:
    """Reference price, leaning to attributed value, times a multiplier that a PID controller moves.

    The error is what the day's plan, shaped by expected traffic, is ahead of spend, as a share of the daily
    budget; the integral lives on from day to day.

    Source: PID control of bids is Zhang et al. 2016 (arXiv:1603.01055); here the error is spend, not price.
    """

    settings: PidSettings = field(default_factory=PidSettings)
    value_weight: float = 0.0
    name: str = "pid"
    _brief: Brief | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign with nothing learnt."""
        self._brief = brief
        self._base = leaning_bids(brief, self.value_weight)
        self._integral = np.full(brief.n_worlds, math.log(self.settings.start))
        self._error = np.zeros(brief.n_worlds)

    def act(self, view: View) -> ProposedControls:
        """Move the multiplier of every line but e-mail, which is on or off."""
        brief = begun(self._brief)
        settings = self.settings
        hour = view.hour_of_week % 24
        day = brief.traffic[:, view.hour_of_week - hour : view.hour_of_week - hour + 24]
        planned = day[:, :hour].sum(axis=1) / np.maximum(day.sum(axis=1), 1e-12)
        error = planned - view.spend_today_usd / np.maximum(brief.daily_budget_usd, 1e-9)
        bounds = (math.log(settings.lowest), math.log(settings.highest))
        self._integral = np.clip(self._integral + settings.ki * error, *bounds)
        change = np.zeros_like(error) if hour == 0 else error - self._error
        self._error = error
        multiplier = np.exp(np.clip(self._integral + settings.kp * error + settings.kd * change, *bounds))
        bid = multiplier[:, None] * self._base
        bid[:, EMAIL_LINE] = self._base[:, EMAIL_LINE]
        return propose(bid, brief.daily_budget_usd)


HIGHEST_TARGET = 10.0
"""Largest target of `target_cpa`, in CAC targets: a budget out of reach drives it no further."""


@dataclass
class TargetCpaPolicy:
    """Leaves bidding to the platform under one target for all lines, moved once a day to spend the budget.

    Attributes:
        target_usd: attributed cost per conversion asked for on the first day.
        gain: power of budget over spend by which the target moves at midnight.
        most_move: largest step of a day, as a ratio; 1.2 is what accounts are advised not to pass.
    """

    target_usd: float = 20.0
    gain: float = 0.5
    most_move: float = 1.2
    name: str = "target_cpa"
    _brief: Brief | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign at the first target."""
        self._brief = brief
        self._target = np.full(brief.n_worlds, self.target_usd)
        self._spent = np.zeros(brief.n_worlds)

    def act(self, view: View) -> ProposedControls:
        """Set the same target on every line; e-mail keeps its fixed price."""
        brief = begun(self._brief)
        self._spent += view.spend_usd.sum(axis=1)
        if view.hour_of_week % 24 == 0 and view.hour > 0:
            missing = (brief.daily_budget_usd + 1e-9) / np.maximum(self._spent, 1e-9)
            step = np.clip(missing**self.gain, 1.0 / self.most_move, self.most_move)
            # a budget that was spent to the last cent may have been spent too early: ask for less
            step = np.where(self._spent >= 0.995 * brief.daily_budget_usd, 1.0 / self.most_move**0.5, step)
            most = HIGHEST_TARGET * brief.cac_target_usd
            self._target = np.clip(self._target * step, 0.01 * brief.cac_target_usd, most)
            self._spent[:] = 0.0
        bid = np.zeros((brief.n_worlds, N_LINES))
        bid[:, EMAIL_LINE] = brief.reference_price_usd[EMAIL_LINE]
        proposed = propose(bid, brief.daily_budget_usd)
        proposed.target_cpa_usd[:] = self._target[:, None]
        proposed.target_cpa_usd[:, EMAIL_LINE] = 0.0
        return proposed
