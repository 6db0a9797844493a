"""Touches as an account sees them: what each cost, and which kinds a platform tells person by person."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_LINES, SOCIAL_LINE, Channel, TouchKind
from gaelp.market.market import Market
from gaelp.market.state import CLICKS, IMPRESSIONS, SPEND
from gaelp.platforms.reporting import Sight

Floats = NDArray[np.float64]

BY_CLICK: Final = np.arange(N_LINES) < SOCIAL_LINE
"""(n_lines,) lines of search, which are paid by click; the others are by impression."""
_EVENT_OF_KIND = {kind: kind.name.lower() for kind in TouchKind if kind is not TouchKind.SEARCH} | {
    TouchKind.EMAIL_OPEN: "impression"
}


def unit_costs(market: Market) -> Floats:
    """(n_worlds, n_lines) mean USD of an impression, on search of a click, until now: as seat 0 paid."""
    report = market.books.report[:, 0]
    units = np.where(BY_CLICK, report[..., CLICKS], report[..., IMPRESSIONS])
    cost: Floats = report[..., SPEND] / MICROS_PER_USD / np.maximum(units, 1)
    return cost


def touch_costs(line: NDArray[Any], kind: NDArray[Any], price: Floats) -> Floats:
    """USD of each touch at its line's mean price: clicks on search, impressions elsewhere, else 0.

    Args:
        line: (n,) codes; from `N_LINES` up: none. kind: (n,) `TouchKind`.
        price: (n_lines,) of one world, as of `unit_costs`.

    Returns:
        (n,) USD.
    """
    at = np.minimum(line, N_LINES - 1)
    unit = np.where(BY_CLICK[at], TouchKind.CLICK, TouchKind.IMPRESSION)
    cost: Floats = np.where((line < N_LINES) & (kind == unit), price[at], 0.0)
    return cost


def told_by_person(market: Market) -> NDArray[np.bool_]:
    """(n_worlds, n_channels, n_kinds) whether a platform shows such touches person by person."""
    told = np.zeros((market.n_worlds, len(Channel), len(TouchKind)), np.bool_)
    for w, world in enumerate(market.worlds):
        sight = Sight(world.file.visibility)
        for kind, event in _EVENT_OF_KIND.items():
            told[w, :, kind] = sight.by_user[event]
    return told
