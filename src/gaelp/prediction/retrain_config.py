"""How the retraining loop works: every setting, from a TOML file and the environment."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.prediction.calibration import KINDS
from gaelp.prediction.gate import PromotionGate, RollbackGuard
from gaelp.prediction.training import KINDS_TRAINED
from gaelp.prediction.triggers import RULES, CompatibleRule, RetrainRule, SoundRule

PREFIX = "GAELP_RETRAIN_"
TABLES = ("service", "retraining")
"""Tables of a settings file: of `service.settings`, and of `RetrainConfig`."""
Target = Literal["ctr", "cvr"]
TARGETS: tuple[str, ...] = get_args(Target)
"""What a model can predict: the chance of a click, of a conversion after one."""
DRIFT = ("report", "retrain")


@dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """Settings; those of a table `[retraining]` and of `GAELP_RETRAIN_...` have these names.

    Attributes:
        target: what is predicted, `ctr` or `cvr`.
        horizon_hours: of `cvr`: later conversions do not count, and days younger than that do not judge.
        rule: when to retrain. `sound`: the champion is off by more than luck. `compatible`: mean absolute
            error above `mae_limit` over `look_back_days`, with `least_samples` of `least_impressions` each.
        mae_limit, look_back_days, least_samples, least_impressions: see `rule`.
        alpha, looks: of the sound rule: chance of retraining a right model within so many looks.
        drift: whether drift of features or losses is only told, `report`, or a reason to `retrain`.
        psi: population stability index above which a feature has drifted.
        model: `xgboost` or `logistic`. calibration: `platt`, `isotonic` or `none`.
        numeric, categorical: features to learn from; with neither, all that predictions were served with.
        train_days: how far back a challenger learns. validation: share of that, the latest, that stops and
            calibrates. seed, threads: of training.
        judge_days: last days, which a challenger does not learn from and is judged on.
        confidence, least_gain, clusters, events: of the promotion gate.
        degradation: share by which a champion may worsen before it is rolled back.
        keep_versions: models kept; those with an alias always are.
        min_interval_minutes: since any run, before purchases call for one. least_signals: as many of them do.
        daily_hour: UTC, at which `run_due` looks each day; -1: never.
        every_hours: at which `run_due` looks; 0: never.
        search: settings of the trees to draw and try on later rows; 0: the usual ones.
        ensemble: models that differ in their seeds, whose logits are averaged; 1: a single one.
        incremental: grow further trees onto the champion's, on days later than it has learnt from.
        shadow_days: a challenger learns from all days, then scores what is served for so many days, and these
            judge it; 0: it is judged at once, on `judge_days`.

    Raises:
        BadInput: a value is out of range. UnknownName: a name is not known.
    """

    target: str = "ctr"
    horizon_hours: float = 168.0
    rule: str = "sound"
    mae_limit: float = 0.02
    look_back_days: int = 7
    least_samples: int = 50
    least_impressions: int = 100
    alpha: float = 0.05
    looks: int = 14
    drift: str = "report"
    psi: float = 0.25
    model: str = "xgboost"
    calibration: str = "platt"
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    train_days: int = 60
    validation: float = 0.15
    seed: int = 0
    threads: int = 1
    judge_days: int = 3
    confidence: float = 0.99
    least_gain: float = 0.0
    clusters: int = 10
    events: int = 100
    degradation: float = 0.30
    keep_versions: int = 20
    min_interval_minutes: float = 60.0
    least_signals: int = 50
    daily_hour: int = -1
    every_hours: float = 0.0
    search: int = 0
    ensemble: int = 1
    incremental: bool = False
    shadow_days: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            if not _is_of(getattr(self, each.name), kind := type(each.default)):
                allowed = f"must be {_KINDS[kind]}"
                raise BadInput(each.name, getattr(self, each.name), allowed, "The usual one serves.")
        for name, known in _WORDS.items():
            require_known(name, getattr(self, name), known)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                allowed = f"must be from {least:g} to {most:g}"
                raise BadInput(name, value, allowed, "The usual one serves.")
        if self.incremental and (self.model != "xgboost" or self.ensemble > 1 or self.search):
            allowed = "must go with a single model of xgboost, without search"
            raise BadInput("incremental", True, allowed, "Switch one of the two off.")
        if self.search and self.model != "xgboost":
            raise BadInput("search", self.search, "must go with xgboost", "Leave it at 0.")
        self.retrain_rule()
        self.gate()

    def retrain_rule(self) -> RetrainRule:
        """The rule that `rule` names."""
        if self.rule == "sound":
            return SoundRule(alpha=self.alpha, looks=self.looks)
        return CompatibleRule(
            mae=self.mae_limit,
            days=self.look_back_days,
            samples=self.least_samples,
            impressions=self.least_impressions,
        )

    def gate(self) -> PromotionGate:
        """What a challenger must pass."""
        return PromotionGate(
            confidence=self.confidence,
            least_gain=self.least_gain,
            clusters=self.clusters,
            events=self.events,
            seed=self.seed,
        )

    def guard(self) -> RollbackGuard:
        """What sends a champion back."""
        return RollbackGuard(
            degradation=self.degradation, calibration_gap=self.degradation, events=self.events
        )

    @property
    def settle_hours(self) -> float:
        """After a day, until what came of it is final."""
        return self.horizon_hours if self.target == "cvr" else 0.0

    @classmethod
    def read(
        cls, path: Path | str | None = None, environment: Mapping[str, str] | None = None
    ) -> "RetrainConfig":
        """Settings from the table `[retraining]` of a TOML file; the environment's stand above it.

        Args:
            path: the file; None: none. environment: None: that of the process.

        Raises:
            UnknownName: a table or a key is not known.
            BadInput: the file cannot be read, or a value is of the wrong kind or out of range.
        """
        told: dict[str, Any] = {} if path is None else dict(read_tables(path)["retraining"])
        for name, text in (os.environ if environment is None else environment).items():
            if name.startswith(PREFIX):
                told[name.removeprefix(PREFIX).lower()] = text
        kinds = {each.name: type(each.default) for each in fields(cls)}
        for name in told:
            require_known("retraining setting", name, kinds)
        return replace(cls(), **{name: _as(name, value, kinds[name]) for name, value in told.items()})


_WORDS: Mapping[str, Any] = {
    "target": TARGETS,
    "rule": RULES,
    "drift": DRIFT,
    "model": KINDS_TRAINED,
    "calibration": KINDS,
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "horizon_hours": (1, 8760),
    "mae_limit": (0, 1),
    "look_back_days": (1, 365),
    "least_samples": (1, 1e9),
    "least_impressions": (1, 1e9),
    "psi": (0, 100),
    "train_days": (2, 3650),
    "validation": (0.01, 0.9),
    "threads": (1, 1024),
    "judge_days": (1, 365),
    "degradation": (0, 100),
    "clusters": (2, 1e9),
    "events": (1, 1e9),
    "keep_versions": (2, 1e6),
    "min_interval_minutes": (0, 525600),
    "least_signals": (1, 1e9),
    "daily_hour": (-1, 23),
    "every_hours": (0, 8760),
    "search": (0, 1000),
    "ensemble": (1, 32),
    "shadow_days": (0, 90),
}
_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def read_tables(path: Path | str) -> dict[str, dict[str, Any]]:
    """The tables of a settings file, by the names of `TABLES`; one that is not there is empty.

    Raises:
        UnknownName: there is another table.
        BadInput: the file cannot be read, is no TOML, or holds something else in a table's place.
    """
    try:
        told = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise BadInput("config", str(path), "must be a file that can be read", "Check the path.") from None
    except ValueError as error:
        allowed = f"could not be read as TOML: {error}"
        raise BadInput("config", str(path), allowed, "Correct the line.") from None
    for name, found in told.items():
        require_known("table", name, TABLES)
        if not isinstance(found, dict):
            raise BadInput(name, found, "must be a table", f"Write it as [{name}].")
    return {name: told.get(name, {}) for name in TABLES}


def _is_of(value: Any, kind: type) -> bool:
    """Whether a value is of a setting's kind; whole numbers are numbers, true and false are none."""
    if kind in (int, float):
        return isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _as(name: str, value: Any, kind: type) -> Any:
    """A value of a file, or the text of a variable, as a setting's kind."""
    try:
        if kind is tuple:
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(str(part).strip() for part in parts if str(part).strip())
        if kind is bool:
            return value if isinstance(value, bool) else _FLAGS[str(value).lower()]
        if kind is str and isinstance(value, str):
            return value
        if kind in (int, float) and not isinstance(value, bool) and float(value) == kind(value):
            return kind(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        pass
    raise BadInput(name, value, f"must be {_KINDS[kind]}", "Correct the file or the variable.")


_KINDS = {
    tuple: "a list of names",
    bool: "true or false",
    str: "text",
    int: "a whole number",
    float: "a number",
}
