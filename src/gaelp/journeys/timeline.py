"""A person's touchpoints in words, and a population's journeys in figures, from plain arrays.

The market keeps each person's newest touchpoints in a ring of packed codes; here they are unpacked. The
records handed in are NumPy structured arrays; only the fields named here are read.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.clock import HOURS_PER_DAY, Clock
from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, NO_LINE, Channel, Query, Stage, TouchKind

Records = NDArray[np.void]
Typed = Callable[[Query, int], str | None]

_HOUR_BITS, _BRAND_BITS, _KIND_BITS, _CHANNEL_BITS = 19, 6, 3, 4
_IN_WORDS = {
    TouchKind.IMPRESSION: "saw an ad of {brand} {where}",
    TouchKind.CLICK: "clicked an ad of {brand} {where}",
    TouchKind.VISIT: "visited the site of {brand} {where}",
    TouchKind.EMAIL_OPEN: "opened an e-mail of {brand}",
    TouchKind.CONVERSION: "decided to buy from {brand}",
}
_SEARCHED = {
    Query.GENERIC: "searched for help, naming no product",
    Query.CATEGORY: "searched for a product of this kind",
    Query.RIVAL_BRAND: "searched for a rival's brand",
    Query.OWN_BRAND: "searched for our brand",
}
_WHERE = {
    Channel.SEARCH: "on a search page",
    Channel.SOCIAL: "in a social feed",
    Channel.VIDEO: "before a video",
    Channel.DISPLAY: "on a web page",
    Channel.RETARGETING: "that followed them (retargeting)",
    Channel.EMAIL: "in an e-mail",
    Channel.DIRECT: "by going there directly",
    Channel.ORGANIC: "from an organic search result",
}


@dataclass(frozen=True)
class Touchpoint:
    """One thing that happened, at an hour since the world began; `brand` is a search's query class."""

    hour: int
    brand: int
    kind: TouchKind
    channel: Channel


def unpack(codes: NDArray[np.uint32]) -> dict[str, NDArray[np.int64]]:
    """Split packed touchpoints into their parts.

    Args:
        codes: any shape; from the highest bit down hour (19 bits), brand (6), kind (3), channel (4).

    Returns:
        hour, brand, kind and channel, each of the shape of `codes`.

    >>> parts = unpack(np.array([(30 << 13) | (2 << 7) | (1 << 4) | 3], np.uint32))
    >>> {name: int(part[0]) for name, part in parts.items()}
    {'channel': 3, 'kind': 1, 'brand': 2, 'hour': 30}
    """
    left = codes.astype(np.int64)
    found = {}
    for name, bits in (
        ("channel", _CHANNEL_BITS),
        ("kind", _KIND_BITS),
        ("brand", _BRAND_BITS),
        ("hour", _HOUR_BITS),
    ):
        found[name] = left & ((1 << bits) - 1)
        left = left >> bits
    return found


def touchpoints(ring: NDArray[np.uint32], ring_at: int) -> list[Touchpoint]:
    """Touchpoints of one ring, oldest first; empty places (code 0) are left out.

    Args:
        ring: (size,) packed codes.
        ring_at: where the next one would go, counted modulo `size`.
    """
    order = (int(ring_at) + np.arange(ring.size)) % ring.size
    codes = ring[order]
    parts = unpack(codes[codes != 0])
    return [
        Touchpoint(int(hour), int(brand), TouchKind(int(kind)), Channel(int(channel)))
        for hour, brand, kind, channel in zip(
            parts["hour"], parts["brand"], parts["kind"], parts["channel"], strict=True
        )
    ]


def moment(clock: Clock, hour: int) -> str:
    """An hour as people say it, day 1 being the world's first.

    >>> from datetime import UTC, datetime
    >>> moment(Clock(datetime(2025, 3, 3, tzinfo=UTC)), 44)
    'day 2, 20:00 (Tue 4 Mar 2025)'
    """
    at = clock.datetime(hour)
    return f"day {hour // HOURS_PER_DAY + 1}, {at:%H:%M} ({at:%a} {at.day} {at:%b %Y})"


