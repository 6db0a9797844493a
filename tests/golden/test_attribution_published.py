"""Attribution against published examples and rules."""

import numpy as np
import pytest

from gaelp.journeys.table import JourneyTable, table_of_paths
from gaelp.measurement.attribution import Settings, attribute
from gaelp.measurement.attribution.heuristics import attribution_credit
from gaelp.measurement.attribution.markov import transition_matrix

pytestmark = pytest.mark.golden

# tests/test_mam.py of DP6/Marketing-Attribution-Models (Apache-2.0): nine paths, all converting
DP6 = [path.split(">") for path in ("A", "A>B", "A>B>C", "B", "B>A", "B>C>A", "C", "C>A", "C>B>A")]


def markov(paths, conversions, nulls=None, value_usd=None, order=1):
    table = table_of_paths(paths, conversions, nulls, value_usd)
    return attribute(table, ["markov"], Settings(order=order))[0]["markov"].credits


def timed(days_before, channels=None, end=1000.0):
    """One converted journey with touches so many days before the conversion."""
    n = len(days_before)
    channels = channels or [f"c{i}" for i in range(n)]
    return JourneyTable(
        channels=tuple(sorted(set(channels))),
        offsets=[0, n],
        channel=[sorted(set(channels)).index(name) for name in channels],
        conversions=[1],
        nulls=[0],
        value_usd_micros=[0],
        touch_hour=end * 24 - 24 * np.array(days_before),
        end_hour=[end * 24],
    )


def test_the_teaching_example_of_three_channels():
    """C1>C2>C3 converts, C1 and C2>C3 do not: removal effects 1/2, 1, 1 of a chance of 1/3."""
    found = markov([("C1", "C2", "C3"), ("C1",), ("C2", "C3")], [1, 0, 0], [0, 1, 1])
    np.testing.assert_allclose(found.removal_effect, [0.5, 1.0, 1.0], atol=5e-7)
    np.testing.assert_allclose(found.conversions, [0.2, 0.4, 0.4, 0.0], atol=5e-7)
    chances = transition_matrix(
        table_of_paths([("C1", "C2", "C3"), ("C1",), ("C2", "C3")], [1, 0, 0], [0, 1, 1])
    )
    np.testing.assert_allclose(
        chances, [[2 / 3, 1 / 3, 0, 0, 0], [0, 0.5, 0, 0, 0.5], [0, 0, 1, 0, 0], [0, 0, 0, 0.5, 0.5]]
    )


def test_the_readme_of_pychattr_prints_what_a_simulation_finds_near_two_to_one():
    paths = [list("ABABBA"), list("ABBAA"), list("AA")]
    found = markov(paths, [1, 1, 1])
    np.testing.assert_allclose(found.conversions, [2.0, 1.0, 0.0], atol=5e-7)
    np.testing.assert_allclose(found.conversions[:2], [1.991106, 1.008894], atol=0.01)  # printed there


def test_the_nine_paths_of_dp6():
    found = markov(DP6, np.ones(9))
    np.testing.assert_allclose(found.removal_effect, [2 / 3, 0.533333, 0.491228], atol=5e-7)
    np.testing.assert_allclose(found.conversions[:3], [3.547718, 2.838174, 2.614108], atol=5e-7)


@pytest.mark.parametrize(
    ("model", "split"),
    [
        ("first", lambda n: [1.0] + [0.0] * (n - 1)),
        ("last", lambda n: [0.0] * (n - 1) + [1.0]),
        ("linear", lambda n: [1 / n] * n),
        ("position", lambda n: {1: [1.0], 2: [0.5, 0.5], 3: [0.4, 0.2, 0.4]}[n]),
    ],
)
def test_the_nine_paths_of_dp6_by_place(model, split):
    table = table_of_paths(DP6, np.ones(9))
    expected = np.concatenate([split(len(path)) for path in DP6])
    np.testing.assert_allclose(attribution_credit(table, model), expected, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_position_gives_40_20_40_and_w_shaped_30_30_30_10(n):
    table = table_of_paths([[f"c{i}" for i in range(n)]], [1])
    by_place = {1: [1.0], 2: [0.5, 0.5]}
    position = by_place.get(n, [0.4, *[0.2 / max(n - 2, 1)] * (n - 2), 0.4])
    np.testing.assert_allclose(attribution_credit(table, "position"), position, atol=1e-12)
    w_shaped = by_place.get(n, [1 / 3] * 3 if n == 3 else None)
    if w_shaped is None:
        w_shaped = [0.1 / (n - 3)] * n
        w_shaped[0] = w_shaped[-1] = w_shaped[n // 2] = 0.3
    np.testing.assert_allclose(attribution_credit(table, "w_shaped"), w_shaped, atol=1e-12)


def test_w_shaped_credits_the_touch_that_made_the_lead():
    table = table_of_paths([list("abcde"), list("abcde"), ["a"]], [1, 1, 1])
    found = attribution_credit(table, "w_shaped", lead_touch=[1, -1, -1])
    np.testing.assert_allclose(found[:5], [0.3, 0.3, 0.05, 0.05, 0.3], atol=1e-12)
    np.testing.assert_allclose(found[5:10], [0.3, 0.05, 0.3, 0.05, 0.3], atol=1e-12)


def test_a_touch_counts_half_after_seven_days():
    """Google's rule: a touch 8 days before the conversion counts half of one a day before it."""
    found = attribution_credit(timed([22, 15, 8, 1]), "time_decay")
    np.testing.assert_allclose(found / found[-1], [0.125, 0.25, 0.5, 1.0], atol=1e-12)
    found = attribution_credit(timed([14, 7, 0]), "time_decay")
    np.testing.assert_allclose(found, [1 / 7, 2 / 7, 4 / 7], atol=1e-12)


def test_time_decay_counts_parts_of_days():
    found = attribution_credit(timed([3.5, 0.0]), "time_decay")
    np.testing.assert_allclose(found[0] / found[1], 0.5**0.5, atol=1e-12)


def test_composite_is_decay_times_place_times_channel():
    settings = Settings(channel_weights={"search": 1.2, "retargeting": 1.4})
    table = timed([14, 7, 0], ["search", "social", "retargeting"])
    raw = np.array([0.25 * 1.3 * 1.2, 0.5, 1.0 * 1.5 * 1.4])
    found = attribution_credit(table, "composite", settings)
    np.testing.assert_allclose(found, raw / raw.sum(), atol=1e-12)
