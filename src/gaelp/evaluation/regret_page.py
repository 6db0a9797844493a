"""A regret map in words, as terminal tables and as one self-contained HTML page."""

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
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation import report_tables as tables
from gaelp.evaluation.heat_map import heat_map
from gaelp.evaluation.leaderboard import format_interval, format_value
from gaelp.evaluation.levers import Lever
from gaelp.evaluation.regret import Case, RegretMap
from gaelp.evaluation.report import assembled
from gaelp.evaluation.report_page import Page, reading, source

_SHOWN = 16
"""Levers in the chart and in the terminal's table; the page's table has all."""
_LISTED = 12
"""Levers named for each case, those that cost the agent most first; `result.json` has all."""
_PROFIT, _SHARE = "incremental_profit_usd", "spend_share"
_N_CELLS = 25


def sentences(found: RegretMap, agent: str, baseline: str) -> list[str]:
    """What was found, plainly: the confirmed losses, or how near the search came to one."""
    search, losses = found.search, [case for case in found.cases if case.loses]
    n_box, n_all = search.points, len(found.lead_usd)
    said = [
        f"{len(found.levers)} levers up to {search.reach:g} steps either way; {n_box} points fill the box,"
        f" {n_all - n_box} went where the lead of {agent} over {baseline} was expected to be least."
    ]
    below = int((found.lead_usd[:n_box] < 0).sum())
    said.append(
        f"Over the box {agent} leads by {_usd(found.lead_usd[:n_box].mean())} a world on average; at {below}"
        f" of {n_box} points it earned less, luck included."
    )
    if losses:
        worst = min(losses, key=lambda case: case.lead_usd.mean or 0.0)
        among_all = sum(case.loses_among_all for case in losses)
        said.append(
            f"Known failures: {len(losses)} of {len(found.cases)} cases lose on {search.confirm_worlds} fresh"
            f" worlds, clear of luck; the worst, {worst.name}, by"
            f" {_usd(worst.lead_usd.mean)} a world {_ends(worst)}. Where all {len(found.cases)} are asked at"
            f" once {among_all} of them do{'es' if among_all == 1 else ''} (Holm, 5 %)."
        )
    else:
        near = min(found.cases, key=lambda case: case.lead_usd.mean or 0.0)
        said.append(
            f"No case loses clear of luck on {search.confirm_worlds} fresh worlds; the nearest, {near.name},"
            f" has a lead of {_usd(near.lead_usd.mean)} a world {_ends(near)}."
        )
    return said


