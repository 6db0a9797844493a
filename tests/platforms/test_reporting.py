"""What an account is shown: each cell of the visibility matrix flipped, delays, censoring, outages, lists."""

from dataclasses import replace

import numpy as np
import pytest

from gaelp.core.words import LINES, N_LINES, NO_LINE, Channel, TouchKind
from gaelp.market.file import load
from gaelp.market.market import Market, World
from gaelp.market.state import CLICKS, IMPRESSIONS, OPPORTUNITIES, SPEND
from gaelp.platforms.reporting import (
    CENSORED_SHARE,
    SEEN,
    SHARE_CHANNELS,
    Sight,
    audience_sizes,
    regions,
    seen_events,
)
from gaelp.platforms.simulated import MINIMUM_LIST, SimulatedPlatform
from gaelp.worlds.flight import reference_prices

MARKET = "markets/family_safety.toml"
HOURS = 24 * 12
CHANNEL = np.array([int(line.channel) for line in LINES])
AT_ONCE = {channel.name.lower(): {} for channel in Channel}
PAID = [channel for channel in Channel if channel < Channel.DIRECT]
OWN = [Channel.DIRECT, Channel.ORGANIC]


def matrix(sight="user", delay=0.0, **cells):
    """Every cell alike, but `channel_event=(sight, delay)`."""
    whole = {}
    for channel in Channel:
        events = ("visit", "conversion") if channel in OWN else ("impression", "click", "conversion")
        whole[channel.name.lower()] = {event: (sight, delay) for event in events}
    for name, cell in cells.items():
        channel, event = name.rsplit("_", 1)
        assert event in whole[channel]
        whole[channel][event] = cell
    return whole


@pytest.fixture(scope="module")
def lived():
    """A world that has lived, so that there are lists, and twelve days of ads with every report recorded."""
    file = load(MARKET)
    market = Market([World(file, 21)], n_people=4_000, event_rows=600_000)
    bids = 1.5 * reference_prices(market)
    platform = SimulatedPlatform(market)
    platform.controls.bid[:, 0] = bids
    for _ in range(24 * 10):
        platform.advance()
    return market, bids


def flown(lived, visibility, outage=None, hours=HOURS):
    """(platform, what was shown hour by hour as a dict of stacked arrays)."""
    snapshot, bids = lived
    market = snapshot.copy()
    file = replace(market.worlds[0].file, visibility=visibility)
    market.change([file])
    for at, tracking in zip(outage or (), (False, True), strict=False):
        market.change([replace(file, tracking=tracking)], at=market.hour + at)
    platform = SimulatedPlatform(market)
    platform.open(hours=hours)
    platform.controls.bid[:, 0] = bids
    shown = []
    for _ in range(hours):
        platform.advance()
        shown.append(platform.shown()._asdict())
    return platform, {name: np.stack([row[name][0] for row in shown]) for name in shown[0]}


@pytest.fixture(scope="module")
def everything(lived):
    return flown(lived, matrix())


def test_with_nothing_hidden_reports_add_up_to_the_books(lived, everything):
    platform, shown = everything
    gained = platform.market.books.report[0, 0] - lived[0].books.report[0, 0]
    np.testing.assert_allclose(shown["spend_usd"].sum(axis=0) * 1e6, gained[:, SPEND], atol=0.5)
    np.testing.assert_array_equal(shown["impressions"].sum(axis=0), gained[:, IMPRESSIONS])
    np.testing.assert_array_equal(shown["clicks"].sum(axis=0), gained[:, CLICKS])
    assert shown["conversions"].sum() > 0
    # by click hour stand those whose click was in these reports; some clicks came before
    by_click = platform.reports[0].conversions.sum(axis=(0, 1))
    assert (by_click <= shown["conversions"].sum(axis=0)).all()
    assert 0 < by_click.sum()


