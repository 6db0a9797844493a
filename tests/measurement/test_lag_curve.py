"""The Kaplan-Meier curve and what hangs on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.measurement.lag.curve import kaplan_meier, log_rank

ROWS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40)


def by_hand(duration, event):
    """The product-limit estimator and Greenwood's sum, one event time after another."""
    survival, variance, told = 1.0, 0.0, []
    for time in sorted({t for t, e in zip(duration, event, strict=True) if e}):
        open_ = sum(t >= time for t in duration)
        ended = sum(t == time and e for t, e in zip(duration, event, strict=True))
        survival *= 1 - ended / open_
        variance += ended / (open_ * (open_ - ended)) if open_ > ended else np.inf
        told.append((time, survival, variance))
    return told


@given(ROWS)
def test_it_is_the_product_limit_estimator(rows):
    duration, event = zip(*rows, strict=True)
    curve, told = kaplan_meier(duration, event), by_hand(duration, event)
    assert list(curve.times) == [time for time, _, _ in told]
    assert curve.survival == pytest.approx([s for _, s, _ in told])
    assert curve.log_variance == pytest.approx([v for _, _, v in told])


@given(ROWS, st.randoms())
def test_order_of_rows_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    a, b = (kaplan_meier(*zip(*some, strict=True)) for some in (rows, shuffled))
    assert (a.times == b.times).all() and (a.survival == b.survival).all()


@given(ROWS, st.floats(0.5, 12.0))
def test_the_restricted_mean_is_the_area_under_the_curve(rows, horizon):
    curve = kaplan_meier(*zip(*rows, strict=True))
    if horizon > curve.last and (curve.survival[-1:] != 0).all():
        with pytest.raises(BadInput, match="horizon"):
            curve.rmst(horizon)
        return
    grid = (np.arange(20_000) + 0.5) * horizon / 20_000
    assert curve.rmst(horizon).value == pytest.approx(
        np.nan_to_num(curve.at(grid)).mean() * horizon, abs=1e-2
    )


def test_without_censoring_it_is_the_share_still_open():
    lag = np.random.default_rng(0).exponential(3.0, 500)
    curve = kaplan_meier(lag, np.ones(500))
    for time in (0.5, 1.0, 4.0):
        assert curve.at(time) == pytest.approx((lag > time).mean())
    assert curve.rmst().value == pytest.approx(lag.mean())
    assert curve.at(lag.max() + 1) == 0


def test_what_was_never_seen_is_not_told():
    curve = kaplan_meier([1, 2, 3, 10], [1, 0, 0, 0])
    assert curve.median is None and curve.quantile(0.2) == 1
    assert np.isnan(curve.at(10.5)) and curve.at(10) == 0.75
    assert kaplan_meier([3, 4], [0, 0]).at([1, 4]).tolist() == [1, 1]


@pytest.mark.statistical
def test_its_intervals_hold_their_level():
    rng = np.random.default_rng(1)
    hits, means = [], []
    for _ in range(400):
        lag, watched = rng.exponential(5.0, 200), rng.uniform(0, 15, 200)
        curve = kaplan_meier(np.minimum(lag, watched), lag <= watched)
        low, high = curve.interval_at(4.0)
        hits.append(low <= np.exp(-0.8) <= high)
        mean = curve.rmst(8.0)
        means.append(mean.low <= 5 * (1 - np.exp(-1.6)) <= mean.high)
    for share in (np.mean(hits), np.mean(means)):
        assert abs(share - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)


@pytest.mark.statistical
def test_the_log_rank_test_is_wrong_as_often_as_it_says():
    rng = np.random.default_rng(2)
    p = []
    for _ in range(500):
        lag, watched, group = rng.exponential(5, 90), rng.uniform(0, 12, 90), rng.integers(3, size=90)
        p.append(log_rank(np.minimum(lag, watched), lag <= watched, group)[1])
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.parametrize(
    ("duration", "event", "says"),
    [
        ([1, -2, 3], [1, 1, 0], r"duration\[1\]` was -2.0; must be finite and at least 0"),
        ([1, float("nan")], [1, 1], r"duration\[1\]` was nan"),
        ([1, 2], [1, 2], r"event\[1\]` was 2; must be 0 or 1"),
        ([], [], "at least one"),
        ([1, 2], [1], "as many as events"),
    ],
)
def test_rows_that_cannot_be_are_named(duration, event, says):
    with pytest.raises(BadInput, match=says):
        kaplan_meier(duration, event)


def test_one_group_cannot_be_compared():
    with pytest.raises(BadInput, match="two values"):
        log_rank([1, 2], [1, 1], ["a", "a"])
