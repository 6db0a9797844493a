"""Offline reinforcement learning from a log: behaviour cloning and implicit Q-learning.

Both learn from what was done, without trying anything. Behaviour cloning (BC) copies it. Implicit Q-learning
(IQL) values the logged actions and copies the better ones more: V(s) is an upper expectile of Q(s, a) over
logged actions, Q(s, a) = reward + V(next s), and the policy is regressed on the logged actions with weights
exp(temperature x (Q - V)). No action outside the log is ever valued.

Source: Kostrikov, Nair, Levine, "Offline reinforcement learning with implicit Q-learning", ICLR 2022,
arXiv 2110.06169, equations 5 to 7.
"""

import pickle
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaelp.agents.auctionnet_policies import Network
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.files import replacing
from gaelp.core.names import require_known

Floats = NDArray[np.float64]

ALGORITHMS = ("bc", "iql")


@dataclass(frozen=True, kw_only=True)
class Log:
    """Logged steps, episode after episode in the order of time.

    Attributes:
        observations: (n, n_features) before the step. actions: (n,) or (n, n_actions) taken.
        log_prob: (n,) natural logarithm of the density with which the behaviour policy took them, together.
        rewards: (n,) that followed. ends: (n,) whether the step was its episode's last.
    """

    observations: Floats
    actions: Floats
    log_prob: Floats
    rewards: Floats
    ends: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.actions)
        for field in fields(self):
            array = getattr(self, field.name)
            n_axes = {"observations": (2,), "actions": (1, 2)}.get(field.name, (1,))
            if array.ndim not in n_axes or len(array) != n or not array.size:
                allowed = "must hold one row for each action, and at least one"
                raise BadInput(f"{field.name}.shape", array.shape, allowed, "Log every step whole.")
            if not np.isfinite(array).all():
                row = int(np.flatnonzero(~np.isfinite(array.reshape(n, -1)).all(axis=1))[0])
                remedy = "Leave out the episode, or mend what logged it."
                raise BadInput(f"{field.name}[{row}]", array[row], "must be finite", remedy)
        if self.ends.dtype != np.bool_:
            raise BadInput("ends.dtype", self.ends.dtype, "must be bool", "Say which steps were last.")
        if not self.ends[-1]:
            raise BadInput("ends[-1]", False, "must be True", "Log whole episodes.")

    @property
    def n_features(self) -> int:
        """Columns of an observation."""
        return int(self.observations.shape[1])

    @property
    def n_actions(self) -> int:
        """Numbers in an action."""
        return 1 if self.actions.ndim == 1 else int(self.actions.shape[1])

    def save(self, path: Path) -> None:
        """Write an npz file of these arrays, which other libraries read too."""
        with replacing(path) as neighbour:
            np.savez_compressed(
                neighbour, **{field.name: getattr(self, field.name) for field in fields(self)}
            )

    @classmethod
    def load(cls, path: Path) -> "Log":
        """Read what `save` wrote.

        Raises:
            BadInput: it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{field.name: file[field.name] for field in fields(cls)})
        except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise _no_file("log", path, "Log.save") from error
        except ValueError as error:
            if isinstance(error, BadInput):
                raise
            raise _no_file("log", path, "Log.save") from error


@dataclass(frozen=True, kw_only=True)
class OfflineSettings:
    """How to learn.

    Attributes:
        hidden: units of each of two hidden layers. learning_rate: of Adam. batch: steps an update.
        discount: per step. expectile: of V over logged actions, above 0.5. temperature: of the weights, on
            advantages in units of the rewards' standard deviation. target_rate: of the slow copy of Q.
        seed: names first weights and batches.
    """

    hidden: int = 64
    learning_rate: float = 3e-4
    batch: int = 256
    discount: float = 1.0
    expectile: float = 0.7
    temperature: float = 0.5
    target_rate: float = 0.005
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("hidden", 1, 4096),
            ("batch", 1, 1_000_000),
            ("learning_rate", 1e-6, 1.0),
            ("discount", 0.0, 1.0),
            ("expectile", 0.5, 0.999),
            ("temperature", 0.0, 1000.0),
            ("target_rate", 1e-6, 1.0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not low <= value <= high:
                allowed = f"must be from {low:g} to {high:g}"
                raise BadInput(name, value, allowed, "The defaults are a fair start.")


class Learner:
    """Learns a policy from a log; equal seeds, logs and updates give equal weights on one machine.

    Args:
        algorithm: "bc" or "iql". log: to learn from. settings: how.

    Attributes:
        updates: done so far.
    """

    def __init__(
        self, algorithm: Literal["bc", "iql"], log: Log, settings: OfflineSettings | None = None
    ) -> None:
        self.algorithm = require_known("algorithm", str(algorithm), ALGORITHMS)
        self.settings = how = settings or OfflineSettings()
        self.updates = 0
        self._mean = log.observations.mean(axis=0)
        self._scale = np.maximum(log.observations.std(axis=0), 1e-6)
        self._low, self._high = float(log.actions.min()), float(log.actions.max())
        state = torch.tensor((log.observations - self._mean) / self._scale, dtype=torch.float32)
        following = torch.roll(state, -1, dims=0)  # an end's is the next episode's first, and never used
        reward = log.rewards / max(float(log.rewards.std()), 1e-9)
        self._data = (
            state,
            torch.tensor(log.actions, dtype=torch.float32).reshape(len(log.actions), -1),
            torch.tensor(reward, dtype=torch.float32),
            following,
            torch.tensor(how.discount * ~log.ends, dtype=torch.float32),
        )
        self._batches = np.random.default_rng(how.seed)
        n, n_actions = log.n_features, log.n_actions
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(how.seed)
            self._nets = nn.ModuleDict({"policy": _perceptron(n, how.hidden, n_actions)})
            if self.algorithm == "iql":
                self._nets["v"] = _perceptron(n, how.hidden)
                for name in ("q1", "q2", "slow_q1", "slow_q2"):
                    self._nets[name] = _perceptron(n + n_actions, how.hidden)
                for name in ("q1", "q2"):
                    self._nets[f"slow_{name}"].load_state_dict(self._nets[name].state_dict())
        trained = [p for name, net in self._nets.items() if "slow" not in name for p in net.parameters()]
        self._adam = torch.optim.Adam(trained, lr=how.learning_rate)

    def fit(self, n_updates: int) -> "Learner":
        """Make that many more updates.

        Raises:
            BadInput: fewer than none.
        """
        if n_updates < 0:
            raise BadInput("updates", n_updates, "must be at least 0", "Say how many more to make.")
        n = len(self._data[0])
        for _ in range(n_updates):
            rows = torch.from_numpy(self._batches.integers(0, n, self.settings.batch))
            state, action, reward, following, discount = (part[rows] for part in self._data)
            weight, loss = torch.ones_like(reward), torch.zeros(())
            if self.algorithm == "iql":
                weight, loss = self._value_loss(state, action, reward, following, discount)
            error = self._nets["policy"](state) - action
            loss = loss + (weight * error.square().sum(dim=1)).mean()
            self._adam.zero_grad()
            loss.backward()
            self._adam.step()
            if self.algorithm == "iql":
                self._follow()
            self.updates += 1
        return self

    def _value_loss(
        self,
        state: torch.Tensor,
        action: torch.Tensor,
        reward: torch.Tensor,
        following: torch.Tensor,
        discount: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of the logged actions, and the loss of V and both Q; all (n_batch,)."""
        taken = torch.cat((state, action), dim=1)
        with torch.no_grad():
            logged = torch.minimum(self._out("slow_q1", taken), self._out("slow_q2", taken))
            target = reward + discount * self._out("v", following)
        advantage = logged - self._out("v", state)
        expectile = self.settings.expectile
        side = torch.where(advantage.detach() > 0, expectile, 1.0 - expectile)
        loss = (side * advantage.square()).mean()
        for name in ("q1", "q2"):
            loss = loss + (self._out(name, taken) - target).square().mean()
        # at most 100, as the paper's code does: one lucky step must not be all there is
        return (self.settings.temperature * advantage.detach()).exp().clamp(max=100.0), loss

    def _out(self, name: str, given: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._nets[name](given)[:, 0]
        return out

    @torch.no_grad()
    def _follow(self) -> None:
        for name in ("q1", "q2"):
            pairs = zip(self._nets[f"slow_{name}"].parameters(), self._nets[name].parameters(), strict=True)
            for slow, fast in pairs:
                slow.lerp_(fast, self.settings.target_rate)

    def layers(self) -> list[tuple[Floats, Floats]]:
        """Weights, (n_out, n_in), and biases, (n_out,), of the policy so far; ReLU between layers."""
        linear = [layer for layer in self._nets["policy"].children() if isinstance(layer, nn.Linear)]
        return [
            (part.weight.detach().double().numpy(), part.bias.detach().double().numpy()) for part in linear
        ]

    @property
    def scaling(self) -> tuple[Floats, Floats]:
        """(n_features,) each: the policy reads (observation - mean) / scale."""
        return self._mean, self._scale

    def network(self) -> Network:
        """The policy so far, as a network that acts without torch.

        Raises:
            BadInput: its actions are more numbers than the one that such a network gives.
        """
        weights, biases = zip(*self.layers(), strict=True)
        if len(biases[-1]) != 1:
            raise BadInput("actions", len(biases[-1]), "must be one number", "Take the policy's layers.")
        return Network(
            mean=self._mean, scale=self._scale, weights=weights, biases=biases, low=self._low, high=self._high
        )

    def save(self, path: Path) -> None:
        """Write a checkpoint; with the same log, `resume` goes on from it bit for bit."""
        state = {
            "algorithm": self.algorithm,
            "settings": asdict(self.settings),
            "updates": self.updates,
            "nets": self._nets.state_dict(),
            "adam": self._adam.state_dict(),
            "batches": self._batches.bit_generator.state,
        }
        with replacing(path) as neighbour:
            torch.save(state, neighbour)

    @classmethod
    def resume(cls, path: Path, log: Log) -> "Learner":
        """Go on from a checkpoint, with the log it was trained on.

        Raises:
            BadInput: it is no checkpoint. MismatchError: it was made for other features.
        """
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
            learner = cls(state["algorithm"], log, OfflineSettings(**state["settings"]))
            nets = state["nets"]
            n_features, n_actions = nets["policy.0.weight"].shape[1], nets["policy.4.weight"].shape[0]
        except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise _no_file("checkpoint", path, "Learner.save") from error
        if n_features != log.n_features:
            allowed = f"must be those of the log, {log.n_features}"
            raise MismatchError("features", n_features, allowed, "Resume with the log it was trained on.")
        if n_actions != log.n_actions:
            allowed = f"must be those of the log, {log.n_actions}"
            raise MismatchError("actions", n_actions, allowed, "Resume with the log it was trained on.")
        learner.updates = state["updates"]
        learner._nets.load_state_dict(state["nets"])
        learner._adam.load_state_dict(state["adam"])
        learner._batches.bit_generator.state = state["batches"]
        return learner


def _perceptron(n_in: int, hidden: int, n_out: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, n_out)
    )


def _no_file(name: str, path: Path, writer: str) -> BadInput:
    return BadInput(name, str(path), f"must be a file that {writer} wrote", "Write it again.")
