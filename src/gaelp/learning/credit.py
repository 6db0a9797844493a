"""Where a learner's reward comes from: named credits, each the value of touches less what they cost.

`CREDITS` names them. `incremental`, the default, pays what a flight sold beyond its twin without our ads; an
attributed credit divides what was sold by a model of `gaelp.measurement.attribution`; `brief` is the reward
the project was asked for, kept to be compared with. `shaping` moves a reward forward in time without moving
the best policy. Rewards not yet known are the business of `journeys.rewards.RewardLedger`: `shares` tells it
how to divide a sale, `settled` reads what a learner may take from it so far.

What each is good for, and where it misleads, is in docs/reference/credit.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gaelp.core.clock import HOURS_PER_DAY
from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.core.units import MICROS_PER_USD
from gaelp.journeys.rewards import Episode, Shares
from gaelp.journeys.table import JourneyTable
from gaelp.learning.sequences import End, Sequences
from gaelp.measurement.attribution import MODELS, Settings, attribute
from gaelp.measurement.attribution.credits import require_times, tally
from gaelp.measurement.attribution.heuristics import HEURISTICS, attribution_credit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Flown:
    """Journeys of a flight that have ended, what their touches cost, and what came without them.

    Attributes:
        journeys: n_rows of them, with n_touches.
        cost_usd: (n_touches,) paid for each touch, of all journeys of its row.
        twin_value_usd: (n_rows,) what the same people brought in the twin; None: no twin was flown.
        crisis: (n_rows,) whether these people are in a crisis (`brief` alone asks); None: nobody is.

    Raises:
        BadInput: shapes disagree with the journeys, or a number is not finite.
    """

    journeys: JourneyTable
    cost_usd: Floats
    twin_value_usd: Floats | None = None
    crisis: Flags | None = None

    def __post_init__(self) -> None:
        per_row = self.journeys.n_rows
        for name, size in (("cost_usd", self.journeys.n_touches), ("twin_value_usd", per_row)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _numbers(name, getattr(self, name), size))
        if self.crisis is not None and np.shape(self.crisis) != (per_row,):
            allowed = f"must be ({per_row},)"
            raise BadInput("crisis.shape", np.shape(self.crisis), allowed, "Give one entry per row.")

    @property
    def row(self) -> Ints:
        """(n_touches,) the row of each touch."""
        return np.repeat(np.arange(self.journeys.n_rows), self.journeys.lengths)

    @property
    def last(self) -> tuple[Ints, Ints]:
        """Rows that were touched, and the place of each one's last touch."""
        touched = np.flatnonzero(self.journeys.lengths)
        return touched, self.journeys.offsets[touched + 1] - 1


Credit = Callable[[Flown], Floats]
"""From journeys to (n_touches,) rewards in USD."""


def incremental(flown: Flown) -> Floats:
    """Value beyond the twin's, entered at a row's last touch, less each touch's cost.

    Where every row is touched it adds up to value of the flight - value of the twin - cost. What a row
    without touches brought beyond its twin is no touch's.

    Raises:
        BadInput: no twin was flown.

    >>> from gaelp.journeys.table import table_of_paths
    >>> journeys = table_of_paths([("social", "search"), ("search",)], [1, 1], value_usd=[180.0, 180.0])
    >>> cost = np.array([20.0, 5.0, 5.0])  # the second person would have bought anyway
    >>> incremental(Flown(journeys=journeys, cost_usd=cost, twin_value_usd=np.array([0.0, 180.0]))).tolist()
    [-20.0, 175.0, -5.0]
    """
    if flown.twin_value_usd is None:
        remedy = (
            "Fly it with `worlds.twins.replay`, or choose an attributed credit and read where it misleads."
        )
        raise BadInput("twin_value_usd", None, "must be given", remedy)
    reward = -flown.cost_usd
    rows, last = flown.last
    reward[last] += (flown.journeys.value_usd - flown.twin_value_usd)[rows]
    return reward


def attributed(flown: Flown, model: str, settings: Settings | None = None) -> Floats:
    """What a model gives each touch, less its cost; see `attributed_value`."""
    return attributed_value(flown.journeys, model, settings) - flown.cost_usd


