"""Predictions are kept and matched with what came of them; figures stand beside what luck makes them."""

import datetime as dt
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from scipy.special import expit, logit
from scipy.stats import binom, norm

from gaelp.core.errors import BadInput, MismatchError
from gaelp.journeys.database import Database
from gaelp.journeys.schema import metadata as journey_metadata
from gaelp.prediction import metrics
from gaelp.prediction.accuracy import AccuracyTracker, Outcome, Served, Video, tell_outcomes
from gaelp.prediction.figures import FIGURES, accuracy_figures
from gaelp.prediction.metrics import calibration_line
from gaelp.prediction.noise import (
    Outcomes,
    dispersion,
    expected_absolute_error,
    slope_weight,
    tail,
    two_sided,
)
from gaelp.prediction.schema import metadata, prediction_records

from ..journeys.conftest import Postgres
from .creatives import days_of, true_rates

DAY = dt.date(2026, 3, 10)
NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
A_DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def tracker(request, tmp_path):
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    else:
        url = f"sqlite:///{tmp_path}/predictions.db"
    with AccuracyTracker(url) as opened:
        yield opened


def served(number, predicted=0.02, **changes):
    return Served(
        **{
            "prediction_id": f"p{number}",
            "model_version": "v000001",
            "video_id": f"ad{number % 3}",
            "predicted": predicted,
            "at": NOON - 10 * A_DAY,
            **changes,
        }
    )


def came(number, day=DAY, trials=1000, events=20):
    return Outcome(prediction_id=f"p{number}", day=day, trials=trials, events=events)


def one_row(p, n, k):
    return Outcomes(np.array([p]), np.array([n]), np.array([k]), np.array([0]), np.array([0]))


# The tables of section 2.1 of the study of operations, by exact sums


@pytest.mark.golden
@pytest.mark.parametrize(
    ("impressions", "published"),
    [
        (100, [0.006, 0.007, 0.011, 0.017, 0.021, 0.024]),
        (1000, [0.002, 0.003, 0.004, 0.006, 0.007, 0.008]),
        (10_000, [0.0006, None, None, None, None, 0.0024]),
    ],
)
def test_the_noise_floor_of_mae_is_that_of_the_published_table(impressions, published):
    rates = [0.005, 0.01, 0.02, 0.05, 0.08, 0.10]
    found = expected_absolute_error(rates, impressions)
    digits = 4 if impressions == 10_000 else 3
    for value, expected in zip(found, published, strict=True):
        # the table was rounded to four digits, then to three: 1,000 impressions at 1 % give 0.00249
        shown = np.floor(np.round(value, 4) * 10**digits + 0.5) / 10**digits
        assert expected is None or shown == pytest.approx(expected)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("impressions", "best_r2", "always_mean"),
    [(100, 0.37, 0.013), (1000, 0.85, 0.009), (10_000, 0.98, 0.008)],
)
def test_the_best_r2_and_useless_models_are_those_of_the_published_table(impressions, best_r2, always_mean):
    rates = 0.02 * np.exp(0.5 * norm.ppf((np.arange(4000) + 0.5) / 4000) - 0.125)  # lognormal, cv 0.53
    trials = np.full(4000, impressions)
    events = binom.ppf(np.random.default_rng(0).random(4000), trials, rates).astype(int)
    figures = accuracy_figures(Outcomes(rates, trials, events, np.arange(4000), np.zeros(4000, int)))
    assert abs(figures["r2"]["floor"] - best_r2) <= 0.0075  # the table's were simulated
    assert abs(figures["r2"]["value"] - best_r2) <= 0.05
    assert abs(expected_absolute_error(rates, trials, 0.02).mean() - always_mean) <= 0.0005
    assert abs(expected_absolute_error(rates, trials, 0.0).mean() - 0.020) <= 0.0005


