"""What is told of rivals on a line: the win curve, quantiles of the bid needed, the trend, market share."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import t as student

from gaelp.measurement.competition.fit import Fit
from gaelp.measurement.competition.likelihood import (
    LOCATION,
    LOG_SCALE,
    TREND,
    chances,
    mean_chance,
    standardised,
    traffic,
    weeks,
)
from gaelp.measurement.competition.log import LEAST_TOLD_SHARE, LineLog
from gaelp.measurement.lag.curve import Estimate

Floats = NDArray[np.float64]
SHAPE_ERROR = 0.15
"""Standard error of the log scale beyond the bids that were placed: no law is quite right where nothing was
tried. Assumed; laws that agree in their middle differ about so in their tails."""
_OFF_ONE, _STEP, _USUAL_BIDS = 1e-9, 1e-3, (0.1, 0.9)


def win_chance(
    fits: Sequence[Fit], log: LineLog, bid: float, level: float = 0.95, shape_error: float = SHAPE_ERROR
) -> Estimate:
    """Chance to win an eligible auction at a bid, mean over the log's days.

    The interval is normal on the logit and holds every law that the reports do not refuse.

    Args:
        fits: of the line, the likeliest first. log: what they were fitted to.
        bid: USD per click or per 1000, above 0.
        level: of the interval.
        shape_error: see `SHAPE_ERROR`.
    """

    def at(fit: Fit, theta: Floats, log_bid: float) -> float:
        z = (log_bid - theta[LOCATION] - theta[TREND] * weeks(log)) / math.exp(theta[LOG_SCALE])
        return float(logit(np.clip(fit.law.won(z).mean(), _OFF_ONE, 1.0 - _OFF_ONE)))

    def of(fit: Fit) -> Estimate:
        here = math.log(bid)
        slope = (at(fit, fit.theta, here + _STEP) - at(fit, fit.theta, here - _STEP)) / (2.0 * _STEP)
        more = shape_error * _beyond(log, here) * slope
        return fit.estimate(lambda theta: at(fit, theta, here), level, more)

    return _as(expit, _spanned([of(fit) for fit in fits]))


def needed_quantile(
    fits: Sequence[Fit], log: LineLog, share: float, level: float = 0.95, shape_error: float = SHAPE_ERROR
) -> Estimate:
    """Bid that a share of auctions needs at most, in the middle of the log; USD per click or per 1000.

    Args:
        fits: of the line, the likeliest first. log: what they were fitted to.
        share: of auctions. level: of the interval. shape_error: see `SHAPE_ERROR`.
    """

    def of(fit: Fit) -> Estimate:
        z = float(fit.law.quantile(share))

        def figure(theta: Floats) -> float:
            return float(theta[LOCATION] + math.exp(theta[LOG_SCALE]) * z)

        return fit.estimate(figure, level, shape_error * _beyond(log, figure(fit.theta)))

    return _as(np.exp, _spanned([of(fit) for fit in fits]))


def _beyond(log: LineLog, log_bid: float) -> float:
    """How far a log bid lies outside the middle four fifths of own log bids; 0 inside."""
    low, high = np.quantile(np.log(log.bid[log.on]), _USUAL_BIDS)
    return float(max(low - log_bid, log_bid - high, 0.0))


def weekly_change(fits: Sequence[Fit], level: float = 0.95) -> Estimate:
    """Relative change of the bid needed a week: .05 is five per cent more each week."""
    return _as(np.expm1, _spanned([fit.estimate(lambda theta: float(theta[TREND]), level) for fit in fits]))


def pooled_change(lines: Sequence[Sequence[Fit]], level: float = 0.95) -> Estimate:
    """Weekly change over several lines, each weighted by how well it is known.

    Days are clusters across lines too: what moves all of them on one day counts once.
    """
    known = [fits[0] for fits in lines]
    if not known:
        return Estimate(None, None, None)
    weight = np.array([1.0 / max(fit.covariance[TREND, TREND], 1e-12) for fit in known])
    weight /= weight.sum()
    value = float(sum(w * fit.theta[TREND] for w, fit in zip(weight, known, strict=True)))
    moved = sum(w * fit.influence[:, TREND] for w, fit in zip(weight, known, strict=True))
    error = math.sqrt(float(np.square(moved).sum()))
    reach = float(student.ppf(0.5 + level / 2.0, min(fit.free for fit in known))) * error
    return _as(np.expm1, Estimate(value, value - reach, value + reach))


class MarketShare(NamedTuple):
    """Who is shown on a line.

    Attributes:
        own: own impressions among eligible auctions.
        others: what is left to rivals, or to nobody.
        while_off: share lost because the line was off or its budget was spent.
        told: "told" by the platform; "by prices" where it tells no share, so from the law's shape; "less than
            a tenth" where that is all it tells.
        days_told, days_censored: days with a share as a number, and with "less than a tenth".
    """

    own: Estimate
    others: Estimate
    while_off: float
    told: str
    days_told: int
    days_censored: int


def market_share(log: LineLog, fits: Sequence[Fit], level: float = 0.95) -> MarketShare:
    """Own share of the impressions on a line's eligible auctions.

    Days told as "less than a tenth" widen it downwards: they may have had any number of auctions, and at
    least ten for each impression; here, as many as the other days' mean.

    Args:
        log: of the line. fits: of the line, may be empty. level: of the interval.
    """
    told, censored = log.told, log.censored
    chance = (
        chances(fits[0].law, log, standardised(log, fits[0].theta)) if fits else log.on.astype(np.float64)
    )
    hours = traffic(log, chance)
    shut = 1.0 - np.where(log.on, log.open, 0.0)
    off = float((shut * hours).sum() / hours.sum())
    if told.any():
        own, source = _told_share(log, level), "told"
    elif censored.any() or not fits:
        none_told = Estimate(None, 0.0, LEAST_TOLD_SHARE if censored.any() else 1.0)
        own, source = none_told, "less than a tenth" if censored.any() else "not told"
    else:
        own, source = _share_by_prices(log, fits, hours, level), "by prices"
    return MarketShare(own, _left(own), off, source, int(told.sum()), int(censored.sum()))


def _told_share(log: LineLog, level: float) -> Estimate:
    told, censored = log.told, log.censored
    won, eligible = log.won[told], log.eligible[told]
    hidden = np.maximum(log.won[censored] / LEAST_TOLD_SHARE, eligible.mean())
    both = np.concatenate([won, log.won[censored]]), np.concatenate([eligible, hidden])
    share = float(both[0].sum() / both[1].sum())
    apart = both[0] - share * both[1]
    n = apart.size
    if n < 2:
        return Estimate(share, None, None)
    error = math.sqrt(n / (n - 1) * float(np.square(apart).sum())) / float(both[1].sum())
    reach = float(student.ppf(0.5 + level / 2.0, n - 1)) * error
    return Estimate(share, max(share - reach, 0.0), min(share + reach, 1.0))


def _share_by_prices(log: LineLog, fits: Sequence[Fit], hours: Floats, level: float) -> Estimate:
    def of(fit: Fit) -> Estimate:
        def figure(theta: Floats) -> float:
            chance = chances(fit.law, log, standardised(log, theta))
            return float(logit(np.clip(mean_chance(chance, hours).mean(), _OFF_ONE, 1.0 - _OFF_ONE)))

        return fit.estimate(figure, level)

    return _as(expit, _spanned([of(fit) for fit in fits]))


def _left(own: Estimate) -> Estimate:
    value, low, high = (None if end is None else 1.0 - end for end in own)
    return Estimate(value, high, low)


def _spanned(found: Sequence[Estimate]) -> Estimate:
    """The first value, with the ends of all."""
    lows = [each.low for each in found if each.low is not None]
    highs = [each.high for each in found if each.high is not None]
    return Estimate(found[0].value, min(lows), max(highs))


def _as(scale: Callable[[float], float], found: Estimate) -> Estimate:
    with np.errstate(over="ignore"):  # an end that nothing bounds is infinite
        value, low, high = (None if end is None else float(scale(end)) for end in found)
    return Estimate(value, low, high)
