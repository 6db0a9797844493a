"""Reports are what the account's views told, at the hour it belongs to."""

from pathlib import Path

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, Channel
from gaelp.market.file import load
from gaelp.worlds.flight import fly, make_market
from gaelp.worlds.reports import REPORTS, Watched, line_logs, read_reports, write_reports
from gaelp.worlds.splits import split_worlds

FILE = load(Path(__file__).parents[2] / "markets" / "family_safety.toml")
CHANNEL = np.array([line.channel for line in LINES])


@pytest.fixture(scope="module")
def flown():
    market = make_market(split_worlds(FILE, "train", 2), 1500)
    watched = Watched(FixedPolicy(multiplier=1.2), FILE, 1500)
    flight = fly(market, watched, days=9, traffic=None, daily_budget_usd=1000.0)
    return watched.reports(), flight


def test_reports_are_the_platform_s_own_tables(flown):
    reports, flight = flown
    for name, real in (("impressions", flight.impressions), ("spend_usd", flight.spend_micros / 1e6)):
        told = ~np.isnan(reports[name])
        assert told[:, : 24 * 8].all() and not told[:, -1].any()
        assert np.allclose(reports[name][told], real[told])
    bid, told = reports["bid_usd"], ~np.isnan(reports["bid_usd"])
    served = bid[told] > 0
    assert np.allclose(bid[told][served], flight.bid[told][served])
    assert not flight.impressions[told][~served].any()  # off, or too short a list


def test_shares_stand_on_the_last_hour_of_their_day_and_are_told_where_the_platform_does(flown):
    share = flown[0]["impression_share"]
    days = ~np.isnan(share).all(axis=(0, 2))
    assert np.flatnonzero(days).tolist() == [24 * day + 23 for day in range(8)]
    silent = np.isin(CHANNEL, [Channel.SOCIAL, Channel.VIDEO, Channel.EMAIL])
    assert np.isnan(share[..., silent]).all()
    assert ((share[days[None].repeat(2, 0)][:, ~silent] >= 0.0999) | np.isnan(share[:, days][0, 0, 0])).any()


def test_a_file_gives_back_what_was_written(flown, tmp_path):
    reports, _ = flown
    assert write_reports(tmp_path / REPORTS, reports) == reports["bid_usd"].size
    again = read_reports(tmp_path)
    assert again.keys() == reports.keys()
    assert all(np.array_equal(again[name], reports[name], equal_nan=True) for name in reports)


def test_logs_hold_whole_days_and_know_which_prices_tell(flown):
    logs, untold = line_logs(flown[0], 0)
    assert not untold and {log.share.size for log in logs} == {8}
    needed = {log.name for log in logs if log.price_is_needed}
    slots = {line.name for line in LINES if line.channel in (Channel.SOCIAL, Channel.VIDEO)}
    assert slots <= needed and "search_generic_mobile" not in needed
    assert "display_new_mobile" not in needed  # its winner pays what it bid
    social = next(log for log in logs if log.name == "social_new_mobile")
    paid = social.sold > 0
    assert (social.price[paid] <= social.bid[paid] + 1e-9).all()


def test_hours_without_budget_left_are_not_open():
    market = make_market(split_worlds(FILE, "train", 1), 1500)
    watched = Watched(FixedPolicy(multiplier=1.5), FILE, 1500)
    fly(market, watched, days=8, traffic=None, daily_budget_usd=10.0)
    logs, _ = line_logs(watched.reports(), 0)
    search = next(log for log in logs if log.name == "search_category_mobile")
    assert search.open[:, 0].max() == 1.0 and search.open[:, -1].max() == 0.0
    assert not search.impressions[search.open == 0].any()


def test_what_is_not_there_is_told(flown, tmp_path):
    with pytest.raises(BadInput, match=r"reports\.parquet"):
        read_reports(tmp_path)
    (tmp_path / REPORTS).write_text("nothing")
    with pytest.raises(BadInput, match="Simulate anew"):
        read_reports(tmp_path)
    with pytest.raises(BadInput, match="from 0 to 1"):
        line_logs(flown[0], 2)
    with pytest.raises(BadInput, match="must have flown"):
        Watched(FixedPolicy(), FILE, 10).reports()
