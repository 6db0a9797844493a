"""Experiments on two arms as one flat result, for people and for JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.journeys.columns import Texts
from gaelp.measurement.checks import check_shares
from gaelp.measurement.experiments.ab import (
    MOST_TRIALS,
    SRM_ALPHA,
    Counts,
    lift,
    sample_ratio_mismatch,
    two_proportions,
    welch,
)
from gaelp.measurement.experiments.cuped import cuped
from gaelp.measurement.experiments.power import (
    days_for,
    detectable,
    power_of_means,
    power_of_rates,
    trials_for,
)
from gaelp.measurement.experiments.sequential import watch


def rates_report(
    control: Counts, treatment: Counts, *, treated_share: float = 0.5, level: float = 0.95
) -> dict[str, Any]:
    """Two rates at one look.

    Args:
        control, treatment: counts. treated_share: of units meant for treatment. level: of intervals.

    >>> found = rates_report(Counts(10_000, 46), Counts(10_000, 69))
    >>> round(found["z"], 2), found["trusted"]
    (2.15, True)
    """
    found = two_proportions(control, treatment, level)
    ratio = lift(control, treatment, level)
    return {
        "control": {**control._asdict(), "rate": control.rate},
        "treatment": {**treatment._asdict(), "rate": treatment.rate},
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "lift": ratio and ratio[0],
        "lift_low": ratio and ratio[1],
        "lift_high": ratio and ratio[2],
        "test": "two-proportion z",
        "z": found.statistic,
        "p_value": found.p_value,
        **_dealt(control.trials, treatment.trials, treated_share),
    }


def means_report(
    response: ArrayLike,
    group: Texts,
    treated: str,
    covariates: ArrayLike | None = None,
    *,
    treated_share: float = 0.5,
    level: float = 0.95,
) -> dict[str, Any]:
    """Two means at one look, by Welch's test, after CUPED where covariates are given.

    Args:
        response: (n,) one number a unit. group: (n,) labels, two different ones. treated: one of them.
        covariates: (n, k) known before the test; None: none.
        treated_share: of units meant for treatment. level: of the interval.

    Raises:
        BadInput: if there are not two groups, or `treated` is none of them.
    """
    labels = np.unique(group)
    require_known("treated", treated, labels.tolist())
    if labels.size != 2:
        raise BadInput(
            "group", labels.tolist(), "must have two different values", "Compare two arms at a time."
        )
    values, ratio = np.asarray(response, float), None
    if covariates is not None:
        values, ratio = cuped(values, covariates)
    inside = group == treated
    found = welch(values[~inside], values[inside], level)
    arms = {
        name: {"trials": int(arm.sum()), "mean": float(values[arm].mean())}
        for name, arm in (("control", ~inside), ("treatment", inside))
    }
    return {
        **arms,
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "lift": found.value / arms["control"]["mean"] if arms["control"]["mean"] else None,
        "test": "Welch t",
        "t": found.statistic,
        "p_value": found.p_value,
        **({} if ratio is None else {"variance_ratio": ratio}),
        **_dealt(int((~inside).sum()), int(inside.sum()), treated_share),
    }


def watched_report(
    control: Sequence[Counts],
    treatment: Sequence[Counts],
    *,
    tau: float | None = None,
    alpha: float = 0.05,
    treated_share: float = 0.5,
) -> dict[str, Any]:
    """Two rates at each look so far; see `watch`.

    Args:
        control, treatment: counts at each look. tau: None takes a tenth of control's rate at the first look.
        alpha: chance of ever rejecting where there is no effect. treated_share: of units meant for treatment.
    """
    if tau is None and control:
        first = control[0]
        tau = 0.1 * max(first.successes, 1) / first.trials
    looks = watch(control, treatment, tau or 0.0, alpha)
    ends = [_number(looks.low[-1]), _number(looks.high[-1])]
    decision = "go on"
    if looks.stopped is not None:
        decision = "treatment is better" if looks.difference[looks.stopped] > 0 else "control is better"
    return {
        "looks": len(control),
        "difference": float(looks.difference[-1]),
        "low": ends[0],
        "high": ends[1],
        "p_value": float(looks.p_value[-1]),
        "decision": decision,
        "stopped_at_look": None if looks.stopped is None else looks.stopped + 1,
        "tau": tau,
        "alpha": alpha,
        "each_look": [
            {"difference": float(d), "low": _number(low), "high": _number(high), "p_value": float(p)}
            for d, low, high, p in zip(looks.difference, looks.low, looks.high, looks.p_value, strict=True)
        ],
        **_dealt(control[-1].trials, treatment[-1].trials, treated_share),
    }


def power_report(
    *,
    base: float | None = None,
    lift: float | None = None,
    effect: float | None = None,
    deviation: float | None = None,
    variance_ratio: float | None = None,
    trials: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    treated_share: float = 0.5,
    daily: float | None = None,
) -> dict[str, Any]:
    """How many trials and days show an effect, or what some trials would show.

    Args:
        base, lift: a rate and its relative change; or
        effect, deviation: a mean's change, and the deviation of a unit.
        variance_ratio: of means, what CUPED leaves of the variance; None: all.
        trials: in both arms together; None asks for them.
        power, alpha, treated_share: of the test.
        daily: trials a day; None leaves the days out.

    Raises:
        BadInput: if it is neither a rate nor a mean, or both, or a figure cannot be.

    >>> found = power_report(base=0.03, lift=0.1, daily=5_000)
    >>> found["trials_treatment"], found["days"]
    (53211, 22)
    """
    if (base is None) == (deviation is None):
        allowed = "must be given, or else a deviation, and not both"
        raise BadInput("base", base, allowed, "Give --base, or --deviation.")
    rate = base is not None
    asked, name = (lift, "lift") if rate else (effect, "effect")
    beside = {"effect": effect, "variance_ratio": variance_ratio} if rate else {"lift": lift}
    for other, value in beside.items():
        if value is not None:
            allowed = f"must be left out with a {'base' if rate else 'deviation'}"
            raise BadInput(other, value, allowed, f"Give --{name}, or leave it out too and give --trials.")
    check_shares(power=power, alpha=alpha, treated_share=treated_share)
    if base is not None:
        check_shares(base=base)
    if asked is None and trials is None:
        raise BadInput(name, None, "must be given, or else trials", f"Give --{name} or --trials.")
    if asked is not None and not (np.isfinite(asked) and asked != 0):
        raise BadInput(name, asked, "must be finite and not 0", "Give the smallest effect of interest.")
    if base is not None and lift is not None and not 0 < base * (1 + lift) < 1:
        allowed = f"must leave a rate between 0 and 1: above -1 and below {1 / base - 1:g}"
        raise BadInput("lift", lift, allowed, "Write 5 % as 0.05.")
    if variance_ratio is not None and not 0 < variance_ratio <= 1:
        allowed = "must be above 0 and at most 1"
        raise BadInput("variance_ratio", variance_ratio, allowed, "1 is without CUPED.")
    if trials is not None and not 4 <= trials <= MOST_TRIALS:
        allowed = f"must be from 4 to {MOST_TRIALS:g}"
        raise BadInput("trials", trials, allowed, "Count both arms together.")
    spread = (deviation or 0.0) * float(np.sqrt(1.0 if variance_ratio is None else variance_ratio))

    def power_at(size: float, n: float) -> float:
        if base is not None:
            return power_of_rates(base, base * (1 + size), n, treated_share, alpha)
        return power_of_means(size, spread, n, treated_share, alpha)

    reached, seen = power, None
    if trials is None:
        trials = trials_for(lambda n: power_at(asked or 0.0, n), power)
    else:
        top = (1 - base) / base * 0.999999 if base is not None else 1e3 * spread
        n = trials
        seen = detectable(lambda size: power_at(size, n), 1e-9 * top, top, power)
        reached = power_at(asked, trials) if asked is not None else power
    arms: list[int | None] = [None, None]
    if trials is not None:
        arms = [int(np.ceil(trials * share - 1e-6)) for share in (1 - treated_share, treated_share)]
        trials = float(sum(arm or 0 for arm in arms))
    return {
        "trials": None if trials is None else int(trials),
        "trials_control": arms[0],
        "trials_treatment": arms[1],
        "power": reached,
        "alpha": alpha,
        "effect": asked,
        "detectable": seen,
        "days": None if trials is None or daily is None else days_for(trials, daily),
    }


def _dealt(control: int, treatment: int, treated_share: float) -> dict[str, Any]:
    check_shares(treated_share=treated_share)
    p_value = sample_ratio_mismatch([control, treatment], [1 - treated_share, treated_share])
    return {"srm_p_value": p_value, "trusted": bool(p_value >= SRM_ALPHA)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
