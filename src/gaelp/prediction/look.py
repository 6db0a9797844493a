"""One look of the retraining loop at the champion: guard, shadow, rule, train, judge."""

import datetime as dt
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from gaelp.journeys.batch import micros_since_1970
from gaelp.prediction.accuracy import DAY_US, HOUR_US, AccuracyTracker
from gaelp.prediction.board_figures import judged_r2
from gaelp.prediction.board_money import day_of, days_of
from gaelp.prediction.boosting import BoostedTrees
from gaelp.prediction.cells import table_of
from gaelp.prediction.challenger import too_little, train_challenger
from gaelp.prediction.drift import Adwin, Stability, feature_drift
from gaelp.prediction.figures import accuracy_figures
from gaelp.prediction.gate import PROMOTE, REJECT, ROLL_BACK, GateDecision, GateReason
from gaelp.prediction.model import ResponseModel, load, save
from gaelp.prediction.noise import Outcomes
from gaelp.prediction.registry import Lineage, Registry, Version
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.samples import Samples, read_lesson, read_samples
from gaelp.prediction.triggers import KEEP, RETRAIN, TOO_FEW, Reason, RetrainDecision, with_drift

COMPARED = ("r2", "mae", "logloss", "normalised_entropy")
_MOST_DRIFT_ROWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a look came to; as `runs.RetrainReply`, whose fields these are."""

    status: str
    reasons: tuple[Reason, ...]
    message: str
    challenger: str | None = None
    improvement: Mapping[str, Any] | None = None


@dataclass(kw_only=True)
class Look:
    """A look, taken once.

    Attributes:
        tracker, registry, config: of the loop. code: version of what trains.
        run_id, who, now: of the run.
        figures: what it is based on; filled on the way, so that they are known of a look that failed, too.
    """

    tracker: AccuracyTracker
    registry: Registry
    config: RetrainConfig
    code: Mapping[str, Any]
    run_id: str
    who: str
    now: dt.datetime
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        now_us = micros_since_1970("now", self.now)
        self.settle_us = round(self.config.settle_hours * HOUR_US)
        self.today = now_us // DAY_US  # not over
        self.settled = (now_us - self.settle_us) // DAY_US  # days before are final
        self.aliases = self.registry.aliases()
        self.moves = self.registry.moves()
        self.days_of_moves = days_of(self.moves, now_us)

    def take(self, *, force: bool) -> Verdict:
        """Do what is to be done.

        Args:
            force: train a challenger whatever the rule says.

        Raises:
            GaelpError: the work failed; aliases name whole models as ever.
        """
        champion = self.aliases["champion"]
        troubles: tuple[Reason, ...] = ()
        outcomes = self._since_promoted(champion)
        if champion is not None:
            decision = self._guard(champion, outcomes)
            if decision.status == ROLL_BACK:
                troubles = reasons_of(decision.reasons)
                if self.aliases["previous"] is not None:
                    return self._roll_back(champion, decision, troubles)
        if self.aliases["challenger"] is not None and not force:
            verdict = self._shadow(self.aliases["challenger"])
            if verdict is not None:
                return verdict
        found = self._decide(champion, outcomes)
        reasons = (*troubles, *found.reasons)
        if not force and not troubles and found.status != RETRAIN:
            fine = found.status == KEEP
            message = "The champion is as right as luck allows." if fine else "There are too few outcomes."
            return Verdict(status=found.status, reasons=reasons, message=message)
        if force:
            reasons = (*reasons, Reason(code="forced", value=1.0, limit=1.0, days=0))
        return self._retrain(champion, reasons)

    # the champion

    def _since_promoted(self, champion: str | None) -> Outcomes:
        """What came of the champion's predictions on the last days, since it became that."""
        found = self.tracker.outcomes(
            self.now,
            model_version=champion,
            target=self.config.target,
            days=max(self.config.look_back_days, 7),
            settle_hours=self.config.settle_hours,
        )
        made = [
            day
            for before, move, day in zip([None, *self.moves], self.moves, self.days_of_moves, strict=False)
            if move.aliases["champion"] == champion
            and (before is None or before.aliases["champion"] != champion)
        ]
        return found if champion is None or not made else found.take(found.day >= made[-1])

    def _guard(self, champion: str, outcomes: Outcomes) -> GateDecision:
        promoted = [
            move for move in self.moves if move.action == "promote" and move.aliases["champion"] == champion
        ]
        evidence = promoted[-1].evidence.get("figures", {}) if promoted else {}
        before = evidence.get("challenger") or accuracy_figures(outcomes)
        decision = self.config.guard().judge(outcomes, before)
        self.figures["guard"] = decision.as_dict()
        return decision

    def _roll_back(self, champion: str, decision: GateDecision, reasons: tuple[Reason, ...]) -> Verdict:
        why = f"{champion}: {', '.join(each.code for each in reasons)}"
        move = self.registry.rollback(who=self.who, why=why, now=self.now, evidence=decision.as_dict())
        message = f"{champion} went back to {move.aliases['champion']}."
        return Verdict(status="rolled_back", reasons=reasons, message=message)

    def _decide(self, champion: str | None, outcomes: Outcomes) -> RetrainDecision:
        if champion is None:
            reason = Reason(code="no_champion", value=0.0, limit=1.0, days=0)
            found = RetrainDecision(status=RETRAIN, reasons=(reason,), figures=accuracy_figures(outcomes))
        else:
            found = self.config.retrain_rule().check(outcomes, self.settled)
            moved, cut = self._drift(outcomes)
            if self.config.drift == "retrain":
                found = with_drift(found, moved, psi=self.config.psi, loss_cut=cut)
        self.figures["accuracy"] = found.figures
        return found

    def _drift(self, outcomes: Outcomes) -> tuple[dict[str, Stability], bool]:
        """Of features served on the last days, against those before; and whether losses have changed."""
        border = self.today - self.config.look_back_days
        found = self._samples(self.today - self.config.train_days, self.today)
        parts = [found.between(0, border), found.between(border, self.today)]
        moved: dict[str, Stability] = {}
        if all(len(part) for part in parts):
            columns = found.columns(self.config.numeric, self.config.categorical)
            tables = [table_of(columns, _some(part.rows())) for part in parts]
            before, after = (
                dict(zip(columns.numeric, table.numeric.T, strict=True))
                | {column.name: np.array(column.words)[column.codes] for column in table.categorical}
                for table in tables
            )
            moved = feature_drift(before, after)
        watch = Adwin()
        cut = any([watch.update(float(gap)) for gap in outcomes.surplus / outcomes.trials])
        features = {name: {**asdict(each), "drifted": each.drifted} for name, each in moved.items()}
        self.figures["drift"] = {"features": features, "loss_changed": cut}
        return moved, cut

    # the challenger

    def _retrain(self, champion: str | None, reasons: tuple[Reason, ...]) -> Verdict:
        rival = None if champion is None else self._load(champion)
        first = self.settled - self.config.judge_days
        if rival is not None:
            first = max(first, rival.until + 1)
        end = self.today if self.config.shadow_days else first
        base, samples = self._lesson(rival, end)
        few = too_little(samples, self.config, end)
        if few is None and not self.config.shadow_days and first >= self.settled:
            few = Reason(code="too_few_samples", value=0.0, limit=1.0, days=self.config.judge_days)
        if few is not None:
            return Verdict(
                status=TOO_FEW, reasons=(*reasons, few), message="There is too little to learn from."
            )
        trained = self._train(samples, champion, base, reasons, end)
        if self.config.shadow_days:
            message = f"{trained.name} was trained and scores what is served; judged in some days."
            waits = Reason(code="in_shadow", value=0.0, limit=self.config.shadow_days, days=0)
            return Verdict(
                status="retrained", reasons=(*reasons, waits), message=message, challenger=trained.name
            )
        return self._judge(trained, rival, first, reasons)

    def _lesson(self, rival: "_Kept | None", end: int) -> "tuple[_Kept | None, Samples]":
        """The champion, if the challenger is to continue it and can; and the rows to learn from."""
        begin = end - self.config.train_days
        if self.config.incremental and rival is not None and isinstance(rival.model.scorer, BoostedTrees):
            later = self._learnt(max(begin, rival.until + 1), end)
            alike = (later.delay.size > 0) == (rival.model.buckets is not None)
            if alike and too_little(later, self.config, end) is None:
                return rival, later
        return None, self._learnt(begin, end)

    def _train(
        self,
        samples: Samples,
        champion: str | None,
        base: "_Kept | None",
        reasons: Sequence[Reason],
        end: int,
    ) -> "_Kept":
        model = train_challenger(
            samples, self.config, end=end, base=None if base is None else base.model, code=self.code
        )
        told = model.manifest
        self.figures["training"] = {
            "training_s": told["training_s"],
            **{name: told["data"][name] for name in ("rows", "trials", "events", "first_day", "last_day")},
        }
        folder = self.registry.folder / f".training-{self.run_id}"
        try:
            save(model, folder)
            why = ", ".join(each.code for each in reasons)
            lineage = Lineage.of_model(folder, champion)
            version = self.registry.register(folder, lineage, who=self.who, why=why, now=self.now)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.registry.challenge(version.name, who=self.who, why=why, now=self.now)
        return _Kept(version.name, model, end - 1)

    def _shadow(self, challenger: str) -> Verdict | None:
        """Judge a challenger that has been in shadow for long enough; None: none is in shadow."""
        if not self.config.shadow_days:  # its run died before it was judged
            self.registry.reject(who=self.who, why="its run did not end", now=self.now)
            return None
        dated = zip(self.moves, self.days_of_moves, strict=True)
        first = [day for move, day in dated if move.action == "challenge"][-1] + 1
        days = self.settled - first
        if days < self.config.shadow_days:
            waits = Reason(code="in_shadow", value=max(days, 0), limit=self.config.shadow_days, days=0)
            message = f"{challenger} still scores what is served."
            return Verdict(status=KEEP, reasons=(waits,), message=message, challenger=challenger)
        champion = self.aliases["champion"]
        rival = None if champion is None else self._load(champion)
        kept = self._load(challenger)
        return self._judge(kept, rival, max(first, kept.until + 1), ())

    def _judge(
        self, kept: "_Kept", rival: "_Kept | None", first: int, reasons: tuple[Reason, ...]
    ) -> Verdict:
        """Compare challenger and champion on days that neither has learnt from, and move the names."""
        rows = self._samples(first, self.settled, self.settle_us)
        theirs = rows.score(kept.model)
        if rival is None:  # the first model: its rival says the rate of the rows it was trained on
            told = kept.model.manifest["data"]
            rate = told["events"] / told["trials"]
            ours, over, until = replace(rows.outcomes, predicted=np.full(len(rows), rate)), None, kept.until
        else:
            ours, over, until = rows.score(rival.model), rival.name, max(kept.until, rival.until)
        decision = self.config.gate().judge(ours, theirs.predicted, trained_until=until)
        self.figures["gate"] = decision.as_dict()
        self.figures["ceiling"] = {"r2": judged_r2(theirs).best}
        reasons = (*reasons, *reasons_of(decision.reasons))
        said: dict[str, Any] = {
            "reasons": reasons,
            "challenger": kept.name,
            "improvement": improvement(decision.figures),
        }
        why = ", ".join(each.code for each in decision.reasons)
        moved: dict[str, Any] = {"who": self.who, "why": why, "now": self.now, "evidence": decision.as_dict()}
        if decision.status == PROMOTE:
            self.registry.promote(kept.name, over=over, **moved)
            self.registry.prune(self.config.keep_versions)
            message = f"{kept.name} is champion" + ("." if over is None else f" in place of {over}.")
            return Verdict(status="retrained", message=message, **said)
        if decision.status == TOO_FEW and self.config.shadow_days:
            message = f"Too little came of what {kept.name} has scored; it goes on."
            return Verdict(status=TOO_FEW, message=message, **said)
        self.registry.reject(**moved)
        self.registry.prune(self.config.keep_versions)
        if decision.status == REJECT:
            message = f"{kept.name} was not better by more than luck."
            return Verdict(status="challenger_rejected", message=message, **said)
        return Verdict(status=TOO_FEW, message=f"There is too little to judge {kept.name} on.", **said)

    # what they learn from and are judged on

    def _samples(self, first: int, end: int, settled_us: int | None = None) -> Samples:
        return read_samples(
            self.tracker.database, target=self.config.target, first=first, end=end, settled_us=settled_us
        )

    def _learnt(self, first: int, end: int) -> Samples:
        """Rows to learn from; where conversions teach by final days alone, `figures` tell why."""
        found, few = read_lesson(
            self.tracker.database,
            target=self.config.target,
            first=first,
            end=end,
            settled=self.settled,
            horizon_hours=self.config.horizon_hours,
        )
        self.figures.pop("delays", None)
        if few is not None:
            self.figures["delays"] = asdict(few)
        return found

    def _load(self, name: str) -> "_Kept":
        version = self.registry.get(name)
        model = load(version.folder)
        return _Kept(name, model, _learnt_until(version, model))


