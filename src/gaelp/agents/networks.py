"""Recurrent actor-critic networks: named features in; an action's distribution and two values out.

One encoder layer, a core that may remember (`gru`, `lstm`) or not (`mlp`), and linear heads for the policy,
the value of the rewards and the value of the costs. Files hold plain arrays and a JSON header, so loading one
runs nothing; a network made for another table of features is refused.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.files import replacing
from gaelp.core.names import require_known
from gaelp.observation.features import FeatureTable

FORMAT: Final = 1
CORES: Final = ("mlp", "gru", "lstm")
PAYOFFS: Final = ("reward", "cost")
"""What the two values are of, in the order of their columns."""

_FARTHEST = 10.0  # standard deviations from the mean at which an input is cut
_SMALLEST_STD = 1e-6  # of a feature; one that never moved is only shifted
_FORBIDDEN = -1e9  # a logit whose probability is exactly 0 and whose entropy is no NaN
_LOG_SQRT_2PI = 0.5 * float(np.log(2.0 * np.pi))
_REMEDY = "Name a file that `save` of a network or of `PPO` wrote."

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What a network is made of.

    Attributes:
        core: one of `CORES`. units: of each layer.
        n_actions: numbers that are drawn from a Gaussian, unbounded: the environment cuts them.
        n_choices: of one categorical choice, 0 for none. It is the action's last column.
        allowed: a feature for each choice, which may be taken where that is above 0; empty: always.
        first_log_std: of the Gaussian, before training; it does not depend on the observation.
    """

    core: str = "gru"
    units: int = 64
    n_actions: int = 0
    n_choices: int = 0
    allowed: tuple[str, ...] = ()
    first_log_std: float = -0.5

    def __post_init__(self) -> None:
        require_known("core", self.core, CORES)
        object.__setattr__(self, "allowed", tuple(self.allowed))  # a list, where it comes from JSON
        if self.units < 1 or self.n_actions < 0 or self.n_choices < 0 or not self.n_actions + self.n_choices:
            found = f"{self.units} units, {self.n_actions} actions, {self.n_choices} choices"
            raise BadInput("shape", found, "must have units and something to decide", "Give n_actions.")
        if self.allowed and len(self.allowed) != self.n_choices:
            remedy = "Name one feature for each choice, or none."
            raise BadInput("allowed", self.allowed, f"must be {self.n_choices} features", remedy)

    @property
    def state_width(self) -> int:
        """Numbers remembered from one decision to the next."""
        return {"mlp": 0, "gru": self.units, "lstm": 2 * self.units}[self.core]

    @property
    def action_width(self) -> int:
        """Columns of an action."""
        return self.n_actions + (self.n_choices > 0)


@dataclass(frozen=True)
class Heads:
    """What a network says of observations; `...` are their leading axes.

    Attributes:
        mean: (..., n_actions). log_std: (n_actions,). logits: (..., n_choices), forbidden ones far below.
        value: (..., 2) expected discounted rewards and costs to come, in units of `payoff_scale`.
    """

    mean: Tensor
    log_std: Tensor
    logits: Tensor
    value: Tensor

    def log_prob(self, action: Tensor) -> Tensor:
        """(...,) log density of (..., action_width) actions, all columns together."""
        n_actions = self.mean.shape[-1]
        z = (action[..., :n_actions] - self.mean) * torch.exp(-self.log_std)
        total = (-0.5 * z * z - self.log_std - _LOG_SQRT_2PI).sum(-1)
        if self.logits.shape[-1]:
            choice = action[..., n_actions:].long()
            total = total + torch.log_softmax(self.logits, -1).gather(-1, choice)[..., 0]
        return total

    def entropy(self) -> Tensor:
        """(...,) entropy in nats."""
        gaussian = (self.log_std + _LOG_SQRT_2PI + 0.5).sum()
        logp = torch.log_softmax(self.logits, -1)
        return gaussian - (logp.exp() * logp).sum(-1)


