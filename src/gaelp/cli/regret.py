"""`gaelp regret`: a search for markets in which an agent earns less than a baseline."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    DaysOption,
    ExecutorOption,
    JsonOption,
    MarketOption,
    RunoffOption,
    SeedOption,
    UsersOption,
    WorkersOption,
    find_market,
    out,
    print_json,
    progress,
    say,
    typed,
)

if TYPE_CHECKING:
    from gaelp.evaluation.levers import Lever
    from gaelp.evaluation.suites import NamedPolicy
    from gaelp.market.file import MarketFile


def regret_command(
    policy: Annotated[
        str, typer.Argument(metavar="POLICY", help="A name, or a checkpoint's path.")
    ] = "value",
    baseline: Annotated[str, typer.Option(help="The policy it may lose to.")] = "pacing",
    market: MarketOption = DEFAULT_MARKET,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also turn this parameter, besides [spread] and the budget; may be given again.",
            show_default="landing_fit, organic_click, predict_sigma",
        ),
    ] = None,
    spread_only: Annotated[
        bool, typer.Option("--spread-only", help="Turn only what training worlds vary, and no budget.")
    ] = False,
    points: Annotated[int, typer.Option(help="Points that fill the box.")] = 128,
    rounds: Annotated[int, typer.Option(help="Rounds toward regret.")] = 3,
    tries: Annotated[int, typer.Option(help="Points of a round.")] = 32,
    worlds: Annotated[int, typer.Option(help="Training worlds of each point.")] = 1,
    confirm_worlds: Annotated[int, typer.Option(help="Fresh validation worlds of each case.")] = 16,
    reach: Annotated[float, typer.Option(help="Steps to the edge; one is the spread of training.")] = 6.0,
    users: UsersOption = 4_000,
    days: DaysOption = 30,
    runoff_days: RunoffOption = 30,
    seed: SeedOption = 0,
    executor: ExecutorOption = "inline",
    workers: WorkersOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted search.")] = False,
    folder: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Keep page and figures here.")
    ] = "runs/regret",
    as_json: JsonOption = False,
) -> None:
    """Search markets for worlds in which a policy earns less than a baseline, and confirm the worst.

    Parameters are turned in copies of training worlds; what is reported is flown again on fresh validation
    worlds. Test worlds stay sealed.
    """
    from gaelp.cli.evaluate import kept_on_interrupt
    from gaelp.core.names import require_known
    from gaelp.evaluation.judge import Terms
    from gaelp.evaluation.parts import Parts
    from gaelp.evaluation.regret import Flights, Search, find, search_hours
    from gaelp.evaluation.regret_page import cases_table, effects_table, sentences, write
    from gaelp.evaluation.report import REPORT, report_head
    from gaelp.market.file import load
    from gaelp.worlds.executors import EXECUTORS, checked_workers, make_executor
    from gaelp.worlds.registry import policy_label
    from gaelp.worlds.runs import RESULT, RunConfig, refuse_unless_replaceable, run_folder, write_json
    from gaelp.worlds.simulate import check_sizes, compile_market

    require_known("executor", executor, EXECUTORS)
    checked_workers(workers)
    check_sizes(worlds=worlds, users=users, days=days, runoff_days=runoff_days)
    file = load(find_market(market))
    levers = _levers(file, parameter, spread_only)
    search = Search(
        points=points, rounds=rounds, tries=tries, worlds=worlds, confirm_worlds=confirm_worlds, reach=reach
    )
    search.check(len(levers))
    agent, other = _rivals(policy, baseline, file)
    refuse_unless_replaceable(folder)
    settings: dict[str, Any] = {
        "policy": policy,
        "baseline": baseline,
        "parameters": [lever.name for lever in levers],
        **asdict(search),
        "users": users,
        "days": days,
        "runoff_days": runoff_days,
    }
    named = ["--spread-only"] if spread_only else []
    named += [word for name in parameter or [] for word in ("--parameter", name)]
    command = _command(settings, seed, market, named)
    config = RunConfig(
        command="regret", settings=settings, seed=seed, market=market, market_sha256=file.sha256
    )
    parts = Parts.of(folder)
    flown = {"flown": [str(agent), str(other)]}
    parts.begin({**settings, "seed": seed, "market_sha256": file.sha256, **flown}, resume=resume)
    compile_market(file, say)
    terms = Terms(n_people=users, days=days, runoff_days=runoff_days, seed=seed)
    with (
        kept_on_interrupt(parts, f"{command} --out {folder} --resume"),
        progress("searching", search_hours(search, terms), quiet=as_json) as tick,
        make_executor(executor, workers) as where,
    ):
        found = find(Flights(file, levers, agent, other, terms, seed, tick, where, parts), search)
    names = policy_label(policy), policy_label(baseline)
    said = sentences(found, *names)
    result = {
        **settings,
        "seed": seed,
        "market": file.name,
        "market_sha256": file.sha256,
        "model_sha256": agent.sha256,
        "found": said,
        **found.as_dict(),
    }
    with run_folder(folder, config) as run:
        write_json(run / RESULT, result)
        head = report_head(file, f"Regret map: {names[0]} against {names[1]}", command, seed)
        write(run / REPORT, head, found, *names)
    parts.remove()
    if as_json:
        print_json(result)
        return
    console = out()
    console.print(effects_table(found))
    console.print(cases_table(found, *names))
    for sentence in said:
        console.print(f"- {sentence}", highlight=False, markup=False)
    say(f"page: {folder}/{REPORT}")


def _levers(file: "MarketFile", parameter: list[str] | None, spread_only: bool) -> "list[Lever]":
    """What is turned."""
    from gaelp.core.errors import BadInput
    from gaelp.evaluation.levers import ALSO, levers_of

    if spread_only and parameter:
        raise BadInput("parameter", parameter[0], "cannot go with --spread-only", "Leave one of them out.")
    levers = levers_of(file, ALSO if parameter is None else parameter)
    return [lever for lever in levers if lever.in_spread or not spread_only]


def _rivals(policy: str, baseline: str, file: "MarketFile") -> "tuple[NamedPolicy, NamedPolicy]":
    """The policy and its baseline, which must be another and no yardstick."""
    from gaelp.core.errors import BadInput
    from gaelp.evaluation.suites import contender
    from gaelp.worlds.registry import trained_lines

    if policy == baseline:
        raise BadInput("baseline", baseline, "must be another than the policy", "Name two policies.")
    for name in (policy, baseline):
        trained_lines(name, file)  # its errors name what could be flown; a contender may be a yardstick too
    return contender(policy, file), contender(baseline, file)


def _command(settings: dict[str, Any], seed: int, market: str, named: list[str]) -> str:
    """The command that makes these figures again."""
    usual = {
        "baseline": "pacing",
        "points": 128,
        "rounds": 3,
        "tries": 32,
        "worlds": 1,
        "confirm_worlds": 16,
        "reach": 6.0,
        "users": 4_000,
        "days": 30,
        "runoff_days": 30,
    }
    options: dict[str, tuple[object, object]] = {
        name.replace("_", "-"): (settings[name], value) for name, value in usual.items()
    }
    options |= {"market": (market, DEFAULT_MARKET), "seed": (seed, 0)}
    return typed(["regret", settings["policy"], *named], options)
