"""The hour: who is active, what they meet, who wins their attention, what follows.

`advance_hours` is the hot path. Per world it visits everyone whose calendar has this hour, in person
order: activity -> auction -> exposure -> click -> visit -> stage -> purchase. `open_day` is midnight, which
follows the last hour of a day. Nobody's hour depends on another person's, except through budgets, so the
order is only a tie rule for the last cents of a cap. The order and its reasons are written in
docs/reference/hour.md.
"""

import math

import numpy as np
from numba import prange
from numpy.typing import NDArray

from gaelp.core.jit import jit, prefetch
from gaelp.core.random import bits, level, normal, subkey, uniform
from gaelp.core.words import (
    DISPLAY_LINE,
    EMAIL_LINE,
    N_CREATIVES,
    NO_LINE,
    RETARGETING_LINE,
    SOCIAL_LINE,
    VIDEO_LINE,
    Channel,
    Query,
    TouchKind,
)
from gaelp.market.auction import clear_one
from gaelp.market.parameters import FATIGUE_STEP, MOST_OF_A_PAGE, N_FATIGUE
from gaelp.market.people import (
    AWARE,
    CONSIDERING,
    CONVERTED,
    INTENT,
    LOST,
    TASTE,
    live_one_day,
    person_key,
)
from gaelp.market.rivals import learn_overnight, open_budgets
from gaelp.market.state import (
    BIDS,
    CLICKS,
    GEO_CLICKS,
    GEO_IMPRESSIONS,
    GEO_SPEND,
    IMPRESSIONS,
    OPPORTUNITIES,
    PRICE_BINS,
    PRICE_STEP,
    R_AUCTIONS,
    R_BID,
    R_CLICKS,
    R_CRISIS,
    R_SPEND,
    R_WINS,
    RING,
    SPEND,
    WINS,
    Books,
    Controls,
    Population,
    Rivals,
)

SOCIAL, VIDEO, DISPLAY, SEARCH, DIRECT, MAIL, IDLE = range(7)
GENERIC, CATEGORY, RIVAL_BRAND, OWN_BRAND = (int(query) for query in Query)
ON_SEARCH, ON_SOCIAL, ON_VIDEO, ON_DISPLAY, ON_RETARGETING, BY_MAIL, BY_SELF, BY_ORGANIC = (
    int(channel) for channel in Channel
)
SAW, CLICKED, VISITED, SEARCHED, OPENED, BOUGHT = (int(kind) for kind in TouchKind)
N_SLOTS = 4
CLICK_WINDOW = 30 * 24
ENGAGED_WINDOW = 30 * 24
P_MAX = 3.0 / 8.0
LOOK_AHEAD = 6
"""People ahead whose memory is asked for: about a microsecond, several times what memory takes."""
MAX_LAG_HOURS = 4000.0

# purposes of an hour's draws; RIVAL_NOISE must stay last (one more per five rivals)
_ACTIVITY, _WORD, _QUERY, _BRAND_QUERY, _VIEW, _CLICK = range(6)
_STAGE = 7
_BUY, _BRAND, _ARM, _LAG, _SIGNUP, _MAIL, _PREDICT, _ORGANIC_RIVAL = range(8, 16)
_RIVAL_NOISE = 32
VISITOR = 128
"""Purpose of a life's cookie and login numbers: four per seat."""
HELD_OUT = 160
"""Purpose of a life's arms in lift tests: eight per seat."""

# kinds of truth rows; see truth.py for what x holds
T_AD, T_STAGE, T_BUY, T_CHOICE, T_LAG = range(5)


@jit(borrows=True, rare=True)
def note(truth, n_truth, w, kind, hour, person, p, line, slot, brand, creative, outcome, x0, x1, x2, x3):
    """Append one row to the truth log of world `w` while there is room."""
    i = n_truth[w]
    if i >= truth.shape[1]:
        return
    t = truth[w, i]
    t.kind = kind
    t.hour = hour
    t.person = person
    t.stage = p.stage
    t.segment = p.segment
    t.line = line
    t.slot = slot
    t.brand = brand
    t.creative = creative
    t.outcome = outcome
    t.x[0] = x0
    t.x[1] = x1
    t.x[2] = x2
    t.x[3] = x3
    n_truth[w] = i + 1


@jit(borrows=True, rare=True)
def visitor_number(p, own_key, k, device):
    """The number in the seat's cookie on this device, 0 where tracking is not allowed."""
    if (p.devices >> (3 + device)) & 1 == 0:
        return np.uint64(0)
    return bits(own_key, VISITOR + 4 * k + device)


@jit(borrows=True, rare=True)
def login_number(p, m, own_key, k, by_mail):
    """The number of the address given to the seat, 0 where nobody is logged in; a mail knows its reader."""
    if m.mail == 0 or ((p.devices & 64) == 0 and not by_mail):
        return np.uint64(0)
    return bits(own_key, VISITOR + 4 * k + 3)


@jit(borrows=True, rare=True)
def log_event(r, p, books, w, k, person, m, kind, channel, line, device, hour):
    """Append one row to the event log of world `w` while there is room; `n_events` counts on."""
    i = books.n_events[w]
    books.n_events[w] = i + 1
    if i >= books.events.shape[1]:
        return
    key = person_key(r, person, p.generation)
    e = books.events[w, i]
    e.visitor = visitor_number(p, key, k, device)
    e.login = login_number(p, m, key, k, channel == BY_MAIL)
    e.hour = hour
    e.person = person
    e.kind = kind
    e.channel = channel
    e.line = line
    e.device = device
    e.region = p.region
    e.seat = k


