"""A lift test as platforms run it: people drawn at random are kept from a channel, both arms are counted.

A person enters a channel's test with the first bid that the account places for them there, or would have
placed (a ghost bid): who never came into question dilutes neither arm. From then on their conversions count,
as the platform, which knows its own users, matches them to the advertiser's sales. Only sums are shown.

A person who leaves the market and whose place is bid for again is dropped from both arms, with what they had
bought: over a month's flight up to 7 % of sales, so effects are told that much too small.

Source: Johnson, Lewis, Nubbemeyer, "Ghost Ads: Improving the Economics of Measuring Online Ad Effectiveness",
Journal of Marketing Research 54(6), 2017.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import PAID_CHANNELS
from gaelp.market.market import Market

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class LiftReport(NamedTuple):
    """What a platform shows of lift tests; axes (world, paid channel, arm), arms being shown and held out.

    Attributes:
        people: who entered. conversions: booked, of theirs since. value_usd: of these.
    """

    people: Ints
    conversions: Ints
    value_usd: Floats


def lift_report(market: Market, *, seat: int = 0, until: int) -> LiftReport:
    """Count the arms of a seat's lift tests.

    Args:
        market: worlds in which a test ran (`SimulatedPlatform.open`). seat: whose.
        until: hour of the market up to which decisions are made and booked.
    """
    shape = (market.n_worlds, len(PAID_CHANNELS), 2)
    found = LiftReport(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape))
    for world in range(market.n_worlds):
        made = market.decisions(world)
        made = made[(made["brand"] == seat) & (made["hour"] < until) & (made["book_hour"] < until)]
        for channel in range(len(PAID_CHANNELS)):
            ghosts = market.books.ghosts[world, seat, channel]
            entered = ghosts["life"] > 0
            found.people[world, channel] = np.bincount(ghosts["held_out"][entered], minlength=2)
            if not ghosts.size:
                continue
            of = ghosts[made["person"]]
            since = (of["life"] == made["generation"] + 1) & (made["hour"] >= of["hour"])
            arm, value = of["held_out"][since], made["value_micros"][since] / MICROS_PER_USD
            found.conversions[world, channel] = np.bincount(arm, minlength=2)
            found.value_usd[world, channel] = np.bincount(arm, value, minlength=2)
    return found


def told(report: LiftReport) -> dict[str, dict[str, float | None]]:
    """By channel, over all worlds: both arms, conversions caused among the people shown, and their error.

    What would have come anyway is the held-out arm's conversions a person, times the people shown.
    """
    found = {}
    for channel, people, sales in zip(
        PAID_CHANNELS, report.people.sum(axis=0), report.conversions.sum(axis=0), strict=True
    ):
        caused, error = lift_of(people, sales)
        found[channel.name.lower()] = {
            "people_shown": int(people[0]),
            "people_held_out": int(people[1]),
            "conversions_shown": int(sales[0]),
            "conversions_held_out": int(sales[1]),
            "conversions_caused": caused,
            "standard_error": error,
        }
    return found


def lift_of(people: NDArray[Any], sales: NDArray[Any]) -> tuple[float | None, float | None]:
    """Conversions that ads caused among the people shown, and the standard error; None where an arm is empty.

    Args:
        people, sales: (2,) of the people shown and held out. Sales are taken as counts of rare events.
    """
    if not (people[0] > 0 and people[1] > 0):
        return None, None
    scale = people[0] / people[1]
    return float(sales[0] - scale * sales[1]), float(np.sqrt(sales[0] + scale**2 * max(sales[1], 1.0)))
