"""A policy whose bids follow the segments that a line's visitors belong to."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES
from gaelp.observation.view import View

LARGEST = 10.0
"""No factor is larger, nor its inverse; `UpdaterConfig.most` is what the models keep to."""


@dataclass
class SegmentBids:
    """Any policy, its bids and targets multiplied line by line; what it proposes still passes the gate.

    Attributes:
        base: the policy. factors: (n_lines,) see `models.Models.line_factors`.
        version: of the models that they are from. name: for tables.
    """

    base: Policy
    factors: NDArray[np.float64]
    version: str = ""
    name: str = field(default="")

    def __post_init__(self) -> None:
        self.factors = np.asarray(self.factors, np.float64)
        if self.factors.shape != (N_LINES,):
            allowed = f"must have the shape ({N_LINES},)"
            raise BadInput("factors.shape", self.factors.shape, allowed, "Give one factor for each line.")
        bad = ~((self.factors >= 1 / LARGEST) & (self.factors <= LARGEST))
        if bad.any():
            allowed = f"must be from {1 / LARGEST:g} to {LARGEST:g}"
            remedy = "Take them from `Models.line_factors`."
            raise BadInput("factors", float(self.factors[bad][0]), allowed, remedy)
        self.name = self.name or f"{self.base.name} by segment"

    def start(self, brief: Brief) -> None:
        """Begin a campaign."""
        self.base.start(brief)

    def act(self, view: View) -> ProposedControls:
        """What the base proposes, as the factors have it."""
        proposed = self.base.act(view)
        proposed.bid_usd[:] *= self.factors
        proposed.target_cpa_usd[:] *= self.factors
        return proposed
