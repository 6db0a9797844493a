"""`gaelp update`: episodes as GA4 exports, learned by the model updater."""

from typing import Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, say, show
from gaelp.cli.journey_store import NowOption, moment_named


def update_command(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The updater's folder; made if missing.")],
    episodes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EPISODE...",
            help="Folders of `gaelp export ga4`, or of GA4's tables with ads.csv beside events/. None: only "
            "learn what waits, and tell what is known.",
            show_default=False,
        ),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(help="Property that the episodes continue.", show_default="each is a world of its own"),
    ] = None,
    flown: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Version of the models that flew the episodes.")
    ] = None,
    now: NowOption = None,
    discover_every: Annotated[int, typer.Option(help="Episodes between two discoveries of segments.")] = 10,
    window: Annotated[int, typer.Option(help="Newest episodes that the models are made of.")] = 30,
    horizon_days: Annotated[float, typer.Option(help="Within which a purchase counts for a visit.")] = 14.0,
    seed: Annotated[int, typer.Option(min=0, help="Names the draws of discovery.")] = 0,
    history: Annotated[bool, typer.Option("--history", help="Tell each move of the versions.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Update response, lag, segment and bid-landscape models by episodes; each counts once.

    Every so many episodes segments are discovered anew. A version that predicts or earns much worse than the
    one before goes back by itself.
    """
    from pathlib import Path

    from gaelp.core.errors import BadInput
    from gaelp.learning.updater.config import UpdaterConfig
    from gaelp.learning.updater.updating import Updater

    moment = moment_named(now)
    config = UpdaterConfig(discover_every=discover_every, window=window, horizon_days=horizon_days, seed=seed)
    if not episodes and not Path(folder).is_dir():
        allowed = "must be the folder of an updater"
        raise BadInput("FOLDER", folder, allowed, "Name it, or name episodes to begin with.")
    updater = Updater(folder, config)
    updates = updater.work()
    for path in episodes or ():
        update = updater.episode(Path(path), moment, stream=stream, flown=flown)
        updates.append(update)
        if not as_json:
            say(_said(path, update))
    models = updater.models()
    told: dict[str, Any] = {
        "folder": folder,
        "version": updater.registry.aliases()["champion"],
        "updates": [update.as_dict() for update in updates],
        "models": None if models is None else models.as_dict(),
    }
    if history:
        told["history"] = updater.history()
    if as_json:
        print_json(told)
    else:
        _print(told)


def _said(path: str, update: Any) -> str:
    """One episode in a line."""
    parts = [f"{path}: {update.status}"]
    if update.status == "learned":
        parts.append(f"{update.visits:,} visits, now {update.version}")
    if update.ad_rows_outside:
        parts.append(f"{update.ad_rows_outside:,} rows of ads are of days without events, and left out")
    if update.rolled_back is not None:
        back = update.rolled_back
        parts.append(f"went back to {back['to']} first ({back['code']}, {show(back['value'], '%')})")
    if update.discovery is not None:
        found = update.discovery.get("segments")
        parts.append(f"segments: {', '.join(found)}" if found else update.discovery["unknown"])
    return "; ".join(parts)


def _print(told: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    console = out()
    if told["models"] is None:
        console.print("Nothing was learned yet.")
        return
    table = Table(title=f"Segments of {told['version']}", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("segment", "visitors", "bought", "95 % interval", "brings"):
        table.add_column(heading, justify="left" if heading == "segment" else "right")
    for row in told["models"]["segments"]:
        ends = f"{show(row['low'], '%')} to {show(row['high'], '%')}"
        rate = show(row["rate"], "%")
        table.add_row(row["name"], show(row["n"]), rate, ends, show(row["value_per_visitor"], "$"))
    console.print(table)
    lag = told["models"]["lag"]
    if "unknown" in lag:
        console.print(f"lag: {lag['unknown']}")
    else:
        days = show(lag["days_of_buyers"]["0.5"])
        console.print(f"half of {lag['buyers']:,} buyers bought within {days} days of their first visit")
    factors = {name: each for name, each in told["models"]["line_factors"].items() if each != 1.0}
    said = ", ".join(f"{name} {each:.2f}" for name, each in factors.items()) or "none"
    console.print(f"factors on bids, for those who fly them: {said}", highlight=False)
    for move in told.get("history", ()):
        text = f"{move['at']}  {move['action']:9} {move['version']}  {move['why']}"
        console.print(text, highlight=False, soft_wrap=True)
