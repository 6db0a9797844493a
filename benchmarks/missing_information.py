"""What more knowledge of lines would bring `value`, and how much lies within lines; yardsticks with truth.

Flies `value` on validation worlds with its own factors by line, then with factors measured on these very
worlds: pooled over all, each world's own, and half way from the general ones to each world's own. What they
gain is what a learner that corrects targets by line and world could hope for. Beside them `informed`, which
bids for each person by worth: what is left lies within lines. Expected incremental profit, paired by world.

    nice -n 10 python benchmarks/missing_information.py --worlds 32
"""

import argparse

import numpy as np

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES
from gaelp.evaluation.intervals import mean_interval
from gaelp.evaluation.references import REFERENCE_POLICIES
from gaelp.learning import worth
from gaelp.market.file import load
from gaelp.market.state import SPEND
from gaelp.worlds.flight import fly, run_off
from gaelp.worlds.registry import trained_lines
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import tuned_for
from gaelp.worlds.warmed import default_cache, warmed

DAYS, RUNOFF_DAYS = 30, 60


def main() -> None:
    """Fly and print a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--market", default="markets/family_safety.toml", help="market file")
    parser.add_argument("--worlds", type=int, default=16, help="validation worlds, 16 at a time")
    parser.add_argument("--users", type=int, default=10_000, help="people per world")
    asked = parser.parse_args()
    file = load(asked.market)
    tuned, trained = tuned_for(file), trained_lines("value", file)
    general = np.array([dict(trained.multiplier).get(line.name, 1.0) for line in LINES])
    found = {}
    spread = []
    worlds = split_worlds(file, "validation", asked.worlds, 0)
    for part in (worlds[i : i + 16] for i in range(0, len(worlds), 16)):
        snapshot, traffic = warmed(part, asked.users, cache=default_cache())
        looked = worth.looked(snapshot.copy(), traffic, tuned=tuned, days=DAYS)
        own = np.array([each.factors() for each in looked])
        spread.append(np.log(own))
        options = {"traffic": traffic, "days": DAYS}

        def profit(flight, start):
            run_off(flight.market, RUNOFF_DAYS)
            gained = flight.market.books.expected[:, 0, 1] - start.books.expected[:, 0, 1]
            return gained - flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD

        for name, factors in (
            ("general", general[None]),
            ("measured here, pooled", worth.together(looked).factors()[None]),
            ("each world's own", own),
            ("half way to its own", np.sqrt(own * general)),
        ):
            policy, market = trained.base(tuned), snapshot.copy()
            policy.factor = np.broadcast_to(factors, own.shape).copy()
            flight = fly(market, policy, keep_bids=False, **options)
            found.setdefault(name, []).append(profit(flight, snapshot))
        reference = REFERENCE_POLICIES["informed"]()
        flight = reference.fly(
            snapshot.copy(),
            daily_budget_usd=None,
            seed=0,
            tuned=tuned,
            tick=lambda _: None,
            keep_bids=False,
            **options,
        )
        found.setdefault("informed", []).append(profit(flight, snapshot))
    base = np.concatenate(found["general"])
    print(
        f"{len(base)} validation worlds of {asked.users:,} people; gains on the general factors, USD a world"
    )
    print(f"worlds' own factors spread by {np.concatenate(spread).std(axis=0).mean():.2f} in logs\n")
    for name, parts in found.items():
        if name != "general":
            gain = mean_interval(np.concatenate(parts) - base)
            print(f"{name:24s} {gain.mean:8,.0f}  ({gain.low:,.0f} to {gain.high:,.0f})")


if __name__ == "__main__":
    main()
