"""Regions by day: the same money, clicks and sales as the account's books, only by region and day."""

from pathlib import Path

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, PAID_CHANNELS
from gaelp.market.file import load
from gaelp.market.market import Market
from gaelp.market.state import CLICKS, GEO_CLICKS, GEO_IMPRESSIONS, GEO_SPEND, IMPRESSIONS, SPEND
from gaelp.worlds.flight import Flight, fly, make_market, run_off
from gaelp.worlds.regions import RegionDays, RegionRecorder, read_regions, write_regions
from gaelp.worlds.splits import plain_worlds

MARKET = "markets/family_safety.toml"
DAYS, RUNOFF = 4, 3
CHANNEL = np.array([int(line.channel) for line in LINES])


@pytest.fixture(scope="module")
def flown() -> tuple[Flight, RegionDays, list[int]]:
    """Two worlds of two seats that lived a week before, flown and run off with a recorder."""
    market = make_market(plain_worlds(load(MARKET), 2, 5), 1_500, n_seats=2)
    run_off(market, 7)
    told: list[int] = []
    recorder = RegionRecorder(market, tick=told.append)
    flight = fly(market, FixedPolicy(multiplier=3.0), days=DAYS, traffic=None, tick=recorder)
    run_off(market, RUNOFF, recorder)
    return flight, recorder.table(), told


def test_regions_and_days_add_up_to_the_report(flown: tuple[Flight, RegionDays, list[int]]) -> None:
    flight, table, _ = flown
    for geo, field in ((GEO_SPEND, SPEND), (GEO_IMPRESSIONS, IMPRESSIONS), (GEO_CLICKS, CLICKS)):
        by_channel = table.delivery[..., geo].sum(axis=(1, 2))
        report = flight.report[..., field]
        wanted = np.stack([report[:, kind == CHANNEL].sum(axis=1) for kind in PAID_CHANNELS], axis=1)
        assert by_channel.tolist() == wanted.tolist()
        assert by_channel.sum() > 0
    daily = flight.spend_micros.reshape(2, DAYS, 24, -1).sum(axis=(2, 3))
    assert table.delivery[..., GEO_SPEND].sum(axis=(2, 3))[:, :DAYS].tolist() == daily.tolist()
    assert not table.delivery[:, DAYS:].any()


def test_every_sale_counts_once_on_the_day_it_is_booked(flown: tuple[Flight, RegionDays, list[int]]) -> None:
    flight, table, _ = flown
    first = flight.start // 24
    for w in range(2):
        made = flight.market.decisions(w)
        made = made[(made["brand"] == 0) & (made["book_hour"] >= flight.start)]
        made = made[made["book_hour"] < flight.market.hour]
        assert table.sales[w].sum() == made.size
        assert table.revenue_usd[w].sum() == pytest.approx(made["value_micros"].sum() / 1e6)
        for one in made:
            assert table.sales[w, one["book_hour"] // 24 - first, one["region"]] > 0
    early = sum((flight.market.decisions(w)["hour"] < flight.start).sum() for w in range(2))
    assert table.sales.sum() > 0 and early > 0  # sales decided before the flight are booked in it


def test_days_are_the_calendars_and_people_the_panels(flown: tuple[Flight, RegionDays, list[int]]) -> None:
    flight, table, told = flown
    start = np.datetime64(flight.market.worlds[0].file.start)
    assert table.days.tolist() == (start + 7 + np.arange(DAYS + RUNOFF)).tolist()
    assert table.population.sum(axis=1) == pytest.approx(1_500)
    lives = np.bincount(flight.market.pop.people["region"][0], minlength=100)
    assert abs(lives - table.population[0]).max() < 6 * np.sqrt(table.population.max())
    assert sum(told) == 2 * 24 * (DAYS + RUNOFF)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_comes_back_as_it_was_written(
    flown: tuple[Flight, RegionDays, list[int]], tmp_path: Path, ending: str
) -> None:
    table = flown[1]
    path = tmp_path / f"regions.{ending}"
    write_regions(path, table)
    for w in range(2):
        again = read_regions(path, w)
        assert again.first_day == table.first_day
        assert np.array_equal(again.delivery[0], table.delivery[w])
        assert np.array_equal(again.sales[0], table.sales[w])
        assert again.revenue_usd[0] == pytest.approx(table.revenue_usd[w])
        assert again.population[0] == pytest.approx(table.population[w], abs=1e-3)
    with pytest.raises(BadInput, match="0 to 1"):
        read_regions(path, 2)


def test_a_table_that_was_cut_is_refused(flown: tuple[Flight, RegionDays, list[int]], tmp_path: Path) -> None:
    path = tmp_path / "regions.csv"
    write_regions(path, flown[1])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(BadInput, match="699 rows"):
        read_regions(path, 1)
    with pytest.raises(BadInput, match=r"\.csv or \.parquet"):
        write_regions(tmp_path / "regions.json", flown[1])


def test_recording_begins_at_midnight() -> None:
    market: Market = make_market(plain_worlds(load(MARKET), 1, 5), 50)
    with pytest.raises(BadInput, match="at least 1"):
        RegionRecorder(market).table()
    for _ in market.rest(5):
        pass
    with pytest.raises(BadInput, match="first of a day"):
        RegionRecorder(market)
