"""Control profiles: how often, and how far at once, an account's controls may change.

Real accounts do not take a new bid every second. A profile says which controls exist, how many changes each
takes in how many hours, and how large a change may be. What comes too early or goes too far is held at the
nearest allowed value and reported. Switching something off (a bid, target or budget of 0) is always allowed,
and switching it on again continues from the value before, so that a pause is no way round a step.

Hard caps come on top of what a profile holds, and change nothing in what it remembers.

Each rule names its source; values marked "assumed" are common practice without a published limit.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.control.controls import Denial
from gaelp.control.delivery import Ratio
from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Amounts = NDArray[Any]
"""Floats or whole micros, as in the call that made them."""

_NEVER: Final = -(10**9)


@dataclass(frozen=True, kw_only=True)
class ChangeRule:
    """How a control may change.

    Attributes:
        changes: most changes of one value within `hours`.
        hours: length of that window; it rolls.
        step: largest move at once, as a part of the last value; None for any.
        source: where that comes from.
    """

    changes: int = 1
    hours: int = 1
    step: Ratio | None = None
    source: str

    def __post_init__(self) -> None:
        if self.changes < 1 or self.hours < 1:
            raise BadInput(
                "changes, hours", (self.changes, self.hours), "must be at least 1", "Correct the rule."
            )


@dataclass(frozen=True, kw_only=True)
class ControlProfile:
    """Which controls an account has and how each may change; None is a control it does not have.

    Attributes:
        name: of the profile.
        bid, target_cpa: of each line. The e-mail line, which no platform bids for, always has a bid.
        budget, line_budget: of the account and of each line.
        creative, landing, region, value_upload: of each line (regions: of each region).
        clicks_delay_hours: how old spend and clicks are when a report shows them.
        conversions_delay_hours: how old conversions are when a report shows most of them.
    """

    name: str
    bid: ChangeRule | None
    target_cpa: ChangeRule | None
    budget: ChangeRule
    line_budget: ChangeRule
    creative: ChangeRule
    landing: ChangeRule
    region: ChangeRule
    value_upload: ChangeRule
    clicks_delay_hours: int = 3
    conversions_delay_hours: int = 15


_HOURLY: Final = ChangeRule(
    source="Google's Explorer access takes 2,880 operations a day, so 21 lines hourly (504) fit "
    "(developers.google.com/google-ads/api/docs/access-levels); no platform limits the size of a bid change",
)
_FOUR_AN_HOUR: Final = ChangeRule(
    changes=4,
    source="Meta takes 4 budget changes an ad set and hour, the strictest limit published "
    "(developers.facebook.com/docs/marketing-api/overview/rate-limiting)",
)
_DAILY: Final = ChangeRule(hours=24, source="assumed: ads go into review, and multipliers need data")

MANUAL_BID: Final = ControlProfile(
    name="manual_bid",
    bid=_HOURLY,
    target_cpa=None,
    budget=_FOUR_AN_HOUR,
    line_budget=_FOUR_AN_HOUR,
    creative=_DAILY,
    landing=_DAILY,
    region=_DAILY,
    value_upload=_DAILY,
)
"""Bids by hand, hourly; the platform's own bidder is off."""

_TARGET: Final = ChangeRule(
    hours=24,
    step=Ratio(20, 100),
    source="assumed: practitioners keep a target's moves to 10 to 20 %; Google itself states no limit "
    "(support.google.com/google-ads/answer/10433846)",
)
_AUTOMATED_BUDGET: Final = ChangeRule(
    hours=24,
    step=Ratio(50, 100),
    source="ads.tiktok.com/help/article?aid=744163857974606118: keep a budget within 50 % of the one before; "
    "once a day is assumed (the page says every second day)",
)

TARGET_CPA: Final = ControlProfile(
    name="target_cpa",
    bid=None,
    target_cpa=_TARGET,
    budget=_AUTOMATED_BUDGET,
    line_budget=_AUTOMATED_BUDGET,
    creative=_DAILY,
    landing=_DAILY,
    region=_DAILY,
    value_upload=_DAILY,
)
"""Targets for the platform's own bidder, once a day; bids by hand for e-mail only."""

EMAIL_BID: Final = ChangeRule(source="assumed: a sender may switch a mailing at any hour")
"""Rule of the e-mail line's bid in a profile without manual bids."""

CONTROL_PROFILES: Final = {profile.name: profile for profile in (MANUAL_BID, TARGET_CPA)}


class _Clock:
    """Remembers the hours of the last changes of each value, over any shape."""

    def __init__(self, rule: ChangeRule, shape: tuple[int, ...]) -> None:
        self.rule = rule
        self.changed = np.full((*shape, rule.changes), _NEVER, np.int64)  # oldest first

    def early(self, hour: int) -> Flags:
        """Where one change more would be one too many."""
        early: Flags = self.changed[..., 0] > hour - self.rule.hours
        return early

    def stamp(self, where: Flags, hour: int) -> None:
        stamped = np.concatenate([self.changed[..., 1:], np.full((*where.shape, 1), hour, np.int64)], axis=-1)
        self.changed = np.where(where[..., None], stamped, self.changed)


