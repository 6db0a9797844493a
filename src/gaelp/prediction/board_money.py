"""What retraining is estimated to have been worth, and the spend and value that this and ROAS need.

Bids are a value times a predicted rate in second-price auctions, and impressions won grow as bid^e. Where
rates are off by a factor exp(d), profit goes as exp(e d) - e / (1 + e) exp((1 + e) d) and spend, at d = 0, as
e / (1 + e): to second order the error costs (1 + e) d² / 2 of the spend. And d² / 2 is the logloss, in nats
per event, that it adds where events are rare. So between two models judged on the same outcomes

    money saved = spend x (1 + e) x (logloss before - logloss after), in nats per event

where the noise that both share has gone.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import sqlalchemy as sa

from gaelp.core.errors import BadInput
from gaelp.journeys.batch import micros_since_1970
from gaelp.prediction.accuracy import DAY_US, AccuracyTracker
from gaelp.prediction.gate import PromotionGate
from gaelp.prediction.model import load
from gaelp.prediction.registry import Move, Registry
from gaelp.prediction.samples import read_samples
from gaelp.prediction.schema import prediction_comparisons, prediction_records, purchase_signals, videos

USD = "USD"
COVERED = 0.9
"""Share of the impressions whose creatives must have a known cost."""
NO_CHAMPION, DATED_AHEAD, ROLLED_BACK, NOT_JUDGED = (
    "no champion before it",
    "dated ahead of the clock, so since when it served is not known",
    "rolled back, and too little came of it to say what it cost",
    "too little came of it, and its gate's figures are not kept",
)
SINCE, GATE = "outcomes since", "its gate's days"
Measure = Callable[[str, str, int, int], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Spend:
    """Spend by day, whole days since 1970 began, in USD; `source` says where from, or why there is none."""

    by_day: Mapping[int, float] = field(default_factory=dict)
    source: str
    is_known: bool

    def of_days(self, first: int, end: int) -> float | None:
        """Spend from day `first` up to, not with, day `end`; None: not known."""
        if not self.is_known:
            return None
        return float(sum(usd for day, usd in self.by_day.items() if first <= day < end))


@dataclass(frozen=True, kw_only=True)
class Saving:
    """What a promotion is estimated to have been worth in the window.

    Attributes:
        version: promoted. over: champion before; None: there was none. at: when.
        days: whole days that count, up to a rollback. spend_usd: on them; None: not known.
        nats_per_event: logloss saved. low, high: 98 % interval of that. events: that it was measured on.
        basis: `SINCE`, on outcomes since the promotion, or `GATE`, on those that its gate judged.
        usd, usd_low, usd_high: worth; None: cannot be told. reason: why it cannot; empty: it can.
    """

    version: str
    over: str | None
    at: str
    days: int
    spend_usd: float | None = None
    nats_per_event: float | None = None
    low: float | None = None
    high: float | None = None
    events: int | None = None
    basis: str = ""
    usd: float | None = None
    usd_low: float | None = None
    usd_high: float | None = None
    reason: str = ""


def savings(
    moves: Sequence[Move],
    spans: Sequence[tuple[int, int]],
    spend: Spend,
    *,
    first: int,
    end: int,
    elasticity: float,
    measure: Measure,
) -> dict[str, Any]:
    """What promotions of a window are estimated to have been worth, against none of them.

    Args:
        moves: of the registry, oldest first. spans: of these, as of `spans_of`. spend: by day.
        first, end: of the window, whole days since 1970 began; `end` does not count.
        elasticity: e, of impressions won to the bid, above 0.
        measure: figures of a `gate.GateDecision` by (version before, version, first day, end).

    Returns:
        `bid_elasticity`; `promotions`, `Saving` each; `usd`, `usd_low`, `usd_high` of those that can be told
        (None: none can, and `reason` says why); `assumptions`, sentences.
    """
    found = [
        _saving(moves, spans, i, spend, end, elasticity, measure)
        for i, move in enumerate(moves)
        if move.action == "promote" and spans[i][0] < end and first <= spans[i][1]
    ]
    told = [each for each in found if each.usd is not None]
    sums: dict[str, Any] = {"usd": None, "usd_low": None, "usd_high": None, "reason": ""}
    if told:
        usd, low, high = (
            np.array([getattr(each, name) for each in told]) for name in ("usd", "usd_low", "usd_high")
        )
        sums["usd"] = float(usd.sum())
        sums["usd_low"] = float(usd.sum() - np.sqrt(((usd - low) ** 2).sum()))
        sums["usd_high"] = float(usd.sum() + np.sqrt(((high - usd) ** 2).sum()))
    else:
        reasons = list(dict.fromkeys(f"{each.version}: {each.reason}" for each in found))
        sums["reason"] = "; ".join(reasons) or "no model was promoted over another in these days"
    return {
        "bid_elasticity": elasticity,
        "spend_source": spend.source,
        "promotions": [asdict(each) for each in found],
        **sums,
        "assumptions": list(ASSUMPTIONS),
    }


ASSUMPTIONS = (
    "Bids are a value times the predicted rate, in second-price auctions; impressions won grow as the bid to"
    " the power of the elasticity.",
    "Without the promotion the model before it would have gone on bidding; what that would have won is not"
    " seen, only how it would have rated what was won.",
    "Where outcomes since the promotion are too few, the gain is that on the days that its gate judged. A"
    " challenger is promoted for a good showing, so luck makes that gain look larger than it is.",
    "Events are rare, spend goes where they are, and rates are off by little; what larger errors cost is"
    " underestimated.",
    "A promotion or rollback that a clock ahead has dated counts as made on the day of the move before it;"
    " what such a promotion was worth is not told.",
    "The interval is of the gain alone: its lower end at 99 %, the upper as far above. Of several promotions,"
    " luck is taken as independent. The elasticity is taken as it was given.",
)
"""What `savings` takes for granted."""


def _saving(
    moves: Sequence[Move],
    spans: Sequence[tuple[int, int]],
    i: int,
    spend: Spend,
    end: int,
    elasticity: float,
    measure: Measure,
) -> Saving:
    move, over = moves[i], moves[i - 1].aliases["champion"] if i else None
    undone = [
        day
        for each, (day, _) in zip(moves[i + 1 :], spans[i + 1 :], strict=True)
        if each.action == "rollback" and each.aliases["champion"] == over
    ]
    day, latest = spans[i]
    since, until = day + 1, min([end, *undone])  # the day itself is not whole
    if day < latest:
        until = since  # none of its days is known
    usd = spend.of_days(since, until)
    version = str(move.aliases["champion"])
    said: dict[str, Any] = {"version": version, "over": over, "at": move.at}
    said |= {"days": max(until - since, 0), "spend_usd": usd}
    if over is None:
        return Saving(**said, reason=NO_CHAMPION)
    if day < latest:
        return Saving(**said, reason=DATED_AHEAD)
    basis, gain = SINCE, _nats_per_event(measure(over, version, since, until))
    if gain is None:
        if undone and undone[0] < end:
            return Saving(**said, reason=ROLLED_BACK)
        basis, gain = GATE, _nats_per_event(move.evidence.get("figures") or {})
    if gain is None:
        return Saving(**said, reason=NOT_JUDGED)
    value, low, events = gain
    ends = (value, low, 2 * value - low)
    said |= dict(zip(("nats_per_event", "low", "high"), ends, strict=True))
    said |= {"events": events, "basis": basis}
    if usd is None:
        return Saving(**said, reason=spend.source)
    worth = (usd * (1 + elasticity) * each for each in ends)
    said |= dict(zip(("usd", "usd_low", "usd_high"), worth, strict=True))
    return Saving(**said)


def measured_since(
    tracker: AccuracyTracker, registry: Registry, *, target: str, settle_us: int = 0
) -> Measure:
    """How two versions would have rated what was served on some days: a `Measure` for `savings`.

    Both score the features that were kept, and the promotion gate's bootstrap compares them; it gives nothing
    where no features were kept, a version was pruned or cannot score them, or events are too few.

    Args:
        tracker: of served predictions. registry: of the versions. target: of what.
        settle_us: after a day, until what came of it is final; days that are younger were not told.
    """

    def measure(over: str, version: str, first: int, end: int) -> Mapping[str, Any]:
        if first >= end:
            return {}
        rows = read_samples(
            tracker.database, target=target, first=first, end=end, settled_us=settle_us or None
        )
        if not len(rows):
            return {}
        try:
            before, after = (rows.score(load(registry.get(name).folder)) for name in (over, version))
        except BadInput:
            return {}
        return PromotionGate().judge(before, after.predicted).figures

    return measure


def _nats_per_event(figures: Mapping[str, Any]) -> tuple[float, float, int] | None:
    """Logloss that a challenger saved, and its lower end, nats per event; of how many. None: not judged."""
    champion = figures.get("champion") or {}
    loss = (champion.get("logloss") or {}).get("value")
    gain, low, events = figures.get("gain"), figures.get("gain_low"), champion.get("events")
    if loss is None or gain is None or low is None or not events:
        return None
    whole = loss * champion["trials"] / events
    return gain * whole, low * whole, events


def read_spend(
    tracker: AccuracyTracker, target: str, first: int, end: int, total_usd: float | None = None
) -> Spend:
    """Spend by day: each creative's mean cost so far times what it was shown (or clicked) that day.

    Args:
        tracker: with the creatives. target: whose trials are counted, `ctr` or `cvr`.
        first, end: days since 1970 began; `end` does not count.
        total_usd: spend of these days where it is known, laid over them by trials.
    """
    r, c = prediction_records.c, prediction_comparisons.c
    query = (
        sa.select(c.day, r.video_id, sa.func.sum(c.trials))
        .join_from(prediction_comparisons, prediction_records, r.prediction_id == c.prediction_id)
        .where(c.day >= first, c.day < end, r.target == target)
        .group_by(c.day, r.video_id)
    )
    with tracker.database.reading() as connection:
        shown = [(int(day), video, int(trials)) for day, video, trials in connection.execute(query)]
        v = videos.c
        units = v.impressions if target == "ctr" else v.clicks
        costs = connection.execute(sa.select(v.video_id, units, v.spend_micros, v.currency)).all()
    trials = sum(each[2] for each in shown)
    if not trials:
        return Spend(source="nothing was shown in these days", is_known=False)
    if total_usd is not None:
        return Spend(by_day=_summed(shown, total_usd / trials), source="as given", is_known=True)
    dear = {video: spent / 1e6 / n for video, n, spent, currency in costs if n and currency == USD}
    covered = [each for each in shown if each[1] in dear]
    if sum(each[2] for each in covered) < COVERED * trials:
        source = f"fewer than {COVERED:.0%} of impressions are of creatives whose cost in USD is known"
        return Spend(source=source, is_known=False)
    by_day: dict[int, float] = {}
    for day, video, n in covered:
        by_day[day] = by_day.get(day, 0.0) + n * dear[video]
    return Spend(by_day=by_day, source="each creative's mean cost so far times its showings", is_known=True)


def _summed(shown: Sequence[tuple[int, str, int]], each_usd: float) -> dict[int, float]:
    by_day: dict[int, float] = {}
    for day, _, n in shown:
        by_day[day] = by_day.get(day, 0.0) + n * each_usd
    return by_day


def read_value(tracker: AccuracyTracker, first: int, end: int) -> tuple[float | None, str]:
    """Mean value of the purchases of some days, USD, and where it is from; None: not known, and why.

    Purchases told without a value (0) are left out and counted.
    """
    t = purchase_signals.c
    in_days = (t.at_us >= first * DAY_US, t.at_us < end * DAY_US)
    valued = t.value_micros > 0
    query = sa.select(t.currency, sa.func.count(), sa.func.sum(t.value_micros)).where(*in_days, valued)
    without = sa.select(sa.func.count()).where(*in_days, ~valued)
    with tracker.database.reading() as connection:
        rows = connection.execute(query.group_by(t.currency)).all()
        n_without = int(connection.execute(without).scalar_one())
    if not rows:
        return None, "purchases say none" if n_without else "no purchases were told in these days"
    if len(rows) > 1 or rows[0][0] != USD:
        return None, "purchases are not all in USD"
    count, micros = int(rows[0][1]), float(rows[0][2])
    left_out = f"; {n_without:,} without a value left out" if n_without else ""
    return micros / 1e6 / count, f"mean of {count:,} purchases{left_out}"


def day_of(at: str) -> int:
    """Whole days since 1970 began of a moment in ISO 8601.

    Raises:
        BadInput: it is none, or names no zone.
    """
    try:
        return micros_since_1970("at", dt.datetime.fromisoformat(at)) // DAY_US
    except (TypeError, ValueError):
        allowed = "must be a moment with its zone, as 2026-03-10T02:00:00+00:00"
        raise BadInput("at", at, allowed, "Restore the registry's file that says it from a copy.") from None


def days_of(moves: Sequence[Move], now_us: int) -> list[int]:
    """Days of moves, since 1970 began.

    One that is dated on a later day than today, or than a move after it, was made by a clock ahead: all that
    is known of it is that it came after the move before it, whose day it gets; the first of all gets 0. So
    nothing changes when its false day comes. But the newest of all, where it is dated ahead, is known to be
    false only until that day: with none after it, nothing tells it from a true one any more.

    Args:
        moves: of a registry, oldest first. now_us: microseconds since 1970 began.
    """
    told = [day_of(move.at) for move in moves]
    earliest_after = accumulate([now_us // DAY_US, *reversed(told[1:])], min)  # of what follows, newest first
    found, day = [], 0
    for dated, bound in zip(told, reversed(list(earliest_after)), strict=bool(told)):
        day = dated if dated <= bound else day
        found.append(day)
    return found


def spans_of(moves: Sequence[Move], now_us: int) -> list[tuple[int, int]]:
    """First and last day that each move can have been made on, alike unless a clock ahead has dated it.

    The first is that of `days_of`, the last that of the next move whose day is believed, or today.

    Args:
        moves: of a registry, oldest first. now_us: microseconds since 1970 began.
    """
    found, last = [], now_us // DAY_US
    for move, day in zip(reversed(moves), reversed(days_of(moves, now_us)), strict=True):
        last = day if day_of(move.at) == day else last
        found.append((day, last))
    return found[::-1]
