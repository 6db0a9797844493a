"""The top of the likelihood: where to start, how to climb, how sharp it is there."""

import numpy as np

from gaelp.measurement.lag.curve import Flags
from gaelp.measurement.lag.likelihood import Floats, Sample, Shape, loss_and_slope

Rows = tuple[Sample, Sample]
"""Those that converted, and those that did not."""

CERTAIN = 10.0
"""Logits beyond which a share counts as 0 or 1."""
_LOGIT_BOUNDS, _LOCATION_BOUND = (-25.0, 14.0), 40.0
# Of log s, for one law and for several: one of several, if narrower, would fit a single recorded day best.
_LOG_SCALE_BOUNDS = ((-4.0, 3.0), (-2.5, 3.0))
_MOST_STEPS, _LONGEST_STEP, _LEAST_GAIN, _BINS = 100, 2.0, 1e-12, 256
_SPLITS = (0.3, 0.5, 0.7)  # quantiles of seen lags at which two laws are told apart at first


def climb(shape: Shape, rows: Rows) -> tuple[Floats, float]:
    """The most likely parameters, (size,), and minus the log-likelihood there."""
    few = (_binned(rows[0]), _binned(rows[1]))
    near = min((_climb(start, shape, few) for start in _starts(shape, few)), key=lambda found: found[1])
    return _climb(near[0], shape, rows)


def rows_of(times: Floats, seen: Flags, design: Floats, centre: float) -> tuple[Sample, Sample]:
    """Converted and open clicks; an open click of age 0 says nothing and is left out."""
    parts = []
    for part in (seen, ~seen & (times > 0)):
        some, rows, weight = times[part], design[part], np.ones(int(part.sum()))
        if design.shape[1] == 1:  # equal times need to be looked at once only
            some, counts = np.unique(some, return_counts=True)
            rows, weight = np.ones((some.size, 1)), counts.astype(float)
        parts.append(Sample(np.log(some) - centre, weight, rows))
    return parts[0], parts[1]


def _binned(part: Sample) -> Sample:
    """Rows of the same weight in fewer places, near enough to find the right hill."""
    n = part.log_time.size
    if part.design.shape[1] > 1 or n <= _BINS:
        return part
    edges = np.linspace(0, n, _BINS + 1).astype(int)[:-1]  # times are sorted
    weight = np.add.reduceat(part.weight, edges)
    log_time = np.add.reduceat(part.weight * part.log_time, edges) / weight
    return Sample(log_time, weight, np.ones((_BINS, 1)))


def _starts(shape: Shape, rows: Rows) -> list[Floats]:
    (lags, weight, _), still_open = rows
    events, unseen = weight.sum(), still_open.weight.sum()
    spread = max(0.2, 0.8 * float(np.sqrt(np.average(lags**2, weights=weight))))
    if not shape.cure:
        watched = sum(float((part.weight * np.exp(part.log_time)).sum()) for part in rows)
        return [_start(shape, 0.0, [(float(np.log(watched / events)), spread)])]
    logit = float(np.log((events + 1) / (unseen + 1)))
    if shape.n_laws == 1:
        return [_start(shape, logit, [(0.2, spread)]), _start(shape, logit + 1.0, [(1.0, spread)])]
    parts = []
    for split in _SPLITS:
        at = np.quantile(lags, split, method="inverted_cdf", weights=weight)
        laws = []
        for part in (lags <= at, lags > at) if (lags > at).any() else (lags < at, lags >= at):
            mean = np.average(lags[part], weights=weight[part])
            deviation = np.sqrt(np.average((lags[part] - mean) ** 2, weights=weight[part]))
            laws.append((float(mean), max(0.2, 0.8 * float(deviation))))
        parts.append(_start(shape, logit, laws))
    return parts


def _start(shape: Shape, logit: float, laws: list[tuple[float, float]]) -> Floats:
    theta = np.zeros(shape.size)
    if shape.cure:
        theta[0] = logit
    for k, (location, scale) in enumerate(laws):
        where = shape.location(k)
        theta[where.start], theta[where.stop] = location, np.log(scale)
    return theta


def _climb(theta: Floats, shape: Shape, rows: Rows) -> tuple[Floats, float]:
    """The top near `theta`, and the loss there: Newton's steps, bent uphill where that is not round.

    SciPy's L-BFGS-B finds the same tops; on these three to eight numbers its own BLAS threads took four
    fifths of the time wherever a core was shared.
    """
    bounds = _bounds(shape)
    theta = np.clip(theta, *bounds.T)
    loss, slope = loss_and_slope(theta, shape, rows)
    for _ in range(_MOST_STEPS):
        information = _information(theta, shape, rows)
        if not np.isfinite(information).all():
            break
        bend, axes = np.linalg.eigh(information)
        bend = np.abs(bend)
        step = axes @ ((axes.T @ slope) / np.maximum(bend, 1e-8 * bend.max()))
        step *= min(1.0, _LONGEST_STEP / max(np.abs(step).max(), 1e-300))
        for halving in range(20):
            tried = np.clip(theta - step / 2**halving, *bounds.T)
            further, further_slope = loss_and_slope(tried, shape, rows)
            if further <= loss - 1e-4 * slope @ (theta - tried):
                break
        else:
            break
        gain, theta, loss, slope = loss - further, tried, further, further_slope
        if gain < _LEAST_GAIN * (1 + abs(loss)):
            break
    return theta, loss


def _bounds(shape: Shape) -> Floats:
    """(size, 2) lower and upper ends."""
    bounds = np.tile([-_LOCATION_BOUND, _LOCATION_BOUND], (shape.size, 1))
    bounds[: shape.n_columns * shape.cure] = _LOGIT_BOUNDS
    for k in range(shape.n_laws):
        bounds[shape.location(k).stop] = _LOG_SCALE_BOUNDS[shape.n_laws > 1]
    return bounds


def at_limit(theta: Floats, shape: Shape) -> bool:
    """Whether a law got as narrow or wide as any is let: the likelihood had no top inside."""
    scales = [shape.location(k).stop for k in range(shape.n_laws)]
    low, high = _bounds(shape)[scales].T
    return bool(((theta[scales] <= low + 1e-6) | (theta[scales] >= high - 1e-6)).any())


def _information(theta: Floats, shape: Shape, rows: Rows) -> Floats:
    """Second derivative of the loss, from central differences of its slope."""
    size, derivatives = theta.size, []
    for i in range(size):
        step = np.zeros(size)
        step[i] = 1e-5 * (1 + abs(theta[i]))
        above, below = (loss_and_slope(theta + sign * step, shape, rows)[1] for sign in (1, -1))
        derivatives.append((above - below) / (2 * step[i]))
    matrix = np.stack(derivatives)
    symmetric: Floats = (matrix + matrix.T) / 2
    return symmetric


def covariance(theta: Floats, shape: Shape, rows: Rows) -> Floats | None:
    """(size, size) inverse of the observed information; None where the likelihood has no top there."""
    information = _information(theta, shape, rows)
    if shape.cure and shape.n_columns == 1 and theta[0] > CERTAIN:
        known = np.zeros_like(information)  # everybody converts: the share has no error of that kind
        if not _positive(information[1:, 1:]):
            return None
        known[1:, 1:] = np.linalg.inv(information[1:, 1:])
        return known
    if not _positive(information):
        return None
    return np.asarray(np.linalg.inv(information), np.float64)


def _positive(matrix: Floats) -> bool:
    if not np.isfinite(matrix).all():
        return False
    values = np.linalg.eigvalsh(matrix)
    return bool(values[0] > 1e-9 * max(values[-1], 1.0))
