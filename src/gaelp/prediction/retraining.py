"""The retraining loop: look at the champion, train a challenger, judge it on later days, move the names.

    guard      the champion is much worse than when it was promoted, or miscalibrated: roll back
    shadow     a challenger has scored what was served for long enough: judge it
    rule       the champion is off by more than luck (or, for the brief's rule, than a limit); drift is told
    train      on features that predictions were served with, and what came of them, up to a day
    judge      on the days after it: promoted if better by more than luck, else rejected

One run at a time on a database, each a row of `retraining_runs` from its start. The work is `look.Look`.
"""

import datetime as dt
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.names import require_known
from gaelp.core.plain import plain
from gaelp.journeys.batch import Coded, micros_since_1970, moment_of
from gaelp.journeys.database import Database
from gaelp.prediction.accuracy import DAY_US, HOUR_US, AccuracyTracker, tell_outcomes
from gaelp.prediction.figures import accuracy_figures
from gaelp.prediction.lock import Locked, alone_in
from gaelp.prediction.look import Look, Verdict
from gaelp.prediction.registry import ALIASES, Move, Registry
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.runs import STATUSES, TRIGGERS, UNFORESEEN, RetrainReply, Runs, last_start, message_of
from gaelp.prediction.schema import prediction_comparisons, prediction_records, purchase_signals
from gaelp.prediction.signals import PurchaseSignal, SignalReply, count_waiting, keep_signal
from gaelp.prediction.training import installed_version

__all__ = [
    "STATUSES",
    "TRIGGERS",
    "PurchaseSignal",
    "RetrainReply",
    "Retrainer",
    "SignalReply",
    "tell_outcomes",
]

_MINUTE_US = 60_000_000
log = logging.getLogger("gaelp.prediction")


