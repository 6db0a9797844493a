"""`gaelp demo`: the main job end to end, on a laptop, in a few minutes."""

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    DaysOption,
    JsonOption,
    MarketOption,
    SeedOption,
    UsersOption,
    bars,
    find_market,
    out,
    print_json,
    say,
)

if TYPE_CHECKING:
    from gaelp.evaluation.judge import Judgement
    from gaelp.worlds.flight import Tick

BASELINES = ("random", "fixed", "pid", "target_cpa", "pacing")
YARDSTICKS = ("line_oracle", "informed")
RUNOFF_DAYS = 60
TRAINING_WORLDS = 8
"""Half of what `gaelp train` takes: with kernels still to compile, the demo has four minutes in all."""
MOST_REPLAYED = 8
"""Worlds in which channels are switched off one by one: seven more flights of each."""
WELCOME = """\
GAELP is a flight simulator for advertising budgets. This demo

  1. builds {training} training worlds: copies of one market, each with its own people, rivals and luck;
  2. trains `value`, a target cost per conversion for each campaign line, for about {minutes:g} minute(s): it
     looks at what every impression and click is worth, then tries {tries} ways to spend on other worlds;
  3. flies it beside `random`, `fixed`, `pid`, the platform's own bidder (`target_cpa`), {pacing} and
     two yardsticks that see the truth for {days} days on {worlds} validation worlds of {users:,} people
     that training never saw;
  4. flies every world again with our ads off and the same luck: the difference is what the ads caused;
  5. writes a report you can open without a network.
"""


def demo_command(
    market: MarketOption = DEFAULT_MARKET,
    minutes: Annotated[float, typer.Option(help="Minutes of training.", min=0.01, max=10_000)] = 1.0,
    worlds: Annotated[int, typer.Option(help="Validation worlds.", min=2)] = 16,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    seed: SeedOption = 0,
    folder: Annotated[str, typer.Option("--out", metavar="DIR", help="Run folder.")] = "runs/demo",
    as_json: JsonOption = False,
) -> None:
    """Train, judge and report, end to end; ends with the path of the report."""
    from gaelp.core.words import PAID_CHANNELS
    from gaelp.evaluation.judge import judge, world_hours
    from gaelp.evaluation.leaderboard import as_table
    from gaelp.evaluation.report import REPORT, report_head, write
    from gaelp.evaluation.report_sections import SECTIONS
    from gaelp.evaluation.story import refusals
    from gaelp.evaluation.suites import contender
    from gaelp.learning import value
    from gaelp.market.file import load
    from gaelp.worlds.runs import RESULT, RunConfig, run_folder, write_json
    from gaelp.worlds.simulate import check_sizes, compile_market
    from gaelp.worlds.splits import split_worlds
    from gaelp.worlds.tuned import tuned_for

    began = time.perf_counter()
    check_sizes(worlds=worlds, users=users, days=days)
    file = load(find_market(market))
    tuned = tuned_for(file)
    pacing = "tuned pacing" if tuned.for_this_market else "untuned pacing"
    settings = {"minutes": minutes, "worlds": worlds, "users": users, "days": days}
    config = RunConfig(command="demo", settings=settings, seed=seed, market=market, market_sha256=file.sha256)
    typed = {"market": market, **settings, "seed": seed, "out": folder}
    command = shlex.join(["gaelp", "demo", *(word for k, v in typed.items() for word in (f"--{k}", str(v)))])
    report = str(Path(folder) / REPORT)
    with run_folder(folder, config) as run:
        say(
            WELCOME.format(
                training=TRAINING_WORLDS,
                tries=len(value.SHARES) * len(value.STEPS),
                pacing=pacing,
                **settings,
            )
        )
        with bars(quiet=as_json) as shown:
            task = shown.add_task("Loading kernels", total=None)
            aside = _compile_yardsticks(market)
            compile_market(file, say)
            shown.update(task, total=1, completed=1)

            training = value.world_hours(TRAINING_WORLDS, days, curve=True)
            task = shown.add_task("Training value", total=training)
            learnt = value.train(
                file,
                tuned=tuned,
                epochs=None,
                minutes=minutes,
                n_worlds=TRAINING_WORLDS,
                n_people=min(4_000, users),
                seed=seed,
                days=days,
                out=run / "training",
                report=lambda text: say(f"  {text}"),
                tick=lambda hours: shown.advance(task, hours),
                curve=True,
            )
            shown.update(task, total=1, completed=1)

            aside.wait()  # else both would compile the same
            policies: dict[str, Any] = {name: contender(name, file) for name in (*BASELINES, *YARDSTICKS)}
            policies["value"] = contender(str(run / "training"), file)
            judging = shown.add_task(
                "Judging on validation worlds", total=world_hours(worlds, len(policies), days, RUNOFF_DAYS)
            )
            judged = judge(
                split_worlds(file, "validation", worlds, seed),
                policies,
                n_people=users,
                days=days,
                runoff_days=RUNOFF_DAYS,
                seed=seed,
                tuned=tuned,
                tick=lambda n: shown.advance(judging, n),
                keep=True,
            )
            board = judged.board(seed)
            replayed = min(MOST_REPLAYED, worlds)
            replays = shown.add_task(
                "Switching channels off, one by one",
                total=(len(PAID_CHANNELS) + 1) * replayed * 24 * (days + RUNOFF_DAYS),  # and own-brand search
            )
            summary = [*_summary(board, pacing), *refusals(judged)]
            sections = _sections(judged, replayed, lambda n: shown.advance(replays, n))
            shown_sections = [name for name in SECTIONS if name != "families"]
            head = report_head(file, "GAELP demo", command, seed)
            write(
                run / REPORT,
                {**head, "summary": summary, "leaderboard": board, "learning": learnt["curve"], **sections},
                shown_sections,
            )
        seconds = round(time.perf_counter() - began, 1)
        result = {
            "seconds": seconds,
            "report": report,
            "command": command,
            "market": file.name,
            "market_sha256": file.sha256,
            **board,
        }
        write_json(run / RESULT, result)
    if as_json:
        print_json(result)
        return
    console = out()
    console.print(as_table(board))
    console.print(f"{summary[0]}\nReport: {report}   ({seconds:.0f} s)", highlight=False, soft_wrap=True)


