"""`gaelp ctr`: train a response model on a labelled table, and say how good it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp.cli.console import DEFAULT_MARKET, JsonOption, find_market, out, print_json, show, typed

ctr_app = typer.Typer(
    name="ctr",
    no_args_is_help=False,
    help="How likely a click or a conversion is: train a response model, judge it, let a market use it.",
)

ColumnsOption = Annotated[str | None, typer.Option(metavar="COL,COL", show_default="found by content")]


@ctr_app.command("train")
def train_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A table with labels: CSV, TSV, Parquet.")],
    out_: Annotated[str, typer.Option("--out", metavar="MODEL", help="Folder to make; never overwritten.")],
    label: Annotated[str | None, typer.Option(metavar="COL", help="1 where it happened, else 0.")] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Orders the rows: later ones judge.", show_default="drawn"),
    ] = None,
    categorical: ColumnsOption = None,
    numeric: ColumnsOption = None,
    format_: Annotated[
        str, typer.Option("--format", help="table, or criteo: 13 integers, 26 categories.")
    ] = ("table"),
    model: Annotated[str, typer.Option(help="xgboost, or logistic on hashed words.")] = "xgboost",
    calibration: Annotated[str, typer.Option(help="platt, isotonic or none.")] = "platt",
    holdout: Annotated[float, typer.Option(help="Share of the rows, the latest, that only judge.")] = 0.3,
    validation: Annotated[
        float, typer.Option(help="Share of the rest, the latest, that stop and calibrate.")
    ] = 0.15,
    delay: Annotated[
        str | None, typer.Option(metavar="COL", help="Hours until the conversion, empty where none was seen.")
    ] = None,
    horizon: Annotated[
        float | None, typer.Option(metavar="HOURS", help="Later conversions do not count; with --delay.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Names the folds and draws.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="For the trees.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Train a response model on a labelled table and keep it in a folder.

    The latest rows are held out and judge it; the latest of the rest say when to stop and how to calibrate.
    """
    from gaelp import __version__
    from gaelp.prediction.examples import examples_of, read_table
    from gaelp.prediction.model import check_new, save
    from gaelp.prediction.training import Recipe, train_file
    from gaelp.worlds.runs import git_commit

    recipe = Recipe(
        kind=model,
        calibration=calibration,
        holdout=holdout,
        validation=validation,
        horizon=horizon,
        seed=seed,
        threads=threads,
    )
    check_new(out_)
    columns, cells = read_table(
        file,
        layout=format_,
        label=label,
        time=time,
        delay=delay,
        numeric=_names(numeric),
        categorical=_names(categorical),
    )
    code = {"gaelp": __version__, "commit": git_commit()}
    trained = train_file(file, columns, examples_of(columns, cells), recipe, code)
    manifest = save(trained, out_)
    kept = ("kind", "model_id", "split", "rows", "columns", "n_trees", "gains", "onnx_max_difference",
            "validation_metrics", "notes")  # fmt: skip
    result = {"model": out_, "metrics": manifest["metrics"], **{name: manifest[name] for name in kept}}
    if as_json:
        print_json(result)
    else:
        _print_trained(result)


