"""`gaelp offline`: learn from a log of campaigns alone, and judge by a log what can be judged."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    DaysOption,
    JsonOption,
    MarketOption,
    SeedOption,
    find_market,
    out,
    print_json,
    progress,
    say,
    show,
)

if TYPE_CHECKING:
    from gaelp.market.file import MarketFile
    from gaelp.worlds.registry import TrainedLines

offline_app = typer.Typer(
    help="Policies from logs of campaigns: write a log, train on it, say what it can tell of a policy.",
    no_args_is_help=True,
)
FolderOption = Annotated[str, typer.Option("--out", metavar="DIR", help="Folder for what is written.")]
BaseOption = Annotated[str, typer.Option(help="What actions correct: value, or a run that trained it.")]
NoiseOption = Annotated[
    float, typer.Option(help="Standard deviation of the logging policy's draws; 1 is half as much again.")
]
RunoffOption = Annotated[int, typer.Option(help="Days after the campaign in which sales still count.")]
RewardOption = Annotated[
    str, typer.Option(help="attributed, as accounts know it; or incremental, which a simulation knows.")
]
LogArgument = Annotated[str, typer.Argument(metavar="LOG", help="A table, or a folder that export wrote.")]


@offline_app.command("export")
def export_command(
    folder: FolderOption,
    market: MarketOption = DEFAULT_MARKET,
    base: BaseOption = "value",
    noise: NoiseOption = 0.5,
    worlds: Annotated[int, typer.Option(help="Training worlds.")] = 32,
    users: Annotated[int, typer.Option(help="People per world.")] = 2_000,
    days: DaysOption = 30,
    runoff_days: RunoffOption = 30,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Fly the base with random factors a day and price group on training worlds, and write a log.

    Another seed names other worlds: judge on worlds that nothing was trained on.
    """
    from gaelp.core.errors import BadInput
    from gaelp.learning.offline_campaign import Noise, Worlds, base_name, world_hours
    from gaelp.learning.offline_log import LOG
    from gaelp.worlds.runs import RESULT, RunConfig, refuse_unless_replaceable, run_folder, write_json
    from gaelp.worlds.simulate import check_sizes, compile_market
    from gaelp.worlds.tuned import tuned_for

    check_sizes(worlds=worlds, users=users, days=days, runoff_days=runoff_days)
    draws = Noise(noise)
    if noise == 0:
        raise BadInput(
            "noise", noise, "must be above 0", "A log without chance says nothing of other actions."
        )
    refuse_unless_replaceable(folder)
    file, lines = _flown(market, base)
    settings: dict[str, Any] = {
        "base": base,
        "noise": noise,
        "worlds": worlds,
        "users": users,
        "days": days,
        "runoff_days": runoff_days,
    }
    config = RunConfig(
        command="offline export", settings=settings, seed=seed, market=market, market_sha256=file.sha256
    )
    compile_market(file, say)
    with progress("logging", world_hours(worlds, days, runoff_days), quiet=as_json) as tick:
        lived = Worlds(
            file,
            n_worlds=worlds,
            n_people=users,
            days=days,
            runoff_days=runoff_days,
            seed=seed,
            tick=tick,
        )
        tuned = tuned_for(file)
        log = lived.fly(lambda: lines.base(tuned), draws, base=base_name(lines, file), seed=seed)
    result = {
        **settings,
        "seed": seed,
        "out": folder,
        "rows": len(log.day),
        "attributed": float(log.reward("attributed").mean()),
        "incremental": float(log.reward("incremental").mean()),
    }
    with run_folder(folder, config) as run:
        log.save(run / LOG)
        write_json(run / RESULT, result)
    _tell(result, as_json, _EXPORT)


