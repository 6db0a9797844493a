"""The one process that opens the database, checks and retrains: at low priority, beside the one that answers.

It reads jobs as JSON lines on standard input and answers them as JSON lines on standard output, in any order:
`{"id": 7, "job": "check", "given": {...}}`, then `{"id": 7, "answer": {...}}`; for bad input of `_JUDGED`
`{"id": 7, "refused": [name, value, allowed, remedy]}`, else `{"id": 7, "failed": "why"}`. It ends when its
input ends, after what is under way. Events, served predictions and outcomes have a thread of their own and
wait for no training.
"""

import datetime as dt
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.plain import plain
from gaelp.data.patterns.store import PatternStore
from gaelp.journeys.batch import Event
from gaelp.journeys.schema import conversions
from gaelp.journeys.store import JourneyStore
from gaelp.prediction.accuracy import AccuracyTracker, Outcome, Served, tell_outcomes
from gaelp.prediction.registry import Registry
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.retraining import Retrainer
from gaelp.prediction.signals import DIFFERS, PurchaseSignal, is_known
from gaelp.service.complaints import shown

NICENESS = 19
_JUDGED = ("signal", "record", "outcomes")
"""Jobs whose input is judged here; of others it was judged before, and what they refuse is the service's."""
_THREADS = {
    "signal": "writes",
    "record": "writes",
    "outcomes": "writes",
    "stats": "reads",
    "model_info": "reads",
}


class Jobs:
    """What can be asked for.

    Args:
        database, models, config: as of `Settings`.
    """

    def __init__(self, database: str | None, models: str, config: str | None) -> None:
        self._journeys = JourneyStore(database)
        self._patterns = PatternStore(self._journeys)
        self._tracker = AccuracyTracker(self._journeys.database)
        self._retrainer = Retrainer(self._journeys.database, Registry(models), RetrainConfig.read(config))

    def check(self, *, now: str, **given: Any) -> dict[str, Any]:
        """As `Retrainer.check`, but that a registry that cannot be read is an error, as of `stats`."""
        self._retrainer.registry.aliases()
        return self._retrainer.check(now=_moment(now), **given).as_dict()

    def run_due(self, *, now: str) -> dict[str, Any]:
        """As `Retrainer.run_due`, under `reply`: None where nothing was due."""
        reply = self._retrainer.run_due(_moment(now))
        return {"reply": None if reply is None else reply.as_dict()}

    def stats(self, *, now: str) -> dict[str, Any]:
        """As `Retrainer.stats`."""
        return self._retrainer.stats(_moment(now))

    def model_info(self) -> dict[str, Any]:
        """As `Retrainer.model_info`."""
        return self._retrainer.model_info()

    def signal(self, *, now: str, person: str | None = None, **given: Any) -> dict[str, Any]:
        """As `Retrainer.process_purchase_signal`; of a person who is named, journey and patterns, too.

        Told again, it changes nothing, whatever is said then; `differs` tells what was. The queue comes last:
        where the process dies before, the purchase is not known yet, and told again it finds what is missing.
        """
        moments = {name: _moment(given[name]) for name in ("at", "clicked_at") if given[name] is not None}
        signal, moment = PurchaseSignal(**{**given, **moments}), _moment(now)
        sale_id = f"ga4:sale:{signal.event_id}"  # as the import of GA4 names the transaction
        otherwise = []
        if person is not None and is_known(self._journeys.database, signal, moment):
            otherwise = [] if self._is_of(person, sale_id) else ["person"]
        elif person is not None:
            sale = Event(
                person=person,
                event_id=sale_id,
                at=_moment(given["at"]),
                kind="conversion",
                value_micros=signal.value_micros,
                currency=signal.currency,
            )
            otherwise = ["journey"] if self._journeys.append([sale], moment).conflicts else []
            self._patterns.update(moment, [person])
        reply = self._retrainer.process_purchase_signal(signal, now=moment)
        reason = DIFFERS if otherwise and not reply.queued else reply.reason
        return {**asdict(reply), "reason": reason, "differs": [*reply.differs, *otherwise]}

    def _is_of(self, person: str, sale_id: str) -> bool:
        """Whether the journeys hold a sale as that of a person."""
        query = sa.select(conversions.c.alias_id).where(conversions.c.event_id == sale_id)
        with self._journeys.database.reading() as connection:
            alias_id = connection.execute(query).scalar()
        found = self._journeys.person(person)
        return found is not None and alias_id in found.alias_ids

    def record(self, *, served: list[dict[str, Any]]) -> dict[str, Any]:
        """As `AccuracyTracker.record`."""
        rows = [Served(**{**each, "at": _moment(each["at"])}) for each in served]
        return {"new": self._tracker.record(rows)}

    def outcomes(self, *, rows: list[dict[str, Any]], now: str) -> dict[str, Any]:
        """As `accuracy.tell_outcomes`."""
        found = [Outcome(**{**each, "day": dt.date.fromisoformat(each["day"])}) for each in rows]
        return dict(tell_outcomes(self._tracker, found, _moment(now)))


def serve(jobs: Jobs, lines: IO[bytes], answers: IO[bytes]) -> None:
    """Do what is asked until the input ends."""
    mouth = threading.Lock()

    def tell(told: Mapping[str, Any]) -> None:
        line = json.dumps(plain(told), allow_nan=False).encode() + b"\n"
        with mouth:
            try:
                answers.write(line)
                answers.flush()
            except BrokenPipeError:
                pass  # whoever asked has gone; what was done stands in the database

    def do(asked: Mapping[str, Any]) -> None:
        work: Callable[..., dict[str, Any]] = getattr(jobs, asked["job"])
        try:
            tell({"id": asked["id"], "answer": work(**asked["given"])})
        except GaelpError as error:
            if isinstance(error, BadInput) and asked["job"] in _JUDGED:
                parts = (error.name, error.value, error.allowed, error.remedy)
                tell({"id": asked["id"], "refused": [shown(each) for each in parts]})
            else:
                tell({"id": asked["id"], "failed": str(error)})
        except Exception as error:  # the service must hear of it, and lives on
            sys.excepthook(*sys.exc_info())
            tell({"id": asked["id"], "failed": f"{type(error).__name__}: {error}"})

    pools = {name: ThreadPoolExecutor(1, name) for name in ("writes", "reads")}
    tell({"id": 0, "answer": {"pid": os.getpid()}})
    for line in lines:
        asked = json.loads(line)
        if asked["job"] in _THREADS:
            pools[_THREADS[asked["job"]]].submit(do, asked)
        else:
            threading.Thread(target=do, args=(asked,)).start()


def main() -> None:
    """Set up as the first line says, answer whether that went well, then `serve`."""
    os.nice(NICENESS)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not among the answers
    lines = sys.stdin.buffer
    setup = json.loads(lines.readline())
    try:
        jobs = Jobs(**setup)
    except (GaelpError, SQLAlchemyError) as error:
        if isinstance(error, BadInput):
            parts = (error.name, error.value, error.allowed, error.remedy)
        else:  # such as of a file that is damaged here and there
            said = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
            allowed = f"could not be used: {said.rstrip('.')}"
            parts = ("DATABASE_URL", "(not shown)", allowed, "Check the database.")
        if parts[0] == "DATABASE_URL" and setup["database"] is not None:
            parts = ("database", *parts[1:])  # it was told, not found in the environment
        answers.write(json.dumps({"id": 0, "refused": [shown(each) for each in parts]}).encode() + b"\n")
        answers.flush()
        return
    serve(jobs, lines, answers)


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


if __name__ == "__main__":
    main()
