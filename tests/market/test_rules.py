"""Rules of the market against computations of their own: prices, caps, fatigue, mail, audiences, queries."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES, Audience, Channel, Query, Stage, TouchKind
from gaelp.market.market import Market, World
from gaelp.market.state import BIDS, CLICKS, IMPRESSIONS, SPEND, WINS, empty_controls
from gaelp.market.truth import rows
from gaelp.worlds.flight import run_off

IS_SEARCH = np.array([line.channel is Channel.SEARCH for line in LINES])
FEED_OF = {Channel.SOCIAL: 0, Channel.VIDEO: 1, Channel.DISPLAY: 2, Channel.RETARGETING: 2}


def parameter(market, name):
    return market.worlds[0].file.parameters[name].value


@pytest.fixture(scope="module")
def logged(market_file, usual_bids):
    """A world with its truth log after two weeks of our ads."""
    market = Market([World(market_file, 6)], n_people=3000, truth_rows=300_000)
    controls = usual_bids(market, 1.3)
    for _ in range(14 * 24):
        market.advance(controls)
    return market


def without_rivals(market):
    alone = market.copy()
    alone.rivals.active[:] = 0
    return alone


# prices


def test_a_lone_bidder_pays_the_reserve(lived_in, usual_bids):
    market = without_rivals(lived_in)
    before = market.books.report[0, 0].copy()
    controls = usual_bids(market, 10.0)
    for _ in range(72):
        market.advance(controls, adapt=False)
    got = market.books.report[0, 0] - before
    reserve_cpm, reserve_usd = parameter(market, "feed_reserve_cpm"), parameter(market, "search_reserve_usd")
    for line in range(EMAIL_LINE):
        assert got[line, WINS] > 0
        channel, query = LINES[line].channel, LINES[line].query
        if channel is Channel.SEARCH:
            micros, times = round(reserve_usd[query] * 1e6), got[line, CLICKS]
        elif FEED_OF[channel] < 2:
            micros, times = round(reserve_cpm[FEED_OF[channel]] * 1e3), got[line, WINS]
        else:  # display is first price: a lone bidder pays its own bid
            micros, times = round(controls.bid[0, 0, line] * 1e3), got[line, WINS]
        assert got[line, SPEND] == micros * times


def test_a_bid_under_the_reserve_wins_nothing(lived_in, market_file):
    market = without_rivals(lived_in)
    controls = empty_controls(1, 1)
    controls.bid[0, 0, :8] = 0.999 * np.repeat(market_file.parameters["search_reserve_usd"].value, 2)
    controls.bid[0, 0, 8:14] = 0.999 * market_file.parameters["feed_reserve_cpm"].value[:2].min()
    controls.bid[0, 0, 14:20] = 0.999 * market_file.parameters["floor_cpm"].value.min()
    before = market.books.report[0, 0].copy()
    for _ in range(48):
        market.advance(controls, adapt=False)
    got = market.books.report[0, 0] - before
    assert (got[:20, BIDS] > 0).all()
    assert not got[:, [WINS, IMPRESSIONS, CLICKS, SPEND]].any()


def test_no_winner_pays_more_than_its_bid(logged, usual_bids):
    ads = rows(logged, "ad")
    ours = ads[ads["brand"] == 0]
    bid = usual_bids(logged, 1.3).bid[0, 0]
    assert ours.size > 10_000
    assert (ours["x"][:, 2] <= bid[ours["line"]]).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_line_never_costs_more_than_its_bid_times_what_it_won(lived_in, seed):
    market = lived_in.copy()
    generator = np.random.default_rng(seed)
    controls = empty_controls(1, 1)
    controls.bid[0, 0] = np.exp(generator.uniform(np.log(0.001), np.log(100.0), N_LINES))
    before = market.books.report[0, 0].copy()
    for _ in range(20):
        market.advance(controls)
    got = market.books.report[0, 0] - before
    most = np.where(IS_SEARCH, 1e6 * controls.bid[0, 0], 1e3 * controls.bid[0, 0])
    most[EMAIL_LINE] = 1e6 * parameter(market, "mail_cost_usd")
    billed = np.where(IS_SEARCH, got[:, CLICKS], got[:, WINS])
    assert (got[:, SPEND] <= np.ceil(most) * billed).all()


# caps


@settings(max_examples=40, deadline=None)
@given(
    daily_cap=st.one_of(st.integers(0, 2_000_000), st.integers(0, 60_000_000)),
    line_cap=st.one_of(st.just(10**15), st.integers(0, 3_000_000)),
    bid=st.floats(0.01, 1e4),
    target=st.sampled_from([0.0, 50.0, 1e5]),
)
def test_a_cap_is_never_passed_by_even_one_micro(lived_in, daily_cap, line_cap, bid, target):
    market = lived_in.copy()
    assert market.hour % 24 == 0
    controls = empty_controls(1, 1)
    controls.bid[:] = bid
    controls.target_cpa[:, :, ::3] = target
    controls.daily_cap[:] = daily_cap
    controls.line_cap[:] = line_cap
    start = market.books.report[0, 0, :, SPEND].copy()
    for hour in range(48):
        if hour == 24:
            start = market.books.report[0, 0, :, SPEND].copy()
        market.advance(controls)
        today = market.books.report[0, 0, :, SPEND] - start
        assert today.sum() <= daily_cap
        assert (today <= line_cap).all()


def test_a_cap_is_used_to_the_last_affordable_click(lived_in, usual_bids):
    """The cap may not cost more than it must: what is left over would not have paid for the next win."""
    market = lived_in.copy()
    controls = usual_bids(market)
    controls.bid[:, :, EMAIL_LINE] = 0.0
    controls.daily_cap[:] = 3_000_000
    for _ in range(23):
        market.advance(controls)
    left = 3_000_000 - market.books.spent_today[0, 0]
    assert 0 <= left < math.ceil(controls.bid.max() * 1e6)


@pytest.mark.parametrize("bid", [1e13, 1e30, 1e300])
def test_a_bid_beyond_all_integers_cannot_pass_a_cap(lived_in, bid):
    market = lived_in.copy()
    controls = empty_controls(1, 1)
    controls.bid[:] = bid
    controls.daily_cap[:] = 1_000
    for _ in range(20):
        market.advance(controls)
    assert market.books.spent_today[0, 0] <= 1_000


# our ads off


def test_with_our_ads_off_a_world_is_as_if_we_had_never_bid(lived_in, usual_bids, states, differing):
    never, switched_off, no_money = lived_in.copy(), lived_in.copy(), lived_in.copy()
    penniless = usual_bids(no_money)
    penniless.daily_cap[:] = 0
    penniless.landing[:] = 2
    for _ in range(72):
        never.advance(empty_controls(1, 1))
        no_money.advance(penniless)
    run_off(switched_off, 3)
    assert differing(states(never), states(switched_off)) == []
    assert differing(states(never), states(no_money)) == []


# response


def test_clicks_tire_as_views_of_the_same_creative_add_up(logged):
    ads = rows(logged, "ad")
    ours = ads[(ads["slot"] < 3) & (ads["brand"] == 0)]
    views = ours["x"][:, 0]
    odds = parameter(logged, "feed_click_odds")[ours["slot"]]
    odds = odds * parameter(logged, "click_stage")[ours["stage"]]
    odds = odds * parameter(logged, "click_segment")[ours["segment"]]
    odds = odds * parameter(logged, "click_class")[ours["line"] % 2]
    odds = odds * parameter(logged, "creative_fit")[ours["segment"], ours["creative"]]
    odds = odds * np.where(ours["x"][:, 3] > 0, parameter(logged, "engaged_click"), 1.0)
    tired = ours["x"][:, 1] / odds
    exponent = parameter(logged, "fatigue_exponent")
    quarter = np.floor(4.0 * views + 0.5) / 4.0  # the market counts views in quarters
    np.testing.assert_allclose(tired, (quarter + 1.0) ** exponent, rtol=1e-9)
    np.testing.assert_allclose(tired, (views + 1.0) ** exponent, rtol=0.125 * abs(exponent) + 1e-9)
    assert views.max() > 5


def test_views_are_forgotten_by_half_in_their_half_life(market_file):
    quiet = market_file.with_values({"fatigue_half_life_days": 4.0})
    market = Market([World(quiet, 1)], n_people=2000)
    market.pop.memory["views"][:] = 8.0
    live_quietly(market, 4)
    stayed = market.pop.people["generation"][0] == 0
    np.testing.assert_allclose(market.pop.memory["views"][0, stayed], 4.0, rtol=1e-5)


def live_quietly(market, days):
    """Days without any ads: rivals rest and we do not bid."""
    market.rivals.active[:] = 0
    for _ in range(24 * days):
        market.advance(empty_controls(market.n_worlds, market.n_seats), adapt=False)


# what bidders are told


def collect(market, controls, hours):
    """Auctions as listed before each hour, beside the people and our memory of them at that moment."""
    found = []
    for _ in range(hours):
        listed = market.opportunities()
        people = market.pop.people[0, listed["person"]]
        memory = market.pop.memory[0, listed["person"], 0]
        found.append((listed, people, memory, np.full(listed.size, market.hour)))
        market.advance(controls)
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def test_an_audience_needs_a_recent_visit_and_a_cookie_or_a_login(lived_in, usual_bids):
    market = lived_in.copy()
    listed, people, memory, hour = collect(market, usual_bids(market), 48)
    line = listed["line"][:, 0]
    channel = np.array([entry.channel for entry in LINES])[line]
    told = np.array([-1 if entry.audience is None else int(entry.audience) for entry in LINES])[line]
    recent = (memory["visits"] > 0) & (hour - memory["last_visit"] <= 30 * 24)
    consent = (people["devices"] >> 3) & 7
    login = (people["devices"] >> 6) & 1
    cookie = (memory["cookies"] >> listed["device"]) & 1
    strong = (memory["visits"] >= 2) | (memory["mail"] == 1)
    level = np.where(strong, int(Audience.HIGH_INTENT), int(Audience.ENGAGED))

    on_social = channel == Channel.SOCIAL
    known = recent & (login == 1) & (consent > 0)
    assert np.array_equal(told[on_social], known[on_social].astype(int))
    assert (channel[told == -1] == Channel.SEARCH).all()
    assert (told[channel == Channel.VIDEO] == int(Audience.NEW)).all()
    on_display = (channel == Channel.DISPLAY) | (channel == Channel.RETARGETING)
    known = recent & (cookie == 1)
    assert np.array_equal(told[on_display], np.where(known, level, 0)[on_display])
    assert set(told[on_display]) == {0, 1, 2}  # each case was met


def test_a_cookie_lives_only_on_an_owned_device_with_consent_after_a_visit(lived_in):
    people, memory = lived_in.pop.people[0], lived_in.pop.memory[0, :, 0]
    owned, consent = people["devices"] & 7, (people["devices"] >> 3) & 7
    assert not (memory["cookies"] & ~consent & 7).any()
    assert not (memory["cookies"] & ~owned & 7).any()
    assert (memory["visits"][memory["cookies"] > 0] > 0).all()
    assert (memory["cookies"] > 0).sum() > 50


@pytest.fixture(scope="module")
def searchers(market_file):
    """Auctions as listed and as held, in a world where everybody searches and all stages are common."""
    file = market_file.with_values({"search_per_day": 0.5})
    market = Market([World(file, 7)], n_people=6000, truth_rows=400_000)
    controls = empty_controls(1, 1)
    controls.bid[:] = 3.0
    generator = np.random.default_rng(7)
    parts = []
    for _ in range(8):
        market.pop.people["stage"] = generator.integers(0, 6, market.pop.people.shape)
        parts.append(collect(market, controls, 24))
    listed, people, _, hour = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert market.books.n_truth[0] < 400_000
    return market, listed, people, hour


@pytest.mark.statistical
def test_what_people_search_for_follows_their_stage(searchers):
    market, listed, people, _ = searchers
    share = parameter(market, "query_share")
    share = share / share.sum(axis=1, keepdims=True)
    for stage in Stage:
        query = listed["query"][(people["stage"] == stage) & (listed["query"] >= 0)]
        assert query.size > 1500
        for wanted in (Query.GENERIC, Query.CATEGORY):
            p = share[stage, wanted]
            se = math.sqrt(p * (1.0 - p) / query.size)
            assert abs((query == wanted).mean() - p) < 4.0 * se, (stage.name, wanted.name)


def test_auctions_are_held_as_they_were_listed(searchers):
    market, listed, _, hour = searchers
    ads = rows(market, "ad")
    ours = ads[ads["brand"] == 0]
    line = {(h, p): at for h, p, at in zip(hour, listed["person"], listed["line"][:, 0], strict=True)}
    wrong = [r for r in ours if line[r["hour"], r["person"]] != r["line"]]
    assert ours.size > 5000
    assert not wrong, f"{len(wrong)} of {ours.size}; stages {np.bincount([r['stage'] for r in wrong])}"


# lag


def test_the_truth_log_tells_the_lag_factor_that_was_used(market_file, usual_bids):
    """Who buys without ever having been touched has no last channel, so the segment alone sets the lag."""
    market = Market([World(market_file, 12)], n_people=4000, truth_rows=400_000)
    market.pop.people["stage"] = Stage.INTENT
    controls = usual_bids(market)
    untouched = set()
    for hour in range(24 * 6):
        market.pop.people["last_channel"] = 255
        market.advance(controls)
        buys = rows(market, "buy")
        now = buys[(buys["hour"] == hour) & (buys["x"][:, 1] == 0)]
        no_mail = market.pop.memory["mail"][0, now["person"], 0] == 0
        untouched |= {(hour, person) for person in now["person"][no_mail].tolist()}
    assert market.books.n_truth[0] < 400_000
    lags = rows(market, "lag")
    mine = np.array([key in untouched for key in zip(lags["hour"], lags["person"], strict=True)])
    assert mine.sum() > 10
    assert np.array_equal(lags["x"][mine, 2], lags["x"][mine, 1])


# mail


def test_mail_respects_the_gap_the_address_and_the_unsubscription(market_file, usual_bids):
    file = market_file.with_values(
        {"mail_signup": 0.8, "mail_open": 0.9, "mail_unsubscribe": 0.2, "mail_gap_hours": 30.0}
    )
    market = Market([World(file, 8)], n_people=3000)
    controls = usual_bids(market, 2.0)
    gap = float(parameter(market, "mail_gap_hours"))
    shortest, sent, unsubscribed = np.inf, 0, 0
    for hour in range(21 * 24):
        people, before = market.pop.people[0].copy(), market.pop.memory[0, :, 0].copy()
        market.advance(controls)
        now = market.pop.memory[0, :, 0]
        stayed = market.pop.people["generation"][0] == people["generation"]
        mailed = stayed & (now["last_mail"] != before["last_mail"])
        assert (now["last_mail"][mailed] == hour).all()
        assert (before["mail"][mailed] == 1).all()
        assert (now["mail"][stayed & (before["mail"] == 2)] == 2).all()
        again = mailed & (before["last_mail"] >= 0)
        shortest = min(shortest, (now["last_mail"] - before["last_mail"])[again].min(initial=10**9))
        sent += mailed.sum()
        unsubscribed += (stayed & (now["mail"] == 2) & (before["mail"] == 1)).sum()
    assert sent > 300 and unsubscribed > 20
    assert gap <= shortest < gap + 24
    counted = market.books.report[0, 0, EMAIL_LINE]
    assert counted[WINS] >= sent  # those who left in the same hour are not seen here
    assert counted[WINS] - sent <= 3
    assert counted[SPEND] == counted[WINS] * round(float(parameter(market, "mail_cost_usd")) * 1e6)


def test_worlds_live_by_another_file_from_the_named_hour_on(market_file):
    file = market_file
    other = file.with_values({"buy_rate": 0.0005})
    changed = Market([World(file, 3), World(file, 4)], n_people=400)
    same = changed.copy()
    changed.change([other, file], at=30)
    twin = changed.copy(2)
    controls = empty_controls(2, 1)
    for _ in range(30):
        changed.advance(controls)
        same.advance(controls)
    np.testing.assert_array_equal(changed.books.sales, same.books.sales)
    for _ in range(300):
        changed.advance(controls)
        same.advance(controls)
    for _ in range(330):
        twin.advance(empty_controls(4, 1))
    assert changed.books.sales[0].sum() < same.books.sales[0].sum()
    np.testing.assert_array_equal(changed.books.sales[1], same.books.sales[1])
    np.testing.assert_array_equal(twin.books.sales, np.concatenate([changed.books.sales] * 2))


def test_a_change_of_the_past_or_of_too_few_worlds_is_refused(market_file):
    file = market_file
    market = Market([World(file, 3)], n_people=50)
    market.advance(empty_controls(1, 1))
    with pytest.raises(BadInput, match="at least 1"):
        market.change([file], at=0)
    with pytest.raises(BadInput, match="must be 1 files"):
        market.change([file, file])


def test_first_price_is_paid_where_the_file_says(market_file):
    """With the seat alone against nobody's bids it pays the reserve by second price, its own bid by first."""
    file = market_file
    silent = tuple(replace(rival, budget_usd_per_1000=0.0) for rival in file.rivals)
    paid = {}
    for name, kinds in (("second", ()), ("first", ("search", "social", "video", "display"))):
        world = World(replace(file, rivals=silent, first_price=kinds), 5)
        market = Market([world], n_people=4_000)
        controls = empty_controls(1, 1)
        controls.bid[:] = 20.0
        for _ in range(48):
            market.advance(controls)
        report = market.books.report[0, 0]
        paid[name] = (
            report[:8, SPEND].sum() / 1e6 / report[:8, CLICKS].sum(),
            report[8:20, SPEND].sum() / 1e3 / report[8:20, IMPRESSIONS].sum(),
        )
    assert paid["first"] == pytest.approx((20.0, 20.0))
    assert max(paid["second"]) < 10.0


