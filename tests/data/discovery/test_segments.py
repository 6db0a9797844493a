"""Segments: planted ones are found, noise has none, and the number is stable."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multinomial
from sklearn.metrics import adjusted_rand_score

from gaelp.data.discovery.discovering import discover
from gaelp.data.discovery.mixture import ResponsePatterns, fit

from .planted import NOISE, THREE, plant

SIZES = (4, 3, 2)


def traits(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of visitors with three traits, a tenth of the cells not told."""
    draws = np.random.default_rng(seed)
    own = draws.choice(2, n, p=(0.7, 0.3))
    chances = (
        ((0.7, 0.1, 0.1, 0.1), (0.05, 0.05, 0.1, 0.8)),
        ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8)),
        ((0.9, 0.1), (0.1, 0.9)),
    )
    cells = [[draws.choice(len(each[0]), p=each[k]) for each in chances] for k in own]
    made = np.array(cells, np.int8)
    made[draws.random(made.shape) < 0.1] = -1
    return made, own


def test_the_mixture_finds_the_classes_it_was_drawn_from() -> None:
    made, own = traits(0, 4000)
    patterns = ResponsePatterns.of_traits(made, SIZES)
    found = fit(patterns, patterns.n, 2, 4, np.random.default_rng(0))
    guess = found.posterior(patterns.told()).argmax(axis=1)[patterns.of]
    assert adjusted_rand_score(own, guess) > 0.75
    order = np.argsort(-found.share)
    assert found.share[order] == pytest.approx((0.7, 0.3), abs=0.05)
    assert found.chance[order[0]][:4] == pytest.approx((0.7, 0.1, 0.1, 0.1), abs=0.05)


def test_one_class_is_independence() -> None:
    made = traits(1, 500)[0]
    made[made < 0] = 0
    patterns = ResponsePatterns.of_traits(made, SIZES)
    one = fit(patterns, patterns.n, 1, 1, np.random.default_rng(0))
    by_hand = 0.0
    for column, size in zip(made.T, SIZES, strict=True):
        counts = np.bincount(column, minlength=size)
        by_hand += multinomial.entropy(1, counts / 500) * -500
    assert one.log_likelihood == pytest.approx(by_hand, abs=0.01)
    assert one.n_parameters == 6
    assert one.bic(500) == pytest.approx(6 * np.log(500) - 2 * by_hand, abs=0.02)


@pytest.mark.statistical
@pytest.mark.parametrize("seed", range(4))
def test_noise_is_one_segment(tmp_path: Path, seed: int) -> None:
    truth = plant(tmp_path / "noise.db", NOISE, people=3000, days=63, seed=seed)
    found = discover(database=str(tmp_path / "noise.db"), now=truth["end_us"], time_zone="UTC", seed=seed)
    segments = found.data["segments"]
    assert segments["n"] == 1
    assert [each["name"] for each in segments["items"]] == ["all visitors"]
    assert segments["items"][0]["visitors"] == 3000


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("planted") / "three.db"
    truth = plant(path, THREE, people=5000, days=91, seed=3)
    return truth, discover(database=str(path), now=truth["end_us"], time_zone="UTC", seed=1)


@pytest.mark.statistical
def test_planted_segments_are_found_again(three) -> None:
    truth, found = three
    segments = found.data["segments"]
    assert segments["n"] == 3
    for kind, item in enumerate(segments["items"]):  # the largest first, as they were planted
        assert item["share"]["share"] == pytest.approx(np.mean(truth["kind"] == kind), abs=0.015)
        assert item["jaccard"] > 0.9
        within = THREE[kind].rate * (1 - np.exp(-(30 - 8) / 3))
        assert item["conversion"]["low"] <= within <= item["conversion"]["high"]
        assert item["value"]["per_buyer"]["mean"] == pytest.approx(180)
    names = [item["name"] for item in segments["items"]]
    assert "Direct first" in names[0] and "Paid Social first" in names[1] and "Paid Search first" in names[2]
    assert "in the evening" in names[1] or "back within a day" in names[1]


def test_a_new_visitor_is_told_its_segment(three) -> None:
    found = three[1]
    chance = found.segment_of({"first_channel": "Paid Search", "first_intent": "shows intent at once"})
    assert sum(chance.values()) == pytest.approx(1) and chance["segment_3"] > 0.95
    assert found.segment_of({})["segment_1"] == pytest.approx(0.5, abs=0.03)
    with pytest.raises(ValueError, match="known: Paid Social"):
        found.segment_of({"first_channel": "Pigeon"})


@pytest.mark.study
@pytest.mark.statistical
def test_noise_is_hardly_ever_taken_for_segments(tmp_path: Path) -> None:
    runs, one = 40, 0
    for seed in range(100, 100 + runs):
        path = tmp_path / f"{seed}.db"
        truth = plant(path, NOISE, people=2000, days=63, seed=seed)
        found = discover(database=str(path), now=truth["end_us"], time_zone="UTC", seed=seed)
        one += found.data["segments"]["n"] == 1
    print(f"one segment in {one} of {runs} runs")
    assert one >= 0.95 * runs
