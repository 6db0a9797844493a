"""Tables of served predictions and what came of them, beside the journeys in one database; how they are made.

Units as in `gaelp.journeys.schema`: `_us` are microseconds since 1970 began, UTC; `_micros` are millionths of
the unit of `currency`.
"""

from typing import Any

import sqlalchemy as sa

from gaelp.journeys.database import Database

HEAD = "0002"

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def _column(name: str, kind: Any = sa.BigInteger, **options: Any) -> "sa.Column[Any]":
    return sa.Column(name, kind, nullable=False, **options)


prediction_records = sa.Table(
    "prediction_records",
    metadata,
    _column("prediction_id", sa.Text, primary_key=True),
    _column("model_version", sa.Text),
    _column("video_id", sa.Text),
    _column("target", sa.Text),  # what is predicted: ctr, cvr
    _column("predicted", sa.Float),
    _column("at_us"),  # when it was served
    sa.Column("features", sa.Text),  # that it was made from, as JSON; NULL: not kept
)
"""Each prediction as it was served; never changed."""

prediction_comparisons = sa.Table(
    "prediction_comparisons",
    metadata,
    _column("prediction_id", sa.Text, primary_key=True),
    _column("day", sa.Integer, primary_key=True, autoincrement=False),  # whole days since 1970 began, UTC
    _column("trials"),
    _column("events"),
    _column("told_us"),  # when the platform said so; what it says later replaces it
    sa.Index("ix_prediction_comparisons_day", "day"),
)
"""What came of a prediction on one day; restated by the platform for some days after."""

videos = sa.Table(
    "videos",
    metadata,
    _column("video_id", sa.Text, primary_key=True),
    _column("name", sa.Text),
    _column("channel", sa.Text),
    _column("impressions"),
    _column("clicks"),
    _column("conversions"),
    _column("spend_micros"),
    _column("currency", sa.Text),
    _column("told_us"),
)
"""Creatives with what they have done so far."""

purchase_signals = sa.Table(
    "purchase_signals",
    metadata,
    _column("event_id", sa.Text, primary_key=True),
    _column("at_us"),  # of the purchase
    sa.Column("clicked_us", sa.BigInteger),  # of the click that it is credited to; NULL: not told
    sa.Column("prediction_id", sa.Text),  # that was served at that click; NULL: not told
    _column("value_micros"),
    _column("currency", sa.Text),
    _column("told_us"),
    sa.Column("run_id", sa.Text),  # of retraining, that has seen it; NULL: waits in the queue
    sa.Index("ix_purchase_signals_run_id", "run_id"),
    sa.Index("ix_purchase_signals_prediction_id", "prediction_id"),
)
"""Purchases: they call for a look at the model, and tell how late conversions come."""

retraining_runs = sa.Table(
    "retraining_runs",
    metadata,
    _column("run_id", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, unique=True),  # idempotency key; NULL: none
    _column("trigger", sa.Text),  # manual, daily, scheduled, purchase
    _column("who", sa.Text),
    _column("target", sa.Text),
    _column("status", sa.Text),  # running, or how it ended
    _column("started_us"),
    sa.Column("ended_us", sa.BigInteger),  # NULL: it runs, or its process died
    _column("message", sa.Text),
    _column("reasons", sa.Text),  # JSON, as are the next two
    _column("figures", sa.Text),
    sa.Column("improvement", sa.Text),
    sa.Column("champion", sa.Text),  # version by then
    sa.Column("challenger", sa.Text),  # version that was trained or judged
    sa.Column("training_s", sa.Float),
    sa.Index("ix_retraining_runs_started_us", "started_us"),
)
"""Each look at the model, and what came of it."""


def migrate(database: Database) -> None:
    """Bring the tables up to date, as `Database.migrate` does.

    Raises:
        MismatchError: they were made by a newer version of the program.
    """
    scripts, counted_in = "gaelp.prediction:migrations", "alembic_version_prediction"
    database.migrate("version of prediction tables", HEAD, scripts, counted_in)
