"""Whether a challenger may replace the champion, and whether a champion must go back.

Both are pure decisions: outcomes in, a `GateDecision` with reasons for machines out. Who moves the aliases is
`registry.Registry`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from gaelp.core.errors import BadInput
from gaelp.prediction.figures import accuracy_figures
from gaelp.prediction.metrics import LEAST, Floats
from gaelp.prediction.noise import Outcomes, dispersion, two_sided

PROMOTE, REJECT, ROLL_BACK, KEEP, TOO_FEW = (
    "promoted",
    "challenger_rejected",
    "rolled_back",
    "kept",
    "insufficient_data",
)


@dataclass(frozen=True, kw_only=True)
class GateReason:
    """Why a decision was taken, for machines.

    Attributes:
        code: `better`, `not_better`, `too_few_events`, `too_few_clusters`, `not_later`, `miscalibrated`,
            `slope`, `normalised_entropy_degraded`, `mae_degraded`, `within_limits`.
        value: measured. limit: that it was held against.
    """

    code: str
    value: float | None
    limit: float


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """What a gate says.

    Attributes:
        status: `promoted`, `challenger_rejected`, `rolled_back`, `kept` or `insufficient_data`.
        reasons: why, at least one. figures: that it is based on.
    """

    status: str
    reasons: tuple[GateReason, ...]
    figures: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for `Registry.promote(evidence=...)`."""
        return {**vars(self), "reasons": [asdict(each) for each in self.reasons]}


@dataclass(frozen=True, kw_only=True)
class PromotionGate:
    """A challenger is promoted if it is better by more than luck, on later data, and calibrated.

    Better: the lower end of a paired bootstrap interval of the relative gain in logloss is above
    `least_gain`. Clusters, creatives or days, are drawn whole, because rows of one cluster err together
    (Cameron, Gelbach and Miller, Review of Economics and Statistics 90, 2008). The percentile is widened for
    few clusters (expanded percentile interval; Hesterberg, American Statistician 69, 2015).

    Attributes:
        confidence: of the one-sided interval: a challenger as good as the champion passes with one less this.
        least_gain: share of the champion's logloss. draws: of the bootstrap. seed: names them.
        clusters: that are needed. events: that are needed.
        calibration_gap: share by which the challenger's events may be off, if that is beyond luck.
        by: what a cluster is, `group` (the creative) or `day`.
    """

    confidence: float = 0.99
    least_gain: float = 0.0
    draws: int = 2000
    seed: int = 0
    clusters: int = 10
    events: int = 100
    calibration_gap: float = 0.2
    by: str = "group"

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise BadInput("confidence", self.confidence, "must be above 0.5 and below 1", "0.99 serves.")
        if self.by not in ("group", "day"):
            raise BadInput("by", self.by, "must be group or day", "Creatives are the usual clusters.")

    def judge(
        self, champion: Outcomes, challenger: Floats, *, trained_until: int | None = None
    ) -> GateDecision:
        """Compare two models on the same rows.

        Args:
            champion: what it predicted, and what came of it.
            challenger: (n,) what the challenger predicts for the same rows.
            trained_until: last day, since 1970 began, that either model was trained on.

        Returns:
            `promoted`, `challenger_rejected` or `insufficient_data`; figures hold `gain`, `gain_low`,
            `clusters`, and `champion` and `challenger` as `accuracy.accuracy_figures`.

        Raises:
            BadInput: the challenger's predictions are not as many, or no probabilities.
        """
        rival = replace(champion, predicted=np.asarray(challenger, np.float64))
        if trained_until is not None and (champion.day <= trained_until).any():
            first = float(champion.day.min())
            return _say(REJECT, "not_later", first, trained_until, {})
        _, code = np.unique(getattr(champion, self.by), return_inverse=True)
        n_clusters, events = int(code.max(initial=-1)) + 1, int(champion.events.sum())
        figures: dict[str, Any] = {
            "clusters": n_clusters,
            "champion": accuracy_figures(champion),
            "challenger": accuracy_figures(rival),
        }
        for name, value, limit in (
            ("too_few_clusters", n_clusters, max(self.clusters, 2)),
            ("too_few_events", events, self.events),
        ):
            if value < limit:
                return _say(TOO_FEW, name, value, limit, figures)
        ours, theirs = (np.bincount(code, losses(each)).astype(float) for each in (champion, rival))
        gain = 1 - float(theirs.sum() / ours.sum())
        low = self._lower_end(ours, theirs)
        figures |= {"gain": gain, "gain_low": low}
        if low <= self.least_gain:
            return _say(REJECT, "not_better", low, self.least_gain, figures)
        broken = calibration_breach(rival, self.calibration_gap)
        if broken is not None:
            return GateDecision(status=REJECT, reasons=(broken,), figures=figures)
        return _say(PROMOTE, "better", low, self.least_gain, figures)

    def _lower_end(self, ours: Floats, theirs: Floats) -> float:
        n = ours.size
        drawn = np.random.default_rng([self.seed, n]).multinomial(n, np.full(n, 1 / n), self.draws)
        gains = 1 - (drawn @ theirs) / (drawn @ ours)
        widened = np.sqrt(n / (n - 1)) * student.ppf(1 - self.confidence, n - 1)
        return float(np.quantile(gains, norm.cdf(widened)))


