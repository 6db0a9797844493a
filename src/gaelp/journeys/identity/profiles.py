"""What is remembered of each cookie, and the kernel that adds events to it.

All that is kept is a set, a count or an extreme, so it is the same in whatever order events arrive. Numbers
of cookies, logins and addresses are the caller's 64-bit numbers (0: not known); inside they are dense codes,
given in order of arrival, which decide nothing.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.core.random import mix

Numbers = NDArray[np.uint64]
Codes = NDArray[np.int32]
Record = Any  # one row of a structured array: NumPy cannot type its fields

N_CITIES, N_BEHAVIOURS, N_HOURS = 3, 8, 2048
NONE, SHARED = -1, -2
"""Codes of a cookie's login: never logged in; several people logged in, so it tells nothing."""
BACK_AFTER_HOURS = 1.0
"""A cookie seen at an address again after as long is a regular there; an event told twice makes none."""

PROFILE = np.dtype(
    [
        ("number", "u8"),
        ("last_address", "u8"),  # number of the address told last, a short cut to its sighting
        ("hours", "u8", N_HOURS // 64),  # bit h: seen in an hour whose number modulo 2,048 is h
        ("cities", "u8", N_CITIES),  # the smallest numbers of those seen, ascending; 0 none
        ("first", "f8"),  # hours
        ("last", "f8"),
        ("behaviour", "u2", N_BEHAVIOURS),  # events by kind of behaviour
        ("n", "i4"),  # events
        ("login", "i4"),
        ("next_in_login", "i4"),
        ("sightings", "i4"),  # head of the list of addresses
        ("last_sighting", "i4"),
        ("n_placed", "i4"),  # events with an address
        ("devices", "u1"),  # bit d: seen as device class d
        ("dirty", "u1"),
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
        ("regular", "u1"),  # came back: on the list of the address and counted in its crowd
    ],
    align=True,
)
"""One cookie at one address."""
ADDRESS = np.dtype([("regulars", "i4"), ("crowd", "i4")])
LOGIN = np.dtype([("number", "u8"), ("cookies", "i4")])


class Tables(NamedTuple):
    """Everything remembered; arrays have room to spare, `sizes` says how much is used."""

    profiles: NDArray[np.void]  # PROFILE
    sightings: NDArray[np.void]  # SIGHTING
    addresses: NDArray[np.void]  # ADDRESS
    logins: NDArray[np.void]  # LOGIN
    sizes: NDArray[np.int64]  # (5,) cookies, sightings, addresses, logins, dirty
    dirty: Codes  # cookies whose links have to be looked at again


class Index(NamedTuple):
    """Codes by number; each a hash table with open addressing, a power of two long, ENTRY."""

    cookies: NDArray[np.void]
    sightings: NDArray[np.void]
    addresses: NDArray[np.void]
    logins: NDArray[np.void]


ENTRY = np.dtype([("key", "u8"), ("code", "i8")])  # key 0 is free
COOKIES, SIGHTINGS, ADDRESSES, LOGINS, DIRTY = range(5)
_LAST_BITS = 63
_MOST = np.uint16(65535)
_S32 = np.uint64(32)
_ONE = np.uint64(1)
_FREE = np.uint64(0)


@jit
def find(table: NDArray[np.void], key: np.uint64) -> int:
    """Code of a key in a hash table, or -1 - place where it would go."""
    mask = int(table.size - 1)
    at = int(np.int64(mix(key) & np.uint64(mask)))
    while table[at].key != _FREE:
        if table[at].key == key:
            return int(table[at].code)
        at = (at + 1) & mask
    return -1 - at


@jit
def rehash(old: NDArray[np.void], new: NDArray[np.void]) -> None:
    """Copy a hash table into a larger, empty one."""
    for i in range(old.size):
        if old[i].key != _FREE:
            at = -1 - find(new, old[i].key)
            new[at].key = old[i].key
            new[at].code = old[i].code


@jit
def soil(t: Tables, cookie: int) -> None:
    """Note that a cookie's links have to be looked at again."""
    p = t.profiles[cookie]
    if p.dirty == 0:
        p.dirty = 1
        t.dirty[t.sizes[DIRTY]] = cookie
        t.sizes[DIRTY] += 1


@jit
def record(
    t: Tables,
    index: Index,
    hour: NDArray[np.float64],
    cookie: Numbers,
    login: Numbers,
    address: Numbers,
    city: Numbers,
    device: NDArray[np.uint8],
    behaviour: NDArray[np.uint8],
    cap: int,
) -> None:
    """Add events; the caller has made room for as many new cookies, sightings, addresses and logins."""
    for i in range(hour.size):
        if cookie[i] == _FREE:
            if login[i] != _FREE:
                _login_code(t, index, login[i])
            continue
        c = _cookie_code(t, index, cookie[i])
        p = t.profiles[c]
        soil(t, c)
        p.first = min(p.first, hour[i])
        p.last = max(p.last, hour[i])
        p.n += 1
        whole = math.floor(hour[i]) % N_HOURS
        p.hours[whole >> 6] |= _ONE << np.uint64(whole & _LAST_BITS)
        if device[i] < 8:
            p.devices |= np.uint8(1 << device[i])
        if behaviour[i] < N_BEHAVIOURS and p.behaviour[behaviour[i]] < _MOST:
            p.behaviour[behaviour[i]] += 1
        if city[i] != _FREE:
            _add_city(p, city[i])
        if login[i] != _FREE:
            _add_login(t, c, _login_code(t, index, login[i]))
        if address[i] != _FREE:
            _add_sighting(t, index, c, address[i], hour[i], cap)


@jit
def _cookie_code(t: Tables, index: Index, number: np.uint64) -> int:
    c = find(index.cookies, number)
    if c < 0:
        at = -1 - c
        c = t.sizes[COOKIES]
        t.sizes[COOKIES] += 1
        index.cookies[at].key = number
        index.cookies[at].code = c
        p = t.profiles[c]
        p.number = number
        p.first = np.inf
        p.last = -np.inf
        p.login = NONE
        p.next_in_login = NONE
        p.sightings = NONE
        p.last_sighting = NONE
    return c


@jit
def _login_code(t: Tables, index: Index, number: np.uint64) -> int:
    code = find(index.logins, number)
    if code < 0:
        at = -1 - code
        code = t.sizes[LOGINS]
        t.sizes[LOGINS] += 1
        index.logins[at].key = number
        index.logins[at].code = code
        t.logins[code].number = number
        t.logins[code].cookies = NONE
    return code


@jit
def _add_city(p: Record, city: np.uint64) -> None:
    """Keep the smallest numbers: which they are does not depend on the order of arrival."""
    for k in range(N_CITIES):
        if p.cities[k] == city:
            return
        if p.cities[k] == _FREE:
            p.cities[k] = city
            return
        if city < p.cities[k]:
            kept = p.cities[k]
            p.cities[k] = city
            city = kept


@jit
def _add_login(t: Tables, c: int, login: int) -> None:
    p = t.profiles[c]
    if p.login == NONE:
        p.login = login
        p.next_in_login = t.logins[login].cookies
        t.logins[login].cookies = c
        other = p.next_in_login
        if other >= 0:
            soil(t, other)
    elif p.login >= 0 and p.login != login:
        left = t.logins[p.login].cookies  # the others lose a member: any one of them leads to all
        while left >= 0:
            soil(t, left)
            left = t.profiles[left].next_in_login
        p.login = SHARED


@jit
def _add_sighting(t: Tables, index: Index, c: int, number: np.uint64, hour: float, cap: int) -> None:
    p = t.profiles[c]
    if p.last_address != number:
        p.last_address = number
        p.last_sighting = _sighting_code(t, index, c, number)
    p.n_placed += 1
    seen = t.sightings[p.last_sighting]
    seen.n += 1
    seen.first = min(seen.first, hour)
    seen.last = max(seen.last, hour)
    if seen.regular == 1 or seen.last - seen.first < BACK_AFTER_HOURS:
        return
    seen.regular = 1
    place = t.addresses[seen.address]
    seen.next_of_address = place.regulars
    place.regulars = p.last_sighting
    place.crowd += 1
    if place.crowd <= cap + 1:  # evidence of all its regulars has changed
        other = seen.next_of_address
        while other >= 0:
            soil(t, t.sightings[other].cookie)
            other = t.sightings[other].next_of_address


@jit
def _sighting_code(t: Tables, index: Index, c: int, number: np.uint64) -> int:
    a = find(index.addresses, number)
    if a < 0:
        at = -1 - a
        a = t.sizes[ADDRESSES]
        t.sizes[ADDRESSES] += 1
        index.addresses[at].key = number
        index.addresses[at].code = a
        t.addresses[a].regulars = NONE
    key = ((np.uint64(c) << _S32) | np.uint64(a)) + _ONE
    s = find(index.sightings, key)
    if s < 0:
        at = -1 - s
        s = t.sizes[SIGHTINGS]
        t.sizes[SIGHTINGS] += 1
        index.sightings[at].key = key
        index.sightings[at].code = s
        seen = t.sightings[s]
        seen.cookie = c
        seen.address = a
        seen.first = np.inf
        seen.last = -np.inf
        seen.next_of_cookie = t.profiles[c].sightings
        seen.next_of_address = NONE
        t.profiles[c].sightings = s
    return s