@jit(borrows=True)
def touch(p, hour, kind, channel, brand):
    """Remember a touchpoint in the person's ring: hour (19 bits), brand (6), kind (3), channel (4).

    A search has its query class where other touchpoints have a brand.
    """
    p.touches[p.ring_at % RING] = np.uint32((hour << 13) | ((brand & 63) << 7) | (kind << 4) | channel)
    p.ring_at = (p.ring_at + 1) % (RING * 16)


@jit(borrows=True)
def contact(p, hour):
    """Something happened that keeps a journey alive; a lost person is back in the market."""
    p.last_contact = hour
    if p.stage == LOST:
        p.stage = AWARE
    if p.journey_start < 0 and p.stage != CONVERTED:
        p.journey_start = hour
        p.n_touches = 0
        p.first_channel = NO_LINE


@jit(borrows=True)
def lived_goodwill(r, g):
    """Goodwill as it enters a choice: concave, half of its limit at `goodwill_saturation`."""
    return g / (1.0 + abs(g) / r.goodwill_saturation)


@jit(borrows=True)
def choose_activity(r, p, goodwill, memory, person, key, hour_of_week):
    """What this person does in this hour: `(activity, seat)`; `IDLE` if nothing.

    One uniform decides on whether and what. Feeds come first because nothing an advertiser does changes
    them: an ad can add or move a search, never shift somebody's feed.
    """
    v = uniform(key, _ACTIVITY) * P_MAX
    h = hour_of_week + p.rhythm
    if h < 0:
        h += 168
    elif h >= 168:
        h -= 168
    for f in range(3):
        v -= p.activity * p.affinity[f] * r.hour_rate[f, h]
        if v < 0.0:
            return f, 0
    searches = r.search_per_day[p.stage] * p.need * (1.0 + r.search_urgency * p.urgency)
    v -= p.activity * searches * r.hour_rate[SEARCH, h]
    if v < 0.0:
        return SEARCH, 0
    rate = p.activity * r.direct_per_day[p.stage] * r.hour_rate[DIRECT, h]
    for k in range(memory.shape[1]):
        g = lived_goodwill(r, goodwill[person, k])
        v -= rate * (1.0 + g * (1.0 + 0.5 * g))
        if v < 0.0:
            return DIRECT, k
    for k in range(memory.shape[1]):
        if memory[person, k].mail == 1:
            v -= r.mail_per_day * r.hour_rate[MAIL, h]
            if v < 0.0:
                return MAIL, k
    return IDLE, 0


@jit(borrows=True)
def pick_device(p, ten_bits):
    """Device in use: 0 mobile, 1 desktop, 2 tablet, by fixed weights among those owned."""
    total = 0
    for d in range(3):
        if (p.devices >> d) & 1:
            total += 55 if d == 0 else (35 if d == 1 else 10)
    at = ten_bits * total // 1024
    last = 0
    for d in range(3):
        if (p.devices >> d) & 1:
            last = d
            at -= 55 if d == 0 else (35 if d == 1 else 10)
            if at < 0:
                return d
    return last


@jit(borrows=True)
def audience(p, m, activity, device, hour):
    """What a seat has observed: 0 new, 1 engaged, 2 high intent.

    Social platforms know visitors who log in and allow tracking anywhere; display needs the seat's own
    cookie on the device in use.
    """
    if m.visits == 0 or hour - m.last_visit > ENGAGED_WINDOW:
        return 0
    if activity == SOCIAL:
        known = (p.devices & 64) != 0 and (p.devices & 56) != 0
    else:
        known = (m.cookies >> device) & 1 != 0
    if not known:
        return 0
    return 2 if (m.visits >= 2 or m.mail == 1) else 1


@jit(borrows=True)
def feed_line(activity, audience_code, device_class):
    """Line of a feed impression for a bidder that knows the person as `audience_code`."""
    if activity == SOCIAL:
        return SOCIAL_LINE + 2 * min(audience_code, 1) + device_class
    if activity == VIDEO:
        return VIDEO_LINE + device_class
    if audience_code == 0:
        return DISPLAY_LINE + device_class
    return RETARGETING_LINE + 2 * (audience_code - 1) + device_class


@jit(borrows=True)
def search_query(r, p, goodwill, person, own_key, key, n_seats):
    """Query class and the brand it names (-1 none): brand queries follow preference."""
    v = uniform(key, _QUERY)
    if v < r.query_edge[p.stage, 0]:
        return GENERIC, -1
    if v < r.query_edge[p.stage, 1]:
        return CATEGORY, -1
    span = 1.0 - r.query_edge[p.stage, 1]
    v = (v - r.query_edge[p.stage, 1]) / max(span, 1e-12)
    own = r.query_share[p.stage, OWN_BRAND]
    other = r.query_share[p.stage, RIVAL_BRAND]
    best = 0
    strength = 0.0
    for k in range(n_seats):
        s = math.exp(
            0.5 * r.taste_sigma * normal(own_key, TASTE + k) + lived_goodwill(r, goodwill[person, k])
        )
        strength += s
        if k == 0 or s > strength - s:
            best = k
    own *= strength
    if v * (own + other) < own:
        return OWN_BRAND, best
    n_rivals = goodwill.shape[1] - n_seats
    total = 0.0
    for b in range(n_seats, goodwill.shape[1]):
        total += math.exp(lived_goodwill(r, goodwill[person, b]))
    at = uniform(key, _BRAND_QUERY) * total
    for b in range(n_seats, goodwill.shape[1]):
        at -= math.exp(lived_goodwill(r, goodwill[person, b]))
        if at < 0.0:
            return RIVAL_BRAND, b
    return RIVAL_BRAND, n_seats + n_rivals - 1