@pytest.mark.golden
def test_the_mean_absolute_error_is_the_sum_over_all_counts():
    for n, p, q in itertools.product((1, 7, 100), (0.0, 0.013, 0.5, 1.0), (0.0, 0.02, 0.5, 0.97, 1.0)):
        k = np.arange(n + 1)
        exact = binom.pmf(k, n, p) @ np.abs(k / n - q)
        assert expected_absolute_error(p, n, q) == pytest.approx(exact, abs=1e-12)
    n, p = 100, 0.08
    v = np.floor(n * p) + 1  # de Moivre: E|K - np| = 2 v (1 - p) times the weight of v
    assert expected_absolute_error(p, n) == pytest.approx(2 * v * (1 - p) * binom.pmf(v, n, p) / n)


@pytest.mark.golden
@pytest.mark.parametrize(("n", "p"), [(20_000, 0.005), (400, 0.5), (60, 0.9), (3000, 0.001)])
def test_tails_are_those_of_the_binomial_law_far_out_too(n, p):
    mean, sd = n * p, np.sqrt(n * p * (1 - p))
    for z in (-5, -3.5, -2, -0.5, 0.5, 2, 3.5, 5):
        k = int(np.clip(round(mean + z * sd), 1, n - 1))
        row = one_row(p, n, k)
        assert tail(row) == pytest.approx(binom.sf(k - 1, n, p), rel=0.03)
        assert tail(row, above=False) == pytest.approx(binom.cdf(k, n, p), rel=0.03)
    assert two_sided(one_row(p, n, round(mean))) > 0.9
    assert tail(one_row(0.5, 10, 0), above=False) == pytest.approx(0.5**10, rel=0.15)


@pytest.mark.statistical
def test_p_values_of_a_right_model_are_even():
    rng = np.random.default_rng(0)
    rates = true_rates(rng, 0.02, n=60)
    weights = {"logloss": lambda rows: -logit(rows.chance), "slope": slope_weight}
    for weight in weights.values():
        found = []
        for _ in range(400):
            rows = days_of(rng, rates, days=1, impressions=500)
            found.append(tail(rows, weight(rows)))
        for level in (0.05, 0.5):
            assert abs(np.mean(np.array(found) < level) - level) < 4 * np.sqrt(level * (1 - level) / 400)


@pytest.mark.statistical
def test_floors_and_noise_are_mean_and_spread_of_figures_of_a_right_model():
    rng = np.random.default_rng(1)
    rates, drawn = true_rates(rng, 0.05, n=40), []
    for _ in range(300):
        trials = np.tile([100, 1000], 20)
        rows = Outcomes(rates, trials, rng.binomial(trials, rates), np.arange(40), np.zeros(40, int))
        drawn.append(accuracy_figures(rows))
    for name in FIGURES:
        values = np.array([each[name]["value"] for each in drawn])
        floor, noise = drawn[0][name]["floor"], drawn[0][name]["noise"]
        loose = 0.1 * abs(floor) if name in ("r2", "r2_per_row") else 0.05 * floor if name == "ece" else 0.0
        if name == "calibration_slope":
            loose = 0.05
        assert abs(values.mean() - floor) < 4 * values.std() / np.sqrt(300) + loose, name
        assert noise is None or abs(values.std() / noise - 1) < 0.2, name


@pytest.mark.golden
def test_figures_are_those_of_the_same_trials_row_by_row():
    rng = np.random.default_rng(2)
    rows = days_of(rng, true_rates(rng, 0.1, n=30), days=1, impressions=200)
    rows = replace(rows, predicted=expit(0.3 + 0.8 * logit(rows.predicted)))
    label = np.concatenate([np.arange(200) < k for k in rows.events])
    expected = metrics.response_metrics(label, np.repeat(rows.predicted, 200))
    figures = accuracy_figures(rows)
    for name in ("logloss", "normalised_entropy", "calibration_slope"):
        assert figures[name]["value"] == pytest.approx(expected[name])
    assert figures["calibration_slope"]["noise"] == pytest.approx(expected["calibration_slope_se"])
    assert calibration_line(rows.events, rows.chance, rows.trials)[1] == pytest.approx(
        expected["calibration_intercept"]
    )


