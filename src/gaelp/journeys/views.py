"""One journey, and all of them in figures, for a person to read."""

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa

from gaelp.core.words import Stage, TouchKind
from gaelp.journeys.batch import US_PER_DAY, moment_of
from gaelp.journeys.bulk import JourneyRules
from gaelp.journeys.people import Person, person
from gaelp.journeys.schema import aliases, conversions, identities, journeys, names, touchpoints


@dataclass(frozen=True, kw_only=True)
class Touch:
    """One touchpoint of a journey; `person` is the id it was seen under, None what is not known."""

    event_id: str
    at: dt.datetime
    kind: TouchKind
    channel: str
    person: str
    device: str | None
    rival: str | None
    cost_micros: int
    currency: str


@dataclass(frozen=True, kw_only=True)
class Sale:
    """The conversion that ended a journey."""

    event_id: str
    at: dt.datetime
    booked_at: dt.datetime
    value_micros: int
    currency: str


@dataclass(frozen=True, kw_only=True)
class Journey:
    """A journey as it stands at a moment.

    Attributes:
        person: who.
        number: of this person's journeys, from 1.
        opened_at: first event.
        last_at: last touch; of a journey without touches, its conversion.
        ended_at: when it converted or timed out; None while it is open.
        stage: where it stands: CONVERTED, LOST, or how far it got.
        reached: how far it got before its end, from what was seen.
        reopened: the person had been lost before it.
        days: from the first event to the end, or to the moment.
        touches: oldest first.
        conversion: that ended it, if one did.
    """

    person: Person
    number: int
    opened_at: dt.datetime
    last_at: dt.datetime
    ended_at: dt.datetime | None
    stage: Stage
    reached: Stage
    reopened: bool
    days: float
    touches: tuple[Touch, ...]
    conversion: Sale | None

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels met, in order of their first touch."""
        return tuple(dict.fromkeys(touch.channel for touch in self.touches))

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices seen, in order of their first touch."""
        return tuple(dict.fromkeys(touch.device for touch in self.touches if touch.device))

    @property
    def rivals(self) -> tuple[str, ...]:
        """Rivals inferred to have been met, in order."""
        return tuple(dict.fromkeys(touch.rival for touch in self.touches if touch.rival))


_BY_CODE = sa.select(names.c.space, names.c.code, names.c.name)
_OF_ROOT = sa.select(
    journeys.c.number,
    journeys.c.opened_us,
    journeys.c.last_us,
    journeys.c.ended_us,
    journeys.c.stage,
    journeys.c.reached,
    journeys.c.n_touches,
    journeys.c.conversion_id,
).where(journeys.c.identity_id == sa.bindparam("root"))
_NEWEST = _OF_ROOT.order_by(journeys.c.number.desc()).limit(2)
_ALL = _OF_ROOT.order_by(journeys.c.number.desc())
_TOUCHES = (
    sa.select(
        touchpoints.c.event_id,
        touchpoints.c.at_us,
        touchpoints.c.kind,
        touchpoints.c.channel,
        touchpoints.c.device,
        touchpoints.c.rival,
        touchpoints.c.cost_micros,
        touchpoints.c.currency,
        touchpoints.c.alias_id,
    )
    .where(touchpoints.c.alias_id.in_(sa.bindparam("alias_ids", expanding=True)))
    .where(touchpoints.c.at_us >= sa.bindparam("opened_us"))
    .where(touchpoints.c.at_us <= sa.bindparam("last_us"))
)
_SALES = sa.select(
    conversions.c.event_id,
    conversions.c.at_us,
    conversions.c.booked_us,
    conversions.c.value_micros,
    conversions.c.currency,
).where(conversions.c.event_id.in_(sa.bindparam("event_ids", expanding=True)))