@jit(borrows=True)
def line_channel(line):
    """Channel of a line."""
    if line < SOCIAL_LINE:
        return ON_SEARCH
    if line < VIDEO_LINE:
        return ON_SOCIAL
    if line < DISPLAY_LINE:
        return ON_VIDEO
    if line < RETARGETING_LINE:
        return ON_DISPLAY
    return BY_MAIL if line == EMAIL_LINE else ON_RETARGETING


@jit(borrows=True, rare=True)
def held_out(r, p, controls, books, w, person, k, channel, hour):
    """Whether a lift test keeps a channel from this person; notes the first bid, placed or withheld.

    Who is held out is a draw of the life, so it holds for as long as the test runs.
    Source: ghost bids, Johnson, Lewis, Nubbemeyer, "Ghost Ads", J. Marketing Research 54(6), 2017, and its
    "predicted" form, which logs the chance to bid before the auction and so costs no second auction.
    """
    u = uniform(person_key(r, person, p.generation), HELD_OUT + 8 * k + channel)
    held = u < controls.holdout[w, k, channel]
    ghost = books.ghosts[w, k, channel, person]
    if ghost.life != p.generation + 1:
        ghost.hour = hour
        ghost.life = p.generation + 1
        ghost.held_out = 1 if held else 0
    return held


@jit(borrows=True)
def seat_bid(r, p, controls, books, w, person, k, channel, line, hour, key):
    """The seat's bid on a line in USD per click or per 1000, after region, prediction and caps.

    With a target CPA the platform's own bidder decides: target x its prediction of a conversion, which
    errs by a draw of its own. A bid whose cost could pass the daily or the line's cap is not placed, nor one
    for somebody from whom a lift test keeps the channel.
    """
    per_click = channel == ON_SEARCH
    target = controls.target_cpa[w, k, line]
    if target > 0.0:
        sigma = r.predict_sigma
        error = math.exp(sigma * normal(key, _PREDICT + 64 * k) - 0.5 * sigma * sigma)
        value = target * books.rate[w, k, line] * r.predict_stage[p.stage] * error
        bid = value * controls.upload[w, k, line] * (1.0 if per_click else 1000.0)
    else:
        bid = controls.bid[w, k, line]
    bid *= controls.region[w, k, p.region]
    if not bid > 0.0:
        return -np.inf
    cost = bid * (1e6 if per_click else 1e3)
    if not cost < 1e15:
        return -np.inf
    most = math.ceil(cost)
    if books.spent_today[w, k] + most > controls.daily_cap[w, k]:
        return -np.inf
    if books.line_spent_today[w, k, line] + most > controls.line_cap[w, k, line]:
        return -np.inf
    if controls.holdout[w, k, channel] > 0.0 and held_out(r, p, controls, books, w, person, k, channel, hour):
        return -np.inf
    return bid


@jit(borrows=True)
def charge(books, w, k, line, region, micros):
    """Book a seat's cost, in whole micros."""
    books.geo[w, k, region, line, GEO_SPEND] += micros
    books.spent_today[w, k] += micros
    books.line_spent_today[w, k, line] += micros
    books.report[w, k, line, SPEND] += micros


@jit(borrows=True)
def count_price(books, w, line, auction, price):
    """Count a paid price in the histogram of the line as seat 0 sees it (the last bin holds all above)."""
    at = min(int(price / PRICE_STEP[auction]), PRICE_BINS - 1)
    books.prices[w, line, at] += 1


@jit(borrows=True)
def pick_creative(controls, w, k, line, ten_bits):
    """Creative shown, by the line's cumulative weights."""
    v = (ten_bits + 0.5) / 1024.0
    for c in range(N_CREATIVES - 1):
        if v < controls.creative[w, k, line, c]:
            return c
    return N_CREATIVES - 1


@jit(borrows=True)
def fatigue_of(r, views):
    """Click odds left after `views` recent views of the same creative."""
    return r.fatigue[min(int(views * FATIGUE_STEP + 0.5), N_FATIGUE - 1)]


@jit(borrows=True)
def feed_odds(r, p, activity, device_class):
    """Click odds of anybody's viewed first ad in a feed, to somebody who has not visited its brand.

    `activity` is the place of the feed among `FEEDS`; `device_class` 0 is mobile, 1 desktop.
    """
    odds = r.feed_click_odds[activity] * r.click_stage[p.stage] * r.click_segment[p.segment]
    return odds * r.click_class[device_class]


@jit(borrows=True)
def own_odds(r, p, odds, activity, device_class, who, creative, views):
    """Click odds of a seat's ad in a feed where anybody's are `odds`; `who` is its code of the audience."""
    if who > 0:
        odds *= r.engaged_click
    odds *= r.creative_fit[p.segment, creative] * fatigue_of(r, views)
    if r.responds != 0:
        odds *= r.feed_response[activity, p.segment, p.stage, device_class, who, creative]
    return odds


@jit(borrows=True)
def search_chance(r, p, slot, query, named, brand, device_class, n_seats):
    """Click chance of a brand's ad on a search page; brand -1: any rival that is not named.

    `slot` counts from 0; `named` is the brand that the query names, -1 where it names none.
    """
    asked = query
    if named >= 0:
        asked = OWN_BRAND if brand == named else RIVAL_BRAND
    chance = r.position[slot] * r.click_segment[p.segment] * r.click_class[device_class]
    chance *= r.search_click[asked]
    if r.responds != 0 and 0 <= brand < n_seats:
        chance *= r.search_response[asked, p.segment, device_class]
    return chance


@jit(borrows=True)
def visit_rival(r, p, goodwill, person, brand, hour):
    """A person looks at a rival's site."""
    goodwill[person, brand] += r.goodwill_click
    p.visited |= np.uint64(1) << np.uint64(brand)
    contact(p, hour)


