"""AuctionGym's published configuration, rebuilt on `gaelp.market.auction.clear`.

Six agents with twelve items each; a random two of them meet in each auction for one slot; each shows the
item with the largest value x click-through rate, which it knows, and bids exactly that; payment is per
impression. As in AuctionGym's own code a winner gets its item's value where a click is drawn, and nothing
else: its published standard deviations fit realised clicks (welfare 0.65 per auction, published 0.57 from
60 blocks) and not expected values (0.37).

Source: Jeunen, Murphy, Allison, "Off-policy learning-to-bid with AuctionGym", KDD 2023, and its code,
amzn/auction-gym on GitHub.

    python benchmarks/auction_gym.py
"""

import time
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.market.auction import clear

N_AGENTS, N_ITEMS, N_FEATURES = 6, 12, 5
CATALOGUE_SEED = 0
MEASURES = ("revenue", "surplus", "welfare", "overbid_regret", "underbid_regret")

# Per auction, from 6 million auctions of a vectorised copy of AuctionGym, which its own code confirms.
PUBLISHED = {
    "second": {"revenue": 0.41221, "surplus": 0.30658, "welfare": 0.71879},
    "first": {"revenue": 0.71875, "surplus": 0.0, "welfare": 0.71879},
}
# Standard deviation of the mean of 10,000 auctions in AuctionGym's own code, and from how many such means.
PUBLISHED_SD_OF_10_000 = {
    "second": {"revenue": 0.0027, "surplus": 0.0050, "welfare": 0.0057},
    "first": {"revenue": 0.0035, "surplus": 0.0034, "welfare": 0.0049},
}

PUBLISHED_BLOCKS = {"second": 60, "first": 15}

_CHUNK = 50_000


class Estimate(NamedTuple):
    """A mean per auction and its standard error."""

    mean: float
    se: float


def play(
    n_auctions: int,
    pricing: Literal["first", "second"],
    n_participants: int = 2,
    value: Literal["realised", "expected"] = "realised",
    seed: int = 1,
) -> dict[str, Estimate]:
    """Play auctions among truthful bidders who know their click-through rates.

    The same seed gives the same contexts, participants and clicks under either pricing; participants of a
    smaller auction also take part in a larger one.

    Args:
        n_auctions: how many to play.
        pricing: "first" or "second".
        n_participants: how many of the six agents meet in each auction, 2 to 6.
        value: what a winner gets: its item's value if a click is drawn, or value x click-through rate.
        seed: of everything but the catalogue, which is AuctionGym's.

    Returns:
        Each of `MEASURES`, per auction, in units of item value. Overbid regret: what the winner paid above
        the second highest bid. Underbid regret: what losers bid under a price they would have gained from.
    """
    embedding, item_value = _catalogue()
    rng = np.random.default_rng(seed)
    chunks = [
        _play_chunk(
            min(_CHUNK, n_auctions - start), pricing, n_participants, value, rng, embedding, item_value
        )
        for start in range(0, n_auctions, _CHUNK)
    ]
    samples = np.concatenate(chunks, axis=1)  # (n_measures, n_auctions)
    means, ses = samples.mean(axis=1), samples.std(axis=1) / np.sqrt(n_auctions)
    return {
        name: Estimate(float(mean), float(se)) for name, mean, se in zip(MEASURES, means, ses, strict=True)
    }


def _catalogue() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Item embeddings with the intercept last, and item values, drawn in AuctionGym's order."""
    rng = np.random.default_rng(CATALOGUE_SEED)
    embedding = rng.normal(0.0, 1.0, (N_AGENTS, N_ITEMS, N_FEATURES))
    item_value = rng.lognormal(0.1, 0.2, (N_AGENTS, N_ITEMS))
    intercept = -3.0 - rng.random((N_AGENTS, N_ITEMS, 1))
    return np.concatenate((embedding, intercept), axis=2), item_value


def _play_chunk(n, pricing, n_participants, value, rng, embedding, item_value):
    context = np.column_stack((rng.normal(size=(n, N_FEATURES)), np.ones(n)))
    absent = rng.random((n, N_AGENTS)).argsort(axis=1)[:, n_participants:]
    click_luck = rng.random(n)
    logit = context @ embedding.reshape(-1, N_FEATURES + 1).T
    ctr = (1.0 / (1.0 + np.exp(-logit))).reshape(n, N_AGENTS, N_ITEMS)
    item = (ctr * item_value).argmax(axis=2)[:, :, None]  # (n, n_agents, 1): what each agent shows
    shown_ctr = np.take_along_axis(ctr, item, axis=2)[:, :, 0]
    shown_value = item_value[np.arange(N_AGENTS), item[:, :, 0]]
    bid = shown_ctr * shown_value
    np.put_along_axis(bid, absent, -np.inf, axis=1)

    winner, price = clear(bid, np.ones_like(bid), np.zeros(n), pricing=pricing)
    rows, won, paid = np.arange(n), winner[:, 0], price[:, 0]
    chance = shown_ctr[rows, won]
    welfare = shown_value[rows, won] * (click_luck < chance if value == "realised" else chance)
    lost = bid.copy()
    lost[rows, won] = -np.inf
    overbid = paid - lost.max(axis=1)
    would_gain = paid[:, None] < lost  # bids are true values, -inf for those who lost nothing
    underbid = np.where(would_gain, paid[:, None] - lost, 0.0).sum(axis=1)
    return np.stack((paid, welfare - paid, welfare, overbid, underbid))


def main() -> None:
    """Print the table: our figures beside the published ones, then the effect of more rivals."""
    n = 1_000_000
    play(1, "second")  # compiles
    print(f"AuctionGym on `clear`: {n:,} auctions, 2 of 6 agents, 1 slot; per auction")
    print(f"{'pricing':8} {'measure':16} {'ours':>9} {'se':>8} {'published':>10} {'difference / se':>16}")
    for pricing in ("second", "first"):
        start = time.perf_counter()
        result = play(n, pricing)
        wall_s = time.perf_counter() - start
        for name, (mean, se) in result.items():
            published = PUBLISHED[pricing].get(name)
            known = "" if published is None else f"{published:10.5f} {(mean - published) / se:16.2f}"
            print(f"{pricing:8} {name:16} {mean:9.5f} {se:8.5f} {known}")
        print(f"{pricing:8} {n / wall_s / 1e3:.0f} thousand auctions a second, contexts and all")
    expected = play(n, "second", value="expected")
    print(
        "second   with expected values in place of clicks: "
        + ", ".join(f"{name} {expected[name].mean:.5f} ({expected[name].se:.5f})" for name in MEASURES[:3])
    )
    print("participants     revenue  surplus  welfare   (second price, 200,000 auctions)")
    for n_participants in range(2, N_AGENTS + 1):
        result = play(200_000, "second", n_participants)
        print(
            f"{n_participants:12} " + " ".join(f"{result[name].mean:8.4f}" for name in MEASURES[:3]).rjust(30)
        )


if __name__ == "__main__":
    main()
