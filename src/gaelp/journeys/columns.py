"""Columns of a table file: CSV, TSV (either may be gzipped) or Parquet.

Cells of text files arrive as text, those of Parquet as they are; `numbers`, `texts`, `hours` and so on turn
either into what is meant, and name the line of a cell that cannot be read.
"""

import csv
import datetime as dt
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import nearest, require_known

Cells = Sequence[Any]
Floats = NDArray[np.float64]
Texts = NDArray[np.str_]

_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_LARGEST = 1e100  # the cube of a number within it is finite, and so are sums of them
_LAST_SECOND = 4_102_444_800  # the year 2100: larger numbers are milliseconds or smaller units
_COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # by digits
_COMPACT_YEARS = (1990, 2100)


class Column(list[Any]):
    """A column's cells that know where in the file they stood.

    Attributes:
        unit: what errors count: "line" of a text file, "row" of a Parquet file.
        place: (n_rows,) the line on which each cell's row begins, or the row's number, counted from 1.
    """

    def __init__(self, cells: Iterable[Any], unit: str, place: Sequence[int]) -> None:
        super().__init__(cells)
        self.unit = unit
        self.place = place


def require(name: str, cells: Cells, good: NDArray[np.bool_], allowed: str, remedy: str = "") -> None:
    """Check each cell of a column.

    Args:
        name: of the column.
        cells: of the column; plain ones are counted as lines below a header.
        good: (n_rows,) whether the cell is as it should be.
        allowed: what it should be, for the error.
        remedy: what to do, for the error; none given: correct the cell.

    Raises:
        BadInput: a cell is not good; names the first such line.
    """
    bad = np.flatnonzero(~good)
    if bad.size:
        raise _bad_cell(name, cells, int(bad[0]), allowed, remedy)


def numbers(
    name: str, cells: Cells, low: float = -_LARGEST, high: float = _LARGEST, *, empty: float | None = None
) -> Floats:
    """(n_rows,) a column as finite numbers from `low` to `high`.

    Args:
        name: of the column.
        cells: of the column.
        low, high: ends of the range, both allowed.
        empty: what an empty cell counts as; None: it may not be empty.

    Raises:
        BadInput: a cell is empty, no number, or out of range.
    """
    whole = cells
    if empty is not None:
        whole = [empty if cell is None or not str(cell).strip() else cell for cell in cells]
    try:
        found = np.array(whole, np.float64)
    except (TypeError, ValueError):
        require(name, cells, np.array([_is_number(cell) for cell in whole]), "must be a number")
        found = np.array([float(cell) for cell in whole])
    require(name, cells, np.isfinite(found), "must be a finite number")
    require(name, cells, found >= low, f"must be at least {low:g}")
    require(name, cells, found <= high, f"must be at most {high:g}")
    return found


def texts(name: str, cells: Cells, *, empty: bool = False) -> list[str]:
    """(n_rows,) a column as text without blanks around it.

    Args:
        name: of the column.
        cells: of the column.
        empty: whether a cell may be empty.

    Raises:
        BadInput: a cell is empty and may not be.
    """
    found = ["" if cell is None else str(cell).strip() for cell in cells]
    if not empty:
        require(name, cells, np.array([bool(text) for text in found], bool), "must not be empty")
    return found


def names(name: str, cells: Cells) -> Texts:
    """(n_rows,) as `texts`, none of them empty, in an array."""
    return np.array(texts(name, cells), np.str_)


def values(name: str, cells: Cells) -> Floats | Texts:
    """(n_rows,) a column as numbers where every cell is one, else as text; an empty cell is an error."""
    text = names(name, cells)
    return numbers(name, cells) if all(map(_is_number, text)) else text


def flags(name: str, cells: Cells) -> NDArray[np.bool_]:
    """(n_rows,) a column of 0 and 1, or of true and false; anything else is an error."""
    text = np.char.lower(names(name, cells))
    yes, no = np.isin(text, ("1", "1.0", "true")), np.isin(text, ("0", "0.0", "false"))
    require(name, cells, yes | no, "must be 0 or 1")
    return yes


