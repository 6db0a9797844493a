"""Which parameters of a market are fitted, and worlds drawn from what is believed before.

A free parameter is the level of a group of elements of the market file: one number, 0 at the base file. On a
log scale it is the mean log factor of its elements on the base's, on a logit scale their mean shift in
logits, on a plain scale their mean shift. The prior of each is normal around the base; its width is assumed,
wider than the file's `[spread]`. All else that `[spread]` names varies besides, element by element, as it
does between training worlds: intervals are honest about what is not fitted.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from gaelp.core.random import named_seed
from gaelp.market.file import MarketFile
from gaelp.market.market import World
from gaelp.worlds.splits import draw_factors, with_factors

Floats = NDArray[np.float64]

_NEAR: Final = 1e-6  # shares are kept so far from 0 and 1 before a logit


class Free(NamedTuple):
    """A parameter that is fitted.

    Attributes:
        name: what it is called. parameter: whose elements. elements: which, by flat index; () for all.
        scale: "log", "logit" or "plain". sigma: standard deviation of its prior, on that scale.
        about: what it is.
    """

    name: str
    parameter: str
    elements: tuple[int, ...]
    scale: str
    sigma: float
    about: str


FREE: Final = (
    Free("social_activity", "activity_per_day", (0,), "log", 0.35, "social sessions a person and day"),
    Free("video_activity", "activity_per_day", (1,), "log", 0.35, "video sessions a person and day"),
    Free("display_activity", "activity_per_day", (2,), "log", 0.35, "pages with display a person and day"),
    Free("search_activity", "search_per_day", (), "log", 0.35, "category searches a person and day"),
    Free("direct_activity", "direct_per_day", (), "log", 0.40, "direct visits a person and day"),
    Free("search_price", "price_level", (0, 1, 2, 3), "log", 0.35, "what rivals value a search click at"),
    Free("social_price", "price_level", (4, 5), "log", 0.35, "what rivals value social impressions at"),
    Free("video_price", "price_level", (6,), "log", 0.35, "what rivals value video impressions at"),
    Free(
        "display_price", "price_level", (7, 8, 9), "log", 0.35, "what rivals value display and retargeting at"
    ),
    Free("search_click", "search_click", (), "log", 0.25, "click probability of a search ad"),
    Free("social_click", "feed_click_odds", (0,), "log", 0.35, "click odds of a social ad"),
    Free("video_click", "feed_click_odds", (1,), "log", 0.35, "click odds of a video ad"),
    Free("display_click", "feed_click_odds", (2,), "log", 0.35, "click odds of a display ad"),
    Free(
        "organic_share", "organic_us", (0, 1), "log", 0.40, "our share of organic clicks, category searches"
    ),
    Free("buy_rate", "buy_rate", (), "log", 0.35, "chance of a category purchase per activity"),
    Free("brand", "brand_prior", (), "plain", 0.25, "prior strength of the brand"),
    Free("goodwill_click", "goodwill_click", (), "log", 0.35, "goodwill per visit"),
    Free("consent", "consent_share", (), "logit", 0.40, "share of devices that allow tracking"),
    Free("sign_up", "mail_signup", (), "log", 0.40, "chance that a visit leaves an address"),
    Free("lag_days", "lag_mean_hours", (1,), "log", 0.35, "mean of the lag's arm of days, hours"),
    Free("lag_slow", "lag_share", (2,), "logit", 0.40, "share of sales booked by the slow arm"),
    Free("first_segment", "segment_share", (0,), "logit", 0.40, "share of the first segment"),
)
"""What is fitted, in the order of every array of parameters."""
SIGMA: Final = np.array([each.sigma for each in FREE])
_SHARES: Final = ("lag_share", "segment_share")
"""Elements that add up to 1: the others make room."""


def levels_of(file: MarketFile, base: MarketFile) -> Floats:
    """(len(FREE),) where a market stands, on each parameter's scale; 0 at the base.

    Args:
        file: a market with the base's shape. base: the market that is fitted.
    """
    found = []
    for free in FREE:
        here, there = (_scaled(free, market) for market in (file, base))
        found.append(float((here - there).mean()))
    return np.array(found)


def at_levels(file: MarketFile, base: MarketFile, levels: Floats) -> MarketFile:
    """The market with each group of elements moved to a level, all of them inside the file's ranges.

    Args:
        file: where elements stand to each other. base: what levels are told from. levels: (len(FREE),).
    """
    for free, move in zip(FREE, levels - levels_of(file, base), strict=True):
        stated = file.parameters[free.parameter]
        value = stated.value.copy()
        flat = value.reshape(-1)
        which = _elements(free, flat.size)
        total = flat.sum() if free.parameter in _SHARES else 1.0
        low, high = (_on_scale(free, np.array(bound / total)) for bound in (stated.low, stated.high))
        scaled = _moved(_scaled(free, file), move, float(low), float(high))
        flat[which] = np.clip(_unscaled(free, scaled) * total, stated.low, stated.high)
        if free.parameter in _SHARES:
            rest = np.setdiff1d(np.arange(flat.size), which)
            flat[rest] *= (total - flat[which].sum()) / flat[rest].sum()
        file = file.with_values({free.parameter: value})
    return file


def levels_in_units(base: MarketFile, levels: Floats) -> Floats:
    """Levels in the units of the market file: geometric mean of the elements, or share, or mean.

    Args:
        base: what levels are told from. levels: (..., len(FREE)).
    """
    found = np.empty_like(levels)
    for i, free in enumerate(FREE):
        found[..., i] = _unscaled(free, _scaled(free, base).mean() + levels[..., i])
    return found


def prior_world(base: MarketFile, seed: int, index: int, bounds: Floats | None = None) -> World:
    """World `index` of the prior: free parameters at levels drawn, the rest by `[spread]`.

    Args:
        base: the market file. seed: names the draw. index: of the world.
        bounds: (len(FREE), 2) keep each level between these; None for the whole prior.
    """
    generator = np.random.default_rng(named_seed("calibration prior", base.name, seed, index))
    levels = SIGMA * generator.standard_normal(len(FREE))
    if bounds is not None:
        while (outside := (levels < bounds[:, 0]) | (levels > bounds[:, 1])).any():
            levels[outside] = SIGMA[outside] * generator.standard_normal(int(outside.sum()))
    return world_at(base, levels, seed, index)


def world_at(base: MarketFile, levels: Floats, seed: int, index: int) -> World:
    """A world with given levels; all that is not fitted is drawn by `[spread]`.

    Args:
        base: the market file. levels: (len(FREE),). seed, index: name the luck.
    """
    generator = np.random.default_rng(named_seed("calibration rest", base.name, seed, index))
    file = with_factors(base, draw_factors(base, generator))
    return World(at_levels(file, base, levels), named_seed("calibration world", base.name, seed, index))


def with_start(base: MarketFile, first_us: int, warm_up_days: int) -> MarketFile:
    """The market started so early that its first day after the warm-up is that of the data.

    Args:
        base: the market file. first_us: of the data, microseconds since 1970. warm_up_days: before it.
    """
    first = np.datetime64(first_us, "us").astype("datetime64[D]") - warm_up_days
    return replace(base, start=first.item())


def _elements(free: Free, size: int) -> NDArray[np.int64]:
    return np.array(free.elements if free.elements else range(size), np.int64)


def _moved(scaled: Floats, move: float, low: float, high: float) -> Floats:
    """Elements whose mean has moved; where some meet an end of the range the others go further."""
    target = scaled.mean() + move
    for _ in range(scaled.size):
        scaled = np.clip(scaled, low, high)
        free = (scaled < high) if move > 0 else (scaled > low)
        if not free.any():
            break
        scaled = scaled + free * (target - scaled.mean()) * scaled.size / free.sum()
    return np.clip(scaled, low, high)


def _scaled(free: Free, file: MarketFile) -> Floats:
    flat = file.parameters[free.parameter].value.reshape(-1)
    value = flat[_elements(free, flat.size)]
    return _on_scale(free, value / flat.sum() if free.parameter in _SHARES else value)


def _on_scale(free: Free, value: Floats) -> Floats:
    if free.scale == "log":
        return np.log(np.maximum(value, _NEAR * 1e-3))
    return logit(np.clip(value, _NEAR, 1 - _NEAR)) if free.scale == "logit" else value


def _unscaled(free: Free, value: Floats) -> Floats:
    if free.scale == "log":
        return np.exp(value)
    return expit(value) if free.scale == "logit" else value