def in_words(touchpoint: Touchpoint, brands: Sequence[str], typed: Typed | None = None) -> str:
    """What happened, as a sentence without a subject.

    Args:
        touchpoint: what happened; a search has its query class where others have a brand.
        brands: names by code.
        typed: the words of a search, by query class and hour.

    >>> in_words(Touchpoint(5, 0, TouchKind.CLICK, Channel.SOCIAL), ["Kinshield"])
    'clicked an ad of Kinshield in a social feed'
    """
    if touchpoint.kind is TouchKind.SEARCH:
        query = Query(touchpoint.brand)
        words = typed(query, touchpoint.hour) if typed else None
        return f'searched "{words}"' if words else _SEARCHED[query]
    text = _IN_WORDS[touchpoint.kind].format(
        brand=_brand(touchpoint.brand, brands), where=_WHERE[touchpoint.channel]
    )
    return text.rstrip()


def told(
    *,
    touches: NDArray[np.uint32],
    ring_at: int,
    start: dt.date,
    brands: Sequence[str],
    typed: Typed | None = None,
) -> list[str]:
    """Tell a ring of touchpoints in words, one line each, oldest first.

    Args:
        touches: (size,) packed codes.
        ring_at: where the next one would go, counted modulo `size`.
        start: the world's first day.
        brands: names by code.
        typed: the words of a search, by query class and hour.
    """
    clock = clock_from(start)
    found = touchpoints(touches, ring_at)
    return [f"{moment(clock, each.hour)}: {in_words(each, brands, typed)}" for each in found]


def clock_from(start: dt.date) -> Clock:
    """The clock of a world that began at midnight of `start`."""
    return Clock(dt.datetime(start.year, start.month, start.day, tzinfo=dt.UTC))


