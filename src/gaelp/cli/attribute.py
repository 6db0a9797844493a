"""`gaelp attribute`: who gets the credit for the conversions of a table of paths or events."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, progress, say

if TYPE_CHECKING:
    from gaelp.journeys.table import JourneyTable
    from gaelp.measurement.attribution import Attributed, Settings

_PATH_ROLES = ("path", "conversions", "value", "nulls")
_EVENT_ROLES = ("person", "time", "channel", "kind", "value", "world")
_CELL_WIDTH = 16
_MEASURES = ("shares", "counts")


def attribute_command(
    words: Annotated[
        list[str],
        typer.Argument(metavar="FILE [MODEL]...", help="Table of paths or events, or a run's folder."),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A model, several with commas or given again, or all."),
    ] = None,
    order: Annotated[int, typer.Option(help="Touches a Markov state remembers.")] = 1,
    bootstrap: Annotated[int, typer.Option(help="Replicates for 95 % intervals; 0: none.")] = 200,
    half_life_days: Annotated[float, typer.Option(help="Of time_decay and composite.")] = 7.0,
    prior_journeys: Annotated[
        float, typer.Option(help="Steadies shapley where sets of channels are rare, for example 100.")
    ] = 0.0,
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNEL=FACTOR", help="A channel's weight in composite.", show_default="1"),
    ] = None,
    click_days: Annotated[
        float | None, typer.Option(help="Leave out clicks older than this.", show_default="any age")
    ] = None,
    view_days: Annotated[
        float | None, typer.Option(help="Leave out impressions older than this.", show_default="any age")
    ] = None,
    timeout_days: Annotated[
        float | None,
        typer.Option(help="Events: a journey this long without one has ended.", show_default="30"),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=COLUMN",
            help=f"Which column holds what: {', '.join(dict.fromkeys(_PATH_ROLES + _EVENT_ROLES))}.",
            show_default="usual names",
        ),
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Paths: what stands between two channels.", show_default=">")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Names the replicates and sampled orders.")] = 0,
    score: Annotated[
        bool, typer.Option("--score", help="Rank the models by their distance to the truth of a run.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Divide conversions and their value among channels, by one model or by all that the table can answer.

    Credits and the row `(baseline)` add up to the conversions recorded.
    """
    from gaelp.core.errors import BadInput
    from gaelp.measurement.attribution import MODELS, Settings, attribute

    file, names = _file_and_models(words, model or [], MODELS)
    run = file
    if file.is_dir():
        file = events_of(file)
    settings = Settings(
        half_life_days=half_life_days,
        order=order,
        channel_weights=_factors(weight or []),
        prior_journeys=prior_journeys,
        seed=seed,
    )
    if score:
        for name, given in (
            ("click_days", click_days),
            ("view_days", view_days),
            ("timeout_days", timeout_days),
            ("column", column),
            ("separator", separator),
        ):
            if given is not None:
                raise BadInput(
                    name, given, "cannot go with --score", "Leave it out: the whole run is scored."
                )
        _score(run, names, settings, bootstrap, as_json=as_json)
        return
    table = _read(file, _columns(column or []), separator, timeout_days)
    table = table.within_windows(click_days=click_days, view_days=view_days)
    n_runs = len(names or MODELS) * (1 + bootstrap)
    with progress("attributing", n_runs, quiet=as_json) as tick:
        answers, refused = attribute(table, names, settings, n_bootstrap=bootstrap, tick=tick)
    for name, reason in refused.items():
        say(f"{name} is left out: {reason}")
    if as_json:
        print_json({name: answer.as_dict() for name, answer in answers.items()})
    else:
        _print(table, answers)


def _score(
    run: Path, names: list[str] | None, settings: "Settings", bootstrap: int, *, as_json: bool
) -> None:
    """Rank models against the truth of a run, whose worlds are lived again."""
    from gaelp.cli.console import find_market
    from gaelp.core.errors import BadInput, MismatchError
    from gaelp.evaluation.attribution_flights import score_hours, score_run
    from gaelp.market.file import load
    from gaelp.worlds.runs import CONFIG, RESULT, read_json

    if not (run / CONFIG).is_file():
        remedy = "Make one by `gaelp simulate --events --lift-test 0.1 --out RUN`."
        raise BadInput(
            "FILE", str(run), "must be the folder of a run: only a simulation knows the truth", remedy
        )
    config = read_json(run / CONFIG)
    market = load(find_market(config["market"]))
    if market.sha256 != config["market_sha256"]:
        remedy = "Restore the market file, or simulate the run again."
        raise MismatchError("market", market.sha256[:12], f"must be {config['market_sha256'][:12]}", remedy)
    with progress("living it again", score_hours(config["settings"]), quiet=as_json) as tick:
        scores = score_run(
            market,
            config["settings"],
            config["seed"],
            spend_usd=read_json(run / RESULT)["spend_usd"],
            models=names,
            options=settings,
            n_bootstrap=bootstrap,
            tick=tick,
        )
    if as_json:
        print_json({name: each.as_dict() for name, each in scores.items()})
        return
    out().print(_ranking(scores))


