"""Names people type: find the one they meant."""

from collections.abc import Iterable
from difflib import get_close_matches

from gaelp.core.errors import UnknownName


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that looks most like `name`, upper and lower case alike.

    Args:
        name: what was typed.
        known: the names that exist.

    Returns:
        The nearest known name, or None where none comes close.

    >>> nearest("Pacng", ["fixed", "pacing", "random"])
    'pacing'
    >>> nearest("xyzzy", ["fixed", "pacing", "random"]) is None
    True
    """
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower(), by_lower_case, n=1)
    return by_lower_case[matches[0]] if matches else None


def require_known(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is known; otherwise say which name was probably meant.

    Args:
        kind: what is named, in a reader's word: "policy", "channel", "market file key".
        name: what was typed.
        known: the names that exist.

    Returns:
        `name`, unchanged.

    Raises:
        UnknownName: if `name` is not among `known`.

    >>> require_known("policy", "pacng", ["fixed", "pacing"])
    Traceback (most recent call last):
        ...
    gaelp.core.errors.UnknownName: `policy` was 'pacng'; known: fixed, pacing. Did you mean 'pacing'?
    """
    names = sorted(known)
    if name in names:
        return name
    suggestion = nearest(name, names)
    remedy = f"Did you mean {suggestion!r}?" if suggestion else "Choose one of these."
    raise UnknownName(kind, name, f"known: {', '.join(names) or '(none)'}", remedy)
