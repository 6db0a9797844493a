"""Money keeps its cents."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.core.units import micros_to_usd, usd_to_micros


@given(st.integers(-(10**15), 10**15))
def test_micros_survive_the_way_through_dollars(micros: int) -> None:
    assert usd_to_micros(micros_to_usd(micros)) == micros


@pytest.mark.parametrize(
    ("usd", "micros"),
    [(0.0000005, 0), (0.0000015, 2), (0.0000025, 2), (-0.0000015, -2), (8.7, 8_700_000), (1.005, 1_005_000)],
)
def test_half_a_micro_goes_to_the_even_neighbour(usd: float, micros: int) -> None:
    assert usd_to_micros(usd) == micros
    assert usd_to_micros(np.float64(usd)) == micros


@pytest.mark.parametrize("usd", [math.nan, math.inf, -math.inf, 1e13])
def test_an_amount_that_is_no_amount_is_refused(usd: float) -> None:
    with pytest.raises(BadInput, match="`daily_budget_usd` was"):
        usd_to_micros(usd, name="daily_budget_usd")


def test_negative_amounts_are_refused_where_asked() -> None:
    assert usd_to_micros(-1.0) == -1_000_000
    with pytest.raises(BadInput, match="at least 0"):
        usd_to_micros(-1.0, non_negative=True)
