"""What an account was shown on a flight, hour by hour and line by line, as a table.

    watched = Watched(policy, file, n_people)  # of the market that is flown
    fly(market, watched, days=28, traffic=traffic)
    write_reports(folder / REPORTS, watched.reports())

Every figure is from a view, so it is what the platform told, put back to the hour it belongs to. The last
view of a flight opens its last hour: what was told after it is missing, always the last hour, and with it the
last day's impression share.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.errors import BadInput
from gaelp.core.files import replacing
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import CHANNEL_OF_LINE, EMAIL_LINE, LINES, N_LINES, Channel
from gaelp.market.file import MarketFile
from gaelp.measurement.competition.log import LineLog
from gaelp.observation.view import View
from gaelp.platforms.reporting import SHARE_WINDOW_HOURS, Sight
from gaelp.platforms.simulated import MINIMUM_LIST

Floats = NDArray[np.float64]

REPORTS = "reports.parquet"
"""Its name in a run's folder."""
HOURS_A_DAY = 24
FIELDS = ("bid_usd", "impressions", "clicks", "spend_usd", "impression_share")
"""Columns beside world, hour and line, in this order."""


class Watched:
    """A policy flown as it is, while what its account is shown is written down.

    Args:
        policy: flown.
        file: the market, for the delays that the platform states.
        n_people: people of a panel, for the smallest audience list that is served.
    """

    def __init__(self, policy: Policy, file: MarketFile, n_people: int) -> None:
        self.policy = policy
        self.name = policy.name
        self.least_list = MINIMUM_LIST * n_people / file.people
        sight = Sight(file.visibility)
        channel = CHANNEL_OF_LINE
        self._shown_late = sight.delay["impression"][channel].astype(int)
        self._clicked_late = sight.delay["click"][channel].astype(int)
        self._views: list[dict[str, Floats]] = []
        self._budget = np.zeros(0)

    def start(self, brief: Brief) -> None:
        """Begin a campaign; forget the last one."""
        self._views, self._budget = [], brief.daily_budget_usd
        self.policy.start(brief)

    def act(self, view: View) -> ProposedControls:
        """Write down what is shown, and let the policy decide."""
        self._views.append(
            {
                "bid_usd": np.where(view.target_cpa_usd > 0, np.nan, view.bid_usd),
                "spend_usd": view.spend_usd,
                "impressions": view.impressions,
                "clicks": view.clicks,
                "impression_share": view.impression_share,
                "list_size": view.list_size,
            }
        )
        return self.policy.act(view)

    def reports(self) -> dict[str, Floats]:
        """(n_worlds, n_hours, n_lines) each of `FIELDS`, and `daily_budget_usd` (n_worlds,).

        `bid_usd` is as approved: 0 where the line was off or its audience list too small to be served, NaN
        where the platform bid by a target. `impression_share` is of the day that ends with its hour, NaN at
        other hours and where it is not told. NaN marks what was not told by the last view.
        """
        if len(self._views) < 2:
            raise BadInput("policy", self.name, "must have flown", "Fly it, then ask for its reports.")
        hours = len(self._views)
        told = {name: np.stack([view[name] for view in self._views], axis=1) for name in self._views[0]}
        none = np.zeros(N_LINES, int)
        small = (
            self._at(told["list_size"], none - 1) < self.least_list
        )  # false for NaN, a line without a list
        bid = self._at(told["bid_usd"], none)
        share = self._at(told["impression_share"], self._shown_late)
        share[:, np.arange(hours) % SHARE_WINDOW_HOURS != SHARE_WINDOW_HOURS - 1] = np.nan
        return {
            "bid_usd": np.where(small & ~np.isnan(bid), 0.0, bid),
            "impressions": self._at(told["impressions"], self._shown_late),
            "clicks": self._at(told["clicks"], self._clicked_late),
            "spend_usd": self._at(told["spend_usd"], none),
            "impression_share": share,
            "daily_budget_usd": self._budget,
        }

    @staticmethod
    def _at(told: Floats, late: NDArray[np.int64]) -> Floats:
        """What views told, at the hour it belongs to: hour h is told by view h + 1 + its line's delay."""
        found = np.full(told.shape, np.nan)
        for line, delay in enumerate(late):
            from_view = told[:, 1 + delay :, line]
            found[:, : from_view.shape[1], line] = from_view
        return found


