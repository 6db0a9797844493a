"""A GA4 export and an ad report, read as a calibration needs them.

    observed = read_observed(Path("ga4/events"), Path("ads.csv"), n_people=80_000)

Of simulated worlds `worlds.calibration.simulating` makes the same record without files.
"""

import datetime as dt
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import Channel, TouchKind
from gaelp.data.ad_report import AdReport, read_ad_report
from gaelp.data.calibration_targets import (
    DEVICES,
    HOURS_A_DAY,
    NOBODY,
    OTHER,
    Floats,
    Ints,
    Observed,
)
from gaelp.data.ga4.arrow import Table, pc
from gaelp.data.ga4.channels import channel_group
from gaelp.data.ga4.purchases import Rules
from gaelp.data.ga4.reading import find_files, read_events
from gaelp.data.ga4.rows import USED, Rows, fit
from gaelp.data.ga4.sessions import tell
from gaelp.data.ga4.shuffle import Shuffle
from gaelp.journeys.batch import US_PER_HOUR

CHANNEL_OF_GROUP: Final = {
    "Paid Search": Channel.SEARCH,
    "Paid Social": Channel.SOCIAL,
    "Paid Video": Channel.VIDEO,
    "Display": Channel.DISPLAY,
    "Paid Other": Channel.RETARGETING,
    "Email": Channel.EMAIL,
    "Direct": Channel.DIRECT,
    "Organic Search": Channel.ORGANIC,
}
"""Google's channel groups that are one of our channels."""
_ARRIVING: Final = ("first_visit", "session_start", "page_view")
_NOTHING: Final = np.empty((5, 0), np.int64)
_FEW: Final = 20
"""Fewer sales, visits or clicks than this say too little to calibrate on."""


def read_observed(ga4: Path, ads: Path, n_people: int) -> Observed:
    """What an export and an ad report tell.

    Args:
        ga4: a file or folder of GA4's BigQuery export, see `ga4.reading`.
        ads: an ad report by hour, see `ad_report`. Its rows count on days from the first to the last
            `event_date` of the export: ad accounts have the property's time zone.
        n_people: people whom the account could reach.

    Raises:
        BadInput: a file cannot be read, or says too little: fewer than twenty visits or sales, or
            an ad report of other days.
    """
    days: set[int] = set()
    with Shuffle() as shuffle:
        latest = 0
        for table in read_events(find_files(ga4)):
            used = table.select([*USED, "page", "referrer"])
            shuffle.add(used)
            latest = max(latest, pc.max(used["event_us"]).as_py() or 0)
            days.update(pc.unique(used["event_date"]).to_pylist())
        parts = [_visits_and_sales(table, latest) for table in shuffle.people()]
    visits = np.concatenate([_NOTHING, *(visits for visits, _, _ in parts)], axis=1)
    sales = np.concatenate([_NOTHING[:2], *(sales for _, sales, _ in parts)], axis=1)
    value = np.concatenate([np.empty(0), *(value for _, _, value in parts)])
    for name, rows in (("visits", visits), ("sales", sales)):
        if rows.shape[1] < _FEW:
            raise BadInput(name, rows.shape[1], f"must be at least {_FEW}", "Export more days.")
    times = np.append(visits[0], sales[0]) // US_PER_HOUR
    first, n_days = window(int(times.min()), int(times.max()))
    report, n_outside = _of_days(read_ad_report(ads, by=("hour",)), days, first, n_days)
    return Observed(
        n_people=n_people,
        n_days=n_days,
        hour=visits[0] // US_PER_HOUR - first,
        channel=visits[1],
        device=visits[2],
        person=visits[3],
        is_logged_in=visits[4] > 0,
        sale_hour=sales[0] // US_PER_HOUR - first,
        sale_person=sales[1],
        sale_value=value,
        ad_channel=report.channel,
        ads=report.counts,
        first_us=first * US_PER_HOUR,
        ad_rows_outside=n_outside,
    )


def _of_days(report: AdReport, days: set[int], begin: int, n_days: int) -> tuple[AdReport, int]:
    """The rows of an export's days, and how many lie outside; days no zone has in the window do not count."""
    hours = np.array([begin - HOURS_A_DAY, begin + (n_days + 1) * HOURS_A_DAY - 1], "datetime64[h]")
    earliest, latest = (int(f"{day:%Y%m%d}") for day in hours.astype("datetime64[D]").tolist())
    own = [day for day in days if earliest <= day <= latest]
    first, last = (dt.datetime.strptime(str(day), "%Y%m%d").date() for day in (min(own), max(own)))
    kept, n_outside = report.within(first, last)
    if n_outside and not kept.date.size:
        allowed = f"must have rows from {first} to {last}, the days of the export"
        raise BadInput("ads", f"{n_outside} rows of other days", allowed, "Export the report of these days.")
    return kept, n_outside


