"""Why `value` earns what it earns: where it spends, what a dollar brings there, which parts it owes it to.

Three questions, asked on the same validation worlds with the same luck. What does each line's dollar bring?
Every fifth hour the value model (`lift.py`) says what each auction of the hour is worth; those that the
policy then won are summed beside what it paid. Which parts matter? The checkpoint is flown with parts of it
left out. Are its values true? What it learnt of each line on training worlds is set beside the mean worth of
the line's auctions here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES, SOCIAL_LINE
from gaelp.evaluation.intervals import UNDEFINED, Interval, PairedInterval, mean_interval, paired_interval
from gaelp.evaluation.intervals import ratio_of_sums_interval as ratio_interval
from gaelp.evaluation.judge import batches
from gaelp.evaluation.looks import Looks
from gaelp.evaluation.suites import NamedPolicy, contender
from gaelp.market.file import MarketFile
from gaelp.market.market import Market, World
from gaelp.market.state import SPEND
from gaelp.worlds.flight import WARM_UP_DAYS, Tick, fly, run_off
from gaelp.worlds.registry import TrainedLines, trained_lines
from gaelp.worlds.tuned import tuned_for
from gaelp.worlds.warmed import WarmCache, warmed

Floats = NDArray[np.float64]

COMPARED = ("pacing", "target_cpa")
"""Policies whose spending is set beside the agent's."""
WITHOUT: Mapping[str, Mapping[str, Any]] = {
    "without landing pages": {"landing": ()},
    "without line factors": {"multiplier": ()},
    "line factors only": {"landing": (), "settings": ()},
    "default step and aim": {"settings": ()},
    "nothing learnt": {"multiplier": (), "landing": (), "settings": (), "worth_usd": ()},
}
"""Ablations: what of a checkpoint is left empty."""
_N_RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Seen:
    """One policy's flight on all worlds.

    Attributes:
        profit_usd: (n_worlds,) expected incremental sales less spend. sales_usd: (n_worlds,) the former.
        spend_usd: (n_worlds, n_lines, 168) by hour of week from Monday.
        worth_usd, paid_usd: (n_worlds, n_lines) of what was won in the hours looked at, if any.
        auctions_usd, n_auctions: (n_worlds, n_lines) worth of all auctions looked at, on the agent's landing
            pages, per click (search) or impression; and how many.
        hours_per_look: of the flight.
    """

    profit_usd: Floats
    sales_usd: Floats
    spend_usd: Floats
    worth_usd: Floats
    paid_usd: Floats
    auctions_usd: Floats
    n_auctions: Floats
    hours_per_look: float

    def worth_per_dollar(self, line: int, seed: int) -> Interval:
        """Expected incremental USD for each USD spent on a line; undefined for e-mail: no auctions."""
        if line == EMAIL_LINE:
            return UNDEFINED
        return ratio_interval(self.worth_usd[:, line], self.paid_usd[:, line], seed=seed)

    @property
    def told_share(self) -> float:
        """Sum of worth won over incremental sales: 1 where the value model adds up; mail is not in it."""
        return float(self.worth_usd.sum() * self.hours_per_look / self.sales_usd.sum())


@dataclass(frozen=True)
class LineValue:
    """What the checkpoint says of a line, and what is true; USD of a click or of 1000 impressions."""

    line: str
    learnt_usd: float
    true_usd: Interval
    own_flight_usd: Interval


