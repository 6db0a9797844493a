"""GA4's tables on the disk: a file for each day of the property, as BigQuery exports it."""

import gzip
import json
from collections import defaultdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from gaelp.worlds.ga4_rows import DAILY_ONLY, Row

FORMATS: Final = ("ndjson", "parquet")
_VALUE: Final = {"string_value": "s", "int_value": "i", "double_value": "f", "float_value": "f"}
_CAMPAIGN: Final = {"campaign_id": "s", "campaign_name": "s", "source": "s", "medium": "s"}
LAYOUT: Final[dict[str, Any]] = {
    "event_date": "s",
    "event_timestamp": "i",
    "event_name": "s",
    "event_params": [{"key": "s", "value": _VALUE}],
    "event_value_in_usd": "f",
    "event_bundle_sequence_id": "i",
    "event_server_timestamp_offset": "i",
    "user_id": "s",
    "user_pseudo_id": "s",
    "privacy_info": {"analytics_storage": "s", "ads_storage": "s", "uses_transient_token": "s"},
    "user_properties": [{"key": "s", "value": {**_VALUE, "set_timestamp_micros": "i"}}],
    "user_first_touch_timestamp": "i",
    "user_ltv": {"revenue": "f", "currency": "s"},
    "device": {"category": "s", "web_info": {"browser": "s", "browser_version": "s", "hostname": "s"}},
    "geo": {name: "s" for name in ("city", "country", "continent", "region", "sub_continent", "metro")},
    "traffic_source": {"name": "s", "medium": "s", "source": "s"},
    "stream_id": "s",
    "platform": "s",
    "ecommerce": {
        "total_item_quantity": "i",
        "purchase_revenue_in_usd": "f",
        "purchase_revenue": "f",
        "unique_items": "i",
        "transaction_id": "s",
    },
    "items": [
        {
            "item_id": "s",
            "item_name": "s",
            "price_in_usd": "f",
            "price": "f",
            "quantity": "i",
            "item_revenue_in_usd": "f",
            "item_revenue": "f",
        }
    ],
    "collected_traffic_source": {
        **{f"manual_{name}": "s" for name in ("campaign_id", "campaign_name", "source", "medium")},
        "gclid": "s",
    },
    "is_active_user": "b",
    "batch_event_index": "i",
    "batch_page_id": "i",
    "batch_ordering_id": "i",
    "session_traffic_source_last_click": {
        "manual_campaign": _CAMPAIGN,
        "google_ads_campaign": {"customer_id": "s", "campaign_id": "s", "campaign_name": "s"},
        "cross_channel_campaign": {
            **_CAMPAIGN,
            "default_channel_group": "s",
            "primary_channel_group": "s",
        },
    },
}
"""Columns that are filled, in Google's order: s text, i whole number, f number, b yes or no; {} is a record,
[{}] a repeated one."""


class Tables:
    """Takes rows in any order and writes a table when its day can get no more.

    Args:
        folder: made; gets the files. file_format: one of `FORMATS`. zone: of the property's days.
        end_us: when the export is made, microseconds since 1970: what comes later is not in it, and the
            day before it is intraday.
        gzip: whether text is compressed.

    Attributes:
        n_rows, n_tables: written so far.
    """

    def __init__(
        self, folder: Path, file_format: str, zone: ZoneInfo, end_us: int, *, gzip: bool = True
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.format, self.zone, self.end_us, self.gzip = folder, file_format, zone, end_us, gzip
        self.n_rows = self.n_tables = 0
        self._days: dict[str, list[Row]] = defaultdict(list)
        self._last = _day(end_us - 1, zone)

    def add(self, rows: list[Row]) -> None:
        """Take rows of days that are not written yet."""
        for row in rows:
            if _arrived(row) < self.end_us:
                self._days[row["event_date"]].append(row)

    def flush(self, now_us: int) -> None:
        """Write the tables of days that were over at a moment, of which all events are told."""
        today = _day(now_us, self.zone)
        for day in sorted(day for day in self._days if day < min(today, self._last)):
            self._write(f"events_{day}", self._days.pop(day))

    def close(self) -> None:
        """Write the rest: whole days, and the last one as an intraday table."""
        self.flush(self.end_us)
        rows = [
            {name: cell for name, cell in row.items() if name not in DAILY_ONLY}
            for row in self._days.pop(self._last, [])
        ]
        self._write(f"events_intraday_{self._last}", rows)
        assert not self._days, "rows of days after the end"

    def _write(self, name: str, rows: list[Row]) -> None:
        rows.sort(key=lambda row: (_arrived(row), row["event_bundle_sequence_id"]))
        self.n_rows += len(rows)
        self.n_tables += 1
        if self.format == "parquet":
            self._write_parquet(self.folder / f"{name}.parquet", rows)
            return
        text = "".join(as_bigquery_json(row) + "\n" for row in rows).encode()
        path = self.folder / (f"{name}.json.gz" if self.gzip else f"{name}.json")
        # without the moment of writing in it, the same rows are the same file
        path.write_bytes(gzip.compress(text, mtime=0) if self.gzip else text)

    @staticmethod
    def _write_parquet(path: Path, rows: list[Row]) -> None:
        pa: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
        scalar = {"s": pa.string(), "i": pa.int64(), "f": pa.float64(), "b": pa.bool_()}

        def kind(told: Any) -> Any:
            if isinstance(told, list):
                return pa.list_(kind(told[0]))
            if isinstance(told, dict):
                return pa.struct([(name, kind(each)) for name, each in told.items()])
            return scalar[told]

        schema = pa.schema([(name, kind(told)) for name, told in LAYOUT.items()])
        parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def as_bigquery_json(row: Row) -> str:
    r"""A row as BigQuery exports it to JSON: whole numbers as text, <, > and & escaped, no nulls.

    >>> print(as_bigquery_json({"event_timestamp": 1, "user_id": None, "page": "/?a=1&b=2", "price": 2.0}))
    {"event_timestamp":"1","page":"/?a=1\u0026b=2","price":2.0}

    Source: Google, "Export table data to Cloud Storage", on JSON (cloud.google.com/bigquery/docs).
    """
    text = json.dumps(_told(row), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _told(cell: Any) -> Any:
    if isinstance(cell, dict):
        return {name: _told(each) for name, each in cell.items() if each is not None}
    if isinstance(cell, list):
        return [_told(each) for each in cell]
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell


def _arrived(row: Row) -> int:
    """When Google got it, microseconds since 1970."""
    return int(row["event_timestamp"] + row.get("event_server_timestamp_offset", 0))


def _day(at_us: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC).astimezone(zone):%Y%m%d}"
