"""Flights of the auctionnet: one seat a period under test, all others by a stated mix of policies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.auctionnet_policies import (
    CostCurve,
    Dual,
    Fixed,
    Mixed,
    OnlineLp,
    SeatPolicy,
    StepPid,
)
from gaelp.worlds.auctionnet import AuctionNet
from gaelp.worlds.auctionnet_task import N_SEATS, N_TICKS, TRAFFIC, AuctionNetSettings, score

Floats = NDArray[np.float64]

_SIDE_BY_SIDE = 6
_EVERY = 8
"""The cost curve reads every eighth opportunity, as AuctionNet's does."""
_EDGE: Floats = np.geomspace(1.0, 10_000.0, 400)


@dataclass(frozen=True, kw_only=True)
class Flown:
    """Results of a policy's seat, one number a period.

    Attributes:
        conversions, spend: of the period. worth: predicted conversions of what was shown.
        limit, budget: of the seat.
    """

    conversions: Floats
    spend: Floats
    worth: Floats
    limit: Floats
    budget: Floats

    @property
    def score(self) -> Floats:
        """Of the conversions that came."""
        return score(self.conversions, self.spend, self.limit)


def round_robin(periods: Sequence[int]) -> NDArray[np.int64]:
    """The seat under test in each period: its number modulo how many seats there are."""
    return np.asarray(periods, np.int64) % N_SEATS


def fly(
    policy: SeatPolicy,
    rivals: SeatPolicy,
    *,
    seed: int,
    periods: Sequence[int],
    settings: AuctionNetSettings | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Flown:
    """Fly periods in which the policy has one seat, round robin, and the rivals all others.

    Args:
        policy: under test. rivals: decides for the other 47 seats.
        seed, periods: which periods; two policies flown in the same ones are paired.
        settings: of the task. told: called with the periods done, as they come.
    """
    parts = []
    for first in range(0, len(periods), _SIDE_BY_SIDE):
        part = periods[first : first + _SIDE_BY_SIDE]
        env = AuctionNet(len(part), settings)
        seat, row = round_robin(part), np.arange(len(part))
        view = env.reset(seed, part)
        totals = np.zeros((3, len(part)))
        for tick in range(N_TICKS):
            multiplier = rivals.act(view).copy()
            multiplier[row, seat] = policy.act(view)[row, seat]
            outcome = env.step(multiplier)
            totals += np.stack((outcome.conversions, outcome.spend, outcome.worth))[:, row, seat]
            if tick < N_TICKS - 1:
                view = env.view()
        parts.append((*totals, env.limit[row, seat], env.budget[row, seat]))
        told(first + len(part))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    names = ("conversions", "spend", "worth", "limit", "budget")
    return Flown(**dict(zip(names, joined, strict=True)))


def cost_curve(
    policy: SeatPolicy, *, seed: int, periods: Sequence[int], settings: AuctionNetSettings | None = None
) -> CostCurve:
    """What opportunities cost by cost per value, in periods where all seats follow one policy.

    Categories are drawn alike, so the curve is the mean over all seats.
    """
    cost = np.zeros((N_TICKS, _EDGE.size + 1))
    for period in periods:
        env = AuctionNet(1, settings)
        view = env.reset(seed, [period])
        for tick in range(N_TICKS):
            env.step(policy.act(view))
            value, least = (part[::_EVERY] for part in env.opportunities[0])
            ratio = least[:, None] / np.maximum(value, 1e-12)
            each = np.broadcast_to(least[:, None], ratio.shape)
            bins = np.searchsorted(_EDGE, ratio)
            cost[tick] += np.bincount(bins.ravel(), each.ravel(), _EDGE.size + 1)
            if tick < N_TICKS - 1:
                view = env.view()
    scale = _EVERY / (N_SEATS * len(periods))
    return CostCurve(edge=_EDGE, cost=scale * cost[:, :-1], traffic=TRAFFIC)


def stated_rivals(curve: CostCurve) -> Mixed:
    """The rivals of every flight: fixed, step_pid, online_lp and dual by turns, a quarter of seats each."""
    return Mixed((Fixed(), StepPid(), OnlineLp(curve), Dual(curve)))


def earlier_periods(
    *, seed: int, n_periods: int = 3, settings: AuctionNetSettings | None = None
) -> CostCurve:
    """The cost curve among the stated rivals: flown once all fixed, then by rivals who know that curve."""
    first = cost_curve(Fixed(), seed=seed, periods=range(1), settings=settings)
    return cost_curve(stated_rivals(first), seed=seed, periods=range(1, 1 + n_periods), settings=settings)
