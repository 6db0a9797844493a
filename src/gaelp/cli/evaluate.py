"""`gaelp evaluate`: policies on the same worlds of a split, with intervals and paired differences."""

from contextlib import nullcontext
from typing import Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    BudgetOption,
    DaysOption,
    JsonOption,
    MarketOption,
    OutOption,
    RunoffOption,
    SeedOption,
    UsersOption,
    find_market,
    out,
    print_json,
    progress,
    say,
)

PER_WORLD = "per_world.json"
_SUITES = ("default",)
_SPLITS = ("validation", "test")
_OPENED = "the test split is opened; each opening belongs in docs/log.md with its date, commit and reason"


def evaluate_command(
    policies: Annotated[list[str], typer.Argument(metavar="POLICY...", help="Names or checkpoints' paths.")],
    market: MarketOption = DEFAULT_MARKET,
    suite: Annotated[str, typer.Option(help="default")] = "default",
    split: Annotated[str, typer.Option(help="validation or test")] = "validation",
    worlds: Annotated[int, typer.Option(help="Worlds of the split.")] = 16,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    daily_budget_usd: BudgetOption = None,
    seed: SeedOption = 0,
    runoff_days: RunoffOption = 60,
    folder: OutOption = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the leaderboard as Markdown, with what was flown.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge policies against each other and against the same worlds without our ads."""
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known
    from gaelp.evaluation.judge import judge, world_hours
    from gaelp.evaluation.leaderboard import as_markdown, as_table
    from gaelp.market.file import load
    from gaelp.worlds.registry import make_policy
    from gaelp.worlds.runs import RESULT, RunConfig, git_commit, run_folder, write_json
    from gaelp.worlds.simulate import ATTRIBUTION, check_sizes, compile_market
    from gaelp.worlds.splits import split_worlds

    if markdown and as_json:
        raise BadInput("markdown", markdown, "must not come with --json", "Ask for one of them.")
    check_sizes(worlds=worlds, users=users, days=days, runoff_days=runoff_days, budget=daily_budget_usd)
    _check_suite(suite)
    require_known("split", split, _SPLITS)
    file = load(find_market(market))
    makers = {label: make_policy(name, file) for label, name in _labels(policies).items()}
    chosen = split_worlds(file, split, worlds, seed)
    notice = _OPENED if split == "test" else None
    if notice:
        say(f"notice: {notice}")
    settings: dict[str, Any] = {
        "policies": policies,
        "suite": suite,
        "split": split,
        "worlds": worlds,
        "users": users,
        "days": days,
        "daily_budget_usd": daily_budget_usd,
        "runoff_days": runoff_days,
    }
    config = RunConfig(
        command="evaluate", settings=settings, seed=seed, market=market, market_sha256=file.sha256
    )
    with run_folder(folder, config) if folder else nullcontext() as run:
        compile_market(file, say)
        total = world_hours(worlds, len(makers), days, runoff_days)
        with progress("judging", total, quiet=as_json) as tick:
            judged = judge(
                chosen,
                makers,
                n_people=users,
                days=days,
                runoff_days=runoff_days,
                daily_budget_usd=daily_budget_usd,
                seed=seed,
                tick=tick,
            )
        board = judged.board(seed)
        result = {
            **board,
            **settings,
            "policies": board["policies"],
            "seed": seed,
            "market": file.name,
            "market_sha256": file.sha256,
            "attribution": ATTRIBUTION,
            "notice": notice,
        }
        if run:
            write_json(run / RESULT, result)
            write_json(run / PER_WORLD, judged.results)
    if as_json:
        print_json(result)
        return
    if markdown:
        flown = (
            f"Means and 95 % intervals over {worlds:,} {split} worlds of {users:,} people of {file.name}"
            f" (`{file.sha256[:12]}`), {days} days and {runoff_days} of run-off, seed {seed},"
            f" commit {(git_commit() or 'unknown')[:12]}."
        )
        print(f"{as_markdown(board)}\n{flown}", flush=True)
    else:
        out().print(as_table(board))
    if folder:
        say(f"kept in {folder}")


def _check_suite(suite: str) -> None:
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known

    if suite == "families":
        raise BadInput(
            "suite", suite, "must be default", "The families of held-out markets arrive in step 2."
        )
    require_known("suite", suite, _SUITES)


def _labels(policies: list[str]) -> dict[str, str]:
    """Short names for the table, the full ones where two would be equal."""
    from gaelp.worlds.registry import policy_label

    short = [policy_label(name) for name in policies]
    return {
        (label if short.count(label) == 1 else name): name
        for label, name in zip(short, policies, strict=True)
    }
