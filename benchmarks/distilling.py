"""Whether a market distilled from a response model answers as the market whose clicks the model saw.

    python benchmarks/distilling.py                # 8 markets of known clicks, about 15 minutes
    python benchmarks/distilling.py --markets 2

Each true market differs from the base in every click parameter (factors of sigma .3) and in a table of its
own, feed x segment x creative (sigma .4). Its click log trains a model; the model, and the base's own click
log, make a market. What that market expects of the ads of another life of the true market is compared with
what the true one does: chances with chances, so that no luck is in it. Then all three live the same life,
with the same random numbers, under `pacing`. The last figures are what an opportunity costs with and without
tables, and what a chance costs that is asked of the model.

Prints JSON; exits with 1 where, in any market, more than a third of the clicks that the base has in the wrong
place is still there, or where clicks in the shared life are further off than the base's.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gaelp.core.random import named_seed
from gaelp.core.words import CHANNEL_OF_LINE, Channel
from gaelp.market.file import MarketFile, Response, load
from gaelp.market.market import Market
from gaelp.market.state import CLICKS
from gaelp.prediction.examples import examples_of, read_again, read_table
from gaelp.prediction.model import ResponseModel
from gaelp.prediction.training import Recipe, train
from gaelp.worlds.click_log import CLICKED, click_table
from gaelp.worlds.distilling import distil
from gaelp.worlds.flight import fly, make_market
from gaelp.worlds.ga4_export import status_quo
from gaelp.worlds.regions import write_columns
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.taught import expected_clicks, read_ads

MARKET = Path(__file__).parents[1] / "markets" / "family_safety.toml"
LEFT = 1 / 3
SIGMA, SIGMA_CROSSED = 0.3, 0.4
FACTORS = ("feed_click_odds", "search_click", "click_stage", "click_segment", "click_class", "creative_fit",
           "engaged_click", "fatigue_exponent")  # fmt: skip
CHANNELS = (Channel.SEARCH, Channel.SOCIAL, Channel.VIDEO, Channel.DISPLAY, Channel.RETARGETING)


def true_market(base: MarketFile, index: int) -> MarketFile:
    """Other people than the base's: parameters within their ranges, and a table that they cannot say."""
    generator = np.random.default_rng(named_seed("distilling", index))
    values = {}
    for name in FACTORS:
        stated = base.parameters[name]
        factor = np.exp(generator.normal(0.0, SIGMA, stated.value.shape))
        values[name] = np.clip(stated.value * factor, stated.low, stated.high)
    crossed = np.exp(generator.normal(0.0, SIGMA_CROSSED, (3, len(base.segments), 3)))
    table = Response(over=("feed", "segment", "creative"), value=crossed)
    return replace(base.with_values(values), response={"feed": table})


def click_log(path: Path, file: MarketFile, life: int, options: argparse.Namespace) -> Path:
    """The click log of a life of a market under the status quo."""
    world = plain_worlds(file, 1, life)[0]
    columns = click_table(world, status_quo(file), n_people=options.people, days=options.days)
    write_columns(path, columns)
    return path


def model_of(path: Path) -> ResponseModel:
    """What `gaelp ctr train FILE --label clicked --time hour` makes."""
    columns, cells = read_table(path, label=CLICKED, time="hour")
    return train(replace(examples_of(columns, cells), columns=columns), Recipe())


