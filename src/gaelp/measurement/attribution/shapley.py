"""Shapley attribution on conversion rates, counting journeys that never convert.

The game: the worth of a set S of channels is the number of conversions to expect if only S were on, every
journey keeping those of its channels that are in S,

    worth(S) = sum over sets T of journeys(T) * rate(T and S),

where rate(U) is the conversion rate of the journeys that touched exactly U; where none did, of those that
touched only some of U. The worth of all channels is the conversions recorded, that of none is what untouched
journeys would bring (the baseline; 0 where no untouched journey was recorded). A channel's value may be
negative where journeys with it convert less often; nothing is clipped.

Sets seen seldom have unsteady rates. `Settings.prior_journeys` draws every set's rate towards that of its
subsets, and theirs towards the average; what this leaves of a set's recorded conversions is divided equally
among its channels.

With conversions instead of rates the game's values would equal `linear` over distinct channels.

Sources: Shapley, "A value for n-person games" (1953); values from Harsanyi dividends: Harsanyi, "A simplified
bargaining model for the n-person cooperative game", Int. Econ. Rev. 4(2), 1963. Sampling: Castro, Gomez,
Tejada, "Polynomial calculation of the Shapley value based on sampling", Comput. Oper. Res. 36(5), 2009.
"""

import numpy as np
from numpy.typing import ArrayLike

from gaelp.core.errors import BadInput
from gaelp.core.jit import jit
from gaelp.core.random import named_seed, subkey, uniform
from gaelp.journeys.table import JourneyTable
from gaelp.measurement.attribution.credits import (
    Counts,
    Credits,
    Estimate,
    Floats,
    Ints,
    Settings,
    Unanswerable,
    require_nulls,
    tally,
)

EXACT_CHANNELS = 20
"""Up to this many channels all sets are looked at; above, orders are sampled for sets of many channels."""
_MOST_CHANNELS = 62  # a set is the bits of one signed 64-bit integer


def shapley_values(worth: ArrayLike) -> Floats:
    """Shapley values of a game, exactly.

    Args:
        worth: (2^n,) worth of each set of players; player i is in set S where bit i of the index S is set.

    Returns:
        (n,) values; they add up to the worth of all players less that of none.

    Raises:
        BadInput: the size is no power of two, or a worth is not finite.

    >>> shapley_values([0.0, 1.0, 2.0, 4.0]).tolist()
    [1.5, 2.5]
    """
    game = np.asarray(worth, np.float64)
    n = game.size.bit_length() - 1
    if game.ndim != 1 or game.size != 1 << n:
        raise BadInput("worth.shape", game.shape, "must be (2^n,) for n players", "Give each set one worth.")
    if not np.isfinite(game).all():
        raise BadInput("worth", game[~np.isfinite(game)][0], "must be finite", "Check that set's worth.")
    return _values_of_dividends(_differences(game), n)


def prepare(table: JourneyTable, settings: Settings) -> Estimate:
    """Make the model ready for a table.

    Raises:
        Unanswerable: no journey went without converting, or there are more channels than a set can hold.
    """
    require_nulls(table, "shapley")
    used, code = np.unique(table.channel, return_inverse=True)
    n = used.size
    if n > _MOST_CHANNELS:
        allowed = f"can tell at most {_MOST_CHANNELS} channels apart, not {n}"
        raise Unanswerable("model", "shapley", allowed, "Merge rare channels.")
    sets = np.zeros(table.n_rows, np.int64)
    _touched_sets(table.offsets, code.astype(np.int64), sets)
    spread = _Spread(len(table.channels), used.astype(np.int64))
    if n <= EXACT_CHANNELS:
        return lambda counts: spread.credits(counts, _exact(sets, n, counts, settings.prior_journeys))
    seen, which = np.unique(sets, return_inverse=True)
    return lambda counts: spread.credits(counts, _set_by_set(seen, which, n, counts, settings))


class _Spread:
    """Puts the values of the channels in use at their places among all channels."""

    def __init__(self, n_channels: int, used: Ints) -> None:
        self.n_channels = n_channels
        self.used = used

    def credits(self, counts: Counts, values: Floats) -> Credits:
        """From (n_used + 1, 2) values, the baseline last."""
        total = np.zeros((self.n_channels + 1, 2))
        total[self.used] = values[:-1]
        total[-1] = values[-1]
        return Credits(total[:, 0], total[:, 1])


def _exact(sets: Ints, n: int, counts: Counts, prior: float) -> Floats:
    """Values for conversions and USD, (n + 1, 2), the baseline last.

    The dividend of a set W in this game is that of W in the game of rates times the journeys that touched
    all of W, so sums over subsets and supersets do all the work.
    """
    journeys = tally(sets, counts.journeys, 1 << n)
    touched_all = _sums(journeys[::-1])[::-1]  # supersets of S are subsets of its complement
    pooled = _sums(journeys)
    found = np.empty((n + 1, 2))
    for column, each in enumerate((counts.conversions, counts.value_usd)):
        gained = tally(sets, each, 1 << n)
        average = gained.sum() / pooled[-1]
        around = _ratio(_sums(gained) + prior * average, pooled + prior)
        rate = np.where(journeys + prior > 0, _ratio(gained + prior * around, journeys + prior), around)
        rate[0] = gained[0] / journeys[0] if journeys[0] > 0 else 0.0
        # what a prior leaves unsaid of a set's own journeys belongs to all its channels together
        dividends = _differences(rate) * touched_all + (gained - journeys * rate)
        found[:-1, column] = _values_of_dividends(dividends, n)
        found[-1, column] = dividends[0]
    return found