@pytest.mark.parametrize("channel", PAID, ids=lambda channel: channel.name.lower())
@pytest.mark.parametrize("event", ["impression", "click", "conversion"])
def test_a_flipped_cell_hides_or_delays_that_cell_and_nothing_else(lived, everything, channel, event):
    field = {"impression": "impressions", "click": "clicks", "conversion": "conversions"}[event]
    ours = channel == CHANNEL
    _, plain = everything
    cell = f"{channel.name.lower()}_{event}"
    _, hidden = flown(lived, matrix(**{cell: ("never", 0.0)}))
    assert np.isnan(hidden[field][:, ours]).all()
    _, late = flown(lived, matrix(**{cell: ("user", 5.0)}))
    np.testing.assert_array_equal(late[field][5:, ours], plain[field][:-5, ours])
    assert (late[field][:5, ours] == 0).all()
    for shown in (hidden, late):
        np.testing.assert_array_equal(shown[field][:, ~ours], plain[field][:, ~ours])
        for other in {"impressions", "clicks", "conversions"} - {field}:
            np.testing.assert_array_equal(shown[other], plain[other])
        np.testing.assert_array_equal(shown["spend_usd"], plain["spend_usd"])
    _, counted = flown(lived, matrix(**{cell: ("aggregate", 0.0)}))
    np.testing.assert_array_equal(counted[field], plain[field])


@pytest.mark.parametrize("channel", OWN, ids=lambda channel: channel.name.lower())
def test_a_flipped_visit_cell_hides_or_delays_visits_of_that_channel(lived, everything, channel):
    _, plain = everything
    assert plain["visits"][:, channel].sum() > 0
    cell = f"{channel.name.lower()}_visit"
    _, hidden = flown(lived, matrix(**{cell: ("never", 0.0)}))
    assert np.isnan(hidden["visits"][:, channel]).all()
    _, late = flown(lived, matrix(**{cell: ("user", 3.0)}))
    np.testing.assert_array_equal(late["visits"][3:, channel], plain["visits"][:-3, channel])
    rest = [c for c in Channel if c != channel]
    np.testing.assert_array_equal(hidden["visits"][:, rest], plain["visits"][:, rest])
    np.testing.assert_array_equal(late["visits"][:, rest], plain["visits"][:, rest])


def test_a_click_that_no_user_is_tied_to_arrives_as_a_direct_visit(lived, everything):
    _, plain = everything
    _, unnamed = flown(lived, matrix(social_click=("aggregate", 0.0)))
    assert plain["visits"][:, Channel.SOCIAL].sum() > 0
    assert (unnamed["visits"][:, Channel.SOCIAL] == 0).all()
    moved = plain["visits"][:, Channel.DIRECT] + plain["visits"][:, Channel.SOCIAL]
    np.testing.assert_array_equal(unnamed["visits"][:, Channel.DIRECT], moved)


def test_impression_share_is_exact_from_a_tenth_and_censored_below(everything):
    platform, shown = everything
    report = platform.reports[0]
    window = slice(HOURS - 24, HOURS)
    won = report.impressions[0, window].sum(axis=0)
    eligible = report.eligible[0, window].sum(axis=0)
    share = shown["impression_share"][-1]
    told = np.isin(CHANNEL, [int(channel) for channel in SHARE_CHANNELS])
    assert np.isnan(share[~told]).all()
    exact = won / np.maximum(eligible, 1)
    low, high = told & (eligible > 0) & (exact < 0.1), told & (exact >= 0.1)
    assert low.any()
    assert high.any()
    assert (share[low] == CENSORED_SHARE).all()
    np.testing.assert_allclose(share[high], exact[high])


def test_conversions_stand_at_the_hour_of_their_click_and_are_restated(lived):
    snapshot, bids = lived
    market = snapshot.copy()
    platform = SimulatedPlatform(market)
    report = platform.open(hours=HOURS)
    platform.controls.bid[:, 0] = bids
    first_week = []
    for _ in range(HOURS):
        platform.advance()
        platform.shown()
        first_week.append(int(report.conversions[0, : 24 * 5].sum()))
    assert first_week[24 * 5 - 1] < first_week[-1], "clicks of the first days go on bringing conversions"
    made = market.decisions(0)
    made = made[(made["line"] != NO_LINE) & (made["click_hour"] >= report.start)]
    delay = report.sight.delay["conversion"][CHANNEL[made["line"]]]
    due = made[made["book_hour"] + 1 + delay <= market.hour]
    expected = np.zeros((HOURS, N_LINES), int)
    np.add.at(expected, (due["click_hour"] - report.start, due["line"]), 1)
    np.testing.assert_array_equal(report.conversions[0], expected)


