"""By how much rivals bid more or less at an hour of the day: from prices, shrunk towards the line's level.

Only prices tell it: impression share is told by the day, and impressions by hour cannot tell a rival who
rests from a crowd that looks. An hour's shift is what its prices ask for beyond the fit, with the error that
days give it; how much hours really differ is estimated too, and a shift is believed by as much (empirical
Bayes).

Source: DerSimonian, Laird, "Meta-analysis in clinical trials", Controlled Clinical Trials 7 (1986), 177-188;
Morris, "Parametric empirical Bayes inference", JASA 78 (1983), 47-55.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gaelp.measurement.competition.fit import Fit
from gaelp.measurement.competition.likelihood import LOG_SCALE, standardised
from gaelp.measurement.competition.log import LineLog
from gaelp.measurement.lag.curve import Estimate

Floats = NDArray[np.float64]

LEAST_DAYS_AN_HOUR = 5
_STEPS, _LONGEST, _SLOPE = 8, 0.5, 1e-4


def hourly_change(fit: Fit, log: LineLog, level: float = 0.95) -> list[Estimate]:
    """Relative change of the bid needed at each hour of the day against the line's: .1 is a tenth more.

    Args:
        fit: of the line. log: what it was fitted to.
        level: of the intervals.

    Returns:
        One estimate an hour; without a value where prices do not tell, or on fewer than five days.
    """
    n_hours = log.bid.shape[1]
    unknown = [Estimate(None, None, None)] * n_hours
    if not log.price_is_needed:
        return unknown
    shift, error = _shifts(fit, log)
    known = np.isfinite(shift)
    if known.sum() < 2:
        return unknown
    shift = shift - shift[known].mean()
    believed, left = _shrunk(shift[known], error[known])
    reach = float(ndtri(0.5 + level / 2.0)) * left
    with np.errstate(over="ignore"):  # an end that nothing bounds is infinite
        ends = [np.expm1(end) for end in (believed, believed - reach, believed + reach)]
    found = iter(zip(*ends, strict=True))
    return [Estimate(*map(float, next(found))) if there else unknown[0] for there in known]


def _shifts(fit: Fit, log: LineLog) -> tuple[Floats, Floats]:
    """(n_hours,) shift of the log location that each hour's prices ask for, and its standard error."""
    z, scale = standardised(log, fit.theta), float(np.exp(fit.theta[LOG_SCALE]))
    paid = log.on & (log.sold > 0)
    shift, error = np.full(z.shape[1], np.nan), np.full(z.shape[1], np.nan)
    for hour in range(z.shape[1]):
        days = np.flatnonzero(paid[:, hour])
        if days.size < LEAST_DAYS_AN_HOUR:
            continue
        at, variance = z[days, hour], fit.noise.price[days, hour]
        seen = log.price[days, hour] / log.bid[days, hour]
        moved = 0.0
        for _ in range(_STEPS):
            mean = fit.law.price(at - moved / scale, scale)[0]
            more = fit.law.price(at - (moved + _SLOPE) / scale, scale)[0]
            slope = (more - mean) / _SLOPE
            pull = slope * (seen - mean) / variance
            information = max(float((slope**2 / variance).sum()), 1e-12)
            step = float(np.clip(pull.sum() / information, -_LONGEST, _LONGEST))
            moved += step
        spread = float(np.square(pull - pull.mean()).sum()) * days.size / (days.size - 1)
        shift[hour], error[hour] = moved, np.sqrt(max(spread, information)) / information
    return shift, error


def _shrunk(shift: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Shifts drawn towards their mean 0 by how little they differ beyond their errors, and errors left.

    The errors are Morris's: they hold that the shrinkage is estimated.
    """
    weight, n = error**-2, shift.size
    excess = float((weight * shift**2).sum()) - (n - 1)
    apart = max(0.0, excess / float(weight.sum() - (weight**2).sum() / weight.sum()))
    drawn = error**2 / (apart + error**2)
    variance = error**2 * (1.0 - drawn * (n - 1) / n) + 2.0 / max(n - 3, 1) * (drawn * shift) ** 2
    return (1.0 - drawn) * shift, np.sqrt(variance)
