"""The search finds a planted loss, confirms it on fresh worlds, and resumes where it was."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from gaelp.core.errors import BadInput
from gaelp.evaluation import regret_page
from gaelp.evaluation.judge import Terms, judge
from gaelp.evaluation.levers import levers_of, world_at
from gaelp.evaluation.parts import Parts
from gaelp.evaluation.regret import FEW, FIGURES, PARTS, Flights, Search, find, holm, leads, p_values
from gaelp.evaluation.suites import contender
from gaelp.market.file import load
from gaelp.worlds.splits import drawn_world

MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"
TERMS = Terms(n_people=300, days=2, runoff_days=2)
FILE = load(MARKET)
LEVERS = levers_of(FILE)


class Planted(Flights):
    """Flights whose lead is known: it falls with two levers and rises with one; luck is drawn by name."""

    slope = 0.0

    def fly(self, split, first, steps, n_worlds, *, same):
        rng = np.random.default_rng([len(split), first])
        luck = 20.0 * rng.standard_normal((1 if same else len(steps), n_worlds))
        lead = 100.0 + self.slope * (steps[:, 0] + steps[:, 1] - steps[:, 2])[:, None] + luck
        ones = np.ones((len(steps), n_worlds))
        return np.stack([500.0 + lead, 500.0 * ones, 300.0 * ones, 300.0 * ones, 300.0 * ones])


def planted(slope):
    flights = Planted(FILE, LEVERS, None, None, TERMS, 0)
    flights.slope = slope
    return find(flights, Search(points=128, rounds=2, tries=8, confirm_worlds=8, reach=4.0))


@pytest.fixture(scope="module")
def losing():
    return planted(-15.0)


def test_a_planted_loss_is_found_and_its_levers_named(losing):
    by_name = {case.name: case for case in losing.cases}
    worst = by_name["all levers at their worst"]
    assert worst.lead_usd.mean < -60.0 and worst.loses
    assert not by_name["as stated"].loses and by_name["as stated"].lead_usd.low > 0.0
    assert set(losing.strongest[:3]) == {0, 1, 2}
    assert by_name["the 3 strongest levers"].loses
    assert worst.loses_among_all and worst.p_value <= worst.p_holm < 0.05
    assert not any(case.loses_among_all and not case.loses for case in losing.cases)
    said = " ".join(regret_page.sentences(losing, "value", "pacing"))
    assert "asked at once" in said and "(Holm, 5 %)" in said
    clear = {lever.name for lever, effect in zip(LEVERS, losing.effects, strict=True) if effect.clear}
    assert clear == {lever.name for lever in LEVERS[:3]}
    assert len(losing.cases) == 3 + len(PARTS) + len(FEW)


def test_where_nothing_loses_it_says_how_near_it_came():
    found = planted(0.0)
    assert not any(case.loses for case in found.cases)
    said = " ".join(regret_page.sentences(found, "value", "pacing"))
    assert "No case loses" in said and "nearest" in said and "6 steps" not in said


def test_the_page_and_the_tables_show_every_case(losing):
    page = regret_page.render({"title": "Regret <map>"}, losing, "value", "pacing")
    assert "Regret &lt;map&gt;" in page and "heatmap" in page and "No data" not in page
    assert all(case.name in page for case in losing.cases) and all(lever.name in page for lever in LEVERS)
    assert regret_page.cases_table(losing, "value", "pacing").row_count == len(losing.cases)
    assert regret_page.effects_table(losing).row_count == 16


def test_the_lead_has_the_sign_of_the_relative_one():
    figures = np.random.default_rng(0).normal(100.0, 200.0, (5, 50))
    figures[4] = 300.0
    usd, relative = leads(figures)
    assert (np.sign(usd) == np.sign(relative)).all() and (np.abs(relative) < np.abs(usd)).all()


def flights(**given):
    pacing = contender("pacing", FILE)
    return Flights(FILE, LEVERS, given.pop("agent", pacing), pacing, TERMS, 0, **given)


def test_a_policy_has_no_lead_over_itself():
    figures = flights().fly("train", 0, np.zeros((2, len(LEVERS))), 2, same=False)
    assert figures.shape == (len(FIGURES), 2, 2)
    assert np.array_equal(leads(figures)[0], np.zeros((2, 2)))


@pytest.mark.golden
def test_points_are_flown_as_a_judge_flies_their_worlds_alone():
    steps = np.zeros((2, len(LEVERS)))
    steps[1, :5] = 2.0
    agent = contender("value", FILE)
    figures = flights(agent=agent).fly("validation", 3, steps, 2, same=True)
    world = world_at(drawn_world(FILE, "validation", 0, 4), LEVERS, steps[1])
    alone = judge([world], {"value": agent}, **vars(TERMS)).results["value"]
    sold = [alone[key][0] for key in ("incremental_expected_value_usd", "spend_usd", "budget_usd")]
    assert figures[[0, 2, 4], 1, 1].tolist() == pytest.approx(sold)


def test_what_was_flown_before_is_not_flown_again(tmp_path):
    parts = Parts.of(tmp_path / "map")
    parts.begin({"seed": 0}, resume=False)
    steps = np.zeros((1, len(LEVERS)))
    first = flights(parts=parts).fly("train", 0, steps, 1, same=False)
    assert parts.begun
    done = []
    again = Flights(FILE, LEVERS, None, None, TERMS, 0, done.append, parts=parts)
    assert np.array_equal(first, again.fly("train", 0, steps, 1, same=False))
    assert sum(done) == again._hours(1)


def test_holms_values_are_those_worked_by_hand():
    """Step down by hand: the smallest p times m, the next times m - 1, never falling, at most 1."""
    rng = np.random.default_rng(1)
    lead = rng.normal([[9.0], [3.0], [5.0], [0.5]], 8.0, (4, 16))
    each = p_values(lead)
    at_once = holm(each)
    assert each == pytest.approx([ttest_1samp(row, 0.0).pvalue for row in lead], rel=1e-9)
    largest, expected = 0.0, np.zeros(4)
    for place, case in enumerate(np.argsort(each)):
        largest = max(largest, min(1.0, (4 - place) * each[case]))
        expected[case] = largest
    assert at_once == pytest.approx(expected) and (at_once >= each).all() and (at_once > each).any()


def test_holm_keeps_false_losses_to_one_search_in_twenty():
    """Nine cases without a lead that share the luck of their worlds: 4 standard errors above 5 %."""
    rng, n = np.random.default_rng(2), 400
    shared = rng.standard_normal((n, 1, 16))
    lead = 0.7 * shared + rng.standard_normal((n, 9, 16))
    each = np.array([p_values(one) for one in lead])
    at_once = np.array([holm(one) for one in each])
    limit = 0.05 + 4 * (0.05 * 0.95 / n) ** 0.5
    assert (at_once.min(axis=1) < 0.05).mean() < limit < (each.min(axis=1) < 0.05).mean()


def test_leads_that_never_vary_are_sure():
    assert holm(p_values(np.array([[2.0, 2.0], [0.0, 0.0]]))).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "value"), [("points", 50), ("tries", 0), ("reach", 0.0), ("confirm_worlds", 1)]
)
def test_sizes_that_cannot_be_searched_with_are_refused(name, value):
    with pytest.raises(BadInput, match=name):
        Search(**{name: value}).check(41)
