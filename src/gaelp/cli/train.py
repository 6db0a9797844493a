"""`gaelp train`: one of the agents that learn, or the baselines' settings."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    DaysOption,
    JsonOption,
    MarketOption,
    OutOption,
    SeedOption,
    find_market,
    print_json,
    progress,
    say,
    show,
)

if TYPE_CHECKING:
    from gaelp.learning.lines import Progress

Sizes = Mapping[str, int]
Search = Mapping[str, Any]
Result = dict[str, Any]
Tell = Callable[[str], None]


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
    executor: Annotated[str, typer.Option(help="Only inline: training runs on all threads.")] = "inline",
    folder: OutOption = None,
    base: Annotated[
        str | None, typer.Option(help="What the controller corrects: a run of value; else the committed one.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Learn on training worlds; the worlds of other splits are out of reach.

    Tuned baselines are written beside the market file; they know no epochs, minutes, --out or --resume.
    """
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known
    from gaelp.market.file import load
    from gaelp.worlds.registry import AGENTS
    from gaelp.worlds.simulate import check_sizes

    require_known("agent", agent, [*AGENTS, "baselines"])
    require_known("executor", executor, ["inline"])
    of_search = {"epochs": epochs, "minutes": minutes, "out": folder, "resume": resume or None}
    for name, value in of_search.items():
        if agent == "baselines" and value is not None:
            raise BadInput(name, value, "is not for baselines", f"Leave --{name} out.")
    learner = importlib.import_module(_LEARNERS[agent])
    n_worlds = learner.N_WORLDS if worlds is None else worlds
    n_people = learner.N_PEOPLE if users is None else users
    check_sizes(worlds=n_worlds, users=n_people, days=days)
    file = load(find_market(market))
    sizes = {"n_worlds": n_worlds, "n_people": n_people, "days": days, "seed": seed}
    if epochs is None and minutes is None:
        epochs, minutes = (1, None) if agent == "value" else (None, 1.0)
    search: dict[str, Any] = {"epochs": epochs, "minutes": minutes, "resume": resume}
    if agent == "controller":
        search["base"] = base or "value"
    elif base is not None:
        raise BadInput("base", base, "is for the controller only", "Leave --base out.")
    out = None if folder is None else Path(folder)

    def tell(text: str) -> None:
        if not as_json:
            say(text)

    result = _TRAIN[agent](learner, file, sizes, search, out, tell)
    if as_json:
        print_json(result)
        return
    for name, factor in result.get("line_multiplier", {}).items():
        page = result.get("landing", {}).get(name, 0)
        print(f"{name:34s} x{factor:.2f}{f'  landing page {page}' if page else ''}")


def _baselines(learner: Any, file: Any, sizes: Sizes, search: Search, out: Path | None, tell: Tell) -> Result:
    from gaelp.worlds.tuned import save_tuned

    tuned, evidence = learner.tune(file, **sizes, say=tell)
    path = save_tuned(file, tuned, evidence)
    tell(f"written to {path}")
    return {"agent": "baselines", "written": str(path), "market_sha256": file.sha256, **evidence}


def _static_lines(
    learner: Any, file: Any, sizes: Sizes, search: Search, out: Path | None, tell: Tell
) -> Result:
    from gaelp.worlds.tuned import tuned_for

    def report(done: "Progress") -> None:
        tell(
            f"epoch {done.epoch:3d}  {done.seconds:6.0f} s  profit of the centre "
            f"${done.mean_usd:,.0f}, best ${done.best_usd:,.0f}, "
            f"without factors ${done.plain_usd:,.0f}  "
            f"CAC {show(done.incremental_cac_usd, '$')}  spent {done.spend_share:.0%}"
        )

    return dict(learner.train(file, tuned=tuned_for(file), **sizes, **search, out=out, report=report))


def _value(learner: Any, file: Any, sizes: Sizes, search: Search, out: Path | None, tell: Tell) -> Result:
    from gaelp.worlds.tuned import tuned_for

    if search["resume"]:
        learner.saved(out, file, sizes)  # what is wrong with it is told before a bar is drawn
    total = learner.world_hours(sizes["n_worlds"], sizes["days"], search["epochs"] or 1)
    with progress("Training", total, quiet=False) as tick:
        found = learner.train(file, tuned=tuned_for(file), **sizes, **search, out=out, tick=tick, report=tell)
    return dict(found)


def _controller(
    learner: Any, file: Any, sizes: Sizes, search: Search, out: Path | None, tell: Tell
) -> Result:
    from gaelp.core.errors import BadInput
    from gaelp.worlds.registry import trained_lines
    from gaelp.worlds.tuned import tuned_for

    if out is None:
        raise BadInput("out", None, "must be a folder", "Name one to keep the network in: --out runs/mine.")
    base = trained_lines(search["base"], file)
    if base is None or base.agent != "value":
        raise BadInput(
            "base", search["base"], "must be value, or a run that trained it", "Train one: --agent value."
        )

    options = {**search, "base": base}

    def report(done: Mapping[str, Any]) -> None:
        tell(f"epoch {done['epoch']:3d}  gained on value, in daily budgets a world: {done['reward']:+.3f}")

    return dict(learner.train(file, **options, tuned=tuned_for(file), **sizes, out=out, report=report))


_TRAIN: dict[str, Callable[..., Result]] = {
    "baselines": _baselines,
    "static_lines": _static_lines,
    "value": _value,
    "controller": _controller,
}
_LEARNERS = {
    "baselines": "gaelp.learning.tuning",
    "static_lines": "gaelp.learning.lines",
    "value": "gaelp.learning.value",
    "controller": "gaelp.learning.controller",
}
"""Modules that train; that of the controller brings torch."""
