"""What a calibration has to reproduce: summary statistics of a GA4 export and an ad report.

    observed = read_observed(Path("ga4/events"), Path("ads.csv"), n_people=80_000)  # `calibration_reading`
    statistics_of(observed)  # (len(STATISTICS),) in the order of `STATISTICS`

The same function reads a simulated world (`worlds.calibration.simulating`), so that real and simulated
figures mean the same. Counts of nothing are kept finite by adding a half, as is usual for logits.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import Channel
from gaelp.journeys.batch import US_PER_HOUR

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOURS_A_DAY: Final = 24
NOBODY: Final = -1
"""Stands for a person who refused to be known, and for a device that is not told."""
OTHER: Final = len(Channel)
"""Code of visits that no channel of ours explains, such as referrals."""
DEVICES: Final = ("mobile", "desktop", "tablet")
ADVERTISED: Final = (Channel.SEARCH, Channel.SOCIAL, Channel.VIDEO, Channel.DISPLAY, Channel.RETARGETING)
_LAG_HOURS: Final = (1, 24, 96, 336)


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """What an advertiser saw in some days, hour by hour.

    Attributes:
        n_people: people who may come, and n_days: for how long they were watched.
        hour: (n_visits,) since the first hour. channel: (n_visits,) `Channel`, or `OTHER`.
        device: (n_visits,) index into `DEVICES`, or `NOBODY`.
        person: (n_visits,) a number for each cookie or login, `NOBODY` where tracking was refused.
        is_logged_in: (n_visits,) whether a login was told.
        sale_hour: (n_sales,). sale_person: (n_sales,) as `person`. sale_value: (n_sales,) in the shop's
            currency.
        ad_channel: (n_cells,) `Channel` of an hour and line of the ad report.
        ads: (n_cells, 4) impressions, clicks, cost in micros, conversions; NaN where not told.
        first_us: microseconds since 1970 of the first hour, UTC.
        ad_rows_outside: rows of the ad report on other days than the data's, left out.
    """

    n_people: int
    n_days: int
    hour: Ints
    channel: Ints
    device: Ints
    person: Ints
    is_logged_in: NDArray[np.bool_]
    sale_hour: Ints
    sale_person: Ints
    sale_value: Floats
    ad_channel: Ints
    ads: Floats
    first_us: int = 0
    ad_rows_outside: int = 0


class Statistic(NamedTuple):
    """One summary: its name, what it says, and how its scale is turned into one that people read."""

    name: str
    about: str
    scale: str


def _statistics() -> tuple[Statistic, ...]:
    found = [
        Statistic(f"visits_{channel.name.lower()}", "visits a person and day", "log") for channel in Channel
    ]
    found += [
        Statistic("refused", "share of visits without consent", "logit"),
        Statistic("desktop", "share of visits on desktops", "logit"),
        Statistic("tablet", "share of visits on tablets", "logit"),
        Statistic("logged_in", "share of known visits with a login", "logit"),
        Statistic("returning", "share of known visits by somebody seen before", "logit"),
        Statistic("frequent", "share of known visits that are at least the fourth", "logit"),
    ]
    for channel in ADVERTISED:
        name = channel.name.lower()
        found += [
            Statistic(f"impressions_{name}", "impressions a person and day", "log"),
            Statistic(f"ctr_{name}", "clicks per impression", "logit"),
            Statistic(f"cost_{name}", "USD per click (search) or 1000 impressions", "log"),
        ]
    found += [
        Statistic("search_price_low", "tenth lowest of hourly click prices, of their mean", "log"),
        Statistic("search_price_high", "tenth highest of hourly click prices, of their mean", "log"),
        Statistic("reported_cvr", "conversions that the platforms report per click", "logit"),
        Statistic("sales", "sales a person and day", "log"),
        Statistic("sales_unknown", "share of sales of nobody known", "logit"),
        Statistic("sales_unvisited", "share of known buyers' sales without a visit before", "logit"),
        Statistic("value_mean", "mean value of a sale", "log"),
        Statistic("value_spread", "standard deviation of sale values, of their mean", "log"),
        Statistic("value_high", "share of sales worth at least 1.1 times the mean", "logit"),
        Statistic("touches", "visits of known buyers before their sale", "log"),
        Statistic("sales_paid", "share of sales whose newest visit was paid for", "logit"),
        Statistic("cvr_paid", "sales whose newest visit was paid for, per such visit", "logit"),
        Statistic("cvr_unpaid", "sales whose newest visit was not paid for, per such visit", "logit"),
    ]
    found += [
        Statistic(f"lag_{hours}h", f"share of sales within {hours} h of the newest visit", "logit")
        for hours in _LAG_HOURS
    ]
    found += [
        Statistic("day_cosine", "first harmonic of visits over the day, cosine", "plain"),
        Statistic("day_sine", "first harmonic of visits over the day, sine", "plain"),
        Statistic("burstiness", "variance of daily visits, of their mean", "log"),
        Statistic("trend", "visits of the second half of the days per visit of the first", "log"),
    ]
    return tuple(found)


STATISTICS: Final = _statistics()
"""What is compared, in order. A scale of log or logit is of the figure that `about` tells."""


def statistics_of(observed: Observed) -> Floats:
    """(len(STATISTICS),) summary statistics, each on its scale and finite."""
    person_days = observed.n_people * observed.n_days
    visits = np.bincount(observed.channel, minlength=OTHER + 1)
    known = observed.person >= 0
    nth = _nth_visit(observed)
    n_known, n_visits = int(known.sum()), observed.hour.size
    found = [_rate(int(n), person_days) for n in visits[:OTHER]]
    found += [
        _share(n_visits - n_known, n_visits),
        *(_share(int((observed.device == code).sum()), n_visits) for code in (1, 2)),
        _share(int(observed.is_logged_in.sum()), n_known),
        *(_share(int((nth[known] >= least).sum()), n_known) for least in (1, 3)),
    ]
    for channel in ADVERTISED:
        found += _ads(observed, channel, person_days)
    found += _price_range(observed)
    clicks, reported = (np.nansum(observed.ads[:, i]) for i in (1, 3))
    found.append(_share(int(reported), int(clicks)))
    found += _sales(observed, person_days)
    of_day = (observed.hour + observed.first_us // US_PER_HOUR) % HOURS_A_DAY
    angle = 2 * np.pi * of_day / HOURS_A_DAY
    daily = np.bincount(observed.hour // HOURS_A_DAY, minlength=observed.n_days).astype(float)
    half = observed.n_days // 2
    found += [
        float(np.cos(angle).mean()) if n_visits else 0.0,
        float(np.sin(angle).mean()) if n_visits else 0.0,
        float(np.log((daily.var() + 0.5) / (daily.mean() + 0.5))),
        float(np.log((daily[half:].mean() + 0.5) / (daily[:half].mean() + 0.5))) if half else 0.0,
    ]
    values = np.array(found)
    assert values.shape == (len(STATISTICS),)
    return values


def in_words(values: Floats) -> Floats:
    """The figures that people read: a rate from its log, a share from its logit.

    Args:
        values: (..., len(STATISTICS)) as `statistics_of` gives them.

    >>> half = np.zeros(len(STATISTICS))
    >>> in_words(half)[[0, 8]].tolist()  # visits a person and day, share of visits without consent
    [1.0, 0.5]
    """
    scale = np.array([each.scale for each in STATISTICS])
    raised = np.exp(np.clip(values, -700, 700))
    return np.where(scale == "log", raised, np.where(scale == "logit", raised / (1 + raised), values))


def _share(n: int, of: int) -> float:
    """Logit of a share."""
    return float(np.log((max(n, 0) + 0.5) / (max(of - n, 0) + 0.5)))


def _rate(n: float, of: float) -> float:
    """Log of a rate."""
    return float(np.log((n + 0.5) / of))


def _nth_visit(observed: Observed) -> Ints:
    """(n_visits,) how many visits of the same person came before; 0 for those of nobody known."""
    order = np.lexsort((observed.hour, observed.person))
    person = observed.person[order]
    starts = np.ones(person.size, bool)
    starts[1:] = person[1:] != person[:-1]
    at = np.arange(person.size)
    nth = np.zeros(person.size, np.int64)
    nth[order] = at - np.maximum.accumulate(np.where(starts, at, 0))
    return np.where(observed.person >= 0, nth, 0)


def _ads(observed: Observed, channel: Channel, person_days: int) -> list[float]:
    """Impressions, clicks per impression and cost of a channel."""
    impressions, clicks, micros, _ = np.nansum(observed.ads[observed.ad_channel == channel], axis=0)
    usd = micros / MICROS_PER_USD
    shown, unit = (clicks, 1.0) if channel is Channel.SEARCH else (impressions, 1000.0)
    cost = np.log(unit * (usd + 0.005) / (shown + 0.5))
    return [_rate(impressions, person_days), _share(int(clicks), int(impressions)), float(cost)]


def _price_range(observed: Observed) -> list[float]:
    """How far the click prices of an hour and line of search lie from their mean, in logs."""
    cells = observed.ads[(observed.ad_channel == Channel.SEARCH) & (observed.ads[:, 1] > 0)]
    if not len(cells):
        return [0.0, 0.0]
    price = np.nan_to_num(cells[:, 2]) / cells[:, 1] + 1.0
    low, high = np.quantile(price, (0.1, 0.9))
    return [float(np.log(low / price.mean())), float(np.log(high / price.mean()))]


def _sales(observed: Observed, person_days: int) -> list[float]:
    """What sales say: how many, whose, worth what, after which visits, how late."""
    n_sales = observed.sale_hour.size
    value = observed.sale_value
    known = np.flatnonzero(observed.sale_person >= 0)
    last, before = _newest_visit(observed, known)
    visited = last >= 0
    lag = observed.sale_hour[known][visited] - observed.hour[last[visited]]
    is_paid = observed.channel <= Channel.RETARGETING
    paid = int(is_paid[last[visited]].sum())
    unpaid = int(visited.sum()) - paid
    seen_paid = int((is_paid & (observed.person >= 0)).sum())
    seen_unpaid = int((~is_paid & (observed.person >= 0)).sum())
    mean = float(value.mean()) if n_sales else 1.0
    spread = float(value.std()) / max(mean, 1e-9) if n_sales else 0.0
    high = int((value >= 1.1 * mean).sum())
    return [
        _rate(n_sales, person_days),
        _share(n_sales - known.size, n_sales),
        _share(known.size - int(visited.sum()), known.size),
        float(np.log(max(mean, 1e-9))),
        float(np.log(spread + 0.01)),
        _share(high, n_sales),
        float(np.log(1.0 + (before[visited].mean() if visited.any() else 0.0))),
        _share(paid, paid + unpaid),
        _share(paid, max(seen_paid, paid)),
        _share(unpaid, max(seen_unpaid, unpaid)),
        *(_share(int((lag < hours).sum()), lag.size) for hours in _LAG_HOURS),
    ]


def _newest_visit(observed: Observed, sales: Ints) -> tuple[Ints, Ints]:
    """For some sales: the buyer's newest visit up to that hour, -1 without one, and how many there were.

    Of visits in one hour the one of the lowest channel counts as newest, so that files and arrays agree.
    """
    order = np.lexsort((-observed.channel, observed.hour, observed.person))
    person, hour = observed.person[order], observed.hour[order]
    longest = 1 + int(max(observed.hour.max(initial=0), observed.sale_hour.max(initial=0)))
    people, code = np.unique(np.concatenate([person, observed.sale_person[sales]]), return_inverse=True)
    assert people.size * longest < 2**62
    key = code[: person.size] * longest + hour
    asked = code[person.size :] * longest + observed.sale_hour[sales]
    until = np.searchsorted(key, asked, side="right")
    begin = np.searchsorted(key, code[person.size :] * longest)
    count = until - begin
    newest = np.where(count > 0, order[np.maximum(until - 1, 0)], -1)
    return newest, count
