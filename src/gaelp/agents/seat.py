"""A programmatic seat: what it is asked, and what decides its bids, auction by auction.

Display, video and retargeting are the channels that a demand-side platform buys by the auction. Search,
social and e-mail are bought by line, inside their owner's walls.
"""

from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief
from gaelp.agents.value import ValuePolicy
from gaelp.core.words import LINES, Channel
from gaelp.observation.view import View

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROGRAMMATIC: Final = np.array(
    [line.channel in (Channel.VIDEO, Channel.DISPLAY, Channel.RETARGETING) for line in LINES]
)
"""(n_lines,) whether a demand-side platform buys the line auction by auction."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Auctions of one hour that the seat is asked to bid on, world by world.

    Attributes:
        features: (n, 41) raw rows of `JOURNEY_FEATURES`.
        line: (n,) codes. world: (n,) rising.
        person: (n,) the account's own number for whoever it takes this to be, of the world; -1 a stranger.
        hour: of the market.
    """

    features: NDArray[np.float32]
    line: Ints
    world: Ints
    person: Ints
    hour: int

    def __len__(self) -> int:
        return len(self.line)


class SeatPolicy(Protocol):
    """Bids for a programmatic seat in a batch of accounts; an account's bids do not depend on the others."""

    name: str

    def start(self, brief: Brief) -> None:
        """Begin a campaign; forget the last one."""

    def bid(self, asked: Asked, level: Floats) -> Floats:
        """Bids for the coming hour; called once an hour, in order.

        Args:
            asked: the auctions. level: (n_worlds,) the multiplier that the seat shares with the lines.

        Returns:
            (n,) USD per 1000 impressions; 0 or less is no bid.
        """


@dataclass
class LevelledValue(ValuePolicy):
    """`value` that says its level.

    Attributes:
        level: (n_worlds,) of the hour that was last proposed for.
    """

    level: Floats = field(default_factory=lambda: np.ones(0))

    @classmethod
    def of(cls, policy: ValuePolicy) -> "LevelledValue":
        """The same policy, not yet started."""
        names = ("target_usd", "settings", "line_multiplier", "landing", "worth_usd", "spend_share", "factor")
        return cls(**{name: getattr(policy, name) for name in names})

    def _moved(self, view: View, brief: Brief) -> Floats:
        self.level = super()._moved(view, brief)
        return self.level
