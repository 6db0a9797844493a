"""A person's life between hours: entering, needing, drifting, leaving.

The kernel `live_one_day` runs once per person at midnight, before anything else happens that day.
"""

import math

import numpy as np
from numba import prange
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.core.random import NORMAL_TABLE, bits, level, normal, subkey, uniform
from gaelp.core.words import NO_LINE, Stage
from gaelp.market.state import RING, Population

UNAWARE, AWARE, CONSIDERING, INTENT, CONVERTED, LOST = (int(stage) for stage in Stage)
NEVER = -1_000_000
_CALENDAR, _NEED, _TRIGGER, _STEP, _CHURN = range(5)
# Purposes of a person's own draws: no two may be the same number (tests/market/test_people.py).
_SEGMENT, _STAY, _AWARE, _LOGIN, _ACTIVITY, _REGION, _AFFINITY, _PRICE, _PERSONAL = range(32, 41)
_DEVICE = 48
"""Purpose of owning device 0 and of consent on it; device d is `_DEVICE + d`."""
TASTE = 64
"""Purpose of a person's taste for brand 0; brand b is `TASTE + b`."""
_DAY_KEY = 1 << 28
_MASK24 = np.uint64(0xFFFFFF)
_S24 = np.uint64(24)


@jit(borrows=True)
def person_key(r, person, generation):
    """Key of the `generation`-th person who lives in slot `person` of the world of rules `r`."""
    return subkey(r.world_key, person * 65536 + generation)


@jit(borrows=True, rare=True)
def enter(r, p, person, day):
    """Make slot `person` a new entrant: draw everything that stays fixed for this life."""
    key = person_key(r, person, p.generation)
    u = uniform(key, _SEGMENT)
    segment = 0
    while segment < r.n_segments - 1 and u >= r.segment_edge[segment]:
        segment += 1
    p.home_segment = segment
    p.segment = segment
    u = uniform(key, _REGION)
    region = 0
    while region < 99 and u >= r.region_edge[region]:
        region += 1
    p.region = region
    p.exit_day = day + 1 + int(-r.stay_days * math.log(1.0 - uniform(key, _STAY)))
    p.stage = AWARE if uniform(key, _AWARE) < r.entrant_aware else UNAWARE
    devices = 0
    for d in range(3):
        word = bits(key, _DEVICE + d)
        if level(word, 0) < 1024.0 * r.device_owners[d]:
            devices |= 1 << d
        if level(word, 1) < 1024.0 * r.consent_share[d]:
            devices |= 8 << d
    if devices & 7 == 0:
        devices |= 1
    if uniform(key, _LOGIN) < r.login_share:
        devices |= 64
    p.devices = devices
    word = bits(key, _ACTIVITY)
    sigma = r.activity_sigma
    p.activity = math.exp(sigma * NORMAL_TABLE[level(word, 0)] - 0.5 * sigma * sigma)
    p.attention = 0.7 + 0.6 * (level(word, 1) + 0.5) / 1024.0
    span = 2 * int(r.rhythm_hours) + 1
    p.rhythm = level(word, 2) * span // 1024 - int(r.rhythm_hours)
    word = bits(key, _AFFINITY)
    total = 0.0
    for f in range(3):
        total += r.activity_per_day[f] * (0.25 + 1.5 * (level(word, f) + 0.5) / 1024.0)
    scale = (r.activity_per_day[0] + r.activity_per_day[1] + r.activity_per_day[2]) / max(total, 1e-9)
    for f in range(3):
        p.affinity[f] = scale * r.activity_per_day[f] * (0.25 + 1.5 * (level(word, f) + 0.5) / 1024.0)
    p.price_sensitivity = math.exp(r.price_sensitivity_sigma * normal(key, _PRICE))
    p.ln_need = need_mean(r, p, key)
    p.need = math.exp(p.ln_need)
    p.urgency = 0.0
    p.last_contact = NEVER
    p.journey_start = -1
    p.decision_hour = -1
    p.book_hour = -1
    p.owner = -1
    p.visited = 0
    p.n_touches = 0
    p.ring_at = 0
    p.first_channel = NO_LINE
    p.last_channel = NO_LINE
    for i in range(RING):
        p.touches[i] = 0


