"""A smooth stand-in for a function that is dear to ask: linear and square terms with a common prior.

    y(u) = b0 + sum_j (b_j u_j + c_j (u_j^2 - 1/3)) + noise,    u_j from -1 to 1

Terms are scaled to unit variance over the box and share one prior variance, found with the noise by the
evidence. No products of two levers: with forty levers there are 780 of them.

Source: MacKay, "Bayesian interpolation", Neural Computation, 1992; Chapelle, Li, "An empirical evaluation of
Thompson sampling", NIPS 2011.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import t as student

Floats = NDArray[np.float64]

_LINEAR_SD, _SQUARE_SD = np.sqrt(1 / 3), np.sqrt(4 / 45)
"""Standard deviations of u and of u^2 - 1/3 for u uniform on -1 to 1."""


@dataclass(frozen=True, eq=False)
class Surrogate:
    """What is known after some answers.

    Attributes:
        coefficients: (2 n_levers,) posterior means of the scaled terms: all linear ones, then all squares.
        root: (2 n_levers, 2 n_levers) square root of their covariance. intercept: mean over the box.
    """

    coefficients: Floats
    root: Floats
    intercept: float

    def at(self, points: Floats) -> Floats:
        """(n,) expected answers at (n, n_levers) points."""
        answers: Floats = self.intercept + _terms(points) @ self.coefficients
        return answers

    def gains(self, points: Floats) -> Floats:
        """(n, n_levers) what each lever adds at (n, n_levers) points, against leaving it alone."""
        parts = (_terms(points) - _terms(np.zeros((1, points.shape[1])))) * self.coefficients
        n = points.shape[1]
        gained: Floats = parts[:, :n] + parts[:, n:]
        return gained

    def least(self) -> Floats:
        """(n_levers,) where the expected answer is smallest in the box."""
        return _least(self.coefficients)

    def draw_least(self, generator: np.random.Generator) -> Floats:
        """(n_levers,) where one function drawn from what is known is smallest: Thompson sampling."""
        return _least(self.coefficients + self.root @ generator.standard_normal(self.coefficients.size))


def fit(points: Floats, answers: Floats) -> Surrogate:
    """Learn from answers.

    Args:
        points: (n, n_levers) from -1 to 1. answers: (n,).

    >>> u = np.random.default_rng(0).uniform(-1, 1, (60, 3))
    >>> known = fit(u, 5.0 + u @ [1.0, -2.0, 0.0] + 3.0 * u[:, 2] ** 2)
    >>> known.least().round(2).tolist(), known.at(np.array([[0.5, 0.5, 0.0]])).round(1).tolist()
    ([-1.0, 1.0, 0.0], [4.5])
    """
    terms = _terms(points)
    middle = terms.mean(axis=0)
    left, size, right = np.linalg.svd(terms - middle, full_matrices=False)
    centred = answers - answers.mean()
    along = left.T @ centred
    rest = max(float(centred @ centred - along @ along), 0.0)
    n = max(len(answers) - 1, 1)

    def misfit(log_ratio: float) -> float:
        """Twice the negative log evidence with the best noise, up to a constant."""
        spread = 1.0 + size**2 / np.exp(log_ratio)
        noise = (float((along**2 / spread).sum()) + rest) / n
        return float(n * np.log(noise + 1e-300) + np.log(spread).sum())

    ratio = float(np.exp(minimize_scalar(misfit, bounds=(-12.0, 12.0), method="bounded").x))
    coefficients = right.T @ (size / (size**2 + ratio) * along)
    noise = (float((along**2 / (1.0 + size**2 / ratio)).sum()) + rest) / n
    precision = right.T @ (size[:, None] ** 2 * right) + ratio * np.eye(terms.shape[1])
    root = np.sqrt(noise) * np.linalg.cholesky(np.linalg.inv(precision))
    return Surrogate(coefficients, root, float(answers.mean() - middle @ coefficients))


@dataclass(frozen=True)
class Effect:
    """What one step of a lever changes, all others free: least squares, with Student's interval.

    Attributes:
        mean, low, high: per step. clear: nonzero also where all levers are asked at once (Bonferroni, 5 %).
    """

    mean: float
    low: float
    high: float
    clear: bool


def effects(points: Floats, answers: Floats, reach: float, level: float = 0.95) -> list[Effect]:
    """Linear effects of all levers by least squares.

    Args:
        points: (n, n_levers) spread evenly over the box; n must be above n_levers + 1. answers: (n,).
        reach: steps from the middle of the box to its edge. level: coverage of each interval.
    """
    n, n_levers = points.shape
    design = np.column_stack([np.ones(n), points])
    found, *_ = np.linalg.lstsq(design, answers, rcond=None)
    left = answers - design @ found
    freedom = n - n_levers - 1
    error = np.sqrt(left @ left / freedom * np.diag(np.linalg.inv(design.T @ design)))
    half = student.ppf(0.5 + level / 2, freedom) * error
    certain = student.ppf(1.0 - 0.025 / n_levers, freedom) * error
    return [
        Effect(float(b / reach), float((b - h) / reach), float((b + h) / reach), bool(abs(b) > c))
        for b, h, c in zip(found[1:], half[1:], certain[1:], strict=True)
    ]


def _terms(points: Floats) -> Floats:
    """(n, 2 n_levers) scaled linear terms and squares."""
    return np.concatenate([points / _LINEAR_SD, (points**2 - 1 / 3) / _SQUARE_SD], axis=1)


def _least(coefficients: Floats) -> Floats:
    """(n_levers,) the smallest point of a separable square function on the box."""
    slope, bend = (
        part / sd for part, sd in zip(np.split(coefficients, 2), (_LINEAR_SD, _SQUARE_SD), strict=True)
    )
    inside = np.clip(-slope / (2.0 * np.where(bend > 0.0, bend, 1.0)), -1.0, 1.0)
    edge = np.where(slope > 0.0, -1.0, 1.0)
    point: Floats = np.where(bend > 0.0, inside, edge)
    return point
