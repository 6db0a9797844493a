"""How right people are, where the truth is known: pairs of cookies, never accuracy.

Nearly all pairs are of two people, so "accuracy" is near 1 whatever one claims; what counts is how many of
the pairs claimed are right, and how many of the right ones are claimed.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaelp.core.errors import BadInput


class Quality(NamedTuple):
    """Shares are None where there is nothing to divide by."""

    precision: float | None  # of the pairs claimed, those of one person
    recall: float | None  # of the pairs of one person, those claimed
    claimed_pairs: int
    true_pairs: int
    mixed_share: float | None  # of all identities, those with cookies of several people
    mixed_share_of_linked: float | None  # of those with several cookies


def judge_identities(identity: ArrayLike, person: ArrayLike) -> Quality:
    """Compare identities with the truth.

    Args:
        identity: (n_cookies,) whom each cookie is held to belong to.
        person: (n_cookies,) whom it belongs to.

    Raises:
        BadInput: shapes disagree.

    >>> judge_identities([1, 1, 1, 2], ["Ann", "Ann", "Bob", "Bob"])[:4]
    (0.3333333333333333, 0.5, 3, 2)
    """
    held, real = np.asarray(identity), np.asarray(person)
    if held.ndim != 1 or held.shape != real.shape:
        raise BadInput("person.shape", real.shape, f"must be {held.shape}", "Give one per cookie.")
    label = np.unique(held, return_inverse=True)[1].astype(np.int64)
    truth = np.unique(real, return_inverse=True)[1].astype(np.int64)
    parts, n_parts = np.unique(np.stack([label, truth]), axis=1, return_counts=True)
    sizes = np.bincount(label)
    claimed, true, right = _pairs(sizes), _pairs(np.bincount(truth)), _pairs(n_parts)
    mixed = np.bincount(parts[0]) > 1
    linked = sizes > 1
    return Quality(
        precision=right / claimed if claimed else None,
        recall=right / true if true else None,
        claimed_pairs=claimed,
        true_pairs=true,
        mixed_share=float(mixed.mean()) if mixed.size else None,
        mixed_share_of_linked=float(mixed[linked].mean()) if linked.any() else None,
    )


def _pairs(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())
