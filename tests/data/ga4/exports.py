"""Rows of a GA4 export, as Google's JSON says them, and files of them."""

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NOW = dt.datetime(2026, 3, 20, tzinfo=dt.UTC)
BEGIN_US = 1_772_323_200_000_000  # 2026-03-01, midnight UTC
HOUR_US = 3_600_000_000
Row = dict[str, Any]


def param(key: str, value: Any) -> Row:
    """One of `event_params`; whole numbers are texts, as in every export to JSON."""
    if isinstance(value, bool | int):
        return {"key": key, "value": {"int_value": str(int(value))}}
    kind = "double_value" if isinstance(value, float) else "string_value"
    return {"key": key, "value": {kind: value}}


def event(
    name: str = "page_view",
    *,
    cookie: str | None = "c1",
    session: int | None = 7,
    hour: float = 12.0,
    index: int = 1,
    params: dict[str, Any] | None = None,
    **more: Any,
) -> Row:
    """An event so many hours after March began; `more` are columns, and what is None is left out."""
    us = BEGIN_US + round(hour * HOUR_US)
    date = dt.datetime.fromtimestamp(us / 1e6, dt.UTC)
    told = {"ga_session_id": session, **(params or {})}
    row = {
        "event_date": f"{date:%Y%m%d}",
        "event_timestamp": str(us),
        "event_name": name,
        "event_params": [param(key, value) for key, value in told.items() if value is not None],
        "user_pseudo_id": cookie,
        "batch_event_index": str(index),
        "device": {"category": "mobile"},
        **more,
    }
    return {key: cell for key, cell in row.items() if cell is not None}


def came(source: str, medium: str, group: str | None = None, campaign: str | None = None) -> Row:
    """The last click of a session, as a column."""
    told = {"source": source, "medium": medium, "campaign_name": campaign, "default_channel_group": group}
    return {
        "session_traffic_source_last_click": {
            "cross_channel_campaign": {key: cell for key, cell in told.items() if cell is not None}
        }
    }


def purchase(transaction: str | None = "T1", revenue: float | None = 180.0, **more: Any) -> Row:
    """A purchase in USD, if nothing else is said."""
    more["params"] = {"currency": "USD", **more.get("params", {})}
    told = {"transaction_id": transaction, "purchase_revenue": revenue, "purchase_revenue_in_usd": revenue}
    return event("purchase", ecommerce=told, **more)


def write(path: Path, rows: Iterable[Row]) -> Path:
    """A file of newline-delimited JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
