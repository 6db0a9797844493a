"""Rules that split a conversion among the touches before it, by place and time alone.

`attribution_credit` is the split itself, one number per touch; every rule here then adds up credit times
counts. A conversion that nobody touched is the baseline's; apart from that the rules give the baseline none.

Sources: position 40/20/40, first, last, linear: google/fractribution's definitions. Time decay: Google
Ads' former rule, half-life seven days. W-shaped: 30/30/30/10 on first touch, lead creation and the touch
that closes, as marketing glossaries have it; see `attribution_credit` for a journey that names no lead.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.clock import HOURS_PER_DAY
from gaelp.core.errors import BadInput
from gaelp.core.jit import jit
from gaelp.core.names import require_known
from gaelp.journeys.table import JourneyTable
from gaelp.measurement.attribution.credits import (
    Counts,
    Credits,
    Estimate,
    Floats,
    Ints,
    Settings,
    require_times,
)

# shares of the first, middle and last touch, and what the others divide equally
_POSITIONS = {
    "first": (1.0, 0.0, 0.0, 0.0),
    "last": (0.0, 0.0, 1.0, 0.0),
    "position": (0.4, 0.0, 0.4, 0.2),
    "w_shaped": (0.3, 0.3, 0.3, 0.1),
}
HEURISTICS = (*_POSITIONS, "linear", "time_decay", "composite")


def attribution_credit(
    table: JourneyTable, model: str, settings: Settings | None = None, lead_touch: ArrayLike | None = None
) -> Floats:
    """The share of each touch in its journey's conversion.

    Of two touches `position` and `w_shaped` give each a half, of three `w_shaped` gives each a third. The
    touch of `w_shaped` that made the lead is the middle one (touch n // 2 of n, counted from 0) unless
    `lead_touch` names another between first and last. Composite: time decay times `first_bonus` on the
    first touch times `last_bonus` on the last times the channel's weight, scaled to add up to 1.

    Args:
        table: of journeys.
        model: one of `HEURISTICS`.
        settings: half-life, bonuses, weights.
        lead_touch: (n_rows,) place of the touch that made the lead, counted from 0; -1: not known.

    Returns:
        (n_touches,) shares, each row's adding up to 1.

    Raises:
        BadInput: the model is unknown, a channel weight names no channel, or `lead_touch` is no place.
        Unanswerable: the model needs times and the table has none.

    >>> from gaelp.journeys.table import table_of_paths
    >>> table = table_of_paths([("A", "B", "C", "D")], [1])
    >>> attribution_credit(table, "position").round(4).tolist()
    [0.4, 0.1, 0.1, 0.4]
    """
    settings = settings or Settings()
    require_known("model", model, HEURISTICS)
    credit = np.empty(table.n_touches)
    if model == "linear":
        lengths = table.lengths
        return np.repeat(1.0 / np.maximum(lengths, 1), lengths)
    if model in _POSITIONS:
        lead = np.zeros(0, np.int64) if lead_touch is None else _leads(table, lead_touch)
        _by_position(table.offsets, *_POSITIONS[model], lead, credit)
        return credit
    hour = require_times(table, model)
    weight, first, last = np.ones(len(table.channels)), 1.0, 1.0
    if model == "composite":
        weight = _weights(table, settings.channel_weights)
        first, last = settings.first_bonus, settings.last_bonus
    per_hour = np.log(2.0) / (settings.half_life_days * HOURS_PER_DAY)
    _by_age(table.offsets, table.channel, hour, per_hour, first, last, weight, credit)
    return credit


def prepare(model: str, table: JourneyTable, settings: Settings) -> Estimate:
    """Make a heuristic ready for a table; see `attribution_credit`."""
    credit = attribution_credit(table, model, settings)
    return lambda counts: credits_from(table, credit, counts)


def credits_from(table: JourneyTable, credit: Floats, counts: Counts) -> Credits:
    """Add up touches' shares by channel.

    Args:
        table: of journeys.
        credit: (n_touches,) shares; what a row's leave of 1 is the baseline's.
        counts: of the rows.
    """
    total = np.zeros((2, len(table.channels) + 1))
    _add_up(table.offsets, table.channel, credit, counts.conversions, counts.value_usd, total)
    untouched = table.lengths == 0
    total[0, -1] = counts.conversions[untouched].sum()
    total[1, -1] = counts.value_usd[untouched].sum()
    return Credits(total[0], total[1])


@jit
def _by_position(
    offsets: Ints, first: float, middle: float, last: float, rest: float, lead: Ints, credit: Floats
) -> None:
    for row in range(offsets.size - 1):
        start = offsets[row]
        n = offsets[row + 1] - start
        if n == 0:
            continue
        end = start + n - 1
        if n == 1:
            credit[start] = 1.0
        elif n == 2:
            credit[start] = first / (first + last)
            credit[end] = last / (first + last)
        elif n == 3 and middle > 0.0:
            anchored = first + middle + last
            credit[start], credit[start + 1], credit[end] = (
                first / anchored,
                middle / anchored,
                last / anchored,
            )
        else:
            each = rest / (n - (3 if middle > 0.0 else 2))
            for touch in range(start + 1, end):
                credit[touch] = each
            if middle > 0.0:
                place = n // 2
                if lead.size and lead[row] >= 0:
                    place = lead[row]
                credit[start + place] = middle
            credit[start] = first
            credit[end] = last


@jit
def _by_age(
    offsets: Ints,
    channel: NDArray[np.int32],
    hour: Floats,
    per_hour: float,
    first: float,
    last: float,
    weight: Floats,
    credit: Floats,
) -> None:
    for row in range(offsets.size - 1):
        start, end = offsets[row], offsets[row + 1]
        if end == start:
            continue
        # ages count from the last touch: the factor up to the conversion cancels, and nothing underflows
        newest = hour[end - 1]
        total = 0.0
        for touch in range(start, end):
            worth = np.exp(per_hour * (hour[touch] - newest)) * weight[channel[touch]]
            if touch == start:
                worth *= first
            if touch == end - 1:
                worth *= last
            credit[touch] = worth
            total += worth
        for touch in range(start, end):
            credit[touch] /= total


@jit
def _add_up(
    offsets: Ints,
    channel: NDArray[np.int32],
    credit: Floats,
    conversions: Floats,
    value: Floats,
    total: Floats,
) -> None:
    for row in range(offsets.size - 1):
        if conversions[row] == 0.0:
            continue
        for touch in range(offsets[row], offsets[row + 1]):
            total[0, channel[touch]] += credit[touch] * conversions[row]
            total[1, channel[touch]] += credit[touch] * value[row]


def _weights(table: JourneyTable, named: Mapping[str, float]) -> Floats:
    for name in named:
        require_known("channel", name, table.channels)
    return np.array([named.get(name, 1.0) for name in table.channels])


def _leads(table: JourneyTable, lead_touch: ArrayLike) -> Ints:
    lead = np.asarray(lead_touch)
    lengths = table.lengths
    if lead.shape != lengths.shape or lead.dtype.kind not in "iu":
        remedy = "Give one place per row, -1 where not known."
        raise BadInput("lead_touch", lead_touch, f"must be {lengths.size} whole numbers", remedy)
    bad = np.flatnonzero((lead < -1) | ((lead >= 0) & ((lead == 0) | (lead >= lengths - 1))))
    if bad.size:
        allowed = "must lie between the first and the last touch, or be -1"
        raise BadInput(f"lead_touch[{bad[0]}]", lead[bad[0]], allowed, "Use -1 where there is none between.")
    return lead.astype(np.int64)
