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
        "prediction_comparisons",
        sa.Column("prediction_id", sa.Text, nullable=False),
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("trials", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("told_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", "day", name="pk_prediction_comparisons"),
    )
    op.create_index("ix_prediction_comparisons_day", "prediction_comparisons", ["day"])
    op.create_table(
        "prediction_records",
        sa.Column("prediction_id", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("video_id", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("predicted", sa.Float, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", name="pk_prediction_records"),
    )
    op.create_table(
        "videos",
        sa.Column("video_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("impressions", sa.BigInteger, nullable=False),
        sa.Column("clicks", sa.BigInteger, nullable=False),
        sa.Column("conversions", sa.BigInteger, nullable=False),
        sa.Column("spend_micros", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("told_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("video_id", name="pk_videos"),
    )


def downgrade() -> None:
    """Remove them with everything in them."""
    for name in ("prediction_comparisons", "prediction_records", "videos"):
        op.drop_table(name)
