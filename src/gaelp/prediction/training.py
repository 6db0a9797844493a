"""Train a response model on a table, and say how good a model is on one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.core.files import sha256_of
from gaelp.core.names import require_known
from gaelp.data.tables import CodedColumn
from gaelp.prediction.boosting import BoostedTrees, fit_trees
from gaelp.prediction.calibration import KINDS, fit_calibration
from gaelp.prediction.delay import COLUMN, DelayBuckets, delay_buckets
from gaelp.prediction.examples import Columns, Examples, read_again
from gaelp.prediction.logistic import fit_logistic
from gaelp.prediction.metrics import Bools, Floats, response_metrics
from gaelp.prediction.model import ResponseModel, Scorer, load

KINDS_TRAINED = ("xgboost", "logistic")
_FEWEST_SLICE = 100
_FEW_WORDS = 64  # of a column; the words of longer ones are in the encoding alone
_TELLING, _TOO_GOOD = 0.5, 0.85  # share of the gain, and area, above which one column is suspect
_LIBRARIES = ("numpy", "scikit-learn", "scipy", "xgboost-cpu")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        kind: one of `KINDS_TRAINED`. calibration: one of `calibration.KINDS`.
        holdout: share of the rows, the latest, that only judge; 0: none.
        validation: share of the rest, the latest, that say when to stop and how to calibrate.
        horizon: hours after which conversions do not count; for tables with a delay.
        as_of: hour until which conversions are known; None: the last moment in the table.
        seed: names the folds and, where there is no time, who is held out.
        threads: for the trees.
    """

    kind: str = "xgboost"
    calibration: str = "platt"
    holdout: float = 0.3
    validation: float = 0.15
    horizon: float | None = None
    as_of: float | None = None
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        require_known("model", self.kind, KINDS_TRAINED)
        require_known("calibration", self.calibration, KINDS)
        for name, least in (("holdout", 0.0), ("validation", 0.01)):
            share = getattr(self, name)
            if not least <= share <= 0.9:
                raise BadInput(name, share, f"must be a share from {least:g} to 0.9", "The usual one serves.")


def train(examples: Examples, recipe: Recipe, *, data: Mapping[str, Any] | None = None) -> ResponseModel:
    """Train a model on all but the latest rows, and judge it on those.

    Args:
        examples: rows, in any order.
        recipe: how.
        data: what to write in the manifest about where the rows are from.

    Returns:
        The model; its manifest holds `metrics` on rows held out (None without), `validation_metrics` on those
        it was stopped and calibrated on, `rows`, `split`, `gains` by column and `notes`.

    Raises:
        BadInput: labels are all alike among the rows trained on or held out, or too few rows.
    """
    held = later_rows(examples.hour, len(examples), recipe.holdout, recipe.seed)
    rest = examples.take(~held)
    require_both(rest.label, "rows to train on")
    buckets, as_of, known, numeric = None, None, rest, examples.columns.numeric
    if examples.delay is not None:
        as_of = _as_of(examples, recipe)
        until = float(_hours(examples)[held].min()) if held.any() else as_of
        if recipe.horizon is None:
            raise BadInput("horizon", None, "must be given with --delay", "Write it like --horizon 720.")
        buckets = delay_buckets(rest, recipe.horizon, until)
        known, numeric = buckets.expand(rest, until), (*numeric, COLUMN)
    later = validation_rows(known, recipe, buckets)
    fit, validation = known.take(~later), known.take(later)
    for rows, name in ((fit, "rows to fit"), (validation, "rows to validate")):
        require_both(rows.label, name)
    scorer: Scorer
    if recipe.kind == "xgboost":
        scorer = fit_trees(fit, validation, seed=recipe.seed, threads=recipe.threads, numeric=numeric)
    else:
        scorer = fit_logistic(fit, validation, numeric=numeric)
    raw = scorer.raw(validation)
    model = ResponseModel(
        examples.columns, scorer, fit_calibration(recipe.calibration, validation.label, raw), buckets
    )
    found = response_metrics(validation.label, model.calibration.apply(raw))
    manifest = {
        "data": dict(data or {}),
        "recipe": {**vars(recipe), "as_of": as_of},
        "split": "random" if examples.hour is None else "time" if examples.columns.time else "file order",
        "rows": {"fit": len(fit), "validation": len(validation), "holdout": int(held.sum())},
        "metrics": _judge(model, examples.take(held), as_of) if held.any() else None,
        "validation_metrics": found,
        "labels_by_word": _labels_by_word(fit),
        "libraries": library_versions(),
        **_about(scorer, found["auc"]),
    }
    return replace(model, manifest=manifest)


