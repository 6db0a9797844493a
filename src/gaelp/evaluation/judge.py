"""Judgement: policies on the same worlds, from the same snapshot, each against the twin without ads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import WORLDS_AN_ACTOR
from gaelp.agents.policy import Policy
from gaelp.control.profile import CONTROL_PROFILES
from gaelp.core.errors import BadInput
from gaelp.evaluation.leaderboard import leaderboard
from gaelp.evaluation.parts import Parts
from gaelp.market.market import Market, World
from gaelp.worlds.executors import Executor, InlineExecutor
from gaelp.worlds.families import DEFAULT, Family
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, panel_budget, run_off
from gaelp.worlds.tuned import Tuned, tuned_for
from gaelp.worlds.twins import outcome
from gaelp.worlds.warmed import WarmCache, warmed

Floats = NDArray[np.float64]

_BYTES_AT_ONCE = 1.2e9
"""Live state of one copy of the worlds flown together.

At least `WORLDS_A_TASK` worlds fly together. Five copies exist at most: the snapshot, a family's start, its
twin, a flight and the one before it. With `keep`, the snapshots, the twins and one per policy stay for every
batch.
"""
WORLDS_A_GROUP = 8
"""Consecutive worlds that `line_oracle` lets learn from each other; the same groups wherever they fly."""
WORLDS_A_TASK = 2 * WORLDS_A_GROUP
"""Worlds that one task of an executor judges; fixed, so the warm-up cache serves any number of workers.

Inline batches are multiples of it, so that neither divides a group.
"""
assert WORLDS_A_TASK % WORLDS_AN_ACTOR == 0, (
    "a saved model acts on a world from the same place wherever it flies"
)


@runtime_checkable
class Reference(Protocol):
    """A yardstick that flies worlds by itself, as it sees more than an account shows."""

    name: str

    def fly(
        self,
        market: Market,
        *,
        traffic: Floats | None,
        days: int,
        daily_budget_usd: float | None,
        seed: int,
        tuned: Tuned | None,
        tick: Tick,
        keep_bids: bool,
    ) -> Flight:
        """Fly the worlds, which are changed; the options are those of `worlds.flight.fly`."""


Maker = Callable[[], Policy | Reference]
"""Makes a fresh policy or reference; picklable where an executor is to call it elsewhere."""


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


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What all policies of a judgement have in common.

    Attributes:
        n_people: people per world. days: of the flight. runoff_days: with our ads off, in both twins.
        daily_budget_usd: per panel; None takes the market's budget a person.
        seed: for policies that draw. tuned: settings for the brief; None takes the market's own.
        cache: where warmed-up worlds are kept; None lives every warm-up.
        profile: name of the control profile of accounts, one of `CONTROL_PROFILES`; None lets controls change
            freely, as references always may.
    """

    n_people: int
    days: int
    runoff_days: int = 60
    daily_budget_usd: float | None = None
    seed: int = 0
    tuned: Tuned | None = None
    cache: WarmCache | None = None
    profile: str | None = None


def world_hours(
    n_worlds: int, n_policies: int, days: int, runoff_days: int, families: Sequence[Family] = (DEFAULT,)
) -> int:
    """World-hours that `judge` will live, for a progress bar's total."""
    own_twins = sum(family.changes_market for family in families)
    twins = own_twins + (own_twins < len(families))
    lives = n_policies * len(families) + twins
    return n_worlds * 24 * (WARM_UP_DAYS + lives * (days + runoff_days))


def judge(
    worlds: Sequence[World],
    policies: Mapping[str, Maker],
    *,
    family: Family = DEFAULT,
    tick: Tick = lambda _: None,
    keep: bool = False,
    executor: Executor | None = None,
    **terms: Any,
) -> Judgement:
    """Fly every policy on every world and difference it with the worlds' twins.

    Each batch of worlds is warmed up once under the status quo; all policies and the twin start from that
    snapshot and share its future draws. In the twin our ads are off for the flight and the run-off while
    rivals go on adapting, so it does not depend on the policy and is lived once.

    Args:
        worlds: of one market. policies: name -> function that makes a fresh policy or reference.
        family: of worlds, from the flight's first hour on.
        tick: told the world-hours done. keep: keep flights, twins and snapshots for reports.
        executor: where to run, `WORLDS_A_TASK` worlds at a time; None runs here, in large batches.
        terms: the fields of `Terms`.
    """
    options = Terms(**terms)
    judged = judge_families(
        worlds, policies, [family], terms=options, tick=tick, keep=keep, executor=executor
    )
    return judged[family.name]


def judge_families(
    worlds: Sequence[World],
    policies: Mapping[str, Maker],
    families: Sequence[Family],
    *,
    terms: Terms,
    tick: Tick = lambda _: None,
    keep: bool = False,
    executor: Executor | None = None,
    parts: Parts | None = None,
) -> dict[str, Judgement]:
    """Judge policies in several families of worlds, all from one warm-up; see `judge`.

    Families that leave the market as it is share a twin.

    Args:
        worlds, policies, families, terms, tick, keep, executor: see `judge`.
        parts: where to keep what each task finds, and what is not to be flown again; not with `keep`.

    Returns:
        {family: its judgement}

    Raises:
        BadInput: flights are to be kept, and an executor would have to send whole worlds.
    """
    inline = executor is None or isinstance(executor, InlineExecutor)
    if keep and not (inline and parts is None):
        remedy = "Keep them inline and without parts, or do not keep them."
        raise BadInput("keep", keep, "must be False with an executor or parts", remedy)
    if inline:
        cut = batches(worlds, terms.n_people) if parts is None else _cut(worlds, WORLDS_A_TASK)
        firsts = np.cumsum([0, *(len(part) for part in cut)])
        judged = [
            _judge_batch(part, policies, families, terms, tick, keep, parts, int(first))
            for part, first in zip(cut, firsts, strict=False)
        ]
    else:
        assert executor is not None
        cut = _cut(worlds, WORLDS_A_TASK)
        each = [
            world_hours(len(part), len(policies), terms.days, terms.runoff_days, families) for part in cut
        ]
        tasks = [
            (part, dict(policies), list(families), terms, parts, i * WORLDS_A_TASK)
            for i, part in enumerate(cut)
        ]
        judged = executor.map(_judge_task, tasks, done=lambda place: tick(each[place]))
    return {family.name: _joined([part[family.name] for part in judged]) for family in families}


