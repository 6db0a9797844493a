"""Discovery from beginning to end: read some people at a time, add up, find segments, say what is unknown.

found = discover(Path("runs/ga4/events"), now=now)
found.write(Path("discovered_patterns.json"))
"""

import math
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.core.random import named_seed
from gaelp.data.discovery.ads import summed_ads
from gaelp.data.discovery.found import FORMAT, VERSION, Discovered
from gaelp.data.discovery.intervals import mean, rate
from gaelp.data.discovery.journeys import Journeys
from gaelp.data.discovery.lags import Lags
from gaelp.data.discovery.lives import Source, Tick, opened
from gaelp.data.discovery.segments import find_segments, value
from gaelp.data.discovery.visitors import Frame, Visitors, visitors_of
from gaelp.data.discovery.winning import Winning
from gaelp.data.discovery.zone import Zone, find_zone
from gaelp.data.ga4.purchases import Rules
from gaelp.journeys.batch import US_PER_DAY, moment_of
from gaelp.journeys.store import Moment

MOST_HORIZON_DAYS: Final = 30
_DIGITS: Final = 8  # significant ones that are written
_CENSORED: Final = (
    "visits before the first day are in no export: a first touch here may be a later one in truth"
)
_CONSENT: Final = "visitors who refuse to be recognised are in no journey; their purchases stand alone"
_CAUSE: Final = "rates describe who bought; what a channel or a creative caused takes an experiment"
_BEYOND: Final = "purchases later than the horizon after a first touch are in no rate"


def discover(
    ga4: Path | None = None,
    *,
    database: str | None = None,
    now: Moment,
    ads: Path | None = None,
    rules: Rules | None = None,
    time_zone: str | None = None,
    horizon_days: float | None = None,
    seed: int = 0,
    tick: Tick = lambda _what, _share: None,
) -> Discovered:
    """Find segments, journeys, rhythm, lags and patterns in a property's data.

    Memory is that of 50,000 people, a few dozen bytes for each visitor and a sample of journeys.

    Args:
        ga4: file or folder of an export; or else
        database: address of a journey database that it was imported into.
        now: nothing of an export may lie after it.
        ads: reports of ad platforms as CSV, see `ad_report`.
        rules: how an export is told.
        time_zone: IANA name, of the property; None: read off the days of the export.
        horizon_days: of cohort rates; None: half of what the data span, at most 30.
        seed: names every draw.
        tick: told what is going on.

    Raises:
        BadInput: the data cannot be read, or an argument is out of range.
    """
    with opened(ga4, database, now, rules or Rules(), tick) as source:
        zone = find_zone(time_zone, source.dates)
        frame = _frame(source, zone, horizon_days)
        journeys = Journeys(frame)
        winning = Winning(frame, named_seed("discovery patterns", seed))
        parts, lag = [], Lags()
        for part in source.parts(tick):
            each = visitors_of(part, frame)
            lag.add(each.watched_us, each.bought)
            parts.append(each)
            journeys.add(part)
            winning.add(part)
        visitors = Visitors.joined(parts)
        data = {
            **_head(source, zone, frame, journeys, visitors, seed),
            "segments": find_segments(visitors, frame, named_seed("discovery segments", seed), tick),
            "journeys": journeys.as_dict(),
            "channels": journeys.channels(),
            "channel_patterns": journeys.steps(),
            "devices": _devices(visitors, frame),
            "rhythm": journeys.rhythm(),
            "lags": {
                "first_touch_to_purchase": lag.as_dict(frame.horizon_days, named_seed("first lag", seed)),
                "last_touch_to_purchase": journeys.lag.as_dict(
                    frame.horizon_days, named_seed("last lag", seed)
                ),
            },
            "patterns": winning.as_dict(),
        }
        data["ads"] = _ads(ads, zone, source, data["channels"])
        data["not_told"] = _not_told(source, zone, journeys)
    return Discovered(_rounded(data))


