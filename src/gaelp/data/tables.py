"""Large tables as codes: each column is its distinct cells as text, and for each row which of them it holds.

That takes four bytes a cell, however long the text, and a cell's text is read once, however often it occurs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.journeys.columns import header, hours

Bools = NDArray[np.bool_]
Codes = NDArray[np.int32]
Floats = NDArray[np.float64]

_LARGEST = 1e30  # finite as the 32-bit number a model takes
_MANY, _NEARLY_ALL = 20, 0.95  # values, and share of the cells told, that make a column one of numbers
_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false")


@dataclass(frozen=True)
class CodedColumn:
    """A column of a table.

    Attributes:
        name: of the column.
        codes: (n_rows,) index of each row's cell in `words`.
        words: (n_words,) distinct cells, as text without blanks around them; an empty cell is "".

    >>> column = CodedColumn("price", np.array([1, 0, 1], np.int32), ("", "260.0"))
    >>> column.numbers().tolist()
    [260.0, nan, 260.0]
    """

    name: str
    codes: Codes
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[Any]) -> "CodedColumn":
        """The same column with these rows."""
        return CodedColumn(self.name, self.codes[rows], self.words)

    def numbers(self, low: float = -_LARGEST, *, empty: bool = True) -> Floats:
        """(n_rows,) the cells as numbers, NaN where empty.

        Args:
            low: the least number allowed.
            empty: whether a cell may be empty.

        Raises:
            BadInput: a cell is no finite number of at least `low`; names the first such row.
        """
        found = self._as_numbers
        missing = np.array([not word for word in self.words], bool)
        good = (found >= low) & (found <= _LARGEST) | missing & empty
        self._require(
            good, f"must be a number of at least {low:g}" if low > -_LARGEST else "must be a number"
        )
        return found[self.codes]

    def flags(self) -> Bools:
        """(n_rows,) the cells of a column of 0 and 1, or of true and false.

        Raises:
            BadInput: a cell is neither; names the first such row.
        """
        text = [word.lower() for word in self.words]
        yes = np.array([word in _YES for word in text], bool)
        self._require(yes | np.array([word in _NO for word in text], bool), "must be 0 or 1")
        return yes[self.codes]

    def moments(self) -> Floats:
        """(n_rows,) the cells as hours: date-times since 1970, UTC; numbers are seconds since any start.

        Raises:
            BadInput: a cell is neither, or a column mixes both; names the first such row.
        """
        if np.isfinite(self._as_numbers[self.codes[0]]):
            return self.numbers(empty=False) / 3600.0
        found = np.full(len(self.words), np.nan)
        for index, word in enumerate(self.words):
            try:
                found[index] = hours(self.name, [word])[0]
            except BadInput:
                continue
        found[np.isfinite(self._as_numbers)] = np.nan
        self._require(
            np.isfinite(found), "must be a time like 2025-03-03T14:30:00, or all of its column numbers"
        )
        return found[self.codes]

    @property
    def is_numeric(self) -> bool:
        """Whether each cell that is not empty is a number, and one is."""
        found = np.isfinite(self._as_numbers)
        return bool(
            found.any() and all(good or not word for good, word in zip(found, self.words, strict=True))
        )

    def require_clear(self) -> None:
        """Have it be seen whether it holds numbers or words.

        Raises:
            BadInput: nearly all cells told are numbers, of many values, and some are words; names the first
                such row.
        """
        found = np.isfinite(self._as_numbers)
        told = np.array([bool(word) for word in self.words], bool)
        good, n_told = found | ~told, told[self.codes].sum()
        if not good.all() and found.sum() >= _MANY and found[self.codes].sum() > _NEARLY_ALL * n_told:
            self._require(good, "must be a number as nearly all of its column are, or be named as a category")

    @cached_property
    def _as_numbers(self) -> Floats:
        """(n_words,) NaN for what is no number."""
        try:
            return np.array(self.words, dtype=np.float64)
        except ValueError:
            return np.array([_number(word) for word in self.words], np.float64)

    def _require(self, good: Bools, allowed: str) -> None:
        if good.all():
            return
        bad = np.flatnonzero(~good[self.codes])
        if bad.size:
            row = int(bad[0])
            value = self.words[self.codes[row]]
            raise BadInput(f"{self.name} in row {row + 1}", value, allowed, "Correct that cell.")


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return np.nan


def read_coded(path: Path | str, wanted: Sequence[str] | None = None) -> dict[str, CodedColumn]:
    """Read columns of a table file.

    Args:
        path: `.csv`, `.csv.gz`, `.tsv`, `.tsv.gz` or `.parquet`, with a header.
        wanted: names of columns; None reads all.

    Returns:
        Columns by name, at least one row each; rows are counted from 1 below the header.

    Raises:
        UnknownName: there is no such column.
        BadInput: the file is absent, of another kind, damaged, or has no row.
    """
    path = Path(path)
    known = header(path)
    for name in wanted or ():
        require_known("column", name, known)
    names = list(dict.fromkeys(wanted or known))
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, known, names)
    return read_delimited(path, known, names, "\t" if ".tsv" in path.name.lower() else ",", has_header=True)


def read_delimited(
    path: Path, columns: Sequence[str], wanted: Sequence[str], separator: str, *, has_header: bool
) -> dict[str, CodedColumn]:
    """Read columns of a text file, gzipped where its name ends in .gz.

    Args:
        path: the file. columns: names of all its columns, in order. wanted: those to read.
        separator: between cells. has_header: whether the first line is to be passed over.

    Raises:
        BadInput: the file is damaged, has a line of another length, or has no row.
    """
    pyarrow: Any = import_module("pyarrow")  # without types
    reader: Any = import_module("pyarrow.csv")
    coded = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    try:
        table = reader.read_csv(
            str(path),
            read_options=reader.ReadOptions(column_names=list(columns), skip_rows=int(has_header)),
            parse_options=reader.ParseOptions(delimiter=separator, newlines_in_values=has_header),
            convert_options=reader.ConvertOptions(
                column_types=dict.fromkeys(wanted, coded),
                include_columns=list(wanted),
                strings_can_be_null=False,
            ),
        )
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return {name: _coded(path, name, table.column(name)) for name in wanted}


def _read_parquet(path: Path, known: Sequence[str], wanted: Sequence[str]) -> dict[str, CodedColumn]:
    pyarrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            written = dict(zip(known, file.schema_arrow.names, strict=True))
            table = file.read(columns=[written[name] for name in wanted])
        texts = {name: table.column(written[name]).cast(pyarrow.string()).fill_null("") for name in wanted}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return {name: _coded(path, name, text.dictionary_encode()) for name, text in texts.items()}


def _coded(path: Path, name: str, column: Any) -> CodedColumn:
    if not len(column):
        raise BadInput("FILE", path.name, "must have at least one row", "Fill the table.")
    whole = column.unify_dictionaries().combine_chunks()
    codes = np.asarray(whole.indices, np.int32)
    words = [word.strip() for word in whole.dictionary.to_pylist()]
    distinct = {word: code for code, word in enumerate(dict.fromkeys(words))}
    if len(distinct) < len(words):  # some differ by blanks alone
        codes = np.array([distinct[word] for word in words], np.int32)[codes]
    return CodedColumn(name, codes, tuple(distinct))


def _unreadable(path: Path, error: Exception) -> BadInput:
    said = " ".join(str(error).split()).rstrip(".")[:160]
    remedy = "Export it again: UTF-8, as many cells in each line as in the first."
    return BadInput("FILE", path.name, f"could not be read: {said}", remedy)