def _set_by_set(seen: Ints, which: Ints, n: int, counts: Counts, settings: Settings) -> Floats:
    """As `_exact`, taking the game apart into one for each set of channels that journeys touched.

    Exact for a set where looking at all its subsets takes no longer than sampling orders of its channels.
    """
    gained = np.column_stack(
        [tally(which, each, seen.size) for each in (counts.conversions, counts.value_usd)]
    )
    journeys = tally(which, counts.journeys, seen.size)
    alive = journeys > 0
    found = np.zeros((n + 1, 2))
    _add_games(
        seen[alive],
        gained[alive],
        journeys[alive],
        settings.prior_journeys,
        settings.permutations,
        np.uint64(named_seed("shapley", settings.seed)),
        found,
    )
    return found


@jit
def _add_games(
    seen: Ints,
    gained: Floats,
    journeys: Floats,
    prior: float,
    permutations: int,
    key: np.uint64,
    found: Floats,
) -> None:
    n = found.shape[0] - 1
    average = np.array([gained[:, 0].sum(), gained[:, 1].sum()]) / journeys.sum()
    known = {np.int64(0): np.zeros(2)}  # rates of sets
    for i in range(seen.size):
        if seen[i] == 0 or prior == 0.0:
            known[seen[i]] = gained[i] / journeys[i]
    baseline = known[np.int64(0)]
    members = np.empty(n, np.int64)
    for i in range(seen.size):
        touched = seen[i]
        found[n] += journeys[i] * baseline
        m = 0
        for channel in range(n):
            if touched >> np.int64(channel) & 1:
                members[m] = channel
                m += 1
        if m == 0:
            continue
        unsaid = (
            gained[i] - journeys[i] * _known_rate(known, seen, gained, journeys, touched, average, prior)
        ) / m
        for k in range(m):
            found[members[k]] += unsaid
        if 2.0**m <= permutations * m:
            # a player joins a set of s others with chance s! (m - s - 1)! / m!
            chance = np.ones(m)
            chance[0] = 1.0 / m
            for s in range(1, m):
                chance[s] = chance[s - 1] * s / (m - s)
            for part in range(1 << m):
                within = np.int64(0)
                size = 0
                for k in range(m):
                    if part >> k & 1:
                        within |= np.int64(1) << members[k]
                        size += 1
                rate = _known_rate(known, seen, gained, journeys, within, average, prior)
                for k in range(m):
                    if part >> k & 1:
                        found[members[k]] += journeys[i] * chance[size - 1] * rate
                    else:
                        found[members[k]] -= journeys[i] * chance[size] * rate
        else:
            for j in range(permutations):
                if j % 2 == 0:
                    for k in range(m - 1, 0, -1):
                        draw = uniform(subkey(subkey(key, touched), j), k)
                        other = int(draw * (k + 1))
                        members[k], members[other] = members[other], members[k]
                before = baseline
                within = np.int64(0)
                for k in range(m):
                    channel = members[k] if j % 2 == 0 else members[m - 1 - k]
                    within |= np.int64(1) << channel
                    rate = _known_rate(known, seen, gained, journeys, within, average, prior)
                    found[channel] += journeys[i] * (rate - before) / permutations
                    before = rate


@jit
def _known_rate(
    known: dict[np.int64, Floats],
    seen: Ints,
    gained: Floats,
    journeys: Floats,
    within: np.int64,
    average: Floats,
    prior: float,
) -> Floats:
    if within not in known:
        known[within] = _rate(seen, gained, journeys, within, average, prior)
    return known[within]


@jit
def _rate(
    seen: Ints, gained: Floats, journeys: Floats, within: np.int64, average: Floats, prior: float
) -> Floats:
    """The rate of a set as `_exact` has it; with no prior, of a set that no journey touched exactly."""
    own, pooled = prior * average, prior * average
    n_own, n_pooled = prior, prior
    for i in range(seen.size):
        if seen[i] & ~within == 0:
            pooled = pooled + gained[i]
            n_pooled += journeys[i]
            if seen[i] == within:
                own = gained[i]
                n_own = prior + journeys[i]
    if n_pooled == 0.0:
        return np.zeros(2)
    around = pooled / n_pooled
    if n_own == prior:
        return around
    return (own + prior * around) / n_own


@jit
def _touched_sets(offsets: Ints, code: Ints, sets: Ints) -> None:
    for row in range(offsets.size - 1):
        for touch in range(offsets[row], offsets[row + 1]):
            sets[row] |= np.int64(1) << code[touch]


def _ratio(above: Floats, below: Floats) -> Floats:
    """Quotients, 0 where nothing stands below."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _sums(game: Floats) -> Floats:
    """Sums over all subsets of each set."""
    total = game.copy()
    step = 1
    while step < total.size:
        halves = total.reshape(-1, 2, step)  # without and with one player
        halves[:, 1] += halves[:, 0]
        step *= 2
    return total


def _differences(game: Floats) -> Floats:
    """Harsanyi dividends: what each set brings beyond its subsets; the inverse of `_sums`."""
    left = game.copy()
    step = 1
    while step < left.size:
        halves = left.reshape(-1, 2, step)
        halves[:, 1] -= halves[:, 0]
        step *= 2
    return left


def _values_of_dividends(dividends: Floats, n: int) -> Floats:
    """Each set's dividend, divided equally among its players."""
    size = np.zeros(1)
    for _ in range(n):
        size = np.concatenate((size, size + 1))
    each = dividends / np.maximum(size, 1.0)
    return np.array([each.reshape(-1, 2, 1 << player)[:, 1].sum() for player in range(n)])
