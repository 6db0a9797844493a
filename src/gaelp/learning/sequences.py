"""Decisions as sequences: an append-only log, padded buckets, and credit in event time.

A sequence is what one campaign or one person lived through: decisions in order, then its end. One that ended
for good (`TERMINAL`) has nothing to come. One that was only cut (`TRUNCATED`) carries one row more, the
observation at the cut, and what is to come is the critic's value there: truncation is not termination.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

_AS_LONG = 2 / 3  # of a bucket's longest piece; padding is then a fifth of what is read


class End(IntEnum):
    """What a row is to its sequence; a `TRUNCATED` row is an observation without a decision."""

    GOES_ON = 0
    TERMINAL = 1
    TRUNCATED = 2


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Whole sequences, row after row; sequence `i` is rows `offset[i]` to `offset[i + 1] - 1`.

    Attributes:
        offset: (n_sequences + 1,). weight: (n_sequences,) how much each counts, p / q of its drawing.
        time: (n_rows,) hours. observation: (n_rows, n_features). action: (n_rows, action_width).
        logp: (n_rows,) under the policy that acted. value: (n_rows, 2) as its critic thought.
        payoff: (n_rows, 2) reward and cost until the next row. version: (n_rows,) of the policy that acted.
        end: (n_rows,) of `End`.
    """

    offset: Ints
    weight: NDArray[np.float64]
    time: NDArray[np.float64]
    observation: NDArray[np.float32]
    action: NDArray[np.float32]
    logp: NDArray[np.float32]
    value: NDArray[np.float32]
    payoff: NDArray[np.float64]
    version: NDArray[np.int32]
    end: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def length(self) -> Ints:
        """(n_sequences,) rows of each, the observation at a cut included."""
        return np.diff(self.offset)

    @property
    def decides(self) -> NDArray[np.bool_]:
        """(n_rows,) whether a decision was taken."""
        return self.end != End.TRUNCATED

    @property
    def owner(self) -> Ints:
        """(n_rows,) the sequence that each row belongs to."""
        return np.repeat(np.arange(len(self)), self.length)

    def total(self, figure: Floats) -> NDArray[np.float64]:
        """(n_sequences,) sums of a (n_rows,) figure over decisions."""
        return np.bincount(self.owner, np.where(self.decides, figure, 0.0), len(self)).astype(np.float64)

    def take(self, chosen: Ints) -> "Sequences":
        """Some sequences in the order given; one may come twice."""
        length = self.length[chosen]
        offset = np.concatenate([[0], np.cumsum(length)])
        rows = np.arange(offset[-1]) + np.repeat(self.offset[chosen] - offset[:-1], length)
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return Sequences(offset=offset, weight=self.weight[chosen], **columns)


_COLUMNS = {
    "time": np.float64,
    "observation": np.float32,
    "action": np.float32,
    "logp": np.float32,
    "value": np.float32,
    "payoff": np.float64,
    "version": np.int32,
    "end": np.int8,
}


def join(parts: Sequence[Sequences]) -> Sequences:
    """All sequences of some batches, in order."""
    length = np.concatenate([part.length for part in parts])
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    offset = np.concatenate([[0], np.cumsum(length)])
    return Sequences(offset=offset, weight=np.concatenate([part.weight for part in parts]), **columns)


class DecisionLog:
    """Columns that only grow, written while a policy acts."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, NDArray[Any]]] = []

    def append(self, chosen: NDArray[np.bool_], **columns: NDArray[Any]) -> None:
        """Add a row to each of some sequences.

        Args:
            chosen: (n,) which of the rows to add. columns: (n, ...) those of `Sequences` by name, copied, and
                `sequence`, numbers that name the sequences. What is left out is 0.

        A sequence's first `weight` counts.
        """
        block = {name: np.asarray(column)[chosen] for name, column in columns.items()}
        shapes = self._blocks[0] if self._blocks else block
        n = int(chosen.sum())
        self._blocks.append(
            {name: block.get(name, np.zeros((n, *shapes[name].shape[1:]))) for name in shapes}
        )

    def sequences(self) -> Sequences:
        """Everything so far, sequence by sequence, by number.

        Raises:
            BadInput: a sequence has no end, goes on after it, runs back in time, or holds what is not finite.
        """
        if not self._blocks:
            raise BadInput("decisions", 0, "must be at least one", "Let the environment run for a step.")
        columns = {name: np.concatenate([block[name] for block in self._blocks]) for name in self._blocks[0]}
        order = np.argsort(columns["sequence"], kind="stable")  # keeps the order of time within each
        name = columns["sequence"][order]
        first = np.flatnonzero(np.r_[True, name[1:] != name[:-1]])
        offset = np.r_[first, len(name)].astype(np.int64)
        weight = columns["weight"][order][first].astype(np.float64)
        typed = {column: columns[column][order].astype(kind) for column, kind in _COLUMNS.items()}
        last = np.isin(np.arange(len(name)), offset[1:] - 1)
        wrong = (typed["end"] != End.GOES_ON) != last
        if wrong.any():
            remedy = "Let only its last row be `TERMINAL` or `TRUNCATED`."
            raise BadInput("sequence", name[np.argmax(wrong)], "must end with its last row", remedy)
        if (np.diff(typed["time"]) < 0.0)[~last[:-1]].any():
            raise BadInput("time", "falling", "must not fall within a sequence", "Give hours since a start.")
        for column in ("time", "observation", "logp", "value", "payoff"):
            if not (finite := np.isfinite(typed[column])).all():
                remedy = "Check what the environment returned."
                raise BadInput(column, typed[column][~finite][0], "must be finite", remedy)
        return Sequences(offset=offset, weight=weight, **typed)


def gae(
    sequences: Sequences, value: Floats, *, gamma: float, lam: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Generalised advantage estimation in event time: `vtrace` of what the same policy did.

    Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
    ICLR 2016; the discount of a step of `dt` hours is `gamma ** dt`.
    """
    return vtrace(sequences, value, np.ones(len(sequences.end)), gamma=gamma, lam=lam)


