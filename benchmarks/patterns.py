"""Time of exact look-ups among patterns, one at a time, ours beside scikit-learn's brute force.

    python benchmarks/patterns.py [--rows 100000] [--features 41] [--asked 200] [--k 50]

A slower look-up would delay whoever asks for neighbours while somebody waits: a bid, a page.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from gaelp.data.patterns.neighbours import Neighbours


def timed(call: Callable[[], object], runs: int = 5) -> tuple[float, float]:
    """Median wall and processor seconds of a call."""
    walls, used = [], []
    for _ in range(runs):
        wall, processor = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        used.append(time.process_time() - processor)
    return median(walls), median(used)


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, usual in (("rows", 100_000), ("features", 41), ("asked", 200), ("k", 50)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    from sklearn.neighbors import NearestNeighbors

    draws = np.random.default_rng(0)
    rows = draws.random((given.rows, given.features)).astype(np.float32)
    asked = draws.random((given.asked, given.features)).astype(np.float32)
    index = Neighbours(rows)
    theirs = NearestNeighbors(n_neighbors=given.k, algorithm="brute").fit(rows)
    ways: list[tuple[str, Callable[[], object]]] = [
        ("ours", lambda: [index.as_near(each, given.k) for each in asked]),
        ("scikit-learn", lambda: [theirs.kneighbors(each[None]) for each in asked]),
    ]
    n = given.asked
    for name, call in ways:
        wall, used = timed(call)
        print(f"{name:12s} {1000 * wall / n:7.2f} ms wall {1000 * used / n:7.2f} ms processor a look-up")


if __name__ == "__main__":
    main()