class HeldAmounts:
    """Amounts of at least 0 under a change rule: bids and targets (floats) or budgets (whole micros).

    Args:
        name: of the control, the beginning of its denial codes.
        rule: how they may change.
        off: whether 0 switches off, and so is allowed at any time.
    """

    def __init__(self, name: str, rule: ChangeRule, *, off: bool = True) -> None:
        self.name = name
        self.rule = rule
        self.off = off
        self._clock: _Clock | None = None
        self._last: Amounts = np.zeros(0)
        self._set: Flags = np.zeros(0, np.bool_)

    def hold(self, wanted: Floats, hour: int, denials: list[Denial]) -> Floats:
        """`wanted` where it may be had now, the nearest allowed value elsewhere.

        Args:
            wanted: (n_worlds, ...) finite amounts of at least 0.
            hour: now; never smaller than in the call before.
            denials: receives one denial for each value held.
        """
        held, early, far = self._held(wanted, hour)
        self._tell(wanted, held, early, far, 1.0, denials)
        return np.asarray(held, np.float64)

    def hold_micros(self, wanted: Ints, hour: int, denials: list[Denial]) -> Ints:
        """The same in whole micros; denials are in USD."""
        held, early, far = self._held(wanted, hour)
        self._tell(wanted, held, early, far, float(MICROS_PER_USD), denials)
        return np.asarray(held, np.int64)

    def _held(self, wanted: Amounts, hour: int) -> tuple[Amounts, Flags, Flags]:
        if self._clock is None:
            self._clock = _Clock(self.rule, wanted.shape)
            self._last = np.zeros_like(wanted)
            self._set = np.zeros(wanted.shape, np.bool_)
        asked = np.logical_or(wanted > 0, not self.off)  # off asks for no change
        moves = asked & self._set & (wanted != self._last)
        early = moves & self._clock.early(hour)
        held = np.where(early, self._last, wanted)
        far = np.zeros_like(early)
        if self.rule.step is not None:
            low, high = _reach(self._last, self.rule.step)
            near = np.clip(held, low, high)
            far = moves & ~early & (near != held)
            held = np.where(far, near, held)
        changed = asked & (~self._set | (held != self._last))
        # a first value is no change: an account begins with whatever it is set up with
        self._clock.stamp(changed & self._set, hour)
        self._last = np.where(changed, held, self._last)
        self._set = self._set | asked
        return held, early, far

    def _tell(
        self,
        wanted: Amounts,
        held: Amounts,
        early: Flags,
        far: Flags,
        unit: float,
        denials: list[Denial],
    ) -> None:
        for code, where in (("too_early", early), ("step_too_large", far)):
            world, *rest = np.nonzero(where)
            line = rest[0] if rest else np.full(world.shape, -1)
            limit, value = held[where] / unit, wanted[where] / unit
            denials.extend(
                Denial(f"{self.name}_{code}", *at)
                for at in zip(world.tolist(), line.tolist(), limit.tolist(), value.tolist(), strict=True)
            )


class HeldChoices:
    """Choices without an order under a change rule: landing pages, or rotation weights of a line.

    Args:
        name: of the control, the beginning of its denial codes.
        rule: how they may change; its step is not looked at.
    """

    def __init__(self, name: str, rule: ChangeRule) -> None:
        self.name = name
        self.rule = rule
        self._clock: _Clock | None = None
        self._last: Floats = np.zeros(0)

    def hold(self, wanted: Floats, hour: int, denials: list[Denial]) -> Floats:
        """`wanted` for each line that may change now, what it had elsewhere.

        Args:
            wanted: (n_worlds, n_lines, n_values); the values of a line change together.
            hour: now.
            denials: receives one denial a line held, with the held and the asked value that differ first.
        """
        if self._clock is None:
            self._clock = _Clock(self.rule, wanted.shape[:2])
            self._last = wanted.copy()
            return wanted.copy()
        moves = (wanted != self._last).any(axis=-1)
        early = moves & self._clock.early(hour)
        world, line = np.nonzero(early)
        kept, asked = self._last[early], wanted[early]  # (n_early, n_values)
        first = np.argmax(kept != asked, axis=1)[:, None]
        limit, value = np.take_along_axis(kept, first, 1)[:, 0], np.take_along_axis(asked, first, 1)[:, 0]
        denials.extend(
            Denial(f"{self.name}_too_early", *at)
            for at in zip(world.tolist(), line.tolist(), limit.tolist(), value.tolist(), strict=True)
        )
        held = np.where(early[..., None], self._last, wanted)
        self._clock.stamp(moves & ~early, hour)
        self._last = held.copy()
        return held


def _reach(last: Amounts, step: Ratio) -> tuple[Amounts, Amounts]:
    """Lowest and highest value one step from `last` may reach.

    Whole amounts are rounded outwards, so that one micro can grow; floats follow their own rounding.
    """
    if last.dtype == np.int64:
        whole, rest = np.divmod(last, step.denominator)
        move = whole * step.numerator + -(-rest * step.numerator // step.denominator)
        return last - move, last + move
    part = step.numerator / step.denominator
    return last * (1.0 - part), last * (1.0 + part)
