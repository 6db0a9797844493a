"""Credits calibrated by lift tests against the model `last`, on three markets with their twins.

Run with `pytest -s -m study tests/study/test_calibrated.py`; about an hour of two quiet cores.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.evaluation.attribution_flights import gather, lift_tests
from gaelp.evaluation.attribution_scores import CALIBRATED, LAST_CLICK, NAMES, score
from gaelp.evaluation.task_flights import Terms
from gaelp.market.file import load
from gaelp.platforms.lift import told
from gaelp.worlds.executors import make_executor
from gaelp.worlds.splits import plain_worlds

pytestmark = pytest.mark.study
MARKETS = ("family_safety", "impulse", "b2b_lead")
SCORED, TESTED, PEOPLE = 56, 600, 10_000
TEST = Terms(n_people=PEOPLE, days=90, runoff_days=14, holdout=0.1)
QUICK, SLOW = ("last", "first", "linear", "position", "time_decay", "markov"), ("shapley", "data_driven")
OUT = Path("runs/study")


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.timeout(7200)
def test_calibrated_credits_stand_at_half_the_distance_of_the_last_touch(name):
    """Status-quo bids; truth and models on a month of 56 worlds, a tenth held out for a quarter in 600."""
    file = load(f"markets/{name}.toml")
    make = partial(FixedPolicy, multiplier=file.status_quo_multiplier)
    with make_executor("processes") as executor:
        evidence = gather(plain_worlds(file, SCORED, 0), make, Terms(n_people=PEOPLE), executor=executor)
        tested = lift_tests(plain_worlds(file, TESTED, 1), make, TEST, executor=executor)
    evidence = evidence.with_tests(tested)
    # these two take minutes a draw on thirty million touches, so they stand without intervals
    found = score(evidence, SLOW, n_bootstrap=0) | score(evidence, QUICK, n_bootstrap=100)
    error = evidence.truth.std(axis=0) * np.sqrt(SCORED)
    truth = dict(zip(NAMES, zip(evidence.truth.sum(axis=0), error, strict=True), strict=True))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"calibrated_{name}.json").write_text(
        json.dumps(
            {
                "truth": truth,
                "scores": {row: each.as_dict() for row, each in found.items()},
                "tests": told(tested.lift),
                "less_half_of": {
                    other: found[CALIBRATED].less_half_of(found[other]) for other in ("last", LAST_CLICK)
                },
            },
            indent=1,
        )
    )
    print(f"\n{name}: truth", {channel: f"{n:.0f} +- {e:.0f}" for channel, (n, e) in truth.items()})
    for row, each in found.items():
        print(f"{row:18}", {key: value for key, value in each.as_dict().items() if key != "credits"})
    for measure, (_, _, high) in found[CALIBRATED].less_half_of(found["last"]).items():
        assert high < 0.0, measure
