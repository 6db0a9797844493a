"""PPO on journeys: a factor on the bid for a person, learnt by what impressions are worth and cost.

Given the multiplier people are independent, so a sequence is what one person's auctions were, as the account
knows people. The reward of a bid is the expected incremental value of the impression it wins, less its price
in dollars of value: price over the multiplier. Outcomes of every bid are noted in the rows
(`journey_rows_of(priced=True)`), so nothing is flown while it learns; what a bid changes in the person's
later auctions is in the value of the impression alone.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from gaelp.agents.networks import ActorCritic, NetworkShape
from gaelp.agents.seat import PROGRAMMATIC, Asked
from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES, Channel, Device
from gaelp.learning.journey_value import LineWorths
from gaelp.learning.journey_value_data import BID_LEVELS, JourneyRows
from gaelp.learning.ppo import PPO, PPOSettings
from gaelp.observation.features import Feature, FeatureTable
from gaelp.observation.journey import JOURNEY_FEATURES, Normaliser

Floats = NDArray[np.float64]
Rows = NDArray[np.float32]

LARGEST: Final = 4.0
"""An action of 1 multiplies the bid by this, one of -1 divides it."""
SEAT_FEATURES: Final = FeatureTable(
    "seat",
    (
        *JOURNEY_FEATURES.features,
        Feature("seat.log_bid", "log USD per 1000", "log of the bid before the factor", "value model, level"),
        Feature("seat.log_worth", "log ratio", "predicted worth over the line's mean", "value model"),
        Feature("seat.video", "0 or 1", "sold at the second price", "the auction"),
        Feature("seat.retargeting", "0 or 1", "else display or video", "the auction"),
        Feature("seat.desktop", "0 or 1", "else mobile", "the auction"),
    ),
)
_VIDEO, _RETARGETING, _DESKTOP = (
    np.array([1.0 if test(line) else 0.0 for line in LINES])
    for test in (
        lambda line: line.channel is Channel.VIDEO,
        lambda line: line.channel is Channel.RETARGETING,
        lambda line: line.device is Device.DESKTOP,
    )
)


def observe(
    normaliser: Normaliser, worths: LineWorths, features: Rows, line: NDArray[np.integer], base_cpm: Floats,
    worth_usd: Floats,
) -> Rows:  # fmt: skip
    """(n, 46) what the network sees: `SEAT_FEATURES` of auctions; shapes as in `Correction.factor`."""
    more = [
        np.log(np.maximum(base_cpm, 1e-6)),
        np.log(np.maximum(worth_usd, 1e-9) / worths.everybody[line]),
        *(flag[line] for flag in (_VIDEO, _RETARGETING, _DESKTOP)),
    ]
    return np.concatenate([normaliser.apply(features), np.stack(more, axis=1)], axis=1).astype(np.float32)


def factor_of(action: NDArray[np.floating]) -> Floats:
    """(n,) factors on bids for (n, 1) actions, cut to -1 to 1.

    >>> factor_of(np.array([[0.0], [1.0], [-7.0]])).tolist()
    [1.0, 4.0, 0.25]
    """
    return LARGEST ** np.clip(np.asarray(action, np.float64)[:, 0], -1.0, 1.0)


class JourneyAuctions:
    """Auctions of people one after another, `n` people side by side; a `BatchEnvironment`.

    Args:
        rows: with prices, of lines that a seat buys; the rest is left out. A stranger's auction is a sequence
            of its own.
        observation: (n_rows, n_features) of each row. base_cpm: (n_rows,) bids before the factor.
        multiplier: (n_rows,) dollars bid per dollar of value, where the price of money comes from.
        n: people side by side. seed: names the draws with the epoch.

    Raises:
        BadInput: rows without prices, or none of a seat's lines.
    """

    def __init__(
        self,
        rows: JourneyRows,
        observation: Rows,
        base_cpm: Floats,
        multiplier: Floats,
        *,
        n: int = 256,
        seed: int = 0,
    ) -> None:
        if rows.paid.shape[1] != BID_LEVELS.size:
            allowed = f"must be (n, {BID_LEVELS.size})"
            raise BadInput("rows.paid.shape", rows.paid.shape, allowed, "Make the rows with `priced=True`.")
        mine = np.flatnonzero(PROGRAMMATIC[rows.line])
        if not mine.size:
            raise BadInput("rows", len(rows), "must have auctions of a seat's lines", "Fly longer.")
        who = rows.sequence.copy()
        strangers = who < 0
        who[strangers] = who.max(initial=0) + 1 + np.arange(int(strangers.sum()))
        self._order = mine[np.lexsort((rows.hour[mine], who[mine]))]
        begins = np.flatnonzero(np.diff(who[self._order], prepend=-1))
        self._begin, self._end = begins, np.append(begins[1:], self._order.size)
        self.rows, self.observation, self.base, self.multiplier = rows, observation, base_cpm, multiplier
        self.n, self.seed = n, seed
        self.time, self.weight = np.zeros(n), np.ones(n)

    def reset(self, epoch: int) -> Rows:
        """Begin with people drawn by the epoch."""
        self._draws = np.random.default_rng((self.seed, epoch))
        self._at, self._last = np.zeros((2, self.n), np.int64)
        self._over = np.ones(self.n, bool)
        self._begin_where_over()
        self._over[:] = False
        return self._see()

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Rows, Floats, Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Bid once for each person; see `BatchEnvironment.step`."""
        reward, cost = np.zeros(self.n), np.zeros(self.n)
        plays = ~self._over
        row = self._order[self._at[plays]]
        reward[plays], cost[plays] = self.outcome(row, factor_of(actions[plays]))
        ended = plays & (self._at + 1 == self._last)
        self._begin_where_over()
        goes_on = plays & ~ended
        self._at[goes_on] += 1
        self._over = ended
        return self._see(), reward, cost, ended, np.zeros(self.n, bool)

    def outcome(self, row: NDArray[np.int64], factor: Floats) -> tuple[Floats, Floats]:
        """(n,) rewards and (n,) USD paid for bids of `factor` times the base, cut to the grid below them."""
        level = np.searchsorted(BID_LEVELS, self.base[row] * factor, side="right") - 1
        paid = self.rows.paid[row, level]
        cost = np.maximum(paid, 0) / MICROS_PER_USD
        worth = np.where(paid >= 0, self.rows.worth_usd[row], 0.0)
        return worth - cost / self.multiplier[row], cost

    def _begin_where_over(self) -> None:
        which = self._draws.integers(0, self._begin.size, self.n)  # as many draws whoever is over
        self._at = np.where(self._over, self._begin[which], self._at)
        self._last = np.where(self._over, self._end[which], self._last)

    def _see(self) -> Rows:
        row = self._order[self._at]
        self.time = self.rows.hour[row].astype(np.float64)
        return self.observation[row]