@jit(borrows=True)
def visit_seat(r, p, books, goodwill, memory, w, person, k, device, landing, context, channel, line, hour,
               key):  # fmt: skip
    """A person looks at a seat's site: goodwill, a cookie where allowed, perhaps an address."""
    m = memory[person, k]
    goodwill[person, k] += r.goodwill_click * r.landing_fit[landing, context]
    p.visited |= np.uint64(1) << np.uint64(k)
    if r.tracking != 0:  # else the site's tag is down: no cookie, nobody joins a list
        if (p.devices >> (3 + device)) & 1:
            m.cookies |= 1 << device
        if hour - m.last_visit > ENGAGED_WINDOW:
            m.visits = 0
        m.visits = min(m.visits + 1, 250)
        m.last_visit = hour
    if m.mail == 0 and uniform(key, _SIGNUP) < r.mail_signup:
        m.mail = 1
    contact(p, hour)
    books.visits[w, k, channel] += 1
    kind = VISITED if channel >= BY_SELF else CLICKED
    if books.events.shape[1] > 0 and r.tracking != 0:
        log_event(r, p, books, w, k, person, m, kind, channel, line, device, hour)
    remember(p, hour, kind, channel, k)


@jit(borrows=True)
def remember(p, hour, kind, channel, brand):
    """Note a touchpoint with a seat's brand and count it towards the journey."""
    touch(p, hour, kind, channel, brand)
    p.last_channel = channel
    if p.first_channel == NO_LINE:
        p.first_channel = channel
    if p.n_touches < 60000:
        p.n_touches += 1


