"""What an ad is worth to the person who meets it: the value model of the references that see truth.

A sale is a purchase in the category times the choice of a brand, and an ad can move either.
`purchase_moments` follows the stages of a person by their hazards and tabulates, for every state, need,
urgency and activity:

    m0 = E[purchases]                       what moving somebody a stage is worth
    m1 = E[keep ** days until the purchase] what is left of today's goodwill at the moment of choice
    m2 = E[keep ** (2 days)]                so that m2 / m1 is the typical decay of goodwill that still counts

`price` turns them into dollars for each auction of the coming hour: own goodwill (concave, by dP = P(1-P)), a
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
from gaelp.core.words import DISPLAY_LINE, N_CREATIVES, SOCIAL_LINE, VIDEO_LINE
from gaelp.market.auction import clear_one
from gaelp.market.hour import (
    _CLICK,
    _RIVAL_NOISE,
    _VIEW,
    _WORD,
    DISPLAY,
    N_SLOTS,
    OWN_BRAND,
    RIVAL_BRAND,
    SOCIAL,
    VIDEO,
    audience,
    brand_quality,
    fatigue_of,
    feed_line,
    lived_goodwill,
    rival_query,
    search_query,
)
from gaelp.market.people import (
    AWARE,
    CONSIDERING,
    CONVERTED,
    INTENT,
    LOST,
    TASTE,
    UNAWARE,
    need_mean,
    person_key,
)
from gaelp.market.state import Population, Rivals

Floats = NDArray[np.float64]

URGENCIES = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 3.5, 6.0])
LN_NEEDS = np.linspace(math.log(0.1), math.log(6.0), 10)
LN_ACTIVITIES = np.array([-0.9, -0.3, 0.3, 0.9])
HORIZON_DAYS = 70
"""A flight's middle plus its run-off: what a purchase later than that brings is not judged."""
N_IDLE = 15
"""Days since the last contact, 0 to 13; 14 stands for "no journey"."""
N_STATES = 2 + 3 * N_IDLE
"""Unaware, lost, and aware, considering, in intent by days since contact."""
PARTS_OF_DAY = 4
NEED_LEFT = 0.7
"""How much of today's deviation of need from the person's mean counts until the purchase."""
USUAL_GOODWILL = 0.08
"""What people in intent feel for a brand on average (logit): goodwill forgotten is partly refilled."""
N_DRAWS = 16
"""Draws of rivals' noise over which a first-price or several-slot bid is optimised."""
_CANDIDATES = np.array([1.0, 0.85, 0.7, 0.58, 0.47, 0.37, 0.28, 0.2])


@jit(borrows=True)
def _state(stage, idle):
    if stage == UNAWARE:
        return 0
    if stage == LOST:
        return 1
    return 2 + (stage - AWARE) * N_IDLE + idle


@jit(borrows=True)
def _search_visit(r, stage):
    """Chance that a search by somebody in `stage` ends on a site of the category."""
    slots = 0.0
    for s in range(N_SLOTS):
        slots += r.position[s]
    chance = 0.0
    for q in range(4):
        ads = slots * r.search_click[q]
        if q >= RIVAL_BRAND:
            ads = r.search_click[OWN_BRAND] + (slots - 1.0) * r.search_click[RIVAL_BRAND]
        ads = min(ads, 0.95)
        low = 0.0 if q == 0 else r.query_edge[stage, q - 1]
        chance += (r.query_edge[stage, q] - low) * (ads + (1.0 - ads) * r.organic_click[q])
    return chance