class Retrainer:
    """The loop on one database and one registry; calls from several threads and processes are safe.

    Args:
        database: open, the caller closes it; or its path or address, opened here and closed by `close`.
        registry: of models, or its folder.
        config: how.
        code: version of what trains, for the manifests; None: the program's.

    Raises:
        BadInput, MismatchError: as `AccuracyTracker`.
    """

    def __init__(
        self,
        database: Database | str | Path,
        registry: Registry | str | Path,
        config: RetrainConfig | None = None,
        *,
        code: Mapping[str, Any] | None = None,
    ) -> None:
        self.tracker = AccuracyTracker(database)
        self.database = self.tracker.database
        self.registry = registry if isinstance(registry, Registry) else Registry(registry)
        self.config = RetrainConfig() if config is None else config
        self.code = {"gaelp": installed_version("gaelp")} if code is None else dict(code)
        self.runs = Runs(self.database)

    def __enter__(self) -> "Retrainer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database if it was opened here."""
        self.tracker.close()

    def check(
        self,
        *,
        trigger: str,
        who: str,
        now: dt.datetime,
        force: bool = False,
        request_id: str | None = None,
    ) -> RetrainReply:
        """Look at the champion, and do what is to be done.

        Args:
            trigger: one of `TRIGGERS`. who: asks, for those who look later. now: the moment.
            force: train a challenger whatever the rule says; the gate still judges it.
            request_id: idempotency key: told again, the recorded reply comes back, an error, too.

        Returns:
            The reply; `locked` at once where another run is on, `error` where the work failed or died.

        Raises:
            BadInput: no such trigger, nobody is named, the key is no text, or `now` names no zone.
        """
        require_known("trigger", trigger, TRIGGERS)
        if not who.strip():
            raise BadInput("who", who, "must not be empty", "Say who asks.")
        Coded.check("who", [who])
        if request_id is not None:
            Coded.check("request_id", [request_id])
        reply = self._run(trigger, who, now, force=force, request_id=request_id)
        assert reply is not None  # it was not asked whether it is due
        return reply

    def process_purchase_signal(self, signal: PurchaseSignal, *, now: dt.datetime) -> SignalReply:
        """Put a purchase into the queue, once; `run_due` takes them together.

        Raises:
            BadInput: as `signals.keep_signal`.
        """
        return keep_signal(self.database, signal, now)

    def promote(self, version: str, *, who: str, why: str, now: dt.datetime) -> Move:
        """Make a version champion by hand; nothing judges it.

        Raises:
            Locked: a run is on. The rest as `Registry.promote`.
        """
        with alone_in(self.database):
            return self.registry.promote(version, who=who, why=why, now=now)

    def roll_back(self, *, who: str, why: str, now: dt.datetime) -> Move:
        """Make the previous champion champion again, by hand; errors as `promote`."""
        with alone_in(self.database):
            return self.registry.rollback(who=who, why=why, now=now)

    def run_due(self, now: dt.datetime) -> RetrainReply | None:
        """Run what is due: by the day, by the hour, or because enough purchases wait.

        Purchases wait until there are `least_signals` and the last run began `min_interval_minutes` ago; then
        one run takes all of them.

        Returns:
            None: nothing was due.
        """
        now_us = micros_since_1970("now", now)

        def due(connection: sa.Connection) -> str | None:
            return self._due(connection, now_us)

        try:
            with self.database.reading() as connection:
                trigger = due(connection)
        except GaelpError as error:
            return self._failed("scheduled", now, error)
        if trigger is None:
            return None
        return self._run(trigger, "queue", now, is_due=due)

    def stats(self, now: dt.datetime) -> dict[str, Any]:
        """How right the champion is, what there is to learn from, the queue and the last runs.

        Returns:
            `champion`; `target` and `rule`, as set; `accuracy`, as `AccuracyTracker.report` of the look-back;
            `samples` of the days that a challenger learns from {`predictions`, `with_features`, `trials`,
            `events`, `purchases`}; `queue` {`waiting`, `due`, `last_run`}; `runs`, the newest first.
        """
        now_us = micros_since_1970("now", now)
        champion = self.registry.aliases()["champion"]
        found = self.tracker.outcomes(
            now,
            model_version=champion,
            target=self.config.target,
            days=self.config.look_back_days,
            settle_hours=self.config.settle_hours,
        )
        with self.database.reading() as connection:
            waiting, last = count_waiting(connection), last_start(connection, now_us)
            due = self._due(connection, now_us)
            samples = _count_samples(connection, self.config, now_us)
        return {
            "champion": champion,
            "target": self.config.target,
            "rule": self.config.rule,
            "accuracy": {
                "model_version": champion,
                "target": self.config.target,
                "days": self.config.look_back_days,
                **accuracy_figures(found),
            },
            "samples": samples,
            "queue": {
                "waiting": waiting,
                "due": due,
                "last_run": None if last is None else moment_of(last).isoformat(),
            },
            "runs": self.runs.recent(10),
        }

    def model_info(self) -> dict[str, Any]:
        """By alias {`name`, `at`, `who`, `why`, `parent`, `manifest`}, null where it is free."""
        found: dict[str, Any] = {}
        held = self.registry.aliases()
        for alias in ALIASES:
            name = held[alias]
            found[alias] = None
            if name is not None:
                version = self.registry.get(name)
                manifest = version.folder / "manifest.json"
                found[alias] = {
                    "name": version.name,
                    "at": version.at,
                    "who": version.who,
                    "why": version.why,
                    "parent": version.lineage.parent,
                    "manifest": json.loads(manifest.read_bytes()) if manifest.is_file() else None,
                }
        return found

    def _due(self, connection: sa.Connection, now_us: int) -> str | None:
        """The trigger that is due; None: none is."""
        config = self.config
        if config.daily_hour >= 0:
            moment = now_us // DAY_US * DAY_US + config.daily_hour * HOUR_US
            if moment <= now_us and (last_start(connection, now_us, "daily") or 0) < moment:
                return "daily"
        if config.every_hours:
            last = last_start(connection, now_us, "scheduled")
            if last is None or now_us - last >= config.every_hours * HOUR_US:
                return "scheduled"
        last = last_start(connection, now_us)
        if last is None or now_us - last >= config.min_interval_minutes * _MINUTE_US:
            if count_waiting(connection) >= config.least_signals:
                return "purchase"
        return None

    def _run(
        self,
        trigger: str,
        who: str,
        now: dt.datetime,
        *,
        force: bool = False,
        request_id: str | None = None,
        is_due: Callable[[sa.Connection], str | None] | None = None,
    ) -> RetrainReply | None:
        now_us, began = micros_since_1970("now", now), time.perf_counter()
        reply: RetrainReply | None = None
        try:
            if request_id is not None and (known := self.runs.of_request(request_id)):
                return known
            with alone_in(self.database):
                for name in self.runs.bury(now_us):
                    shutil.rmtree(self.registry.folder / f".training-{name}", ignore_errors=True)
                if request_id is not None and (known := self.runs.of_request(request_id)):
                    return known
                run_id, trigger = self.runs.begin(
                    trigger=trigger,
                    who=who,
                    target=self.config.target,
                    now_us=now_us,
                    request_id=request_id,
                    is_due=is_due,
                )
                if run_id is None:
                    return None
                found = self._look(run_id, trigger, who, now, force, began)
                self.runs.end(found, now_us)
                reply = found
                return reply
        except Locked:
            return RetrainReply(
                status="locked",
                figures={},
                champion=self.registry.aliases()["champion"],
                trigger=trigger,
                run_id=self.runs.running() or "",
                started=now,
                message="Another run is on.",
            )
        except (GaelpError, OSError, SQLAlchemyError) as error:
            if reply is not None:  # only the lock could not be given back: it goes with its connection
                return reply
            return self._failed(trigger, now, error)

    def _look(
        self, run_id: str, trigger: str, who: str, now: dt.datetime, force: bool, began: float
    ) -> RetrainReply:
        look: Look | None = None
        try:
            look = Look(
                tracker=self.tracker,
                registry=self.registry,
                config=self.config,
                code=self.code,
                run_id=run_id,
                who=who,
                now=now,
            )
            found = look.take(force=force)
            champion = self.registry.aliases()["champion"]
        except Exception as error:  # whatever went wrong is told, not thrown at who asked
            _log(error, run_id)
            champion, found = None, Verdict(status="error", reasons=(), message=message_of(error))
        return RetrainReply(
            **vars(found),
            figures={} if look is None else plain(look.figures),
            champion=champion,
            trigger=trigger,
            run_id=run_id,
            started=now,
            wall_s=round(time.perf_counter() - began, 6),
        )

    def _failed(self, trigger: str, now: dt.datetime, error: Exception) -> RetrainReply:
        """A reply where not even the run could be written down."""
        _log(error, "that could not be written down")
        return RetrainReply(
            status="error", figures={}, trigger=trigger, run_id="", started=now, message=message_of(error)
        )