class ActorCritic(nn.Module):
    """An actor and a critic on one core.

    Args:
        table: the features, in column order. shape: of the network. seed: of the first weights.

    Orthogonal first weights, the policy's last layer at a hundredth: source Andrychowicz et al., "What
    Matters for On-Policy Deep Actor-Critic Methods?", ICLR 2021.
    """

    input_mean: Tensor
    input_std: Tensor
    payoff_scale: Tensor
    measured: Tensor

    def __init__(self, table: FeatureTable, shape: NetworkShape, *, seed: int = 0) -> None:
        super().__init__()
        torch.set_num_threads(1)  # nets this small only wait for a second one
        for name in shape.allowed:
            require_known("feature", name, table.names)
        self.table, self.shape = table, shape
        self._allowed = [table.index(name) for name in shape.allowed]
        n, units = len(table), shape.units
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Linear(n, units)
            self.core = {"mlp": nn.Linear, "gru": nn.GRU, "lstm": nn.LSTM}[shape.core](units, units)
            self.policy = nn.Linear(units, shape.n_actions + shape.n_choices)
            self.critic = nn.Linear(units, len(PAYOFFS))
            gains = {"encoder": 2**0.5, "core": 2**0.5 if shape.core == "mlp" else 1.0, "policy": 0.01}
            for name, weight in self.named_parameters():
                if weight.ndim == 1:
                    nn.init.zeros_(weight)
                else:
                    nn.init.orthogonal_(weight, gains.get(name.partition(".")[0], 1.0))
        self.log_std = nn.Parameter(torch.full((shape.n_actions,), shape.first_log_std))
        self.register_buffer("input_mean", torch.zeros(n))
        self.register_buffer("input_std", torch.ones(n))
        self.register_buffer("payoff_scale", torch.ones(len(PAYOFFS)))
        self.register_buffer("measured", torch.tensor(False))

    def measure(self, observation: Floats, payoff_scale: NDArray[np.floating]) -> None:
        """Take the inputs' mean and spread, and the payoffs' scale, once and for good.

        Args:
            observation: (n, n_features) that the untrained policy met. payoff_scale: (2,) above 0.

        Raises:
            BadInput: it was measured before; what was learned since rests on those figures.
        """
        if self.measured:
            raise BadInput("network", "measured", "must be new", "Make another one.")
        std = observation.std(axis=0, dtype=np.float64)
        std[std < _SMALLEST_STD] = 1.0
        self.input_mean.copy_(torch.as_tensor(observation.mean(axis=0, dtype=np.float64)))
        self.input_std.copy_(torch.as_tensor(std))
        self.payoff_scale.copy_(torch.as_tensor(payoff_scale))
        self.measured.fill_(True)

    def forward(self, observation: Tensor, state: Tensor) -> tuple[Heads, Tensor]:
        """Read sequences from their first column to their last.

        Args:
            observation: (n, n_hours, n_features), raw. state: (n, state_width); zeros: nothing came before.

        Returns:
            heads: with leading axes (n, n_hours). state: (n, state_width) after the last column.
        """
        x = ((observation - self.input_mean) / self.input_std).clamp(-_FARTHEST, _FARTHEST)
        x = torch.relu(self.encoder(x))
        if self.shape.core == "mlp":
            x = torch.relu(self.core(x))
        else:
            x, state = self._remember(x, state)
        raw = self.policy(x)
        mean, logits = raw.split([self.shape.n_actions, self.shape.n_choices], -1)
        if self._allowed:
            logits = torch.where(observation[..., self._allowed] > 0.0, logits, _FORBIDDEN)
        return Heads(mean, self.log_std, logits, self.critic(x)), state

    def _remember(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = x.transpose(0, 1)  # (n_hours, n, units), as torch's cores want it
        if self.shape.core == "gru":
            x, hidden = self.core(x, state[None])
            return x.transpose(0, 1), hidden[0]
        # oneDNN serves only LSTMs without gradients, with other last digits: a ratio would not start at 1
        usual, torch.backends.mkldnn.enabled = torch.backends.mkldnn.enabled, False  # type: ignore[assignment]
        try:
            hidden, cell = state[None].chunk(2, -1)
            x, (hidden, cell) = self.core(x, (hidden.contiguous(), cell.contiguous()))
        finally:
            torch.backends.mkldnn.enabled = usual
        return x.transpose(0, 1), torch.cat((hidden[0], cell[0]), -1)

    def first_state(self, n: int) -> Tensor:
        """(n, state_width) of those who remember nothing."""
        return torch.zeros(n, self.shape.state_width)

    @torch.no_grad()
    def act(
        self, observation: Floats, state: Tensor, generator: np.random.Generator | None = None
    ) -> tuple[Floats, Floats, Floats, Tensor]:
        """Decide once for each row.

        Args:
            observation: (n, n_features). state: (n, state_width).
            generator: draws; None: the likeliest action.

        Returns:
            action: (n, action_width). logp: (n,). value: (n, 2). state: (n, state_width) from now on.

        Raises:
            BadInput: a feature is not finite, or no choice is allowed.
        """
        self._check(observation)
        heads, state = self(torch.as_tensor(observation, dtype=torch.float32)[:, None], state)
        mean, logits = heads.mean[:, 0].numpy(), heads.logits[:, 0].numpy()
        if generator is not None:
            mean = mean + heads.log_std.exp().numpy() * generator.standard_normal(mean.shape, np.float32)
            logits = logits + generator.gumbel(size=logits.shape)
        choice = [logits.argmax(axis=1)[:, None]] if self.shape.n_choices else []
        action = np.concatenate([mean, *choice], axis=1).astype(np.float32)
        logp = heads.log_prob(torch.from_numpy(action)[:, None])
        return action, logp[:, 0].numpy(), heads.value[:, 0].numpy(), state

    def _check(self, observation: Floats) -> None:
        if observation.ndim != 2 or observation.shape[1] != len(self.table):
            allowed = f"must be (n, {len(self.table)}), as {self.table.name} says"
            raise BadInput("observation's shape", observation.shape, allowed, "Observe by that table.")
        if not np.isfinite(observation).all():
            row, column = np.argwhere(~np.isfinite(observation))[0]
            where = f"observation[{row}, {self.table.names[column]}]"
            remedy = "Check what computed the feature."
            raise BadInput(where, observation[row, column], "must be finite", remedy)
        if self._allowed and not (some := (observation[:, self._allowed] > 0.0).any(axis=1)).all():
            row = int(np.argmin(some))
            where = f"observation[{row}]"
            raise BadInput(where, "without any choice", "must allow one", "Allow doing nothing as a choice.")

    def header(self) -> dict[str, Any]:
        """What a file says of the network besides its arrays."""
        names = {"name": self.table.name, "version": self.table.version, "names": list(self.table.names)}
        return {"format": FORMAT, "features": names, "shape": asdict(self.shape)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights and statistics by name."""
        return {f"network.{name}": value.numpy() for name, value in self.state_dict().items()}

    def save(self, path: str | Path) -> None:
        """Write the network; a file that stands there is replaced in one step."""
        write_arrays(path, self.header(), self.arrays())

    @classmethod
    def load(cls, path: str | Path, table: FeatureTable) -> "ActorCritic":
        """Read a network from its own file or from a checkpoint of `PPO`.

        Raises:
            BadInput: it is no such file, or a damaged one.
            MismatchError: it was made by another format, or for other features.
        """
        return cls.restored(*read_arrays(path), table, str(path))

    @classmethod
    def restored(
        cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], table: FeatureTable, where: str
    ) -> "ActorCritic":
        """The network that `header()` and `arrays()` describe; `where` they were read, for errors."""
        try:
            table.require(header["features"]["version"], header["features"]["names"])
            network = cls(table, NetworkShape(**header["shape"]))
            own = {name: torch.from_numpy(arrays[f"network.{name}"]) for name in network.state_dict()}
            network.load_state_dict(own)
        except MismatchError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadInput("network", where, f"must be whole ({_brief(error)})", _REMEDY) from error
        scales = ("input_std", "payoff_scale")
        broken = [
            name
            for name, value in own.items()
            if not torch.isfinite(value).all() or (name in scales and not (value > 0).all())
        ]
        if broken:
            allowed = "must be above 0" if broken[0] in scales else "must be finite"
            raise BadInput(f"network {broken[0]}", where, allowed, "Go back to an older checkpoint.")
        return network

    def copy(self) -> "ActorCritic":
        """A network of its own with the same numbers."""
        return ActorCritic.restored(self.header(), self.arrays(), self.table, "a copy")


def write_arrays(path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays and a header that JSON can say, whole or not at all."""
    with replacing(path) as neighbour, open(neighbour, "wb") as file:
        content: dict[str, Any] = {"header": np.array(json.dumps(header)), **arrays}
        np.savez(file, **content)


def read_arrays(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `write_arrays` wrote; nothing is unpickled.

    Raises:
        BadInput: the file cannot be read. MismatchError: it has another format.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        found = header["format"]
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error
    ) as error:  # fmt: skip
        allowed = f"must be a network's file ({_brief(error)})"
        raise BadInput("checkpoint", str(path), allowed, _REMEDY) from error
    if found != FORMAT:
        remedy = "Train again with this version, or use the version it was written with."
        raise MismatchError("checkpoint", f"{path} of format {found}", f"must be {FORMAT}", remedy)
    return header, arrays


def require_belonging(path: str | Path, belongs_to: str) -> None:
    """Refuse a network's file that was written for something else.

    Args:
        path: of the file. belongs_to: what `PPO.save` was told.

    Raises:
        BadInput: the file cannot be read. MismatchError: it belongs to something else.
    """
    found = str(read_arrays(path)[0].get("belongs_to"))
    if found != belongs_to:
        remedy = "Put back the file that was trained with it, or train again."
        raise MismatchError("network", f"{path} of {found[:12]}", f"must be of {belongs_to[:12]}", remedy)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:80].rstrip(".")
