"""What several measurements ask of their input."""

from gaelp.core.errors import BadInput


def check_shares(**shares: float) -> None:
    """Check that numbers lie between 0 and 1.

    Args:
        shares: by the name that an error calls them.

    Raises:
        BadInput: one does not, or is 0 or 1.
    """
    for name, share in shares.items():
        if not 0 < share < 1:
            allowed = "must lie between 0 and 1, both excluded"
            raise BadInput(name, share, allowed, "Write 5 % as 0.05, and 95 % as 0.95.")
