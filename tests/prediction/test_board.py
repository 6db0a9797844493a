"""The board's figures: a perfect model is within luck, a bad one is not, and the page says so in both."""

import datetime as dt
import json
from html import escape

import numpy as np
import pytest
import typer
from scipy.special import xlog1py, xlogy
from scipy.stats import norm
from typer.testing import CliRunner

from gaelp.cli.retrain_report import report_command
from gaelp.core.errors import BadInput
from gaelp.evaluation.board_page import render, sentences, told
from gaelp.prediction.accuracy import AccuracyTracker, Outcome, Served, Video
from gaelp.prediction.board import board, reliability
from gaelp.prediction.board_figures import (
    BY_LUCK,
    CANNOT,
    MET,
    MISSED,
    NO_DATA,
    WITHIN_LUCK,
    accuracy_of_luck,
    judged_mae,
    judged_r2,
    judged_roas,
)
from gaelp.prediction.board_money import ASSUMPTIONS, DATED_AHEAD, GATE, NO_CHAMPION, ROLLED_BACK, SINCE
from gaelp.prediction.gate import PromotionGate
from gaelp.prediction.look import improvement
from gaelp.prediction.noise import Outcomes
from gaelp.prediction.registry import Lineage, Registry
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.retraining import Retrainer
from gaelp.prediction.runs import RetrainReply, Runs
from gaelp.prediction.signals import PurchaseSignal, keep_signal

from ..journeys.conftest import Postgres
from . import streams
from .creatives import days_of, true_rates
from .registrars import make_model

NOW = dt.datetime(2026, 3, 31, 6, tzinfo=dt.UTC)
A_DAY = dt.timedelta(days=1)
DAYS, HORIZON, CREATIVES, IMPRESSIONS = 30, 48.0, 40, 10_000
ORDER_USD, CPM_USD = 60.0, 8.0


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture
def tracker(request, tmp_path):
    """On SQLite, or where a test asks for it by `both`."""
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    else:
        url = f"sqlite:///{tmp_path}/predictions.db"
    with AccuracyTracker(url) as opened:
        yield opened


both = pytest.mark.parametrize("tracker", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "models")


def fill(tracker, *, off=None, seed=0, impressions=IMPRESSIONS, days=DAYS + 2):
    """Days of creatives with a true click and conversion rate, and what a model said of them.

    Args:
        off: (CREATIVES,) factors by which predictions are off; None: the model is right.
        seed: of rates and luck. impressions: of a creative a day. days: up to NOW.
    """
    rng = np.random.default_rng(seed)
    off = np.ones(CREATIVES) if off is None else off
    ctr, cvr = true_rates(rng, 0.02, CREATIVES), true_rates(rng, 0.05, CREATIVES)
    first = NOW.date() - days * A_DAY
    served, outcomes = [], []
    for day in (first + i * A_DAY for i in range(days)):
        at = dt.datetime.combine(day, dt.time(), dt.UTC)
        clicks = rng.binomial(impressions, ctr)
        orders = rng.binomial(clicks, cvr)
        for target, rates, trials, events in (
            ("ctr", ctr, np.full(CREATIVES, impressions), clicks),
            ("cvr", cvr, clicks, orders),
        ):
            for i in np.flatnonzero(trials):
                name = f"{target}-{day}-{i}"
                chance = min(float(rates[i] * off[i]), 1.0)
                served.append(
                    Served(
                        prediction_id=name,
                        model_version="v000001",
                        video_id=f"c{i}",
                        predicted=chance,
                        at=at,
                        target=target,
                    )
                )
                outcomes.append(
                    Outcome(prediction_id=name, day=day, trials=int(trials[i]), events=int(events[i]))
                )
    tracker.record(served)
    tracker.match(outcomes, NOW)
    shown = impressions * days
    micros = round(shown / 1000 * CPM_USD * 1e6)
    tracker.keep_videos(
        [Video(video_id=f"c{i}", impressions=shown, spend_micros=micros) for i in range(CREATIVES)], NOW
    )


