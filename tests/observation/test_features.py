"""Feature tables refuse strangers by name; campaign features are bounded and see the account alone."""

from dataclasses import fields

import numpy as np
import pytest

from gaelp.agents.baselines import PacingPolicy
from gaelp.core.errors import MismatchError
from gaelp.core.words import LINES, N_LINES
from gaelp.market.file import load
from gaelp.observation.campaign import CAMPAIGN_FEATURES, FEATURE_LIMIT, CampaignObserver
from gaelp.observation.features import Feature, FeatureTable
from gaelp.observation.view import View
from gaelp.platforms.reporting import Reporting, Sight
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import fly, make_market, panel_budget, reference_prices, run_off
from gaelp.worlds.splits import plain_worlds

MARKET = "markets/family_safety.toml"
DAYS = 4


def table(*names, note=""):
    return FeatureTable("toy", tuple(Feature(name, "log", note, "own") for name in names))


def test_a_table_knows_its_columns_and_its_version():
    a = table("spend", "clicks")
    assert a.names == ("spend", "clicks")
    assert a.index("clicks") == 1
    assert a.version == table("spend", "clicks").version
    assert a.version != table("clicks", "spend").version
    assert a.version != table("spend", "clicks", note="log1p").version
    a.require(a.version, a.names)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (table("spend"), "without clicks"),
        (table("spend", "clicks", "wins"), "with wins"),
        (table("spend", "visits"), "without clicks and with visits"),
        (table("clicks", "spend"), "another order from spend"),
        (table("spend", "clicks", note="log1p"), "normalisations"),
    ],
)
def test_a_mismatch_names_the_features(other, told):
    with pytest.raises(MismatchError, match=told):
        table("spend", "clicks").require(other.version, other.names)


def test_campaign_features_are_named_once_and_say_where_they_come_from():
    assert len(set(CAMPAIGN_FEATURES.names)) == len(CAMPAIGN_FEATURES) == 15 + 8 * N_LINES
    assert all(f.unit and f.normalisation and f.source for f in CAMPAIGN_FEATURES.features)


class Watcher(PacingPolicy):
    """Pacing that keeps what it was shown."""

    def start(self, brief):
        super().start(brief)
        self.views = []

    def act(self, view):
        self.views.append(view)
        return super().act(view)


@pytest.fixture(scope="module")
def flown():
    market = make_market(plain_worlds(load(MARKET), 3, 8), 1_500)
    run_off(market, 20)
    start = market.copy()
    policy = Watcher()
    flight = fly(market, policy, days=DAYS, traffic=None)
    return start, policy.views, flight


def observer(market, n_worlds=3):
    return CampaignObserver(
        n_worlds=n_worlds,
        daily_budget_usd=panel_budget(market, None)[:n_worlds],
        reference_price_usd=reference_prices(market),
        traffic=np.ones((n_worlds, 168)),
        cac_target_usd=100.0,
        hours=DAYS * 24,
    )


def test_rows_are_finite_bounded_and_of_one_world_each(flown):
    start, views, _ = flown
    whole = observer(start)
    rows = np.stack([whole.observe(view) for view in views])
    assert rows.shape == (DAYS * 24, 3, len(CAMPAIGN_FEATURES))
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert (np.abs(rows) <= FEATURE_LIMIT).all()
    # a world's row does not depend on its neighbours
    alone = observer(start, 1)
    for h, view in enumerate(views):
        one = {f.name: getattr(view, f.name) for f in fields(View)}
        one = {k: v[:1] if isinstance(v, np.ndarray) else v for k, v in one.items()}
        np.testing.assert_array_equal(alone.observe(View(**one))[0], rows[h, 0])


def test_spend_features_are_the_accounts_arithmetic(flown):
    start, views, flight = flown
    whole = observer(start)
    rows = np.stack([whole.observe(view) for view in views])
    budget = flight.daily_budget_usd[0]
    for h in (5, 30, 71):
        today = flight.spend_micros[0, h - h % 24 : h].sum() / 1e6 / budget
        gone = (h % 24) / 24.0
        assert rows[h, 0, CAMPAIGN_FEATURES.index("spent_today")] == pytest.approx(today, abs=1e-6)
        assert rows[h, 0, CAMPAIGN_FEATURES.index("ahead_today")] == pytest.approx(today - gone, abs=1e-6)
        faded = np.zeros(N_LINES)
        for k in range(h):
            faded = faded * 0.5 ** (1 / 24) + flight.spend_micros[0, k] / 1e6
        at = CAMPAIGN_FEATURES.index(f"{LINES[0].name}.spend_share")
        assert rows[h, 0, at] == pytest.approx(faded[0] / faded.sum(), rel=1e-4)


def test_the_same_visible_history_gives_the_same_features_whatever_is_true(flown):
    """Latent state is scrambled under a frozen visible log; reports and features do not move."""
    start, _, flight = flown
    sight = Sight(load(MARKET).visibility)
    told = []
    for scramble in (False, True):
        market = start.copy()
        if scramble:
            draw = np.random.default_rng(1)
            people = market.pop.people
            for name in ("need", "urgency", "activity", "attention", "price_sensitivity", "ln_need"):
                people[name] = draw.permuted(people[name], axis=1)
            people["stage"] = draw.integers(0, 6, people["stage"].shape)
            people["segment"] = draw.integers(0, 4, people["segment"].shape)
            people["affinity"] = draw.random(people["affinity"].shape)
            market.pop.goodwill[:] = draw.random(market.pop.goodwill.shape)
            market.rivals.bid[:] = draw.random(market.rivals.bid.shape)
            market.rivals.multiplier[:] = draw.random(market.rivals.multiplier.shape)
            market.books.expected[:] = draw.random(market.books.expected.shape)
            market.books.sales[:] = draw.integers(0, 99, market.books.sales.shape)
        reporting = Reporting(market, seat=0, hours=DAYS * 24, sight=sight)
        watcher = observer(start)
        rows = []
        # the visible log of the flight is written into the books hour by hour
        twin = start.copy()
        platform = SimulatedPlatform(twin)
        platform.open(hours=DAYS * 24)
        for h in range(48):
            platform.apply(flight.approved[h])
            platform.advance()
            market.hour = twin.hour
            for name in ("report", "visits", "geo", "n_decisions"):
                getattr(market.books, name)[:] = getattr(twin.books, name)
            visible = ("line", "click_hour", "book_hour", "brand")
            market.books = market.books._replace(decisions=np.zeros_like(twin.books.decisions))
            for name in visible:
                market.books.decisions[name] = twin.books.decisions[name]
            if scramble:
                market.books.decisions["person"] = 7
                market.books.decisions["hour"] = 0
                market.books.decisions["segment"] = 3
            # audience lists come from cookies and visits, which are visible; devices allow or forbid them
            market.pop.memory[:] = twin.pop.memory
            market.pop.people["devices"] = twin.pop.people["devices"]
            reporting.record()
            shown = reporting.shown()
            view = View(
                hour=h + 1,
                hours_left=DAYS * 24 - h - 1,
                hour_of_week=(h + 1) % 168,
                day_of_year=0,
                spend_today_usd=shown.spend_usd.sum(axis=1),
                spend_month_usd=shown.spend_usd.sum(axis=1),
                bid_usd=flight.approved[h].bid_usd,
                target_cpa_usd=flight.approved[h].target_cpa_usd,
                daily_budget_usd=flight.daily_budget_usd,
                **shown._asdict(),
            )
            rows.append(watcher.observe(view))
        told.append(np.stack(rows))
    np.testing.assert_array_equal(told[0], told[1])
    assert told[0].std() > 0
