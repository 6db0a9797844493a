"""All that happened to some people at a time, with devices, and their touches as patterns read them."""

from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from gaelp.core.words import Stage, TouchKind
from gaelp.data.patterns.vectors import Touches, device_codes, family_codes
from gaelp.journeys.batch import Ints
from gaelp.journeys.bulk import Cut, Lives, cut, read_lives
from gaelp.journeys.schema import journeys, touchpoints
from gaelp.journeys.store import JourneyStore

PEOPLE_AT_ONCE = 50_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """All that happened to some people, who are in no other part.

    Attributes:
        n_people: how many. lives: their events. cuts: their journeys as of the moment asked.
        device: (n_events,) codes of the store, 0 where none is known.
    """

    n_people: int
    lives: Lives
    cuts: Cut
    device: Ints

    @property
    def intent(self) -> NDArray[np.bool_]:
        """(n_events,) whether a touch showed that somebody was about to buy."""
        return np.equal(self.lives.stage, Stage.INTENT)

    @property
    def converted(self) -> NDArray[np.bool_]:
        """(n_journeys,) whether a journey ended with a purchase."""
        return self.cuts.conversion >= 0

    def rows_of(self, which: Ints) -> tuple[Ints, Ints]:
        """Rows of the touches of some journeys, and the place of each one's journey among these."""
        size = self.cuts.n_touches[which]
        journey = np.repeat(np.arange(which.size), size)
        place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        return self.cuts.first[which][journey] + place, journey

    def touches(self, which: Ints, channels: list[str], devices: list[str]) -> Touches:
        """Touches of some journeys, each with at least one.

        Args:
            which: (n,) journeys. channels, devices: names by code of the store.
        """
        row, _ = self.rows_of(which)
        size = self.cuts.n_touches[which]
        offsets = np.append(0, np.cumsum(size))
        intent = np.zeros(row.size, bool)
        intent[offsets[:-1]] = self.cuts.reached[which] >= Stage.INTENT
        return Touches(
            offsets=offsets,
            family=family_codes(channels)[self.lives.channel[row]],
            device=device_codes(devices)[self.device[row]],
            at_us=self.lives.at_us[row],
            click=self.lives.kind[row] == TouchKind.CLICK,
            intent=intent,
        )


def read_part(store: JourneyStore, connection: sa.Connection, roots: Ints, now_us: int) -> Part:
    """All that happened to some people.

    Args:
        store: to read from. connection: of one of its transactions.
        roots: (n_people,) codes of people, sorted. now_us: journeys are cut as of this moment.
    """
    lives = read_lives(store.database, connection, roots)
    t = touchpoints.c
    seen_under = store.database.among(t.alias_id, np.unique(lives.alias_id))
    told = {row[0]: row[1] for row in connection.execute(sa.select(t.event_id, t.device).where(seen_under))}
    device = np.fromiter((told.get(each, 0) for each in lives.event_id), np.int64, len(lives.event_id))
    return Part(n_people=roots.size, lives=lives, cuts=cut(lives, store.rules, now_us), device=device)


def everybody(connection: sa.Connection) -> Ints:
    """Codes of all people with a journey, rising."""
    column = journeys.c.identity_id
    found = connection.execute(sa.select(column).distinct().order_by(column)).scalars().all()
    return np.array(found, np.int64)
