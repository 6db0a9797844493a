"""From a judgement to the sections of a report: everything shown is counted from the flights themselves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, LINES, NO_LINE, PAID_CHANNELS, Channel, Stage
from gaelp.evaluation.describe import (
    checks,
    market_prices,
    measured_display_quantiles,
    price_quantiles,
)
from gaelp.evaluation.intervals import mean_interval, ratio_of_sums_interval
from gaelp.evaluation.judge import Judgement
from gaelp.journeys.timeline import told
from gaelp.market.file import MarketFile
from gaelp.market.parameters import AUCTIONS
from gaelp.market.state import AUCTION_OF_LINE, SPEND
from gaelp.market.tables import hour_of_week
from gaelp.worlds.flight import Tick
from gaelp.worlds.simulate import campaign_decisions
from gaelp.worlds.twins import attributed_by_line, replay

Floats = NDArray[np.float64]
_UNITS = ("USD per click", "USD per 1000", "USD per 1000", "USD per 1000")
_MEASURED_LAG = (
    (1 / 24, 0.35, "Chapelle 2014: 35 % within an hour"),
    (1.0, 0.50, "Chapelle 2014: 50 % within a day"),
)


def spend_sections(judged: Judgement) -> dict[str, Any]:
    """Spend against plan by hour of day, and by day, of every policy."""
    by_hour: dict[str, Any] = {}
    by_day: dict[str, Any] = {}
    for name, flights in judged.flights.items():
        spend = np.concatenate([f.spend_micros.sum(axis=2) for f in flights]) / MICROS_PER_USD
        budget = np.concatenate([f.daily_budget_usd for f in flights])
        traffic = np.concatenate(judged.traffic)
        days = spend.shape[1] // 24
        shaped = spend.reshape(len(spend), days, 24)
        share = traffic.reshape(len(traffic), 7, 24).mean(axis=1)
        share = share / share.sum(axis=1, keepdims=True)
        by_hour[name] = {
            "hour": list(range(24)),
            "spend_usd": shaped.mean(axis=(0, 1)),
            "plan_usd": (share * budget[:, None]).mean(axis=0),
        }
        by_day[name] = {
            "day": list(range(1, days + 1)),
            "spend_usd": shaped.sum(axis=2).mean(axis=0),
            "budget_usd": float(budget.mean()),
        }
    return {"spend_plan": by_hour, "spend_by_day": by_day}


def channel_rows(
    judged: Judgement, policy: str, runoff_days: int, n_worlds: int, tick: Tick
) -> list[dict[str, Any]]:
    """Per channel: spend, attributed conversions, and incremental decisions by `direct` twins.

    Incremental ones are expected decisions, the softmax at each moment of choice before its draw: the same
    mean as counting sales, with a fraction of the noise.

    Args:
        policy: whose flights. n_worlds: worlds to replay, from the first batch. tick: world-hours done.
    """
    flight, snapshot = judged.flights[policy][0].first(n_worlds), judged.snapshots[0].first(n_worlds)
    end = flight.start + flight.hours
    horizon = end + runoff_days * 24
    attributed = attributed_by_line(flight.market, flight.start, end, horizon)
    ours = flight.market.books.expected[:, 0, 0]
    rows = []
    for channel in PAID_CHANNELS:
        off = CHANNEL_OF_LINE == int(channel)
        spend = flight.report[:, off, SPEND].sum(axis=1) / MICROS_PER_USD
        claimed = attributed[:, off].sum(axis=1)
        twin = replay(snapshot, flight, lines_off=off, runoff_days=runoff_days, tick=tick)
        gained = ours - twin.books.expected[:, 0, 0]
        rows.append(_channel_row(channel.name.lower(), spend, claimed, gained))
        if channel is Channel.SEARCH:
            own = np.array([line.name.startswith("search_own_brand") for line in LINES])
            spend = flight.report[:, own, SPEND].sum(axis=1) / MICROS_PER_USD
            twin = replay(snapshot, flight, lines_off=own, runoff_days=runoff_days, tick=tick)
            gained = ours - twin.books.expected[:, 0, 0]
            rows.append(_channel_row("own-brand search", spend, attributed[:, own].sum(axis=1), gained))
    return rows


def _channel_row(name: str, spend: Floats, claimed: Floats, gained: Floats) -> dict[str, Any]:
    return {
        "channel": name,
        "spend_usd": float(spend.sum()),
        "attributed_conversions": float(claimed.sum()),
        "incremental_conversions": {
            key: None if value is None else value * len(gained)
            for key, value in mean_interval(gained).as_dict().items()
        },
        "attributed_cac_usd": float(spend.sum() / claimed.sum()) if claimed.sum() > 0 else None,
        "incremental_cac_usd": ratio_of_sums_interval(spend, gained).as_dict(),
    }


def journey_sections(judged: Judgement, policy: str) -> dict[str, Any]:
    """Funnel, Sankey of buyers' journeys, lag, one person's timeline."""
    flights = judged.flights[policy]
    stages = sum(f.stages.sum(axis=0) for f in flights)
    made = np.concatenate([campaign_decisions(f) for f in flights])
    found: dict[str, Any] = {
        "funnel": {
            "stages": [stage.name.lower() for stage in Stage],
            "people": [int(v) for v in np.asarray(stages)],
        }
    }
    if made.size == 0:
        return found
    found["sankey"] = _sankey(made)
    file = flights[0].market.worlds[0].file
    lag_days = np.sort((made["book_hour"] - made["hour"]) / 24.0)
    days = np.concatenate([[1 / 24, 0.5], np.arange(1, 61)])
    share = file.parameters["lag_share"].value
    mean = file.parameters["lag_mean_hours"].value + file.parameters["lag_start_hours"].value
    found["lag"] = {
        "days": days,
        "share_booked": np.searchsorted(lag_days, days, side="right") / lag_days.size,
        "measured": [{"days": d, "share": s, "source": text} for d, s, text in _MEASURED_LAG],
        "arms": [
            {"name": name, "weight": float(w), "mean_days": float(m / 24.0)}
            for name, w, m in zip(("fast", "days", "slow"), share / share.sum(), mean, strict=True)
        ],
    }
    found["person"] = _person(made, file)
    return found


def refusals(judged: Judgement) -> list[str]:
    """A sentence for each policy of whose controls the gate refused any."""
    counts = {
        name: sum(int(flight.denied.sum()) for flight in flights) for name, flights in judged.flights.items()
    }
    return [
        f"The gate refused {count:,} of the controls that {name} proposed."
        for name, count in counts.items()
        if count
    ]


def _sankey(made: NDArray[np.void]) -> dict[str, Any]:
    names = [channel.name.lower() for channel in Channel]
    n = len(names)
    nodes = (
        [f"first: {name}" for name in names]
        + [f"last: {name}" for name in names]
        + ["claimed by an ad", "no click in 30 days"]
    )
    flows: dict[tuple[int, int], int] = {}
    for first, last, line in zip(made["first_channel"], made["last_channel"], made["line"], strict=True):
        if first >= n or last >= n:
            continue
        outcome = 2 * n + (0 if line < len(LINES) else 1)
        for key in ((int(first), n + int(last)), (n + int(last), outcome)):
            flows[key] = flows.get(key, 0) + 1
    used = sorted({node for key in flows for node in key})
    code = {node: i for i, node in enumerate(used)}
    return {
        "nodes": [nodes[node] for node in used],
        "links": [{"source": code[a], "target": code[b], "value": v} for (a, b), v in sorted(flows.items())],
    }


def _person(made: NDArray[np.void], file: MarketFile) -> dict[str, Any]:
    """The buyer with the most different touchpoints, told in words."""
    best, best_score = None, -1
    for d in made[made["line"] != NO_LINE]:
        kinds = len({int(t) & 0x7F for t in d["touches"] if t})
        score = 10 * kinds + int((d["touches"] > 0).sum())
        if score > best_score:
            best, best_score = d, score
    if best is None:
        return {"no_data": "nobody bought after a click"}
    lines = told(
        touches=best["touches"],
        ring_at=int(best["ring_at"]),
        start=file.start,
        brands=[file.advertiser, *(rival.name for rival in file.rivals)],
    )
    booked = int(best["book_hour"] - best["hour"])
    segment = file.segments[int(best["segment"])].replace("_", " ")
    value = best["value_micros"] / MICROS_PER_USD
    sale = f"The sale was booked {booked} hours after the decision; it is worth ${value:.0f}."
    return {"title": f"A {segment} who decided for {file.advertiser}", "lines": [*lines, sale]}


def market_sections(judged: Judgement, policy: str, runoff_days: int) -> dict[str, Any]:
    """Hours, prices, rivals and targets of a policy's flights."""
    flights = judged.flights[policy]
    first = flights[0]
    file = first.market.worlds[0].file
    start = int(first.market.rules["start_hour_of_week"][0]) + first.start
    hour = (start + np.arange(first.hours)) % 168
    seen = np.bincount(
        hour, weights=sum(f.opportunities.sum(axis=0) for f in flights), minlength=168
    ) / np.maximum(np.bincount(hour, minlength=168), 1)
    prices = np.concatenate([market_prices(f, t) for f, t in zip(flights, judged.twins, strict=True)])
    levels = np.linspace(0.05, 0.95, 19)
    rows = []
    for a, kind in enumerate(AUCTIONS):
        quantile = price_quantiles(prices, np.array(AUCTION_OF_LINE) == a, levels)
        if quantile is None:
            continue
        measured = None
        if kind == "display":
            measured = measured_display_quantiles(levels) * quantile[len(levels) // 2]
        rows.append(
            {
                "channel": kind,
                "unit": _UNITS[a],
                "probability": levels,
                "simulated": quantile,
                "measured": measured,
                "source": "iPinYou, five campaigns, shape scaled to the simulated median"
                if kind == "display"
                else "no public distribution; medians are checked under Targets",
            }
        )
    rival_bid = np.concatenate([f.rival_bid for f in flights]).mean(axis=0)
    return {
        "hour_of_week": {
            "simulated": seen,
            "measured": hour_of_week(),
            "source": "Avito traffic shares, largest region (MIT)",
        },
        "prices": rows,
        "rivals": {
            "days": list(range(1, len(rival_bid) + 1)),
            "bids": {rival.name: rival_bid[:, i] for i, rival in enumerate(file.rivals)},
        },
        "targets": [
            {
                "name": check.name.replace("_", " "),
                "simulated": check.value,
                "low": check.low,
                "high": check.high,
                "unit": check.unit,
                "source": check.source,
                "ok": check.ok,
            }
            for check in checks(first, judged.twins[0], runoff_days)
        ],
    }
