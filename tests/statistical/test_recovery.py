"""The parameters that a market file states are those its world lives by: the truth log gives them back.

One world of 20,000 people lives five weeks, in which they search twice as often as stated. Twice a week
goodwill and stages are drawn anew for everybody, as in an experiment, so that rare conditions (much goodwill,
people in INTENT) are common enough for sharp estimates; chances given those conditions are the world's own.
Bounds are four standard errors, and each group's standard error is small enough that an error of the size in
the test's name would be seen.
"""

from pathlib import Path

import numpy as np
import pytest

from gaelp.core.words import EMAIL_LINE, Stage
from gaelp.market.file import load
from gaelp.market.market import Market, World
from gaelp.market.parameters import AXES, FEEDS, STEPS
from gaelp.market.state import empty_controls
from gaelp.market.truth import Recovered, recover, rows

pytestmark = [pytest.mark.statistical, pytest.mark.xdist_group("recovery")]

FILE = Path(__file__).parents[2] / "markets" / "family_safety.toml"
SLOTS, QUERIES, ARMS = AXES["slot"], AXES["query"], AXES["arm"]


@pytest.fixture(scope="module")
def market() -> Market:
    file = load(FILE)
    more_searches = 2.0 * file.parameters["search_per_day"].value  # they are rare, and tell the most
    file = file.with_values({"search_per_day": more_searches})
    days = 35
    market = Market([World(file, 20)], n_people=20_000, truth_rows=120_000 * days)
    controls = empty_controls(1, 1)
    controls.bid[0, 0, :EMAIL_LINE] = 1.5 * np.repeat(file.parameters["price_level"].value, 2)
    controls.bid[0, 0, EMAIL_LINE] = 10.0 * file.parameters["mail_cost_usd"].value
    generator = np.random.default_rng(20)
    people, goodwill = market.pop.people[0], market.pop.goodwill[0]
    for hour in range(24 * days):
        if hour % 84 == 0:
            goodwill[:] = generator.normal(0.5, 1.5, goodwill.shape)
            open_stage = people["stage"] <= Stage.INTENT
            drawn = generator.choice(4, people.size, p=[0.3, 0.2, 0.4, 0.1])
            people["stage"] = np.where(open_stage, drawn, people["stage"])
        market.advance(controls)
    assert market.books.n_truth[0] < market.books.truth.shape[1]  # the log did not run full
    return market


@pytest.fixture(scope="module")
def found(market: Market) -> dict[str, Recovered]:
    found = recover(market)
    for name, r in found.items():
        print(f"{name:38} {r.estimate:10.5f} ± {r.se:8.5f}  stated {r.stated:10.5f}  z {r.z:+.2f}")
    return found


def assert_recovered(
    found: dict[str, Recovered], names: list[str], *, relative: float = 0.0, absolute: float = 0.0
) -> None:
    """Every name is there, within 4 standard errors, and its standard error is small enough to mean it."""
    missing = [name for name in names if name not in found]
    assert not missing
    far = {name: found[name] for name in names if abs(found[name].z) >= 4.0}
    assert not far
    vague = {n: found[n] for n in names if found[n].se > absolute + relative * abs(found[n].stated)}
    assert not vague


def test_click_chance_by_search_slot_is_recovered_to_a_third(found):
    assert_recovered(found, [f"position.{slot}" for slot in SLOTS[1:]], relative=0.08)


def test_click_chance_by_query_is_recovered_to_a_third(found):
    assert_recovered(found, [f"search_click.{query}" for query in QUERIES], relative=0.08)


def test_fatigue_exponent_is_recovered_to_a_tenth(found):
    assert_recovered(found, ["fatigue_exponent"], absolute=0.025)


def test_click_odds_of_the_feeds_are_recovered_to_a_third(found):
    assert_recovered(found, [f"feed_click_odds.{feed}" for feed in FEEDS], relative=0.08)
    assert_recovered(found, ["engaged_click", "rival_fatigue"], relative=0.04)


@pytest.mark.parametrize("step", STEPS)
def test_stage_hazards_are_recovered_to_50_percent(found, step):
    assert_recovered(found, [f"stage_up_view.{step}"], relative=0.12)
    assert_recovered(found, [f"stage_up_search.{step}"], relative=0.1)
    assert_recovered(found, [f"stage_up_visit.{step}"], relative=0.04)


def test_chance_of_a_purchase_is_recovered_to_a_quarter(found):
    assert_recovered(found, ["buy_rate", "buy_visit"], relative=0.035)
    assert_recovered(found, ["buy_early"], relative=0.06)


def test_goodwill_moves_the_brand_choice_one_for_one_after_saturation(found):
    assert_recovered(found, ["goodwill_effect"], absolute=0.04)


def test_brand_priors_are_recovered_to_a_fifth_of_a_logit(found, market):
    file = market.worlds[0].file
    names = [file.advertiser, *(rival.name for rival in file.rivals)]
    assert_recovered(found, [f"brand_prior.{name}" for name in names], absolute=0.05)


def test_shares_and_means_of_the_lag_arms_are_recovered(found):
    assert_recovered(found, [f"lag_share.{arm}" for arm in ARMS], absolute=0.02)
    assert_recovered(found, [f"lag_mean_hours.{arm}" for arm in ARMS], relative=0.06)


def test_a_wrong_statement_would_be_noticed(found):
    """The net has no holes: a parameter that was 60 % off would be outside its bounds."""
    loose = [
        name
        for name, r in found.items()
        if not name.startswith("brand_prior") and abs(r.estimate - 1.6 * r.stated) <= 4.0 * r.se
    ]
    assert not loose


def test_rows_of_a_choice_hold_exactly_one_chosen_brand(market):
    choices = rows(market, "choice")
    n_options = market.pop.goodwill.shape[2] + 1
    whole = choices[: choices.size // n_options * n_options].reshape(-1, n_options)
    assert (whole["brand"] == np.arange(-1, n_options - 1)).all()
    assert (whole["outcome"].sum(axis=1) == 1).all()


def test_a_log_without_room_tells_nothing(market):
    quiet = Market(list(market.worlds), n_people=10)
    assert recover(quiet) == {}