@dataclass(frozen=True, kw_only=True)
class RollbackGuard:
    """A champion goes back when it is much worse than promised, or its calibration is broken.

    Attributes:
        degradation: share by which a figure may worsen, of normalised entropy and of the mean absolute error
            as a multiple of its noise floor; both are free of how often people click.
        calibration_gap: share by which events may be off, if that is beyond luck.
        events: that are needed. rows: that are needed for the mean absolute error.
    """

    degradation: float = 0.30
    calibration_gap: float = 0.30
    events: int = 100
    rows: int = 50

    def judge(self, now: Outcomes, before: Mapping[str, Any]) -> GateDecision:
        """Judge a champion.

        Args:
            now: what came of its predictions since it was promoted.
            before: `accuracy.accuracy_figures` when it was promoted, or of the previous champion's
                predictions for the same rows.

        Returns:
            `rolled_back`, `kept` or `insufficient_data`.
        """
        figures = accuracy_figures(now)
        told = {"now": figures, "before": before}
        if figures["events"] < self.events and float(now.trials @ now.chance) < self.events:
            return _say(TOO_FEW, "too_few_events", figures["events"], self.events, told)
        broken = calibration_breach(now, self.calibration_gap)
        reasons = [] if broken is None else [broken]
        entropies = [each["normalised_entropy"]["value"] for each in (figures, before)]
        if None not in entropies and entropies[1] > 0:
            worse = entropies[0] / entropies[1] - 1
            if worse > self.degradation:
                code = "normalised_entropy_degraded"
                reasons.append(GateReason(code=code, value=worse, limit=self.degradation))
        errors = [_over_floor(each["mae"]) for each in (figures, before)]
        if None not in errors and len(now) >= self.rows:
            worse = errors[0] / max(errors[1], 1.0) - 1  # type: ignore[operator, type-var]
            if worse > self.degradation:
                reasons.append(GateReason(code="mae_degraded", value=worse, limit=self.degradation))
        if reasons:
            return GateDecision(status=ROLL_BACK, reasons=tuple(reasons), figures=told)
        return _say(KEEP, "within_limits", None, self.degradation, told)


def calibration_breach(outcomes: Outcomes, gap: float, level: float = 0.001) -> GateReason | None:
    """Whether events are off by more than a share, and by more than luck makes them; None: they are not.

    Args:
        outcomes: of one model. gap: share by which events may be above those predicted, or these above them.
        level: chance at which a right model is found off by as much.
    """
    expected = float(outcomes.trials @ outcomes.chance)
    ratio = float(outcomes.events.sum()) / expected
    off = max(ratio, 1 / max(ratio, LEAST)) - 1
    if off <= gap or two_sided(outcomes, dispersion=dispersion(outcomes)) > level:
        return None
    return GateReason(code="miscalibrated", value=ratio, limit=1 + gap if ratio > 1 else 1 / (1 + gap))


def losses(outcomes: Outcomes) -> NDArray[np.float64]:
    """(n,) logloss of each row's trials, nats."""
    p = outcomes.chance
    return -(outcomes.events * np.log(p) + (outcomes.trials - outcomes.events) * np.log1p(-p))


def _over_floor(figure: Mapping[str, Any]) -> float | None:
    return figure["value"] / figure["floor"] if figure["value"] is not None and figure["floor"] else None


def _say(
    status: str, code: str, value: float | None, limit: float, figures: Mapping[str, Any]
) -> GateDecision:
    return GateDecision(
        status=status, reasons=(GateReason(code=code, value=value, limit=limit),), figures=figures
    )
