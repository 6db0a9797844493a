"""What a line's auctions are worth, measured on training worlds by the value model that sees truth.

Under a budget the best bid for an opportunity is a multiplier times what winning it is worth. The platform's
own bidder bids, in a line, target x its conversion rate x its guess of the person's stage, so the best target
of a line is proportional to its mean worth over its mean guess, over the platform's rate. Where rivals' bids
are spread evenly in logs, that is so whatever the bid: the same target fits any budget.

One flight of `target_cpa` on training worlds is enough, for worth is an expectation and not a count of sales.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import EMAIL_LINE, N_CREATIVES, N_LINES, SOCIAL_LINE
from gaelp.evaluation.looks import EVERY_HOURS
from gaelp.evaluation.worth import Valuer
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.market.state import SPEND
from gaelp.worlds.flight import Tick, fly, make_market, warm_up
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]
N_WORLDS, N_PEOPLE = 16, 6_000
"""Training worlds of a look, and their people."""
LARGEST = 20.0
"""A line whose auctions are worth next to nothing, or a great deal, gets no factor beyond this."""


@dataclass(frozen=True, eq=False)
class LineWorth:
    """What was measured, by line; sums, so that what several batches of worlds say can be added.

    Attributes:
        worth_usd: (n_landings, n_lines) over auctions, of an impression or on search pages of a click, by
            landing page.
        guess: (n_lines,) over auctions, the platform's stage factor. n_auctions: (n_lines,) looked at.
        rate: (n_lines,) over worlds, conversions per impression or click that the platform had learnt.
        spend_usd: (n_lines,) of the flights. n_worlds: looked at.
    """

    worth_usd: Floats
    guess: Floats
    n_auctions: Floats
    rate: Floats
    spend_usd: Floats
    n_worlds: int

    def __add__(self, other: "LineWorth") -> "LineWorth":
        return LineWorth(
            *(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    @property
    def landing(self) -> NDArray[np.int64]:
        """(n_lines,) the landing page on which a line is worth most."""
        return self.worth_usd.argmax(axis=0)

    @property
    def worth_in_bids_usd(self) -> Floats:
        """(n_lines,) mean worth of a click, or of 1000 impressions, on the best page; at least 0."""
        mean = self.worth_usd.max(axis=0) / np.maximum(self.n_auctions, 1.0)
        return np.maximum(np.where(np.arange(N_LINES) < SOCIAL_LINE, 1.0, 1000.0) * mean, 0.0)

    def factors(self) -> Floats:
        """(n_lines,) best target of each line relative to the others; 1 on average over dollars spent.

        E-mail, which no platform bids for, and lines without an auction have 1.
        """
        best = self.worth_usd.max(axis=0)
        seen = (self.guess > 0) & (best > 0)
        seen[EMAIL_LINE] = False
        if not seen.any():
            allowed = "must be worth something on some line"
            raise BadInput("worth_usd", 0.0, allowed, "Look at more worlds, people or days.")
        expected = self.guess * self.rate / self.n_worlds
        wanted = np.log(np.where(seen, best, 1.0) / np.where(seen, expected, 1.0))
        weight = np.where(seen, self.spend_usd + 1e-9, 0.0)
        wanted -= (weight @ wanted) / weight.sum()
        limit = np.log(LARGEST)
        return np.where(seen, np.exp(np.clip(wanted, -limit, limit)), 1.0)


def measure(
    file: MarketFile,
    *,
    tuned: Tuned,
    n_worlds: int = N_WORLDS,
    n_people: int = N_PEOPLE,
    days: int = 30,
    seed: int = 0,
    tick: Tick = lambda _: None,
) -> list[LineWorth]:
    """Fly `target_cpa` on training worlds and look at what auctions are worth on its way, world by world.

    Args:
        file: the market. tuned: of its baselines. n_worlds, n_people, days: of the flights.
        seed: names the training worlds. tick: told the world-hours done.
    """
    market = make_market(training_worlds(file, "train", n_worlds, seed), n_people)
    traffic = warm_up(market, tick=tick)
    return looked(market, traffic, tuned=tuned, days=days, tick=tick)


def looked(
    market: Market, traffic: Floats, *, tuned: Tuned, days: int = 30, tick: Tick = lambda _: None
) -> list[LineWorth]:
    """What is found in each of some worlds after their warm-up, which are changed; see `measure`.

    Args:
        market: the worlds. traffic: (n_worlds, 168) forecast of the account's.
    """
    looks = _Looks(market)

    def look(hours: int) -> None:
        tick(hours)
        if market.hour % EVERY_HOURS == 0:
            looks.look()

    flight = fly(market, tuned.target_cpa(), days=days, traffic=traffic, tick=look, keep_bids=False)
    spend, rate = flight.report[..., SPEND] / MICROS_PER_USD, market.books.rate[:, 0]
    return [
        LineWorth(looks.worth_usd[w], looks.guess[w], looks.n_auctions[w], rate[w], spend[w], 1)
        for w in range(market.n_worlds)
    ]


def together(found: Sequence[LineWorth]) -> LineWorth:
    """What some worlds, at least one, say together."""
    return sum(found[1:], found[0])


class _Looks:
    """Sums by world over looks at the coming hour, with every landing page; creatives in even rotation."""

    def __init__(self, market: Market) -> None:
        self.market = market
        n_landings = market.rules["landing_fit"].shape[1]
        even = np.ones((market.n_worlds, N_LINES, N_CREATIVES))
        self._valuers = [
            Valuer(market, 1.0, np.full((market.n_worlds, N_LINES), page), even) for page in range(n_landings)
        ]
        lines = (market.n_worlds, N_LINES)
        self.worth_usd = np.zeros((market.n_worlds, n_landings, N_LINES))
        self.guess, self.n_auctions = np.zeros(lines), np.zeros(lines)

    def look(self) -> None:
        market = self.market
        for page, valuer in enumerate(self._valuers):
            found, worth, _ = valuer.value()
            np.add.at(self.worth_usd[:, page], (found["world"], found["line"][:, 0]), worth)
        stage = market.pop.people["stage"][found["world"], found["person"]]
        place = (found["world"], found["line"][:, 0])
        np.add.at(self.guess, place, market.rules["predict_stage"][found["world"], stage])
        np.add.at(self.n_auctions, place, 1.0)
