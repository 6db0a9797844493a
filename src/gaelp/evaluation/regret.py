"""Regret map: where, among markets, an agent earns less than a baseline.

The lead of an agent in a world is its expected incremental sales less spend, minus the baseline's, both
flown with the same luck; regret is a lead below zero. The search goes by the relative lead, which is the lead
as a part of the budget and of what both sell: it has the same sign, and no market looks bad or good because
everything in it is small. The search turns levers (`levers.py`) of training worlds: first at points that fill
the box evenly, then, round by round, where a surrogate that is drawn from what has been seen expects the lead
to be least. What it finds is a little lucky, so every case that is reported is flown again on validation
worlds that the search has not seen. Test worlds are never opened, and market files stay as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from gaelp.core.errors import BadInput
from gaelp.core.random import named_seed
from gaelp.evaluation.intervals import Interval, mean_interval
from gaelp.evaluation.judge import Maker, Terms, judge, world_hours
from gaelp.evaluation.levers import Lever, world_at
from gaelp.evaluation.parts import Parts, Sums
from gaelp.evaluation.surrogate import Effect, Surrogate, effects, fit
from gaelp.market.file import MarketFile
from gaelp.market.market import World
from gaelp.worlds.executors import Executor
from gaelp.worlds.flight import Tick
from gaelp.worlds.splits import drawn_world

Floats = NDArray[np.float64]

FIGURES = ("agent_sales_usd", "baseline_sales_usd", "agent_spend_usd", "baseline_spend_usd", "budget_usd")
"""What is kept of every world flown; sales are incremental, of expected decisions."""
_SALES, _SPEND, _BUDGET = "incremental_expected_value_usd", "spend_usd", "budget_usd"
FEW = (12, 6, 3, 1)
"""Cases of the strongest levers only, how many."""
PARTS = (2 / 3, 1 / 3)
"""Cases on the way from the market as it is stated to the worst that is expected."""
_AT_ONCE = 32
"""Worlds of one judgement: what is kept when a search is interrupted, and live memory."""
_FIRST_WORLD = 1_000_000
"""Index of the first training world of a search; trainings begin at 0."""


def leads(figures: Floats) -> tuple[Floats, Floats]:
    """Lead in USD, and relative: as a part of the budget and both sales.

    Args:
        figures: (5, ...) as `FIGURES`.

    >>> usd, relative = leads(np.array([300.0, 200.0, 90.0, 100.0, 100.0]))
    >>> float(usd), round(float(relative), 3)
    (110.0, 0.183)
    """
    sales, spend, budget = figures[:2], figures[2:4], figures[4]
    usd = (sales[0] - spend[0]) - (sales[1] - spend[1])
    return usd, usd / np.maximum(budget + np.abs(sales).sum(axis=0), 1e-9)


def p_values(lead_usd: Floats) -> Floats:
    """(n_cases,) two-sided p values of mean leads by Student's t, each by itself.

    Args:
        lead_usd: (n_cases, n_worlds), at least two worlds. Leads that are the same in all are sure, or none.

    >>> p_values(np.array([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0], [2.0, 2.0, 2.0]])).round(3).tolist()
    [0.074, 1.0, 0.0]
    """
    from scipy.stats import t  # here: it takes a second to import

    n_worlds = lead_usd.shape[1]
    mean, error = np.abs(lead_usd.mean(axis=1)), lead_usd.std(axis=1, ddof=1) / n_worlds**0.5
    varies = error > 0.0
    found: Floats = 2.0 * t.sf(mean / np.where(varies, error, 1.0), n_worlds - 1)
    return np.where(varies, found, np.where(mean > 0.0, 0.0, 1.0))


def holm(p: Floats) -> Floats:
    """(n_cases,) p values as they are where all cases are asked at once, by Holm's step-down.

    It holds the chance of any false case however the cases hang together; they share their worlds.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6(2), 1979.

    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    order = np.argsort(p, kind="stable")
    at_once = np.empty(len(p))
    at_once[order] = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1.0)
    return at_once


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a search goes.

    Attributes:
        points: that fill the box. rounds, tries: of the surrogate, and points of each.
        worlds: per point. confirm_worlds: fresh ones, per case.
        reach: steps from the market as it is stated to the edge of the box.
    """

    points: int = 128
    rounds: int = 3
    tries: int = 32
    worlds: int = 1
    confirm_worlds: int = 16
    reach: float = 6.0

    @property
    def n_worlds(self) -> int:
        """Worlds flown in all."""
        cases = 3 + len(PARTS) + len(FEW)
        return (self.points + self.rounds * self.tries) * self.worlds + cases * self.confirm_worlds

    def check(self, n_levers: int) -> None:
        """Refuse sizes that cannot be searched with.

        Raises:
            BadInput: one of them.
        """
        for name, least in (("points", n_levers + 10), ("rounds", 0), ("tries", 1), ("worlds", 1)):
            if not least <= (value := getattr(self, name)) <= 100_000:
                allowed = f"must be from {least:,} to 100,000" + (
                    f" with {n_levers} levers" if name == "points" else ""
                )
                raise BadInput(name, value, allowed, "Give a size in that range.")
        if not 2 <= self.confirm_worlds <= 100_000:
            allowed = "must be from 2 to 100,000"
            raise BadInput("confirm_worlds", self.confirm_worlds, allowed, "16 give an interval.")
        if not 0.0 < self.reach <= 20.0:
            raise BadInput(
                "reach",
                self.reach,
                "must be above 0 and at most 20",
                "6 is three times what most training worlds reach.",
            )


@dataclass(frozen=True)
class Case:
    """Some levers turned, flown on fresh worlds.

    Attributes:
        name: what it is. steps: by lever, those that are turned. searched: relative lead as the search saw or
            expected it. lead_usd, relative: on fresh worlds. figures: means of `FIGURES` there.
        p_value, p_holm: of no lead, by itself and where all cases of the search are asked at once.
    """

    name: str
    steps: Mapping[str, float]
    searched: float
    lead_usd: Interval
    relative: float
    figures: Mapping[str, float]
    p_value: float
    p_holm: float

    @property
    def loses(self) -> bool:
        """Whether the agent earns less there, clear of luck where this case alone is asked."""
        return self.lead_usd.high is not None and self.lead_usd.high < 0.0

    @property
    def loses_among_all(self) -> bool:
        """Whether it does also where all cases are asked at once (Holm, 5 %)."""
        return self.loses and self.p_holm < 0.05


@dataclass(frozen=True, eq=False)
class RegretMap:
    """What a search found.

    Attributes:
        levers: what was turned. search: how.
        effects: of one step of each lever on the relative lead, from the points that fill the box.
        steps: (n_points, n_levers) of all points flown, the box's first.
        figures: (5, n_points) means over the worlds of each, by `FIGURES`.
        surrogate: of the relative lead, fitted to all of them. cases: flown again, worst expected first.
    """

    levers: Sequence[Lever]
    search: Search
    effects: Sequence[Effect]
    steps: Floats
    figures: Floats
    surrogate: Surrogate
    cases: Sequence[Case]

    @property
    def lead_usd(self) -> Floats:
        """(n_points,) lead at all points flown."""
        return leads(self.figures)[0]

    @property
    def strongest(self) -> list[int]:
        """Levers by how much they cost the agent at the worst point expected, the strongest first."""
        gains = self.surrogate.gains(self.surrogate.least()[None])[0]
        return [int(i) for i in np.argsort(gains, kind="stable")]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        box = self.lead_usd[: self.search.points]
        return {
            "search": asdict(self.search),
            "points": {
                "n": len(box),
                "mean_lead_usd": box.mean(),
                "share_below_zero": float((box < 0).mean()),
                "lowest_usd": box.min(),
            },
            "levers": [
                {
                    "name": lever.name,
                    "step": lever.step,
                    "in_spread": lever.in_spread,
                    "factors": [lever.factor(-self.search.reach), lever.factor(self.search.reach)],
                    "effect_per_step": asdict(effect),
                }
                for lever, effect in zip(self.levers, self.effects, strict=True)
            ],
            "cases": [
                {**asdict(case), "lead_usd": case.lead_usd.as_dict()}
                | {"loses": case.loses, "loses_among_all": case.loses_among_all}
                for case in self.cases
            ],
            "flown": {"steps": self.steps, **dict(zip(FIGURES, self.figures, strict=True))},
        }


@dataclass
class Flights:
    """Flies points of a search; what was flown before is not flown again.

    Attributes:
        file: the market. levers: what points turn. agent, baseline: makers. terms: of all flights.
        seed: names the worlds. parts: where what was flown is kept until the search has ended.
    """

    file: MarketFile
    levers: Sequence[Lever]
    agent: Maker
    baseline: Maker
    terms: Terms
    seed: int
    tick: Tick = lambda _: None
    executor: Executor | None = None
    parts: Parts | None = None

    def fly(self, split: str, first: int, steps: Floats, n_worlds: int, *, same: bool) -> Floats:
        """Figures of (n_points, n_levers) points on worlds of their own, or all on the same.

        Args:
            split, first: which worlds. steps: of the points. n_worlds: per point.

        Returns:
            (5, n_points, n_worlds) by `FIGURES`.
        """
        places = [(i, j) for i in range(len(steps)) for j in range(n_worlds)]
        found = []
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            task = f"{split}-{first}"
            sums = self.parts.read(start, task) if self.parts else None
            if sums is not None:
                self.tick(self._hours(len(part)))
            else:
                worlds = [
                    world_at(
                        drawn_world(self.file, split, self.seed, first + (j if same else i * n_worlds + j)),
                        self.levers,
                        steps[i],
                    )
                    for i, j in part
                ]
                sums = self._judged(worlds)
                if self.parts:
                    self.parts.write(start, task, sums)
            found.append(_by_figure(sums))
        return np.concatenate(found, axis=1).reshape(len(FIGURES), len(steps), n_worlds)

    def _judged(self, worlds: list[World]) -> Sums:
        judged = judge(
            worlds,
            {"agent": self.agent, "baseline": self.baseline},
            tick=self.tick,
            executor=self.executor,
            **vars(self.terms),
        )
        return {
            who: {measure: sums[measure] for measure in (_SALES, _SPEND, _BUDGET)}
            for who, sums in judged.results.items()
        }

    def _hours(self, n_worlds: int) -> int:
        return world_hours(n_worlds, 2, self.terms.days, self.terms.runoff_days)


def _by_figure(sums: Sums) -> Floats:
    """(5, n_worlds) as `FIGURES`."""
    agent, baseline = sums["agent"], sums["baseline"]
    return np.array([agent[_SALES], baseline[_SALES], agent[_SPEND], baseline[_SPEND], agent[_BUDGET]])


def search_hours(search: Search, terms: Terms) -> int:
    """World-hours that `find` will live."""
    return world_hours(search.n_worlds, 2, terms.days, terms.runoff_days)


def find(flights: Flights, search: Search) -> RegretMap:
    """Search for worlds in which the agent earns less than the baseline, and confirm the worst.

    Raises:
        BadInput: sizes that cannot be searched with.
    """
    n_levers = len(flights.levers)
    search.check(n_levers)
    # Sobol points of forty levers are correlated by up to 0.8 where there are a hundred of them
    generator = np.random.default_rng(named_seed("regret box", flights.seed))
    box = (
        2.0 * qmc.LatinHypercube(n_levers, optimization="random-cd", rng=generator).random(search.points)
        - 1.0
    )
    points, figures = box, _flown(flights, search, box, 0)
    for turn in range(search.rounds):
        known = fit(points, leads(figures)[1])
        generator = np.random.default_rng(named_seed("regret round", flights.seed, turn))
        tries = np.array([known.draw_least(generator) for _ in range(search.tries)])
        new = _flown(flights, search, tries, len(points) * search.worlds)
        points, figures = np.concatenate([points, tries]), np.concatenate([figures, new], axis=1)
    relative = leads(figures)[1]
    known = fit(points, relative)
    return RegretMap(
        levers=flights.levers,
        search=search,
        effects=effects(box, relative[: len(box)], search.reach),
        steps=points * search.reach,
        figures=figures,
        surrogate=known,
        cases=_confirmed(flights, search, known, points, relative),
    )


def _flown(flights: Flights, search: Search, points: Floats, flown: int) -> Floats:
    """(5, n_points) mean figures on training worlds, each point on its own."""
    steps = points * search.reach
    figures = flights.fly("train", _FIRST_WORLD + flown, steps, search.worlds, same=False)
    mean: Floats = figures.mean(axis=2)
    return mean


def _confirmed(
    flights: Flights, search: Search, known: Surrogate, points: Floats, relative: Floats
) -> list[Case]:
    """The worst that is expected, parts of it, the worst flown and the market as stated, on fresh worlds."""
    worst = known.least()
    order = np.argsort(known.gains(worst[None])[0], kind="stable")
    seen = int(np.argmin(relative))
    named = {"all levers at their worst": worst}
    for part in PARTS:
        named[f"{part:.0%} of the way there".replace("%", " %")] = part * worst
    for few in (few for few in FEW if few < len(worst)):
        only = np.zeros(len(worst))
        only[order[:few]] = worst[order[:few]]
        named["the strongest lever" if few == 1 else f"the {few} strongest levers"] = only
    named["lowest lead in the search"] = points[seen]
    named["as stated"] = np.zeros(len(worst))
    cases = np.array(list(named.values()))
    figures = flights.fly("validation", 0, cases * search.reach, search.confirm_worlds, same=True)
    expected = known.at(cases)
    expected[list(named).index("lowest lead in the search")] = relative[seen]
    lead_usd = leads(figures)[0]
    each = p_values(lead_usd)
    at_once = holm(each)
    return [
        Case(
            name,
            {
                lever.name: float(step * search.reach)
                for lever, step in zip(flights.levers, case, strict=True)
                if abs(step) > 1e-9
            },
            float(expected[i]),
            mean_interval(lead_usd[i], seed=flights.seed),
            float(leads(figures[:, i].mean(axis=1))[1]),
            {key: float(figures[k, i].mean()) for k, key in enumerate(FIGURES)},
            float(each[i]),
            float(at_once[i]),
        )
        for i, (name, case) in enumerate(named.items())
    ]
