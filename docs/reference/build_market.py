"""Write docs/reference/market.md from the market file, so that the table cannot be older than the file.

Parameters come from the file; the fields of a person, of a seat's memory, of a decision and of an event are
told here, and the page is refused where `market/state.py` has other fields.

python docs/reference/build_market.py            # writes it
python docs/reference/build_market.py --check    # exits 1 where it is out of date
"""

import sys
from pathlib import Path

import numpy as np

from gaelp.market.file import MarketFile, load
from gaelp.market.parameters import PARAMETERS, axis_names
from gaelp.market.state import DECISION, EVENT, MEMORY, PERSON

HERE = Path(__file__).parent
HEAD = """\
# The market's parameters

Made by `python docs/reference/build_market.py` from `markets/family_safety.toml`; why the market has this
shape is told in [hour.md](hour.md). Strength: **A** a measured log or randomised trial, **B** a large
vendor's benchmark, **C** a weak source, *assumed* no public measurement exists. **Solved** values were found
by `markets/solve.py` with untrained policies so that the targets below hold; all others stand as published or
as assumed, and the file's hash is frozen in `markets/SHA256SUMS`.

"""
VISIBILITY = """
`gaelp.platforms.reporting` applies it: `user` shows each event with the cookie or login that the person
allows, `aggregate` only counts, `never` nothing. Spend is the account's own and known at once. Flipping a
cell changes what is shown and nothing else (tested).
"""
FIELDS_HEAD = """
## What the market keeps of people

The records of `src/gaelp/market/state.py`, one table each. All of it is truth: no policy reads a field. An
advertiser meets some fields through what they do, and the last column says how. An hour counts from the
world's first; an hour that is never is -1 or far below 0. A channel, stage or line is a code of
`src/gaelp/core/words.py`, and 255 stands for none.
"""
TRUTH = "truth"
AUDIENCE = "truth; makes the audience of the seat's lines"
REPORTED = "truth; counted by line when it is booked, where there was a click"

Field = tuple[str, str, str]
"""Unit, meaning, who can see it."""

PERSON_FIELDS: dict[str, Field] = {
    "visited": ("bits", "bit b: brand b knows this person as a visitor", TRUTH),
    "need": ("relative", "need for the category today, season included", TRUTH),
    "urgency": ("relative", "what trigger events have added and not yet faded", TRUTH),
    "activity": ("relative, mean 1", "factor on feed visits, searches and direct visits", TRUTH),
    "attention": ("relative, 0.7 to 1.3", "factor on the chance that an impression is seen", TRUTH),
    "affinity": ("sessions a day, 3 feeds", "visits to social, video and display at activity 1", TRUTH),
    "last_contact": (
        "hour",
        "newest search, click, visit, opened mail, trigger event, or return as a customer",
        TRUTH,
    ),
    "journey_start": ("hour", "first contact of the open journey, -1 where none is open", TRUTH),
    "generation": ("count", "people who lived in this slot before", TRUTH),
    "n_touches": ("count", "clicks, visits, opened mails and decisions with a seat in this journey", TRUTH),
    "stage": ("code", "how far the person has come", TRUTH),
    "segment": ("code", "segment of today: the first one while a trigger event is urgent", TRUTH),
    "home_segment": ("code", "segment drawn at entry", TRUTH),
    "owner": ("brand", "brand bought: -1 none, seats from 0, then rivals", TRUTH),
    "region": ("0 to 99", "where the person lives", "truth; a seat may bid by region"),
    "devices": (
        "bits",
        "0-2 owns mobile, desktop, tablet; 3-5 allows tracking on them; 6 known by login",
        AUDIENCE,
    ),
    "rhythm": ("hours", "shift of the daily rhythm", TRUTH),
    "ring_at": ("count", "place of the next touchpoint in `touches`, modulo its length", TRUTH),
    "first_channel": ("code", "channel of the journey's first touchpoint with a seat", TRUTH),
    "last_channel": ("code", "channel of the newest touchpoint with a seat", TRUTH),
    "ln_need": ("log", "need before season, which drifts from night to night", TRUTH),
    "price_sensitivity": ("relative", "factor on the utility lost by price", TRUTH),
    "exit_day": ("day", "midnight at which somebody else takes the slot", TRUTH),
    "decision_hour": ("hour", "newest decision, for any brand", TRUTH),
    "book_hour": ("hour", "when that decision is booked", TRUTH),
    "touches": (
        "packed codes",
        "newest searches, clicks, visits (rivals' too), impressions of a seat, opened mails and decisions: "
        "from the highest bit hour (19 bits), brand or query class (6), kind (3), channel (4)",
        TRUTH,
    ),
}
MEMORY_FIELDS: dict[str, Field] = {
    "views": ("views, by creative", "recent views of each creative, fading by the night", TRUTH),
    "last_visit": ("hour", "newest visit to the seat's site", AUDIENCE),
    "last_mail": ("hour", "newest message sent", TRUTH),
    "last_click": ("hour", "newest click on an ad or a mail of the seat", TRUTH),
    "seen": (
        "count",
        "impressions won since the person came, viewed or not",
        "truth; the seat's reports hold the sum",
    ),
    "last_line": ("code", "line of the newest click", TRUTH),
    "cookies": ("bits", "bit d: the seat's cookie lives on device d", AUDIENCE),
    "visits": ("count", "visits, counted anew after thirty days without one", AUDIENCE),
    "mail": ("code", "0 no address, 1 subscribed, 2 unsubscribed", AUDIENCE),
}
DECISION_FIELDS: dict[str, Field] = {
    "value_micros": ("USD micros", "what the customer is worth, by segment", TRUTH),
    "visitor": ("number", "the seat's cookie on the device in use, 0 if not allowed", "shown with the sale"),
    "login": ("number", "the address given to the seat, 0 if not logged in", "shown with the sale"),
    "hour": ("hour", "when it was decided", TRUTH),
    "book_hour": ("hour", "when it is booked", REPORTED),
    "person": ("index", "who", TRUTH),
    "journey_hours": ("hours", "from the journey's first contact to the decision", TRUTH),
    "generation": ("count", "which inhabitant of the slot", TRUTH),
    "n_touches": ("count", "as the person had them, the decision included", TRUTH),
    "click_hour": ("hour", "the seat's newest click before the decision", TRUTH),
    "brand": ("seat", "whose product", REPORTED),
    "segment": ("code", "segment at the decision", TRUTH),
    "line": ("code", "line of that click if it is at most 30 days old, else 255", REPORTED),
    "device": ("code", "device in use: 0 mobile, 1 desktop, 2 tablet", TRUTH),
    "region": ("0 to 99", "where the person lives", TRUTH),
    "first_channel": ("code", "as the person had it", TRUTH),
    "last_channel": ("code", "as the person had it", TRUTH),
    "ring_at": ("count", "as the person had it", TRUTH),
    "touches": ("packed codes", "as the person had them", TRUTH),
}
EVENT_FIELDS: dict[str, Field] = {
    "visitor": ("random number", "the seat's cookie on this device, 0 where tracking is not allowed", TRUTH),
    "login": ("random number", "the address given to the seat, 0 where nobody is logged in", TRUTH),
    "hour": ("hour", "when it happened", TRUTH),
    "person": ("index", "who", TRUTH),
    "kind": ("code", "impression, click, visit or opened mail (`TouchKind`)", TRUTH),
    "channel": ("code", "where", TRUTH),
    "line": ("code", "line of the seat that brought it, 255 none", TRUTH),
    "device": ("code", "device in use: 0 mobile, 1 desktop, 2 tablet", TRUTH),
    "region": ("0 to 99", "where the person lives", TRUTH),
    "seat": ("seat", "whose", TRUTH),
}
RECORDS: dict[str, tuple[str, np.dtype[np.void], dict[str, Field]]] = {
    "PERSON": ("one a person", PERSON, PERSON_FIELDS),
    "MEMORY": ("one a person and external seat", MEMORY, MEMORY_FIELDS),
    "DECISION": ("one a decision for an external seat's product", DECISION, DECISION_FIELDS),
    "EVENT": ("one a thing that happened between a person and a seat, where logged", EVENT, EVENT_FIELDS),
}


