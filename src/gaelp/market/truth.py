"""The truth log: what really happened and why, and the parameters found back in it.

`Market(..., truth_rows=n)` keeps the first `n` rows of every world; `Market.truth(w)` reads them, oldest
first, and `rows` picks one kind. Every row tells `hour`, `person`, and the person's `stage` and `segment`
at that moment; `outcome` is 1 where the thing happened. The rest depends on `kind`:

| kind       | one row per                         | outcome  | line, slot, brand, creative          |
|------------|-------------------------------------|----------|--------------------------------------|
| `T_AD`     | viewed feed ad, or ad on a search   | clicked  | as its bidder knows it; 0-2 the feed |
|            | page                                |          | or 3-6 the search slot; whose; which |
| `T_STAGE`  | activity that could move a stage up | moved    | -                                    |
| `T_BUY`    | activity that could end in a sale   | bought   | -                                    |
| `T_CHOICE` | brand at a sale, after -1 (nothing) | chosen   | brand only                           |
| `T_LAG`    | decision for an external seat       | the arm  | brand only                           |

| kind       | x[0]            | x[1]            | x[2]                   | x[3]                       |
|------------|-----------------|-----------------|------------------------|----------------------------|
| `T_AD`, 0-2| recent views of | click odds      | price, USD per 1000    | audience code (0: new)     |
|            | the creative    |                 |                        |                            |
| `T_AD`, 3-6| click chance    | 1: names this   | price, USD per click   | click chance before the    |
|            |                 | brand; .5: other|                        | page's limit               |
| `T_STAGE`  | pressure        | intensity       | 1: a site was visited  | 0                          |
| `T_BUY`    | intensity       | 1: just visited | chance                 | 0                          |
| `T_CHOICE` | goodwill        | taste           | utility lost by price  | sum of exp(utility)        |
| `T_LAG`    | hours to booking| factor of the   | that x factor of the   | 0                          |
|            |                 | segment         | last touch's channel   |                            |

Intensity is need x (1 + urgency). The rows of one activity follow each other: its ads, its stage, its sale.

`recover` estimates parameters from these rows by maximum likelihood, with code of its own: it never calls a
kernel and never reads the chances a kernel worked out (`x[1]` of feed ads, `x[0]` and `x[3]` of search ads,
`x[0]` of stage rows, `x[2]` of `T_BUY`, `x[3]` of `T_CHOICE`).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import Stage
from gaelp.market.file import MarketFile
from gaelp.market.hour import T_AD, T_BUY, T_CHOICE, T_LAG, T_STAGE
from gaelp.market.market import Market
from gaelp.market.parameters import AXES, FEEDS, MOST_OF_A_PAGE, STEPS

Floats = NDArray[np.float64]
Rows = NDArray[np.void]
Mean = Callable[[Floats], tuple[Floats, Floats]]
"""Means of all rows at given parameters, and their (n, k) derivatives."""

KINDS = {"ad": T_AD, "stage": T_STAGE, "buy": T_BUY, "choice": T_CHOICE, "lag": T_LAG}
LEAST_EVENTS = 30
"""A parameter that fewer events speak of is left out; its standard error would mean nothing."""
FIRST_SLOT = 3
_CONSIDERING = int(Stage.CONSIDERING)
_MOST_CHANCE = 0.9
"""No single activity moves a stage or ends in a sale with more than this chance."""


class Recovered(NamedTuple):
    """A parameter as the log tells it, with its standard error, beside the value the world was given."""

    estimate: float
    se: float
    stated: float

    @property
    def z(self) -> float:
        """Distance of the estimate from the stated value, in standard errors."""
        return (self.estimate - self.stated) / self.se


Found = Iterator[tuple[str, Recovered]]


def rows(market: Market, kind: str, world: int = 0) -> Rows:
    """Truth-log rows of one kind, oldest first.

    Args:
        market: run with `truth_rows` above 0.
        kind: a key of `KINDS`.
        world: index in the batch.
    """
    log = market.truth(world)
    chosen: Rows = log[log["kind"] == KINDS[kind]]
    return chosen


def recover(market: Market, world: int = 0) -> dict[str, Recovered]:
    """Estimate a world's parameters from its truth log.

    Args:
        market: run with `truth_rows` above 0.
        world: index in the batch.

    Returns:
        By `parameter.element`: click probability by search slot and query, click odds by feed, the fatigue
        exponent, hazards of the stages and of a purchase, brand priors and the weight of lived goodwill in
        the choice (`goodwill_effect`, 1 by construction), shares and means of the lag's arms. What fewer
        than `LEAST_EVENTS` events speak of is missing.
    """
    file = market.worlds[world].file
    log = market.truth(world)
    found: dict[str, Recovered] = {}
    ads = log[log["kind"] == T_AD]
    found.update(_search_clicks(file, ads[ads["slot"] >= FIRST_SLOT], market.n_seats))
    found.update(_feed_clicks(file, ads[ads["slot"] < FIRST_SLOT], market.n_seats))
    found.update(_stage_moves(file, log))
    found.update(_purchases(file, rows(market, "buy", world)))
    found.update(_choices(file, rows(market, "choice", world), market.n_seats))
    found.update(_lags(file, rows(market, "lag", world)))
    return found


def _search_clicks(file: MarketFile, ads: Rows, n_seats: int) -> Found:
    """Log-binomial regression of search clicks on slot and query; the first slot is 1 by definition.

    One reader's single draw runs down the page, so slots of a page exclude each other; each slot's click
    alone is still a Bernoulli trial of the stated chance, and pages are independent.
    """
    value = _values(file)
    query, device_class = ads["line"] // 2, ads["line"] % 2
    offset = np.log(value["click_segment"][ads["segment"]] * value["click_class"][device_class])
    if "search" in file.response:
        relative = file.response["search"].at("search", query, ads["segment"], device_class)
        offset += np.where(ads["brand"] < n_seats, np.log(relative), 0.0)
    names = [f"position.{slot}" for slot in AXES["slot"]] + [f"search_click.{q}" for q in AXES["query"]]
    member = _one_hot(ads["slot"] - FIRST_SLOT, 4), _one_hot(query, 4)
    design = np.concatenate(member, axis=1)
    told = design.T @ ads["outcome"] >= LEAST_EVENTS
    if not told[0]:
        return
    kept = (design[:, ~told] == 0).all(axis=1)
    told[0] = False
    offset, clicked, design = offset[kept], ads["outcome"][kept], design[kept][:, told]

    def mean(theta: Floats) -> tuple[Floats, Floats]:
        chance = np.minimum(np.exp(offset + design @ theta), MOST_OF_A_PAGE)
        return chance, chance[:, None] * design

    start = np.log([0.7 if name.startswith("position") else 0.05 for name in _kept(names, told)])
    theta, cov = _fit(mean, clicked, start)
    stated = dict(zip(names, [*value["position"], *value["search_click"]], strict=True))
    for i, name in enumerate(_kept(names, told)):
        estimate = float(np.exp(theta[i]))
        yield name, Recovered(estimate, estimate * float(np.sqrt(cov[i, i])), float(stated[name]))


def _feed_clicks(file: MarketFile, ads: Rows, n_seats: int) -> Found:
    """Logistic regression of feed clicks: level by feed, power of views, engagement, rivals' fatigue."""
    value = _values(file)
    ours = ads["brand"] < n_seats
    odds = value["click_stage"][ads["stage"]] * value["click_segment"][ads["segment"]]
    odds = odds * value["click_class"][ads["line"] % 2]
    odds = odds * np.where(ours, value["creative_fit"][ads["segment"], ads["creative"]], 1.0)
    x = ads["x"]
    if "feed" in file.response:
        who = x[:, 3].astype(np.int64)
        place = (ads["slot"], ads["segment"], ads["stage"], ads["line"] % 2, who, ads["creative"])
        odds = odds * np.where(ours, file.response["feed"].at("feed", *place), 1.0)
    offset = np.log(odds)
    columns = {f"feed_click_odds.{feed}": ads["slot"] == i for i, feed in enumerate(FEEDS)}
    columns |= {"engaged_click": x[:, 3] > 0, "rival_fatigue": ~ours}
    columns = {name: c for name, c in columns.items() if ads["outcome"][c].sum() >= LEAST_EVENTS}
    kept = np.isin(ads["slot"], [i for i, feed in enumerate(FEEDS) if f"feed_click_odds.{feed}" in columns])
    if not kept.any():
        return
    design = np.stack([*columns.values(), np.where(ours, np.log1p(x[:, 0]), 0.0)], axis=1).astype(float)[kept]
    names = [*columns, "fatigue_exponent"]

    def mean(theta: Floats) -> tuple[Floats, Floats]:
        chance = 1.0 / (1.0 + np.exp(-(offset[kept] + design @ theta)))
        return chance, (chance * (1.0 - chance))[:, None] * design

    start = np.array([np.log(0.01) if name.startswith("feed") else 0.0 for name in names])
    theta, cov = _fit(mean, ads["outcome"][kept], start)
    for i, name in enumerate(names):
        se = float(np.sqrt(cov[i, i]))
        if name == "fatigue_exponent":
            yield name, Recovered(float(theta[i]), se, float(value[name]))
        else:
            parameter, _, feed = name.partition(".")
            stated = value[parameter][FEEDS.index(feed)] if feed else value[parameter]
            estimate = float(np.exp(theta[i]))
            yield name, Recovered(estimate, estimate * se, float(stated))


