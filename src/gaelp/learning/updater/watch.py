"""Whether a version does worse than the one before it, by more than is allowed.

Predictions: each new episode is predicted before it is learned, by the champion and by the version before it,
for the same visits. Profit: mean of the last episodes that were flown by the updater's models against as many
before them, if luck alone would seldom show as much (Welch's test, one-sided).

Source: prequential judgement, Dawid, JRSS A 147 (1984) 278; Welch, Biometrika 34 (1947) 28.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from gaelp.learning.updater.config import UpdaterConfig


@dataclass(frozen=True, kw_only=True)
class Flown:
    """What an episode earned whose bids followed a version's models.

    Attributes:
        episode, version: names. profit_usd: all purchases less what ads cost.
    """

    episode: str
    version: str
    profit_usd: float


@dataclass(frozen=True, kw_only=True)
class Worse:
    """Why a version goes back.

    Attributes:
        code: `logloss_degraded` or `profit_degraded`. to: version that comes back.
        value: share by which it worsened. limit: that it was held against.
    """

    code: str
    to: str
    value: float
    limit: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for the registry's evidence."""
        return asdict(self)


def judge_predictions(
    champion: tuple[float, int], before: tuple[float, int], previous: str, config: UpdaterConfig
) -> Worse | None:
    """Compare two versions on one episode.

    Args:
        champion, before: logloss and visits of each, see `models.logloss`.
        previous: name of the version before. config: with the limit.
    """
    (ours, n), (theirs, _) = champion, before
    if n < config.least_visits or theirs <= 0:
        return None
    worse = ours / theirs - 1
    if worse <= config.degradation:
        return None
    return Worse(code="logloss_degraded", to=previous, value=worse, limit=config.degradation)


def judge_profit(flown: Sequence[Flown], config: UpdaterConfig) -> Worse | None:
    """Compare the last episodes flown with those before them.

    Args:
        flown: oldest first. config: with how many, the limit and the level.
    """
    n = config.profit_episodes
    if len(flown) < 2 * n:
        return None
    before, last = flown[-2 * n : -n], flown[-n:]
    was, now = ([each.profit_usd for each in some] for some in (before, last))
    usual = float(np.mean(was))
    if usual <= 0 or before[-1].version == last[-1].version:
        return None  # nothing to lose by a share, or no other version to go back to
    worse = 1 - float(np.mean(now)) / usual
    if worse <= config.degradation:
        return None
    if np.ptp(was) + np.ptp(now) > 0:
        chance = float(ttest_ind(now, was, equal_var=False, alternative="less").pvalue)
        if not chance < config.level:
            return None
    return Worse(code="profit_degraded", to=before[-1].version, value=worse, limit=config.degradation)
