"""The loop retrains when the champion is wrong, promotes what is better, and goes back when it must."""

import datetime as dt
import json

import numpy as np
import pytest
import sqlalchemy as sa

from gaelp.core.errors import BadInput, UnknownName
from gaelp.prediction.accuracy import DAY_US
from gaelp.prediction.board_money import days_of
from gaelp.prediction.cells import table_of
from gaelp.prediction.challenger import train_challenger
from gaelp.prediction.lock import alone_in
from gaelp.prediction.model import load
from gaelp.prediction.predictor import Predictor
from gaelp.prediction.registry import Move
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.retraining import STATUSES, PurchaseSignal, Retrainer
from gaelp.prediction.runs import DIED
from gaelp.prediction.schema import prediction_records, retraining_runs

from ..journeys.conftest import Postgres
from .streams import chance_of, fill, morning


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/loop.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").new_database()
    return f"sqlite:///{tmp_path}/loop.db"


def loop(url, tmp_path, **settings):
    return Retrainer(url, tmp_path / "models", RetrainConfig(**settings))


def look(retrainer, day, **asked):
    return retrainer.check(**{"trigger": "daily", "who": "cron", "now": morning(day), **asked})


def served_by_champion(retrainer):
    """For `fill`: version and predictions of the champion."""
    predictor = Predictor(retrainer.registry)
    return {"version": predictor.version, "predict": lambda rows, _: predictor.predict(rows)[1]}


def with_champion(retrainer):
    fill(retrainer.tracker, range(20))
    assert look(retrainer, 20).status == "retrained"
    return retrainer


def test_from_first_model_to_a_better_one_and_back(url, tmp_path):
    with loop(url, tmp_path) as retrainer:
        first = look(retrainer, 0)
        assert (first.status, first.champion) == ("insufficient_data", None)
        with_champion(retrainer)  # the first model: its rival always predicts the rate it was trained on
        run = retrainer.runs.recent(1)[0]
        assert [reason["code"] for reason in run["reasons"]] == ["no_champion", "better"]
        fill(retrainer.tracker, range(20, 27), **served_by_champion(retrainer))
        quiet = look(retrainer, 27)
        assert (quiet.status, quiet.reasons) == ("no_retrain_needed", ())
        # the number's effect turns: the champion is wrong, and there is none before it to go back to
        fill(retrainer.tracker, range(27, 37), **served_by_champion(retrainer), turn=-1.0)
        turned = look(retrainer, 37)
        assert (turned.status, turned.champion, turned.challenger) == ("retrained", "v000002", "v000002")
        assert {"normalised_entropy_degraded", "slope", "better"} <= {each.code for each in turned.reasons}
        for name, better in (("r2", 1), ("mae", -1), ("logloss", -1), ("normalised_entropy", -1)):
            change = turned.improvement[name]
            assert change["delta"] == pytest.approx(change["after"] - change["before"])
            assert np.sign(change["delta"]) == better
        # and back again: the new champion degrades by more than 30 %, and goes
        fill(retrainer.tracker, range(37, 41), **served_by_champion(retrainer), shift=-2.5)
        back = look(retrainer, 41)
        assert (back.status, back.champion) == ("rolled_back", "v000001")
        assert retrainer.registry.aliases()["previous"] is None
        statuses = [run["status"] for run in retrainer.runs.recent()]
        assert statuses == ["rolled_back", "retrained", "no_retrain_needed", "retrained", "insufficient_data"]
        assert set(statuses) <= set(STATUSES)
        json.dumps([back.as_dict(), retrainer.stats(morning(41)), retrainer.model_info()], allow_nan=False)


def trained_ahead(*args, **more):
    """A challenger of a clock that was 40 days ahead."""
    model = train_challenger(*args, **more)
    model.manifest["trained_until"] += 40
    return model


def dated_ahead(retrainer, days):
    """As if the moves so far had been made by a clock so many days ahead."""
    path = retrainer.registry.folder / "aliases.json"
    told = json.loads(path.read_text())
    for move in told["moves"]:
        move["at"] = (dt.datetime.fromisoformat(move["at"]) + dt.timedelta(days=days)).isoformat()
    path.write_text(json.dumps(told))


