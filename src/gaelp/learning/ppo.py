"""Proximal policy optimisation of recurrent networks on ragged sequences in event time.

One epoch: let the policy act from `reset` on, replay some older sequences if asked, improve the policy by
some passes over all of it. What departs from plain PPO, and why, is in docs/reference/ppo.md.

Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017; for old sequences Hilton et al.,
"Batch size-invariance for policy optimization", NeurIPS 2022.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaelp.agents.networks import ActorCritic, Heads, read_arrays, write_arrays
from gaelp.core.errors import BadInput
from gaelp.learning.replay import Replay, ReplaySettings, effective_share
from gaelp.learning.sequences import (
    Bucket,
    DecisionLog,
    End,
    Sequences,
    buckets,
    discounted,
    join,
    pieces_of,
    vtrace,
)
from gaelp.observation.features import FeatureTable

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]
Columns = dict[str, NDArray[Any]]
Report = dict[str, Any]

_LARGEST_LOG_RATIO = 20.0  # of a policy to one that acted; V-trace cuts ratios at 1, this keeps them finite


class BatchEnvironment(Protocol):
    """Many rows that live side by side: campaigns, or people.

    A row whose sequence is over starts another at the next step: the action it gets then is ignored, and
    what it returns is the first observation (Gymnasium's `NEXT_STEP`).

    Attributes:
        time: (n,) hours, of the observations returned last. weight: (n,) p / q of who lives in each row.
    """

    time: NDArray[np.float64]
    weight: NDArray[np.float64]

    def reset(self, epoch: int) -> NDArray[np.float32]:
        """Begin all rows; the same epoch has the same luck. Returns (n, n_features)."""

    def step(self, actions: NDArray[np.float32]) -> tuple[NDArray[np.float32], Floats, Floats, Flags, Flags]:
        """Play (n, action_width) actions until each row's next decision.

        Returns:
            observation: (n, n_features); where a sequence is over, its last. reward, cost: (n,).
            ended: (n,) nothing comes after. truncated: (n,) it would go on, unseen.
        """


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """How a network is trained.

    Attributes:
        epochs: of acting and learning; the learning rate falls to 0 over them.
        steps: of the environment in an epoch.
        gamma: discount of an hour. lam: share of what lies beyond the next decision in an advantage.
        passes: over an epoch's sequences. minibatch_rows: decisions behind one step of Adam, about.
        longest: rows that are unrolled at once. bucket: pieces padded together, at most.
        learning_rate, clip, entropy, value, grad_norm: of the loss, as in PPO.
        kl_stop: a minibatch that finds the policy this far off, in nats, ends the epoch's learning.
        cost_limit: of a sequence's cost, on average; None: costs are ignored.
        multiplier_rate: by which the cost's multiplier follows what is above the limit.
        replay: of older sequences; None: none. seed: of all draws.
    """

    epochs: int
    steps: int
    gamma: float = 0.998
    lam: float = 0.95
    passes: int = 4
    minibatch_rows: int = 8192
    longest: int = 48
    bucket: int = 1024
    learning_rate: float = 3e-4
    clip: float = 0.2
    entropy: float = 0.0
    value: float = 0.5
    grad_norm: float = 0.5
    kl_stop: float = 0.02
    cost_limit: float | None = None
    multiplier_rate: float = 0.1
    replay: ReplaySettings | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "passes", "minibatch_rows", "longest", "bucket"):
            if not (isinstance(value := getattr(self, name), int) and value >= 1):
                raise BadInput(name, value, "must be a whole number from 1", "Give a whole number.")
        for name in ("gamma", "lam", "clip"):
            if not 0.0 < (value := getattr(self, name)) <= 1.0:
                raise BadInput(name, value, "must be above 0 and at most 1", "Give a share.")
        for name in ("learning_rate", "entropy", "value", "grad_norm", "kl_stop", "multiplier_rate"):
            if not 0.0 <= (value := getattr(self, name)) < np.inf:
                raise BadInput(name, value, "must be finite and at least 0", "Give another number.")


def collect(
    environment: BatchEnvironment,
    network: ActorCritic,
    *,
    steps: int,
    epoch: int,
    generator: np.random.Generator,
) -> Sequences:
    """Let a network act in an environment from `reset(epoch)` on.

    Returns:
        Every sequence lived, those still open at the end cut there; the version is `epoch`.
    """
    observation = environment.reset(epoch)
    n = len(observation)
    state, sequence = network.first_state(n), np.arange(n)
    starting = np.zeros(n, bool)  # rows whose step brings the next sequence's first observation
    log = DecisionLog()
    for step in range(steps):
        action, logp, value, state = network.act(observation, state, generator)
        time, weight = np.array(environment.time), np.array(environment.weight)
        after, reward, cost, ended, truncated = environment.step(action)
        which: Columns = {"sequence": sequence, "version": np.full(n, epoch), "weight": weight}
        log.append(
            ~starting,
            time=time,
            observation=observation,
            action=action,
            logp=logp,
            value=value,
            payoff=np.stack([reward, cost], axis=1),
            end=np.where(ended, End.TERMINAL, End.GOES_ON),
            **which,
        )
        cut = ~starting & ~ended & (truncated | (step == steps - 1))
        seen: Columns = {"time": environment.time, "observation": after, "end": np.full(n, End.TRUNCATED)}
        log.append(cut, **which, **seen)
        sequence = np.where(starting, sequence + n, sequence)
        state[torch.from_numpy(starting)] = 0.0
        starting = ~starting & (ended | truncated)
        observation = after
    return log.sequences()


def update(
    network: ActorCritic,
    optimiser: torch.optim.Optimizer,
    sequences: Sequences,
    settings: PPOSettings,
    generator: np.random.Generator,
    *,
    multiplier: float = 0.0,
) -> tuple[Report, NDArray[np.float64]]:
    """Improve a network by some passes over sequences.

    Args:
        network, optimiser: changed. generator: shuffles. multiplier: of the cost's advantage.

    Returns:
        report: figures of the last step, and by policy version `effective_share`, `kl`, `clip_fraction`.
        surprise: (n_sequences,) sums of absolute advantages before the update.
    """
    learner = _Learner(network, sequences, settings, multiplier)
    minibatches = learner.minibatches(generator)
    advantage = learner.look(minibatches)
    surprise = sequences.total(np.abs(advantage))
    report: Report = {"steps": 0}
    for number in range(settings.passes * len(minibatches)):
        turn = number % len(minibatches)
        if turn == 0:
            order = generator.permutation(len(minibatches))
            advantage = learner.look(minibatches) if number else advantage
        optimiser.zero_grad()
        figures = learner.gradient(minibatches[order[turn]], advantage)
        if figures["kl"] > settings.kl_stop:
            break
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.grad_norm)
        if not torch.isfinite(norm):
            remedy = "Go back to the last checkpoint; lower the learning rate or check the rewards."
            raise BadInput("gradient", float(norm), "must be finite", remedy)
        optimiser.step()
        report |= figures | {"grad_norm": float(norm), "steps": number + 1}
    return report | {"versions": learner.by_version()}, surprise


class _Learner:
    """The sequences of one update, and what the policy thought of them before it."""

    def __init__(
        self, network: ActorCritic, sequences: Sequences, settings: PPOSettings, multiplier: float
    ) -> None:
        self.network, self.settings, self.multiplier = network, settings, multiplier
        scale = network.payoff_scale.numpy().astype(np.float64)
        self.sequences = replace(sequences, payoff=sequences.payoff / scale)
        self.pieces = pieces_of(sequences, settings.longest)
        self.state = self._states()
        self.weight = sequences.weight[sequences.owner] * sequences.decides
        self.weight *= sequences.decides.sum() / self.weight.sum()
        self.prox: NDArray[np.float32] | None = None  # log-probabilities before the update
        self.logp = np.zeros(len(sequences.end), np.float32)
        self.target = np.zeros((len(sequences.end), 2))

    def minibatches(self, generator: np.random.Generator) -> list[list[Bucket]]:
        """Pieces by chance, about `minibatch_rows` together; sorted by length only within.

        Length is an outcome: a minibatch of short sequences has nothing to compare them with.
        """
        order = generator.permutation(len(self.pieces.start))
        row = np.cumsum(self.pieces.length[order])
        parts = max(1, round(row[-1] / self.settings.minibatch_rows))
        part = (row - 1) * parts // row[-1]
        chosen = [order[part == i] for i in range(parts)]
        return [buckets(self.pieces, some, self.settings.bucket) for some in chosen if len(some)]

    @torch.no_grad()
    def _states(self) -> Tensor:
        """What the network now remembers at the start of each piece."""
        state = self.network.first_state(len(self.pieces.start))
        for number in range(1, int(self.pieces.number.max()) + 1):
            piece = np.flatnonzero(self.pieces.number == number)
            rows = self.pieces.start[piece - 1][:, None] + np.arange(self.settings.longest)
            state[piece] = self.network(self._observation(rows), state[piece - 1])[1]
        return state

    @torch.no_grad()
    def look(self, minibatches: list[list[Bucket]]) -> NDArray[np.float64]:
        """The network's view at the start of a pass: (n_rows,) advantages; value targets are kept."""
        value = np.zeros(self.target.shape)
        for bucket in (bucket for minibatch in minibatches for bucket in minibatch):
            heads, _ = self._read(bucket)
            value[bucket.rows[bucket.real]] = heads.value.numpy()[bucket.real]
        if self.prox is None:
            self.prox = self.logp.copy()
            log_ratio = np.minimum(self.prox - self.sequences.logp, _LARGEST_LOG_RATIO)
            self.ratio = np.where(self.sequences.decides, np.exp(log_ratio), 1.0)
            self._leave_out_stale()
        gamma, lam = self.settings.gamma, self.settings.lam
        advantage, self.target = vtrace(self.sequences, value, self.ratio, gamma=gamma, lam=lam)
        return advantage[:, 0] - self.multiplier * advantage[:, 1]  # its scale goes with the normalisation

    def _leave_out_stale(self) -> None:
        if self.settings.replay is None:
            return
        version, newest = self.sequences.version, self.sequences.version.max()
        for old in np.unique(version[version < newest]):
            rows = (version == old) & self.sequences.decides
            if effective_share(self.ratio[rows]) < self.settings.replay.least_effective:
                self.weight[rows] = 0.0

    def _observation(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.sequences.observation[rows])

    def _read(self, bucket: Bucket) -> tuple[Heads, Tensor]:
        """What the network says of a bucket, and the log-probabilities of what was done, noted too."""
        heads, _ = self.network(self._observation(bucket.rows), self.state[bucket.piece])
        logp = heads.log_prob(torch.from_numpy(self.sequences.action[bucket.rows]))
        self.logp[bucket.rows[bucket.real]] = logp.detach().numpy()[bucket.real]
        return heads, logp

    def gradient(self, minibatch: list[Bucket], advantage: NDArray[np.float64]) -> dict[str, float]:
        """Add up one minibatch's gradient; returns its means."""
        rows = np.concatenate([bucket.rows[bucket.real] for bucket in minibatch])
        weight = self.weight[rows]
        total = max(float(self.sequences.decides[rows].sum()), 1.0)
        mean = np.average(advantage[rows], weights=weight) if weight.any() else 0.0
        std = np.sqrt(np.average((advantage[rows] - mean) ** 2, weights=weight)) if weight.any() else 1.0
        normal = (advantage - mean) / (std + 1e-8)
        figures: dict[str, float] = {}
        for bucket in minibatch:
            terms = self._losses(bucket, normal, total)
            loss = terms["policy_loss"] + self.settings.value * terms["value_loss"]
            (loss - self.settings.entropy * terms["entropy"]).backward()
            for name, term in terms.items():
                figures[name] = figures.get(name, 0.0) + float(term.detach())
        return figures

    def _losses(self, bucket: Bucket, advantage: NDArray[np.float64], total: float) -> dict[str, Tensor]:
        """A bucket's share of a minibatch's losses."""

        def padded(figure: Floats) -> Tensor:
            return torch.from_numpy(np.asarray(figure[bucket.rows], np.float32))

        heads, logp = self._read(bucket)
        decides = torch.from_numpy(bucket.real & self.sequences.decides[bucket.rows])
        weight = padded(self.weight) * decides / total
        assert self.prox is not None
        log_ratio = torch.where(decides, logp - padded(self.prox), 0.0)
        ratio = log_ratio.exp()
        gain = padded(advantage)
        clip = self.settings.clip
        surrogate = torch.minimum(ratio * gain, ratio.clamp(1.0 - clip, 1.0 + clip) * gain)
        off_policy = padded(np.minimum(self.ratio, 1.0))  # behaviour to proximal policy, cut
        error = (heads.value - torch.from_numpy(self.target[bucket.rows].astype(np.float32))) ** 2
        kinds = 1 if self.settings.cost_limit is None else 2
        return {
            "policy_loss": -(weight * off_policy * surrogate).sum(),
            "value_loss": 0.5 * (weight * error[..., :kinds].sum(-1)).sum(),
            "entropy": (weight * heads.entropy()).sum(),
            "kl": (weight * (ratio - 1.0 - log_ratio)).sum(),
            "clip_fraction": (weight * ((ratio - 1.0).abs() > clip)).sum(),
        }

    def by_version(self) -> dict[int, dict[str, float]]:
        """How far each policy version is from the one that learned, and from where it went."""
        assert self.prox is not None
        found = {}
        for version in np.unique(self.sequences.version):
            rows = (self.sequences.version == version) & self.sequences.decides
            log_ratio = (self.logp - self.prox)[rows].astype(np.float64)
            found[int(version)] = {
                "effective_share": effective_share(self.ratio[rows]),
                "kl": float((np.expm1(log_ratio) - log_ratio).mean()),
                "clip_fraction": float((np.abs(np.expm1(log_ratio)) > self.settings.clip).mean()),
            }
        return found


class PPO:
    """A network in training: epoch after epoch, with checkpoints that go on bit for bit.

    Args:
        network: changed. settings: how.
    """

    def __init__(self, network: ActorCritic, settings: PPOSettings) -> None:
        self.network, self.settings = network, settings
        self.optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, eps=1e-5)
        self.generator = np.random.default_rng(settings.seed)
        self.memory = Replay(settings.replay) if settings.replay else None
        self.epoch = 0
        self.multiplier = 0.0

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
            self._measure(self._collect(environment))
        reports = []
        for _ in range(self.epoch, self.settings.epochs if until is None else until):
            self.epoch += 1
            reports.append(self._learn(self._collect(environment)))
            tell(reports[-1])
        return reports

    def _collect(self, environment: BatchEnvironment) -> Sequences:
        steps, epoch = self.settings.steps, self.epoch
        return collect(environment, self.network, steps=steps, epoch=epoch, generator=self.generator)

    def _measure(self, sequences: Sequences) -> None:
        scale = discounted(sequences, self.settings.gamma)[sequences.decides].std(axis=0)
        self.network.measure(sequences.observation, np.where(scale > 0.0, scale, 1.0))

    def _learn(self, fresh: Sequences) -> Report:
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
            "settings": asdict(self.settings),
            "epoch": self.epoch,
            "multiplier": self.multiplier,
            "generator": self.generator.bit_generator.state,
            "replay": self.memory.versions if self.memory else [],
        }
        adam = self.optimiser.state_dict()["state"]
        arrays = {f"adam.{i}.{key}": t.numpy() for i, state in adam.items() for key, t in state.items()}
        kept = self.memory.arrays() if self.memory else {}
        write_arrays(path, header, self.network.arrays() | arrays | kept)

    @classmethod
    def load(cls, path: str | Path, table: FeatureTable) -> "PPO":
        """Read a checkpoint.

        Raises:
            BadInput: it is no such file, or a damaged one.
            MismatchError: it was made by another format, or for other features.
        """
        header, arrays = read_arrays(path)
        network = ActorCritic.restored(header, arrays, table, str(path))
        try:
            return cls._restored(network, header, arrays)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            allowed = f"must be a checkpoint of PPO ({type(error).__name__}: {str(error)[:60]})"
            raise BadInput("checkpoint", str(path), allowed, "Name a file that `PPO.save` wrote.") from error

    @classmethod
    def _restored(
        cls, network: ActorCritic, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> "PPO":
        told = dict(header["settings"])
        if told["replay"] is not None:
            told["replay"] = ReplaySettings(**told["replay"])
        found = cls(network, PPOSettings(**told))
        found.epoch, found.multiplier = header["epoch"], float(header["multiplier"])
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
