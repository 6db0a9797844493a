"""The report's charts as plain Plotly figures: dictionaries, no drawing here.

A colour is a token such as `@sim` or `@p0/0.3`: the page resolves it against its CSS
variables, so one figure serves light, dark and print. Every name that comes from data is
escaped here, because Plotly reads a small HTML of its own in labels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

Figure = dict[str, Any]
Number = float | None

N_POLICY_COLOURS = 7
N_CHANNEL_COLOURS = 8
DASHES = ("solid", "dash", "dot", "dashdot")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MOST_LOG_TICKS = 6
_DOLLARS = {"tickformat": "$,~f"}
_DIAMOND = {
    "symbol": "diamond",
    "size": 9,
    "color": "@ground",
    "opacity": 1,
    "line": {"color": "@ink", "width": 1.8},
}
# names that keep their colour from one report to the next; others take the next free one
_KNOWN_POLICIES = ("static_lines", "pacing", "fixed", "line_oracle", "random", "informed", "clairvoyant")


class Colours:
    """One colour for each policy and for each channel, the same in every section.

    >>> colours = Colours(policies=["pacing", "mine"], channels=["search"])
    >>> colours.policy("pacing"), colours.policy("mine"), colours.channel("search")
    ('p1', 'p0', 'c0')
    """

    def __init__(self, policies: Iterable[str], channels: Iterable[str]) -> None:
        policies = list(dict.fromkeys(policies))
        fixed = {name: slot for slot, name in enumerate(_KNOWN_POLICIES) if name in policies}
        free = [slot for slot in range(N_POLICY_COLOURS) if slot not in fixed.values()] or [0]
        others = [name for name in policies if name not in fixed]
        self._policies = fixed | {name: free[i % len(free)] for i, name in enumerate(others)}
        self._channels = {name: i % N_CHANNEL_COLOURS for i, name in enumerate(dict.fromkeys(channels))}

    def policy(self, name: str) -> str:
        """The CSS variable of a policy, without its dashes."""
        return f"p{self._policies[name]}"

    def channel(self, name: str) -> str:
        """The CSS variable of a channel; a node like `search first` takes that of `search`."""
        if "convert" in name.lower():
            return "sim"
        for known, slot in sorted(self._channels.items(), key=lambda item: -len(item[0])):
            if known.lower() in name.lower():
                return f"c{slot}"
        return "muted"


def label(name: object, longest: int = 32) -> str:
    """A name as a chart label: middle cut out where too long, escaped.

    >>> label("<b>search</b>")
    '&lt;b&gt;search&lt;/b&gt;'
    """
    text = str(name)
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[-(longest // 2) :]}"
    return escape(text, quote=False)


def forest(
    rows: Sequence[tuple[str, Mapping[str, Number], str]],
    *,
    x_title: str,
    lines: Mapping[str, Number] | None = None,
    claims: Sequence[Number] = (),
    money: bool = False,
    cost: bool = False,
) -> Figure:
    """A dot and its interval for each name, in the order given from the top.

    Args:
        rows: (name, {"mean", "low", "high"}, colour variable).
        x_title: what the axis shows, with its unit.
        lines: reference lines, name -> position.
        claims: a second figure for each row, drawn as an open diamond.
        money: ticks are dollars.
        cost: a log axis where the figures span much; an interval that runs past twice
            the largest figure, or has no upper end, leaves the plot with an arrow.
    """
    references = {name: at for name, at in (lines or {}).items() if at is not None}
    points = [v for v in (*(interval["mean"] for _, interval, _ in rows), *claims) if v is not None]
    ends = [v for _, interval, _ in rows for v in (interval["low"], interval["high"]) if v is not None]
    if cost and points:
        ends = [end for end in ends if end <= 2 * max(points)]
    shown = [*points, *ends, *references.values()]
    log = cost and bool(points) and min(shown) > 0 and max(points) > 6 * min(points)
    low, high = span_of(shown, log)
    axis = axis_style(x_title, zeroline=False, **(_DOLLARS if money else {}))
    axis |= log_range(low, high) if log else {"range": [low, high]}
    data = [_dot_and_interval(row, y, high) for y, row in enumerate(rows)]
    data += [
        _claim(name, claim, y, colour)
        for y, ((name, _, colour), claim) in enumerate(zip(rows, claims, strict=False))
        if claim is not None
    ]
    notes = [
        note(label(name, 40), math.log10(at) if log else at, 1, yanchor="bottom", yref="paper")
        for name, at in references.items()
    ]
    notes += [
        note("undefined", 0.02, y, xref="paper", xanchor="left")
        for y, (_, interval, _) in enumerate(rows)
        if interval["mean"] is None
    ]
    layout = layout_of(
        64 + 46 * len(rows) + (18 if references else 0),
        xaxis=axis,
        yaxis=rows_axis([name for name, _, _ in rows]),
        showlegend=False,
        margin={"t": 30 if references else 8},
        shapes=[vertical(at) for at in references.values()],
        annotations=notes,
    )
    return {"data": data, "layout": layout}


def spend_by_hour(
    hours: list[Any], spend: list[Number], plan: list[Number] | None, colour: str, top: float
) -> Figure:
    """One policy's mean spend by hour of day as bars, its plan as a line."""
    data = [_bars(hours, spend, "spent", colour)]
    if plan:
        data.append(line_trace(hours, plan, "planned", "ink", dash="dot", width=2, hover="$%{y:,.2f}"))
    return {
        "data": data,
        "layout": layout_of(
            210,
            xaxis=axis_style("hour of day (UTC)", dtick=6, range=[-0.7, 23.7], showgrid=False),
            yaxis=axis_style("USD per hour", **_DOLLARS, range=[0, top * 1.08], nticks=5),
            bargap=0.25,
        ),
    }


