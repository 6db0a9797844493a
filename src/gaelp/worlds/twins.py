"""Twins: what would have happened anyway, and the difference our ads made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_LINES, NO_LINE
from gaelp.market.market import Market
from gaelp.market.state import BIDS, CLICKS, IMPRESSIONS, OPPORTUNITIES, SPEND, WINS, Rivals
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import Flight, Tick, run_off

Floats = NDArray[np.float64]


ALL_LINES = np.ones(N_LINES, bool)


def replay(
    snapshot: Market,
    flights: Flight | Sequence[Flight],
    *,
    lines_off: NDArray[np.bool_] | None = None,
    seat_off: int = 0,
    rivals_off: Collection[int] = (),
    rivals_learn: bool = False,
    runoff_days: int = 60,
    tick: Tick = lambda _: None,
) -> Market:
    """A flight lived again from its snapshot with somebody silent; the freed budget stays unspent.

    Every control is as it was approved. By default rivals' bids are as logged too: the *direct* effect. With
    `rivals_learn` they react to what is missing: the *equilibrium* effect of the same silence. With nothing
    off it is the flight itself, bit for bit.

    Args:
        snapshot: the worlds as they were before the flight (copied).
        flights: of every seat that flew, flown with `keep_bids`.
        lines_off: (n_lines,) which lines of seat `seat_off` are silent; `ALL_LINES` for the whole seat.
        rivals_off: indices of rivals that do not bid during the flight. As logged bids go, they come back
            for the run-off; learning ones stay away.
        runoff_days: days with all seats' ads off afterwards, rivals adapting.
        tick: told the world-hours done.

    Returns:
        The twin worlds after the run-off.

    Raises:
        BadInput: a flight was not logged, or the flight of a seat that spent is not there.
    """
    flown = [flights] if isinstance(flights, Flight) else sorted(flights, key=lambda flight: flight.seat)
    first = flown[0]
    least = min(len(flight.approved) for flight in flown)
    if least != first.hours:
        raise BadInput(
            "flight",
            f"{least} of {first.hours} hours logged",
            "must be logged",
            "Fly it with keep_bids=True.",
        )
    spent = first.market.books.report[..., SPEND] - snapshot.books.report[..., SPEND]
    others = np.delete(np.arange(snapshot.n_seats), [flight.seat for flight in flown])
    if spent[:, others].any():
        seats = others[spent[:, others].any(axis=(0, 2))].tolist()
        remedy = "Hand over all that `fly_together` returned."
        raise BadInput("flights", f"without seats {seats}", "must be of every seat that flew", remedy)
    by_seat = {flight.seat: flight for flight in flown}
    if lines_off is not None and seat_off not in by_seat:
        allowed = f"must be one that flew: {sorted(by_seat)}"
        raise BadInput("seat_off", seat_off, allowed, "Hand over its flight too.")
    silent = list(rivals_off)
    twin = snapshot.copy()
    platform = SimulatedPlatform(twin, adapt=rivals_learn)
    for flight in flown:
        # audience lists must be long enough here too
        platform.open(seat=flight.seat, hours=first.hours, delivery=flight.delivery, holdout=flight.holdout)
    for h in range(first.hours):
        if rivals_learn:
            twin.apply_due_change()  # which may give rivals a budget again
            twin.rivals.budget[:, silent] = 0.0
        else:
            if h % 24 == 0:
                twin.rivals.bid[:] = first.replay_bid[h // 24]
            twin.rivals.active[:] = first.replay_active[h]
            twin.rivals.active[:, silent] = 0
        for flight in flown:
            platform.apply(flight.approved[h], seat=flight.seat)
        if lines_off is not None:
            platform.switch_off(seat=seat_off, lines=lines_off)
            # what the silent lines had spent by this hour stays spent, so nobody else can have it
            freed = by_seat[seat_off].spend_micros[:, h - h % 24 : h + 1, lines_off].sum(axis=(1, 2))
            cap = platform.controls.daily_cap[:, seat_off]
            platform.controls.daily_cap[:, seat_off] = np.maximum(cap - freed, 0)
        platform.advance()
        if lines_off is not None:
            hour_freed = by_seat[seat_off].spend_micros[:, h, lines_off].sum(axis=1)
            platform.book_elsewhere(hour_freed, seat=seat_off)  # nor in the platform's week or month
        tick(twin.n_worlds)
    if not rivals_learn:
        twin.rivals = Rivals._make(array.copy() for array in first.rivals_after)
    run_off(twin, runoff_days, tick)
    return twin


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
    ours = sales_of(flight.market, flight.start, end, horizon, flight.seat)
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
        theirs = sales_of(twin, flight.start, end, horizon, flight.seat)
        found["incremental_decisions"] = ours.decisions - theirs.decisions
        found["incremental_conversions"] = ours.booked - theirs.booked
        found["incremental_revenue_usd"] = ours.revenue_usd - theirs.revenue_usd
        found["twin_conversions"] = theirs.booked
    return found
