"""A market that answers by a response model, distilled to the tables that its kernels read.

    ads = read_ads("clicks.csv", model, base)     # what `gaelp export clicks` wrote of the base
    found = distil(ads, base)
    found.file                                    # the base, answering as the model does

A model takes microseconds for a chance and a kernel has nanoseconds, so the model is taught to the market:
for every ad of a table it says a chance, and the market's own form is fitted to these chances instead of
clicks, by maximum likelihood (soft labels: Hinton, Vinyals, Dean, arXiv 1503.02531).

1. Parameters. Log odds of a feed's click, and the log chance of a search's, are sums over channel, query,
   slot, stage, segment, device, audience, creative and earlier views. What of this the model reads is fitted,
   the rest stays as the base has it. A trace of a penalty keeps at the base's what the ads do not tell.
2. Tables. What sums cannot say, such as a creative that works in one feed only, is left as relative odds of
   own ads over the axes that the model reads: in every cell of them the market's clicks are the model's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.data.tables import CodedColumn
from gaelp.market.file import RESPONSE_RANGE, MarketFile, Response
from gaelp.market.parameters import (
    AXES,
    BY_NAME,
    FATIGUE_STEP,
    FEEDS,
    N_FATIGUE,
    QUERIES,
    RESPONSE_AXES,
    STAGES,
    axis_names,
)
from gaelp.market.truth import LEAST_EVENTS
from gaelp.prediction.boosting import BoostedTrees
from gaelp.prediction.examples import read_again
from gaelp.prediction.model import Ensemble, ResponseModel, Scorer
from gaelp.worlds.click_log import CLICKED, FEATURES, SEARCH

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Bools = NDArray[np.bool_]
Cells = list[tuple[str, tuple[int, ...]]]

CHANNELS: Final = (*FEEDS, SEARCH)
MOST_CHANCE: Final = 0.95
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "channel": CHANNELS,
    "device": AXES["class"],
    "audience": AXES["audience"],
    "creative": AXES["creative"],
    "query": QUERIES,
    "stage": STAGES,
}
_COLUMN_OF: Final = {"feed": "channel", "class": "device"}
"""The table's column behind an axis of `RESPONSE_AXES` that is not called like it."""
_LEVEL, _FACTOR, _DETAIL = 1e-7, 1e-3, 1e-2
"""Penalties, in clicks, on squared changes of logarithms: a change that all share belongs to the level, one
that all creatives share to the segment."""


@dataclass(frozen=True)
class Ads:
    """Ads that are alike in all that the market knows, and what a model says of them.

    Attributes:
        at: by column of the click log, (n,) codes; -1 where it says nothing. `views` are quarters of a view,
            `slot` counts from 0.
        n: (n,) ads. taught: (n,) clicks that the model expects of them. clicked: (n,) clicks there were.
        reads: columns of the click log that the model reads.
        model: what is told of it: `model_id` and the file it was trained on.
        left_out: ads by `column: word` of words for which the model saw fewer than `LEAST_EVENTS` clicks.
    """

    at: dict[str, Codes]
    n: Floats
    taught: Floats
    clicked: Floats
    reads: frozenset[str]
    model: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def searched(self) -> Bools:
        """(n,) whether on a search page, else in a feed."""
        return self.at["channel"] == CHANNELS.index(SEARCH)

    def of(self, kind: str) -> Bools:
        """(n,) whether of a kind of response table: `feed` or `search`."""
        return self.searched if kind == SEARCH else ~self.searched


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


