"""`gaelp demo`: the main job end to end, on a laptop, in a few minutes."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

WELCOME = """\
GAELP is a flight simulator for advertising budgets. This demo

  1. builds training worlds, {training} new ones a round: copies of one market, each with its own people,
     rivals and luck;
  2. trains `static_lines`, a bid multiplier per campaign line, for about {minutes:g} minute(s);
  3. flies it beside `random`, `fixed` and tuned `pacing` for {days} days on {worlds} validation worlds of
     {users:,} people that training never saw;
  4. flies every world again with our ads off and the same luck: the difference is what the ads caused;
  5. writes a report you can open without a network.
"""


def demo_command(
    market: Annotated[Path, typer.Option(help="Market file.")] = Path("markets/family_safety.toml"),
    minutes: Annotated[float, typer.Option(help="Minutes of training.", min=0.01)] = 1.0,
    worlds: Annotated[int, typer.Option(help="Validation worlds.", min=2)] = 16,
    users: Annotated[int, typer.Option(help="People per validation world.", min=1)] = 10_000,
    days: Annotated[int, typer.Option(help="Days of the flight.", min=1)] = 30,
    seed: Annotated[int, typer.Option(help="Names the run.")] = 0,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Train, judge and report, end to end; ends with the path of the report."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from gaelp.evaluation.judge import judge, world_hours
    from gaelp.evaluation.leaderboard import as_table
    from gaelp.evaluation.report import write
    from gaelp.learning.static_lines import Progress as Round
    from gaelp.learning.static_lines import train
    from gaelp.market.file import load
    from gaelp.worlds.registry import make_policy
    from gaelp.worlds.simulate import compile_market
    from gaelp.worlds.splits import split_worlds
    from gaelp.worlds.tuned import tuned_for

    began = time.perf_counter()
    console = Console(stderr=True)
    file = load(market)
    tuned = tuned_for(file)
    console.print(
        WELCOME.format(training=4, minutes=minutes, days=days, worlds=worlds, users=users), highlight=False
    )
    columns = (
        TextColumn("{task.description:34s}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def say(text: str) -> None:
            progress.console.print(f"  {text}", highlight=False)

        task = progress.add_task("Loading kernels", total=None)
        compile_market(file, say)
        progress.update(task, total=1, completed=1)
        task = progress.add_task("Training static_lines", total=100.0)

        training_began = time.perf_counter()

        def elapsed_share() -> float:
            return min(99.0, 100.0 * (time.perf_counter() - training_began) / (60.0 * minutes))

        def trained(done: Round) -> None:
            progress.console.print(
                f"  round {done.epoch}: score of the search's centre ${done.mean_usd:,.0f}"
                f" (pacing on the same worlds ${done.pacing_usd:,.0f})",
                highlight=False,
            )

        found = train(
            file, tuned=tuned, epochs=None, minutes=minutes, seed=seed, days=days, out=out / "training",
            report=trained, tick=lambda _: progress.update(task, completed=elapsed_share()),
        )  # fmt: skip
        progress.update(task, completed=100.0)
        policies: dict[str, Any] = {
            name: make_policy(name, file, seed) for name in ("random", "fixed", "pacing")
        }
        policies["static_lines"] = lambda: tuned.pacing(found["line_multiplier"])
        hours = world_hours(worlds, len(policies), days, 60)
        task = progress.add_task("Judging on validation worlds", total=hours)
        judged = judge(
            split_worlds(file, "validation", worlds),
            policies,
            n_people=users,
            days=days,
            seed=seed,
            tuned=tuned,
            tick=lambda n: progress.advance(task, n),
            keep=True,
        )
        replayed = min(8, worlds)
        task = progress.add_task("Switching channels off, one by one", total=7 * replayed * 24 * (days + 60))
        board = judged.board(seed)
        data = _report(judged, board, file, replayed, days, seed, lambda n: progress.advance(task, n))
    write(out / "report.html", data)
    (out / "result.json").write_text(json.dumps(board) + "\n")
    seconds = time.perf_counter() - began
    console.print(as_table(board))
    console.print(f"{data['summary'][0]}\nReport: {out / 'report.html'}   ({seconds:.0f} s)", highlight=False)
    if as_json:
        payload = {"seconds": round(seconds, 1), "report": str(out / "report.html"), **board}
        sys.stdout.write(json.dumps(payload) + "\n")


def _report(
    judged: Any, board: Any, file: Any, replayed: int, days: int, seed: int, tick: Any
) -> dict[str, Any]:
    from datetime import UTC, datetime

    from gaelp.evaluation.story import channel_rows, journey_sections, market_sections, spend_sections
    from gaelp.worlds.runs import git_commit

    policy = "static_lines"
    return {
        "title": "GAELP demo",
        "market": f"{file.name} ({file.product}, LTV ${file.ltv_usd:g}), sha256 {file.sha256[:12]}",
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git_commit() or "",
        "seed": seed,
        "command": "make demo",
        "policy": policy,
        "summary": _summary(board),
        "cac_target_usd": file.cac_target_usd,
        "ltv_usd": file.ltv_usd,
        "leaderboard": board,
        "channels": channel_rows(judged, policy, 60, replayed, tick),
        **spend_sections(judged),
        **journey_sections(judged, policy),
        **market_sections(judged, policy, 60),
    }


def _summary(board: dict[str, Any]) -> list[str]:
    """What the leaderboard says, in sentences."""
    pair = board["pairs"]["static_lines - pacing"]["incremental_profit_usd"]
    learnt = board["policies"]["static_lines"]["incremental_cac_usd"]["mean"]
    paced = board["policies"]["pacing"]["incremental_cac_usd"]["mean"]
    verdict = "does not differ significantly from"
    if pair["low"] is not None and pair["low"] > 0:
        verdict = "beats"
    elif pair["high"] is not None and pair["high"] < 0:
        verdict = "loses to"
    low, high = (f"${v:,.0f}" if v is not None else "unbounded" for v in (pair["low"], pair["high"]))
    cac = "" if learnt is None or paced is None else f" Incremental CAC: ${learnt:.0f} against ${paced:.0f}."
    return [
        f"static_lines {verdict} tuned dual pacing in incremental profit: a difference of "
        f"${pair['mean']:,.0f} a world and flight (95 % interval {low} to {high}).{cac}",
        "Incremental figures compare each world with its twin without our ads; attributed figures are what "
        "the platform would claim (last click within 30 days).",
    ]
