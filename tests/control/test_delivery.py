"""Platforms' overdelivery in whole micros: rules against exact fractions and a second book-keeping."""

from datetime import date, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp.control import delivery
from gaelp.control.delivery import (
    DELIVERY_RULES,
    GOOGLE,
    LARGEST_MICROS,
    META,
    MICROSOFT,
    STRICT,
    TIKTOK,
    Delivery,
    DeliveryRule,
    Ratio,
    at_most,
    calendar_day,
    largest_budget,
)
from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES

micros = st.one_of(
    st.integers(0, 400), st.integers(0, LARGEST_MICROS), st.sampled_from([0, 1, LARGEST_MICROS])
)
ratios = st.tuples(st.integers(1, 1000), st.integers(1, 1000)).map(lambda p: Ratio(max(p), min(p)))
rules = st.sampled_from(list(DELIVERY_RULES.values()))


@given(budget=micros, ratio=ratios)
def test_at_most_is_exact_for_any_budget(budget, ratio):
    expected = budget * ratio.numerator // ratio.denominator  # whole numbers of any size
    assert at_most(np.array([budget]), ratio)[0] == expected


@given(cap=st.one_of(micros, st.integers(0, 2**63 - 2)), ratio=ratios)
def test_the_largest_budget_keeps_the_cap_and_one_micro_more_breaks_it(cap, ratio):
    found = int(largest_budget(np.array([cap]), ratio)[0])
    assert found * ratio.numerator // ratio.denominator <= cap
    assert (found + 1) * ratio.numerator // ratio.denominator > cap


@pytest.mark.golden
@pytest.mark.parametrize(
    ("rule", "day", "week", "month"),
    [
        (GOOGLE, 20_000_000, 140_000_000, 304_000_000),  # answer/1704443: 5 USD a day, 152 USD a month
        (META, 17_500_000, 70_000_000, 350_000_000),  # 100 a day: 175 on one day, 700 a week
        (TIKTOK, 12_500_000, 70_000_000, 322_500_000),  # 50 a day: 62.50 on one day, 350 a week
        (MICROSOFT, 20_000_000, 140_000_000, 300_000_000),
        (STRICT, 10_000_000, 70_000_000, 300_000_000),
    ],
)
def test_ten_dollars_a_day_may_cost_what_the_platforms_publish(rule, day, week, month):
    """Days, weeks and Google's month are published; other months follow: 4 + 3 x 7 + 5 days are dearest."""
    budget = np.array([10_000_000])
    assert delivery.most_a_day(budget, rule).tolist() == [day]
    assert delivery.most_a_week(budget, rule).tolist() == [week]
    assert delivery.most_a_month(budget, rule, 30).tolist() == [month]


@pytest.mark.golden
def test_googles_own_example_of_a_change_in_november():
    """answer/10487143: 5 USD from 1 November, 103 USD spent, 10 USD from the 24th: at most 173 USD."""
    platform = Delivery(GOOGLE, n_worlds=1)
    day, spent = date(2025, 11, 1), 0
    while day < date(2025, 12, 1):
        late = day >= date(2025, 11, 24)
        platform.open_day(calendar_day(day))
        most = int(platform.cap(np.array([10_000_000 if late else 5_000_000]))[0])
        used = most if late else min(most, 103_000_000 - spent)
        platform.book(np.array([used]))
        spent += used
        day += timedelta(1)
    assert spent == 173_000_000


def test_a_day_is_limited_by_its_highest_budget_but_no_budget_ends_it():
    """answer/10487143: first 50, then 5 in one day: the day's limit is 100."""
    platform = Delivery(GOOGLE, n_worlds=1)
    platform.open_day(calendar_day(date(2025, 6, 3)))
    assert platform.cap(np.array([50_000_000]))[0] == 100_000_000
    assert platform.cap(np.array([5_000_000]))[0] == 100_000_000
    platform.book(np.array([7_000_000]))
    assert platform.cap(np.array([0]))[0] == 7_000_000


class Books:
    """A second book-keeping of one world, in fractions and in the words of the rules."""

    def __init__(self, rule):
        self.rule, self.budget = rule, None
        self.week_left = self.month_left = None
        self.day = None

    def open(self, day):
        first = self.day is None
        self.day, self.highest, self.spent = day, 0, 0
        if self.budget is not None and (first or day.weekday() == 6):
            self.renew_week()
        if self.budget is not None and (first or day.day == 1):
            self.renew_month()

    def factor(self):
        length = calendar_day(self.day).days_in_month
        return length if self.rule.month_by_days else self.rule.month and Fraction(*self.rule.month)

    def renew_week(self):
        if self.rule.week:
            left = 7 - (self.day.weekday() + 1) % 7
            self.week_left = int(min(Fraction(*self.rule.week), left) * self.budget)

    def renew_month(self):
        if self.factor():
            left = calendar_day(self.day).days_in_month - self.day.day + 1
            whole = self.day.day == 1
            self.month_left = int((self.factor() if whole else min(self.factor(), left)) * self.budget)

    def most(self, budget):
        if budget != self.budget:
            self.budget = budget
            self.renew_week()
            self.renew_month()
        self.highest = max(self.highest, budget)
        left = [int(Fraction(*self.rule.day) * self.highest) - self.spent]
        left += [limit for limit in (self.week_left, self.month_left) if limit is not None]
        return 0 if budget == 0 else max(0, min(left))

    def book(self, spent):
        self.spent += spent
        self.week_left = None if self.week_left is None else self.week_left - spent
        self.month_left = None if self.month_left is None else self.month_left - spent


