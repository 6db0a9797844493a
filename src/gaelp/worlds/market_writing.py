"""A market file that says only how it differs from another, which it extends."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.files import replacing
from gaelp.market.file import MarketFile, lineage, load
from gaelp.market.parameters import BY_NAME, axis_names

Floats = NDArray[np.float64]

_WIDEST = 3  # axes of a table within one line


def check_target(target: str | Path, base: MarketFile) -> None:
    """Refuse a place for a market file that is no `.toml`, or is one that the base needs.

    Raises:
        BadInput: as said; nothing was touched.
    """
    if Path(target).suffix != ".toml":
        raise BadInput("out", str(target), "must end in .toml", "Name the market file to make.")
    if Path(target).resolve() in lineage(base.path):
        allowed = f"must not be {base.path.name} or a file that it extends"
        raise BadInput("out", str(target), allowed, "Name another file.")


def write_market(
    path: Path,
    file: MarketFile,
    base: MarketFile,
    *,
    told: str,
    names: Collection[str],
    strength: str,
    source: str,
    facts: Mapping[str, str] | None = None,
    spread: Mapping[str, float] | None = None,
) -> None:
    """Write some parameters of a market, its response tables and what else is given; the rest is the base's.

    Args:
        path: file to make or replace. file: the market. base: the market file it came from.
        told: where it came from, for the head of the file.
        names: parameters to write. strength, source: of their values.
        facts: entries of `[market]`, as TOML. spread: of its worlds; None: the base's.

    Raises:
        BadInput: as `check_target`.
        MarketFileError: what was written cannot be read; whatever stood at `path` still does.
    """
    check_target(path, base)
    parent = os.path.relpath(base.path.resolve(), path.parent.resolve())
    lines = [f"# {line}" for line in told.splitlines()]
    lines += [f"extends = {json.dumps(Path(parent).as_posix(), ensure_ascii=False)}"]
    if facts:
        lines += ["", "[market]", *(f"{name} = {fact}" for name, fact in facts.items())]
    for name in names:
        value = file.parameters[name].value
        axes = [axis_names(axis, file.segments) for axis in BY_NAME[name].axes]
        lines += ["", f"[parameters.{name}]", f"value = {_toml(value, axes, '.8g')}"]
        lines += [f'strength = "{strength}"', f'source = "{source}"']
    for kind, response in file.response.items():
        axes = [axis_names(axis, file.segments) for axis in response.over]
        over = ", ".join(f'"{axis}"' for axis in response.over)
        lines += ["", f"[response.{kind}]", f"over = [{over}]"]
        lines += _tables(f"response.{kind}.value", response.value, axes)
    if spread is not None:
        lines += ["", "[spread]", *(f"{name} = {sigma:.4g}" for name, sigma in spread.items())]
    with replacing(path) as neighbour:
        neighbour.write_text("\n".join(lines) + "\n", encoding="utf-8")
        load(neighbour)


def _tables(name: str, value: Floats, axes: list[tuple[str, ...]]) -> list[str]:
    """One table of TOML, or several where it would not fit on a line for each of its first axis."""
    if len(axes) > _WIDEST + 1:
        pairs = zip(axes[0], value, strict=True)
        return [line for word, cell in pairs for line in _tables(f"{name}.{word}", cell, axes[1:])]
    rows = zip(axes[0], value, strict=True)
    return ["", f"[{name}]", *(f"{word} = {_toml(cell, axes[1:], '.4g')}" for word, cell in rows)]


def _toml(value: Floats, axes: list[tuple[str, ...]], digits: str) -> str:
    if not axes:
        return f"{float(value):{digits}}" if value % 1 else f"{float(value):.1f}"
    cells = (f"{name} = {_toml(cell, axes[1:], digits)}" for name, cell in zip(axes[0], value, strict=True))
    return f"{{ {', '.join(cells)} }}"
