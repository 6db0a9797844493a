"""The one protocol of every door to a world."""

from typing import Protocol

from gaelp.control.controls import ApprovedControls
from gaelp.platforms.reporting import Shown


class Platform(Protocol):
    """A platform takes approved controls and tells what came of them, for a batch of accounts."""

    def apply(self, approved: ApprovedControls, *, seat: int = 0) -> None:
        """Set the controls of the coming hour; nothing but approved controls is accepted."""

    def shown(self, *, seat: int = 0) -> Shown:
        """What has become known since an hour ago."""