def train_file(
    path: Path | str, columns: Columns, examples: Examples, recipe: Recipe, code: Mapping[str, Any]
) -> ResponseModel:
    """As `train`, with the file's name and hash and the code's version in the manifest.

    Args:
        path: the file the rows are from. columns: of it. examples: its rows. recipe: how.
        code: version of what trains.
    """
    data = {"file": Path(path).name, "sha256": sha256_of(path), "rows": len(examples)}
    model = train(replace(examples, columns=columns), recipe, data=data)
    return replace(model, manifest={**model.manifest, "code": dict(code)})


def evaluate_file(folder: Path | str, path: Path | str, slices: Sequence[str] = ()) -> dict[str, Any]:
    """How good a kept model is on a file.

    Rows that the model was trained on are left out: of the file it was trained on, only those held out count.
    Of a table with a delay, only rows older than the horizon count, for only these have final labels.

    Args:
        folder: of the model. path: the file, with the columns of the one it was trained on.
        slices: names of columns; figures are told for each of their values, too.

    Returns:
        `metrics.response_metrics`, and `model_id`, `rows_scored` (`all`, `held out` or `mature`), `unseen`
        (share of rows with a word not seen at training, by column), and `slices`
        {column: {value: figures, None where there are fewer than 100 rows or labels are alike}}.

    Raises:
        BadInput: no model, another table, rows that were all trained on, or labels that are all alike.
    """
    model = load(folder)
    known = model.manifest
    same = known["data"].get("sha256") == sha256_of(path)
    examples, cells = read_again(path, model.columns, slices, with_time=same)
    recipe = known["recipe"]
    rows, scored, as_of = np.ones(len(examples), bool), "all", None
    if same:
        rows, scored = later_rows(examples.hour, len(examples), recipe["holdout"], recipe["seed"]), "held out"
        if not rows.any():
            allowed = "must hold rows that the model was not trained on"
            raise BadInput("FILE", Path(path).name, allowed, "Give later rows, or train with --holdout 0.3.")
    if model.buckets is not None:
        as_of = _last_moment(examples)
        rows &= model.buckets.mature(examples, as_of)
        scored = "mature" if scored == "all" else "held out and mature"
    kept = examples.take(rows)
    label = kept.label if model.buckets is None else model.buckets.label(kept)
    require_both(label, f"rows of {Path(path).name} that can be scored")
    chance = model.predict(kept)
    encoding = model.scorer.encoding if isinstance(model.scorer, BoostedTrees) else None
    return {
        **response_metrics(label, chance),
        "model_id": known["model_id"],
        "rows_scored": scored,
        "unseen": {} if encoding is None else encoding.unseen(kept),
        "slices": {name: by_value(column.take(rows), label, chance) for name, column in cells.items()},
    }


def by_value(column: CodedColumn, label: Bools, chance: Floats) -> dict[str, dict[str, Any] | None]:
    """Figures for the rows of each value of a column, the most frequent first.

    Args:
        column: (n,) values. label: (n,) whether it happened. chance: (n,) its predicted probability.
    """
    sizes = np.bincount(column.codes, minlength=len(column.words))
    found: dict[str, dict[str, Any] | None] = {}
    for code in np.argsort(-sizes, kind="stable")[: int((sizes > 0).sum())]:
        rows = column.codes == code
        alike = label[rows].all() or not label[rows].any()
        enough = sizes[code] >= _FEWEST_SLICE and not alike
        found[column.words[code]] = response_metrics(label[rows], chance[rows]) if enough else None
    return found


