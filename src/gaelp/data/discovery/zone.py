"""In which time zone a property counts its days: told, or read off the days that its events are put on.

An export says of each event the moment, in UTC, and the property's day. A zone is right if it puts the
moments on these days; events near midnight decide.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.data.discovery.intervals import Floats
from gaelp.data.ga4.arrow import Table
from gaelp.journeys.batch import US_PER_DAY, US_PER_HOUR, Ints

_QUARTER_US: Final = US_PER_HOUR // 4
_USUAL: Final = (
    *("UTC", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"),
    *("Europe/London", "Europe/Berlin", "Europe/Athens", "Asia/Kolkata", "Asia/Tokyo", "Asia/Shanghai"),
    *("Australia/Sydney", "America/Sao_Paulo", "America/Phoenix", "America/Halifax", "Pacific/Auckland"),
)
"""Named first among zones whose clocks agree."""
_TOLERATED: Final = 0.002  # share of events on another day: clocks of devices, days of changing clocks


@dataclass
class Dates:
    """Events by their day as told and the quarter of an hour in UTC they happened in."""

    counts: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, events: Table) -> None:
        """Take the rows of a flat table, see `ga4.columns.FLAT`."""
        if not events.num_rows:
            return
        day = events["event_date"].to_numpy().astype(np.int64)
        key = day * 10_000_000 + events["event_us"].to_numpy() // _QUARTER_US
        for each, n in zip(*np.unique(key, return_counts=True), strict=True):
            self.counts[int(each) // 10_000_000, int(each) % 10_000_000] += int(n)

    def ends(self) -> tuple[date, date]:
        """The first and the last `event_date`; all days, where none is told.

        Raises:
            BadInput: one is no day.
        """
        days = {day for day, _ in self.counts}
        try:
            found = [datetime.strptime(str(day), "%Y%m%d").date() for day in days]
        except ValueError:
            remedy = "Export the tables again."
            raise BadInput("event_date", sorted(days), "must be days, as 20250301", remedy) from None
        return min(found, default=date.min), max(found, default=date.max)

    def misplaced(self, zone: ZoneInfo) -> float:
        """Share of events that a zone puts on another day than they were told on."""
        offset: dict[int, timedelta] = {}
        wrong = 0
        for (day, quarter), n in self.counts.items():
            moment = datetime.fromtimestamp(quarter * 900, UTC)
            noon = quarter // 96
            if noon not in offset:
                offset[noon] = moment.replace(hour=12, minute=0).astimezone(zone).utcoffset() or timedelta()
            wrong += n * (int(f"{moment + offset[noon]:%Y%m%d}") != day)
        return wrong / max(sum(self.counts.values()), 1)


@dataclass(frozen=True)
class Zone:
    """The zone that hours and weekdays are told in.

    Attributes:
        name: IANA name. how: given, read (off the export's days) or assumed.
        misplaced: share of events that it puts on another day than the export does; None: no days are told.
        unknown: why the property's own zone could not be told; None where it could.
    """

    name: str
    how: str
    misplaced: float | None = None
    unknown: str | None = None

    def local_hours(self, at_us: Ints, begin_us: int, end_us: int) -> tuple[Ints, Ints, Ints]:
        """Hour of the day, weekday (Monday is 0) and day (since 1970) in the zone, each (n,).

        Args:
            at_us: (n,) microseconds since 1970, UTC. begin_us, end_us: they lie within.
        """
        first = begin_us // _QUARTER_US
        local = at_us + _offsets(self.name, first, end_us // _QUARTER_US)[at_us // _QUARTER_US - first]
        day = local // US_PER_DAY
        return local % US_PER_DAY // US_PER_HOUR, (day + 3) % 7, day  # 1970 began on a Thursday

    def exposure(self, begin_us: int, end_us: int) -> tuple[Floats, Floats]:
        """How often each hour of the day and each weekday passed: (24,) hours, (7,) days."""
        quarters = np.arange(begin_us // _QUARTER_US, end_us // _QUARTER_US + 1)
        hour, weekday, _ = self.local_hours(
            np.clip(quarters * _QUARTER_US, begin_us, end_us), begin_us, end_us
        )
        return np.bincount(hour, minlength=24) / 4, np.bincount(weekday, minlength=7) / 96

    def as_dict(self) -> dict[str, Any]:
        """As the JSON tells it."""
        told: dict[str, Any] = {"name": self.name, "how": self.how, "misplaced": self.misplaced}
        return told if self.unknown is None else {**told, "unknown": self.unknown}


def find_zone(asked: str | None, dates: Dates) -> Zone:
    """The zone asked for, else that which puts events on the days the export tells.

    Args:
        asked: IANA name; None: read it off the days, else UTC is assumed and said to be.
        dates: of the export; empty where no days are told.

    Raises:
        BadInput: there is no such zone.
    """
    if asked is not None:
        try:
            zone = ZoneInfo(asked)
        except (KeyError, ValueError, OSError):
            remedy = "Use a name such as Europe/Berlin, or UTC."
            raise BadInput("time_zone", asked, "must be an IANA time zone", remedy) from None
        return Zone(asked, "given", dates.misplaced(zone) if dates.counts else None)
    if not dates.counts:
        return Zone("UTC", "assumed", None, "a journey database does not tell the property's zone")
    best, alike = _best(dates)
    wrong = dates.misplaced(ZoneInfo(best))
    if wrong > _TOLERATED:
        return Zone("UTC", "assumed", wrong, "no zone puts the events on the days that the export tells")
    if alike > 1:
        reason = f"{alike} zones with different clocks fit: too few events near midnight"
        return Zone("UTC", "assumed", dates.misplaced(ZoneInfo("UTC")), reason)
    return Zone(best, "read", wrong)


@lru_cache(maxsize=4)
def _offsets(name: str, first: int, last: int) -> Ints:
    """Microseconds ahead of UTC, for each quarter of an hour since 1970 from the first to the last."""
    zone, found = ZoneInfo(name), []
    for quarter in range(first, last + 1):
        ahead = datetime.fromtimestamp(quarter * 900, UTC).astimezone(zone).utcoffset() or timedelta()
        found.append(int(ahead.total_seconds()) * 1_000_000)
    return np.array(found, np.int64)


def _best(dates: Dates) -> tuple[str, int]:
    """The zone that misplaces least, and how many different clocks do as well, by the clock at noon."""
    days = sorted({quarter // 96 for _, quarter in dates.counts})
    noons = [datetime.fromtimestamp((day * 24 + 12) * 3600, UTC) for day in days]
    clocks: dict[tuple[Any, ...], str] = {}
    for name in (*_USUAL, *sorted(available_timezones() - set(_USUAL))):
        if name.startswith(("Etc/", "SystemV/", "posix/", "right/")) or ("/" not in name and name != "UTC"):
            continue
        zone = ZoneInfo(name)
        clocks.setdefault(tuple(noon.astimezone(zone).utcoffset() for noon in noons), name)
    wrong = _misplaced_by_clock(dates, days, list(clocks))
    least = wrong.min()
    names = list(clocks.values())
    return names[int(wrong.argmin())], int((wrong == least).sum())


def _misplaced_by_clock(dates: Dates, days: list[int], clocks: list[tuple[Any, ...]]) -> Ints:
    """(n_clocks,) events on another day; the clock of each UTC day is that of its noon."""
    day, quarter, n = np.array([(*key, n) for key, n in dates.counts.items()], np.int64).T
    told = np.array([np.datetime64(f"{d // 10000:04d}-{d // 100 % 100:02d}-{d % 100:02d}") for d in day])
    since = told.astype("datetime64[D]").astype(np.int64)
    of_day = np.searchsorted(days, quarter // 96)
    found = []
    for clock in clocks:
        ahead = np.array([offset.total_seconds() // 900 for offset in clock], np.int64)
        found.append(int(n[(quarter + ahead[of_day]) // 96 != since].sum()))
    return np.array(found, np.int64)
