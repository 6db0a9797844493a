"""`static_lines`: the smallest honest learner, and a baseline that every other one has to beat.

One factor per line on the bids of dual pacing, found by the cross-entropy method on training worlds and kept
fixed in flight. The search moves one number per price group (a line without its device) and one tilt between
devices: eleven numbers, in logs.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.files import write_text_atomic
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES, Device
from gaelp.learning.cem import Round, cross_entropy
from gaelp.learning.practice import Practice, Scores
from gaelp.market.file import MarketFile
from gaelp.worlds.flight import Tick
from gaelp.worlds.registry import (
    CHECKPOINT,
    checkpoint,
    read_checkpoint,
    refuse_unless_ours,
    write_checkpoint,
)
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]
AGENT = "static_lines"
N_GROUPS = EMAIL_LINE // 2
N_NUMBERS = N_GROUPS + 1
N_WORLDS, N_PEOPLE, N_TRIES = 4, 5_000, 24
"""New training worlds of a round, their people, and the settings tried on each of them."""
_LARGEST = 1e300
_STATE = ("mean", "sigma", "generator", "epochs", "history")


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
    """One round of training, for people and for `metrics.jsonl`.

    Attributes:
        plain_usd: objective of the same policy with all factors at 1, on the same worlds.
    """

    epoch: int
    seconds: float
    best_usd: float
    mean_usd: float
    plain_usd: float
    incremental_cac_usd: float | None
    spend_share: float

    def row(self) -> dict[str, float | None]:
        """As a JSON row."""
        return {key: None if value is None else round(float(value), 4) for key, value in vars(self).items()}


def train(
    file: MarketFile,
    *,
    tuned: Tuned,
    epochs: int | None,
    minutes: float | None,
    n_worlds: int = N_WORLDS,
    n_people: int = N_PEOPLE,
    days: int = 30,
    n_tries: int = N_TRIES,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = False,
    tick: Tick = lambda _: None,
    report: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Search the multipliers and return the checkpoint (also written to `out`).

    Every round flies its tries on the same new training worlds, the centre of the search and the policy
    without factors among them, and stops after `epochs` rounds or `minutes`, whichever is given. A run that
    stopped and is resumed with its own settings finds exactly what it would have found without stopping;
    its `epochs` count from the beginning.

    Raises:
        BadInput: neither or both of `epochs` and `minutes`, or a resume with nothing to go on from.
        MismatchError: the checkpoint to resume was trained on another market, or is another agent's.
    """
    if (epochs is None) == (minutes is None):
        raise BadInput("epochs", epochs, "give either epochs or minutes", "For a first try: --minutes 1.")
    if minutes is not None and not 0.0 < minutes < np.inf:  # NaN would never end
        raise BadInput("minutes", minutes, "must be finite and above 0", "For a first try: --minutes 1.")
    if n_tries < 6:
        raise BadInput("tries", n_tries, "must be at least 6", "Use 24.")
    if out is not None and not resume:
        refuse_unless_ours(out, AGENT)
    began = time.perf_counter()
    mean, sigma, first = np.zeros(N_NUMBERS), np.full(N_NUMBERS, 0.7), 0
    generator = np.random.default_rng(7919 * seed)
    history: list[dict[str, float | None]] = []
    if resume:
        state = _saved(out, file)
        mean, sigma = np.array(state["mean"]), np.array(state["sigma"])
        first, history = state["epochs"], state["history"]
        generator.bit_generator.state = state["generator"]
        if epochs is not None and epochs <= first:
            raise BadInput("epochs", epochs, f"must be above the {first} already done", "Ask for more.")
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
        numbers = np.concatenate([tries, np.zeros((1, N_NUMBERS))])  # the plain policy flies along
        factors = np.repeat(line_factors(numbers), n_worlds, axis=0)
        scores, _ = practice.try_out(
            lambda _: replace(tuned.pacing(), factor=factors),
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
            plain_usd=float(scores.objective[-1]),
            incremental_cac_usd=_ratio(scores.spend_usd[0], scores.decisions[0]),
            spend_share=float(scores.spend_share[0]),
        )
        history.append(progress.row())
        report(progress)
        factors = line_factors(rounds[-1].mean[None, :])[0]
        last["multiplier"] = {line.name: round(float(f), 5) for line, f in zip(LINES, factors, strict=True)}
        last["training"] = {
            "epochs": first + done,
            "mean": rounds[-1].mean.tolist(),
            "sigma": rounds[-1].sigma.tolist(),
            "generator": generator.bit_generator.state,
            "history": history,
        }
        if out is not None:
            write_text_atomic(out / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))
            write_checkpoint(out / CHECKPOINT, file, last["multiplier"], last["training"])
        if epochs is not None:
            return first + done >= epochs
        assert minutes is not None
        per_round = last["seconds"] / done
        return last["seconds"] + 0.7 * per_round >= minutes * 60.0

    cross_entropy(
        score,
        mean,
        sigma,
        n_tries=n_tries,
        n_elite=max(3, n_tries // 4),
        generator=generator,
        stop=stop,
    )
    return checkpoint(file, last["multiplier"], last["training"])


def _ratio(spend_usd: float, decisions: float) -> float | None:
    return float(spend_usd / decisions) if decisions > 0 else None


def _saved(out: Path | None, file: MarketFile) -> dict[str, Any]:
    path = None if out is None else out / CHECKPOINT
    if path is None or not path.is_file():
        raise BadInput("resume", str(path), "needs a checkpoint", "Name the run's folder with --out.")
    state = read_checkpoint(path, file)
    if state["agent"] != AGENT:
        remedy = "Train it from the beginning, or name another folder."
        raise MismatchError("checkpoint", f"{path} of {state['agent']}", f"must be of {AGENT}", remedy)
    remedy = "Train it from the beginning, without --resume."
    missing = [name for name in _STATE if name not in state]
    if missing:
        raise BadInput("resume", str(path), f"must also have {', '.join(missing)}", remedy)
    for name, (good, allowed) in _of_a_search(state).items():
        if not good:
            raise BadInput(f"{path}: {name}", state[name], allowed, remedy)
    return state


def _of_a_search(state: Mapping[str, Any]) -> dict[str, tuple[bool, str]]:
    """Whether each part of a search's state can be one, and what it must be."""
    mean, sigma, epochs, history = (state[name] for name in ("mean", "sigma", "epochs", "history"))
    numbers = f"must be {N_NUMBERS} finite numbers"
    counted = isinstance(epochs, int) and not isinstance(epochs, bool) and epochs > 0
    rows = isinstance(history, list) and all(
        isinstance(row, dict)
        and row.get("epoch") == number
        and all(value is None or _is_finite(value) for value in row.values())
        for number, row in enumerate(history, 1)
    )
    return {
        "mean": (_are_numbers(mean), numbers),
        "sigma": (_are_numbers(sigma) and min(sigma) > 0, f"{numbers} above 0"),
        "epochs": (counted, "must be a whole number above 0"),
        "history": (rows and len(history) == epochs, "must hold a row of figures for each epoch"),
        "generator": (_is_generator(state["generator"]), "must be the state of NumPy's PCG64"),
    }


def _is_finite(value: object) -> bool:
    # not numpy's `isfinite`, which knows no whole numbers of hundreds of digits
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and len(values) == N_NUMBERS and all(map(_is_finite, values))


def _is_generator(state: Any) -> bool:
    generator = np.random.PCG64()
    try:
        generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError):
        return False
    return bool(generator.state == state)
