"""Everything that one account's reports tell of its rivals, in the words of `gaelp competition`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gaelp.measurement.competition.fit import Fit, fit_line
from gaelp.measurement.competition.hours import hourly_change
from gaelp.measurement.competition.log import LineLog
from gaelp.measurement.competition.told import (
    market_share,
    needed_quantile,
    pooled_change,
    weekly_change,
    win_chance,
)
from gaelp.measurement.lag.curve import Estimate

FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Of the usual own bid, at which the win curve is told."""
QUANTILES = (0.25, 0.5, 0.75)
_PRIOR_RULES = 0.5
"""Share of the information about the spread under which the prior says more than the reports."""

NOTES = (
    "The number of rivals, and which of them bids what, cannot be known: reports tell of the highest bid"
    " against you, and many weak rivals look like few strong ones.",
    "Bids are what you would have needed (rival's bid x quality over your quality), not what rivals wrote.",
    "What is left of a share goes to rivals or to nobody; reports do not tell which.",
)


def competition(
    logs: Sequence[LineLog], channel_of: Mapping[str, str], untold: Mapping[str, str], level: float = 0.95
) -> dict[str, Any]:
    """Win curves, bids needed, market share and trends by line, trends by channel, and what is not known.

    Args:
        logs: one a line. channel_of: the channel of each line's name.
        untold: lines without a log, and why.
        level: of all intervals.
    """
    lines: dict[str, Any] = {}
    reasons, by_channel = dict(untold), dict[str, list[list[Fit]]]()
    for log in logs:
        reason = log.reason_against()
        fits = [] if reason else fit_line(log)
        if reason:
            reasons[log.name] = reason
        else:
            by_channel.setdefault(channel_of[log.name], []).append(fits)
        if log.on.any():
            lines[log.name] = _line(log, fits, level)
    return {
        "days": int(max((log.share.size for log in logs), default=0)),
        "level": level,
        "lines": lines,
        "channels": {
            name: {"lines": len(fits), "change_per_week": _span(pooled_change(fits, level))}
            for name, fits in by_channel.items()
        },
        "untold": reasons,
        "notes": [*NOTES, *_cautions(lines)],
    }


def _line(log: LineLog, fits: Sequence[Fit], level: float) -> dict[str, Any]:
    share = market_share(log, fits, level)
    found: dict[str, Any] = {
        "unit": "USD per click" if log.by_click else "USD per 1000 impressions",
        "bid": log.usual_bid,
        "impressions": int(log.won.sum()),
        "share": {
            "own": _span(share.own),
            "others": _span(share.others),
            "while_off": share.while_off,
            "source": share.told,
            "days_told": share.days_told,
            "days_under_a_tenth": share.days_censored,
        },
        "win_curve": None,
        "bid_needed": None,
        "change_per_week": None,
        "hours": None,
    }
    if fits:
        usual = log.usual_bid
        found |= {
            "basis": _basis(log),
            "laws": [fit.law.name for fit in fits],
            "told_of_spread": fits[0].told_of_scale,
            "win_curve": [
                {"factor": k, "bid": k * usual, **_span(win_chance(fits, log, k * usual, level))}
                for k in FACTORS
            ],
            "bid_needed": {f"{q:g}": _span(needed_quantile(fits, log, q, level)) for q in QUANTILES},
            "change_per_week": _span(weekly_change(fits, level)),
            "hours": _hours(hourly_change(fits[0], log, level)),
        }
    return found


def _basis(log: LineLog) -> str:
    shares = bool((log.told & log.all_day).any())
    if log.price_is_needed:
        return "prices and shares" if shares else "prices"
    return "shares"


def _hours(found: Iterable[Estimate]) -> list[dict[str, Any]] | None:
    told = [_span(each) for each in found]
    return None if all(each["value"] is None for each in told) else told


def _cautions(lines: Mapping[str, Any]) -> list[str]:
    fitted = {name: line for name, line in lines.items() if line["win_curve"]}
    found = []
    weak = [name for name, line in fitted.items() if line["told_of_spread"] < _PRIOR_RULES]
    if weak:
        found.append(f"The spread of rivals' bids is assumed more than told on {', '.join(weak)}: vary bids.")
    priced = [name for name, line in fitted.items() if line["basis"] == "prices"]
    if priced:
        found.append(
            f"No impression share is told on {', '.join(priced)}: chances to win rest on how prices move with"
            " bids. Bids that only follow a pacer move with rivals and traffic too; bids varied at random do"
            " not."
        )
    return found


def _span(found: Estimate) -> dict[str, float | None]:
    return {
        name: None if end is None or not np.isfinite(end) else float(end)
        for name, end in zip(("value", "low", "high"), found, strict=True)
    }
