"""`controller`: a network that corrects the targets of `value` once a day, line group by line group.

The base says what a line is worth on average and keeps the budget; the network sees how the campaign goes and
may move each price group (a line without its device) by half as much again. Actions of zero are the base.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import WORLDS_AN_ACTOR, ActionPolicy, Actor, padded
from gaelp.agents.policy import Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.words import EMAIL_LINE, N_LINES
from gaelp.observation.campaign import CAMPAIGN_FEATURES

if TYPE_CHECKING:  # it brings torch
    from gaelp.agents.networks import ActorCritic

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


def corrected(proposed: ProposedControls, action: Floats) -> ProposedControls:
    """Proposed controls with bids and targets multiplied by `day_factors` of actions, in place."""
    factors = day_factors(action)
    proposed.bid_usd[:] *= factors
    proposed.target_cpa_usd[:] *= factors
    return proposed


def controller(base: Policy, new_actor: Callable[[], Actor]) -> ActionPolicy:
    """The policy: a base, and what makes the actors that correct it."""
    return ActionPolicy(base, new_actor, "controller", corrected, EVERY_HOURS)


def network_actor(path: Path, belongs_to: str) -> Callable[[], Actor]:
    """A maker of actors for the network in a file that `gaelp train --agent controller` wrote.

    Args:
        path: of the file. belongs_to: digest of the checkpoint that it was trained with.

    Raises:
        BadInput: it is no such file.
        MismatchError: it was trained on other features, or with another checkpoint.
    """
    from gaelp.agents.networks import ActorCritic, require_belonging  # brings torch

    require_belonging(path, belongs_to)
    return actors_of(ActorCritic.load(path, CAMPAIGN_FEATURES))


def actors_of(network: "ActorCritic") -> Callable[[], Actor]:
    """A maker of actors that take a network's likeliest action."""

    class NetworkActor:
        """Takes the likeliest action; what it remembers is its own."""

        def __init__(self) -> None:
            self._state = network.first_state(WORLDS_AN_ACTOR)

        def act(self, observation: NDArray[np.float32]) -> Floats:
            action, _, _, self._state = network.act(padded(observation), self._state)
            return action[: len(observation)]

    return NetworkActor