def spend_by_day(series: Mapping[str, tuple[list[Any], list[Number], Number, str]]) -> Figure:
    """Spend by day, one line per policy; equal budgets are one dashed line."""
    data = [
        line_trace(days, spend, name, colour, dash=DASHES[i % 4], hover="$%{y:,.2f}")
        for i, (name, (days, spend, _, colour)) in enumerate(series.items())
    ]
    budgets = {budget for _, _, budget, _ in series.values() if budget is not None}
    days = [day for days, _, _, _ in series.values() for day in days]
    for budget in sorted(budgets):
        data.append(
            line_trace([min(days), max(days)], [budget, budget], f"budget ${budget:,.2f}", "ink", "dot", 1.5)
        )
    return {
        "data": data,
        "layout": layout_of(
            340,
            xaxis=axis_style("day of the campaign", showgrid=False),
            yaxis=axis_style("USD per day", **_DOLLARS, rangemode="tozero"),
        ),
    }


def funnel(stages: list[str], people: list[Number]) -> Figure:
    """How many people stand at each stage, and their share of all whose number is known."""
    everybody = sum(each or 0 for each in people) or 1
    notes = [
        "undefined" if each is None else f" {each:,.0f} · {100 * each / everybody:.1f} %" for each in people
    ]
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": list(range(len(stages))),
                "x": people,
                "text": notes,
                "textposition": "outside",
                "cliponaxis": False,
                "textfont": {"color": "@ink"},
                "marker": {"color": "@sim"},
                "hovertemplate": "%{x:,.0f} people<extra></extra>",
            }
        ],
        "layout": layout_of(
            40 + 40 * len(stages),
            xaxis=axis_style(
                "people, and their share of all",
                range=[0, 1.35 * max(p or 0 for p in people) or 1],
                showgrid=False,
                showticklabels=False,
                zeroline=False,
            ),
            yaxis=rows_axis(stages),
            margin={"t": 4},
            showlegend=False,
            bargap=0.35,
        ),
    }


def sankey(nodes: list[str], links: list[Mapping[str, Any]], colours: Colours) -> Figure:
    """Journeys from first touch to outcome; a link takes the colour of where it starts."""
    node_colours = [f"@{colours.channel(node)}" for node in nodes]
    return {
        "data": [
            {
                "type": "sankey",
                "node": {
                    "label": [label(node, 26) for node in nodes],
                    "color": node_colours,
                    "line": {"width": 0},
                    "pad": 16,
                    "thickness": 14,
                    "hovertemplate": "%{label}: %{value:,.0f} journeys<extra></extra>",
                },
                "link": {
                    "source": [link["source"] for link in links],
                    "target": [link["target"] for link in links],
                    "value": [link["value"] for link in links],
                    "color": [node_colours[link["source"]] + "/0.32" for link in links],
                    "hovertemplate": "%{source.label} → %{target.label}: "
                    "%{value:,.0f} journeys<extra></extra>",
                },
                "textfont": {"color": "@ink", "size": 12},
            }
        ],
        "layout": layout_of(430, showlegend=False, margin={"l": 8, "r": 8, "t": 12, "b": 12}),
    }


