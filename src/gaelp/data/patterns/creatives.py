"""Which creative for a journey: conversion rates among journeys like it, drawn towards their common one.

Of each creative the journeys most like the one asked for are counted that were shown it. With few of them
the rate says little, so it is drawn towards a common one: the posterior of a beta-binomial, averaged over a
grid of common rates and of how many journeys these count for, by how likely each makes what was counted.

Rates are of journeys that happened to be shown a creative: where creatives were not drawn at random, who was
shown what differs too, and a randomised holdout is the judge.

Source: Casella, The American Statistician 39 (1985) 83; beta-binomial: Skellam, JRSS B 10 (1948) 257.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.data.patterns.kept import named
from gaelp.data.patterns.store import PatternStore
from gaelp.journeys.views import Journey

_STRENGTHS: Final = np.geomspace(1.0, 10_000.0, 17)
"""Journeys that the common rate may count for."""
_MEANS: Final = np.linspace(-2.0, 2.0, 17)
"""Where the common rate may lie, on the logit scale, about the pooled one."""
_POINTS: Final = 100
_LEAST: Final = 1e-3  # of the likeliest: priors less likely are left out


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A creative for a journey.

    Attributes:
        creative: its name. rate: shrunken conversion rate. low, high: 95 % interval of it.
        journeys: like the one asked for, and shown it. conversions: purchases among them.
        features: means over all journeys that were shown it, those above 0: the creative as a vector.
    """

    creative: str
    rate: float
    low: float
    high: float
    journeys: int
    conversions: int
    features: dict[str, float]


def rank_creatives(patterns: PatternStore, journey: Journey, k: int = 200) -> list[Ranked]:
    """Creatives for a journey, the best first.

    Args:
        patterns: with creatives told, see `PatternStore.tell_creatives`.
        journey: with at least one touch. k: neighbours looked at, and all as near as the last of them; fewer
            where fewer are kept.

    Raises:
        BadInput: no creative was ever told, or the journey has no touch.
    """
    if k < 1:
        raise BadInput("k", k, "must be at least 1", "Leave it out for the usual number.")
    kept = patterns.kept()
    if not kept.shown:
        remedy = "Say which creatives touches showed by `tell_creatives`."
        raise BadInput("creatives", "none told", "must be told for some touches", remedy)
    with_one = np.unique(np.concatenate(list(kept.shown.values())))
    others = with_one[~np.isin(kept.alias_id[with_one], journey.person.alias_ids)]
    if not others.size:
        raise BadInput("creatives", "only the person's own", "must be told for others too", "Tell more.")
    _, _, near = patterns.near(journey, min(k, others.size), others)
    converted = kept.converted
    names = sorted(kept.shown)
    counts = []
    for name in names:
        mine = np.intersect1d(kept.shown[name], near)
        counts.append((mine.size, int(converted[mine].sum())))
    n, sold = np.array(counts).T
    rates, low, high = shrunken(n, sold)
    order = np.lexsort((np.arange(len(names)), -rates)).tolist()
    return [
        Ranked(
            creative=names[i],
            rate=float(rates[i]),
            low=float(low[i]),
            high=float(high[i]),
            journeys=int(n[i]),
            conversions=int(sold[i]),
            features=named(kept.index.rows[kept.shown[names[i]]].mean(axis=0)),
        )
        for i in order
    ]


def shrunken(
    n: NDArray[np.int64], converted: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rates drawn towards their common one, with 95 % intervals, (n_groups,) each.

    Args:
        n: (n_groups,) trials, 0 allowed. converted: (n_groups,) successes.

    >>> rates, low, high = shrunken(np.array([1000, 2]), np.array([100, 2]))
    >>> bool(0.1 <= rates[0] < rates[1] < 0.9)
    True
    """
    from scipy.special import betainc, betaln, expit, logit

    common = logit((converted.sum() + 0.5) / (n.sum() + 1.0))
    mean, strength = (each.ravel() for each in np.meshgrid(expit(common + _MEANS), _STRENGTHS))
    a, b = (strength * mean)[:, None], (strength * (1 - mean))[:, None]
    fits = (betaln(converted + a, n - converted + b) - betaln(a, b)).sum(axis=1)
    weight = np.exp(fits - fits.max())
    likely = weight > _LEAST
    weight, a, b = weight[likely] / weight[likely].sum(), a[likely], b[likely]
    a, b = a + converted, b + n - converted  # (n_priors, n_groups)
    rates = weight @ (a / (a + b))
    at = expit(np.linspace(logit(rates) - 8, logit(rates) + 8, _POINTS))  # (n_points, n_groups)
    below = np.einsum("p,pxg->xg", weight, betainc(a[:, None], b[:, None], at))
    ends = [[np.interp(p, below[:, g], at[:, g]) for g in range(n.size)] for p in (0.025, 0.975)]
    return rates, np.array(ends[0]), np.array(ends[1])
