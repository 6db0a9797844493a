"""Synthetic worlds and a report with every section filled; made up, and only for these tests."""

from typing import Any

import numpy as np
import pytest

from gaelp.evaluation.leaderboard import leaderboard

N_WORLDS = 64
POLICIES = {  # spend share, incremental conversions per world at full spend
    "static_lines": (0.98, 146.0),
    "pacing": (0.99, 131.0),
    "fixed": (0.94, 108.0),
    "random": (0.71, 62.0),
}
CHANNELS = ("search", "brand search", "social", "video", "display", "retargeting")


def simulated_worlds(seed: int = 7) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    luck = rng.normal(0, 14, N_WORLDS)
    results = {}
    for policy, (share, conversions) in POLICIES.items():
        spend = 15_000 * np.clip(rng.normal(share, 0.01, N_WORLDS), 0, 1)
        incremental = conversions + luck + rng.normal(0, 9, N_WORLDS)
        attributed = 1.35 * conversions + 0.6 * luck + rng.normal(0, 8, N_WORLDS)
        wins = rng.poisson(40_000 * share, N_WORLDS)
        results[policy] = {
            "spend_usd": spend,
            "budget_usd": np.full(N_WORLDS, 15_000.0),
            "revenue_usd": 180 * attributed,
            "attributed_conversions": attributed,
            "incremental_conversions": incremental,
            "incremental_revenue_usd": 180 * incremental,
            "incremental_decisions": 1.04 * incremental,
            "impressions": 0.9 * wins,
            "bids": wins * 3.1,
            "wins": wins,
            "opportunities": wins * 9.0,
            "clicks": wins * 0.02,
            "organic_conversions": rng.poisson(450, N_WORLDS),
        }
    return results


