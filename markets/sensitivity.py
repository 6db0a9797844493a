"""How far difficulty depends on what nobody has measured: each free parameter 25 % lower and higher.

    python markets/sensitivity.py markets/family_safety.toml > docs/reference/sensitivity.md

Every row flies tuned dual pacing on worlds with the same seeds and prints its incremental CAC from expected
decisions, so that a difference between rows is the parameter's and little of it is luck.
"""

import argparse
from pathlib import Path

import numpy as np

from gaelp.core.errors import MarketFileError
from gaelp.core.units import MICROS_PER_USD
from gaelp.market.file import MarketFile, load
from gaelp.market.parameters import PARAMETERS
from gaelp.market.state import SPEND
from gaelp.worlds.flight import fly, make_market, run_off, warm_up
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.tuned import Tuned, tuned_for


def measure(file: MarketFile, tuned: Tuned, n_worlds: int, n_people: int) -> tuple[float, float, float]:
    """Incremental CAC, share of the budget spent, organic decisions per 10,000 people and month."""
    market = make_market(plain_worlds(file, n_worlds, seed=5), n_people)
    traffic = warm_up(market)
    before = market.books.expected[:, 0, 0].sum()
    twin = market.copy()
    run_off(twin, 60)
    flight = fly(market, tuned.pacing(), days=30, traffic=traffic, tuned=tuned, keep_bids=False)
    run_off(market, 30)
    without = twin.books.expected[:, 0, 0].sum() - before
    gained = market.books.expected[:, 0, 0].sum() - before - without
    spend = flight.report[..., SPEND].sum() / MICROS_PER_USD
    share = spend / (flight.daily_budget_usd.sum() * 30)
    return spend / max(gained, 1e-9), share, without / 2 / (n_worlds * n_people) * 1e4


def main() -> None:
    """Print the table, largest effect first."""
    parser = argparse.ArgumentParser()
    parser.add_argument("market", type=Path)
    parser.add_argument("--worlds", type=int, default=8)
    parser.add_argument("--users", type=int, default=10_000)
    given = parser.parse_args()
    file = load(given.market)
    tuned = tuned_for(file)
    base, share, organic = measure(file, tuned, given.worlds, given.users)
    rows = []
    for parameter in PARAMETERS:
        stated = file.parameters[parameter.name]
        if stated.strength in ("A", "B") and not stated.solved:
            continue
        found = []
        for factor in (0.75, 1.25):
            value = np.clip(stated.value * factor, stated.low, stated.high)
            try:
                varied = file.with_values({parameter.name: value})
            except MarketFileError:
                found.append((float("nan"),) * 3)
                continue
            found.append(measure(varied, tuned, given.worlds, given.users))
        rows.append((parameter.name, found))
    rows.sort(key=lambda row: -abs(row[1][1][0] - row[1][0][0]))
    print("# How far difficulty depends on what nobody has measured\n")
    print(f"Made by `python markets/sensitivity.py {given.market}`:")
    print(f"{given.worlds} worlds of {given.users:,} people, tuned dual pacing.")
    print(f"As solved: incremental CAC ${base:.0f}, {share:.1%} spent, {organic:.0f} organic")
    print("decisions per 10,000 people and month.\n")
    print("A parameter that neither spend nor decisions can depend on (`lag_start_hours`) moves the CAC by")
    print("several dollars, because a budget that binds passes small changes on: differences under about $10")
    print("are luck.\n")
    print("| parameter | CAC at -25 % | CAC at +25 % | organic at -25 % | organic at +25 % |")
    print("|---|---|---|---|---|")
    for name, (low, high) in rows:
        print(f"| `{name}` | ${low[0]:.0f} | ${high[0]:.0f} | {low[2]:.0f} | {high[2]:.0f} |")


if __name__ == "__main__":
    main()