def read_ads(path: Path | str, model: ResponseModel, base: MarketFile) -> Ads:
    """Read a click log, ask a model about every ad, and count ads that are alike.

    Args:
        path: a table with the columns of `gaelp export clicks`, and any others that the model reads.
        model: of clicks; it must read `channel`.
        base: the market whose ads they are.

    Raises:
        BadInput: the model does not tell channels apart or is one of conversions; the table has another word
            than the market's; no ad is one that the model knows.
        UnknownName: the table has no such column.
    """
    if model.buckets is not None:
        allowed = "must be a model of clicks, trained without --delay"
        raise BadInput("MODEL", "delayed conversions", allowed, "Train one: gaelp ctr train --label clicked.")
    reads = {*model.columns.numeric, *model.columns.categorical}
    if "channel" not in reads:
        allowed = f"must read `channel`: {', '.join(CHANNELS)}"
        raise BadInput("MODEL", sorted(reads), allowed, "Train it on a table that has this column.")
    columns = replace(model.columns, label=CLICKED, time=None)
    examples, cells = read_again(path, columns, FEATURES, with_time=False)
    words = {**_WORDS, "segment": base.segments}
    at = {name: _codes(cells[name], words[name]) for name in words}
    at["views"] = _whole(cells["views"], FATIGUE_STEP, N_FATIGUE)
    at["slot"] = _whole(cells["slot"], 1.0, len(AXES["slot"]), first=1)
    searched = at["channel"] == CHANNELS.index(SEARCH)
    for names, rows in ((("audience", "creative", "views"), ~searched), (("query", "slot"), searched)):
        for name in ("channel", "device", "stage", "segment", *names):
            missing = rows & (at[name] < 0)
            if missing.any():
                row, where = int(np.flatnonzero(missing)[0]) + 1, "search" if searched[missing][0] else "feed"
                raise BadInput(f"{name} in row {row}", "", f"must be given of an ad in a {where}", "Fill it.")
    known = np.ones(len(examples), bool)
    left_out: dict[str, int] = {}
    for name in sorted(reads & words.keys()):
        clicks = _clicks_by_word(model.scorer, name)
        for code, word in enumerate(cells[name].words if clicks is not None else ()):
            if word and clicks is not None and clicks.get(word, 0) < LEAST_EVENTS:
                rows = cells[name].codes == code
                left_out[f"{name}: {word}"] = int(rows.sum())
                known &= ~rows
    if not known.any():
        allowed = f"must hold ads of which the model saw {LEAST_EVENTS} clicks for each word"
        raise BadInput("FILE", Path(path).name, allowed, "Train on more rows, in the words of this table.")
    sizes = {name: int(codes.max()) + 2 for name, codes in at.items()}
    place = np.ravel_multi_index([at[name][known] + 1 for name in sizes], tuple(sizes.values()))
    kinds, which = np.unique(place, return_inverse=True)
    unravelled = np.unravel_index(kinds, tuple(sizes.values()))
    chance, clicked = model.predict(examples)[known], examples.label[known]
    return Ads(
        {name: codes.astype(np.int64) - 1 for name, codes in zip(sizes, unravelled, strict=True)},
        n=np.bincount(which).astype(float),
        taught=_sums(which, chance),
        clicked=_sums(which, clicked),
        reads=frozenset(reads & {*FEATURES}),
        model={
            "model_id": model.manifest.get("model_id"),
            "trained_on": model.manifest.get("data", {}).get("file"),
            "reads": sorted(reads),
        },
        left_out=left_out,
    )


def distil(ads: Ads, base: MarketFile) -> Distilled:
    """Fit the market's parameters and response tables to what a model says of its ads.

    Args:
        ads: of the base's world. base: a market without response tables.

    Raises:
        BadInput: the base has response tables.
    """
    if base.response:
        allowed = "must be a market without [response] tables"
        raise BadInput("market", base.path.name, allowed, "Name the market that it extends.")
    columns = _free(ads)
    change = _fit(ads, _log_odds(base, ads), columns)
    middle, at_limit = _moved(base, columns, change)
    log_odds = _log_odds(middle, ads)
    found = {kind: _table(kind, ads, log_odds, middle) for kind in RESPONSE_AXES}
    tables = {kind: table for kind, table in found.items() if table is not None}
    file = replace(middle, response=tables)
    names = tuple(dict.fromkeys(name for column in columns for name, _ in column.cells))
    markets = {"base": base, "parameters": middle, "market": file}
    expected = {name: expected_clicks(market, ads) for name, market in markets.items()}
    figures = {
        **ads.model,
        "ads": int(ads.n.sum()),
        "left_out": ads.left_out,
        "channels": _by_channel(ads, expected),
        "fit": {name: _agreement(ads, clicks) for name, clicks in expected.items()},
        "parameters": _told(base, file, columns),
        "at_limit": at_limit,
        "tables": {kind: list(table.over) for kind, table in tables.items()},
    }
    return Distilled(file, names, figures)


