"""Journeys as vectors of named features.

Every feature lies between 0 and 1 and its scale depends on no data, so a vector once kept stays right:

    share.CHANNEL   share of the journey's touches
    first.CHANNEL   sqrt(1/2) where the first touch was of it, so that another first channel is 1 away
    last.CHANNEL    the same of the last touch
    device.CLASS    share of the touches on such a device
    clicks          share of the touches that were clicks
    touches         log(1 + touches) / log(51), at most 1
    days            log(1 + days from first to last touch) / log(91), at most 1
    gap             log(1 + mean days between touches) / log(15), at most 1; 0 with one touch
    intent          1 where a touch showed intent

Two journeys are as far apart as their vectors by Euclid. `CHANNEL` is a family of channels, so that GA4's
channel groups and the market's channels mean the same.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import Stage, TouchKind
from gaelp.journeys.batch import US_PER_DAY, Ints
from gaelp.journeys.views import Journey

Vectors = NDArray[np.float32]

FAMILIES: Final = (
    *("paid_search", "paid_social", "paid_video", "display", "paid_other", "email"),
    *("direct", "organic_search", "organic_other", "referral", "other"),
)
_FAMILY_OF: Final = {
    "Paid Search": "paid_search",
    "search": "paid_search",
    "Paid Social": "paid_social",
    "social": "paid_social",
    "Paid Video": "paid_video",
    "video": "paid_video",
    "Display": "display",
    "display": "display",
    "Paid Other": "paid_other",
    "Paid Shopping": "paid_other",
    "Cross-network": "paid_other",
    "Affiliates": "paid_other",
    "Audio": "paid_other",
    "retargeting": "paid_other",
    "Email": "email",
    "email": "email",
    "SMS": "email",
    "Mobile Push Notifications": "email",
    "Direct": "direct",
    "direct": "direct",
    "Organic Search": "organic_search",
    "organic": "organic_search",
    "Organic Social": "organic_other",
    "Organic Video": "organic_other",
    "Organic Shopping": "organic_other",
    "Referral": "referral",
}
DEVICES: Final = ("mobile", "desktop", "tablet")
FEATURES: Final = (
    *(f"{what}.{family}" for what in ("share", "first", "last") for family in FAMILIES),
    *(f"device.{device}" for device in DEVICES),
    *("clicks", "touches", "days", "gap", "intent"),
)
"""Names in column order."""
VERSION: Final = sha256(repr((FEATURES, sorted(_FAMILY_OF.items()), 51, 91, 15)).encode()).hexdigest()[:12]
"""Of the features; vectors of another version are made anew."""
_HALF: Final = np.float32(np.sqrt(0.5))


def family_codes(channels: list[str]) -> Ints:
    """(n_channels,) code of each channel's family, see `FAMILIES`; an unknown name is `other`.

    >>> family_codes(["Paid Search", "retargeting", "Carrier pigeon"]).tolist()
    [0, 4, 10]
    """
    return np.array([FAMILIES.index(_FAMILY_OF.get(name, "other")) for name in channels], np.int64)


def device_codes(devices: list[str]) -> Ints:
    """(n_devices,) code of each device's class, see `DEVICES`; -1 where it is none of them."""
    lowered = [name.lower() for name in devices]
    return np.array([DEVICES.index(name) if name in DEVICES else -1 for name in lowered], np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Touches:
    """Touches of journeys, one journey after the other, oldest first; each has at least one.

    Attributes:
        offsets: (n_journeys + 1,) where each journey's touches begin.
        family: (n,) codes of `FAMILIES`. device: (n,) codes of `DEVICES`, -1 where not known.
        at_us: (n,) microseconds since 1970. click: (n,) whether it was a click.
        intent: (n,) whether it showed intent.
    """

    offsets: Ints
    family: Ints
    device: Ints
    at_us: Ints
    click: NDArray[np.bool_]
    intent: NDArray[np.bool_]


def vectors(touches: Touches) -> Vectors:
    """(n_journeys, n_features), see `FEATURES`.

    >>> one = Touches(
    ...     offsets=np.array([0, 2]),
    ...     family=np.array([1, 0]),
    ...     device=np.array([0, 0]),
    ...     at_us=np.array([0, 86_400_000_000]),
    ...     click=np.array([True, True]),
    ...     intent=np.array([False, True]),
    ... )
    >>> found = dict(zip(FEATURES, vectors(one)[0], strict=True))
    >>> for name in FEATURES:
    ...     if found[name]:
    ...         print(name, f"{found[name]:.3f}")
    share.paid_search 0.500
    share.paid_social 0.500
    first.paid_social 0.707
    last.paid_search 0.707
    device.mobile 1.000
    clicks 1.000
    touches 0.279
    days 0.154
    gap 0.256
    intent 1.000
    """
    size = np.diff(touches.offsets)
    n, journey = size.size, np.repeat(np.arange(size.size), size)
    first, last = touches.offsets[:-1], touches.offsets[1:] - 1
    found = np.zeros((n, len(FEATURES)), np.float32)
    f = len(FAMILIES)
    each = (1 / size)[journey]
    np.add.at(found, (journey, touches.family), each)
    rows = np.arange(n)
    found[rows, f + touches.family[first]] = _HALF
    found[rows, 2 * f + touches.family[last]] = _HALF
    known = touches.device >= 0
    np.add.at(found, (journey[known], 3 * f + touches.device[known]), each[known])
    days = (touches.at_us[last] - touches.at_us[first]) / US_PER_DAY
    begin = 3 * f + len(DEVICES)
    found[:, begin] = np.bincount(journey, touches.click * each, n)
    found[:, begin + 1] = _squeezed(size, 50)
    found[:, begin + 2] = _squeezed(days, 90)
    found[:, begin + 3] = _squeezed(days / np.maximum(size - 1, 1), 14)
    found[:, begin + 4] = np.bincount(journey, touches.intent, n) > 0
    return found


def vector_of(journey: Journey) -> Vectors:
    """(n_features,) of one journey as the journey database tells it, at least one touch.

    Args:
        journey: of `JourneyStore.journey`.
    """
    told = journey.touches
    kinds = np.array([touch.kind for touch in told])
    intent = np.zeros(len(told), bool)
    intent[:1] = journey.reached >= Stage.INTENT
    made = Touches(
        offsets=np.array([0, len(told)]),
        family=family_codes([touch.channel for touch in told]),
        device=device_codes([touch.device or "" for touch in told]),
        at_us=np.array([int(touch.at.timestamp() * 1e6) for touch in told], np.int64),
        click=kinds == TouchKind.CLICK,
        intent=intent,
    )
    return np.asarray(vectors(made)[0], np.float32)


def _squeezed(amount: Any, most: float) -> Any:
    return np.minimum(np.log1p(amount) / np.log1p(most), 1.0)
