"""Bootstrap intervals over simulated worlds.

The world is the unit of resampling: everything inside one world shares its luck,
so a resample draws whole worlds with replacement. Ratios (CAC, ROAS) are ratios
of sums over worlds, never means of per-world ratios. Intervals are bias-corrected
and accelerated (BCa).

Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 14.3.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from gaelp.core.errors import BadInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A point estimate and the ends of its interval.

    `mean` None: undefined, and then both ends are None too. `high` None beside a
    number in `low`: no upper bound (a CAC whose conversions may be zero). Both ends
    None beside a number in `mean`: not determined (one world only, for example).
    """

    mean: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | None]:
        """The fields in order, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PairedInterval(Interval):
    """An `Interval` of a difference a - b, and how often a resample has a ahead of b."""

    p_improvement: float | None


UNDEFINED = Interval(None, None, None)


def mean_interval(values: ArrayLike, level: float = 0.95, seed: int = 0, n_resamples: int = 2000) -> Interval:
    """BCa interval of the mean over worlds.

    Args:
        values: (n_worlds,) one number per world.
        level: coverage wanted, between 0 and 1.
        seed: names the resamples; equal seeds resample equal worlds.
        n_resamples: bootstrap resamples.

    >>> mean_interval([2.0, 2.0, 2.0]).as_dict()
    {'mean': 2.0, 'low': 2.0, 'high': 2.0}
    """
    (values,) = _worlds(values=values)
    return ratio_of_sums_interval(values, np.ones_like(values), level, seed, n_resamples)


def ratio_of_sums_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
) -> Interval:
    """BCa interval of sum(numerator) / sum(denominator) over worlds.

    Where some resample's denominator is not positive (incremental conversions that
    may be zero), the ratio is +inf there: the interval is that of the inverse ratio,
    turned over, and `high` is None where the inverse may be zero. BCa ends follow
    monotone transformations, so this is the same interval on a scale without a pole.

    Args:
        numerator: (n_worlds,) for example spend in USD.
        denominator: (n_worlds,) for example conversions.
        level: coverage wanted, between 0 and 1.
        seed: names the resamples; equal seeds resample equal worlds.
        n_resamples: bootstrap resamples.

    >>> cac = ratio_of_sums_interval([500, 520, 480, 510], [5, 6, 4, 5])
    >>> round(cac.mean, 2), cac.low < cac.mean < cac.high
    (100.5, True)
    >>> ratio_of_sums_interval([500, 520, 480, 510], [3, -2, 4, -3]).high is None
    True
    >>> ratio_of_sums_interval([500, 520], [0, 0]).as_dict()
    {'mean': None, 'low': None, 'high': None}
    """
    numerator, denominator = _worlds(numerator=numerator, denominator=denominator)
    counts = _resample_counts(numerator.size, n_resamples, seed, level)
    if numerator.size == 0 or denominator.sum() <= 0:
        return UNDEFINED
    mean = float(numerator.sum() / denominator.sum())
    if numerator.size == 1:
        return Interval(mean, None, None)
    top, bottom = _Sums(numerator, counts), _Sums(denominator, counts)
    if bottom.positive:
        return Interval(mean, *_bca_ends(*_ratios(top, bottom), level))
    if not top.positive:
        return Interval(mean, None, None)
    low, high = _bca_ends(*_ratios(bottom, top), level)
    return Interval(
        mean,
        1 / high if high is not None and high > 0 else None,
        1 / low if low is not None and low > 0 else None,
    )


def paired_interval(
    a: ArrayLike,
    b: ArrayLike,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
    *,
    lower_is_better: bool = False,
) -> PairedInterval:
    """BCa interval of mean(a - b) over worlds flown by both, resampled together.

    Args:
        a: (n_worlds,) one number per world.
        b: (n_worlds,) the same worlds in the same order.
        level: coverage wanted, between 0 and 1.
        seed: names the resamples; equal seeds resample equal worlds.
        n_resamples: bootstrap resamples.
        lower_is_better: an improvement is a difference below zero.

    >>> paired_interval([3.0, 5.0, 9.0], [2.0, 4.0, 8.0]).as_dict()
    {'mean': 1.0, 'low': 1.0, 'high': 1.0, 'p_improvement': 1.0}
    """
    a, b = _worlds(a=a, b=b)
    ones = np.ones_like(a)
    return paired_ratio_interval(
        (a - b, ones), (ones * 0, ones), level, seed, n_resamples, lower_is_better=lower_is_better
    )


def paired_ratio_interval(
    a: tuple[ArrayLike, ArrayLike],
    b: tuple[ArrayLike, ArrayLike],
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
    *,
    lower_is_better: bool = False,
) -> PairedInterval:
    """BCa interval of a difference of two ratios of sums, worlds resampled together.

    A ratio whose resampled denominator is not positive counts as +inf there: the
    end it reaches is None, and it loses wherever lower is better. Both None is
    also the answer where leaving out one world already makes a ratio undefined.

    Args:
        a: (numerator, denominator), each (n_worlds,).
        b: (numerator, denominator), the same worlds in the same order.
        level: coverage wanted, between 0 and 1.
        seed: names the resamples; equal seeds resample equal worlds.
        n_resamples: bootstrap resamples.
        lower_is_better: an improvement is a difference below zero (costs).

    >>> cheap, dear = ([90.0, 110.0], [1.0, 1.0]), ([120.0, 140.0], [1.0, 1.0])
    >>> paired_ratio_interval(cheap, dear, lower_is_better=True).as_dict()
    {'mean': -30.0, 'low': -30.0, 'high': -30.0, 'p_improvement': 1.0}
    """
    a_top, a_bottom, b_top, b_bottom = _worlds(
        a_numerator=a[0], a_denominator=a[1], b_numerator=b[0], b_denominator=b[1]
    )
    counts = _resample_counts(a_top.size, n_resamples, seed, level)
    if a_top.size == 0 or a_bottom.sum() <= 0 or b_bottom.sum() <= 0:
        return PairedInterval(None, None, None, None)
    mean = float(a_top.sum() / a_bottom.sum() - b_top.sum() / b_bottom.sum())
    if a_top.size == 1:
        return PairedInterval(mean, None, None, None)
    a_ratio = _ratios(_Sums(a_top, counts), _Sums(a_bottom, counts))
    b_ratio = _ratios(_Sums(b_top, counts), _Sums(b_bottom, counts))
    with np.errstate(invalid="ignore"):  # inf - inf where both ratios are undefined
        difference = a_ratio[1] - b_ratio[1]
    ahead = -difference if lower_is_better else difference
    both_undefined = np.isnan(difference)
    p_improvement = float(np.mean(ahead > 0) + 0.5 * np.mean((ahead == 0) | both_undefined))
    ends: tuple[float | None, float | None] = (None, None)
    if np.isfinite([*a_ratio[2], *b_ratio[2]]).all() and not both_undefined.any():
        ends = _bca_ends(mean, difference, a_ratio[2] - b_ratio[2], level)
    return PairedInterval(mean, *ends, p_improvement)


class _Sums:
    """A sum over worlds: whole, of each resample, and of each leave-one-out set."""

    def __init__(self, values: Floats, counts: Floats) -> None:
        self.whole = values.sum()
        self.resampled = counts @ values  # (n_resamples,)
        self.without_one = self.whole - values  # (n_worlds,)
        self.positive = min(self.whole, self.resampled.min(), self.without_one.min()) > 0


def _ratios(top: _Sums, bottom: _Sums) -> tuple[float, Floats, Floats]:
    def ratio(a: Floats, b: Floats) -> Floats:
        return np.divide(a, b, out=np.full(np.shape(a), np.inf), where=b > 0)

    return (
        float(top.whole / bottom.whole),
        ratio(top.resampled, bottom.resampled),
        ratio(top.without_one, bottom.without_one),
    )


def _bca_ends(
    estimate: float, replicates: Floats, jackknife: Floats, level: float
) -> tuple[float | None, float | None]:
    if replicates.min() == replicates.max() and np.isfinite(replicates[0]):
        return float(replicates[0]), float(replicates[0])
    n_resamples = replicates.size
    below = (np.mean(replicates < estimate) + np.mean(replicates <= estimate)) / 2
    bias = ndtri(np.clip(below, 0.5 / n_resamples, 1 - 0.5 / n_resamples))
    influence = jackknife.mean() - jackknife
    spread = np.sum(influence**2) ** 1.5
    acceleration = np.sum(influence**3) / (6 * spread) if spread > 0 else 0.0
    shifted = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    scale = 1 - acceleration * shifted
    # one dominating world can push the scale to its pole: the end then saturates
    pushed = np.where(scale > 0, bias + shifted / np.where(scale > 0, scale, 1), np.sign(shifted) * np.inf)
    low, high = (_quantile(np.sort(replicates), q) for q in ndtr(pushed))
    return low, high


def _quantile(ordered: Floats, q: float) -> float | None:
    position = q * (ordered.size - 1)
    left, right = ordered[int(np.floor(position))], ordered[int(np.ceil(position))]
    if not (np.isfinite(left) and np.isfinite(right)):
        return None
    return float(left + (right - left) * (position % 1))


def _worlds(**arrays: ArrayLike) -> list[Floats]:
    """The arrays as float64, checked to be finite and to cover the same worlds."""
    checked = [np.asarray(values, dtype=np.float64) for values in arrays.values()]
    for name, values in zip(arrays, checked, strict=True):
        if values.ndim != 1 or values.shape != checked[0].shape:
            raise BadInput(
                name,
                values.tolist(),
                f"must have the shape (n_worlds,), here {checked[0].shape[:1]}",
                "Pass one number per world, the same worlds in the same order.",
            )
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise BadInput(
                f"{name}[{bad[0]}]",
                values[bad[0]],
                "must be finite",
                "Check the world that produced it; an undefined ratio is never an input here.",
            )
    return checked


def _resample_counts(n_worlds: int, n_resamples: int, seed: int, level: float) -> Floats:
    if not 0 < level < 1:
        raise BadInput("level", level, "must lie between 0 and 1, both excluded", "Use 0.95 for 95 %.")
    if n_resamples < 1:
        raise BadInput("n_resamples", n_resamples, "must be at least 1", "Use 2000 for 95 % intervals.")
    return _cached_counts(n_worlds, n_resamples, seed)


@lru_cache(maxsize=8)
def _cached_counts(n_worlds: int, n_resamples: int, seed: int) -> Floats:
    """How often each resample draws each world, (n_resamples, n_worlds), rows sum to n_worlds."""
    drawn = np.random.default_rng(seed).integers(max(n_worlds, 1), size=(n_resamples, n_worlds))
    flat = drawn + n_worlds * np.arange(n_resamples)[:, None]
    counts = np.bincount(flat.ravel(), minlength=n_resamples * n_worlds).astype(np.float64)
    counts = counts.reshape(n_resamples, n_worlds)
    counts.setflags(write=False)  # shared between calls
    return counts
