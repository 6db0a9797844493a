"""Rows to learn from: what an account knows of a person at an auction, and what winning it is worth.

A policy flies on training worlds. Every few hours each auction of the coming hour is noted with what the
event of that auction would say of the person (the cookie of the device, the address of somebody logged in)
and with its worth from truth, an expectation without luck. After the flight the journey features are built
from the events that were shown by then, and from nothing else. Truth finds the cookie that an auction
carries, as a bid request would; who the person is stays out.
"""

from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.errors import BadInput
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, EMAIL_LINE, N_CREATIVES, N_LINES
from gaelp.evaluation.draws import keep_within
from gaelp.evaluation.worth import Valuer
from gaelp.learning.journey_touches import BY_CLICK, told_by_person, touch_costs, unit_costs
from gaelp.market.market import Market, World
from gaelp.market.state import SPEND
from gaelp.observation.journey import account_features, journey_features
from gaelp.observation.journey_inputs import SeenEvents, account_hours, seen_by_person
from gaelp.observation.view import View
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, make_market, warm_up
from gaelp.worlds.visible import event_rows, life_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EVERY_HOURS: Final = 5
"""Hours between two looks: every hour of the day within five days."""
BID_LEVELS: Final = np.concatenate([[0.0], np.geomspace(0.1, 120.0, 32)])
"""Bids at which prices are noted, USD per click or per 1000; the first is no bid."""
_DEVICES = 4  # of a number: three cookies and, last, the address


@dataclass(frozen=True, kw_only=True, eq=False)
class JourneyRows:
    """Auctions that were looked at, by world, person as known, and hour.

    Attributes:
        features: (n, 41) raw rows of `JOURNEY_FEATURES`; those of a stranger where nobody is known.
        line: (n,) on which the account may bid. world: (n,). hour: (n,) of the market, rising in a sequence.
        sequence: (n,) whose decisions these are, as the account knows people; -1 for strangers.
        worth_usd: (n,) label: expected incremental USD of an impression won, or on search of a click.
        guess: (n,) what the platform's own bidder makes of the person's stage. Truth, never an input.
        paid: (n, n_levels) micros paid at each bid of `BID_LEVELS`, -1 where nothing is; or no levels.
        spend_usd: (n_worlds,) of the flight on lines sold by auction, for as many hours as were looked at.
    """

    features: NDArray[np.float32]
    line: NDArray[np.uint8]
    world: Ints
    hour: Ints
    sequence: Ints
    worth_usd: Floats
    guess: Floats
    paid: NDArray[np.int32]
    spend_usd: Floats

    def __len__(self) -> int:
        return len(self.line)

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) whether the account knows something of the person."""
        return self.sequence >= 0

    def take(self, rows: NDArray[Any]) -> "JourneyRows":
        """Some of the rows, by mask or number."""
        names = [field.name for field in fields(self) if field.name != "spend_usd"]
        return JourneyRows(spend_usd=self.spend_usd, **{name: getattr(self, name)[rows] for name in names})


def join(parts: Sequence[JourneyRows]) -> JourneyRows:
    """Rows of several flights; worlds and sequences are numbered on."""
    worlds = np.cumsum([0] + [part.spend_usd.size for part in parts])
    people = np.cumsum([0] + [int(part.sequence.max(initial=-1)) + 1 for part in parts])
    columns = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(JourneyRows)}
    columns["world"] = np.concatenate([p.world + w for p, w in zip(parts, worlds, strict=False)])
    moved = [np.where(p.known, p.sequence + s, -1) for p, s in zip(parts, people, strict=False)]
    return JourneyRows(**{**columns, "sequence": np.concatenate(moved)})


def journey_rows_of(
    worlds: Sequence[World],
    make_policy: Callable[[], Policy],
    *,
    n_people: int,
    days: int = 30,
    every_hours: int = EVERY_HOURS,
    priced: bool = False,
    warm_up_days: int = WARM_UP_DAYS,
    tick: Tick = lambda _: None,
) -> JourneyRows:
    """Warm worlds up, fly a policy, and note what auctions are worth to people as the account knows them.

    Args:
        worlds: of one market, never of the split `test`. make_policy: of a fresh policy.
        n_people, days: of the flight. every_hours: between two looks.
        priced: note what each bid of `BID_LEVELS` would pay. tick: told the world-hours done.

    Raises:
        BadInput: no time to look, or more events than room for them.
    """
    if days < 1 or not 0 < every_hours <= 24:
        remedy = "Look at least once a day, for a day or longer."
        raise BadInput("every_hours", (every_hours, days), "must be 1 to 24, and days at least 1", remedy)
    market = make_market(list(worlds), n_people, event_rows=event_rows(n_people, warm_up_days + days))
    traffic = warm_up(market, warm_up_days, tick=tick)
    began, price = market.hour, unit_costs(market)
    watched = Watched(make_policy())
    looks: list[dict[str, NDArray[Any]]] = []
    valuer: list[Valuer] = []

    def look(hours: int) -> None:
        tick(hours)
        if market.hour % every_hours == 0 and market.hour < began + 24 * days:
            if not valuer:
                even = np.ones((market.n_worlds, N_LINES, N_CREATIVES))
                valuer.append(Valuer(market, 1.0, watched.landing, even))
            looks.append(_look(market, valuer[0], priced))

    flight = fly(market, watched, days=days, traffic=traffic, tick=look)
    noted = {name: np.concatenate([each[name] for each in looks]) for name in looks[0]}
    account = _account(market, flight, watched, traffic)
    spend = flight.report[:, :EMAIL_LINE, SPEND].sum(axis=1) / MICROS_PER_USD * len(looks) / flight.hours
    return _observed(market, noted, account, began, price, spend)


class Watched:
    """A policy whose views are kept: what the account knew, hour by hour."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.name = policy, policy.name
        self.views: list[View] = []
        self.landing: Ints = np.zeros(0, np.int64)

    def start(self, brief: Brief) -> None:
        """Begin a campaign."""
        self.views, self.brief = [], brief
        self.policy.start(brief)

    def act(self, view: View) -> ProposedControls:
        """Do what the policy does."""
        self.views.append(view)
        proposed = self.policy.act(view)
        self.landing = np.broadcast_to(proposed.landing, (view.n_worlds, N_LINES)).astype(np.int64)
        return proposed