def test_events_add_up_to_the_report_and_name_nobody_without_consent(market_file):
    file = market_file
    market = Market([World(file, 6)], n_people=2_000, event_rows=200_000)
    silent = Market([World(file, 6)], n_people=2_000)
    controls = empty_controls(1, 1)
    controls.bid[:] = 5.0
    for _ in range(24 * 14):
        market.advance(controls)
        silent.advance(controls)
    np.testing.assert_array_equal(market.books.report, silent.books.report)
    events = market.events(0)
    assert 0 < len(events) == market.books.n_events[0]
    for kind, field in ((TouchKind.IMPRESSION, IMPRESSIONS), (TouchKind.CLICK, CLICKS)):
        counted = np.bincount(events["line"][events["kind"] == kind], minlength=N_LINES)[:N_LINES]
        lines = slice(0, N_LINES - 1)  # a message sent is an impression of e-mail, an opened one an event
        np.testing.assert_array_equal(counted[lines], market.books.report[0, 0, lines, field])
    people = market.pop.people[0][events["person"]]
    allowed = (people["devices"] >> (3 + events["device"])) & 1
    newest = people["generation"] == 0  # whoever has left cannot be looked up
    np.testing.assert_array_equal(events["visitor"][newest] != 0, allowed[newest] == 1)
    by_visitor = {}
    for event in events[events["visitor"] != 0]:
        by_visitor.setdefault(int(event["visitor"]), set()).add((event["person"], event["device"]))
    assert all(len(owners) == 1 for owners in by_visitor.values())


