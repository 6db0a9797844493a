"""Policies from a log of campaigns: trained, kept as a checkpoint that flies, and flown beside others.

What is trained is the network of `controller`: the checkpoint is one of that agent, so `gaelp evaluate` flies
it as any other, taking the likeliest action. Its draws spread as the logged actions did round its mean; that
is the policy an estimate is of. In flight inputs are cut at ten standard deviations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gaelp.agents.controller import N_GROUPS
from gaelp.agents.networks import ActorCritic, NetworkShape, read_arrays, require_belonging, write_arrays
from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.names import require_known
from gaelp.evaluation.intervals import mean_interval
from gaelp.learning.offline import Learner, Log, OfflineSettings
from gaelp.learning.offline_campaign import Decider, Noise, Worlds, base_name
from gaelp.learning.offline_estimate import normal_log_density
from gaelp.learning.offline_log import REWARDS, CampaignLog
from gaelp.market.file import MarketFile
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.worlds.registry import (
    CHECKPOINT,
    NETWORK,
    TrainedLines,
    belonging,
    read_checkpoint,
    refuse_unless_ours,
    write_checkpoint,
)
from gaelp.worlds.runs import read_json
from gaelp.worlds.tuned import tuned_for

Floats = NDArray[np.float64]

METHODS = ("bc", "iql", "cql")
UPDATES = 300
"""Of a training: a log of some thousand days is soon known by heart."""
SETTINGS = OfflineSettings(discount=0.9, temperature=3.0)
_AGENT = "controller"
_LEAST_DEVIATION = 1e-3
_LEAST_SCALE = 2e-6  # a feature that never moved in the log is only shifted
_TEACHING = 3_000  # updates in which our network copies CQL's


def train(
    log: CampaignLog,
    file: MarketFile,
    base: TrainedLines,
    *,
    method: str,
    reward: str,
    out: Path,
    updates: int = UPDATES,
    settings: OfflineSettings = SETTINGS,
) -> dict[str, Any]:
    """Train a policy on a log, and keep it in a folder that flies.

    Args:
        log: to learn from. file, base: the market and what the log's actions changed.
        method: one of `METHODS`. reward: one of `offline_log.REWARDS`. out: the folder.
        updates: gradient steps. settings: how; CQL takes only `hidden`, `batch`, `discount` and `seed`.

    Returns:
        method, reward, updates, out, days and worlds of the log; mean: the size of an action on average;
        copied: root mean square of what our copy of CQL's network misses, None for the others.

    Raises:
        BadInput: a setting cannot be, the folder holds something else, or d3rlpy is not here.
        MismatchError: the log is of another base or market.
    """
    require_known("method", method, METHODS)
    rewards = log.reward(reward)
    _require_base(log, file, base)
    if updates < 1:
        raise BadInput("updates", updates, "must be at least 1", "Give a number of gradient steps.")
    if method == "cql" and find_spec("d3rlpy") is None:
        allowed = "needs d3rlpy, which pins another gymnasium than this environment has"
        remedy = "Train in the environment of `make test-offline`, see docs/reference/offline.md; or use iql."
        raise BadInput("method", method, allowed, remedy)
    refuse_unless_ours(out, _AGENT)
    place = out / CHECKPOINT
    if place.is_file() and "offline" not in read_json(place):
        raise BadInput("out", str(out), "holds a controller that was not trained offline", "Name another.")
    torch.set_num_threads(1)
    steps = Log(
        observations=log.observations,
        actions=log.actions,
        log_prob=log.log_density,
        rewards=rewards,
        ends=log.ended,
    )
    copied = None
    if method == "cql":
        taught = cql_actions(steps, updates, settings)
        learner = Learner("bc", replace(steps, actions=taught), settings).fit(_TEACHING)
        copied = float(np.sqrt(((means(_network(learner, log), log) - taught) ** 2).mean()))
    else:
        learner = Learner("bc" if method == "bc" else "iql", steps, settings).fit(updates)
    network = _network(learner, log)
    said = {
        "method": method,
        "reward": reward,
        "updates": updates,
        "worlds": list(log.worlds),
        "base": log.base,
    }
    learnt = {**base.learnt(), "offline": said}
    place.with_suffix(NETWORK).unlink(missing_ok=True)  # never an older network beside this checkpoint
    write_checkpoint(place, file, dict(base.multiplier), learnt, agent=_AGENT)
    header = network.header() | {"belongs_to": belonging(read_checkpoint(place, file))}
    write_arrays(place.with_suffix(NETWORK), header, network.arrays())
    size = float(np.abs(means(network, log)).mean())
    told = {"out": str(out), "days": len(log.day), "worlds": len(log.worlds)}
    return {**said, **told, "mean": size, "copied": copied}


def _require_base(log: CampaignLog, file: MarketFile, base: TrainedLines) -> None:
    name = base_name(base, file)
    if log.base != name:
        remedy = "Name the base and the market that the log was flown with."
        raise MismatchError("log", f"of base {log.base}", f"must be of base {name}", remedy)


def _network(learner: Learner, log: CampaignLog) -> ActorCritic:
    """The learner's policy, as the network that `controller` flies."""
    layers = learner.layers()
    network = ActorCritic(
        CAMPAIGN_FEATURES, NetworkShape(core="mlp", units=len(layers[0][1]), n_actions=N_GROUPS)
    )
    mean, scale = learner.scaling
    with torch.no_grad():
        for part, (weight, bias) in zip((network.encoder, network.core, network.policy), layers, strict=True):
            part.weight.copy_(torch.as_tensor(weight))
            part.bias.copy_(torch.as_tensor(bias))
        network.input_mean.copy_(torch.as_tensor(mean))
        network.input_std.copy_(torch.as_tensor(np.where(scale > _LEAST_SCALE, scale, 1.0)))
        network.measured.fill_(True)
        spread = np.sqrt(((log.actions - means(network, log)) ** 2).mean(axis=0))
        network.log_std.copy_(torch.as_tensor(np.log(np.maximum(spread, _LEAST_DEVIATION))))
    return network


