"""Policies of the auctionnet: each tick they set one multiplier a seat, and a seat bids multiplier x value.

Value is the predicted chance of a conversion, so the multiplier is what a seat would pay for a conversion, in
the unit of money of its budget. A policy decides for all seats of all periods at once; a seat's multiplier
depends on that seat's own past alone, so whoever else sits at the table does not change the rule.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.observation.features import Feature, FeatureTable

if TYPE_CHECKING:  # they bring torch
    from torch import Tensor

    from gaelp.agents.networks import ActorCritic

Floats = NDArray[np.float64]


def _features() -> FeatureTable:
    limits, values = "multiple of CPA limit x base value", "multiple of base value"
    of_period, returned = "share of a period's opportunities", "conversions x CPA limit / budget"
    said = "auction log of the seat"
    table = [
        Feature("time_left", "share", "ticks left / ticks", "clock"),
        Feature("budget_left", "share", "left / budget", "account"),
        Feature("bid", limits, "mean of the opportunities so far", said),
        Feature("bid_last_3", limits, "mean of the last three ticks", said),
        Feature("least_winning_cost", limits, "mean of the opportunities so far", said),
        Feature("value", values, "mean of the opportunities so far", said),
        Feature("conversions", returned, "mean of the opportunities so far x those of a period", said),
        Feature("win_rate", "wins per opportunity", "of the opportunities so far", said),
        Feature("least_winning_cost_last_3", limits, "mean of the last three ticks", said),
        Feature("value_last_3", values, "mean of the last three ticks", said),
        Feature("conversions_last_3", returned, "mean of the last three ticks x those of a period", said),
        Feature("win_rate_last_3", "wins per opportunity", "of the last three ticks", said),
        Feature("value_now", values, "mean of the coming opportunities", said),
        Feature("opportunities_now", of_period, "coming opportunities x ticks", said),
        Feature("opportunities_last_3", of_period, "of the last three ticks", said),
        Feature("opportunities", of_period, "so far", said),
        Feature("cost", "multiple of CPA limit", "spend / predicted conversions so far, at most 3", said),
        Feature(
            "budget", "share", "budget / (CPA limit x base value x opportunities of a period)", "account"
        ),
    ]
    return FeatureTable("yardstick", tuple(table))


AUCTIONNET_FEATURES = _features()
"""The sixteen numbers of AuctionNet's learnt policies, in its order, without units of money; then two more.

Without the two a seat cannot tell whether it keeps its limit, which its score hangs on.

