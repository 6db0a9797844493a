"""Recurrent PPO in the auctionnet: a network that corrects dual pacing, as `controller` corrects `value`.

An action multiplies the multiplier of `dual` by `correction`; it begins as `dual`. Its seats are drawn anew
for each period, the stated rivals have the others. The reward is that of the log (`auctionnet_log`): what a
tick adds to the score of predicted conversions, in budgets. Practice and validation have their own families
of periods, apart from those of the table, its log and its cost curve.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gaelp.agents.auctionnet_policies import (
    CORRECTION_FEATURES,
    LARGEST_CORRECTION,
    CostCurve,
    Dual,
    correction,
    correction_observation,
)
from gaelp.agents.networks import ActorCritic, NetworkShape
from gaelp.core.errors import BadInput
from gaelp.core.random import named_seed
from gaelp.learning.ppo import PPO, PPOSettings
from gaelp.learning.rollouts import collect
from gaelp.worlds.auctionnet import AuctionNet
from gaelp.worlds.auctionnet_flight import stated_rivals
from gaelp.worlds.auctionnet_task import N_SEATS, N_TICKS, AuctionNetSettings, score

PRACTICE_SEED, VALIDATION_SEED = 3, 77
"""Families of periods. `dual` and `iql` were tuned on a few of 77, too; here it is those from 1,000 on."""
_FIRST_VALIDATION = 1000

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Told = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PracticeSettings:
    """How the network is trained and examined.

    Attributes:
        epochs: of practice. periods: in an epoch. seats: of each that the network has, the rest are rivals'.
        fewer: opportunities are so many times fewer, and worth and floored as many times higher, so prices
            of a conversion, budgets and luck stay as they are; one period costs a tenth of the time at 16.
        validate_every: epochs. validation_periods: always the same, a quarter of the seats in each.
        core, first_log_std: see `NetworkShape`. learning_rate, lam, minibatch_rows, kl_stop, entropy: see
            `PPOSettings`. seed: of weights and draws.
    """

    epochs: int = 160
    periods: int = 12
    seats: int = 24
    fewer: int = 16
    validate_every: int = 20
    validation_periods: int = 32
    core: str = "gru"
    learning_rate: float = 3e-3
    lam: float = 0.95
    minibatch_rows: int = 1_728
    kl_stop: float = 0.05
    first_log_std: float = -1.5
    entropy: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "periods", "fewer", "validate_every", "validation_periods"):
            if getattr(self, name) < 1:
                raise BadInput(name, getattr(self, name), "must be at least 1", "The defaults are a start.")
        if not 1 <= self.seats <= N_SEATS:
            raise BadInput("seats", self.seats, f"must be from 1 to {N_SEATS}", "A quarter to all is usual.")


class Practice:
    """Seats of several periods as rows of PPO's environment; one sequence a seat and epoch.

    Args:
        curve: of earlier periods. n_periods: side by side. n_seats: of each, drawn for each period.
        seed: names the family of periods. first: number of the first. settings: of the task.

    Attributes:
        time: (n,) ticks. period, seat: (n,) whose row it is.
        weight: (n,) budget / limit over its mean, as the table takes means of scores, not of budgets' worth.
        spend, worth: (n,) so far. limit, budget: (n,).
    """

    def __init__(
        self,
        curve: CostCurve,
        n_periods: int,
        n_seats: int,
        *,
        seed: int,
        first: int = 0,
        settings: AuctionNetSettings | None = None,
    ) -> None:
        self._env = AuctionNet(n_periods, settings)
        self._rivals, self._base = stated_rivals(curve), Dual(curve)
        self._n_seats, self._seed, self._first = n_seats, seed, first
        n = n_periods * n_seats
        self.period = np.repeat(np.arange(n_periods), n_seats)
        self.time, self.weight = np.zeros(n), np.ones(n)
        self._typical = float((self._env.budget / self._env.limit).mean())

    def reset(self, epoch: int) -> NDArray[np.float32]:
        """Begin the periods of an epoch, and draw who sits where."""
        n_periods = self._env.n_periods
        numbers = range(self._first + epoch * n_periods, self._first + (epoch + 1) * n_periods)
        root = named_seed("seats", self._seed)
        drawn = [np.random.default_rng((root, number)).permutation(N_SEATS) for number in numbers]
        self.seat = np.concatenate([np.sort(each[: self._n_seats]) for each in drawn])
        self._row = self.period, self.seat
        self._env.reset(self._seed, numbers)
        self.limit, self.budget = self._env.limit[self._row], self._env.budget[self._row]
        self.weight = self.budget / self.limit / self._typical
        self.spend, self.worth = np.zeros(len(self.time)), np.zeros(len(self.time))
        self.time = np.zeros(len(self.time))
        return self._observe()

    def step(self, actions: NDArray[np.float32]) -> tuple[NDArray[np.float32], Floats, Floats, Flags, Flags]:
        """One tick; rivals decide for the other seats."""
        before = self._reached()
        multiplier = self._others.copy()
        multiplier[self._row] = self._usual[self._row] * correction(actions[:, 0])
        outcome = self._env.step(multiplier)
        self.spend = self.spend + outcome.spend[self._row]
        self.worth = self.worth + outcome.worth[self._row]
        self.time = self.time + 1.0
        ended = np.full(len(self.time), self._env.tick == N_TICKS)
        seen = self._seen if ended.all() else self._observe()
        none = np.zeros(len(self.time))
        return seen, self._reached() - before, none, ended, none.astype(bool)

    def _reached(self) -> Floats:
        return score(self.worth, self.spend, self.limit) * self.limit / self.budget

    def _observe(self) -> NDArray[np.float32]:
        view = self._env.view()
        self._others, self._usual = self._rivals.act(view), self._base.act(view)
        self._seen = correction_observation(view, self._usual)[self._row]
        return self._seen


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What a network scores in validation periods; (n,) seats and periods, always the same.

    Attributes:
        predicted: score of predicted conversions. period: which.
    """

    predicted: Floats
    period: NDArray[np.int64]

    def gain(self, other: "Examined") -> tuple[float, float]:
        """Mean predicted score less another's, and its standard error over periods."""
        each = self.predicted - other.predicted
        mean = np.array([each[self.period == p].mean() for p in np.unique(self.period)])
        return float(mean.mean()), float(mean.std(ddof=1) / np.sqrt(len(mean))) if len(mean) > 1 else 0.0


