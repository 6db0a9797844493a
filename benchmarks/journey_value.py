"""What a person's journey tells about the worth of one more impression, and what knowing it could buy.

Agent `value` flies on training worlds; networks learn what each auction is worth from the journey features of
people whom the account knows, stop by other training worlds, take their scale from yet others, and are judged
on validation worlds. A smaller share explained means that features or learning lost something; a slope apart
from 1 that predictions cannot be used as dollars.

    nice -n 10 python benchmarks/journey_value.py
    nice -n 10 python benchmarks/journey_value.py --worlds 2 1 1 2 --people 800 --out runs/journey_value.npz
"""

import argparse
import time
from pathlib import Path

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_LINES, SOCIAL_LINE
from gaelp.evaluation.intervals import paired_ratio_interval, ratio_of_sums_interval
from gaelp.learning.journey_value import (
    JourneyValue,
    LineWorths,
    ValueSettings,
    calibration_table,
)
from gaelp.learning.journey_value_data import BID_LEVELS, join, journey_rows_of
from gaelp.market.file import load
from gaelp.observation.journey import JOURNEY_FEATURES, SEGMENTS
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import training_worlds

MARKET = "markets/family_safety.toml"
N_PEOPLE, A_BATCH, SEED = 3_000, 4, 41_000
N_WORLDS = (12, 4, 8, 12)
"""To learn from, to stop by and to scale by, of `train`; to judge on, of `validation`."""
CORES = ("mlp", "gru", "lstm")
BEST = 0.2
PER_UNIT = np.where(np.arange(N_LINES) < SOCIAL_LINE, 1.0, 1000.0)


def rows_of(file, split, seed, first, n_worlds, n_people, priced=False):
    """Rows of worlds `first` to `first + n_worlds - 1`, some worlds at a time."""
    worlds = training_worlds(file, split, first + n_worlds, seed)[first:]
    batches = [worlds[i : i + A_BATCH] for i in range(0, n_worlds, A_BATCH)]
    make = make_policy("value", file)
    return join([journey_rows_of(batch, make, n_people=n_people, priced=priced) for batch in batches])


def by_segment(learn, rows, worths):
    """USD by line times a factor for each code of `user.segment`: a rule for an audience list."""
    at = JOURNEY_FEATURES.index("user.segment")

    def code(some):
        return some.features[:, at].astype(int)

    seen = learn.known
    ratio = learn.worth_usd[seen] / worths.known[learn.line[seen]]
    n_codes = len(SEGMENTS) + 1
    count = np.bincount(code(learn)[seen], minlength=n_codes)
    factor = np.bincount(code(learn)[seen], ratio, n_codes) / np.maximum(count, 1)
    return np.where(rows.known, np.maximum(factor[code(rows)], 0.01), 1.0) * worths.by_sight(rows)


def by_platform(rows, worths, sigma):
    """USD as the platform's own bidder ranks people within a line: it sees the stage, with an error."""
    noise = np.random.default_rng(0).standard_normal(len(rows))
    guess = rows.guess * np.exp(sigma * noise - 0.5 * sigma**2)
    mean = np.bincount(rows.line, rows.guess, N_LINES) / np.maximum(
        np.bincount(rows.line, minlength=N_LINES), 1
    )
    return guess / mean[rows.line], worths.constant(rows)


def by_world(rows, figure):
    """(n_worlds,) sums of (n,) figures."""
    return np.bincount(rows.world, figure, rows.spend_usd.size)


def told(interval, unit=1.0, form="{:.3f}"):
    """An interval as text."""
    ends = (interval.mean, interval.low, interval.high)
    mean, low, high = ("-" if end is None else form.format(unit * end) for end in ends)
    return f"{mean} ({low} to {high})"