@jit(borrows=True, rare=True)
def forget_seats(goodwill, memory, person):
    """A new entrant knows no brand and no brand knows the entrant."""
    for b in range(goodwill.shape[1]):
        goodwill[person, b] = 0.0
    for k in range(memory.shape[1]):
        m = memory[person, k]
        for c in range(3):
            m.views[c] = 0.0
        m.last_visit = NEVER
        m.last_mail = NEVER
        m.last_click = NEVER
        m.seen = 0
        m.last_line = NO_LINE
        m.cookies = 0
        m.visits = 0
        m.mail = 0


@jit(borrows=True)
def need_mean(r, p, key):
    """Mean log need of this person: segment, region and a personal part with 70 % of the spread."""
    sigma = r.need_sigma
    personal = 0.7 * sigma * normal(key, _PERSONAL)
    return math.log(r.need[p.home_segment] * r.region_need[p.region]) + personal - 0.5 * sigma * sigma


@jit(borrows=True)
def hours_of_day(key):
    """The hours at which a person may be active today, as 24 bits, each set with chance 3/8."""
    word = bits(key, _CALENDAR)
    other = bits(key, _CALENDAR + 16)
    return np.uint32((word & ((word >> _S24) | other)) & _MASK24)


@jit(borrows=True)
def live_one_day(r, p, goodwill, memory, person, day, season):
    """Midnight of one person; returns the bits of the hours at which they may be active.

    In this order: leave and be replaced, forget, feel a need, a trigger event, move a stage without
    contact, fall back or be lost, come back as a customer.

    Args:
        r, p: rules and person records. goodwill, memory: (N, B) and (N, K) of this world.
        person: index of the person. day: days since the world began. season: today's need factor.
    """
    if day >= p.exit_day:
        p.generation += 1
        enter(r, p, person, day)
        forget_seats(goodwill, memory, person)
    key = person_key(r, person, p.generation)
    day_key = subkey(key, _DAY_KEY + day)
    for b in range(goodwill.shape[1]):
        goodwill[person, b] *= r.goodwill_keep
    for k in range(memory.shape[1]):
        m = memory[person, k]
        for c in range(3):
            m.views[c] *= r.views_keep
    p.urgency *= r.urgency_keep
    mean = need_mean(r, p, key)
    p.ln_need = mean + r.need_persistence * (p.ln_need - mean) + r.need_noise * normal(day_key, _NEED)
    p.need = math.exp(p.ln_need) * season
    if uniform(day_key, _TRIGGER) < r.trigger_per_day[p.home_segment]:
        p.urgency += r.urgency_spike
        if p.stage != CONVERTED:
            p.segment = 0
            if p.stage == UNAWARE or p.stage == LOST:
                p.stage = AWARE
            elif p.stage == AWARE:
                p.stage = CONSIDERING
            p.last_contact = max(p.last_contact, day * 24)
    elif p.segment != p.home_segment and p.urgency < r.crisis_threshold:
        p.segment = p.home_segment
    move_without_contact(r, p, uniform(day_key, _STEP), day)
    if p.stage == CONVERTED and day * 24 >= p.book_hour and uniform(day_key, _CHURN) < r.churn_per_day:
        p.stage = AWARE
        p.owner = -1
        p.last_contact = day * 24
    return hours_of_day(day_key)


@jit(borrows=True)
def move_without_contact(r, p, u, day):
    """Stage moves of a quiet night: up by need, down after a week without contact, lost after two."""
    if p.stage > INTENT:
        return
    idle = day * 24 - p.last_contact
    if p.journey_start >= 0 and idle >= r.idle_days * 24.0:
        p.journey_start = -1
        p.n_touches = 0
        if p.stage > UNAWARE:
            p.stage = LOST
            return
    up = 0.0
    if p.stage < INTENT:
        up = min(0.9, r.stage_up_day[p.stage] * p.need * (1.0 + p.urgency))
    if u < up:
        p.stage += 1
    elif p.stage > UNAWARE and idle >= 168 and u > 1.0 - r.stage_down_day[p.stage - 1]:
        p.stage -= 1


@jit(parallel=True)
def populate(rules: NDArray[np.void], pop: Population) -> None:
    """Fill every world with entrants of day 0."""
    for w in prange(rules.shape[0]):
        for person in range(pop.people.shape[1]):
            enter(rules[w], pop.people[w, person], person, 0)
            forget_seats(pop.goodwill[w], pop.memory[w], person)
