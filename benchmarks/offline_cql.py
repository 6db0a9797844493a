"""d3rlpy's conservative Q-learning (CQL) on a log of ours, for the same table as our own learners.

d3rlpy pins an older gymnasium than this package needs, so this file runs in an environment of its own (`make
test-offline` makes one) and imports nothing of ours but the file format of a trained network.

    python benchmarks/offline_cql.py runs/auctionnet/log.npz runs/auctionnet/cql.npz --updates 1000

Source: Kumar et al., "Conservative Q-learning for offline reinforcement learning", NeurIPS 2020, as d3rlpy
implements it.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from gaelp.agents.auctionnet_policies import Network


def train(log: Path, updates: int, batch: int = 256, hidden: int = 64, seed: int = 0) -> tuple[Any, Network]:
    """Train CQL on a log.

    Args:
        log: an npz file that `learning.offline.Log.save` wrote.
        updates: gradient steps. batch: rows in each. hidden: units of each of two layers. seed: of all draws.

    Returns:
        d3rlpy's own learner, and its policy as a network that our `learned` policy flies.
    """
    import d3rlpy
    import torch

    torch.set_num_threads(1)
    d3rlpy.seed(seed)
    with np.load(log, allow_pickle=False) as file:
        data = d3rlpy.dataset.MDPDataset(
            observations=file["observations"].astype(np.float32),
            actions=file["actions"].astype(np.float32)[:, None],
            rewards=(file["rewards"] / max(file["rewards"].std(), 1e-9)).astype(np.float32),
            terminals=file["ends"].astype(np.float32),
        )
    encoder = d3rlpy.models.VectorEncoderFactory([hidden, hidden])
    learner = d3rlpy.algos.CQLConfig(
        batch_size=batch,
        gamma=1.0,
        actor_learning_rate=3e-4,
        actor_encoder_factory=encoder,
        critic_encoder_factory=encoder,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
        action_scaler=d3rlpy.preprocessing.MinMaxActionScaler(),
    ).create(device=False)
    learner.fit(
        data,
        n_steps=updates,
        n_steps_per_epoch=updates,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
    return learner, exported(learner)


def exported(learner: Any) -> Network:
    """The mean action of d3rlpy's squashed Gaussian policy as a network of ours."""
    import torch

    linear = [layer for layer in learner.impl.policy.modules() if isinstance(layer, torch.nn.Linear)]
    layers = linear[:-1]  # the last one is the logarithm of the deviation
    scaler, bounds = learner.observation_scaler, learner.action_scaler
    return Network(
        mean=np.asarray(scaler.mean, float),
        scale=np.asarray(scaler.std, float) + scaler.eps,
        weights=tuple(layer.weight.detach().numpy().astype(float) for layer in layers),
        biases=tuple(layer.bias.detach().numpy().astype(float) for layer in layers),
        low=float(bounds.minimum[0]),
        high=float(bounds.maximum[0]),
        squash=True,
    )


def main() -> None:
    """Train, write the network, say how long it took."""
    parser = argparse.ArgumentParser(description="Train d3rlpy's CQL on a log.")
    parser.add_argument("log", type=Path)
    parser.add_argument("network", type=Path)
    parser.add_argument("--updates", type=int, default=1000)
    given = parser.parse_args()
    start = time.perf_counter()
    _, network = train(given.log, given.updates)
    network.save(given.network)
    print(f"{given.updates} updates in {time.perf_counter() - start:.0f} s: {given.network}")


if __name__ == "__main__":
    main()