def _stage_moves(file: MarketFile, log: Rows) -> Found:
    """Hazard of a step per viewed ad, search and visit, linear in what the activity held.

    An ad row of the same person and hour stands right before a stage row if the activity was a feed or a
    search; the others (direct visits, mail, search pages without an ad) look alike and are left out.
    """
    value = _values(file)
    at = np.flatnonzero(log["kind"] == T_STAGE)
    at = at[at > 0]
    moves, before = log[at], log[at - 1]
    same = (
        (before["kind"] == T_AD) & (before["person"] == moves["person"]) & (before["hour"] == moves["hour"])
    )
    searched = before["slot"] >= FIRST_SLOT
    visited = moves["x"][:, 2] > 0
    held = np.stack([~searched, searched, visited], axis=1).astype(float)
    parameters = ("stage_up_view", "stage_up_search", "stage_up_visit")
    for step, name in enumerate(STEPS):
        here = same & (moves["stage"] == step)
        events = moves["outcome"][here].astype(float) @ held[here]
        if (events < LEAST_EVENTS).any():
            continue
        dose = held[here] * moves["x"][here, 1:2]
        theta, cov = _fit(_capped_linear(dose), moves["outcome"][here], np.array([0.002, 0.2, 0.2]))
        for i, parameter in enumerate(parameters):
            se = float(np.sqrt(cov[i, i]))
            yield f"{parameter}.{name}", Recovered(float(theta[i]), se, float(value[parameter][step]))