def attributed_value(journeys: JourneyTable, model: str, settings: Settings | None = None) -> Floats:
    """What a model gives each touch, (n_touches,) USD.

    A heuristic divides each sale among the touches before it. The other models know channels only: each
    channel's value is spread over its touches as `linear` would have paid them, and evenly where that is
    nothing, so that channels have what the model says to the cent.

    Args:
        journeys: with times, or null conversions, where the model needs them.
        model: a name of `measurement.attribution.MODELS`. settings: what models can be told.

    Raises:
        UnknownName: there is no such model.
        Unanswerable: the table lacks what the model needs.

    >>> from gaelp.journeys.table import table_of_paths
    >>> journeys = table_of_paths([("A", "B"), ("B",)], [1, 0], [0, 3], [180.0, 0.0])
    >>> attributed_value(journeys, "last").tolist(), attributed_value(journeys, "markov").round(1).tolist()
    ([0.0, 180.0, 0.0], [36.0, 144.0, 0.0])
    """
    require_known("model", model, MODELS)
    if model in HEURISTICS:
        share = attribution_credit(journeys, model, settings)
        return share * np.repeat(journeys.value_usd, journeys.lengths)
    value = attribute(journeys, [model], settings)[0][model].credits.value_usd
    channel, n = journeys.channel.astype(np.int64), len(journeys.channels)
    linear = attributed_value(journeys, "linear")
    paid = tally(channel, linear, n)[channel]
    seen = tally(channel, np.ones(channel.size), n)[channel]
    part = np.divide(linear, paid, out=1.0 / np.maximum(seen, 1.0), where=paid > 0)
    return part * value[channel]


@dataclass(frozen=True, kw_only=True)
class BriefSettings:
    """Figures of the brief's reward.

    Attributes:
        quick_days: from first touch to sale, at most, to be quick. The brief names no number; this is the
            lower end of the days its customers take.
        quick_bonus: factor on the reward of a quick sale.
        cac_target_usd: cost of a sale above which the penalty comes. over_cac_factor: the penalty.
        crisis_weight, other_weight: share of people times value of one, relative to the others'.
        attribution: of the composite model.
    """

    quick_days: float = 3.0
    quick_bonus: float = 1.2
    cac_target_usd: float = 100.0
    over_cac_factor: float = 0.8
    crisis_weight: float = 0.1 * 10
    other_weight: float = 0.9 * 1
    attribution: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        for name in ("quick_days", "quick_bonus", "cac_target_usd", "over_cac_factor"):
            if not 0.0 < (value := getattr(self, name)) < np.inf:
                raise BadInput(name, value, "must be above 0 and finite", "Give a positive number.")
        for name in ("crisis_weight", "other_weight"):
            if not 0.0 <= (value := getattr(self, name)) < np.inf:
                raise BadInput(name, value, "must be at least 0 and finite", "Give a weight.")


def brief(flown: Flown, settings: BriefSettings | None = None) -> Floats:
    """The brief's reward, flaws and all: an option to compare with, no objective to train on.

    The composite model's value less cost; times `quick_bonus` on a quick sale; times `over_cac_factor` on a
    sale that cost more than the target; without a sale, the whole cost once more at the last touch; all
    times the weight of the person's kind. docs/reference/credit.md shows what each of these rewards.

    Raises:
        BadInput: a row stands for several journeys. Unanswerable: the table has no times.
    """
    settings = settings or BriefSettings()
    journeys = flown.journeys
    several = np.flatnonzero(journeys.conversions + journeys.nulls > 1)
    if several.size:
        remedy = "Give a row to each: the cost of one sale must be known."
        raise BadInput(f"journeys[{several[0]}]", "several journeys", "must be one journey", remedy)
    first_hour = require_times(journeys, "brief")
    assert journeys.end_hour is not None
    reward = attributed(flown, "composite", settings.attribution)
    rows, last = flown.last
    cost = tally(flown.row, flown.cost_usd, journeys.n_rows)[rows]
    sold = journeys.conversions[rows] > 0
    took_days = (journeys.end_hour[rows] - first_hour[journeys.offsets[rows]]) / HOURS_PER_DAY
    factor = np.where(sold & (took_days <= settings.quick_days), settings.quick_bonus, 1.0)
    factor *= np.where(sold & (cost > settings.cac_target_usd), settings.over_cac_factor, 1.0)
    reward[last] -= np.where(sold, 0.0, cost)
    if flown.crisis is None:
        factor *= settings.other_weight
    else:
        factor *= np.where(flown.crisis[rows], settings.crisis_weight, settings.other_weight)
    return reward * np.repeat(factor, journeys.lengths[rows])


DEFAULT_CREDIT = "incremental"
CREDITS: Mapping[str, Credit] = {
    DEFAULT_CREDIT: incremental,
    **{name: partial(attributed, model=name) for name in MODELS},
    "brief": brief,
}


