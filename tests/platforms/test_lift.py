"""Lift tests: who is held out sees nothing of the channel, both arms are counted, and replays keep them."""

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.core.errors import BadInput
from gaelp.core.words import PAID_CHANNELS, Channel, TouchKind
from gaelp.market.file import load
from gaelp.platforms.lift import lift_report
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import fly, make_market, run_off
from gaelp.worlds.snapshot import load_worlds, save_worlds
from gaelp.worlds.splits import plain_worlds
from gaelp.worlds.twins import replay

MARKET = "markets/family_safety.toml"
DAYS, RUN_OFF = 10, 5
HOLDOUT = 0.3


@pytest.fixture(scope="module")
def tested():
    """Two worlds that have lived, before and after ten days of ads with a third of the people held out."""
    start = make_market(plain_worlds(load(MARKET), 2, 11), 3_000, event_rows=400_000)
    run_off(start, 30)
    flight = fly(start.copy(), FixedPolicy(multiplier=3.0), days=DAYS, traffic=None, holdout=HOLDOUT)
    run_off(flight.market, RUN_OFF)
    return start, flight


def test_who_is_held_out_never_sees_the_channel(tested):
    start, flight = tested
    bought = 0
    stayed = start.pop.people["generation"] == flight.market.pop.people["generation"]
    for world in range(2):
        events = flight.market.events(world)
        events = events[stayed[world, events["person"]]]  # a slot's note is of its latest life
        shown = events[(events["hour"] >= flight.start) & (events["kind"] == TouchKind.IMPRESSION)]
        for channel in (Channel.SEARCH, Channel.SOCIAL, Channel.VIDEO, Channel.DISPLAY):
            ghosts = flight.market.books.ghosts[world, 0, channel]
            here = shown[shown["channel"] == channel]
            of = ghosts[here["person"]]
            assert (of["life"] > 0).all(), "whoever saw an ad had been bid for"
            assert (of["held_out"] == 0).all()
            assert (here["hour"] >= of["hour"]).all()
            bought += here.size
    assert bought > 500


def test_the_share_held_out_is_as_asked_and_drawn_for_each_channel(tested):
    _, flight = tested
    ghosts = flight.market.books.ghosts[:, 0]
    held, entered = ghosts["held_out"] == 1, ghosts["life"] > 0
    social, video = int(Channel.SOCIAL), int(Channel.VIDEO)
    for channel in (social, video):
        n = entered[:, channel].sum()
        assert n > 2_000
        error = np.sqrt(HOLDOUT * (1 - HOLDOUT) / n)
        assert abs(held[:, channel].sum() / n - HOLDOUT) < 4 * error
    both = entered[:, social] & entered[:, video]
    together = np.corrcoef(held[:, social][both], held[:, video][both])[0, 1]
    assert abs(together) < 4 / np.sqrt(both.sum())


def test_the_report_counts_both_arms(tested):
    _, flight = tested
    market = flight.market
    report = lift_report(market, until=market.hour)
    ghosts = market.books.ghosts[:, 0]
    assert (report.people.sum(axis=2) == (ghosts["life"] > 0).sum(axis=2)).all()
    made = market.decisions(0)
    made = made[(made["brand"] == 0) & (made["book_hour"] < market.hour)]
    counted = np.zeros(2, int)
    value = np.zeros(2)
    for decision in made:
        ghost = ghosts[0, Channel.SOCIAL, decision["person"]]
        if ghost["life"] == decision["generation"] + 1 and decision["hour"] >= ghost["hour"]:
            counted[ghost["held_out"]] += 1
            value[ghost["held_out"]] += decision["value_micros"] / 1e6
    assert counted.sum() > 20
    assert (report.conversions[0, Channel.SOCIAL] == counted).all()
    assert report.value_usd[0, Channel.SOCIAL] == pytest.approx(value)
    early = lift_report(market, until=flight.start + 24 * DAYS)
    assert (early.conversions <= report.conversions).all()
    assert early.conversions.sum() < report.conversions.sum()


def test_a_replay_keeps_the_test(tested):
    start, flight = tested
    again = replay(start, flight, runoff_days=RUN_OFF)
    assert (again.books.ghosts == flight.market.books.ghosts).all()
    assert (again.books.report == flight.market.books.report).all()


def test_without_a_test_nothing_is_noted(tested):
    start, _ = tested
    flight = fly(start.copy(), FixedPolicy(multiplier=3.0), days=1, traffic=None)
    assert flight.market.books.ghosts.shape == (2, 1, len(PAID_CHANNELS), 0)
    report = lift_report(flight.market, until=flight.market.hour)
    assert not report.people.any() and not report.conversions.any()


def test_a_test_survives_a_snapshot(tested, tmp_path):
    _, flight = tested
    save_worlds(flight.market, tmp_path / "worlds")
    loaded = load_worlds(tmp_path / "worlds")
    assert (loaded.books.ghosts == flight.market.books.ghosts).all()


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_an_impossible_share_is_refused(tested, share):
    with pytest.raises(BadInput, match="holdout"):
        SimulatedPlatform(tested[0]).open(hours=24, holdout=share)
