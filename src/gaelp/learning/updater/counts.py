"""What episodes add up to: whole numbers by key, so that sums are exact in any order.

("visits" | "sold", segment, channel, device, audience)   ripe visits; those followed by a purchase in time
("visitors" | "buyers", segment)                          ripe visitors; those who bought in time
("value_micros", segment)                                 of what these bought
("lag" | "open", hours)                                   visitors, from first visit to first purchase;
                                                          or to the end, without one
("impressions" | "clicks" | "cost_micros", line)          as ad platforms reported them
("impressions_alone" | "clicks_alone", line)              of these, of rows that do not tell the other
("won" | "eligible", channel, bin)                        auctions by own bid, see `reading.bid_of`
("revenue_micros",)                                       of all purchases
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gaelp.core.words import Audience
from gaelp.journeys.batch import US_PER_HOUR, Ints
from gaelp.learning.updater.config import UpdaterConfig
from gaelp.learning.updater.reading import Told
from gaelp.learning.updater.segments import Segments

Counts = Counter[tuple[str, ...]]
AUDIENCES = tuple(audience.name.lower() for audience in Audience)
"""Told by the visits that somebody had made before: none, one, more."""


def count(told: Told, segments: Segments, config: UpdaterConfig) -> Counts:
    """Counts of what an episode tells.

    Args:
        told: by the episode. segments: that visitors are put into. config: with the longest lag.
    """
    counts: Counts = Counter(told.reports)
    counts["revenue_micros",] += told.revenue_micros
    own = segments.assign(told.traits)
    segment = own[told.pattern] if told.pattern.size else np.zeros(0, np.int64)
    names = (list(segments.ids), told.channels, told.devices, list(AUDIENCES))
    audience = np.minimum(told.before, len(AUDIENCES) - 1)
    columns = (segment[told.visitor], told.channel, told.device, audience)
    for what, rows in (("visits", told.ripe), ("sold", told.ripe & told.bought)):
        _tally(counts, what, [column[rows] for column in columns], names)
    v = told.visitors
    for what, rows in (("visitors", v.ripe), ("buyers", v.ripe & v.converted)):
        _tally(counts, what, [segment[rows]], names[:1])
    for code, name in enumerate(segments.ids):
        mine = (segment == code) & v.ripe & v.converted
        counts["value_micros", name] += int(v.value_micros[mine].sum())
    longest = 24 * config.longest_lag_days
    hours = v.watched_us // US_PER_HOUR
    seen = v.bought & (hours <= longest)
    for what, rows in (("lag", seen), ("open", ~seen)):
        lags, n = np.unique(np.minimum(hours[rows], longest), return_counts=True)
        for lag, m in zip(lags.tolist(), n.tolist(), strict=True):
            counts[what, str(lag)] += m
    return counts


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of counts."""
    found: Counts = Counter()
    for part in parts:
        found.update(part)
    return found


def table(counts: Counts, what: str) -> dict[tuple[str, ...], int]:
    """Numbers of one kind by the rest of their keys, in order."""
    return {key[1:]: n for key, n in sorted(counts.items()) if key[0] == what}


def as_json(counts: Counts) -> list[list[Any]]:
    """Rows of key and number, in order; `from_json` reads them."""
    return [[*key, n] for key, n in sorted(counts.items()) if n]


def from_json(rows: Iterable[list[Any]]) -> Counts:
    """What `as_json` wrote."""
    return Counter({tuple(key): n for *key, n in rows})


def _tally(counts: Counts, what: str, columns: Sequence[Ints], names: Sequence[list[str]]) -> None:
    """Count rows by the names of their codes."""
    rows, n = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    for codes, m in zip(rows.tolist(), n.tolist(), strict=True):
        key = tuple(some[code] or "not told" for some, code in zip(names, codes, strict=True))
        counts[what, *key] += m
