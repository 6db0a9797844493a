"""Improving a network by sequences that were lived: one update of PPO.

What departs from plain PPO, and why, is in docs/reference/ppo.md.

Source: Schulman et al., "Proximal Policy Optimization Algorithms", 2017; for old sequences Hilton et al.,
"Batch size-invariance for policy optimization", NeurIPS 2022.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaelp.agents.networks import ActorCritic, Heads
from gaelp.core.errors import BadInput
from gaelp.learning.replay import ReplaySettings, effective_share
from gaelp.learning.sequences import Bucket, Sequences, buckets, pieces_of, vtrace

Floats = NDArray[np.floating]
Report = dict[str, Any]

_LARGEST_LOG_RATIO = 20.0  # of a policy to one that acted; V-trace cuts ratios at 1, this keeps them finite


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
