"""What pairs are worth: each cookie's partners and their odds, found once and kept while they hold."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.journeys.identity.comparing import (
    DIFFERENT,
    SAME,
    UNKNOWN,
    Floats,
    compare,
    forget,
    partners,
    say_logins,
    side_by_side,
)
from gaelp.journeys.identity.profiles import COOKIES, SHARED, Codes, Tables

LEAST_LOG_ODDS, BINS_PER_LOG, N_BINS = -2.0, 20.0, 200
ROUND, FIRST, USED = range(3)
"""Entries of `Room.clock`: number of the last round; the first round whose edges hold; edges in use."""

LOOK = np.dtype(
    [
        ("round", "i8"),  # in which the edges were found
        ("collected", "i8"),  # round in which the cookie was collected, see `clustering`
        ("start", "i4"),  # of its edges
        ("n", "i4"),
    ],
    align=True,
)
"""What is known of a cookie's partners."""
CANDIDATE = np.dtype([("chance", "f8"), ("a", "i4"), ("b", "i4")])


class Scale(NamedTuple):
    """What evidence is worth."""

    odds: Floats  # (N_PATTERNS,) see `odds_by_pattern`
    cap: int  # regulars of an address above which it tells nothing
    blind: bool  # to logins


class Room(NamedTuple):
    """Scratch memory."""

    edges: NDArray[np.void]  # PARTNER, cookie by cookie
    looks: NDArray[np.void]  # (n_cookies,) LOOK
    place: Codes  # (n_cookies,) -1, see `partners`
    queue: Codes  # (n_cookies,) cookies collected
    candidates: NDArray[np.void]  # CANDIDATE
    clock: NDArray[np.int64]  # (3,)


@jit(borrows=True)
def open_round(room: Room, afresh: bool) -> int:
    """Begin a round; edges found before are void if it starts afresh or half of the room is used."""
    room.clock[ROUND] += 1
    if afresh or 2 * room.clock[USED] > room.edges.size:
        room.clock[FIRST], room.clock[USED] = room.clock[ROUND], 0
    return int(room.clock[ROUND])


@jit(borrows=True, rare=True)
def look(t: Tables, scale: Scale, room: Room, c: int) -> bool:
    """Find the partners of cookie `c` and their odds, unless they are known; False if room is too short.

    Odds are 0 where logins rule a pair out, unless `scale` is blind to them.
    """
    mine = room.looks[c]
    if mine.round >= room.clock[FIRST]:
        return True
    start = room.clock[USED]
    n = partners(t, c, scale.cap, room.edges, start, room.place)
    if n < 0:
        return False
    forget(room.edges, start, start + n, room.place)
    p = t.profiles[c]
    for k in range(start, start + n):
        one = room.edges[k]
        theirs = room.looks[one.cookie]
        if theirs.round >= room.clock[FIRST]:
            back = theirs.start
            while room.edges[back].cookie != c:
                back += 1
            one.odds = room.edges[back].odds
            continue
        q = t.profiles[one.cookie]
        one.odds = 0.0
        if p.login != SHARED and q.login != SHARED and (scale.blind or say_logins(p, q) != DIFFERENT):
            one.odds = scale.odds[compare(t, c, one.cookie, one.crowd, one.home, scale.cap)]
    mine.start, mine.n, mine.round = start, n, room.clock[ROUND]
    room.clock[USED] += n
    return True


@jit(borrows=True)
def _competes(t: Tables, other: int, b: int, blind: bool) -> bool:
    r, q = t.profiles[other], t.profiles[b]
    return side_by_side(r, q) and (blind or not (r.login >= 0 and r.login == q.login))


@jit(borrows=True)
def rivals(t: Tables, room: Room, a: int, b: int, blind: bool) -> float:
    """Odds, added up, of those who could be `a`'s instead of `b`: one seldom has two of a kind.

    Largest first, so that the sum does not depend on the order of arrival in its last bit.
    """
    total, bound = 0.0, np.inf
    start = room.looks[a].start
    while True:
        most, n = 0.0, 0
        for k in range(start, start + room.looks[a].n):
            one = room.edges[k]
            if most <= one.odds < bound and one.cookie != b and _competes(t, one.cookie, b, blind):
                n = n + 1 if one.odds == most else 1
                most = one.odds
        if most == 0.0:
            return total
        total += n * most
        bound = most


@jit
def count_patterns(t: Tables, cap: int, room: Room, counts: NDArray[np.int64]) -> bool:
    """Count the pairs by what logins say and by pattern of levels.

    Args:
        t: the tables. cap: as in `Settings.crowd`. room: scratch. counts: (3, N_PATTERNS) to be added to.

    Returns:
        Whether `room.edges` was long enough; else the counts are not complete.
    """
    for c in range(t.sizes[COOKIES]):
        p = t.profiles[c]
        if p.login == SHARED:
            continue
        n = partners(t, c, cap, room.edges, 0, room.place)
        if n < 0:
            return False
        forget(room.edges, 0, n, room.place)
        for k in range(n):
            one = room.edges[k]
            q = t.profiles[one.cookie]
            if one.cookie > c and q.login != SHARED:
                counts[say_logins(p, q), compare(t, c, one.cookie, one.crowd, one.home, cap)] += 1
    return True


@jit
def judge_known(t: Tables, scale: Scale, room: Room, counts: NDArray[np.int64]) -> bool:
    """Count the pairs that logins decide by (different or same, bin of the chance by evidence alone).

    Args:
        t: the tables. scale: blind. room: scratch. counts: (2, N_BINS) to be added to.

    Returns:
        Whether `room.edges` was long enough; else the counts are not complete.
    """
    open_round(room, True)
    for c in range(t.sizes[COOKIES]):
        if t.profiles[c].login < 0:
            continue
        open_round(room, False)
        if not look(t, scale, room, c):
            return False
        own = room.looks[c]
        for k in range(own.n):
            one = room.edges[own.start + k]
            said = say_logins(t.profiles[c], t.profiles[one.cookie])
            if one.cookie > c and said != UNKNOWN and one.odds > 0.0:
                if not look(t, scale, room, one.cookie):
                    return False
                against = rivals(t, room, c, one.cookie, True) + rivals(t, room, one.cookie, c, True)
                log_odds = math.log(one.odds / (1.0 + against))
                at = min(max(int((log_odds - LEAST_LOG_ODDS) * BINS_PER_LOG), 0), N_BINS - 1)
                counts[1 if said == SAME else 0, at] += 1
    return True
