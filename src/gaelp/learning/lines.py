"""`static_lines`: the smallest honest learner, and a baseline that every other one has to beat.

One factor per line on the bids of dual pacing, found by the cross-entropy method on training worlds and kept
fixed in flight. The search moves one number per price group (a line without its device) and one tilt between
devices: eleven numbers, in logs.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.words import EMAIL_LINE, LINES, N_LINES, Device
from gaelp.learning.cem import Round, cross_entropy
from gaelp.learning.practice import RUNOFF_DAYS, Practice, Scores
from gaelp.learning.training import Limit, by_line, keep, kept, require_begun, uninterrupted
from gaelp.market.file import MarketFile
from gaelp.worlds.flight import WARM_UP_DAYS, Tick
from gaelp.worlds.registry import CHECKPOINT, refuse_unless_ours
from gaelp.worlds.tuned import Tuned

Floats = NDArray[np.float64]
AGENT = "static_lines"
N_GROUPS = EMAIL_LINE // 2
N_NUMBERS = N_GROUPS + 1
N_WORLDS, N_PEOPLE, N_TRIES = 4, 5_000, 24
"""New training worlds of a round, their people, and the settings tried on each of them."""
_LARGEST = 1e300


class Saved(NamedTuple):
    """The state of a search after some epochs, as a checkpoint holds it."""

    mean: list[float]
    sigma: list[float]
    generator: dict[str, Any]
    epochs: int
    history: list[dict[str, Any]]


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
    report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Search the multipliers and return the checkpoint (also written to `out`).

    Every round flies its tries on the same new training worlds, the centre of the search and the policy
    without factors among them, and stops after `epochs` rounds or `minutes`, whichever is given. A run that
    stopped and is resumed with its own settings finds exactly what it would have found without stopping;
    its `epochs` count from the beginning.

    Args:
        file: the market. tuned: of its baselines. epochs, minutes: rounds, or time for them; one of both.
        n_worlds, n_people, days: of a round. n_tries: settings tried in it. seed: names worlds and tries.
        out: a folder; None writes nothing. resume: go on from what is there.
        tick: told the world-hours done, see `world_hours`. report: told each round's row, before it is kept:
            figures of the centre; `best_usd`, the objective of the best; `plain_usd`, that without factors.

    Raises:
        BadInput: neither or both of `epochs` and `minutes`, or a resume with nothing to go on from or with
            other sizes or another seed than it was begun with.
        MismatchError: the checkpoint to resume was trained on another market, or is another agent's.
    """
    limit = Limit(epochs, minutes)
    if n_tries < 6:
        raise BadInput("tries", n_tries, "must be at least 6", "Use 24.")
    if out is not None and not resume:
        refuse_unless_ours(out, AGENT)
    sizes = {"n_worlds": n_worlds, "n_people": n_people, "days": days, "n_tries": n_tries, "seed": seed}
    mean, sigma, first = np.zeros(N_NUMBERS), np.full(N_NUMBERS, 0.7), 0
    generator = np.random.default_rng(7919 * seed)
    history: list[dict[str, Any]] = []
    if resume:
        before = saved(out, file, sizes)
        mean, sigma = np.array(before.mean), np.array(before.sigma)
        first, history = before.epochs, before.history
        generator.bit_generator.state = before.generator
        limit.resume(first)
    rounds = _Rounds(file, tuned, sizes, first, history, generator, out, limit, tick, report)
    cross_entropy(
        rounds.score,
        mean,
        sigma,
        n_tries=n_tries,
        n_elite=max(3, n_tries // 4),
        generator=generator,
        stop=rounds.stop,
    )
    return rounds.checkpoint


@dataclass
class _Rounds:
    """Flies the rounds of a search and keeps what came of each; `first` were done before."""

    file: MarketFile
    tuned: Tuned
    sizes: dict[str, int]
    first: int
    history: list[dict[str, Any]]
    generator: np.random.Generator
    out: Path | None
    limit: Limit
    tick: Tick
    report: Callable[[dict[str, Any]], None]
    checkpoint: dict[str, Any] = field(default_factory=dict)
    _scores: Scores = field(init=False)
    _seconds: float = field(init=False)

    def score(self, tries: Floats, number: int) -> Floats:
        """(n_tries,) objective of (n_tries, 11) log numbers on the worlds of a round."""
        began = time.perf_counter()
        practice = Practice(
            self.file,
            n_worlds=self.sizes["n_worlds"],
            n_people=self.sizes["n_people"],
            days=self.sizes["days"],
            seed=1000 * self.sizes["seed"] + self.first + number,
            tuned=self.tuned,
            tick=self.tick,
        )
        numbers = np.concatenate([tries, np.zeros((1, N_NUMBERS))])  # the plain policy flies along
        factors = np.repeat(line_factors(numbers), practice.n_worlds, axis=0)
        pacing = replace(self.tuned.pacing(), factor=factors)
        self._scores, _ = practice.try_out(lambda _: pacing, len(numbers), self.tick)
        self._seconds = round(time.perf_counter() - began, 4)
        return self._scores.objective[:-1]

    def stop(self, done: int, rounds: list[Round]) -> bool:
        """Tell and keep the round that has ended; whether it was the last."""
        scores = self._scores
        self.history.append(
            {
                "epoch": self.first + done,
                "seconds": self._seconds,
                # the plain policy and the twin without ads fly along
                "worlds": self.sizes["n_worlds"] * (self.sizes["n_tries"] + 2),
                **scores.figures(0),
                "best_usd": round(float(scores.objective[:-1].max()), 4),
                "plain_usd": round(float(scores.objective[-1]), 4),
            }
        )
        state = Saved(
            mean=rounds[-1].mean.tolist(),
            sigma=rounds[-1].sigma.tolist(),
            generator=dict(self.generator.bit_generator.state),
            epochs=self.first + done,
            history=self.history,
        )
        factors = by_line(line_factors(rounds[-1].mean[None, :])[0])
        place = None if self.out is None else self.out / CHECKPOINT
        with uninterrupted():
            self.report(self.history[-1])
            self.checkpoint = keep(place, self.file, AGENT, factors, state._asdict() | self.sizes)
        return self.limit.is_reached(self.first + done)


def world_hours(n_worlds: int, days: int, epochs: int = 1, n_tries: int = N_TRIES) -> int:
    """What `train` tells its tick in all."""
    return 24 * n_worlds * epochs * (WARM_UP_DAYS + (n_tries + 2) * (days + RUNOFF_DAYS))


def saved(out: Path | None, file: MarketFile, sizes: Mapping[str, int]) -> Saved:
    """The state of a search that is to be resumed, checked; see `train` for the errors.

    Args:
        out: of the run. sizes: `n_worlds`, `n_people`, `days`, `n_tries` and `seed`, which must be the run's.
    """
    path, state = kept(None if out is None else out / CHECKPOINT, file, AGENT)
    remedy = "Train it from the beginning, without --resume."
    missing = [name for name in (*Saved._fields, *sizes) if name not in state]
    if missing:
        raise BadInput("resume", str(path), f"must also have {', '.join(missing)}", remedy)
    for name, (good, allowed) in _of_a_search(state).items():
        if not good:
            raise BadInput(f"{path}: {name}", state[name], allowed, remedy)
    require_begun(state, sizes)
    return Saved(**{name: state[name] for name in Saved._fields})


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
