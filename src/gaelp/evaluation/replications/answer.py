"""What a replication answers: a table with intervals, sentences, a figure, what differs from the paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gaelp.evaluation.intervals import Interval, ratio_of_sums_interval
from gaelp.evaluation.leaderboard import format_interval
from gaelp.evaluation.report_charts import Figure

Cell = Interval | str
"""A figure with its interval, or words."""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        key: its name in JSON, whose ending says the unit: `_usd`, `_share` (of one), `_points` (hundredths),
            `_people`, anything else a count or a ratio.
        name: in words. cells: by column; a column that is missing is left empty.
    """

    key: str
    name: str
    cells: Mapping[str, Cell]

    def written(self, column: str, separator: str = " ") -> str:
        """A cell as people read it."""
        cell = self.cells.get(column, "")
        return cell if isinstance(cell, str) else written(cell, self.key, separator)


@dataclass(frozen=True)
class Answer:
    """A finding, replicated.

    Attributes:
        title: of the replication. paper: where the finding is from. claim: what the paper found.
        columns: of the table, without the first. rows: of the table.
        found: what the simulated worlds say. differs: from the paper, and why.
        figure: of the page. caption: what it shows.
    """

    title: str
    paper: str
    claim: str
    columns: Sequence[str]
    rows: Sequence[Row]
    found: Sequence[str]
    differs: Sequence[str]
    figure: Figure = field(repr=False)
    caption: str

    def as_dict(self) -> dict[str, Any]:
        """JSON, without the figure."""
        return {
            "title": self.title,
            "paper": self.paper,
            "claim": self.claim,
            "figures": {
                row.key: {
                    column: cell if isinstance(cell, str) else cell.as_dict()
                    for column, cell in row.cells.items()
                }
                for row in self.rows
            },
            "found": list(self.found),
            "differs": list(self.differs),
        }


def rows_of(words: Mapping[str, str], columns: Mapping[str, Mapping[str, Cell]]) -> list[Row]:
    """Rows of a table.

    Args:
        words: of each row by its key, from the top. columns: cells by column, by row's key where it has one.
    """
    return [
        Row(key, name, {column: cells[key] for column, cells in columns.items() if key in cells})
        for key, name in words.items()
    ]


def written(interval: Interval, key: str, separator: str = " ") -> str:
    """A figure with its interval in the unit that its key ends with.

    >>> written(Interval(0.934, 0.9, 0.95), "clicks_back_share")
    '93.4 % [90.0, 95.0]'
    >>> written(Interval(12_345_678.0, 9_876_543.0, None), "needed_people")
    '12.3 M [9.88 M, ∞)'
    """
    values = interval.as_dict()
    if key.endswith("_ratio"):
        return format_interval(values, "roas", separator)  # two decimals
    if not key.endswith("_people"):
        return format_interval(values, key, separator)
    mean, low, high = (None if value is None else _people(value) for value in values.values())
    if mean is None or (low is None and high is None):
        return mean or "n/a"
    return f"{mean}{separator}{f'[{low}' if low else '(-∞'}, {f'{high}]' if high else '∞)'}"


def share_not(part: ArrayLike, whole: ArrayLike, seed: int) -> Interval:
    """BCa interval of 1 - sum(part) / sum(whole) over worlds, (n_worlds,) each."""
    whole = np.asarray(whole, dtype=np.float64)
    return ratio_of_sums_interval(whole - np.asarray(part), whole, seed=seed)


def scaled(interval: Interval, factor: float) -> Interval:
    """An interval in another unit; a negative factor is not meant."""
    return Interval(*(None if v is None else factor * v for v in interval.as_dict().values()))


def ends(interval: Interval, key: str) -> str:
    """A figure and its interval for a sentence: `12 % (10 to 14)`."""
    text = written(interval, key)
    mean, bracket, rest = text.partition(" [")
    if not bracket:
        mean, bracket, rest = text.partition(" (-∞")
        rest = f"no bound{rest}" if bracket else ""
    if not rest:
        return text
    low, _, high = rest.rstrip(")]").rpartition(", ")
    return f"{mean} ({low} to {high.replace('∞', 'no bound')})"


def paragraphs(text: str, **figures: object) -> list[str]:
    r"""Sentences of a text, each on one line, with figures put in.

    Args:
        text: one paragraph or more, an empty line between them. figures: by the names in its braces.

    >>> text = "Search causes {share}\nof it.\n\nDisplay causes none."
    >>> paragraphs(text, share="12 %")
    ['Search causes 12 % of it.', 'Display causes none.']
    """
    return [" ".join(part.split()).format(**figures) for part in text.strip().split("\n\n")]


def _people(count: float) -> str:
    """Three digits and k, M, bn or tn."""
    value = float(f"{count:.2e}")
    for unit, size in (("tn", 1e12), ("bn", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:,.4g} {unit}" if value < 1e15 else f"{value / size:,.0f} {unit}"
    return f"{value:,.0f}"
