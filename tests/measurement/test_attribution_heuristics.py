"""Rules by place and time against a slow implementation that walks one journey after the other."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given

from gaelp.core.errors import BadInput, UnknownName
from gaelp.journeys.table import table_of_paths
from gaelp.measurement.attribution import Settings, Unanswerable, attribute
from gaelp.measurement.attribution.heuristics import HEURISTICS, attribution_credit

from .attribution_tables import path_tables, random_table

SETTINGS = Settings(half_life_days=3.0, channel_weights={"c00": 1.2, "c02": 0.5})


def slow_shares(path, model, hours_before):
    """One journey's split, from the words of the rule."""
    n = len(path)
    if model == "first":
        return [1.0 if i == 0 else 0.0 for i in range(n)]
    if model == "last":
        return [1.0 if i == n - 1 else 0.0 for i in range(n)]
    if model == "linear":
        return [1.0 / n] * n
    if model in ("position", "w_shaped"):
        peaks = {0, n - 1} | ({n // 2} if model == "w_shaped" else set())
        peak, rest = (0.4, 0.2) if model == "position" else (0.3, 0.1)
        others = n - len(peaks)
        raw = [peak if i in peaks else rest / others for i in range(n)]
    else:
        raw = [2.0 ** (-before / (24 * SETTINGS.half_life_days)) for before in hours_before]
        if model == "composite":
            raw = [w * SETTINGS.channel_weights.get(name, 1.0) for w, name in zip(raw, path, strict=True)]
            raw[0] *= 1.3
            raw[-1] *= 1.5
    return [each / sum(raw) for each in raw]


@pytest.mark.parametrize("model", HEURISTICS)
def test_credits_equal_a_slow_walk_over_the_journeys(model):
    table = random_table(400, 5, seed=3, timed=True)
    expected, worth = defaultdict(float), defaultdict(float)
    for row in range(table.n_rows):
        path = table.path(row)
        before = table.end_hour[row] - table.touch_hour[table.offsets[row] : table.offsets[row + 1]]
        for name, share in zip(path, slow_shares(path, model, before), strict=True):
            expected[name] += share * table.conversions[row]
            worth[name] += share * table.value_usd[row]
    found = attribute(table, [model], SETTINGS)[0][model].credits
    names = table.channels
    np.testing.assert_allclose(found.conversions, [*(expected[each] for each in names), 0.0], atol=1e-9)
    np.testing.assert_allclose(found.value_usd, [*(worth[each] for each in names), 0.0], atol=1e-7)


@given(path_tables())
def test_credits_add_up_and_untouched_conversions_are_the_baselines(table):
    answers, _ = attribute(table, ["first", "last", "linear", "position", "w_shaped"])
    for answer in answers.values():
        credit = answer.credits
        assert credit.conversions.sum() == pytest.approx(table.conversions.sum(), abs=1e-9)
        assert credit.value_usd.sum() == pytest.approx(table.value_usd.sum(), abs=1e-9)
        assert credit.conversions[-1] == table.conversions[table.lengths == 0].sum()
        assert (credit.conversions >= 0).all()


def test_very_old_touches_do_not_vanish_into_nan():
    table = random_table(1, 1, seed=0, timed=True, longest=3)
    table.end_hour[:] += 1e9
    np.testing.assert_allclose(attribution_credit(table, "time_decay").sum(), 1.0)


def test_models_that_need_times_refuse_tables_without():
    table = table_of_paths(["ab"], [1], [1])
    for model in ("time_decay", "composite", "data_driven"):
        with pytest.raises(Unanswerable, match="needs the time of each touch"):
            attribute(table, [model])
    _, refused = attribute(table)
    assert set(refused) == {"time_decay", "composite", "data_driven"}


def test_what_makes_no_sense_is_refused():
    table = random_table(3, 2, seed=0, timed=True)
    with pytest.raises(UnknownName, match="Did you mean 'c00'"):
        attribute(table, ["composite"], Settings(channel_weights={"C00": 1.2}))
    with pytest.raises(UnknownName, match="Did you mean 'linear'"):
        attribute(table, ["linaer"])
    with pytest.raises(BadInput, match="half_life_days"):
        Settings(half_life_days=0.0)
    with pytest.raises(BadInput, match=r"channel_weights\[x\]"):
        Settings(channel_weights={"x": float("nan")})
    with pytest.raises(BadInput, match="lead_touch"):
        attribution_credit(table_of_paths(["abc"], [1]), "w_shaped", lead_touch=[2])
