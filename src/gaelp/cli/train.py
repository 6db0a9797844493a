"""`gaelp train`: learn the factors of `static_lines`, train the `controller`, or tune the baselines."""

from pathlib import Path
from typing import Annotated, Any

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


def train_command(
    market: MarketOption = DEFAULT_MARKET,
    agent: Annotated[
        str,
        typer.Option(
            help="static_lines, controller, or ppo, a network that corrects the controller; baselines tunes"
            " fixed, pacing, pid and target_cpa."
        ),
    ] = "static_lines",
    epochs: Annotated[
        int | None, typer.Option(help="Rounds of static_lines' search, or of ppo.", min=1)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Wall-clock minutes instead of epochs.", min=0.01)
    ] = None,
    worlds: Annotated[int | None, typer.Option(help="Training worlds, of static_lines per round.")] = None,
    users: Annotated[int | None, typer.Option(help="People per world.")] = None,
    days: DaysOption = 30,
    seed: SeedOption = 0,
    executor: Annotated[str, typer.Option(help="Only inline: training runs on all threads.")] = "inline",
    folder: OutOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Learn on training worlds; the worlds of other splits are out of reach.

    Only static_lines and ppo know epochs and --resume, and only static_lines minutes. Tuned baselines are
    written beside the market file; they know no --out.
    """
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known
    from gaelp.learning import controller, lines, tuning
    from gaelp.market.file import load
    from gaelp.worlds.registry import AGENTS, CORRECTED, trained_lines
    from gaelp.worlds.simulate import check_sizes
    from gaelp.worlds.tuned import save_tuned, tuned_for

    require_known("agent", agent, [*AGENTS, CORRECTED, "baselines"])
    require_known("executor", executor, ["inline"])
    given = {"epochs": epochs, "minutes": minutes, "resume": resume or None, "out": folder}
    unknown = {"baselines": list(given), "controller": list(given)[:3], "ppo": ["minutes"]}.get(agent, [])
    for name in unknown:
        if given[name] is not None:
            raise BadInput(name, given[name], f"is not for {agent}", f"Leave --{name} out.")
    usual: Any = {"baselines": tuning, "controller": controller}.get(agent, lines)
    if agent == CORRECTED:
        from gaelp.learning import campaigns as usual  # brings torch
    n_worlds = usual.N_WORLDS if worlds is None else worlds
    n_people = usual.N_PEOPLE if users is None else users
    check_sizes(worlds=n_worlds, users=n_people, days=days)
    file = load(find_market(market))

    def tell(text: str) -> None:
        if not as_json:
            say(text)

    if agent == "baselines":
        tuned, evidence = tuning.tune(
            file, n_worlds=n_worlds, n_people=n_people, days=days, seed=seed, say=tell
        )
        path = save_tuned(file, tuned, evidence)
        result: dict[str, Any] = {"agent": agent, "written": str(path), "market_sha256": file.sha256}
        result |= evidence
        tell(f"written to {path}")
    elif agent == "controller":
        with progress("Training", controller.world_hours(n_worlds, days), quiet=as_json) as tick:
            result = controller.train(
                file,
                tuned=tuned_for(file),
                n_worlds=n_worlds,
                n_people=n_people,
                days=days,
                seed=seed,
                out=None if folder is None else Path(folder),
                tick=tick,
                report=lambda tried: tell(
                    f"aim at {tried.spend_share:.0%} of the budget, step {tried.step:g}: profit "
                    f"${tried.objective_usd:,.0f}, spent {tried.spent:.0%}"
                ),
            )
    elif agent == CORRECTED:
        base = trained_lines("controller", file)
        if base is None or folder is None:
            raise BadInput("out", folder, "must be a folder", "Name the run's folder with --out.")
        result = usual.train(
            file,
            base=base,
            tuned=tuned_for(file),
            epochs=50 if epochs is None else epochs,
            out=Path(folder),
            n_worlds=n_worlds,
            n_people=n_people,
            days=days,
            seed=seed,
            resume=resume,
            report=lambda done: tell(
                f"epoch {done['epoch']:3d}  gained on the controller, in daily budgets {done['reward']:+.3f}"
            ),
        )
    else:

        def report(done: lines.Progress) -> None:
            tell(
                f"epoch {done.epoch:3d}  {done.seconds:6.0f} s  profit of the centre "
                f"${done.mean_usd:,.0f}, best ${done.best_usd:,.0f}, "
                f"without factors ${done.plain_usd:,.0f}  "
                f"CAC {show(done.incremental_cac_usd, '$')}  spent {done.spend_share:.0%}"
            )

        result = lines.train(
            file,
            tuned=tuned_for(file),
            epochs=epochs,
            minutes=1.0 if epochs is None and minutes is None else minutes,
            n_worlds=n_worlds,
            n_people=n_people,
            days=days,
            seed=seed,
            out=None if folder is None else Path(folder),
            resume=resume,
            report=report,
        )
    if as_json:
        print_json(result)
        return
    for name, factor in result.get("line_multiplier", {}).items():
        page = result.get("landing", {}).get(name, 0)
        print(f"{name:34s} x{factor:.2f}{f'  landing page {page}' if page else ''}")
