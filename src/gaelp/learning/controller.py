"""Training of `controller`: recurrent PPO on the corrections of `value`, new training worlds each epoch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gaelp.agents.controller import N_GROUPS
from gaelp.agents.networks import ActorCritic, NetworkShape, require_belonging
from gaelp.core.errors import BadInput
from gaelp.learning.campaigns import Campaigns
from gaelp.learning.ppo import PPO, PPOSettings, Report
from gaelp.market.file import MarketFile
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.worlds.registry import (
    CHECKPOINT,
    NETWORK,
    TrainedLines,
    belonging,
    read_checkpoint,
    refuse_unless_ours,
    write_checkpoint,
)
from gaelp.worlds.tuned import Tuned

AGENT = "controller"
N_WORLDS, N_PEOPLE = 100, 1_000
"""Training worlds of an epoch, and their people."""
HORIZON = 200
"""Epochs over which the learning rate falls to 0, and the most there can be."""
FIRST_LOG_STD = -1.0
"""Of the first actions: a third of the way to `agents.controller.LARGEST`, up or down."""


def train(
    file: MarketFile,
    *,
    base: TrainedLines,
    tuned: Tuned,
    epochs: int | None,
    minutes: float | None,
    out: Path,
    n_worlds: int = N_WORLDS,
    n_people: int = N_PEOPLE,
    days: int = 30,
    core: str = "gru",
    seed: int = 0,
    resume: bool = False,
    report: Callable[[Report], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a network to correct `value`, and keep it in a folder that flies as a policy.

    It stops after `epochs` or `minutes`, whichever is given, and is saved after each epoch. A run that
    stopped and is resumed with its own settings ends exactly as one that did not; its `epochs` count from the
    beginning.

    Args:
        file: the market. base: what `value` learnt. tuned: of the market's baselines.
        out: a folder. core: of the network, one of `networks.CORES`. seed: of worlds, weights and draws.
        resume: go on from the network in `out`. report: told each epoch's figures.

    Raises:
        BadInput: neither or both of `epochs` and `minutes`; there is nothing to go on from, or it was begun
            with another base, size, seed or core; the folder holds what another agent learnt.
        MismatchError: it was begun on another market.
    """
    if (epochs is None) == (minutes is None):
        raise BadInput("epochs", epochs, "give either epochs or minutes", "For a first try: --minutes 5.")
    if epochs is not None and epochs > HORIZON:
        raise BadInput("epochs", epochs, f"must be at most {HORIZON}", "Ask for fewer.")
    if minutes is not None and not 0.0 < minutes < float("inf"):
        raise BadInput("minutes", minutes, "must be finite and above 0", "For a first try: --minutes 5.")
    began = time.perf_counter()
    refuse_unless_ours(out, AGENT)
    place = out / CHECKPOINT
    path = place.with_suffix(NETWORK)
    settings = PPOSettings(
        epochs=HORIZON, steps=days, gamma=1.0, lam=0.9, minibatch_rows=750, seed=seed, longest=days
    )
    begun = {
        **base.learnt(),
        "n_worlds": n_worlds,
        "n_people": n_people,
        "days": days,
        "seed": seed,
        "core": core,
    }
    if resume:
        _require_same(place, path, file, {"line_multiplier": dict(base.multiplier), **begun})
        require_belonging(path, belonging(read_checkpoint(place, file)))
        ppo = PPO.load(path, CAMPAIGN_FEATURES)
        if epochs is not None and epochs <= ppo.epoch:
            raise BadInput("epochs", epochs, f"must be above the {ppo.epoch} already done", "Ask for more.")
    else:
        shape = NetworkShape(core=core, n_actions=N_GROUPS, first_log_std=FIRST_LOG_STD)
        ppo = PPO(ActorCritic(CAMPAIGN_FEATURES, shape, seed=seed), settings)
    environment = Campaigns(
        file,
        lambda: base.base(tuned),
        tuned=tuned,
        n_worlds=n_worlds,
        n_people=n_people,
        days=days,
        seed=seed,
    )
    reports: list[Report] = []
    while ppo.epoch < (HORIZON if epochs is None else epochs):
        reports += ppo.train(environment, until=ppo.epoch + 1)
        if len(reports) == 1 and not resume:
            path.unlink(missing_ok=True)  # an older run's network never stands beside this one's checkpoint
            write_checkpoint(place, file, dict(base.multiplier), begun, agent=AGENT)
        ppo.save(path, belonging(read_checkpoint(place, file)))
        report(reports[-1])
        seconds = time.perf_counter() - began
        if minutes is not None and seconds + 0.7 * seconds / len(reports) >= 60.0 * minutes:
            break
    return {"agent": "controller", "out": str(out), "epochs": ppo.epoch, "history": reports}


def _require_same(place: Path, path: Path, file: MarketFile, begun: dict[str, Any]) -> None:
    """Refuse to go on with what was begun on another market, base, size, seed or core."""
    if not (place.is_file() and path.is_file()):
        raise BadInput("resume", str(path), "needs a network", "Name the run's folder with --out.")
    state = read_checkpoint(place, file)
    for name, value in begun.items():
        if state.get(name) != value:
            allowed = f"must be {state.get(name)}, as it was begun"
            raise BadInput(
                name, value, allowed, "Resume with what it was begun with, or name another folder."
            )
