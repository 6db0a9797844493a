"""Criteo's display advertising format: a label, 13 integers and 26 hashed categories a row.

As published (Kaggle, Display Advertising Challenge, 2014; Criteo 1TB click logs) the file has no header, tabs
between cells, and mostly is gzipped. Copies with a header `Id,Label,I1..I13,C1..C26`, with commas, and with
integers that a table library turned into `260.0` are about, too. Any integer or category may be empty;
rows are in the order of time.
"""

import csv
import gzip
import zlib
from pathlib import Path

from gaelp.core.errors import BadInput
from gaelp.data.tables import CodedColumn, read_delimited

LABEL = "Label"
INTEGERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
_FEATURES = (*INTEGERS, *CATEGORIES)


def read_criteo(path: Path | str) -> dict[str, CodedColumn]:
    """Read a file of Criteo's format, with a header or without.

    Args:
        path: text with tabs or commas, gzipped where the name ends in .gz.

    Returns:
        `Label` (where the file has labels), `I1` to `I13` and `C1` to `C26`, in the order of rows.

    Raises:
        BadInput: the file is absent, damaged or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput("FILE", str(path), "must be a file that exists", "Check the path.")
    first, separator = _first_line(path)
    has_header = set(_FEATURES) <= set(first)
    if has_header:
        columns = first
    elif len(first) == 1 + len(_FEATURES):
        columns = [LABEL, *_FEATURES]
    elif len(first) == len(_FEATURES):
        columns = list(_FEATURES)
    else:
        allowed = (
            f"must have 40 cells a line (39 without labels), not {len(first)}, or a header with I1 to C26"
        )
        raise BadInput("FILE", path.name, allowed, "Read other tables with --format table.")
    wanted = [name for name in (LABEL, *_FEATURES) if name in columns]
    return read_delimited(path, columns, wanted, separator, has_header=has_header)


def _first_line(path: Path) -> tuple[list[str], str]:
    """The cells of the first line, and what stands between them."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            line = file.readline(1_000_000).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        remedy = "Export it again, as UTF-8 text, gzipped where it ends in .gz."
        raise BadInput("FILE", path.name, f"could not be read: {error}", remedy) from None
    if not line.strip():
        raise BadInput("FILE", path.name, "must have at least one row", "Check that it was written whole.")
    separator = "\t" if "\t" in line else ","
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))], separator
