"""`gaelp simulate`: one policy on plain worlds, with its twin."""

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
    show,
)

_ARMS = ("shown", "held_out")
_FIGURES = (
    ("spend", "spend_usd", "$"),
    ("of the budget", "spend_share", "%"),
    ("opportunities", "opportunities", ""),
    ("bids", "bids", ""),
    ("win rate", "win_rate", "%"),
    ("impression share", "impression_share", "%"),
    ("impressions", "impressions", ""),
    ("clicks", "clicks", ""),
    ("attributed conversions", "conversions", ""),
    ("  booked by the last day", "conversions_at_end", ""),
    ("conversions without a click", "organic_conversions", ""),
    ("attributed CAC", "cac_usd", "$"),
    ("attributed ROAS", "roas", ""),
    ("incremental conversions", "incremental_conversions", ""),
    ("incremental CAC", "incremental_cac_usd", "$"),
    ("incremental ROAS", "incremental_roas", ""),
    ("incremental profit", "incremental_profit_usd", "$"),
    ("controls the gate refused", "denials", ""),
    ("days of a journey", "mean_journey_days", ""),
    ("touchpoints of a journey", "mean_touchpoints", ""),
    ("opportunities per person and day", "opportunities_per_user_day", ""),
    ("flight", "wall_s", "s"),
    ("compilation, apart", "compile_s", "s"),
    ("opportunities per CPU second", "opportunities_per_cpu_s", ""),
    ("most memory", "peak_rss_mb", "MB"),
)


