"""`gaelp journeys import --format ga4`: an export of Google Analytics 4 into the journey database."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import out, print_json

if TYPE_CHECKING:
    from gaelp.data.ga4.importing import Imported
    from gaelp.journeys.store import JourneyStore

LastDaysOption = Annotated[
    int | None,
    typer.Option(
        "--last-days", metavar="N", help="Of GA4: only the newest N daily tables.", show_default="all"
    ),
]
ConversionOption = Annotated[
    list[str] | None,
    typer.Option("--conversion", metavar="EVENT", help="Of GA4: a conversion.", show_default="purchases"),
]
CurrencyOption = Annotated[
    str | None,
    typer.Option("--currency", metavar="CODE", help="Of GA4: that of purchases which name none."),
]
InUsdOption = Annotated[bool, typer.Option("--in-usd", help="Of GA4: values as Google converted them.")]


def import_ga4(
    make_store: Callable[[], "JourneyStore"],
    path: Path,
    now: dt.datetime,
    last_days: int | None,
    rules: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Import an export and say what became of it.

    Args:
        make_store: opens the store, once it is known that there is something to import.
        path: a file or folder. now: the moment. last_days: only the newest tables.
        rules: fields of `data.ga4.purchases.Rules`, None where nothing was typed.
        as_json: one object instead of words.
    """
    from gaelp.data.ga4.importing import import_export
    from gaelp.data.ga4.purchases import Rules
    from gaelp.data.ga4.reading import find_files

    given: dict[str, Any] = {name: each for name, each in rules.items() if each}
    if "conversions" in given:
        given["conversions"] = tuple(given["conversions"])
    asked = Rules(**given)
    find_files(path, last_days)
    with make_store() as store:
        found = import_export(store, path, now, rules=asked, last_days=last_days)
        address = store.database.url.render_as_string(hide_password=True)
    if as_json:
        print_json({"database": address, **vars(found), "now": now.isoformat()})
        return
    for text in _sentences(found, address):
        out().print(text, highlight=False, soft_wrap=True, markup=False)


def _sentences(found: "Imported", address: str) -> list[str]:
    told = [
        f"{found.touches:,} sessions and {found.conversions:,} purchases stored in {address}",
        f"from {found.events:,} events in {found.files:,} files, {found.first_date} to {found.last_date}",
    ]
    sources = ", ".join(f"{name} {n:,}" for name, n in found.sources.items() if n)
    told += [f"sources told by: {sources}"] if sources else []
    for n, what in (
        (found.repeats, "sessions and purchases were there already"),
        (found.replaced, "sessions and purchases were known differently and are restated"),
        (found.linked, "cookies belong to a login"),
        (found.shared_cookies, "cookies are shared by several logins, or somebody else's: left alone"),
        (found.duplicates, "events came twice"),
        (found.duplicate_purchases, "purchases repeat a transaction"),
        (found.anonymous, "events carry no id: without consent nobody can be recognised"),
        (found.outside_sessions, "events belong to no session"),
        (found.implausible_times, "events were left out: their clock is days off, or ahead of now"),
        (found.without_value, "purchases have no value that can be used, and are stored at 0"),
        (found.refunds, "refunds were not subtracted"),
    ):
        if n:
            told.append(f"{n:,} {what}")
    return told