def test_dispersion_is_one_for_a_right_model_and_tells_creatives_that_differ():
    rng = np.random.default_rng(3)
    rates = true_rates(rng, 0.02, n=300)
    right = [dispersion(days_of(rng, rates, days=2)) for _ in range(20)]
    assert abs(np.mean(right) - 1) < 0.1
    assert dispersion(days_of(rng, rates, days=2, shift=1.5)) < 1.4
    n, beyond = 10_000, 0.3
    expected = 1 + n * 0.02 * beyond**2  # npq (1 + npq s²), the rates' spread on the scale of logits
    found = dispersion(days_of(rng, np.full(300, 0.02), days=1, impressions=n, beyond=beyond))
    assert found == pytest.approx(expected, rel=0.35)
    assert dispersion(one_row(0.1, 100, 50)) == 1.0


def test_predictions_are_matched_with_what_came_of_them(tracker):
    assert tracker.record([served(i, predicted=0.01 * (i + 1)) for i in range(4)]) == 4
    assert tracker.record([served(0, predicted=0.9), served(4)]) == 1  # told again: ignored
    told = [came(i, day=DAY - A_DAY, events=10 * i) for i in range(4)] + [came(0, day=DAY - 7 * A_DAY)]
    assert tracker.match(told, NOON) == 5
    found = tracker.outcomes(NOON)
    assert found.predicted.tolist() == [0.01, 0.01, 0.02, 0.03, 0.04]
    assert found.events.tolist() == [20, 0, 10, 20, 30] and found.group.tolist() == [0, 0, 1, 2, 0]
    assert len(tracker.outcomes(NOON + A_DAY)) == 4  # the oldest is past the look-back
    assert len(tracker.outcomes(NOON, days=1)) == 4
    assert len(tracker.outcomes(NOON - A_DAY)) == 1  # the day is not over
    assert len(tracker.outcomes(NOON, model_version="v000002")) == 0
    assert len(tracker.outcomes(NOON, target="cvr")) == 0


def test_what_is_told_later_replaces_and_what_is_older_does_not(tracker):
    tracker.record([served(0)])
    yesterday = DAY - A_DAY
    tracker.match([came(0, yesterday, 100, 1)], NOON)
    assert tracker.match([came(0, yesterday, 150, 3)], NOON + A_DAY) == 1
    assert tracker.match([came(0, yesterday, 90, 0)], NOON) == 0
    found = tracker.outcomes(NOON)
    assert (found.trials.tolist(), found.events.tolist()) == ([150], [3])


def test_what_cannot_be_is_refused_and_nothing_is_stored(tracker):
    tracker.record([served(0)])
    for wrong in (
        lambda: tracker.record([served(1), served(2, predicted=1.2)]),
        lambda: tracker.record([served(1, at=dt.datetime(2026, 3, 1))]),
        lambda: tracker.match([came(0), came(7)], NOON),
        lambda: tracker.match([came(0), came(0, day=DAY - A_DAY, events=2000)], NOON),
        lambda: tracker.match([came(0, trials=0, events=0)], NOON),
        lambda: tracker.match([came(0, day=DAY + A_DAY)], NOON),
    ):
        with pytest.raises(BadInput):
            wrong()
    assert len(tracker.outcomes(NOON + 2 * A_DAY)) == 0
    assert tracker.record([served(1)]) == 1
    assert tracker.match([], NOON) == 0 == tracker.record([])


@pytest.mark.parametrize("other", [dt.date(2026, 3, 9), dt.datetime(2026, 3, 9, 20)])
def test_a_prediction_and_day_come_once_in_a_telling(tracker, other):
    tracker.record([served(0), served(1)])
    yesterday = DAY - A_DAY
    told = [came(0, yesterday, 100, 1), came(1, yesterday), came(0, other, 50, 2)]
    for tell in (tracker.match, lambda *given: tell_outcomes(tracker, *given)):
        with pytest.raises(BadInput, match=r"2026-03-09.*index 2, prediction p0.*index 0 tells.*Sum rows"):
            tell(told, NOON)
    assert len(tracker.outcomes(NOON)) == 0
    assert tell_outcomes(tracker, told[:2], NOON) == {"told": 2, "new": 2, "restated": 0}