def window(first: int, last: int) -> tuple[int, int]:
    """The whole days that hold two hours: hour of their beginning, and how many.

    They begin at midnight UTC where that fits into no more days than are needed, else at the first hour.

    Args:
        first, last: hours since 1970 of the first and the last event.

    >>> window(24 * 9 + 2, 24 * 39 - 1), window(24 * 9 + 5, 24 * 39 + 4)
    ((216, 30), (221, 30))
    """
    n_days = -(-(last + 1 - first) // HOURS_A_DAY)
    midnight = first // HOURS_A_DAY * HOURS_A_DAY
    fits = midnight + n_days * HOURS_A_DAY > last
    return (midnight if fits else first), n_days


def _visits_and_sales(events: Table, now_us: int) -> tuple[Ints, Ints, Floats]:
    """Of some people: (5, n) visits as time, channel, device, person, login; (2, n) sales; their value."""
    rows = Rows.of(events).distinct()
    told = tell(events, Rules(), now_us).batch
    is_sale = told.kind == TouchKind.CONVERSION
    refused = _refused(rows)
    logins = {rows.logins[code] for code in np.unique(rows.login[rows.login >= 0]).tolist()}
    numbers = np.array([_number(name) for name in told.person.names] + [0], np.int64)
    person = numbers[told.person.code]
    is_login = np.array([name in logins for name in told.person.names] + [False])[told.person.code]
    groups = np.array([_channel(name) for name in told.channel.names] + [OTHER], np.int64)
    channel = groups[told.channel.code]
    devices = {name: code for code, name in enumerate(DEVICES)}

    def device(names: Sequence[str], code: Ints) -> Ints:
        return np.array([devices.get(name, NOBODY) for name in names] + [NOBODY], np.int64)[code]

    seen = np.flatnonzero(~is_sale)
    brought = _brought(rows)
    by_itself = np.array([told.event_id[i] not in brought for i in seen.tolist()], bool) & bool(brought)
    known = (
        told.at_us[seen],
        np.where(by_itself, int(Channel.DIRECT), channel[seen]),
        device(told.device.names, told.device.code[seen]),
        person[seen],
        is_login[seen].astype(np.int64),
    )
    nobody = np.full(refused.size, NOBODY, np.int64)
    words = [rows.words(name, refused) for name in ("source", "medium", "campaign", "group")]
    unknown = (
        rows.us[refused],
        np.array([_came(*row) for row in zip(*words, strict=True)], np.int64),
        device(rows.devices, rows.device[refused]),
        nobody,
        np.zeros_like(nobody),
    )
    sold = np.flatnonzero(is_sale)
    nameless = np.array([name.startswith("ga4:sale:") for name in told.person.names] + [True])
    buyer = np.where(nameless[told.person.code[sold]], NOBODY, person[sold])
    visits = np.concatenate([np.stack(known), np.stack(unknown)], axis=1)
    return visits, np.stack([told.at_us[sold], buyer]), told.value_micros[sold] / MICROS_PER_USD


def _brought(rows: Rows) -> set[str]:
    """Ids of sessions that something brought: a click id, a tagged address, or another site.

    Of any other visit the session's last click tells what it is credited to, up to 90 days back, and not
    what brought it; where no visit shows such signs the export lacks the columns, and nothing is known.
    """
    inside = np.flatnonzero((rows.cookie >= 0) & (rows.session >= 0))
    words = [rows.words(name, inside) for name in ("ad_click", "page", "referrer")]
    found = set()
    for row, clicked, page, referrer in zip(inside.tolist(), *words, strict=True):
        sent = referrer and urlsplit(referrer).netloc != urlsplit(page or "").netloc
        if clicked or sent or "utm_" in (page or ""):
            found.add((int(rows.cookie[row]), int(rows.session[row])))
    return {fit(f"ga4:{rows.cookies[cookie]}:{rows.sessions[session]}") for cookie, session in found}


def _refused(rows: Rows) -> Ints:
    """Of each visit without consent, the row that knows most of where it came from.

    Such visits have no session; rows of one moment and page are one. Intraday tables tell the source of
    some events only.
    """
    started = rows.name == rows.code_of("session_start")
    nobody = np.flatnonzero((rows.cookie < 0) & np.isin(rows.name, rows.codes_of(_ARRIVING)))
    page = rows.order[1]
    order = nobody[np.lexsort((rows.level[nobody], page[nobody], rows.us[nobody]))]
    begins = np.ones(order.size, bool)
    begins[1:] = (np.diff(rows.us[order]) > 0) | (np.diff(page[order]) > 0)
    has_start = np.bincount(np.cumsum(begins) - 1, started[order]) > 0
    return order[begins][has_start]


def _number(name: str) -> int:
    """A number that the same name gets in every part of an export."""
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest())


def _came(source: Any, medium: Any, campaign: Any, group: Any) -> int:
    if group and group != "Unassigned":
        return _channel(group)
    return _channel(channel_group(source, medium, campaign) if source or medium else "Direct")


def _channel(group: str) -> int:
    return int(CHANNEL_OF_GROUP.get(group, OTHER))
