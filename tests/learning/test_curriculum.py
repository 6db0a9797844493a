"""The course of a training: levels, validations, what flies in the end, and when it stops."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from gaelp.agents.networks import ActorCritic, read_arrays
from gaelp.core.errors import BadInput
from gaelp.learning import controller
from gaelp.learning.campaigns import Lived
from gaelp.learning.curriculum import Course, Validation, harder
from gaelp.learning.rollouts import collect
from gaelp.market.file import load
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.worlds.registry import CHECKPOINT, NETWORK, TrainedLines, write_checkpoint
from gaelp.worlds.tuned import Tuned

FILE = load("markets/family_safety.toml")


def validations(*gains):
    return [
        Validation(epoch=10 * (i + 1), gain=g, standard_error=0.1, n_worlds=4) for i, g in enumerate(gains)
    ]


def course_of(*gains):
    return Course(validations=validations(*gains))


def test_a_level_makes_every_rival_a_tenth_stronger_and_a_quarter_richer_within_the_files_ranges():
    two, many = harder(FILE, 2), harder(FILE, 200)
    for plain, rival, strongest in zip(FILE.rivals, two.rivals, many.rivals, strict=True):
        assert rival.strength == pytest.approx(1.21 * plain.strength)
        assert rival.budget_usd_per_1000 == pytest.approx(1.5625 * plain.budget_usd_per_1000)
        assert (strongest.strength, strongest.budget_usd_per_1000) == (10.0, 1e5)
        assert replace(rival, strength=0.0, budget_usd_per_1000=0.0) == replace(
            plain, strength=0.0, budget_usd_per_1000=0.0
        )
    assert harder(FILE, 0) is FILE


def test_levels_rise_one_at_a_time_above_seven_tenths_and_never_fall():
    course = Course()
    seen = [course.lived(rate) for rate in (0.2, 0.7, 0.71, 0.1, 0.99, float("nan"), 0.0)]
    assert seen == [0, 0, 1, 1, 2, 2, 2]


def test_the_best_gained_most_and_more_than_the_base():
    assert course_of().best is None and course_of(-0.2, 0.0).best is None
    assert course_of(-0.2, 0.3, 0.1, 0.3).best.epoch == 20
    course = course_of(0.3)
    assert [course.add(one) for one in validations(0.2, 0.3, 0.4)] == [False, False, True]


def test_a_validations_error_is_that_of_a_mean():
    found = Validation.of(3, np.array([1.0, 2.0, 3.0, 6.0]))
    assert (found.gain, found.n_worlds) == (3.0, 4)
    assert found.standard_error == pytest.approx((14.0 / 3.0 / 4.0) ** 0.5)


def test_what_is_said_names_the_epoch_that_flies_or_that_none_does():
    assert course_of().says("value") == "No validation yet: what flies is value itself."
    assert course_of(-0.2, -0.1).says("value") == (
        "No epoch was better than value in 2 validations (the last gained -0.100 ± 0.100 daily budgets a"
        " world): what flies is value itself."
    )
    assert "Epoch 10 was the best of 1 validation and flies: it gained +0.300 ± 0.100" in course_of(0.3).says(
        "value"
    )
    assert course_of(0.15).says("value").endswith("on value, which the best of 1 can be by chance.")


def test_more_looks_ask_for_more_before_a_gain_is_clear_of_chance():
    """Tables of Student's t, 3 degrees of freedom: 3.182 at 97.5 %, 5.841 at 99.5 %."""
    for gain, looks, clear in ((0.32, 1, True), (0.31, 1, False), (0.58, 5, False), (0.59, 5, True)):
        found = Validation(epoch=1, gain=gain, standard_error=0.1, n_worlds=4)
        assert found.clear(looks) == clear
    assert course_of(0.32).says("value").endswith("on value.")


def test_a_course_comes_back_from_what_json_keeps():
    course = course_of(0.1, 0.2)
    course.level = 3
    assert Course.from_notes(json.loads(json.dumps(course.notes()))) == course


class Noise:
    """Campaigns of noise: the learner is real, the market is not."""

    def __init__(self, chunk):
        self._draws = np.random.default_rng([chunk.epoch, chunk.level, chunk.n_worlds])
        self._n, self._days = chunk.n_worlds, chunk.days
        self.weight = np.ones(self._n)

    def reset(self, epoch):
        self.day, self.time = 0, np.zeros(self._n)
        return self._see()

    def _see(self):
        return self._draws.standard_normal((self._n, len(CAMPAIGN_FEATURES))).astype(np.float32)

    def step(self, actions):
        self.day += 1
        over = np.full(self._n, self.day == self._days)
        reward = actions[:, 0] + self._draws.standard_normal(self._n)
        return self._see(), reward, np.zeros(self._n), over, np.zeros_like(over)


