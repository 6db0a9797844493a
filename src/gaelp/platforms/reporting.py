"""What a simulated account shows, and when: the market's visibility matrix applied to its books.

The matrix of the market file has a cell for each channel and event (impression, click, visit, conversion):
`user` (each event, tied to a cookie or a login where the person allows it), `aggregate` (counts in a report)
or `never`, and a delay in hours. Spend is the account's own and known at once. A click that is not shown as
a user's reaches the site as a direct visit. Conversions stand at the hour of their last click and are
restated as they are booked. Impression share is told for search and display, as Google does: daily, and
censored under a tenth, which Google reports as .0999.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, LINES, N_LINES, NO_LINE, Audience, Channel, TouchKind
from gaelp.market.market import Market
from gaelp.market.state import (
    CLICKS,
    GEO_CLICKS,
    GEO_IMPRESSIONS,
    GEO_SPEND,
    IMPRESSIONS,
    OPPORTUNITIES,
    SPEND,
)

Floats = NDArray[np.float64]
Matrix = Mapping[str, Mapping[str, tuple[str, float]]]

SHARE_CHANNELS = (Channel.SEARCH, Channel.DISPLAY, Channel.RETARGETING)
"""Channels whose platform tells impression share: Google Ads and Microsoft do, Meta and TikTok do not."""
LEAST_SHARE, CENSORED_SHARE = 0.1, 0.0999
SHARE_WINDOW_HOURS = 24
CLICK_WINDOW_HOURS = 30 * 24
_UNSEEN = ("aggregate", 0.0)
_EVENT_OF_KIND = {
    TouchKind.IMPRESSION: "impression",
    TouchKind.EMAIL_OPEN: "impression",
    TouchKind.CLICK: "click",
    TouchKind.VISIT: "visit",
    TouchKind.CONVERSION: "conversion",
}
_BY_CLICK = np.array([line.channel is Channel.SEARCH for line in LINES])
_TOLD_SHARE = np.array([line.channel in SHARE_CHANNELS for line in LINES])
_LISTS = (Audience.ENGAGED, Audience.HIGH_INTENT)

SEEN = np.dtype(
    [
        ("visitor", "u8"),  # cookie, 0 unknown
        ("login", "u8"),  # 0 unknown
        ("hour", "i4"),  # when it happened
        ("shown", "i4"),  # when it was known
        ("kind", "u1"),  # TouchKind
        ("channel", "u1"),
        ("line", "u1"),  # 255 none
        ("device", "u1"),
        ("region", "u1"),
        ("value_micros", "i8"),  # of a conversion
    ]
)
"""One own-site or platform event as an account sees it: no person, no truth."""


class Shown(NamedTuple):
    """What has become known in the last hour; see `observation.View` for the fields."""

    spend_usd: Floats
    cost_usd: Floats
    impressions: Floats
    clicks: Floats
    conversions: Floats
    impression_share: Floats
    list_size: Floats
    visits: Floats


class Sight:
    """A visibility matrix as arrays.

    Args:
        matrix: channel name -> event name -> (sight, delay in hours), as in a market file. A cell that is
            not given is shown as a count, at once.
    """

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self.delay = {event: self._by_channel(event, 1, np.int64) for event in set(_EVENT_OF_KIND.values())}
        self.never = {event: self._by_channel(event, 0, str) == "never" for event in self.delay}
        self.by_user = {event: self._by_channel(event, 0, str) == "user" for event in self.delay}

    def cell(self, channel: Channel, event: str) -> tuple[str, float]:
        """Sight and delay of one cell."""
        return self._matrix.get(channel.name.lower(), {}).get(event, _UNSEEN)

    def _by_channel(self, event: str, part: int, kind: type) -> NDArray[np.generic]:
        return np.array([self.cell(channel, event)[part] for channel in Channel]).astype(kind)


class Reporting:
    """The reports of one seat through one flight.

    Args:
        market: the worlds, at the hour at which the flight begins.
        seat: whose reports. hours: length of the flight.
        sight: what is shown and when.

    While the site's tag is down (`tracking` of the market's rules) visits and bookings are lost for good.

    Attributes:
        spend_micros: (n_worlds, hours, n_lines) as billed.
        impressions, clicks: (n_worlds, hours, n_lines) by the hour at which they happened.
        conversions: (n_worlds, hours, n_lines) shown so far, at the hour of their last click.
        eligible: (n_worlds, hours, n_lines) auctions on the lines; shown only as impression share.
        list_size: (n_worlds, n_lines) people on each line's audience list, counted at midnight.
    """

    def __init__(
        self,
        market: Market,
        *,
        seat: int,
        hours: int,
        sight: Sight,
    ) -> None:
        self.market = market
        self.seat = seat
        self.sight = sight
        self.start = market.hour
        self.hour = 0
        lines = (market.n_worlds, hours, N_LINES)
        self.spend_micros = np.zeros(lines, np.int64)
        self.impressions = np.zeros(lines, np.int64)
        self.clicks = np.zeros(lines, np.int64)
        self.conversions = np.zeros(lines, np.int64)
        self.eligible = np.zeros(lines, np.int64)
        self._visits = np.zeros((market.n_worlds, hours, len(Channel)), np.int64)
        events = np.where(_BY_CLICK, sight.delay["click"][CHANNEL_OF_LINE], 0)
        self._billed_delay = np.where(_BY_CLICK, events, sight.delay["impression"][CHANNEL_OF_LINE])
        self._before = market.books.report[:, seat].copy()
        self._visited = market.books.visits[:, seat].copy()
        told = _TOLD_SHARE & ~sight.never["impression"][CHANNEL_OF_LINE]
        late = sight.delay["impression"][CHANNEL_OF_LINE]
        self._told_share = [(int(d), np.flatnonzero(told & (late == d))) for d in np.unique(late[told])]
        self._share_sums = np.zeros((2, market.n_worlds, hours + 1, N_LINES), np.int64)
        self._site_delay, self._unnamed, self._unseen = _own_site_rules(sight)
        self._dark = np.zeros(market.n_worlds, bool)
        self._read = np.zeros(market.n_worlds, np.int64)
        self._arrivals: list[tuple[int, int, int, int]] = []
        self._booked_at: dict[int, list[tuple[int, int, int]]] = {}
        self._shown_at: dict[int, list[tuple[int, int, int]]] = {}
        self._expect_conversions()
        self.list_size = self._lists()

    def record(self) -> None:
        """Read the books after an hour of the market."""
        h = self.hour
        report = self.market.books.report[:, self.seat]
        gained = report - self._before
        self._before = report.copy()
        self.spend_micros[:, h] = gained[..., SPEND]
        self.impressions[:, h] = gained[..., IMPRESSIONS]
        self.clicks[:, h] = gained[..., CLICKS]
        self.eligible[:, h] = gained[..., OPPORTUNITIES]
        visited = self.market.books.visits[:, self.seat]
        self._visits[:, h] = visited - self._visited
        self._visits[self.market.rules["tracking"] == 0, h] = 0  # nobody counted them
        self._visited = visited.copy()
        self._dark = self.market.rules["tracking"] == 0
        for sums, counts in zip(self._share_sums, (self.impressions, self.eligible), strict=True):
            sums[:, h + 1] = sums[:, h] + counts[:, h]
        self._expect_conversions()
        self._book(h)
        self.hour = h + 1
        if (self.start + self.hour) % 24 == 0:
            self.list_size = self._lists()

    @property
    def arrivals(self) -> NDArray[np.int64]:
        """(n, 4) conversions shown so far: world, line, hour of the last click and of being shown."""
        return np.array(self._arrivals, np.int64).reshape(-1, 4)

    def shown(self) -> Shown:
        """What has become known since an hour ago, at the hour that begins now."""
        return Shown(
            spend_usd=self._row(self.spend_micros, np.zeros(N_LINES, np.int64)) / MICROS_PER_USD,
            cost_usd=self._row(self.spend_micros, self._billed_delay) / MICROS_PER_USD,
            impressions=self._counted(self.impressions, "impression"),
            clicks=self._counted(self.clicks, "click"),
            conversions=self._booked(),
            impression_share=self._share(),
            list_size=self.list_size,
            visits=self._own_site(),
        )

    def _row(self, table: NDArray[np.int64], delay: NDArray[np.int64]) -> Floats:
        """(n_worlds, columns) the newest row shown, each column at its own delay; 0 before there is one."""
        at = self.hour - 1 - delay
        # the index leaves lines outermost in memory; world by world, sums over lines run alike for one world
        # and for many
        newest = np.ascontiguousarray(table[:, np.maximum(at, 0), np.arange(table.shape[2])], dtype=float)
        newest[:, at < 0] = 0.0
        return newest

    def _counted(self, table: NDArray[np.int64], event: str) -> Floats:
        found = self._row(table, self.sight.delay[event][CHANNEL_OF_LINE])
        found[:, self.sight.never[event][CHANNEL_OF_LINE]] = np.nan
        return found

    def _share(self) -> Floats:
        """Impression share of the newest 24 hours shown."""
        share = np.full((self.market.n_worlds, N_LINES), np.nan)
        for delay, lines in self._told_share:
            until = self.hour - delay
            if until <= 0:
                continue
            sums = self._share_sums[:, :, until] - self._share_sums[:, :, max(0, until - SHARE_WINDOW_HOURS)]
            won, eligible = sums[:, :, lines]
            exact = won / np.maximum(eligible, 1)
            share[:, lines] = np.where(
                eligible == 0, np.nan, np.where(exact < LEAST_SHARE, CENSORED_SHARE, exact)
            )
        return share

    def _own_site(self) -> Floats:
        """(n_worlds, n_channels) visits: a click that is not shown as a user's arrives as a direct visit."""
        seen = self._row(self._visits, self._site_delay)
        seen[:, self._unseen] = np.nan
        if self._unnamed.any():
            arrived = self._row(self._visits, np.zeros(len(Channel), np.int64))[:, self._unnamed].sum(axis=1)
            seen[:, Channel.DIRECT] += arrived
            seen[:, self._unnamed] = 0.0
        return seen

    def _expect_conversions(self) -> None:
        """Note when each new decision will be booked, those of earlier clicks and decisions included."""
        never = self.sight.never["conversion"][CHANNEL_OF_LINE]
        n_new = self.market.books.n_decisions - self._read
        world = np.repeat(np.arange(n_new.size), n_new)
        row = np.arange(world.size) - np.repeat(np.cumsum(n_new) - n_new, n_new) + self._read[world]
        new = self.market.books.decisions[world, row]
        ours = (new["brand"] == self.seat) & (new["line"] != NO_LINE) & (new["book_hour"] >= self.start)
        new, world = new[ours], world[ours]  # what was booked earlier was told before these reports began
        for w, made in zip(world.tolist(), new, strict=True):
            if not never[made["line"]]:
                booked = int(made["book_hour"]) - self.start
                clicked = int(made["click_hour"]) - self.start
                self._booked_at.setdefault(booked, []).append((w, clicked, int(made["line"])))
        self._read = self.market.books.n_decisions.copy()

    def _book(self, h: int) -> None:
        """Bookings of hour `h` will be shown after it and their delay, or never while the tag is down."""
        delay = self.sight.delay["conversion"][CHANNEL_OF_LINE]
        for booking in self._booked_at.pop(h, ()):
            if not self._dark[booking[0]]:
                self._shown_at.setdefault(h + 1 + int(delay[booking[2]]), []).append(booking)

    def _booked(self) -> Floats:
        """Conversions that have become known this hour.

        They stand at the hour of their click from now on; those of clicks before these reports began are
        told here alone.
        """
        new = np.zeros((self.market.n_worlds, N_LINES))
        new[:, self.sight.never["conversion"][CHANNEL_OF_LINE]] = np.nan
        for w, clicked, line in self._shown_at.pop(self.hour, ()):
            new[w, line] += 1.0
            if clicked >= 0:
                self.conversions[w, clicked, line] += 1
                self._arrivals.append((w, line, clicked, self.hour))
        return new

    def _lists(self) -> Floats:
        """(n_worlds, n_lines) people on each line's audience list; NaN for lines without one."""
        return audience_sizes(self.market, self.seat)


