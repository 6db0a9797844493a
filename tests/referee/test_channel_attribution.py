"""Rules and chains against ChannelAttribution, which others wrote: `make referee`.

It is under the GPL, so it is no dependency and nothing of it is here; `make referee` installs it into an
environment of its own. Elsewhere these tests are skipped.
"""

from typing import Any

import numpy as np
import pytest

from gaelp.journeys.table import JourneyTable, table_of_paths
from gaelp.measurement.attribution import Settings, attribute
from gaelp.measurement.attribution.markov import transition_matrix

REASON = "needs ChannelAttribution, which `make referee` installs apart, as it is under the GPL"
pandas: Any = pytest.importorskip("pandas", reason=REASON)
referee: Any = pytest.importorskip("ChannelAttribution", reason=REASON)
pytestmark = pytest.mark.golden

COLUMNS = {"var_path": "path", "var_conv": "conversions"}


def journeys(seed: int) -> tuple[JourneyTable, Any]:
    """Random paths as either reads them: channels and paths that repeat, several conversions a row, nulls."""
    draw = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(draw.integers(2, 8))]
    paths = [draw.choice(names, draw.geometric(0.3)).tolist() for _ in range(draw.integers(5, 60))]
    paths += paths[:3]
    conversions, nulls = draw.integers(0, 4, len(paths)), draw.integers(0, 6, len(paths))
    conversions[0] += 1  # it wants one at least
    value = np.round(conversions * draw.gamma(2.0, 50.0, len(paths)), 2)
    frame = pandas.DataFrame(
        {
            "path": [" > ".join(path) for path in paths],
            "conversions": conversions,
            "nulls": nulls,
            "value": value,
        }
    )
    return table_of_paths(paths, conversions, nulls, value), frame


def by_channel(table: JourneyTable, found: Any, column: str) -> Any:
    """(n_channels,) a column of its answer in the order of ours."""
    told = dict(zip(found["channel_name"], found[column], strict=True))
    assert sorted(told) == list(table.channels)
    return np.array([told[name] for name in table.channels])


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("rule", ["first", "last", "linear"])
def test_rules_give_each_channel_what_the_referee_gives(rule: str, seed: int) -> None:
    table, frame = journeys(seed)
    ours = attribute(table, [rule])[0][rule].credits
    theirs = referee.heuristic_models(frame, **COLUMNS, var_value="value")
    conversions = by_channel(table, theirs, f"{rule}_touch_conversions")
    np.testing.assert_allclose(ours.conversions[:-1], conversions, rtol=0, atol=1e-9)
    value = by_channel(table, theirs, f"{rule}_touch_value")
    np.testing.assert_allclose(ours.value_usd[:-1], value, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(50))
def test_transition_matrices_are_the_referees(seed: int) -> None:
    table, frame = journeys(seed)
    told = referee.transition_matrix(frame, **COLUMNS, var_null="nulls")
    name = dict(
        zip(told["channels"]["id_channel"].astype(str), told["channels"]["channel_name"], strict=True)
    )
    columns = [*table.channels, "(conversion)", "(null)"]
    rows = ["(start)", *table.channels]
    theirs = np.zeros((len(rows), len(columns)))
    for step in told["transition_matrix"].itertuples():
        start, end = (name.get(at, at) for at in (step.channel_from, step.channel_to))
        theirs[rows.index(start), columns.index(end)] = step.transition_probability
    np.testing.assert_allclose(transition_matrix(table), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("order", [1, 2])
def test_markov_credits_are_near_what_the_referee_simulates(order: int, seed: int) -> None:
    table, frame = journeys(seed)
    ours = attribute(table, ["markov"], Settings(order=order))[0]["markov"].credits
    theirs = referee.markov_model(
        frame,
        **COLUMNS,
        var_value="value",
        var_null="nulls",
        order=order,
        nsim_start=1_000_000,
        max_step=10_000,
        conv_par=0.01,
        seed=seed + 1,
        verbose=False,
    )
    for exact, column in (
        (ours.conversions, "total_conversions"),
        (ours.value_usd, "total_conversion_value"),
    ):
        simulated = by_channel(table, theirs, column)
        assert simulated.sum() == pytest.approx(exact.sum())
        assert np.abs(simulated - exact[:-1]).max() < 0.01 * exact.sum()
