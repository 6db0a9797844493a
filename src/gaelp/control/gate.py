"""The gate: nothing reaches a platform that it has not approved.

It refuses by line: a bid that is not a number, negative or above its cap switches that line off for the
hour and is reported as a `Denial`; a budget above the account's cap is held at the cap. Caps are integers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.control.controls import ApprovedControls, Denial, ProposedControls
from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LANDING_PAGES

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Hard limits of an account, one row per world.

    Attributes:
        bid_cap_usd: (n_lines,) highest bid of each line, in its unit.
        target_cap_usd: highest target cost per conversion.
        daily_cap_micros: (n_worlds,) most that a day may cost.
    """

    bid_cap_usd: Floats
    target_cap_usd: float
    daily_cap_micros: NDArray[np.int64]

    def __post_init__(self) -> None:
        if (self.daily_cap_micros < 0).any():
            low = int(self.daily_cap_micros.min())
            raise BadInput("daily_budget", low / MICROS_PER_USD, "must be at least 0", "Give USD per panel.")
        if not (np.isfinite(self.bid_cap_usd) & (self.bid_cap_usd >= 0)).all():
            raise BadInput("bid_cap_usd", self.bid_cap_usd, "must be finite and >= 0", "Correct the caps.")
        if not (np.isfinite(self.target_cap_usd) and self.target_cap_usd >= 0):
            raise BadInput(
                "target_cap_usd", self.target_cap_usd, "must be finite and >= 0", "Correct the cap."
            )


class Gate:
    """Checks proposals against an account's limits.

    Args:
        limits: what may never be passed.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def check(self, proposed: ProposedControls) -> tuple[ApprovedControls, list[Denial]]:
        """Approve what may pass.

        Args:
            proposed: what a policy wants for the coming hour.

        Returns:
            The approved controls and one denial for each refused value.
        """
        denials: list[Denial] = []
        bid = _within(proposed.bid_usd, self.limits.bid_cap_usd, "bid", denials)
        target_cap = np.full(bid.shape[1], self.limits.target_cap_usd)
        target = _within(proposed.target_cpa_usd, target_cap, "target_cpa", denials)
        upload = _within(proposed.value_upload, np.full(bid.shape[1], 100.0), "value_upload", denials)
        region = _within(proposed.region, np.full(proposed.region.shape[1], 10.0), "region", denials)
        weight = np.where(np.isfinite(proposed.creative_weight), proposed.creative_weight, 0.0)
        largest = np.maximum(weight, 0.0).max(axis=-1, keepdims=True)
        weight = np.where(largest > 0, np.maximum(weight, 0.0) / np.where(largest > 0, largest, 1.0), 1.0)
        landing = np.where(np.isfinite(proposed.landing), proposed.landing, 0)
        approved = ApprovedControls(
            bid_usd=bid,
            target_cpa_usd=target,
            daily_cap_micros=self._budget(proposed.daily_budget_usd, denials),
            creative_weight=weight,
            landing=np.clip(landing, 0, len(LANDING_PAGES) - 1).astype(np.int64),
            region=region,
            value_upload=upload,
        )
        return approved, denials

    def _budget(self, budget_usd: Floats, denials: list[Denial]) -> NDArray[np.int64]:
        cap = self.limits.daily_cap_micros
        # whole micros first: a budget that only rounding puts above the cap is no breach
        wanted = np.floor(
            np.clip(np.where(np.isfinite(budget_usd), budget_usd, -1.0), -1.0, 1e12) * MICROS_PER_USD
        )
        for w in np.flatnonzero((wanted < 0) | (wanted > cap)):
            code = "budget_not_a_number" if not np.isfinite(budget_usd[w]) else "budget_above_cap"
            code = "budget_negative" if np.isfinite(budget_usd[w]) and budget_usd[w] < 0 else code
            denials.append(Denial(code, int(w), -1, int(cap[w]) / MICROS_PER_USD, float(budget_usd[w])))
        # floor, so that rounding can never pass the cap; the clip comes before the cast to integers
        whole: NDArray[np.int64] = np.clip(wanted, 0, cap.astype(float)).astype(np.int64)
        return whole.clip(0, cap)


def _within(values: Floats, cap: Floats, name: str, denials: list[Denial]) -> Floats:
    """`values` where they are numbers from 0 to the column's cap; 0 and a denial elsewhere."""
    not_a_number = ~np.isfinite(values)
    negative = ~not_a_number & (values < 0)
    above = ~not_a_number & (values > cap)
    bad = not_a_number | negative | above
    if not bad.any():
        return values.copy()  # the policy keeps its array; what was approved stays as it was
    for w, line in np.argwhere(bad):
        code = "not_a_number" if not_a_number[w, line] else ("negative" if negative[w, line] else "above_cap")
        denials.append(Denial(f"{name}_{code}", int(w), int(line), float(cap[line]), float(values[w, line])))
    return np.where(bad, 0.0, values)