@dataclass(frozen=True)
class Timeline:
    """One person, ready to be printed.

    Attributes:
        person: "world:person" as `gaelp journeys show` takes it.
        events: (moment, what happened), oldest first.
        facts: name -> value, what a company that knew the person would see.
        truth: name -> value, what nobody but the simulation knows: stage, segment, need, urgency.
    """

    person: str
    events: list[tuple[str, str]]
    facts: dict[str, Any]
    truth: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `gaelp journeys show`."""
        return {
            "person": self.person,
            "events": [{"when": when, "what": what} for when, what in self.events],
            **self.facts,
            "truth": self.truth,
        }


def timeline(
    person: Any,
    decisions: Records,
    *,
    name: str,
    hour: int,
    clock: Clock,
    brands: Sequence[str],
    segments: Sequence[str],
    typed: Typed | None = None,
) -> Timeline:
    """Tell one person's recent life.

    Args:
        person: one record with the market's person fields.
        decisions: (n,) decisions of this person in this life, oldest first.
        name: how the person is called.
        hour: now, in hours since the world began.
        clock: of the world.
        brands: names by code.
        segments: names by code.
        typed: what this person typed in a search, by query class and hour; None names the class only.
    """
    found = {each: None for each in touchpoints(person["touches"], int(person["ring_at"]))}
    # A ring holds few; what stood in it when something was bought is older and would be lost.
    for decision in decisions:
        found |= dict.fromkeys(touchpoints(decision["touches"], int(decision["ring_at"])))
    events = [(each.hour, moment(clock, each.hour), in_words(each, brands, typed)) for each in found]
    book_hour, owner = int(person["book_hour"]), int(person["owner"])
    if owner >= 0:
        booked = "was booked" if book_hour <= hour else "will be booked"
        text = f"the purchase from {_brand(owner, brands)} {booked}"
        events.append((book_hour, moment(clock, book_hour), text))
    for decision in decisions:
        if (line := int(decision["line"])) != NO_LINE:
            text = f"(credited by the last click within 30 days to {LINES[line].name})"
            events.append((int(decision["hour"]), moment(clock, int(decision["hour"])), text))
    events.sort(key=lambda event: event[0])
    started = int(person["journey_start"])
    return Timeline(
        person=name,
        events=[(when, what) for _, when, what in events],
        facts={
            "now": moment(clock, hour),
            "journey_open": started >= 0,
            "journey_days": round((hour - started) / HOURS_PER_DAY, 1) if started >= 0 else None,
            "journey_touchpoints": int(person["n_touches"]),
            "customer_of": _brand(owner, brands) if owner >= 0 else None,
            "decided": moment(clock, int(person["decision_hour"])) if owner >= 0 else None,
            "booked": moment(clock, book_hour) if owner >= 0 else None,
            "region": int(person["region"]),
        },
        truth={
            "stage": Stage(int(person["stage"])).name,
            "segment": segments[int(person["segment"])],
            "home_segment": segments[int(person["home_segment"])],
            "need": round(float(person["need"]), 3),
            "urgency": round(float(person["urgency"]), 3),
        },
    )


def stage_funnel(people: Records) -> dict[str, int]:
    """People by stage, in the order of a journey.

    Args:
        people: any shape, with the field `stage`.
    """
    counts = np.bincount(people["stage"].ravel(), minlength=len(Stage))
    return {stage.name: int(counts[stage]) for stage in Stage}


def statistics(people: Records, decisions: Records, hour: int) -> dict[str, Any]:
    """What a population's journeys look like.

    Args:
        people: (n_worlds, n_people) person records.
        decisions: (n,) decisions for the advertiser's product, of all worlds.
        hour: now, in hours since the world began.

    Returns:
        stages, open journeys with their mean touchpoints and days, and those of the buyers.
    """
    started = people["journey_start"]
    is_open = started >= 0
    first = np.bincount(
        decisions["first_channel"][decisions["first_channel"] < len(Channel)], minlength=len(Channel)
    )
    last = np.bincount(
        decisions["last_channel"][decisions["last_channel"] < len(Channel)], minlength=len(Channel)
    )
    return {
        "people": int(people.size),
        "day": hour // HOURS_PER_DAY,
        "stages": stage_funnel(people),
        "open_journeys": int(is_open.sum()),
        "open_mean_touchpoints": _mean(people["n_touches"][is_open]),
        "open_mean_days": _mean((hour - started[is_open]) / HOURS_PER_DAY),
        "decisions": int(decisions.size),
        "mean_touchpoints": _mean(decisions["n_touches"]),
        "mean_journey_days": _mean(decisions["journey_hours"] / HOURS_PER_DAY),
        "mean_lag_days": _mean((decisions["book_hour"] - decisions["hour"]) / HOURS_PER_DAY),
        "first_channel": {channel.name.lower(): int(first[channel]) for channel in Channel},
        "last_channel": {channel.name.lower(): int(last[channel]) for channel in Channel},
    }


def parse_person(text: str, n_worlds: int, n_people: int) -> tuple[int, int]:
    """Read "person" or "world:person".

    Raises:
        BadInput: it is neither, or there is no such person.

    >>> parse_person("17", 2, 100), parse_person("1:17", 2, 100)
    ((0, 17), (1, 17))
    """
    allowed = f"must be PERSON or WORLD:PERSON, worlds 0 to {n_worlds - 1}, people 0 to {n_people - 1}"
    parts = text.split(":")
    if len(parts) <= 2 and all(part.isascii() and part.isdigit() for part in parts):
        world, person = ([0] + [int(part) for part in parts])[-2:]
        if world < n_worlds and person < n_people:
            return world, person
    raise BadInput("ID", text, allowed, "Numbers count from 0.")


def _brand(code: int, brands: Sequence[str]) -> str:
    return brands[code] if code < len(brands) else f"brand {code}"


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None
