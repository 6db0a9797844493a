"""Segments of visitors: how many there are, whether they last, who they are and what they bring.

The number of classes is the one with the lowest criterion among those whose every class is found again in
resampled visitors: the mean, over resamples, of the largest Jaccard similarity to any class of a fit to the
resample. One class needs no such proof, so "no segments" is an answer.

Source of the stability: Hennig, Computational Statistics and Data Analysis 52 (2007) 258, who calls .6 the
least that speaks for a pattern, and .75 and more stable.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gaelp.data.discovery.intervals import Floats, mean, rate, wilson
from gaelp.data.discovery.lives import Tick
from gaelp.data.discovery.mixture import Classes, ResponsePatterns, fit
from gaelp.data.discovery.visitors import Frame, Trait, Visitors
from gaelp.journeys.batch import Ints

MOST_SEGMENTS: Final = 8
FITTED: Final = 20_000
"""Most visitors that a mixture is fitted to, drawn from all; every visitor is assigned."""
LEAST_JACCARD: Final = 0.6
_STARTS, _RESAMPLES, _STARTS_RESAMPLED = 6, 30, 2
_PATIENCE: Final = 2  # numbers of classes tried after the best so far
_TELLING: Final = 0.05  # nats by which a trait has to differ from everybody's to be in a name
_NAMED: Final = 3
_WORDS: Final = {
    "first_channel": "{} first",
    "first_device": "on {}",
    "next_channel": "then {}",
}


def find_segments(visitors: Visitors, frame: Frame, seed: int, tick: Tick) -> dict[str, Any]:
    """The section `segments` of the JSON.

    Args:
        visitors: all of them. frame: how they are described. seed: names starts and resamples.
        tick: told of progress.
    """
    n = visitors.bought.size
    if n == 0:
        return {"unknown": "no visitor has a touch"}
    draws = np.random.default_rng(seed)
    sizes = [len(trait.categories) for trait in frame.traits]
    patterns = ResponsePatterns.of_traits(visitors.traits, sizes)
    weight = patterns.n
    if n > FITTED:
        drawn = draws.choice(n, FITTED, replace=False)
        weight = np.bincount(patterns.of[drawn], minlength=patterns.n.size)
    n_fitted = min(n, FITTED)
    tried = _fits(patterns, weight, n_fitted, draws, tick)
    stability: dict[int, list[float]] = {1: [1.0]}
    for k in sorted(tried, key=lambda each: (tried[each].bic(n_fitted), each)):
        if k > 1:
            stability[k] = _stability(patterns, weight, tried[k], draws, tick)
        if min(stability[k]) >= LEAST_JACCARD:
            chosen = k
            break
    told = patterns.told()
    own = tried[chosen].posterior(told).argmax(axis=1)
    candidates = [
        {
            "segments": k,
            "bic": each.bic(n_fitted),
            "log_likelihood": each.log_likelihood,
            "parameters": each.n_parameters,
            "jaccard": sorted(stability[k], reverse=True) if k in stability else None,
        }
        for k, each in sorted(tried.items())
    ]
    return {
        "n": chosen,
        "method": "latent classes; number by BIC among those found again in resampled visitors",
        "least_jaccard": LEAST_JACCARD,
        "fitted_visitors": n_fitted,
        "candidates": candidates,
        "items": _items(visitors, frame, tried[chosen], own[patterns.of], stability[chosen]),
    }


def _fits(
    patterns: ResponsePatterns, weight: Ints, n: int, draws: np.random.Generator, tick: Tick
) -> dict[int, Classes]:
    """Fits of 1, 2, ... classes, until the criterion has risen for a while."""
    found: dict[int, Classes] = {}
    for k in range(1, MOST_SEGMENTS + 1):
        tick("looking for segments", (k - 1) / (2 * MOST_SEGMENTS))
        found[k] = fit(patterns, weight, k, _STARTS, draws)
        best = min(found, key=lambda each: found[each].bic(n))
        if k - best >= _PATIENCE:
            break
    return found


def _stability(
    patterns: ResponsePatterns, weight: Ints, classes: Classes, draws: np.random.Generator, tick: Tick
) -> list[float]:
    """(k,) mean over resamples of each class's largest Jaccard similarity to a class of the resample."""
    told, k, n = patterns.told(), classes.share.size, int(weight.sum())
    own = classes.posterior(told).argmax(axis=1)
    sums = np.zeros(k)
    for i in range(_RESAMPLES):
        tick("trying segments on resampled visitors", 0.5 + i / (2 * _RESAMPLES))
        drawn = draws.multinomial(n, weight / n)
        other = fit(patterns, drawn, k, _STARTS_RESAMPLED, draws).posterior(told).argmax(axis=1)
        both = np.zeros((k, k))
        np.add.at(both, (own, other), drawn)
        either = both.sum(axis=1)[:, None] + both.sum(axis=0) - both
        sums += (both / np.maximum(either, 1)).max(axis=1)
    return [float(each) for each in sums / _RESAMPLES]