def _frame(source: Source, zone: Zone, horizon_days: float | None) -> Frame:
    span = (source.end_us - source.begin_us) / US_PER_DAY
    if horizon_days is None:
        horizon_days = float(min(MOST_HORIZON_DAYS, max(round(span) // 2, 1)))
    if not 0 < horizon_days < span:
        allowed = f"must be above 0 and below the days that the data span, {span:.1f}"
        raise BadInput("horizon_days", horizon_days, allowed, "Choose a shorter one, or export more days.")
    return Frame.of_source(source, zone, float(horizon_days))


def _head(
    source: Source, zone: Zone, frame: Frame, journeys: Journeys, visitors: Visitors, seed: int
) -> dict[str, Any]:
    told = source.imported
    return {
        "format": FORMAT,
        "version": VERSION,
        "seed": seed,
        "confidence": 0.95,
        "horizon_days": frame.horizon_days,
        "time_zone": zone.as_dict(),
        "source": {
            "kind": "database" if told is None else "ga4",
            "first_at": moment_of(source.begin_us).isoformat(),
            "last_at": moment_of(source.end_us).isoformat(),
            "days": (source.end_us - source.begin_us) / US_PER_DAY,
            "events": None if told is None else told.events,
            "events_without_id": None if told is None else told.anonymous,
            "people": source.n_people,
            "visitors": visitors.bought.size,
            "purchases": journeys.purchases,
        },
        "visitors": {
            "n": visitors.bought.size,
            "conversion": rate(int((visitors.ripe & visitors.converted).sum()), int(visitors.ripe.sum())),
            "value": value(visitors, visitors.ripe, frame),
            "purchase_value": {
                code: mean(int(n), *rest) for code, (n, *rest) in sorted(journeys.values.items())
            },
        },
    }


def _devices(visitors: Visitors, frame: Frame) -> list[dict[str, Any]]:
    """Visitors by the device of their first touch."""
    place = next(i for i, trait in enumerate(frame.traits) if trait.name == "first_device")
    code, found = visitors.traits[:, place], []
    for i, name in [*enumerate(frame.traits[place].categories), (-1, None)]:
        mine = code == i
        if mine.any():
            ripe = mine & visitors.ripe
            conversion = rate(int((ripe & visitors.converted).sum()), int(ripe.sum()))
            found.append({"device": name, "visitors": int(mine.sum()), "conversion": conversion})
    return sorted(found, key=lambda each: (-each["visitors"], each["device"] or ""))


def _ads(path: Path | None, zone: Zone, source: Source, channels: list[dict[str, Any]]) -> dict[str, Any]:
    if path is None:
        return {"unknown": "no report of an ad platform was given: GA4 has no impressions and no costs"}
    if source.dates.counts:
        return summed_ads(path, *source.dates.ends(), channels)
    clock = ZoneInfo(zone.name)  # a database keeps moments only
    first, last = (moment_of(us).astimezone(clock).date() for us in (source.begin_us, source.end_us))
    return summed_ads(path, first, last, channels)


def _not_told(source: Source, zone: Zone, journeys: Journeys) -> list[str]:
    """What the data cannot say, in sentences."""
    found = [_CENSORED, _BEYOND, _CAUSE]
    told, alone = source.imported, journeys.untouched_purchases
    if alone:
        of_all = f"{alone} of {journeys.purchases} purchases"
        found.append(f"{of_all} have no visit that could be joined to them: rates leave them out")
    if told is None or told.anonymous:
        found.append(_CONSENT)
    if zone.unknown is not None:
        found.append(f"hours and weekdays are in {zone.name}: {zone.unknown}")
    if told is not None and told.refunds:
        found.append(f"{told.refunds} refunds were not subtracted from values")
    return found


def _rounded(value: Any) -> Any:
    """Plain JSON with the digits that are written; sums of floats differ in the last ones."""
    if isinstance(value, dict):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
