"""Rewards that come late: a ledger that says what each touch has earned so far.

A touch is *pending* while its journey is open. When the journey converts or is lost, `settle` enters what
each of its touches earned: shares of the conversion's value, or nothing. Entries are never changed; when a
conversion, a touch or a merge comes to light later, however late, the difference is entered (*restated*). So
the entries of a conversion add up to its value at all times, to the micro; what no touch brought goes to the
baseline.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.journeys.batch import Ints, micros_since_1970
from gaelp.journeys.bulk import OPEN, Cut, Lives, cut, read_lives, selected, table_of_lives
from gaelp.journeys.people import next_codes
from gaelp.journeys.schema import aliases, conversions, identities, journeys, rewards
from gaelp.journeys.store import JourneyStore, Moment
from gaelp.journeys.table import Floats, JourneyTable
from gaelp.journeys.writing import names_by_code

Shares = Callable[[JourneyTable], Floats]
"""How a journey's value is divided: (n_touches,) weights of at least 0, in proportion within each row. Where
all of a row's weights are 0 the value goes to the baseline."""

_PEOPLE_AT_ONCE = 50_000


def equal_shares(table: JourneyTable) -> Floats:
    """Every touch of a journey earns the same."""
    return np.ones(table.n_touches)


@dataclass(frozen=True, kw_only=True, eq=False)
class Entries:
    """What `settle` entered.

    Attributes:
        event_id: (n,) the touch; empty for the baseline.
        conversion_id: (n,) the conversion that pays; empty where the journey was lost, at nothing.
        amount_micros: (n,) earned, or taken back.
        restated: (n,) whether something had been entered for this touch, or baseline, before.
    """

    event_id: Sequence[str]
    conversion_id: Sequence[str]
    amount_micros: Ints
    restated: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Where the money of one currency is; `booked` is exactly the sum of the other three.

    Attributes:
        booked_micros: value of all conversions.
        credited_micros: earned by touches.
        baseline_micros: brought by no touch.
        waiting_micros: of conversions that `settle` has not seen yet.
    """

    booked_micros: int
    credited_micros: int
    baseline_micros: int
    waiting_micros: int

    @property
    def is_even(self) -> bool:
        """Whether it balances."""
        return self.booked_micros == self.credited_micros + self.baseline_micros + self.waiting_micros


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """Touches of a span of time and what they have earned so far; one row per journey.

    Attributes:
        event_id: (n_touches,) by person and time.
        at_us: (n_touches,) when.
        reward_micros: (n_touches,) earned so far, also by conversions after the span.
        pending: (n_touches,) whether the journey is open, or nothing was entered yet.
        offsets: (n_rows + 1,) where each row's touches begin.
        person: (n_rows,) codes of people.
        resumed: (n_rows,) whether the journey had begun before the span.
        truncated: (n_rows,) whether it went on after the span; otherwise it terminated within.
    """

    event_id: Sequence[str]
    at_us: Ints
    reward_micros: Ints
    pending: NDArray[np.bool_]
    offsets: Ints
    person: Ints
    resumed: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class RewardLedger:
    """The rewards of a store.

    Args:
        store: with the journeys.
        shares: how a value is divided among the touches of a journey.
    """

    def __init__(self, store: JourneyStore, shares: Shares = equal_shares) -> None:
        self.store = store
        self.shares = shares

    def settle(self, now: Moment) -> Entries:
        """Enter what has come to light: journeys that ended, and corrections of earlier entries.

        Args:
            now: the moment; journeys idle for too long by now are lost.

        Returns:
            What was entered, and nothing if all was settled before.

        Raises:
            BadInput: the shares are negative, not finite, or not one per touch.
        """
        now_us = micros_since_1970("now", now)
        self.store.time_out(now)
        found: list[Entries] = []
        i = identities.c
        while True:
            with self.store.database.writing() as connection:
                due = sa.select(i.root_id).where(i.unsettled == 1).distinct().order_by(i.root_id)
                roots = np.array(connection.execute(due.limit(_PEOPLE_AT_ONCE)).scalars().all(), np.int64)
                if not roots.size:
                    break
                found.append(self._settle(connection, roots, now_us))
                among = self.store.database.among(i.root_id, roots)
                connection.execute(identities.update().where(among).values(unsettled=0))
        return Entries(
            event_id=[each for part in found for each in part.event_id],
            conversion_id=[each for part in found for each in part.conversion_id],
            amount_micros=np.concatenate([part.amount_micros for part in found] or [np.zeros(0, np.int64)]),
            restated=np.concatenate([part.restated for part in found] or [np.zeros(0, bool)]),
        )

    def balance(self) -> dict[str, Balance]:
        """Where the money is, by currency."""
        c, r = conversions.c, rewards.c
        seen = sa.exists().where((r.conversion_id == c.event_id) & (r.conversion_id != ""))
        with self.store.database.reading() as connection:
            word = names_by_code(connection, "currency")

            def sums(amount: Any, currency: Any, *only: Any) -> dict[int, int]:
                rows = connection.execute(
                    sa.select(currency, sa.func.sum(amount)).where(*only).group_by(currency)
                )
                return {int(row[0]): int(row[1]) for row in rows}

            booked = sums(c.value_micros, c.currency)
            credited = sums(r.amount_micros, r.currency, r.event_id != "")
            baseline = sums(r.amount_micros, r.currency, r.event_id == "")
            waiting = sums(c.value_micros, c.currency, ~seen)
        return {
            word[code]: Balance(
                booked_micros=booked.get(code, 0),
                credited_micros=credited.get(code, 0),
                baseline_micros=baseline.get(code, 0),
                waiting_micros=waiting.get(code, 0),
            )
            for code in sorted({*booked, *credited, *baseline} - {0})
        }

    def episode(self, since: Moment, until: Moment, now: Moment, *, currency: str = "USD") -> Episode:
        """Touches of a span and what they have earned so far.

        Args:
            since: begin of the span.
            until: its end, not within.
            now: the moment.
            currency: of all rewards.

        Raises:
            BadInput: the span ends before it begins, or a reward is in another currency.
        """
        since_us, until_us, now_us = (
            micros_since_1970(name, each) for name, each in (("since", since), ("until", until), ("now", now))
        )
        if since_us > until_us:
            raise BadInput("until", until, f"must not lie before since, {since}", "Exchange the two.")
        store, j, r = self.store, journeys.c, rewards.c
        met = (j.opened_us < until_us) & (j.last_us >= since_us)
        with store.database.reading() as connection:
            owners = sa.select(j.identity_id).where(met).distinct().order_by(j.identity_id)
            roots = np.array(connection.execute(owners).scalars().all(), np.int64)
            lives = store.lives(connection, roots)
            word = names_by_code(connection, "currency")
            under = sa.select(aliases.c.id).join(identities, identities.c.id == aliases.c.identity_id)
            paid = connection.execute(
                sa.select(r.event_id, sa.func.sum(r.amount_micros), sa.func.max(r.currency))
                .where(r.alias_id.in_(under.where(store.database.among(identities.c.root_id, roots))))
                .group_by(r.event_id)
            ).all()
        foreign = {word[row[2]] for row in paid if row[2]} - {currency}
        if foreign:
            raise BadInput("currency", sorted(foreign), f"must all be {currency}", "Choose another span.")
        earned = {row[0]: int(row[1]) for row in paid}
        cuts = cut(lives, store.rules, now_us)
        journey = np.repeat(np.arange(cuts.first.size), np.diff(np.append(cuts.first, lives.at_us.size)))
        inside = ~lives.converts & (lives.at_us >= since_us) & (lives.at_us < until_us)
        rows, n_touches = np.unique(journey[inside], return_counts=True)
        ids = [lives.event_id[i] for i in np.flatnonzero(inside).tolist()]
        entered = np.fromiter((each in earned for each in ids), bool, len(ids))
        ended = cuts.ended_us[rows]
        return Episode(
            event_id=ids,
            at_us=lives.at_us[inside],
            reward_micros=np.fromiter((earned.get(each, 0) for each in ids), np.int64, len(ids)),
            pending=(cuts.ended_us[journey[inside]] == OPEN) | ~entered,
            offsets=np.append(0, np.cumsum(n_touches)),
            person=roots[cuts.person[rows]],
            resumed=cuts.opened_us[rows] < since_us,
            truncated=(ended == OPEN) | (ended >= until_us),
        )

    def _settle(self, connection: sa.Connection, roots: Ints, now_us: int) -> Entries:
        store = self.store
        lives = read_lives(store.database, connection, roots)
        cuts = cut(lives, store.rules, now_us)
        j = journeys.c
        known = sa.select(j.ended_us).where(store.database.among(j.identity_id, roots))
        ended = connection.execute(known.order_by(j.identity_id, j.number)).scalars().all()
        assert len(ended) == cuts.first.size, "journeys and facts disagree"
        # what was lost by a later clock than ours stays lost
        cuts = replace(cuts, ended_us=np.array([OPEN if each is None else each for each in ended], np.int64))
        lives, cuts = selected(lives, cuts, cuts.ended_us != OPEN)
        target = self._target(lives, cuts, names_by_code(connection, "channel"), now_us, roots)
        booked = self._booked(connection, roots, lives, cuts)
        entered, restated = _differences(target, booked)
        first = next_codes(connection, "next_reward", len(entered))
        event_id, conversion_id, alias_id, currency, amount = (
            [list(column) for column in zip(*entered, strict=True)] if entered else [[]] * 5
        )
        store.database.insert(
            connection,
            rewards,
            {
                "id": list(range(first, first + len(entered))),
                "alias_id": alias_id,
                "event_id": event_id,
                "conversion_id": conversion_id,
                "amount_micros": amount,
                "currency": currency,
                "entered_us": [now_us] * len(entered),
            },
        )
        return Entries(
            event_id=event_id,
            conversion_id=conversion_id,
            amount_micros=np.array(amount, np.int64),
            restated=np.array(restated, bool),
        )

    def _target(self, lives: Lives, cuts: Cut, channels: Sequence[str], now_us: int, roots: Ints) -> "_Rows":
        """What each touch should have earned: (touch, conversion, alias, currency, amount)."""
        table = table_of_lives(lives, cuts, channels, now_us, roots)
        weights = np.asarray(self.shares(table), np.float64)
        if weights.shape != (table.n_touches,) or not (np.isfinite(weights) & (weights >= 0)).all():
            allowed = f"must be {table.n_touches} finite weights of at least 0"
            raise BadInput("shares", weights, allowed, "Mend the rule that divides the value.")
        amount, left = split(table.value_usd_micros, table.offsets, weights)
        touch = np.flatnonzero(~lives.converts)
        row = np.repeat(np.arange(table.n_rows), table.lengths)
        sold = cuts.conversion >= 0
        sale_id = [lives.event_id[i] if i >= 0 else "" for i in cuts.conversion.tolist()]
        currency = np.where(sold, lives.currency[cuts.conversion], 0) if sold.size else np.zeros(0, np.int64)
        rows = list(
            zip(
                [lives.event_id[i] for i in touch.tolist()],
                [sale_id[i] for i in row.tolist()],
                lives.alias_id[touch].tolist(),
                currency[row].tolist(),
                amount.tolist(),
                strict=True,
            )
        )
        for i in np.flatnonzero(sold & ((left > 0) | (table.lengths == 0))).tolist():
            alias = int(lives.alias_id[cuts.conversion[i]])
            rows.append(("", sale_id[i], alias, int(currency[i]), int(left[i])))
        return rows

    def _booked(self, connection: sa.Connection, roots: Ints, lives: Lives, cuts: Cut) -> "_Rows":
        """Entries so far of these people's touches and of their conversions."""
        r = rewards.c
        columns = sa.select(r.id, r.event_id, r.conversion_id, r.alias_id, r.currency, r.amount_micros)
        under = sa.select(aliases.c.id).join(identities, identities.c.id == aliases.c.identity_id)
        under = under.where(self.store.database.among(identities.c.root_id, roots))
        sold = [lives.event_id[i] for i in cuts.conversion.tolist() if i >= 0]
        own = connection.execute(columns.where(r.alias_id.in_(under))).all()
        paid = connection.execute(
            columns.where((r.conversion_id != "") & self.store.database.among(r.conversion_id, sold))
        ).all()
        mine = set(sold)
        every = {row[0]: tuple(row[1:]) for row in [*own, *paid]}
        # what others' conversions paid to these touches is settled with those others
        return [row if row[1] in mine else (row[0], "", row[2], 0, 0) for row in every.values()]


