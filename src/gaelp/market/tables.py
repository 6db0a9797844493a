"""Small measured tables that ship with the package: traffic by hour of the week, display prices.

The files stand in `data/`, whose README gives their sources, terms and the script that made them. Every
array is computed once and read-only.
"""

from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from gaelp.core.clock import HOURS_PER_WEEK
from gaelp.core.names import require_known


@lru_cache(maxsize=1)
def hour_of_week() -> NDArray[np.float64]:
    """Return how busy each hour of the week is, relative to the average hour.

    Returns:
        (168,) traffic / mean traffic, Monday 0:00 first; its mean is 1.

    Source: avito-tech/bat-autobidding-benchmark@4237bd5:data/traffic_share.csv (MIT), largest region, with
    the day that was counted once too often removed.

    >>> week = hour_of_week()
    >>> int(week.argmax()), round(float(week.max()), 2), round(float(week.min()), 2)
    (13, 1.9, 0.1)
    """
    share = _read("hour_of_week.csv")[:, 2]
    return _frozen(share / share.mean())


@lru_cache(maxsize=1)
def display_price_quantiles() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distribution of prices paid for display impressions, relative to their median.

    These are prices of won impressions, so high prices are rarer here than among all auctions.

    Returns:
        probability: (99,) 0.01 to 0.99.
        relative_price: (99,) price / median price at that probability, never falling; it stands
            still where one price holds several percent.

    Source: iPinYou, 6.24 million won impressions of five campaigns (counts in han-cai/rlb-dp@1eeb9e4).

    >>> probability, relative_price = display_price_quantiles()
    >>> np.interp([0.05, 0.5, 0.95], probability, relative_price).round(2).tolist()
    [0.13, 1.0, 3.61]
    """
    rows = _read("display_prices.csv")
    return _frozen(rows[:, 0]), _frozen(rows[:, 1])


@lru_cache(maxsize=1)
def display_price_atoms() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the single prices that display impressions are won at far more often than at those around them.

    Returns:
        relative_price: (12,) price / median price, rising.
        share: (12,) share of all won impressions at exactly that price.

    Source: as `display_price_quantiles`.

    >>> relative_price, share = display_price_atoms()
    >>> round(float(relative_price[share.argmax()]), 2), round(float(share.max()), 3)
    (1.15, 0.086)
    """
    rows = _read("display_atoms.csv")
    return _frozen(rows[:, 0]), _frozen(rows[:, 1])


def table(name: str) -> NDArray[np.float64]:
    """Return the table that a market file names as its `hour_table`.

    Args:
        name: "hour_of_week", or "flat" where every hour is alike.

    Returns:
        (168,) traffic / mean traffic, Monday 0:00 first; its mean is 1.

    Raises:
        UnknownName: if there is no such table.

    >>> table("flat").mean(), table("hour_of_week").shape
    (np.float64(1.0), (168,))
    """
    known = {"flat": _flat, "hour_of_week": hour_of_week}
    return known[require_known("hour_table", name, known)]()


@lru_cache(maxsize=1)
def _flat() -> NDArray[np.float64]:
    return _frozen(np.ones(HOURS_PER_WEEK))


def _read(name: str) -> NDArray[np.float64]:
    text = files("gaelp.market").joinpath("data", name).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    return np.array([row.split(",") for row in rows[1:]], dtype=np.float64)  # rows[0] names the columns


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.setflags(write=False)  # one array serves every caller
    return array
