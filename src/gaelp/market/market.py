"""Many worlds of one or several markets, advanced together hour by hour.

    market = Market([World(file, seed) for seed in range(8)], n_people=10_000)
    while market.hour < 24 * 30:
        market.advance(controls)

Everything a world is stands in arrays (`state.py`), so copying the arrays copies the worlds: that is
all a twin, a snapshot or a saved file is.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES, N_REGIONS, PAID_CHANNELS, Channel
from gaelp.market.file import MarketFile, compile_rules
from gaelp.market.hour import advance_hours, open_day
from gaelp.market.listing import OPPORTUNITY, list_opportunities
from gaelp.market.parameters import RULES
from gaelp.market.people import populate
from gaelp.market.rivals import STRATEGIES
from gaelp.market.state import (
    AUCTION_OF_LINE,
    CLICKS,
    DECISION,
    EVENT,
    GEO_FIELDS,
    GHOST_BID,
    IMPRESSIONS,
    MEMORY,
    PERSON,
    PRICE_BINS,
    REPORT_FIELDS,
    RIVAL_FIELDS,
    TRUTH,
    Books,
    Controls,
    Population,
    Rivals,
    empty_controls,
)

_NO_BIDS = np.empty((0, 1))
_IS_SEARCH = np.arange(N_LINES) < 8
_PRIOR_CONVERSIONS = 5.0
"""Weight of the prior rate, in conversions."""


class World(NamedTuple):
    """One world's rules and name: the market file with this world's values, and its seed."""

    file: MarketFile
    seed: int


class Market:
    """A batch of worlds that share their shape: people, seats, number of rivals.

    Args:
        worlds: what each world is; results of a world do not depend on its neighbours in the batch.
        n_people: people per world, at least 1.
        n_seats: external seats; seat 0 is the advertiser of the market file.
        truth_rows: room for truth-log rows per world; 0 switches the log off.
        event_rows: room for rows per world of what happens between people and seats; 0 switches it off.
    """

    def __init__(
        self,
        worlds: Sequence[World],
        *,
        n_people: int,
        n_seats: int = 1,
        truth_rows: int = 0,
        event_rows: int = 0,
    ) -> None:
        if not worlds:
            raise BadInput("worlds", 0, "must be at least 1", "Name at least one world.")
        if not 1 <= n_people <= 50_000_000:
            raise BadInput("users", n_people, "must be from 1 to 50,000,000", "Give people per world.")
        if not 1 <= n_seats <= 7:
            raise BadInput("seats", n_seats, "must be from 1 to 7", "Give the number of external seats.")
        counts = {len(world.file.rivals) for world in worlds}
        if len(counts) != 1:
            raise BadInput(
                "worlds", sorted(counts), "must have equally many rivals", "Use one market a batch."
            )
        self.worlds = tuple(worlds)
        self.n_people = n_people
        self.n_seats = n_seats
        self.hour = 0
        self.rules = np.array([compile_rules(world.file, world.seed) for world in worlds], RULES)
        n_worlds, n_rivals = len(worlds), counts.pop()
        self.pop = Population(
            people=np.zeros((n_worlds, n_people), PERSON),
            today=np.zeros((n_worlds, n_people), np.uint32),
            goodwill=np.zeros((n_worlds, n_people, n_seats + n_rivals), np.float32),
            memory=np.zeros((n_worlds, n_people, n_seats), MEMORY),
        )
        populate(self.rules, self.pop)
        self.rivals = _new_rivals(self.worlds, n_people)
        self.books = _new_books(n_worlds, n_people, n_seats, n_rivals, truth_rows, event_rows)
        self._changes: dict[int, tuple[MarketFile, ...]] = {}
        self.books.rate[:] = self.rules["predict_prior"][:, None, list(AUCTION_OF_LINE)]
        open_day(self.rules, self.pop, self.rivals, self.books, 0, True)

    @property
    def n_worlds(self) -> int:
        """Worlds in this batch."""
        return len(self.worlds)

    @property
    def n_rivals(self) -> int:
        """Rivals per world."""
        return int(self.rivals.strength.shape[1])

    @property
    def bytes_per_person(self) -> float:
        """All live arrays over people, per person."""
        return sum(array.nbytes for array in self.pop) / (self.n_worlds * self.n_people)

    def advance(
        self,
        controls: Controls,
        *,
        opportunity_bids: NDArray[np.float64] | None = None,
        adapt: bool = True,
    ) -> None:
        """Live one hour in every world.

        Args:
            controls: what the external seats decided for this hour.
            opportunity_bids: (n_opportunities, K) bids in the order of `opportunities()`, USD per click
                (search) or per 1000 impressions; -inf means none. They replace the lines' bids; the caller
                keeps the budget.
            adapt: False replays: rivals bid and rest as `rivals.bid` and `rivals.active` say.

        Raises:
            BadInput: a bid is NaN or infinite, or there is not one row per opportunity.
        """
        self.apply_due_change()
        starts = np.zeros(self.n_worlds, np.int64)
        bids = _NO_BIDS
        if opportunity_bids is not None:
            bids, starts = self._checked_bids(opportunity_bids)
        _refuse_bad_controls(controls)
        self._live(controls, bids, starts, 1, adapt)

    def rest(self, hours: int) -> Iterator[int]:
        """Live hours in which no external seat acts: the same as `advance` with empty controls, but faster.

        Yields:
            How many hours have passed, after each midnight on the way and at the end.
        """
        controls = empty_controls(self.n_worlds, self.n_seats)
        starts = np.zeros(self.n_worlds, np.int64)
        while hours > 0:
            self.apply_due_change()
            n_hours = min(hours, 24 - self.hour % 24, *(at - self.hour for at in self._changes))
            self._live(controls, _NO_BIDS, starts, n_hours, True)
            hours -= n_hours
            yield n_hours

    def _live(
        self,
        controls: Controls,
        bids: NDArray[np.float64],
        starts: NDArray[np.int64],
        n_hours: int,
        adapt: bool,
    ) -> None:
        self._make_room(n_hours)
        if self.books.ghosts.shape[3] == 0 and controls.holdout.any():
            room = np.zeros((*controls.holdout.shape, self.n_people), GHOST_BID)
            self.books = self.books._replace(ghosts=room)
        state = (self.rules, self.pop, self.rivals, self.books)
        with _threads_for(self.n_worlds):
            advance_hours(*state, controls, bids, starts, self.hour, n_hours, adapt)
            self.hour += n_hours
            most = int(self.books.n_decisions.max())
            if most > self.books.decisions.shape[1]:
                allowed = "must leave most people without a purchase in a day"
                raise BadInput("market file", self.worlds[0].file.name, allowed, "Lower `buy_rate`.")
            if self.hour % 24 == 0:
                open_day(*state, self.hour // 24, adapt)
                self._learn_rates()

    def change(self, files: Sequence[MarketFile], *, at: int | None = None) -> None:
        """Let every world live by another file from an hour on; who its people are stays.

        Rules of the file hold from the coming hour; the night before was lived by the old ones. Rivals keep
        what they have learnt.

        Args:
            files: one per world, with as many rivals as before.
            at: hour of the market from which they hold, not before now; None for now.
        """
        hour = self.hour if at is None else at
        if hour < self.hour:
            raise BadInput("at", hour, f"must be at least {self.hour}", "Name an hour that is still to come.")
        if len(files) != self.n_worlds or any(len(file.rivals) != self.n_rivals for file in files):
            allowed = f"must be {self.n_worlds} files with {self.n_rivals} rivals each"
            raise BadInput("files", len(files), allowed, "Derive them from the worlds' own files.")
        if hour == self.hour:
            self._live_by(files)
        else:
            self._changes = {**self._changes, hour: tuple(files)}

    def apply_due_change(self) -> None:
        """Live by the files that are due at the present hour, if any; asked before every look at the hour."""
        if self.hour in self._changes:
            self._live_by(self._changes[self.hour])
            self._changes = {hour: files for hour, files in self._changes.items() if hour != self.hour}

    @property
    def pending_changes(self) -> tuple[int, ...]:
        """Hours still to come at which the worlds change their rules."""
        return tuple(self._changes)

    def _live_by(self, files: Sequence[MarketFile]) -> None:
        self.worlds = tuple(world._replace(file=file) for world, file in zip(self.worlds, files, strict=True))
        self.rules = np.array([compile_rules(world.file, world.seed) for world in self.worlds], RULES)
        for name, array in _given_to_rivals(self.worlds, self.n_people).items():
            getattr(self.rivals, name)[:] = array

    def opportunities(self) -> NDArray[np.void]:
        """Auctions that the coming hour will hold, in world and person order, as bidders see them.

        Returns:
            (n_opportunities,) records of `OPPORTUNITY`.
        """
        self.apply_due_change()
        counts = np.zeros(self.n_worlds, np.int64)
        list_opportunities(self.rules, self.pop, self.hour, counts, np.empty((self.n_worlds, 0), OPPORTUNITY))
        found = np.zeros((self.n_worlds, int(counts.max(initial=0))), OPPORTUNITY)
        list_opportunities(self.rules, self.pop, self.hour, counts, found)
        return np.concatenate([found[w, : counts[w]] for w in range(self.n_worlds)])

    def copy(self, times: int = 1) -> "Market":
        """A twin: the same worlds at the same hour, sharing every future draw and nothing in memory.

        With `times` above 1 the batch holds every world that often: first all worlds once, then again.
        """
        twin = object.__new__(Market)
        twin.__dict__.update(self.__dict__)

        def again(array: NDArray[Any]) -> NDArray[Any]:
            return array.copy() if times == 1 else np.concatenate([array] * times)

        twin.worlds = self.worlds * times
        twin._changes = {hour: files * times for hour, files in self._changes.items()}
        twin.rules = again(self.rules)
        twin.pop = Population._make(again(array) for array in self.pop)
        twin.rivals = Rivals._make(again(array) for array in self.rivals)
        twin.books = Books._make(again(array) for array in self.books)
        return twin

    def first(self, n_worlds: int) -> "Market":
        """A copy of the first `n_worlds` worlds only."""
        few = object.__new__(Market)
        few.__dict__.update(self.__dict__)
        few.worlds = self.worlds[:n_worlds]
        few._changes = {hour: files[:n_worlds] for hour, files in self._changes.items()}
        few.rules = self.rules[:n_worlds].copy()
        few.pop = Population._make(array[:n_worlds].copy() for array in self.pop)
        few.rivals = Rivals._make(array[:n_worlds].copy() for array in self.rivals)
        few.books = Books._make(array[:n_worlds].copy() for array in self.books)
        return few

    def arrays(self) -> Iterator[tuple[str, NDArray[np.generic]]]:
        """Every array of state with its name, in a fixed order; enough to save and restore the worlds."""
        for part in ("pop", "rivals", "books"):
            state = getattr(self, part)
            for name in state._fields:
                yield f"{part}.{name}", getattr(state, name)

    def decisions(self, world: int) -> NDArray[np.void]:
        """Decisions for external seats in `world` so far, oldest first."""
        return self.books.decisions[world, : self.books.n_decisions[world]]

    def events(self, world: int) -> NDArray[np.void]:
        """Event-log rows of `world` so far, oldest first."""
        return self.books.events[world, : self.books.n_events[world]]

    def truth(self, world: int) -> NDArray[np.void]:
        """Truth-log rows of `world` so far, oldest first."""
        return self.books.truth[world, : self.books.n_truth[world]]

    def _checked_bids(self, bids: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        counts = np.zeros(self.n_worlds, np.int64)
        list_opportunities(self.rules, self.pop, self.hour, counts, np.empty((self.n_worlds, 0), OPPORTUNITY))
        expected = (int(counts.sum()), self.n_seats)
        if bids.shape != expected:
            raise BadInput(
                "opportunity_bids.shape", bids.shape, f"must be {expected}", "Bid on `opportunities()`."
            )
        bad = ~(bids < np.inf)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise BadInput(
                f"opportunity_bids[{at[0]}, {at[1]}]",
                float(bids[at]),
                "must be finite (use -inf for 'did not bid')",
                "Check the value estimate that produced it.",
            )
        return np.ascontiguousarray(bids, np.float64), np.cumsum(counts) - counts

    def _make_room(self, n_hours: int) -> None:
        an_hour = max(64, self.n_people // 20)
        needed = int(self.books.n_decisions.max()) + an_hour * min(n_hours, 4)
        capacity = self.books.decisions.shape[1]
        if needed > capacity:
            grown = np.zeros((self.n_worlds, max(2 * capacity, needed)), DECISION)
            grown[:, :capacity] = self.books.decisions
            self.books = self.books._replace(decisions=grown)

    def _learn_rates(self) -> None:
        """At midnight the platform's own bidder learns conversions per click or impression from bookings."""
        report = self.books.report
        shown = np.where(_IS_SEARCH, report[..., CLICKS], report[..., IMPRESSIONS])
        booked = np.zeros(report.shape[:3])
        for w in range(self.n_worlds):
            made = self.decisions(w)
            due = made[(made["book_hour"] >= self.hour - 24) & (made["book_hour"] < self.hour)]
            due = due[due["line"] < N_LINES]
            np.add.at(booked[w], (due["brand"].astype(int), due["line"].astype(int)), 1.0)
        keep = 1.0 - self.rules["predict_learning"][:, None, None]
        memory = self.books.rate_memory
        memory[..., 0] = keep * memory[..., 0] + booked
        memory[..., 1] = keep * memory[..., 1] + shown - memory[..., 2]
        memory[..., 2] = shown
        prior = self.rules["predict_prior"][:, None, list(AUCTION_OF_LINE)]
        weight = _PRIOR_CONVERSIONS
        self.books.rate[:] = (memory[..., 0] + weight) / (memory[..., 1] + weight / prior)


