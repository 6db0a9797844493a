"""Markov attribution of any order, exact: removal effects of an absorbing chain, by linear solve.

A journey walks from a start state over its last `order` channels to CONVERTED or NULL. The removal effect
of a channel is the share of conversions lost when every visit to it leads to NULL; conversions are divided
in proportion to removal effects. A row of c conversions and n nulls walks its inner transitions c + n
times. Journeys without touches do not walk; their conversions are the baseline's.

Source: Anderl, Becker, von Wangenheim, Schumann, "Mapping the customer journey: lessons learned from
graph-based online attribution modeling", IJRM 33(3), 2016; absorbing chains: Kemeny & Snell, Finite Markov
Chains (1960), chapter 3. Order 1 from one inverse: with N = (I - Q)^-1, starts s, b = N r (chance to convert
from a channel) and v = s N (expected visits), the removal effect of k is (v_k / N_kk) b_k / (s b).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, identity
from scipy.sparse.linalg import splu

from gaelp.core.errors import BadInput
from gaelp.core.jit import jit
from gaelp.journeys.table import JourneyTable
from gaelp.measurement.attribution.credits import Counts, Credits, Estimate, Floats, Ints, Settings, tally


@dataclass(frozen=True, eq=False)
class Chain:
    """Counts of what followed what, of journeys of the highest order asked for.

    Attributes:
        states: (n_states, order) channel codes, newest last; -1 before the first touch. State 0 is START.
        source: (n_edges,) state an edge leaves.
        target: (n_edges,) state it enters.
        passed: (n_edges,) journeys that took the edge.
        converted: (n_states,) journeys that converted from the state.
        ended: (n_states,) journeys that ended from it without converting.
        value_usd: (n_states,) worth of the conversions from it.
    """

    states: Ints
    source: Ints
    target: Ints
    passed: Floats
    converted: Floats
    ended: Floats
    value_usd: Floats


def transition_matrix(table: JourneyTable) -> Floats:
    """Chances of what follows what, order 1.

    Returns:
        (n_channels + 1, n_channels + 2): from START (row 0) and each channel; to each channel, to CONVERTED
        (last but one) and to NULL (last). Rows add up to 1, or to 0 where nothing was seen.

    >>> from gaelp.journeys.table import table_of_paths
    >>> table = table_of_paths([("A", "B"), ("A",)], [1, 0], [0, 1])
    >>> transition_matrix(table).tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.5], [0.0, 0.0, 1.0, 0.0]]
    """
    counts = _first_order(table, Counts.of(table))[0]
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)


def prepare(table: JourneyTable, settings: Settings) -> Estimate:
    """Make the model ready for a table.

    Raises:
        BadInput: the order is too high for codes of 63 bits.
    """
    if settings.order == 1:
        return lambda counts: _divided(table, counts, *_effects_first_order(table, counts))
    walk = _Walk(table, settings.order)
    return lambda counts: _divided(table, counts, *_effects(walk.chain(counts), len(table.channels)))


def chain(table: JourneyTable, order: int = 1) -> Chain:
    """Count a table's transitions between states of `order` touches."""
    return _Walk(table, order).chain(Counts.of(table))


class _Walk:
    """Which edge each touch takes, the same for every replicate's counts."""

    def __init__(self, table: JourneyTable, order: int) -> None:
        base = len(table.channels) + 1
        if base**order >= 2**62:
            highest = int(62 / np.log2(base))
            raise BadInput(
                "order", order, f"must be from 1 to {highest} for {base - 1} channels", "Lower it."
            )
        self.rows = np.flatnonzero(table.lengths > 0)
        self.lengths = table.lengths[self.rows]
        codes = np.empty(table.n_touches, np.int64)
        _state_codes(table.offsets, table.channel, base, base**order, codes)
        found, state = np.unique(np.append(codes, 0), return_inverse=True)  # START is 0, the least code
        state = state[:-1]
        before = np.empty_like(state)
        before[1:] = state[:-1]
        before[table.offsets[self.rows]] = 0
        edges, self.edge = np.unique(before * found.size + state, return_inverse=True)
        self.source, self.target = np.divmod(edges, found.size)
        self.final = state[table.offsets[self.rows + 1] - 1]
        digits = base ** np.arange(order - 1, -1, -1, dtype=np.int64)
        self.states = found[:, None] // digits % base - 1

    def chain(self, counts: Counts) -> Chain:
        n_states = self.states.shape[0]
        passing = np.repeat(counts.journeys[self.rows], self.lengths)

        def at_end(of: Floats) -> Floats:
            return tally(self.final, of[self.rows], n_states)

        return Chain(
            self.states,
            self.source,
            self.target,
            tally(self.edge, passing, self.source.size),
            at_end(counts.conversions),
            at_end(counts.nulls),
            at_end(counts.value_usd),
        )


