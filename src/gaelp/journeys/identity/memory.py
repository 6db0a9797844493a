"""Memory of a resolver: the arrays its kernels work on, and how they grow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.journeys.identity.clustering import CANDIDATE, IDENTITY, Room
from gaelp.journeys.identity.comparing import PARTNER
from gaelp.journeys.identity.profiles import (
    ADDRESS,
    ADDRESSES,
    COOKIES,
    ENTRY,
    LOGIN,
    LOGINS,
    PROFILE,
    SIGHTING,
    SIGHTINGS,
    Index,
    Tables,
    rehash,
)

_ROWS = {"profiles": COOKIES, "sightings": SIGHTINGS, "addresses": ADDRESSES, "logins": LOGINS}
_KEYED = {"cookies": COOKIES, "sightings": SIGHTINGS, "addresses": ADDRESSES, "logins": LOGINS}


def empty() -> tuple[Tables, Index]:
    """Tables that hold nothing yet."""
    tables = Tables(
        sizes=np.zeros(5, np.int64),
        dirty=np.zeros(0, np.int32),
        profiles=np.zeros(0, PROFILE),
        sightings=np.zeros(0, SIGHTING),
        addresses=np.zeros(0, ADDRESS),
        logins=np.zeros(0, LOGIN),
    )
    return tables, Index(*(np.zeros(1, ENTRY) for _ in _KEYED))


def with_room(tables: Tables, index: Index, n_events: int) -> tuple[Tables, Index]:
    """The same with rows for as many new cookies, sightings, addresses and logins as there are events."""
    grown: dict[str, Any] = {}
    for name, at in _ROWS.items():
        rows = getattr(tables, name)
        if (needed := int(tables.sizes[at]) + n_events) > rows.size:
            grown[name] = _longer(rows, needed)
    if "profiles" in grown:
        grown["dirty"] = _longer(tables.dirty, grown["profiles"].size)
    wider = {}
    for name, at in _KEYED.items():
        entries = getattr(index, name)
        if (needed := 2 * (int(tables.sizes[at]) + n_events)) > entries.size:
            wider[name] = np.zeros(1 << (needed - 1).bit_length(), ENTRY)
            rehash(entries, wider[name])
    return tables._replace(**grown), index._replace(**wider)


def alone(n: int) -> NDArray[np.void]:
    """Identities of cookies that are linked to nobody."""
    out = np.zeros(n, IDENTITY)
    out["label"] = out["next"] = np.arange(n)
    out["confidence"] = out["chance"] = 1.0
    out["link"] = -1
    out["size"] = 1
    return out


def room_for(n: int, n_candidates: int) -> Room:
    """Scratch memory for so many cookies and candidates."""
    return Room(
        own=np.zeros(n, PARTNER),
        others=np.zeros(n, PARTNER),
        place=np.full(n, -1, np.int32),
        place_of_others=np.full(n, -1, np.int32),
        candidates=np.zeros(n_candidates, CANDIDATE),
    )


def _longer(rows: NDArray[Any], needed: int) -> NDArray[Any]:
    longer = np.zeros(max(needed, 2 * rows.size), rows.dtype)
    longer[: rows.size] = rows
    return longer
