"""What an ad is worth to the person who meets it: the value model of the references that see truth.

A sale is a purchase in the category times the choice of a brand, and an ad can move either.
`moments.purchase_moments` says when a person will buy and what of today's goodwill is left by then. `price`
turns that into dollars for each auction of the coming hour: own goodwill (concave, by dP = P(1-P)), a
rival's goodwill denied, and stage moves and purchases that the other bidder's ad would not have caused. The
same auction without us sells to a rival, so what any ad of the category does counts for nothing.

Left out: that a view wears out the creative for later, what a cookie and an address are worth, the drift of
need to come (need stands at a point between today's and the person's mean), what bids teach rivals, that an
hour holds one activity at most.
"""

import math

import numpy as np
from numba import prange
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.core.random import bits, level, normal, subkey, uniform
from gaelp.core.words import N_CREATIVES
from gaelp.evaluation.draws import catch_click, floor_of, kind_of, noisy_bid
from gaelp.evaluation.moments import (
    LN_ACTIVITIES,
    LN_NEEDS,
    N_IDLE,
    URGENCIES,
    look_up,
    place,
    state_of,
)
from gaelp.market.hour import (
    _CLICK,
    _VIEW,
    _WORD,
    DISPLAY,
    N_SLOTS,
    RIVAL_BRAND,
    SOCIAL,
    VIDEO,
    audience,
    brand_quality,
    feed_line,
    feed_odds,
    lived_goodwill,
    own_odds,
    rival_query,
    search_chance,
    search_query,
)
from gaelp.market.people import AWARE, CONSIDERING, CONVERTED, INTENT, LOST, TASTE, need_mean, person_key
from gaelp.market.state import Population, Rivals

Floats = NDArray[np.float64]
NEED_LEFT = 0.7
"""How much of today's deviation of need from the person's mean counts until the purchase."""
USUAL_GOODWILL = 0.08
"""What people in intent feel for a brand on average (logit): goodwill forgotten is partly refilled."""
N_DRAWS = 16
"""Draws of rivals' noise over which a first-price or several-slot bid is optimised."""
_CANDIDATES = np.array([1.0, 0.85, 0.7, 0.58, 0.47, 0.37, 0.28, 0.2])


@jit(borrows=True)
def _after(r, p, table, at, weights, stage, idle, pressure, visited, contact):
    """Moments of a person after an activity with this pressure to move on, as `hour.follow_up` lives it."""
    i = p.need * (1.0 + p.urgency)
    if contact:
        idle = 0
        if stage == LOST:
            stage = AWARE
    up = min(0.9, pressure * i) if stage < INTENT else 0.0
    t0, t1, t2 = 0.0, 0.0, 0.0
    for moved in range(2):
        chance = up if moved == 1 else 1.0 - up
        if chance <= 0.0:
            continue
        s = stage + moved
        m0, m1, m2 = look_up(table, at, weights, state_of(s, idle))
        if s == CONSIDERING or s == INTENT:
            b = (
                r.buy_rate
                * i
                * (r.buy_early if s == CONSIDERING else 1.0)
                * (r.buy_visit if visited else 1.0)
            )
            b = min(0.9, b)
            m0 = b + (1.0 - b) * m0
            m1 = b + (1.0 - b) * m1
            m2 = b + (1.0 - b) * m2
        t0 += chance * m0
        t1 += chance * m1
        t2 += chance * m2
    return t0, t1, t2