@dataclass(frozen=True, eq=False)
class Understanding:
    """What was found; `seen` by policy, the agent first. `landing` is the agent's page by line."""

    agent: str
    seen: Mapping[str, Seen]
    ablations: Mapping[str, PairedInterval]
    profits: Mapping[str, Interval]
    values: Sequence[LineValue]
    slope: Interval
    explained: float
    n_worlds: int

    def share(self, policy: str) -> Floats:
        """(n_lines,) share of what a policy spent."""
        by_line = self.seen[policy].spend_usd.sum(axis=(0, 2))
        share: Floats = by_line / max(float(by_line.sum()), 1e-9)
        return share

    def more_spend(self, policy: str, *, by_day: bool = False) -> Floats:
        """(n_lines, 24) share of the budget spent more by the agent than by `policy`, by hour of day.

        Args:
            by_day: (n_lines, 7) by weekday instead.
        """

        def shares(name: str) -> Floats:
            week = self.seen[name].spend_usd.sum(axis=0).reshape(N_LINES, 7, 24)
            found: Floats = week.sum(axis=2 if by_day else 1) / max(float(week.sum()), 1e-9)
            return found

        return shares(self.agent) - shares(policy)

    def as_dict(self, seed: int = 0) -> dict[str, Any]:
        """For JSON."""
        return {
            "lines": [
                {
                    "line": line.name,
                    **{
                        policy: {
                            "spend_share": self.share(policy)[i],
                            "worth_per_dollar": seen.worth_per_dollar(i, seed).as_dict(),
                        }
                        for policy, seen in self.seen.items()
                    },
                }
                for i, line in enumerate(LINES)
            ],
            "more_spend_by_hour": {
                policy: self.more_spend(policy) for policy in self.seen if policy != self.agent
            },
            "more_spend_by_weekday": {
                policy: self.more_spend(policy, by_day=True) for policy in self.seen if policy != self.agent
            },
            "told_share": {policy: seen.told_share for policy, seen in self.seen.items()},
            "expected_profit_usd": {name: each.as_dict() for name, each in self.profits.items()},
            "ablations": {name: each.as_dict() for name, each in self.ablations.items()},
            "values": [
                {
                    "line": each.line,
                    "learnt_usd": each.learnt_usd,
                    "true_usd": each.true_usd.as_dict(),
                    "own_flight_usd": each.own_flight_usd.as_dict(),
                }
                for each in self.values
            ],
            "calibration": {"slope": self.slope.as_dict(), "r2": self.explained},
        }


def parts_of(policy: str, file: MarketFile) -> TrainedLines:
    """What a checkpoint of `value` holds.

    Raises:
        BadInput: the policy is not `value` or a checkpoint of it.
    """
    found = trained_lines(policy, file)
    if found is None or found.agent != "value":
        allowed = "must be value or a checkpoint of it"
        raise BadInput("policy", policy, allowed, "Its parts are what is left out, one by one.")
    return found


def hours(n_worlds: int, days: int, runoff_days: int) -> int:
    """World-hours that `understand` will live."""
    lives = 2 + len(COMPARED) + len(WITHOUT)
    return n_worlds * 24 * (WARM_UP_DAYS + lives * (days + runoff_days))


def understand(
    file: MarketFile,
    policy: str,
    worlds: Sequence[World],
    *,
    n_people: int,
    days: int,
    runoff_days: int,
    seed: int = 0,
    cache: WarmCache | None = None,
    tick: Tick = lambda _: None,
) -> Understanding:
    """Fly a checkpoint of `value`, what it is compared with, and its ablations on the same worlds.

    Args:
        file: the market. policy: `value` or a checkpoint's path. worlds: validation worlds of the market.
        n_people: per world. days, runoff_days: of the flights. seed: names resamples.
        cache: where warmed-up worlds are kept. tick: told the world-hours done.

    Raises:
        BadInput: the policy is no `value`.
    """
    held = parts_of(policy, file)
    full = contender(policy, file)
    makers = {"value": full, **{name: contender(name, file) for name in COMPARED}}
    makers |= {
        name: NamedPolicy(full.name, full.market, held._replace(**empty)) for name, empty in WITHOUT.items()
    }
    pages = np.array([dict(held.landing).get(line.name, 0) for line in LINES], np.int64)
    parts: dict[str, list[Seen]] = {name: [] for name in makers}
    for batch in batches(worlds, n_people):
        snapshot, traffic = warmed(batch, n_people, cache=cache, tick=tick)
        twin = snapshot.copy()
        run_off(twin, days + runoff_days, tick)
        for name, make in makers.items():
            own = pages if name == "value" else np.zeros_like(pages)
            looked = (own, pages) if name == "value" or name in COMPARED else None
            parts[name].append(
                _seen(make, snapshot.copy(), twin, traffic, looked, days, runoff_days, seed, tick)
            )
    flown = {name: _together(found) for name, found in parts.items()}
    profit = {name: seen.profit_usd for name, seen in flown.items()}
    values, slope, explained = _calibration(dict(held.worth_usd), flown, seed)
    return Understanding(
        agent="value",
        seen={name: flown[name] for name in ("value", *COMPARED)},
        ablations={
            name: paired_interval(profit[name], profit["value"], seed=seed) for name in (*COMPARED, *WITHOUT)
        },
        profits={name: mean_interval(each, seed=seed) for name, each in profit.items()},
        values=values,
        slope=slope,
        explained=explained,
        n_worlds=len(worlds),
    )