def read_journeys(
    connection: sa.Connection, name: str, now_us: int, rules: JourneyRules, *, newest: bool
) -> list[Journey]:
    """Journeys of one person, oldest first.

    Args:
        connection: of a reading transaction.
        name: any id of the person.
        now_us: the moment they are looked at.
        rules: when a journey ends.
        newest: only the last one.
    """
    who = person(connection, name)
    if who is None:
        return []
    rows = connection.execute(_NEWEST if newest else _ALL, {"root": who.root}).all()
    wanted = rows[:1] if newest else rows
    if not wanted:
        return []
    span = {"opened_us": wanted[-1].opened_us, "last_us": max(row.last_us for row in wanted)}
    touches = sorted(
        connection.execute(_TOUCHES, {"alias_ids": who.alias_ids, **span}).all(),
        key=lambda row: (row[1], row[0]),
    )
    sold = [row.conversion_id for row in wanted if row.conversion_id is not None]
    sales = {row.event_id: row for row in connection.execute(_SALES, {"event_ids": sold})} if sold else {}
    word = {(space, code): text for space, code, text in connection.execute(_BY_CODE)}
    alias = dict(zip(who.alias_ids, who.aliases, strict=True))
    found: list[Journey] = []
    before: Stage | None = Stage(rows[1].stage) if newest and len(rows) > 1 else None
    at = 0
    for row in reversed(wanted):
        mine = touches[at : at + row.n_touches]
        at += row.n_touches
        ended_us = row.ended_us
        if ended_us is None and now_us - row.last_us >= rules.idle_us:
            ended_us = row.last_us + rules.idle_us
        lost = ended_us is not None and row.conversion_id is None
        stage = Stage.LOST if lost else Stage(row.stage)
        sale = sales.get(row.conversion_id)
        found.append(
            Journey(
                person=who,
                number=row.number,
                opened_at=moment_of(row.opened_us),
                last_at=moment_of(row.last_us),
                ended_at=None if ended_us is None else moment_of(ended_us),
                stage=stage,
                reached=Stage(row.reached),
                reopened=before is Stage.LOST,
                days=((now_us if ended_us is None else ended_us) - row.opened_us) / US_PER_DAY,
                touches=tuple(
                    Touch(
                        event_id=touch.event_id,
                        at=moment_of(touch.at_us),
                        kind=TouchKind(touch.kind),
                        channel=word["channel", touch.channel],
                        person=alias[touch.alias_id],
                        device=word.get(("device", touch.device)),
                        rival=word.get(("rival", touch.rival)),
                        cost_micros=touch.cost_micros,
                        currency=word["currency", touch.currency],
                    )
                    for touch in mine
                ),
                conversion=None
                if sale is None
                else Sale(
                    event_id=sale.event_id,
                    at=moment_of(sale.at_us),
                    booked_at=moment_of(sale.booked_us),
                    value_micros=sale.value_micros,
                    currency=word["currency", sale.currency],
                ),
            )
        )
        before = stage
    return found


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A store in figures, as of a moment.

    Attributes:
        people: known, merged ids counted once.
        ids: they were seen under.
        touchpoints: stored.
        conversions: stored.
        journeys: of all people.
        stages: journeys by stage, in the order of a journey.
        channels: touchpoints by channel, most first.
        value_micros: of conversions, by currency.
        cost_micros: of touchpoints, by currency; a currency without cost is left out.
        mean_touchpoints: of journeys that converted; None where none did.
        mean_journey_days: of these, from the first event to the conversion.
        first_at: time of the first event; None where there is none.
        last_at: of the last.
    """

    people: int
    ids: int
    touchpoints: int
    conversions: int
    journeys: int
    stages: dict[str, int]
    channels: dict[str, int]
    value_micros: dict[str, int]
    cost_micros: dict[str, int]
    mean_touchpoints: float | None
    mean_journey_days: float | None
    first_at: dt.datetime | None
    last_at: dt.datetime | None


def read_stages(connection: sa.Connection, now_us: int, rules: JourneyRules) -> dict[str, int]:
    """Journeys by stage as they stand at a moment, whether or not those idle for too long are marked."""
    j = journeys.c
    idle = j.ended_us.is_(None) & (j.last_us <= now_us - rules.idle_us)
    stage = sa.case((idle, int(Stage.LOST)), else_=j.stage).label("stage_now")
    rows = connection.execute(sa.select(stage, sa.func.count()).group_by(stage)).all()
    counts = {row[0]: row[1] for row in rows}
    return {stage.name: counts.get(int(stage), 0) for stage in Stage}


def read_summary(connection: sa.Connection, now_us: int, rules: JourneyRules) -> Summary:
    """All journeys in figures; it reads every touchpoint."""
    word = {(space, code): text for space, code, text in connection.execute(_BY_CODE)}
    count = sa.func.count()
    t, c, j = touchpoints.c, conversions.c, journeys.c
    of_channels = connection.execute(
        sa.select(t.channel, count.label("n")).group_by(t.channel).order_by(sa.desc("n"), t.channel)
    ).all()
    value = connection.execute(
        sa.select(c.currency, sa.func.sum(c.value_micros), count).group_by(c.currency)
    ).all()
    cost = connection.execute(
        sa.select(t.currency, sa.func.sum(t.cost_micros)).where(t.cost_micros > 0).group_by(t.currency)
    ).all()
    stages = read_stages(connection, now_us, rules)
    sold, n_touches, length_us = connection.execute(
        sa.select(count, sa.func.sum(j.n_touches), sa.func.sum(j.ended_us - j.opened_us)).where(
            j.conversion_id.is_not(None)
        )
    ).one()
    span = [
        connection.execute(sa.select(sa.func.min(table.c.at_us), sa.func.max(table.c.at_us))).one()
        for table in (touchpoints, conversions)
    ]
    firsts, lasts = ([each for each in column if each is not None] for column in zip(*span, strict=True))
    people = connection.execute(sa.select(count).where(identities.c.merged_into.is_(None))).scalar_one()
    ids = connection.execute(sa.select(count).select_from(aliases)).scalar_one()
    return Summary(
        people=people,
        ids=ids,
        touchpoints=sum(row[1] for row in of_channels),
        conversions=sum(row[2] for row in value),
        journeys=sum(stages.values()),
        stages=stages,
        channels={word["channel", row[0]]: row[1] for row in of_channels},
        value_micros={word["currency", row[0]]: int(row[1]) for row in value},
        cost_micros={word["currency", row[0]]: int(row[1]) for row in cost},
        mean_touchpoints=float(n_touches) / sold if sold else None,
        mean_journey_days=float(length_us) / sold / US_PER_DAY if sold else None,
        first_at=moment_of(min(firsts)) if firsts else None,
        last_at=moment_of(max(lasts)) if lasts else None,
    )
