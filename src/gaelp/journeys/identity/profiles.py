"""What is remembered of each cookie, and how it is found by its number.

All that is kept is a set, a count or an extreme, so it is the same in whatever order events arrive. Numbers
of cookies, logins and addresses are the caller's 64-bit numbers (0: not known); inside they are dense codes,
given in order of arrival, which decide nothing.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit, prefetch
from gaelp.core.random import mix

Numbers = NDArray[np.uint64]
Codes = NDArray[np.int32]
Record = Any  # one row of a structured array: NumPy cannot type its fields
ask: Any = prefetch  # inside a kernel it takes three arguments, which its type does not say
LINE = 64
"""Bytes of memory that are fetched at once."""

N_CITIES, N_BEHAVIOURS, N_HOURS = 3, 8, 2048
WORD = 64
"""Hours in a word of `Tables.hours`."""
NONE, SHARED = -1, -2
"""Codes of a cookie's login: never logged in; several people logged in, so it tells nothing."""
EVIDENCE, LINKS = 1, 3
"""What has to be looked at again of a cookie: what evidence says; also what logins and hands say."""

PROFILE = np.dtype(
    [
        # a line of memory: what nearly every event changes
        ("last_address", "u8"),  # number of the address told last, a short cut to its sighting
        ("first", "f8"),  # hours
        ("last", "f8"),
        ("behaviour", "u2", N_BEHAVIOURS),  # events by kind of behaviour
        ("n", "i4"),  # events
        ("n_placed", "i4"),  # events with an address
        ("last_sighting", "i4"),
        ("login", "i4"),
        ("hour_words", "u4"),  # bit w: word w of `Tables.hours` is not 0
        ("devices", "u1"),  # bit d: seen as device class d
        ("dirty", "u1"),  # 0, EVIDENCE or LINKS
        ("strong", "u1"),  # 1: evidence could link it to some other
        # the next line
        ("number", "u8"),
        ("cities", "u8", N_CITIES),  # the smallest numbers of those seen, ascending; 0 none
        ("other_address", "u8"),  # the one before `last_address`
        ("other_sighting", "i4"),
        ("sightings", "i4"),  # head of the list of addresses to which it came back, newest first
        ("next_in_login", "i4"),
        ("spare", "u1", 12),  # to the end of the line
    ],
    align=True,
)
SIGHTING = np.dtype(
    [
        ("first", "f8"),  # hours
        ("last", "f8"),
        ("cookie", "i4"),
        ("address", "i4"),
        ("n", "i4"),  # events
        ("next_of_cookie", "i4"),
        ("next_of_address", "i4"),
        ("regular", "u1"),  # came back: on the lists of cookie and address, and counted in its crowd
    ],
    align=True,
)
"""One cookie at one address."""
ADDRESS = np.dtype([("regulars", "i4"), ("crowd", "i4")])
LOGIN = np.dtype([("number", "u8"), ("cookies", "i4")])


class Tables(NamedTuple):
    """Everything remembered; arrays have room to spare, `sizes` says how much is used."""

    profiles: NDArray[np.void]  # PROFILE
    hours: Numbers  # (n_cookies, N_HOURS / WORD) bit h: seen in an hour whose number modulo N_HOURS is h
    sightings: NDArray[np.void]  # SIGHTING
    addresses: NDArray[np.void]  # ADDRESS
    logins: NDArray[np.void]  # LOGIN
    sizes: NDArray[np.int64]  # (5,) cookies, sightings, addresses, logins, dirty
    dirty: Codes  # cookies that have to be looked at again


class Index(NamedTuple):
    """Codes by number; each a hash table with open addressing, a power of two long, ENTRY."""

    cookies: NDArray[np.void]
    sightings: NDArray[np.void]
    addresses: NDArray[np.void]
    logins: NDArray[np.void]


ENTRY = np.dtype([("key", "u8"), ("code", "i8")])  # key 0 is free
COOKIES, SIGHTINGS, ADDRESSES, LOGINS, DIRTY = range(5)
FREE = np.uint64(0)


@jit(borrows=True)
def place_of(table: NDArray[np.void], key: np.uint64) -> int:
    """Where in a hash table the search for a key begins."""
    return int(np.int64(mix(key) & np.uint64(table.size - 1)))


@jit(borrows=True)
def find(table: NDArray[np.void], key: np.uint64) -> int:
    """Code of a key in a hash table, or -1 - place where it would go."""
    mask = int(table.size - 1)
    at = place_of(table, key)
    while table[at].key != FREE:
        if table[at].key == key:
            return int(table[at].code)
        at = (at + 1) & mask
    return -1 - at


@jit
def look_up(table: NDArray[np.void], key: np.uint64) -> int:
    """`find`, to be called from outside of kernels."""
    return find(table, key)


@jit
def rehash(old: NDArray[np.void], new: NDArray[np.void]) -> None:
    """Copy a hash table into a larger, empty one."""
    for i in range(old.size):
        if old[i].key != FREE:
            at = -1 - find(new, old[i].key)
            new[at].key = old[i].key
            new[at].code = old[i].code


@jit(borrows=True)
def soil(t: Tables, cookie: int, what: int) -> None:
    """Note that a cookie has to be looked at again: EVIDENCE or LINKS."""
    p = t.profiles[cookie]
    if p.dirty == 0:
        t.dirty[t.sizes[DIRTY]] = cookie
        t.sizes[DIRTY] += 1
    p.dirty |= np.uint8(what)
