"""The one clock: whole hours since a start, in UTC."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput

SECONDS_PER_HOUR: Final = 3600
HOURS_PER_DAY: Final = 24
HOURS_PER_WEEK: Final = 168


@dataclass(frozen=True)
class Clock:
    """Turns hours and days since a start into dates; it holds no present moment.

    Args:
        start: the beginning of hour 0 and day 0: aware, UTC, on the full hour.

    Raises:
        BadInput: if `start` has no zone, another zone than UTC, or minutes.

    >>> from datetime import UTC, datetime
    >>> clock = Clock(datetime(2026, 3, 1, 22, tzinfo=UTC))  # a Sunday, 22:00
    >>> clock.datetime(2).isoformat(), clock.hour_of_week(1), clock.hour_of_week(2)
    ('2026-03-02T00:00:00+00:00', 167, 0)
    """

    start: dt.datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() != dt.timedelta(0):
            raise BadInput("start", self.start, "must be in UTC", "Use datetime(..., tzinfo=datetime.UTC).")
        if self.start.minute or self.start.second or self.start.microsecond:
            raise BadInput("start", self.start, "must be a full hour", "Drop minutes and seconds.")

    def datetime(self, hour: int) -> dt.datetime:
        """Return when an hour begins.

        Args:
            hour: hours since the start; may be negative.

        Returns:
            The moment in UTC.
        """
        return self.start + dt.timedelta(hours=int(hour))

    def hour_of_week(self, hour: int) -> int:
        """Return an hour's place in its week.

        Args:
            hour: hours since the start; may be negative.

        Returns:
            0 to 167, Monday 0:00 UTC being 0.
        """
        return (self._first_hour_of_week + int(hour)) % HOURS_PER_WEEK

    def hour_of_week_table(self, n_hours: int) -> NDArray[np.int64]:
        """Return every hour's place in its week, from hour 0 on.

        Args:
            n_hours: how many hours, at least 0.

        Returns:
            (n_hours,) values 0 to 167, Monday 0:00 UTC being 0.

        Raises:
            BadInput: if `n_hours` is negative.

        >>> from datetime import UTC, datetime
        >>> Clock(datetime(2026, 3, 1, 22, tzinfo=UTC)).hour_of_week_table(4).tolist()
        [166, 167, 0, 1]
        """
        if n_hours < 0:
            raise BadInput("n_hours", n_hours, "must be at least 0", "Count hours from the clock's start.")
        return (self._first_hour_of_week + np.arange(n_hours, dtype=np.int64)) % HOURS_PER_WEEK

    def day_of_year(self, day: int) -> int:
        """Return a day's place in its year, at the hour of the clock's start.

        Args:
            day: days since the start; may be negative.

        Returns:
            1 for 1 January to 365, or 366 in a leap year.

        >>> from datetime import UTC, datetime
        >>> Clock(datetime(2026, 12, 31, tzinfo=UTC)).day_of_year(0)
        365
        """
        return (self.start + dt.timedelta(days=int(day))).timetuple().tm_yday

    @property
    def _first_hour_of_week(self) -> int:
        return self.start.weekday() * HOURS_PER_DAY + self.start.hour
