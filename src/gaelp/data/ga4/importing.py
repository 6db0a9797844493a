"""A GA4 export, told to the journey database."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gaelp.core.errors import BadInput
from gaelp.data.ga4.arrow import Table, pc
from gaelp.data.ga4.purchases import Rules
from gaelp.data.ga4.reading import find_files, read_events
from gaelp.data.ga4.rows import USED
from gaelp.data.ga4.sessions import tell
from gaelp.data.ga4.shuffle import Shuffle
from gaelp.journeys.batch import micros_since_1970
from gaelp.journeys.restating import link_all, restate
from gaelp.journeys.store import JourneyStore, Moment

LOGIN_CONFIDENCE = 1.0
"""How sure it is that a cookie belongs to the only login ever seen with it."""
RESTATED_DAYS = 4
"""Google keeps changing a daily table for three days after its day: so the newest four are loaded again."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of an export.

    Attributes:
        files: how many were read.
        first_date: earliest `event_date`, YYYYMMDD in the property's time zone; 0 where there is no event.
        last_date: the latest.
        events: rows read.
        duplicates: rows that repeat another: person, time, name and all of GA4's own numbers.
        implausible_times: rows left out, whose clock is days away from their date, before 1990, or ahead of
            now.
        anonymous: rows without an id (consent denied); their purchases are stored, each a person of its own.
        outside_sessions: rows with an id and no session; of these only purchases are stored.
        refunds: `refund` events, which are not subtracted.
        duplicate_purchases: purchases of a transaction told already.
        without_value: purchases stored at 0, for want of a value or of its currency.
        touches: sessions stored for the first time.
        conversions: purchases stored for the first time.
        replaced: sessions and purchases stored before, of which something else is known now.
        repeats: those told before.
        linked: cookies found to belong to a login.
        shared_cookies: cookies seen with several logins, or that belong to somebody else; not linked.
        sources: sessions by who told where they came from, see `columns.LEVELS`.
    """

    files: int = 0
    first_date: int = 0
    last_date: int = 0
    events: int = 0
    duplicates: int = 0
    implausible_times: int = 0
    anonymous: int = 0
    outside_sessions: int = 0
    refunds: int = 0
    duplicate_purchases: int = 0
    without_value: int = 0
    touches: int = 0
    conversions: int = 0
    replaced: int = 0
    repeats: int = 0
    linked: int = 0
    shared_cookies: int = 0
    sources: dict[str, int] = field(default_factory=dict)


def import_export(
    store: JourneyStore,
    path: Path,
    now: Moment,
    *,
    rules: Rules | None = None,
    last_days: int | None = None,
) -> Imported:
    """Tell the store what an export knows; told again, only what is new or restated changes.

    After a crash some people are there and others are not; import again, and all are.

    Args:
        store: gets touches, conversions and links.
        path: a file or a folder, see `reading.find_files`.
        now: the moment; give an archive its own.
        rules: how the export is told.
        last_days: only the newest tables, see `RESTATED_DAYS`; None: all.

    Raises:
        BadInput: a file cannot be read, or a row is no event. Nothing is stored then.
    """
    files = find_files(path, last_days)
    found = import_events(store, read_events(files), now, rules=rules)
    return Imported(**{**vars(found), "files": len(files)})


def import_events(
    store: JourneyStore, tables: Iterable[Table], now: Moment, *, rules: Rules | None = None
) -> Imported:
    """Tell the store flat tables of events, see `columns.FLAT`; all are read before anything is stored.

    Args:
        store: gets touches, conversions and links.
        tables: in any order.
        now: the moment.
        rules: how they are told.

    Raises:
        BadInput: as reading them does; or no event lies near its date, so that all would be left out.
    """
    now_us = micros_since_1970("now", now)
    asked = rules or Rules()
    counts: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    dates: list[int] = []
    with Shuffle() as shuffle:
        for table in tables:
            used = table.select(USED)
            shuffle.add(used)
            ends = pc.min_max(used["event_date"]).as_py()
            dates += [each for each in ends.values() if each is not None]
        for people in shuffle.people():
            told = tell(people, asked, now_us)
            done = restate(store, told.batch, now_us)
            joined = link_all(store, told.links, LOGIN_CONFIDENCE, now_us)
            sources += told.levels
            counts += told.counts
            counts += Counter(
                {
                    "touches": done.touches,
                    "conversions": done.conversions,
                    "replaced": done.replaced,
                    "repeats": done.repeats,
                    "linked": joined.linked,
                    "shared_cookies": joined.contested,
                }
            )
    if 0 < counts["events"] == counts["implausible_times"]:
        allowed = "must be microseconds since 1970, within five days of event_date and not ahead of now"
        remedy = "See whether it is in seconds or milliseconds; of an archive, name its --now."
        raise BadInput("event_timestamp", f"that of all {counts['events']:,} events", allowed, remedy)
    span = {"first_date": min(dates), "last_date": max(dates)} if dates else {}
    return Imported(**span, **counts, sources=dict(sources))
