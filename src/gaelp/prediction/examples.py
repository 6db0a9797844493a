"""Rows to learn from: what was known before, whether it happened, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.data.criteo import CATEGORIES, INTEGERS, LABEL, read_criteo
from gaelp.data.tables import CodedColumn, read_coded
from gaelp.prediction.metrics import Bools, Floats

FORMATS = ("table", "criteo")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column of a table is what.

    Attributes:
        label: 1 where it happened. time: orders the rows; None: see `Examples.hour`.
        delay: hours from the row's time to its conversion, empty where none was seen; None: labels are final.
        numeric, categorical: what a prediction is made from.
        layout: one of `FORMATS`.
    """

    label: str
    time: str | None = None
    delay: str | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    layout: str = "table"

    def as_dict(self) -> dict[str, Any]:
        """For a file; see `from_dict`."""
        return {**vars(self), "numeric": list(self.numeric), "categorical": list(self.categorical)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Columns":
        """What `as_dict` wrote."""
        lists = {name: tuple(data[name]) for name in ("numeric", "categorical")}
        return cls(**{**data, **lists})


@dataclass(frozen=True)
class Examples:
    """Rows of a table.

    Attributes:
        columns: where they are from.
        label: (n,) whether it happened; for conversions that are delayed, whether it was seen by now.
        numeric: (n, n_numeric) numbers, NaN where empty.
        categorical: n_categorical columns.
        hour: (n,) when, in hours since any start; None: not known. Criteo's format has no times, but its rows
            are in the order of time: there it is the row's number.
        delay: (n,) hours until the conversion, inf where none was seen; None: labels are final.
        weight: (n,) trials that a row stands for; None: one each.
        cluster: (n,) code of what a row is part of; rows of one cluster know each other's labels and are
            never encoded by them. None: each its own.
    """

    columns: Columns
    label: Bools
    numeric: Floats
    categorical: tuple[CodedColumn, ...]
    hour: Floats | None = None
    delay: Floats | None = None
    weight: Floats | None = None
    cluster: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.label.size

    def take(self, rows: NDArray[Any]) -> "Examples":
        """The same with these rows, by index or mask."""
        parts = {name: getattr(self, name) for name in ("hour", "delay", "weight", "cluster")}
        kept: dict[str, Any] = {name: None if part is None else part[rows] for name, part in parts.items()}
        return replace(
            self,
            label=self.label[rows],
            numeric=self.numeric[rows],
            categorical=tuple(column.take(rows) for column in self.categorical),
            **kept,
        )

    @property
    def weights(self) -> Floats:
        """(n,) `weight`, or ones."""
        return np.ones(len(self)) if self.weight is None else self.weight


def read_table(
    path: Path | str,
    *,
    layout: str = "table",
    label: str | None = None,
    time: str | None = None,
    delay: str | None = None,
    numeric: Sequence[str] | None = None,
    categorical: Sequence[str] | None = None,
) -> tuple[Columns, dict[str, CodedColumn]]:
    """Read a labelled table and settle which column is what.

    Args:
        path: the file. layout: one of `FORMATS`.
        label, time, delay, numeric, categorical: see `Columns`. With neither numeric nor categorical given,
            all other columns are used: those with nothing but numbers as numeric. One of numbers but for a
            few cells is refused.

    Raises:
        UnknownName: there is no such column or layout.
        BadInput: a column is named for two things, none is left to predict from, one holds numbers and a few
            words, or the file is unreadable.
    """
    require_known("format", layout, FORMATS)
    named = [name for name in (label, time, delay, *(numeric or ()), *(categorical or ())) if name]
    if layout == "criteo":
        cells = read_criteo(path)
        for name in named:
            require_known("column", name, cells)
        label = label or LABEL
        if label not in cells:
            allowed = "must have labels: 40 cells a line"
            raise BadInput("FILE", Path(path).name, allowed, "Give the file that has them.")
        if numeric is None and categorical is None:
            numeric, categorical = INTEGERS, CATEGORIES
    else:
        if label is None:
            raise BadInput("label", None, "must name a column", "Write it like --label click.")
        some = None if numeric is None and categorical is None else named
        cells = read_coded(path, some)
        for name in named:
            require_known("column", name, cells)
        if some is None:
            left = [name for name in cells if name not in (label, time, delay)]
            for name in left:
                cells[name].require_clear()
            numeric = [name for name in left if cells[name].is_numeric]
            categorical = [name for name in left if not cells[name].is_numeric]
    columns = Columns(
        label=label,
        time=time,
        delay=delay,
        numeric=tuple(dict.fromkeys(numeric or ())),
        categorical=tuple(dict.fromkeys(categorical or ())),
        layout=layout,
    )
    _check(columns)
    return columns, cells


def examples_of(columns: Columns, cells: Mapping[str, CodedColumn]) -> Examples:
    """Rows of a table that was read.

    Raises:
        BadInput: a label is not 0 or 1, a number or a time cannot be read, a conversion has no delay.
    """
    label = cells[columns.label].flags()
    numeric = [cells[name].numbers() for name in columns.numeric]
    hour = None if columns.time is None else cells[columns.time].moments()
    if hour is None and columns.layout == "criteo":
        hour = np.arange(label.size, dtype=np.float64)
    delay = None
    if columns.delay is not None:
        delay = cells[columns.delay].numbers(0.0)
        bad = np.flatnonzero(label & np.isnan(delay))
        if bad.size:
            allowed = f"must hold the hours until the conversion, as `{columns.label}` is 1 there"
            raise BadInput(f"{columns.delay} in row {bad[0] + 1}", "", allowed, "Fill that cell.")
        delay = np.where(label, delay, np.inf)
    return Examples(
        columns,
        label,
        np.stack(numeric, axis=1) if numeric else np.zeros((label.size, 0)),
        tuple(cells[name] for name in columns.categorical),
        hour,
        delay,
    )


def read_again(
    path: Path | str, columns: Columns, also: Sequence[str] = (), *, with_time: bool
) -> tuple[Examples, dict[str, CodedColumn]]:
    """Read another file of the same columns, to predict its rows.

    Args:
        path: the file. columns: as at training. also: further columns to read.
        with_time: whether the column of time is needed; without it, the file need not have one.

    Returns:
        Examples, and the further columns.

    Raises:
        UnknownName, BadInput: as `read_table`.
    """
    needed = columns if with_time or columns.delay else Columns(**{**vars(columns), "time": None})
    if columns.layout == "criteo":
        _, cells = read_table(path, layout="criteo", label=columns.label)
    else:
        single = [name for name in (needed.label, needed.time, needed.delay) if name is not None]
        cells = read_coded(path, [*single, *needed.numeric, *needed.categorical, *also])
    for name in also:
        require_known("column", name, cells)
    return examples_of(needed, cells), {name: cells[name] for name in also}


def _check(columns: Columns) -> None:
    features = [*columns.numeric, *columns.categorical]
    if not features:
        raise BadInput("columns", [], "must leave at least one to predict from", "Add columns to the table.")
    single = [name for name in (columns.label, columns.time, columns.delay) if name is not None]
    twice = next((name for name in [*single, *features] if [*single, *features].count(name) > 1), None)
    if twice is not None:
        allowed = "must be one thing: the label, the time, the delay, a number or a category"
        raise BadInput("column", twice, allowed, "Name it once.")
    if columns.delay is not None and columns.time is None:
        raise BadInput("time", None, "must name a column where --delay is given", "Add --time COL.")
