"""Overdelivery: how far a platform may pass a daily budget, in whole micros.

A daily budget is an average to the platforms: on a good day they spend more, and make up for it within a week
or a month. Each rule here is the platform's own published promise, kept as pairs of integers so that nothing
is rounded in its favour. `Delivery` is the platform's side of it: what a day may cost at the worst.

| rule | a day | a calendar week | a calendar month |
|---|---|---|---|
| `GOOGLE` | 2 x | - | 30.4 x |
| `META` | 1.75 x | 7 x, Sunday to Saturday | - |
| `TIKTOK` | 1.25 x | 7 x, Sunday to Saturday | - |
| `MICROSOFT` | 2 x | - | days of the month x |
| `STRICT` | 1 x | - | - |
"""

from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, Channel

Ints = NDArray[np.int64]

LARGEST_MICROS: Final = 10**15
"""Largest budget or spend these sums are promised to be exact for: a billion USD."""
_UNLIMITED: Final = int(np.iinfo(np.int64).max) // 4


class Ratio(NamedTuple):
    """An exact factor: numerator / denominator, both positive integers."""

    numerator: int
    denominator: int


_ONCE: Final = Ratio(1, 1)


@dataclass(frozen=True, kw_only=True)
class DeliveryRule:
    """How far a platform may pass a daily budget.

    Attributes:
        name: of the rule.
        day: most a day may cost, times the highest budget set on that day; at least 1.
        week: most a calendar week (Sunday to Saturday) may cost, times the budget; None if not promised.
        month: most a calendar month may cost, times the budget; None if not promised.
        month_by_days: the month's factor is its number of days.
        source: where the rule is published, and what had to be assumed.
    """

    name: str
    day: Ratio = _ONCE
    week: Ratio | None = None
    month: Ratio | None = None
    month_by_days: bool = False
    source: str

    def __post_init__(self) -> None:
        for ratio in (self.day, self.week, self.month):
            if ratio is not None and not 1 <= ratio.denominator <= ratio.numerator <= 10**6:
                raise BadInput(
                    "ratio", tuple(ratio), "must be at least 1 and of small positive integers", "Correct it."
                )

    def of_month(self, days_in_month: int) -> Ratio | None:
        """The month's factor in a month of so many days, None if the platform promises none."""
        return Ratio(days_in_month, 1) if self.month_by_days else self.month


GOOGLE: Final = DeliveryRule(
    name="google",
    day=Ratio(2, 1),
    month=Ratio(304, 10),
    source="support.google.com/google-ads/answer/1704443: up to 2 times the average daily budget on a day, "
    "no more than 30.4 times in a calendar month; answer/10487143: the day's limit follows the highest "
    "budget of that day, and after a change the rest of the month costs at most the new budget times the "
    "days left. Campaigns that pay for conversions may pass 2 times on a day; they are not modelled",
)
META: Final = DeliveryRule(
    name="meta",
    day=Ratio(175, 100),
    week=Ratio(7, 1),
    source="Meta business help, About daily budgets: up to 75 % over the daily budget on a day (25 % before "
    "2024), no more than 7 times in a calendar week, Sunday to Saturday. Assumed: the day's limit follows "
    "the day's highest budget, and a change counts for the days left of the week, as TikTok words it",
)
TIKTOK: Final = DeliveryRule(
    name="tiktok",
    day=Ratio(125, 100),
    week=Ratio(7, 1),
    source="ads.tiktok.com/help/article/about-dynamic-daily-budget: up to 25 % more on a day, no more than 7 "
    "times in a week, Sunday to Saturday; how-to-set-up-a-daily-budget: 125 % of the highest budget of the "
    "day, and after a change the days left of the week are limited by the new budget alone",
)
MICROSOFT: Final = DeliveryRule(
    name="microsoft",
    day=Ratio(2, 1),
    month_by_days=True,
    source="help.ads.microsoft.com 51019: usually keeps overspend to less than 100 % above the daily limit; "
    "monthly budget = daily budget x days. 'Usually' is no promise, taken as one here; assumed: a change "
    "counts for the days left of the month, as Google words it",
)
STRICT: Final = DeliveryRule(
    name="strict",
    source="assumed for e-mail, where each message has a known price before it is sent and nothing on "
    "overdelivery was found, and for any platform without a published rule",
)
DELIVERY_RULES: Final = {rule.name: rule for rule in (GOOGLE, META, TIKTOK, MICROSOFT, STRICT)}

