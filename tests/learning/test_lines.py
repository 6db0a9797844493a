"""`static_lines`: its numbers, its checkpoints, and that it learns what there is to learn."""

import json

import numpy as np
import pytest

from gaelp.agents.baselines import PacingPolicy
from gaelp.core.errors import BadInput, HeldOutError, MismatchError
from gaelp.core.words import EMAIL_LINE, LINES
from gaelp.learning.cem import cross_entropy
from gaelp.learning.lines import N_NUMBERS, line_factors, train, world_hours
from gaelp.learning.practice import Practice
from gaelp.learning.tracking import Tracker
from gaelp.market.file import load
from gaelp.worlds.registry import write_checkpoint
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import Tuned

MARKET = "markets/family_safety.toml"
TINY = {"n_worlds": 1, "n_people": 300, "days": 2, "n_tries": 6}


def test_a_line_moves_with_its_group_and_the_device_tilt():
    numbers = np.zeros((1, N_NUMBERS))
    numbers[0, 4] = 1.0
    numbers[0, -1] = 0.5
    factors = line_factors(numbers)[0]
    by_name = {line.name: f for line, f in zip(LINES, factors, strict=True)}
    assert by_name["social_new_mobile"] == pytest.approx(np.exp(1.25))
    assert by_name["social_new_desktop"] == pytest.approx(np.exp(0.75))
    assert by_name["search_generic_desktop"] == pytest.approx(np.exp(-0.25))
    assert factors[EMAIL_LINE] == 1.0


def test_cross_entropy_finds_the_better_arm_under_noise():
    generator = np.random.default_rng(0)
    rounds = cross_entropy(
        lambda tries, _: -((tries[:, 0] - 1.0) ** 2) + 0.1 * generator.standard_normal(len(tries)),
        np.zeros(1), np.ones(1), n_tries=60, n_elite=12,
        generator=np.random.default_rng(3), stop=lambda n, _: n >= 12,
    )  # fmt: skip
    assert abs(rounds[-1].mean[0] - 1.0) < 0.15


def test_training_is_repeatable_and_a_resume_goes_on(tmp_path):
    file = load(MARKET)
    once = train(file, tuned=Tuned(), epochs=2, minutes=None, seed=4, out=tmp_path / "a", **TINY)
    again = train(file, tuned=Tuned(), epochs=2, minutes=None, seed=4, **TINY)
    assert once["line_multiplier"] == again["line_multiplier"]
    assert [row["epoch"] for row in once["history"]] == [1, 2]
    more = {"seed": 4, "out": tmp_path / "a", "resume": True, **TINY}
    done = []
    longer = train(file, tuned=Tuned(), epochs=3, minutes=None, tick=done.append, **more)
    assert sum(done) == world_hours(1, 2, epochs=1, n_tries=6)
    assert longer["epochs"] == 3
    assert longer["history"][:2] == once["history"]
    for change in ({"n_worlds": 2}, {"n_people": 301}, {"days": 3}, {"n_tries": 7}, {"seed": 5}):
        name, value = next(iter(change.items()))
        with pytest.raises(BadInput, match=rf"`{name}` was {value}; must be \d+, as it was begun"):
            train(file, tuned=Tuned(), epochs=4, minutes=None, **(more | change))
    with pytest.raises(BadInput, match="must be above the 3 already done"):
        train(file, tuned=Tuned(), epochs=3, minutes=None, **more)


def test_each_round_is_told_as_a_row_of_its_centre_before_it_is_kept(tmp_path):
    told = []
    with Tracker(tmp_path) as tracker:

        def report(row):
            kept = tmp_path / "checkpoint.json"
            told.append(json.loads(kept.read_text())["epochs"] if kept.is_file() else 0)
            tracker.write(row)

        options = {"tuned": Tuned(), "minutes": None, "out": tmp_path, "report": report, **TINY}
        train(load(MARKET), epochs=2, **options)
    with Tracker(tmp_path, resume=True) as tracker:
        found = train(load(MARKET), epochs=3, resume=True, **options)
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3] and told == [0, 1, 2]
    for row, kept in zip(rows, found["history"], strict=True):
        assert kept.items() <= row.items() and row["worlds"] == 8
        sales = row["incremental_roas"] * row["spend_usd"]
        short = max(0.9 - row["spend_share"], 0.0) * row["spend_usd"] / row["spend_share"]
        assert row["objective_usd"] == pytest.approx(sales - row["spend_usd"] - 2.0 * short, abs=0.05)


def test_a_run_that_stopped_and_went_on_finds_what_it_would_have_found(tmp_path):
    file = load(MARKET)
    options = {"tuned": Tuned(), "minutes": None, "seed": 4, **TINY}
    straight = train(file, epochs=4, **options)
    train(file, epochs=2, out=tmp_path, **options)
    resumed = train(file, epochs=4, out=tmp_path, resume=True, **options)
    for found in (straight, resumed):
        assert all(row.pop("seconds") >= 0 for row in found["history"])  # the clock may differ
    assert resumed == straight


