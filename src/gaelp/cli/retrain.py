"""`gaelp retrain`: look at the model in service, retrain, promote, roll back, and tell what was done."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, show
from gaelp.cli.journey_store import DatabaseOption, NowOption, moment_named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gaelp.journeys.columns import Cells
    from gaelp.prediction.accuracy import Outcome, Video
    from gaelp.prediction.retraining import Retrainer, RetrainReply

retrain_app = typer.Typer(
    name="retrain",
    no_args_is_help=True,
    help="The model in service: is it right still, train a challenger, promote, roll back.",
)

FAILED = ("error", "locked")

ModelsOption = Annotated[str, typer.Option("--models", metavar="DIR", help="Registry of models.")]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML with a table retraining.", show_default="usual settings"
    ),
]
WhoOption = Annotated[
    str | None, typer.Option("--who", metavar="NAME", help="Who asks.", show_default="who is logged in")
]
WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="For those who look later.")]


@retrain_app.command("check")
def check_command(
    database: DatabaseOption = None,
    models: ModelsOption = "models",
    config: ConfigOption = None,
    trigger: Annotated[str, typer.Option(help="manual, daily, scheduled or purchase.")] = "manual",
    force: Annotated[
        bool, typer.Option("--force", help="Train a challenger whatever the rule says; the gate judges it.")
    ] = False,
    request_id: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Told again, the same key brings the recorded reply."),
    ] = None,
    who: WhoOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the champion, and retrain, promote, reject or roll back as the figures say.

    Exit code 1 where the work failed or another run is on, else 0.
    """
    with _retrainer(database, models, config) as retrainer:
        reply = retrainer.check(
            trigger=trigger, who=_who(who), now=moment_named(now), force=force, request_id=request_id
        )
    _tell(reply, as_json=as_json)


@retrain_app.command("tell")
def tell_command(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Outcomes: CSV, TSV or Parquet with prediction_id, day, trials, events.",
            show_default="none",
        ),
    ] = None,
    creatives: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Creatives so far: video_id; any of name, channel, impressions, clicks, conversions,"
            " spend_micros, currency.",
        ),
    ] = None,
    database: DatabaseOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what came of predictions day by day, and again when the platform restates it.

    A table is kept whole or not at all. Trials are impressions and events clicks; of conversions, clicks and
    conversions.
    """
    from gaelp.core.errors import BadInput
    from gaelp.journeys.database import Database
    from gaelp.prediction.accuracy import AccuracyTracker
    from gaelp.prediction.retraining import tell_outcomes

    if file is None and creatives is None:
        raise BadInput("FILE", None, "must be given, or --creatives", "Name the table of outcomes.")
    outcomes = None if file is None else _read_outcomes(file)
    videos = None if creatives is None else _read_videos(creatives)
    moment = moment_named(now)
    told: dict[str, int] = {}
    opened = Database(database, make=False)
    try:
        tracker = AccuracyTracker(opened)
        if outcomes is not None:
            told = tell_outcomes(tracker, outcomes[0], moment, places=outcomes[1])
        if videos is not None:
            told["creatives"] = tracker.keep_videos(videos, moment)
    finally:
        opened.close()
    if as_json:
        print_json({**told, "now": moment.isoformat()})
    else:
        out().print(", ".join(f"{what} {count:,}" for what, count in told.items()), highlight=False)


@retrain_app.command("run-due")
def run_due_command(
    database: DatabaseOption = None,
    models: ModelsOption = "models",
    config: ConfigOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run what is due by the day, by the hour, or because enough purchases wait; else nothing."""
    with _retrainer(database, models, config) as retrainer:
        reply = retrainer.run_due(moment_named(now))
    if reply is not None:
        _tell(reply, as_json=as_json)
    elif as_json:
        print_json({"status": None, "message": "Nothing is due."})
    else:
        out().print("nothing is due")


