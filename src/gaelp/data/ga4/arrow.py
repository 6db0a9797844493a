"""Apache Arrow, which carries no types, in one place."""

from importlib import import_module
from typing import Any, Final

pa: Final[Any] = import_module("pyarrow")
pc: Final[Any] = import_module("pyarrow.compute")
pa_csv: Final[Any] = import_module("pyarrow.csv")
pa_json: Final[Any] = import_module("pyarrow.json")
pq: Final[Any] = import_module("pyarrow.parquet")

Table = Any
"""A `pyarrow.Table`."""
Array = Any
"""A `pyarrow.Array` or `ChunkedArray`."""


def whole(array: Array) -> Array:
    """One piece instead of many."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
