"""How right served predictions were: recorded, matched with what came of them, judged beside the noise floor.

A prediction (`Served`) is recorded once, with the version of the model that made it. What came of it
(`Outcome`) is told day by day and told again when the platform restates it; the newest telling counts.
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.journeys.batch import Coded, micros_since_1970
from gaelp.journeys.database import Database
from gaelp.prediction.cells import check_cells
from gaelp.prediction.figures import accuracy_figures
from gaelp.prediction.noise import Outcomes
from gaelp.prediction.schema import migrate, prediction_comparisons, prediction_records, videos

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_AT_ONCE = 10_000
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()

Moment = dt.datetime | int


@dataclass(frozen=True, kw_only=True)
class Served:
    """A prediction that was used.

    Attributes:
        prediction_id: of its own; told again, it is ignored.
        model_version: that made it. video_id: the creative it is about.
        predicted: the chance. at: when it was served.
        target: of what, `ctr` or `cvr`.
        features: {column: number, text or None} that it was made from; None: not kept, so that no later
            model can learn from it.
    """

    prediction_id: str
    model_version: str
    video_id: str
    predicted: float
    at: Moment
    target: str = "ctr"
    features: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a prediction on one day.

    Attributes:
        prediction_id: that this is about. day: UTC.
        trials: impressions (clicks, for `cvr`). events: clicks (conversions).
    """

    prediction_id: str
    day: dt.date
    trials: int
    events: int


@dataclass(frozen=True, kw_only=True)
class Video:
    """A creative with what it has done since it began; spend in millionths of the unit of `currency`."""

    video_id: str
    name: str = ""
    channel: str = ""
    impressions: int = 0
    clicks: int = 0
    conversions: int = 0
    spend_micros: int = 0
    currency: str = "USD"


