"""The auctionnet's task in numbers: budgets, limits, traffic, how a period is drawn, and the score.

Source: Su et al., "AuctionNet: a novel benchmark for decision-making in large-scale games", NeurIPS 2024, and
its code, alimama-tech/AuctionNet on GitHub.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from gaelp.core.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_TICKS, N_CATEGORIES, SEATS_PER_CATEGORY = 48, 6, 8
N_SEATS = N_CATEGORIES * SEATS_PER_CATEGORY

# AuctionNet, simul_bidding_env/Controller/Controller.py: seat by seat, a category a row.
BUDGET: Floats = np.array([
    2900, 4350, 3000, 2400, 4800, 2000, 2050, 3500,
    4600, 2000, 2800, 2350, 2050, 2900, 4750, 3450,
    2000, 3500, 2200, 2700, 3100, 2100, 4850, 4100,
    2000, 4800, 3050, 4250, 2850, 2250, 2000, 3900,
    2000, 3250, 4450, 3550, 2700, 2100, 4650, 2000,
    3400, 2650, 2300, 4100, 4800, 4450, 2000, 2050,
], float)  # fmt: skip
CPA_LIMIT: Floats = np.array([
    100, 70, 90, 110, 60, 130, 120, 80,
    70, 130, 100, 110, 120, 90, 60, 80,
    130, 80, 110, 100, 90, 120, 60, 70,
    120, 60, 90, 70, 100, 110, 130, 80,
    120, 90, 70, 80, 100, 110, 60, 130,
    90, 100, 110, 80, 60, 70, 130, 120,
], float)  # fmt: skip
# AuctionNet, simul_bidding_env/PvGenerator/NeurIPSPvGen.py, rounded: opportunities by half-hour, per cent.
_TRAFFIC: Floats = np.array([
    2.30, 1.08, 0.88, 0.48, 0.48, 0.33, 0.34, 0.30, 0.43, 0.49, 1.11, 1.24,
    1.85, 1.73, 2.61, 2.41, 3.64, 3.31, 3.81, 3.24, 3.72, 3.29, 3.35, 2.55,
    2.37, 2.22, 2.62, 2.01, 2.22, 2.05, 2.27, 2.08, 2.41, 2.06, 2.00, 1.65,
    1.75, 1.69, 2.04, 1.98, 2.50, 2.51, 3.11, 2.86, 3.01, 2.57, 2.54, 2.53,
])  # fmt: skip
TRAFFIC: Floats = _TRAFFIC / _TRAFFIC.sum()


@dataclass(frozen=True, kw_only=True)
class AuctionNetSettings:
    """The numbers of the task; the defaults are AuctionNet's `config/test.gin` and its code.

    Attributes:
        n_opportunities: of a period. budget_ratio: factor on all budgets.
        floor: least price of an impression. least_budget: a seat with less left stops bidding.
        shown: chance that a won slot is shown; the third is hidden where the second is.
        base_value: mean predicted chance of a conversion.
        traffic_spread, category_spread, seat_spread: half-widths of the uniform factors round 1 on traffic
            (a draw per four ticks), and on value by category and by seat (a draw per eight ticks).
        deviation, deviation_sd, deviation_tick_sd: of value over its mean: mean over seats, spread over
            seats, spread over ticks as a share of the seat's.
        uncertainty, uncertainty_sd: of the true chance over the value: mean and spread over seats.
    """

    n_opportunities: int = 500_000
    budget_ratio: float = 1.0
    floor: float = 1e-4
    least_budget: float = 0.1
    shown: tuple[float, float, float] = (1.0, 0.8, 0.6)
    base_value: float = 5e-4
    traffic_spread: float = 0.4
    category_spread: float = 0.7
    seat_spread: float = 0.5
    deviation: float = 0.5
    deviation_sd: float = 0.1
    deviation_tick_sd: float = 0.2
    uncertainty: float = 0.15
    uncertainty_sd: float = 0.06

    def __post_init__(self) -> None:
        if self.n_opportunities < 1_000:
            remedy = "Shrink budget_ratio with it, so that budgets still bind."
            raise BadInput("n_opportunities", self.n_opportunities, "must be at least 1,000", remedy)
        for field in fields(self):
            least = np.min(getattr(self, field.name))
            if not 0.0 <= least < np.inf:
                raise BadInput(field.name, getattr(self, field.name), "must be at least 0", "Check it.")


def score(conversions: ArrayLike, spend: ArrayLike, limit: ArrayLike) -> Floats:
    """Conversions x min(1, (limit / CPA)^2), CPA being spend / conversions; 0 without conversions.

    Args:
        conversions, spend, limit: of a period, in shapes that broadcast; limit is the CPA limit.

    Source: AuctionNet, `simul_bidding_env/Tracker/PlayerAnalysis.py`, beta = 2.

    >>> score([10.0, 10.0, 0.0], [900.0, 2000.0, 50.0], 100.0).tolist()
    [10.0, 2.5, 0.0]
    """
    conversions, spend = np.asarray(conversions, float), np.asarray(spend, float)
    kept = np.asarray(limit, float) * conversions / np.where(spend > 0.0, spend, 1.0)
    result: Floats = conversions * np.where(spend > 0.0, np.minimum(1.0, kept * kept), 1.0)
    return result


def true_chance(sigma_mean: Floats, low: Floats, high: Floats) -> Floats:
    """Mean true chance of a conversion over the predicted value, for a seat and period.

    AuctionNet draws the true chance of each opportunity from a normal round the value, whose sigma is a
    random share of the value, cut at `low` sigmas below and `high` above. The policies see neither sigma nor
    chance, so a conversion is a coin with the mean chance, and this is that mean.

    Args:
        sigma_mean: (n,) the seat's mean sigma over value; an opportunity's is normal round it with half of it
            as deviation, turned positive, at most 0.3. low, high: (n,) bounds in sigmas, > 0.
    """
    level = ndtri((np.arange(2000) + 0.5) / 2000)
    sigma = np.minimum(np.abs(sigma_mean[:, None] * (1.0 + 0.5 * level)), 0.3).mean(axis=1)
    density = (np.exp(-(low**2) / 2.0) - np.exp(-(high**2) / 2.0)) / np.sqrt(2.0 * np.pi)
    chance: Floats = 1.0 + sigma * density / (ndtr(high) - ndtr(-low))
    return chance


def draw_period(rng: np.random.Generator, rules: AuctionNetSettings) -> tuple[Ints, Floats, Floats, Floats]:
    """Draw what holds for a whole period.

    Returns:
        (n_ticks,) opportunities; (n_ticks, n_seats) mean and standard deviation of value; (n_seats,) true
        chance of a conversion over value.
    """
    factor = np.repeat(_round_one(rng, rules.traffic_spread, N_TICKS // 4), 4)
    traffic = TRAFFIC * factor / (TRAFFIC * factor).sum()
    category = np.repeat(_round_one(rng, rules.category_spread, (N_TICKS // 8, N_CATEGORIES)), 8, axis=0)
    seat = np.repeat(_round_one(rng, rules.seat_spread, (N_TICKS // 8, N_SEATS)), 8, axis=0)
    seat[:, ::SEATS_PER_CATEGORY] = 1.0  # the first seat of a category is the category
    mean = rules.base_value * np.repeat(category, SEATS_PER_CATEGORY, axis=1) * seat
    typical = _within(rng.normal(rules.deviation, rules.deviation_sd, N_SEATS))
    deviation = _within(typical * rng.normal(1.0, rules.deviation_tick_sd, (N_TICKS, N_SEATS)))
    sigma = np.abs(rng.normal(rules.uncertainty, rules.uncertainty_sd, N_SEATS))
    low, high = 2.0 * np.maximum(rng.random((2, N_SEATS)), 1e-3)
    truth = true_chance(np.where(sigma > 0.3, 0.2, sigma), low, high)
    return (traffic * rules.n_opportunities).astype(np.int64), mean, deviation * mean, truth


def _round_one(rng: np.random.Generator, spread: float, shape: int | tuple[int, int]) -> Floats:
    return rng.uniform(1.0 - spread, 1.0 + spread, shape)


def _within(ratio: Floats) -> Floats:
    return np.where(ratio < 0.0, 0.1, np.minimum(ratio, 1.0))


def draw_values(rng: np.random.Generator, n: int, mean: Floats, sd: Floats) -> NDArray[np.float32]:
    """Draw (n, n_seats) predicted chances of a conversion, >= 0, from (n_seats,) means and deviations."""
    value = rng.standard_normal((n, N_SEATS), np.float32)
    value *= sd.astype(np.float32)
    value += mean.astype(np.float32)
    return np.clip(value, 0.0, 1.0, out=value)