def _look(market: Market, valuer: Valuer, priced: bool) -> dict[str, NDArray[Any]]:
    """Every auction of the coming hour: where, whose life, device, label, guess and prices."""
    found, worth, _ = valuer.value()
    world, person = found["world"].astype(np.int64), found["person"].astype(np.int64)
    p, memory = market.pop.people[world, person], market.pop.memory[world, person, 0]
    levels = BID_LEVELS if priced else BID_LEVELS[:0]
    paid = np.full((found.size, levels.size), -1, np.int32)
    starts = np.searchsorted(world, np.arange(market.n_worlds + 1))
    room = np.full(market.n_worlds, np.iinfo(np.int64).max // 4)
    for i, level in enumerate(levels[1:], 1):
        bid, cost = np.full(found.size, level), np.zeros(found.size, np.int64)
        keep_within(market.rules, market.pop, market.rivals, found, starts, market.hour, room, bid, cost)
        paid[:, i] = cost
    return {
        "world": world,
        "life": person * 65536 + p["generation"],
        "device": found["device"].astype(np.int64),
        "logged_in": (memory["mail"] > 0) & (p["devices"] & 64 > 0),
        "line": found["line"][:, 0],
        "hour": np.full(found.size, market.hour, np.int64),
        "worth_usd": worth,
        "guess": market.rules["predict_stage"][world, p["stage"]],
        "paid": paid,
    }


def _account(market: Market, flight: Flight, watched: Watched, traffic: Floats) -> Floats:
    sight = Sight(market.worlds[0].file.visibility)
    event = np.where(BY_CLICK, "click", "impression")
    delay = np.array([sight.delay[e][c] for e, c in zip(event, CHANNEL_OF_LINE, strict=True)])
    gone = []
    for h in range(flight.hours):
        at = flight.start + h
        today = market.worlds[0].file.start + timedelta(days=at // 24)
        gone.append(((today.day - 1) * 24 + at % 24) / (24 * monthrange(today.year, today.month)[1]))
    account = account_hours(
        watched.views,
        bids_usd=flight.bid,
        delay_hours=delay,
        month_gone=np.array(gone),
        monthly_budget_usd=30.4 * flight.daily_budget_usd,
        traffic=traffic,
        value_usd=watched.brief.ltv_usd,
    )
    return account_features(account)


class Identities(NamedTuple):
    """Cookies and addresses of one world that became known, and their events.

    Attributes:
        events: rows of `seen` given to persons: each cookie is a person by itself, each address is another.
        person, shown: of those rows. n_people: cookies, then addresses.
        cookie, login: (n_cookies,), (n_logins,) sorted numbers. cookie_shown, login_shown: when first.
        joined_to, joined_at: (n_cookies,) address index, -1 never; hour at which one event showed both.
    """

    events: Ints
    person: Ints
    shown: Ints
    n_people: int
    cookie: NDArray[np.uint64]
    login: NDArray[np.uint64]
    cookie_shown: Ints
    login_shown: Ints
    joined_to: Ints
    joined_at: Ints

    def person_at(self, cookie: NDArray[np.uint64], login: NDArray[np.uint64], hour: Ints) -> Ints:
        """(n,) who an auction with these numbers (0: none) is known to be at an hour; -1 nobody.

        By the address where it is known, also through an earlier event of the cookie; else by the cookie.
        """
        by_cookie, has_cookie = _found(self.cookie, cookie)
        by_login, has_login = _found(self.login, login)
        who = np.full(hour.size, -1, np.int64)
        if self.cookie.size:
            seen = has_cookie & (self.cookie_shown[by_cookie] <= hour)
            who[seen] = by_cookie[seen]
            joined = seen & (self.joined_to[by_cookie] >= 0) & (self.joined_at[by_cookie] <= hour)
            who[joined] = self.cookie.size + self.joined_to[by_cookie[joined]]
        if self.login.size:
            named = has_login & (self.login_shown[by_login] <= hour)
            who[named] = self.cookie.size + by_login[named]
        return who


def identities(seen: NDArray[np.void]) -> Identities:
    """Join cookies to addresses, each from the moment at which one event showed both.

    Args:
        seen: (n,) SEEN records in the order in which they became known, as `seen_events` gives them.

    What a cookie did before it was joined becomes known of the address at that moment.
    """
    shown = seen["shown"].astype(np.int64)
    has_cookie, has_login = (np.flatnonzero(seen[name] > 0) for name in ("visitor", "login"))
    cookie, first = np.unique(seen["visitor"][has_cookie], return_index=True)
    login, first_login = np.unique(seen["login"][has_login], return_index=True)
    both = np.flatnonzero((seen["visitor"] > 0) & (seen["login"] > 0))
    joined_to, joined_at = np.full(cookie.size, -1, np.int64), np.zeros(cookie.size, np.int64)
    which, row = np.unique(seen["visitor"][both], return_index=True)
    at = np.searchsorted(cookie, which)
    joined_to[at] = np.searchsorted(login, seen["login"][both][row])
    joined_at[at] = shown[both[row]]
    own = np.searchsorted(cookie, seen["visitor"][has_cookie])
    through = (joined_to[own] >= 0) & (seen["login"][has_cookie] == 0)
    named = cookie.size + np.searchsorted(login, seen["login"][has_login])
    late = np.maximum(shown[has_cookie], joined_at[own])[through]
    return Identities(
        events=np.concatenate([has_cookie, has_login, has_cookie[through]]),
        person=np.concatenate([own, named, cookie.size + joined_to[own][through]]),
        shown=np.concatenate([shown[has_cookie], shown[has_login], late]),
        n_people=cookie.size + login.size,
        cookie=cookie,
        login=login,
        cookie_shown=shown[has_cookie][first],
        login_shown=shown[has_login][first_login],
        joined_to=joined_to,
        joined_at=joined_at,
    )


def _observed(
    market: Market,
    noted: dict[str, NDArray[Any]],
    account: Floats,
    began: int,
    price: Floats,
    spend: Floats,
) -> JourneyRows:
    who = np.full(noted["world"].size, -1, np.int64)
    cells: dict[str, list[NDArray[Any]]] = {}
    n_people = 0
    for w, world in enumerate(market.worlds):
        seen = seen_events(market, w, 0, Sight(world.file.visibility), market.hour)
        known = identities(seen)
        rows = np.flatnonzero(noted["world"] == w)
        cookie, login = _numbers(life_of(market, w, 0, seen), seen, noted, rows)
        person = known.person_at(cookie, login, noted["hour"][rows])
        who[rows] = np.where(person >= 0, person + n_people, -1)
        event = seen[known.events]
        columns: dict[str, NDArray[Any]] = {
            name: event[name].astype(np.int64) for name in ("hour", "kind", "channel", "line", "device")
        }
        columns |= {"person": known.person + n_people, "shown": known.shown, "login": event["login"] > 0}
        columns["cost_usd"] = touch_costs(event["line"], event["kind"], price[w])
        for name, column in columns.items():
            cells.setdefault(name, []).append(column)
        n_people += known.n_people
    joined = {name: np.concatenate(parts) for name, parts in cells.items()}
    events: SeenEvents = seen_by_person(n_people=n_people, told=told_by_person(market), **joined)
    features = journey_features(events, account, began, who, noted["world"], noted["hour"].astype(float))
    order = np.lexsort((noted["hour"], who, noted["world"]))
    own = ("line", "world", "hour", "worth_usd", "guess", "paid")
    columns = {name: noted[name][order] for name in own}
    return JourneyRows(features=features[order], sequence=who[order], spend_usd=spend, **columns)


def _numbers(
    life: Ints, seen: NDArray[np.void], noted: dict[str, NDArray[Any]], rows: Ints
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Cookie of the device in use, and address of whoever is logged in, of each auction; 0 where none."""
    found = []
    for name, device in (("visitor", noted["device"][rows]), ("login", np.full(rows.size, _DEVICES - 1))):
        has = np.flatnonzero(seen[name] > 0)
        own = seen["device"][has].astype(np.int64) if name == "visitor" else _DEVICES - 1
        key, first = np.unique(life[has] * _DEVICES + own, return_index=True)
        at, there = _found(key, noted["life"][rows] * _DEVICES + device)
        number = np.zeros(rows.size, np.uint64)
        number[there] = seen[name][has[first]][at[there]]
        found.append(number)
    found[1][~noted["logged_in"][rows]] = 0
    return found[0], found[1]


def _found(known: NDArray[Any], asked: NDArray[Any]) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each number stands in a sorted list, and whether it does."""
    if not known.size:
        return np.zeros(asked.size, np.int64), np.zeros(asked.size, np.bool_)
    at = np.minimum(np.searchsorted(known, asked), known.size - 1)
    return at, known[at] == asked
