"""`gaelp journeys` on the journey database: import, forget, merge and unmerge, and what is looked up."""

import datetime as dt
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, show
from gaelp.cli.journeys_import import (
    ConversionOption,
    CurrencyOption,
    InUsdOption,
    LastDaysOption,
    import_ga4,
)

if TYPE_CHECKING:
    from gaelp.journeys.store import JourneyStore
    from gaelp.journeys.views import Journey

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="sqlite:///FILE or postgresql://USER@HOST/NAME.",
        show_default="DATABASE_URL, else journeys.db here",
    ),
]
NowOption = Annotated[
    str | None,
    typer.Option(
        "--now", metavar="TIME", help="The moment, as 2026-03-01T12:00.", show_default="the clock's"
    ),
]
PersonArgument = Annotated[str, typer.Argument(metavar="ID", help="Any id of the person.")]


def import_command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A table of events: CSV, TSV, Parquet; a run's folder; an export of GA4."
        ),
    ],
    database: DatabaseOption = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT=COLUMN", help="Which column holds what.", show_default="usual names"),
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Put before each id, so that two sources do not mix.", show_default="nothing")
    ] = "",
    now: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The moment, as 2026-03-01T12:00; no event may lie after it.",
            show_default="the clock's; of a run, its last event's",
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="table|ga4", help="What PATH holds; ga4: files or a folder.")
    ] = "table",
    last_days: LastDaysOption = None,
    conversion: ConversionOption = None,
    currency: CurrencyOption = None,
    in_usd: InUsdOption = False,
    as_json: JsonOption = False,
) -> None:
    """Store events and bring journeys up to date; what was told before is not stored again.

    WHAT is person, time, kind, channel, and where there are any value, cost, currency, device, rival, stage,
    booked, event_id. A run has events if it was made by `gaelp simulate --events --out RUN`.
    """
    from gaelp.core.names import require_known

    require_known("format", form, ("table", "ga4"))
    of_ga4 = {"last-days": last_days, "conversion": conversion, "currency": currency, "in-usd": in_usd}
    if form == "ga4":
        _refuse_given({"column": column}, "cannot go with --format ga4")
        rules = {"conversions": conversion, "currency": currency, "in_usd": in_usd, "prefix": prefix}
        moment = moment_named(now)
        import_ga4(lambda: _store(database, make=True), file, moment, last_days, rules, as_json=as_json)
        return
    _refuse_given(of_ga4, "needs --format ga4")
    from gaelp.cli.attribute import events_of
    from gaelp.core.errors import BadInput
    from gaelp.journeys.importing import read_event_file

    columns = {}
    for given in column or []:
        what, equals, name = given.partition("=")
        if not equals or not name:
            raise BadInput("column", given, "must be WHAT=COLUMN", "Write it like --column person=user_id.")
        columns[what] = name
    is_run = file.is_dir()
    found = read_event_file(events_of(file) if is_run else file, columns, prefix=prefix)
    moment = found.last_at if is_run and now is None else moment_named(now)
    with _store(database, make=True) as store:
        stored = found.append_to(store, moment)
        address = store.database.url.render_as_string(hide_password=True)
    told = {
        "database": address,
        "touchpoints": stored.touches,
        "conversions": stored.conversions,
        "repeats": stored.repeats,
        "conflicts": list(stored.conflicts),
        "unused_columns": list(found.unused),
        "now": moment.isoformat(),
    }
    if as_json:
        print_json(told)
        return
    _line(f"{stored.touches:,} touchpoints and {stored.conversions:,} conversions stored in {address}")
    if stored.repeats:
        _line(f"{stored.repeats:,} events were there already, or repeat another line")
    if stored.conflicts:
        ids = ", ".join(stored.conflicts[:5]) + (", ..." if len(stored.conflicts) > 5 else "")
        _line(f"{len(stored.conflicts):,} of these now say something else; the first told stays: {ids}")
    if found.unused:
        _line(f"columns not used: {', '.join(found.unused)}")