Source: alimama-tech/AuctionNet on GitHub, `strategy_train_env/bidding_train_env/strategy/`.
"""

CORRECTION_FEATURES = FeatureTable(
    "auctionnet correction",
    (*AUCTIONNET_FEATURES.features, Feature("base", "nats", "ln(base's multiplier / CPA limit)", "own rule")),
)
"""What a network sees that corrects another policy: the same numbers, and what that policy would do."""
LARGEST_CORRECTION = 3.0
"""A correction of 1 multiplies what the base would bid by this, one of -1 divides it."""


@dataclass(frozen=True, kw_only=True)
class SeatView:
    """What every seat knows before a tick; arrays are (n_periods, n_seats) where not said otherwise.

    Attributes:
        tick, n_ticks: the coming tick, from 0, and how many there are.
        budget, limit: of a period: money, and the most that a conversion should cost on average.
        left: money left.
        spend: money paid in the last tick.
        worth: predicted conversions of what was shown in the last tick.
        features: (n_periods, n_seats, 18), `AUCTIONNET_FEATURES`.
    """

    tick: int
    n_ticks: int
    budget: Floats
    limit: Floats
    left: Floats
    spend: Floats
    worth: Floats
    features: Floats


class SeatPolicy(Protocol):
    """Sets multipliers tick by tick; a view with tick 0 begins a period and forgets the last one."""

    name: str

    def act(self, view: SeatView) -> Floats:
        """(n_periods, n_seats) multipliers >= 0 for the coming tick."""


@dataclass
class Fixed:
    """Pays the CPA limit for a conversion, always.

    Attributes:
        factor: on the limit.
    """

    factor: float = 1.0
    name: str = "fixed"

    def act(self, view: SeatView) -> Floats:
        """The limit, times the factor."""
        return self.factor * view.limit


@dataclass
class StepPid:
    """AuctionNet's "PID": a step up by 1.2 where spend lags, a step down by 0.7 where it runs ahead.

    The last tick's spend, projected to the end, is compared with the money left: under 0.7 of it raises the
    multiplier, over 1.1 lowers it. It begins at the CPA limit, AuctionNet's at 15; AuctionNet's also misreads
    the first tick's spend of every period but the first, which is not copied.

    Source: alimama-tech/AuctionNet, `simul_bidding_env/strategy/pid_bidding_strategy.py`.
    """

    name: str = "step_pid"
    _multiplier: Floats | None = field(default=None, repr=False)

    def act(self, view: SeatView) -> Floats:
        """One step from the last multiplier."""
        if view.tick == 0 or self._multiplier is None:
            self._multiplier = view.limit.copy()
            return self._multiplier
        projected = view.spend * (view.n_ticks - view.tick) / np.maximum(view.left, 1e-9)
        step = np.where(projected < 0.7, 1.2, np.where(projected > 1.1, 0.7, 1.0))
        self._multiplier = self._multiplier * step
        return self._multiplier


@dataclass(frozen=True)
class CostCurve:
    """What all opportunities at or under a cost per value would have cost one seat, from earlier periods.

    Attributes:
        edge: (n_bins,) upper ends of the bins of least winning cost / value, rising.
        cost: (n_ticks, n_bins) mean cost of a seat and period in each bin at full traffic, money.
        traffic: (n_ticks,) share of opportunities.
    """

    edge: Floats
    cost: Floats
    traffic: Floats

    def cut_off(self, tick: int, left: Floats) -> Floats:
        """Cost per value up to which buying all from `tick` on uses `left`; inf where it never does."""
        total = self.cost[tick:].sum(axis=0).cumsum()
        at = np.searchsorted(total, left, side="right")
        found: Floats = np.append(self.edge, np.inf)[at]
        return found


@dataclass
class OnlineLp:
    """Buys what would have used the money left in earlier periods, at no more than 1.5 CPA limits.

    Where an earlier period held too little to use the money, it pays the limit, as AuctionNet's does.

    Source: alimama-tech/AuctionNet, `simul_bidding_env/strategy/onlinelp_bidding_strategy.py`.

    Attributes:
        curve: of earlier periods.
    """

    curve: CostCurve
    cap: float = 1.5
    name: str = "online_lp"

    def act(self, view: SeatView) -> Floats:
        """The cut-off of the curve, capped."""
        cut = self.curve.cut_off(view.tick, view.left)
        return np.minimum(np.where(np.isfinite(cut), cut, view.limit), self.cap * view.limit)


@dataclass
class Dual:
    """Two duals in one bid: lambda for the budget, mu for the CPA limit.

    Value less lambda x cost less mu x (cost - limit x value) is largest at the multiplier (1 + mu x limit) /
    (lambda + mu). Both duals move by exponentiated gradient: lambda on the last tick's spend against its plan
    (money left, spread over the traffic to come), mu on spend against limit x predicted conversions. Lambda
    begins at one over the cut-off of earlier periods.

    Source: Balseiro, Lu, Mirrokni, "The best of many worlds: dual mirror descent for online allocation
    problems", Operations Research 71(1), 2023; Balseiro et al., "A field guide for pacing budget and ROS
    constraints", arXiv 2302.08530 (one bid from both duals).

    Attributes:
        curve: of earlier periods.
        budget_step, limit_step: of the two duals, tuned on periods that are in no table.
        margin: share of the limit that is aimed at: what counts are conversions, not predictions of them.
    """

    curve: CostCurve
    budget_step: float = 0.02
    limit_step: float = 0.8
    margin: float = 0.95
    name: str = "dual"
    _lambda: Floats | None = field(default=None, repr=False)  # both duals in units of 1 / aim
    _mu: Floats | None = field(default=None, repr=False)
    _plan: Floats | None = field(default=None, repr=False)

    def act(self, view: SeatView) -> Floats:
        """One step of both duals, then their multiplier."""
        aim = self.margin * view.limit
        if view.tick == 0 or self._lambda is None or self._mu is None or self._plan is None:
            cut = self.curve.cut_off(0, view.budget)
            self._lambda = np.clip(aim / cut, 0.05, 20.0)
            self._mu = np.ones_like(aim)
        else:
            plan = np.maximum(self._plan, 1e-9)
            over_plan = np.clip(view.spend / plan - 1.0, -1.0, 1.0)
            over_limit = np.clip((view.spend - aim * view.worth) / plan, -1.0, 1.0)
            self._lambda = np.clip(self._lambda * np.exp(self.budget_step * over_plan), 0.05, 20.0)
            self._mu = np.clip(self._mu * np.exp(self.limit_step * over_limit), 0.05, 20.0)
        to_come = self.curve.traffic[view.tick :]
        self._plan = view.left * to_come[0] / to_come.sum()
        return aim * (1.0 + self._mu) / (self._lambda + self._mu)


@dataclass
class Mixed:
    """Seat i follows the policy with number i modulo how many there are.

    Attributes:
        policies: in the order of seats.
    """

    policies: Sequence[SeatPolicy]
    name: str = "mixed"

    def act(self, view: SeatView) -> Floats:
        """Each seat's multiplier from its own policy."""
        seat = np.arange(view.limit.shape[1]) % len(self.policies)
        chosen = np.empty_like(view.limit)
        for i, policy in enumerate(self.policies):
            chosen[:, seat == i] = policy.act(view)[:, seat == i]
        return chosen