@jit(borrows=True)
def _hazards(r, stage, need, urgency, activity, h):
    """Events a day of somebody in `stage`.

    Fills h: 0 up at a contact, 1 up at a view, 2 contact that moves nothing, 3 purchase, 4 growth of own
    goodwill (visits and searches that goodwill itself causes), 5 chance that who moves into INTENT by contact
    buys at once.
    """
    i = need * (1.0 + urgency)
    feeds, seen, clicks = 0.0, 0.0, 0.0
    for f in range(3):
        rate = activity * r.activity_per_day[f]
        feeds += rate
        seen += rate * r.viewability[f]
        clicks += rate * r.viewability[f] * r.feed_click_odds[f] * r.click_stage[stage] * r.rival_fatigue
    searches = activity * r.search_per_day[stage] * need * (1.0 + r.search_urgency * urgency)
    direct = activity * r.direct_per_day[stage]
    found = _search_visit(r, stage)
    visits = searches * found + direct + clicks
    step = min(stage, 2)
    if stage == LOST:
        step = 1
    h[0], h[1] = 0.0, 0.0
    if stage != INTENT:
        view, search, visit = r.stage_up_view[step], r.stage_up_search[step], r.stage_up_visit[step]
        h[0] = searches * (1.0 - found) * min(0.9, search * i)
        h[0] += searches * found * min(0.9, (search + visit) * i)
        h[0] += clicks * min(0.9, (view + visit) * i) + direct * min(0.9, visit * i)
        if stage != LOST:
            h[1] = seen * min(0.9, view * i)
    h[2] = searches + direct + clicks - h[0]
    b = r.buy_rate * i
    h[5] = 0.5 * min(0.9, b) + 0.5 * min(0.9, b * r.buy_visit)
    h[3] = 0.0
    if stage == CONSIDERING or stage == INTENT:
        if stage == CONSIDERING:
            b *= r.buy_early
        h[3] = (feeds + searches + direct - visits) * min(0.9, b) + visits * min(0.9, b * r.buy_visit)
        h[3] = max(h[3], 0.0)
    home = r.goodwill_click * r.landing_fit[0, OWN_BRAND]
    share = r.query_share[stage, RIVAL_BRAND] + r.query_share[stage, OWN_BRAND]
    p = r.query_share[stage, OWN_BRAND] / max(share, 1e-9)
    h[4] = home * (direct + searches * share * p * (1.0 - p) * r.organic_click[OWN_BRAND])


@jit(borrows=True)
def _part_of_day(h, up_state, up_idle_state, here, first, v, out, dt):
    """One step back in time for one state: out = what `v` is worth a part of a day earlier."""
    total = h[0] + h[1] + h[2] + h[3]
    happens = 1.0 - math.exp(-total * dt)
    share = happens / max(total, 1e-12)
    for m in range(3):
        bought = 1.0
        if m == 0:
            bought += 0.12 * v[2, 0]  # who buys nothing after all is back in AWARE
        into = v[up_state, m]
        if up_state == 2 + 2 * N_IDLE and here != up_state:
            into = h[5] * bought + (1.0 - h[5]) * into
        ahead = h[0] * into + h[1] * v[up_idle_state, m] + h[2] * v[first, m] + h[3] * bought
        grown = math.exp(m * h[4] * dt)
        out[here, m] = ((1.0 - happens) * v[here, m] + share * ahead) * grown


@jit(parallel=True)
def purchase_moments(rules: NDArray[np.void], moments: NDArray[np.float32]) -> None:
    """Tabulate m0, m1, m2 of every world by backward induction over `HORIZON_DAYS`.

    Args:
        rules: (W,) RULES.
        moments: (W, 2, n_urgencies, n_needs, n_activities, N_STATES, 3) filled; the second axis is 0 for
            people whose home segment is the first one (it has most trigger events), 1 for the others.
    """
    n_urgencies, n_needs, n_activities = URGENCIES.size, LN_NEEDS.size, LN_ACTIVITIES.size
    dt = 1.0 / PARTS_OF_DAY
    for job in prange(rules.shape[0] * 2 * n_needs):
        w = job // (2 * n_needs)
        home = job // n_needs % 2
        need = math.exp(LN_NEEDS[job % n_needs])
        r = rules[w]
        trigger = r.trigger_per_day[0]
        if home == 1:
            trigger = 0.0
            for s in range(1, r.n_segments):
                low = r.segment_edge[s - 1]
                trigger += r.trigger_per_day[s] * (r.segment_edge[s] - low) / (1.0 - r.segment_edge[0])
        stages = np.array([UNAWARE, LOST, AWARE, CONSIDERING, INTENT])
        v = np.zeros((n_urgencies, N_STATES, 3))
        out = np.zeros((n_urgencies, N_STATES, 3))
        h = np.zeros((n_urgencies, 6, 6))
        for a in range(n_activities):
            v[:] = 0.0
            for u in range(n_urgencies):
                for s in range(5):
                    _hazards(r, stages[s], need, URGENCIES[u], math.exp(LN_ACTIVITIES[a]), h[u, stages[s]])
            for _ in range(HORIZON_DAYS):
                for part in range(PARTS_OF_DAY):
                    for u in range(n_urgencies):
                        _part_of_day(h[u, UNAWARE], 2, 2 + N_IDLE - 1, 0, 0, v[u], out[u], dt)
                        _part_of_day(h[u, LOST], 2 + N_IDLE, 1, 1, 2, v[u], out[u], dt)
                        for s in range(3):
                            first = 2 + s * N_IDLE
                            up = first if s == 2 else first + N_IDLE
                            for idle in range(N_IDLE):
                                _part_of_day(h[u, AWARE + s], up, up + idle, first + idle, first, v[u],
                                             out[u], dt)  # fmt: skip
                    v, out = out, v
                    if part == PARTS_OF_DAY // 2:
                        moments[w, home, :, job % n_needs, a] = v  # as they stand in the middle of a day
                for u in range(n_urgencies):
                    _night(r, v, out[u], u, need, trigger)
                v, out = out, v


