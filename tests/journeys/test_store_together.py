"""Many processes on one store."""

import subprocess
import sys
import threading
from pathlib import Path

from gaelp.journeys.store import JourneyStore

from .telling import click, day, dump
from .writers import N_CALLS

WRITERS = Path(__file__).parent / "writers.py"
N_WRITERS = 8


def test_eight_writers_on_the_same_journeys_lose_nothing(url: str) -> None:
    command = [sys.executable, str(WRITERS), "together", url, str(N_WRITERS)]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.stderr, ended.returncode) == ("", 0)
    with JourneyStore(url) as store:
        for i in range(3):
            (journey,) = store.journeys(f"p{i}", day(10))
            expected = {f"w{w}-{c}-{i}" for w in range(N_WRITERS) for c in range(N_CALLS)}
            expected |= {f"all-{c}-{i}" for c in range(N_CALLS)}
            assert {touch.event_id for touch in journey.touches} == expected
            assert len(journey.touches) == len(expected)
        held = dump(store)
        assert len(held["journeys"]) == len(held["identities"]) == 3
        assert {row[1:] for row in held["names"] if row[0] == "channel"} == set(
            enumerate(store_channels(store), 1)
        )


def store_channels(store: JourneyStore) -> list[str]:
    """Channels in the order in which somebody first named them: each exactly once."""
    names = [row[2] for row in sorted(row for row in dump(store)["names"] if row[0] == "channel")]
    assert sorted(names) == [*(f"c{c}" for c in range(N_CALLS)), "search"]
    return names


def test_a_dashboard_reads_whole_journeys_while_they_are_written(url: str) -> None:
    JourneyStore(url).close()
    failures: list[BaseException] = []
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        try:
            with JourneyStore(url) as store:
                while not done.is_set():
                    journey = store.journey("p0", day(10))
                    counts = store.stages(day(10))
                    if journey is not None:
                        # told in pairs, so a torn read would show an odd number
                        assert len(journey.touches) % 2 == 0
                        assert sum(counts.values()) >= 1
                        seen.append(len(journey.touches))
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    with JourneyStore(url) as store:
        for i in range(30):
            people = range(i % 3 + 1)
            events = [click(f"p{p}", f"{i}-{p}-{k}", i / 10 + k / 100) for p in people for k in range(2)]
            store.append(events, day(10))
    done.set()
    reader.join()
    assert not failures and seen and seen == sorted(seen)
