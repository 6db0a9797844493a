"""Freeze the market files and draw their test worlds, once, before anything learns.

    python markets/freeze.py

Writes `markets/heldout-v1/<market>.json` for each market, and both `SHA256SUMS`. Refuses to overwrite test
worlds that exist: a changed market gets a new name for its held-out set, with a decision record.
"""

import hashlib
import sys
from pathlib import Path

from gaelp.market.file import load
from gaelp.worlds.splits import HELDOUT, write_test_worlds

HERE = Path(__file__).parent
N_TEST_WORLDS = 256


def write_sums(folder: Path, pattern: str) -> None:
    """Write SHA256SUMS over the files of a folder."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
        for path in sorted(folder.glob(pattern))
    ]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def main() -> int:
    """Freeze everything."""
    heldout = HERE / HELDOUT
    if heldout.exists():
        print(f"{heldout.name} exists; test worlds are drawn once.", file=sys.stderr)
        return 1
    heldout.mkdir()
    for path in sorted(HERE.glob("*.toml")):
        write_test_worlds(load(path), heldout, N_TEST_WORLDS)
    write_sums(heldout, "*.json")
    write_sums(HERE, "*.toml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
