"""Which worlds are for training, for choosing, and for the final judgement.

A world of a split differs from the market file in its parameters, by log-normal factors of the file's
`[spread]`, and in its seed. Worlds of `train` and `validation` are drawn by index; those of `test` are
read from files that were written and hashed before any policy was trained, and training refuses them.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from gaelp.core.errors import BadInput, HeldOutError
from gaelp.core.names import require_known
from gaelp.core.random import named_seed
from gaelp.market.file import MarketFile
from gaelp.market.market import World

SPLITS = ("train", "validation", "test")
HELDOUT = "heldout-v1"


def plain_worlds(file: MarketFile, n_worlds: int, seed: int) -> list[World]:
    """Worlds with exactly the file's parameters, differing in luck only."""
    _positive(n_worlds)
    return [World(file, named_seed("plain", file.name, seed, i)) for i in range(n_worlds)]


def split_worlds(file: MarketFile, split: str, n_worlds: int, seed: int = 0) -> list[World]:
    """The first `n_worlds` worlds of a split.

    Args:
        file: the market. split: one of `SPLITS`. n_worlds: how many.
        seed: names another draw of train or validation worlds; test worlds have one draw only.

    Raises:
        BadInput: unknown split, or more test worlds than were committed, or a test file that changed.
    """
    require_known("split", split, SPLITS)
    _positive(n_worlds)
    if split == "test":
        return _test_worlds(file, n_worlds)
    return [drawn_world(file, split, seed, i) for i in range(n_worlds)]


def training_worlds(file: MarketFile, split: str, n_worlds: int, seed: int = 0) -> list[World]:
    """Worlds to learn from; refuses the test split.

    Raises:
        HeldOutError: `split` is "test".
    """
    if split == "test":
        raise HeldOutError(
            "split", split, "must be train or validation", "Test worlds are for judging finished work."
        )
    return split_worlds(file, split, n_worlds, seed)


def drawn_world(file: MarketFile, split: str, seed: int, index: int) -> World:
    """World `index` of a split: every `[spread]` parameter times its own log-normal factor."""
    generator = np.random.default_rng(named_seed("spread", split, file.name, seed, index))
    factors = draw_factors(file, generator)
    return World(with_factors(file, factors), named_seed("world", split, file.name, seed, index))


def draw_factors(file: MarketFile, generator: np.random.Generator) -> dict[str, list[float]]:
    """One factor per element of each parameter of `[spread]`, in the file's order."""
    factors = {}
    for name, sigma in file.spread.items():
        size = len(file.rivals) if name.startswith("rival_") else file.parameters[name].value.size
        factors[name] = [round(float(f), 6) for f in np.exp(sigma * generator.standard_normal(size))]
    return factors


def with_factors(file: MarketFile, factors: dict[str, list[float]]) -> MarketFile:
    """The file with parameters multiplied, held inside their ranges."""
    values = {}
    rivals = list(file.rivals)
    for name, factor in factors.items():
        if name == "rival_prior":  # a logit: the factor shifts it
            rivals = [
                replace(r, prior=r.prior + float(np.log(f))) for r, f in zip(rivals, factor, strict=True)
            ]
        elif name in ("rival_strength", "rival_budget"):
            key = "strength" if name == "rival_strength" else "budget_usd_per_1000"
            rivals = [replace(r, **{key: getattr(r, key) * f}) for r, f in zip(rivals, factor, strict=True)]
        else:
            stated = file.parameters[name]
            scaled = stated.value * np.reshape(factor, stated.value.shape)
            values[name] = np.clip(scaled, stated.low, stated.high)
    return replace(file.with_values(values), rivals=tuple(rivals))


def write_test_worlds(file: MarketFile, folder: Path, n_worlds: int) -> Path:
    """Draw the test worlds of a market once and write them; their hash goes into SHA256SUMS."""
    generator = np.random.default_rng(named_seed(HELDOUT, file.name, file.sha256))
    worlds = [
        {"seed": int(generator.integers(1 << 62)), "factors": draw_factors(file, generator)}
        for _ in range(n_worlds)
    ]
    path = folder / f"{file.name}.json"
    path.write_text(json.dumps({"market_sha256": file.sha256, "worlds": worlds}) + "\n")
    return path


def heldout_path(file: MarketFile) -> Path:
    """Where the committed test worlds of a market stand."""
    return file.path.parent / HELDOUT / f"{file.name}.json"


def _test_worlds(file: MarketFile, n_worlds: int) -> list[World]:
    path = heldout_path(file)
    if not path.is_file():
        raise BadInput("split", "test", f"needs {path}", "This market has no committed test worlds.")
    content = path.read_bytes()
    listed = path.parent / "SHA256SUMS"
    sums = listed.read_text().split() if listed.is_file() else []
    digest = hashlib.sha256(content).hexdigest()
    if digest not in sums:
        raise BadInput(path.name, digest[:12], "must have the committed hash", "Restore the file from git.")
    data = json.loads(content)
    if data["market_sha256"] != file.sha256:
        raise BadInput("market", file.sha256[:12], "must be the frozen market file", "Restore it from git.")
    if n_worlds > len(data["worlds"]):
        raise BadInput("worlds", n_worlds, f"must be at most {len(data['worlds'])}", "Ask for fewer.")
    return [World(with_factors(file, w["factors"]), w["seed"]) for w in data["worlds"][:n_worlds]]


def _positive(n_worlds: int) -> None:
    if n_worlds < 1:
        raise BadInput("worlds", n_worlds, "must be at least 1", "Ask for one world or more.")
