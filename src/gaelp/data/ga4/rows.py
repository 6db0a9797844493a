"""Events as codes in arrays, each once."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.data.ga4.arrow import Array, Table, pa, pc, whole
from gaelp.journeys.batch import US_PER_DAY, Ints

USED: Final = (
    *("event_date", "event_us", "event_name", "cookie", "login", "session"),
    *("bundle", "page_id", "ordering", "index", "analytics_consent", "device"),
    *("source", "medium", "campaign", "group", "level", "ad_click"),
    *("transaction", "currency", "value", "value_usd"),
)
"""Columns of the flat table that journeys are made of."""
_LONGEST: Final = 255
_SKEW_US: Final = 300_000_000
_EARLIEST_US: Final = 631_152_000_000_000  # 1990, as in the journey database
_DAYS_AWAY: Final = 5  # zones take one, and Google takes events that are told three days late


@dataclass(frozen=True, eq=False)
class Rows:
    """Events as codes; -1 where nothing is told, or where consent to be known was refused.

    Attributes:
        table: of `USED`, the same rows.
        us: (n,) microseconds since 1970.
        name: (n,) codes of `names`, and so on: cookies, logins, sessions, devices.
        order: (n,) each: bundle, page_id, ordering, index; they tell events of one moment apart.
        level: (n,) index into `columns.LEVELS`.
    """

    table: Table
    us: Ints
    name: Ints
    names: list[str]
    cookie: Ints
    cookies: list[str]
    login: Ints
    logins: list[str]
    session: Ints
    sessions: list[str]
    device: Ints
    devices: list[str]
    order: tuple[Ints, Ints, Ints, Ints]
    level: Ints

    @classmethod
    def of(cls, table: Table) -> "Rows":
        """The events of a table."""
        codes = {}
        for column in ("event_name", "cookie", "login", "session", "device"):
            codes[column] = _codes(table[column])
        refused = pc.fill_null(pc.equal(pc.utf8_lower(whole(table["analytics_consent"])), "no"), False)
        known = ~refused.to_numpy(zero_copy_only=False)
        return cls(
            table=table,
            us=table["event_us"].to_numpy(),
            name=codes["event_name"][0],
            names=codes["event_name"][1],
            cookie=np.where(known, codes["cookie"][0], -1),
            cookies=codes["cookie"][1],
            login=np.where(known, codes["login"][0], -1),
            logins=codes["login"][1],
            session=codes["session"][0],
            sessions=codes["session"][1],
            device=codes["device"][0],
            devices=codes["device"][1],
            order=tuple(
                pc.fill_null(whole(table[each]), -1).to_numpy()
                for each in ("bundle", "page_id", "ordering", "index")
            ),
            level=table["level"].to_numpy().astype(np.int64),
        )

    def distinct(self) -> "Rows":
        """Each event once, by person and time, told by whoever knows most of its source."""
        keys = (self.cookie, self.us, self.name, *self.order)
        order = np.lexsort((self.level, *reversed(keys)))
        same = np.ones(max(order.size - 1, 0), bool)
        for key in keys:
            column = key[order]
            same &= column[1:] == column[:-1]
        kept = order[np.append(True, ~same)[: order.size]]
        return self.take(kept)

    def take(self, rows: Ints) -> "Rows":
        """Some of them."""
        made: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name, cells in made.items():
            if isinstance(cells, np.ndarray):
                made[name] = cells[rows]
        made["order"] = tuple(cells[rows] for cells in self.order)
        made["table"] = self.table.take(pa.array(rows))
        return Rows(**made)

    def code_of(self, name: str) -> int:
        """The code of an event's name, -2 where there is none."""
        return self.names.index(name) if name in self.names else -2

    def codes_of(self, names: tuple[str, ...]) -> Ints:
        """The codes of some names."""
        return np.array([self.code_of(name) for name in names], np.int64)

    def person(self, login: int, cookie: int) -> str:
        """Who that is: the login, where there is one."""
        return self.logins[login] if login >= 0 else self.cookies[cookie]

    def words(self, column: str, rows: Ints) -> list[Any]:
        """Cells of a column as plain values."""
        found: list[Any] = self.table[column].take(pa.array(rows)).to_pylist()
        return found


def plausible(events: Table, now_us: int) -> NDArray[np.bool_]:
    """(n,) whether an event's clock agrees with the day GA4 put it on, and tells a time from 1990 to now.

    Args:
        events: flat rows. now_us: the moment, microseconds since 1970.

    Raises:
        BadInput: an event_date is no date.
    """
    us = events["event_us"].to_numpy()
    days, code = np.unique(events["event_date"].to_numpy(), return_inverse=True)
    noon = []
    for day in days.tolist():
        try:
            text = f"{day:08d}"
            since = np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:]}T12:00", "us")
            noon.append(int(since.astype(np.int64)))
        except ValueError:
            remedy = "Correct that table's event_date."
            raise BadInput("event_date", day, "must be a date as 20260301", remedy) from None
    away = np.abs(us - np.array(noon, np.int64)[code])
    return (away <= _DAYS_AWAY * US_PER_DAY) & (us >= _EARLIEST_US) & (us <= now_us + _SKEW_US)


def digest(text: str) -> str:
    """A short name for a long text."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def fit(text: str) -> str:
    """An id or a name that the store can hold."""
    return text if len(text) <= _LONGEST and "\x00" not in text else f"ga4:{digest(text)}"


def _codes(column: Array) -> tuple[Ints, list[str]]:
    coded = whole(column).dictionary_encode()
    return pc.fill_null(coded.indices, -1).to_numpy().astype(np.int64), coded.dictionary.to_pylist()