@pytest.fixture
def told(monkeypatch):
    """Win rates by epoch and gains by validation, as told; all else is the real training."""

    told = SimpleNamespace(win_rates={}, gains={}, lived=[])

    def live_everywhere(chunk, executor, worlds_a_chunk):
        network = ActorCritic.restored(chunk.header, chunk.weights, CAMPAIGN_FEATURES, "test")
        rng = np.random.default_rng(chunk.epoch)
        sequences = collect(Noise(chunk), network, steps=chunk.days, epoch=chunk.epoch, generator=rng)
        if chunk.split == "validation":
            assert not chunk.explores and chunk.level == 0
            epoch = told.lived[-1][0]
            sequences = replace(sequences, payoff=np.zeros_like(sequences.payoff))
            sequences.payoff[:, 0] = told.gains.get(epoch, -1.0) / chunk.days
            return Lived(sequences, np.array([10, 1]), 0.0)
        told.lived.append((chunk.epoch, chunk.level))
        return Lived(sequences, np.array([1000, round(1000 * told.win_rates.get(chunk.epoch, 0.2))]), 0.0)

    monkeypatch.setattr(controller, "live_everywhere", live_everywhere)
    return told


BASE = TrainedLines("value", (("social_new_mobile", 1.5),))


def train(out, **options):
    plain = {"n_worlds": 4, "n_people": 1, "days": 3, "validate_every": 2, "epochs": 6, "minutes": None}
    return controller.train(FILE, base=BASE, tuned=Tuned(), out=out, **(plain | options))


def content(folder):
    header, arrays = read_arrays((folder / CHECKPOINT).with_suffix(NETWORK))
    return header, {name: array.tolist() for name, array in arrays.items()}


class Stopped(Exception):
    pass


def stop_after(epoch):
    def report(done):  # an epoch is told before it is kept: the next one is lost
        if done["epoch"] == epoch + 1:
            raise Stopped

    return report


def test_levels_and_the_best_network_survive_a_stop_at_any_epoch(told, tmp_path):
    told.win_rates = {2: 0.8, 3: 0.9, 5: 0.71}
    told.gains = {2: 0.5, 4: 0.3, 6: 0.4}
    found = train(tmp_path / "whole")
    assert told.lived == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 2), (6, 3)]
    assert [done["level"] for done in found["history"]] == [0, 0, 1, 2, 2, 3]
    assert found["best"]["epoch"] == 2 and found["best"]["gain"] == pytest.approx(0.5)
    whole = content(tmp_path / "whole")
    for epoch in range(1, 6):
        out = tmp_path / f"stopped{epoch}"
        with pytest.raises(Stopped):
            train(out, report=stop_after(epoch))
        again = train(out, resume=True)
        assert content(out) == whole and again["says"] == found["says"]


def test_what_flies_is_the_network_of_the_best_epoch_and_what_trains_goes_on(told, tmp_path):
    told.gains = {2: 0.5, 4: 0.6}
    with pytest.raises(Stopped):
        train(tmp_path / "at4", report=stop_after(4))
    train(tmp_path / "whole")
    at_best, whole = content(tmp_path / "at4")[1], content(tmp_path / "whole")[1]
    shown = {name: value for name, value in whole.items() if name.startswith("network.")}
    assert shown == {name: at_best[name] for name in shown}
    assert shown == {name: at_best[f"training.{name}"] for name in shown}
    assert shown != {name: whole[f"training.{name}"] for name in shown}


def test_without_a_better_epoch_the_base_flies_and_it_is_said(told, tmp_path):
    found = train(tmp_path)
    assert found["best"] is None and not found["stopped_early"]
    assert "No epoch was better than value in 3 validations" in found["says"]
    arrays = content(tmp_path)[1]
    assert not np.any(arrays["network.policy.weight"]) and not np.any(arrays["network.policy.bias"])
    assert np.any(arrays["training.network.policy.weight"])


@pytest.mark.parametrize(("gains", "stops"), [({}, 4), ({2: 0.5}, 6), ({2: 0.5, 4: 0.6}, 8)])
def test_patience_counts_from_the_last_better_network(told, tmp_path, gains, stops):
    told.gains = gains
    found = train(tmp_path, epochs=12, patience=2)
    assert (found["epochs"], found["stopped_early"]) == (stops, True)
    before = content(tmp_path)
    again = train(tmp_path, epochs=12, patience=2, resume=True)
    assert again["epochs"] == stops and again["stopped_early"] and content(tmp_path) == before


def test_the_last_epoch_is_validated_too(told, tmp_path):
    told.gains = {3: 0.1}
    assert train(tmp_path, epochs=3)["best"]["epoch"] == 3


@pytest.mark.parametrize(
    "wrong",
    [{"validate_every": 0}, {"validation_worlds": 1}, {"patience": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_validations_that_cannot_be_are_refused(wrong, tmp_path):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        train(tmp_path / "none", **wrong)
    assert not (tmp_path / "none").exists()


def test_a_training_from_before_validations_flies_but_does_not_go_on(tmp_path):
    write_checkpoint(tmp_path, FILE, dict(BASE.multiplier), BASE.learnt(), agent="controller")
    (tmp_path / CHECKPOINT).with_suffix(NETWORK).write_bytes(b"some network")
    with pytest.raises(BadInput, match="must be of a training with validations"):
        train(tmp_path, resume=True)