_Rows = list[tuple[str, str, int, int, int]]


def split(value_micros: Ints, offsets: Ints, weights: Floats) -> tuple[Ints, Ints]:
    """Divide whole micros in proportion to weights, losing none.

    Each touch gets its share rounded down; micros left over go to the largest fractions, the oldest first.

    Args:
        value_micros: (n_rows,) to divide, 0 to 2^53.
        offsets: (n_rows + 1,) where each row's touches begin.
        weights: (n_touches,) at least 0.

    Returns:
        (n_touches,) micros; and (n_rows,) what no touch got, where all weights of a row are 0.

    >>> split(np.array([100, 5]), np.array([0, 3, 3]), np.array([1.0, 1.0, 1.0]))
    (array([34, 33, 33]), array([0, 5]))
    """
    n_rows = offsets.size - 1
    row = np.repeat(np.arange(n_rows), np.diff(offsets))
    heaviest = np.zeros(n_rows)
    np.maximum.at(heaviest, row, weights)
    scaled = np.divide(weights, heaviest[row], out=np.zeros_like(weights), where=heaviest[row] > 0)
    total = np.bincount(row, scaled, n_rows)
    share = np.divide(scaled, total[row], out=np.zeros_like(weights), where=total[row] > 0)
    exact = value_micros[row] * share
    amount = np.floor(exact).astype(np.int64)
    got = np.zeros(n_rows, np.int64)
    np.add.at(got, row, amount)
    left = np.where(total > 0, value_micros - got, 0)
    order = np.lexsort((amount - exact, row))  # largest fraction first within a row, else the oldest
    place = np.arange(row.size) - offsets[row]
    more = np.zeros(row.size, np.int64)
    more[order] = place < left[row]
    amount += more
    got = np.zeros(n_rows, np.int64)
    np.add.at(got, row, amount)
    # floats of huge values can be a few micros off: the first touch of the row settles that
    rest = np.where(total > 0, value_micros - got, 0)
    first = order[np.minimum(offsets[:-1], max(row.size - 1, 0))] if row.size else offsets[:-1]
    odd = np.flatnonzero(rest)
    amount[first[odd]] += rest[odd]
    return amount, np.where(total > 0, 0, value_micros)


