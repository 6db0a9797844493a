"""How people live: when they are active, what they forget, how they move between stages, come and go."""

import itertools

import numpy as np
import pytest
from scipy import stats

from gaelp.core.random import normal
from gaelp.core.words import Stage
from gaelp.market import people as lives
from gaelp.market import tables
from gaelp.market.hour import HELD_OUT, VISITOR
from gaelp.market.market import Market, World
from gaelp.market.state import empty_controls

UNAWARE, AWARE, CONSIDERING, INTENT, CONVERTED, LOST = Stage


def live_quietly(market, hours):
    """Hours without any ads: rivals rest and we do not bid."""
    market.rivals.active[:] = 0
    for _ in range(hours):
        market.advance(empty_controls(market.n_worlds, market.n_seats), adapt=False)


# activity


@pytest.fixture(scope="module")
def counted(market_file):
    """One segment of equal need, two weeks: activities by hour of the week and kind, calendars by day."""
    file = market_file.with_values(
        {
            "segment_share": [0.0, 1.0, 0.0, 0.0],
            "search_per_day": 0.3,
            "search_urgency": 0.0,
            "need_sigma": 0.0,
            "trigger_per_day": 0.0,
        }
    )
    market = Market([World(file, 3)], n_people=20_000)
    assert (market.pop.people["segment"] == 1).all()
    counts = np.zeros((168, 6))
    calendars = []
    for hour in range(14 * 24):
        if hour % 24 == 0:
            calendars.append(market.pop.today[0].copy())
        before = market.books.activity[0].copy()
        live_quietly(market, 1)
        counts[(24 * file.start.weekday() + hour) % 168] += market.books.activity[0] - before
    return file, counts, np.array(calendars)


def expected_share(file, kind):
    """Share of an activity in each hour of the week; personal rhythms shift it evenly by whole hours."""
    tilt = file.parameters["hour_tilt"].value[kind]
    week = 1.0 + tilt * (tables.table(file.hour_table) - 1.0)
    span = int(file.parameters["rhythm_hours"].value)
    shifted = np.mean([np.roll(week, -shift) for shift in range(-span, span + 1)], axis=0)
    return shifted / shifted.sum()


@pytest.mark.statistical
def test_a_segments_activity_follows_the_hour_of_week_table(counted):
    file, counts, _ = counted
    expected = expected_share(file, 0)
    n = counts[:, 0].sum()
    z = (counts[:, 0] - n * expected) / np.sqrt(n * expected)
    assert n > 300_000
    assert abs(z).max() < 4.5  # of 168
    assert stats.chi2.sf((z**2).sum(), 167) > 1e-4


@pytest.mark.statistical
def test_the_cap_on_an_hour_costs_an_intent_person_less_than_a_quarter_of_the_searches(market_file):
    """Rates above 3/8 an hour saturate (decision 0001), and feeds come first: about 18 % at need 1."""
    market = Market([World(market_file, 3)], n_people=20_000)
    people = market.pop.people[0]
    rates = market.rules["hour_rate"][0, 3]
    wanted = 0.0
    for hour in range(168):
        people["stage"], people["need"], people["urgency"] = INTENT, 1.0, 0.0
        live_quietly(market, 1)
        week = (24 * market_file.start.weekday() + hour + people["rhythm"].astype(int)) % 168
        wanted += (people["activity"] * rates[week]).sum()
    wanted *= market_file.parameters["search_per_day"].value[INTENT]
    lost = 1.0 - market.books.activity[0, 3] / wanted
    assert 0.10 < lost < 0.25


@pytest.mark.statistical
def test_calendar_hours_have_chance_three_eighths_and_are_independent(counted):
    _, _, calendars = counted
    bits = (calendars[..., None] >> np.arange(24, dtype=np.uint32)) & 1  # (days, people, 24)
    assert not (calendars >> np.uint32(24)).any()
    x = bits.astype(float) - 0.375
    n, scale = calendars.size, 0.375 * 0.625
    assert (abs(x.mean(axis=(0, 1))) < 4.0 * np.sqrt(scale / n)).all()
    flat = x.reshape(-1, 24)
    between_hours = (flat.T @ flat / n / scale)[np.triu_indices(24, 1)]
    assert abs(between_hours).max() * np.sqrt(n) < 4.6  # of 276
    for one, other in ((x[:-1], x[1:]), (x[:, :-1], x[:, 1:])):  # days of a person, neighbours of a day
        together = (one * other).mean(axis=(0, 1)) / scale
        assert abs(together).max() * np.sqrt(one[..., 0].size) < 4.5


