"""What an account knows of a run: a table of events, as `gaelp attribute` and `gaelp identity` read it.

The market knows people, devices, cookies, logins and regions, but neither households nor networks. Those are
laid over it here, because an address is what ties two cookies of one person together, and two people of one
household. They change nothing in the market: each is a draw of the life's key that no kernel uses.
"""

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.clock import SECONDS_PER_HOUR
from gaelp.core.files import replacing
from gaelp.core.jit import jit
from gaelp.core.random import bits, subkey, uniform
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import Channel, TouchKind
from gaelp.market.hour import VISITOR
from gaelp.market.market import Market
from gaelp.market.people import person_key
from gaelp.platforms.reporting import Sight, seen_events

EVENTS = "events.parquet"
"""Its name in a run's folder."""
EVENTS_PER_PERSON_DAY = 2.5
"""Room for a run's events; a flown day writes about .3 a person in the reference market, 2 in `b2b_lead`."""

DEVICES = ("mobile", "desktop", "tablet")
PEOPLE_PER_HOME, PEOPLE_PER_OFFICE, PEOPLE_PER_CARRIER, PEOPLE_PER_CAFE = 1.5, 20.0, 300.0, 40.0
"""People of a region for each home, office, carrier's address and public place there. Assumed; with homes
drawn independently, a person shares home with as many others on average, and two people in nine with none."""
HOME, OFFICE, CARRIER, CAFE = range(4)
PLACES = np.array([[0.50, 0.05, 0.35, 0.10], [0.75, 0.22, 0.0, 0.03], [0.90, 0.0, 0.05, 0.05]])
"""(device, place) shares of events, by `DEVICES` and HOME .. CAFE. Assumed."""
DAYS_PER_LEASE = 60.0
"""Days for which a home keeps its address. Assumed."""
_HOME, _PHASE, _OFFICE, _CARRIER, _PLACE, _CAFE = range(4096, 4102)
_EDGES = PLACES.cumsum(axis=1)


def event_rows(n_people: int, days: int) -> int:
    """Room for the events of a world that lives `days`, the warm-up included."""
    return int(EVENTS_PER_PERSON_DAY * n_people * days)


def life_of(market: Market, world: int, seat: int, seen: NDArray[np.void]) -> NDArray[np.int64]:
    """Whose each event is: truth, for judging and for `address_of`, never for an account.

    A person's slot has one life after another; cookies and logins are draws of the life, which names it.

    Args:
        market: worlds made with `event_rows`. world, seat: whose events.
        seen: (n,) SEEN records of them.

    Returns:
        (n,) 65,536 times the person's index plus the generation; -1 where neither cookie nor login is known.
    """
    logs = (market.events(world), market.decisions(world))
    known = np.concatenate([log[name] for log in logs for name in ("visitor", "login")])
    slot = np.concatenate([log["person"] for log in logs for _ in range(2)])
    known, first = np.unique(known, return_index=True)
    number = np.where(seen["visitor"] > 0, seen["visitor"], seen["login"])
    life = np.full(len(seen), -1, np.int64)
    rows = np.flatnonzero(number > 0)
    purpose = VISITOR + 4 * seat + np.where(seen["visitor"] > 0, seen["device"], 3)[rows].astype(np.int64)
    person = slot[first][np.searchsorted(known, number[rows])]
    newest = market.pop.people["generation"][world][person]
    life[rows] = _lives(market.rules[world], number[rows], purpose, person, newest)
    return life


@jit
def _lives(
    r: Any,
    number: NDArray[np.uint64],
    purpose: NDArray[np.int64],
    person: NDArray[np.int32],
    newest: NDArray[np.uint16],
) -> NDArray[np.int64]:
    """The life of each slot whose draw for the purpose is the number."""
    life = np.empty(number.size, np.int64)
    for i in range(number.size):
        generation = int(newest[i])
        while bits(person_key(r, person[i], generation), purpose[i]) != number[i]:
            generation -= 1
        life[i] = int(person[i]) * 65536 + generation
    return life


def address_of(
    market: Market,
    world: int,
    seen: NDArray[np.void],
    life: NDArray[np.int64],
    people_per_home: float = PEOPLE_PER_HOME,
) -> NDArray[np.uint64]:
    """The network address of each event: a home's, an office's, a carrier's NAT or a public place's.

    Args:
        market: the worlds. world: which one.
        seen: (n,) SEEN records. life: (n,) as `life_of` found.
        people_per_home: others whom a person shares home with, on average.

    Returns:
        (n,) random numbers; 0 where neither cookie nor login is known.
    """
    rules = market.rules[world]
    people = np.diff(rules["region_edge"], prepend=0.0) * market.n_people
    return _addresses(rules, people, people_per_home, life, seen["region"], seen["device"], seen["hour"])


