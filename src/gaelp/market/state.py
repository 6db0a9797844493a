"""The arrays that a world lives in, and the records that kernels read and write.

`people` is one structured array with axes (world, person): one field per attribute, read as
`people["stage"]`. Fields of one person lie together because an hour visits about one person in eight
(decision record 0002). Goodwill and the external seats' memory have an axis more.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import N_CREATIVES, N_LINES, N_REGIONS, PAID_CHANNELS

RING = 12

PERSON = np.dtype(
    [
        # what every visit reads, in the first two cache lines
        ("visited", "u8"),  # bit b: brand b knows this person as a visitor
        ("need", "f4"),
        ("urgency", "f4"),
        ("activity", "f4"),
        ("attention", "f4"),
        ("affinity", "f4", 3),
        ("last_contact", "i4"),
        ("journey_start", "i4"),
        ("generation", "u2"),
        ("n_touches", "u2"),
        ("stage", "u1"),
        ("segment", "u1"),
        ("home_segment", "u1"),
        ("owner", "i1"),  # brand bought: -1 none, 0.. external seats, then rivals
        ("region", "u1"),
        ("devices", "u1"),  # bits 0-2 owned (mobile, desktop, tablet), 3-5 tracking allowed, 6 login
        ("rhythm", "i1"),
        ("ring_at", "u1"),
        ("first_channel", "u1"),
        ("last_channel", "u1"),
        # what a night or a purchase reads
        ("ln_need", "f4"),
        ("price_sensitivity", "f4"),
        ("exit_day", "i4"),
        ("decision_hour", "i4"),
        ("book_hour", "i4"),
        ("touches", "u4", RING),  # newest searches, clicks, visits, our impressions, mails: packed codes
    ],
    align=True,
)
"""One person, all of it truth; see docs/reference/market.md for each field."""

MEMORY = np.dtype(
    [
        ("views", "f4", N_CREATIVES),  # recent views of each creative
        ("last_visit", "i4"),
        ("last_mail", "i4"),
        ("last_click", "i4"),
        ("seen", "u2"),  # impressions since the world began
        ("last_line", "u1"),
        ("cookies", "u1"),  # bit d: our cookie lives on device d
        ("visits", "u1"),
        ("mail", "u1"),  # 0 no address, 1 subscribed, 2 unsubscribed
    ],
    align=True,
)
"""What one external seat and one person have had to do with each other."""

DECISION = np.dtype(
    [
        ("value_micros", "i8"),
        ("visitor", "u8"),  # as in EVENT, at the decision
        ("login", "u8"),
        ("hour", "i4"),
        ("book_hour", "i4"),
        ("person", "i4"),
        ("journey_hours", "i4"),
        ("generation", "u2"),
        ("n_touches", "u2"),
        ("click_hour", "i4"),  # of that last click
        ("brand", "i1"),
        ("segment", "u1"),
        ("line", "u1"),  # line of the last click within 30 days, 255 none
        ("device", "u1"),  # in use at the decision
        ("region", "u1"),
        ("first_channel", "u1"),
        ("last_channel", "u1"),
        ("ring_at", "u1"),
        ("touches", "u4", RING),
    ],
    align=True,
)
"""One decision for an external seat's product: booked later, at `book_hour`."""

EVENT = np.dtype(
    [
        ("visitor", "u8"),  # the seat's cookie on this device, 0 where tracking is not allowed
        ("login", "u8"),  # the address given to the seat, 0 where nobody is logged in
        ("hour", "i4"),
        ("person", "i4"),  # truth: the platform's door strips it
        ("kind", "u1"),  # TouchKind
        ("channel", "u1"),
        ("line", "u1"),  # 255 where no line of the seat brought it
        ("device", "u1"),
        ("region", "u1"),
        ("seat", "u1"),
    ],
    align=True,
)
"""One thing that happened between a person and an external seat, before anybody's sight is applied."""

GHOST_BID = np.dtype(
    [
        ("hour", "i4"),  # of the first bid, placed or withheld
        ("life", "u2"),  # generation + 1 of whoever it was for; 0 where there was none
        ("held_out", "u1"),  # 1 where the channel's ads are kept from this person
    ],
    align=True,
)
"""A lift test's record of one person: when the seat first bid for them on a channel, or would have."""

TRUTH = np.dtype(
    [
        ("x", "f8", 4),
        ("hour", "i4"),
        ("person", "i4"),
        ("kind", "u1"),
        ("line", "u1"),
        ("slot", "i1"),
        ("brand", "i1"),
        ("creative", "u1"),
        ("stage", "u1"),
        ("segment", "u1"),
        ("outcome", "u1"),
    ],
    align=True,
)
"""One row of the optional truth log; `kind` says what `x` holds (see `truth.py`)."""

REPORT_FIELDS = ("opportunities", "bids", "wins", "impressions", "clicks", "spend_micros")
OPPORTUNITIES, BIDS, WINS, IMPRESSIONS, CLICKS, SPEND = range(len(REPORT_FIELDS))
GEO_FIELDS = ("impressions", "clicks", "spend_micros")
GEO_IMPRESSIONS, GEO_CLICKS, GEO_SPEND = range(len(GEO_FIELDS))
RIVAL_FIELDS = ("auctions", "bid", "wins", "clicks", "spend", "crisis")
R_AUCTIONS, R_BID, R_WINS, R_CLICKS, R_SPEND, R_CRISIS = range(len(RIVAL_FIELDS))
PRICE_BINS = 500
PRICE_STEP = (0.05, 0.2, 0.2, 0.05)
"""Width of a price bin: USD per click for search, USD per 1000 for social, video, display."""
AUCTION_OF_LINE = (0,) * 8 + (1,) * 4 + (2,) * 2 + (3,) * 7
"""Auction kind of each line that bids for attention: search, social, video, display."""