def test_an_outcome_is_not_before_its_prediction_but_for_a_zone(tracker):
    just_after_midnight = dt.datetime(2026, 3, 5, 0, 1, tzinfo=dt.UTC)
    tracker.record([served(0, at=just_after_midnight), served(1)])
    for day in (dt.date(2026, 3, 3), dt.date(2025, 3, 5)):
        with pytest.raises(BadInput, match=f"{day} .index 1, prediction p0.*before 2026-03-05"):
            tracker.match([came(1, DAY - A_DAY), came(0, day)], NOON)
    assert len(tracker.outcomes(NOON)) == 0
    assert tracker.match([came(0, dt.date(2026, 3, 4)), came(0, dt.date(2026, 3, 5))], NOON) == 2


def test_what_is_wrong_of_an_outcome_names_it(tracker):
    tracker.record([served(0)])
    for wrong, said in (
        (came(0, trials=10, events=11), "events 11, trials 10 .index 1, prediction p0"),
        (came(0, day=DAY + A_DAY), "2026-03-11 .index 1, prediction p0"),
        (came(7), "'p7'; must have been recorded .index 1"),
    ):
        with pytest.raises(BadInput, match=said):
            tracker.match([came(0, DAY - A_DAY), wrong], NOON)


def test_a_report_stands_beside_its_floors(tracker):
    rng = np.random.default_rng(5)
    rates = true_rates(rng, 0.05, n=300)
    tracker.record([served(i, predicted=float(rate)) for i, rate in enumerate(rates)])
    tracker.match(
        [came(i, DAY - A_DAY, 500, int(rng.binomial(500, rate))) for i, rate in enumerate(rates)], NOON
    )
    report = tracker.report(NOON, model_version="v000001")
    assert (report["rows"], report["trials"]) == (300, 150_000)
    for name in ("mae", "logloss", "normalised_entropy", "calibration_ratio", "calibration_slope"):
        figure = report[name]
        assert abs(figure["value"] - figure["floor"]) < 4 * figure["noise"], name
    json.dumps(report, allow_nan=False)
    empty = tracker.report(NOON, model_version="v9")
    assert empty["rows"] == 0 and empty["mae"] == {"value": None, "floor": None, "noise": None}


def test_creatives_are_kept_as_they_stand(tracker):
    first = Video(video_id="a", name="swing", channel="social", impressions=10, clicks=1, spend_micros=5)
    assert tracker.keep_videos([first, Video(video_id="b")], NOON) == 2
    later = replace(first, impressions=20)
    assert tracker.keep_videos([later], NOON + A_DAY) == 1
    assert tracker.keep_videos([first], NOON) == 0
    assert tracker.videos() == [later, Video(video_id="b")]


def test_the_migrations_make_what_the_schema_says_and_leave_journeys_alone(tracker):
    AccuracyTracker(tracker.database)  # again: nothing to do
    Database(tracker.database.url.render_as_string(hide_password=False)).close()
    with tracker.database.reading() as connection:
        for tables in (metadata, journey_metadata):
            mine = set(tables.tables)
            context = MigrationContext.configure(
                connection,
                opts={
                    "compare_type": True,
                    "version_table": "alembic_version_prediction",
                    "include_name": lambda name, kind, _, mine=mine: kind != "table" or name in mine,
                },
            )
            assert compare_metadata(context, tables) == []


def test_tables_of_a_newer_version_are_left_alone(tracker):
    with tracker.database.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version_prediction SET version_num = '9999'")
    with pytest.raises(MismatchError, match="9999"):
        AccuracyTracker(tracker.database)


def test_predictions_of_the_first_release_are_kept_without_features(tracker):
    tracker.record([served(0, features={"x": 1})])
    with tracker.database.writing() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "gaelp.prediction:migrations")
        config.set_main_option("path_separator", "os")
        command.downgrade(config, "0001")
    with AccuracyTracker(tracker.database).database.reading() as connection:
        rows = connection.execute(sa.select(prediction_records)).mappings().all()
    assert [(row["prediction_id"], row["features"]) for row in rows] == [("p0", None)]
