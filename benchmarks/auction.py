"""What an auction costs: `clear`, and the kernel inside it, against vectorised NumPy.

A slower `clear` slows users' own studies; a slower kernel slows every simulated hour, in which about one
auction is cleared per opportunity. Nanoseconds per auction, median of several runs; the ratio is NumPy's
time over that of `clear`, both on this machine in this run.

    python benchmarks/auction.py
"""

import statistics
import time

import numpy as np

from gaelp.core.jit import jit
from gaelp.market.auction import clear, clear_one

N_BIDDERS, N_SLOTS = (2, 6, 49), (1, 4)
N_BIDS, N_RUNS = 1_200_000, 7


def clear_numpy(bids, quality, reserve, n_slots):
    """Generalised second price on whole arrays; ties in any order."""
    n_auctions, n_bidders = bids.shape
    eligible = (bids >= reserve[:, None]) & (quality > 0.0)
    score = np.where(eligible, bids * quality, -np.inf)
    n_ranked = min(n_slots + 1, n_bidders)
    if n_slots == 1:
        first = score.argmax(axis=1)[:, None]
        others = score.copy()
        np.put_along_axis(others, first, -np.inf, axis=1)
        ranked_score = np.column_stack((np.take_along_axis(score, first, axis=1)[:, 0], others.max(axis=1)))
        order = first
    else:
        order = np.argpartition(-score, n_ranked - 1, axis=1)[:, :n_ranked]
        within = np.argsort(-np.take_along_axis(score, order, axis=1), axis=1)
        order = np.take_along_axis(order, within, axis=1)
        ranked_score = np.take_along_axis(score, order, axis=1)
    n_sellable = min(n_slots, n_bidders)
    following = np.full((n_auctions, n_sellable), -np.inf)
    following[:, : ranked_score.shape[1] - 1] = ranked_score[:, 1 : n_sellable + 1]
    top = order[:, :n_sellable]
    sold = ranked_score[:, :n_sellable] > -np.inf
    needed = following / np.where(sold, np.take_along_axis(quality, top, axis=1), 1.0)
    paid = np.minimum(np.maximum(needed, reserve[:, None]), np.take_along_axis(bids, top, axis=1))
    winner = np.full((n_auctions, n_slots), -1)
    price = np.zeros((n_auctions, n_slots))
    winner[:, :n_sellable] = np.where(sold, top, -1)
    price[:, :n_sellable] = np.where(sold, paid, 0.0)
    return winner, price


@jit
def kernel_loop(bids, quality, reserve, n_slots, winner, price):
    """The kernel as the market calls it: arrays of its own, filled for each auction; ties by key."""
    n_bidders = bids.shape[1]
    bid, weight, tie = np.empty(n_bidders), np.empty(n_bidders), np.empty(0)
    n_sold = 0
    for i in range(bids.shape[0]):
        for b in range(n_bidders):
            bid[b] = bids[i, b]
            weight[b] = quality[i, b]
        n_sold += clear_one(bid, weight, reserve[i], n_slots, False, tie, np.uint64(i + 1), winner, price)
    return n_sold


def median_ns(call, n_auctions):
    """Median time of a call per auction, ns; a first call warms up and compiles."""
    call()
    times_s = []
    for _ in range(N_RUNS):
        start = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - start)
    return statistics.median(times_s) / n_auctions * 1e9


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    print("ns per auction; generalised second price, reserve under about three quarters of the bids")
    print(f"{'bidders':>7} {'slots':>5} {'NumPy':>8} {'clear':>8} {'kernel':>8} {'NumPy / clear':>14}")
    for n_bidders in N_BIDDERS:
        n_auctions = N_BIDS // n_bidders
        bids = rng.lognormal(0.0, 0.5, (n_auctions, n_bidders))
        quality = rng.uniform(0.5, 1.5, (n_auctions, n_bidders))
        reserve = np.full(n_auctions, 0.7)
        for n_slots in N_SLOTS:
            cell = (bids, quality, reserve, n_slots)
            for ours, theirs in zip(clear(*cell), clear_numpy(*cell), strict=True):
                assert (ours == theirs).all()
            winner, price = np.empty(n_slots, np.int64), np.empty(n_slots)
            numpy_ns = median_ns(lambda cell=cell: clear_numpy(*cell), n_auctions)
            clear_ns = median_ns(lambda cell=cell: clear(*cell), n_auctions)
            kernel_ns = median_ns(lambda cell=cell, out=(winner, price): kernel_loop(*cell, *out), n_auctions)
            print(
                f"{n_bidders:7} {n_slots:5} {numpy_ns:8.1f} {clear_ns:8.1f} {kernel_ns:8.1f} "
                f"{numpy_ns / clear_ns:14.1f}"
            )


if __name__ == "__main__":
    main()