def _divided(table: JourneyTable, counts: Counts, lost: Floats, value_lost: Floats) -> Credits:
    """Divide touched conversions in proportion to what is lost with each channel."""
    untouched = table.lengths == 0
    baseline = np.array([counts.conversions[untouched].sum(), counts.value_usd[untouched].sum()])
    shared = np.array([counts.conversions.sum(), counts.value_usd.sum()]) - baseline
    divided = []
    for total, effect, rest in zip(shared, (lost, value_lost), baseline, strict=True):
        share = effect / effect.sum() if effect.sum() > 0 else effect
        divided.append(np.append(share * total, rest))
    return Credits(divided[0], divided[1], removal_effect=lost)


def _effects_first_order(table: JourneyTable, counts: Counts) -> tuple[Floats, Floats]:
    transitions, value = _first_order(table, counts)
    leaving = np.maximum(transitions.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    chance = transitions / leaving
    starts, among = chance[0, :-2], chance[1:, :-2]
    inverse = np.linalg.inv(np.eye(starts.size) - among)
    reached = starts @ inverse / np.diag(inverse)  # the chance ever to touch a channel
    both = np.column_stack((chance[1:, -2], value / leaving[1:, 0]))
    ahead = inverse @ both  # conversions, and USD, to be expected from a channel on
    base = starts @ ahead
    effects = reached[:, None] * ahead / np.where(base > 0, base, 1.0)
    return effects[:, 0], effects[:, 1]


def _effects(chain: Chain, n_channels: int) -> tuple[Floats, Floats]:
    """Removal effects for conversions and for value, one sparse solve a channel."""
    n_states = chain.states.shape[0]
    leaving = tally(chain.source, chain.passed, n_states) + chain.converted + chain.ended
    leaving = np.maximum(leaving, np.finfo(float).tiny)
    among = csc_matrix((chain.passed / leaving[chain.source], (chain.source, chain.target)), (n_states,) * 2)
    left = (identity(n_states, format="csc") - among).tocsc()
    ahead = np.column_stack((chain.converted, chain.value_usd)) / leaving[:, None]
    base = splu(left).solve(ahead)[0]
    effects = np.zeros((n_channels, 2))
    for channel in range(n_channels):
        # START always stays, as state 0
        kept = np.flatnonzero(~(chain.states == channel).any(axis=1))
        if kept.size < n_states:
            without = splu(left[kept][:, kept].tocsc()).solve(ahead[kept])[0]
            effects[channel] = np.where(base > 0, 1.0 - without / np.where(base > 0, base, 1.0), 0.0)
    return effects[:, 0], effects[:, 1]


def _first_order(table: JourneyTable, counts: Counts) -> tuple[Floats, Floats]:
    """Journeys by transition, laid out as `transition_matrix`, and USD by last channel."""
    n = len(table.channels)
    found = np.zeros((n + 1, n + 2))
    value = np.zeros(n)
    _count_transitions(
        table.offsets, table.channel, counts.conversions, counts.nulls, counts.value_usd, found, value
    )
    return found, value


@jit
def _count_transitions(
    offsets: Ints,
    channel: NDArray[np.int32],
    conversions: Floats,
    nulls: Floats,
    value_usd: Floats,
    found: Floats,
    value: Floats,
) -> None:
    n = value.size
    for row in range(offsets.size - 1):
        start, end = offsets[row], offsets[row + 1]
        journeys = conversions[row] + nulls[row]
        if end == start or journeys == 0.0:
            continue
        before = 0
        for touch in range(start, end):
            found[before, channel[touch]] += journeys
            before = channel[touch] + 1
        found[before, n] += conversions[row]
        found[before, n + 1] += nulls[row]
        value[before - 1] += value_usd[row]


@jit
def _state_codes(offsets: Ints, channel: NDArray[np.int32], base: int, size: int, codes: Ints) -> None:
    """The last touches as digits of one number, the newest the lowest; 0 is "before the first"."""
    for row in range(offsets.size - 1):
        code = 0
        for touch in range(offsets[row], offsets[row + 1]):
            code = (code * base + channel[touch] + 1) % size
            codes[touch] = code
