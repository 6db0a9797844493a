"""Whether what comes in, or how wrong predictions are, is no longer what it was.

Drift is a hint where to look, and no reason to retrain by itself: features may drift while predictions stay
right, which `triggers` would see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from gaelp.core.errors import BadInput
from gaelp.prediction.metrics import Floats

_CLOCK, _GRACE, _SHORTEST, _ROW = 32, 10, 5, 5


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Of one feature.

    Attributes:
        psi: population stability index.
        floor: what it would be by luck alone, were nothing changed. limit: what luck passes once in 1000.
        bins: that it was measured in.
    """

    psi: float
    floor: float
    limit: float
    bins: int

    @property
    def drifted(self) -> bool:
        """Whether it is beyond luck and above 0.1, by custom a moderate change (0.25: a large one)."""
        return self.psi > max(self.limit, 0.1)


def stability(before: ArrayLike, after: ArrayLike, *, bins: int = 10) -> Stability:
    """Population stability index of a feature: sum of (a - b) ln(a / b) over the shares of its bins.

    Numbers are binned at the quantiles of `before`, with a bin for missing ones (NaN); words each have a bin.
    Half a row is added to each bin, so that an empty one is not infinitely far. Were nothing changed, PSI
    would be about (1/n + 1/m) times chi-square with a degree of freedom less than bins (Yurdakul, Statistical
    Properties of Population Stability Index, 2018); `floor` and `limit` are its mean and 99.9th percentile.

    Args:
        before: (n,) numbers or words, such as of the rows trained on. after: (m,) of the rows served.
        bins: of numbers, at most.

    Raises:
        BadInput: one of the two is empty.

    >>> same = stability(["a", "b"] * 500, ["a", "b"] * 500)
    >>> changed = stability(["a", "b"] * 500, ["a"] * 900 + ["b"] * 100)
    >>> same.psi, round(changed.psi, 2), changed.drifted
    (0.0, 0.88, True)
    """
    first, second = np.asarray(before), np.asarray(after)
    for name, rows in (("before", first), ("after", second)):
        if rows.size == 0:
            raise BadInput(name, "nothing", "must hold rows", "Give the rows trained on, and those served.")
    if first.dtype.kind in "iufb":
        codes = _binned(first.astype(float), second.astype(float), bins)
    else:
        codes = np.unique(np.concatenate([first.astype(str), second.astype(str)]), return_inverse=True)[1]
    used, codes = np.unique(codes, return_inverse=True)
    counts = [
        np.bincount(part, minlength=used.size) + 0.5 for part in (codes[: first.size], codes[first.size :])
    ]
    b, a = (each / each.sum() for each in counts)
    luck = 1 / first.size + 1 / second.size
    return Stability(
        psi=float(((a - b) * np.log(a / b)).sum()),
        floor=(used.size - 1) * luck,
        limit=float(chi2.isf(0.001, max(used.size - 1, 1))) * luck,
        bins=int(used.size),
    )


def feature_drift(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Stability]:
    """`stability` of each feature, the least stable first.

    Args:
        before, after: rows by the same feature names.

    Raises:
        BadInput: names differ, or there are no rows.
    """
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())
        raise BadInput("features", odd, "must be the same before and after", "Compare the same table.")
    found = {name: stability(before[name], after[name]) for name in before}
    return dict(sorted(found.items(), key=lambda each: -each[1].psi))


class Adwin:
    """ADWIN: a window over a stream that drops its older part when its mean is no longer that of the newer.

    Kept as an exponential histogram: at most five buckets of each size, the sizes powers of two, so memory
    and work grow with the logarithm of the window. Every 32 values each border between buckets is tried as a
    cut: the means of its two sides, n0 and n1 long, may differ by sqrt(2/m s² ln(2/d)) + 2/(3m) ln(2/d),
    where s² is the window's variance, 1/m = 1/n0 + 1/n1 and d = delta / ln n. Where they differ by more, the
    oldest bucket goes, until no border is a cut. Bifet and Gavaldà, Learning from Time-Changing Data with
    Adaptive Windowing, SDM 2007; for values of a range of about 1, such as clicks or the gap between click
    and prediction.

    Args:
        delta: the smaller, the fewer false alarms.

    Raises:
        BadInput: delta is no probability.

    >>> watch = Adwin()
    >>> [i for i in range(2000) if watch.update(float(i >= 1000))][0], watch.mean > 0.9
    (1023, True)
    """

    def __init__(self, delta: float = 0.002) -> None:
        if not 0 < delta < 1:
            raise BadInput("delta", delta, "must be above 0 and below 1", "0.002 is usual.")
        self.delta = delta
        self._rows: list[list[tuple[float, float]]] = [[]]  # by size 2^row, oldest first: sum, sum of squares
        self._seen = 0

    @property
    def width(self) -> int:
        """Values in the window."""
        return sum(len(row) << size for size, row in enumerate(self._rows))

    @property
    def mean(self) -> float:
        """Of the window; 0 where it is empty."""
        return sum(total for row in self._rows for total, _ in row) / max(self.width, 1)

    def update(self, value: float) -> bool:
        """Add a value; returns whether the window was cut.

        Raises:
            BadInput: the value is not finite.
        """
        if not np.isfinite(value):
            raise BadInput("value", value, "must be finite", "Leave out what is not known.")
        self._rows[0].append((value, value * value))
        self._seen += 1
        for size, row in enumerate(self._rows):
            if len(row) <= _ROW:
                break
            if size + 1 == len(self._rows):
                self._rows.append([])
            (sum_0, square_0), (sum_1, square_1) = row[:2]
            self._rows[size + 1].append((sum_0 + sum_1, square_0 + square_1))
            del row[:2]
        was_cut = False
        if self._seen % _CLOCK == 0:
            while self._has_cut():
                was_cut = True
                self._drop_oldest()
        return was_cut

    def _has_cut(self) -> bool:
        sizes, sums, squares = self._oldest_first()
        n = int(sizes.sum())
        if n <= _GRACE:
            return False
        variance = max(float(squares.sum()) / n - (float(sums.sum()) / n) ** 2, 0.0)
        n_0, total = np.cumsum(sizes)[:-1], np.cumsum(sums)[:-1]
        n_1, rest = n - n_0, float(sums.sum()) - total
        long = (n_0 >= _SHORTEST) & (n_1 >= _SHORTEST)
        n_0, n_1, total, rest = n_0[long], n_1[long], total[long], rest[long]
        inverse = 1 / n_0 + 1 / n_1
        surprise = np.log(2 * np.log(n) / self.delta)
        allowed = np.sqrt(2 * inverse * variance * surprise) + 2 / 3 * inverse * surprise
        return bool((np.abs(total / n_0 - rest / n_1) > allowed).any())

    def _oldest_first(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        flat = [
            (1 << size, *bucket) for size in reversed(range(len(self._rows))) for bucket in self._rows[size]
        ]
        sizes, sums, squares = zip(*flat, strict=True)
        return np.array(sizes), np.array(sums), np.array(squares)

    def _drop_oldest(self) -> None:
        self._rows[-1].pop(0)
        while len(self._rows) > 1 and not self._rows[-1]:
            self._rows.pop()


def _binned(first: Floats, second: Floats, bins: int) -> NDArray[np.int64]:
    known = first[~np.isnan(first)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if known.size else np.zeros(0)
    both = np.concatenate([first, second])
    return np.where(np.isnan(both), edges.size + 1, np.searchsorted(edges, both, side="left"))
