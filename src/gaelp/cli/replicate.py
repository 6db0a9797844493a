"""`gaelp replicate`: famous findings of advertising research, looked for in simulated worlds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    ExecutorOption,
    JsonOption,
    MarketOption,
    SeedOption,
    WorkersOption,
    find_market,
    out,
    print_json,
    progress,
    say,
    typed,
)

if TYPE_CHECKING:
    from gaelp.evaluation.replications.answer import Answer
    from gaelp.evaluation.task_flights import Terms

ALL = "all"
_FIRST_COLUMN, _COLUMN = 36, 20
"""Width of the names and of a figure with its interval; columns that do not fit go into another table."""


def replicate_command(
    finding: Annotated[
        str,
        typer.Argument(
            metavar="FINDING", help="brand-search, observational, upstream or power; all for all four."
        ),
    ],
    market: MarketOption = DEFAULT_MARKET,
    policy: Annotated[str, typer.Option(help="A policy's name, or a checkpoint's path.")] = "pacing",
    worlds: Annotated[
        int | None, typer.Option(help="Validation worlds.", show_default="the finding's")
    ] = None,
    users: Annotated[int | None, typer.Option(help="People per world.", show_default="the finding's")] = None,
    days: Annotated[
        int | None, typer.Option(help="Length of the campaign.", show_default="the finding's")
    ] = None,
    runoff_days: Annotated[
        int | None,
        typer.Option(
            help="Days after the campaign in which sales still count.", show_default="the finding's"
        ),
    ] = None,
    seed: SeedOption = 0,
    executor: ExecutorOption = "inline",
    workers: WorkersOption = None,
    folder: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="DIR", help="Keep page and figures here.", show_default="runs/replicate-FINDING"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replicate a famous finding: fly worlds, print a table with intervals, write a page, say what differs.

    brand-search: own-brand ads sell what comes anyway (Blake, Nosko, Tadelis 2015). observational: exposed
    against not exposed misses the lift (Gordon et al. 2019, 2022). upstream: ads bring later searches (DASS
    2016). power: intervals of a test are wide beside the effect (Lewis, Rao 2015).
    """
    from gaelp.core.names import require_known
    from gaelp.evaluation.leaderboard import REFERENCES
    from gaelp.evaluation.replications.findings import FINDINGS, hours, replicate
    from gaelp.evaluation.replications.page import write
    from gaelp.evaluation.report import REPORT, report_head
    from gaelp.evaluation.suites import contender
    from gaelp.market.file import load
    from gaelp.worlds.executors import EXECUTORS, checked_workers, make_executor
    from gaelp.worlds.registry import trained_lines
    from gaelp.worlds.runs import RESULT, RunConfig, refuse_unless_replaceable, run_folder, write_json
    from gaelp.worlds.simulate import compile_market
    from gaelp.worlds.splits import split_worlds

    require_known("finding", finding, (*FINDINGS, ALL))
    require_known("executor", executor, EXECUTORS)
    checked_workers(workers)
    names = list(FINDINGS) if finding == ALL else [finding]
    sizes = {name: _sizes(name, worlds, users, days, runoff_days) for name in names}
    if policy in REFERENCES:
        from gaelp.core.errors import BadInput

        raise BadInput("policy", policy, "must be one that could be flown", "Name a policy or a checkpoint.")
    file = load(find_market(market))
    trained_lines(policy, file)  # its errors name what could be flown; a contender may be a yardstick too
    make = contender(policy, file)
    where = folder or f"runs/replicate-{finding}"
    refuse_unless_replaceable(where)
    command = _command(finding, market, policy, worlds, users, days, runoff_days, seed)
    config = RunConfig(
        command="replicate",
        settings={"finding": finding, "policy": policy, "sizes": sizes},
        seed=seed,
        market=market,
        market_sha256=file.sha256,
    )
    compile_market(file, say)
    answers: dict[str, Answer] = {}
    with run_folder(where, config) as run, make_executor(executor, workers) as runner:
        for name in names:
            size = sizes[name]
            terms = _terms(size, seed)
            chosen = split_worlds(file, "validation", size["worlds"], seed)
            with progress(name, hours(name, len(chosen), terms), quiet=as_json) as tick:
                answers[name] = replicate(name, chosen, make, terms, tick=tick, executor=runner)
        flown = {name: _flown(sizes[name], policy) for name in names}
        result = {
            "market": file.name,
            "market_sha256": file.sha256,
            "policy": policy,
            "model_sha256": make.sha256,
            "split": "validation",
            "seed": seed,
            "findings": {name: {**sizes[name], **answer.as_dict()} for name, answer in answers.items()},
        }
        write_json(run / RESULT, result)
        title = "Replications" if finding == ALL else f"Replication: {finding}"
        write(run / REPORT, report_head(file, title, command, seed), answers, flown)
    if as_json:
        print_json(result)
        return
    for name, answer in answers.items():
        _print(answer, flown[name])
    say(f"page: {where}/{REPORT}")


def _sizes(
    name: str, worlds: int | None, users: int | None, days: int | None, runoff_days: int | None
) -> dict[str, int]:
    """Sizes as asked, else the finding's own."""
    from gaelp.evaluation.replications.findings import FINDINGS
    from gaelp.worlds.simulate import check_sizes

    usual = FINDINGS[name]
    found = {
        "worlds": usual.worlds if worlds is None else worlds,
        "users": usual.users if users is None else users,
        "days": usual.days if days is None else days,
        "runoff_days": usual.runoff_days if runoff_days is None else runoff_days,
    }
    check_sizes(**found)
    return found


def _terms(size: Mapping[str, int], seed: int) -> "Terms":
    from gaelp.evaluation.task_flights import Terms
    from gaelp.worlds.warmed import default_cache

    return Terms(
        n_people=size["users"],
        days=size["days"],
        runoff_days=size["runoff_days"],
        seed=seed,
        cache=default_cache(),
    )


def _flown(size: Mapping[str, int], policy: str) -> str:
    return (
        f"{policy} on {size['worlds']:,} validation worlds of {size['users']:,} people,"
        f" {size['days']} days and {size['runoff_days']} of run-off"
    )


def _command(
    finding: str,
    market: str,
    policy: str,
    worlds: int | None,
    users: int | None,
    days: int | None,
    runoff_days: int | None,
    seed: int,
) -> str:
    """The command that makes these figures again."""
    options: dict[str, tuple[object, object]] = {
        "market": (market, DEFAULT_MARKET),
        "policy": (policy, "pacing"),
        "worlds": (worlds, None),
        "users": (users, None),
        "days": (days, None),
        "runoff-days": (runoff_days, None),
        "seed": (seed, 0),
    }
    return typed(["replicate", finding], options)


def _print(answer: "Answer", flown: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = out()

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    tell(f"{answer.title} ({answer.paper})")
    tell(f"The paper: {answer.claim}")
    tell(f"Flown: {flown}; 95 % intervals over worlds")
    at_once = max(2, (console.width - _FIRST_COLUMN) // _COLUMN)
    for first in range(0, len(answer.columns), at_once):
        shown = answer.columns[first : first + at_once]
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        table.add_column("", overflow="fold")
        for column in shown:
            table.add_column(column, justify="right", overflow="fold")
        for row in answer.rows:
            table.add_row(Text(row.name), *(Text(row.written(column, "\n")) for column in shown))
        console.print(table)
    for heading, sentences in (("In these worlds", answer.found), ("What differs", answer.differs)):
        tell(f"{heading}:")
        for sentence in sentences:
            tell(f"- {sentence}")
    tell("")
