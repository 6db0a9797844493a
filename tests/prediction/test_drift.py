"""Features that change and losses that jump are noticed; luck is not."""

import importlib.util
from collections import deque

import numpy as np
import pytest
from scipy.stats import kstest

from gaelp.core.errors import BadInput
from gaelp.prediction.drift import Adwin, feature_drift, stability

HAS_RIVER = importlib.util.find_spec("river") is not None


def test_psi_is_the_sum_over_bins():
    before, after = ["a"] * 60 + ["b"] * 30 + ["c"] * 10, ["a"] * 30 + ["b"] * 30 + ["c"] * 40
    b, a = np.array([60.5, 30.5, 10.5]) / 101.5, np.array([30.5, 30.5, 40.5]) / 101.5
    found = stability(before, after)
    assert found.psi == pytest.approx(sum((a - b) * np.log(a / b))) and found.bins == 3
    assert found.floor == pytest.approx(2 * (1 / 100 + 1 / 100)) and found.drifted
    assert stability(after, before).psi == pytest.approx(found.psi)


def test_psi_without_drift_follows_its_law():
    rng = np.random.default_rng(0)
    n, m, words = 2000, 500, np.array(list("abcdef"))
    drawn = [stability(words[rng.integers(0, 6, n)], words[rng.integers(0, 6, m)]) for _ in range(200)]
    scaled = [each.psi / (1 / n + 1 / m) for each in drawn]
    assert kstest(scaled, "chi2", args=(5,)).pvalue > 0.001
    assert abs(np.mean([each.psi for each in drawn]) / drawn[0].floor - 1) < 4 * np.sqrt(2 / 5 / 200)
    assert not any(each.drifted for each in drawn)


def test_numbers_are_binned_by_quantiles_and_missing_ones_apart():
    rng = np.random.default_rng(1)
    before = rng.normal(size=5000)
    same, moved = rng.normal(size=5000), rng.normal(0.7, 1, 5000)
    gone = np.where(rng.random(5000) < 0.4, np.nan, same)
    assert stability(before, same).bins == 10 and not stability(before, same).drifted
    assert stability(before, moved).drifted and stability(before, gone).drifted
    flags = np.zeros(100, bool)
    assert stability(flags, flags).psi == 0.0
    found = feature_drift({"x": before, "y": before}, {"x": same, "y": moved})
    assert list(found) == ["y", "x"]


def test_tables_that_cannot_be_compared_are_refused():
    with pytest.raises(BadInput, match="must hold rows"):
        stability([], [1.0])
    with pytest.raises(BadInput, match="same before and after"):
        feature_drift({"x": [1]}, {"y": [1]})
    for wrong in (lambda: Adwin(0.0), lambda: Adwin().update(float("nan"))):
        with pytest.raises(BadInput):
            wrong()


def cuts(values, **options):
    watch = Adwin(**options)
    return [i for i, value in enumerate(values) if watch.update(float(value))]


def exact_window(values, delta=0.002):
    """The same rule on every border of a window kept in full: slow, with no histogram; first cut or None."""
    window = deque()
    for i, value in enumerate(values):
        window.append(value)
        if (i + 1) % 32:
            continue
        n = len(window)
        array = np.array(window)
        n_0 = np.arange(5, n - 4)
        sums = np.cumsum(array)[n_0 - 1]
        inverse = 1 / n_0 + 1 / (n - n_0)
        surprise = np.log(2 * np.log(n) / delta)
        allowed = np.sqrt(2 * inverse * array.var() * surprise) + 2 / 3 * inverse * surprise
        if (np.abs(sums / n_0 - (array.sum() - sums) / (n - n_0)) > allowed).any():
            return i
    return None


@pytest.mark.golden
def test_adwin_cuts_about_when_a_window_kept_in_full_does():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.random(1500) < 0.2, rng.random(1500) < 0.5]).astype(float)
        exact, found = exact_window(values), cuts(values)[0]
        assert exact is not None and exact <= found <= exact + 64  # fewer borders: never sooner, little later


def test_adwin_finds_a_step_of_clicks_and_forgets_what_was_before():
    rng = np.random.default_rng(0)
    clicks = np.concatenate([rng.random(20_000) < 0.02, rng.random(20_000) < 0.04])
    watch = Adwin()
    found = [i for i, value in enumerate(clicks) if watch.update(float(value))]
    assert 20_000 < found[0] < 25_000 and abs(watch.mean - 0.04) < 4 * np.sqrt(0.04 / watch.width)
    assert watch.width < 25_000


def test_adwin_is_quiet_where_nothing_changes():
    alarms = [len(cuts(np.random.default_rng(seed).random(5000) < 0.02)) for seed in range(10)]
    assert sum(alarms) <= 1


@pytest.mark.golden
@pytest.mark.skipif(not HAS_RIVER, reason="river is not installed: the other second implementation serves")
@pytest.mark.parametrize("rates", [(0.2, 0.5), (0.02, 0.04), (0.02, 0.02)])
def test_adwin_cuts_where_rivers_does(rates):
    from river.drift import ADWIN

    for seed in range(3):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.random(6000) < rate for rate in rates]).astype(float)
        theirs = ADWIN()
        expected = []
        for i, value in enumerate(values):
            theirs.update(value)
            expected += [i] if theirs.drift_detected else []
        assert cuts(values)[:1] == expected[:1]  # from then on river begins anew, as the paper does not
