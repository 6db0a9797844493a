"""Proximal policy optimisation of recurrent networks on ragged sequences in event time.

One epoch: let the policy act from `reset` on (`rollouts`), replay some older sequences if asked, improve the
policy by some passes over all of it (`learner`). Checkpoints go on bit for bit. What departs from plain PPO,
and why, is in docs/reference/ppo.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaelp.agents.networks import ActorCritic, read_arrays, write_arrays
from gaelp.core.errors import BadInput
from gaelp.learning.learner import PPOSettings, Report, update
from gaelp.learning.replay import Replay, ReplaySettings
from gaelp.learning.rollouts import BatchEnvironment, collect
from gaelp.learning.sequences import Sequences, discounted, join
from gaelp.observation.features import FeatureTable

__all__ = ["PPO", "BatchEnvironment", "PPOSettings", "Report", "collect", "update"]

_IN_TRAINING = "training."  # before the names of a network that is not the one that files show
_EARLIER = "earlier."  # and an epoch, before the names of a network of that epoch


class PPO:
    """A network in training: epoch after epoch, with checkpoints that go on bit for bit.

    Args:
        network: changed. settings: how.

    Attributes:
        epoch: how many it has learnt from. generator: shuffles, and draws what `train` does.
        best: another network that a checkpoint shows to those who only load a network; None: the one in
            training.
        earlier: weights of earlier networks by epoch, which the caller wants to find in the checkpoint again.
        notes: what the caller wants to find in the checkpoint again; JSON must be able to say it.
    """

    def __init__(self, network: ActorCritic, settings: PPOSettings) -> None:
        self.network, self.settings = network, settings
        self.optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, eps=1e-5)
        self.generator = np.random.default_rng(settings.seed)
        self.memory = Replay(settings.replay) if settings.replay else None
        self.epoch = 0
        self.multiplier = 0.0
        self.best: ActorCritic | None = None
        self.earlier: Mapping[int, Mapping[str, NDArray[Any]]] = {}
        self.notes: dict[str, Any] = {}

    def train(
        self,
        environment: BatchEnvironment,
        *,
        until: int | None = None,
        tell: Callable[[Report], None] = lambda _: None,
    ) -> list[Report]:
        """Train to the end, or until some epoch is done.

        Args:
            environment: may be a new one after `load`: each epoch begins by `reset`. Epoch 0 only measures
                the inputs. tell: told each epoch's report.

        Returns:
            A report per epoch: rewards and costs by sequence, and what `update` says.
        """
        if not self.network.measured:
            self.measure(self._collect(environment, 0))
        reports = []
        for _ in range(self.epoch, self.settings.epochs if until is None else until):
            reports.append(self.learn(self._collect(environment, self.epoch + 1)))
            tell(reports[-1])
        return reports

    def _collect(self, environment: BatchEnvironment, epoch: int) -> Sequences:
        steps = self.settings.steps
        return collect(environment, self.network, steps=steps, epoch=epoch, generator=self.generator)

    def measure(self, sequences: Sequences) -> None:
        """Take the inputs' mean and spread, and the payoffs' scale, from what the first policy lived."""
        scale = discounted(sequences, self.settings.gamma)[sequences.decides].std(axis=0)
        self.network.measure(sequences.observation, np.where(scale > 0.0, scale, 1.0))

    def learn(self, fresh: Sequences) -> Report:
        """Learn from the next epoch, which the present network lived; returns what happened."""
        self.epoch += 1
        done = (self.epoch - 1) / self.settings.epochs
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * (1.0 - done)
        batch, index = fresh, None
        if self.memory is not None and len(self.memory):
            kept = self.memory.settings
            n = max(1, int(len(fresh) * kept.share / (1.0 - kept.share)))
            beta = kept.first_beta + (1.0 - kept.first_beta) * done
            drawn, index = self.memory.draw(n, beta, self.generator)
            batch = join([fresh, drawn])
        report, surprise = update(
            self.network, self.optimiser, batch, self.settings, self.generator, multiplier=self.multiplier
        )
        if self.memory is not None:
            if index is not None:
                self.memory.look_again(index, surprise[len(fresh) :])
            self.memory.add(self.epoch, fresh, surprise[: len(fresh)])
            least = self.memory.settings.least_effective
            seen = report["versions"].items()
            self.memory.drop([v for v, figures in seen if figures["effective_share"] < least])
        reward, cost = (
            float(np.average(fresh.total(fresh.payoff[:, kind]), weights=fresh.weight)) for kind in (0, 1)
        )
        if self.settings.cost_limit is not None:
            above = (cost - self.settings.cost_limit) / float(self.network.payoff_scale[1])
            self.multiplier = max(0.0, self.multiplier + self.settings.multiplier_rate * above)
        rows = {"sequences": len(fresh), "decisions": int(fresh.decides.sum())}
        return (
            {"epoch": self.epoch, "reward": reward, "cost": cost, "multiplier": self.multiplier}
            | rows
            | report
        )

    def save(self, path: str | Path, belongs_to: str = "") -> None:
        """Write all that training needs to go on; a file that stands there is replaced in one step.

        Args:
            path: of the file. belongs_to: what `networks.require_belonging` asks for, when it is read.
        """
        header = self.network.header() | {
            "belongs_to": belongs_to,
            "notes": self.notes,
            "settings": asdict(self.settings),
            "epoch": self.epoch,
            "multiplier": self.multiplier,
            "generator": self.generator.bit_generator.state,
            "replay": self.memory.versions if self.memory else [],
        }
        adam = self.optimiser.state_dict()["state"]
        arrays = {f"adam.{i}.{key}": t.numpy() for i, state in adam.items() for key, t in state.items()}
        if self.memory is not None:
            arrays |= self.memory.arrays()
        if self.best is not None:
            own = self.network.arrays().items()
            arrays |= {_IN_TRAINING + name: value for name, value in own}
        for epoch, weights in self.earlier.items():
            arrays |= {f"{_EARLIER}{epoch}.{name}": value for name, value in weights.items()}
        write_arrays(path, header, (self.best or self.network).arrays() | arrays)

    @classmethod
    def load(cls, path: str | Path, table: FeatureTable) -> "PPO":
        """Read a checkpoint.

        Raises:
            BadInput: it is no such file, or a damaged one.
            MismatchError: it was made by another format, or for other features.
        """
        header, arrays = read_arrays(path)
        best = None
        if own := _under(_IN_TRAINING, arrays):
            best = ActorCritic.restored(header, arrays, table, str(path))
        network = ActorCritic.restored(header, own or arrays, table, str(path))
        try:
            found = cls._restored(network, header, arrays)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            allowed = f"must be a checkpoint of PPO ({type(error).__name__}: {str(error)[:60]})"
            raise BadInput("checkpoint", str(path), allowed, "Name a file that `PPO.save` wrote.") from error
        found.best = best
        epochs = {name.split(".")[1] for name in arrays if name.startswith(_EARLIER)}
        earlier = {int(epoch): _under(f"{_EARLIER}{epoch}.", arrays) for epoch in sorted(epochs, key=int)}
        for weights in earlier.values():
            ActorCritic.restored(header, weights, table, str(path))  # refuses what is damaged
        found.earlier = earlier
        return found

    @classmethod
    def _restored(
        cls, network: ActorCritic, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "PPO":
        told = dict(header["settings"])
        if told["replay"] is not None:
            told["replay"] = ReplaySettings(**told["replay"])
        found = cls(network, PPOSettings(**told))
        found.epoch, found.multiplier = header["epoch"], float(header["multiplier"])
        found.notes = dict(header.get("notes", {}))  # a file of before has none
        if type(found.epoch) is not int or not 0 <= found.epoch <= found.settings.epochs:
            raise ValueError(f"epoch {found.epoch}")
        if not 0.0 <= found.multiplier < np.inf:
            raise ValueError(f"multiplier {found.multiplier}")
        found.generator.bit_generator.state = header["generator"]
        state: dict[int, dict[str, Tensor]] = {}
        for name in (name for name in arrays if name.startswith("adam.")):
            _, i, key = name.split(".")
            state.setdefault(int(i), {})[key] = torch.from_numpy(arrays[name])
        shapes = [tuple(value.shape) for value in network.parameters()]
        for number, moments in state.items():
            for key, moment in moments.items():
                fits = key == "step" or tuple(moment.shape) == shapes[number]
                if not (fits and torch.isfinite(moment).all()):
                    raise ValueError(f"adam.{number}.{key}")
        groups = found.optimiser.state_dict()["param_groups"]
        found.optimiser.load_state_dict({"state": state, "param_groups": groups})
        if found.memory is not None:
            found.memory.restore(header["replay"], arrays)
        return found


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
