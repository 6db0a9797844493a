"""Emergent statistics of simulated worlds, each beside its target and the target's source."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import LINES, Channel
from gaelp.market.market import Market
from gaelp.market.parameters import AUCTIONS
from gaelp.market.state import AUCTION_OF_LINE, IMPRESSIONS, PRICE_BINS, PRICE_STEP
from gaelp.market.tables import display_price_quantiles, hour_of_week
from gaelp.worlds.flight import Flight
from gaelp.worlds.simulate import campaign_decisions
from gaelp.worlds.twins import sales_of

Floats = NDArray[np.float64]
_AUCTION = np.array(AUCTION_OF_LINE)
DISPLAY_PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Check:
    """One statistic against its target band."""

    name: str
    value: float | None
    low: float
    high: float
    unit: str
    source: str

    @property
    def ok(self) -> bool:
        """The value lies in the band."""
        return self.value is not None and self.low <= self.value <= self.high


def price_quantiles(prices: NDArray[np.int64], lines: NDArray[np.bool_], at: Floats) -> Floats | None:
    """Quantiles of paid prices over some lines of one auction kind, linear inside a bin.

    Args:
        prices: (n_worlds, n_lines, bins) histogram. lines: (n_lines,) which. at: probabilities.

    Returns:
        Prices in the auction's unit, or None where nothing was sold.
    """
    counts = prices[:, lines].sum(axis=(0, 1)).astype(float)
    if counts.sum() == 0:
        return None
    step = PRICE_STEP[int(_AUCTION[lines][0])]
    mass = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    edges = np.arange(PRICE_BINS + 1) * step
    return np.interp(at, mass, edges)


def median_prices(prices: NDArray[np.int64]) -> dict[str, float]:
    """Median paid price per line, for lines that sold anything."""
    found = {}
    for i, line in enumerate(LINES):
        if line.channel is Channel.EMAIL:
            continue
        only = np.arange(len(LINES)) == i
        quantile = price_quantiles(prices, only, np.array([0.5]))
        if quantile is not None:
            found[line.name] = float(quantile[0])
    return found


def market_prices(flight: Flight, twin: Market | None) -> NDArray[np.int64]:
    """Histogram of what others pay: of the twin where there is one, else of the flight itself.

    Where our own first-price bid wins, the price is our bid and says nothing of the market.
    """
    if twin is None:
        return flight.prices
    return twin.books.prices - flight.prices_before


def statistics(flight: Flight, twin: Market | None, runoff_days: int) -> dict[str, float]:
    """Everything the market's `[targets]` may name, from one flight and its twin; pooled over worlds."""
    market = flight.market
    people = market.n_worlds * market.n_people
    months = flight.hours / 24.0 / 30.0
    end = flight.start + flight.hours
    report = flight.report.sum(axis=0).astype(float)
    found: dict[str, float] = {}
    prices = market_prices(flight, twin)
    for a, kind in enumerate(AUCTIONS):
        quantile = price_quantiles(prices, _AUCTION == a, np.array(DISPLAY_PROBABILITIES))
        if quantile is None:
            continue
        found[f"{kind}_price_median"] = float(quantile[2])
        if kind == "display":
            for p, q in zip(DISPLAY_PROBABILITIES, quantile / quantile[2], strict=True):
                if p != 0.5:
                    found[f"display_price_q{round(100 * p):02d}"] = float(q)
    shown = flight.ads.sum(axis=0).astype(float)  # all bidders, so that our choice of lines does not matter
    for a, kind in enumerate(AUCTIONS):
        if shown[a, 0] > 0:
            found[f"{kind}_ctr"] = shown[a, 1] / shown[a, 0]
    found["opportunities_per_person_day"] = flight.opportunities.sum() / people / (flight.hours / 24.0)
    found["impressions_per_person_month"] = report[:, IMPRESSIONS].sum() / people / months
    found["hour_of_week_distance"] = hour_distance(flight)
    horizon = end + runoff_days * 24
    made = campaign_decisions(flight)
    if made.size:
        lag = made["book_hour"] - made["hour"]
        found["lag_within_1h"] = float((lag < 1).mean())
        found["lag_within_24h"] = float((lag < 24).mean())
        found["lag_beyond_30d"] = float((lag >= 720).mean())
        found["touchpoints_per_buyer"] = float(made["n_touches"].mean())
        found["journey_days"] = float(made["journey_hours"].mean() / 24.0)
        found["mean_ltv_usd"] = float(made["value_micros"].mean() / 1e6)
        found["attributed_share"] = float((made["line"] < len(LINES)).mean())
    if twin is not None:
        ours = sales_of(market, flight.start, end, horizon).decisions.sum()
        theirs = sales_of(twin, flight.start, end, horizon).decisions.sum()
        in_campaign = sales_of(twin, flight.start, end, end).decisions.sum()
        found["organic_sales_per_10k_month"] = in_campaign / people * 1e4 / months
        if in_campaign > 0:
            found["lift_share"] = (ours - theirs) / in_campaign
    return found


def hour_distance(flight: Flight) -> float:
    """Total-variation distance between simulated and measured hour-of-week shares of opportunities."""
    start = int(flight.market.rules["start_hour_of_week"][0]) + flight.start
    hour = (start + np.arange(flight.hours)) % 168
    weeks = flight.hours // 168
    if weeks == 0:
        return float("nan")
    seen = np.bincount(
        hour[: weeks * 168], weights=flight.opportunities.sum(axis=0)[: weeks * 168], minlength=168
    )
    measured = hour_of_week()
    return float(0.5 * np.abs(seen / seen.sum() - measured / measured.sum()).sum())


def checks(flight: Flight, twin: Market | None, runoff_days: int) -> list[Check]:
    """Every target of the market file with the value the worlds produced."""
    found = statistics(flight, twin, runoff_days)
    targets = flight.market.worlds[0].file.targets
    return [
        Check(name, found.get(name), target.low, target.high, target.unit, target.source)
        for name, target in targets.items()
    ]


def measured_display_quantiles(at: Floats) -> Floats:
    """Price quantiles of iPinYou relative to their median, at the probabilities `at`."""
    probability, price = display_price_quantiles()
    relative: Floats = np.interp(at, probability, price) / np.interp(0.5, probability, price)
    return relative