def rivals(rng, worse, better, *, n=200, impressions=20_000):
    """A true gate decision between two models whose logits are off by normal steps of so much."""
    rates = true_rates(rng, 0.02, n)
    rows = days_of(rng, rates, days=1, impressions=impressions, predicted=rates * _steps(rng, n, worse))
    return PromotionGate(least_gain=-1e9).judge(rows, rates * _steps(rng, n, better)), rates


def _steps(rng, n, size):
    return np.exp(size * rng.normal(size=n))


def promote(registry, tmp_path, decision, at):
    """Register a model and promote it on a gate's evidence."""
    model = make_model(tmp_path / "model")
    version = registry.register(model, Lineage(), who="test", why="test", now=at)
    evidence = {} if decision is None else decision.as_dict()
    registry.promote(version.name, who="test", why="test", now=at, evidence=evidence)
    return version.name


def run(runs, at, status, decision=None, seconds=None, message="", ceiling=0.99):
    """A run in the table, as the loop writes it."""
    now_us = int(at.timestamp() * 1e6)
    run_id, _ = runs.begin(trigger="daily", who="test", target="ctr", now_us=now_us, request_id=None)
    figures = {}
    if decision is not None:
        figures["gate"] = decision.as_dict()
        figures["ceiling"] = {"r2": ceiling}
    if seconds is not None:
        figures["training"] = {"training_s": seconds}
    reply = RetrainReply(
        status=status,
        figures=figures,
        improvement=None if decision is None else improvement(decision.figures),
        champion="v000002",
        challenger=None if seconds is None else "v000002",
        trigger="daily",
        run_id=run_id,
        started=at,
        wall_s=1.0,
        message=message,
    )
    runs.end(reply, now_us)


@both
def test_a_perfect_model_is_never_worse_than_luck(tracker, registry):
    fill(tracker)
    found = board(tracker, registry, NOW, days=DAYS, horizon_hours=HORIZON, revenue_per_conversion_usd=60)
    assert (
        found["targets"]["ctr"]["first"] == "2026-03-01" and found["targets"]["ctr"]["last"] == "2026-03-30"
    )
    figures = [found["roas"]["figure"]]
    for each in found["targets"].values():
        figures += each["figures"].values()
    assert len(figures) == 5
    for each in figures:
        assert each["is_luck"] and each["verdict"] != MISSED, each
        assert each["value"] == pytest.approx(each["best"], abs=0.05)
    ctr = found["targets"]["ctr"]["figures"]
    assert ctr["mae"]["verdict"] == ctr["r2"]["verdict"] == MET
    # at a rate of 2 % an error of 0.02 is hard to make: that the limit is met says nothing
    assert told(ctr["mae"]) == "met, as it would be knowing nothing" and told(ctr["r2"]) == MET
    # conversions: about 200 clicks a row, so that no model can explain 88 % of the variance
    assert found["targets"]["cvr"]["figures"]["r2"]["verdict"] == CANNOT
    assert found["roas"]["figure"]["verdict"] == MET
    assert sum(found["roas"]["by_day"]["is_luck"]) >= DAYS - 2
    spent = DAYS * CREATIVES * IMPRESSIONS / 1000 * CPM_USD
    assert found["roas"]["spend_usd"] == pytest.approx(spent)
    orders = found["roas"]["figure"]["events"]
    assert found["roas"]["realised"] == pytest.approx(60 * orders / spent)
    assert found["money"]["usd"] is None and "no model was promoted" in found["money"]["reason"]


@both
def test_a_bad_model_misses_by_more_than_luck(tracker, registry):
    off = np.exp(0.8 * np.random.default_rng(9).normal(size=CREATIVES)) * 1.3
    fill(tracker, off=off)
    found = board(tracker, registry, NOW, days=DAYS, horizon_hours=HORIZON)
    for target in ("ctr", "cvr"):
        figures = found["targets"][target]["figures"]
        assert figures["r2"]["verdict"] == MISSED and figures["r2"]["chance"] < BY_LUCK
        assert not figures["mae"]["is_luck"]
    assert found["targets"]["ctr"]["figures"]["mae"]["verdict"] == MISSED
    assert found["targets"]["cvr"]["figures"]["mae"]["verdict"] == MISSED
    assert found["roas"]["figure"]["verdict"] == MISSED
    assert found["roas"]["realised"] is None and "no purchases" in found["roas"]["value_source"]


