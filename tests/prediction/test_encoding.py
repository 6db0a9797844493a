"""Encoded words do not tell a row its own label, and unseen words are the base rate."""

import numpy as np
import pytest

from gaelp.data.tables import CodedColumn
from gaelp.prediction.encoding import Encoding, fit_encoding
from gaelp.prediction.examples import Columns, Examples
from gaelp.prediction.metrics import response_metrics

ONE = Columns(label="y", categorical=("c",))


def noise(n=20_000, n_words=5000, seed=0):
    """Labels that a column of many words knows nothing of."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_words, n).astype(np.int32)
    column = CodedColumn("c", codes, tuple(map(str, range(n_words))))
    return Examples(ONE, rng.random(n) < 0.2, np.zeros((n, 0)), (column,))


@pytest.mark.statistical
def test_a_row_is_not_told_its_own_label():
    examples = noise()
    encoding, features = fit_encoding(examples, seed=1)
    fair = response_metrics(examples.label, features[:, 0])
    assert abs(fair["auc"] - 0.5) < 0.02  # rates of other folds: nothing to see
    assert response_metrics(examples.label, encoding.apply(examples)[:, 0])["auc"] > 0.7  # its own among them


def test_rates_are_shrunk_counts_and_unseen_words_the_base_rate():
    column = CodedColumn("c", np.array([0, 0, 1, 1, 1], np.int32), ("a", "b"))
    examples = Examples(ONE, np.array([1, 0, 1, 1, 0], bool), np.zeros((5, 0)), (column,))
    encoding, _ = fit_encoding(examples, seed=0)
    new = CodedColumn("c", np.array([1, 2, 0], np.int32), ("new", "a", "b"))
    rows = Examples(ONE, np.zeros(3, bool), np.zeros((3, 0)), (new,))
    expected = [[(1 + 12) / 22, np.log(3)], [(2 + 12) / 23, np.log(4)], [0.6, 0]]
    np.testing.assert_allclose(encoding.apply(rows), expected, rtol=1e-6)
    assert encoding.unseen(rows) == {"c": pytest.approx(1 / 3)} and encoding.unseen(examples) == {}
    assert encoding.features == ["c (rate)", "c (count)"]
    again = Encoding.from_bytes(encoding.to_bytes())
    np.testing.assert_array_equal(again.apply(rows), encoding.apply(rows))
