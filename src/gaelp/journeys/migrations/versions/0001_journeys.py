"""The tables as of the first release."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "aliases",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("identity_id", sa.BigInteger, nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aliases"),
    )
    op.create_index("ix_aliases_identity_id", "aliases", ["identity_id"])
    op.create_index("ux_aliases_name", "aliases", ["name"], unique=True)
    op.create_table(
        "conversions",
        sa.Column("alias_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at_us", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("booked_us", sa.BigInteger, nullable=False),
        sa.Column("value_micros", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("alias_id", "at_us", "event_id", name="pk_conversions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ux_conversions_event_id", "conversions", ["event_id"], unique=True)
    op.create_table(
        "identities",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("root_id", sa.BigInteger, nullable=False),
        sa.Column("merged_into", sa.BigInteger, nullable=True),
        sa.Column("merge_confidence", sa.Float, nullable=True),
        sa.Column("merge_number", sa.BigInteger, nullable=True),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("unsettled", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_identities"),
    )
    op.create_index("ix_identities_root_id", "identities", ["root_id"])
    op.create_index("ix_identities_unsettled", "identities", ["id"], **_where("unsettled = 1"))
    op.create_table(
        "journeys",
        sa.Column("identity_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("opened_us", sa.BigInteger, nullable=False),
        sa.Column("last_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger, nullable=True),
        sa.Column("stage", sa.SmallInteger, nullable=False),
        sa.Column("reached", sa.SmallInteger, nullable=False),
        sa.Column("n_touches", sa.Integer, nullable=False),
        sa.Column("conversion_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("identity_id", "number", name="pk_journeys"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_journeys_open", "journeys", ["last_us"], **_where("ended_us IS NULL"))
    op.create_table(
        "names",
        sa.Column("space", sa.Text, nullable=False),
        sa.Column("code", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("space", "code", name="pk_names"),
    )
    op.create_table(
        "rewards",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("alias_id", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("conversion_id", sa.Text, nullable=False),
        sa.Column("amount_micros", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.SmallInteger, nullable=False),
        sa.Column("entered_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rewards"),
    )
    op.create_index("ix_rewards_alias_id", "rewards", ["alias_id", "event_id"])
    op.create_index("ix_rewards_conversion_id", "rewards", ["conversion_id"], **_where("conversion_id <> ''"))
    op.create_table(
        "settings",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )
    op.create_table(
        "touchpoints",
        sa.Column("alias_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at_us", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("channel", sa.SmallInteger, nullable=False),
        sa.Column("device", sa.SmallInteger, nullable=False),
        sa.Column("rival", sa.SmallInteger, nullable=False),
        sa.Column("stage", sa.SmallInteger, nullable=False),
        sa.Column("cost_micros", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("alias_id", "at_us", "event_id", name="pk_touchpoints"),
        sqlite_with_rowid=False,
    )
    op.create_index("ux_touchpoints_event_id", "touchpoints", ["event_id"], unique=True)


def downgrade() -> None:
    """Remove them with everything in them."""
    for name in (
        "aliases",
        "conversions",
        "identities",
        "journeys",
        "names",
        "rewards",
        "settings",
        "touchpoints",
    ):
        op.drop_table(name)
