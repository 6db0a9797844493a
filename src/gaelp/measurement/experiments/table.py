"""Columns of a table that people hand in, as numbers in a range, flags, days or names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.journeys.columns import Cells, header, numbers, read_columns, texts

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]

_FIRST_LINE = 2  # below the header, counted from 1


@dataclass(frozen=True)
class Table:
    """Some columns of a file, still as they stood there.

    Attributes:
        columns: {name: (n_rows,) cells}.
    """

    columns: dict[str, Cells]

    def names(self, column: str) -> Texts:
        """(n_rows,) a column as text; an empty cell is an error."""
        return np.array(texts(column, self.columns[column]), dtype=np.str_)

    def joined(self, columns: Sequence[str]) -> Texts:
        """(n_rows,) the texts of several columns with `|` between them; empty texts for no column."""
        n = len(next(iter(self.columns.values())))
        parts = [self.names(column) for column in columns]
        return np.array(["|".join(row) for row in zip(*parts, strict=True)] if parts else [""] * n, np.str_)

    def numbers(self, column: str, low: float = -np.inf, high: float = np.inf) -> Floats:
        """(n_rows,) a column as finite numbers from `low` to `high`."""
        values = numbers(column, self.columns[column])
        wrong = np.flatnonzero(~((values >= low) & (values <= high)))
        if wrong.size:
            limits = f"at least {low:g}" if np.isinf(high) else f"from {low:g} to {high:g}"
            raise _bad(column, wrong[0], float(values[wrong[0]]), f"must be {limits}")
        return values

    def values(self, column: str) -> Floats | Texts:
        """(n_rows,) a column as numbers where every cell is one, else as text; an empty cell is an error."""
        text = self.names(column)
        try:
            return text.astype(np.float64)
        except ValueError:
            return text

    def flags(self, column: str) -> NDArray[np.bool_]:
        """(n_rows,) a column of 0 and 1, or of true and false."""
        text = np.char.lower(self.names(column))
        yes, no = np.isin(text, ("1", "1.0", "true")), np.isin(text, ("0", "0.0", "false"))
        wrong = np.flatnonzero(~(yes | no))
        if wrong.size:
            raise _bad(column, wrong[0], str(text[wrong[0]]), "must be 0 or 1")
        return yes

    def days(self, column: str) -> NDArray[np.datetime64]:
        """(n_rows,) a column of days like 2015-02-16; a time of day after it is cut off."""
        different, where = np.unique(self.names(column), return_inverse=True)
        days = np.empty(different.size, "datetime64[D]")
        for i, cell in enumerate(different):
            try:
                days[i] = date.fromisoformat(str(cell)[:10])
            except ValueError:
                row = int(np.flatnonzero(where == i)[0])
                raise _bad(column, row, str(cell), "must be a day like 2015-02-16") from None
        return days[where]


def read_table(path: str | Path, columns: Sequence[str]) -> Table:
    """Read some columns of a file.

    Args:
        path: `.csv`, `.csv.gz`, `.tsv`, `.tsv.gz` or `.parquet`.
        columns: wanted.

    Raises:
        UnknownName: if there is no such column.
        BadInput: if the file is missing, cannot be read, or has no rows.
    """
    path = Path(path)
    known = header(path)
    wanted = list(dict.fromkeys(columns))
    for name in wanted:
        require_known("column", name, known)
    found = read_columns(path, wanted)
    if not len(found[wanted[0]]):
        raise BadInput("file", path.name, "must have at least one row below its names", "Fill the table.")
    return Table(found)


def _bad(column: str, row: int, value: object, allowed: str) -> BadInput:
    return BadInput(f"{column} in line {row + _FIRST_LINE}", value, allowed, "Correct that cell.")
