"""What it costs to observe a journey, one core, beside plain Python that only looks for the last touch.

100,000 people with 6 touches in the mean (Poisson), each decided on at a random hour, in random order and in
the order of people; one person at a time, as a live bid asks; and an account's hour, 720 of them in 100
worlds. A slower row slows every opportunity that a policy bids on in training, and each live one. Nanoseconds
of processor time, median of several runs, compile time left out.

    python benchmarks/observation.py
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from gaelp.observation.journey import account_features, journey_features
from gaelp.observation.journey_inputs import AccountHours, SeenEvents, seen_by_person

N_PEOPLE, MEAN_TOUCHES, N_DECISIONS, N_ALONE, N_RUNS = 100_000, 6, 500_000, 2_000, 5
N_WORLDS, N_HOURS = 100, 720


def events_of(n_people: int) -> SeenEvents:
    """Touches at random hours: half are impressions, a third visits or clicks from search."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(n_people), rng.poisson(MEAN_TOUCHES, n_people))
    hour = rng.integers(0, N_HOURS, person.size)
    return seen_by_person(
        person=person,
        n_people=n_people,
        hour=hour,
        shown=hour + rng.integers(1, 4, person.size),
        kind=rng.choice([0, 0, 0, 1, 1, 2], person.size),
        channel=rng.integers(0, 8, person.size),
        line=rng.integers(0, 8, person.size),
        device=rng.integers(0, 3, person.size),
        cost_usd=rng.exponential(1.0, person.size),
        told=np.ones((N_WORLDS, 8, 6), bool),
    )


def account_of() -> AccountHours:
    """Figures of any size: the cost does not depend on them."""
    rng = np.random.default_rng(1)
    hours = np.arange(N_HOURS)
    return AccountHours(
        figures=rng.uniform(0.1, 1.0, (N_WORLDS, N_HOURS, 11)),
        hour_of_week=hours % 168,
        day_of_year=hours // 24,
        month_gone=hours / N_HOURS,
        gone=rng.random((N_WORLDS, 168)),
        value_usd=np.full(N_WORLDS, 100.0),
    )


def plain(events: SeenEvents, person: np.ndarray, hour: np.ndarray) -> None:
    """The last channel of each decision's person, in plain Python."""
    offsets, shown, channel = (getattr(events, name).tolist() for name in ("offsets", "shown", "channel"))
    for who, now in zip(person.tolist(), hour.tolist(), strict=True):
        for j in range(offsets[who + 1] - 1, offsets[who] - 1, -1):
            if shown[j] <= now:
                _ = channel[j]
                break


def per_item(work: Callable[[], object], n: int) -> float:
    """Nanoseconds of processor time an item, median."""
    took = []
    for _ in range(N_RUNS):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return statistics.median(took) * 1e9 / n


def main() -> None:
    """Print nanoseconds per decision and per hour."""
    events, account = events_of(N_PEOPLE), account_of()
    rows = account_features(account)
    rng = np.random.default_rng(2)
    person, world = rng.integers(0, N_PEOPLE, N_DECISIONS), rng.integers(0, N_WORLDS, N_DECISIONS)
    hour = rng.integers(0, N_HOURS, N_DECISIONS).astype(np.float64)
    journey_features(events, rows, 0, person[:9], world[:9], hour[:9])  # compiles
    grouped = np.argsort(person, kind="stable")
    found = {}
    for name, order in (("random order", np.arange(N_DECISIONS)), ("by person", grouped)):
        asked = person[order], world[order], hour[order]
        found[name] = per_item(lambda asked=asked: journey_features(events, rows, 0, *asked), N_DECISIONS)

    def alone() -> None:
        for i in range(N_ALONE):
            journey_features(events, rows, 0, person[i : i + 1], world[i : i + 1], hour[i : i + 1])

    found["one call each"] = per_item(alone, N_ALONE)
    found["plain Python, last channel alone"] = per_item(lambda: plain(events, person, hour), N_DECISIONS)
    seen = events.hour.size / N_PEOPLE
    print(f"{N_DECISIONS:,} decisions, {seen:.1f} touches a person, ns a decision")
    print(", ".join(f"{name}: {value:,.0f}" for name, value in found.items()))
    hours = per_item(lambda: account_features(account), N_WORLDS * N_HOURS)
    print(f"an account's hour: {hours:.0f} ns")


if __name__ == "__main__":
    main()
