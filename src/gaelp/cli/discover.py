"""`gaelp discover`: segments, journeys, rhythm, lags and patterns of a property's own data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp.cli.console import JsonOption, bars, out, print_json, say, show
from gaelp.cli.journey_store import DatabaseOption, NowOption, moment_named


def discover_command(
    file: Annotated[str, typer.Option("--out", metavar="FILE", help="Write what was found here.")],
    ga4: Annotated[
        str | None,
        typer.Option(
            "--ga4", metavar="PATH", help="Read a GA4 export, file or folder, instead of a database."
        ),
    ] = None,
    database: DatabaseOption = None,
    ads: Annotated[str | None, typer.Option(metavar="FILE", help="What ad platforms report, as CSV.")] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write a page for people (HTML).")
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="The property's.", show_default="read off the export's days"),
    ] = None,
    horizon_days: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            help="Rates are of those who bought within it.",
            show_default="half of what the data span, at most 30",
        ),
    ] = None,
    conversion: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT", help="Of GA4: a conversion.", show_default="purchases"),
    ] = None,
    currency: Annotated[
        str | None, typer.Option(metavar="CODE", help="Of GA4: that of purchases which name none.")
    ] = None,
    keep_patterns: Annotated[
        bool, typer.Option("--keep-patterns", help="Of a database: bring its pattern store up to date.")
    ] = False,
    now: NowOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Names the draws: samples, groups, resamples.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Find out from GA4 who visits, how they come to buy, when, and after how long.

    Everything has an interval, or says why it is unknown.
    """
    from gaelp.core.errors import BadInput
    from gaelp.data.discovery.discovering import discover
    from gaelp.data.ga4.purchases import PURCHASES, Rules
    from gaelp.data.places import check_places
    from gaelp.journeys.database import address_of

    check_places({"out": file, "report": report})
    if ga4 is None:
        database = address_of(database)
    if keep_patterns and database is None:
        remedy = "Give --database, or leave it out."
        raise BadInput("keep-patterns", True, "needs a database that stays", remedy)
    rules = Rules(currency=currency, conversions=tuple(conversion) if conversion else PURCHASES)
    moment = moment_named(now)
    with bars(quiet=as_json) as shown:
        task = shown.add_task("reading", total=None)

        def tick(what: str, share: float) -> None:
            known = share >= 0
            shown.update(task, description=what, total=1.0 if known else None, completed=max(share, 0.0))

        found = discover(
            Path(ga4) if ga4 is not None else None,
            database=database,
            now=moment,
            ads=Path(ads) if ads is not None else None,
            rules=rules,
            time_zone=time_zone,
            horizon_days=horizon_days,
            seed=seed,
            tick=tick,
        )
        kept = _keep(database, moment) if keep_patterns and database is not None else None
    found.write(Path(file))
    if report is not None:
        from gaelp.data.discovery.page import write

        write(Path(report), found)
    if as_json:
        print_json(found.data)
    else:
        _print(found.data)
    if kept is not None:
        say(f"{kept:,} journeys kept in the pattern store")
    outside = found.data["ads"].get("rows_outside")
    if outside:
        say(f"{outside:,} rows of the ad report left out: not of the data's days")
    say(f"found: {file}" + (f", page: {report}" if report is not None else ""))


def _keep(database: str, now: Any) -> int:
    """Bring the patterns of a database up to date; how many journeys they hold."""
    from gaelp.data.patterns.store import PatternStore
    from gaelp.journeys.store import JourneyStore

    with JourneyStore(database, make=False) as store:
        return PatternStore(store).update(now).kept


def _print(data: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    source, horizon = data["source"], data["horizon_days"]
    visits = f"{source['visitors']:,} visitors and {source['purchases']:,} purchases"
    buy = f"{_rate(data['visitors']['conversion'])} of visitors buy within {horizon:g} days"
    _line(f"{visits} in {source['days']:.0f} days; {buy} of their first touch")
    segments = data["segments"]
    if "unknown" in segments:
        _line(f"segments: unknown: {segments['unknown']}")
    else:
        table = Table(title=f"Segments: {segments['n']}", title_justify="left", box=box.SIMPLE_HEAD)
        for heading in ("", "share", "stability", f"buys within {horizon:g} days"):
            table.add_column(heading, justify="left" if not heading else "right")
        for each in segments["items"]:
            share = show(each["share"]["share"], "%")
            table.add_row(each["name"], share, f"{each['jaccard']:.2f}", _rate(each["conversion"]))
        out().print(table)
    table = Table(title="Channels", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", "touches", "journeys begun by it buy", "journeys with it buy"):
        table.add_column(heading, justify="left" if not heading else "right")
    for each in data["channels"]:
        begun, anywhere = each["journeys_begun_by_it"], each["journeys_with_it"]
        table.add_row(each["channel"], f"{each['touches']:,}", _rate(begun), _rate(anywhere))
    out().print(table)
    for name, what in (("first_touch_to_purchase", "first"), ("last_touch_to_purchase", "last")):
        spans = data["lags"][name].get("of_those_who_buy", data["lags"][name])
        if "unknown" in spans:
            _line(f"days from the {what} touch to a purchase: unknown: {spans['unknown']}")
        else:
            told = ", ".join(
                f"{each['p']:.0%} by {each['days']:.2g} ({each['low']:.2g} to {each['high']:.2g})"
                for each in spans["quantiles"]
            )
            _line(f"days from the {what} touch, of those who buy: {told}")
    for each in data["not_told"]:
        _line(f"not told: {each}")


def _rate(told: dict[str, Any]) -> str:
    if told["rate"] is None:
        return "n/a"
    return f"{show(told['rate'], '%')} ({show(told['low'], '%')} to {show(told['high'], '%')})"


def _line(text: str) -> None:
    out().print(text, highlight=False, soft_wrap=True, markup=False)
