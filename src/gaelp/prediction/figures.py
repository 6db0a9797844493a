"""Figures about predicted rates, each beside what it would be if every prediction were right."""

from typing import Any

import numpy as np
from scipy.special import logit

from gaelp.prediction.metrics import Floats, calibration_line, entropy
from gaelp.prediction.noise import Outcomes, expected_absolute_error

_BIN_TRIALS, _MOST_BINS = 2000, 20

Figure = dict[str, float | None]


def accuracy_figures(outcomes: Outcomes) -> dict[str, Any]:
    """How right predictions were, each figure beside what it would be if every one of them were right.

    Returns:
        `rows`, `trials`, `events`, and by figure {`value`, `floor`, `noise`}: floor is the mean of the figure
        over what luck could have brought if predictions were right, of R² a ceiling, and noise its standard
        deviation (None: not told). Values are None where there is nothing to judge. Weighted by trials,
        except the first two:
        `mae_per_row`, `r2_per_row`: of rates, each row counting once, as the brief has them.
        `mae`, `r2`: of rates. `logloss`: nats per trial. `normalised_entropy`: logloss as a share of that of
        always predicting the rate seen (He et al., ADKDD 2014). `ece`: mean gap in bins of about 2,000
        trials or more. `calibration_ratio`: events seen per event predicted. `calibration_slope`: of events
        on logit(predicted).

    The floors: MAE from `noise.expected_absolute_error`, exact; R², a ceiling, one less noise over all
    variance, a ratio of exact means; logloss exact, mean and standard deviation; normalised entropy by the
    delta method; ECE by the normal law in each bin.
    """
    n, k, p = outcomes.trials, outcomes.events, outcomes.chance
    total, events = int(n.sum()), int(k.sum())
    counts = {"rows": len(outcomes), "trials": total, "events": events}
    if not 0 < events < total:  # normalised entropy has no meaning, the rest none worth having
        return {**counts, **{name: _figure(None) for name in FIGURES}}
    rate, variance = k / n, outcomes.variance
    share, alike = n / total, np.full(p.shape, 1 / p.size)
    floors = expected_absolute_error(p, n)
    loss = float(-(k @ np.log(p) + (n - k) @ np.log1p(-p))) / total
    loss_floor = float(-(n * (p * np.log(p) + (1 - p) * np.log1p(-p))).sum()) / total
    loss_noise = float(np.sqrt(variance @ logit(p) ** 2)) / total
    seen, expected = events / total, float(n @ p) / total
    floor = loss_floor / entropy(expected)
    lever = logit(p) - floor * logit(expected)
    slope, _, slope_noise = calibration_line(outcomes.events, outcomes.chance, outcomes.trials)
    ece, ece_floor = _calibration_error(outcomes)
    return {
        **counts,
        "mae_per_row": _mae(outcomes, rate, alike, floors),
        "r2_per_row": _r2(outcomes, rate, alike),
        "mae": _mae(outcomes, rate, share, floors),
        "r2": _r2(outcomes, rate, share),
        "logloss": _figure(loss, loss_floor, loss_noise),
        "normalised_entropy": _figure(
            loss / entropy(seen),
            floor,
            float(np.sqrt(variance @ lever**2)) / (total * entropy(expected)),
        ),
        "ece": _figure(ece, ece_floor),
        "calibration_ratio": _figure(
            seen / expected, 1.0, float(np.sqrt(variance.sum())) / (expected * total)
        ),
        "calibration_slope": _figure(slope, 1.0, slope_noise),
    }


FIGURES = (
    "mae_per_row",
    "r2_per_row",
    "mae",
    "r2",
    "logloss",
    "normalised_entropy",
    "ece",
    "calibration_ratio",
    "calibration_slope",
)
"""Names of the figures of `accuracy_figures`."""


def _figure(value: float | None, floor: float | None = None, noise: float | None = None) -> Figure:
    return {"value": value, "floor": floor, "noise": noise}


def _mae(outcomes: Outcomes, rate: Floats, weight: Floats, floors: Floats) -> Figure:
    n, p = outcomes.trials, outcomes.chance
    spread = np.maximum(p * (1 - p) / n - floors**2, 0.0)
    return _figure(
        float(weight @ np.abs(rate - p)), float(weight @ floors), float(np.sqrt(weight**2 @ spread))
    )


def _r2(outcomes: Outcomes, rate: Floats, weight: Floats) -> Figure:
    p = outcomes.chance
    around = float(weight @ (rate - weight @ rate) ** 2)
    luck = p * (1 - p) / outcomes.trials
    noise = float(weight @ luck)
    varied = float(weight @ (p - weight @ p) ** 2) + noise - float(weight**2 @ luck)
    value = 1 - float(weight @ (rate - p) ** 2) / around if around > 0 else None
    return _figure(value, 1 - noise / varied if varied > 0 else None)


def _calibration_error(outcomes: Outcomes) -> tuple[float, float]:
    order = np.argsort(outcomes.chance, kind="stable")
    before = np.cumsum(outcomes.trials[order]) - outcomes.trials[order]
    total = int(outcomes.trials.sum())
    n_bins = int(np.clip(total // _BIN_TRIALS, 1, _MOST_BINS))
    bins = before * n_bins // total
    gaps = np.abs(np.bincount(bins, outcomes.surplus[order]))
    noise = np.sqrt(2 / np.pi * np.bincount(bins, outcomes.variance[order]))
    return float(gaps.sum()) / total, float(noise.sum()) / total
