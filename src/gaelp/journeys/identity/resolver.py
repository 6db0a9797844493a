"""Which cookies are one person: events in, people out, with confidence, and every merge can be undone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput
from gaelp.journeys.identity.checks import UNKNOWN_CODE, codes_of, hours_of, numbers_of
from gaelp.journeys.identity.clustering import (
    BY_EVIDENCE,
    BY_HAND,
    BY_LOGIN,
    NOTHING,
    Rules,
    pair_of,
    resolve_dirty,
)
from gaelp.journeys.identity.comparing import N_PATTERNS, odds_by_pattern
from gaelp.journeys.identity.memory import alone, empty, room_for, with_room
from gaelp.journeys.identity.profiles import ADDRESSES, COOKIES, DIRTY, LINKS, SHARED, look_up
from gaelp.journeys.identity.recording import record
from gaelp.journeys.identity.scoring import LinkModel, earned_chance, fit
from gaelp.journeys.identity.weighing import N_BINS, Scale, count_patterns, judge_known

_LEAST_ROOM = 64
_NO_ODDS = np.zeros(N_PATTERNS)
REASONS = {NOTHING: "alone", BY_LOGIN: "login", BY_HAND: "hand", BY_EVIDENCE: "evidence"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How careful a resolver is.

    Attributes:
        least_confidence: probability that a link claimed from evidence has, from 0.5 to below 1.
        crowd: cookies seen at one address above which it tells nothing (carrier NAT, offices, cafés).
        most_cookies: of one person, where evidence has a say.

    Raises:
        BadInput: one is out of range.
    """

    least_confidence: float = 0.97
    crowd: int = 12
    most_cookies: int = 8

    def __post_init__(self) -> None:
        if not 0.5 <= self.least_confidence < 1.0:
            allowed = "must be from 0.5 to below 1"
            raise BadInput("least_confidence", self.least_confidence, allowed, "0.97 is usual.")
        for name, low, high in (("crowd", 2, 200), ("most_cookies", 2, 1000)):
            if not low <= getattr(self, name) <= high:
                raise BadInput(name, getattr(self, name), f"must be from {low} to {high}", "Give cookies.")


class Link(NamedTuple):
    """Why two cookies are held to be one person."""

    cookie: int
    other: int
    reason: str  # login, hand, evidence
    confidence: float