def later_rows(hour: Floats | None, n_rows: int, share: float, seed: int) -> Bools:
    """(n_rows,) which rows are the latest, about a share of them; rows of one moment stay together.

    Args:
        hour: (n_rows,) when, in any order; None: not known, the rows are drawn.
        n_rows: in all. share: to set apart. seed: names the draw.
    """
    n_early = n_rows - round(share * n_rows)
    if n_early >= n_rows:
        return np.zeros(n_rows, bool)
    if hour is None:
        return np.random.default_rng([seed, n_rows]).permutation(n_rows) >= n_early
    return hour >= np.partition(hour, n_early)[n_early]


def validation_rows(known: Examples, recipe: Recipe, buckets: DelayBuckets | None) -> Bools:
    """(n,) which rows to train on are the latest, of each bucket apart; they stop and calibrate."""
    if buckets is None:
        return later_rows(known.hour, len(known), recipe.validation, recipe.seed + 1)
    later = np.zeros(len(known), bool)
    for bucket in range(len(buckets.ends)):  # the late ones are known of older clicks only
        rows = np.flatnonzero(known.numeric[:, -1] == bucket)
        later[rows] = later_rows(_hours(known)[rows], rows.size, recipe.validation, recipe.seed + 1)
    return later


def _judge(model: ResponseModel, held: Examples, as_of: float | None) -> dict[str, Any] | None:
    if model.buckets is not None:
        assert as_of is not None
        held = held.take(model.buckets.mature(held, as_of))
    label = held.label if model.buckets is None else model.buckets.label(held)
    if model.buckets is not None and (not label.any() or label.all()):
        return None  # the file ends before the horizon of rows held out: nothing is final
    require_both(label, "rows held out")
    return response_metrics(label, model.predict(held))


def _labels_by_word(examples: Examples) -> dict[str, dict[str, int]]:
    """Labels of 1 by word of each column that has few words: what was learnt of which word."""
    found = {}
    for column in examples.categorical:
        yes = np.bincount(column.codes[examples.label], minlength=len(column.words)).tolist()
        if len(yes) <= _FEW_WORDS:
            found[column.name] = dict(zip(column.words, yes, strict=True))
    return found


def _about(scorer: Scorer, auc: float) -> dict[str, Any]:
    if not isinstance(scorer, BoostedTrees):
        notes = ["hashed words have no ONNX form"]
        return {"gains": None, "n_trees": None, "onnx_max_difference": None, "notes": notes}
    gains = scorer.gains()
    notes = [f"no ONNX file: {scorer.onnx_note}"] if scorer.onnx is None else []
    first, share = next(iter(gains.items()))
    if share > _TELLING and auc > _TOO_GOOD and len(gains) > 1:
        notes.append(f"{share:.0%} of the gain is from `{first}`: make sure it is known before the outcome")
    return {
        "gains": gains,
        "n_trees": scorer.n_trees,
        "onnx_max_difference": scorer.onnx_difference,
        "notes": notes,
    }


def require_both(label: Bools, name: str) -> None:
    """Refuse labels that are all alike."""
    n_yes = int(label.sum())
    if n_yes in (0, label.size):
        allowed = f"must be 1 in some and 0 in others of the {name}"
        remedy = "Give more rows, or check which column is the label."
        raise BadInput("label", f"1 in {n_yes} of {label.size}", allowed, remedy)


def _as_of(examples: Examples, recipe: Recipe) -> float:
    return _last_moment(examples) if recipe.as_of is None else recipe.as_of


def _last_moment(examples: Examples) -> float:
    """The last hour of which the table knows anything."""
    hour, delay = _hours(examples), examples.delay
    seen = hour if delay is None else np.where(np.isfinite(delay), hour + delay, hour)
    return float(max(hour.max(), seen.max()))


def _hours(examples: Examples) -> Floats:
    if examples.hour is None:
        raise BadInput("time", None, "must be given where conversions are delayed", "Add --time COL.")
    return examples.hour


def library_versions() -> dict[str, str | None]:
    """Versions of the libraries that a model depends on; None: not installed."""
    return {name: installed_version(name) for name in _LIBRARIES}


def installed_version(name: str) -> str | None:
    """Version of an installed package; None: it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
