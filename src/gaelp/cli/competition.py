"""`gaelp competition`: what an account's own reports tell of its rivals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, show


def competition_command(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A folder of `gaelp simulate --reports --out RUN`.")
    ],
    world: Annotated[int, typer.Option(min=0, help="Which of the run's accounts.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """What rivals bid and win, from own wins, prices, losses and impression share.

    Win curves, bids needed, market share and weekly change by line, with 95 % intervals.
    """
    from gaelp.core.words import LINES
    from gaelp.measurement.competition.summary import competition
    from gaelp.worlds.reports import line_logs, read_reports

    logs, untold = line_logs(read_reports(Path(run)), world)
    channels = {line.name: line.channel.name.lower() for line in LINES}
    result = {"run": run, "world": world, **competition(logs, channels, untold)}
    if as_json:
        print_json(result)
    else:
        _print(result)


def _print(result: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    console = out()
    title = f"Rivals of account {result['world']}, {result['days']} whole days, intervals of 95 %"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("line", "own bid", "own share", "won at .5 x", "at own bid", "at 2 x", "needed by half"):
        table.add_column(heading, justify="left" if heading == "line" else "right")
    table.add_column("change a week", justify="right")
    for name, line in result["lines"].items():
        curve = {row["factor"]: _ends(row, "%") for row in line["win_curve"] or ()}
        table.add_row(
            name.replace("_", " "),  # so that a narrow screen breaks it between words
            f"{show(line['bid'], '$')}\n{_UNITS[line['unit']]}",
            _ends(line["share"]["own"], "%"),
            *(curve.get(factor, "n/a") for factor in (0.5, 1.0, 2.0)),
            _ends((line["bid_needed"] or {}).get("0.5"), "$"),
            _ends(line["change_per_week"], "%"),
        )
    console.print(table)
    text = "Own bids and bids needed are in USD, per click or per 1,000 impressions as marked."
    console.print(text, highlight=False, soft_wrap=True)
    for name, channel in result["channels"].items():
        text = f"{name}: bids needed change by {_ends(channel['change_per_week'], '%', ', ')} a week"
        console.print(text, highlight=False, soft_wrap=True)
    for name, reason in result["untold"].items():
        console.print(f"{name}: not told, {reason}", highlight=False, soft_wrap=True)
    for note in result["notes"]:
        console.print(note, highlight=False, soft_wrap=True)


_UNITS = {"USD per click": "a click", "USD per 1000 impressions": "per 1,000"}


def _ends(found: Mapping[str, Any] | None, unit: str, between: str = "\n") -> str:
    if found is None or (found["value"] is None and found["high"] is None):
        return "n/a"
    ends = f"{show(found['low'], unit).removesuffix(' %')} to {show(found['high'], unit)}"
    return ends if found["value"] is None else f"{show(found['value'], unit)}{between}{ends}"
