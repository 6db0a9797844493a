"""`gaelp train`: one of the agents that learn, or the baselines' settings."""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    DaysOption,
    ExecutorOption,
    JsonOption,
    MarketOption,
    OutOption,
    SeedOption,
    WorkersOption,
    bars,
    find_market,
    print_json,
    say,
    show,
    typed,
)
from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.names import require_known

if TYPE_CHECKING:
    from gaelp.learning.tracking import Row, Tracker
    from gaelp.market.file import MarketFile

Result = dict[str, Any]
_SECONDS_BEFORE_A_BAR = 2.0
_TRACKS = ("none", "wandb")


class Interrupted(GaelpError):
    """Somebody pressed Ctrl-C; the message tells what is kept and how to go on."""

    exit_code = 130


def train_command(
    market: MarketOption = DEFAULT_MARKET,
    agent: Annotated[
        str,
        typer.Option(
            help="static_lines (bids by line), value (targets by what a line is worth), or controller (a"
            " network that corrects value); baselines tunes fixed, pacing, pid and target_cpa."
        ),
    ] = "static_lines",
    epochs: Annotated[
        int | None, typer.Option(help="Rounds of search, looks of value, epochs of PPO (200 at most).", min=1)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Wall-clock minutes instead of epochs.", min=0.01)
    ] = None,
    worlds: Annotated[int | None, typer.Option(help="Training worlds per epoch.")] = None,
    users: Annotated[int | None, typer.Option(help="People per world.")] = None,
    days: DaysOption = 30,
    seed: SeedOption = 0,
    executor: ExecutorOption = "inline",
    workers: WorkersOption = None,
    folder: OutOption = None,
    base: Annotated[
        str | None, typer.Option(help="What the controller corrects: a run of value; else the committed one.")
    ] = None,
    self_play: Annotated[
        bool,
        typer.Option("--self-play", help="Two more seats are flown by the controller's earlier networks."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    track: Annotated[
        str, typer.Option(help="none, or wandb: its runs too, offline unless WANDB_MODE says otherwise.")
    ] = "none",
    as_json: JsonOption = False,
) -> None:
    """Learn on training worlds; the worlds of other splits are out of reach.

    Figures of each epoch go to metrics.jsonl in --out. Ctrl-C keeps the epochs that are finished. Only the
    controller trains in other processes. Tuned baselines are written beside the market file; they know no
    epochs, minutes, --out, --resume or --track.
    """
    from gaelp.market.file import load
    from gaelp.worlds.executors import EXECUTORS, checked_workers
    from gaelp.worlds.registry import AGENTS
    from gaelp.worlds.simulate import check_sizes

    require_known("agent", agent, [*AGENTS, "baselines"])
    require_known("executor", executor, EXECUTORS)
    checked_workers(workers)
    of_search = {"epochs": epochs, "minutes": minutes, "out": folder, "resume": resume or None}
    require_known("track", track, _TRACKS)
    tracked = None if track == "none" else track
    _refuse_what_is_for_others(agent, of_search | {"track": tracked}, base, executor, self_play)
    if tracked and _folder_of(agent, folder) is None:
        raise BadInput("out", folder, "must be a folder with --track", "Name one: --out runs/mine.")
    learner = importlib.import_module(_LEARNERS[agent].module)
    n_worlds = learner.N_WORLDS if worlds is None else worlds
    n_people = learner.N_PEOPLE if users is None else users
    check_sizes(worlds=n_worlds, users=n_people, days=days)
    job = _Job(
        agent=agent,
        learner=learner,
        file=load(find_market(market)),
        sizes={"n_worlds": n_worlds, "n_people": n_people, "days": days, "seed": seed},
        limits=_LEARNERS[agent].limits if epochs is None and minutes is None else (epochs, minutes),
        resume=resume,
        out=None if folder is None else Path(folder),
        base=base or "value",
        self_play=self_play,
        executor=executor,
        workers=workers,
        wandb=track == "wandb",
        quiet=as_json,
    )
    given = {
        "agent": (agent, "static_lines"),
        "market": (market, DEFAULT_MARKET),
        **{name: (value, None) for name, value in of_search.items() if name not in ("out", "resume")},
        "worlds": (worlds, None),
        "users": (users, None),
        "days": (days, 30),
        "seed": (seed, 0),
        "executor": (executor, "inline"),
        "workers": (workers, None),
        "out": (folder, None),
        "base": (base, None),
        "track": (track, "none"),
    }
    try:
        result = _LEARNERS[agent].train(job)
    except KeyboardInterrupt:
        if folder is None:
            raise
        flags = ["--resume", *["--self-play"] * self_play]
        raise Interrupted(_left(job, typed(["train", *flags], given))) from None
    if as_json:
        print_json(result)
        return
    for name, factor in result.get("line_multiplier", {}).items():
        page = result.get("landing", {}).get(name, 0)
        print(f"{name:34s} x{factor:.2f}{f'  landing page {page}' if page else ''}")


def _refuse_what_is_for_others(
    agent: str, of_search: Mapping[str, object], base: str | None, executor: str, self_play: bool
) -> None:
    for name, value in of_search.items():
        if agent == "baselines" and value is not None:
            raise BadInput(name, value, "is not for baselines", f"Leave --{name} out.")
    if agent != "controller" and base is not None:
        raise BadInput("base", base, "is for the controller only", "Leave --base out.")
    if agent != "controller" and self_play:
        raise BadInput("self-play", True, "is for the controller only", "Leave --self-play out.")
    if agent != "controller" and executor != "inline":
        allowed = f"must be inline for {agent}, which flies its worlds on all threads"
        raise BadInput("executor", executor, allowed, "Leave --executor out.")


def _folder_of(agent: str, out: str | Path | None) -> Path | None:
    """Where the history goes: nowhere, where `value` writes only a checkpoint."""
    return None if out is None or (agent == "value" and Path(out).suffix == ".json") else Path(out)


@dataclass(kw_only=True)
class _Job:
    """What was asked for; `last` is the last epoch that was finished, 0 before."""

    agent: str
    learner: Any
    file: "MarketFile"
    sizes: Mapping[str, int]
    limits: tuple[int | None, float | None]
    resume: bool
    out: Path | None
    base: str
    self_play: bool
    executor: str
    workers: int | None
    wandb: bool
    quiet: bool
    last: int = 0

    @property
    def search(self) -> dict[str, Any]:
        epochs, minutes = self.limits
        return {**self.sizes, "epochs": epochs, "minutes": minutes, "resume": self.resume}

    def world_hours(self) -> int:
        """What is still to come of the epochs asked for; of one, where only time counts."""
        epochs = self.limits[0] or 1
        if self.resume:
            epochs -= self.learner.saved(self.out, self.file, self.sizes).epochs
        total: int = self.learner.world_hours(self.sizes["n_worlds"], self.sizes["days"], max(epochs, 0))
        return total

    def tell(self, text: str) -> None:
        if not self.quiet:
            say(text)

    @contextmanager
    def watched(self, total: int) -> Iterator["_Watch"]:
        """Track the epochs, and show a bar where it takes longer than two seconds.

        Args:
            total: world-hours or epochs; where minutes limit the training, the bar counts these.
        """
        with ExitStack() as stack:
            tracker = stack.enter_context(self._tracker())
            shown = bars(quiet=self.quiet)
            minutes = self.limits[1]
            task = shown.add_task(
                f"Training {self.agent}", total=total if minutes is None else 60.0 * minutes
            )
            later = Timer(_SECONDS_BEFORE_A_BAR, shown.start)
            later.daemon = True
            later.start()
            began = time.perf_counter()

            def tick(done: float) -> None:
                if minutes is None:
                    shown.advance(task, done)
                else:
                    shown.update(task, completed=time.perf_counter() - began)

            def epoch(row: "Row") -> "Row":
                whole = tracker.write(row)
                self.last = whole["epoch"]
                shown.update(task, description=_figures(whole))
                return whole

            try:
                yield _Watch(tick, epoch)
            finally:
                later.cancel()
                later.join()
                if shown.live.is_started:
                    shown.stop()

    def _tracker(self) -> "Tracker":
        from gaelp.learning.tracking import Tracker, Wandb

        folder = _folder_of(self.agent, self.out)
        mirrors = []
        if self.wandb:
            assert folder is not None
            about = {"agent": self.agent, "market": self.file.name, "market_sha256": self.file.sha256}
            mirrors.append(Wandb(folder, {**about, **self.search}))
        return Tracker(folder, resume=self.resume, mirrors=mirrors)


class _Watch(NamedTuple):
    """How a training tells what it has done: world-hours, and rows of epochs."""

    tick: Callable[[float], None]
    epoch: Callable[["Row"], "Row"]


def _figures(row: "Row") -> str:
    """What is known of an epoch, short enough to leave room for a bar; CAC and ROAS are incremental."""
    known = {
        "{:.3g} worlds/s": row["worlds_per_second"],
        "spent ${:,.0f}": row["spend_usd"],
        "CAC ${:,.0f}": row["incremental_cac_usd"],
        "ROAS {:.2f}": row["incremental_roas"],
    }
    told = [text.format(figure) for text, figure in known.items() if figure is not None]
    return "  ".join([f"epoch {row['epoch']}", *told])


def _left(job: _Job, again: str) -> str:
    if job.last:
        return f"interrupted; {job.out} holds all up to epoch {job.last}. To go on: {again}"
    if job.resume:
        return f"interrupted; {job.out} holds what it held before. To go on: {again}"
    return "interrupted before the end of the first epoch; nothing of it is kept"


def _train(job: _Job, **more: Any) -> Result:
    from gaelp.worlds.tuned import tuned_for

    return dict(job.learner.train(job.file, tuned=tuned_for(job.file), out=job.out, **job.search, **more))


def _baselines(job: _Job) -> Result:
    from gaelp.worlds.tuned import save_tuned

    total = job.learner.world_hours(job.sizes["n_worlds"], job.sizes["days"])
    with job.watched(total) as watch:
        tuned, evidence = job.learner.tune(job.file, **job.sizes, tick=watch.tick, say=job.tell)
    path = save_tuned(job.file, tuned, evidence)
    job.tell(f"written to {path}")
    return {"agent": "baselines", "written": str(path), "market_sha256": job.file.sha256, **evidence}


def _static_lines(job: _Job) -> Result:
    with job.watched(job.world_hours()) as watch:

        def report(row: "Row") -> None:
            done = watch.epoch(row)
            job.tell(
                f"epoch {done['epoch']:3d}  {done['seconds']:6.1f} s  profit of the centre "
                f"${done['objective_usd']:,.0f}, best ${done['best_usd']:,.0f}, "
                f"without factors ${done['plain_usd']:,.0f}  "
                f"CAC {show(done['incremental_cac_usd'], '$')}  ROAS {show(done['incremental_roas'])}  "
                f"spent {done['spend_share']:.0%}"
            )

        return _train(job, tick=watch.tick, report=report)


def _value(job: _Job) -> Result:
    with job.watched(job.world_hours()) as watch:
        return _train(job, tick=watch.tick, report=job.tell, track=watch.epoch)


def _controller(job: _Job) -> Result:
    from gaelp.worlds.executors import make_executor
    from gaelp.worlds.registry import trained_lines

    if job.out is None:
        raise BadInput("out", None, "must be a folder", "Name one to keep the network in: --out runs/mine.")
    base = trained_lines(job.base, job.file)
    if base is None or base.agent != "value":
        raise BadInput(
            "base", job.base, "must be value, or a run that trained it", "Train one: --agent value."
        )

    with job.watched(job.limits[0] or 1) as watch, make_executor(job.executor, job.workers) as where:

        def report(row: "Row") -> None:
            # each world is flown with the corrections and without
            done = watch.epoch({"worlds": 2 * job.sizes["n_worlds"], **row})
            watch.tick(1.0)
            job.tell(
                f"epoch {done['epoch']:3d}  {done['seconds']:6.1f} s  gained on value, in daily budgets "
                f"a world: {done['reward']:+.3f}"
            )

        found = _train(job, base=base, executor=where, self_play=job.self_play, report=report)
    job.tell(found["says"])
    return found


class _Learner(NamedTuple):
    """The module that trains an agent, how it is called, and epochs and minutes where nobody gives them."""

    module: str
    train: Callable[[_Job], Result]
    limits: tuple[int | None, float | None] = (None, 1.0)


_LEARNERS = {
    "baselines": _Learner("gaelp.learning.tuning", _baselines, (None, None)),
    "static_lines": _Learner("gaelp.learning.lines", _static_lines),
    "value": _Learner("gaelp.learning.value", _value, (1, None)),
    "controller": _Learner("gaelp.learning.controller", _controller),
}
"""By agent; the module of the controller brings torch."""
