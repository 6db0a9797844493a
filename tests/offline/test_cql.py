"""d3rlpy's CQL reads our log and its policy flies as ours: `make test-offline`.

d3rlpy pins another gymnasium, so that target installs it into an environment of its own. Elsewhere these
tests are skipped.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REASON = "needs d3rlpy, which `make test-offline` installs apart, as it pins another gymnasium"
if importlib.util.find_spec("d3rlpy") is None:
    pytest.skip(REASON, allow_module_level=True)

from gaelp.agents.auctionnet_policies import AUCTIONNET_FEATURES, Network  # noqa: E402

pytestmark = [pytest.mark.golden, pytest.mark.filterwarnings("ignore")]  # theirs, not ours


def script() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "offline_cql.py"
    spec = importlib.util.spec_from_file_location("offline_cql", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One-step episodes; the best action is half of the first feature, the behaviour knows nothing."""
    draw = np.random.default_rng(0)
    n = 4_000
    observations = draw.normal(size=(n, len(AUCTIONNET_FEATURES)))
    actions = draw.uniform(-1.5, 1.5, n)
    path: Path = tmp_path_factory.mktemp("log") / "log.npz"
    np.savez(
        path,
        observations=observations,
        actions=actions,
        log_prob=np.full(n, -np.log(3.0)),
        rewards=-((actions - 0.5 * observations[:, 0]) ** 2),
        ends=np.ones(n, bool),
    )
    return path


def test_its_policy_written_as_ours_says_what_it_says(log: Path, tmp_path: Path) -> None:
    learner, network = script().train(log, updates=20, batch=64)
    network.save(tmp_path / "cql.npz")
    observations = np.random.default_rng(1).normal(size=(200, len(AUCTIONNET_FEATURES)))
    theirs = learner.predict(observations.astype(np.float32))[:, 0]
    np.testing.assert_allclose(Network.load(tmp_path / "cql.npz").action(observations), theirs, atol=1e-4)


def test_it_learns_what_the_behaviour_did_not_know(log: Path) -> None:
    _, network = script().train(log, updates=1_500, batch=128)
    observations = np.random.default_rng(2).normal(size=(500, len(AUCTIONNET_FEATURES)))
    best = 0.5 * observations[:, 0]
    assert np.mean((network.action(observations) - best) ** 2) < 0.5 * np.mean(best**2)
