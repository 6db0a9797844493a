"""`controller`: a network that corrects the targets of `value` once a day, line group by line group.

The base says what a line is worth on average and keeps the budget; the network sees how the campaign goes and
may move each price group (a line without its device) by half as much again. Actions of zero are the base.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import WORLDS_AN_ACTOR, observer_for
from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.words import EMAIL_LINE, N_LINES
from gaelp.observation.campaign import CAMPAIGN_FEATURES, CampaignObserver
from gaelp.observation.view import View

Floats = NDArray[np.floating]
N_GROUPS = EMAIL_LINE // 2
LARGEST = 1.5
"""An action of 1 multiplies a group's bids and targets by this, one of -1 divides them."""
EVERY_HOURS = 24
"""Hours between two decisions: targets of real accounts move once a day."""


def day_factors(action: Floats) -> NDArray[np.float64]:
    """(n_worlds, n_groups) actions, cut to -1 to 1 -> (n_worlds, n_lines) factors; e-mail keeps its price.

    >>> day_factors(np.zeros((1, N_GROUPS))).tolist() == [[1.0] * N_LINES]
    True
    """
    factors = np.ones((action.shape[0], N_LINES))
    of_group = np.exp(np.clip(action.astype(np.float64), -1.0, 1.0) * np.log(LARGEST))
    factors[:, :EMAIL_LINE] = np.repeat(of_group, 2, axis=1)
    return factors


def corrected(proposed: ProposedControls, factors: NDArray[np.float64]) -> ProposedControls:
    """Proposed controls with bids and targets multiplied by (n_worlds, n_lines) factors, in place."""
    proposed.bid_usd[:] *= factors
    proposed.target_cpa_usd[:] *= factors
    return proposed


class Corrector(Protocol):
    """Chooses a day's actions from features; remembers one flight of a group of accounts."""

    def act(self, observation: NDArray[np.float32]) -> Floats:
        """(n, n_groups) actions for (n, n_features) of `CAMPAIGN_FEATURES`, n at most `WORLDS_AN_ACTOR`."""


@dataclass
class ControllerPolicy:
    """Flies a base policy with a network's corrections.

    Attributes:
        base: what is corrected.
        new_corrector: makes one that remembers nothing; one acts for each group of worlds.
        name: for tables.
    """

    base: Policy
    new_corrector: Callable[[], Corrector]
    name: str = "controller"
    _observer: CampaignObserver | None = field(default=None, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign with correctors that remember nothing."""
        self._brief = brief
        self._observer = None
        self._correctors = [self.new_corrector() for _ in range(0, brief.n_worlds, WORLDS_AN_ACTOR)]
        self.base.start(brief)

    def act(self, view: View) -> ProposedControls:
        """What the base wants, times the factors of the day."""
        if self._observer is None:
            self._observer = observer_for(self._brief, view.hours_left)
        rows = self._observer.observe(view)
        if view.hour % EVERY_HOURS == 0:
            action = [
                corrector.act(rows[i * WORLDS_AN_ACTOR : (i + 1) * WORLDS_AN_ACTOR])
                for i, corrector in enumerate(self._correctors)
            ]
            self._factors = day_factors(np.concatenate(action))
        return corrected(self.base.act(view), self._factors)


def network_corrector(path: Path) -> Callable[[], Corrector]:
    """A maker of correctors for the network in a file that `gaelp train --agent controller` wrote.

    Raises:
        BadInput: it is no such file. MismatchError: it was trained on other features.
    """
    from gaelp.agents.networks import ActorCritic  # brings torch

    network = ActorCritic.load(path, CAMPAIGN_FEATURES)

    class _Network:
        """Always asks for a whole group, empty rows added: sums then run alike however many fly."""

        def __init__(self) -> None:
            self._state = network.first_state(WORLDS_AN_ACTOR)
            self._rows = np.zeros((WORLDS_AN_ACTOR, len(CAMPAIGN_FEATURES)), np.float32)

        def act(self, observation: NDArray[np.float32]) -> Floats:
            self._rows[: len(observation)] = observation
            action, _, _, self._state = network.act(self._rows, self._state)
            return action[: len(observation)]

    return _Network
