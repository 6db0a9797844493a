"""Twins: the same worlds lived again with someone silent."""

from dataclasses import replace

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.control.controls import ProposedControls
from gaelp.control.delivery import META
from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, N_LINES, Channel
from gaelp.market.file import load
from gaelp.market.market import Market
from gaelp.market.state import SPEND, empty_controls
from gaelp.observation.view import View
from gaelp.worlds.flight import Flight, fly_together, make_market, run_off
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.twins import ALL_LINES, outcome, replay

MARKET = "markets/family_safety.toml"
DAYS = 3


class EveryControl(FixedPolicy):
    """Uses everything a seat can decide, and changes it from hour to hour."""

    def act(self, view: View) -> ProposedControls:
        plain = super().act(view)
        draw = np.random.default_rng(view.hour)
        lines = plain.bid_usd.shape
        return replace(
            plain,
            bid_usd=plain.bid_usd * draw.uniform(0.5, 2.0, lines),
            target_cpa_usd=np.where(draw.random(lines) < 0.3, 80.0, 0.0),
            creative_weight=draw.random((*lines, 3)),
            landing=draw.integers(0, 3, lines),
            region=draw.uniform(0.0, 2.0, plain.region.shape),
            value_upload=draw.uniform(0.5, 1.5, lines),
        )


@pytest.fixture(scope="module")
def flown() -> tuple[Market, list[Flight]]:
    """Two worlds with two external seats, both flying."""
    snapshot = make_market(plain_worlds(load(MARKET), 2, 7), 600, n_seats=2)
    policies = [EveryControl(multiplier=2.0), FixedPolicy(multiplier=1.5)]
    flights = fly_together(snapshot.copy(), policies, days=DAYS, traffic=None)
    run_off(flights[0].market, 2)
    return snapshot, flights


def same(a: Market, b: Market) -> bool:
    """Whether two markets are equal, field by field."""
    for (_, one), (_, other) in zip(a.arrays(), b.arrays(), strict=True):
        names = one.dtype.names or (None,)
        for name in names:
            x, y = (one, other) if name is None else (one[name], other[name])
            if not np.array_equal(x, y):
                return False
    return True


def test_both_seats_took_part(flown: tuple[Market, list[Flight]]) -> None:
    _, flights = flown
    assert [flight.seat for flight in flights] == [0, 1]
    assert all((flight.report[..., SPEND].sum(axis=1) > 0).all() for flight in flights)


def test_a_replay_wants_the_flight_of_every_seat_that_flew(flown: tuple[Market, list[Flight]]) -> None:
    snapshot, flights = flown
    with pytest.raises(BadInput, match=r"every seat that flew"):
        replay(snapshot, flights[1])
    with pytest.raises(BadInput, match="seat_off"):
        replay(snapshot, flights, lines_off=ALL_LINES, seat_off=2)


def test_a_replay_with_nothing_off_is_the_flight_itself(flown: tuple[Market, list[Flight]]) -> None:
    snapshot, flights = flown
    assert same(replay(snapshot, flights, runoff_days=2), flights[0].market)
    assert same(replay(snapshot, flights, rivals_learn=True, runoff_days=2), flights[0].market)


def test_a_channel_off_spends_nothing_there_and_as_before_elsewhere_or_more(
    flown: tuple[Market, list[Flight]],
) -> None:
    snapshot, flights = flown
    off = np.array([line.channel is Channel.SEARCH for line in LINES])
    twin = replay(snapshot, flights, lines_off=off, runoff_days=2)
    spent = twin.books.report[:, 0, :, SPEND]
    assert (spent[:, off] == 0).all()
    assert (spent[:, ~off].sum(axis=1) > 0).all()


@pytest.mark.parametrize("learn", [False, True])
def test_any_seat_can_be_silent(flown: tuple[Market, list[Flight]], learn: bool) -> None:
    snapshot, flights = flown
    for seat in (0, 1):
        twin = replay(
            snapshot, flights, lines_off=ALL_LINES, seat_off=seat, rivals_learn=learn, runoff_days=2
        )
        spent = twin.books.report[:, :, :, SPEND].sum(axis=2)
        assert (spent[:, seat] == 0).all()
        assert (spent[:, 1 - seat] > 0).all()


