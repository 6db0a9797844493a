"""Tuning the baselines on training worlds: the strongest opponents we can build without learning.

Each is tuned for expected incremental profit subject to spending at least 90 % of the budget; the step of
dual pacing for keeping its plan.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from gaelp.agents.baselines import FixedPolicy, PacingPolicy
from gaelp.agents.feedback import PidPolicy, PidSettings, TargetCpaPolicy
from gaelp.agents.policy import Policy
from gaelp.control.pacing import PacingSettings, spend_plan
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import N_LINES
from gaelp.learning.practice import RUNOFF_DAYS, Practice
from gaelp.market.file import MarketFile
from gaelp.market.state import SPEND
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick
from gaelp.worlds.tuned import Tuned
from gaelp.worlds.twins import attributed_by_line

N_WORLDS, N_PEOPLE = 16, 10_000
T = TypeVar("T")

FIXED_GRID = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.8, 2.2)
WEIGHT_GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
STEP_GRID = (0.05, 0.1, 0.2, 0.4, 0.7)
PID_GRID = ((0.5, 0.02), (1.0, 0.02), (1.0, 0.1), (2.0, 0.1), (2.0, 0.3), (4.0, 0.1), (4.0, 0.3))
"""(kp, ki); a differential gain was of no use against hourly noise."""
TARGET_GRID = ((12.0, 0.5), (18.0, 0.5), (27.0, 0.5), (40.0, 0.5), (60.0, 0.5), (27.0, 1.0), (40.0, 1.0))
"""(first target in USD of attributed cost per conversion, gain)."""


def tune(
    file: MarketFile,
    *,
    n_worlds: int = N_WORLDS,
    n_people: int = N_PEOPLE,
    days: int = 30,
    seed: int = 0,
    tick: Tick = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Tuned, dict[str, Any]]:
    """Tune `fixed`, `pacing`, `pid` and `target_cpa` for a market.

    Returns:
        The settings, and the evidence: every setting tried with its score.
    """
    practice = Practice(file, n_worlds=n_worlds, n_people=n_people, days=days, seed=seed, tick=tick)
    evidence: dict[str, Any] = {"worlds": n_worlds, "users": n_people, "days": days, "seed": seed}
    found = Tuned(for_this_market=True)

    def best_of(name: str, grid: Sequence[T], make: Callable[[T], Policy]) -> T:
        rows: list[dict[str, Any]] = []
        for value in grid:

            def policy(_: int, value: T = value) -> Policy:
                return make(value)

            scores, _ = practice.try_out(policy, 1, tick)
            rows.append(
                {
                    "value": value,
                    "profit_usd": round(float(scores.profit_usd[0]), 2),
                    "spend_share": round(float(scores.spend_share[0]), 4),
                    "objective": round(float(scores.objective[0]), 2),
                    "incremental_cac_usd": round(
                        float(scores.spend_usd[0] / max(scores.decisions[0], 1e-9)), 2
                    ),
                }
            )
            say(f"{name} {rows[-1]}")
        evidence[name] = rows
        return grid[int(np.argmax([row["objective"] for row in rows]))]

    found = replace(found, fixed_multiplier=best_of("fixed", FIXED_GRID, lambda v: FixedPolicy(multiplier=v)))
    _, flight = practice.try_out(lambda _: PacingPolicy(), 1, tick)
    found = replace(found, attributed_value=attributed_value(flight, practice.runoff_days))
    practice.tuned = found
    step = steadiest_step(practice, found.fixed_multiplier, evidence, tick, say)
    settings = PacingSettings(step=step, start=found.fixed_multiplier)
    weight = best_of(
        "pacing value weight", WEIGHT_GRID, lambda v: PacingPolicy(settings=settings, value_weight=v)
    )
    found = replace(found, settings=settings, value_weight=weight)
    start = found.fixed_multiplier

    def pid(gains: tuple[float, float]) -> PidSettings:
        return PidSettings(kp=gains[0], ki=gains[1], start=start)

    found = replace(
        found,
        pid=pid(best_of("pid", PID_GRID, lambda v: PidPolicy(settings=pid(v), value_weight=weight))),
    )
    target, gain = best_of("target_cpa", TARGET_GRID, lambda v: TargetCpaPolicy(target_usd=v[0], gain=v[1]))
    return replace(found, target_cpa_usd=target, target_gain=gain), evidence


def world_hours(n_worlds: int, days: int) -> int:
    """What `tune` tells its tick in all."""
    grids = (FIXED_GRID, WEIGHT_GRID, STEP_GRID, PID_GRID, TARGET_GRID)
    flights = 2 + sum(map(len, grids))  # of plain pacing, and the twin without ads
    return 24 * n_worlds * (WARM_UP_DAYS + flights * (days + RUNOFF_DAYS))


def steadiest_step(
    practice: Practice,
    start: float,
    evidence: dict[str, Any],
    tick: Tick,
    say: Callable[[str], None],
) -> float:
    """The step size that keeps closest to the plan: a pacer's own task, and what profit cannot tell apart.

    On the same worlds the step sizes differ in profit by less than luck moves it, but not in how much of the
    budget they leave unspent or spend at the wrong hour.
    """
    rows = []
    for step in STEP_GRID:
        policy = PacingPolicy(settings=PacingSettings(step=step, start=start))

        def make(_: int, policy: PacingPolicy = policy) -> Policy:
            return policy

        scores, flight = practice.try_out(make, 1, tick)
        worlds, days = flight.market.n_worlds, flight.hours // 24
        first = int(flight.market.rules["start_hour_of_week"][0]) + flight.start
        plan = spend_plan(
            practice.traffic, flight.daily_budget_usd, days=days, start_hour_of_week=first % 168
        )
        spent = flight.spend_micros.sum(axis=2).reshape(worlds, days, 24) / MICROS_PER_USD
        # the mean day of all worlds, in budgets: a single hour of a small panel is a handful of clicks
        budget = flight.daily_budget_usd[:, None, None]
        off = (spent / budget).mean(axis=(0, 1)) - (plan.hourly_usd / budget).mean(axis=(0, 1))
        rows.append(
            {
                "value": step,
                "mean_day_deviation": round(float(np.abs(off).sum() / 2.0), 4),
                "spend_share": round(float(scores.spend_share[0]), 4),
                "profit_usd": round(float(scores.profit_usd[0]), 2),
            }
        )
        say(f"pacing step {rows[-1]}")
    evidence["pacing step"] = rows
    return float(min(rows, key=lambda row: row["mean_day_deviation"])["value"])


def attributed_value(flight: Flight, runoff_days: int) -> np.ndarray:
    """(n_lines,) attributed conversions per dollar of a flight, relative, shrunk to the account's mean.

    All ones where nothing was sold.

    Args:
        flight: of plain pacing, over all worlds of its batch. runoff_days: lived since its end.
    """
    end = flight.start + flight.hours
    conversions = attributed_by_line(flight.market, flight.start, end, end + runoff_days * 24).sum(axis=0)
    spend = flight.report[..., SPEND].sum(axis=0) / MICROS_PER_USD
    mean_rate = conversions.sum() / max(spend.sum(), 1e-9)
    if mean_rate == 0.0:
        return np.ones(N_LINES)
    weight = 5.0  # conversions' worth of the account's mean
    value: np.ndarray = (conversions + weight) / (spend + weight / mean_rate) / mean_rate
    assert value.shape == (N_LINES,)
    return value
