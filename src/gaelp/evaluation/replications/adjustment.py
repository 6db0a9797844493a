"""What the exposed would have bought without an ad, estimated from the unexposed: raw and adjusted.

With exposure d, sales y and what is known beforehand x, the counterfactual sales of the exposed are

    raw       B = n_exposed x mean of y among the unexposed
    adjusted  B = sum over exposed of m(x) + sum over unexposed of w (y - m(x)),   w ~ e(x) / (1 - e(x))

with m the outcome fitted to the unexposed, e the chance of exposure, and w scaled to add up to n_exposed:
right if m or e is (doubly robust), and if x holds all that moves both. Lift is sum(y of exposed) / B - 1.

Source: the score of the effect on the treated in Chernozhukov et al., "Double/debiased machine learning for
treatment and structural parameters", Econometrics Journal 21(1), 2018, section 5.1, which Gordon, Moakler and
Zettelmeyer use; here with logistic and linear regressions of few columns, so without splitting the sample.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]

RIDGE = 1.0
"""Penalty on coefficients of standardised columns, in observations: quiets columns that hardly vary."""
MOST_LIKELY = 0.98
"""Chances of exposure are held under it: one unexposed person stands for fifty exposed at most."""
_STEPS, _ENOUGH = 50, 1e-9


def raw_baseline(exposed: NDArray[np.bool_], sales: Floats, weight: Floats) -> float:
    """Sales that the exposed would have made at the rate of the unexposed.

    Args:
        exposed: (n,). sales: (n,). weight: (n,) how often each counts.

    Returns:
        NaN where nobody is unexposed: there is nobody to compare with.

    >>> raw_baseline(np.array([True, True, False, False]), np.array([1.0, 1, 0, 1]), np.ones(4))
    1.0
    """
    others = weight[~exposed]
    if not others.sum() > 0:
        return 0.0 if not weight[exposed].sum() > 0 else np.nan
    return float(weight[exposed].sum() * (others @ sales[~exposed]) / others.sum())


def adjusted_baseline(known: Floats, exposed: NDArray[np.bool_], sales: Floats, weight: Floats) -> float:
    """Sales that the exposed would have made, from the unexposed who look like them; see the module.

    Args:
        known: (n, k) columns known before anybody was exposed. exposed: (n,). sales: (n,).
        weight: (n,) how often each counts.

    Returns:
        As `raw_baseline`, where nobody or everybody is exposed.
    """
    if not (weight[exposed].sum() > 0 and weight[~exposed].sum() > 0):
        return raw_baseline(exposed, sales, weight)
    columns = standardised(known, weight)
    chance = np.minimum(expit(columns @ logistic(columns, exposed.astype(float), weight)), MOST_LIKELY)
    others = ~exposed
    outcome = columns @ least_squares(columns[others], sales[others], weight[others])
    odds = weight[others] * chance[others] / (1.0 - chance[others])
    left = odds @ (sales - outcome)[others] / odds.sum()
    return float(weight[exposed] @ outcome[exposed] + weight[exposed].sum() * left)


def standardised(known: Floats, weight: Floats) -> Floats:
    """Columns of mean 0 and deviation 1 after a column of ones; constant ones are left out."""
    centred = known - weight @ known / weight.sum()
    deviation = np.sqrt(weight @ centred**2 / weight.sum())
    kept = deviation > 1e-9
    return np.column_stack([np.ones(len(known)), centred[:, kept] / deviation[kept]])


def least_squares(columns: Floats, y: Floats, weight: Floats) -> Floats:
    """Coefficients of a weighted ridge regression; the first column, of ones, is not penalised."""
    square = columns.T @ (weight[:, None] * columns) + _penalty(columns)
    return np.asarray(np.linalg.solve(square, columns.T @ (weight * y)), np.float64)


def logistic(columns: Floats, y: Floats, weight: Floats) -> Floats:
    """Coefficients of a weighted, ridge-penalised logistic regression by Newton's method, steps halved.

    Args:
        columns: (n, k), the first of ones, which is not penalised. y: (n,) 0 or 1. weight: (n,).
    """
    penalty = _penalty(columns)
    theta = np.zeros(columns.shape[1])

    def loss(at: Floats) -> float:
        z = columns @ at
        return float(weight @ (np.logaddexp(0.0, z) - y * z) + 0.5 * at @ penalty @ at)

    now = loss(theta)
    for _ in range(_STEPS):
        chance = expit(columns @ theta)
        slope = columns.T @ (weight * (chance - y)) + penalty @ theta
        curve = columns.T @ ((weight * chance * (1.0 - chance))[:, None] * columns) + penalty
        curve[0, 0] += 1e-9  # a sample of one kind only has no curve left in its constant
        step = np.linalg.solve(curve, slope)
        while (new := loss(theta - step)) > now and np.abs(step).max() > _ENOUGH:
            step *= 0.5
        theta = theta - step
        if now - new < _ENOUGH * (1.0 + abs(now)):
            break
        now = new
    return theta


def _penalty(columns: Floats) -> Floats:
    diagonal = np.full(columns.shape[1], RIDGE)
    diagonal[0] = 0.0
    return np.diag(diagonal)
