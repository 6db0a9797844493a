"""What `understanding.py` found, as terminal tables and as one self-contained HTML page."""

import os
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from gaelp.core.files import write_text_atomic
from gaelp.core.plain import plain
from gaelp.core.words import LINES
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation import report_tables as tables
from gaelp.evaluation.heat_map import heat_map
from gaelp.evaluation.intervals import Interval
from gaelp.evaluation.leaderboard import format_interval, format_value
from gaelp.evaluation.report import assembled
from gaelp.evaluation.report_page import Page, reading, source
from gaelp.evaluation.understanding import Understanding

_USD, _SHARE, _RATE = "incremental_profit_usd", "spend_share", "roas"
_ONE_PART = ("without landing pages", "without line factors", "default step and aim")
_WEEKDAYS = list(charts.WEEKDAYS)


def sentences(found: Understanding) -> list[str]:
    """The answers in a few sentences."""
    agent, other = found.agent, "pacing"
    more = found.share(agent) - found.share(other)
    most, least = int(np.argmax(more)), int(np.argmin(more))
    worst = min(_ONE_PART, key=lambda name: found.ablations[name].mean or 0.0)
    told = ", ".join(f"{seen.told_share:.2f} for {name}" for name, seen in found.seen.items())
    said = [
        f"Against {other}, {agent} moves most of its money from {LINES[least].name}"
        f" ({100 * more[least]:+.1f} % of all spend) to {LINES[most].name} ({100 * more[most]:+.1f} %).",
        f"Of its parts, {worst} costs most: {_interval(found.ablations[worst], _USD)} a world.",
        "What was won is worth this many times the incremental sales that came of it, by the value model: "
        f"{told}.",
    ]
    if found.slope.mean is not None:
        said.append(
            f"Learnt and true worth of lines: slope {_interval(found.slope, _RATE)} in logs,"
            f" R² {found.explained:.3f}."
        )
    return said


def lines_table(found: Understanding, seed: int = 0) -> Table:
    """Share of spend and worth of a dollar by line and policy, for a terminal."""
    table = Table(title="Share of spend, and expected USD back for each", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("line")
    for policy in found.seen:
        table.add_column(policy, justify="right", no_wrap=True)
        table.add_column("back", justify="right", no_wrap=True)
    for i, line in enumerate(LINES):
        cells = []
        for policy, seen in found.seen.items():
            back = seen.worth_per_dollar(i, seed)
            cells += [_percent(found.share(policy)[i]), _number(back.mean)]
        table.add_row(Text(line.name.replace("_", " ")), *cells)
    return table


def parts_table(found: Understanding) -> Table:
    """Ablations and what the agent is compared with, for a terminal."""
    table = Table(title="Expected profit a world, USD (95 %)", box=box.SIMPLE_HEAD)
    for heading in ("flown", "profit", f"less {found.agent}"):
        table.add_column(heading, justify="left" if heading == "flown" else "right")
    for name, profit in found.profits.items():
        less = found.ablations.get(name)
        table.add_row(name, _interval(profit, _USD), "" if less is None else _interval(less, _USD))
    return table


def values_table(found: Understanding) -> Table:
    """Learnt and true worth by line, for a terminal."""
    table = Table(title="USD that a click (search) or 1000 impressions are worth", box=box.SIMPLE_HEAD)
    for heading in ("line", "learnt", "true", "while it flies"):
        table.add_column(heading, justify="left" if heading == "line" else "right", no_wrap=heading != "line")
    for value in found.values:
        table.add_row(
            Text(value.line.replace("_", " ")),
            f"{value.learnt_usd:.2f}",
            _interval(value.true_usd, _RATE),
            _number(value.own_flight_usd.mean),
        )
    return table


def render(head: Mapping[str, Any], found: Understanding, flown: str, seed: int = 0) -> str:
    """Write the page.

    Args:
        head: as `report.report_head` gives it. found: what to show. flown: what was flown, in words.
        seed: names resamples.

    Returns:
        A whole HTML document; drawing code, styles and figures are inside.
    """
    page = Page(plain({**head, "summary": sentences(found)}))
    drawn = {
        "spend": ("Spend", "Where it spends otherwise", _spend(page, found)),
        "dollar": ("Dollars", "What each line's dollar brings", _dollars(page, found, seed)),
        "parts": ("Parts", "Which parts it owes it to", _parts(page, found)),
        "values": ("Values", "Whether its values are true", _values(page, found)),
    }
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>{text}{source(f"simulation, {flown}")}</section>'
        for name, (_, title, text) in drawn.items()
    )
    links = "".join(f'<a href="#{name}">{short}</a>' for name, (short, _, _) in drawn.items())
    return assembled(page, str(head.get("title", "Understanding")), links, body)


def write(
    path: str | os.PathLike[str], head: Mapping[str, Any], found: Understanding, flown: str, seed: int = 0
) -> None:
    """Render and write the page whole or not at all; see `render`."""
    write_text_atomic(path, render(head, found, flown, seed))


