"""What if: direct twins of a raise, another rival, another season, all paired with today."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.core.words import LINES, PAID_CHANNELS, Channel
from gaelp.evaluation.judge import Terms
from gaelp.evaluation.scenarios import (
    ENTRANT,
    Question,
    by_channel,
    explore,
    mean_rival,
    replay_raised,
    with_silent_rival,
    world_hours,
)
from gaelp.market.file import load
from gaelp.market.market import World
from gaelp.market.state import IMPRESSIONS, SPEND
from gaelp.worlds.flight import Flight, fly, make_market, run_off, warm_up
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import Tuned

MARKET = "markets/family_safety.toml"
CHANNEL = np.array([int(line.channel) for line in LINES])
SOCIAL = np.equal(CHANNEL, int(Channel.SOCIAL))
DAYS, RUNOFF = 5, 4


@pytest.fixture(scope="module")
def flown() -> tuple[Any, Flight]:
    market = make_market(split_worlds(load(MARKET), "validation", 2), 2000)
    warm_up(market)
    flight = fly(market.copy(), Tuned().fixed(), days=DAYS, traffic=None, tuned=Tuned())
    run_off(flight.market, RUNOFF)
    return market, flight


def spent(market: Any, twin: Any) -> np.ndarray:
    return twin.books.report[:, 0, :, SPEND] - market.books.report[:, 0, :, SPEND]


def test_a_raise_by_nothing_is_the_flight_bit_for_bit(flown: tuple[Any, Flight]) -> None:
    market, flight = flown
    twin = replay_raised(market, flight, SOCIAL, 1.0, runoff_days=RUNOFF)
    for (name, a), (_, b) in zip(twin.arrays(), flight.market.arrays(), strict=True):
        if not name.startswith(("books.decisions", "rivals.report", "rivals.spent")):
            assert np.array_equal(a, b), name


def test_a_raise_costs_more_on_its_own_lines_and_starves_no_other(flown: tuple[Any, Flight]) -> None:
    market, flight = flown
    twin = replay_raised(market, flight, SOCIAL, 1.2, runoff_days=RUNOFF)
    more = (spent(market, twin) - flight.report[..., SPEND]).sum(axis=0)
    assert more[SOCIAL].sum() > 0.05 * flight.report[..., SPEND].sum(axis=0)[SOCIAL].sum()
    usual = flight.report[..., SPEND].sum()
    assert -0.02 * usual < more[~SOCIAL].sum() < 0.05 * usual  # one search click is 0.03
    shown = twin.books.report[:, 0, SOCIAL, IMPRESSIONS] - market.books.report[:, 0, SOCIAL, IMPRESSIONS]
    assert shown.sum() > flight.report[:, SOCIAL, IMPRESSIONS].sum()


def test_a_raise_wants_a_logged_flight_and_a_factor_of_at_least_one(flown: tuple[Any, Flight]) -> None:
    market, flight = flown
    with pytest.raises(BadInput, match=r"`factor` was 0.8; must be at least 1"):
        replay_raised(market, flight, SOCIAL, 0.8)
    with pytest.raises(BadInput, match="keep_bids=True"):
        replay_raised(market, replace(flight, approved=[]), SOCIAL, 1.2)


def test_every_channel_is_silenced_and_raised_but_email_has_a_fixed_price(flown: tuple[Any, Flight]) -> None:
    market, flight = flown
    found = by_channel(market, flight, RUNOFF)
    names = {channel.name.lower() for channel in PAID_CHANNELS}
    assert found.keys() == {f"off {name}" for name in names} | {f"up {name}" for name in names - {"email"}}
    spend = flight.report[..., SPEND].sum(axis=0) / 1e6
    saved = found["off social"][0].sum()
    assert saved == pytest.approx(spend[SOCIAL].sum(), rel=0.15)  # the rest: clicks that led to retargeting
    assert found["off social"][1].sum() > 0


def test_the_silent_rival_changes_next_to_nothing_until_it_enters() -> None:
    file = load(MARKET)
    worlds = split_worlds(file, "validation", 2)
    terms = Terms(n_people=2000, days=DAYS, runoff_days=RUNOFF, tuned=Tuned())
    ask = Question(budgets=(), channels=False, rival_enters=True)
    ticked: list[int] = []
    found = explore(worlds, Tuned().fixed, ask, terms, ticked.append)
    plain = explore(worlds, Tuned().fixed, replace(ask, rival_enters=False), terms)
    assert sum(ticked) == world_hours(2, ask, DAYS, RUNOFF)
    usual = plain["today"]["spend_usd"]["mean"]
    assert found["today"]["spend_usd"]["mean"] == pytest.approx(usual, rel=0.03)
    entered = found["scenarios"]["rival_enters"]
    assert set(entered["difference"]) == {"spend_usd", "incremental_conversions", "incremental_cac_usd"}
    assert entered["spend_usd"]["mean"] != found["today"]["spend_usd"]["mean"]


def test_an_entrant_wins_impressions_and_the_silent_one_none() -> None:
    file = load(MARKET)
    worlds = [
        World(with_silent_rival(world.file), world.seed) for world in split_worlds(file, "validation", 1)
    ]
    market = make_market(worlds, 2000)
    ask = Question(budgets=(), channels=False, rival_enters=True)
    entry = ask.families()[-1]
    for _ in range(3):
        run_off(market, 1)
        assert market.rivals.spent[:, -1].sum() == 0 and market.books.sales[:, -2].sum() <= 2
    entry.apply(market, market.hour, DAYS)
    assert (market.rivals.pace[:, -1] == 1).all()
    assert market.worlds[0].file.rivals[-1].name == ENTRANT
    earlier = market.books.sales[:, -2].sum()
    run_off(market, 1)
    assert market.rivals.bid[:, -1, :20].min() > 0
    run_off(market, 9)
    assert market.books.sales[:, -2].sum() > earlier


def test_the_entrant_is_the_mean_of_the_market() -> None:
    file = load(MARKET)
    entrant = mean_rival(file)
    assert entrant.strength == pytest.approx(np.mean([rival.strength for rival in file.rivals]))
    assert entrant.budget_usd_per_1000 == pytest.approx(17.6)
    assert with_silent_rival(file).rivals[-1].budget_usd_per_1000 == 0


def test_answers_are_paired_with_today() -> None:
    file = load(MARKET)
    terms = Terms(n_people=1000, days=2, runoff_days=1, tuned=Tuned())
    ask = Question(budgets=(0.5, 2.0), channels=False, season_months=5)
    found = explore(split_worlds(file, "validation", 2), Tuned().fixed, ask, terms)
    factors = [row["factor"] for row in found["budgets"]]
    spends = [row["spend_usd"]["mean"] for row in found["budgets"]]
    assert factors == [0.5, 1.0, 2.0] and spends == sorted(spends)
    today = found["budgets"][1]
    assert today["spend_usd"] == found["today"]["spend_usd"] and today["marginal_cac_usd"] is None
    less = found["budgets"][0]["added"]["spend_usd"]["mean"]
    assert less == pytest.approx(spends[1] - spends[0])
    season = found["scenarios"]["season_moved"]
    change = season["difference"]["spend_usd"]["mean"]
    assert change == pytest.approx(season["spend_usd"]["mean"] - spends[1])


def test_the_season_moves_by_whole_weeks() -> None:
    file = load(MARKET)
    moved = Question(season_months=5, budgets=()).families()[-1].revision
    assert moved is not None
    later = moved(file, 60, 30)
    assert later.start.weekday() == file.start.weekday()
    assert abs((later.start - file.start).days - 153) <= 3
