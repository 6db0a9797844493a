"""Solve a market's free parameters so that its targets hold, with untrained policies only.

    python markets/solve.py markets/family_safety.toml --rounds 6

Each round flies dual pacing with its twin on training worlds, compares the emergent statistics with the
goals below and moves one parameter per goal by the ratio. Only parameters marked `solved = true` move.
The file's median prices (`[reference]`) are re-measured in each round. A learnt policy is never used.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from gaelp.agents.baselines import PacingPolicy
from gaelp.control.pacing import PacingSettings
from gaelp.core.words import LINES
from gaelp.evaluation.describe import market_prices, median_prices, statistics
from gaelp.learning.tuning import attributed_value
from gaelp.market.file import MarketFile, load
from gaelp.market.market import Market
from gaelp.market.parameters import BY_NAME, axis_names
from gaelp.worlds.flight import fly, make_market, run_off, warm_up
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import Tuned
from gaelp.worlds.twins import outcome


class Goal:
    """Move `parameter` (all elements, or those at `index`) until `statistic` is `goal`.

    A positive brand prior is moved by the ratio as well: near .5 a tenth more is a twentieth of a logit.
    """

    def __init__(self, statistic: str, goal: float, parameter: str, index: list[int], power: float) -> None:
        self.statistic = statistic
        self.goal = goal
        self.parameter = parameter
        self.index = index
        self.power = power


def goals(cac: float, ltv: float, organic: float) -> list[Goal]:
    """What the reference market is solved for."""
    return [
        Goal("search_price_median", 3.7, "price_level", [0, 1, 2, 3], 1.0),
        Goal("social_price_median", 16.0, "price_level", [4, 5], 1.0),
        Goal("video_price_median", 9.0, "price_level", [6], 1.0),
        Goal("display_price_median", 2.9, "price_level", [7, 8, 9], 1.0),
        Goal("search_ctr", 0.0664, "search_click", [0, 1, 2], 1.0),
        Goal("social_ctr", 0.0182, "feed_click_odds", [0], 1.0),
        Goal("mean_ltv_usd", ltv, "value_segment", [], 1.0),
        Goal("organic_sales_per_10k_month", organic, "brand_prior", [], 0.6),
        Goal("incremental_cac_usd", cac, "goodwill_click", [], -0.9),
    ]


def measure(file: MarketFile, n_worlds: int, n_people: int) -> tuple[dict[str, float], dict[str, float]]:
    """Statistics of tuned dual pacing on training worlds, and median prices per line."""
    market = make_market(training_worlds(file, "train", n_worlds, seed=1), n_people)
    traffic = warm_up(market)
    tuned = pacing_at_value(market, traffic)
    twin = market.copy()
    run_off(twin, 90)
    flight = fly(market, tuned.pacing(), days=30, traffic=traffic, tuned=tuned)
    run_off(flight.market, 60)
    sums = {key: float(value.sum()) for key, value in outcome(flight, twin, 60).items()}
    found = statistics(flight, twin, 60)
    # expected decisions, the softmax before its draw: the same mean, a fraction of the noise
    expected = float(flight.market.books.expected[:, 0, 0].sum() - twin.books.expected[:, 0, 0].sum())
    found["incremental_cac_usd"] = sums["spend_usd"] / max(expected, 1.0)
    found["incremental_cac_usd_booked"] = sums["spend_usd"] / max(sums["incremental_conversions"], 1.0)
    found["spend_share"] = sums["spend_usd"] / sums["budget_usd"]
    found["attributed_cac_usd"] = sums["spend_usd"] / max(sums["attributed_conversions"], 1.0)
    return found, median_prices(market_prices(flight, twin))


def pacing_at_value(market: Market, traffic: np.ndarray) -> Tuned:
    """Dual pacing whose bids are proportional to attributed value, learnt from a plain flight just before.

    This is what `gaelp train --agent baselines` arrives at; it is measured anew each round because a
    changed market changes what clicks are worth.
    """
    flight = fly(market.copy(), PacingPolicy(), days=30, traffic=traffic, keep_bids=False)
    run_off(flight.market, 30)
    value = attributed_value(flight, 30)
    return Tuned(value_weight=1.0, settings=PacingSettings(step=0.1), attributed_value=value)


def write_values(path: Path, values: dict[str, np.ndarray], file: MarketFile) -> None:
    """Replace the values of solved parameters in the file's text, leaving everything else as written."""
    text = path.read_text()
    for name, value in values.items():
        axes = [axis_names(axis, file.segments) for axis in BY_NAME[name].axes]
        if not axes:
            shown = f"{float(value):.6g}"
        else:
            cells = ", ".join(f"{key} = {v:.6g}" for key, v in zip(axes[0], value.tolist(), strict=True))
            shown = f"{{ {cells} }}"
        text = re.sub(rf"(\[parameters\.{name}\]\nvalue = )[^\n]*", lambda m, s=shown: m.group(1) + s, text)
    path.write_text(text)


def write_reference(path: Path, prices: dict[str, float]) -> None:
    """Replace the `[reference]` section."""
    text = re.sub(r"\n# ---- median paid prices[^\[]*\[reference\][^\[]*", "\n", path.read_text()).rstrip()
    rows = "\n".join(f"{line.name} = {prices[line.name]:.4g}" for line in LINES if line.name in prices)
    path.write_text(
        f"{text}\n\n# ---- median paid prices of all bidders, measured by markets/solve.py ----\n"
        f"[reference]\n{rows}\n"
    )


def main() -> None:
    """Run the rounds and print each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("market", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--worlds", type=int, default=16)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--cac", type=float, default=117.0)
    parser.add_argument("--organic", type=float, default=400.0)
    parser.add_argument("--damping", type=float, default=0.7)
    parser.add_argument("--reference-only", action="store_true", help="measure median prices, move nothing")
    given = parser.parse_args()
    if given.reference_only:
        write_reference(given.market, measure(load(given.market), given.worlds, given.users)[1])
        return
    for round_ in range(given.rounds):
        file = load(given.market)
        found, prices = measure(file, given.worlds, given.users)
        write_reference(given.market, prices)
        moved: dict[str, np.ndarray] = {}
        print(f"round {round_}", flush=True)
        for goal in goals(given.cac, file.ltv_usd, given.organic):
            stated = file.parameters[goal.parameter]
            value = moved.get(goal.parameter, stated.value.copy())
            ratio = (goal.goal / max(found[goal.statistic], 1e-9)) ** (goal.power * given.damping)
            ratio = float(np.clip(ratio, 0.6, 1.6))
            if stated.solved:
                if goal.index:
                    value[goal.index] = np.clip(value[goal.index] * ratio, stated.low, stated.high)
                else:
                    value = np.clip(value * ratio, stated.low, stated.high)
                moved[goal.parameter] = value
            print(f"  {goal.statistic:32s} {found[goal.statistic]:10.4f} goal {goal.goal:9.4f} x{ratio:.3f}")
        for key in sorted(set(found) - {goal.statistic for goal in goals(1, 1, 1)}):
            print(f"  {key:32s} {found[key]:10.4f}")
        write_values(given.market, moved, file)


if __name__ == "__main__":
    main()