def days(name: str, cells: Cells) -> NDArray[np.datetime64]:
    """(n_rows,) a column of days like 2015-02-16 or 20150216; a time of day after it is cut off.

    Raises:
        BadInput: a cell is no day.
    """
    found = [moment.date() for moment in _moments(name, cells, _moment, "must be a day like 2015-02-16")]
    return np.array(found, "datetime64[D]")


def hours(name: str, cells: Cells) -> Floats:
    """(n_rows,) moments as hours since 1970 began, UTC.

    Args:
        name: of the column.
        cells: ISO 8601 texts (UTC where they name no zone), date-times, or numbers. Numbers are seconds since
            1970; where most of them read as 20150216 (or 2015021614, and so on down to seconds), all must.

    Raises:
        BadInput: a cell is none of these.
    """
    if len(cells) and not _is_number(cells[0]):
        allowed = "must be a time like 2025-03-03T14:30:00 or seconds since 1970"
        return _hours_of(_moments(name, cells, _moment, allowed))
    found = numbers(name, cells)
    if 2 * np.count_nonzero(_look_compact(found)) > found.size:
        allowed = "must be a date like 20150216, as most of its column are"
        return _hours_of(_moments(name, cells, lambda cell: _compact(float(cell)), allowed))
    allowed = "must be in seconds since 1970, before the year 2100"
    remedy = "Divide milliseconds by a thousand, microseconds by a million."
    require(name, cells, np.abs(found) <= _LAST_SECOND, allowed, remedy)
    return found / 3600.0


def places(cells: Cells) -> list[str]:
    """(n_rows,) where in its file each cell's row stands, for errors: "line 7"."""
    if isinstance(cells, Column):
        return [f"{cells.unit} {number}" for number in cells.place]
    return [f"line {index + 2}" for index in range(len(cells))]


def header(path: Path) -> list[str]:
    """Names of a file's columns.

    Raises:
        BadInput: the file is absent, of another kind, damaged, empty, or names a column twice.
    """
    if _is_parquet(path):
        with _parquet(path) as file:
            return _checked_header(path, file.schema_arrow.names)
    with _rows(path) as rows:
        return _checked_header(path, next(rows, []))


def read_columns(path: Path | str, wanted: Sequence[str]) -> dict[str, Cells]:
    """Read some columns of a file.

    Args:
        path: `.csv`, `.csv.gz`, `.tsv`, `.tsv.gz` or `.parquet`, with a header.
        wanted: names of columns; naming one twice does no harm.

    Returns:
        Cells by column, at least one each.

    Raises:
        UnknownName: there is no such column.
        BadInput: as `header`, a line has more or fewer cells than the header, or there is no row.
    """
    path = Path(path)
    known = header(path)
    for name in wanted:
        require_known("column", name, known)
    found: dict[str, Cells] = (_read_parquet if _is_parquet(path) else _read_text)(
        path, list(dict.fromkeys(wanted))
    )
    if not all(found.values()):
        raise BadInput("FILE", path.name, "must have at least one event or other row", "Fill the table.")
    return found


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


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _bad_cell(name: str, cells: Cells, index: int, allowed: str, remedy: str = "") -> BadInput:
    unit, place = (cells.unit, cells.place[index]) if isinstance(cells, Column) else ("line", index + 2)
    return BadInput(f"{name} in {unit} {place}", cells[index], allowed, remedy or "Correct that cell.")


def _moments(
    name: str, cells: Cells, read: Callable[[Any], dt.datetime], allowed: str
) -> Iterator[dt.datetime]:
    for index, cell in enumerate(cells):
        try:
            yield read(cell)
        except (ValueError, OverflowError):
            raise _bad_cell(name, cells, index, allowed) from None


def _moment(cell: Any) -> dt.datetime:
    return cell if isinstance(cell, dt.datetime) else dt.datetime.fromisoformat(str(cell).strip())