def bought(rows, value_usd):
    """What bids in proportion to some values buy for the flight's spend, world by world.

    A world's dollars per dollar of value are set so that the spend is met; between two levels of the grid the
    two outcomes are mixed. Rivals stay what they were, and a feed impression costs the least bid of the grid
    that wins it: also where the bid itself is paid, as if bids there were shaded as well as can be.

    Args:
        rows: with prices. value_usd: (n,) of an impression, or on search of a click.

    Returns:
        worth_usd: (n_worlds,) expected incremental USD. spend_usd: (n_worlds,), as `rows.spend_usd` unless
            all there is costs less.

    Raises:
        BadInput: the rows have no prices.
    """
    if rows.paid.shape[1] != BID_LEVELS.size:
        remedy = "Make the rows with `priced=True`."
        raise BadInput("rows.paid.shape", rows.paid.shape, f"must be (n, {BID_LEVELS.size})", remedy)
    bid = np.maximum(value_usd, 0.0) * PER_UNIT[rows.line]
    won = rows.paid >= 0
    feed = rows.line >= SOCIAL_LINE
    least = np.where(feed & won.any(axis=1), won.argmax(axis=1), 0)
    worth, spend = np.zeros((2, rows.spend_usd.size))
    for w in range(worth.size):
        mine = np.flatnonzero((rows.world == w) & won.any(axis=1) & (bid > 0))

        def outcome(factor, mine=mine):
            level = np.searchsorted(BID_LEVELS, factor * bid[mine], side="right") - 1
            wins = np.where(feed[mine], level >= least[mine], won[mine, level])
            paid = rows.paid[mine, np.where(feed[mine], least[mine], level)]
            at = mine[wins]
            return np.array([rows.worth_usd[at].sum(), paid[wins].sum() / MICROS_PER_USD])

        low, high = -20.0, 20.0
        for _ in range(30):
            middle = 0.5 * (low + high)
            if outcome(np.exp(middle))[1] > rows.spend_usd[w]:
                high = middle
            else:
                low = middle
        below, above = outcome(np.exp(low)), outcome(np.exp(high))
        gap = above[1] - below[1]
        share = min((rows.spend_usd[w] - below[1]) / gap, 1.0) if gap > 0 else 0.0
        worth[w], spend[w] = below + share * (above - below)
    return worth, spend


def deviance(predicted, actual):
    """(n,) unit Poisson deviance; of what came below 0, its quasi-likelihood as if it had been 0, less that.

    Source: McCullagh, Nelder, "Generalized Linear Models" (2nd ed., 1989), section 2.3 and chapter 9.

    >>> deviance(np.array([1.0, 2.0]), np.array([1.0, 0.0])).tolist()
    [0.0, 4.0]
    """
    came = np.maximum(actual, 0.0)
    return 2.0 * (
        came * np.log(np.where(came > 0, came, 1.0)) - actual * np.log(predicted) - actual + predicted
    )


def in_best(predicted, group, share):
    """(n,) how much of each row is among the best `share` of its group; ties for the place have equal parts.

    >>> in_best(np.array([3.0, 1.0, 2.0, 2.0]), np.zeros(4, int), 0.5).tolist()
    [1.0, 0.0, 0.5, 0.5]
    """
    part = np.zeros(predicted.size)
    order = np.lexsort((-predicted, group))
    begins = np.flatnonzero(np.diff(group[order], prepend=group[order[:1]] - 1))
    for rows in np.split(order, begins[1:]):
        wanted = share * rows.size
        edge = predicted[rows[min(int(wanted), rows.size - 1)]]
        above, tied = predicted[rows] > edge, predicted[rows] == edge
        part[rows[above]] = 1.0
        part[rows[tied]] = (wanted - above.sum()) / tied.sum()
    return part


