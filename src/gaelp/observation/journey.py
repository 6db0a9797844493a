"""The 41 features of a journey: what may be known of one person, and of the account, at a decision.

Built from the visible side alone: events that a platform shows person by person, joined by identity
resolution, from the moment at which they became known; delayed reports; own spend and bids; the clock. What
is not known is NaN in a raw row and `MISSING` after `Normaliser.apply`; of a category it is code 0. Nobody's
features are guessed: a person without cookie and login is a stranger.

The kernel reads one person's events for each decision, so the same call serves a simulation's batch and one
live opportunity.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import Channel, TouchKind
from gaelp.observation.features import Feature, FeatureTable
from gaelp.observation.journey_inputs import AccountHours, SeenEvents
from gaelp.observation.journey_kernel import N_ACCOUNT, N_JOURNEY, account_rows, journey_rows

Rows = NDArray[np.float32]

JOURNEY_LIMIT: Final = 5.0
"""Normalised features are cut at plus and minus this."""
MISSING: Final = -JOURNEY_LIMIT - 1.0
"""Stands for "not known" in a normalised row: no known value can be so low."""
SEGMENTS: Final = ("urgent", "comparing", "interested", "passive", "customer")
"""Codes 1 to 5 of `user.segment`."""
STAGES: Final = ("shown", "came", "came_back", "keen", "customer")
"""Codes 1 to 5 of `journey.stage`."""

_Z = "standardised, cut at 5"
_EVENTS = "events shown person by person"
_SITE = "clicks and visits"
_REPORT = "platform report, delayed"
_CLOCK = "the clock, in the account's time"
_SPEND = "own spend"


def _category(name: str, n: int, what: str, source: str) -> Feature:
    return Feature(name, f"code of {n}", what, source)


_FOUR_WEEKS, _WEEK, _HALF_WEEK = (f"faded, half-life {time}" for time in ("28 d", "7 d", "3.5 d"))
_CHANNELS, _KINDS = len(Channel) + 1, len(TouchKind) + 1
JOURNEY_FEATURES = FeatureTable(
    "journey",
    (
        _category("journey.last_channel", _CHANNELS, "1 + Channel of the last touch", _EVENTS),
        _category("journey.second_last_channel", _CHANNELS, "1 + Channel of the one before", _EVENTS),
        _category("journey.third_last_channel", _CHANNELS, "1 + Channel of the third last", _EVENTS),
        _category("journey.last_kind", _KINDS, "1 + TouchKind of the last touch", _EVENTS),
        Feature("journey.since_first", "log days", f"log(1 + d) since the first touch; {_Z}", _EVENTS),
        Feature("journey.since_last", "log days", f"log(1 + d) since the last touch; {_Z}", _EVENTS),
        Feature("journey.touches", "log", f"log(1 + touches); {_Z}", _EVENTS),
        Feature("journey.impressions", "log", f"log(1 + impressions and opened e-mails); {_Z}", _EVENTS),
        Feature("journey.clicks", "log", f"log(1 + clicks); {_Z}", _SITE),
        Feature("journey.visits", "log", f"log(1 + visits without a paid click); {_Z}", _SITE),
        Feature("journey.channels", "share", f"channels met, of 8; {_Z}", _EVENTS),
        Feature("journey.spend", "log USD", f"log(1 + known cost of the touches); {_Z}", "own cost a touch"),
        Feature(
            "journey.rival_exposures",
            "log",
            f"log(1 + own exposures x (1 - share) / share), share: `market.impression_share`; {_Z}",
            "inferred; events and report",
        ),
        _category("journey.stage", 6, "1 shown, 2 came, 3 came back, 4 keen, 5 customer", _EVENTS),
        Feature("journey.stage_gain", "share", f"levels of 4 gained in 7 d; {_Z}", _EVENTS),
        Feature(
            "journey.engagement_trend",
            "log ratio",
            f"clicks and visits a day + 0.1, half-life 1 d over half-life 7 d; {_Z}",
            _SITE,
        ),
        _category(
            "user.segment",
            6,
            "1 urgent, 2 comparing, 3 interested, 4 passive, 5 customer",
            "inferred; events",
        ),
        Feature(
            "user.fatigue",
            "log",
            f"log(1 + own impressions and opened e-mails), {_WEEK}; {_Z}",
            "inferred; impressions shown person by person",
        ),
        Feature(
            "user.price_sensitivity",
            "log ratio",
            "1 + impressions and clicks on rivals' names over 1 + other clicks, visits and purchases, "
            f"{_FOUR_WEEKS}; {_Z}",
            "inferred; events",
        ),
        Feature(
            "user.urgency",
            "log",
            f"log(1 + clicks and visits since a purchase, from search twice), {_HALF_WEEK}; {_Z}",
            "inferred; clicks and visits",
        ),
        Feature("user.purchases", "log", f"log(1 + purchases); {_Z}", "own shop"),
        _category("user.device", 4, "1 + device of the last event: mobile, desktop, tablet", _EVENTS),
        Feature("user.devices", "share", f"devices met, of 3; {_Z}", _EVENTS),
        _category("user.identity", 3, "1 by cookie alone, 2 by a login", "own site"),
        Feature("user.match_confidence", "share", f"mean over the events; {_Z}", "identity resolution"),
        Feature("user.search_share", "share", f"of clicks and visits, those from search; {_Z}", _SITE),
        Feature("user.own_brand_share", "share", f"of search clicks, on the own name; {_Z}", _SITE),
        _category("market.hour", 25, "1 + hour of the day", _CLOCK),
        _category("market.weekday", 8, "1 + day of the week, from Monday", _CLOCK),
        _category("market.hour_block", 29, "1 + six-hour block of the week", _CLOCK),
        Feature("market.season_sin", "-1 to 1", f"sine of the day of year; {_Z}", _CLOCK),
        Feature("market.season_cos", "-1 to 1", f"cosine of the day of year; {_Z}", _CLOCK),
        Feature("market.cpc_trend", "log ratio", f"cost a click, half-life 1 d over 7 d; {_Z}", _REPORT),
        Feature(
            "market.click_rate_trend",
            "log ratio",
            f"0.5 more clicks and 50 more impressions, half-life 1 d over 7 d; {_Z}",
            _REPORT,
        ),
        Feature("market.impression_share", "share", f"as told; {_Z}", _REPORT),
        Feature(
            "market.rival_aggression",
            "log ratio",
            f"price paid over own bid, half-life 1 d; 0: rivals stand right below; {_Z}",
            "inferred; report and own bids",
        ),
        Feature("budget.daily_left", "share", f"1 less spend today over the budget; {_Z}", _SPEND),
        Feature("budget.monthly_left", "share", f"1 less spend this month over the budget; {_Z}", _SPEND),
        Feature("budget.pacing", "share", f"spent today less planned by now, of the budget; {_Z}", _SPEND),
        Feature("budget.month_pacing", "share", f"spent less gone, of the month; {_Z}", _SPEND),
        Feature(
            "budget.roi",
            "log ratio",
            f"value of 7 d's clicks, sales to come included, over spend, a sale more each; {_Z}",
            "report, nowcast, own spend",
        ),
    ),
)
"""Groups are the first words of the names: journey (of the current one), user, market, budget."""
N_CATEGORIES: Final = {
    feature.name: int(feature.unit.removeprefix("code of "))
    for feature in JOURNEY_FEATURES.features
    if feature.unit.startswith("code of ")
}
"""How many codes each categorical feature has, 0 ("none or not known") included."""
assert len(JOURNEY_FEATURES) == N_JOURNEY + N_ACCOUNT == 41


def account_features(account: AccountHours) -> NDArray[np.float64]:
    """(n_worlds, n_hours, N_ACCOUNT) the market and budget features, known as each hour begins."""
    return account_rows(
        account.figures,
        account.hour_of_week,
        account.day_of_year,
        account.month_gone,
        account.gone,
        account.value_usd,
    )


def journey_features(
    events: SeenEvents,
    account: NDArray[np.float64],
    start_hour: int,
    person: ArrayLike,
    world: ArrayLike,
    hour: ArrayLike,
) -> Rows:
    """Observe people at moments of decision.

    An event counts where it was shown at the decision's hour or before; an account's figures as they were
    known when that hour began. Nothing later moves a row.

    Args:
        events: of the people. account: of `account_features`, once an hour. start_hour: of its first row.
        person: (n,) index into `events`, -1 for a stranger. world: (n,) index into `account`.
        hour: (n,) of the decision, on the clock of the events.

    Returns:
        (n, 41) raw rows in the order of `JOURNEY_FEATURES`; NaN where not known.

    Raises:
        BadInput: a person, a world or an hour that was not given.

    >>> from gaelp.observation.journey_inputs import seen_by_person
    >>> events = seen_by_person(
    ...     person=[0], n_people=1, hour=[10], shown=[11], kind=[1], channel=[0], told=np.ones((1, 8, 6))
    ... )
    >>> row = journey_features(events, np.zeros((1, 48, N_ACCOUNT)), 0, [0], [0], [34.0])[0]
    >>> at = JOURNEY_FEATURES.index
    >>> int(row[at("journey.last_channel")]), round(float(row[at("journey.since_first")]), 3)
    (1, 0.693)
    """
    who, where = np.asarray(person, np.int64), np.asarray(world, np.int64)
    when = np.asarray(hour, np.float64)
    if not who.shape == where.shape == when.shape or when.ndim != 1:
        shapes = (who.shape, where.shape, when.shape)
        raise BadInput("person, world, hour", shapes, "must have one length", "Give three lists.")
    if account.ndim != 3 or account.shape[2] != N_ACCOUNT:
        allowed = f"must be (n_worlds, n_hours, {N_ACCOUNT})"
        raise BadInput("account.shape", account.shape, allowed, "Make it by `account_hours`.")
    n_worlds, n_hours = min(len(account), len(events.told)), account.shape[1]
    row = np.floor(when) - start_hour
    for name, values, good, allowed in (
        ("person", who, (who >= -1) & (who < events.n_people), f"must be -1 to {events.n_people - 1}"),
        ("world", where, (where >= 0) & (where < n_worlds), f"must be 0 to {n_worlds - 1}"),
        ("hour", when, (row >= 0) & (row < n_hours), f"must be in {start_hour} to {start_hour + n_hours}"),
    ):
        if not good.all():
            at = int(np.argmin(good))
            raise BadInput(f"{name}[{at}]", values[at], allowed, "Give events and account figures of it.")
    out = np.empty((when.size, len(JOURNEY_FEATURES)), np.float32)
    journey_rows(
        events.offsets, events.hour, events.shown, events.kind, events.channel, events.line, events.device,
        events.login, events.cost_usd, events.confidence, events.told, np.ascontiguousarray(account),
        int(start_hour), who, where, when, out,
    )  # fmt: skip
    return out


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Mean and scale of the features, measured once and frozen.

    It stands before a network, whose own statistics know neither what is missing nor categories.

    Attributes:
        table: whose features. mean, scale: (n_features,), 0 and 1 for categories.
    """

    table: FeatureTable
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def measure(cls, rows: Rows, table: FeatureTable = JOURNEY_FEATURES) -> "Normaliser":
        """Take mean and standard deviation of what is known in (n, n_features) raw rows.

        A feature that is never known or never moves keeps scale 1.
        """
        _check_width(rows, table)
        known = np.isfinite(rows)
        n = np.maximum(known.sum(axis=0), 1)
        values = np.where(known, rows, 0.0).astype(np.float64)
        mean = values.sum(axis=0) / n
        scale = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / n)
        scale[scale < 1e-6] = 1.0
        category = np.array([name in N_CATEGORIES for name in table.names])
        return cls(table, np.where(category, 0.0, mean), np.where(category, 1.0, scale))

    def apply(self, rows: Rows) -> Rows:
        """(n, n_features): standardised and cut at `JOURNEY_LIMIT`; NaN is `MISSING`; categories stay."""
        _check_width(rows, self.table)
        z = (rows - self.mean) / self.scale
        category = np.array([name in N_CATEGORIES for name in self.table.names])
        cut = np.where(category, rows, np.clip(z, -JOURNEY_LIMIT, JOURNEY_LIMIT))
        return np.where(np.isnan(rows), MISSING, cut).astype(np.float32)

    def header(self) -> dict[str, Any]:
        """What a file says of the table, as a network's header does."""
        return {"name": self.table.name, "version": self.table.version, "names": list(self.table.names)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Statistics by name, to be written beside a network's."""
        return {"normaliser.mean": self.mean, "normaliser.scale": self.scale}

    @classmethod
    def restored(
        cls,
        header: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        table: FeatureTable = JOURNEY_FEATURES,
    ) -> "Normaliser":
        """The statistics that `header()` and `arrays()` describe.

        Raises:
            MismatchError: they were measured on another table. BadInput: they are damaged.
        """
        table.require(header["version"], header["names"])
        mean, scale = (np.asarray(arrays[f"normaliser.{name}"], np.float64) for name in ("mean", "scale"))
        whole = all(a.shape == (len(table),) and np.isfinite(a).all() for a in (mean, scale))
        if not (whole and (scale > 0.0).all()):
            shapes = (mean.shape, scale.shape)
            raise BadInput("normaliser", shapes, "must be whole and above 0", "Go back to an older file.")
        return cls(table, mean, scale)


def _check_width(rows: Rows, table: FeatureTable) -> None:
    if rows.ndim != 2 or rows.shape[1] != len(table) or np.isinf(rows).any():
        allowed = f"must be (n, {len(table)}) without infinities"
        raise BadInput("rows", rows.shape, allowed, f"Observe by the {table.name} table.")
