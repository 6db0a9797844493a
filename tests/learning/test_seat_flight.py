"""A programmatic seat: the engine's own lines beside it, the gate, the cap, and only what is visible."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gaelp.agents.baselines import FixedPolicy
from gaelp.agents.seat import PROGRAMMATIC, Asked, LevelledValue
from gaelp.cli.main import app
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import LINES, SOCIAL_LINE, Channel
from gaelp.evaluation.judge import Reference
from gaelp.learning import seat_value
from gaelp.learning.journey_value import JourneyValue, ValueSettings
from gaelp.learning.journey_value_data import journey_rows_of
from gaelp.learning.seat_checkpoint import VALUE as MODEL
from gaelp.learning.seat_checkpoint import is_seat, trained_seat
from gaelp.learning.seat_flight import SeatFlight
from gaelp.learning.seat_journeys import SeatJourneys
from gaelp.learning.seat_value import JourneySeat, write_seat
from gaelp.market.file import load
from gaelp.observation.journey import JOURNEY_FEATURES
from gaelp.platforms.line_bids import Requests, read_requests
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.visible import event_rows

MARKET = "markets/family_safety.toml"
PEOPLE, WARM_UP, DAYS = 700, 12, 3
WORLDS = training_worlds(load(MARKET), "train", 2, 99)
VALUE = make_policy("value", load(MARKET))
LARGE = 1e4  # USD a day: no cap binds


def warmed(worlds):
    market = make_market(worlds, PEOPLE, event_rows=event_rows(PEOPLE, WARM_UP))
    return market, warm_up(market, days=WARM_UP)


@pytest.fixture(scope="module")
def warm():
    return warmed(WORLDS)


@pytest.fixture(scope="module")
def rows():
    return journey_rows_of(
        WORLDS, VALUE, n_people=PEOPLE, days=DAYS, warm_up_days=WARM_UP, every_hours=1, priced=False
    )


@pytest.fixture(scope="module")
def values(rows):
    quick = ValueSettings(core="mlp", units=16, epochs=2)
    return {core: JourneyValue.train(rows, rows, replace(quick, core=core)) for core in ("mlp", "gru")}


class Flat:
    """Bids the same for everybody."""

    name = "flat"

    def __init__(self, cpm):
        self.cpm, self.asked = cpm, []

    def start(self, brief):
        self.asked = []

    def bid(self, asked, level):
        self.asked.append(asked)
        return np.full(len(asked), self.cpm)


class Short(Flat):
    """Forgets an auction."""

    def __init__(self):
        super().__init__(1.0)

    def bid(self, asked, level):
        return super().bid(asked, level)[1:]


def by_day(flight):
    return flight.spend_micros.sum(axis=2).reshape(flight.market.n_worlds, -1, 24).sum(axis=2)


def test_a_platform_buys_display_video_and_retargeting_by_the_auction():
    channels = {line.channel for line, mine in zip(LINES, PROGRAMMATIC, strict=True) if mine}
    assert channels == {Channel.VIDEO, Channel.DISPLAY, Channel.RETARGETING}


def test_without_a_seat_every_auction_is_what_the_engine_makes_of_the_lines(warm):
    market, traffic = warm
    alone, listed = market.copy(), market.copy()
    plain = fly(alone, VALUE(), days=DAYS, traffic=traffic, daily_budget_usd=LARGE)
    mine = SeatFlight(VALUE, None).fly(listed, days=DAYS, traffic=traffic, daily_budget_usd=LARGE)
    assert plain.spend_micros.sum() > 0
    np.testing.assert_array_equal(mine.spend_micros, plain.spend_micros)
    for (name, found), (_, wanted) in zip(listed.arrays(), alone.arrays(), strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_the_seat_knows_hour_by_hour_what_the_rows_say_afterwards(warm, rows):
    """Against `journey_rows_of`, which builds the same from the whole log at the end, by other code."""
    market, traffic = warm
    copy = market.copy()
    parts = looking(copy, traffic)
    seen = [step(copy, *parts) for _ in range(24 * DAYS)][1:]  # rows are looked at from the second hour on
    features = np.concatenate([asked.features for asked in seen])
    known = np.concatenate([asked.person >= 0 for asked in seen])
    world = np.concatenate([asked.world for asked in seen])
    hour = np.concatenate([np.full(len(asked), asked.hour) for asked in seen])
    line = np.concatenate([asked.line for asked in seen])
    assert known.sum() > 200
    assert known.sum() == rows.known.sum()

    def ordered(features, known, *keys):
        columns = [np.nan_to_num(features[:, i].astype(float), nan=-99.0) for i in range(features.shape[1])]
        return np.lexsort((*columns, known, *keys))

    mine = ordered(features, known, line, hour, world)
    theirs = ordered(rows.features, rows.known, rows.line, rows.hour, rows.world)
    np.testing.assert_array_equal(features[mine], rows.features[theirs])


def looking(market, traffic):
    """The parts of a line flight with somebody who observes each auction."""
    from gaelp.platforms.simulated import SimulatedPlatform
    from gaelp.worlds.flight import make_brief, open_account, panel_budget
    from gaelp.worlds.tuned import tuned_for

    budget = panel_budget(market, None)
    brief = make_brief(market, budget, traffic, tuned_for(market.worlds[0].file), 0)
    platform = SimulatedPlatform(market)
    platform.open(hours=24 * DAYS)
    policy = VALUE()
    policy.start(brief)
    return SeatJourneys(market, brief), policy, open_account(platform, brief, seat=0, days=DAYS)


def requests_of(market, controls, found):
    starts = np.searchsorted(found["world"], np.arange(market.n_worlds + 1))
    n = found.size
    asked = Requests(np.zeros(n), np.zeros(n, np.uint64), np.zeros(n, np.uint64))
    read_requests(market.rules, market.pop, market.books, controls, found, starts, market.hour, *asked)
    return asked


def step(market, journeys, policy, account):
    view = account.view()
    account.submit(policy.act(view))
    found = market.opportunities()
    asked = journeys.look(view, found, requests_of(market, account.platform.controls, found))
    account.platform.advance()
    return asked


def test_hidden_truth_that_changes_under_the_same_events_changes_no_bid(warm, values):
    market, traffic = warm
    first, second = market.copy(), market.copy()
    flown = [looking(copy, traffic) for copy in (first, second)]
    for _ in range(30):
        for copy, parts in zip((first, second), flown, strict=True):
            step(copy, *parts)
    found = first.opportunities()
    requests = requests_of(first, flown[0][2].platform.controls, found)
    draw, people = np.random.default_rng(1), second.pop.people
    for name in ("need", "urgency", "activity", "attention", "price_sensitivity", "ln_need"):
        people[name] = draw.permuted(people[name], axis=1)
    people["stage"] = draw.integers(0, 6, people["stage"].shape)
    people["segment"] = draw.integers(0, 4, people["segment"].shape)
    second.pop.goodwill[:] = draw.random(second.pop.goodwill.shape)
    second.pop.memory["views"] = draw.random(second.pop.memory["views"].shape)
    second.rivals.bid[:] = draw.random(second.rivals.bid.shape)
    again = requests_of(second, flown[1][2].platform.controls, found)
    bids = []
    for copy, (journeys, _, account), carried in zip((first, second), flown, (requests, again), strict=True):
        asked = journeys.look(account.view(), found, carried)
        assert copy.hour == asked.hour
        for value in values.values():
            seat = JourneySeat(value)
            seat.start(account.brief)
            bids.append(seat.bid(asked, np.ones(2)))
    assert (bids[0] > 0).all()
    np.testing.assert_array_equal(bids[2], bids[0])
    np.testing.assert_array_equal(bids[3], bids[1])


@pytest.mark.parametrize("core", ["mlp", "gru"])
def test_a_world_flies_alone_as_it_does_beside_others_and_twice_alike(warm, values, core):
    market, traffic = warm

    def flown(some, forecast):
        flight = SeatFlight(VALUE, lambda: JourneySeat(values[core]))
        return flight.fly(some, days=2, traffic=forecast).spend_micros

    both = flown(market.copy(), traffic)
    np.testing.assert_array_equal(flown(market.copy(), traffic), both)
    np.testing.assert_array_equal(flown(market.first(1), traffic[:1]), both[:1])
    assert both[:, :, PROGRAMMATIC].sum() > 0 and both[:, :, ~PROGRAMMATIC].sum() > 0


@pytest.mark.parametrize("budget", [0.0, 0.5, 3.0])
def test_no_day_costs_more_than_its_budget_whatever_the_seat_bids(warm, budget):
    market, traffic = warm
    flight = SeatFlight(VALUE, lambda: Flat(40.0))
    flown = flight.fly(market.copy(), days=2, traffic=traffic, daily_budget_usd=budget)
    assert (by_day(flown) <= budget * 1e6).all()
    assert flown.spend_micros.sum() > 0 or budget == 0.0


def test_a_bid_that_the_gate_refuses_takes_its_line_off_and_is_told(warm):
    market, traffic = warm
    wrong = {np.nan: "bid_not_a_number", np.inf: "bid_not_a_number", 1e7: "bid_above_cap"}
    for bid, code in wrong.items():
        flight = SeatFlight(VALUE, lambda bid=bid: Flat(bid))
        flown = flight.fly(market.copy(), days=1, traffic=traffic, daily_budget_usd=LARGE)
        assert flown.spend_micros[:, :, PROGRAMMATIC].sum() == 0
        assert flown.spend_micros[:, :, ~PROGRAMMATIC].sum() > 0
        assert {denial.code for denial in flown.denials} == {code}


def test_what_the_seat_is_told_it_paid_is_what_was_charged(warm):
    market, traffic = warm
    told = []
    flight = SeatFlight(VALUE, lambda: Flat(5.0), hear=lambda asked, bid, paid: told.append((asked, paid)))
    flown = flight.fly(market.copy(), days=1, traffic=traffic)
    for h, (asked, paid) in enumerate(told):
        charged = np.bincount(asked.world, np.maximum(paid, 0), 2)
        np.testing.assert_array_equal(charged, flown.spend_micros[:, h, PROGRAMMATIC].sum(axis=1))
    assert flown.spend_micros[:, :, PROGRAMMATIC].sum() > 0


def test_worlds_without_an_event_log_begin_one_and_leave_as_they_came(values):
    market = make_market(WORLDS[:1], PEOPLE)
    flight = SeatFlight(VALUE, lambda: JourneySeat(values["mlp"])).fly(market, days=2, traffic=None)
    assert flight.spend_micros.sum() > 0
    assert market.books.events.shape[1] == 0


def test_a_memory_reads_a_persons_earlier_decisions_and_nobody_elses(values):
    """Hour by hour against the whole sequences at once."""
    rng = np.random.default_rng(0)
    n, hours = 6, 5
    features = rng.random((hours, n, len(JOURNEY_FEATURES))).astype(np.float32)
    features[..., [i for i, f in enumerate(JOURNEY_FEATURES.features) if f.unit.startswith("code")]] = 1
    person = np.array([4, -1, 0, 7, -1, 2])
    seat, line = JourneySeat(values["gru"]), np.full(n, SOCIAL_LINE + 4)
    seat._memory = [seat_value._Memory()]
    world = np.zeros(n, np.int64)
    told = [
        seat.worth(Asked(features=features[h], line=line, world=world, person=person, hour=h))
        for h in range(hours)
    ]
    whole = seat_value._bare(
        features.reshape(-1, features.shape[2]),
        np.tile(line, hours).astype(np.uint8),
        np.repeat(np.arange(hours), n),
        np.tile(person, hours),
    )
    np.testing.assert_allclose(np.concatenate(told), values["gru"].predict(whole), rtol=1e-5)


def test_bids_are_level_times_scale_times_worth(values):
    seat = JourneySeat(values["mlp"], scale=0.4, by_line=True)
    line = np.array([SOCIAL_LINE + 4, SOCIAL_LINE + 6])
    asked = Asked(
        features=np.zeros((2, len(JOURNEY_FEATURES)), np.float32),
        line=line,
        world=np.array([0, 1]),
        person=np.array([-1, -1]),
        hour=0,
    )
    wanted = 1000.0 * 0.4 * np.array([2.0, 3.0]) * values["mlp"].worths.everybody[line]
    np.testing.assert_allclose(seat.bid(asked, np.array([2.0, 3.0])), wanted)
    with pytest.raises(BadInput, match="scale"):
        JourneySeat(values["mlp"], scale=0.0)


def test_the_level_that_is_shared_is_the_one_that_value_flies_by(warm):
    market, traffic = warm
    levels, plain = [], []
    journeys, policy, account = looking(market.copy(), traffic)
    told = LevelledValue.of(VALUE())
    told.start(account.brief)
    for _ in range(5):
        view = account.view()
        proposed = policy.act(view)
        np.testing.assert_array_equal(told.act(view).target_cpa_usd, proposed.target_cpa_usd)
        levels.append(told.level.copy())
        plain.append(policy._pacer.multiplier.copy())
        account.submit(proposed)
        account.platform.advance()
    np.testing.assert_array_equal(levels, plain)
    assert journeys.market.hour > 0


def test_a_seat_is_read_back_and_refused_for_another_market_or_a_changed_file(values, tmp_path):
    file = load(MARKET)
    write_seat(tmp_path / "seat", file, values["mlp"], 0.3, {"worlds": 2})
    flight = trained_seat(str(tmp_path / "seat"), file)()
    assert isinstance(flight, Reference)
    assert flight.name == "journeys" and flight.make_seat().scale == 0.3
    with pytest.raises(MismatchError, match="trained on"):
        trained_seat(str(tmp_path / "seat"), load("markets/impulse.toml"))
    values["gru"].save(tmp_path / "seat" / MODEL)
    with pytest.raises(BadInput, match="trained with"):
        trained_seat(str(tmp_path / "seat"), file)
    assert is_seat("journeys") and is_seat(str(tmp_path / "seat")) and not is_seat("value")
    for place in (str(tmp_path), "journeys"):
        with pytest.raises(BadInput, match="journeys seat"):
            trained_seat(place, file)


def test_impossible_flights_are_refused(warm):
    market, _ = warm
    with pytest.raises(BadInput, match="keep_bids"):
        SeatFlight(VALUE, None).fly(market.copy(), traffic=None, days=1, keep_bids=True)
    with pytest.raises(BadInput, match="days"):
        SeatFlight(VALUE, None).fly(market.copy(), traffic=None, days=0)
    with pytest.raises(BadInput, match=r"bid\.shape"):
        SeatFlight(VALUE, Short).fly(market.copy(), traffic=None, days=1)
    with pytest.raises(BadInput, match="make_lines"):
        SeatFlight(FixedPolicy, None).fly(market.copy(), traffic=None, days=1)


def test_gaelp_evaluate_flies_a_seat_beside_value(values, tmp_path, monkeypatch):
    monkeypatch.setenv("GAELP_CACHE", "off")
    folder = tmp_path / "journeys"
    write_seat(folder, load(MARKET), values["mlp"], 0.5, {})
    sizes = ["--worlds", "2", "--users", "400", "--days", "2", "--runoff-days", "1"]
    ran = CliRunner().invoke(app, ["evaluate", "value", str(folder), *sizes, "--json"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert set(found["policies"]) == {"value", "journeys"}
    assert found["model_sha256"]["journeys"] == trained_seat(str(folder), load(MARKET)).sha256
    assert found["policies"]["journeys"]["spend_usd"]["mean"] > 0
