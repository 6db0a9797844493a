"""Random tables of journeys for the tests of attribution."""

import numpy as np
from hypothesis import strategies as st

from gaelp.journeys.table import JourneyTable, table_of_paths

NAMES = "abcdef"


@st.composite
def path_tables(draw, *, most_channels=4, untouched=True, some_null=False):
    """Paths of up to six touches, a few of each converting and not."""
    names = NAMES[: draw(st.integers(1, most_channels))]
    path = st.lists(st.sampled_from(names), min_size=0 if untouched else 1, max_size=6)
    paths = draw(st.lists(path, min_size=1, max_size=8))
    count = st.integers(0, 5)
    conversions = [draw(count) for _ in paths]
    nulls = [draw(count) for _ in paths]
    if some_null or not (sum(conversions) + sum(nulls)):
        nulls[0] += 1
    value = [2.5 * c * draw(st.integers(0, 4)) for c in conversions]
    return table_of_paths(paths, conversions, nulls, value)


def random_table(n_rows, n_channels, seed, *, timed=False, longest=8):
    """Rows of one to `longest` touches; with times, single journeys."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, n_rows)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    conversions = rng.integers(0, 3, n_rows)
    nulls = rng.integers(0, 6, n_rows)
    gaps = rng.exponential(30.0, offsets[-1])
    row = np.repeat(np.arange(n_rows), lengths)
    hour = np.cumsum(gaps) - np.cumsum(gaps)[offsets[:-1]][row]
    if timed:
        conversions, nulls = (rng.random(n_rows) < 0.3).astype(int), np.zeros(n_rows, int)
        nulls[conversions == 0] = 1
    return JourneyTable(
        channels=tuple(f"c{i:02}" for i in range(n_channels)),
        offsets=offsets,
        channel=rng.integers(0, n_channels, offsets[-1]),
        conversions=conversions,
        nulls=nulls,
        value_usd_micros=conversions * rng.integers(1, 100, n_rows) * 1_000_000,
        touch_hour=hour if timed else None,
        end_hour=hour[offsets[1:] - 1] + rng.exponential(20.0, n_rows) if timed else None,
    )
