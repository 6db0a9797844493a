"""A program that the tests of the registry start, and kill: python registrars.py REGISTRY MODEL N."""

import datetime as dt
import sys
from pathlib import Path

from gaelp.prediction.registry import Lineage, Registry

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
FILES = {f"part{i}.bin": bytes([i]) * 50_000 for i in range(4)} | {"deep/weights.bin": b"w" * 50_000}


def make_model(folder):
    """A folder of some files; returns it."""
    for name, data in FILES.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Path(folder)


def main():
    """Register and promote so many times, or until killed."""
    registry, model, times = Registry(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    print("ready", flush=True)
    for _ in range(times):
        version = registry.register(model, Lineage(seed=1), who="writer", why="test", now=NOW)
        registry.challenge(version.name, who="writer", why="test", now=NOW)
        registry.promote(version.name, who="writer", why="test", now=NOW)
        if times > 100 and len(registry.versions()) > 6:  # a lone writer: others might still need theirs
            registry.prune(3)
        print(version.name, flush=True)


if __name__ == "__main__":
    main()