def _items(
    visitors: Visitors, frame: Frame, classes: Classes, own: Ints, stability: Sequence[float]
) -> list[dict[str, Any]]:
    """The segments, the largest first."""
    n = own.size
    items: list[dict[str, Any]] = []
    sizes = np.bincount(own, minlength=classes.share.size)
    everybody = classes.share @ classes.chance
    named: list[str] = []
    for c in np.lexsort((np.arange(sizes.size), -sizes)).tolist():
        name = _name(classes.chance[c], everybody, frame.traits) if sizes.size > 1 else "all visitors"
        named.append(name)
        if named.count(name) > 1:
            name = f"{name} ({named.count(name)})"
        mine = own == c
        ripe = mine & visitors.ripe
        low, high = wilson(int(sizes[c]), n)
        items.append(
            {
                "id": f"segment_{len(items) + 1}",
                "name": name,
                "visitors": int(sizes[c]),
                "share": {"share": int(sizes[c]) / n, "low": low, "high": high},
                "model_share": float(classes.share[c]),
                "jaccard": stability[c],
                "conversion": rate(int((ripe & visitors.converted).sum()), int(ripe.sum())),
                "value": value(visitors, ripe, frame),
                "traits": _traits(classes.chance[c], frame.traits),
            }
        )
    return items


def value(visitors: Visitors, rows: Any, frame: Frame) -> dict[str, Any]:
    """What some visitors of the cohort bought for within the horizon, each and for each buyer.

    Args:
        visitors: all. rows: (n,) which of them. frame: with the names of currencies.
    """
    buyers = rows & visitors.converted
    paid = np.unique(visitors.currency[buyers])
    if paid.size > 1:
        return {"unknown": "purchases are in several currencies"}
    units = visitors.value_micros / 1e6
    told = {
        name: mean(int(some.sum()), float(units[some].sum()), float((units[some] ** 2).sum()))
        for name, some in (("per_visitor", rows), ("per_buyer", buyers))
    }
    return {"currency": frame.source.currencies[paid[0]] if paid.size else None, **told}


def _traits(chance: Floats, traits: Sequence[Trait]) -> dict[str, dict[str, float]]:
    """Chances of the categories of each trait."""
    told, begin = {}, 0
    for trait in traits:
        part = chance[begin : begin + len(trait.categories)]
        told[trait.name] = {each: float(p) for each, p in zip(trait.categories, part, strict=True)}
        begin += len(trait.categories)
    return told


def _name(chance: Floats, everybody: Floats, traits: Sequence[Trait]) -> str:
    """What sets a segment apart from everybody, the most telling traits first."""
    found, begin = [], 0
    for order, trait in enumerate(traits):
        end = begin + len(trait.categories)
        p, usual = chance[begin:end], everybody[begin:end]
        each = p * np.log(p / usual)
        if each.sum() > _TELLING:
            word = trait.categories[int(each.argmax())]
            found.append((-float(each.sum()), order, _WORDS.get(trait.name, "{}").format(word)))
        begin = end
    told = [word for _, _, word in sorted(found)[:_NAMED]]
    return ", ".join(told) or "much like everybody"
