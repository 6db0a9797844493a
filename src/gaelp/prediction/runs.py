"""Runs of the retraining loop, each a row from its start: also of those that died."""

import datetime as dt
import errno
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa

from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.plain import as_json
from gaelp.journeys.batch import moment_of
from gaelp.journeys.database import Database
from gaelp.prediction.schema import purchase_signals, retraining_runs
from gaelp.prediction.triggers import Reason

Status = Literal[
    "no_retrain_needed",
    "retrained",
    "insufficient_data",
    "error",
    "locked",
    "challenger_rejected",
    "rolled_back",
]
STATUSES: tuple[str, ...] = get_args(Status)
"""How a run can end."""
Trigger = Literal["manual", "daily", "scheduled", "purchase"]
TRIGGERS: tuple[str, ...] = get_args(Trigger)
"""What can call for a run."""
RUNNING = "running"
DIED = (
    "Its process ended before it was over; aliases stand at whole models. Ask again, with a new key if any."
)
"""Message of a run that died, which its row says in one word."""
_DIED = "died"
_OF_FULL_DISKS = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "disk is full")  # the last: SQLite's
_FULL = "The disk is full. Make room where the models and the database are, then ask again."
_OF_DATABASE = "See that the database can be reached, is whole and has room, then ask again."
_OF_FILES = "See that the folders of models and database can be written to, then ask again."
_OF_MEMORY = "The memory did not suffice. Give it more, or fewer days to learn from (`train_days`)."
UNFORESEEN = (
    "The work failed in a way that was not foreseen. Ask again; if it fails again, report what the log says."
)


@dataclass(frozen=True, kw_only=True)
class RetrainReply:
    """What a run came to.

    Attributes:
        status: one of `STATUSES`.
        reasons: why, for machines.
        figures: that it is based on: `accuracy`, `drift`, `guard`, `delays` (a `Reason`: why only final days
            of conversions have taught), `training`, `gate`, `ceiling` (R² of a perfect model on the days that
            judged, as of `board_figures.judged_r2`), as far as it came.
        improvement: of the challenger over the champion on the days that judged both, by `r2`, `mae`,
            `logloss` and `normalised_entropy` {`before`, `after`, `delta`}; None: nothing was judged.
        champion: version after the run. challenger: version that was trained or judged; None: there is none.
        trigger: one of `TRIGGERS`. run_id: of the row. started: when.
        wall_s: seconds it took. message: for people; of an error, as of `message_of`.
    """

    status: str
    reasons: tuple[Reason, ...] = ()
    figures: Mapping[str, Any]
    improvement: Mapping[str, Any] | None = None
    champion: str | None = None
    challenger: str | None = None
    trigger: str
    run_id: str
    started: dt.datetime
    wall_s: float = 0.0
    message: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "reasons": [asdict(each) for each in self.reasons],
            "started": self.started.isoformat(),
        }


