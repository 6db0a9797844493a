"""`gaelp retrain report`: accuracy, reliability and worth of the models in service, for a board."""

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, typed
from gaelp.cli.journey_store import DatabaseOption, NowOption, moment_named
from gaelp.cli.retrain import ConfigOption, ModelsOption


def report_command(
    days: Annotated[int, typer.Option(min=1, help="Whole days to look back.")] = 30,
    database: DatabaseOption = None,
    models: ModelsOption = "models",
    config: ConfigOption = None,
    revenue: Annotated[
        float | None,
        typer.Option(
            "--revenue-per-conversion-usd",
            help="What a conversion is worth.",
            show_default="mean of the purchases told",
        ),
    ] = None,
    spend: Annotated[
        float | None,
        typer.Option(
            "--spend-usd", help="Spend of these days.", show_default="from the creatives' mean costs"
        ),
    ] = None,
    elasticity: Annotated[
        float, typer.Option("--bid-elasticity", help="Of impressions won to the bid, for the money saved.")
    ] = 1.0,
    page: Annotated[str | None, typer.Option("--report", metavar="FILE", help="Write it as a page.")] = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """How right predictions were, beside what luck leaves and what the brief asks, and what that was worth.

    Verdicts: met, missed by more than luck, within luck, cannot be met at these impressions, no data.
    """
    from gaelp.core.errors import BadInput
    from gaelp.evaluation.board_page import sentences, write
    from gaelp.journeys.database import Database
    from gaelp.prediction.accuracy import AccuracyTracker
    from gaelp.prediction.board import board
    from gaelp.prediction.registry import Registry
    from gaelp.prediction.retrain_config import RetrainConfig
    from gaelp.worlds.runs import git_commit

    if page is not None and not page.endswith(".html"):
        raise BadInput("report", page, "must end in .html", "Name the page to write.")
    moment, settings = moment_named(now), RetrainConfig.read(config)
    opened = Database(database, make=False)
    try:
        found = board(
            AccuracyTracker(opened),
            Registry(models),
            moment,
            days=days,
            target=settings.target,
            horizon_hours=settings.horizon_hours,
            revenue_per_conversion_usd=revenue,
            spend_usd=spend,
            bid_elasticity=elasticity,
        )
    finally:
        opened.close()
    said = sentences(found)
    if page is not None:
        options: dict[str, tuple[object, object]] = {
            "days": (days, 30),
            "models": (models, "models"),
            "config": (config, None),
            "revenue-per-conversion-usd": (revenue, None),
            "spend-usd": (spend, None),
            "bid-elasticity": (elasticity, 1.0),
            "now": (now, None),
            "report": (page, None),
        }  # the database's address may hold a password
        head = {
            "title": f"Models in service, {days} days to {found['now'][:10]}",
            "created": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M UTC}",
            "commit": git_commit() or "",
            "command": typed(["retrain", "report"], options),
        }
        write(page, head, found)
    if as_json:
        print_json({**found, "summary": said, "report": page})
        return
    _print(found, said)
    if page is not None:
        out().print(f"wrote {page}", highlight=False, soft_wrap=True, markup=False)


def _print(found: Mapping[str, Any], said: list[str]) -> None:
    from rich import box
    from rich.table import Table

    from gaelp.evaluation.board_page import figures_of, show, told

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("", "seen", "asked", "perfect model", "verdict"):
        table.add_column(heading, justify="left" if heading in ("", "verdict") else "right", overflow="fold")
    for title, figure in figures_of(found):
        cells = (show(figure["name"], figure[key]) for key in ("value", "target", "best"))
        table.add_row(title, *cells, told(figure))
    console = out()
    console.print(table)
    for sentence in said:
        console.print(f"- {sentence}", highlight=False, markup=False, soft_wrap=True)