def test_a_resume_against_another_market_is_refused(tmp_path):
    trained_on = load(MARKET)
    train(trained_on, tuned=Tuned(), epochs=1, minutes=None, out=tmp_path, **TINY)
    before = (tmp_path / "checkpoint.json").read_bytes()
    edited = tmp_path / "family_safety.toml"
    edited.write_text(trained_on.path.read_text() + "\n# edited\n")
    other = load(edited)
    with pytest.raises(MismatchError) as caught:
        train(other, tuned=Tuned(), epochs=2, minutes=None, out=tmp_path, resume=True, **TINY)
    assert isinstance(caught.value, BadInput) and caught.value.remedy
    assert trained_on.sha256[:12] in str(caught.value) and other.sha256[:12] in str(caught.value)
    assert (tmp_path / "checkpoint.json").read_bytes() == before


def test_a_checkpoint_without_the_state_of_its_search_cannot_be_resumed(tmp_path):
    file = load(MARKET)
    write_checkpoint(tmp_path, file, {})
    with pytest.raises(BadInput, match="must also have mean, sigma, generator, epochs, history"):
        train(file, tuned=Tuned(), epochs=1, minutes=None, out=tmp_path, resume=True, **TINY)


@pytest.fixture(scope="module")
def resumable(tmp_path_factory):
    """A checkpoint that could be resumed, as JSON."""
    where = tmp_path_factory.mktemp("resumable")
    train(load(MARKET), tuned=Tuned(), epochs=2, minutes=None, seed=4, out=where, **TINY)
    return json.loads((where / "checkpoint.json").read_text())


NONE, NAN, HUGE = None, float("nan"), 10**400
PCG64 = np.random.PCG64(1).state
DAMAGE = {
    "mean": (*(NONE, "0", 0.0, [0.0] * 10, [0.0] * 12, [0.0] * 10 + ["0"], [0.0] * 10 + [True]),
             *([0.0] * 10 + [each] for each in (NAN, NONE, HUGE)), {"0": 0.0}),
    "sigma": (NONE, [0.7] * 10, [0.7] * 10 + [NAN], [0.7] * 10 + [-0.1], [0.7] * 10 + [0.0]),
    "epochs": (NONE, "2", 2.0, 0, -2, True),
    "history": (NONE, {}, [], [1, 2], [{"epoch": 1}], [{"epoch": 2}, {"epoch": 1}],
                [{"epoch": 1}, {"epoch": 2, "best_usd": "5"}], [{"epoch": 1}, {"epoch": 2, "best_usd": NAN}]),
    "generator": (NONE, {}, [], "PCG64", {**PCG64, "bit_generator": "MT19937"}, {**PCG64, "state": {}},
                  {**PCG64, "state": {"state": -1, "inc": 3}}, {**PCG64, "state": {"state": 1.5, "inc": 3}},
                  {**PCG64, "state": {"state": 2**128, "inc": 3}}, {**PCG64, "uinteger": "0"}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in DAMAGE for value in DAMAGE[name]])
def test_a_damaged_checkpoint_is_refused_by_what_is_damaged(resumable, tmp_path, name, value):
    damaged = json.dumps(resumable | {name: value})
    (tmp_path / "checkpoint.json").write_text(damaged)
    with pytest.raises(BadInput, match=rf"checkpoint\.json: {name}. was .*; must .* without --resume"):
        train(load(MARKET), tuned=Tuned(), epochs=3, minutes=None, out=tmp_path, resume=True, **TINY)
    assert (tmp_path / "checkpoint.json").read_text() == damaged


def test_training_refuses_test_worlds_and_a_resume_without_a_checkpoint(tmp_path):
    file = load(MARKET)
    with pytest.raises(HeldOutError, match="must be train or validation"):
        training_worlds(file, "test", 1)
    with pytest.raises(BadInput, match="needs a checkpoint"):
        train(file, tuned=Tuned(), epochs=1, minutes=None, out=tmp_path, resume=True, **TINY)
    with pytest.raises(BadInput, match="either epochs or minutes"):
        train(file, tuned=Tuned(), epochs=None, minutes=None, **TINY)
    for endless in (float("nan"), float("inf")):
        with pytest.raises(BadInput, match="must be finite"):
            train(file, tuned=Tuned(), epochs=None, minutes=endless, **TINY)


def test_settings_tried_together_score_as_alone():
    """A batch of tries is worlds side by side: nobody's score depends on its neighbours."""
    practice = Practice(load(MARKET), n_worlds=2, n_people=500, days=2, runoff_days=2)
    factors = line_factors(np.array([np.zeros(N_NUMBERS), np.full(N_NUMBERS, 0.5)]))
    both, _ = practice.try_out(lambda _: PacingPolicy(factor=np.repeat(factors, 2, axis=0)), 2)
    alone, _ = practice.try_out(lambda _: PacingPolicy(factor=factors[1:]), 1)
    assert both.spend_usd[1] == alone.spend_usd[0]
    assert both.profit_usd[1] == alone.profit_usd[0]


def test_a_policy_that_throws_its_money_away_scores_under_pacing():
    """Own-brand search causes almost nothing, so a line multiplier that lives on it must lose."""
    practice = Practice(load(MARKET), n_worlds=4, n_people=3_000, days=14)
    wasteful = np.full((1, len(LINES)), 0.02)
    wasteful[0, 6:8] = 20.0
    factors = np.concatenate([np.ones((1, len(LINES))), wasteful])
    scores, _ = practice.try_out(lambda _: PacingPolicy(factor=np.repeat(factors, 4, axis=0)), 2)
    assert scores.objective[0] > scores.objective[1]