@dataclass(frozen=True)
class _Kept:
    """A version with its model, and the last day, since 1970 began, that it has learnt from."""

    name: str
    model: ResponseModel
    until: int


def improvement(figures: Mapping[str, Any]) -> dict[str, dict[str, float | None]] | None:
    """By figure of `COMPARED` {`before`, `after`, `delta`} of a gate's decision; None: it judged nothing.

    Args:
        figures: of `gate.GateDecision`.
    """
    if "challenger" not in figures:
        return None
    found = {}
    for name in COMPARED:
        before, after = (figures[side][name]["value"] for side in ("champion", "challenger"))
        known = before is not None and after is not None
        found[name] = {"before": before, "after": after, "delta": after - before if known else None}
    return found


def reasons_of(reasons: Sequence[GateReason]) -> tuple[Reason, ...]:
    """A gate's reasons as those of a rule."""
    return tuple(
        Reason(code=each.code, value=float(each.value), limit=each.limit, days=0)
        for each in reasons
        if each.value is not None
    )


def _learnt_until(version: Version, model: ResponseModel) -> int:
    """As told by the model; else it cannot have learnt from days after it was registered.

    Nor from days after the last of its rows, whatever a clock ahead has told.
    """
    told = model.manifest.get("trained_until")
    until = day_of(version.at) if told is None else int(told)
    last = (model.manifest.get("data") or {}).get("last_day")
    return until if last is None else min(until, int(last))


def _some(rows: Sequence[Any]) -> Sequence[Any]:
    step = -(-len(rows) // _MOST_DRIFT_ROWS)
    return rows[:: max(step, 1)]