def test_a_champion_promoted_by_a_clock_ahead_is_judged_by_what_came_since(sqlite, tmp_path, monkeypatch):
    with loop(sqlite, tmp_path) as retrainer:
        with monkeypatch.context() as patched:
            patched.setattr("gaelp.prediction.look.train_challenger", trained_ahead)
            with_champion(retrainer)
        dated_ahead(retrainer, 40)
        fill(retrainer.tracker, range(20, 27), **served_by_champion(retrainer))
        assert look(retrainer, 27).status == "no_retrain_needed"
        # the number's effect turns: the guard sees it, and days that the champion has not learnt from judge
        fill(retrainer.tracker, range(27, 37), **served_by_champion(retrainer), turn=-1.0)
        turned = look(retrainer, 37)
        assert (turned.status, turned.champion) == ("retrained", "v000002"), turned.message
        # dated by the clock put right again, the newer champion is judged by its own days
        fill(retrainer.tracker, range(37, 40), **served_by_champion(retrainer), turn=-1.0)
        assert look(retrainer, 40).figures["accuracy"]["rows"] == 3 * 60


def test_a_move_dated_ahead_counts_as_made_with_the_one_before_it():
    def move(day):
        at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=day)
        return Move(action="reject", aliases={}, who="test", why="test", at=at.isoformat())

    now_us = 10 * DAY_US
    assert days_of([move(day) for day in (90, 3, 50, 51, 7, 10, 11)], now_us) == [0, 3, 3, 3, 7, 10, 10]


def test_a_day_that_is_known_false_stays_so_when_it_has_come():
    def move(day):
        at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=day)
        return Move(action="reject", aliases={}, who="test", why="test", at=at.isoformat())

    moves = [move(day) for day in (90, 3, 50, 51, 7)]
    for today in (7, 10, 50, 89, 90, 95, 1000):
        assert days_of(moves, today * DAY_US) == [0, 3, 3, 3, 7]
    alone = [move(day) for day in (3, 90)]  # with none after it, it cannot be told from a true one later
    assert [days_of(alone, today * DAY_US) for today in (89, 90)] == [[3, 3], [3, 90]]
    same = [move(day) for day in (3.6, 3.5, 3.9)]  # hours do not matter
    assert days_of(same, 3 * DAY_US) == [3, 3, 3] and days_of([], DAY_US) == []


def test_what_a_clock_ahead_has_dated_is_known_false_when_that_day_is_over(sqlite, tmp_path, monkeypatch):
    with loop(sqlite, tmp_path) as retrainer:
        with monkeypatch.context() as patched:
            patched.setattr("gaelp.prediction.look.train_challenger", trained_ahead)
            with_champion(retrainer)
        dated_ahead(retrainer, 40)  # as if promoted on day 60, by a model that has learnt until day 59
        fill(retrainer.tracker, range(20, 27), **served_by_champion(retrainer))
        assert look(retrainer, 27, force=True).status == "challenger_rejected"  # moves that are dated right
        fill(retrainer.tracker, range(27, 61), **served_by_champion(retrainer))
        found = look(retrainer, 61, force=True)
        assert found.figures["accuracy"]["rows"] == 7 * 60
        assert found.figures["gate"]["figures"]["challenger"]["rows"] == 3 * 60


