"""GA4's Data API, for whoever has no BigQuery export: sessions and purchases of people, as flat tables.

The API gives sums, not events. They are those of single sessions where the property has a custom dimension
that holds the client id, and such a property can be told to the store. The client is handed in: anything that
posts a body to a method of `https://analyticsdata.googleapis.com/v1beta/` and returns the answer as JSON.

Source: Google, Data API v1beta, `properties.runReport` (RunReportRequest, RunReportResponse,
ResponseMetaData) and its API schema.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gaelp.core.errors import BadInput
from gaelp.data.ga4.arrow import Table, pa
from gaelp.data.ga4.columns import FLAT, LEVELS

Client = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Posts a body to a method such as `properties/123:runReport` and returns the answer."""

PAGE: Final = 100_000
"""Rows asked for at once; Google gives up to 250,000."""
_UNKNOWN: Final = {"", "(not set)", "(other)", "(data not available)"}
_MINUTE: Final = "%Y%m%d%H%M"
_SESSION: Final = (
    *("deviceCategory", "sessionSource", "sessionMedium"),
    *("sessionCampaignName", "sessionDefaultChannelGroup"),
)
_PARTIAL: Final = {
    "samplingMetadatas": "a sample",
    "dataLossFromOtherRow": "rows pooled as (other)",
    "subjectToThresholding": "rows of few people withheld",
}


def read_api(
    client: Client,
    property_id: str,
    since: dt.date,
    until: dt.date,
    *,
    cookie: str = "customUser:client_id",
    allow_partial: bool = False,
) -> Iterator[Table]:
    """Flat tables of sessions and purchases, a day after the other; `importing.import_events` takes them.

    Times are those of the minute in which something happened. A session is named after its minute, so a
    property is told either from its export or from the API, not from both.

    Args:
        client: asks Google.
        property_id: digits, or `properties/` and digits.
        since: first day, in the property's time zone.
        until: last day.
        cookie: name of the custom dimension that holds the client id.
        allow_partial: whether an answer that lacks something is taken all the same.

    Raises:
        BadInput: the span is empty, or the answer is no report, names no time zone or currency, or lacks
            something.
    """
    number = property_id.removeprefix("properties/")
    if not number.isdigit():
        raise BadInput("property_id", property_id, "must be digits", "Take it from the property's settings.")
    if until < since:
        raise BadInput("until", until, f"must not lie before since, {since}", "Exchange the two.")
    day = since
    while day <= until:
        ask = {"dateRanges": [{"startDate": day.isoformat(), "endDate": day.isoformat()}]}
        for read, metrics, dimensions, more in (
            (_session, ["eventCount"], _SESSION, {"dimensionFilter": _only("eventName", "session_start")}),
            (_purchase, ["ecommercePurchases", "purchaseRevenue"], ("transactionId",), {}),
        ):
            names = ("dateHourMinute", cookie, *dimensions)
            body = {**ask, **more, "dimensions": [{"name": name} for name in names]}
            body["metrics"] = [{"name": name} for name in metrics]
            for told, about in _report(client, f"properties/{number}:runReport", body, allow_partial):
                rows = [row for row in (read(_known(each, cookie), about) for each in told) if row]
                yield pa.Table.from_pylist(rows, schema=FLAT)
        day += dt.timedelta(days=1)


class _About:
    """What an answer says about all of its rows."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        zone = metadata.get("timeZone")
        try:
            self.zone = ZoneInfo(str(zone))
        except (ZoneInfoNotFoundError, ValueError):
            remedy = "Ask runReport, which says it in its metadata."
            raise BadInput("timeZone of the answer", zone, "must name a zone", remedy) from None
        self.currency = str(metadata.get("currencyCode") or "")
        if not self.currency:
            remedy = "Set the property's currency."
            raise BadInput("currencyCode of the answer", "", "must be there", remedy)

    def us(self, minute: str) -> int:
        """Microseconds since 1970 of a minute in the property's time zone."""
        local = dt.datetime.strptime(minute, _MINUTE).replace(tzinfo=self.zone)
        return int(local.timestamp()) * 1_000_000


def _report(
    client: Client, method: str, body: dict[str, Any], allow_partial: bool
) -> Iterator[tuple[list[dict[str, str]], _About]]:
    """Pages of a report, their rows as cells by the names of dimensions and metrics."""
    offset = 0
    while True:
        answer = client(method, {**body, "offset": str(offset), "limit": str(PAGE)})
        rows = answer.get("rows", [])
        if not rows and not offset:
            return
        metadata = answer.get("metadata", {})
        lacking = [what for name, what in _PARTIAL.items() if metadata.get(name)]
        if lacking and not allow_partial:
            remedy = "Use the BigQuery export, which lacks nothing, or allow_partial=True."
            raise BadInput("report", ", ".join(lacking), "must be whole", remedy)
        names = [each["name"] for kind in ("dimensionHeaders", "metricHeaders") for each in answer[kind]]
        asked = [each["name"] for kind in ("dimensions", "metrics") for each in body[kind]]
        if sorted(names) != sorted(asked):
            raise BadInput("columns of the answer", names, f"must be {', '.join(asked)}", "Mend the client.")
        cells = [
            {
                name: cell.get("value", "")
                for name, cell in zip(names, (*row["dimensionValues"], *row["metricValues"]), strict=True)
            }
            for row in rows
        ]
        yield cells, _About(metadata)
        offset += len(rows)
        if not rows or offset >= int(answer.get("rowCount", 0)):
            return


def _known(row: dict[str, str], cookie: str) -> dict[str, str | None]:
    found = {name: None if cell in _UNKNOWN else cell for name, cell in row.items()}
    return {**found, "cookie": found[cookie]}


def _session(row: dict[str, str | None], about: _About) -> dict[str, Any] | None:
    minute = row["dateHourMinute"]
    if minute is None:
        return None
    return {
        "event_date": int(minute[:8]),
        "event_us": about.us(minute),
        "event_name": "session_start",
        "cookie": row["cookie"],
        "session": f"api-{minute}",
        "device": row["deviceCategory"],
        "source": row["sessionSource"],
        "medium": row["sessionMedium"],
        "campaign": row["sessionCampaignName"],
        "group": row["sessionDefaultChannelGroup"],
        "level": LEVELS.index("cross_channel"),
        "ad_click": False,
    }


def _purchase(row: dict[str, str | None], about: _About) -> dict[str, Any] | None:
    minute = row["dateHourMinute"]
    if minute is None or not float(row["ecommercePurchases"] or 0):
        return None
    return {
        "event_date": int(minute[:8]),
        "event_us": about.us(minute),
        "event_name": "purchase",
        "cookie": row["cookie"],
        "level": LEVELS.index("none"),
        "ad_click": False,
        "transaction": row["transactionId"],
        "currency": about.currency,
        "value": float(row["purchaseRevenue"] or 0),
    }


def _only(name: str, value: str) -> dict[str, Any]:
    return {"filter": {"fieldName": name, "stringFilter": {"matchType": "EXACT", "value": value}}}
