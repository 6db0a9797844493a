"""What an epoch of `controller` takes: acting and learning, as its training does them.

100 worlds of 1,000 people: 60 days of warm-up, 30 of campaign and 30 of run-off, flown with the corrections
and without. Acting and learning may take 20 s on the wall of two cores: here in this process, whose torch and
kernels use both, and by two processes, as `gaelp train --executor processes` does; it exits with 1 where both
take longer, so both cores should be free. Rows a second of the learner alone: `benchmarks/learning.py`.

    python benchmarks/epoch.py
"""

import argparse
import itertools
import sys
import time
from dataclasses import replace

import numpy as np

from gaelp.agents.controller import N_GROUPS
from gaelp.agents.networks import ActorCritic, NetworkShape
from gaelp.learning.campaigns import WORLDS_A_CHUNK, Chunk, live_everywhere
from gaelp.learning.controller import FIRST_LOG_STD, HORIZON
from gaelp.learning.ppo import PPO, PPOSettings
from gaelp.market.file import load
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.worlds.executors import InlineExecutor, ProcessExecutor
from gaelp.worlds.flight import WARM_UP_DAYS
from gaelp.worlds.registry import trained_lines
from gaelp.worlds.tuned import tuned_for

N_WORLDS, N_PEOPLE, DAYS, RUNOFF_DAYS = 100, 1_000, 30, 30
MOST_S = 20.0


def main() -> int:
    """Act and learn once, after an epoch that compiles; then by two processes."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    file = load("markets/family_safety.toml")
    settings = PPOSettings(epochs=HORIZON, steps=DAYS, gamma=1.0, lam=0.9, minibatch_rows=750, longest=DAYS)
    shape = NetworkShape(core="gru", n_actions=N_GROUPS, first_log_std=FIRST_LOG_STD)
    ppo = PPO(ActorCritic(CAMPAIGN_FEATURES, shape), settings)
    chunk = Chunk(
        file=file,
        base=trained_lines("value", file),
        tuned=tuned_for(file),
        n_worlds=N_WORLDS,
        n_people=N_PEOPLE,
        days=DAYS,
        header=ppo.network.header(),
        weights={},
    )

    def act(number, executor):
        lives = replace(chunk, epoch=number, weights=ppo.network.arrays())
        return live_everywhere(lives, executor, WORLDS_A_CHUNK)

    ppo.measure(act(0, InlineExecutor()).sequences)
    marks = [(time.perf_counter(), time.process_time())]
    lived = act(1, InlineExecutor())
    marks.append((time.perf_counter(), time.process_time()))
    ppo.learn(lived.sequences)
    marks.append((time.perf_counter(), time.process_time()))
    (wall, cpu), (learn_wall, learn_cpu) = (np.subtract(b, a) for a, b in itertools.pairwise(marks))
    world_hours = N_WORLDS * 24 * (WARM_UP_DAYS + 2 * (DAYS + RUNOFF_DAYS))
    decisions = int(lived.sequences.decides.sum())
    print(f"{'':10} {'wall s':>8} {'CPU s':>8} {'per CPU-second':>24}")
    print(f"{'acting':10} {wall:8.1f} {cpu:8.1f} {world_hours / cpu:12,.0f} world-hours")
    rate = settings.passes * decisions / learn_cpu
    print(f"{'learning':10} {learn_wall:8.1f} {learn_cpu:8.1f} {rate:12,.0f} decisions")
    with ProcessExecutor(2) as two:
        act(2, two)  # workers start and warm worlds up
        started = time.perf_counter()
        ppo.learn(act(3, two).sequences)
        by_two = time.perf_counter() - started
    print(f"by two processes: {by_two:.1f} s on the wall, both")
    best = min(wall + learn_wall, by_two)
    print(f"{'yes' if best <= MOST_S else 'NO'}: {best:.1f} of at most {MOST_S:.0f} s on the wall")
    return 0 if best <= MOST_S else 1


if __name__ == "__main__":
    sys.exit(main())
