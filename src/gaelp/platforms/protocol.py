"""The one protocol of every door to a world."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.control.controls import ApprovedControls


class Platform(Protocol):
    """A platform takes approved controls and tells what came of them, for a batch of accounts."""

    def apply(self, approved: ApprovedControls) -> None:
        """Set the controls of the coming hour; nothing but approved controls is accepted."""

    def advance(self) -> None:
        """Let an hour pass."""

    def report(self) -> NDArray[np.int64]:
        """(n_worlds, n_lines, n_fields) counters since the account was opened (`REPORT_FIELDS`)."""
