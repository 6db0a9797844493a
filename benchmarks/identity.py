"""What identity resolution costs while events arrive, one core, beside plain Python dictionaries.

Events of 100,000 cookies, a tenth of them with a login, three at a home address, are told day by day; the
people are brought up to date once a week, then, in another run, every day. A slower resolver slows every
simulated hour in which a policy is told of people. Nanoseconds of processor time per event, median of several
runs; the dictionary beside it notes no more than how often each cookie was at each address. Compile time is
left out.

    python benchmarks/identity.py
"""

import statistics
import time
from collections import Counter

import numpy as np

from gaelp.journeys.identity import Resolver

N_EVENTS, N_COOKIES, N_DAYS, N_RUNS = 1_000_000, 100_000, 30, 3
Day = dict[str, np.ndarray]


def days_of(n_events: int, n_cookies: int, seed: int = 0) -> list[Day]:
    """Events by day: two thirds from home, a fifth through one of fifty carrier's, else anywhere."""
    rng = np.random.default_rng(seed)
    cookie = rng.integers(0, n_cookies, n_events)
    u = rng.random(n_events)
    address = np.select(
        [u < 0.67, u < 0.87],
        [1000 + cookie // 3, 1 + rng.integers(0, 50, n_events)],
        1_000_000 + rng.integers(0, 20_000, n_events),
    )
    hour = np.sort(rng.random(n_events)) * 24 * N_DAYS
    events: Day = {
        "hour": hour,
        "cookie": (cookie + 1).astype(np.uint64),
        "login": np.where(cookie % 10 == 0, cookie // 20 + 1, 0).astype(np.uint64),
        "address": address.astype(np.uint64),
        "city": (1 + cookie // 1000).astype(np.uint64),
        "device": (cookie % 3).astype(np.uint8),
        "behaviour": rng.integers(0, 8, n_events).astype(np.uint8),
    }
    cuts = np.searchsorted(hour, 24.0 * np.arange(1, N_DAYS))
    parts = {name: np.split(column, cuts) for name, column in events.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(N_DAYS)]


def timed(days: list[Day], every: int) -> tuple[float, float, float]:
    """Seconds for adding, for one `fit` halfway, and for resolving every so many days."""
    resolver = Resolver()
    adding = resolving = fitting = 0.0
    for i, day in enumerate(days):
        began = time.process_time()
        resolver.add(**day)
        added = time.process_time()
        if i == N_DAYS // 2:
            resolver.fit()
        fitted = time.process_time()
        if (i + 1) % every == 0 or i + 1 == N_DAYS:
            resolver.resolve()
        adding, fitting = adding + added - began, fitting + fitted - added
        resolving += time.process_time() - fitted
    return adding, fitting, resolving


def plain(days: list[Day]) -> float:
    """Seconds for counting each cookie's addresses."""
    began = time.process_time()
    seen: Counter[tuple[int, int]] = Counter()
    for day in days:
        seen.update(zip(day["cookie"].tolist(), day["address"].tolist(), strict=True))
    return time.process_time() - began


def main() -> None:
    """Print nanoseconds per event."""
    days = days_of(N_EVENTS, N_COOKIES)
    timed(days_of(20_000, 2_000), 7)  # compiles
    print(f"{N_EVENTS:,} events of {N_COOKIES:,} cookies in {N_DAYS} days, ns per event")
    for every in (7, 1):
        runs = np.array([timed(days, every) for _ in range(N_RUNS)]) * 1e9 / N_EVENTS
        adding, fitting, resolving = np.median(runs, axis=0)
        total = float(np.median(runs.sum(axis=1)))
        print(
            f"resolved every {every} days: {total:.0f} (add {adding:.0f}, fit {fitting:.0f}, {resolving:.0f})"
        )
    beside = statistics.median(plain(days) for _ in range(N_RUNS)) * 1e9 / N_EVENTS
    print(f"plain Python's count of addresses {beside:.0f}")


if __name__ == "__main__":
    main()
