"""Logs of campaigns: what an account saw each midnight, what was done by chance, and what came of the day.

A log is a table with a row for each world (an account) and day; `COLUMNS`, `ACTIONS` and the features name
what it needs. The reader goes by the columns alone, so the table may come from `gaelp offline export` or be
made of an account's own reports. Actions are those of `agents.controller`: one number a price group, 0 for
what the base proposes. They must have been drawn, and the density of the draw logged: it cannot be had later.

Two values of a day stand side by side. `attributed_usd` is what an account can add up a month later: lifetime
value times conversions, at the day of their last click. `incremental_usd` only a simulation knows: lifetime
value times expected decisions of the day, less those of a twin that lives the same days without our ads; what
the days after the campaign bring stands at the last day. An account's log leaves that column out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.files import replacing
from gaelp.core.names import require_known
from gaelp.core.words import EMAIL_LINE, LINES
from gaelp.journeys.columns import header, numbers, read_columns, require, texts
from gaelp.observation.campaign import CAMPAIGN_FEATURES, FEATURE_LIMIT

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]
Reward = Literal["attributed", "incremental"]

REWARDS: tuple[Reward, ...] = ("attributed", "incremental")
ACTIONS = tuple(f"action.{line.name.rsplit('_', 1)[0]}" for line in LINES[:EMAIL_LINE:2])
"""Columns of the actions, one a price group (a line without its device)."""
COLUMNS = {
    "world": "name of the account",
    "day": "days since the campaign began, whole, without gaps",
    "features_version": "version of the table of features, `CAMPAIGN_FEATURES.version`",
    "base": "12 digits that name the base policy and the market",
    "log_density": "natural logarithm of the density with which the actions were drawn, all together",
    "budget_usd": "of the day",
    "spend_usd": "of the day",
    "attributed_usd": "value of conversions whose last click was on that day",
    "ended": "1 on the campaign's last day, else 0",
}
"""Columns that a log needs beside the features and `ACTIONS`."""
INCREMENTAL = "incremental_usd"
"""The one column that a log may lack."""
LOG = "log.parquet"
"""Name of the table in a run folder."""
_HIGHEST_USD = 1e12
_FARTHEST = 100.0  # actions beyond are no factors anybody bid by
_MOST_DAYS = 10_000


@dataclass(frozen=True, kw_only=True)
class CampaignLog:
    """Days of campaigns, world after world in the order of time; n rows.

    Attributes:
        world: (n,) names. day: (n,). base: of what the actions changed, see `base_name`.
        observations: (n, n_features) at midnight. actions: (n, N_GROUPS). log_density: (n,).
        budget_usd, spend_usd, attributed_usd: (n,) of the day. incremental_usd: (n,), None if not known.
        ended: (n,) whether it was the campaign's last day.
    """

    world: Texts
    day: NDArray[np.int64]
    base: str
    observations: Floats
    actions: Floats
    log_density: Floats
    budget_usd: Floats
    spend_usd: Floats
    attributed_usd: Floats
    incremental_usd: Floats | None
    ended: NDArray[np.bool_]

    def reward(self, kind: str) -> Floats:
        """(n,) value less spend of each day, in daily budgets.

        Raises:
            UnknownName: another kind than `REWARDS`. BadInput: the log does not hold it.
        """
        require_known("reward", kind, REWARDS)
        value = self.attributed_usd if kind == "attributed" else self.incremental_usd
        if value is None:
            remedy = "Learn from the attributed reward; only a simulation knows the other."
            raise BadInput("reward", kind, f"needs the column {INCREMENTAL}", remedy)
        reward: Floats = (value - self.spend_usd) / self.budget_usd
        return reward

    @cached_property
    def worlds(self) -> tuple[str, ...]:
        """Names, in the order of the rows."""
        return tuple(dict.fromkeys(self.world.tolist()))

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """(n,) which of `worlds` each row is of."""
        known = {name: i for i, name in enumerate(self.worlds)}
        return np.array([known[name] for name in self.world.tolist()], np.int64)

    def save(self, path: Path) -> None:
        """Write the table as Parquet."""
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
        n = len(self.day)
        columns = {
            "world": self.world.tolist(),
            "day": self.day,
            "features_version": [CAMPAIGN_FEATURES.version] * n,
            "base": [self.base] * n,
            **dict(zip(CAMPAIGN_FEATURES.names, self.observations.T.astype(np.float32), strict=True)),
            **dict(zip(ACTIONS, self.actions.T, strict=True)),
            "log_density": self.log_density,
            "budget_usd": self.budget_usd,
            "spend_usd": self.spend_usd,
            "attributed_usd": self.attributed_usd,
            **({} if self.incremental_usd is None else {INCREMENTAL: self.incremental_usd}),
            "ended": self.ended.astype(np.int8),
        }
        with replacing(path) as neighbour:
            parquet.write_table(arrow.table(columns), neighbour)


def read_log(place: str | Path) -> CampaignLog:
    """Read a log from a file, CSV or Parquet, or from the folder of `gaelp offline export`.

    Raises:
        UnknownName: a column is missing. BadInput: a cell cannot be, or days are not whole campaigns.
        MismatchError: it was made with other features.
    """
    path = Path(place) / LOG if Path(place).is_dir() else Path(place)
    if not path.is_file():
        remedy = "Make one with `gaelp offline export --out DIR`."
        raise BadInput("log", str(place), "must be a table or a folder that holds one", remedy)
    incremental = INCREMENTAL in header(path)
    wanted = [*COLUMNS, *CAMPAIGN_FEATURES.names, *ACTIONS, *([INCREMENTAL] if incremental else [])]
    cells = read_columns(path, wanted)
    version = _one(texts("features_version", cells["features_version"]), "features_version")
    CAMPAIGN_FEATURES.require(version, CAMPAIGN_FEATURES.names)
    money = {"budget_usd": 1e-9, "spend_usd": 0.0, "attributed_usd": 0.0, INCREMENTAL: -_HIGHEST_USD}
    usd = {n: numbers(n, cells[n], low, _HIGHEST_USD) for n, low in money.items() if n in cells}
    world = np.array(texts("world", cells["world"]), np.str_)
    day = numbers("day", cells["day"], 0, _MOST_DAYS)
    require("day", cells["day"], day == np.floor(day), "must be whole")
    limits = (-FEATURE_LIMIT, FEATURE_LIMIT)
    seen = np.stack([numbers(n, cells[n], *limits) for n in CAMPAIGN_FEATURES.names], axis=1)
    done = np.stack([numbers(n, cells[n], -_FARTHEST, _FARTHEST) for n in ACTIONS], axis=1)
    ended = numbers("ended", cells["ended"], 0, 1)
    order = np.lexsort((day, world))
    log = CampaignLog(
        world=world[order],
        day=day[order].astype(np.int64),
        base=_one(texts("base", cells["base"]), "base"),
        observations=seen[order],
        actions=done[order],
        log_density=numbers("log_density", cells["log_density"], -1e4, 1e4)[order],
        budget_usd=usd["budget_usd"][order],
        spend_usd=usd["spend_usd"][order],
        attributed_usd=usd["attributed_usd"][order],
        incremental_usd=usd[INCREMENTAL][order] if incremental else None,
        ended=ended[order] > 0.5,
    )
    _check_days(log)
    return log


def _check_days(log: CampaignLog) -> None:
    last = np.append(log.world[1:] != log.world[:-1], True)
    first = np.append(True, last[:-1])
    wrong = np.flatnonzero(~first & (np.diff(log.day, prepend=0) != 1))
    if wrong.size:
        name, remedy = f"day of world {log.world[wrong[0]]}", "Log every day once."
        raise BadInput(name, int(log.day[wrong[0]]), "must follow the day before by one", remedy)
    wrong = np.flatnonzero(log.ended != last)
    if wrong.size:
        where, remedy = f"ended of world {log.world[wrong[0]]}", "Log whole campaigns."
        raise BadInput(where, bool(log.ended[wrong[0]]), "must be 1 on its last day, and only there", remedy)


def _one(found: Iterable[str], name: str) -> str:
    values = sorted(set(found))
    if len(values) != 1:
        raise BadInput(name, ", ".join(values[:3]), "must be the same in all rows", "Part the log by it.")
    return values[0]
