"""The kernel that finds out from which changed cookies links have to be found anew: seldom from many."""

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.journeys.identity.comparing import UNKNOWN, say_logins
from gaelp.journeys.identity.profiles import (
    DIRTY,
    EVIDENCE,
    LINE,
    LINKS,
    NONE,
    Codes,
    Tables,
    ask,
    soil,
)
from gaelp.journeys.identity.weighing import Room, Scale, look, open_round

AT_ONCE = 32
"""Cookies whose memory is asked for together."""
_WORDS, _WORD_MASK = 8, np.uint32(255)  # words in a line
_AHEAD = 4  # regulars of an address that are asked for


@jit(borrows=True, rare=True)
def find_starts(
    t: Tables, scale: Scale, least: float, out: NDArray[np.void], room: Room, cursor: Codes
) -> bool:
    """Cut the list of changed cookies down to those from which links have to be found anew.

    These are the changed ones that are linked, or could be by evidence, and those who could be linked by
    evidence and have a changed one as a rival.

    Args:
        t: the tables. scale: what evidence is worth. least: odds that a claimed link has.
        out: IDENTITY, what is claimed. room: scratch. cursor: (AT_ONCE,) scratch.

    Returns:
        Whether `room.edges` was long enough; else call again with more.
    """
    n, kept, done = t.sizes[DIRTY], 0, 0
    heard = scale.cap > 0
    while done < n:
        if done % AT_ONCE == 0:
            _ask_ahead(t, scale.cap, out, room, done, min(done + AT_ONCE, n), cursor)
        c = t.dirty[done]
        p = t.profiles[c]
        if heard:
            if not look(t, scale, room, c):
                open_round(room, True)
                if not look(t, scale, room, c):
                    break
            _note_strong(t, least, room, c)
        done += 1
        if p.dirty == LINKS or (heard and (p.strong == 1 or out[c].next != c)):
            t.dirty[kept] = c
            kept += 1
        else:
            p.dirty = 0
    for i in range(done, t.sizes[DIRTY]):
        t.dirty[kept + i - done] = t.dirty[i]
    t.sizes[DIRTY] -= done - kept
    return bool(done == n)


@jit(borrows=True)
def _note_strong(t: Tables, least_odds: float, room: Room, c: int) -> None:
    """Note whom evidence could link to `c`; partners whom it could link to anybody have to be looked at."""
    p = t.profiles[c]
    p.strong = 0
    start, stop = room.looks[c].start, room.looks[c].start + room.looks[c].n
    for k in range(start, stop):
        q = t.profiles[room.edges[k].cookie]
        if room.edges[k].odds >= least_odds and say_logins(p, q) == UNKNOWN:
            p.strong = 1
            q.strong = 1
    for k in range(start, stop):
        if t.profiles[room.edges[k].cookie].strong == 1:
            soil(t, room.edges[k].cookie, EVIDENCE)


@jit(borrows=True, rare=True)
def _ask_ahead(
    t: Tables, cap: int, out: NDArray[np.void], room: Room, begin: int, end: int, cursor: Codes
) -> None:
    """Ask for the memory that looking at some changed cookies will need, step by step for all at once."""
    for i in range(begin, end):
        ask(t.profiles, t.dirty[i], 0)
        ask(t.profiles, t.dirty[i], LINE)
    if cap == 0:
        return
    for i in range(begin, end):
        c = t.dirty[i]
        ask(out, c, 0)
        ask(room.looks, c, 0)
        _ask_for_hours(t, c, c)
        cursor[i - begin] = t.profiles[c].sightings
        if cursor[i - begin] >= 0:
            ask(t.sightings, cursor[i - begin], 0)
    for i in range(begin, end):
        if cursor[i - begin] >= 0:
            cursor[i - begin] = t.sightings[cursor[i - begin]].address
            ask(t.addresses, cursor[i - begin], 0)
    for i in range(begin, end):
        if cursor[i - begin] >= 0:
            place = t.addresses[cursor[i - begin]]
            cursor[i - begin] = place.regulars if 2 <= place.crowd <= cap else NONE
            if cursor[i - begin] >= 0:
                ask(t.sightings, cursor[i - begin], 0)
    for _ in range(_AHEAD):
        for i in range(begin, end):
            if cursor[i - begin] >= 0:
                seen = t.sightings[cursor[i - begin]]
                if seen.cookie != t.dirty[i]:
                    ask(t.profiles, seen.cookie, 0)
                    ask(t.profiles, seen.cookie, LINE)
                    ask(room.looks, seen.cookie, 0)
                    ask(room.place, seen.cookie, 0)
                    _ask_for_hours(t, t.dirty[i], seen.cookie)
                cursor[i - begin] = seen.next_of_address
                if cursor[i - begin] >= 0:
                    ask(t.sightings, cursor[i - begin], 0)


@jit(borrows=True)
def _ask_for_hours(t: Tables, c: int, d: int) -> None:
    """Ask for those hours of cookie `d` that are to be compared with those of `c`."""
    words = t.profiles[c].hour_words
    for line in range(t.hours.shape[1] // _WORDS):
        if (words >> np.uint32(line * _WORDS)) & _WORD_MASK != 0:
            ask(t.hours, d, line * LINE)