# who there is


@pytest.mark.statistical
def test_entrants_come_from_the_segments_as_stated(market_file):
    people = Market([World(market_file, 4)], n_people=40_000).pop.people[0]
    share = market_file.parameters["segment_share"].value
    share = share / share.sum()
    found = np.bincount(people["home_segment"], minlength=share.size) / people.size
    assert (abs(found - share) < 4.0 * np.sqrt(share * (1.0 - share) / people.size)).all()
    assert (
        people["segment"] == people["home_segment"]
    ).mean() > 0.98  # but for the crises of the first night


TRAITS = "generation exit_day home_segment region devices activity affinity attention rhythm".split()


def test_people_come_and_go_whatever_the_ads(lived_in, usual_bids):
    shown, quiet = lived_in.copy(), lived_in.copy()
    controls = usual_bids(shown, 2.0)
    for _ in range(30 * 24):
        shown.advance(controls)
        quiet.advance(empty_controls(1, 1))
    for trait in (*TRAITS, "price_sensitivity"):
        assert np.array_equal(shown.pop.people[trait], quiet.pop.people[trait]), trait
    assert not np.array_equal(shown.pop.people["stage"], quiet.pop.people["stage"])
    left = (shown.pop.people["generation"] > lived_in.pop.people["generation"]).mean()
    stay = float(lived_in.worlds[0].file.parameters["stay_days"].value)
    assert left == pytest.approx(1.0 - np.exp(-30.0 / stay), abs=0.05)


# forgetting


def test_goodwill_halves_in_its_half_life(market_file):
    file = market_file.with_values(
        {"goodwill_half_life_days": 5.0, "search_per_day": 0.0, "direct_per_day": 0.0}
    )
    market = Market([World(file, 1)], n_people=2000)
    market.pop.goodwill[:] = 1.0
    live_quietly(market, 5 * 24)
    stayed = market.pop.people["generation"][0] == 0
    np.testing.assert_allclose(market.pop.goodwill[0, stayed], 0.5, rtol=1e-5)
    live_quietly(market, 5 * 24)
    stayed = market.pop.people["generation"][0] == 0
    np.testing.assert_allclose(market.pop.goodwill[0, stayed], 0.25, rtol=1e-5)
    assert not market.pop.goodwill[0, ~stayed].any()  # an entrant knows no brand


# stages


def then(*steps):
    """Moves possible when each step may happen once, in this order; a move is (from, to)."""
    moves = {(stage, stage) for stage in Stage}
    for step in steps:
        moves |= {(a, d) for (a, b), (c, d) in itertools.product(moves, step) if b == c}
    return moves


RETURN = {(LOST, AWARE)}
UP = {(UNAWARE, AWARE), (AWARE, CONSIDERING), (CONSIDERING, INTENT)}
DOWN = {(b, a) for a, b in UP}
SALE = {(CONSIDERING, CONVERTED), (INTENT, CONVERTED)}
SECOND_THOUGHTS = {(CONSIDERING, AWARE), (INTENT, AWARE)}
TRIGGER = {(UNAWARE, AWARE), (LOST, AWARE), (AWARE, CONSIDERING)}
IDLE = {(AWARE, LOST), (CONSIDERING, LOST), (INTENT, LOST)}
CHURN = {(CONVERTED, AWARE)}
IN_AN_HOUR = then(RETURN, UP, SALE | SECOND_THOUGHTS)
AT_MIDNIGHT = then(TRIGGER, UP | DOWN | IDLE, CHURN)