def expected_clicks(file: MarketFile, ads: Ads) -> Floats:
    """(n,) clicks on such ads in a market, by its parameters and tables."""
    log_odds = _log_odds(file, ads)
    for kind, response in file.response.items():
        rows = ads.of(kind)
        table, axes = response.over_all(kind), RESPONSE_AXES[kind]
        codes = [ads.at[_COLUMN_OF.get(axis, axis)][rows] for axis in axes]
        place = tuple(np.minimum(code, size - 1) for code, size in zip(codes, table.shape, strict=True))
        log_odds[rows] += np.log(table[place])
    return ads.n * _chance(log_odds, ads.searched)


def _log_odds(file: MarketFile, ads: Ads) -> Floats:
    """(n,) log odds of feeds' clicks and log chances of searches' by the parameters, as in `market.hour`."""
    at, searched = ads.at, ads.searched
    value = {name: stated.value for name, stated in file.parameters.items()}
    log = {name: np.log(np.maximum(v, 1e-12)) for name, v in value.items() if name != "fatigue_exponent"}
    feed = log["feed_click_odds"][np.minimum(at["channel"], 2)] + log["click_stage"][at["stage"]]
    feed = feed + np.where(at["audience"] > 0, log["engaged_click"], 0.0)
    feed = feed + log["creative_fit"][at["segment"], at["creative"]]
    feed = feed + float(value["fatigue_exponent"]) * _log_views(ads)
    search = log["search_click"][at["query"]] + log["position"][at["slot"]]
    alike = log["click_segment"][at["segment"]] + log["click_class"][at["device"]]
    return np.where(searched, search, feed) + alike


def _log_views(ads: Ads) -> Floats:
    found: Floats = np.log1p(ads.at["views"] / FATIGUE_STEP)
    return found


def _chance(log_odds: Floats, searched: Bools) -> Floats:
    odds = np.exp(np.minimum(log_odds, 30.0))
    return np.where(searched, np.minimum(odds, MOST_CHANCE), odds / (1.0 + odds))


def _free(ads: Ads) -> list[_Column]:
    """What is fitted: the parts of the market's form that the model reads, where there are ads for them."""
    at, feed, search = ads.at, ~ads.searched, ads.searched
    found: list[_Column] = []

    def add(cells: Cells, where: NDArray[Any], penalty: float) -> None:
        if where.any():
            found.append(_Column(cells, where.astype(float), penalty))

    def each(
        name: str, column: str, rows: Bools, size: int, first: int = 0, penalty: float = _FACTOR
    ) -> None:
        for code in range(first, size) if column in ads.reads else ():
            add([(name, (code,))], rows & (at[column] == code), penalty)

    each("feed_click_odds", "channel", feed, len(FEEDS), penalty=_LEVEL)
    each("search_click", "query", search, len(QUERIES), penalty=_LEVEL)
    if "query" not in ads.reads:
        add([("search_click", (code,)) for code in range(len(QUERIES))], search, _LEVEL)
    each("position", "slot", search, len(AXES["slot"]), first=1)
    each("click_stage", "stage", feed, len(STAGES))
    each("click_segment", "segment", feed | search, int(at["segment"].max()) + 1)
    each("click_class", "device", feed | search, len(AXES["class"]))
    if "audience" in ads.reads:
        add([("engaged_click", ())], feed & (at["audience"] > 0), _FACTOR)
    if "creative" in ads.reads:
        segments = range(int(at["segment"].max()) + 1)
        together = [[s] for s in segments] if "segment" in ads.reads else [list(segments)]
        for creative in range(len(AXES["creative"])):
            for group in together:
                cells: Cells = [("creative_fit", (s, creative)) for s in group]
                add(cells, feed & (at["creative"] == creative) & np.isin(at["segment"], group), _DETAIL)
    if "views" in ads.reads:
        add([("fatigue_exponent", ())], np.where(feed, _log_views(ads), 0.0), _FACTOR)
    return found


