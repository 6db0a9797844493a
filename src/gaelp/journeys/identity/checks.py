"""Checks of what a resolver is told."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput

UNKNOWN_CODE = 255
LARGEST_HOUR = 10_000_000
"""Hours lie within it on either side of the hour they are counted from: 1,140 years."""


def hours_of(given: ArrayLike) -> NDArray[np.float64]:
    """Finite hours."""
    hours = np.ascontiguousarray(given, np.float64)
    if hours.ndim != 1:
        raise BadInput("hour", hours.shape, "must be one row of numbers", "Give one per event.")
    bad = np.flatnonzero(~(np.abs(hours) < LARGEST_HOUR))
    if bad.size:
        raise BadInput(
            f"hour[{bad[0]}]", hours[bad[0]], f"must be within {LARGEST_HOUR:,} hours of 0", "Mend the clock."
        )
    return hours


def numbers_of(name: str, given: ArrayLike, n: int) -> NDArray[np.uint64]:
    """Whole numbers from 0, one per event."""
    found = np.asarray(given)
    if found.shape != (n,):
        raise BadInput(f"{name}.shape", found.shape, f"must be ({n},)", "Give one per event.")
    if n and (found.dtype.kind not in "ui" or (found.dtype.kind == "i" and int(found.min()) < 0)):
        raise BadInput(name, found, "must be whole numbers of at least 0", "Number them; 0 is unknown.")
    return np.ascontiguousarray(found, np.uint64)


def codes_of(name: str, given: ArrayLike, n: int) -> NDArray[np.uint8]:
    """Codes 0 to 7, or 255, one per event."""
    found = np.asarray(given)
    if found.shape != (n,):
        raise BadInput(f"{name}.shape", found.shape, f"must be ({n},)", "Give one per event.")
    good = (found >= 0) & ((found < 8) | (found == UNKNOWN_CODE)) if found.dtype.kind in "ui" else None
    if n and (good is None or not good.all()):
        raise BadInput(name, found, "must be from 0 to 7, or 255 for unknown", "Group rare ones.")
    return np.ascontiguousarray(found, np.uint8)
