"""Features of predictions; purchases that call for a look at the model; each look."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make them."""
    op.add_column("prediction_records", sa.Column("features", sa.Text))
    op.create_table(
        "purchase_signals",
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("clicked_us", sa.BigInteger),
        sa.Column("prediction_id", sa.Text),
        sa.Column("value_micros", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("told_us", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.PrimaryKeyConstraint("event_id", name="pk_purchase_signals"),
    )
    op.create_index("ix_purchase_signals_run_id", "purchase_signals", ["run_id"])
    op.create_index("ix_purchase_signals_prediction_id", "purchase_signals", ["prediction_id"])
    op.create_table(
        "retraining_runs",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("ended_us", sa.BigInteger),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("figures", sa.Text, nullable=False),
        sa.Column("improvement", sa.Text),
        sa.Column("champion", sa.Text),
        sa.Column("challenger", sa.Text),
        sa.Column("training_s", sa.Float),
        sa.PrimaryKeyConstraint("run_id", name="pk_retraining_runs"),
        sa.UniqueConstraint("request_id", name="uq_retraining_runs_request_id"),
    )
    op.create_index("ix_retraining_runs_started_us", "retraining_runs", ["started_us"])


def downgrade() -> None:
    """Remove them with everything in them."""
    for name in ("retraining_runs", "purchase_signals"):
        op.drop_table(name)
    op.drop_column("prediction_records", "features")
