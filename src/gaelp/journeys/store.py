"""The journey database: tell it what happened, ask it whose journey stands where.

>>> import datetime as dt, tempfile
>>> from gaelp.journeys.batch import Event
>>> folder = tempfile.TemporaryDirectory()
>>> store = JourneyStore(folder.name + "/journeys.db")
>>> noon = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
>>> click = Event(person="cookie-7", event_id="e1", at=noon, kind="click", channel="search")
>>> store.append([click, click], now=noon).touches
1
>>> journey = store.journey("cookie-7", now=noon + dt.timedelta(days=2))
>>> journey.stage.name, journey.days, journey.channels
('CONSIDERING', 2.0, ('search',))
>>> store.journey("cookie-7", now=noon + dt.timedelta(days=14)).stage.name
'LOST'
>>> store.close()
>>> folder.cleanup()
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import sqlalchemy as sa

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import Stage
from gaelp.journeys import people
from gaelp.journeys.batch import Coded, Event, EventBatch, Ints, micros_since_1970
from gaelp.journeys.bulk import JourneyRules, Lives, cut, read_lives, selected, table_of_lives
from gaelp.journeys.database import Database
from gaelp.journeys.schema import (
    aliases,
    conversions,
    identities,
    journeys,
    rewards,
    settings,
    touchpoints,
)
from gaelp.journeys.table import JourneyTable
from gaelp.journeys.views import Journey, Summary, read_journeys, read_stages, read_summary
from gaelp.journeys.writing import Writer, names_by_code

Moment = dt.datetime | int
_CLOCK_SKEW_US: Final = 300_000_000
_PART: Final = 250_000
_PEOPLE_AT_ONCE: Final = 50_000


@dataclass(frozen=True, kw_only=True)
class Appended:
    """What became of events.

    Attributes:
        touches: stored now.
        conversions: stored now.
        repeats: event ids that were there already, or came twice.
        conflicts: those among the repeats that say something else than what is stored; the first told stays.
    """

    touches: int
    conversions: int
    repeats: int
    conflicts: tuple[str, ...]


def refuse_ahead(events: EventBatch, now_us: int) -> None:
    """Refuse events that lie more than five minutes after now.

    Raises:
        BadInput: one does; names it.
    """
    for name in ("at_us", "booked_us"):
        ahead = np.flatnonzero(getattr(events, name) > now_us + _CLOCK_SKEW_US)
        if ahead.size:
            allowed = f"must not lie after now, {now_us}"
            remedy = "Mend the clock that stamped it, or the unit (microseconds)."
            raise BadInput(f"{name}[{ahead[0]}]", getattr(events, name)[ahead[0]], allowed, remedy)


class JourneyStore:
    """Journeys, kept in SQLite or PostgreSQL.

    Args:
        url: see `Database`.
        rules: when a journey ends; None: those the store was made with, for a new one the defaults.
        make: see `Database`.

    Raises:
        BadInput: the database is not there or cannot be opened.
        MismatchError: the store was made with other rules, or by a newer version.
    """

    def __init__(
        self, url: str | Path | None = None, *, rules: JourneyRules | None = None, make: bool = True
    ) -> None:
        self.database = Database(url, make=make)
        try:
            self.rules = self._settle_rules(rules)
        except BaseException:
            self.close()
            raise
        self._writer = Writer(self.database, self.rules)

    def __enter__(self) -> "JourneyStore":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give all connections back."""
        self.database.close()

    def get_or_create(self, person: str, now: Moment) -> people.Person:
        """Who is behind an id, known from now on if it was not.

        Raises:
            BadInput: the id is no text a database can hold.
        """
        Coded.check("person", [person])
        with self.database.reading() as connection:
            found = people.person(connection, person)
        if found is not None:
            return found
        now_us = micros_since_1970("now", now)
        with self.database.writing() as connection:
            people.get_or_create(self.database, connection, [person], now_us)
            found = people.person(connection, person)
        assert found is not None
        return found

    def person(self, person: str) -> people.Person | None:
        """Who is behind an id; None where it is unknown.

        Raises:
            BadInput: the id is no text a database can hold.
        """
        Coded.check("person", [person])
        with self.database.reading() as connection:
            return people.person(connection, person)

    def append(self, events: EventBatch | Iterable[Event], now: Moment) -> Appended:
        """Store events, in any order, and bring the journeys of their people up to date.

        Each transaction holds everything that the call tells of a person: after a crash somebody's events
        are all there or not at all. Calls of less than 250,000 events are one transaction.

        Args:
            events: touches and conversions. A conversion is told once it is booked.
            now: the moment; journeys idle for too long by now are lost.

        Returns:
            What was new.

        Raises:
            BadInput: an event is not what it should be, or lies more than five minutes after now. Nothing
                is stored then.
        """
        batch = events if isinstance(events, EventBatch) else EventBatch.of_events(events)
        now_us = micros_since_1970("now", now)
        refuse_ahead(batch, now_us)
        touches = sales = 0
        clashes: list[str] = []
        for part in batch.parts(_PART):
            with self.database.writing() as connection:
                n_touches, n_sales, found = self._writer.append(connection, part, now_us)
            touches, sales, clashes = touches + n_touches, sales + n_sales, clashes + found
        return Appended(
            touches=touches,
            conversions=sales,
            repeats=len(batch) - touches - sales,
            conflicts=tuple(dict.fromkeys(clashes)),
        )

    def journey(self, person: str, now: Moment) -> Journey | None:
        """A person's newest journey as it stands now; None where nothing happened yet.

        Args:
            person: any id of theirs.
            now: the moment.

        Raises:
            BadInput: the id is no text a database can hold.
        """
        found = self.journeys(person, now, newest=True)
        return found[0] if found else None

    def journeys(self, person: str, now: Moment, *, newest: bool = False) -> list[Journey]:
        """A person's journeys as they stand now, oldest first.

        Args:
            person: any id of theirs; an unknown one has no journeys.
            now: the moment.
            newest: only the last one.

        Raises:
            BadInput: the id is no text a database can hold.
        """
        Coded.check("person", [person])
        now_us = micros_since_1970("now", now)
        with self.database.reading() as connection:
            return read_journeys(connection, person, now_us, self.rules, newest=newest)

    def stages(self, now: Moment) -> dict[str, int]:
        """Journeys by stage as they stand now, in the order of a journey."""
        now_us = micros_since_1970("now", now)
        with self.database.reading() as connection:
            return read_stages(connection, now_us, self.rules)

    def summary(self, now: Moment) -> Summary:
        """All that is stored, in figures, as it stands now; it reads every touchpoint."""
        now_us = micros_since_1970("now", now)
        with self.database.reading() as connection:
            return read_summary(connection, now_us, self.rules)

    def time_out(self, now: Moment) -> int:
        """Mark journeys that have been idle for too long as lost.

        Returns:
            How many became lost.
        """
        now_us = micros_since_1970("now", now)
        j = journeys.c
        late = j.ended_us.is_(None) & (j.last_us <= now_us - self.rules.idle_us)
        with self.database.writing() as connection:
            owners = sa.select(j.identity_id).where(late)
            connection.execute(identities.update().where(identities.c.id.in_(owners)).values(unsettled=1))
            done = connection.execute(
                journeys.update()
                .where(late)
                .values(stage=int(Stage.LOST), ended_us=j.last_us + self.rules.idle_us)
            )
            return int(done.rowcount)

    def merge(self, kept: str, absorbed: str, confidence: float, now: Moment) -> bool:
        """Say that two ids belong to one person; their journeys become one life.

        Args:
            kept: an id of the person who stays.
            absorbed: an id of the person who is added.
            confidence: how sure that is, above 0 to 1.
            now: the moment.

        Returns:
            Whether they were two people until now.

        Raises:
            BadInput: an id is unknown, or the confidence is out of range.
        """
        if not 0.0 < confidence <= 1.0:
            raise BadInput("confidence", confidence, "must be above 0 and at most 1", "Give a probability.")
        Coded.check("person", [kept, absorbed])
        now_us = micros_since_1970("now", now)
        with self.database.writing() as connection:
            found = people.require(self.database, connection, [kept, absorbed])
            root, other = found[0][2], found[1][2]
            if root == other:
                return False
            people.link(connection, root, other, confidence)
            connection.execute(journeys.delete().where(journeys.c.identity_id == other))
            self._writer.recut(connection, np.array([root]), None, now_us)
        return True

    def unmerge(self, one: str, other: str, now: Moment) -> bool:
        """Undo the merge that made one person of two ids; everything is as if it had never been.

        Where several merges lie between them, the newest is undone, the one that joined them.

        Args:
            one: an id.
            other: another.
            now: the moment.

        Returns:
            Whether they were one person until now.

        Raises:
            BadInput: an id is unknown, or both were born as one.
        """
        Coded.check("person", [one, other])
        now_us = micros_since_1970("now", now)
        with self.database.writing() as connection:
            found = people.require(self.database, connection, [one, other])
            parted = people.unlink(connection, found[0][1], found[1][1])
            if parted is None:
                return False
            self._writer.recut(connection, np.array([found[0][2], parted]), None, now_us)
        return True

    def forget(self, person: str, *, scrub: bool = False) -> int:
        """Remove everything about a person, all merged ids included.

        Args:
            person: any id of theirs; one that is unknown is no error.
            scrub: also rewrite the files, so that no byte of it stays in unused pages; takes a while.

        Returns:
            Rows removed.

        Raises:
            BadInput: the id is no text a database can hold.
            GaelpError: the files could not be rewritten; the rows are removed all the same.
        """
        Coded.check("person", [person])
        removed = 0
        with self.database.writing() as connection:
            found = people.person(connection, person)
            if found is not None:
                sold = sa.select(conversions.c.event_id).where(conversions.c.alias_id.in_(found.alias_ids))
                mine = rewards.c.alias_id.in_(found.alias_ids)
                # what these touches had of others' conversions goes to the baseline of those
                buyer = sa.select(conversions.c.alias_id).where(
                    conversions.c.event_id == rewards.c.conversion_id
                )
                connection.execute(
                    rewards.update()
                    .where(mine & (rewards.c.conversion_id != "") & rewards.c.conversion_id.not_in(sold))
                    .values(event_id="", alias_id=buyer.scalar_subquery())
                )
                # what others' touches had of these conversions is removed, so they are settled anew
                paid = sa.select(rewards.c.alias_id).where(rewards.c.conversion_id.in_(sold))
                owners = sa.select(aliases.c.identity_id).where(aliases.c.id.in_(paid))
                connection.execute(identities.update().where(identities.c.id.in_(owners)).values(unsettled=1))
                owned = sa.select(identities.c.id).where(identities.c.root_id == found.root)
                for table, which in (
                    (rewards, rewards.c.conversion_id.in_(sold)),
                    (rewards, mine),
                    (touchpoints, touchpoints.c.alias_id.in_(found.alias_ids)),
                    (conversions, conversions.c.alias_id.in_(found.alias_ids)),
                    (journeys, journeys.c.identity_id == found.root),
                    (aliases, aliases.c.identity_id.in_(owned)),
                    (identities, identities.c.root_id == found.root),
                ):
                    removed += connection.execute(table.delete().where(which)).rowcount
        if scrub:
            self.database.scrub()
        return removed

    def table(
        self,
        now: Moment,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        currency: str = "USD",
    ) -> JourneyTable:
        """Journeys as the arrays that attribution and training read, by person and time.

        Args:
            now: an open journey counts as not converted, observed until now; so do those that a look at
                this moment finds timed out, until they did.
            since: leave out journeys that began before; None: none.
            until: leave out journeys that began then or later; None: none.
            currency: of all values.

        Returns:
            One row per journey; `person` holds the people's codes.

        Raises:
            BadInput: a conversion is in another currency.
        """
        now_us = micros_since_1970("now", now)
        wanted: sa.ColumnElement[bool] = sa.true()
        if since is not None:
            wanted &= journeys.c.opened_us >= micros_since_1970("since", since)
        if until is not None:
            wanted &= journeys.c.opened_us < micros_since_1970("until", until)
        with self.database.reading() as connection:
            roots = np.array(
                connection.execute(
                    sa.select(journeys.c.identity_id)
                    .where(wanted)
                    .distinct()
                    .order_by(journeys.c.identity_id)
                )
                .scalars()
                .all(),
                np.int64,
            )
            lives = self.lives(connection, roots)
            known = names_by_code(connection, "channel")
            currencies = names_by_code(connection, "currency")
        cuts = cut(lives, self.rules, now_us)
        inside = np.ones(cuts.first.size, bool)
        if since is not None:
            inside &= cuts.opened_us >= micros_since_1970("since", since)
        if until is not None:
            inside &= cuts.opened_us < micros_since_1970("until", until)
        lives, cuts = selected(lives, cuts, inside)
        paid = set(np.unique(lives.currency[cuts.conversion[cuts.conversion >= 0]]).tolist())
        foreign = [currencies[code] for code in paid if currencies[code] != currency]
        if foreign:
            allowed = f"must all be {currency}"
            raise BadInput("currency of conversions", foreign, allowed, "Choose a span with one currency.")
        return table_of_lives(lives, cuts, known, now_us, person=roots)

    def lives(self, connection: sa.Connection, roots: Ints) -> Lives:
        """What happened to some people, by their roots, which come sorted."""
        found = [
            read_lives(self.database, connection, roots[begin : begin + _PEOPLE_AT_ONCE])
            for begin in range(0, max(roots.size, 1), _PEOPLE_AT_ONCE)
        ]
        return Lives.joined(found, _PEOPLE_AT_ONCE)

    def _settle_rules(self, asked: JourneyRules | None) -> JourneyRules:
        rows = sa.select(settings.c.name, settings.c.value)
        with self.database.reading() as connection:
            kept = {row[0]: row[1] for row in connection.execute(rows)}
        if "idle_days" not in kept:
            with self.database.writing() as connection:
                kept = {row[0]: row[1] for row in connection.execute(rows)}
                if "idle_days" not in kept:
                    made = asked or JourneyRules()
                    kept = {"idle_days": made.idle_days, "late_days": made.late_days}
                    counters = {"next_identity": 1, "next_merge": 1, "next_reward": 1}
                    every = {**kept, **counters}
                    self.database.insert(
                        connection, settings, {"name": list(every), "value": list(every.values())}
                    )
        found = JourneyRules(idle_days=kept["idle_days"], late_days=kept["late_days"])
        if asked is not None and asked != found:
            remedy = "Open it without rules, or make a new store."
            raise MismatchError("rules", asked, f"must be those of the store, {found}", remedy)
        return found