class Runs:
    """The table `retraining_runs`; whoever begins one holds `lock.alone_in`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def bury(self, now_us: int) -> list[str]:
        """Mark runs that died, and put their signals back into the queue; to be called before `begin`.

        Args:
            now_us: when they were found.

        Returns:
            Their ids.
        """
        t = retraining_runs
        with self.database.writing() as connection:
            dead = list(connection.execute(sa.select(t.c.run_id).where(t.c.status == RUNNING)).scalars())
            if dead:
                ended = {"status": "error", "ended_us": now_us, "message": _DIED}
                connection.execute(t.update().where(t.c.status == RUNNING).values(ended))
                of_dead = purchase_signals.c.run_id.in_(dead)
                connection.execute(purchase_signals.update().where(of_dead).values(run_id=None))
        return dead

    def begin(
        self,
        *,
        trigger: str,
        who: str,
        target: str,
        now_us: int,
        request_id: str | None,
        is_due: Callable[[sa.Connection], str | None] | None = None,
    ) -> tuple[str | None, str]:
        """Write down that a run begins; the queue's signals are now this run's.

        Args:
            trigger, who, target, request_id: of the run. now_us: when.
            is_due: asked in the same transaction for the trigger; None from it: nothing is to be done.

        Returns:
            The run's id (None: it is not due), and its trigger.
        """
        t, run_id = retraining_runs, f"{moment_of(now_us):%Y%m%dT%H%M%S}-{secrets.token_hex(6)}"
        with self.database.writing() as connection:
            if is_due is not None:
                found = is_due(connection)
                if found is None:
                    return None, trigger
                trigger = found
            row = {
                "run_id": run_id,
                "request_id": request_id,
                "trigger": trigger,
                "who": who,
                "target": target,
                "status": RUNNING,
                "started_us": now_us,
                "message": "",
                "reasons": "[]",
                "figures": "{}",
            }
            connection.execute(t.insert().values(row))
            waiting = purchase_signals.c.run_id.is_(None)
            connection.execute(purchase_signals.update().where(waiting).values(run_id=run_id))
        return run_id, trigger

    def end(self, reply: RetrainReply, now_us: int) -> None:
        """Write down what a run came to."""
        t = retraining_runs
        row = {
            "status": reply.status,
            "ended_us": now_us + round(1e6 * reply.wall_s),
            "message": reply.message,
            "reasons": as_json([asdict(each) for each in reply.reasons]),
            "figures": as_json(reply.figures),
            "improvement": None if reply.improvement is None else as_json(reply.improvement),
            "champion": reply.champion,
            "challenger": reply.challenger,
            "training_s": (reply.figures.get("training") or {}).get("training_s"),
        }
        with self.database.writing() as connection:
            connection.execute(t.update().where(t.c.run_id == reply.run_id).values(row))

    def of_request(self, request_id: str) -> RetrainReply | None:
        """What the run with this idempotency key came to; None: there is none, or it runs."""
        t = retraining_runs
        query = sa.select(t).where(t.c.request_id == request_id, t.c.status != RUNNING)
        with self.database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _reply(row)

    def running(self) -> str | None:
        """The run that is on, or was when its process died; None: there is none."""
        t = retraining_runs
        with self.database.reading() as connection:
            return connection.execute(sa.select(t.c.run_id).where(t.c.status == RUNNING)).scalar()

    def recent(self, most: int = 20) -> list[dict[str, Any]]:
        """The newest runs, the newest first, as `RetrainReply.as_dict`, with `who`, `request_id`, `ended`."""
        t = retraining_runs
        query = sa.select(t).order_by(t.c.started_us.desc(), t.c.run_id.desc()).limit(most)
        with self.database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            {
                **_reply(row).as_dict(),
                "who": row["who"],
                "target": row["target"],
                "request_id": row["request_id"],
                "ended": None if row["ended_us"] is None else moment_of(row["ended_us"]).isoformat(),
            }
            for row in rows
        ]


def last_start(connection: sa.Connection, now_us: int, *triggers: str) -> int | None:
    """When the newest run began, microseconds since 1970; None: there was none.

    Args:
        connection: of the database. triggers: only runs of these; none: of any.
        now_us: runs that begin later were started by a clock ahead, and do not count.
    """
    begun = retraining_runs.c.started_us
    query = sa.select(sa.func.max(begun)).where(begun <= now_us)
    if triggers:
        query = query.where(retraining_runs.c.trigger.in_(triggers))
    return connection.execute(query).scalar()


def message_of(error: Exception) -> str:
    """What was wrong and what to do about it, for people: no names of classes, which are for the log.

    >>> message_of(PermissionError(13, "Permission denied", "models"))[:53]
    'A file could not be used: permission denied (models).'
    """
    said = str(error)
    if any(words in said for words in _OF_FULL_DISKS):
        return _FULL
    if isinstance(error, GaelpError):
        is_of_database = error.__cause__ is not None and not isinstance(error, BadInput)
        return f"{said} {_OF_DATABASE}" if is_of_database else said
    if isinstance(error, sa.exc.SQLAlchemyError):  # of the lock of runs
        why = " ".join(str(error.orig).split()) if isinstance(error, sa.exc.DBAPIError) else "it is busy"
        return f"The database failed: {why}. {_OF_DATABASE}"
    if isinstance(error, MemoryError):
        return _OF_MEMORY
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"A file could not be used: {error.strerror.lower()}{where}. {_OF_FILES}"
    return UNFORESEEN


def _reply(row: Any) -> RetrainReply:
    ended = row["started_us"] if row["ended_us"] is None else row["ended_us"]
    return RetrainReply(
        status=row["status"],
        reasons=tuple(Reason(**each) for each in json.loads(row["reasons"])),
        figures=json.loads(row["figures"]),
        improvement=None if row["improvement"] is None else json.loads(row["improvement"]),
        champion=row["champion"],
        challenger=row["challenger"],
        trigger=row["trigger"],
        run_id=row["run_id"],
        started=moment_of(row["started_us"]),
        wall_s=(ended - row["started_us"]) / 1e6,
        message=DIED if row["message"] == _DIED else row["message"],
    )
