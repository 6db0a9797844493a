"""Whether a programmatic seat that bids by journeys earns its place beside `value`, and what PPO adds.

A value model is trained on training worlds; others choose the dollars bid per predicted dollar, for the seat
that knows people and for the same seat with each line's mean alone; PPO learns a factor on top from the rows
of the first. Then all fly validation worlds beside `value` from one warm-up, with shared luck.
What is done is kept in --out; a folder that was begun goes on with the sizes it was begun with, and --minutes
stops between two parts.
A seat that loses to its line means says that knowing people does not pay for the bids it moves.

    nice -n 10 python benchmarks/journey_seat.py --out runs/journeys
    nice -n 10 python benchmarks/journey_seat.py --out runs/small --worlds 2 1 1 2 --people 500 --days 5
"""

import argparse
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np

from gaelp.agents.networks import ActorCritic
from gaelp.agents.seat import PROGRAMMATIC
from gaelp.core.units import MICROS_PER_USD
from gaelp.evaluation.intervals import paired_interval
from gaelp.learning import journey_ppo
from gaelp.learning.journey_value import JourneyValue, ValueSettings
from gaelp.learning.journey_value_data import JourneyRows, join, journey_rows_of
from gaelp.learning.seat_checkpoint import seat_flight
from gaelp.learning.seat_value import JourneySeat, write_seat
from gaelp.market.file import load
from gaelp.market.state import SPEND
from gaelp.worlds.flight import fly, run_off
from gaelp.worlds.registry import make_policy
from gaelp.worlds.runs import read_json, write_json
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.visible import event_rows
from gaelp.worlds.warmed import warmed

MARKET = "markets/family_safety.toml"
SEED, WARM_UP_DAYS, RUNOFF_DAYS, A_BATCH = 42_000, 60, 30, 4
SCALES = (0.25, 0.5, 1.0)
"""Dollars bid per predicted dollar at level 1 that are tried."""
N_WORLDS = (16, 8, 8, 32)
WORLDS_HELP = "to learn from, to stop and set the scale by, to choose by, to judge on"
SEATS = ("line means", "journeys", "journeys x ppo")


def worlds_of(asked, part):
    """Worlds of a part: 0 to learn from, 1 to stop and set the scale by, 2 to choose by, 3 to judge on."""
    split, first = ("validation", 0) if part == 3 else ("train", sum(asked.worlds[:part]))
    n = asked.worlds[part]
    return training_worlds(load(MARKET), split, first + n, 0 if part == 3 else SEED)[first:]


def rows_of(asked, part, priced):
    """Rows of a part's worlds, on the lines that a seat buys."""
    worlds, make = worlds_of(asked, part), make_policy("value", load(MARKET))
    options = {"n_people": asked.people, "days": asked.days, "priced": priced}
    batches = [worlds[i : i + A_BATCH] for i in range(0, len(worlds), A_BATCH)]
    rows = join([journey_rows_of(batch, make, **options) for batch in batches])
    return rows.take(PROGRAMMATIC[rows.line])


def kept_rows(path, rows=None):
    """Rows written to a file, or read from it."""
    if rows is not None:
        np.savez_compressed(path, **{field.name: getattr(rows, field.name) for field in fields(rows)})
        return rows
    with np.load(path) as file:
        return JourneyRows(**{name: file[name] for name in file.files})