def examine(
    network: ActorCritic, curve: CostCurve, practice: PracticeSettings, task: AuctionNetSettings
) -> Examined:
    """Fly the validation periods with a network's likeliest actions."""
    flown = Practice(
        curve,
        practice.validation_periods,
        N_SEATS // 4,
        seed=VALIDATION_SEED,
        first=_FIRST_VALIDATION,
        settings=fewer_and_larger(task, practice.fewer),
    )
    collect(flown, network, steps=N_TICKS, epoch=0, generator=None)
    return Examined(predicted=score(flown.worth, flown.spend, flown.limit), period=flown.period)


def fewer_and_larger(task: AuctionNetSettings, times: int) -> AuctionNetSettings:
    """The same market in fewer opportunities, each worth more, at the same price of a conversion."""
    return replace(
        task,
        n_opportunities=task.n_opportunities // times,
        base_value=task.base_value * times,
        floor=task.floor * times,
    )


def untrained(practice: PracticeSettings) -> ActorCritic:
    """A network whose likeliest action is 0 whatever it sees: `dual` itself."""
    shape = NetworkShape(core=practice.core, n_actions=1, first_log_std=practice.first_log_std)
    network = ActorCritic(CORRECTION_FEATURES, shape, seed=practice.seed)
    torch.nn.init.zeros_(network.policy.weight)
    return network


def train(
    path: Path,
    curve: CostCurve,
    practice: PracticeSettings | None = None,
    task: AuctionNetSettings | None = None,
    told: Told = lambda _: None,
) -> ActorCritic:
    """The network that gained most over `dual` in validation; `dual` itself where none gained.

    Args:
        path: of the checkpoint, kept at each validation; what stands there is gone on with, bit for bit.
        curve: of earlier periods. practice, task: must be those that a checkpoint was begun with.
        told: called with a line of progress.

    Raises:
        BadInput: the checkpoint was begun with other settings, or is none.
    """
    how, task = practice or PracticeSettings(), task or AuctionNetSettings()
    begun: dict[str, Any] = {"practice": asdict(how), "task": asdict(task) | {"shown": list(task.shown)}}
    begun["largest"] = LARGEST_CORRECTION
    if path.exists():
        ppo = PPO.load(path, CORRECTION_FEATURES)
        if ppo.notes.get("begun") != begun:
            remedy = "Name another folder, or delete this file."
            raise BadInput("ppo", str(path), "must be made with the same settings", remedy)
    else:
        ppo = PPO(untrained(how), _learning(how))
        ppo.best, ppo.notes = untrained(how), {"begun": begun, "gain": 0.0, "best_epoch": 0, "history": []}
    if ppo.epoch < how.epochs:
        world = Practice(
            curve,
            how.periods,
            how.seats,
            seed=PRACTICE_SEED,
            settings=fewer_and_larger(task, how.fewer),
        )
        reference = examine(untrained(how), curve, how, task)
        while ppo.epoch < how.epochs:
            following = (ppo.epoch // how.validate_every + 1) * how.validate_every
            reports = ppo.train(world, until=min(following, how.epochs))
            found = examine(ppo.network, curve, how, task)
            gain, error = found.gain(reference)
            if gain > ppo.notes["gain"]:
                ppo.best, ppo.notes["gain"], ppo.notes["best_epoch"] = ppo.network.copy(), gain, ppo.epoch
            ppo.notes["history"].append([ppo.epoch, gain, error])
            ppo.save(path)
            reward = np.mean([report["reward"] for report in reports])
            told(
                f"ppo: epoch {ppo.epoch} of {how.epochs}, return {reward:.3f}, in validation "
                f"{gain:+.2f} (standard error {error:.2f}) on {reference.predicted.mean():.2f} of dual"
            )
    assert ppo.best is not None
    return ppo.best


def _learning(how: PracticeSettings) -> PPOSettings:
    return PPOSettings(
        epochs=how.epochs,
        steps=N_TICKS,
        gamma=1.0,
        lam=how.lam,
        minibatch_rows=how.minibatch_rows,
        learning_rate=how.learning_rate,
        kl_stop=how.kl_stop,
        entropy=how.entropy,
        seed=how.seed,
    )
