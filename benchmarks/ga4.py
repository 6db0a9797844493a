"""What it costs to tell the journey database a GA4 export.

Makes an export of thirty daily tables, random but true to Google's schema (whole numbers as text in JSON,
nested parameters, no order within a day, one session in five without consent to be known, one cookie in ten
with a login), then imports it in a process of its own, and once more only its newest four tables, as a daily
run does. Prints seconds, events a second and the peak of memory of the importing process. A slower import
delays every morning's figures; more memory than before means that years of data may no longer fit.

    python benchmarks/ga4.py
    python benchmarks/ga4.py --events 10000000 --make big      # makes it and keeps it
    python benchmarks/ga4.py --use big
"""

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

N_DAYS, EVENTS_PER_SESSION = 30, 8
BEGIN_S = 1_767_225_600
DAYS = [f"{np.datetime64('2026-01-01') + day}".replace("-", "") for day in range(N_DAYS)]
NOW_US = (BEGIN_S + (N_DAYS + 1) * 86_400) * 1_000_000
NAMES = (
    "session_start",
    "page_view",
    "scroll",
    "user_engagement",
    "view_item",
    "add_to_cart",
    "begin_checkout",
)
WHOLE = ("event_timestamp", "batch_page_id", "batch_ordering_id", "batch_event_index")
SOURCES = (
    ("google", "cpc", "brand", "Paid Search"),
    ("google", "organic", "(organic)", "Organic Search"),
    ("(direct)", "(none)", "(direct)", "Direct"),
    ("facebook.com", "paid_social", "spring", "Paid Social"),
    ("news.example", "referral", "(referral)", "Referral"),
    ("crm", "email", "march", "Email"),
)


def day_of_events(day, n_events, n_people, rng):
    """Arrays of one day's events, in no order."""
    n = n_events // EVENTS_PER_SESSION
    length = np.minimum(rng.geometric(1 / EVENTS_PER_SESSION, n), 60)
    session = np.repeat(np.arange(n), length)
    place = np.arange(session.size) - np.repeat(np.cumsum(length) - length, length)
    person = rng.integers(0, n_people, n)
    start_s = BEGIN_S + day * 86_400 + rng.integers(0, 80_000, n)
    name = np.where(place == 0, 0, rng.integers(1, len(NAMES), session.size))
    bought = (place > 4) & (rng.random(session.size) < 0.005)
    order = rng.permutation(session.size)
    made = {
        "person": person[session],
        "start_s": start_s[session],
        "us": start_s[session] * 1_000_000 + place * 7_000_001,
        "place": place,
        "name": np.where(bought, len(NAMES), name),
        "source": rng.integers(0, len(SOURCES), n)[session],
        "consent": (rng.random(n) < 0.8)[session],
        "page": rng.integers(0, 5_000, session.size),
    }
    return {key: cells[order] for key, cells in made.items()}


