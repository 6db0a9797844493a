"""What a policy proposes and what the gate lets through, as arrays over worlds.

Only `gate.py` constructs `ApprovedControls`, and platforms accept nothing else; a test over the syntax
tree holds that.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import N_CREATIVES, N_LINES, N_REGIONS

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ProposedControls:
    """What a policy wants for the coming hour of one seat.

    Attributes:
        bid_usd: (n_worlds, n_lines) manual bid in the line's own unit (`Line.bid_unit`); 0 is off.
        target_cpa_usd: (n_worlds, n_lines) where above 0, the platform's own bidder pursues this cost per
            conversion and the manual bid is ignored.
        daily_budget_usd: (n_worlds,) budget of the day.
        creative_weight: (n_worlds, n_lines, n_creatives) rotation weights, any positive scale.
        landing: (n_worlds, n_lines) landing page codes.
        region: (n_worlds, n_regions) bid multiplier by region; 0 holds the region out.
        value_upload: (n_worlds, n_lines) relative value reported to the platform's own bidder.
    """

    bid_usd: Floats
    target_cpa_usd: Floats
    daily_budget_usd: Floats
    creative_weight: Floats
    landing: NDArray[np.int64]
    region: Floats
    value_upload: Floats


def propose(bid_usd: Floats, daily_budget_usd: Floats) -> ProposedControls:
    """Manual bids and a budget, everything else at its plain setting.

    Args:
        bid_usd: (n_worlds, n_lines). daily_budget_usd: (n_worlds,).
    """
    n_worlds = bid_usd.shape[0]
    lines = (n_worlds, N_LINES)
    return ProposedControls(
        bid_usd=bid_usd,
        target_cpa_usd=np.zeros(lines),
        daily_budget_usd=daily_budget_usd,
        creative_weight=np.ones((*lines, N_CREATIVES)),
        landing=np.zeros(lines, np.int64),
        region=np.ones((n_worlds, N_REGIONS)),
        value_upload=np.ones(lines),
    )


@dataclass(frozen=True, kw_only=True)
class ApprovedControls:
    """What the gate let through: the same arrays, money in integer micros; built by the gate only."""

    bid_usd: Floats
    target_cpa_usd: Floats
    daily_cap_micros: NDArray[np.int64]
    creative_weight: Floats
    landing: NDArray[np.int64]
    region: Floats
    value_upload: Floats


class Denial(NamedTuple):
    """One refusal: a stable code, where, the limit and the value that broke it."""

    code: str
    world: int
    line: int
    limit: float
    value: float
