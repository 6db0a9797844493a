"""Journeys as arrays: integer codes with offsets, the one form that attribution, features and training read.

A *row* is one journey, or several journeys with equal touches: it says how many of them converted and how
many ended without. Row `i` has the touches `offsets[i]` to `offsets[i + 1]`; a row without touches is a
journey that nobody touched.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.clock import HOURS_PER_DAY
from gaelp.core.errors import BadInput
from gaelp.core.words import TouchKind

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]

MOST_COUNTED = 2**53
"""Counts add up to less than this: their sums are taken in floats."""
MOST_USD = 9.2e12
"""Most that micros of 64 bits hold."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JourneyTable:
    """Journeys in compressed rows; checked once, here.

    Attributes:
        channels: names by code, all different.
        offsets: (n_rows + 1,) where each row's touches begin; from 0 to n_touches, never falling.
        channel: (n_touches,) channel codes, oldest first within a row.
        conversions: (n_rows,) journeys that converted, whole numbers.
        nulls: (n_rows,) journeys that ended without converting.
        value_usd_micros: (n_rows,) worth of the row's conversions together; 0 where none converted.
        touch_hour: (n_touches,) hours since any one moment, rising within a row; None: not known.
        end_hour: (n_rows,) when the journey converted or its observation ended; given with `touch_hour`.
        kind: (n_touches,) `TouchKind` codes; None: not known, every touch counts as a click.
        person: (n_rows,) who; rows of one person are resampled together. None: each journey is its own.

    Raises:
        BadInput: shapes disagree, a code names no channel, times are not finite, fall within a row or lie
            after its end, a count is negative or not whole, or there is value without a conversion.

    >>> table = JourneyTable(
    ...     channels=("search", "social"),
    ...     offsets=[0, 2, 3],
    ...     channel=[1, 0, 1],
    ...     conversions=[1, 0],
    ...     nulls=[0, 4],
    ...     value_usd_micros=[180_000_000, 0],
    ... )
    >>> table.path(0), table.n_rows, table.n_touches
    (('social', 'search'), 2, 3)
    """

    channels: tuple[str, ...]
    offsets: Ints
    channel: Codes
    conversions: Ints
    nulls: Ints
    value_usd_micros: Ints
    touch_hour: Floats | None = None
    end_hour: Floats | None = None
    kind: NDArray[np.uint8] | None = None
    person: Ints | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        for name, kind in _TYPES.items():
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _array(name, given, kind))
        self._check_shapes()
        self._check_codes()
        self._check_counts()
        if self.touch_hour is not None:
            self._check_times()

    @property
    def n_rows(self) -> int:
        """Rows, each of one or several journeys."""
        return self.offsets.size - 1

    @property
    def n_touches(self) -> int:
        """Touches of all rows."""
        return self.channel.size

    @property
    def lengths(self) -> Ints:
        """(n_rows,) touches of each row."""
        return np.diff(self.offsets)

    @property
    def value_usd(self) -> Floats:
        """(n_rows,) worth of the row's conversions together, USD."""
        return self.value_usd_micros / 1e6

    def path(self, row: int) -> tuple[str, ...]:
        """Channel names of one row, oldest first."""
        return tuple(self.channels[i] for i in self.channel[self.offsets[row] : self.offsets[row + 1]])

    def within_windows(
        self, *, click_days: float | None = None, view_days: float | None = None
    ) -> "JourneyTable":
        """Leave out touches too old to count.

        The age of a touch is counted back from the row's end, converted or not; a touch exactly as old as
        the window stays. Impressions are views; every other kind of touch, and each touch of a table without
        kinds, is under the click window. A row may lose all its touches: it stays, untouched.

        Args:
            click_days: longest age of a click, a visit, a search or an opened e-mail; None: any.
            view_days: longest age of an impression; None: any.

        Raises:
            BadInput: a window is not positive, or the table lacks the times or kinds it needs.
        """
        for name, days in (("click_days", click_days), ("view_days", view_days)):
            if days is not None and not 0 < days < np.inf:
                raise BadInput(name, days, "must be above 0", "Give the window in days, for example 30.")
        if click_days is None and view_days is None:
            return self
        if self.touch_hour is None or self.end_hour is None:
            raise BadInput(
                "window", "a table without times", "needs the time of each touch", "Use an event table."
            )
        if view_days is not None and self.kind is None:
            raise BadInput(
                "view_days", view_days, "needs kinds of touches", "Use an event table that has them."
            )
        click_hours = np.inf if click_days is None else click_days * HOURS_PER_DAY
        view_hours = np.inf if view_days is None else view_days * HOURS_PER_DAY
        limit: Any = click_hours
        if self.kind is not None:
            limit = np.where(self.kind == TouchKind.IMPRESSION, view_hours, click_hours)
        kept = np.repeat(self.end_hour, self.lengths) - self.touch_hour <= limit
        return replace(
            self,
            offsets=np.concatenate(([0], np.cumsum(kept)))[self.offsets],
            channel=self.channel[kept],
            touch_hour=self.touch_hour[kept],
            kind=None if self.kind is None else self.kind[kept],
        )

    def _check_shapes(self) -> None:
        if self.offsets.size < 1 or self.offsets[0] != 0 or self.offsets[-1] != self.channel.size:
            ends = (*self.offsets[:1].tolist(), *self.offsets[-1:].tolist())
            allowed = f"must run from 0 to the number of touches, {self.channel.size}"
            raise BadInput("offsets", ends, allowed, "Begin with 0 and add one entry per row.")
        _refuse("offsets", self.offsets[1:], np.diff(self.offsets) >= 0, "offsets must not fall")
        per_row, per_touch = (self.n_rows,), (self.n_touches,)
        for name, shape in (
            ("conversions", per_row),
            ("nulls", per_row),
            ("value_usd_micros", per_row),
            ("end_hour", per_row),
            ("person", per_row),
            ("touch_hour", per_touch),
            ("kind", per_touch),
        ):
            given = getattr(self, name)
            if given is not None and given.shape != shape:
                remedy = "Give one entry per row, or per touch."
                raise BadInput(f"{name}.shape", given.shape, f"must be {shape}", remedy)
        if (self.touch_hour is None) != (self.end_hour is None):
            missing = "touch_hour" if self.touch_hour is None else "end_hour"
            raise BadInput(missing, None, "must come with its partner", "Give touch_hour and end_hour both.")

    def _check_codes(self) -> None:
        if len(set(self.channels)) < len(self.channels):
            repeated = sorted(name for name, n in Counter(self.channels).items() if n > 1)
            raise BadInput("channels", repeated, "must all be different", "Merge equal names.")
        known = (self.channel >= 0) & (self.channel < len(self.channels))
        _refuse("channel", self.channel, known, f"codes must be from 0 to {len(self.channels) - 1}")
        if self.kind is not None:
            touch = (self.kind <= max(TouchKind)) & (self.kind != TouchKind.CONVERSION)
            _refuse("kind", self.kind, touch, "must be a kind of touch; a conversion ends a row")

    def _check_counts(self) -> None:
        for name in ("conversions", "nulls"):
            counts = getattr(self, name)
            _refuse(name, counts, (counts >= 0) & (counts < MOST_COUNTED), "counts must be at least 0")
        sums = self.conversions.sum(dtype=np.float64) + self.nulls.sum(dtype=np.float64)
        if sums >= MOST_COUNTED:
            raise BadInput("conversions", sums, "must add up to less than 2^53", "Check the counts.")
        _refuse("value_usd_micros", self.value_usd_micros, self.value_usd_micros >= 0, "must be at least 0")
        paid_for = (self.conversions > 0) | (self.value_usd_micros == 0)
        _refuse("value_usd_micros", self.value_usd_micros, paid_for, "must be 0 on a row without conversions")

    def _check_times(self) -> None:
        assert self.touch_hour is not None and self.end_hour is not None
        for name, hours in (("touch_hour", self.touch_hour), ("end_hour", self.end_hour)):
            _refuse(name, hours, np.isfinite(hours), "must be finite")
        starts_row = np.zeros(self.n_touches, bool)
        starts_row[self.offsets[:-1][self.lengths > 0]] = True
        rises = np.ones(self.n_touches, bool)
        rises[1:] = (self.touch_hour[1:] >= self.touch_hour[:-1]) | starts_row[1:]
        _refuse("touch_hour", self.touch_hour, rises, "must not fall within a row; sort by time")
        touched = np.flatnonzero(self.lengths)
        last = self.touch_hour[self.offsets[touched + 1] - 1]
        in_time = np.ones(self.n_rows, bool)
        in_time[touched] = self.end_hour[touched] >= last
        _refuse("end_hour", self.end_hour, in_time, "must not lie before the row's last touch")


