"""Every ad that a world's people saw of the advertiser, with what decided the click: a table to learn from.

    log = ClickLog(market)      # made with `truth_rows(n_people)`; a tick for `warm_up` and `fly`
    log.open()                  # from here on rows are kept
    write_columns(path, log.columns())

It is truth, stage and segment of the person included: for training the market's own response model
(`worlds.distilling`), never for an account.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput
from gaelp.market.market import Market, World
from gaelp.market.parameters import AXES, FEEDS, QUERIES, STAGES
from gaelp.market.truth import FIRST_SLOT, rows
from gaelp.worlds.flight import WARM_UP_DAYS, Tick, fly, make_market, warm_up

CLICKED = "clicked"
SEARCH = "search"
FEATURES = "channel device audience creative views query slot stage segment".split()
"""Columns that decide a click. Feeds have an audience, a creative and earlier views of it; searches a query
and a slot; the rest is empty. Display is display and retargeting: the audience says which."""

_ROWS_PER_PERSON_DAY = 12


def truth_rows(n_people: int) -> int:
    """Room for a day of a world's truth log."""
    return 2000 + _ROWS_PER_PERSON_DAY * n_people


class ClickLog:
    """Reads the truth log at each midnight and empties it.

    Args:
        market: worlds made with `truth_rows`. world: whose. tick: told what the log is told.
    """

    def __init__(self, market: Market, world: int = 0, tick: Tick = lambda _: None) -> None:
        self._market, self._world, self._tick = market, world, tick
        self._kept: list[NDArray[np.void]] | None = None
        self._began = 0

    def open(self) -> None:
        """From now on keep what happens."""
        self._kept = []
        self._began = self._market.hour

    def __call__(self, done: int) -> None:
        """Some hours have passed, at most to the next midnight.

        Raises:
            BadInput: more happened than there is room for.
        """
        books = self._market.books
        if books.n_truth[self._world] >= books.truth.shape[1]:
            allowed = f"must log fewer than {books.truth.shape[1]:,} rows a day"
            raise BadInput("market file", self._market.worlds[self._world].file.name, allowed, "Lower rates.")
        if self._kept is not None:
            ads = rows(self._market, "ad", self._world)
            self._kept.append(ads[ads["brand"] == 0])
        books.n_truth[self._world] = 0
        self._tick(done)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The table: `CLICKED` (0 or 1), `hour` since `open`, and `FEATURES`, a word or a number each."""
        ads = np.concatenate([rows(self._market, "ad", self._world)[:0], *(self._kept or [])])
        segments = self._market.worlds[self._world].file.segments
        found = ads["slot"] >= FIRST_SLOT

        def words(names: Any, codes: NDArray[Any], where: NDArray[np.bool_] | None = None) -> NDArray[Any]:
            told = np.array(names)[codes]
            return told if where is None else np.where(where, told, "")

        feed = np.where(found, len(FEEDS), ads["slot"])
        audience = np.where(found, 0, ads["x"][:, 3]).astype(np.int64)
        query = np.where(found, ads["line"] // 2, 0)
        return {
            CLICKED: ads["outcome"].astype(np.int8),
            "hour": ads["hour"] - self._began,
            "channel": words((*FEEDS, SEARCH), feed),
            "device": words(AXES["class"], ads["line"] % 2),
            "audience": words(AXES["audience"], audience, ~found),
            "creative": words(AXES["creative"], ads["creative"], ~found),
            "views": np.ma.masked_array(ads["x"][:, 0].round(3), found),
            "query": words(QUERIES, query, found),
            "slot": np.ma.masked_array(ads["slot"] - FIRST_SLOT + 1, ~found),
            "stage": words(STAGES, ads["stage"]),
            "segment": words(segments, ads["segment"]),
        }


def click_table(
    world: World,
    policy: Policy,
    *,
    n_people: int,
    days: int,
    daily_budget_usd: float | None = None,
    seed: int = 0,
    warm_up_days: int = WARM_UP_DAYS,
    tick: Tick = lambda _: None,
) -> dict[str, NDArray[Any]]:
    """Warm a world up, fly a policy, and tell every ad seen; see `ClickLog.columns`.

    Args:
        world: lived. policy: flown. n_people: people of the panel. days: length of the flight.
        daily_budget_usd: of the panel; None: the file's a person. seed: for policies that draw.
        warm_up_days: lived before. tick: told the world-hours done.
    """
    market = make_market([world], n_people, truth_rows=truth_rows(n_people))
    log = ClickLog(market, tick=tick)
    traffic = warm_up(market, warm_up_days, log)
    log.open()
    fly(
        market,
        policy,
        days=days,
        traffic=traffic,
        daily_budget_usd=daily_budget_usd,
        seed=seed,
        tick=log,
        keep_bids=False,
    )
    return log.columns()
