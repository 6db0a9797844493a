"""Looks count what was won, ablations leave out what they say, calibration recovers a planted slope."""

from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, N_LINES, SOCIAL_LINE
from gaelp.evaluation import understanding_page
from gaelp.evaluation.looks import EVERY_HOURS, Looks
from gaelp.evaluation.suites import NamedPolicy
from gaelp.evaluation.understanding import (
    WITHOUT,
    LineValue,
    Seen,
    _calibration,
    parts_of,
    understand,
)
from gaelp.evaluation.worth import Valued
from gaelp.market.file import load
from gaelp.market.state import CLICKS, IMPRESSIONS, SPEND
from gaelp.worlds.flight import fly, make_market, run_off
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import tuned_for

MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"
FILE = load(MARKET)
PAGES = np.zeros(N_LINES, np.int64)


class OneDollar:
    """A valuer for whom every auction is worth a dollar, so that worth counts what was won."""

    def __init__(self, market):
        self.market = market

    def value(self):
        found = self.market.opportunities()
        return Valued(found, np.ones(found.size), np.zeros(found.size))


def test_what_was_won_is_counted_once_and_beside_its_price():
    """Second count: the account's own report before and after each hour looked at."""
    market = make_market(split_worlds(FILE, "validation", 2), 3_000)
    looks = Looks(market, PAGES, PAGES)
    looks._own = looks._agents = OneDollar(market)
    start, hours = market.hour, 24 * 6
    won, paid = np.zeros((2, N_LINES)), np.zeros((2, N_LINES))
    before = None

    def passed(_):
        nonlocal before, won, paid
        now = market.books.report[:, 0].copy()
        if before is not None:
            field = np.where(np.arange(N_LINES) < SOCIAL_LINE, CLICKS, IMPRESSIONS)
            won += np.take_along_axis(now - before, field[None, :, None], axis=2)[..., 0]
            paid += (now - before)[..., SPEND] / 1e6
        going_on = market.hour < start + hours
        before = now if going_on and market.hour % EVERY_HOURS == 0 else None
        looks.hour(going_on)

    tuned = tuned_for(FILE)
    fly(market, tuned.target_cpa(), days=6, traffic=None, tuned=tuned, tick=passed, keep_bids=False)
    assert looks.n_looks == 28
    won[:, EMAIL_LINE] = 0.0
    assert won.sum() > 500 and won[:, :SOCIAL_LINE].sum() > 0
    assert np.array_equal(looks.worth_usd, won)
    assert np.allclose(looks.paid_usd, paid)
    assert looks.auctions_usd.sum() == looks.n_auctions.sum() > looks.worth_usd.sum()


def test_looking_changes_nothing_in_a_flight():
    tuned = tuned_for(FILE)

    def spent(look):
        market = make_market(split_worlds(FILE, "validation", 1), 1_000)
        looks = Looks(market, PAGES, PAGES) if look else None
        fly(
            market,
            tuned.pacing(),
            days=2,
            traffic=None,
            tuned=tuned,
            keep_bids=False,
            tick=lambda _: looks.hour(True) if looks else None,
        )
        run_off(market, 2)
        return market.books.expected.copy(), market.books.report.copy()

    assert all(np.array_equal(a, b) for a, b in zip(spent(True), spent(False), strict=True))


def test_ablations_leave_out_what_they_say():
    held = parts_of("value", FILE)
    made = {
        name: NamedPolicy("value", str(MARKET), held._replace(**empty))() for name, empty in WITHOUT.items()
    }
    full = NamedPolicy("value", str(MARKET), held)()
    assert made["without landing pages"].landing == {} and full.landing
    assert made["without landing pages"].line_multiplier == full.line_multiplier
    assert made["without line factors"].line_multiplier == {}
    assert made["default step and aim"].spend_share == 1.0 != full.spend_share
    plain = tuned_for(FILE).value()
    assert vars(made["nothing learnt"]) == vars(plain)


@pytest.mark.parametrize("name", ["pacing", "static_lines"])
def test_only_value_has_such_parts(name):
    with pytest.raises(BadInput, match="must be value"):
        parts_of(name, FILE)


def test_calibration_recovers_a_planted_slope():
    rng = np.random.default_rng(2)
    learnt = np.exp(rng.normal(0.0, 1.0, N_LINES))
    unit = np.where(np.arange(N_LINES) < SOCIAL_LINE, 1.0, 1000.0)
    count = np.full((8, N_LINES), 50.0)
    each = 2.0 * learnt**0.5 * np.exp(0.01 * rng.standard_normal((8, N_LINES))) / unit
    nothing = np.zeros((8, N_LINES))
    seen = Seen(
        np.ones(8), np.ones(8), np.zeros((8, N_LINES, 168)), nothing, nothing, count * each, count, 5.0
    )
    names = [line.line for line in _calibration({}, {"target_cpa": seen, "value": seen}, 0)[0]]
    values, slope, explained = _calibration(
        dict(zip(names, learnt, strict=False)), {"target_cpa": seen, "value": seen}, 0
    )
    assert isinstance(values[0], LineValue)
    assert slope.low < 0.5 < slope.high and slope.high - slope.low < 0.02 and explained > 0.99
    assert values[0].true_usd.mean == pytest.approx(2.0 * learnt[0] ** 0.5, rel=0.02)


def test_a_small_understanding_adds_up_and_is_shown():
    worlds = split_worlds(FILE, "validation", 2)
    found = understand(FILE, "value", worlds, n_people=500, days=5, runoff_days=3)
    assert list(found.seen) == ["value", "pacing", "target_cpa"]
    for policy, seen in found.seen.items():
        assert found.share(policy).sum() == pytest.approx(1.0)
        assert seen.profit_usd == pytest.approx(seen.sales_usd - seen.spend_usd.sum(axis=(1, 2)))
    assert found.more_spend("pacing").sum() == pytest.approx(0.0, abs=1e-9)
    assert found.more_spend("pacing", by_day=True).shape == (N_LINES, 7)
    assert found.more_spend("pacing").sum(axis=1) == pytest.approx(
        found.share("value") - found.share("pacing")
    )
    assert set(WITHOUT) < set(found.ablations)
    page = understanding_page.render({"title": "Understanding"}, found, "2 worlds")
    assert "heatmap" in page and "without landing pages" in page and "No data" not in page
    assert understanding_page.lines_table(found).row_count == N_LINES
