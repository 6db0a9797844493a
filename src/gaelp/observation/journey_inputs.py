"""What the journey features are made of: people's events and an account's hours, as an account knows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, NO_LINE, Channel, TouchKind
from gaelp.observation.view import View

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

NO_DEVICE: Final = 255
_PER_PRICE = np.array([1.0 if line.bid_unit != "1000 impressions" else 1000.0 for line in LINES])
_BY_CLICK = np.array([line.bid_unit == "click" for line in LINES])
_AUCTION = np.array([line.channel is not Channel.EMAIL for line in LINES])


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenEvents:
    """Touches and conversions that are seen person by person, in compressed rows; made by `seen_by_person`.

    Attributes:
        offsets: (n_people + 1,) where each person's events begin.
        hour: (n_events,) when it happened, rising within a person.
        shown: (n_events,) when it became known, never before it happened.
        kind, channel: (n_events,) `TouchKind` and `Channel`. line: its code or NO_LINE.
        device: (n_events,) 0 mobile, 1 desktop, 2 tablet, NO_DEVICE. login: 1 where logged in.
        cost_usd: (n_events,) of the touch; NaN where not known.
        confidence: (n_events,) that it is this person's; NaN where nobody says.
        told: (n_worlds, n_channels, n_kinds) whether a platform shows such events person by person. Where
            no channel does, their absence says nothing and what counts them is not known.
    """

    offsets: Ints
    hour: Floats
    shown: Floats
    kind: Bytes
    channel: Bytes
    line: Bytes
    device: Bytes
    login: Bytes
    cost_usd: Floats
    confidence: Floats
    told: NDArray[np.bool_]

    @property
    def n_people(self) -> int:
        """People with or without events."""
        return self.offsets.size - 1


def seen_by_person(
    *,
    person: ArrayLike,
    n_people: int,
    hour: ArrayLike,
    shown: ArrayLike,
    kind: ArrayLike,
    channel: ArrayLike,
    told: ArrayLike,
    line: ArrayLike | None = None,
    device: ArrayLike | None = None,
    login: ArrayLike | None = None,
    cost_usd: ArrayLike | None = None,
    confidence: ArrayLike | None = None,
) -> SeenEvents:
    """Sort events by person and time, and check them.

    An event that identity resolution joins to a person later becomes known of that person at that moment:
    give the later one as `shown`.

    Args:
        person: (n,) from 0, below `n_people`; -1 for an event of nobody known, which is left out.
        n_people: how many there are. The others are as in `SeenEvents`; None: not known of any.

    Raises:
        BadInput: lengths disagree, a code is out of range, a time is not finite, an event was known before it
            happened, or a cost is negative.
    """
    who = np.asarray(person, np.int64)
    n = who.size
    given: dict[str, tuple[ArrayLike | None, float, type]] = {
        "hour": (hour, 0.0, np.float64),
        "shown": (shown, 0.0, np.float64),
        "kind": (kind, 0, np.int64),
        "channel": (channel, 0, np.int64),
        "line": (line, NO_LINE, np.int64),
        "device": (device, NO_DEVICE, np.int64),
        "login": (login, 0, np.int64),
        "cost_usd": (cost_usd, np.nan, np.float64),
        "confidence": (confidence, np.nan, np.float64),
    }
    cell: dict[str, NDArray[Any]] = {}
    for name, (values, empty, of) in given.items():
        cell[name] = np.full(n, empty, of) if values is None else np.asarray(values).astype(of)
        if cell[name].shape != (n,):
            raise BadInput(f"{name}.shape", cell[name].shape, f"must be {(n,)}", "Give one entry an event.")
    sure, cost = cell["confidence"], cell["cost_usd"]
    for name, values, good, allowed in (
        ("person", who, (who >= -1) & (who < n_people), f"must be -1 to {n_people - 1}"),
        ("hour", cell["hour"], np.isfinite(cell["hour"]), "must be finite"),
        ("shown", cell["shown"], cell["shown"] >= cell["hour"], "must not lie before its hour"),
        ("kind", cell["kind"], np.isin(cell["kind"], list(TouchKind)), "must be a TouchKind"),
        ("channel", cell["channel"], np.isin(cell["channel"], list(Channel)), "must be a Channel"),
        ("line", cell["line"], _within(cell["line"], len(LINES), NO_LINE), "must be a line or NO_LINE"),
        ("device", cell["device"], _within(cell["device"], 3, NO_DEVICE), "must be 0 to 2, or NO_DEVICE"),
        ("login", cell["login"], _within(cell["login"], 2, 1), "must be 0 or 1"),
        ("cost_usd", cost, np.isnan(cost) | ((cost >= 0) & np.isfinite(cost)), "must be at least 0 or NaN"),
        ("confidence", sure, np.isnan(sure) | ((sure >= 0) & (sure <= 1)), "must be 0 to 1 or NaN"),
    ):
        if not good.all():
            at = int(np.argmin(good))
            raise BadInput(f"{name}[{at}]", values[at], allowed, "Correct the event.")
    seen = np.asarray(told, np.bool_)
    if seen.ndim != 3 or seen.shape[1:] != (len(Channel), len(TouchKind)):
        allowed = f"must be (n_worlds, {len(Channel)}, {len(TouchKind)})"
        raise BadInput("told.shape", seen.shape, allowed, "Give the visibility matrix.")
    # at one hour a touch comes before a purchase, as where journeys are cut; the rest makes the order one
    sold = cell["kind"] == TouchKind.CONVERSION
    keys = (cell["device"], cell["line"], cell["channel"], cell["kind"], sold, cell["hour"], who)
    order = np.lexsort(keys)
    order = order[who[order] >= 0]
    small = {name: np.uint8 for name in ("kind", "channel", "line", "device", "login")}
    counts = np.bincount(who[order], minlength=n_people)
    sorted_cells: dict[str, Any] = {
        name: column[order].astype(small.get(name, np.float64)) for name, column in cell.items()
    }
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return SeenEvents(offsets=offsets, told=np.ascontiguousarray(seen), **sorted_cells)


@dataclass(frozen=True, kw_only=True, eq=False)
class AccountHours:
    """What an account knew as each hour began; see `account_hours`.

    Attributes:
        figures: (n_worlds, n_hours, N_FIGURES) in the kernel's order; NaN where not told.
        hour_of_week, day_of_year: (n_hours,). month_gone: (n_hours,) share of the calendar month.
        gone: (n_worlds, 168) share of the day's expected cost that lies behind an hour.
        value_usd: (n_worlds,) of a conversion.
    """

    figures: Floats
    hour_of_week: Ints
    day_of_year: Ints
    month_gone: Floats
    gone: Floats
    value_usd: Floats


def account_hours(
    views: Sequence[View],
    *,
    bids_usd: Floats,
    delay_hours: ArrayLike,
    month_gone: ArrayLike,
    monthly_budget_usd: ArrayLike,
    traffic: Floats,
    value_usd: ArrayLike,
    sold_week: Floats | None = None,
) -> AccountHours:
    """Read views, one an hour, oldest first.

    Args:
        views: of `n_hours` hours.
        bids_usd: (n_worlds, n_hours, n_lines) approved for each of the hours.
        delay_hours: (n_lines,) after which the platform shows what `cost_usd` of a view is the cost of.
        month_gone: (n_hours,) share of the calendar month that lies behind.
        monthly_budget_usd, value_usd: (n_worlds,) budget, and worth of a conversion.
        traffic: (n_worlds, 168) expected cost by hour of week, any scale.
        sold_week: (n_worlds, n_hours) conversions of the clicks of the last 7 days, shown and, by the
            nowcast, to come, as known when the hour begins; None or NaN: nobody says.

    Raises:
        BadInput: shapes disagree, or a conversion is worth nothing.
    """
    if not views:
        raise BadInput("views", 0, "must be at least one", "Give the views of a flight.")
    n_worlds, n_hours = views[0].n_worlds, len(views)
    sold = np.full((n_worlds, n_hours), np.nan) if sold_week is None else sold_week
    per_world = {"monthly_budget_usd": monthly_budget_usd, "value_usd": value_usd}
    world = {name: np.array(np.broadcast_to(v, n_worlds), np.float64) for name, v in per_world.items()}
    month = np.asarray(month_gone, np.float64)
    for name, found, wanted in (
        ("bids_usd", bids_usd.shape, (n_worlds, n_hours, len(LINES))),
        ("traffic", traffic.shape, (n_worlds, 168)),
        ("month_gone", month.shape, (n_hours,)),
        ("sold_week", sold.shape, (n_worlds, n_hours)),
    ):
        if found != wanted:
            raise BadInput(f"{name}.shape", found, f"must be {wanted}", "Give one entry for each hour.")
    if not (np.isfinite(world["value_usd"]) & (world["value_usd"] > 0)).all():
        raise BadInput(
            "value_usd", world["value_usd"], "must be above 0", "Give a conversion's worth in USD."
        )
    late = np.broadcast_to(np.asarray(delay_hours, np.int64), len(LINES))
    figures = np.stack([_figures(view, bids_usd, h, late) for h, view in enumerate(views)], axis=1)
    whole = np.concatenate(
        [figures, np.stack([sold, *(_each(views, name) for name in _MONEY)], axis=2)], axis=2
    )
    monthly = np.repeat(world["monthly_budget_usd"][:, None], n_hours, axis=1)[:, :, None]
    days = np.maximum(traffic, 1e-12).reshape(n_worlds, 7, 24)
    behind = (np.cumsum(days, axis=2) - days) / days.sum(axis=2, keepdims=True)
    return AccountHours(
        figures=np.ascontiguousarray(np.concatenate([whole, monthly], axis=2)),
        hour_of_week=np.array([view.hour_of_week for view in views], np.int64),
        day_of_year=np.array([view.day_of_year for view in views], np.int64),
        month_gone=month,
        gone=behind.reshape(n_worlds, 168),
        value_usd=world["value_usd"],
    )


_MONEY = ("spend_today_usd", "spend_month_usd", "daily_budget_usd")


def _each(views: Sequence[View], name: str) -> Floats:
    return np.stack([getattr(view, name) for view in views], axis=1)


def _figures(view: View, bids_usd: Floats, h: int, late: Ints) -> Floats:
    """(n_worlds, 6): spend, cost, the same at the own bid, impressions, clicks, impression share.

    All but spend are of lines that are sold by auction: a message has no rivals.
    """
    made = h - 1 - late  # the hour that is newly shown
    units = np.where(_BY_CLICK, view.clicks, view.impressions) / _PER_PRICE
    bid = np.where(made >= 0, bids_usd[:, np.maximum(made, 0), np.arange(late.size)], 0.0)
    at_bid, cost = units * bid, np.where(made >= 0, view.cost_usd, np.nan)
    # lines of which one of the two is not known say nothing of a ratio
    both = np.isfinite(at_bid) & np.isfinite(cost) & _AUCTION
    told = np.isfinite(view.impression_share)
    share = np.where(told, view.impression_share, 0.0).sum(axis=1) / np.maximum(told.sum(axis=1), 1)
    return np.stack(
        [
            view.spend_usd.sum(axis=1),
            np.where(both, cost, 0.0).sum(axis=1),
            np.where(both, at_bid, 0.0).sum(axis=1),
            np.nansum(np.where(_AUCTION, view.impressions, 0.0), axis=1),
            np.nansum(np.where(_AUCTION, view.clicks, 0.0), axis=1),
            np.where(told.any(axis=1), share, np.nan),
        ],
        axis=1,
    )


def _within(codes: NDArray[Any], n: int, other: int) -> NDArray[np.bool_]:
    good: NDArray[np.bool_] = ((codes >= 0) & (codes < n)) | (codes == other)
    return good
