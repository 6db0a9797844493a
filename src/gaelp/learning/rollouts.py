"""Acting: a policy lives in an environment, and what it lived comes back as sequences."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from gaelp.agents.networks import ActorCritic
from gaelp.learning.sequences import DecisionLog, End, Sequences

Floats = NDArray[np.floating]
Flags = NDArray[np.bool_]
Columns = dict[str, NDArray[Any]]


class BatchEnvironment(Protocol):
    """Many rows that live side by side: campaigns, or people.

    A row whose sequence is over starts another at the next step: the action it gets then is ignored, and
    what it returns is the first observation (Gymnasium's `NEXT_STEP`).

    Attributes:
        time: (n,) hours, of the observations returned last. weight: (n,) p / q of who lives in each row.
    """

    time: NDArray[np.float64]
    weight: NDArray[np.float64]

    def reset(self, epoch: int) -> NDArray[np.float32]:
        """Begin all rows; the same epoch has the same luck. Returns (n, n_features)."""

    def step(self, actions: NDArray[np.float32]) -> tuple[NDArray[np.float32], Floats, Floats, Flags, Flags]:
        """Play (n, action_width) actions until each row's next decision.

        Returns:
            observation: (n, n_features); where a sequence is over, its last. reward, cost: (n,).
            ended: (n,) nothing comes after. truncated: (n,) it would go on, unseen.
        """


def collect(
    environment: BatchEnvironment,
    network: ActorCritic,
    *,
    steps: int,
    epoch: int,
    generator: np.random.Generator | None,
) -> Sequences:
    """Let a network act in an environment from `reset(epoch)` on.

    Args:
        environment: is reset. network: acts. steps: of the environment. epoch: names its luck.
        generator: draws actions; None: the likeliest.

    Returns:
        Every sequence lived, those still open at the end cut there; the version is `epoch`.
    """
    observation = environment.reset(epoch)
    n = len(observation)
    state, sequence = network.first_state(n), np.arange(n)
    starting = np.zeros(n, bool)  # rows whose step brings the next sequence's first observation
    log = DecisionLog()
    for step in range(steps):
        action, logp, value, state = network.act(observation, state, generator)
        time, weight = np.array(environment.time), np.array(environment.weight)
        after, reward, cost, ended, truncated = environment.step(action)
        which: Columns = {"sequence": sequence, "version": np.full(n, epoch), "weight": weight}
        log.append(
            ~starting,
            time=time,
            observation=observation,
            action=action,
            logp=logp,
            value=value,
            payoff=np.stack([reward, cost], axis=1),
            end=np.where(ended, End.TERMINAL, End.GOES_ON),
            **which,
        )
        cut = ~starting & ~ended & (truncated | (step == steps - 1))
        seen: Columns = {"time": environment.time, "observation": after, "end": np.full(n, End.TRUNCATED)}
        log.append(cut, **which, **seen)
        sequence = np.where(starting, sequence + n, sequence)
        state[torch.from_numpy(starting)] = 0.0
        starting = ~starting & (ended | truncated)
        observation = after
    return log.sequences()
