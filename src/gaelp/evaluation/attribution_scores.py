"""How far attribution models are from the truth: credits by channel against twins without the channel.

Models see what the account sees, the user-level events of many pooled worlds. The truth of a channel is the
*direct* effect: sales of the flight less those of a twin in which the channel's lines are silent and all else
is as logged. Two distances, because a model can divide well and claim too much, or the other way round:

    shares  half the sum over paid channels of |credited share - true share|: 0 to 1 where shares are positive
    counts  sum over paid channels of |credited - true|, over the sum of the true: all-zero credit scores 1

Intervals are over worlds, drawn with replacement; models, experiments and truth see the same draws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import PAID_CHANNELS
from gaelp.journeys.table import JourneyTable
from gaelp.measurement.attribution.calibrated import Experiment, Prior, calibrate
from gaelp.measurement.attribution.credits import Counts, Credits, Settings, Unanswerable
from gaelp.measurement.attribution.models import MODELS
from gaelp.platforms.lift import LiftReport, lift_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMES = tuple(channel.name.lower() for channel in PAID_CHANNELS)
ZERO, LAST_CLICK, SCALED, CALIBRATED = "all_zero", "last_click", "last_click_scaled", "calibrated"
"""Rows beside the models: no credit at all; what platforms claim, by the last click within 30 days; that
times the constant that makes its total true; that corrected by lift tests.

The model `last` is another thing than `last_click`: it credits the last touch that the account saw, and an
impression like a click.
"""
LEAST_WORLDS = 8
"""Fewer say nothing of how worlds differ: no intervals."""


class LiftTests(NamedTuple):
    """Lift tests and, of the same worlds, what platforms claim by the last click within 30 days.

    Attributes:
        lift: what was counted in both arms. claimed: (n_worlds, 6) conversions by paid channel.
    """

    lift: LiftReport
    claimed: Floats


@dataclass(frozen=True)
class Evidence:
    """What is seen and what is true of some worlds.

    Attributes:
        table: journeys of all worlds. world: (n_rows,) which world each row is of.
        truth: (n_worlds, 6) sales that each paid channel caused.
        claimed: (n_worlds, 6) conversions that platforms claim, by the last click within 30 days, decided
            from the flight's start to the run-off's end, as all else is.
        spend_usd: (n_worlds,) of the flight.
        tested: its lift tests; None where none ran. May be of more worlds than the rest.
    """

    table: JourneyTable
    world: Ints
    truth: Floats
    claimed: Floats
    spend_usd: Floats
    tested: LiftTests | None = None

    def with_tests(self, tested: LiftTests) -> "Evidence":
        """The same with lift tests, which may be of other and more worlds of the market."""
        return replace(self, tested=tested)


def pooled(parts: Sequence[Evidence]) -> Evidence:
    """Several batches of different worlds as one."""
    if not parts:
        raise BadInput("parts", 0, "must be at least 1", "Score at least one world.")
    tables = [part.table for part in parts]
    touches = np.cumsum([0, *(table.n_touches for table in tables)])
    worlds = np.cumsum([0, *(len(part.truth) for part in parts)])
    people = np.cumsum([0, *(int(t.person.max(initial=-1)) + 1 for t in tables if t.person is not None)])

    def joined(name: str) -> Any:
        return np.concatenate([getattr(table, name) for table in tables])

    table = JourneyTable(
        channels=tables[0].channels,
        offsets=np.concatenate([[0], *(t.offsets[1:] + touches[i] for i, t in enumerate(tables))]),
        **{name: joined(name) for name in ("channel", "conversions", "nulls", "value_usd_micros")},
        **{name: joined(name) for name in ("touch_hour", "end_hour", "kind")},
        person=np.concatenate([t.person + people[i] for i, t in enumerate(tables) if t.person is not None]),
    )
    tests = [part.tested for part in parts if part.tested is not None]
    return Evidence(
        table,
        np.concatenate([part.world + worlds[i] for i, part in enumerate(parts)]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.claimed for part in parts]),
        np.concatenate([part.spend_usd for part in parts]),
        tested_together(tests) if tests else None,
    )


def tested_together(tests: Sequence[LiftTests]) -> LiftTests:
    """Tests of several batches of worlds as one."""
    lift = LiftReport(*(np.concatenate(parts) for parts in zip(*(each.lift for each in tests), strict=True)))
    return LiftTests(lift, np.concatenate([each.claimed for each in tests]))


def experiments_of(tested: LiftTests, weight: Floats | None = None) -> dict[str, Experiment]:
    """What each tested channel caused as a share of what platforms claim for it, with standard errors.

    Args:
        tested: lift tests of some worlds. weight: (n_worlds,) how often each counts; None once.
    """
    times = np.ones(len(tested.claimed)) if weight is None else weight
    people = np.tensordot(times, tested.lift.people, 1)
    sales = np.tensordot(times, tested.lift.conversions, 1)
    claimed = times @ tested.claimed
    found = {}
    for i, name in enumerate(NAMES):
        caused, error = lift_of(people[i], sales[i])
        if caused is not None and error is not None and claimed[i] > 0:
            found[name] = Experiment(caused / float(claimed[i]), error / float(claimed[i]))
    return found


def shares_distance(credit: Floats, truth: Floats) -> float:
    """Half the absolute differences of shares; 1 where nothing is credited, NaN where nothing was caused."""
    if not truth.sum() > 0:
        return np.nan
    if credit.sum() <= 0:
        return 1.0
    return float(0.5 * np.abs(credit / credit.sum() - truth / truth.sum()).sum())


def counts_distance(credit: Floats, truth: Floats) -> float:
    """Absolute differences of counts over all that is true; NaN where nothing was caused."""
    return float(np.abs(credit - truth).sum() / truth.sum()) if truth.sum() > 0 else np.nan


@dataclass(frozen=True, eq=False)
class Score:
    """One row of the ranking.

    Attributes:
        credits: (6,) conversions credited to the paid channels.
        shares, counts: (1 + n_bootstrap,) distances; the first of all worlds, the others of draws of worlds,
            the same for every row.
    """

    credits: Floats
    shares: Floats
    counts: Floats

    def less_half_of(self, other: "Score") -> dict[str, tuple[float, float, float]]:
        """By measure, this distance less half of another row's, with a 95 % interval; below 0 is nearer."""
        return {
            "shares": _with_ends(self.shares - 0.5 * other.shares),
            "counts": _with_ends(self.counts - 0.5 * other.counts),
        }

    def as_dict(self) -> dict[str, Any]:
        """JSON; the ends are null where there are none."""
        found: dict[str, Any] = {"credits": dict(zip(NAMES, self.credits.tolist(), strict=True))}
        for name, draws in (("shares", self.shares), ("counts", self.counts)):
            found[name], *ends = _with_ends(draws)
            found[f"{name}_low"], found[f"{name}_high"] = (None if np.isnan(end) else end for end in ends)
        return found


