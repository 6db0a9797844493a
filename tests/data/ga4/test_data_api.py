"""The Data API, through a client that is handed in."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest

from gaelp.core.errors import BadInput
from gaelp.data.ga4 import data_api
from gaelp.data.ga4.data_api import read_api
from gaelp.data.ga4.importing import import_events
from gaelp.journeys.store import JourneyStore

from .conftest import held
from .exports import NOW

DAY = dt.date(2026, 3, 7)
COOKIE = "customUser:client_id"


class Google:
    """Answers `runReport` from rows of single events, in pages, as the reference describes it."""

    def __init__(self, rows: list[dict[str, Any]], **metadata: Any) -> None:
        self.rows = rows
        self.metadata = {"timeZone": "America/Chicago", "currencyCode": "EUR", **metadata}
        self.asked: list[Mapping[str, Any]] = []

    def __call__(self, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        assert method == "properties/123:runReport"
        self.asked.append(body)
        dimensions = [each["name"] for each in body["dimensions"]]
        metrics = [each["name"] for each in body["metrics"]]
        only = body.get("dimensionFilter", {}).get("filter", {}).get("stringFilter", {}).get("value")
        begin, end = (body["dateRanges"][0][name].replace("-", "") for name in ("startDate", "endDate"))
        found: dict[tuple[str, ...], list[float]] = {}
        for row in self.rows:
            if begin <= row["dateHourMinute"][:8] <= end and only in (None, row["eventName"]):
                key = tuple(str(row.get(name, "(not set)")) for name in dimensions)
                sums = found.setdefault(key, [0.0] * len(metrics))
                for i, name in enumerate(metrics):
                    sums[i] += row.get(name, 0)
        offset, limit = int(body["offset"]), int(body["limit"])
        page = list(found.items())[offset : offset + limit]
        return {
            "dimensionHeaders": [{"name": name} for name in dimensions],
            "metricHeaders": [{"name": name, "type": "TYPE_FLOAT"} for name in metrics],
            **({"rows": [self._row(key, sums) for key, sums in page]} if page else {}),
            "rowCount": len(found),
            "metadata": self.metadata,
            "kind": "analyticsData#runReport",
        }

    @staticmethod
    def _row(key: tuple[str, ...], sums: list[float]) -> dict[str, Any]:
        return {
            "dimensionValues": [{"value": each} for each in key],
            "metricValues": [{"value": f"{each:g}"} for each in sums],
        }


def start(minute: str, cookie: str, source: str, medium: str, group: str) -> dict[str, Any]:
    return {
        "dateHourMinute": minute,
        "eventName": "session_start",
        COOKIE: cookie,
        "deviceCategory": "mobile",
        "sessionSource": source,
        "sessionMedium": medium,
        "sessionCampaignName": "spring",
        "sessionDefaultChannelGroup": group,
        "eventCount": 1,
    }


def sale(minute: str, cookie: str, transaction: str, revenue: float) -> dict[str, Any]:
    told = {"dateHourMinute": minute, "eventName": "purchase", COOKIE: cookie, "eventCount": 1}
    return {**told, "transactionId": transaction, "ecommercePurchases": 1, "purchaseRevenue": revenue}


ROWS = [
    start("202603070930", "c1", "google", "cpc", "Paid Search"),
    start("202603072350", "c1", "(direct)", "(none)", "Direct"),
    start("202603080930", "c2", "crm", "email", "Email"),
    sale("202603072355", "c1", "T1", 49.5),
    sale("202603081200", "(not set)", "T2", 20),
]


def test_sessions_and_purchases_become_journeys_in_utc(
    store: JourneyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_api, "PAGE", 1)
    google = Google(ROWS)
    for expected in ((3, 2, 0), (0, 0, 5)):
        told = import_events(store, read_api(google, "123", DAY, DAY + dt.timedelta(days=1)), NOW)
        assert (told.touches, told.conversions, told.repeats) == expected
    assert (told.first_date, told.last_date, told.sources) == (20260307, 20260308, {"cross_channel": 3})
    touches, sales = held(store)
    assert [row[4] for row in touches] == ["Paid Search", "Direct", "Email"]
    utc = dt.datetime(2026, 3, 7, 15, 30, tzinfo=dt.UTC)  # Chicago is six hours behind, five from the 8th on
    assert touches[0][2] == int(utc.timestamp()) * 1_000_000
    assert touches[2][2] - touches[0][2] == 23 * 3_600_000_000, "clocks went forward that night"
    assert [(row[0], row[1], row[3], row[4]) for row in sales] == [
        ("ga4:sale:T1", "c1", 49_500_000, "EUR"),
        ("ga4:sale:T2", "ga4:sale:T2", 20_000_000, "EUR"),
    ]
    asked = {each["offset"] for each in google.asked}
    assert asked == {"0", "1", "2"} and all(len(each["dimensions"]) <= 9 for each in google.asked)


@pytest.mark.parametrize(
    "lacking",
    [
        {"samplingMetadatas": [{"samplesReadCount": "1", "samplingSpaceSize": "9"}]},
        {"dataLossFromOtherRow": True},
        {"subjectToThresholding": True},
    ],
)
def test_an_answer_that_lacks_something_is_refused_unless_allowed(lacking: dict[str, Any]) -> None:
    google = Google(ROWS, **lacking)
    with pytest.raises(BadInput, match="must be whole"):
        list(read_api(google, "123", DAY, DAY))
    assert sum(table.num_rows for table in read_api(google, "123", DAY, DAY, allow_partial=True)) == 3


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"timeZone": ""}, "timeZone"),
        ({"timeZone": "Mars/North"}, "timeZone"),
        ({"currencyCode": ""}, "currency"),
    ],
)
def test_an_answer_without_zone_or_currency_is_refused(metadata: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        list(read_api(Google(ROWS, **metadata), "properties/123", DAY, DAY))


def test_bad_questions_and_bad_answers_are_refused() -> None:
    with pytest.raises(BadInput, match="must be digits"):
        list(read_api(Google(ROWS), "UA-123", DAY, DAY))
    with pytest.raises(BadInput, match="must not lie before since"):
        list(read_api(Google(ROWS), "123", DAY, DAY - dt.timedelta(days=1)))

    def other(method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = dict(Google(ROWS)(method, body))
        return {**answer, "dimensionHeaders": [{"name": "city"}]}

    with pytest.raises(BadInput, match="columns of the answer"):
        list(read_api(other, "123", DAY, DAY))


def test_a_property_without_data_is_empty(store: JourneyStore) -> None:
    assert import_events(store, read_api(Google([]), "123", DAY, DAY), NOW).events == 0
