"""The likelihood of lags under right-censoring, and its slope, for every family that is fitted.

A click converts at all with the chance `p`. The lag of those who do is a mixture of `K` laws for which
`z = (log t - m_k) / s_k` follows a standard one: the smallest-extreme-value law (t is then Weibull with
scale `exp(m)` and shape `1 / s`) or the normal one (t is then lognormal). With `f` and `S` the mixture's
density and survival, a click contributes

    converted after t                 log p + log f(t)
    watched for t, not converted      log(1 - p + p S(t))

so that a young click says little and an old one much. Both `logit p` and `m` may depend on covariates.
With K = 1 and the exponential law this is Chapelle's delayed feedback model.

Source: Farewell, Biometrics 38 (1982), 1041-1046 (mixture cure model); Chapelle, KDD 2014, section 3;
Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data (2nd ed., 2002), section 2.2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_ndtr, log_softmax

Floats = NDArray[np.float64]
Curve = Callable[[Floats], Floats]


class Law(NamedTuple):
    """A standard law of z: log density and log survival, and the slope of each."""

    log_density: Curve
    density_slope: Curve
    log_survival: Curve
    survival_slope: Curve


_HALF_LOG_TWO_PI = 0.5 * np.log(2 * np.pi)
EXTREME_VALUE = Law(
    log_density=lambda z: z - np.exp(z),
    density_slope=lambda z: 1 - np.exp(z),
    log_survival=lambda z: -np.exp(z),
    survival_slope=lambda z: -np.exp(z),
)
NORMAL = Law(
    log_density=lambda z: -0.5 * z**2 - _HALF_LOG_TWO_PI,
    density_slope=lambda z: -z,
    log_survival=lambda z: log_ndtr(-z),
    survival_slope=lambda z: -np.exp(-0.5 * z**2 - _HALF_LOG_TWO_PI - log_ndtr(-z)),
)


@dataclass(frozen=True)
class Shape:
    """Which numbers a parameter vector holds, in this order.

    Attributes:
        law: of z.
        cure: whether some never convert; `logit p` then has `n_columns` coefficients, else p is 1.
        n_laws: K; K - 1 logits of their weights against the last follow.
        n_columns: of the design, the constant included; each law has as many coefficients of m, then log s.
    """

    law: Law
    cure: bool
    n_laws: int = 1
    n_columns: int = 1

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.n_columns * self.cure + self.n_laws - 1 + self.n_laws * (self.n_columns + 1)

    def location(self, law: int) -> slice:
        """Where the coefficients of m of one law stand; its log s is the next number."""
        start = self.n_columns * self.cure + self.n_laws - 1 + law * (self.n_columns + 1)
        return slice(start, start + self.n_columns)

    @property
    def weights(self) -> slice:
        """Where the logits of the weights stand."""
        start = self.n_columns * self.cure
        return slice(start, start + self.n_laws - 1)


class Sample(NamedTuple):
    """Rows as the likelihood wants them, equal rows put together.

    Attributes:
        log_time: (n,) log of the time to the conversion, or watched without one.
        weight: (n,) rows each one stands for.
        design: (n, n_columns) the constant first.
    """

    log_time: Floats
    weight: Floats
    design: Floats


def log_weights(shape: Shape, theta: Floats) -> Floats:
    """(K,) log shares of the laws."""
    logits: Floats = log_softmax(np.append(theta[shape.weights], 0.0))
    return logits


@np.errstate(over="ignore")  # long after the last conversion S is 0
def log_survival(shape: Shape, theta: Floats, log_time: Floats, design: Floats) -> Floats:
    """(n,) log share of those who convert at all that takes longer than t."""
    zs = [_z(shape, theta, k, log_time, design)[0] for k in range(shape.n_laws)]
    return _log_mix([shape.law.log_survival(z) for z in zs], log_weights(shape, theta))[1]


def chance(shape: Shape, theta: Floats, design: Floats) -> Floats:
    """(n,) chance p that a click converts at all."""
    return expit(design @ theta[: shape.n_columns]) if shape.cure else np.ones(len(design))


@np.errstate(divide="ignore", over="ignore", invalid="ignore")  # far steps of a search answer inf or NaN
def loss_and_slope(theta: Floats, shape: Shape, rows: tuple[Sample, Sample]) -> tuple[float, Floats]:
    """Minus the log-likelihood, and its slope by each number of `theta`, (size,).

    Args:
        theta: (size,) parameters.
        shape: what they are.
        rows: those that converted, and those that did not.
    """
    converted, still_open = rows
    a, slope_a = _converted(theta, shape, converted)
    b, slope_b = _open(theta, shape, still_open)
    return -(a + b), -(slope_a + slope_b)


def _converted(theta: Floats, shape: Shape, rows: Sample) -> tuple[float, Floats]:
    slope = np.zeros(shape.size)
    log_w = log_weights(shape, theta)
    zs = [_z(shape, theta, k, rows.log_time, rows.design) for k in range(shape.n_laws)]
    parts, log_f = _log_mix([shape.law.log_density(z) - np.log(s) for z, s in zs], log_w)
    for k, (z, s) in enumerate(zs):
        whose = rows.weight * np.exp(parts[k] - log_f)
        by_z = whose * shape.law.density_slope(z)
        where = shape.location(k)
        slope[where] = -_columns(by_z, rows.design) / s
        slope[where.stop] = -_dot(by_z, z) - whose.sum()
        if k < shape.n_laws - 1:
            slope[shape.weights.start + k] = whose.sum() - np.exp(log_w[k]) * rows.weight.sum()
    log_p: Floats | float = 0.0
    if shape.cure:
        eta = _linear(theta[: shape.n_columns], rows.design)
        log_p = log_expit(eta)
        slope[: shape.n_columns] = _columns(rows.weight * expit(-eta), rows.design)
    return _dot(rows.weight, log_p + log_f - rows.log_time), slope


def _open(theta: Floats, shape: Shape, rows: Sample) -> tuple[float, Floats]:
    slope = np.zeros(shape.size)
    log_w = log_weights(shape, theta)
    zs = [_z(shape, theta, k, rows.log_time, rows.design) for k in range(shape.n_laws)]
    parts, log_s = _log_mix([shape.law.log_survival(z) for z, _ in zs], log_w)
    log_l, log_p = log_s, np.zeros(())
    if shape.cure:
        eta = _linear(theta[: shape.n_columns], rows.design)
        log_p = log_expit(eta)
        never = np.expm1(log_s)  # S - 1
        log_l = np.log1p(expit(eta) * never)
        by_eta = rows.weight * np.exp(log_p + log_expit(-eta) - log_l) * never
        slope[: shape.n_columns] = _columns(by_eta, rows.design)
    for k, (z, s) in enumerate(zs):
        later = rows.weight * np.exp(log_p + parts[k] - log_l)  # will convert, and under this law
        by_z = later * shape.law.survival_slope(z)
        where = shape.location(k)
        slope[where] = -_columns(by_z, rows.design) / s
        slope[where.stop] = -_dot(by_z, z)
        if k < shape.n_laws - 1:
            at_all = rows.weight * np.exp(log_p + log_s - log_l)
            slope[shape.weights.start + k] = later.sum() - np.exp(log_w[k]) * at_all.sum()
    return _dot(rows.weight, log_l), slope


def _z(shape: Shape, theta: Floats, law: int, log_time: Floats, design: Floats) -> tuple[Floats, float]:
    where = shape.location(law)
    scale = float(np.exp(theta[where.stop]))
    return (log_time - _linear(theta[where], design)) / scale, scale


def _log_mix(logs: list[Floats], log_w: Floats) -> tuple[list[Floats], Floats]:
    """Logs of the laws' weighted parts, and of their sum."""
    if len(logs) == 1:
        return logs, logs[0]
    parts = [part + weight for part, weight in zip(logs, log_w, strict=True)]
    total: Floats = np.logaddexp.reduce(parts, axis=0)
    return parts, total


# Sums of products without BLAS: its threads wait for each other, ten times longer where a core is shared.


def _linear(coefficients: Floats, design: Floats) -> Floats:
    if coefficients.size == 1:
        return coefficients[0]  # the constant alone: one number does for all rows
    total: Floats = np.einsum("ij,j->i", design, coefficients)
    return total


def _columns(values: Floats, design: Floats) -> Floats:
    sums: Floats = np.einsum("i,ij->j", values, design)
    return sums


def _dot(a: Floats, b: Floats) -> float:
    return float(np.einsum("i,i", a, b))
