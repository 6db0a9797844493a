"""What attribution costs from integer codes, one core, against plain NumPy on the same codes.

The table has a million rows of paths (as many as a year of a mid-sized shop). A slower heuristic slows every
report and every credit that training reads; a slower Markov model slows its bootstrap, a hundred runs and
more. Nanoseconds per touch, median of several runs; the ratio is NumPy's time over ours, both on this machine
in this run. Compile time is left out.

    python benchmarks/attribution.py
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from gaelp.journeys.table import JourneyTable
from gaelp.measurement.attribution import MODELS, Counts, Credits, Settings

N_ROWS, N_CHANNELS, N_RUNS = 1_000_000, 12, 5
HALF_LIFE_HOURS = 7 * 24.0


def table_of(n_rows: int, seed: int = 0) -> JourneyTable:
    """Paths of six touches on average, a fifth of the journeys converting; single journeys with times."""
    rng = np.random.default_rng(seed)
    lengths = rng.geometric(1 / 6, n_rows).clip(max=72)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    passed = np.cumsum(rng.exponential(40.0, offsets[-1]))
    hour = passed - np.repeat(passed[offsets[:-1]], lengths)
    converted = rng.random(n_rows) < 0.2
    popularity = rng.dirichlet(np.ones(N_CHANNELS) * 2)
    return JourneyTable(
        channels=tuple(f"channel {i}" for i in range(N_CHANNELS)),
        offsets=offsets,
        channel=rng.choice(N_CHANNELS, offsets[-1], p=popularity),
        conversions=converted,
        nulls=~converted,
        value_usd_micros=converted * rng.integers(10, 200, n_rows) * 1_000_000,
        touch_hour=hour,
        end_hour=hour[offsets[1:] - 1] + rng.exponential(30.0, n_rows),
    )


def numpy_credits(table: JourneyTable, model: str) -> np.ndarray:
    """Conversions and value by channel with whole-array NumPy."""
    lengths, n = table.lengths, table.n_touches
    row = np.repeat(np.arange(table.n_rows), lengths)
    first, last = table.offsets[:-1], table.offsets[1:] - 1
    place = np.arange(n) - np.repeat(first, lengths)
    length = lengths[row]
    if model == "first":
        weight = (place == 0).astype(float)
    elif model == "last":
        weight = (place == length - 1).astype(float)
    elif model == "linear":
        weight = np.ones(n)
    elif model in ("position", "w_shaped"):
        peak, rest, peaks = (0.4, 0.2, 2) if model == "position" else (0.3, 0.1, 3)
        weight = rest / np.maximum(length - peaks, 1)
        weight[(place == 0) | (place == length - 1)] = peak
        if model == "w_shaped":
            weight[place == length // 2] = peak
    else:
        weight = 0.5 ** ((table.touch_hour[last][row] - table.touch_hour) / HALF_LIFE_HOURS)
        if model == "composite":
            weight[first] *= 1.3
            weight[last] *= 1.5
    share = weight / np.bincount(row, weight)[row]
    return np.array(
        [
            np.bincount(table.channel, share * np.repeat(counts, lengths), N_CHANNELS)
            for counts in (table.conversions.astype(float), table.value_usd)
        ]
    )


def numpy_markov(table: JourneyTable) -> np.ndarray:
    """Order 1 with whole-array NumPy, one solve for each channel removed."""
    lengths, n = table.lengths, N_CHANNELS
    journeys = (table.conversions + table.nulls).astype(float)
    before = np.empty(table.n_touches, np.int64)
    before[1:] = table.channel[:-1] + 1
    before[table.offsets[:-1]] = 0
    pairs = np.bincount(before * n + table.channel, np.repeat(journeys, lengths), (n + 1) * n).reshape(
        n + 1, n
    )
    final = table.channel[table.offsets[1:] - 1]
    ends = [np.bincount(final, each, n) for each in (table.conversions, table.nulls, table.value_usd)]
    leaving = pairs.sum(axis=1)
    leaving[1:] += ends[0] + ends[1]
    chance = pairs / leaving[:, None]
    found = []
    for reward in (ends[0], ends[2]):
        ahead = reward / leaving[1:]

        def reached(kept: np.ndarray, ahead: np.ndarray = ahead) -> float:
            among = chance[1:][np.ix_(kept, kept)]
            return float(chance[0, kept] @ np.linalg.solve(np.eye(kept.size) - among, ahead[kept]))

        everything = np.arange(n)
        base = reached(everything)
        effects = np.array([1 - reached(np.delete(everything, k)) / base for k in everything])
        found.append(effects / effects.sum())
    return np.array([found[0] * table.conversions.sum(), found[1] * table.value_usd.sum()])


def seconds(call: Callable[[], object], n_runs: int = N_RUNS) -> float:
    """Median of several runs, after one that compiles."""
    call()
    taken = []
    for _ in range(n_runs):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    import numba

    numba.set_num_threads(1)
    table = table_of(N_ROWS)
    counts = Counts.of(table)
    print(f"{table.n_rows:,} rows, {table.n_touches:,} touches, {N_CHANNELS} channels")
    print(f"{'model':<14}{'s':>9}{'ns/touch':>11}{'M touches/s':>13}{'NumPy s':>10}{'ratio':>8}")
    for name in ("first", "last", "linear", "position", "w_shaped", "time_decay", "composite", "markov"):

        def ours(name: str = name) -> Credits:
            return MODELS[name](table, Settings())(counts)

        def plain(name: str = name) -> np.ndarray:
            return numpy_markov(table) if name == "markov" else numpy_credits(table, name)

        credit = ours()
        if name != "w_shaped":  # NumPy's here leaves out what is special about three touches
            for found, expected in zip((credit.conversions, credit.value_usd), plain(), strict=True):
                np.testing.assert_allclose(found[:-1], expected, rtol=1e-8)
        _print(name, table, seconds(ours), seconds(plain, 3))
    for name, settings in (("markov, order 2", Settings(order=2)), ("shapley", Settings())):
        model = name.split(",")[0]
        _print(name, table, seconds(lambda m=model, s=settings: MODELS[m](table, s)(counts), 3), None)
    small = table_of(N_ROWS // 10)
    _print("data_driven, a tenth", small, seconds(lambda: MODELS["data_driven"](small, Settings()), 1), None)


def _print(name: str, table: JourneyTable, ours: float, plain: float | None) -> None:
    per_touch = ours / table.n_touches
    print(f"{name:<14}{ours:>9.4f}{per_touch * 1e9:>11.2f}{1e-6 / per_touch:>13.1f}", end="")
    print(f"{plain:>10.3f}{plain / ours:>7.1f}x" if plain is not None else "")


if __name__ == "__main__":
    main()