def lag(days: list[Any], share: list[Number], measured: Sequence[Mapping[str, Any]]) -> Figure:
    """Share of decisions booked by each day, measured points beside it."""
    data = [line_trace(days, share, "simulated", "sim", hover="day %{x}: %{y:.1%}", width=3)]
    if measured:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "measured",
                "x": [point["days"] for point in measured],
                "y": [point["share"] for point in measured],
                "text": [label(point.get("source", ""), 60) for point in measured],
                "marker": _DIAMOND,
                "cliponaxis": False,
                "hovertemplate": "day %{x}: %{y:.1%}<br>%{text}<extra>measured</extra>",
            }
        )
    return {
        "data": data,
        "layout": layout_of(
            340,
            xaxis=axis_style("days from the decision to the booking", rangemode="tozero", showgrid=False),
            yaxis=axis_style("share of decisions booked", tickformat=".0%", range=[0, 1.03]),
        ),
    }


def hour_of_week(simulated: list[Number] | None, measured: list[Number] | None) -> Figure:
    """Activity in the 168 hours of a week from Monday 00:00, each series as shares of its own total."""
    hours = list(range(168))
    data = []
    if measured:
        data.append(line_trace(hours, _shares(measured), "measured", "ink", dash="dot", width=2))
    if simulated:
        data.append(line_trace(hours, _shares(simulated), "simulated", "sim", width=2))
    for trace in data:
        trace["text"] = [f"{WEEKDAYS[hour // 24]} {hour % 24:02d}:00" for hour in hours]
        trace["hovertemplate"] = "%{text}: %{y:.2%}<extra>%{fullData.name}</extra>"
    return {
        "data": data,
        "layout": layout_of(
            320,
            xaxis=axis_style(
                "hour of the week (UTC)",
                tickvals=[24 * day + 12 for day in range(7)],
                ticktext=list(WEEKDAYS),
                range=[0, 168],
                showgrid=False,
            ),
            yaxis=axis_style("share of the week", tickformat=".1%", rangemode="tozero"),
            shapes=[vertical(24 * day, colour="@grid", dash="solid") for day in range(1, 7)],
        ),
    }


def prices(
    probability: list[Any], simulated: list[Number], measured: list[Number] | None, unit: str
) -> Figure:
    """Price at each quantile, simulated as a line and measured as diamonds."""
    data = [
        line_trace(probability, simulated, "simulated", "sim", hover="%{x:.0%} below $%{y:,.2f}", width=2.5)
    ]
    if measured:
        points = line_trace(probability, measured, "measured", "ink", hover="%{x:.0%} below $%{y:,.2f}")
        points |= {"mode": "markers", "marker": _DIAMOND}
        data.append(points)
    values = [value for value in [*simulated, *(measured or [])] if value is not None]
    log = bool(values) and min(values) > 0 and max(values) > 30 * min(values)
    return {
        "data": data,
        "layout": layout_of(
            250,
            xaxis=axis_style("share of sales at or below", tickformat=".0%", range=[0, 1.02], showgrid=False),
            yaxis=axis_style(
                escape(unit, quote=False) + (", log scale" if log else ""),
                **_DOLLARS,
                **(log_range(*span_of(values, log)) if log else {"rangemode": "tozero", "nticks": 6}),
            ),
        ),
    }


def rivals(days: list[Any], bids: Mapping[str, list[Number]]) -> Figure:
    """Bid multiplier × pace of each rival by day."""
    return {
        "data": [
            line_trace(days, series, name, f"c{i % N_CHANNEL_COLOURS}", dash=DASHES[i % 4], hover="%{y:.3f}")
            for i, (name, series) in enumerate(bids.items())
        ],
        "layout": layout_of(
            340,
            xaxis=axis_style("day", showgrid=False),
            yaxis=axis_style("bid multiplier × pace, mean over lines"),
        ),
    }


def learning(worlds: list[Any], profit: list[Number]) -> Figure:
    """Profit on practice worlds by how many training worlds were looked at."""
    trace = line_trace(worlds, profit, "profit", "c0", hover="$%{y:,.0f} after %{x} worlds")
    return {
        "data": [trace | {"mode": "lines+markers", "marker": {"size": 9, "color": "@c0"}}],
        "layout": layout_of(
            320,
            xaxis=axis_style("training worlds looked at", tickvals=worlds, showgrid=False),
            yaxis=axis_style("USD per practice world", tickprefix="$", rangemode="tozero"),
            showlegend=False,
        ),
    }


