"""Programs that the tests start, and some of which they kill: python writers.py WHAT URL NUMBER."""

import datetime as dt
import os
import sys

import numpy as np

from gaelp.core.words import TouchKind
from gaelp.journeys.batch import Coded, Event, EventBatch
from gaelp.journeys.store import JourneyStore

BEGIN = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NOW = BEGIN + dt.timedelta(days=10)
N_CALLS = 4
PEOPLE_IN_A_CALL = 400
TOUCHES = 5  # of a person, and a conversion


def share(url: str, writer: int) -> None:
    """Tell of three people, some of it told by every writer, in an order of its own."""
    rng = np.random.default_rng(writer)
    with JourneyStore(url) as store:
        for call in rng.permutation(N_CALLS).tolist():
            told = [(f"p{i}", f"w{writer}-{call}-{i}", call + writer / 10, "search") for i in range(3)]
            told += [(f"p{i}", f"all-{call}-{i}", call + 0.95, f"c{call}") for i in range(3)]
            events = [
                Event(
                    person=person,
                    event_id=event_id,
                    at=BEGIN + dt.timedelta(days=on),
                    kind="click",
                    channel=channel,
                )
                for person, event_id, on, channel in told
            ]
            store.append([events[i] for i in rng.permutation(len(events))], NOW)


def together(url: str, n_writers: int) -> None:
    """So many processes of `share`, which end together."""
    children = []
    for writer in range(n_writers):
        child = os.fork()
        if not child:
            share(url, writer)
            os._exit(0)
        children.append(child)
    sys.exit(any([os.waitpid(child, 0)[1] for child in children]))


def people_of_call(call: int) -> EventBatch:
    """Whole journeys of people that only this call tells of, in no order."""
    n_events = PEOPLE_IN_A_CALL * (TOUCHES + 1)
    person = np.repeat(np.arange(PEOPLE_IN_A_CALL), TOUCHES + 1)
    step = np.tile(np.arange(TOUCHES + 1), PEOPLE_IN_A_CALL)
    kind = np.where(step < TOUCHES, TouchKind.CLICK, TouchKind.CONVERSION).astype(np.uint8)
    at_us = int(BEGIN.timestamp()) * 1_000_000 + step * 3_600_000_000 + person
    nothing = np.full(n_events, -1)
    batch = EventBatch(
        person=Coded([f"{call}:{i}" for i in range(PEOPLE_IN_A_CALL)], person),
        event_id=[f"{call}:{i}" for i in range(n_events)],
        at_us=at_us,
        kind=kind,
        channel=Coded(("search",), np.where(step < TOUCHES, 0, -1)),
        device=Coded((), nothing),
        rival=Coded((), nothing),
        stage=np.zeros(n_events, np.uint8),
        cost_micros=np.where(step < TOUCHES, 1_000, 0),
        value_micros=np.where(step < TOUCHES, 0, 90_000_000),
        currency=Coded(("USD",), np.zeros(n_events, np.int64)),
        booked_us=at_us,
    )
    return batch.take(np.random.default_rng(call).permutation(n_events))


def stream(url: str, first: int) -> None:
    """Append call after call and say which are done, until somebody kills this process."""
    with JourneyStore(url) as store:
        print("ready", os.getpid(), flush=True)
        call = first
        while True:
            store.append(people_of_call(call), NOW)
            print(call, flush=True)
            call += 1


def streams(url: str, _number: int) -> None:
    """For each line read, a number, a process that streams from that call on; says how it ended."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                stream(url, int(line))
            finally:
                os._exit(1)
        print("ended", os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    {"together": together, "streams": streams}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
