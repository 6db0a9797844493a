"""Ads of a click log, counted by all that the market knows of them, and what a response model says of each.

`read_ads` asks the model; `expected_clicks` says what a market would answer, by the rules of its kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.data.tables import CodedColumn
from gaelp.market.file import MarketFile
from gaelp.market.parameters import (
    AXES,
    FATIGUE_STEP,
    FEEDS,
    MOST_OF_A_PAGE,
    N_FATIGUE,
    QUERIES,
    RESPONSE_AXES,
    STAGES,
)
from gaelp.market.truth import LEAST_EVENTS
from gaelp.prediction.boosting import BoostedTrees
from gaelp.prediction.examples import read_again
from gaelp.prediction.model import Ensemble, ResponseModel, Scorer
from gaelp.worlds.click_log import CLICKED, FEATURES, SEARCH

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHANNELS: Final = (*FEEDS, SEARCH)
COLUMN_OF: Final = {"feed": "channel", "class": "device"}
"""The table's column behind an axis of `RESPONSE_AXES` that is not called like it."""
_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "channel": CHANNELS,
    "device": AXES["class"],
    "audience": AXES["audience"],
    "creative": AXES["creative"],
    "query": QUERIES,
    "stage": STAGES,
}
_LEAST, _NEVER = 1e-12, 1e-9
"""What stands for a factor of 0, and the chance below which one has made a click impossible."""


@dataclass(frozen=True)
class Ads:
    """Ads that are alike in all that the market knows, and what a model says of them.

    Attributes:
        at: by column of the click log, (n,) codes; -1 where it says nothing. `views` are quarters of a view,
            `slot` counts from 0.
        n: (n,) ads. taught: (n,) clicks that the model expects of them; the base market's where not `known`.
        clicked: (n,) clicks there were.
        known: (n,) whether the model saw at least `LEAST_EVENTS` clicks of each word, and the base market has
            a chance of a click at all.
        reads: columns of the click log that the model reads.
        about: the model and the table, for the figures: `model_id`, `trained_on`, `reads`, `left_out` (ads
            by `column: word` of which the model saw fewer clicks) and `unseen` (shares of ads with a word
            unknown to the model, by other columns).
    """

    at: dict[str, Codes]
    n: Floats
    taught: Floats
    clicked: Floats
    known: Bools
    reads: frozenset[str]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def searched(self) -> Bools:
        """(n,) whether on a search page, else in a feed."""
        return self.at["channel"] == CHANNELS.index(SEARCH)

    @property
    def log_views(self) -> Floats:
        """(n,) what the fatigue exponent is multiplied by, of feeds."""
        found: Floats = np.log1p(self.at["views"] / FATIGUE_STEP)
        return found

    def of(self, kind: str) -> Bools:
        """(n,) whether of a kind of response table: `feed` or `search`."""
        return self.searched if kind == SEARCH else ~self.searched


