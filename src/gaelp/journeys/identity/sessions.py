"""Sessions: a person's events with no gap of half an hour, on whichever of their devices."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput

TIMEOUT_MINUTES = 30.0
"""Google Analytics and most others: https://support.google.com/analytics/answer/9191807."""


def stitch_sessions(
    identity: ArrayLike, hour: ArrayLike, timeout_minutes: float = TIMEOUT_MINUTES
) -> NDArray[np.int64]:
    """Number the sessions of events, in any order.

    A session ends where the next event of the same person comes more than the timeout later. Events in
    whole hours, as the simulated market has them, are sessions of their own.

    Args:
        identity: (n,) who, as `Resolver.identities` names people.
        hour: (n,) when, hours.
        timeout_minutes: longest gap within a session.

    Returns:
        (n,) session of each event, numbered from 0 by person and time.

    Raises:
        BadInput: shapes disagree, an hour is not finite, or the timeout is not above 0.

    >>> stitch_sessions([5, 5, 5, 6], [10.0, 10.4, 11.0, 10.0]).tolist()
    [0, 0, 1, 2]
    """
    who, when = np.asarray(identity), np.asarray(hour, np.float64)
    if who.ndim != 1 or who.shape != when.shape:
        raise BadInput("hour.shape", when.shape, f"must be {who.shape}", "Give one per event.")
    if not np.isfinite(when).all():
        raise BadInput("hour", when, "must be finite", "Leave out events without a time.")
    if not 0.0 < timeout_minutes < np.inf:
        raise BadInput("timeout_minutes", timeout_minutes, "must be above 0", "30 is usual.")
    order = np.lexsort((when, who))
    begins = np.ones(order.size, bool)
    gap = np.diff(when[order]) * 60.0
    begins[1:] = (who[order][1:] != who[order][:-1]) | (gap > timeout_minutes)
    session = np.empty(order.size, np.int64)
    session[order] = np.cumsum(begins) - 1
    return session
