"""The auctionnet, AuctionNet's task on our own auction: its speed, and policies in one table.

Without arguments: auctions a second on one core, with 48 bidders, three slots, budgets and overspending, all
seats deciding every tick by simple rules. Beside it what those projects' own code did when we measured it,
per core, on another day of a shared machine: AuctionNet 22-28 thousand, rlbidder 71-75 (no budgets).

    python benchmarks/auctionnet.py
    python benchmarks/auctionnet.py --table
    python benchmarks/auctionnet.py --table --network cql=runs/auctionnet/cql.npz

The table keeps its pieces in a folder, goes on where it stopped, and prints what it has not to make again.
`--table --only ppo` trains our agent in five minutes, and flies it; a training that was stopped goes on.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

MEASURED_BEFORE = {"AuctionNet": "22-28", "rlbidder": "71-75"}
N_PERIODS = 3


def speed() -> None:
    """Print thousands of auctions per CPU-second, the median of some periods."""
    from gaelp.agents.auctionnet_policies import Fixed, Mixed, StepPid
    from gaelp.worlds.auctionnet import AuctionNet
    from gaelp.worlds.auctionnet_task import N_TICKS

    policy = Mixed((Fixed(), StepPid()))
    rates = []
    for period in range(N_PERIODS + 1):
        env = AuctionNet(1)
        start = time.process_time()
        view = env.reset(0, [period])
        for tick in range(N_TICKS):
            env.step(policy.act(view))
            if tick < N_TICKS - 1:
                view = env.view()
        rates.append(env.n_opportunities.sum() / (time.process_time() - start) / 1e3)
    print("thousands of auctions a second and core, 48 bidders, 3 slots")
    print(f"{'ours':12} {statistics.median(rates[1:]):.0f}")  # the first one compiles
    for name, rate in MEASURED_BEFORE.items():
        print(f"{name:12} {rate} (measured before, on another day)")


def table(folder: Path, n_periods: int, only: str | None, networks: dict[str, Path]) -> None:
    """Make what is missing in the folder, then print the table."""
    import torch

    from gaelp.learning.auctionnet_table import POLICIES, AuctionNetTable, TableSettings, markdown

    torch.set_num_threads(1)
    made = AuctionNetTable(
        folder, TableSettings(periods=n_periods), lambda line: print(line, file=sys.stderr, flush=True)
    )
    names = (*POLICIES, *networks)
    if only == "log":
        made.log()
    elif only is not None:
        made.flown(only, networks)
    else:
        print(markdown(made.rows(names, networks)), end="")


def main() -> None:
    """Read the arguments, do one thing."""
    parser = argparse.ArgumentParser(description="The auctionnet: its speed, or the table of policies.")
    parser.add_argument("--table", action="store_true", help="fly all policies and print the table")
    parser.add_argument("--folder", type=Path, default=Path("runs/auctionnet"), help="where its pieces lie")
    parser.add_argument("--periods", type=int, default=48, help="held-out periods, one seat each")
    parser.add_argument("--only", help="make only this piece: log, or a policy's flight")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE of another learner")
    given = parser.parse_args()
    if given.only and not given.table:
        parser.error("--only is of the table: give --table, too")
    if given.periods < 1:
        parser.error(f"--periods was {given.periods}; must be at least 1")
    if wrong := [pair for pair in given.network if "=" not in pair]:
        parser.error(f"--network was {wrong[0]}; must be NAME=FILE")
    networks = {name: Path(path) for name, path in (pair.split("=", 1) for pair in given.network)}
    if given.table:
        from gaelp.core.errors import GaelpError

        try:
            table(given.folder, given.periods, given.only, networks)
        except GaelpError as error:
            parser.exit(2, f"error: {error}\n")
    else:
        speed()


if __name__ == "__main__":
    main()
