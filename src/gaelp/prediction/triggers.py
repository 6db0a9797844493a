"""When to train a new model: the brief's rule, and the one that luck does not set off.

`CompatibleRule` is the brief's: mean absolute error above a limit. What it measures at 100 impressions a row
is mostly binomial noise: a perfect model of creatives clicked at 8 % is retrained daily, a useless one of 1 %
never (docs/reference/model_registry.md). `SoundRule`, the default, asks whether the champion's surplus of
logloss over its noise floor, its calibration in the large or its calibration slope are further off than luck
makes them, and far enough to matter.

Both are pure: outcomes in, a `RetrainDecision` out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from scipy.special import logit

from gaelp.core.errors import BadInput
from gaelp.prediction.drift import Stability
from gaelp.prediction.figures import accuracy_figures
from gaelp.prediction.noise import Outcomes, dispersion, slope_weight, tail, two_sided

RETRAIN, KEEP, TOO_FEW = "retrain", "no_retrain_needed", "insufficient_data"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a decision was taken, for machines.

    Attributes:
        code: `mae`, `miscalibrated`, `slope`, `normalised_entropy`, `drift`, `loss_changed`,
            `too_few_samples`, `too_few_events`.
        value: measured. limit: that it passed, or fell short of.
        days: looked back; 0: not by days.
        p_value: of a value as far off by luck, None where nothing was tested. level: that it had to be below.
    """

    code: str
    value: float
    limit: float
    days: int
    p_value: float | None = None
    level: float | None = None


@dataclass(frozen=True, kw_only=True)
class RetrainDecision:
    """What a rule says.

    Attributes:
        status: `retrain`, `no_retrain_needed` or `insufficient_data`.
        reasons: why; none where nothing is wrong.
        figures: `accuracy.accuracy_figures` of what was looked at.
    """

    status: str
    reasons: tuple[Reason, ...]
    figures: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "reasons": [asdict(each) for each in self.reasons]}


class RetrainRule(Protocol):
    """Says whether to train a new model."""

    def check(self, outcomes: Outcomes, today: int) -> RetrainDecision:
        """Look at outcomes of the days before `today`, in whole days since 1970 began."""


@dataclass(frozen=True, kw_only=True)
class CompatibleRule:
    """The brief's rule: retrain when the mean absolute error of the last days is above a limit.

    Attributes:
        mae: limit; every sample counts once. days: to look back.
        samples: that are needed. impressions: that a sample needs.
    """

    mae: float = 0.02
    days: int = 7
    samples: int = 50
    impressions: int = 100

    def check(self, outcomes: Outcomes, today: int) -> RetrainDecision:
        """As `RetrainRule`."""
        kept = outcomes.last_days(self.days, today)
        kept = kept.take(kept.trials >= self.impressions)
        figures = accuracy_figures(kept)
        if len(kept) < self.samples:
            reason = Reason(code="too_few_samples", value=len(kept), limit=self.samples, days=self.days)
            return RetrainDecision(status=TOO_FEW, reasons=(reason,), figures=figures)
        error = float(np.abs(kept.events / kept.trials - kept.predicted).mean())
        if error <= self.mae:
            return RetrainDecision(status=KEEP, reasons=(), figures=figures)
        reason = Reason(code="mae", value=error, limit=self.mae, days=self.days)
        return RetrainDecision(status=RETRAIN, reasons=(reason,), figures=figures)