def by_step(reward: Floats, step: Ints, world: Ints, *, n_steps: int, n_worlds: int) -> Floats:
    """A campaign's rewards: those of its touches, added up.

    Args:
        reward: (n_touches,). step, world: (n_touches,) when and where each was bought.
        n_steps, n_worlds: of the campaign.

    Returns:
        (n_worlds, n_steps).

    Raises:
        BadInput: a touch lies outside.
    """
    for name, at, size in (("step", step, n_steps), ("world", world, n_worlds)):
        outside = np.flatnonzero((at < 0) | (at >= size))
        if outside.size:
            allowed = f"must be from 0 to {size - 1}"
            remedy = "Leave out touches of other flights."
            raise BadInput(f"{name}[{outside[0]}]", at[outside[0]], allowed, remedy)
    return tally(world * n_steps + step, reward, n_worlds * n_steps).reshape(n_worlds, n_steps)


def shaping(
    potential: Floats, hour: Floats, offset: Ints, *, gamma: float, cut: Flags | None = None
) -> Floats:
    """What to add to rewards so that they come earlier and every policy keeps its rank.

        F_t = gamma ** (hours to the next row) Phi(s_{t+1}) - Phi(s_t)        Phi = 0 after the end

    Along a sequence that ends it adds up, discounted, to -Phi of its first state, whatever was done. That
    needs a potential of states alone: one that knows the action, or the outcome, is none. A good one is value
    times the chance to buy in the end, given the journey so far.

    Args:
        potential: (n_rows,) USD, of what was seen at each row. hour: (n_rows,) when.
        offset: (n_sequences + 1,) where each sequence's rows begin.
        gamma: discount of an hour, the learner's own.
        cut: (n_sequences,) whether a sequence's last row is only an observation at a cut, as in `Sequences`:
            its potential counts, and it gets nothing itself. None: all ended.

    Returns:
        (n_rows,) to be added.

    Raises:
        BadInput: a potential is not finite, or shapes disagree.

    Source: Ng, Harada, Russell, "Policy invariance under reward transformations", ICML 1999; here discounts
    are of the time elapsed.

    >>> shaping(np.array([1.0, 4.0]), np.array([0.0, 2.0]), np.array([0, 2]), gamma=0.5).tolist()
    [0.0, -4.0]
    """
    potential = _numbers("potential", potential, np.size(hour))
    last = offset[1:][np.diff(offset) > 0] - 1
    ahead = np.zeros(potential.size)
    ahead[:-1] = np.diff(hour)
    after = np.append(potential[1:], 0.0)
    after[last] = ahead[last] = 0.0
    added = gamma**ahead * after - potential
    if cut is not None:
        added[offset[1:][cut] - 1] = 0.0
    return added


def shaped(sequences: Sequences, potential: Floats, *, gamma: float) -> Sequences:
    """Sequences with `shaping` added to their rewards; costs stay.

    Args:
        sequences: as a learner collected them. potential: (n_rows,) in the unit of their rewards.
        gamma: discount of an hour.
    """
    cut = ~sequences.decides[sequences.offset[1:] - 1]
    added = shaping(potential, sequences.time, sequences.offset, gamma=gamma, cut=cut)
    payoff = sequences.payoff.copy()
    payoff[:, 0] += added
    return replace(sequences, payoff=payoff)


def shares(model: str, settings: Settings | None = None) -> Shares:
    """How a `RewardLedger` is to divide sales.

    Args:
        model: a heuristic. Others fit all journeys together, and a ledger sees those that are due.
        settings: what it can be told.

    Raises:
        UnknownName: it is no heuristic.
    """
    require_known("model", model, HEURISTICS)
    return partial(attribution_credit, model=model, settings=settings)


def settled(episode: Episode, cost_usd: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """What a learner may take from a span of the ledger so far.

    Args:
        episode: touches of the span. cost_usd: (n_touches,) what each cost.

    Returns:
        reward: (n_touches,) USD, earned so far less cost; to be read again after later `settle`s.
        end: (n_rows,) of `End`: `TRUNCATED` where the journey went on, and the critic's value there follows;
            else `TERMINAL`.

    Raises:
        BadInput: there is not one finite cost per touch.
    """
    cost = _numbers("cost_usd", cost_usd, episode.reward_micros.size)
    end = np.where(episode.truncated, End.TRUNCATED, End.TERMINAL).astype(np.int8)
    return episode.reward_micros / MICROS_PER_USD - cost, end


def _numbers(name: str, given: Floats, size: int) -> Floats:
    numbers = np.asarray(given, np.float64)
    if numbers.shape != (size,):
        raise BadInput(f"{name}.shape", numbers.shape, f"must be ({size},)", "Give one number each.")
    if not (finite := np.isfinite(numbers)).all():
        place = int(np.argmin(finite))
        raise BadInput(f"{name}[{place}]", numbers[place], "must be finite", "Check where it comes from.")
    return numbers
