"""Actions on top of dual pacing: what a player of `gaelp/Campaign-v0` decides, and how it is flown."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import PacingPolicy, begun
from gaelp.agents.policy import Brief
from gaelp.control.controls import ProposedControls
from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, N_LINES
from gaelp.observation.campaign import CampaignObserver
from gaelp.observation.view import View

LARGEST_STEP = 4.0
"""An action of 1 multiplies a line's paced bid by this, one of -1 divides it."""


WORLDS_AN_ACTOR = 16
"""Worlds that one actor acts for; `judge.WORLDS_A_TASK` is a multiple of it, so a world keeps its place."""


class Actor(Protocol):
    """Chooses actions from features; what it remembers belongs to one flight of a group of accounts.

    An account's actions must not depend on the others' features, nor on how many they are.
    """

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.floating]:
        """(n, n_lines) actions for (n, n_features) of `CAMPAIGN_FEATURES`, n at most `WORLDS_AN_ACTOR`.

        Called once an hour with the same accounts in the same places.
        """


@dataclass
class ActionPolicy:
    """Flies an account as a player of `gaelp/Campaign-v0` does: tuned dual pacing, scaled line by line.

    Attributes:
        pacing: what the actions scale.
        new_actor: makes an actor that remembers nothing; one acts for each group of worlds.
        name: for tables.
    """

    pacing: PacingPolicy
    new_actor: Callable[[], Actor]
    name: str = "actions"
    _actors: list[Actor] = field(default_factory=list, repr=False)
    _brief: Brief | None = field(default=None, repr=False)
    _observer: CampaignObserver | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign with actors that remember nothing."""
        self._brief = brief
        self._observer = None
        self._actors = [self.new_actor() for _ in range(0, brief.n_worlds, WORLDS_AN_ACTOR)]
        self.pacing.start(brief)

    def act(self, view: View) -> ProposedControls:
        """Scale what dual pacing proposes by what the actors choose."""
        brief = begun(self._brief)
        if self._observer is None:
            self._observer = observer_for(brief, view.hours_left)
        rows = self._observer.observe(view)
        actions = [
            actor.act(rows[i * WORLDS_AN_ACTOR : (i + 1) * WORLDS_AN_ACTOR])
            for i, actor in enumerate(self._actors)
        ]
        return scaled(self.pacing.act(view), np.concatenate(actions))


def observer_for(brief: Brief, hours: int) -> CampaignObserver:
    """An observer of the campaign that the brief announces, `hours` long."""
    return CampaignObserver(
        n_worlds=brief.n_worlds,
        daily_budget_usd=brief.daily_budget_usd,
        reference_price_usd=brief.reference_price_usd,
        traffic=brief.traffic,
        cac_target_usd=brief.cac_target_usd,
        hours=hours,
    )


def scaled(proposed: ProposedControls, action: NDArray[np.floating]) -> ProposedControls:
    """Proposed controls with their bids scaled by actions, in place.

    Args:
        action: (n_worlds, n_lines), clipped to -1 to 1: the factor from 1/4 to 4 on a log scale. What is no
            number is the gate's to refuse. E-mail has a fixed price: below 0 it is off.

    Raises:
        BadInput: the action has another shape.
    """
    wanted = np.asarray(action, float)
    n_worlds = proposed.bid_usd.shape[0]
    if wanted.shape != (n_worlds, N_LINES):
        allowed = f"must be {(n_worlds, N_LINES)}, worlds by lines"
        raise BadInput("action.shape", wanted.shape, allowed, "Give one number per line.")
    wanted = np.where(np.isfinite(wanted), np.clip(wanted, -1.0, 1.0), np.nan)
    factor = np.exp(wanted * np.log(LARGEST_STEP))
    factor[:, EMAIL_LINE] = np.heaviside(wanted[:, EMAIL_LINE], 1.0)
    proposed.bid_usd[:] = proposed.bid_usd * factor
    return proposed
