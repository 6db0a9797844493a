"""`journeys`: bids of the shared level times what one more impression is predicted to be worth.

Dollars bid per predicted dollar are the level, which keeps the budget for lines and seat together, times one
scale that was chosen on training worlds. A learnt factor per auction can stand on top (`journey_ppo.py`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief
from gaelp.agents.seat import Asked
from gaelp.core.errors import BadInput
from gaelp.core.files import sha256_of
from gaelp.learning.journey_value import JourneyValue
from gaelp.learning.journey_value_data import BID_LEVELS, JourneyRows
from gaelp.learning.seat_checkpoint import AGENT, HIGHEST_SCALE, VALUE
from gaelp.market.file import MarketFile
from gaelp.worlds.registry import CHECKPOINT
from gaelp.worlds.runs import write_json

Floats = NDArray[np.float64]

_PER_THOUSAND = 1000.0


class Correction(Protocol):
    """Moves bids by person; what it remembers of a person belongs to one flight."""

    def start(self, n_worlds: int) -> None:
        """Remember nobody."""

    def factor(self, asked: Asked, base_cpm: Floats, worth_usd: Floats) -> Floats:
        """(n,) on bids of `base_cpm` for impressions predicted to be worth `worth_usd`."""


@dataclass
class JourneySeat:
    """Bids by predicted worth.

    Attributes:
        value: of an impression. scale: dollars bid per predicted dollar at level 1.
        by_line: bid each line's mean worth for everybody: what knowing the person adds is the difference.
        correction: a factor on top; None: none.
    """

    value: JourneyValue
    scale: float = 1.0
    by_line: bool = False
    correction: Correction | None = None
    name: str = AGENT
    _memory: list["_Memory"] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and 0.0 < self.scale <= HIGHEST_SCALE):
            allowed = f"must be above 0 and at most {HIGHEST_SCALE:g}"
            raise BadInput("scale", self.scale, allowed, "Choose it on training worlds.")

    def start(self, brief: Brief) -> None:
        """Remember nobody."""
        self._memory = [_Memory() for _ in range(brief.n_worlds)]
        if self.correction is not None:
            self.correction.start(brief.n_worlds)

    def bid(self, asked: Asked, level: Floats) -> Floats:
        """(n,) USD per 1000: level x scale x predicted worth of 1000 impressions."""
        worth = self.worth(asked)
        base = _PER_THOUSAND * self.scale * level[asked.world] * worth
        return base if self.correction is None else base * self.correction.factor(asked, base, worth)

    def worth(self, asked: Asked) -> Floats:
        """(n,) predicted USD of an impression; a world by itself, so its last bits are its own."""
        if self.by_line:
            return self.value.worths.everybody[asked.line]
        found = np.zeros(len(asked))
        begins = np.searchsorted(asked.world, np.arange(len(self._memory) + 1))
        for w, memory in enumerate(self._memory):
            mine = slice(begins[w], begins[w + 1])
            if begins[w] < begins[w + 1]:
                rows = rows_of(asked, mine)
                if self.value.settings.core == "mlp":
                    found[mine] = self.value.predict(rows)
                else:
                    found[mine] = memory.predict(self.value, rows)
        return found


class _Memory:
    """Decisions of one world so far, for a model that reads a person's earlier ones."""

    def __init__(self) -> None:
        self._n = 0
        self._column: dict[str, NDArray[Any]] = {}

    def predict(self, value: JourneyValue, rows: JourneyRows) -> Floats:
        """(n,) for the newest decisions, which are remembered."""
        n = self._n + len(rows)
        for name in ("features", "line", "hour", "sequence"):
            new = getattr(rows, name)
            column = self._column.get(name)
            if column is None or n > len(column):
                grown = np.zeros((max(2 * n, 1024), *new.shape[1:]), new.dtype)
                if column is not None:
                    grown[: self._n] = column[: self._n]
                column = self._column[name] = grown
            column[self._n : n] = new
        before, self._n = self._n, n
        sequence = self._column["sequence"][:n]
        asked = np.zeros(int(sequence.max(initial=-1)) + 2, bool)  # the last is of strangers
        asked[rows.sequence[rows.known]] = True
        read = np.flatnonzero(asked[sequence] & (np.arange(n) < before))
        read = np.concatenate([read, np.arange(before, n)])
        found = value.predict(_bare(**{name: column[read] for name, column in self._column.items()}))
        return found[read >= before]


def rows_of(asked: Asked, some: slice) -> JourneyRows:
    """Auctions as a value model reads them; what they are worth is not known."""
    line = asked.line[some].astype(np.uint8)
    hour = np.full(line.size, asked.hour, np.int64)
    return _bare(asked.features[some], line, hour, asked.person[some])


def _bare(
    features: NDArray[np.float32], line: NDArray[np.uint8], hour: NDArray[Any], sequence: NDArray[Any]
) -> JourneyRows:
    n = line.size
    return JourneyRows(
        features=features,
        line=line,
        world=np.zeros(n, np.int64),
        hour=hour,
        sequence=sequence,
        worth_usd=np.zeros(n),
        guess=np.ones(n),
        paid=np.zeros((n, BID_LEVELS[:0].size), np.int32),
        spend_usd=np.zeros(1),
    )


def write_seat(
    out: Path, file: MarketFile, value: JourneyValue, scale: float, training: dict[str, Any]
) -> Path:
    """Keep a seat in a folder; returns its checkpoint.

    Args:
        out: a folder. file: the market it was trained on. scale: of `JourneySeat`.
        training: how, kept beside the rest.
    """
    JourneySeat(value, scale)  # refuses a scale that cannot be
    out.mkdir(parents=True, exist_ok=True)
    value.save(out / VALUE)
    said = {"agent": AGENT, "market": file.name, "market_sha256": file.sha256, "scale": scale}
    digest = {"value_sha256": sha256_of(out / VALUE)}
    write_json(out / CHECKPOINT, {**training, **said, **digest})
    return out / CHECKPOINT
