"""Geo holdouts flown in the simulated market, and what they truly cost, by their twins.

A holdout is flown as an account would fly it: in half of the regions ads go dark for some weeks, and two
regressions (`measurement.experiments`: `geo_regression` over regions, `geo` over days) say what was lost. Its
twin is the same world, flown by the same policy with the same draws and no holdout; what it sold beyond the
holdout in the dark regions on the same days is the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.holdout import RegionHoldout
from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput
from gaelp.core.random import named_seed
from gaelp.core.units import MICROS_PER_USD
from gaelp.evaluation.judge import Maker
from gaelp.evaluation.task_flights import Task, spread
from gaelp.market.market import World
from gaelp.market.state import GEO_SPEND
from gaelp.measurement.experiments.geo import LEAST_PRE, Panel, Window, geo_lift
from gaelp.measurement.experiments.geo_regression import region_lift
from gaelp.worlds.executors import Executor
from gaelp.worlds.flight import Tick, fly
from gaelp.worlds.regions import REGION_NAMES, RegionDays, RegionRecorder
from gaelp.worlds.warmed import WarmCache, warmed

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """A geo holdout's terms.

    Attributes:
        n_people: people per world.
        pre_days: of the flight before the test. test_days: with the regions dark.
        cool_days: with ads everywhere again, in which what the test has cost still shows.
        daily_budget_usd: per panel; None takes the market's budget a person.
        seed: deals the regions, and names policies' draws.
        cache: where warmed-up worlds are kept; None lives every warm-up.
    """

    n_people: int
    pre_days: int = 42
    test_days: int = 28
    cool_days: int = 14
    daily_budget_usd: float | None = None
    seed: int = 0
    cache: WarmCache | None = None

    def __post_init__(self) -> None:
        for name, least in (("pre_days", LEAST_PRE), ("test_days", 1), ("cool_days", 0)):
            value = getattr(self, name)
            if value < least:
                raise BadInput(name, value, f"must be at least {least}", "Give the design more days.")

    @property
    def days(self) -> int:
        """Of the whole flight."""
        return self.pre_days + self.test_days + self.cool_days


@dataclass(frozen=True)
class FlownHoldout:
    """Holdouts flown, one a world, with their twins.

    Attributes:
        dark: (n_worlds, n_regions) without ads in the test.
        held, twin: regions by day, with the holdout and without.
        pre_days: days before the test.
    """

    dark: NDArray[np.bool_]
    held: RegionDays
    twin: RegionDays
    pre_days: int


def deal_regions(size: Floats, seeds: Sequence[int]) -> NDArray[np.bool_]:
    """Half of the regions of each world at random, one of each two neighbours in size.

    Args:
        size: (n_worlds, n_regions) people. seeds: (n_worlds,) of the deals.

    Returns:
        (n_worlds, n_regions).
    """
    dealt = np.zeros(size.shape, bool)
    for row, people, seed in zip(dealt, size, seeds, strict=True):
        pairs = np.argsort(-people, kind="stable")[: people.size // 2 * 2].reshape(-1, 2)
        row[pairs[np.arange(len(pairs)), np.random.default_rng(seed).integers(0, 2, len(pairs))]] = True
    return dealt


def run_holdouts(
    worlds: Sequence[World],
    make: Maker,
    terms: Holdout,
    *,
    tick: Tick = lambda _: None,
    executor: Executor | None = None,
) -> dict[str, Floats]:
    """Fly a geo holdout and its twin in every world, estimate what was lost, and compare.

    Args:
        worlds: of one market. make: a fresh policy. terms: of the holdout.
        tick: told the world-hours done. executor: where to run; None is here.

    Returns:
        (n_worlds,) each, see `readings`.
    """
    hours = 24 * 2 * terms.days
    parts = spread(_read, worlds, make, terms, hours=hours, tick=tick, executor=executor)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _read(task: Task[Holdout], tick: Tick) -> dict[str, Floats]:
    return readings(fly_holdout(task, tick), task.terms.seed)


def fly_holdout(task: Task[Holdout], tick: Tick = lambda _: None) -> FlownHoldout:
    """Fly a holdout and its twin in a task's worlds; see `run_holdouts`."""
    worlds, terms = task.worlds, task.terms
    snapshot, traffic = warmed(worlds, terms.n_people, cache=terms.cache)
    size = np.diff(snapshot.rules["region_edge"], axis=1, prepend=0.0)
    seeds = [named_seed("geo holdout", terms.seed, world.seed) for world in worlds]
    dark = deal_regions(size, seeds)
    # the account's own report of the warm-up says what each region costs
    cost = snapshot.books.geo[:, 0, :, :, GEO_SPEND].sum(axis=2) + 1e-9
    until = 24 * (terms.pre_days + terms.test_days)

    def flown(policy: Policy) -> RegionDays:
        market = snapshot.copy()
        recorder = RegionRecorder(market, tick=tick)
        fly(
            market,
            policy,
            days=terms.days,
            traffic=traffic,
            daily_budget_usd=terms.daily_budget_usd,
            seed=terms.seed,
            tick=recorder,
            keep_bids=False,
        )
        return recorder.table()

    held = flown(RegionHoldout(task.policy(), dark, 24 * terms.pre_days, until, cost_share=cost))
    return FlownHoldout(dark, held, flown(task.policy()), terms.pre_days)