def _fit(ads: Ads, offset: Floats, columns: list[_Column]) -> Floats:
    """(k,) changes of logarithms by Fisher scoring with step halving; soft labels, penalised."""
    design = np.stack([column.where for column in columns], axis=1)
    penalty = np.array([column.penalty for column in columns])
    searched, taught, n = ads.searched, ads.taught, ads.n

    def loss(theta: Floats) -> float:
        chance = np.clip(_chance(offset + design @ theta, searched), 1e-12, 1.0 - 1e-12)
        told = taught * np.log(chance) + (n - taught) * np.log1p(-chance)
        return float(0.5 * (penalty * theta**2).sum() - told.sum())

    theta = np.zeros(len(columns))
    before = loss(theta)
    for _ in range(100):
        chance = np.clip(_chance(offset + design @ theta, searched), 1e-12, MOST_CHANCE)
        # of d chance / d eta: p (1 - p) in a feed, p in a search
        weight = np.where(searched, chance / (1.0 - chance), chance * (1.0 - chance))
        residual = (taught - n * chance) * np.where(searched, 1.0 / (1.0 - chance), 1.0)
        information = (design * (n * weight)[:, None]).T @ design + np.diag(penalty)
        move = np.linalg.solve(information, design.T @ residual - penalty * theta)
        after = loss(theta + move)
        while after > before and np.abs(move).max() > 1e-10:
            move = move / 2.0
            after = loss(theta + move)
        if after > before:
            break
        theta, before = theta + move, after
        if np.abs(move).max() < 1e-8:
            break
    return theta


def _moved(base: MarketFile, columns: list[_Column], change: Floats) -> tuple[MarketFile, list[str]]:
    """The base with changed parameters, each within its range, and those that stopped at its end."""
    values = {name: base.parameters[name].value.copy() for name in {c[0] for x in columns for c in x.cells}}
    for column, by in zip(columns, change, strict=True):
        for name, index in column.cells:
            values[name][index] = (
                values[name][index] + by if name == "fatigue_exponent" else values[name][index] * np.exp(by)
            )
    at_limit = []
    for name, value in values.items():
        stated = base.parameters[name]
        kept = np.clip(value, stated.low, stated.high)
        if (kept != value).any():
            at_limit.append(name)
        values[name] = np.array([float(f"{v:.8g}") for v in kept.flat]).reshape(kept.shape)
    return base.with_values(values), sorted(at_limit)


def _table(kind: str, ads: Ads, log_odds: Floats, file: MarketFile) -> Response | None:
    """Relative odds by cell that make the market's clicks the model's."""
    over = tuple(axis for axis in RESPONSE_AXES[kind] if _COLUMN_OF.get(axis, axis) in ads.reads)
    rows = ads.of(kind)
    if not rows.any() or not over:
        return None
    shape = tuple(len(axis_names(axis, file.segments)) for axis in over)
    place = np.ravel_multi_index([ads.at[_COLUMN_OF.get(axis, axis)][rows] for axis in over], shape)
    size = int(np.prod(shape))
    taught, n = _sums(place, ads.taught[rows], size), ads.n[rows]
    searched, log_rows = ads.searched[rows], log_odds[rows]
    low, high = np.log(RESPONSE_RANGE)
    relative = np.zeros(size)
    for _ in range(100):
        clicks = _sums(place, n * _chance(log_rows + relative[place], searched), size)
        move = np.where(clicks > 0, np.log(np.maximum(taught, 1e-12) / np.maximum(clicks, 1e-12)), 0.0)
        relative = np.clip(relative + move, low, high)
        if np.abs(move).max() < 1e-6:
            break
    value = np.clip([float(f"{v:.4g}") for v in np.exp(relative)], *RESPONSE_RANGE)
    return Response(over=over, value=value.reshape(shape))


