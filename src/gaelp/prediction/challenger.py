"""Train a challenger on what predictions were served with and what came of them."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from gaelp.prediction.boosting import BoostedTrees, continue_trees, fit_trees, search_trees
from gaelp.prediction.calibration import fit_calibration
from gaelp.prediction.delay import COLUMN, DelayBuckets, delay_buckets
from gaelp.prediction.examples import Examples
from gaelp.prediction.logistic import fit_logistic
from gaelp.prediction.metrics import LEAST
from gaelp.prediction.model import Ensemble, ResponseModel, Scorer
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.samples import Samples
from gaelp.prediction.training import Recipe, library_versions, require_both, validation_rows
from gaelp.prediction.triggers import Reason

_FEWEST_DAYS = 2


def too_little(samples: Samples, config: RetrainConfig, end: int) -> Reason | None:
    """Why there is too little to learn from; None: there is enough."""
    found = samples.outcomes
    days = int(np.unique(found.day).size)
    if days < _FEWEST_DAYS:
        return Reason(code="too_few_samples", value=days, limit=_FEWEST_DAYS, days=config.train_days)
    events = int(samples.delay.size or found.events.sum())
    misses = int(found.trials.sum()) - events
    if min(events, misses) < config.events:
        fewest = float(min(events, misses))
        return Reason(code="too_few_events", value=fewest, limit=config.events, days=config.train_days)
    if samples.delay.size:
        mature = int(found.trials[24.0 * (end - found.day - 1) >= config.horizon_hours].sum())
        if mature < config.events:
            return Reason(code="too_few_events", value=mature, limit=config.events, days=config.train_days)
    return None


def train_challenger(
    samples: Samples,
    config: RetrainConfig,
    *,
    end: int,
    base: ResponseModel | None = None,
    code: Mapping[str, Any],
) -> ResponseModel:
    """Train a model as the settings say.

    Args:
        samples: rows of days before `end`; see `too_little`.
        config: how.
        end: day since 1970 began from which on nothing is known.
        base: a model of boosted trees that is continued on days later than its own; None: from nothing.
        code: version of what trains.

    Returns:
        The model; its manifest tells data, recipe, rows, `trained_until` (day), figures, `training_s`.

    Raises:
        BadInput: no features were kept, a cell is of another kind than its column's, or labels are all alike.
    """
    began = time.perf_counter()
    if base is not None:
        columns = base.columns
    else:
        columns = samples.columns(config.numeric, config.categorical)
    rows, buckets = _final_rows(samples.examples(columns), config, end, base)
    numeric = columns.numeric if buckets is None else (*columns.numeric, COLUMN)
    recipe = Recipe(
        kind=config.model,
        calibration=config.calibration,
        holdout=0.0,
        validation=config.validation,
        horizon=None if buckets is None else config.horizon_hours,
        as_of=None if buckets is None else 24.0 * end,
        seed=config.seed,
        threads=config.threads,
    )
    later = validation_rows(rows, recipe, buckets)
    fit, validation = rows.take(~later), rows.take(later)
    for part, name in ((fit, "rows to fit"), (validation, "rows to validate")):
        require_both(part.label, name)
    scorer, told = _fit(fit, validation, config, numeric, base)
    raw = scorer.raw(validation)
    calibration = fit_calibration(config.calibration, validation.label, raw, validation.weight)
    chance = np.clip(calibration.apply(raw), LEAST, 1 - LEAST)
    logs = np.log(np.where(validation.label, chance, 1 - chance))
    found = samples.outcomes
    manifest = {
        "data": {
            "source": "predictions served and what came of them",
            "sha256": samples.sha256(),
            "rows": len(samples),
            "trials": int(found.trials.sum()),
            "events": int(found.events.sum()),
            "purchases": int(samples.delay.size),
            "first_day": int(found.day.min()),
            "last_day": int(found.day.max()),
        },
        "recipe": {**vars(recipe), **told},
        "split": "time",
        "rows": {"fit": len(fit), "validation": len(validation), "holdout": 0},
        "trained_until": end - 1,
        "metrics": None,
        "validation_metrics": {
            "logloss": -float(np.average(logs, weights=validation.weight)),
            "base_rate": float(np.average(validation.label, weights=validation.weight)),
            "mean_predicted": float(np.average(chance, weights=validation.weight)),
        },
        "libraries": library_versions(),
        "code": dict(code),
        "training_s": time.perf_counter() - began,
    }
    return ResponseModel(columns, scorer, calibration, buckets, manifest)


def _final_rows(
    found: Examples, config: RetrainConfig, end: int, base: ResponseModel | None
) -> tuple[Examples, DelayBuckets | None]:
    """Rows with final labels: of conversions that come late, one for each bucket that is over."""
    if found.delay is None:
        return found, None
    as_of = 24.0 * end
    buckets = None if base is None else base.buckets
    if buckets is None:
        buckets = delay_buckets(found, config.horizon_hours, as_of)
    return buckets.expand(found, as_of), buckets


def _fit(
    fit: Examples,
    validation: Examples,
    config: RetrainConfig,
    numeric: tuple[str, ...],
    base: ResponseModel | None,
) -> tuple[Scorer, dict[str, Any]]:
    """What scores, and how it was made, for the manifest."""
    seed, threads = config.seed, config.threads
    if config.model == "logistic":
        return fit_logistic(fit, validation, numeric=numeric), {}
    if base is not None and isinstance(base.scorer, BoostedTrees):
        scorer = continue_trees(base.scorer, fit, validation, seed=seed, threads=threads)
        return scorer, {"continues": base.manifest.get("model_id"), "n_trees": scorer.n_trees}
    settings: dict[str, float] = {}
    told: dict[str, Any] = {}
    if config.search:
        settings, tried = search_trees(
            fit, validation, seed=seed, threads=threads, numeric=numeric, draws=config.search
        )
        told = {"settings": settings, "tried": tried}
    members = [
        fit_trees(fit, validation, seed=seed + number, threads=threads, numeric=numeric, settings=settings)
        for number in range(config.ensemble)
    ]
    told["n_trees"] = [member.n_trees for member in members]
    return (members[0] if len(members) == 1 else Ensemble(tuple(members))), told
