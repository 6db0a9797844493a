"""What one more impression, or click, is worth for a person now, given only the journey an account observed.

A prediction is the line's mean worth times exp(f), and f comes from the 41 journey features and the line by a
network without memory (`mlp`) or with one that has read the person's earlier decisions (`gru`, `lstm`). It is
learnt as a Poisson quasi-likelihood, which is right for the mean of any distribution; then a straight line,
measured on worlds that learning did not see, sets the scale. Whoever is not known gets the strangers' mean.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gaelp.agents.networks import CORES, FORMAT, read_arrays, write_arrays
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.names import require_known
from gaelp.core.words import LINES, N_LINES, SOCIAL_LINE
from gaelp.learning.journey_value_data import JourneyRows
from gaelp.learning.sequences import Bucket, Pieces, buckets
from gaelp.observation.features import FeatureTable
from gaelp.observation.journey import JOURNEY_FEATURES, JOURNEY_LIMIT, N_CATEGORIES, Normaliser

Floats = NDArray[np.float64]

KIND: Final = "journey value"
_LOWEST, _HIGHEST = -6.0, 5.0  # of f
_LEAST = 0.01  # of a line's mean: no prediction is lower
_LEAST_USD = 1e-7
_FEW = 20.0
_REMEDY = "Name a file that `JourneyValue.save` wrote."


@dataclass(frozen=True, kw_only=True)
class ValueSettings:
    """How a value network is made and learns.

    Attributes:
        core: one of `CORES`. units: of each layer. embedding: numbers for each code of a category.
        learning_rate: of Adam. sequences: of a batch, at most. epochs: at most.
        patience: epochs without a better loss on other worlds, after which it stops. seed: of all draws.
        upload: learn what to upload as a conversion's value to a platform whose own bidder multiplies it by
            its guess of the person's stage, so that the product is the worth. The guess is truth that labels
            are made with; acting needs none.
    """

    core: str = "gru"
    units: int = 64
    embedding: int = 4
    learning_rate: float = 2e-3
    sequences: int = 256
    epochs: int = 12
    patience: int = 2
    seed: int = 0
    upload: bool = False

    def __post_init__(self) -> None:
        require_known("core", self.core, CORES)
        if min(self.units, self.embedding, self.sequences, self.epochs, self.patience) < 1:
            raise BadInput("settings", asdict(self), "must be at least 1", "Use the defaults.")


@dataclass(frozen=True, eq=False)
class LineWorths:
    """Mean worth by line, USD of an impression or on search of a click; (n_lines,) each, above 0.

    Attributes:
        everybody: what agent `value` knows. known, stranger: of those the account knows something of, or not.
        guess: the platform's mean guess of the stages of those known.
    """

    everybody: Floats
    known: Floats
    stranger: Floats
    guess: Floats

    @classmethod
    def measure(cls, rows: JourneyRows) -> "LineWorths":
        """Means over rows; a line of few rows leans on all of its kind, as if it had `_FEW` like them."""

        def mean(figure: Floats, chosen: NDArray[np.bool_], towards: Floats) -> Floats:
            total = np.bincount(rows.line[chosen], figure[chosen], N_LINES) + _FEW * towards
            return np.maximum(total / (np.bincount(rows.line[chosen], minlength=N_LINES) + _FEW), _LEAST_USD)

        worth, known, everyone = rows.worth_usd, rows.known, np.ones(len(rows), np.bool_)
        by_click, searched = np.arange(N_LINES) < SOCIAL_LINE, rows.line < SOCIAL_LINE
        kinds = [worth[of].mean() if of.any() else 0.0 for of in (searched, ~searched)]
        everybody = mean(worth, everyone, np.where(by_click, *kinds))
        guess = mean(rows.guess, known, np.full(N_LINES, rows.guess.mean()))
        return cls(everybody, mean(worth, known, everybody), mean(worth, ~known, everybody), guess)

    def constant(self, rows: JourneyRows) -> Floats:
        """(n,) USD by line alone."""
        return self.everybody[rows.line]

    def by_sight(self, rows: JourneyRows) -> Floats:
        """(n,) USD by line, and by whether the account knows something of the person."""
        return np.where(rows.known, self.known[rows.line], self.stranger[rows.line])


class ValueNetwork(nn.Module):
    """Normalised features and lines in, log of worth over the line's mean out.

    Args:
        table: the features, in column order. settings: of the network.
    """

    def __init__(self, table: FeatureTable, settings: ValueSettings) -> None:
        super().__init__()
        torch.set_num_threads(1)  # nets this small only wait for a second one
        self.core_name, units = settings.core, settings.units
        sizes = {table.index(name): n for name, n in N_CATEGORIES.items() if name in table.names}
        self._codes = list(sizes)
        self._numbers = [i for i in range(len(table)) if i not in sizes]
        width = len(self._numbers) * 2 + settings.embedding * (len(sizes) + 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.codes = nn.ModuleList(nn.Embedding(n, settings.embedding) for n in sizes.values())
            self.line = nn.Embedding(N_LINES, settings.embedding)
            self.encoder = nn.Linear(width, units)
            self.core = {"mlp": nn.Linear, "gru": nn.GRU, "lstm": nn.LSTM}[settings.core](units, units)
            self.head = nn.Linear(2 * units, 1)
        nn.init.zeros_(self.head.weight)  # begins as the line's mean
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor, line: Tensor) -> Tensor:
        """Read sequences from their first column to their last, each from its beginning.

        Args:
            features: (n, length, n_features) of `Normaliser.apply`. line: (n, length).

        Returns:
            (n, length).
        """
        number = features[..., self._numbers]
        missing = number < -JOURNEY_LIMIT
        code = features[..., self._codes].long()
        parts = [torch.where(missing, 0.0, number), missing.float(), self.line(line)]
        parts += [embed(code[..., i]) for i, embed in enumerate(self.codes)]
        x = torch.relu(self.encoder(torch.cat(parts, -1)))
        if self.core_name == "mlp":
            remembered = torch.relu(self.core(x))
        else:
            remembered = self.core(x.transpose(0, 1))[0].transpose(0, 1)
        found: Tensor = self.head(torch.cat([x, remembered], -1))[..., 0]
        return found.clamp(_LOWEST, _HIGHEST)


class JourneyValue:
    """A value model of journeys: train it, ask it, save it.

    Attributes:
        settings, normaliser, worths: as it was made. network: with what it learnt.
        intercept, slope: the straight line from exp(f) to worth over the line's mean.
        history: by epoch, loss on the worlds to stop by.
    """

    def __init__(self, settings: ValueSettings, normaliser: Normaliser, worths: LineWorths) -> None:
        self.settings, self.normaliser, self.worths = settings, normaliser, worths
        self.network = ValueNetwork(normaliser.table, settings)
        self.intercept, self.slope = 0.0, 1.0
        self.history: list[float] = []

    @classmethod
    def train(cls, rows: JourneyRows, stop_by: JourneyRows, settings: ValueSettings) -> "JourneyValue":
        """Learn from the rows of people who are known.

        Args:
            rows: of training worlds. stop_by: of others; the epoch with their least loss stays.

        Raises:
            BadInput: nobody is known in one of the two, or a label is not finite.
        """
        for name, given in (("rows", rows), ("stop_by", stop_by)):
            if not given.known.any() or not np.isfinite(given.worth_usd).all():
                allowed = "must have people who are known, and finite labels"
                raise BadInput(name, len(given), allowed, "Fly longer, or with more people.")
        model = cls(settings, Normaliser.measure(rows.features[rows.known]), LineWorths.measure(rows))
        inputs, others = model._inputs(rows), model._inputs(stop_by)
        network = model.network
        optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate, eps=1e-5)
        generator = np.random.default_rng(settings.seed)
        best, kept = np.inf, network.state_dict()
        for epoch in range(settings.epochs):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * (1.0 - epoch / settings.epochs)
            for bucket in inputs.buckets(settings.sequences, generator):
                optimiser.zero_grad()
                loss = inputs.loss(network, bucket)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
            with torch.no_grad():
                sums = [
                    (float(others.loss(network, b)) * b.real.sum(), b.real.sum())
                    for b in others.buckets(settings.sequences)
                ]
            model.history.append(float(sum(s for s, _ in sums) / sum(n for _, n in sums)))
            if model.history[-1] < best:
                best = model.history[-1]
                kept = {name: value.clone() for name, value in network.state_dict().items()}
            elif len(model.history) - 1 - int(np.argmin(model.history)) >= settings.patience:
                break
        network.load_state_dict(kept)
        return model

    def calibrate(self, rows: JourneyRows) -> None:
        """Set the straight line by least squares on worlds that learning and stopping did not see.

        Of what is uploaded only the scale is set: that all of it, times the platform's guess, is the worth.
        """
        seen = rows.known
        factor = self._factor(rows)[seen]
        ratio = rows.worth_usd[seen] / self.worths.known[rows.line[seen]]
        if self.settings.upload:
            self.slope = float(ratio.sum() / (self._exposure(rows)[seen] * factor).sum())
        else:
            self.intercept, self.slope = straight_line(factor, ratio)

    def predict(self, rows: JourneyRows) -> Floats:
        """(n,) expected incremental USD of one more impression, or on search of a click.

        With `upload`, of somebody for whom the platform's guess is the line's mean.
        """
        factor = np.maximum(self.intercept + self.slope * self._factor(rows), _LEAST)
        return np.where(rows.known, factor, 1.0) * self.worths.by_sight(rows)

    def _factor(self, rows: JourneyRows) -> Floats:
        """(n,) exp(f); 1 for strangers."""
        inputs, found = self._inputs(rows), np.ones(len(rows))
        with torch.no_grad():
            for bucket in inputs.buckets(self.settings.sequences):
                f = self.network(inputs.features[bucket.rows], inputs.line[bucket.rows])
                found[inputs.row[bucket.rows[bucket.real]]] = torch.exp(f).numpy()[bucket.real]
        return found

    def _exposure(self, rows: JourneyRows) -> Floats:
        """(n,) what the platform makes of it anyway, in parts of the line's mean."""
        return rows.guess / self.worths.guess[rows.line] if self.settings.upload else np.ones(len(rows))

    def _inputs(self, rows: JourneyRows) -> "_Inputs":
        known = np.flatnonzero(rows.known)
        row = known[np.lexsort((rows.hour[known], rows.sequence[known]))]
        ratio = rows.worth_usd[row] / self.worths.known[rows.line[row]]
        begins = np.flatnonzero(np.diff(rows.sequence[row], prepend=-1))
        length = np.diff(np.append(begins, row.size))
        return _Inputs(
            row,
            torch.from_numpy(self.normaliser.apply(rows.features[row])),
            torch.from_numpy(rows.line[row].astype(np.int64)),
            torch.from_numpy(ratio.astype(np.float32)),
            torch.from_numpy(self._exposure(rows)[row].astype(np.float32)),
            Pieces(begins, length, np.zeros(length.size, np.int64)),
        )

    def save(self, path: str | Path) -> None:
        """Write the model; a file that stands there is replaced in one step."""
        header = {
            "format": FORMAT,
            "kind": KIND,
            "features": self.normaliser.header(),
            "lines": [line.name for line in LINES],
            "settings": asdict(self.settings),
            "history": self.history,
        }
        arrays = {f"network.{name}": value.numpy() for name, value in self.network.state_dict().items()}
        arrays |= {f"worth.{name}": value for name, value in vars(self.worths).items()}
        arrays |= self.normaliser.arrays() | {"line": np.array([self.intercept, self.slope])}
        write_arrays(path, header, arrays)

    @classmethod
    def load(cls, path: str | Path, table: FeatureTable = JOURNEY_FEATURES) -> "JourneyValue":
        """Read a model; what it says is equal bit for bit.

        Raises:
            BadInput: it is no such file, or a damaged one.
            MismatchError: it was made for other features or lines.
        """
        header, arrays = read_arrays(path)
        return cls._restored(header, arrays, table, str(path))

    @classmethod
    def _restored(
        cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], table: FeatureTable, where: str
    ) -> "JourneyValue":
        if header.get("kind") != KIND:
            raise BadInput("checkpoint", where, "must be of a journey value model", _REMEDY)
        try:
            normaliser = Normaliser.restored(header["features"], arrays, table)
            if header["lines"] != [line.name for line in LINES]:
                raise MismatchError("lines", where, "must be those of this version", "Train again.")
            worths = LineWorths(**{name: arrays[f"worth.{name}"] for name in LineWorths.__annotations__})
            model = cls(ValueSettings(**header["settings"]), normaliser, worths)
            weights = {n: torch.from_numpy(arrays[f"network.{n}"]) for n in model.network.state_dict()}
            model.network.load_state_dict(weights)
            model.intercept, model.slope = (float(x) for x in arrays["line"])
            model.history = [float(x) for x in header["history"]]
        except MismatchError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = str(error).partition("\n")[0][:80].rstrip(".")
            raise BadInput("checkpoint", where, f"must be whole ({why})", _REMEDY) from error
        numbers = [*weights.values(), *(torch.from_numpy(w) for w in vars(worths).values())]
        if not all(bool(torch.isfinite(x).all()) for x in numbers) or not np.isfinite(arrays["line"]).all():
            raise BadInput("checkpoint", where, "must be finite", "Go back to an older file.")
        return model


