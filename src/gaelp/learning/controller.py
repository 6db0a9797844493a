"""Training of `controller`: what lines are worth by the value model, then how to spend, by flights.

Factors and landing pages come from one look at training worlds (`worth.measure`). How fast the level moves
and what part of the budget it aims at are tuned as the baselines are: for incremental profit subject to
spending at least 90 % of the budget, on other training worlds. There is nothing to resume: it takes minutes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from gaelp.agents.controller import ControllerPolicy
from gaelp.core.words import LINES
from gaelp.learning import worth
from gaelp.learning.practice import Practice
from gaelp.market.file import MarketFile
from gaelp.worlds.flight import WARM_UP_DAYS, Tick
from gaelp.worlds.registry import checkpoint, write_checkpoint
from gaelp.worlds.tuned import Tuned

N_WORLDS, N_PEOPLE = 16, 6_000
"""Training worlds of the look, and as many others for the tuning."""
SHARES, STEPS = (0.92, 0.95, 0.98, 1.0), (0.1, 0.4)
"""Parts of the budget to aim at, and steps of the level, that are tried together."""


@dataclass(frozen=True)
class Tried:
    """One setting of the level on the practice worlds, for people and for the checkpoint."""

    spend_share: float
    step: float
    objective_usd: float
    spent: float

    def row(self) -> dict[str, float]:
        """As a JSON row."""
        return {key: round(float(value), 4) for key, value in vars(self).items()}


def train(
    file: MarketFile,
    *,
    tuned: Tuned,
    n_worlds: int = N_WORLDS,
    n_people: int = N_PEOPLE,
    days: int = 30,
    seed: int = 0,
    out: Path | None = None,
    tick: Tick = lambda _: None,
    report: Callable[[Tried], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a controller and return its checkpoint (also written to `out`).

    Args:
        file: the market. tuned: of its baselines.
        n_worlds, n_people, days: of the look, and of the flights that tune the level.
        seed: names the training worlds.
        out: a folder, or a `.json` file; None writes nothing.
        tick: told the world-hours done, of `world_hours`. report: told each setting tried.
    """
    found = worth.measure(
        file, tuned=tuned, n_worlds=n_worlds, n_people=n_people, days=days, seed=2 * seed, tick=tick
    )
    names = [line.name for line in LINES]
    factors = {name: round(float(f), 5) for name, f in zip(names, found.factors(), strict=True)}
    landing = {name: int(page) for name, page in zip(names, found.landing, strict=True) if page}
    practice = Practice(
        file, n_worlds=n_worlds, n_people=n_people, days=days, seed=2 * seed + 1, tuned=tuned, tick=tick
    )
    tried = []
    for share, step in product(SHARES, STEPS):
        settings = {"spend_share": share, "step": step}
        scores, _ = practice.try_out(partial(_made, tuned.controller(factors, landing, settings)), 1, tick)
        tried.append(Tried(share, step, float(scores.objective[0]), float(scores.spend_share[0])))
        report(tried[-1])
    best = max(tried, key=lambda each: each.objective_usd)
    training = {
        "landing": landing,
        "settings": {"spend_share": best.spend_share, "step": best.step},
        "worlds": n_worlds,
        "users": n_people,
        "days": days,
        "seed": seed,
        "tried": [each.row() for each in tried],
    }
    if out is not None:
        write_checkpoint(out, file, factors, training, agent="controller")
    return checkpoint(file, factors, training, agent="controller")


def _made(policy: ControllerPolicy, _: int) -> ControllerPolicy:
    return policy


def world_hours(n_worlds: int, days: int, runoff_days: int = 30) -> int:
    """What `train` tells its tick in all."""
    look = WARM_UP_DAYS + days
    practice = WARM_UP_DAYS + (1 + len(SHARES) * len(STEPS)) * (days + runoff_days)
    return 24 * n_worlds * (look + practice)