def readings(flown: FlownHoldout, seed: int = 0, level: float = 0.95) -> dict[str, Floats]:
    """Estimate and truth of each world.

    Args:
        flown: holdouts with their twins. seed: of placebo deals. level: of the intervals.

    Returns:
        (n_worlds,) each: `lost`, `low`, `high`, `error` (sales that the regression over regions says the dark
        ones lost in test and cool-down, positive where ads sell, its interval and standard error), the same
        by days with `days_` before it, and `days_slope`, `days_autocorrelation`, `placebo_p`; `truth` (sales
        that the twin has there beyond them), `spill` (that it has beyond them in control), `sold` (by the
        twin in the dark regions), `saved_usd` (spend of the twin in the dark regions beyond theirs),
        `control_spend` (spend in control over the twin's there).
    """
    rows = []
    test = slice(flown.pre_days, None)
    for w in range(flown.dark.shape[0]):
        dark = flown.dark[w]
        panel, sales = panel_of(flown.held, w), flown.held.sales[w].astype(float)
        before, during = sales[: flown.pre_days].sum(axis=0), sales[test].sum(axis=0)
        by_region = region_lift(before, during, flown.held.population[w], dark, level=level)
        by_day = geo_lift(panel, *_windows(flown), dark, level=level, n_placebos=199, seed=seed)
        held, twin = flown.held.sales[w, test], flown.twin.sales[w, test]
        spent, would = (
            table.delivery[w, test, :, :, GEO_SPEND].sum(axis=(0, 2)) / MICROS_PER_USD
            for table in (flown.held, flown.twin)
        )
        rows.append(
            {
                "lost": -by_region.effect,
                "low": -by_region.high,
                "high": -by_region.low,
                "error": by_region.error,
                "days_lost": -by_day["effect"],
                "days_low": -by_day["effect_high"],
                "days_high": -by_day["effect_low"],
                "days_error": by_day["effect_se"],
                "days_slope": by_day["slope"],
                "days_autocorrelation": by_day["residual_autocorrelation"],
                "placebo_p": by_day["placebo_p"],
                "truth": (twin - held)[:, dark].sum(),
                "spill": (twin - held)[:, ~dark].sum(),
                "sold": twin[:, dark].sum(),
                "saved_usd": (would - spent)[dark].sum(),
                "control_spend": spent[~dark].sum() / would[~dark].sum(),
            }
        )
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def panel_of(table: RegionDays, world: int) -> Panel:
    """One world's regions by day, as the geo experiments read them: sales, and dollars spent."""
    return Panel(
        geos=np.array(REGION_NAMES),
        days=table.days,
        response=table.sales[world].T.astype(float),
        cost=table.spend_usd[world].sum(axis=2).T,
        absent=0,
    )


def _windows(flown: FlownHoldout) -> tuple[Window, Window]:
    days = flown.held.days
    return Window(days[0], days[flown.pre_days - 1]), Window(days[flown.pre_days], days[-1])