def write_reports(path: Path, reports: dict[str, Floats]) -> int:
    """Write reports as a table: world, hour, line, `FIELDS` and the world's daily budget.

    Args:
        path: Parquet file to make or replace. reports: as `Watched.reports` gives them.

    Returns:
        How many rows were written.
    """
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    worlds, hours, lines = reports["bid_usd"].shape
    at = np.indices((worlds, hours, lines), np.int32).reshape(3, -1)
    names = np.array([line.name for line in LINES])
    columns = {"world": at[0], "hour": at[1], "line": names[at[2]]}
    columns |= {field: reports[field].ravel() for field in FIELDS}
    columns["daily_budget_usd"] = reports["daily_budget_usd"][at[0]]
    with replacing(path) as neighbour:
        parquet.write_table(arrow.table(columns), neighbour)
    return int(at.shape[1])


def read_reports(folder: Path) -> dict[str, Floats]:
    """Reports of a run's folder, as `Watched.reports` gave them.

    Raises:
        BadInput: the folder holds none, or they are not whole.
    """
    path = folder / REPORTS
    if not path.is_file():
        remedy = "Fly it with `gaelp simulate --reports --out DIR`."
        raise BadInput("run", str(folder), f"must hold {REPORTS}", remedy)
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        table = parquet.read_table(path)
        columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        world, hour = columns["world"].astype(int), columns["hour"].astype(int)
        code = {line.name: i for i, line in enumerate(LINES)}
        line = np.array([code[name] for name in columns["line"]])
        shape = (int(world.max()) + 1, int(hour.max()) + 1, N_LINES)
        found: dict[str, Floats] = {name: np.full(shape, np.nan) for name in FIELDS}
        for name, cells in found.items():
            cells[world, hour, line] = columns[name].astype(float)
        found["daily_budget_usd"] = np.zeros(shape[0])
        found["daily_budget_usd"][world] = columns["daily_budget_usd"].astype(float)
    except (KeyError, ValueError, TypeError, OSError) as error:
        allowed = f"must be a table that `gaelp simulate --reports` wrote ({error})"
        raise BadInput("file", str(path), allowed, "Simulate anew.") from None
    return found


def line_logs(reports: dict[str, Floats], world: int) -> tuple[list[LineLog], dict[str, str]]:
    """Reports of one account as the logs that `measurement.competition` reads.

    A line is open for an hour while the day's budget has room for one more bid; half, where that ended in it.
    Prices tell what had to be bid on lines with one slot, unless they equal the bids: then the winner pays
    its own.

    Args:
        reports: as `Watched.reports` gives them. world: which account.

    Returns:
        A log for each line that bids in auctions, whole days only; and why others have none, by name.

    Raises:
        BadInput: there is no such world.
    """
    n_worlds = reports["bid_usd"].shape[0]
    if not 0 <= world < n_worlds:
        raise BadInput("world", world, f"must be from 0 to {n_worlds - 1}", "Name a world of the run.")
    known = ~np.isnan(reports["impressions"][world][:, :EMAIL_LINE]).all(axis=0)
    days = _whole_days(reports["impressions"][world][:, :EMAIL_LINE][:, known])
    bid, won, clicks, spend, share = (_by_day(reports[name][world], days) for name in FIELDS)
    earlier = np.cumsum(spend.sum(axis=2), axis=1) - spend.sum(axis=2)
    left = reports["daily_budget_usd"][world] - earlier  # (days, hours), as the hour begins
    left_after = left - spend.sum(axis=2)
    logs, untold = [], {}
    for i, line in enumerate(LINES[:EMAIL_LINE]):
        if not known[i] or np.isnan(bid[..., i]).any():
            untold[line.name] = (
                "impressions are not told" if not known[i] else "the platform bids by a target"
            )
            continue
        by_click = line.channel is Channel.SEARCH
        unit = 1.0 if by_click else 1000.0
        sold = np.nan_to_num(clicks[..., i]) if by_click else won[..., i]
        price = unit * spend[..., i] / np.maximum(sold, 1.0)
        own = bid[..., i]
        room = 0.5 * (left >= own / unit) + 0.5 * (left_after >= own / unit)
        paid = (sold > 0) & (own > 0)
        first_price = bool(
            (price[paid] >= own[paid] - unit / MICROS_PER_USD).all()
        )  # rounded to whole micros
        logs.append(
            LineLog(
                name=line.name,
                by_click=by_click,
                bid=own,
                open=room,
                impressions=won[..., i],
                sold=sold,
                price=price,
                share=share[:, -1, i],
                price_is_needed=not by_click and not first_price,
            )
        )
    return logs, untold


def _whole_days(impressions: Floats) -> int:
    """Days whose impressions were all told."""
    told = ~np.isnan(impressions).any(axis=1)
    hours = told.size if told.all() else int(np.argmin(told))
    return hours // HOURS_A_DAY


def _by_day(cells: Floats, days: int) -> Floats:
    """(days, 24, n_lines) of (hours, n_lines)."""
    return cells[: days * HOURS_A_DAY].reshape(days, HOURS_A_DAY, -1)
