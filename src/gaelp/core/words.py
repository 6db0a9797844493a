"""The words of the field: one name per thing, shared by every room.

Codes are small integers in arrays; the lists give their names in code order. A *line* is what an
advertising platform can hold a bid for: a channel x audience x device class.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Stage(IntEnum):
    """How far a person has come towards buying in the category."""

    UNAWARE = 0
    AWARE = 1
    CONSIDERING = 2
    INTENT = 3
    CONVERTED = 4
    LOST = 5


class Channel(IntEnum):
    """Where a touchpoint happens; the first six are those an advertiser pays for."""

    SEARCH = 0
    SOCIAL = 1
    VIDEO = 2
    DISPLAY = 3
    RETARGETING = 4
    EMAIL = 5
    DIRECT = 6
    ORGANIC = 7


class Query(IntEnum):
    """What a search is about, seen from the external seat: OWN_BRAND names its product."""

    GENERIC = 0
    CATEGORY = 1
    RIVAL_BRAND = 2
    OWN_BRAND = 3


class Device(IntEnum):
    """The device classes that platforms let an advertiser target."""

    MOBILE = 0
    DESKTOP = 1


class Audience(IntEnum):
    """What the advertiser has observed of a person: nothing, a visit, several visits or a sign-up."""

    NEW = 0
    ENGAGED = 1
    HIGH_INTENT = 2


class TouchKind(IntEnum):
    """What happened at a touchpoint."""

    IMPRESSION = 0
    CLICK = 1
    VISIT = 2
    SEARCH = 3
    EMAIL_OPEN = 4
    CONVERSION = 5


class Line(NamedTuple):
    """One thing an advertising platform holds a bid for."""

    name: str
    channel: Channel
    device: Device | None
    query: Query | None = None
    audience: Audience | None = None

    @property
    def bid_unit(self) -> str:
        """What a bid on this line is per: "click", "1000 impressions" or "message"."""
        if self.channel is Channel.SEARCH:
            return "click"
        return "message" if self.channel is Channel.EMAIL else "1000 impressions"


def _lines() -> tuple[Line, ...]:
    found = [
        Line(f"search_{query.name.lower()}_{device.name.lower()}", Channel.SEARCH, device, query=query)
        for query in Query
        for device in Device
    ]
    placed = [
        (Channel.SOCIAL, Audience.NEW),
        (Channel.SOCIAL, Audience.ENGAGED),
        (Channel.VIDEO, Audience.NEW),
        (Channel.DISPLAY, Audience.NEW),
        (Channel.RETARGETING, Audience.ENGAGED),
        (Channel.RETARGETING, Audience.HIGH_INTENT),
    ]
    for channel, audience in placed:
        for device in Device:
            name = f"{channel.name}_{audience.name}_{device.name}".lower()
            found.append(Line(name, channel, device, audience=audience))
    found.append(Line("email", Channel.EMAIL, None))
    return tuple(found)


LINES = _lines()
N_LINES = len(LINES)
EMAIL_LINE = N_LINES - 1
SOCIAL_LINE, VIDEO_LINE, DISPLAY_LINE, RETARGETING_LINE = (
    next(i for i, line in enumerate(LINES) if line.channel is channel)
    for channel in (Channel.SOCIAL, Channel.VIDEO, Channel.DISPLAY, Channel.RETARGETING)
)
CHANNEL_OF_LINE = np.array([int(line.channel) for line in LINES])
"""(n_lines,) channel of each line."""
PAID_CHANNELS = tuple(channel for channel in Channel if channel <= Channel.EMAIL)
N_CREATIVES = 3
CREATIVES = ("reassurance", "emergency", "comparison")
LANDING_PAGES = ("home", "comparison", "offer")
N_REGIONS = 100
NO_LINE = 255
"""Stands for "no line" where a line's code is stored in one byte."""
