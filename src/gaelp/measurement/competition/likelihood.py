"""How likely a line's reports are under a law of the bid needed: three things that reports tell, by day.

The law's log location moves by `trend` a week, and with the usual pattern of own bids: what makes an account
bid more, a plan or an answer to a busy day, may make rivals do so too (`LineLog.usual_pattern`). With
`F(d, h)` the chance to win at the own bid of day `d` and hour `h`, and `v(h)` the traffic of an hour:

    price   mean price of an hour's wins: mean and variance of the bid needed, given that it was at most the
            own bid (second price, one slot). A lost auction is censored at the own bid.
    share   impressions among eligible of a day: the mean of F over the day's traffic. "Less than a tenth" is
            censored.
    rhythm  how a day's impressions lie over its hours: as v(h) F(d, h). Where bids of the same hour differ
            between days, impressions do too, by as much as F does.

Each is a quasi-likelihood: right in its mean, divided by its dispersion. `v` is profiled out (iterative
proportional fitting), so slopes of a day's terms are efficient scores.

Theta may have leading axes, (..., 5): many are asked at once, and answers have the same leading axes.

Source: McCullagh, Nelder, Generalized Linear Models (2nd ed., 1989), chapter 9 (quasi-likelihood); Murphy,
van der Vaart, "On profile likelihood", JASA 95 (2000), 449-465.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from gaelp.measurement.competition.log import DAYS_A_WEEK, LEAST_TOLD_SHARE, LineLog
from gaelp.measurement.competition.needed import Law

Floats = NDArray[np.float64]

LOCATION, LOG_SCALE, TREND, SWAY, DRIFT = range(5)
N_PARAMETERS = 5
_ROUNDS = 6
"""Of the fitting of hours' traffic: always as many, so that likelihoods are smooth."""


class Noise(NamedTuple):
    """How far what is told lies from its mean; held fixed while the mean is fitted.

    Attributes:
        price: (n_days, n_hours) variance of an hour's mean price, in units of the own bid squared.
        price_dispersion, share, rhythm: variance over that of independent auctions; at least 1.
    """

    price: Floats
    price_dispersion: float
    share: float
    rhythm: float


class Terms(NamedTuple):
    """(..., n_days) log quasi-likelihood each."""

    price: Floats
    share: Floats
    rhythm: Floats

    @property
    def by_day(self) -> Floats:
        """(..., n_days) all three."""
        return np.asarray(self.price + self.share + self.rhythm, np.float64)


def weeks(log: LineLog) -> Floats:
    """(n_days,) time since the middle of the log, weeks."""
    days = np.arange(log.share.size, dtype=float)
    return np.asarray((days - days.mean()) / DAYS_A_WEEK, np.float64)


def standardised(log: LineLog, theta: Floats) -> Floats:
    """(..., n_days, n_hours) own bids on the scale of the law; -inf where the line was off."""
    level, log_scale, trend, sway, _ = np.moveaxis(theta, -1, 0)[..., None, None]
    location = level + trend * weeks(log)[:, None] + sway * log.usual_pattern
    with np.errstate(divide="ignore"):
        return np.asarray((np.log(log.bid) - location) / np.exp(log_scale), np.float64)


def chances(law: Law, log: LineLog, z: Floats) -> Floats:
    """(..., n_days, n_hours) chance to win an auction of the hour at the own bid; 0 where off."""
    return np.asarray(np.where(log.on, log.open * law.won(np.where(log.on, z, 0.0)), 0.0), np.float64)


def traffic(log: LineLog, chance: Floats, drift: Floats | float = 0.0) -> Floats:
    """(..., n_days, n_hours) relative traffic by hour of the week, given chances to win.

    Solves `impressions by day and hour = day x hour of the week x chance`; an hour of the week in which the
    line was never on is taken as those beside it.
    """
    week = np.arange(DAYS_A_WEEK)[:, None] == log.week  # (7, n_days)
    extra = np.exp(np.asarray(drift)[..., None, None] * log.usual_pattern)
    chance = extra * chance
    by_hour, by_day = week @ log.impressions, log.won
    ever = week @ chance > 0
    found = np.ones(ever.shape)  # (..., 7, n_hours)
    for _ in range(_ROUNDS):
        level = by_day / np.maximum((chance * found[..., log.week, :]).sum(axis=-1), 1e-300)  # (..., n_days)
        fitted = np.maximum(week @ (level[..., None] * chance), 1e-300)
        found = np.where(ever, (by_hour + 1e-9) / fitted, 0.0)
        mean = found.sum(axis=-1, keepdims=True) / np.maximum(ever.sum(axis=-1, keepdims=True), 1)
        found = np.where(ever, found / np.maximum(mean, 1e-300), 0.0)
    for where in np.argwhere(~ever.all(axis=-1)):
        hours, known = found[tuple(where)], ever[tuple(where)]
        at = np.flatnonzero(known)
        hours[~known] = np.interp(np.flatnonzero(~known), at, hours[at]) if at.size else 1.0
    return np.asarray(extra * found[..., log.week, :], np.float64)