_TYPES: dict[str, Any] = {
    "offsets": np.int64,
    "channel": np.int32,
    "conversions": np.int64,
    "nulls": np.int64,
    "value_usd_micros": np.int64,
    "touch_hour": np.float64,
    "end_hour": np.float64,
    "kind": np.uint8,
    "person": np.int64,
}


def table_of_paths(
    paths: Sequence[Sequence[str]],
    conversions: ArrayLike,
    nulls: ArrayLike | None = None,
    value_usd: ArrayLike | None = None,
) -> JourneyTable:
    """A table from paths of channel names; channels are coded in alphabetical order.

    Args:
        paths: (n_rows,) names of each row's channels, oldest first; may be empty.
        conversions: (n_rows,) journeys that converted.
        nulls: (n_rows,) journeys that did not; None: no such journeys were recorded.
        value_usd: (n_rows,) worth of the row's conversions together, USD.

    Raises:
        BadInput: as `JourneyTable` does.

    >>> table_of_paths([("social", "search"), ("social",)], [1, 0], [0, 4]).channels
    ('search', 'social')
    """
    channels = sorted({name for path in paths for name in path})
    code = {name: i for i, name in enumerate(channels)}
    n_rows = len(paths)
    offsets = np.zeros(n_rows + 1, np.int64)
    np.cumsum([len(path) for path in paths], out=offsets[1:])
    return JourneyTable(
        channels=tuple(channels),
        offsets=offsets,
        channel=np.fromiter((code[name] for path in paths for name in path), np.int32, int(offsets[-1])),
        conversions=np.asarray(conversions),
        nulls=np.zeros(n_rows, np.int64) if nulls is None else np.asarray(nulls),
        value_usd_micros=micros("value_usd", np.zeros(n_rows) if value_usd is None else value_usd),
    )