_CHANNEL_RULES: Final = {Channel.SOCIAL: META, Channel.EMAIL: STRICT}
LINE_RULES: Final = tuple(_CHANNEL_RULES.get(line.channel, GOOGLE) for line in LINES)
"""Rule of each line if search, video, display and retargeting run at Google and social at Meta (assumed)."""


class CalendarDay(NamedTuple):
    """Where a day stands in its week and month.

    Attributes:
        weekday: Monday is 0. day_of_month: the first is 1. days_in_month: 28 to 31.
    """

    weekday: int
    day_of_month: int
    days_in_month: int

    @property
    def days_left_of_week(self) -> int:
        """Days to Saturday, this one included; 7 on a Sunday."""
        return 7 - (self.weekday + 1) % 7

    @property
    def days_left_of_month(self) -> int:
        """Days to the end of the month, this one included."""
        return self.days_in_month - self.day_of_month + 1


def calendar_day(day: date) -> CalendarDay:
    """Where `day` stands in its week and month.

    >>> calendar_day(date(2024, 2, 29))
    CalendarDay(weekday=3, day_of_month=29, days_in_month=29)
    """
    first = day.replace(day=1)
    following = first.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
    return CalendarDay(day.weekday(), day.day, (following - first).days)


def at_most(budget_micros: Ints, ratio: Ratio) -> Ints:
    """floor(budget x ratio), exactly: most that may be spent for a budget.

    Args:
        budget_micros: any shape, from 0 to `LARGEST_MICROS`.

    Raises:
        BadInput: if a budget is out of range.

    >>> at_most(np.array([10, 11]), Ratio(175, 100)).tolist()
    [17, 19]
    """
    budget = _checked("budget_micros", budget_micros)
    whole, rest = np.divmod(budget, ratio.denominator)
    most: Ints = whole * ratio.numerator + rest * ratio.numerator // ratio.denominator
    return most


def largest_budget(cap_micros: Ints, ratio: Ratio) -> Ints:
    """The largest budget for which `at_most` does not pass a cap; exact for any int64 cap of at least 0.

    >>> largest_budget(np.array([17, 18, 0]), Ratio(175, 100)).tolist()
    [10, 10, 0]
    """
    # floor(b n / d) <= cap  <=>  b n <= (cap + 1) d - 1; divided with remainder, so that nothing overflows
    whole, rest = np.divmod(np.asarray(cap_micros, np.int64), ratio.numerator)
    largest: Ints = whole * ratio.denominator + ((rest + 1) * ratio.denominator - 1) // ratio.numerator
    return largest


def most_a_day(budget_micros: Ints, rule: DeliveryRule) -> Ints:
    """Most micros that one day may cost for a daily budget; same shape."""
    return at_most(budget_micros, rule.day)


def most_a_week(budget_micros: Ints, rule: DeliveryRule) -> Ints:
    """Most micros that a calendar week may cost for a daily budget that does not change; same shape."""
    return _most_of(budget_micros, rule, 7)


