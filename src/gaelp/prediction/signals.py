"""Purchases that call for a look at the model: kept once each, and taken together by the next run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.journeys.batch import Coded, micros_since_1970
from gaelp.journeys.database import Database
from gaelp.prediction.accuracy import Moment
from gaelp.prediction.schema import purchase_signals

NEW, KNOWN, DIFFERS = "new", "known", "differs"
CLOCK_SKEW_S = 60
"""How far the clock of whoever tells of a purchase may be ahead of ours."""


@dataclass(frozen=True, kw_only=True)
class PurchaseSignal:
    """A purchase.

    Attributes:
        event_id: of its own; told again, it is ignored.
        at: when it happened.
        prediction_id: of the prediction served at the click that it is credited to; None: not known.
        clicked_at: when that click was; None: when the prediction was served.
        value_micros: in millionths of the unit of `currency`.
    """

    event_id: str
    at: Moment
    prediction_id: str | None = None
    clicked_at: Moment | None = None
    value_micros: int = 0
    currency: str = "USD"


@dataclass(frozen=True, kw_only=True)
class SignalReply:
    """What became of a signal.

    Attributes:
        queued: whether it waits for the next run because of this call.
        reason: `new`; `known` where it was told before; `differs` where it was told otherwise before.
        waiting: signals in the queue, this one included.
        differs: what was told otherwise before, fields of `PurchaseSignal`; the first telling stands.
    """

    queued: bool
    reason: str
    waiting: int
    differs: tuple[str, ...] = ()


def keep_signal(database: Database, signal: PurchaseSignal, now: Moment) -> SignalReply:
    """Put a purchase into the queue, once however often it is told.

    Args:
        database: with the tables of predictions. signal: the purchase. now: when it was told.

    Raises:
        BadInput: an id is no text, a moment names no zone, a purchase is more than `CLOCK_SKEW_S`
            ahead of `now`, or was before its click.
    """
    row = _row(signal, micros_since_1970("now", now))
    t = purchase_signals.c
    cells = ", ".join(f":{name}" for name in row)
    statement = sa.text(
        f"INSERT INTO purchase_signals ({', '.join(row)}) VALUES ({cells}) ON CONFLICT DO NOTHING"
    )
    with database.writing() as connection:
        is_new = connection.execute(statement, row).rowcount == 1
        waiting = count_waiting(connection)
        kept = connection.execute(
            sa.select(*(t[name] for name in _TOLD)).where(t.event_id == row["event_id"])
        )
        differs = tuple(_TOLD[name] for name, cell in kept.mappings().one().items() if cell != row[name])
    reason = NEW if is_new else DIFFERS if differs else KNOWN
    return SignalReply(queued=is_new, reason=reason, waiting=waiting, differs=differs)


_TOLD = {
    "at_us": "at",
    "clicked_us": "clicked_at",
    "prediction_id": "prediction_id",
    "value_micros": "value_micros",
    "currency": "currency",
}
"""Columns that a telling fills, and its fields."""


def is_known(database: Database, signal: PurchaseSignal, now: Moment) -> bool:
    """Whether a purchase was told before; errors as `keep_signal`, also of one that was."""
    row = _row(signal, micros_since_1970("now", now))
    query = sa.select(sa.literal(1)).where(purchase_signals.c.event_id == row["event_id"])
    with database.reading() as connection:
        return connection.execute(query).first() is not None


def count_waiting(connection: sa.Connection) -> int:
    """Signals that no run has seen yet."""
    query = sa.select(sa.func.count()).where(purchase_signals.c.run_id.is_(None))
    return int(connection.execute(query).scalar_one())


def _row(signal: PurchaseSignal, now_us: int) -> Mapping[str, Any]:
    Coded.check("event_id", [signal.event_id])
    Coded.check("currency", [signal.currency])
    if signal.prediction_id is not None:
        Coded.check("prediction_id", [signal.prediction_id])
    at_us = micros_since_1970("at", signal.at)
    clicked_us = None if signal.clicked_at is None else micros_since_1970("clicked_at", signal.clicked_at)
    if at_us > now_us + CLOCK_SKEW_S * 1_000_000:
        allowed = f"must be at most {CLOCK_SKEW_S} s ahead of the clock here"
        raise BadInput("at", signal.at, allowed, "Check the clocks.")
    if clicked_us is not None and clicked_us > at_us:
        raise BadInput("clicked_at", signal.clicked_at, "must not be after the purchase", "Check the click.")
    value = signal.value_micros
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise BadInput("value_micros", value, "must be a whole number, at least 0", "Give millionths.")
    return {
        "event_id": signal.event_id,
        "at_us": at_us,
        "clicked_us": clicked_us,
        "prediction_id": signal.prediction_id,
        "value_micros": value,
        "currency": signal.currency,
        "told_us": now_us,
        "run_id": None,
    }
