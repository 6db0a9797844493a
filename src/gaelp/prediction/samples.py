"""What challengers learn from: features that predictions were served with, and what came of them, by day."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from gaelp.journeys.database import Database
from gaelp.prediction.accuracy import DAY_US, HOUR_US
from gaelp.prediction.cells import Row, columns_of, table_of
from gaelp.prediction.examples import Columns, Examples
from gaelp.prediction.metrics import Floats
from gaelp.prediction.model import ResponseModel
from gaelp.prediction.noise import Outcomes
from gaelp.prediction.schema import prediction_comparisons, prediction_records, purchase_signals
from gaelp.prediction.triggers import Reason

Ints = NDArray[np.int64]

LABEL, TIME, DELAY = "event", "day", "delay_hours"
"""Names of the columns of `Samples.examples` that are no features."""
LEAST_TOLD = 0.95
"""Share of final conversions that must be told as purchases, before delays are learnt from."""


@dataclass(frozen=True)
class Samples:
    """Predictions with their features, one row for each prediction and day.

    Attributes:
        outcomes: n rows; predictions as they were served.
        served: features, one entry for each prediction.
        place: (n,) index in `served`.
        purchase: (m,) index of the row that a purchase is credited to.
        delay: (m,) hours from click to purchase.
    """

    outcomes: Outcomes
    served: Sequence[Row]
    place: Ints
    purchase: Ints
    delay: Floats

    def __len__(self) -> int:
        return len(self.outcomes)

    def take(self, rows: NDArray[np.bool_]) -> "Samples":
        """The rows where `rows` (n,) is true."""
        kept = rows[self.purchase]
        moved = np.cumsum(rows) - 1
        return replace(
            self,
            outcomes=self.outcomes.take(rows),
            place=self.place[rows],
            purchase=moved[self.purchase[kept]],
            delay=self.delay[kept],
        )

    def between(self, first: int, end: int) -> "Samples":
        """Rows of days from `first` until before `end`, since 1970 began."""
        return self.take((self.outcomes.day >= first) & (self.outcomes.day < end))

    def told_share(self, horizon_hours: float) -> float:
        """Share of the events whose purchase was told, with a delay up to the horizon; 0 without events."""
        within = self.purchase[self.delay <= horizon_hours]
        told = np.minimum(np.bincount(within, minlength=len(self)), self.outcomes.events)
        return float(told.sum() / max(self.outcomes.events.sum(), 1))

    def rows(self) -> list[Row]:
        """(n,) features of each row."""
        return [self.served[at] for at in self.place]

    def columns(self, numeric: Sequence[str] = (), categorical: Sequence[str] = ()) -> Columns:
        """Which column is what: as named, or by content where none is named.

        Raises:
            BadInput: no prediction kept its features.
        """
        delay = DELAY if self.delay.size else None
        if numeric or categorical:
            given = (tuple(numeric), tuple(categorical))
            return Columns(label=LABEL, time=TIME, delay=delay, numeric=given[0], categorical=given[1])
        used = [self.served[at] for at in np.unique(self.place)]
        return columns_of(used, label=LABEL, time=TIME, delay=delay)

    def score(self, model: ResponseModel) -> Outcomes:
        """The same outcomes with what a model predicts for the features.

        Raises:
            BadInput: a cell is not of the kind of the model's column.
        """
        used, place = np.unique(self.place, return_inverse=True)
        if not used.size:
            return self.outcomes
        table = table_of(model.columns, [self.served[at] for at in used])
        return replace(self.outcomes, predicted=model.predict(table)[place])

    def examples(self, columns: Columns) -> Examples:
        """Rows to learn from: of each outcome one for its events, and one for its other trials.

        With a delay, one for each purchase instead, at the hours it took; the other trials of a row have seen
        none yet. A row is as old as the end of its day, so a click is never taken for older than it is.

        Args:
            columns: as of `columns`.
        """
        found, n = self.outcomes, len(self)
        if columns.delay is None:
            events, hits, delay = found.events, np.flatnonzero(found.events), None
            hit_weight = events[hits]
        else:
            events = np.bincount(self.purchase, minlength=n)
            hits, hit_weight = self.purchase, np.ones(self.purchase.size, np.int64)
            delay = np.concatenate([self.delay, np.full(n, np.inf)])
        rest = np.maximum(found.trials - events, 0)
        rows = np.concatenate([hits, np.arange(n)])
        weight = np.concatenate([hit_weight, rest]).astype(np.float64)
        label = np.arange(rows.size) < hits.size
        used, place = np.unique(self.place, return_inverse=True)
        table = table_of(columns, [self.served[at] for at in used]).take(place[rows])
        whole = replace(
            table,
            label=label,
            hour=24.0 * (found.day[rows] + 1),
            delay=delay,
            weight=weight,
            cluster=np.unique(place, return_inverse=True)[1][rows].astype(np.int64),
        )
        return whole.take(weight > 0)

    def sha256(self) -> str:
        """Of everything a model could learn from them."""
        found = self.outcomes
        texts = [json.dumps(dict(row), sort_keys=True) for row in self.served]
        lines = [
            f"{day} {trials} {events} {texts[at]}"
            for day, trials, events, at in zip(found.day, found.trials, found.events, self.place, strict=True)
        ]
        delays = [f"{row} {hours:.6f}" for row, hours in zip(self.purchase, self.delay, strict=True)]
        return hashlib.sha256("\n".join([*lines, *delays]).encode()).hexdigest()


def read_lesson(
    database: Database, *, target: str, first: int, end: int, settled: int, horizon_hours: float
) -> tuple[Samples, Reason | None]:
    """Samples to learn from: young days of conversions, too, where purchases tell how late they come.

    A conversion whose purchase was not told is a miss to who learns by delays. So delays are used only where
    `LEAST_TOLD` of the events of final days were told as purchases.

    Args:
        database, target, first, end: as of `read_samples`.
        settled: day since 1970 began from which on conversions are not final.
        horizon_hours: in which a conversion counts.

    Returns:
        The samples, and why of conversions only final days, without delays, are among them; None: all are.
    """
    if target != "cvr":
        return read_samples(database, target=target, first=first, end=end), None
    settle_us = round(horizon_hours * HOUR_US)
    final = read_samples(database, target=target, first=first, end=min(end, settled), settled_us=settle_us)
    share = final.told_share(horizon_hours)
    if share >= LEAST_TOLD:
        return read_samples(database, target=target, first=first, end=end), None
    few = Reason(code="too_few_purchases_told", value=share, limit=LEAST_TOLD, days=end - first)
    return replace(final, purchase=final.purchase[:0], delay=final.delay[:0]), few


def read_samples(
    database: Database, *, target: str, first: int, end: int, settled_us: int | None = None
) -> Samples:
    """Samples of some days, the earliest first.

    Args:
        database: with the tables of predictions.
        target: of what, `ctr` or `cvr`.
        first: day since 1970 began, UTC. end: day that does not count any more.
        settled_us: only rows told so long after their day's end; None: all of them.
    """
    r, c, p = prediction_records.c, prediction_comparisons.c, purchase_signals.c
    query = (
        sa.select(c.prediction_id, c.day, c.trials, c.events, r.predicted, r.video_id, r.features)
        .join_from(prediction_comparisons, prediction_records, r.prediction_id == c.prediction_id)
        .where(c.day >= first, c.day < end, r.target == target, r.features.is_not(None))
        .order_by(c.day, c.prediction_id)
    )
    if settled_us:
        query = query.where(c.told_us >= (c.day + 1) * sa.literal(DAY_US, sa.BigInteger) + settled_us)
    clicked = sa.func.coalesce(p.clicked_us, r.at_us)
    bought = (
        sa.select(p.prediction_id, clicked, p.at_us)
        .join_from(purchase_signals, prediction_records, r.prediction_id == p.prediction_id)
        .where(clicked >= first * DAY_US, clicked < end * DAY_US, r.target == target, p.at_us >= clicked)
        .order_by(p.event_id)
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
        purchases = connection.execute(bought).all() if target == "cvr" else []
    known: dict[str, int] = {}
    served: list[Row] = []
    for row in rows:
        if row.prediction_id not in known:
            known[row.prediction_id] = len(served)
            served.append(json.loads(row.features))
    at = {(row.prediction_id, row.day): number for number, row in enumerate(rows)}
    credited = [
        (at[key], (bought_us - clicked_us) / HOUR_US)
        for prediction, clicked_us, bought_us in purchases
        if (key := (prediction, clicked_us // DAY_US)) in at
    ]
    cells: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * 7
    _, group = np.unique(np.array(cells[5], str), return_inverse=True)
    outcomes = Outcomes(
        np.array(cells[4], np.float64),
        np.array(cells[2], np.int64),
        np.array(cells[3], np.int64),
        group.astype(np.int64),
        np.array(cells[1], np.int64),
    )
    return Samples(
        outcomes,
        served,
        np.array([known[each] for each in cells[0]], np.int64),
        np.array([row for row, _ in credited], np.int64),
        np.array([hours for _, hours in credited], np.float64),
    )