@jit
def _addresses(
    r: Any,
    people: NDArray[np.float64],
    people_per_home: float,
    life: NDArray[np.int64],
    region: NDArray[np.uint8],
    device: NDArray[np.uint8],
    hour: NDArray[np.int32],
) -> NDArray[np.uint64]:
    found = np.zeros(life.size, np.uint64)
    for i in range(life.size):
        if life[i] < 0:
            continue
        own = subkey(r.world_key, life[i])
        now = subkey(own, 4 * int(hour[i]) + int(device[i]))
        there = subkey(r.world_key, -1 - int(region[i]))
        near = people[region[i]]
        u = uniform(now, _PLACE)
        edges = _EDGES[device[i]]
        if u < edges[HOME]:
            home = subkey(there, _spot(own, _HOME, near / people_per_home))
            lease = math.floor(hour[i] / 24.0 / DAYS_PER_LEASE + uniform(home, _PHASE))
            found[i] = bits(subkey(home, lease), _HOME)
        elif u < edges[OFFICE]:
            found[i] = bits(subkey(there, _spot(own, _OFFICE, near / PEOPLE_PER_OFFICE)), _OFFICE)
        elif u < edges[CARRIER]:
            found[i] = bits(subkey(there, _spot(own, _CARRIER, near / PEOPLE_PER_CARRIER)), _CARRIER)
        else:
            found[i] = bits(subkey(there, _spot(now, _CAFE, near / PEOPLE_PER_CAFE)), _CAFE)
    return found


@jit
def _spot(key: np.uint64, purpose: int, n: float) -> int:
    """One of about `n` places."""
    return int(uniform(key, purpose) * max(1.0, math.ceil(n)))


def write_visible_events(path: Path, market: Market, *, seat: int = 0) -> int:
    """Write the user-level events that a seat knows of, world by world, oldest known first in each.

    Columns: `world` is its place in the batch; no person and no journey spans two. `person` is the world and
    the address somebody was logged in with, else the cookie; whoever refused both is a person of one event.
    `time` is in seconds since 1970, `channel` and `kind` are words, `value` is the USD of a conversion.
    `cookie` and `login` are empty where refused, and so is `address` (a network address, hashed) where both
    are; `city` is where the address is, `device` a word. What an account is never told is not there; see the
    visibility matrix.

    Args:
        path: Parquet file to make or replace. market: worlds made with `event_rows`. seat: whose.

    Returns:
        How many events were written.

    Raises:
        BadInput: there were more events than room for them.
    """
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    channels = np.array([channel.name.lower() for channel in Channel])
    kinds = np.array([kind.name.lower() for kind in TouchKind])
    tables = []
    for world in range(market.n_worlds):
        file = market.worlds[world].file
        seen = seen_events(market, world, seat, Sight(file.visibility), market.hour)
        began = (np.datetime64(file.start) - np.datetime64("1970-01-01")).astype("timedelta64[s]").astype(int)
        life = life_of(market, world, seat, seen)
        cookie, login, address = (
            [f"{world}-{prefix}{number:x}" if number else "" for number in numbers.tolist()]
            for prefix, numbers in (
                ("cookie-", seen["visitor"]),
                ("login-", seen["login"]),
                ("address-", address_of(market, world, seen, life)),
            )
        )
        person = [a or b or f"{world}-{i}" for i, (a, b) in enumerate(zip(login, cookie, strict=True))]
        tables.append(
            arrow.table(
                {
                    "world": np.full(len(seen), world, np.int32),
                    "person": person,
                    "time": began + seen["hour"].astype(np.int64) * SECONDS_PER_HOUR,
                    "channel": channels[seen["channel"]],
                    "kind": kinds[seen["kind"]],
                    "value": seen["value_micros"] / MICROS_PER_USD,
                    "cookie": cookie,
                    "login": login,
                    "address": address,
                    "city": [f"region {region}" for region in seen["region"].tolist()],
                    "device": np.array(DEVICES)[seen["device"]],
                }
            )
        )
    table = arrow.concat_tables(tables)
    with replacing(path) as neighbour:
        parquet.write_table(table, neighbour)
    return int(table.num_rows)
