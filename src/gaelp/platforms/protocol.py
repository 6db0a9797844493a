"""The one protocol of every door to a world."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.control.controls import ApprovedControls


class Platform(Protocol):
    """A platform takes approved controls and tells what came of them, for a batch of accounts."""

    def apply(self, approved: ApprovedControls, *, seat: int = 0) -> None:
        """Set the controls of the coming hour; nothing but approved controls is accepted."""

    def report(self, *, seat: int = 0) -> NDArray[np.int64]:
        """(n_worlds, n_lines, n_fields) counters since the account was opened (`REPORT_FIELDS`)."""

    def booked(self, since: int, until: int, *, seat: int = 0) -> NDArray[np.float64]:
        """(n_worlds, n_lines) attributed conversions booked in hours [since, until)."""
