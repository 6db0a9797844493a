"""Tables of the journey database, the same on SQLite and PostgreSQL.

Facts are what was told: `touchpoints`, `conversions`, and which `aliases` (a cookie, a login, a device)
belong to which `identities`. They are never changed, only added to or forgotten; a merge is an arrow from
one identity to another. `journeys` follow from the facts and from the clock, and `rewards` is a ledger of
entries that are never changed either.

Units: `_us` are microseconds since 1970 began, UTC; `_micros` are millionths of the unit of `currency`.
Codes of channels, devices, rivals and currencies are those of `names`; 0 stands for "not known".
"""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"}
)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _column(name: str, kind: Any = sa.BigInteger, **options: Any) -> "sa.Column[Any]":
    return sa.Column(name, kind, nullable=False, **options)


settings = sa.Table(
    "settings",
    metadata,
    _column("name", sa.Text, primary_key=True),
    _column("value", sa.BigInteger),
)
"""Rules a store was made with, and the next free codes; a code is never given twice."""

names = sa.Table(
    "names",
    metadata,
    _column("space", sa.Text, primary_key=True),  # channel, device, rival, currency
    _column("code", sa.Integer, primary_key=True, autoincrement=False),
    _column("name", sa.Text),
)

identities = sa.Table(
    "identities",
    metadata,
    _column("id", _ID, primary_key=True, autoincrement=False),
    _column("root_id", index=True),  # at the end of the arrows: the person
    sa.Column("merged_into", sa.BigInteger),
    sa.Column("merge_confidence", sa.Float),
    sa.Column("merge_number", sa.BigInteger),  # counts all merges of the store
    _column("created_us"),
    _column("unsettled", sa.SmallInteger),  # of a root: rewards have to be looked at again
    sa.Index(
        "ix_identities_unsettled",
        "id",
        sqlite_where=sa.text("unsettled = 1"),
        postgresql_where=sa.text("unsettled = 1"),
    ),
)

aliases = sa.Table(
    "aliases",
    metadata,
    _column("id", _ID, primary_key=True, autoincrement=False),
    _column("name", sa.Text),
    _column("identity_id", index=True),
    _column("confidence", sa.Float),  # that the alias belongs to its identity
    _column("created_us"),
    sa.Index("ux_aliases_name", "name", unique=True),
)

touchpoints = sa.Table(
    "touchpoints",
    metadata,
    _column("alias_id", primary_key=True, autoincrement=False),
    _column("at_us", primary_key=True, autoincrement=False),
    _column("event_id", sa.Text, primary_key=True),
    _column("kind", sa.SmallInteger),  # TouchKind, no conversion
    _column("channel", sa.SmallInteger),
    _column("device", sa.SmallInteger),
    _column("rival", sa.SmallInteger),  # whose ad or site was met beside ours, inferred by whoever told
    _column("stage", sa.SmallInteger),  # Stage inferred at this touch
    _column("cost_micros"),
    _column("currency", sa.SmallInteger),
    sa.Index("ux_touchpoints_event_id", "event_id", unique=True),
    sqlite_with_rowid=False,  # a person's touches lie together on the disk
)

conversions = sa.Table(
    "conversions",
    metadata,
    _column("alias_id", primary_key=True, autoincrement=False),
    _column("at_us", primary_key=True, autoincrement=False),
    _column("event_id", sa.Text, primary_key=True),
    _column("booked_us"),
    _column("value_micros"),
    _column("currency", sa.SmallInteger),
    sa.Index("ux_conversions_event_id", "event_id", unique=True),
    sqlite_with_rowid=False,
)

journeys = sa.Table(
    "journeys",
    metadata,
    _column("identity_id", primary_key=True, autoincrement=False),
    _column("number", sa.Integer, primary_key=True, autoincrement=False),  # of this person, from 1
    _column("opened_us"),
    _column("last_us"),  # last touch; of a journey without touches, its conversion
    sa.Column("ended_us", sa.BigInteger),  # when it converted or timed out; none while it is open
    _column("stage", sa.SmallInteger),  # now
    _column("reached", sa.SmallInteger),  # furthest before it ended
    _column("n_touches", sa.Integer),
    sa.Column("conversion_id", sa.Text),  # event that ended it
    sa.Index(
        "ix_journeys_open",
        "last_us",
        sqlite_where=sa.text("ended_us IS NULL"),
        postgresql_where=sa.text("ended_us IS NULL"),
    ),
    sqlite_with_rowid=False,
)

rewards = sa.Table(
    "rewards",
    metadata,
    _column("id", _ID, primary_key=True, autoincrement=False),
    _column("alias_id"),
    _column("event_id", sa.Text),  # the touch; empty: the baseline, which no touch brought
    _column("conversion_id", sa.Text),  # the conversion; empty: the journey was lost, at nothing
    _column("amount_micros"),
    _column("currency", sa.SmallInteger),
    _column("entered_us"),
    sa.Index("ix_rewards_alias_id", "alias_id", "event_id"),
    sa.Index(
        "ix_rewards_conversion_id",
        "conversion_id",
        sqlite_where=sa.text("conversion_id <> ''"),
        postgresql_where=sa.text("conversion_id <> ''"),
    ),
)
