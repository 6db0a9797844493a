"""What each channel of one run caused, by region: direct twins in which the channel is silent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Policy
from gaelp.core.errors import MismatchError
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, N_REGIONS, PAID_CHANNELS
from gaelp.market.market import Market, World
from gaelp.market.state import SPEND
from gaelp.worlds.flight import Flight, Tick, fly, make_market, run_off, warm_up
from gaelp.worlds.regions import booked_by_region
from gaelp.worlds.twins import ALL_LINES, replay

Floats = NDArray[np.float64]

ALL = "all"
"""All channels silent at once."""


@dataclass(frozen=True)
class ChannelEffect:
    """What one channel of a flight caused, by a direct twin in which it is silent.

    Attributes:
        sales: (n_regions,) sales booked from the flight's start to the run-off's end beyond the twin's.
        revenue_usd: (n_regions,) likewise.
        error: (n_regions,) standard error of `sales` for the flight's luck: the root of the sum over people
            of the square of what each bought more or less.
        total_error: of all regions' sum.
        decisions: beyond the twin's in all regions, as expected before each draw: less noise, not yet booked.
    """

    sales: Floats
    revenue_usd: Floats
    error: Floats
    total_error: float
    decisions: float


def channel_effects(
    world: World,
    policy: Policy,
    *,
    n_people: int,
    days: int,
    runoff_days: int,
    spent_micros: int,
    daily_budget_usd: float | None = None,
    holdout: float = 0.0,
    seed: int = 0,
    tick: Tick = lambda _: None,
) -> dict[str, ChannelEffect]:
    """Live a run's world again, then once more for each channel that spent, silent, and once without ads.

    Args:
        world: of the run. policy: fresh, as the run flew it.
        n_people, days, runoff_days, daily_budget_usd, holdout, seed: as the run had them.
        spent_micros: what the run spent, which must come out again.
        tick: told the world-hours done.

    Returns:
        {channel: its effect}, and `ALL`.

    Raises:
        MismatchError: the world does not come out as it did: the run was made by another version.
    """
    market = make_market([world], n_people)
    traffic = warm_up(market, tick=tick)
    snapshot = market.copy()
    flight = fly(
        market,
        policy,
        days=days,
        traffic=traffic,
        daily_budget_usd=daily_budget_usd,
        holdout=holdout,
        seed=seed,
        tick=tick,
    )
    spent = int(flight.report[..., SPEND].sum())
    if spent != spent_micros:
        allowed = f"must be {spent_micros / MICROS_PER_USD:,.2f}, as the run has it"
        remedy = "Simulate the run again with this version of GAELP and of the policy."
        raise MismatchError("spend_usd", round(spent / MICROS_PER_USD, 2), allowed, remedy)
    run_off(market, runoff_days, tick)
    lines = {kind.name.lower(): np.equal(CHANNEL_OF_LINE, int(kind)) for kind in PAID_CHANNELS}
    found = {}
    for name, off in (lines | {ALL: ALL_LINES}).items():
        if flight.report[0, off, SPEND].any():
            twin = replay(snapshot, flight, lines_off=off, runoff_days=runoff_days, tick=tick)
            found[name] = _effect(flight, twin)
    return found


def _effect(flight: Flight, twin: Market) -> ChannelEffect:
    market = flight.market
    first, n_days = flight.start // 24, (market.hour - flight.start) // 24
    (sales, revenue), (fewer, less) = (booked_by_region(m, first, n_days) for m in (market, twin))
    bought, region = [], []
    for sign, m in ((1, market), (-1, twin)):
        made = m.decisions(0)
        hour = made["book_hour"]
        made = made[(made["brand"] == flight.seat) & (hour >= flight.start) & (hour < market.hour)]
        who = made["person"].astype(np.int64) << 16 | made["generation"]
        bought.append(np.stack([who, np.full(who.size, sign)], axis=1))
        region.append(made["region"].astype(int))
    rows, where = np.concatenate(bought), np.concatenate(region)
    _, first_row, person = np.unique(rows[:, 0], return_index=True, return_inverse=True)
    more = np.bincount(person, weights=rows[:, 1], minlength=first_row.size)
    squares = np.bincount(where[first_row], weights=more**2, minlength=N_REGIONS)
    return ChannelEffect(
        sales=(sales - fewer)[0].sum(axis=0).astype(float),
        revenue_usd=(revenue - less)[0].sum(axis=0),
        error=np.sqrt(squares),
        total_error=float(np.sqrt(squares.sum())),
        decisions=float((market.books.expected - twin.books.expected)[0, flight.seat, 0]),
    )


def truth_report(
    effects: Mapping[str, ChannelEffect], spend_usd: Mapping[str, float], **about: Any
) -> dict[str, Any]:
    """Effects as JSON.

    Args:
        effects: by channel, and `ALL`. spend_usd: by channel, of the whole account.
        about: what else the reader should know.
    """
    rows = {}
    for name, effect in effects.items():
        spent = sum(spend_usd.values()) if name == ALL else spend_usd[name]
        rows[name] = {
            "spend_usd": spent,
            "incremental_sales": float(effect.sales.sum()),
            "incremental_sales_se": effect.total_error,
            "incremental_expected_decisions": effect.decisions,
            "incremental_revenue_usd": float(effect.revenue_usd.sum()),
            "roi": float(effect.revenue_usd.sum()) / spent,
        }
    return {**about, "channels": {name: row for name, row in rows.items() if name != ALL}, ALL: rows[ALL]}
