"""A market that answers by a response model, distilled to the tables that its kernels read.

    ads = taught.read_ads("clicks.csv", model, base)     # what `gaelp export clicks` wrote of the base
    found = distil(ads, base)
    found.file                                           # the base, answering as the model does

A model takes microseconds for a chance and a kernel has nanoseconds, so the model is taught to the market:
for every ad of a table it says a chance, and the market's own form is fitted to these chances instead of
clicks, by maximum likelihood (soft labels: Hinton, Vinyals, Dean, arXiv 1503.02531).

1. Parameters. Log odds of a feed's click, and the log chance of a search's, are sums over channel, query,
   slot, stage, segment, device, audience, creative and earlier views. What of this the model reads is fitted,
   the rest stays as the base has it. A trace of a penalty keeps at the base's what the ads do not tell.
2. Tables. What sums cannot say, such as a creative that works in one feed only, is left as relative odds of
   own ads over the axes that the model reads: in every cell of them the market's clicks are the model's.

Of ads that the model does not know the base's chance is taught. So a model that says what the base says
changes nothing, and one of a single channel leaves own ads in the others alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.market.file import RESPONSE_RANGE, MarketFile, Response
from gaelp.market.parameters import AXES, BY_NAME, FEEDS, QUERIES, RESPONSE_AXES, STAGES, axis_names
from gaelp.worlds.click_log import FEATURES
from gaelp.worlds.taught import (
    CHANNELS,
    COLUMN_OF,
    Ads,
    Bools,
    Floats,
    chance_of,
    expected_clicks,
    log_odds_of,
    sums,
)

Cells = list[tuple[str, tuple[int, ...]]]

_LEVEL, _FACTOR, _DETAIL = 1e-7, 1e-3, 1e-2
"""Penalties, in clicks, on squared changes of logarithms: a change that all share belongs to the level, one
that all creatives share to the segment."""
_ROUNDS, _LONGEST_MOVE = 200, 2.0
_CROWDED = 0.3
"""Chances of search ads from which on a page's limit of .95 for all of them is near."""


@dataclass(frozen=True)
class Distilled:
    """A market that answers by a model, and how well.

    Attributes:
        file: the market. names: parameters that were fitted.
        figures: what `gaelp ctr distil --json` tells.
    """

    file: MarketFile
    names: tuple[str, ...]
    figures: dict[str, Any]


class _Column(NamedTuple):
    """A thing to fit: by how much the logarithm of some cells of parameters changes, and where it counts."""

    cells: Cells
    where: Floats
    penalty: float


def distil(ads: Ads, base: MarketFile) -> Distilled:
    """Fit the market's parameters and response tables to what a model says of its ads.

    Args:
        ads: of the base's world. base: a market without response tables.

    Raises:
        BadInput: the base has response tables.
    """
    if base.response:
        allowed = "must be a market without [response] tables"
        remedy = "Name the market that it was distilled from."
        raise BadInput("market", base.path.name, allowed, remedy)
    columns = _free(ads, base)
    middle, at_limit, converged = _fitted(ads, base, columns)
    log_odds = log_odds_of(middle, ads)
    tables, n_at_limit = {}, {}
    for kind in RESPONSE_AXES:
        if over := _axes_of(kind, ads):
            tables[kind], n_at_limit[kind] = _table(kind, over, ads, log_odds, middle)
    file = replace(middle, response=tables)
    markets = {"base": base, "parameters": middle, "market": file}
    expected = {name: expected_clicks(market, ads) for name, market in markets.items()}
    figures = {
        **ads.about,
        "ads": int(ads.n.sum()),
        "channels": _by_channel(ads, expected),
        "fit": {name: _agreement(ads, clicks) for name, clicks in expected.items()},
        "parameters": _changes(base, file, columns),
        "at_limit": at_limit,
        "tables": {kind: list(table.over) for kind, table in tables.items()},
        "notes": _notes(ads, expected["market"], at_limit, n_at_limit, converged),
    }
    names = tuple(dict.fromkeys(name for column in columns for name, _ in column.cells))
    return Distilled(file, names, figures)


