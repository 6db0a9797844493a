"""The findings by name: what each flies, and how large where nobody says otherwise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gaelp.evaluation.judge import Maker, Terms
from gaelp.evaluation.replications import brand_search, observational, power, upstream
from gaelp.evaluation.replications.answer import Answer
from gaelp.evaluation.replications.flights import WORLDS_A_TASK, Floats, Task, world_hours
from gaelp.market.file import MarketFile
from gaelp.market.market import World
from gaelp.worlds.executors import Executor, InlineExecutor
from gaelp.worlds.flight import Tick


@dataclass(frozen=True)
class Finding:
    """A finding that can be replicated.

    Attributes:
        fly: worlds to sums, (n_worlds,) each. answer: sums of all worlds to what they say.
        lives: lives of each world, warm-up apart.
        worlds, users, days, runoff_days: sizes where none are asked for, three minutes on two cores at most.
    """

    fly: Callable[[Task, Tick], dict[str, Floats]]
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
    return n_worlds * world_hours(terms, FINDINGS[name].lives)


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
        executor: where to run, `WORLDS_A_TASK` worlds a task; None is here. The figures are the same.
    """
    cut = [worlds[i : i + WORLDS_A_TASK] for i in range(0, len(worlds), WORLDS_A_TASK)]
    tasks = [Task(list(part), make, terms) for part in cut]
    finding = FINDINGS[name]
    if executor is None or isinstance(executor, InlineExecutor):
        parts = [finding.fly(task, tick) for task in tasks]
    else:
        each = [hours(name, len(task.worlds), terms) for task in tasks]
        parts = executor.map(_fly, [(name, task) for task in tasks], done=lambda place: tick(each[place]))
    sums = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return finding.answer(sums, worlds[0].file, terms)


def _fly(task: tuple[str, Task]) -> dict[str, Floats]:
    name, what = task
    return FINDINGS[name].fly(what, lambda _: None)