@ctr_app.command("evaluate")
def evaluate_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder that `gaelp ctr train` made.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A table with the same columns.")],
    slice_: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="COL", help="Tell it by this column; may be given again."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How good a model is on a table; of the one it was trained on, only rows held out count."""
    from gaelp.prediction.training import evaluate_file

    result = evaluate_file(model, file, slice_ or ())
    if as_json:
        print_json(result)
    else:
        _print_judged(result)


@ctr_app.command("distil")
def distil_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder that `gaelp ctr train` made.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="Table that `gaelp export clicks` made.")],
    target: Annotated[str, typer.Option("--out", metavar="FILE", help="Market file to make or replace.")],
    market: Annotated[str, typer.Option("--market", metavar="MARKET", help="Market file to extend.")] = (
        DEFAULT_MARKET
    ),
    as_json: JsonOption = False,
) -> None:
    """Make a market whose people click as a response model says, by the tables that its kernels read."""
    from gaelp.data.places import check_places
    from gaelp.market.file import load as load_market
    from gaelp.prediction.model import load as load_model
    from gaelp.worlds.distilling import distil
    from gaelp.worlds.market_writing import check_target, write_market
    from gaelp.worlds.taught import read_ads

    base = load_market(find_market(market))
    check_target(target, base)
    check_places({"out": target}, {})
    found = distil(read_ads(file, load_model(model), base), base)
    command = typed(
        ["ctr", "distil", model, file], {"market": (market, DEFAULT_MARKET), "out": (target, None)}
    )
    model_id = str(found.figures["model_id"])
    write_market(
        Path(target),
        found.file,
        base,
        told=f"Made by: {command}",
        names=found.names,
        strength="C",
        source=f"distilled from response model {model_id[:12]}",
    )
    result = {"out": target, "base": base.name, "market_sha256": load_market(target).sha256, **found.figures}
    if as_json:
        print_json(result)
    else:
        _print_distilled(result)


def _names(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",") if name.strip()]


def _print_trained(result: Mapping[str, Any]) -> None:
    console, rows = out(), result["rows"]
    trees = f", {result['n_trees']} trees" if result["n_trees"] is not None else ""
    console.print(
        f"{result['kind']}{trees}: {rows['fit']:,} rows fitted, {rows['validation']:,} stopped and"
        f" calibrated, {rows['holdout']:,} held out (by {result['split']})",
        highlight=False,
        soft_wrap=True,
    )
    if result["metrics"] is None:
        console.print(
            "no rows held out have a final label: judge it with gaelp ctr evaluate", highlight=False
        )
    else:
        _print_table({"held out": result["metrics"]})
    for note in result["notes"]:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    console.print(f"kept in {result['model']}, {result['model_id'][:12]}", highlight=False, soft_wrap=True)


def _print_judged(result: Mapping[str, Any]) -> None:
    console = out()
    _print_table({result["rows_scored"]: result})
    for column, found in result["slices"].items():
        console.print(f"by {column}", highlight=False, markup=False)
        _print_table(found)
    for column, share in result["unseen"].items():
        console.print(
            f"{show(share, '%')} of rows have a {column} that was not there at training",
            highlight=False,
            markup=False,
        )


def _print_distilled(result: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    console = out()
    steps = {"clicked": "clicked", "model": "model", "base": "base", "parameters": "parameters",
             "market": "with tables"}  # fmt: skip
    table = Table(title="Clicks per ad", box=box.SIMPLE_HEAD)
    for heading in ("channel", "ads", *steps.values()):
        table.add_column(heading, justify="left" if heading == "channel" else "right", no_wrap=True)
    for name, row in result["channels"].items():
        table.add_row(name, f"{row['ads']:,.0f}", *(f"{100 * row[step]:.3f} %" for step in steps))
    console.print(table)
    for step, what in (("base", "base"), ("parameters", "parameters"), ("market", "with tables")):
        fit = result["fit"][step]
        followed = show(fit["r2"], "%")
        console.print(
            f"{what}: follows {followed} of the model's variance between cells,"
            f" {show(fit['misplaced'], '%')} of clicks in the wrong cell",
            highlight=False,
            soft_wrap=True,
        )
    for note in result["notes"]:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    console.print(f"wrote {result['out']}", highlight=False, soft_wrap=True)


def _print_table(found: Mapping[str, Mapping[str, Any] | None]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("rows", "rate", "AUC", "±", "log loss", "NE", "ECE", "slope"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in found.items():
        if row is None:
            table.add_row(name, "too few")
            continue
        shown = ("auc", "auc_se", "logloss", "normalised_entropy", "ece")
        table.add_row(
            name,
            f"{row['n']:,}",
            show(row["base_rate"], "%"),
            *(f"{row[key]:.4f}" for key in shown),
            "n/a" if row["calibration_slope"] is None else f"{row['calibration_slope']:.3f}",
        )
    out().print(table)