def _capped_linear(dose: Floats) -> Mean:
    def mean(theta: Floats) -> tuple[Floats, Floats]:
        chance = dose @ theta
        free = (chance < _MOST_CHANCE)[:, None]
        return np.clip(chance, 1e-9, _MOST_CHANCE), dose * free

    return mean


def _purchases(file: MarketFile, buys: Rows) -> Found:
    """Log-binomial regression of purchases: rate in INTENT, factors of CONSIDERING and of a visit."""
    value = _values(file)
    x = buys["x"]
    columns = {
        "buy_rate": np.ones(buys.size),
        "buy_early": buys["stage"] == _CONSIDERING,
        "buy_visit": x[:, 1] > 0,
    }
    design = np.stack(list(columns.values()), axis=1).astype(float)
    if ((buys["outcome"] @ design) < LEAST_EVENTS).any():
        return
    offset = np.log(x[:, 0])

    def mean(theta: Floats) -> tuple[Floats, Floats]:
        chance = np.exp(np.minimum(offset + design @ theta, np.log(_MOST_CHANCE)))
        return chance, (chance * (chance < _MOST_CHANCE))[:, None] * design

    theta, cov = _fit(mean, buys["outcome"], np.array([np.log(0.02), np.log(0.1), np.log(3.0)]))
    for i, name in enumerate(columns):
        estimate = float(np.exp(theta[i]))
        yield name, Recovered(estimate, estimate * float(np.sqrt(cov[i, i])), float(value[name]))


