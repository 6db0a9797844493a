"""The models by name, run together on one table with bootstrap intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.journeys.table import JourneyTable
from gaelp.measurement.attribution import data_driven, heuristics, markov, shapley
from gaelp.measurement.attribution.credits import (
    BASELINE,
    Counts,
    Credits,
    Floats,
    Prepare,
    Settings,
    Unanswerable,
)
from gaelp.measurement.checks import check_shares

MODELS: Mapping[str, Prepare] = {
    **{
        name: partial(heuristics.prepare, name)
        for name in ("first", "last", "linear", "time_decay", "position", "w_shaped")
    },
    "markov": markov.prepare,
    "shapley": shapley.prepare,
    "data_driven": data_driven.prepare,
    "composite": partial(heuristics.prepare, "composite"),
}


@dataclass(frozen=True, eq=False)
class Attributed:
    """One model's credits with their intervals.

    Attributes:
        channels: names; the credits' last entry, the baseline, comes after them.
        credits: from the counts recorded.
        conversions_interval: (2, n_channels + 1) lower and upper ends; None without a bootstrap.
        value_interval: likewise for USD.
    """

    channels: tuple[str, ...]
    credits: Credits
    conversions_interval: Floats | None = None
    value_interval: Floats | None = None

    def as_dict(self) -> dict[str, dict[str, float | None]]:
        """By channel and `(baseline)`: the JSON of `gaelp attribute`."""
        found: dict[str, dict[str, float | None]] = {}
        for i, name in enumerate((*self.channels, BASELINE)):
            low, high = _ends(self.conversions_interval, i)
            value_low, value_high = _ends(self.value_interval, i)
            found[name] = {
                "conversions": float(self.credits.conversions[i]),
                "value": float(self.credits.value_usd[i]),
                "low": low,
                "high": high,
                "value_low": value_low,
                "value_high": value_high,
            }
            if self.credits.removal_effect is not None and i < len(self.channels):
                found[name]["removal_effect"] = float(self.credits.removal_effect[i])
        return found


def attribute(
    table: JourneyTable,
    models: Sequence[str] | None = None,
    settings: Settings | None = None,
    *,
    n_bootstrap: int = 0,
    level: float = 0.95,
    tick: Callable[[int], None] | None = None,
) -> tuple[dict[str, Attributed], dict[str, str]]:
    """Divide a table's conversions and value among its channels, by several models.

    A bootstrap replicate draws as many journeys as there are, with replacement; where the table knows
    persons, as many persons, each with all rows. The journeys of a row that converted are taken to be worth
    the same. All models see the same replicates. Ends are percentiles.

    Args:
        table: of journeys.
        models: names among `MODELS`; None: all that the table can answer.
        settings: what models can be told.
        n_bootstrap: replicates; 0 gives no intervals.
        level: coverage wanted, between 0 and 1.
        tick: told how many model runs are done, 1 + n_bootstrap for each model.

    Returns:
        answers by model, and the reason by model that was left out (only where `models` is None).

    Raises:
        BadInput: a model is unknown, a setting is out of range, or the table is without journeys.
        Unanswerable: the table lacks what a model named needs.

    >>> from gaelp.journeys.table import table_of_paths
    >>> table = table_of_paths([("C1", "C2", "C3"), ("C1",), ("C2", "C3")], [1, 0, 0], [0, 1, 1])
    >>> answers, refused = attribute(table, ["markov"])
    >>> answers["markov"].credits.removal_effect.round(4).tolist()
    [0.5, 1.0, 1.0]
    """
    settings = settings or Settings()
    for name in models or ():
        require_known("model", name, MODELS)
    check_shares(level=level)
    if n_bootstrap < 0 or n_bootstrap == 1:
        raise BadInput("n_bootstrap", n_bootstrap, "must be 0 or at least 2", "Use 200 for rough intervals.")
    if BASELINE in table.channels:
        raise BadInput("channels", BASELINE, "must leave this name to the baseline", "Rename that channel.")
    counts = Counts.of(table)
    if not counts.journeys.any():
        raise BadInput("journeys", 0, "must be at least 1", "Give a table with conversions or nulls.")
    estimates, refused = {}, {}
    for name in dict.fromkeys(models or MODELS):
        try:
            estimates[name] = MODELS[name](table, settings)
        except Unanswerable as reason:
            if models is not None:
                raise
            refused[name] = f"{reason.allowed}. {reason.remedy}"
    told = tick or (lambda done: None)
    points = {}
    for name, estimate in estimates.items():
        points[name] = estimate(counts)
        told(1)
    replicates: dict[str, list[Credits]] = {name: [] for name in estimates}
    resample = _Resample(table, counts, settings.seed) if n_bootstrap else None
    for _ in range(n_bootstrap):
        assert resample is not None
        drawn = resample()
        for name, estimate in estimates.items():
            replicates[name].append(estimate(drawn))
            told(1)
    ends = [(1 - level) / 2, (1 + level) / 2]
    answers = {
        name: Attributed(
            table.channels,
            point,
            *(
                (
                    np.quantile([each.conversions for each in replicates[name]], ends, axis=0),
                    np.quantile([each.value_usd for each in replicates[name]], ends, axis=0),
                )
                if n_bootstrap
                else (None, None)
            ),
        )
        for name, point in points.items()
    }
    return answers, refused


class _Resample:
    """Draws replicates' counts."""

    def __init__(self, table: JourneyTable, counts: Counts, seed: int) -> None:
        self.counts = counts
        self.rng = np.random.default_rng(seed)
        self.person = None if table.person is None else np.unique(table.person, return_inverse=True)[1]
        with np.errstate(invalid="ignore", divide="ignore"):
            worth = counts.value_usd / counts.conversions
        self.worth = np.where(counts.conversions > 0, worth, 0.0)
        both = np.concatenate((counts.conversions, counts.nulls))
        self.at = np.flatnonzero(both)
        self.chance = both[self.at] / both.sum()
        self.n_journeys = int(both.sum())

    def __call__(self) -> Counts:
        if self.person is not None:
            n = int(self.person.max()) + 1
            weight = np.bincount(self.rng.integers(n, size=n), minlength=n)[self.person].astype(np.float64)
            conversions, nulls = self.counts.conversions * weight, self.counts.nulls * weight
        else:
            drawn = np.zeros(2 * self.worth.size)
            if self.at.size == self.n_journeys:  # single journeys: drawing places is faster
                places = self.rng.integers(self.n_journeys, size=self.n_journeys)
                drawn[self.at] = np.bincount(places, minlength=self.n_journeys)
            else:
                drawn[self.at] = self.rng.multinomial(self.n_journeys, self.chance)
            conversions, nulls = np.split(drawn, 2)
        return Counts(conversions, nulls, conversions * self.worth)


def _ends(interval: Floats | None, i: int) -> tuple[Any, Any]:
    return (None, None) if interval is None else (float(interval[0, i]), float(interval[1, i]))
