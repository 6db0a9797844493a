"""Gradient-boosted trees (XGBoost; Chen and Guestrin, KDD 2016), and the same trees as an ONNX file."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import GaelpError
from gaelp.prediction.encoding import Encoding, fit_encoding
from gaelp.prediction.examples import Examples
from gaelp.prediction.metrics import Floats

Features = NDArray[np.float32]

ONNX_TOLERANCE = 1e-5
_MOST_ROUNDS, _PATIENCE = 2000, 50
_OPSET = 15
_SETTINGS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "grow_policy": "lossguide",
    "max_leaves": 31,
    "max_depth": 0,
    "eta": 0.05,
    "min_child_weight": 10,
}


@dataclass(frozen=True)
class BoostedTrees:
    """Trees on encoded columns; see `fit_trees`.

    Attributes:
        encoding: of the columns. native: the trees, as XGBoost writes them (UBJSON).
        onnx: the same as an ONNX model, from (n, n_features) float32 `features` to `probabilities`; None:
            could not be made. onnx_note: why.
        onnx_difference: the largest between the two on the validation rows.
    """

    encoding: Encoding
    native: bytes
    onnx: bytes | None = None
    onnx_note: str = ""
    onnx_difference: float | None = None

    kind = "xgboost"

    def raw(self, examples: Examples) -> Floats:
        """(n,) probabilities before calibration."""
        return self._predict(self.encoding.apply(examples))

    def gains(self) -> dict[str, float]:
        """Share of the fall in loss that splits on each column brought, the largest first."""
        score = self._booster.get_score(importance_type="total_gain")
        gains = dict.fromkeys((*self.encoding.numeric, *self.encoding.categorical), 0.0)
        of = [*self.encoding.numeric, *(name for name in self.encoding.categorical for _ in range(2))]
        for feature, gain in score.items():
            gains[of[int(feature[1:])]] += float(gain)
        whole = sum(gains.values()) or 1.0
        return {name: gain / whole for name, gain in sorted(gains.items(), key=lambda pair: -pair[1])}

    @property
    def n_trees(self) -> int:
        """Rounds of boosting that were kept."""
        return int(self._booster.num_boosted_rounds())

    def files(self) -> dict[str, bytes]:
        """What to keep, by file name; see `from_files`."""
        kept = {"encoding.json": self.encoding.to_bytes(), "model.ubj": self.native}
        return kept if self.onnx is None else {**kept, "model.onnx": self.onnx}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> "BoostedTrees":
        """What `files` gave."""
        return cls(Encoding.from_bytes(files["encoding.json"]), files["model.ubj"], files.get("model.onnx"))

    def onnx_raw(self, examples: Examples) -> Floats:
        """(n,) as `raw`, by the ONNX model.

        Raises:
            GaelpError: there is none.
        """
        if self.onnx is None:
            raise GaelpError("This model has no ONNX file.")
        return onnx_predict(self.onnx, self.encoding.apply(examples))

    def _predict(self, features: Features) -> Floats:
        xgboost: Any = import_module("xgboost")
        data = xgboost.DMatrix(features, feature_names=_names(features.shape[1]), nthread=1)
        return self._booster.predict(data).astype(np.float64)

    @cached_property
    def _booster(self) -> Any:
        xgboost: Any = import_module("xgboost")
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(self.native))
        return booster


def fit_trees(
    fit: Examples,
    validation: Examples,
    *,
    seed: int,
    threads: int,
    numeric: tuple[str, ...],
    settings: Mapping[str, float] = MappingProxyType({}),
) -> BoostedTrees:
    """Grow trees until the later rows' logloss falls no more.

    Args:
        fit: rows to grow on. validation: later rows that say when to stop.
        seed: names the folds of the encoding and XGBoost's draws.
        threads: to use; the trees can differ in the last digits with their number.
        numeric: names of the numeric columns.
        settings: of XGBoost, in place of the usual ones.
    """
    encoding, features = fit_encoding(fit, seed, numeric)
    data = (encoding, features, fit, validation)
    return _with_onnx(_grow(*data, {**settings, "seed": seed, "nthread": threads})[0], validation)


def search_trees(
    fit: Examples,
    validation: Examples,
    *,
    seed: int,
    threads: int,
    numeric: tuple[str, ...],
    draws: int,
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Random search (Bergstra and Bengio, JMLR 13, 2012) for settings, the usual ones among those tried.

    Args:
        draws: settings to draw. The rest as of `fit_trees`; the later rows judge, too.

    Returns:
        The best settings, and all that were tried, each with its `logloss` on the later rows.
    """
    encoding, features = fit_encoding(fit, seed, numeric)
    rng = np.random.default_rng([seed, draws])
    tried: list[dict[str, float]] = []
    for draw in range(draws + 1):
        settings: dict[str, float] = {}
        if draw:
            settings = {
                "max_leaves": int(np.exp2(rng.uniform(2, 7))),
                "eta": float(10 ** rng.uniform(-2, -0.7)),
                "min_child_weight": float(10 ** rng.uniform(0, 2)),
                "subsample": float(rng.uniform(0.5, 1.0)),
                "colsample_bytree": float(rng.uniform(0.5, 1.0)),
                "lambda": float(10 ** rng.uniform(-1, 1.5)),
            }
        used = {**settings, "seed": seed, "nthread": threads}
        _, loss = _grow(encoding, features, fit, validation, used)
        tried.append({**settings, "logloss": loss})
    best = min(tried, key=lambda each: each["logloss"])
    return {name: value for name, value in best.items() if name != "logloss"}, tried


