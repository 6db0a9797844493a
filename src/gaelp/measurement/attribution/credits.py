"""What a model is given and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.journeys.table import JourneyTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BASELINE = "(baseline)"
"""Stands in a list of channels for what would have happened without any of them."""


@dataclass(frozen=True, eq=False)
class Counts:
    """How many journeys each row of a table stands for; a bootstrap replicate has counts of its own.

    Attributes:
        conversions: (n_rows,) journeys that converted.
        nulls: (n_rows,) journeys that did not.
        value_usd: (n_rows,) worth of the row's conversions together.
    """

    conversions: Floats
    nulls: Floats
    value_usd: Floats

    @classmethod
    def of(cls, table: JourneyTable) -> "Counts":
        """The counts as they were recorded."""
        return cls(table.conversions.astype(np.float64), table.nulls.astype(np.float64), table.value_usd)

    @cached_property
    def journeys(self) -> Floats:
        """(n_rows,) converted or not."""
        return self.conversions + self.nulls


@dataclass(frozen=True, eq=False)
class Credits:
    """Conversions and value by channel; each adds up to what was recorded.

    Attributes:
        conversions: (n_channels + 1,) credit in conversions; the last entry is the baseline.
        value_usd: (n_channels + 1,) credit in USD; likewise.
        removal_effect: (n_channels,) share of conversions lost without the channel; Markov only.
    """

    conversions: Floats
    value_usd: Floats
    removal_effect: Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the models can be told; each reads what concerns it.

    Attributes:
        half_life_days: after which a touch counts half (time_decay, composite).
        order: touches a Markov state remembers.
        first_bonus: factor on a journey's first touch (composite).
        last_bonus: factor on its last touch (composite).
        channel_weights: factor by channel, 1 where none is given (composite).
        prior_journeys: imagined journeys at the average rate added to each set's own (shapley); 0 takes the
            rates as they are, more steadies those of sets seen seldom.
        permutations: orders drawn per set of channels where Shapley values are sampled, each second one the
            reverse of the one before.
        seed: names these orders and the bootstrap's resamples.
    """

    half_life_days: float = 7.0
    order: int = 1
    first_bonus: float = 1.3
    last_bonus: float = 1.5
    channel_weights: Mapping[str, float] = field(default_factory=dict)
    prior_journeys: float = 0.0
    permutations: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("order", 1), ("permutations", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise BadInput(
                    name, getattr(self, name), f"must be at least {least}", f"Use {least} or more."
                )
        if not 0 <= self.prior_journeys < np.inf:
            allowed = "must be at least 0 and finite"
            raise BadInput("prior_journeys", self.prior_journeys, allowed, "Use 0, or for example 100.")
        factors = {f"channel_weights[{name}]": weight for name, weight in self.channel_weights.items()}
        positive = ("half_life_days", "first_bonus", "last_bonus")
        for name, value in {**{name: getattr(self, name) for name in positive}, **factors}.items():
            if not 0 < value < np.inf:
                raise BadInput(name, value, "must be above 0 and finite", "Give a positive number.")


Estimate = Callable[[Counts], Credits]
"""A model made ready for one table: from counts to credits, again for each replicate."""

Prepare = Callable[[JourneyTable, Settings], Estimate]
"""Does once for a table what does not depend on the counts."""


class Unanswerable(BadInput):
    """The table lacks what a model needs; the message says what."""


def tally(group: Ints, weight: Floats, n_groups: int) -> Floats:
    """Add up weights by group.

    Args:
        group: (n,) from 0 to n_groups - 1.
        weight: (n,) what is added.
        n_groups: length of the answer.
    """
    return np.bincount(group, weight, n_groups).astype(np.float64, copy=False)


def require_times(table: JourneyTable, model: str) -> Floats:
    """The touches' times, (n_touches,) hours.

    Raises:
        Unanswerable: the table has none.
    """
    if table.touch_hour is None:
        raise Unanswerable(
            "model",
            model,
            "needs the time of each touch, which a table of paths lacks",
            "Use an event table.",
        )
    return table.touch_hour


def require_nulls(table: JourneyTable, model: str) -> None:
    """Check that some journeys did not convert: without them every conversion rate is one.

    Raises:
        Unanswerable: all of them did.
    """
    if not table.nulls.any() and table.conversions.any():
        allowed = "needs journeys that never converted, or every rate is 1"
        raise Unanswerable("model", model, allowed, "Give a table with null conversions.")
