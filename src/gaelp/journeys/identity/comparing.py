"""Pairs of cookies that were seen at one address, compared; the kernels that do it.

A pair is compared in six ways, each with a few levels; level 0 means "cannot tell" and counts for nothing.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.journeys.identity.profiles import COOKIES, N_BEHAVIOURS, N_CITIES, SHARED, Codes, Record, Tables

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
PLACE, HOME, DEVICE, CITY, HOURS, BEHAVIOUR = range(N_COMPARISONS)
UNKNOWN, SAME, DIFFERENT = range(3)
"""What logins say of a pair."""

LEAST_LOG_ODDS, BINS_PER_LOG, N_BINS = -2.0, 20.0, 200
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


@jit
def partners(t: Tables, c: int, cap: int, found: NDArray[np.void], place: Codes) -> int:
    """List the regulars beside cookie `c` at addresses of at most `cap`; returns how many.

    Args:
        t: the tables. c: the cookie. cap: as in `Settings.crowd`.
        found: (>= n_cookies,) PARTNER, to be filled but for `odds`.
        place: (>= n_cookies,) index in `found` by cookie, all -1 before; `forget` makes them so again.
    """
    n = 0
    s = t.profiles[c].sightings
    while s >= 0:
        seen = t.sightings[s]
        crowd = t.addresses[seen.address].crowd
        if seen.regular == 1 and crowd <= cap:
            own = seen.n / t.profiles[c].n_placed
            other = t.addresses[seen.address].regulars
            while other >= 0:
                j = t.sightings[other].cookie
                if j != c:
                    if place[j] < 0:
                        place[j] = n
                        found[n].cookie = j
                        found[n].crowd = crowd
                        found[n].home = 0.0
                        n += 1
                    one = found[place[j]]
                    one.crowd = min(one.crowd, crowd)
                    one.home = max(one.home, min(own, t.sightings[other].n / t.profiles[j].n_placed))
                other = t.sightings[other].next_of_address
        s = seen.next_of_cookie
    return n


@jit
def forget(found: NDArray[np.void], n: int, place: Codes) -> None:
    """Clear what `partners` has noted of `n` cookies."""
    for i in range(n):
        place[found[i].cookie] = -1


@jit
def weigh(
    t: Tables,
    c: int,
    cap: int,
    weights: Floats,
    log_prior_odds: float,
    found: NDArray[np.void],
    n: int,
    blind: bool,
    level: NDArray[np.uint8],
) -> None:
    """Find the odds of `n` partners of cookie `c`; 0 where logins rule a pair out, unless `blind` to them."""
    p = t.profiles[c]
    for i in range(n):
        one = found[i]
        q = t.profiles[one.cookie]
        one.odds = 0.0
        if p.login != SHARED and q.login != SHARED and (blind or say_logins(p, q) != DIFFERENT):
            compare(t, p, q, one.crowd, one.home, cap, level)
            total = log_prior_odds
            for k in range(N_COMPARISONS):
                total += weights[k, level[k]]
            one.odds = math.exp(total)


@jit
def say_logins(p: Record, q: Record) -> int:
    """What logins say of a pair: UNKNOWN, SAME or DIFFERENT."""
    if p.login < 0 or q.login < 0:
        return UNKNOWN
    return SAME if p.login == q.login else DIFFERENT


@jit
def side_by_side(p: Record, q: Record) -> bool:
    """Whether two cookies lived at one time and may be of one device class."""
    same_class = p.devices == 0 or q.devices == 0 or (p.devices & q.devices) != 0
    return bool(same_class and p.first <= q.last and q.first <= p.last)


@jit
def compare(
    t: Tables, p: Record, q: Record, crowd: int, home: float, cap: int, level: NDArray[np.uint8]
) -> None:
    """Levels of all comparisons of a pair; `p` and `q` may change places.

    Args:
        t: the tables. p, q: the pair's profiles. crowd, home: as in PARTNER.
        cap: cookies above which an address brings no pairs together. level: (n_comparisons,) to be filled.
    """
    crowded = 0 if crowd <= 2 else (1 if crowd == 3 else (2 if crowd <= 5 else 3))
    level[PLACE] = 1 + 3 * crowded + _elsewhere(t, p, q, crowd, cap)
    level[HOME] = 1 if home >= 0.5 else (2 if home >= 0.25 else 3)
    if p.devices == 0 or q.devices == 0:
        level[DEVICE] = 0
    elif (p.devices & q.devices) == 0:
        level[DEVICE] = 1
    else:
        level[DEVICE] = 3 if side_by_side(p, q) else 2
    level[CITY] = _compare_cities(p, q)
    level[HOURS] = _compare_hours(p, q)
    level[BEHAVIOUR] = _compare_behaviour(p, q)


@jit
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
        if seen.regular == 1 and least <= t.addresses[seen.address].crowd <= cap:
            some_p = True
            other = q.sightings
            while other >= 0:
                theirs = t.sightings[other]
                if theirs.regular == 1 and least <= t.addresses[theirs.address].crowd <= cap:
                    some_q = True
                    if theirs.address == seen.address:
                        return 0
                other = theirs.next_of_cookie
        s = seen.next_of_cookie
    return 1 if some_p and some_q else 2


@jit
def _compare_cities(p: Record, q: Record) -> int:
    if p.cities[0] == 0 or q.cities[0] == 0:
        return 0
    for i in range(N_CITIES):
        for j in range(N_CITIES):
            if p.cities[i] != 0 and p.cities[i] == q.cities[j]:
                return 1
    return 2


@jit
def _compare_hours(p: Record, q: Record) -> int:
    """Whether both were in use within one hour of the clock."""
    for k in range(p.hours.size):
        if p.hours[k] & q.hours[k] != 0:
            return 1
    return 2


@jit
def _compare_behaviour(p: Record, q: Record) -> int:
    """By the cosine between counts of kinds of behaviour."""
    if p.n < _LEAST_EVENTS or q.n < _LEAST_EVENTS:
        return 0
    both, own, other = 0.0, 0.0, 0.0
    for k in range(N_BEHAVIOURS):
        both += float(p.behaviour[k]) * float(q.behaviour[k])
        own += float(p.behaviour[k]) * float(p.behaviour[k])
        other += float(q.behaviour[k]) * float(q.behaviour[k])
    if own == 0.0 or other == 0.0:
        return 0
    cosine = both / math.sqrt(own * other)
    return 1 if cosine > 0.95 else (2 if cosine > 0.7 else 3)


@jit
def count_patterns(
    t: Tables, cap: int, found: NDArray[np.void], place: Codes, counts: NDArray[np.int64]
) -> None:
    """Count the pairs by what logins say and by pattern of levels; `counts` is (3, N_PATTERNS)."""
    level = np.zeros(N_COMPARISONS, np.uint8)
    for c in range(t.sizes[COOKIES]):
        p = t.profiles[c]
        if p.login == SHARED:
            continue
        n = partners(t, c, cap, found, place)
        for i in range(n):
            one = found[i]
            q = t.profiles[one.cookie]
            if one.cookie > c and q.login != SHARED:
                compare(t, p, q, one.crowd, one.home, cap, level)
                pattern = 0
                for k in range(N_COMPARISONS):
                    pattern = pattern * _SIZES[k] + level[k]
                counts[say_logins(p, q), pattern] += 1
        forget(found, n, place)


@jit
def rivals(t: Tables, b: int, known: NDArray[np.void], n: int, blind: bool) -> float:
    """Odds, added up, of those who could be someone's instead of `b`: one seldom has two of a kind."""
    total = 0.0
    q = t.profiles[b]
    for i in range(n):
        r = t.profiles[known[i].cookie]
        if (
            known[i].cookie != b
            and side_by_side(r, q)
            and (blind or not (r.login >= 0 and r.login == q.login))
        ):
            total += known[i].odds
    return total


