"""Journey features of simulated worlds: blind to truth, read from views, and compared with what is true."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from gaelp.agents.baselines import PacingPolicy
from gaelp.core.words import LINES
from gaelp.market.file import load
from gaelp.observation.journey import JOURNEY_FEATURES, account_features, journey_features
from gaelp.observation.journey_inputs import account_hours, seen_by_person
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.visible import event_rows, life_of

MARKET = "markets/family_safety.toml"
AT = JOURNEY_FEATURES.index


class Watcher(PacingPolicy):
    """Pacing that keeps what it was shown."""

    def start(self, brief):
        super().start(brief)
        self.views, self.brief = [], brief

    def act(self, view):
        self.views.append(view)
        return super().act(view)


N_PEOPLE, WARM, DAYS = 14_000, 40, 5


@pytest.fixture(scope="module")
def flown():
    worlds = plain_worlds(load(MARKET), 2, 21)
    market = make_market(worlds, N_PEOPLE, event_rows=event_rows(N_PEOPLE, WARM + DAYS))
    traffic = warm_up(market, WARM)
    watcher = Watcher()
    flight = fly(market, watcher, days=DAYS, traffic=traffic)
    return flight, watcher, traffic


def sight_of(market):
    sight = Sight(market.worlds[0].file.visibility)
    told = np.zeros((market.n_worlds, 8, 6), bool)
    for kind, event in enumerate(("impression", "click", "visit", None, "impression", "conversion")):
        if event:
            told[:, :, kind] = sight.by_user[event]
    return sight, told


def observed(market, world, account):
    """Everybody whom the account knows at the worlds' present hour: rows, and whose life each is."""
    sight, told = sight_of(market)
    seen = seen_events(market, world, 0, sight, market.hour)
    key = np.where(seen["login"] > 0, seen["login"], seen["visitor"])
    known, person = np.unique(key, return_inverse=True)
    stranger = int(known[0] == 0)
    person, n_people = person - stranger, known.size - stranger
    columns = {name: seen[name] for name in ("hour", "shown", "kind", "channel", "line", "device")}
    events = seen_by_person(person=person, n_people=n_people, login=seen["login"] > 0, told=told, **columns)
    who = np.arange(n_people)
    rows = journey_features(
        events, account, market.hour, who, np.full(n_people, world), np.full(n_people, float(market.hour))
    )
    return rows, seen, person


def present():
    return np.full((2, 1, 14), 0.5)


def test_truth_that_changes_under_the_same_log_changes_nothing(flown):
    market = flown[0].market.copy()
    before = [observed(market, w, present())[0] for w in range(2)]
    draw = np.random.default_rng(1)
    people = market.pop.people
    for name in ("need", "urgency", "activity", "attention", "price_sensitivity", "ln_need"):
        people[name] = draw.permuted(people[name], axis=1)
    people["stage"] = draw.integers(0, 6, people["stage"].shape)
    people["segment"] = draw.integers(0, 4, people["segment"].shape)
    people["affinity"] = draw.random(people["affinity"].shape)
    people["touches"] = 0
    market.pop.goodwill[:] = draw.random(market.pop.goodwill.shape)
    market.pop.memory["views"] = draw.random(market.pop.memory["views"].shape)
    market.rivals.bid[:] = draw.random(market.rivals.bid.shape)
    market.books.events["person"] = 7
    for name, value in (("person", 7), ("hour", 0), ("segment", 3), ("journey_hours", 0), ("n_touches", 9)):
        market.books.decisions[name] = value
    for w in range(2):
        np.testing.assert_array_equal(observed(market, w, present())[0], before[w])
    assert np.nanstd(before[0][:, AT("user.urgency")]) > 0


