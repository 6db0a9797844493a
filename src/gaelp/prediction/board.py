"""The board report: accuracy of predictions over time, of ROAS, of each retraining, and what that was worth.

All of it is read from the database of predictions and the registry; nothing is filled in. What cannot be told
is None, with a reason beside it.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.journeys.batch import micros_since_1970
from gaelp.prediction.accuracy import DAY_US, HOUR_US, AccuracyTracker
from gaelp.prediction.board_figures import (
    BY_LUCK,
    MAE_TARGET,
    NO_DATA,
    R2_TARGET,
    ROAS_TARGET,
    Judged,
    by_day,
    judged_mae,
    judged_r2,
    judged_roas,
    rates_by_day,
)
from gaelp.prediction.board_money import (
    Spend,
    day_of,
    measured_since,
    read_spend,
    read_value,
    savings,
    spans_of,
)
from gaelp.prediction.noise import Outcomes
from gaelp.prediction.registry import Registry
from gaelp.prediction.retrain_config import TARGETS
from gaelp.prediction.runs import DIED, RUNNING, Runs

CTR, CVR = TARGETS
_MOST_RUNS = 100_000
_EPOCH = dt.date(1970, 1, 1)


def board(
    tracker: AccuracyTracker,
    registry: Registry,
    now: dt.datetime,
    *,
    days: int = 30,
    target: str = CTR,
    horizon_hours: float = 168.0,
    revenue_per_conversion_usd: float | None = None,
    spend_usd: float | None = None,
    bid_elasticity: float = 1.0,
) -> dict[str, Any]:
    """Everything that the board report tells.

    Args:
        tracker: of served predictions. registry: of the models that made them.
        now: the moment; the day that is not over does not count.
        days: to look back. target: of the models in the registry, `ctr` or `cvr`.
        horizon_hours: after a click, until a conversion no longer counts; days younger than that are not
            judged on conversions.
        revenue_per_conversion_usd: None: mean of the purchases told in these days.
        spend_usd: of these days; None: from the creatives' mean costs.
        bid_elasticity: of impressions won to the bid, for what retraining was worth.

    Returns:
        `now`, `days`, `champion`; `promotions` [{`day`, `version`, `action`, `dated_ahead`}], promotions and
        rollbacks that may have been in these days: `dated_ahead` is the day that a clock ahead has told
        (None: `day` was told), and `day` then that of the move before it, 1970-01-01 where there is none;
        `targets` {`ctr`, `cvr`: {`first`, `last`, `figures` {`mae`, `r2`: `Judged`}, `by_day`}};
        `roas`, see `_roas`; `retrains`, oldest first, see `_retrain`; `reliability`, see `reliability`;
        `money`, see `board_money.savings`. Days are in ISO 8601.

    Raises:
        BadInput: an argument is out of range, or `now` names no zone. UnknownName: no such target.
    """
    now_us = micros_since_1970("now", now)
    require_known("target", target, TARGETS)
    _check(days, horizon_hours, revenue_per_conversion_usd, spend_usd, bid_elasticity)
    today = now_us // DAY_US
    settle_us = round(horizon_hours * HOUR_US)
    settled = (now_us - settle_us) // DAY_US
    ctr = tracker.outcomes(now, target=CTR, days=days)
    cvr = tracker.outcomes(now, target=CVR, days=days, settle_hours=horizon_hours)
    shown = CTR if len(ctr) else CVR
    moves = registry.moves()
    spans = spans_of(moves, now_us)
    runs = [
        run
        for run in reversed(Runs(tracker.database).recent(_MOST_RUNS))
        if today - days <= day_of(run["started"]) and dt.datetime.fromisoformat(run["started"]) <= now
    ]
    value, source = read_value(tracker, settled - days, settled)
    if revenue_per_conversion_usd is not None:
        value, source = revenue_per_conversion_usd, "as given"
    return {
        "now": now.astimezone(dt.UTC).isoformat(),
        "days": days,
        "champion": registry.aliases()["champion"],
        "promotions": [
            {
                "day": iso(day),
                "version": each.aliases["champion"],
                "action": each.action,
                "dated_ahead": iso(dated) if (dated := day_of(each.at)) != day else None,
            }
            for each, (day, last) in zip(moves, spans, strict=True)
            if each.action in ("promote", "rollback") and day < today and today - days <= last
        ],
        "targets": {
            name: {"first": iso(end - days), "last": iso(end - 1), **_rates(rows)}
            for name, rows, end in ((CTR, ctr, today), (CVR, cvr, settled))
        },
        "roas": {
            "first": iso(settled - days),
            "last": iso(settled - 1),
            **_roas(cvr, read_spend(tracker, shown, settled - days, settled, spend_usd), value, source),
        },
        "retrains": [_retrain(run) for run in runs if run["challenger"] is not None],
        "reliability": reliability(runs, days),
        "money": savings(
            moves,
            spans,
            read_spend(tracker, shown, today - days, today, spend_usd),
            first=today - days,
            end=today,
            elasticity=bid_elasticity,
            measure=measured_since(
                tracker, registry, target=target, settle_us=settle_us if target == CVR else 0
            ),
        ),
    }


def reliability(runs: Sequence[Mapping[str, Any]], days: int) -> dict[str, Any]:
    """How reliably the retraining loop ran.

    Args:
        runs: of `runs.Runs.recent`. days: that they are of.

    Returns:
        `runs`, of these `running`, `errors` and, of those, `died`; `by_status`; `success` {`value`, `low`,
        `high`}: share of runs that ended without an error, 95 % interval (Clopper and Pearson, Biometrika
        26, 1934; value None: none ended); `errors_a_week`; `trainings`, of these `promoted`;
        `training_s` {`mean`, `longest`} (None: nothing was trained).
    """
    ended = [run for run in runs if run["status"] != RUNNING]
    errors = [run for run in ended if run["status"] == "error"]
    seconds = [s for run in runs if (s := _training_s(run)) is not None]
    success: dict[str, float | None] = dict.fromkeys(("value", "low", "high"))
    if ended:
        share = binomtest(len(ended) - len(errors), len(ended))
        low, high = share.proportion_ci(method="exact")
        success = {"value": float(share.statistic), "low": float(low), "high": float(high)}
    statuses = [run["status"] for run in runs]
    return {
        "runs": len(runs),
        "running": len(runs) - len(ended),
        "errors": len(errors),
        "died": sum(run["message"] == DIED for run in errors),
        "by_status": {status: statuses.count(status) for status in sorted(set(statuses))},
        "success": success,
        "errors_a_week": 7 * len(errors) / days,
        "trainings": len(seconds),
        "promoted": sum(run["status"] == "retrained" and run["improvement"] is not None for run in runs),
        "training_s": {
            "mean": float(np.mean(seconds)) if seconds else None,
            "longest": max(seconds, default=None),
        },
    }


def _rates(outcomes: Outcomes) -> dict[str, Any]:
    daily = rates_by_day(outcomes)
    return {
        "figures": {each.name: each.as_dict() for each in (judged_mae(outcomes), judged_r2(outcomes))},
        "by_day": {**daily, "day": [iso(day) for day in daily["day"]]},
    }


def _roas(outcomes: Outcomes, spend: Spend, value_usd: float | None, source: str) -> dict[str, Any]:
    """Accuracy of ROAS in all and by day.

    Returns:
        `figure`, as of `Judged`; `value_usd` of a conversion, `spend_usd`, where they are from; `predicted`,
        `realised` ROAS (None: value or spend is not known); `by_day`: columns `day`, `conversions`,
        `predicted`, `noise` (standard deviation of conversions if predictions are right), `accuracy`,
        `best`, `is_luck`, `ratio` (conversions per conversion predicted).
    """
    days = by_day(outcomes)
    spent = spend.of_days(min(days), max(days) + 1) if days else None
    each = value_usd / spent if value_usd is not None and spent else None
    columns: dict[str, list[Any]] = {name: [] for name in _ROAS_DAILY}
    for day, rows in days.items():
        found, expected = judged_roas(rows), float(rows.trials @ rows.chance)
        noise = math.sqrt(float(rows.variance.sum()))
        row = (iso(day), found.events, expected, noise, found.value, found.best, found.is_luck)
        for name, cell in zip(_ROAS_DAILY, (*row, found.events / expected), strict=True):
            columns[name].append(cell)
    expected = float(outcomes.trials @ outcomes.chance)
    return {
        "figure": judged_roas(outcomes).as_dict(),
        "value_usd": value_usd,
        "value_source": source,
        "spend_usd": spent,
        "spend_source": spend.source,
        "predicted": None if each is None else each * expected,
        "realised": None if each is None else each * int(outcomes.events.sum()),
        "by_day": columns,
    }


_ROAS_DAILY = ("day", "conversions", "predicted", "noise", "accuracy", "best", "is_luck", "ratio")


def _retrain(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run that trained or judged a challenger.

    Returns:
        `started`, `trigger`, `target`, `status`, `champion` after it, `challenger`, `training_s`; `r2` and
        `mae` {`before`, `after`, `best`, `target`, `verdict`}, best as of `Judged` on the days that judged
        both: of MAE the floor of the challenger's figures, of R² the ceiling that the run has told, which no
        prediction enters (None, and no verdict: it told none); `gain`, share of logloss, and its lower end
        `gain_low`.
    """
    gate = (run["figures"].get("gate") or {}).get("figures") or {}
    judged = gate.get("challenger") or {}
    compared = run["improvement"] or {}
    mae = judged.get("mae") or {}
    chance = None
    if mae.get("noise"):
        chance = float(norm.sf((mae["value"] - mae["floor"]) / mae["noise"]))
    figures = {}
    for name, target, at_least in (("r2", R2_TARGET, True), ("mae", MAE_TARGET, False)):
        before, after = ((compared.get(name) or {}).get(side) for side in ("before", "after"))
        best = mae.get("floor") if name == "mae" else (run["figures"].get("ceiling") or {}).get("r2")
        told = Judged(name=name, value=after, target=target, at_least=at_least, best=best, chance=chance)
        verdict = NO_DATA if chance is None or best is None else told.verdict
        figures[name] = dict(before=before, after=after, best=best, target=target, verdict=verdict)
    kept = ("started", "trigger", "target", "status", "champion", "challenger")
    return {
        **{name: run[name] for name in kept},
        "training_s": _training_s(run),
        **figures,
        "gain": gate.get("gain"),
        "gain_low": gate.get("gain_low"),
    }


def _training_s(run: Mapping[str, Any]) -> float | None:
    seconds: float | None = (run["figures"].get("training") or {}).get("training_s")
    return seconds


def iso(day: int) -> str:
    """A day, given as whole days since 1970 began, in ISO 8601."""
    return (_EPOCH + dt.timedelta(days=int(day))).isoformat()


def _check(
    days: int, horizon_hours: float, revenue_usd: float | None, spend_usd: float | None, elasticity: float
) -> None:
    for name, value, least, most in (
        ("days", days, 1, 3650),
        ("horizon_hours", horizon_hours, 0, 8760),
        ("revenue_per_conversion_usd", revenue_usd, 0.000001, 1e12),
        ("spend_usd", spend_usd, 0.000001, 1e15),
        ("bid_elasticity", elasticity, 0.01, 100),
    ):
        if value is not None and not least <= value <= most:
            raise BadInput(name, value, f"must be from {least:g} to {most:g}", "Leave it out where unknown.")


__all__ = ["BY_LUCK", "CTR", "CVR", "MAE_TARGET", "R2_TARGET", "ROAS_TARGET", "board", "iso", "reliability"]