def _ranking(scores: Mapping[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        title="Distance to the truth, nearest shares first", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("model", no_wrap=True)
    for name in ("shares", "counts"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, each in scores.items():
        row = each.as_dict()
        cells = [f"{row[what]:.2f}" for what in _MEASURES]
        if row["shares_low"] is not None:
            cells = [
                f"{cell} ({row[f'{what}_low']:.2f} to {row[f'{what}_high']:.2f})"
                for what, cell in zip(_MEASURES, cells, strict=True)
            ]
        table.add_row(name, *cells)
    return table


def _file_and_models(
    words: Sequence[str], options: Sequence[str], known: Mapping[str, Any]
) -> tuple[Path, list[str] | None]:
    """Models may also follow as words, as in `--model first last`; None stands for all."""
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known

    asked = [name.strip() for text in options for name in text.split(",")]
    is_model = [word in known or word == "all" for word in words]
    files = [word for word, model in zip(words, is_model, strict=True) if not model]
    if len(files) != 1:
        raise BadInput("FILE", files, "must be one file", f"Models are {', '.join(known)}.")
    asked += [word for word, model in zip(words, is_model, strict=True) if model]
    for name in asked:
        require_known("model", name, ("all", *known))
    return Path(files[0]), None if "all" in asked or not asked else asked


def events_of(run: Path) -> Path:
    """The events that a run kept."""
    from gaelp.core.errors import BadInput
    from gaelp.worlds.visible import EVENTS

    if not (run / EVENTS).is_file():
        remedy = "Make it by `gaelp simulate --events --out RUN`."
        raise BadInput("FILE", str(run), f"must be a table, or a run with {EVENTS}", remedy)
    return run / EVENTS


def _read(
    file: Path, columns: Mapping[str, str], separator: str | None, timeout_days: float | None
) -> "JourneyTable":
    """A table of paths where the file has a column of paths, else one of events; None: as is usual."""
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known
    from gaelp.journeys.columns import header
    from gaelp.journeys.events import EventColumns, read_event_table
    from gaelp.journeys.paths import PATH_COLUMNS, PathColumns, read_path_table

    there = {name.lower() for name in header(file)}
    if "path" in columns or (there & set(PATH_COLUMNS) and "person" not in columns):
        for role in columns:
            require_known("column of a table of paths", role, _PATH_ROLES)
        if timeout_days is not None:
            raise BadInput("timeout_days", timeout_days, "needs a table of events", "Leave it out.")
        return read_path_table(file, PathColumns(**_given(**columns, separator=separator)))
    for role in columns:
        require_known("column of a table of events", role, _EVENT_ROLES)
    if separator is not None:
        raise BadInput("separator", separator, "needs a table of paths", "Leave it out.")
    asked = _given(**columns, timeout_days=timeout_days)
    table, n_repeats = read_event_table(file, EventColumns(**asked))
    if n_repeats:
        say(f"{n_repeats:,} lines repeat another (same person, time, kind, channel, value): left out")
    return table


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _columns(given: Sequence[str]) -> dict[str, str]:
    from gaelp.core.names import require_known

    found = dict(_pair("column", text) for text in given)
    for role in found:
        require_known("column", role, {*_PATH_ROLES, *_EVENT_ROLES})
    return found


def _factors(given: Sequence[str]) -> dict[str, float]:
    from gaelp.core.errors import BadInput

    found = {}
    for text in given:
        name, factor = _pair("weight", text)
        try:
            found[name] = float(factor)
        except ValueError:
            raise BadInput("weight", text, "must end in a number", "Write it like search=1.2.") from None
    return found


def _pair(option: str, text: str) -> tuple[str, str]:
    from gaelp.core.errors import BadInput

    name, equals, value = text.rpartition("=")
    if not (name and equals and value):
        raise BadInput(option, text, "must be NAME=VALUE", f"Write it like --{option} name=value.")
    return name, value


def _print(table: "JourneyTable", answers: Mapping[str, "Attributed"]) -> None:
    conversions, nulls = int(table.conversions.sum()), int(table.nulls.sum())
    console = out()
    console.print(
        f"{conversions + nulls:,} journeys with {len(table.channels)} channels: {conversions:,} converted,"
        f" worth ${table.value_usd.sum():,.2f}",
        highlight=False,
        soft_wrap=True,
    )
    quantities = ["conversions"] + (["value"] if table.value_usd_micros.any() else [])
    fit = max((console.width - max(map(len, table.channels), default=0) - 12) // _CELL_WIDTH, 1)
    for quantity in quantities:
        for first in range(0, len(answers), fit):
            console.print(_grid(quantity, dict(list(answers.items())[first : first + fit])))


def _grid(quantity: str, answers: Mapping[str, "Attributed"]) -> Any:
    """Channels down, models across; an interval stands under its number."""
    from rich import box
    from rich.table import Table

    title = "Conversions credited" if quantity == "conversions" else "Value credited, USD"
    low, high = ("low", "high") if quantity == "conversions" else ("value_low", "value_high")
    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    grid.add_column("channel", no_wrap=True)
    for name in answers:
        grid.add_column(name, justify="right", no_wrap=True)
    rows = {name: answer.as_dict() for name, answer in answers.items()}
    for channel in next(iter(rows.values())):
        cells = []
        for model in rows.values():
            row = model[channel]
            cell = _figure(row[quantity])
            if row[low] is not None:
                cell += f"\n{_figure(row[low])} to {_figure(row[high])}"
            cells.append(cell)
        grid.add_row(channel, *cells)
    return grid


def _figure(value: float | None) -> str:
    assert value is not None
    shown = f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return "0.0" if shown == "-0.0" else shown
