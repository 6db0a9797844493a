"""Tables of events for identity resolution: one line per event, with the cookie it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import nearest
from gaelp.journeys.columns import find_column, header, hours, read_columns, require, texts
from gaelp.journeys.identity.checks import LARGEST_HOUR
from gaelp.journeys.identity.resolver import Resolver

COLUMNS = {
    "time": ("time", "timestamp", "event_timestamp", "datetime"),
    "cookie": ("cookie", "visitor", "device_id", "client_id", "user_pseudo_id"),
    "login": ("login", "user_id", "customer_id", "email"),
    "address": ("address", "household", "ip"),
    "city": ("city", "region"),
    "device": ("device", "device_type", "device_category"),
    "behaviour": ("behaviour", "channel", "section", "event"),
}
"""What a file may tell, and the names its columns may have; time and cookie it must."""
_REQUIRED = ("time", "cookie")
_CLASSES = 8


@dataclass(frozen=True)
class IdentityTable:
    """Events as numbers; names by number, 0 for unknown.

    Attributes:
        hour: (n,) hours since 1970 began, UTC.
        cookie, login, address, city: (n,) numbers.
        device, behaviour: (n,) codes 0 to 7 by frequency, rare ones sharing the last; 255 unknown.
        cookie_names, login_names: by number.
        person: (n,) the truth, where a column of it was named.
        n_repeats: lines left out because they repeat another.
    """

    hour: NDArray[np.float64]
    cookie: NDArray[np.uint64]
    login: NDArray[np.uint64]
    address: NDArray[np.uint64]
    city: NDArray[np.uint64]
    device: NDArray[np.uint8]
    behaviour: NDArray[np.uint8]
    cookie_names: list[str]
    login_names: list[str]
    person: NDArray[np.str_] | None
    n_repeats: int

    def add_to(self, resolver: Resolver) -> None:
        """Tell a resolver these events."""
        resolver.add(
            hour=self.hour,
            cookie=self.cookie,
            login=self.login,
            address=self.address,
            city=self.city,
            device=self.device,
            behaviour=self.behaviour,
        )

    def person_of(self, cookies: NDArray[np.uint64]) -> NDArray[np.str_]:
        """(n_cookies,) who each cookie belongs to: whoever has most of its events, by name where equal."""
        assert self.person is not None
        names, person = np.unique(self.person, return_inverse=True)
        pairs, n = np.unique(np.stack([self.cookie.astype(np.int64), person]), axis=1, return_counts=True)
        order = np.lexsort((-pairs[1], n, pairs[0]))
        best = dict(zip(pairs[0][order].tolist(), pairs[1][order].tolist(), strict=True))
        return np.asarray(names[[best[int(cookie)] for cookie in cookies]])


def read_identity_table(path: Path, truth: str | None = None) -> IdentityTable:
    """Read events for identity resolution.

    Lines may come in any order; those that repeat another in all columns read are left out and counted.

    Args:
        path: .csv, .csv.gz, .tsv, .tsv.gz or .parquet with a header.
        truth: column that says who it really was; used for judging only.

    Raises:
        BadInput: a column is misspelt or missing, a time cannot be read, or there are no lines.
    """
    there = header(path)
    names = {
        what: find_column(there, f"the {what}", None, usual, required=what in _REQUIRED)
        for what, usual in COLUMNS.items()
    }
    if truth is not None:
        find_column(there, "the truth", truth, ())
    _refuse_misspelt(there, {*names.values(), truth})
    used = {what: name for what, name in names.items() if name is not None and name != truth}
    cells = read_columns(path, [*used.values(), *([truth] if truth else [])])
    time_name = used["time"]
    hour = hours(time_name, cells[time_name])
    first, last = (np.datetime64(end, "h").astype("M8[D]") for end in (-LARGEST_HOUR, LARGEST_HOUR))
    within = np.abs(hour) < LARGEST_HOUR
    require(time_name, cells[time_name], within, f"must be from {first + 1} to {last - 1}")
    n = hour.size
    if not n:
        raise BadInput("FILE", path.name, "must have at least one event", "Export some days.")
    said = {what: texts(name, cells[name], empty=True) for what, name in used.items() if what != "time"}
    person = np.array(texts(truth, cells[truth])) if truth else None
    numbers, named = {}, {}
    for what in ("cookie", "login", "address", "city"):
        numbers[what], named[what] = _number(said.get(what, [""] * n))
    codes = {what: _classify(said.get(what, [""] * n)) for what in ("device", "behaviour")}
    columns: list[NDArray[Any]] = [hour, *numbers.values(), *codes.values()]
    if person is not None:
        columns.append(np.unique(person, return_inverse=True)[1])
    order = np.lexsort(columns[::-1])
    repeats = np.zeros(n, bool)
    repeats[1:] = np.logical_and.reduce([each[order][1:] == each[order][:-1] for each in columns])
    kept = np.sort(order[~repeats])
    return IdentityTable(
        hour=hour[kept],
        cookie=numbers["cookie"][kept],
        login=numbers["login"][kept],
        address=numbers["address"][kept],
        city=numbers["city"][kept],
        device=codes["device"][kept],
        behaviour=codes["behaviour"][kept],
        cookie_names=named["cookie"],
        login_names=named["login"],
        person=None if person is None else person[kept],
        n_repeats=int(repeats.sum()),
    )


def _refuse_misspelt(there: Sequence[str], known: set[str | None]) -> None:
    """Columns of other things are left out, but one that looks like a usual name was meant."""
    usual = [name for names in COLUMNS.values() for name in names]
    for name in there:
        if name not in known and name.lower() not in usual and (guess := nearest(name, usual)):
            remedy = f"Did you mean {guess!r}? Rename it or leave it out."
            raise BadInput("column", name, f"known are {', '.join(usual)}", remedy)


def _number(said: Sequence[str]) -> tuple[NDArray[np.uint64], list[str]]:
    """Numbers from 1 in the order of the names, 0 where there is none; and the names by number."""
    names = sorted(set(said) - {""})
    number = {"": 0, **{name: i for i, name in enumerate(names, 1)}}
    return np.fromiter((number[name] for name in said), np.uint64, len(said)), ["", *names]


def _classify(said: Sequence[str]) -> NDArray[np.uint8]:
    """Codes by frequency; the last one is shared by all that are rarer."""
    lower = [name.lower() for name in said]
    names, n = np.unique(np.array(lower), return_counts=True)
    frequent = [str(name) for name in names[np.lexsort((names, -n))] if name]
    code = {"": 255, **{name: min(i, _CLASSES - 1) for i, name in enumerate(frequent)}}
    return np.fromiter((code[name] for name in lower), np.uint8, len(lower))