@jit
def judge_known(
    t: Tables,
    cap: int,
    weights: Floats,
    log_prior_odds: float,
    own: NDArray[np.void],
    others: NDArray[np.void],
    place: Codes,
    counts: NDArray[np.int64],
) -> None:
    """Count the pairs that logins decide by (different or same, bin of the chance by evidence alone)."""
    level = np.zeros(N_COMPARISONS, np.uint8)
    for c in range(t.sizes[COOKIES]):
        p = t.profiles[c]
        if p.login < 0:
            continue
        n = partners(t, c, cap, own, place)
        forget(own, n, place)
        weigh(t, c, cap, weights, log_prior_odds, own, n, True, level)
        for i in range(n):
            j = int(own[i].cookie)
            said = say_logins(p, t.profiles[j])
            if j > c and said != UNKNOWN and own[i].odds > 0.0:
                n_others = partners(t, j, cap, others, place)
                forget(others, n_others, place)
                weigh(t, j, cap, weights, log_prior_odds, others, n_others, True, level)
                against = rivals(t, j, own, n, True) + rivals(t, c, others, n_others, True)
                log_odds = math.log(own[i].odds / (1.0 + against))
                at = min(max(int((log_odds - LEAST_LOG_ODDS) * BINS_PER_LOG), 0), N_BINS - 1)
                counts[1 if said == SAME else 0, at] += 1
