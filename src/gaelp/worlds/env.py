"""The campaign as an environment for other libraries: Gymnasium, its vector form, and PettingZoo.

    import gymnasium
    env = gymnasium.make("gaelp/Campaign-v0", market="markets/family_safety.toml", users=1000, days=30)

A step is an hour. `reset(seed=s)` makes the people of `s` anew and warms them up; `reset()` begins the next
campaign with those that live. A campaign ends by *truncation*: the people live on, so a learner should
bootstrap. It never terminates: no state of an account is final. The observation is a row of
`CAMPAIGN_FEATURES`; actions and reward are described in `campaign.Campaign`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gaelp.agents.sb3 import name_features
from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES
from gaelp.market.file import load
from gaelp.observation.campaign import CAMPAIGN_FEATURES, FEATURE_LIMIT
from gaelp.worlds.campaign import Campaign, Turn

ENV_ID = "gaelp/Campaign-v0"
_LARGEST_SEED = 2**31 - 1

Info = dict[str, Any]


def observation_space() -> spaces.Box:
    """One row of `CAMPAIGN_FEATURES`; it names them to whatever is saved with it."""
    space = spaces.Box(-FEATURE_LIMIT, FEATURE_LIMIT, (len(CAMPAIGN_FEATURES),), np.float32)
    name_features(space)
    return space


def action_space() -> spaces.Box:
    """One number per line: its factor on the paced bid, on a log scale."""
    return spaces.Box(-1.0, 1.0, (N_LINES,), np.float32)


def _campaign(
    market: str | Path, users: int, days: int, n_worlds: int, options: Info, n_seats: int = 1
) -> Campaign:
    if users < 1:
        raise BadInput("users", users, "must be at least 1", "Give people per world.")
    if "n_seats" in options:
        remedy = "Use CampaignParallelEnv for several."
        raise BadInput("n_seats", options["n_seats"], "is not an option of one agent", remedy)
    return Campaign(load(market), n_worlds=n_worlds, n_people=users, days=days, n_seats=n_seats, **options)


class CampaignEnv(gymnasium.Env[Any, Any]):
    """One world, one seat: `gaelp/Campaign-v0`.

    Args:
        market: path of a market file. users: people. days: of a campaign.
        options: further arguments of `Campaign`, such as `split` or `reward`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own type)

    def __init__(self, market: str | Path, users: int = 1000, days: int = 30, **options: Any) -> None:
        self.campaign = _campaign(market, users, days, 1, options)
        self.observation_space = observation_space()
        self.action_space = action_space()
        self.render_mode = None

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        """Begin a campaign: with new people where a seed is given or none live yet, else with those."""
        super().reset(seed=seed)
        new = seed is not None or not self.campaign.lives
        name = int(self.np_random.integers(_LARGEST_SEED)) if new else None
        return self.campaign.begin(name)[0][0], {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        """Play an hour."""
        turn = self.campaign.step([np.asarray(action)[None]])[0]
        over = self.campaign.hour >= self.campaign.hours
        return turn.observation[0], float(turn.reward[0]), False, over, _info(turn, 0)


class CampaignVectorEnv(VectorEnv[Any, Any, Any]):
    """Many worlds in lockstep; they end together, and the step after the end resets (`NEXT_STEP`).

    Args:
        num_envs: worlds. market, users, days, options: as in `CampaignEnv`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's own type)
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self, num_envs: int, market: str | Path, users: int = 1000, days: int = 30, **options: Any
    ) -> None:
        options.pop("render_mode", None)
        self.num_envs = num_envs
        self.campaign = _campaign(market, users, days, num_envs, options)
        self.single_observation_space = observation_space()
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: Info | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        """Begin a campaign in every world; one seed names them all, a list's first one does."""
        if isinstance(seed, list):
            if len(seed) != self.num_envs:
                remedy = "Give one seed for all, or one a world."
                raise BadInput("seed", seed, f"must have {self.num_envs} entries", remedy)
            seed = seed[0]
        super().reset(seed=seed)
        new = seed is not None or not self.campaign.lives
        name = int(self.np_random.integers(_LARGEST_SEED)) if new else None
        return self.campaign.begin(name)[0], {}

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]:
        """Play an hour in every world."""
        never = np.zeros(self.num_envs, bool)
        if self.campaign.hour >= self.campaign.hours:
            return self.campaign.begin(None)[0], np.zeros(self.num_envs), never, never.copy(), {}
        turn = self.campaign.step([np.asarray(actions)])[0]
        over = np.full(self.num_envs, self.campaign.hour >= self.campaign.hours)
        info: Info = {"spend_usd": turn.spend_usd, "value_usd": turn.value_usd}
        return turn.observation, turn.reward, never, over, info


class CampaignParallelEnv:
    """PettingZoo's parallel API: one agent per external seat, all bidding in the same world.

    It follows `pettingzoo.ParallelEnv` without importing it; `pettingzoo.test.parallel_api_test` passes.

    Args:
        n_agents: seats, called `seat_0`, `seat_1`, ... market, users, days, options: as in `CampaignEnv`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (PettingZoo's own type)
        "render_modes": [],
        "name": "gaelp_campaign_v0",
        "is_parallelizable": True,
    }
    render_mode = None

    def __init__(
        self, market: str | Path, n_agents: int = 2, users: int = 1000, days: int = 30, **options: Any
    ) -> None:
        self.campaign = _campaign(market, users, days, 1, options, n_agents)
        self.possible_agents = [f"seat_{seat}" for seat in range(n_agents)]
        self.agents: list[str] = []
        self.observation_spaces = {agent: observation_space() for agent in self.possible_agents}
        self.action_spaces = {agent: action_space() for agent in self.possible_agents}
        self._draws = np.random.default_rng()

    @property
    def num_agents(self) -> int:
        """Agents in the present campaign."""
        return len(self.agents)

    @property
    def max_num_agents(self) -> int:
        """Agents of any campaign."""
        return len(self.possible_agents)

    @property
    def unwrapped(self) -> "CampaignParallelEnv":
        """The environment itself."""
        return self

    def observation_space(self, agent: str) -> spaces.Box:
        """Space of an agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Box:
        """Space of an agent's actions."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: Info | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Info]]:
        """Begin a campaign for every seat; see `CampaignEnv.reset`."""
        if seed is not None:
            self._draws = np.random.default_rng(seed)
        new = seed is not None or not self.campaign.lives
        first = self.campaign.begin(int(self._draws.integers(_LARGEST_SEED)) if new else None)
        self.agents = list(self.possible_agents)
        return self._by_agent([rows[0] for rows in first]), self._by_agent([{} for _ in first])

    def step(
        self, actions: dict[str, NDArray[np.float32]]
    ) -> tuple[
        dict[str, NDArray[np.float32]],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, Info],
    ]:
        """Play an hour: every seat decides, then the market lives it."""
        turns = self.campaign.step([np.asarray(actions[agent])[None] for agent in self.agents])
        over = self.campaign.hour >= self.campaign.hours
        told = (
            self._by_agent([turn.observation[0] for turn in turns]),
            self._by_agent([float(turn.reward[0]) for turn in turns]),
            self._by_agent([False] * len(turns)),
            self._by_agent([over] * len(turns)),
            self._by_agent([_info(turn, 0) for turn in turns]),
        )
        if over:
            self.agents = []
        return told

    def render(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is open."""

    def _by_agent(self, rows: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.possible_agents, rows, strict=True))


def _info(turn: Turn, world: int) -> Info:
    return {
        "spend_usd": float(turn.spend_usd[world]),
        "value_usd": float(turn.value_usd[world]),
        "denials": turn.denials,
    }
