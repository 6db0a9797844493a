"""`gaelp train`: find `static_lines`, or tune the baselines, on training worlds."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]


def train_command(
    market: Annotated[Path, typer.Option(help="Market file.")] = Path("markets/family_safety.toml"),
    agent: Annotated[
        str, typer.Option(help="static_lines, or baselines to tune fixed and pacing.")
    ] = "static_lines",
    epochs: Annotated[int | None, typer.Option(help="Rounds of search.", min=1)] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Wall-clock minutes instead of epochs.", min=0.01)
    ] = None,
    worlds: Annotated[int | None, typer.Option(help="Training worlds per round.", min=1)] = None,
    users: Annotated[int | None, typer.Option(help="People per world.", min=1)] = None,
    days: Annotated[int, typer.Option(help="Days of a flight.", min=1)] = 30,
    seed: Annotated[int, typer.Option(help="Names the run's worlds and tries.")] = 0,
    split: Annotated[str, typer.Option(help="Split to learn from; test is refused.")] = "train",
    executor: Annotated[str, typer.Option(help="inline; others arrive with later steps.")] = "inline",
    out: Annotated[Path | None, typer.Option(help="Run folder for metrics and checkpoint.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    as_json: Json = False,
) -> None:
    """Learn on training worlds; test worlds are refused."""
    from rich.console import Console

    from gaelp.core.errors import BadInput, HeldOutError
    from gaelp.core.names import require_known
    from gaelp.market.file import load
    from gaelp.worlds.splits import SPLITS
    from gaelp.worlds.tuned import save_tuned, tuned_for

    require_known("agent", agent, ["static_lines", "baselines"])
    require_known("executor", executor, ["inline"])
    require_known("split", split, SPLITS)
    if split == "test":
        raise HeldOutError("split", split, "must be train", "Test worlds are for judging finished work.")
    if split != "train":
        raise BadInput("split", split, "must be train", "Validation worlds are for choosing, not learning.")
    file = load(market)
    console = Console(stderr=True)
    say = (lambda text: None) if as_json else console.print
    if agent == "baselines":
        from gaelp.learning.tuning import tune

        tuned, evidence = tune(
            file, n_worlds=worlds or 16, n_people=users or 10_000, days=days, seed=seed, say=say
        )
        path = save_tuned(file, tuned, evidence)
        _finish(as_json, {"agent": agent, "written": str(path), "market_sha256": file.sha256, **evidence})
        return
    from gaelp.learning.static_lines import Progress, train

    if epochs is None and minutes is None:
        minutes = 1.0

    def report(progress: Progress) -> None:
        say(
            f"epoch {progress.epoch:3d}  {progress.seconds:6.0f} s  profit of the centre "
            f"${progress.mean_usd:,.0f}, best ${progress.best_usd:,.0f}, pacing ${progress.pacing_usd:,.0f}  "
            f"CAC ${progress.incremental_cac_usd:.0f}  spent {progress.spend_share:.0%}"
        )

    result = train(
        file,
        tuned=tuned_for(file),
        epochs=epochs,
        minutes=minutes,
        n_worlds=worlds or 4,
        n_people=users or 5_000,
        days=days,
        seed=seed,
        out=out,
        resume=resume,
        report=report,
    )
    _finish(as_json, result)


def _finish(as_json: bool, result: dict[str, Any]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name, factor in result.get("line_multiplier", {}).items():
        sys.stdout.write(f"{name:34s} x{factor:.2f}\n")
