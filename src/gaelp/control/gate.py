"""The gate: nothing reaches a platform that it has not approved.

It refuses by line: a bid that is not a number, negative or above its cap switches that line off for the
hour and is reported as a `Denial`; a budget above the account's cap is held at the cap. Caps are integers,
and a budget counts with the most that the platform may deliver for it, not with what was asked. With a
control profile the gate also holds what comes too early or moves too far (`control/profile.py`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.control.controls import NO_LINE_CAP, ApprovedControls, Denial, ProposedControls
from gaelp.control.delivery import STRICT, DeliveryRule, largest_budget
from gaelp.control.profile import EMAIL_BID, ControlProfile, HeldAmounts, HeldChoices
from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import EMAIL_LINE, LANDING_PAGES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_LARGEST_USD = 1e12  # of a proposed budget; beyond it integers of micros would overflow


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Hard limits of an account, one row per world.

    Attributes:
        bid_cap_usd: (n_lines,) highest bid of each line, in its unit.
        target_cap_usd: highest target cost per conversion.
        daily_cap_micros: (n_worlds,) most that a day may cost, whatever the platform delivers.
        monthly_cap_micros: (n_worlds,) most that a calendar month may cost; None for no such cap.
        line_cap_micros: (n_worlds, n_lines) or (n_lines,) most that a day of a line may cost; None for no
            such caps.
        delivery: how far the platform may pass the account's daily budget.
        line_delivery: (n_lines,) the same for each line's budget; None takes `delivery` for all.
    """

    bid_cap_usd: Floats
    target_cap_usd: float
    daily_cap_micros: Ints
    monthly_cap_micros: Ints | None = None
    line_cap_micros: Ints | None = None
    delivery: DeliveryRule = STRICT
    line_delivery: tuple[DeliveryRule, ...] | None = None

    def __post_init__(self) -> None:
        if (self.daily_cap_micros < 0).any():
            low = int(self.daily_cap_micros.min())
            raise BadInput("daily_budget", low / MICROS_PER_USD, "must be at least 0", "Give USD per panel.")
        for name in ("monthly_cap_micros", "line_cap_micros"):
            cap = getattr(self, name)
            if cap is not None and (np.asarray(cap) < 0).any():
                raise BadInput(name, int(np.min(cap)), "must be at least 0", "Correct the caps.")
        if self.monthly_cap_micros is not None and (
            np.shape(self.monthly_cap_micros) != self.daily_cap_micros.shape
        ):
            shape = np.shape(self.monthly_cap_micros)
            raise BadInput("monthly_cap_micros", shape, "must have one cap per world", "Correct its shape.")
        if not (np.isfinite(self.bid_cap_usd) & (self.bid_cap_usd >= 0)).all():
            raise BadInput("bid_cap_usd", self.bid_cap_usd, "must be finite and >= 0", "Correct the caps.")
        if not (np.isfinite(self.target_cap_usd) and self.target_cap_usd >= 0):
            raise BadInput(
                "target_cap_usd", self.target_cap_usd, "must be finite and >= 0", "Correct the cap."
            )
        if self.line_delivery is not None and len(self.line_delivery) != len(self.bid_cap_usd):
            n_rules = len(self.line_delivery)
            raise BadInput("line_delivery", n_rules, "must have one rule per line", "Give `LINE_RULES`.")

    @property
    def largest_line_budget_micros(self) -> Ints:
        """(n_worlds, n_lines) largest budget that keeps a line within its cap; `NO_LINE_CAP` without one."""
        shape = (len(self.daily_cap_micros), len(self.bid_cap_usd))
        if self.line_cap_micros is None:
            return np.full(shape, NO_LINE_CAP, np.int64)
        caps = np.broadcast_to(np.asarray(self.line_cap_micros, np.int64), shape)
        rules = self.line_delivery or (self.delivery,) * shape[1]
        columns = [largest_budget(caps[:, i], rule.day) for i, rule in enumerate(rules)]
        return np.minimum(np.stack(columns, axis=1), NO_LINE_CAP)