class AccuracyTracker:
    """Served predictions and their outcomes in the database of journeys.

    Args:
        database: open; the caller closes it. A path or address: opened here, and closed by `close`.

    Raises:
        BadInput: as `Database`.
        MismatchError: its prediction tables were made by a newer version of the program.
    """

    def __init__(self, database: Database | str | Path) -> None:
        self._is_mine = not isinstance(database, Database)
        self.database = database if isinstance(database, Database) else Database(database)
        migrate(self.database)

    def __enter__(self) -> "AccuracyTracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database if it was opened here."""
        if self._is_mine:
            self.database.close()

    def record(self, served: Iterable[Served]) -> int:
        """Keep predictions, all of the call or none.

        Returns:
            How many were new.

        Raises:
            BadInput: a prediction is no probability, an id no text, a moment names no zone, or a feature is
                neither number, text nor None.
        """
        rows = list(served)
        for each in rows:
            if not 0.0 <= each.predicted <= 1.0:
                raise BadInput(
                    "predicted", each.predicted, "must be a probability from 0 to 1", "Check the model."
                )
        columns = _columns(rows, Served)
        for name in ("prediction_id", "model_version", "video_id", "target"):
            Coded.check(name, columns[name])
        columns["at_us"] = [micros_since_1970("at", at) for at in columns.pop("at")]
        columns["features"] = [_as_text(features) for features in columns.pop("features")]
        with self.database.writing() as connection:
            return self.database.insert(connection, prediction_records, columns, skip_known=True)

    def match(self, outcomes: Iterable[Outcome], now: Moment, *, places: Sequence[str] | None = None) -> int:
        """Keep what came of predictions; what was told before of the same prediction and day is replaced.

        Args:
            outcomes: of one telling, each prediction and day once.
            now: when it was told. A telling older than the one kept changes nothing.
            places: (n_outcomes,) where each stands, for errors, such as "line 7"; None: its index.

        Returns:
            Rows that are new or changed.

        Raises:
            BadInput: a prediction was never recorded, a prediction and day come twice, more events than
                trials, a day that is to come, or one more than a day before the prediction was served (UTC).
                Nothing is stored then.
        """
        now_us = micros_since_1970("now", now)
        rows = list(outcomes)
        shown = [f"index {i}" for i in range(len(rows))] if places is None else places
        _refuse_wrong(rows, shown, now_us)
        told: dict[str, list[Any]] = {
            "prediction_id": [each.prediction_id for each in rows],
            "day": [_day_number(each.day) for each in rows],
            "trials": [each.trials for each in rows],
            "events": [each.events for each in rows],
            "told_us": [now_us] * len(rows),
        }
        with self.database.writing() as connection:
            self._refuse_unserved(connection, rows, shown)
            return _upsert(connection, prediction_comparisons, told)

    def keep_videos(self, creatives: Iterable[Video], now: Moment) -> int:
        """Keep creatives as they stand now; older tellings change nothing. Returns rows new or changed."""
        rows = list({each.video_id: each for each in creatives}.values())
        told = {**_columns(rows, Video), "told_us": [micros_since_1970("now", now)] * len(rows)}
        with self.database.writing() as connection:
            return _upsert(connection, videos, told)

    def videos(self) -> list[Video]:
        """Creatives, by id."""
        names = list(Video.__dataclass_fields__)
        query = sa.select(*(videos.c[name] for name in names)).order_by(videos.c.video_id)
        with self.database.reading() as connection:
            return [Video(**dict(zip(names, row, strict=True))) for row in connection.execute(query)]

    def outcomes(
        self,
        now: Moment,
        *,
        model_version: str | None = None,
        target: str = "ctr",
        days: int = 7,
        settle_hours: float = 0.0,
    ) -> Outcomes:
        """What came of predictions on the last whole days, UTC.

        Args:
            now: the day that is not over yet does not count.
            model_version: that made them; None: any.
            target: of what. days: to look back.
            settle_hours: after a day, until what came of it is final: only days as old count, and of these
                what was told that late. For conversions, their horizon.
        """
        settle_us = round(settle_hours * HOUR_US)
        today = (micros_since_1970("now", now) - settle_us) // DAY_US
        r, c = prediction_records.c, prediction_comparisons.c
        query = (
            sa.select(r.predicted, c.trials, c.events, r.video_id, c.day)
            .join_from(prediction_comparisons, prediction_records, r.prediction_id == c.prediction_id)
            .where(c.day >= today - days, c.day < today, r.target == target)
            .order_by(c.day, c.prediction_id)
        )
        if model_version is not None:
            query = query.where(r.model_version == model_version)
        if settle_us:
            query = query.where(c.told_us >= (c.day + 1) * sa.literal(DAY_US, sa.BigInteger) + settle_us)
        with self.database.reading() as connection:
            rows = connection.execute(query).all()
        cells: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * 5
        _, group = np.unique(np.array(cells[3], str), return_inverse=True)
        return Outcomes(
            np.array(cells[0], np.float64),
            np.array(cells[1], np.int64),
            np.array(cells[2], np.int64),
            group.astype(np.int64),
            np.array(cells[4], np.int64),
        )

    def report(
        self, now: Moment, *, model_version: str | None = None, target: str = "ctr", days: int = 7
    ) -> dict[str, Any]:
        """`accuracy_figures` of the last whole days; arguments as of `outcomes`."""
        found = self.outcomes(now, model_version=model_version, target=target, days=days)
        return {
            "model_version": model_version,
            "target": target,
            "days": days,
            **accuracy_figures(found),
        }

    def _refuse_unserved(
        self, connection: sa.Connection, rows: Sequence[Outcome], places: Sequence[str]
    ) -> None:
        """Refuse outcomes of predictions that were never recorded, or that lie before them."""
        r = prediction_records.c
        for begin in range(0, len(rows), _AT_ONCE):
            part = rows[begin : begin + _AT_ONCE]
            ids = list(dict.fromkeys(each.prediction_id for each in part))
            query = sa.select(r.prediction_id, r.at_us).where(self.database.among(r.prediction_id, ids))
            served = {name: at_us // DAY_US for name, at_us in connection.execute(query)}
            for each, place in zip(part, places[begin : begin + _AT_ONCE], strict=True):
                if each.prediction_id not in served:
                    allowed = f"must have been recorded ({place})"
                    remedy = "Record predictions as they are served."
                    raise BadInput("prediction_id", each.prediction_id, allowed, remedy)
                first = served[each.prediction_id]
                if _day_number(each.day) < first - 1:  # a platform's day in another zone begins earlier
                    allowed = f"must be at most a day before {_day_of(first)}, when the prediction was served"
                    raise BadInput("day", _shown_day(each, place), allowed, "Check the year and the report.")


def tell_outcomes(
    tracker: AccuracyTracker, outcomes: Iterable[Outcome], now: Moment, *, places: Sequence[str] | None = None
) -> dict[str, int]:
    """Keep what came of predictions, as `AccuracyTracker.match`, and count what was new.

    Returns:
        `told`: predictions and days; of these `new`: told for the first time, and `restated`: in
            place of an earlier telling. What is older than the telling kept is neither.

    Raises:
        BadInput: as there; nothing is stored then.
    """
    told = list(outcomes)
    rows = {(each.prediction_id, _day_number(each.day)) for each in told}
    ids, known = list({name for name, _ in rows}), 0
    c = prediction_comparisons.c
    with tracker.database.reading() as connection:
        for begin in range(0, len(ids), _AT_ONCE):
            among = tracker.database.among(c.prediction_id, ids[begin : begin + _AT_ONCE])
            found = connection.execute(sa.select(c.prediction_id, c.day).where(among))
            known += sum((name, day) in rows for name, day in found)
    kept, new = tracker.match(told, now, places=places), len(rows) - known
    return {"told": len(rows), "new": new, "restated": max(kept - new, 0)}


def _refuse_wrong(rows: Sequence[Outcome], places: Sequence[str], now_us: int) -> None:
    """Refuse what can be judged without the database."""
    seen: dict[tuple[str, int], str] = {}
    for each, place in zip(rows, places, strict=True):
        if not (each.trials >= 1 and 0 <= each.events <= each.trials):
            value = f"events {each.events}, trials {each.trials} ({place}, prediction {each.prediction_id})"
            allowed = "must be events from 0 to trials, at least 1"
            raise BadInput("outcome", value, allowed, "Check the report.")
        number = _day_number(each.day)
        if number * DAY_US > now_us:
            raise BadInput("day", _shown_day(each, place), "must have begun", "Check `now` and the report.")
        key = each.prediction_id, number
        if key in seen:
            allowed = f"must tell of a prediction and day once; {seen[key]} tells of the same"
            remedy = "Sum rows of the same prediction and day first, such as those of hours or placements."
            raise BadInput("outcome", _shown_day(each, place), allowed, remedy)
        seen[key] = place


def _shown_day(outcome: Outcome, place: str) -> str:
    return f"{outcome.day.isoformat()} ({place}, prediction {outcome.prediction_id})"


def _day_of(number: int) -> str:
    return dt.date.fromordinal(number + _EPOCH_DAY).isoformat()


def _as_text(features: Mapping[str, Any] | None) -> str | None:
    if features is None:
        return None
    check_cells(features)
    return json.dumps(dict(features), sort_keys=True, allow_nan=False, separators=(",", ":"))


def _day_number(day: dt.date) -> int:
    return day.toordinal() - _EPOCH_DAY


def _columns(rows: Sequence[Any], kind: type) -> dict[str, list[Any]]:
    names = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: [getattr(each, name) for each in rows] for name in names}


def _upsert(connection: sa.Connection, table: sa.Table, told: Mapping[str, Sequence[Any]]) -> int:
    """Insert rows; where the key is known, replace the rest by what was told later, or at the same moment."""
    if not told["told_us"]:
        return 0
    keys = [column.name for column in table.primary_key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in told if name not in keys)
    cells = ", ".join(f":{name}" for name in told)
    statement = sa.text(
        f"INSERT INTO {table.name} ({', '.join(told)}) VALUES ({cells})"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
        f" WHERE {table.name}.told_us <= excluded.told_us"
    )
    rows = [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]
    return connection.execute(statement, rows).rowcount
