"""Figures that only replications draw, in the report's style."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gaelp.evaluation import report_charts as charts
from gaelp.evaluation.intervals import Interval

Floats = NDArray[np.float64]

_COLOURS = ("c1", "c3", "c0", "ink")
_SYMBOLS = ("circle", "square", "diamond", "line-ns")
_MULTIPLES = (0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_MOST_TICKS = 9
_TOP = 0.72  # of a row's height is used by its marks


def lifts(found: Mapping[str, Mapping[str, Interval]]) -> charts.Figure:
    """Lifts of each channel by several methods, on a log scale of sales over what would have come anyway.

    Args:
        found: by channel from the top, by method; the last method is the truth.
    """
    channels = list(found)
    methods = list(next(iter(found.values()), {}))
    ends = [
        1.0 + value
        for lifts in found.values()
        for interval in lifts.values()
        for value in (interval.mean, interval.low, interval.high)
        if value is not None and value > -0.95
    ]
    low, high = 0.9 * min(ends, default=0.5), 1.15 * max(ends, default=2.0)
    data = []
    for i, method in enumerate(methods):
        colour, symbol = f"@{_COLOURS[i % 4]}", _SYMBOLS[i % 4]
        step = _TOP / max(len(methods), 1)
        at = [y + (i - 0.5 * (len(methods) - 1)) * step for y in range(len(channels))]
        lifted = [found[channel][method] for channel in channels]
        x: list[float | None] = []
        y: list[float | None] = []
        for interval, place in zip(lifted, at, strict=True):
            for end in (interval.low, interval.high):
                x.append(None if end is None else max(1.0 + end, low))
                y.append(place)
            x.append(None)
            y.append(None)
        line = {"color": colour, "width": 2.5}
        data.append(
            {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "hoverinfo": "skip"}
            | {"showlegend": False, "cliponaxis": True}
        )
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": method,
                "x": [None if lift.mean is None else max(1.0 + lift.mean, low) for lift in lifted],
                "y": at,
                "text": [_percent(lift.mean) for lift in lifted],
                "marker": {
                    "color": colour,
                    "symbol": symbol,
                    "size": 14 if symbol == "line-ns" else 11,
                    "opacity": 1,
                    "line": {"color": colour, "width": 4 if symbol == "line-ns" else 0},
                },
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
            }
        )
    ticks = [multiple for multiple in _MULTIPLES if low <= multiple <= high]
    while len(ticks) > _MOST_TICKS:
        ticks = [multiple for i, multiple in enumerate(ticks) if i % 2 == 0 or multiple == 1.0]
    axis = charts.axis_style(
        "lift: sales beyond those that come anyway, over those; log scale", zeroline=False
    )
    axis |= {"type": "log", "range": [math.log10(low), math.log10(high)]}
    axis |= {"tickvals": ticks, "ticktext": [_percent(multiple - 1.0) for multiple in ticks]}
    return {
        "data": data,
        "layout": charts.layout_of(
            90 + 74 * len(channels),
            xaxis=axis,
            yaxis=charts.rows_axis(channels),
            shapes=[charts.vertical(1.0)],
        ),
    }


def widths(
    people: Floats,
    lines: Mapping[str, tuple[Floats, float | None]],
    *,
    flown: Mapping[str, tuple[float, Interval]],
    account: float,
    wanted: float,
) -> charts.Figure:
    """Half the 95 % interval of a return against people, log-log, beside the return itself.

    Args:
        people: (n,) person-months. lines: name -> (n,) half widths and the true return; all in points of
            the money spent.
        flown: name -> (person-months, half width as observed over worlds).
        account: person-months of the market file's account. wanted: half width that would be of use.
    """
    data, shapes, notes = [], [], []
    values = [wanted]
    for i, (name, (width, truth)) in enumerate(lines.items()):
        if not (width > 0).all():
            continue  # nobody in its test bought: nothing is told
        colour = ("sim", "c1", "c0", "c2")[i % 4]
        hover = "%{x:,.3s} person-months: ±%{y:,.3s} points"
        data.append(charts.line_trace(people.tolist(), width.tolist(), f"± of {name}", colour, hover=hover))
        values += width.tolist()
        if truth is not None and truth > 0:
            ends = [people[0], people[-1]]
            words = f"true return of {name}"
            data.append(charts.line_trace(ends, [truth, truth], words, colour, dash="dash", width=1.8))
            values.append(truth)
        if name in flown:
            at, spread = flown[name]
            data.append(_observed(name, at, spread, colour))
    low, high = charts.span_of(values, log=True)
    left, right = math.log10(people[0]), math.log10(people[-1])
    shapes.append(_across(wanted))
    notes.append(
        charts.note(f"±{wanted:g} points", left, math.log10(wanted), xanchor="left", yanchor="bottom")
    )
    shapes.append(charts.vertical(account))
    notes.append(charts.note("this account, a month", math.log10(account), 1, yref="paper", yanchor="bottom"))
    x_axis = charts.axis_style("people in the market × months of the test, half of them held out, log scale")
    x_axis |= {"type": "log", "range": [left, right], "dtick": 1, "tickformat": "~s"}
    y_axis = charts.axis_style("± of the 95 % interval, points of the money spent, log scale")
    y_axis |= charts.log_range(low, high) | {"tickformat": ",~f"}
    return {
        "data": data,
        "layout": charts.layout_of(
            460,
            xaxis=x_axis,
            yaxis=y_axis,
            shapes=shapes,
            annotations=notes,
            margin={"t": 84},
            legend={"orientation": "h", "x": 0, "y": 1.06, "yanchor": "bottom", "font": {"color": "@ink"}},
        ),
    }


def _observed(name: str, at: float, spread: Interval, colour: str) -> charts.Figure:
    above, below = (
        0.0 if end is None or spread.mean is None else abs(end - spread.mean)
        for end in (spread.high, spread.low)
    )
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{name}, as flown",
        "x": [at],
        "y": [spread.mean],
        "error_y": {"array": [above], "arrayminus": [below], "color": f"@{colour}", "thickness": 2},
        "marker": {
            "color": "@ground",
            "size": 10,
            "opacity": 1,
            "line": {"color": f"@{colour}", "width": 2.5},
        },
        "hovertemplate": "±%{y:,.3s} points<extra>spread over worlds</extra>",
    }


def _across(y: float) -> charts.Figure:
    line = {"color": "@ink/0.55", "width": 1.5, "dash": "dot"}
    return {
        "type": "line",
        "x0": 0,
        "x1": 1,
        "xref": "paper",
        "y0": y,
        "y1": y,
        "layer": "below",
        "line": line,
    }


def _percent(lift: float | None) -> str:
    return "n/a" if lift is None else f"{100.0 * lift:+,.0f} %" if abs(lift) >= 0.005 else "0"


def share_rows(
    found: Mapping[str, Interval], colours: Sequence[str]
) -> list[tuple[str, dict[str, float | None], str]]:
    """Rows of a forest in %, of shares."""
    return [
        (name, {end: None if v is None else 100.0 * v for end, v in interval.as_dict().items()}, colour)
        for (name, interval), colour in zip(found.items(), colours, strict=True)
    ]
