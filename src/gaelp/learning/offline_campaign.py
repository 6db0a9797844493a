"""Campaigns that are logged: a base policy flies, and what a decider draws each midnight corrects it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import observer_for
from gaelp.agents.controller import EVERY_HOURS, N_GROUPS, corrected
from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput
from gaelp.core.random import named_seed
from gaelp.learning.offline_estimate import normal_log_density
from gaelp.learning.offline_log import CampaignLog
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import (
    WARM_UP_DAYS,
    Tick,
    make_brief,
    make_market,
    open_account,
    panel_budget,
    run_off,
    warm_up,
)
from gaelp.worlds.registry import TrainedLines
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import tuned_for

Floats = NDArray[np.float64]


def base_name(base: TrainedLines, file: MarketFile) -> str:
    """12 digits over what a base policy learnt and its market: actions mean nothing on another."""
    told = [base.agent, base.multiplier, base.landing, base.settings, base.worth_usd, file.sha256]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


class Decider(Protocol):
    """Decides for worlds once a day, and knows the density of what it drew."""

    def decide(
        self, observation: NDArray[np.float32], generators: list[np.random.Generator]
    ) -> tuple[Floats, Floats]:
        """(n, N_GROUPS) actions and (n,) log densities; each world draws from its own generator."""


@dataclass(frozen=True)
class Noise:
    """The logging policy: the base, with normal noise on each price group's factor.

    Attributes:
        deviation: of each action, in units of `agents.controller.LARGEST` on a log scale; 0 is the base.
    """

    deviation: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.deviation <= 2.0:
            raise BadInput("noise", self.deviation, "must be from 0 to 2", "0.5 moves bids by a fifth.")

    def decide(
        self, observation: NDArray[np.float32], generators: list[np.random.Generator]
    ) -> tuple[Floats, Floats]:
        """Noise that knows nothing of what is seen."""
        z = np.stack([generator.standard_normal(N_GROUPS) for generator in generators])
        if self.deviation == 0.0:
            return np.zeros_like(z), np.zeros(len(z))  # nothing was drawn
        return self.deviation * z, normal_log_density(z, np.full(N_GROUPS, self.deviation))


class Worlds:
    """Warmed-up worlds of a split and their twin without ads, lived once for any number of flights.

    Args:
        file: the market. n_worlds, n_people, days, runoff_days: of the campaigns.
        split: train or validation. seed: names the worlds. tick: told the world-hours done.
    """

    def __init__(
        self,
        file: MarketFile,
        *,
        n_worlds: int,
        n_people: int,
        days: int,
        runoff_days: int,
        split: str = "train",
        seed: int = 0,
        tick: Tick = lambda _: None,
    ) -> None:
        self.file, self.days, self.runoff_days, self.tick = file, days, runoff_days, tick
        self.start = make_market(training_worlds(file, split, n_worlds, seed), n_people)
        self.traffic = warm_up(self.start, tick=tick)
        self.names = np.array([f"{split}-{world.seed:x}" for world in self.start.worlds], np.str_)
        twin = self.start.copy()
        without = [_expected(twin)]
        for _ in range(days + runoff_days):
            run_off(twin, 1, tick)
            without.append(_expected(twin))
        self.without = _by_day(without, days)

    def fly(
        self, make: Callable[[], Policy], decider: Decider, *, base: str = "", seed: int = 0
    ) -> CampaignLog:
        """Fly a policy with a decider's corrections, and log it.

        Args:
            make: makes the base policy. decider: corrects it each midnight. base: its `base_name`.
            seed: names the draws; a world's own do not depend on the others.
        """
        market = self.start.copy()
        tuned, n = tuned_for(self.file), market.n_worlds
        budget = np.maximum(panel_budget(market, None), 1e-9)
        brief = make_brief(market, budget, self.traffic, tuned, seed)
        platform = SimulatedPlatform(market)
        reports = platform.open(hours=24 * (self.days + self.runoff_days))
        account = open_account(platform, brief, seat=0, days=self.days)
        policy, observer = make(), observer_for(brief, 24 * self.days)
        policy.start(brief)
        keys = [named_seed("behaviour", seed, int(world.seed)) for world in market.worlds]
        generators = [np.random.default_rng(key) for key in keys]
        seen, done, density, sold = [], [], [], [_expected(market)]
        for hour in range(24 * self.days):
            view = account.view()
            rows = observer.observe(view)
            if hour % EVERY_HOURS == 0:
                action, logged = decider.decide(rows, generators)
                seen.append(rows)
                done.append(action)
                density.append(logged)
            account.submit(corrected(policy.act(view), action))
            platform.advance()
            self.tick(n)
            if (hour + 1) % 24 == 0:
                sold.append(_expected(market))
        platform.switch_off(seat=0)
        for _ in range(24 * self.runoff_days):
            platform.shown(seat=0)  # conversions are told, at the hour of their click
            platform.advance()
            self.tick(n)
        platform.shown(seat=0)
        sold.append(_expected(market))
        ltv, shape = self.file.ltv_usd, (n, self.days, 24, -1)
        clicked = reports.conversions[:, : 24 * self.days].reshape(shape).sum(axis=(2, 3))
        spend = reports.spend_micros[:, : 24 * self.days].reshape(shape).sum(axis=(2, 3)) / 1e6
        gained = _by_day(sold, self.days) - self.without
        # (n_days, n_worlds, ...) -> (n_worlds x n_days, ...)
        flat = [np.concatenate(np.swapaxes(np.array(part), 0, 1)) for part in (seen, done, density)]
        return CampaignLog(
            world=np.repeat(self.names, self.days),
            day=np.tile(np.arange(self.days), n),
            base=base,
            observations=flat[0].astype(np.float64),
            actions=flat[1],
            log_density=flat[2],
            budget_usd=np.repeat(budget, self.days),
            spend_usd=spend.ravel(),
            attributed_usd=ltv * clicked.ravel().astype(np.float64),
            incremental_usd=gained.ravel(),
            ended=np.tile(np.arange(self.days) == self.days - 1, n),
        )


def world_hours(n_worlds: int, days: int, runoff_days: int, flights: int = 1) -> int:
    """World-hours of `Worlds` and its flights, for a progress bar's total."""
    return n_worlds * 24 * (WARM_UP_DAYS + (1 + flights) * (days + runoff_days))


def _expected(market: Market) -> Floats:
    """(n_worlds,) USD of expected decisions so far."""
    expected: Floats = market.books.expected[:, 0, 1].copy()
    return expected


def _by_day(totals: list[Floats], days: int) -> Floats:
    """(n_worlds, n_days) gains between totals; all after the last day belongs to it."""
    ends = np.stack([*totals[:days], totals[-1]], axis=1)
    gains: Floats = np.diff(ends, axis=1)
    return gains
