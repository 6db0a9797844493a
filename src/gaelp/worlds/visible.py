"""What an account's own records hold of a run: a table of events, as `gaelp attribute` reads them."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from gaelp.core.clock import SECONDS_PER_HOUR
from gaelp.core.errors import BadInput
from gaelp.core.files import replacing
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import Channel, TouchKind
from gaelp.market.market import Market
from gaelp.platforms.reporting import Sight, seen_events

EVENTS = "events.parquet"
"""Its name in a run's folder."""
EVENTS_PER_PERSON = 100
"""Room for a run's events; the reference market writes about 50 a person in 180 days."""


def write_visible_events(path: Path, market: Market, *, seat: int = 0) -> int:
    """Write the user-level events that a seat knows of, of all worlds, oldest known first.

    Columns: `person` is the world and the address somebody was logged in with, else the cookie; whoever
    refused both is a person of one event. `time` is in seconds since 1970, `channel` and `kind` are words,
    `value` is the USD of a conversion. What an account is never told is not there; see the visibility matrix.

    Args:
        path: Parquet file to make or replace. market: worlds made with `event_rows`. seat: whose.

    Returns:
        How many events were written.

    Raises:
        BadInput: there were more events than room for them.
    """
    most = int(market.books.n_events.max())
    if most > market.books.events.shape[1]:
        remedy = "Simulate fewer days, or make more room."
        raise BadInput("events", most, f"must be at most {market.books.events.shape[1]:,} a world", remedy)
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    channels = np.array([channel.name.lower() for channel in Channel])
    kinds = np.array([kind.name.lower() for kind in TouchKind])
    tables = []
    for world in range(market.n_worlds):
        file = market.worlds[world].file
        seen = seen_events(market, world, seat, Sight(file.visibility), market.hour)
        began = (np.datetime64(file.start) - np.datetime64("1970-01-01")).astype("timedelta64[s]").astype(int)
        person = [
            f"{world}-login-{login:x}"
            if login
            else f"{world}-cookie-{visitor:x}"
            if visitor
            else f"{world}-{i}"
            for i, (login, visitor) in enumerate(
                zip(seen["login"].tolist(), seen["visitor"].tolist(), strict=True)
            )
        ]
        tables.append(
            arrow.table(
                {
                    "world": np.full(len(seen), world, np.int32),
                    "person": person,
                    "time": began + seen["hour"].astype(np.int64) * SECONDS_PER_HOUR,
                    "channel": channels[seen["channel"]],
                    "kind": kinds[seen["kind"]],
                    "value": seen["value_micros"] / MICROS_PER_USD,
                }
            )
        )
    table = arrow.concat_tables(tables)
    with replacing(path) as neighbour:
        parquet.write_table(table, neighbour)
    return int(table.num_rows)
