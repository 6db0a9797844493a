"""What a programmatic seat knows of whoever it is asked about, as the hours pass.

The same rules as in `journey_value_data`, which looks back from the end of a flight: a cookie is a person; it
joins an address from the moment at which one event shows both; events count once they are shown. Here they
are read hour by hour, as a seat would, and tests hold both to the same rows.
"""

from calendar import monthrange
from collections.abc import Sequence
from copy import copy
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief
from gaelp.agents.seat import Asked
from gaelp.core.words import CHANNEL_OF_LINE, N_LINES
from gaelp.learning.journey_touches import BY_CLICK, told_by_person, touch_costs, unit_costs
from gaelp.market.market import Market
from gaelp.market.state import EVENT
from gaelp.observation.journey import account_features, journey_features
from gaelp.observation.journey_inputs import AccountHours, account_hours, seen_by_person
from gaelp.observation.view import View
from gaelp.platforms.line_bids import Requests
from gaelp.platforms.reporting import SEEN, Sight, seen_events
from gaelp.worlds.visible import event_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class SeatJourneys:
    """Journeys of seat 0 in a batch of worlds, read as their events are shown.

    The seat knows what the market's event log holds: worlds made with `event_rows` bring what was seen in the
    warm-up; in others the log, and with it all knowledge of people, begins now.

    Args:
        market: the worlds, before the flight's first hour; given a log where they have none.
        brief: of the flight.
    """

    def __init__(self, market: Market, brief: Brief) -> None:
        self.market, self.brief = market, brief
        self.sight = Sight(market.worlds[0].file.visibility)
        self._late = int(max(delay.max() for delay in self.sight.delay.values()))
        self._make_room()
        self._price = unit_costs(market)
        self._told = told_by_person(market)
        self._people = [_People() for _ in range(market.n_worlds)]
        self._row_at: list[Ints] = []  # by hour back from the last one, events logged by then
        for w, people in enumerate(self._people):
            people.add(seen_events(market, w, 0, self.sight, market.hour))
        self._account = _Account(brief, self.sight)
        self._read = market.hour

    def look(self, view: View, found: NDArray[np.void], requests: Requests) -> Asked:
        """Observe some auctions of the coming hour; to be called once an hour.

        Args:
            view: of the account. found: (n,) OPPORTUNITY, world by world. requests: (n,) as they carry.
        """
        market = self.market
        if market.hour > self._read:
            self._read_on()
        today = market.worlds[0].file.start + timedelta(days=market.hour // 24)
        account = self._account.add(view, today.day, monthrange(today.year, today.month)[1])
        world = found["world"].astype(np.int64)
        begins = np.searchsorted(world, np.arange(market.n_worlds + 1))
        person = np.full(found.size, -1, np.int64)
        parts: list[dict[str, NDArray[Any]]] = []
        who = np.full(found.size, -1, np.int64)
        n_people = 0
        for w, people in enumerate(self._people):
            mine = slice(begins[w], begins[w + 1])
            person[mine] = people.named(requests.cookie[mine], requests.login[mine])
            known, place = np.unique(person[mine], return_inverse=True)
            strangers = int(known.size > 0 and known[0] < 0)
            who[mine] = np.where(person[mine] < 0, -1, place - strangers + n_people)
            parts.append(people.events(known[strangers:], n_people, self._price[w]))
            n_people += known.size - strangers
        cells = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        events = seen_by_person(n_people=n_people, told=self._told, **cells)
        hour = np.full(found.size, float(market.hour))
        return Asked(
            features=journey_features(events, account, market.hour, who, world, hour),
            line=found["line"][:, 0].astype(np.int64),
            world=world,
            person=person,
            hour=market.hour,
        )

    def _read_on(self) -> None:
        """Read what has been shown since the last look, and make room for what is to come."""
        market = self.market
        n_hours = self._late + 2  # what is older was shown before
        since = self._row_at[0] if len(self._row_at) >= n_hours else np.zeros(market.n_worlds, np.int64)
        for w, people in enumerate(self._people):
            seen = seen_events(_from_row(market, int(since[w])), w, 0, self.sight, market.hour)
            people.add(seen[seen["shown"] > self._read])
        self._read = market.hour
        self._row_at = [*self._row_at, market.books.n_events.copy()][-n_hours:]
        if market.hour % 24 == 0:
            self._make_room()

    def _make_room(self) -> None:
        """Room in the log for two days more."""
        market = self.market
        needed = int(market.books.n_events.max()) + 2 * event_rows(market.n_people, 1)
        room = market.books.events.shape[1]
        if needed > room:
            grown = np.zeros((market.n_worlds, max(needed, 3 * room // 2)), EVENT)
            grown[:, :room] = market.books.events
            market.books = market.books._replace(events=grown)


class _People:
    """Whom an account knows in one world, and their events; a cookie is 2 i, an address 2 j + 1."""

    def __init__(self) -> None:
        self._cookie: dict[int, int] = {}
        self._login: dict[int, int] = {}
        self._joined: list[int] = []  # by cookie: its address, -1
        self._n = 0
        self._seen = np.zeros(1024, SEEN)
        self._of_cookie, self._owner = np.full((2, 1024), -1, np.int64)

    def add(self, seen: NDArray[np.void]) -> None:
        """Take in events, in the order in which they became known."""
        seen = seen[(seen["visitor"] > 0) | (seen["login"] > 0)]
        cookie, login = np.full((2, seen.size), -1, np.int64)
        numbers = zip(seen["visitor"].tolist(), seen["login"].tolist(), strict=True)
        newly = []
        for i, (visitor, address) in enumerate(numbers):
            if address:
                login[i] = self._login.setdefault(address, len(self._login))
            if visitor:
                cookie[i] = self._cookie.setdefault(visitor, len(self._cookie))
                if cookie[i] == len(self._joined):
                    self._joined.append(-1)
                if address and self._joined[cookie[i]] < 0:
                    self._joined[cookie[i]] = int(login[i])
                    newly.append(int(cookie[i]))
        for one in newly:  # what the cookie did before is the address's from now on
            before = (self._of_cookie[: self._n] == one) & (self._owner[: self._n] % 2 == 0)
            self._owner[: self._n][before] = 2 * self._joined[one] + 1
        joined = np.array([*self._joined, -1])[cookie]
        owner = np.where(login >= 0, 2 * login + 1, np.where(joined >= 0, 2 * joined + 1, 2 * cookie))
        self._append(seen, cookie, owner)

    def _append(self, seen: NDArray[np.void], cookie: Ints, owner: Ints) -> None:
        n = self._n + seen.size
        while n > self._seen.size:
            self._seen = np.concatenate([self._seen, np.zeros_like(self._seen)])
            self._of_cookie = np.concatenate([self._of_cookie, np.full_like(self._of_cookie, -1)])
            self._owner = np.concatenate([self._owner, np.full_like(self._owner, -1)])
        self._seen[self._n : n], self._of_cookie[self._n : n], self._owner[self._n : n] = seen, cookie, owner
        self._n = n

    def named(self, cookie: NDArray[np.uint64], login: NDArray[np.uint64]) -> Ints:
        """(n,) who carries these numbers (0: none), by the address where it is known; -1 nobody known."""
        found = np.full(cookie.size, -1, np.int64)
        for i, (visitor, address) in enumerate(zip(cookie.tolist(), login.tolist(), strict=True)):
            if address in self._login:
                found[i] = 2 * self._login[address] + 1
            elif visitor in self._cookie:
                own = self._cookie[visitor]
                found[i] = 2 * own if self._joined[own] < 0 else 2 * self._joined[own] + 1
        return found

    def events(self, persons: Ints, first: int, price: Floats) -> dict[str, NDArray[Any]]:
        """Columns of `seen_by_person` for some persons (sorted), who are numbered from `first` on."""
        place = np.full(2 * max(len(self._cookie), len(self._login)) + 2, -1, np.int64)
        place[persons] = np.arange(first, first + persons.size)
        rows = np.flatnonzero(place[self._owner[: self._n]] >= 0)
        event = self._seen[rows]
        cells: dict[str, NDArray[Any]] = {
            name: event[name].astype(np.int64)
            for name in ("hour", "shown", "kind", "channel", "line", "device")
        }
        cells |= {"person": place[self._owner[rows]], "login": event["login"] > 0}
        return cells | {"cost_usd": touch_costs(cells["line"], cells["kind"], price)}


class _Account:
    """The account's own features, an hour at a time."""

    def __init__(self, brief: Brief, sight: Sight) -> None:
        self.brief = brief
        event = np.where(BY_CLICK, "click", "impression")
        self._delay = np.array([sight.delay[e][c] for e, c in zip(event, CHANNEL_OF_LINE, strict=True)])
        self._views: list[View] = []
        self._hours: list[AccountHours] = []

    def add(self, view: View, day: int, days_in_month: int) -> Floats:
        """(n_worlds, 1, n_features) as the hour of the view begins."""
        self._views = [*self._views, view][-(int(self._delay.max()) + 2) :]
        n_worlds, n_hours = view.n_worlds, len(self._views)
        gone = ((day - 1) * 24 + view.hour_of_week % 24) / (24 * days_in_month)
        hours = account_hours(
            self._views,
            bids_usd=np.zeros((n_worlds, n_hours, N_LINES)),  # one by one: no line's price stands over a bid
            delay_hours=self._delay,
            month_gone=np.full(n_hours, gone),
            monthly_budget_usd=30.4 * self.brief.daily_budget_usd,
            traffic=self.brief.traffic,
            value_usd=self.brief.ltv_usd,
        )
        self._hours.append(hours)
        return account_features(_newest(self._hours))[:, -1:]


def _newest(hours: Sequence[AccountHours]) -> AccountHours:
    """The last hour of each as one account."""
    return AccountHours(
        figures=np.ascontiguousarray(np.concatenate([each.figures[:, -1:] for each in hours], axis=1)),
        hour_of_week=np.array([each.hour_of_week[-1] for each in hours]),
        day_of_year=np.array([each.day_of_year[-1] for each in hours]),
        month_gone=np.array([each.month_gone[-1] for each in hours]),
        gone=hours[-1].gone,
        value_usd=hours[-1].value_usd,
    )


def _from_row(market: Market, row: int) -> Market:
    """The same worlds, whose event log begins at a row; nothing is copied."""
    later = copy(market)
    books = market.books
    later.books = books._replace(events=books.events[:, row:], n_events=books.n_events - row)
    return later
