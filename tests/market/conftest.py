"""Worlds that the tests of the market live in; each is simulated once and copied."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.words import EMAIL_LINE
from gaelp.market.file import MarketFile, load
from gaelp.market.market import Market, World
from gaelp.market.state import Controls, empty_controls


@pytest.fixture(scope="session")
def market_path() -> Path:
    return Path(__file__).parents[2] / "markets" / "family_safety.toml"


@pytest.fixture(scope="session")
def market_file(market_path: Path) -> MarketFile:
    return load(market_path)


@pytest.fixture(scope="session")
def usual_bids(market_file: MarketFile) -> Callable[..., Controls]:
    """Controls of a busy advertiser: `multiplier` x the market's price level on every line, mail on."""

    def make(market: Market, multiplier: float = 1.0) -> Controls:
        controls = empty_controls(market.n_worlds, market.n_seats)
        level = np.repeat(market_file.parameters["price_level"].value, 2)
        controls.bid[..., :EMAIL_LINE] = multiplier * level
        controls.bid[..., EMAIL_LINE] = 10.0 * market_file.parameters["mail_cost_usd"].value
        return controls

    return make


def fields(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """An array under its name, or each field of a record array under a name of its own."""
    if array.dtype.names is None:
        return {name: array}
    return {f"{name}.{field}": array[field] for field in array.dtype.names}


@pytest.fixture(scope="session")
def states() -> Callable[..., dict[str, np.ndarray]]:
    """Copies of every array of a world by name; logs only as far as they are written."""

    def read(market: Market, world: int = 0) -> dict[str, np.ndarray]:
        logs = {
            "books.decisions": market.books.n_decisions[world],
            "books.truth": market.books.n_truth[world],
        }
        found = {}
        for name, array in market.arrays():
            mine = array[world, : logs[name]] if name in logs else array[world]
            found.update(fields(name, mine.copy()))
        return found

    return read


@pytest.fixture(scope="session")
def differing() -> Callable[..., list[str]]:
    """Names of the arrays in which two states differ."""

    def compare(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
        assert one.keys() == other.keys()
        return [name for name in one if not np.array_equal(one[name], other[name])]

    return compare


@pytest.fixture(scope="session")
def changed_people() -> Callable[..., np.ndarray]:
    """Indices of the people of whom anything differs: record, calendar, goodwill, memory."""

    def compare(one: Market, other: Market, world: int = 0) -> np.ndarray:
        found = np.zeros(one.n_people, bool)
        for name in one.pop._fields:
            theirs = fields(name, getattr(other.pop, name)[world])
            for key, mine in fields(name, getattr(one.pop, name)[world]).items():
                found |= (mine != theirs[key]).reshape(one.n_people, -1).any(axis=1)
        return np.flatnonzero(found)

    return compare


@pytest.fixture(scope="session")
def lived_in(market_file: MarketFile, usual_bids: Callable[..., Controls]) -> Market:
    """One world of 3,000 people after three weeks of our ads. Copy it before use."""
    market = Market([World(market_file, 5)], n_people=3000)
    controls = usual_bids(market)
    for _ in range(21 * 24):
        market.advance(controls)
    return market
