"""`gaelp identity`: which cookies of an event table are one person, and how sure that is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, say, show

_SHOWN = 20


def identity_command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Table of events with time and cookie, CSV, TSV or Parquet."),
    ],
    truth: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of the true person; used for judging only.")
    ] = None,
    least_confidence: Annotated[
        float, typer.Option(help="Probability that a link claimed from evidence has.")
    ] = 0.97,
    crowd: Annotated[int, typer.Option(help="Regulars of an address above which it tells nothing.")] = 12,
    logins_only: Annotated[bool, typer.Option("--logins-only", help="Link by login alone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Link cookies by login, then by evidence where logins show that evidence is right.

    Columns: time, cookie (or device_id), login, address (or ip), city, device, behaviour (or channel); only
    time and cookie must be there. Other columns are left out.
    """
    from gaelp.core.errors import BadInput
    from gaelp.journeys.identity import Resolver, Settings, judge_identities, read_identity_table
    from gaelp.journeys.identity.sessions import stitch_sessions

    settings = Settings(least_confidence=least_confidence, crowd=crowd)
    table = read_identity_table(file, truth)
    if table.n_repeats:
        say(f"{table.n_repeats:,} lines repeat another in every column: left out")
    resolver = Resolver(settings)
    table.add_to(resolver)
    if not resolver.n_cookies:
        raise BadInput("cookie", "", "must be filled in some lines", "Export cookies or device ids.")
    compared = resolver.n_comparable() > 0 and not logins_only
    if compared:
        resolver.fit()
    identity, confidence, cookies = resolver.identities(), resolver.confidence(), resolver.cookies
    who = dict(zip(cookies.tolist(), identity.tolist(), strict=True))
    known = table.cookie > 0
    person = [who[number] for number in table.cookie[known].tolist()]
    links = resolver.links()
    result: dict[str, Any] = {
        "events": int(table.hour.size),
        "repeated_lines": table.n_repeats,
        "cookies": resolver.n_cookies,
        "shared_cookies": int(resolver.is_shared().sum()),
        "identities": len(set(who.values())),
        "sessions": int(stitch_sessions(person, table.hour[known]).max()) + 1,
        "links": {reason: sum(link.reason == reason for link in links) for reason in ("login", "evidence")},
        "evidence": _evidence(resolver) if compared else None,
        "clusters": _clusters(resolver, table, identity, confidence),
        "truth": None,
    }
    if truth is not None:
        result["truth"] = judge_identities(identity, table.person_of(cookies))._asdict()
    if as_json:
        print_json(result)
    else:
        _print(result)


def _evidence(resolver: Any) -> dict[str, Any]:
    """What evidence is worth, and from what that was found."""
    from gaelp.journeys.identity import COMPARISONS

    model = resolver.model
    weights = model.weights / 0.6931471805599453
    return {
        "pairs": model.n_pairs,
        "same_by_login": model.n_same,
        "different_by_login": model.n_different,
        "prior": model.prior,
        "earned_confidence": None if model.earned >= 1.0 else model.earned,
        "checked_by_logins": model.n_same + model.n_different > 0,
        "weights_bits": {
            name: dict(zip(levels, weights[k, 1 : len(levels) + 1].tolist(), strict=True))
            for k, (name, levels) in enumerate(COMPARISONS.items())
        },
    }


def _clusters(resolver: Any, table: Any, identity: Any, confidence: Any) -> list[dict[str, Any]]:
    """Identities of several cookies, the largest first."""
    import numpy as np

    cookies = resolver.cookies
    order = np.argsort(identity, kind="stable")
    starts = np.flatnonzero(np.diff(identity[order], prepend=0))
    found = []
    for rows in np.split(order, starts[1:]):
        if rows.size < 2:
            continue
        aliases = resolver.aliases(int(cookies[rows[0]]))
        found.append(
            {
                "cookies": {
                    table.cookie_names[int(cookies[row])]: float(confidence[row])
                    for row in sorted(rows, key=lambda row: int(cookies[row]))
                },
                "logins": [table.login_names[number] for number in aliases["logins"]],
                "confidence": float(confidence[rows].min()),
            }
        )
    return sorted(found, key=lambda one: (-len(one["cookies"]), min(one["cookies"])))


def _print(result: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = out()

    def tell(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    links, evidence = result["links"], result["evidence"]
    tell(
        f"{result['events']:,} events of {result['cookies']:,} cookies: {result['identities']:,} identities,"
        f" {result['sessions']:,} sessions; {links['login']:,} links by login,"
        f" {links['evidence']:,} by evidence"
    )
    if result["shared_cookies"]:
        tell(f"{result['shared_cookies']:,} cookies were used by several logins and stay alone")
    if evidence is None:
        tell("evidence was not looked at: no two cookies came back to one address, or --logins-only")
    elif not evidence["checked_by_logins"]:
        tell("no pair has logins on both sides: what evidence claims could not be checked")
    elif evidence["earned_confidence"] is None:
        tell("logins do not show evidence to be right often enough, so it claims nothing")
    grid = Table(title="Largest identities", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("cookies", "logins", "confidence"):
        grid.add_column(name, justify="right" if name == "confidence" else "left")
    for one in result["clusters"][:_SHOWN]:
        # plain text: a cookie may look like markup
        cookies, logins = (Text("\n".join(one[name])) for name in ("cookies", "logins"))
        grid.add_row(cookies, logins, f"{one['confidence']:.3f}")
    if result["clusters"]:
        console.print(grid)
    if len(result["clusters"]) > _SHOWN:
        tell(f"and {len(result['clusters']) - _SHOWN:,} more; --json lists all")
    if result["truth"] is not None:
        real = result["truth"]
        tell(
            f"against the truth: precision {show(real['precision'], '%')} of {real['claimed_pairs']:,} pairs"
            f" claimed, recall {show(real['recall'], '%')} of {real['true_pairs']:,};"
            f" {show(real['mixed_share'], '%')} of identities mix people"
        )
