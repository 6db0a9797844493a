"""Training of `value`: what lines are worth by the value model, then how to spend, by flights.

Factors and landing pages come from one look at training worlds (`worth.measure`). How fast the level moves
and what part of the budget it aims at are tuned as the baselines are: for incremental profit subject to
spending at least 90 % of the budget, on other training worlds.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.value import ValuePolicy
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES
from gaelp.learning import worth
from gaelp.learning.practice import Practice
from gaelp.market.file import MarketFile
from gaelp.worlds.flight import WARM_UP_DAYS, Tick
from gaelp.worlds.registry import (
    CHECKPOINT,
    checkpoint,
    read_checkpoint,
    refuse_unless_ours,
    write_checkpoint,
)
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]
AGENT = "value"
RUNOFF_DAYS = 30
N_WORLDS, N_PEOPLE = 16, 6_000
"""Training worlds of a look, and as many others for the tuning."""
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
    epochs: int | None,
    minutes: float | None,
    n_worlds: int = N_WORLDS,
    n_people: int = N_PEOPLE,
    days: int = 30,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = False,
    tick: Tick = lambda _: None,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train the policy and return its checkpoint (also written to `out`).

    Every epoch looks at new training worlds and adds to what was seen before; one is enough to fly well. Then
    the level is tuned. A resumed run ends as one that never stopped; its `epochs` count from the beginning.

    Args:
        file: the market. tuned: of its baselines. epochs, minutes: looks, or time for all; one of both.
        n_worlds, n_people, days: of a look, and of the flights that tune the level.
        seed: names the training worlds.
        out: a folder, or a `.json` file; None writes nothing. resume: go on from what is there.
        tick: told the world-hours done, `world_hours` with one epoch. report: told what was found.

    Raises:
        BadInput: neither or both of `epochs` and `minutes`, or a resume with nothing to go on from.
        MismatchError: the checkpoint to resume was trained on another market, or is another agent's.
    """
    if (epochs is None) == (minutes is None):
        raise BadInput("epochs", epochs, "give either epochs or minutes", "One epoch is enough: --epochs 1.")
    if minutes is not None and not 0.0 < minutes < np.inf:
        raise BadInput("minutes", minutes, "must be finite and above 0", "For a first try: --minutes 3.")
    began = time.perf_counter()
    if out is not None and out.suffix != ".json" and not resume:
        refuse_unless_ours(out, AGENT)
    sizes = {"n_worlds": n_worlds, "n_people": n_people, "days": days, "seed": seed}
    found, first = saved(out, file, sizes) if resume else (None, 0)
    if epochs is not None and epochs <= first:
        raise BadInput("epochs", epochs, f"must be above the {first} already done", "Ask for more.")
    done = first
    while True:
        seen = worth.measure(
            file,
            tuned=tuned,
            n_worlds=n_worlds,
            n_people=n_people,
            days=days,
            seed=10_000 * (seed + 1) + done,
            tick=tick,
        )
        found, done = seen if found is None else found + seen, done + 1
        report(f"epoch {done}: looked at what impressions and clicks are worth in {found.n_worlds} worlds")
        state = {
            "epochs": done,
            **sizes,
            "looks": {k: np.asarray(v).tolist() for k, v in vars(found).items()},
        }
        _keep(out, file, found, state)
        seconds = time.perf_counter() - began
        rest = (1.0 + _practice_days(days) / (WARM_UP_DAYS + days)) * seconds / (done - first)
        if done == epochs or (minutes is not None and seconds + rest >= 60.0 * minutes):
            break
    practice = Practice(file, n_worlds=n_worlds, n_people=n_people, days=days, seed=10_000 * (seed + 1) - 1,
                        tuned=tuned, tick=tick)  # fmt: skip
    tried = []
    for share, step in product(SHARES, STEPS):
        policy = tuned.value(_named(found.factors()), _pages(found), {"spend_share": share, "step": step})
        scores, _ = practice.try_out(partial(_made, policy), 1, tick)
        tried.append(Tried(share, step, float(scores.objective[0]), float(scores.spend_share[0])))
        report(
            f"aim at {share:.0%} of the budget, step {step:g}: profit ${tried[-1].objective_usd:,.0f}, "
            f"spent {tried[-1].spent:.0%}"
        )
    best = max(tried, key=lambda each: each.objective_usd)
    state["settings"] = {"spend_share": best.spend_share, "step": best.step}
    state["tried"] = [each.row() for each in tried]
    return _keep(out, file, found, state)


def _keep(
    out: Path | None, file: MarketFile, found: worth.LineWorth, state: dict[str, Any]
) -> dict[str, Any]:
    factors, learnt = (
        _named(found.factors()),
        {"landing": _pages(found), "worth_usd": _named(found.worth_in_bids_usd), **state},
    )
    if out is not None:
        write_checkpoint(out, file, factors, learnt, agent=AGENT)
    return checkpoint(file, factors, learnt, agent=AGENT)


def _named(factors: Floats) -> dict[str, float]:
    return {line.name: round(float(f), 5) for line, f in zip(LINES, factors, strict=True)}


def _pages(found: worth.LineWorth) -> dict[str, int]:
    return {line.name: int(page) for line, page in zip(LINES, found.landing, strict=True) if page}


def saved(out: Path | None, file: MarketFile, sizes: Mapping[str, int]) -> tuple[worth.LineWorth, int]:
    """What a run that is to be resumed has seen, and its epochs; see `train` for the errors.

    Args:
        out: of the run. sizes: `n_worlds`, `n_people`, `days` and `seed`, which must be the run's.
    """
    path = None if out is None else out if out.suffix == ".json" else out / CHECKPOINT
    if path is None or not path.is_file():
        raise BadInput("resume", str(path), "needs a checkpoint", "Name the run's folder with --out.")
    state = read_checkpoint(path, file)
    remedy = "Train it from the beginning, without --resume."
    if state["agent"] != AGENT:
        raise MismatchError("checkpoint", f"{path} of {state['agent']}", f"must be of {AGENT}", remedy)
    for name, size in sizes.items():
        if state.get(name) != size:
            allowed = f"must be {state.get(name)}, as it was begun"
            raise BadInput(name, size, allowed, "Resume with the same sizes and seed.")
    try:
        looks = {name: np.array(value, float) for name, value in state["looks"].items()}
        n_worlds = int(looks.pop("n_worlds"))
        found = worth.LineWorth(**looks, n_worlds=n_worlds)
        whole = (
            found.worth_usd.shape[1:]
            == found.guess.shape
            == found.n_auctions.shape
            == found.rate.shape
            == (N_LINES,)
        )
        good = whole and all(np.isfinite(value).all() for value in looks.values())
        good = bool(good and (found.rate[:EMAIL_LINE] > 0).all() and (found.guess >= 0).all())
        epochs = int(state["epochs"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        good = False
    if not (good and epochs > 0 and found.spend_usd.shape == (N_LINES,) and found.n_worlds > 0):
        raise BadInput(f"{path}: looks", "damaged", "must be what a training wrote", remedy)
    return found, epochs


def _made(policy: ValuePolicy, _: int) -> ValuePolicy:
    return policy


def _practice_days(days: int) -> int:
    return WARM_UP_DAYS + (1 + len(SHARES) * len(STEPS)) * (days + RUNOFF_DAYS)


def world_hours(n_worlds: int, days: int, epochs: int = 1) -> int:
    """What `train` tells its tick in all."""
    return 24 * n_worlds * (epochs * (WARM_UP_DAYS + days) + _practice_days(days))
