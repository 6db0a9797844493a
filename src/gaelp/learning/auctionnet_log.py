"""Logs of the auctionnet: what seats did under a behaviour policy with noise of known density."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.auctionnet_policies import AUCTIONNET_FEATURES, SeatPolicy
from gaelp.core.random import named_seed
from gaelp.learning.offline import Log
from gaelp.worlds.auctionnet import AuctionNet
from gaelp.worlds.auctionnet_task import N_SEATS, N_TICKS, AuctionNetSettings, score

Floats = NDArray[np.float64]


def collect_log(
    policy: SeatPolicy,
    *,
    seed: int,
    periods: Sequence[int],
    noise: float = 0.25,
    settings: AuctionNetSettings | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Log:
    """Fly periods in which every seat follows a policy with noise, and log them all.

    The action is ln(multiplier / CPA limit): the policy's, kept from ln 0.2 to ln 3, plus normal noise. The
    reward is what a tick adds to the score so far, of predicted conversions, x CPA limit / budget: the
    rewards of a period sum to its score in that unit.

    Args:
        policy: of all seats. seed, periods: which periods. noise: standard deviation of the action.
        settings: of the task. told: called with the periods done.

    Returns:
        One episode of 48 steps for each seat and period.
    """
    parts: list[tuple[NDArray[np.generic], ...]] = []
    for done, period in enumerate(periods, start=1):
        env = AuctionNet(1, settings)
        view = env.reset(seed, [period])
        rng = np.random.default_rng((named_seed("behaviour", seed), period))
        shape = (N_TICKS, N_SEATS)
        observation, action = np.zeros((*shape, len(AUCTIONNET_FEATURES))), np.zeros(shape)
        density, reward = np.zeros(shape), np.zeros(shape)
        spend, worth, reached = (np.zeros(N_SEATS) for _ in range(3))
        limit, budget = env.limit[0], env.budget[0]
        for tick in range(N_TICKS):
            usual = policy.act(view)[0]
            z = rng.standard_normal(N_SEATS)
            observation[tick] = view.features[0]
            action[tick] = np.clip(np.log(np.maximum(usual / limit, 1e-9)), math.log(0.2), math.log(3.0))
            action[tick] += noise * z
            density[tick] = -0.5 * z**2 - math.log(noise * math.sqrt(2.0 * math.pi))
            outcome = env.step((limit * np.exp(action[tick]))[None, :])
            spend, worth = spend + outcome.spend[0], worth + outcome.worth[0]
            before, reached = reached, score(worth, spend, limit) * limit / budget
            reward[tick] = reached - before
            if tick < N_TICKS - 1:
                view = env.view()
        ends = np.zeros(shape, bool)
        ends[-1] = True
        # (n_ticks, n_seats, ...) -> (n_seats x n_ticks, ...): seat by seat
        arrays = (observation, action, density, reward, ends)
        parts.append(tuple(np.concatenate(np.swapaxes(array, 0, 1)) for array in arrays))
        told(done)
    observations, actions, log_prob, rewards, last = (np.concatenate(c) for c in zip(*parts, strict=True))
    return Log(observations=observations, actions=actions, log_prob=log_prob, rewards=rewards, ends=last)
