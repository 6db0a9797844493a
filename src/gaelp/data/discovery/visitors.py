"""People as discovery counts them: their first touch, what they did after it, and whether they bought.

A *visitor* is somebody with a touch. Rates are cohort rates: of those whose first touch lies at least
`horizon_days` before the end, the share that bought within `horizon_days` of it. So neither late comers nor
the length of the export shift a rate.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from gaelp.data.discovery.lives import Source
from gaelp.data.discovery.zone import Zone
from gaelp.data.patterns.parts import Part
from gaelp.journeys.batch import US_PER_DAY, Ints
from gaelp.journeys.schema import touchpoints

Bools = NDArray[np.bool_]
Codes = NDArray[np.int8]

WATCHED_DAYS: Final = 7
"""How long after the first touch a visitor's behaviour is looked at."""
PARTS_OF_DAY: Final = ("at night", "in the morning", "in the afternoon", "in the evening")
DAYS: Final = ("on a weekday", "at a weekend")
PACES: Final = (
    "comes once",
    "comes 2 or 3 times, back within a day",
    "comes 2 or 3 times, back after a day or more",
    "comes 4 times or more, back within a day",
    "comes 4 times or more, back after a day or more",
)
INTENTS: Final = ("only looks at first", "shows intent at once")
_OTHER: Final = "other"
_MOST_CHANNELS: Final = 9


@dataclass(frozen=True)
class Trait:
    """One behaviour, as categories.

    Attributes:
        name: as the JSON says it. categories: by code; -1 is "not told".
    """

    name: str
    categories: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How visitors of a source are described.

    Attributes:
        source, zone: where they are from, and the clock of hours and days. horizon_days: of the rates.
        channel_of: (n_channels,) category of each channel of the store, the rarest as one.
        device_of: (n_devices,) category of each device, -1 where it is not known.
        traits: in column order of `Visitors.traits`.
    """

    source: Source
    zone: Zone
    horizon_days: float
    channel_of: Ints
    device_of: Ints
    traits: tuple[Trait, ...]

    @classmethod
    def of_source(cls, source: Source, zone: Zone, horizon_days: float) -> "Frame":
        """The frame of a source; its most touched channels are categories of their own.

        Args:
            source, zone, horizon_days: as the attributes.
        """
        touches = np.zeros(len(source.channels), np.int64)
        t = touchpoints.c
        with source.store.database.reading() as connection:
            for code, n in connection.execute(sa.select(t.channel, sa.func.count()).group_by(t.channel)):
                touches[code] = n
        order = sorted(range(touches.size), key=lambda i: (-int(touches[i]), source.channels[i]))
        used = [i for i in order if touches[i] > 0]
        own = used if len(used) <= _MOST_CHANNELS else used[: _MOST_CHANNELS - 1]
        names = [source.channels[i] for i in own] + ([_OTHER] if len(own) < len(used) else [])
        channel_of = np.full(len(source.channels), len(own), np.int64)
        channel_of[own] = np.arange(len(own))
        devices = sorted({name for name in source.devices if name})
        device_of = np.array([devices.index(name) if name else -1 for name in source.devices], np.int64)
        traits = (
            Trait("first_channel", tuple(names)),
            Trait("first_device", tuple(devices) or ("not told",)),
            Trait("first_part_of_day", PARTS_OF_DAY),
            Trait("first_day", DAYS),
            Trait("first_intent", INTENTS),
            Trait("pace", PACES),
            Trait("next_channel", tuple(names)),
        )
        return cls(
            source=source,
            zone=zone,
            horizon_days=horizon_days,
            channel_of=channel_of,
            device_of=device_of,
            traits=traits,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Visitors:
    """Visitors, in the order of their people.

    Attributes:
        traits: (n, n_traits) category codes, -1 where not told.
        watched_us: (n,) from the first touch to the first purchase, or to the end.
        bought: (n,) whether there was a purchase.
        ripe: (n,) first touch at least the horizon before the end.
        converted: (n,) bought within the horizon.
        value_micros: (n,) of all purchases within the horizon. currency: (n,) of the first, -1 without one.
    """

    traits: Codes
    watched_us: Ints
    bought: Bools
    ripe: Bools
    converted: Bools
    value_micros: Ints
    currency: Ints

    @classmethod
    def joined(cls, parts: list["Visitors"]) -> "Visitors":
        """Visitors of several parts, one after the other."""
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(each, name) for each in parts]) for name in names})


def visitors_of(part: Part, frame: Frame) -> Visitors:
    """The visitors of a part.

    Args:
        part: some people. frame: how they are described.
    """
    lives, end_us = part.lives, frame.source.end_us
    person, at_us, sells = lives.person, lives.at_us, lives.converts
    touch = np.flatnonzero(~sells)
    who, first = np.unique(person[touch], return_index=True)
    first = touch[first]  # row of each visitor's first touch
    begun = np.full(part.n_people, -1, np.int64)
    begun[who] = at_us[first]
    sale = np.flatnonzero(sells)
    sale = sale[(begun[person[sale]] >= 0) & (at_us[sale] >= begun[person[sale]])]
    buyer, bought_at = np.unique(person[sale], return_index=True)
    bought_at = sale[bought_at]
    first_sale = np.full(part.n_people, -1, np.int64)
    first_sale[buyer] = at_us[bought_at]
    currency = np.full(part.n_people, -1, np.int64)
    currency[buyer] = lives.currency[bought_at]
    horizon_us = int(frame.horizon_days * US_PER_DAY)
    within = sale[at_us[sale] - begun[person[sale]] <= horizon_us]
    value = np.zeros(part.n_people, np.int64)
    np.add.at(value, person[within], lives.value_micros[within])
    bought = first_sale[who] >= 0
    watched = np.where(bought, first_sale[who], end_us) - begun[who]
    return Visitors(
        traits=_traits(part, frame, who, first, begun, first_sale, touch),
        watched_us=watched,
        bought=bought,
        ripe=end_us - begun[who] >= horizon_us,
        converted=bought & (watched <= horizon_us),
        value_micros=value[who],
        currency=currency[who],
    )


def _traits(
    part: Part, frame: Frame, who: Ints, first: Ints, begun: Ints, first_sale: Ints, touch: Ints
) -> Codes:
    """(n_visitors, n_traits): of the first touch, and of the days after it and before a purchase."""
    lives, end_us = part.lives, frame.source.end_us
    window = WATCHED_DAYS * US_PER_DAY
    until = np.where(first_sale >= 0, np.minimum(begun + window, first_sale), begun + window)
    early = touch[lives.at_us[touch] <= until[lives.person[touch]]]
    n = np.bincount(lives.person[early], minlength=part.n_people)[who]
    second = np.minimum(first + 1, lives.at_us.size - 1)  # touches come before purchases at equal times
    returned = n > 1
    gap = np.where(returned, lives.at_us[second] - lives.at_us[first], 0)
    slow = (gap >= US_PER_DAY).astype(np.int64)
    pace = np.where(n == 1, 0, np.where(n <= 3, 1 + slow, 3 + slow))
    seen = (first_sale[who] >= 0) | (end_us - begun[who] >= window)
    channel = frame.channel_of[lives.channel]
    hour, weekday, _ = frame.zone.local_hours(lives.at_us[first], frame.source.begin_us, end_us)
    columns: list[Any] = [
        channel[first],
        frame.device_of[part.device[first]],
        hour // 6,
        weekday >= 5,
        part.intent[first],
        np.where(seen, pace, -1),
        np.where(returned, channel[second], -1),
    ]
    return np.stack(columns, axis=1).astype(np.int8).reshape(who.size, len(frame.traits))