def full_report() -> dict[str, Any]:
    rng = np.random.default_rng(11)
    hour, day, week = np.arange(24), np.arange(1, 31), np.arange(168)
    rhythm = 0.25 + np.exp(-(((hour - 20) / 4.5) ** 2)) + 0.5 * np.exp(-(((hour - 12) / 3) ** 2))
    plan = 500 * rhythm / rhythm.sum()
    weekly = np.tile(rhythm, 7) * np.repeat([1, 1, 1, 1.02, 0.95, 1.15, 1.22], 24)
    lag_days = np.arange(0, 91)
    booked = 0.55 * (1 - np.exp(-lag_days / 0.6)) + 0.3 * (1 - np.exp(-lag_days / 6))
    booked += 0.15 * (1 - np.exp(-lag_days / 38))
    quantiles = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99])
    return {
        "title": "GAELP demo: 30 days of family safety",
        "market": "markets/family_safety.toml",
        "created": "2025-11-21 07:40 UTC",
        "commit": "0123abc",
        "seed": 1,
        "command": "gaelp demo",
        "policy": "static_lines",
        "summary": [
            "static_lines pays less than pacing for a customer who would not have come anyway.",
            "Last-click attribution claims about a third more conversions than the ads caused.",
            "The market meets 5 of 6 measured targets.",
        ],
        "cac_target_usd": 100.0,
        "ltv_usd": 180.0,
        "leaderboard": leaderboard(simulated_worlds()),
        "families": {name: leaderboard(simulated_worlds()) for name in ("season_peak", "half_budget")},
        "spend_plan": {
            policy: {
                "hour": hour,
                "spend_usd": share * plan * rng.normal(1, 0.05, 24),
                "plan_usd": plan,
            }
            for policy, (share, _) in POLICIES.items()
        },
        "spend_by_day": {
            policy: {"day": day, "spend_usd": 500 * share * rng.normal(1, 0.02, 30), "budget_usd": 500.0}
            for policy, (share, _) in POLICIES.items()
        },
        "funnel": {
            "stages": ["people in market", "saw an ad", "clicked", "visited twice", "decided", "booked"],
            "people": [80_000, 61_240, 5_310, 1_904, 702, 611],
        },
        "sankey": {
            "nodes": [
                *[f"{channel} first" for channel in CHANNELS],
                *[f"{channel} last" for channel in CHANNELS],
                "converted",
                "lost",
            ],
            "links": [
                {"source": i, "target": 6 + j, "value": float(rng.integers(20, 900) / (1 + abs(i - j)))}
                for i in range(6)
                for j in range(6)
            ]
            + [
                {"source": 6 + j, "target": end, "value": value}
                for j in range(6)
                for end, value in ((12, 60 + 25 * j), (13, 900 - 60 * j))
            ],
        },
        "lag": {
            "days": lag_days,
            "share_booked": booked,
            "measured": [
                {"days": 1, "share": 0.49, "source": "Criteo attribution logs"},
                {"days": 7, "share": 0.76, "source": "Criteo attribution logs"},
                {"days": 30, "share": 0.93, "source": "Chapelle 2014"},
            ],
            "arms": [
                {"name": "fast", "weight": 0.55, "mean_days": 0.6},
                {"name": "days", "weight": 0.30, "mean_days": 6.0},
                {"name": "slow", "weight": 0.15, "mean_days": 38.0},
            ],
        },
        "hour_of_week": {
            "simulated": weekly * rng.normal(1, 0.03, 168),
            "measured": weekly * (1 + 0.08 * np.sin(week / 9)),
            "source": "Avito context ad clicks, MIT",
        },
        "prices": [
            {
                "channel": channel,
                "unit": "USD per click" if "search" in channel else "USD per 1000 impressions",
                "probability": quantiles,
                "simulated": level * np.exp(0.6 * np.linspace(-1.6, 2.3, 8)),
                "measured": None
                if channel == "video"
                else level * 1.06 * np.exp(0.63 * np.linspace(-1.6, 2.3, 8)),
                "source": "iPinYou season 2",
            }
            for channel, level in (("search", 3.2), ("social", 12.0), ("video", 9.0), ("display", 1.6))
        ],
        "learning": [
            {"worlds": n, "profit_usd": profit} for n, profit in ((0, 610.0), (1, 900.0), (8, 1040.0))
        ],
        "rivals": {
            "days": np.arange(1, 91),
            "bids": {
                rival: 0.8 + 0.1 * i + 0.1 * np.tanh(np.arange(90) / 30) * (i % 3) + rng.normal(0, 0.01, 90)
                for i, rival in enumerate(("Qustodio", "Bark", "Circle", "Norton", "value bidder"))
            },
        },
        "channels": [
            {
                "channel": channel,
                "spend_usd": spend,
                "attributed_conversions": attributed,
                "incremental_conversions": {"mean": causal, "low": low, "high": high},
                "attributed_cac_usd": spend / attributed,
                "incremental_cac_usd": None if causal <= 0 else spend / causal,
            }
            for channel, spend, attributed, causal, low, high in (
                ("search", 6_900.0, 88.0, 71.0, 60.0, 82.0),
                ("social", 3_600.0, 21.0, 38.0, 27.0, 50.0),
                ("brand search", 600.0, 48.0, 1.5, -4.0, 7.0),
                ("video", 1_700.0, 4.0, 17.0, 8.0, 26.0),
                ("display", 1_100.0, 6.0, 7.0, 1.0, 13.0),
                ("retargeting", 900.0, 30.0, 4.0, -3.0, 12.0),
            )
        ],
        "person": {
            "title": "Person 41,207: a parent whose need rose on day 5",
            "lines": [
                "Day 1, 20:00: searched for “screen time limits app”; a rival won and was clicked.",
                "Day 2, 13:00: searched for “qustodio reviews”; our $1.80 won; read the comparison page.",
                "Day 5, 21:00: something happened at home; urgency rose.",
                "Day 6, 09:00: opened our e-mail, clicked and bought; the sale is booked on day 6.",
            ],
        },
        "targets": [
            {
                "name": name,
                "simulated": value,
                "low": low,
                "high": high,
                "unit": unit,
                "source": origin,
                "ok": ok,
            }
            for name, value, low, high, unit, origin, ok in (
                ("search price, median", 3.41, 2.6, 4.8, "USD per click", "vendor benchmark", True),
                ("social CPM, mean", 12.9, 9.0, 17.0, "USD per 1000", "vendor benchmark", True),
                ("total lift", 0.043, 0.03, 0.05, "share", "sketch of the market", True),
                ("touchpoints per converter", 8.9, 4.0, 8.0, "touchpoints", "Criteo attribution logs", False),
                ("organic sales", 431, 300, 585, "per month and 10,000 people", "sketch", True),
                ("impressions per person", 22.4, 20, 25, "per month", "size of the market", True),
            )
        ],
    }


@pytest.fixture
def worlds() -> dict[str, dict[str, np.ndarray]]:
    return simulated_worlds()


@pytest.fixture
def report_data() -> dict[str, Any]:
    return full_report()