@jit(borrows=True)
def feed(r, p, pop, rivals, books, controls, opp_bid, opp, w, person, key, activity, hour, bids, quality, tie,
         winner, price):  # fmt: skip
    """One feed impression (social, video, display): auction, view, click.

    Returns the pressure to move a stage, and whether a site was visited.
    """
    goodwill, memory = pop.goodwill[w], pop.memory[w]
    n_seats = memory.shape[1]
    n_rivals = rivals.strength.shape[1]
    word = bits(key, _WORD)
    device = pick_device(p, level(word, 2))
    device_class = 1 if device == 1 else 0
    kind = activity + 1
    common = r.common_noise[kind, level(word, 0)]
    if activity == DISPLAY:
        i = 0
        u = (level(word, 1) + 0.5) / 1024.0
        while i < 7 and u >= r.floor_edge[i]:
            i += 1
        reserve = r.floor_cpm[i]
    else:
        reserve = r.feed_reserve_cpm[activity]
    line_of_first = 0
    for k in range(n_seats):
        line = feed_line(activity, audience(p, memory[person, k], activity, device, hour), device_class)
        if k == 0:
            line_of_first = line
        if opp_bid.shape[0] > 0:
            bid = opp_bid[opp, k]
        else:
            bid = seat_bid(r, p, controls, books, w, person, k, line_channel(line), line, hour, key)
        bids[k] = bid
        quality[k] = 1.0
        books.report[w, k, line, OPPORTUNITIES] += 1
        if bid > 0.0:
            books.report[w, k, line, BIDS] += 1
    noise = np.uint64(0)
    for i in range(n_rivals):
        if i % 5 == 0:
            noise = bits(key, _RIVAL_NOISE + i // 5)
        b = n_seats + i
        known = (p.visited >> np.uint64(b)) & np.uint64(1)
        line = feed_line(activity, 1 if known else 0, device_class)
        bid = -np.inf
        if rivals.active[w, i]:
            bid = rivals.bid[w, i, line] * r.bid_noise[kind, level(noise, i % 5)] * common
        bids[b] = bid
        quality[b] = 1.0 if activity == DISPLAY else rivals.quality[w, i]
        entry = rivals.report[w, i, line]
        entry[R_AUCTIONS] += 1.0
        entry[R_BID] += max(bid, 0.0)
        entry[R_CRISIS] += 1.0 if p.segment == 0 else 0.0
    if clear_one(bids, quality, reserve, 1, r.first_price[kind] != 0, tie, ~key, winner, price) == 0:
        return 0.0, False
    b = winner[0]
    paid = price[0]
    count_price(books, w, line_of_first, kind, paid)
    books.ads[w, kind, 0] += 1
    u = uniform(key, _VIEW)
    seen = u < r.viewability[activity] * p.attention
    odds = feed_odds(r, p, activity, device_class)
    creative = 0
    views = 0.0
    if b < n_seats:
        m = memory[person, b]
        who = audience(p, m, activity, device, hour)
        line = feed_line(activity, who, device_class)
        creative = pick_creative(controls, w, b, line, level(word, 3))
        charge(books, w, b, line, p.region, int(paid * 1000.0 + 0.5))
        books.report[w, b, line, WINS] += 1
        books.report[w, b, line, IMPRESSIONS] += 1
        books.geo[w, b, p.region, line, GEO_IMPRESSIONS] += 1
        if books.events.shape[1] > 0:
            log_event(r, p, books, w, b, person, m, SAW, line_channel(line), line, device, hour)
        if m.seen < 60000:
            m.seen += 1
        views = m.views[creative]
        odds = own_odds(r, p, odds, activity, device_class, who, creative, views)
    else:
        known = (p.visited >> np.uint64(b)) & np.uint64(1)
        who = 1 if known else 0
        line = feed_line(activity, who, device_class)
        if known:
            odds *= r.engaged_click
        odds *= r.rival_fatigue
        rivals.report[w, b - n_seats, line, R_WINS] += 1.0
        rivals.report[w, b - n_seats, line, R_SPEND] += paid / 1000.0
        rivals.spent[w, b - n_seats] += paid / 1000.0
    if not seen:
        return 0.0, False
    clicked = uniform(key, _CLICK) < odds / (1.0 + odds)
    if clicked:
        books.ads[w, kind, 1] += 1
    if books.truth.shape[1] > 0:
        note(books.truth, books.n_truth, w, T_AD, hour, person, p, line, activity, b, creative,
             1 if clicked else 0, views, odds, paid, who)  # fmt: skip
    step = min(p.stage, 2)
    pressure = r.stage_up_view[step]
    gain = r.goodwill_view[activity]
    if b < n_seats:
        m = memory[person, b]
        recent = m.views[0] + m.views[1] + m.views[2]
        gain *= max(1.0 - recent / r.annoyance_views, -1.0)
        m.views[creative] += 1.0
        if not clicked:
            touch(p, hour, SAW, line_channel(line), b)
    goodwill[person, b] += gain
    if not clicked:
        return pressure, False
    pressure += r.stage_up_visit[step]
    if b < n_seats:
        click_seat(r, p, books, controls, goodwill, memory, w, person, b, line, device, 4 + who, hour, key)
    else:
        rivals.report[w, b - n_seats, line, R_CLICKS] += 1.0
        visit_rival(r, p, goodwill, person, b, hour)
        touch(p, hour, CLICKED, line_channel(line), b)
    return pressure, True


@jit(borrows=True)
def click_seat(r, p, books, controls, goodwill, memory, w, person, k, line, device, context, hour, key):
    """A click on a seat's ad or mail: report, last-click memory, visit."""
    books.report[w, k, line, CLICKS] += 1
    m = memory[person, k]
    m.last_click = hour
    m.last_line = line
    landing = controls.landing[w, k, line]
    books.geo[w, k, p.region, line, GEO_CLICKS] += 1
    channel = line_channel(line)
    visit_seat(
        r, p, books, goodwill, memory, w, person, k, device, landing, context, channel, line, hour, key
    )


@jit(borrows=True)
def search(r, p, pop, rivals, books, controls, opp_bid, opp, w, person, own_key, key, hour, bids, quality,
           tie, winner, price):  # fmt: skip
    """One search page: query, four ad slots, organic results below.

    The reader's single uniform runs down the page: ads by slot, then organic results with what is left,
    so an ad that is gone hands its clicks to what stands below it.
    """
    goodwill, memory = pop.goodwill[w], pop.memory[w]
    n_seats = memory.shape[1]
    n_rivals = rivals.strength.shape[1]
    word = bits(key, _WORD)
    device = pick_device(p, level(word, 2))
    device_class = 1 if device == 1 else 0
    query, named = search_query(r, p, goodwill, person, own_key, key, n_seats)
    contact(p, hour)
    touch(p, hour, SEARCHED, ON_SEARCH, query)
    common = r.common_noise[0, level(word, 0)]
    line_of_first = 0
    for k in range(n_seats):
        asked = query if query != OWN_BRAND or named == k else RIVAL_BRAND
        line = 2 * asked + device_class
        if k == 0:
            line_of_first = line
        if opp_bid.shape[0] > 0:
            bid = opp_bid[opp, k]
        else:
            bid = seat_bid(r, p, controls, books, w, person, k, ON_SEARCH, line, hour, key)
        bids[k] = bid
        quality[k] = brand_quality(r, named, k)
        books.report[w, k, line, OPPORTUNITIES] += 1
        if bid > 0.0:
            books.report[w, k, line, BIDS] += 1
    noise = np.uint64(0)
    for i in range(n_rivals):
        if i % 5 == 0:
            noise = bits(key, _RIVAL_NOISE + i // 5)
        b = n_seats + i
        line = 2 * rival_query(query, named, b) + device_class
        bid = -np.inf
        if rivals.active[w, i]:
            bid = rivals.bid[w, i, line] * r.bid_noise[0, level(noise, i % 5)] * common
        bids[b] = bid
        quality[b] = rivals.quality[w, i] * brand_quality(r, named, b)
        entry = rivals.report[w, i, line]
        entry[R_AUCTIONS] += 1.0
        entry[R_BID] += max(bid, 0.0)
        entry[R_CRISIS] += 1.0 if p.segment == 0 else 0.0
    clear_one(
        bids, quality, r.search_reserve_usd[query], N_SLOTS, r.first_price[0] != 0, tie, ~key, winner, price
    )
    step = min(p.stage, 2)
    pressure = r.stage_up_search[step]
    v = uniform(key, _CLICK)
    used = 0.0
    clicked = -1
    for s in range(N_SLOTS):
        b = winner[s]
        if b < 0:
            break
        books.ads[w, 0, 0] += 1
        chance = search_chance(r, p, s, query, named, b, device_class, n_seats)
        before = used
        used = min(used + chance, MOST_OF_A_PAGE)
        hit = clicked < 0 and v < used
        if hit:
            clicked = s
        if b < n_seats:
            line = 2 * (query if query != OWN_BRAND or named == b else RIVAL_BRAND) + device_class
            books.report[w, b, line, IMPRESSIONS] += 1
            books.report[w, b, line, WINS] += 1
            books.geo[w, b, p.region, line, GEO_IMPRESSIONS] += 1
            m = memory[person, b]
            if books.events.shape[1] > 0:
                log_event(r, p, books, w, b, person, m, SAW, ON_SEARCH, line, device, hour)
            if m.seen < 60000:
                m.seen += 1
            if not hit:
                touch(p, hour, SAW, ON_SEARCH, b)
        else:
            line = 2 * rival_query(query, named, b) + device_class
            rivals.report[w, b - n_seats, line, R_WINS] += 1.0
        if s == 0:
            count_price(books, w, line_of_first, 0, price[0])
        if books.truth.shape[1] > 0:
            note(books.truth, books.n_truth, w, T_AD, hour, person, p, line, 3 + s, b, 0, 1 if hit else 0,
                 used - before, 1.0 if b == named else (0.5 if named >= 0 else 0.0), price[s],
                 chance)  # fmt: skip
    if clicked >= 0:
        books.ads[w, 0, 1] += 1
        pressure += r.stage_up_visit[step]
        b = winner[clicked]
        if b < n_seats:
            line = 2 * (query if query != OWN_BRAND or named == b else RIVAL_BRAND) + device_class
            charge(books, w, b, line, p.region, int(price[clicked] * 1e6 + 0.5))
            click_seat(
                r, p, books, controls, goodwill, memory, w, person, b, line, device, line // 2, hour, key
            )
        else:
            line = 2 * rival_query(query, named, b) + device_class
            rivals.report[w, b - n_seats, line, R_CLICKS] += 1.0
            rivals.report[w, b - n_seats, line, R_SPEND] += price[clicked]
            rivals.spent[w, b - n_seats] += price[clicked]
            visit_rival(r, p, goodwill, person, b, hour)
            touch(p, hour, CLICKED, ON_SEARCH, b)
        return pressure, True
    z = (v - used) / (1.0 - used) / max(r.organic_click[query], 1e-12)
    if z >= 1.0:
        return pressure, False
    pressure += r.stage_up_visit[step]
    if z < r.organic_us[query] and (query != RIVAL_BRAND):
        k = named if query == OWN_BRAND else 0
        visit_seat(
            r, p, books, goodwill, memory, w, person, k, device, 0, query, BY_ORGANIC, NO_LINE, hour, key
        )
    elif z < r.organic_us[query] + r.organic_rival[query]:
        b = named
        if b < n_seats:
            b = n_seats + int(uniform(key, _ORGANIC_RIVAL) * n_rivals)
        visit_rival(r, p, goodwill, person, b, hour)
        touch(p, hour, VISITED, BY_ORGANIC, b)
    return pressure, True


@jit(borrows=True)
def brand_quality(r, named, brand):
    """Search quality of a brand's ad: high under its own name, low under another's."""
    if named < 0:
        return 1.0
    return r.own_brand_quality if named == brand else r.conquest_quality


@jit(borrows=True)
def rival_query(query, named, brand):
    """The query as brand `brand` sees it: its own name, another's, or none."""
    if named < 0:
        return query
    return OWN_BRAND if named == brand else RIVAL_BRAND


@jit(borrows=True, rare=True)
def mailbox(r, p, pop, books, controls, w, person, k, key, hour):
    """A look into the mailbox: a message if the seat sends one, an open, a click, perhaps the last one."""
    goodwill, memory = pop.goodwill[w], pop.memory[w]
    m = memory[person, k]
    books.report[w, k, EMAIL_LINE, OPPORTUNITIES] += 1
    bid = controls.bid[w, k, EMAIL_LINE]
    if not controls.region[w, k, p.region] > 0.0:
        return 0.0, False
    if bid < r.mail_cost_usd or hour - m.last_mail < r.mail_gap_hours:
        return 0.0, False
    cost = int(r.mail_cost_usd * 1e6 + 0.5)
    if books.spent_today[w, k] + cost > controls.daily_cap[w, k]:
        return 0.0, False
    if books.line_spent_today[w, k, EMAIL_LINE] + cost > controls.line_cap[w, k, EMAIL_LINE]:
        return 0.0, False
    if controls.holdout[w, k, BY_MAIL] > 0.0 and held_out(r, p, controls, books, w, person, k, BY_MAIL, hour):
        return 0.0, False
    books.report[w, k, EMAIL_LINE, BIDS] += 1
    books.report[w, k, EMAIL_LINE, WINS] += 1
    books.report[w, k, EMAIL_LINE, IMPRESSIONS] += 1
    books.geo[w, k, p.region, EMAIL_LINE, GEO_IMPRESSIONS] += 1
    charge(books, w, k, EMAIL_LINE, p.region, cost)
    m.last_mail = hour
    word = bits(key, _MAIL)
    if level(word, 0) >= 1024.0 * r.mail_open:
        return 0.0, False
    contact(p, hour)
    device = pick_device(p, level(word, 3))
    if books.events.shape[1] > 0:
        log_event(r, p, books, w, k, person, m, OPENED, BY_MAIL, EMAIL_LINE, device, hour)
    goodwill[person, k] += r.goodwill_mail
    if level(word, 1) < 1024.0 * r.mail_unsubscribe:
        m.mail = 2
    step = min(p.stage, 2)
    if level(word, 2) >= 1024.0 * r.mail_click * r.click_stage[p.stage]:
        remember(p, hour, OPENED, BY_MAIL, k)
        return r.stage_up_view[step], False
    click_seat(r, p, books, controls, goodwill, memory, w, person, k, EMAIL_LINE, device, 6, hour, key)
    return r.stage_up_visit[step], True


@jit(borrows=True, rare=True)
def decide(r, p, pop, rivals, books, w, person, own_key, key, hour):
    """A category purchase: whose? Softmax over seats, nothing, rivals, by one uniform in that order."""
    goodwill, memory = pop.goodwill[w], pop.memory[w]
    n_seats = memory.shape[1]
    n_brands = goodwill.shape[1]
    sensitivity = r.price_sensitivity[p.segment] * p.price_sensitivity
    total = math.exp(r.none_utility)
    for b in range(n_brands):
        total += math.exp(utility(r, rivals, goodwill, w, person, b, n_seats, own_key, sensitivity))
    at = uniform(key, _BRAND) * total
    brand = -1
    for k in range(n_seats):
        weight = math.exp(utility(r, rivals, goodwill, w, person, k, n_seats, own_key, sensitivity))
        books.expected[w, k, 0] += weight / total
        books.expected[w, k, 1] += weight / total * r.ltv_micros * r.value_segment[p.segment] * 1e-6
        at -= weight
        if at < 0.0 and brand < 0:
            brand = k
    nothing = False
    if brand < 0:
        at -= math.exp(r.none_utility)
        nothing = at < 0.0
        if not nothing:
            brand = n_brands - 1
            for b in range(n_seats, n_brands):
                at -= math.exp(utility(r, rivals, goodwill, w, person, b, n_seats, own_key, sensitivity))
                if at < 0.0:
                    brand = b
                    break
    if books.truth.shape[1] > 0:
        for b in range(-1, n_brands):
            g = goodwill[person, b] if b >= 0 else 0.0
            taste = r.taste_sigma * normal(own_key, TASTE + b) if b >= 0 else 0.0
            index = r.price_index
            if b >= n_seats:
                index = rivals.price_index[w, b - n_seats]
            cost = sensitivity * index if b >= 0 else 0.0
            note(books.truth, books.n_truth, w, T_CHOICE, hour, person, p, NO_LINE, 0, b, 0,
                 1 if b == (-1 if nothing else brand) else 0, g, taste, cost, total)  # fmt: skip
    if nothing:
        books.sales[w, n_brands] += 1
        p.stage = AWARE
        p.ln_need -= 0.7
        p.need *= 0.5
        p.urgency *= 0.25
        p.journey_start = -1
        p.n_touches = 0
        return
    books.sales[w, brand] += 1
    p.stage = CONVERTED
    p.owner = brand
    p.decision_hour = hour
    arm, lag = draw_lag(r, p, key)
    p.book_hour = hour + int(lag)
    p.urgency = 0.0
    if brand < n_seats:
        if books.truth.shape[1] > 0:
            note(books.truth, books.n_truth, w, T_LAG, hour, person, p, NO_LINE, 0, brand, 0, arm, lag,
                 r.lag_segment[p.segment], lag_factor(r, p), 0.0)  # fmt: skip
        remember(p, hour, BOUGHT, p.last_channel if p.last_channel < 8 else BY_SELF, brand)
        record_decision(r, p, books, memory[person, brand], w, person, brand, own_key, key, hour)
    p.segment = p.home_segment
    p.journey_start = -1
    p.n_touches = 0


@jit(borrows=True)
def utility(r, rivals, goodwill, w, person, brand, n_seats, own_key, sensitivity):
    """Utility (logit) of a brand at the moment of choice."""
    if brand < n_seats:
        prior = r.brand_prior
        price = r.price_index
    else:
        prior = rivals.prior[w, brand - n_seats]
        price = rivals.price_index[w, brand - n_seats]
    taste = r.taste_sigma * normal(own_key, TASTE + brand)
    return prior + taste + lived_goodwill(r, goodwill[person, brand]) - sensitivity * price


@jit(borrows=True)
def lag_factor(r, p):
    """How much longer than usual this person takes to book."""
    channel = r.lag_channel[p.last_channel] if p.last_channel < 8 else 1.0
    return r.lag_segment[p.segment] * channel


@jit(borrows=True)
def draw_lag(r, p, key):
    """Arm and hours from decision to booking."""
    u = uniform(key, _ARM)
    arm = 0
    while arm < 2 and u >= r.lag_share[arm]:
        u -= r.lag_share[arm]
        arm += 1
    hours = r.lag_start_hours[arm] - r.lag_mean_hours[arm] * math.log(1.0 - uniform(key, _LAG))
    return arm, min(hours * lag_factor(r, p), MAX_LAG_HOURS)


@jit(borrows=True, rare=True)
def record_decision(r, p, books, m, w, person, brand, own_key, key, hour):
    """Append to the decision log; the caller has made sure that there is room."""
    i = books.n_decisions[w]
    books.n_decisions[w] = i + 1
    if i >= books.decisions.shape[1]:
        return
    d = books.decisions[w, i]
    d.value_micros = int(r.ltv_micros * r.value_segment[p.segment] + 0.5)
    d.hour = hour
    d.book_hour = p.book_hour
    d.person = person
    d.journey_hours = hour - p.journey_start if p.journey_start >= 0 else 0
    d.generation = p.generation
    d.n_touches = p.n_touches
    d.brand = brand
    d.segment = p.segment
    d.click_hour = m.last_click
    d.device = pick_device(p, level(bits(key, _WORD), 2))
    d.visitor = visitor_number(p, own_key, brand, d.device)
    d.login = login_number(p, m, own_key, brand, False)
    d.region = p.region
    d.line = m.last_line if hour - m.last_click <= CLICK_WINDOW else NO_LINE
    d.first_channel = p.first_channel
    d.last_channel = p.last_channel
    d.ring_at = p.ring_at
    for i in range(RING):
        d.touches[i] = p.touches[i]


@jit(borrows=True)
def follow_up(r, p, pop, rivals, books, w, person, own_key, key, hour, pressure, visited):
    """After an activity: perhaps a stage up, perhaps a purchase."""
    if p.stage > INTENT:
        return
    intensity = p.need * (1.0 + p.urgency)
    if p.stage < INTENT and pressure > 0.0:
        chance = min(0.9, pressure * intensity)
        up = uniform(key, _STAGE) < chance
        if books.truth.shape[1] > 0:
            note(books.truth, books.n_truth, w, T_STAGE, hour, person, p, NO_LINE, 0, 0, 0, 1 if up else 0,
                 pressure, intensity, 1.0 if visited else 0.0, 0.0)  # fmt: skip
        if up:
            p.stage += 1
    if p.stage >= CONSIDERING:
        chance = r.buy_rate * intensity
        if p.stage == CONSIDERING:
            chance *= r.buy_early
        if visited:
            chance *= r.buy_visit
        chance = min(0.9, chance)
        buys = uniform(key, _BUY) < chance
        if books.truth.shape[1] > 0:
            note(books.truth, books.n_truth, w, T_BUY, hour, person, p, NO_LINE, 0, 0, 0, 1 if buys else 0,
                 intensity, 1.0 if visited else 0.0, chance, 0.0)  # fmt: skip
        if buys:
            decide(r, p, pop, rivals, books, w, person, own_key, key, hour)


@jit(borrows=True, rare=True)
def midnight(r, pop, rivals, books, w, day, adapt):
    """Budgets reset, rivals learn, everybody lives a day."""
    for k in range(books.spent_today.shape[1]):
        books.spent_today[w, k] = 0
        for line in range(books.line_spent_today.shape[2]):
            books.line_spent_today[w, k, line] = 0
    month = ((r.start_day_of_year + day) % 365) * 12 // 365
    learn_overnight(r, rivals, w, day, r.season_price[month], adapt)
    people, today = pop.people[w], pop.today[w]
    goodwill, memory = pop.goodwill[w], pop.memory[w]
    season = r.season_demand[month]
    for person in range(people.shape[0]):
        today[person] = live_one_day(r, people[person], goodwill, memory, person, day, season)


@jit(borrows=True)
def world_hour(
    r, pop, rivals, books, controls, opp_bid, opp, w, hour, adapt, due, bids, quality, tie, winner, price
):
    """One hour of one world: list who is due, then visit them, asking for memory some people ahead."""
    open_budgets(rivals, w, adapt)
    people, today = pop.people[w], pop.today[w]
    goodwill, memory = pop.goodwill[w], pop.memory[w]
    hour_of_week = (r.start_hour_of_week + hour) % 168
    n_due = 0
    for person in range(people.shape[0]):
        due[n_due] = person  # overwritten unless the person is due: no branch to mispredict
        n_due += (today[person] >> np.uint32(hour % 24)) & np.uint32(1)
    for i in range(n_due):
        ahead = due[min(i + LOOK_AHEAD, n_due - 1)]
        prefetch(people, ahead, 0)
        prefetch(people, ahead, 64)
        prefetch(goodwill, ahead, 0)
        prefetch(memory, ahead, 0)
        person = np.int64(due[i])
        p = people[person]
        own_key = person_key(r, person, p.generation)
        key = subkey(own_key, hour)
        activity, seat = choose_activity(r, p, goodwill, memory, person, key, hour_of_week)
        if activity == IDLE:
            continue
        books.activity[w, activity] += 1
        if activity <= DISPLAY:
            pressure, visited = feed(r, p, pop, rivals, books, controls, opp_bid, opp, w, person, key,
                                     activity, hour, bids, quality, tie, winner, price)  # fmt: skip
            opp += 1
        elif activity == SEARCH:
            pressure, visited = search(r, p, pop, rivals, books, controls, opp_bid, opp, w, person, own_key,
                                       key, hour, bids, quality, tie, winner, price)  # fmt: skip
            opp += 1
        elif activity == MAIL:
            pressure, visited = mailbox(r, p, pop, books, controls, w, person, seat, key, hour)
        else:
            device = pick_device(p, level(bits(key, _WORD), 2))
            visit_seat(r, p, books, goodwill, memory, w, person, seat, device, 0, OWN_BRAND, BY_SELF, NO_LINE,
                       hour, key)  # fmt: skip
            pressure, visited = r.stage_up_visit[min(p.stage, 2)], True
        follow_up(r, p, pop, rivals, books, w, person, own_key, key, hour, pressure, visited)


@jit(parallel=True)
def open_day(
    rules: NDArray[np.void], pop: Population, rivals: Rivals, books: Books, day: int, adapt: bool
) -> None:
    """Midnight of every world: rivals set their bids, everybody gets the calendar of `day`."""
    for w in prange(rules.shape[0]):
        midnight(rules[w], pop, rivals, books, w, day, adapt)


@jit(parallel=True)
def advance_hours(
    rules: NDArray[np.void],
    pop: Population,
    rivals: Rivals,
    books: Books,
    controls: Controls,
    opp_bid: NDArray[np.float64],
    opp_start: NDArray[np.int64],
    hour: int,
    n_hours: int,
    adapt: bool,
) -> None:
    """Advance every world by some hours of a day, each on one thread; hours in a row find it in cache.

    Args:
        rules: (W,) RULES. pop, rivals, books, controls: the arrays of state.py.
        opp_bid: (n_opportunities, K) bids per opportunity, USD per click or per 1000, in the order of
            `list_opportunities`; shape (0, K) to bid by the lines of `controls`.
        opp_start: (W,) index of each world's first opportunity.
        hour: hours since the world began.
        n_hours: how many to live; more than one only without bids per opportunity, and not past midnight.
        adapt: False keeps rivals' bids and activity as they stand in the arrays (replay).
    """
    n_brands = pop.goodwill.shape[2]
    for w in prange(rules.shape[0]):
        due = np.empty(pop.today.shape[1] + 1, np.int32)
        bids = np.empty(n_brands)
        quality = np.empty(n_brands)
        tie = np.empty(0)
        winner = np.empty(N_SLOTS, np.int64)
        price = np.empty(N_SLOTS)
        for h in range(hour, hour + n_hours):
            world_hour(rules[w], pop, rivals, books, controls, opp_bid, opp_start[w], w, h, adapt,
                       due, bids, quality, tie, winner, price)  # fmt: skip
