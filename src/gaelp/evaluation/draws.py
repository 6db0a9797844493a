"""What this very hour's draws make of an auction: what `clairvoyant` knows, and a platform's cap keeps to.

The hour's own random numbers are read here before the hour is lived: rivals' noise, the floor, the click.
"""

import math

import numpy as np
from numba import prange
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.core.random import bits, level, subkey, uniform
from gaelp.core.words import DISPLAY_LINE, SOCIAL_LINE, VIDEO_LINE
from gaelp.market.auction import clear_one
from gaelp.market.hour import (
    _CLICK,
    _RIVAL_NOISE,
    _WORD,
    DISPLAY,
    N_SLOTS,
    RIVAL_BRAND,
    SOCIAL,
    VIDEO,
    brand_quality,
    feed_line,
    rival_query,
    search_chance,
    search_query,
)
from gaelp.market.parameters import MOST_OF_A_PAGE
from gaelp.market.people import person_key
from gaelp.market.state import Population, Rivals

Floats = NDArray[np.float64]


@jit(borrows=True)
def kind_of(line):
    """Auction kind: 0 search, 1 social, 2 video, 3 display."""
    if line < SOCIAL_LINE:
        return 0
    if line < VIDEO_LINE:
        return 1
    return 2 if line < DISPLAY_LINE else 3


@jit(borrows=True)
def floor_of(r, ten_bits):
    """Floor of a display auction."""
    i = 0
    u = (ten_bits + 0.5) / 1024.0
    while i < 7 and u >= r.floor_edge[i]:
        i += 1
    return r.floor_cpm[i]


