"""The direction of each famous finding, at the sizes that `gaelp replicate` takes by itself.

Run with `pytest -s -m study tests/study/test_replications.py`; about three minutes each on two cores.
"""

import pytest

from gaelp.core.words import PAID_CHANNELS
from gaelp.evaluation.replications.findings import FINDINGS, replicate
from gaelp.evaluation.suites import NamedPolicy
from gaelp.evaluation.task_flights import Terms
from gaelp.market.file import load
from gaelp.worlds.executors import make_executor
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.warmed import default_cache

pytestmark = pytest.mark.study
MARKET = "markets/family_safety.toml"


def figures(name):
    finding, file = FINDINGS[name], load(MARKET)
    terms = Terms(
        n_people=finding.users,
        days=finding.days,
        runoff_days=finding.runoff_days,
        cache=default_cache(),
    )
    with make_executor("processes") as executor:
        said = replicate(
            name,
            split_worlds(file, "validation", finding.worlds),
            NamedPolicy("pacing", MARKET),
            terms,
            executor=executor,
        )
    for row in said.rows:
        print(
            f"\n{row.name}: " + "; ".join(f"{column} {row.written(column)}" for column in row.cells), end=""
        )
    print("\n" + "\n".join([*said.found, *said.differs]))
    return {row.key: row.cells for row in said.rows}


@pytest.mark.timeout(1800)
def test_most_of_what_own_brand_ads_are_credited_with_comes_anyway():
    """eBay: clicks come back organically, and a sale that ads cause costs many times one that they claim."""
    found = figures("brand-search")
    brand = {key: cells["own-brand search"] for key, cells in found.items()}
    assert brand["clicks_back_share"].low > 0.5
    assert brand["sales_anyway_share"].low > 0.8
    cost = brand["incremental_cac_usd"]
    assert cost.low > 5 * brand["attributed_cac_usd"].high
    assert cost.mean > found["incremental_cac_usd"]["whole account"].high


@pytest.mark.timeout(1800)
def test_observational_estimates_find_far_more_lift_than_there_is():
    """Gordon et al.: of search both estimates lie above the truth; tests' intervals hold it."""
    found = figures("observational")
    truth = found["lift_truth_share"]["search"]
    assert found["lift_raw_share"]["search"].low > truth.high
    assert found["error_raw_points"]["search"].low > 0
    assert found["error_adjusted_points"]["search"].low > 0
    inside = [
        found["error_test_points"][channel.name.lower()]
        for channel in PAID_CHANNELS
        if channel.name.lower() in found["error_test_points"]
    ]
    assert sum(error.low <= 0 <= error.high for error in inside) >= len(inside) - 1


@pytest.mark.timeout(1800)
def test_social_ads_bring_searches_and_visits_and_position_gives_them_too_little():
    """DASS: an upper channel acts through later visits and searches; position-based credit misses it."""
    found = figures("upstream")
    social = {key: cells["social"] for key, cells in found.items()}
    for key in ("brand_searches_share", "direct_visits_share", "organic_visits_share"):
        assert social[key].low > 0, key
    assert social["caused_sales"].low > 0
    assert social["via_searched_share"].low > 0.25
    # position-based credit starves what acts upstream; last click favours what stands at the end
    search = {key: cells["search"] for key, cells in found.items() if "search" in cells}
    assert social["share_position_share"].high < social["share_caused_share"].low
    assert search["share_last_click_share"].low > search["share_caused_share"].high


@pytest.mark.timeout(1800)
def test_a_test_of_one_account_is_wider_than_what_ads_return():
    """Lewis and Rao: this account's interval is wider than the effect; millions of people would be needed."""
    found = figures("power")
    account = {key: cells["whole account"] for key, cells in found.items()}
    assert account["interval_points"].mean > 100
    assert account["exclude_zero_people"].mean > 80_000
    assert account["wanted_people"].mean > 10_000_000
    assert 0.7 < account["spread_ratio"].mean < 1.4