@dataclass(frozen=True, kw_only=True)
class SoundRule:
    """Retrain when the champion is off by more than luck makes it, and by enough to matter.

    Tested at each look: calibration in the large, both ways, on several spans of days (three quarters of the
    look's alpha); the surplus of logloss over its noise floor (an eighth); the calibration slope, both ways
    (an eighth). `alpha` is spent evenly over `looks` looks, so by the union bound, which holds for looks at
    overlapping days, too, a right model is retrained with at most that chance in as many looks (after Lan and
    DeMets, Biometrika 70, 1983; spending even in time is Pocock's, Biometrika 64, 1977). Tails are
    `noise.tail`. Where creatives vary by more than the binomial law, the tests allow for it.

    Attributes:
        alpha: chance of retraining a right model within `looks` looks.
        looks: that share alpha; then a new period begins. Who looks hourly gives 24 times as many.
        spans: days to look back, each its own test of calibration; logloss and slope take the longest.
        least_gap: calibration ratio, its share above 1 (or 1 above it), that matters.
        least_slope_gap: distance of the slope from 1 that matters.
        least_excess: share of logloss above its noise floor that matters.
        events: clicks that must be expected for a span to be tested.

    Raises:
        BadInput: alpha is no probability, no spans, or a number is not above 0.
    """

    alpha: float = 0.05
    looks: int = 14
    spans: tuple[int, ...] = (1, 3, 7)
    least_gap: float = 0.05
    least_slope_gap: float = 0.15
    least_excess: float = 0.002
    events: int = 30

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise BadInput("alpha", self.alpha, "must be above 0 and below 1", "The usual one serves.")
        if not self.spans or min(self.spans) < 1:
            raise BadInput("spans", self.spans, "must be days, each at least 1", "The usual ones serve.")
        for name in ("looks", "events", "least_gap", "least_slope_gap", "least_excess"):
            if not getattr(self, name) > 0:
                raise BadInput(name, getattr(self, name), "must be above 0", "The usual one serves.")

    @property
    def days(self) -> int:
        """That are looked back."""
        return max(self.spans)

    def check(self, outcomes: Outcomes, today: int) -> RetrainDecision:
        """As `RetrainRule`; outcomes are those of the champion alone, since it became that."""
        whole = outcomes.last_days(self.days, today)
        figures = accuracy_figures(whole)
        expected = float(whole.trials @ whole.chance)
        if expected < self.events:
            reason = Reason(code="too_few_events", value=expected, limit=self.events, days=self.days)
            return RetrainDecision(status=TOO_FEW, reasons=(reason,), figures=figures)
        reasons = (*self._calibration(outcomes, today), *self._shape(whole, figures))
        return RetrainDecision(status=RETRAIN if reasons else KEEP, reasons=reasons, figures=figures)

    def _calibration(self, outcomes: Outcomes, today: int) -> Iterator[Reason]:
        level = self.alpha / self.looks * 3 / 4 / len(self.spans)
        for days in self.spans:
            part = outcomes.last_days(days, today)
            expected = float(part.trials @ part.chance)
            if expected < self.events:
                continue
            ratio = float(part.events.sum()) / expected
            p_value = two_sided(part, dispersion=dispersion(part))
            if p_value < level and max(ratio, 1 / max(ratio, 1e-9)) > 1 + self.least_gap:
                limit = 1 + self.least_gap if ratio > 1 else 1 / (1 + self.least_gap)
                yield Reason(
                    code="miscalibrated", value=ratio, limit=limit, days=days, p_value=p_value, level=level
                )

    def _shape(self, whole: Outcomes, figures: Mapping[str, Any]) -> Iterator[Reason]:
        level, spread = self.alpha / self.looks / 8, dispersion(whole)
        loss, slope = figures["logloss"], figures["calibration_slope"]["value"]
        if loss["value"] is not None:
            excess = loss["value"] / loss["floor"] - 1
            p_value = tail(whole, -logit(whole.chance), dispersion=spread)
            if p_value < level and excess > self.least_excess:
                yield Reason(
                    code="normalised_entropy",
                    value=excess,
                    limit=self.least_excess,
                    days=self.days,
                    p_value=p_value,
                    level=level,
                )
        if slope is not None:
            p_value = two_sided(whole, slope_weight(whole), dispersion=spread)
            if p_value < level and abs(slope - 1) > self.least_slope_gap:
                limit = 1 + np.sign(slope - 1) * self.least_slope_gap
                yield Reason(
                    code="slope", value=slope, limit=limit, days=self.days, p_value=p_value, level=level
                )


def with_drift(
    decision: RetrainDecision, features: Mapping[str, Stability], *, psi: float = 0.25, loss_cut: bool = False
) -> RetrainDecision:
    """Let drift, too, be a reason to retrain, for those who want it so.

    Args:
        decision: of a rule; `insufficient_data` stays that.
        features: `drift.feature_drift`. psi: above which a feature has drifted, if that is beyond luck.
        loss_cut: whether `drift.Adwin` cut a stream of losses since the last look.

    Returns:
        The decision with a reason `drift` for the feature that moved most, and `loss_changed` for the cut.
    """
    if decision.status == TOO_FEW:
        return decision
    reasons = list(decision.reasons)
    moved = [each for each in features.values() if each.psi > max(psi, each.limit)]
    if moved:
        reasons.append(Reason(code="drift", value=max(each.psi for each in moved), limit=psi, days=0))
    if loss_cut:
        reasons.append(Reason(code="loss_changed", value=1.0, limit=0.0, days=0))
    return replace(decision, status=RETRAIN if reasons else KEEP, reasons=tuple(reasons))


RULES: Mapping[str, type[SoundRule] | type[CompatibleRule]] = {
    "sound": SoundRule,
    "compatible": CompatibleRule,
}
"""Kinds of rule by name; the first is the default."""