def micros(name: str, usd: ArrayLike) -> Ints:
    """Dollars as whole micros, to the nearest.

    Args:
        name: what the amounts are called in an error.
        usd: (n,) amounts in USD, finite and within `MOST_USD`.

    Raises:
        BadInput: an amount is not.
    """
    amount = np.asarray(usd, np.float64)
    _refuse(name, amount, np.abs(amount) <= MOST_USD, f"must be a finite amount within {MOST_USD:g} USD")
    return np.rint(amount * 1e6).astype(np.int64)


def _array(name: str, given: ArrayLike, kind: Any) -> NDArray[Any]:
    """The array in its type; a change of type may not change a number."""
    raw = np.asarray(given)
    if raw.ndim != 1 or raw.dtype.kind not in "biuf":
        if raw.size:
            raise BadInput(name, given, "must be a list of numbers", "Give a one-dimensional array.")
        raw = np.zeros(0, kind)
    if raw.dtype == kind:
        return np.ascontiguousarray(raw)
    with np.errstate(invalid="ignore"):
        made = np.ascontiguousarray(raw.astype(kind))
    if made.dtype.kind != "f":
        _refuse(name, raw, made == raw, "must be whole numbers in range")
    return made


def _refuse(name: str, values: NDArray[Any], good: NDArray[np.bool_], allowed: str) -> None:
    bad = np.flatnonzero(~good)
    if bad.size:
        remedy = f"Correct entry {bad[0]}" + (f" and {bad.size - 1:,} more." if bad.size > 1 else ".")
        raise BadInput(f"{name}[{bad[0]}]", values[bad[0]], allowed, remedy)
