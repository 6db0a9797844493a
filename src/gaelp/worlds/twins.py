"""Twins: what would have happened anyway, and the difference our ads made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_LINES, NO_LINE
from gaelp.market.market import Market
from gaelp.market.state import BIDS, CLICKS, IMPRESSIONS, OPPORTUNITIES, SPEND, WINS
from gaelp.worlds.flight import Flight

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sales:
    """Decisions for one seat in a window of hours, per world: counts and what they are worth."""

    decisions: Floats
    booked: Floats
    attributed_at_end: Floats
    revenue_usd: Floats
    attributed: Floats
    attributed_revenue_usd: Floats
    organic: Floats


def sales_of(market: Market, start: int, campaign_end: int, horizon: int, seat: int = 0) -> Sales:
    """Count a seat's sales.

    `decisions` and `booked` count every decision made from `start` to `horizon`, `booked` those booked by
    then. Attributed ones were made during the campaign after a click of ours within 30 days (last click; the
    platform counts clicks from before the campaign too) and are booked by the horizon; organic ones are the
    campaign's others.
    """
    columns = np.zeros((7, market.n_worlds))
    for w in range(market.n_worlds):
        made = market.decisions(w)
        made = made[(made["brand"] == seat) & (made["hour"] >= start) & (made["hour"] < horizon)]
        booked = made["book_hour"] < horizon
        clicked = (made["line"] != NO_LINE) & (made["hour"] < campaign_end) & booked
        value = made["value_micros"] / MICROS_PER_USD
        columns[:, w] = (
            made.size,
            booked.sum(),
            (clicked & (made["book_hour"] < campaign_end)).sum(),
            value[booked].sum(),
            clicked.sum(),
            value[clicked].sum(),
            (booked & (made["hour"] < campaign_end) & ~clicked).sum(),
        )
    return Sales(*columns)


def attributed_by_line(market: Market, start: int, campaign_end: int, horizon: int, seat: int = 0) -> Floats:
    """(n_worlds, n_lines) conversions by line of the last click within 30 days, as in `sales_of`."""
    counts = np.zeros((market.n_worlds, N_LINES))
    for w in range(market.n_worlds):
        made = market.decisions(w)
        made = made[(made["brand"] == seat) & (made["hour"] >= start) & (made["hour"] < campaign_end)]
        made = made[(made["line"] != NO_LINE) & (made["book_hour"] < horizon)]
        np.add.at(counts[w], made["line"].astype(int), 1.0)
    return counts


def outcome(flight: Flight, twin: Market | None, runoff_days: int) -> dict[str, Floats]:
    """Per-world sums of a flight, in the words of the interfaces; incremental ones need the twin.

    Args:
        flight: flown and run off. twin: the same worlds with our ads off, run as long; None for no twin.
        runoff_days: days of run-off.
    """
    end = flight.start + flight.hours
    horizon = end + runoff_days * 24
    ours = sales_of(flight.market, flight.start, end, horizon)
    report = flight.report.sum(axis=1).astype(float)
    days = flight.hours / 24.0
    found = {
        "spend_usd": report[:, SPEND] / MICROS_PER_USD,
        "budget_usd": flight.daily_budget_usd * days,
        "opportunities": report[:, OPPORTUNITIES],
        "bids": report[:, BIDS],
        "wins": report[:, WINS],
        "impressions": report[:, IMPRESSIONS],
        "clicks": report[:, CLICKS],
        "attributed_conversions": ours.attributed,
        "revenue_usd": ours.attributed_revenue_usd,
        "booked_conversions": ours.booked,
        "conversions_at_end": ours.attributed_at_end,
        "organic_conversions": ours.organic,
        "decisions": ours.decisions,
    }
    if twin is not None:
        theirs = sales_of(twin, flight.start, end, horizon)
        found["incremental_decisions"] = ours.decisions - theirs.decisions
        found["incremental_conversions"] = ours.booked - theirs.booked
        found["incremental_revenue_usd"] = ours.revenue_usd - theirs.revenue_usd
        found["twin_conversions"] = theirs.booked
    return found
