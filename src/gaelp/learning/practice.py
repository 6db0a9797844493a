"""Practice flights: many settings of a policy at once, on the same training worlds with the same luck.

Scores use *expected* decisions, the softmax probability at every moment of choice instead of its draw:
truth that only training and evaluation may see. It leaves the mean as it is and takes the last coin
flip out of the noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Policy
from gaelp.core.units import MICROS_PER_USD
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.market.state import SPEND
from gaelp.worlds.flight import Flight, Tick, fly, make_market, run_off, warm_up
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]
RUNOFF_DAYS = 30
"""Days after a practice flight in which sales still count."""
FULL_SPEND = 0.9
"""A setting that spends less of the budget is marked down until it does."""
SHORTFALL = 2.0
"""What each dollar short of that costs it, in dollars."""


@dataclass(frozen=True)
class Scores:
    """Per setting, summed over its worlds: expected incremental profit, decisions, spend and its share."""

    profit_usd: Floats
    decisions: Floats
    spend_usd: Floats
    spend_share: Floats

    @property
    def objective(self) -> Floats:
        """Profit, less `SHORTFALL` for each dollar short of `FULL_SPEND` of the budget."""
        budget = self.spend_usd / np.maximum(self.spend_share, 1e-9)
        short = np.maximum(FULL_SPEND - self.spend_share, 0.0) * budget
        return self.profit_usd - SHORTFALL * short

    def figures(self, setting: int = 0) -> dict[str, float | None]:
        """One setting as a row of training, rounded; ratios are None where nothing was sold or spent.

        >>> one = np.ones(1)
        >>> found = Scores(profit_usd=60.0 * one, decisions=one, spend_usd=40.0 * one, spend_share=0.8 * one)
        >>> found.figures()  # doctest: +NORMALIZE_WHITESPACE
        {'spend_usd': 40.0, 'spend_share': 0.8, 'incremental_cac_usd': 40.0, 'incremental_roas': 2.5,
         'objective_usd': 50.0}
        """
        spend, decisions = float(self.spend_usd[setting]), float(self.decisions[setting])
        sales = float(self.profit_usd[setting]) + spend
        return {
            "spend_usd": round(spend, 4),
            "spend_share": round(float(self.spend_share[setting]), 4),
            "incremental_cac_usd": round(spend / decisions, 4) if decisions > 0 else None,
            "incremental_roas": round(sales / spend, 4) if spend > 0 else None,
            "objective_usd": round(float(self.objective[setting]), 4),
        }


class Practice:
    """Training worlds, warmed up once, with their twin without ads.

    Args:
        file: the market. n_worlds, n_people: of the practice worlds. days, runoff_days: of a flight.
        seed: names the draw of training worlds. tick: told the world-hours done.
    """

    def __init__(
        self,
        file: MarketFile,
        *,
        n_worlds: int,
        n_people: int,
        days: int,
        runoff_days: int = RUNOFF_DAYS,
        seed: int = 0,
        tuned: Tuned | None = None,
        tick: Tick = lambda _: None,
    ) -> None:
        self.days = days
        self.runoff_days = runoff_days
        self.tuned = tuned or Tuned()
        self.start = make_market(training_worlds(file, "train", n_worlds, seed), n_people)
        self.traffic = warm_up(self.start, tick=tick)
        twin = self.start.copy()
        run_off(twin, days + runoff_days, tick)
        self.without = self._expected(twin)

    @property
    def n_worlds(self) -> int:
        """Practice worlds."""
        return self.start.n_worlds

    def try_out(
        self, make: Callable[[int], Policy], n_settings: int, tick: Tick = lambda _: None
    ) -> tuple[Scores, Flight]:
        """Fly `n_settings` settings at once.

        Args:
            make: number of worlds in the batch -> a policy that acts on all of them; setting `s` flies
                worlds `s * n_worlds` to `(s + 1) * n_worlds - 1`.
            n_settings: how many. tick: told the world-hours done.
        """
        market = self.start.copy(n_settings)
        flight = fly(
            market,
            make(market.n_worlds),
            days=self.days,
            traffic=np.concatenate([self.traffic] * n_settings),
            tuned=self.tuned,
            keep_bids=False,
            tick=tick,
        )
        run_off(market, self.runoff_days, tick)
        gained = self._expected(market).reshape(n_settings, self.n_worlds, 2) - self.without
        spend = flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD
        spend_by = spend.reshape(n_settings, -1).sum(axis=1)
        budget = flight.daily_budget_usd.reshape(n_settings, -1).sum(axis=1) * self.days
        scores = Scores(
            profit_usd=gained[..., 1].sum(axis=1) - spend_by,
            decisions=gained[..., 0].sum(axis=1),
            spend_usd=spend_by,
            spend_share=spend_by / np.maximum(budget, 1e-9),
        )
        return scores, flight

    def _expected(self, market: Market) -> Floats:
        base = np.concatenate([self.start.books.expected[:, 0]] * (market.n_worlds // self.start.n_worlds))
        return market.books.expected[:, 0] - base