@settings(deadline=None)
@given(
    rule=rules,
    start=st.dates(date(2024, 1, 1), date(2028, 1, 1)),
    plan=st.lists(
        st.tuples(st.lists(st.sampled_from([0, 7, 33, 100]), min_size=1, max_size=3), st.integers(0, 4)),
        min_size=1,
        max_size=70,
    ),
)
def test_every_days_cap_is_what_a_second_book_keeping_finds(rule, start, plan):
    platform, books = Delivery(rule, n_worlds=1), Books(rule)
    for i, (budgets, quarters) in enumerate(plan):
        today = start + timedelta(i)
        platform.open_day(calendar_day(today))
        books.open(today)
        for budget in budgets:
            left = int((platform.cap(np.array([budget])) - platform.spent_today_micros)[0])
            assert left == books.most(budget)
            used = left * quarters // 4
            platform.book(np.array([used]))
            books.book(used)


@settings(deadline=None, max_examples=60)
@given(rule=rules, start=st.dates(date(2024, 1, 1), date(2028, 1, 1)), seed=st.integers(0, 2**32 - 1))
def test_a_budget_that_stays_costs_no_more_than_the_rule_on_any_day_week_or_month(rule, start, seed):
    generator = np.random.default_rng(seed)
    budget = np.concatenate([[0, 1, 3], generator.integers(0, LARGEST_MICROS, 5)])
    greedy = generator.random() < 0.5
    platform = Delivery(rule, n_worlds=budget.size)
    for i in range(100):
        today = start + timedelta(i)
        platform.open_day(calendar_day(today))
        most = platform.cap(budget)
        used = most if greedy else (most * generator.random(budget.size)).astype(np.int64)
        platform.book(np.minimum(used, most))
        length = calendar_day(today).days_in_month
        assert (platform.spent_today_micros <= delivery.most_a_day(budget, rule)).all()
        assert (platform.spent_week_micros <= delivery.most_a_week(budget, rule)).all()
        assert (platform.spent_month_micros <= delivery.most_a_month(budget, rule, length)).all()


def test_a_greedy_platform_does_spend_what_the_month_allows():
    budget = np.array([10_000_000])
    for rule in DELIVERY_RULES.values():
        platform, day = Delivery(rule, n_worlds=1), date(2026, 3, 29)  # a Sunday; April begins on Wednesday
        while day < date(2026, 5, 1):
            platform.open_day(calendar_day(day))
            most = platform.cap(budget)
            platform.book(most if day.month == 4 else np.zeros(1, np.int64))
            day += timedelta(1)
        assert platform.spent_month_micros[0] == delivery.most_a_month(budget, rule, 30)[0], rule.name


@given(day=st.dates(date(1990, 1, 1), date(2100, 1, 1)))
def test_days_left_lead_to_saturday_and_to_the_last_of_the_month(day):
    here = calendar_day(day)
    assert (day + timedelta(here.days_left_of_week - 1)).weekday() == 5
    assert (day + timedelta(here.days_left_of_month)).day == 1
    assert (day + timedelta(here.days_left_of_month - 1)).month == day.month


def test_amounts_that_are_none_are_refused():
    for bad in (-1, LARGEST_MICROS + 1):
        with pytest.raises(BadInput, match="budget_micros"):
            at_most(np.array([bad]), Ratio(2, 1))
    platform = Delivery(STRICT, n_worlds=1)
    with pytest.raises(BadInput, match="Call open_day first"):
        platform.cap(np.array([1]))
    for bad in (Ratio(1, 2), Ratio(0, 0), Ratio(10**7, 1)):
        with pytest.raises(BadInput, match="ratio"):
            DeliveryRule(name="x", day=bad, source="x")


def test_every_line_has_a_rule_and_every_rule_a_source():
    assert len(delivery.LINE_RULES) == N_LINES
    assert set(delivery.LINE_RULES) <= set(DELIVERY_RULES.values())
    assert all(rule.source for rule in DELIVERY_RULES.values())