def _own_site_rules(sight: Sight) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """By channel: how late its visits are told, whether they arrive without a name, and whether never."""
    event = np.where(np.arange(len(Channel)) < Channel.DIRECT, "click", "visit")
    delay = np.array([sight.delay[e][c] for c, e in enumerate(event)])
    unnamed = np.array([e == "click" and not sight.by_user[e][c] for c, e in enumerate(event)])
    unseen = np.array([e == "visit" and bool(sight.never[e][c]) for c, e in enumerate(event)])
    return delay, unnamed, unseen


def audience_sizes(market: Market, seat: int) -> Floats:
    """(n_worlds, n_lines) people a platform can match to a line's audience now; NaN for lines without one.

    Social platforms match logged-in visitors who allow tracking anywhere, display those with the seat's
    cookie on a device; both count visitors of the last 30 days.
    """
    people, memory = market.pop.people, market.pop.memory[:, :, seat]
    recent = (memory["visits"] > 0) & (market.hour - memory["last_visit"] <= CLICK_WINDOW_HOURS)
    keen = recent & ((memory["visits"] >= 2) | (memory["mail"] == 1))
    on_social = (people["devices"] & 64 != 0) & (people["devices"] & 56 != 0)
    sizes = np.full((market.n_worlds, N_LINES), np.nan)
    for i, line in enumerate(LINES):
        if line.audience not in _LISTS:
            continue
        matched = on_social if line.channel is Channel.SOCIAL else memory["cookies"] != 0
        member = keen if line.audience is Audience.HIGH_INTENT else recent
        if line.channel is not Channel.SOCIAL and line.audience is Audience.ENGAGED:
            member = recent & ~keen
        sizes[:, i] = (member & matched).sum(axis=1)
    return sizes


