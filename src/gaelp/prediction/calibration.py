"""Maps from a model's raw probability to one that can be taken at its word.

`platt`: a straight line on the logit (Platt, 1999); two numbers, so few rows will do. `isotonic`: the rising
step function of least squares (Zadrozny and Elkan, KDD 2002), read between its steps along straight lines;
bends where a line cannot, and needs some thousand positives. `none`: as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from gaelp.core.names import require_known
from gaelp.prediction.metrics import LEAST, Bools, Floats, calibration_line

KINDS = ("platt", "isotonic", "none")


@dataclass(frozen=True)
class Calibration:
    """A map that was fitted.

    Attributes:
        kind: one of `KINDS`.
        raw: platt: intercept and slope; isotonic: (n_steps,) raw probabilities, rising; none: nothing.
        mapped: (n_steps,) what isotonic makes of them.
    """

    kind: str
    raw: tuple[float, ...] = ()
    mapped: tuple[float, ...] = ()

    def apply(self, chance: Floats) -> Floats:
        """(n,) calibrated probabilities of (n,) raw ones, none nearer to 0 or 1 than `LEAST`."""
        mapped = chance
        if self.kind == "platt":
            intercept, slope = self.raw
            mapped = expit(intercept + slope * logit(np.clip(chance, LEAST, 1 - LEAST)))
        elif self.kind == "isotonic":
            mapped = np.interp(chance, self.raw, self.mapped)
        return np.clip(mapped, LEAST, 1 - LEAST)

    def as_dict(self) -> dict[str, Any]:
        """For a file; see `from_dict`."""
        return {"kind": self.kind, "raw": list(self.raw), "mapped": list(self.mapped)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Calibration":
        """What `as_dict` wrote."""
        return cls(data["kind"], tuple(data["raw"]), tuple(data["mapped"]))


def fit_calibration(kind: str, label: Bools, chance: Floats, weight: Floats | None = None) -> Calibration:
    """Fit a map on rows that the model was not trained on.

    Args:
        kind: one of `KINDS`; `platt` falls back to `none` where no line is likeliest.
        label: (n,) whether it happened. chance: (n,) raw probabilities.
        weight: (n,) trials that a row stands for; None: one each.

    Raises:
        UnknownName: there is no such kind.

    >>> half = fit_calibration("platt", np.array([0, 0, 1, 1], bool), np.array([0.5, 0.7, 0.6, 0.9]))
    >>> bool(np.all(np.diff(half.apply(np.array([0.1, 0.5, 0.9]))) > 0))
    True
    """
    require_known("calibration", kind, KINDS)
    n = np.ones(label.size) if weight is None else weight
    if kind == "platt":
        slope, intercept, _ = calibration_line(label * n, chance, n)
        if slope is None or intercept is None or slope <= 0:
            return Calibration("none")
        return Calibration("platt", (intercept, slope))
    if kind == "isotonic":
        order = np.argsort(chance, kind="stable")
        raised = isotonic_regression(label[order].astype(float), weights=n[order]).x
        # a step of no positives is not a chance of 0: at most half an event in all its rows
        starts = np.flatnonzero(np.diff(raised, prepend=-1.0) > 0)
        sizes = np.add.reduceat(n[order], starts)
        means = np.add.reduceat((n * chance)[order], starts) / sizes
        steps = np.clip(raised[starts], 0.5 / (sizes + 1), 1 - 0.5 / (sizes + 1))
        return Calibration("isotonic", tuple(means.tolist()), tuple(np.maximum.accumulate(steps).tolist()))
    return Calibration("none")
