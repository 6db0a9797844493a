"""How the updater learns, watches and discovers."""

from dataclasses import asdict, dataclass
from typing import Any

from gaelp.core.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class UpdaterConfig:
    """Settings of an updater.

    Attributes:
        window: newest episodes that the models are made of; older ones are forgotten.
        horizon_days: within which a purchase counts for a visit; visits younger than that at an episode's
            end are in no rate.
        discover_every: episodes between two discoveries.
        longest_lag_days: to which lags are followed; what was open then counts as open.
        most: largest factor on a line's bids and targets; the smallest is its inverse.
        degradation: share by which the predictions or the profit may worsen before a version goes back.
        least_visits: in an episode, for its predictions to be judged.
        profit_episodes: episodes flown, and as many before them, whose profits are compared.
        level: chance at which luck alone looks as bad, for profits.
        waiting: most episodes that may wait for a worker.
        versions: newest versions that are kept to go back to.
        seed: names the draws of discovery.

    Raises:
        BadInput: one is out of range.
    """

    window: int = 30
    horizon_days: float = 14.0
    discover_every: int = 10
    longest_lag_days: int = 90
    most: float = 1.5
    degradation: float = 0.30
    least_visits: int = 100
    profit_episodes: int = 5
    level: float = 0.05
    waiting: int = 20
    versions: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("window", "discover_every", "longest_lag_days", "least_visits", "waiting", "versions"):
            if (value := getattr(self, name)) < 1:
                raise BadInput(name, value, "must be at least 1", "Give a whole number.")
        if self.profit_episodes < 2:
            allowed = "must be at least 2, or luck cannot be told"
            raise BadInput("profit_episodes", self.profit_episodes, allowed, "5 serves.")
        if not 0 < self.horizon_days <= self.longest_lag_days:
            allowed = f"must be above 0 and at most the longest lag, {self.longest_lag_days}"
            raise BadInput("horizon_days", self.horizon_days, allowed, "14 serves.")
        if not 1 <= self.most <= 10:
            raise BadInput("most", self.most, "must be from 1 to 10", "1.5 serves; 1 changes no bid.")
        if not 0 < self.degradation < 1:
            raise BadInput("degradation", self.degradation, "must be above 0 and below 1", "0.3 serves.")
        if not 0 < self.level < 0.5:
            raise BadInput("level", self.level, "must be above 0 and below 0.5", "0.05 serves.")

    @property
    def counted(self) -> tuple[float, int]:
        """Settings that counts depend on, which must not mix: the horizon and the longest lag, days."""
        return self.horizon_days, self.longest_lag_days

    def as_dict(self) -> dict[str, Any]:
        """For manifests."""
        return asdict(self)
