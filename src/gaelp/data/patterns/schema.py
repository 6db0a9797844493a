"""Tables of patterns, beside the journeys in one database; how they are made.

Everything here follows from the journeys and from what was told of creatives and refunds, and is made anew
person by person. Units as in `gaelp.journeys.schema`.
"""

from typing import Any

import sqlalchemy as sa

from gaelp.journeys.database import Database

HEAD = "0001"

metadata = sa.MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"}
)


def _column(name: str, kind: Any = sa.BigInteger, **options: Any) -> "sa.Column[Any]":
    return sa.Column(name, kind, nullable=False, **options)


pattern_journeys = sa.Table(
    "pattern_journeys",
    metadata,
    _column("alias_id", primary_key=True, autoincrement=False),  # of the first touch
    _column("opened_us", primary_key=True, autoincrement=False),
    _column("conversion_id", sa.Text),  # empty: the journey was lost
    _column("value_micros"),
    _column("currency", sa.SmallInteger),  # code of `names`
    _column("vector", sa.LargeBinary),  # features as float32, little-endian
)
"""Journeys that ended, by a purchase or without."""

pattern_shown = sa.Table(
    "pattern_shown",
    metadata,
    _column("alias_id", primary_key=True, autoincrement=False),
    _column("opened_us", primary_key=True, autoincrement=False),
    _column("creative", sa.Text, primary_key=True),
    sa.Index("ix_pattern_shown_creative", "creative"),
)
"""Which creatives a journey of `pattern_journeys` was shown."""

pattern_creatives = sa.Table(
    "pattern_creatives",
    metadata,
    _column("event_id", sa.Text, primary_key=True),
    _column("creative", sa.Text),
)
"""Which creative a touch showed, as told."""

pattern_refunds = sa.Table(
    "pattern_refunds",
    metadata,
    _column("conversion_id", sa.Text, primary_key=True),
    _column("told_us"),
)
"""Purchases that were refunded, as told: their journeys are in no pattern."""

pattern_state = sa.Table(
    "pattern_state",
    metadata,
    _column("name", sa.Text, primary_key=True),
    _column("value", sa.Text),
)
"""`features`: version of the vectors. `revision`: counts changes, so that readers know when to read again."""


def migrate(database: Database) -> None:
    """Bring the tables up to date, as `Database.migrate` does.

    Raises:
        MismatchError: they were made by a newer version of the program.
    """
    scripts, counted_in = "gaelp.data.patterns:migrations", "alembic_version_patterns"
    database.migrate("version of pattern tables", HEAD, scripts, counted_in)