@both
def test_without_data_every_panel_says_so(tracker, registry):
    found = board(tracker, registry, NOW)
    verdicts = [
        each["verdict"] for name in ("ctr", "cvr") for each in found["targets"][name]["figures"].values()
    ]
    assert verdicts == [NO_DATA] * 4 and found["roas"]["figure"]["verdict"] == NO_DATA
    assert found["reliability"]["success"]["value"] is None and found["retrains"] == []
    assert found["money"]["usd"] is None and found["money"]["reason"]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.golden
@pytest.mark.parametrize(("impressions", "best"), [(100, 0.37), (1000, 0.85), (10_000, 0.98)])
def test_the_ceiling_of_r2_is_the_published_one_whatever_was_predicted(impressions, best):
    rng = np.random.default_rng(3)
    rates = 0.02 * np.exp(0.5 * norm.ppf((np.arange(40_000) + 0.5) / 40_000) - 0.125)
    truth = days_of(rng, rates, days=1, impressions=impressions)
    mean = days_of(rng, rates, days=1, impressions=impressions, predicted=np.full(40_000, 0.02))
    assert judged_r2(truth).best == pytest.approx(best, abs=0.0125)  # the table's were simulated
    assert judged_r2(truth).value == pytest.approx(best, abs=0.0125)
    assert judged_r2(truth).is_luck
    assert judged_r2(mean).best == pytest.approx(best, abs=0.0125)
    assert judged_r2(mean).value == pytest.approx(0.0, abs=0.01) and not judged_r2(mean).is_luck
    knows_nothing = judged_mae(mean)  # at a rate of 2 % that is enough for the limit of 0.02
    assert knows_nothing.verdict == MET and not knows_nothing.is_luck
    assert knows_nothing.value == pytest.approx(knows_nothing.useless, rel=0.02)
    assert judged_r2(truth).verdict == (MET if impressions == 10_000 else CANNOT)
    at_need = days_of(rng, rates, days=1, impressions=round(judged_r2(truth).needed))
    assert judged_r2(at_need).value == pytest.approx(0.88, abs=0.01)


@pytest.mark.statistical
def test_a_perfect_model_is_called_worse_than_luck_as_seldom_as_is_said():
    rng, trials = np.random.default_rng(5), 200
    for ctr, impressions, n in ((0.02, 100, 60), (0.08, 1000, 20), (0.004, 200, 60)):
        chance = np.empty((trials, 3))
        for i in range(trials):
            rows = days_of(rng, true_rates(rng, ctr, n), days=7, impressions=impressions)
            chance[i] = [judge(rows).chance for judge in (judged_mae, judged_r2, judged_roas)]
        shares = " ".join(f"{100 * share:.1f} %" for share in (chance < BY_LUCK).mean(0))
        print(f"\n{ctr:.1%} of {impressions}, {n} creatives: MAE, R2, ROAS off by more than luck {shares}")
        assert ((chance < BY_LUCK).mean(0) <= BY_LUCK + 4 * np.sqrt(BY_LUCK / trials)).all()
        assert (np.abs((chance < 0.3).mean(0) - 0.3) < 4 * np.sqrt(0.21 / trials) + 0.02).all()


@pytest.mark.statistical
def test_what_luck_leaves_of_a_forecast_is_that_of_sums_of_binomials():
    rng = np.random.default_rng(6)
    for n, rates in (
        (200, rng.uniform(0.001, 0.1, 30)),
        (40, rng.uniform(0, 0.9, 50)),
        (20, np.full(8, 0.02)),
    ):
        counts = rng.binomial(n, rates, (60_000, rates.size)).sum(1)
        mean, variance = n * rates.sum(), n * (rates * (1 - rates)).sum()
        seen = 1 - np.abs(mean - counts[counts > 0]) / counts[counts > 0]
        best, luck = accuracy_of_luck(mean, variance)
        assert abs(best - seen.mean()) < 4 * seen.std() / np.sqrt(seen.size) + 0.001
        assert np.mean(seen < luck) <= 0.055 and np.mean(seen <= luck) >= 0.045