def clicks_by_channel(file: MarketFile, life: int, options: argparse.Namespace) -> np.ndarray:
    """Clicks of a flight of pacing, cold, by channel."""
    market = make_market(plain_worlds(file, 1, life), options.people // 2)
    flight = fly(market, make_policy("pacing", file)(), days=options.days // 2, traffic=None, keep_bids=False)
    clicks = flight.report[0, :, CLICKS]
    return np.array([clicks[CHANNEL_OF_LINE == channel].sum() for channel in CHANNELS])


def misplaced(file: MarketFile, truth: np.ndarray, ads: Any) -> float:
    """Share of clicks that a market would have on other ads than the true one."""
    return 0.5 * float(np.abs(expected_clicks(file, ads) - truth).sum() / truth.sum())


def one(base: MarketFile, index: int, reference: Path, folder: Path, options: argparse.Namespace) -> Any:
    """One true market, learnt and compared."""
    truth = true_market(base, index)
    model = model_of(click_log(folder / "train.parquet", truth, 100 + index, options))
    found = distil(read_ads(reference, model, base), base)
    ads = read_ads(click_log(folder / "other.parquet", truth, 200 + index, options), model, base)
    real = expected_clicks(truth, ads)
    lives = [clicks_by_channel(file, 300 + index, options) for file in (truth, base, found.file)]
    off = np.abs(np.array(lives[1:]) / lives[0] - 1.0)
    return {
        "auc": model.manifest["metrics"]["auc"],
        "misplaced": {
            "base": misplaced(base, real, ads),
            "parameters": misplaced(replace(found.file, response={}), real, ads),
            "market": misplaced(found.file, real, ads),
            "model": 0.5 * float(np.abs(ads.taught - real).sum() / real.sum()),
        },
        "lived_clicks_off": {
            channel.name.lower(): {"true": int(n), "base": float(o), "market": float(m)}
            for channel, n, o, m in zip(CHANNELS, lives[0], *off, strict=True)
        },
        "lived_all_off": {
            name: float(abs(life.sum() / lives[0].sum() - 1.0))
            for name, life in zip(("base", "market"), lives[1:], strict=True)
        },
    }


def cost(base: MarketFile, index: int, reference: Path) -> dict[str, float]:
    """Nanoseconds of processor time an opportunity, without and with tables, and a chance by the model."""
    truth = true_market(base, index)
    markets: dict[str, Market] = {}
    for name, file in (("plain", replace(truth, response={})), ("tables", truth)):
        markets[name] = make_market(plain_worlds(file, 8, 0), 10_000)
        fly(markets[name], status_quo(file), days=1, traffic=None, keep_bids=False)
    found: dict[str, list[float]] = {name: [] for name in markets}
    for _ in range(7):
        for name, market in markets.items():
            before, began = market.books.ads[:, :, 0].sum(), time.process_time()
            fly(market, status_quo(truth), days=5, traffic=None, keep_bids=False)
            held = market.books.ads[:, :, 0].sum() - before
            found[name].append((time.process_time() - began) * 1e9 / held)
    model = model_of(reference)
    examples, _ = read_again(reference, model.columns, with_time=False)
    began = time.process_time()
    model.predict(examples)
    asked = (time.process_time() - began) * 1e9 / len(examples)
    medians = {f"{name}_ns": float(np.median(values)) for name, values in found.items()}
    return {
        **medians,
        "tables_to_plain": medians["tables_ns"] / medians["plain_ns"],
        "model_in_batches_ns": asked,
    }


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markets", type=int, default=8)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=60)
    options = parser.parse_args()
    base = load(MARKET)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = click_log(folder / "base.parquet", base, 0, options)
        markets = []
        for index in range(options.markets):
            markets.append(one(base, index, reference, folder, options))
            print(f"market {index}: {markets[-1]['misplaced']}", file=sys.stderr, flush=True)
        costs = cost(base, 0, reference)
    left = [m["misplaced"]["market"] / m["misplaced"]["base"] for m in markets]
    nearer = [m["lived_all_off"]["market"] < m["lived_all_off"]["base"] for m in markets]
    mean = {
        step: float(np.mean([m["misplaced"][step] for m in markets]))
        for step in ("base", "parameters", "market", "model")
    }
    passed = max(left) <= LEFT and all(nearer)
    print(json.dumps({"mean_misplaced": mean, "worst_left": max(left), "cost": costs, "passed": passed,
                      "markets": markets}, indent=1))  # fmt: skip
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
