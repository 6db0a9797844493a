"""What acting and learning cost: rows per second of the processor, one thread.

Two workloads: ragged journeys (mean length 6, at most 48) and 100 worlds of 720 hours, 41 features, nine
numbers to decide. Beside each figure stands the bare loop measured in the same run: the same layers, forward,
backward and Adam, on full batches of 256 x 16 rows of one length, with no evaluation, advantages or padding.
The last column is what a bare loop like it did when the design was chosen, on another day. Slower learning
makes every training run longer; slower acting also every flight.

    nice -n 10 python benchmarks/learning.py
    nice -n 10 python benchmarks/learning.py --json
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from gaelp.agents.networks import CORES, ActorCritic, NetworkShape
from gaelp.learning.ppo import PPOSettings, update
from gaelp.learning.sequences import End, Sequences
from gaelp.observation.features import Feature, FeatureTable

N_ACTIONS, REPEATS = 9, 3
TABLE = FeatureTable("benchmark", tuple(Feature(f"f{i}", "1", "none", "noise") for i in range(41)))
WHEN_DESIGNED = {  # thousand rows per second of the processor: 4 096 rows a batch; journeys in sorted buckets
    ("learn", "mlp", "hours"): 662, ("learn", "gru", "hours"): 272, ("learn", "lstm", "hours"): 248,
    ("learn", "gru", "journeys"): 250, ("learn", "lstm", "journeys"): 217,
    ("act", "mlp", "people"): 1818, ("act", "gru", "people"): 763, ("act", "lstm", "people"): 893,
}  # fmt: skip


def lived(length, seed=0):
    """Sequences of noise."""
    rng = np.random.default_rng(seed)
    offset = np.r_[0, np.cumsum(length)]
    n = int(offset[-1])
    end = np.zeros(n, np.int8)
    end[offset[1:] - 1] = End.TERMINAL
    return Sequences(
        offset=offset,
        weight=np.ones(len(length)),
        time=np.arange(n, dtype=np.float64),
        observation=rng.standard_normal((n, len(TABLE)), np.float32),
        action=0.6 * rng.standard_normal((n, N_ACTIONS), np.float32),
        logp=np.full(n, -9.0, np.float32),
        value=np.zeros((n, 2), np.float32),
        payoff=rng.standard_normal((n, 2)),
        version=np.ones(n, np.int32),
        end=end,
    )


def cpu_seconds(call):
    """Median of some calls, the first one left out."""
    call()
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return statistics.median(times)


def bare(core, n=256, hours=16, batches=8):
    """Thousand rows per CPU-second of forward, backward and Adam alone."""
    network = ActorCritic(TABLE, NetworkShape(core=core, n_actions=N_ACTIONS))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-6)
    observation, state = torch.randn(n, hours, len(TABLE)), network.first_state(n)

    def learn():
        for _ in range(batches):
            optimiser.zero_grad()
            heads, _ = network(observation, state)
            (heads.mean.square().mean() + heads.value.square().mean()).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimiser.step()

    return n * hours * batches / cpu_seconds(learn) / 1e3


def learner(core, length):
    """Thousand decisions per CPU-second and pass of a whole update of four passes."""
    network = ActorCritic(TABLE, NetworkShape(core=core, n_actions=N_ACTIONS))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-6)
    sequences, rng = lived(length), np.random.default_rng(0)
    settings = PPOSettings(epochs=1, steps=1, kl_stop=1e9)
    seconds = cpu_seconds(lambda: update(network, optimiser, sequences, settings, rng))
    return settings.passes * len(sequences.end) / seconds / 1e3


def actor(core, n, hours=20):
    """Thousand decisions per CPU-second."""
    network = ActorCritic(TABLE, NetworkShape(core=core, n_actions=N_ACTIONS))
    rng = np.random.default_rng(0)
    observation = rng.standard_normal((n, len(TABLE)), np.float32)

    def act():
        state = network.first_state(n)
        for _ in range(hours):
            *_, state = network.act(observation, state, rng)

    return n * hours / cpu_seconds(act) / 1e3


def main() -> None:
    """Print the table, or the rows as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    asked = parser.parse_args()
    journeys = np.minimum(np.random.default_rng(0).geometric(1 / 6, 8192), 48)
    rows = []
    for core in CORES:
        base = bare(core)
        for what, where, figure, beside in (
            ("learn", "journeys", learner(core, journeys), base),
            ("learn", "hours", learner(core, np.full(100, 720)), base),
            ("act", "worlds", actor(core, 100), None),
            ("act", "people", actor(core, 8192), None),
        ):
            row = {"what": what, "core": core, "where": where, "krows_per_cpu_second": round(figure, 1)}
            row["bare_krows_per_cpu_second"] = None if beside is None else round(beside, 1)
            row["when_designed"] = WHEN_DESIGNED.get((what, core, where))
            rows.append(row)
    if asked.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"{'thousand rows per CPU-second':32} {'ours':>8} {'bare':>8} {'ratio':>6} {'designed':>9}")
    for row in rows:
        ours, beside = row["krows_per_cpu_second"], row["bare_krows_per_cpu_second"]
        cells = ["", ""] if beside is None else [f"{beside:.0f}", f"{ours / beside:.2f}"]
        then = row["when_designed"] or ""
        name = f"{row['what']}, {row['core']}, {row['where']}"
        print(f"{name:32} {ours:8.0f} {cells[0]:>8} {cells[1]:>6} {then:>9}")


if __name__ == "__main__":
    main()
