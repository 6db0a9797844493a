"""Nearest neighbours are exact, and vectors say what a journey was."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from gaelp.core.errors import BadInput
from gaelp.data.patterns.neighbours import Neighbours


def drawn(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 41)).astype(np.float32)


@pytest.mark.golden
@pytest.mark.parametrize("k", [1, 7, 50])
def test_neighbours_are_those_of_scikit_learn(k: int) -> None:
    rows, asked = drawn(5000), drawn(200, 1)
    told = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows.astype(float))
    distance, row = told.kneighbors(asked.astype(float))
    index = Neighbours(rows)
    for i, one in enumerate(asked):
        mine, found = index.as_near(one, k)
        assert mine[:k] == pytest.approx(distance[i], abs=1e-5)
        far = np.linalg.norm(rows.astype(float)[found] - one.astype(float), axis=1)
        assert far == pytest.approx(mine, abs=1e-5)
        assert len(set(found[:k].tolist()) & set(row[i].tolist())) >= k - 1  # two may tie to the last digit


def test_equal_rows_are_at_nothing_and_come_in_order() -> None:
    rows = np.repeat(drawn(30), 20, axis=0)
    distance, row = Neighbours(rows).as_near(rows[45], 25)
    assert row[:20].tolist() == list(range(40, 60)) and (distance[:20] == 0).all()
    near, found = Neighbours(rows).as_near(rows[45], 3)
    assert found.tolist() == list(range(40, 60)) and not near.any()  # all that tie with the third
    assert set(Neighbours(rows).within(rows[45], 0.0).tolist()) == set(range(40, 60))


def test_rows_that_are_not_allowed_are_not_found() -> None:
    rows = drawn(300)
    allowed = np.arange(300) % 3 == 0
    distance, row = Neighbours(rows).as_near(rows[1], 10, allowed)
    assert allowed[row].all() and (np.diff(distance) >= 0).all()
    others, place = Neighbours(rows[allowed]).as_near(rows[1], 10)
    assert np.flatnonzero(allowed)[place].tolist() == row.tolist()
    assert distance == pytest.approx(others)


@pytest.mark.parametrize("k", [0, 11])
def test_more_neighbours_than_there_are_is_refused(k: int) -> None:
    with pytest.raises(BadInput, match="from 1 to"):
        Neighbours(drawn(10)).as_near(drawn(1)[0], k)


def test_a_vector_of_other_features_is_refused() -> None:
    index = Neighbours(drawn(10))
    for ask in (lambda: index.as_near(drawn(1)[0, :3], 1), lambda: index.within(drawn(1), 1.0)):
        with pytest.raises(BadInput, match=r"must be \(41,\)"):
            ask()