def test_what_happens_while_the_tag_is_down_is_never_shown(lived, everything):
    _, plain = everything
    down = (24 * 4, 24 * 8)
    platform, shown = flown(lived, matrix(), outage=down)
    assert plain["conversions"][down[0] : down[1]].sum() > 0
    assert (shown["conversions"][down[0] : down[1]] == 0).all()
    assert (shown["visits"][down[0] : down[1]] == 0).all()
    for name in ("conversions", "visits", "clicks", "list_size"):
        np.testing.assert_array_equal(shown[name][: down[0]], plain[name][: down[0]])
    assert shown["conversions"][down[1] :].sum() > 0
    listed = ~np.isnan(plain["list_size"][-1])
    during = slice(down[0] + 25, down[1])
    assert (shown["list_size"][during][:, listed].sum() < plain["list_size"][during][:, listed].sum()).all()
    events = platform.market.events(0)
    hours = events["hour"] - lived[0].hour
    own_site = np.isin(events["kind"], [TouchKind.CLICK, TouchKind.VISIT])
    assert not (own_site & (hours >= down[0]) & (hours < down[1])).any()


def test_conversions_of_earlier_clicks_and_decisions_are_told_once_they_are_booked(lived):
    """Flights one after the other are told of every booking exactly once, whatever the clicks' campaign."""
    snapshot, bids = lived
    whole = flown(lived, matrix(), hours=24 * 10)[1]["conversions"].sum()
    market = snapshot.copy()
    market.change([replace(market.worlds[0].file, visibility=matrix())])
    told = 0.0
    for _ in range(10):
        platform = SimulatedPlatform(market)
        platform.open(hours=24)
        platform.controls.bid[:, 0] = bids
        for _ in range(24):
            platform.advance()
            told += platform.shown().conversions.sum()
    assert told == whole > 0


def test_events_tell_no_person_and_only_what_the_matrix_ties_to_users(everything):
    platform, _ = everything
    market = platform.market
    whole = seen_events(market, 0, 0, Sight(matrix()), market.hour)
    assert "person" not in SEEN.names
    assert set(np.unique(whole["kind"])) >= {TouchKind.IMPRESSION, TouchKind.CLICK, TouchKind.VISIT}
    counted = seen_events(market, 0, 0, Sight(matrix(display_impression=("aggregate", 0.0))), market.hour)
    gone = (whole["channel"] == Channel.DISPLAY) & (whole["kind"] == TouchKind.IMPRESSION)
    assert gone.any()
    np.testing.assert_array_equal(counted, whole[~gone])
    hidden = seen_events(market, 0, 0, Sight(matrix(search_click=("never", 0.0))), market.hour)
    assert not ((hidden["channel"] == Channel.SEARCH) & (hidden["kind"] == TouchKind.CLICK)).any()
    assert len(hidden) == len(whole), "whoever clicked has still come to the site"
    late = seen_events(market, 0, 0, Sight(matrix(delay=6.0)), market.hour)
    assert (late["shown"] - late["hour"] == 7).all()
    assert len(late) < len(whole)


def test_lists_count_whom_a_platform_can_match_and_short_ones_are_not_served(lived):
    market = lived[0].copy()
    sizes = audience_sizes(market, 0)[0]
    with_list = np.array([line.audience is not None and line.audience > 0 for line in LINES])
    assert np.isnan(sizes[~with_list]).all()
    # an independent count of one list: visitors of 30 days with our cookie, seen once and without an address
    memory = market.pop.memory[0, :, 0]
    slow = sum(
        1
        for m in memory
        if m["visits"] == 1 and m["mail"] != 1 and market.hour - m["last_visit"] <= 720 and m["cookies"] != 0
    )
    name = "retargeting_engaged_mobile"
    at = [line.name for line in LINES].index(name)
    assert sizes[at] == slow > 0
    # a new market has no visitors, so nothing is shown to lists
    file = market.worlds[0].file
    new = Market([World(file, 22)], n_people=4_000)
    platform = SimulatedPlatform(new)
    platform.open(hours=24)
    platform.controls.bid[:] = 100.0
    platform.switch_off_small_lists(0)
    platform.advance()
    assert (new.books.report[0, 0][with_list, IMPRESSIONS] == 0).all()
    assert (new.books.report[0, 0][~with_list, IMPRESSIONS].sum()) > 0
    assert MINIMUM_LIST * 4_000 / file.people < slow, "the lived world's list is long enough"


def test_regions_are_the_report_cut_by_region(everything):
    market = everything[0].market
    for name, field in (("impressions", IMPRESSIONS), ("clicks", CLICKS), ("spend_micros", SPEND)):
        table = regions(market, 0)[name]
        assert table.shape == (1, 100, N_LINES)
        np.testing.assert_array_equal(table.sum(axis=1), market.books.report[:, 0, :, field])
    assert market.books.report[..., OPPORTUNITIES].sum() > 0