@pytest.mark.parametrize("learn", [False, True])
def test_a_rival_can_be_silent(flown: tuple[Market, list[Flight]], learn: bool) -> None:
    snapshot, flights = flown
    rival = 2
    twin = replay(snapshot, flights, rivals_off=[rival], rivals_learn=learn, runoff_days=0)
    # the evening's report stands until the next midnight's bids: nobody has spent after it
    assert (twin.rivals.spent[:, rival] == 0).all()
    ours = [market.books.report[:, 0, :, 2].sum() for market in (twin, flights[0].market)]
    assert ours[0] > ours[1], "with one bidder fewer we win more"


def test_a_flight_without_its_log_is_refused(flown: tuple[Market, list[Flight]]) -> None:
    snapshot, _ = flown
    unlogged = fly_together(snapshot.copy(), [FixedPolicy()], days=1, traffic=None, keep_bids=False)
    with pytest.raises(BadInput, match="keep_bids"):
        replay(snapshot, unlogged)


def test_the_first_worlds_of_a_flight_replay_like_the_whole(flown: tuple[Market, list[Flight]]) -> None:
    snapshot, flights = flown
    few = replay(snapshot.first(1), [flight.first(1) for flight in flights], runoff_days=2)
    assert same(few, flights[0].market.first(1))
    assert flights[0].first(1).bid.shape == (1, DAYS * 24, N_LINES)


def test_more_policies_than_seats_are_refused() -> None:
    market = make_market(plain_worlds(load(MARKET), 1, 7), 50)
    with pytest.raises(BadInput, match="from 1 to 1"):
        fly_together(market, [FixedPolicy(), FixedPolicy()], days=1, traffic=None)


def test_the_budget_that_a_silent_line_frees_stays_unspent() -> None:
    snapshot = make_market(plain_worlds(load(MARKET), 2, 7), 600)
    budget = 1.0
    policy = FixedPolicy(multiplier=3.0)
    flight = fly_together(snapshot.copy(), [policy], days=DAYS, traffic=None, daily_budget_usd=budget)[0]
    off = np.array([line.channel is Channel.SOCIAL for line in LINES])
    freed = flight.spend_micros[..., off].sum(axis=(1, 2))
    assert (freed > 0.1e6).all(), "social has a part of a budget that binds"
    twin = replay(snapshot, flight, lines_off=off, runoff_days=0)
    spent = twin.books.report[:, 0, :, SPEND].sum(axis=1)
    assert (spent + freed <= DAYS * budget * 1e6).all()


@pytest.mark.parametrize("day", [0, 1])
def test_silent_rivals_stay_silent_when_rules_change(flown: tuple[Market, list[Flight]], day: int) -> None:
    snapshot, _ = flown
    start = snapshot.copy()
    files = [world.file for world in start.worlds]
    start.change(files, at=start.hour + 24 * day)
    flights = fly_together(start.copy(), [FixedPolicy(), FixedPolicy()], days=2, traffic=None)
    twin = replay(start, flights, rivals_off=range(5), rivals_learn=True, runoff_days=0)
    assert (twin.rivals.report == 0).all() or (twin.rivals.spent == 0).all()
    assert (twin.rivals.active == 0).all()


def test_a_weekly_limit_does_not_hand_freed_budget_on() -> None:
    snapshot = make_market(plain_worlds(load(MARKET), 2, 7), 600)
    days = 9
    policy = FixedPolicy(multiplier=3.0)
    flight = fly_together(
        snapshot.copy(), [policy], days=days, traffic=None, daily_budget_usd=1.0, delivery=META
    )[0]
    off = np.array([line.channel is Channel.SOCIAL for line in LINES])
    twin = replay(snapshot, flight, lines_off=off, runoff_days=0)
    others = flight.spend_micros[..., ~off].sum(axis=(1, 2))
    spent = twin.books.report[:, 0, :, SPEND].sum(axis=1)
    assert (spent <= 1.02 * others).all()


def test_an_outcome_counts_the_sales_of_the_flights_own_seat(flown: tuple[Market, list[Flight]]) -> None:
    _, flights = flown
    for flight in flights:
        made = [flight.market.decisions(w) for w in range(2)]
        ours = [int((m["brand"][m["hour"] >= flight.start] == flight.seat).sum()) for m in made]
        np.testing.assert_array_equal(outcome(flight, None, 2)["decisions"], ours)


def test_a_flight_begins_at_midnight() -> None:
    market = make_market(plain_worlds(load(MARKET), 1, 7), 50)
    market.advance(empty_controls(1, 1))
    with pytest.raises(BadInput, match="first of a day"):
        fly_together(market, [FixedPolicy()], days=1, traffic=None)