@dataclass(frozen=True)
class Network:
    """A trained multilayer perceptron with ReLU between layers, from features to one action; NumPy alone.

    Attributes:
        mean, scale: (n_features,) the input is (features - mean) / scale.
        weights, biases: per layer, (n_out, n_in) and (n_out,).
        low, high: bounds of the action, as its log held them.
        squash: whether tanh takes the output between the bounds; else it is clipped.
    """

    mean: Floats
    scale: Floats
    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    low: float
    high: float
    squash: bool = False

    def action(self, features: Floats) -> Floats:
        """(...,) actions, ln(multiplier / CPA limit), of (..., n_features) features."""
        hidden = (features - self.mean) / self.scale
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ weight.T + bias
            if i < len(self.weights) - 1:
                hidden = np.maximum(hidden, 0.0)
        out = hidden[..., 0]
        if self.squash:
            out = self.low + (np.tanh(out) + 1.0) / 2.0 * (self.high - self.low)
        return np.clip(out, self.low, self.high)

    def save(self, path: Path) -> None:
        """Write an npz file that names the features it wants."""
        told = {"version": AUCTIONNET_FEATURES.version, "names": AUCTIONNET_FEATURES.names}
        arrays = {f"weight_{i}": weight for i, weight in enumerate(self.weights)}
        arrays |= {f"bias_{i}": bias for i, bias in enumerate(self.biases)}
        arrays |= {"mean": self.mean, "scale": self.scale, "squash": np.array(self.squash)}
        arrays |= {"low": np.array(self.low), "high": np.array(self.high)}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, features=np.array(json.dumps(told)), **arrays)

    @classmethod
    def load(cls, path: Path) -> "Network":
        """Read what `save` wrote.

        Raises:
            BadInput: it is no such file. MismatchError: it wants other features.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            told = json.loads(str(found["features"]))
            n_layers = sum(name.startswith("weight_") for name in found)
            network = cls(
                mean=found["mean"],
                scale=found["scale"],
                weights=tuple(found[f"weight_{i}"] for i in range(n_layers)),
                biases=tuple(found[f"bias_{i}"] for i in range(n_layers)),
                low=float(found["low"]),
                high=float(found["high"]),
                squash=bool(found["squash"]),
            )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BadInput(
                "network", str(path), "must be a file that Network.save wrote", "Train and save it again."
            ) from error
        AUCTIONNET_FEATURES.require(told["version"], told["names"])
        return network


@dataclass
class Learned:
    """What a trained network says, without noise.

    Attributes:
        network: of `learning.offline` or another learner that writes such files.
    """

    network: Network
    name: str = "learned"

    def act(self, view: SeatView) -> Floats:
        """The limit times the exponential of the network's action."""
        return view.limit * np.exp(self.network.action(view.features))


def correction_observation(view: SeatView, base: Floats) -> NDArray[np.float32]:
    """(n_periods, n_seats, 19), `CORRECTION_FEATURES`; base is (n_periods, n_seats) multipliers."""
    said = np.log(np.maximum(base / view.limit, 1e-9))
    return np.concatenate((view.features, said[..., None]), axis=-1).astype(np.float32)


def correction(action: NDArray[np.floating]) -> Floats:
    """Factors on the base's multipliers of actions, which are cut to -1 to 1.

    >>> correction(np.array([0.0, 1.0, -7.0])).round(3).tolist()
    [1.0, 3.0, 0.333]
    """
    factor: Floats = LARGEST_CORRECTION ** np.clip(action.astype(np.float64), -1.0, 1.0)
    return factor


@dataclass
class Corrected:
    """Another policy's multiplier, times what a trained network's likeliest action says.

    Attributes:
        base: what is corrected; an action of 0 leaves it as it is.
        network: of `CORRECTION_FEATURES` and one action; it may remember what a seat saw before.
    """

    base: SeatPolicy
    network: "ActorCritic"
    name: str = "corrected"
    _state: "Tensor | None" = field(default=None, repr=False)

    def act(self, view: SeatView) -> Floats:
        """The base's multiplier, corrected."""
        usual = self.base.act(view)
        if view.tick == 0 or self._state is None:
            self._state = self.network.first_state(usual.size)
        seen = correction_observation(view, usual).reshape(usual.size, -1)
        action, _, _, self._state = self.network.act(seen, self._state)
        return usual * correction(action[:, 0]).reshape(usual.shape)