@contextmanager
def _threads_for(n_worlds: int) -> Iterator[None]:
    """No more threads than worlds: waking one that has no work costs more than an hour of a small world."""
    usual = numba.get_num_threads()
    if n_worlds >= usual:
        yield
        return
    numba.set_num_threads(n_worlds)
    try:
        yield
    finally:
        numba.set_num_threads(usual)


def _given_to_rivals(worlds: Sequence[World], n_people: int) -> dict[str, NDArray[np.float64]]:
    """(n_worlds, n_rivals) what a market file says of its rivals, by field of `Rivals`."""

    def each(name: str, scale: float = 1.0) -> NDArray[np.float64]:
        return np.array([[getattr(rival, name) * scale for rival in world.file.rivals] for world in worlds])

    return {
        "strength": each("strength"),
        "prior": each("prior"),
        "quality": each("quality"),
        "price_index": each("price_index"),
        "budget": each("budget_usd_per_1000", n_people / 1000.0),
        "rate": each("learning_rate"),
        "explore": each("exploration"),
    }


def _new_rivals(worlds: Sequence[World], n_people: int) -> Rivals:
    codes = np.array([[STRATEGIES.index(rival.strategy) for rival in world.file.rivals] for world in worlds])
    n_worlds, n_rivals = codes.shape
    lines = (n_worlds, n_rivals, N_LINES)
    return Rivals(
        strategy=codes.astype(np.int64),
        **_given_to_rivals(worlds, n_people),
        multiplier=np.ones(lines),
        pace=np.ones((n_worlds, n_rivals)),
        bid=np.zeros(lines),
        spent=np.zeros((n_worlds, n_rivals)),
        active=np.ones((n_worlds, n_rivals), np.uint8),
        report=np.zeros((*lines, len(RIVAL_FIELDS))),
        q=np.zeros((*lines, 3, 3)),
        trace=np.zeros((*lines, 4)),
    )