def batches(worlds: Sequence[World], n_people: int) -> list[list[World]]:
    """Split worlds into batches small enough to copy, cut at multiples of `WORLDS_A_TASK` only.

    Results of policies do not depend on the split; those of `line_oracle` belong to groups of
    `WORLDS_A_GROUP`, which no batch divides.
    """
    per_world = 220.0 * n_people
    groups = max(1, int(_BYTES_AT_ONCE // (per_world * WORLDS_A_TASK)))
    return _cut(worlds, groups * WORLDS_A_TASK)


def _cut(worlds: Sequence[World], size: int) -> list[list[World]]:
    return [list(worlds[i : i + size]) for i in range(0, len(worlds), size)]


def _judge_task(
    task: tuple[list[World], dict[str, Maker], list[Family], Terms, Parts | None, int],
) -> dict[str, Judgement]:
    """Judge some worlds in a worker."""
    worlds, policies, families, terms, parts, first = task
    return _judge_batch(worlds, policies, families, terms, lambda _: None, False, parts, first)


def _judge_batch(
    worlds: Sequence[World],
    policies: Mapping[str, Maker],
    families: Sequence[Family],
    terms: Terms,
    tick: Tick,
    keep: bool,
    parts: Parts | None,
    first: int,
) -> dict[str, Judgement]:
    judged: dict[str, Judgement] = {}
    if parts is not None:
        lives = (len(worlds), len(policies), terms.days, terms.runoff_days)
        there = {family.name: parts.read(first, family.name) for family in families}
        judged = {name: Judgement(results=found) for name, found in there.items() if found is not None}
        left = [family for family in families if family.name not in judged]
        tick(world_hours(*lives, families) - (world_hours(*lives, left) if left else 0))
        if not left:
            return judged
        families = left
    snapshot, traffic = warmed(worlds, terms.n_people, cache=terms.cache, tick=tick)
    plain_twin: Market | None = None
    for family in families:
        start = snapshot
        if family.changes_market:
            start = snapshot.copy()
            family.apply(start, start.hour, terms.days)
        if family.changes_market or plain_twin is None:
            twin = start.copy()
            run_off(twin, terms.days + terms.runoff_days, tick)
            if not family.changes_market:
                plain_twin = twin
        else:
            twin = plain_twin
        found = Judgement(results={})
        for name, make in policies.items():
            flight = _flown(make(), start.copy(), traffic, family, terms, tick, keep)
            run_off(flight.market, terms.runoff_days, tick)
            found.results[name] = _sums(flight, twin, start, terms.runoff_days)
            if keep:
                found.flights[name] = [flight]
        if keep:
            found.twins, found.snapshots, found.traffic = [twin], [start], [traffic]
        if parts is not None:
            parts.write(first, family.name, found.results)
        judged[family.name] = found
    return judged


def _flown(
    policy: Policy | Reference,
    market: Market,
    traffic: Floats,
    family: Family,
    terms: Terms,
    tick: Tick,
    keep: bool,
) -> Flight:
    budget = terms.daily_budget_usd
    if family.budget_factor != 1.0:
        budget = family.budget_factor * float(panel_budget(market, budget)[0])
    options: dict[str, Any] = {
        "traffic": traffic,
        "days": terms.days,
        "daily_budget_usd": budget,
        "seed": terms.seed,
        "tuned": terms.tuned or tuned_for(market.worlds[0].file),
        "tick": tick,
        "keep_bids": keep,
    }
    if isinstance(policy, Reference):  # bids per opportunity leave no controls to replay
        return policy.fly(market, **options | {"keep_bids": False})
    profile = None if terms.profile is None else CONTROL_PROFILES[terms.profile]
    return fly(market, policy, profile=profile, **options)


def _sums(flight: Flight, twin: Market, start: Market, runoff_days: int) -> dict[str, Floats]:
    """Per-world sums: `twins.outcome`, and decisions as they were expected before their last draw.

    Expected ones have the mean of counted ones and less noise; they are not asked when they are booked.
    """
    expected = flight.market.books.expected[:, flight.seat]
    without, before = twin.books.expected[:, flight.seat], start.books.expected[:, flight.seat]
    return outcome(flight, twin, runoff_days) | {
        "expected_decisions": expected[:, 0] - before[:, 0],
        "expected_value_usd": expected[:, 1] - before[:, 1],
        "incremental_expected_decisions": expected[:, 0] - without[:, 0],
        "incremental_expected_value_usd": expected[:, 1] - without[:, 1],
    }


def _joined(parts: Sequence[Judgement]) -> Judgement:
    """Judgements of batches as one, in the order of the worlds."""
    first = parts[0]
    return Judgement(
        results={
            name: {key: np.concatenate([part.results[name][key] for part in parts]) for key in sums}
            for name, sums in first.results.items()
        },
        flights={name: [flight for part in parts for flight in part.flights[name]] for name in first.flights},
        twins=[twin for part in parts for twin in part.twins],
        snapshots=[snapshot for part in parts for snapshot in part.snapshots],
        traffic=[traffic for part in parts for traffic in part.traffic],
    )
