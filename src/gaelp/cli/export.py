"""`gaelp export`: a run's tables as other tools read them, and a world as its advertiser's files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    BudgetOption,
    DaysOption,
    JsonOption,
    MarketOption,
    SeedOption,
    UsersOption,
    find_market,
    out,
    print_json,
    progress,
    say,
    show,
)

FlownOption = Annotated[
    str | None,
    typer.Option("--policy", help="A policy's name, or a checkpoint's path.", show_default="the status quo"),
]

export_app = typer.Typer(help="A run's tables in the shapes that other tools read.", no_args_is_help=True)


@export_app.command("mmm")
def mmm_command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of `gaelp simulate --regions --out`.")],
    shape: Annotated[str, typer.Option("--format", metavar="meridian|pymc", help="Who is to read it.")],
    world: Annotated[int, typer.Option(min=0, help="Which of the run's accounts.")] = 0,
    truth: Annotated[
        bool, typer.Option("--truth", help="Live the world again without each channel: what it caused.")
    ] = False,
    folder: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Where to.", show_default="RUN/mmm")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Regions by week for a media mix model: Meridian's CSV, or PyMC-Marketing's data frame."""
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known
    from gaelp.core.words import PAID_CHANNELS
    from gaelp.market.state import GEO_IMPRESSIONS
    from gaelp.measurement.mmm import DAYS_A_WEEK, FORMATS, geo_weeks, lift_tests, table_of
    from gaelp.worlds.regions import REGION_NAMES, REGIONS, read_regions, write_columns
    from gaelp.worlds.runs import CONFIG, read_json, write_json

    require_known("format", shape, FORMATS)
    if not (Path(run) / REGIONS).is_file():
        allowed = f"must be a run folder with {REGIONS}"
        raise BadInput("RUN", run, allowed, "Make it with: gaelp simulate --regions --out DIR.")
    regions = read_regions(Path(run) / REGIONS, world)
    weeks = geo_weeks(
        REGION_NAMES,
        regions.first_day,
        [channel.name.lower() for channel in PAID_CHANNELS],
        population=regions.population[0],
        sales=regions.sales[0],
        revenue_usd=regions.revenue_usd[0],
        spend_usd=regions.spend_usd[0],
        impressions=regions.delivery[0, ..., GEO_IMPRESSIONS],
    )
    target = Path(folder) if folder else Path(run) / "mmm"
    written = {f"{shape}.csv": table_of(weeks, shape)}
    told: dict[str, Any] = {
        "format": shape,
        "world": world,
        "geos": weeks.geos.size,
        "weeks": weeks.weeks.size,
        "first_day": str(weeks.weeks[0]),
        "channels": list(weeks.channels),
    }
    if truth:
        config = read_json(Path(run) / CONFIG)
        caused = _truth(config, world, regions, as_json)
        channels = caused["channels"]
        effect = {name: row["incremental_sales"] for name, row in channels.items()}
        error = {name: row["incremental_sales_se"] for name, row in channels.items()}
        written["lift_tests.csv"] = lift_tests(weeks, config["settings"]["days"] / DAYS_A_WEEK, effect, error)
        write_json(target / "truth.json", caused)
        told["truth"] = caused
    for name, columns in written.items():
        write_columns(target / name, columns)
    told["files"] = [str(target / name) for name in (*written, *(["truth.json"] if truth else []))]
    if as_json:
        print_json(told)
    else:
        _print(told)


