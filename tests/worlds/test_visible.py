"""What an account knows of a run, and the addresses laid over the market."""

from pathlib import Path

import numpy as np
import pytest

from gaelp.journeys.identity import Resolver, read_identity_table
from gaelp.market.file import load
from gaelp.market.market import Market, World
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import reference_prices
from gaelp.worlds.visible import PEOPLE_PER_HOME, PLACES, address_of, life_of, write_visible_events


@pytest.fixture(scope="module")
def market() -> Market:
    market = Market([World(load("markets/family_safety.toml"), 5)], n_people=3000, event_rows=100_000)
    platform = SimulatedPlatform(market)
    platform.controls.bid[:, 0] = reference_prices(market)
    for _ in range(24 * 20):
        platform.advance()
    return market


@pytest.fixture(scope="module")
def seen(market):
    """Events whose cookie or login is known, with life and address."""
    found = seen_events(market, 0, 0, Sight(market.worlds[0].file.visibility), market.hour)
    life = life_of(market, 0, 0, found)
    return found, life, address_of(market, 0, found, life)


def test_every_cookie_and_login_is_of_one_life_and_the_slot_is_the_logs(market, seen):
    found, life, address = seen
    events = market.events(0)
    slot = dict(zip(events["visitor"].tolist(), events["person"].tolist(), strict=True))
    for name in ("visitor", "login"):
        known = found[name] > 0
        pairs = np.unique(np.stack([found[name][known], life[known].astype(np.uint64)]), axis=1)
        assert known.any() and pairs.shape[1] == np.unique(found[name][known]).size
    for number, whose in zip(found["visitor"].tolist(), life.tolist(), strict=True):
        assert not number or number not in slot or slot[number] == whose >> 16
    anonymous = (found["visitor"] == 0) & (found["login"] == 0)
    assert (
        (life[anonymous] == -1).all() and (address[anonymous] == 0).all() and (address[~anonymous] > 0).all()
    )


@pytest.mark.statistical
def test_people_share_homes_and_carriers_as_stated(market, seen):
    found, _, _ = seen
    n = 40_000
    rows = np.zeros(n, found.dtype)
    rows["hour"] = np.tile([0, 1, 2, 3], n // 4)  # the same leases
    life = (
        np.repeat(np.arange(n // 4), 4) % market.n_people * 65536
    )  # everybody, four times an hour on a phone
    rows["region"] = market.pop.people["region"][0][life >> 16]
    address = address_of(market, 0, rows, life)
    each = address.reshape(-1, 4)
    twice = (PLACES[0] ** 2).sum()  # in a region of thirty people there is one café
    assert abs((each[:, 0] == each[:, 1]).mean() - twice) < 4 * np.sqrt(twice / len(each))
    visits = np.unique(np.stack([address, life.astype(np.uint64)]), axis=1)[0]
    people = np.unique(visits, return_counts=True)[1]
    assert people.max() > 10, "carriers"
    assert 1.0 < np.median(people) < 1.0 + PEOPLE_PER_HOME, "homes"


def test_the_table_says_what_identity_needs_and_no_truth(market, tmp_path: Path):
    from pyarrow.parquet import read_schema

    path = tmp_path / "events.parquet"
    n = write_visible_events(path, market)
    names = [
        "world",
        "person",
        "time",
        "channel",
        "kind",
        "value",
        "cookie",
        "login",
        "address",
        "city",
        "device",
    ]
    assert read_schema(path).names == names
    table = read_identity_table(path)
    assert 0 < table.hour.size <= n and table.address.any() and table.login.any()
    resolver = Resolver()
    table.add_to(resolver)
    assert 0 < np.unique(resolver.identities()).size < resolver.n_cookies
