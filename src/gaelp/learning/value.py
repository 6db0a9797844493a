"""Training of `value`: what lines are worth by the value model, then how to spend, by flights.

Factors and landing pages come from one look at training worlds (`worth.measure`). How fast the level moves
and what part of the budget it aims at are tuned as the baselines are: for incremental profit subject to
spending at least 90 % of the budget, on other training worlds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.value import ValuePolicy
from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES, Channel
from gaelp.learning import worth
from gaelp.learning.practice import RUNOFF_DAYS, Practice, Scores
from gaelp.learning.training import Limit, by_line, keep, kept, require_begun, uninterrupted
from gaelp.market.file import MarketFile
from gaelp.market.state import CLICKS, IMPRESSIONS
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick
from gaelp.worlds.registry import refuse_unless_ours
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]
AGENT = "value"
N_WORLDS, N_PEOPLE = 16, 6_000
"""Training worlds of a look, and as many others for the tuning."""
SHARES, STEPS = (0.92, 0.95, 0.98, 1.0), (0.1, 0.4)
"""Parts of the budget to aim at, and steps of the level, that are tried together."""
N_SETTINGS = len(SHARES) * len(STEPS)
_SEARCH = np.array([line.channel is Channel.SEARCH for line in LINES])


@dataclass(frozen=True)
class Tried:
    """One setting of the level on the practice worlds.

    Attributes:
        spend_share: aimed at. step: of the level. scores: of this setting alone.
        per_worth: what it sold over what was expected of its clicks and impressions, see `_per_worth`.
    """

    spend_share: float
    step: float
    scores: Scores
    per_worth: float

    @property
    def settings(self) -> dict[str, float]:
        """As a checkpoint holds them."""
        return {"spend_share": self.spend_share, "step": self.step}

    @property
    def objective_usd(self) -> float:
        """What is tuned for; see `practice.Scores`."""
        return float(self.scores.objective[0])

    def row(self) -> dict[str, float]:
        """As a JSON row, for the checkpoint."""
        spent = float(self.scores.spend_share[0])
        figures = {**self.settings, "objective_usd": self.objective_usd, "spent": spent}
        return {name: round(figure, 4) for name, figure in figures.items()}


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
    track: Callable[[dict[str, Any]], object] = lambda _: None,
    curve: bool = False,
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
        track: told each epoch's row, before it is kept; and that of the last one again when the level is
            tuned, with the figures of the best setting.
        curve: fly what the first worlds of the last look said too; the checkpoint then has a `curve`.

    Raises:
        BadInput: neither or both of `epochs` and `minutes`, or a resume with nothing to go on from.
        MismatchError: the checkpoint to resume was trained on another market, or is another agent's.
    """
    limit = Limit(epochs, minutes, first_try=3)
    if out is not None and out.suffix != ".json" and not resume:
        refuse_unless_ours(out, AGENT)
    sizes = {"n_worlds": n_worlds, "n_people": n_people, "days": days, "seed": seed}
    found, done = None, 0
    looked: list[worth.LineWorth] = []
    if resume:
        found, done, finished = saved(out, file, sizes)
        limit.resume(done, finished=finished)
    row: dict[str, Any] = {"epoch": done, "seconds": 0.0, "worlds": 0}
    while not limit.is_reached(done, ahead=1.0 + _practice_days(days) / (WARM_UP_DAYS + days)):
        began = time.perf_counter()
        place = 10_000 * (seed + 1) + done
        looked = worth.measure(
            file, tuned=tuned, n_worlds=n_worlds, n_people=n_people, days=days, seed=place, tick=tick
        )
        seen = worth.together(looked)
        found, done = seen if found is None else found + seen, done + 1
        report(f"epoch {done}: looked at what impressions and clicks are worth in {found.n_worlds} worlds")
        row = {
            "epoch": done,
            "seconds": time.perf_counter() - began,
            "worlds": n_worlds,
            "spend_usd": round(float(seen.spend_usd.sum()), 4),
        }
        with uninterrupted():
            track(dict(row))
            keep(out, file, AGENT, by_line(found.factors()), _learnt(found, done, sizes))
    assert found is not None
    began = time.perf_counter()
    practice = Practice(
        file,
        n_worlds=n_worlds,
        n_people=n_people,
        days=days,
        seed=10_000 * (seed + 1) - 1,
        tuned=tuned,
        tick=tick,
    )
    tried = _tune(practice, found, tick, report)
    best = max(tried, key=lambda each: each.objective_usd)
    learnt: dict[str, Any] = _picked(practice, found, best, tick, report)
    if curve and looked:
        learnt["curve"] = _curve(practice, looked, best, tick)
    row |= best.scores.figures() | {
        "seconds": row["seconds"] + time.perf_counter() - began,
        "worlds": row["worlds"] + n_worlds * (2 + N_SETTINGS),  # and pacing, and the twin without ads
        "aimed_share": best.spend_share,
        "step": best.step,
    }
    tuning = {"settings": best.settings, "tried": [each.row() for each in tried], **learnt}
    with uninterrupted():
        track(row)
        return keep(out, file, AGENT, by_line(found.factors()), _learnt(found, done, sizes) | tuning)


