"""A holdout of regions around any policy: ads go dark there, and elsewhere stay what they were."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.errors import BadInput
from gaelp.core.words import N_REGIONS
from gaelp.observation.view import View

Floats = NDArray[np.float64]


@dataclass
class RegionHoldout:
    """Silences regions in a window, and gives the rest of the account its share of the budget.

    The policy inside is shown the account as if the silent regions had gone on like the others: spend,
    clicks and attributed sales of the hours in the window are divided by the share of cost that is left. So
    its pacing does not answer to the holdout, and bids in control regions stay what they would have been.
    What reports show late is scaled by when it is shown, and `spend_month_usd` is left as it is.

    Attributes:
        policy: decides.
        regions: (n_worlds, n_regions) which are silent.
        from_hour, until_hour: of the campaign; the first hour of the window and the first after it.
        cost_share: (n_worlds, n_regions) what part of spend goes to each region, any scale, as the account's
            own report of earlier weeks has it; None takes all regions as equal.
        name: the policy's own.
    """

    policy: Policy
    regions: NDArray[np.bool_]
    from_hour: int
    until_hour: int
    cost_share: Floats | None = None
    name: str = field(init=False)
    _left: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.name = self.policy.name
        if self.regions.ndim != 2 or self.regions.shape[1] != N_REGIONS:
            allowed = f"must be (n_worlds, {N_REGIONS})"
            raise BadInput("regions.shape", self.regions.shape, allowed, "Give one row of regions a world.")
        if not 0 <= self.from_hour < self.until_hour:
            raise BadInput(
                "until_hour",
                self.until_hour,
                f"must be after from_hour, {self.from_hour}, which must be at least 0",
                "Give the window in hours of the campaign.",
            )
        share = np.ones(self.regions.shape) if self.cost_share is None else np.asarray(self.cost_share, float)
        total = share.sum(axis=-1) if share.shape == self.regions.shape else np.zeros(0)
        if not (total.size and np.isfinite(share).all() and (share >= 0).all() and (total > 0).all()):
            allowed = f"must be {self.regions.shape}, at least 0 and above 0 in each world"
            raise BadInput("cost_share", share.shape, allowed, "Take it from the account's report by region.")
        self._left = np.where(self.regions, 0.0, share).sum(axis=1) / total
        if not (self._left > 0).all():
            world = int(np.argmin(self._left))
            remedy = "Leave some regions with ads: they say what would have been."
            raise BadInput(f"regions[{world}]", "all that cost anything", "must leave some", remedy)

    def start(self, brief: Brief) -> None:
        """Begin a campaign.

        Raises:
            BadInput: the regions are of another number of worlds.
        """
        if brief.n_worlds != self.regions.shape[0]:
            allowed = f"must be {brief.n_worlds}, the worlds of the flight"
            raise BadInput("regions.shape[0]", self.regions.shape[0], allowed, "Give one row a world.")
        self.policy.start(brief)

    def act(self, view: View) -> ProposedControls:
        """What the policy wants, with the regions silent in the window."""
        if self.from_hour < view.hour <= self.until_hour:  # what is shown is of the hour before
            view = self._as_if_whole(view)
        wanted = self.policy.act(view)
        if not self.from_hour <= view.hour < self.until_hour:
            return wanted
        return replace(
            wanted,
            region=np.where(self.regions, 0.0, wanted.region),
            daily_budget_usd=wanted.daily_budget_usd * self._left,
            line_budget_usd=wanted.line_budget_usd * self._left[:, None],
        )

    def _as_if_whole(self, view: View) -> View:
        scale = 1.0 / self._left
        lines = scale[:, None]
        # a window that begins or ends within a day scales a day that was partly whole
        return replace(
            view,
            spend_usd=view.spend_usd * lines,
            cost_usd=view.cost_usd * lines,
            spend_today_usd=view.spend_today_usd * scale,
            impressions=view.impressions * lines,
            clicks=view.clicks * lines,
            conversions=view.conversions * lines,
        )
