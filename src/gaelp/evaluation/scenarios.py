"""What if: the next dollar by channel and by budget, another rival, another season.

Everything is a paired difference from today on the same worlds. Channels are asked by *direct* twins (every
control and every rival's bid as logged, one channel raised or silent), budgets and markets by flying again,
rivals learning. Sales are expected decisions, the chance of each before its draw: `judge` gives both.
"""

import calendar
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, PAID_CHANNELS, Channel
from gaelp.evaluation.intervals import (
    mean_interval,
    paired_interval,
    paired_ratio_interval,
    ratio_of_sums_interval,
)
from gaelp.evaluation.judge import Maker, Terms, batches, judge_families
from gaelp.evaluation.judge import world_hours as judged_hours
from gaelp.market.file import MarketFile, Rival
from gaelp.market.market import Market, World
from gaelp.market.state import SPEND, Rivals
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.families import Family
from gaelp.worlds.flight import Flight, Tick, run_off
from gaelp.worlds.twins import replay

Floats = NDArray[np.float64]

RAISE = 1.2
"""Factor on one channel's bids."""
TODAY = Family(name="today", about="The market and the budget as they are.")
ENTRANT = "Entrant"
_POLICY = "policy"
_SPEND, _SALES = "spend_usd", "incremental_expected_decisions"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        budgets: factors on the daily budget, without 1.
        rival_enters: ask what one more rival does.
        season_months: months by which the flight starts later; 0 does not ask.
        channels: ask for every paid channel.
    """

    budgets: tuple[float, ...] = (0.8, 1.2)
    rival_enters: bool = False
    season_months: int = 0
    channels: bool = True

    def families(self) -> list[Family]:
        """Today, and each other world that has to be flown."""
        found = [TODAY]
        found += [
            Family(name=budget_name(b), about=f"{b:g} of the budget.", budget_factor=b) for b in self.budgets
        ]
        if self.rival_enters:
            found.append(_Entry(name="rival_enters", about="One more rival.", revision=_enter))
        if self.season_months:
            found.append(_season(self.season_months))
        return found


def budget_name(factor: float) -> str:
    """What a budget's row is called: `budget_x0.8`."""
    return f"budget_x{factor:g}"


def world_hours(n_worlds: int, question: Question, days: int, runoff_days: int) -> int:
    """World-hours that `explore` will live, for a progress bar's total."""
    replays = 2 * len(PAID_CHANNELS) - 1 if question.channels else 0  # no bid raises e-mail, a fixed price
    flown = judged_hours(n_worlds, 1, days, runoff_days, question.families())
    return flown + n_worlds * 24 * replays * (days + runoff_days)


def explore(
    worlds: Sequence[World],
    make: Maker,
    question: Question,
    terms: Terms,
    tick: Tick = lambda _: None,
) -> dict[str, Any]:
    """Answer a question.

    Args:
        worlds: of one market. make: a fresh policy. question: what is asked. terms: sizes and budget.
        tick: told the world-hours done.

    Returns:
        JSON: `today`, `channels`, `budgets`, `scenarios`. Money and sales are means per simulated panel and
        flight; a CAC is a ratio of sums over worlds, with a 95 % interval over worlds.
    """
    if question.rival_enters:
        worlds = [World(with_silent_rival(world.file), world.seed) for world in worlds]
    families = question.families()
    parts: list[dict[str, tuple[Floats, Floats]]] = []
    for batch in batches(worlds, terms.n_people):
        judged = judge_families(batch, {_POLICY: make}, families, terms=terms, tick=tick, keep=True)
        sums = {name: judgement.results[_POLICY] for name, judgement in judged.items()}
        found = {name: (columns[_SPEND], columns[_SALES]) for name, columns in sums.items()}
        if question.channels:
            today = judged[TODAY.name]
            found |= by_channel(today.snapshots[0], today.flights[_POLICY][0], terms.runoff_days, tick)
        parts.append(found)
    flown = {
        name: tuple(np.concatenate([part[name][i] for part in parts]) for i in range(2)) for name in parts[0]
    }
    return _answers(flown, question, terms.seed)


