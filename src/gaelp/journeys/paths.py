"""Tables of paths: one line per path such as "social > search", with how many took it and converted."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.journeys.columns import Cells, find_column, header, numbers, read_columns, require, texts
from gaelp.journeys.table import MOST_COUNTED, MOST_USD, Codes, Ints, JourneyTable, micros

PATH_COLUMNS = ("path", "paths", "journey", "channels")
_CONVERSIONS = ("conversions", "total_conversions", "total_conv", "conv")
_VALUE = ("value", "total_conversion_value", "conversion_value", "total_value", "revenue")
_NULLS = ("nulls", "null", "total_null", "total_nulls", "null_conversions")


@dataclass(frozen=True, kw_only=True)
class PathColumns:
    """Which column holds what; None looks for the usual names.

    Attributes:
        path: channels, oldest first.
        conversions: journeys of that path that converted.
        value: USD of these conversions together; a file may lack it.
        nulls: journeys of that path that did not convert; a file may lack it.
        separator: between two channels; blanks around it are left out.
    """

    path: str | None = None
    conversions: str | None = None
    value: str | None = None
    nulls: str | None = None
    separator: str = ">"


def read_path_table(path: Path, columns: PathColumns | None = None) -> JourneyTable:
    """Read a table of paths.

    An empty path is a journey without touches. Lines with equal paths stay apart. A table of paths has no
    times, so models that need them refuse it.

    Args:
        path: .csv, .csv.gz, .tsv, .tsv.gz or .parquet with a header.
        columns: which column holds what.

    Raises:
        BadInput: a column is unknown or missing, a cell is not what it should be, or a channel has no name.
    """
    asked = columns or PathColumns()
    there = header(path)
    names = {
        "path": find_column(there, "the path", asked.path, PATH_COLUMNS),
        "conversions": find_column(there, "conversions", asked.conversions, _CONVERSIONS),
        "value": find_column(there, "value", asked.value, _VALUE, required=False),
        "nulls": find_column(there, "null conversions", asked.nulls, _NULLS, required=False),
    }
    separator = asked.separator.strip() or asked.separator
    if not separator:
        raise BadInput("separator", asked.separator, "must not be empty", "Give one like '>'.")
    cells = read_columns(path, [name for name in names.values() if name is not None])
    column = {what: (name, cells[name]) for what, name in names.items() if name is not None}
    offsets, codes, channels = _encode(*column["path"], separator)
    conversions = _counts(*column["conversions"])
    usd = np.zeros(conversions.size)
    if "value" in column:
        usd = numbers(*column["value"], 0.0, MOST_USD)
        require(*column["value"], (usd == 0) | (conversions > 0), "must be 0 on a row without conversions")
    return JourneyTable(
        channels=channels,
        offsets=offsets,
        channel=codes,
        conversions=conversions,
        nulls=_counts(*column["nulls"]) if "nulls" in column else np.zeros_like(conversions),
        value_usd_micros=micros("value", usd),
    )


def _counts(name: str, cells: Cells) -> Ints:
    counts = numbers(name, cells, 0.0)
    whole = (counts == np.rint(counts)) & (counts < MOST_COUNTED)
    require(name, cells, whole, "must be whole numbers below 2^53")
    return counts.astype(np.int64)


def _encode(name: str, cells: Cells, separator: str) -> tuple[Ints, Codes, tuple[str, ...]]:
    """Offsets, codes and the channels' names in alphabetical order."""
    split = [path.split(separator) if path else [] for path in texts(name, cells, empty=True)]
    offsets = np.zeros(len(split) + 1, np.int64)
    np.cumsum([len(path) for path in split], out=offsets[1:])
    raw = list(itertools.chain.from_iterable(split))
    spellings = {spelling: spelling.strip() for spelling in set(raw)}  # blanks around a name vary
    if "" in spellings.values():
        named = np.array([all(each.strip() for each in path) for path in split])
        require(name, cells, named, f"must have a name between each two {separator!r}", "Name that channel.")
    channels = tuple(sorted(set(spellings.values())))
    code = {channel: i for i, channel in enumerate(channels)}
    codes = {spelling: code[channel] for spelling, channel in spellings.items()}
    return offsets, np.fromiter((codes[each] for each in raw), np.int32, len(raw)), channels
