"""The findings by name: what each flies, and how large where nobody says otherwise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gaelp.evaluation.judge import Maker
from gaelp.evaluation.replications import brand_search, observational, power, upstream
from gaelp.evaluation.replications.answer import Answer
from gaelp.evaluation.task_flights import Floats, Task, Terms, spread, world_hours
from gaelp.market.file import MarketFile
from gaelp.market.market import World
from gaelp.worlds.executors import Executor
from gaelp.worlds.flight import Tick


@dataclass(frozen=True)
class Finding:
    """A finding that can be replicated.

    Attributes:
        fly: worlds to sums, (n_worlds,) each. answer: sums of all worlds to what they say.
        lives: lives of each world, warm-up apart.
        worlds, users, days, runoff_days: sizes where none are asked for, three minutes on two cores at most.
    """

    fly: Callable[[Task[Terms], Tick], dict[str, Floats]]
    answer: Callable[[Mapping[str, Floats], MarketFile, Terms], Answer]
    lives: int
    worlds: int
    users: int = 10_000
    days: int = 30
    runoff_days: int = 30


FINDINGS: dict[str, Finding] = {
    "brand-search": Finding(brand_search.fly, brand_search.answer, brand_search.LIVES, 24, 20_000),
    "observational": Finding(
        observational.fly, observational.answer, observational.LIVES, 32, days=7, runoff_days=21
    ),
    "upstream": Finding(upstream.fly, upstream.answer, upstream.LIVES, 32),
    "power": Finding(power.fly, power.answer, power.LIVES, 24),
}
"""By the name that `gaelp replicate` takes."""


def hours(name: str, n_worlds: int, terms: Terms) -> int:
    """World-hours that `replicate` will live, for a progress bar's total."""
    return n_worlds * world_hours(terms.days, terms.runoff_days, FINDINGS[name].lives)


def replicate(
    name: str,
    worlds: Sequence[World],
    make: Maker,
    terms: Terms,
    *,
    tick: Tick = lambda _: None,
    executor: Executor | None = None,
) -> Answer:
    """Fly what a finding needs and say what came of it.

    Args:
        name: of `FINDINGS`. worlds: of one market. make: a fresh policy that could be flown.
        terms: sizes, budget, seed, cache. tick: told the world-hours done.
        executor: where to run; None is here. The figures are the same.

    Raises:
        BadInput: the policy is a yardstick that sees the truth.
    """
    finding = FINDINGS[name]
    parts = spread(
        finding.fly, worlds, make, terms, hours=hours(name, 1, terms), tick=tick, executor=executor
    )
    sums = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return finding.answer(sums, worlds[0].file, terms)
