"""`gaelp journeys`: who touched what, when, in the journey database or in worlds that a run has kept."""

from typing import Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, show
from gaelp.cli.journey_store import (
    DatabaseOption,
    NowOption,
    forget_command,
    import_command,
    merge_command,
    show_person,
    show_store,
    unmerge_command,
)

journeys_app = typer.Typer(
    help="Who touched what, when: people of the journey database, or of a saved run.", no_args_is_help=True
)
RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="DIR", help="A run folder with saved worlds, instead of the database."),
]
journeys_app.command("import")(import_command)
journeys_app.command("merge")(merge_command)
journeys_app.command("unmerge")(unmerge_command)
journeys_app.command("forget")(forget_command)


@journeys_app.command("show")
def show_command(
    person: Annotated[
        str, typer.Argument(metavar="ID", help="An id of the database; of a run, PERSON or WORLD:PERSON.")
    ],
    run: RunOption = None,
    database: DatabaseOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell one person's timeline in words."""
    if run is None:
        show_person(person, database, now, as_json=as_json)
        return
    _refuse_both(database, now)
    from gaelp.journeys.timeline import parse_person, timeline

    saved = _Saved(run)
    world, number = parse_person(person, *saved.people.shape)
    record = saved.people[world, number]
    made = saved.decisions(world)
    made = made[(made["person"] == number) & (made["generation"] == record["generation"])]
    told = timeline(
        record,
        made,
        name=f"{world}:{number}",
        hour=saved.hour,
        clock=saved.clock,
        brands=saved.brands,
        segments=saved.segments,
        typed=lambda query, hour: saved.typed(query, number, hour),
    )
    if as_json:
        print_json(told.as_dict())
        return
    console = out()
    console.print(f"Person {told.person}, {told.facts['now']}", highlight=False, soft_wrap=True)
    if told.facts["customer_of"]:
        console.print(
            "  customer of {customer_of}, decided {decided}".format(**told.facts),
            highlight=False,
            soft_wrap=True,
        )
    if told.facts["journey_open"]:
        text = "  a journey of {journey_days} days and {journey_touchpoints} touchpoints so far"
        console.print(text.format(**told.facts), highlight=False, soft_wrap=True)
    for when, what in told.events or [("", "nothing remembered")]:
        console.print(f"  {when:32s} {what}", highlight=False, soft_wrap=True)
    truth = ", ".join(f"{name} {value}" for name, value in told.truth.items())
    console.print(f"  truth, which no advertiser sees: {truth}", highlight=False, soft_wrap=True)


@journeys_app.command("stats")
def stats_command(
    run: RunOption = None,
    database: DatabaseOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stage funnel, and how long and how many-touched journeys are."""
    if run is None:
        show_store(database, now, as_json=as_json)
        return
    _refuse_both(database, now)
    import numpy as np

    from gaelp.journeys.timeline import statistics

    saved = _Saved(run)
    made = np.concatenate([saved.decisions(world) for world in range(saved.people.shape[0])])
    found = statistics(saved.people, made[made["brand"] == 0], saved.hour)
    if as_json:
        print_json(found)
        return
    _print(found, saved.brands[0])


def _refuse_both(database: str | None, now: str | None) -> None:
    from gaelp.core.errors import BadInput

    for name, given in (("database", database), ("now", now)):
        if given is not None:
            raise BadInput(name, given, "cannot go with --run", "Leave out one of the two.")


def _print(found: dict[str, Any], advertiser: str) -> None:
    from rich import box
    from rich.table import Table

    console = out()
    table = Table(title=f"{found['people']:,} people on day {found['day']}", box=box.SIMPLE_HEAD)
    for column in ("stage (truth)", "people", "share"):
        table.add_column(column, justify="left" if column.startswith("stage") else "right")
    for stage, count in found["stages"].items():
        table.add_row(stage, show(count), show(count / found["people"], "%"))
    console.print(table)
    for label, key in (
        ("open journeys", "open_journeys"),
        ("  mean touchpoints so far", "open_mean_touchpoints"),
        ("  mean days so far", "open_mean_days"),
        (f"decisions for {advertiser} since the worlds began", "decisions"),
        ("  mean touchpoints", "mean_touchpoints"),
        ("  mean days of the journey", "mean_journey_days"),
        ("  mean days from decision to booking", "mean_lag_days"),
    ):
        console.print(f"{label}: {show(found[key])}", highlight=False, soft_wrap=True)
    for label, key in (("first", "first_channel"), ("last", "last_channel")):
        counts = ", ".join(f"{name} {count}" for name, count in found[key].items() if count)
        console.print(
            f"{label} channel of these decisions: {counts or 'none'}", highlight=False, soft_wrap=True
        )


class _Saved:
    """The arrays of a snapshot that a look at people needs, mapped from disk."""

    def __init__(self, run: str) -> None:
        import datetime as dt

        from gaelp.journeys.timeline import clock_from
        from gaelp.worlds.snapshot import read_array, read_manifest

        folder, manifest = read_manifest(run)
        self.hour = int(manifest["hour"])
        self.brands: list[str] = manifest["brands"]
        self.segments: list[str] = manifest["segments"]
        self.queries: dict[str, list[str]] = manifest["queries"]
        self.clock = clock_from(dt.date.fromisoformat(manifest["start"]))
        self.people = read_array(folder, "pop.people")
        self._decisions = read_array(folder, "books.decisions")
        self._n_decisions = read_array(folder, "books.n_decisions")

    def typed(self, query: int, person: int, hour: int) -> str | None:
        """The words of a search; which rival was named is not remembered."""
        from gaelp.core.words import Query
        from gaelp.market.queries import query_text

        if query == Query.RIVAL_BRAND:
            return None
        return query_text(self.queries, query, self.brands[0], person, hour)

    def decisions(self, world: int) -> Any:
        return self._decisions[world, : self._n_decisions[world]]