def _with_ends(draws: Floats) -> tuple[float, float, float]:
    """The first, and the 95 % interval of the others, drawn worlds that caused nothing left out."""
    if np.isnan(draws[1:]).all():
        return float(draws[0]), np.nan, np.nan
    low, high = np.nanquantile(draws[1:], [0.025, 0.975])
    return float(draws[0]), float(low), float(high)


def score(
    evidence: Evidence,
    models: Sequence[str] | None = None,
    settings: Settings | None = None,
    *,
    n_bootstrap: int = 200,
    tick: Callable[[int], None] = lambda _: None,
) -> dict[str, Score]:
    """Rank models by their distance to the truth, nearest shares first.

    Args:
        evidence: of pooled worlds. settings: of models.
        models: names; None for all that the table can answer.
        n_bootstrap: draws of worlds; of fewer than `LEAST_WORLDS` none are made.
        tick: told model runs done, (1 + n_bootstrap) a model.

    Raises:
        BadInput: the channels caused nothing in all, so there is no distance to speak of.
    """
    settings = settings or Settings()
    if not evidence.truth.sum() > 0:
        raise BadInput("truth", float(evidence.truth.sum()), "must be above 0", "Score more worlds.")
    estimates = {}
    for name in dict.fromkeys(models or MODELS):
        try:
            estimates[name] = MODELS[name](evidence.table, settings)
        except Unanswerable:
            if models is not None:
                raise
    counts = Counts.of(evidence.table)
    paid = np.array([evidence.table.channels.index(name) for name in NAMES])
    n_worlds = len(evidence.truth)
    n_bootstrap = n_bootstrap if n_worlds >= LEAST_WORLDS else 0
    rng = np.random.default_rng(settings.seed)
    rows: list[dict[str, tuple[Floats, float, float]]] = []
    for draw in range(n_bootstrap + 1):
        drawn = rng.integers(n_worlds, size=n_worlds) if draw else np.arange(n_worlds)
        weight = np.bincount(drawn, minlength=n_worlds).astype(np.float64)
        truth = weight @ evidence.truth
        each = weight[evidence.world]
        counted = Counts(counts.conversions * each, counts.nulls * each, counts.value_usd * each)
        credits: dict[str, Credits] = {}
        for name, estimate in estimates.items():
            credits[name] = estimate(counted)
            tick(1)
        factors = {}
        if evidence.tested is not None:
            n_tested = len(evidence.tested.claimed)
            again = np.ones(n_tested)
            if draw:  # tested worlds are drawn by themselves
                again = np.bincount(rng.integers(n_tested, size=n_tested), minlength=n_tested).astype(float)
            factors = experiments_of(evidence.tested, again)
        found = {name: each.conversions[paid] for name, each in credits.items()}
        found[LAST_CLICK] = weight @ evidence.claimed
        rows.append(_distances(found, truth, factors))
    scores = {
        name: Score(rows[0][name][0], *(np.array([row[name][i] for row in rows]) for i in (1, 2)))
        for name in rows[0]
    }
    return dict(sorted(scores.items(), key=lambda item: item[1].shares[0]))


def _distances(
    credits: dict[str, Floats], truth: Floats, factors: Mapping[str, Experiment]
) -> dict[str, tuple[Floats, float, float]]:
    claims = credits[LAST_CLICK]
    credits[ZERO] = np.zeros(len(NAMES))
    credits[SCALED] = claims * truth.sum() / max(claims.sum(), 1e-9)
    tests = {
        name: Experiment(*(value * claim for value in factors[name]))
        for name, claim in zip(NAMES, claims, strict=True)
        if name in factors and claim > 0
    }
    if tests:
        claimed = Credits(np.append(claims, 0.0), np.zeros(len(NAMES) + 1))
        credits[CALIBRATED] = calibrate(claimed, NAMES, tests, Prior()).credits.conversions[:-1]
    return {
        name: (credit, shares_distance(credit, truth), counts_distance(credit, truth))
        for name, credit in credits.items()
    }