def means(network: ActorCritic, log: CampaignLog) -> Floats:
    """(n, N_GROUPS) the likeliest actions in the states of a log, as they are flown."""
    rows = log.observations.astype(np.float32)
    return network.act(rows, network.first_state(len(rows)))[0].astype(np.float64)


def deviation(network: ActorCritic) -> Floats:
    """(N_GROUPS,) of a network's draws."""
    return network.log_std.detach().exp().numpy().astype(np.float64)


@dataclass(frozen=True)
class OfflinePolicy:
    """A policy that was trained offline.

    Attributes:
        network: acts. said: what its checkpoint says of the training: method, reward, worlds, base.
    """

    network: ActorCritic
    said: Mapping[str, Any]

    @classmethod
    def load(cls, place: str | Path, file: MarketFile) -> "OfflinePolicy":
        """Read the folder that `train` wrote.

        Raises:
            BadInput: it is none. MismatchError: it is of another market or other features.
        """
        path = Path(place) / CHECKPOINT if Path(place).is_dir() else Path(place)
        found = read_checkpoint(path, file)
        said = found.get("offline")
        if not isinstance(said, Mapping) or not {"worlds", "base"} <= said.keys():
            allowed = "must be a folder that `gaelp offline train` wrote"
            raise BadInput("policy", str(place), allowed, "Train it on a log, or fly it with gaelp evaluate.")
        network = path.with_suffix(NETWORK)
        require_belonging(network, belonging(found))
        return cls(ActorCritic.restored(*read_arrays(network), CAMPAIGN_FEATURES, str(network)), said)

    def require_base(self, name: str) -> None:
        """Refuse a log whose actions changed another base; `name` is the log's."""
        if self.said["base"] != name:
            remedy = "Judge it on a log of the base that it was trained for."
            raise MismatchError("log", f"of base {name}", f"must be of base {self.said['base']}", remedy)

    def decide(
        self, observation: NDArray[np.float32], generators: list[np.random.Generator]
    ) -> tuple[Floats, Floats]:
        """Draws of the policy; see `offline_campaign.Decider`."""
        likeliest = self.network.act(observation, self.network.first_state(len(observation)))[0]
        spread = deviation(self.network)
        z = np.stack([generator.standard_normal(N_GROUPS) for generator in generators])
        return likeliest.astype(np.float64) + spread * z, normal_log_density(z, spread)


