"""The kernel that adds events to what is remembered.

Events are taken some hundred at a time, in passes: each pass asks for the memory that the next one needs, so
that many waits for memory are one. Within a pass events keep their order.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.journeys.identity.profiles import (
    ADDRESSES,
    COOKIES,
    EVIDENCE,
    FREE,
    LINE,
    LINKS,
    LOGINS,
    N_BEHAVIOURS,
    N_CITIES,
    N_HOURS,
    NONE,
    SHARED,
    SIGHTINGS,
    WORD,
    Codes,
    Index,
    Numbers,
    Record,
    Tables,
    ask,
    find,
    place_of,
    soil,
)

BACK_AFTER_HOURS = 1.0
"""A cookie seen at an address again after as long is a regular there; an event told twice makes none."""
_AT_ONCE = 128
_MOST = np.uint16(65535)
_S32 = np.uint64(32)
_ONE = np.uint64(1)
_NEW = -2  # a sighting that has to be looked up
Places = NDArray[np.void]
"""One hash table of an `Index`."""


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
    codes = np.empty(_AT_ONCE, np.int32)
    spots = np.empty(_AT_ONCE, np.int32)
    keys = np.empty(_AT_ONCE, np.uint64)
    for start in range(0, hour.size, _AT_ONCE):
        stop = min(start + _AT_ONCE, hour.size)
        _find_cookies(t, index, start, stop, hour, cookie, codes)
        for i in range(start, stop):
            c = codes[i - start]
            if login[i] != FREE:
                code = _login_code(t, index, login[i])
                if c >= 0:
                    _add_login(t, c, code)
            if c >= 0:
                _add(t, c, hour[i], city[i], device[i], behaviour[i])
        _find_sightings(t, index, start, stop, address, codes, keys, spots)
        for i in range(start, stop):
            if spots[i - start] >= 0:
                _add_sighting(t, codes[i - start], spots[i - start], hour[i], cap)


@jit(borrows=True)
def _find_cookies(
    t: Tables,
    index: Index,
    start: int,
    stop: int,
    hour: NDArray[np.float64],
    cookie: Numbers,
    codes: Codes,
) -> None:
    """The cookie of each event, -1 none."""
    for i in range(start, stop):
        ask(index.cookies, place_of(index.cookies, cookie[i]), 0)
    for i in range(start, stop):
        c = NONE
        if cookie[i] != FREE:
            c = _cookie_code(t, index, cookie[i])
            ask(t.profiles, c, 0)
            ask(t.profiles, c, LINE)
            ask(t.hours, c, 8 * (_hour_of(hour[i]) // WORD))
        codes[i - start] = c


@jit(borrows=True)
def _find_sightings(
    t: Tables,
    index: Index,
    start: int,
    stop: int,
    address: Numbers,
    codes: Codes,
    keys: Numbers,
    spots: Codes,
) -> None:
    """The sighting of each event, -1 where cookie or address is not known; `keys` is scratch."""
    for i in range(start, stop):
        k = i - start
        spots[k] = NONE
        if codes[k] >= 0 and address[i] != FREE:
            p = t.profiles[codes[k]]
            if p.last_address == address[i]:
                spots[k] = p.last_sighting
                ask(t.sightings, spots[k], 0)
            elif p.other_address == address[i]:
                spots[k] = p.other_sighting
                ask(t.sightings, spots[k], 0)
            else:
                spots[k] = _NEW
                ask(index.addresses, place_of(index.addresses, address[i]), 0)
    for i in range(start, stop):
        k = i - start
        if spots[k] == _NEW:
            a = _address_code(t, index, address[i])
            keys[k] = ((np.uint64(codes[k]) << _S32) | np.uint64(a)) + _ONE
            ask(index.sightings, place_of(index.sightings, keys[k]), 0)
    for i in range(start, stop):
        k = i - start
        if spots[k] == _NEW:
            spots[k] = _sighting_code(t, index, keys[k])
            ask(t.sightings, spots[k], 0)
            p = t.profiles[codes[k]]
            if p.last_address != address[i]:
                p.other_address, p.other_sighting = p.last_address, p.last_sighting
                p.last_address, p.last_sighting = address[i], spots[k]


@jit(borrows=True)
def _hour_of(hour: float) -> int:
    return math.floor(hour) & (N_HOURS - 1)


@jit(borrows=True)
def _add(t: Tables, c: int, hour: float, city: np.uint64, device: int, behaviour: int) -> None:
    p = t.profiles[c]
    soil(t, c, EVIDENCE)
    p.first = min(p.first, hour)
    p.last = max(p.last, hour)
    p.n += 1
    whole = _hour_of(hour)
    t.hours[c, whole // WORD] |= _ONE << np.uint64(whole % WORD)
    p.hour_words |= np.uint32(1 << (whole // WORD))
    if device < 8:
        p.devices |= np.uint8(1 << device)
    if behaviour < N_BEHAVIOURS and p.behaviour[behaviour] < _MOST:
        p.behaviour[behaviour] += 1
    if city != FREE:
        _add_city(p, city)


@jit(borrows=True)
def _code_of(t: Tables, places: Places, kind: int, key: np.uint64) -> tuple[int, bool]:
    """The code of a key, the next one of its kind where it is new, and whether it is."""
    code = find(places, key)
    if code >= 0:
        return code, False
    at = -1 - code
    code = t.sizes[kind]
    t.sizes[kind] += 1
    places[at].key = key
    places[at].code = code
    return code, True


@jit(borrows=True)
def _cookie_code(t: Tables, index: Index, number: np.uint64) -> int:
    c, new = _code_of(t, index.cookies, COOKIES, number)
    if new:
        p = t.profiles[c]
        p.number = number
        p.first = np.inf
        p.last = -np.inf
        p.login = NONE
        p.next_in_login = NONE
        p.sightings = NONE
        p.last_sighting = NONE
        p.other_sighting = NONE
    return c


@jit(borrows=True)
def _login_code(t: Tables, index: Index, number: np.uint64) -> int:
    code, new = _code_of(t, index.logins, LOGINS, number)
    if new:
        t.logins[code].number = number
        t.logins[code].cookies = NONE
    return code


@jit(borrows=True)
def _address_code(t: Tables, index: Index, number: np.uint64) -> int:
    a, new = _code_of(t, index.addresses, ADDRESSES, number)
    if new:
        t.addresses[a].regulars = NONE
    return a


@jit(borrows=True)
def _sighting_code(t: Tables, index: Index, key: np.uint64) -> int:
    """Code of a sighting; the key is one more than the cookie's code before the address's."""
    s, new = _code_of(t, index.sightings, SIGHTINGS, key)
    if new:
        seen = t.sightings[s]
        seen.cookie = np.int32((key - _ONE) >> _S32)
        seen.address = np.int32((key - _ONE) & np.uint64(0xFFFFFFFF))
        seen.first = np.inf
        seen.last = -np.inf
        seen.next_of_cookie = NONE
        seen.next_of_address = NONE
    return s


@jit(borrows=True)
def _add_city(p: Record, city: np.uint64) -> None:
    """Keep the smallest numbers: which they are does not depend on the order of arrival."""
    for k in range(N_CITIES):
        if p.cities[k] == city:
            return
        if p.cities[k] == FREE:
            p.cities[k] = city
            return
        if city < p.cities[k]:
            kept = p.cities[k]
            p.cities[k] = city
            city = kept


@jit(borrows=True)
def _add_login(t: Tables, c: int, login: int) -> None:
    p = t.profiles[c]
    if p.login == NONE:
        soil(t, c, LINKS)  # leads to the others
        p.login = login
        p.next_in_login = t.logins[login].cookies
        t.logins[login].cookies = c
    elif p.login >= 0 and p.login != login:
        left = t.logins[p.login].cookies  # the others lose a member: any one of them leads to all
        while left >= 0:
            soil(t, left, LINKS)
            left = t.profiles[left].next_in_login
        p.login = SHARED


@jit(borrows=True)
def _add_sighting(t: Tables, c: int, s: int, hour: float, cap: int) -> None:
    seen = t.sightings[s]
    p = t.profiles[c]
    p.n_placed += 1
    seen.n += 1
    seen.first = min(seen.first, hour)
    seen.last = max(seen.last, hour)
    if seen.regular == 0 and seen.last - seen.first >= BACK_AFTER_HOURS:
        _settle(t, c, s, cap)


@jit(borrows=True, rare=True)
def _settle(t: Tables, c: int, s: int, cap: int) -> None:
    """A cookie came back to an address: put the sighting on both lists."""
    p = t.profiles[c]
    seen = t.sightings[s]
    seen.regular = 1
    before, after = NONE, p.sightings
    while after > s:
        before, after = after, t.sightings[after].next_of_cookie
    seen.next_of_cookie = after
    if before < 0:
        p.sightings = s
    else:
        t.sightings[before].next_of_cookie = s
    place = t.addresses[seen.address]
    seen.next_of_address = place.regulars
    place.regulars = s
    place.crowd += 1
    if place.crowd <= cap + 1:  # evidence of all its regulars has changed
        other = seen.next_of_address
        while other >= 0:
            soil(t, t.sightings[other].cookie, EVIDENCE)
            other = t.sightings[other].next_of_address
