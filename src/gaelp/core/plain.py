"""Values as JSON knows them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def as_json(data: Any, indent: int | None = None) -> str:
    """A value as JSON; undefined numbers (NaN, infinite) become null.

    >>> as_json({"cac_usd": float("nan"), "clicks": np.int64(3)})
    '{"cac_usd": null, "clicks": 3}'
    """
    return json.dumps(plain(data), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """`value` in JSON's own types: NumPy's as Python's, undefined numbers as None, paths and keys as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