class Resolver:
    """Holds what is known of cookies and who they are.

    Without a model only logins link. The people found are a function of the events as a set, the model and
    the decisions taken by hand: neither the order of events nor how often `resolve` was called matters.

    Args:
        settings: how careful to be.
        model: what evidence is worth; see `fit`.

    >>> found = Resolver()
    >>> found.add(hour=[9.0, 20.0, 21.0], cookie=[1, 2, 3], login=[7, 7, 0])
    >>> found.identities().tolist()
    [1, 1, 3]
    >>> found.merge(2, 3)
    >>> found.identities().tolist()
    [1, 1, 1]
    >>> found.unmerge(2, 3)
    >>> found.identities().tolist()
    [1, 1, 3]
    """

    def __init__(self, settings: Settings | None = None, model: LinkModel | None = None) -> None:
        self.settings = settings or Settings()
        self._same: set[int] = set()
        self._apart: set[int] = set()
        self._t, self._index = empty()
        self._out, self._room = alone(0), room_for(0, _LEAST_ROOM, _LEAST_ROOM)
        self.model = model

    @property
    def n_cookies(self) -> int:
        """Cookies seen so far."""
        return int(self._t.sizes[COOKIES])

    @property
    def cookies(self) -> NDArray[np.uint64]:
        """(n_cookies,) their numbers, in order of first arrival."""
        return np.array(self._t.profiles["number"][: self.n_cookies])

    @property
    def model(self) -> LinkModel | None:
        """What evidence is worth; None: only logins link."""
        return self._model

    @model.setter
    def model(self, model: LinkModel | None) -> None:
        self._model = model
        self._odds = odds_by_pattern(model.weights, model.log_prior_odds) if model else _NO_ODDS
        self._soil_all()

    def add(
        self,
        *,
        hour: ArrayLike,
        cookie: ArrayLike,
        login: ArrayLike | None = None,
        address: ArrayLike | None = None,
        city: ArrayLike | None = None,
        device: ArrayLike | None = None,
        behaviour: ArrayLike | None = None,
    ) -> None:
        """Take in events, in any order.

        Args:
            hour: (n,) when, in hours since any one moment; hours of the day count from there.
            cookie: (n,) numbers of cookies or device ids; 0 where there is none. Such an event says only
                that its login exists.
            login, address, city: (n,) numbers, 0 unknown. An address is a household's or an IP.
            device: (n,) class of the device, 0 to 7 (mobile, desktop, tablet ...), 255 unknown.
            behaviour: (n,) kind of what was done, 0 to 7 (a channel, a section), 255 unknown.

        Raises:
            BadInput: lengths differ, an hour is not finite, or a number is not what it should be.
        """
        hours = hours_of(hour)
        n = hours.size
        cookies = numbers_of("cookie", cookie, n)
        logins, addresses, cities = (
            np.zeros(n, np.uint64) if given is None else numbers_of(name, given, n)
            for name, given in (("login", login), ("address", address), ("city", city))
        )
        kinds = [
            np.full(n, UNKNOWN_CODE, np.uint8) if given is None else codes_of(name, given, n)
            for name, given in (("device", device), ("behaviour", behaviour))
        ]
        self._t, self._index = with_room(self._t, self._index, n)
        record(
            self._t,
            self._index,
            hours,
            cookies,
            logins,
            addresses,
            cities,
            kinds[0],
            kinds[1],
            self.settings.crowd,
        )

    def n_comparable(self) -> int:
        """Addresses that bring pairs together: two regulars at least, and not too many."""
        crowd = self._t.addresses["crowd"][: int(self._t.sizes[ADDRESSES])]
        return int(((crowd >= 2) & (crowd <= self.settings.crowd)).sum())

    def fit(self) -> LinkModel:
        """Find out what evidence is worth from the pairs seen so far, and use it from now on.

        Where logins decide pairs, evidence has to earn its say on them first; see `earned_chance`.

        Raises:
            BadInput: no two cookies were seen at one address.
        """
        cap = self.settings.crowd
        counts = self._counted((3, N_PATTERNS), lambda into: count_patterns(self._t, cap, self._room, into))
        found = fit(counts)
        blind = Scale(odds_by_pattern(found.weights, found.log_prior_odds), cap, True)
        judged = self._counted((2, N_BINS), lambda into: judge_known(self._t, blind, self._room, into))
        found = replace(found, earned=earned_chance(judged, found.prior))
        self.model = found
        return found

    def resolve(self) -> None:
        """Bring the people up to date; only those whose evidence has changed are looked at again."""
        if not self._t.sizes[DIRTY]:
            return
        self._fit_room()
        model, cautious = self._model, self.settings
        rules = Rules(
            scale=Scale(self._odds, cautious.crowd if model and model.earned < 1.0 else 0, False),
            least=max(cautious.least_confidence, model.earned if model else 0.0),
            most=cautious.most_cookies,
            same=np.array(sorted(self._same), np.uint64),
            apart=np.array(sorted(self._apart), np.uint64),
        )
        while not resolve_dirty(self._t, rules, self._out, self._room):
            self._enlarge()

    def identities(self) -> NDArray[np.uint64]:
        """(n_cookies,) name of each cookie's person: the smallest number among its cookies."""
        self.resolve()
        label = self._out["label"][: self.n_cookies]
        number = self._t.profiles["number"][: self.n_cookies]
        least = np.full(self.n_cookies, np.iinfo(np.uint64).max)
        np.minimum.at(least, label, number)
        return np.asarray(least[label])

    def confidence(self) -> NDArray[np.float64]:
        """(n_cookies,) probability that each cookie is its person's; 1 for logins and for the first."""
        self.resolve()
        return self._out["confidence"][: self.n_cookies].copy()

    def links(self) -> list[Link]:
        """What holds the people together, one link fewer than a person has cookies."""
        self.resolve()
        out, number = self._out[: self.n_cookies], self._t.profiles["number"]
        found = []
        for one in out[out["reason"] != NOTHING]:
            pair = sorted(int(number[c]) for c in one["link"])
            found.append(Link(pair[0], pair[1], REASONS[int(one["reason"])], float(one["chance"])))
        return sorted(found)

    def aliases(self, cookie: int) -> dict[str, list[int]]:
        """All cookies and logins of the person who has this cookie.

        Raises:
            BadInput: the cookie was never seen.
        """
        code = self._code(cookie)
        self.resolve()
        members = [code]
        while (other := int(self._out["next"][members[-1]])) != code:
            members.append(other)
        profiles = self._t.profiles[members]
        logins = {int(code) for code in profiles["login"] if code >= 0}
        return {
            "cookies": sorted(int(number) for number in profiles["number"]),
            "logins": sorted(int(self._t.logins["number"][code]) for code in logins),
        }

    def is_shared(self) -> NDArray[np.bool_]:
        """(n_cookies,) whether several logins used the cookie; it then stays alone."""
        return np.asarray(self._t.profiles["login"][: self.n_cookies] == SHARED)

    def merge(self, cookie: int, other: int) -> None:
        """Hold two cookies to be one person, whatever the evidence; `unmerge` takes it back.

        Raises:
            BadInput: a cookie is unknown, both are the same, they are merged by hand already, or a decision
                says that some of the cookies so joined are apart.
        """
        pair = self._pair(cookie, other)
        if pair in self._same:
            raise BadInput("merge", (cookie, other), "must not be merged already", "Nothing is left to do.")
        self._decide(self._same, self._apart, pair)

    def unmerge(self, cookie: int, other: int) -> None:
        """Take back a merge by hand, which restores the state before it; else hold two cookies apart.

        Raises:
            BadInput: a cookie is unknown, both are the same, they are held apart already, or logins or other
                merges by hand join them.
        """
        pair = self._pair(cookie, other)
        if pair in self._apart:
            raise BadInput("unmerge", (cookie, other), "must not be apart already", "Nothing is left to do.")
        self._decide(self._apart, self._same, pair)

    def _decide(self, add: set[int], drop: set[int], pair: int) -> None:
        """Drop the opposite decision if there is one, else take this one; refused where it cannot hold."""
        dropping = pair in drop
        if dropping:
            drop.discard(pair)
        else:
            add.add(pair)
        self._soil(pair)
        self.resolve()
        label = self._out["label"]
        torn = next((p for p in self._apart if label[p >> 32] == label[p & 0xFFFFFFFF]), None)
        if torn is None:
            return
        if dropping:
            drop.add(pair)
        else:
            add.discard(pair)
        self._soil(pair)
        self.resolve()
        names = tuple(int(self._t.profiles["number"][code]) for code in (torn >> 32, torn & 0xFFFFFFFF))
        allowed = "must not be joined by a login or by hand and held apart at once"
        raise BadInput("cookies", names, allowed, "Take the other decision back first.")

    @property
    def decisions(self) -> Mapping[str, list[tuple[int, int]]]:
        """Decisions taken by hand that stand, as pairs of cookies: `same` and `apart`."""
        number = self._t.profiles["number"]

        def named(pairs: set[int]) -> list[tuple[int, int]]:
            return sorted(
                (min(p), max(p)) for p in ((int(number[k >> 32]), int(number[k & 0xFFFFFFFF])) for k in pairs)
            )

        return {"same": named(self._same), "apart": named(self._apart)}

    def _pair(self, cookie: int, other: int) -> int:
        if cookie == other:
            raise BadInput("cookies", (cookie, other), "must be two", "Name another one.")
        return int(pair_of(self._code(cookie), self._code(other)))

    def _code(self, cookie: int) -> int:
        number = numbers_of("cookie", [cookie], 1)[0]
        code = look_up(self._index.cookies, number) if number else -1
        if code < 0:
            raise BadInput("cookie", cookie, "must have been seen", "Add its events first.")
        return int(code)

    def _soil(self, pair: int) -> None:
        for code in (pair >> 32, pair & 0xFFFFFFFF):
            if not self._t.profiles["dirty"][code]:
                self._t.dirty[self._t.sizes[DIRTY]] = code
                self._t.sizes[DIRTY] += 1
            self._t.profiles["dirty"][code] = LINKS

    def _soil_all(self) -> None:
        n = self.n_cookies
        self._t.profiles["dirty"][:n] = LINKS
        self._t.dirty[:n] = np.arange(n)
        self._t.sizes[DIRTY] = n

    def _counted(
        self, shape: tuple[int, int], count: Callable[[NDArray[np.int64]], bool]
    ) -> NDArray[np.int64]:
        """What a kernel counts, with as much room as it takes."""
        self._fit_room()
        while not count(counts := np.zeros(shape, np.int64)):
            self._enlarge()
        return counts

    def _fit_room(self) -> None:
        """Results and scratch memory for all cookies there are."""
        had = self._out.size
        if self.n_cookies > had:
            longer = alone(len(self._t.profiles))
            longer[:had] = self._out
            self._out = longer
            room = self._room
            self._room = room_for(longer.size, max(room.edges.size, 4 * longer.size), room.candidates.size)

    def _enlarge(self) -> None:
        """Twice the scratch memory for partners and candidates."""
        room = self._room
        self._room = room_for(self._out.size, 2 * room.edges.size, 2 * room.candidates.size)