@dataclass(frozen=True, eq=False)
class _Inputs:
    """Rows of known people as tensors, sequence after sequence; `row` is where each came from."""

    row: NDArray[np.int64]
    features: Tensor
    line: Tensor
    ratio: Tensor
    exposure: Tensor
    pieces: Pieces

    def buckets(self, size: int, generator: np.random.Generator | None = None) -> Iterator[Bucket]:
        """All sequences in batches, shuffled where a generator is given."""
        order = np.arange(self.pieces.length.size)
        found = buckets(self.pieces, order if generator is None else generator.permutation(order), size)
        for i in range(len(found)) if generator is None else generator.permutation(len(found)):
            yield found[i]

    def loss(self, network: ValueNetwork, bucket: Bucket) -> Tensor:
        """Mean over real rows of e exp(f) - ratio x f: Poisson's, least where e exp(f) is the mean ratio."""
        f = network(self.features[bucket.rows], self.line[bucket.rows])
        each = self.exposure[bucket.rows] * torch.exp(f) - self.ratio[bucket.rows] * f
        return each[torch.from_numpy(bucket.real)].mean()


def straight_line(predicted: Floats, actual: Floats) -> tuple[float, float]:
    """Intercept and slope of the least-squares line of what came on what was predicted.

    >>> straight_line(np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 7.0]))
    (1.0, 2.0)
    """
    apart = predicted - predicted.mean()
    spread = float(apart @ apart)
    slope = float(apart @ actual) / spread if spread > 1e-12 * predicted.size else 1.0
    return float(actual.mean() - slope * predicted.mean()), slope


def calibration_table(predicted: Floats, actual: Floats, n_parts: int = 10) -> Floats:
    """(n_parts, 2) mean prediction and mean of what came, by equal parts of the rows, lowest first.

    >>> calibration_table(np.array([4.0, 1.0, 2.0, 3.0]), np.array([5.0, 1.0, 1.0, 4.0]), 2).tolist()
    [[1.5, 1.0], [3.5, 4.5]]
    """
    parts = np.array_split(np.argsort(predicted, kind="stable"), n_parts)
    return np.array([[predicted[part].mean(), actual[part].mean()] for part in parts])
