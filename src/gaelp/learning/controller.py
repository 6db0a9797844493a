"""Training of `controller`: recurrent PPO on the corrections of `value`, new training worlds each epoch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gaelp.agents.controller import N_GROUPS
from gaelp.agents.networks import ActorCritic, NetworkShape, require_belonging
from gaelp.core.errors import BadInput
from gaelp.learning.campaigns import WORLDS_A_CHUNK, Chunk, Lived, live_everywhere
from gaelp.learning.curriculum import Course, Validation
from gaelp.learning.league import League
from gaelp.learning.ppo import PPO, PPOSettings, Report
from gaelp.learning.training import Limit, uninterrupted
from gaelp.market.file import MarketFile
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.worlds.executors import Executor, InlineExecutor
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
VALIDATION_WORLDS, VALIDATION_PEOPLE = 16, 2_000
"""Worlds of a validation, always the same, and their people."""
VALIDATE_EVERY = 10
"""Epochs between two validations."""
HORIZON = 200
"""Epochs over which the learning rate falls to 0, and the most there can be."""
FIRST_LOG_STD = -1.0
"""Of the first actions: a third of the way to `agents.controller.LARGEST`, up or down."""
_VALIDATION_CHUNK = 8  # worlds


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
    executor: Executor | None = None,
    validate_every: int = VALIDATE_EVERY,
    validation_worlds: int = VALIDATION_WORLDS,
    validation_people: int = VALIDATION_PEOPLE,
    patience: int | None = None,
    self_play: bool = False,
) -> dict[str, Any]:
    """Train a network to correct `value`, and keep the best one in a folder that flies as a policy.

    It stops after `epochs` or `minutes`, whichever is given, and is saved after each epoch. A run that
    stopped and is resumed with its own settings ends exactly as one that did not, wherever its worlds are
    lived; its `epochs` count from the beginning. Every `validate_every` epochs, and after the last, the
    network flies validation worlds beside its base. The best one so far is what flies; until one is better
    than the base, that is the base itself. Where training has passed a win rate, its worlds get harder; see
    `curriculum`.

    Args:
        file: the market. base: what `value` learnt. tuned: of the market's baselines.
        out: a folder. core: of the network, one of `networks.CORES`. seed: of worlds, weights and draws.
        resume: go on from the network in `out`. report: told each epoch's figures.
        executor: where worlds are lived; None: in this process.
        validate_every: epochs. validation_worlds, validation_people: size of a validation.
        patience: stop after this many intervals of `validate_every` without a better network; None: never.
        self_play: two further external seats of the training worlds are flown by networks of earlier epochs,
            see `league`; validation worlds have none.

    Returns:
        agent, out, epochs; history: what `report` was told; best: the `Validation` of what flies, None where
        that is the base; stopped_early; says: the outcome in a sentence.

    Raises:
        BadInput: neither or both of `epochs` and `minutes`; there is nothing to go on from, or it was begun
            with another base, size, seed, core or validation; the folder holds what another agent learnt.
        MismatchError: it was begun on another market.
    """
    limit = Limit(epochs, minutes, most=HORIZON, first_try=5)
    _check(validate_every, validation_worlds, patience)
    refuse_unless_ours(out, AGENT)
    begun = {
        **base.learnt(),
        "n_worlds": n_worlds,
        "n_people": n_people,
        "days": days,
        "seed": seed,
        "core": core,
        "validate_every": validate_every,
        "validation_worlds": validation_worlds,
        "validation_people": validation_people,
        "patience": patience,
        "self_play": self_play,
    }
    run = _Run(out, file, dict(base.multiplier), begun)
    ppo = run.resumed() if resume else _new(core, days, seed)
    if resume:
        limit.resume(ppo.epoch)
    practice = Chunk(
        file=file,
        base=base,
        tuned=tuned,
        n_worlds=n_worlds,
        n_people=n_people,
        days=days,
        seed=seed,
        header=ppo.network.header(),
        weights={},
    )
    examined = (validation_worlds, validation_people)
    school = _School(ppo, practice, executor or InlineExecutor(), examined, self_play=self_play)
    reports: list[Report] = []
    over = limit.is_reached(ppo.epoch)
    tired = school.tired(validate_every, patience)
    while not (over or tired):
        reports.append(school.epoch())
        over = limit.is_reached(ppo.epoch)
        if over or ppo.epoch % validate_every == 0:
            reports[-1]["validation"] = school.validate()
        tired = school.tired(validate_every, patience)
        school.note()
        with uninterrupted():
            report(reports[-1])
            run.keep(ppo, anew=len(reports) == 1 and not resume)
    best = school.course.best
    return {
        "agent": AGENT,
        "out": str(out),
        "epochs": ppo.epoch,
        "history": reports,
        "best": asdict(best) if best else None,
        "stopped_early": tired,
        "says": school.course.says(base.agent),
    }


@dataclass(frozen=True)
class _Run:
    """The folder of a training: what it was begun with, and its network."""

    out: Path
    file: MarketFile
    multiplier: dict[str, float]
    begun: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        return self.out / CHECKPOINT

    @property
    def network(self) -> Path:
        return self.checkpoint.with_suffix(NETWORK)

    def keep(self, ppo: PPO, *, anew: bool) -> None:
        if anew:
            self.network.unlink(missing_ok=True)  # an older run's never stands beside this checkpoint
            write_checkpoint(self.checkpoint, self.file, self.multiplier, self.begun, agent=AGENT)
        ppo.save(self.network, belonging(read_checkpoint(self.checkpoint, self.file)))

    def resumed(self) -> PPO:
        """The network to go on from; refuses what was begun on another market or with other settings."""
        if not (self.checkpoint.is_file() and self.network.is_file()):
            remedy = "Name the run's folder with --out."
            raise BadInput("resume", str(self.network), "needs a network", remedy)
        state = read_checkpoint(self.checkpoint, self.file)
        if "validate_every" not in state:
            allowed = "must be of a training with validations"
            remedy = "It flies as it is; to go on, train anew."
            raise BadInput("resume", str(self.network), allowed, remedy)
        state.setdefault("self_play", False)  # a training of before there was any
        for name, value in {"line_multiplier": self.multiplier, **self.begun}.items():
            if state.get(name) != value:
                allowed = f"must be {state.get(name)}, as it was begun"
                remedy = "Resume with what it was begun with, or name another folder."
                raise BadInput(name, value, allowed, remedy)
        require_belonging(self.network, belonging(read_checkpoint(self.checkpoint, self.file)))
        return PPO.load(self.network, CAMPAIGN_FEATURES)


class _School:
    """Where the network practises and is examined."""

    def __init__(
        self, ppo: PPO, practice: Chunk, executor: Executor, examined: tuple[int, int], *, self_play: bool
    ) -> None:
        self._ppo, self._practice, self._executor = ppo, practice, executor
        self.course = Course.from_notes(ppo.notes) if ppo.notes else Course()
        self._league = League(practice.seed, ppo.earlier) if self_play else None
        n_worlds, n_people = examined
        self._exam = replace(
            practice, split="validation", n_worlds=n_worlds, n_people=n_people, seed=0, explores=False
        )

    def epoch(self) -> Report:
        """Act and learn once; before the first epoch the inputs are measured, and the base is the best."""
        ppo = self._ppo
        if not ppo.network.measured:
            ppo.measure(self._practise(0).sequences)
            ppo.best = ppo.network.copy()
            torch.nn.init.zeros_(ppo.best.policy.weight)
            torch.nn.init.zeros_(ppo.best.policy.bias)
        level = self.course.level
        lived = self._practise(ppo.epoch + 1)
        self.course.lived(lived.win_rate)
        if self._league is not None:
            self._league.freeze(ppo.epoch, ppo.network.arrays())
        told = {"win_rate": lived.win_rate, "level": level, "spend_usd": lived.spend_usd}
        return ppo.learn(lived.sequences) | told

    def _practise(self, epoch: int) -> Lived:
        weights = self._ppo.network.arrays()
        opponents = () if self._league is None else self._league.opponents(epoch, weights)
        chunk = replace(
            self._practice, epoch=epoch, level=self.course.level, weights=weights, opponents=opponents
        )
        return live_everywhere(chunk, self._executor, WORLDS_A_CHUNK)

    def validate(self) -> Report:
        """Fly the validation worlds; a network that is the best so far is kept."""
        ppo = self._ppo
        exam = replace(self._exam, weights=ppo.network.arrays())
        gain = live_everywhere(exam, self._executor, _VALIDATION_CHUNK).gain
        found = Validation.of(ppo.epoch, gain)
        best = self.course.add(found)
        if best:
            ppo.best = ppo.network.copy()
        return asdict(found) | {"best": best}

    def tired(self, every: int, patience: int | None) -> bool:
        """Whether validations brought nothing better for too long."""
        epoch = self._ppo.epoch
        return patience is not None and epoch % every == 0 and self.course.stale(epoch, patience * every)

    def note(self) -> None:
        """Put what a resume needs into what is kept of the network."""
        self._ppo.notes = self.course.notes()
        if self._league is not None:
            self._ppo.earlier = self._league.networks


def _new(core: str, days: int, seed: int) -> PPO:
    settings = PPOSettings(
        epochs=HORIZON, steps=days, gamma=1.0, lam=0.9, minibatch_rows=750, seed=seed, longest=days
    )
    shape = NetworkShape(core=core, n_actions=N_GROUPS, first_log_std=FIRST_LOG_STD)
    return PPO(ActorCritic(CAMPAIGN_FEATURES, shape, seed=seed), settings)


def _check(every: int, validation_worlds: int, patience: int | None) -> None:
    if every < 1:
        raise BadInput("validate_every", every, "must be at least 1", "Give a number of epochs.")
    if validation_worlds < 2:
        remedy = "Give two worlds or more."
        raise BadInput("validation_worlds", validation_worlds, "must be at least 2", remedy)
    if patience is not None and patience < 1:
        raise BadInput("patience", patience, "must be at least 1, or None", "Give a number of validations.")