class Judged:
    """Sums over known people by world, in parts of the line's mean."""

    def __init__(self, rows, usd, worths):
        seen = rows.take(rows.known)
        unit = worths.known[seen.line]
        self.predicted, self.came = usd[rows.known] / unit, seen.worth_usd / unit
        plain = worths.constant(seen) / unit
        self.error = by_world(seen, (self.came - self.predicted) ** 2)
        self.without = by_world(seen, (self.came - plain) ** 2)
        self.deviance = by_world(seen, deviance(self.predicted, self.came))
        self.n = by_world(seen, np.ones(len(seen)))
        apart = self.predicted - self.predicted.mean()
        self.together = by_world(seen, apart * (self.came - self.came.mean()))
        self.spread = by_world(seen, apart**2)
        self.best = by_world(seen, in_best(self.predicted, seen.line, BEST) * self.came)
        self.all = by_world(seen, self.came)
        self.table = calibration_table(self.predicted, self.came)

    def row(self):
        """Share explained, deviance, slope and lift, with intervals over worlds."""
        explained = told(ratio_of_sums_interval(self.without - self.error, self.without))
        slope = "-"
        if self.spread.sum() > 0.05 * self.n.sum():
            slope = told(ratio_of_sums_interval(self.together, self.spread))
        lift = told(ratio_of_sums_interval(self.best, self.all), 1 / BEST, "{:.2f}")
        return f"{explained} | {told(ratio_of_sums_interval(self.deviance, self.n))} | {slope} | {lift}"


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, nargs=4, default=N_WORLDS, help="learn, stop, scale, judge")
    parser.add_argument("--people", type=int, default=N_PEOPLE, help="of each world")
    parser.add_argument("--out", type=Path, help="file for the GRU that was trained")
    asked = parser.parse_args()
    sizes, n_people = asked.worlds, asked.people
    began, file = time.perf_counter(), load(MARKET)
    parts = [rows_of(file, "train", SEED, sum(sizes[:i]), sizes[i], n_people) for i in range(3)]
    learn, stop, scale = parts
    rows = rows_of(file, "validation", 0, 0, sizes[3], n_people, priced=True)
    print(
        f"{sizes[0]} + {sizes[1]} + {sizes[2]} training worlds, {sizes[3]} validation worlds of {n_people:,} "
        f"people; {learn.known.sum():,} rows to learn from, {rows.known.sum():,} of {len(rows):,} judged are "
        f"of known people; flown in {time.perf_counter() - began:.0f} s",
        flush=True,
    )
    worths = LineWorths.measure(learn)
    seen = rows.take(rows.known)
    ratio = np.sort(seen.worth_usd / worths.known[seen.line])[::-1]
    print(
        f"of the known, {np.mean(ratio < 0):.0%} of rows are below 0 and {np.mean(ratio == 0):.0%} are 0; "
        f"the best tenth by truth holds {ratio[: ratio.size // 10].sum() / ratio.sum():.0%} of worth; "
        f"{ratio.size / np.unique(seen.sequence).size:.0f} decisions a person"
    )
    platform, plain = by_platform(rows, worths, float(file.parameters["predict_sigma"].value))
    usd = {
        "line": plain,
        "line, known or not": worths.by_sight(rows),
        "line and `user.segment`": by_segment(learn, rows, worths),
    }
    notes, judged = {}, {}
    for core in CORES:
        at = time.process_time()
        model = JourneyValue.train(learn, stop, ValueSettings(core=core))
        epochs = len(model.history)
        learning = epochs * learn.known.sum() / (time.process_time() - at)
        raw = Judged(rows, model.predict(rows), worths).row().split(" | ")[2]
        model.calibrate(scale)
        at = time.process_time()
        usd[core] = model.predict(rows)
        asking = rows.known.sum() / (time.process_time() - at)
        notes[core] = (
            f"{core}: {epochs} epochs, {learning / 1e3:.0f} k rows learnt and {asking / 1e3:.0f} k asked a "
            f"second of one core; line {model.intercept:+.3f} {model.slope:+.3f} x; slope before it {raw}"
        )
        if core == "gru" and asked.out:
            model.save(asked.out)
    print("\n| known by | variance explained beyond the line | deviance | slope | best fifth |")
    print("|---|---|---|---|---|")
    for name, values in usd.items():
        judged[name] = Judged(rows, values, worths)
        print(f"| {name} | {judged[name].row()} |")
    print("\n" + "\n".join(notes.values()))
    for core in ("gru", "lstm"):
        a, b = judged[core], judged["mlp"]
        more = paired_ratio_interval((a.without - a.error, a.without), (b.without - b.error, b.without))
        less = paired_ratio_interval((a.deviance, a.n), (b.deviance, b.n))
        print(f"{core} less mlp: explained {told(more, 1, '{:+.4f}')}, deviance {told(less, 1, '{:+.4f}')}")
    print("\n| tenth of rows | " + " | ".join(f"{core}, told | came" for core in CORES) + " |")
    print("|---|" + "---:|---:|" * len(CORES))
    for i in range(10):
        cells = [f"{judged[core].table[i, 0]:.2f} | {judged[core].table[i, 1]:.2f}" for core in CORES]
        print(f"| {i + 1} | " + " | ".join(cells) + " |")
    upload = JourneyValue.train(learn, stop, ValueSettings(core="gru", upload=True))
    upload.calibrate(scale)
    usd["platform's bidder, as `value` flies"] = plain * platform
    usd["platform's bidder x gru"] = usd["gru"] * platform
    usd["platform's bidder x gru learnt for it"] = upload.predict(rows) * platform
    usd["truth"] = rows.worth_usd
    worth = {name: bought(rows, values) for name, values in usd.items()}
    spend = worth["line"][1]
    own = worth["platform's bidder, as `value` flies"][0]
    print(f"\nfor the same ${spend.mean():.0f} a world, looked-at hours alone")
    print(
        "| bids proportional to | worth a dollar | more than by line | of the way to truth | from `value` |"
    )
    print("|---|---|---|---|---|")
    for name, (got, cost) in worth.items():
        more = ratio_of_sums_interval(got - worth["line"][0], worth["line"][0])
        line, far = (
            told(ratio_of_sums_interval(got - from_, worth["truth"][0] - from_), 100, "{:.1f}")
            for from_ in (worth["line"][0], own)
        )
        print(
            f"| {name} | {told(ratio_of_sums_interval(got, cost), 1, '{:.2f}')} "
            f"| {told(more, 100, '{:+.1f}')} % "
            f"| {line} % | {far} % |"
        )
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
