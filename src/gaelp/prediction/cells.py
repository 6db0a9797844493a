"""One row as a service gets it, `{column: cell}`, and many of them as a table.

A cell is a number, text or None (empty). Training and serving read cells here and nowhere else, so a model is
never given at work what it was not given at school.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gaelp.core.errors import BadInput, UnknownName
from gaelp.core.names import nearest
from gaelp.data.tables import CodedColumn
from gaelp.prediction.examples import Columns, Examples

Row = Mapping[str, Any]

_LARGEST = 1e30  # finite as the 32-bit number a model takes
_LONGEST = 1000


def number(name: str, cell: Any) -> float:
    """A numeric column's cell; NaN where it is empty.

    Raises:
        BadInput: it is no finite number.
    """
    if cell is None:
        return np.nan
    if isinstance(cell, bool) or not isinstance(cell, int | float) or not abs(cell) <= _LARGEST:
        raise BadInput(name, cell, "must be a number of at most 1e30, or null", "Correct that cell.")
    return float(cell)


def word(name: str, cell: Any) -> str:
    """A categorical column's cell as text; "" where it is empty, whole numbers without a point.

    Raises:
        BadInput: it is neither text nor a finite number.
    """
    if cell is None:
        return ""
    if isinstance(cell, str) and len(cell) <= _LONGEST and "\0" not in cell:
        return cell.strip()
    if isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) <= _LARGEST:
        return str(int(cell)) if cell == int(cell) else repr(cell)
    allowed = f"must be text of at most {_LONGEST} characters, a number or null"
    raise BadInput(name, cell, allowed, "Correct that cell.")


def check_cells(row: Row) -> None:
    """Refuse a row that could not be kept.

    Raises:
        BadInput: a cell is neither a finite number, text nor None, or a name is no text.
    """
    for name, cell in row.items():
        if not isinstance(name, str) or not name:
            raise BadInput("features", name, "must be named by text", "Name the column.")
        if isinstance(cell, float) and not np.isfinite(cell):
            raise BadInput(name, cell, "must be a number of at most 1e30, or null", "Write null where empty.")
        if isinstance(cell, int | float) and not isinstance(cell, bool):
            number(name, cell)
        else:
            word(name, cell)


def require_columns(columns: Columns, row: Row) -> None:
    """Check that a row has the columns of a model, all of them and no others.

    Raises:
        UnknownName: it has another one. BadInput: one is missing; both name it.
    """
    known = (*columns.numeric, *columns.categorical)
    for name in row:
        if name not in known:
            meant = nearest(str(name), known)
            remedy = f"Did you mean {meant!r}?" if meant else "Leave it out."
            raise UnknownName("column", name, f"known: {', '.join(known)}", remedy)
    for name in known:
        if name not in row:
            allowed = f"must be in each row, with {', '.join(known)}"
            raise BadInput(f"column {name}", "missing", allowed, "Add it; write null where it is empty.")


def columns_of(rows: Sequence[Row], *, label: str, time: str, delay: str | None = None) -> Columns:
    """What rows hold: a column without any text is numeric, the others are categorical.

    Args:
        rows: at least one with a cell. label, time, delay: names for `Columns`.

    Raises:
        BadInput: no row has any cell.
    """
    is_text: dict[str, bool] = {}
    for row in rows:
        for name, cell in row.items():
            is_text[name] = is_text.get(name, False) or isinstance(cell, str)
    if not is_text:
        remedy = "Record predictions with the features that they were made from."
        raise BadInput("features", "none", "must be kept with predictions", remedy)
    return Columns(
        label=label,
        time=time,
        delay=delay,
        numeric=tuple(sorted(name for name, text in is_text.items() if not text)),
        categorical=tuple(sorted(name for name, text in is_text.items() if text)),
    )


def table_of(columns: Columns, rows: Sequence[Row]) -> Examples:
    """Rows as a table to predict, labels all false; a column that a row lacks is empty there.

    Raises:
        BadInput: a cell is not of its column's kind.
    """
    numbers = [[number(name, row.get(name)) for row in rows] for name in columns.numeric]
    coded = []
    for name in columns.categorical:
        words = [word(name, row.get(name)) for row in rows]
        known = {each: code for code, each in enumerate(dict.fromkeys(words))}
        coded.append(CodedColumn(name, np.array([known[each] for each in words], np.int32), tuple(known)))
    n = len(rows)
    numeric = np.array(numbers, np.float64).T if numbers else np.zeros((n, 0))
    return Examples(columns, np.zeros(n, bool), numeric, tuple(coded))
