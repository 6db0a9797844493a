"""What rivals really bid, and how far what an account concludes from its own reports is from it.

The truth is found by clearing: at the start of an hour of a flight the worlds are copied and the hour is
lived once for each of many bids, without a budget. Opportunities and rivals' bids are the same in each copy,
so wins over opportunities are the chance to win at that bid, and the bids at which it crosses a share are
quantiles of the bid needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.words import EMAIL_LINE, LINES
from gaelp.market.market import Market
from gaelp.market.state import OPPORTUNITIES, WINS, empty_controls
from gaelp.measurement.competition.fit import Fit, fit_line
from gaelp.measurement.competition.likelihood import DAYS_A_WEEK
from gaelp.measurement.competition.log import LineLog
from gaelp.measurement.competition.told import needed_quantile, weekly_change, win_chance
from gaelp.measurement.lag.curve import Estimate
from gaelp.observation.view import View
from gaelp.worlds.flight import reference_prices
from gaelp.worlds.reports import line_logs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BID_LEVELS = 2.0 ** (np.arange(-8, 9) / 2.0)
"""Bids that are tried, times the market's median price of the line."""
FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Of the account's usual bid: where win curves are compared."""
SHARES = (0.25, 0.5, 0.75)
_LEAST_OPPORTUNITIES, _LEAST_FOR_CHANGE = 300, 5000
"""Of a line and a world in the cleared hours: fewer are no truth to compare with, or none of a slope."""
_HALF = 0.5


def cleared(market: Market, bids: Floats, seat: int = 0) -> tuple[Ints, Ints]:
    """What the coming hour would bring a seat at other bids; the market itself is left as it is.

    Args:
        market: worlds between two hours. bids: (n_bids, n_lines) USD per click or per 1000 on every line.
        seat: whose; other external seats are silent.

    Returns:
        opportunities: (n_worlds, n_lines). wins: (n_worlds, n_bids, n_lines).
    """
    tried = market.copy(times=len(bids))
    controls = empty_controls(tried.n_worlds, tried.n_seats)
    controls.bid[:, seat] = np.repeat(bids, market.n_worlds, axis=0)
    before = tried.books.report[:, seat].copy()
    tried.advance(controls)
    gained = (tried.books.report[:, seat] - before).reshape(len(bids), market.n_worlds, *before.shape[1:])
    return gained[0, ..., OPPORTUNITIES], gained[..., WINS].swapaxes(0, 1)


