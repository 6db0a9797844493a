"""Columns of a table file: CSV, TSV (either may be gzipped) or Parquet.

Cells of text files arrive as text, those of Parquet as they are; `numbers`, `texts` and `hours` turn
either into what is meant and name the line of a cell that cannot be read.
"""

import csv
import datetime as dt
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import nearest

Cells = Sequence[Any]
_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_LAST_SECOND = 4_102_444_800  # the year 2100: larger numbers are milliseconds or smaller units
_FIRST_LINE = 2  # below the header, counted from 1


def header(path: Path) -> list[str]:
    """Names of a file's columns.

    Raises:
        BadInput: the file is absent, of another kind, empty, or names a column twice.
    """
    if _is_parquet(path):
        return list(_parquet().read_schema(path).names)
    with _rows(path) as rows:
        return _header_of(path, rows)


def read_columns(path: Path, names: Sequence[str]) -> dict[str, Cells]:
    """Read some columns of a file.

    Args:
        path: the file.
        names: columns wanted, all known.

    Returns:
        Cells by column.

    Raises:
        BadInput: as `header`, or a line has more or fewer cells than the header.
    """
    if _is_parquet(path):
        found = _parquet().read_table(path, columns=list(names))
        return {name: found.column(name).to_pylist() for name in names}
    with _rows(path) as rows:
        columns = _header_of(path, rows)
        at = [columns.index(name) for name in names]
        cells: list[list[str]] = [[] for _ in names]
        for line, row in enumerate(rows, _FIRST_LINE):
            if len(row) != len(columns):
                if not row:
                    continue  # an empty line
                name = f"{path.name} line {line}"
                allowed = f"must have {len(columns)} cells, as the header has"
                raise BadInput(name, row, allowed, "Quote cells that hold the separator.")
            for column, i in zip(cells, at, strict=True):
                column.append(row[i])
    return dict(zip(names, cells, strict=True))


def find_column(
    columns: Sequence[str], what: str, named: str | None, usual: Sequence[str], *, required: bool = True
) -> str | None:
    """The column that holds something: the one named, else the first usual name that is there.

    Args:
        columns: of the file.
        what: it holds, in a reader's words.
        named: by the user; None: look for the usual names, capitals or not.
        usual: names to look for, best first.
        required: whether the file must have one.

    Raises:
        BadInput: the named column is unknown, or a required one has none of the usual names.
    """
    there = f"columns are {', '.join(columns)}"
    if named is not None:
        if named in columns:
            return named
        guess = nearest(named, columns)
        remedy = f"Did you mean {guess!r}?" if guess else "Name one of these."
        raise BadInput(f"column of {what}", named, there, remedy)
    by_lower_case = {name.lower(): name for name in reversed(columns)}
    for name in usual:
        if name in by_lower_case:
            return by_lower_case[name]
    if required:
        raise BadInput(
            f"column of {what}", None, there, f"Say which holds it; looked for {', '.join(usual)}."
        )
    return None


def numbers(name: str, cells: Cells) -> NDArray[np.float64]:
    """Cells as finite numbers.

    Raises:
        BadInput: a cell is empty, no number, or not finite.
    """
    try:
        found = np.array(cells, np.float64)
    except (TypeError, ValueError):
        found = np.array([_number(name, line, cell) for line, cell in enumerate(cells, _FIRST_LINE)])
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        raise _bad_cell(name, int(bad[0]), cells[bad[0]], "must be a finite number")
    return found


def texts(name: str, cells: Cells, *, empty: bool = False) -> list[str]:
    """Cells as text without blanks around it.

    Args:
        name: of the column.
        cells: of the column.
        empty: whether a cell may be empty.

    Raises:
        BadInput: a cell is empty and may not be.
    """
    found = ["" if cell is None else str(cell).strip() for cell in cells]
    if not empty and "" in found:
        raise _bad_cell(name, found.index(""), "", "must not be empty")
    return found


def hours(name: str, cells: Cells) -> NDArray[np.float64]:
    """Moments as hours since 1970 began, UTC.

    Args:
        name: of the column.
        cells: ISO 8601 texts (UTC where they name no zone), date-times, or numbers of seconds since 1970.

    Raises:
        BadInput: a cell is none of these.
    """
    if not cells or _is_number(cells[0]):
        seconds = numbers(name, cells)
        bad = np.flatnonzero(np.abs(seconds) > _LAST_SECOND)
        if bad.size:
            allowed = "must be in seconds since 1970, before the year 2100"
            remedy = "Divide milliseconds by a thousand, microseconds by a million."
            raise BadInput(f"{name} in line {bad[0] + _FIRST_LINE}", cells[bad[0]], allowed, remedy)
        return seconds / 3600.0
    found = np.empty(len(cells))
    for i, cell in enumerate(cells):
        try:
            moment = cell if isinstance(cell, dt.datetime) else dt.datetime.fromisoformat(str(cell).strip())
        except ValueError:
            allowed = "must be a time like 2025-03-03T14:30:00 or seconds since 1970"
            raise _bad_cell(name, i, cell, allowed) from None
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        found[i] = zoned.timestamp() / 3600.0
    return found


def _number(name: str, line: int, cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise _bad_cell(name, line - _FIRST_LINE, cell, "must be a number") from None


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _bad_cell(name: str, index: int, cell: Any, allowed: str) -> BadInput:
    return BadInput(f"{name} in line {index + _FIRST_LINE}", cell, allowed, "Correct that cell.")


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        raise BadInput("FILE", str(path), "must be a file that exists", "Check the path.")
    if not path.name.lower().endswith(_ENDINGS):
        raise BadInput("FILE", path.name, f"must end in {', '.join(_ENDINGS)}", "Export the table as CSV.")
    return path.suffix.lower() == ".parquet"


def _parquet() -> Any:
    try:
        return import_module("pyarrow.parquet")
    except ImportError:
        raise BadInput(
            "FILE", "a Parquet file", "needs the package pyarrow", "Install it, or use CSV."
        ) from None


@contextmanager
def _rows(path: Path) -> Iterator[Iterator[list[str]]]:
    name = path.name.lower()
    open_it: Any = gzip.open if name.endswith(".gz") else open
    file: IO[str]
    with open_it(path, "rt", encoding="utf-8-sig", newline="") as file:
        try:
            yield csv.reader(file, delimiter="\t" if ".tsv" in name else ",")
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
            raise BadInput("FILE", path.name, f"could not be read: {error}", "Export it again.") from None


def _header_of(path: Path, rows: Iterator[list[str]]) -> list[str]:
    columns = [name.strip() for name in next(rows, [])]
    if not any(columns):
        raise BadInput("FILE", path.name, "must begin with a line of column names", "Add one.")
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise BadInput("FILE", path.name, f"must name each column once, not {repeated}", "Rename one.")
    return columns
