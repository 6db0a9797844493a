"""Serve the champion: rows in, probabilities out; whoever is promoted serves from the next row on."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput, GaelpError
from gaelp.prediction.boosting import BoostedTrees, onnx_session, run_onnx
from gaelp.prediction.cells import Row, number, require_columns, table_of, word
from gaelp.prediction.metrics import LEAST, Floats
from gaelp.prediction.model import Ensemble, ResponseModel, load, mean_of_logits
from gaelp.prediction.registry import Registry

Stamp = tuple[int, int, int]


class NoChampion(GaelpError):
    """The registry has no champion, or it could not be loaded, so nothing can be predicted."""


class Predictor:
    """The champion of a registry, loaded again when another version becomes champion.

    A look at the file of aliases, a few microseconds, precedes each call. A champion that cannot be loaded
    leaves the one before in service, and `problem` says so. Calls from several threads are safe.

    Args:
        registry: or its folder.
        patient: a call waits for the next champion to be loaded; else the one before answers meanwhile.
    """

    def __init__(self, registry: Registry | str | Path, *, patient: bool = True) -> None:
        self.registry = registry if isinstance(registry, Registry) else Registry(registry)
        self.patient = patient
        self.problem: str | None = None
        self._seen: Stamp | None = None
        self._now: tuple[str, ResponseModel, _OneRow | None] | None = None
        self._reloading = threading.Lock()

    @property
    def version(self) -> str:
        """Name of the version that serves.

        Raises:
            NoChampion: there is none.
        """
        return self._current()[0]

    @property
    def model(self) -> ResponseModel:
        """The model that serves; errors as `version`."""
        return self._current()[1]

    def predict(self, rows: Sequence[Row]) -> tuple[str, Floats]:
        """What the champion predicts.

        Args:
            rows: n rows {column: number, text or None}, each with all columns of the model and no others.

        Returns:
            The version's name, and (n,) probabilities.

        Raises:
            NoChampion: there is none.
            UnknownName: a row has a column that the model does not know.
            BadInput: a row lacks a column, or a cell is not of its column's kind; rows of several are named.
        """
        name, model, one_row = self._current()
        for index, row in enumerate(rows):
            with _named(index, len(rows)):
                if not isinstance(row, Mapping):
                    raise BadInput("row", row, "must be {column: cell}", "Write it as an object.")
                require_columns(model.columns, row)
        if len(rows) == 1 and one_row is not None:
            return name, one_row.predict(rows[0])
        if not rows:
            return name, np.zeros(0)
        try:
            table = table_of(model.columns, rows)
        except BadInput:
            for index, row in enumerate(rows):
                with _named(index, len(rows)):
                    table_of(model.columns, [row])
            raise
        return name, model.predict(table)

    def _current(self) -> "tuple[str, ResponseModel, _OneRow | None]":
        if self._seen is None or self._stamp() != self._seen:
            if self.patient or self._now is None:
                with self._reloading:
                    self._reload()
            elif self._reloading.acquire(blocking=False):
                threading.Thread(target=self._reload_behind, daemon=True).start()
        if self._now is None:
            raise NoChampion(self.problem or "There is no champion. Retrain, or promote a version.")
        return self._now

    def _reload_behind(self) -> None:
        try:
            self._reload()
        finally:
            self._reloading.release()

    def _reload(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return  # another thread did it
        try:
            name = self.registry.aliases()["champion"]
            if name is None:
                self._now = None
            elif self._now is None or self._now[0] != name:
                model = load(self.registry.get(name).folder)
                self._now = (name, model, _OneRow.of(model))
            self.problem = None
        except (GaelpError, OSError) as error:
            self.problem = f"The champion could not be loaded: {error}"
        self._seen = stamp

    def _stamp(self) -> Stamp:
        try:
            found = (self.registry.folder / "aliases.json").stat()
        except FileNotFoundError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_ino, found.st_size)


class _OneRow:
    """The short way for one row: dictionaries in place of tables, ONNX Runtime in place of XGBoost."""

    def __init__(self, model: ResponseModel, members: Sequence[BoostedTrees], sessions: list[Any]) -> None:
        self.model, self.sessions = model, sessions
        self.words = [member.encoding.by_word() for member in members]
        ends = None if model.buckets is None else len(model.buckets.ends)
        self.buckets: Floats | None = None if ends is None else np.arange(ends, dtype=np.float64)

    @classmethod
    def of(cls, model: ResponseModel) -> "_OneRow | None":
        """None: the model has no ONNX form."""
        scorer = model.scorer
        members = scorer.members if isinstance(scorer, Ensemble) else (scorer,)
        trees = [each for each in members if isinstance(each, BoostedTrees)]
        files = [each.onnx for each in trees if each.onnx is not None]
        if len(files) != len(members):
            return None
        return cls(model, trees, [onnx_session(file) for file in files])

    def predict(self, row: Row) -> Floats:
        """(1,) as `ResponseModel.predict`, up to `boosting.ONNX_TOLERANCE`."""
        columns = self.model.columns
        numbers = [number(name, row[name]) for name in columns.numeric]
        cells = [word(name, row[name]) for name in columns.categorical]
        raw = [
            run_onnx(session, self._features(numbers, cells, words))
            for session, words in zip(self.sessions, self.words, strict=True)
        ]
        found = raw[0] if len(raw) == 1 else mean_of_logits(raw)
        chance = np.clip(self.model.calibration.apply(found), LEAST, 1 - LEAST)
        return chance if self.buckets is None else np.array([1 - np.prod(1 - chance)])

    def _features(
        self, numbers: list[float], cells: list[str], words: Sequence[Mapping[Any, tuple[float, float]]]
    ) -> NDArray[np.float32]:
        """(1, n_features); of conversions that come late, a row for each bucket."""
        encoded = [
            part for cell, known in zip(cells, words, strict=True) for part in known.get(cell, known[None])
        ]
        if self.buckets is None:
            return np.array([[*numbers, *encoded]], np.float32)
        return np.array([[*numbers, bucket, *encoded] for bucket in self.buckets], np.float32)


@contextmanager
def _named(index: int, n_rows: int) -> Iterator[None]:
    """Say which of several rows is wrong."""
    try:
        yield
    except BadInput as error:
        if n_rows == 1:
            raise
        told = f"{error.name} in row {index}"
        raise type(error)(told, error.value, error.allowed, error.remedy) from None
