"""`value`: a target cost per conversion for each line, all scaled by one level that keeps the plan.

The platform's own bidder sees more of a person than an account does, so a target for it buys better people
than a bid by hand. What one target cannot say is which channels cause sales and which only collect them: that
is what the factors by line are for, learnt on training worlds, and so is each line's landing page. The level
is a dual pacer's, hour by hour, or as often as a control profile lets it through. It aims at a part of the
budget: the last dollars of a day are the dearest. An account without the platform's bidder is bid for by
hand, at a part of what each line's impressions and clicks are worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import begun
from gaelp.agents.policy import Brief
from gaelp.control.controls import ProposedControls, propose
from gaelp.control.pacing import DualPacer, PacingSettings
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES
from gaelp.observation.view import View

Floats = NDArray[np.float64]

HIGHEST_TARGET = 50.0
"""Largest target of a line, in CAC targets; the gate's own cap lies above it."""
BIDS_START = 0.5
"""Dollars bid by hand per dollar of worth at level 1."""


@dataclass
class ValuePolicy:
    """Targets by line under one paced level.

    Attributes:
        target_usd: attributed cost per conversion asked for of a line whose factor is 1, at level 1.
        settings: of the pacer that moves the level; its cost limit is not used.
        line_multiplier: factor on the target per line name, 1 where not named.
        landing: landing page per line name, the home page where not named.
        worth_usd: of a click or of 1000 impressions per line name, for bids by hand; 0 where not named.
        spend_share: part of the daily budget that the level aims to spend.
        factor: (n_worlds, n_lines) factors per world instead, for a search that tries many at once.
    """

    target_usd: float
    settings: PacingSettings
    line_multiplier: Mapping[str, float] = field(default_factory=dict)
    landing: Mapping[str, int] = field(default_factory=dict)
    worth_usd: Mapping[str, float] = field(default_factory=dict)
    spend_share: float = 1.0
    name: str = "value"
    factor: Floats | None = None
    _brief: Brief | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign at the first level."""
        factor = self.factor
        if factor is None:
            factor = np.array([[self.line_multiplier.get(line.name, 1.0) for line in LINES]])
        self._target = self.target_usd * factor
        self._worth = BIDS_START * np.array([self.worth_usd.get(line.name, 0.0) for line in LINES])
        self._landing = np.array([self.landing.get(line.name, 0) for line in LINES])
        aim = self.spend_share * brief.daily_budget_usd
        self._pacer = DualPacer(self.settings, brief.traffic, aim, np.inf)
        self._aim, self._spent, self._level = aim, np.zeros(brief.n_worlds), np.ones(brief.n_worlds)
        self._brief = brief

    def act(self, view: View) -> ProposedControls:
        """Scale every line's target; e-mail, which no platform bids for, keeps its fixed price."""
        brief = begun(self._brief)
        level = self._moved(view, brief)
        bid = np.zeros((brief.n_worlds, N_LINES))
        if not brief.targets:
            bid[:] = level[:, None] * self._worth
        bid[:, EMAIL_LINE] = brief.reference_price_usd[EMAIL_LINE]
        proposed = propose(bid, brief.daily_budget_usd)
        if brief.targets:
            proposed.target_cpa_usd[:] = np.minimum(
                level[:, None] * self._target, HIGHEST_TARGET * brief.cac_target_usd
            )
            proposed.target_cpa_usd[:, EMAIL_LINE] = 0.0
        proposed.landing[:] = self._landing
        return proposed

    def _moved(self, view: View, brief: Brief) -> Floats:
        """(n_worlds,) the level of the coming hour: paced, or moved as seldom and little as targets may."""
        spend = view.spend_usd.sum(axis=1)
        if not brief.targets or brief.target_hours <= 1:
            return self._pacer.step(view.hour_of_week, spend, np.zeros(brief.n_worlds))
        self._spent += spend
        if view.hour > 0 and view.hour % brief.target_hours == 0:
            aim = self._aim * brief.target_hours / 24.0
            most = 1.0 + 0.99 * brief.target_step  # the gate counts in whole micros
            least = 1.0 - 0.99 * min(brief.target_step, 0.9)
            step = (aim + 1e-9) / np.maximum(self._spent, 1e-9)
            # money that ran out before the day did says only that less would have been enough
            ran_out = self._spent >= 0.995 * brief.daily_budget_usd * brief.target_hours / 24.0
            step = np.where(ran_out, least**0.5, np.clip(step, least, most))
            self._level = self._level * step
            self._spent = np.zeros(brief.n_worlds)
        return self._level