@jit(borrows=True)
def noisy_bid(r, key, kind, i, common, bid):
    """What the hour's draws make of rival `i`'s bid; multiplied in the hour's order, for the last micro."""
    noise = r.bid_noise[kind, level(bits(key, _RIVAL_NOISE + i // 5), i % 5)]
    return bid * noise * r.common_noise[kind, common]


@jit(borrows=True)
def catch_click(r, p, rivals, w, key, query, named, device_class, n_seats, reserve, multiplier, ad, organic,
                 rival, visit, typical, worth, bid, at):  # fmt: skip
    """Knowing where on the page the reader will click: bid for the cheapest slot that gets the click."""
    v = uniform(key, _CLICK)
    common = level(bits(key, _WORD), 0)
    n = typical.size
    for i in range(n):  # rank scores of this very auction, best first; the brand is kept in the order below
        typical[i] = noisy_bid(r, key, 0, i, common, typical[i])
    used = 0.0
    seen_by_rival = False
    previous = np.inf
    for slot in range(min(n, N_SLOTS)):
        score, who = -1.0, -1
        for i in range(n):
            if typical[i] < previous and typical[i] > score:
                score, who = typical[i], i
        if who < 0 or score <= 0.0:
            break
        used += search_chance(r, p, slot, query, named, n_seats + who, device_class, n_seats)
        if v < used:
            seen_by_rival = True
            break
        previous = score
    without = 0.0
    if seen_by_rival:
        without = rival + visit
    else:
        z = (v - used) / max(1.0 - used, 1e-9) / max(r.organic_click[query], 1e-12)
        if z < 1.0:
            without = visit
            if z < r.organic_us[query] and query != RIVAL_BRAND:
                without += organic
            elif z < r.organic_us[query] + r.organic_rival[query]:
                without += rival
    value = ad + visit - without
    if value <= 0.0:
        return
    quality = brand_quality(r, named, 0)
    before, above = 0.0, np.inf
    best = np.inf
    for slot in range(N_SLOTS):
        score, who = 0.0, -1
        for i in range(n):
            if typical[i] < above and typical[i] > score:
                score, who = typical[i], i
        cost = max(score / quality, reserve)
        ours = search_chance(r, p, slot, query, named, 0, device_class, n_seats)
        if before <= v < min(before + ours, MOST_OF_A_PAGE) and cost < best and cost <= multiplier * value:
            best = cost
            low = cost * quality
            high = min(above, 2.0 * low + 1e-6)
            if high > low:
                worth[at] = value
                # the middle is safest where it costs nothing
                own = low * 1.000001 if r.first_price[0] != 0 else 0.5 * (low + high)
                bid[at] = max(own / quality, reserve * 1.000001)
        if who < 0:
            break
        before += search_chance(r, p, slot, query, named, n_seats + who, device_class, n_seats)
        above = score


@jit(parallel=True)
def keep_within(
    rules: NDArray[np.void],
    pop: Population,
    rivals: Rivals,
    found: NDArray[np.void],
    starts: NDArray[np.int64],
    hour: int,
    left_micros: NDArray[np.int64],
    bid: Floats,
    cost_micros: NDArray[np.int64],
) -> None:
    """The platform's cap for bids per opportunity: withdraw every bid whose cost could pass what is left.

    In the order in which the hour will hold the auctions, as `hour.seat_bid` does for lines: a bid is not
    placed where the day's spend so far plus its own amount would pass the cap. Spend so far is that of this
    hour's earlier auctions, which is why this runs their draws. Nothing else is read from them.

    Args:
        rules, pop, rivals, found, starts, hour: as in `price`.
        left_micros: (W,) what the day may still cost.
        bid: (n,) bids of seat 0; withdrawn ones become -inf.
        cost_micros: (n,) filled with what each bid will cost: of a won impression or a click, -1 where none.
    """
    n_seats = pop.memory.shape[2]
    n_brands = pop.goodwill.shape[2]
    for w in prange(rules.shape[0]):
        r = rules[w]
        bids = np.empty(n_brands)
        quality = np.empty(n_brands)
        tie = np.empty(0)
        winner = np.empty(N_SLOTS, np.int64)
        prices = np.empty(N_SLOTS)
        spent = np.int64(0)
        for i in range(starts[w], starts[w + 1]):
            cost_micros[i] = -1
            if not bid[i] > 0.0:
                continue
            search = np.int64(found[i].line[0]) < SOCIAL_LINE
            if spent + math.ceil(bid[i] * (1e6 if search else 1e3)) > left_micros[w]:
                bid[i] = -np.inf
                continue
            cost_micros[i] = _cost(r, pop, rivals, w, found[i], hour, bid[i], n_seats, bids, quality, tie,
                                   winner, prices)  # fmt: skip
            spent += max(cost_micros[i], 0)


@jit(borrows=True)
def _cost(r, pop, rivals, w, o, hour, bid, n_seats, bids, quality, tie, winner, prices):
    """Micros that seat 0 will pay in this very auction, -1 if it will win nothing that is paid for."""
    person = np.int64(o.person)
    p = pop.people[w, person]
    own_key = person_key(r, person, p.generation)
    key = subkey(own_key, hour)
    word = bits(key, _WORD)
    device_class = 1 if o.device == 1 else 0
    kind = kind_of(np.int64(o.line[0]))
    activity, query, named = -1, -1, -1
    slots, reserve = 1, 0.0
    if kind == 0:
        query, named = search_query(r, p, pop.goodwill[w], person, own_key, key, n_seats)
        slots, reserve = N_SLOTS, r.search_reserve_usd[query]
    else:
        activity = SOCIAL if kind == 1 else (VIDEO if kind == 2 else DISPLAY)
        reserve = r.feed_reserve_cpm[activity]
        if activity == DISPLAY:
            reserve = floor_of(r, level(word, 1))
    for k in range(n_seats):
        bids[k], quality[k] = -np.inf, 1.0
    bids[0] = bid
    if kind == 0:
        quality[0] = brand_quality(r, named, 0)
    for i in range(rivals.strength.shape[1]):
        b = n_seats + i
        if kind == 0:
            line = 2 * rival_query(query, named, b) + device_class
            quality[b] = rivals.quality[w, i] * brand_quality(r, named, b)
        else:
            known = (p.visited >> np.uint64(b)) & np.uint64(1)
            line = feed_line(activity, 1 if known else 0, device_class)
            quality[b] = 1.0 if activity == DISPLAY else rivals.quality[w, i]
        bids[b] = -np.inf
        if rivals.spent[w, i] < rivals.budget[w, i]:
            bids[b] = noisy_bid(r, key, kind, i, level(word, 0), rivals.bid[w, i, line])
    clear_one(bids, quality, reserve, slots, r.first_price[kind] != 0, tie, ~key, winner, prices)
    if kind > 0:
        return np.int64(prices[0] * 1000.0 + 0.5) if winner[0] == 0 else np.int64(-1)
    v = uniform(key, _CLICK)
    used = 0.0
    for s in range(N_SLOTS):
        if winner[s] < 0:
            break
        before = used
        used = min(
            used + search_chance(r, p, s, query, named, winner[s], device_class, n_seats), MOST_OF_A_PAGE
        )
        if v >= before and v < used:
            return np.int64(prices[s] * 1e6 + 0.5) if winner[s] == 0 else np.int64(-1)
    return np.int64(-1)
