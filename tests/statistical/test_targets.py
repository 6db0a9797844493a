"""Emergent statistics of the reference market lie in their bands; the other markets run and differ."""

import pytest

from gaelp.evaluation.describe import checks, statistics
from gaelp.market.file import load
from gaelp.worlds.flight import fly, make_market, run_off, warm_up
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.tuned import tuned_for

# noisy in a few small worlds: judged by `make study` on many large ones
NOISY = {"lift_share"}


def flown(path, n_worlds, n_people):
    file = load(path)
    market = make_market(plain_worlds(file, n_worlds, seed=3), n_people)
    traffic = warm_up(market)
    twin = market.copy()
    run_off(twin, 90)
    tuned = tuned_for(file)
    flight = fly(market, tuned.pacing(), days=30, traffic=traffic, tuned=tuned, keep_bids=False)
    run_off(flight.market, 60)
    return flight, twin


def test_every_target_of_the_reference_market_holds():
    flight, twin = flown("markets/family_safety.toml", 8, 10_000)
    missed = {}
    for check in checks(flight, twin, 60):
        print(f"{check.name:32s} {check.value} in {check.low}..{check.high}  {check.source}")
        if not check.ok and check.name not in NOISY:
            missed[check.name] = (check.value, check.low, check.high)
    assert not missed


@pytest.mark.parametrize("name", ["impulse", "b2b_lead"])
def test_the_other_markets_run_and_are_what_they_say(name):
    flight, twin = flown(f"markets/{name}.toml", 2, 5_000)
    found = statistics(flight, twin, 60)
    if name == "impulse":
        assert found["lag_within_24h"] > 0.75
        assert found["mean_ltv_usd"] < 60
    else:
        assert found["lag_beyond_30d"] > 0.2
        assert found["mean_ltv_usd"] > 1_000
    assert found["organic_sales_per_10k_month"] > 0