def _compile_yardsticks(market: str) -> "subprocess.Popen[bytes]":
    """Compile the yardsticks' kernels in a process of its own while training goes on; the disk keeps them."""
    code = f"from gaelp.evaluation.references import compile_all; compile_all({str(find_market(market))!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _sections(judged: "Judgement", replayed: int, tick: "Tick") -> dict[str, Any]:
    """The report's sections on what happened; those on one policy show `value`."""
    from gaelp.evaluation.story import channel_rows, journey_sections, market_sections, spend_sections

    policy = "value"
    return {
        "policy": policy,
        "channels": channel_rows(judged, policy, RUNOFF_DAYS, replayed, tick),
        **spend_sections(judged),
        **journey_sections(judged, policy),
        **market_sections(judged, policy, RUNOFF_DAYS),
    }


def _summary(board: Mapping[str, Any], pacing: str) -> list[str]:
    """What the leaderboard says, in sentences."""
    from gaelp.evaluation.leaderboard import format_value

    pair = board["pairs"]["value - pacing"]["incremental_profit_usd"]
    learnt = board["policies"]["value"]["incremental_cac_usd"]["mean"]
    paced = board["policies"]["pacing"]["incremental_cac_usd"]["mean"]
    verdict = "does not differ significantly from"
    if pair["low"] is not None and pair["low"] > 0:
        verdict = "beats"
    elif pair["high"] is not None and pair["high"] < 0:
        verdict = "loses to"
    mean, low, high = (
        "unbounded" if pair[end] is None else format_value(pair[end], "incremental_profit_usd")
        for end in ("mean", "low", "high")
    )
    cac = "" if learnt is None or paced is None else f" Incremental CAC: ${learnt:.0f} against ${paced:.0f}."
    return [
        f"value {verdict} {pacing} in incremental profit: a difference of "
        f"{mean} a world and flight (95 % interval {low} to {high}).{cac}",
        "Incremental figures compare each world with its twin without our ads; attributed figures are what "
        "the platform would claim (last click within 30 days).",
    ]
