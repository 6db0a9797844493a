"""Conversions that come late do not make young clicks look worthless."""

from dataclasses import replace

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.data.tables import CodedColumn
from gaelp.prediction.delay import DelayBuckets, delay_buckets
from gaelp.prediction.examples import Examples
from gaelp.prediction.training import Recipe, train

from .tables import TABLE, delayed_clicks

HORIZON = 336.0


def by_hand():
    """Four clicks at hours 0, 4, 8 and 9, known until hour 10; buckets end after 2 and 6 hours."""
    delay = np.array([1.0, 5.0, np.inf, 0.5])
    site = CodedColumn("site", np.zeros(4, np.int32), ("a",))
    hour = np.array([0.0, 4, 8, 9])
    return Examples(TABLE, np.isfinite(delay), np.zeros((4, 1)), (site,), hour, delay), DelayBuckets(
        (2.0, 6.0)
    )


def test_a_click_teaches_a_bucket_once_it_is_older_than_the_buckets_end():
    examples, buckets = by_hand()
    rows = buckets.expand(examples, as_of=10.0)
    # bucket 0: clicks of hours 0, 4, 8; bucket 1: that of hour 4, as that of hour 0 converted before it
    assert list(zip(rows.hour, rows.numeric[:, -1], rows.label, strict=True)) == [
        (0, 0, True), (4, 0, False), (8, 0, False), (4, 1, True)]  # fmt: skip
    assert buckets.expand(examples, as_of=9.5).label.tolist() == [True, False]  # nothing of hour 8 is final
    assert buckets.mature(examples, 10.0).tolist() == [True, True, False, False]


def test_what_comes_after_the_moment_is_not_known_yet():
    examples, buckets = by_hand()
    later = replace(examples, delay=np.array([7.0, 5.0, np.inf, 0.5]))
    assert not buckets.expand(later, as_of=6.5).label.any()


def test_chances_of_buckets_join_to_that_of_the_horizon():
    examples, buckets = by_hand()
    joined = buckets.within_horizon(examples, lambda rows: np.where(rows.numeric[:, -1] == 0, 0.5, 0.2))
    np.testing.assert_allclose(joined, 1 - 0.5 * 0.8)


def test_buckets_hold_about_as_many_conversions_each_and_end_at_the_horizon():
    examples, _, now = delayed_clicks(20_000)
    buckets = delay_buckets(examples, HORIZON, now)
    assert len(buckets.ends) == 6 and buckets.horizon == HORIZON and np.all(np.diff(buckets.ends) > 0)
    mature = examples.take(buckets.mature(examples, now))
    counts = np.histogram(mature.delay, [0, *buckets.ends])[0]
    assert counts.min() > 0.9 * counts.max()


def errors_by_age(kind, seed, n):
    """Relative errors of the level over the last 1, 3, 7 and 14 days: ours, and of labels as seen."""
    examples, truth, now = delayed_clicks(n, seed)
    recipe = Recipe(kind=kind, holdout=0.0, horizon=HORIZON, as_of=now)
    seen = train(replace(examples, delay=None), replace(recipe, horizon=None, as_of=None))
    young = [examples.hour > now - age for age in (24.0, 72, 168, 336)]
    found = [model.predict(examples) for model in (train(examples, recipe), seen)]
    return [[chance[rows].mean() / truth[rows].mean() - 1 for rows in young] for chance in found]


@pytest.mark.statistical
def test_young_clicks_are_worth_what_they_are():
    ours, seen = errors_by_age("xgboost", seed=0, n=20_000)
    # the level is set by some 500 conversions in rows of validation: one standard error is 4.5 %
    assert np.abs(ours).max() < 4 * 0.045
    assert np.max(seen) < -0.25


@pytest.mark.study
@pytest.mark.parametrize(("kind", "n_samples"), [("xgboost", 6), ("logistic", 3)])
def test_young_clicks_are_not_off_on_average(kind, n_samples):
    # (samples, ours or seen, ages)
    found = np.array([errors_by_age(kind, seed, 60_000) for seed in range(n_samples)])
    level = found[:, 0].mean(axis=1)
    print(kind, "mean error by age", found.mean(axis=0).round(4).tolist())
    assert abs(level.mean()) < 4 * level.std(ddof=1) / np.sqrt(len(level))
    assert np.abs(found[:, 0].mean(axis=0)).max() < 0.05 and found[:, 1].mean(axis=0).max() < -0.25


@pytest.mark.statistical
def test_a_rate_that_moved_within_the_horizon_is_followed():
    examples, truth, now = delayed_clicks(20_000, jump=0.5)
    recipe = Recipe(holdout=0.0, horizon=HORIZON, as_of=now)
    young = examples.hour > now - 168
    model = train(examples, recipe)
    mature = examples.take(examples.hour <= now - HORIZON)
    waited = train(
        replace(mature, label=mature.delay <= HORIZON, delay=None), replace(recipe, horizon=None, as_of=None)
    )
    error, waiting = (
        one.predict(examples)[young].mean() / truth[young].mean() - 1 for one in (model, waited)
    )
    assert abs(error) < 4 * 0.045
    assert waiting < -0.25  # clicks old enough for the horizon are all from before the jump


def test_rows_held_out_are_judged_when_they_are_old_enough_and_trained_without_what_came_later():
    examples, _, now = delayed_clicks(12_000)
    model = train(examples, Recipe(holdout=0.4, horizon=HORIZON, as_of=now))
    rows, metrics = model.manifest["rows"], model.manifest["metrics"]
    held = np.sort(examples.hour)[-rows["holdout"] :]
    assert metrics["n"] == np.count_nonzero(held <= now - HORIZON)
    assert abs(metrics["mean_predicted"] / metrics["base_rate"] - 1) < 0.2
    short = train(examples, Recipe(holdout=0.1, horizon=HORIZON, as_of=now))
    assert short.manifest["metrics"] is None  # none of the last six days is final


def test_what_makes_no_sense_is_refused():
    examples, _, now = delayed_clicks(3000)
    with pytest.raises(BadInput, match="`horizon` was None"):
        train(examples, Recipe(as_of=now))
    with pytest.raises(BadInput, match="must be the age of 100 clicks at least"):
        train(examples, Recipe(holdout=0.0, horizon=2000.0, as_of=now))
    with pytest.raises(BadInput, match="must be hours above 0"):
        train(examples, Recipe(holdout=0.0, horizon=-1.0, as_of=now))
