"""Actions on top of another policy: what a player of `gaelp/Campaign-v0` decides, and how it is flown."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import begun
from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, N_LINES
from gaelp.observation.campaign import CampaignObserver
from gaelp.observation.view import View

LARGEST_STEP = 4.0
"""An action of 1 multiplies a line's paced bid by this, one of -1 divides it."""


WORLDS_AN_ACTOR = 16
"""Worlds that one actor acts for; `judge.WORLDS_A_TASK` is a multiple of it, so a world keeps its place."""


Apply = Callable[[ProposedControls, NDArray[np.floating]], ProposedControls]


class Actor(Protocol):
    """Chooses actions from features; what it remembers belongs to one flight of a group of accounts.

    An account's actions must not depend on the others' features, nor on how many they are.
    """

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.floating]:
        """(n, n_actions) for (n, n_features) of `CAMPAIGN_FEATURES`, n at most `WORLDS_AN_ACTOR`.

        Called at every decision with the same accounts in the same places.
        """


def padded(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of a whole group, empty ones added: a network's sums then run alike however many fly."""
    rows = np.zeros((WORLDS_AN_ACTOR, observation.shape[1]), np.float32)
    rows[: len(observation)] = observation
    return rows


@dataclass
class ActionPolicy:
    """Flies an account as an actor that was trained on top of a base policy does.

    Attributes:
        base: what the actions change.
        new_actor: makes an actor that remembers nothing; one acts for each group of worlds.
        name: for tables.
        apply: (proposed controls, (n_worlds, n_actions)) -> controls; changes them in place.
        every_hours: between two decisions; the last one holds in between.
    """

    base: Policy
    new_actor: Callable[[], Actor]
    name: str = "actions"
    apply: Apply = field(default_factory=lambda: scaled)
    every_hours: int = 1
    _actors: list[Actor] = field(default_factory=list, repr=False)
    _brief: Brief | None = field(default=None, repr=False)
    _observer: CampaignObserver | None = field(default=None, repr=False)
    _actions: NDArray[np.floating] | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign with actors that remember nothing."""
        self._brief = brief
        self._observer, self._actions = None, None
        self._actors = [self.new_actor() for _ in range(0, brief.n_worlds, WORLDS_AN_ACTOR)]
        self.base.start(brief)

    def act(self, view: View) -> ProposedControls:
        """Change what the base proposes by what the actors choose."""
        brief = begun(self._brief)
        if self._observer is None:
            self._observer = observer_for(brief, view.hours_left)
        rows = self._observer.observe(view)
        if self._actions is None or view.hour % self.every_hours == 0:
            cut = range(0, len(rows), WORLDS_AN_ACTOR)
            groups = zip(cut, self._actors, strict=True)
            self._actions = np.concatenate([actor.act(rows[i : i + WORLDS_AN_ACTOR]) for i, actor in groups])
        return self.apply(self.base.act(view), self._actions)


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
