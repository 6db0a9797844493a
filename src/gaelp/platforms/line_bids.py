"""What an hour's auctions ask of seat 0: the bid that its lines hold, and the numbers that a request carries.

The market takes a bid for each auction or each line's own, never both in one hour. A seat that buys some
lines auction by auction hands in bids for all, so its other lines must be bid for as the market would: the
same function says what, controls, platform's bidder and caps included.
"""

from typing import NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.core.random import subkey
from gaelp.market.hour import line_channel, login_number, seat_bid, visitor_number
from gaelp.market.people import person_key
from gaelp.market.state import Books, Controls, Population


class Requests(NamedTuple):
    """What seat 0 is asked, (n,) each.

    Attributes:
        line_bid: of the line's controls, USD per click or per 1000; -inf where none is placed.
        cookie: the seat's on the device in use; 0 where tracking is not allowed.
        login: of the address that somebody logged in gave to the seat, else 0.
    """

    line_bid: NDArray[np.float64]
    cookie: NDArray[np.uint64]
    login: NDArray[np.uint64]


@jit(parallel=True)
def read_requests(
    rules: NDArray[np.void],
    pop: Population,
    books: Books,
    controls: Controls,
    found: NDArray[np.void],
    starts: NDArray[np.int64],
    hour: int,
    line_bid: NDArray[np.float64],
    cookie: NDArray[np.uint64],
    login: NDArray[np.uint64],
) -> None:
    """Fill in `Requests` of the coming hour.

    A day's cap is asked with what was spent before the hour; nothing is changed unless a lift test runs.

    Args:
        rules, pop, books, controls: as in `advance_hours`.
        found: (n,) OPPORTUNITY. starts: (W + 1,) index of each world's first.
        hour: hours since the worlds began. line_bid, cookie, login: (n,) filled.
    """
    for w in prange(rules.shape[0]):
        r = rules[w]
        for i in range(starts[w], starts[w + 1]):
            person = np.int64(found[i].person)
            p, m = pop.people[w, person], pop.memory[w, person, 0]
            own_key = person_key(r, person, p.generation)
            key = subkey(own_key, hour)
            line = np.int64(found[i].line[0])
            channel = line_channel(line)
            line_bid[i] = seat_bid(r, p, controls, books, w, person, 0, channel, line, hour, key)
            cookie[i] = visitor_number(p, own_key, 0, np.int64(found[i].device))
            login[i] = login_number(p, m, own_key, 0, False)