@dataclass(frozen=True)
class Likeliest:
    """A policy without draws, as `gaelp evaluate` flies it."""

    policy: OfflinePolicy

    def decide(
        self, observation: NDArray[np.float32], generators: list[np.random.Generator]
    ) -> tuple[Floats, Floats]:
        """The likeliest actions; their densities mean nothing."""
        network = self.policy.network
        actions = network.act(observation, network.first_state(len(observation)))[0].astype(np.float64)
        return actions, np.zeros(len(actions))


def fly_beside(
    lived: Worlds, base: TrainedLines, policies: Mapping[str, OfflinePolicy], noise: Noise, *, seed: int = 0
) -> dict[str, dict[str, dict[str, float | None]]]:
    """What policies earn in the same worlds, beside pacing, the base and the logging policy.

    Args:
        lived: the worlds. base: what actions correct. policies: by name; each flies with draws and without.
        noise: of the logging policy. seed: names the draws, and resamples of worlds.

    Returns:
        {policy: {"incremental", "attributed": mean reward a day in daily budgets; "incremental_gain",
        "attributed_gain": less the logging policy's; each {"mean", "low", "high"}, intervals over worlds}}.
    """
    tuned = tuned_for(lived.file)
    flights: dict[str, tuple[Callable[[], Policy], Decider]] = {
        "logging": (lambda: base.base(tuned), noise),
        "base": (lambda: base.base(tuned), Noise(0.0)),
        "pacing": (tuned.pacing, Noise(0.0)),
    }
    for name, policy in policies.items():
        flights[name] = (lambda: base.base(tuned), Likeliest(policy))
        flights[f"{name}, drawn"] = (lambda: base.base(tuned), policy)
    earned: dict[str, dict[str, Floats]] = {}
    for name, (make, decider) in flights.items():
        log = lived.fly(make, decider, seed=seed)
        days = np.bincount(log.place)
        earned[name] = {kind: np.bincount(log.place, weights=log.reward(kind)) / days for kind in REWARDS}
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, by_kind in earned.items():
        found[name] = {}
        for kind, values in by_kind.items():
            found[name][kind] = mean_interval(values, seed=seed).as_dict()
            gain = values - earned["logging"][kind]
            found[name][f"{kind}_gain"] = mean_interval(gain, seed=seed).as_dict()
    return found


def cql_actions(log: Log, updates: int, settings: OfflineSettings) -> Floats:
    """(n, n_actions) what d3rlpy's CQL, trained on a log, would do in its states.

    Source: Kumar et al., "Conservative Q-learning for offline reinforcement learning", NeurIPS 2020.
    """
    d3rlpy = import_module("d3rlpy")
    d3rlpy.seed(settings.seed)
    encoder = d3rlpy.models.VectorEncoderFactory([settings.hidden, settings.hidden])
    learner = d3rlpy.algos.CQLConfig(
        batch_size=settings.batch,
        gamma=settings.discount,
        actor_learning_rate=settings.learning_rate,
        actor_encoder_factory=encoder,
        critic_encoder_factory=encoder,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
        action_scaler=d3rlpy.preprocessing.MinMaxActionScaler(),
    ).create(device=False)
    data = d3rlpy.dataset.MDPDataset(
        observations=log.observations.astype(np.float32),
        actions=log.actions.astype(np.float32),
        rewards=(log.rewards / max(float(log.rewards.std()), 1e-9)).astype(np.float32),
        terminals=log.ends.astype(np.float32),
    )
    quiet = d3rlpy.logging.NoopAdapterFactory()
    learner.fit(data, n_steps=updates, n_steps_per_epoch=updates, show_progress=False, logger_adapter=quiet)
    found: Floats = learner.predict(log.observations.astype(np.float32)).astype(np.float64)
    return found
