"""The tables as of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "pattern_creatives",
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("creative", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_pattern_creatives"),
    )
    op.create_table(
        "pattern_journeys",
        sa.Column("alias_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("opened_us", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("conversion_id", sa.Text, nullable=False),
        sa.Column("value_micros", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.SmallInteger, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("alias_id", "opened_us", name="pk_pattern_journeys"),
    )
    op.create_table(
        "pattern_refunds",
        sa.Column("conversion_id", sa.Text, nullable=False),
        sa.Column("told_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("conversion_id", name="pk_pattern_refunds"),
    )
    op.create_table(
        "pattern_shown",
        sa.Column("alias_id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("opened_us", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("creative", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("alias_id", "opened_us", "creative", name="pk_pattern_shown"),
    )
    op.create_index("ix_pattern_shown_creative", "pattern_shown", ["creative"])
    op.create_table(
        "pattern_state",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_pattern_state"),
    )


def downgrade() -> None:
    """Remove them with everything in them."""
    for name in (
        "pattern_creatives",
        "pattern_journeys",
        "pattern_refunds",
        "pattern_shown",
        "pattern_state",
    ):
        op.drop_table(name)