def rows(day, events):
    """The events as Google's JSON says them."""
    device = {
        "category": "mobile",
        "operating_system": "iOS",
        "language": "en-us",
        "web_info": {"browser": "Safari"},
    }
    geo = {"country": "United States", "region": "Texas", "city": "Austin", "continent": "Americas"}
    for person, start_s, us, place, name, source, consent, page in zip(
        *(events[key].tolist() for key in events), strict=True
    ):
        where, how, campaign, group = SOURCES[source]
        sale = name == len(NAMES)
        params = [
            {
                "key": "page_location",
                "value": {"string_value": f"https://shop.example/p/{page}?email=a%40b.c&q=1"},
            },
            {"key": "page_title", "value": {"string_value": f"Product {page}"}},
            {"key": "engagement_time_msec", "value": {"int_value": str(page)}},
            {"key": "session_engaged", "value": {"string_value": "1"}},
        ]
        if consent:
            params.append({"key": "ga_session_id", "value": {"int_value": str(start_s)}})
            params.append({"key": "ga_session_number", "value": {"int_value": "1"}})
        row = {
            "event_date": DAYS[day],
            "event_timestamp": str(us),
            "event_name": "purchase" if sale else NAMES[name],
            "event_params": params,
            "privacy_info": {"analytics_storage": "Yes" if consent else "No", "uses_transient_token": "No"},
            "device": device,
            "geo": geo,
            "traffic_source": {"source": "google", "medium": "organic", "name": "(organic)"},
            "stream_id": "1234567890",
            "platform": "WEB",
            "is_active_user": True,
            "batch_page_id": str(us // 1000),
            "batch_ordering_id": str(place),
            "batch_event_index": "1",
            "items": [],
            "session_traffic_source_last_click": {
                "cross_channel_campaign": {
                    "campaign_name": campaign,
                    "source": where,
                    "medium": how,
                    "default_channel_group": group,
                    "primary_channel_group": group,
                }
            },
        }
        if consent:
            row["user_pseudo_id"] = f"{person}.{BEGIN_S}"
            if person % 10 == 0:
                row["user_id"] = f"login-{person}"
        if sale:
            params.append({"key": "currency", "value": {"string_value": "USD"}})
            row["ecommerce"] = {
                "transaction_id": f"T{us}-{person}",
                "purchase_revenue": 180.0,
                "purchase_revenue_in_usd": 180.0,
                "total_item_quantity": "1",
            }
        yield row


def write(folder, n_events, form, seed=1):
    """The export; how many events, and bytes."""
    rng = np.random.default_rng(seed)
    count = 0
    for day in range(N_DAYS):
        events = day_of_events(day, n_events // N_DAYS, max(n_events // 20, 1), rng)
        count += events["us"].size
        path = folder / f"events_{DAYS[day]}.{form}"
        if form == "parquet":
            write_parquet(path, day, events)
            continue
        opened = gzip.open(path, "wt", compresslevel=1) if form.endswith(".gz") else open(path, "w")
        with opened as file:
            for row in rows(day, events):
                file.write(json.dumps(row) + "\n")
    return count, sum(path.stat().st_size for path in folder.iterdir())


def write_parquet(path, day, events):
    """The same as Parquet, twenty thousand rows at a time, typed as BigQuery types them."""
    writer = None
    for first in range(0, events["us"].size, 20_000):
        part = {key: cells[first : first + 20_000] for key, cells in events.items()}
        listed = [typed(row) for row in rows(day, part)]
        table = pa.Table.from_pylist(listed, schema=writer.schema if writer else parquet_schema())
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def typed(row):
    """A row of JSON with whole numbers as such."""
    for name in WHOLE:
        row[name] = int(row[name])
    for param in row["event_params"]:
        if "int_value" in param["value"]:
            param["value"] = {"int_value": int(param["value"]["int_value"])}
    return row


def parquet_schema():
    """Of what is written here."""
    s, n, f = pa.string(), pa.int64(), pa.float64()
    value = pa.struct({"string_value": s, "int_value": n, "float_value": f, "double_value": f})
    campaign = dict.fromkeys(
        ("campaign_name", "source", "medium", "default_channel_group", "primary_channel_group"), s
    )
    columns = dict.fromkeys(
        ("event_date", "event_name", "user_pseudo_id", "user_id", "stream_id", "platform"), s
    )
    columns |= dict.fromkeys(
        ("event_timestamp", "batch_page_id", "batch_ordering_id", "batch_event_index"), n
    )
    columns |= {
        "event_params": pa.list_(pa.struct({"key": s, "value": value})),
        "privacy_info": pa.struct({"analytics_storage": s, "uses_transient_token": s}),
        "device": pa.struct({"category": s, "operating_system": s}),
        "geo": pa.struct(dict.fromkeys(("country", "region", "city", "continent"), s)),
        "traffic_source": pa.struct({"source": s, "medium": s, "name": s}),
        "session_traffic_source_last_click": pa.struct({"cross_channel_campaign": pa.struct(campaign)}),
        "ecommerce": pa.struct({"transaction_id": s, "purchase_revenue": f, "purchase_revenue_in_usd": f}),
    }
    return pa.schema(columns)


def importing(folder, url, last_days):
    """Import and say what it took; runs in a process of its own."""
    from gaelp.data.ga4.importing import import_export
    from gaelp.journeys.store import JourneyStore

    start, cpu = time.perf_counter(), time.process_time()
    with JourneyStore(url) as store:
        found = import_export(store, folder, NOW_US, last_days=last_days)
    told = {
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "found": vars(found),
    }
    print(json.dumps(told))


def make(folder, n_events, form):
    """The export, and a line about it."""
    start = time.perf_counter()
    n_events, n_bytes = write(folder, n_events, form)
    print(
        f"{n_events:,} events, {n_bytes / 1e6:,.0f} MB, made in {time.perf_counter() - start:.0f} s",
        flush=True,
    )


def main() -> None:
    """Make, import, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--format", default="json", choices=("json", "json.gz", "parquet"))
    parser.add_argument("--make", metavar="DIR", help="only make the export, in this new folder")
    parser.add_argument("--use", metavar="DIR", help="only import the export that was made there")
    parser.add_argument("--import", dest="given", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.given:
        folder, url, last_days = asked.given
        importing(Path(folder), url, int(last_days) or None)
        return
    if asked.make:
        Path(asked.make).mkdir()
        make(Path(asked.make), asked.events, asked.format)
        return
    with tempfile.TemporaryDirectory() as top:
        folder = Path(asked.use or top)
        if not asked.use:
            folder = Path(top) / "export"
            folder.mkdir()
            make(folder, asked.events, asked.format)
        for what, last_days in (("first import", 0), ("again, 4 days", 4)):
            command = [
                sys.executable,
                __file__,
                "--import",
                str(folder),
                f"sqlite:///{top}/j.db",
                str(last_days),
            ]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            found = told["found"]
            print(
                f"{what:14} {told['wall_s']:7.1f} s, processor {told['cpu_s']:7.1f} s,"
                f" {found['events'] / told['wall_s']:10,.0f} events/s, peak {told['peak_mb']:6,.0f} MB:"
                f" {found['touches']:,} touches, {found['conversions']:,} conversions,"
                f" {found['repeats']:,} repeats, {found['linked']:,} linked"
            )


if __name__ == "__main__":
    main()