@dataclass
class Cleared:
    """A policy flown as it is, while every so many hours the market is asked what bids were needed.

    Attributes:
        policy: flown. market: the worlds that it flies in.
        every: hours between two clearings; one that shares no divisor with 24 sees all hours of the day.
        opportunities: (n_days, n_worlds, n_lines) in the hours cleared, once flown.
        wins: (n_days, n_worlds, n_bids, n_lines) at `bids`.
        bids: (n_bids, n_lines) that were tried.
    """

    policy: Policy
    market: Market
    every: int = 1
    name: str = "cleared"
    bids: Floats = field(init=False)
    _days: list[tuple[Ints, Ints]] = field(default_factory=list, init=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign."""
        self.bids = BID_LEVELS[:, None] * reference_prices(self.market)
        self._days = []
        self.policy.start(brief)

    def act(self, view: View) -> ProposedControls:
        """Ask the market if it is time to, and let the policy decide."""
        if view.hour % self.every == 0:
            found = cleared(self.market, self.bids)
            if view.hour // 24 == len(self._days):
                self._days.append(found)
            else:
                before = self._days[-1]
                self._days[-1] = (before[0] + found[0], before[1] + found[1])
        return self.policy.act(view)

    @property
    def opportunities(self) -> Ints:
        """(n_days, n_worlds, n_lines)."""
        return np.stack([day[0] for day in self._days])

    @property
    def wins(self) -> Ints:
        """(n_days, n_worlds, n_bids, n_lines)."""
        return np.stack([day[1] for day in self._days])

    def of_line(self, world: int, line: int, days: int) -> "LineTruth":
        """The truth of one line over the first `days`."""
        return LineTruth(
            self.bids[:, line], self.opportunities[:days, world, line], self.wins[:days, world, :, line]
        )


@dataclass
class Varied:
    """A policy whose bids an account varies at random, so that rivals can be told from its own habits.

    Attributes:
        policy: whose bids. deviation: standard deviation of the log factor on each line's bid, drawn anew
            every hour; its mean factor is 1. seed: of the draws.
    """

    policy: Policy
    deviation: float = 0.3
    seed: int = 0
    name: str = "varied"
    _generator: np.random.Generator = field(init=False, repr=False)

    def start(self, brief: Brief) -> None:
        """Begin a campaign with the same draws as ever."""
        self._generator = np.random.default_rng(self.seed)
        self.policy.start(brief)

    def act(self, view: View) -> ProposedControls:
        """The policy's controls, every line's bid times its factor."""
        proposed = self.policy.act(view)
        draws = self._generator.normal(-0.5 * self.deviation**2, self.deviation, proposed.bid_usd.shape)
        draws[:, EMAIL_LINE] = 0.0  # its price is fixed
        return replace(proposed, bid_usd=proposed.bid_usd * np.exp(draws))


class LineTruth(NamedTuple):
    """Wins of one line in one world at bids that were tried.

    Attributes:
        bids: (n_bids,) rising. opportunities: (n_days,). wins: (n_days, n_bids).
    """

    bids: Floats
    opportunities: Ints
    wins: Ints

    def chance(self, bid: float) -> float:
        """Chance to win at a bid, between the bids tried straight in the log of the bid."""
        curve = self.wins.sum(axis=0) / max(int(self.opportunities.sum()), 1)
        return float(np.interp(np.log(bid), np.log(self.bids), curve))

    def quantile(self, share: float) -> float:
        """Bid needed in a share of auctions; NaN outside the bids tried."""
        return float(
            _crossing(self.bids, self.wins.sum(axis=0) / max(int(self.opportunities.sum()), 1), share)
        )

    @property
    def weekly_change(self) -> float:
        """Slope of the day's log median bid needed, days weighted by their auctions; relative, a week."""
        days = np.flatnonzero(self.opportunities > 0)
        median = np.array(
            [_crossing(self.bids, self.wins[d] / self.opportunities[d], _HALF) for d in days], np.float64
        )
        seen = np.isfinite(median)
        if seen.sum() < 2:
            return float("nan")
        weight = np.sqrt(self.opportunities[days[seen]])
        slope = np.polyfit(days[seen] / DAYS_A_WEEK, np.log(median[seen]), 1, w=weight)[0]
        return float(np.expm1(slope))


def _crossing(bids: Floats, curve: Floats, share: float) -> float:
    """Bid at which a rising curve passes a share; NaN where it does not."""
    above = int(np.argmax(curve >= share))
    if curve[-1] < share or above == 0:
        return float("nan")
    low, high = curve[above - 1], curve[above]
    part = (share - low) / (high - low)
    return float(np.exp(np.log(bids[above - 1]) + part * np.log(bids[above] / bids[above - 1])))


class Compared(NamedTuple):
    """One figure of one line in one world: as concluded from reports, and the truth."""

    world: int
    line: str
    figure: str
    estimate: Estimate
    truth: float

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        low, high = self.estimate.low, self.estimate.high
        return low is not None and high is not None and low <= self.truth <= high


def compare(reports: Mapping[str, Floats], truth: Cleared) -> list[Compared]:
    """Every line of every world that tells enough: win curve, quantiles and trend beside the truth.

    Args:
        reports: of the flight, as `worlds.reports.Watched.reports` gives them.
        truth: of the same flight.
    """
    found: list[Compared] = []
    names = [line.name for line in LINES[:EMAIL_LINE]]
    for world in range(reports["bid_usd"].shape[0]):
        logs, _ = line_logs(dict(reports), world)
        for log in logs:
            real = truth.of_line(world, names.index(log.name), log.share.size)
            if log.reason_against() is None and real.opportunities.sum() >= _LEAST_OPPORTUNITIES:
                found += _compared(world, log, fit_line(log), real)
    return found


def _compared(world: int, log: LineLog, fits: Sequence[Fit], real: LineTruth) -> list[Compared]:
    usual = log.usual_bid
    figures = {
        f"won at {k:g} x own bid": (win_chance(fits, log, k * usual), real.chance(k * usual)) for k in FACTORS
    }
    figures |= {f"needed by {q:.0%}": (needed_quantile(fits, log, q), real.quantile(q)) for q in SHARES}
    if real.opportunities.sum() >= _LEAST_FOR_CHANGE:
        figures["change a week"] = weekly_change(fits), real.weekly_change
    found = [Compared(world, log.name, name, *both) for name, both in figures.items()]
    return [each for each in found if np.isfinite(each.truth)]