def terms(law: Law, log: LineLog, theta: Floats, noise: Noise) -> Terms:
    """Log quasi-likelihood of a line's reports.

    Args:
        law: of the bid needed. log: the reports.
        theta: (..., 5) location at the middle of the log, log of the scale, trend a week, and by how much
            rivals' log level (`SWAY`) and log traffic (`DRIFT`) go with the usual pattern of own log bids.
        noise: what to divide by.
    """
    z = standardised(log, theta)
    chance = chances(law, log, z)
    hours = traffic(log, chance, theta[..., DRIFT])
    return Terms(
        _price(law, log, theta, z, noise.price),
        _share(log, mean_chance(chance, hours), noise.share),
        _rhythm(log, chance, hours, noise.rhythm),
    )


def mean_chance(chance: Floats, hours: Floats) -> Floats:
    """(..., n_days) chance to win over a day's traffic, kept off 0 and 1."""
    share = (chance * hours).sum(axis=-1) / hours.sum(axis=-1)
    return np.asarray(np.clip(share, 1e-9, 1.0 - 1e-9), np.float64)


def noise_of(law: Law, log: LineLog, theta: Floats, *, dispersed: bool = True) -> Noise:
    """Noise at theta: that of independent auctions, times Pearson's statistic over its degrees of freedom.

    Args:
        law: of the bid needed. log: the reports. theta: (5,) as in `terms`.
        dispersed: False leaves out the dispersion, for a theta that is only a first guess.
    """
    z = standardised(log, theta)
    chance = chances(law, log, z)
    hours = traffic(log, chance, theta[..., DRIFT])
    variance, price = np.ones(log.bid.shape), 1.0
    if log.price_is_needed:
        paid, gap = _paid(law, log, theta, z)
        variance[paid] = law.price(z[paid], float(np.exp(theta[LOG_SCALE])))[1] / log.sold[paid]
        price = _over(gap**2 / variance[paid], int(paid.sum()) - N_PARAMETERS)
    told = log.told & log.all_day
    if log.censored.sum() > told.sum() / 2:
        told = np.zeros_like(told)  # those told are the highest of many, and lie far from the mean for that
    expected = mean_chance(chance, hours)[told]
    missed = (log.share[told] - expected) ** 2 / (expected * (1.0 - expected)) * log.eligible[told]
    weight = chance * hours
    fitted = (log.won / np.maximum(weight.sum(axis=1), 1e-300))[:, None] * weight
    busy = fitted > 0.5
    spread = (log.impressions - fitted)[busy] ** 2 / fitted[busy]
    free = int(busy.sum()) - log.share.size - DAYS_A_WEEK * hours.shape[1]
    if not dispersed:
        return Noise(variance, 1.0, 1.0, 1.0)
    return Noise(price * variance, price, _over(missed, int(told.sum()) - 2), _over(spread, free))


def _over(squares: Floats, free: int) -> float:
    return max(1.0, float(squares.sum()) / free) if free > 0 else 1.0


def _paid(law: Law, log: LineLog, theta: Floats, z: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Cells with a price, and how far it is from its mean in units of the own bid."""
    paid = log.on & (log.sold > 0)
    mean, _ = law.price(z[..., paid], np.exp(theta[..., LOG_SCALE, None]))
    return paid, log.price[paid] / log.bid[paid] - mean


def _price(law: Law, log: LineLog, theta: Floats, z: Floats, variance: Floats) -> Floats:
    found = np.zeros(z.shape)
    if log.price_is_needed:
        paid, gap = _paid(law, log, theta, z)
        found[..., paid] = -0.5 * gap**2 / variance[paid]
    return np.asarray(found.sum(axis=-1), np.float64)


def _share(log: LineLog, expected: Floats, dispersion: float) -> Floats:
    told, eligible = log.told & log.all_day, log.eligible
    share = np.where(told, log.share, 0.0)
    found = np.where(told, eligible, 0.0) * (share * np.log(expected) + (1.0 - share) * np.log1p(-expected))
    usual = float(eligible[told].mean()) if told.any() else 0.0
    least = np.maximum(log.won / LEAST_TOLD_SHARE, 10.0)  # more than ten for each
    spread = np.sqrt(dispersion * expected * (1.0 - expected) / np.maximum(least, usual))
    hidden = log_ndtr((LEAST_TOLD_SHARE - expected) / spread)
    return np.asarray(
        np.where(told, found / dispersion, np.where(log.censored & log.all_day, hidden, 0.0)), np.float64
    )


def _rhythm(log: LineLog, chance: Floats, hours: Floats, dispersion: float) -> Floats:
    weight = chance * hours
    share = weight / np.maximum(weight.sum(axis=-1, keepdims=True), 1e-300)
    told = np.where(log.impressions > 0, log.impressions * np.log(np.maximum(share, 1e-300)), 0.0)
    return np.asarray(told.sum(axis=-1) / dispersion, np.float64)