class Gate:
    """Checks proposals against an account's limits, and against a control profile where it has one.

    Without a profile a gate has no memory. With one it holds the last approved values, so each account and
    flight needs a gate of its own.

    Args:
        limits: what may never be passed.
        profile: how often and how far controls may change; None for as often and as far as asked.
    """

    def __init__(self, limits: Limits, profile: ControlProfile | None = None) -> None:
        self.limits = limits
        self.profile = profile
        self._line_budget = limits.largest_line_budget_micros
        self._any_line_cap = limits.line_cap_micros is not None
        self._held = None if profile is None else _Held(profile)
        self._hour = -1

    def check(
        self,
        proposed: ProposedControls,
        *,
        spent_today_micros: Ints | None = None,
        spent_month_micros: Ints | None = None,
        hour: int | None = None,
    ) -> tuple[ApprovedControls, list[Denial]]:
        """Approve what may pass.

        Args:
            proposed: what a policy wants for the coming hour.
            spent_today_micros: (n_worlds,) spend of the account's day so far; None for nothing yet.
            spent_month_micros: (n_worlds,) spend of the calendar month so far, today included; needed where
                the account has a monthly cap. Both are as billed: to a late report belongs the most that
                the platform may have delivered since.
            hour: hours since the account was opened; None for one more than at the last check.

        Returns:
            The approved controls and one denial for each refused value.

        Raises:
            BadInput: the account has a monthly cap and its spend is missing or negative, or the clock runs
                backwards.
        """
        now = self._hour + 1 if hour is None else hour
        if now < self._hour:
            raise BadInput("hour", now, f"must be at least {self._hour}", "Give hours since the beginning.")
        self._hour = now
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
        landing = np.clip(landing, 0, len(LANDING_PAGES) - 1).astype(np.int64)
        if self._held is not None:
            bid, target = self._held.bids(bid, target, now, denials)
            upload = self._held.upload.hold(upload, now, denials)
            region = self._held.region.hold(region, now, denials)
            weight = self._held.creative.hold(weight, now, denials)
            chosen = self._held.landing.hold(landing[..., None].astype(float), now, denials)
            landing = chosen[..., 0].astype(np.int64)
        left = self._left_for_today(spent_today_micros, spent_month_micros)
        approved = ApprovedControls(
            bid_usd=bid,
            target_cpa_usd=target,
            daily_cap_micros=self._budget(proposed.daily_budget_usd, left, now, denials),
            line_cap_micros=self._line_budgets(proposed.line_budget_usd, now, denials),
            creative_weight=weight,
            landing=landing,
            region=region,
            value_upload=upload,
        )
        return approved, denials

    def _left_for_today(self, today: Ints | None, month: Ints | None) -> Ints:
        """(n_worlds,) most that today may cost in all under the day's and the month's cap."""
        daily = np.asarray(self.limits.daily_cap_micros, np.int64)
        if self.limits.monthly_cap_micros is None:
            return daily
        if month is None:
            remedy = "Give the spend of the month so far."
            raise BadInput("spent_month_micros", None, "must be given under a monthly cap", remedy)
        spent = np.asarray(month, np.int64)
        so_far = np.zeros_like(spent) if today is None else np.asarray(today, np.int64)
        for name, micros in (("spent_month_micros", spent), ("spent_today_micros", so_far)):
            if (micros < 0).any():
                raise BadInput(name, int(micros.min()), "must be at least 0", "Give micros spent so far.")
        before_today = np.maximum(spent - so_far, 0)
        monthly = np.asarray(self.limits.monthly_cap_micros, np.int64)
        left: Ints = np.minimum(daily, np.maximum(monthly - before_today, 0))
        return left

    def _budget(self, budget_usd: Floats, left: Ints, hour: int, denials: list[Denial]) -> Ints:
        cap = largest_budget(self.limits.daily_cap_micros, self.limits.delivery.day)
        now = largest_budget(left, self.limits.delivery.day)
        # whole micros first: a budget that only rounding puts above the cap is no breach
        wanted = _in_micros(np.where(np.isfinite(budget_usd), budget_usd, -1.0))
        # floor, so that rounding can never pass the cap; the clip comes before the cast to integers
        whole: Ints = np.clip(wanted, 0, cap.astype(float)).astype(np.int64).clip(0, cap)
        held = whole if self._held is None else self._held.budget.hold_micros(whole, hour, denials)
        for w in np.flatnonzero((wanted < 0) | (wanted > cap) | (held > now)):
            code = "budget_above_month" if held[w] > now[w] else "budget_above_cap"
            code = "budget_negative" if np.isfinite(budget_usd[w]) and budget_usd[w] < 0 else code
            code = "budget_not_a_number" if not np.isfinite(budget_usd[w]) else code
            # a held budget may pass what is left although less was asked
            value = held[w] / MICROS_PER_USD if 0 <= wanted[w] <= now[w] else budget_usd[w]
            denials.append(Denial(code, int(w), -1, int(now[w]) / MICROS_PER_USD, float(value)))
        return np.minimum(held, now)

    def _line_budgets(self, budget_usd: Floats, hour: int, denials: list[Denial]) -> Ints:
        cap = self._line_budget
        usd = np.broadcast_to(budget_usd, cap.shape)
        none = np.isposinf(usd)
        if none.all() and not self._any_line_cap:
            return cap.copy()
        number = np.isfinite(usd)
        wanted = np.where(none, 0.0, _in_micros(np.where(number, usd, -1.0)))
        whole: Ints = np.clip(wanted, 0, cap.astype(float)).astype(np.int64).clip(0, cap)
        for w, line in np.argwhere((wanted < 0) | (wanted > cap)):
            value, limit = float(usd[w, line]), int(cap[w, line]) / MICROS_PER_USD
            code = "negative" if value < 0 else "above_cap"
            code = code if number[w, line] else "not_a_number"
            denials.append(Denial(f"line_budget_{code}", int(w), int(line), limit, value))
        if self._held is not None:
            whole = self._held.line_budget.hold_micros(whole, hour, denials)
        return np.where(none, cap, np.minimum(whole, cap))