def _dot_and_interval(row: tuple[str, Mapping[str, Number], str], y: int, edge: float) -> Figure:
    name, interval, colour = row
    low, high = interval["low"], interval["high"]
    goes_on = low is not None and (high is None or high > edge)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(name),
        "x": [low, interval["mean"], edge if goes_on else high],
        "y": [y] * 3,
        "cliponaxis": False,
        "line": {"color": f"@{colour}", "width": 3},
        "marker": {
            "color": f"@{colour}",
            "symbol": ["line-ns", "circle", "triangle-right" if goes_on else "line-ns"],
            "size": [9, 13, 11],
            "opacity": 1,
            "line": {"color": f"@{colour}", "width": [2.5, 0, 2.5]},
        },
        "text": ["low end", "mean", "the interval goes on" if goes_on else "high end"],
        "hovertemplate": f"{label(name)}, %{{text}}: %{{x:,.2f}}<extra></extra>",
    }


def _claim(name: str, claim: float, y: int, colour: str) -> Figure:
    line = {"width": 2, "color": f"@{colour}"}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [claim],
        "y": [y],
        "marker": {"symbol": "diamond-open", "size": 12, "color": f"@{colour}", "line": line},
        "hovertemplate": f"{label(name)}, attributed: %{{x:,.2f}}<extra></extra>",
    }


def line_trace(
    x: list[Any],
    y: list[Number],
    name: str,
    colour: str,
    dash: str = "solid",
    width: float = 2.5,
    hover: str = "%{y}",
) -> Figure:
    """A line through points; None breaks it."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": label(name),
        "x": x,
        "y": y,
        "line": {"color": f"@{colour}", "dash": dash, "width": width},
        "hovertemplate": f"{hover}<extra>%{{fullData.name}}</extra>",
    }


def _bars(x: list[Any], y: list[Number], name: str, colour: str) -> Figure:
    return {
        "type": "bar",
        "name": name,
        "x": x,
        "y": y,
        "marker": {"color": f"@{colour}/0.8"},
        "hovertemplate": "$%{y:,.2f}<extra>spent</extra>",
    }


def axis_style(title: str, **options: Any) -> Figure:
    """A Plotly axis in the page's style; `options` go over it."""
    return {
        "title": {"text": title, "font": {"size": 12, "color": "@muted"}, "standoff": 10},
        "tickfont": {"color": "@muted", "size": 12},
        "gridcolor": "@grid",
        "zerolinecolor": "@grid",
        "linecolor": "@grid",
        "automargin": True,
        "fixedrange": True,  # a finger that scrolls the page must not pan the chart
    } | options


def log_range(low: float, high: float) -> Figure:
    """A logarithmic axis from `low` to `high`, both above 0, with ticks that do not crowd."""
    ticks: list[float] = []
    for steps in ((1, 2, 5), (1, 3), (1,)):  # the finest that does not crowd
        marks = [step * 10.0**power for power in range(-6, 10) for step in steps]
        ticks = [mark for mark in marks if low <= mark <= high]
        if len(ticks) <= _MOST_LOG_TICKS:
            break
    return {"type": "log", "range": [math.log10(low), math.log10(high)], "tickvals": ticks}


def rows_axis(names: Sequence[str]) -> Figure:
    """A vertical axis with a row for each name, the first on top."""
    # positions, not categories: two names may look alike once shortened
    ticks = {"tickvals": list(range(len(names))), "ticktext": [label(name) for name in names]}
    return axis_style("", range=[len(names) - 0.4, -0.6], showgrid=False, zeroline=False, **ticks)


def layout_of(height: int, **options: Any) -> Figure:
    """A chart's layout, `height` pixels high; `options` go over it."""
    margin = {"l": 8, "r": 16, "t": 34, "b": 40} | options.pop("margin", {})
    return {
        "height": height,
        "margin": margin,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "@ink"},
        "hoverlabel": {"bgcolor": "@ground", "bordercolor": "@grid", "font": {"color": "@ink"}},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": "@ink"}},
        "dragmode": False,
    } | options


def vertical(x: float, colour: str = "@ink/0.55", dash: str = "dot") -> Figure:
    """A line from bottom to top at `x`."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "layer": "below",
        "line": {"color": colour, "width": 1.5, "dash": dash},
    }


def note(text: str, x: float, y: Any, **options: Any) -> Figure:
    """A few words at a place of the chart."""
    return {
        "text": text,
        "x": x,
        "y": y,
        "showarrow": False,
        "font": {"size": 11, "color": "@muted"},
    } | options


def span_of(values: list[float], log: bool) -> tuple[float, float]:
    """Ends of an axis that holds all values with some room around them."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log:
        return 0.8 * low, 1.25 * high
    pad = 0.07 * (high - low) or abs(high) * 0.1 or 1.0
    return (low - pad, high + pad)


def _shares(values: list[Number]) -> list[Number]:
    total = sum(value for value in values if value is not None)
    return [None if value is None or total <= 0 else value / total for value in values]