@retrain_app.command("promote")
def promote_command(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Such as v000003, or challenger.")],
    why: WhyOption,
    database: DatabaseOption = None,
    models: ModelsOption = "models",
    who: WhoOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a version champion by hand; nothing judges it."""
    with _retrainer(database, models, None) as retrainer:
        move = retrainer.promote(version, who=_who(who), why=why, now=moment_named(now))
    _tell_move(vars(move), as_json=as_json)


@retrain_app.command("rollback")
def rollback_command(
    why: WhyOption,
    database: DatabaseOption = None,
    models: ModelsOption = "models",
    who: WhoOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the previous champion champion again, by hand."""
    with _retrainer(database, models, None) as retrainer:
        move = retrainer.roll_back(who=_who(who), why=why, now=moment_named(now))
    _tell_move(vars(move), as_json=as_json)


@retrain_app.command("history")
def history_command(
    database: DatabaseOption = None,
    models: ModelsOption = "models",
    last: Annotated[int, typer.Option(min=1, help="Runs to show, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show the last runs, and which version is champion, challenger and previous."""
    with _retrainer(database, models, None) as retrainer:
        runs = retrainer.runs.recent(last)
        aliases, moves = retrainer.registry.aliases(), retrainer.registry.moves()[-last:]
    if as_json:
        print_json({"aliases": aliases, "runs": runs, "moves": [vars(move) for move in moves]})
        return
    console = out()
    console.print(
        ", ".join(f"{alias} {version or 'none'}" for alias, version in aliases.items()), highlight=False
    )
    _print_runs(runs)


def _read_outcomes(file: Path) -> "tuple[list[Outcome], list[str]]":
    """A table of outcomes, and where in it each stands; errors name the line."""
    import gaelp.journeys.columns as columns
    from gaelp.prediction.accuracy import Outcome

    found = columns.read_columns(file, ("prediction_id", "day", "trials", "events"))
    ids = columns.texts("prediction_id", found["prediction_id"])
    days = columns.days("day", found["day"]).tolist()
    trials = _counts("trials", found["trials"], least=1)
    events = _counts("events", found["events"])
    columns.require("events", found["events"], events <= trials, "must be at most trials")
    rows = zip(ids, days, trials.tolist(), events.tolist(), strict=True)
    found_rows = [
        Outcome(prediction_id=name, day=day, trials=most, events=came) for name, day, most, came in rows
    ]
    return found_rows, columns.places(found["day"])


def _read_videos(file: Path) -> "list[Video]":
    """A table of creatives; a column that is not there counts as `Video` has it."""
    import gaelp.journeys.columns as columns
    from gaelp.core.names import require_known
    from gaelp.journeys.batch import Coded
    from gaelp.prediction.accuracy import Video

    kinds = Video.__annotations__
    header = columns.header(file)
    for name in header:
        require_known("column", name, kinds)
    told = columns.read_columns(file, ["video_id", *header])
    cells = {
        name: _counts(name, each).tolist()
        if kinds[name] is int
        else columns.texts(name, each, empty=name in ("name", "channel"))
        for name, each in told.items()
    }
    for name in cells.keys() - {name for name, kind in kinds.items() if kind is int}:
        Coded.check(name, [text for text in cells[name] if text])
    return [Video(**dict(zip(cells, row, strict=True))) for row in zip(*cells.values(), strict=True)]


def _counts(name: str, cells: "Cells", least: int = 0) -> "NDArray[np.int64]":
    import numpy as np

    from gaelp.journeys.columns import numbers, require

    found = numbers(name, cells, least, 1e15)
    require(name, cells, found % 1 == 0, "must be a whole number")
    return found.astype(np.int64)


def _print_runs(runs: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("began", "trigger", "who", "status", "reasons", "challenger", "champion", "seconds"):
        table.add_column(heading, overflow="fold")
    for run in runs:
        table.add_row(
            run["started"][:16],
            run["trigger"],
            run["who"],
            run["status"],
            ", ".join(reason["code"] for reason in run["reasons"]) or run["message"],
            run["challenger"] or "",
            run["champion"] or "",
            f"{run['wall_s']:.1f}",
        )
    out().print(table)


def _tell(reply: "RetrainReply", *, as_json: bool) -> None:
    if as_json:
        print_json(reply.as_dict())
    else:
        console = out()
        console.print(f"{reply.status}: {reply.message}", highlight=False, soft_wrap=True, markup=False)
        for reason in reply.reasons:
            span = f", last {reason.days} days" if reason.days else ""
            console.print(
                f"  {reason.code} {show(float(reason.value))} against {show(float(reason.limit))}{span}",
                highlight=False,
                soft_wrap=True,
            )
        for name, change in (reply.improvement or {}).items():
            before, after = show(change["before"]), show(change["after"])
            console.print(f"  {name} of the champion {before}, of the challenger {after}", highlight=False)
    if reply.status in FAILED:
        raise typer.Exit(1)


def _tell_move(move: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(move)
        return
    held = ", ".join(f"{alias} {version or 'none'}" for alias, version in move["aliases"].items())
    out().print(f"{move['action']}: {held}", highlight=False, soft_wrap=True)


@contextmanager
def _retrainer(database: str | None, models: str, config: str | None) -> "Iterator[Retrainer]":
    from gaelp import __version__
    from gaelp.journeys.database import Database
    from gaelp.prediction.retrain_config import RetrainConfig
    from gaelp.prediction.retraining import Retrainer
    from gaelp.worlds.runs import git_commit

    settings = RetrainConfig.read(config)
    opened = Database(database, make=False)
    try:
        yield Retrainer(opened, models, settings, code={"gaelp": __version__, "commit": git_commit()})
    finally:
        opened.close()


def _who(given: str | None) -> str:
    if given is not None:
        return given
    from getpass import getuser

    try:
        return getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return "command line"