class _Held:
    """What a gate with a profile remembers, one store per control."""

    def __init__(self, profile: ControlProfile) -> None:
        self.profile = profile
        self.bid = HeldAmounts("bid", profile.bid or EMAIL_BID)
        self.target = None if profile.target_cpa is None else HeldAmounts("target_cpa", profile.target_cpa)
        self.budget = HeldAmounts("budget", profile.budget)
        self.line_budget = HeldAmounts("line_budget", profile.line_budget)
        self.creative = HeldChoices("creative", profile.creative)
        self.landing = HeldChoices("landing", profile.landing)
        self.region = HeldAmounts("region", profile.region)
        self.upload = HeldAmounts("value_upload", profile.value_upload, off=False)

    def bids(self, bid: Floats, target: Floats, hour: int, denials: list[Denial]) -> tuple[Floats, Floats]:
        """Bids and targets the profile has, held as it says; a control it lacks is dropped."""
        email = np.arange(bid.shape[1]) == EMAIL_LINE
        if self.profile.bid is None:
            bid = _without(bid, ~email, "bid", denials)
        target = _without(target, email | (self.target is None), "target_cpa", denials)
        if self.target is not None:
            target = self.target.hold(target, hour, denials)
        return self.bid.hold(bid, hour, denials), target


def _in_micros(usd: Floats) -> Floats:
    """Whole micros of finite amounts, as floats; anything negative stays negative."""
    micros: Floats = np.floor(np.clip(usd, -1.0, _LARGEST_USD) * MICROS_PER_USD)
    return micros


def _without(values: Floats, lines: NDArray[np.bool_], name: str, denials: list[Denial]) -> Floats:
    """`values` without those of `lines`, (n_lines,), which the profile does not have."""
    there = lines & (values > 0)
    for w, line in np.argwhere(there):
        denials.append(Denial(f"{name}_not_in_profile", int(w), int(line), 0.0, float(values[w, line])))
    return np.where(there, 0.0, values)


def _within(values: Floats, cap: Floats, name: str, denials: list[Denial]) -> Floats:
    """`values` where they are numbers from 0 to the column's cap; 0 and a denial elsewhere."""
    if ((values >= 0) & (values <= cap)).all():  # NaN is neither
        return values.copy()  # the policy keeps its array; what was approved stays as it was
    not_a_number = ~np.isfinite(values)
    negative = ~not_a_number & (values < 0)
    above = ~not_a_number & (values > cap)
    bad = not_a_number | negative | above
    world, line = np.nonzero(bad)
    codes = np.where(not_a_number, "not_a_number", np.where(negative, "negative", "above_cap"))[bad]
    found = zip(codes.tolist(), world.tolist(), line.tolist(), cap[line], values[bad], strict=True)
    denials.extend(Denial(f"{name}_{code}", w, i, float(limit), float(v)) for code, w, i, limit, v in found)
    return np.where(bad, 0.0, values)