@export_app.command("ga4")
def ga4_command(
    folder: Annotated[str, typer.Option("--out", metavar="DIR", help="Where to.")],
    market: MarketOption = DEFAULT_MARKET,
    policy: FlownOption = None,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    daily_budget_usd: BudgetOption = None,
    seed: SeedOption = 0,
    shape: Annotated[
        str, typer.Option("--format", metavar="ndjson|parquet", help="Of the tables.")
    ] = "ndjson",
    plain: Annotated[bool, typer.Option("--plain", help="Leave text uncompressed.")] = False,
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Of the property.")] = "America/New_York",
    flaws: Annotated[
        bool, typer.Option("--flaws", help="Repeat sales and rows, tell some late: as real exports do.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """One world as its advertiser's files: GA4's daily tables, ad reports, and the truth apart from them."""
    from gaelp.market.file import load
    from gaelp.worlds.flight import WARM_UP_DAYS
    from gaelp.worlds.ga4_export import ADS, EVENTS_FOLDER, TRUTH, Ga4Options, export_ga4, status_quo
    from gaelp.worlds.registry import make_policy
    from gaelp.worlds.runs import RunConfig, run_folder
    from gaelp.worlds.simulate import check_sizes, compile_market
    from gaelp.worlds.splits import plain_worlds

    options = Ga4Options(format=shape, gzip=not plain, time_zone=time_zone, flaws=flaws)
    check_sizes(worlds=1, users=users, days=days, budget=daily_budget_usd)
    file = load(find_market(market))
    flown = make_policy(policy, file)() if policy else status_quo(file)
    settings: dict[str, Any] = {
        "policy": policy or "the status quo",
        "users": users,
        "days": days,
        "daily_budget_usd": daily_budget_usd,
        **vars(options),
    }
    config = RunConfig(
        command="export ga4", settings=settings, seed=seed, market=market, market_sha256=file.sha256
    )
    with run_folder(folder, config) as run:
        compile_market(file, say)
        with progress("living the world", 24 * (WARM_UP_DAYS + days), quiet=as_json) as tick:
            counts, _ = export_ga4(
                run,
                plain_worlds(file, 1, seed)[0],
                flown,
                n_people=users,
                days=days,
                options=options,
                daily_budget_usd=daily_budget_usd,
                seed=seed,
                tick=tick,
            )
    told = {**settings, **counts, "files": [str(Path(folder) / name) for name in (EVENTS_FOLDER, ADS, TRUTH)]}
    if as_json:
        print_json(told)
        return
    console = out()
    text = "{sessions:,} sessions, {refused:,} visits without consent, {purchases:,} sales in {tables} tables"
    console.print(text.format(**told), highlight=False, soft_wrap=True)
    for path in told["files"]:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


@export_app.command("clicks")
def clicks_command(
    target: Annotated[
        str, typer.Option("--out", metavar="FILE", help="Table to make or replace: .csv or .parquet.")
    ],
    market: MarketOption = DEFAULT_MARKET,
    policy: FlownOption = None,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    daily_budget_usd: BudgetOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Every ad that one world's people saw of us, with all that decided the click: truth, to train on."""
    from gaelp.core.errors import BadInput
    from gaelp.data.places import check_places
    from gaelp.market.file import load
    from gaelp.worlds.click_log import CLICKED, click_table
    from gaelp.worlds.flight import WARM_UP_DAYS
    from gaelp.worlds.ga4_export import status_quo
    from gaelp.worlds.regions import write_columns
    from gaelp.worlds.registry import make_policy
    from gaelp.worlds.simulate import check_sizes, compile_market
    from gaelp.worlds.splits import plain_worlds
    from gaelp.worlds.taught import CHANNELS

    check_sizes(worlds=1, users=users, days=days, budget=daily_budget_usd)
    if Path(target).suffix not in (".csv", ".parquet"):
        raise BadInput("out", target, "must end in .csv or .parquet", "Choose one of them.")
    check_places({"out": target}, {})
    file = load(find_market(market))
    flown = make_policy(policy, file)() if policy else status_quo(file)
    compile_market(file, say)
    with progress("living the world", 24 * (WARM_UP_DAYS + days), quiet=as_json) as tick:
        columns = click_table(
            plain_worlds(file, 1, seed)[0],
            flown,
            n_people=users,
            days=days,
            daily_budget_usd=daily_budget_usd,
            seed=seed,
            tick=tick,
        )
    write_columns(Path(target), columns)
    clicked, channel = columns[CLICKED], columns["channel"]
    told: dict[str, Any] = {
        "out": target,
        "policy": policy or "the status quo",
        "users": users,
        "days": days,
        "seed": seed,
        "market": file.name,
        "market_sha256": file.sha256,
        "ads": int(clicked.size),
        "clicks": int(clicked.sum()),
        "channels": {
            name: {"ads": int((channel == name).sum()), "clicks": int(clicked[channel == name].sum())}
            for name in CHANNELS
            if (channel == name).any()
        },
    }
    if as_json:
        print_json(told)
        return
    console = out()
    if not told["ads"]:
        say("nobody saw an ad: give more people, days or budget")
    for name, row in told["channels"].items():
        rate = show(row["clicks"] / row["ads"], "%")
        console.print(f"{name}: {row['ads']:,} ads seen, {rate} clicked", highlight=False, soft_wrap=True)
    console.print(f"wrote {target}", highlight=False, soft_wrap=True)


def _truth(config: dict[str, Any], world: int, regions: Any, quiet: bool) -> dict[str, Any]:
    from gaelp.core.errors import MismatchError
    from gaelp.core.words import PAID_CHANNELS
    from gaelp.evaluation.channel_truth import channel_effects, truth_report
    from gaelp.market.file import load
    from gaelp.market.state import GEO_SPEND
    from gaelp.worlds.flight import WARM_UP_DAYS
    from gaelp.worlds.registry import make_policy
    from gaelp.worlds.splits import plain_worlds

    settings = config["settings"]
    file = load(find_market(config["market"]))
    if file.sha256 != config["market_sha256"]:
        remedy = "Restore the market file, or simulate the run again."
        raise MismatchError("market", file.sha256[:12], f"must be {config['market_sha256'][:12]}", remedy)
    lives = len(PAID_CHANNELS) + 2
    hours = 24 * (WARM_UP_DAYS + lives * (settings["days"] + settings["runoff_days"]))
    with progress("living it again", hours, quiet=quiet) as tick:
        effects = channel_effects(
            plain_worlds(file, settings["worlds"], config["seed"])[world],
            make_policy(settings["policy"], file)(),
            n_people=settings["users"],
            days=settings["days"],
            runoff_days=settings["runoff_days"],
            spent_micros=int(regions.delivery[0, ..., GEO_SPEND].sum()),
            daily_budget_usd=settings["daily_budget_usd"],
            holdout=settings.get("lift_test", 0.0),
            seed=config["seed"],
            tick=tick,
        )
    by_channel = regions.spend_usd[0].sum(axis=(0, 1)).tolist()
    spend = {channel.name.lower(): usd for channel, usd in zip(PAID_CHANNELS, by_channel, strict=True)}
    return truth_report(
        effects,
        spend,
        effect="direct: sales booked from the flight's start to the run-off's end beyond those of a twin "
        "in which the channel is silent and every other bid is as logged",
        world=world,
        days=settings["days"],
        runoff_days=settings["runoff_days"],
        market_sha256=file.sha256,
    )


def _print(told: dict[str, Any]) -> None:
    console = out()
    text = "{geos} regions by {weeks} weeks from {first_day}, channels: ".format(**told)
    console.print(text + ", ".join(told["channels"]), highlight=False, soft_wrap=True)
    for name, row in told.get("truth", {}).get("channels", {}).items():
        spent, sold = show(row["spend_usd"], "$"), row["incremental_sales"]
        text = f"{name}: {spent} caused {sold:,.0f} sales (± {row['incremental_sales_se']:,.1f})"
        console.print(text, highlight=False, soft_wrap=True)
    for path in told["files"]:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
