"""Logistic regression on hashed words: the baseline that other models have to beat.

Each cell is a word, `column=cell`, and each word has a weight at the place its hash says (Weinberger et al.,
ICML 2009; McMahan et al., KDD 2013, for clicks). A number counts as the word of the bin it falls in.
"""

import io
import json
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from zlib import crc32

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit

from gaelp.prediction.examples import Examples
from gaelp.prediction.metrics import LEAST, Floats

_PLACES = 2**18
_BINS = 32
_STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)  # scikit-learn's C: the more, the less the weights are shrunk


@dataclass(frozen=True)
class HashedLogistic:
    """Weights of hashed words; see `fit_logistic`.

    Attributes:
        numeric: names of numeric columns. cuts: for each, (n_cuts,) where one bin ends and the next begins.
        weights: (2 ** 18,) by place. intercept: of the logit.
    """

    numeric: tuple[str, ...]
    cuts: tuple[Floats, ...]
    weights: Floats
    intercept: float

    kind = "logistic"

    def raw(self, examples: Examples) -> Floats:
        """(n,) probabilities before calibration."""
        return expit(_words(examples, self.numeric, self.cuts) @ self.weights + self.intercept)

    def files(self) -> dict[str, bytes]:
        """What to keep, by file name; see `from_files`."""
        used = np.flatnonzero(self.weights)
        kept = io.BytesIO()
        np.savez_compressed(kept, places=used, weights=self.weights[used], intercept=self.intercept)
        cuts = {name: cut.tolist() for name, cut in zip(self.numeric, self.cuts, strict=True)}
        return {"bins.json": json.dumps(cuts).encode(), "model.npz": kept.getvalue()}

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> "HashedLogistic":
        """What `files` gave."""
        cuts = {name: np.array(cut, np.float64) for name, cut in json.loads(files["bins.json"]).items()}
        with np.load(io.BytesIO(files["model.npz"])) as kept:
            weights = np.zeros(_PLACES)
            weights[kept["places"]] = kept["weights"]
            return cls(tuple(cuts), tuple(cuts.values()), weights, float(kept["intercept"]))


def fit_logistic(fit: Examples, validation: Examples, *, numeric: tuple[str, ...]) -> HashedLogistic:
    """Fit weights, shrunk as much as does later rows most good.

    Args:
        fit: rows to fit to. validation: later rows that choose how much the weights are shrunk.
        numeric: names of the numeric columns.
    """
    linear: Any = import_module("sklearn.linear_model")
    cuts = tuple(_cuts(fit.numeric[:, index]) for index in range(len(numeric)))
    words, later = _words(fit, numeric, cuts), _words(validation, numeric, cuts)
    used = np.unique(words.indices)
    best, least = None, np.inf
    for strength in _STRENGTHS:
        model = linear.LogisticRegression(C=strength, max_iter=500, tol=1e-5)
        model.fit(words[:, used], fit.label, sample_weight=fit.weight)
        weights = np.zeros(_PLACES)
        weights[used] = model.coef_[0]
        chance = np.clip(expit(later @ weights + model.intercept_[0]), LEAST, 1 - LEAST)
        logs = np.log(np.where(validation.label, chance, 1 - chance))
        loss = -float(np.average(logs, weights=validation.weight))
        if loss < least:
            best, least = HashedLogistic(numeric, cuts, weights, float(model.intercept_[0])), loss
    assert best is not None  # the first is better than infinitely bad
    return best


def _cuts(values: Floats) -> Floats:
    there = values[np.isfinite(values)]
    return np.unique(np.quantile(there, np.arange(1, _BINS) / _BINS)) if there.size else np.zeros(0)


def _words(examples: Examples, numeric: tuple[str, ...], cuts: tuple[Floats, ...]) -> csr_array:
    """(n, 2 ** 18) how often each place's words are in each row."""
    places = []
    for index, (name, cut) in enumerate(zip(numeric, cuts, strict=True)):
        values = examples.numeric[:, index]
        bins = np.where(np.isnan(values), cut.size + 1, np.searchsorted(cut, values, side="right"))
        hashed = np.array([_place(f"{name}={bin_}") for bin_ in range(cut.size + 2)])
        places.append(hashed[bins])
    for column in examples.categorical:
        hashed = np.array([_place(f"{column.name}={word}") for word in column.words])
        places.append(hashed[column.codes])
    at = np.stack(places, axis=1)  # (n, n_columns)
    ends = np.arange(len(examples) + 1) * at.shape[1]
    words = csr_array((np.ones(at.size), at.ravel(), ends), shape=(len(examples), _PLACES))
    words.sum_duplicates()
    return words


def _place(word: str) -> int:
    return crc32(word.encode()) % _PLACES
