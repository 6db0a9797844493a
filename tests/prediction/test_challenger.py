"""Challengers learn from counts as from single trials, from late conversions without bias, and as told."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.prediction.accuracy import AccuracyTracker, Outcome, Served
from gaelp.prediction.boosting import BoostedTrees, search_trees
from gaelp.prediction.calibration import fit_calibration
from gaelp.prediction.cells import columns_of, table_of, word
from gaelp.prediction.challenger import too_little, train_challenger
from gaelp.prediction.encoding import fit_encoding
from gaelp.prediction.logistic import fit_logistic
from gaelp.prediction.model import Ensemble
from gaelp.prediction.predictor import Predictor
from gaelp.prediction.retrain_config import RetrainConfig
from gaelp.prediction.retraining import PurchaseSignal, Retrainer
from gaelp.prediction.samples import read_samples
from gaelp.prediction.signals import keep_signal

from .streams import FIRST, SITES, fill, morning

DAY_0 = FIRST.toordinal() - dt.date(1970, 1, 1).toordinal()


@pytest.fixture
def tracker(tmp_path):
    with AccuracyTracker(tmp_path / "samples.db") as opened:
        yield opened


def samples_of(tracker, first=0, end=20, target="ctr"):
    return read_samples(tracker.database, target=target, first=DAY_0 + first, end=DAY_0 + end)


def one_by_one(examples):
    """The same rows, each trial a row of its own: the second implementation of a weight."""
    again = np.repeat(np.arange(len(examples)), examples.weight.astype(int))
    return replace(examples.take(again), weight=None)


@pytest.mark.golden
def test_counts_teach_what_their_trials_one_by_one_would(tracker):
    fill(tracker, range(4), trials=30)
    samples = samples_of(tracker)
    counted = samples.examples(samples.columns())
    assert counted.weight.sum() == 4 * 60 * 30
    assert counted.weight[counted.label].sum() == samples.outcomes.events.sum()
    single = one_by_one(counted)
    encoding, features = fit_encoding(counted, 0)
    other, repeated = fit_encoding(single, 0)
    assert encoding.to_bytes() == other.to_bytes()
    assert (np.repeat(features, counted.weight.astype(int), axis=0) == repeated).all()
    chance = np.random.default_rng(0).uniform(0.01, 0.2, len(counted))
    many = np.repeat(chance, counted.weight.astype(int))
    for kind in ("platt", "isotonic"):
        found = fit_calibration(kind, counted.label, chance, counted.weight)
        expected = fit_calibration(kind, single.label, many)
        assert found.apply(chance) == pytest.approx(expected.apply(chance), rel=1e-6)
    parts = []
    for rows in (counted, single):  # words alone: the bins of numbers are cut by rows, not by trials
        words = replace(rows, numeric=np.zeros((len(rows), 0)))
        early = rows.hour < rows.hour.max()
        parts.append(fit_logistic(words.take(early), words.take(~early), numeric=()))
    assert parts[0].raw(counted) == pytest.approx(parts[1].raw(counted), rel=1e-3)


def test_no_row_is_encoded_by_its_own_prediction(tracker):
    """A word of its own for each prediction: its rate must not tell the label of its rows."""
    fill(tracker, range(3))
    samples = samples_of(tracker)
    served = [{"site": f"word {number}"} for number in range(len(samples.served))]
    alone = replace(samples, served=served)
    examples = alone.examples(alone.columns())
    encoding, features = fit_encoding(examples, 0)
    assert np.ptp(features[:, 0]) == 0 and features[0, 0] == np.float32(encoding.base_rate)


def test_rows_of_a_table_are_what_was_served(tracker):
    fill(tracker, range(2))
    samples = samples_of(tracker)
    columns = samples.columns()
    assert (columns.numeric, columns.categorical) == (("x",), ("site",))
    part = samples.take(samples.outcomes.day == DAY_0 + 1)
    assert len(part) == 60 and part.rows()[0] == {"site": part.rows()[0]["site"], "x": part.rows()[0]["x"]}
    assert samples_of(tracker, 1, 2).sha256() != samples_of(tracker, 0, 1).sha256()
    assert samples.sha256() == samples_of(tracker).sha256()
    with pytest.raises(BadInput, match="features"):
        columns_of([{}], label="a", time="b")
    table = table_of(columns, [{"x": 1, "site": " a "}, {}])
    assert table.numeric[0, 0] == 1 and np.isnan(table.numeric[1, 0])
    assert table.categorical[0].words == ("a", "")
    assert [word("site", cell) for cell in (7, 7.0, 0.5, None, "7 ")] == ["7", "7", "0.5", "", "7"]
    with pytest.raises(BadInput, match="null"):
        tracker.record(
            [
                Served(
                    prediction_id="p", model_version="v", video_id="a", predicted=0.1, at=0,
                    features={"x": float("nan")},
                )
            ]
        )  # fmt: skip


def clicks_and_purchases(tracker, days, now, seed=0):
    """Clicks of which some are bought from within three days, mostly late; returns the true rates served."""
    rng, true = np.random.default_rng(seed), []
    for day in range(days):
        begin = dt.datetime.combine(FIRST, dt.time(), dt.UTC) + dt.timedelta(days=day)
        for number in range(40):
            site = int(rng.integers(0, 4))
            ever, clicks = 0.06 + 0.04 * site, 60
            lag = rng.exponential(30.0, rng.binomial(clicks, ever))
            lag = lag[lag <= 72.0]
            true.append((day, site, ever * -np.expm1(-72.0 / 30.0)))
            at = begin + np.array([dt.timedelta(hours=float(h)) for h in rng.uniform(0, 24, lag.size)])
            name = f"{day}-{number}"
            tracker.record(
                [
                    Served(
                        prediction_id=name, model_version="before", video_id=f"ad{number}", predicted=0.1,
                        at=begin, target="cvr", features={"site": SITES[site]},
                    )
                ]
            )  # fmt: skip
            bought = [click + dt.timedelta(hours=float(h)) for click, h in zip(at, lag, strict=True)]
            for index, (click, moment) in enumerate(zip(at, bought, strict=True)):
                if moment <= now:
                    signal = PurchaseSignal(
                        event_id=f"{name}-{index}", at=moment, clicked_at=click, prediction_id=name
                    )
                    keep_signal(tracker.database, signal, now)
            told = min(now, begin + dt.timedelta(days=5))
            events = sum(moment <= told for moment in bought)
            tracker.match([Outcome(prediction_id=name, day=begin.date(), trials=clicks, events=events)], told)
    return true


@pytest.mark.slow
@pytest.mark.statistical
def test_conversions_that_come_late_are_learnt_without_bias_and_judged_when_final(tmp_path):
    days, now = 16, morning(16)
    config = RetrainConfig(target="cvr", horizon_hours=72.0, judge_days=4, clusters=10)
    with Retrainer(tmp_path / "late.db", tmp_path / "models", config) as retrainer:
        true = clicks_and_purchases(retrainer.tracker, days, now)
        samples = samples_of(retrainer.tracker, 0, days, "cvr")
        assert samples.delay.size and samples.delay.max() <= 72.0
        young = samples.outcomes.day >= DAY_0 + days - 2
        seen = np.bincount(samples.purchase, minlength=len(samples))[young].sum()
        expected = sum(rate * 60 for day, _, rate in true if day >= days - 2)
        assert seen < 0.6 * expected  # what a table of today would say of the last two days
        model = train_challenger(samples, config, end=DAY_0 + days, code={})
        assert model.buckets is not None and model.manifest["data"]["purchases"] == samples.delay.size
        predicted = samples.score(model).predicted[young]
        se = np.sqrt(1 / samples.delay.size)
        assert abs(predicted.sum() * 60 / expected - 1) < 4 * se + 0.03
        reply = retrainer.check(trigger="manual", who="test", now=now)
        assert reply.status == "retrained"
        gate = reply.figures["gate"]["figures"]["challenger"]
        assert gate["rows"] == 4 * 40  # four days, each told after its horizon
        assert abs(gate["calibration_ratio"]["value"] - 1) < 4 * gate["calibration_ratio"]["noise"] + 0.03


def test_too_little_to_learn_from_is_said(tracker):
    config = RetrainConfig()
    assert too_little(samples_of(tracker), config, DAY_0).code == "too_few_samples"
    fill(tracker, range(2), trials=1)
    few = too_little(samples_of(tracker), config, DAY_0 + 2)
    assert few.code == "too_few_events" and few.value < few.limit
    fill(tracker, range(2, 4))
    assert too_little(samples_of(tracker), config, DAY_0 + 4) is None


def test_search_tries_the_usual_settings_too_and_takes_the_best(tracker):
    fill(tracker, range(8))
    samples = samples_of(tracker)
    rows = samples.examples(samples.columns())
    late = rows.hour > rows.hour.max() - 48
    said = {"seed": 0, "threads": 1, "numeric": ("x",), "draws": 3}
    best, tried = search_trees(rows.take(~late), rows.take(late), **said)
    assert len(tried) == 4 and set(tried[0]) == {"logloss"}
    assert min(each["logloss"] for each in tried) <= tried[0]["logloss"]
    assert {**best, "logloss": min(each["logloss"] for each in tried)} in tried
    model = train_challenger(samples, RetrainConfig(search=3), end=DAY_0 + 8, code={})
    assert len(model.manifest["recipe"]["tried"]) == 4


def test_an_ensemble_has_so_many_members_that_differ(tracker):
    fill(tracker, range(8))
    samples = samples_of(tracker)
    model = train_challenger(samples, RetrainConfig(ensemble=3), end=DAY_0 + 8, code={})
    assert isinstance(model.scorer, Ensemble) and len(model.scorer.members) == 3
    table = table_of(model.columns, samples.rows())
    parts = np.array([member.raw(table) for member in model.scorer.members])
    assert np.ptp(parts, axis=0).max() > 0
    logits = np.log(parts / (1 - parts)).mean(axis=0)
    assert model.scorer.raw(table) == pytest.approx(1 / (1 + np.exp(-logits)))


def test_a_model_is_continued_on_later_days_only(tmp_path):
    config = RetrainConfig(incremental=True)
    with Retrainer(tmp_path / "more.db", tmp_path / "models", config) as retrainer:
        fill(retrainer.tracker, range(20))
        said = {"trigger": "manual", "who": "test"}
        assert retrainer.check(now=morning(20), **said).status == "retrained"
        first = retrainer.model_info()["champion"]
        fill(retrainer.tracker, range(20, 40), version="v000001", shift=0.7)
        reply = retrainer.check(now=morning(40), **said)
        assert reply.status == "retrained"
        second = retrainer.model_info()["champion"]
        assert second["parent"] == "v000001"
        assert second["manifest"]["recipe"]["continues"] == first["manifest"]["model_id"]
        assert second["manifest"]["data"]["first_day"] == first["manifest"]["trained_until"] + 1
        assert second["manifest"]["recipe"]["n_trees"] > first["manifest"]["recipe"]["n_trees"][0]
        scorer = Predictor(retrainer.registry).model.scorer
        assert isinstance(scorer, BoostedTrees) and scorer.onnx is not None


def test_a_challenger_in_shadow_is_judged_by_the_days_it_was_there(tmp_path):
    config = RetrainConfig(shadow_days=3)
    with Retrainer(tmp_path / "shadow.db", tmp_path / "models", config) as retrainer:
        fill(retrainer.tracker, range(10))

        def look(day, **asked):
            return retrainer.check(trigger="daily", who="cron", now=morning(day), **asked)

        begun = look(10)
        assert (begun.status, begun.champion, begun.challenger) == ("retrained", None, "v000001")
        assert begun.reasons[-1].code == "in_shadow" and begun.improvement is None
        for day in range(11, 14):
            fill(retrainer.tracker, [day - 1])
            waiting = look(day)
            assert (waiting.status, waiting.reasons[0].code) == ("no_retrain_needed", "in_shadow")
        fill(retrainer.tracker, [13])
        judged = look(14)
        assert (judged.status, judged.champion) == ("retrained", "v000001")
        assert judged.figures["gate"]["figures"]["challenger"]["rows"] == 3 * 60
        told = retrainer.model_info()["champion"]["manifest"]
        assert told["data"]["last_day"] == DAY_0 + 9  # it has learnt from all days before its shadow


def test_settings_are_read_from_file_and_environment(tmp_path):
    path = tmp_path / "gaelp.toml"
    path.write_text('[retraining]\nrule = "compatible"\nalpha = 0.01\ncategorical = ["site"]\n')
    found = RetrainConfig.read(path, {"GAELP_RETRAIN_ALPHA": "0.02", "GAELP_RETRAIN_INCREMENTAL": "true"})
    assert (found.rule, found.alpha, found.categorical) == ("compatible", 0.02, ("site",))
    assert found.incremental is True and found.judge_days == RetrainConfig().judge_days
    assert RetrainConfig.read(None, {}) == RetrainConfig()
    for text, error, said in (
        ("[retraining]\njudge_dayz = 3", UnknownName, "Did you mean 'judge_days'"),
        ("[retraining]\njudge_days = 2.5", BadInput, "whole number"),
        ('[retraining]\nrule = "sond"', UnknownName, "Did you mean 'sound'"),
        ("[retraining]\nensemble = 0", BadInput, "from 1 to 32"),
        ("[retraining]\nincremental = true\nensemble = 2", BadInput, "incremental"),
        ("[retraining]\ndaily_hour = 2.5", BadInput, "whole number"),
        ("[retrainig]\nalpha = 0.01", UnknownName, "Did you mean 'retraining'"),
        ("retraining = 3", BadInput, "table"),
        ("[retraining", BadInput, "could not be read"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=said):
            RetrainConfig.read(path, {})


@pytest.mark.parametrize(
    ("name", "value"), [("daily_hour", 2.5), ("looks", True), ("alpha", "0.05"), ("incremental", 1)]
)
def test_a_setting_of_another_kind_is_refused(name, value):
    with pytest.raises(BadInput, match=name):
        RetrainConfig(**{name: value})