def _choices(file: MarketFile, choices: Rows, n_seats: int) -> Found:
    """Conditional logit of the brand; taste and price are known, the utility of nothing is as stated."""
    value = _values(file)
    n_brands = n_seats + len(file.rivals)
    n = choices.size // (n_brands + 1)
    if n < LEAST_EVENTS:
        return
    table = choices[: n * (n_brands + 1)].reshape(n, n_brands + 1)  # (n, nothing and brands)
    x = table["x"]
    lived = x[..., 0] / (1.0 + np.abs(x[..., 0]) / float(value["goodwill_saturation"]))
    known = x[..., 1] - x[..., 2]
    known[:, 0] = float(value["none_utility"])
    design = np.zeros((n, n_brands + 1, n_brands + 1))
    design[:, 1:, :n_brands] = np.eye(n_brands)
    design[:, :, n_brands] = lived
    chosen = table["outcome"].astype(float)
    theta = np.zeros(n_brands + 1)
    cov = np.eye(n_brands + 1)
    for _ in range(30):
        utility = known + design @ theta
        chance = np.exp(utility - utility.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        centred = design - np.einsum("nb,nbk->nk", chance, design)[:, None, :]
        cov = np.linalg.inv(np.einsum("nb,nbk,nbl->kl", chance, centred, centred))
        move = cov @ np.einsum("nb,nbk->k", chosen - chance, design)
        theta = theta + move
        if np.abs(move).max() < 1e-8:
            break
    se = np.sqrt(np.diag(cov))
    stated = [float(value["brand_prior"])] * n_seats + [rival.prior for rival in file.rivals]
    names = [file.advertiser, *(f"seat_{k}" for k in range(1, n_seats)), *(r.name for r in file.rivals)]
    for b, name in enumerate(names):
        yield f"brand_prior.{name}", Recovered(float(theta[b]), float(se[b]), stated[b])
    yield "goodwill_effect", Recovered(float(theta[-1]), float(se[-1]), 1.0)


def _lags(file: MarketFile, lags: Rows) -> Found:
    """Shares of the lag's arms and means of their exponentials, censored at the longest lag drawn."""
    value = _values(file)
    n = lags.size
    if n < LEAST_EVENTS:
        return
    hours, factor = lags["x"][:, 0], lags["x"][:, 2]
    longest = hours.max()
    for arm, name in enumerate(AXES["arm"]):
        mine = lags["outcome"] == arm
        share = float(mine.mean())
        if mine.sum() < LEAST_EVENTS:
            continue
        se = float(np.sqrt(share * (1.0 - share) / n))
        yield f"lag_share.{name}", Recovered(share, se, float(value["lag_share"][arm]))
        waited = hours[mine] / factor[mine] - value["lag_start_hours"][arm]
        # several longest lags, equal to the last bit, were cut there: waits that were not over
        n_cut = int((hours[mine] == longest).sum()) if (hours == longest).sum() > 1 else 0
        n_over = max(int(mine.sum()) - n_cut, 1)
        mean = float(waited.sum() / n_over)
        se = mean / float(np.sqrt(n_over))
        yield f"lag_mean_hours.{name}", Recovered(mean, se, float(value["lag_mean_hours"][arm]))


def _fit(mean: Mean, outcome: NDArray[np.uint8], start: Floats) -> tuple[Floats, Floats]:
    """Maximum likelihood of independent yes-no outcomes by Fisher scoring with step halving.

    Args:
        mean: chances and their derivatives at given parameters.
        outcome: (n,) 0 or 1.
        start: (k,) parameters to begin with.

    Returns:
        (k,) estimates and their (k, k) covariance, the inverse of the information.
    """
    y = outcome.astype(float)
    theta = start
    chance, slope = mean(theta)
    likelihood = _log_likelihood(chance, y)
    cov: Floats = np.eye(start.size)
    for _ in range(60):
        weight = 1.0 / (chance * (1.0 - chance))
        cov = np.asarray(np.linalg.inv((slope * weight[:, None]).T @ slope), np.float64)
        move = cov @ (slope.T @ ((y - chance) * weight))
        for _ in range(30):
            chance, slope = mean(theta + move)
            better = _log_likelihood(chance, y)
            if better >= likelihood - 1e-9:
                break
            move = move / 2.0
        theta = theta + move
        done = better - likelihood < 1e-7
        likelihood = better
        if done:
            break
    return theta, cov


def _log_likelihood(chance: Floats, y: Floats) -> float:
    safe = np.clip(chance, 1e-300, 1.0 - 1e-12)
    return float(np.sum(np.where(y > 0, np.log(safe), np.log1p(-safe))))


def _values(file: MarketFile) -> dict[str, Floats]:
    return {name: stated.value for name, stated in file.parameters.items()}


def _one_hot(code: NDArray[np.integer], size: int) -> Floats:
    member: Floats = np.equal.outer(code, np.arange(size)).astype(np.float64)
    return member


def _kept(names: list[str], told: NDArray[np.bool_]) -> list[str]:
    return [name for name, keep in zip(names, told, strict=True) if keep]
