"""Errors say in one line what was wrong, what is allowed and what to do."""

import pickle

import numpy as np
import pytest

from gaelp.core import errors
from gaelp.core.errors import BadInput, GaelpError, UnknownName
from gaelp.core.names import nearest, require_known

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GaelpError)]


def test_the_printed_tree_names_every_error_and_no_other() -> None:
    tree = (errors.__doc__ or "").split("```")[1]
    printed = [word.strip("└├─│ ,") for word in tree.split() if word.strip("└├─│ ,").isidentifier()]
    assert [word for word in printed if hasattr(errors, word)] == [kind.__name__ for kind in TREE]


@pytest.mark.parametrize("kind", [kind for kind in TREE if issubclass(kind, BadInput)])
def test_bad_input_survives_the_trip_between_processes(kind: type[BadInput]) -> None:
    error = kind("users", 0, "must be at least 1", "Give --users.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == "`users` was 0; must be at least 1. Give --users."
    assert (copy.exit_code, copy.value) == (2, 0)
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("value", [np.zeros((50, 50)), "two\nlines", "x" * 1000])
def test_a_message_stays_on_one_line_of_readable_length(value: object) -> None:
    message = str(BadInput("value", value, "must be short", "Shorten it."))
    assert "\n" not in message
    assert len(message) < 150


def test_a_numpy_scalar_prints_as_a_plain_number() -> None:
    assert "was nan;" in str(BadInput("bid", np.float64("nan"), "must be finite", "Check it."))


def test_an_unknown_name_offers_the_nearest_one_or_the_whole_list() -> None:
    assert require_known("policy", "fixed", {"fixed", "pacing"}) == "fixed"
    with pytest.raises(UnknownName, match="Did you mean 'pacing'"):
        require_known("policy", "pacin", {"fixed", "pacing"})
    with pytest.raises(UnknownName, match=r"known: fixed, pacing\. Choose one of these\."):
        require_known("policy", "qqq", {"fixed", "pacing"})
    with pytest.raises(UnknownName, match=r"known: \(none\)"):
        require_known("policy", "qqq", [])


def test_nearest_ignores_case_and_keeps_the_known_spelling() -> None:
    assert nearest("target_cpa", ["target_CPA"]) == "target_CPA"