def _look_compact(numbers: Floats) -> NDArray[np.bool_]:
    """Which numbers have the digits of a date; of other numbers of such size one in thirty does."""
    found = np.zeros(numbers.size, bool)
    for digits in _COMPACT:
        day = numbers // 10.0 ** (digits - 8)
        year, month, of_month = day // 10_000, day // 100 % 100, day % 100
        in_year = (year >= _COMPACT_YEARS[0]) & (year < _COMPACT_YEARS[1])
        found |= in_year & (month >= 1) & (month <= 12) & (of_month >= 1) & (of_month <= 31)
    return found


@lru_cache
def _compact(number: float) -> dt.datetime:
    digits = f"{number:.0f}"
    if not number.is_integer() or len(digits) not in _COMPACT:
        raise ValueError
    return dt.datetime.strptime(digits, _COMPACT[len(digits)])


def _hours_of(moments: Iterable[dt.datetime]) -> Floats:
    """Hours since 1970; UTC where no zone is named."""
    zoned = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC) for moment in moments)
    return np.fromiter((moment.timestamp() for moment in zoned), np.float64) / 3600.0


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        raise BadInput("FILE", str(path), "must be a file that exists", "Check the path.")
    if not path.name.lower().endswith(_ENDINGS):
        raise BadInput("FILE", path.name, f"must end in {', '.join(_ENDINGS)}", "Export the table as CSV.")
    return path.suffix.lower() == ".parquet"


def _unreadable(path: Path, error: Exception, at: str = "") -> BadInput:
    said = " ".join(str(error).split()).rstrip(".")
    return BadInput("FILE", path.name, f"could not be read{at}: {said}", "Export it again, text as UTF-8.")


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    pyarrow: Any = import_module("pyarrow")  # without types
    parquet: Any = import_module("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except BadInput:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        raise _unreadable(path, error) from None


def _read_parquet(path: Path, wanted: Sequence[str]) -> dict[str, Cells]:
    pyarrow: Any = import_module("pyarrow")

    with _parquet(path) as file:
        written = dict(
            zip(_checked_header(path, file.schema_arrow.names), file.schema_arrow.names, strict=True)
        )
        found = file.read(columns=[written[name] for name in wanted])
        cells: dict[str, Cells] = {}
        for name in wanted:
            column = found.column(written[name])
            if pyarrow.types.is_timestamp(column.type):  # Python's date-times know no nanoseconds
                column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
            cells[name] = Column(column.to_pylist(), "row", range(1, found.num_rows + 1))
    return cells


@contextmanager
def _rows(path: Path) -> Iterator[Any]:
    """The lines' cells, by a `csv.reader`."""
    name = path.name.lower()
    open_it: Any = gzip.open if name.endswith(".gz") else open
    file: IO[str]
    with open_it(path, "rt", encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if ".tsv" in name else ",")
        try:
            yield rows
        except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise _unreadable(path, error) from None
        except csv.Error as error:
            raise _unreadable(path, error, f" at line {rows.line_num}") from None


def _read_text(path: Path, wanted: Sequence[str]) -> dict[str, Cells]:
    with _rows(path) as rows:
        columns = _checked_header(path, next(rows, []))
        at = [columns.index(name) for name in wanted]
        cells: list[list[str]] = [[] for _ in wanted]
        place = []
        line = rows.line_num + 1  # a quoted cell may hold several lines
        for row in rows:
            if row and len(row) != len(columns):
                allowed = f"must have {len(columns)} cells, as the header has"
                remedy = "Quote cells that hold the separator."
                raise BadInput(f"{path.name} line {line}", row, allowed, remedy)
            if row:
                place.append(line)
                for column, i in zip(cells, at, strict=True):
                    column.append(row[i])
            line = rows.line_num + 1
    return {name: Column(column, "line", place) for name, column in zip(wanted, cells, strict=True)}


def _checked_header(path: Path, written: Sequence[str]) -> list[str]:
    columns = [name.strip() for name in written]
    if not any(columns):
        raise BadInput("FILE", path.name, "must begin with a line of column names", "Add one.")
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise BadInput("FILE", path.name, f"must name each column once, not {repeated}", "Rename one.")
    return columns
