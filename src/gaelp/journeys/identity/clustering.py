"""The kernel that turns pairs into people: links first by login, then by hand, then by evidence, best first.

Only cookies whose evidence has changed are looked at, together with everybody their links can reach, so the
result is that of looking at all of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.journeys.identity.comparing import UNKNOWN, say_logins
from gaelp.journeys.identity.profiles import DIRTY, Numbers, Tables
from gaelp.journeys.identity.starting import AT_ONCE, find_starts
from gaelp.journeys.identity.weighing import Room, Scale, look, open_round, rivals

NOTHING, BY_LOGIN, BY_HAND, BY_EVIDENCE = range(4)
"""Why two cookies are linked."""
CONTRADICTION = 1.0
"""Odds under which two cookies of groups about to be joined speak against it."""
_S32, _MASK32 = np.uint64(32), np.uint64(0xFFFFFFFF)

IDENTITY = np.dtype(
    [
        ("confidence", "f8"),  # that the cookie belongs to the others of its person
        ("chance", "f8"),  # of the link noted here
        ("link", "i4", 2),  # a link to another part of the person: one fewer than a person has cookies
        ("label", "i4"),  # smallest code among the cookies of the person
        ("next", "i4"),  # next cookie of the same person, in a ring
        ("size", "i4"),  # at the label: cookies of the person
        ("reason", "u1"),  # of the link
        ("logged_in", "u1"),  # at the label: the person has a login
    ],
    align=True,
)
"""What is claimed of a cookie."""


class Rules(NamedTuple):
    """What a link needs."""

    scale: Scale
    least: float  # probability that a claimed link has
    most: int  # cookies of one person
    same: Numbers  # pairs of cookies that are one person by hand, ascending; see `pair_of`
    apart: Numbers  # pairs that are not


@jit
def resolve_dirty(t: Tables, rules: Rules, out: NDArray[np.void], room: Room) -> bool:
    """Bring identities up to date; False, and nothing is lost, where room is short of edges or candidates."""
    cursor = np.empty(AT_ONCE, np.int32)
    open_round(room, True)
    if not find_starts(t, rules.scale, rules.least / (1.0 - rules.least), out, room, cursor):
        return False
    first = open_round(room, False)
    for i in range(t.sizes[DIRTY]):
        if room.looks[t.dirty[i]].collected < first:
            n = _collect(t, rules, out, room, t.dirty[i], open_round(room, False))
            if n < 0:
                return False
            _divide(t, rules, out, room, n)
    for i in range(t.sizes[DIRTY]):
        t.profiles[t.dirty[i]].dirty = 0
    t.sizes[DIRTY] = 0
    return True


@jit(borrows=True)
def _join_queue(room: Room, c: int, n: int, number: int) -> int:
    if room.looks[c].collected != number:
        room.looks[c].collected = number
        room.queue[n] = c
        return n + 1
    return n


@jit(borrows=True, rare=True)
def _collect(t: Tables, rules: Rules, out: NDArray[np.void], room: Room, begin: int, number: int) -> int:
    """List all that links can reach from a cookie, and the candidates among their pairs, closed by a = -1.

    Returns:
        How many cookies; -1 where there is no room for edges or candidates.
    """
    n, at, n_candidates = _join_queue(room, begin, 0, number), 0, 0
    least_odds = rules.least / (1.0 - rules.least)
    while at < n:
        c = int(room.queue[at])
        at += 1
        p = t.profiles[c]
        n = _join_queue(room, out[c].next, n, number)
        if p.login >= 0:
            other = int(t.logins[p.login].cookies)
            while other >= 0:
                if t.profiles[other].login == p.login:
                    n = _join_queue(room, other, n, number)
                other = int(t.profiles[other].next_in_login)
        for i in range(rules.same.size):
            a, b = _codes_of(rules.same[i])
            if a == c or b == c:
                n = _join_queue(room, a + b - c, n, number)
        if rules.scale.cap == 0:
            continue
        if not look(t, rules.scale, room, c):
            return -1
        start = room.looks[c].start
        for k in range(start, start + room.looks[c].n):
            j, odds = int(room.edges[k].cookie), room.edges[k].odds
            if odds < least_odds or say_logins(p, t.profiles[j]) != UNKNOWN:
                continue
            n = _join_queue(room, j, n, number)
            if j < c:
                continue  # the pair is noted once
            if not look(t, rules.scale, room, j):
                return -1
            against = rivals(t, room, c, j, False) + rivals(t, room, j, c, False)
            chance = odds / (1.0 + odds + against)
            if chance >= rules.least:
                if n_candidates + 1 >= room.candidates.size:
                    return -1
                room.candidates[n_candidates].a = c
                room.candidates[n_candidates].b = j
                room.candidates[n_candidates].chance = chance
                n_candidates += 1
    room.candidates[n_candidates].a = -1
    return n


@jit(borrows=True, rare=True)
def _divide(t: Tables, rules: Rules, out: NDArray[np.void], room: Room, n: int) -> None:
    """Divide what `_collect` has listed into people."""
    for i in range(n):
        c = room.queue[i]
        one = out[c]
        one.label, one.next, one.size, one.reason = c, c, 1, NOTHING
        one.confidence, one.chance = 1.0, 1.0
        one.link[0] = -1
        one.link[1] = -1
        one.logged_in = t.profiles[c].login >= 0
    if n == 1:
        return
    for i in range(n):
        c = int(room.queue[i])
        p = t.profiles[c]
        if p.login >= 0:  # to the smallest number of the same login
            head = c
            other = int(t.logins[p.login].cookies)
            while other >= 0:
                if t.profiles[other].login == p.login and t.profiles[other].number < t.profiles[head].number:
                    head = other
                other = int(t.profiles[other].next_in_login)
            _link(t, out, head, c, 1.0, BY_LOGIN)
    for i in range(rules.same.size):
        a, b = _codes_of(rules.same[i])
        if room.looks[a].collected == room.looks[room.queue[0]].collected:
            _link(t, out, a, b, 1.0, BY_HAND)
    _sort(t, room.candidates)
    k = 0
    while room.candidates[k].a >= 0:
        a, b = int(room.candidates[k].a), int(room.candidates[k].b)
        if _may_join(rules, out, room, out[a].label, out[b].label):
            _link(t, out, a, b, room.candidates[k].chance, BY_EVIDENCE)
        k += 1


@jit(borrows=True)
def _sort(t: Tables, candidates: NDArray[np.void]) -> None:
    """Best first; equal ones by the numbers of their cookies, whatever codes those have got."""
    i = 1
    if candidates[0].a < 0:
        return
    while candidates[i].a >= 0:
        a, b, chance = candidates[i].a, candidates[i].b, candidates[i].chance
        k = i
        while k > 0 and (
            candidates[k - 1].chance < chance
            or (
                candidates[k - 1].chance == chance
                and _comes_before(t, a, b, candidates[k - 1].a, candidates[k - 1].b)
            )
        ):
            candidates[k].a, candidates[k].b = candidates[k - 1].a, candidates[k - 1].b
            candidates[k].chance = candidates[k - 1].chance
            k -= 1
        candidates[k].a, candidates[k].b, candidates[k].chance = a, b, chance
        i += 1


@jit(borrows=True)
def _comes_before(t: Tables, a: int, b: int, c: int, d: int) -> bool:
    na, nb, nc, nd = t.profiles[a].number, t.profiles[b].number, t.profiles[c].number, t.profiles[d].number
    low, other_low = min(na, nb), min(nc, nd)
    return bool(low < other_low or (low == other_low and max(na, nb) < max(nc, nd)))


@jit(borrows=True, rare=True)
def _may_join(rules: Rules, out: NDArray[np.void], room: Room, a: int, b: int) -> bool:
    """Whether nothing speaks against two groups, given by their labels, being one person."""
    if a == b or (out[a].logged_in and out[b].logged_in) or out[a].size + out[b].size > rules.most:
        return False
    i = a
    while True:
        start = room.looks[i].start
        for k in range(start, start + room.looks[i].n):
            one = room.edges[k]
            if one.odds < CONTRADICTION and out[one.cookie].label == b:
                return False
        for k in range(rules.apart.size):
            c, d = _codes_of(rules.apart[k])
            if (c == i and out[d].label == b) or (d == i and out[c].label == b):
                return False
        i = int(out[i].next)
        if i == a:
            return True


@jit
def pair_of(a: int, b: int) -> np.uint64:
    """One number for a pair of codes, in whichever order."""
    return (np.uint64(min(a, b)) << _S32) | np.uint64(max(a, b))


@jit
def _codes_of(pair: np.uint64) -> tuple[int, int]:
    return int(np.int64(pair >> _S32)), int(np.int64(pair & _MASK32))


@jit(borrows=True)
def _least_number(t: Tables, out: NDArray[np.void], label: int) -> np.uint64:
    least = t.profiles[label].number
    i = out[label].next
    while i != label:
        least = min(least, t.profiles[i].number)
        i = out[i].next
    return np.uint64(least)


@jit(borrows=True, rare=True)
def _link(t: Tables, out: NDArray[np.void], c: int, d: int, chance: float, reason: int) -> None:
    """Join the groups of two cookies; one with a login leads, else the larger, else the smaller number."""
    a, b = int(out[c].label), int(out[d].label)
    if a == b:
        return
    if out[a].logged_in != out[b].logged_in:
        b_leads = out[b].logged_in > out[a].logged_in
    elif out[a].size != out[b].size:
        b_leads = out[b].size > out[a].size
    else:
        b_leads = _least_number(t, out, b) < _least_number(t, out, a)
    led = a if b_leads else b
    i = led
    while True:  # everybody who joins is as sure as the link
        out[i].confidence *= chance
        i = int(out[i].next)
        if i == led:
            break
    label, gone = min(a, b), max(a, b)
    i = gone
    while True:
        out[i].label = label
        i = int(out[i].next)
        if i == gone:
            break
    one = out[gone]
    one.reason, one.chance = reason, chance
    one.link[0] = min(c, d)
    one.link[1] = max(c, d)
    after = out[a].next
    out[a].next = out[b].next
    out[b].next = after
    out[label].size = out[a].size + out[b].size
    out[label].logged_in = out[a].logged_in | out[b].logged_in