def read_ads(path: Path | str, model: ResponseModel, base: MarketFile) -> Ads:
    """Read a click log, ask a model about every ad, and count ads that are alike.

    Args:
        path: a table with the columns of `gaelp export clicks`, and any others that the model reads.
        model: of clicks; it must read `channel`.
        base: the market whose ads they are.

    Raises:
        BadInput: the model does not tell channels apart, is one of conversions, or does not remember what it
            was trained on; the table has another word than the market's; no ad is one that the model knows.
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
    at = _places(cells, base)
    clicks = _clicks_by_word(model)
    known, left_out = np.ones(len(examples), bool), {}
    for name in [name for name in _words(base) if name in model.columns.categorical]:
        if name not in clicks:
            allowed = f"must remember how many clicks it saw of each {name}"
            raise BadInput("MODEL", model.scorer.kind, allowed, "Train it again with gaelp ctr train.")
        for code, word in enumerate(cells[name].words):
            rows = cells[name].codes == code
            if word and clicks[name].get(word, 0) < LEAST_EVENTS and rows.any():
                left_out[f"{name}: {word}"] = int(rows.sum())
                known &= ~rows
    if not known.any():
        few = ", ".join(
            f"{word} ({clicks[name].get(word, 0)})" for name, word in (w.split(": ") for w in left_out)
        )
        allowed = f"must have seen {LEAST_EVENTS} clicks of every word of some ads; too few of {few}"
        remedy = "Train it on more people or days, in the words of this table."
        raise BadInput("MODEL", model.manifest.get("model_id", "")[:12], allowed, remedy)
    sizes = {name: int(codes.max()) + 2 for name, codes in at.items()}
    place = np.ravel_multi_index([at[name] + 1 for name in sizes], tuple(sizes.values()))
    kinds, first, which = np.unique(place, return_index=True, return_inverse=True)
    unravelled = np.unravel_index(kinds, tuple(sizes.values()))
    unseen = model.scorer.encoding.unseen(examples) if isinstance(model.scorer, BoostedTrees) else {}
    n = np.bincount(which).astype(float)
    found = Ads(
        {name: codes.astype(np.int64) - 1 for name, codes in zip(sizes, unravelled, strict=True)},
        n=n,
        taught=sums(which, model.predict(examples)),
        clicked=sums(which, examples.label),
        known=known[first],
        reads=frozenset(reads & {*FEATURES}),
        about={
            "model_id": model.manifest.get("model_id"),
            "trained_on": model.manifest.get("data", {}).get("file"),
            "reads": sorted(reads),
            "left_out": left_out,
            "unseen": {name: share for name, share in unseen.items() if name not in _words(base)},
        },
    )
    usual = expected_clicks(base, found)
    known = found.known & (usual > _NEVER * n)
    return replace(found, known=known, taught=np.where(known, found.taught, usual))


def expected_clicks(file: MarketFile, ads: Ads) -> Floats:
    """(n,) clicks on such ads in a market, by its parameters and tables.

    On a search page they hold as long as the chances of all its ads stay below .95 together.
    """
    log_odds = log_odds_of(file, ads)
    for kind, response in file.response.items():
        rows = ads.of(kind)
        codes = [ads.at[COLUMN_OF.get(axis, axis)][rows] for axis in RESPONSE_AXES[kind]]
        log_odds[rows] += np.log(response.at(kind, *codes))
    return ads.n * chance_of(log_odds, ads.searched)


def log_odds_of(file: MarketFile, ads: Ads) -> Floats:
    """(n,) log odds of feeds' clicks and log chances of searches' by the parameters, as in `market.hour`."""
    at = ads.at
    value = {name: stated.value for name, stated in file.parameters.items()}
    log = {name: np.log(np.maximum(v, _LEAST)) for name, v in value.items() if name != "fatigue_exponent"}
    feed = log["feed_click_odds"][np.minimum(at["channel"], 2)] + log["click_stage"][at["stage"]]
    feed = feed + np.where(at["audience"] > 0, log["engaged_click"], 0.0)
    feed = feed + log["creative_fit"][at["segment"], at["creative"]]
    feed = feed + float(value["fatigue_exponent"]) * ads.log_views
    search = log["search_click"][at["query"]] + log["position"][at["slot"]]
    alike = log["click_segment"][at["segment"]] + log["click_class"][at["device"]]
    return np.where(ads.searched, search, feed) + alike


def chance_of(log_odds: Floats, searched: Bools) -> Floats:
    """(n,) chances: of searches' logs at most .95, as on a page."""
    odds = np.exp(np.minimum(log_odds, 30.0))
    return np.where(searched, np.minimum(odds, MOST_OF_A_PAGE), odds / (1.0 + odds))


def sums(place: Codes, weights: NDArray[Any], size: int = 0) -> Floats:
    """(n,) sums of weights by place."""
    return np.bincount(place, weights, size).astype(float)


def _words(base: MarketFile) -> dict[str, tuple[str, ...]]:
    return {**_WORDS, "segment": base.segments}


def _places(cells: Mapping[str, CodedColumn], base: MarketFile) -> dict[str, Codes]:
    """The features of a table as codes; what a click depends on must be there."""
    at = {name: _codes(cells[name], words) for name, words in _words(base).items()}
    at["views"] = _whole(cells["views"], FATIGUE_STEP, N_FATIGUE)
    slot = cells["slot"].numbers(1)
    last = len(AXES["slot"])
    if (bad := (slot > last) | (slot % 1 > 0)).any():
        row = int(np.flatnonzero(bad)[0])
        raise BadInput(f"slot in row {row + 1}", float(slot[row]), f"must be 1 to {last}", "Correct it.")
    at["slot"] = _whole(cells["slot"], 1.0, last, first=1)
    searched = at["channel"] == CHANNELS.index(SEARCH)
    for names, rows in ((("audience", "creative", "views"), ~searched), (("query", "slot"), searched)):
        for name in ("channel", "device", "stage", "segment", *names):
            missing = rows & (at[name] < 0)
            if missing.any():
                row, where = int(np.flatnonzero(missing)[0]) + 1, "search" if searched[missing][0] else "feed"
                raise BadInput(f"{name} in row {row}", "", f"must be given of an ad in a {where}", "Fill it.")
    return at


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


def _clicks_by_word(model: ResponseModel) -> dict[str, dict[str, int]]:
    """{column: {word: clicks}} that a model was trained on, of the columns that it remembers.

    Trees remember all words in their encoding; `gaelp ctr train` notes those of any model's short columns.
    """
    kept: Mapping[str, dict[str, int]] = model.manifest.get("labels_by_word") or {}
    return {**_clicks_of(model.scorer), **kept}


def _clicks_of(scorer: Scorer) -> dict[str, dict[str, int]]:
    if isinstance(scorer, Ensemble):
        members = [_clicks_of(member) for member in scorer.members]
        names = set.intersection(*(set(each) for each in members))
        return {
            name: {word: min(each[name].get(word, 0) for each in members) for word in members[0][name]}
            for name in names
        }
    if isinstance(scorer, BoostedTrees):
        encoding = scorer.encoding
        pairs = zip(encoding.categorical, encoding.words, encoding.n_yes, strict=True)
        return {name: dict(zip(words, yes.tolist(), strict=True)) for name, words, yes in pairs}
    return {}