def _spend(page: Page, found: Understanding) -> str:
    names = [line.name.replace("_", " ") for line in LINES]
    plots = ""
    for policy in found.seen:
        if policy == found.agent:
            continue
        for by_day, ticks, words in ((False, list(range(24)), "hour of day, UTC"), (True, _WEEKDAYS, "")):
            more = 100.0 * found.more_spend(policy, by_day=by_day)
            figure = heat_map(
                ticks, names, more, title="% of spend", tick=".1f", hover="%{y}, %{x}: %{z:+.2f} %"
            )
            figure["layout"] |= {
                "height": 520,
                "xaxis": charts.axis_style(words, showgrid=False, zeroline=False, tickangle=0),
                "yaxis": charts.axis_style("", showgrid=False, zeroline=False, autorange="reversed"),
            }
            when = "weekday" if by_day else "hour of day"
            heading = f"<h4>{escape(found.agent)} less {escape(policy)}, by {when}</h4>"
            plots += page.chart(figure, f"Spend of {found.agent} less {policy} by line and {when}", heading)
    return (
        reading(
            f"Blue cells are where {found.agent} spends a larger part of its money, red ones where a smaller."
        )
        + f"<div class=grid>{plots}</div>"
    )


def _dollars(page: Page, found: Understanding, seed: int) -> str:
    head = ["line"]
    for policy in found.seen:
        head += [f"{policy}: share of spend", "back per $"]
    cells = []
    for i, line in enumerate(LINES):
        row = [escape(line.name.replace("_", " "))]
        for policy, seen in found.seen.items():
            back = seen.worth_per_dollar(i, seed)
            row += [_percent(found.share(policy)[i]), _cell(back, _RATE)]
        cells.append(row)
    return (
        reading(
            "More than a dollar back for each means that the line pays. These are averages: under one budget"
            " it is the last dollar that should bring the same everywhere."
        )
        + tables.table(head, cells)
        + '<p class="note">Expected worth of what was won in every fifth hour over what it cost; by e-mail'
        " nothing is won in auctions.</p>"
    )


def _parts(page: Page, found: Understanding) -> str:
    rows = [
        (name, less.as_dict(), page.colours.policy(name) if name in found.seen else "sim")
        for name, less in found.ablations.items()
        if name not in found.seen
    ]
    figure = charts.forest(rows, x_title="USD a world", lines={"no difference": 0.0}, money=True)
    cells = [
        [
            escape(name),
            _cell(profit, _USD),
            _cell(found.ablations[name], _USD) if name in found.ablations else "",
        ]
        for name, profit in found.profits.items()
    ]
    return (
        reading(
            "A dot left of zero is what leaving the part out costs, on the same worlds with the same luck."
        )
        + page.chart(figure, f"Expected profit of each ablation less {found.agent}")
        + tables.table(["flown", "expected profit", f"less {found.agent}"], cells, narrow=True)
    )


def _values(page: Page, found: Understanding) -> str:
    shown = [v for v in found.values if v.learnt_usd > 0 and (v.true_usd.mean or 0.0) > 0]
    x = [value.learnt_usd for value in shown]
    y = [value.true_usd.mean or 0.0 for value in shown]
    low, high = charts.span_of([*x, *y], log=True)
    search = [value.line.startswith("search") for value in shown]
    data = [charts.line_trace([low, high], [low, high], "learnt = true", "ink", "dot", 1.5)]
    for name, is_search, colour in (("a click, search", True, "p0"), ("1000 impressions", False, "p1")):
        at = [i for i in range(len(shown)) if search[i] == is_search]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [x[i] for i in at],
                "y": [y[i] for i in at],
                "text": [charts.label(shown[i].line) for i in at],
                "marker": {"size": 10, "color": f"@{colour}"},
                "hovertemplate": "%{text}: learnt $%{x:.2f}, true $%{y:.2f}<extra></extra>",
            }
        )
    layout = charts.layout_of(
        400,
        xaxis=charts.axis_style("learnt, USD", **charts.log_range(low, high)),
        yaxis=charts.axis_style("true here, USD", **charts.log_range(low, high)),
    )
    cells = [
        [
            escape(value.line.replace("_", " ")),
            f"${value.learnt_usd:.2f}",
            _cell(value.true_usd, _RATE),
            _cell(value.own_flight_usd, _RATE),
        ]
        for value in found.values
    ]
    head = ["line", "learnt", "true under target_cpa", "true while it flies itself"]
    return (
        reading(
            "Points on the dotted line are valued as they are; above it a line is worth more than learnt."
        )
        + page.chart({"data": data, "layout": layout}, "Learnt and true worth of each line")
        + tables.table(head, cells)
        + '<p class="note">USD that a click (search) or 1000 impressions (elsewhere) bring, on the agent’s'
        f" landing pages. Slope of the logs {_interval(found.slope, _RATE)}, R² {found.explained:.3f}.</p>"
    )


def _interval(interval: Interval, metric: str) -> str:
    return format_interval(interval.as_dict(), metric)


def _cell(interval: Interval, metric: str) -> str:
    value, _, ends = format_interval(interval.as_dict(), metric, "\n").partition("\n")
    return f"{escape(value)}<small>{escape(ends)}</small>"


def _percent(share: float) -> str:
    return format_value(float(share), _SHARE)


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