def by_channel(
    snapshot: Market, flight: Flight, runoff_days: int, tick: Tick = lambda _: None
) -> dict[str, tuple[Floats, Floats]]:
    """What each channel adds as it is, and what raising its bids would add, by direct twins.

    Args:
        snapshot: the worlds before the flight. flight: flown with `keep_bids`, and run off.
        runoff_days: of the twins, as of the flight. tick: told the world-hours done.

    Returns:
        {"off NAME" and "up NAME": (dollars, sales) added, each (n_worlds,)}; e-mail, whose price is fixed, is
        not raised.
    """
    before = snapshot.books.report[:, 0, :, SPEND].sum(axis=1)
    sales = flight.market.books.expected[:, 0, 0]
    spend = flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD

    def difference(twin: Market, sign: float) -> tuple[Floats, Floats]:
        paid = (twin.books.report[:, 0, :, SPEND].sum(axis=1) - before) / MICROS_PER_USD
        return sign * (paid - spend), sign * (twin.books.expected[:, 0, 0] - sales)

    found = {}
    for channel in PAID_CHANNELS:
        lines, name = np.equal(CHANNEL_OF_LINE, int(channel)), channel.name.lower()
        silent = replay(snapshot, flight, lines_off=lines, runoff_days=runoff_days, tick=tick)
        found[f"off {name}"] = difference(silent, -1.0)
        if channel is not Channel.EMAIL:
            raised = replay_raised(snapshot, flight, lines, RAISE, runoff_days=runoff_days, tick=tick)
            found[f"up {name}"] = difference(raised, 1.0)
    return found


