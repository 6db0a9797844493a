"""`gaelp understand`: where `value` differs from pacing, what its parts earn, whether its values are true."""

from typing import Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    DaysOption,
    JsonOption,
    MarketOption,
    RunoffOption,
    SeedOption,
    UsersOption,
    find_market,
    out,
    print_json,
    progress,
    say,
    typed,
)


def understand_command(
    policy: Annotated[
        str, typer.Argument(metavar="POLICY", help="value, or the path of a checkpoint of it.")
    ] = "value",
    market: MarketOption = DEFAULT_MARKET,
    worlds: Annotated[int, typer.Option(help="Validation worlds.")] = 16,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    runoff_days: RunoffOption = 30,
    seed: SeedOption = 0,
    folder: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Keep page and figures here.")
    ] = "runs/understand",
    as_json: JsonOption = False,
) -> None:
    """Explain a checkpoint of value: its spending beside pacing and target_cpa, its parts, its values.

    What each line's dollar brings is expected worth by the value model that sees truth; parts are left out
    one by one; what was learnt of lines is set beside what is true on validation worlds.
    """
    from gaelp.evaluation.report import REPORT, report_head
    from gaelp.evaluation.understanding import hours, parts_of, understand
    from gaelp.evaluation.understanding_page import lines_table, parts_table, sentences, values_table, write
    from gaelp.market.file import load
    from gaelp.worlds.runs import RESULT, RunConfig, refuse_unless_replaceable, run_folder, write_json
    from gaelp.worlds.simulate import check_sizes, compile_market
    from gaelp.worlds.splits import split_worlds
    from gaelp.worlds.warmed import default_cache

    check_sizes(worlds=worlds, users=users, days=days, runoff_days=runoff_days)
    file = load(find_market(market))
    parts_of(policy, file)
    refuse_unless_replaceable(folder)
    settings: dict[str, Any] = {
        "policy": policy,
        "worlds": worlds,
        "users": users,
        "days": days,
        "runoff_days": runoff_days,
    }
    config = RunConfig(
        command="understand", settings=settings, seed=seed, market=market, market_sha256=file.sha256
    )
    compile_market(file, say)
    with progress("flying", hours(worlds, days, runoff_days), quiet=as_json) as tick:
        found = understand(
            file,
            policy,
            split_worlds(file, "validation", worlds, seed),
            n_people=users,
            days=days,
            runoff_days=runoff_days,
            seed=seed,
            cache=default_cache(),
            tick=tick,
        )
    said = sentences(found)
    result = {
        **settings,
        "split": "validation",
        "seed": seed,
        "market": file.name,
        "market_sha256": file.sha256,
        "found": said,
        **found.as_dict(seed),
    }
    flown = f"{worlds:,} validation worlds of {users:,} people, {days} days and {runoff_days} of run-off"
    options: dict[str, tuple[object, object]] = {
        "market": (market, DEFAULT_MARKET),
        "worlds": (worlds, 16),
        "users": (users, 10_000),
        "days": (days, 30),
        "runoff-days": (runoff_days, 30),
        "seed": (seed, 0),
    }
    with run_folder(folder, config) as run:
        write_json(run / RESULT, result)
        head = report_head(file, "Understanding value", typed(["understand", policy], options), seed)
        write(run / REPORT, head, found, flown, seed)
    if as_json:
        print_json(result)
        return
    console = out()
    for table in (lines_table(found, seed), parts_table(found), values_table(found)):
        console.print(table)
    for sentence in said:
        console.print(f"- {sentence}", highlight=False, markup=False)
    say(f"page: {folder}/{REPORT}")
