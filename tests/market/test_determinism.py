"""Same seed, same world: whatever the threads, the batch, the copies, the log or the neighbours."""

import numba
import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.market.market import Market, World
from gaelp.market.state import SPEND, empty_controls

DAYS = 9


def live(market, usual_bids, hours):
    """Our ads on, every second social line left to the platform's own bidder."""
    controls = usual_bids(market)
    controls.target_cpa[:, :, 8:12:2] = 80.0
    controls.daily_cap[:] = 3_000 * market.n_people
    for _ in range(hours):
        market.advance(controls)
    return market


@pytest.fixture(scope="module")
def eight(market_file, usual_bids):
    worlds = [World(market_file, seed) for seed in range(8)]
    return live(Market(worlds, n_people=700), usual_bids, 24 * DAYS)


def test_a_world_lives_a_life_worth_comparing(eight, states, differing):
    assert (eight.books.sales.sum(axis=1) > 0).all()
    assert (eight.books.report[:, 0, :, 4].sum(axis=1) > 20).all()  # clicks
    assert differing(states(eight, 0), states(eight, 1))


def test_days_of_rest_are_hours_of_rest(eight, states, differing):
    hourly, rested = eight.copy(), eight.copy()
    for market in (hourly, rested):
        for _ in range(5):  # from within a day
            market.advance(empty_controls(8, 1))
        half = {"activity_per_day": 0.5 * market.worlds[0].file.parameters["activity_per_day"].value}
        market.change([world.file.with_values(half) for world in market.worlds], at=market.hour + 30)
    for _ in range(60):
        hourly.advance(empty_controls(8, 1))
    passed = list(rested.rest(60))
    assert passed == [19, 11, 13, 17] and rested.hour == hourly.hour
    for world in range(8):
        assert differing(states(hourly, world), states(rested, world)) == []


def test_more_purchases_than_there_is_room_for_are_an_error_and_no_loss(eight, monkeypatch):
    market = eight.copy()
    monkeypatch.setattr(Market, "_make_room", lambda self, n_hours: None)
    market.books = market.books._replace(decisions=market.books.decisions[:, :1].copy())
    with pytest.raises(BadInput, match="buy_rate"):
        list(market.rest(24))


@pytest.mark.parametrize("world", [0, 7])
def test_a_world_does_not_depend_on_its_neighbours(eight, market_file, usual_bids, world, states, differing):
    alone = live(Market([World(market_file, world)], n_people=700), usual_bids, 24 * DAYS)
    assert differing(states(eight, world), states(alone)) == []


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two cores")
def test_one_thread_or_two_makes_no_difference(eight, market_file, usual_bids, states, differing):
    before = numba.get_num_threads()
    worlds = [World(market_file, seed) for seed in range(8)]
    found = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            found.append(live(Market(worlds, n_people=700), usual_bids, 24 * 3))
    finally:
        numba.set_num_threads(before)
    for world in range(8):
        assert differing(states(found[0], world), states(found[1], world)) == []


def test_a_copy_goes_on_as_the_original_does_and_leaves_it_alone(eight, usual_bids, states, differing):
    original = eight.copy()
    twin = original.copy()
    before = states(original, 3)
    live(twin, usual_bids, 50)
    assert differing(before, states(original, 3)) == []
    live(original, usual_bids, 50)
    for world in range(8):
        assert differing(states(original, world), states(twin, world)) == []


def test_an_interruption_makes_no_difference(eight, market_file, usual_bids, states, differing):
    """Hours lived one call after another: nothing is kept outside the arrays and the hour."""
    first = live(Market([World(market_file, 2)], n_people=700), usual_bids, 100)
    second = Market([World(market_file, 2)], n_people=700)
    arrays = dict(second.arrays())
    for name, array in first.arrays():
        arrays[name][...] = array
    second.hour = first.hour
    live(second, usual_bids, 24 * DAYS - 100)
    assert differing(states(eight, 2), states(second)) == []


def test_the_truth_log_changes_nothing(eight, market_file, usual_bids, states, differing):
    logged = Market([World(market_file, 1)], n_people=700, truth_rows=5_000)
    live(logged, usual_bids, 24 * DAYS)
    changed = differing(states(eight, 1), states(logged))
    assert logged.books.n_truth[0] == 5_000  # it also ran full, which changes nothing either
    assert all(name.startswith(("books.n_truth", "books.truth")) for name in changed)


