"""The steps of a Kaplan-Meier curve, from how many had an event and how many were at risk at each time.

Source: Kaplan and Meier, JASA 53 (1958), 457-481; Klein and Moeschberger, Survival Analysis (2nd ed., 2003),
sections 4.2 (Greenwood) and 4.3 (log-log interval).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def product_limit(events: Ints, at_risk: Ints) -> tuple[Floats, Floats]:
    """Survival, which falls by the factor `1 - d / n` at a time with `d` events among `n` at risk.

    Args:
        events: (n_times,) d at each event time, in order. at_risk: (n_times,) n right before it, above 0.

    Returns:
        (n_times,) share without an event right after each time, and (n_times,) Greenwood's variance of its
        logarithm, the sum of `d / (n (n - d))`; inf where the share is 0.

    >>> survival, log_variance = product_limit(np.array([1, 1, 1]), np.array([5, 4, 2]))
    >>> survival.round(3).tolist(), log_variance.round(3).tolist()
    ([0.8, 0.6, 0.3], [0.05, 0.133, 0.633])
    """
    with np.errstate(divide="ignore"):
        log_variance = np.cumsum(events / (at_risk * (at_risk - events).astype(np.float64)))
    return np.cumprod(1.0 - events / at_risk).astype(np.float64), log_variance.astype(np.float64)


def log_log_interval(survival: Any, log_variance: Any, z: float) -> tuple[Floats, Floats]:
    """Ends of the interval of survival on the log(-log) scale; NaN where survival is NaN, 0 or 1.

    Args:
        survival, log_variance: as of `product_limit`, any one shape. z: normal quantile of the upper end.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.exp(z * np.sqrt(log_variance) / np.log(survival))  # below 1
        return survival ** (1 / spread), survival**spread
