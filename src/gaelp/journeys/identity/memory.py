"""Memory of a resolver: the arrays its kernels work on, and how they grow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.journeys.identity.clustering import IDENTITY
from gaelp.journeys.identity.comparing import PARTNER
from gaelp.journeys.identity.profiles import (
    ADDRESS,
    ADDRESSES,
    COOKIES,
    ENTRY,
    LINE,
    LOGIN,
    LOGINS,
    N_HOURS,
    PROFILE,
    SIGHTING,
    SIGHTINGS,
    WORD,
    Index,
    Tables,
    rehash,
)
from gaelp.journeys.identity.weighing import CANDIDATE, LOOK, Room

_ROWS = {
    "profiles": COOKIES,
    "hours": COOKIES,
    "dirty": COOKIES,
    "sightings": SIGHTINGS,
    "addresses": ADDRESSES,
    "logins": LOGINS,
}
_KEYED = {"cookies": COOKIES, "sightings": SIGHTINGS, "addresses": ADDRESSES, "logins": LOGINS}


def empty() -> tuple[Tables, Index]:
    """Tables that hold nothing yet."""
    tables = Tables(
        profiles=np.zeros(0, PROFILE),
        hours=np.zeros((0, N_HOURS // WORD), np.uint64),
        sightings=np.zeros(0, SIGHTING),
        addresses=np.zeros(0, ADDRESS),
        logins=np.zeros(0, LOGIN),
        sizes=np.zeros(5, np.int64),
        dirty=np.zeros(0, np.int32),
    )
    return tables, Index(*(np.zeros(1, ENTRY) for _ in _KEYED))


def with_room(tables: Tables, index: Index, n_events: int) -> tuple[Tables, Index]:
    """The same with rows for as many new cookies, sightings, addresses and logins as there are events."""
    grown: dict[str, Any] = {}
    for name, at in _ROWS.items():
        rows = getattr(tables, name)
        if (needed := int(tables.sizes[at]) + n_events) > len(rows):
            grown[name] = _longer(rows, needed)
    wider = {}
    for name, at in _KEYED.items():
        entries = getattr(index, name)
        if (needed := 2 * (int(tables.sizes[at]) + n_events)) > entries.size:
            wider[name] = _zeros((1 << (needed - 1).bit_length(),), ENTRY)
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


def room_for(n: int, n_edges: int, n_candidates: int) -> Room:
    """Scratch memory for so many cookies, partners of theirs, and candidates."""
    return Room(
        edges=np.zeros(n_edges, PARTNER),
        looks=np.zeros(n, LOOK),
        place=np.full(n, -1, np.int32),
        queue=np.zeros(n, np.int32),
        candidates=np.zeros(n_candidates, CANDIDATE),
        clock=np.zeros(3, np.int64),
    )


def _longer(rows: NDArray[Any], needed: int) -> NDArray[Any]:
    longer = _zeros((max(needed, 2 * len(rows)), *rows.shape[1:]), rows.dtype)
    # as bytes: field by field takes far longer
    longer.reshape(-1).view(np.uint8)[: rows.nbytes] = rows.reshape(-1).view(np.uint8)
    return longer


def _zeros(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Rows that begin with a line of memory: one across its edge would cost a fetch more."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    found: NDArray[Any] = room[start : start + size].view(dtype).reshape(shape)
    return found
