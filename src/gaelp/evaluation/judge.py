"""Judgement: policies on the same worlds, from the same snapshot, each against the twin without ads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Policy
from gaelp.evaluation.leaderboard import leaderboard
from gaelp.market.market import Market, World
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, make_market, run_off, warm_up
from gaelp.worlds.tuned import Tuned, tuned_for
from gaelp.worlds.twins import outcome

Floats = NDArray[np.float64]

_BYTES_AT_ONCE = 1.2e9
"""Live state of one copy of the worlds flown together.

Four copies exist at most: the snapshot, the twin, a flight and the one before it. With `keep`, the snapshot,
the twin and one per policy stay for every batch.
"""


@dataclass
class Judgement:
    """What came of judging some policies.

    Attributes:
        results: {policy: {measure: (n_worlds,) sums}}, the input of `leaderboard`.
        flights: {policy: flights by batch of worlds}; kept only where asked.
        twins: the worlds without our ads, by batch; kept only where asked.
        snapshots: the worlds before the flights, by batch; kept only where asked.
        traffic: the forecast of each batch.
    """

    results: dict[str, dict[str, Floats]]
    flights: dict[str, list[Flight]] = field(default_factory=dict)
    twins: list[Market] = field(default_factory=list)
    snapshots: list[Market] = field(default_factory=list)
    traffic: list[Floats] = field(default_factory=list)

    def board(self, seed: int = 0) -> dict[str, Any]:
        """The leaderboard of these results, as `gaelp evaluate --json` prints it."""
        return leaderboard(self.results, seed=seed)


def world_hours(n_worlds: int, n_policies: int, days: int, runoff_days: int) -> int:
    """World-hours that `judge` will live, for a progress bar's total."""
    return n_worlds * 24 * (WARM_UP_DAYS + (n_policies + 1) * (days + runoff_days))


def judge(
    worlds: Sequence[World],
    policies: Mapping[str, Callable[[], Policy]],
    *,
    n_people: int,
    days: int,
    runoff_days: int = 60,
    daily_budget_usd: float | None = None,
    seed: int = 0,
    tuned: Tuned | None = None,
    tick: Tick = lambda _: None,
    keep: bool = False,
) -> Judgement:
    """Fly every policy on every world and difference it with the worlds' twins.

    Each batch of worlds is warmed up once under the status quo; all policies and the twin start from that
    snapshot and share its future draws. In the twin our ads are off for the flight and the run-off while
    rivals go on adapting, so it does not depend on the policy and is lived once.

    Args:
        worlds: of one market. policies: name -> function that makes a fresh policy.
        n_people: people per world. days: of the flight. runoff_days: with our ads off, in both twins.
        daily_budget_usd: per panel; None takes the market's budget a person.
        seed: for policies that draw. tuned: settings for the brief; None takes the market's own.
        tick: told the world-hours done. keep: keep flights, twins and snapshots for reports.
    """
    tuned = tuned or tuned_for(worlds[0].file)
    found: dict[str, list[dict[str, Floats]]] = {name: [] for name in policies}
    judged = Judgement(results={})
    for batch in batches(worlds, n_people):
        market = make_market(batch, n_people)
        traffic = warm_up(market, tick=tick)
        twin = market.copy()
        run_off(twin, days + runoff_days, tick)
        for name, make in policies.items():
            flight = fly(
                market.copy(),
                make(),
                days=days,
                traffic=traffic,
                daily_budget_usd=daily_budget_usd,
                seed=seed,
                tuned=tuned,
                tick=tick,
                keep_bids=keep,
            )
            run_off(flight.market, runoff_days, tick)
            found[name].append(outcome(flight, twin, runoff_days))
            if keep:
                judged.flights.setdefault(name, []).append(flight)
        if keep:
            judged.twins.append(twin)
            judged.snapshots.append(market)
            judged.traffic.append(traffic)
    judged.results = {
        name: {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for name, parts in found.items()
    }
    return judged


def batches(worlds: Sequence[World], n_people: int) -> list[list[World]]:
    """Split worlds into batches small enough to copy; results do not depend on the split."""
    per_world = 220.0 * n_people
    size = int(max(2, min(len(worlds), _BYTES_AT_ONCE // per_world)))
    return [list(worlds[i : i + size]) for i in range(0, len(worlds), size)]