def _by_channel(ads: Ads, expected: Mapping[str, Floats]) -> dict[str, dict[str, float | None]]:
    """Clicks per ad by channel: there were, the model says, and the market's at each step."""
    found: dict[str, dict[str, float | None]] = {}
    for code, name in enumerate(CHANNELS):
        rows = ads.at["channel"] == code
        n = float(ads.n[rows].sum())
        if n:
            told = {"clicked": ads.clicked, "model": ads.taught, **expected}
            found[name] = {"ads": n, **{step: float(part[rows].sum() / n) for step, part in told.items()}}
    return found


def _agreement(ads: Ads, clicks: Floats) -> dict[str, float]:
    """How near the market's clicks are to the model's, over the cells of all that the model reads.

    `r2`: share of the variance of the model's log chance between cells that the market's follows, weighted by
    clicks. `misplaced`: share of clicks that would have to be in another cell.
    """
    known = [ads.at[name] for name in FEATURES if name in ads.reads]
    _, which = np.unique(np.stack(known), axis=1, return_inverse=True)
    which = which.ravel()
    n, taught, ours = (_sums(which, part) for part in (ads.n, ads.taught, clicks))
    gap, told = np.log(ours / taught), np.log(taught / n)
    spread = float(np.cov(told, aweights=taught, ddof=0)) if told.size > 1 else 0.0
    r2 = 1.0 - float(np.average(gap**2, weights=taught)) / spread if spread > 0 else float("nan")
    return {"r2": r2, "misplaced": 0.5 * float(np.abs(ours - taught).sum() / taught.sum())}


def _told(base: MarketFile, file: MarketFile, columns: list[_Column]) -> dict[str, dict[str, list[float]]]:
    """By parameter and element, what the base said and what the market says now."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, index in (cell for column in columns for cell in column.cells):
        axes = [axis_names(axis, base.segments) for axis in BY_NAME[name].axes]
        element = ".".join(names[i] for names, i in zip(axes, index, strict=True))
        pair = [float(each.parameters[name].value[index]) for each in (base, file)]
        found.setdefault(name, {})[element] = pair
    return found


def _sums(place: Codes, weights: NDArray[Any], size: int = 0) -> Floats:
    return np.bincount(place, weights, size).astype(float)


def _codes(column: CodedColumn, words: tuple[str, ...]) -> Codes:
    """(n,) places of a column's cells among the market's words, -1 where empty."""
    for code, word in enumerate(column.words):
        if word and word not in words:
            if (column.codes == code).any():
                require_known(column.name, word, words)
    place = np.array([words.index(word) if word in words else -1 for word in column.words], np.int64)
    found: Codes = place[column.codes]
    return found


def _whole(column: CodedColumn, parts: float, size: int, first: int = 0) -> Codes:
    """(n,) a column's numbers from `first` on as codes below `size`, so many parts to 1; -1 where empty."""
    numbers = column.numbers(first)
    found = np.minimum(np.nan_to_num(numbers - first) * parts + 0.5, size - 1)
    return np.where(np.isnan(numbers), -1, found).astype(np.int64)


def _clicks_by_word(scorer: Scorer, name: str) -> dict[str, int] | None:
    """Clicks that a model was trained on by word of a column; None: it does not remember."""
    if isinstance(scorer, Ensemble):
        return _clicks_by_word(scorer.members[0], name)
    if isinstance(scorer, BoostedTrees) and name in scorer.encoding.categorical:
        at = scorer.encoding.categorical.index(name)
        return dict(zip(scorer.encoding.words[at], scorer.encoding.n_yes[at].tolist(), strict=True))
    return None