def test_listing_opportunities_changes_nothing(eight, states, differing):
    market = eight.copy()
    market.opportunities()
    for world in range(8):
        assert differing(states(eight, world), states(market, world)) == []


def test_seeds_name_different_worlds(eight):
    stages = eight.pop.people["segment"]
    assert len({world.tobytes() for world in stages}) == 8


def flipped(market, usual_bids, person, hours):
    """Two worlds that differ in one bid: the coming hour's auction for `person`, won at any price or left."""
    auctions = market.opportunities()
    bids = usual_bids(market).bid[auctions["world"], 0, auctions["line"][:, 0]][:, None]
    pair = []
    for bid in (-np.inf, 900.0):
        twin = market.copy()
        changed = np.where(auctions["person"][:, None] == person, bid, bids)
        twin.advance(usual_bids(twin), opportunity_bids=changed, adapt=False)
        for _ in range(hours):
            twin.advance(usual_bids(twin), adapt=False)
        pair.append(twin)
    return pair


@pytest.mark.parametrize("choice", range(12))
def test_one_bid_changes_nobody_else_where_rivals_are_frozen_and_budgets_slack(
    lived_in, usual_bids, choice, differing, changed_people
):
    market = lived_in.copy()
    while market.hour % 24 < 13:
        market.advance(usual_bids(market), adapt=False)
    stays = market.pop.people["exit_day"][0] > market.hour // 24 + 3
    people = market.opportunities()["person"]
    people = people[stays[people]]
    person = people[choice * (people.size // 12)]
    left, won = flipped(market, usual_bids, person, hours=48)
    assert changed_people(left, won).tolist() == [person]  # the bid did decide that auction
    others = [made[made["person"] != person] for made in (left.decisions(0), won.decisions(0))]
    for field in others[0].dtype.names:
        assert np.array_equal(others[0][field], others[1][field]), field


def test_an_extra_click_changes_nobody_else(lived_in, usual_bids, changed_people):
    """Of many auctions bought or left, some end in a click and a visit; only that person's life moves."""
    market = lived_in.copy()
    clicked = 0
    for _ in range(40):
        auctions = market.opportunities()
        searches = auctions[auctions["query"] == 3]
        if searches.size:
            person = searches["person"][0]
            left, won = flipped(market, usual_bids, person, hours=3)
            assert changed_people(left, won).tolist() in ([person], [])
            clicked += int(won.books.report[0, 0, :, 4].sum() != left.books.report[0, 0, :, 4].sum())
        market.advance(usual_bids(market), adapt=False)
    assert clicked >= 2


def test_twins_stay_alike_where_budgets_bind(market_file, usual_bids, changed_people):
    """One auction flipped under a tight cap reaches others through the budget; luck is still shared."""
    worlds = [World(market_file, 100 + seed) for seed in range(24)]
    market = Market(worlds, n_people=800)
    controls = usual_bids(market)
    for _ in range(10 * 24):
        market.advance(controls)
    spent = market.books.report[:, 0, :, SPEND].sum(axis=1) // 10
    controls.daily_cap[:, 0] = spent // 5
    for _ in range(13):
        market.advance(controls)
    auctions = market.opportunities()
    first_of_world = np.unique(auctions["world"], return_index=True)[1]
    pair = []
    for bid in (-np.inf, 900.0):
        twin = market.copy()
        bids = controls.bid[auctions["world"], 0, auctions["line"][:, 0]][:, None]
        bids[first_of_world] = bid
        twin.advance(controls, opportunity_bids=bids)
        used_up = []
        for _ in range(21 * 24):
            twin.advance(controls)
            if twin.hour % 24 == 23:
                used_up.append(twin.books.spent_today[:, 0] / controls.daily_cap[:, 0])
        assert np.median(used_up) > 0.98  # budgets do bind
        pair.append(twin)
    before = market.books.sales[:, 0]
    correlation = np.corrcoef(*(twin.books.sales[:, 0] - before for twin in pair))[0, 1]
    touched = [changed_people(*pair, world).size for world in range(len(worlds))]
    print(f"one auction flipped, budgets binding: twin correlation of decisions {correlation:.3f}")
    print(
        f"people of 800 that differ three weeks later: median {np.median(touched):.0f}, most {max(touched)}"
    )
    assert correlation > 0.5
    assert max(touched) > 1  # in some world the budget carried the difference on