def regions(market: Market, seat: int) -> dict[str, NDArray[np.int64]]:
    """(n_worlds, n_regions, n_lines) impressions, clicks, spend in micros by region, since the beginning."""
    geo = market.books.geo[:, seat]
    fields = {"impressions": GEO_IMPRESSIONS, "clicks": GEO_CLICKS, "spend_micros": GEO_SPEND}
    return {name: geo[..., at] for name, at in fields.items()}


def logged_events(market: Market, world: int) -> NDArray[np.void]:
    """All events of a world since its log began, oldest first.

    Raises:
        BadInput: there were more than room for them, so some are missing.
    """
    happened, room = int(market.books.n_events[world]), market.books.events.shape[1]
    if happened > room:
        remedy = "Lower the budget: bids this high bring more events than are kept."
        raise BadInput("events", happened, f"must be at most {room:,} a world", remedy)
    return market.events(world)


def seen_events(market: Market, world: int, seat: int, sight: Sight, until: int) -> NDArray[np.void]:
    """User-level events that a seat knows of by hour `until`, in the order in which they became known.

    Args:
        market: worlds made with `event_rows`. world, seat: whose. sight: what is shown.
        until: hour of the market; events shown by then are returned.

    Returns:
        (n,) SEEN records.

    Raises:
        BadInput: there were more events than room for them.
    """
    events = logged_events(market, world)
    events = events[events["seat"] == seat]
    made = market.decisions(world)
    made = made[made["brand"] == seat]
    seen = np.zeros(len(events) + len(made), SEEN)
    for name in ("visitor", "login", "hour", "kind", "channel", "line", "device", "region"):
        seen[name][: len(events)] = events[name]
    sold = seen[len(events) :]
    for name in ("visitor", "login", "line", "device", "region", "value_micros"):
        sold[name] = made[name]
    sold["hour"] = made["book_hour"]
    sold["kind"] = TouchKind.CONVERSION
    clicked = made["line"] != NO_LINE
    sold["channel"] = np.where(clicked, CHANNEL_OF_LINE[np.where(clicked, made["line"], 0)], Channel.DIRECT)
    keep = np.zeros(len(seen), bool)
    for kind, event in _EVENT_OF_KIND.items():
        rows = seen["kind"] == kind
        channel = seen["channel"]
        keep |= rows & sight.by_user[event][channel]
        seen["shown"][rows] = seen["hour"][rows] + 1 + sight.delay[event][channel[rows]]
        if event == "click":  # whoever clicked still arrives at the site, from nowhere that is known
            lost = rows & ~sight.by_user[event][channel] & sight.by_user["visit"][Channel.DIRECT]
            seen["kind"][lost], seen["channel"][lost], seen["line"][lost] = (
                TouchKind.VISIT,
                Channel.DIRECT,
                NO_LINE,
            )
            seen["shown"][lost] = seen["hour"][lost] + 1 + sight.delay["visit"][Channel.DIRECT]
            keep |= lost
        if event == "conversion":  # the sale is seen in the shop; what brought it only where that is shown
            keep |= rows
            hidden = rows & ~sight.by_user[event][channel]
            seen["channel"][hidden], seen["line"][hidden] = Channel.DIRECT, NO_LINE
    seen = seen[keep & (seen["shown"] <= until)]
    return seen[np.argsort(seen["shown"], kind="stable")]
