"""How good predicted probabilities are: order, information and calibration, each with its uncertainty.

Sources: area under the curve with its standard error by DeLong, DeLong and Clarke-Pearson (Biometrics 44,
1988), computed from midranks as Sun and Xu do (IEEE Signal Processing Letters 21, 2014); normalised entropy
by He et al. (ADKDD 2014); calibration slope by Cox (Biometrika 45, 1958).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import rankdata

from gaelp.core.errors import BadInput

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEAST = 1e-7  # nothing is predicted nearer to 0 or 1
_BIN_ROWS, _FEWEST_BINS, _MOST_BINS = 2000, 5, 20
_STEPS, _CLOSE, _STEEPEST = 50, 1e-10, 1e3


class Difference(NamedTuple):
    """Of two predictions of the same rows, first less second, with the standard error of that.

    Attributes:
        auc, auc_se: area under the curve.
        normalised_entropy, normalised_entropy_se: the less, the better.
    """

    auc: float
    auc_se: float
    normalised_entropy: float
    normalised_entropy_se: float


def response_metrics(label: ArrayLike, predicted: ArrayLike) -> dict[str, Any]:
    """All figures about one set of predictions.

    Args:
        label: (n,) whether it happened.
        predicted: (n,) its predicted probability.

    Returns:
        `auc` and `auc_se` (DeLong); `logloss` in nats; `normalised_entropy`, logloss as a share of that of
        always predicting the base rate; `ece`, mean gap between predicted and seen in bins of equally many
        rows, and `ece_noise`, what it would be by luck alone if every prediction were right;
        `calibration_slope` and `calibration_intercept` of the regression of label on logit(predicted), with
        `calibration_slope_se`, all None where predictions do not differ or part the labels; `n`, `base_rate`,
        `mean_predicted`.

    Raises:
        BadInput: labels are all alike, or a prediction is no probability.

    >>> found = response_metrics([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> found["auc"], round(found["logloss"], 4), found["base_rate"]
    (0.75, 0.4723, 0.5)
    """
    seen, chance = _checked(label, predicted)
    base = float(seen.mean())
    area, variance = _areas(seen, chance[None])
    loss = float(_losses(seen, chance).mean())
    ece, noise = _calibration_error(seen, chance)
    slope, intercept, slope_se = calibration_line(seen, chance)
    return {
        "auc": float(area[0]),
        "auc_se": float(np.sqrt(variance[0, 0])),
        "logloss": loss,
        "normalised_entropy": loss / entropy(base),
        "ece": ece,
        "ece_noise": noise,
        "calibration_slope": slope,
        "calibration_slope_se": slope_se,
        "calibration_intercept": intercept,
        "n": int(seen.size),
        "base_rate": base,
        "mean_predicted": float(chance.mean()),
    }


def paired_difference(label: ArrayLike, first: ArrayLike, second: ArrayLike) -> Difference:
    """Compare two predictions of the same rows.

    Args:
        label: (n,) whether it happened. first, second: (n,) predicted probabilities.

    Raises:
        BadInput: as `response_metrics`.
    """
    seen, one = _checked(label, first)
    _, two = _checked(label, second)
    areas, covariance = _areas(seen, np.stack([one, two]))
    weights = np.array([1.0, -1.0])
    gap = (_losses(seen, one) - _losses(seen, two)) / entropy(float(seen.mean()))
    return Difference(
        float(areas @ weights),
        float(np.sqrt(max(weights @ covariance @ weights, 0.0))),
        float(gap.mean()),
        float(gap.std(ddof=1) / np.sqrt(gap.size)),
    )


def calibration_line(
    seen: ArrayLike, chance: Floats, trials: ArrayLike = 1
) -> tuple[float | None, float | None, float | None]:
    """Slope, intercept and the slope's standard error of the logistic regression of label on logit(chance).

    Args:
        seen: (n,) labels, or events of each row's trials. chance: (n,) predicted probabilities.
        trials: (n,) of each row, or one for all.

    Returns:
        Slope and intercept are 1 and 0 where predictions are calibrated; None where no line is likeliest.
    """
    events, n = np.asarray(seen, np.float64), np.asarray(trials, np.float64)
    x = logit(np.clip(chance, LEAST, 1 - LEAST))
    if np.ptp(x) < 1e-9:
        return None, None, None
    design = np.stack([np.ones_like(x), x])  # (2, n)
    line = np.array([0.0, 1.0])
    for _ in range(_STEPS):
        now = expit(line @ design)
        information = (design * (n * now * (1 - now))) @ design.T
        try:
            step = np.linalg.solve(information, design @ (events - n * now))
        except np.linalg.LinAlgError:
            return None, None, None
        line = line + np.clip(step, -5.0, 5.0)
        if not np.isfinite(line).all() or np.abs(line).max() > _STEEPEST:
            return None, None, None
        if np.abs(step).max() < _CLOSE:
            return float(line[1]), float(line[0]), float(np.sqrt(np.linalg.inv(information)[1, 1]))
    return None, None, None


def entropy(rate: float) -> float:
    """Entropy in nats of an event of this rate, between 0 and 1."""
    return float(-(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)))


def _checked(label: ArrayLike, predicted: ArrayLike) -> tuple[Bools, Floats]:
    seen, chance = np.asarray(label).astype(bool), np.asarray(predicted, np.float64)
    if seen.shape != chance.shape or seen.ndim != 1:
        raise BadInput(
            "predicted", chance.shape, f"must have the labels' shape {seen.shape}", "Give one each."
        )
    if seen.all() or not seen.any():
        allowed = "must hold both 0 and 1"
        raise BadInput("label", f"{seen.size} times {int(seen.any())}", allowed, "Give more rows.")
    if not ((chance >= 0) & (chance <= 1)).all():
        worst = chance[~((chance >= 0) & (chance <= 1))][0]
        raise BadInput("predicted", worst, "must be probabilities from 0 to 1", "Check the model.")
    return seen, chance


def _losses(seen: Bools, chance: Floats) -> Floats:
    kept = np.clip(chance, LEAST, 1 - LEAST)
    return -np.log(np.where(seen, kept, 1 - kept))


def _areas(seen: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """(n_models,) areas under the curve of (n_models, n) scores, and their covariance."""
    n_yes, n_no = int(seen.sum()), int((~seen).sum())
    among_all = np.stack([rankdata(row) for row in scores])
    among_yes = np.stack([rankdata(row[seen]) for row in scores])
    among_no = np.stack([rankdata(row[~seen]) for row in scores])
    beaten = (among_all[:, seen] - among_yes) / n_no  # share of the others below each yes
    beating = 1 - (among_all[:, ~seen] - among_no) / n_yes  # share of yes above each other
    covariance = np.zeros((len(scores), len(scores)))
    for part in (beaten, beating):
        if part.shape[1] > 1:
            covariance += np.atleast_2d(np.cov(part)) / part.shape[1]
    return beaten.mean(axis=1), covariance


def _calibration_error(seen: Bools, chance: Floats) -> tuple[float, float]:
    n_bins = min(max(seen.size // _BIN_ROWS, _FEWEST_BINS), _MOST_BINS, seen.size)
    order = np.argsort(chance, kind="stable")
    gaps = noise = 0.0
    for rows in np.array_split(order, n_bins):
        gaps += abs(float(chance[rows].sum() - seen[rows].sum()))
        noise += float(np.sqrt(2 / np.pi * (chance[rows] * (1 - chance[rows])).sum()))
    return gaps / seen.size, noise / seen.size