def _log(error: Exception, run: str) -> None:
    """Keep the trace of what no message can tell."""
    if message_of(error) == UNFORESEEN:
        log.error("the run %s failed", run, exc_info=error)


def _count_samples(connection: sa.Connection, config: RetrainConfig, now_us: int) -> dict[str, int]:
    r, c = prediction_records.c, prediction_comparisons.c
    today = now_us // DAY_US
    first = today - config.train_days
    query = (
        sa.select(
            sa.func.count(sa.distinct(r.prediction_id)),
            sa.func.count(sa.distinct(sa.case((r.features.is_not(None), r.prediction_id)))),
            sa.func.coalesce(sa.func.sum(c.trials), 0),
            sa.func.coalesce(sa.func.sum(c.events), 0),
        )
        .join_from(prediction_comparisons, prediction_records, r.prediction_id == c.prediction_id)
        .where(c.day >= first, c.day < today, r.target == config.target)
    )
    row = connection.execute(query).one()
    names = ("predictions", "with_features", "trials", "events")
    found = {name: int(value) for name, value in zip(names, row, strict=True)}
    at = purchase_signals.c.at_us
    bought = sa.select(sa.func.count()).where(at >= first * DAY_US, at < today * DAY_US)
    return {**found, "purchases": int(connection.execute(bought).scalar_one())}