@offline_app.command("train")
def train_command(
    log: LogArgument,
    folder: FolderOption,
    method: Annotated[str, typer.Option(help="bc, iql; or cql, where d3rlpy is.")] = "iql",
    reward: RewardOption = "attributed",
    market: MarketOption = DEFAULT_MARKET,
    base: BaseOption = "value",
    updates: Annotated[
        int | None, typer.Option(help="Gradient steps.", show_default="the method's own")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Train on a log: behaviour cloning, implicit Q-learning or d3rlpy's conservative Q-learning.

    The folder flies: `gaelp evaluate DIR value pacing`.
    """
    from dataclasses import replace
    from pathlib import Path

    from gaelp.core.names import require_known
    from gaelp.learning.offline_log import REWARDS, read_log

    require_known("reward", reward, REWARDS)
    file, lines = _flown(market, base)
    found = read_log(log)
    from gaelp.learning.offline_policy import SETTINGS, UPDATES, train  # brings torch

    result = train(
        found,
        file,
        lines,
        method=method,
        reward=reward,
        out=Path(folder),
        updates=UPDATES if updates is None else updates,
        settings=replace(SETTINGS, seed=seed),
    )
    _tell({**result, "worlds": len(found.worlds), "seed": seed, "log": log}, as_json, _TRAIN)


@offline_app.command("evaluate")
def evaluate_command(
    log: LogArgument,
    policies: Annotated[list[str], typer.Argument(metavar="POLICY...", help="Folders that train wrote.")],
    reward: RewardOption = "attributed",
    horizon: Annotated[int, typer.Option(help="Days of decisions that a day's reward hangs on.")] = 1,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    market: MarketOption = DEFAULT_MARKET,
    base: BaseOption = "value",
    worlds: Annotated[int, typer.Option(help="Validation worlds to fly in beside; 0: judge by the log.")] = 0,
    users: Annotated[int, typer.Option(help="Flown: people per world.")] = 4_000,
    days: DaysOption = 30,
    runoff_days: RunoffOption = 30,
    noise: NoiseOption = 0.5,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what policies would earn by a log, where it can tell, and with --worlds what they do earn.

    Estimates are of policies that draw their actions; flights show them with draws and without. All figures
    are value less spend a day, in daily budgets.
    """
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known
    from gaelp.learning.offline_campaign import Noise, Worlds, world_hours
    from gaelp.learning.offline_estimate import estimate
    from gaelp.learning.offline_log import REWARDS, read_log
    from gaelp.worlds.registry import policy_label
    from gaelp.worlds.simulate import check_sizes, compile_market

    require_known("reward", reward, REWARDS)
    if worlds:
        check_sizes(worlds=worlds, users=users, days=days, runoff_days=runoff_days)
        if worlds < 2:
            raise BadInput("worlds", worlds, "must be 0, or at least 2", "Intervals need two worlds.")
    draws = Noise(noise)
    file, lines = _flown(market, base)
    found = read_log(log)
    from gaelp.learning.offline_policy import OfflinePolicy, deviation, fly_beside, means  # brings torch

    loaded = {policy_label(name): OfflinePolicy.load(name, file) for name in policies}
    if len(loaded) < len(policies):
        raise BadInput("policies", ", ".join(policies), "must have names of their own", "Rename a folder.")
    estimates = {}
    for name, policy in loaded.items():
        policy.require_base(found.base)
        estimates[name] = estimate(
            found,
            means(policy.network, found),
            deviation(policy.network),
            reward=reward,
            horizon=horizon,
            level=level,
            trained_on=policy.said["worlds"],
        )
    result: dict[str, Any] = {"log": log, "reward": reward, "estimates": estimates, "flown": None}
    if worlds:
        compile_market(file, say)
        total = world_hours(worlds, days, runoff_days, 3 + 2 * len(loaded))
        with progress("flying", total, quiet=as_json) as tick:
            lived = Worlds(
                file,
                n_worlds=worlds,
                n_people=users,
                days=days,
                runoff_days=runoff_days,
                split="validation",
                seed=seed,
                tick=tick,
            )
            result["flown"] = fly_beside(lived, lines, loaded, draws, seed=seed)
        result |= {"worlds": worlds, "users": users, "days": days, "seed": seed}
    if as_json:
        print_json(result)
        return
    _tell_evaluation(result)


def _flown(market: str, base: str) -> "tuple[MarketFile, TrainedLines]":
    """The market, and what the base learnt on it."""
    from gaelp.core.errors import BadInput
    from gaelp.market.file import load
    from gaelp.worlds.registry import trained_lines

    file = load(find_market(market))
    lines = trained_lines(base, file)
    if lines is None or lines.agent != "value":
        raise BadInput("base", base, "must be value, or a run that trained it", "Train one: --agent value.")
    return file, lines


_EXPORT = {
    "out": "kept in",
    "rows": "days logged",
    "attributed": "attributed value less spend a day, in daily budgets",
    "incremental": "incremental value less spend a day, in daily budgets",
}
_TRAIN = {
    "out": "kept in",
    "method": "method",
    "reward": "reward",
    "updates": "updates",
    "days": "days logged",
    "worlds": "worlds",
    "mean": "size of an action on average",
    "copied": "what our copy of CQL's network misses",
}


def _tell(result: dict[str, Any], as_json: bool, labels: dict[str, str]) -> None:
    if as_json:
        print_json(result)
        return
    for key, label in labels.items():
        if result[key] is not None:
            print(f"{label}: {show(result[key])}")


def _tell_evaluation(result: dict[str, Any]) -> None:
    from rich.table import Table

    shown = Table(title=f"By the log: {result['reward']} value less spend a day, in daily budgets")
    for column in ("policy", "IPS", "SNIPS", "DR", "DR less the log", "effective days (worlds)"):
        shown.add_column(column)
    for name, found in result["estimates"].items():
        ends = found["intervals"] or {}
        cells = [_cell(found[key], ends.get(key)) for key in ("ips", "snips", "dr", "gain")]
        shown.add_row(name, *cells, f"{found['effective_sample_size']:.0f} ({found['effective_worlds']:.1f})")
    console = out()
    console.print(shown)
    for name, found in result["estimates"].items():
        if found["refused"]:
            console.print(f"{name}: refused; {found['reason']}", highlight=False, soft_wrap=True)
    if result["flown"] is None:
        return
    flown = Table(title=f"Flown in {result['worlds']} validation worlds of {result['users']:,} people")
    for column in ("policy", "incremental", "less logging's", "attributed", "less logging's"):
        flown.add_column(column)
    for name, row in result["flown"].items():
        figures = [row[kind] for kind in ("incremental", "incremental_gain", "attributed", "attributed_gain")]
        flown.add_row(name, *(_cell(each["mean"], (each["low"], each["high"])) for each in figures))
    console.print(flown)


def _cell(value: float | None, ends: Any = None) -> str:
    if value is None:
        return "refused"
    if ends is None or None in ends:
        return f"{value:.3f}"
    return f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
