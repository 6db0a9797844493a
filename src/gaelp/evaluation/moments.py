"""When a person will buy in the category, and what of today's goodwill is left by then.

`purchase_moments` follows the stages of a person by their hazards and tabulates, for every state, need,
urgency and activity:

    m0 = E[purchases]                       what moving somebody a stage is worth
    m1 = E[keep ** days until the purchase] what is left of today's goodwill at the moment of choice
    m2 = E[keep ** (2 days)]                so that m2 / m1 is the typical decay of goodwill that still counts

`lift.price` turns them into dollars for each auction of the coming hour.
"""

import math

import numpy as np
from numba import prange
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.market.hour import N_SLOTS, OWN_BRAND, RIVAL_BRAND
from gaelp.market.people import AWARE, CONSIDERING, INTENT, LOST, UNAWARE

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


@jit(borrows=True)
def state_of(stage, idle):
    """The table's state of a person in this stage, `idle` days after the last contact."""
    if stage == UNAWARE:
        return 0
    if stage == LOST:
        return 1
    return 2 + (stage - AWARE) * N_IDLE + idle


@jit(borrows=True)
def search_visit(r, stage):
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
    found = search_visit(r, stage)
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
    low, weight = place(URGENCIES, urgency * r.urgency_keep)
    high, weight_high = place(URGENCIES, urgency * r.urgency_keep + r.urgency_spike)
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
def place(grid, x):
    """Index and weight of `x` between two points of a rising grid, held inside it."""
    i = 0
    while i < grid.size - 2 and x >= grid[i + 1]:
        i += 1
    weight = (x - grid[i]) / (grid[i + 1] - grid[i])
    return i, min(max(weight, 0.0), 1.0)


@jit(borrows=True)
def look_up(table, at, weights, state):
    """Moments of a state between the points of the table."""
    m0, m1, m2 = 0.0, 0.0, 0.0
    for corner in range(8):
        cell = table[at[0] + (corner & 1), at[1] + ((corner >> 1) & 1), at[2] + (corner >> 2), state]
        m0 += weights[corner] * cell[0]
        m1 += weights[corner] * cell[1]
        m2 += weights[corner] * cell[2]
    return m0, m1, m2


def moments_of(rules: NDArray[np.void]) -> NDArray[np.float32]:
    """The table of `purchase_moments` for a batch of worlds."""
    shape = (rules.shape[0], 2, URGENCIES.size, LN_NEEDS.size, LN_ACTIVITIES.size, N_STATES, 3)
    moments = np.zeros(shape, np.float32)
    purchase_moments(rules, moments)
    return moments
