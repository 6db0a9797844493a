"""A calibrated market as a file that every command reads."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gaelp.market.file import MarketFile
from gaelp.worlds import market_writing
from gaelp.worlds.calibration.parameters import FREE, at_levels, levels_in_units

Floats = NDArray[np.float64]

_ADDS_UP: Final = "lag_share"
_WIDEST: Final = 1.5
"""The widest spread that a market file allows."""


def calibrated(base: MarketFile, levels: Floats, ltv_usd: float) -> MarketFile:
    """The base at some levels, and what a sale is worth there.

    Args:
        base: the market file, started as the data ask. levels: (len(FREE),). ltv_usd: mean value of a sale.
    """
    return replace(at_levels(base, base, levels), ltv_usd=ltv_usd)


def posterior_spread(base: MarketFile, draws: Floats) -> dict[str, float]:
    """How much worlds of the calibrated market differ: sigma of one log-normal factor per element.

    What the data leave open of a level is added, as variance, to what the base lets its elements differ by;
    a parameter with several levels takes their mean. Elements of such worlds are drawn independently: what
    the posterior knows of levels together is in its draws only. Parameters on a plain scale, and shares that
    have to add up to 1 after a draw, are left out.

    Args:
        base: the market file. draws: (n_draws, len(FREE)) of the posterior.
    """
    found = dict(base.spread)
    units = levels_in_units(base, draws)
    open_: dict[str, list[float]] = {}
    for i, free in enumerate(FREE):
        if free.scale != "plain" and free.parameter != _ADDS_UP:
            open_.setdefault(free.parameter, []).append(float(np.log(units[:, i]).var()))
    for name, variances in open_.items():
        sigma = np.sqrt(found.get(name, 0.0) ** 2 + np.mean(variances))
        found[name] = round(min(float(sigma), _WIDEST), 4)
    return found


def write_market(
    path: Path, file: MarketFile, base: MarketFile, spread: Mapping[str, float], told: str
) -> None:
    """Write what differs from the base, which the file extends.

    Args:
        path: file to make or replace. file: the calibrated market. base: the market file it came from.
        spread: of its worlds. told: where it came from, for the head of the file.
    """
    market_writing.write_market(
        path,
        file,
        base,
        told=told,
        names=list(dict.fromkeys(free.parameter for free in FREE)),
        strength="C",
        source="calibrated by simulation to a GA4 export and an ad report",
        facts={"ltv_usd": f"{file.ltv_usd:.6g}", "start": f'"{file.start.isoformat()}"'},
        spread=spread,
    )