def _tune(
    practice: Practice, found: worth.LineWorth, tick: Tick, report: Callable[[str], None]
) -> list[Tried]:
    """Every setting of the level, flown on the practice worlds."""
    tried = []
    for share, step in product(SHARES, STEPS):
        level = {"spend_share": share, "step": step}
        policy = practice.tuned.value(by_line(found.factors()), _pages(found), level)
        scores, flight = practice.try_out(partial(_made, policy), 1, tick)
        tried.append(Tried(share, step, scores, _per_worth(scores, flight, found)))
        report(
            f"aim at {share:.0%} of the budget, step {step:g}: profit ${tried[-1].objective_usd:,.0f}, "
            f"spent {scores.spend_share[0]:.0%}"
        )
    return tried


def _per_worth(scores: Scores, flight: Flight, found: worth.LineWorth) -> float:
    """Expected sales caused, over what the clicks and impressions bought are worth by line; USD over USD."""
    bought = flight.report.sum(axis=0)  # (n_lines, fields)
    units = np.where(_SEARCH, bought[:, CLICKS], bought[:, IMPRESSIONS] / 1000.0)
    expected = float(units @ found.worth_in_bids_usd)
    return float(scores.profit_usd[0] + scores.spend_usd[0]) / expected if expected > 0.0 else np.nan


def _picked(
    practice: Practice, found: worth.LineWorth, best: Tried, tick: Tick, report: Callable[[str], None]
) -> dict[str, float]:
    """How much more a click or impression under a target sells than one that `pacing` bought by hand.

    `experts` counts by it (`ExpertsPolicy.picked`). Empty where either sold nothing on these worlds.
    """
    pacing = practice.tuned.pacing()
    by_hand = _per_worth(*practice.try_out(lambda _: pacing, 1, tick), found)
    if not (best.per_worth > 0.0 and by_hand > 0.0):
        report("how much better the platform's own bidder picks people is not to be seen in so few sales")
        return {}
    picked = round(best.per_worth / by_hand, 4)
    report(
        f"what the platform's own bidder bought sells {picked:.1f} times as much as what a bid by hand did"
    )
    return {"picked": picked}


def _curve(
    practice: Practice, looked: Sequence[worth.LineWorth], best: Tried, tick: Tick
) -> list[dict[str, float | None]]:
    """Profit on the practice worlds by how many worlds were looked at, at the best setting of the level."""
    rows: list[dict[str, float | None]] = []
    for n_worlds in curve_points(len(looked)):
        seen = worth.together(looked[:n_worlds]) if n_worlds else None
        factors, pages = ({}, {}) if seen is None else (by_line(seen.factors()), _pages(seen))
        policy = practice.tuned.value(factors, pages, best.settings)
        scores, _ = practice.try_out(partial(_made, policy), 1, tick)
        profit = float(scores.profit_usd[0]) / practice.n_worlds
        rows.append({"worlds": n_worlds, "profit_usd": round(profit, 2), **scores.figures()})
    return rows


def curve_points(n_worlds: int) -> list[int]:
    """Worlds looked at, for a learning curve: none, one, half of them, all.

    >>> curve_points(8), curve_points(1)
    ([0, 1, 4, 8], [0, 1])
    """
    return sorted({0, 1, max(1, n_worlds // 2), n_worlds})


def _learnt(found: worth.LineWorth, done: int, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What the checkpoint holds beside the factors."""
    return {
        "landing": _pages(found),
        "worth_usd": by_line(found.worth_in_bids_usd),
        "epochs": done,
        **sizes,
        "looks": {name: np.asarray(value).tolist() for name, value in vars(found).items()},
    }


def _pages(found: worth.LineWorth) -> dict[str, int]:
    return {line.name: int(page) for line, page in zip(LINES, found.landing, strict=True) if page}


class Saved(NamedTuple):
    """What a run that is to be resumed has seen, in how many epochs, and whether its level was tuned then."""

    found: worth.LineWorth
    epochs: int
    finished: bool


def saved(out: Path | None, file: MarketFile, sizes: Mapping[str, int]) -> Saved:
    """What stands in the checkpoint of a run that is to be resumed; see `train` for the errors.

    Args:
        out: of the run. sizes: `n_worlds`, `n_people`, `days` and `seed`, which must be the run's.
    """
    path, state = kept(out, file, AGENT)
    remedy = "Train it from the beginning, without --resume."
    require_begun(state, sizes)
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
    return Saved(found, epochs, finished=bool(state["settings"]))


def _made(policy: ValuePolicy, _: int) -> ValuePolicy:
    return policy


def _practice_days(days: int) -> int:
    return WARM_UP_DAYS + (2 + N_SETTINGS) * (days + RUNOFF_DAYS)


def world_hours(n_worlds: int, days: int, epochs: int = 1, curve: bool = False) -> int:
    """What `train` tells its tick in all."""
    more = len(curve_points(n_worlds)) * (days + RUNOFF_DAYS) if curve else 0
    return 24 * n_worlds * (epochs * (WARM_UP_DAYS + days) + _practice_days(days) + more)