def test_stages_change_only_along_their_arrows(lived_in, usual_bids):
    market = lived_in.copy()
    controls = usual_bids(market)
    met = set()
    for _ in range(30 * 24):
        before = market.pop.people[0][["stage", "generation"]].copy()
        market.advance(controls)
        now = market.pop.people[0]
        stayed = now["generation"] == before["generation"]
        moved = np.unique(before["stage"][stayed] * 8 + now["stage"][stayed])
        moves = {(Stage(code // 8), Stage(code % 8)) for code in moved.tolist()}
        allowed = then(IN_AN_HOUR, AT_MIDNIGHT) if market.hour % 24 == 0 else IN_AN_HOUR
        assert moves <= allowed, moves - allowed
        assert (now["stage"][~stayed] <= INTENT).all()  # an entrant's first night may move them already
        met |= moves
    for arrows in (UP, DOWN, SALE, SECOND_THOUGHTS, IDLE, RETURN):
        assert arrows & met


def test_a_journey_idle_for_the_stated_days_is_lost_that_night(lived_in, usual_bids):
    market = lived_in.copy()
    controls = usual_bids(market)
    limit = 24 * int(market.worlds[0].file.parameters["idle_days"].value)
    lost = 0
    for hour in range(1, 25 * 24 + 1):
        before = market.pop.people[0].copy()
        market.advance(controls)
        if hour % 24:
            continue
        now = market.pop.people[0]
        idle = market.hour - now["last_contact"]
        travelling = np.isin(now["stage"], [AWARE, CONSIDERING, INTENT]) & (now["journey_start"] >= 0)
        assert (idle[travelling] < limit).all()
        newly = (now["stage"] == LOST) & (before["stage"] != LOST)
        newly &= now["generation"] == before["generation"]
        assert (idle[newly] >= limit).all()
        assert (now["journey_start"][now["stage"] == LOST] == -1).all()
        lost += newly.sum()
    assert lost > 20


def test_a_lost_person_comes_back_by_contact_and_begins_a_new_journey(lived_in, usual_bids):
    market = lived_in.copy()
    controls = usual_bids(market, 3.0)
    back = 0
    for _ in range(25 * 24):
        before = market.pop.people[0].copy()
        market.advance(controls)
        now = market.pop.people[0]
        same = (now["generation"] == before["generation"]) & (market.hour % 24 != 0)
        returned = same & (before["stage"] == LOST) & (now["stage"] != LOST)
        assert (now["last_contact"][returned] == market.hour - 1).all()
        in_market = returned & (now["stage"] <= INTENT) & (now["journey_start"] >= 0)
        assert (now["journey_start"][in_market] == market.hour - 1).all()
        back += in_market.sum()
    assert back > 5


@pytest.fixture(scope="module")
def slow_bookers(market_file, usual_bids):
    """Everybody books two months after deciding, customers come back soon; 45 days, people day by day."""
    file = market_file.with_values(
        {
            "lag_share": [0.0, 0.0, 1.0],
            "lag_start_hours": [0.0, 0.0, 1500.0],
            "lag_segment": 1.0,
            "lag_channel": 1.0,
            "churn_per_day": 0.05,
            "stay_days": 365.0,
        }
    )
    market = Market([World(file, 11)], n_people=3000)
    market.pop.people["stage"] = INTENT
    controls = usual_bids(market)
    days = []
    for _ in range(45):
        for _ in range(24):
            market.advance(controls)
        days.append((market.hour, market.pop.people[0].copy()))
    return days


def test_a_decision_still_to_be_booked_is_neither_lost_nor_taken_back(slow_bookers):
    most = 0
    for hour, people in slow_bookers:
        waiting = people["book_hour"] > hour
        most = max(most, waiting.sum())
        assert (people["stage"][waiting] == CONVERTED).all()
    assert most > 200


# draws


@pytest.mark.statistical
def test_devices_consent_login_and_tastes_are_draws_of_their_own(market_file):
    """Purposes that meet would tie what no parameter ties; 48 rivals use every purpose of a taste."""
    market = Market([World(market_file, 3)], n_people=20_000)
    devices = market.pop.people["devices"][0]
    rules = market.rules[0]
    keys = [np.uint64(lives.person_key(rules, person, 0)) for person in range(20_000)]
    tastes = np.array([[normal(key, lives.TASTE + b) for b in range(57)] for key in keys])
    bits = (devices[:, None] >> np.arange(7)) & 1
    own = bits[:, bits.any(axis=0) & ~bits.all(axis=0)]
    # bits of devices are related a little among themselves: who owns none is given the first
    related = np.corrcoef(np.column_stack([own, tastes]), rowvar=False)[:, own.shape[1] :]
    related[np.arange(57) + own.shape[1], np.arange(57)] = 0.0
    assert abs(related).max() * np.sqrt(20_000) < 4.6  # of some 2,000


def test_no_two_purposes_of_a_person_are_the_same():
    singles = [getattr(lives, name) for name in ("_SEGMENT", "_STAY", "_AWARE", "_LOGIN", "_ACTIVITY",
               "_REGION", "_AFFINITY", "_PRICE", "_PERSONAL")]  # fmt: skip
    devices = [lives._DEVICE + d for d in range(3)]
    tastes = [lives.TASTE + b for b in range(7 + 56)]
    visitors = [VISITOR + 4 * k + d for k in range(7) for d in range(4)]
    held_out = [HELD_OUT + 8 * k + c for k in range(7) for c in range(6)]
    used = [*singles, *devices, *tastes, *visitors, *held_out]
    assert len(set(used)) == len(used)
