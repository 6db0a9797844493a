"""Campaigns as PPO plays them: a day is a step, and what counts is what the corrections changed.

Each world is flown twice with the same luck: with the network's corrections and with the base policy alone.
The reward of a day is the difference of expected incremental sales, in USD, less that of spend: the base is a
baseline that takes nearly all luck out and, as no action moves it, leaves the best policy what it is. Sales
still to come when the campaign ends are lived out, so nothing is cut off. Then each dollar of spend that the
corrections left short of 90 % of the budget costs two, as in all tuning. All in daily budgets.

An epoch's worlds are cut into chunks of a fixed size. A chunk holds all that its life depends on, so it can
be lived anywhere: `live` gives the same sequences, bit for bit, here, in another process or on Ray.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import observer_for
from gaelp.agents.baselines import FixedPolicy
from gaelp.agents.controller import EVERY_HOURS, N_GROUPS, actors_of, controller, corrected
from gaelp.agents.networks import ActorCritic
from gaelp.agents.policy import Brief, Policy
from gaelp.core.errors import BadInput
from gaelp.core.random import named_seed
from gaelp.learning.curriculum import harder
from gaelp.learning.practice import FULL_SPEND, SHORTFALL
from gaelp.learning.rollouts import collect
from gaelp.learning.sequences import Sequences, join
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.market.state import BIDS, WINS
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.executors import Executor
from gaelp.worlds.flight import (
    WARM_UP_DAYS,
    fly_together,
    make_brief,
    make_market,
    open_account,
    panel_budget,
    run_off,
    traffic_of,
)
from gaelp.worlds.registry import TrainedLines
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]


class Campaigns:
    """Training worlds side by side, new ones each epoch; see `ppo.BatchEnvironment`.

    Args:
        file: the market. base: makes the policy that is corrected. tuned: of the market's baselines.
        n_worlds, n_people, days, runoff_days: of the campaigns. seed: names the worlds.
        split: train or validation. first: number of the first world. level: of `curriculum.harder`.
        opponents: make the policies of further external seats, each with a budget like the first one's. They
            live the warm-up under the status quo too, and fly in both lives of a world.
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
        split: str = "train",
        first: int = 0,
        level: int = 0,
        opponents: Sequence[Callable[[], Policy]] = (),
    ) -> None:
        self._file, self._base, self._tuned = file, base, tuned
        self._n_worlds, self._n_people, self._seed = n_worlds, n_people, seed
        self._split, self._first, self._level = split, first, level
        self._opponents = opponents
        self.days, self.runoff_days = days, runoff_days
        self.time = np.zeros(n_worlds)
        self.weight = np.ones(n_worlds)
        self._day = days

    def reset(self, epoch: int) -> NDArray[np.float32]:
        """Begin campaigns in the worlds of an epoch."""
        drawn = 100_000 * (self._seed + 1) + epoch
        worlds = training_worlds(self._file, self._split, self._first + self._n_worlds, drawn)[self._first :]
        worlds = [world._replace(file=harder(world.file, self._level)) for world in worlds]
        market = make_market(worlds, self._n_people, n_seats=1 + len(self._opponents))
        forecasts = _warm_up_every_seat(market)
        self._budget = np.maximum(panel_budget(market, None), 1e-9)
        briefs = [make_brief(market, self._budget, traffic, self._tuned, 0) for traffic in forecasts]
        self._flown, self._plain = (
            _Side(world, [make() for make in (self._base, *self._opponents)], briefs, self.days)
            for world in (market, market.copy())
        )
        self._observer = observer_for(briefs[0], 24 * self.days)
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
        if over:
            # as in `Practice`: two dollars for each dollar short of full spend, and only for the changes
            full = FULL_SPEND * self._budget * self.days
            reward -= SHORTFALL * (self._flown.short(full) - self._plain.short(full))
        self.time = np.full(self._n_worlds, float(EVERY_HOURS * self._day))
        ended = np.full(self._n_worlds, over)
        return observation, reward / self._budget, np.zeros(self._n_worlds), ended, np.zeros_like(ended)

    def auctions(self) -> NDArray[np.int64]:
        """(2,) bids and wins of the corrected policy since `reset`, over all worlds and lines."""
        return self._flown.auctions()

    def spend_usd(self) -> float:
        """Of the corrected policy since `reset`, over all worlds."""
        return float(self._flown.spend().sum())


def _warm_up_every_seat(market: Market) -> list[Floats]:
    """`flight.warm_up` on all external seats at once; returns each one's (n_worlds, 168) forecast."""
    multiplier = market.worlds[0].file.status_quo_multiplier
    policies = [FixedPolicy(multiplier=multiplier) for _ in range(market.n_seats)]
    flights = fly_together(market, policies, days=WARM_UP_DAYS, traffic=None, keep_bids=False)
    return [traffic_of(market, flight) for flight in flights]


