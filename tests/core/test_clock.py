"""Hours since a start agree with the calendar."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp.core.clock import Clock
from gaelp.core.errors import BadInput

FULL_HOURS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2090, 1, 1)).map(
    lambda moment: moment.replace(minute=0, second=0, microsecond=0, tzinfo=dt.UTC)
)


@given(FULL_HOURS, st.integers(-50_000, 50_000))
def test_hour_of_week_is_that_of_the_date(start: dt.datetime, hour: int) -> None:
    clock = Clock(start)
    moment = clock.datetime(hour)
    assert clock.hour_of_week(hour) == moment.weekday() * 24 + moment.hour


@given(FULL_HOURS, st.integers(0, 400))
def test_the_table_holds_every_hour_in_turn(start: dt.datetime, n_hours: int) -> None:
    clock = Clock(start)
    assert clock.hour_of_week_table(n_hours).tolist() == [clock.hour_of_week(h) for h in range(n_hours)]


def test_day_of_year_counts_leap_days() -> None:
    clock = Clock(dt.datetime(2028, 2, 28, tzinfo=dt.UTC))
    assert [clock.day_of_year(day) for day in (-58, 0, 1, 2, 307, 308)] == [1, 59, 60, 61, 366, 1]


@pytest.mark.parametrize(
    "start",
    [
        dt.datetime(2026, 1, 1),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.datetime(2026, 1, 1, 0, 30, tzinfo=dt.UTC),
    ],
)
def test_a_start_that_is_no_full_utc_hour_is_refused(start: dt.datetime) -> None:
    with pytest.raises(BadInput, match="`start` was"):
        Clock(start)


def test_a_table_of_negative_length_is_refused() -> None:
    with pytest.raises(BadInput, match="`n_hours` was -1"):
        Clock(dt.datetime(2026, 1, 1, tzinfo=dt.UTC)).hour_of_week_table(-1)