def replay_raised(
    snapshot: Market,
    flight: Flight,
    lines: NDArray[np.bool_],
    factor: float,
    *,
    runoff_days: int = 60,
    tick: Tick = lambda _: None,
) -> Market:
    """A flight lived again with some lines' bids times a factor, everybody else as logged.

    The direct twin of a raise: what it costs comes on top, so the daily budget is lifted hour by hour by
    what the raised lines have spent beyond the log, and no other line goes without. With a factor of 1 it is
    the flight itself.

    Args:
        snapshot: the worlds before the flight (copied). flight: flown with `keep_bids`, on seat 0.
        lines: (n_lines,) which are raised. factor: on manual bids and target CPAs, at least 1.
        runoff_days: days with our ads off afterwards. tick: told the world-hours done.

    Raises:
        BadInput: the factor is below 1, or the flight was not kept.
    """
    if not 1.0 <= factor < np.inf:
        raise BadInput("factor", factor, "must be at least 1 and finite", "Use twins.replay to go down.")
    if len(flight.approved) != flight.hours:
        said = f"{len(flight.approved)} of {flight.hours} hours logged"
        raise BadInput("flight", said, "must be logged", "Fly it with keep_bids=True.")
    twin = snapshot.copy()
    platform = SimulatedPlatform(twin, adapt=False)
    platform.open(seat=0, hours=flight.hours, delivery=flight.delivery)
    controls = platform.controls
    logged = flight.spend_micros[:, :, lines].sum(axis=2)
    for h in range(flight.hours):
        if h % 24 == 0:
            twin.rivals.bid[:] = flight.replay_bid[h // 24]
        twin.rivals.active[:] = flight.replay_active[h]
        platform.apply(flight.approved[h])
        controls.bid[:, 0, lines] *= factor
        controls.target_cpa[:, 0, lines] *= factor
        if factor > 1.0:
            spent = twin.books.line_spent_today[:, 0, lines].sum(axis=1)
            beyond = np.maximum(spent - logged[:, h - h % 24 : h].sum(axis=1), 0)
            # the hour itself may cost more too: twice the factor leaves room for more wins at higher prices
            beyond += np.ceil((factor**2 - 1.0) * 2.0 * logged[:, h]).astype(np.int64)
            controls.daily_cap[:, 0] += beyond
            controls.line_cap[:, 0, lines] = np.minimum(
                np.ceil(factor * controls.line_cap[:, 0, lines]), np.iinfo(np.int64).max // 4
            ).astype(np.int64)
        platform.advance()
        tick(twin.n_worlds)
    twin.rivals = Rivals._make(array.copy() for array in flight.rivals_after)
    run_off(twin, runoff_days, tick)
    return twin


def mean_rival(file: MarketFile) -> Rival:
    """A rival whose strength, brand, quality, price and budget are the mean of the market's."""
    if not file.rivals:
        raise BadInput("rivals", 0, "must be at least 1", "Name rivals in the market file.")
    names = ("strength", "prior", "quality", "price_index", "budget_usd_per_1000")
    mean = {name: float(np.mean([getattr(rival, name) for rival in file.rivals])) for name in names}
    return Rival(name=ENTRANT, strategy="paced_value", learning_rate=0.05, exploration=0.0, **mean)


def with_silent_rival(file: MarketFile) -> MarketFile:
    """The file with one more rival that stands by: no bid, no budget, a brand that hardly anybody picks."""
    silent = replace(mean_rival(file), strength=0.0, budget_usd_per_1000=0.0, prior=-5.0)
    return replace(file, rivals=(*file.rivals, silent))


class _Entry(Family):
    """The silent rival enters, unspoilt by the weeks in which it had nothing to spend."""

    def apply(self, market: Market, start_hour: int, days: int = 30) -> None:
        """See `Family.apply`."""
        super().apply(market, start_hour, days)
        market.rivals.pace[:, -1] = 1.0
        market.rivals.multiplier[:, -1] = 1.0
        market.rivals.q[:, -1] = 0.0
        market.rivals.trace[:, -1] = 0.0


def _enter(file: MarketFile, start_day: int, days: int) -> MarketFile:
    others = replace(file, rivals=file.rivals[:-1])
    return replace(file, rivals=(*others.rivals, mean_rival(others)))


def _season(months: int) -> Family:
    def later(file: MarketFile, start_day: int, days: int) -> MarketFile:
        weeks = round((months_later(file.start, months) - file.start).days / 7)
        return replace(file, start=file.start + dt.timedelta(weeks=weeks))  # the days of the week stay

    return Family(name="season_moved", about=f"The flight starts {months:+d} months later.", revision=later)


def months_later(day: dt.date, months: int) -> dt.date:
    """The same day of another month, or that month's last.

    >>> months_later(dt.date(2025, 8, 31), 6), months_later(dt.date(2025, 3, 3), -4)
    (datetime.date(2026, 2, 28), datetime.date(2024, 11, 3))
    """
    year, month = divmod(12 * day.year + day.month - 1 + months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _answers(flown: dict[str, Any], question: Question, seed: int) -> dict[str, Any]:
    today = flown[TODAY.name]
    scenarios = [name for name in ("rival_enters", "season_moved") if name in flown]
    budgets = [{"factor": 1.0, **_average(today, seed), "marginal_cac_usd": None, "added": None}]
    for factor in question.budgets:
        other = flown[budget_name(factor)]
        sign = 1.0 if factor > 1.0 else -1.0
        added = (sign * (other[0] - today[0]), sign * (other[1] - today[1]))
        marginal = _cac(added, seed)
        row = {"factor": factor, **_average(other, seed), "marginal_cac_usd": marginal}
        budgets.append(row | {"added": _added(added, seed)})
    return {
        "today": _average(today, seed),
        "budgets": sorted(budgets, key=lambda row: row["factor"]),
        "channels": _channels(flown, seed) if question.channels else [],
        "scenarios": {name: _compared(flown[name], today, seed) for name in scenarios},
    }


def _channels(flown: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    rows = []
    for channel in PAID_CHANNELS:
        name = channel.name.lower()
        off, up = flown[f"off {name}"], flown.get(f"up {name}")
        row: dict[str, Any] = {"channel": name, **_average(off, seed)}
        row["marginal_cac_usd"] = None if up is None else _cac(up, seed)
        row["added"] = None if up is None else _added(up, seed)
        rows.append(row)
    return rows


def _compared(other: Any, today: Any, seed: int) -> dict[str, Any]:
    return {
        **_average(other, seed),
        "difference": {
            "spend_usd": paired_interval(other[0], today[0], seed=seed).as_dict(),
            "incremental_conversions": paired_interval(other[1], today[1], seed=seed).as_dict(),
            "incremental_cac_usd": paired_ratio_interval(
                other, today, seed=seed, lower_is_better=True
            ).as_dict(),
        },
    }


def _average(pair: Any, seed: int) -> dict[str, Any]:
    return {**_added(pair, seed), "incremental_cac_usd": _cac(pair, seed)}


def _added(pair: Any, seed: int) -> dict[str, Any]:
    spend, sales = pair
    return {
        "spend_usd": mean_interval(spend, seed=seed).as_dict(),
        "incremental_conversions": mean_interval(sales, seed=seed).as_dict(),
    }


def _cac(pair: Any, seed: int) -> dict[str, float | None]:
    """Dollars per sale; undefined where nothing was gained, or money saved, on balance."""
    spend, sales = pair
    if spend.sum() <= 0:
        return {"mean": None, "low": None, "high": None}
    return ratio_of_sums_interval(spend, sales, seed=seed).as_dict()
