"""Conversions that come late: learn from each stretch of the delay only what is final there.

A click of yesterday without a conversion is no "no" yet. So the time after a click is cut into buckets, up to
a horizon after which conversions do not count, and the model learns the chance to convert in each bucket of
those who have not converted before it:

    h_k(x) = P(in bucket k | x, not before k)    from clicks older than the bucket's end, and no others
    P(within the horizon | x) = 1 - prod_k (1 - h_k(x))

A young click thus teaches the early buckets at once, and the late ones when it is old enough; nothing is
assumed about the law of the delay, and a rate that moves is followed as early as it shows. One model learns
all buckets, with the bucket as a column. This is the discrete-time form of a survival model (Cox, JRSS B 34,
1972); buckets that learn from mature labels alone are those of Badanidiyuru et al. (arXiv 2101.02284), who
sum the chances of separate models instead.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.prediction.examples import Examples
from gaelp.prediction.metrics import Bools, Floats

COLUMN = "delay_bucket"
_MOST_BUCKETS = 6
_FEWEST_MATURE = 100


@dataclass(frozen=True)
class DelayBuckets:
    """How the time after a click is cut.

    Attributes:
        ends: (n_buckets,) hours after the click at which a bucket ends, that moment included; the last is the
            horizon.
    """

    ends: tuple[float, ...]

    @property
    def horizon(self) -> float:
        """Hours after which conversions do not count."""
        return self.ends[-1]

    def label(self, examples: Examples) -> Bools:
        """(n,) whether a conversion within the horizon was seen."""
        return _delay(examples) <= self.horizon

    def mature(self, examples: Examples, as_of: float) -> Bools:
        """(n,) whether nothing can come any more that counts; `as_of` in the hours of `examples.hour`."""
        return as_of - _hour(examples) >= self.horizon

    def expand(self, examples: Examples, as_of: float) -> Examples:
        """One row for each click and bucket whose answer is final.

        Args:
            examples: clicks. as_of: what came later, in the hours of `examples.hour`, is not known yet.

        Returns:
            Rows with the bucket as the last number; `label` says whether the conversion came in it.
        """
        age = as_of - _hour(examples)
        delay = np.where(_delay(examples) <= age, _delay(examples), np.inf)
        parts, labels, starts = [], [], (-np.inf, *self.ends)
        for start, end in zip(starts, self.ends, strict=False):
            rows = np.flatnonzero((age >= end) & (delay > start))
            parts.append(rows)
            labels.append(delay[rows] <= end)
        bucket = np.repeat(np.arange(len(self.ends), dtype=np.float64), [rows.size for rows in parts])
        found = examples.take(np.concatenate(parts))
        numeric = np.column_stack([found.numeric, bucket])
        return replace(found, numeric=numeric, label=np.concatenate(labels), delay=None)

    def within_horizon(self, examples: Examples, chance_in: Callable[[Examples], Floats]) -> Floats:
        """(n,) chance of a conversion within the horizon.

        Args:
            examples: clicks. chance_in: (n,) the chance of rows as `expand` makes them.
        """
        left = np.ones(len(examples))
        for bucket in range(len(self.ends)):
            numeric = np.column_stack([examples.numeric, np.full(len(examples), float(bucket))])
            left *= 1 - chance_in(replace(examples, numeric=numeric))
        return 1 - left


def delay_buckets(examples: Examples, horizon: float, as_of: float) -> DelayBuckets:
    """Cut the time after a click so that about as many conversions fall into each bucket.

    Args:
        examples: clicks. horizon: hours after which conversions do not count.
        as_of: see `DelayBuckets.expand`.

    Raises:
        BadInput: too few clicks are as old as the horizon.
    """
    age = as_of - _hour(examples)
    if not (np.isfinite(horizon) and horizon > 0):
        raise BadInput("horizon", horizon, "must be hours above 0", "Give the platform's conversion window.")
    n_mature = int(examples.weights[age >= horizon].sum())
    if n_mature < _FEWEST_MATURE:
        allowed = (
            f"must be the age of {_FEWEST_MATURE} clicks at least; the oldest is {age.max():.4g} hours old"
        )
        raise BadInput("horizon", horizon, allowed, "Give a shorter one, or older clicks.")
    delay = _delay(examples)
    for rows in (age >= horizon, np.ones(age.size, bool)):  # young clicks know short delays only
        seen = delay[rows & (delay <= np.minimum(age, horizon))]
        if seen.size >= _FEWEST_MATURE:
            break
    shares = np.arange(1, _MOST_BUCKETS) / _MOST_BUCKETS
    inner = np.unique(np.quantile(seen, shares)) if seen.size else np.zeros(0)
    return DelayBuckets((*inner[inner < horizon].tolist(), float(horizon)))


def _hour(examples: Examples) -> Floats:
    if examples.hour is None:
        raise BadInput("time", None, "must be given where conversions are delayed", "Add --time COL.")
    return examples.hour


def _delay(examples: Examples) -> Floats:
    if examples.delay is None:
        raise BadInput("delay", None, "must be given where conversions are delayed", "Add --delay COL.")
    return examples.delay