@jit(borrows=True)
def _choice(r, p, pop, rivals, w, person, own_key, left, gain, probability, slope):
    """Chances of the brands at the moment of choice, and how each lived goodwill answers to one more unit.

    Args:
        left: share of today's goodwill left by then. gain: what is added to ours, in today's units.
        probability, slope: (n_brands,) filled; seat 0 is ours.

    Returns:
        USD of a sale, by the segment the person is likely to buy in.
    """
    goodwill = pop.goodwill[w]
    n_brands, n_seats = goodwill.shape[1], pop.memory.shape[2]
    crisis = left if p.segment != p.home_segment else 0.0
    sensitivity = (
        crisis * r.price_sensitivity[p.segment] + (1.0 - crisis) * r.price_sensitivity[p.home_segment]
    )
    worth = crisis * r.value_segment[p.segment] + (1.0 - crisis) * r.value_segment[p.home_segment]
    sensitivity *= p.price_sensitivity
    total = math.exp(r.none_utility)
    for b in range(n_brands):
        g = left * goodwill[person, b] + (1.0 - left) * USUAL_GOODWILL
        prior, index = r.brand_prior, r.price_index
        if b >= n_seats:
            prior, index = rivals.prior[w, b - n_seats], rivals.price_index[w, b - n_seats]
        if b == 0:
            g += 0.5 * left * gain  # the middle of what is added, for a concave answer
        taste = r.taste_sigma * normal(own_key, TASTE + b)
        probability[b] = math.exp(prior + taste + lived_goodwill(r, g) - sensitivity * index)
        total += probability[b]
        slope[b] = 1.0 / (1.0 + abs(g) / r.goodwill_saturation) ** 2
    for b in range(n_brands):
        probability[b] /= total
    return worth * r.ltv_micros * 1e-6


