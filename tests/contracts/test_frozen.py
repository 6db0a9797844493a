"""Market files and test worlds are what was frozen before anything learnt."""

import hashlib
from pathlib import Path

import pytest

MARKETS = Path(__file__).parents[2] / "markets"


@pytest.mark.parametrize(("folder", "pattern"), [(MARKETS, "*.toml"), (MARKETS / "heldout-v1", "*.json")])
def test_every_file_has_its_frozen_hash(folder, pattern):
    frozen = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob(pattern)}
    assert found == frozen
