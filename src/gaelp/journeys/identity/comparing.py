"""Pairs of cookies that were seen at one address, compared; the kernels that do it.

A pair is compared in six ways, each with a few levels; level 0 means "cannot tell" and counts for nothing.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.journeys.identity.profiles import N_BEHAVIOURS, N_CITIES, Codes, Record, Tables

Floats = NDArray[np.float64]

COMPARISONS: dict[str, tuple[str, ...]] = {
    "place": tuple(
        f"{crowd}, {elsewhere}"
        for crowd in ("alone there", "with one more cookie", "two or three more", "many more")
        for elsewhere in ("also met elsewhere", "both were elsewhere, but apart", "elsewhere not known")
    ),
    "home": ("both mostly there", "both often there", "one of them seldom there"),
    "device": ("differ", "one class, one after the other", "one class, side by side"),
    "city": ("share one", "share none"),
    "hours": ("some in common", "none"),
    "behaviour": ("alike", "similar", "unlike"),
}
"""Levels of each comparison, from 1; where they can be told at all."""
N_COMPARISONS = len(COMPARISONS)
N_LEVELS = 1 + max(len(levels) for levels in COMPARISONS.values())
SIZES = np.array([1 + len(levels) for levels in COMPARISONS.values()])
N_PATTERNS = int(SIZES.prod())
_SIZES = tuple(int(size) for size in SIZES)
UNKNOWN, SAME, DIFFERENT = range(3)
"""What logins say of a pair."""
_LEAST_EVENTS = 3

PARTNER = np.dtype(
    [
        ("home", "f8"),  # the share of events at the address, of the one who is there less; the largest share
        ("odds", "f8"),  # that the pair is one person, by evidence alone
        ("cookie", "i4"),
        ("crowd", "i4"),  # regulars of the least crowded address in common
    ],
    align=True,
)
"""A regular of the same address as some cookie."""


@jit(borrows=True, rare=True)
def partners(t: Tables, c: int, cap: int, found: NDArray[np.void], start: int, place: Codes) -> int:
    """List the regulars beside cookie `c` at addresses of at most `cap`; returns how many, -1 for no room.

    Args:
        t: the tables. c: the cookie. cap: as in `Settings.crowd`.
        found: PARTNER, to be filled from `start` on, but for `odds`.
        place: (>= n_cookies,) index in `found` by cookie, all -1 before; `forget` makes them so again.
    """
    n = start
    s = t.profiles[c].sightings
    while s >= 0:
        seen = t.sightings[s]
        crowd = t.addresses[seen.address].crowd
        if crowd <= cap:
            if n + crowd > found.size:
                forget(found, start, n, place)
                return -1
            own = seen.n / t.profiles[c].n_placed
            other = t.addresses[seen.address].regulars
            while other >= 0:
                theirs = t.sightings[other]
                j = theirs.cookie
                if j != c:
                    if place[j] < 0:
                        place[j] = n
                        found[n].cookie = j
                        found[n].crowd = crowd
                        found[n].home = 0.0
                        n += 1
                    one = found[place[j]]
                    one.crowd = min(one.crowd, crowd)
                    one.home = max(one.home, min(own, theirs.n / t.profiles[j].n_placed))
                other = theirs.next_of_address
        s = seen.next_of_cookie
    return n - start


@jit(borrows=True)
def forget(found: NDArray[np.void], start: int, stop: int, place: Codes) -> None:
    """Clear what `partners` has noted."""
    for k in range(start, stop):
        place[found[k].cookie] = -1


@jit(borrows=True)
def say_logins(p: Record, q: Record) -> int:
    """What logins say of a pair: UNKNOWN, SAME or DIFFERENT."""
    if p.login < 0 or q.login < 0:
        return UNKNOWN
    return SAME if p.login == q.login else DIFFERENT


@jit(borrows=True)
def side_by_side(p: Record, q: Record) -> bool:
    """Whether two cookies lived at one time and may be of one device class."""
    same_class = p.devices == 0 or q.devices == 0 or (p.devices & q.devices) != 0
    return bool(same_class and p.first <= q.last and q.first <= p.last)


@jit(borrows=True, rare=True)
def compare(t: Tables, c: int, d: int, crowd: int, home: float, cap: int) -> int:
    """Pattern of a pair: its levels as one number, see `SIZES`; `c` and `d` may change places.

    Args:
        t: the tables. c, d: the pair. crowd, home: as in PARTNER.
        cap: cookies above which an address brings no pairs together.
    """
    p, q = t.profiles[c], t.profiles[d]
    crowded = 0 if crowd <= 2 else (1 if crowd == 3 else (2 if crowd <= 5 else 3))
    pattern = 1 + 3 * crowded + _elsewhere(t, p, q, crowd, cap)
    pattern = pattern * _SIZES[1] + (1 if home >= 0.5 else (2 if home >= 0.25 else 3))
    pattern = pattern * _SIZES[2] + _compare_devices(p, q)
    pattern = pattern * _SIZES[3] + _compare_cities(p, q)
    pattern = pattern * _SIZES[4] + _compare_hours(t, c, d)
    return int(pattern * _SIZES[5] + _compare_behaviour(p, q))


@jit(borrows=True)
def _elsewhere(t: Tables, p: Record, q: Record, crowd: int, cap: int) -> int:
    """Whether both were met in other company too: 0 yes, 1 both were, but apart, 2 cannot tell.

    Who lives together shares a home, also when its address changes; who works together shares work. Both at
    once is rare but for one person. Other company: at least twice as many and three more.
    """
    least = max(2 * crowd, crowd + 3)
    some_p, some_q = False, False
    s = p.sightings
    while s >= 0:
        seen = t.sightings[s]
        if least <= t.addresses[seen.address].crowd <= cap:
            some_p = True
            other = q.sightings
            while other >= 0:
                theirs = t.sightings[other]
                if least <= t.addresses[theirs.address].crowd <= cap:
                    some_q = True
                    if theirs.address == seen.address:
                        return 0
                other = theirs.next_of_cookie
        s = seen.next_of_cookie
    return 1 if some_p and some_q else 2


@jit(borrows=True)
def _compare_devices(p: Record, q: Record) -> int:
    if p.devices == 0 or q.devices == 0:
        return 0
    if (p.devices & q.devices) == 0:
        return 1
    return 3 if side_by_side(p, q) else 2


@jit(borrows=True)
def _compare_cities(p: Record, q: Record) -> int:
    if p.cities[0] == 0 or q.cities[0] == 0:
        return 0
    for i in range(N_CITIES):
        for j in range(N_CITIES):
            if p.cities[i] != 0 and p.cities[i] == q.cities[j]:
                return 1
    return 2


@jit(borrows=True)
def _compare_hours(t: Tables, c: int, d: int) -> int:
    """Whether both were in use within one hour of the clock."""
    words = t.profiles[c].hour_words & t.profiles[d].hour_words
    for k in range(t.hours.shape[1]):
        if (words >> np.uint32(k)) & np.uint32(1) != 0 and t.hours[c, k] & t.hours[d, k] != 0:
            return 1
    return 2


@jit(borrows=True)
def _compare_behaviour(p: Record, q: Record) -> int:
    """By the cosine between counts of kinds of behaviour."""
    if p.n < _LEAST_EVENTS or q.n < _LEAST_EVENTS:
        return 0
    both, own, other = np.int64(0), np.int64(0), np.int64(0)
    for k in range(N_BEHAVIOURS):
        x, y = np.int64(p.behaviour[k]), np.int64(q.behaviour[k])
        both += x * y
        own += x * x
        other += y * y
    if own == 0 or other == 0:
        return 0
    cosine = float(both) / math.sqrt(float(own) * float(other))
    return 1 if cosine > 0.95 else (2 if cosine > 0.7 else 3)


@jit
def odds_by_pattern(weights: Floats, log_prior_odds: float) -> Floats:
    """(N_PATTERNS,) odds that a pair is one person, by evidence alone.

    Args:
        weights: (n_comparisons, n_levels) as in `LinkModel`. log_prior_odds: likewise.
    """
    odds = np.empty(N_PATTERNS)
    for pattern in range(N_PATTERNS):
        total, unit = log_prior_odds, N_PATTERNS
        for k in range(N_COMPARISONS):
            unit //= _SIZES[k]
            total += weights[k, pattern // unit % _SIZES[k]]
        odds[pattern] = math.exp(total)
    return odds