class Population(NamedTuple):
    """Everything that lives on from hour to hour; axes (world, person, ...)."""

    people: NDArray[np.void]  # (W, N) PERSON
    today: NDArray[np.uint32]  # (W, N) the hours of today at which the person may be active, as bits
    goodwill: NDArray[np.float32]  # (W, N, B) logit, by brand
    memory: NDArray[np.void]  # (W, N, K) MEMORY


class Rivals(NamedTuple):
    """What rivals are and have learnt; axes (world, rival, ...)."""

    strategy: NDArray[np.int64]  # (W, R) code of `rivals.STRATEGIES`
    strength: NDArray[np.float64]  # (W, R) value relative to the market's price level
    prior: NDArray[np.float64]  # (W, R) brand strength, logit
    quality: NDArray[np.float64]  # (W, R) ad quality
    price_index: NDArray[np.float64]  # (W, R)
    budget: NDArray[np.float64]  # (W, R) USD a day for this panel
    rate: NDArray[np.float64]  # (W, R) learning rate
    explore: NDArray[np.float64]  # (W, R) chance or size of exploration
    multiplier: NDArray[np.float64]  # (W, R, L) learnt
    pace: NDArray[np.float64]  # (W, R) budget multiplier
    bid: NDArray[np.float64]  # (W, R, L) today's mean bid
    spent: NDArray[np.float64]  # (W, R) USD today
    active: NDArray[np.uint8]  # (W, R) has budget left this hour
    report: NDArray[np.float64]  # (W, R, L, RIVAL_FIELDS) today
    q: NDArray[np.float64]  # (W, R, L, 3, 3) Q-values: state, action
    trace: NDArray[np.float64]  # (W, R, L, 4) strategy's own memory


class Books(NamedTuple):
    """Counters since the world began, and logs; axes (world, ...)."""

    report: NDArray[np.int64]  # (W, K, L, REPORT_FIELDS)
    geo: NDArray[np.int64]  # (W, K, 100, L, GEO_FIELDS)
    visits: NDArray[np.int64]  # (W, K, 8) visits to the seat's site by channel
    rate: NDArray[np.float64]  # (W, K, L) conversions per click or impression, learnt by the platform
    rate_memory: NDArray[np.float64]  # (W, K, L, 3) faded bookings, faded shows, shows at last midnight
    spent_today: NDArray[np.int64]  # (W, K) micros
    line_spent_today: NDArray[np.int64]  # (W, K, L) micros
    prices: NDArray[np.int64]  # (W, L, PRICE_BINS) paid prices of all bidders, by seat 0's line
    ads: NDArray[np.int64]  # (W, 4, 2) impressions and clicks of all bidders by auction kind
    expected: NDArray[np.float64]  # (W, K, 2) decisions and their value in USD before the last draw
    sales: NDArray[np.int64]  # (W, B + 1) decisions by brand, last: none
    activity: NDArray[np.int64]  # (W, 6) by kind
    n_decisions: NDArray[np.int64]  # (W,)
    decisions: NDArray[np.void]  # (W, capacity) DECISION
    n_truth: NDArray[np.int64]  # (W,)
    truth: NDArray[np.void]  # (W, capacity) TRUTH; capacity 0 switches the log off
    n_events: NDArray[np.int64]  # (W,) events that happened; more than the capacity means some were dropped
    events: NDArray[np.void]  # (W, capacity) EVENT; capacity 0 switches the log off
    ghosts: NDArray[np.void]  # (W, K, 6, N) GHOST_BID by paid channel; (W, K, 6, 0) while nothing is tested


class Controls(NamedTuple):
    """What the external seats decided for this hour; axes (world, seat, ...)."""

    bid: NDArray[np.float64]  # (W, K, L) USD per click, per 1000 or per message; <= 0 is off
    target_cpa: NDArray[np.float64]  # (W, K, L) > 0: the platform bids this times its prediction
    daily_cap: NDArray[np.int64]  # (W, K) micros
    line_cap: NDArray[np.int64]  # (W, K, L) micros
    creative: NDArray[np.float64]  # (W, K, L, C) cumulative weights
    landing: NDArray[np.int64]  # (W, K, L)
    region: NDArray[np.float64]  # (W, K, 100) bid multiplier, 0 is off
    upload: NDArray[np.float64]  # (W, K, L) value uploaded to the platform, relative
    holdout: NDArray[np.float64]  # (W, K, 6) share of people whom a lift test spares a paid channel


def empty_controls(n_worlds: int, n_seats: int) -> Controls:
    """Controls with every line off, no caps, even creative rotation and the home page."""
    lines = (n_worlds, n_seats, N_LINES)
    no_cap = np.iinfo(np.int64).max // 4
    even = np.arange(1, N_CREATIVES + 1) / N_CREATIVES
    return Controls(
        bid=np.zeros(lines),
        target_cpa=np.zeros(lines),
        daily_cap=np.full(lines[:2], no_cap, np.int64),
        line_cap=np.full(lines, no_cap, np.int64),
        creative=np.ascontiguousarray(np.broadcast_to(even, (*lines, N_CREATIVES))),
        landing=np.zeros(lines, np.int64),
        region=np.ones((*lines[:2], N_REGIONS)),
        upload=np.ones(lines),
        holdout=np.zeros((*lines[:2], len(PAID_CHANNELS))),
    )
