"""Exact nearest neighbours by brute force."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.data.patterns.vectors import Vectors
from gaelp.journeys.batch import Ints

_ROUNDING: Final = 1e-4  # of quick squares: must not lose a neighbour


class Neighbours:
    """Finds rows near to given ones, by Euclid's distance; equally near ones by row.

    Quick distances, by the expansion of the square, find candidates; those are measured again by differences,
    which loses no digits, so equal vectors are at 0.

    Args:
        rows: (n, n_features).

    >>> index = Neighbours(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]], np.float32))
    >>> distance, row = index.as_near(np.zeros(2, np.float32), 2)
    >>> row.tolist(), distance.tolist()
    ([0, 2], [0.0, 1.0])
    """

    def __init__(self, rows: Vectors) -> None:
        self.rows = np.ascontiguousarray(rows, np.float32)
        self._squares = np.einsum("ij,ij->i", self.rows, self.rows)

    def as_near(
        self, asked: Vectors, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Vectors, Ints]:
        """The k nearest rows of one vector, (n_features,), and all that are as near as the last of them.

        Args:
            asked: the vector. k: how many, from 1 to the rows allowed.
            allowed: (n,) which rows count; None: all.

        Returns:
            (n_found,) distances, rising, and (n_found,) rows; n_found is at least k.

        Raises:
            BadInput: k is out of range, or the features differ in number.
        """
        quick = self._quick(asked)
        if allowed is not None:
            quick = np.where(allowed, quick, np.inf)
        _check(k, int(np.isfinite(quick).sum()))
        row = np.flatnonzero(quick <= np.partition(quick, k - 1)[k - 1] + 2 * _ROUNDING)
        exact = self._exact(asked, row)
        order = np.lexsort((row, exact))
        order = order[exact[order] <= exact[order[k - 1]]]
        return exact[order], row[order]

    def within(self, asked: Vectors, radius: float) -> Ints:
        """Rows at most so far from one vector, (n_features,).

        Raises:
            BadInput: the features differ in number.
        """
        quick = self._quick(asked)
        row = np.flatnonzero(quick <= radius * radius + _ROUNDING)
        return row[self._exact(asked, row) <= radius]

    def _quick(self, asked: Vectors) -> Vectors:
        """(n,) squares of distances, rounded."""
        if asked.shape != self.rows.shape[1:]:
            allowed = f"must be ({self.rows.shape[1]},)"
            raise BadInput("asked.shape", asked.shape, allowed, "Make the vector by `vectors`.")
        return np.asarray(self._squares + float(asked @ asked) - 2 * (self.rows @ asked))

    def _exact(self, asked: Vectors, row: Ints) -> Vectors:
        return np.asarray(np.sqrt(((self.rows[row] - asked) ** 2).sum(axis=1)), np.float32)


def _check(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise BadInput("k", k, f"must be from 1 to the patterns to look among, {n}", "Ask for fewer.")