def _seen(
    make: Callable[[], Any],
    market: Market,
    twin: Market,
    traffic: Floats,
    looked: tuple[NDArray[np.int64], NDArray[np.int64]] | None,
    days: int,
    runoff_days: int,
    seed: int,
    tick: Tick,
) -> Seen:
    start = market.hour
    looks = Looks(market, *looked) if looked else None

    def passed(n_worlds: int) -> None:
        tick(n_worlds)
        if looks:
            looks.hour(market.hour < start + 24 * days)

    flight = fly(
        market,
        make(),
        days=days,
        traffic=traffic,
        seed=seed,
        tuned=tuned_for(market.worlds[0].file),
        tick=passed,
        keep_bids=False,
    )
    run_off(market, runoff_days, tick)
    hour_of_week = (int(market.rules["start_hour_of_week"][0]) + start + np.arange(flight.hours)) % 168
    spend = np.zeros((168, market.n_worlds, N_LINES))
    np.add.at(spend, hour_of_week, flight.spend_micros.transpose(1, 0, 2) / MICROS_PER_USD)
    sales = market.books.expected[:, 0, 1] - twin.books.expected[:, 0, 1]
    nothing = np.zeros((market.n_worlds, N_LINES))
    return Seen(
        profit_usd=sales - flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD,
        sales_usd=sales,
        spend_usd=spend.transpose(1, 2, 0),
        worth_usd=looks.worth_usd if looks else nothing,
        paid_usd=looks.paid_usd if looks else nothing,
        auctions_usd=looks.auctions_usd if looks else nothing,
        n_auctions=looks.n_auctions if looks else nothing,
        hours_per_look=flight.hours / max(looks.n_looks, 1) if looks else 1.0,
    )


def _together(parts: Sequence[Seen]) -> Seen:
    names = [name for name in vars(parts[0]) if name != "hours_per_look"]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Seen(**joined, hours_per_look=parts[0].hours_per_look)


def _calibration(
    learnt: Mapping[str, float], flown: Mapping[str, Seen], seed: int
) -> tuple[list[LineValue], Interval, float]:
    """Learnt and true worth by line, the slope of log true on log learnt, and its R squared."""
    unit = np.where(np.arange(N_LINES) < SOCIAL_LINE, 1.0, 1000.0)

    def true(name: str, i: int) -> Interval:
        seen = flown[name]
        return ratio_interval(unit[i] * seen.auctions_usd[:, i], seen.n_auctions[:, i], seed=seed)

    values = [
        LineValue(line.name, learnt.get(line.name, 0.0), true("target_cpa", i), true("value", i))
        for i, line in enumerate(LINES[:EMAIL_LINE])
    ]
    seen = flown["target_cpa"]
    x = np.array([value.learnt_usd for value in values])
    total, count = (unit * seen.auctions_usd)[:, :EMAIL_LINE], seen.n_auctions[:, :EMAIL_LINE]
    use = (x > 0) & (total.sum(axis=0) > 0)
    if use.sum() < 3:
        return values, UNDEFINED, float("nan")
    log_x = np.log(x[use])

    def slope(worlds: NDArray[np.int64]) -> tuple[float, float]:
        mean = total[worlds][:, use].sum(axis=0) / np.maximum(count[worlds][:, use].sum(axis=0), 1.0)
        log_y = np.log(np.maximum(mean, 1e-9))
        return float(np.polyfit(log_x, log_y, 1)[0]), float(np.corrcoef(log_x, log_y)[0, 1] ** 2)

    n = len(total)
    best, explained = slope(np.arange(n))
    if n == 1:
        return values, Interval(best, None, None), explained
    drawn = np.random.default_rng(seed).integers(n, size=(_N_RESAMPLES, n))
    low, high = np.quantile([slope(worlds)[0] for worlds in drawn], (0.025, 0.975))
    return values, Interval(best, float(low), float(high)), explained
