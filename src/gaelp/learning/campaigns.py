"""Campaigns as PPO plays them: a day is a step, and what counts is what the corrections changed.

Each world is flown twice with the same luck: with the network's corrections and with the base policy alone.
The reward of a day is the difference of expected incremental sales, in USD, less that of spend: the base is a
baseline that takes nearly all luck out and, as no action moves it, leaves the best policy what it is. Sales
still to come when the campaign ends are lived out, so nothing is cut off. Then each dollar of spend that the
corrections left short of 90 % of the budget costs two, as in all tuning. All in daily budgets.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import observer_for
from gaelp.agents.controller import EVERY_HOURS, N_GROUPS, corrected
from gaelp.agents.policy import Brief, Policy
from gaelp.core.errors import BadInput
from gaelp.learning.practice import FULL_SPEND, SHORTFALL
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import make_brief, make_market, open_account, panel_budget, run_off, warm_up
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]


class Campaigns:
    """Training worlds side by side, new ones each epoch; see `ppo.BatchEnvironment`.

    Args:
        file: the market. base: makes the policy that is corrected. tuned: of the market's baselines.
        n_worlds, n_people, days, runoff_days: of the campaigns. seed: names the worlds.
    """

    def __init__(
        self,
        file: MarketFile,
        base: Callable[[], Policy],
        *,
        tuned: Tuned,
        n_worlds: int,
        n_people: int,
        days: int = 30,
        runoff_days: int = 30,
        seed: int = 0,
    ) -> None:
        self._file, self._base, self._tuned = file, base, tuned
        self._n_worlds, self._n_people, self._seed = n_worlds, n_people, seed
        self.days, self.runoff_days = days, runoff_days
        self.time = np.zeros(n_worlds)
        self.weight = np.ones(n_worlds)
        self._day = days

    def reset(self, epoch: int) -> NDArray[np.float32]:
        """Begin campaigns in the worlds of an epoch."""
        worlds = training_worlds(self._file, "train", self._n_worlds, 100_000 * (self._seed + 1) + epoch)
        market = make_market(worlds, self._n_people)
        traffic = warm_up(market)
        self._budget = np.maximum(panel_budget(market, None), 1e-9)
        brief = make_brief(market, self._budget, traffic, self._tuned, 0)
        self._flown = _Side(market, self._base(), brief, self.days)
        self._plain = _Side(market.copy(), self._base(), brief, self.days)
        self._observer = observer_for(brief, 24 * self.days)
        self._day = 0
        self.time = np.zeros(self._n_worlds)
        return self._observer.observe(self._flown.view)

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], Floats, Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Play a day; the last one lives out the sales to come.

        Args:
            actions: (n_worlds, n_groups), see `agents.controller.day_factors`.

        Returns:
            (n_worlds, n_features) observation of the next day; (n_worlds,) each: reward in daily budgets;
            cost, always 0; whether the campaign is over; whether it was cut off, never.

        Raises:
            BadInput: the campaigns are over.
        """
        if self._day >= self.days:
            raise BadInput("day", self._day, f"must be below {self.days}", "The campaigns are over: reset.")
        nothing = np.zeros((self._n_worlds, N_GROUPS), np.float32)
        before = self._flown.profit() - self._plain.profit()
        for _ in range(EVERY_HOURS):
            self._flown.hour(actions)
            self._plain.hour(nothing)
            observation = self._observer.observe(self._flown.view)
        self._day += 1
        over = self._day == self.days
        if over:
            run_off(self._flown.market, self.runoff_days)
            run_off(self._plain.market, self.runoff_days)
        reward = self._flown.profit() - self._plain.profit() - before
        if (
            over
        ):  # as in `Practice`: two dollars for each dollar short of full spend, and only for the changes
            full = FULL_SPEND * self._budget * self.days
            reward -= SHORTFALL * (self._flown.short(full) - self._plain.short(full))
        self.time = np.full(self._n_worlds, float(EVERY_HOURS * self._day))
        ended = np.full(self._n_worlds, over)
        return observation, reward / self._budget, np.zeros(self._n_worlds), ended, np.zeros_like(ended)


class _Side:
    """One life of the worlds: a market, its account and the policy that flies it."""

    def __init__(self, market: Market, policy: Policy, brief: Brief, days: int) -> None:
        self.market, self.policy = market, policy
        self._platform = SimulatedPlatform(market)
        self._reports = self._platform.open(hours=24 * days)
        self._account = open_account(self._platform, brief, seat=0, days=days)
        policy.start(brief)
        self._start = market.books.expected[:, 0, 1].copy()
        self.view = self._account.view()

    def hour(self, actions: NDArray[np.float32]) -> None:
        self._account.submit(corrected(self.policy.act(self.view), actions))
        self._platform.advance()
        self.view = self._account.view()

    def spend(self) -> Floats:
        return self._reports.spend_micros.sum(axis=(1, 2)) / 1e6

    def profit(self) -> Floats:
        value: Floats = self.market.books.expected[:, 0, 1] - self._start - self.spend()
        return value

    def short(self, full: Floats) -> Floats:
        return np.maximum(full - self.spend(), 0.0)