@pytest.mark.parametrize("predicted", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("trials", [1, 3])
def test_figures_stand_where_hardly_anything_can_vary(predicted, trials):
    n = 6
    rows = Outcomes(
        np.full(n, predicted), np.full(n, trials), np.arange(n) % 2, np.arange(n), np.zeros(n, int)
    )
    for judge in (judged_mae, judged_r2, judged_roas):
        found = judge(rows)
        assert 0 <= found.chance <= 1 and np.isfinite([found.value, found.best, found.luck]).all()
        assert predicted == 0.5 or not found.is_luck


def test_verdicts_tell_luck_from_what_is_out_of_reach():
    def rows(trials, events, predicted):
        shape = np.zeros(len(events), int)
        return Outcomes(np.array(predicted), np.array(trials), np.array(events), shape, shape)

    unlucky = judged_roas(rows([1000], [40], [0.05]))  # 50 expected: 10 below is 1.5 deviations
    assert unlucky.value == pytest.approx(0.75) and unlucky.verdict == WITHIN_LUCK
    few = judged_roas(rows([200], [7], [0.05]))  # 10 expected: luck alone costs more than 15 %
    assert few.best < 0.85 and few.verdict == CANNOT
    assert few.needed == pytest.approx(2 / np.pi * 0.95 / 0.15**2)
    assert judged_roas(rows([1000], [90], [0.05])).verdict == MISSED
    assert judged_roas(rows([1000], [0], [0.05])).verdict == NO_DATA
    high = judged_mae(rows([100] * 400, [8] * 400, [0.1] * 400))
    assert high.best > 0.02 and high.verdict in (MET, CANNOT)


@pytest.mark.golden
def test_money_saved_is_that_of_an_exact_bidder(tracker, registry, tmp_path):
    """Profit of bids value x predicted rate where impressions won grow as bid^e, reckoned directly."""
    rng, e, value = np.random.default_rng(11), 1.5, 40.0
    worse, better = 0.1, 0.03
    rates = true_rates(rng, 0.02, 4000)
    said = [rates * _steps(rng, rates.size, size) for size in (worse, better)]
    rows = days_of(rng, rates, days=1, impressions=5000, predicted=said[0])
    decision = PromotionGate(least_gain=-1e9).judge(rows, said[1])

    def profit(predicted):  # won = bid^e, each at the price of the runner-up: cost is e / (1 + e) bid^(1 + e)
        bid = value * predicted
        return bid**e * value * rates - e / (1 + e) * bid ** (1 + e)

    spent = e / (1 + e) * (value * rates) ** (1 + e)
    weight = rates / spent  # spend goes where events are, as assumed
    exact = (weight @ (profit(said[1]) - profit(said[0]))) / (weight @ spent)

    fill(tracker, days=30)
    promote(registry, tmp_path, None, NOW - 40 * A_DAY)
    promote(registry, tmp_path, decision, NOW - 10 * A_DAY)
    found = board(tracker, registry, NOW, bid_elasticity=e)["money"]
    spend = 9 * CREATIVES * IMPRESSIONS / 1000 * CPM_USD
    (saving,) = found["promotions"]
    assert saving["days"] == 9 and saving["spend_usd"] == pytest.approx(spend)
    assert found["usd_low"] < found["usd"] < found["usd_high"]
    ends = f"{found['usd_low']:.0f} to {found['usd_high']:.0f}"
    print(f"\nexact ${exact * spend:.0f}, told ${found['usd']:.0f} ({ends})")
    assert found["usd"] == pytest.approx(exact * spend, rel=0.1)
    assert found["usd_low"] < exact * spend < found["usd_high"]
    p = np.clip(said, 1e-15, 1 - 1e-15)
    loss = -(xlogy(rows.events, p) + xlog1py(rows.trials - rows.events, -p)).sum(1)
    nats = (loss[0] - loss[1]) / rows.events.sum()
    assert found["usd"] == pytest.approx(spend * (1 + e) * nats)
    given = board(tracker, registry, NOW, bid_elasticity=e, spend_usd=3000)["money"]
    assert given["usd"] == pytest.approx(3000 * 9 / 30 * (1 + e) * nats)
    assert found["assumptions"] == list(ASSUMPTIONS) and saving["basis"] == GATE


@both
def test_money_is_not_told_where_it_cannot_be(tracker, registry, tmp_path):
    fill(tracker, impressions=500, days=22)
    decision, _ = rivals(np.random.default_rng(1), 0.4, 0.0)
    promote(registry, tmp_path, decision, NOW - 20 * A_DAY)
    found = board(tracker, registry, NOW)["money"]
    assert found["usd"] is None and NO_CHAMPION in found["reason"]
    promote(registry, tmp_path, None, NOW - 10 * A_DAY)
    assert "figures are not kept" in board(tracker, registry, NOW)["money"]["promotions"][1]["reason"]
    promote(registry, tmp_path, decision, NOW - 9 * A_DAY)
    assert board(tracker, registry, NOW)["money"]["usd"] > 0
    tracker.keep_videos([Video(video_id=f"c{i}", currency="EUR") for i in range(9)], NOW + A_DAY)
    assert "cost in USD" in board(tracker, registry, NOW)["money"]["reason"]
    assert board(tracker, registry, NOW, spend_usd=500)["money"]["usd"] > 0
    registry.rollback(who="test", why="test", now=NOW - 2 * A_DAY)
    found = board(tracker, registry, NOW, spend_usd=500)
    assert ROLLED_BACK in found["money"]["reason"] and found["money"]["usd"] is None
    assert found["promotions"][-1]["action"] == "rollback"


def redate(registry, number, days):
    """As if a move had been made by a clock that said so many days from NOW."""
    path = registry.folder / "aliases.json"
    told = json.loads(path.read_text())
    told["moves"][number]["at"] = (NOW + days * A_DAY).isoformat()
    path.write_text(json.dumps(told))


@pytest.mark.parametrize("dated", [40, 1, -2])  # days from now; a move after it was made 5 days ago
def test_a_promotion_dated_ahead_is_listed_as_that_and_what_it_was_worth_is_not_told(
    tracker, registry, tmp_path, dated
):
    fill(tracker, impressions=500)
    decision, _ = rivals(np.random.default_rng(1), 0.4, 0.0)
    for days_ago in (20, 10, 5):
        promote(registry, tmp_path, decision, NOW - days_ago * A_DAY)
    right = board(tracker, registry, NOW)
    assert [each["dated_ahead"] for each in right["promotions"]] == [None] * 3
    redate(registry, 1, dated)
    found = board(tracker, registry, NOW)
    _, ahead, last = found["promotions"]
    told = (NOW + dated * A_DAY).date().isoformat()
    assert (ahead["day"], ahead["dated_ahead"]) == ("2026-03-11", told)
    assert last == right["promotions"][-1]
    savings = found["money"]["promotions"]
    assert [each["reason"] for each in savings] == [NO_CHAMPION, DATED_AHEAD, ""]
    assert savings[1]["usd"] is None and savings[1]["days"] == 0
    assert savings[2] == right["money"]["promotions"][2]
    assert found["money"]["usd"] == savings[2]["usd"]
    assert "dated ahead of the clock" in render({"title": "Ahead"}, found)


def test_a_newest_promotion_dated_ahead_is_why_nothing_can_be_told(tracker, registry, tmp_path):
    fill(tracker, impressions=500)
    decision, _ = rivals(np.random.default_rng(1), 0.4, 0.0)
    for days_ago in (40, 10):
        promote(registry, tmp_path, decision, NOW - days_ago * A_DAY)
    redate(registry, 1, 40)
    found = board(tracker, registry, NOW)
    assert [each["dated_ahead"] for each in found["promotions"]] == ["2026-05-10"]
    assert any(f"cannot be told: v000002: {DATED_AHEAD}." in sentence for sentence in sentences(found))
    redate(registry, 0, 50)  # the first of all: nothing is known of its day
    assert [each["day"] for each in board(tracker, registry, NOW)["promotions"]] == ["1970-01-01"] * 2
    assert render({"title": "Ahead"}, board(tracker, registry, NOW))


def test_a_promotion_dated_ahead_between_moves_of_one_day_was_made_on_that_day(tracker, registry, tmp_path):
    fill(tracker, impressions=500)
    decision, _ = rivals(np.random.default_rng(1), 0.4, 0.0)
    promote(registry, tmp_path, decision, NOW - 10 * A_DAY)
    promote(registry, tmp_path, decision, NOW - 10 * A_DAY)
    registry.challenge("v000001", who="test", why="test", now=NOW - 10 * A_DAY)
    right = board(tracker, registry, NOW)["money"]
    redate(registry, 1, 40)
    assert board(tracker, registry, NOW)["money"]["usd"] == right["usd"] > 0


def test_a_rollback_dated_ahead_ends_what_its_promotion_was_worth(tracker, registry, tmp_path):
    fill(tracker, impressions=500)
    decision, _ = rivals(np.random.default_rng(1), 0.4, 0.0)
    for days_ago in (20, 10):
        promote(registry, tmp_path, decision, NOW - days_ago * A_DAY)
    registry.rollback(who="test", why="test", now=NOW - 2 * A_DAY)
    for dated in (-2, 40):
        redate(registry, 2, dated)
        found = board(tracker, registry, NOW)
        assert found["money"]["usd"] is None and ROLLED_BACK in found["money"]["reason"]
        assert found["promotions"][-1]["action"] == "rollback"
    assert found["promotions"][-1]["dated_ahead"] == "2026-05-10"


def test_a_run_dated_ahead_is_left_out(tracker, registry):
    runs = Runs(tracker.database)
    run(runs, NOW - A_DAY, "no_retrain_needed")
    run(runs, NOW + 3 * A_DAY, "error", message="of a clock ahead")
    assert board(tracker, registry, NOW)["reliability"]["by_status"] == {"no_retrain_needed": 1}


@both
def test_retrainings_and_errors_are_told_as_they_were(tracker, registry):
    runs, rng = Runs(tracker.database), np.random.default_rng(2)
    better, _ = rivals(rng, 0.4, 0.0)
    run(runs, NOW - 40 * A_DAY, "error", message="before the window")
    run(runs, NOW - 9 * A_DAY, "retrained", better, seconds=3.0)
    run(runs, NOW - 8 * A_DAY, "error", message="disk full")
    run(runs, NOW - 7 * A_DAY, "challenger_rejected", rivals(rng, 0.0, 0.4)[0], seconds=5.0)
    run(runs, NOW - 6 * A_DAY, "no_retrain_needed")
    found = board(tracker, registry, NOW)
    loop = found["reliability"]
    assert (loop["runs"], loop["errors"], loop["trainings"], loop["promoted"]) == (4, 1, 2, 1)
    assert loop["success"]["value"] == 0.75 and loop["training_s"] == {"mean": 4.0, "longest": 5.0}
    # of 3 in 4, after Clopper and Pearson: 0.194 to 0.994
    assert loop["success"]["low"] == pytest.approx(0.194, abs=5e-4)
    assert loop["success"]["high"] == pytest.approx(0.994, abs=5e-4)
    assert loop["errors_a_week"] == pytest.approx(7 / 30)
    first, second = found["retrains"]
    assert first["r2"]["before"] < first["r2"]["after"] and first["r2"]["verdict"] == MET
    assert first["gain_low"] > 0 and first["training_s"] == 3.0
    assert first["r2"]["best"] == 0.99
    assert first["mae"]["best"] == better.figures["challenger"]["mae"]["floor"]
    assert second["status"] == "challenger_rejected" and second["r2"]["verdict"] == MISSED
    assert reliability([], 30)["success"] == {"value": None, "low": None, "high": None}


@both
def test_a_conversion_is_worth_what_purchases_were(tracker, registry):
    fill(tracker, impressions=2000, days=4)
    for i, usd in enumerate((40, 80)):
        signal = PurchaseSignal(event_id=f"e{i}", at=NOW - 5 * A_DAY, value_micros=usd * 1_000_000)
        keep_signal(tracker.database, signal, NOW)
    found = board(tracker, registry, NOW, horizon_hours=HORIZON)["roas"]
    assert found["value_usd"] == 60.0 and found["value_source"] == "mean of 2 purchases"
    for i in range(3):  # told without a value, as shops may
        keep_signal(tracker.database, PurchaseSignal(event_id=f"n{i}", at=NOW - 5 * A_DAY), NOW)
    found = board(tracker, registry, NOW, horizon_hours=HORIZON)["roas"]
    assert found["value_usd"] == 60.0
    assert found["value_source"] == "mean of 2 purchases; 3 without a value left out"
    euro = PurchaseSignal(event_id="e9", at=NOW - 5 * A_DAY, value_micros=1_000_000, currency="EUR")
    keep_signal(tracker.database, euro, NOW)
    assert board(tracker, registry, NOW, horizon_hours=HORIZON)["roas"]["value_usd"] is None


@pytest.mark.parametrize("wrong", [{"days": 0}, {"bid_elasticity": 0.0}, {"spend_usd": -1.0}])
def test_arguments_out_of_range_are_refused(tmp_path, wrong):
    with (
        AccuracyTracker(f"sqlite:///{tmp_path}/p.db") as tracker,
        pytest.raises(BadInput, match="must be from"),
    ):
        board(tracker, Registry(tmp_path), NOW, **wrong)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A real loop: a first champion, then a market that turns, and a second one that fits it."""
    folder = tmp_path_factory.mktemp("loop")
    with Retrainer(f"{folder}/loop.db", folder / "models", RetrainConfig(model="logistic")) as retrainer:
        streams.fill(retrainer.tracker, range(30, 42))
        retrainer.check(trigger="daily", who="test", now=streams.morning(42))
        streams.fill(retrainer.tracker, range(42, 60), turn=-1.0)
        reply = retrainer.check(trigger="daily", who="test", now=streams.morning(50), force=True)
        assert reply.status == "retrained", reply
        shown = 30 * 400
        creatives = [
            Video(video_id=f"ad{i}", impressions=shown, spend_micros=shown * 5_000) for i in range(60)
        ]
        retrainer.tracker.keep_videos(creatives, streams.morning(60))
    return folder


def report(place, *words):
    app = typer.Typer()
    app.command()(report_command)
    given = ("--database", f"sqlite:///{place}/loop.db", "--models", str(place / "models"))
    said = CliRunner().invoke(app, [*given, "--now", "2026-04-30T02:00", "--days", "15", *words], color=False)
    if said.exception is not None:
        raise said.exception
    return said.output


def test_the_command_tells_what_a_real_loop_was_worth(place):
    found = json.loads(report(place, "--json"))
    (saving,) = found["money"]["promotions"]
    assert (saving["basis"], saving["days"], saving["over"]) == (SINCE, 9, "v000001")
    assert 0 < found["money"]["usd_low"] < found["money"]["usd"] < found["money"]["usd_high"]
    assert saving["spend_usd"] == pytest.approx(9 * 60 * 400 * 0.005)
    (retrained,) = found["retrains"]
    assert retrained["r2"]["before"] < retrained["r2"]["after"] <= retrained["r2"]["best"] + 0.1
    assert found["summary"] == sentences(found)
    twice = json.loads(report(place, "--json", "--bid-elasticity", "3"))
    assert twice["money"]["usd"] == pytest.approx(2 * found["money"]["usd"])
    words = report(place)
    assert "accuracy of ROAS" in words and "no data" in words and "Retraining was worth" in words


def test_the_page_says_what_the_figures_say_and_loads_nothing(place, tmp_path):
    path = tmp_path / "board.html"
    found = json.loads(report(place, "--json", "--report", str(path)))
    html = path.read_text()
    assert found["report"] == str(path) and "://" not in html.split("<script>")[0]
    for words in ("Each figure beside its target", "outcomes since", "What this takes for granted"):
        assert words in html
    for sentence in found["summary"]:
        assert escape(sentence) in html
    assert html.count("<b>No data</b>") == 2  # conversions and ROAS: there were no predictions of them
    assert "loop.db" not in html  # an address may hold a password
    with pytest.raises(BadInput, match=r"must end in \.html"):
        report(place, "--report", str(tmp_path / "board.pdf"))


def test_an_empty_page_says_of_every_panel_that_it_has_no_data(tracker, registry):
    html = render({"title": "Empty"}, board(tracker, registry, NOW))
    assert html.count("<b>No data</b>") == 6 and "nan" not in html.split("<script>")[0].lower()