def vtrace(
    sequences: Sequences, value: Floats, ratio: Floats, *, gamma: float, lam: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Advantages and value targets from what another policy did.

        delta_t  = payoff_t + g_t V_{t+1} - V_t              g_t = gamma ** (hours to the next row)
        gain_t   = rho_t (delta_t + g_t lam gain_{t+1})      rho_t = min(1, ratio_t)
        target_t = V_t + gain_t
        advantage_t = delta_t + g_t lam gain_{t+1}           without its own rho: the loss has it

    With `lam` 1 the target is V-trace's and the advantage its `r + g v_{t+1} - V`; with ratios of 1 both are
    GAE's. Rewards count as if paid at the decision.

    Args:
        value: (n_rows, 2) of the critic that is to learn. ratio: (n_rows,) likelihood of each action under
            the policy to judge over that under the policy that acted. gamma: an hour's discount.
            lam: share of what lies beyond the next decision.

    Returns:
        advantage, target: (n_rows, 2); on observations at a cut, 0 and the value itself.

    Source: Espeholt et al., "IMPALA", ICML 2018, section 4.1, both caps at 1, remark 2 for `lam`.
    """
    value = np.asarray(value, np.float64)
    inside = sequences.end == End.GOES_ON  # a row follows
    ahead = np.zeros(len(inside))
    ahead[:-1] = np.diff(sequences.time)
    discount = np.where(inside, gamma ** np.where(inside, ahead, 0.0), 0.0)[:, None]
    delta = sequences.payoff + discount * _next(value) - value
    delta[~sequences.decides] = 0.0
    rho = np.minimum(1.0, ratio)[:, None]
    gain = _backward(rho * delta, rho * discount * lam, sequences.offset)
    return delta + discount * lam * _next(gain), value + gain


def discounted(sequences: Sequences, gamma: float) -> NDArray[np.float64]:
    """(n_rows, 2) payoffs from each row to the end of its sequence, without what a critic would add."""
    nothing = np.zeros_like(sequences.payoff)
    return gae(sequences, nothing, gamma=gamma, lam=1.0)[0]


def _next(figure: Floats) -> NDArray[np.float64]:
    return np.concatenate([figure[1:], np.zeros_like(figure[:1])])


def _backward(delta: Floats, decay: Floats, offset: Ints) -> NDArray[np.float64]:
    """x_t = delta_t + decay_t x_{t+1} within each sequence: one step for all that are long enough."""
    length = np.diff(offset)
    order = np.argsort(-length, kind="stable")
    start, length = offset[:-1][order], length[order]
    n_longer = np.searchsorted(-length, -np.arange(length[0]), side="left")  # sequences with a row t
    out, x = np.zeros(delta.shape), np.zeros((len(start), *delta.shape[1:]))
    for t in range(length[0] - 1, -1, -1):
        n = n_longer[t]
        rows = start[:n] + t
        x[:n] = delta[rows] + decay[rows] * x[:n]
        out[rows] = x[:n]
    return out


@dataclass(frozen=True)
class Pieces:
    """Sequences cut to a length that a network unrolls at once.

    Attributes:
        start, length: (n,) rows. number: (n,) within its sequence; piece `i - 1` is the one before `i`.
    """

    start: Ints
    length: Ints
    number: Ints


def pieces_of(sequences: Sequences, longest: int) -> Pieces:
    """Cut after every `longest` rows; an observation at a cut stays with the decision before it."""
    length = sequences.length
    cut = sequences.end[sequences.offset[1:] - 1] == End.TRUNCATED
    n_pieces = np.maximum(1, -(-(length - cut) // longest))
    owner = np.repeat(np.arange(len(sequences)), n_pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    rest = length[owner] - number * longest
    final = number == n_pieces[owner] - 1
    return Pieces(sequences.offset[owner] + number * longest, np.where(final, rest, longest), number)


@dataclass(frozen=True)
class Bucket:
    """Pieces of like length, padded at the end.

    Attributes:
        piece: (n,). rows: (n, longest), padded with row 0. real: (n, longest), False where padded.
    """

    piece: Ints
    rows: Ints
    real: NDArray[np.bool_]


def buckets(pieces: Pieces, chosen: Ints, size: int) -> list[Bucket]:
    """Sort some pieces by length, longest first, and pad those together that are nearly as long.

    Args:
        chosen: (n,) pieces. size: pieces in a bucket, at most.
    """
    order = chosen[np.argsort(-pieces.length[chosen], kind="stable")]
    length = pieces.length[order]
    found, begin = [], 0
    while begin < len(order):
        shorter = int(np.searchsorted(-length, -_AS_LONG * length[begin], side="right"))
        piece = order[begin : min(shorter, begin + size)]
        column = np.arange(length[begin])
        real = column < pieces.length[piece][:, None]
        found.append(Bucket(piece, np.where(real, pieces.start[piece][:, None] + column, 0), real))
        begin += len(piece)
    return found
