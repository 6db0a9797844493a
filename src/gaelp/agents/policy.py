"""What a policy is: it sees a brief once and a view every hour, and proposes controls.

Brief and view (`observation.View`) hold only what an account shows; a policy cannot import the market.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.control.controls import ProposedControls
from gaelp.observation.view import View

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Brief:
    """What an account manager is told before a campaign.

    Attributes:
        n_worlds: accounts flown side by side.
        daily_budget_usd: (n_worlds,).
        reference_price_usd: (n_lines,) the market's median price of each line, in its unit.
        attributed_value_usd: (n_lines,) attributed value per unit of reference price paid, relative
            (mean 1), as earlier campaigns on training worlds reported it.
        traffic: (n_worlds, 168) expected cost by hour of week at constant bids, any scale.
        ltv_usd, cac_target_usd: of the product.
        seed: for policies that draw.
        world_seeds: (n_worlds,) names of the accounts, so that a draw belongs to its world.
        targets: the account has the platform's own bidder; else bids are by hand only.
        target_hours: between two changes of a target. target_step: largest change at once, as a part of the
            last target; infinite for any.
    """

    n_worlds: int
    daily_budget_usd: Floats
    reference_price_usd: Floats
    attributed_value_usd: Floats
    traffic: Floats
    ltv_usd: float
    cac_target_usd: float
    seed: int
    world_seeds: NDArray[np.int64]
    targets: bool = True
    target_hours: int = 1
    target_step: float = float("inf")


class Policy(Protocol):
    """Decides for a batch of accounts, hour by hour."""

    name: str

    def start(self, brief: Brief) -> None:
        """Begin a campaign; forget the last one."""

    def act(self, view: View) -> ProposedControls:
        """Propose controls for the coming hour."""