def most_a_month(budget_micros: Ints, rule: DeliveryRule, days_in_month: int) -> Ints:
    """Most micros that a calendar month may cost for a daily budget that does not change; same shape.

    Where only weeks are limited, the month is cut into calendar weeks in the dearest way.
    """
    most = np.zeros_like(np.asarray(budget_micros, np.int64))
    for first in range(1, 8):  # days of the month in its first week
        parts = [first, *[7] * ((days_in_month - first) // 7), (days_in_month - first) % 7]
        cost = [_most_of(budget_micros, rule, days) for days in parts]
        most = np.maximum(most, np.sum(cost, axis=0, dtype=np.int64))
    ratio = rule.of_month(days_in_month)
    return most if ratio is None else np.minimum(most, at_most(budget_micros, ratio))


def _most_of(budget_micros: Ints, rule: DeliveryRule, days: int) -> Ints:
    """Most that `days` of one calendar week may cost."""
    most = most_a_day(budget_micros, rule) * days
    return most if rule.week is None else np.minimum(most, at_most(budget_micros, rule.week))


class Delivery:
    """The platform's side of a daily budget: what it lets a day cost, for a batch of worlds.

    A week's or month's allowance is set when it begins and anew whenever the budget changes: what is left is
    then the new budget times the days left. That is how the platforms word it, and it means that a budget
    changed daily is limited by the day's factor alone. An account that must not pass a monthly sum needs a
    cap of its own (`Limits.monthly_cap_micros`).

    Args:
        rule: of the platform.
        n_worlds: in the batch.

    Attributes:
        spent_today_micros, spent_week_micros, spent_month_micros: (n_worlds,) booked so far, today included.

    >>> delivery = Delivery(GOOGLE, n_worlds=1)
    >>> delivery.open_day(calendar_day(date(2025, 11, 1)))
    >>> delivery.cap(np.array([5_000_000])).tolist()
    [10000000]
    >>> delivery.book(np.array([10_000_000]))
    >>> delivery.open_day(calendar_day(date(2025, 11, 2)))
    >>> delivery.spent_month_micros.tolist(), delivery.spent_today_micros.tolist()
    ([10000000], [0])
    """

    def __init__(self, rule: DeliveryRule, n_worlds: int) -> None:
        self.rule = rule
        self.spent_today_micros = np.zeros(n_worlds, np.int64)
        self.spent_week_micros = np.zeros(n_worlds, np.int64)
        self.spent_month_micros = np.zeros(n_worlds, np.int64)
        self._day: CalendarDay | None = None
        self._budget = np.full(n_worlds, -1, np.int64)  # -1: none set yet
        self._highest = np.zeros(n_worlds, np.int64)  # budget of today
        self._week_limit = np.full(n_worlds, _UNLIMITED, np.int64)  # of all spend of the calendar week
        self._month_limit = np.full(n_worlds, _UNLIMITED, np.int64)

    def open_day(self, day: CalendarDay) -> None:
        """Begin a day: call it once, at midnight, before `cap`; days follow each other without gaps."""
        self._highest = np.zeros_like(self._highest)
        self.spent_today_micros = np.zeros_like(self._highest)
        begun = self._day is not None
        if not begun or day.days_left_of_week == 7:
            self.spent_week_micros = np.zeros_like(self._highest)
            self._allow_week(self._budget >= 0, day)
        if not begun or day.day_of_month == 1:
            self.spent_month_micros = np.zeros_like(self._highest)
            self._allow_month(self._budget >= 0, day)
        self._day = day

    def cap(self, budget_micros: Ints) -> Ints:
        """Most that today may cost in all, what is already spent included.

        Args:
            budget_micros: (n_worlds,) the approved daily budget as of now, from 0 to `LARGEST_MICROS`; may be
                set anew any number of times a day.

        Returns:
            (n_worlds,) micros; never below what today has cost already.
        """
        if self._day is None:
            raise BadInput("day", None, "must be open", "Call open_day first.")
        budget = _checked("budget_micros", budget_micros)
        changed = budget != self._budget
        self._budget = budget.copy()
        if changed.any():
            self._allow_week(changed, self._day)
            self._allow_month(changed, self._day)
        self._highest = np.maximum(self._highest, budget)
        most = most_a_day(self._highest, self.rule)
        most = np.minimum(most, self._week_limit - self.spent_week_micros + self.spent_today_micros)
        most = np.minimum(most, self._month_limit - self.spent_month_micros + self.spent_today_micros)
        most = np.where(budget > 0, most, 0)  # no budget, no delivery, whatever was set before
        cap: Ints = np.maximum(most, self.spent_today_micros)
        return cap

    def book(self, spent_micros: Ints) -> None:
        """Add what was spent since the last call; (n_worlds,) micros, at least 0."""
        spent = _checked("spent_micros", spent_micros, 100 * LARGEST_MICROS)
        self.spent_today_micros = self.spent_today_micros + spent
        self.spent_week_micros = self.spent_week_micros + spent
        self.spent_month_micros = self.spent_month_micros + spent

    def _allow_week(self, where: NDArray[np.bool_], day: CalendarDay) -> None:
        if self.rule.week is not None:
            left = self._left(self.rule.week, day.days_left_of_week, day.days_left_of_week == 7)
            self._week_limit = np.where(where, self.spent_week_micros + left, self._week_limit)

    def _allow_month(self, where: NDArray[np.bool_], day: CalendarDay) -> None:
        ratio = self.rule.of_month(day.days_in_month)
        if ratio is not None:
            left = self._left(ratio, day.days_left_of_month, day.day_of_month == 1)
            self._month_limit = np.where(where, self.spent_month_micros + left, self._month_limit)

    def _left(self, ratio: Ratio, days: int, whole: bool) -> Ints:
        """What a period allows from now on: its factor where it is whole, the days left where it is not."""
        budget = np.maximum(self._budget, 0)
        factor = at_most(budget, ratio)
        return factor if whole else np.minimum(factor, budget * days)


def _checked(name: str, micros: Ints, largest: int = LARGEST_MICROS) -> Ints:
    values = np.asarray(micros, np.int64)
    if ((values < 0) | (values > largest)).any():
        worst = int(values.min()) if (values < 0).any() else int(values.max())
        raise BadInput(name, worst, f"must be from 0 to {largest} micros", "Check its unit.")
    return values
