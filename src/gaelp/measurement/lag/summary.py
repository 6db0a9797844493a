"""All that one table of lags says: curve, fits, what is still to come, and by covariate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput
from gaelp.measurement.checks import check_shares
from gaelp.measurement.lag.curve import SurvivalCurve, checked, kaplan_meier, log_rank
from gaelp.measurement.lag.fit import FAMILIES, Column, LagFit, fit_lag, likelihood_ratio
from gaelp.measurement.lag.likelihood import Floats
from gaelp.measurement.lag.nowcast import nowcast

LEFT = (0.2, 0.1, 0.05, 0.01)
"""Shares of conversions still to come for which the timeout is told."""
MOST_VALUES = 12
"""A covariate of numbers with more different values is taken as a number, else as groups."""
_MOST_TIMES = 200  # of the curve, where nobody says which
_AGE_BINS = 100
_DRAWS = 50


def lag_summary(
    duration: ArrayLike,
    event: ArrayLike,
    *,
    at: Sequence[float] = (),
    horizon: float | None = None,
    covariates: Mapping[str, NDArray[Any]] | None = None,
    cohort: ArrayLike | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """What the lags say.

    Args:
        duration: (n,) time to the conversion, or watched without one; >= 0.
        event: (n,) 1 where the conversion was seen, 0 where it was not (yet).
        at: times at which the curve is told; none takes those of the conversions.
        horizon: conversions later than that do not count, for no figure: every click is taken to have been
            watched until then at most. Also where the restricted mean ends.
        covariates: {name: (n,) numbers or text}.
        cohort: (n,) labels; the nowcast is made for each.
        level: of intervals.
        seed: names the draws of the nowcast.

    Returns:
        {"n", "events", "km": {time: survival}, "km_interval", "median", "rmst", "rmst_interval",
        "rmst_horizon", each family's figures or None, "best": the family of least AIC among those in
        which some never convert, "timeout": {share left: age} and "nowcast" by it, "notes": what could not
        be told and why}; with cohorts also "cohorts": {label: nowcast}; with covariates also "covariates"
        and, for those that are groups, "groups".

    Raises:
        BadInput: for rows, times or covariates that cannot be.
    """
    duration, seen = checked(duration, event)
    check_shares(level=level)
    if any(not (np.isfinite(time) and time >= 0) for time in at):
        raise BadInput("at", list(at), "must be finite times of at least 0", "Write them like 7,14,30.")
    if horizon is not None and not (np.isfinite(horizon) and horizon > 0):
        raise BadInput("horizon", horizon, "must be finite and above 0", "Give the platform's window.")
    if horizon is not None:  # every click is watched until then at most
        duration, seen = np.minimum(duration, horizon), seen & (duration <= horizon)
    notes: list[str] = []
    found, fits = _told(duration, seen, at, horizon, level, notes)
    curable = [fits[name] for name in fits if FAMILIES[name].cure]
    sound = [fit for fit in curable if not fit.at_limit and fit.covariance is not None]
    best = min(sound or curable, key=lambda fit: fit.aic, default=None)
    found["best"] = None if best is None else best.family
    found["timeout"] = None if best is None else {f"{left:g}": best.timeout(left, horizon) for left in LEFT}
    found["nowcast"] = None
    if best is not None:
        everybody = np.zeros(seen.size, np.int8)
        found["nowcast"] = _to_come(best, duration, seen, everybody, horizon, level, seed)["0"]
        if cohort is not None:
            found["cohorts"] = _to_come(best, duration, seen, np.asarray(cohort), horizon, level, seed)
        if best.covariance is None:
            notes.append("the nowcast's interval leaves out how unsure the lag is: too little to tell")
        if best.at_zero:
            notes.append(
                f"{best.at_zero} conversions with a lag of 0 count as half the smallest lag above it"
            )
    if covariates:
        found |= _by_covariate(duration, seen, covariates, at, horizon, level, notes, best)
    return found | {"notes": notes}


def _told(
    duration: Floats,
    seen: NDArray[np.bool_],
    at: Sequence[float],
    horizon: float | None,
    level: float,
    notes: list[str],
) -> tuple[dict[str, Any], dict[str, LagFit]]:
    curve = kaplan_meier(duration, seen)
    times = np.asarray(at, float) if len(at) else _told_times(curve)
    low, high = curve.interval_at(times, level)
    found: dict[str, Any] = {
        "n": curve.n,
        "events": curve.n_events,
        "km": {_key(t): _number(s) for t, s in zip(times, curve.at(times), strict=True)},
        "km_interval": {_key(t): [_number(a), _number(b)] for t, a, b in zip(times, low, high, strict=True)},
        "median": curve.median,
    }
    end = curve.last if horizon is None else horizon
    try:
        mean = curve.rmst(end, level)
        found |= {"rmst": mean.value, "rmst_interval": [mean.low, mean.high], "rmst_horizon": end}
    except BadInput as error:
        notes.append(f"no restricted mean: {error}")
        found |= {"rmst": None, "rmst_interval": [None, None], "rmst_horizon": end}
    fits: dict[str, LagFit] = {}
    for family in FAMILIES:
        try:
            fits[family] = fit_lag(family, duration, seen)
            found[family] = fits[family].figures(level)
            if fits[family].at_limit:
                notes.append(
                    f"{family}: a law got as narrow or wide as any is let; lags may be recorded coarsely"
                )
        except BadInput as error:
            notes.append(f"no {family}: {error}")
            found[family] = None
    return found, fits


def _to_come(
    fit: LagFit,
    duration: Floats,
    seen: NDArray[np.bool_],
    labels: NDArray[Any],
    horizon: float | None,
    level: float,
    seed: int,
) -> dict[str, Any]:
    names, code = np.unique(labels, return_inverse=True)
    converted = np.bincount(code[seen], minlength=names.size)
    age, cohort, clicks = _binned(duration[~seen], code[~seen], names.size)
    told = nowcast(
        fit, converted, age, clicks, cohort, horizon=horizon, level=level, seed=seed, n_draws=_DRAWS
    )
    rows = [
        {
            "observed": int(converted[i]),
            "to_come": float(told.to_come[i]),
            "low": float(told.low[i]),
            "high": float(told.high[i]),
            "total": float(converted[i] + told.to_come[i]),
        }
        for i in range(names.size)
    ]
    return {str(name): row for name, row in zip(names, rows, strict=True)}


def _binned(
    age: Floats, code: NDArray[np.intp], n_cohorts: int
) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """Open clicks by cohort and age, ages put together where there are many."""
    edges = np.unique(np.quantile(age, np.linspace(0, 1, _AGE_BINS + 1))) if age.size else np.zeros(1)
    which = np.searchsorted(edges, age, side="right") if np.unique(age).size > _AGE_BINS else None
    if which is None:
        different, which = np.unique(age, return_inverse=True)
        width = max(different.size, 1)
    else:
        width = edges.size + 1
    cell = code * width + which
    clicks = np.bincount(cell, minlength=n_cohorts * width)
    total = np.bincount(cell, weights=age, minlength=n_cohorts * width)
    used = np.flatnonzero(clicks)
    return total[used] / clicks[used], used // width, clicks[used]


def _by_covariate(
    duration: Floats,
    seen: NDArray[np.bool_],
    covariates: Mapping[str, NDArray[Any]],
    at: Sequence[float],
    horizon: float | None,
    level: float,
    notes: list[str],
    best: LagFit | None,
) -> dict[str, Any]:
    columns: list[Column] = []
    groups: dict[str, Any] = {}
    for name, values in covariates.items():
        some, is_group = _columns(name, np.asarray(values))
        columns += some
        if not is_group:
            continue
        statistic, p_value = log_rank(duration, seen, values)
        groups[name] = {"log_rank": statistic, "p_value": p_value, "by": {}}
        for value in np.unique(values):
            member, said = np.asarray(values) == value, list[str]()
            told, _ = _told(duration[member], seen[member], at, horizon, level, said)
            groups[name]["by"][_label(value)] = told
            notes += [f"{name}={_label(value)}: {note}" for note in said]
    wide: dict[str, Any] = {}
    for family in ("weibull", "lognormal", "cure_weibull"):
        try:
            plain, fit = fit_lag(family, duration, seen), fit_lag(family, duration, seen, tuple(columns))
        except BadInput as error:
            notes.append(f"no {family} by covariate: {error}")
            wide[family] = None
            continue
        statistic, p_value = likelihood_ratio(plain, fit)
        wide[family] = {
            "coefficients": fit.figures(level)["coefficients"],
            "loglik": fit.loglik,
            "aic": fit.aic,
            "likelihood_ratio": statistic,
            "p_value": p_value,
        }
    return {"covariates": wide, "groups": groups}


def _columns(name: str, values: NDArray[Any]) -> tuple[list[Column], bool]:
    """A number as it is; groups as one column for each but the most frequent, and True."""
    labels, counts = np.unique(values, return_counts=True)
    if labels.size < 2:
        raise BadInput("covariate", name, "must have at least two different values", "Leave the column out.")
    if np.issubdtype(values.dtype, np.number) and labels.size > MOST_VALUES:
        return [Column(name, values.astype(float))], False
    if labels.size > 2 * MOST_VALUES:
        allowed = f"must have at most {2 * MOST_VALUES} different texts, not {labels.size}"
        raise BadInput("covariate", name, allowed, "Put rare ones together.")
    others = [label for label in labels if label != labels[np.argmax(counts)]]
    return [Column(f"{name}={_label(label)}", (values == label).astype(float)) for label in others], True


def _told_times(curve: SurvivalCurve) -> Floats:
    if curve.times.size <= _MOST_TIMES:
        return curve.times
    return curve.times[np.linspace(0, curve.times.size - 1, _MOST_TIMES).round().astype(int)]


def _label(value: Any) -> str:
    return _key(float(value)) if isinstance(value, np.number) else str(value)


def _key(time: float) -> str:
    return str(int(time)) if float(time).is_integer() else repr(float(time))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
