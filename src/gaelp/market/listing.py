"""The features half of an hour: which auctions it will hold, as bidders see them."""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.core.random import bits, level, subkey
from gaelp.core.words import EMAIL_LINE
from gaelp.market.hour import (
    _WORD,
    DISPLAY,
    OWN_BRAND,
    RIVAL_BRAND,
    SEARCH,
    audience,
    choose_activity,
    feed_line,
    pick_device,
    search_query,
)
from gaelp.market.people import person_key
from gaelp.market.state import Population

OPPORTUNITY = np.dtype(
    [
        ("world", "i4"),
        ("person", "i4"),
        ("line", "u1", 7),  # per seat, the line on which it may bid
        ("device", "u1"),
        ("region", "u1"),
        ("query", "i1"),  # -1 outside search
    ],
    align=True,
)
"""One coming auction: what a platform would let a bidder see, plus the person's opaque number."""


@jit(borrows=True)
def _list_world(r, pop, w, hour, counts, found):
    people, today = pop.people[w], pop.today[w]
    goodwill, memory = pop.goodwill[w], pop.memory[w]
    bit = np.uint32(1) << np.uint32(hour % 24)
    hour_of_week = (r.start_hour_of_week + hour) % 168
    n = 0
    for person in range(people.shape[0]):
        if today[person] & bit == 0:
            continue
        p = people[person]
        own_key = person_key(r, person, p.generation)
        key = subkey(own_key, hour)
        activity, _ = choose_activity(r, p, goodwill, memory, person, key, hour_of_week)
        if activity > SEARCH:
            continue
        if found.shape[1] > 0:
            o = found[w, n]
            o.world = w
            o.person = person
            o.region = p.region
            o.device = pick_device(p, level(bits(key, _WORD), 2))
            device_class = 1 if o.device == 1 else 0
            o.query = -1
            named = -1
            if activity == SEARCH:
                query, named = search_query(r, p, goodwill, person, own_key, key, memory.shape[1])
                o.query = query
            for k in range(7):
                o.line[k] = EMAIL_LINE
            for k in range(memory.shape[1]):
                if activity <= DISPLAY:
                    who = audience(p, memory[person, k], activity, o.device, hour)
                    o.line[k] = feed_line(activity, who, device_class)
                else:
                    asked = o.query if o.query != OWN_BRAND or named == k else RIVAL_BRAND
                    o.line[k] = 2 * asked + device_class
        n += 1
    counts[w] = n


@jit(parallel=True)
def list_opportunities(
    rules: NDArray[np.void],
    pop: Population,
    hour: int,
    counts: NDArray[np.int64],
    found: NDArray[np.void],
) -> None:
    """List (or only count, where `found` has no room) the auctions of the coming hour of every world.

    Args:
        rules, pop: as in `advance_hours`; nothing is changed.
        hour: hours since the world began, not the first of a day.
        counts: (W,) receives the number of auctions per world.
        found: (W, capacity) OPPORTUNITY, filled from the left; capacity 0 to count only.
    """
    for w in prange(rules.shape[0]):
        _list_world(rules[w], pop, w, hour, counts, found)