def cells(file: MarketFile, name: str, axes: tuple[str, ...]) -> str:
    """A parameter's value in words."""
    value = file.parameters[name].value
    if value.ndim == 0:
        return f"{float(value):.5g}"
    names = axis_names(axes[0], file.segments)
    if value.ndim == 1:
        return ", ".join(f"{key} {v:.4g}" for key, v in zip(names, value, strict=True))
    rows = ["/".join(f"{v:.3g}" for v in row) for row in np.asarray(value)]
    return "; ".join(f"{key} {row}" for key, row in zip(names, rows, strict=True))


def heading(*columns: str) -> list[str]:
    """The first two rows of a table."""
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]


def record(name: str) -> list[str]:
    """The table of one record; raises ValueError where `state.py` has other fields than are told here."""
    about, dtype, told = RECORDS[name]
    if tuple(told) != dtype.names:
        missing = sorted(set(dtype.names or ()) ^ set(told)) or "the same fields in another order"
        raise ValueError(f"{name} of market/state.py and build_market.py differ: {missing}")
    lines = ["", f"### `{name}`: {about}", "", *heading("field", "unit", "meaning", "who can see it")]
    return lines + [f"| `{field}` | {' | '.join(cell)} |" for field, cell in told.items()]


def page(file: MarketFile) -> str:
    """The whole page."""
    lines = [HEAD, *heading("parameter", "what", "value", "unit", "range", "strength", "source")]
    for p in PARAMETERS:
        stated = file.parameters[p.name]
        strength = stated.strength + (", **solved**" if stated.solved else "")
        row = (
            f"`{p.name}`", p.about, cells(file, p.name, p.axes), stated.unit,
            f"{stated.low:g} to {stated.high:g}", strength, stated.source,
        )  # fmt: skip
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |")
    lines += ["", "## Targets", "", *heading("statistic", "band", "unit", "source")]
    for t in file.targets.values():
        lines.append(f"| `{t.name}` | {t.low:g} to {t.high:g} | {t.unit} | {t.source} |")
    columns = ("name", "strategy", "strength", "prior", "quality", "price", "USD a day per 1,000 people")
    lines += ["", "## Rivals", "", *heading(*columns)]
    for r in file.rivals:
        lines.append(
            f"| {r.name} | {r.strategy} | {r.strength:g} | {r.prior:g} | {r.quality:g} | {r.price_index:g} "
            f"| {r.budget_usd_per_1000:g} |"
        )
    lines += ["", "## How much held-out worlds differ", ""]
    lines += heading("parameter", "sigma of the log-normal factor")
    lines += [f"| `{name}` | {sigma:g} |" for name, sigma in file.spread.items()]
    lines += ["", "## What reaches the advertiser", VISIBILITY]
    lines += heading("channel", "event", "sight", "delay, hours")
    for channel, events in file.visibility.items():
        for event, (sight, delay) in events.items():
            lines.append(f"| {channel} | {event} | {sight} | {delay:g} |")
    lines.append(FIELDS_HEAD.rstrip())
    for name in RECORDS:
        lines += record(name)
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or compare it with what is there."""
    text = page(load(HERE.parents[1] / "markets" / "family_safety.toml"))
    path = HERE / "market.md"
    if "--check" in sys.argv:
        return int(not path.is_file() or path.read_text() != text)
    path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