def effects_table(found: RegretMap) -> Table:
    """Levers by the size of their effect, for a terminal."""
    table = Table(
        title="What one step of a lever changes in the relative lead (95 %)",
        caption="* nonzero also where all levers are asked at once. Not in training worlds: o",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("lever", "factor at the ends", "effect of a step", ""):
        table.add_column(heading, justify="left" if heading == "lever" else "right")
    for i in _by_effect(found)[:_SHOWN]:
        lever, effect = found.levers[i], found.effects[i]
        mark = "*" * effect.clear + "o" * (not lever.in_spread)
        interval = format_interval(_effect(found, i), _SHARE)
        table.add_row(Text(lever.name), _factors(found, lever), interval, mark)
    return table


def cases_table(found: RegretMap, agent: str, baseline: str) -> Table:
    """Cases flown on fresh worlds, for a terminal."""
    table = Table(
        title=f"Expected profit a world on {found.search.confirm_worlds} fresh worlds (95 %)",
        caption="p: of no lead, where all cases are asked at once (Holm). * loses there too",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("case", agent, baseline, "lead", "relative", "in search", "p", ""):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for case in found.cases:
        table.add_row(
            Text(case.name),
            _usd(_profit(case, "agent")),
            _usd(_profit(case, "baseline")),
            format_interval(case.lead_usd.as_dict(), _PROFIT, "\n"),
            _share(case.relative),
            _share(case.searched),
            f"{case.p_holm:.2g}",
            "loses" * case.loses + "*" * case.loses_among_all,
        )
    return table


def render(head: Mapping[str, Any], found: RegretMap, agent: str, baseline: str) -> str:
    """Write the page.

    Args:
        head: as `report.report_head` gives it. found: the map. agent, baseline: their names.

    Returns:
        A whole HTML document; drawing code, styles and figures are inside.
    """
    page = Page(plain({**head, "summary": sentences(found, agent, baseline)}))
    sections = {
        "cases": ("Known failures", "The worst that was found, on fresh worlds", _cases),
        "map": ("Map", "Where regret lies", _map),
        "levers": ("Levers", "Which parameters matter", _levers),
    }
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>{build(page, found, agent, baseline)}</section>'
        for name, (_, title, build) in sections.items()
    )
    links = "".join(f'<a href="#{name}">{short}</a>' for name, (short, _, _) in sections.items())
    return assembled(page, str(head.get("title", "Regret map")), links, body)


def write(
    path: str | os.PathLike[str], head: Mapping[str, Any], found: RegretMap, agent: str, baseline: str
) -> None:
    """Render and write the page whole or not at all; see `render`."""
    write_text_atomic(path, render(head, found, agent, baseline))


def _cases(page: Page, found: RegretMap, agent: str, baseline: str) -> str:
    rows = [(case.name, case.lead_usd.as_dict(), "bad" if case.loses else "sim") for case in found.cases]
    figure = charts.forest(rows, x_title="USD a world", lines={"no difference": 0.0}, money=True)
    cells = [
        [
            escape(case.name),
            _usd(_profit(case, "agent")),
            _usd(_profit(case, "baseline")),
            _with_ends(case.lead_usd.as_dict()),
            _share(case.relative),
            _share(case.searched),
            _share(_spent(case, "agent")),
            _share(_spent(case, "baseline")),
            f"{case.p_value:.2g}",
            f"{case.p_holm:.2g}",
            _verdict(case),
        ]
        for case in found.cases
    ]
    head = [
        "case",
        agent,
        baseline,
        "lead",
        "relative lead",
        "in the search",
        f"{agent} spent",
        f"{baseline} spent",
        "p",
        "p among all",
    ]
    return (
        reading(f"A dot left of zero is a world in which {agent} earns less than {baseline}.")
        + page.chart(figure, f"Lead of {agent} over {baseline} in each case with its interval")
        + tables.table([*head, "verdict"], cells)
        + "<h3>What the cases turn</h3>"
        + tables.table(["case", "levers, as factors"], _turned(found), text=(1,))
        + source(
            f"simulation, {found.search.confirm_worlds} validation worlds that the search did not see, the"
            " same for all cases; profits of expected decisions; BCa intervals over worlds, each by itself;"
            " p of no lead by Student's t, among all cases by Holm; relative: as part of the budget and of"
            " what both sell"
        )
    )


def _turned(found: RegretMap) -> list[list[str]]:
    by_name = {lever.name: lever for lever in found.levers}
    order = {found.levers[i].name: place for place, i in enumerate(found.strongest)}
    rows = []
    for case in found.cases:
        names = sorted(case.steps, key=order.__getitem__)
        words = [f"{name} × {by_name[name].factor(case.steps[name]):.2g}" for name in names[:_LISTED]]
        words += [f"and {len(names) - _LISTED} more"] * (len(names) > _LISTED)
        rows.append([escape(case.name), escape(", ".join(words) or "none")])
    return rows


def _map(page: Page, found: RegretMap, agent: str, baseline: str) -> str:
    a, b = sorted(found.strongest[:2])
    return (
        reading(
            f"Where the surface is red {agent} is expected to earn less; the two levers are those that cost"
            " it most. On the left all other levers stand as stated, on the right at their worst."
        )
        + "<div class=grid>"
        + page.chart(
            _surface(found, a, b, np.zeros(len(found.levers)), points=True),
            "Expected lead over the two strongest levers, the others as stated",
            "<h4>All else as stated; dots are points flown</h4>",
        )
        + page.chart(
            _surface(found, a, b, found.surrogate.least(), points=False),
            "Expected lead over the two strongest levers, the others at their worst",
            "<h4>All else at its worst</h4>",
        )
        + "</div>"
        + source(
            f"surrogate fitted to {len(found.lead_usd)} points, each flown on {found.search.worlds} training"
            " world(s) of its own; dots hold luck, the surface less of it"
        )
    )


def _surface(found: RegretMap, a: int, b: int, others: Any, *, points: bool) -> charts.Figure:
    """Expected lead over two levers as a heat map, red below zero."""
    u = np.linspace(-1.0, 1.0, _N_CELLS)
    grid = np.tile(others, (_N_CELLS**2, 1))
    grid[:, a], grid[:, b] = np.tile(u, _N_CELLS), np.repeat(u, _N_CELLS)
    lead = found.surrogate.at(grid).reshape(_N_CELLS, _N_CELLS)
    reach = found.search.reach
    figure = heat_map(
        u * reach,
        u * reach,
        lead,
        title="relative lead",
        tick=".0%",
        hover="%{x:.1f}, %{y:.1f} steps: %{z:.1%}",
    )
    if points:
        figure["data"].append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": found.steps[:, a],
                "y": found.steps[:, b],
                "text": [_usd(lead) for lead in found.lead_usd],
                "cliponaxis": False,
                "marker": {
                    "size": 6,
                    "color": ["@bad" if lead < 0 else "@ground" for lead in found.lead_usd],
                    "line": {"color": "@ink", "width": 1},
                },
                "hovertemplate": "%{text}<extra>flown</extra>",
            }
        )
    for axis, lever in (("xaxis", a), ("yaxis", b)):
        title = f"{found.levers[lever].name}, steps"
        figure["layout"][axis] = charts.axis_style(title, showgrid=False, zeroline=False)
    return figure