def _differences(target: "_Rows", booked: "_Rows") -> tuple["_Rows", list[bool]]:
    """What has to be entered so that the ledger says what it should; and whether that restates."""
    if not booked:
        return target, [False] * len(target)
    sums: dict[tuple[str, str], int] = {}
    seen: dict[str, tuple[int, int]] = {}
    sales: dict[str, int] = {}
    for event_id, conversion_id, alias_id, currency, amount in booked:
        key = (event_id, conversion_id)
        sums[key] = sums.get(key, 0) + amount
        seen[event_id] = (alias_id, max(currency, seen.get(event_id, (0, 0))[1]))
        sales[conversion_id] = max(currency, sales.get(conversion_id, 0))
    entered: _Rows = []
    known: list[bool] = []
    for event_id, conversion_id, alias_id, currency, amount in target:
        before = sums.pop((event_id, conversion_id), None)
        is_known = (event_id in seen) if event_id else conversion_id in sales
        if amount != (before or 0) or not is_known:
            entered.append((event_id, conversion_id, alias_id, currency, amount - (before or 0)))
            known.append(is_known)
    owner = {(event_id, conversion_id): alias_id for event_id, conversion_id, alias_id, _, _ in booked}
    for (event_id, conversion_id), amount in sums.items():
        if amount and conversion_id:
            alias_id = owner[event_id, conversion_id]
            entered.append((event_id, conversion_id, alias_id, sales[conversion_id], -amount))
            known.append(True)
    return entered, known
