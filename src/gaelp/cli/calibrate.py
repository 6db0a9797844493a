"""`gaelp calibrate`: a market file fitted to a GA4 export and an ad report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    JsonOption,
    SeedOption,
    find_market,
    out,
    print_json,
    progress,
    say,
    show,
    typed,
)


def calibrate_command(
    ga4: Annotated[str, typer.Option("--ga4", metavar="PATH", help="File or folder of GA4's export.")],
    ads: Annotated[str, typer.Option("--ads", metavar="FILE", help="Ad report by hour and line, CSV.")],
    target: Annotated[str, typer.Option("--out", metavar="FILE", help="Market file to make.")],
    base: Annotated[str, typer.Option("--base", metavar="MARKET", help="Market file to start from.")] = (
        DEFAULT_MARKET
    ),
    people: Annotated[
        int | None,
        typer.Option(min=100, help="People whom the data cover.", show_default="the base file's"),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="What flew the account: a name or a checkpoint.", show_default="the status quo"),
    ] = None,
    worlds: Annotated[int, typer.Option(min=64, max=100_000, help="Worlds of the prior.")] = 1000,
    second_round: Annotated[
        int, typer.Option(min=0, max=100_000, help="More worlds, near what the first tell.")
    ] = 0,
    users: Annotated[int, typer.Option(min=100, help="Most people per simulated world.")] = 3000,
    report: Annotated[str | None, typer.Option(metavar="FILE", help="Write the fit as a page.")] = None,
    kept: Annotated[
        str | None, typer.Option("--keep", metavar="DIR", help="Keep worlds here, to go on or use again.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit a market to what an account can export, and say how well it fits and what the data cannot tell."""
    from gaelp.data.calibration_reading import read_observed
    from gaelp.data.places import check_places
    from gaelp.evaluation.calibration_page import sentences, write
    from gaelp.evaluation.report import report_head
    from gaelp.market.file import load
    from gaelp.worlds.calibration.fitting import FEW_WORLDS, calibrate, world_hours
    from gaelp.worlds.calibration.simulating import Setting, batches_of
    from gaelp.worlds.calibration.writing import write_market
    from gaelp.worlds.market_writing import check_target
    from gaelp.worlds.registry import make_policy
    from gaelp.worlds.simulate import compile_market

    market = load(find_market(base))
    check_target(target, market)
    check_places({"out": target, "report": report}, {"keep": kept})
    if worlds < FEW_WORLDS:
        say(f"from {worlds} worlds intervals come out too narrow: use at least {FEW_WORLDS}")
    n_people = people or market.people
    observed = read_observed(Path(ga4), Path(ads), n_people)
    if observed.ad_rows_outside:
        say(f"{observed.ad_rows_outside:,} rows of the ad report left out: not of the export's days")
    setting = Setting(
        n_people=min(users, n_people),
        n_days=observed.n_days,
        make_policy=make_policy(policy, market) if policy else None,
    )
    folder = batches_of(Path(kept), market, setting, observed.first_us, policy or "") if kept else None
    compile_market(market, say)
    total = world_hours(setting, worlds, second_round)
    with progress("living worlds", total, quiet=as_json) as tick:
        found = calibrate(
            observed,
            market,
            setting,
            n_worlds=worlds,
            seed=seed,
            second_round=second_round,
            kept=folder,
            tick=tick,
            log=say,
        )
    options: dict[str, tuple[object, object]] = {
        "ga4": (ga4, None),
        "ads": (ads, None),
        "base": (base, DEFAULT_MARKET),
        "out": (target, None),
        "people": (people, None),
        "policy": (policy, None),
        "worlds": (worlds, 1000),
        "second-round": (second_round, 0),
        "users": (users, 3000),
        "seed": (seed, 0),
    }
    command = typed(["calibrate"], options)
    write_market(Path(target), found.file, market, found.spread, f"Made by: {command}")
    result: dict[str, Any] = {"out": target, "base": market.name, "seed": seed, **found.figures()}
    if report:
        head = report_head(load(target), f"Calibration of {market.name}", command, seed)
        write(report, head, result)
    if as_json:
        print_json(result)
        return
    _print(result, sentences(result))
    for path in (target, report):
        if path:
            out().print(f"wrote {path}", highlight=False, soft_wrap=True)


def _print(found: dict[str, Any], said: list[str]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title="Parameters", box=box.SIMPLE_HEAD)
    for heading in ("parameter", "base", "fitted", "low", "high", "width"):
        table.add_column(heading, justify="left" if heading == "parameter" else "right", no_wrap=True)
    for name, row in found["parameters"].items():
        cells = [show(float(f"{row[key]:.3g}")) for key in ("base", "value", "low", "high", "width")]
        table.add_row(name.replace("_", " "), *cells)
    console = out()
    console.print(table)
    for sentence in said:
        console.print(f"- {sentence}", highlight=False, markup=False)
