"""Distances of attribution models to the truth: exact on small panels, and from a run to a ranking."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gaelp.cli.main import app
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import PAID_CHANNELS, Channel
from gaelp.evaluation.attribution_scores import (
    CALIBRATED,
    LAST_CLICK,
    SCALED,
    ZERO,
    Evidence,
    LiftTests,
    Score,
    counts_distance,
    experiments_of,
    pooled,
    score,
    shares_distance,
)
from gaelp.journeys.table import JourneyTable
from gaelp.platforms.lift import LiftReport, lift_of

SEARCH, SOCIAL = int(Channel.SEARCH), int(Channel.SOCIAL)
N = len(PAID_CHANNELS)


def evidence(*, tested: LiftTests | None = None) -> Evidence:
    """Two worlds, three journeys from social to search and one untouched; half is due to each channel."""
    table = JourneyTable(
        channels=tuple(channel.name.lower() for channel in Channel),
        offsets=np.array([0, 2, 4, 6, 6]),
        channel=np.array([SOCIAL, SEARCH] * 3),
        conversions=np.array([1, 1, 1, 0]),
        nulls=np.array([0, 0, 0, 1]),
        value_usd_micros=np.array([1, 1, 1, 0]),
        touch_hour=np.arange(6.0),
        end_hour=np.array([2.0, 4.0, 6.0, 6.0]),
        kind=np.zeros(6, np.uint8),
        person=np.arange(4),
    )
    truth = np.zeros((2, N))
    truth[:, [SEARCH, SOCIAL]] = 0.25
    claimed = np.zeros((2, N))
    claimed[:, SEARCH] = 1.5
    return Evidence(table, np.array([0, 0, 1, 1]), truth, claimed, np.zeros(2), tested)


def lift(people: list[int], sales: list[int], claim: float) -> LiftTests:
    """A test of search alone in one world."""
    counts = np.zeros((2, 1, N, 2), np.int64)
    counts[:, 0, SEARCH] = people, sales
    claimed = np.zeros((1, N))
    claimed[0, SEARCH] = claim
    return LiftTests(LiftReport(counts[0], counts[1], np.zeros((1, N, 2))), claimed)


def test_distances_are_what_their_names_say():
    truth = np.array([1.0, 1.0, 0.0])
    assert shares_distance(truth * 7.0, truth) == 0.0
    assert shares_distance(np.array([5.0, 0.0, 0.0]), truth) == pytest.approx(0.5)
    assert shares_distance(np.zeros(3), truth) == 1.0
    assert counts_distance(np.zeros(3), truth) == 1.0
    assert counts_distance(np.array([3.0, 0.0, 1.0]), truth) == pytest.approx(2.0)


def test_models_are_ranked_by_shares_and_the_rows_beside_them_are_there():
    scores = score(evidence(), ["last", "linear"], n_bootstrap=0)
    assert next(iter(scores)) == "linear"
    assert scores["linear"].shares[0] == pytest.approx(0.0)
    assert scores["linear"].counts[0] == pytest.approx(2.0)
    assert scores["last"].credits[SEARCH] == 3.0
    assert scores[LAST_CLICK].credits[SEARCH] == 3.0
    assert scores[SCALED].credits.sum() == pytest.approx(1.0)
    assert scores[ZERO].counts[0] == 1.0
    assert CALIBRATED not in scores


def test_a_calibrated_model_has_the_lift_of_its_tests():
    tests = lift([9_000, 1_000], [900, 50], claim=1_000.0)  # 450 of 900 would have come anyway
    caused, error = lift_of(np.array([9_000, 1_000]), np.array([900, 50]))
    assert caused == pytest.approx(450.0)
    assert error == pytest.approx(np.sqrt(900 + 81 * 50))
    factor = experiments_of(tests)["search"]
    assert factor.incremental_conversions == pytest.approx(0.45)
    scores = score(pooled([evidence(tested=tests)] * 4), ["last"], n_bootstrap=20)
    # a test eight standard errors from zero is hardly moved by the prior
    assert scores[CALIBRATED].credits[SEARCH] == pytest.approx(0.45 * 12.0, rel=0.01)
    gap = scores[CALIBRATED].less_half_of(scores["last"])
    assert gap["counts"][0] == pytest.approx(scores[CALIBRATED].counts[0] - 0.5 * scores["last"].counts[0])
    assert gap["counts"][1] <= gap["counts"][0] <= gap["counts"][2]


def test_an_empty_arm_tells_nothing():
    assert lift_of(np.array([9_000, 0]), np.array([900, 0])) == (None, None)
    assert experiments_of(lift([9_000, 0], [900, 0], claim=10.0)) == {}


def test_evidence_is_pooled_world_by_world():
    both = pooled([evidence(), evidence()])
    assert len(both.truth) == 4
    assert both.world.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert both.table.person is not None and np.unique(both.table.person).size == 8
    one, two = (score(each, ["markov"], n_bootstrap=0)["markov"] for each in (evidence(), both))
    assert two.shares[0] == pytest.approx(one.shares[0])


def test_channels_that_cause_nothing_have_no_distance():
    nothing = evidence()
    with pytest.raises(BadInput, match="truth"):
        score(replace(nothing, truth=np.zeros((2, N))), ["last"])


def call(*words: Any) -> Any:
    """Run a command and return its JSON."""
    found = CliRunner().invoke(app, [*(str(word) for word in words), "--json"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_a_run_with_lift_tests_is_scored(tmp_path):
    run = tmp_path / "run"
    sizes = ("--worlds", 2, "--users", 2_000, "--days", 14, "--runoff-days", 10)
    figures = call("simulate", *sizes, "--events", "--lift-test", 0.2, "--out", run)
    test = figures["lift_tests"]["social"]
    assert test["people_held_out"] == pytest.approx(0.25 * test["people_shown"], rel=0.15)
    scores = call("attribute", run, "--score", "--bootstrap", 5)
    assert {"last", "markov", "shapley", "data_driven", ZERO, LAST_CLICK, SCALED, CALIBRATED} <= scores.keys()
    assert scores[ZERO]["counts"] >= 1.0
    # those decided in the run-off are claimed too
    assert scores[LAST_CLICK]["credits"]["social"] >= figures["by_channel"]["social"]["conversions"]
    assert scores["last"]["shares_low"] is None, "two worlds say nothing of how worlds differ"
    with pytest.raises(BadInput, match="click_days"):
        refused("attribute", run, "--score", "--click-days", 1)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"spend_usd": 1.0}))
    with pytest.raises(MismatchError, match="as the run has it"):
        refused("attribute", run, "--score")


def refused(*words: Any) -> None:
    """Run a command and raise what it raised."""
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exception is not None
    raise found.exception


def test_only_a_run_can_be_scored(tmp_path):
    table = tmp_path / "paths.csv"
    table.write_text("path,conversions\nA > B,1\n")
    with pytest.raises(BadInput, match="only a simulation knows"):
        refused("attribute", table, "--score")


def test_a_share_held_out_is_checked_first():
    with pytest.raises(BadInput, match="lift_test"):
        refused("simulate", "--lift-test", 1.5)


def test_worlds_drawn_that_caused_nothing_have_no_distance():
    nothing = np.zeros(2)
    assert np.isnan(shares_distance(np.ones(2), nothing))
    assert np.isnan(counts_distance(np.ones(2), np.array([2.0, -3.0])))
    drawn = Score(np.zeros(N), np.array([0.5, np.nan, 0.4, 0.6]), np.array([1.0, np.nan, np.nan, np.nan]))
    found = drawn.as_dict()
    assert found["shares_low"] == pytest.approx(0.405)
    assert found["counts_low"] is None
