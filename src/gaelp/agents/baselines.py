"""The policies to beat: random, fixed, dual pacing, and pacing with a multiplier per line."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief
from gaelp.control.controls import ProposedControls, propose
from gaelp.control.pacing import DualPacer, PacingSettings
from gaelp.core.errors import BadInput
from gaelp.core.random import named_seed
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES
from gaelp.observation.view import View

Floats = NDArray[np.float64]


@dataclass
class RandomPolicy:
    """Bids log-uniformly between a quarter and four times the market's median price, per line and hour."""

    name: str = "random"
    _brief: Brief | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign."""
        self._brief = brief

    def act(self, view: View) -> ProposedControls:
        """Draw every line's bid anew; the draws of a world do not depend on its neighbours."""
        brief = begun(self._brief)
        keys = [(named_seed("random", brief.seed, int(seed)), view.hour) for seed in brief.world_seeds]
        draws = np.array([np.random.default_rng(key).random(N_LINES) for key in keys])
        factor = np.exp((2.0 * draws - 1.0) * math.log(4.0))
        return propose(factor * brief.reference_price_usd, brief.daily_budget_usd)


@dataclass
class FixedPolicy:
    """One bid for ever: the same multiple of the market's median price on every line."""

    multiplier: float = 1.0
    name: str = "fixed"
    _brief: Brief | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign."""
        self._brief = brief

    def act(self, view: View) -> ProposedControls:
        """Bid the same as ever until the budget is gone."""
        brief = begun(self._brief)
        bid = np.broadcast_to(self.multiplier * brief.reference_price_usd, (brief.n_worlds, N_LINES)).copy()
        return propose(bid, brief.daily_budget_usd)


@dataclass
class PacingPolicy:
    """Dual pacing: reference price, leaning to attributed value, times a budget and a cost multiplier.

    Attributes:
        value_weight: how far bids lean from the market's price (0) to attributed value (1), per line.
        settings: step sizes of the pacer.
        line_multiplier: factor per line name, 1 where not named; `static_lines` learns them.
        factor: (n_worlds, n_lines) factors per world instead, for a search that tries many at once.
    """

    value_weight: float = 0.0
    settings: PacingSettings = field(default_factory=PacingSettings)
    line_multiplier: Mapping[str, float] = field(default_factory=dict)
    name: str = "pacing"
    factor: Floats | None = None
    _brief: Brief | None = field(default=None, repr=False)
    _pacer: DualPacer | None = field(default=None, repr=False)
    _base: Floats | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign with fresh multipliers."""
        factor = self.factor
        if factor is None:
            factor = np.array([[self.line_multiplier.get(line.name, 1.0) for line in LINES]])
        self._base = leaning_bids(brief, self.value_weight) * factor
        self._pacer = DualPacer(self.settings, brief.traffic, brief.daily_budget_usd, brief.cac_target_usd)
        self._brief = brief

    def act(self, view: View) -> ProposedControls:
        """Pace every line but e-mail, whose price is fixed: it is on or off."""
        brief = begun(self._brief)
        assert self._pacer is not None and self._base is not None
        multiplier = self._pacer.step(
            view.hour_of_week, view.spend_usd.sum(axis=1), np.nansum(view.conversions, axis=1)
        )
        bid = multiplier[:, None] * self._base
        bid[:, EMAIL_LINE] = self._base[:, EMAIL_LINE]
        return propose(bid, brief.daily_budget_usd)


def leaning_bids(brief: Brief, value_weight: float) -> Floats:
    """(1, n_lines) the market's price of each line, leaning to attributed value by `value_weight`."""
    lean = np.exp(value_weight * np.log(np.maximum(brief.attributed_value_usd, 1e-3)))
    lean = np.clip(lean, 0.05, 20.0)
    lean[EMAIL_LINE] = 1.0
    bids: Floats = (brief.reference_price_usd * lean)[None, :]
    return bids


def begun(brief: Brief | None) -> Brief:
    """The brief, once there is one."""
    if brief is None:
        raise BadInput("policy", "not started", "must see a brief first", "Call start(brief) before act.")
    return brief