def _new_books(
    n_worlds: int, n_people: int, n_seats: int, n_rivals: int, truth_rows: int, event_rows: int
) -> Books:
    lines = (n_worlds, n_seats, N_LINES)
    return Books(
        report=np.zeros((*lines, len(REPORT_FIELDS)), np.int64),
        geo=np.zeros((n_worlds, n_seats, N_REGIONS, N_LINES, len(GEO_FIELDS)), np.int64),
        visits=np.zeros((*lines[:2], len(Channel)), np.int64),
        rate=np.zeros(lines),
        rate_memory=np.zeros((*lines, 3)),
        spent_today=np.zeros(lines[:2], np.int64),
        line_spent_today=np.zeros(lines, np.int64),
        prices=np.zeros((n_worlds, N_LINES, PRICE_BINS), np.int64),
        ads=np.zeros((n_worlds, 4, 2), np.int64),
        expected=np.zeros((n_worlds, n_seats, 2)),
        sales=np.zeros((n_worlds, n_seats + n_rivals + 1), np.int64),
        activity=np.zeros((n_worlds, 6), np.int64),
        n_decisions=np.zeros(n_worlds, np.int64),
        decisions=np.zeros((n_worlds, max(256, n_people // 10)), DECISION),
        n_truth=np.zeros(n_worlds, np.int64),
        truth=np.zeros((n_worlds, truth_rows), TRUTH),
        n_events=np.zeros(n_worlds, np.int64),
        events=np.zeros((n_worlds, event_rows), EVENT),
        ghosts=np.zeros((*lines[:2], len(PAID_CHANNELS), 0), GHOST_BID),
    )


def _refuse_bad_controls(controls: Controls) -> None:
    for name in ("bid", "target_cpa", "region", "upload", "holdout"):
        values = getattr(controls, name)
        if not np.isfinite(values).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise BadInput(
                f"{name}[{', '.join(map(str, at))}]",
                float(values[at]),
                "must be finite (use 0 for 'did not bid')",
                "Check the policy that produced it.",
            )
    if (controls.daily_cap < 0).any():
        raise BadInput("daily_cap", int(controls.daily_cap.min()), "must be at least 0", "Give micros.")