def forget_command(
    person: PersonArgument,
    database: DatabaseOption = None,
    scrub: Annotated[
        bool,
        typer.Option("--scrub", help="Also rewrite the files, so that no byte stays in them; takes a while."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove everything about a person, all merged ids included; it cannot be undone."""
    from gaelp.data.patterns.store import PatternStore

    with _store(database) as store:
        removed = store.forget(person)
        removed += PatternStore(store).forget()
        if scrub:
            store.database.scrub()
    if as_json:
        print_json({"person": person, "rows_removed": removed})
    else:
        _line(f"{removed:,} rows removed" if removed else f"nothing was stored about {person!r}")


def merge_command(
    kept: Annotated[str, typer.Argument(metavar="ID", help="An id of the person who stays.")],
    absorbed: Annotated[str, typer.Argument(metavar="OTHER", help="An id of the person who is added.")],
    confidence: Annotated[float, typer.Option(help="How sure that is, above 0 to 1.")] = 1.0,
    database: DatabaseOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that two ids are one person; their journeys become one life."""
    with _store(database) as store:
        changed = store.merge(kept, absorbed, confidence, moment_named(now))
    if as_json:
        print_json({"merged": changed})
    else:
        _line(f"{kept} and {absorbed} are one person now" if changed else "they were one person already")


def unmerge_command(
    one: Annotated[str, typer.Argument(metavar="ID", help="An id.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another.")],
    database: DatabaseOption = None,
    now: NowOption = None,
    as_json: JsonOption = False,
) -> None:
    """Undo the merge that made one person of two ids; all is as if it had never been."""
    with _store(database) as store:
        changed = store.unmerge(one, other, moment_named(now))
    if as_json:
        print_json({"unmerged": changed})
    else:
        _line(f"{one} and {other} are two people again" if changed else "they were two people already")


def show_person(person: str, database: str | None, now: str | None, *, as_json: bool) -> None:
    """Tell the journeys of one person.

    Args:
        person: any id. database, now: as typed. as_json: one object instead of words.

    Raises:
        BadInput: the person is unknown.
    """
    from gaelp.core.errors import BadInput

    moment = moment_named(now)
    with _store(database) as store:
        known = store.person(person)
        found = store.journeys(person, moment)
    if known is None:
        raise BadInput("person", person, "must be known to the database", "Check the id.")
    if as_json:
        print_json(
            {
                "person": person,
                "aliases": known.aliases,
                "match_confidence": known.match_confidence,
                "now": moment.isoformat(),
                "journeys": [_as_dict(each) for each in found],
            }
        )
        return
    _line(f"Person {person} as of {_when(moment)}")
    others = {name: sure for name, sure in known.aliases.items() if name != person}
    if others:
        told = ", ".join(f"{name} ({show(sure, '%')})" for name, sure in others.items())
        _line(f"  also seen as {told}; all one person with {show(known.match_confidence, '%')}")
    for each in found:
        again = ", back after being lost" if each.reopened else ""
        _line(f"Journey {each.number}: {each.stage.name.lower()}, {show(each.days)} days{again}")
        for touch in each.touches:
            more = [touch.device or "", f"beside {touch.rival}" if touch.rival else ""]
            if touch.cost_micros:
                more.append(f"{touch.currency} {touch.cost_micros / 1e6:,.4f}")
            if touch.person != person:
                more.append(f"as {touch.person}")
            what = " ".join([touch.kind.name.lower(), touch.channel, *filter(None, more)])
            _line(f"  {_when(touch.at)}  {what}")
        if each.conversion is not None:
            sale = each.conversion
            _line(f"  {_when(sale.at)}  conversion, {sale.currency} {sale.value_micros / 1e6:,.2f}")
    if not found:
        _line("  nothing happened yet")


def show_store(database: str | None, now: str | None, *, as_json: bool) -> None:
    """Tell all journeys in figures.

    Args:
        database: as typed. now: as typed. as_json: one object instead of a table.
    """
    from rich import box
    from rich.table import Table

    moment = moment_named(now)
    with _store(database) as store:
        found = store.summary(moment)
    if as_json:
        times = {name: _iso(getattr(found, name)) for name in ("first_at", "last_at")}
        print_json({**asdict(found), **times, "now": moment.isoformat()})
        return
    _line(f"{found.journeys:,} journeys as of {_when(moment)}")
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("stage", "journeys", "share"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage, count in found.stages.items():
        if count:
            table.add_row(stage.lower(), show(count), show(count / found.journeys, "%"))
    out().print(table)
    span = f", {_when(found.first_at)} to {_when(found.last_at)}" if found.first_at and found.last_at else ""
    for label, told in (
        ("people", f"{found.people:,} under {found.ids:,} ids"),
        ("touchpoints", f"{found.touchpoints:,}{span}"),
        ("  by channel", ", ".join(f"{name} {n:,}" for name, n in found.channels.items()) or "none"),
        ("  cost", _amounts(found.cost_micros)),
        ("conversions", f"{found.conversions:,}"),
        ("  value", _amounts(found.value_micros)),
        ("  mean touchpoints before", show(found.mean_touchpoints)),
        ("  mean days of the journey", show(found.mean_journey_days)),
    ):
        _line(f"{label}: {told}")


def _store(database: str | None, *, make: bool = False) -> "JourneyStore":
    from gaelp.journeys.store import JourneyStore

    return JourneyStore(database, make=make)


def _refuse_given(options: dict[str, Any], allowed: str) -> None:
    from gaelp.core.errors import BadInput

    for name, given in options.items():
        if given:
            raise BadInput(name, given, allowed, "Leave out one of the two, or add what it needs.")


def moment_named(text: str | None) -> dt.datetime:
    """The moment named, UTC where no zone is, else the clock's."""
    from gaelp.core.errors import BadInput

    if text is None:
        return dt.datetime.now(dt.UTC)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        remedy = "Write it like --now 2026-03-01T12:00."
        raise BadInput("now", text, "must be a time in ISO 8601", remedy) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _as_dict(journey: "Journey") -> dict[str, Any]:
    sale = journey.conversion
    return {
        "number": journey.number,
        "stage": journey.stage.name,
        "reached": journey.reached.name,
        "opened_at": _iso(journey.opened_at),
        "last_at": _iso(journey.last_at),
        "ended_at": _iso(journey.ended_at),
        "days": journey.days,
        "reopened": journey.reopened,
        "channels": list(journey.channels),
        "devices": list(journey.devices),
        "rivals": list(journey.rivals),
        "touchpoints": [
            {**asdict(touch), "at": _iso(touch.at), "kind": touch.kind.name.lower()}
            for touch in journey.touches
        ],
        "conversion": None
        if sale is None
        else {**asdict(sale), "at": _iso(sale.at), "booked_at": _iso(sale.booked_at)},
    }


def _iso(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _when(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _amounts(micros: dict[str, int]) -> str:
    return ", ".join(f"{currency} {amount / 1e6:,.2f}" for currency, amount in micros.items()) or "none"


def _line(text: str) -> None:
    out().print(text, highlight=False, soft_wrap=True, markup=False)
