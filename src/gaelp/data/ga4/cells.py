"""Cells of an export as numbers, moments and days; one that cannot be read is refused by file and line.

Whole columns are looked at; which row it was is found out only once something is wrong.
"""

import datetime as dt
import re
from collections.abc import Callable
from typing import Any, Final, Never

from gaelp.core.errors import BadInput
from gaelp.data.ga4.arrow import Array, Table, pa, pc

Where = Callable[[int], str]
"""Names the place of a row of a table: `line 7 of FILE`."""

REMEDY: Final = "Correct that event or leave it out, then do this again."
NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"
NO_NUMBERS: Final = (
    "",
    "nan",
    "null",
    *(sign + word for sign in ("", "+", "-") for word in ("inf", "infinity")),
)
"""Stand for a number that is not there, in small letters."""
A_NUMBER: Final = "must be a number with a decimal point, as 12.50, or empty"
_DAY: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ]00:00:00(?:\.0+)?)?", re.ASCII)
_MOMENT: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?$"
LATEST_US: Final = 4_102_444_799_999_999  # the end of 2099, as in the journey database


def number(cells: Array) -> Array:
    """(n,) as floats; nothing where a cell is no finite number."""
    if pa.types.is_string(cells.type):
        cells = pc.if_else(pc.match_substring_regex(cells, NUMBER), cells, None)
    found = cells.cast(pa.float64())
    return pc.if_else(pc.is_finite(found), found, None)


def whole_number(cells: Array) -> Array:
    """(n,) whole numbers of text; nothing where a cell is none."""
    plain = pc.and_(pc.ascii_is_decimal(cells), pc.less(pc.binary_length(cells), 19))
    if pc.all(plain, min_count=0).as_py():  # as usual, and then a third of the time will do
        return cells.cast(pa.int64())
    readable = pc.match_substring_regex(cells, r"^-?\d{1,18}$")
    return pc.if_else(readable, cells, None).cast(pa.int64())


def check_names(cells: Array, where: Where) -> None:
    """Refuse an event without a name."""
    nameless = pc.fill_null(pc.equal(cells, ""), True)
    if pc.any(nameless).as_py():
        _refuse("event_name", cells, nameless, "must be there", where)


def check_amounts(name: str, found: Array, told: Array, where: Where) -> None:
    """Refuse an amount that is text and no number.

    Args:
        name: Google's. found: (n,) as `number` reads it. told: (n,) as text. where: names a row.
    """
    if found.null_count > told.null_count:
        bad = pc.and_(pc.is_valid(told), pc.is_null(found))
        bad = pc.and_not(bad, pc.is_in(pc.utf8_lower(told), value_set=pa.array(NO_NUMBERS)))
        if pc.any(bad).as_py():
            _refuse(name, told, bad, A_NUMBER, where)


def moments(told: Array, where: Where) -> Array:
    """(n,) microseconds since 1970 from text that says such, or from ISO 8601 in UTC; kept from 1970 to 2099.

    Clocks of devices may be wrong, and one of them stops no import: `rows.plausible` leaves the ends out.

    Raises:
        BadInput: one is missing, or is neither.
    """
    found = whole_number(told)
    if found.null_count:
        bare = pc.replace_substring_regex(told, r"(Z| UTC|\+00:?00)$", "")
        bare = pc.if_else(pc.match_substring_regex(bare, _MOMENT), bare, None)
        found = pc.coalesce(found, _times(bare).cast(pa.int64()))
    if found.null_count:
        allowed = "must be microseconds since 1970, or a time in UTC as 2026-03-01T12:00:00"
        _refuse("event_timestamp", told, pc.is_null(found), allowed, where)
    ends = pc.min_max(found).as_py() if len(found) else {"min": 0, "max": 0}
    if ends["min"] >= 0 and ends["max"] <= LATEST_US:
        return found
    return pc.min_element_wise(pc.max_element_wise(found, 0), LATEST_US)


def days(told: Array, at_us: Array, where: Where) -> Array:
    """(n,) YYYYMMDD; where none is told, that of the moment in UTC.

    Raises:
        BadInput: one is told and is no date.
    """
    coded = told.dictionary_encode()  # a table has few days
    known = [_day(text) for text in coded.dictionary.to_pylist()]
    if None in known:
        bad = pc.fill_null(pc.equal(coded.indices, known.index(None)), False)
        _refuse("event_date", told, bad, "must be a date as 20260301", where)
    found = pa.array(known, pa.int64()).take(coded.indices)
    if found.null_count:
        derived = pc.strftime(at_us.cast(pa.timestamp("us")), format="%Y%m%d").cast(pa.int64())
        found = pc.coalesce(found, derived)
    return found


def refuse_what_is_not_utf8(table: Table, where: Where) -> None:
    """Name the first cell that is no text in UTF-8; to be asked once that went wrong, since it is slow."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            for row, cell in enumerate(column):
                try:
                    cell.as_py()
                except UnicodeDecodeError as error:
                    allowed = "must be text in UTF-8"
                    raise BadInput(f"{name} in {where(row)}", error.object, allowed, REMEDY) from None


def _refuse(name: str, told: Array, bad: Array, allowed: str, where: Where) -> Never:
    row = pc.index(bad, True).as_py()
    raise BadInput(f"{name} in {where(row)}", told[row].as_py(), allowed, REMEDY)


def _times(texts: Array) -> Array:
    try:
        return texts.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # one of them is no date, as 2026-02-30
        return pa.array([_time(text) for text in texts], pa.timestamp("us"))


def _time(text: Any) -> Any:
    try:
        return text.cast(pa.timestamp("us")).as_py()
    except pa.ArrowInvalid:
        return None


def _day(text: str) -> int | None:
    parts = _DAY.fullmatch(text)
    try:
        return int(f"{dt.date(*map(int, parts.groups())):%Y%m%d}") if parts else None
    except ValueError:
        return None