def simulate_command(
    market: MarketOption = DEFAULT_MARKET,
    policy: Annotated[str, typer.Option(help="A policy's name, or a checkpoint's path.")] = "pacing",
    worlds: Annotated[int, typer.Option(help="Worlds, differing in luck only.")] = 4,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    daily_budget_usd: BudgetOption = None,
    seed: SeedOption = 0,
    runoff_days: RunoffOption = 60,
    no_twin: Annotated[bool, typer.Option("--no-twin", help="Skip the twin: nothing incremental.")] = False,
    describe: Annotated[
        bool, typer.Option("--describe", help="Show every target of the market file and what emerged.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Keep the events an account would see, for `gaelp attribute`.")
    ] = False,
    regions: Annotated[
        bool, typer.Option("--regions", help="Keep regions by day, for `gaelp export mmm`.")
    ] = False,
    reports: Annotated[
        bool, typer.Option("--reports", help="Keep hourly reports of each line, for `gaelp competition`.")
    ] = False,
    lift_test: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Test each channel: keep its ads from this share of people."),
    ] = 0.0,
    folder: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fly one policy for some days and difference it with the same worlds without our ads."""
    from gaelp.core.errors import BadInput
    from gaelp.market.file import load
    from gaelp.worlds.regions import REGIONS, write_regions
    from gaelp.worlds.registry import make_policy
    from gaelp.worlds.reports import REPORTS, write_reports
    from gaelp.worlds.runs import RESULT, WORLDS, RunConfig, run_folder, write_json
    from gaelp.worlds.simulate import check_sizes, run_simulation, world_hours
    from gaelp.worlds.snapshot import save_worlds
    from gaelp.worlds.visible import EVENTS, write_visible_events

    for name, asked in (("events", events), ("regions", regions), ("reports", reports)):
        if asked and not folder:
            raise BadInput(name, asked, "must come with --out", "Name the folder to keep them in.")
    check_sizes(
        worlds=worlds,
        users=users,
        days=days,
        runoff_days=runoff_days,
        budget=daily_budget_usd,
        lift_test=lift_test,
    )
    file = load(find_market(market))
    make_policy(policy, file)
    settings: dict[str, Any] = {
        "policy": policy,
        "worlds": worlds,
        "users": users,
        "days": days,
        "daily_budget_usd": daily_budget_usd,
        "runoff_days": runoff_days,
        "twin": not no_twin,
        "events": events,
        "regions": regions,
        "reports": reports,
        "lift_test": lift_test,
    }
    config = RunConfig(
        command="simulate", settings=settings, seed=seed, market=market, market_sha256=file.sha256
    )
    hours = world_hours(worlds, days, runoff_days, not no_twin)
    with run_folder(folder, config) if folder else nullcontext() as run:
        with progress("simulating", hours, quiet=as_json) as tick:
            simulation = run_simulation(
                file,
                policy,
                n_worlds=worlds,
                n_people=users,
                days=days,
                budget=daily_budget_usd,
                seed=seed,
                runoff_days=runoff_days,
                twin=not no_twin,
                tick=tick,
                logger=say,
                at_end=lambda now: save_worlds(now, run / WORLDS) if run else None,
                events=events,
                regions=regions,
                reports=reports,
                lift_test=lift_test,
            )
        figures = simulation.figures
        if describe:
            figures = figures | {"targets": _targets(simulation)}
        if run:
            write_json(run / RESULT, figures)
        if run and events:
            write_visible_events(run / EVENTS, simulation.flight.market)
        if run and simulation.regions:
            write_regions(run / REGIONS, simulation.regions)
        if run and simulation.reports:
            write_reports(run / REPORTS, simulation.reports)
    if as_json:
        print_json(figures)
    else:
        _print(figures, folder)


def _targets(simulation: Any) -> list[dict[str, Any]]:
    from math import isfinite

    from gaelp.evaluation.describe import checks

    return [
        {
            "name": check.name,
            "value": check.value if check.value is not None and isfinite(check.value) else None,
            "low": check.low,
            "high": check.high,
            "ok": check.ok,
            "unit": check.unit,
            "source": check.source,
        }
        for check in checks(simulation.flight, simulation.twin, simulation.runoff_days)
    ]


def _print(figures: dict[str, Any], folder: str | None) -> None:
    from rich import box
    from rich.table import Table

    console = out()
    title = "{policy} on {worlds} x {users:,} people of {market}, {days} days".format(**figures)
    console.print(title, highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for label, key, unit in _FIGURES:
        table.add_row(label, show(figures[key], unit))
        if key == "conversions_at_end":
            table.add_row(
                "  of its clicks, to come by nowcast", _to_come(figures["nowcast"], figures["runoff_days"])
            )
    console.print(table)
    note = "attributed: last click within 30 days; incremental: less the same worlds without our ads"
    console.print(note, highlight=False, soft_wrap=True)
    if "lift_tests" in figures:
        console.print(_lift_table(figures["lift_tests"]))
    if "targets" in figures:
        console.print(_target_table(figures["targets"]))
    if folder:
        text = f"kept in {folder}; look at a person with: gaelp journeys show 17 --run {folder}"
        console.print(text, highlight=False, soft_wrap=True)


def _to_come(told: dict[str, Any], runoff_days: int) -> str:
    if told["to_come"] is None:
        return "too few to tell"
    expected = "{to_come:,.0f} ({low:,.0f} to {high:,.0f})".format(**told)
    return f"{expected}; in the run-off {told['came']:,}" if runoff_days else expected


def _lift_table(tests: dict[str, dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title="Lift tests, as platforms show them", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("channel")
    for name in ("people shown", "held out", "conversions", "of the held out", "caused"):
        table.add_column(name, justify="right")
    for channel, test in tests.items():
        counts = [f"{test[f'{what}_{arm}']:,}" for what in ("people", "conversions") for arm in _ARMS]
        caused = test["conversions_caused"]
        shown = "n/a" if caused is None else f"{caused:,.0f} ± {1.96 * test['standard_error']:,.0f}"
        table.add_row(channel, *counts, shown)
    return table


def _target_table(targets: list[dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table

    reached = sum(target["ok"] for target in targets)
    table = Table(
        title=f"Targets of the market file: {reached} of {len(targets)} reached", box=box.SIMPLE_HEAD
    )
    table.add_column("target", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("band", justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("source")
    for target in targets:
        value, band = show(target["value"]), f"{show(target['low'])} to {show(target['high'])}"
        verdict = "not measured" if target["value"] is None else "ok" if target["ok"] else "off"
        table.add_row(f"{target['name']}\n{target['unit']}", value, band, verdict, target["source"])
    return table
