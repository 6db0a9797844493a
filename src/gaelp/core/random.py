"""Counter-based random numbers: a draw is a function of what it is for, never of how many came before.

A *key* is a 64-bit word that names a subject (a world, a person, a person's hour). `subkey` derives the
key of a narrower subject; `bits`, `uniform` and `normal` read one draw from a key for one *purpose*.
Two worlds with the same seed therefore share every draw even when their histories differ, which is what
makes counterfactual twins comparable person by person.

Draw `j` of a key is output `j` of the SplitMix64 generator started at that key.

Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (mixing
function: Stafford's variant 13); Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gaelp.core.jit import jit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 2.0**-53
_ONE = np.uint64(1)

NORMAL_LEVELS = 1024
NORMAL_TABLE: NDArray[np.float64] = ndtri((np.arange(NORMAL_LEVELS) + 0.5) / NORMAL_LEVELS)
NORMAL_TABLE /= NORMAL_TABLE.std()
_LEVEL_MASK = np.uint64(NORMAL_LEVELS - 1)
_LEVEL_BITS = np.uint64(10)


@jit
def mix(word: np.uint64) -> np.uint64:
    """Scramble a 64-bit word (a bijection with full avalanche)."""
    word = (word ^ (word >> _S30)) * _M1
    word = (word ^ (word >> _S27)) * _M2
    return word ^ (word >> _S31)


@jit
def subkey(key: np.uint64, index: int) -> np.uint64:
    """Key of the `index`-th part of the subject `key` (a person of a world, an hour of a person)."""
    return mix(key + _GOLDEN * (np.uint64(index) + _ONE))


@jit
def bits(key: np.uint64, purpose: int) -> np.uint64:
    """Sixty-four random bits of `key` for `purpose`.

    The purpose is mixed in by another constant than `subkey` uses, so that draws and keys never meet.
    """
    return mix((key ^ _M2) + _GOLDEN * (np.uint64(purpose) + _ONE))


@jit
def unit(word: np.uint64) -> float:
    """A uniform in [0, 1) from the upper 53 bits of `word`."""
    return float(word >> _S11) * _TO_UNIT


@jit
def uniform(key: np.uint64, purpose: int) -> float:
    """One uniform in [0, 1) of `key` for `purpose`.

    >>> key = subkey(np.uint64(7), 3)
    >>> bool(uniform(key, 1) == uniform(key, 1)), bool(uniform(key, 1) == uniform(key, 2))
    (True, False)
    """
    return unit(bits(key, purpose))


@jit
def level(word: np.uint64, index: int) -> np.int64:
    """The `index`-th (0 to 4) of five independent ten-bit levels held in `word`."""
    return np.int64((word >> (_LEVEL_BITS * np.uint64(index) + np.uint64(4))) & _LEVEL_MASK)


@jit
def normal(key: np.uint64, purpose: int) -> float:
    """One standard normal of `key` for `purpose`, from 1,024 equally likely levels (largest 3.3)."""
    value: float = NORMAL_TABLE[level(bits(key, purpose), 0)]
    return value


def named_seed(*parts: object) -> int:
    """A 63-bit seed from readable parts, the same on every machine and Python version.

    >>> named_seed("train", 0) == named_seed("train", 0), named_seed("train", 0) == named_seed("train", 1)
    (True, False)
    """
    import hashlib

    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
