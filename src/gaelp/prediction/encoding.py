"""Numbers that stand for categories: how often the label came with a word, and how often the word came.

A word's rate among the rows trained on would tell a row its own label. So each training row gets the rate of
the other folds (Micci-Barreca, SIGKDD Explorations 3, 2001, for the shrunk rate); later rows get that of all.
A word that was not seen counts as seen never: it gets the base rate and a count of 0.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.data.tables import CodedColumn
from gaelp.prediction.examples import Examples
from gaelp.prediction.metrics import Bools, Floats

Ints = NDArray[np.int64]

_PRIOR_ROWS = 20.0  # rows at the base rate that every word starts with
_FOLDS = 5


@dataclass(frozen=True)
class Encoding:
    """What was counted.

    Attributes:
        numeric: names of numeric columns, passed on as they are.
        categorical: names of categorical columns.
        base_rate: of the label.
        words: for each categorical column, what it held.
        n_rows, n_yes: for each categorical column (n_words,) rows with the word, and labels of 1 among them;
            a row counts as often as its weight says.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    base_rate: float
    words: tuple[tuple[str, ...], ...]
    n_rows: tuple[Ints, ...]
    n_yes: tuple[Ints, ...]

    @property
    def features(self) -> list[str]:
        """Names of the columns of `apply`, in order."""
        pairs = [f"{name} ({what})" for name in self.categorical for what in ("rate", "count")]
        return [*self.numeric, *pairs]

    def apply(self, examples: Examples) -> NDArray[np.float32]:
        """(n, n_features) what a model is given for rows that it was not trained on."""
        found: list[Floats] = []
        for column, words, n_rows, n_yes in zip(
            examples.categorical, self.words, self.n_rows, self.n_yes, strict=True
        ):
            at = _places(column, words)  # -1 where unseen, which is the zero appended
            rows, yes = np.append(n_rows, 0)[at], np.append(n_yes, 0)[at]
            found += self._pair(rows[column.codes], yes[column.codes], rows[column.codes])
        return _matrix(examples.numeric, found)

    def unseen(self, examples: Examples) -> dict[str, float]:
        """By categorical column, the share of rows whose word was not there at training; those above 0."""
        shares = {}
        for column, words in zip(examples.categorical, self.words, strict=True):
            share = float((_places(column, words) < 0)[column.codes].mean())
            if share > 0:
                shares[column.name] = share
        return shares

    def by_word(self) -> tuple[dict[str | None, tuple[float, float]], ...]:
        """For each categorical column {word: (rate, count)} as `apply` has them; None: of unseen words."""
        tables = []
        for words, rows, yes in zip(self.words, self.n_rows, self.n_yes, strict=True):
            rate, count = self._pair(np.append(rows, 0), np.append(yes, 0), np.append(rows, 0))
            pairs = list(zip(rate.tolist(), count.tolist(), strict=True))
            tables.append(dict(zip((*words, None), pairs, strict=True)))
        return tuple(tables)

    def to_bytes(self) -> bytes:
        """For a file; see `from_bytes`."""
        data: dict[str, Any] = {
            "numeric": self.numeric,
            "base_rate": self.base_rate,
            "categorical": [
                {"name": name, "words": words, "rows": rows.tolist(), "yes": yes.tolist()}
                for name, words, rows, yes in zip(
                    self.categorical, self.words, self.n_rows, self.n_yes, strict=True
                )
            ],
        }
        return json.dumps(data, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> "Encoding":
        """What `to_bytes` wrote."""
        data = json.loads(text)
        parts = data["categorical"]
        return cls(
            tuple(data["numeric"]),
            tuple(part["name"] for part in parts),
            data["base_rate"],
            tuple(tuple(part["words"]) for part in parts),
            tuple(np.array(part["rows"], np.int64) for part in parts),
            tuple(np.array(part["yes"], np.int64) for part in parts),
        )

    def _pair(self, rows: Ints, yes: Ints, counted: Ints) -> list[Floats]:
        return [(yes + _PRIOR_ROWS * self.base_rate) / (rows + _PRIOR_ROWS), np.log1p(counted)]


def fit_encoding(
    examples: Examples, seed: int, numeric: Sequence[str] | None = None
) -> tuple[Encoding, NDArray[np.float32]]:
    """Count words, and encode the rows they were counted in.

    Args:
        examples: rows to train on.
        seed: names the folds.
        numeric: names of the columns of `examples.numeric`; None: those of the table.

    Returns:
        The encoding, and (n, n_features) what a model is trained on.
    """
    clusters = np.arange(len(examples)) if examples.cluster is None else examples.cluster
    n_clusters = int(clusters.max(initial=-1)) + 1
    fold = np.random.default_rng(seed).integers(0, _FOLDS, n_clusters)[clusters]
    words, all_rows, all_yes, found = [], [], [], []
    names = tuple(examples.columns.numeric if numeric is None else numeric)
    weight = None if examples.weight is None else np.rint(examples.weight)
    base = float(np.average(examples.label, weights=weight))
    shape = Encoding(names, examples.columns.categorical, base, (), (), ())
    for column in examples.categorical:
        rows, yes = _counts(column, examples.label, fold, weight)  # (n_folds, n_words)
        total_rows, total_yes = rows.sum(axis=0), yes.sum(axis=0)
        others = (fold, column.codes)
        found += shape._pair((total_rows - rows)[others], (total_yes - yes)[others], total_rows[column.codes])
        kept = np.flatnonzero(total_rows)
        words.append(tuple(column.words[i] for i in kept))
        all_rows.append(total_rows[kept])
        all_yes.append(total_yes[kept])
    encoding = Encoding(
        names, examples.columns.categorical, base, tuple(words), tuple(all_rows), tuple(all_yes)
    )
    return encoding, _matrix(examples.numeric, found)


def _counts(column: CodedColumn, label: Bools, fold: Ints, weight: Floats | None) -> tuple[Ints, Ints]:
    size = len(column.words)
    at, cells = fold * size + column.codes, _FOLDS * size

    def count(rows: Bools) -> Ints:
        counted = np.bincount(at[rows], None if weight is None else weight[rows], cells)
        return counted.astype(np.int64).reshape(_FOLDS, size)

    return count(np.ones(label.size, bool)), count(label)


def _places(column: CodedColumn, words: Sequence[str]) -> Ints:
    """(n_words of column,) where each stands among `words`; -1: nowhere."""
    place = {word: index for index, word in enumerate(words)}
    return np.array([place.get(word, -1) for word in column.words], np.int64)


def _matrix(numeric: Floats, found: list[Floats]) -> NDArray[np.float32]:
    return np.column_stack([numeric, *found]).astype(np.float32)