def learn_value(asked):
    """The value model, and the priced rows it learnt from."""
    learn, others = rows_of(asked, 0, priced=True), rows_of(asked, 1, priced=False)
    kept_rows(asked.out / "learn.npz", learn)
    stop = others.take(others.world < max(1, asked.worlds[1] // 2))
    scale = others.take(others.world >= asked.worlds[1] // 2)
    model = JourneyValue.train(learn, stop, ValueSettings(core=asked.core))
    model.calibrate(scale)
    model.save(asked.out / "model.npz")


def seat_of(asked, name, scale):
    """A maker of a seat policy."""
    value = JourneyValue.load(asked.out / "model.npz")
    correction = None
    if name == "journeys x ppo":
        network = ActorCritic.load(asked.out / "ppo.npz", journey_ppo.SEAT_FEATURES)

        def correction():
            return journey_ppo.NetworkCorrection(network, value.normaliser, value.worths)

    return lambda: JourneySeat(
        value, scale, by_line=name == "line means", correction=correction and correction(), name=name
    )


def warm(asked, worlds):
    """Worlds after their warm-up, with the event log that journeys are read from."""
    return warmed(worlds, asked.people, event_rows=event_rows(asked.people, WARM_UP_DAYS))


def flown(asked, start, traffic, name, scale=None):
    """Per-world sums of a flight and its run-off: expected value, spend, and the seat's lines' spend, USD."""
    market, file = start.copy(), load(MARKET)
    if name == "value":
        make = make_policy("value", file)
        flight = fly(market, make(), days=asked.days, traffic=traffic, keep_bids=False)
    else:
        flight = seat_flight(seat_of(asked, name, scale), file, name).fly(
            market, days=asked.days, traffic=traffic
        )
    run_off(market, RUNOFF_DAYS)
    spend = flight.report[..., SPEND] / MICROS_PER_USD
    value = market.books.expected[:, 0, 1] - start.books.expected[:, 0, 1]
    sums = {"value": value, "spend": spend.sum(axis=1), "seat": spend[:, PROGRAMMATIC].sum(axis=1)}
    return {key: column.tolist() for key, column in sums.items()}


def profit(sums):
    """(n_worlds,) expected value less spend; what comes without ads is the same for all and drops out."""
    return np.array(sums["value"]) - np.array(sums["spend"])


def try_scales(asked, name):
    """One seat at all scales on the worlds to choose by."""
    start, traffic = warm(asked, worlds_of(asked, 2))
    write_json(
        asked.out / f"scales-{name}.json",
        {str(scale): flown(asked, start, traffic, name, scale) for scale in SCALES},
    )


def earned_by_scale(asked, name):
    """Mean profit of a seat at each scale; PPO stands on the scale of the seat below it."""
    name = "journeys" if name == "journeys x ppo" else name
    found = read_json(asked.out / f"scales-{name}.json")
    return [profit(found[str(scale)]).mean() for scale in SCALES]


def chosen(asked, name):
    """The scale that earned most."""
    return SCALES[int(np.argmax(earned_by_scale(asked, name)))]


def learn_ppo(asked):
    """PPO on the rows of the worlds to learn from, at levels around those that it will meet."""
    value, rows = JourneyValue.load(asked.out / "model.npz"), kept_rows(asked.out / "learn.npz")
    worth = value.predict(rows)
    levels = np.exp(np.random.default_rng(SEED).uniform(-0.7, 0.7, len(rows)))
    multiplier = chosen(asked, "journeys") * levels
    base = 1000.0 * multiplier * worth
    tail = {"epochs": asked.epochs, "core": asked.core, "seed": SEED}
    ppo, earned = journey_ppo.train(rows, base, worth, multiplier, value.normaliser, value.worths, **tail)
    ppo.network.save(asked.out / "ppo.npz")
    write_json(asked.out / "ppo.json", {"reward": earned})


def judge(asked, first):
    """All on some validation worlds."""
    start, traffic = warm(asked, worlds_of(asked, 3)[first : first + A_BATCH])
    found = {"value": flown(asked, start, traffic, "value")}
    found |= {name: flown(asked, start, traffic, name, chosen(asked, name)) for name in SEATS}
    write_json(asked.out / f"judge-{first:03d}.json", found)


def told(a, b):
    """A paired difference as text."""
    found = paired_interval(a, b)
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def report(asked):
    """Print the tables, and keep the seat as a checkpoint that `gaelp evaluate` flies."""
    parts = [read_json(asked.out / f"judge-{i:03d}.json") for i in range(0, asked.worlds[3], A_BATCH)]
    sums = {
        name: {key: np.concatenate([part[name][key] for part in parts]) for key in part_sums}
        for name, part_sums in parts[0].items()
    }
    print(
        "| seat | scale "
        + "".join(f"| at {scale} " for scale in SCALES)
        + "|\n|---|---:|"
        + "---:|" * len(SCALES)
    )
    for name in SEATS[:2]:
        earned = earned_by_scale(asked, name)
        print(f"| {name} | {chosen(asked, name)} | " + " | ".join(f"{x:,.1f}" for x in earned) + " |")
    print("\n| flown | spend | of it by the seat's lines | profit less `value` | less line means |")
    print("|---|---:|---:|---|---|")
    for name, mine in sums.items():
        cells = [f"{mine['spend'].mean():,.1f}", f"{mine['seat'].sum() / mine['spend'].sum():.0%}"]
        cells += [told(profit(mine), profit(sums[other])) for other in ("value", "line means")]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\njourneys x ppo less journeys: {told(profit(sums[SEATS[2]]), profit(sums[SEATS[1]]))}")
    earned = read_json(asked.out / "ppo.json")["reward"]
    print(
        f"PPO's mean reward of a sequence: {earned[0]:.6f} in its first epoch, {earned[-1]:.6f} in its last"
    )
    value = JourneyValue.load(asked.out / "model.npz")
    training = {"worlds": asked.worlds, "people": asked.people, "days": asked.days}
    write_seat(asked.out, load(MARKET), value, chosen(asked, "journeys"), training)


def parts_of(asked):
    """(file, function) of each part in order; a part is done when its file is there."""
    yield asked.out / "model.npz", lambda: learn_value(asked)
    for name in SEATS[:2]:
        yield asked.out / f"scales-{name}.json", lambda name=name: try_scales(asked, name)
    yield asked.out / "ppo.json", lambda: learn_ppo(asked)
    for first in range(0, asked.worlds[3], A_BATCH):
        yield asked.out / f"judge-{first:03d}.json", lambda first=first: judge(asked, first)


def main() -> int:
    """Do what is left, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of parts and of the seat")
    parser.add_argument(
        "--worlds", type=int, nargs=4, default=(16, 8, 8, 32), help="learn, set, choose, judge"
    )
    parser.add_argument("--people", type=int, default=3_000, help="of each world")
    parser.add_argument("--days", type=int, default=30, help="of each flight")
    parser.add_argument("--core", default="mlp", help="mlp, gru or lstm, of both networks")
    parser.add_argument("--epochs", type=int, default=60, help="of PPO")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no part after these")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "asked.json"
    if path.is_file():
        vars(asked).update(read_json(path))
    write_json(path, {name: value for name, value in vars(asked).items() if name not in ("out", "minutes")})
    began = time.monotonic()
    for done, work in parts_of(asked):
        if not done.is_file():
            if time.monotonic() - began > 60.0 * asked.minutes:
                print(f"stopped before {done.name}; the same command goes on", file=sys.stderr)
                return 1
            at = time.monotonic()
            work()
            print(f"{done.name}: {time.monotonic() - at:.0f} s", file=sys.stderr, flush=True)
    report(asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