def test_a_challenger_learns_only_from_days_before_those_that_judge_it(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        with_champion(retrainer)
        told = retrainer.model_info()["champion"]["manifest"]
        assert told["data"]["last_day"] == told["trained_until"]
        gate = retrainer.runs.recent(1)[0]["figures"]["gate"]["figures"]["challenger"]
        assert (gate["rows"], told["data"]["rows"]) == (3 * 60, 17 * 60)
        # forced on the next day: two of the three days have promoted the champion, and judge again
        fill(retrainer.tracker, [20], **served_by_champion(retrainer))
        forced = look(retrainer, 21, force=True)
        assert forced.status == "challenger_rejected"
        assert [each.code for each in forced.reasons] == ["forced", "not_better"]
        assert retrainer.registry.aliases() == {"champion": "v000001", "challenger": None, "previous": None}


def test_a_model_comes_near_the_true_chance(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        with_champion(retrainer)
        rng = np.random.default_rng(1)
        x, site = rng.normal(size=2000), rng.integers(0, 8, 2000)
        rows = [{"x": float(a), "site": "abcdefgh"[b]} for a, b in zip(x, site, strict=True)]
        chance = Predictor(retrainer.registry).predict(rows)[1]
        true = chance_of(x, site)
        assert abs(chance.mean() / true.mean() - 1) < 0.03
        assert np.corrcoef(chance, true)[0, 1] > 0.97


def test_the_same_request_again_brings_the_recorded_reply_after_a_restart_too(url, tmp_path):
    with loop(url, tmp_path) as retrainer:
        fill(retrainer.tracker, range(20))
        first = look(retrainer, 20, request_id="monday")
        assert look(retrainer, 20, request_id="monday") == first
    with loop(url, tmp_path) as again:
        known = look(again, 30, request_id="monday")
        assert (known.run_id, known.status, known.reasons) == (first.run_id, first.status, first.reasons)
        assert known.improvement == first.improvement and known.started == first.started
        assert len(again.runs.recent()) == 1


def test_who_finds_another_run_on_is_told_at_once(url, tmp_path):
    with loop(url, tmp_path) as retrainer:
        with alone_in(retrainer.database):
            assert look(retrainer, 0, request_id="x").status == "locked"
        assert retrainer.runs.recent() == []
        assert look(retrainer, 0, request_id="x").status == "insufficient_data"


def test_a_run_that_died_is_told_so_by_the_next(url, tmp_path):
    with loop(url, tmp_path) as retrainer:
        run, _ = retrainer.runs.begin(trigger="daily", who="cron", target="ctr", now_us=0, request_id="r")
        assert look(retrainer, 0).status == "insufficient_data"
        died = next(each for each in retrainer.runs.recent() if each["run_id"] == run)
        assert (died["status"], died["message"]) == ("error", DIED)
        assert look(retrainer, 0, request_id="r").message == DIED


def test_the_key_of_a_run_that_died_brings_its_error_and_the_next_key_works(url, tmp_path):
    with loop(url, tmp_path) as retrainer:
        said = {"trigger": "daily", "who": "cron", "target": "ctr", "now_us": 0}
        run, _ = retrainer.runs.begin(**said, request_id="r")
        for _ in range(2):
            again = look(retrainer, 0, request_id="r")
            assert (again.run_id, again.status, again.message) == (run, "error", DIED)
        assert retrainer.runs.running() is None
        assert look(retrainer, 0, request_id="s").status == "insufficient_data"


def test_a_stray_folder_among_the_versions_stops_no_training(sqlite, tmp_path):
    (tmp_path / "models" / "versions" / "v-old").mkdir(parents=True)
    with loop(sqlite, tmp_path) as retrainer:
        with_champion(retrainer)
        assert [each.name for each in retrainer.registry.versions()] == ["v000001"]


def test_what_goes_wrong_at_work_is_an_error_and_the_next_check_works(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        with_champion(retrainer)
        part = retrainer.registry.get("champion").folder / "model.ubj"
        whole = part.read_bytes()
        part.write_bytes(b"broken")
        fill(retrainer.tracker, range(20, 27), version="v000001", shift=1.0)
        failed = look(retrainer, 27)
        assert failed.status == "error" and "model.ubj" in failed.message
        assert failed.figures["accuracy"]["rows"] == 420
        part.write_bytes(whole)
        assert look(retrainer, 28).status == "retrained"
        assert [run["status"] for run in retrainer.runs.recent()] == ["retrained", "error", "retrained"]


def test_a_challenger_left_by_a_run_that_died_is_no_challenger_any_more(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        with_champion(retrainer)
        retrainer.registry.challenge("v000001", who="x", why="y", now=morning(20))
        look(retrainer, 21)
        assert retrainer.registry.aliases()["challenger"] is None
        assert retrainer.registry.moves()[-1].why == "its run did not end"


def test_what_makes_no_sense_is_refused_and_leaves_no_run(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        for wrong in (
            {"trigger": "weekly"},
            {"who": " "},
            {"now": dt.datetime(2026, 3, 1)},
            {"request_id": "a\0"},
        ):
            with pytest.raises(BadInput):
                look(retrainer, 0, **wrong)
        assert retrainer.runs.recent() == []


def test_predictions_without_features_teach_nothing_and_are_counted(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        fill(retrainer.tracker, range(20))
        with retrainer.database.writing() as connection:
            connection.execute(sa.text("UPDATE prediction_records SET features = NULL"))
        assert look(retrainer, 20).status == "insufficient_data"
        samples = retrainer.stats(morning(20))["samples"]
        assert (samples["predictions"], samples["with_features"]) == (1200, 0)


def test_purchases_are_counted_of_the_days_that_teach(sqlite, tmp_path):
    with loop(sqlite, tmp_path, train_days=5) as retrainer:
        for day in (9, 14, 15, 19, 20):  # at two o'clock; days 15 to 19 teach
            signal = PurchaseSignal(event_id=f"order-{day}", at=morning(day))
            retrainer.process_purchase_signal(signal, now=morning(20))
        assert retrainer.stats(morning(20))["samples"]["purchases"] == 2


def test_the_briefs_rule_can_be_chosen(sqlite, tmp_path):
    settings = {"rule": "compatible", "mae_limit": 0.02, "least_samples": 50, "least_impressions": 100}
    with loop(sqlite, tmp_path, **settings) as retrainer:
        with_champion(retrainer)
        fill(retrainer.tracker, range(20, 27), **served_by_champion(retrainer))
        assert look(retrainer, 27).status == "no_retrain_needed"
        fill(retrainer.tracker, range(27, 34), version="v000001", predict=lambda _, true: true + 0.03)
        assert {"mae"} <= {each.code for each in look(retrainer, 34).reasons}


def test_drift_is_told_and_a_reason_where_it_is_to_be(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        with_champion(retrainer)
        fill(retrainer.tracker, range(20, 27), **served_by_champion(retrainer))
        t, other = prediction_records, '{"site":"a","x":3}'
        with retrainer.database.writing() as connection:
            connection.execute(t.update().where(t.c.model_version != "before").values(features=other))
        told = look(retrainer, 27)
        assert told.status == "no_retrain_needed" and told.figures["drift"]["features"]["x"]["drifted"]
    with loop(sqlite, tmp_path, drift="retrain") as retrainer:
        assert "drift" in {each.code for each in look(retrainer, 27).reasons}


def test_every_run_leaves_a_row_with_figures_and_seconds(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        with_champion(retrainer)
        with retrainer.database.reading() as connection:
            row = connection.execute(sa.select(retraining_runs)).mappings().one()
        assert (row["trigger"], row["who"], row["target"]) == ("daily", "cron", "ctr")
        assert row["ended_us"] > row["started_us"] and row["training_s"] > 0
        assert json.loads(row["figures"])["gate"]["status"] == "promoted"


def test_names_are_moved_by_hand_too(sqlite, tmp_path):
    with loop(sqlite, tmp_path) as retrainer:
        with_champion(retrainer)
        again = load(retrainer.registry.get("v000001").folder)
        assert again.manifest["code"] == retrainer.code
        version = retrainer.registry.register(
            retrainer.registry.get("v000001").folder,
            retrainer.registry.get("v000001").lineage,
            who="ann",
            why="copy",
            now=morning(20),
        )
        said = {"who": "ann", "why": "by hand", "now": morning(20)}
        assert retrainer.promote(version.name, **said).aliases["champion"] == "v000002"
        assert retrainer.roll_back(**said).aliases["champion"] == "v000001"
        with pytest.raises(UnknownName):
            retrainer.promote("v9", **said)


def true_loss(retrainer, version):
    """What a version's mean logloss is beyond that of the true chance, over many fresh rows."""
    rng = np.random.default_rng(99)
    x, site = rng.normal(size=4000), rng.integers(0, 8, 4000)
    rows = [{"x": float(a), "site": "abcdefgh"[b]} for a, b in zip(x, site, strict=True)]
    model, true = load(retrainer.registry.get(version).folder), chance_of(x, site)
    chance = model.predict(table_of(model.columns, rows))
    return float(np.mean(true * np.log(true / chance) + (1 - true) * np.log((1 - true) / (1 - chance))))


@pytest.mark.study
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rule", ["sound", "compatible"])
def test_new_champions_are_seldom_and_better_on_average_and_a_shift_is_followed(rule, tmp_path):
    """Daily looks: 30 days without a change, then a shift of the rate and of what the number does."""
    quiet, followed, gains = [], [], []
    for seed in range(6):
        with loop(f"sqlite:///{tmp_path}/{rule}{seed}.db", tmp_path / str(seed), rule=rule) as retrainer:
            fill(retrainer.tracker, range(20), seed=seed)
            assert look(retrainer, 20).status == "retrained"
            for day in range(20, 50):
                before = retrainer.registry.aliases()["champion"]
                fill(retrainer.tracker, [day], seed=seed, **served_by_champion(retrainer))
                found = look(retrainer, day + 1)
                if found.status == "retrained":
                    quiet.append(true_loss(retrainer, found.champion) / true_loss(retrainer, before))
            for day in range(50, 75):
                fill(
                    retrainer.tracker, [day], seed=seed, **served_by_champion(retrainer), shift=0.3, turn=0.5
                )
                found = look(retrainer, day + 1)
                if found.status == "retrained":
                    followed.append(day - 49)
                    gains.append(found.improvement["normalised_entropy"]["delta"])
                    break
    shares = [f"{each:.2f}" for each in quiet]
    print(f"{rule}: new champions on {len(quiet)} of 180 quiet days, loss beyond the truth times {shares};")
    print(f"after the shift on day {followed}, normalised entropy {np.mean(gains or [np.nan]):+.4f}")
    assert len(quiet) <= 0.05 * 180 and np.mean(quiet or [0.0]) < 1
    assert rule == "compatible" or len(followed) == 6