class _Side:
    """One life of the worlds: a market, the accounts of its seats and the policies that fly them.

    The first seat is the learner's: all figures are of it.
    """

    def __init__(
        self, market: Market, policies: Sequence[Policy], briefs: Sequence[Brief], days: int
    ) -> None:
        self.market = market
        self._platform = SimulatedPlatform(market)
        accounts = []
        for seat, (policy, brief) in enumerate(zip(policies, briefs, strict=True)):
            self._platform.open(seat=seat, hours=24 * days)
            accounts.append(open_account(self._platform, brief, seat=seat, days=days))
            policy.start(brief)
        self._reports = self._platform.reports[0]
        self.policy, self._account = policies[0], accounts[0]
        self._opponents = list(zip(accounts[1:], policies[1:], strict=True))
        self._start = market.books.expected[:, 0, 1].copy()
        self._before = market.books.report[:, 0].copy()
        self.view = self._account.view()

    def hour(self, actions: NDArray[np.float32]) -> None:
        self._account.submit(corrected(self.policy.act(self.view), actions))
        for account, policy in self._opponents:
            account.decide(policy)
        self._platform.advance()
        self.view = self._account.view()

    def spend(self) -> Floats:
        return self._reports.spend_micros.sum(axis=(1, 2)) / 1e6

    def profit(self) -> Floats:
        value: Floats = self.market.books.expected[:, 0, 1] - self._start - self.spend()
        return value

    def short(self, full: Floats) -> Floats:
        return np.maximum(full - self.spend(), 0.0)

    def auctions(self) -> NDArray[np.int64]:
        lived = (self.market.books.report[:, 0] - self._before).sum(axis=(0, 1))
        return lived[[BIDS, WINS]]


WORLDS_A_CHUNK = 25
"""Of training; the draws of actions go by chunk, so another size is another training."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some of an epoch's worlds, and who acts in them; it can be pickled.

    Attributes:
        file: the market. base: what is corrected. tuned: of the market's baselines.
        epoch, split, first, n_worlds, n_people, days, seed, level: of the worlds, see `Campaigns`.
        explores: draw actions, by seed, epoch and first world; else take the likeliest.
        header, weights: of the network, as `ActorCritic.header` and `arrays` say.
        opponents: weights of networks of the same make that correct `base` on further external seats.
    """

    file: MarketFile
    base: TrainedLines
    tuned: Tuned
    n_worlds: int
    n_people: int
    days: int
    seed: int = 0
    split: str = "train"
    explores: bool = True
    epoch: int = 0
    first: int = 0
    level: int = 0
    header: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]
    opponents: tuple[Mapping[str, NDArray[Any]], ...] = ()

    def network(self, weights: Mapping[str, NDArray[Any]]) -> ActorCritic:
        """A network of the chunk's make with these weights."""
        return ActorCritic.restored(self.header, weights, CAMPAIGN_FEATURES, "a chunk")

    def base_policy(self) -> Policy:
        """What is corrected."""
        return self.base.base(self.tuned)

    def opponent(self, weights: Mapping[str, NDArray[Any]]) -> Callable[[], Policy]:
        """A maker of the policy that corrects the base by a network with these weights."""
        actors = actors_of(self.network(weights))
        return lambda: controller(self.base_policy(), actors)


class Lived(NamedTuple):
    """What campaigns came to: a sequence a world, in order, (2,) bids and wins, and USD spent in all."""

    sequences: Sequences
    auctions: NDArray[np.int64]
    spend_usd: float

    @property
    def win_rate(self) -> float:
        """Wins per bid; NaN without a bid."""
        bids, wins = self.auctions.tolist()
        return wins / bids if bids else float("nan")

    @property
    def gain(self) -> Floats:
        """(n_worlds,) what the corrections gained, in daily budgets."""
        return self.sequences.total(self.sequences.payoff[:, 0])


def live(chunk: Chunk) -> Lived:
    """Let a chunk's network act in its worlds, from their first day to the last sale."""
    environment = Campaigns(
        chunk.file,
        chunk.base_policy,
        tuned=chunk.tuned,
        n_worlds=chunk.n_worlds,
        n_people=chunk.n_people,
        days=chunk.days,
        seed=chunk.seed,
        split=chunk.split,
        first=chunk.first,
        level=chunk.level,
        opponents=[chunk.opponent(weights) for weights in chunk.opponents],
    )
    luck = named_seed("actions", chunk.seed, chunk.epoch, chunk.first)
    generator = np.random.default_rng(luck) if chunk.explores else None
    network = chunk.network(chunk.weights)
    sequences = collect(environment, network, steps=chunk.days, epoch=chunk.epoch, generator=generator)
    return Lived(sequences, environment.auctions(), environment.spend_usd())


def live_everywhere(whole: Chunk, executor: Executor, worlds_a_chunk: int) -> Lived:
    """Cut worlds into chunks, let an executor live them, and join them in order."""
    firsts = range(whole.first, whole.first + whole.n_worlds, worlds_a_chunk)
    end = firsts.start + whole.n_worlds
    chunks = [replace(whole, first=first, n_worlds=min(worlds_a_chunk, end - first)) for first in firsts]
    parts = executor.map(live, chunks)
    auctions = np.sum([part.auctions for part in parts], axis=0)
    spend = sum(part.spend_usd for part in parts)
    return Lived(join([part.sequences for part in parts]), auctions, spend)