def new_network(core: str = "gru", *, units: int = 32, seed: int = 0) -> ActorCritic:
    """A network whose likeliest factor is near 1."""
    shape = NetworkShape(core=core, units=units, n_actions=1, first_log_std=-1.0)
    return ActorCritic(SEAT_FEATURES, shape, seed=seed)


def settings(epochs: int, *, steps: int = 32, seed: int = 0) -> PPOSettings:
    """How it learns: the label of an auction holds what comes of it later, so nothing else is to come."""
    return PPOSettings(
        epochs=epochs,
        steps=steps,
        gamma=1e-9,
        lam=1.0,
        passes=8,
        minibatch_rows=2048,
        learning_rate=3e-3,
        kl_stop=0.05,
        seed=seed,
    )


def train(
    rows: JourneyRows, base_cpm: Floats, worth_usd: Floats, multiplier: Floats, normaliser: Normaliser,
    worths: LineWorths, *, epochs: int, core: str = "gru", n: int = 256, seed: int = 0,
) -> tuple[PPO, list[float]]:  # fmt: skip
    """Learn a factor on bids for people.

    Args:
        rows: with prices. base_cpm, worth_usd, multiplier: (n_rows,) as in `JourneyAuctions` and
            `Correction.factor`. normaliser, worths: of the value model. epochs: of acting and learning.
        core: of the network. n: people side by side. seed: of weights and draws.

    Returns:
        The training, and the mean reward of a sequence in each epoch.
    """
    observation = observe(normaliser, worths, rows.features, rows.line, base_cpm, worth_usd)
    environment = JourneyAuctions(rows, observation, base_cpm, multiplier, n=n, seed=seed)
    ppo = PPO(new_network(core, seed=seed), settings(epochs, seed=seed))
    return ppo, [report["reward"] for report in ppo.train(environment)]


@dataclass
class NetworkCorrection:
    """A trained network as a `Correction`: its likeliest factor, person by person.

    Attributes:
        network: on `SEAT_FEATURES`. normaliser, worths: of the value model below it.
    """

    network: ActorCritic
    normaliser: Normaliser
    worths: LineWorths
    _state: list[torch.Tensor] = field(default_factory=list, repr=False)

    def start(self, n_worlds: int) -> None:
        """Remember nobody."""
        self._state = [self.network.first_state(1) for _ in range(n_worlds)]

    def factor(self, asked: Asked, base_cpm: Floats, worth_usd: Floats) -> Floats:
        """(n,) on bids of `base_cpm` for impressions predicted to be worth `worth_usd`; world by world."""
        seen = observe(self.normaliser, self.worths, asked.features, asked.line, base_cpm, worth_usd)
        found = np.ones(len(asked))
        begins = np.searchsorted(asked.world, np.arange(len(self._state) + 1))
        for w in range(len(self._state)):
            mine = slice(begins[w], begins[w + 1])
            if begins[w] == begins[w + 1]:
                continue
            person = asked.person[mine]
            short = int(person.max()) + 1 - len(self._state[w])
            if short > 0:
                self._state[w] = torch.cat([self._state[w], self.network.first_state(2 * short)])
            known = torch.from_numpy(person >= 0)
            state = self._state[w][torch.from_numpy(np.maximum(person, 0))].clone()
            state[~known] = 0.0  # a stranger brings nothing
            action, _, _, after = self.network.act(seen[mine], state)
            self._state[w][torch.from_numpy(person)[known]] = after[known]
            found[mine] = factor_of(action)
        return found
