"""Visitors with planted behaviour, told to a journey database."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaelp.core.words import Stage, TouchKind
from gaelp.journeys.batch import US_PER_DAY, US_PER_HOUR, Coded, EventBatch
from gaelp.journeys.store import JourneyStore

MONDAY_US = 1_767_571_200_000_000  # 2026-01-05, midnight UTC
CHANNELS = ("Direct", "Paid Social", "Paid Search", "Email")
DEVICES = ("desktop", "mobile")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of visitor: chances of channels, of mobile, of parts of the day; pace; what they buy."""

    share: float
    channels: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    sticky: float = 0.0  # chance that a touch is by the person's own channel, drawn once
    mobile: float = 0.5
    parts: tuple[float, ...] = (0.1, 0.3, 0.3, 0.3)
    weekend: float = 2 / 7
    touches: tuple[float, ...] = (0.5, 0.25, 0.15, 0.05, 0.05)  # of 1, 2, ... of them
    gap_days: float = 1.0  # mean of an exponential
    intent: float = 0.1
    rate: float = 0.05
    lag_days: float = 3.0  # mean of an exponential, after `wait_days`
    wait_days: float = 0.0


NOISE = (Kind(share=1.0),)
THREE = (
    Kind(
        share=0.5,
        channels=(0.9, 0.04, 0.03, 0.03),
        mobile=0.1,
        parts=(0.02, 0.9, 0.06, 0.02),
        weekend=0.1,
        touches=(0.9, 0.1),
        intent=0.02,
        rate=0.01,
        wait_days=8,
    ),
    Kind(
        share=0.3,
        channels=(0.05, 0.9, 0.03, 0.02),
        mobile=0.9,
        parts=(0.03, 0.02, 0.05, 0.9),
        touches=(0.1, 0.5, 0.4),
        gap_days=0.2,
        intent=0.05,
        rate=0.05,
        wait_days=8,
    ),
    Kind(
        share=0.2,
        channels=(0.05, 0.05, 0.85, 0.05),
        mobile=0.8,
        parts=(0.85, 0.05, 0.05, 0.05),
        weekend=0.8,
        touches=(0.1, 0.1, 0.1, 0.35, 0.35),
        gap_days=1.2,
        intent=0.8,
        rate=0.2,
        wait_days=8,
    ),
)


def plant(
    path: Path | str, kinds: tuple[Kind, ...], *, people: int, days: int, seed: int, value: float = 180.0
) -> dict[str, Any]:
    """Fill a database; returns kind, first touch, lag (inf where nobody buys) of each visitor, and rows."""
    draws = np.random.default_rng(seed)
    kind = draws.choice(len(kinds), people, p=[each.share for each in kinds])
    columns: list[tuple[int, int, int, int, int, bool]] = []  # person, us, kind, channel, device, intent
    end_us = MONDAY_US + days * US_PER_DAY
    first, lag = np.zeros(people, np.int64), np.full(people, np.inf)
    for i in range(people):
        own = kinds[kind[i]]
        weekday = draws.integers(5, 7) if draws.random() < own.weekend else draws.integers(0, 5)
        day = draws.integers(0, days // 7) * 7 + weekday
        hour = draws.choice(4, p=own.parts) * 6 + draws.uniform(0, 6)
        first[i] = MONDAY_US + int(day * US_PER_DAY + hour * US_PER_HOUR)
        device = int(draws.random() < own.mobile)
        at = float(first[i])
        usual = draws.choice(4, p=own.channels) if own.sticky else -1
        if draws.random() < own.rate:
            lag[i] = own.wait_days + draws.exponential(own.lag_days)
            sold_us = first[i] + int(lag[i] * US_PER_DAY)
            if sold_us < end_us:
                columns.append((i, sold_us, int(TouchKind.CONVERSION), -1, -1, False))
        for _ in range(1 + draws.choice(len(own.touches), p=own.touches)):
            if at < end_us:
                is_usual = own.sticky and draws.random() < own.sticky
                channel = usual if is_usual else draws.choice(4, p=own.channels)
                told = (i, int(at), int(TouchKind.VISIT), channel, device, bool(draws.random() < own.intent))
                columns.append(told)
            at += draws.exponential(own.gap_days) * US_PER_DAY
    person, at_us, what, channel, dev, intent = (np.array(each) for each in zip(*columns, strict=True))
    n, sells = person.size, what == TouchKind.CONVERSION
    batch = EventBatch(
        person=Coded([f"p{i}" for i in range(people)], person.astype(np.int64)),
        event_id=[f"e{i}" for i in range(n)],
        at_us=at_us.astype(np.int64),
        kind=what.astype(np.uint8),
        channel=Coded(CHANNELS, channel.astype(np.int64)),
        device=Coded(DEVICES, dev.astype(np.int64)),
        rival=Coded((), np.full(n, -1)),
        stage=np.where(intent, Stage.INTENT, 0).astype(np.uint8),
        cost_micros=np.zeros(n, np.int64),
        value_micros=np.where(sells, round(value * 1e6), 0),
        currency=Coded(("USD",), np.zeros(n, np.int64)),
        booked_us=at_us.astype(np.int64),
    )
    with JourneyStore(path) as store:
        store.append(batch, end_us)
    return {"kind": kind, "first_us": first, "lag_days": lag, "end_us": end_us, "rows": columns}