@jit(borrows=True)
def _night(r, v, out, u, need, trigger):
    """One midnight back in time: leave, forget, a trigger event, quiet moves, lost after two weeks."""
    urgency = URGENCIES[u]
    low, weight = _place(URGENCIES, urgency * r.urgency_keep)
    high, weight_high = _place(URGENCIES, urgency * r.urgency_keep + r.urgency_spike)
    stays = 1.0 - 1.0 / r.stay_days
    i = need * (1.0 + urgency * r.urgency_keep)
    for here in range(N_STATES):
        stage, idle = here, N_IDLE - 1
        if here == 1:
            stage = LOST
        if here >= 2:
            stage, idle = AWARE + (here - 2) // N_IDLE, (here - 2) % N_IDLE
        hit = here  # where a trigger event leads
        if here < 2:
            hit = 2 + N_IDLE - 1
        elif stage == AWARE:
            hit = here + N_IDLE
        later, up, down = here, here, here
        chance_up, chance_down = 0.0, 0.0
        if here == 0:
            up = 2 + N_IDLE - 1
            chance_up = min(0.9, r.stage_up_day[0] * i)
        elif here >= 2:
            later = here + 1 if idle < N_IDLE - 2 else (1 if idle == N_IDLE - 2 else here)
            if later != 1:
                if stage < INTENT:
                    chance_up = min(0.9, r.stage_up_day[stage] * i)
                    up = later + N_IDLE
                if idle >= 6:
                    chance_down = r.stage_down_day[stage - 1]
                    down = 0 if stage == AWARE else later - N_IDLE
        decay = stays
        for m in range(3):
            calm = (1.0 - weight) * v[low, later, m] + weight * v[low + 1, later, m]
            rises = (1.0 - weight) * v[low, up, m] + weight * v[low + 1, up, m]
            falls = (1.0 - weight) * v[low, down, m] + weight * v[low + 1, down, m]
            quiet = chance_up * rises + (1.0 - chance_up) * (chance_down * falls + (1.0 - chance_down) * calm)
            struck = (1.0 - weight_high) * v[high, hit, m] + weight_high * v[high + 1, hit, m]
            out[here, m] = decay * ((1.0 - trigger) * quiet + trigger * struck)
            decay *= r.goodwill_keep


@jit(borrows=True)
def _place(grid, x):
    """Index and weight of `x` between two points of a rising grid, held inside it."""
    i = 0
    while i < grid.size - 2 and x >= grid[i + 1]:
        i += 1
    weight = (x - grid[i]) / (grid[i + 1] - grid[i])
    return i, min(max(weight, 0.0), 1.0)