@jit(borrows=True)
def _find(r, p, hour, own_key, at, weights):
    """Where the person stands in the table: fills the cell and its corners' weights; days since contact."""
    mean = need_mean(r, p, own_key)
    season = math.log(p.need) - p.ln_need
    u, wu = place(URGENCIES, p.urgency)
    n, wn = place(LN_NEEDS, season + mean + NEED_LEFT * (p.ln_need - mean))
    a, wa = place(LN_ACTIVITIES, math.log(p.activity))
    at[0], at[1], at[2] = u, n, a
    for corner in range(8):
        weight = (wu if corner & 1 else 1.0 - wu) * (wn if (corner >> 1) & 1 else 1.0 - wn)
        weights[corner] = weight * (wa if corner >> 2 else 1.0 - wa)
    if p.journey_start < 0:
        return N_IDLE - 1
    return min(max((hour - p.last_contact) // 24, 0), N_IDLE - 2)


@jit(borrows=True)
def _rival_bids(r, p, rivals, w, n_seats, activity, query, named, device_class, typical):
    """Fill `typical` (n_rivals,) with each rival's bid x quality of today, without noise; 0 where it rests.

    Returns how many bid.
    """
    found = 0
    for i in range(typical.size):
        typical[i] = 0.0
        if rivals.spent[w, i] >= rivals.budget[w, i]:
            continue
        b = n_seats + i  # seats come first among brands
        if activity < 0:
            line = 2 * rival_query(query, named, b) + device_class
            typical[i] = rivals.bid[w, i, line] * rivals.quality[w, i] * brand_quality(r, named, b)
        else:
            known = (p.visited >> np.uint64(b)) & np.uint64(1)
            line = feed_line(activity, 1 if known else 0, device_class)
            typical[i] = rivals.bid[w, i, line] * (1.0 if activity == DISPLAY else rivals.quality[w, i])
        found += typical[i] > 0.0
    return found


@jit(borrows=True)
def _denied(probability, slope, typical, n_seats, power):
    """How our chance answers to a unit of goodwill that a rival does not get, mean over likely winners."""
    total, answer = 0.0, 0.0
    for i in range(typical.size):
        weight = typical[i]
        for _ in range(power - 1):
            weight *= typical[i]
        total += weight
        answer += weight * probability[n_seats + i] * slope[n_seats + i]
    return probability[0] * answer / max(total, 1e-12)


@jit(borrows=True)
def _first_price(r, typical, kind, noise, reserve_kinds, reserve, worth, tops):
    """The bid that maximises (worth - bid) x chance to win, over the draws; 0 where none is worth it."""
    for d in range(N_DRAWS):
        top = reserve
        if reserve_kinds:
            top = floor_of(r, noise[d, 7])
        common = r.common_noise[kind, noise[d, 0]]
        for i in range(typical.size):
            top = max(top, typical[i] * r.bid_noise[kind, noise[d, 1 + i % 6]] * common)
        tops[d] = top
    best, bid = 0.0, 0.0
    for d in range(N_DRAWS):
        if tops[d] >= worth:
            continue
        wins = 0
        for other in range(N_DRAWS):
            wins += tops[other] <= tops[d]
        gain = (worth - tops[d]) * wins
        if gain > best:
            best, bid = gain, tops[d] * 1.0001
    return bid


@jit(borrows=True)
def _several_slots(r, typical, noise, quality, reserve, worth):
    """The bid per click that maximises clicks x (worth - price) over the draws, among shares of `worth`.

    With several slots a bid at the worth of a click overpays for the top ones: their price is on all clicks.
    """
    best, bid = 0.0, 0.0
    for c in range(_CANDIDATES.size):
        own = _CANDIDATES[c] * worth
        if own < reserve:
            break
        gain = 0.0
        for d in range(N_DRAWS):
            common = r.common_noise[0, noise[d, 0]]
            slot, following = 0, 0.0
            for i in range(typical.size):
                score = typical[i] * r.bid_noise[0, noise[d, 1 + i % 6]] * common
                if score > own * quality:
                    slot += 1
                elif score > following:
                    following = score
            if slot < N_SLOTS:
                paid = own if r.first_price[0] != 0 else min(own, max(following / quality, reserve))
                gain += r.position[slot] * (worth - paid)
        if gain > best:
            best, bid = gain, own
    return bid


@jit(borrows=True)
def _feed_worth(r, p, pop, rivals, w, person, own_key, hour, activity, line, device, device_class, landing,
                creatives, table, at, weights, draws, key, typical, probability, slope):  # fmt: skip
    """USD that a won feed impression brings; with `draws`, given whether it is seen and clicked."""
    n_seats = pop.memory.shape[2]
    m = pop.memory[w, person, 0]
    idle = _find(r, p, hour, own_key, at, weights)
    step = min(p.stage, 2)
    view, visit = r.stage_up_view[step], r.stage_up_visit[step]
    c0, c1, c2 = _after(r, p, table, at, weights, p.stage, idle, view + visit, True, True)
    s0, s1, _ = _after(r, p, table, at, weights, p.stage, idle, view, False, False)
    who = audience(p, m, activity, device, hour)
    odds = feed_odds(r, p, activity, device_class)
    theirs = odds * r.rival_fatigue
    any_known = (p.visited >> np.uint64(n_seats)) != np.uint64(0)
    if any_known:
        theirs *= 0.5 * (1.0 + r.engaged_click)
    seen = min(r.viewability[activity] * p.attention, 1.0)
    ours = 0.0
    if draws:
        seen = 1.0 if uniform(key, _VIEW) < seen else 0.0
        creative = 0
        while (
            creative < N_CREATIVES - 1 and (level(bits(key, _WORD), 3) + 0.5) / 1024.0 >= creatives[creative]
        ):
            creative += 1
        ours = own_odds(r, p, odds, activity, device_class, who, creative, m.views[creative])
        where = uniform(key, _CLICK)
        ours = 1.0 if where < ours / (1.0 + ours) else 0.0
        theirs = 1.0 if where < theirs / (1.0 + theirs) else 0.0
        if seen == 0.0:
            return 0.0
    else:
        for creative in range(N_CREATIVES):
            x = own_odds(r, p, odds, activity, device_class, who, creative, m.views[creative])
            share = creatives[creative] - (creatives[creative - 1] if creative > 0 else 0.0)
            ours += share * x / (1.0 + x)
        theirs = theirs / (1.0 + theirs)
    recent = m.views[0] + m.views[1] + m.views[2]
    gain = r.goodwill_view[activity]
    own_gain = gain * max(1.0 - recent / r.annoyance_views, -1.0)
    click_gain = r.goodwill_click * r.landing_fit[landing, 4 + who]
    sale = _choice(r, p, pop, rivals, w, person, own_key, c2 / max(c1, 1e-12), click_gain, probability, slope)
    answer = probability[0] * (1.0 - probability[0]) * slope[0]
    denied = _denied(probability, slope, typical, n_seats, 3)
    worth = answer * (own_gain * s1 + ours * click_gain * c1)
    worth += denied * (gain * s1 + theirs * r.goodwill_click * c1)
    worth += (ours - theirs) * (c0 - s0) * probability[0]
    return seen * worth * sale


@jit(borrows=True)
def _click_worths(r, p, pop, rivals, w, person, own_key, hour, query, named, landing, table, at, weights,
                  typical, probability, slope):  # fmt: skip
    """What clicks on a search page are worth, USD: ours on the ad, ours organic, a rival's, any visit."""
    n_seats = pop.memory.shape[2]
    _find(r, p, hour, own_key, at, weights)
    stage = AWARE if p.stage == LOST else p.stage
    step = min(stage, 2)
    search, visit = r.stage_up_search[step], r.stage_up_visit[step]
    c0, c1, c2 = _after(r, p, table, at, weights, stage, 0, search + visit, True, True)
    s0, _, _ = _after(r, p, table, at, weights, stage, 0, search, False, True)
    ad = r.goodwill_click * r.landing_fit[landing, query]
    sale = _choice(r, p, pop, rivals, w, person, own_key, c2 / max(c1, 1e-12), ad, probability, slope)
    answer = probability[0] * (1.0 - probability[0]) * slope[0] * c1 * sale
    denied = _denied(probability, slope, typical, n_seats, 1) * r.goodwill_click * c1 * sale
    organic = answer * r.goodwill_click * r.landing_fit[0, query]
    return answer * ad, organic, -denied, (c0 - s0) * probability[0] * sale


@jit(borrows=True)
def _page_worth(r, p, query, named, device_class, n_seats, n_rivals_bid, ad, organic, rival, visit):
    """USD that our ad on a search page is worth per click on it, against the page without it."""
    slot = 0 if named == 0 else 1
    own = search_chance(r, p, slot, query, named, 0, device_class, n_seats)
    before, after = 0.0, 0.0
    for s in range(N_SLOTS):
        above = named if named > 0 and s == 0 else -1  # the brand that the query names stands first
        chance = search_chance(r, p, s, query, named, above, device_class, n_seats)
        if s < n_rivals_bid:
            before += chance
        if s == slot:
            after += own
        elif s < n_rivals_bid + 1:
            after += chance
    more = after - before  # clicks that organic results would have had a part of
    us, them = r.organic_us[query], r.organic_rival[query]
    if query == RIVAL_BRAND:
        us = 0.0
    worth = own * ad + (more - own) * rival
    worth -= more * r.organic_click[query] * (us * organic + them * rival)
    worth += more * (1.0 - r.organic_click[query]) * visit
    return worth / max(own, 1e-12)


@jit(parallel=True)
def price(
    rules: NDArray[np.void],
    pop: Population,
    rivals: Rivals,
    found: NDArray[np.void],
    starts: NDArray[np.int64],
    hour: int,
    multiplier: Floats,
    landing: NDArray[np.int64],
    creative: Floats,
    moments: NDArray[np.float32],
    noise: NDArray[np.int64],
    draws: bool,
    worth: Floats,
    bid: Floats,
) -> None:
    """Value of every auction of the coming hour to seat 0, and the bid that follows from it.

    Args:
        rules, pop, rivals: of the market. found: its `opportunities()`. starts: (W + 1,) first of each world.
        hour: the coming hour. multiplier: (W,) dollars bid per dollar of value.
        landing: (W, n_lines) landing page in use. creative: (W, n_lines, n_creatives) cumulative weights.
        moments: from `purchase_moments`.
        noise: (N_DRAWS, 8) levels of rivals' noise (common, six rivals, floor) to optimise bids over.
        draws: use the hour's draws of views, clicks and rivals' noise too.
        worth: (n,) filled: USD per impression won (feeds) or per click on the ad (search).
        bid: (n,) filled: USD per 1000 or per click, -inf where nothing is worth bidding for.
    """
    n_rivals = rivals.strength.shape[1]
    n_seats = pop.memory.shape[2]
    for w in prange(rules.shape[0]):
        r = rules[w]
        typical = np.empty(n_rivals)
        probability = np.empty(n_seats + n_rivals)
        slope = np.empty(n_seats + n_rivals)
        tops = np.empty(N_DRAWS)
        at = np.zeros(3, np.int64)
        weights = np.zeros(8)
        for i in range(starts[w], starts[w + 1]):
            worth[i] = 0.0
            bid[i] = -np.inf
            o = found[i]
            person = np.int64(o.person)
            p = pop.people[w, person]
            if p.stage == CONVERTED:
                continue
            own_key = person_key(r, person, p.generation)
            key = subkey(own_key, hour)
            line = np.int64(o.line[0])
            kind = kind_of(line)
            device_class = 1 if o.device == 1 else 0
            table = moments[w, 0 if p.home_segment == 0 else 1]
            if kind == 0:
                query, named = np.int64(o.query), -1
                if query >= RIVAL_BRAND:
                    query, named = search_query(r, p, pop.goodwill[w], person, own_key, key, n_seats)
                bidders = _rival_bids(r, p, rivals, w, n_seats, -1, query, named, device_class, typical)
                ad, organic, rival, visit = _click_worths(
                    r, p, pop, rivals, w, person, own_key, hour, query, named, landing[w, line], table, at,
                    weights, typical, probability, slope,
                )  # fmt: skip
                reserve = r.search_reserve_usd[query]
                quality = brand_quality(r, named, 0)
                if draws:
                    catch_click(r, p, rivals, w, key, query, named, device_class, n_seats, reserve,
                                 multiplier[w], ad, organic, rival, visit, typical, worth, bid,
                                 i)  # fmt: skip
                    continue
                worth[i] = _page_worth(r, p, query, named, device_class, n_seats, bidders, ad, organic,
                                       rival, visit)  # fmt: skip
                most = multiplier[w] * worth[i]
                if most > reserve:
                    best = _several_slots(r, typical, noise, quality, reserve, most)
                    if best > 0.0:
                        bid[i] = best
                continue
            activity = SOCIAL if kind == 1 else (VIDEO if kind == 2 else DISPLAY)
            _rival_bids(r, p, rivals, w, n_seats, activity, -1, -1, device_class, typical)
            worth[i] = _feed_worth(
                r, p, pop, rivals, w, person, own_key, hour, activity, line, np.int64(o.device), device_class,
                landing[w, line], creative[w, line], table, at, weights, draws, key, typical,
                probability, slope,
            )  # fmt: skip
            most = 1000.0 * multiplier[w] * worth[i]
            if most <= 0.0:
                continue
            if r.first_price[kind] == 0:
                bid[i] = most
                continue
            reserve = r.feed_reserve_cpm[activity]
            if draws:
                word = bits(key, _WORD)
                if activity == DISPLAY:
                    reserve = floor_of(r, level(word, 1))
                top = reserve
                for k in range(n_rivals):
                    top = max(top, noisy_bid(r, key, kind, k, level(word, 0), typical[k]))
                if top * 1.000001 <= most:
                    bid[i] = top * 1.000001
                continue
            best = _first_price(r, typical, kind, noise, activity == DISPLAY, reserve, most, tops)
            if best > 0.0:
                bid[i] = best


def noise_draws(seed: int = 0) -> NDArray[np.int64]:
    """(N_DRAWS, 8) levels of the noise table: common, six rivals, floor; the same for every auction."""
    generator = np.random.default_rng(seed)
    columns = [generator.permutation(N_DRAWS) for _ in range(8)]  # each column spread evenly
    return np.ascontiguousarray((np.stack(columns, axis=1) * 1024 + 512) // N_DRAWS)
