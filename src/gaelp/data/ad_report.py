"""What ad platforms report, read from a CSV file such as the `ads.csv` that `gaelp export ga4` writes.

report = read_ad_report(Path("ads.csv"), by=("hour",))
report, n_outside = report.within(first, last)
report.counts[report.channel == Channel.SEARCH]
"""

import csv
import datetime as dt
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import Channel

COUNTS: Final = ("impressions", "clicks", "cost_micros", "conversions")
AD_COLUMNS: Final = ("date", "channel", *COUNTS)
"""Columns that every report has; `hour` and `line` say more, others do no harm."""
_PARTS: Final = ("conversions",)
"""Counts that a platform may split between clicks; the others are whole."""
_LIMIT: Final = 1e15  # whole numbers below it are exact as floats
_HOURS: Final = {text: hour for hour in range(24) for text in (str(hour), f"{hour:02d}")}
_CHANNELS: Final = {channel.name.lower(): channel for channel in Channel}


@dataclass(frozen=True, kw_only=True, eq=False)
class AdReport:
    """Rows of a report, in the order of the file.

    Attributes:
        date: (n,) days. hour: (n,) 0 to 23, -1 where the report has no hours.
        channel: (n,) `Channel`. line: of each row, "" where the report has no lines.
        counts: (n, 4) in the order of `COUNTS`, NaN where a cell is empty: not told.
    """

    date: NDArray[np.datetime64]
    hour: NDArray[np.int64]
    channel: NDArray[np.int64]
    line: tuple[str, ...]
    counts: NDArray[np.float64]

    def within(self, first: dt.date, last: dt.date) -> tuple["AdReport", int]:
        """The rows of some days, and how many rows lie outside.

        Args:
            first, last: days that count, both included.
        """
        inside = (self.date >= np.datetime64(first)) & (self.date <= np.datetime64(last))
        kept = AdReport(
            date=self.date[inside],
            hour=self.hour[inside],
            channel=self.channel[inside],
            line=tuple(compress(self.line, inside.tolist())),
            counts=self.counts[inside],
        )
        return kept, int((~inside).sum())


def read_ad_report(path: Path, by: tuple[str, ...] = ()) -> AdReport:
    """Read a report of ad platforms.

    Args:
        path: a CSV file with `AD_COLUMNS`. by: of "hour" and "line", those that must be there too.

    Raises:
        BadInput: the file cannot be read, lacks a column or names one twice, has a row of more or fewer
            cells than columns or a cell that is not what it should be, or tells a date, hour, channel and
            line twice (of those columns that it has); names the line.
    """
    rows: list[tuple[dt.date, int, Channel, str, list[float]]] = []
    told: dict[tuple[object, ...], int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            needed = (*AD_COLUMNS, *by)
            lacking = [name for name in needed if name not in (reader.fieldnames or ())]
            if lacking:
                given, allowed = f"without {', '.join(lacking)}", f"must have the columns {', '.join(needed)}"
                raise BadInput("ads", given, allowed, "`gaelp export ga4` writes such a file.")
            columns = reader.fieldnames or ()
            repeated = sorted({name for name in columns if columns.count(name) > 1})
            if repeated:
                raise BadInput("ads", path.name, f"must name each column once, not {repeated}", "Rename one.")
            for row in reader:
                where = f"line {reader.line_num} of {path.name}"
                rows.append(_row(where, row, by))
                cell = _cell(row, rows[-1])
                if told.setdefault(cell, reader.line_num) != reader.line_num:
                    allowed = f"must be told once, and line {told[cell]} told them"
                    remedy = "Sum such rows, or name their lines in a column `line`."
                    raise BadInput(f"date, hour, channel and line on {where}", cell, allowed, remedy)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput("ads", str(path), f"could not be read: {error}", "Check the path.") from None
    return AdReport(
        date=np.array([row[0] for row in rows], "datetime64[D]"),
        hour=np.array([row[1] for row in rows], np.int64),
        channel=np.array([row[2] for row in rows], np.int64),
        line=tuple(row[3] for row in rows),
        counts=np.array([row[4] for row in rows], np.float64).reshape(-1, len(COUNTS)),
    )


def _row(
    where: str, row: dict[Any, Any], by: tuple[str, ...]
) -> tuple[dt.date, int, Channel, str, list[float]]:
    if None in row:
        remedy = "Quote cells with commas in them."
        raise BadInput(where, f"{len(row[None])} more cells", "must have a cell for each column", remedy)
    lacking = sum(cell is None for cell in row.values())
    if lacking:
        remedy = "Write an empty cell where nothing is told."
        raise BadInput(where, f"{lacking} cells too few", "must have a cell for each column", remedy)
    try:
        date = dt.date.fromisoformat(row["date"] or "")
    except ValueError:
        raise BadInput(
            f"date on {where}", row["date"], "must be a day, as 2025-05-02", "Correct it."
        ) from None
    channel = _CHANNELS.get(row["channel"])
    if channel is None:
        allowed = f"must be one of {', '.join(_CHANNELS)}"
        raise BadInput(f"channel on {where}", row["channel"], allowed, "Rename it.")
    hour, line = -1, ""
    if "hour" in by:
        hour = _HOURS.get(row["hour"], -1)
        if hour < 0:
            raise BadInput(f"hour on {where}", row["hour"], "must be from 0 to 23", "Correct it.")
    if "line" in by:
        line = row["line"] or ""
        if not line:
            raise BadInput(f"line on {where}", line, "must be named", "Name the line of the row.")
    return date, hour, channel, line, [_count(where, name, row[name]) for name in COUNTS]


def _cell(row: dict[Any, Any], read: tuple[dt.date, int, Channel, str, list[float]]) -> tuple[object, ...]:
    """What a row is about; of hour and line also where nobody asked for them."""
    hour, line = row.get("hour") or "", row.get("line") or ""
    return str(read[0]), _HOURS.get(hour, hour), read[2].name.lower(), line


def _count(where: str, name: str, cell: str | None) -> float:
    if not cell:
        return float("nan")
    try:
        number = float(cell)
    except ValueError:
        number = -1.0
    if not 0 <= number < _LIMIT or (name not in _PARTS and not number.is_integer()):
        kind = "a number" if name in _PARTS else "a whole number"
        raise BadInput(f"{name} on {where}", cell, f"must be {kind} of at least 0", "Correct it.")
    return number