@jit(borrows=True)
def _look(table, at, weights, state):
    """Moments of a state between the points of the table."""
    m0, m1, m2 = 0.0, 0.0, 0.0
    for corner in range(8):
        cell = table[at[0] + (corner & 1), at[1] + ((corner >> 1) & 1), at[2] + (corner >> 2), state]
        m0 += weights[corner] * cell[0]
        m1 += weights[corner] * cell[1]
        m2 += weights[corner] * cell[2]
    return m0, m1, m2


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
        m0, m1, m2 = _look(table, at, weights, _state(s, idle))
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
def _kind_of(line):
    """Auction kind: 0 search, 1 social, 2 video, 3 display."""
    if line < SOCIAL_LINE:
        return 0
    if line < VIDEO_LINE:
        return 1
    return 2 if line < DISPLAY_LINE else 3


@jit(borrows=True)
def _search_chance(r, p, query, named, brand, device_class):
    """Click chance on the first slot of a brand's ad under a search."""
    scale = r.click_segment[p.segment] * r.click_class[device_class]
    if named < 0:
        return scale * r.search_click[query]
    return scale * (r.search_click[OWN_BRAND] if brand == named else r.search_click[RIVAL_BRAND])


@jit(borrows=True)
def _find(r, p, hour, own_key, at, weights):
    """Where the person stands in the table: fills the cell and its corners' weights; days since contact."""
    mean = need_mean(r, p, own_key)
    season = math.log(p.need) - p.ln_need
    u, wu = _place(URGENCIES, p.urgency)
    n, wn = _place(LN_NEEDS, season + mean + NEED_LEFT * (p.ln_need - mean))
    a, wa = _place(LN_ACTIVITIES, math.log(p.activity))
    at[0], at[1], at[2] = u, n, a
    for corner in range(8):
        weight = (wu if corner & 1 else 1.0 - wu) * (wn if (corner >> 1) & 1 else 1.0 - wn)
        weights[corner] = weight * (wa if corner >> 2 else 1.0 - wa)
    if p.journey_start < 0:
        return N_IDLE - 1
    return min(max((hour - p.last_contact) // 24, 0), N_IDLE - 2)


@jit(borrows=True)
def _rival_bids(r, p, rivals, w, line_of, activity, query, named, device_class, resting, typical):
    """Fill `typical` (n_rivals,) with each rival's bid x quality of today, without noise; 0 where it rests.

    Returns how many bid.
    """
    n_seats = line_of  # seats come first among brands
    found = 0
    for i in range(typical.size):
        typical[i] = 0.0
        if rivals.spent[w, i] >= rivals.budget[w, i] and resting:
            continue
        b = n_seats + i
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
def _floor(r, ten_bits):
    """Floor of a display auction."""
    i = 0
    u = (ten_bits + 0.5) / 1024.0
    while i < 7 and u >= r.floor_edge[i]:
        i += 1
    return r.floor_cpm[i]


@jit(borrows=True)
def _first_price(r, typical, kind, noise, reserve_kinds, reserve, worth, tops):
    """The bid that maximises (worth - bid) x chance to win, over the draws; 0 where none is worth it."""
    for d in range(N_DRAWS):
        top = reserve
        if reserve_kinds:
            top = _floor(r, noise[d, 7])
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
def _several_slots(r, typical, noise, quality, reserve, worth, tops):
    """The bid per click that maximises clicks x (worth - price) over the draws, among shares of `worth`.

    With several slots a bid at the worth of a click overpays for the top ones: their price is on all clicks.
    """
    best, bid = 0.0, 0.0
    n = min(typical.size, N_DRAWS)
    for c in range(_CANDIDATES.size):
        own = _CANDIDATES[c] * worth
        if own < reserve:
            break
        gain = 0.0
        for d in range(N_DRAWS):
            common = r.common_noise[0, noise[d, 0]]
            slot, following = 0, 0.0
            for i in range(n):
                score = typical[i] * r.bid_noise[0, noise[d, 1 + i % 6]] * common
                if score > own * quality:
                    slot += 1
                elif score > following:
                    following = score
            if slot < N_SLOTS:
                gain += r.position[slot] * (worth - min(own, max(following / quality, reserve)))
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
    odds = r.feed_click_odds[activity] * r.click_stage[p.stage] * r.click_segment[p.segment]
    odds *= r.click_class[device_class]
    theirs = odds * r.rival_fatigue
    any_known = (p.visited >> np.uint64(n_seats)) != np.uint64(0)
    if any_known:
        theirs *= 0.5 * (1.0 + r.engaged_click)
    if who > 0:
        odds *= r.engaged_click
    seen = min(r.viewability[activity] * p.attention, 1.0)
    ours = 0.0
    if draws:
        seen = 1.0 if uniform(key, _VIEW) < seen else 0.0
        creative = 0
        while (
            creative < N_CREATIVES - 1 and (level(bits(key, _WORD), 3) + 0.5) / 1024.0 >= creatives[creative]
        ):
            creative += 1
        ours = odds * r.creative_fit[p.segment, creative] * fatigue_of(r, m.views[creative])
        where = uniform(key, _CLICK)
        ours = 1.0 if where < ours / (1.0 + ours) else 0.0
        theirs = 1.0 if where < theirs / (1.0 + theirs) else 0.0
        if seen == 0.0:
            return 0.0
    else:
        for creative in range(N_CREATIVES):
            x = odds * r.creative_fit[p.segment, creative] * fatigue_of(r, m.views[creative])
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
def _page_worth(r, p, query, named, device_class, n_rivals_bid, ad, organic, rival, visit):
    """USD that our ad on a search page is worth per click on it, against the page without it."""
    ours = _search_chance(r, p, query, named, 0, device_class)
    others = _search_chance(r, p, query, named, -1, device_class)
    slot = 0 if named == 0 else 1
    before, after = 0.0, 0.0
    for s in range(N_SLOTS):
        first_named = named > 0 and s == 0
        chance = r.position[s] * (
            _search_chance(r, p, query, named, named, device_class) if first_named else others
        )
        if s < n_rivals_bid:
            before += chance
        if s == slot:
            after += r.position[s] * ours
        elif s < n_rivals_bid + 1:
            after += chance
    own = r.position[slot] * ours
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
            kind = _kind_of(line)
            device_class = 1 if o.device == 1 else 0
            table = moments[w, 0 if p.home_segment == 0 else 1]
            if kind == 0:
                query, named = np.int64(o.query), -1
                if query >= RIVAL_BRAND:
                    query, named = search_query(r, p, pop.goodwill[w], person, own_key, key, n_seats)
                bidders = _rival_bids(r, p, rivals, w, n_seats, -1, query, named, device_class, True, typical)
                ad, organic, rival, visit = _click_worths(
                    r, p, pop, rivals, w, person, own_key, hour, query, named, landing[w, line], table, at,
                    weights, typical, probability, slope,
                )  # fmt: skip
                reserve = r.search_reserve_usd[query]
                quality = brand_quality(r, named, 0)
                if draws:
                    _catch_click(r, p, rivals, w, key, query, named, device_class, n_seats, reserve,
                                 multiplier[w], ad, organic, rival, visit, typical, worth, bid,
                                 i)  # fmt: skip
                    continue
                worth[i] = _page_worth(r, p, query, named, device_class, bidders, ad, organic, rival, visit)
                most = multiplier[w] * worth[i]
                if most > reserve:
                    best = _several_slots(r, typical, noise, quality, reserve, most, tops)
                    if best > 0.0:
                        bid[i] = best
                continue
            activity = SOCIAL if kind == 1 else (VIDEO if kind == 2 else DISPLAY)
            _rival_bids(r, p, rivals, w, n_seats, activity, -1, -1, device_class, True, typical)
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
                    reserve = _floor(r, level(word, 1))
                top = reserve
                for k in range(n_rivals):
                    top = max(top, _noisy(r, key, kind, k, level(word, 0), typical[k]))
                if top * 1.000001 <= most:
                    bid[i] = top * 1.000001
                continue
            best = _first_price(r, typical, kind, noise, activity == DISPLAY, reserve, most, tops)
            if best > 0.0:
                bid[i] = best


@jit(borrows=True)
def _noisy(r, key, kind, i, common, bid):
    """What the hour's draws make of rival `i`'s bid; multiplied in the hour's order, for the last micro."""
    noise = r.bid_noise[kind, level(bits(key, _RIVAL_NOISE + i // 5), i % 5)]
    return bid * noise * r.common_noise[kind, common]


@jit(borrows=True)
def _catch_click(r, p, rivals, w, key, query, named, device_class, n_seats, reserve, multiplier, ad, organic,
                 rival, visit, typical, worth, bid, at):  # fmt: skip
    """Knowing where on the page the reader will click: bid for the cheapest slot that gets the click."""
    v = uniform(key, _CLICK)
    common = level(bits(key, _WORD), 0)
    n = typical.size
    for i in range(n):  # rank scores of this very auction, best first; the brand is kept in the order below
        typical[i] = _noisy(r, key, 0, i, common, typical[i])
    used = 0.0
    seen_by_rival = False
    previous = np.inf
    for _ in range(min(n, N_SLOTS)):
        score, who = -1.0, -1
        for i in range(n):
            if typical[i] < previous and typical[i] > score:
                score, who = typical[i], i
        if who < 0 or score <= 0.0:
            break
        used += r.position[_] * _search_chance(r, p, query, named, n_seats + who, device_class)
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
    ours = _search_chance(r, p, query, named, 0, device_class)
    before, above = 0.0, np.inf
    best = np.inf
    for slot in range(N_SLOTS):
        score, who = 0.0, -1
        for i in range(n):
            if typical[i] < above and typical[i] > score:
                score, who = typical[i], i
        cost = max(score / quality, reserve)
        if (
            before <= v < min(before + r.position[slot] * ours, 0.95)
            and cost < best
            and cost <= multiplier * value
        ):
            best = cost
            low = cost * quality
            high = min(above, 2.0 * low + 1e-6)
            if high > low:
                worth[at] = value
                bid[at] = max(0.5 * (low + high) / quality, reserve * 1.000001)
        if who < 0:
            break
        before += r.position[slot] * _search_chance(r, p, query, named, n_seats + who, device_class)
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
    kind = _kind_of(np.int64(o.line[0]))
    activity, query, named = -1, -1, -1
    slots, reserve = 1, 0.0
    if kind == 0:
        query, named = search_query(r, p, pop.goodwill[w], person, own_key, key, n_seats)
        slots, reserve = N_SLOTS, r.search_reserve_usd[query]
    else:
        activity = SOCIAL if kind == 1 else (VIDEO if kind == 2 else DISPLAY)
        reserve = r.feed_reserve_cpm[activity]
        if activity == DISPLAY:
            reserve = _floor(r, level(word, 1))
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
            bids[b] = _noisy(r, key, kind, i, level(word, 0), rivals.bid[w, i, line])
    clear_one(bids, quality, reserve, slots, r.first_price[kind] != 0, tie, ~key, winner, prices)
    if kind > 0:
        return np.int64(prices[0] * 1000.0 + 0.5) if winner[0] == 0 else np.int64(-1)
    v = uniform(key, _CLICK)
    used = 0.0
    for s in range(N_SLOTS):
        if winner[s] < 0:
            break
        before = used
        used = min(used + r.position[s] * _search_chance(r, p, query, named, winner[s], device_class), 0.95)
        if v >= before and v < used:
            return np.int64(prices[s] * 1e6 + 0.5) if winner[s] == 0 else np.int64(-1)
    return np.int64(-1)


def noise_draws(seed: int = 0) -> NDArray[np.int64]:
    """(N_DRAWS, 8) levels of the noise table: common, six rivals, floor; the same for every auction."""
    generator = np.random.default_rng(seed)
    columns = [generator.permutation(N_DRAWS) for _ in range(8)]  # each column spread evenly
    return np.ascontiguousarray((np.stack(columns, axis=1) * 1024 + 512) // N_DRAWS)


def moments_of(rules: NDArray[np.void]) -> NDArray[np.float32]:
    """The table of `purchase_moments` for a batch of worlds."""
    shape = (rules.shape[0], 2, URGENCIES.size, LN_NEEDS.size, LN_ACTIVITIES.size, N_STATES, 3)
    moments = np.zeros(shape, np.float32)
    purchase_moments(rules, moments)
    return moments