def _free(ads: Ads, base: MarketFile) -> list[_Column]:
    """What is fitted: the parts of the market's form that the model reads, where it knows ads of them."""
    at, feed, search = ads.at, ~ads.searched, ads.searched
    found: list[_Column] = []

    def add(cells: Cells, where: NDArray[Any], penalty: float) -> None:
        cells = [(name, index) for name, index in cells if base.parameters[name].value[index] != 0]
        if cells and (where[ads.known] != 0).any():
            found.append(_Column(cells, where.astype(float), penalty))

    def each(
        name: str, column: str, rows: Bools, size: int, first: int = 0, penalty: float = _FACTOR
    ) -> None:
        if column in ads.reads:
            for code in range(first, size):
                add([(name, (code,))], rows & (at[column] == code), penalty)

    each("feed_click_odds", "channel", feed, len(FEEDS), penalty=_LEVEL)
    each("search_click", "query", search, len(QUERIES), penalty=_LEVEL)
    if "query" not in ads.reads:
        add([("search_click", (code,)) for code in range(len(QUERIES))], search, _LEVEL)
    each("position", "slot", search, len(AXES["slot"]), first=1)
    each("click_stage", "stage", feed, len(STAGES))
    each("click_segment", "segment", feed | search, len(base.segments))
    each("click_class", "device", feed | search, len(AXES["class"]))
    if "audience" in ads.reads:
        add([("engaged_click", ())], feed & (at["audience"] > 0), _FACTOR)
    if "creative" in ads.reads:
        segments = range(len(base.segments))
        together = [[s] for s in segments] if "segment" in ads.reads else [list(segments)]
        for creative in range(len(AXES["creative"])):
            for group in together:
                cells: Cells = [("creative_fit", (s, creative)) for s in group]
                add(cells, feed & (at["creative"] == creative) & np.isin(at["segment"], group), _DETAIL)
    if "views" in ads.reads:
        add([("fatigue_exponent", ())], np.where(feed, ads.log_views, 0.0), _FACTOR)
    return found


def _fitted(ads: Ads, base: MarketFile, columns: list[_Column]) -> tuple[MarketFile, list[str], bool]:
    """The base with fitted parameters; those that stopped at the end of their range; whether the fit ended.

    A parameter that would leave its range stays at the end of it, and the others are fitted again.
    """
    file, free, at_limit, converged = base, columns, set[str](), True
    while free:
        change, ended = _fit(ads, log_odds_of(file, ads), free)
        converged &= ended
        moved, stopped = _moved(file, free, change)
        if not stopped:
            return moved, sorted(at_limit), converged
        kept = {name: file.parameters[name].value.copy() for column in stopped for name, _ in column.cells}
        for column in stopped:
            for name, index in column.cells:
                kept[name][index] = moved.parameters[name].value[index]
                at_limit.add(name)
        file = file.with_values(kept)
        free = [column for column in free if not any(column is each for each in stopped)]
    return file, sorted(at_limit), converged


def _fit(ads: Ads, offset: Floats, columns: list[_Column]) -> tuple[Floats, bool]:
    """(k,) changes of logarithms, and whether they came to rest; Fisher scoring with bounded, halved steps.

    The likelihood is the binomial of feeds and, of searches, Poisson's: with its logarithm as link, sums of
    clicks are kept also where the model does not read all that the market's chances depend on.
    """
    design = np.stack([column.where for column in columns], axis=1)
    penalty = np.array([column.penalty for column in columns])
    searched, taught, n = ads.searched, ads.taught, ads.n

    def mean(theta: Floats) -> tuple[Floats, Floats]:
        eta = np.clip(offset + design @ theta, -40.0, 40.0)
        return np.where(searched, np.exp(eta), 1.0 / (1.0 + np.exp(-eta))), eta

    def loss(theta: Floats) -> float:
        chance, eta = mean(theta)
        each = np.where(searched, n * chance, n * np.logaddexp(0.0, eta)) - taught * eta
        return float(0.5 * (penalty * theta**2).sum() + each.sum())

    theta = np.zeros(len(columns))
    before = loss(theta)
    for _ in range(_ROUNDS):
        chance, _ = mean(theta)
        weight = n * np.where(searched, chance, chance * (1.0 - chance))
        information = (design * weight[:, None]).T @ design + np.diag(penalty)
        move = np.linalg.solve(information, design.T @ (taught - n * chance) - penalty * theta)
        move = move * min(1.0, _LONGEST_MOVE / max(float(np.abs(move).max()), 1e-300))
        after = loss(theta + move)
        while after > before and np.abs(move).max() > 1e-10:
            move = move / 2.0
            after = loss(theta + move)
        if after > before:
            return theta, True
        theta, before = theta + move, after
        if np.abs(move).max() < 1e-8:
            return theta, True
    return theta, False


def _moved(file: MarketFile, columns: list[_Column], change: Floats) -> tuple[MarketFile, list[_Column]]:
    """The file with changed parameters, each within its range, and the columns that would have left it."""
    values = {name: file.parameters[name].value.copy() for column in columns for name, _ in column.cells}
    stopped = []
    for column, by in zip(columns, change, strict=True):
        leaves = False
        for name, index in column.cells:
            stated = file.parameters[name]
            old = float(values[name][index])
            new = old + by if name == "fatigue_exponent" else old * float(np.exp(by))
            kept = min(max(float(f"{new:.8g}"), stated.low), stated.high)
            leaves |= abs(kept - new) > 1e-6 * abs(new)
            values[name][index] = kept
        if leaves:
            stopped.append(column)
    return file.with_values(values), stopped


def _axes_of(kind: str, ads: Ads) -> tuple[str, ...]:
    """Axes of a response table that the model reads; none where it knows no such ads."""
    known = (ads.of(kind) & ads.known).any()
    return tuple(axis for axis in RESPONSE_AXES[kind] if known and COLUMN_OF.get(axis, axis) in ads.reads)