def continue_trees(
    trees: BoostedTrees, fit: Examples, validation: Examples, *, seed: int, threads: int
) -> BoostedTrees:
    """Grow further trees onto those of a model, on rows that are later than those it was grown on.

    Words keep the meaning that the model gave them; those new since then stay unseen.

    Args:
        trees: of the model. The rest as of `fit_trees`.
    """
    features = trees.encoding.apply(fit)
    used: dict[str, float] = {"seed": seed, "nthread": threads}
    grown, _ = _grow(trees.encoding, features, fit, validation, used, base=trees._booster)
    return _with_onnx(grown, validation)


def _grow(
    encoding: Encoding,
    features: Features,
    fit: Examples,
    validation: Examples,
    settings: Mapping[str, float],
    base: Any = None,
) -> tuple[BoostedTrees, float]:
    """Trees without ONNX, and the least logloss of the later rows."""
    xgboost: Any = import_module("xgboost")
    names, threads = _names(features.shape[1]), settings["nthread"]

    def data(matrix: Features, rows: Examples) -> Any:
        return xgboost.DMatrix(
            matrix, rows.label, weight=rows.weight, feature_names=names, nthread=int(threads)
        )

    booster = xgboost.train(
        {**_SETTINGS, **settings},
        data(features, fit),
        num_boost_round=_MOST_ROUNDS,
        evals=[(data(encoding.apply(validation), validation), "later")],
        early_stopping_rounds=_PATIENCE,
        verbose_eval=False,
        xgb_model=base,
    )
    kept = booster[: booster.best_iteration + 1]
    return BoostedTrees(encoding, bytes(kept.save_raw("ubj"))), float(booster.best_score)


def onnx_predict(model: bytes, features: Features) -> Floats:
    """(n,) probabilities by ONNX Runtime.

    Args:
        model: an ONNX file's content. features: (n, n_features) encoded columns.
    """
    return run_onnx(onnx_session(model), features)


def onnx_session(model: bytes) -> Any:
    """A session of ONNX Runtime on one thread."""
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_onnx(session: Any, features: Features) -> Floats:
    """(n,) probabilities by a session of `onnx_session`."""
    return session.run(["probabilities"], {"features": features})[0][:, 1].astype(np.float64)


def _with_onnx(trees: BoostedTrees, validation: Examples) -> BoostedTrees:
    rows = trees.encoding.apply(validation)
    missing = [name for name in ("onnx", "onnxmltools", "onnxruntime") if find_spec(name) is None]
    if missing:
        return BoostedTrees(trees.encoding, trees.native, onnx_note=f"{', '.join(missing)} not installed")
    convert: Any = import_module("onnxmltools.convert")
    types: Any = import_module("onnxmltools.convert.common.data_types")
    shape = types.FloatTensorType([None, rows.shape[1]])
    made = convert.convert_xgboost(trees._booster, initial_types=[("features", shape)], target_opset=_OPSET)
    made.graph.name = "response"  # else a random one, and no two files are alike
    onnx = made.SerializeToString()
    difference = float(np.abs(onnx_predict(onnx, rows) - trees._predict(rows)).max())
    if not difference <= ONNX_TOLERANCE:
        note = (
            f"ONNX Runtime's probabilities differed by {difference:.2g}; at most {ONNX_TOLERANCE} is let pass"
        )
        return BoostedTrees(trees.encoding, trees.native, onnx_note=note, onnx_difference=difference)
    return BoostedTrees(trees.encoding, trees.native, onnx, onnx_difference=difference)


def _names(n_features: int) -> list[str]:
    return [f"f{index}" for index in range(n_features)]  # the converter to ONNX knows no others