def _levers(page: Page, found: RegretMap, agent: str, baseline: str) -> str:
    order = _by_effect(found)
    rows = [
        (found.levers[i].name, _percent(found, i), "sim" if found.effects[i].clear else "muted")
        for i in order[:_SHOWN]
    ]
    figure = charts.forest(rows, x_title="% of budget and sales, per step", lines={"no effect": 0.0})
    worst = found.surrogate.least() * found.search.reach
    gains = found.surrogate.gains(found.surrogate.least()[None])[0]
    cells = [
        [
            escape(found.levers[i].name),
            escape(_factors(found, found.levers[i])),
            "yes" if found.levers[i].in_spread else "no",
            _with_ends(_effect(found, i), _SHARE),
            "yes" if found.effects[i].clear else "",
            f"× {found.levers[i].factor(float(worst[i])):.3g}",
            _share(gains[i]),
        ]
        for i in order
    ]
    head = [
        "lever",
        "factor at the ends",
        "in training worlds",
        "effect of a step",
        "clear",
        "worst at",
        "there",
    ]
    return (
        reading(
            "A step is one standard deviation of what training worlds draw, so effects can be compared; those"
            " in colour are nonzero also where all levers are asked at once."
        )
        + page.chart(figure, f"Effect of one step of each lever on the lead of {agent} over {baseline}")
        + tables.table(head, cells)
        + source(
            f"least squares over the {found.search.points} points that fill the box; intervals of 95 %, each"
            " by itself; “there” is what the lever alone is expected to change at its worst, by the surrogate"
        )
    )


def _by_effect(found: RegretMap) -> list[int]:
    return sorted(range(len(found.levers)), key=lambda i: -abs(found.effects[i].mean))


def _effect(found: RegretMap, i: int) -> dict[str, float | None]:
    effect = found.effects[i]
    return {"mean": effect.mean, "low": effect.low, "high": effect.high}


def _percent(found: RegretMap, i: int) -> dict[str, float | None]:
    return {end: None if value is None else 100 * value for end, value in _effect(found, i).items()}


def _factors(found: RegretMap, lever: Lever) -> str:
    return f"{lever.factor(-found.search.reach):.2g} to {lever.factor(found.search.reach):.2g}"


def _verdict(case: Case) -> str:
    low, high = case.lead_usd.low, case.lead_usd.high
    if low is None or high is None:
        return "not determined"
    if case.loses:
        return f'<b class="bad">loses</b>{"" if case.loses_among_all else " by itself"}'
    return '<b class="good">leads</b>' if low > 0 else "no difference shown"


def _with_ends(interval: Mapping[str, float | None], metric: str = _PROFIT) -> str:
    value, _, ends = format_interval(interval, metric, "\n").partition("\n")
    return f"{escape(value)}<small>{escape(ends)}</small>"


def _ends(case: Case) -> str:
    return format_interval(case.lead_usd.as_dict(), _PROFIT, "|").partition("|")[2]


def _profit(case: Case, who: str) -> float:
    return case.figures[f"{who}_sales_usd"] - case.figures[f"{who}_spend_usd"]


def _spent(case: Case, who: str) -> float:
    return case.figures[f"{who}_spend_usd"] / max(case.figures["budget_usd"], 1e-9)


def _share(value: float) -> str:
    return format_value(float(value), _SHARE)


def _usd(value: float | None) -> str:
    return format_value(None if value is None else float(value), _PROFIT)
