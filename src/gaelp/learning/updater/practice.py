"""The updater beside practice: recorded episodes of training worlds; segments told to environments."""

import datetime as dt
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from gaelp.agents.policy import Policy
from gaelp.learning.updater.episodes import live_episode
from gaelp.learning.updater.updating import Update, Updater
from gaelp.market.market import World
from gaelp.worlds.flight import Tick


def practise(
    updater: Updater,
    worlds: Sequence[World],
    make: Callable[[], Policy],
    *,
    n_people: int,
    days: int,
    now: dt.datetime,
    by_segment: bool = False,
    seed: int = 0,
    tick: Tick = lambda _: None,
) -> list[Update]:
    """Fly a policy in one world after another, recorded as GA4 would, and learn each.

    Args:
        updater: learns. worlds: for training or validation. make: makes a fresh policy.
        n_people: of each panel. days: of each flight. now: after the last day of all.
        by_segment: let bids follow the models in use, see `Updater.policy`.
        seed: for policies that draw. tick: told the world-hours done.

    Raises:
        BadInput: as `live_episode` and `Updater.episode`.
    """
    found = []
    for world in worlds:
        base, flown = make(), None
        policy = updater.policy(base) if by_segment else base
        if policy is not base:
            flown = updater.registry.aliases()["champion"]
        with tempfile.TemporaryDirectory(prefix="gaelp-episode-") as place:
            folder = live_episode(
                Path(place), world, policy, n_people=n_people, days=days, seed=seed, tick=tick
            )
            found.append(updater.episode(folder, now, flown=flown))
    return found


class SegmentInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose `reset` tells, as `info["segments"]`, what the updater knows: `Models.audiences`.

    Args:
        env: such as `gaelp/Campaign-v0`. updater: asked at each reset; None is told before its first episode.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], updater: Updater) -> None:
        super().__init__(env)
        self._updater = updater

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode with the segments that are known by now."""
        observation, info = self.env.reset(seed=seed, options=options)
        models = self._updater.models()
        return observation, info | {"segments": None if models is None else models.audiences()}