def _table(
    kind: str, over: tuple[str, ...], ads: Ads, log_odds: Floats, file: MarketFile
) -> tuple[Response, int]:
    """Relative odds by cell that make the market's clicks the model's, and how many cells stopped short."""
    rows = ads.of(kind)
    shape = tuple(len(axis_names(axis, file.segments)) for axis in over)
    place = np.ravel_multi_index([ads.at[COLUMN_OF.get(axis, axis)][rows] for axis in over], shape)
    size = int(np.prod(shape))
    taught, n = sums(place, ads.taught[rows], size), ads.n[rows]
    searched, log_rows = ads.searched[rows], log_odds[rows]
    low, high = np.log(RESPONSE_RANGE)
    relative = np.zeros(size)
    for _ in range(_ROUNDS):
        clicks = sums(place, n * chance_of(log_rows + relative[place], searched), size)
        move = np.where(clicks > 0, np.log(np.maximum(taught, 1e-12) / np.maximum(clicks, 1e-12)), 0.0)
        relative = np.clip(relative + move, low, high)
        if np.abs(move).max() < 1e-6:
            break
    short = int(np.sum((np.abs(move) > 1e-3) & (taught > 0)))
    value = np.clip([float(f"{v:.4g}") for v in np.exp(relative)], *RESPONSE_RANGE)
    return Response(over=over, value=value.reshape(shape)), short


def _by_channel(ads: Ads, expected: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """Clicks per ad by channel: there were, the model says, and the market's at each step."""
    found = {}
    for code, name in enumerate(CHANNELS):
        rows = ads.at["channel"] == code
        n = float(ads.n[rows].sum())
        if n:
            clicks = {"clicked": ads.clicked, "model": ads.taught, **expected}
            found[name] = {"ads": n, **{step: float(part[rows].sum() / n) for step, part in clicks.items()}}
    return found


def _agreement(ads: Ads, clicks: Floats) -> dict[str, float | None]:
    """How near the market's clicks are to the model's, over the cells of all that the model reads.

    `r2`: share of the variance of the model's log chance between cells that the market's follows, weighted by
    clicks; None where all are alike. `misplaced`: share of clicks that would have to be in another cell. Ads
    that the model does not know do not count.
    """
    read = [ads.at[name][ads.known] for name in FEATURES if name in ads.reads]
    _, which = np.unique(np.stack(read), axis=1, return_inverse=True)
    which = which.ravel()
    n, taught, ours = (sums(which, part[ads.known]) for part in (ads.n, ads.taught, clicks))
    gap, log_chance = np.log(ours / taught), np.log(taught / n)
    spread = float(np.cov(log_chance, aweights=taught, ddof=0)) if n.size > 1 else 0.0
    r2 = 1.0 - float(np.average(gap**2, weights=taught)) / spread if spread > 1e-12 else None
    return {"r2": r2, "misplaced": 0.5 * float(np.abs(ours - taught).sum() / taught.sum())}


def _changes(base: MarketFile, file: MarketFile, columns: list[_Column]) -> dict[str, dict[str, list[float]]]:
    """By parameter and element, what the base said and what the market says now."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, index in (cell for column in columns for cell in column.cells):
        axes = [axis_names(axis, base.segments) for axis in BY_NAME[name].axes]
        element = ".".join(names[i] for names, i in zip(axes, index, strict=True)) or "all"
        pair = [float(each.parameters[name].value[index]) for each in (base, file)]
        found.setdefault(name, {})[element] = pair
    return found


def _notes(
    ads: Ads, clicks: Floats, at_limit: list[str], n_at_limit: Mapping[str, int], converged: bool
) -> list[str]:
    """What a person should know of a fit."""
    left_out, found = ads.about.get("left_out", {}), []
    if n_kept := int(ads.n[~ads.known].sum()):
        which = f"; too few clicks to learn from of {', '.join(left_out)}" if left_out else ""
        found.append(f"{n_kept:,} of {int(ads.n.sum()):,} ads keep the base's chance{which}")
    for name, share in ads.about.get("unseen", {}).items():
        found.append(f"{100 * share:.1f} % of ads have a {name} that was not there at training")
    there = {CHANNELS[code] for code in np.unique(ads.at["channel"])}
    missing = [name for name in CHANNELS if name not in there]
    if missing:
        found.append(
            f"no ads of {', '.join(missing)} in the table: they follow the parameters that all share"
        )
    if at_limit:
        found.append(f"at the end of their range: {', '.join(at_limit)}")
    for kind, n_cells in n_at_limit.items():
        if n_cells:
            found.append(f"response.{kind}: {n_cells} cells stop at the end of their range")
    pages = ads.searched & ads.known
    if pages.any() and clicks[pages].sum() / ads.n[pages].sum() > _CROWDED:
        found.append("search ads are clicked so often that a page's limit of .95 takes some of it away")
    if not converged:
        found.append("the fit did not come to rest: compare the figures with care")
    return found
