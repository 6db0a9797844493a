"""What is wrong with a request, in words of the request: no names of classes, of patterns or of libraries."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

NO_NUL = r"^[^\x00]*$"
NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$"
CURRENCY = "^[A-Z]{3}$"
ID = r"^[\w.:-]+$"
SECONDS = "^[0-9]{1,12}$"

_LONGEST = 200
_SEE = "must be as /openapi.json says"
_HELD_NUL = "text may not hold the character NUL"
_PATTERNS = {
    NO_NUL: _HELD_NUL,
    NO_CONTROLS: "text may not hold control characters, such as line breaks",
    CURRENCY: "must be three capital letters",
    ID: "may hold letters, digits and the characters _ . : - only",
    SECONDS: "must be whole seconds since 1970 began",
}
_MOMENT = "must be a moment with its time zone, as 2026-11-22T01:12:09Z"
_WORDS = {
    "missing": "must be given",
    "extra_forbidden": "must be left out: there is no such field",
    "string_type": "must be text",
    "string_unicode": "must be text of whole Unicode characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "json_invalid": "must be JSON",
    "timezone_aware": _MOMENT,
    "no_day": "must be a day, as 2026-11-21",
    "day_bounds": "must be a day from {first} to {last}",
}
_KINDS = ("int_type", "float_type", "string_type")
_BRANCHES = ("constrained-int", "constrained-float", "constrained-str")  # of a cell of features, by Pydantic


def complaint(errors: Sequence[Mapping[str, Any]]) -> tuple[str, Any, str]:
    """The first thing that is wrong.

    Args:
        errors: as Pydantic tells them, at least one, with the part of the request first in `loc`.

    Returns:
        Name of the field, what it was (None: not told), and what it may be.
    """
    where = _where(errors[0])
    name = ".".join(where[1:]) or where[0]
    same = [each for each in errors if _where(each) == where]
    nearer = [each for each in same if each["type"] not in _KINDS]
    first = nearer[-1] if nearer else same[0]
    if first["type"] == "json_invalid":
        return "body", None, _WORDS["json_invalid"]
    if not nearer and len(same) > 1:  # a cell that is of no kind that a cell may be
        return name, first.get("input"), "must be a number, text or null"
    return name, None if first["type"] == "missing" else first.get("input"), _allowed(first)


def shown(value: object) -> str | int | float | bool | None:
    """A value as an answer can hold it: moments and structures as text, as JSON writes them, and cut.

    >>> shown((9, None)), shown(dt.date(2026, 11, 21)), shown(1e300)
    ('[9, null]', '2026-11-21', '1e+300')
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < 1e15:
        return value
    if isinstance(value, str | bytes):
        return cut(value if isinstance(value, str) else value.decode("utf-8", "replace"))
    if isinstance(value, dt.date):
        return value.isoformat()
    try:
        return cut(json.dumps(value, ensure_ascii=False, default=str))  # NaN and the huge become text, too
    except (ValueError, RecursionError):
        return "(too large to show)"


def cut(text: str) -> str:
    """The beginning of a text, as every reader of JSON can hold it."""
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()


def _where(error: Mapping[str, Any]) -> list[str]:
    parts = [str(part) for part in error["loc"]]
    return parts[:-1] if len(parts) > 1 and parts[-1] in (*_BRANCHES, "[key]") else parts


def _allowed(error: Mapping[str, Any]) -> str:
    kind, ctx, given = error["type"], error.get("ctx") or {}, error.get("input")
    if kind == "string_pattern_mismatch":
        if isinstance(given, str) and "\0" in given:
            return _HELD_NUL
        return _PATTERNS.get(ctx["pattern"], _SEE)
    if kind.startswith("datetime_"):
        return _MOMENT
    if ctx.get("min_length") == 1:
        return "must not be empty"
    limits = {key: each.isoformat() if isinstance(each, dt.date) else each for key, each in ctx.items()}
    return _WORDS.get(kind, _SEE).format(**limits)