def test_regions_add_up_to_the_report(market_file):
    market = Market([World(market_file, 8)], n_people=2_000)
    controls = empty_controls(1, 1)
    controls.bid[:] = 5.0
    for _ in range(24 * 7):
        market.advance(controls)
    geo = market.books.geo[0, 0].sum(axis=0)
    np.testing.assert_array_equal(geo, market.books.report[0, 0][:, [IMPRESSIONS, CLICKS, SPEND]])


def test_a_region_held_out_gets_no_ad_and_no_mail(market_file):
    market = Market([World(market_file, 9)], n_people=3_000)
    controls = empty_controls(1, 1)
    controls.bid[:] = 5.0
    controls.region[:, :, ::2] = 0.0
    for _ in range(24 * 20):
        market.advance(controls)
    shown = market.books.geo[0, 0, :, :, 0]
    assert (shown[::2] == 0).all()
    assert shown[1::2, EMAIL_LINE].sum() > 0


def test_the_hour_of_a_change_is_listed_by_the_new_rules(market_file):
    market = Market([World(market_file, 3)], n_people=500)
    quiet = market_file.with_values(
        {"activity_per_day": 0.5 * market_file.parameters["activity_per_day"].value}
    )
    market.change([quiet], at=12)
    controls = empty_controls(1, 1)
    for _ in range(12):
        market.advance(controls)
    listed = market.opportunities()
    before = market.books.activity[0, :4].sum()
    market.advance(controls, opportunity_bids=np.full((len(listed), 1), -np.inf))
    assert market.books.activity[0, :4].sum() - before == len(listed)
    assert market.pending_changes == ()
