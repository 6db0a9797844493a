"""What identity resolution costs while events arrive, one core, beside plain Python dictionaries.

Events of 100,000 cookies, a tenth of them with a login, three at a home address, are told day by day; the
people are brought up to date once a week, then, in another run, every day; in a third they are told hour by
hour and brought up to date every day. From halfway on evidence has its say, which costs most. A slower
resolver slows every simulated hour in which a policy is told of people. Nanoseconds of processor time per
event, median of several runs; the dictionary beside it notes no more than how often each cookie was at each
address. Compile time is left out.

    python benchmarks/identity.py
"""

import statistics
import time
from collections import Counter
from dataclasses import replace

import numpy as np

from gaelp.journeys.identity import Resolver

N_EVENTS, N_COOKIES, N_DAYS, N_RUNS = 1_000_000, 100_000, 30, 5
SCHEDULES = {"told daily, resolved weekly": (1, 7), "daily, daily": (1, 1), "hourly, daily": (24, 24)}
"""Parts of a day in which events are told; after how many parts people are brought up to date."""
Part = dict[str, np.ndarray]


def parts_of(n_events: int, n_cookies: int, parts_per_day: int, seed: int = 0) -> list[Part]:
    """Events by part of a day: two thirds from home, a fifth by one of fifty carriers, else from anywhere."""
    rng = np.random.default_rng(seed)
    cookie = rng.integers(0, n_cookies, n_events)
    u = rng.random(n_events)
    address = np.select(
        [u < 0.67, u < 0.87],
        [1000 + cookie // 3, 1 + rng.integers(0, 50, n_events)],
        1_000_000 + rng.integers(0, 20_000, n_events),
    )
    hour = np.sort(rng.random(n_events)) * 24 * N_DAYS
    events: Part = {
        "hour": hour,
        "cookie": (cookie + 1).astype(np.uint64),
        "login": np.where(cookie % 10 == 0, cookie // 20 + 1, 0).astype(np.uint64),
        "address": address.astype(np.uint64),
        "city": (1 + cookie // 1000).astype(np.uint64),
        "device": (cookie % 3).astype(np.uint8),
        "behaviour": rng.integers(0, 8, n_events).astype(np.uint8),
    }
    n_parts = N_DAYS * parts_per_day
    cuts = np.searchsorted(hour, 24.0 / parts_per_day * np.arange(1, n_parts))
    split = {name: np.split(column, cuts) for name, column in events.items()}
    return [{name: column[i] for name, column in split.items()} for i in range(n_parts)]


def timed(parts: list[Part], every: int) -> tuple[float, float, float]:
    """Seconds for adding, for one `fit` halfway, and for resolving every so many parts."""
    resolver = Resolver()
    adding = resolving = fitting = 0.0
    for i, part in enumerate(parts):
        began = time.process_time()
        resolver.add(**part)
        added = time.process_time()
        if i == len(parts) // 2:
            resolver.model = replace(resolver.fit(), earned=0.0)  # evidence speaks: the dearer case
        fitted = time.process_time()
        if (i + 1) % every == 0 or i + 1 == len(parts):
            resolver.resolve()
        adding, fitting = adding + added - began, fitting + fitted - added
        resolving += time.process_time() - fitted
    return adding, fitting, resolving


def plain(parts: list[Part]) -> float:
    """Seconds for counting each cookie's addresses."""
    began = time.process_time()
    seen: Counter[tuple[int, int]] = Counter()
    for part in parts:
        seen.update(zip(part["cookie"].tolist(), part["address"].tolist(), strict=True))
    return time.process_time() - began


def main() -> None:
    """Print nanoseconds per event."""
    timed(parts_of(20_000, 2_000, 1), 7)  # compiles
    print(f"{N_EVENTS:,} events of {N_COOKIES:,} cookies in {N_DAYS} days, ns per event")
    for name, (parts_per_day, every) in SCHEDULES.items():
        parts = parts_of(N_EVENTS, N_COOKIES, parts_per_day)
        runs = np.array([timed(parts, every) for _ in range(N_RUNS)]) * 1e9 / N_EVENTS
        adding, fitting, resolving = np.median(runs, axis=0)
        total = float(np.median(runs.sum(axis=1)))
        print(f"{name}: {total:.0f} (add {adding:.0f}, fit {fitting:.0f}, resolve {resolving:.0f})")
    parts = parts_of(N_EVENTS, N_COOKIES, 1)
    beside = statistics.median(plain(parts) for _ in range(N_RUNS)) * 1e9 / N_EVENTS
    print(f"plain Python's count of addresses {beside:.0f}")


if __name__ == "__main__":
    main()
