"""What discovery found as a page for people: one HTML file that needs no network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from gaelp.core.files import write_text_atomic
from gaelp.data.discovery.found import Discovered

_STYLE: Final = """body{font:15px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;
color:#222}
table{border-collapse:collapse;margin:.5em 0 1.5em}td,th{padding:.2em .8em;text-align:right;
border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
.bar{display:inline-block;width:13em;text-align:left}.bar i{display:inline-block;height:.7em;
background:#4a7ebb}.unknown{color:#a33}"""
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def write(path: Path, found: Discovered) -> None:
    """Write the page whole or not at all."""
    write_text_atomic(path, render(found))


def render(found: Discovered) -> str:
    """The page; what is unknown is said with its reason."""
    data = found.data
    horizon = f"{data['horizon_days']:g} days"
    buys = f"buys within {horizon}"
    source = data["source"]
    sections = [
        ("Segments", _segments(data["segments"], buys)),
        ("Channels", _channels(data["channels"])),
        ("Paths", _rates(data["journeys"]["paths"], "path", "path", buys)),
        ("Journeys by touches", _rates(data["journeys"]["by_touches"], "touches", "touches", buys)),
        ("Devices", _rates([_flat(each) for each in data["devices"]], "device", "first device", buys)),
        ("Hours", _rhythm(data["rhythm"]["hour"], "hour", [f"{i}:00" for i in range(24)])),
        ("Weekdays", _rhythm(data["rhythm"]["weekday"], "weekday", _WEEKDAYS)),
        ("From the first touch to a purchase", _lag(data["lags"]["first_touch_to_purchase"])),
        ("From the last touch to a purchase", _lag(data["lags"]["last_touch_to_purchase"])),
        ("Patterns that convert", _patterns(data["patterns"])),
        ("Ad platforms", _ads(data["ads"])),
        ("What these data cannot tell", _list(data["not_told"])),
    ]
    body = "".join(f"<h2>{escape(title)}</h2>{html}" for title, html in sections)
    head = (
        f"<h1>Discovered patterns</h1><p>{source['visitors']:,} visitors and {source['purchases']:,}"
        f" purchases, {escape(source['first_at'][:10])} to {escape(source['last_at'][:10])}; hours in"
        f" {escape(data['time_zone']['name'])}. Of visitors {_share(data['visitors']['conversion'])}"
        f" buy within {horizon} of their first touch. In brackets: 95 % intervals.</p>"
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Discovered patterns</title>'
        f"<style>{_STYLE}</style></head><body>{head}{body}</body></html>\n"
    )


def _segments(told: dict[str, Any], buys: str) -> str:
    if "unknown" in told:
        return _unknown(told)
    rows = [
        (
            each["name"],
            f"{each['visitors']:,}",
            f"{each['share']['share']:.1%}",
            f"{each['jaccard']:.2f}",
            _share(each["conversion"]),
        )
        for each in told["items"]
    ]
    return _table(("segment", "visitors", "share", "stability", buys), rows)


def _channels(told: Sequence[dict[str, Any]]) -> str:
    parts = ("journeys_begun_by_it", "journeys_last_touched_by_it", "journeys_with_it")
    rows = [
        (each["channel"], f"{each['touches']:,}", *(_share(each[part]) for part in parts)) for each in told
    ]
    return _table(("channel", "touches", "begun by it buy", "last touched by it buy", "with it buy"), rows)


def _rates(told: Sequence[dict[str, Any]], key: str, heading: str, buys: str) -> str:
    rows = []
    for each in told:
        name = " › ".join(each[key]) if isinstance(each[key], list) else str(each[key] or "not told")
        rows.append((name, f"{each['n']:,}", _share(each)))
    return _table((heading, "n", buys), rows)


def _rhythm(told: Sequence[dict[str, Any]], key: str, names: Sequence[str]) -> str:
    most = max((each["touches"]["share"] or 0.0 for each in told), default=0.0) or 1.0
    rows = []
    for each in told:
        width = 12 * (each["touches"]["share"] or 0.0) / most
        bar = f'<span class="bar"><i style="width:{width:.2f}em"></i></span>'
        rows.append((names[each[key]], bar + _interval(each["touches"]), _interval(each["purchases"])))
    return _table((key, "touches", "purchases"), rows, raw=True)


def _lag(told: dict[str, Any]) -> str:
    if "unknown" in told:
        return _unknown(told)
    rows = [
        (
            _days(each["days"]) if each["days"] >= 1 else f"{24 * each['days']:.0f} h",
            each.get("unknown") or _interval(each),
        )
        for each in told["bought_within"]
    ]
    within = told["of_those_who_buy"]
    html = _table(("within", "have bought"), rows)
    if "unknown" in within:
        return html + _unknown(within)
    rows = [
        (f"{each['p']:.0%}", f"{each['days']:.2f} days ({each['low']:.2f} to {each['high']:.2f})")
        for each in within["quantiles"]
    ]
    return html + _table((f"of those who buy within {within['within_days']:g} days", "have by"), rows)


def _days(days: float) -> str:
    return "1 day" if days == 1 else f"{days:g} days"


def _patterns(told: dict[str, Any]) -> str:
    if "unknown" in told:
        return _unknown(told)
    rows = [
        (
            ", ".join(f"{name} {value:g}" for name, value in each["features"].items()),
            f"{each['conversion']['n']:,}",
            _share(each["conversion"]),
        )
        for each in told["items"]
    ]
    return f"<p>All journeys: {_share(told['usual'])}.</p>" + _table(("like", "journeys", "buy"), rows)


def _ads(told: dict[str, Any]) -> str:
    if "unknown" in told:
        return _unknown(told)
    names = ("impressions", "clicks", "conversions", "touches")
    rows = []
    for each in told["channels"]:
        lacking = ", ".join(f"{name} in {n:,}" for name, n in each.get("rows_lacking", {}).items())
        rows.append(
            (
                each["channel"],
                *("not told" if each[name] is None else f"{each[name]:,.0f}" for name in names),
                "n/a" if each["click_rate"] is None else _interval(each["click_rate"]),
                f"{lacking} of {each['rows']:,}" if lacking else "none",
            )
        )
    return _table(("channel", *names, "clicks per impression", "rows that do not tell"), rows)


def _flat(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, **told["conversion"]}


def _share(told: dict[str, Any]) -> str:
    return "n/a" if told["rate"] is None else _interval({**told, "share": told["rate"]})


def _interval(told: dict[str, Any]) -> str:
    if told["share"] is None:
        return "n/a"
    if told["low"] is None:
        return f"{told['share']:.2%}"
    return f"{told['share']:.2%} ({told['low']:.2%} to {told['high']:.2%})"


def _unknown(told: dict[str, Any]) -> str:
    return f'<p class="unknown">Unknown: {escape(told["unknown"])}.</p>'


def _list(told: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(each)}</li>" for each in told) + "</ul>"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, raw: bool = False) -> str:
    """A table; cells are text unless `raw`."""
    if not rows:
        return '<p class="unknown">Unknown: too few to tell.</p>'
    head = "".join(f"<th>{escape(each)}</th>" for each in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell if raw else escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
