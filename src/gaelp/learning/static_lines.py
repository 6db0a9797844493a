"""`static_lines`: the smallest honest learner.

One multiplier per line on top of dual pacing, found by the cross-entropy method on training worlds, kept
fixed in flight. The search moves one number per price group (a line without its device) and one tilt
between devices: eleven numbers, in logs.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import PacingPolicy
from gaelp.core.errors import BadInput
from gaelp.core.files import write_text_atomic
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES, Device
from gaelp.learning.cem import Round, cross_entropy
from gaelp.learning.practice import Practice, Scores
from gaelp.market.file import MarketFile
from gaelp.worlds.flight import Tick
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]
N_GROUPS = EMAIL_LINE // 2
N_NUMBERS = N_GROUPS + 1


def line_factors(numbers: Floats) -> Floats:
    """(n_tries, 11) log numbers -> (n_tries, n_lines) multipliers; e-mail stays at 1.

    >>> line_factors(np.zeros((1, 11))).tolist() == [[1.0] * N_LINES]
    True
    """
    factors = np.ones((numbers.shape[0], N_LINES))
    tilt = numbers[:, N_GROUPS]
    for i, line in enumerate(LINES[:EMAIL_LINE]):
        side = 0.5 if line.device is Device.MOBILE else -0.5
        factors[:, i] = np.exp(np.clip(numbers[:, i // 2] + side * tilt, -4.0, 4.0))
    return factors


@dataclass(frozen=True)
class Progress:
    """One round of training, for people and for `metrics.jsonl`."""

    epoch: int
    seconds: float
    best_usd: float
    mean_usd: float
    pacing_usd: float
    incremental_cac_usd: float
    spend_share: float

    def row(self) -> dict[str, float]:
        """As a JSON row."""
        return {key: round(float(value), 4) for key, value in vars(self).items()}


def train(
    file: MarketFile,
    *,
    tuned: Tuned,
    epochs: int | None,
    minutes: float | None,
    n_worlds: int = 4,
    n_people: int = 5_000,
    days: int = 30,
    n_tries: int = 24,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = False,
    tick: Tick = lambda _: None,
    report: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Search the multipliers and return the checkpoint (also written to `out`).

    Every round flies its tries on the same new training worlds, the centre of the search and plain pacing
    among them, and stops after `epochs` rounds or `minutes`, whichever is given.

    Raises:
        BadInput: neither or both of `epochs` and `minutes`, or a resume without a checkpoint.
    """
    if (epochs is None) == (minutes is None):
        raise BadInput("epochs", epochs, "give either epochs or minutes", "For a first try: --minutes 1.")
    if n_tries < 6:
        raise BadInput("tries", n_tries, "must be at least 6", "Use 24.")
    began = time.perf_counter()
    mean, sigma, first = np.zeros(N_NUMBERS), np.full(N_NUMBERS, 0.7), 0
    history: list[dict[str, float]] = []
    if resume:
        state = _saved(out)
        mean, sigma = np.array(state["mean"]), np.array(state["sigma"])
        first, history = state["epochs"], state["history"]
    last: dict[str, Any] = {}

    def score(tries: Floats, number: int) -> Floats:
        practice = Practice(
            file,
            n_worlds=n_worlds,
            n_people=n_people,
            days=days,
            seed=1000 * seed + first + number,
            tuned=tuned,
            tick=tick,
        )
        numbers = np.concatenate([tries, np.zeros((1, N_NUMBERS))])  # plain pacing flies along
        factors = np.repeat(line_factors(numbers), n_worlds, axis=0)
        scores, _ = practice.try_out(
            lambda _: PacingPolicy(value_weight=tuned.value_weight, settings=tuned.settings, factor=factors),
            len(numbers),
            tick,
        )
        last["scores"] = scores
        last["seconds"] = time.perf_counter() - began
        return scores.objective[:-1]

    def stop(done: int, rounds: list[Round]) -> bool:
        scores: Scores = last["scores"]
        progress = Progress(
            epoch=first + done,
            seconds=last["seconds"],
            best_usd=float(scores.objective[:-1].max()),
            mean_usd=float(scores.objective[0]),
            pacing_usd=float(scores.objective[-1]),
            incremental_cac_usd=float(scores.spend_usd[0] / max(scores.decisions[0], 1e-9)),
            spend_share=float(scores.spend_share[0]),
        )
        history.append(progress.row())
        report(progress)
        _save(out, file, rounds[-1], first + done, history)
        if epochs is not None:
            return first + done >= epochs
        assert minutes is not None
        per_round = last["seconds"] / done
        return last["seconds"] + 0.7 * per_round >= minutes * 60.0

    rounds = cross_entropy(
        score,
        mean,
        sigma,
        n_tries=n_tries,
        n_elite=max(3, n_tries // 4),
        seed=seed * 7919 + first,
        stop=stop,
    )
    return checkpoint(file, rounds[-1], first + len(rounds), history)


def checkpoint(
    file: MarketFile, found: Round, epochs: int, history: list[dict[str, float]]
) -> dict[str, Any]:
    """What is saved: the multipliers by line name, and what a resume needs."""
    factors = line_factors(found.mean[None, :])[0]
    return {
        "agent": "static_lines",
        "market": file.name,
        "market_sha256": file.sha256,
        "epochs": epochs,
        "line_multiplier": {line.name: round(float(f), 5) for line, f in zip(LINES, factors, strict=True)},
        "mean": found.mean.tolist(),
        "sigma": found.sigma.tolist(),
        "history": history,
    }


def _save(
    out: Path | None, file: MarketFile, found: Round, epochs: int, history: list[dict[str, float]]
) -> None:
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
    write_text_atomic(
        out / "checkpoint.json", json.dumps(checkpoint(file, found, epochs, history), indent=1) + "\n"
    )


def _saved(out: Path | None) -> dict[str, Any]:
    path = None if out is None else out / "checkpoint.json"
    if path is None or not path.is_file():
        raise BadInput("resume", str(path), "needs a checkpoint", "Name the run's folder with --out.")
    state: dict[str, Any] = json.loads(path.read_text())
    return state