def test_an_account_is_read_from_its_views(flown):
    flight, watcher, traffic = flown
    hours = len(watcher.views)
    sight, _ = sight_of(flight.market)
    by_click = np.array([line.bid_unit == "click" for line in LINES])
    channel = np.array([int(line.channel) for line in LINES])
    delay = np.where(by_click, sight.delay["click"][channel], sight.delay["impression"][channel])
    budget = flight.daily_budget_usd
    account = account_hours(
        watcher.views,
        bids_usd=flight.bid,
        delay_hours=delay,
        month_gone=np.arange(hours) / 730,
        monthly_budget_usd=30.4 * budget,
        traffic=traffic,
        value_usd=watcher.brief.ltv_usd,
        sold_week=np.full((2, hours), 3.0),
    )
    rows = account_features(account)
    assert rows.shape == (2, hours, 14)

    def column(name):
        return rows[:, :, AT(name) - 27]

    spent = flight.spend_micros.sum(axis=2) / 1e6
    for h in (30, 71, 100):
        np.testing.assert_allclose(
            column("budget.daily_left")[:, h], 1 - spent[:, h - h % 24 : h].sum(axis=1) / budget
        )
        earned = 4 * watcher.brief.ltv_usd / (spent[:, :h].sum(axis=1) + watcher.brief.ltv_usd)
        np.testing.assert_allclose(column("budget.roi")[:, h], np.log(earned))
    # a second price is below the bid, or at it where rivals stand right there
    last = column("market.rival_aggression")[:, 48:]
    assert np.isfinite(last).all()
    assert ((last <= 1e-9) & (last > -3)).all()
    assert np.isfinite(column("market.cpc_trend")[:, 48:]).all()
    share = column("market.impression_share")[:, 48:]
    assert ((share > 0) & (share <= 1)).all()


def latent_pairs(market):
    """(name, inferred, latent) over the people whom the account knows, one row a life, lives that go on."""
    parts = {}
    for w in range(market.n_worlds):
        rows, seen, person = observed(market, w, present())
        life = np.full(len(rows), -1)
        life[person[person >= 0]] = life_of(market, w, 0, seen)[person >= 0]
        _, first = np.unique(life, return_index=True)
        first = first[life[first] >= 0]
        who, generation = np.divmod(life[first], 65536)
        people, memory = market.pop.people[w][who], market.pop.memory[w][who, 0]
        goes_on = people["generation"] == generation
        rows, people, memory = rows[first][goes_on], people[goes_on], memory[goes_on]
        segment = rows[:, AT("user.segment")]
        sensitivity = market.rules["price_sensitivity"][w][people["segment"]] * people["price_sensitivity"]
        for name, inferred, latent in (
            ("fatigue", rows[:, AT("user.fatigue")], memory["views"].sum(axis=1)),
            ("price_sensitivity", rows[:, AT("user.price_sensitivity")], sensitivity),
            ("urgency", rows[:, AT("user.urgency")], people["urgency"]),
            ("segment: urgent, crisis_parent", segment == 1, people["segment"] == 0),
            ("segment: comparing, researcher", segment == 2, people["segment"] == 2),
            ("segment: passive, price_conscious", segment == 4, people["segment"] == 3),
        ):
            parts.setdefault(name, []).append((inferred, latent))
    return {name: tuple(np.concatenate(each) for each in zip(*p, strict=True)) for name, p in parts.items()}


@pytest.mark.statistical
def test_inferred_figures_follow_their_latent_counterparts(flown):
    """Rank correlations; 1 / sqrt(n - 1) is their standard error where there is none.

    Urgent and comparing are printed, not asserted: they tell what people did, nothing of who they are.
    """
    z = {}
    for name, (inferred, latent) in latent_pairs(flown[0].market).items():
        known = np.isfinite(inferred.astype(float))
        r = spearmanr(inferred[known], latent[known])[0]
        z[name] = r * math.sqrt(known.sum() - 1)
        print(f"{name}: {r:+.3f}, {z[name]:.1f} standard errors, {known.sum():,} people")
    for name in ("fatigue", "price_sensitivity", "urgency", "segment: passive, price_conscious"):
        assert z[name] > 4, name
