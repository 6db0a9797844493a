"""Episodes whose truth is known, as GA4's tables."""

import gzip
import json
from pathlib import Path

import numpy as np

DAY_US = 86_400_000_000
BEGIN_US = 1_740_787_200_000_000  # 2025-03-01
GROUPS = {"Paid Search": ("google", "cpc"), "Paid Social": ("facebook", "paid_social")}


def write_episode(
    folder: Path,
    *,
    seed: int,
    rates: dict[str, float],
    n: int = 400,
    first_day: int = 0,
    days: int = 8,
    cost_usd: float = 100.0,
    devices: dict[str, str] | None = None,
) -> Path:
    """GA4's tables of visitors who come once, each by a channel, and buy a day later at its rate."""
    draws = np.random.default_rng(seed)
    by_day: dict[str, list[dict[str, object]]] = {}
    names = list(rates)
    for i in range(n):
        group = names[i % len(names)]
        source, medium = GROUPS[group]
        at = BEGIN_US + first_day * DAY_US + int(draws.uniform(0, days - 2) * DAY_US)
        visitor = f"{seed}.{i}"
        row: dict[str, object] = {
            "user_pseudo_id": visitor,
            "device": {"category": (devices or {}).get(group, "mobile")},
            "event_params": [
                {"key": "ga_session_id", "value": {"int_value": str(i + 1)}},
                {"key": "ga_session_number", "value": {"int_value": "1"}},
            ],
            "collected_traffic_source": {"manual_source": source, "manual_medium": medium},
        }
        sale = {
            **row,
            "event_params": [],
            "ecommerce": {"transaction_id": f"T{seed}-{i}", "purchase_revenue_in_usd": 100.0},
        }
        told = [("session_start", at, row)]
        if draws.uniform() < rates[group]:
            told.append(("purchase", at + DAY_US, sale))
        for name, us, each in told:
            day = f"{np.datetime64(us, 'us').astype('datetime64[D]')}".replace("-", "")
            by_day.setdefault(day, []).append(
                {**each, "event_name": name, "event_timestamp": str(us), "event_date": day}
            )
    last = BEGIN_US + (first_day + days) * DAY_US - 1
    closing: dict[str, object] = {
        "event_name": "session_start",
        "event_timestamp": str(last),
        "user_pseudo_id": f"{seed}.last",
    }
    day = f"{np.datetime64(last, 'us').astype('datetime64[D]')}".replace("-", "")
    closing |= {"event_date": day, "event_params": [{"key": "ga_session_id", "value": {"int_value": "1"}}]}
    by_day.setdefault(day, []).append(dict(closing))
    for day, rows in by_day.items():
        path = folder / "events" / f"events_{day}.json.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(each) + "\n" for each in rows).encode()
        path.write_bytes(gzip.compress(text, mtime=0))
    header = "date,hour,channel,line,impressions,clicks,cost_micros,conversions\n"
    rows_told = f"2025-03-0{1 + first_day % 9},0,social,social_new_mobile,1000,50,{int(cost_usd * 1e6)},\n"
    (folder / "ads.csv").write_text(header + rows_told)
    return folder


ALIKE = {"Paid Search": 0.2, "Paid Social": 0.05}
