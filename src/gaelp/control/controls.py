"""What a policy proposes and what the gate lets through, as arrays over worlds.

Only `gate.py` constructs `ApprovedControls`, and platforms accept nothing else; a test over the syntax
tree holds that.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import N_CREATIVES, N_LINES, N_REGIONS

Floats = NDArray[np.float64]

NO_LINE_CAP: Final = int(np.iinfo(np.int64).max) // 4
"""Micros that stand for "this line has no cap of its own", as in the market's controls."""

DENIAL_CODES: Final[dict[str, str]] = {
    "bid_not_a_number": "The bid is NaN or infinite; the line is off for the hour.",
    "bid_negative": "The bid is below 0; the line is off for the hour.",
    "bid_above_cap": "The bid is above the line's cap; the line is off for the hour.",
    "bid_too_early": "The bid was changed too recently; the last approved bid stays.",
    "bid_not_in_profile": "The profile leaves bids on this line to the platform; the manual bid is dropped.",
    "target_cpa_not_a_number": "The target CPA is NaN or infinite; the line has none for the hour.",
    "target_cpa_negative": "The target CPA is below 0; the line has none for the hour.",
    "target_cpa_above_cap": "The target CPA is above the account's cap; the line has none for the hour.",
    "target_cpa_too_early": "The target CPA was changed too recently; the last approved one stays.",
    "target_cpa_step_too_large": "The target CPA moves too far at once; it goes as far as one step may.",
    "target_cpa_not_in_profile": "The profile bids by hand, or the line has no platform bidder; no target.",
    "value_upload_not_a_number": "The uploaded value is NaN or infinite; nothing is uploaded for the hour.",
    "value_upload_negative": "The uploaded value is below 0; nothing is uploaded for the hour.",
    "value_upload_above_cap": "The uploaded value is above its cap; nothing is uploaded for the hour.",
    "value_upload_too_early": "The uploaded value was changed too recently; the last approved one stays.",
    "region_not_a_number": "The region's multiplier is NaN or infinite; the region is held out for the hour.",
    "region_negative": "The region's multiplier is below 0; the region is held out for the hour.",
    "region_above_cap": "The region's multiplier is above its cap; the region is held out for the hour.",
    "region_too_early": "The region's multiplier was changed too recently; the last approved one stays.",
    "creative_too_early": "The rotation was changed too recently; the last approved weights stay.",
    "landing_too_early": "The landing page was changed too recently; the last approved one stays.",
    "budget_not_a_number": "The daily budget is NaN or infinite; nothing may be spent.",
    "budget_negative": "The daily budget is below 0; nothing may be spent.",
    "budget_above_cap": "The platform might deliver more than the daily cap; the largest safe budget holds.",
    "budget_above_month": "The platform might deliver more than the month has left; the largest safe budget "
    "holds.",
    "budget_too_early": "The daily budget was changed too recently or too often; the last one stays.",
    "budget_step_too_large": "The daily budget moves too far at once; it goes as far as one step may.",
    "line_budget_not_a_number": "The line's budget is NaN or minus infinity; the line may spend nothing.",
    "line_budget_negative": "The line's budget is below 0; the line may spend nothing.",
    "line_budget_above_cap": "The platform might deliver more than the line's cap; the largest safe budget "
    "holds.",
    "line_budget_too_early": "The line's budget was changed too recently or too often; the last one stays.",
    "line_budget_step_too_large": "The line's budget moves too far at once; it goes as far as one step may.",
}
"""Every code a `Denial` can carry, and what happened to the value."""


def _no_budgets() -> Floats:
    return np.empty(0)


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
        line_budget_usd: (n_worlds, n_lines) budget of the day of each line; inf, or left out, is none.
    """

    bid_usd: Floats
    target_cpa_usd: Floats
    daily_budget_usd: Floats
    creative_weight: Floats
    landing: NDArray[np.int64]
    region: Floats
    value_upload: Floats
    line_budget_usd: Floats = field(default_factory=_no_budgets)

    def __post_init__(self) -> None:
        if self.line_budget_usd.size == 0:
            object.__setattr__(self, "line_budget_usd", np.full(self.bid_usd.shape, np.inf))


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
    """What the gate let through: the same arrays, money in integer micros; built by the gate only.

    Attributes:
        daily_cap_micros: (n_worlds,) approved daily budget; a platform that overdelivers may spend its
            delivery factor times this on a day, which the gate has kept below the account's caps.
        line_cap_micros: (n_worlds, n_lines) approved budget of each line, `NO_LINE_CAP` where it has none.
    """

    bid_usd: Floats
    target_cpa_usd: Floats
    daily_cap_micros: NDArray[np.int64]
    line_cap_micros: NDArray[np.int64]
    creative_weight: Floats
    landing: NDArray[np.int64]
    region: Floats
    value_upload: Floats


class Denial(NamedTuple):
    """One refusal: a stable code, where, the limit and the value that broke it.

    Attributes:
        code: one of `DENIAL_CODES`. world: its row. line: its column (the region for region codes), -1 where
            the whole account is meant.
        limit: the limit, or for a change that came too early or went too far the nearest allowed value.
        value: what was asked. Money is in USD.
    """

    code: str
    world: int
    line: int
    limit: float
    value: float
